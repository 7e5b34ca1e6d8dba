//! Decides what days there are in an account: named ranges, the parts of a day, and when a day ends.

use chrono::{Datelike, Days, NaiveDate, Weekday};
use serde_json::{json, Value};

const FORMAT: &str = "%Y-%m-%d";

pub fn is_day(text: &str) -> bool {
    text.len() == 10 && NaiveDate::parse_from_str(text, FORMAT).is_ok()
}

fn day(text: &str) -> NaiveDate {
    NaiveDate::parse_from_str(text, FORMAT).unwrap_or_default()
}

fn text(day: NaiveDate) -> String {
    day.format(FORMAT).to_string()
}

fn back(day: NaiveDate, days: u64) -> NaiveDate {
    day.checked_sub_days(Days::new(days)).unwrap_or(day)
}

/// The day so many days later, or earlier.
pub fn shifted(date: &str, days: i64) -> String {
    text(day(date) + chrono::Duration::days(days))
}

/// Days from one to the other.
pub fn between(from: &str, to: &str) -> i64 {
    (day(to) - day(from)).num_days()
}

/// The day it is in a zone. Only zones without summer time are known, so that a day's length never depends on the year.
pub fn today(zone: &str, now_ms: i64) -> String {
    let hours = match zone {
        "America/Phoenix" => -7.0,
        "Asia/Kolkata" => 5.5,
        "Asia/Tokyo" => 9.0,
        _ => 0.0,
    };
    let local = now_ms + (hours * 3_600_000.0) as i64;
    text(chrono::DateTime::from_timestamp_millis(local).unwrap_or_default().date_naive())
}

/// First and last day of a range that DURING can name.
pub fn named(range: &str, today: &str) -> Option<(String, String)> {
    let now = day(today);
    let monday = now.week(Weekday::Mon).first_day();
    let sunday = now.week(Weekday::Sun).first_day();
    let month = now.with_day(1)?;
    let (from, to) = match range.to_ascii_uppercase().as_str() {
        "TODAY" => (now, now),
        "YESTERDAY" => (back(now, 1), back(now, 1)),
        "LAST_7_DAYS" => (back(now, 7), back(now, 1)),
        "LAST_14_DAYS" => (back(now, 14), back(now, 1)),
        "LAST_30_DAYS" => (back(now, 30), back(now, 1)),
        "LAST_BUSINESS_WEEK" => (back(monday, 7), back(monday, 3)),
        "LAST_WEEK_MON_SUN" => (back(monday, 7), back(monday, 1)),
        "LAST_WEEK_SUN_SAT" => (back(sunday, 7), back(sunday, 1)),
        "THIS_WEEK_MON_TODAY" => (monday, now),
        "THIS_WEEK_SUN_TODAY" => (sunday, now),
        "THIS_MONTH" => (month, now),
        "LAST_MONTH" => (back(month, 1).with_day(1)?, back(month, 1)),
        _ => return None,
    };
    Some((text(from), text(to)))
}

/// A segment that follows from the day: weeks begin on Monday, months and quarters are named by their first day.
pub fn part(date: &str, segment: &str) -> Option<Value> {
    if !is_day(date) {
        return None;
    }
    let day = day(date);
    let upper = |format: &str| day.format(format).to_string().to_ascii_uppercase();
    Some(match segment {
        "date" => json!(date),
        "week" => json!(text(day.week(Weekday::Mon).first_day())),
        "month" => json!(text(day.with_day(1)?)),
        "quarter" => json!(text(day.with_day(1)?.with_month(day.month0() / 3 * 3 + 1)?)),
        "year" => json!(day.year()),
        "month_of_year" => json!(upper("%B")),
        "day_of_week" => json!(upper("%A")),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_ranges_and_parts_of_a_day() {
        let pair = |range: &str| named(range, "2026-01-08").map(|(a, b)| format!("{a} {b}"));
        for (range, days) in [
            ("LAST_7_DAYS", "2026-01-01 2026-01-07"),
            ("LAST_WEEK_MON_SUN", "2025-12-29 2026-01-04"),
            ("LAST_BUSINESS_WEEK", "2025-12-29 2026-01-02"),
            ("THIS_WEEK_SUN_TODAY", "2026-01-04 2026-01-08"),
            ("LAST_MONTH", "2025-12-01 2025-12-31"),
        ] {
            assert_eq!(pair(range).as_deref(), Some(days), "{range}");
        }
        assert_eq!(pair("LAST_CENTURY"), None);
        assert_eq!(part("2026-01-08", "week"), Some(json!("2026-01-05")));
        assert_eq!(part("2026-05-08", "quarter"), Some(json!("2026-04-01")));
        assert_eq!(part("2026-05-08", "year"), Some(json!(2026)));
        assert_eq!(part("2026-05-08", "day_of_week"), Some(json!("FRIDAY")));
        assert_eq!(part("2026-05-08", "device"), None);
        assert_eq!(today("America/Phoenix", 1_767_225_600_000), "2025-12-31");
        assert_eq!(today("Asia/Kolkata", 1_767_225_600_000), "2026-01-01");
    }
}
