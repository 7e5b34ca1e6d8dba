use super::testing::*;
use super::*;
use crate::extract::sink::{Channel, Event};
use crate::extract::{Filter, FilterValue, Mode, Op, Pushed};
use futures_util::FutureExt;
use std::sync::{Arc, Mutex};

fn app(count: i64) -> Shared {
    let things = (0..count).map(|n| thing(&format!("t{n:02}"), NOW - 1000 + n, n)).collect();
    Arc::new(Mutex::new(App { things, now: NOW, embedded: 5, ..App::default() }))
}

fn scan(name: &str, filters: Vec<Filter>, limit: Option<u64>) -> ReadRequest {
    let scan = Scan { filters, limit, ..Scan::default() };
    ReadRequest { outputs: vec![output(&source(), name, None)], mode: Mode::Scan(scan) }
}

fn filter(column: usize, op: Op, values: Vec<FilterValue>) -> Filter {
    Filter { column, op, values }
}

fn text(value: &str) -> FilterValue {
    FilterValue::Text(value.into())
}

async fn keys(server: &crate::http::testing::Server, request: ReadRequest) -> Vec<String> {
    // Wanted far more often than there are pages.
    let channel = Channel::new(0, Box::new(|| {}));
    (0..100).for_each(|_| channel.want_more());
    let sink = crate::extract::sink::Sink::new(Arc::clone(&channel));
    Rest::read(&api(source(), server, |_| ()), request, &sink).await.unwrap();
    let mut pages = Vec::new();
    while let Some(Event::Page(page)) = channel.take() {
        pages.push(page);
    }
    table(&pages, 0).keys().into_iter().map(str::to_string).collect()
}

#[tokio::test]
async fn keys_are_read_one_by_one() {
    let app = app(30);
    let server = serve(&app).await;
    let wanted = vec![text("t03"), text("t99"), text("t03"), text("../events"), text(".."), text("")];
    let found = keys(&server, scan("things", vec![filter(0, Op::In, wanted)], None)).await;
    assert_eq!(found, ["t03"]);
    let mut paths: Vec<String> = server.seen().into_iter().map(|seen| seen.path).collect();
    paths.sort();
    assert_eq!(paths, ["/things/..%2Fevents", "/things/t03", "/things/t99"], "each once, and none climbs out");
}

#[tokio::test]
async fn what_the_app_can_filter_it_is_told() {
    let app = app(30);
    let server = serve(&app).await;
    let at = |seconds: i64| vec![FilterValue::Timestamp(seconds * 1_000_000 + 500_000)];
    let filters = vec![
        filter(1, Op::Gt, at(NOW - 990)),
        filter(1, Op::Le, at(NOW - 985)),
        filter(2, Op::Eq, vec![FilterValue::Int(12)]),
        filter(2, Op::Lt, vec![FilterValue::Int(500)]),
    ];
    keys(&server, scan("things", filters, None)).await;
    let seen = &server.seen()[0];
    assert_eq!(seen.param("created[gte]"), Some((NOW - 990).to_string().as_str()), "rounded outwards");
    assert_eq!(seen.param("created[lte]"), Some((NOW - 984).to_string().as_str()), "rounded outwards");
    assert_eq!(seen.param("amount"), Some("12"));
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn no_call_is_made_before_a_row_is_wanted() {
    let app = app(30);
    let server = serve(&app).await;
    let channel = Channel::new(0, Box::new(|| {}));
    let sink = crate::extract::sink::Sink::new(Arc::clone(&channel));
    let api = api(source(), &server, |_| ());
    let mut reading = Box::pin(Rest::read(&api, scan("things", vec![], None), &sink));
    for pages in 0..3 {
        for _ in 0..200 {
            assert!((&mut reading).now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        assert_eq!(server.calls(), pages);
        channel.want_more();
        let mut got = 0;
        while got == 0 {
            assert!((&mut reading).now_or_never().is_none());
            tokio::task::yield_now().await;
            while channel.take().is_some() {
                got += 1;
            }
        }
        assert_eq!((got, server.calls()), (1, pages + 1));
    }
}

#[tokio::test]
async fn a_limit_makes_the_page_small_only_when_all_was_pushed() {
    let app = app(30);
    let server = serve(&app).await;
    assert_eq!(keys(&server, scan("things", vec![], Some(3))).await.len(), 3);
    assert_eq!((server.seen()[0].param("limit"), server.calls()), (Some("3"), 1));
    let unpushed = vec![filter(2, Op::Lt, vec![FilterValue::Int(5)])];
    assert_eq!(keys(&server, scan("things", unpushed, Some(3))).await.len(), 30, "Postgres decides what matches");
}

#[tokio::test]
async fn children_of_a_named_parent_cost_one_call() {
    let app = app(30);
    let line = serde_json::json!({"id": "l1", "n": 1, "created": 1});
    app.lock().unwrap().lines.insert("t07".into(), vec![line]);
    let server = serve(&app).await;
    assert_eq!(keys(&server, scan("lines", vec![filter(1, Op::Eq, vec![text("t07")])], None)).await, ["l1"]);
    assert_eq!((server.calls(), server.seen()[0].path.as_str()), (1, "/things/t07"));
    assert_eq!(keys(&server, scan("lines", vec![], None)).await, ["l1"]);
    assert_eq!(server.calls(), 1 + 3, "without a parent's name all of them are listed");
}

#[test]
fn what_can_be_pushed_is_told_before_a_scan() {
    let source = source();
    for (name, column, op, want) in [
        ("things", 0, Op::Eq, Pushed::Exact),
        ("things", 0, Op::In, Pushed::Exact),
        ("things", 0, Op::Lt, Pushed::No),
        ("things", 1, Op::Ge, Pushed::Superset),
        ("things", 1, Op::Lt, Pushed::Superset),
        ("things", 1, Op::Ne, Pushed::No),
        ("things", 2, Op::Eq, Pushed::Exact),
        ("things", 2, Op::Gt, Pushed::No),
        ("lines", 0, Op::Eq, Pushed::No),
        ("lines", 1, Op::Eq, Pushed::Superset),
        ("balances", 0, Op::Eq, Pushed::No),
    ] {
        let out = output(&source, name, None);
        assert_eq!(Rest::pushable(&out.collection, &out.columns[column], op), want, "{name} {column} {op:?}");
    }
}

#[test]
fn explain_shows_the_first_call() {
    let account = crate::http::testing::account(source(), "https://api.acme.test");
    let by_key = scan("things", vec![filter(0, Op::Eq, vec![text("t 1")])], None);
    for (request, want) in [
        (by_key, "GET /things/t%201"),
        (scan("things", vec![], None), "GET /things?limit=10"),
        (scan("lines", vec![], Some(5)), "GET /things?limit=10"),
        (scan("things", vec![], Some(5)), "GET /things?limit=5"),
    ] {
        let shown = Rest::first_request(&request, &account).unwrap();
        assert_eq!(crate::http::shown_request(&account, &shown), want);
    }
}
