use super::*;
use crate::extract::Target;
use crate::manifest::{Collection, Column};
use std::sync::Arc;

fn output(columns: &[(&str, &str, Target, Format)], known: &[&str]) -> Output {
    let collection = Collection {
        name: "things".into(),
        columns: known
            .iter()
            .map(|k| Column { name: k.to_string(), type_name: "text".into(), ..Column::default() })
            .collect(),
        ignore: vec!["object".into()],
        deletes: Deletes::Flag { field: "gone".into(), equals: None },
        ..Collection::default()
    };
    Output {
        collection: Arc::new(collection),
        columns: columns
            .iter()
            .map(|(name, field, target, format)| OutColumn {
                name: name.to_string(),
                path: field_path(field),
                target: *target,
                format: *format,
            })
            .collect(),
        key: vec![0],
        keep_extra: true,
        checkpoint: None,
        binary: None,
        described: None,
    }
}

/// The row of a record as text, with its `extra`.
fn row(output: &Output, raw: &str) -> (Vec<String>, String, Batch) {
    let mut batch = Batch::new(output.columns.len());
    RecordParser::new(output).push(&mut batch, raw, &About::default());
    let cells = batch
        .row(0)
        .iter()
        .map(|cell| match cell {
            Cell::Text(_) | Cell::Number(_) | Cell::Json(_) => batch.text(cell).into_owned(),
            other => format!("{other:?}"),
        })
        .collect();
    let extra = batch.rows.first().map(|r| batch.text(&r.extra).into_owned());
    (cells, extra.unwrap_or_default(), batch)
}

#[test]
fn each_value_finds_its_column_or_extra() {
    let out = output(
        &[
            ("id", "id", Target::Text, Format::Auto),
            ("n", "n", Target::Int8, Format::Auto),
            ("price", "price", Target::Numeric, Format::Auto),
            ("made_at", "made", Target::Timestamptz, Format::Unix),
            ("city", "/address/city", Target::Text, Format::Auto),
            ("tags", "tags", Target::Json, Format::Auto),
        ],
        &["unselected"],
    );
    for (name, raw, want, extra) in [
        (
            "all fit",
            r#"{"object":"x","id":"a","n":9007199254740993,"price":1.10,"made":1,"address":{"city":"Rome"},"tags":[1, 2],"unselected":5}"#,
            vec!["a", "Int(9007199254740993)", "1.10", "Timestamp(1000000)", "Rome", "[1, 2]"],
            "",
        ),
        (
            "unknown keys and what is left of an object",
            r#"{"id":"a","new":{"x":1},"address":{"city":"Rome","zip":"1"},"none":null}"#,
            vec!["a", "Null", "Null", "Null", "Rome", "Null"],
            r#"{"new":{"x":1},"address":{"zip":"1"}}"#,
        ),
        (
            "values that do not fit are kept as sent",
            r#"{"id":"a","n":"many","price":1e999999,"made":"soon"}"#,
            vec!["a", "Null", "Null", "Null", "Null", "Null"],
            r#"{"n":"many","price":"1e999999","made_at":"soon"}"#,
        ),
        (
            "an object that jsonb refuses is kept as text, colons and all",
            r#"{"id":"a","new":{"x":"\u0000","y":1}}"#,
            vec!["a", "Null", "Null", "Null", "Null", "Null"],
            r#"{"new":"{\"x\":\"\\u0000\",\"y\":1}"}"#,
        ),
        (
            "NUL is replaced and kept as text",
            r#"{"id":"a","address":{"city":"x\u0000"}}"#,
            vec!["a", "Null", "Null", "Null", "x\u{fffd}", "Null"],
            r#"{"address":{"city":"\"x\\u0000\""}}"#,
        ),
    ] {
        let (cells, got_extra, batch) = row(&out, raw);
        assert_eq!(cells, want, "{name}");
        assert_eq!(got_extra, extra, "{name}");
        assert!(batch.rejected.is_empty(), "{name}");
    }
}

#[test]
fn a_record_without_its_key_is_parked_and_leaves_no_trace() {
    let out = output(&[("id", "id", Target::Text, Format::Auto)], &[]);
    for raw in [r#"{"id":null,"x":"y"}"#, r#"{"x":1}"#, "[]", "3"] {
        let (cells, _, batch) = row(&out, raw);
        assert!(cells.is_empty() && batch.rows.is_empty() && batch.arena.is_empty(), "{raw}");
        assert_eq!(batch.rejected[0].raw, raw);
    }
}

#[test]
fn the_hash_sees_every_change_of_what_is_stored_and_nothing_else() {
    let out = output(&[("id", "id", Target::Text, Format::Auto), ("a", "a", Target::Text, Format::Auto)], &["hidden"]);
    let hash = |raw: &str| row(&out, raw).2.rows[0].hash;
    let base = hash(r#"{"id":"1","a":"x"}"#);
    assert_eq!(base, hash(r#"{"a":"x","id":"1"}"#).max(base).min(base), "stable for itself");
    assert_eq!(base, hash(r#"{"id":"1","a":"x","hidden":7,"object":"y"}"#), "unselected and ignored keys");
    for other in [
        r#"{"id":"1","a":"y"}"#,
        r#"{"id":"1","a":null}"#,
        r#"{"id":"1","a":"x","new":1}"#,
        r#"{"id":"1","a":"x","gone":true}"#,
    ] {
        assert_ne!(base, hash(other), "{other}");
    }
}

#[test]
fn the_deletion_mark_and_text_fields() {
    let out = output(&[("id", "id", Target::Text, Format::Auto), ("n", "n", Target::Int4, Format::Auto)], &[]);
    assert_eq!(row(&out, r#"{"id":"1","gone":true}"#).2.rows[0].deleted, Some(true));
    assert_eq!(row(&out, r#"{"id":"1","gone":false}"#).2.rows[0].deleted, Some(false));
    assert_eq!(row(&out, r#"{"id":"1"}"#).2.rows[0].deleted, None);
    let mut batch = Batch::new(2);
    RecordParser::new(&out).push_fields(&mut batch, &[(0, "a\"b"), (1, "5")], &[], &About::default());
    assert_eq!(batch.row(0)[1], Cell::Int(5));
    let Cell::Text(span) = batch.row(0)[0] else { panic!("text") };
    assert_eq!(batch.bytes(span), b"a\"b");
}

/// The same output, of a collection whose account has fields of its own.
fn with_fields(
    columns: &[(&str, &str, Target, Format)],
    discover: serde_json::Value,
    described: &[(&str, bool)],
) -> Output {
    let plain = output(columns, &["id"]);
    let discover = serde_json::from_value(discover).unwrap();
    let collection = Collection { discover: Some(Box::new(discover)), ..Collection::clone(&plain.collection) };
    let column = |(field, in_extra): &(&str, bool)| crate::extract::DescribedColumn {
        field: field.to_string(),
        in_extra: *in_extra,
        ..Default::default()
    };
    let described = crate::extract::Described {
        columns: described.iter().map(column).collect(),
        unlisted: vec!["switched_off".into()],
        ..Default::default()
    };
    Output { collection: Arc::new(collection), described: Some(Arc::new(described)), ..plain }
}

#[test]
fn fields_of_an_account_are_columns_extra_or_news() {
    let list = serde_json::json!({"path": "/fields", "records": "/fields", "pages": {"style": "none"}});
    let discover = serde_json::json!({"list": list, "name": "/key", "type": "/type", "types": {"int": "bigint"},
        "field": "/own/{name}", "null_if": [""]});
    let columns = [
        ("id", "id", Target::Text, Format::Auto),
        ("seats", "/own/seats", Target::Int8, Format::Auto),
        ("plan", "/own/plan", Target::Text, Format::Auto),
    ];
    let described =
        [("id", false), ("/own/seats", false), ("/own/plan", false), ("/own/left", false), ("/own/kept", true)];
    let out = with_fields(&columns, discover, &described);
    let raw = r#"{"id": "1", "own": {"seats": "", "plan": "", "left": 1, "kept": 2, "switched_off": 3, "new": null, "newer": 4}}"#;
    let (cells, extra, batch) = row(&out, raw);
    assert_eq!(cells, ["1", "Null", ""], "an empty text is no number");
    assert_eq!(extra, r#"{"own":{"kept":2,"switched_off":3,"newer":4}}"#, "what was not selected is not kept");
    assert_eq!(batch.unknown, ["new", "newer"]);
    assert_eq!(batch.misfits, 0);
}

#[test]
fn fields_of_an_account_may_be_pairs() {
    let list = serde_json::json!({"path": "/fields", "records": "/fields", "pages": {"style": "none"}});
    let discover = serde_json::json!({"list": list, "name": "/id", "type": "/type", "types": {"int": "bigint"},
        "field": "/own/{name}", "pairs": {"key": "/id", "value": "/value"}});
    let columns = [("id", "id", Target::Text, Format::Auto), ("seats", "/own/7", Target::Int8, Format::Auto)];
    let out = with_fields(&columns, discover, &[("id", false), ("/own/7", false)]);
    let raw = r#"{"id": "1", "own": [{"id": 7, "value": "12"}, {"value": 1}, {"id": 8, "value": ["a"]}, {"id": 9, "value": null}]}"#;
    let (cells, extra, batch) = row(&out, raw);
    assert_eq!(cells, ["1", "Int(12)"]);
    assert_eq!(extra, r#"{"own":{"8":["a"]}}"#);
    assert_eq!(batch.unknown, ["8", "9"]);
    // Nobody asked the app: nothing is news.
    let silent = Output { described: None, ..out };
    assert_eq!(row(&silent, raw).2.unknown, Vec::<String>::new());
}
