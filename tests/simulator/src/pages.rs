//! Decides what faults do to a page of a listing: repeat it, empty it, mix its records, spoil one of them.

use serde_json::{json, Value};

use crate::chance::Chance;
use crate::faults::{Fault, Kind};
use crate::http::{Reply, Request};

/// What the requests of one listing have in common.
pub fn listing_key(app: &str, request: &Request) -> String {
    if app == "salesforce" {
        return locator(&request.path).map(|(id, _)| id.to_string()).unwrap_or_default();
    }
    let mut params = request.params();
    params.retain(|(name, _)| name != "starting_after" && name != "ending_before");
    params.sort();
    format!("{}?{params:?}", request.path)
}

/// Whether the request asks for a first page, which repeats none.
pub fn starts_listing(app: &str, request: &Request) -> bool {
    app == "stripe" && !request.query.contains("starting_after") && !request.query.contains("ending_before")
}

/// The listing a sent page belongs to: for a Salesforce query it is named by the page only.
pub fn sent_listing(app: &str, request: &Request, reply: &Reply) -> Option<String> {
    if app == "stripe" {
        return Some(listing_key(app, request));
    }
    let body: Value = serde_json::from_slice(&reply.body).ok()?;
    let (id, _) = locator(body.get("nextRecordsUrl")?.as_str()?)?;
    Some(id.to_string())
}

/// The query locator and the offset in `/services/data/vX/query/01g...-2000`.
pub fn locator(path: &str) -> Option<(&str, &str)> {
    let last = path.rsplit('/').next()?;
    if !last.starts_with("01g") {
        return None;
    }
    last.split_once('-')
}

/// Changes the records of a good page as the fault says; other replies stay as they are.
pub fn alter(app: &str, fault: &Fault, request: &Request, reply: &mut Reply) {
    let relevant =
        matches!(fault.kind, Kind::EmptyPage | Kind::Shuffle | Kind::BadRecord | Kind::RawField | Kind::DuplicatePage);
    if !relevant || reply.status != 200 {
        return;
    }
    let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) else { return };
    let list = if app == "stripe" { "data" } else { "records" };
    let Some(records) = body.get_mut(list).and_then(Value::as_array_mut) else { return };
    let mut raw = None;
    match fault.kind {
        Kind::EmptyPage => records.clear(),
        Kind::Shuffle => shuffle(records, app == "stripe", fault.hits),
        Kind::BadRecord => {
            let at = fault.index.unwrap_or(0).min(records.len());
            records.insert(at, json!(PLACE));
            raw = fault.record.clone().or(Some("null".into()));
        }
        Kind::RawField => {
            let at = fault.index.unwrap_or(0);
            if let (Some(record), Some(field)) = (records.get_mut(at).and_then(Value::as_object_mut), &fault.field) {
                record.insert(field.clone(), json!(PLACE));
                raw = fault.raw.clone().or(fault.record.clone());
            }
        }
        _ => {}
    }
    let again = matches!(fault.kind, Kind::EmptyPage | Kind::DuplicatePage);
    if again && app == "stripe" && fault.kind == Kind::EmptyPage {
        body["has_more"] = json!(true);
    }
    if again && app == "salesforce" {
        if let Some(url) = same_place(request, reply, &body) {
            body["done"] = json!(false);
            body["nextRecordsUrl"] = json!(url);
        }
    }
    let mut text = body.to_string();
    if let Some(raw) = raw {
        text = text.replacen(&format!("\"{PLACE}\""), &raw, 1);
    }
    reply.body = text.into_bytes();
}

const PLACE: &str = "@@the raw text goes here@@";

/// A link that leads to the page just sent, once more; `-r` makes it differ from the link that led here.
fn same_place(request: &Request, reply: &Reply, body: &Value) -> Option<String> {
    if let Some((id, offset)) = locator(&request.path) {
        let folder = &request.path[..request.path.len() - id.len() - offset.len() - 1];
        return Some(format!("{folder}{id}-{offset}-r"));
    }
    let folder = request.path.trim_end_matches("All");
    let next = body.get("nextRecordsUrl").and_then(Value::as_str).and_then(locator).map(|(id, _)| id.to_string());
    let id = next.or_else(|| reply.locator.clone())?;
    Some(format!("{folder}/{id}-0-r"))
}

/// Stripe's next page starts after the last record, so that one keeps its place.
fn shuffle(records: &mut [Value], keep_last: bool, salt: u64) {
    let mut chance = Chance::new(salt, "shuffle");
    let end = if keep_last { records.len().saturating_sub(1) } else { records.len() };
    for at in (1..end).rev() {
        records.swap(at, chance.below(at as u64 + 1) as usize);
    }
    if end == 2 {
        records.swap(0, 1);
    }
}
