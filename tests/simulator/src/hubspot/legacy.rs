//! Decides what the first version of the contacts API still answers: contacts with their identities.
//!
//! Of its lists only `all` and `recently_updated` are left. Names have dashes here, and values are texts (times in
//! milliseconds).

use serde_json::{json, Map, Value};

use super::record::{properties, value, PORTAL};
use super::wire::{not_found, uuid};
use super::Hubspot;
use crate::app::Call;
use crate::http::{Reply, Request};
use crate::rest::{page, Record};

const MOST_A_PAGE: usize = 100;
/// The recent lists go back no further (legacydocs.hubspot.com, "Get recently updated contacts").
const RECENT_MS: i64 = 30 * 86_400_000;

/// The identity profiles of a contact: its own, and one of each contact merged into it.
pub fn profiles(record: &Record) -> Vec<Value> {
    let vid: i64 = record.id.parse().unwrap_or(0);
    let own = record.created_ms;
    let mut identities = Vec::new();
    if let Some(email) = value(record, "email") {
        let at = record.get("email_at").as_i64().unwrap_or(own);
        identities.push(json!({"type": "EMAIL", "value": email, "timestamp": at, "is-primary": true}));
    }
    for email in value(record, "hs_additional_emails").unwrap_or("").split(';').filter(|e| !e.is_empty()) {
        identities.push(json!({"type": "EMAIL", "value": email, "timestamp": own, "is-secondary": true}));
    }
    identities.push(json!({"type": "LEAD_GUID", "value": uuid(vid as u64), "timestamp": own}));
    let profile = |vid: i64, at: i64, identities: Value| json!({"vid": vid, "saved-at-timestamp": at, "deleted-changed-timestamp": 0, "identities": identities});
    let mut all = vec![profile(vid, own, json!(identities))];
    for merged in record.get("merged").as_array().into_iter().flatten() {
        let (vid, at) = (merged["vid"].as_i64().unwrap_or(0), merged["at"].as_i64().unwrap_or(0));
        let guid = json!([{"type": "LEAD_GUID", "value": uuid(vid as u64), "timestamp": at}]);
        all.push(profile(vid, at, guid));
    }
    all
}

fn render(record: &Record, added_ms: i64, asked: &[String]) -> Value {
    let vid: i64 = record.id.parse().unwrap_or(0);
    let always = ["lastmodifieddate", "associatedcompanyid"];
    let defaults = ["firstname", "lastname", "company", "lastmodifieddate"];
    let names: Vec<&str> = match asked {
        [] => defaults.to_vec(),
        list => list.iter().map(String::as_str).chain(always).collect(),
    };
    let shown: Map<String, Value> =
        names.iter().filter_map(|n| Some((n.to_string(), json!({"value": properties(record).get(*n)?})))).collect();
    let merged: Vec<i64> =
        record.get("merged").as_array().into_iter().flatten().filter_map(|m| m["vid"].as_i64()).collect();
    json!({
        "addedAt": added_ms, "vid": vid, "canonical-vid": vid, "merged-vids": merged, "portal-id": PORTAL, "is-contact": true,
        "properties": shown, "form-submissions": [], "identity-profiles": profiles(record), "merge-audits": [],
    })
}

fn asked(request: &Request) -> Vec<String> {
    request.params().into_iter().filter(|(name, _)| name == "property").map(|(_, value)| value).collect()
}

impl Hubspot {
    /// More than 100 are never given, whatever `count` says.
    fn count(call: &Call<'_>) -> usize {
        call.config.page_of(page::number(call.request, "count").unwrap_or(20), MOST_A_PAGE)
    }

    /// `GET /contacts/v1/lists/all/contacts/all`: by vid; the next page begins after `vidOffset`.
    pub fn all_contacts(&self, call: &Call<'_>) -> Reply {
        let after: i64 = call.request.param("vidOffset").and_then(|v| v.parse().ok()).unwrap_or(0);
        let records = self.book.all_latest("contacts");
        let vid = |record: &Record| record.id.parse::<i64>().unwrap_or(0);
        let mut found = records.iter().filter(|r| !r.is_deleted() && vid(r) > after);
        let page: Vec<_> = found.by_ref().take(Self::count(call)).collect();
        let asked = asked(call.request);
        let contacts: Vec<Value> = page.iter().map(|r| render(r, r.created_ms, &asked)).collect();
        let body = json!({
            "contacts": contacts, "has-more": found.next().is_some(), "vid-offset": page.last().map_or(0, |r| vid(r)),
        });
        Reply::json(200, body.to_string())
    }

    /// The lists of recently changed or made contacts: newest first, 30 days back. The next page is named by time and vid
    /// together; the time alone skips contacts that share it.
    pub fn recent_contacts(&self, call: &Call<'_>, list: &str) -> Reply {
        let time = |record: &Record| if list == "all" { record.created_ms } else { record.updated_ms };
        let vid = |record: &Record| record.id.parse::<i64>().unwrap_or(0);
        let offset = |name: &str| call.request.param(name).and_then(|v| v.parse::<i64>().ok());
        let before = offset("timeOffset").map(|time| (time, offset("vidOffset").unwrap_or(0)));
        let mut records = self.book.all_latest("contacts");
        records.retain(|r| {
            let is_before = before.is_none_or(|before| (time(r), vid(r)) < before);
            !r.is_deleted() && time(r) >= call.now_ms - RECENT_MS && is_before
        });
        records.sort_by_key(|r| std::cmp::Reverse((time(r), vid(r))));
        let page = page::slice(&records, 0, Self::count(call));
        let asked = asked(call.request);
        let contacts: Vec<Value> = page.iter().map(|r| render(r, time(r), &asked)).collect();
        let last = page.last();
        let body = json!({
            "contacts": contacts, "has-more": page.len() < records.len(), "vid-offset": last.map_or(0, |r| vid(r)),
            "time-offset": last.map_or(0, |r| time(r)),
        });
        Reply::json(200, body.to_string())
    }

    /// The other lists of the first version ended on 2026-04-30.
    pub fn ended_list(&self) -> Reply {
        not_found("The v1 lists API is no longer available")
    }
}
