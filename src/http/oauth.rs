//! Exchanges long-lived credentials for an access token.
//!
//! Decides which grant is used, and which failures of the token endpoint mean "the owner must act". A rotating
//! refresh token is dead once the app has seen it, so a reply that was lost is asked for once more and no oftener.
//!
//! Layer: http. Knows nothing of Postgres.

use super::address::{base_url, check_host, fill, fill_secret, parse_url, setting};
use super::retry::{parse_retry_after, roll, wait_before, RetryPolicy};
use super::scrub::Scrubber;
use super::transport::{self, Broken, Raw};
use super::{AccessToken, Account, ClientPool, Stats};
use crate::error::SyncError;
use crate::manifest::{Auth, ClientAuth, Grant, GrantType, SendAs, TokenRequest};
use crate::secret::Secret;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use base64::Engine;
use reqwest::header::{HeaderValue, ACCEPT, RETRY_AFTER};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a signed assertion holds; apps allow three to five minutes.
const ASSERTION_SECONDS: u64 = 180;

/// Answers lost on the way before a refresh is given up.
const LOST_REFRESHES: u32 = 1;

/// The parts of `Auth::Oauth2` that an exchange needs.
struct Endpoint<'a> {
    token_url: &'a str,
    base_url: Option<&'a str>,
    lifetime_seconds: u64,
    rejected: &'a [String],
    request: &'a TokenRequest,
}

/// Why one try gave no token.
struct Miss {
    error: SyncError,
    /// Whether another try may help.
    again: bool,
    /// Whether the app may have acted on it.
    lost: bool,
    asked: Option<Duration>,
}

impl Miss {
    fn last(error: SyncError) -> Self {
        Miss { error, again: false, lost: false, asked: None }
    }
}

/// The grant to use: the first whose credentials are all set.
pub fn grant(account: &Account) -> Result<&Grant, SyncError> {
    let Auth::Oauth2 { grants, .. } = account.auth() else {
        return Err(SyncError::internal("this source has no access tokens"));
    };
    let is_set = |name: &String| account.credentials.get(name).is_some_and(|s| !s.expose().is_empty());
    if let Some(grant) = grants.iter().find(|grant| grant.needs.iter().all(is_set)) {
        return Ok(grant);
    }
    // The grant that is nearest to complete says best what is missing.
    let nearest = grants.iter().max_by_key(|grant| grant.needs.iter().filter(|name| is_set(name)).count());
    let option = nearest.and_then(|grant| grant.needs.iter().find(|name| !is_set(name))).cloned();
    Err(SyncError::Missing { place: "user mapping", option: option.unwrap_or_default() })
}

/// Asks the token endpoint for an access token.
pub async fn exchange(account: &Account, pool: &ClientPool, stats: &Stats) -> Result<AccessToken, SyncError> {
    let account = &super::without_calls(account);
    let grant = grant(account)?;
    let Auth::Oauth2 { token_url, base_url, lifetime_seconds, rejected, request, .. } = account.auth() else {
        return Err(SyncError::internal("this source has no access tokens"));
    };
    let (base_url, lifetime_seconds) = (base_url.as_deref(), *lifetime_seconds);
    let endpoint = Endpoint { token_url, base_url, lifetime_seconds, rejected, request };
    let http = pool.client(account)?;
    let (mut waited, mut attempt, mut lost) = (Duration::ZERO, 0, 0);
    loop {
        let miss = match try_once(account, grant, &endpoint, &http, stats).await {
            Ok(token) => return Ok(token),
            Err(miss) => miss,
        };
        lost += u32::from(miss.lost);
        let given_up = grant.grant_type == GrantType::RefreshToken && lost > LOST_REFRESHES;
        let schedule = RetryPolicy::after(&account.policy, waited);
        let wait = wait_before(&schedule, attempt, miss.asked, roll()).filter(|_| miss.again && !given_up);
        let Some(wait) = wait else { return Err(miss.error) };
        tokio::time::sleep(wait).await;
        stats.retries.fetch_add(1, Relaxed);
        stats.waited_ms.fetch_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), Relaxed);
        waited += wait;
        attempt += 1;
    }
}

async fn try_once(
    account: &Account,
    grant: &Grant,
    endpoint: &Endpoint<'_>,
    http: &reqwest::Client,
    stats: &Stats,
) -> Result<AccessToken, Miss> {
    let scrubber = Scrubber::new(account, None);
    let request = token_request(account, grant, endpoint, http).map_err(Miss::last)?;
    let raw =
        transport::send(http, &account.policy, stats, &scrubber, request).await.map_err(|broken| match broken {
            Broken::Final(error) => Miss::last(error),
            Broken::NotSent(error) => Miss { error, again: true, lost: false, asked: None },
            Broken::Lost(error) => Miss { error, again: true, lost: true, asked: None },
        })?;
    if (200..300).contains(&raw.status) {
        return read_token(account, endpoint, &raw, &scrubber);
    }
    Err(refusal(account, endpoint, &raw, &scrubber))
}

fn token_request(
    account: &Account,
    grant: &Grant,
    endpoint: &Endpoint<'_>,
    http: &reqwest::Client,
) -> Result<reqwest::Request, SyncError> {
    check_host("token_url", endpoint.token_url, |name| setting(account, name))?;
    let text = fill(account, endpoint.token_url)?
        .ok_or_else(|| SyncError::internal("the token address has an optional part"))?;
    let text = if text.starts_with('/') { format!("{}{text}", base_url(account, None)?) } else { text };
    let url = parse_url(account, "token_url", &text)?;
    let asked = endpoint.request;
    let mut form: Vec<(String, String)> = form(account, grant, asked.client_auth, SystemTime::now())?
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect();
    for (name, text) in &asked.params {
        if let Some(value) = fill_secret(account, text)? {
            form.retain(|(known, _)| known != name);
            form.push((name.clone(), value));
        }
    }
    let built = match asked.send {
        SendAs::Form => http.post(url).form(&form),
        SendAs::Json => {
            let body = serde_json::json!(form.into_iter().collect::<BTreeMap<_, _>>()).to_string();
            http.post(url).header(reqwest::header::CONTENT_TYPE, "application/json").body(body)
        }
        SendAs::Query => http.get(url).query(&form),
    };
    let secret = |name: &str| account.credentials.get(name).map(|s| s.expose().trim().to_string());
    let built = match asked.client_auth {
        ClientAuth::Basic => built.basic_auth(secret("client_id").unwrap_or_default(), secret("client_secret")),
        ClientAuth::Body => built,
    };
    let built = built.header(ACCEPT, HeaderValue::from_static("application/json")).build();
    built.map_err(|_| SyncError::internal("the token request cannot be built"))
}

/// The fields of the token request.
fn form(
    account: &Account,
    grant: &Grant,
    client_auth: ClientAuth,
    now: SystemTime,
) -> Result<Vec<(&'static str, String)>, SyncError> {
    let value = |name: &str| account.credentials.get(name).map(|s| s.expose().trim().to_string());
    let needed =
        |name: &str| value(name).ok_or_else(|| SyncError::Missing { place: "user mapping", option: name.to_string() });
    let mut form = Vec::new();
    match grant.grant_type {
        GrantType::RefreshToken => {
            form.push(("grant_type", "refresh_token".to_string()));
            form.push(("refresh_token", needed("refresh_token")?));
        }
        GrantType::ClientCredentials => {
            form.push(("grant_type", "client_credentials".to_string()));
        }
        GrantType::JwtBearer => {
            let audience = grant.audience.as_deref().unwrap_or_default();
            let audience = fill(account, audience)?.unwrap_or_default();
            let expires = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() + ASSERTION_SECONDS;
            let issued = expires.saturating_sub(ASSERTION_SECONDS);
            let mut claims = serde_json::Map::new();
            claims.insert("aud".into(), audience.into());
            claims.insert("exp".into(), expires.into());
            claims.insert("iat".into(), issued.into());
            for (claim, usual) in [("iss", "client_id"), ("sub", "username")] {
                if !grant.claims.contains_key(claim) && (grant.claims.is_empty() || value(usual).is_some()) {
                    claims.insert(claim.into(), needed(usual)?.into());
                }
            }
            for (claim, text) in &grant.claims {
                if let Some(text) = fill_secret(account, text)? {
                    claims.insert(claim.clone(), text.into());
                }
            }
            form.push(("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_string()));
            form.push(("assertion", sign(&Value::Object(claims), &needed("private_key")?)?));
            return Ok(form);
        }
    }
    if client_auth == ClientAuth::Basic {
        return Ok(form);
    }
    form.push(("client_id", needed("client_id")?));
    form.extend(value("client_secret").filter(|s| !s.is_empty()).map(|secret| ("client_secret", secret)));
    Ok(form)
}

/// A signed assertion (RS256).
fn sign(claims: &Value, pem: &str) -> Result<String, SyncError> {
    let refuse = |detail: &str| SyncError::BadSetting { option: "private_key".into(), detail: detail.into() };
    let (label, der) = read_pem(pem).ok_or_else(|| refuse("not a private key in PEM form"))?;
    let key = match label.as_str() {
        "PRIVATE KEY" => ring::signature::RsaKeyPair::from_pkcs8(&der),
        "RSA PRIVATE KEY" => ring::signature::RsaKeyPair::from_der(&der),
        "ENCRYPTED PRIVATE KEY" => return Err(refuse("the key is encrypted; store it without a pass phrase")),
        _ => return Err(refuse("not an RSA private key in PEM form")),
    };
    let key = key.map_err(|_| refuse("not an RSA key of 2048 bits or more"))?;
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(&serde_json::json!({"alg": "RS256", "typ": "JWT"})), encode(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    let random = ring::rand::SystemRandom::new();
    key.sign(&ring::signature::RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature)
        .map_err(|_| refuse("it could not sign"))?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Label and content of the first PEM block. Line breaks may have become spaces or `\n` on the way into an option.
fn read_pem(text: &str) -> Option<(String, Vec<u8>)> {
    let (label, rest) = text.split_once("-----BEGIN ")?.1.split_once("-----")?;
    let body = rest.split_once("-----END ")?.0.replace("\\n", "");
    let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    Some((label.to_string(), STANDARD.decode(body).ok()?))
}

fn read_token(account: &Account, endpoint: &Endpoint<'_>, raw: &Raw, scrubber: &Scrubber) -> Result<AccessToken, Miss> {
    let unreadable = |detail: &str| SyncError::Unreadable {
        content_type: scrubber.clean_to(
            raw.headers.get(reqwest::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("no content type"),
            120,
        ),
        // Nothing of it is shown: what was meant to hold a token may hold half of one.
        start: String::new(),
        detail: detail.to_string(),
    };
    let Ok(answer) = serde_json::from_slice::<Value>(&raw.body) else {
        let error = unreadable("the token answer is not whole JSON");
        return Err(Miss { error, again: true, lost: true, asked: None });
    };
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).filter(|t| !t.is_empty());
    let asked = endpoint.request;
    let Some(token) = text(asked.access_token.as_deref().unwrap_or("/access_token")) else {
        // Some apps refuse with a good status.
        if answer.pointer(asked.error.as_deref().unwrap_or("/error")).is_some_and(|e| !e.is_null()) {
            return Err(refusal(account, endpoint, raw, scrubber));
        }
        return Err(Miss::last(unreadable("the token answer holds no access token")));
    };
    let base_url = match endpoint.base_url {
        Some(pointer) => {
            let named = text(pointer).ok_or_else(|| Miss::last(unreadable("the token answer names no address")))?;
            parse_url(account, "base_url", named).map_err(Miss::last)?;
            Some(named.trim_end_matches('/').to_string())
        }
        None => None,
    };
    // Some apps give the number as text.
    let told = answer
        .pointer(asked.expires_in.as_deref().unwrap_or("/expires_in"))
        .and_then(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let expires_at = now.saturating_add(told.unwrap_or(endpoint.lifetime_seconds));
    let present = account.credentials.get("refresh_token").map(|s| s.expose().trim());
    let rotated = text("/refresh_token").filter(|new| present.is_some_and(|old| old != *new));
    Ok(AccessToken {
        token: Secret::new(token),
        base_url,
        expires_at: i64::try_from(expires_at).unwrap_or(i64::MAX),
        new_refresh_token: rotated.map(Secret::new),
    })
}

/// Reads a refusal of the token endpoint (RFC 6749, section 5.2).
fn refusal(account: &Account, endpoint: &Endpoint<'_>, raw: &Raw, scrubber: &Scrubber) -> Miss {
    let answer: Value = serde_json::from_slice(&raw.body).unwrap_or_default();
    let code = answer.pointer(endpoint.request.error.as_deref().unwrap_or("/error"));
    let code = code.map(|code| code.as_str().map_or_else(|| code.to_string(), str::to_string)).unwrap_or_default();
    let words = answer.get("error_description").and_then(Value::as_str).unwrap_or_default();
    let code = code.as_str();
    let status = raw.status;
    let detail = match (code, words) {
        ("", "") => format!("the token endpoint answered with HTTP status {status}"),
        (code, "") => scrubber.clean(code),
        (code, words) => scrubber.clean(&format!("{code}: {words}")),
    };
    let is_rejected = endpoint.rejected.iter().any(|r| r == code)
        || matches!(code, "invalid_grant" | "invalid_client" | "unauthorized_client" | "access_denied");
    let now = SystemTime::now();
    let asked = raw.headers.get(RETRY_AFTER).and_then(|v| parse_retry_after(v.to_str().ok()?, None, now));
    let again = |error| Miss { error, again: true, lost: false, asked };
    match status {
        _ if is_rejected => Miss::last(SyncError::AuthRejected { status, detail }),
        401 | 403 => Miss::last(SyncError::AuthRejected { status, detail }),
        429 => again(SyncError::RateLimited { until: asked.and_then(|wait| now.checked_add(wait)), detail }),
        408 | 425 | 500..=599 => again(SyncError::Unavailable { status, tries: account.policy.tries, detail }),
        404 | 410 => Miss::last(SyncError::NotFound { status, detail }),
        _ => Miss::last(SyncError::BadRequest { status, request: "POST of the token request".into(), detail }),
    }
}

#[cfg(test)]
#[path = "oauth_tests.rs"]
mod tests;
