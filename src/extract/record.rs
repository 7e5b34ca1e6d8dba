//! Turns one record as the app sent it into one typed row.
//!
//! A value that its column cannot hold does not cost the record: the column is null (or holds the nearest text), and the
//! raw value goes into `extra` under the column's name. What has no column goes there too; what the user chose not to
//! select does not. A record without its key cannot be a row; it is parked with its reason.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::batch::{Batch, Cell, Rejected, RowMeta};
use super::text;
use super::time;
use super::{OutColumn, Output, Target};
use crate::manifest::{field_path, Deletes, Format};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// What is known of a record from outside it.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
    /// When the app last changed it, microseconds since 1970; `None` to take the collection's own version field.
    pub version: Option<i64>,
    /// Whether it is deleted; `None` to take the collection's own deletion field.
    pub deleted: Option<bool>,
    /// Only the key is known (a tombstone).
    pub key_only: bool,
    /// Columns whose value is not in the record: (index of the column, JSON text of the value).
    pub added: &'a [(usize, &'a str)],
}

/// FNV-1a: keys are short and come from the app we chose to read, so speed counts and collisions by design do not.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// What to do with the value of one key.
#[derive(Default)]
struct Slot {
    columns: Vec<usize>,
    is_version: bool,
    is_deleted_mark: bool,
    /// Neither a column nor kept.
    ignored: bool,
    /// Columns deeper inside.
    inner: Option<Node>,
}

type Node = HashMap<String, Slot, BuildHasherDefault<KeyHasher>>;

/// Makes rows of one output's records. Built once per read.
pub struct RecordParser {
    columns: Vec<OutColumn>,
    key: Vec<usize>,
    keep_extra: bool,
    root: Node,
    version_format: Format,
    /// The text that marks a deleted record; `None` for a plain boolean.
    deleted_equals: Option<String>,
}

/// What one record gives beside its cells.
#[derive(Default)]
struct Found {
    version: Option<i64>,
    deleted: Option<bool>,
    misfits: u64,
    extra: Vec<u8>,
}

impl Found {
    /// Starts a member of `extra`.
    fn extra_key(&mut self, key: &str) {
        self.extra.push(if self.extra.is_empty() { b'{' } else { b',' });
        text::quote(key, &mut self.extra);
        self.extra.push(b':');
    }

    /// Keeps a value that has no column, or that its column could not hold.
    fn keep(&mut self, key: &str, raw: &str) {
        self.extra_key(key);
        let value = self.extra.len();
        if text::clean_json(raw, &mut self.extra) != Some(true) {
            // What jsonb cannot hold as it is, it holds as the text of it: no digit and no character is lost.
            self.extra.truncate(value);
            text::quote(raw, &mut self.extra);
        }
    }
}

fn slot_at<'n>(node: &'n mut Node, path: &[String]) -> Option<&'n mut Slot> {
    let (first, rest) = path.split_first()?;
    let slot = node.entry(first.clone()).or_default();
    if rest.is_empty() {
        Some(slot)
    } else {
        slot_at(slot.inner.get_or_insert_with(Node::default), rest)
    }
}

impl RecordParser {
    pub fn new(output: &Output) -> Self {
        let mut root = Node::default();
        let collection = &output.collection;
        for path in collection.columns.iter().map(|c| c.path()).chain(collection.ignore.iter().map(|k| field_path(k))) {
            if let Some(slot) = slot_at(&mut root, &path) {
                slot.ignored = true;
            }
        }
        for (index, column) in output.columns.iter().enumerate() {
            if let Some(slot) = slot_at(&mut root, &column.path) {
                slot.columns.push(index);
            }
        }
        let described = output.described.as_deref();
        let cursor = collection.cursor.as_ref().filter(|cursor| !cursor.created_only);
        let version_field =
            described.and_then(|d| d.cursor_field.clone()).or_else(|| cursor.map(|cursor| cursor.field.clone()));
        if let Some(slot) = version_field.and_then(|field| slot_at(&mut root, &field_path(&field))) {
            slot.is_version = true;
            slot.ignored = true;
        }
        let (deleted_field, deleted_equals) =
            match (&collection.deletes, described.and_then(|d| d.deleted_field.clone())) {
                (_, Some(field)) => (Some(field), None),
                (Deletes::Flag { field, equals }, None) => (Some(field.clone()), equals.clone()),
                _ => (None, None),
            };
        if let Some(slot) = deleted_field.and_then(|field| slot_at(&mut root, &field_path(&field))) {
            slot.is_deleted_mark = true;
            slot.ignored = true;
        }
        RecordParser {
            columns: output.columns.clone(),
            key: output.key.clone(),
            keep_extra: output.keep_extra,
            root,
            version_format: cursor.map(|cursor| cursor.format).unwrap_or_default(),
            deleted_equals,
        }
    }

    /// Appends the record's row to `batch`, or parks it in `batch.rejected` with its reason.
    pub fn push(&self, batch: &mut Batch, raw: &str, about: &About<'_>) {
        let start = Start::of(batch);
        let mut found = Found::default();
        batch.cells.resize(start.cells + self.columns.len(), Cell::Null);
        let mut deserializer = serde_json::Deserializer::from_str(raw);
        let walk = Walk { parser: self, node: &self.root, batch, start: &start, found: &mut found };
        if let Err(error) = deserializer.deserialize_map(walk) {
            let reason = format!("not a JSON object that can be read: {error}");
            return start.reject(batch, raw, reason);
        }
        for (column, value) in about.added {
            self.fill(batch, &start, &mut found, *column, value);
        }
        self.finish(batch, start, found, raw, about);
    }

    /// The same for a row of text fields (CSV): `fields` are (index of the column, text); an empty text is null.
    ///
    /// `version` and `deleted` come with `about`, since the fields have no names here.
    pub fn push_fields(&self, batch: &mut Batch, fields: &[(usize, &str)], about: &About<'_>) {
        let start = Start::of(batch);
        let mut found = Found::default();
        batch.cells.resize(start.cells + self.columns.len(), Cell::Null);
        for (column, value) in fields {
            let Some(target) = self.columns.get(*column).map(|c| c.target) else { continue };
            if value.is_empty() {
                continue;
            }
            // Bare words of CSV are the JSON literals and numbers of the same name; everything else is a string.
            let bare = match target {
                Target::Text | Target::Timestamptz | Target::Date => false,
                Target::Bool => matches!(*value, "true" | "false"),
                Target::Json => serde_json::from_str::<&RawValue>(value).is_ok(),
                _ => text::is_decimal(value),
            };
            if bare {
                self.fill(batch, &start, &mut found, *column, value);
            } else {
                let mut quoted = Vec::with_capacity(value.len() + 2);
                text::quote(value, &mut quoted);
                self.fill(batch, &start, &mut found, *column, &String::from_utf8_lossy(&quoted));
            }
        }
        let raw = || serde_json::to_string(fields).unwrap_or_default();
        self.finish(batch, start, found, &raw(), about);
    }

    /// Sets one cell, or keeps the value in `extra` when the column cannot hold it.
    fn fill(&self, batch: &mut Batch, start: &Start, found: &mut Found, column: usize, raw: &str) {
        let Some(out) = self.columns.get(column) else { return };
        let (cell, faithful) = convert(batch, out, raw);
        if let Some(place) = batch.cells.get_mut(start.cells + column) {
            *place = cell;
        }
        if !faithful {
            found.misfits += 1;
            found.keep(&out.name, raw);
        }
    }

    fn finish(&self, batch: &mut Batch, start: Start, mut found: Found, raw: &str, about: &About<'_>) {
        let key_is_whole =
            self.key.iter().all(|index| !matches!(batch.cells.get(start.cells + index), None | Some(Cell::Null)));
        if !key_is_whole {
            let names: Vec<&str> =
                self.key.iter().filter_map(|i| self.columns.get(*i)).map(|c| c.name.as_str()).collect();
            return start.reject(batch, raw, format!("no value for the primary key ({})", names.join(", ")));
        }
        if batch.arena.len() > u32::MAX as usize / 2 {
            return start.reject(batch, raw, "the page is larger than a batch can hold".to_string());
        }
        let extra = if self.keep_extra && !found.extra.is_empty() && !about.key_only {
            found.extra.push(b'}');
            Some(batch.store(&found.extra))
        } else {
            None
        };
        let deleted = about.deleted.or(found.deleted);
        let hash = row_hash(batch, &start, deleted);
        batch.misfits += found.misfits;
        batch.rows.push(RowMeta {
            version: about.version.or(found.version),
            hash,
            deleted,
            extra,
            key_only: about.key_only,
        });
    }
}

/// Where a row begins, to take it back when it cannot be one.
struct Start {
    cells: usize,
    arena: usize,
}

impl Start {
    fn of(batch: &Batch) -> Self {
        Start { cells: batch.cells.len(), arena: batch.arena.len() }
    }

    fn reject(&self, batch: &mut Batch, raw: &str, reason: String) {
        batch.cells.truncate(self.cells);
        batch.arena.truncate(self.arena);
        batch.rejected.push(Rejected { raw: raw.to_string(), reason });
    }
}

/// A number that stays the same as long as the row would be stored the same.
fn row_hash(batch: &Batch, start: &Start, deleted: Option<bool>) -> i64 {
    let mut bytes = Vec::with_capacity(batch.arena.len().saturating_sub(start.arena) + batch.width * 9);
    bytes.extend_from_slice(batch.arena.get(start.arena..).unwrap_or_default());
    for cell in batch.cells.get(start.cells..).unwrap_or_default() {
        let (tag, value): (u8, u64) = match cell {
            Cell::Null => (0, 0),
            Cell::Bool(b) => (1, u64::from(*b)),
            Cell::Int(n) => (2, *n as u64),
            Cell::Float(x) => (3, x.to_bits()),
            Cell::Timestamp(t) => (4, *t as u64),
            Cell::Date(d) => (5, *d as u64),
            // Their bytes are in the arena; the length keeps neighbours apart.
            Cell::Text(span) | Cell::Number(span) | Cell::Json(span) => (6, u64::from(span.len)),
        };
        bytes.push(tag);
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.push(deleted.map_or(2, u8::from));
    xxhash_rust::xxh3::xxh3_64(&bytes) as i64
}

/// Walks the members of an object along the tree of wanted keys.
struct Walk<'w> {
    parser: &'w RecordParser,
    node: &'w Node,
    batch: &'w mut Batch,
    start: &'w Start,
    found: &'w mut Found,
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            self.member(&key, value.get());
        }
        Ok(())
    }
}

impl Walk<'_> {
    fn member(&mut self, key: &str, raw: &str) {
        let Some(slot) = self.node.get(key) else {
            if self.parser.keep_extra && raw != "null" {
                self.found.keep(key, raw);
            }
            return;
        };
        for column in &slot.columns {
            self.parser.fill(self.batch, self.start, self.found, *column, raw);
        }
        if slot.is_version {
            self.found.version = instant(raw, self.parser.version_format);
        }
        if slot.is_deleted_mark {
            self.found.deleted = Some(match &self.parser.deleted_equals {
                Some(mark) => string_of(raw) == mark.as_str(),
                None => matches!(raw, "true" | "\"true\"" | "1"),
            });
        }
        if let Some(inner) = &slot.inner {
            if raw.starts_with('{') {
                // What is left of the inner object stays together under its own key.
                let mut left = Found::default();
                let walk = Walk {
                    parser: self.parser,
                    node: inner,
                    batch: &mut *self.batch,
                    start: self.start,
                    found: &mut left,
                };
                let whole = serde_json::Deserializer::from_str(raw).deserialize_map(walk);
                self.found.misfits += left.misfits;
                if whole.is_ok() && !left.extra.is_empty() && self.parser.keep_extra && slot.columns.is_empty() {
                    left.extra.push(b'}');
                    self.found.extra_key(key);
                    self.found.extra.extend_from_slice(&left.extra);
                }
            } else if raw != "null" && slot.columns.is_empty() && self.parser.keep_extra {
                self.found.misfits += 1;
                self.found.keep(key, raw);
            }
        }
    }
}

/// An object's key: borrowed unless it has escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_string())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// The text of a JSON string, or the JSON text of anything else.
pub fn string_of(raw: &str) -> Cow<'_, str> {
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        None => Cow::Borrowed(raw),
        Some(inner) if !inner.contains('\\') => Cow::Borrowed(inner),
        Some(_) => {
            let mut out = Vec::with_capacity(raw.len());
            text::unescape(raw, &mut out);
            Cow::Owned(String::from_utf8_lossy(&out).into_owned())
        }
    }
}

/// A JSON value as an instant, microseconds since 1970.
pub fn instant(raw: &str, format: Format) -> Option<i64> {
    let value = string_of(raw);
    match format {
        Format::Auto if raw.starts_with('"') => time::parse_iso(&value),
        Format::Auto => None,
        Format::Unix => time::from_unix(&value),
        Format::UnixMs => time::from_unix_ms(&value),
        Format::Rfc2822 => time::parse_rfc2822(&value),
    }
}

/// The cell of a JSON value, and whether it says all that the value says.
fn convert(batch: &mut Batch, column: &OutColumn, raw: &str) -> (Cell, bool) {
    let first = raw.as_bytes().first().copied().unwrap_or(b'n');
    if first == b'n' {
        return (Cell::Null, true);
    }
    let is_string = first == b'"';
    let cell = match column.target {
        Target::Text => {
            let from = batch.arena.len();
            let faithful = if is_string {
                text::unescape(raw, &mut batch.arena)
            } else {
                batch.arena.extend_from_slice(raw.as_bytes());
                true
            };
            let span = super::batch::Span { start: from as u32, len: (batch.arena.len() - from) as u32 };
            return (Cell::Text(span), faithful);
        }
        Target::Json => {
            let from = batch.arena.len();
            return match text::clean_json(raw, &mut batch.arena) {
                Some(faithful) => {
                    let span = super::batch::Span { start: from as u32, len: (batch.arena.len() - from) as u32 };
                    (Cell::Json(span), faithful)
                }
                None => (Cell::Null, false),
            };
        }
        Target::Bool => match string_of(raw).as_ref() {
            "true" => Some(Cell::Bool(true)),
            "false" => Some(Cell::Bool(false)),
            _ => None,
        },
        Target::Int2 => integer(raw).filter(|n| i16::try_from(*n).is_ok()).map(Cell::Int),
        Target::Int4 => integer(raw).filter(|n| i32::try_from(*n).is_ok()).map(Cell::Int),
        Target::Int8 => integer(raw).map(Cell::Int),
        Target::Float8 => {
            let value = string_of(raw);
            value.parse::<f64>().ok().filter(|x| x.is_finite() && text::is_decimal(&value)).map(Cell::Float)
        }
        Target::Numeric => {
            let value = string_of(raw);
            text::is_decimal(&value).then(|| Cell::Number(batch.store(value.as_bytes())))
        }
        Target::Timestamptz => instant(raw, column.format).map(Cell::Timestamp),
        Target::Date => date(raw, column.format).map(Cell::Date),
    };
    match cell {
        Some(cell) => (cell, true),
        None => (Cell::Null, false),
    }
}

/// A whole number, also when it is written as a string or with a fraction of zeros.
fn integer(raw: &str) -> Option<i64> {
    let value = string_of(raw);
    if let Ok(number) = value.parse::<i64>() {
        return Some(number);
    }
    let (whole, fraction) = value.split_once('.')?;
    (!fraction.is_empty() && fraction.bytes().all(|c| c == b'0')).then(|| whole.parse().ok()).flatten()
}

fn date(raw: &str, format: Format) -> Option<i32> {
    let value = string_of(raw);
    if format == Format::Auto {
        if let Some(day) = time::parse_date(&value) {
            return Some(day);
        }
    }
    let micros = instant(raw, format)?;
    i32::try_from(micros.div_euclid(86_400_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
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
                Cell::Text(span) | Cell::Number(span) | Cell::Json(span) => {
                    String::from_utf8_lossy(batch.bytes(*span)).into_owned()
                }
                other => format!("{other:?}"),
            })
            .collect();
        let extra =
            batch.rows.first().and_then(|r| r.extra).map(|s| String::from_utf8_lossy(batch.bytes(s)).into_owned());
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
        let out =
            output(&[("id", "id", Target::Text, Format::Auto), ("a", "a", Target::Text, Format::Auto)], &["hidden"]);
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
}
