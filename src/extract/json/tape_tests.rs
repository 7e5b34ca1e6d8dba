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
    assert_eq!((value.kind(), value.count()), (Kind::Object, 4));
    let members: Vec<(&str, &str)> = value.members().map(|(key, value)| (key.inner(), value.raw())).collect();
    assert_eq!(members, [("a", r#"[1, {"b\n":"c"}, []]"#), ("d", "{}"), ("e", "-1.5e+3"), ("f", "null")]);
    let (_, list) = value.members().next().unwrap();
    let inside: Vec<(Kind, u32)> = list.inside().map(|v| (v.kind(), v.count())).collect();
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
