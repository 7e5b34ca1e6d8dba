//! Every collection of Zendesk, against the simulator: first load, changes, deletions, what comes back, refusals, and calls.

use super::checks::{bad_credentials_cost_one_call, each_collection_is_checked, Refusal};
use super::scans::all_show_what_is_stored;
use super::{quiet_run_costs_what_the_page_says, refresh_all, Reader, Simulator};
use crate::error::SyncError;
use crate::extract;
use crate::http::{oauth, ClientPool, Stats};
use crate::manifest::Auth;
use serde_json::{json, Value};

const LOGIN: [(&str, &str); 2] = [("email", "agent@sim.example"), ("api_token", "sim-token")];

/// What a comment's child event says depends on whether the text of comments was asked for.
const BUT: [&str; 2] = ["via", "via_reference_id"];

fn reader(simulator: &Simulator) -> Reader {
    Reader::new(simulator, "zendesk", &[("subdomain", "sim")], &LOGIN)
}

/// A help desk with something of everything. Exports have no limit a minute, and activities do not age.
async fn desk() -> Simulator {
    let simulator = Simulator::start();
    simulator
        .post("/zendesk/config", json!({"export_per_minute": 0, "calls_per_minute": 0, "activity_days": 10_000}))
        .await;
    simulator.post("/zendesk/user_fields", json!({"title": "Plan"})).await;
    simulator.post("/zendesk/ticket_fields", json!({"title": "Product"})).await;
    let marked = json!({"groups": 8, "organizations": 14, "users": 30, "group_memberships": 9, "organization_memberships": 16,
        "tickets": 40, "deleted_percent": 10});
    simulator.post("/zendesk/seed", marked).await;
    let others = json!({"ticket_comments": 15, "attachments": 5, "satisfaction_ratings": 9, "ticket_skips": 6, "audit_logs": 7,
        "ticket_forms": 2, "activities": 8});
    simulator.post("/zendesk/seed", others).await;
    simulator
}

async fn all_agree(reader: &Reader, simulator: &Simulator) {
    for name in reader.collection_names() {
        let but: &[&str] = if name == "ticket_events" { &BUT } else { &[] };
        assert!(reader.agrees(simulator, &name, but).await > 0, "{name} is empty");
    }
}

/// The id of the first record that is there.
async fn some(simulator: &Simulator, collection: &str, nth: usize) -> String {
    simulator.ids("zendesk", collection, false).await[nth].clone()
}

#[tokio::test]
async fn a_first_load_is_the_ledger_page_by_page() {
    let simulator = desk().await;
    simulator.post("/zendesk/config", json!({"page_size": 10})).await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    all_agree(&reader, &simulator).await;
    // What is around a child event is in its row.
    let comment = some(&simulator, "ticket_comments", 0).await;
    assert_eq!(reader.cell("ticket_events", &comment, "context_location"), "Berlin, BE, Germany");
    assert_eq!(reader.cell("ticket_events", &comment, "ticket_event_via"), "Web form");
    assert!(reader.cell("ticket_events", &comment, "timestamp").is_i64());
    assert!(reader.tables["tickets"].keys(true).len() > 1, "deleted tickets are exported, too");
    let attachment = some(&simulator, "attachments", 0).await;
    let of = reader.cell("attachments", &attachment, "comment_id").to_string();
    assert!(reader.tables["ticket_comments"].rows.contains_key(&of));
}

#[tokio::test]
async fn changes_deletions_and_returns_are_followed() {
    let simulator = desk().await;
    let mut reader = reader(&simulator);
    reader.describe(&["tickets", "users", "organizations"]).await;
    refresh_all(&mut reader).await;
    let field = simulator.ledger("zendesk", "ticket_fields").await.pop().unwrap()["record"]["id"].clone();
    let ticket = |nth| some(&simulator, "tickets", nth);
    let (changed, by_system, deleted) = (ticket(0).await, ticket(1).await, ticket(2).await);
    let (user, organization) = (some(&simulator, "users", 9).await, some(&simulator, "organizations", 3).await);
    let group = some(&simulator, "groups", 2).await;
    let patch = json!({"status": "solved", "custom_fields": [{"id": field, "value": "later"}]});
    simulator.patch(&format!("/zendesk/tickets/{changed}"), patch).await;
    simulator.patch(&format!("/zendesk/tickets/{by_system}?system=true"), json!({"priority": "urgent"})).await;
    simulator.patch(&format!("/zendesk/users/{}", some(&simulator, "users", 5).await), json!({"notes": "Zoë"})).await;
    simulator
        .patch(&format!("/zendesk/organizations/{}", some(&simulator, "organizations", 1).await), json!({"notes": "x"}))
        .await;
    let rating = some(&simulator, "satisfaction_ratings", 8).await;
    simulator.patch(&format!("/zendesk/satisfaction_ratings/{rating}"), json!({"score": "bad"})).await;
    for (collection, id) in
        [("tickets", &deleted), ("users", &user), ("organizations", &organization), ("groups", &group)]
    {
        simulator.delete(&format!("/zendesk/{collection}/{id}")).await;
    }
    for collection in ["group_memberships", "organization_memberships", "ticket_forms", "ticket_fields"] {
        let last = simulator.ids("zendesk", collection, false).await.pop().unwrap();
        simulator.delete(&format!("/zendesk/{collection}/{last}")).await;
    }
    for collection in [
        "tickets",
        "users",
        "organizations",
        "ticket_comments",
        "attachments",
        "ticket_skips",
        "audit_logs",
        "activities",
        "satisfaction_ratings",
        "group_memberships",
    ] {
        simulator.post(&format!("/zendesk/{collection}"), json!({})).await;
    }
    // Exports leave out the last minute.
    simulator.post("/clock", json!({"offset_seconds": 120})).await;
    refresh_all(&mut reader).await;
    all_agree(&reader, &simulator).await;
    let place = format!("/custom_fields/{field}");
    let column = reader.columns("tickets").into_iter().find(|column| column.field.as_ref() == Some(&place)).unwrap();
    assert_eq!(
        (column.name.as_str(), reader.cell("tickets", &changed, &column.name)),
        ("product", json!(null)),
        "it was deleted"
    );
    for (collection, id) in
        [("tickets", &deleted), ("users", &user), ("organizations", &organization), ("groups", &group)]
    {
        assert!(reader.tables[collection].keys(true).contains(id), "{collection}");
        simulator.post(&format!("/zendesk/{collection}/{id}/undelete"), json!({})).await;
    }
    let membership = simulator.ids("zendesk", "group_memberships", true).await.pop();
    if let Some(id) = &membership {
        simulator.post(&format!("/zendesk/group_memberships/{id}/undelete"), json!({})).await;
    }
    simulator.post("/clock", json!({"offset_seconds": 300})).await;
    refresh_all(&mut reader).await;
    all_agree(&reader, &simulator).await;
    assert!(reader.tables["tickets"].keys(false).contains(&deleted));
}

#[tokio::test]
async fn a_ticket_that_left_no_trace_is_found_by_a_reconcile() {
    let simulator = desk().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["tickets", "ticket_metrics", "users"]).await;
    let ticket = some(&simulator, "tickets", 4).await;
    simulator.delete(&format!("/zendesk/tickets/{ticket}?hard=true")).await;
    reader.refresh_well(&["tickets", "ticket_metrics"]).await;
    assert!(reader.tables["tickets"].keys(false).contains(&ticket), "no export tells of it");
    reader.reconcile(&["tickets", "ticket_metrics"]).await;
    reader.agrees(&simulator, "tickets", &[]).await;
    reader.agrees(&simulator, "ticket_metrics", &[]).await;
}

#[tokio::test]
async fn a_quiet_run_costs_its_documented_calls() {
    let simulator = desk().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    quiet_run_costs_what_the_page_says(&simulator, &mut reader, &[]).await;
    all_agree(&reader, &simulator).await;
    // Alone, what comes out of an export costs that export.
    simulator.forget_requests("zendesk").await;
    reader.refresh_well(&["ticket_metrics"]).await;
    reader.refresh_well(&["ticket_comments"]).await;
    assert_eq!(simulator.requests("zendesk").await.len(), 2);
}

#[tokio::test]
async fn exports_begin_at_the_day_that_was_set() {
    let simulator = desk().await;
    let all = reader(&simulator);
    let options = [("subdomain", "sim"), ("start_date", "2025-12-31")];
    let mut late = Reader::new(&simulator, "zendesk", &options, &LOGIN);
    late.refresh_well(&["tickets", "audit_logs", "groups"]).await;
    let at = crate::extract::time::parse_iso("2025-12-31").unwrap();
    let wanted = |row: &Value| row["record"]["generated_timestamp"].as_i64().unwrap() * 1_000_000 >= at;
    let want = simulator.ledger("zendesk", "tickets").await.iter().filter(|row| wanted(row)).count();
    assert_eq!(late.tables["tickets"].rows.len(), want);
    assert!(want < 40, "{want}");
    assert_eq!(late.agrees(&simulator, "groups", &[]).await, simulator.ids("zendesk", "groups", false).await.len());
    assert!(all.tables.is_empty());
}

/// One collection is refused, the others are read.
#[tokio::test]
async fn what_is_not_permitted_stops_nothing_else() {
    let simulator = desk().await;
    let names = reader(&simulator).collection_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let exports = [
        "attachments",
        "audit_logs",
        "organizations",
        "ticket_comments",
        "ticket_events",
        "ticket_metrics",
        "tickets",
        "users",
    ];
    for (config, refused) in [
        (json!({"denied": ["groups"]}), &["groups"][..]),
        (json!({"denied": [], "role": "agent"}), &exports[..]),
        (json!({"role": "admin", "plan": "team"}), &["audit_logs", "ticket_forms"][..]),
    ] {
        simulator.post("/zendesk/config", config).await;
        let mut reader = reader(&simulator);
        let failed = reader.refresh(&names).await;
        assert_eq!(failed.keys().map(String::as_str).collect::<Vec<_>>(), refused);
        for (name, error) in &failed {
            let is_right = match name.as_str() {
                "ticket_forms" => matches!(error, SyncError::Unsupported { .. }),
                _ => matches!(error, SyncError::AccessDenied { status: 403, .. }),
            };
            assert!(is_right, "{name}: {error:?}");
        }
        for name in names.iter().filter(|name| !refused.contains(name)) {
            reader.agrees(&simulator, name, &BUT).await;
        }
    }
}

#[tokio::test]
async fn each_way_in_works_and_a_bad_credential_is_told() {
    let simulator = desk().await;
    let subdomain = [("subdomain", "sim")];
    let mut by_token = Reader::new(&simulator, "zendesk", &subdomain, &[("access_token", "sim-access")]);
    extract::check(&by_token.client(), None).await.unwrap();
    by_token.refresh_well(&["groups"]).await;
    assert!(by_token.agrees(&simulator, "groups", &[]).await > 0);
    let names = by_token.collection_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for credentials in [&[("email", "agent@sim.example"), ("api_token", "other")][..], &[("access_token", "other")]] {
        let mut reader = Reader::new(&simulator, "zendesk", &subdomain, credentials);
        let refused = extract::check(&reader.client(), None).await.unwrap_err();
        assert!(matches!(refused, SyncError::AuthRejected { status: 401, .. }), "{refused:?}");
        let failed = reader.refresh(&names).await;
        assert_eq!(failed.len(), names.len());
        assert!(failed.values().all(|error| matches!(error, SyncError::AuthRejected { .. })), "{failed:?}");
        assert!(!format!("{failed:?}").contains("other"), "the credential is told");
    }
}

#[tokio::test]
async fn a_refresh_token_gives_access_and_is_replaced() {
    let simulator = desk().await;
    let credentials = [("client_id", "sim-client"), ("client_secret", "sim-secret"), ("refresh_token", "sim-refresh")];
    let mut reader = Reader::new(&simulator, "zendesk", &[("subdomain", "sim")], &credentials);
    // The token address is on the subdomain, which only the simulator's own address stands for here.
    let address = format!("{}/oauth/tokens", simulator.address("zendesk"));
    let Auth::OneOf { options, .. } = &mut reader.source.auth else { panic!("one way in only") };
    for option in options {
        if let Auth::Oauth2 { token_url, .. } = option {
            assert_eq!(token_url, "https://{subdomain}.zendesk.com/oauth/tokens");
            *token_url = address.clone();
        }
    }
    let token = oauth::exchange(&reader.account(), &ClientPool::new(), &Stats::default()).await.unwrap();
    assert!(token.new_refresh_token.is_some(), "each is good once");
    let again = oauth::exchange(&reader.account(), &ClientPool::new(), &Stats::default()).await.unwrap_err();
    assert!(matches!(again, SyncError::AuthRejected { .. }), "{again:?}");
    let access = [("access_token", token.token.expose())];
    let mut reader = Reader::new(&simulator, "zendesk", &[("subdomain", "sim")], &access);
    reader.refresh_well(&["users"]).await;
    assert!(reader.agrees(&simulator, "users", &[]).await > 0);
}

#[tokio::test]
async fn an_export_whose_cursor_died_asks_for_a_full_reading() {
    let simulator = desk().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["tickets"]).await;
    let body = json!({"error": "InvalidCursor", "description": "The cursor is invalid"}).to_string();
    let fault = json!({"kind": "status", "status": 400, "body": body, "match": {"contains": "cursor="}, "times": 1});
    simulator.post("/zendesk/faults", fault).await;
    let failed = reader.refresh(&["tickets"]).await;
    assert!(matches!(failed["tickets"], SyncError::CursorExpired { .. }), "{failed:?}");
}

/// Zendesk says in seconds when to come back; the call is made again then.
#[tokio::test]
async fn a_spent_minute_is_waited_for() {
    let simulator = desk().await;
    let fault = json!({"kind": "status", "status": 429, "body": "{\"error\": \"APIRateLimitExceeded\"}",
        "headers": {"ratelimit-reset": "1"}, "match": {"contains": "incremental/users"}, "times": 1});
    simulator.post("/zendesk/faults", fault).await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["users"]).await;
    assert!(reader.agrees(&simulator, "users", &[]).await > 0);
}

/// The exports demand a first bound, also of a live query.
#[tokio::test]
async fn live_queries_show_what_is_stored() {
    let simulator = desk().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    all_show_what_is_stored(&reader, &[]).await;
    for name in reader.collection_names() {
        assert_eq!(reader.calls_of_one_row(&simulator, &name).await, 1, "{name}");
    }
}

#[tokio::test]
async fn each_collection_is_checked_by_one_call() {
    let simulator = desk().await;
    let refusal = |name: &str| {
        let denied = match name {
            // Metrics come with the tickets.
            "ticket_metrics" => "tickets",
            "attachments" => "attachments",
            name => name,
        };
        Refusal {
            collection: leaked(name),
            denied: leaked(denied),
            words: "You do not have access to this page",
            missing: None,
        }
    };
    each_collection_is_checked(&simulator, &reader(&simulator), |_| 1, refusal).await;
    // An agent is told which exports want an admin, and a plan what it lacks.
    simulator.post("/zendesk/config", json!({"role": "agent", "plan": "team"})).await;
    let reader = reader(&simulator);
    for (name, is_fine) in [("users", false), ("ticket_comments", false), ("groups", true)] {
        assert_eq!(reader.check(&simulator, name).await.0.is_ok(), is_fine, "{name}");
    }
    let forms = reader.check(&simulator, "ticket_forms").await.0;
    assert!(matches!(forms, Err(SyncError::Unsupported { .. })), "{forms:?}");
    let mut wrong = Reader::new(&simulator, "zendesk", &[("subdomain", "sim")], &[("access_token", "other-token")]);
    bad_credentials_cost_one_call(&simulator, &mut wrong, "other-token").await;
}

fn leaked(text: &str) -> &'static str {
    Box::leak(text.to_string().into_boxed_str())
}

/// Three tables share the export of ticket events, and two of them ask for the text of comments in it.
#[tokio::test]
async fn what_one_of_a_group_may_not_have_stops_only_that() {
    let simulator = desk().await;
    let group = ["attachments", "ticket_comments", "ticket_events"];
    let mut reader = reader(&simulator);
    for _ in 0..2 {
        simulator.post("/zendesk/config", json!({"denied": ["ticket_comments"]})).await;
        simulator.forget_requests("zendesk").await;
        let failed = reader.refresh(&group).await;
        assert_eq!(failed.keys().collect::<Vec<_>>(), ["attachments", "ticket_comments"], "{failed:?}");
        assert!(failed.values().all(|error| matches!(error, SyncError::AccessDenied { .. })), "{failed:?}");
        assert!(reader.agrees(&simulator, "ticket_events", &BUT).await > 0);
        assert_eq!(simulator.requests("zendesk").await.len(), 4, "together, then each by itself");
        // Later runs have a checkpoint of one of the three only.
        simulator.post("/zendesk/config", json!({"denied": []})).await;
        reader.refresh_well(&group).await;
        assert!(reader.agrees(&simulator, "ticket_comments", &[]).await > 0);
        assert!(reader.agrees(&simulator, "attachments", &[]).await > 0);
    }
}
