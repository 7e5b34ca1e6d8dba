//! Decides how one call to an app is made: address, credentials, limits, waits and tries.
//!
//! [`ApiClient::call`] is the only way out. It hands back complete, successful replies; everything else is a
//! [`SyncError`], read with the source's error rules. Runs on the I/O thread.
//!
//! Layer: http. Knows nothing of Postgres.

mod address;
mod client;
mod derive;
pub mod guard;
mod lane;
mod limit;
pub mod oauth;
mod pace;
mod pace_table;
mod pool;
mod proof;
pub mod retry;
mod rules;
mod scrub;
#[cfg(test)]
pub mod testing;
mod told;
mod transport;
mod unpack;
mod verdict;
pub mod xml;

pub use address::{fill, own_call, setting, shown_request};
pub use client::ApiClient;
pub use derive::without_calls;
pub use pool::ClientPool;
pub use proof::Proof;
pub use told::Told;

use crate::error::SyncError;
use crate::manifest::{Auth, ErrorRule, Source};
use crate::secret::Secret;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::Arc;
use std::time::Duration;

/// One configured account of an app: what `CREATE SERVER` and the user mapping say.
#[derive(Clone, Debug)]
pub struct Account {
    pub server: String,
    pub source: Arc<Source>,
    /// Server options, defaults of the source filled in; no secrets.
    pub options: BTreeMap<String, String>,
    pub credentials: BTreeMap<String, Secret>,
    pub policy: Policy,
    /// What a token exchange gave; `None` for sources with static credentials.
    pub token: Option<AccessToken>,
    /// Whether the credentials are known to be good; shared by all calls of a run.
    pub proof: Proof,
    /// What calls of this run have told.
    pub told: Told,
}

impl Account {
    /// How calls of this account prove who they are: of several ways the first whose credentials are all set.
    pub fn auth(&self) -> &Auth {
        self.source.auth.chosen(&|name| self.credentials.get(name).is_some_and(|s| !s.expose().is_empty()))
    }
}

/// The result of a token exchange.
#[derive(Clone, Debug)]
pub struct AccessToken {
    pub token: Secret,
    /// Where calls go, when the token answer says so.
    pub base_url: Option<String>,
    /// Unix seconds by our clock; renewed before that.
    pub expires_at: i64,
    /// Set when the app rotated the refresh token: the old one is already dead.
    pub new_refresh_token: Option<Secret>,
}

/// Limits that the owner of a server can set; each has a default.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub connect_timeout: Duration,
    /// Longest silence between two reads of a body.
    pub read_timeout: Duration,
    /// Longest time of one request, tries apart.
    pub request_timeout: Duration,
    /// Tries of one call, the first included.
    pub tries: u32,
    pub backoff_base: Duration,
    pub backoff_cap: Duration,
    /// Longest single wait, and longest sum of waits of a call; beyond it the run is deferred or failed.
    pub patience: Duration,
    pub max_body_bytes: u64,
    pub max_pages: u64,
    /// Plain http, private, loopback and link-local addresses (superuser's setting).
    pub allow_private_addresses: bool,
    /// PEM of extra roots.
    pub ca_certificate: Option<String>,
    /// Requests in flight at once for this server.
    pub max_concurrency: u32,
    /// Share of the daily quota kept free for others, 0.0..1.0.
    pub quota_reserve: f64,
    /// Where all processes that read this account keep its pace; `None`: each paces alone.
    pub pace: Option<SharedPace>,
}

/// The file that processes share, and the account in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SharedPace {
    pub file: PathBuf,
    /// The same text for the same account only.
    pub account: String,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(300),
            tries: 5,
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(30),
            patience: Duration::from_secs(60),
            max_body_bytes: 256 << 20,
            max_pages: 10_000_000,
            allow_private_addresses: false,
            ca_certificate: None,
            max_concurrency: 16,
            quota_reserve: 0.1,
            pace: None,
        }
    }
}

/// What a reader's calls cost so far; read by the backend while the reader runs.
#[derive(Debug)]
pub struct Stats {
    pub calls: AtomicU64,
    pub pages: AtomicU64,
    /// Body bytes after decompression.
    pub bytes: AtomicU64,
    pub retries: AtomicU64,
    /// Time spent waiting for rate limits and backoff.
    pub waited_ms: AtomicU64,
    /// Daily quota as the app last told it; -1 when it did not.
    pub quota_used: AtomicI64,
    pub quota_limit: AtomicI64,
}

impl Default for Stats {
    fn default() -> Self {
        Stats {
            calls: AtomicU64::new(0),
            pages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            waited_ms: AtomicU64::new(0),
            quota_used: AtomicI64::new(-1),
            quota_limit: AtomicI64::new(-1),
        }
    }
}

/// Gets a new access token when the app refuses the present one. The backend's side makes it durable first.
pub trait TokenSource: Send + Sync {
    /// `stale` is the token that was refused; when another is already stored, that one is given without a call.
    fn renew(&self, stale: Option<AccessToken>) -> BoxFuture<'static, Result<AccessToken, SyncError>>;
}

/// One call. `target` is a path below the base URL, or an absolute URL of the same origin (a next link).
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub post: bool,
    /// `PATCH`, `DELETE` where an app needs them; empty otherwise.
    pub method: &'static str,
    pub target: String,
    /// Template of the address that `target` is below, where it is not the source's.
    pub base: Option<String>,
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub json_body: Option<serde_json::Value>,
    /// Sent as a form when there is no JSON body and this is not empty.
    pub form: Vec<(String, String)>,
    /// Sent as XML; the first `{access_token}` in it stands for the token of the moment.
    pub xml_body: Option<String>,
    /// Not repeated once it may have reached the app: the app moves on with each (a `ContinueRequest` of SOAP).
    pub once: bool,
    /// Checked before the source's own rules.
    pub rules: Vec<ErrorRule>,
    /// Where the size of a page stands (a parameter, or a pointer into the body), for an app that may ask for less.
    pub size_place: Option<String>,
    /// Statuses that are an answer here, not a failure (304, 404).
    pub accept: Vec<u16>,
    /// Hosts other than the app's that the target may lie on (`*.example.com`): no credential, header or parameter of
    /// the source goes there.
    pub hosts: Vec<String>,
}

/// A complete reply with a success status, or one of `Request::accept`.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: bytes::Bytes,
    /// The app's clock: its `Date` header, microseconds since 1970.
    pub date_us: Option<i64>,
    /// From sending the request to the end of the body.
    pub elapsed: Duration,
}
