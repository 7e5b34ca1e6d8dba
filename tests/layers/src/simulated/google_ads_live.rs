//! Live queries of Google Ads, against the simulator: what is asked, of which accounts, and that the answer is the ledger's.

use super::google_ads::{accounts, day_before, key_of, queries, reader, truth, ONE, TWO};
use super::rows::{value_of, wanted};
use super::{Reader, Simulator};
use crate::error::SyncError;
use crate::extract::sink::{Channel, Event, Sink};
use crate::extract::time::parse_date;
use crate::extract::{self, Filter, FilterValue, Mode, Op, Order, Output, ReadRequest, Scan};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::Notify;

/// A table of some columns, as a query that names them has it.
fn table(reader: &Reader, collection: &str, columns: &[&str]) -> Output {
    let mut output = reader.output(collection);
    let place = |name: &&str| output.columns.iter().position(|column| column.name == *name).unwrap();
    let chosen: Vec<usize> = columns.iter().map(place).collect();
    output.columns = chosen.iter().map(|at| output.columns[*at].clone()).collect();
    let in_key = |at: &usize| output.collection.primary_key.contains(&output.columns[*at].name);
    output.key = (0..output.columns.len()).filter(in_key).collect();
    output.keep_extra = false;
    output
}

fn rows_of(event: Event) -> Vec<Vec<Value>> {
    let Event::Page(page) = event else { panic!("{event:?}") };
    let of = |batch: &extract::batch::Batch| {
        assert_eq!((batch.rejected.len(), batch.misfits), (0, 0));
        (0..batch.rows.len())
            .map(|n| batch.row(n).iter().map(|cell| value_of(batch, cell)).collect())
            .collect::<Vec<_>>()
    };
    page.batches.iter().flat_map(|(_, batch)| of(batch)).collect()
}

/// Everything that a query gets from the app.
async fn scan(reader: &Reader, output: Output, scan: Scan) -> Result<(Vec<Vec<Value>>, Vec<String>), SyncError> {
    let channel = Channel::new(1 << 30, Box::new(|| {}));
    let request = ReadRequest { outputs: vec![output], mode: Mode::Scan(scan) };
    let end = extract::read(&reader.client(), request, &Sink::new(Arc::clone(&channel))).await?;
    let mut rows = Vec::new();
    while let Some(event) = channel.take() {
        rows.extend(rows_of(event));
    }
    Ok((rows, end.notes))
}

/// The first page of a query whose executor wants no more.
async fn first_page(reader: &Reader, output: Output, scan: Scan) -> Vec<Vec<Value>> {
    let woken = Arc::new(Notify::new());
    let waker = Arc::clone(&woken);
    let channel = Channel::new(0, Box::new(move || waker.notify_one()));
    channel.want_more();
    let request = ReadRequest { outputs: vec![output], mode: Mode::Scan(scan) };
    let (api, sink) = (reader.client(), Sink::new(Arc::clone(&channel)));
    tokio::select! {
        ended = extract::read(&api, request, &sink) => panic!("{ended:?}"),
        () = woken.notified() => {}
    }
    rows_of(channel.take().unwrap())
}

fn filter(column: usize, op: Op, value: FilterValue) -> Filter {
    Filter { column, op, values: vec![value] }
}

fn day(text: &str) -> FilterValue {
    FilterValue::Date(parse_date(text).unwrap())
}

/// The values of some columns in every row of the ledger.
async fn ledger(reader: &Reader, simulator: &Simulator, collection: &str, columns: &[&str]) -> Vec<Vec<Value>> {
    let known = reader.source.collection(collection).unwrap();
    let value = |record: &Value, name: &&str| wanted(known.column(name).unwrap(), record).unwrap_or(Value::Null);
    let records = truth(simulator, collection).await.into_iter();
    records.map(|(record, _)| columns.iter().map(|name| value(&record, name)).collect()).collect()
}

fn sorted(mut rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    rows.sort_by_key(|row| serde_json::to_string(row).unwrap());
    rows
}

#[tokio::test]
async fn every_table_can_be_read_live() {
    let simulator = accounts().await;
    let reader = reader(&simulator);
    for name in reader.collection_names() {
        let (rows, _) = scan(&reader, reader.output(&name), Scan::default()).await.unwrap();
        let mut want = Vec::new();
        for (record, _) in truth(&simulator, &name).await {
            want.push(key_of(&reader, &name, &record));
        }
        assert_eq!(rows.len(), want.len(), "{name}");
        simulator.forget_requests("google_ads").await;
        let few = Scan { limit: Some(1), ..Scan::default() };
        assert_eq!(first_page(&reader, reader.output(&name), few).await.len(), 1, "{name}");
        let asked = queries(&simulator).await;
        assert_eq!(asked.len(), 2, "{name}: which accounts there are, and one row of the first: {asked:?}");
        assert!(asked[1].1.contains(" LIMIT 1 "), "{name}: {asked:?}");
    }
}

/// Rows whose selected figures are all zero are left out: a query for a rare figure has all rows for all that.
#[tokio::test]
async fn the_rows_do_not_depend_on_the_columns() {
    let simulator = accounts().await;
    let reader = reader(&simulator);
    for columns in [&["campaign_id", "date_start"][..], &["gmail_saves"], &["campaign_id", "clicks"]] {
        let name = "campaign_performance_report";
        let (rows, _) = scan(&reader, table(&reader, name, columns), Scan::default()).await.unwrap();
        assert_eq!(sorted(rows), sorted(ledger(&reader, &simulator, name, columns).await), "{columns:?}");
    }
}

#[tokio::test]
async fn conditions_are_told_and_the_answer_is_the_ledgers() {
    let simulator = accounts().await;
    let reader = reader(&simulator);
    let some = truth(&simulator, "campaigns").await[3].0.clone();
    let id = |record: &Value| record["campaign"]["id"].as_str().unwrap().parse::<i64>().unwrap();
    let (this, name) = (id(&some), some["campaign"]["name"].as_str().unwrap().to_string());
    let columns = ["adwords_customer_id", "id", "name", "status"];
    let all = ledger(&reader, &simulator, "campaigns", &columns).await;
    let text = |text: &str| FilterValue::Text(text.to_string());
    type Holds = Box<dyn Fn(&[Value]) -> bool>;
    let named = name.clone();
    let cases: Vec<(Filter, String, Holds)> = vec![
        (
            filter(1, Op::Eq, FilterValue::Int(this)),
            format!("campaign.id = {this}"),
            Box::new(move |row| row[1] == this),
        ),
        (
            filter(1, Op::Gt, FilterValue::Int(this)),
            format!("campaign.id > {this}"),
            Box::new(move |row| row[1].as_i64().unwrap() > this),
        ),
        (
            filter(2, Op::Eq, text(&name)),
            format!("campaign.name = '{}'", name.replace('\'', "\\'")),
            Box::new(move |row| row[2] == named.as_str()),
        ),
        (
            filter(2, Op::Like, text("%o%")),
            "campaign.name LIKE '%o%'".to_string(),
            Box::new(|row| row[2].as_str().unwrap().to_lowercase().contains('o')),
        ),
        (
            filter(3, Op::Ne, text("REMOVED")),
            "campaign.status != 'REMOVED'".to_string(),
            Box::new(|row| row[3] != "REMOVED"),
        ),
        (
            Filter { column: 3, op: Op::In, values: vec![text("PAUSED"), text("REMOVED")] },
            "campaign.status IN ('PAUSED', 'REMOVED')".to_string(),
            Box::new(|row| row[3] == "PAUSED" || row[3] == "REMOVED"),
        ),
    ];
    for (condition, told, holds) in cases {
        simulator.forget_requests("google_ads").await;
        let wanted = Scan { filters: vec![condition], ..Scan::default() };
        let (rows, notes) = scan(&reader, table(&reader, "campaigns", &columns), wanted).await.unwrap();
        let want: Vec<Vec<Value>> = all.iter().filter(|row| holds(row)).cloned().collect();
        assert_eq!(sorted(rows), sorted(want), "{told}");
        let asked = queries(&simulator).await;
        assert_eq!(asked.iter().filter(|(_, query)| query.contains(&told)).count(), 2, "{told}: {asked:?}");
        assert!(notes.iter().all(|note| note.contains("1000000005")), "{notes:?}");
    }
}

#[tokio::test]
async fn only_the_accounts_of_a_condition_are_asked_and_only_its_days() {
    let simulator = accounts().await;
    let reader = reader(&simulator);
    let columns = ["adwords_customer_id", "campaign_id", "date_start", "clicks"];
    let name = "campaign_performance_report";
    let filters = vec![
        filter(0, Op::Eq, FilterValue::Int(TWO.parse().unwrap())),
        filter(2, Op::Ge, day(&day_before(3))),
        filter(2, Op::Lt, day(&day_before(1))),
        filter(3, Op::Gt, FilterValue::Int(5)),
    ];
    simulator.forget_requests("google_ads").await;
    let (rows, _) = scan(&reader, table(&reader, name, &columns), Scan { filters, ..Scan::default() }).await.unwrap();
    let all = ledger(&reader, &simulator, name, &columns).await;
    let days = |row: &Vec<Value>| {
        let day = row[2].as_i64().unwrap() as i32;
        (parse_date(&day_before(3)).unwrap()..parse_date(&day_before(1)).unwrap()).contains(&day)
    };
    let here = |row: &&Vec<Value>| row[0] == TWO.parse::<i64>().unwrap() && days(row) && row[3].as_i64().unwrap() > 5;
    let want: Vec<Vec<Value>> = all.iter().filter(here).cloned().collect();
    assert!(!want.is_empty());
    assert_eq!(sorted(rows), sorted(want));
    let asked = queries(&simulator).await;
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].0, TWO);
    assert!(asked[1].1.contains(&format!("BETWEEN '{}' AND '{}'", day_before(3), day_before(2))), "{asked:?}");
    assert!(asked[1].1.contains("metrics.clicks > 5"), "{asked:?}");
    // A day of clicks is one query to each account; days that no click can have are none.
    for (at, calls) in [(day_before(2), 2), (day_before(200), 0)] {
        simulator.forget_requests("google_ads").await;
        let one_day = Scan { filters: vec![filter(1, Op::Eq, day(&at))], ..Scan::default() };
        scan(&reader, table(&reader, "click_performance_report", &["gcl_id", "date_start"]), one_day).await.unwrap();
        assert_eq!(queries(&simulator).await.len(), 1 + calls, "{at}");
    }
}

#[tokio::test]
async fn an_order_spans_the_accounts() {
    let simulator = accounts().await;
    simulator.post("/google_ads/config", serde_json::json!({"page_size": 4})).await;
    let reader = reader(&simulator);
    let columns = ["cost", "date_start", "campaign_id"];
    let name = "campaign_performance_report";
    let order = vec![
        Order { column: 1, descending: false, nulls_first: false },
        Order { column: 0, descending: true, nulls_first: true },
    ];
    let mut want = ledger(&reader, &simulator, name, &columns).await;
    let key = |row: &Vec<Value>| (row[1].as_i64().unwrap(), -row[0].as_i64().unwrap());
    want.sort_by_key(key);
    for limit in [None, Some(5)] {
        simulator.forget_requests("google_ads").await;
        let wanted = Scan { order: order.clone(), limit, ..Scan::default() };
        let (rows, _) = scan(&reader, table(&reader, name, &columns), wanted).await.unwrap();
        let most = limit.map_or(want.len(), |limit| limit as usize);
        assert_eq!(
            rows.iter().map(key).collect::<Vec<_>>(),
            want.iter().take(most).map(key).collect::<Vec<_>>(),
            "{limit:?}"
        );
        let asked = queries(&simulator).await;
        assert!(asked[1].1.contains(" ORDER BY segments.date, metrics.cost_micros DESC"), "{asked:?}");
        assert!([ONE, TWO].iter().all(|account| asked.iter().any(|(to, _)| to == account)));
    }
}

/// A constant that an enum does not have is refused: no row has it, and the query must not fail.
#[tokio::test]
async fn a_refused_condition_is_left_out() {
    let simulator = accounts().await;
    let reader = reader(&simulator);
    let text = FilterValue::Text("enabled".to_string());
    let wanted = Scan { filters: vec![filter(1, Op::Eq, text)], limit: Some(1), ..Scan::default() };
    let (rows, notes) = scan(&reader, table(&reader, "campaigns", &["id", "status"]), wanted).await.unwrap();
    assert_eq!(rows.len(), truth(&simulator, "campaigns").await.len(), "Postgres looks at all of them");
    assert!(notes.iter().any(|note| note.contains("Invalid enum value")), "{notes:?}");
}

#[tokio::test]
async fn a_query_does_not_hide_that_an_account_may_not_be_read() {
    let simulator = accounts().await;
    simulator.post("/google_ads/config", serde_json::json!({"denied": [TWO]})).await;
    let reader = reader(&simulator);
    let refused = scan(&reader, reader.output("campaigns"), Scan::default()).await.unwrap_err();
    assert!(matches!(refused, SyncError::AccessDenied { .. }), "{refused:?}");
    let one = Scan { filters: vec![filter(0, Op::Ne, FilterValue::Int(TWO.parse().unwrap()))], ..Scan::default() };
    let (rows, _) = scan(&reader, table(&reader, "campaigns", &["adwords_customer_id", "id"]), one).await.unwrap();
    assert!(!rows.is_empty());
}

#[test]
fn explain_shows_the_query() {
    let simulator = Simulator::start();
    let reader = super::google_ads::reader_with(&simulator, &[("customer_ids", "100-000-0002")]);
    let output = table(&reader, "campaigns", &["id", "name"]);
    let wanted = Scan { filters: vec![filter(0, Op::Ge, FilterValue::Int(7))], limit: Some(2), ..Scan::default() };
    let request = ReadRequest { outputs: vec![output], mode: Mode::Scan(wanted) };
    let first = extract::first_request(&request, &reader.account()).unwrap();
    assert_eq!(first.target, "/{api_version}/customers/1000000002/googleAds:search");
    let query = first.json_body.unwrap()["query"].as_str().unwrap().to_string();
    assert!(query.starts_with(
        "SELECT campaign.id, campaign.name, campaign.status FROM campaign WHERE campaign.id >= 7 LIMIT 2"
    ));
}
