//! Decides what the fields of one account are to a record's reader: where they are, which of them are known, and which texts of
//! them mean nothing.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::convert::{string_of, Given};
use super::json::Value;
use super::{OutColumn, Output, Target};
use crate::manifest::{field_path, Discover, Pairs};
use std::collections::HashSet;

/// Where the fields of an account are.
pub struct Folder {
    /// An array of objects: where such an object has the field's name and its value.
    pub pairs: Option<Pairs>,
    /// Fields that have no column and are no news.
    pub known: HashSet<String>,
    /// Whether a field without a column may be a new one: its collection is described.
    pub looks: bool,
    /// Texts that mean nothing.
    null_if: Vec<String>,
    /// By column: whether such a text is null.
    may_be_nothing: Vec<bool>,
}

impl Folder {
    /// The folder of an output, and the paths of described fields that nobody keeps: without a column they are passed over.
    pub fn of(discover: &Discover, output: &Output) -> (Folder, Vec<Vec<String>>) {
        let path = discover.folder();
        let described = output.described.as_deref();
        let mut known: HashSet<String> = described.iter().flat_map(|d| d.unlisted.iter().cloned()).collect();
        let mut unselected = Vec::new();
        for column in described.iter().flat_map(|d| &d.columns) {
            let place = field_path(&column.field);
            let Some((name, _)) = place.split_last().filter(|(_, around)| *around == path) else { continue };
            if column.in_extra {
                known.insert(name.clone());
            } else {
                unselected.push(place);
            }
        }
        let inside = |column: &OutColumn| column.path.len() > path.len() && column.path.starts_with(&path);
        let may_be_nothing = |column: &OutColumn| {
            let is_text = matches!(column.target, Target::Text | Target::Json | Target::Jsonb);
            !discover.null_if.is_empty() && !is_text && inside(column)
        };
        let folder = Folder {
            pairs: discover.pairs.clone(),
            known,
            looks: described.is_some(),
            null_if: discover.null_if.clone(),
            may_be_nothing: output.columns.iter().map(may_be_nothing).collect(),
        };
        (folder, unselected)
    }

    pub fn means_nothing(&self, column: usize, value: &Given<'_>) -> bool {
        let may_be = self.may_be_nothing.get(column) == Some(&true);
        may_be && self.null_if.iter().any(|nothing| string_of(&value.json()) == nothing.as_str())
    }
}

/// The value at a pointer inside another one.
pub fn at<'v>(value: &Value<'v>, pointer: &str) -> Option<Value<'v>> {
    field_path(pointer).iter().try_fold(*value, |value, key| {
        let mut members = value.members();
        members.find(|(name, _)| string_of(name.raw()) == key.as_str()).map(|(_, value)| value)
    })
}
