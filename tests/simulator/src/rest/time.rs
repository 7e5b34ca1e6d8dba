//! Decides how instants are written in JSON and in parameters. Inside they are milliseconds since 1970.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde_json::{json, Value};

/// A way to write an instant. Not every app is there to write in each.
#[allow(dead_code)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `2024-01-02T03:04:05Z`
    Iso,
    /// `2024-01-02T03:04:05.000Z`
    IsoMillis,
    /// `2024-01-02T03:04:05+00:00`
    IsoOffset,
    /// `2024-01-02T03:04:05+0000`
    IsoPlainOffset,
    /// `2024-01-02T03:04:05Z+0000`
    IsoBothOffsets,
    /// `2024-01-02 03:04:05`
    Spaced,
    /// `2024-01-02`
    Date,
    /// `Tue, 02 Jan 2024 03:04:05 +0000`
    Rfc2822,
    /// Seconds, as a number.
    Unix,
    /// Milliseconds, as a number.
    UnixMillis,
    /// Milliseconds, as a string.
    UnixMillisText,
}

impl Form {
    pub fn write(self, ms: i64) -> Value {
        match self {
            Form::Unix => json!(ms.div_euclid(1000)),
            Form::UnixMillis => json!(ms),
            Form::UnixMillisText => json!(ms.to_string()),
            _ => json!(self.text(ms)),
        }
    }

    pub fn text(self, ms: i64) -> String {
        let at: DateTime<Utc> = DateTime::from_timestamp_millis(ms).unwrap_or_default();
        let format = match self {
            Form::Iso => "%Y-%m-%dT%H:%M:%SZ",
            Form::IsoMillis => "%Y-%m-%dT%H:%M:%S%.3fZ",
            Form::IsoOffset => "%Y-%m-%dT%H:%M:%S+00:00",
            Form::IsoPlainOffset => "%Y-%m-%dT%H:%M:%S+0000",
            Form::IsoBothOffsets => "%Y-%m-%dT%H:%M:%SZ+0000",
            Form::Spaced => "%Y-%m-%d %H:%M:%S",
            Form::Date => "%Y-%m-%d",
            Form::Rfc2822 => "%a, %d %b %Y %H:%M:%S +0000",
            Form::Unix => return ms.div_euclid(1000).to_string(),
            Form::UnixMillis | Form::UnixMillisText => return ms.to_string(),
        };
        at.format(format).to_string()
    }

    /// Reads what `write` wrote, and any text that `parse` knows.
    pub fn read(self, value: &Value) -> Option<i64> {
        match (self, value) {
            (Form::Unix, Value::Number(n)) => n.as_i64().map(|s| s * 1000).or(n.as_f64().map(|s| (s * 1000.0) as i64)),
            (_, Value::Number(n)) => n.as_i64(),
            (Form::UnixMillis | Form::UnixMillisText, Value::String(text)) if text.parse::<i64>().is_ok() => {
                text.parse().ok()
            }
            (_, Value::String(text)) => parse(text),
            _ => None,
        }
    }
}

/// An instant in any of the textual forms, a date as its midnight in UTC, or unix seconds; in milliseconds.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<i64>() {
        return seconds.checked_mul(1000);
    }
    let text = text.strip_suffix("Z+0000").map_or(text.to_string(), |plain| format!("{plain}Z"));
    for format in
        ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %#z", "%Y-%m-%dT%H:%M%#z"]
    {
        if let Ok(at) = DateTime::parse_from_str(&text, format) {
            return Some(at.timestamp_millis());
        }
    }
    if let Ok(at) = DateTime::parse_from_rfc2822(&text) {
        return Some(at.timestamp_millis());
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"] {
        if let Ok(at) = NaiveDateTime::parse_from_str(&text, format) {
            return Some(at.and_utc().timestamp_millis());
        }
    }
    let day = NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok()?;
    Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_reads_what_it_wrote() {
        let at = 1_704_164_645_000;
        for (form, want) in [
            (Form::Iso, json!("2024-01-02T03:04:05Z")),
            (Form::IsoMillis, json!("2024-01-02T03:04:05.000Z")),
            (Form::IsoOffset, json!("2024-01-02T03:04:05+00:00")),
            (Form::IsoPlainOffset, json!("2024-01-02T03:04:05+0000")),
            (Form::IsoBothOffsets, json!("2024-01-02T03:04:05Z+0000")),
            (Form::Spaced, json!("2024-01-02 03:04:05")),
            (Form::Rfc2822, json!("Tue, 02 Jan 2024 03:04:05 +0000")),
            (Form::Unix, json!(1_704_164_645)),
            (Form::UnixMillis, json!(1_704_164_645_000_i64)),
            (Form::UnixMillisText, json!("1704164645000")),
        ] {
            assert_eq!(form.write(at), want, "{form:?}");
            assert_eq!(form.read(&want), Some(at), "{form:?}");
        }
        assert_eq!(Form::Date.read(&Form::Date.write(at)), Some(1_704_153_600_000));
        assert_eq!(parse("1704164645"), Some(at));
        assert_eq!((parse("yesterday"), parse("")), (None, None));
    }
}
