//! Turns one record as the app sent it into one typed row.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::batch::Batch;
use super::Output;

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

/// Makes rows of one output's records. Built once per read.
pub struct RecordParser {}

impl RecordParser {
    pub fn new(_output: &Output) -> Self {
        RecordParser {}
    }

    /// Appends the record's row to `batch`, or parks it in `batch.rejected` with its reason.
    pub fn push(&self, _batch: &mut Batch, _raw: &str, _about: &About<'_>) {}

    /// The same for a row of text fields (CSV): `fields` are (index of the column, text); an empty text is null.
    pub fn push_fields(&self, _batch: &mut Batch, _fields: &[(usize, &str)], _about: &About<'_>) {}
}
