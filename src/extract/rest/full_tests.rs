use super::testing::*;
use super::*;
use crate::extract::Mode;
use serde_json::json;
use std::sync::{Arc, Mutex};

fn full(outputs: Vec<crate::extract::Output>, resume: Option<serde_json::Value>) -> ReadRequest {
    ReadRequest { outputs, mode: Mode::Full { resume } }
}

/// `count` things, several of them in the same second.
fn app(count: i64) -> Shared {
    let things = (0..count).map(|n| thing(&format!("t{n:04}"), NOW - 100_000 + n / 3 * 50, n)).collect();
    Arc::new(Mutex::new(App { things, now: NOW, ..App::default() }))
}

fn ids(count: i64) -> Vec<String> {
    (0..count).map(|n| format!("t{n:04}")).collect()
}

#[tokio::test]
async fn a_first_load_is_whole_and_costs_no_call_too_many() {
    for (count, calls) in [(0, 1), (1, 1), (10, 1), (11, 2), (40, 4)] {
        for concurrency in [1, 4] {
            let app = app(count);
            let server = serve(&app).await;
            let api = api(source(), &server, |a| a.policy.max_concurrency = concurrency);
            let (pages, end) = run(&api, full(vec![output(&source(), "things", None)], None)).await;
            let end = end.unwrap();
            assert_eq!(table(&pages, 0).keys(), ids(count), "{count}");
            assert_eq!(row_count(&pages) as i64, count, "no row comes twice");
            assert_eq!(server.calls(), calls, "{count} things, {concurrency} at once");
            assert_eq!(end.checkpoints[0].as_ref().unwrap()["cursor"], "2023-11-14T22:13:20.000Z");
            assert_eq!(server.seen()[0].param("created[lte]"), None);
        }
    }
}

#[tokio::test]
async fn what_is_listed_does_not_pass_for_newer_than_the_app_looked() {
    let app = app(1);
    let server = serve(&app).await;
    let (pages, _) = run(&api(source(), &server, |_| ()), full(vec![output(&source(), "things", None)], None)).await;
    let version = table(&pages, 0).0["t0000"].1.unwrap();
    assert!((NOW - 4..=NOW - 2).contains(&version), "{}", NOW - version);
}

/// Property: whatever call fails, going on from the last saved position gives the same table, and repeats little.
#[tokio::test]
async fn an_interrupted_load_goes_on_wherever_it_stopped() {
    for (count, concurrency) in [(95, 1), (95, 4), (400, 4)] {
        let app = app(count);
        let server = serve(&app).await;
        for stop in (1..40).step_by(if count == 95 { 1 } else { 7 }) {
            let mut stored = Table::default();
            let mut position = None;
            let mut rows = 0;
            let mut rounds = 0;
            loop {
                app.lock().unwrap().fails_after = Some(stop);
                let api = api(source(), &server, |a| a.policy.max_concurrency = concurrency);
                let (pages, end) = run(&api, full(vec![output(&source(), "things", None)], position.clone())).await;
                stored.store(&pages, 0);
                rows += row_count(&pages);
                if let Some(saved) = pages.iter().rev().find_map(|p| p.position.clone()) {
                    position = Some(saved);
                }
                rounds += 1;
                assert!(rounds < 500, "no progress: {position:?}");
                if end.is_ok() {
                    break;
                }
            }
            assert_eq!(stored.keys(), ids(count), "{count} things, stopped after {stop} calls each time");
            assert!(
                rows as i64 <= count + 10 * i64::from(concurrency) * rounds,
                "{rows} rows for {count} in {rounds} rounds"
            );
        }
    }
}

#[tokio::test]
async fn a_long_listing_is_read_in_several_places_at_once() {
    let app = app(1500);
    let server = serve(&app).await;
    let api = api(source(), &server, |a| a.policy.max_concurrency = 4);
    let (pages, end) = run(&api, full(vec![output(&source(), "things", None)], None)).await;
    end.unwrap();
    assert_eq!(table(&pages, 0).keys(), ids(1500));
    assert!(server.seen().iter().any(|seen| seen.param("created[lte]").is_some()), "it was split");
    assert!(server.calls() < 150 + 30, "{} calls for 150 pages", server.calls());
    // The last position says that nothing is left.
    let last = pages.last().unwrap().position.clone();
    let calls = server.calls();
    let (_, end) = run(&api, full(vec![output(&source(), "things", None)], last)).await;
    assert!(end.unwrap().checkpoints[0].is_some());
    assert_eq!(server.calls(), calls);
}

#[tokio::test]
async fn more_records_in_one_second_than_fit_a_page() {
    let things = (0..57).map(|n| thing(&format!("t{n:04}"), NOW - 100, n)).collect();
    let app = Arc::new(Mutex::new(App { things, now: NOW, ..App::default() }));
    let server = serve(&app).await;
    let (pages, _) = run(&api(source(), &server, |_| ()), full(vec![output(&source(), "things", None)], None)).await;
    assert_eq!(table(&pages, 0).keys(), ids(57));
}

#[tokio::test]
async fn parents_and_children_share_a_listing() {
    let app = app(3);
    {
        let mut app = app.lock().unwrap();
        app.embedded = 2;
        let lines = |count: i64, of: &str| {
            (0..count).map(|n| json!({"id": format!("{of}-l{n:02}"), "n": n, "created": n})).rev().collect()
        };
        app.lines.insert("t0000".into(), lines(25, "t0000"));
        app.lines.insert("t0001".into(), lines(2, "t0001"));
        app.lines.insert("t0002".into(), vec![]);
    }
    let server = serve(&app).await;
    let source = source();
    let groups = crate::extract::group::group(
        &source,
        vec![(output(&source, "things", None), None), (output(&source, "lines", None), None)],
    );
    let [(indexes, request)]: [_; 1] = groups.try_into().unwrap();
    assert_eq!(indexes, [0, 1]);
    let (pages, end) = run(&api(source, &server, |_| ()), request).await;
    end.unwrap();
    assert_eq!(table(&pages, 0).keys(), ids(3));
    let children = table(&pages, 1);
    assert_eq!(children.0.len(), 27);
    assert_eq!(children.0["t0000-l07"].0[1], "t0000", "the parent's key is added");
    // One listing of things; the 23 lines that were not embedded take three pages of ten.
    assert_eq!(server.calls(), 1 + 3);
    assert_eq!(server.seen()[1].param("starting_after"), Some("t0000-l23"));
    let complete: Vec<(String, usize)> = pages
        .iter()
        .flat_map(|p| &p.batches)
        .flat_map(|(_, b)| &b.complete_parents)
        .map(|c| (c.parent_key.clone(), c.child_keys.len()))
        .collect();
    assert_eq!(complete.len(), 3, "{complete:?}");
    for expected in [("t0000".to_string(), 25), ("t0001".to_string(), 2), ("t0002".to_string(), 0)] {
        assert!(complete.contains(&expected), "{expected:?} in {complete:?}");
    }
}

#[tokio::test]
async fn a_record_deleted_between_two_pages_does_not_stop_the_listing() {
    // With slices (things), and where only the id says where to go on (a plain listing of the same).
    for name in ["things", "plain"] {
        let mut source = source();
        let mut plain = source.collection("things").unwrap().clone();
        (plain.name, plain.cursor) = ("plain".into(), None);
        source.collections.push(plain);
        source.errors = serde_json::from_value(
            json!([{"status": [400], "code": "/error/param", "codes": ["starting_after"], "means": "cursor_expired"}]),
        )
        .unwrap();
        let app = app(45);
        let inner = Arc::clone(&app);
        let server = crate::http::testing::Server::start(move |seen| {
            let mut app = inner.lock().unwrap();
            if let Some(after) = seen.param("starting_after") {
                if after == "t0035" {
                    app.things.retain(|t| t["id"] != "t0035" && t["id"] != "t0036");
                }
                if !app.things.iter().any(|t| t["id"] == after) {
                    return crate::http::testing::status(400, r#"{"error": {"param": "starting_after"}}"#);
                }
            }
            answer(&mut app, seen)
        })
        .await;
        let (pages, end) =
            run(&api(source.clone(), &server, |_| ()), full(vec![output(&source, name, None)], None)).await;
        end.unwrap();
        assert_eq!(table(&pages, 0).keys(), ids(45), "{name}: what was listed before stays until its deletion is told");
    }
}

/// The built-in source: everything that has a checkpoint follows one stream, and everything can be asked.
#[test]
fn stripe_is_read_with_the_fewest_calls() {
    let source = crate::manifest::load::source("stripe").unwrap();
    let account = crate::http::testing::account((*source).clone(), "https://api.stripe.test");
    let served: Vec<_> = source.collections.iter().filter(|c| c.unsupported.is_none()).collect();
    let outputs = |saved: Option<serde_json::Value>| {
        served.iter().map(|c| (output(&source, &c.name, saved.clone()), None)).collect::<Vec<_>>()
    };
    let groups = crate::extract::group::group(&source, outputs(Some(checkpoint(NOW))));
    assert_eq!(groups.len(), 1, "a quiet run is one call");
    assert_eq!(groups[0].0.len(), served.len());
    let groups = crate::extract::group::group(&source, outputs(None));
    let listings: Vec<String> = groups
        .iter()
        .map(|(_, request)| crate::http::shown_request(&account, &Rest::first_request(request, &account).unwrap()))
        .collect();
    assert!(groups.len() < served.len(), "children share their parents' listings");
    for listing in &listings {
        assert!(listing.starts_with("GET /v1/") && !listing.contains('{'), "{listing}");
    }
    assert!(listings.contains(&"GET /v1/customers?limit=100&expand[]=data.sources".to_string()), "{listings:#?}");
}

#[tokio::test]
async fn keys_are_listed_without_a_position() {
    let app = app(25);
    let server = serve(&app).await;
    let request = ReadRequest { outputs: vec![output(&source(), "things", None)], mode: Mode::Keys };
    let (pages, end) = run(&api(source(), &server, |_| ()), request).await;
    assert!(end.is_ok() && pages.iter().all(|p| p.position.is_none()));
    assert_eq!(table(&pages, 0).keys(), ids(25));
}

#[tokio::test]
async fn a_listing_in_circles_is_an_error() {
    let page = json!({"data": [thing("a", NOW, 1)], "has_more": true}).to_string();
    let empty = json!({"data": [], "has_more": true}).to_string();
    for body in [page, empty] {
        let server = crate::http::testing::Server::start(move |_| crate::http::testing::json(&body)).await;
        let (_, end) = run(&api(source(), &server, |_| ()), full(vec![output(&source(), "things", None)], None)).await;
        let error = end.unwrap_err();
        assert!(matches!(error, SyncError::PagerLoop { .. }), "{error:?}");
        assert!(server.calls() <= 5, "{}", server.calls());
    }
}

#[tokio::test]
async fn no_list_is_not_an_empty_list() {
    for body in ["{}", r#"{"data": {}}"#, r#"{"error": {"message": "x"}}"#, "[]", "null", r#"{"data": []}"#] {
        let server = crate::http::testing::Server::start(move |_| crate::http::testing::json(body)).await;
        let (pages, end) =
            run(&api(source(), &server, |_| ()), full(vec![output(&source(), "things", None)], None)).await;
        assert!(matches!(end, Err(SyncError::Unreadable { .. })), "{body}: {end:?}");
        assert!(pages.is_empty() && server.calls() == 1);
    }
}

#[tokio::test]
async fn an_unsupported_collection_costs_no_call() {
    let app = app(1);
    let server = serve(&app).await;
    let api = api(source(), &server, |_| ());
    let (_, end) = run(&api, full(vec![output(&source(), "skus", None)], None)).await;
    assert_eq!(end.unwrap_err(), SyncError::Unsupported { reason: "ended".into() });
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn other_styles_of_paging_resume_too() {
    for style in ["next_url", "relative_url", "token", "offset"] {
        let pages = match style {
            "token" => json!({"style": "token", "pointer": "/next", "param": "page", "size_param": "n", "size": 10}),
            "offset" => json!({"style": "offset", "param": "offset", "size_param": "n", "size": 10}),
            _ => json!({"style": "next_url", "pointer": "/next", "size_param": "n", "size": 10}),
        };
        let server = crate::http::testing::Server::start(move |seen| {
            let number = |name| seen.param(name).map_or(0, |v| v.parse::<usize>().unwrap());
            assert_eq!(seen.param("n"), Some("10"));
            let start = number("page") + number("offset");
            let data: Vec<_> = (start..35.min(start + 10)).map(|n| thing(&format!("t{n:04}"), NOW, 1)).collect();
            let next = (start + 10 < 35).then(|| match style {
                "token" => (start + 10).to_string(),
                "relative_url" => format!("/v2/things?page={}&n=10", start + 10),
                _ => format!("http://{}/v2/things?page={}&n=10", seen.headers["host"], start + 10),
            });
            crate::http::testing::json(json!({"data": data, "next": next}))
        })
        .await;
        let source = crate::http::testing::source(
            json!({"collections": [{"name": "things", "path": "/things", "records": "/data",
            "primary_key": ["id"], "pages": pages, "columns": [{"name": "id", "type": "text"}]}]}),
        );
        let api = api(source.clone(), &server, |a| {
            a.options.insert("base_url".into(), format!("{}/v2", server.url));
        });
        let (pages, end) = run(&api, full(vec![output(&source, "things", None)], None)).await;
        end.unwrap();
        assert_eq!(table(&pages, 0).keys(), ids(35), "{style}");
        assert_eq!(server.calls(), 4, "{style}");
        for resumed in 0..pages.len() {
            let (rest, end) =
                run(&api, full(vec![output(&source, "things", None)], pages[resumed].position.clone())).await;
            end.unwrap();
            let mut whole = table(&pages[..=resumed], 0);
            whole.store(&rest, 0);
            assert_eq!(whole.keys(), ids(35), "{style} after page {resumed}");
            assert_eq!(rest.len(), 3 - resumed, "{style} repeats nothing");
        }
    }
}

#[tokio::test]
async fn a_check_is_one_cheap_call() {
    let app = app(30);
    let server = serve(&app).await;
    let api = api(source(), &server, |_| ());
    Rest::check(&api, source().collection("lines")).await.unwrap();
    assert_eq!(server.seen()[0].param("limit"), Some("1"));
    assert!(matches!(Rest::check(&api, None).await, Err(SyncError::NotFound { .. })), "this app has no /account");
    assert_eq!(server.calls(), 2);
}
