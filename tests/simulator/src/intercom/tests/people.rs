//! Contacts and companies.

use super::*;

#[test]
fn contacts_of_both_roles_are_listed_and_searched_together() {
    let mut shop = Shop::seeded(json!({"companies": 3, "tags": 2, "segments": 2, "users": 33, "contacts": 20}));
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let page = shop.get(&format!("/contacts?per_page=20{after}"));
        listed.extend(page["data"].as_array().unwrap().clone());
        assert_eq!((&page["total_count"], &page["pages"]["total_pages"]), (&json!(53), &json!(3)));
        match page["pages"]["next"]["starting_after"].as_str() {
            Some(next) => after = format!("&starting_after={next}"),
            None => break,
        }
    }
    listed.sort_by_key(|c| c["id"].as_str().unwrap().to_string());
    let ledger: Vec<Value> =
        shop.ledger("users").into_iter().chain(shop.ledger("contacts")).map(|r| r["record"].clone()).collect();
    assert_eq!(listed, ledger);
    assert!(listed.iter().all(|c| c.get("company_ids").is_none()));
    let role =
        |role: &str| json!({"query": {"field": "role", "operator": "=", "value": role}, "pagination": {"per_page": 7}});
    assert_eq!(search_all(&mut shop, "/contacts/search", "data", role("lead")).len(), 20);
    assert_eq!(search_all(&mut shop, "/contacts/search", "data", role("user")).len(), 33);
    let page = shop.post("/contacts/search", json!({"query": any_role()}));
    assert_eq!((page["data"].as_array().unwrap().len(), &page["pages"]["per_page"]), (50, &json!(50)));
    assert_eq!(shop.get("/contacts")["data"].as_array().unwrap().len(), 10);
    for wrong in ["per_page=151", "per_page=0", "per_page=x", "starting_after=x"] {
        assert_eq!(code(&shop.raw(&format!("/contacts?{wrong}"))), (400, "parameter_invalid".into()), "{wrong}");
    }
    assert_eq!(
        shop.posted("/contacts/search", json!({"query": any_role(), "pagination": {"per_page": 151}})).status,
        400
    );
    assert_eq!(shop.posted("/contacts/search", json!({})).status, 400);
}

#[test]
fn a_search_of_contacts_sees_whole_days_of_the_workspace() {
    let mut shop = Shop::seeded(json!({}));
    let day = NOW / 1000 / 86_400 * 86_400;
    for (at, name) in [(day - 1, "yesterday"), (day, "midnight"), (day + 43_200, "noon"), (day + 86_400, "tomorrow")] {
        shop.control("POST", "/users", json!({"name": name, "created_at": at, "updated_at": at}));
    }
    let find = |shop: &mut Shop, operator: &str, value: i64| -> Vec<String> {
        let ask = json!({"query": {"field": "updated_at", "operator": operator, "value": value}, "sort": {"field": "updated_at", "order": "ascending"}});
        shop.post("/contacts/search", ask)["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap().to_string())
            .collect()
    };
    assert_eq!(find(&mut shop, ">", day + 10), ["tomorrow"], "a change later the same day is not found");
    assert_eq!(find(&mut shop, ">", day - 1), ["midnight", "noon", "tomorrow"]);
    assert_eq!(find(&mut shop, "=", day + 80_000), ["midnight", "noon"]);
    assert_eq!(find(&mut shop, "<", day + 80_000), ["yesterday"]);
    shop.set(json!({"utc_offset_minutes": -480}));
    assert_eq!(
        find(&mut shop, ">", day + 43_200),
        Vec::<String>::new(),
        "in the west, it is the same day for hours more"
    );
    assert_eq!(find(&mut shop, "=", day), ["yesterday", "midnight"]);
    assert_eq!(shop.get("/me")["app"]["timezone"], "Etc/GMT+8");
    let refused =
        shop.posted("/contacts/search", json!({"query": {"field": "updated_at", "operator": ">=", "value": day}}));
    assert_eq!(code(&refused), (400, "parameter_invalid".into()));
}

#[test]
fn new_contacts_are_missing_from_searches_for_a_while() {
    let mut shop = Shop::seeded(json!({"users": 2}));
    shop.set(json!({"late_visibility_ms": 120_000}));
    let id = shop.control("POST", "/contacts", json!({"email": "new@x.example"}))["id"].as_str().unwrap().to_string();
    let lead = json!({"query": {"field": "role", "operator": "=", "value": "lead"}});
    assert_eq!(shop.post("/contacts/search", lead.clone())["total_count"], 0);
    assert_eq!(
        (shop.raw(&format!("/contacts/{id}")).status, shop.get("/contacts")["total_count"].clone()),
        (200, json!(3))
    );
    shop.now_ms += 120_000;
    assert_eq!(shop.post("/contacts/search", lead)["total_count"], 1);
}

#[test]
fn a_lead_can_become_a_user_and_a_deleted_contact_vanishes() {
    let mut shop = Shop::seeded(json!({"contacts": 2, "users": 1}));
    let id = shop.ledger("contacts")[0]["id"].as_str().unwrap().to_string();
    let moved = shop.control("PATCH", &format!("/contacts/{id}"), json!({"role": "user", "external_id": "u-9"}));
    assert_eq!((&moved["id"], &moved["role"], &moved["updated_at"]), (&json!(id), &json!("user"), &json!(NOW / 1000)));
    assert_eq!((shop.ledger("users").len(), shop.ledger("contacts").len()), (2, 1));
    assert_eq!(shop.get(&format!("/contacts/{id}"))["role"], "user");
    shop.control("DELETE", &format!("/users/{id}"), json!({}));
    assert_eq!(code(&shop.raw(&format!("/contacts/{id}"))), (404, "not_found".into()));
    assert_eq!(shop.post("/contacts/search", json!({"query": any_role()}))["total_count"], 2);
    assert_eq!(shop.control("GET", "/users/count", json!({})), json!({"count": 1, "deleted": 1, "total": 2}));
    shop.control("POST", &format!("/users/{id}/undelete"), json!({}));
    assert_eq!(shop.get("/contacts")["total_count"], 3);
}

#[test]
fn lists_inside_a_contact_hold_ten() {
    let mut shop = Shop::seeded(json!({"companies": 12, "users": 1}));
    let companies: Vec<String> =
        shop.ledger("companies").iter().map(|r| r["id"].as_str().unwrap().to_string()).collect();
    let made = shop.control("POST", "/users", json!({"company_ids": companies}));
    let shown = &made["companies"];
    assert_eq!(
        (shown["data"].as_array().unwrap().len(), &shown["total_count"], &shown["has_more"]),
        (10, &json!(12), &json!(true))
    );
    let all = shop.get(shown["url"].as_str().unwrap());
    assert_eq!(ids(&all["data"]), companies);
    assert!(
        shop.ledger("companies").iter().all(|r| r["record"]["user_count"].as_i64().unwrap() >= 1),
        "companies count them"
    );
    assert_eq!(shop.raw("/contacts/none/companies").status, 404);
}

#[test]
fn social_profiles_are_part_of_contacts() {
    let mut shop = Shop::seeded(json!({"users": 12, "contacts": 6}));
    let found: usize = search_all(&mut shop, "/contacts/search", "data", json!({"query": any_role()}))
        .iter()
        .map(|c| c["social_profiles"]["data"].as_array().unwrap().len())
        .sum();
    let ledger = shop.ledger("social_profiles");
    assert_eq!((found, ledger.is_empty()), (ledger.len(), false));
    assert!(ledger[0]["record"]["contact_id"].is_string());
}

#[test]
fn only_one_scroll_is_open_and_it_expires() {
    let mut shop = Shop::seeded(json!({"companies": 230}));
    let first = shop.get("/companies/scroll");
    assert_eq!(
        (first["data"].as_array().unwrap().len(), &first["pages"], &first["total_count"]),
        (100, &Value::Null, &Value::Null)
    );
    let param = first["scroll_param"].as_str().unwrap().to_string();
    assert_eq!(code(&shop.raw("/companies/scroll")), (400, "scroll_exists".into()));
    // What happens meanwhile is not in it.
    shop.control("POST", "/companies", json!({"name": "Late"}));
    let mut all = ids(&first["data"]);
    let rest = format!("/companies/scroll?scroll_param={param}");
    for want in [100, 30, 0] {
        shop.now_ms += 59_000;
        let page = shop.get(&rest);
        assert_eq!(page["data"].as_array().unwrap().len(), want);
        assert_eq!(page["scroll_param"], json!(param), "also with the empty page");
        all.extend(ids(&page["data"]));
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 230);
    assert_eq!(code(&shop.raw(&rest)), (404, "not_found".into()), "it ended with its empty page");
    let again = shop.get("/companies/scroll");
    assert_ne!(again["scroll_param"], json!(param));
    shop.now_ms += 60_000;
    let expired = shop.raw(&format!("/companies/scroll?scroll_param={}", again["scroll_param"].as_str().unwrap()));
    assert_eq!(code(&expired), (404, "not_found".into()));
    assert_eq!(shop.raw("/companies/scroll").status, 200, "the lock is gone with it");
}

#[test]
fn the_company_list_ends_at_a_limit_and_leaves_out_companies_without_users() {
    let mut shop = Shop::seeded(json!({"companies": 50, "users": 40}));
    let with_users = shop.ledger("companies").iter().filter(|r| r["record"]["user_count"].as_i64() > Some(0)).count();
    assert!((1..50).contains(&with_users));
    let first = shop.post("/companies/list?page=1&per_page=15", json!({}));
    assert_eq!((&first["total_count"], &first["pages"]["page"]), (&json!(with_users), &json!(1)));
    let mut all = Vec::new();
    for page in 1..=first["pages"]["total_pages"].as_u64().unwrap() {
        all.extend(
            shop.post("/companies/list", json!({"page": page, "per_page": 15}))["data"].as_array().unwrap().clone(),
        );
    }
    assert_eq!(all.len(), with_users);
    assert!(all.windows(2).all(|two| two[0]["last_request_at"].as_i64() >= two[1]["last_request_at"].as_i64()));
    assert_eq!(
        shop.post("/companies/list?page=9&per_page=15", json!({}))["data"],
        json!([]),
        "beyond the end it is empty"
    );
    assert_eq!(shop.posted("/companies/list?per_page=61", json!({})).status, 400);
    shop.set(json!({"company_list_limit": 30}));
    assert_eq!(shop.posted("/companies/list?page=2&per_page=15", json!({})).status, 200);
    let refused = shop.posted("/companies/list?page=3&per_page=15", json!({}));
    assert_eq!(code(&refused), (400, "bad_request".into()));
    assert_eq!(body(&refused)["errors"][0]["message"], "page limit reached, please use scroll API");
    let one = shop.get("/companies?company_id=c-3");
    assert_eq!(shop.get(&format!("/companies/{}", one["id"].as_str().unwrap())), one);
    assert_eq!(code(&shop.raw("/companies?company_id=none")), (404, "company_not_found".into()));
}
