//! Every collection of Mailchimp, against the simulator: first load, changes, deletions, what comes back, refusals, and calls.

use super::checks::{bad_credentials_cost_one_call, each_collection_is_checked, Refusal};
use super::scans::all_show_what_is_stored;
use super::{quiet_run_costs_what_the_page_says, Reader, Simulator};
use crate::error::SyncError;
use crate::extract;
use crate::extract::time::parse_iso;
use crate::extract::{FilterValue, Op};
use serde_json::{json, Value};
use std::collections::BTreeSet;

const KEY: &str = "0123456789abcdef0123456789abcdef-us6";
const LISTED: [&str; 4] = ["campaigns", "conversations", "list_members", "lists"];
const MONTH_US: i64 = 30 * 86_400 * 1_000_000;

fn reader(simulator: &Simulator) -> Reader {
    Reader::new(simulator, "mailchimp", &[], &[("api_key", KEY)])
}

async fn account() -> Simulator {
    let simulator = Simulator::start();
    let seed = json!({"lists": 4, "list_members": 60, "campaigns": 14, "conversations": 9, "subscriber_activity": 50,
        "deleted_percent": 8});
    simulator.post("/mailchimp/seed", seed).await;
    simulator
}

async fn refresh_all(reader: &mut Reader) {
    reader.refresh_well(&["campaigns", "conversations", "list_members", "lists", "subscriber_activity"]).await;
}

/// Campaigns that were sent: id and when, the newest first.
async fn sent(simulator: &Simulator) -> Vec<(String, i64)> {
    let rows = simulator.ledger("mailchimp", "campaigns").await;
    let there = rows.iter().filter(|row| row["deleted"] == false).map(|row| &row["record"]);
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let mut sent: Vec<(String, i64)> = there
        .filter(|campaign| campaign["status"] == "sent")
        .map(|campaign| (text(&campaign["id"]), parse_iso(&text(&campaign["send_time"])).unwrap()))
        .collect();
    sent.sort_by_key(|(_, at)| -at);
    sent
}

async fn all_agree(reader: &Reader, simulator: &Simulator) {
    for name in LISTED {
        assert!(reader.agrees(simulator, name, &[]).await > 0, "{name} is empty");
    }
    activity_agrees(reader, simulator).await;
}

/// What addresses did, of campaigns that are there: campaign, address, action, time, link.
async fn activity_agrees(reader: &Reader, simulator: &Simulator) {
    let sent: BTreeSet<String> = sent(simulator).await.into_iter().map(|(id, _)| id).collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let mut want = BTreeSet::new();
    for row in simulator.ledger("mailchimp", "subscriber_activity").await {
        let record = &row["record"];
        if sent.contains(&text(&record["campaign_id"])) {
            let at = parse_iso(&text(&record["timestamp"])).unwrap();
            let names = ["campaign_id", "email_id", "email_address", "list_id", "action", "url"];
            want.insert((names.map(|name| text(&record[name])), at));
        }
    }
    let table = &reader.tables["subscriber_activity"];
    let mut found = BTreeSet::new();
    for key in table.keys(false) {
        let cell = |name: &str| reader.cell("subscriber_activity", &key, name);
        if sent.contains(&text(&cell("campaign_id"))) {
            let names = ["campaign_id", "email_id", "email_address", "list_id", "action", "url"];
            found.insert((names.map(|name| text(&cell(name))), cell("timestamp").as_i64().unwrap()));
        }
    }
    assert_eq!(found, want);
    assert!(found.len() > 5);
}

#[tokio::test]
async fn a_first_load_is_the_ledger_page_by_page() {
    for page_size in [0, 7] {
        let simulator = account().await;
        simulator.post("/mailchimp/config", json!({"page_size": page_size})).await;
        let mut reader = reader(&simulator);
        refresh_all(&mut reader).await;
        all_agree(&reader, &simulator).await;
        let archived = simulator.ids("mailchimp", "list_members", true).await;
        assert!(!archived.is_empty());
        assert_eq!(reader.tables["list_members"].keys(true), archived.into_iter().collect());
    }
}

#[tokio::test]
async fn changes_deletions_and_returns_are_followed() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    let members = simulator.ids("mailchimp", "list_members", false).await;
    let (changed, archived) = (&members[0], &members[1]);
    simulator.patch(&format!("/mailchimp/list_members/{changed}"), json!({"merge_fields": {"FNAME": "Zoë"}})).await;
    simulator.delete(&format!("/mailchimp/list_members/{archived}")).await;
    simulator.post("/mailchimp/list_members", json!({"email_address": "new@sim.example"})).await;
    let (campaigns, lists) =
        (simulator.ids("mailchimp", "campaigns", false).await, simulator.ids("mailchimp", "lists", false).await);
    let newest = sent(&simulator).await[0].0.clone();
    let gone = campaigns.iter().find(|id| **id != newest).unwrap();
    let renamed = campaigns.iter().rfind(|id| **id != newest).unwrap();
    simulator.delete(&format!("/mailchimp/campaigns/{gone}")).await;
    simulator.patch(&format!("/mailchimp/campaigns/{renamed}"), json!({"emails_sent": 4711})).await;
    simulator.patch(&format!("/mailchimp/lists/{}", lists[0]), json!({"name": "Renamed"})).await;
    let conversation = simulator.ids("mailchimp", "conversations", false).await[0].clone();
    simulator.delete(&format!("/mailchimp/conversations/{conversation}")).await;
    simulator.post("/mailchimp/subscriber_activity", json!({"campaign_id": newest, "action": "click"})).await;
    refresh_all(&mut reader).await;
    all_agree(&reader, &simulator).await;
    assert_eq!(reader.cell("list_members", changed, "merge_fields")["FNAME"], "Zoë");
    assert!(reader.tables["list_members"].keys(true).contains(archived));
    assert!(reader.tables["campaigns"].keys(true).contains(gone));
    simulator.post(&format!("/mailchimp/list_members/{archived}/undelete"), json!({})).await;
    simulator.post(&format!("/mailchimp/campaigns/{gone}/undelete"), json!({})).await;
    simulator.post(&format!("/mailchimp/conversations/{conversation}/undelete"), json!({})).await;
    refresh_all(&mut reader).await;
    all_agree(&reader, &simulator).await;
    assert!(reader.tables["list_members"].keys(false).contains(archived));
}

#[tokio::test]
async fn members_of_a_deleted_audience_are_found_by_a_reconcile() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["lists", "list_members"]).await;
    let members = simulator.ids("mailchimp", "list_members", false).await;
    let list = members[0].split(':').next().unwrap().to_string();
    let kept = members.iter().find(|id| !id.starts_with(&list)).unwrap();
    simulator.delete(&format!("/mailchimp/lists/{list}")).await;
    simulator.delete(&format!("/mailchimp/list_members/{kept}?hard=true")).await;
    reader.refresh_well(&["lists", "list_members"]).await;
    reader.agrees(&simulator, "lists", &[]).await;
    assert!(reader.tables["list_members"].keys(false).contains(kept), "nothing tells of it");
    reader.reconcile(&["list_members"]).await;
    reader.agrees(&simulator, "list_members", &[]).await;
    assert!(reader.tables["list_members"].keys(true).contains(&members[0]));
}

#[tokio::test]
async fn a_quiet_run_costs_its_documented_calls() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    let lists = simulator.ids("mailchimp", "lists", false).await.len() as u64;
    let sent = sent(&simulator).await;
    let recent = sent.iter().filter(|(_, at)| *at >= sent[0].1 - MONTH_US).count() as u64;
    let below = [("/3.0/lists/{id}/members", lists), ("/3.0/reports/{id}/email-activity", recent)];
    quiet_run_costs_what_the_page_says(&simulator, &mut reader, &below).await;
    all_agree(&reader, &simulator).await;
}

#[tokio::test]
async fn what_is_not_permitted_stops_nothing_else() {
    let simulator = account().await;
    for (config, refused) in [
        (json!({"conversations": false}), "conversations"),
        (json!({"conversations": true, "denied": ["list_members"]}), "list_members"),
        (json!({"denied": ["subscriber_activity"]}), "subscriber_activity"),
    ] {
        simulator.post("/mailchimp/config", config).await;
        let mut reader = reader(&simulator);
        let failed =
            reader.refresh(&["campaigns", "conversations", "list_members", "lists", "subscriber_activity"]).await;
        assert_eq!(failed.keys().collect::<Vec<_>>(), [refused]);
        assert!(matches!(failed[refused], SyncError::AccessDenied { status: 403, .. }), "{failed:?}");
        for name in LISTED.iter().filter(|name| **name != refused) {
            assert!(reader.agrees(&simulator, name, &[]).await > 0);
        }
    }
}

#[tokio::test]
async fn each_way_in_works_and_a_bad_credential_is_told() {
    let simulator = account().await;
    // The data center is at a login host of its own; here it is given.
    let mut by_token = Reader::new(&simulator, "mailchimp", &[("dc", "us6")], &[("access_token", "sim-access")]);
    extract::check(&by_token.client(), None).await.unwrap();
    by_token.refresh_well(&["lists"]).await;
    assert!(by_token.agrees(&simulator, "lists", &[]).await > 0);
    let mut wrong = Reader::new(&simulator, "mailchimp", &[], &[("api_key", "other-us6")]);
    let refused = extract::check(&wrong.client(), None).await.unwrap_err();
    assert!(matches!(refused, SyncError::AuthRejected { status: 401, .. }), "{refused:?}");
    let failed = wrong.refresh(&LISTED).await;
    assert_eq!(failed.len(), LISTED.len());
    assert!(failed.values().all(|error| matches!(error, SyncError::AuthRejected { .. })), "{failed:?}");
    // A disabled user is refused with 403, which is nothing that another collection could get around.
    let body =
        json!({"title": "User Disabled", "status": 403, "detail": "This account has been deactivated."}).to_string();
    let fault =
        json!({"kind": "status", "status": 403, "body": body, "match": {"path_prefix": "/3.0/lists"}, "times": 1});
    simulator.post("/mailchimp/faults", fault).await;
    let failed = reader(&simulator).refresh(&["lists"]).await;
    assert!(matches!(failed["lists"], SyncError::AuthRejected { .. }), "{failed:?}");
}

#[tokio::test]
async fn a_bare_403_is_tried_again() {
    let simulator = account().await;
    let fault = json!({"kind": "status", "status": 403, "body": "<html>Forbidden</html>", "match": {"path_prefix": "/3.0/lists"}, "times": 1});
    simulator.post("/mailchimp/faults", fault).await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["lists"]).await;
    assert!(reader.agrees(&simulator, "lists", &[]).await > 0);
}

/// The end of a key names the host, without a call.
#[tokio::test]
async fn a_key_leads_to_its_data_center() {
    let simulator = Simulator::start();
    let reader = reader(&simulator);
    let mut account = reader.account();
    account.options.remove("base_url");
    let account = crate::http::without_calls(&account);
    assert_eq!(account.options["dc"], "us6");
}

#[tokio::test]
async fn permissions_are_checked_one_by_one() {
    let simulator = account().await;
    let refusal = |name: &str| {
        let collection = LISTED.iter().chain(&["subscriber_activity"]).find(|known| **known == name).unwrap();
        Refusal {
            collection,
            denied: collection,
            words: "You are not permitted to access this resource",
            missing: None,
        }
    };
    let calls = |name: &str| if ["list_members", "subscriber_activity"].contains(&name) { 2 } else { 1 };
    each_collection_is_checked(&simulator, &reader(&simulator), calls, refusal).await;
    let mut wrong = Reader::new(&simulator, "mailchimp", &[], &[("api_key", "otherkey-us6")]);
    bad_credentials_cost_one_call(&simulator, &mut wrong, "otherkey").await;
}

#[tokio::test]
async fn live_queries_show_what_is_stored() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    all_show_what_is_stored(&reader, &[]).await;
    for name in reader.collection_names() {
        let calls = reader.calls_of_one_row(&simulator, &name).await;
        let is_right = match name.as_str() {
            "list_members" => calls == 2,
            // The newest campaigns may have had nobody act on them.
            "subscriber_activity" => calls >= 2,
            _ => calls == 1,
        };
        assert!(is_right, "{name}: {calls} calls");
    }
    // Named, an audience is asked for its members alone.
    let list = simulator.ids("mailchimp", "lists", false).await[0].clone();
    simulator.forget_requests("mailchimp").await;
    let named = [("list_id", Op::Eq, FilterValue::Text(list.clone()))];
    let shown = reader.scanned_keys("list_members", &named).await;
    let of_list = |key: &&String| key.starts_with(&list);
    let stored: BTreeSet<String> = reader.tables["list_members"].rows.keys().filter(of_list).cloned().collect();
    assert_eq!(shown, stored);
    let paths: Vec<Value> = simulator.requests("mailchimp").await.iter().map(|r| r["path"].clone()).collect();
    assert_eq!(paths, [json!(format!("/3.0/lists/{list}/members"))]);
}
