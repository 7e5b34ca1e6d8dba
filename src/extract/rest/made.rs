//! Decides the values of columns that are not a field of the record as it is: fixed, from around it, hashed, reshaped.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::pages::Around;
use super::raw::{at_path, elements, text_at};
use super::take;
use crate::extract::record::string_of;
use crate::extract::text::quoted;
use crate::extract::{OutColumn, Output};
use crate::http::Account;
use crate::manifest::{template, Collection, Column, Deletes, FieldIs, Shape};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How a column's value is made.
pub enum Made {
    /// JSON text.
    Fixed(String),
    Index,
    Key,
    /// A pointer, with `^` for each step outwards.
    Around(String),
    /// Pointers, with `^` as above.
    Hash(Vec<String>),
    Shaped {
        path: Vec<String>,
        shape: Option<Shape>,
        null_if: Vec<String>,
    },
}

/// What of an output the record parser fills, and what is made: (index of the column, how).
pub fn split(account: &Account, output: &Output) -> (Output, Vec<(usize, Made)>) {
    let collection = &output.collection;
    let mut parsed = output.clone();
    let mut made = Vec::new();
    if collection.columns.iter().all(Column::is_plain) {
        return (parsed, made);
    }
    for (index, column) in output.columns.iter().enumerate() {
        let of_file = collection.column(&column.name).filter(|known| !known.is_plain());
        // The user may have bound the column to another field of the record.
        let Some(known) = of_file.filter(|known| !known.is_of_record() || known.path() == column.path) else {
            continue;
        };
        made.push((index, how(account, known, column)));
        if let Some(own) = parsed.columns.get_mut(index) {
            own.path = Vec::new();
        }
    }
    let columns = collection.columns.iter().filter(|column| column.is_of_record()).cloned().collect();
    parsed.collection = Arc::new(Collection { columns, ..Collection::clone(collection) });
    (parsed, made)
}

fn how(account: &Account, known: &Column, column: &OutColumn) -> Made {
    if !known.hash.is_empty() {
        return Made::Hash(known.hash.clone());
    }
    match known.value.as_deref() {
        Some("#index") => Made::Index,
        Some("#key") => Made::Key,
        Some(pointer) if pointer.starts_with('^') => Made::Around(pointer.to_string()),
        Some(text) => {
            let filled = template::fill(text, |name| crate::http::setting(account, name));
            Made::Fixed(filled.ok().flatten().map_or_else(|| "null".to_string(), |text| quoted(&text)))
        }
        None => Made::Shaped { path: column.path.clone(), shape: known.shape.clone(), null_if: known.null_if.clone() },
    }
}

impl Made {
    /// The value, as JSON text.
    pub fn value<'v>(&'v self, raw: &'v str, around: &'v Around<'_>) -> Cow<'v, str> {
        match self {
            Made::Fixed(json) => Cow::Borrowed(json),
            Made::Index => around.index.to_string().into(),
            Made::Key => around.key.map_or(Cow::Borrowed("null"), |key| quoted(key).into()),
            Made::Around(pointer) => {
                let found = take::around(raw, &around.outer, pointer);
                found.and_then(|(raw, pointer)| super::raw::at(raw, pointer)).unwrap_or("null").into()
            }
            Made::Hash(fields) => hash(raw, &around.outer, fields).into(),
            Made::Shaped { path, shape, null_if } => {
                let value = shaped(raw, at_path(raw, path), shape.as_ref());
                let is_nothing = null_if.iter().any(|nothing| *nothing == string_of(&value));
                if is_nothing {
                    Cow::Borrowed("null")
                } else {
                    value
                }
            }
        }
    }
}

/// A key for a record that has none: 32 hex digits of its parts, nulls and all.
fn hash(raw: &str, outer: &[&str], fields: &[String]) -> String {
    let mut text = String::new();
    for field in fields {
        let found = take::around(raw, outer, field).and_then(|(raw, field)| super::raw::at(raw, field));
        let value = found.unwrap_or("null");
        // The length keeps neighbours apart.
        text.push_str(&format!("{}:{value},", value.len()));
    }
    format!("\"{:032x}\"", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}

fn shaped<'v>(raw: &'v str, value: Option<&'v str>, shape: Option<&Shape>) -> Cow<'v, str> {
    let present = value.filter(|value| *value != "null");
    let Some(shape) = shape else { return Cow::Borrowed(value.unwrap_or("null")) };
    let changed = match shape {
        Shape::Micros => present.and_then(|value| micros(&string_of(value))).map(Cow::Owned),
        Shape::Pairs { key, value } => present.and_then(|list| pairs(list, key, value)).map(Cow::Owned),
        Shape::First => {
            return present.and_then(elements).map_or(Cow::Borrowed(value.unwrap_or("null")), |list| {
                Cow::Borrowed(list.first().copied().unwrap_or("null"))
            })
        }
        Shape::Join { separator } => present.and_then(elements).map(|list| {
            let texts: Vec<Cow<'_, str>> = list.into_iter().map(string_of).collect();
            Cow::Owned(quoted(&texts.join(separator)))
        }),
        Shape::Set { fields } => present.and_then(|list| set(list, fields)).map(Cow::Owned),
        Shape::Query { param } => {
            return present
                .and_then(|value| query(&string_of(value), param))
                .map_or(Cow::Borrowed("null"), |text| Cow::Owned(quoted(&text)));
        }
        Shape::Or { fields } => {
            let mut others =
                fields.iter().filter_map(|field| super::raw::at(raw, field)).filter(|value| *value != "null");
            return Cow::Borrowed(present.or_else(|| others.next()).unwrap_or("null"));
        }
    };
    // What has another shape than expected stays as it is: the column says whether it can hold it.
    changed.unwrap_or(Cow::Borrowed(value.unwrap_or("null")))
}

/// A whole number of millionths as a decimal number, digit by digit.
fn micros(text: &str) -> Option<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let padded = format!("{digits:0>7}");
    let (whole, fraction) = padded.split_at(padded.len() - 6);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = fraction.trim_end_matches('0');
    let sign = if text.starts_with('-') { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

/// `[{id: 1, value: "a"}]` as `{"1": "a"}`.
fn pairs(list: &str, key: &str, value: &str) -> Option<String> {
    let mut out = String::from("{");
    for element in elements(list)? {
        let Some(name) = text_at(element, key) else { continue };
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&format!("{}:{}", quoted(&name), super::raw::at(element, value).unwrap_or("null")));
    }
    out.push('}');
    Some(out)
}

/// `[{id: 2}, {id: "1"}, {id: 2}]` as `["1","2"]`.
fn set(list: &str, fields: &[String]) -> Option<String> {
    let text_of = |element| fields.iter().find_map(|field| text_at(element, field));
    let texts: BTreeSet<Cow<'_, str>> = elements(list)?.into_iter().filter_map(text_of).collect();
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    Some(format!("[{}]", quoted.join(",")))
}

/// One parameter of a query string, with or without an address before it.
fn query(text: &str, param: &str) -> Option<String> {
    let query = text.split_once('?').map_or(text, |(_, query)| query);
    let url = reqwest::Url::parse(&format!("form:?{}", query.split('#').next().unwrap_or_default())).ok()?;
    let found = url.query_pairs().find(|(name, _)| name == param).map(|(_, value)| value.into_owned());
    found.filter(|value| !value.is_empty())
}

/// Whether a record is gone by the collection's rule; `None` when it has none.
pub fn is_gone_by_rule(collection: &Collection, raw: &str) -> Option<bool> {
    let Deletes::Rule { any } = &collection.deletes else { return None };
    Some(any.iter().any(|rule| holds(rule, raw)))
}

/// Whether a record itself says that it is gone.
pub fn is_marked_gone(collection: &Collection, raw: &str) -> bool {
    match &collection.deletes {
        Deletes::Flag { field, equals } => {
            text_at(raw, field).is_some_and(|text| text == equals.as_deref().unwrap_or("true"))
        }
        _ => is_gone_by_rule(collection, raw).unwrap_or(false),
    }
}

/// Whether a condition on a field holds.
pub fn holds(rule: &FieldIs, raw: &str) -> bool {
    let value = text_at(raw, &rule.field);
    let by_value = rule.values.as_ref().is_some_and(|values| value.as_deref().is_some_and(|value| values.has(value)));
    by_value || rule.set.is_some_and(|set| set == value.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(shape: serde_json::Value, null_if: &[&str]) -> Made {
        let shape = serde_json::from_value(shape).unwrap();
        Made::Shaped { path: vec!["f".into()], shape, null_if: null_if.iter().map(|s| s.to_string()).collect() }
    }

    #[test]
    fn values_are_reshaped_without_loss() {
        let micros = || json!({"style": "micros"});
        let utm = || json!({"style": "query", "param": "utm_source"});
        for (shape, null_if, raw, want) in [
            (micros(), vec![], r#"{"f": 1500000}"#, "1.5"),
            (micros(), vec![], r#"{"f": "-12"}"#, "-0.000012"),
            (micros(), vec![], r#"{"f": "90071992547409931000000"}"#, "90071992547409931"),
            (micros(), vec![], r#"{"f": 0}"#, "0"),
            (micros(), vec![], r#"{"f": "n/a"}"#, "\"n/a\""),
            (
                json!({"style": "pairs", "key": "/id", "value": "/v"}),
                vec![],
                r#"{"f": [{"id": 7, "v": [1]}, {"v": 2}, {"id": "a\"b"}]}"#,
                r#"{"7":[1],"a\"b":null}"#,
            ),
            (json!({"style": "pairs", "key": "/id", "value": "/v"}), vec![], r#"{"f": null}"#, "null"),
            (json!({"style": "first"}), vec![], r#"{"f": ["x", "y"]}"#, "\"x\""),
            (json!({"style": "first"}), vec![], r#"{"f": []}"#, "null"),
            (json!({"style": "join", "separator": ", "}), vec![], r#"{"f": ["x", 1]}"#, "\"x, 1\""),
            (
                json!({"style": "set", "fields": ["/id", "/to"]}),
                vec![],
                r#"{"f": [{"id": "7"}, {"to": 12}, {"id": 7, "to": 1}, {"x": 1}]}"#,
                r#"["12","7"]"#,
            ),
            (json!({"style": "set", "fields": ["/id"]}), vec![], r#"{"f": []}"#, "[]"),
            (json!({"style": "set", "fields": ["/id"]}), vec![], "{}", "null"),
            (utm(), vec![], r#"{"f": "a=1&utm_source=a%20b+c#x"}"#, "\"a b c\""),
            (utm(), vec![], r#"{"f": "https://x.test/?utm_source=mail"}"#, "\"mail\""),
            (utm(), vec![], r#"{"f": "https://x.test/"}"#, "null"),
            (json!({"style": "or", "fields": ["g", "/h/i"]}), vec![], r#"{"f": null, "h": {"i": 3}}"#, "3"),
            (json!(null), vec!["", "null"], r#"{"f": "null"}"#, "null"),
            (json!(null), vec![""], r#"{"f": ""}"#, "null"),
            (json!(null), vec![""], r#"{"f": "x"}"#, "\"x\""),
            (json!(null), vec![""], "{}", "null"),
        ] {
            let around = Around::default();
            assert_eq!(made(shape, &null_if).value(raw, &around), want, "{raw}");
        }
    }

    #[test]
    fn keys_made_of_parts_differ_when_a_part_does() {
        let of = |raw: &str| hash(raw, &[], &["a".into(), "/b/c".into()]);
        assert_eq!(of(r#"{"a": 1, "b": {"c": 2}}"#), of(r#"{"b": {"c": 2}, "x": 9, "a": 1}"#));
        assert_ne!(of(r#"{"a": "1", "b": {"c": 2}}"#), of(r#"{"a": 1, "b": {"c": 2}}"#));
        assert_ne!(of(r#"{"a": 12}"#), of(r#"{"a": 1, "b": {"c": 2}}"#));
        assert_eq!(of("{}").len(), 34);
        let with_parent = |parent: &str| hash(r#"{"a": 1}"#, &[parent], &["^/id".into(), "a".into()]);
        assert_ne!(with_parent(r#"{"id": 1}"#), with_parent(r#"{"id": 2}"#));
        assert_eq!(with_parent(r#"{"id": 1}"#), with_parent(r#"{"id": 1, "x": 2}"#));
    }

    #[test]
    fn a_rule_marks_what_is_gone() {
        let deletes = serde_json::from_value(json!({"style": "rule", "any": [
            {"field": "deleted_at", "set": true}, {"field": "/s/t", "values": ["archived", "cleaned"]}]}));
        let collection = Collection { deletes: deletes.unwrap(), ..Collection::default() };
        for (raw, want) in [
            (r#"{"deleted_at": "2024-01-01"}"#, true),
            (r#"{"deleted_at": null, "s": {"t": "cleaned"}}"#, true),
            (r#"{"s": {"t": "subscribed"}}"#, false),
        ] {
            assert_eq!(is_gone_by_rule(&collection, raw), Some(want), "{raw}");
        }
        assert_eq!(is_gone_by_rule(&Collection::default(), "{}"), None);
        let flagged = |deletes: serde_json::Value, raw: &str| {
            let deletes = serde_json::from_value(deletes).unwrap();
            is_marked_gone(&Collection { deletes, ..Collection::default() }, raw)
        };
        let by_status = || json!({"style": "flag", "field": "status", "equals": "Deleted"});
        assert!(flagged(by_status(), r#"{"status": "Deleted"}"#));
        assert!(!flagged(by_status(), r#"{"status": "Draft"}"#));
        assert!(flagged(json!({"style": "flag", "field": "gone"}), r#"{"gone": true}"#));
        assert!(!flagged(json!({"style": "none"}), "{}"));
    }
}
