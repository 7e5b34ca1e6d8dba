//! Reads records whose fields have to be asked for in several requests, and joins their parts.
//!
//! A part lacks a record when it was deleted, or changed its place, between two calls: then it is left out here. What is
//! gone is told elsewhere, and what changed comes with the next run.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::raw::object_members;
use crate::extract::text::quoted;

/// Two parts of one record as one: members of the other that this one lacks are added, and objects on the way to `under`
/// are joined. Digits and order stay as they were sent.
pub fn join(one: &str, other: &str, under: &[String]) -> Option<String> {
    let (ours, theirs) = (object_members(one)?, object_members(other)?);
    let mut joined = String::with_capacity(one.len() + other.len());
    let mut add = |key: &str, value: &str| {
        joined.push(if joined.is_empty() { '{' } else { ',' });
        joined.push_str(&quoted(key));
        joined.push(':');
        joined.push_str(value);
    };
    for (key, value) in &ours {
        let inner = under.split_first().filter(|(first, _)| *first == key);
        let partner = theirs.iter().rev().find(|(name, _)| name == key);
        match inner.zip(partner).and_then(|((_, rest), (_, partner))| join(value, partner, rest)) {
            Some(both) => add(key, &both),
            None => add(key, value),
        }
    }
    for (key, value) in theirs.iter().filter(|(key, _)| !ours.iter().any(|(known, _)| known == key)) {
        add(key, value);
    }
    if joined.is_empty() {
        joined.push('{');
    }
    joined.push('}');
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_digit_by_digit() {
        let under = ["p".to_string()];
        for (one, other, under, want) in [
            (
                r#"{"id": "1", "p": {"a": 1.50, "id": 1}, "x": 12345678901234567890123}"#,
                r#"{"id": "1", "p": {"b": null, "id": 2}, "y": "é\n"}"#,
                &under[..],
                r#"{"id":"1","p":{"a":1.50,"id":1,"b":null},"x":12345678901234567890123,"y":"é\n"}"#,
            ),
            (r#"{"a": 1}"#, r#"{"b": {"c": 2}}"#, &[][..], r#"{"a":1,"b":{"c": 2}}"#),
            ("{}", "{}", &[][..], "{}"),
            (r#"{"p": null}"#, r#"{"p": {"a": 1}}"#, &under[..], r#"{"p":null}"#),
        ] {
            assert_eq!(join(one, other, under).as_deref(), Some(want));
        }
        assert_eq!(join("[]", "{}", &[]), None);
    }
}
