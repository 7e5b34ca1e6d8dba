use super::*;
use serde::de::IgnoredAny;

fn accepts(text: &str) -> bool {
    Tape::default().read(text).is_ok()
}

#[test]
fn values_lie_where_the_tape_says() {
    let text = r#" {"a" : [1, {"b\n":"c"}, []], "d":{}, "e":-1.5e+3,"f":null} "#;
    let mut tape = Tape::default();
    let value = tape.read(text).unwrap();
    assert_eq!((value.kind(), value.len()), (Kind::Object, 4));
    let members: Vec<(&str, &str)> = value.members().map(|(key, value)| (key.inner(), value.raw())).collect();
    assert_eq!(members, [("a", r#"[1, {"b\n":"c"}, []]"#), ("d", "{}"), ("e", "-1.5e+3"), ("f", "null")]);
    let (_, list) = value.members().next().unwrap();
    let inside: Vec<(Kind, u32)> = list.inside().map(|v| (v.kind(), v.len())).collect();
    assert_eq!(inside, [(Kind::Number, 0), (Kind::Object, 1), (Kind::Array, 0)]);
    let object = list.inside().nth(1).unwrap();
    let (key, inner) = object.members().next().unwrap();
    assert_eq!(key.kind(), Kind::String { escaped: true });
    assert_eq!((key.inner(), inner.inner(), inner.kind()), (r"b\n", "c", Kind::String { escaped: false }));
}

#[test]
fn what_is_json_and_what_is_not() {
    for text in [
        "",
        " ",
        "{",
        "}",
        "[1,]",
        "[,1]",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{a:1}"#,
        "[1 2]",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "nul",
        "nulls",
        "True",
        r#""a"#,
        r#""\x""#,
        r#""\u12g4""#,
        "\"a\nb\"",
        "[1]]",
        "1 1",
        r#"{"a":1]"#,
        "[1}",
        "NaN",
        r#"{"a" 1}"#,
    ] {
        assert!(!accepts(text), "{text:?}");
        assert!(serde_json::from_str::<IgnoredAny>(text).is_err(), "serde_json agrees on {text:?}");
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(accepts(&deep), "depth is no reason to refuse");
}

/// Numbers that look drawn, and the same in each run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn document(draws: &mut Draws, depth: u32, out: &mut String) {
    let strings = ["", "a", "plain words", "é😀", r"\n\t\\", r"\u00e9", r"\ud83d\ude00", "12345678", "1234567\\\"9"];
    let numbers = ["0", "-0", "12", "-1.50", "1e5", "1E-7", "123456789012345678901234567890", "0.000001"];
    match draws.below(if depth > 4 { 5 } else { 7 }) {
        0 => out.push_str(["null", "true", "false"][draws.below(3) as usize]),
        1 | 2 => out.push_str(numbers[draws.below(8) as usize]),
        3 | 4 => {
            out.push('"');
            out.push_str(strings[draws.below(9) as usize]);
            out.push('"');
        }
        5 => {
            out.push('[');
            for n in 0..draws.below(5) {
                out.push_str(if n > 0 { " ," } else { "" });
                document(draws, depth + 1, out);
            }
            out.push(']');
        }
        _ => {
            out.push('{');
            for n in 0..draws.below(6) {
                out.push_str(if n > 0 { ", " } else { " " });
                out.push_str(&format!("\"{}{}\" :", strings[draws.below(9) as usize], draws.below(3)));
                document(draws, depth + 1, out);
            }
            out.push('}');
        }
    }
}

#[test]
fn every_document_and_every_broken_one_is_judged_as_serde_json_does() {
    let mut draws = Draws(0x9E37_79B9_7F4A_7C15);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..20_000 {
        let mut text = String::new();
        document(&mut draws, 0, &mut text);
        assert!(accepts(&text), "{text}");
        // Broken by one byte: left out, doubled or replaced.
        let mut bytes = text.clone().into_bytes();
        let at = draws.below(bytes.len() as u64) as usize;
        match draws.below(3) {
            0 => drop(bytes.remove(at)),
            1 => bytes.insert(at, bytes[at]),
            _ => bytes[at] = b"{}[],:\"\\ 01-.enua\n"[draws.below(18) as usize],
        }
        let Ok(broken) = String::from_utf8(bytes) else { continue };
        let theirs = serde_json::from_str::<IgnoredAny>(&broken).is_ok();
        assert_eq!(accepts(&broken), theirs, "{broken}");
        if theirs {
            good += 1;
        } else {
            bad += 1;
        }
    }
    assert!(good > 1000 && bad > 1000, "both happened: {good} and {bad}");
}
