//! Says where records come from that are inside, or below, those of another collection, and what a change feed tells.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::{Cursor, Method, OneOrMany, Pages, Params};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Where a child collection's records come from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Collections, or helpers, whose records hold the children.
    pub collections: Vec<String>,
    /// Pointer in the parent's record to the child, an array of children, or a list object (`list` is set). `*` stands
    /// for every element on the way: the elements around a child are `^` and `^^` in `add` and `only`.
    #[serde(default)]
    pub explode: Option<String>,
    /// The exploded value is a first page: `{records, more, path}` say how to read the rest of it.
    #[serde(default)]
    pub list: Option<EmbeddedList>,
    /// One listing call for each parent record instead; template with `{id}` of the parent.
    #[serde(default)]
    pub path: Option<String>,
    #[serde(default)]
    pub method: Method,
    /// Of the listing below a parent; templates with columns of the parent.
    #[serde(default)]
    pub json: Option<Value>,
    /// One call for many parents.
    #[serde(default)]
    pub batch: Option<BatchOfParents>,
    /// Only parents that changed since the last run are asked about; needs a parent that can tell.
    #[serde(default)]
    pub changed_only: bool,
    /// A setting with the keys of the parents, separated by commas. Where it is set, parents are not listed.
    #[serde(default)]
    pub keys_from: Option<String>,
    /// Keep only children whose field has one of these values (pointer -> texts).
    #[serde(default)]
    pub only: BTreeMap<String, OneOrMany>,
    /// Columns filled from outside the child: column -> pointer in the parent, `^` and a pointer, or `#index`.
    #[serde(default)]
    pub add: BTreeMap<String, String>,
    /// With `explode`: parameters to add to the parent's listing for the children to be there (`expand[]`). With `path`:
    /// of the listing below a parent, templates with columns of the parent.
    #[serde(default)]
    pub params: Params,
    /// Column of the child that names its parent: for `with_parent` deletions, and to read one parent's children only.
    #[serde(default)]
    pub key_column: Option<String>,
}

/// How many parents one call asks about, and by what.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchOfParents {
    pub size: usize,
    /// Pointer in a parent's record; the values are `{parent_keys}`, a list, in the call's templates.
    pub key: String,
    /// Pointer in a child to the value of its parent, where it is needed to tell them apart.
    #[serde(default)]
    pub key_in_child: Option<String>,
}

/// A list inside a record that holds its first page only.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedList {
    /// Pointers within the exploded value.
    pub records: String,
    pub more: String,
    /// Template of the listing that goes on, with `{id}` of the parent; paged like the parent.
    pub path: String,
    /// Values are templates of the same kind.
    #[serde(default)]
    pub params: Params,
}

/// One stream of changes that serves every collection of the source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    pub path: String,
    #[serde(default)]
    pub params: Params,
    pub records: String,
    pub pages: Pages,
    pub cursor: Cursor,
    /// Pointer to the name of the change, e.g. `/type`.
    pub event_type: String,
    /// Pointer to the changed object, e.g. `/data/object`.
    pub object: String,
    /// Pointer to the API version that the object is rendered in; another than ours is read again by id.
    #[serde(default)]
    pub version: Option<String>,
    /// How long the app keeps changes; an older checkpoint falls back to a full listing.
    pub retention_days: u32,
    /// Newest changes come first, so the first one seen of an object wins.
    #[serde(default)]
    pub newest_first: bool,
}

/// Which changes of the source's feed concern a collection.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectionFeed {
    /// Names of changes whose object is a record of this collection (or its parent's record, with `of_parent`).
    pub types: Vec<String>,
    /// Further names, whose object is the parent's record although those of `types` are records of this collection.
    #[serde(default)]
    pub parent_types: Vec<String>,
    /// Those of `types` that say the record is gone; with `of_parent`, that the parent is gone and its children with it.
    #[serde(default)]
    pub deleted: Vec<String>,
    /// Keep only changes whose object has this value (pointer -> text).
    #[serde(default)]
    pub only: BTreeMap<String, String>,
    /// The object of all `types` is the parent's: children are exploded out of it as in a listing.
    #[serde(default)]
    pub of_parent: bool,
}
