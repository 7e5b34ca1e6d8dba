//! Holds typed rows on their way from the app to Postgres: compact, and free to move between threads.
//!
//! Layer: extract. Knows nothing of Postgres.

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
    /// A JSON object of what has no column or did not fit.
    pub extra: Option<Span>,
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
}

impl Batch {
    pub fn new(width: usize) -> Self {
        Batch { width, ..Batch::default() }
    }

    /// Appends to the arena.
    pub fn store(&mut self, bytes: &[u8]) -> Span {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        Span { start, len: bytes.len() as u32 }
    }

    pub fn bytes(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.arena.get(start..start + span.len as usize).unwrap_or_default()
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
