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
    RecordParser::new(&out).push_fields(&mut batch, &[(0, "a\"b"), (1, "5")], &About::default());
    assert_eq!(batch.row(0)[1], Cell::Int(5));
    let Cell::Text(span) = batch.row(0)[0] else { panic!("text") };
    assert_eq!(batch.bytes(span), b"a\"b");
}
