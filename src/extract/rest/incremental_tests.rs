use super::testing::*;
use super::*;
use crate::extract::Mode;
use crate::http::testing::{json as reply, Act, Server};
use serde_json::{json, Value};

/// An app whose list filters by update time, inclusively, oldest first.
async fn app(records: Vec<(&'static str, i64)>, now: i64) -> Server {
    Server::start(move |seen| {
        let since: i64 = seen.param("since").map_or(0, |text| text.parse().unwrap());
        let data: Vec<Value> =
            records.iter().filter(|(_, at)| *at >= since).map(|(id, at)| json!({"id": id, "updated": at})).collect();
        match reply(json!({"data": data})) {
            Act::Reply(code, mut headers, body) => {
                headers.push(("Date", http_date(now)));
                Act::Reply(code, headers, body)
            }
            other => other,
        }
    })
    .await
}

fn source_with(cursor: Value) -> crate::manifest::Source {
    crate::http::testing::source(json!({"collections": [{"name": "things", "path": "/things", "records": "/data",
        "primary_key": ["id"], "cursor": cursor,
        "columns": [{"name": "id", "type": "text"}, {"name": "updated", "type": "timestamptz", "format": "unix"}]}]}))
}

fn by_update() -> crate::manifest::Source {
    source_with(json!({"field": "updated", "param": "since", "format": "unix", "overlap_seconds": 60}))
}

async fn read_from(source: &crate::manifest::Source, server: &Server, cursor: Option<i64>) -> (Vec<String>, Value) {
    let mode = if cursor.is_some() { Mode::Incremental } else { Mode::Full { resume: None } };
    let request = ReadRequest { outputs: vec![output(source, "things", cursor.map(checkpoint))], mode };
    let (pages, end) = run(&api(source.clone(), server, |_| ()), request).await;
    let keys = table(&pages, 0).keys().into_iter().map(str::to_string).collect();
    (keys, end.unwrap().checkpoints[0].as_ref().unwrap()["cursor"].clone())
}

fn iso(seconds: i64) -> Value {
    checkpoint(seconds)["cursor"].clone()
}

#[tokio::test]
async fn the_lower_bound_is_inclusive_and_steps_back() {
    let server = app(vec![("old", NOW - 500), ("edge", NOW - 160), ("tie", NOW - 100), ("new", NOW - 10)], NOW).await;
    let (keys, cursor) = read_from(&by_update(), &server, Some(NOW - 100)).await;
    assert_eq!(keys, ["edge", "new", "tie"]);
    assert_eq!(cursor, iso(NOW - 10), "the newest stamp, not the clock: what comes late is near it");
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn a_cursor_neither_freezes_nor_goes_back() {
    for (name, records, before, want) in [
        ("a stamp in the future", vec![("a", NOW + 9_999_999)], NOW - 100, NOW),
        ("nothing new", vec![], NOW - 100, NOW - 100),
        ("only what the overlap shows", vec![("a", NOW - 120)], NOW - 100, NOW - 100),
        ("the app's clock is behind", vec![("a", NOW + 50)], NOW + 40, NOW + 40),
    ] {
        let server = app(records, NOW).await;
        assert_eq!(read_from(&by_update(), &server, Some(before)).await.1, iso(want), "{name}");
    }
}

#[tokio::test]
async fn a_full_reading_does_not_run_ahead_of_its_start() {
    let server = app(vec![("a", NOW - 50), ("b", NOW + 30)], NOW).await;
    assert_eq!(read_from(&by_update(), &server, None).await.1, iso(NOW));
    let server = app(vec![("a", NOW - 50)], NOW).await;
    assert_eq!(read_from(&by_update(), &server, None).await.1, iso(NOW - 50));
    let server = app(vec![], NOW).await;
    assert_eq!(read_from(&by_update(), &server, None).await.1, iso(NOW));
}

#[tokio::test]
async fn without_a_filter_everything_is_read() {
    for cursor in [json!(null), json!({"field": "updated", "format": "unix"})] {
        let server = app(vec![("a", 5), ("b", NOW)], NOW).await;
        let (keys, _) = read_from(&source_with(cursor), &server, Some(NOW - 100)).await;
        assert_eq!(keys, ["a", "b"]);
        assert_eq!(server.seen()[0].param("since"), None);
    }
}
