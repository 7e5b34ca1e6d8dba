//! Writes GAQL: names, literals and whole queries that Google Ads reads exactly as we mean them.
//!
//! A source file names a field by its place in a row (`/adGroupAd/ad/id`), GAQL by words (`ad_group_ad.ad.id`): the second
//! follows from the first. A literal that GAQL cannot say is `None`, and the condition is then left to Postgres. Names reach
//! a query only through [`name_of`], values only through the literal functions.
//!
//! Docs: developers.google.com/google-ads/api/docs/query/grammar, and case-sensitivity beside it.
//!
//! Layer: extract. Knows nothing of Postgres.

use crate::error::SyncError;
use crate::extract::time;
use std::fmt::Write;

/// Digits that survive the double in which figures are kept.
const SAFE_DIGITS: usize = 15;
const DAY_US: i64 = 86_400_000_000;

/// The segment that reports are cut by.
pub const DATE: &str = "segments.date";

/// A field's name in GAQL, from its path in a row.
pub fn name_of(path: &[String]) -> Result<String, SyncError> {
    let is_word = |key: &String| {
        key.starts_with(|c: char| c.is_ascii_lowercase()) && key.bytes().all(|c| c.is_ascii_alphanumeric())
    };
    if path.is_empty() || !path.iter().all(is_word) {
        return Err(SyncError::internal(format!("\"{}\" cannot be a field of Google Ads", path.join("/"))));
    }
    let mut name = String::new();
    for key in path {
        if !name.is_empty() {
            name.push('.');
        }
        for c in key.chars() {
            if c.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
        }
    }
    Ok(name)
}

/// The resource of a FROM clause.
pub fn resource(name: &str) -> Result<&str, SyncError> {
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
    good.then_some(name).ok_or_else(|| SyncError::internal(format!("\"{name}\" cannot be a resource of Google Ads")))
}

/// A quoted string. `None` with what a string of GAQL cannot hold: line breaks and other control characters.
pub fn string(text: &str) -> Option<String> {
    if text.chars().any(char::is_control) {
        return None;
    }
    Some(format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")))
}

/// A LIKE pattern of Postgres as one of GAQL that finds at least as much: letters of either case are the same there, and what
/// only one side would take for a wildcard stands for anything.
pub fn like_pattern(pattern: &str) -> Option<String> {
    let mut wider = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let (c, is_escaped) = if c == '\\' { (chars.next()?, true) } else { (c, false) };
        match c {
            '%' | '_' | '[' | ']' | '\\' => wider.push('%'),
            c if is_escaped && !c.is_ascii() => return None,
            c => wider.push(c),
        }
    }
    string(&wider)
}

/// A decimal number. `None` with an exponent, NaN or infinity, and with more digits than a figure keeps.
pub fn number(text: &str) -> Option<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = whole.bytes().chain(fraction.bytes()).all(|c| c.is_ascii_digit());
    if whole.is_empty() || !all_digits || digits.ends_with('.') {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    if format!("{whole}{fraction}").trim_start_matches('0').len() > SAFE_DIGITS {
        return None;
    }
    let sign = if digits.len() < text.len() { "-" } else { "" };
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

/// A day, given as days since 1970: `2024-01-31`.
pub fn day_text(days: i64) -> String {
    time::to_iso_ms(days.saturating_mul(DAY_US)).get(..10).unwrap_or("1970-01-01").to_string()
}

/// The day that an instant lies in, in UTC.
pub fn day_of(micros: i64) -> i64 {
    micros.div_euclid(DAY_US)
}

/// Days from the first to the last of them, both included; days since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    pub first: i64,
    pub last: i64,
}

impl Days {
    /// A finite range is demanded of every query that selects the date. Clicks are asked for by one day.
    pub fn condition(&self) -> String {
        if self.first == self.last {
            return format!("{DATE} = '{}'", day_text(self.first));
        }
        format!("{DATE} BETWEEN '{}' AND '{}'", day_text(self.first), day_text(self.last))
    }
}

/// One query; its parts are already GAQL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub select: Vec<String>,
    pub from: String,
    /// Joined by AND; GAQL has no OR.
    pub conditions: Vec<String>,
    /// Field, and whether the largest comes first.
    pub order: Vec<(String, bool)>,
    pub limit: Option<u64>,
}

impl Query {
    /// Without the names of resources that nobody asked for, which come with every row otherwise.
    pub fn text(&self) -> String {
        let mut text = format!("SELECT {} FROM {}", self.select.join(", "), self.from);
        for (index, condition) in self.conditions.iter().enumerate() {
            let _ = write!(text, " {} {condition}", if index == 0 { "WHERE" } else { "AND" });
        }
        for (index, (field, is_down)) in self.order.iter().enumerate() {
            let _ = write!(text, "{}{field}", if index == 0 { " ORDER BY " } else { ", " });
            if *is_down {
                text.push_str(" DESC");
            }
        }
        if let Some(limit) = self.limit {
            let _ = write!(text, " LIMIT {limit}");
        }
        text.push_str(" PARAMETERS omit_unselected_resource_names = true");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::field_path;

    #[test]
    fn a_field_has_a_name_in_words() {
        for (pointer, want) in [
            ("/campaign/id", Some("campaign.id")),
            ("/adGroupAd/ad/finalMobileUrls", Some("ad_group_ad.ad.final_mobile_urls")),
            ("/metrics/videoQuartileP100Rate", Some("metrics.video_quartile_p100_rate")),
            ("/metrics/costMicros", Some("metrics.cost_micros")),
            ("/campaign/id FROM x", None),
            ("/Campaign", None),
            ("", None),
        ] {
            let path = if pointer.is_empty() { Vec::new() } else { field_path(pointer) };
            assert_eq!(name_of(&path).ok().as_deref(), want, "{pointer}");
        }
        assert!(resource("ad_group_ad").is_ok());
        assert!(resource("campaign WHERE").is_err());
    }

    #[test]
    fn literals_cannot_end_early_and_say_no_more_than_gaql_can() {
        for (text, want) in [
            ("plain", Some("'plain'")),
            ("it's", Some(r"'it\'s'")),
            (r"\' OR", Some(r"'\\\' OR'")),
            ("é漢\"", Some("'é漢\"'")),
            ("a\nb", None),
            ("a\0", None),
        ] {
            assert_eq!(string(text).as_deref(), want, "{text}");
        }
        for (text, want) in [
            ("1", Some("1")),
            ("-1.50", Some("-1.5")),
            ("123456789012345", Some("123456789012345")),
            ("1234567890123456", None),
            ("1e5", None),
            ("NaN", None),
            ("1.", None),
            ("-", None),
        ] {
            assert_eq!(number(text).as_deref(), want, "{text}");
        }
        for (pattern, want) in [
            ("Sale%", Some("'Sale%'")),
            ("a_b[c]", Some("'a%b%c%'")),
            (r"50\%'", Some(r"'50%\''")),
            (r"a\\b", Some("'a%b'")),
            (r"a\", None),
        ] {
            assert_eq!(like_pattern(pattern).as_deref(), want, "{pattern}");
        }
    }

    #[test]
    fn a_query_has_its_parts_in_order() {
        let query = Query {
            select: vec!["campaign.id".into(), "metrics.clicks".into()],
            from: "campaign".into(),
            conditions: vec![Days { first: 0, last: 31 }.condition(), "metrics.clicks > 5".into()],
            order: vec![("metrics.clicks".into(), true), ("campaign.id".into(), false)],
            limit: Some(3),
        };
        assert_eq!(
            query.text(),
            "SELECT campaign.id, metrics.clicks FROM campaign WHERE segments.date BETWEEN '1970-01-01' AND '1970-02-01' \
             AND metrics.clicks > 5 ORDER BY metrics.clicks DESC, campaign.id LIMIT 3 \
             PARAMETERS omit_unselected_resource_names = true"
        );
        assert_eq!(Days { first: -1, last: -1 }.condition(), "segments.date = '1969-12-31'");
        assert_eq!(day_of(-1), -1);
    }
}
