//! Each way of asking that a source file can say, against a small app that does it so.

use super::testing::{checkpoint, http_date, output, row_count, run, table, NOW};
use super::*;
use crate::extract::{Mode, Output, Page};
use crate::http::testing::{account, client, json as reply, status, Act, Seen, Server};
use crate::manifest::Source;
use serde_json::{json, Value};

/// A source with these members beside the usual ones.
fn source(members: Value) -> Source {
    crate::http::testing::source(members)
}

/// One collection of things with an id and the time of their last change.
fn things(members: Value) -> Value {
    let mut collection = json!({
        "name": "things", "path": "/things", "records": "/data", "primary_key": ["id"], "pages": {"style": "none"},
        "columns": [{"name": "id", "type": "text"}, {"name": "updated", "type": "timestamptz", "format": "unix"}],
    });
    for (name, value) in members.as_object().unwrap() {
        collection[name] = value.clone();
    }
    collection
}

fn thing(id: &str, updated: i64) -> Value {
    json!({"id": id, "updated": updated})
}

/// A reply that shows the app's clock.
fn dated(body: Value) -> Act {
    match reply(body) {
        Act::Reply(code, mut headers, body) => {
            headers.push(("Date", http_date(NOW)));
            Act::Reply(code, headers, body)
        }
        other => other,
    }
}

fn body(seen: &Seen) -> Value {
    serde_json::from_str(&seen.body).unwrap_or_default()
}

struct Done {
    pages: Vec<Page>,
    end: Result<ReadEnd, SyncError>,
}

impl Done {
    fn keys(&self) -> Vec<String> {
        table(&self.pages, 0).keys().into_iter().map(str::to_string).collect()
    }

    fn checkpoint(&self) -> Option<Value> {
        self.end.as_ref().unwrap().checkpoints[0].clone()
    }

    fn rows(&self) -> Vec<Vec<String>> {
        table(&self.pages, 0).0.into_values().map(|(cells, ..)| cells).collect()
    }
}

async fn read_with(
    source: &Source,
    server: &Server,
    outputs: Vec<Output>,
    mode: Mode,
    options: &[(&str, &str)],
) -> Done {
    let mut account = account(source.clone(), &server.url);
    account.options.extend(options.iter().map(|(name, value)| (name.to_string(), value.to_string())));
    let (pages, end) = run(&client(account), ReadRequest { outputs, mode }).await;
    Done { pages, end }
}

async fn full(source: &Source, server: &Server, name: &str) -> Done {
    read_with(source, server, vec![output(source, name, None)], Mode::Full { resume: None }, &[]).await
}

async fn changes(source: &Source, server: &Server, name: &str, since: Value) -> Done {
    read_with(source, server, vec![output(source, name, Some(since))], Mode::Incremental, &[]).await
}

#[tokio::test]
async fn a_search_pages_and_filters_in_its_body() {
    // HubSpot: tokens and conditions in the body, 6 results a query at most, restart above the last id.
    let server = Server::start(|seen| {
        let body = body(seen);
        assert_eq!((seen.method.as_str(), seen.headers["content-type"].as_str()), ("POST", "application/json"));
        let filters = body["filters"].as_array().unwrap();
        let since: i64 = filters[0]["value"].as_str().unwrap().parse().unwrap();
        let above = filters.get(1).map(|f| f["value"].as_str().unwrap().to_string()).unwrap_or_default();
        let all: Vec<Value> = (0..15).map(|n| thing(&format!("t{n:02}"), NOW - 500 + n * 10)).collect();
        let kept: Vec<&Value> = all
            .iter()
            .filter(|t| t["updated"].as_i64().unwrap() * 1000 >= since && t["id"].as_str().unwrap() > above.as_str())
            .collect();
        let (after, limit) = (body["after"].as_str().map_or(0, |t| t.parse().unwrap()), body["limit"].as_u64().unwrap());
        if after >= 6 {
            return status(400, r#"{"error": {"message": "paging beyond 6"}}"#);
        }
        let page: Vec<&&Value> = kept.iter().skip(after).take(limit as usize).collect();
        let more = kept.len() > after + page.len();
        dated(json!({"data": page, "paging": if more { json!({"next": {"after": (after + 2).to_string()}}) } else { json!({}) }}))
    })
    .await;
    let source = source(json!({"collections": [things(json!({
        "method": "POST", "path": "/search",
        "json": {"filters": [
            {"value": "{cursor|unix_ms}", "op": "GTE"}, {"$if": "last_key", "value": "{last_key}", "op": "GT"}],
            "limit": null},
        "pages": {"style": "token", "pointer": "/paging/next/after", "param": "/after", "size_param": "/limit", "size": 2},
        "cursor": {"field": "updated", "format": "unix", "overlap_seconds": 15},
        "ceiling": {"records": 6, "restart": "last_key", "field": "/id"},
    }))]}));
    let done = full(&source, &server, "things").await;
    assert_eq!(done.keys().len(), 15);
    assert_eq!(row_count(&done.pages), 15, "nothing twice");
    // Twice 3 pages of 2, and 2 for what is above.
    assert_eq!(server.calls(), 8, "15 records in queries of 6");
    assert_eq!(done.checkpoint().unwrap()["cursor"], checkpoint(NOW - 360)["cursor"]);
    let before = server.calls();
    let done = changes(&source, &server, "things", checkpoint(NOW - 380)).await;
    assert_eq!(done.keys(), ["t11", "t12", "t13", "t14"], "inclusive, and 15 seconds before");
    assert_eq!(server.calls() - before, 2);
    assert_eq!(body(&server.seen()[before])["filters"][0]["value"], ((NOW - 395) * 1000).to_string());
}

#[tokio::test]
async fn a_ceiling_is_passed_by_the_cursor_where_the_listing_is_sorted_by_it() {
    let list = |ties: i64| {
        move |seen: &Seen| {
            let since: i64 = seen.param("since").map_or(0, |s| s.parse().unwrap());
            let offset: usize = seen.param("offset").map_or(0, |s| s.parse().unwrap());
            let stamp = |n: i64| NOW - 100 + n / ties;
            let all: Vec<Value> = (0..12).map(|n| thing(&format!("t{n:02}"), stamp(n))).collect();
            let page: Vec<Value> =
                all.into_iter().filter(|t| t["updated"].as_i64().unwrap() >= since).skip(offset).take(2).collect();
            if offset >= 4 {
                status(400, "{}")
            } else {
                dated(json!({"data": page}))
            }
        }
    };
    let source = source(json!({"collections": [things(json!({
        "pages": {"style": "offset", "param": "offset", "size_param": "n", "size": 2},
        "cursor": {"field": "updated", "format": "unix", "param": "since"},
        "ceiling": {"records": 4, "restart": "cursor"},
    }))]}));
    let server = Server::start(list(2)).await;
    let done = full(&source, &server, "things").await;
    assert_eq!(done.keys().len(), 12, "{:?}", done.end);
    let server = Server::start(list(5)).await;
    let done = full(&source, &server, "things").await;
    assert!(
        matches!(done.end, Err(SyncError::TooLarge { limit: 4, .. })),
        "more ties than a query gives: {:?}",
        done.end
    );
}

#[tokio::test]
async fn numbered_pages_end_as_they_say() {
    for (pages, extra, calls) in [
        (json!({"style": "page_number", "param": "page", "size_param": "size", "size": 3}), json!({}), 3),
        (json!({"style": "page_number", "param": "page", "size": 3, "total": "/total"}), json!({"total": 7}), 3),
        (json!({"style": "page_number", "param": "page", "total_pages": "/pages"}), json!({"pages": 3}), 3),
        (json!({"style": "page_number", "param": "page", "until": "empty_page"}), json!({}), 4),
    ] {
        let server = Server::start(move |seen| {
            let page: usize = seen.param("page").unwrap().parse().unwrap();
            let all: Vec<Value> = (0..7).map(|n| thing(&format!("t{n}"), NOW)).collect();
            let mut body = json!({"data": all.iter().skip((page - 1) * 3).take(3).collect::<Vec<_>>()});
            extra.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
            dated(body)
        })
        .await;
        let source = source(json!({"collections": [things(json!({"pages": pages}))]}));
        let done = full(&source, &server, "things").await;
        assert_eq!((done.keys().len(), server.calls()), (7, calls), "{pages}");
    }
}

#[tokio::test]
async fn links_and_walks_are_followed() {
    let server = Server::start(|seen| {
        let page: i64 = seen.param("page").map_or(1, |p| p.parse().unwrap());
        let mut act = dated(json!([thing(&format!("t{page}"), NOW)]));
        if let (Act::Reply(_, headers, _), true) = (&mut act, page < 3) {
            let next = format!("</list?page={}&key={}>; rel=\"next\"", page + 1, crate::http::testing::KEY);
            headers.push(("Link", next));
        }
        act
    })
    .await;
    let linked = source(
        json!({"collections": [things(json!({"path": "/list", "records": "", "pages": {"style": "link_header"}}))]}),
    );
    let done = full(&linked, &server, "things").await;
    assert_eq!(done.keys(), ["t1", "t2", "t3"]);
    assert!(done.pages.iter().all(|p| !format!("{:?}", p.position).contains("canary")), "no secret in a position");
    assert!(server.seen()[1].param("key").is_none());

    let mut left = 3;
    let server = Server::start(move |seen| {
        assert_eq!(seen.param("scroll_param").is_some(), left < 3);
        left -= 1;
        let data = if left > 0 { vec![thing(&format!("t{left}"), NOW)] } else { Vec::new() };
        dated(json!({"data": data, "scroll_param": "the-same"}))
    })
    .await;
    let pages = json!({"style": "scroll", "pointer": "/scroll_param", "param": "scroll_param"});
    let walked = source(json!({"collections": [things(json!({"pages": pages}))]}));
    let done = full(&walked, &server, "things").await;
    assert_eq!(done.keys(), ["t1", "t2"], "{:?}", done.end);
    assert!(done.pages.iter().all(|p| p.position.is_none()), "the app forgets a walk");
}

#[tokio::test]
async fn an_export_moves_its_start_and_the_next_run_begins_where_it_ended() {
    let server = Server::start(|seen| {
        let start: i64 = seen.param("start_time").unwrap().parse().unwrap();
        let mut all: Vec<Value> = (0..10).map(|n| thing(&format!("t{n}"), NOW - 100 + n)).collect();
        all.retain(|t| t["updated"].as_i64().unwrap() >= start);
        let page: Vec<&Value> = all.iter().take(4).collect();
        let end = page.last().map_or(start, |t| t["updated"].as_i64().unwrap());
        dated(json!({"data": page, "count": page.len(), "end_time": end, "next_page": format!("/things?start_time={end}")}))
    })
    .await;
    let source = source(json!({"collections": [things(json!({
        "pages": {"style": "time_export", "pointer": "/next_page", "time": "/end_time", "size": 4},
        "cursor": {"field": "updated", "format": "unix", "param": "start_time", "start": "2020-01-01"},
    }))]}));
    let done = full(&source, &server, "things").await;
    assert_eq!(done.keys().len(), 10, "{:?}", done.end);
    let cursor = done.checkpoint().unwrap();
    assert_eq!(cursor["cursor"], checkpoint(NOW - 91)["cursor"]);
    let before = server.calls();
    let done = changes(&source, &server, "things", cursor).await;
    assert_eq!((done.keys(), server.calls() - before), (vec!["t9".to_string()], 1));
    // A page full of one moment: no way on.
    let stuck = Server::start(|seen| {
        let start = seen.param("start_time").unwrap().to_string();
        let data: Vec<Value> = (0..4).map(|n| thing(&format!("t{n}"), NOW)).collect();
        dated(json!({"data": data, "end_time": NOW, "next_page": format!("/things?start_time={NOW}&was={start}")}))
    })
    .await;
    assert!(matches!(full(&source, &stuck, "things").await.end, Err(SyncError::PagerLoop { .. })));
}

#[tokio::test]
async fn an_apps_own_word_for_its_place_is_kept_between_runs() {
    let server = Server::start(|seen| match (seen.param("start_time"), seen.param("cursor")) {
        (Some("1577836800"), None) => {
            dated(json!({"data": [thing("a", NOW - 5)], "after_url": "/things?cursor=c1", "end_of_stream": false, "after_cursor": "c1"}))
        }
        (None, Some("c1")) => dated(json!({"data": [], "after_url": "/things?cursor=c2", "end_of_stream": true, "after_cursor": "c2"})),
        (None, Some("c2")) => dated(json!({"data": [thing("b", NOW)], "end_of_stream": true, "after_cursor": "c3"})),
        other => panic!("{other:?}"),
    })
    .await;
    let source = source(json!({"collections": [things(json!({
        "pages": {"style": "next_url", "pointer": "/after_url", "end": "/end_of_stream"},
        "cursor": {"field": "updated", "format": "unix", "param": "start_time", "start": "{start_date}",
            "opaque": {"pointer": "/after_cursor", "param": "cursor"}},
    }))], "settings": [{"name": "start_date", "help": "", "default": "2020-01-01"}]}));
    let done = full(&source, &server, "things").await;
    assert_eq!(done.checkpoint().unwrap()["opaque"], "c2", "{:?}", done.end);
    let done = changes(&source, &server, "things", done.checkpoint().unwrap()).await;
    assert_eq!((done.keys(), done.checkpoint().unwrap()["opaque"].as_str()), (vec!["b".to_string()], Some("c3")));
}

#[tokio::test]
async fn a_first_page_may_need_a_token_made_of_a_date() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/token" => {
            assert_eq!(seen.param("since"), Some("2023-11-14T22:10:00Z"));
            dated(json!({"token": "T0"}))
        }
        _ => match seen.param("next") {
            Some("T0") => dated(json!({"token": "T1", "more": true})),
            Some("T1") => dated(json!({"data": [thing("a", NOW)], "token": "T2", "more": false})),
            other => panic!("{other:?}"),
        },
    })
    .await;
    let source = source(json!({"collections": [things(json!({
        "records": {"pointer": "/data", "optional": true},
        "pages": {"style": "token", "pointer": "/token", "more": "/more", "param": "next",
            "first": {"call": {"path": "/token", "params": {"since": "{cursor|iso}"}}, "pointer": "/token"}},
        "cursor": {"field": "updated", "format": "unix"},
    }))]}));
    let done = changes(&source, &server, "things", checkpoint(NOW - 200)).await;
    assert_eq!(done.keys(), ["a"], "an empty page in between is no end: {:?}", done.end);
    assert_eq!(server.calls(), 3);
}

#[tokio::test]
async fn windows_are_no_wider_than_the_app_allows() {
    let source = source(json!({"collections": [things(json!({
        "cursor": {"field": "updated", "format": "unix", "param": "from", "upper_param": "to", "datetime_format": "%ms",
            "step_seconds": 1000, "start_days": 2},
    }))]}));
    let since = crate::extract::time::to_iso_ms((super::request::now_us() / 1_000_000 - 2_500) * 1_000_000);
    let server = Server::start(|seen| {
        let bound = |name: &str| seen.param(name).unwrap().parse::<i64>().unwrap();
        assert!((0..=1_000_000).contains(&(bound("to") - bound("from"))), "{:?}", seen.query);
        dated(json!({"data": []}))
    })
    .await;
    let done = changes(&source, &server, "things", json!({"cursor": since})).await;
    assert!(done.end.is_ok());
    assert_eq!(server.calls(), 3, "2,500 seconds in windows of 1,000");
    let seen = server.seen();
    assert_eq!(seen[0].param("to"), seen[1].param("from"), "neighbours share their bound");
    let before = server.calls();
    let done = full(&source, &server, "things").await;
    assert_eq!(server.calls() - before, 173, "two days");
    let places: Vec<Value> = done.pages.iter().filter_map(|p| p.position.clone()).collect();
    assert_eq!(places.len(), 173);
    let calls = server.calls();
    let outputs = vec![output(&source, "things", None)];
    let mode = Mode::Full { resume: Some(places[169].clone()) };
    assert!(read_with(&source, &server, outputs, mode, &[]).await.end.is_ok());
    assert_eq!(server.calls() - calls, 3, "the windows that were left");
}

#[tokio::test]
async fn without_a_filter_what_is_old_is_passed_over() {
    let list =
        |_: &Seen| dated(json!({"data": [thing("new", NOW - 10), thing("edge", NOW - 130), thing("old", NOW - 500)]}));
    let server = Server::start(list).await;
    let source_of = |cursor: Value| source(json!({"collections": [things(json!({"cursor": cursor}))]}));
    let client_side =
        source_of(json!({"field": "updated", "format": "unix", "client_side": true, "overlap_seconds": 60}));
    let done = changes(&client_side, &server, "things", checkpoint(NOW - 100)).await;
    assert_eq!(done.keys(), ["edge", "new"]);
    assert_eq!(done.checkpoint().unwrap()["cursor"], checkpoint(NOW - 10)["cursor"]);
    assert_eq!(full(&client_side, &server, "things").await.keys().len(), 3);
}

#[tokio::test]
async fn a_listing_that_is_newest_first_is_left_at_the_cursor() {
    let server = Server::start(|seen| {
        let page: i64 = seen.param("page").unwrap().parse().unwrap();
        let data: Vec<Value> =
            (0..2).map(|n| thing(&format!("t{}", page * 2 + n), NOW - page * 100 - n * 50)).collect();
        dated(json!({"data": data}))
    })
    .await;
    let source = source(json!({"collections": [things(json!({
        "pages": {"style": "page_number", "param": "page", "size": 2},
        "cursor": {"field": "updated", "format": "unix", "order": "newest_first"},
    }))]}));
    let done = changes(&source, &server, "things", checkpoint(NOW - 210)).await;
    assert_eq!((done.keys(), server.calls()), (vec!["t2".into(), "t3".into(), "t4".into()], 2));
}

#[tokio::test]
async fn changes_may_be_another_request() {
    let server = Server::start(|seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", "/list") => dated(json!({"data": [thing("a", NOW - 900), thing("b", NOW - 800)]})),
        ("POST", "/search") => {
            assert_eq!(body(seen)["since"], NOW - 830);
            dated(json!({"found": [thing("b", NOW - 5)]}))
        }
        other => panic!("{other:?}"),
    })
    .await;
    let source = source(json!({"collections": [things(json!({
        "path": "/list", "cursor": {"field": "updated", "format": "unix", "overlap_seconds": 30},
        "incremental": {"method": "POST", "path": "/search", "json": {"since": "{cursor|number}"}, "records": "/found"},
    }))]}));
    let done = full(&source, &server, "things").await;
    assert_eq!(done.keys(), ["a", "b"]);
    let done = changes(&source, &server, "things", done.checkpoint().unwrap()).await;
    assert_eq!((done.keys(), server.calls()), (vec!["b".to_string()], 2), "{:?}", done.end);
}

#[tokio::test]
async fn a_cursor_older_than_the_app_remembers_is_of_no_use() {
    let server = Server::start(|_| dated(json!({"data": []}))).await;
    let cursor = json!({"field": "updated", "format": "unix", "param": "since", "retention_days": 30});
    let source = source(json!({"collections": [things(json!({"cursor": cursor}))]}));
    let done = changes(&source, &server, "things", checkpoint(NOW)).await;
    assert!(matches!(done.end, Err(SyncError::CursorExpired { .. })), "{:?}", done.end);
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn what_is_gone_is_listed_beside() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/things" if seen.param("archived") == Some("true") => dated(json!({"data": [thing("z", NOW - 50)]})),
        "/things" => dated(json!({"data": [thing("a", NOW - 20)]})),
        "/deleted" => {
            assert_eq!(seen.param("since"), Some("1699999900"));
            dated(json!({"gone": [{"thing": {"id": "b"}, "at": NOW - 30}]}))
        }
        other => panic!("{other}"),
    })
    .await;
    let of = |deletes: Value| {
        source(json!({"collections": [things(json!({
            "cursor": {"field": "updated", "format": "unix", "param": "since"}, "deletes": deletes}))]}))
    };
    let archived = of(json!({"style": "listing", "list": {"path": "/things", "params": {"archived": "true"}}}));
    let done = full(&archived, &server, "things").await;
    let rows = table(&done.pages, 0).0;
    assert_eq!((rows["a"].2, rows["z"].2, rows["z"].0[1].as_str()), (false, true, "1699999950"));
    let tombstones = of(json!({"style": "listing", "key": {"id": "/thing/id"},
        "list": {"path": "/deleted", "records": "/gone", "cursor": {"field": "/at", "param": "since", "format": "unix"}}}));
    let calls = server.calls();
    let first = full(&tombstones, &server, "things").await;
    assert_eq!(server.calls() - calls, 1, "a first load shows what is there");
    let mut known = first.checkpoint().unwrap();
    known["deleted"] = checkpoint(NOW - 100)["cursor"].clone();
    let done = changes(&tombstones, &server, "things", known).await;
    assert_eq!(done.checkpoint().unwrap()["deleted"], checkpoint(NOW - 30)["cursor"]);
    let rows = table(&done.pages, 0).0;
    assert_eq!((rows["a"].2, rows["b"].2, rows["b"].1), (false, true, Some(NOW - 30)));
    let only_key =
        done.pages.iter().flat_map(|p| &p.batches).any(|(_, batch)| batch.rows.iter().any(|row| row.key_only));
    assert!(only_key, "other columns of a tombstone are unknown");
}

#[tokio::test]
async fn a_refused_list_of_what_is_gone_does_not_pass_for_nothing_gone() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/things" => dated(json!({"data": [thing("a", NOW)]})),
        _ => status(403, "{}"),
    })
    .await;
    let deletes = json!({"style": "listing", "list": {"path": "/archive"}});
    let source = source(json!({"collections": [things(json!({"deletes": deletes}))]}));
    let done = full(&source, &server, "things").await;
    assert!(matches!(&done.end.unwrap().failed[..], [(0, SyncError::AccessDenied { .. })]));
}

#[tokio::test]
async fn what_only_a_complete_listing_tells_is_listed_completely_each_time() {
    let server = Server::start(|_| dated(json!({"data": [thing("a", NOW - 9999)]}))).await;
    let source = source(json!({"collections": [things(json!({
        "cursor": {"field": "updated", "format": "unix", "param": "since"}, "deletes": {"style": "absent"}}))]}));
    assert_eq!(full(&source, &server, "things").await.checkpoint(), None);
    let done = changes(&source, &server, "things", checkpoint(NOW)).await;
    assert_eq!((done.keys(), server.seen()[1].param("since")), (vec!["a".to_string()], None));
}

#[tokio::test]
async fn children_of_children_know_what_is_around_them() {
    let server = Server::start(|_| {
        dated(json!({"data": [{"id": 7, "ticket": 70, "kids": [
            {"id": 1, "kind": "Comment", "files": [{"id": "f1"}, {"id": "f2"}]},
            {"id": 2, "kind": "Change", "files": [{"id": "f3"}]}, {"id": 3, "kind": "Comment"}]}]}))
    })
    .await;
    let column = |name: &str| json!({"name": name, "type": "text"});
    let source = source(json!({
        "helpers": [{"name": "events", "path": "/events", "records": "/data", "pages": {"style": "none"}}],
        "collections": [
            {"name": "comments", "primary_key": ["id"], "columns": [column("id"), column("ticket_id")],
             "parent": {"collections": ["events"], "explode": "/kids", "only": {"/kind": "Comment"}, "add": {"ticket_id": "/ticket"}}},
            {"name": "files", "primary_key": ["id"], "columns": [column("id"), column("ticket_id"), column("comment_id")],
             "parent": {"collections": ["events"], "explode": "/kids/*/files", "only": {"^/kind": "Comment"},
                "add": {"ticket_id": "/ticket", "comment_id": "^/id"}}}]
    }));
    let outputs = vec![(output(&source, "comments", None), None), (output(&source, "files", None), None)];
    let mut groups = crate::extract::group::group(&source, outputs);
    assert_eq!(groups.len(), 1, "one listing fills both");
    let (pages, end) = run(&client(account(source.clone(), &server.url)), groups.remove(0).1).await;
    end.unwrap();
    assert_eq!(server.calls(), 1);
    let rows = |index| table(&pages, index).0.into_values().map(|(cells, ..)| cells.join(" ")).collect::<Vec<_>>();
    assert_eq!(rows(0), ["1 70", "3 70"]);
    assert_eq!(rows(1), ["f1 70 1", "f2 70 1"]);
}

#[tokio::test]
async fn records_lie_in_many_shapes_and_columns_are_made() {
    let server = Server::start(|_| {
        dated(json!({"data": {"x": {"id": "1", "cost": 2500000, "tags": [{"k": "a", "v": 1}]}, "y": {"id": "2", "name": ""}}}))
    })
    .await;
    let source = source(json!({
        "settings": [{"name": "region", "help": "", "default": "eu"}],
        "collections": [{
            "name": "things", "path": "/x", "records": {"pointer": "/data", "keyed": true}, "pages": {"style": "none"},
            "primary_key": ["id"],
            "columns": [
                {"name": "id", "type": "text"}, {"name": "slot", "type": "text", "value": "#key"},
                {"name": "place", "type": "bigint", "value": "#index"}, {"name": "where", "type": "text", "value": "in {region}"},
                {"name": "cost", "type": "text", "shape": {"style": "micros"}}, {"name": "name", "type": "text", "null_if": [""]},
                {"name": "tags", "type": "text", "shape": {"style": "pairs", "key": "/k", "value": "/v"}}]}]
    }));
    let done = full(&source, &server, "things").await;
    assert_eq!(
        done.rows(),
        [
            vec!["1", "x", "0", "in eu", "2.5", "null", r#"{"a":1}"#],
            vec!["2", "y", "1", "in eu", "null", "null", "null"],
        ]
    );
}

#[tokio::test]
async fn tables_in_text_are_records() {
    let server = Server::start(|_| {
        Act::Reply(
            200,
            vec![("Content-Type", "text/csv".into()), ("Date", http_date(NOW))],
            b"id,updated\n1,1700000000\n2,\n".to_vec(),
        )
    })
    .await;
    let source = source(json!({"collections": [things(json!({"records": {"pointer": "", "decoder": "csv"},
        "columns": [{"name": "id", "type": "text"},
            {"name": "updated", "type": "timestamptz", "format": "unix", "null_if": [""]}]}))]}));
    assert_eq!(full(&source, &server, "things").await.rows(), [vec!["1", "1700000000"], vec!["2", "null"]]);
}

/// Lists and their members: Mailchimp's shape.
fn members_app(now: i64) -> impl Fn(&Seen) -> Act {
    move |seen| {
        let list = |id: &str, updated: i64| json!({"id": id, "updated": updated});
        let members = |of: &str| match of {
            "l1" => vec![("a", now - 500), ("b", now - 40)],
            "l2" => vec![("c", now - 300)],
            _ => vec![],
        };
        let parts: Vec<&str> = seen.path.trim_matches('/').split('/').collect();
        match parts.as_slice() {
            ["lists"] => {
                let since: i64 = seen.param("changed").map_or(0, |s| s.parse().unwrap());
                let all = [list("l1", now - 600), list("l2", now - 50), list("l3", now - 10)];
                dated(
                    json!({"data": all.iter().filter(|l| l["updated"].as_i64().unwrap() >= since).collect::<Vec<_>>()}),
                )
            }
            ["lists", "l3", "members"] => status(404, "{}"),
            ["lists", id, "members"] => {
                let since: i64 = seen.param("since").map_or(0, |s| s.parse().unwrap());
                let found = members(id).into_iter().filter(|(_, at)| *at >= since);
                dated(json!({"data": found.map(|(id, at)| thing(id, at)).collect::<Vec<_>>()}))
            }
            ["batch"] => {
                let keys = body(seen)["inputs"].as_array().unwrap().clone();
                let found = keys.iter().map(|key| json!({"id": format!("s-{}", key.as_str().unwrap()), "of": key}));
                dated(json!({"data": found.collect::<Vec<_>>()}))
            }
            other => panic!("{other:?}"),
        }
    }
}

fn members_source(parent: Value, members: Value) -> Source {
    let mut child = json!({
        "name": "members", "records": "/data", "primary_key": ["id"], "pages": {"style": "none"},
        "columns": [{"name": "id", "type": "text"}, {"name": "updated", "type": "timestamptz", "format": "unix"},
            {"name": "list_id", "type": "text"}],
        "parent": {"collections": ["lists"], "path": "/lists/{id}/members", "add": {"list_id": "/id"}, "key_column": "list_id"},
    });
    for (name, value) in parent.as_object().unwrap() {
        child["parent"][name] = value.clone();
    }
    for (name, value) in members.as_object().unwrap() {
        child[name] = value.clone();
    }
    source(json!({
        "settings": [{"name": "list_ids", "help": ""}],
        "collections": [
            {"name": "lists", "path": "/lists", "records": "/data", "primary_key": ["id"], "pages": {"style": "none"},
             "cursor": {"field": "updated", "format": "unix", "param": "changed"},
             "columns": [{"name": "id", "type": "text"}, {"name": "updated", "type": "timestamptz", "format": "unix"}]},
            child]
    }))
}

fn paths(server: &Server) -> Vec<String> {
    server
        .seen()
        .iter()
        .map(|seen| {
            format!(
                "{}?{}",
                seen.path,
                seen.query.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("&")
            )
        })
        .collect()
}

#[tokio::test]
async fn each_parent_has_a_cursor_of_its_own() {
    let server = Server::start(members_app(NOW)).await;
    let source = members_source(
        json!({}),
        json!({
        "cursor": {"field": "updated", "format": "unix", "param": "since", "per_parent": true, "overlap_seconds": 10}}),
    );
    let done = full(&source, &server, "members").await;
    assert_eq!(
        done.rows(),
        [vec!["a", "1699999500", "l1"], vec!["b", "1699999960", "l1"], vec!["c", "1699999700", "l2"]]
    );
    let known = done.checkpoint().unwrap();
    assert_eq!(known["parents"]["l1"], checkpoint(NOW - 40)["cursor"]);
    assert_eq!(known["parents"]["l2"], checkpoint(NOW - 300)["cursor"]);
    assert_eq!(known["parents"].get("l3"), None, "what was gone has shown nothing");
    let before = server.calls();
    let done = changes(&source, &server, "members", known).await;
    let asked = &paths(&server)[before..];
    assert_eq!(
        asked,
        ["/lists?", "/lists/l1/members?since=1699999950", "/lists/l2/members?since=1699999690", "/lists/l3/members?"]
    );
    assert_eq!(done.keys(), ["b", "c"]);
    assert_eq!(done.checkpoint().unwrap()["parents"]["l2"], checkpoint(NOW - 300)["cursor"]);
    assert!(
        done.pages.iter().flat_map(|p| &p.batches).all(|(_, b)| b.complete_parents.is_empty()),
        "a part is not all"
    );
}

#[tokio::test]
async fn only_changed_parents_are_asked_and_their_children_replaced() {
    let server = Server::start(members_app(NOW)).await;
    let source = members_source(json!({"changed_only": true}), json!({"deletes": {"style": "with_parent"}}));
    let done = changes(&source, &server, "members", checkpoint(NOW - 100)).await;
    assert_eq!(paths(&server), ["/lists?changed=1699999900", "/lists/l2/members?", "/lists/l3/members?"]);
    let complete: Vec<String> = done
        .pages
        .iter()
        .flat_map(|p| &p.batches)
        .flat_map(|(_, b)| &b.complete_parents)
        .map(|c| c.parent_key.clone())
        .collect();
    assert_eq!(complete, ["l2"], "nothing is known of the children of a parent that answered 404");
    assert_eq!(done.checkpoint().unwrap()["cursor"], checkpoint(NOW - 10)["cursor"], "the parents' place");
}

#[tokio::test]
async fn parents_may_be_named_by_the_owner() {
    let server = Server::start(members_app(NOW)).await;
    let source = members_source(json!({"keys_from": "list_ids"}), json!({}));
    let outputs = vec![output(&source, "members", None)];
    let done = read_with(&source, &server, outputs, Mode::Full { resume: None }, &[("list_ids", "l2, l1")]).await;
    assert_eq!(paths(&server), ["/lists/l2/members?", "/lists/l1/members?"]);
    assert_eq!(done.rows()[0], ["a", "1699999500", "l1"]);
}

#[tokio::test]
async fn many_parents_are_asked_about_at_once() {
    let server = Server::start(members_app(NOW)).await;
    let parent = json!({"method": "POST", "path": "/batch", "json": {"inputs": ["{parent_keys}"]},
        "batch": {"size": 2, "key": "/id", "key_in_child": "/of"}});
    let source = members_source(parent, json!({}));
    let done = full(&source, &server, "members").await;
    assert_eq!(server.calls(), 3, "three parents, two at once");
    assert_eq!(done.rows().iter().map(|r| r[2].as_str()).collect::<Vec<_>>(), ["l1", "l2", "l3"]);
}

#[tokio::test]
async fn a_live_query_reads_below_parents_too() {
    let server = Server::start(members_app(NOW)).await;
    let parent = json!({"method": "POST", "path": "/batch", "json": {"inputs": ["{parent_keys}"]},
        "batch": {"size": 100, "key": "/id", "key_in_child": "/of"}});
    let source = members_source(parent, json!({}));
    let channel = crate::extract::sink::Channel::new(1 << 30, Box::new(|| {}));
    let sink = crate::extract::sink::Sink::new(channel);
    let request = ReadRequest {
        outputs: vec![output(&source, "members", None)],
        mode: Mode::Scan(crate::extract::Scan::default()),
    };
    read(&client(account(source.clone(), &server.url)), request, &sink).await.unwrap();
    assert_eq!(paths(&server), ["/lists?", "/batch?"]);
}

/// Property: wherever a reading below parents stops, going on from its position gives every row.
#[tokio::test]
async fn a_reading_below_parents_goes_on_where_it_stopped() {
    let source = {
        let mut source = members_source(json!({}), json!({}));
        source.collections[0].pages =
            serde_json::from_value(json!({"style": "token", "pointer": "/next", "param": "at"})).unwrap();
        source
    };
    for stop in 1..12 {
        let (mut calls, mut position, mut stored) = (0, None, super::testing::Table::default());
        let server = Server::start(move |seen| {
            calls += 1;
            if calls % stop == 0 {
                return status(403, "{}");
            }
            let parts: Vec<&str> = seen.path.trim_matches('/').split('/').collect();
            let at: i64 = seen.param("at").map_or(0, |at| at.parse().unwrap());
            match parts.as_slice() {
                ["lists"] => {
                    let page: Vec<Value> = (at..at + 2).map(|n| thing(&format!("l{n}"), NOW)).collect();
                    dated(json!({"data": page, "next": if at < 6 { json!((at + 2).to_string()) } else { json!(null) }}))
                }
                ["lists", id, _] => dated(json!({"data": [thing(&format!("{id}-m"), NOW)]})),
                other => panic!("{other:?}"),
            }
        })
        .await;
        for round in 0..40 {
            let outputs = vec![output(&source, "members", None)];
            let done = read_with(&source, &server, outputs, Mode::Full { resume: position.clone() }, &[]).await;
            stored.store(&done.pages, 0);
            position = done.pages.iter().rev().find_map(|p| p.position.clone()).or(position);
            if done.end.is_ok() {
                break;
            }
            // Three calls a page of parents: with fewer there is no way on.
            assert!(round < 39 || stop < 4, "stopped every {stop} calls: {position:?}");
        }
        if stop >= 5 {
            let want: Vec<String> = (0..8).map(|n| format!("l{n}-m")).collect();
            assert_eq!(stored.keys(), want, "stopped every {stop} calls");
        }
    }
}

#[tokio::test]
async fn parameters_repeat_and_hold_json() {
    let server = Server::start(|_| dated(json!({"data": []}))).await;
    let source = source(json!({"collections": [things(json!({
        "params": {"d[]": ["{cursor?|date}", "x"], "op>": "{cursor?|date}", "unset": "{nothing?}",
            "f": {"json": [{"$if": "cursor", "v": "{cursor|unix|number}"}, {"in": ["A", "B"]}]}},
        "headers": {"X-Since": "{cursor?|unix}"},
        "cursor": {"field": "updated", "format": "unix"}}))]}));
    full(&source, &server, "things").await.end.unwrap();
    changes(&source, &server, "things", checkpoint(NOW)).await.end.unwrap();
    let pairs = |n: usize| server.seen()[n].query.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
    assert_eq!(pairs(0), ["d[]=x", r#"f=[{"in":["A","B"]}]"#]);
    assert_eq!(pairs(1), ["d[]=2023-11-14", "d[]=x", r#"f=[{"v":1700000000},{"in":["A","B"]}]"#, "op>=2023-11-14"]);
    assert_eq!(server.seen()[1].headers["x-since"], "1700000000");
    assert!(!server.seen()[0].headers.contains_key("x-since"));
}

#[tokio::test]
async fn fields_that_do_not_fit_are_asked_for_apart_and_joined() {
    let server = Server::start(|seen| {
        let from: usize = seen.param("after").map_or(0, |a| a.parse().unwrap());
        let record = |n: usize| {
            let wanted = seen.param("properties").unwrap().split(',');
            let properties: serde_json::Map<_, _> =
                wanted.map(|name| (name.to_string(), json!(format!("{name}{n}")))).collect();
            json!({"id": n.to_string(), "properties": properties})
        };
        let is_second_part = seen.param("properties").unwrap().contains("ccc");
        // One record is gone when the second part is asked for.
        let page: Vec<Value> = (from..from + 2).filter(|n| !(is_second_part && *n == 2)).map(record).collect();
        dated(json!({"data": page, "next": if from < 2 { json!("2") } else { json!(null) }}))
    })
    .await;
    let column = |name: &str| json!({"name": name, "type": "text", "field": format!("/properties/{name}")});
    let source = source(json!({"collections": [things(json!({
        "params": {"properties": "{fields}"}, "select": {"under": "/properties", "limit": 6},
        "pages": {"style": "token", "pointer": "/next", "param": "after"},
        "columns": [{"name": "id", "type": "text"}, column("a"), column("bb"), column("ccc")]}))]}));
    let done = full(&source, &server, "things").await;
    assert_eq!(
        done.rows(),
        [vec!["0", "a0", "bb0", "ccc0"], vec!["1", "a1", "bb1", "ccc1"], vec!["3", "a3", "bb3", "ccc3"]]
    );
    assert_eq!(server.calls(), 4);
}

#[tokio::test]
async fn an_accounts_own_fields_become_columns() {
    let server = Server::start(|seen| {
        let field = |name: &str, kind: &str, hidden: bool| json!({"name": name, "type": kind, "label": "L", "hidden": hidden});
        match seen.param("page") {
            None => dated(json!({"results": [field("email", "string", false), field("Shoe Size", "number", false)], "next": "/fields?page=2"})),
            Some(_) => dated(json!({"results": [field("Id", "odd", true), field("a/b", "date", false), {"name": null}]})),
        }
    })
    .await;
    let source = source(json!({"collections": [things(json!({
        "discover": {"list": {"path": "/fields", "records": "/results", "pages": {"style": "next_url", "pointer": "/next"}},
            "name": "/name", "type": "/type", "label": "/label", "field": "/properties/{name}",
            "types": {"number": "numeric", "date": "date"}, "off": {"field": "/hidden", "values": "true"}},
        "columns": [{"name": "id", "type": "text"}, {"name": "email", "type": "text", "field": "/properties/email"}]}))]}));
    let api = client(account(source.clone(), &server.url));
    let described = describe(&api, source.collection("things").unwrap()).await.unwrap().unwrap();
    let got: Vec<(&str, &str, &str, bool)> =
        described.columns.iter().map(|c| (c.name.as_str(), c.field.as_str(), c.type_name.as_str(), c.off)).collect();
    assert_eq!(
        got[..3],
        [
            ("id", "id", "text", false),
            ("email", "/properties/email", "text", false),
            ("shoe_size", "/properties/Shoe Size", "numeric", false)
        ]
    );
    assert!(got[3].0.starts_with("id_") && got[3].1 == "/properties/Id" && got[3].2 == "text" && got[3].3, "{got:?}");
    assert_eq!(got[4], ("a_b", "/properties/a~1b", "date", false));
    assert_eq!((got.len(), described.columns[2].label.as_deref()), (5, Some("L")));
    let none = things(json!({}));
    assert_eq!(describe(&api, &serde_json::from_value(none).unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn fields_are_asked_for_by_name() {
    let server = Server::start(|_| dated(json!({"data": [{"id": "1", "properties": {"email": "e"}}]}))).await;
    let source = source(json!({"collections": [things(json!({
        "params": {"properties": "{fields}"}, "select": {"under": "/properties", "always_include": ["stamp"]},
        "columns": [{"name": "id", "type": "text"}, {"name": "email", "type": "text", "field": "/properties/email"},
            {"name": "city", "type": "text", "field": "/properties/address/city"}, {"name": "kind", "type": "text", "value": "x"}]}))]}));
    let done = full(&source, &server, "things").await;
    assert_eq!(server.seen()[0].param("properties"), Some("stamp,email,address"));
    assert_eq!(done.rows(), [vec!["1", "e", "null", "x"]]);
}
