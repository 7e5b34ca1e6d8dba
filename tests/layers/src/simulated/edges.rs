//! Ties on a cursor and edges of windows: many records of one stamp across pages, more of it once the cursor has it, and
//! what lies on the bound of two windows. Nothing is missed, and nothing counts twice.

use super::{Reader, Simulator};
use serde_json::{json, Value};

/// Loads collections whose newest records share a stamp, five to a page; then as many more come with that very stamp.
async fn ties_are_crossed(simulator: &Simulator, mut reader: Reader, collections: &[&str], until: Value) {
    let app = reader.app().to_string();
    simulator.post(&format!("/{app}/config"), json!({"page_size": 5})).await;
    for round in 0..3 {
        let mut seed = json!({"ties": 13, "until": until});
        for name in collections {
            seed[*name] = json!(13);
        }
        simulator.post(&format!("/{app}/seed"), seed).await;
        reader.refresh_well(collections).await;
        for name in collections {
            let found = reader.agrees(simulator, name, &["via", "via_reference_id"]).await;
            assert!(found >= 13 * (round + 1), "{name}: {found}");
        }
    }
}

fn seconds_ago(seconds: i64) -> Value {
    json!(chrono::Utc::now().timestamp() - seconds)
}

#[tokio::test]
async fn zendesk() {
    let simulator = Simulator::start();
    simulator
        .post("/zendesk/config", json!({"export_per_minute": 0, "calls_per_minute": 0, "activity_days": 10_000}))
        .await;
    let login = [("email", "agent@sim.example"), ("api_token", "sim-token")];
    let reader = Reader::new(&simulator, "zendesk", &[("subdomain", "sim")], &login);
    let collections =
        ["users", "tickets", "organizations", "satisfaction_ratings", "audit_logs", "ticket_skips", "activities"];
    ties_are_crossed(&simulator, reader, &collections, seconds_ago(600)).await;
}

#[tokio::test]
async fn hubspot() {
    let simulator = Simulator::start();
    let reader = Reader::new(&simulator, "hubspot", &[], &[("access_token", "pat-na1-simulated")]);
    let collections = ["companies", "contacts", "deals", "contact_lists"];
    ties_are_crossed(&simulator, reader, &collections, seconds_ago(600)).await;
}

#[tokio::test]
async fn intercom() {
    let simulator = Simulator::start();
    let reader = Reader::new(&simulator, "intercom", &[], &[("access_token", "sim-intercom-token")]);
    ties_are_crossed(&simulator, reader, &["users", "contacts", "companies"], seconds_ago(600)).await;
}

#[tokio::test]
async fn intercom_conversations() {
    let simulator = Simulator::start();
    simulator.post("/intercom/seed", json!({"admins": 2, "users": 5})).await;
    let reader = Reader::new(&simulator, "intercom", &[], &[("access_token", "sim-intercom-token")]);
    ties_are_crossed(&simulator, reader, &["conversations"], seconds_ago(600)).await;
}

#[tokio::test]
async fn mailchimp() {
    let simulator = Simulator::start();
    simulator.post("/mailchimp/seed", json!({"lists": 2})).await;
    let key = [("api_key", "0123456789abcdef0123456789abcdef-us6")];
    let reader = Reader::new(&simulator, "mailchimp", &[], &key);
    ties_are_crossed(&simulator, reader, &["list_members", "campaigns"], seconds_ago(600)).await;
}

/// The second page is held back while records of the first change and others come and go: the run that is under way may miss
/// them, the next one may not.
async fn changes_in_the_midst(simulator: &Simulator, mut reader: Reader, collection: &str, change: Value, held: Value) {
    let app = reader.app().to_string();
    simulator.post(&format!("/{app}/config"), json!({"page_size": 5})).await;
    for is_first_load in [true, false] {
        if !is_first_load {
            // Enough for several pages of changes.
            for id in simulator.ids(&app, collection, false).await.iter().take(14) {
                simulator.patch(&format!("/{app}/{collection}/{id}"), change.clone()).await;
            }
        }
        let gate = simulator.post(&format!("/{app}/gates"), held.clone()).await["id"].clone();
        let meanwhile = async {
            simulator.get(&format!("/gates/{gate}?wait_for=1")).await;
            let ids = simulator.ids(&app, collection, false).await;
            for id in [&ids[0], &ids[7], &ids[ids.len() - 1]] {
                simulator.patch(&format!("/{app}/{collection}/{id}"), change.clone()).await;
            }
            simulator.post(&format!("/{app}/{collection}"), json!({})).await;
            simulator.post(&format!("/gates/{gate}/release"), json!({})).await;
        };
        let names = [collection];
        tokio::join!(meanwhile, reader.refresh_well(&names));
        if app == "zendesk" {
            // Exports leave out the last minute.
            simulator.post("/clock", json!({"offset_seconds": if is_first_load { 200 } else { 400 }})).await;
        }
        reader.refresh_well(&[collection]).await;
        assert!(reader.agrees(simulator, collection, &[]).await > 20, "{collection}");
    }
}

#[tokio::test]
async fn what_changes_while_pages_are_read_is_not_missed() {
    for (app, collection, seed, options, credentials, change) in [
        (
            "zendesk",
            "users",
            json!({"users": 23, "until": seconds_ago(4000)}),
            &[("subdomain", "sim")][..],
            &[("email", "agent@sim.example"), ("api_token", "sim-token")][..],
            json!({"name": "Zoë"}),
        ),
        (
            "hubspot",
            "companies",
            json!({"companies": 23}),
            &[],
            &[("access_token", "pat-na1-simulated")],
            json!({"name": "Zoë"}),
        ),
        (
            "intercom",
            "users",
            json!({"users": 23}),
            &[],
            &[("access_token", "sim-intercom-token")],
            json!({"name": "Zoë"}),
        ),
        (
            "mailchimp",
            "list_members",
            json!({"lists": 1, "list_members": 23}),
            &[],
            &[("api_key", "0123456789abcdef0123456789abcdef-us6")],
            json!({"merge_fields": {"FNAME": "Zoë"}}),
        ),
        ("stripe", "customers", json!({"customers": 23}), &[], &[("api_key", "sk_test_sim")], json!({"name": "Zoë"})),
    ] {
        let simulator = Simulator::start();
        if app == "zendesk" {
            simulator.post("/zendesk/config", json!({"export_per_minute": 0, "calls_per_minute": 0})).await;
        }
        simulator.post(&format!("/{app}/seed"), seed).await;
        let reader = Reader::new(&simulator, app, options, credentials);
        let held = json!({"match": {"skip": if app == "mailchimp" { 2 } else { 1 }}, "where": "headers", "times": 1});
        changes_in_the_midst(&simulator, reader, collection, change, held).await;
    }
}

/// A month at most is asked for at once: what lies on the edge of two months is in both, and counts once.
#[tokio::test]
async fn events_on_the_edge_of_two_windows_are_there_once() {
    const DAY: i64 = 86_400;
    let simulator = Simulator::start();
    let begin = (chrono::Utc::now().timestamp() / DAY - 75) * DAY;
    let day = chrono::DateTime::from_timestamp(begin, 0).unwrap().format("%Y-%m-%d").to_string();
    let token = [("access_token", "pat-na1-simulated")];
    let mut reader = Reader::new(&simulator, "hubspot", &[("start_date", &day)], &token);
    let mut edges = Vec::new();
    for month in 0..3 {
        for around_ms in [-1, 0, 1] {
            edges.push((begin + month * 30 * DAY) * 1000 + around_ms);
        }
    }
    for at in &edges {
        simulator.post("/hubspot/email_events", json!({"created": at})).await;
    }
    reader.refresh_well(&["email_events"]).await;
    let mut found: Vec<i64> = Vec::new();
    for key in reader.tables["email_events"].keys(false) {
        found.push(reader.cell("email_events", &key, "created").as_i64().unwrap() / 1000);
    }
    found.sort();
    // The very first lies before the day that was set.
    assert_eq!(found, edges[1..]);
    let shown = reader.scanned_keys("email_events", &[]).await;
    assert_eq!(shown, reader.tables["email_events"].keys(false));
}
