//! Every collection of Twilio, against the simulator: first load, changes, deletions, what comes late, refusals, and calls.

use super::scans::all_show_what_is_stored;
use super::{quiet_run_costs_what_the_page_says, what_is_gone_comes_back, Reader, Simulator};
use crate::error::SyncError;
use crate::extract::{self, time, FilterValue, Op};
use serde_json::{json, Value};

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const TOKEN: &str = "sim-auth-token";
const LISTED: [&str; 5] = ["addresses", "calls", "conferences", "messages", "transcriptions"];
const DAY_US: i64 = 86_400 * 1_000_000;

fn reader(simulator: &Simulator) -> Reader {
    Reader::new(simulator, "twilio", &[], &[("account_sid", ACCOUNT), ("auth_token", TOKEN)])
}

/// An account whose newest records are of today, an hour apart.
async fn account() -> Simulator {
    let simulator = Simulator::start();
    let seed = json!({"addresses": 9, "calls": 150, "conferences": 26, "transcriptions": 31, "messages": 140,
        "until": "now"});
    simulator.post("/twilio/seed", seed).await;
    simulator
}

async fn all_agree(reader: &Reader, simulator: &Simulator) {
    for name in LISTED {
        assert!(reader.agrees(simulator, name, &[]).await > 0, "{name} is empty");
    }
}

/// The sids of a collection, the newest first.
async fn newest_first(simulator: &Simulator, collection: &str, field: &str) -> Vec<String> {
    let mut rows: Vec<(i64, String)> = Vec::new();
    for row in simulator.ledger("twilio", collection).await {
        let at = time::parse_rfc2822(row["record"][field].as_str().unwrap()).unwrap();
        rows.push((-at, row["id"].as_str().unwrap().to_string()));
    }
    rows.sort();
    rows.into_iter().map(|(_, sid)| sid).collect()
}

/// What was asked of a list: its query, decoded.
async fn queries(simulator: &Simulator, list: &str) -> Vec<String> {
    let requests = simulator.requests("twilio").await;
    let of_list = requests.iter().filter(|request| request["path"].as_str().unwrap().ends_with(list));
    of_list.map(|request| request["query"].as_str().unwrap_or_default().to_string()).collect()
}

#[tokio::test]
async fn a_first_load_is_the_ledger_page_by_page() {
    for page_size in [0, 7] {
        let simulator = account().await;
        simulator.post("/twilio/config", json!({"page_size": page_size})).await;
        let mut reader = reader(&simulator);
        reader.refresh_well(&LISTED).await;
        all_agree(&reader, &simulator).await;
    }
}

#[tokio::test]
async fn changes_deletions_and_returns_are_followed() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&LISTED).await;
    for round in 0..2 {
        for (collection, field, change) in [
            ("addresses", "date_created", json!({"city": format!("Town {round}")})),
            ("calls", "start_time", json!({"price": format!("-0.0{round}"), "price_unit": "EUR"})),
            ("conferences", "date_created", json!({"status": "completed", "friendly_name": format!("Room {round}")})),
            ("messages", "date_sent", json!({"status": "undelivered", "error_code": 30003 + round})),
            ("transcriptions", "date_created", json!({"transcription_text": format!("Zoë {round}")})),
        ] {
            let newest = newest_first(&simulator, collection, field).await;
            // The price of a call, and the state of a message, come when others have followed.
            simulator.patch(&format!("/twilio/{collection}/{}", newest[5 + round]), change.clone()).await;
            if collection != "calls" && collection != "messages" {
                simulator.patch(&format!("/twilio/{collection}/{}", newest[newest.len() - 1 - round]), change).await;
            }
            simulator.post(&format!("/twilio/{collection}"), json!({})).await;
        }
        reader.refresh_well(&LISTED).await;
        all_agree(&reader, &simulator).await;
    }
    let mut gone = Vec::new();
    for collection in ["addresses", "transcriptions"] {
        let sid = simulator.ids("twilio", collection, false).await[3].clone();
        simulator.delete(&format!("/twilio/{collection}/{sid}")).await;
        gone.push((collection, sid));
    }
    reader.refresh_well(&LISTED).await;
    all_agree(&reader, &simulator).await;
    what_is_gone_comes_back(&simulator, &mut reader, &LISTED, &gone).await;
    all_agree(&reader, &simulator).await;
}

/// Days in the name of a parameter that ends in an operator, 3 days before the newest record, or the newest change.
#[tokio::test]
async fn what_is_asked_for_is_the_days_before_the_newest() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&LISTED).await;
    for (list, collection, field, param, back) in [
        ("/Calls.json", "calls", "start_time", "StartTime", 3),
        ("/Messages.json", "messages", "date_sent", "DateSent", 3),
        ("/Conferences.json", "conferences", "date_updated", "DateUpdated", 0),
    ] {
        let first = queries(&simulator, list).await;
        assert!(first.iter().all(|query| !query.contains(param)), "a first load has no bound: {first:?}");
        simulator.forget_requests("twilio").await;
        reader.refresh_well(&LISTED).await;
        let newest = newest_first(&simulator, collection, field).await[0].clone();
        let newest = reader.cell(collection, &newest, field).as_i64().unwrap();
        // An hour before a change that came just after midnight is the day before.
        let from = newest - back * DAY_US - if back == 0 { DAY_US / 24 } else { 0 };
        let day = time::to_iso_ms(from)[..10].to_string();
        let asked = queries(&simulator, list).await;
        assert_eq!(asked, [format!("PageSize=1000&{param}>={day}")]);
        simulator.forget_requests("twilio").await;
    }
}

#[tokio::test]
async fn messages_are_not_asked_for_beyond_what_the_app_keeps() {
    let simulator = Simulator::start();
    // The newest message is two years old: the day to ask from would be, too.
    simulator.post("/twilio/seed", json!({"messages": 20, "until": 1_700_000_000})).await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["messages"]).await;
    assert_eq!(reader.agrees(&simulator, "messages", &[]).await, 20);
    simulator.post("/twilio/config", json!({"message_retention_days": 400})).await;
    simulator.post("/twilio/messages", json!({"body": "new"})).await;
    simulator.forget_requests("twilio").await;
    reader.refresh_well(&["messages"]).await;
    assert_eq!(reader.tables["messages"].keys(false).len(), 21, "what the app forgot is kept");
    let asked = queries(&simulator, "/Messages.json").await;
    let day = asked[0].split("DateSent>=").nth(1).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    let floor = i64::try_from(now).unwrap() - 400 * DAY_US;
    assert_eq!(day, &time::to_iso_ms(floor)[..10]);
}

#[tokio::test]
async fn a_deleted_call_is_found_by_a_reconcile() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["calls"]).await;
    let sid = simulator.ids("twilio", "calls", false).await[7].clone();
    simulator.delete(&format!("/twilio/calls/{sid}")).await;
    reader.refresh_well(&["calls"]).await;
    assert!(reader.tables["calls"].keys(false).contains(&sid), "nothing tells of it");
    reader.reconcile(&["calls"]).await;
    reader.agrees(&simulator, "calls", &[]).await;
}

#[tokio::test]
async fn a_quiet_run_costs_its_documented_calls() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&LISTED).await;
    quiet_run_costs_what_the_page_says(&simulator, &mut reader, &[]).await;
    assert_eq!(simulator.requests("twilio").await.len(), 5);
    all_agree(&reader, &simulator).await;
}

#[tokio::test]
async fn a_collection_without_permission_fails_alone() {
    let simulator = account().await;
    simulator.post("/twilio/config", json!({"denied": ["messages"]})).await;
    let mut reader = reader(&simulator);
    let failed = reader.refresh(&LISTED).await;
    assert_eq!(failed.keys().collect::<Vec<_>>(), ["messages"]);
    assert!(
        matches!(&failed["messages"], SyncError::AccessDenied { status: 403, detail, .. } if detail.contains("Permission Denied")),
        "{failed:?}"
    );
    assert!(reader.agrees(&simulator, "calls", &[]).await > 0);
    let collection = |name: &str| reader.source.collection(name).unwrap().clone();
    extract::check(&reader.client(), Some(&collection("calls"))).await.unwrap();
    let refused = extract::check(&reader.client(), Some(&collection("messages"))).await.unwrap_err();
    assert!(matches!(refused, SyncError::AccessDenied { .. }), "{refused:?}");
    let feedback = extract::check(&reader.client(), Some(&collection("call_feedback"))).await.unwrap_err();
    assert!(matches!(feedback, SyncError::Unsupported { .. }), "{feedback:?}");
}

#[tokio::test]
async fn each_way_in_works_and_a_bad_credential_is_told() {
    let simulator = account().await;
    let key = [
        ("account_sid", ACCOUNT),
        ("api_key_sid", "SK0123456789abcdef0123456789abcdef"),
        ("api_key_secret", "sim-key-secret"),
    ];
    let mut by_key = Reader::new(&simulator, "twilio", &[], &key);
    extract::check(&by_key.client(), None).await.unwrap();
    by_key.refresh_well(&["addresses"]).await;
    assert!(by_key.agrees(&simulator, "addresses", &[]).await > 0);
    let mut wrong = Reader::new(&simulator, "twilio", &[], &[("account_sid", ACCOUNT), ("auth_token", "other")]);
    simulator.forget_requests("twilio").await;
    let refused = extract::check(&wrong.client(), None).await.unwrap_err();
    assert!(matches!(refused, SyncError::AuthRejected { status: 401, .. }), "{refused:?}");
    assert_eq!(simulator.requests("twilio").await.len(), 1);
    let failed = wrong.refresh(&["calls"]).await;
    assert!(matches!(failed["calls"], SyncError::AuthRejected { .. }), "{failed:?}");
    // A suspended account is refused with 403, which is nothing that another collection could get around.
    simulator.post("/twilio/config", json!({"account_status": "suspended"})).await;
    let refused = extract::check(&reader(&simulator).client(), None).await.unwrap_err();
    assert!(matches!(refused, SyncError::AuthRejected { status: 403, .. }), "{refused:?}");
}

#[tokio::test]
async fn a_sub_account_is_read_with_the_credentials_of_its_parent() {
    let simulator = account().await;
    let made = simulator.post("/twilio/accounts", json!({"friendly_name": "Branch"})).await;
    let sid = made["sid"].as_str().unwrap();
    let call = simulator.post("/twilio/calls", json!({"account_sid": sid})).await;
    let credentials = [("account_sid", ACCOUNT), ("auth_token", TOKEN)];
    let mut branch = Reader::new(&simulator, "twilio", &[("subaccount_sid", sid)], &credentials);
    branch.refresh_well(&LISTED).await;
    assert_eq!(branch.tables["calls"].keys(false), [call["sid"].as_str().unwrap().to_string()].into());
    let mut own = reader(&simulator);
    own.refresh_well(&["calls"]).await;
    assert_eq!(own.tables["calls"].keys(false).len(), 150);
}

#[tokio::test]
async fn live_queries_are_narrowed_by_the_app() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&LISTED).await;
    all_show_what_is_stored(&reader, &["call_feedback"]).await;
    for name in LISTED {
        assert_eq!(reader.calls_of_one_row(&simulator, name).await, 1, "{name}");
    }
    let newest = newest_first(&simulator, "calls", "start_time").await;
    let text = |text: &str| FilterValue::Text(text.to_string());
    simulator.forget_requests("twilio").await;
    let of_sid = |sid: &str| [("sid", Op::Eq, text(sid))];
    assert_eq!(reader.scanned_keys("calls", &of_sid(&newest[3])).await, [newest[3].clone()].into());
    assert!(reader.scanned_keys("calls", &of_sid("CA0")).await.is_empty());
    assert_eq!(simulator.requests("twilio").await.len(), 2);
    let to = reader.cell("calls", &newest[3], "to").as_str().unwrap().to_string();
    let found = reader.scanned_keys("calls", &[("to", Op::Eq, text(&to))]).await;
    assert!(found.contains(&newest[3]) && found.len() < 5, "{found:?}");
    let at = reader.cell("calls", &newest[3], "start_time").as_i64().unwrap();
    let (before, after) = (FilterValue::Timestamp(at - DAY_US), FilterValue::Timestamp(at));
    let narrow = [("start_time", Op::Ge, before), ("start_time", Op::Le, after)];
    let found = reader.scanned_keys("calls", &narrow).await;
    let inside = |sid: &String| {
        let start = reader.cell("calls", sid, "start_time").as_i64().unwrap();
        (at - DAY_US..=at).contains(&start)
    };
    assert_eq!(
        newest.iter().filter(|sid| inside(sid) && !found.contains(*sid)).count(),
        0,
        "whole days, and all of them"
    );
    assert!(found.len() < 75, "{} of 150", found.len());
}

#[tokio::test]
async fn too_many_requests_at_a_time_are_asked_for_again() {
    let simulator = account().await;
    let body = json!({"code": 20429, "message": "Too Many Requests", "status": 429}).to_string();
    let fault = json!({"kind": "status", "status": 429, "body": body, "match": {"contains": "Calls.json"}, "times": 2});
    simulator.post("/twilio/faults", fault).await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["calls"]).await;
    assert!(reader.agrees(&simulator, "calls", &[]).await > 0);
}

/// Numbers come as texts, and times as e-mails write them.
#[tokio::test]
async fn texts_become_numbers_and_times() {
    let simulator = account().await;
    let given = json!({"duration": "61", "price": "-0.01234", "queue_time": "900", "answered_by": null,
        "start_time": "Fri, 18 Oct 2019 17:00:00 +0000"});
    let made = simulator.post("/twilio/calls", given).await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["calls"]).await;
    let cell = |column: &str| reader.cell("calls", made["sid"].as_str().unwrap(), column);
    assert_eq!((cell("duration"), cell("queue_time"), cell("answered_by")), (json!(61), json!(900), Value::Null));
    assert_eq!((cell("price"), cell("start_time")), (json!(-0.01234), json!(1_571_418_000_000_000_i64)));
}
