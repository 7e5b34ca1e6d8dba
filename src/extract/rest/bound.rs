//! Decides how a bound of time is written for an app, so that nothing between two bounds is left out.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::request::SECOND_US;
use crate::manifest::{fixed_offset, Cursor, Format, Granularity};

/// An instant as the app's parameters spell it: a lower bound rounded down, an upper bound rounded up, and both so
/// wide that the app's own way of comparing leaves nothing out.
pub fn bound(cursor: &Cursor, micros: i64, is_upper: bool) -> String {
    match cursor.datetime_format.as_deref() {
        Some(format) => written(cursor, format, micros, is_upper),
        None => {
            let format = match cursor.format {
                Format::Unix => "%s",
                Format::UnixMs => "%ms",
                Format::Auto => ISO_MS,
                Format::Rfc2822 => RFC_2822,
                Format::At(_) => LOCAL_MS,
            };
            written(cursor, format, micros, is_upper)
        }
    }
}

/// The same in another spelling (`template::TIME_FILTERS`).
pub fn spelled(cursor: &Cursor, filter: &str, micros: i64, is_upper: bool) -> String {
    let format = match filter {
        "unix" => "%s",
        "unix_ms" => "%ms",
        "date" => "%Y-%m-%d",
        _ => ISO,
    };
    written(cursor, format, micros, is_upper)
}

const ISO: &str = "%Y-%m-%dT%H:%M:%SZ";
const ISO_MS: &str = "%Y-%m-%dT%H:%M:%S%.3fZ";
const LOCAL_MS: &str = "%Y-%m-%dT%H:%M:%S%.3f";
const RFC_2822: &str = "%a, %d %b %Y %H:%M:%S +0000";
const DAY_US: i64 = 86_400 * SECOND_US;

fn written(cursor: &Cursor, format: &str, micros: i64, is_upper: bool) -> String {
    let names_days = !["%s", "%ms", "%S", "%T", "%X", "%H", "%R"].iter().any(|part| format.contains(part));
    let is_coarse = names_days || cursor.granularity == Granularity::Day;
    // A zone that we cannot count in may be up to a day away.
    let (offset, margin) = match cursor.zone.as_deref().map(fixed_offset) {
        None => match cursor.format {
            Format::At(east) => (i64::from(east) * SECOND_US, 0),
            _ => (0, 0),
        },
        Some(Some(seconds)) => (seconds * SECOND_US, 0),
        Some(None) => (0, if is_coarse { DAY_US } else { 0 }),
    };
    let unit = match format {
        _ if is_coarse => DAY_US,
        "%ms" => 1000,
        _ if format.contains("%.3f") || format.contains("%3f") || format.contains("%f") => 1000,
        _ if ["%s", "%S", "%T", "%X"].iter().any(|part| format.contains(part)) => SECOND_US,
        _ => 60 * SECOND_US,
    };
    let local = micros.saturating_add(offset);
    let floor = local.div_euclid(unit).saturating_mul(unit);
    let mut at = match (is_upper, names_days) {
        (false, _) => floor,
        // The name of a day means all of it; an instant at its end is the next midnight.
        (true, true) => floor,
        (true, false) if floor == local && !is_coarse => floor,
        (true, false) => floor.saturating_add(unit),
    };
    if !is_upper && cursor.exclusive {
        at = at.saturating_sub(unit);
    }
    if is_upper && cursor.upper_exclusive && (names_days || at == local) {
        at = at.saturating_add(unit);
    }
    at = if is_upper { at.saturating_add(margin) } else { at.saturating_sub(margin) };
    // What carries its zone with it, or is counted from 1970, is in UTC.
    let in_utc = matches!(format, "%s" | "%ms") || format.ends_with('Z') || format.ends_with("+0000");
    let utc = at.saturating_sub(offset);
    match format {
        "%s" => return utc.div_euclid(SECOND_US).to_string(),
        "%ms" => return utc.div_euclid(1000).to_string(),
        _ => {}
    }
    let east = i32::try_from(offset / SECOND_US).ok().filter(|_| !in_utc).and_then(chrono::FixedOffset::east_opt);
    let zone = east.or_else(|| chrono::FixedOffset::east_opt(0));
    let text = chrono::DateTime::from_timestamp_micros(utc).zip(zone).map(|(at, zone)| at.with_timezone(&zone));
    text.map(|at| at.format(format).to_string()).unwrap_or_default()
}

#[cfg(test)]
#[path = "bound_tests.rs"]
mod tests;
