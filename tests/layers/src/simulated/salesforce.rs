//! Every object of Salesforce, against the simulator: first load, changes, live queries, refusals, and calls.

use super::checks::{each_collection_is_checked, Refusal};
use super::scans::all_show_what_is_stored;
use super::{all_agree, refresh_all, Reader, Simulator};
use crate::error::SyncError;
use crate::http::AccessToken;
use crate::manifest::{Column, Deletes};
use crate::secret::Secret;
use serde_json::{json, Map, Value};

fn with_token(simulator: &Simulator, token: &str) -> Reader {
    let mut reader = Reader::new(simulator, "salesforce", &[], &[]);
    reader.session = Some(AccessToken {
        token: Secret::new(token),
        base_url: Some(simulator.address("salesforce")),
        expires_at: i64::MAX,
        new_refresh_token: None,
    });
    // Objects that this org does not have.
    reader.source.collections.retain(|collection| !collection.object.ends_with("Tag"));
    reader
}

/// A reader of the fields that the org has, as its description says.
async fn reader(simulator: &Simulator) -> Reader {
    let mut reader = with_token(simulator, "sim-session");
    for number in 0..reader.source.collections.len() {
        let collection = reader.source.collections[number].clone();
        if collection.unsupported.is_none() {
            let described = crate::extract::describe(&reader.client(), &collection, None).await.unwrap().unwrap();
            let is_there = |column: &Column| described.columns.iter().any(|known| known.field == column.path()[0]);
            reader.source.collections[number].columns.retain(is_there);
        }
    }
    reader
}

/// An org with something of every object; many records share a stamp.
async fn org() -> Simulator {
    let simulator = Simulator::start();
    let sizes: Map<String, Value> =
        with_token(&simulator, "").collection_names().into_iter().map(|name| (name, json!(31))).collect();
    let mut seed = Value::Object(sizes);
    seed["ties"] = json!(12);
    seed["deleted_percent"] = json!(10);
    simulator.post("/salesforce/seed", seed).await;
    simulator
}

#[tokio::test]
async fn a_first_load_is_the_ledger_page_by_page() {
    for page_size in [0, 7] {
        let simulator = org().await;
        simulator.post("/salesforce/config", json!({"page_size": page_size})).await;
        let mut reader = reader(&simulator).await;
        refresh_all(&mut reader).await;
        all_agree(&reader, &simulator).await;
    }
}

#[tokio::test]
async fn changes_deletions_and_returns_are_followed() {
    let simulator = org().await;
    simulator.post("/salesforce/config", json!({"page_size": 7})).await;
    let mut reader = reader(&simulator).await;
    refresh_all(&mut reader).await;
    let mut gone = Vec::new();
    for name in reader.collection_names() {
        let collection = reader.source.collection(&name).unwrap();
        // A deletion does not move the creation that histories are found by.
        let by_creation = collection.cursor.as_ref().is_some_and(|cursor| cursor.field == "CreatedDate");
        let flagged = matches!(collection.deletes, Deletes::Flag { .. }) && !by_creation;
        let ids = simulator.ids("salesforce", &name, false).await;
        simulator.post(&format!("/salesforce/{name}"), json!({})).await;
        simulator.patch(&format!("/salesforce/{name}/{}", ids[0]), json!({})).await;
        if flagged {
            simulator.delete(&format!("/salesforce/{name}/{}", ids[1])).await;
            gone.push((name, ids[1].clone()));
        }
    }
    simulator
        .patch(
            &format!("/salesforce/accounts/{}", simulator.ids("salesforce", "accounts", false).await[2]),
            json!({"Name": "Zoë"}),
        )
        .await;
    refresh_all(&mut reader).await;
    all_agree(&reader, &simulator).await;
    assert!(gone.len() > 20, "{gone:?}");
    for (name, id) in &gone {
        assert!(reader.tables[name].keys(true).contains(id), "{name} {id}");
        simulator.post(&format!("/salesforce/{name}/{id}/undelete"), json!({})).await;
    }
    refresh_all(&mut reader).await;
    all_agree(&reader, &simulator).await;
}

/// Histories are found by their creation, which a deletion does not move.
#[tokio::test]
async fn a_deleted_history_is_found_by_a_reconcile() {
    let simulator = org().await;
    let mut reader = reader(&simulator).await;
    let name = "opportunity_field_history";
    reader.refresh_well(&[name]).await;
    let id = simulator.ids("salesforce", name, false).await[1].clone();
    simulator.delete(&format!("/salesforce/{name}/{id}")).await;
    reader.refresh_well(&[name]).await;
    reader.reconcile(&[name]).await;
    reader.agrees(&simulator, name, &[]).await;
    assert!(reader.tables[name].keys(true).contains(&id));
}

/// A bulk update gives one stamp to all; more with that very stamp come when the cursor has it already.
#[tokio::test]
async fn records_of_one_stamp_are_all_seen() {
    let simulator = org().await;
    simulator.post("/salesforce/config", json!({"page_size": 5})).await;
    let mut reader = reader(&simulator).await;
    reader.refresh_well(&["leads"]).await;
    let ids = simulator.ids("salesforce", "leads", false).await;
    let stamp = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S.000+0000").to_string();
    for round in ids.chunks(13) {
        for id in round {
            let change = json!({"Company": "Tied", "SystemModstamp": stamp});
            simulator.patch(&format!("/salesforce/leads/{id}"), change).await;
        }
        reader.refresh_well(&["leads"]).await;
        reader.agrees(&simulator, "leads", &[]).await;
    }
}

#[tokio::test]
async fn a_quiet_run_costs_one_call_for_each_object() {
    let simulator = org().await;
    let mut reader = reader(&simulator).await;
    refresh_all(&mut reader).await;
    simulator.forget_requests("salesforce").await;
    refresh_all(&mut reader).await;
    assert_eq!(simulator.requests("salesforce").await.len(), reader.collection_names().len());
    all_agree(&reader, &simulator).await;
}

#[tokio::test]
async fn each_object_is_checked_by_one_call() {
    let simulator = org().await;
    let refusal = |name: &str| {
        let name: &'static str = Box::leak(name.to_string().into_boxed_str());
        Refusal { collection: name, denied: name, words: "insufficient access rights", missing: None }
    };
    each_collection_is_checked(&simulator, &reader(&simulator).await, |_| 1, refusal).await;
    // An object that the user cannot see is no object of a query.
    let mut all = reader(&simulator).await;
    all.source = Reader::new(&simulator, "salesforce", &[], &[]).source;
    match all.check(&simulator, "account_tags").await.0 {
        Err(SyncError::NotFound { detail, .. }) => assert!(detail.contains("AccountTag"), "{detail}"),
        other => panic!("{other:?}"),
    }
    let mut reader = reader(&simulator).await;
    simulator.post("/salesforce/config", json!({"denied": ["leads"]})).await;
    let failed = reader.refresh(&["accounts", "leads", "contacts"]).await;
    assert_eq!(failed.keys().collect::<Vec<_>>(), ["leads"]);
    assert!(matches!(failed["leads"], SyncError::AccessDenied { status: 403, .. }), "{failed:?}");
    assert!(reader.agrees(&simulator, "contacts", &[]).await > 0);
    simulator.post("/salesforce/config", json!({"denied": []})).await;
    // The one that was refused is renewed once; where that cannot be, the run ends.
    let mut wrong = with_token(&simulator, "other-session");
    wrong.source.collections.retain(|collection| ["accounts", "leads"].contains(&collection.name.as_str()));
    let failed = wrong.refresh(&["accounts", "leads"]).await;
    assert!(failed.values().all(|error| matches!(error, SyncError::AuthRejected { .. })), "{failed:?}");
    assert_eq!(failed.len(), 2);
}

#[tokio::test]
async fn live_queries_show_what_is_stored() {
    let simulator = org().await;
    let mut reader = reader(&simulator).await;
    refresh_all(&mut reader).await;
    all_show_what_is_stored(&reader, &[]).await;
    for name in reader.collection_names() {
        assert_eq!(reader.calls_of_one_row(&simulator, &name).await, 1, "{name}");
    }
}
