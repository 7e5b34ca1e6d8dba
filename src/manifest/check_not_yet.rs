//! Decides which styles of the format no reader does yet: a file may say them, but only of collections that it marks as
//! unsupported. A style leaves this list with the change that makes it work.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::super::{
    Auth, ClientAuth, Collection, Cursor, Decoder, Deletes, ErrorRule, Granularity, Listing, Meaning, Method, Pages,
    Param, Params, Records, SendAs, Source, TokenRequest,
};
use super::Mistakes;

pub(super) fn check(source: &Source, found: &mut Mistakes) {
    found.not_yet(!source.values.is_empty(), "/values", "values that are computed or asked for");
    found.not_yet(!source.params.is_empty(), "/params", "parameters of every call");
    auth(&source.auth, "/auth", found);
    errors(&source.errors, "", found);
    if let Some(feed) = &source.feed {
        params(&feed.params, "/feed/params", found);
        pages(&feed.pages, "/feed/pages", found);
        cursor(&feed.cursor, "/feed/cursor", found);
    }
    let tables = source.collections.iter().enumerate().map(|(i, c)| (format!("/collections/{i}"), c));
    let helpers = source.helpers.iter().enumerate().map(|(i, c)| (format!("/helpers/{i}"), c));
    for (at, item) in tables.chain(helpers).filter(|(_, c)| c.unsupported.is_none()) {
        collection(item, &at, found);
    }
}

fn auth(auth: &Auth, at: &str, found: &mut Mistakes) {
    match auth {
        Auth::None { .. } | Auth::Query { .. } => found.not_yet(true, at, "this style"),
        Auth::OneOf { .. } => found.not_yet(true, at, "several ways to choose from"),
        Auth::Oauth2 { request, header, value, grants, .. } => {
            let TokenRequest { send, client_auth, .. } = &**request;
            let other =
                *send != SendAs::Form || *client_auth != ClientAuth::Body || **request != TokenRequest::default();
            found.not_yet(other, &format!("{at}/request"), "a token request of another shape");
            found.not_yet(header.is_some() || value.is_some(), &format!("{at}/header"), "tokens in another header");
            let claims = grants.iter().any(|grant| !grant.claims.is_empty());
            found.not_yet(claims, &format!("{at}/grants"), "further claims");
        }
        Auth::Bearer { .. } | Auth::Basic { .. } | Auth::Header { .. } => {}
    }
}

fn errors(rules: &[ErrorRule], at: &str, found: &mut Mistakes) {
    for (index, rule) in rules.iter().enumerate() {
        let place = format!("{at}/errors/{index}");
        let other = rule.contains.is_some() || rule.header.is_some() || rule.json.is_some();
        found.not_yet(other, &place, "conditions beside status and code");
        found.not_yet(rule.wait.is_some(), &format!("{place}/wait"), "a wait of the rule's own");
        let means = matches!(rule.means, Meaning::ReducePage | Meaning::NoRecords);
        found.not_yet(means, &format!("{place}/means"), "this meaning");
    }
}

fn params(params: &Params, at: &str, found: &mut Mistakes) {
    let other = params.values().any(|param| !matches!(param, Param::Text(_)));
    found.not_yet(other, at, "repeated or JSON parameters");
}

fn records(records: &Records, at: &str, found: &mut Mistakes) {
    found.not_yet(!records.is_plain(), at, "records other than a plain array or one record");
    found.not_yet(records.decoder == Decoder::Xml, &format!("{at}/decoder"), "XML");
}

fn pages(pages: &Pages, at: &str, found: &mut Mistakes) {
    let known = match pages {
        Pages::None | Pages::LastId { .. } => true,
        Pages::NextUrl { more, end, .. } => more.is_none() && end.is_none(),
        Pages::Token { more, end, first, .. } => more.is_none() && end.is_none() && first.is_none(),
        Pages::Offset { more, total, until, .. } => {
            more.is_none() && total.is_none() && *until == super::super::Until::ShortPage
        }
        _ => false,
    };
    found.not_yet(!known, at, "this way of paging");
}

fn cursor(cursor: &Cursor, at: &str, found: &mut Mistakes) {
    let plain = Cursor {
        field: cursor.field.clone(),
        param: cursor.param.clone(),
        upper_param: cursor.upper_param.clone(),
        format: cursor.format,
        created_only: cursor.created_only,
        overlap_seconds: cursor.overlap_seconds,
        ..Cursor::default()
    };
    debug_assert_eq!(plain.granularity, Granularity::Format);
    found.not_yet(*cursor != plain, at, "a cursor of this kind");
}

fn listing(list: &Listing, at: &str, found: &mut Mistakes) {
    params(&list.params, &format!("{at}/params"), found);
    records(&list.records, &format!("{at}/records"), found);
    if let Some(style) = &list.pages {
        pages(style, &format!("{at}/pages"), found);
    }
    if let Some(order) = &list.cursor {
        cursor(order, &format!("{at}/cursor"), found);
    }
}

fn collection(collection: &Collection, at: &str, found: &mut Mistakes) {
    let place = |part: &str| format!("{at}/{part}");
    let own = collection.method != Method::Get || collection.json.is_some() || !collection.form.is_empty();
    found.not_yet(own, &place("method"), "calls with a body");
    found.not_yet(!collection.headers.is_empty(), &place("headers"), "headers of a collection");
    params(&collection.params, &place("params"), found);
    records(&collection.records, &place("records"), found);
    if let Some(style) = &collection.pages {
        pages(style, &place("pages"), found);
    }
    if let Some(order) = &collection.cursor {
        cursor(order, &place("cursor"), found);
    }
    found.not_yet(collection.ceiling.is_some(), &place("ceiling"), "ceilings");
    found.not_yet(collection.incremental.is_some(), &place("incremental"), "another request for changes");
    if let Some(list) = &collection.incremental {
        listing(list, &place("incremental"), found);
    }
    found.not_yet(collection.reader.is_some(), &place("reader"), "this reader");
    found.not_yet(collection.job.is_some(), &place("job"), "jobs");
    found.not_yet(collection.webhook.is_some(), &place("webhook"), "webhooks");
    found.not_yet(collection.select.is_some(), &place("select"), "fields by name");
    found.not_yet(collection.discover.is_some(), &place("discover"), "discovery");
    errors(&collection.errors, at, found);
    match &collection.deletes {
        Deletes::Rule { .. } => found.not_yet(true, &place("deletes"), "rules"),
        Deletes::Listing { list, .. } => {
            found.not_yet(true, &place("deletes"), "another listing");
            listing(list, &place("deletes/list"), found);
        }
        _ => {}
    }
    if let Some(parent) = &collection.parent {
        let inner = parent.explode.as_deref().is_some_and(|path| path.split('/').any(|key| key == "*"));
        found.not_yet(inner, &place("parent/explode"), "children of children");
        params(&parent.params, &place("parent/params"), found);
        found.not_yet(parent.batch.is_some(), &place("parent/batch"), "batches of parents");
        found.not_yet(parent.changed_only, &place("parent/changed_only"), "changed parents only");
        found.not_yet(parent.keys_from.is_some(), &place("parent/keys_from"), "parents from a setting");
        let body = parent.json.is_some() || parent.method != Method::Get;
        found.not_yet(body, &place("parent/method"), "calls with a body");
    }
    for (index, column) in collection.columns.iter().enumerate() {
        found.not_yet(!column.is_plain(), &place(&format!("columns/{index}")), "values that are made");
    }
}
