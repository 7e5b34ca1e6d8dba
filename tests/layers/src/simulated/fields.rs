//! The fields that only one account has: how each app tells of them, and how a record shows one that nobody told of.

use super::{Reader, Simulator};
use serde_json::{json, Value};
use std::collections::BTreeSet;

fn hubspot(simulator: &Simulator) -> Reader {
    Reader::new(simulator, "hubspot", &[], &[("access_token", "pat-na1-simulated")])
}

fn intercom(simulator: &Simulator) -> Reader {
    Reader::new(simulator, "intercom", &[], &[("access_token", "sim-intercom-token")])
}

fn zendesk(simulator: &Simulator) -> Reader {
    let login = [("email", "agent@sim.example"), ("api_token", "sim-token")];
    Reader::new(simulator, "zendesk", &[("subdomain", "sim")], &login)
}

/// Name, type and place of an account's own columns.
fn own(reader: &Reader, collection: &str) -> BTreeSet<(String, String, String)> {
    let of_file = reader.source.collection(collection).unwrap().columns.len();
    let own = reader.columns(collection).split_off(of_file);
    own.into_iter().map(|c| (c.name, c.type_name, c.field.unwrap())).collect()
}

fn set(rows: &[(&str, &str, &str)]) -> BTreeSet<(String, String, String)> {
    rows.iter().map(|(name, kind, field)| (name.to_string(), kind.to_string(), field.to_string())).collect()
}

async fn id_of(simulator: &Simulator, app: &str, collection: &str) -> String {
    simulator.ids(app, collection, false).await[0].clone()
}

#[tokio::test]
async fn every_property_of_a_portal_is_a_column_of_its_type() {
    let simulator = Simulator::start();
    simulator.post("/hubspot/seed", json!({"deals": 12})).await;
    let long = "x".repeat(70);
    for property in [json!({"name": "margin", "type": "number"}), json!({"name": long})] {
        simulator.post("/hubspot/objects/deals/properties", property).await;
    }
    simulator.delete("/hubspot/objects/deals/properties/portal_note").await;
    let mut reader = hubspot(&simulator);
    reader.describe(&["deals"]).await;
    let own = own(&reader, "deals");
    let wanted = set(&[
        ("renewal_date", "date", "/properties/renewal_date"),
        ("customer_score", "numeric", "/properties/customer_score"),
        ("is_beta_tester", "boolean", "/properties/is_beta_tester"),
        ("interests", "text", "/properties/interests"),
        ("last_seen_in_store", "timestamptz", "/properties/last_seen_in_store"),
        ("margin", "numeric", "/properties/margin"),
    ]);
    assert!(own.is_superset(&wanted), "{own:?}");
    assert!(!own.iter().any(|(_, _, field)| field == "/properties/portal_note"), "archived");
    let (name, _, _) = own.iter().find(|(_, _, field)| field.ends_with(&long)).unwrap();
    assert_eq!(name.len(), 63, "{name}");
    let id = id_of(&simulator, "hubspot", "deals").await;
    let values =
        json!({"margin": "12.50", "renewal_date": "2026-03-31", "is_beta_tester": "true", "customer_score": ""});
    simulator.patch(&format!("/hubspot/deals/{id}"), values).await;
    reader.refresh_well(&["deals"]).await;
    assert_eq!(reader.cell("deals", &id, "margin"), json!(12.50));
    assert_eq!(reader.cell("deals", &id, "is_beta_tester"), json!(true));
    assert_eq!(reader.cell("deals", &id, "renewal_date"), json!(20543));
    assert_eq!(reader.cell("deals", &id, "customer_score"), Value::Null, "an empty text is no number");
    reader.agrees(&simulator, "deals", &["renewal_date"]).await;
}

/// The names of all properties do not fit into one address.
#[tokio::test]
async fn a_portal_with_many_properties_is_asked_in_parts() {
    let simulator = Simulator::start();
    simulator.post("/hubspot/seed", json!({"deals": 130})).await;
    let many = json!({"name": "a_property_with_a_name_that_fills_an_address_before_long", "count": 420});
    simulator.post("/hubspot/objects/deals/properties", many).await;
    let ids = simulator.ids("hubspot", "deals", false).await;
    let values = json!({"a_property_with_a_name_that_fills_an_address_before_long_1": "first", "a_property_with_a_name_that_fills_an_address_before_long_420": "last"});
    simulator.patch(&format!("/hubspot/deals/{}", ids[7]), values).await;
    let mut reader = hubspot(&simulator);
    reader.describe(&["deals"]).await;
    simulator.forget_requests("hubspot").await;
    reader.refresh_well(&["deals"]).await;
    assert_eq!(
        reader.cell("deals", &ids[7], "a_property_with_a_name_that_fills_an_address_before_long_1"),
        json!("first")
    );
    assert_eq!(
        reader.cell("deals", &ids[7], "a_property_with_a_name_that_fills_an_address_before_long_420"),
        json!("last")
    );
    let listed = simulator.requests("hubspot").await.len();
    // Two pages, each in three parts, and the first page of what is archived.
    assert!((7..=9).contains(&listed), "{listed}");
    reader.agrees(&simulator, "deals", &["renewal_date"]).await;
    // A search takes the names in its body: one call, one page of it.
    let changed = json!({"a_property_with_a_name_that_fills_an_address_before_long_210": "middle"});
    simulator.patch(&format!("/hubspot/deals/{}", ids[9]), changed).await;
    simulator.forget_requests("hubspot").await;
    reader.refresh_well(&["deals"]).await;
    let searches = simulator.requests("hubspot").await;
    let searches = searches.iter().filter(|request| request["path"].as_str().unwrap().ends_with("/search")).count();
    assert_eq!(searches, 1);
    assert_eq!(
        reader.cell("deals", &ids[9], "a_property_with_a_name_that_fills_an_address_before_long_210"),
        json!("middle")
    );
}

#[tokio::test]
async fn custom_fields_of_a_help_desk_are_columns() {
    let simulator = Simulator::start();
    let config = json!({"export_per_minute": 0, "calls_per_minute": 0});
    simulator.post("/zendesk/config", config).await;
    for (folder, fields) in [
        (
            "ticket_fields",
            json!([{"title": "Root cause", "type": "tagger"}, {"title": "Root cause", "type": "integer"},
            {"title": "Escalated?", "type": "checkbox"}, {"title": "Areas", "type": "multiselect"}]),
        ),
        ("user_fields", json!([{"key": "plan", "type": "dropdown"}, {"key": "renews_on", "type": "date"}])),
        ("organization_fields", json!([{"key": "seats", "type": "decimal"}])),
    ] {
        for field in fields.as_array().unwrap() {
            simulator.post(&format!("/zendesk/{folder}"), field.clone()).await;
        }
    }
    simulator.post("/zendesk/seed", json!({"organizations": 4, "users": 8, "tickets": 9})).await;
    let mut reader = zendesk(&simulator);
    reader.describe(&["tickets", "users", "organizations"]).await;
    assert_eq!(own(&reader, "organizations"), set(&[("seats", "numeric", "/organization_fields/seats")]));
    let users = set(&[("plan", "text", "/user_fields/plan"), ("renews_on", "date", "/user_fields/renews_on")]);
    assert_eq!(own(&reader, "users"), users);
    let tickets = own(&reader, "tickets");
    let named = |kind: &str| tickets.iter().find(|(_, t, _)| t == kind).unwrap().clone();
    assert_eq!(tickets.len(), 4, "none of the system's: {tickets:?}");
    assert_eq!(
        (named("text").0.as_str(), named("boolean").0.as_str(), named("jsonb").0.as_str()),
        ("root_cause", "escalated", "areas")
    );
    let (second, _, place) = named("bigint");
    assert!(second.starts_with("root_cause_") && second.len() == "root_cause_".len() + 8, "{second}");
    let ticket = id_of(&simulator, "zendesk", "tickets").await;
    let number: i64 = place.rsplit('/').next().unwrap().parse().unwrap();
    let areas: i64 = named("jsonb").2.rsplit('/').next().unwrap().parse().unwrap();
    let escalated: i64 = named("boolean").2.rsplit('/').next().unwrap().parse().unwrap();
    let given =
        json!([{"id": number, "value": "42"}, {"id": areas, "value": ["a", "b"]}, {"id": escalated, "value": true}]);
    simulator.patch(&format!("/zendesk/tickets/{ticket}"), json!({"custom_fields": given})).await;
    for id in simulator.ids("zendesk", "tickets", false).await.iter().skip(1) {
        let given =
            json!([{"id": number, "value": null}, {"id": areas, "value": []}, {"id": escalated, "value": false}]);
        simulator.patch(&format!("/zendesk/tickets/{id}"), json!({"custom_fields": given})).await;
    }
    for id in simulator.ids("zendesk", "users", false).await {
        let given = json!({"plan": "gold", "renews_on": "2026-01-31T00:00:00+00:00"});
        simulator.patch(&format!("/zendesk/users/{id}"), json!({"user_fields": given})).await;
    }
    for id in simulator.ids("zendesk", "organizations", false).await {
        simulator.patch(&format!("/zendesk/organizations/{id}"), json!({"organization_fields": {"seats": 12.5}})).await;
    }
    simulator.post("/clock", json!({"offset_seconds": 120})).await;
    reader.refresh_well(&["tickets", "users", "organizations"]).await;
    assert_eq!(reader.cell("tickets", &ticket, &second), json!(42));
    assert_eq!(reader.cell("tickets", &ticket, "areas"), json!(["a", "b"]));
    assert_eq!(reader.cell("tickets", &ticket, "escalated"), json!(true));
    let user = id_of(&simulator, "zendesk", "users").await;
    assert_eq!(reader.cell("users", &user, "renews_on"), json!(20484));
    let organization = id_of(&simulator, "zendesk", "organizations").await;
    assert_eq!(reader.cell("organizations", &organization, "seats"), json!(12.5));
    assert!(reader.unknown.values().all(BTreeSet::is_empty), "{:?}", reader.unknown);
    // A field made later shows itself in the next record that changes, with or without a value.
    let made = simulator.post("/zendesk/ticket_fields", json!({"title": "Later", "type": "text"})).await;
    simulator.post("/zendesk/user_fields", json!({"key": "later", "type": "text"})).await;
    simulator.patch(&format!("/zendesk/tickets/{ticket}"), json!({"priority": "low"})).await;
    simulator.patch(&format!("/zendesk/users/{user}"), json!({"notes": "x"})).await;
    simulator.post("/clock", json!({"offset_seconds": 240})).await;
    reader.refresh_well(&["tickets", "users"]).await;
    assert_eq!(reader.unknown["tickets"], BTreeSet::from([made["id"].to_string()]));
    assert_eq!(reader.unknown["users"], BTreeSet::from(["later".to_string()]));
}

#[tokio::test]
async fn custom_attributes_of_a_workspace_are_columns() {
    let simulator = Simulator::start();
    simulator.post("/intercom/seed", json!({"companies": 5, "users": 7, "contacts": 6})).await;
    let mut reader = intercom(&simulator);
    reader.describe(&["companies", "contacts", "users"]).await;
    let people = set(&[
        ("plan_tier", "text", "/custom_attributes/plan_tier"),
        ("seat_count", "bigint", "/custom_attributes/seat_count"),
        ("trial_ends_at", "timestamptz", "/custom_attributes/trial_ends_at"),
    ]);
    assert_eq!(own(&reader, "users"), people);
    assert_eq!(own(&reader, "contacts"), people);
    assert_eq!(own(&reader, "companies"), set(&[("account_tier", "text", "/custom_attributes/account_tier")]));
    reader.refresh_well(&["companies", "contacts", "users"]).await;
    for collection in ["companies", "contacts", "users"] {
        reader.agrees(&simulator, collection, &[]).await;
    }
    let user = id_of(&simulator, "intercom", "users").await;
    assert!(reader.cell("users", &user, "trial_ends_at").is_i64());
    assert!(reader.unknown.values().all(BTreeSet::is_empty));
    let attribute = json!({"model": "contact", "name": "Favourite Colour", "data_type": "string"});
    simulator.post("/intercom/data_attributes", attribute).await;
    let given = json!({"custom_attributes": {"Favourite Colour": "green"}});
    simulator.patch(&format!("/intercom/users/{user}"), given).await;
    reader.refresh_well(&["users"]).await;
    assert_eq!(reader.unknown["users"], BTreeSet::from(["Favourite Colour".to_string()]));
    reader.describe(&["users"]).await;
    reader.refresh_well(&["users"]).await;
    assert_eq!(reader.cell("users", &user, "favourite_colour"), json!("green"));
}
