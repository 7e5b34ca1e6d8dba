use super::super::testing::*;
use super::super::Request;
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

#[tokio::test]
async fn forms_are_sent_in_the_body() {
    let server = Server::start(|_| json("{}")).await;
    let request = Request { method: "POST", form: vec![("a b".into(), "1&2".into())], ..get("/v1") };
    client(account(source(value!({})), &server.url)).call(request).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.body.as_str()), ("POST", "a+b=1%262"));
    assert_eq!(seen.headers["content-type"], "application/x-www-form-urlencoded");
}
