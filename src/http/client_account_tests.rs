//! Who calls are made for: credentials, tokens, values of the account, and the allowance that the app grants it.

use super::super::testing::*;
use super::super::{Policy, Request};
use super::*;
use serde_json::json as value;

fn get(target: &str) -> Request {
    Request { target: target.into(), ..Request::default() }
}

fn kind(error: &SyncError) -> String {
    format!("{error:?}").split([' ', '{']).next().unwrap().to_string()
}

fn oauth_source() -> crate::manifest::Source {
    source(value!({"auth": {"style": "oauth2", "token_url": "https://x.test/token", "lifetime_seconds": 3600,
        "grants": [], "credentials": []}}))
}

#[tokio::test]
async fn a_token_is_renewed_once_and_for_all_calls_together() {
    let server = Server::start(|seen| match seen.headers["authorization"].as_str() {
        "Bearer token-t1" => json("{}"),
        _ => status(401, r#"{"error": {"message": "expired token-old0"}}"#),
    })
    .await;
    let mut account = account(oauth_source(), &server.url);
    account.token = Some(token("token-old0"));
    let tokens = Tokens::default();
    let api = client_with(account.clone(), tokens.clone());
    let (a, b, c) = tokio::join!(api.call(get("/a")), api.call(get("/b")), api.call(get("/c")));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(*tokens.0.lock().unwrap(), 1, "three refused calls, one new token");

    // No token yet: one is asked for before the first call.
    account.token = None;
    let (tokens, before) = (Tokens::default(), server.calls());
    client_with(account.clone(), tokens.clone()).call(get("/")).await.unwrap();
    assert_eq!((*tokens.0.lock().unwrap(), server.calls() - before), (1, 1));

    // About to end: renewed before the call.
    account.token = Some(AccessToken { expires_at: 0, ..token("token-old0") });
    let (tokens, before) = (Tokens::default(), server.calls());
    client_with(account.clone(), tokens.clone()).call(get("/")).await.unwrap();
    assert_eq!((*tokens.0.lock().unwrap(), server.calls() - before), (1, 1));

    // The new one is refused too.
    *tokens.0.lock().unwrap() = 7;
    account.token = Some(token("token-old0"));
    let before = server.calls();
    let error = client_with(account, tokens.clone()).call(get("/")).await.unwrap_err();
    assert_eq!((kind(&error).as_str(), server.calls() - before), ("AuthRejected", 2));
    assert!(!format!("{error:?}").contains("token-old0"));
    assert_eq!(*tokens.0.lock().unwrap(), 8);
}

#[test]
fn usage_headers() {
    for (text, want) in [
        ("api-usage=18/5000", Some((18, 5000))),
        ("18/5000", Some((18, 5000))),
        ("api-usage=25/5000; per-app-api-usage=17/250(appName=sample)", Some((25, 5000))),
        ("garbage", None),
        ("a/b", None),
    ] {
        assert_eq!(parse_usage(text), want, "{text}");
    }
    assert_eq!(Policy::default().tries, 5);
}

#[tokio::test(start_paused = true)]
async fn headers_of_the_allowance_are_heeded() {
    let rate = value!({"rate": {"remaining_header": "X-Left", "reset_header": "X-Reset", "reset_format": "unix",
        "groups": [{"name": "export", "match": "/export", "remaining_header": "X-Export-Left", "connections": 9}]}});
    let reset = |seconds: u64| ("X-Reset", (1_700_000_000 + seconds).to_string());
    let date = || ("Date", "Tue, 14 Nov 2023 22:13:20 GMT".to_string());
    // (headers of the first reply, wait before the second)
    for (headers, want) in [
        (vec![date(), ("X-Left", "0".to_string()), reset(40)], 40.0..41.0),
        (vec![date(), ("X-Left", "10".to_string()), reset(40)], 3.9..4.1),
        (vec![date(), ("X-Left", "5000".to_string()), reset(40)], 0.0..0.1),
        (vec![date(), ("X-Export-Left", "0".to_string()), reset(40)], 0.0..0.1),
    ] {
        let server = Server::start(move |_| Act::Reply(200, headers.clone(), b"{}".to_vec())).await;
        let api = client(account(source(rate.clone()), &format!("{}/api/v2", server.url)));
        api.call(get("/users")).await.unwrap();
        // What is left is spread over the steps between calls.
        let paced = if want.start > 1.0 && want.end < 10.0 { 2 } else { 1 };
        let mut waited = 0.0;
        for _ in 0..paced {
            let started = Instant::now();
            api.call(get("/users")).await.unwrap();
            waited = started.elapsed().as_secs_f64();
        }
        assert!(want.contains(&waited), "{waited} instead of {want:?}");
        let started = Instant::now();
        api.call(get("/export/1")).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(1), "a group is not held up by the rest");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_waits_for_the_renewal_that_a_header_tells() {
    let mut calls = 0;
    let server = Server::start(move |_| {
        calls += 1;
        match calls {
            1 => Act::Reply(429, vec![("X-Reset", "12".into())], b"{}".to_vec()),
            _ => json("{}"),
        }
    })
    .await;
    let api = client(account(source(value!({"rate": {"reset_header": "X-Reset"}})), &server.url));
    let started = Instant::now();
    api.call(get("/")).await.unwrap();
    assert!((12..13).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[tokio::test]
async fn no_call_is_made_while_the_app_will_take_none_for_long() {
    let headers = || vec![("X-Left", "0".into()), ("X-Reset", "3600".into())];
    let server = Server::start(move |_| Act::Reply(200, headers(), b"{}".to_vec())).await;
    let rate = value!({"rate": {"remaining_header": "X-Left", "reset_header": "X-Reset"}});
    let api = client(account(source(rate), &server.url));
    api.call(get("/")).await.unwrap();
    let SyncError::RateLimited { until: Some(until), .. } = api.call(get("/")).await.unwrap_err() else { panic!() };
    let wait = until.duration_since(std::time::SystemTime::now()).unwrap().as_secs();
    assert!((3_590..=3_600).contains(&wait), "{wait}");
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn what_one_session_is_told_holds_the_other() {
    let mut refused = false;
    let server = Server::start(move |_| match std::mem::replace(&mut refused, true) {
        false => Act::Reply(429, vec![("Retry-After", "1".into())], b"{}".to_vec()),
        true => json("{}"),
    })
    .await;
    let file = std::env::temp_dir().join(format!("cloudsync-client-{}", std::process::id()));
    let session = || {
        let mut account = account(source(value!({})), &server.url);
        account.policy.pace = Some(super::super::SharedPace { file: file.clone(), account: "5/17".into() });
        client(account)
    };
    let (one, two) = (session(), session());
    let started = Instant::now();
    let refused = tokio::spawn(async move { one.call(get("/one")).await.map(|_| ()) });
    let soon = Duration::from_millis(10);
    while !refused.is_finished() && tokio::time::timeout(soon, two.inner.limiter.turn("/")).await.is_ok() {
        tokio::task::yield_now().await;
    }
    two.call(get("/two")).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    refused.await.unwrap().unwrap();
    assert_eq!(server.calls(), 3, "one refusal in all");
    std::fs::remove_file(file).unwrap();
}

#[test]
fn paths_are_those_below_the_base_address() {
    for (base, url, want) in [
        ("https://a.test/api/v2", "https://a.test/api/v2/incremental/users?x=1", "/incremental/users"),
        ("https://a.test/api/v2/", "https://a.test/api/v2/users", "/users"),
        ("https://a.test", "https://a.test/v1/charges", "/v1/charges"),
        ("https://a.test/api/v2", "https://a.test/api/v20/users", "/api/v20/users"),
        ("https://a.test/api/v2", "https://a.test/other", "/other"),
    ] {
        assert_eq!(address::path_below(base, &reqwest::Url::parse(url).unwrap()), want);
    }
}

fn with(members: serde_json::Value) -> crate::manifest::Source {
    source(members)
}

#[tokio::test]
async fn of_several_ways_in_the_first_complete_one_is_used() {
    let several = || {
        with(value!({
            "settings": [{"name": "site", "help": ""}],
            "auth": {"style": "one_of",
                "options": [
                    {"style": "bearer", "secret": "access_token"},
                    {"style": "basic", "user": "{email}/token", "password": "{api_key}"},
                    {"style": "query", "param": "key", "value": "{api_key}"}],
                "credentials": [{"name": "access_token", "help": ""}, {"name": "email", "help": ""}, {"name": "api_key", "help": ""}]}}))
    };
    for (set, header, query) in [
        (vec![("access_token", "abcd"), ("email", "e")], Some("Bearer abcd".to_string()), None),
        (
            vec![("email", "e@x.test")],
            Some("Basic ZUB4LnRlc3QvdG9rZW46c2tfdGVzdF9jYW5hcnkwMTIzNDU2Nzg5".to_string()),
            None,
        ),
        (vec![], None, Some(KEY)),
    ] {
        let server = Server::start(|_| json("{}")).await;
        let mut account = account(several(), &server.url);
        for (name, value) in set {
            account.credentials.insert(name.into(), crate::secret::Secret::new(value));
        }
        client(account).call(get("/v1/things?a=1")).await.unwrap();
        let seen = &server.seen()[0];
        assert_eq!((seen.headers.get("authorization").cloned(), seen.param("key")), (header, query));
    }
    let mut none = account(several(), "http://127.0.0.1:1");
    none.credentials.clear();
    let error = client(none).call(get("/v1")).await.unwrap_err();
    assert!(matches!(&error, SyncError::Missing { option, .. } if option == "access_token"), "{error:?}");
}

#[tokio::test]
async fn every_call_may_carry_a_proof() {
    let server = Server::start(|_| json("{}")).await;
    let proven = with(value!({"params": {"proof": "{api_key|hmac_sha256:app_secret}", "other": "{unset?}"},
        "auth": {"style": "none", "credentials": [{"name": "api_key", "help": ""}, {"name": "app_secret", "help": ""}]}}));
    let mut account = account(proven, &server.url);
    account.credentials.insert("app_secret".into(), crate::secret::Secret::new("shh"));
    let client = client(account);
    client.call(get("/v1/things")).await.unwrap();
    client.call(get("/v1/things?proof=from-a-next-link")).await.unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"shh");
    let want: String = ring::hmac::sign(&key, KEY.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(server.seen()[0].query, [("proof".to_string(), want)]);
    assert_eq!(server.seen()[1].query.len(), 1);
    assert!(!server.seen()[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn fewer_records_are_asked_for_when_the_app_wants_it() {
    let server = Server::start(|seen| {
        let size: u64 = seen.param("limit").map_or_else(
            || serde_json::from_str::<serde_json::Value>(&seen.body).unwrap()["n"].as_u64().unwrap(),
            |l| l.parse().unwrap(),
        );
        if size > 20 {
            status(500, r#"{"error": {"message": "Please reduce the amount of data"}}"#)
        } else {
            json("{}")
        }
    })
    .await;
    let rules = value!({"errors": [{"status": [500], "contains": "reduce the amount", "means": "reduce_page"}]});
    let client = client(account(with(rules), &server.url));
    let sized = |target: &str| Request { size_place: Some("limit".into()), ..get(target) };
    let first = Request { query: vec![("limit".into(), "100".into())], ..sized("/v1/a") };
    client.call(first.clone()).await.unwrap();
    assert_eq!(server.calls(), 4, "100, 50, 25, 12");
    client.call(sized("/v1/a?x=1%202&limit=100&after=t")).await.unwrap();
    let last = server.seen().pop().unwrap();
    assert_eq!((last.param("limit"), last.param("x"), last.param("after")), (Some("12"), Some("1 2"), Some("t")));
    assert_eq!(server.calls(), 5, "a next link asks for fewer, too");
    let body =
        Request { json_body: Some(value!({"n": 100})), size_place: Some("/n".into()), post: true, ..get("/v1/b") };
    client.call(body).await.unwrap();
    assert_eq!(server.calls(), 6);
    let never = Server::start(|_| status(500, "reduce the amount")).await;
    let rules = value!({"errors": [{"status": [500], "contains": "reduce the amount", "means": "reduce_page"}]});
    let error = super::super::testing::client(account(with(rules), &never.url)).call(first).await.unwrap_err();
    assert_eq!((kind(&error).as_str(), never.calls()), ("BadRequest", 7), "down to one, and no further");
}

#[tokio::test]
async fn a_rule_says_how_long_to_wait_and_whom_it_concerns() {
    let rules = value!({"errors": [
        {"code": "/errors/0/code", "codes": ["606"], "means": "rate_limited", "wait": {"seconds": 0}},
        {"code": "/errors/0/code", "codes": ["607"], "means": "quota_spent", "wait": {"midnight": "utc"}},
        {"status": [400], "code": "/type", "codes": ["none"], "means": "no_records"}]});
    let server =
        Server::script(vec![|| json(r#"{"success": false, "errors": [{"code": "606"}]}"#), || json("{}")]).await;
    client(account(with(rules.clone()), &server.url)).call(get("/v1")).await.unwrap();
    assert_eq!(server.calls(), 2);
    let server = Server::start(|_| json(r#"{"errors": [{"code": 607}]}"#)).await;
    let error = client(account(with(rules.clone()), &server.url)).call(get("/v1")).await.unwrap_err();
    let SyncError::RateLimited { until: Some(until), .. } = error else { panic!("{error:?}") };
    let seconds = until.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((seconds / 86_400.0).fract() < 0.001 || (seconds / 86_400.0).fract() > 0.999, "midnight");
    assert_eq!(server.calls(), 1);
    let server = Server::start(|_| status(400, r#"{"type": "none"}"#)).await;
    let client = client(account(with(rules), &server.url));
    let below = Request { accept: vec![404], ..get("/v1") };
    assert_eq!(client.call(below).await.unwrap().status, 404, "a parent without children");
    let error = client.call(get("/v1")).await.unwrap_err();
    assert_eq!(kind(&error), "NotFound", "a listing of its own is never taken for empty");
    let own = value!([{"status": [400], "means": "unsupported"}]);
    let own = Request { rules: serde_json::from_value(own).unwrap(), ..get("/v1") };
    assert_eq!(kind(&client.call(own).await.unwrap_err()), "Unsupported", "the request's own rules come first");
}

#[tokio::test]
async fn values_come_from_credentials_or_are_asked_for_once() {
    let elsewhere = Server::start(|seen| {
        assert_eq!(seen.headers["authorization"], format!("OAuth {KEY}"));
        json(r#"{"dc": "us9"}"#)
    })
    .await;
    let server = Server::start(|seen| match seen.path.as_str() {
        "/us9/me" => json(r#"{"app": {"zone": "utc"}}"#),
        _ => json("{}"),
    })
    .await;
    let source = with(value!({"values": {
        "part": [{"template": "{api_key|after_last:_}"}],
        "dc": [{"template": "{unset|after_last:-}"},
            {"call": {"path": format!("{}/metadata", elsewhere.url), "headers": {"Authorization": "OAuth {api_key}"}}, "pointer": "/dc"}],
        "zone": [{"call": {"path": "/me"}, "pointer": "/app/zone"}]}}));
    for _ in 0..2 {
        let mut account = account(source.clone(), "");
        account.server = "values".into();
        account.options.insert("base_url".into(), format!("{}/{{dc}}", server.url));
        let prepared = client(account).prepared().await.unwrap();
        let option = |name: &str| prepared.account().options.get(name).map(String::as_str);
        assert_eq!(
            (option("part"), option("dc"), option("zone")),
            (Some("canary0123456789"), Some("us9"), Some("utc"))
        );
        prepared.call(get("/things")).await.unwrap();
        assert_eq!(server.seen().pop().unwrap().path, "/us9/things");
    }
    assert_eq!((elsewhere.calls(), server.calls()), (1, 3), "asked for once");
}

#[tokio::test]
async fn clients_of_one_account_try_refused_credentials_once() {
    let server = Server::start(|_| status(401, r#"{"error": {"message": "no such key"}}"#)).await;
    let account = account(source(value!({})), &server.url);
    let (one, other) = (client(account.clone()), client(account));
    let (a, b) = tokio::join!(one.call(get("/a")), other.call(get("/b")));
    for refused in [a, b] {
        assert_eq!(kind(&refused.unwrap_err()), "AuthRejected");
    }
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn clients_that_start_together_ask_for_a_value_once() {
    let server = Server::start(|_| json(r#"{"zone": "utc"}"#)).await;
    let source = with(value!({"values": {"zone": [{"call": {"path": "/me"}, "pointer": "/zone"}]}}));
    let mut account = account(source, &server.url);
    account.server = "together".into();
    let (one, other) = (client(account.clone()), client(account));
    let (a, b) = tokio::join!(one.prepared(), other.prepared());
    for prepared in [a.unwrap(), b.unwrap()] {
        assert_eq!(prepared.account().options.get("zone").map(String::as_str), Some("utc"));
    }
    assert_eq!(server.calls(), 1);
}
