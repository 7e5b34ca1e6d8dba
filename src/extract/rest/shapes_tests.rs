//! Records, columns, parameters and lists of what is gone, in the shapes that apps give them.

use super::styles_testing::*;
use super::testing::{checkpoint, http_date, output, run, table, NOW};
use super::*;
use crate::http::testing::{account, client, status, Act, Server};
use serde_json::{json, Value};

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
    let described = Rest::describe(&api, source.collection("things").unwrap(), None).await.unwrap().unwrap();
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
    assert_eq!(Rest::describe(&api, &serde_json::from_value(none).unwrap(), None).await.unwrap(), None);
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
