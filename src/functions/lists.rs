//! What can be connected: the rows behind `cloudsync.sources` and `cloudsync.collections`.

use crate::manifest::{Collection, Deletes, Kind, Source};
use crate::sources;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Object => "object",
        Kind::Event => "event",
    }
}

/// One row a source.
#[pg_extern]
#[allow(clippy::type_complexity)]
fn cloudsync_list_sources() -> Result<
    TableIterator<
        'static,
        (
            name!(source, String),
            name!(title, String),
            name!(kind, String),
            name!(auth_fields, Vec<String>),
            name!(settings, Vec<String>),
            name!(docs, String),
            name!(user_defined, bool),
        ),
    >,
    ErrorReport,
> {
    let rows: Vec<_> = sources::all()?
        .into_iter()
        .map(|(s, own)| {
            let auth = s.auth.credentials().iter().map(|c| c.name.clone()).collect();
            let settings = s.settings.iter().map(|setting| setting.name.clone()).collect();
            (s.source.clone(), s.title.clone(), kind_name(s.kind).to_string(), auth, settings, s.docs.clone(), own)
        })
        .collect();
    Ok(TableIterator::new(rows))
}

/// One row a collection of every source.
#[pg_extern]
#[allow(clippy::type_complexity)]
fn cloudsync_list_collections() -> Result<
    TableIterator<
        'static,
        (
            name!(source, String),
            name!(collection, String),
            name!(kind, String),
            name!(key, Vec<String>),
            name!(cursor, Option<String>),
            name!(deletes, String),
            name!(unsupported, Option<String>),
            name!(docs, Option<String>),
            name!(user_defined, bool),
        ),
    >,
    ErrorReport,
> {
    let rows: Vec<_> = sources::all()?
        .into_iter()
        .flat_map(|(s, own)| {
            let rows: Vec<_> = s
                .collections
                .iter()
                .map(|c| {
                    (
                        s.source.clone(),
                        c.name.clone(),
                        kind_name(c.kind.unwrap_or(s.kind)).to_string(),
                        c.primary_key.clone(),
                        cursor_of(&s, c),
                        deletes_of(c),
                        c.unsupported.clone(),
                        c.docs.clone().or_else(|| c.notes.clone()),
                        own,
                    )
                })
                .collect();
            rows
        })
        .collect();
    Ok(TableIterator::new(rows))
}

/// How changes of a collection are found, in a word or two.
fn cursor_of(source: &Source, collection: &Collection) -> Option<String> {
    if let (Some(feed), Some(_)) = (&source.feed, &collection.feed) {
        return Some(format!("changes from {}", feed.path));
    }
    collection.cursor.as_ref().map(|cursor| cursor.field.clone())
}

fn deletes_of(collection: &Collection) -> String {
    match &collection.deletes {
        Deletes::None => "by reconcile".into(),
        Deletes::Flag { field, .. } => format!("flag {field}"),
        Deletes::Feed => "from the change feed".into(),
        Deletes::WithParent { .. } => "with its parent".into(),
        Deletes::Absent => "by absence from a complete listing".into(),
        Deletes::Rule { any } => {
            let fields: Vec<&str> = any.iter().map(|rule| rule.field.as_str()).collect();
            format!("rule on {}", fields.join(", "))
        }
        Deletes::Listing { list, .. } => format!("listed at {}", list.path),
    }
}
