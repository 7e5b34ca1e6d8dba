//! Every collection of Facebook Ads, against the simulator: first load, changes that show below without a word, figures by
//! report runs and in ever smaller parts, refusals, live queries, and calls.

use super::rows::wanted;
use super::{quiet_run_costs_what_the_page_says, Reader, Simulator};
use crate::extract::time::parse_date;
use crate::extract::{FilterValue, Op};
use serde_json::{json, Value};
use std::collections::BTreeSet;

pub(super) const ALL: [&str; 5] = ["ad_accounts", "ad_sets", "ads", "campaigns", "insights"];
pub(super) const OBJECTS: [&str; 4] = ["ad_accounts", "ad_sets", "ads", "campaigns"];
pub(super) const US: &str = "100000000000001";
pub(super) const INDIA: &str = "100000000000002";
const DAY: i64 = 86_400;

pub(super) fn reader_with(simulator: &Simulator, options: &[(&str, &str)]) -> Reader {
    Reader::new(simulator, "facebook_ads", options, &[("access_token", "sim-token")])
}

/// A server whose figures begin where the simulator has some: 37 months are thirteen report runs an account.
pub(super) fn reader(simulator: &Simulator) -> Reader {
    reader_with(simulator, &[("start_date", date(today() - 50).as_str())])
}

/// A business with two ad accounts, whose figures end with yesterday: today has not begun everywhere.
pub(super) async fn business() -> Simulator {
    let simulator = Simulator::start();
    let seed = json!({"campaigns": 8, "ad_sets": 12, "ads": 24, "insights": 24 * 36, "deleted_percent": 8, "until": today() * DAY});
    simulator.post("/facebook_ads/seed", seed).await;
    // A run is done at the first look.
    set(&simulator, json!({"run_polls": 0})).await;
    simulator
}

pub(super) async fn set(simulator: &Simulator, config: Value) {
    simulator.post("/facebook_ads/config", config).await;
}

async fn patch(simulator: &Simulator, collection: &str, id: &str, change: Value) {
    simulator.patch(&format!("/facebook_ads/{collection}/{id}"), change).await;
}

pub(super) async fn agrees(reader: &Reader, simulator: &Simulator, name: &str) -> usize {
    if name == "insights" {
        return figures_agree(reader, simulator, "").await;
    }
    let utm = ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"];
    reader.agrees(simulator, name, &utm).await
}

/// The key of a row of figures: its day is a number in our rows.
fn key_of(id: &str) -> String {
    let (before, day) = id.rsplit_once(':').unwrap();
    format!("{before}:{}", parse_date(day).unwrap())
}

/// Compares figures with the ledger, from a day on.
async fn figures_agree(reader: &Reader, simulator: &Simulator, since: &str) -> usize {
    // A new name shows on figures that are read again, and not on older ones.
    let names = ["account_name", "campaign_name", "adset_name", "ad_name", "updated_time"];
    let columns = reader.source.collection("insights").unwrap().columns.clone();
    let (mut there, mut compared) = (BTreeSet::new(), 0);
    for entry in simulator.ledger("facebook_ads", "insights").await {
        if entry["record"]["date_start"].as_str().unwrap() < since {
            continue;
        }
        let key = key_of(entry["id"].as_str().unwrap());
        for column in columns.iter().filter(|column| !names.contains(&column.name.as_str())) {
            let Some(want) = wanted(column, &entry["record"]) else { continue };
            assert_eq!(reader.cell("insights", &key, &column.name), want, "{key} {}", column.name);
            compared += 1;
        }
        there.insert(key);
    }
    assert_eq!(reader.tables["insights"].keys(false), there);
    assert!(compared > there.len() * 20, "only {compared} values were compared");
    there.len()
}

pub(super) async fn all_agree(reader: &Reader, simulator: &Simulator, names: &[&str]) {
    for name in names {
        assert!(agrees(reader, simulator, name).await > 0, "{name} is empty");
    }
}

pub(super) async fn paths(simulator: &Simulator) -> Vec<String> {
    let requests = simulator.requests("facebook_ads").await;
    requests
        .iter()
        .map(|request| format!("{} {}", request["method"].as_str().unwrap(), request["path"].as_str().unwrap()))
        .collect()
}

/// Ids that are there, of the records for which `keep` holds.
async fn ids(simulator: &Simulator, collection: &str, keep: impl Fn(&Value) -> bool) -> Vec<String> {
    let rows = simulator.ledger("facebook_ads", collection).await;
    let there = rows.iter().filter(|row| row["deleted"] == false && keep(&row["record"]));
    there.map(|row| row["id"].as_str().unwrap().to_string()).collect()
}

pub(super) fn today() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64 / DAY
}

pub(super) fn date(day: i64) -> String {
    chrono::DateTime::from_timestamp(day * DAY, 0).unwrap().date_naive().to_string()
}

#[tokio::test]
async fn a_first_load_is_the_ledger_page_by_page() {
    for page_size in [0, 7] {
        let simulator = business().await;
        set(&simulator, json!({"page_size": page_size})).await;
        let gone = simulator.ids("facebook_ads", "ads", true).await;
        assert!(!gone.is_empty());
        let mut reader = reader(&simulator);
        reader.refresh_well(&ALL).await;
        all_agree(&reader, &simulator, &ALL).await;
        assert_eq!(reader.tables["ads"].keys(true), gone.into_iter().collect(), "deleted ads are named, too");
        let ad = reader.tables["ads"].keys(false).pop_first().unwrap();
        let cells = ["utm_source", "utm_medium", "utm_term"].map(|name| reader.cell("ads", &ad, name));
        assert_eq!(cells, [json!("facebook"), json!("paid"), Value::Null]);
        assert!(reader.cell("ads", &ad, "url_parameters").as_str().unwrap().starts_with("utm_source=facebook&"));
        let accounts: BTreeSet<String> = [US, INDIA].map(|id| format!("act_{id}")).into();
        assert_eq!(reader.tables["ad_accounts"].keys(false), accounts);
    }
}

#[tokio::test]
async fn changes_deletions_and_returns_are_followed() {
    let simulator = business().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&ALL).await;
    let ads = simulator.ids("facebook_ads", "ads", false).await;
    patch(&simulator, "ads", &ads[0], json!({"name": "Renamed"})).await;
    patch(&simulator, "ads", &ads[1], json!({"status": "ARCHIVED"})).await;
    simulator.delete(&format!("/facebook_ads/ads/{}", ads[2])).await;
    let campaign = simulator.post("/facebook_ads/campaigns", json!({"account_id": INDIA, "name": "New"})).await;
    let campaign = campaign["id"].as_str().unwrap_or_default().to_string();
    assert!(!campaign.is_empty());
    let set = simulator.post("/facebook_ads/ad_sets", json!({"campaign_id": campaign})).await;
    simulator.post("/facebook_ads/ads", json!({"adset_id": set["id"]})).await;
    simulator.patch(&format!("/facebook_ads/ad_accounts/act_{US}"), json!({"name": "Another name"})).await;
    reader.refresh_well(&ALL).await;
    all_agree(&reader, &simulator, &ALL).await;
    assert_eq!(reader.cell("ads", &ads[0], "name"), "Renamed");
    assert_eq!(reader.cell("ads", &ads[1], "effective_status"), "ARCHIVED");
    assert!(reader.tables["ads"].keys(false).contains(&ads[1]), "put away is not deleted");
    assert!(reader.tables["ads"].keys(true).contains(&ads[2]));
    // In the same second as what was read last.
    patch(&simulator, "ads", &ads[3], json!({"name": "Late"})).await;
    simulator.post(&format!("/facebook_ads/ads/{}/undelete", ads[2]), json!({})).await;
    reader.refresh_well(&ALL).await;
    all_agree(&reader, &simulator, &ALL).await;
    assert!(reader.tables["ads"].keys(false).contains(&ads[2]));
}

#[tokio::test]
async fn a_change_above_shows_below_whatever_tables_are_wanted() {
    for wanted in [&OBJECTS[..], &["ads"], &["ad_sets", "ads"], &["ads", "campaigns"]] {
        let simulator = business().await;
        let campaigns = ids(&simulator, "campaigns", |_| true).await;
        for campaign in &campaigns {
            patch(&simulator, "campaigns", campaign, json!({"status": "ACTIVE"})).await;
        }
        let (paused, deleted) = (campaigns[0].clone(), campaigns[1].clone());
        let set = ids(&simulator, "ad_sets", |set| set["campaign_id"] == campaigns[2].as_str()).await[0].clone();
        patch(&simulator, "ad_sets", &set, json!({"status": "ACTIVE"})).await;
        for ad in ids(&simulator, "ads", |ad| ad["adset_id"] == set.as_str()).await {
            patch(&simulator, "ads", &ad, json!({"status": "ACTIVE"})).await;
        }
        let mut reader = reader(&simulator);
        reader.refresh_well(wanted).await;
        all_agree(&reader, &simulator, wanted).await;
        let below = ids(&simulator, "ads", |ad| ad["campaign_id"] == deleted.as_str()).await;
        assert!(!below.is_empty());
        // Long after the objects themselves were changed.
        simulator.post("/clock", json!({"offset_seconds": 7200})).await;
        patch(&simulator, "campaigns", &paused, json!({"status": "PAUSED"})).await;
        simulator.delete(&format!("/facebook_ads/campaigns/{deleted}")).await;
        patch(&simulator, "ad_sets", &set, json!({"status": "PAUSED"})).await;
        reader.refresh_well(wanted).await;
        all_agree(&reader, &simulator, wanted).await;
        assert!(below.iter().all(|ad| reader.tables["ads"].keys(true).contains(ad)), "{wanted:?}");
        let mut statuses = BTreeSet::new();
        for ad in reader.tables["ads"].keys(false) {
            statuses.insert(reader.cell("ads", &ad, "effective_status").as_str().unwrap().to_string());
        }
        assert!(statuses.contains("ADSET_PAUSED") && statuses.contains("CAMPAIGN_PAUSED"), "{statuses:?}");
        // Back again, in the second of the first change.
        patch(&simulator, "campaigns", &paused, json!({"status": "ACTIVE"})).await;
        simulator.post(&format!("/facebook_ads/campaigns/{deleted}/undelete"), json!({})).await;
        reader.refresh_well(wanted).await;
        all_agree(&reader, &simulator, wanted).await;
        simulator.post("/clock", json!({"offset_seconds": 0})).await;
    }
}

#[tokio::test]
async fn a_quiet_run_costs_its_documented_calls() {
    let simulator = business().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&ALL).await;
    let below =
        ["campaigns", "adsets", "ads", "insights"].map(|edge| format!("/{{api_version}}/act_{{account_id}}/{edge}"));
    let below: Vec<(&str, u64)> = below.iter().map(|path| (path.as_str(), 2)).collect();
    quiet_run_costs_what_the_page_says(&simulator, &mut reader, &below).await;
    // A change above costs one more call for each level below it, once.
    let campaign = ids(&simulator, "campaigns", |_| true).await[0].clone();
    patch(&simulator, "campaigns", &campaign, json!({"name": "Renamed"})).await;
    for want in [9 + 2, 9] {
        simulator.forget_requests("facebook_ads").await;
        reader.refresh_well(&ALL).await;
        let paths = paths(&simulator).await;
        assert_eq!(paths.len(), want, "{paths:?}");
    }
    all_agree(&reader, &simulator, &ALL).await;
    // Named accounts are not listed; without their own table they cost nothing.
    let start = date(today() - 50);
    let named = format!("act_{INDIA}");
    let mut one = reader_with(&simulator, &[("account_ids", named.as_str()), ("start_date", start.as_str())]);
    one.refresh_well(&ALL).await;
    simulator.forget_requests("facebook_ads").await;
    one.refresh_well(&ALL[1..]).await;
    assert_eq!(paths(&simulator).await.len(), 4);
    let of_one = ids(&simulator, "ads", |ad| ad["account_id"] == INDIA).await;
    assert_eq!(one.tables["ads"].keys(false), of_one.into_iter().collect());
    assert_eq!(one.tables["ad_accounts"].keys(false), BTreeSet::from([format!("act_{INDIA}")]));
}

#[tokio::test]
async fn figures_of_the_last_weeks_are_read_again() {
    let simulator = business().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["insights"]).await;
    let key = |back: i64| {
        let wanted = date(today() - back);
        move |row: &Value| row["date_start"] == wanted.as_str()
    };
    let (recent, old) = (ids(&simulator, "insights", key(20)).await, ids(&simulator, "insights", key(35)).await);
    for id in [&recent[0], &old[0]] {
        patch(&simulator, "insights", id, json!({"impressions": "99", "clicks": "7"})).await;
    }
    let ad = recent[1].split(':').nth(1).unwrap().to_string();
    simulator.delete(&format!("/facebook_ads/ads/{ad}")).await;
    patch(&simulator, "insights", &recent[1], json!({"impressions": "98"})).await;
    reader.refresh_well(&["insights"]).await;
    assert_eq!(reader.cell("insights", &key_of(&recent[0]), "impressions"), 99);
    assert_eq!(reader.cell("insights", &key_of(&recent[1]), "impressions"), 98, "of a deleted ad");
    assert_ne!(reader.cell("insights", &key_of(&old[0]), "impressions"), 99, "older figures no longer change");
}

#[tokio::test]
async fn the_oldest_day_that_is_kept_is_read_and_none_before_is_asked_for() {
    let simulator = business().await;
    let mut edges = Vec::new();
    for (account, hours, ad) in [(US, -7, 0), (INDIA, 5, 1)] {
        let ad = ids(&simulator, "ads", |ad| ad["account_id"] == account).await[ad].clone();
        let clock = chrono::Utc::now() + chrono::Duration::minutes(hours * 60 + if hours > 0 { 30 } else { 0 });
        let edge = clock.date_naive().checked_sub_months(chrono::Months::new(37)).unwrap();
        let day = json!({"ad_id": ad, "date_start": edge.to_string(), "date_stop": edge.to_string()});
        simulator.post("/facebook_ads/insights", day).await;
        edges.push(format!("{account}:{ad}:{edge}"));
    }
    let mut reader = reader_with(&simulator, &[]);
    reader.refresh_well(&["insights"]).await;
    agrees(&reader, &simulator, "insights").await;
    for edge in edges {
        assert!(reader.tables["insights"].keys(false).contains(&key_of(&edge)), "{edge}");
    }
    // Whose zone nobody knows, too: the named account is not looked at.
    let start = date(today() - 60);
    let mut named = reader_with(&simulator, &[("account_ids", US), ("start_date", start.as_str())]);
    named.refresh_well(&["insights"]).await;
    assert!(named.tables["insights"].keys(false).len() > 100);
}

#[tokio::test]
async fn many_days_are_read_by_runs_and_few_at_once() {
    let simulator = business().await;
    set(&simulator, json!({"run_polls": 2})).await;
    let start = date(today() - 100);
    let mut reader = reader_with(&simulator, &[("account_ids", US), ("start_date", start.as_str())]);
    reader.refresh_well(&["insights"]).await;
    let seen = paths(&simulator).await;
    let count = |end: &str| seen.iter().filter(|path| path.ends_with(end)).count();
    let act = format!("act_{US}/insights");
    assert_eq!(
        seen.iter().filter(|path| **path == format!("POST /v26.0/{act}")).count(),
        1,
        "90 days by a run: {seen:?}"
    );
    assert_eq!(count(&format!("GET /v26.0/{act}")), 1, "the rest at once: {seen:?}");
    assert_eq!(
        seen.iter().filter(|path| path.starts_with("GET /v26.0/9000") && !path.ends_with("insights")).count(),
        3
    );
    let want: BTreeSet<String> =
        ids(&simulator, "insights", |row| row["account_id"] == US).await.iter().map(|id| key_of(id)).collect();
    assert_eq!(reader.tables["insights"].keys(false), want);
}

#[tokio::test]
async fn what_is_too_much_is_asked_for_in_smaller_parts() {
    for (config, runs) in [
        (json!({"most_rows_at_once": 100}), true),
        (json!({"most_rows_at_once": 100, "most_rows_of_a_run": 120}), true),
        (json!({"most_per_page": 10}), false),
        (json!({"run_outcome": "Job Failed", "most_rows_at_once": 40}), true),
        (json!({"run_outcome": "Job Skipped", "most_rows_at_once": 16, "most_per_page": 4}), true),
    ] {
        let simulator = business().await;
        set(&simulator, config.clone()).await;
        let start = date(today() - 20);
        let mut reader = reader_with(&simulator, &[("start_date", start.as_str())]);
        reader.refresh_well(&["campaigns", "insights"]).await;
        let ordered = paths(&simulator).await.iter().any(|path| path.starts_with("POST"));
        assert!(ordered == runs || config.get("most_per_page").is_some(), "{config}");
        let is_recent = |row: &Value| row["date_start"].as_str().unwrap() >= start.as_str();
        let want: BTreeSet<String> = ids(&simulator, "insights", is_recent).await.iter().map(|id| key_of(id)).collect();
        assert!(want.len() > 400);
        assert_eq!(reader.tables["insights"].keys(false), want, "{config}");
        agrees(&reader, &simulator, "campaigns").await;
    }
}

#[tokio::test]
async fn an_interrupted_load_goes_on_where_it_was() {
    // Figures come by a report run of each account; the second is that of the second account.
    let [first_run, second_run] = ["/v26.0/900000000000001", "/v26.0/900000000000002"];
    for (names, prefix, edge) in [
        (&OBJECTS[..], format!("/v26.0/act_{INDIA}"), "/ads"),
        (&["insights"][..], second_run.to_string(), "/insights"),
    ] {
        let simulator = business().await;
        set(&simulator, json!({"page_size": 5})).await;
        let mut reader = reader(&simulator);
        // A refusal of the token: what passes, or is too much at once, does not end a load.
        let ended =
            json!({"error": {"message": "Session has expired", "type": "OAuthException", "code": 190}}).to_string();
        let broken = json!({"kind": "status", "status": 400, "body": ended, "times": 100,
            "match": {"path_prefix": prefix, "contains": edge, "skip": 1}});
        simulator.post("/facebook_ads/faults", broken).await;
        let position = reader.load_until_it_breaks(names).await.expect("a place is saved");
        simulator.delete("/facebook_ads/faults").await;
        simulator.forget_requests("facebook_ads").await;
        reader.load_on(names, position).await;
        all_agree(&reader, &simulator, names).await;
        let again = paths(&simulator).await;
        let of_us = again.iter().filter(|path| path.contains(US) || path.contains(first_run)).count();
        assert_eq!(of_us, 0, "what was read is not read again: {again:?}");
        assert!(!again.iter().any(|path| path.starts_with("POST")), "the run is not ordered again: {again:?}");
        reader.refresh_well(names).await;
        all_agree(&reader, &simulator, names).await;
    }
}

#[tokio::test]
async fn live_queries_ask_for_what_they_need() {
    let simulator = business().await;
    let reader = reader(&simulator);
    for name in ALL {
        let want = if name == "ad_accounts" { 1 } else { 2 };
        assert_eq!(reader.calls_of_one_row(&simulator, name).await, want, "{name}: the accounts, and one page");
    }
    let there: BTreeSet<String> = simulator.ids("facebook_ads", "ads", false).await.into_iter().collect();
    assert_eq!(reader.scanned_keys("ads", &[]).await, there, "deleted ads are no rows of a live query");
    let of_us: BTreeSet<String> = ids(&simulator, "ads", |ad| ad["account_id"] == US).await.into_iter().collect();
    let gone: BTreeSet<String> = simulator.ids("facebook_ads", "ads", true).await.into_iter().collect();
    let text = |value: &str| FilterValue::Text(value.to_string());
    let one = of_us.first().unwrap().as_str();
    let record = simulator.ledger("facebook_ads", "ads").await.into_iter().find(|row| row["id"] == one).unwrap();
    let above = record["record"]["adset_id"].as_str().unwrap().to_string();
    let in_set = ids(&simulator, "ads", |ad| ad["adset_id"] == above.as_str()).await;
    let in_set: BTreeSet<String> = in_set.into_iter().collect();
    let of_one = BTreeSet::from([one.to_string()]);
    let later = FilterValue::Timestamp((today() + 9) * DAY * 1_000_000);
    let account = || ("account_id", Op::Eq, text(US));
    for (name, conditions, want, calls) in [
        ("an ad", vec![("id", Op::Eq, text(one))], &of_one, 3),
        ("an ad of an account", vec![account(), ("id", Op::Eq, text(one))], &of_one, 1),
        ("an account", vec![account()], &of_us, 1),
        ("an ad set", vec![account(), ("adset_id", Op::Eq, text(&above))], &in_set, 1),
        ("no id at all", vec![("id", Op::Eq, text("x' {y}"))], &BTreeSet::new(), 0),
        ("an account that is not there", vec![("account_id", Op::Eq, text("999"))], &BTreeSet::new(), 1),
        ("deleted ones", vec![("effective_status", Op::Eq, text("DELETED"))], &gone, 3),
        ("changed later than now", vec![account(), ("updated_time", Op::Ge, later)], &BTreeSet::new(), 1),
    ] {
        simulator.forget_requests("facebook_ads").await;
        assert_eq!(reader.scanned_keys("ads", &conditions).await, *want, "{name}");
        assert_eq!(paths(&simulator).await.len(), calls, "{name}");
    }
    let day = |back: i64| FilterValue::Date(i32::try_from(today() - back).unwrap());
    let week =
        [account(), ("date_start", Op::Ge, day(10)), ("date_start", Op::Lt, day(3)), ("ad_id", Op::Eq, text(one))];
    simulator.forget_requests("facebook_ads").await;
    let rows = reader.scanned_keys("insights", &week).await;
    assert_eq!((rows.len(), paths(&simulator).await.len()), (8, 1), "a day more than asked, which Postgres leaves out");
    // All that is kept, newest first, in windows; what is too much in smaller ones.
    set(&simulator, json!({"most_rows_at_once": 100})).await;
    let rows = reader.scanned_keys("insights", &[account(), ("date_start", Op::Ge, day(60))]).await;
    let want = ids(&simulator, "insights", |row| row["account_id"] == US).await;
    assert_eq!(rows, want.iter().map(|id| key_of(id)).collect());
}

#[tokio::test]
async fn a_reconcile_lists_every_key() {
    let simulator = business().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&OBJECTS).await;
    let ad = ids(&simulator, "ads", |_| true).await[0].clone();
    simulator.delete(&format!("/facebook_ads/ads/{ad}?hard=true")).await;
    reader.refresh_well(&OBJECTS).await;
    assert!(reader.tables["ads"].keys(false).contains(&ad), "nothing tells of it");
    reader.reconcile(&["ads", "campaigns"]).await;
    all_agree(&reader, &simulator, &OBJECTS).await;
}
