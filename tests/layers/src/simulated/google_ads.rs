//! Every collection of Google Ads, against the simulator: first load, changes, removals, what comes back, refusals, and calls.

use super::rows::wanted;
use super::{quiet_run_costs_what_the_page_says, refresh_all, Reader, Simulator};
use crate::extract;
use crate::extract::group::group;
use crate::extract::sink::{Channel, Event, Sink};
use crate::extract::{Mode, ReadRequest};
use serde_json::{json, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub const MANAGER: &str = "1000000001";
pub const ONE: &str = "1000000002";
pub const TWO: &str = "1000000004";
const ENTITIES: [&str; 3] = ["campaigns", "ad_groups", "ads"];
pub const LOGIN: [(&str, &str); 4] = [
    ("developer_token", "sim-developer"),
    ("client_id", "sim-client"),
    ("client_secret", "sim-secret"),
    ("refresh_token", "sim-refresh"),
];

pub fn reader(simulator: &Simulator) -> Reader {
    reader_with(simulator, &[("login_customer_id", "100-000-0001")])
}

pub fn reader_with(simulator: &Simulator, options: &[(&str, &str)]) -> Reader {
    Reader::new(simulator, "google_ads", options, &LOGIN)
}

/// Two accounts with something of everything, up to today. The token of the tests is good.
pub async fn accounts() -> Simulator {
    let simulator = Simulator::start();
    simulator.post("/google_ads/config", json!({"access_token": "token-t1"})).await;
    let seed = json!({"campaigns": 9, "ad_groups": 14, "ads": 20, "keywords": 10, "ad_performance_report": 100,
        "keywords_performance_report": 40, "search_performance_report": 60, "click_performance_report": 60,
        "deleted_percent": 10, "until": "now"});
    simulator.post("/google_ads/seed", seed).await;
    simulator
}

/// The last part of a resource name.
fn tail(name: &Value) -> String {
    name.as_str().unwrap().rsplit('/').next().unwrap().to_string()
}

/// What a collection holds, as rows of the API: the ledger has the resource of an entity alone.
pub async fn truth(simulator: &Simulator, collection: &str) -> Vec<(Value, bool)> {
    let rows = simulator.ledger("google_ads", collection).await.into_iter();
    let of_customer = |record: &Value| json!({"id": record["resourceName"].as_str().unwrap().split('/').nth(1)});
    rows.map(|row| {
        let record = row["record"].clone();
        let whole = match collection {
            "campaigns" => json!({"customer": of_customer(&record), "campaign": record}),
            "ad_groups" => json!({"customer": of_customer(&record), "campaign": {"id": tail(&record["campaign"])}, "adGroup": record}),
            "ads" => json!({"customer": of_customer(&record), "adGroup": {"id": tail(&record["adGroup"])}, "adGroupAd": record}),
            _ => record,
        };
        (whole, row["deleted"] == true)
    })
    .collect()
}

/// The key of a row, by the columns that it is made of.
pub fn key_of(reader: &Reader, collection: &str, record: &Value) -> String {
    let collection = reader.source.collection(collection).unwrap();
    let part = |name: &String| {
        let value = wanted(collection.column(name).unwrap(), record).unwrap_or_else(|| panic!("{name} of {record}"));
        value.as_str().map_or_else(|| value.to_string(), str::to_string)
    };
    collection.primary_key.iter().map(part).collect::<Vec<_>>().join(":")
}

/// Compares a table with the ledger: which rows there are, which are removed, and every value.
pub async fn agrees(reader: &Reader, simulator: &Simulator, name: &str) -> usize {
    let collection = reader.source.collection(name).unwrap();
    let table = &reader.tables[name];
    let (mut there, mut gone, mut compared) = (BTreeSet::new(), BTreeSet::new(), 0);
    for (record, is_deleted) in truth(simulator, name).await {
        let key = key_of(reader, name, &record);
        let row = table.rows.get(&key).unwrap_or_else(|| panic!("{name} lacks {key}"));
        assert_eq!(row.is_deleted, is_deleted, "{name} {key}");
        for (column, value) in collection.columns.iter().zip(&row.cells) {
            // They follow from the day, and the ledger has the day alone.
            if ["week", "year"].contains(&column.name.as_str()) {
                continue;
            }
            let want = wanted(column, &record).unwrap_or(Value::Null);
            assert_eq!(*value, want, "{name} {key} {}", column.name);
            compared += usize::from(!want.is_null());
        }
        if is_deleted { &mut gone } else { &mut there }.insert(key);
    }
    assert_eq!(table.keys(false), there, "{name}");
    assert_eq!(table.keys(true), gone, "{name}");
    assert!(compared > 2 * there.len(), "{name}: only {compared} values");
    there.len()
}

async fn all_agree(reader: &Reader, simulator: &Simulator) {
    for name in reader.collection_names() {
        assert!(agrees(reader, simulator, &name).await > 0, "{name} is empty");
    }
}

/// The queries that the simulator had: account and text.
pub async fn queries(simulator: &Simulator) -> Vec<(String, String)> {
    let asked = simulator.requests("google_ads").await.into_iter();
    asked
        .filter_map(|request| {
            let account = request["path"].as_str()?.split('/').nth(3)?.to_string();
            let body: Value = serde_json::from_str(request["body"].as_str()?).ok()?;
            Some((account, body["query"].as_str()?.to_string()))
        })
        .collect()
}

/// The day so many days before today, in UTC.
pub fn day_before(days: i64) -> String {
    (chrono::Utc::now().date_naive() - chrono::Duration::days(days)).to_string()
}

#[tokio::test]
async fn a_first_load_is_the_ledger_chunk_by_chunk() {
    for page_size in [0, 7] {
        let simulator = accounts().await;
        simulator.post("/google_ads/config", json!({"page_size": page_size})).await;
        let mut reader = reader(&simulator);
        refresh_all(&mut reader).await;
        all_agree(&reader, &simulator).await;
        assert!(ENTITIES.iter().any(|name| !reader.tables[*name].keys(true).is_empty()), "something was removed");
        assert!(reader.tables["campaigns"].rows.values().all(|row| row.version.is_none()));
        let accounts: BTreeSet<String> =
            reader.tables["campaigns"].rows.keys().map(|key| key[..10].to_string()).collect();
        assert_eq!(accounts, BTreeSet::from([ONE.to_string(), TWO.to_string()]));
        // An account that is closed is told of, and not asked.
        assert!(reader.notes.iter().any(|note| note.contains("1000000005 is CANCELED")), "{:?}", reader.notes);
        assert!(queries(&simulator).await.iter().all(|(account, _)| account != "1000000005"));
    }
}

#[tokio::test]
async fn a_first_load_of_clicks_takes_a_query_a_day_and_one_of_a_report_a_single_one() {
    let simulator = accounts().await;
    let mut reader = reader(&simulator);
    simulator.forget_requests("google_ads").await;
    reader.refresh_well(&["click_performance_report", "campaign_performance_report"]).await;
    let asked = queries(&simulator).await;
    let of = |account: &str, from: &str| {
        asked.iter().filter(|(to, text)| to == account && text.contains(&format!(" FROM {from} "))).count()
    };
    for account in [ONE, TWO] {
        assert_eq!((of(account, "click_view"), of(account, "campaign")), (90, 1));
    }
    assert!(asked
        .iter()
        .all(|(_, text)| !text.contains("<>") && text.ends_with("omit_unselected_resource_names = true")));
}

#[tokio::test]
async fn changes_removals_and_returns_are_followed() {
    let simulator = accounts().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    let id = |name: &'static str, nth: usize| {
        let simulator = &simulator;
        async move { simulator.ids("google_ads", name, false).await[nth].clone() }
    };
    let (renamed, removed) = (id("campaigns", 0).await, id("campaigns", 1).await);
    let (group, ad) = (id("ad_groups", 2).await, id("ads", 3).await);
    simulator
        .patch(&format!("/google_ads/campaigns/{renamed}"), json!({"name": "Zoë's sale", "servingStatus": "ENDED"}))
        .await;
    simulator.delete(&format!("/google_ads/campaigns/{removed}")).await;
    simulator.delete(&format!("/google_ads/ad_groups/{group}")).await;
    simulator.delete(&format!("/google_ads/ads/{ad}")).await;
    simulator.post("/google_ads/campaigns", json!({"customer": TWO, "name": "New"})).await;
    // Figures of a day are corrected, and come late: within the look-back of both tables.
    let of_today = format!(":{}", day_before(0));
    let corrected = id_ending(&simulator, "ad_performance_report", &of_today).await;
    let change = json!({"metrics": {"clicks": "7", "impressions": "700"}});
    simulator.patch(&format!("/google_ads/ad_performance_report/{corrected}"), change).await;
    let ads = simulator.ids("google_ads", "ads", false).await;
    let late = json!({"ad": ads[0], "date": day_before(6), "segments": {"device": "OTHER"}});
    simulator.post("/google_ads/ad_performance_report", late).await;
    simulator.post("/google_ads/click_performance_report", json!({"ad": ads[0], "date": day_before(1)})).await;
    simulator.post("/google_ads/search_performance_report", json!({"ad": ads[1], "date": day_before(2)})).await;
    refresh_all(&mut reader).await;
    all_agree(&reader, &simulator).await;
    let key = |account: &str, id: &str| format!("{account}:{id}");
    let account = if reader.tables["campaigns"].rows.contains_key(&key(ONE, &removed)) { ONE } else { TWO };
    assert!(reader.tables["campaigns"].keys(true).contains(&key(account, &removed)));
    simulator.post(&format!("/google_ads/campaigns/{removed}/undelete"), json!({})).await;
    simulator.post(&format!("/google_ads/ads/{ad}/undelete"), json!({})).await;
    refresh_all(&mut reader).await;
    all_agree(&reader, &simulator).await;
    assert!(reader.tables["campaigns"].keys(false).contains(&key(account, &removed)));
}

/// The id of a row that ends so.
async fn id_ending(simulator: &Simulator, collection: &str, end: &str) -> String {
    let ids = simulator.ids("google_ads", collection, false).await;
    ids.iter().find(|id| id.ends_with(end)).unwrap_or_else(|| panic!("no {collection} ends in {end}: {ids:?}")).clone()
}

#[tokio::test]
async fn the_edge_of_the_look_back_is_crossed_without_a_loss_or_a_double() {
    let simulator = accounts().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["ad_performance_report"]).await;
    let before = reader.tables["ad_performance_report"].rows.len();
    let ads = simulator.ids("google_ads", "ads", false).await;
    let at = |days: i64| json!({"ad": ads[0], "date": day_before(days), "segments": {"device": "CONNECTED_TV"}});
    simulator.post("/google_ads/ad_performance_report", at(7)).await;
    simulator.post("/google_ads/ad_performance_report", at(30)).await;
    simulator.forget_requests("google_ads").await;
    reader.refresh_well(&["ad_performance_report"]).await;
    let rows = &reader.tables["ad_performance_report"];
    assert_eq!(rows.rows.len(), before + 1, "the day on the edge, and not the one beyond");
    let since = format!("BETWEEN '{}' AND ", day_before(7));
    let asked = queries(&simulator).await;
    assert!(asked.iter().any(|(_, text)| text.contains(&since)), "{asked:?}");
    // The owner can look back farther.
    let mut farther = reader_with(&simulator, &[("login_customer_id", MANAGER), ("overlap_seconds", "2592000")]);
    farther.tables = std::mem::take(&mut reader.tables);
    farther.checkpoints = reader.checkpoints.clone();
    farther.refresh_well(&["ad_performance_report"]).await;
    agrees(&farther, &simulator, "ad_performance_report").await;
}

#[tokio::test]
async fn each_account_has_a_place_of_its_own() {
    let simulator = accounts().await;
    let mut one = reader_with(&simulator, &[("login_customer_id", MANAGER), ("customer_ids", ONE)]);
    one.refresh_well(&["campaign_performance_report"]).await;
    let place = one.checkpoints["campaign_performance_report"].clone();
    assert_eq!(place["customers"], json!({ONE: day_before(0)}));
    assert_eq!(extract::cursor_of(&place), Some(format!("{}T00:00:00.000Z", day_before(0)).as_str()));
    // An account that comes later is read from the beginning.
    let mut both = reader(&simulator);
    both.tables = std::mem::take(&mut one.tables);
    both.checkpoints = one.checkpoints.clone();
    simulator.forget_requests("google_ads").await;
    both.refresh_well(&["campaign_performance_report"]).await;
    agrees(&both, &simulator, "campaign_performance_report").await;
    let asked: BTreeMap<String, String> = queries(&simulator).await.into_iter().collect();
    assert!(asked[ONE].contains(&day_before(7)), "{asked:?}");
    assert!(asked[TWO].contains("BETWEEN '2000-01-01' AND "), "{asked:?}");
}

#[tokio::test]
async fn a_quiet_run_costs_its_documented_calls() {
    let simulator = accounts().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    let from = |name: &str| format!("FROM {}", reader.source.collection(name).unwrap().object);
    let names = reader.collection_names();
    // Two accounts; clicks are read again for two days.
    let calls = |name: &String| if name == "click_performance_report" { 4 } else { 2 };
    let below: Vec<(String, u64)> = names.iter().map(|name| (from(name), calls(name))).collect();
    let below: Vec<(&str, u64)> = below.iter().map(|(path, times)| (path.as_str(), *times)).collect();
    quiet_run_costs_what_the_page_says(&simulator, &mut reader, &below).await;
    all_agree(&reader, &simulator).await;
    assert_eq!(below.iter().map(|(_, times)| times).sum::<u64>(), 18);
    // Named accounts have to be looked for by nobody.
    let mut named = reader_with(&simulator, &[("login_customer_id", MANAGER), ("customer_ids", ONE)]);
    named.checkpoints = reader.checkpoints.clone();
    simulator.forget_requests("google_ads").await;
    named.refresh_well(&ENTITIES).await;
    assert_eq!(simulator.requests("google_ads").await.len(), 3);
}

#[tokio::test]
async fn an_interrupted_first_load_goes_on_where_it_was() {
    let simulator = accounts().await;
    let reader = reader(&simulator);
    let names = ["campaigns", "click_performance_report"];
    for name in names {
        let outputs = vec![(reader.output(name), None)];
        let (_, request) = group(&reader.source, outputs).pop().unwrap();
        let channel = Channel::new(1 << 30, Box::new(|| {}));
        extract::read(&reader.client(), request, &Sink::new(Arc::clone(&channel))).await.unwrap();
        let mut pages = Vec::new();
        while let Some(Event::Page(page)) = channel.take() {
            pages.push(page);
        }
        let whole: usize = pages.iter().flat_map(|page| &page.batches).map(|(_, batch)| batch.rows.len()).sum();
        let half = pages.len() / 2;
        let stored: usize =
            pages[..half].iter().flat_map(|page| &page.batches).map(|(_, batch)| batch.rows.len()).sum();
        let position = pages[..half].iter().rev().find_map(|page| page.position.clone()).unwrap();
        simulator.forget_requests("google_ads").await;
        let request = ReadRequest { outputs: vec![reader.output(name)], mode: Mode::Full { resume: Some(position) } };
        let channel = Channel::new(1 << 30, Box::new(|| {}));
        extract::read(&reader.client(), request, &Sink::new(Arc::clone(&channel))).await.unwrap();
        let mut rest = 0;
        while let Some(Event::Page(page)) = channel.take() {
            rest += page.batches.iter().map(|(_, batch)| batch.rows.len()).sum::<usize>();
        }
        // The day at hand may be read twice, and none is left out.
        assert!(stored + rest >= whole && rest < whole, "{name}: {stored} and {rest} of {whole}");
        let asked = simulator.requests("google_ads").await.len();
        assert!(asked <= pages.len() / 2 + 4, "{name}: {asked} calls for the rest of {} pages", pages.len());
    }
}

#[tokio::test]
async fn an_answer_over_the_limit_is_asked_for_in_parts() {
    let simulator = accounts().await;
    simulator.post("/google_ads/config", json!({"page_size": 3})).await;
    let reader = reader(&simulator);
    // The days of a report can be fewer; what has no days comes page by page.
    for (name, max_body_bytes, is_halved) in [("ad_performance_report", 30_000, true), ("ads", 2_000, false)] {
        simulator.forget_requests("google_ads").await;
        let mut account = reader.account();
        account.policy.max_body_bytes = max_body_bytes;
        let api = crate::http::testing::client(account);
        let request = ReadRequest { outputs: vec![reader.output(name)], mode: Mode::Full { resume: None } };
        let channel = Channel::new(1 << 30, Box::new(|| {}));
        extract::read(&api, request, &Sink::new(Arc::clone(&channel))).await.unwrap();
        let mut rows = 0;
        while let Some(Event::Page(page)) = channel.take() {
            rows += page.batches.iter().map(|(_, batch)| batch.rows.len()).sum::<usize>();
        }
        assert_eq!(rows, truth(&simulator, name).await.len(), "{name}");
        let calls = simulator.requests("google_ads").await;
        let paged = calls.iter().filter(|call| call["path"].as_str().unwrap().ends_with(":search")).count();
        assert_eq!(paged == 0, is_halved, "{name}: {paged} of {} calls", calls.len());
        assert!(calls.len() > 5, "{name}: {} calls", calls.len());
    }
}
