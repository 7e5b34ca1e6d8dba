//! Decides which parts of a reply are records: behind a path with `*`, one object, the members of an object, lines, CSV.
//!
//! What is written otherwise than in JSON is turned into a JSON array of objects first, so that one way of reading
//! serves all.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::raw::{at, elements, object_members, text_at};
use crate::extract::csv;
use crate::extract::text;
use crate::http::xml;
use crate::manifest::{field_path, Decoder, OneOrMany, Records};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A record, and what is around it.
#[derive(Debug)]
pub struct Taken<'a> {
    pub raw: &'a str,
    /// The elements around it, the outermost first.
    pub outer: Vec<&'a str>,
    /// Its name in the object that holds it.
    pub key: Option<String>,
}

/// What is taken out of a reply.
#[derive(Debug, Default)]
pub struct Taking<'a> {
    pub records: Vec<Taken<'a>>,
    /// Elements of the outermost list, whatever is kept of them: that is what the app counts.
    pub count: usize,
}

impl<'a> Taking<'a> {
    /// All elements of a plain list.
    pub fn plain(slices: &[&'a str]) -> Self {
        let records = slices.iter().map(|raw| Taken { raw, outer: Vec::new(), key: None }).collect();
        Taking { records, count: slices.len() }
    }
}

/// A body as JSON. The error says in plain words what is wrong.
pub fn decode(body: &Bytes, records: &Records) -> Result<Bytes, String> {
    match records.decoder {
        Decoder::Json => Ok(body.clone()),
        Decoder::Jsonl => lines(body),
        Decoder::Csv => rows(body),
        Decoder::Xml => Ok(xml::to_json(body, &lists(records))?.to_string().into()),
    }
}

/// Where XML has lists, by the records' place: elsewhere an element alone does not show that there could be more.
fn lists(records: &Records) -> Vec<Vec<String>> {
    let keys = field_path(&records.pointer);
    let names = |upto: usize| keys.iter().take(upto).filter(|key| *key != "*").cloned().collect::<Vec<_>>();
    let before_star = |(at, key): (usize, &String)| (key == "*").then(|| names(at));
    let inner = keys.iter().enumerate().filter_map(before_star);
    let last = (!records.single && !records.keyed).then(|| names(keys.len()));
    inner.chain(last).filter(|path| !path.is_empty()).collect()
}

fn lines(body: &Bytes) -> Result<Bytes, String> {
    let text = String::from_utf8_lossy(body);
    let mut out = vec![b'['];
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty()) {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(line.as_bytes());
    }
    out.push(b']');
    Ok(out.into())
}

fn rows(body: &Bytes) -> Result<Bytes, String> {
    let text = String::from_utf8_lossy(body);
    let mut reader = csv::Reader::new(&text);
    let (mut header, mut fields) = (Vec::new(), Vec::new());
    let mut out = vec![b'['];
    if reader.next(&mut header)? {
        let names: Vec<Vec<u8>> = header
            .iter()
            .map(|name| {
                let mut quoted = Vec::new();
                text::quote(name, &mut quoted);
                quoted
            })
            .collect();
        while reader.next(&mut fields)? {
            out.extend_from_slice(if out.len() > 1 { b",{" } else { b"{" });
            for (index, (name, field)) in names.iter().zip(&fields).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(name);
                out.push(b':');
                text::quote(field, &mut out);
            }
            out.push(b'}');
        }
    }
    out.push(b']');
    Ok(out.into())
}

/// Takes the records out of a reply's JSON.
pub fn take<'a>(root: &'a str, records: &Records) -> Result<Taking<'a>, String> {
    let keys = if records.pointer.is_empty() { Vec::new() } else { field_path(&records.pointer) };
    let mut taking = Taking::default();
    let found = walk(root, &keys, records, &mut Vec::new(), &mut taking)?;
    if !found && !records.optional {
        return Err(format!("the reply has no records at \"{}\"", records.pointer));
    }
    taking.records.retain(|record| belongs(record.raw, &record.outer, &records.only));
    Ok(taking)
}

/// Whether a record, or with `^` what is around it, has the values that are wanted.
pub fn belongs(raw: &str, outer: &[&str], only: &BTreeMap<String, OneOrMany>) -> bool {
    only.iter().all(|(pointer, want)| {
        let value = around(raw, outer, pointer).and_then(|(raw, pointer)| text_at(raw, pointer));
        value.is_some_and(|value| want.has(&value))
    })
}

/// What a pointer with `^` before it is about: the element so far outwards, and the rest of the pointer.
pub fn around<'a, 'p>(raw: &'a str, outer: &[&'a str], pointer: &'p str) -> Option<(&'a str, &'p str)> {
    let inner = pointer.trim_start_matches('^');
    match pointer.len() - inner.len() {
        0 => Some((raw, inner)),
        steps => Some((outer.get(outer.len().checked_sub(steps)?)?, inner)),
    }
}

/// Follows the keys into a value. Says whether they led anywhere: deeper inside, some elements may have nothing.
fn walk<'a>(
    value: &'a str,
    keys: &[String],
    records: &Records,
    outer: &mut Vec<&'a str>,
    taking: &mut Taking<'a>,
) -> Result<bool, String> {
    let first = value.as_bytes().first().copied().unwrap_or(b'n');
    let wrong = || format!("the reply has no list of records at \"{}\"", records.pointer);
    let is_outermost = outer.is_empty();
    if let Some((key, rest)) = keys.split_first() {
        if key != "*" {
            return match at(value, &format!("/{}", key.replace('~', "~0").replace('/', "~1"))) {
                Some("null") | None => Ok(!is_outermost),
                Some(inner) => walk(inner, rest, records, outer, taking),
            };
        }
        let inner: Vec<(Option<String>, &str)> = match first {
            b'[' => elements(value).ok_or_else(wrong)?.into_iter().map(|value| (None, value)).collect(),
            b'{' => {
                object_members(value).ok_or_else(wrong)?.into_iter().map(|(key, value)| (Some(key), value)).collect()
            }
            _ => return Err(wrong()),
        };
        if is_outermost {
            taking.count = inner.len();
        }
        for (key, element) in inner {
            if rest.is_empty() {
                taking.records.push(Taken { raw: element, outer: outer.clone(), key });
            } else {
                outer.push(element);
                walk(element, rest, records, outer, taking)?;
                outer.pop();
            }
        }
        return Ok(true);
    }
    let before = taking.records.len();
    let mut push = |raw, key| taking.records.push(Taken { raw, outer: outer.clone(), key });
    match first {
        b'{' if records.keyed => {
            object_members(value).ok_or_else(wrong)?.into_iter().for_each(|(key, value)| push(value, Some(key)));
        }
        b'{' if records.single || records.pointer.is_empty() => push(value, None),
        b'[' if !records.single => elements(value).ok_or_else(wrong)?.into_iter().for_each(|value| push(value, None)),
        _ => return Err(wrong()),
    }
    if is_outermost {
        taking.count = taking.records.len() - before;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn records(of: serde_json::Value) -> Records {
        serde_json::from_value(of).unwrap()
    }

    fn taken(root: &str, of: serde_json::Value) -> Result<(Vec<String>, usize), String> {
        let taking = take(root, &records(of))?;
        Ok((taking.records.iter().map(|r| r.raw.to_string()).collect(), taking.count))
    }

    #[test]
    fn records_are_where_the_file_says() {
        let events = r#"{"events": [{"id": 1, "kids": [{"k": "a"}, {"k": "b"}]}, {"id": 2, "kids": null}, {"id": 3, "kids": [{"k": "a"}]}]}"#;
        for (name, root, of, want, count) in [
            ("a list", r#"{"d": [1, 2]}"#, json!("/d"), vec!["1", "2"], 2),
            ("the reply", "[1]", json!(""), vec!["1"], 1),
            ("one record", r#"{"a": {"id": 1}}"#, json!({"pointer": "/a", "single": true}), vec![r#"{"id": 1}"#], 1),
            ("the one record", r#"{"id": 1}"#, json!(""), vec![r#"{"id": 1}"#], 1),
            (
                "nothing where something may be",
                r#"{"ok": true}"#,
                json!({"pointer": "/d", "optional": true}),
                vec![],
                0,
            ),
            ("null there", r#"{"d": null}"#, json!({"pointer": "/d", "optional": true}), vec![], 0),
            (
                "chunks",
                r#"[{"results": [1, 2]}, {"results": [3]}, {"meta": 0}]"#,
                json!({"pointer": "/*/results"}),
                vec!["1", "2", "3"],
                3,
            ),
            (
                "inside",
                events,
                json!({"pointer": "/events/*/kids"}),
                vec![r#"{"k": "a"}"#, r#"{"k": "b"}"#, r#"{"k": "a"}"#],
                3,
            ),
            (
                "inside, some",
                events,
                json!({"pointer": "/events/*/kids", "only": {"/k": "a", "^/id": ["3", "4"]}}),
                vec![r#"{"k": "a"}"#],
                3,
            ),
            ("the elements themselves", r#"{"d": {"x": 1, "y": 2}}"#, json!({"pointer": "/d/*"}), vec!["1", "2"], 2),
            (
                "members",
                r#"{"d": {"x": {"a": 1}, "y": {"a": 2}}}"#,
                json!({"pointer": "/d", "keyed": true}),
                vec![r#"{"a": 1}"#, r#"{"a": 2}"#],
                2,
            ),
        ] {
            let want: Vec<String> = want.into_iter().map(str::to_string).collect();
            assert_eq!(taken(root, of), Ok((want, count)), "{name}");
        }
        for (root, of) in [
            (r#"{"error": 1}"#, json!({"pointer": "/d/*/e"})),
            (r#"{"d": 5}"#, json!({"pointer": "/d", "optional": true})),
            (r#"{"d": [1]}"#, json!({"pointer": "/d", "single": true})),
        ] {
            assert!(taken(root, of.clone()).is_err(), "{root} {of}");
        }
    }

    #[test]
    fn what_is_around_a_record_is_known() {
        let root = r#"{"x": {"a": [{"n": 1, "b": [{"c": 2}]}]}}"#;
        let taking = take(root, &records(json!({"pointer": "/x/a/*/b"}))).unwrap();
        let one = &taking.records[0];
        let value = |pointer: &str| around(one.raw, &one.outer, pointer).and_then(|(raw, rest)| at(raw, rest));
        assert_eq!(value("/c"), Some("2"));
        assert_eq!(value("^/n"), Some("1"));
        assert_eq!(value("^^/n"), None);
        let keyed = take(r#"{"p\n": {}}"#, &records(json!({"pointer": "", "keyed": true}))).unwrap();
        assert_eq!(keyed.records[0].key.as_deref(), Some("p\n"));
    }

    fn decoded(body: &Bytes, decoder: &str) -> Result<Bytes, String> {
        decode(body, &records(json!({"pointer": "", "decoder": decoder})))
    }

    #[test]
    fn xml_has_lists_where_records_are() {
        let orders = "<shop><order no='7'><item>a</item></order></shop>";
        for (name, text, of, want) in [
            ("one record", orders, "/shop/order", vec![r#"{"@no":"7","item":"a"}"#]),
            ("none", "<shop/>", "/shop/order", vec![]),
            ("none, but more is said", "<shop><page>1</page></shop>", "/shop/order", vec![]),
            ("inside", orders, "/shop/order/*/item", vec![r#""a""#]),
            ("the outermost", orders, "/shop", vec![r#"{"order":{"@no":"7","item":"a"}}"#]),
        ] {
            let records = records(json!({"pointer": of, "decoder": "xml"}));
            let whole = decode(&Bytes::from(text), &records).unwrap();
            let whole = std::str::from_utf8(&whole).unwrap();
            let taken: Vec<&str> = take(whole, &records).unwrap().records.iter().map(|record| record.raw).collect();
            assert_eq!(taken, want, "{name}");
        }
        let elsewhere = records(json!({"pointer": "/shop/order", "decoder": "xml"}));
        let error = decode(&Bytes::from("<error>no shop</error>"), &elsewhere).unwrap();
        assert!(take(std::str::from_utf8(&error).unwrap(), &elsewhere).is_err(), "an error is no page");
        assert!(decode(&Bytes::from("<shop>"), &elsewhere).is_err(), "cut off");
    }

    #[test]
    fn lines_and_tables_are_lists_of_objects() {
        let body = Bytes::from("\u{feff}{\"a\": 1}\r\n\n{\"a\": 2}\n");
        assert_eq!(decoded(&body, "jsonl").unwrap(), "[{\"a\": 1},{\"a\": 2}]");
        let body = Bytes::from("id,\"na\"\"me\"\r\n1,x\n2,\"a\nb\"\n");
        let json: serde_json::Value = serde_json::from_slice(&decoded(&body, "csv").unwrap()).unwrap();
        assert_eq!(json, json!([{"id": "1", "na\"me": "x"}, {"id": "2", "na\"me": "a\nb"}]));
        assert_eq!(decoded(&Bytes::new(), "csv").unwrap(), "[]");
        assert!(decoded(&Bytes::from("a,b\n1\n"), "csv").is_err(), "cut off");
    }
}
