//! Decides what faults do to a page of a listing: repeat it, empty it, mix its records, spoil one of them.

use serde_json::{json, Value};

use crate::app::App;
use crate::chance::Chance;
use crate::faults::{Fault, Kind};
use crate::http::{Reply, Request};

const PLACE: &str = "@@the raw text goes here@@";

/// Changes the records of a good page as the fault says; other replies stay as they are.
pub fn alter(app: &dyn App, fault: &Fault, request: &Request, reply: &mut Reply) {
    let relevant =
        matches!(fault.kind, Kind::EmptyPage | Kind::Shuffle | Kind::BadRecord | Kind::RawField | Kind::DuplicatePage);
    if !relevant || reply.status != 200 {
        return;
    }
    let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) else { return };
    let Some(records) = app.records(request, &mut body) else { return };
    let mut raw = None;
    match fault.kind {
        Kind::EmptyPage => records.clear(),
        Kind::Shuffle => shuffle(records, app.continues_from_last_record(), fault.hits),
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
    if matches!(fault.kind, Kind::EmptyPage | Kind::DuplicatePage) {
        app.lead_on(fault.kind == Kind::EmptyPage, request, reply, &mut body);
    }
    let mut text = body.to_string();
    if let Some(raw) = raw {
        text = text.replacen(&format!("\"{PLACE}\""), &raw, 1);
    }
    reply.body = text.into_bytes();
}

/// `keep_last` is for apps whose next page starts after the last record.
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
