//! Decides whether what a collection takes from its parents, or from the change feed, makes sense.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::super::{Collection, CollectionFeed, Parent, Source};
use super::{escaped, request, Mistakes};
use std::collections::HashSet;

pub(super) fn parent(
    source: &Source,
    collection: &Collection,
    parent: &Parent,
    at: &str,
    settings: &HashSet<&str>,
    found: &mut Mistakes,
) {
    found.when(parent.collections.is_empty(), &format!("{at}/collections"), "a child needs a parent");
    let mut known = settings.clone();
    for (index, name) in parent.collections.iter().enumerate() {
        let place = format!("{at}/collections/{index}");
        match source.listed(name) {
            None => found.say(&place, format!("there is no collection \"{name}\"")),
            Some(other) => {
                found.when(other.unsupported.is_some(), &place, "is not supported");
                found.when(other.parent.is_some(), &place, "is a child itself: one level is what a reader can follow");
                known.extend(other.columns.iter().map(|column| column.name.as_str()));
            }
        }
    }
    found.when(parent.explode.is_some() == parent.path.is_some(), at, "give either explode or path");
    if let Some(pointer) = &parent.explode {
        found.pointer(&format!("{at}/explode"), pointer);
    }
    if let Some(name) = &parent.keys_from {
        let place = format!("{at}/keys_from");
        found.known(&place, name, "setting", settings);
        found.when(parent.path.is_none(), &place, "names the parents to ask about, and none is: give path");
    }
    if let Some(batch) = &parent.batch {
        let place = format!("{at}/batch");
        found.when(parent.path.is_none(), &place, "one call for many parents needs its path");
        found.when(batch.size == 0, &format!("{place}/size"), "asks about nobody");
        found.pointer(&format!("{place}/key"), &batch.key);
        known = settings.clone();
        known.insert("parent_keys");
    }
    found.when(parent.changed_only && parent.path.is_none(), &format!("{at}/changed_only"), "needs path");
    if parent.path.is_some() {
        let mut names = known.clone();
        if collection.cursor.is_some() {
            names.extend(["cursor", "upper"]);
        }
        let asked = request::Asked {
            method: parent.method,
            path: parent.path.as_deref(),
            params: &parent.params,
            headers: &collection.headers,
            json: &parent.json,
            form: &collection.form,
        };
        asked.check(at, &names, found);
        let named = asked.names("parent_keys");
        found.when(
            parent.batch.is_some() && !named,
            &format!("{at}/batch"),
            "nothing in the request names {parent_keys}",
        );
    } else {
        request::params(&parent.params, &format!("{at}/params"), settings, found);
        found.when(parent.json.is_some(), &format!("{at}/json"), "children inside a record are not asked for");
    }
    if let Some(list) = &parent.list {
        let place = format!("{at}/list");
        found.when(parent.explode.is_none(), &place, "is the rest of an exploded list");
        found.pointer(&format!("{place}/records"), &list.records);
        found.pointer(&format!("{place}/more"), &list.more);
        found.template(&format!("{place}/path"), &list.path, &known);
        request::params(&list.params, &format!("{place}/params"), &known, found);
    }
    request::only(&parent.only, &format!("{at}/only"), found);
    for (name, from) in &parent.add {
        let place = format!("{at}/add/{}", escaped(name));
        found.when(collection.column(name).is_none(), &place, "is no column of the collection");
        if from != "#index" {
            found.pointer(&place, from.trim_start_matches('^'));
        }
    }
    if let Some(name) = &parent.key_column {
        let place = format!("{at}/key_column");
        found.when(collection.column(name).is_none(), &place, "is no column of the collection");
    }
}

pub(super) fn feed(collection: &Collection, feed: &CollectionFeed, at: &str, found: &mut Mistakes) {
    found.when(feed.types.is_empty(), &format!("{at}/types"), "names no change");
    for (index, name) in feed.deleted.iter().enumerate() {
        let unread = !feed.types.contains(name);
        found.when(unread, &format!("{at}/deleted/{index}"), "is not one of types");
    }
    for pointer in feed.only.keys() {
        found.pointer(&format!("{at}/only/{}", escaped(pointer)), pointer);
    }
    let of_parent = feed.of_parent || !feed.parent_types.is_empty();
    let explodes = collection.parent.as_ref().is_some_and(|parent| parent.explode.is_some());
    found.when(of_parent && !explodes, at, "children can be read out of a changed parent only with parent.explode");
    let twice = feed.of_parent && !feed.parent_types.is_empty();
    found.when(twice, &format!("{at}/parent_types"), "with of_parent all types are the parent's");
}
