use super::super::testing::*;
use super::*;
use serde_json::json as value;
use std::collections::BTreeMap;

// Made for these tests; they open nothing.
const PKCS8: &str = include_str!("../../tests/layers/keys/rsa_pkcs8.pem");
const PKCS1: &str = include_str!("../../tests/layers/keys/rsa_pkcs1.pem");

fn account_with(server: &str, credentials: &[(&str, &str)]) -> Account {
    let source = source(value!({
        "base_url": "{instance_url}",
        "settings": [{"name": "login_url", "help": "x"}],
        "auth": {"style": "oauth2", "token_url": "{login_url}/token", "base_url": "/instance_url", "lifetime_seconds": 3600,
            "rejected": ["inactive_user"],
            "credentials": [{"name": "client_id", "help": ""}, {"name": "client_secret", "help": ""},
                {"name": "refresh_token", "help": ""}, {"name": "private_key", "help": ""}, {"name": "username", "help": ""}],
            "grants": [
                {"grant_type": "refresh_token", "needs": ["client_id", "refresh_token"]},
                {"grant_type": "jwt_bearer", "needs": ["client_id", "private_key", "username"], "audience": "{login_url}"},
                {"grant_type": "client_credentials", "needs": ["client_id", "client_secret"]}]}}));
    let mut account = account(source, server);
    account.options = BTreeMap::from([("login_url".to_string(), server.to_string())]);
    account.credentials = credentials.iter().map(|(n, v)| (n.to_string(), Secret::new(*v))).collect();
    account
}

const REFRESH: &[(&str, &str)] =
    &[("client_id", "id-canary"), ("client_secret", "s-canary"), ("refresh_token", "r-canary")];

async fn ask(account: &Account) -> Result<AccessToken, SyncError> {
    exchange(account, &ClientPool::new(), &Stats::default()).await
}

fn form_of(seen: &Seen) -> BTreeMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://x/?{}", seen.body)).unwrap();
    url.query_pairs().into_owned().collect()
}

#[tokio::test]
async fn a_refresh_gives_token_address_and_rotation() {
    let server = Server::start(|seen| {
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/token"));
        assert!(!seen.headers.contains_key("authorization"));
        let at = &seen.headers["host"];
        json(format!(r#"{{"access_token": "a-canary", "instance_url": "http://{at}/", "refresh_token": "r2-canary", "expires_in": "7200"}}"#))
    })
    .await;
    let account = account_with(&server.url, REFRESH);
    let token = ask(&account).await.unwrap();
    assert_eq!((token.token.expose(), token.base_url.as_deref()), ("a-canary", Some(server.url.as_str())));
    assert_eq!(token.new_refresh_token.as_ref().map(Secret::expose), Some("r2-canary"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((now + 7100..=now + 7200).contains(&token.expires_at));
    assert!(!format!("{token:?}").contains("canary"));
    let form = form_of(&server.seen()[0]);
    assert_eq!((form["grant_type"].as_str(), form["refresh_token"].as_str()), ("refresh_token", "r-canary"));
    assert_eq!((form["client_id"].as_str(), form["client_secret"].as_str()), ("id-canary", "s-canary"));
}

#[tokio::test]
async fn a_refusal_is_final_and_in_the_apps_words() {
    for (code, error, want, calls) in [
        (400, "invalid_grant", "AuthRejected", 1),
        (400, "inactive_user", "AuthRejected", 1),
        (401, "other", "AuthRejected", 1),
        (400, "unsupported_grant_type", "BadRequest", 1),
        (404, "", "NotFound", 1),
        (503, "", "Unavailable", 3),
        (429, "", "RateLimited", 3),
    ] {
        let body = format!(r#"{{"error": "{error}", "error_description": "expired r-canary token"}}"#);
        let server = Server::start(move |_| status(code, &body)).await;
        let error = ask(&account_with(&server.url, REFRESH)).await.unwrap_err();
        let shown = format!("{error:?}");
        assert!(shown.starts_with(want), "{shown}");
        assert!(shown.contains("expired ***") && !shown.contains("canary"), "{shown}");
        assert_eq!(server.calls(), calls, "{shown}");
    }
}

#[tokio::test]
async fn a_lost_answer_to_a_refresh_is_asked_for_once_more() {
    let acts: [fn() -> Act; 3] = [
        || Act::Reset,
        || json(r#"{"access_tok"#),
        || Act::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".to_vec()),
    ];
    for act in acts {
        let server = Server::start(move |_| act()).await;
        assert!(ask(&account_with(&server.url, REFRESH)).await.is_err());
        assert_eq!(server.calls(), 2);
        let server = Server::start(move |_| act()).await;
        let credentials = [("client_id", "c"), ("client_secret", "s")];
        assert!(ask(&account_with(&server.url, &credentials)).await.is_err());
        assert_eq!(server.calls(), 3, "nothing rotates: the usual tries");
    }
}

#[tokio::test]
async fn an_assertion_is_signed_with_either_form_of_key() {
    let flat = PKCS8.replace('\n', "\\n");
    for key in [PKCS8, PKCS1, &flat, &PKCS8.replace('\n', " ")] {
        let server = Server::start(|seen| {
            json(format!(r#"{{"access_token": "a", "instance_url": "http://{}"}}"#, seen.headers["host"]))
        })
        .await;
        let credentials = [("client_id", "me"), ("username", "u@acme.test"), ("private_key", key)];
        ask(&account_with(&server.url, &credentials)).await.unwrap();
        let form = form_of(&server.seen()[0]);
        assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        let parts: Vec<&str> = form["assertion"].split('.').collect();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        assert_eq!(
            (&claims["iss"], &claims["sub"], &claims["aud"]),
            (&value!("me"), &value!("u@acme.test"), &value!(server.url))
        );
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!((now + 100..=now + ASSERTION_SECONDS).contains(&claims["exp"].as_u64().unwrap()));
        let der = read_pem(PKCS8).unwrap().1;
        let pair = ring::signature::RsaKeyPair::from_pkcs8(&der).unwrap();
        let public = ring::signature::UnparsedPublicKey::new(
            &ring::signature::RSA_PKCS1_2048_8192_SHA256,
            pair.public().as_ref(),
        );
        let message = format!("{}.{}", parts[0], parts[1]);
        public.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(parts[2]).unwrap()).unwrap();
    }
    let credentials = [("client_id", "me"), ("username", "u"), ("private_key", "canary-key")];
    let error = ask(&account_with("http://127.0.0.1:1", &credentials)).await.unwrap_err();
    assert!(matches!(&error, SyncError::BadSetting { option, .. } if option == "private_key"));
    assert!(!format!("{error:?}").contains("canary"));
}

/// Further claims, and others than the usual ones; what has no value is left out.
#[tokio::test]
async fn an_assertion_claims_what_the_source_says() {
    let server = Server::start(|_| json(r#"{"access_token": "a", "instance_url": "https://x.test"}"#)).await;
    let mut account =
        account_with(&server.url, &[("client_id", "me"), ("username", "u@acme.test"), ("private_key", PKCS8)]);
    let mut source = crate::manifest::Source::clone(&account.source);
    let Auth::Oauth2 { grants, .. } = &mut source.auth else { panic!("no token") };
    for grant in grants.iter_mut().filter(|grant| grant.grant_type == GrantType::JwtBearer) {
        let claims = [("iss", "{username}"), ("sub", "{subject?}"), ("scope", "read {login_url}")];
        grant.claims = claims.map(|(name, text)| (name.to_string(), text.to_string())).into();
    }
    account.source = std::sync::Arc::new(source);
    ask(&account).await.unwrap();
    let form = form_of(&server.seen()[0]);
    let claims = form["assertion"].split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_eq!(claims["iss"], "u@acme.test");
    assert_eq!(claims["scope"], format!("read {}", server.url));
    assert_eq!(claims.get("sub"), None, "{claims}");
    assert_eq!(claims["aud"], server.url.as_str());
}

#[test]
fn the_first_grant_whose_credentials_are_set_is_used() {
    use GrantType::*;
    for (set, want) in [
        (vec!["client_id", "refresh_token", "client_secret"], Ok(RefreshToken)),
        (vec!["client_id", "client_secret"], Ok(ClientCredentials)),
        (vec!["client_id", "client_secret", "private_key", "username"], Ok(JwtBearer)),
        (vec!["client_id", "private_key"], Err("username")),
        (vec!["refresh_token"], Err("client_id")),
    ] {
        let credentials: Vec<(&str, &str)> = set.iter().map(|name| (*name, "x")).collect();
        let got = grant(&account_with("", &credentials)).map(|g| g.grant_type).map_err(|e| match e {
            SyncError::Missing { option, place: "user mapping" } => option,
            other => panic!("{other:?}"),
        });
        assert_eq!(got, want.map_err(str::to_string), "{set:?}");
    }
}

#[tokio::test]
async fn an_answer_cannot_send_us_anywhere() {
    for (answer, want) in [
        (r#"{"access_token": "a-canary", "instance_url": "ftp://x"}"#, "Connect"),
        (r#"{"access_token": "a-canary"}"#, "Unreadable"),
        (r#"{"instance_url": "https://x.test"}"#, "Unreadable"),
        (r#"[]"#, "Unreadable"),
    ] {
        let server = Server::start(move |_| json(answer)).await;
        let error = ask(&account_with(&server.url, REFRESH)).await.unwrap_err();
        let shown = format!("{error:?}");
        assert!(shown.starts_with(want) && !shown.contains("canary"), "{answer}: {shown}");
    }
}

/// A token request of another shape.
fn shaped(url: &str, request: Value, credentials: &[(&str, &str)]) -> Account {
    let mut account = account_with(url, credentials);
    let source = super::super::testing::source(value!({"auth": {
        "style": "oauth2", "token_url": format!("{url}/token"), "lifetime_seconds": 100, "request": request,
        "header": "X-Token", "value": "Token {access_token}",
        "grants": [{"grant_type": "client_credentials", "needs": ["client_id", "client_secret"]}],
        "credentials": [{"name": "client_id", "help": ""}, {"name": "client_secret", "help": ""}, {"name": "account_id", "help": ""}]}}));
    account.source = std::sync::Arc::new(source);
    account
}

#[tokio::test]
async fn tokens_are_asked_for_in_each_apps_way() {
    let credentials = [("client_id", "me"), ("client_secret", "shh-canary"), ("account_id", "7")];
    let answer = || json(r#"{"data": {"token": "t"}, "access_token": "t", "ttl": "60"}"#);
    let server = Server::start(move |_| answer()).await;
    ask(&shaped(&server.url, value!({"send": "query"}), &credentials)).await.unwrap();
    let seen = server.seen().pop().unwrap();
    assert_eq!(
        (seen.method.as_str(), seen.param("grant_type"), seen.param("client_secret")),
        ("GET", Some("client_credentials"), Some("shh-canary"))
    );
    ask(&shaped(
        &server.url,
        value!({"send": "json", "params": {"account_id": "{account_id?}", "gone": "{unset?}"}}),
        &credentials,
    ))
    .await
    .unwrap();
    let seen = server.seen().pop().unwrap();
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(
        body,
        value!({"grant_type": "client_credentials", "client_id": "me", "client_secret": "shh-canary", "account_id": "7"})
    );
    assert_eq!(seen.headers["content-type"], "application/json");
    let odd = value!({"client_auth": "basic", "access_token": "/data/token", "expires_in": "/ttl"});
    let token = ask(&shaped(&server.url, odd, &credentials)).await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((50..=60).contains(&(token.expires_at - now)));
    let seen = server.seen().pop().unwrap();
    assert_eq!(seen.headers["authorization"], "Basic bWU6c2hoLWNhbmFyeQ==");
    assert_eq!(form_of(&seen).keys().collect::<Vec<_>>(), ["grant_type"]);
}

#[tokio::test]
async fn a_refusal_with_a_good_status_is_one() {
    let credentials = [("client_id", "me"), ("client_secret", "s")];
    let server = Server::start(|_| json(r#"{"ok": false, "code": "invalid_client"}"#)).await;
    let error = ask(&shaped(&server.url, value!({"error": "/code"}), &credentials)).await.unwrap_err();
    assert!(matches!(error, SyncError::AuthRejected { status: 200, .. }), "{error:?}");
    assert_eq!(server.calls(), 1);
}
