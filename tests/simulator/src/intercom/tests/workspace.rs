//! Conversations, the workspace itself, credentials and limits.

use super::*;

#[test]
fn a_search_of_conversations_is_exact_and_pages_by_its_cursor() {
    let mut shop = Shop::seeded(json!({"users": 4, "conversations": 40, "ties": 9}));
    let ledger = shop.ledger("conversations");
    let at = |row: &Value| row["record"]["updated_at"].as_i64().unwrap();
    let newest = ledger.iter().map(at).max().unwrap();
    let ask = |operator: &str, value: i64| {
        json!({
            "query": {"operator": "AND", "value": [{"field": "updated_at", "operator": operator, "value": value}]},
            "sort": {"field": "updated_at", "order": "ascending"}, "pagination": {"per_page": 6},
        })
    };
    let same = ledger.iter().filter(|row| at(row) == newest).count();
    assert!(same >= 9);
    let mut find = |operator: &str, value: i64| {
        search_all(&mut shop, "/conversations/search", "conversations", ask(operator, value))
    };
    assert_eq!(find(">", newest - 1).len(), same);
    assert_eq!(find("=", newest).len(), same);
    assert!(find(">", newest).is_empty(), "greater is not equal");
    let before = find("<", newest);
    assert_eq!(before.len(), 40 - same, "the second itself is in neither half");
    assert!(before.windows(2).all(|two| two[0]["updated_at"].as_i64() <= two[1]["updated_at"].as_i64()));
    assert!(before[0].get("conversation_parts").is_none());
    let refused = shop.posted("/conversations/search", ask("<=", newest));
    assert_eq!(refused.status, 400);
    assert_eq!(shop.get("/conversations")["conversations"].as_array().unwrap().len(), 20);
}

#[test]
fn parts_come_with_their_conversation_only_and_at_most_so_many() {
    let mut shop = Shop::seeded(json!({"admins": 2, "users": 2, "conversations": 3, "conversation_parts": 40}));
    let mut total = 0;
    for row in shop.ledger("conversations") {
        let shown = shop.get(&format!("/conversations/{}", row["id"].as_str().unwrap()));
        let parts = shown["conversation_parts"]["conversation_parts"].as_array().unwrap();
        assert_eq!(shown["conversation_parts"]["total_count"], shown["statistics"]["count_conversation_parts"]);
        assert!(parts.iter().all(|part| part.get("conversation_id").is_none()));
        total += parts.len();
    }
    assert_eq!(total, 40);
    let row = shop.ledger("conversation_parts")[0].clone();
    let (part, conversation) = (row["id"].as_str().unwrap(), row["record"]["conversation_id"].as_str().unwrap());
    shop.now_ms += 5000;
    let new = shop.control(
        "POST",
        "/conversation_parts",
        json!({"conversation_id": conversation, "body": "<p>Hi <b>you</b></p>"}),
    );
    let shown = shop.get(&format!("/conversations/{conversation}?display_as=plaintext"));
    assert_eq!(shown["updated_at"], json!(NOW / 1000 + 5), "a new part changes its conversation");
    let last = shown["conversation_parts"]["conversation_parts"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["id"], &last["body"]), (&new["id"], &json!("Hi you")));
    shop.control("DELETE", &format!("/conversation_parts/{part}"), json!({}));
    let shown = shop.get(&format!("/conversations/{conversation}"));
    let redacted = shown["conversation_parts"]["conversation_parts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["id"] == part)
        .unwrap()
        .clone();
    assert_eq!((&redacted["redacted"], &redacted["body"]), (&json!(true), &Value::Null));
    shop.set(json!({"conversation_parts_limit": 2}));
    let shown = shop.get(&format!("/conversations/{conversation}"));
    assert_eq!(
        ids(&shown["conversation_parts"]["conversation_parts"]).last(),
        new["id"].as_str().map(str::to_string).as_ref()
    );
    assert_eq!(shown["conversation_parts"]["conversation_parts"].as_array().unwrap().len(), 2, "the latest ones");
    shop.control("DELETE", &format!("/conversations/{conversation}"), json!({}));
    assert_eq!(code(&shop.raw(&format!("/conversations/{conversation}"))), (404, "not_found".into()));
}

#[test]
fn the_workspaces_own_lists_have_no_pages() {
    let mut shop = Shop::seeded(json!({"admins": 3, "teams": 2, "tags": 4, "segments": 5}));
    for (path, kind, member, count) in [
        ("/admins", "admin.list", "admins", 3),
        ("/teams", "team.list", "teams", 2),
        ("/tags", "list", "data", 4),
        ("/segments", "segment.list", "segments", 5),
    ] {
        let list = shop.get(path);
        assert_eq!((&list["type"], list[member].as_array().unwrap().len()), (&json!(kind), count), "{path}");
        let one = list[member][0].clone();
        let by_id = shop.get(&format!("{path}/{}", one["id"].as_str().unwrap()));
        assert_eq!(by_id["name"], one["name"], "{path}");
        assert_eq!(shop.raw(&format!("{path}/none")).status, 404, "{path}");
    }
    assert!(shop.get("/segments")["segments"][0].get("count").is_none());
    assert!(shop.get("/segments?include_count=true")["segments"][0]["count"].is_number());
    shop.control("DELETE", "/tags/2", json!({}));
    assert_eq!(ids(&shop.get("/tags")["data"]), ["1", "3", "4"]);
}

#[test]
fn attributes_are_described_and_searched_by_their_type() {
    let mut shop = Shop::seeded(json!({}));
    let made = shop.control(
        "POST",
        "/data_attributes",
        json!({"model": "contact", "name": "renewed_on", "data_type": "date"}),
    );
    let names = |shop: &mut Shop, query: &str| -> Vec<String> {
        let list = shop.get(&format!("/data_attributes?model=contact{query}"));
        list["data"].as_array().unwrap().iter().map(|a| a["full_name"].as_str().unwrap().to_string()).collect()
    };
    assert!(names(&mut shop, "").contains(&"custom_attributes.renewed_on".to_string()));
    assert!(names(&mut shop, "").contains(&"location.country".to_string()));
    assert_eq!(shop.raw("/data_attributes?model=ticket").status, 400);
    let day = NOW / 1000 / 86_400 * 86_400;
    shop.control("POST", "/users", json!({"custom_attributes": {"renewed_on": day + 7200, "seat_count": 12}}));
    let find = |shop: &mut Shop, field: &str, operator: &str, value: i64| {
        let ask =
            json!({"query": {"field": format!("custom_attributes.{field}"), "operator": operator, "value": value}});
        shop.posted("/contacts/search", ask)
    };
    assert_eq!(body(&find(&mut shop, "renewed_on", "=", day))["total_count"], 1, "by the day");
    assert_eq!(body(&find(&mut shop, "seat_count", ">=", 12))["total_count"], 1);
    assert_eq!(find(&mut shop, "nothing", "=", 1).status, 400);
    shop.control("DELETE", &format!("/data_attributes/{}", made["id"]), json!({}));
    assert!(!names(&mut shop, "").contains(&"custom_attributes.renewed_on".to_string()));
    assert!(names(&mut shop, "&include_archived=true").contains(&"custom_attributes.renewed_on".to_string()));
}

#[test]
fn tokens_regions_and_versions_are_checked() {
    let mut shop = Shop::seeded(json!({"tags": 1}));
    let good = ("authorization", "Bearer sim-intercom-token");
    for (name, headers, want, credential) in [
        ("no token", vec![], (401, "unauthorized"), "none"),
        ("a wrong one", vec![("authorization", "Bearer x")], (401, "unauthorized"), "wrong"),
        ("another region's host", vec![good, ("host", "api.eu.intercom.io")], (401, "unauthorized"), "valid"),
        ("the own region's host", vec![good, ("host", "api.intercom.io")], (200, ""), "valid"),
        ("a local address", vec![good, ("host", "127.0.0.1:8000")], (200, ""), "valid"),
        ("an unknown version", vec![good, ("intercom-version", "9.9")], (400, "intercom_version_invalid"), "valid"),
    ] {
        let reply = shop.send("GET", "/tags", &headers, "");
        let (status, error) = code(&reply);
        assert_eq!(((status, error.as_str()), reply.credential), (want, credential), "{name}");
        assert!(status == 200 || body(&reply)["request_id"] == header(&reply, "X-Request-Id"), "{name}");
    }
    assert_eq!(header(&shop.raw("/tags"), "Intercom-Version"), "2.14");
    assert_eq!(
        header(&shop.send("GET", "/tags", &[good, ("intercom-version", "2.10")], ""), "Intercom-Version"),
        "2.10"
    );
    shop.set(json!({"region": "eu"}));
    assert_eq!(shop.send("GET", "/tags", &[good, ("host", "api.eu.intercom.io")], "").status, 200);
    assert_eq!(shop.get("/me")["app"]["region"], "EU");
}

#[test]
fn requests_are_counted_in_windows_of_ten_seconds() {
    let mut shop = Shop::seeded(json!({}));
    shop.set(json!({"calls_per_ten_seconds": 2}));
    shop.now_ms = 1_780_000_003_000;
    let first = shop.raw("/tags");
    assert_eq!(
        [
            header(&first, "X-RateLimit-Limit"),
            header(&first, "X-RateLimit-Remaining"),
            header(&first, "X-RateLimit-Reset")
        ],
        ["2", "1", "1780000010"]
    );
    shop.raw("/tags");
    let limited = shop.raw("/tags");
    assert_eq!(code(&limited), (429, "rate_limit_exceeded".into()));
    assert_eq!(header(&limited, "X-RateLimit-Remaining"), "0");
    shop.now_ms = 1_780_000_010_000;
    assert_eq!(shop.raw("/tags").status, 200);
}

#[test]
fn what_the_plan_leaves_out_is_refused() {
    let mut shop = Shop::seeded(json!({"users": 1, "conversations": 1}));
    let conversation = shop.ledger("conversations")[0]["id"].as_str().unwrap().to_string();
    shop.set(json!({"denied": ["conversation_parts", "users"]}));
    assert_eq!(code(&shop.raw(&format!("/conversations/{conversation}"))), (403, "api_plan_restricted".into()));
    assert_eq!(
        code(&shop.posted("/contacts/search", json!({"query": any_role()}))),
        (403, "api_plan_restricted".into())
    );
    assert_eq!((shop.raw("/conversations").status, shop.raw("/companies/scroll").status), (200, 200));
}

#[test]
fn an_emptied_page_leads_to_itself() {
    let mut shop = Shop::seeded(json!({"users": 30}));
    let ask = json!({"query": any_role(), "pagination": {"per_page": 10}});
    let first = shop.post("/contacts/search", ask.clone());
    let mut second_ask = ask.clone();
    second_ask["pagination"]["starting_after"] = first["pages"]["next"]["starting_after"].clone();
    for sent in [ask, second_ask] {
        let page = shop.post("/contacts/search", sent.clone());
        let request = Request {
            method: "POST".into(),
            path: "/contacts/search".into(),
            body: sent.to_string().into(),
            ..Request::default()
        };
        let mut emptied = page.clone();
        emptied["data"] = json!([]);
        shop.app.lead_on(true, &request, &Reply::default(), &mut emptied);
        let mut again = sent.clone();
        again["pagination"]["starting_after"] = emptied["pages"]["next"]["starting_after"].clone();
        assert_ne!(again, sent);
        assert_eq!(shop.post("/contacts/search", again)["data"], page["data"]);
        assert_eq!(shop.app.starts_listing(&request), sent["pagination"]["starting_after"].is_null());
    }
}

#[test]
fn the_same_seed_gives_the_same_workspace() {
    let sizes = json!({
        "admins": 2, "teams": 2, "tags": 3, "segments": 3, "companies": 9, "users": 20, "contacts": 9, "conversations": 12, "conversation_parts": 30,
        "deleted_percent": 15,
    });
    let (mut one, mut other) = (Shop::seeded(sizes.clone()), Shop::seeded(sizes.clone()));
    for name in sizes.as_object().unwrap().keys().filter(|name| *name != "deleted_percent") {
        assert_eq!(one.ledger(name), other.ledger(name), "{name}");
        assert!(!one.ledger(name).is_empty(), "{name}");
    }
}
