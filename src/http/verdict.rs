//! Decides what a reply means: the source's own rules first, then the general reading of its status.
//!
//! Layer: http. Knows nothing of Postgres.

use super::scrub::Scrubber;
use super::{rules, Account, Request};
use crate::error::SyncError;
use crate::manifest::{Auth, Meaning, ScopeAt, Source, Wait};
use reqwest::header::HeaderMap;
use serde_json::Value;
use std::time::SystemTime;

/// An error object is small; a longer body with a success status is data and is not searched for error codes.
pub const ERROR_BODY_BYTES: usize = 64 << 10;

/// What a reply asks us to do, and how long a rule says to wait; `None` when it is a good one.
pub fn meaning<'a>(
    account: &'a Account,
    request: &'a Request,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<(Meaning, Option<&'a Wait>)> {
    let rules = request.rules.iter().chain(&account.source.errors);
    match rules::rule(rules, status, headers, body) {
        Some(rule) => Some((rule.means, rule.wait.as_ref())),
        None => by_status(account, status).map(|means| (means, None)),
    }
}

fn by_status(account: &Account, status: u16) -> Option<Meaning> {
    Some(match status {
        200..=299 => return None,
        401 if matches!(account.auth(), Auth::Oauth2 { .. }) => Meaning::TokenExpired,
        401 => Meaning::AuthRejected,
        403 => Meaning::AccessDenied,
        404 | 410 => Meaning::NotFound,
        429 => Meaning::RateLimited,
        408 | 409 | 425 | 500..=599 => Meaning::Retry,
        _ => Meaning::BadRequest,
    })
}

/// The app's own words about a failure, free of secrets and control characters.
pub fn message(source: &Source, status: u16, body: &[u8], scrubber: &Scrubber) -> String {
    let value = serde_json::from_slice::<Value>(body).ok().or_else(|| super::xml::read(body));
    let words = match value {
        Some(value) => source
            .error_message
            .iter()
            .filter_map(|pointer| value.pointer(pointer))
            .find_map(|found| match found {
                Value::String(text) if !text.is_empty() => Some(text.clone()),
                Value::Null | Value::String(_) => None,
                other => Some(other.to_string()),
            })
            .unwrap_or_else(|| value.to_string()),
        None => String::from_utf8_lossy(body.get(..body.len().min(1000)).unwrap_or_default()).into_owned(),
    };
    let words = scrubber.clean(&words);
    if words.is_empty() {
        format!("HTTP status {status} without a message")
    } else {
        words
    }
}

/// The most that an answer may name; a longer list says nothing to a person.
const MOST_SCOPES: usize = 8;

/// The permissions that the answer to a refused call asks for, as far as the source says where they are.
pub fn missing_scopes(source: &Source, body: &[u8], scrubber: &Scrubber) -> Vec<String> {
    if source.missing_scope.is_empty() {
        return Vec::new();
    }
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let mut scopes: Vec<String> = Vec::new();
    for place in &source.missing_scope {
        let (pointer, prefix) = match place {
            ScopeAt::Pointer(pointer) => (pointer, None),
            ScopeAt::Words(words) => (&words.pointer, Some(words.prefix.as_str())),
        };
        for text in rules::texts_at(&value, pointer) {
            let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
            let words = text.split(|c: char| prefix.is_some() && !is_part(c));
            let words = words.map(|word| if prefix.is_some() { word.trim_end_matches(['.', ':']) } else { word });
            for word in words.filter(|word| !word.is_empty() && word.starts_with(prefix.unwrap_or_default())) {
                let word = scrubber.clean(word);
                if !scopes.contains(&word) && scopes.len() < MOST_SCOPES {
                    scopes.push(word);
                }
            }
        }
    }
    scopes
}

/// What is known of a failed call when it becomes an error.
pub struct Failure<'a> {
    pub status: u16,
    pub detail: String,
    /// As EXPLAIN shows it.
    pub request: &'a str,
    pub tries: u32,
    /// When the app wants to be asked again.
    pub until: Option<SystemTime>,
}

/// The error that a reply's meaning comes down to when it is not tried again.
pub fn error_of(means: Meaning, failure: Failure<'_>) -> SyncError {
    let Failure { status, detail, request, tries, until } = failure;
    match means {
        Meaning::Retry => SyncError::Unavailable { status, tries, detail },
        Meaning::RateLimited | Meaning::QuotaSpent => SyncError::RateLimited { until, detail },
        Meaning::TokenExpired | Meaning::AuthRejected => SyncError::AuthRejected { status, detail },
        Meaning::AccessDenied => SyncError::AccessDenied { status, detail },
        Meaning::NotFound | Meaning::NoRecords => SyncError::NotFound { status, detail },
        Meaning::FieldRefused => SyncError::FieldRefused { detail },
        Meaning::CursorExpired => SyncError::CursorExpired { detail },
        Meaning::Unsupported => SyncError::Unsupported { reason: detail },
        Meaning::BadRequest | Meaning::ReducePage => {
            SyncError::BadRequest { status, request: request.to_string(), detail }
        }
    }
}
