//! What is done with a row as a whole: it is taken back, gets its hash, and is made to fit.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::batch::{Batch, Cell, Rejected, Span};
use super::binary::{align, compress, HEADER, WIDE_ROW_BYTES};

/// Where a row begins, to take it back when it cannot be one.
pub struct Start {
    pub cells: usize,
    pub arena: usize,
}

impl Start {
    pub fn of(batch: &mut Batch) -> Self {
        // The same record gives the same bytes wherever its row begins: its hash covers them.
        align(&mut batch.arena);
        Start { cells: batch.cells.len(), arena: batch.arena.len() }
    }

    pub fn reject(&self, batch: &mut Batch, raw: &str, reason: String) {
        batch.cells.truncate(self.cells);
        batch.arena.truncate(self.arena);
        batch.rejected.push(Rejected { raw: raw.to_string(), reason });
    }
}

/// A number that stays the same as long as the row would be stored the same.
pub fn row_hash(batch: &Batch, bytes: &mut Vec<u8>, start: &Start, extra: &Cell, deleted: Option<bool>) -> i64 {
    bytes.clear();
    for cell in batch.cells.get(start.cells..).unwrap_or_default().iter().chain([extra]) {
        let (tag, value): (u8, u64) = match cell {
            Cell::Null => (0, 0),
            Cell::Bool(b) => (1, u64::from(*b)),
            Cell::Int(n) => (2, *n as u64),
            Cell::Float(x) => (3, x.to_bits()),
            Cell::Timestamp(t) => (4, *t as u64),
            Cell::Date(d) => (5, *d as u64),
            // Their bytes are in the arena; the length keeps neighbours apart.
            Cell::Text(span) | Cell::Number(span) | Cell::Json(span) | Cell::Binary(span) => (6, u64::from(span.len)),
        };
        bytes.push(tag);
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.push(deleted.map_or(2, u8::from));
    let cells = xxhash_rust::xxh3::xxh3_64(bytes);
    let values = batch.arena.get(start.arena..).unwrap_or_default();
    xxhash_rust::xxh3::xxh3_64_with_seed(values, cells) as i64
}

/// Compresses the largest values of a wide row until it fits, as Postgres would: here it costs the backend nothing.
///
/// `lz4` are the columns that may be; the row's values are written anew, behind each other.
pub fn shorten(batch: &mut Batch, row: &mut Vec<u8>, start: &Start, extra: &mut Cell, lz4: &[usize]) {
    let mut size = batch.arena.len() - start.arena;
    let mut candidates: Vec<(u32, usize)> = lz4
        .iter()
        .filter_map(|column| match batch.cells.get(start.cells + column) {
            Some(Cell::Binary(span)) => Some((span.len, *column)),
            _ => None,
        })
        .collect();
    candidates.sort_unstable();
    let mut chosen: Vec<usize> = Vec::new();
    row.clear();
    // Compressed values come first, then the others; spans are relative to the row until it is put in place.
    let mut packed: Vec<(usize, Span)> = Vec::new();
    while size > WIDE_ROW_BYTES {
        let Some((length, column)) = candidates.pop() else { break };
        let Some(Cell::Binary(span)) = batch.cells.get(start.cells + column).copied() else { continue };
        align(row);
        let from = row.len();
        if compress(batch.bytes(span), row) {
            let len = row.len() - from - HEADER;
            size = size.saturating_sub((length as usize).saturating_sub(len));
            packed.push((column, Span { start: (start.arena + from + HEADER) as u32, len: len as u32 }));
            chosen.push(column);
        }
    }
    if chosen.is_empty() {
        return;
    }
    let moved = |batch: &Batch, row: &mut Vec<u8>, span: Span| {
        align(row);
        let from = row.len();
        row.extend_from_slice(batch.with_header(span));
        Span { start: (start.arena + from + HEADER) as u32, ..span }
    };
    let move_cell = |batch: &Batch, row: &mut Vec<u8>, cell: Cell| match cell {
        Cell::Text(span) => Cell::Text(moved(batch, row, span)),
        Cell::Number(span) => Cell::Number(moved(batch, row, span)),
        Cell::Json(span) => Cell::Json(moved(batch, row, span)),
        Cell::Binary(span) => Cell::Binary(moved(batch, row, span)),
        other => other,
    };
    for column in 0..batch.cells.len() - start.cells {
        let Some(cell) = batch.cells.get(start.cells + column).copied() else { continue };
        let there = packed.iter().find(|(packed, _)| *packed == column).map(|(_, span)| Cell::Binary(*span));
        let cell = there.unwrap_or_else(|| move_cell(batch, row, cell));
        if let Some(place) = batch.cells.get_mut(start.cells + column) {
            *place = cell;
        }
    }
    *extra = move_cell(batch, row, *extra);
    batch.arena.truncate(start.arena);
    batch.arena.extend_from_slice(row);
}
