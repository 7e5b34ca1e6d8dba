//! Holds the readers against serde_json: on whatever text, all take the same values or none.

use super::skip::{plain_bytes, BLOCK};
use super::*;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// An owned or borrowed key, as serde_json gives it.
#[derive(serde::Deserialize)]
struct AnyKey<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members by serde_json; `None` when the text is not one object.
fn members_by_serde(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    struct All;
    impl<'de> Visitor<'de> for All {
        type Value = Vec<(Cow<'de, str>, &'de str)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some((AnyKey(key), value)) = map.next_entry::<_, &RawValue>()? {
                found.push((key, value.get()));
            }
            Ok(found)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = deserializer.deserialize_map(All).ok()?;
    deserializer.end().ok().map(|()| found)
}

fn elements_by_serde(text: &str) -> Option<Vec<&str>> {
    let values: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(values.into_iter().map(RawValue::get).collect())
}

/// What a tape says of the elements of an array or of the members of an object, keys with escapes as they were sent.
fn inside_by_tape(text: &str, kind: Kind) -> Option<Vec<String>> {
    let mut tape = Tape::default();
    let value = tape.read(text).ok().filter(|value| value.kind() == kind)?;
    let found: Vec<String> = value.inside().map(|inner| inner.raw().to_string()).collect();
    let per_item = if kind == Kind::Object { 2 } else { 1 };
    assert_eq!(value.count() as usize * per_item, found.len(), "{text:?}");
    Some(found)
}

/// All readers agree on a text. Gives whether it is JSON.
fn agree(text: &str) -> bool {
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    assert_eq!(check(text).is_ok(), is_json, "{text:?}");
    assert_eq!(Tape::default().read(text).is_ok(), is_json, "{text:?}");
    let elements = elements(text).collect::<Result<Vec<_>, _>>().ok();
    assert_eq!(elements, elements_by_serde(text), "{text:?}");
    let by_tape = inside_by_tape(text, Kind::Array);
    assert_eq!(elements.map(|list| list.iter().map(|raw| raw.to_string()).collect()), by_tape, "{text:?}");
    let members = members(text).collect::<Result<Vec<_>, _>>().ok();
    assert_eq!(members, members_by_serde(text), "{text:?}");
    // A tape does not look into keys, and so takes half a surrogate pair in one.
    if let Some(members) = members {
        let by_tape = inside_by_tape(text, Kind::Object).unwrap_or_default();
        let values: Vec<&str> = by_tape.iter().skip(1).step_by(2).map(String::as_str).collect();
        assert_eq!(members.iter().map(|(_, value)| *value).collect::<Vec<_>>(), values, "{text:?}");
        let keys: Vec<String> = by_tape.iter().step_by(2).map(|key| serde_json::from_str(key).unwrap()).collect();
        assert_eq!(members.iter().map(|(key, _)| key.as_ref()).collect::<Vec<_>>(), keys, "{text:?}");
    }
    is_json
}

/// Numbers that look drawn by chance and are the same in every run (splitmix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn one_of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    fn space(&mut self) -> &'static str {
        self.one_of(&["", "", "", "", " ", "\n    ", "\t", "\r\n"])
    }

    fn string(&mut self) -> String {
        let length = self.one_of(&[&0, &1, &3, &7, &8, &9, &20]);
        let pieces = ["a", "B", "7", " ", "é", "日", "😀", "\\n", "\\\"", "\\\\", "\\/", "\\u00e9", "\\ud83d\\ude00"];
        let text: String = (0..*length).map(|_| pieces[self.below(pieces.len())]).collect();
        // Half a pair is rare, since it costs the whole object when it is in a key.
        let half = if self.below(60) == 0 { "\\ud83d" } else { "" };
        format!("\"{text}{half}\"")
    }

    fn value(&mut self, depth: usize) -> String {
        let (before, after) = (self.space(), self.space());
        let inside = match self.below(if depth == 0 { 4 } else { 7 }) {
            0 | 1 => self.string(),
            2 => self.one_of(&["0", "-0", "12", "-7.50", "1e5", "0.1E-7", "123456789012345678901234", "1e999"]).into(),
            3 => self.one_of(&["true", "false", "null"]).into(),
            4 => self.array(depth - 1),
            _ => self.object(depth - 1),
        };
        format!("{before}{inside}{after}")
    }

    fn array(&mut self, depth: usize) -> String {
        let elements: Vec<String> = (0..self.below(5)).map(|_| self.value(depth)).collect();
        format!("[{}{}]", self.space(), elements.join(","))
    }

    fn object(&mut self, depth: usize) -> String {
        let mut member = || format!("{}{}{}:{}", self.space(), self.string(), self.space(), self.value(depth));
        let mut members: Vec<String> = (0..4).map(|_| member()).collect();
        members.truncate(self.below(5));
        format!("{{{}{}}}", self.space(), members.join(","))
    }

    /// The text with something added, taken away or replaced somewhere.
    fn damaged(&mut self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        for _ in 0..1 + self.below(2) {
            let at = self.below(chars.len() + 1);
            let any: Vec<char> = "{}[],:\"\\/ \n\u{b}\u{0}\u{1f}\u{7f}\u{feff}tfnu01-+.eEé".chars().collect();
            let new = any[self.below(any.len())];
            match self.below(5) {
                0 => chars.truncate(at),
                1 => chars.insert(at, new),
                2 if at < chars.len() => chars[at] = new,
                3 if at < chars.len() => drop(chars.remove(at)),
                _ if at + 1 < chars.len() => chars.swap(at, at + 1),
                _ => {}
            }
        }
        chars.into_iter().collect()
    }
}

#[test]
fn whole_and_damaged_documents_are_judged_as_by_serde_json() {
    let mut draw = Draw(7);
    let (mut whole, mut broken) = (0, 0);
    for _ in 0..2_000 {
        let text = match draw.below(8) {
            0 => draw.value(3),
            1 | 2 => draw.array(4),
            _ => draw.object(4),
        };
        assert!(agree(&text), "the generator writes JSON: {text:?}");
        for _ in 0..8 {
            *if agree(&draw.damaged(&text)) { &mut whole } else { &mut broken } += 1;
        }
    }
    // Both outcomes are common, or the test would show nothing.
    assert!(whole > 1_000 && broken > 1_000, "{whole} damaged texts were still JSON, {broken} were not");
}

#[test]
fn all_short_texts_are_judged_as_by_serde_json() {
    for (alphabet, longest) in [("{}[],:\"0 ", 5), ("01-+.eE ", 5), ("\"\\u0aFn/\u{1f}", 4), ("[truefalsn]", 4)] {
        let alphabet: Vec<char> = alphabet.chars().collect();
        for length in 0..=longest {
            for number in 0..alphabet.len().pow(length) {
                let digit = |place: u32| alphabet[number / alphabet.len().pow(place) % alphabet.len()];
                agree(&(0..length).map(digit).collect::<String>());
            }
        }
    }
}

/// Many bytes are looked at together: what ends plain text must be found at each place among them.
#[test]
fn what_ends_plain_text_is_found_at_each_place() {
    for before in 0..20 {
        for middle in [
            "\"",
            "\\n",
            "\\",
            "\\x",
            "\u{1f}",
            "\n",
            "\u{0}",
            " ",
            "!",
            "#",
            "[",
            "]",
            "\u{7f}",
            "é",
            "ÿ",
            "\u{80}",
            "日本",
            "\u{10ffff}",
        ] {
            for after in 0..12 {
                for filler in ["a", "!", "\u{7f}", "é", "\u{100}"] {
                    let text = format!("\"{}{middle}{}\"", filler.repeat(before), filler.repeat(after));
                    assert_eq!(check(&text).is_ok(), serde_json::from_str::<IgnoredAny>(&text).is_ok(), "{text:?}");
                }
            }
        }
    }
}

/// Two words are looked at together.
#[test]
fn the_first_byte_that_ends_plain_text_is_found_in_any_block() {
    let mut draw = Draw(11);
    for _ in 0..200_000 {
        let bytes = [b'"', b'\\', b'!', b'#', b'[', b']', 0, 0x1f, 0x20, 0x21, 0x7f, 0x80, 0xa2, 0xdc, 0x9f, 0xff];
        let plain = draw.below(BLOCK + 1);
        let block: [u8; BLOCK] =
            std::array::from_fn(|at| if at < plain { [b'a', 0xe9, 0x7f][at % 3] } else { bytes[draw.below(16)] });
        let want = block.iter().position(|c| *c < 0x20 || matches!(c, b'"' | b'\\')).unwrap_or(BLOCK);
        assert_eq!(plain_bytes(&block), want, "{block:?}");
    }
}

#[test]
fn nesting_of_any_depth_is_passed_over_and_checked() {
    for depth in [1, 63, 64, 65, 127, 128, 129, 1_000, 100_000] {
        let open: String = (0..depth).map(|level| if level % 3 == 0 { "{\"k\":" } else { "[" }).collect();
        let close: String = (0..depth).rev().map(|level| if level % 3 == 0 { '}' } else { ']' }).collect();
        assert!(agree(&format!("[{open}1{close}, 2]")), "{depth}");
        for (level, wrong) in [(0, ']'), (depth / 2, '}'), (depth / 2, ']'), (depth - 1, '}')] {
            let mut close: Vec<char> = close.chars().collect();
            close[level] = wrong;
            agree(&format!("[{open}1{}, 2]", close.into_iter().collect::<String>()));
        }
    }
}

#[test]
fn members_and_elements_are_slices_of_the_text() {
    let raw = " {\"a\" : [1, {\"b\":2}] , \"k\\u0065y\":\"x\\ny\", \"a\":null}\n";
    let found: Vec<_> = members(raw).map(Result::unwrap).collect();
    let found: Vec<_> = found.iter().map(|(key, value)| (key.as_ref(), *value)).collect();
    assert_eq!(found, [("a", "[1, {\"b\":2}]"), ("key", "\"x\\ny\""), ("a", "null")]);
    assert!(matches!(members(raw).next(), Some(Ok((Cow::Borrowed("a"), _)))));
    assert_eq!(elements("[ 1 ,[2],{} ]").collect::<Result<Vec<_>, _>>().unwrap(), ["1", "[2]", "{}"]);
}

#[test]
fn an_error_says_what_is_wrong_and_where_and_ends_the_reading() {
    for (raw, good, want) in [
        ("{\"a\":1,\"b\":tru}", 1, "no value at byte 11"),
        ("{\"a\":1,\"b", 1, "the text ends too early at byte 9"),
        ("{\"a\":1 \"b\":2}", 1, "neither ',' nor the end after a value at byte 7"),
        ("{\"a\":1} x", 1, "more text after the value at byte 8"),
        ("{\"a\":\"\n\"}", 0, "a control character in a string at byte 6"),
        ("{\"\\ud800\":1}", 0, "a key with half a surrogate pair at byte 2"),
        ("[1]", 0, "no object at byte 0"),
        ("", 0, "the text ends too early at byte 0"),
    ] {
        let mut members = members(raw);
        assert_eq!(members.by_ref().take_while(Result::is_ok).count(), good, "{raw}");
        assert_eq!(super::members(raw).find_map(Result::err).unwrap().to_string(), want, "{raw}");
        assert!(members.next().is_none(), "{raw}");
    }
}
