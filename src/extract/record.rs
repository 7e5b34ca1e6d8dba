//! Turns one record as the app sent it into one typed row.
//!
//! A value that its column cannot hold does not cost the record: the column is null (or holds the nearest text), and the
//! raw value goes into `extra` under the column's name. What has no column goes there too; what the user chose not to
//! select does not. A record without its key cannot be a row; it is parked with its reason.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::batch::{Batch, Cell, RowMeta};
use super::binary::WIDE_ROW_BYTES;
use super::convert::{convert, convert_json, Form, Given, Scratch};
use super::folder::{at, Folder};
use super::json::{Kind, Tape, Value};
use super::row::{row_hash, shorten, Start};
use super::text;
use super::{Binary, OutColumn, Output};
use crate::manifest::{field_path, Deletes, Format, Pairs};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub use super::convert::{instant_of as instant, string_of};

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
    /// The fields of the account are in it.
    is_folder: bool,
}

/// What is used again for each record of a thread.
#[derive(Default)]
struct Memory {
    tape: Tape,
    /// For values that are not part of the record.
    other: Tape,
    scratch: Scratch,
    /// Cells as their hash sees them.
    cells: Vec<u8>,
    /// A row while it is made shorter.
    row: Vec<u8>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

type Node = HashMap<String, Slot, BuildHasherDefault<KeyHasher>>;

/// Makes rows of one output's records. Built once per read.
pub struct RecordParser {
    columns: Vec<OutColumn>,
    key: Vec<usize>,
    keep_extra: bool,
    binary: Option<Binary>,
    root: Node,
    version_format: Format,
    /// The text that marks a deleted record; `None` for a plain boolean.
    deleted_equals: Option<String>,
    /// Fields of the account: how they lie in their folder, and what is known of them.
    folder: Option<Folder>,
}

/// So many new fields of one page are told.
const MOST_UNKNOWN: usize = 200;

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
        let folder = collection.discover.as_deref().map(|discover| {
            let (folder, unselected) = Folder::of(discover, output);
            for path in unselected.iter().map(Vec::as_slice) {
                if let Some(slot) = slot_at(&mut root, path) {
                    slot.ignored = true;
                }
            }
            if let Some(slot) = slot_at(&mut root, &discover.folder()) {
                slot.is_folder = true;
                slot.inner.get_or_insert_with(Node::default);
            }
            folder
        });
        RecordParser {
            columns: output.columns.clone(),
            key: output.key.clone(),
            keep_extra: output.keep_extra,
            binary: output.binary.clone(),
            root,
            folder,
            version_format: cursor.map(|cursor| cursor.format).unwrap_or_default(),
            deleted_equals,
        }
    }

    /// Appends the record's row to `batch`, or parks it in `batch.rejected` with its reason.
    pub fn push(&self, batch: &mut Batch, raw: &str, about: &About<'_>) {
        MEMORY.with_borrow_mut(|memory| {
            let start = Start::of(batch);
            let mut found = Found::default();
            batch.cells.resize(start.cells + self.columns.len(), Cell::Null);
            let Memory { tape, other, scratch, .. } = memory;
            match tape.read(raw) {
                Ok(record) if record.kind() == Kind::Object => {
                    let mut walk = Walk { parser: self, batch, scratch, start: &start };
                    walk.object(&record, &self.root, &mut found);
                }
                Ok(_) => return start.reject(batch, raw, "not a JSON object".to_string()),
                Err(error) => {
                    return start.reject(batch, raw, format!("not a JSON object that can be read: {error}"));
                }
            }
            for (column, value) in about.added {
                if let Ok(value) = other.read(value) {
                    self.fill(batch, scratch, &start, &mut found, *column, Given::Json(value));
                }
            }
            self.finish(batch, memory, start, found, || raw.to_string(), about);
        });
    }

    /// The same for a row of text fields (CSV): `fields` are (index of the column, text); an empty text is null.
    ///
    /// `version` and `deleted` come with `about`, since the fields have no names here; `kept` are names and JSON for `extra`.
    pub fn push_fields(
        &self,
        batch: &mut Batch,
        fields: &[(usize, &str)],
        kept: &[(&str, Cow<'_, str>)],
        about: &About<'_>,
    ) {
        MEMORY.with_borrow_mut(|memory| {
            let start = Start::of(batch);
            let mut found = Found::default();
            batch.cells.resize(start.cells + self.columns.len(), Cell::Null);
            for (column, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
                self.fill(batch, &mut memory.scratch, &start, &mut found, *column, Given::Plain(value));
            }
            for (name, json) in kept {
                found.keep(name, json);
            }
            self.finish(batch, memory, start, found, || serde_json::to_string(fields).unwrap_or_default(), about);
        });
    }

    /// Sets one cell, or keeps the value in `extra` when the column cannot hold it.
    fn fill(
        &self,
        batch: &mut Batch,
        scratch: &mut Scratch,
        start: &Start,
        found: &mut Found,
        column: usize,
        value: Given<'_>,
    ) {
        let Some(out) = self.columns.get(column) else { return };
        if self.folder.as_ref().is_some_and(|folder| folder.means_nothing(column, &value)) {
            return;
        }
        let form = Form { binary: self.binary.is_some(), is_key: self.key.contains(&column) };
        let (cell, faithful) = convert(batch, scratch, out, form, value);
        if let Some(place) = batch.cells.get_mut(start.cells + column) {
            *place = cell;
        }
        if !faithful {
            found.misfits += 1;
            found.keep(&out.name, &value.json());
        }
    }

    fn finish(
        &self,
        batch: &mut Batch,
        memory: &mut Memory,
        start: Start,
        mut found: Found,
        raw: impl FnOnce() -> String,
        about: &About<'_>,
    ) {
        let key_is_whole =
            self.key.iter().all(|index| !matches!(batch.cells.get(start.cells + index), None | Some(Cell::Null)));
        if !key_is_whole {
            let names: Vec<&str> =
                self.key.iter().filter_map(|i| self.columns.get(*i)).map(|c| c.name.as_str()).collect();
            return start.reject(batch, &raw(), format!("no value for the primary key ({})", names.join(", ")));
        }
        if batch.arena.len() > u32::MAX as usize / 2 {
            return start.reject(batch, &raw(), "the page is larger than a batch can hold".to_string());
        }
        let mut extra = Cell::Null;
        if self.keep_extra && !found.extra.is_empty() && !about.key_only {
            found.extra.push(b'}');
            // Made of JSON that was read, so it is JSON.
            let text = std::str::from_utf8(&found.extra).unwrap_or("{}");
            if let Ok(object) = memory.other.read(text) {
                extra = convert_json(batch, &mut memory.scratch.jsonb, &object, self.binary.is_some()).0;
            }
        }
        let deleted = about.deleted.or(found.deleted);
        let hash = row_hash(batch, &mut memory.cells, &start, &extra, deleted);
        if let Some(binary) = self.binary.as_ref().filter(|binary| !binary.lz4.is_empty()) {
            if batch.arena.len() - start.arena > WIDE_ROW_BYTES {
                shorten(batch, &mut memory.row, &start, &mut extra, &binary.lz4);
            }
        }
        batch.misfits += found.misfits;
        let version = about.version.or(found.version);
        batch.rows.push(RowMeta { version, hash, deleted, extra, key_only: about.key_only });
    }
}

/// Walks the members of an object along the tree of wanted keys.
struct Walk<'w> {
    parser: &'w RecordParser,
    batch: &'w mut Batch,
    scratch: &'w mut Scratch,
    start: &'w Start,
}

impl Walk<'_> {
    fn object(&mut self, object: &Value<'_>, node: &Node, found: &mut Found) {
        for (key, value) in object.members() {
            let key = match key.kind() {
                Kind::String { escaped: true } => string_of(key.raw()),
                _ => Cow::Borrowed(key.inner()),
            };
            self.member(&key, &value, node, found);
        }
    }

    /// The same for what holds the fields of an account: a field without a column may be a new one.
    fn fields(&mut self, object: &Value<'_>, folder: &Folder, node: &Node, found: &mut Found) {
        for (key, value) in object.members() {
            let key = match key.kind() {
                Kind::String { escaped: true } => string_of(key.raw()),
                _ => Cow::Borrowed(key.inner()),
            };
            self.field(&key, &value, folder, node, found);
        }
    }

    /// The same for an array of objects, each of them a field.
    fn pairs(&mut self, array: &Value<'_>, pairs: &Pairs, folder: &Folder, node: &Node, found: &mut Found) {
        for element in array.inside() {
            let Some(key) = at(&element, &pairs.key) else { continue };
            let Some(value) = at(&element, &pairs.value) else { continue };
            self.field(&string_of(key.raw()), &value, folder, node, found);
        }
    }

    fn field(&mut self, key: &str, value: &Value<'_>, folder: &Folder, node: &Node, found: &mut Found) {
        if folder.looks && !node.contains_key(key) && !folder.known.contains(key) {
            let unknown = &mut self.batch.unknown;
            if unknown.len() < MOST_UNKNOWN && !unknown.iter().any(|known| known == key) {
                unknown.push(key.to_string());
            }
        }
        self.member(key, value, node, found);
    }

    fn member(&mut self, key: &str, value: &Value<'_>, node: &Node, found: &mut Found) {
        let is_null = value.kind() == Kind::Null;
        let Some(slot) = node.get(key) else {
            if self.parser.keep_extra && !is_null {
                found.keep(key, value.raw());
            }
            return;
        };
        for column in &slot.columns {
            self.parser.fill(self.batch, self.scratch, self.start, found, *column, Given::Json(*value));
        }
        if slot.is_version {
            found.version = instant(value.raw(), self.parser.version_format);
        }
        if slot.is_deleted_mark {
            found.deleted = Some(match &self.parser.deleted_equals {
                Some(mark) => string_of(value.raw()) == mark.as_str(),
                None => matches!(value.raw(), "true" | "\"true\"" | "1"),
            });
        }
        if let Some(inner) = &slot.inner {
            let folder = self.parser.folder.as_ref().filter(|_| slot.is_folder);
            let pairs = folder.and_then(|folder| folder.pairs.as_ref()).filter(|_| value.kind() == Kind::Array);
            if value.kind() == Kind::Object || pairs.is_some() {
                // What is left of the inner object stays together under its own key.
                let mut left = Found::default();
                match (folder, pairs) {
                    (Some(folder), Some(pairs)) => self.pairs(value, pairs, folder, inner, &mut left),
                    (Some(folder), None) => self.fields(value, folder, inner, &mut left),
                    (None, _) => self.object(value, inner, &mut left),
                }
                found.misfits += left.misfits;
                found.version = found.version.or(left.version);
                found.deleted = found.deleted.or(left.deleted);
                if !left.extra.is_empty() && self.parser.keep_extra && slot.columns.is_empty() {
                    left.extra.push(b'}');
                    found.extra_key(key);
                    found.extra.extend_from_slice(&left.extra);
                }
            } else if !is_null && slot.columns.is_empty() && self.parser.keep_extra {
                found.misfits += 1;
                found.keep(key, value.raw());
            }
        }
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
