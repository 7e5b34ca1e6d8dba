//! Decides which styles of the format no reader does yet: a file may say them, but only of collections that it marks as
//! unsupported. A style leaves this list with the change that makes it work.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::super::{Collection, Cursor, Param, Params, Source};
use super::Mistakes;

pub(super) fn check(source: &Source, found: &mut Mistakes) {
    if let Some(feed) = &source.feed {
        feed_cursor(&feed.cursor, "/feed/cursor", found);
    }
    let tables = source.collections.iter().enumerate().map(|(i, c)| (format!("/collections/{i}"), c));
    let helpers = source.helpers.iter().enumerate().map(|(i, c)| (format!("/helpers/{i}"), c));
    for (at, item) in tables.chain(helpers).filter(|(_, c)| c.unsupported.is_none()) {
        collection(item, &at, found);
    }
}

/// A feed is polled by time alone.
fn feed_cursor(cursor: &Cursor, at: &str, found: &mut Mistakes) {
    let other = cursor.opaque.is_some()
        || cursor.step_seconds.is_some()
        || cursor.client_side
        || cursor.per_parent
        || cursor.behind_seconds > 0;
    found.not_yet(other, at, "a cursor of this kind for a feed");
}

/// Lists inside a record are read on with plain parameters.
fn plain(params: &Params, at: &str, found: &mut Mistakes) {
    let other = params.values().any(|param| matches!(param, Param::Json(_)));
    found.not_yet(other, at, "JSON parameters here");
}

fn collection(collection: &Collection, at: &str, found: &mut Mistakes) {
    let place = |part: &str| format!("{at}/{part}");
    if let Some(parent) = &collection.parent {
        if let Some(list) = &parent.list {
            plain(&list.params, &place("parent/list/params"), found);
        }
    }
}
