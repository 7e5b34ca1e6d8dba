//! Says what a listing leaves out of its records, and how that is asked for many of them at once.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::{Call, Records};
use serde::Deserialize;

/// A call that tells more of the records of a page. It is made only for tables that have a column of what it tells.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// `{lookups}` in the request of a listing is the names of those that are wanted.
    pub name: String,
    /// Pointer to where in a record the answer is put.
    pub into: String,
    /// Pointer to where the collection's own listing, which tells it too, says that it did not tell all. Without it
    /// that listing tells nothing.
    #[serde(default)]
    pub listed: Option<String>,
    /// The keys of the records asked about are `{keys}`, a list.
    pub call: Call,
    /// Records to a call.
    pub size: usize,
    /// What the answer holds about each record.
    pub records: Records,
    /// Pointer there to the key of the record.
    pub key: String,
    /// Pointer there to what is put; empty for all of it.
    #[serde(default)]
    pub value: String,
    /// Where the answer names records of which there is nothing to tell. With it, one that is named nowhere is a mistake of
    /// the app's.
    #[serde(default)]
    pub none: Option<NoneOf>,
    /// Pointer there to a token by which the list at `value` goes on: the record is asked about again, alone, with
    /// `{after}`.
    #[serde(default)]
    pub next: Option<String>,
}

/// Where an answer names records.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoneOf {
    pub records: Records,
    /// Pointer in each of them to the key that it names.
    pub key: String,
}
