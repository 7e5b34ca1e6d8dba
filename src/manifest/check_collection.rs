//! Decides whether one collection of a source file makes sense.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::super::naming::ENGINE_COLUMNS;
use super::super::{
    field_path, Collection, Column, Cursor, Deletes, Discover, FieldIs, Format, Job, Kind, Pages, Protocol, Select,
    Shape, Source, When,
};
use super::request::{self, Asked};
use super::{children, escaped, names_the_address, Mistakes};
use std::collections::HashSet;

/// Readers of their own that a collection may name.
const READERS: [&str; 4] = ["marketo_bulk", "facebook_objects", "facebook_insights", "sfmc_soap"];
/// The column types a source file may use.
const TYPES: [&str; 9] =
    ["text", "bigint", "integer", "numeric", "double precision", "boolean", "timestamptz", "date", "jsonb"];
const OPERATORS: [&str; 5] = ["=", ">", ">=", "<", "<="];

pub(super) fn check(
    source: &Source,
    collection: &Collection,
    is_helper: bool,
    at: &str,
    settings: &HashSet<&str>,
    found: &mut Mistakes,
) {
    found.name(&format!("{at}/name"), &collection.name);
    columns(collection, is_helper, at, settings, found);
    where_from(source, collection, at, settings, found);
    let asked = asked(collection);
    let mut names = settings.clone();
    if collection.cursor.is_some() || collection.job.is_some() {
        names.extend(["cursor", "upper"]);
    }
    if collection.ceiling.is_some() {
        names.insert("last_key");
    }
    if let Some(select) = &collection.select {
        names.insert("fields");
        self::select(source, collection, select, &asked, at, found);
    }
    if let Some(parent) = collection.parent.as_ref().filter(|p| p.path.is_some()) {
        // The request of a listing below a parent is checked with the parent; here its cursor's places.
        let columns = parent.collections.iter().filter_map(|name| source.listed(name)).flat_map(|c| &c.columns);
        names.extend(columns.map(|column| column.name.as_str()));
        names.insert("parent_keys");
    }
    if !collection.lookups.is_empty() {
        names.insert("lookups");
        lookups(collection, at, settings, found);
    }
    asked.check(at, &names, found);
    request::records(&collection.records, &format!("{at}/records"), found);
    if let Some(style) = &collection.pages {
        request::pages(style, &format!("{at}/pages"), &Some(&asked), &names, found);
    }
    if let Some(order) = &collection.cursor {
        cursor(collection, order, &asked, is_helper, &format!("{at}/cursor"), &names, found);
    }
    if let Some(ceiling) = &collection.ceiling {
        request::ceiling(ceiling, collection.cursor.is_some(), &asked, &format!("{at}/ceiling"), found);
    }
    request::errors(&collection.errors, at, found);
    if let Some(asked) = &collection.check {
        request::call(asked, &format!("{at}/check"), settings, found);
    }
    changes(collection, at, &names, found);
    if let Some(job) = &collection.job {
        self::job(collection, job, &format!("{at}/job"), &names, settings, found);
    }
    if let Some(discover) = &collection.discover {
        self::discover(discover, &format!("{at}/discover"), settings, found);
    }
    deletes(collection, at, &names, found);
    by_key(collection, at, settings, found);
    filters(collection, at, found);
    if let Some(origin) = &collection.parent {
        children::parent(source, collection, origin, &format!("{at}/parent"), &names, found);
    }
    if let Some(feed) = &collection.feed {
        let place = format!("{at}/feed");
        found.when(source.feed.is_none(), &place, "the source has no feed");
        children::feed(collection, feed, &place, found);
    }
    let rare = collection.lookback.as_ref().is_some_and(|window| window.at_least_every_seconds == 0);
    found.when(rare, &format!("{at}/lookback/at_least_every_seconds"), "would read again in every run");
}

/// What a collection's own listing sends, or the listing below a parent.
fn asked(collection: &Collection) -> Asked<'_> {
    let below = collection.parent.as_ref().filter(|parent| parent.path.is_some());
    Asked {
        method: below.map_or(collection.method, |parent| parent.method),
        path: collection.path.as_deref(),
        params: below.map_or(&collection.params, |parent| &parent.params),
        headers: &collection.headers,
        json: below.map_or(&collection.json, |parent| &parent.json),
        form: &collection.form,
    }
}

/// The request for changes, where it is another.
fn changes(collection: &Collection, at: &str, names: &HashSet<&str>, found: &mut Mistakes) {
    let Some(list) = &collection.incremental else { return };
    let place = format!("{at}/incremental");
    let mut names = names.clone();
    names.extend(["cursor", "upper"]);
    request::listing(list, &place, &names, found);
    let timeless = list.cursor.is_none() && collection.cursor.is_none();
    found.when(timeless, &place, "changes since when? a cursor is needed, here or in the collection");
    found.when(collection.path.is_none(), &place, "takes the place of a listing, and there is none");
}

fn lookups(collection: &Collection, at: &str, settings: &HashSet<&str>, found: &mut Mistakes) {
    let place = |index: usize, part: &str| format!("{at}/lookups/{index}/{part}");
    let all = || collection.lookups.iter().enumerate();
    found.unique(all().map(|(index, lookup)| (place(index, "name"), lookup.name.as_str())));
    for (index, lookup) in all() {
        found.name(&place(index, "name"), &lookup.name);
        let mut known = settings.clone();
        known.insert("keys");
        known.extend(lookup.next.iter().map(|_| "after"));
        request::call(&lookup.call, &place(index, "call"), &known, found);
        let asked = Asked::from(&lookup.call);
        found.when(!asked.names("keys"), &place(index, "call"), "nothing in the request names {keys}");
        let stuck = lookup.next.is_some() && !asked.names("after");
        found.when(stuck, &place(index, "next"), "goes on with {after}, which nothing in the request names");
        found.when(lookup.size == 0, &place(index, "size"), "asks about nobody");
        request::records(&lookup.records, &place(index, "records"), found);
        for (part, pointer) in [
            ("into", Some(&lookup.into)),
            ("listed", lookup.listed.as_ref()),
            ("key", Some(&lookup.key)),
            ("value", Some(&lookup.value)),
            ("next", lookup.next.as_ref()),
            ("none/key", lookup.none.as_ref().map(|none| &none.key)),
        ] {
            if let Some(pointer) = pointer {
                found.pointer(&place(index, part), pointer);
            }
        }
        found.when(lookup.into.is_empty(), &place(index, "into"), "would take the place of the record");
        if let Some(none) = &lookup.none {
            request::records(&none.records, &place(index, "none/records"), found);
        }
    }
    let place = format!("{at}/lookups");
    found.when(collection.path.is_none(), &place, "completes what a listing shows, and there is none");
    found.when(collection.primary_key.len() != 1, &place, "asks by key: a primary key of one column is needed");
    let other = collection.feed.is_some() || collection.job.is_some();
    found.when(other, &place, "completes pages of a listing: not what a feed or a job tells");
}

fn select(
    source: &Source,
    collection: &Collection,
    select: &Select,
    asked: &Asked<'_>,
    at: &str,
    found: &mut Mistakes,
) {
    let place = format!("{at}/select");
    found.pointer(&format!("{place}/under"), &select.under);
    found.when(select.limit == Some(0), &format!("{place}/limit"), "asks for nothing");
    let lists = [collection.pages.as_ref(), collection.incremental.as_ref().and_then(|list| list.pages.as_ref())];
    let by_place = |pages: &Pages| {
        use Pages::{LastId, None, Offset, PageNumber, Token};
        matches!(pages, None | LastId { .. } | Token { .. } | Offset { .. } | PageNumber { .. })
    };
    let by_address = select.limit.is_some() && lists.into_iter().flatten().any(|pages| !by_place(pages));
    found.when(
        by_address,
        &format!("{place}/limit"),
        "a page with an address of its own cannot be asked for other fields",
    );
    let later = collection.incremental.as_ref().is_some_and(|list| Asked::from(list.as_ref()).names("fields"));
    // A protocol of its own names the fields itself.
    let silent = source.protocol == Protocol::Rest && !asked.names("fields") && !later;
    found.when(silent, &place, "nothing in the request names {fields}");
}

fn job(
    collection: &Collection,
    job: &Job,
    at: &str,
    names: &HashSet<&str>,
    settings: &HashSet<&str>,
    found: &mut Mistakes,
) {
    request::call(&job.create, &format!("{at}/create"), names, found);
    let asked = Asked::from(&job.create);
    let bounded = asked.names("cursor") || asked.names("upper");
    found.when(bounded && collection.cursor.is_none(), &format!("{at}/create"), "bounds of what? a cursor is needed");
    let unlisted = collection.path.is_none();
    found.when(job.fall_back && unlisted, &format!("{at}/fall_back"), "falls back to a listing, and there is none");
    let later = job.when == When::Full && unlisted;
    found.when(later, &format!("{at}/when"), "other readings need a listing, and there is none");
    let below = collection.parent.is_some();
    found.when(below, at, "gathers records of its own: parent has no use");
    found.pointer(&format!("{at}/id"), &job.id);
    found.pointer(&format!("{at}/state"), &job.state);
    let mut names = settings.clone();
    names.insert("job_id");
    request::call(&job.status, &format!("{at}/status"), &names, found);
    for (name, call) in [("start", &job.start), ("delete", &job.delete), ("download/call", &job.download.call)] {
        if let Some(call) = call {
            request::call(call, &format!("{at}/{name}"), &names, found);
        }
    }
    let place = format!("{at}/download");
    found.when(job.download.call.is_some() == job.download.urls.is_some(), &place, "give either call or urls");
    request::records(&job.download.records, &format!("{place}/records"), found);
    if let Some(pages) = &job.download.pages {
        let asked = job.download.call.as_ref().map(Asked::from);
        request::pages(pages, &format!("{place}/pages"), &asked.as_ref(), &names, found);
    }
    found.when(job.states.done.is_empty(), &format!("{at}/states/done"), "a job that is never done");
}

fn discover(discover: &Discover, at: &str, settings: &HashSet<&str>, found: &mut Mistakes) {
    request::listing(&discover.list, &format!("{at}/list"), settings, found);
    for (name, pointer) in [("name", &discover.name), ("type", &discover.type_name)] {
        found.pointer(&format!("{at}/{name}"), pointer);
    }
    for (name, pointer) in [("label", &discover.label), ("column", &discover.column)] {
        if let Some(pointer) = pointer {
            found.pointer(&format!("{at}/{name}"), pointer);
        }
    }
    for name in discover.formats.keys() {
        let of_time = discover.types.get(name).is_some_and(|t| matches!(t.as_str(), "timestamptz" | "date"));
        found.when(!of_time, &format!("{at}/formats/{}", escaped(name)), "only times have a format");
    }
    if let Some(pairs) = &discover.pairs {
        found.pointer(&format!("{at}/pairs/key"), &pairs.key);
        found.pointer(&format!("{at}/pairs/value"), &pairs.value);
    }
    found.when(
        !discover.field.ends_with("/{name}"),
        &format!("{at}/field"),
        "the field's name is the last part of its place",
    );
    for (name, column_type) in &discover.types {
        if !TYPES.contains(&column_type.as_str()) {
            let place = format!("{at}/types/{}", escaped(name));
            found.say(&place, format!("unknown type; one of {}", TYPES.join(", ")));
        }
    }
    let place = format!("{at}/default_type");
    found.when(!TYPES.contains(&discover.default_type.as_str()), &place, "is no type of a column");
    found.template(&format!("{at}/field"), &discover.field, &HashSet::from(["name"]));
    request::only(&discover.only, &format!("{at}/only"), found);
    if let Some(off) = &discover.off {
        condition(off, &format!("{at}/off"), found);
    }
}

fn condition(condition: &FieldIs, at: &str, found: &mut Mistakes) {
    found.field(&format!("{at}/field"), &condition.field);
    found.when(condition.values.is_some() == condition.set.is_some(), at, "give either values or set");
}

fn columns(collection: &Collection, is_helper: bool, at: &str, settings: &HashSet<&str>, found: &mut Mistakes) {
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
        shaped(column, &format!("{at}/columns/{index}"), settings, found);
        let earlier = collection.columns.get(..index).unwrap_or_default();
        if let Some(twin) = earlier.iter().find(|other| overlap(other, column)) {
            found.say(&place(index, "field"), format!("column \"{}\" stores this value already", twin.name));
        }
    }
    let key_at = format!("{at}/primary_key");
    if !is_helper {
        found.when(collection.columns.is_empty(), &format!("{at}/columns"), "a collection needs columns");
        found.when(collection.primary_key.is_empty(), &key_at, "a collection needs a key");
    }
    for (index, name) in collection.primary_key.iter().enumerate() {
        let place = format!("{key_at}/{index}");
        match collection.column(name) {
            None => found.say(&place, format!("there is no column \"{name}\"")),
            Some(column) => found.when(column.type_name == "jsonb", &place, "jsonb cannot be a key"),
        }
    }
}

/// A column whose value is made, not found.
fn shaped(column: &Column, at: &str, settings: &HashSet<&str>, found: &mut Mistakes) {
    let ways = usize::from(column.field.is_some()) + usize::from(column.value.is_some());
    let ways = ways + usize::from(!column.hash.is_empty());
    found.when(ways > 1, at, "give one of field, value and hash");
    found.when(
        !column.is_of_record() && column.shape.is_some(),
        &format!("{at}/shape"),
        "changes a field of the record",
    );
    for (index, field) in column.hash.iter().enumerate() {
        found.field(&format!("{at}/hash/{index}"), field.trim_start_matches('^'));
    }
    found.when(!column.hash.is_empty() && column.type_name != "text", &format!("{at}/type"), "a hash is text");
    match column.value.as_deref() {
        Some("#index" | "#key") | None => {}
        Some(around) if around.starts_with('^') => {
            found.pointer(&format!("{at}/value"), around.trim_start_matches('^'));
        }
        Some(text) => found.template(&format!("{at}/value"), text, settings),
    }
    let of = |names: &[&str]| names.contains(&column.type_name.as_str());
    match &column.shape {
        Some(Shape::Micros) => {
            let number = of(&["numeric", "double precision"]);
            found.when(!number, &format!("{at}/type"), "millionths are numeric or double precision");
        }
        Some(Shape::Pairs { key, value }) => {
            found.when(!of(&["jsonb"]), &format!("{at}/type"), "pairs are jsonb");
            found.pointer(&format!("{at}/shape/key"), key);
            found.pointer(&format!("{at}/shape/value"), value);
        }
        Some(Shape::Set { fields }) => {
            found.when(!of(&["jsonb"]), &format!("{at}/type"), "a set is jsonb");
            found.when(fields.is_empty(), &format!("{at}/shape/fields"), "takes nothing");
            for (index, field) in fields.iter().enumerate() {
                found.field(&format!("{at}/shape/fields/{index}"), field);
            }
        }
        Some(Shape::Or { fields }) => {
            for (index, field) in fields.iter().enumerate() {
                found.field(&format!("{at}/shape/fields/{index}"), field);
            }
        }
        Some(Shape::First | Shape::Join { .. } | Shape::Query { .. }) | None => {}
    }
}

/// Whether one column's value is, or is part of, the other's.
fn overlap(one: &Column, other: &Column) -> bool {
    if !one.is_plain() || !other.is_plain() {
        return false;
    }
    let (one, other) = (one.path(), other.path());
    one.starts_with(&other) || other.starts_with(&one)
}

/// A collection is a listing of its own, or comes out of others; a protocol knows its listings itself.
fn where_from(source: &Source, collection: &Collection, at: &str, settings: &HashSet<&str>, found: &mut Mistakes) {
    match source.protocol {
        Protocol::Salesforce | Protocol::GoogleAds => {
            found.when(collection.object.is_empty(), at, "object is needed: it is what the query names");
            found.when(collection.path.is_some(), &format!("{at}/path"), "this protocol makes its own paths");
        }
        Protocol::Rest => {
            let own = collection.reader.is_some() || collection.webhook.is_some() || collection.job.is_some();
            let ways = usize::from(collection.path.is_some()) + usize::from(collection.parent.is_some());
            let silent = ways == 0 && (own || collection.unsupported.is_some());
            found.when(ways != 1 && !silent, at, "give either path or parent");
            let paged = collection.pages.is_some();
            let listed = collection.path.is_some() || collection.parent.as_ref().is_some_and(|p| p.path.is_some());
            found.when(listed && !paged, at, "pages is needed: {\"style\": \"none\"} for a single reply");
            let pushed = collection.webhook.is_some() && ways > 0;
            found.when(
                pushed,
                &format!("{at}/webhook"),
                "what a webhook fills is not asked for: path and parent have no use",
            );
        }
    }
    if let Some(text) = &collection.base_url {
        let mut address = settings.clone();
        if names_the_address(&source.auth) {
            address.insert("instance_url");
        }
        found.template(&format!("{at}/base_url"), text, &address);
        super::address::check(&format!("{at}/base_url"), text, true, found);
    }
    if let Some(webhook) = &collection.webhook {
        found.pointer(&format!("{at}/webhook/event_type"), &webhook.event_type);
    }
    if let Some(reader) = &collection.reader {
        let known = READERS.contains(&reader.as_str());
        found.when(
            !known,
            &format!("{at}/reader"),
            &format!("there is no reader of that name; one of {}", READERS.join(", ")),
        );
        let nameless = reader == "sfmc_soap" && (collection.object.is_empty() || collection.path.is_none());
        found.when(nameless, at, "object and path are needed: what is retrieved, and where the service is");
    }
    let blank = collection.unsupported.as_deref().is_some_and(|reason| reason.trim().is_empty());
    found.when(blank, &format!("{at}/unsupported"), "is the reason, for people");
    for (index, key) in collection.ignore.iter().enumerate() {
        let path = field_path(key);
        let twice = collection.columns.iter().any(|column| column.is_plain() && column.path() == path);
        found.when(twice, &format!("{at}/ignore/{index}"), "is a column");
    }
}

fn cursor(
    collection: &Collection,
    cursor: &Cursor,
    asked: &Asked<'_>,
    is_helper: bool,
    at: &str,
    names: &HashSet<&str>,
    found: &mut Mistakes,
) {
    request::cursor(cursor, asked, at, names, found);
    let path = field_path(&cursor.field);
    let known = collection.columns.iter().any(|column| column.path() == path);
    found.when(!known && !is_helper, &format!("{at}/field"), "no column holds this field");
    let below = collection.parent.as_ref().is_some_and(|parent| parent.path.is_some());
    found.when(
        cursor.per_parent && !below,
        &format!("{at}/per_parent"),
        "needs a listing below each parent: parent.path",
    );
    let absent = cursor.client_side && matches!(collection.deletes, Deletes::Absent);
    found.when(
        absent,
        &format!("{at}/client_side"),
        "absence is told by complete listings: nothing may be passed over",
    );
}

fn deletes(collection: &Collection, at: &str, names: &HashSet<&str>, found: &mut Mistakes) {
    let place = format!("{at}/deletes");
    let events = collection.kind == Some(Kind::Event) && !matches!(collection.deletes, Deletes::None);
    found.when(events, &place, "events are only added");
    match &collection.deletes {
        Deletes::None | Deletes::Absent => {}
        Deletes::Flag { field, .. } => found.field(&format!("{place}/field"), field),
        Deletes::Rule { any } => {
            found.when(any.is_empty(), &format!("{place}/any"), "at least one condition is needed");
            for (index, rule) in any.iter().enumerate() {
                condition(rule, &format!("{place}/any/{index}"), found);
            }
        }
        Deletes::Listing { list, key } => {
            request::listing(list, &format!("{place}/list"), names, found);
            for (column, pointer) in key {
                let at = format!("{place}/key/{}", escaped(column));
                found.when(!collection.primary_key.contains(column), &at, "is no column of the primary key");
                found.pointer(&at, pointer);
            }
            let whole = key.is_empty() || key.len() == collection.primary_key.len();
            found.when(!whole, &format!("{place}/key"), "a part of the primary key is missing");
        }
        Deletes::Feed => {
            let named = collection.feed.as_ref().is_some_and(|feed| !feed.deleted.is_empty());
            found.when(!named, &place, "feed.deleted must name the changes that mean a deletion");
        }
        Deletes::WithParent { .. } => {
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
