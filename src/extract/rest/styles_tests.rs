//! Each way of paging, and of asking for changes, against a small app that does it so.

use super::styles_testing::*;
use super::testing::{checkpoint, output, row_count, NOW};
use super::*;
use crate::extract::Mode;
use crate::http::testing::{status, Act, Seen, Server};
use serde_json::{json, Value};

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
async fn empty_pages_lead_on_where_the_app_looks_through_a_log() {
    let server = Server::start(|seen| {
        let page: usize = seen.param("next").map_or(0, |token| token.parse().unwrap());
        let data = if page == 6 { json!([thing("a", NOW)]) } else { json!([]) };
        dated(json!({"data": data, "token": (page + 1).to_string(), "more": page < 6}))
    })
    .await;
    for sparse in [true, false] {
        let pages = json!({"style": "token", "pointer": "/token", "more": "/more", "param": "next", "sparse": sparse});
        let source = source(json!({"collections": [things(json!({"pages": pages}))]}));
        let done = full(&source, &server, "things").await;
        match sparse {
            true => assert_eq!(done.keys(), ["a"]),
            false => assert!(matches!(done.end, Err(SyncError::PagerLoop { .. })), "{:?}", done.end),
        }
    }
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
