//! Reads what changed by a collection's own filter, or everything when it has none.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::full::{self, checkpoint, overlap_us, walk_through, with_state, Progress};
use super::lookups::Told;
use super::request::{bases, now_us, SECOND_US};
use super::tables::Tables;
use super::walk::{can_read_since, Part, Walk};
use super::{below, feed, job};
use crate::error::SyncError;
use crate::extract::sink::Sink;
use crate::extract::time::parse_iso;
use crate::extract::{cursor_of, Output, ReadEnd};
use crate::http::ApiClient;
use crate::manifest::{Collection, Cursor, Deletes};
use serde_json::Value;

const DAY_US: i64 = 86_400 * SECOND_US;

/// The collection as its changes are listed.
pub fn changes_of(base: &Collection) -> Collection {
    base.incremental.as_ref().map_or_else(|| base.clone(), |list| base.listed_by(list))
}

/// Refuses a cursor that is older than what the app can tell of.
pub fn check_age(cursor: &Cursor, oldest: i64) -> Result<(), SyncError> {
    let age = now_us().saturating_sub(oldest);
    match cursor.retention_days {
        Some(days) if age > i64::from(days).saturating_mul(DAY_US) => Err(SyncError::CursorExpired {
            detail: format!("the app tells changes of {days} days, and the last refresh is longer ago"),
        }),
        _ => Ok(()),
    }
}

/// Brings outputs up to date by whatever costs the fewest calls.
pub async fn read(api: &ApiClient, outputs: &[Output], sink: &Sink) -> Result<ReadEnd, SyncError> {
    let source = std::sync::Arc::clone(&api.account().source);
    if outputs.iter().all(|o| feed::is_followed(&source, &o.collection)) {
        return feed::read(api, outputs, sink).await;
    }
    let Some(first) = outputs.first() else { return Ok(ReadEnd::default()) };
    if below::is_below(first) {
        return below::read(api, first, None, true, sink).await;
    }
    let bases: Vec<Collection> = bases(&source, &first.collection)?.into_iter().map(changes_of).collect();
    let oldest = outputs.iter().map(|o| o.checkpoint.as_ref().and_then(cursor_of).and_then(parse_iso)).min().flatten();
    let absence = outputs.iter().any(|output| matches!(output.collection.deletes, Deletes::Absent));
    let can_read = |base: &Collection| match job::of(base, false) {
        Some(job) => can_read_since(&job::asked(base, job)),
        None => can_read_since(base),
    };
    let Some(oldest) = oldest.filter(|_| bases.iter().all(can_read) && !absence) else {
        return full::read(api, outputs, None, false, sink).await;
    };
    let mut tables = Tables::new(api.account(), outputs, true);
    let mut progress = Progress::default();
    for base in &bases {
        let Some(cursor) = &base.cursor else { continue };
        check_age(cursor, oldest)?;
        let from = Some(oldest.saturating_sub(overlap_us(cursor)));
        // Several tables of one listing may have stopped at different places; then time says where.
        let opaque = |output: &Output| Some(output.checkpoint.as_ref()?.get("opaque")?.as_str()?.to_string());
        let opaque = opaque(first).filter(|known| outputs.iter().all(|o| opaque(o).as_ref() == Some(known)));
        progress.opaque = opaque.clone();
        if let Some(job) = job::of(base, false) {
            let part = Part { from, ..Part::default() };
            if job::read(api, &mut tables, base, job, outputs, part, None, false, &mut progress, sink).await? {
                continue;
            }
        }
        progress.told = Told::of(base, outputs);
        let part = Part { from, opaque, told: progress.told.clone(), ..Part::default() };
        let mut walk = Walk::new(api, base, outputs, part)?;
        walk_through(api, &mut tables, base, &mut walk, from, &mut progress, false, sink).await?;
    }
    // Stamps of the app move the cursor, not its clock: what comes late has a stamp near the last one seen.
    let cursor = progress.newest.and(progress.cursor()).map_or(oldest, |cursor| cursor.max(oldest));
    let checkpoint: Value = with_state(checkpoint(Some(cursor)), &progress);
    Ok(ReadEnd {
        checkpoints: outputs.iter().map(|_| Some(checkpoint.clone())).collect(),
        notes: std::mem::take(&mut tables.notes),
        ..ReadEnd::default()
    })
}
