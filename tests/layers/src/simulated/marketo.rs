//! Every collection of Marketo, against the simulator: extracts, the log, deletions, refusals, quotas, and calls.

use super::{all_agree, quiet_run_costs_what_the_page_says, refresh_all, Reader, Simulator};
use crate::error::SyncError;
use crate::extract::sink::{Channel, Sink};
use crate::extract::{self, FilterValue, Mode, Op, Output, ReadRequest};
use serde_json::{json, Value};
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

const LOGIN: [(&str, &str); 2] = [("client_id", "sim-client"), ("client_secret", "sim-secret")];
/// More than one call of the log takes.
const TYPES: &str = "1,2,3,6,7,8,10,11,12,13,22,24,25,32,37,104";
const LEADS: [&str; 1] = ["leads"];
const LOG: [&str; 2] = ["lead_activities", "lead_activity_attributes"];

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// So many days ago, as a setting says it.
fn days_ago(days: i64) -> String {
    crate::extract::time::to_iso_ms((now_s() - days * 86_400) * 1_000_000)
}

fn reader_since(simulator: &Simulator, days: i64) -> Reader {
    let start = days_ago(days);
    let options = [
        ("munchkin_id", "123-ABC-456"),
        ("activity_type_ids", TYPES),
        ("export_poll_seconds", "0"),
        ("start_date", start.as_str()),
    ];
    Reader::new(simulator, "marketo", &options, &LOGIN).with_tokens_of_the_app()
}

fn reader(simulator: &Simulator) -> Reader {
    reader_since(simulator, 45)
}

/// An instance with something of everything. The seed ends an hour ago: what is newer is read again by each run.
async fn instance() -> Simulator {
    let simulator = Simulator::start();
    simulator.post("/marketo/config", json!({"export_queue_ms": 20, "export_run_ms": 50})).await;
    let until = now_s() - 3600;
    let people =
        json!({"leads": 40, "lead_activities": 120, "lists": 5, "campaigns": 7, "deleted_percent": 10, "until": until});
    simulator.post("/marketo/seed", people).await;
    let assets = json!({"programs": 9, "email": 12, "landing_pages": 5, "segmentation": 3, "segments": 8,
        "lead_activity_types": 2, "until": until});
    simulator.post("/marketo/seed", assets).await;
    simulator
}

async fn some(simulator: &Simulator, collection: &str, nth: usize) -> String {
    simulator.ids("marketo", collection, false).await[nth].clone()
}

async fn paths(simulator: &Simulator) -> Vec<String> {
    let requests = simulator.requests("marketo").await;
    requests.iter().map(|request| request["path"].as_str().unwrap().to_string()).collect()
}

/// A refusal of Marketo's: HTTP 200 and a code.
fn refusal(code: &str, message: &str) -> Value {
    json!({"requestId": "x", "success": false, "errors": [{"code": code, "message": message}]})
}

async fn refuse(simulator: &Simulator, code: &str, message: &str, matcher: Value, times: u64) {
    let fault =
        json!({"kind": "status", "status": 200, "body": refusal(code, message), "match": matcher, "times": times});
    simulator.post("/marketo/faults", fault).await;
}

#[tokio::test]
async fn a_first_load_is_the_ledger_by_extracts_and_pages() {
    let simulator = instance().await;
    simulator.post("/marketo/config", json!({"page_size": 3})).await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    all_agree(&reader, &simulator).await;
    let called = paths(&simulator).await;
    let files = called.iter().filter(|path| path.ends_with("file.json")).count();
    assert!(files >= 2, "{called:?}");
    assert!(
        !called.iter().any(|path| path.contains("leadchanges") || path.ends_with("/activities.json")),
        "{called:?}"
    );
    // What an attribute of an activity is, its type says.
    let attributes = &reader.tables["lead_activity_attributes"];
    let (key, _) = attributes.rows.iter().find(|(_, row)| row.cells[2] == json!(1)).unwrap();
    let of_type = reader.cell("lead_activity_attributes", key, "activity_type_attribute_id");
    let name = reader.cell("lead_activity_attributes", key, "name");
    let of_type_key = format!("1:{}", name.as_str().unwrap());
    assert_eq!(reader.cell("lead_activity_type_attributes", &of_type_key, "id"), of_type);
}

#[tokio::test]
async fn changes_and_deletions_are_followed() {
    let simulator = instance().await;
    simulator.post("/marketo/config", json!({"page_size": 3, "activity_stretch": 2})).await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    let (changed, deleted) = (some(&simulator, "leads", 3).await, some(&simulator, "leads", 5).await);
    simulator
        .patch(&format!("/marketo/leads/{changed}"), json!({"city": "Zürich, \"Kreis 5\"", "leadScore": 99}))
        .await;
    simulator.delete(&format!("/marketo/leads/{deleted}")).await;
    for _ in 0..7 {
        simulator.post("/marketo/leads", json!({})).await;
    }
    // Made and gone between two runs.
    let short = simulator.post("/marketo/leads", json!({})).await["id"].to_string();
    simulator.delete(&format!("/marketo/leads/{short}")).await;
    simulator.post("/marketo/lead_activities", json!({"activityTypeId": 104})).await;
    let assets = ["lists", "campaigns", "programs", "email", "landing_pages", "segmentation", "segments"];
    let mut gone = Vec::new();
    for collection in assets {
        let id = some(&simulator, collection, 1).await;
        simulator.patch(&format!("/marketo/{collection}/{id}"), json!({"name": "Renamed"})).await;
        let id = some(&simulator, collection, 2).await;
        simulator.delete(&format!("/marketo/{collection}/{id}")).await;
        gone.push((collection, id));
        simulator.post(&format!("/marketo/{collection}"), json!({})).await;
    }
    refresh_all(&mut reader).await;
    all_agree_but_orphans(&reader, &simulator, &gone).await;
    assert_eq!(reader.cell("leads", &changed, "city"), "Zürich, \"Kreis 5\"");
    assert!(reader.tables["leads"].keys(true).contains(&deleted));
    for (collection, id) in &gone {
        assert!(reader.tables[*collection].keys(true).contains(id), "{collection}");
        simulator.post(&format!("/marketo/{collection}/{id}/undelete"), json!({})).await;
    }
    refresh_all(&mut reader).await;
    all_agree(&reader, &simulator).await;
}

/// Segments of a deleted segmentation are told by nobody, though the simulator still has them.
async fn all_agree_but_orphans(reader: &Reader, simulator: &Simulator, gone: &[(&str, String)]) {
    for name in reader.collection_names() {
        if name != "segments" {
            assert!(reader.agrees(simulator, &name, &[]).await > 0, "{name} is empty");
        }
    }
    let (_, parent) = gone.iter().find(|(collection, _)| *collection == "segmentation").unwrap();
    let parent: i64 = parent.parse().unwrap();
    let place = reader.output("segments").columns.iter().position(|column| column.name == "segmentation_id").unwrap();
    let orphans: Vec<_> = reader.tables["segments"].rows.values().filter(|row| row.cells[place] == parent).collect();
    assert!(!orphans.is_empty() && orphans.iter().all(|row| row.is_deleted), "{orphans:?}");
}

#[tokio::test]
async fn a_quiet_run_costs_its_documented_calls() {
    let simulator = instance().await;
    let mut reader = reader(&simulator);
    reader = with_option(reader, "activity_type_ids", "12,13,32,37");
    refresh_all(&mut reader).await;
    let segments = ("/rest/asset/v1/segmentation/{id}/segments.json", 3);
    quiet_run_costs_what_the_page_says(&simulator, &mut reader, &[segments]).await;
    assert!(!paths(&simulator).await.iter().any(|path| path.contains("/bulk/")));
    // A change is read again by the run behind it, and then no more.
    let lead = some(&simulator, "leads", 0).await;
    simulator.patch(&format!("/marketo/leads/{lead}"), json!({"city": "Oslo"})).await;
    reader.refresh_well(&LEADS).await;
    simulator.post("/clock", json!({"offset_seconds": 1200})).await;
    reader.refresh_well(&LEADS).await;
    simulator.forget_requests("marketo").await;
    reader.refresh_well(&LEADS).await;
    assert_eq!(paths(&simulator).await.len(), 3, "{:?}", paths(&simulator).await);
    reader.agrees(&simulator, "leads", &[]).await;
}

fn with_option(reader: Reader, name: &str, value: &str) -> Reader {
    let mut reader = reader;
    reader.set_option(name, value);
    reader
}

/// Marketo writes its log late: the overlap finds what was not there yet.
#[tokio::test]
async fn what_the_log_shows_late_is_not_lost() {
    let simulator = instance().await;
    let mut reader = reader(&simulator);
    let names = ["leads", "lead_activities", "lead_activity_attributes"];
    reader.refresh_well(&names).await;
    simulator.post("/marketo/config", json!({"late_visibility_ms": 120_000})).await;
    let lead = simulator.post("/marketo/leads", json!({})).await["id"].to_string();
    simulator.post("/clock", json!({"offset_seconds": 60})).await;
    reader.refresh_well(&names).await;
    assert!(!reader.tables["leads"].rows.contains_key(&lead), "it is shown already");
    simulator.post("/clock", json!({"offset_seconds": 200})).await;
    reader.refresh_well(&names).await;
    for name in names {
        reader.agrees(&simulator, name, &[]).await;
    }
    assert!(reader.tables["leads"].keys(false).contains(&lead));
}

#[tokio::test]
async fn what_is_not_permitted_stops_nothing_else() {
    let simulator = instance().await;
    let names = reader(&simulator).collection_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (denied, refused) in [
        ("leads", &["leads"][..]),
        ("email", &["email"][..]),
        ("segmentation", &["segmentation", "segments"][..]),
        ("lead_activities", &["lead_activities", "lead_activity_attributes"][..]),
    ] {
        simulator.post("/marketo/config", json!({"denied": [denied]})).await;
        let mut reader = reader(&simulator);
        let failed = reader.refresh(&names).await;
        assert_eq!(failed.keys().map(String::as_str).collect::<Vec<_>>(), refused);
        for (name, error) in &failed {
            let is_right = matches!(error, SyncError::AccessDenied { detail, .. } if detail == "Access denied");
            assert!(is_right, "{name}: {error:?}");
            let collection = reader.source.collection(name).unwrap().clone();
            let checked = extract::check(&reader.client(), Some(&collection)).await.unwrap_err();
            assert!(matches!(checked, SyncError::AccessDenied { .. }), "{name}: {checked:?}");
        }
        for name in names.iter().filter(|name| !refused.contains(name)) {
            reader.agrees(&simulator, name, &[]).await;
        }
    }
    simulator.post("/marketo/config", json!({"denied": []})).await;
    let reader = reader(&simulator);
    for name in &names {
        let collection = reader.source.collection(name).unwrap().clone();
        simulator.forget_requests("marketo").await;
        extract::check(&reader.client(), Some(&collection)).await.unwrap();
        let called = paths(&simulator).await;
        // What is below a parent needs one to ask about.
        let want = if *name == "segments" { 2 } else { 1 };
        assert_eq!(called.iter().filter(|path| !path.contains("/identity/")).count(), want, "{name}: {called:?}");
    }
}

#[tokio::test]
async fn a_bad_credential_is_told_after_one_call() {
    let simulator = instance().await;
    let options = [("munchkin_id", "123-ABC-456")];
    let good = Reader::new(&simulator, "marketo", &options, &LOGIN).with_tokens_of_the_app();
    extract::check(&good.client(), None).await.unwrap();
    for wrong in [[LOGIN[0], ("client_secret", "other")], [("client_id", "other"), LOGIN[1]]] {
        simulator.forget_requests("marketo").await;
        let reader = Reader::new(&simulator, "marketo", &options, &wrong).with_tokens_of_the_app();
        let refused = extract::check(&reader.client(), None).await.unwrap_err();
        assert!(matches!(refused, SyncError::AuthRejected { status: 401, .. }), "{refused:?}");
        assert_eq!(paths(&simulator).await.len(), 1);
        assert!(!format!("{refused:?}").contains("other"), "the credential is told: {refused:?}");
    }
}

/// 601 and 602 come in replies of status 200: the token is renewed once.
#[tokio::test]
async fn a_token_that_ends_is_renewed_once() {
    let simulator = instance().await;
    let mut reader = reader(&simulator);
    refuse(&simulator, "602", "Access token expired", json!({"contains": "lists.json"}), 1).await;
    reader.refresh_well(&["lists"]).await;
    reader.agrees(&simulator, "lists", &[]).await;
    let lists = paths(&simulator).await.iter().filter(|path| path.ends_with("lists.json")).count();
    assert_eq!(lists, 2);
    refuse(&simulator, "601", "Access token invalid", json!({"contains": "lists.json"}), 0).await;
    let failed = reader.refresh(&["lists"]).await;
    assert!(matches!(failed["lists"], SyncError::AuthRejected { .. }), "{failed:?}");
}

#[tokio::test]
async fn the_days_quota_ends_the_run() {
    let simulator = instance().await;
    let mut reader = reader(&simulator);
    refuse(&simulator, "607", "Daily quota '50000' reached", json!({"contains": "campaigns.json"}), 1).await;
    let failed = reader.refresh(&["campaigns"]).await;
    let SyncError::RateLimited { until: Some(until), .. } = &failed["campaigns"] else { panic!("{failed:?}") };
    let wait = until.duration_since(SystemTime::now()).unwrap().as_secs();
    let midnight = 86_400 - (now_s() - 6 * 3600).rem_euclid(86_400);
    assert!((wait as i64 - midnight).abs() < 5, "{wait} instead of {midnight}");
    // Too many at once, or in 20 seconds, is waited for.
    refuse(&simulator, "615", "Concurrent access limit reached", json!({"contains": "campaigns.json"}), 1).await;
    reader.refresh_well(&["campaigns"]).await;
    reader.agrees(&simulator, "campaigns", &[]).await;
}

/// Where the user may not make extracts, the log stands in for them and says so.
#[tokio::test]
async fn without_extracts_the_log_is_read() {
    let simulator = instance().await;
    refuse(&simulator, "603", "Access denied", json!({"contains": "/bulk/v1/"}), 0).await;
    let mut reader = reader(&simulator);
    for names in [&LEADS[..], &LOG] {
        reader.refresh_well(names).await;
        let is_told = reader.notes.iter().any(|note| note.contains("no bulk extract (Access denied)"));
        assert!(is_told, "{names:?}: {:?}", reader.notes);
        for name in names {
            reader.agrees(&simulator, name, &[]).await;
        }
    }
    // Absence has to mean something: a reconcile does not make do with the log.
    let output = Output { checkpoint: None, ..reader.output("leads") };
    let request = ReadRequest { outputs: vec![output], mode: Mode::Keys };
    let sink = Sink::new(Channel::new(1 << 30, Box::new(|| {})));
    let refused = extract::read(&reader.client(), request, &sink).await.unwrap_err();
    assert!(matches!(refused, SyncError::AccessDenied { .. }), "{refused:?}");
}

/// The quota of extracts defers their collections; what was begun is stored, and the next run goes on behind it.
#[tokio::test]
async fn a_spent_export_quota_defers_and_is_taken_up_again() {
    let simulator = instance().await;
    simulator.post("/marketo/config", json!({"export_daily_bytes": 1})).await;
    let mut reader = reader_since(&simulator, 300);
    let failed = reader.refresh(&LEADS).await;
    let SyncError::Deferred { until: Some(_), detail } = &failed["leads"] else { panic!("{failed:?}") };
    assert!(detail.contains("Export daily quota"), "{detail}");
    let position = reader.position.clone().unwrap();
    assert!(position["extracts"]["jobs"].as_object().unwrap().is_empty(), "{position}");
    // Nothing more than its word is asked of a quota that is still spent.
    simulator.forget_requests("marketo").await;
    let failed = reader.refresh_from(&LEADS, Some(position.clone())).await;
    assert!(matches!(failed["leads"], SyncError::Deferred { .. }), "{failed:?}");
    assert_eq!(paths(&simulator).await.iter().filter(|path| path.contains("/bulk/")).count(), 1);
    simulator.post("/marketo/config", json!({"export_daily_bytes": 500_000_000})).await;
    simulator.forget_requests("marketo").await;
    let failed = reader.refresh_from(&LEADS, Some(position)).await;
    assert!(failed.is_empty(), "{failed:?}");
    reader.agrees(&simulator, "leads", &[]).await;
    let created = paths(&simulator).await.iter().filter(|path| path.ends_with("create.json")).count();
    assert_eq!(created, 10 - 4, "windows that are stored are not read again");
}

/// A run that was stopped while jobs were under way goes on with them; one that is gone is made again.
#[tokio::test]
async fn jobs_outlive_the_run_that_made_them() {
    let simulator = instance().await;
    let mut reader = reader(&simulator);
    refuse(&simulator, "610", "Requested resource not found", json!({"contains": "status.json"}), 0).await;
    let failed = reader.refresh(&LEADS).await;
    assert!(matches!(failed["leads"], SyncError::Unavailable { .. }), "{failed:?}");
    let position = reader.position.clone().unwrap();
    assert_eq!(position["extracts"]["jobs"].as_object().unwrap().len(), 2, "{position}");
    simulator.delete("/marketo/faults").await;
    simulator.forget_requests("marketo").await;
    let failed = reader.refresh_from(&LEADS, Some(position)).await;
    assert!(failed.is_empty(), "{failed:?}");
    reader.agrees(&simulator, "leads", &[]).await;
    assert!(!paths(&simulator).await.iter().any(|path| path.ends_with("create.json")));
}

#[tokio::test]
async fn a_full_queue_is_waited_for_and_a_failed_job_made_again() {
    let simulator = instance().await;
    let mut reader = reader(&simulator);
    refuse(&simulator, "1029", "Too many jobs in queue", json!({"contains": "enqueue.json"}), 3).await;
    reader.refresh_well(&LEADS).await;
    reader.agrees(&simulator, "leads", &[]).await;
    simulator.post("/marketo/config", json!({"export_failure": "Internal error"})).await;
    let failed = reader.refresh(&LOG).await;
    let SyncError::Unavailable { detail, .. } = &failed["lead_activities"] else { panic!("{failed:?}") };
    assert!(detail.contains("Internal error"), "{detail}");
    let called = paths(&simulator).await;
    let made = called.iter().filter(|path| path.contains("activities/export/create")).count();
    assert_eq!(made, 2 + 2, "each job that failed is made again once");
}

#[tokio::test]
async fn custom_fields_are_found_and_hidden_ones_are_left_out() {
    let simulator = instance().await;
    let field = json!({"dataType": "score", "displayName": "Shoe Size"});
    simulator.post("/marketo/fields/shoeSize__c", field).await;
    let mut reader = reader(&simulator);
    let leads = reader.source.collection("leads").unwrap().clone();
    let described = extract::describe(&reader.client(), &leads, None).await.unwrap().unwrap();
    let found = described.columns.iter().find(|column| column.field == "/shoeSize__c").unwrap();
    assert_eq!((found.name.as_str(), found.type_name.as_str()), ("shoe_size_c", "bigint"));
    assert_eq!(described.columns.len(), leads.columns.len() + 1, "{:?}", described.columns);
    let column = json!({"name": found.name, "type": found.type_name, "field": found.field});
    let place = reader.source.collections.iter().position(|c| c.name == "leads").unwrap();
    reader.source.collections[place].columns.push(serde_json::from_value(column).unwrap());
    simulator.delete("/marketo/fields/leadRole").await;
    let lead = some(&simulator, "leads", 1).await;
    simulator.patch(&format!("/marketo/leads/{lead}"), json!({"shoeSize__c": 43})).await;
    reader.refresh_well(&LEADS).await;
    assert_eq!(reader.cell("leads", &lead, "shoe_size_c"), 43);
    assert!(reader.notes.iter().any(|note| note.contains("leadRole")), "{:?}", reader.notes);
    let orders = simulator.requests("marketo").await;
    assert!(orders.iter().any(|request| request["path"].as_str().unwrap().ends_with("create.json")));
    // updatedAt does not move with a custom field, and the log tells of it all the same.
    simulator.patch(&format!("/marketo/leads/{lead}"), json!({"shoeSize__c": 44})).await;
    simulator.delete("/marketo/fields/rating").await;
    reader.refresh_well(&LEADS).await;
    assert_eq!(reader.cell("leads", &lead, "shoe_size_c"), 44);
    reader.agrees(&simulator, "leads", &["lead_role", "rating"]).await;
}

#[tokio::test]
async fn a_lead_that_left_no_trace_is_found_by_a_reconcile() {
    let simulator = instance().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&LEADS).await;
    let lead = some(&simulator, "leads", 4).await;
    simulator.delete(&format!("/marketo/leads/{lead}?hard=true")).await;
    reader.refresh_well(&LEADS).await;
    assert!(reader.tables["leads"].keys(false).contains(&lead), "no log tells of it");
    reader.reconcile(&LEADS).await;
    reader.agrees(&simulator, "leads", &[]).await;
}

/// Log entries of one second, and more of them than a page holds.
#[tokio::test]
async fn ties_are_crossed_without_a_loss_or_a_double() {
    let simulator = instance().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&LOG).await;
    simulator.post("/marketo/config", json!({"page_size": 2})).await;
    for _ in 0..9 {
        simulator.post("/marketo/lead_activities", json!({"activityTypeId": 10})).await;
    }
    reader.refresh_well(&LOG).await;
    simulator.post("/marketo/lead_activities", json!({"activityTypeId": 11})).await;
    reader.refresh_well(&LOG).await;
    for name in LOG {
        reader.agrees(&simulator, name, &[]).await;
    }
}

#[tokio::test]
async fn a_live_query_asks_for_what_it_needs() {
    let simulator = instance().await;
    let reader = reader(&simulator);
    extract::check(&reader.client(), None).await.unwrap();
    for name in reader.collection_names() {
        let calls = reader.calls_of_one_row(&simulator, &name).await;
        let most = match name.as_str() {
            // The token of the log, its first entries, and the leads they name.
            "leads" => 3,
            "lead_activities" | "lead_activity_attributes" => 2,
            // Below all parents of a page.
            "segments" => 4,
            _ => 1,
        };
        assert!(calls <= most, "{name}: {calls}");
    }
    for name in reader.collection_names() {
        let there: BTreeSet<String> = simulator.ids("marketo", &name, false).await.into_iter().collect();
        assert_eq!(reader.scanned_keys(&name, &[]).await, there, "{name}");
    }
    let lead = some(&simulator, "leads", 2).await;
    simulator.forget_requests("marketo").await;
    let by_id = [("id", Op::Eq, FilterValue::Int(lead.parse().unwrap()))];
    assert_eq!(reader.scanned_keys("leads", &by_id).await, BTreeSet::from([lead.clone()]));
    assert_eq!(paths(&simulator).await.len(), 1, "the lead alone");
    let ledger = simulator.ledger("marketo", "leads").await;
    let email =
        ledger.iter().find(|row| row["id"] == lead.as_str()).unwrap()["record"]["email"].as_str().unwrap().to_string();
    let by_email = [("email", Op::Eq, FilterValue::Text(email))];
    assert!(reader.scanned_keys("leads", &by_email).await.contains(&lead));
    let mut activities = simulator.ledger("marketo", "lead_activities").await;
    activities.retain(|row| row["deleted"] == false);
    let of_type = |row: &&Value| row["record"]["activityTypeId"] == 10;
    let by_type = [("activity_type_id", Op::Eq, FilterValue::Int(10))];
    let found = reader.scanned_keys("lead_activities", &by_type).await;
    assert_eq!(found.len(), activities.iter().filter(of_type).count());
    let of_lead = [("lead_id", Op::Eq, FilterValue::Int(lead.parse().unwrap()))];
    let found = reader.scanned_keys("lead_activities", &of_lead).await;
    let wanted = activities.iter().filter(|row| row["record"]["leadId"] == lead.parse::<i64>().unwrap()).count();
    assert_eq!(found.len(), wanted);
    let since = crate::extract::time::parse_iso(&days_ago(1)).unwrap();
    let late = [("activity_date", Op::Ge, FilterValue::Timestamp(since))];
    let at = |row: &Value| crate::extract::time::parse_iso(row["record"]["activityDate"].as_str().unwrap()).unwrap();
    let wanted = activities.iter().filter(|row| at(row) >= since).count();
    let found = reader.scanned_keys("lead_activities", &late).await;
    assert!(found.len() == wanted && wanted < activities.len(), "{} of {wanted}", found.len());
}
