use super::testing::*;
use super::*;
use crate::extract::group::group;
use crate::extract::Mode;
use crate::http::testing::{json as reply, Seen, Server};
use crate::manifest::Source;
use serde_json::{json, Value};
use std::sync::{Arc, Mutex};

fn app(events: Vec<Value>) -> Shared {
    Arc::new(Mutex::new(App { events, now: NOW, embedded: 2, ..App::default() }))
}

fn followers(names: &[&str], cursor: i64) -> ReadRequest {
    let source = source();
    let outputs = names.iter().map(|name| output(&source, name, Some(checkpoint(cursor)))).collect();
    ReadRequest { outputs, mode: Mode::Incremental }
}

fn cursor(end: &ReadEnd, index: usize) -> i64 {
    let text = end.checkpoints[index].as_ref().unwrap()["cursor"].as_str().unwrap().to_string();
    crate::extract::time::parse_iso(&text).unwrap() / 1_000_000
}

fn edited(mut value: Value, name: &str, to: Value) -> Value {
    value[name] = to;
    value
}

#[tokio::test]
async fn a_quiet_run_is_one_call_for_all() {
    let old = event("e1", NOW - 200, "thing.updated", thing("t1", 5, 1));
    let app = app(vec![old]);
    let server = serve(&app).await;
    let source = source();
    let names = ["things", "lines", "balances", "parts"];
    let outputs = names.iter().map(|name| (output(&source, name, Some(checkpoint(NOW - 100))), None)).collect();
    let groups = group(&source, outputs);
    assert_eq!(groups.len(), 1, "one stream serves them all");
    let (pages, end) = run(&api(source, &server, |_| ()), groups.into_iter().next().unwrap().1).await;
    let end = end.unwrap();
    assert_eq!(server.calls(), 1);
    assert_eq!(
        server.seen()[0].param("created[gte]"),
        Some((NOW - 400).to_string().as_str()),
        "the overlap is read again"
    );
    assert_eq!(table(&pages, 0).keys(), ["t1"], "what lies in the overlap is applied again");
    assert!((0..4).all(|index| cursor(&end, index) == NOW));
    let checked = end.checkpoints[2].as_ref().unwrap()["checked_at"].clone();
    assert_eq!(checked, checkpoint(NOW - 100)["checked_at"], "its list was not read");
}

#[tokio::test]
async fn the_latest_change_of_each_object_is_applied_once() {
    let mut events: Vec<Value> =
        (0..25).map(|n| event(&format!("e{n:02}"), NOW - 100 + n, "thing.updated", thing("t1", 5, n))).collect();
    events.push(event("e90", NOW - 50, "thing.created", thing("t2", NOW - 50, 7)));
    events.push(event("e91", NOW - 40, "thing.deleted", thing("t2", NOW - 50, 7)));
    events.push(event("e92", NOW - 40, "other.thing", thing("t3", NOW - 50, 7)));
    let app = app(events);
    let server = serve(&app).await;
    let (pages, end) = run(&api(source(), &server, |_| ()), followers(&["things"], NOW - 200)).await;
    end.unwrap();
    assert_eq!((server.calls(), row_count(&pages)), (3, 2));
    let stored = table(&pages, 0).0;
    assert_eq!(stored["t1"], (vec!["t1".into(), "5".into(), "24".into()], Some(NOW - 76), false));
    assert_eq!((stored["t2"].1, stored["t2"].2), (Some(NOW - 40), true));
    let deleted = pages.iter().flat_map(|p| &p.batches).flat_map(|(_, b)| &b.rows).find(|r| r.deleted == Some(true));
    assert!(deleted.unwrap().key_only);
}

#[tokio::test]
async fn each_table_gets_what_is_new_to_it() {
    let events = vec![
        event("e1", NOW - 5000, "thing.updated", thing("t1", 5, 1)),
        event("e2", NOW - 100, "thing.updated", thing("t2", 5, 2)),
    ];
    let app = app(events);
    let server = serve(&app).await;
    let source = source();
    let request = ReadRequest {
        outputs: vec![
            output(&source, "things", Some(checkpoint(NOW - 6000))),
            output(&source, "things", Some(checkpoint(NOW - 1000))),
        ],
        mode: Mode::Incremental,
    };
    let (pages, _) = run(&api(source, &server, |_| ()), request).await;
    assert_eq!(table(&pages, 0).keys(), ["t1", "t2"]);
    assert_eq!(table(&pages, 1).keys(), ["t2"]);
}

#[tokio::test]
async fn a_feed_takes_json_parameters_and_whole_days() {
    let events = vec![
        event("e1", NOW - 4000, "thing.updated", thing("t1", 5, 1)),
        event("e2", NOW - 100, "thing.updated", thing("t2", 5, 2)),
    ];
    let app = app(events);
    let server = serve(&app).await;
    let mut source = source();
    let feed = source.feed.as_mut().unwrap();
    let only = json!({"json": {"since": "{cursor|unix|number}", "kinds": ["a"]}});
    feed.params.insert("only".into(), serde_json::from_value(only).unwrap());
    feed.cursor.granularity = crate::manifest::Granularity::Day;
    let (pages, end) = run(&api(source, &server, |_| ()), followers(&["things"], NOW - 200)).await;
    end.unwrap();
    assert_eq!(table(&pages, 0).keys(), ["t2"], "what is asked for too early is passed over");
    let day = NOW.div_euclid(86_400) * 86_400;
    let seen = &server.seen()[0];
    assert_eq!(seen.param("only"), Some(format!(r#"{{"since":{day},"kinds":["a"]}}"#).as_str()));
    assert_eq!(seen.param("created[gte]"), Some(day.to_string().as_str()));
}

/// Changes in the order of time, of which the app gives a window of 100 seconds at once.
#[tokio::test]
async fn a_feed_is_read_in_windows_and_stays_behind() {
    let events = (0..5).map(|n| event(&format!("e{n}"), NOW - 250 + n * 50, "thing.updated", thing("t1", 5, n)));
    let app = app(events.collect());
    let server = serve(&app).await;
    let mut source = source();
    let feed = source.feed.as_mut().unwrap();
    feed.newest_first = false;
    feed.cursor.upper_param = Some("created[lte]".into());
    (feed.cursor.step_seconds, feed.cursor.behind_seconds, feed.cursor.overlap_seconds) = (Some(100), 60, 0);
    // Windows end by our own clock.
    let now = request::now_us() / 1_000_000;
    app.lock().unwrap().now = now;
    for event in &mut app.lock().unwrap().events {
        event["created"] = (event["created"].as_i64().unwrap() - NOW + now).into();
    }
    let outputs = vec![output(&source, "things", Some(checkpoint(now - 300)))];
    let (pages, end) = run(&api(source, &server, |_| ()), ReadRequest { outputs, mode: Mode::Incremental }).await;
    let bound = |seen: &Seen, name: &str| seen.param(name).unwrap().parse::<i64>().unwrap() - now;
    let windows: Vec<(i64, i64)> =
        server.seen().iter().map(|seen| (bound(seen, "created[gte]"), bound(seen, "created[lte]"))).collect();
    assert_eq!(windows.iter().map(|(from, _)| *from).collect::<Vec<_>>(), [-300, -200, -100]);
    assert!(windows.iter().all(|(from, to)| to - from <= 100) && (-61..=-58).contains(&windows[2].1), "{windows:?}");
    assert_eq!(cursor(&end.unwrap(), 0), now - 60, "what is too new to be told comes with the next run");
    assert_eq!(table(&pages, 0).0["t1"].0[2], "3");
}

/// An app that tells with each answer where the next one goes on, and knows no time.
#[tokio::test]
async fn a_feed_goes_on_by_the_apps_own_word() {
    let server = Server::start(|seen| {
        let from: i64 = seen.param("after").map_or(0, |after| after.trim_start_matches('c').parse().unwrap());
        let all =
            (0..6).map(|n| event(&format!("e{n}"), NOW - 9000 + n, "thing.updated", thing(&format!("t{n}"), 5, n)));
        let page: Vec<Value> = all.skip(from as usize).take(4).collect();
        let end = from + page.len() as i64;
        reply(json!({"data": page, "next": format!("c{end}"), "more": end < 6}))
    })
    .await;
    let mut source = source();
    let feed = source.feed.as_mut().unwrap();
    feed.newest_first = false;
    feed.pages =
        serde_json::from_value(json!({"style": "token", "pointer": "/next", "more": "/more", "param": "after"}))
            .unwrap();
    feed.cursor = serde_json::from_value(
        json!({"field": "created", "format": "unix", "opaque": {"pointer": "/next", "param": "after"}}),
    )
    .unwrap();
    let outputs = |source: &Source, known: Value| vec![output(source, "things", Some(known))];
    let request = ReadRequest { outputs: outputs(&source, checkpoint(NOW - 8998)), mode: Mode::Incremental };
    let (pages, end) = run(&api(source.clone(), &server, |_| ()), request).await;
    let known = end.unwrap().checkpoints[0].clone().unwrap();
    assert_eq!((table(&pages, 0).keys(), &known["opaque"]), (vec!["t2", "t3", "t4", "t5"], &json!("c6")));

    // Told late, with an old time: only the app knows that it is news.
    let mut late = known.clone();
    late["opaque"] = json!("c5");
    let before = server.calls();
    let request = ReadRequest { outputs: outputs(&source, late), mode: Mode::Incremental };
    let (pages, end) = run(&api(source, &server, |_| ()), request).await;
    assert_eq!((table(&pages, 0).keys(), server.calls() - before), (vec!["t5"], 1));
    assert_eq!(end.unwrap().checkpoints[0].as_ref().unwrap()["opaque"], "c6");
}

/// The rest of an embedded list is asked for with JSON in a parameter, and with settings.
#[tokio::test]
async fn the_rest_of_a_list_is_asked_for_with_any_parameter() {
    let more = json!({"data": [{"id": "m1", "n": 1}], "has_more": true});
    let app = app(vec![event("e1", NOW - 60, "thing.updated", edited(thing("t3", 5, 1), "lines", more))]);
    app.lock().unwrap().lines.insert("t3".into(), vec![json!({"id": "m2", "n": 2, "created": 8})]);
    let server = serve(&app).await;
    let mut source = source();
    let list = source.collections[1].parent.as_mut().unwrap().list.as_mut().unwrap();
    let filter = json!({"json": {"of": "{id}", "size": "{size|number}", "not": "{unset?}"}});
    list.params.insert("filter".into(), serde_json::from_value(filter).unwrap());
    list.params.insert("zone".into(), crate::manifest::Param::Text("{zone}".into()));
    let options = [("size", "7"), ("zone", "x y")].map(|(name, value)| (name.to_string(), value.to_string()));
    let outputs = vec![output(&source, "lines", Some(checkpoint(NOW - 200)))];
    let api = api(source, &server, |account| account.options.extend(options));
    let (_, end) = run(&api, ReadRequest { outputs, mode: Mode::Incremental }).await;
    assert!(end.as_ref().is_ok_and(|end| end.failed.is_empty()), "{end:?}");
    let asked = &server.seen()[1];
    assert_eq!(asked.param("filter"), Some(r#"{"of":"t3","size":7}"#));
    assert_eq!(asked.param("zone"), Some("x y"));
}

#[tokio::test]
async fn a_checkpoint_older_than_the_feed_is_expired() {
    let app = app(vec![event("e1", NOW - 100, "thing.updated", thing("t1", 5, 1))]);
    let server = serve(&app).await;
    let source = source();
    let day = 86_400;
    let request = ReadRequest {
        outputs: vec![
            output(&source, "things", Some(checkpoint(NOW - 29 * day - 1))),
            output(&source, "things", Some(checkpoint(NOW - 29 * day + 1))),
        ],
        mode: Mode::Incremental,
    };
    let (pages, end) = run(&api(source, &server, |_| ()), request).await;
    let end = end.unwrap();
    assert_eq!(end.expired.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0]);
    assert_eq!((end.checkpoints[0].is_none(), cursor(&end, 1)), (true, NOW));
    assert!(table(&pages, 0).0.is_empty() && table(&pages, 1).0.len() == 1);

    // All of them: one call, no rows.
    let calls = server.calls();
    let (pages, end) = run(&api(self::source(), &server, |_| ()), followers(&["things"], NOW - 40 * day)).await;
    assert_eq!((end.unwrap().expired.len(), row_count(&pages), server.calls() - calls), (1, 0, 1));
}

#[tokio::test]
async fn the_cursor_follows_the_apps_clock_and_never_goes_back() {
    let app = app(vec![]);
    let server = serve(&app).await;
    for (now, before, want) in [(NOW, NOW - 100, NOW), (NOW - 500, NOW, NOW)] {
        app.lock().unwrap().now = now;
        let (_, end) = run(&api(source(), &server, |_| ()), followers(&["things"], before)).await;
        assert_eq!(cursor(&end.unwrap(), 0), want);
    }
}

#[tokio::test]
async fn another_api_version_is_read_again_by_id_once() {
    let other = |id, at, kind, object| edited(event(id, at, kind, object), "api_version", json!("v0"));
    let events = vec![
        other("e1", NOW - 90, "thing.updated", thing("t1", 5, 1)),
        other("e2", NOW - 80, "thing.updated", thing("t1", 5, 2)),
        other("e3", NOW - 70, "thing.updated", thing("t2", 5, 3)),
        other("e4", NOW - 60, "thing.updated", thing("t3", 5, 3)),
        other("e5", NOW - 50, "thing.deleted", thing("t4", 5, 3)),
    ];
    let app = app(events);
    {
        let mut app = app.lock().unwrap();
        app.things = vec![thing("t1", 5, 100), edited(thing("t3", 5, 0), "deleted", json!(true))];
        app.lines.insert("t1".into(), vec![json!({"id": "l1", "n": 1, "created": 1})]);
    }
    let server = serve(&app).await;
    let (pages, end) = run(&api(source(), &server, |_| ()), followers(&["things", "lines"], NOW - 200)).await;
    let end = end.unwrap();
    assert_eq!(server.calls(), 1 + 3, "one reading for each object that lives, whatever tables it fills");
    let stored = table(&pages, 0).0;
    assert_eq!(stored["t1"].0[2], "100");
    assert!(stored["t1"].1.unwrap() >= NOW - 80);
    assert!(stored["t3"].2 && stored["t4"].2 && !stored.contains_key("t2"));
    assert_eq!(table(&pages, 1).keys(), ["l1"]);
    assert_eq!(end.notes.len(), 1, "{:?}", end.notes);
}

#[tokio::test]
async fn children_come_with_their_parents_changes_and_go_with_them() {
    let lines = |ids: &[&str], more: bool| {
        let data: Vec<Value> = ids.iter().map(|id| json!({"id": id, "n": 1})).collect();
        json!({"data": data, "has_more": more})
    };
    let events = vec![
        event("e1", NOW - 90, "thing.updated", edited(thing("t1", 5, 1), "lines", lines(&["l1", "l2"], false))),
        event("e2", NOW - 80, "thing.updated", edited(thing("t1", 5, 1), "lines", lines(&["l2"], false))),
        event("e3", NOW - 70, "thing.deleted", edited(thing("t2", 5, 1), "lines", lines(&["l3"], true))),
        event("e4", NOW - 60, "thing.updated", edited(thing("t3", 5, 1), "lines", lines(&["m1"], true))),
        event("e5", NOW - 50, "thing.updated", thing("t4", 5, 1)),
    ];
    let app = app(events);
    let rest = vec![json!({"id": "m1", "n": 1, "created": 9}), json!({"id": "m2", "n": 2, "created": 8})];
    app.lock().unwrap().lines.insert("t3".into(), rest);
    let server = serve(&app).await;
    let (pages, end) = run(&api(source(), &server, |_| ()), followers(&["lines"], NOW - 200)).await;
    end.unwrap();
    assert_eq!(server.calls(), 2, "the poll, and the rest of t3's lines");
    let stored = table(&pages, 0).0;
    assert_eq!(stored.keys().collect::<Vec<_>>(), ["l2", "l3", "m1", "m2"]);
    assert!(stored["l3"].2 && !stored["l2"].2);
    let mut complete: Vec<_> =
        pages.iter().flat_map(|p| &p.batches).flat_map(|(_, b)| b.complete_parents.clone()).collect();
    complete.sort_by_key(|c| c.parent_key.clone());
    let complete: Vec<(&str, String)> =
        complete.iter().map(|c| (c.parent_key.as_str(), c.child_keys.join(" "))).collect();
    let want = [("t1", "l2".to_string()), ("t2", String::new()), ("t3", "m1 m2".to_string())];
    assert_eq!(complete, want, "t4 did not show its lines, which says nothing of them");
}

#[tokio::test]
async fn a_window_is_read_when_something_moved_or_it_has_been_long() {
    let ids = |pages: &[super::super::Page], index| table(pages, index).keys().len();
    for (name, events, cursor, calls) in [
        ("quiet", vec![], NOW - 100, 1),
        (
            "something moved in the second of the last poll",
            vec![event("e1", NOW - 100, "any.thing", thing("x", 5, 1))],
            NOW - 100,
            2,
        ),
        ("something moved", vec![event("e1", NOW - 10, "any.thing", thing("x", 5, 1))], NOW - 100, 2),
        ("long ago", vec![], NOW - 6000, 2),
    ] {
        let app = app(events);
        {
            let mut app = app.lock().unwrap();
            app.things = vec![thing("old", NOW - 90_000, 1), thing("new", NOW - 1050, 2)];
            app.lines.insert("new".into(), vec![json!({"id": "p1", "n": 1, "created": 1})]);
        }
        let server = serve(&app).await;
        let (pages, end) = run(&api(source(), &server, |_| ()), followers(&["balances", "parts"], cursor)).await;
        let end = end.unwrap();
        assert_eq!(server.calls(), calls, "{name}");
        if calls == 2 {
            let from = (cursor - 1000).to_string();
            assert_eq!(server.seen()[1].param("created[gte]"), Some(from.as_str()), "{name}");
            assert_eq!((ids(&pages, 0), ids(&pages, 1)), (1, 1), "{name}: parent and child share the window");
            assert_eq!(end.checkpoints[1].as_ref().unwrap()["checked_at"], checkpoint(NOW)["checked_at"]);
        }
    }
}

#[tokio::test]
async fn what_one_table_may_not_read_does_not_stop_the_others() {
    let mut events = vec![event("e1", NOW - 90, "thing.deleted", thing("t1", 5, 1))];
    events.push(edited(event("e2", NOW - 80, "thing.updated", thing("t2", 5, 1)), "api_version", json!("v0")));
    let app = app(events);
    app.lock().unwrap().forbidden = Some("/things".into());
    let server = serve(&app).await;
    let (_, end) = run(&api(source(), &server, |_| ()), followers(&["things", "balances"], NOW - 200)).await;
    let end = end.unwrap();
    assert_eq!(server.calls(), 3, "the poll, the object by its id, the window");
    assert!(end.failed.iter().all(|(_, error)| matches!(error, SyncError::AccessDenied { .. })));
    assert_eq!(end.failed.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1]);
    assert!(end.checkpoints.iter().all(Option::is_none));

    app.lock().unwrap().forbidden = Some("/things/".into());
    let (pages, end) = run(&api(source(), &server, |_| ()), followers(&["things", "balances"], NOW - 200)).await;
    let end = end.unwrap();
    assert_eq!((end.failed.len(), end.checkpoints[1].is_some()), (1, true));
    assert_eq!(table(&pages, 1).0.len(), 0);

    // The poll itself may not be read: that is everyone's failure.
    app.lock().unwrap().forbidden = Some("/events".into());
    let (_, end) = run(&api(source(), &server, |_| ()), followers(&["things"], NOW - 200)).await;
    assert!(matches!(end, Err(SyncError::AccessDenied { .. })));
}

/// Full load, changes, poll: the table is the app's own, whatever second things happened in.
#[tokio::test]
async fn a_load_and_its_polls_end_at_the_apps_truth() {
    let app = app(vec![]);
    let server = serve(&app).await;
    let mut seed = 7_u64;
    let mut draw = move |below: i64| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as i64 % below
    };
    let mut stored = Table::default();
    let mut saved: Option<Value> = None;
    for round in 0..60 {
        {
            let mut app = app.lock().unwrap();
            for _ in 0..draw(8) {
                app.now += draw(2);
                let (id, now) = (format!("t{}", draw(12)), app.now);
                let number = app.events.len();
                let kind = match app.things.iter().position(|t| t["id"] == *id) {
                    None => {
                        app.things.push(thing(&id, now, draw(1000)));
                        "thing.created"
                    }
                    Some(at) if draw(4) == 0 => {
                        let gone = app.things.remove(at);
                        app.events.push(event(&format!("e{number:06}"), now, "thing.deleted", gone));
                        continue;
                    }
                    Some(at) => {
                        app.things[at]["amount"] = draw(1000).into();
                        "thing.updated"
                    }
                };
                let object = app.things.iter().find(|t| t["id"] == *id).unwrap().clone();
                app.events.push(event(&format!("e{number:06}"), now, kind, object));
            }
            // A poll sees whole seconds only of what is past.
            app.now += draw(3);
        }
        let source = source();
        let groups = group(&source, vec![(output(&source, "things", saved.clone()), None)]);
        let (pages, end) = run(&api(source, &server, |_| ()), groups.into_iter().next().unwrap().1).await;
        stored.store(&pages, 0);
        saved = end.unwrap().checkpoints[0].clone();
        let app = app.lock().unwrap();
        let truth: std::collections::BTreeMap<String, String> =
            app.things.iter().map(|t| (t["id"].as_str().unwrap().into(), t["amount"].to_string())).collect();
        let ours: std::collections::BTreeMap<String, String> = stored
            .0
            .iter()
            .filter(|(_, (_, _, is_deleted))| !is_deleted)
            .map(|(id, (cells, ..))| (id.clone(), cells[2].clone()))
            .collect();
        assert_eq!(ours, truth, "round {round}");
    }
}

#[test]
fn groups_share_what_can_be_shared() {
    let source = source();
    let position = Some(json!({"slices": [[null, 5]]}));
    let make =
        |name: &str, checkpoint: Option<Value>, position: Option<Value>| (output(&source, name, checkpoint), position);
    let some = || Some(checkpoint(NOW));
    let groups = group(
        &source,
        vec![
            make("things", some(), None),
            make("lines", None, None),
            make("balances", some(), None),
            make("skus", None, None),
            make("things", None, None),
            make("things", None, position.clone()),
            make("parts", some(), position.clone()),
        ],
    );
    let shown: Vec<(Vec<usize>, &str)> = groups
        .iter()
        .map(|(indexes, request)| {
            let mode = match &request.mode {
                Mode::Incremental => "incremental",
                Mode::Full { resume: None } => "full",
                _ => "resumed",
            };
            (indexes.clone(), mode)
        })
        .collect();
    assert_eq!(
        shown,
        [
            (vec![0, 2], "incremental"),
            (vec![1, 4], "full"),
            (vec![3], "full"),
            (vec![5], "resumed"),
            (vec![6], "resumed")
        ]
    );
}
