//! Reads what changed by a collection's own filter, or everything when it has none.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::full::{checkpoint, fill, Progress};
use super::pages::{with_param, Pager};
use super::request::{base_request, bases, bound, shape, SECOND_US};
use super::tables::Tables;
use super::{feed, full};
use crate::error::SyncError;
use crate::extract::sink::Sink;
use crate::extract::time::parse_iso;
use crate::extract::{cursor_of, Output, ReadEnd};
use crate::http::ApiClient;

/// Brings outputs up to date by whatever costs the fewest calls.
pub async fn read(api: &ApiClient, outputs: &[Output], sink: &Sink) -> Result<ReadEnd, SyncError> {
    let source = std::sync::Arc::clone(&api.account().source);
    if outputs.iter().all(|o| feed::is_followed(&source, &o.collection)) {
        return feed::read(api, outputs, sink).await;
    }
    let Some(first) = outputs.first() else { return Ok(ReadEnd::default()) };
    let bases = bases(&source, &first.collection)?;
    let oldest = outputs.iter().map(|o| o.checkpoint.as_ref().and_then(cursor_of).and_then(parse_iso)).min().flatten();
    let filters = bases.iter().all(|b| b.cursor.as_ref().is_some_and(|c| !c.created_only && c.param.is_some()));
    let Some(oldest) = oldest.filter(|_| filters) else {
        return full::read(api, outputs, None, false, sink).await;
    };
    let mut tables = Tables::new(&source, outputs, true);
    let mut progress = Progress::default();
    for base in bases {
        let Some((cursor, param)) = base.cursor.as_ref().and_then(|c| Some((c, c.param.as_ref()?))) else { continue };
        let overlap = i64::try_from(cursor.overlap_seconds).unwrap_or(i64::MAX).saturating_mul(SECOND_US);
        let from = bound(cursor, oldest.saturating_sub(overlap), false);
        let request = with_param(&base_request(api.account(), base, outputs, None)?, param, &from);
        let mut pager = Pager::new(shape(base), request);
        while let Some(page) = pager.next_page(api).await? {
            progress.see(base, &page);
            fill(api, &mut tables, base, &page, sink).await?;
            sink.page(tables.page(None)).await?;
        }
    }
    // Stamps of the app move the cursor, not its clock: what comes late has a stamp near the last one seen.
    let cursor = progress.newest.and(progress.cursor()).map_or(oldest, |cursor| cursor.max(oldest));
    Ok(ReadEnd {
        checkpoints: outputs.iter().map(|_| Some(checkpoint(Some(cursor)))).collect(),
        notes: std::mem::take(&mut tables.notes),
        ..ReadEnd::default()
    })
}
