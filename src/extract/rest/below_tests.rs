//! Listings below the records of another collection.

use super::styles_testing::*;
use super::testing::{checkpoint, output, Table, NOW};
use super::*;
use crate::extract::Mode;
use crate::http::testing::{account, client, status, Act, Seen, Server};
use crate::manifest::Source;
use serde_json::{json, Value};

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
    Rest::read(&client(account(source.clone(), &server.url)), request, &sink).await.unwrap();
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
        let (mut calls, mut position, mut stored) = (0, None, Table::default());
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
