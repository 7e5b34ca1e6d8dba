use super::super::testing::*;
use super::super::{Policy, Request};
use super::*;
use serde_json::json as value;
use std::io::Write;

fn get(target: &str) -> Request {
    Request { target: target.into(), ..Request::default() }
}

fn parsed(reply: &Reply) -> Result<serde_json::Value, String> {
    serde_json::from_slice(&reply.body).map_err(|e| e.to_string())
}

async fn call(server: &Server) -> Result<serde_json::Value, SyncError> {
    client(account(source(value!({})), &server.url)).call_parsed(get("/v1/things"), parsed).await
}

fn kind(error: &SyncError) -> String {
    format!("{error:?}").split([' ', '{']).next().unwrap().to_string()
}

#[tokio::test]
async fn each_status_has_its_meaning_and_its_number_of_calls() {
    for (code, want, calls) in [
        (401, "AuthRejected", 1),
        (403, "AccessDenied", 1),
        (404, "NotFound", 1),
        (410, "NotFound", 1),
        (400, "BadRequest", 1),
        (405, "BadRequest", 1),
        (422, "BadRequest", 1),
        (408, "Unavailable", 3),
        (409, "Unavailable", 3),
        (425, "Unavailable", 3),
        (429, "RateLimited", 3),
        (500, "Unavailable", 3),
        (502, "Unavailable", 3),
        (503, "Unavailable", 3),
        (504, "Unavailable", 3),
    ] {
        let body = format!(r#"{{"error": {{"message": "no {KEY}\n{}"}}}}"#, "x".repeat(2000)).replace('\n', "\\n");
        let server = Server::start(move |_| status(code, &body)).await;
        let error = call(&server).await.unwrap_err();
        assert_eq!((kind(&error).as_str(), server.calls()), (want, calls), "{code}");
        let shown = format!("{error:?} {error}");
        assert!(!shown.contains("canary") && !shown.contains("sk_test"), "{shown}");
        assert!(shown.contains("no ***") && shown.len() < 900, "{shown}");
        assert!(!shown.contains(&server.url), "no address in {shown}");
    }
}

#[tokio::test]
async fn a_failure_that_passes_is_not_seen() {
    type Named = (&'static str, fn() -> Act);
    let acts: [Named; 9] = [
        ("status 500", || status(500, "{}")),
        ("429 without a wait", || status(429, "{}")),
        ("reset", || Act::Reset),
        ("closed without a word", || Act::Raw(vec![])),
        ("closed in the headers", || Act::Raw(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec())),
        ("closed in the body", || Act::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\": ".to_vec())),
        ("a broken chunk", || {
            Act::Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\nzz".to_vec())
        }),
        ("cut off without a length", || Act::Raw(b"HTTP/1.1 200 OK\r\n\r\n{\"a\": [1, 2".to_vec())),
        ("an empty body", || json("")),
    ];
    for (name, act) in acts {
        let server = Server::script(vec![act, act, || json(r#"{"a": [1, 2, 3]}"#)]).await;
        let api = client(account(source(value!({})), &server.url));
        let got = api.call_parsed(get("/v1/things"), parsed).await;
        assert_eq!(got, Ok(value!({"a": [1, 2, 3]})), "{name}");
        assert_eq!((server.calls(), api.stats().retries.load(Relaxed)), (3, 2), "{name}");
    }
}

#[tokio::test]
async fn nobody_listening_is_no_connection() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(account(source(value!({})), &url)).call(get("/x")).await.unwrap_err();
    assert_eq!(kind(&error), "Connect");
}

#[tokio::test]
async fn a_good_status_is_not_enough() {
    let page = || Act::Reply(200, vec![("Content-Type", "text/html".into())], b"<html><h1>Sign in</h1>".to_vec());
    let server = Server::start(move |_| page()).await;
    match call(&server).await.unwrap_err() {
        SyncError::Unreadable { content_type, start, .. } => {
            assert_eq!((content_type.as_str(), start.as_str()), ("text/html", "<html><h1>Sign in</h1>"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(server.calls(), 1, "a page for people comes again");

    let server = Server::start(|_| json(format!(r#"{{"error": "bad {KEY}"}}"#))).await;
    let api = client(account(source(value!({})), &server.url));
    let error = api.call_parsed(get("/"), |_| Err::<(), _>("no records".into())).await.unwrap_err();
    assert_eq!((kind(&error).as_str(), server.calls()), ("Unreadable", 1), "whole JSON of another shape comes again");
    assert!(!format!("{error:?}").contains("canary"));

    let server = Server::start(|_| json("")).await;
    assert_eq!(kind(&call(&server).await.unwrap_err()), "Unreadable");
}

#[tokio::test(start_paused = true)]
async fn the_app_says_how_long_to_wait() {
    for (retry_after, want_ms) in
        [("7", 7_000..8_000), ("60", 60_000..61_000), ("-5", 0..100), ("soon", 0..100), ("0", 0..100)]
    {
        let mut calls = 0;
        let server = Server::start(move |_| {
            calls += 1;
            match calls {
                1 => Act::Reply(429, vec![("Retry-After", retry_after.into())], b"{}".to_vec()),
                _ => json("{}"),
            }
        })
        .await;
        let api = client(account(source(value!({})), &server.url));
        let started = Instant::now();
        api.call(get("/")).await.unwrap();
        let waited = started.elapsed().as_millis();
        assert!(want_ms.contains(&waited), "{retry_after}: {waited} ms");
        assert!(api.stats().waited_ms.load(Relaxed) as u128 <= waited + 1);
    }
}

#[tokio::test]
async fn a_wait_beyond_patience_ends_the_call_at_once() {
    for (retry_after, least, most) in [("3600", 3_500, 3_700), ("99999999999999999999", 86_000, 86_500)] {
        let server = Server::start(move |_| Act::Reply(429, vec![("Retry-After", retry_after.into())], vec![])).await;
        let error = call(&server).await.unwrap_err();
        let SyncError::RateLimited { until: Some(until), .. } = error else { panic!("{error:?}") };
        let wait = until.duration_since(std::time::SystemTime::now()).unwrap().as_secs();
        assert!((least..most).contains(&wait), "{retry_after}: {wait}");
        assert_eq!(server.calls(), 1);
    }
}

#[tokio::test]
async fn sizes_are_limited_while_they_come_in() {
    let bomb = {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        for _ in 0..64 {
            gzip.write_all(&vec![b' '; 1 << 20]).unwrap();
        }
        gzip.finish().unwrap()
    };
    assert!(bomb.len() < 100_000);
    let unzipped = Act::Reply(200, vec![], vec![b' '; 3 << 20]);
    let acts = [Act::Reply(200, vec![("Content-Encoding", "gzip".into())], bomb), unzipped];
    for act in acts {
        let mut act = Some(act);
        let server = Server::start(move |_| act.take().unwrap()).await;
        let mut account = account(source(value!({})), &server.url);
        account.policy.max_body_bytes = 1 << 20;
        let api = client(account);
        let error = api.call(get("/")).await.unwrap_err();
        assert_eq!((kind(&error).as_str(), server.calls()), ("TooLarge", 1));
        assert!(api.stats().bytes.load(Relaxed) < 2 << 20);
    }
}

#[tokio::test]
async fn compressed_replies_are_read() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(br#"{"a": 1}"#).unwrap();
    let body = gzip.finish().unwrap();
    let server = Server::start(move |_| Act::Reply(200, vec![("Content-Encoding", "gzip".into())], body.clone())).await;
    assert_eq!(call(&server).await, Ok(value!({"a": 1})));
    assert!(server.seen()[0].headers["accept-encoding"].contains("gzip"));
}

#[tokio::test]
async fn silence_and_dripping_end() {
    let acts: [fn() -> Act; 3] = [
        || Act::Hang(vec![]),
        || Act::Hang(b"HTTP/1.1 200 OK\r\nX-A: b\r\n".to_vec()),
        || Act::Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec()),
    ];
    for act in acts {
        let server = Server::start(move |_| act()).await;
        let mut account = account(source(value!({})), &server.url);
        account.policy.read_timeout = Duration::from_millis(50);
        account.policy.tries = 2;
        let error = client(account).call(get("/")).await.unwrap_err();
        assert_eq!((kind(&error).as_str(), server.calls()), ("Unavailable", 2));
    }
    let server = Server::start(|_| Act::Hang(vec![])).await;
    let mut account = account(source(value!({})), &server.url);
    account.policy.request_timeout = Duration::from_millis(50);
    account.policy.tries = 1;
    assert_eq!(kind(&client(account).call(get("/")).await.unwrap_err()), "Unavailable", "the whole request is limited");
}

#[tokio::test]
async fn redirects_stay_at_home() {
    let other = Server::start(|_| json("{}")).await;
    let to_other = other.url.clone();
    for (location, want, calls) in [
        ("/loop".to_string(), "Unavailable", 6),
        (format!("{to_other}/steal"), "Connect", 1),
        ("https://127.0.0.1:1/x".to_string(), "Connect", 1),
        ("http://169.254.169.254/latest/meta-data".to_string(), "Connect", 1),
        ("".to_string(), "Unavailable", 6),
    ] {
        let at = location.clone();
        let server = Server::start(move |_| Act::Reply(302, vec![("Location", at.clone())], vec![])).await;
        let error = call(&server).await.unwrap_err();
        assert_eq!((kind(&error).as_str(), server.calls()), (want, calls), "{location}");
    }
    assert_eq!(other.calls(), 0, "nothing was sent to another origin");

    let server = Server::start(|seen| match seen.path.as_str() {
        "/v2/things" => json(r#"{"at": "v2"}"#),
        _ => Act::Reply(301, vec![("Location", "/v2/things".into())], vec![]),
    })
    .await;
    assert_eq!(call(&server).await, Ok(value!({"at": "v2"})));
    let api = client(account(source(value!({})), &server.url));
    let post = Request { post: true, json_body: Some(value!({})), ..get("/v1/jobs") };
    assert_eq!(kind(&api.call(post).await.unwrap_err()), "Connect");
}

#[tokio::test]
async fn next_links_stay_at_home() {
    let other = Server::start(|_| json("{}")).await;
    let server = Server::start(|seen| json(format!(r#"{{"path": "{}"}}"#, seen.path))).await;
    let api = client(account(source(value!({})), &server.url));
    for target in
        [format!("{}/x", other.url), "https://api.acme.test/x".into(), server.url.replace("http:", "https:") + "/x"]
    {
        assert_eq!(kind(&api.call(get(&target)).await.unwrap_err()), "Connect", "{target}");
    }
    assert_eq!((server.calls(), other.calls()), (0, 0));
    for target in [format!("{}/x", server.url), "/x".into(), "x".into()] {
        assert_eq!(api.call_parsed(get(&target), parsed).await, Ok(value!({"path": "/x"})), "{target}");
    }
    let host = server.url.trim_start_matches("http://");
    let reply = api.call_parsed(get(&format!("@evil.test/{host}")), parsed).await.unwrap();
    assert!(reply["path"].as_str().unwrap().starts_with("/@evil.test/"));
}

#[tokio::test]
async fn inside_addresses_are_refused_before_anything_is_sent() {
    let server = Server::start(|_| json("{}")).await;
    let port = server.url.rsplit(':').next().unwrap();
    for url in [
        server.url.clone(),
        format!("https://127.0.0.1:{port}"),
        format!("https://localhost:{port}"),
        format!("https://[::1]:{port}"),
        "https://169.254.169.254".into(),
    ] {
        let mut account = account(source(value!({})), &url);
        account.policy.allow_private_addresses = false;
        let error = client(account).call(get("/")).await.unwrap_err();
        match &error {
            SyncError::Connect { detail, .. } => assert!(detail.contains("allowed"), "{url}: {detail}"),
            other => panic!("{url}: {other:?}"),
        }
    }
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn a_host_without_tls_is_refused_once_and_without_fallback() {
    let server = Server::start(|_| json("{}")).await;
    let api = client(account(source(value!({})), &server.url.replace("http:", "https:")));
    assert_eq!(kind(&api.call(get("/")).await.unwrap_err()), "Connect");
    let methods: Vec<String> = server.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["TLS"]);
}

#[tokio::test]
async fn headers_and_parameters_are_sent_as_the_source_says() {
    let server =
        Server::start(|_| Act::Reply(200, vec![("Date", "Tue, 14 Nov 2023 22:13:20 GMT".into())], b"{}".to_vec()))
            .await;
    let mut account = account(
        source(
            value!({"api_version": "2024-06-20", "headers": {"Version": "{api_version}", "Account": "{account_id?}"}}),
        ),
        &server.url,
    );
    let request = Request { query: vec![("created[gte]".into(), "1 & 2".into())], ..get("/v1/things?a=b") };
    assert_eq!(super::super::shown_request(&account, &request), "GET /v1/things?a=b&created[gte]=1 & 2");
    let reply = client(account.clone()).call(request).await.unwrap();
    assert_eq!(reply.date_us, Some(1_700_000_000_000_000));
    let seen = &server.seen()[0];
    assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!((seen.headers["version"].as_str(), seen.headers.get("account")), ("2024-06-20", None));
    assert_eq!(seen.param("created[gte]"), Some("1 & 2"));
    assert!(seen.headers["user-agent"].starts_with("cloudsync/"));

    account.credentials.clear();
    let error = client(account.clone()).call(get("/")).await.unwrap_err();
    assert_eq!(error, SyncError::Missing { place: "user mapping", option: "api_key".into() });
    account.credentials.insert("api_key".into(), crate::secret::Secret::new("two\nlines"));
    let error = client(account).call(get("/")).await.unwrap_err();
    assert!(
        matches!(&error, SyncError::BadSetting { option, detail } if option == "api_key" && !detail.contains("lines"))
    );
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn rules_of_the_source_come_first() {
    let rules = value!({"errors": [
        {"status": [400], "code": "/error/code", "codes": ["expired"], "means": "cursor_expired"},
        {"code": "/errors/0/code", "codes": ["606"], "means": "rate_limited"},
        {"status": [404], "means": "unsupported"}]});
    for (code, body, want, calls) in [
        (400, r#"{"error": {"code": "expired"}}"#, "CursorExpired", 1),
        (400, r#"{"error": {"code": "other"}}"#, "BadRequest", 1),
        (200, r#"{"success": false, "errors": [{"code": "606"}]}"#, "RateLimited", 3),
        (404, "", "Unsupported", 1),
    ] {
        let server = Server::start(move |_| status(code, body)).await;
        let error = client(account(source(rules.clone()), &server.url)).call(get("/")).await.unwrap_err();
        assert_eq!((kind(&error).as_str(), server.calls()), (want, calls), "{body}");
    }
}

#[tokio::test]
async fn the_share_of_the_quota_kept_free_stays_free() {
    let server =
        Server::start(|_| Act::Reply(200, vec![("Usage", "api-usage=95/100; per-app=1/2".into())], b"{}".to_vec()))
            .await;
    let api = client(account(source(value!({"rate": {"usage_header": "Usage"}})), &server.url));
    api.call(get("/")).await.unwrap();
    assert_eq!(kind(&api.call(get("/")).await.unwrap_err()), "RateLimited");
    assert_eq!((server.calls(), api.stats().quota_used.load(Relaxed)), (1, 95));
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
async fn forms_are_sent_in_the_body() {
    let server = Server::start(|_| json("{}")).await;
    let request = Request { method: "POST", form: vec![("a b".into(), "1&2".into())], ..get("/v1") };
    client(account(source(value!({})), &server.url)).call(request).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.body.as_str()), ("POST", "a+b=1%262"));
    assert_eq!(seen.headers["content-type"], "application/x-www-form-urlencoded");
}
