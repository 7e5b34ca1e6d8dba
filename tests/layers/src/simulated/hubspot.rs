//! Every collection of HubSpot, against the simulator: first load, changes, deletions, what comes back, refusals, and calls.

use super::checks::{bad_credentials_cost_one_call, each_collection_is_checked, Refusal};
use super::scans::all_show_what_is_stored;
use super::{quiet_run_costs_what_the_page_says, refresh_all, Reader, Simulator};
use crate::error::SyncError;
use crate::extract;
use crate::extract::{FilterValue, Op};
use serde_json::{json, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Collections whose rows have the ledger's own keys.
const KEYED: [&str; 8] = [
    "companies",
    "contact_identities",
    "contact_lists",
    "contacts",
    "deals",
    "email_campaigns",
    "email_subscriptions",
    "form_submissions",
];

fn reader(simulator: &Simulator) -> Reader {
    Reader::new(simulator, "hubspot", &[], &[("access_token", "pat-na1-simulated")])
}

/// A portal with something of everything.
async fn portal() -> Simulator {
    let simulator = Simulator::start();
    let objects =
        json!({"owners": 3, "companies": 23, "contacts": 61, "deals": 34, "contact_lists": 9, "deleted_percent": 8});
    simulator.post("/hubspot/seed", objects).await;
    let others = json!({"forms": 5, "form_submissions": 70, "email_campaigns": 12});
    simulator.post("/hubspot/seed", others).await;
    // Events are read a month back.
    let recent = json!({"email_events": 45, "email_subscription_event_changes": 17, "until": "now"});
    simulator.post("/hubspot/seed", recent).await;
    simulator
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// What rows and ledger say in these columns and members, as sets.
async fn same(
    reader: &Reader,
    simulator: &Simulator,
    collection: &str,
    pairs: &[(&str, &str)],
    since_us: i64,
) -> usize {
    let mut want = BTreeSet::new();
    for row in simulator.ledger("hubspot", collection).await {
        let record = &row["record"];
        let values: Vec<String> = pairs
            .iter()
            .map(|(column, member)| {
                let value = record.pointer(member).unwrap_or(&Value::Null);
                let is_time = ["created", "timestamp", "saved_at_timestamp"].contains(column);
                if is_time {
                    (value.as_i64().unwrap() * 1000).to_string()
                } else {
                    text(value)
                }
            })
            .collect();
        let at = record["created"].as_i64().or(record["timestamp"].as_i64()).map_or(i64::MAX, |ms| ms * 1000);
        if row["deleted"] == false && at >= since_us {
            want.insert(values);
        }
    }
    let table = &reader.tables[collection];
    let of =
        |key: &String| pairs.iter().map(|(column, _)| text(&reader.cell(collection, key, column))).collect::<Vec<_>>();
    let is_due = |values: &Vec<String>| {
        let at = pairs.iter().position(|(column, _)| ["created", "timestamp"].contains(column));
        at.is_none_or(|at| values[at].parse::<i64>().unwrap() >= since_us)
    };
    let found: BTreeSet<Vec<String>> = table.keys(false).iter().map(of).filter(is_due).collect();
    assert_eq!(found, want, "{collection}");
    found.len()
}

async fn all_agree(reader: &Reader, simulator: &Simulator) {
    for name in KEYED {
        if name == "form_submissions" || name == "email_campaigns" {
            // Nothing tells of their deletion.
            continue;
        }
        assert!(reader.agrees(simulator, name, &[]).await > 0, "{name} is empty");
    }
    assert!(reader.agrees(simulator, "form_submissions", &[]).await > 0);
    assert!(reader.agrees(simulator, "email_campaigns", &[]).await > 0);
    // What is just about to leave the month is nobody's promise.
    let since = crate::extract::time::parse_iso(&now()).unwrap() - 29 * 86_400 * 1_000_000;
    let events = [("id", "/id"), ("created", "/created"), ("type", "/type"), ("recipient", "/recipient")];
    assert!(same(reader, simulator, "email_events", &events, since).await > 0);
    let changes = [
        ("recipient", "/recipient"),
        ("timestamp", "/timestamp"),
        ("change", "/change"),
        ("change_type", "/changeType"),
        ("subscription_id", "/subscriptionId"),
        ("caused_by_event_id", "/causedByEvent/id"),
    ];
    assert!(same(reader, simulator, "email_subscription_event_changes", &changes, since).await > 0);
    let profiles = [("vid", "/vid"), ("saved_at_timestamp", "/saved-at-timestamp"), ("identities", "/identities")];
    assert!(same(reader, simulator, "contact_identity_profiles", &profiles, i64::MIN).await > 0);
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

#[tokio::test]
async fn a_first_load_is_the_ledger_page_by_page() {
    for page_size in [0, 7] {
        let simulator = portal().await;
        simulator.post("/hubspot/config", json!({"page_size": page_size})).await;
        let mut reader = reader(&simulator);
        refresh_all(&mut reader).await;
        all_agree(&reader, &simulator).await;
    }
}

#[tokio::test]
async fn changes_deletions_and_returns_are_followed() {
    let simulator = portal().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    let mut gone = Vec::new();
    for (collection, change) in [
        ("contacts", json!({"firstname": "Zoë", "num_associated_deals": null})),
        ("companies", json!({"name": "Renamed", "annualrevenue": 12.5})),
        ("deals", json!({"dealstage": "closedwon", "amount": "99.95"})),
        ("contact_lists", json!({"name": "Renamed"})),
    ] {
        let ids = simulator.ids("hubspot", collection, false).await;
        simulator.patch(&format!("/hubspot/{collection}/{}", ids[0]), change).await;
        simulator.delete(&format!("/hubspot/{collection}/{}", ids[1])).await;
        simulator.post(&format!("/hubspot/{collection}"), json!({})).await;
        gone.push((collection, ids[1].clone()));
    }
    let campaign = simulator.ids("hubspot", "email_campaigns", false).await[0].clone();
    simulator.patch(&format!("/hubspot/email_campaigns/{campaign}"), json!({"subject": "Later"})).await;
    for collection in ["email_events", "email_subscription_event_changes", "form_submissions", "email_campaigns"] {
        simulator.post(&format!("/hubspot/{collection}"), json!({})).await;
    }
    let address = text(&simulator.ledger("hubspot", "email_subscriptions").await[0]["record"]["subscriberIdString"]);
    let status = json!({"subscriberIdString": address, "subscriptionId": 2_849_001, "status": "UNSUBSCRIBED"});
    simulator.post("/hubspot/email_subscriptions", status).await;
    refresh_all(&mut reader).await;
    all_agree(&reader, &simulator).await;
    for (collection, id) in &gone {
        assert!(reader.tables[*collection].keys(true).contains(id), "{collection} {id}");
        simulator.post(&format!("/hubspot/{collection}/{id}/undelete"), json!({})).await;
    }
    refresh_all(&mut reader).await;
    all_agree(&reader, &simulator).await;
    for (collection, id) in &gone {
        assert!(reader.tables[*collection].keys(false).contains(id), "{collection} {id} came back");
    }
}

#[tokio::test]
async fn records_gone_for_good_are_found_by_a_reconcile() {
    let simulator = portal().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["contacts"]).await;
    let id = simulator.ids("hubspot", "contacts", false).await[3].clone();
    simulator.delete(&format!("/hubspot/contacts/{id}?hard=true")).await;
    reader.refresh_well(&["contacts"]).await;
    assert!(reader.tables["contacts"].keys(false).contains(&id), "nothing tells of it");
    reader.reconcile(&["contacts"]).await;
    reader.agrees(&simulator, "contacts", &[]).await;
    assert!(reader.tables["contacts"].keys(true).contains(&id));
}

/// What the app says each deal is associated with, by the listing that shows all of it.
async fn associations(simulator: &Simulator) -> BTreeMap<String, [Value; 2]> {
    simulator.post("/hubspot/config", json!({"associations_shown": 0})).await;
    let path = "/crm/v3/objects/deals?limit=100&associations=contacts,companies";
    let list = simulator.shown("hubspot", path, "pat-na1-simulated").await;
    let of = |deal: &Value, kind: &str| {
        let results = deal.pointer(&format!("/associations/{kind}/results"))?.as_array()?.clone();
        Some(results.iter().map(|one| text(&one["id"])).collect::<BTreeSet<String>>())
    };
    let both =
        |deal: &Value| ["contacts", "companies"].map(|kind| of(deal, kind).map_or(Value::Null, |ids| json!(ids)));
    list["results"].as_array().unwrap().iter().map(|deal| (text(&deal["id"]), both(deal))).collect()
}

/// Deals know their contacts and companies, whether a listing or a search showed them, and however many there are.
#[tokio::test]
async fn deals_know_what_they_are_associated_with() {
    let simulator = portal().await;
    let told = |reader: &Reader| -> BTreeMap<String, [Value; 2]> {
        let cell = |key: &String, column: &str| match reader.cell("deals", key, column) {
            Value::String(json) => serde_json::from_str(&json).unwrap(),
            other => other,
        };
        let row = |key: &String| (key.clone(), ["associated_vids", "associated_company_ids"].map(|c| cell(key, c)));
        reader.tables["deals"].keys(false).iter().map(row).collect()
    };
    let contacts = simulator.ids("hubspot", "contacts", false).await;
    let deals = simulator.ids("hubspot", "deals", false).await;
    for contact in &contacts[..7] {
        let link = json!({"from": "deals", "from_id": deals[0], "to": "contacts", "to_id": contact});
        simulator.post("/hubspot/associations", link).await;
    }
    let want = associations(&simulator).await;
    assert!(want[&deals[0]][0].as_array().unwrap().len() >= 7 && want.values().any(|ids| ids[0].is_null()), "{want:?}");

    simulator.post("/hubspot/config", json!({"associations_shown": 3})).await;
    let mut reader = reader(&simulator);
    simulator.forget_requests("hubspot").await;
    reader.refresh_well(&["deals"]).await;
    assert_eq!(told(&reader), want);
    let asked = |requests: &[Value], part: &str| requests.iter().filter(|r| text(&r["path"]).contains(part)).count();
    let requests = simulator.requests("hubspot").await;
    assert!(asked(&requests, "/associations/deals/companies") == 0, "the listing told all of them");
    assert!((3..10).contains(&asked(&requests, "/associations/deals/contacts")), "only where there are more");

    // Parted, joined, and changed in bulk: the search tells none of it.
    let parted = json!({"from": "deals", "from_id": deals[0], "to": "contacts", "to_id": contacts[0]});
    simulator.delete_what("/hubspot/associations", parted).await;
    let joined = json!({"from": "deals", "from_id": deals[1], "to": "contacts", "to_id": contacts[5]});
    simulator.post("/hubspot/associations", joined).await;
    for deal in &deals[..12] {
        simulator.patch(&format!("/hubspot/deals/{deal}"), json!({"dealname": "Renamed"})).await;
    }
    let want = associations(&simulator).await;
    simulator.post("/hubspot/config", json!({"associations_shown": 3})).await;
    simulator.forget_requests("hubspot").await;
    reader.refresh_well(&["deals"]).await;
    assert_eq!(told(&reader), want);
    let requests = simulator.requests("hubspot").await;
    assert_eq!(asked(&requests, "/deals/search"), 1);
    assert_eq!(asked(&requests, "/associations/deals/companies"), 1, "one call for all of a page");
}

/// More changes than one search gives: the next begins above the last id.
#[tokio::test]
async fn a_search_beyond_its_ceiling_loses_nothing() {
    let simulator = portal().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["contacts"]).await;
    let mut changed: Value = serde_json::from_str(include_str!("../../../../sources/hubspot.json")).unwrap();
    let contacts = changed["collections"].as_array_mut().unwrap().iter_mut().find(|c| c["name"] == "contacts").unwrap();
    contacts["incremental"]["ceiling"]["records"] = json!(20);
    contacts["incremental"]["pages"]["size"] = json!(10);
    changed.as_object_mut().unwrap().remove("rate");
    reader.source = serde_json::from_value(changed).unwrap();
    simulator.post("/hubspot/config", json!({"search_ceiling": 20})).await;
    simulator.post("/hubspot/seed", json!({"contacts": 57, "ties": 57, "until": "now"})).await;
    reader.refresh_well(&["contacts"]).await;
    assert!(reader.agrees(&simulator, "contacts", &[]).await > 100);
}

#[tokio::test]
async fn a_quiet_run_costs_its_documented_calls() {
    let simulator = portal().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    simulator.forget_requests("hubspot").await;
    refresh_all(&mut reader).await;
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for request in simulator.requests("hubspot").await {
        let path = text(&request["path"]);
        let below = ["/form-integrations/v1/submissions/forms/", "/email/public/v1/campaigns/"];
        let path = below.iter().find(|below| path.starts_with(**below)).map_or(path.clone(), |below| below.to_string());
        *calls.entry(path).or_default() += 1;
    }
    let want = [
        ("/communication-preferences/v4/statuses/batch/read", 1),
        ("/contacts/v1/lists/all/contacts/all", 1),
        // Archived records, and for contacts the addresses.
        ("/crm/v3/lists/search", 1),
        ("/crm/v3/objects/companies", 1),
        ("/crm/v3/objects/companies/search", 1),
        ("/crm/v3/objects/contacts", 2),
        ("/crm/v3/objects/contacts/search", 1),
        ("/crm/v3/objects/deals", 1),
        ("/crm/v3/objects/deals/search", 1),
        ("/email/public/v1/campaigns", 1),
        // Those whose stamps lie in the overlap are asked about again.
        ("/email/public/v1/campaigns/", 2),
        ("/email/public/v1/events", 1),
        ("/email/public/v1/subscriptions/timeline", 1),
        // One for each form that takes submissions.
        ("/form-integrations/v1/submissions/forms/", 4),
        ("/marketing/v3/forms", 1),
    ];
    assert_eq!(calls, want.map(|(path, count)| (path.to_string(), count)).into());
    all_agree(&reader, &simulator).await;
    let below = [
        ("/communication-preferences/v4/statuses/batch/read", 1),
        ("/email/public/v1/campaigns/{id}", 2),
        ("/form-integrations/v1/submissions/forms/{id}", 4),
    ];
    quiet_run_costs_what_the_page_says(&simulator, &mut reader, &below).await;
}

#[tokio::test]
async fn what_is_not_permitted_stops_nothing_else() {
    let simulator = portal().await;
    for (denied, refused) in [("deals", "deals"), ("contact_lists", "contact_lists"), ("email_events", "email_events")]
    {
        simulator.post("/hubspot/config", json!({"denied": [denied]})).await;
        let mut reader = reader(&simulator);
        let failed = reader.refresh(&["companies", "contact_lists", "deals", "email_events"]).await;
        assert_eq!(failed.keys().collect::<Vec<_>>(), [refused]);
        assert!(matches!(failed[refused], SyncError::AccessDenied { status: 403, .. }), "{failed:?}");
        assert!(reader.agrees(&simulator, "companies", &[]).await > 0);
    }
}

#[tokio::test]
async fn a_bad_token_is_told_and_a_spent_day_ends_the_run() {
    let simulator = portal().await;
    extract::check(&reader(&simulator).client(), None).await.unwrap();
    let mut wrong = Reader::new(&simulator, "hubspot", &[], &[("access_token", "other")]);
    let refused = extract::check(&wrong.client(), None).await.unwrap_err();
    assert!(matches!(refused, SyncError::AuthRejected { status: 401, .. }), "{refused:?}");
    let failed = wrong.refresh(&["deals"]).await;
    assert!(matches!(failed["deals"], SyncError::AuthRejected { .. }), "{failed:?}");
    simulator.post("/hubspot/config", json!({"daily_quota": 1})).await;
    let failed = reader(&simulator).refresh(&["deals"]).await;
    assert!(matches!(failed["deals"], SyncError::RateLimited { .. }), "{failed:?}");
}

#[tokio::test]
async fn each_collection_is_checked_and_the_missing_scope_is_named() {
    let simulator = portal().await;
    let refusal = |name: &str| {
        let (collection, scope) = match name {
            "companies" => ("companies", "crm.objects.companies.read"),
            "contact_identities" => ("contact_identities", "crm.objects.contacts.read"),
            "contact_identity_profiles" => ("contact_identity_profiles", "crm.objects.contacts.read"),
            "contact_lists" => ("contact_lists", "crm.lists.read"),
            "contacts" => ("contacts", "crm.objects.contacts.read"),
            "deals" => ("deals", "crm.objects.deals.read"),
            "email_campaigns" => ("email_campaigns", "content"),
            "email_events" => ("email_events", "content"),
            "email_subscription_event_changes" => ("email_subscription_event_changes", "content"),
            "email_subscriptions" => ("email_subscriptions", "communication_preferences.read"),
            "form_submissions" => ("form_submissions", "forms"),
            other => panic!("{other}"),
        };
        Refusal { collection, denied: collection, words: "required scopes", missing: Some(scope) }
    };
    // A parent has to be known before its children can be asked for.
    let below = ["email_campaigns", "email_subscriptions", "form_submissions"];
    let calls = |name: &str| if below.contains(&name) { 2 } else { 1 };
    each_collection_is_checked(&simulator, &reader(&simulator), calls, refusal).await;
    let mut wrong = Reader::new(&simulator, "hubspot", &[], &[("access_token", "other-token")]);
    bad_credentials_cost_one_call(&simulator, &mut wrong, "other-token").await;
}

#[tokio::test]
async fn live_queries_show_what_is_stored() {
    let simulator = portal().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    all_show_what_is_stored(&reader, &[]).await;
    for name in reader.collection_names() {
        let below = ["email_campaigns", "email_subscriptions"];
        let calls = if below.contains(&name.as_str()) { 2 } else { 1 };
        let found = reader.calls_of_one_row(&simulator, &name).await;
        // Forms without a submission come first.
        let is_right = if name == "form_submissions" { found <= 6 } else { found == calls };
        assert!(is_right, "{name}: {found} calls");
    }
    // A condition on the time of the change is a search.
    let mut stamps: Vec<i64> = Vec::new();
    let stored = reader.tables["contacts"].keys(false);
    for key in &stored {
        stamps.push(reader.cell("contacts", key, "lastmodifieddate").as_i64().unwrap());
    }
    stamps.sort();
    let middle = stamps[stamps.len() / 2];
    simulator.forget_requests("hubspot").await;
    let condition = [("lastmodifieddate", Op::Ge, FilterValue::Timestamp(middle))];
    let shown = reader.scanned_keys("contacts", &condition).await;
    let is_late = |key: &&String| reader.cell("contacts", key, "lastmodifieddate").as_i64().unwrap() >= middle;
    assert_eq!(shown, stored.iter().filter(is_late).cloned().collect());
    let paths: Vec<Value> = simulator.requests("hubspot").await.iter().map(|r| r["path"].clone()).collect();
    assert_eq!(paths, ["/crm/v3/objects/contacts/search"]);
}

/// A batch that the app knows nothing of proves nothing about its contacts.
#[tokio::test]
async fn what_was_passed_over_is_not_taken_for_gone() {
    let simulator = portal().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["email_subscriptions"]).await;
    let before = reader.tables["email_subscriptions"].keys(false);
    assert!(!before.is_empty());
    let fault =
        json!({"kind": "status", "status": 404, "match": {"path_prefix": "/communication-preferences"}, "times": 1});
    simulator.post("/hubspot/faults", fault).await;
    reader.refresh_well(&["email_subscriptions"]).await;
    assert_eq!(reader.tables["email_subscriptions"].keys(false), before);
    assert!(reader.notes.iter().any(|note| note.contains("a parent was gone")), "{:?}", reader.notes);
    reader.refresh_well(&["email_subscriptions"]).await;
    reader.agrees(&simulator, "email_subscriptions", &[]).await;
}
