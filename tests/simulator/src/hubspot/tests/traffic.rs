//! Credentials, limits, scopes, and what faults need to know.

use super::*;

#[test]
fn a_url_that_is_too_long_meets_the_proxy() {
    let mut portal = Portal::new();
    let long = portal.raw(&format!("/crm/v3/objects/contacts?properties={}", "a,".repeat(9000)));
    assert_eq!((long.status, header(&long, "Content-Type")), (414, Some("text/html")));
    assert!(body(&long).is_null(), "it is no JSON");
    let many = vec!["city".to_string(); 9000];
    assert_eq!(
        portal.posted("/crm/v3/objects/contacts/search", json!({"properties": many})).status,
        200,
        "a body may be long"
    );
}

#[test]
fn tokens_of_oauth_end_after_thirty_minutes() {
    let mut portal = Portal::new();
    let form = |secret: &str, token: &str| {
        format!("grant_type=refresh_token&client_id=sim-client&client_secret={secret}&refresh_token={token}")
    };
    let typed = [("content-type", "application/x-www-form-urlencoded")];
    let granted = body(&portal.send("POST", "/oauth/v1/token", &typed, &form("sim-secret", "sim-refresh")));
    assert_eq!((&granted["expires_in"], &granted["refresh_token"]), (&json!(1800), &json!("sim-refresh")));
    let token = granted["access_token"].as_str().unwrap().to_string();
    let good = portal.with_token(&token, "/crm/v3/objects/contacts");
    assert_eq!((good.status, good.credential), (200, "valid"));
    assert!(header(&good, "X-HubSpot-RateLimit-Daily").is_none() && header(&good, "X-HubSpot-RateLimit-Max").is_some());
    portal.now_ms += 1_800_000 + 65_000;
    let ended = portal.with_token(&token, "/crm/v3/objects/contacts");
    assert_eq!((ended.status, ended.credential), (401, "expired"));
    let ended = body(&ended);
    assert_eq!(ended["category"], "EXPIRED_AUTHENTICATION");
    assert!(ended["message"].as_str().unwrap().contains("expired 1 minute(s) ago"));
    assert_eq!(ended["context"]["expire time"][0], json!(wire::iso(NOW + 1_800_000)));
    for (what, code) in [
        (form("x", "sim-refresh"), "BAD_CLIENT_SECRET"),
        (form("sim-secret", "x"), "BAD_REFRESH_TOKEN"),
        ("grant_type=x".into(), "BAD_GRANT_TYPE"),
    ] {
        let refused = portal.send("POST", "/oauth/v1/token", &typed, &what);
        assert_eq!((refused.status, &body(&refused)["status"]), (400, &json!(code)));
    }
    let wrong = portal.with_token("x", "/crm/v3/objects/contacts");
    assert_eq!(
        (wrong.status, wrong.credential, &body(&wrong)["category"]),
        (401, "wrong", &json!("INVALID_AUTHENTICATION"))
    );
    assert_eq!(portal.send("GET", "/crm/v3/owners", &[], "").credential, "none");
}

#[test]
fn limits_have_policies_and_headers() {
    let mut portal = Portal::new();
    portal.set(json!({"calls_per_ten_seconds": 3, "searches_per_second": 1, "daily_quota": 100}));
    let first = portal.raw("/crm/v3/owners");
    assert_eq!(header(&first, "X-HubSpot-RateLimit-Max"), Some("3"));
    assert_eq!(header(&first, "X-HubSpot-RateLimit-Remaining"), Some("2"));
    assert_eq!(header(&first, "X-HubSpot-RateLimit-Daily-Remaining"), Some("99"));
    let found = portal.posted("/crm/v3/objects/deals/search", json!({}));
    assert_eq!(found.status, 200);
    assert!(!found.headers.iter().any(|(name, _)| name.contains("RateLimit")), "searches carry no rate headers");
    let policy = |reply: &Reply| (reply.status, body(reply)["policyName"].as_str().unwrap_or("").to_string());
    assert_eq!(policy(&portal.posted("/crm/v3/objects/deals/search", json!({}))), (429, "SECONDLY".into()));
    assert_eq!(portal.raw("/crm/v3/owners").status, 200);
    let limited = portal.raw("/crm/v3/owners");
    assert_eq!(policy(&limited), (429, "TEN_SECONDLY_ROLLING".into()));
    assert_eq!(body(&limited)["message"], "You have reached your ten_secondly_rolling limit.");
    assert!(header(&limited, "Retry-After").is_none());
    portal.now_ms += 10_000;
    assert_eq!(portal.raw("/crm/v3/owners").status, 200);
    portal.calls = 100;
    assert_eq!(policy(&portal.raw("/crm/v3/owners")), (429, "DAILY".into()));
}

#[test]
fn a_denied_collection_names_the_scope() {
    let mut portal = Portal::seeded(json!({"contacts": 1, "forms": 1}));
    portal.set(json!({"denied": ["contacts", "email_events"]}));
    for (target, scope) in [
        ("/crm/v3/objects/contacts", "crm.objects.contacts.read"),
        ("/crm/v3/properties/contacts", "crm.objects.contacts.read"),
        ("/contacts/v1/lists/all/contacts/all", "crm.objects.contacts.read"),
        ("/email/public/v1/events", "content"),
    ] {
        let refused = portal.raw(target);
        let error = body(&refused);
        assert_eq!((refused.status, &error["category"]), (403, &json!("MISSING_SCOPES")), "{target}");
        assert_eq!(error["errors"][0]["context"]["requiredGranularScopes"], json!([scope]), "{target}");
        assert_eq!(error["correlationId"].as_str(), header(&refused, "X-HubSpot-Correlation-Id"), "{target}");
    }
    for fine in ["/crm/v3/objects/companies", "/email/public/v1/campaigns", "/marketing/v3/forms"] {
        assert_eq!(portal.raw(fine).status, 200, "{fine}");
    }
    portal.set(json!({"denied": ["content"]}));
    assert_eq!(portal.raw("/email/public/v1/campaigns").status, 403, "a scope can be denied by its name");
}

#[test]
fn an_emptied_page_leads_to_itself() {
    let mut portal =
        Portal::seeded(json!({"contacts": 30, "email_campaigns": 3, "email_events": 30, "contact_lists": 30}));
    let auth = [("authorization", "Bearer pat-na1-simulated")];
    let token = portal.get("/email/public/v1/events?limit=10")["offset"].as_str().unwrap().to_string();
    for (method, target, given) in [
        ("GET", "/crm/v3/objects/contacts?limit=10".to_string(), Value::Null),
        ("GET", "/crm/v3/objects/contacts?limit=10&after=20000000011".into(), Value::Null),
        ("POST", "/crm/v3/objects/contacts/search".into(), json!({"limit": 10, "after": "10"})),
        ("POST", "/crm/v3/lists/search".into(), json!({"count": 10, "offset": 10, "additionalProperties": []})),
        ("GET", "/contacts/v1/lists/all/contacts/all?count=10&vidOffset=20000000010".into(), Value::Null),
        ("GET", "/contacts/v1/lists/recently_updated/contacts/recent?count=10".into(), Value::Null),
        ("GET", format!("/email/public/v1/events?limit=10&offset={token}"), Value::Null),
    ] {
        portal.now_ms = crate::clock::ANCHOR_S * 1000;
        let sent = if given.is_null() { String::new() } else { given.to_string() };
        let page = body(&portal.send(method, &target, &auth, &sent));
        let member = paging::list_member(target.split('?').next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let request = Request {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            body: sent.into(),
            ..Request::default()
        };
        let mut emptied = page.clone();
        emptied[member] = json!([]);
        portal.app.lead_on(true, &request, &Reply::default(), &mut emptied);
        // Where it leads: the same parameters with the place it names.
        let place = |name: &str| match name {
            "after" => emptied["paging"]["next"]["after"].clone(),
            "vidOffset" => emptied["vid-offset"].clone(),
            "timeOffset" => emptied["time-offset"].clone(),
            _ => emptied[name].clone(),
        };
        let again = if given.is_null() {
            let names: &[&str] = match member {
                "contacts" => &["vidOffset", "timeOffset"],
                "results" => &["after"],
                _ => &["offset"],
            };
            let given: Vec<(&str, String)> = names
                .iter()
                .map(|n| (*n, place(n)))
                .filter(|(_, v)| !v.is_null())
                .map(|(n, v)| (n, crm::id_text(&v)))
                .collect();
            let changes: Vec<(&str, Option<&str>)> = given.iter().map(|(n, v)| (*n, Some(v.as_str()))).collect();
            let next = crate::rest::page::path_with(&request, &changes);
            body(&portal.send("GET", &next, &auth, ""))
        } else {
            let mut next = given.clone();
            for name in paging::PLACE_IN_BODY.iter().filter(|name| given.get(**name).is_some()) {
                next[*name] = place(name);
            }
            body(&portal.send("POST", &target, &auth, &next.to_string()))
        };
        assert_eq!(again[member], page[member], "{method} {target}");
    }
}

#[test]
fn the_same_seed_gives_the_same_portal() {
    let sizes = json!({
        "owners": 2, "companies": 3, "contacts": 20, "deals": 9, "contact_lists": 3, "forms": 5, "form_submissions": 9, "email_campaigns": 3,
        "email_events": 50, "email_subscription_event_changes": 6, "deleted_percent": 10,
    });
    let (mut one, mut other) = (Portal::seeded(sizes.clone()), Portal::seeded(sizes.clone()));
    for name in sizes.as_object().unwrap().keys().filter(|name| *name != "deleted_percent") {
        assert_eq!(one.ledger(name), other.ledger(name), "{name}");
        assert!(!one.ledger(name).is_empty(), "{name}");
    }
    let deleted = one.control("GET", "/contacts/count", json!({}))["deleted"].as_u64().unwrap();
    assert!(deleted > 0 && deleted < 20);
    assert!(one.try_control("POST", "/contacts", json!({"nonsense": 1})).is_err());
}
