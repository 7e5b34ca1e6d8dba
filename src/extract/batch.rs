//! Holds typed rows on their way from the app to Postgres: compact, and free to move between threads.
//!
//! Layer: extract. Knows nothing of Postgres but how it lays out a value ([`super::binary`]).

use super::binary;

/// A piece of a batch's arena, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

/// One value. Times count from 1970 in UTC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Microseconds since 1970-01-01 00:00 UTC.
    Timestamp(i64),
    /// Days since 1970-01-01.
    Date(i32),
    /// Text without NUL.
    Text(Span),
    /// Decimal text that Postgres's numeric takes.
    Number(Span),
    /// JSON text that Postgres's jsonb takes.
    Json(Span),
    /// A `numeric` or `jsonb` as Postgres lays it out ([`super::binary`]); the span leaves its header out.
    Binary(Span),
}

/// What belongs to a row beside its cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowMeta {
    /// When the app last changed the record, microseconds since 1970; an older one never replaces a newer one.
    pub version: Option<i64>,
    /// Hash of cells, `extra` and the deletion mark: equal hashes mean an unchanged row.
    pub hash: i64,
    /// `None` when the record does not tell.
    pub deleted: Option<bool>,
    /// A JSON object of what has no column or did not fit; null when there is nothing.
    pub extra: Cell,
    /// A deletion that names the key only: other cells are unknown and must not overwrite.
    pub key_only: bool,
}

/// A record that could not become a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// The record as the app sent it.
    pub raw: String,
    pub reason: String,
}

/// All children of one parent, as the app gave them: others of that parent are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompleteParent {
    pub parent_key: String,
    /// Keys of the children, joined in the order of the primary key.
    pub child_keys: Vec<String>,
}

/// Rows of one table.
#[derive(Debug, Default)]
pub struct Batch {
    pub width: usize,
    /// Row after row, `width` cells each.
    pub cells: Vec<Cell>,
    pub rows: Vec<RowMeta>,
    pub arena: Vec<u8>,
    pub rejected: Vec<Rejected>,
    pub complete_parents: Vec<CompleteParent>,
    /// Values kept in `extra` because their column could not hold them.
    pub misfits: u64,
    /// Keys of fields of the account that its description did not name.
    pub unknown: Vec<String>,
}

impl Batch {
    pub fn new(width: usize) -> Self {
        Batch { width, ..Batch::default() }
    }

    /// Appends a value to the arena, behind a header of its length as Postgres writes it, so that the backend can point
    /// at it.
    pub fn store(&mut self, bytes: &[u8]) -> Span {
        let start = self.open_value();
        self.arena.extend_from_slice(bytes);
        self.close_value(start)
    }

    /// Begins a value whose bytes the caller appends to the arena, up to [`Batch::close_value`].
    pub fn open_value(&mut self) -> usize {
        binary::align(&mut self.arena);
        let start = self.arena.len();
        self.arena.extend_from_slice(&[0; binary::HEADER]);
        start
    }

    /// Ends the value begun at `start`.
    pub fn close_value(&mut self, start: usize) -> Span {
        binary::close(&mut self.arena, start);
        let from = start + binary::HEADER;
        Span { start: from as u32, len: (self.arena.len().saturating_sub(from)) as u32 }
    }

    /// The place of a value's header, which may say that the value is compressed.
    pub fn with_header(&self, span: Span) -> &[u8] {
        let start = (span.start as usize).saturating_sub(binary::HEADER);
        self.arena.get(start..span.start as usize + span.len as usize).unwrap_or_default()
    }

    pub fn bytes(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.arena.get(start..start + span.len as usize).unwrap_or_default()
    }

    /// The text of a cell that holds one; empty for others.
    pub fn text(&self, cell: &Cell) -> std::borrow::Cow<'_, str> {
        match cell {
            Cell::Text(span) | Cell::Number(span) | Cell::Json(span) => String::from_utf8_lossy(self.bytes(*span)),
            _ => std::borrow::Cow::Borrowed(""),
        }
    }

    pub fn row(&self, index: usize) -> &[Cell] {
        self.cells.get(index * self.width..(index + 1) * self.width).unwrap_or_default()
    }

    /// About how much memory the batch holds, in bytes.
    pub fn size(&self) -> usize {
        self.arena.len()
            + self.cells.len() * std::mem::size_of::<Cell>()
            + self.rows.len() * std::mem::size_of::<RowMeta>()
    }
}
