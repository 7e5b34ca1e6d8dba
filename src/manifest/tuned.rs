//! Decides what a server's own numbers change in a source: its overlap, its pace, and that of single groups of calls.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::{Cursor, Deletes, Source};
use std::sync::Arc;

/// The source with the server's own overlap (for every cursor and the feed) and pace, where it has them. `setting` gives the
/// number of a setting.
pub fn tuned(
    source: Arc<Source>,
    overlap_seconds: Option<u64>,
    calls_per_second: Option<u32>,
    setting: impl Fn(&str) -> Option<u32>,
) -> Arc<Source> {
    let groups = source.rate.iter().flat_map(|rate| &rate.groups);
    let own_pace = groups.filter_map(|group| group.calls_setting.as_deref()).any(|name| setting(name).is_some());
    if overlap_seconds.is_none() && calls_per_second.is_none() && !own_pace {
        return source;
    }
    let mut source = Source::clone(&source);
    if let Some(overlap) = overlap_seconds {
        for cursor in cursors(&mut source) {
            cursor.overlap_seconds = overlap;
        }
    }
    for group in source.rate.iter_mut().flat_map(|rate| &mut rate.groups) {
        if let Some(calls) = group.calls_setting.as_deref().and_then(&setting).filter(|calls| *calls > 0) {
            group.calls = Some(calls);
        }
    }
    if let Some(pace) = calls_per_second {
        source.rate = Some(source.rate.take().unwrap_or_default().paced_at(pace));
    }
    Arc::new(source)
}

/// Every cursor of a source: of the feed, of listings, of requests for changes, of lists of what is gone.
fn cursors(source: &mut Source) -> Vec<&mut Cursor> {
    let mut found: Vec<&mut Cursor> = source.feed.iter_mut().map(|feed| &mut feed.cursor).collect();
    for collection in source.collections.iter_mut().chain(&mut source.helpers) {
        found.extend(collection.cursor.as_mut());
        found.extend(collection.incremental.iter_mut().filter_map(|list| list.cursor.as_mut()));
        if let Deletes::Listing { list, .. } = &mut collection.deletes {
            found.extend(list.cursor.as_mut());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn desk() -> Arc<Source> {
        let cursor = json!({ "field": "at", "param": "since", "overlap_seconds": 60 });
        let file = json!({
            "source": "desk", "title": "Desk", "docs": "https://desk.example/docs", "base_url": "https://desk.example",
            "auth": { "style": "none" },
            "collections": [{
                "name": "deals", "path": "/deals", "records": "/data", "primary_key": ["id"], "pages": { "style": "none" },
                "cursor": cursor,
                "incremental": { "path": "/changed", "cursor": cursor },
                "deletes": { "style": "listing", "list": { "path": "/gone", "records": "/data",
                    "pages": { "style": "none" }, "cursor": cursor } },
                "columns": [{ "name": "id", "type": "text" }, { "name": "at", "type": "timestamptz" }]
            }]
        });
        Arc::new(Source::from_json(&file.to_string()).unwrap_or_else(|problems| panic!("{problems:?}")))
    }

    #[test]
    fn an_overlap_of_the_server_reaches_every_cursor() {
        let source = tuned(desk(), Some(7), None, |_| None);
        let deals = source.collection("deals").unwrap();
        let changes = deals.incremental.as_ref().and_then(|list| list.cursor.as_ref());
        let Deletes::Listing { list, .. } = &deals.deletes else { panic!("{:?}", deals.deletes) };
        for (place, cursor) in [("listing", &deals.cursor), ("changes", &changes.cloned()), ("gone", &list.cursor)] {
            assert_eq!(cursor.as_ref().map(|c| c.overlap_seconds), Some(7), "{place}");
        }
        assert!(source.rate.is_none());
    }

    #[test]
    fn without_own_numbers_the_source_is_shared() {
        let source = desk();
        assert!(Arc::ptr_eq(&source, &tuned(source.clone(), None, None, |_| None)));
        assert!(tuned(source, None, Some(5), |_| None).rate.is_some());
    }
}
