//! Decides what time it is for the apps, and how they write it.
//!
//! One offset moves the clock of all apps: the `Date` header, record stamps and `event.created`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, NaiveDate, Utc};

/// 2026-01-01: where seeded stamps end unless the request says `until`.
pub const ANCHOR_S: i64 = 1_767_225_600;

static OFFSET_MS: AtomicI64 = AtomicI64::new(0);

/// The machine's own time in milliseconds since 1970, without the offset.
pub fn real_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// The apps' time in milliseconds since 1970.
pub fn now_ms() -> i64 {
    real_ms() + OFFSET_MS.load(Ordering::Relaxed)
}

pub fn set_offset_seconds(seconds: i64) {
    OFFSET_MS.store(seconds.saturating_mul(1000), Ordering::Relaxed);
}

pub fn offset_seconds() -> i64 {
    OFFSET_MS.load(Ordering::Relaxed) / 1000
}

fn at(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

/// `Sun, 22 Nov 2026 02:25:56 GMT`, as in a `Date` header.
pub fn http_date(ms: i64) -> String {
    at(ms).format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The inverse of `http_date`, in milliseconds.
pub fn parse_http_date(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc2822(text).ok().map(|t| t.timestamp_millis())
}

/// `2024-01-02T03:04:05.000+0000`, as Salesforce's REST API writes an instant.
pub fn salesforce_instant(ms: i64) -> String {
    at(ms).format("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string()
}

/// `2024-01-02`.
pub fn date(ms: i64) -> String {
    at(ms).format("%Y-%m-%d").to_string()
}

/// An instant as Salesforce accepts it in SOQL, in URLs and from the control API, in milliseconds: with an offset
/// (`Z`, `+0000`, `+00:00`), fractions optional.
pub fn parse_instant(text: &str) -> Option<i64> {
    for format in ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"] {
        if let Ok(t) = DateTime::parse_from_str(text, format) {
            return Some(t.timestamp_millis());
        }
    }
    None
}

/// `YYYY-MM-DD` as the milliseconds of its midnight in UTC.
pub fn parse_date(text: &str) -> Option<i64> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_in_every_form_the_api_takes() {
        for text in [
            "2024-01-02T03:04:05Z",
            "2024-01-02T03:04:05.000+0000",
            "2024-01-02T04:04:05.000+01:00",
            "2024-01-02T03:04:05.000Z",
        ] {
            assert_eq!(parse_instant(text), Some(1_704_164_645_000), "{text}");
        }
        assert_eq!(salesforce_instant(1_704_164_645_000), "2024-01-02T03:04:05.000+0000");
        assert_eq!(parse_instant("2024-01-02"), None);
        assert_eq!(parse_date("2024-01-02"), Some(1_704_153_600_000));
        assert_eq!(parse_http_date(&http_date(1_704_164_645_000)), Some(1_704_164_645_000));
    }
}
