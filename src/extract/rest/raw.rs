//! Finds values in JSON text without building a tree: what comes back are slices of the reply.
//!
//! Layer: extract. Knows nothing of Postgres.

use crate::extract::json::{self, members, Malformed, Scanner};
use crate::extract::record::string_of;
use crate::manifest::field_path;
use std::borrow::Cow;

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
            b'{' => {
                let mut found = None;
                for member in members(value) {
                    let (name, inner) = member.ok()?;
                    if name == key.as_str() {
                        found = Some(inner);
                    }
                }
                found?
            }
            b'[' => elements(value)?.get(key.parse::<usize>().ok()?).copied()?,
            _ => return None,
        };
    }
    Some(value)
}

/// The text at a pointer: a string without its quotes, anything else as it is written; `None` for null or nothing.
pub fn text_at<'a>(raw: &'a str, pointer: &str) -> Option<Cow<'a, str>> {
    at(raw, pointer).and_then(text_of)
}

/// The text of a value: a string without its quotes, anything else as it is written; `None` for null.
pub fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    (raw != "null").then(|| string_of(raw))
}

/// The elements of an array.
pub fn elements(raw: &str) -> Option<Vec<&str>> {
    json::elements(raw).collect::<Result<_, _>>().ok()
}

/// The members of an object, in order.
pub fn object_members(raw: &str) -> Option<Vec<(String, &str)>> {
    raw.trim_start().starts_with('{').then_some(())?;
    members(raw).map(|member| member.ok().map(|(key, value)| (key.into_owned(), value))).collect()
}

/// The parts of a reply, found while it is read once and checked to be JSON to its end.
#[derive(Debug)]
pub struct Parts<'a> {
    wanted: Vec<Wanted<'a>>,
    /// The elements of the first wanted value, when it is an array.
    pub elements: Vec<&'a str>,
}

#[derive(Debug)]
struct Wanted<'a> {
    path: Vec<String>,
    value: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Reads `text` for the values at some pointers, and for the elements of the first of them.
    pub fn read(text: &'a str, pointers: &[&str]) -> Result<Self, Malformed> {
        let path = |pointer: &&str| if pointer.is_empty() { Vec::new() } else { field_path(pointer) };
        let wanted = pointers.iter().map(|pointer| Wanted { path: path(pointer), value: None }).collect();
        let mut parts = Parts { wanted, elements: Vec::new() };
        let mut scanner = Scanner::new(text);
        let all: Vec<usize> = (0..pointers.len()).collect();
        parts.visit(&mut scanner, 0, &all)?;
        scanner.end()?;
        Ok(parts)
    }

    /// The value at one of the pointers, by its number.
    pub fn value(&self, number: usize) -> Option<&'a str> {
        self.wanted.get(number)?.value
    }

    /// Reads one value, to which the paths of `through` lead or through which they go; `depth` keys lie behind.
    fn visit(&mut self, scanner: &mut Scanner<'a>, depth: usize, through: &[usize]) -> Result<(), Malformed> {
        let first = scanner.token();
        let from = scanner.at();
        let ends = |part: &usize| self.wanted.get(*part).is_some_and(|wanted| wanted.path.len() == depth);
        let (here, deeper): (Vec<usize>, Vec<usize>) = through.iter().partition(|part| ends(part));
        let is_list = here.contains(&0);
        match first {
            b'{' if !deeper.is_empty() => {
                let mut key = scanner.first_key()?;
                while let Some(name) = key {
                    let below = self.begin(&deeper, depth, |wanted| name.is(wanted));
                    self.visit_or_pass(scanner, depth, &below)?;
                    key = scanner.next_key()?;
                }
            }
            b'[' if is_list || !deeper.is_empty() => {
                let (mut index, mut goes_on) = (0, scanner.first_element()?);
                while goes_on {
                    let below = self.begin(&deeper, depth, |wanted| wanted.parse() == Ok(index));
                    let element = self.visit_or_pass(scanner, depth, &below)?;
                    if is_list {
                        self.elements.push(element);
                    }
                    index += 1;
                    goes_on = scanner.next_element()?;
                }
            }
            _ => {
                scanner.value()?;
            }
        }
        for part in here {
            if let Some(wanted) = self.wanted.get_mut(part) {
                wanted.value = Some(scanner.since(from));
            }
        }
        Ok(())
    }

    /// The paths that go on with this key. What an earlier member of the same key gave is forgotten: the last counts.
    fn begin(&mut self, paths: &[usize], depth: usize, is_key: impl Fn(&str) -> bool) -> Vec<usize> {
        let mut below = Vec::new();
        for part in paths {
            let Some(wanted) = self.wanted.get_mut(*part) else { continue };
            if wanted.path.get(depth).is_some_and(|key| is_key(key)) {
                wanted.value = None;
                if *part == 0 {
                    self.elements.clear();
                }
                below.push(*part);
            }
        }
        below
    }

    fn visit_or_pass(
        &mut self,
        scanner: &mut Scanner<'a>,
        depth: usize,
        below: &[usize],
    ) -> Result<&'a str, Malformed> {
        if below.is_empty() {
            return scanner.value();
        }
        scanner.token();
        let from = scanner.at();
        self.visit(scanner, depth + 1, below)?;
        Ok(scanner.since(from))
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
            assert_eq!(Parts::read(raw, &[pointer]).unwrap().value(0), want, "{pointer}");
        }
        assert_eq!(at(raw, ""), Some(raw));
        assert_eq!(text_at(raw, "/a/b~1c/1/d").as_deref(), Some("x\ny"));
        assert_eq!(text_at(raw, "/n"), None);
        assert_eq!(elements("[1, [2], {\"a\":3}]"), Some(vec!["1", "[2]", "{\"a\":3}"]));
        assert_eq!(elements("{}"), None);
    }

    #[test]
    fn the_parts_of_a_reply_are_found_in_one_reading() {
        for (name, raw, pointers, elements, values) in [
            (
                "a list and a flag",
                r#" {"d": [1, {"x": 2} ], "more" : true} "#,
                ["/d", "/more"],
                vec!["1", r#"{"x": 2}"#],
                [Some(r#"[1, {"x": 2} ]"#), Some("true")],
            ),
            (
                "both in one object",
                r#"{"r": {"items": ["a"], "next": "u"}, "next": 1}"#,
                ["/r/items", "/r/next"],
                vec![r#""a""#],
                [Some(r#"["a"]"#), Some(r#""u""#)],
            ),
            ("the list is the reply", "[1,[2]]\n", ["", "/1/0"], vec!["1", "[2]"], [Some("[1,[2]]"), Some("2")]),
            (
                "the record is the reply",
                r#"{"id": {"n": 1}}"#,
                ["", "/id/n"],
                vec![],
                [Some(r#"{"id": {"n": 1}}"#), Some("1")],
            ),
            (
                "of repeated keys the last counts",
                r#"{"d": [1, 2], "m": {"n": 1}, "m": {}, "d": [3]}"#,
                ["/d", "/m/n"],
                vec!["3"],
                [Some("[3]"), None],
            ),
            (
                "a list that is replaced by none",
                r#"{"d": [1, 2], "d": null}"#,
                ["/d", "/m"],
                vec![],
                [Some("null"), None],
            ),
            (
                "a key that no text can hold",
                r#"{"\ud800": 1, "d": [], "m": 2}"#,
                ["/d", "/m"],
                vec![],
                [Some("[]"), Some("2")],
            ),
        ] {
            let parts = Parts::read(raw, &pointers).unwrap();
            assert_eq!(parts.elements, elements, "{name}");
            assert_eq!([parts.value(0), parts.value(1)], values, "{name}");
        }
        for broken in ["", "{\"d\": [1, 2]", "{\"d\": [1, 2]} x", "{\"d\": [1 2]}", "{\"x\": {\"y\": tru}}"] {
            assert!(Parts::read(broken, &["/d", "/x"]).is_err(), "{broken}");
        }
    }

    #[test]
    fn deep_nesting_is_passed_over() {
        let deep = format!("{{\"x\": {}{}, \"a\": 1}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(at(&deep, "/a"), Some("1"));
    }
}
