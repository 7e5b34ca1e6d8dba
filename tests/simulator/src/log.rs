//! Decides what is remembered of each request: enough to count calls and to see what was asked, no secret.

use std::collections::VecDeque;

use serde::Serialize;

use crate::clock;
use crate::http::{decode, Request};

const KEPT: usize = 100_000;
const BODY_BYTES: usize = 2048;

#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Counts from 1 since the last reset or clear.
    pub n: u64,
    pub method: String,
    pub path: String,
    /// Decoded.
    pub query: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soql: Option<String>,
    /// 0 while no reply was sent, and for one cut off before its status line.
    pub status: u16,
    /// Body bytes sent.
    pub bytes: usize,
    pub at_ms: i64,
    pub user_agent: String,
    pub credential: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// The kind of the fault done to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    pub https: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
}

#[derive(Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    last: u64,
}

impl Log {
    /// Notes a request as it comes in and gives its number.
    pub fn begin(&mut self, request: &Request) -> u64 {
        self.last += 1;
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            n: self.last,
            method: request.method.clone(),
            path: request.path.clone(),
            query: masked_query(request),
            soql: soql_of(request),
            status: 0,
            bytes: 0,
            at_ms: clock::real_ms(),
            user_agent: request.header("user-agent").unwrap_or("").to_string(),
            credential: "none",
            body: masked_body(request),
            fault: None,
            https: request.is_tls,
            account: request.header("stripe-account").map(str::to_string),
            api_version: request.header("stripe-version").map(str::to_string),
        });
        self.last
    }

    /// Changes entry `n`, if it is still kept.
    pub fn amend(&mut self, n: u64, change: impl FnOnce(&mut Entry)) {
        let first = self.entries.front().map_or(1, |e| e.n);
        if let Some(entry) = n.checked_sub(first).and_then(|at| self.entries.get_mut(at as usize)) {
            change(entry);
        }
    }

    pub fn entries(&self, path_prefix: &str) -> Vec<&Entry> {
        self.entries.iter().filter(|e| e.path.starts_with(path_prefix)).collect()
    }

    pub fn clear(&mut self) {
        *self = Log::default();
    }
}

fn soql_of(request: &Request) -> Option<String> {
    if request.path.ends_with("/jobs/query") && request.method == "POST" {
        let body: serde_json::Value = serde_json::from_slice(&request.body).ok()?;
        return Some(body.get("query")?.as_str()?.to_string());
    }
    if request.path.ends_with("/query") || request.path.ends_with("/queryAll") {
        return request.param("q");
    }
    None
}

const SECRETS: [&str; 8] =
    ["client_secret", "refresh_token", "access_token", "appsecret_proof", "password", "assertion", "token", "code"];

fn masked(pairs: &[(String, String)]) -> String {
    let shown = pairs.iter().map(|(n, v)| format!("{n}={}", if SECRETS.contains(&n.as_str()) { "***" } else { v }));
    shown.collect::<Vec<_>>().join("&")
}

/// The decoded query. Some apps take their secrets there.
fn masked_query(request: &Request) -> String {
    let pairs = request.params();
    match pairs.iter().any(|(name, _)| SECRETS.contains(&name.as_str())) {
        true => masked(&pairs),
        false => decode(&request.query),
    }
}

fn masked_body(request: &Request) -> String {
    if request.body.is_empty() {
        return String::new();
    }
    let is_form = request.header("content-type").is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
    let text = if is_form { masked(&request.form()) } else { String::from_utf8_lossy(&request.body).into_owned() };
    text.chars().take(BODY_BYTES).collect()
}
