//! Reads the listings by which some apps tell what is gone: whole records, or their keys alone.
//!
//! They are read beside a collection's own listing, by a cursor of their own, which is kept in the same checkpoint. A
//! failure of theirs is the collection's: rows are right, but what is gone is not known.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::full::{overlap_us, Progress};
use super::lookups;
use super::request::{key_text, stamp_of};
use super::tables::Tables;
use super::walk::{can_read_since, Part, Walk};
use crate::error::SyncError;
use crate::extract::sink::Sink;
use crate::extract::time::{parse_iso, to_iso_ms};
use crate::extract::{Output, ReadEnd};
use crate::http::ApiClient;
use crate::manifest::{Collection, Deletes, Listing};
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;

/// Reads what is gone for every output that has such a listing, and puts where that ended into its checkpoint.
pub async fn read_all(
    api: &ApiClient,
    outputs: &[Output],
    end: &mut ReadEnd,
    is_full: bool,
    sink: &Sink,
) -> Result<(), SyncError> {
    for (index, output) in outputs.iter().enumerate() {
        let Deletes::Listing { list, key } = &output.collection.deletes else { continue };
        let is_out = end.expired.iter().any(|(i, _)| *i == index) || end.failed.iter().any(|(i, _)| *i == index);
        let Some(checkpoint) = end.checkpoints.get_mut(index).and_then(Option::as_mut).filter(|_| !is_out) else {
            continue;
        };
        let known =
            output.checkpoint.as_ref().and_then(|c| c.get("deleted")).and_then(Value::as_str).and_then(parse_iso);
        // A first load shows what is there; keys of what was gone before it are of no use.
        let mut gone = Vec::new();
        let state = if is_full && !key.is_empty() {
            checkpoint.get("cursor").cloned()
        } else {
            match read(api, outputs, index, list, key, known, &mut gone, sink).await {
                Ok(state) => state,
                Err(error) if super::feed::is_of_one(&error) => {
                    end.failed.push((index, error));
                    continue;
                }
                Err(error) => return Err(error),
            }
        };
        if let Some(members) = checkpoint.as_object_mut() {
            members.extend(state.map(|state| ("deleted".to_string(), state)));
            gone.iter().for_each(|key| lookups::forget(members, key));
        }
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
async fn read(
    api: &ApiClient,
    outputs: &[Output],
    index: usize,
    list: &Listing,
    key: &BTreeMap<String, String>,
    known: Option<i64>,
    gone: &mut Vec<String>,
    sink: &Sink,
) -> Result<Option<Value>, SyncError> {
    let Some(output) = outputs.get(index) else { return Ok(None) };
    let listing = output.collection.listed_by(list);
    let cursor = list.cursor.as_ref();
    // Of what is gone nothing more is told.
    let base = Collection { cursor: cursor.cloned(), lookups: Vec::new(), ..listing };
    let from = cursor.filter(|_| can_read_since(&base)).and_then(|c| Some(known?.saturating_sub(overlap_us(c))));
    let mut tables = Tables::new(api.account(), outputs, false);
    let mut progress = Progress::default();
    let mut walk = Walk::new(api, &base, outputs, Part { from, ..Part::default() })?;
    while let Some(page) = walk.next_page().await? {
        progress.see(&base, &page);
        for raw in page.records() {
            let stamp = cursor.and_then(|cursor| stamp_of(cursor, raw));
            if from.zip(stamp).is_some_and(|(from, stamp)| stamp < from) {
                continue;
            }
            if key.is_empty() {
                // Its own time says when it went, where the record has one; else when the app showed it as gone.
                let own = output.collection.cursor.as_ref().and_then(|cursor| stamp_of(cursor, raw));
                tables.gone(index, raw, own.or(page.list_version()), false);
                gone.extend(key_text(&output.collection, raw));
            } else if let Some(record) = key_record(&output.collection, raw, key) {
                tables.gone(index, &record, stamp.or(page.list_version()), true);
                gone.extend(key_text(&output.collection, &record));
            }
        }
        sink.page(tables.page(None)).await?;
    }
    let reached = progress.cursor().max(known);
    Ok(reached.map(|at| to_iso_ms(at).into()))
}

/// A record that holds nothing but its key, where the collection's own records have it.
pub fn key_record(collection: &Collection, raw: &str, key: &BTreeMap<String, String>) -> Option<String> {
    let mut record = Value::Object(Map::new());
    for (column, pointer) in key {
        let value: Value = serde_json::from_str(super::raw::at(raw, pointer)?).ok()?;
        let path = collection.column(column).map_or_else(|| vec![column.clone()], |column| column.path());
        let (last, before) = path.split_last()?;
        let mut at = &mut record;
        for name in before {
            at = at.as_object_mut()?.entry(name.clone()).or_insert_with(|| json!({}));
        }
        at.as_object_mut()?.insert(last.clone(), value);
    }
    Some(record.to_string())
}
