//! Decides how a collection is read: which calls, how they page, and how records become typed rows.
//!
//! A reader gets a [`ReadRequest`], makes calls through [`crate::http::ApiClient`], and gives [`Page`]s to its
//! [`Sink`]. It keeps nothing between reads: what must be remembered goes back as checkpoints and positions,
//! which the writer stores in the transaction of the rows they account for.
//!
//! Layer: extract. Knows nothing of Postgres.

pub mod batch;
pub mod binary;
mod convert;
mod csv;
mod described;
mod ended;
pub mod facebook;
mod folder;
pub mod google_ads;
pub mod group;
pub mod json;
mod marketo;
mod reader;
pub mod record;
pub mod rest;
mod row;
pub mod salesforce;
pub mod sfmc;
pub mod sink;
pub mod text;
pub mod time;

pub use described::{Described, DescribedColumn};
pub use reader::{
    asks_for_fields, check, describe, first_request, is_described, order_pushable, pushable, queries, read, Queries,
};

use crate::error::SyncError;
use crate::manifest::{Collection, Format};
use batch::Batch;
use serde_json::Value;
use std::sync::Arc;

/// What a column's values are turned into. Types of Postgres by their wire shape, not by their oid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Bool,
    Int2,
    Int4,
    Int8,
    Float8,
    /// Decimal text of any length.
    Numeric,
    /// Strings unescaped, anything else as its JSON text.
    Text,
    Timestamptz,
    Date,
    /// JSON text that any JSON parser takes.
    Json,
    Jsonb,
}

/// One column to fill.
#[derive(Clone, Debug, PartialEq)]
pub struct OutColumn {
    pub name: String,
    /// Path in the record, one key an element.
    pub path: Vec<String>,
    pub target: Target,
    pub format: Format,
}

/// One table that a read fills, and what is known of it.
#[derive(Clone, Debug)]
pub struct Output {
    pub collection: Arc<Collection>,
    /// In the order of the cells of a row.
    pub columns: Vec<OutColumn>,
    /// Indexes into `columns`.
    pub key: Vec<usize>,
    /// Keep what has no column in `extra`.
    pub keep_extra: bool,
    /// As saved by the last read that ended normally.
    pub checkpoint: Option<Value>,
    /// Whether values are made as Postgres lays them out; else as text for its input functions.
    pub binary: Option<Binary>,
    /// Fields as the app describes them (sources with discovery): type, filterable and so on, by field name.
    pub described: Option<Arc<Described>>,
}

/// How values that Postgres lays out in its own way are made ready for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binary {
    /// Columns (indexes) that the table compresses with lz4 when a row is wide.
    pub lz4: Vec<usize>,
}

/// What to read.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// One or more tables filled from one stream of calls.
    pub outputs: Vec<Output>,
    pub mode: Mode,
}

#[derive(Clone, Debug)]
pub enum Mode {
    /// Everything, from the start or from the position of an interrupted read.
    Full { resume: Option<Value> },
    /// What changed since each output's checkpoint.
    Incremental,
    /// A live query.
    Scan(Scan),
    /// Everything, for its keys: the writer marks what is not among them. An app that cannot be asked for keys alone gives whole
    /// records, and they are stored.
    Keys,
    /// Everything that is there, for the output's columns only: nothing else of what is stored is touched.
    Columns,
}

/// A live query: conditions the app is told. Postgres checks every row again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    pub filters: Vec<Filter>,
    /// Only when the app's order is exactly Postgres's.
    pub order: Vec<Order>,
    /// Only when every condition and the order went to the app.
    pub limit: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// Index into the output's columns.
    pub column: usize,
    pub op: Op,
    /// One value; several for `In`; none for the null tests.
    pub values: Vec<FilterValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    Like,
    IsNull,
    IsNotNull,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FilterValue {
    Bool(bool),
    Int(i64),
    /// Decimal text.
    Number(String),
    Text(String),
    /// Microseconds since 1970 UTC.
    Timestamp(i64),
    /// Days since 1970.
    Date(i32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub column: usize,
    pub descending: bool,
    pub nulls_first: bool,
}

/// How well the app's reading of a condition agrees with Postgres's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    No,
    /// The app may give more rows than match.
    Superset,
    Exact,
}

/// One page of the app, as rows for each output it concerns.
#[derive(Debug)]
pub struct Page {
    /// (index of the output, its rows).
    pub batches: Vec<(usize, Batch)>,
    /// Where an interrupted full read goes on once these rows are stored.
    pub position: Option<Value>,
}

impl Page {
    /// About how much memory it holds, in bytes.
    pub fn size(&self) -> usize {
        self.batches.iter().map(|(_, batch)| batch.size()).sum()
    }
}

/// How a read ended.
#[derive(Clone, Debug, Default)]
pub struct ReadEnd {
    /// The new checkpoint of each output; `None` leaves the old one.
    pub checkpoints: Vec<Option<Value>>,
    /// Outputs that the change stream can no longer bring up to date and why; they need a full read.
    pub expired: Vec<(usize, String)>,
    /// Outputs that could not be read, although the others were (a permission taken away).
    pub failed: Vec<(usize, SyncError)>,
    /// Things the user should know.
    pub notes: Vec<String>,
    /// Outputs of which a part was passed over: what their listing lacks may be there all the same.
    pub incomplete: Vec<usize>,
}

/// The readable cursor of a checkpoint, for `cloudsync.status`: its `cursor` member.
pub fn cursor_of(checkpoint: &Value) -> Option<&str> {
    checkpoint.get("cursor").and_then(Value::as_str)
}

/// Refuses a request whose outputs do not belong together.
pub fn single_output(request: &ReadRequest) -> Result<&Output, SyncError> {
    match request.outputs.as_slice() {
        [one] => Ok(one),
        _ => Err(SyncError::internal("this reader fills one table at a time")),
    }
}
