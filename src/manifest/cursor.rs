//! Says in which order a collection changes, and how a part of it is asked for.
//!
//! Layer: manifest. Knows nothing of Postgres.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The order of change of a collection, and how to ask for a part of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Pointer in the record.
    pub field: String,
    /// Place of the inclusive lower bound; templates of the request may name `{cursor}` instead.
    #[serde(default)]
    pub param: Option<String>,
    /// Place of the inclusive upper bound; templates may name `{upper}`.
    #[serde(default)]
    pub upper_param: Option<String>,
    /// How the time is written in records, and in requests unless `datetime_format` says otherwise.
    #[serde(default)]
    pub format: Format,
    /// How bounds are written: `%Y-%m-%d` and so on as in strftime, or `%s` and `%ms` for Unix time.
    #[serde(default)]
    pub datetime_format: Option<String>,
    /// Whether the filter sees changes, or only creation (then it serves slices of a first load, not updates).
    #[serde(default)]
    pub created_only: bool,
    /// How far before the cursor we read again, because apps publish late.
    #[serde(default)]
    pub overlap_seconds: u64,
    /// The app cuts bounds to whole days: a lower one goes to the day's beginning, an upper one to its end.
    #[serde(default)]
    pub granularity: Granularity,
    /// Template of the zone that days and times without a zone are in: `utc`, `-06:00`, `-6`. A zone we cannot
    /// count in (a name) widens the bounds by a day.
    #[serde(default)]
    pub zone: Option<String>,
    /// The app's lower bound leaves out what is equal (`>`): it is sent one unit lower.
    #[serde(default)]
    pub exclusive: bool,
    /// The app's upper bound leaves out what is equal (`<`): it is sent one unit higher.
    #[serde(default)]
    pub upper_exclusive: bool,
    /// The app has no filter: everything is listed, and what is older than the cursor is passed over.
    #[serde(default)]
    pub client_side: bool,
    /// The order of the listing. Newest first, reading stops where the cursor is reached.
    #[serde(default)]
    pub order: Option<SortOrder>,
    /// A string of the app's that says where the next run goes on.
    #[serde(default)]
    pub opaque: Option<Opaque>,
    /// The widest window that may be asked for at once; needs both bounds.
    #[serde(default)]
    pub step_seconds: Option<u64>,
    /// The app knows nothing older than this many days, or refuses to be asked.
    #[serde(default)]
    pub oldest_days: Option<u32>,
    /// An older cursor is of no use: everything is read again.
    #[serde(default)]
    pub retention_days: Option<u32>,
    /// Bounds stay this far behind the app's clock: it refuses, or leaves out, the last moments.
    #[serde(default)]
    pub behind_seconds: u64,
    /// Template of where a first load begins, a day or an instant: most often `{start_date?}`, a setting.
    #[serde(default)]
    pub start: Option<String>,
    /// Where a first load begins when `start` is not set, in days before today; absent for the beginning.
    #[serde(default)]
    pub start_days: Option<u32>,
    /// For a collection below parents: each parent has a cursor of its own.
    #[serde(default)]
    pub per_parent: bool,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As the value shows: ISO 8601 text, or an unadorned number for a number.
    #[default]
    Auto,
    Unix,
    UnixMs,
    Rfc2822,
    /// ISO 8601 text; where it names no offset, it is so many seconds east of UTC.
    At(i32),
}

impl Format {
    /// `auto`, `unix`, `unix_ms`, `rfc2822`, or an offset such as `-06:00`.
    pub fn parse(text: &str) -> Option<Format> {
        Some(match text {
            "auto" => Format::Auto,
            "unix" => Format::Unix,
            "unix_ms" => Format::UnixMs,
            "rfc2822" => Format::Rfc2822,
            offset if offset.len() == 6 && offset.starts_with(['+', '-']) => {
                Format::At(i32::try_from(fixed_offset(offset)?).ok()?)
            }
            _ => return None,
        })
    }

    /// As [`Format::parse`] reads it.
    pub fn text(self) -> String {
        match self {
            Format::Auto => "auto".into(),
            Format::Unix => "unix".into(),
            Format::UnixMs => "unix_ms".into(),
            Format::Rfc2822 => "rfc2822".into(),
            Format::At(seconds) => {
                let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs() / 60);
                format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || {
            D::Error::custom(format!(
                "unknown format \"{text}\"; one of auto, unix, unix_ms, rfc2822, or an offset such as -06:00"
            ))
        };
        Format::parse(&text).ok_or_else(wrong)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// As fine as the format.
    #[default]
    Format,
    Day,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SortOrder {
    NewestFirst,
    OldestFirst,
}

/// A string that the app gives with the last page, and takes as the beginning of the next run.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opaque {
    /// Pointer into the reply.
    pub pointer: String,
    /// Its place in the request, where it takes that of `param`.
    pub param: String,
}

/// The most records that one query gives, and how to get at the others.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceiling {
    pub records: u64,
    pub restart: Restart,
    /// For `last_key`: pointer to the key in a record; it is `{last_key}` in templates of the next query.
    #[serde(default)]
    pub field: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// The listing is sorted by key, and its templates have a condition on `{last_key}`.
    LastKey,
    /// The listing is sorted by the cursor, oldest first: the query begins again at the last one seen.
    Cursor,
}

/// A window before the cursor that is read again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lookback {
    pub seconds: u64,
    pub at_least_every_seconds: u64,
}

/// Seconds east of UTC that a zone says: `utc`, `Z`, `+02:00`, `-0600`, `-6`; `None` for a name.
pub fn fixed_offset(zone: &str) -> Option<i64> {
    let zone = zone.trim();
    if matches!(zone.to_ascii_lowercase().as_str(), "utc" | "z" | "gmt") {
        return Some(0);
    }
    let (sign, rest) = match zone.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, zone.strip_prefix('+').unwrap_or(zone)),
    };
    let (hours, minutes) = match (rest.split_once(':'), rest.len()) {
        (Some((hours, minutes)), _) => (hours, minutes),
        (None, 4) => (rest.get(..2)?, rest.get(2..)?),
        (None, _) => (rest, "0"),
    };
    let number = |text: &str| text.parse::<u8>().ok().filter(|_| text.len() <= 2).map(i64::from);
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= 15 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_as_they_are_written() {
        for text in ["auto", "unix", "unix_ms", "rfc2822", "-06:00", "+05:30", "+00:00"] {
            assert_eq!(Format::parse(text).unwrap().text(), text);
        }
        assert_eq!(Format::parse("-06:00"), Some(Format::At(-21_600)));
        for wrong in ["", "iso", "-6", "America/Chicago", "+99:00"] {
            assert_eq!(Format::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn zones_that_can_be_counted_in() {
        for (zone, want) in [
            ("utc", Some(0)),
            ("Z", Some(0)),
            ("-06:00", Some(-21_600)),
            ("-6", Some(-21_600)),
            ("+0530", Some(19_800)),
            ("10", Some(36_000)),
            ("America/Chicago", None),
            ("", None),
            ("99", None),
        ] {
            assert_eq!(fixed_offset(zone), want, "{zone}");
        }
    }
}
