//! Every collection of SendGrid, against the simulator: first load, changes, deletions, exports, refusals, and calls.

use super::scans::all_show_what_is_stored;
use super::{quiet_run_costs_what_the_page_says, what_is_gone_comes_back, Reader, Simulator};
use crate::error::SyncError;
use crate::extract::{self, FilterValue, Op};
use serde_json::{json, Value};
use std::collections::BTreeSet;

const KEY: &str = "SG.sim-key";
const TODAY: [&str; 3] = ["mc_contacts", "mc_lists", "mc_single_sends"];
const LEGACY: [&str; 4] = ["campaigns", "lists", "recipients", "segments"];
const LISTED: [&str; 7] =
    ["campaigns", "lists", "mc_contacts", "mc_lists", "mc_single_sends", "recipients", "segments"];

fn reader(simulator: &Simulator) -> Reader {
    Reader::new(simulator, "sendgrid", &[], &[("api_key", KEY)])
}

async fn account() -> Simulator {
    let simulator = Simulator::start();
    let seed = json!({"mc_contacts": 130, "mc_lists": 11, "mc_single_sends": 23, "campaigns": 14, "lists": 5,
        "segments": 6, "recipients": 60});
    simulator.post("/sendgrid/seed", seed).await;
    simulator.post("/sendgrid/config", json!({"export_ms": 0})).await;
    simulator
}

async fn all_agree(reader: &Reader, simulator: &Simulator) {
    for name in LISTED {
        // The export joins them with commas.
        assert!(reader.agrees(simulator, name, &["alternate_emails"]).await > 0, "{name} is empty");
    }
}

async fn posts(simulator: &Simulator) -> usize {
    simulator.requests("sendgrid").await.iter().filter(|request| request["method"] == "POST").count()
}

#[tokio::test]
async fn a_first_load_is_the_ledger_page_by_page() {
    for (page_size, rows_of_a_file) in [(0, 0), (4, 50)] {
        let simulator = account().await;
        let config = json!({"page_size": page_size, "export_rows_per_file": rows_of_a_file});
        simulator.post("/sendgrid/config", config).await;
        let mut reader = reader(&simulator);
        reader.refresh_well(&LISTED).await;
        all_agree(&reader, &simulator).await;
        let ids = simulator.ids("sendgrid", "mc_contacts", false).await;
        assert_eq!(ids.len(), 130, "the listing shows 50");
        let rows = simulator.ledger("sendgrid", "mc_contacts").await;
        let has_more = |row: &&Value| !row["record"]["alternate_emails"].as_array().unwrap().is_empty();
        let row = rows.iter().find(has_more).unwrap();
        let found = reader.cell("mc_contacts", row["id"].as_str().unwrap(), "alternate_emails");
        assert_eq!(found, row["record"]["alternate_emails"][0]);
    }
}

#[tokio::test]
async fn changes_deletions_and_returns_are_followed() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&LISTED).await;
    let mut gone = Vec::new();
    for (collection, change) in [
        ("mc_contacts", json!({"first_name": "Zoë, \"the\"\nfirst", "city": ""})),
        ("mc_lists", json!({"name": "Renamed"})),
        ("mc_single_sends", json!({"status": "triggered"})),
        ("campaigns", json!({"title": "Renamed"})),
        ("lists", json!({"name": "Renamed"})),
        ("segments", json!({"recipient_count": 4711})),
        ("recipients", json!({"last_name": "Zoë"})),
    ] {
        let ids = simulator.ids("sendgrid", collection, false).await;
        simulator.patch(&format!("/sendgrid/{collection}/{}", ids[1]), change).await;
        simulator.delete(&format!("/sendgrid/{collection}/{}", ids[2])).await;
        simulator.post(&format!("/sendgrid/{collection}"), json!({})).await;
        gone.push((collection, ids[2].clone()));
    }
    reader.refresh_well(&LISTED).await;
    all_agree(&reader, &simulator).await;
    what_is_gone_comes_back(&simulator, &mut reader, &LISTED, &gone).await;
    all_agree(&reader, &simulator).await;
}

#[tokio::test]
async fn a_quiet_run_costs_its_documented_calls() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&LISTED).await;
    quiet_run_costs_what_the_page_says(&simulator, &mut reader, &[]).await;
    assert_eq!(posts(&simulator).await, 1, "one export");
    all_agree(&reader, &simulator).await;
}

/// A link that has expired says nothing of the key: the export is asked for again.
#[tokio::test]
async fn an_export_that_fails_or_expires_is_told() {
    let simulator = account().await;
    simulator.post("/sendgrid/config", json!({"export_failure": "no contacts could be read"})).await;
    let mut reader = reader(&simulator);
    let failed = reader.refresh(&TODAY).await;
    assert_eq!(failed.keys().collect::<Vec<_>>(), ["mc_contacts"]);
    let SyncError::Unavailable { detail, .. } = &failed["mc_contacts"] else { panic!("{failed:?}") };
    assert!(detail.contains("failure: no contacts could be read"), "{detail}");
    simulator.post("/sendgrid/config", json!({"export_failure": ""})).await;
    let body = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
    let fault = json!({"kind": "status", "status": 403, "body": body, "match": {"path_prefix": "/contact-exports"}, "times": 1});
    simulator.post("/sendgrid/faults", fault).await;
    let failed = reader.refresh(&["mc_contacts"]).await;
    assert!(matches!(failed["mc_contacts"], SyncError::Unavailable { .. }), "not the key: {failed:?}");
    reader.refresh_well(&["mc_contacts"]).await;
    assert!(reader.agrees(&simulator, "mc_contacts", &["alternate_emails"]).await > 0);
}

/// A file that was cut off is fetched again, and never a shorter table.
#[tokio::test]
async fn a_file_that_was_cut_off_is_fetched_again() {
    let simulator = account().await;
    let fault = json!({"kind": "truncate", "match": {"path_prefix": "/contact-exports"}, "times": 1});
    simulator.post("/sendgrid/faults", fault).await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["mc_contacts"]).await;
    assert_eq!(reader.agrees(&simulator, "mc_contacts", &["alternate_emails"]).await, 130);
}

#[tokio::test]
async fn accounts_without_the_legacy_product_are_told_so() {
    for status in [403, 404] {
        let simulator = account().await;
        simulator.post("/sendgrid/config", json!({"legacy": false, "legacy_status": status})).await;
        let mut reader = reader(&simulator);
        let failed = reader.refresh(&LISTED).await;
        assert_eq!(failed.keys().map(String::as_str).collect::<Vec<_>>(), LEGACY);
        for error in failed.values() {
            assert!(matches!(error, SyncError::Unsupported { reason } if !reason.is_empty()), "{status}: {error:?}");
        }
        assert!(reader.agrees(&simulator, "mc_lists", &[]).await > 0);
    }
}

#[tokio::test]
async fn a_collection_without_permission_fails_alone() {
    for (denied, words) in [("mc_contacts", "access forbidden"), ("mc_single_sends", "access forbidden")] {
        let simulator = account().await;
        simulator.post("/sendgrid/config", json!({"denied": [denied]})).await;
        let mut reader = reader(&simulator);
        let failed = reader.refresh(&LISTED).await;
        assert_eq!(failed.keys().collect::<Vec<_>>(), [denied]);
        assert!(
            matches!(&failed[denied], SyncError::AccessDenied { status: 403, detail } if detail.contains(words)),
            "{failed:?}"
        );
        for name in LISTED.iter().filter(|name| **name != denied) {
            assert!(reader.agrees(&simulator, name, &["alternate_emails"]).await > 0, "{name}");
        }
    }
}

#[tokio::test]
async fn a_bad_key_is_told_by_one_call() {
    let simulator = account().await;
    extract::check(&reader(&simulator).client(), None).await.unwrap();
    for name in LISTED {
        let good = reader(&simulator);
        extract::check(&good.client(), good.source.collection(name)).await.unwrap_or_else(|e| panic!("{name}: {e:?}"));
    }
    assert_eq!(posts(&simulator).await, 0, "a check exports nothing");
    let mut wrong = Reader::new(&simulator, "sendgrid", &[], &[("api_key", "SG.other")]);
    simulator.forget_requests("sendgrid").await;
    let refused = extract::check(&wrong.client(), None).await.unwrap_err();
    assert!(matches!(refused, SyncError::AuthRejected { status: 401, .. }), "{refused:?}");
    assert_eq!(simulator.requests("sendgrid").await.len(), 1);
    let failed = wrong.refresh(&LISTED).await;
    assert!(failed.len() == 7 && failed.values().all(|error| matches!(error, SyncError::AuthRejected { .. })));
}

#[tokio::test]
async fn events_come_by_webhook_and_nothing_is_asked_for_them() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    let names: BTreeSet<String> = reader.source.collections.iter().map(|c| c.name.clone()).collect();
    assert_eq!(names.len(), 17);
    let events: Vec<&str> = names.iter().map(String::as_str).filter(|name| !LISTED.contains(name)).collect();
    let failed = reader.refresh(&events).await;
    assert_eq!(failed.len(), 10);
    for error in failed.values() {
        assert!(matches!(error, SyncError::Unsupported { reason } if reason.contains("webhooks")), "{error:?}");
    }
    assert_eq!(simulator.requests("sendgrid").await.len(), 0);
}

#[tokio::test]
async fn live_queries_read_one_page_or_one_record() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&LISTED).await;
    all_show_what_is_stored(&reader, &[]).await;
    for name in LISTED.iter().filter(|name| **name != "mc_contacts") {
        assert_eq!(reader.calls_of_one_row(&simulator, name).await, 1, "{name}");
    }
    assert_eq!(reader.calls_of_one_row(&simulator, "mc_contacts").await, 3, "asked for, looked at, fetched");
    simulator.forget_requests("sendgrid").await;
    let id = simulator.ids("sendgrid", "mc_contacts", false).await[9].clone();
    let one = [("id", Op::Eq, FilterValue::Text(id.clone()))];
    assert_eq!(reader.scanned_keys("mc_contacts", &one).await, [id].into());
    assert_eq!(simulator.requests("sendgrid").await.len(), 1, "a contact by its id needs no export");
}
