//! Reads the collections that have no change signal of their own: a window of their listing, when something moved.
//!
//! Stripe's balance transactions only ever turn from pending to available, and no event says so. Their last days are
//! read again when the feed showed any change, or when it has been long.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::bound::bound;
use super::feed::{is_of_one, Follower};
use super::full::fill;
use super::pages::{with_param, Pager};
use super::request::{base_request, bases, shape, SECOND_US};
use super::tables::Tables;
use crate::error::SyncError;
use crate::extract::sink::Sink;
use crate::extract::time::{parse_iso, to_iso_ms};
use crate::extract::Output;
use crate::http::ApiClient;
use crate::manifest::{Collection, Lookback, Source};
use serde_json::Value;
use std::collections::BTreeMap;

/// The window of a collection, or of the parent whose records hold it.
pub fn window<'s>(source: &'s Source, collection: &'s Collection) -> Option<&'s Lookback> {
    let of_parent = || {
        let parent = collection.parent.as_ref().filter(|p| p.explode.is_some())?;
        parent.collections.iter().find_map(|name| source.listed(name)?.lookback.as_ref())
    };
    let own = collection.lookback.as_ref();
    own.or_else(|| if collection.feed.is_none() { of_parent() } else { None })
}

/// Reads the windows that are due; parent and children share a listing. Gives the outputs that were read and when, or
/// why one could not be.
pub async fn read(
    api: &ApiClient,
    tables: &mut Tables<'_>,
    outputs: &[Output],
    followers: &[Follower],
    now: Option<i64>,
    sink: &Sink,
) -> Result<Vec<(usize, Result<String, SyncError>)>, SyncError> {
    let source = std::sync::Arc::clone(&api.account().source);
    // Base -> (the outputs that are due, where the window begins).
    let mut due: BTreeMap<String, (Vec<usize>, i64)> = BTreeMap::new();
    for (index, (output, follower)) in outputs.iter().zip(followers).enumerate() {
        let Some(window) = window(&source, &output.collection).filter(|_| !follower.is_out()) else { continue };
        let checked_at = output.checkpoint.as_ref().and_then(|c| c.get("checked_at")).and_then(Value::as_str);
        // Cursors move with every poll; the window reaches back from the last time the list itself was read.
        let since = checked_at.and_then(parse_iso).map_or(follower.cursor, |at| at.min(follower.cursor));
        let seconds = |n: u64| i64::try_from(n).unwrap_or(i64::MAX).saturating_mul(SECOND_US);
        let is_long_ago = now.is_none_or(|now| now.saturating_sub(since) >= seconds(window.at_least_every_seconds));
        if !follower.saw_news && !is_long_ago {
            continue;
        }
        let from = since.saturating_sub(seconds(window.seconds));
        for base in bases(&source, &output.collection)? {
            let entry = due.entry(base.name.clone()).or_insert((Vec::new(), from));
            entry.0.push(index);
            entry.1 = entry.1.min(from);
        }
    }
    let mut checked = Vec::new();
    for (name, (indexes, from)) in due {
        let Some(base) = source.listed(&name) else { continue };
        tables.limit_to(Some(indexes.clone()));
        let read = read_window(api, tables, base, outputs, &indexes, from, sink).await;
        tables.limit_to(None);
        let at = match read {
            Ok(clock) => Ok(clock.or(now).map(to_iso_ms)),
            Err(error) if is_of_one(&error) => Err(error),
            Err(error) => return Err(error),
        };
        checked.extend(indexes.into_iter().filter_map(|index| Some((index, at.clone().transpose()?))));
    }
    Ok(checked)
}

/// Reads one window; gives the app's clock at its first page.
async fn read_window(
    api: &ApiClient,
    tables: &mut Tables<'_>,
    base: &Collection,
    outputs: &[Output],
    indexes: &[usize],
    from: i64,
    sink: &Sink,
) -> Result<Option<i64>, SyncError> {
    let wanted: Vec<Output> = indexes.iter().filter_map(|i| outputs.get(*i)).cloned().collect();
    let mut request = base_request(api.account(), base, &wanted, None)?;
    if let Some((cursor, param)) = base.cursor.as_ref().and_then(|c| Some((c, c.param.as_ref()?))) {
        request = with_param(&request, param, &bound(cursor, from, false));
    }
    let mut pager = Pager::new(shape(base), request);
    let mut clock = None;
    while let Some(page) = pager.next_page(api).await? {
        clock = clock.or(page.date_us);
        fill(api, tables, base, &page, sink).await?;
        sink.page(tables.page(None)).await?;
    }
    Ok(clock)
}
