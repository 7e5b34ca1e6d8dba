//! Finds values in JSON text without building a tree: what comes back are slices of the reply.
//!
//! Layer: extract. Knows nothing of Postgres.

use crate::extract::record::string_of;
use crate::manifest::field_path;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The value at a pointer (or bare key); the empty pointer is the value itself.
pub fn at<'a>(raw: &'a str, pointer: &str) -> Option<&'a str> {
    if pointer.is_empty() {
        return Some(raw);
    }
    at_path(raw, &field_path(pointer))
}

/// The value at a path of keys. Of repeated keys the last counts, as in every JSON reader.
pub fn at_path<'a>(raw: &'a str, path: &[String]) -> Option<&'a str> {
    let mut value = raw;
    for key in path {
        value = match value.trim_start().as_bytes().first()? {
            b'{' => serde_json::Deserializer::from_str(value).deserialize_map(Member(key)).ok()??,
            b'[' => elements(value)?.get(key.parse::<usize>().ok()?).copied()?,
            _ => return None,
        };
    }
    Some(value)
}

/// The text at a pointer: a string without its quotes, anything else as it is written; `None` for null or nothing.
pub fn text_at<'a>(raw: &'a str, pointer: &str) -> Option<Cow<'a, str>> {
    at(raw, pointer).filter(|value| *value != "null").map(string_of)
}

/// The elements of an array.
pub fn elements(raw: &str) -> Option<Vec<&str>> {
    let values: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    Some(values.into_iter().map(RawValue::get).collect())
}

/// Finds one member of an object.
struct Member<'k>(&'k str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(IsKey(self.0))? {
            if is_it {
                found = Some(map.next_value::<&RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _seq: A) -> Result<Self::Value, A::Error> {
        Ok(None)
    }
}

/// Compares a key without keeping it.
struct IsKey<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_slices_of_the_text() {
        let raw = r#" {"a": {"b/c": [10, {"d": "x\ny"}]}, "n": null, "k\u0065y": 1, "twice": 1, "twice": 2} "#;
        for (pointer, want) in [
            ("/a/b~1c/0", Some("10")),
            ("/a/b~1c/1/d", Some(r#""x\ny""#)),
            ("/a/b~1c/2", None),
            ("/a/x", None),
            ("/a/b~1c/1/d/e", None),
            ("/n", Some("null")),
            ("key", Some("1")),
            ("/twice", Some("2")),
        ] {
            assert_eq!(at(raw, pointer), want, "{pointer}");
        }
        assert_eq!(at(raw, ""), Some(raw));
        assert_eq!(text_at(raw, "/a/b~1c/1/d").as_deref(), Some("x\ny"));
        assert_eq!(text_at(raw, "/n"), None);
        assert_eq!(elements("[1, [2], {\"a\":3}]"), Some(vec!["1", "[2]", "{\"a\":3}"]));
        assert_eq!(elements("{}"), None);
    }

    #[test]
    fn deep_nesting_is_passed_over() {
        let deep = format!("{{\"x\": {}{}, \"a\": 1}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(at(&deep, "/a"), Some("1"));
    }
}
