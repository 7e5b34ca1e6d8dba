//! Decides whether one collection of a source file makes sense.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::super::naming::ENGINE_COLUMNS;
use super::super::{field_path, Collection, CollectionFeed, Column, Cursor, Deletes, Format, Kind, Parent};
use super::super::{Protocol, Source};
use super::{escaped, pages, Mistakes};
use std::collections::HashSet;

/// The column types a source file may use.
const TYPES: [&str; 9] =
    ["text", "bigint", "integer", "numeric", "double precision", "boolean", "timestamptz", "date", "jsonb"];
const OPERATORS: [&str; 5] = ["=", ">", ">=", "<", "<="];

pub(super) fn check(
    source: &Source,
    collection: &Collection,
    at: &str,
    settings: &HashSet<&str>,
    found: &mut Mistakes,
) {
    found.name(&format!("{at}/name"), &collection.name);
    columns(collection, at, found);
    if collection.unsupported.is_some() {
        return unsupported(collection, at, found);
    }
    where_from(source, collection, at, settings, found);
    if let Some(style) = &collection.pages {
        pages(style, &format!("{at}/pages"), found);
    }
    if let Some(order) = &collection.cursor {
        cursor(collection, order, &format!("{at}/cursor"), found);
    }
    deletes(collection, at, found);
    by_key(collection, at, settings, found);
    filters(collection, at, found);
    if let Some(origin) = &collection.parent {
        parent(source, collection, origin, &format!("{at}/parent"), settings, found);
    }
    if let Some(changes) = &collection.feed {
        let place = format!("{at}/feed");
        found.when(source.feed.is_none(), &place, "the source has no feed");
        feed(collection, changes, &place, found);
    }
    let rare = collection.lookback.as_ref().is_some_and(|window| window.at_least_every_seconds == 0);
    found.when(rare, &format!("{at}/lookback/at_least_every_seconds"), "would read again in every run");
}

fn columns(collection: &Collection, at: &str, found: &mut Mistakes) {
    let place = |index: usize, part: &str| format!("{at}/columns/{index}/{part}");
    found.unique(collection.columns.iter().enumerate().map(|(i, c)| (place(i, "name"), c.name.as_str())));
    for (index, column) in collection.columns.iter().enumerate() {
        let name = place(index, "name");
        found.name(&name, &column.name);
        let engine = ENGINE_COLUMNS.contains(&column.name.as_str());
        found.when(engine, &name, "every table has a column of this name already");
        if !TYPES.contains(&column.type_name.as_str()) {
            found.say(&place(index, "type"), format!("unknown type; one of {}", TYPES.join(", ")));
        }
        let of_time = matches!(column.type_name.as_str(), "timestamptz" | "date");
        let formatted = column.format != Format::Auto;
        found.when(formatted && !of_time, &place(index, "format"), "only times have a format");
        if let Some(field) = &column.field {
            found.field(&place(index, "field"), field);
        }
        let earlier = collection.columns.get(..index).unwrap_or_default();
        if let Some(twin) = earlier.iter().find(|other| overlap(other, column)) {
            found.say(&place(index, "field"), format!("column \"{}\" stores this value already", twin.name));
        }
    }
    found.when(collection.columns.is_empty(), &format!("{at}/columns"), "a collection needs columns");
    let key_at = format!("{at}/primary_key");
    found.when(collection.primary_key.is_empty(), &key_at, "a collection needs a key");
    for (index, name) in collection.primary_key.iter().enumerate() {
        let place = format!("{key_at}/{index}");
        match collection.column(name) {
            None => found.say(&place, format!("there is no column \"{name}\"")),
            Some(column) => found.when(column.type_name == "jsonb", &place, "jsonb cannot be a key"),
        }
    }
}

/// Whether one column's value is, or is part of, the other's.
fn overlap(one: &Column, other: &Column) -> bool {
    let (one, other) = (one.path(), other.path());
    one.starts_with(&other) || other.starts_with(&one)
}

fn unsupported(collection: &Collection, at: &str, found: &mut Mistakes) {
    let asks = collection.path.is_some()
        || collection.parent.is_some()
        || collection.feed.is_some()
        || collection.cursor.is_some()
        || collection.by_key.is_some()
        || collection.lookback.is_some()
        || !collection.filters.is_empty();
    found.when(asks, &format!("{at}/unsupported"), "nothing is asked for an unsupported collection");
}

/// A collection is a listing of its own, or comes out of others; a protocol knows its listings itself.
fn where_from(source: &Source, collection: &Collection, at: &str, settings: &HashSet<&str>, found: &mut Mistakes) {
    match source.protocol {
        Protocol::Salesforce => {
            found.when(collection.object.is_empty(), at, "object is needed: it is what the query names");
            found.when(collection.path.is_some(), &format!("{at}/path"), "this protocol makes its own paths");
        }
        Protocol::Rest => {
            let ways = usize::from(collection.path.is_some()) + usize::from(collection.parent.is_some());
            found.when(ways != 1, at, "give either path or parent");
            let paged = collection.pages.is_some();
            let listed = collection.path.is_some() || collection.parent.as_ref().is_some_and(|p| p.path.is_some());
            found.when(listed && !paged, at, "pages is needed: {\"style\": \"none\"} for a single reply");
        }
    }
    if let Some(path) = &collection.path {
        found.template(&format!("{at}/path"), path, settings);
    }
    for (name, value) in &collection.params {
        found.template(&format!("{at}/params/{}", escaped(name)), value, settings);
    }
    found.pointer(&format!("{at}/records"), &collection.records);
    for (index, key) in collection.ignore.iter().enumerate() {
        let path = field_path(key);
        let twice = collection.columns.iter().any(|column| column.path() == path);
        found.when(twice, &format!("{at}/ignore/{index}"), "is a column");
    }
}

fn cursor(collection: &Collection, cursor: &Cursor, at: &str, found: &mut Mistakes) {
    found.field(&format!("{at}/field"), &cursor.field);
    let path = field_path(&cursor.field);
    let known = collection.columns.iter().any(|column| column.path() == path);
    found.when(!known, &format!("{at}/field"), "no column holds this field");
    let open = cursor.upper_param.is_some() && cursor.param.is_none();
    found.when(open, &format!("{at}/upper_param"), "an upper bound without a lower one");
}

fn deletes(collection: &Collection, at: &str, found: &mut Mistakes) {
    let place = format!("{at}/deletes");
    let events = collection.kind == Some(Kind::Event) && !matches!(collection.deletes, Deletes::None);
    found.when(events, &place, "events are only added");
    match &collection.deletes {
        Deletes::None | Deletes::Absent => {}
        Deletes::Flag { field, .. } => found.field(&format!("{place}/field"), field),
        Deletes::Feed => {
            let named = collection.feed.as_ref().is_some_and(|feed| !feed.deleted.is_empty());
            found.when(!named, &place, "feed.deleted must name the changes that mean a deletion");
        }
        Deletes::WithParent => {
            let parent = collection.parent.as_ref();
            found.when(parent.is_none(), &place, "the collection has no parent");
            let nameless = parent.is_some_and(|parent| parent.key_column.is_none());
            found.when(nameless, &place, "parent.key_column must say which parent a row belongs to");
        }
    }
}

fn by_key(collection: &Collection, at: &str, settings: &HashSet<&str>, found: &mut Mistakes) {
    if let Some(path) = &collection.by_key {
        let mut known = settings.clone();
        known.extend(collection.columns.iter().map(|column| column.name.as_str()));
        found.template(&format!("{at}/by_key"), path, &known);
    }
    if let Some(gone) = &collection.gone {
        found.pointer(&format!("{at}/gone"), gone);
        found.when(collection.by_key.is_none(), &format!("{at}/gone"), "is read in the answer of by_key");
    }
}

fn filters(collection: &Collection, at: &str, found: &mut Mistakes) {
    for (column, operators) in &collection.filters {
        let place = format!("{at}/filters/{}", escaped(column));
        if collection.column(column).is_none() {
            found.say(&place, format!("there is no column \"{column}\""));
        }
        for operator in operators.keys().filter(|operator| !OPERATORS.contains(&operator.as_str())) {
            found.say(
                &format!("{place}/{}", escaped(operator)),
                format!("unknown operator; one of {}", OPERATORS.join(" ")),
            );
        }
    }
}

fn parent(
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
        match source.collection(name) {
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
    if let Some(path) = &parent.path {
        found.template(&format!("{at}/path"), path, &known);
    }
    if let Some(list) = &parent.list {
        let place = format!("{at}/list");
        found.when(parent.explode.is_none(), &place, "is the rest of an exploded list");
        found.pointer(&format!("{place}/records"), &list.records);
        found.pointer(&format!("{place}/more"), &list.more);
        found.template(&format!("{place}/path"), &list.path, &known);
        for (name, value) in &list.params {
            found.template(&format!("{place}/params/{}", escaped(name)), value, &known);
        }
    }
    for pointer in parent.only.keys() {
        found.pointer(&format!("{at}/only/{}", escaped(pointer)), pointer);
    }
    for (name, from) in &parent.add {
        let place = format!("{at}/add/{}", escaped(name));
        found.when(collection.column(name).is_none(), &place, "is no column of the collection");
        if from != "#index" {
            found.pointer(&place, from);
        }
    }
    if let Some(name) = &parent.key_column {
        let place = format!("{at}/key_column");
        found.when(collection.column(name).is_none(), &place, "is no column of the collection");
    }
}

fn feed(collection: &Collection, feed: &CollectionFeed, at: &str, found: &mut Mistakes) {
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
