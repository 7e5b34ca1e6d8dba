//! Records that another call completes: which are asked about, when, and what a bad answer does.

use super::styles_testing::*;
use super::testing::{checkpoint, output, NOW};
use super::*;
use crate::extract::{Mode, Scan};
use crate::http::testing::{account, client, status, Act, Seen, Server};
use crate::manifest::Source;
use serde_json::{json, Value};

/// Things with friends, whom the listing shows by twos when it is asked to, and changes never.
fn friends_source(lookup: Value, collection: Value) -> Source {
    let mut friends = json!({
        "name": "friends", "into": "/links/friends", "listed": "/links/next", "size": 2, "key": "/of", "value": "/to",
        "call": {"method": "POST", "path": "/friends",
            "json": {"of": [{"$each": "{keys}", "id": "{each}"}], "after": "{after?}"}},
        "records": "/found", "next": "/next", "none": {"records": "/lonely", "key": "/id"},
    });
    for (name, value) in lookup.as_object().unwrap() {
        friends[name] = value.clone();
    }
    let mut members = json!({
        "params": {"with": "{lookups?}"}, "by_key": "/things/{id}", "lookups": [friends],
        "cursor": {"field": "updated", "format": "unix", "param": "since"},
        "incremental": {"path": "/changes"},
        "columns": [{"name": "id", "type": "text"}, {"name": "updated", "type": "timestamptz", "format": "unix"},
            {"name": "friends", "type": "jsonb", "field": "/links/friends", "shape": {"style": "set", "fields": ["/id"]}}],
    });
    for (name, value) in collection.as_object().unwrap() {
        members[name] = value.clone();
    }
    source(json!({"collections": [things(members)]}))
}

/// `n` friends of a thing: t0 has none, t1 one, t2 two and so on.
fn friends_of(id: &str) -> Vec<Value> {
    let count: i64 = id.trim_start_matches('t').parse().unwrap();
    (0..count).map(|n| json!({"id": format!("{id}f{n}")})).collect()
}

fn friends_app(seen: &Seen) -> Act {
    let (asked, all) = (body(seen), (0..5).map(|n| format!("t{n}")));
    match seen.path.as_str() {
        "/things" => {
            let shown = all.map(|id| {
                let (mut thing, friends) = (thing(&id, NOW - 50), friends_of(&id));
                if seen.param("with") == Some("friends") && !friends.is_empty() {
                    let next = (friends.len() > 2).then_some("2");
                    thing["links"] = json!({"friends": friends.iter().take(2).collect::<Vec<_>>(), "next": next});
                }
                thing
            });
            dated(json!({"data": shown.collect::<Vec<_>>()}))
        }
        "/changes" => dated(json!({"data": all.map(|id| thing(&id, NOW - 50)).collect::<Vec<_>>()})),
        "/friends" => {
            let from: usize = asked["after"].as_str().map_or(0, |after| after.parse().unwrap());
            let (mut found, mut lonely) = (Vec::new(), Vec::new());
            for one in asked["of"].as_array().unwrap() {
                let friends = friends_of(one["id"].as_str().unwrap());
                let shown: Vec<&Value> = friends.iter().skip(from).take(2).collect();
                let next = (from + 2 < friends.len()).then(|| (from + 2).to_string());
                match shown.is_empty() {
                    true => lonely.push(one.clone()),
                    false => found.push(json!({"of": one["id"], "to": shown, "next": next})),
                }
            }
            dated(json!({"found": found, "lonely": lonely}))
        }
        path => match path.strip_prefix("/things/") {
            Some(id) => dated(thing(id, NOW - 50)),
            None => status(404, "{}"),
        },
    }
}

fn asked(server: &Server) -> Vec<String> {
    let ids = |seen: &Seen| {
        let asked = body(seen);
        let ids: Vec<&str> = asked["of"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
        format!("{} {}", ids.join(","), asked["after"].as_str().unwrap_or_default()).trim().to_string()
    };
    server.seen().iter().filter(|seen| seen.path == "/friends").map(ids).collect()
}

fn want() -> Vec<[String; 3]> {
    let row = |n: i64| {
        let id = format!("t{n}");
        let friends: Vec<String> = (0..n).map(|at| format!("{id}f{at}")).collect();
        [id, (NOW - 50).to_string(), if n == 0 { "null".into() } else { json!(friends).to_string() }]
    };
    (0..5).map(row).collect()
}

#[tokio::test]
async fn a_listing_that_tells_too_is_asked_again_only_where_it_did_not_tell_all() {
    let server = Server::start(friends_app).await;
    let done = full(&friends_source(json!({}), json!({})), &server, "things").await;
    assert_eq!(done.rows(), want());
    assert_eq!(asked(&server), ["t3,t4", "t3 2", "t4 2"]);
}

#[tokio::test]
async fn what_changed_is_asked_about_in_batches() {
    let server = Server::start(friends_app).await;
    let source = friends_source(json!({}), json!({}));
    let done = changes(&source, &server, "things", checkpoint(NOW - 100)).await;
    assert_eq!(done.rows(), want());
    assert_eq!(asked(&server), ["t0,t1", "t2,t3", "t3 2", "t4", "t4 2"]);
}

#[tokio::test]
async fn one_record_is_completed_too() {
    let server = Server::start(friends_app).await;
    let source = friends_source(json!({}), json!({}));
    let value = crate::extract::FilterValue::Text("t1".into());
    let filter = crate::extract::Filter { column: 0, op: crate::extract::Op::Eq, values: vec![value] };
    let scan = Scan { filters: vec![filter], ..Scan::default() };
    let done = read_with(&source, &server, vec![output(&source, "things", None)], Mode::Scan(scan), &[]).await;
    assert_eq!(done.rows(), want()[1..2]);
    assert_eq!(asked(&server), ["t1"]);
}

/// A column that nobody has costs no call.
#[tokio::test]
async fn nothing_is_asked_that_nobody_needs() {
    let source = friends_source(json!({}), json!({}));
    let mut narrow = output(&source, "things", Some(checkpoint(NOW - 100)));
    narrow.columns.truncate(2);
    for (mode, output) in [
        (Mode::Incremental, narrow.clone()),
        (Mode::Full { resume: None }, crate::extract::Output { checkpoint: None, ..narrow }),
    ] {
        let server = Server::start(friends_app).await;
        let done = read_with(&source, &server, vec![output], mode, &[]).await;
        assert_eq!((done.keys().len(), server.calls()), (5, 1));
        assert_eq!(server.seen()[0].param("with"), None);
    }
}

/// With `none`, an answer that leaves a record out is no answer; without, the record has nothing.
#[tokio::test]
async fn an_answer_that_leaves_a_record_out_is_refused() {
    let forgetful = |seen: &Seen| match seen.path.as_str() {
        "/friends" => dated(json!({"found": [], "lonely": [{"id": "t0"}]})),
        _ => friends_app(seen),
    };
    let server = Server::start(forgetful).await;
    let source = friends_source(json!({}), json!({}));
    let done = changes(&source, &server, "things", checkpoint(NOW - 100)).await;
    let error = done.end.as_ref().unwrap_err();
    assert!(format!("{error:?}").contains("leaves out 1 of the 2 records"), "{error:?}");
    assert!(done.pages.is_empty(), "rows that lack what they had would be wrong");
    let source = friends_source(json!({"none": null}), json!({}));
    let done = changes(&source, &server, "things", checkpoint(NOW - 100)).await;
    assert!(done.end.is_ok() && done.rows().iter().all(|row| row[2] == "null"), "{:?}", done.rows());
}

/// A reading that looks back over what the last one told asks nothing about it, until it changes or is gone.
#[tokio::test]
async fn what_was_told_is_not_asked_about_again() {
    let app =
        std::sync::Arc::new(std::sync::Mutex::new((json!([thing("t1", NOW - 9), thing("t2", NOW - 1)]), json!([]))));
    let shown = std::sync::Arc::clone(&app);
    let server = Server::start(move |seen| match seen.path.as_str() {
        "/changes" => dated(json!({"data": shown.lock().unwrap().0})),
        "/gone" => dated(json!({"data": shown.lock().unwrap().1})),
        _ => friends_app(seen),
    })
    .await;
    let gone = json!({"style": "listing", "list": {"path": "/gone", "records": "/data", "pages": {"style": "none"}}});
    let source = friends_source(json!({}), json!({"deletes": gone}));
    let mut known = checkpoint(NOW - 100);
    for (name, things, gone, asks, rows) in [
        (
            "the first time",
            json!([thing("t1", NOW - 9), thing("t2", NOW - 1)]),
            json!([]),
            vec!["t1,t2"],
            vec!["t1", "t2"],
        ),
        (
            "one may change again in the same second",
            json!([thing("t1", NOW - 9), thing("t2", NOW - 1)]),
            json!([]),
            vec!["t2"],
            vec!["t2"],
        ),
        ("one changed", json!([thing("t1", NOW - 5)]), json!([]), vec!["t1"], vec!["t1"]),
        ("nothing happened", json!([thing("t1", NOW - 5)]), json!([]), vec![], vec![]),
        ("it went", json!([]), json!([thing("t1", NOW - 5)]), vec![], vec!["t1"]),
        ("it came back as it was", json!([thing("t1", NOW - 5)]), json!([]), vec!["t1"], vec!["t1"]),
    ] {
        *app.lock().unwrap() = (things, gone);
        let before = asked(&server).len();
        let done = changes(&source, &server, "things", known).await;
        assert_eq!(asked(&server)[before..], asks, "{name}");
        assert_eq!(done.keys(), rows, "{name}");
        known = done.checkpoint().unwrap();
    }
}

/// A page of which all is told still says where the next query begins.
#[tokio::test]
async fn what_is_left_out_does_not_end_a_listing_at_its_ceiling() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/changes" => {
            let above = seen.param("above").unwrap_or_default().to_string();
            let offset: usize = seen.param("offset").map_or(0, |at| at.parse().unwrap());
            if offset >= 4 {
                return status(400, "{}");
            }
            let all = (0..7).map(|n| thing(&format!("t{n}"), NOW - 50)).filter(|t| t["id"].as_str() > Some(&above));
            dated(json!({"data": all.skip(offset).take(2).collect::<Vec<_>>()}))
        }
        _ => friends_app(seen),
    })
    .await;
    let list = json!({"path": "/changes", "params": {"above": "{last_key?}"}, "ceiling": {"records": 4, "restart": "last_key", "field": "/id"},
        "pages": {"style": "offset", "param": "offset", "size_param": "n", "size": 2}});
    let source = friends_source(json!({"none": null}), json!({"incremental": list}));
    let mut known = checkpoint(NOW - 20);
    known["told"] = json!({"t2": (NOW - 50) * 1_000_000, "t3": (NOW - 50) * 1_000_000, "t4": 0});
    let done = changes(&source, &server, "things", known).await;
    assert!(done.end.is_ok(), "{:?}", done.end);
    assert_eq!(done.keys(), ["t0", "t1", "t4", "t5", "t6"]);
}

/// What a listing shows around its records is still there after they are completed.
#[tokio::test]
async fn what_is_around_a_record_stays() {
    let keyed = |seen: &Seen| match seen.path.as_str() {
        "/things" => dated(json!({"data": {"x": thing("t1", NOW), "y": thing("t2", NOW)}})),
        _ => friends_app(seen),
    };
    let server = Server::start(keyed).await;
    let columns = json!([{"name": "id", "type": "text"}, {"name": "name", "type": "text", "value": "#key"},
        {"name": "friends", "type": "jsonb", "field": "/links/friends", "shape": {"style": "set", "fields": ["/id"]}}]);
    let members = json!({"records": {"pointer": "/data", "keyed": true}, "columns": columns, "incremental": null, "cursor": null});
    let done = full(&friends_source(json!({"listed": null}), members), &server, "things").await;
    assert_eq!(done.rows(), [["t1", "x", r#"["t1f0"]"#], ["t2", "y", r#"["t2f0","t2f1"]"#]]);
}

#[tokio::test]
async fn a_live_query_plans_with_the_call_that_it_makes_first() {
    let server = Server::start(friends_app).await;
    let source = friends_source(json!({}), json!({}));
    let request = ReadRequest { outputs: vec![output(&source, "things", None)], mode: Mode::Scan(Scan::default()) };
    let account = account(source.clone(), &server.url);
    let first = Rest::first_request(&request, &account).unwrap();
    assert_eq!(first.query, [("with".to_string(), "friends".to_string())]);
    let channel = crate::extract::sink::Channel::new(1 << 30, Box::new(|| {}));
    let sink = crate::extract::sink::Sink::new(channel);
    Rest::read(&client(account), request, &sink).await.unwrap();
    assert_eq!(asked(&server), ["t3,t4", "t3 2", "t4 2"]);
}
