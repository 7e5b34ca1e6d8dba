//! Writes SOQL: names, literals and whole queries that Salesforce reads exactly as we mean them.
//!
//! A literal that SOQL cannot express is `None`, and the condition is then left to Postgres. Field names reach a query
//! only through [`check_name`], values only through the literal functions: nothing a user types can end a string early.
//!
//! Docs: SOQL and SOSL Reference, "Quoted String Escape Sequences", "Date Formats and Date Literals", "LIKE".
//!
//! Layer: extract. Knows nothing of Postgres.

use crate::error::SyncError;
use crate::extract::time;
use std::fmt::Write;

/// Digits of a number that survive the double in which Salesforce's JSON writes it.
const SAFE_DIGITS: usize = 15;
/// The years that SOQL accepts in dates and datetimes.
const YEARS: (&str, &str) = ("1700-01-01", "4000-12-31");

/// An object's or field's name, or a path of relationships (`Owner.Name`).
pub fn check_name(name: &str) -> Result<&str, SyncError> {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
    };
    if name.split('.').all(is_word) {
        Ok(name)
    } else {
        Err(SyncError::internal(format!("\"{name}\" cannot be the name of a Salesforce object or field")))
    }
}

/// Whether a text is an id as Salesforce's replies write it: 18 letters and digits.
pub fn is_id(text: &str) -> bool {
    text.len() == 18 && text.bytes().all(|c| c.is_ascii_alphanumeric())
}

/// A quoted string. `None` with a NUL, which neither Salesforce nor Postgres can hold.
pub fn string(text: &str) -> Option<String> {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        push_escaped(&mut quoted, c)?;
    }
    quoted.push('\'');
    Some(quoted)
}

fn push_escaped(out: &mut String, c: char) -> Option<()> {
    match c {
        '\0' => return None,
        '\\' => out.push_str("\\\\"),
        '\'' => out.push_str("\\'"),
        '"' => out.push_str("\\\""),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        c if c.is_control() => {
            let _ = write!(out, "\\u{:04X}", c as u32);
        }
        c => out.push(c),
    }
    Some(())
}

/// A LIKE pattern of Postgres as one of SOQL, which ignores case and so finds at least as much.
///
/// `None` for what SOQL cannot say: a literal backslash (its escaping inside LIKE is not documented) or an escape
/// with nothing behind it.
pub fn like_pattern(pattern: &str) -> Option<String> {
    let mut quoted = String::with_capacity(pattern.len() + 2);
    quoted.push('\'');
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                '\\' => return None,
                wildcard @ ('%' | '_') => {
                    quoted.push('\\');
                    quoted.push(wildcard);
                }
                plain => push_escaped(&mut quoted, plain)?,
            },
            c => push_escaped(&mut quoted, c)?,
        }
    }
    quoted.push('\'');
    Some(quoted)
}

/// A decimal number. `None` with an exponent, NaN or infinity, and with more digits than Salesforce's replies keep:
/// Postgres would compare with the rounded value that we received, Salesforce with the one it stores.
pub fn number(text: &str) -> Option<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = !whole.is_empty() && whole.bytes().chain(fraction.bytes()).all(|c| c.is_ascii_digit());
    if !is_number || (digits.contains('.') && fraction.is_empty()) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let counted = format!("{whole}{fraction}");
    if counted.trim_start_matches('0').len() > SAFE_DIGITS {
        return None;
    }
    let sign = if digits.len() < text.len() { "-" } else { "" };
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

/// A day, given as days since 1970.
pub fn date(days: i32) -> Option<String> {
    in_years(time::to_iso_ms(i64::from(days).checked_mul(86_400_000_000)?).get(..10)?.to_string())
}

/// An instant with milliseconds, the finest SOQL has; what is finer is cut off.
pub fn datetime(micros: i64) -> Option<String> {
    in_years(time::to_iso_ms(micros.div_euclid(1000).checked_mul(1000)?))
}

/// The same, rounded up.
pub fn datetime_up(micros: i64) -> Option<String> {
    datetime(micros.checked_add(999)?)
}

fn in_years(text: String) -> Option<String> {
    let day = text.get(..10)?;
    (text.as_bytes().get(4) == Some(&b'-') && day >= YEARS.0 && day <= YEARS.1).then_some(text)
}

/// One query; its parts are already SOQL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Joined by AND.
    pub conditions: Vec<String>,
    /// The text behind ORDER BY; empty for none.
    pub order: String,
    pub limit: Option<u64>,
}

impl Tail {
    /// `SELECT <fields> FROM <object>` and what belongs behind it.
    pub fn query(&self, fields: &[String], object: &str) -> String {
        let mut soql = format!("SELECT {} FROM {object}", fields.join(","));
        for (index, condition) in self.conditions.iter().enumerate() {
            soql.push_str(if index == 0 { " WHERE " } else { " AND " });
            soql.push_str(condition);
        }
        if !self.order.is_empty() {
            soql.push_str(" ORDER BY ");
            soql.push_str(&self.order);
        }
        if let Some(limit) = self.limit {
            let _ = write!(soql, " LIMIT {limit}");
        }
        soql
    }
}

/// How many bytes a text takes in an address at most (everything but letters, digits and `-._*` as `%XX`).
pub fn encoded_len(text: &str) -> usize {
    text.bytes().map(|c| if c.is_ascii_alphanumeric() || b"-._*".contains(&c) { 1 } else { 3 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_and_paths_of_words() {
        for (name, good) in [
            ("Account", true),
            ("ns__Linked__c", true),
            ("Owner.Name", true),
            ("Pricebook2Id", true),
            ("", false),
            ("Id FROM User--", false),
            ("a.", false),
            ("_x", false),
            ("naïve", false),
        ] {
            assert_eq!(check_name(name).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn strings_cannot_end_early() {
        for (text, want) in [
            ("plain", Some("'plain'")),
            ("O'Brien", Some(r"'O\'Brien'")),
            (r"back\slash", Some(r"'back\\slash'")),
            (r"\' OR Name != '", Some(r"'\\\' OR Name != \''")),
            ("a\nb\tc\u{8}\u{c}\r\"", Some(r#"'a\nb\tc\b\f\r\"'"#)),
            ("\u{1}\u{85}", Some(r"'\u0001\u0085'")),
            ("é漢", Some("'é漢'")),
            ("50%_", Some("'50%_'")),
            ("a\0b", None),
        ] {
            assert_eq!(string(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn like_patterns_keep_their_wildcards_and_escapes() {
        for (pattern, want) in [
            ("Ac%", Some("'Ac%'")),
            (r"50\%", Some(r"'50\%'")),
            (r"a\_b_", Some(r"'a\_b_'")),
            (r"\x'", Some(r"'x\''")),
            (r"a\\b", None),
            (r"a\", None),
        ] {
            assert_eq!(like_pattern(pattern).as_deref(), want, "{pattern}");
        }
    }

    #[test]
    fn numbers_days_and_instants() {
        for (text, want) in [
            ("1", Some("1")),
            ("-1.50", Some("-1.5")),
            ("0.000", Some("0")),
            ("123456789012345", Some("123456789012345")),
            ("1234567890123456", None),
            ("0.00000000000000000001", Some("0.00000000000000000001")),
            ("1e5", None),
            ("NaN", None),
            (".5", None),
            ("1.", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(number(text).as_deref(), want, "{text}");
        }
        assert_eq!(date(0).as_deref(), Some("1970-01-01"));
        assert_eq!(date(-100_000), None, "before SOQL's years");
        assert_eq!(date(800_000), None, "after SOQL's years");
        assert_eq!(date(i32::MAX), None);
        assert_eq!(datetime(1_999).as_deref(), Some("1970-01-01T00:00:00.001Z"));
        assert_eq!(datetime_up(1_001).as_deref(), Some("1970-01-01T00:00:00.002Z"));
        assert_eq!(datetime_up(1_000).as_deref(), Some("1970-01-01T00:00:00.001Z"));
        assert_eq!(datetime(-1).as_deref(), Some("1969-12-31T23:59:59.999Z"));
        assert_eq!(datetime_up(i64::MAX), None);
    }

    #[test]
    fn a_query_has_its_parts_in_order() {
        let fields = ["Id".to_string(), "Name".to_string()];
        for (tail, want) in [
            (Tail::default(), "SELECT Id,Name FROM Account"),
            (
                Tail { conditions: vec!["A = 1".into(), "B = 2".into()], order: "Id".into(), limit: Some(5) },
                "SELECT Id,Name FROM Account WHERE A = 1 AND B = 2 ORDER BY Id LIMIT 5",
            ),
        ] {
            assert_eq!(tail.query(&fields, "Account"), want);
        }
        assert_eq!(encoded_len("a b,é"), 1 + 3 + 1 + 3 + 6);
    }
}
