//! Decides how Marketing Cloud writes an instant: Central standard time (UTC-6 all year), without saying so.
//!
//! help.salesforce.com, "Server time zone". Zeros at the end of the fraction are left away, as .NET does.

use chrono::{DateTime, NaiveDateTime};

use crate::rest::time;

const BEHIND_MS: i64 = 6 * 3_600_000;

pub fn text(ms: i64) -> String {
    let at = DateTime::from_timestamp_millis(ms - BEHIND_MS).unwrap_or_default();
    let text = at.format("%Y-%m-%dT%H:%M:%S%.3f").to_string();
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// A text with an offset means that instant; one without is Central time. `None` when it is no instant.
pub fn parse(text: &str) -> Option<i64> {
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"] {
        if let Ok(naive) = NaiveDateTime::parse_from_str(text.trim(), format) {
            return Some(naive.and_utc().timestamp_millis() + BEHIND_MS);
        }
    }
    DateTime::parse_from_rfc3339(text.trim()).ok().map(|at| at.timestamp_millis())
}

/// A stamp of the book (UTC) as the API writes it.
pub fn of_stamp(stamp: &str) -> Option<String> {
    time::parse(stamp).map(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_six_hours_behind_and_lose_zeros() {
        for (ms, want) in [
            (1_704_164_645_350, "2024-01-01T21:04:05.35"),
            (1_704_164_645_000, "2024-01-01T21:04:05"),
            (1_719_889_440_000, "2024-07-01T21:04:00"),
        ] {
            assert_eq!(text(ms), want);
            assert_eq!(parse(want), Some(ms), "summer and winter alike");
        }
        assert_eq!(parse("2024-01-02T03:04:05Z"), parse("2024-01-01T21:04:05"));
        assert_eq!(parse("2024-01-01T22:04:05-05:00"), parse("2024-01-01T21:04:05"));
        assert_eq!(parse("yesterday"), None);
    }
}
