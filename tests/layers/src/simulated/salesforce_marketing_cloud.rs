//! Every collection of Salesforce Marketing Cloud, by REST and by SOAP, against the simulator: first load, changes, deletions,
//! what comes back, refusals, broken Retrieves, live queries, and calls.

use super::scans::all_show_what_is_stored;
use super::{quiet_run_costs_what_the_page_says, Reader, Simulator};
use crate::error::SyncError;
use crate::extract::{self, FilterValue, Op};
use serde_json::{json, Value};

const APP: &str = "salesforce_marketing_cloud";
const ALL: [&str; 5] = ["campaigns", "campaign_assets", "lists", "interactions", "goals"];

fn reader_with(simulator: &Simulator, secret: &str) -> Reader {
    let address = simulator.address(APP);
    let options = [("subdomain", "mcsim"), ("auth_url", address.as_str()), ("account_id", "7000001")];
    Reader::new(simulator, APP, &options, &[("client_id", "sim-client"), ("client_secret", secret)])
        .with_tokens_of_the_app()
}

async fn reader(simulator: &Simulator) -> Reader {
    let mut reader = reader_with(simulator, "sim-secret");
    reader.describe(&["lists"]).await;
    reader
}

/// A business unit with something of everything.
async fn business_unit() -> Simulator {
    let simulator = Simulator::start();
    let first = json!({"campaigns": 9, "lists": 23, "interactions": 17});
    simulator.post(&format!("/{APP}/seed"), first).await;
    simulator.post(&format!("/{APP}/seed"), json!({"campaign_assets": 25})).await;
    simulator
}

async fn agree(reader: &Reader, simulator: &Simulator) {
    for name in ALL {
        // An array's first element: compared by itself.
        assert!(reader.agrees(simulator, name, &["default_email"]).await > 0, "{name} is empty");
    }
}

/// The paths asked for since the last time.
async fn paths(simulator: &Simulator) -> Vec<String> {
    let requests = simulator.requests(APP).await;
    simulator.forget_requests(APP).await;
    requests.iter().map(|request| request["path"].as_str().unwrap().to_string()).collect()
}

#[tokio::test]
async fn a_first_load_is_the_ledger_page_by_page() {
    for page_size in [0, 4] {
        let simulator = business_unit().await;
        simulator.post(&format!("/{APP}/config"), json!({"page_size": page_size})).await;
        let mut reader = reader(&simulator).await;
        reader.refresh_well(&ALL).await;
        agree(&reader, &simulator).await;
        let journey = simulator.ids(APP, "interactions", false).await[0].clone();
        assert_eq!(reader.cell("interactions", &journey, "default_email"), "{{Contact.Default.Email}}");
        assert_eq!(reader.cell("lists", "1000", "client_created_by"), Value::Null, "cannot be retrieved");
    }
}

#[tokio::test]
async fn one_token_serves_both_interfaces_and_is_renewed_for_both() {
    let simulator = business_unit().await;
    let mut reader = reader(&simulator).await;
    reader.refresh_well(&ALL).await;
    let granted = || async { simulator.get(&format!("/{APP}/tokens")).await["granted"].clone() };
    assert_eq!(granted().await, 1);
    for names in [&["lists"][..], &["campaigns"]] {
        simulator.delete(&format!("/{APP}/tokens")).await;
        let before = granted().await.as_u64().unwrap();
        reader.refresh_well(names).await;
        assert_eq!(granted().await, before + 1, "{names:?}");
    }
}

#[tokio::test]
async fn changes_are_followed() {
    let simulator = business_unit().await;
    let mut reader = reader(&simulator).await;
    reader.refresh_well(&ALL).await;
    for round in 0..3 {
        for (collection, change) in [
            ("campaigns", json!({"name": format!("Zoë & <{round}>")})),
            ("campaign_assets", json!({"type": format!("KIND {round}")})),
            ("lists", json!({"ListName": format!("Zoë & <{round}> \"x\"")})),
            (
                "interactions",
                json!({"name": format!("Renamed {round}"), "goals": [{"key": format!("G{round}"), "name": "g"}]}),
            ),
        ] {
            let id = simulator.ids(APP, collection, false).await[round].clone();
            simulator.patch(&format!("/{APP}/{collection}/{id}"), change).await;
            simulator.post(&format!("/{APP}/{collection}"), json!({})).await;
        }
        reader.refresh_well(&ALL).await;
        agree(&reader, &simulator).await;
    }
}

#[tokio::test]
async fn deletions_and_returns_are_followed() {
    let simulator = business_unit().await;
    // A campaign with nothing below it, so that its end is its own.
    let alone = simulator.post(&format!("/{APP}/campaigns"), json!({})).await["id"].as_str().unwrap().to_string();
    let mut reader = reader(&simulator).await;
    reader.refresh_well(&ALL).await;
    let mut gone = vec![("campaigns", alone)];
    for collection in ["campaign_assets", "lists", "interactions"] {
        gone.push((collection, simulator.ids(APP, collection, false).await[1].clone()));
    }
    for (collection, id) in &gone {
        simulator.delete(&format!("/{APP}/{collection}/{id}")).await;
    }
    reader.refresh_well(&ALL).await;
    agree(&reader, &simulator).await;
    assert!(!reader.tables["goals"].keys(true).is_empty(), "goals go with their journey");
    for (collection, id) in &gone {
        assert!(reader.tables[*collection].keys(true).contains(id), "{collection} {id}");
        simulator.post(&format!("/{APP}/{collection}/{id}/undelete"), json!({})).await;
    }
    reader.refresh_well(&ALL).await;
    agree(&reader, &simulator).await;
    assert!(reader.tables["goals"].keys(true).is_empty());
    let list = simulator.ids(APP, "lists", false).await[2].clone();
    simulator.delete(&format!("/{APP}/lists/{list}")).await;
    reader.reconcile(&["lists"]).await;
    assert_eq!(reader.tables["lists"].keys(true), [list].into());
    agree(&reader, &simulator).await;
}

#[tokio::test]
async fn a_quiet_run_costs_its_documented_calls() {
    let simulator = business_unit().await;
    let mut reader = reader(&simulator).await;
    reader.refresh_well(&ALL).await;
    let campaigns = simulator.ids(APP, "campaigns", false).await.len() as u64;
    quiet_run_costs_what_the_page_says(&simulator, &mut reader, &[("/hub/v1/campaigns/{id}/assets", campaigns)]).await;
}

/// Journeys of one moment on both sides of a page: reading stops behind all of them, and no earlier.
#[tokio::test]
async fn a_newest_first_listing_is_left_at_the_cursor() {
    let simulator = business_unit().await;
    simulator.post(&format!("/{APP}/config"), json!({"page_size": 3})).await;
    let mut reader = reader(&simulator).await;
    reader.refresh_well(&["interactions", "goals"]).await;
    simulator.forget_requests(APP).await;
    reader.refresh_well(&["interactions", "goals"]).await;
    let quiet = paths(&simulator).await.len();
    assert!(quiet < 6, "{quiet} of 6 pages");
    for id in simulator.ids(APP, "interactions", false).await.iter().take(7) {
        simulator.patch(&format!("/{APP}/interactions/{id}"), json!({"description": "touched"})).await;
    }
    reader.refresh_well(&["interactions", "goals"]).await;
    agree_on(&reader, &simulator, &["interactions", "goals"]).await;
}

async fn agree_on(reader: &Reader, simulator: &Simulator, names: &[&str]) {
    for name in names {
        assert!(reader.agrees(simulator, name, &["default_email"]).await > 0, "{name} is empty");
    }
}

/// A continuation whose answer is lost has taken its batch with it.
#[tokio::test]
async fn a_broken_retrieve_loses_nothing_and_marks_nothing() {
    for kind in ["reset_body", "truncate", "status"] {
        let simulator = business_unit().await;
        simulator.post(&format!("/{APP}/config"), json!({"page_size": 5})).await;
        let mut reader = reader(&simulator).await;
        reader.refresh_well(&["lists"]).await;
        let fault = json!({"kind": kind, "match": {"contains": "ContinueRequest"}, "times": 1});
        simulator.post(&format!("/{APP}/faults"), fault).await;
        reader.refresh_well(&["lists"]).await;
        assert_eq!(reader.tables["lists"].keys(true).len(), 0, "{kind}");
        agree_on(&reader, &simulator, &["lists"]).await;
    }
}

#[tokio::test]
async fn what_is_not_permitted_stops_nothing_else() {
    let simulator = business_unit().await;
    for (refused, failing, words) in [
        ("campaign_assets", &["campaign_assets"][..], "Insufficient Privileges"),
        ("lists", &["lists"], "Error: API Permission Failed"),
        ("interactions", &["goals", "interactions"], "Insufficient Privileges"),
    ] {
        simulator.post(&format!("/{APP}/config"), json!({"denied": [refused]})).await;
        let mut reader = reader(&simulator).await;
        let failed = reader.refresh(&ALL).await;
        assert_eq!(failed.keys().collect::<Vec<_>>(), failing);
        for (name, error) in &failed {
            let SyncError::AccessDenied { detail, .. } = error else { panic!("{name}: {error:?}") };
            assert_eq!(detail, words, "{name}");
            // What lies below a parent is checked by the parent's listing.
            let checked = extract::check(&reader.client(), reader.source.collection(name)).await;
            let Err(checked) = checked else {
                assert_eq!(name, "campaign_assets");
                continue;
            };
            assert!(matches!(checked, SyncError::AccessDenied { .. }), "{name}: {checked:?}");
        }
        extract::check(&reader.client(), None).await.unwrap();
    }
}

#[tokio::test]
async fn a_bad_secret_is_told_after_one_call() {
    let simulator = business_unit().await;
    let good = reader(&simulator).await;
    extract::check(&good.client(), None).await.unwrap();
    for name in ALL {
        extract::check(&good.client(), good.source.collection(name)).await.unwrap();
    }
    for name in ["lists", "campaigns"] {
        simulator.forget_requests(APP).await;
        let mut wrong = reader_with(&simulator, "other");
        let failed = wrong.refresh(&[name]).await;
        assert!(matches!(failed[name], SyncError::AuthRejected { status: 401, .. }), "{failed:?}");
        assert_eq!(paths(&simulator).await, ["/v2/token"]);
    }
    let wrong = reader_with(&simulator, "other");
    let refused = extract::check(&wrong.client(), None).await.unwrap_err();
    assert!(matches!(refused, SyncError::AuthRejected { status: 401, .. }), "{refused:?}");
}

#[tokio::test]
async fn too_many_calls_are_waited_for_in_both_interfaces() {
    let simulator = business_unit().await;
    let mut reader = reader(&simulator).await;
    for path in ["/hub", "/Service.asmx"] {
        let fault = json!({"kind": "status", "status": 429, "match": {"path_prefix": path}, "times": 1});
        simulator.post(&format!("/{APP}/faults"), fault).await;
    }
    reader.refresh_well(&ALL).await;
    agree(&reader, &simulator).await;
}

#[tokio::test]
async fn live_queries_show_what_is_stored_and_read_as_they_are_wanted() {
    let simulator = business_unit().await;
    simulator.post(&format!("/{APP}/config"), json!({"page_size": 5})).await;
    let mut reader = reader(&simulator).await;
    reader.refresh_well(&ALL).await;
    all_show_what_is_stored(&reader, &[]).await;
    for name in ALL.iter().filter(|name| **name != "campaign_assets") {
        assert_eq!(reader.calls_of_one_row(&simulator, name).await, 1, "{name}");
    }
}

#[tokio::test]
async fn live_queries_say_their_conditions() {
    let simulator = business_unit().await;
    let reader = reader(&simulator).await;
    simulator.forget_requests(APP).await;
    let one = reader.scanned_keys("lists", &[("id", Op::Eq, FilterValue::Int(1003))]).await;
    assert_eq!(one, ["1003".to_string()].into());
    // Only what is as new as the newest: to the second, in the app's own zone.
    let stamp = |row: &Value| extract::time::parse_iso(row["record"]["ModifiedDate"].as_str().unwrap()).unwrap();
    let ledger = simulator.ledger(APP, "lists").await;
    let newest = ledger.iter().map(stamp).max().unwrap();
    let found = reader.scanned_keys("lists", &[("modified_date", Op::Ge, FilterValue::Timestamp(newest))]).await;
    let want = ledger.iter().filter(|row| stamp(row) >= newest - newest % 1_000_000).count();
    assert_eq!(found.len(), want);
    assert!(want < ledger.len());
    let asked = simulator.requests(APP).await.into_iter().filter(|request| request["path"] == "/Service.asmx").count();
    assert_eq!(asked, 2);
    let campaign = simulator.ids(APP, "campaigns", false).await[0].clone();
    simulator.forget_requests(APP).await;
    let of_one = ("campaign_id", Op::Eq, FilterValue::Text(campaign.clone()));
    let found = reader.scanned_keys("campaign_assets", &[of_one]).await;
    assert!(!found.is_empty() && found.iter().all(|key| key.starts_with(&format!("{campaign}:"))), "{found:?}");
    let asked = paths(&simulator).await;
    assert!(asked.iter().all(|path| path.contains(&campaign)), "{asked:?}");
}
