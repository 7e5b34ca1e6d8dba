//! Every collection of Intercom, against the simulator: first load, changes, deletions, what comes back, refusals, and calls.

use super::checks::{bad_credentials_cost_one_call, each_collection_is_checked, Refusal};
use super::scans::all_show_what_is_stored;
use super::{quiet_run_costs_what_the_page_says, refresh_all, Reader, Simulator};
use crate::error::SyncError;
use crate::extract;
use crate::extract::{FilterValue, Op};
use serde_json::{json, Value};
use std::collections::BTreeMap;

/// What a search finds: nothing tells of deletions.
const SEARCHED: [&str; 3] = ["users", "contacts", "conversations"];
/// Read in full each time, or with their parents.
const OTHERS: [&str; 6] = ["admins", "companies", "conversation_parts", "segments", "social_profiles", "tags"];

fn reader(simulator: &Simulator) -> Reader {
    Reader::new(simulator, "intercom", &[], &[("access_token", "sim-intercom-token")])
}

/// A workspace with something of everything.
async fn workspace() -> Simulator {
    let simulator = Simulator::start();
    let first = json!({"admins": 4, "tags": 6, "segments": 5, "companies": 23, "users": 44, "contacts": 31});
    simulator.post("/intercom/seed", first).await;
    simulator.post("/intercom/seed", json!({"conversations": 26, "conversation_parts": 70})).await;
    simulator
}

async fn agree(reader: &Reader, simulator: &Simulator, names: &[&str]) {
    for name in names {
        assert!(reader.agrees(simulator, name, &[]).await > 0, "{name} is empty");
    }
}

#[tokio::test]
async fn a_first_load_is_the_ledger_page_by_page() {
    for page_size in [0, 7] {
        let simulator = workspace().await;
        simulator.post("/intercom/config", json!({"page_size": page_size})).await;
        let mut reader = reader(&simulator);
        refresh_all(&mut reader).await;
        agree(&reader, &simulator, &SEARCHED).await;
        agree(&reader, &simulator, &OTHERS).await;
    }
}

/// West of Greenwich, too: searches of contacts go by the workspace's day.
#[tokio::test]
async fn changes_are_followed_in_any_zone() {
    for minutes in [0, -480, 720] {
        let simulator = workspace().await;
        simulator.post("/intercom/config", json!({"utc_offset_minutes": minutes})).await;
        let mut reader = reader(&simulator);
        refresh_all(&mut reader).await;
        for round in 0..2 {
            for (collection, change) in [
                ("users", json!({"name": format!("Zoë {round}")})),
                ("contacts", json!({"phone": format!("+4930{round}")})),
                ("conversations", json!({"title": format!("Renamed {round}")})),
                ("companies", json!({"name": format!("Renamed {round}")})),
                ("segments", json!({"name": format!("Renamed {round}")})),
                ("tags", json!({"name": format!("Renamed {round}")})),
                ("admins", json!({"name": format!("Renamed {round}")})),
                ("conversation_parts", json!({"body": format!("<p>{round}</p>")})),
            ] {
                let id = simulator.ids("intercom", collection, false).await[round].clone();
                simulator.patch(&format!("/intercom/{collection}/{id}"), change).await;
                simulator.post(&format!("/intercom/{collection}"), json!({})).await;
            }
            refresh_all(&mut reader).await;
            agree(&reader, &simulator, &SEARCHED).await;
            agree(&reader, &simulator, &OTHERS).await;
        }
    }
}

#[tokio::test]
async fn deletions_and_returns_are_followed() {
    let simulator = workspace().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    let mut gone = Vec::new();
    for collection in ["admins", "companies", "segments", "tags", "conversation_parts"] {
        let id = simulator.ids("intercom", collection, false).await[1].clone();
        simulator.delete(&format!("/intercom/{collection}/{id}")).await;
        gone.push((collection, id));
    }
    refresh_all(&mut reader).await;
    agree(&reader, &simulator, &OTHERS).await;
    for (collection, id) in &gone {
        assert!(reader.tables[*collection].keys(true).contains(id), "{collection} {id}");
        simulator.post(&format!("/intercom/{collection}/{id}/undelete"), json!({})).await;
    }
    refresh_all(&mut reader).await;
    agree(&reader, &simulator, &OTHERS).await;
}

#[tokio::test]
async fn what_a_search_does_not_tell_of_is_found_by_a_reconcile() {
    let simulator = workspace().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    let mut gone = Vec::new();
    for collection in SEARCHED {
        let id = simulator.ids("intercom", collection, false).await[2].clone();
        simulator.delete(&format!("/intercom/{collection}/{id}")).await;
        gone.push((collection, id));
    }
    // A lead becomes a user: there at once, and as a lead until the reconcile.
    let lead = simulator.ids("intercom", "contacts", false).await[4].clone();
    simulator.patch(&format!("/intercom/contacts/{lead}"), json!({"role": "user"})).await;
    reader.refresh_well(&SEARCHED).await;
    assert!(reader.tables["users"].keys(false).contains(&lead));
    for (collection, id) in &gone {
        assert!(reader.tables[*collection].keys(false).contains(id), "nothing tells of {collection} {id}");
    }
    reader.reconcile(&SEARCHED).await;
    agree(&reader, &simulator, &SEARCHED).await;
    assert!(reader.tables["contacts"].keys(true).contains(&lead));
    for (collection, id) in &gone {
        simulator.post(&format!("/intercom/{collection}/{id}/undelete"), json!({})).await;
    }
    reader.refresh_well(&SEARCHED).await;
    agree(&reader, &simulator, &SEARCHED).await;
}

#[tokio::test]
async fn a_quiet_run_costs_its_documented_calls() {
    let simulator = workspace().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    simulator.forget_requests("intercom").await;
    refresh_all(&mut reader).await;
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for request in simulator.requests("intercom").await {
        let path = request["path"].as_str().unwrap().to_string();
        let is_part = path.starts_with("/conversations/2");
        *calls.entry(if is_part { "/conversations/{id}".into() } else { path }).or_default() += 1;
    }
    // The workspace's zone is asked for once in a process.
    calls.remove("/me");
    let want = [
        ("/admins", 1),
        // The scroll ends with an empty page.
        ("/companies/scroll", 2),
        // Users, leads, and both again for their social profiles.
        ("/contacts/search", 4),
        // Conversations, and those with new parts.
        ("/conversations/search", 2),
        // Those whose stamps lie in the overlap are asked about again.
        ("/conversations/{id}", 3),
        ("/segments", 1),
        ("/tags", 1),
    ];
    assert_eq!(calls, want.map(|(path, count)| (path.to_string(), count)).into());
    quiet_run_costs_what_the_page_says(&simulator, &mut reader, &[("/conversations/{id}", 3)]).await;
}

#[tokio::test]
async fn what_is_not_permitted_stops_nothing_else() {
    let simulator = workspace().await;
    for refused in ["companies", "conversations", "tags"] {
        simulator.post("/intercom/config", json!({"denied": [refused]})).await;
        let mut reader = reader(&simulator);
        let failed = reader.refresh(&["admins", "companies", "conversations", "tags"]).await;
        assert_eq!(failed.keys().collect::<Vec<_>>(), [refused]);
        assert!(matches!(failed[refused], SyncError::AccessDenied { status: 403, .. }), "{failed:?}");
        agree(&reader, &simulator, &["admins"]).await;
    }
}

#[tokio::test]
async fn a_bad_token_is_told() {
    let simulator = workspace().await;
    extract::check(&reader(&simulator).client(), None).await.unwrap();
    let mut wrong = Reader::new(&simulator, "intercom", &[], &[("access_token", "other")]);
    let refused = extract::check(&wrong.client(), None).await.unwrap_err();
    assert!(matches!(refused, SyncError::AuthRejected { status: 401, .. }), "{refused:?}");
    let failed = wrong.refresh(&["tags"]).await;
    assert!(matches!(failed["tags"], SyncError::AuthRejected { .. }), "{failed:?}");
}

/// A region has its own host.
#[test]
fn a_region_leads_to_its_host() {
    let source: Value = serde_json::from_str(include_str!("../../../../sources/intercom.json")).unwrap();
    let hosts = &source["settings"][1]["default_by"]["values"];
    assert_eq!(hosts["eu"], "api.eu.intercom.io");
    assert_eq!(hosts["au"], "api.au.intercom.io");
}

#[tokio::test]
async fn each_collection_is_checked_and_no_scroll_is_left_open() {
    let simulator = workspace().await;
    let refusal = |name: &str| {
        let collection = SEARCHED.iter().chain(&OTHERS).find(|known| **known == name).unwrap();
        Refusal { collection, denied: collection, words: "Active subscription needed", missing: None }
    };
    let calls = |name: &str| match name {
        // Users and leads; a conversation, and its parts.
        "social_profiles" | "conversation_parts" => 2,
        _ => 1,
    };
    let mut reader = reader(&simulator);
    each_collection_is_checked(&simulator, &reader, calls, refusal).await;
    reader.refresh_well(&["companies"]).await;
    let mut wrong = Reader::new(&simulator, "intercom", &[], &[("access_token", "other-token")]);
    bad_credentials_cost_one_call(&simulator, &mut wrong, "other-token").await;
}

#[tokio::test]
async fn live_queries_show_what_is_stored() {
    let simulator = workspace().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    all_show_what_is_stored(&reader, &[]).await;
    for name in reader.collection_names() {
        let calls = reader.calls_of_one_row(&simulator, &name).await;
        assert_eq!(calls, if name == "conversation_parts" { 2 } else { 1 }, "{name}");
    }
    // A condition on the time of the change is part of the search, by the second for conversations.
    let stored = reader.tables["conversations"].keys(false);
    let at = |key: &str| reader.cell("conversations", key, "updated_at").as_i64().unwrap();
    let middle = stored.iter().map(|key| at(key)).max().unwrap();
    let condition = [("updated_at", Op::Ge, FilterValue::Timestamp(middle))];
    let shown = reader.scanned_keys("conversations", &condition).await;
    assert_eq!(shown, stored.iter().filter(|key| at(key) >= middle).cloned().collect());
}

/// The list of companies ends at a number, which the scroll does not.
#[tokio::test]
async fn companies_beyond_the_list_are_read() {
    let simulator = workspace().await;
    simulator.post("/intercom/config", json!({"company_list_limit": 10, "page_size": 5})).await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["companies"]).await;
    assert!(reader.agrees(&simulator, "companies", &[]).await > 20);
}

/// The app forgets a scroll after a minute without a call; it is begun anew, once.
#[tokio::test]
async fn a_scroll_that_dies_half_way_is_begun_anew() {
    let simulator = workspace().await;
    simulator.post("/intercom/config", json!({"page_size": 7})).await;
    let mut reader = reader(&simulator);
    let matching = json!({"match": {"contains": "scroll_param=", "skip": 1}, "where": "headers", "times": 1});
    let gate = simulator.post("/intercom/gates", matching).await["id"].clone();
    let died = async {
        simulator.get(&format!("/gates/{gate}?wait_for=1")).await;
        simulator.post("/clock", json!({"offset_seconds": 61})).await;
        simulator.post(&format!("/gates/{gate}/release"), json!({"count": 1})).await;
    };
    let names = ["companies"];
    tokio::join!(died, reader.refresh_well(&names));
    assert!(reader.agrees(&simulator, "companies", &[]).await > 20);
    assert!(reader.notes.iter().any(|note| note.contains("gave up the listing half way")), "{:?}", reader.notes);
}
