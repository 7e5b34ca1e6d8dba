//! Decides the values that a source's templates need and nobody types in: parts of credentials, answers of calls.
//!
//! A call for one is made once in a process for the same credentials and options: it says where the app is, or in which
//! zone it counts, and that does not change between two runs.
//!
//! Layer: http. Knows nothing of Postgres.

use super::address::{check_host, fill_secret, fill_secret_with, parse_url, setting};
use super::scrub::Scrubber;
use super::transport::{self, Broken};
use super::{Account, ApiClient, Request};
use crate::error::SyncError;
use crate::manifest::{Call, Derived, Method};
use once_cell::sync::Lazy;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};
use tokio::sync::Mutex as AsyncMutex;

/// What calls have told, by account.
static TOLD: Lazy<Mutex<HashMap<u64, BTreeMap<String, String>>>> = Lazy::new(Mutex::default);

/// More accounts than this in one process, and all are asked again.
const KEPT: usize = 256;

/// Held while an app is asked, so that streams that start together ask once.
static ASKING: Lazy<AsyncMutex<()>> = Lazy::new(AsyncMutex::default);

fn told() -> MutexGuard<'static, HashMap<u64, BTreeMap<String, String>>> {
    // Whole entries are put in under the lock, so a panic elsewhere leaves it usable.
    TOLD.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What tells one account from another; of secrets only their fingerprints.
fn identity(account: &Account) -> u64 {
    let secrets: Vec<String> = account.credentials.iter().map(|(n, s)| format!("{n}={}", s.fingerprint())).collect();
    // The ways to a value, too: a user's own source may be defined anew.
    let (source, ways) = (&account.source.source, &account.source.values);
    let text = format!("{}\u{0}{source}\u{0}{ways:?}\u{0}{:?}\u{0}{secrets:?}", account.server, account.options);
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

/// The account with what needs no call.
pub fn without_calls(account: &Account) -> Account {
    let mut account = account.clone();
    let source = account.source.clone();
    for (name, ways) in &source.values {
        if account.options.contains_key(name) {
            continue;
        }
        let filled = ways.iter().filter_map(|way| way.template.as_deref());
        let value = filled.filter_map(|text| fill_secret(&account, text).ok().flatten()).find(|text| !text.is_empty());
        if let Some(value) = value {
            account.options.insert(name.clone(), value);
        }
    }
    account
}

/// The account with all of a source's values that can be had.
pub async fn with_calls(api: &ApiClient) -> Result<Account, SyncError> {
    let mut account = without_calls(api.account());
    let source = account.source.clone();
    let identity = identity(&account);
    let known = || told().get(&identity).cloned().unwrap_or_default();
    account.options.extend(known());
    if source.values.keys().all(|name| account.options.contains_key(name)) {
        return Ok(account);
    }
    let _one_at_a_time = ASKING.lock().await;
    account.options.extend(known());
    let mut news = BTreeMap::new();
    for (name, ways) in &source.values {
        for way in ways {
            if account.options.contains_key(name) {
                break;
            }
            if let Some(value) = ask(api, &account, way).await? {
                account.options.insert(name.clone(), value.clone());
                news.insert(name.clone(), value);
            }
        }
    }
    if !news.is_empty() {
        let mut told = told();
        if told.len() >= KEPT {
            told.clear();
        }
        told.entry(identity).or_default().extend(news);
    }
    Ok(account)
}

async fn ask(api: &ApiClient, account: &Account, way: &Derived) -> Result<Option<String>, SyncError> {
    let (Some(call), Some(pointer)) = (&way.call, &way.pointer) else { return Ok(None) };
    let answer: Value = if call.path.starts_with("https://") || call.path.starts_with("http://") {
        let leave = account.proof.leave().await?;
        let answer = elsewhere(api, account, call).await;
        leave.ended(&answer);
        answer?
    } else {
        let mut request = Request { target: call.path.clone(), ..Request::default() };
        for (name, param) in &call.params {
            for text in param.templates() {
                request.query.extend(super::fill(account, text)?.map(|value| (name.clone(), value)));
            }
        }
        let read = |reply: &super::Reply| serde_json::from_slice::<Value>(&reply.body).map_err(|e| e.to_string());
        api.with_account(account.clone()).call_parsed(request, read).await?
    };
    Ok(match answer.pointer(pointer) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(number @ Value::Number(_)) => Some(number.to_string()),
        _ => None,
    })
}

/// A call to another address of the same app, with only the proof that the file gives it.
async fn elsewhere(api: &ApiClient, account: &Account, call: &Call) -> Result<Value, SyncError> {
    let token = api.fresh_token().await?;
    let fill = |text: &str| fill_secret_with(account, token.as_ref(), text);
    let refused = |what: &str| SyncError::internal(format!("the call for a value of the source {what}"));
    check_host("values", &call.path, |name| {
        let credential = account.credentials.get(name).map(|secret| Cow::from(secret.expose()));
        credential.or_else(|| setting(account, name))
    })?;
    let Some(text) = fill(&call.path)? else { return Err(refused("has no address")) };
    let mut url = parse_url(account, "values", &text)?;
    for (name, param) in &call.params {
        for text in param.templates() {
            if let Some(value) = fill(text)? {
                url.query_pairs_mut().append_pair(name, &value);
            }
        }
    }
    let method = if call.method == Method::Get { reqwest::Method::GET } else { reqwest::Method::POST };
    let mut request = reqwest::Request::new(method, url);
    for (name, text) in &call.headers {
        if let Some(value) = fill(text)? {
            let name =
                reqwest::header::HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused("has a wrong header"))?;
            let mut value =
                reqwest::header::HeaderValue::from_str(&value).map_err(|_| refused("has a wrong header"))?;
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
    }
    let scrubber = Scrubber::new(account, token.as_ref());
    let raw = transport::send(api.http(), &account.policy, api.stats(), &scrubber, request).await;
    let raw = raw.map_err(|broken| match broken {
        Broken::Final(error) | Broken::NotSent(error) | Broken::Lost(error) => error,
    })?;
    let detail = super::verdict::message(&account.source, raw.status, &raw.body, &scrubber);
    match raw.status {
        200..=299 => serde_json::from_slice(&raw.body).map_err(|_| SyncError::Unreadable {
            content_type: "unknown".into(),
            start: String::new(),
            detail: "the answer is not JSON".into(),
        }),
        401 | 403 => Err(SyncError::AuthRejected { status: raw.status, detail }),
        status => Err(SyncError::Unavailable { status, tries: 1, detail }),
    }
}
