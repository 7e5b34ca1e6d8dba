//! Decides which parents are asked about without being listed: those that a setting names, or a live query.
//!
//! Layer: extract. Knows nothing of Postgres.

use crate::error::SyncError;
use crate::http::ApiClient;
use crate::manifest::{Collection, Parent, Source};
use serde_json::{json, Value};

/// The parents that the owner named, as records that hold their key.
pub fn given_parents(api: &ApiClient, parent: &Parent, base: &Collection) -> Result<Option<Vec<String>>, SyncError> {
    let Some(setting) = &parent.keys_from else { return Ok(None) };
    let Some(text) = crate::http::setting(api.account(), setting) else { return Ok(None) };
    let named = crate::manifest::template::names(parent.path.as_deref().unwrap_or_default());
    let column = named.filter_map(|name| base.column(name)).next();
    let column = column.ok_or_else(|| SyncError::internal("the path below a parent names no column of it"))?;
    let keys = text.split([',', ' ']).map(str::trim).filter(|key| !key.is_empty());
    Ok(Some(keys.map(|key| record_with(&column.path(), key)).collect()))
}

/// A record that holds one value only.
fn record_with(path: &[String], value: &str) -> String {
    let value = path.iter().rev().fold(Value::String(value.to_string()), |inner, name| json!({ name: inner }));
    value.to_string()
}

/// The parents with these keys, as records that hold nothing else; `None` where a child needs more of its parent.
pub fn named_parents(source: &Source, collection: &Collection, keys: &[String]) -> Option<Vec<String>> {
    let parent = collection.parent.as_ref().filter(|parent| parent.path.is_some() && parent.batch.is_none())?;
    let [base] = parent.collections.as_slice() else { return None };
    let base = source.listed(base)?;
    let [key] = base.primary_key.as_slice() else { return None };
    let path = base.column(key).map_or_else(|| crate::manifest::field_path(key), |column| column.path());
    let texts = parent.path.iter().map(String::as_str).chain(parent.params.values().flat_map(|p| p.templates()));
    let body = parent.json.iter().flat_map(crate::manifest::texts_of);
    let is_column = |name: &str| base.column(name).is_some() || name == "id";
    let needs_more = texts.chain(body).flat_map(crate::manifest::template::names).any(|n| is_column(n) && n != key);
    let is_key = |pointer: &String| crate::manifest::field_path(pointer) == path;
    let adds_more = parent.add.values().any(|from| !from.starts_with(['#', '^']) && !is_key(from));
    // Around a record are first the steps of its own list, then its parent.
    let steps = collection.records.pointer.matches('*').count();
    let outer = |value: &str| value.bytes().take_while(|b| *b == b'^').count();
    let of_key = collection.columns.iter().all(|c| c.value.as_deref().is_none_or(|value| outer(value) <= steps));
    let is_known = !needs_more && !adds_more && of_key && parent.only.is_empty();
    // A segment of dots would climb out of its folder.
    let usable = keys.iter().filter(|key| !matches!(key.as_str(), "" | "." | ".."));
    is_known.then(|| usable.map(|key| record_with(&path, key)).collect())
}
