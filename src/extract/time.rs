//! Decides which texts and numbers are an instant or a day, and which microsecond they mean.
//!
//! Apps write ISO 8601 with `Z`, `+00:00` or `+0000`, with or without a fraction; epoch seconds or milliseconds; and
//! RFC 2822. What is none of these, or lies outside what Postgres can hold, is no time: the caller keeps the raw value.
//!
//! Layer: extract. Knows nothing of Postgres.

const US_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// From 4713 BC, where timestamptz begins, to where microseconds since 1970 end (294246 AD), in seconds since 1970.
const RANGE: std::ops::Range<i64> = -210_866_803_200..9_223_371_331_200;

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar; `None` when there is no such day.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let longest = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if day < 1 || day > longest {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

/// The digits at `at..at + count` as a number.
fn digits(text: &[u8], at: usize, count: usize) -> Option<i64> {
    text.get(at..at + count)?
        .iter()
        .try_fold(0i64, |number, c| c.is_ascii_digit().then(|| number * 10 + i64::from(c - b'0')))
}

/// `YYYY-MM-DD` as days since 1970. A time behind the day is not accepted.
pub fn parse_date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
        return None;
    }
    let days = days_from_civil(digits(bytes, 0, 4)?, digits(bytes, 5, 2)?, digits(bytes, 8, 2)?)?;
    i32::try_from(days).ok()
}

/// An ISO 8601 instant as microseconds since 1970 UTC. Without an offset it is UTC; a day alone is its midnight UTC.
///
/// Digits beyond microseconds are cut. A second of 60 (leap second) is the next minute's first, as in Postgres.
pub fn parse_iso(text: &str) -> Option<i64> {
    parse_iso_at(text, 0)
}

/// The same for texts that are so many seconds east of UTC where they name no offset.
pub fn parse_iso_at(text: &str, east: i64) -> Option<i64> {
    let bytes = text.as_bytes();
    let days = i64::from(parse_date(text.get(..10)?)?);
    if bytes.len() == 10 {
        return Some((days * SECONDS_PER_DAY - east) * US_PER_SECOND);
    }
    if !matches!(bytes.get(10), Some(b'T' | b't' | b' ')) || bytes.get(13) != Some(&b':') {
        return None;
    }
    let (hour, minute) = (digits(bytes, 11, 2)?, digits(bytes, 14, 2)?);
    let mut at = 16;
    let mut second = 0;
    let mut micros = 0;
    if bytes.get(at) == Some(&b':') {
        second = digits(bytes, at + 1, 2)?;
        at += 3;
        if matches!(bytes.get(at), Some(b'.' | b',')) {
            at += 1;
            let start = at;
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                if at - start < 6 {
                    micros = micros * 10 + digits(bytes, at, 1)?;
                }
                at += 1;
            }
            if at == start {
                return None;
            }
            for _ in (at - start)..6 {
                micros *= 10;
            }
        }
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let offset = match bytes.get(at..)? {
        [] => east,
        named => parse_offset(named)?,
    };
    let seconds = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - offset;
    RANGE.contains(&seconds).then(|| seconds * US_PER_SECOND + micros)
}

/// ``, `Z`, `+hh`, `+hhmm`, `+hh:mm` in seconds east of UTC.
fn parse_offset(text: &[u8]) -> Option<i64> {
    let sign = match text.first() {
        None => return Some(0),
        // `Z+0000`: Marketo's assets say it twice.
        Some(b'Z' | b'z') => return matches!(text.get(1..), Some(b"" | b"+0000")).then_some(0),
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => return None,
    };
    let hours = digits(text, 1, 2)?;
    let minutes = match text.len() {
        3 => 0,
        5 => digits(text, 3, 2)?,
        6 if text.get(3) == Some(&b':') => digits(text, 4, 2)?,
        _ => return None,
    };
    (hours <= 15 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Epoch seconds, with or without a fraction, as microseconds.
pub fn from_unix(number: &str) -> Option<i64> {
    if let Ok(seconds) = number.parse::<i64>() {
        return RANGE.contains(&seconds).then(|| seconds * US_PER_SECOND);
    }
    let seconds: f64 = number.parse().ok()?;
    (seconds.is_finite() && RANGE.contains(&(seconds as i64))).then(|| (seconds * 1e6).round() as i64)
}

/// Epoch milliseconds as microseconds.
pub fn from_unix_ms(number: &str) -> Option<i64> {
    let ms: i64 = number.parse().ok()?;
    RANGE.contains(&ms.div_euclid(1000)).then(|| ms * 1000)
}

/// RFC 2822 as microseconds.
pub fn parse_rfc2822(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc2822(text).ok().map(|t| t.timestamp_micros())
}

/// Microseconds since 1970 as ISO 8601 in UTC with milliseconds: the way checkpoints and SOQL write it.
pub fn to_iso_ms(micros: i64) -> String {
    match chrono::DateTime::from_timestamp_micros(micros) {
        Some(t) => t.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_in_the_ways_apps_write_them() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2011-07-07T00:37:00.000+0000", Some(1_309_999_020_000_000)),
            ("2024-02-29T23:59:60Z", Some(1_709_251_200_000_000)),
            ("2024-01-02T03:04:05.123456789+05:30", Some(1_704_144_845_123_456)),
            ("2024-01-02 03:04", Some(1_704_164_640_000_000)),
            ("2024-01-02", Some(1_704_153_600_000_000)),
            ("2023-11-14T22:13:20Z+0000", Some(1_700_000_000_000_000)),
            ("2023-11-14T22:13:20Z+0100", None),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800_000_000)),
            ("2024-02-30T00:00:00Z", None),
            ("2024-01-02T25:00:00Z", None),
            ("2024-01-02T03:04:05.Z", None),
            ("2024-01-02T03:04:05+1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(parse_iso(text), want, "{text}");
        }
    }

    #[test]
    fn instants_without_an_offset_are_where_they_are_said_to_be() {
        let central = -6 * 3600;
        for (text, want) in [
            ("2024-01-01T21:04:05.35", Some(1_704_164_645_350_000)),
            ("2024-07-01T21:04:00", Some(1_719_889_440_000_000)),
            ("2024-01-02T03:04:05Z", Some(1_704_164_645_000_000)),
            ("2024-01-01T22:04:05-05:00", Some(1_704_164_645_000_000)),
            ("2024-01-02", Some(1_704_175_200_000_000)),
            ("2024-01-01T21:04:05 Central", None),
        ] {
            assert_eq!(parse_iso_at(text, central), want, "{text}");
        }
    }

    #[test]
    fn numbers_that_are_instants() {
        assert_eq!(from_unix("1234567890"), Some(1_234_567_890_000_000));
        assert_eq!(from_unix("1234567890.25"), Some(1_234_567_890_250_000));
        assert_eq!(from_unix("99999999999999999"), None, "beyond timestamptz");
        assert_eq!(from_unix_ms("-1"), Some(-1000));
        assert_eq!(from_unix("x"), None);
    }

    #[test]
    fn every_day_of_400_years_agrees_with_chrono() {
        let start = chrono::NaiveDate::from_ymd_opt(1900, 1, 1).unwrap();
        let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        for n in 0..146_097 {
            let day = start + chrono::Duration::days(n);
            let text = day.format("%Y-%m-%d").to_string();
            assert_eq!(parse_date(&text).map(i64::from), Some((day - epoch).num_days()), "{text}");
        }
    }
}
