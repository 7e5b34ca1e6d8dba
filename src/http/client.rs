//! Makes calls with their tries: renews a stale token once, waits as asked, gives up in time.
//!
//! Layer: http. Knows nothing of Postgres.

use super::limit::Limiter;
use super::pool::ClientPool;
use super::proof::Leave;
use super::retry::{parse_retry_after, roll, wait_before, RetryPolicy};
use super::scrub::Scrubber;
use super::transport::{self, Broken, Raw};
use super::verdict::{self, Failure};
use super::{address, unpack, AccessToken, Account, Reply, Request, Stats, TokenSource};
use crate::error::{with_missing, SyncError};
use crate::manifest::{Auth, Meaning, Wait};
use reqwest::header::{HeaderMap, CONTENT_TYPE, DATE, RETRY_AFTER};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// A token that ends within this many seconds is renewed before the call, not by a failed one.
const TOKEN_MARGIN_SECONDS: i64 = 60;

/// Of an unreadable reply, this many characters are shown.
const START_CHARS: usize = 120;

/// The way out for one read of one account. Clones share the access token.
#[derive(Clone)]
pub struct ApiClient {
    inner: Arc<Inner>,
}

struct Inner {
    account: Account,
    stats: Arc<Stats>,
    tokens: Arc<dyn TokenSource>,
    http: reqwest::Client,
    limiter: Arc<Limiter>,
    token: Mutex<Option<AccessToken>>,
    /// Records of a page, when the app asked for fewer.
    page_size: Mutex<Option<u64>>,
    /// Held while a token is asked for, so that calls refused together ask once.
    renewing: tokio::sync::Mutex<()>,
}

/// One try that did not succeed.
enum Miss {
    Final(SyncError),
    /// Try again; the error holds when no try is left. `asked` is the app's own demand.
    Again {
        error: SyncError,
        asked: Option<Duration>,
        /// The path of the call, when the app counts too many of its kind.
        limited: Option<String>,
    },
    /// The app wants to be asked for fewer records at once.
    Reduce(SyncError),
    /// The token was refused.
    Token {
        error: SyncError,
        stale: Option<AccessToken>,
    },
}

impl Miss {
    fn refuses_credentials(&self) -> bool {
        matches!(self, Miss::Token { .. } | Miss::Final(SyncError::AuthRejected { .. }))
    }
}

impl ApiClient {
    pub fn new(
        account: Account,
        stats: Arc<Stats>,
        tokens: Arc<dyn TokenSource>,
        pool: &ClientPool,
    ) -> Result<Self, SyncError> {
        let (http, limiter) = (pool.client(&account)?, pool.limiter(&account));
        let token = Mutex::new(account.token.clone());
        let renewing = tokio::sync::Mutex::new(());
        let page_size = Mutex::default();
        Ok(ApiClient { inner: Arc::new(Inner { account, stats, tokens, http, limiter, token, page_size, renewing }) })
    }

    /// Makes one call, with its tries, and gives the complete reply.
    pub async fn call(&self, request: Request) -> Result<Reply, SyncError> {
        self.call_parsed(request, |reply| Ok(reply.clone())).await
    }

    /// The same, with the reading of the reply as part of the call: a reply that `parse` refuses because it is cut
    /// off counts as failed and is asked for again. `parse` says in plain words what is wrong.
    pub async fn call_parsed<T: Send>(
        &self,
        request: Request,
        parse: impl Fn(&Reply) -> Result<T, String> + Send + Sync,
    ) -> Result<T, SyncError> {
        let mut leave = self.inner.account.proof.leave().await?;
        let result = self.call_with_tries(request, parse, &mut leave).await;
        leave.ended(&result);
        result
    }

    async fn call_with_tries<T: Send>(
        &self,
        request: Request,
        parse: impl Fn(&Reply) -> Result<T, String> + Send + Sync,
        leave: &mut Leave,
    ) -> Result<T, SyncError> {
        let policy = &self.inner.account.policy;
        let mut waited = Duration::ZERO;
        let mut attempt = 0;
        let mut renewed = false;
        loop {
            let miss = match self.try_once(&request).await {
                Ok(reply) => match parse(&reply) {
                    Ok(value) => return Ok(value),
                    Err(why) if request.once => Miss::Final(self.unreadable(&reply, &why)),
                    Err(why) => self.misread(&reply, &why),
                },
                Err(miss) => miss,
            };
            if !miss.refuses_credentials() {
                leave.accepted();
            }
            match miss {
                Miss::Final(error) => return Err(error),
                Miss::Reduce(error) => {
                    if !self.reduce_page(&request) {
                        return Err(error);
                    }
                    self.inner.stats.retries.fetch_add(1, Relaxed);
                }
                Miss::Token { error, .. } if renewed => return Err(error),
                Miss::Token { stale, .. } => {
                    renewed = true;
                    self.renew(stale).await?;
                }
                Miss::Again { error, asked, limited } => {
                    let schedule = RetryPolicy::after(policy, waited);
                    let Some(wait) = wait_before(&schedule, attempt, asked, roll()) else {
                        return Err(with_tries(error, attempt + 1));
                    };
                    if let Some(path) = limited {
                        self.inner.limiter.be_quiet(&path, wait).await;
                    }
                    tokio::time::sleep(wait).await;
                    self.count_wait(wait);
                    self.inner.stats.retries.fetch_add(1, Relaxed);
                    waited += wait;
                    attempt += 1;
                }
            }
        }
    }

    /// The client with all values of the source that have to be computed or asked for.
    pub async fn prepared(&self) -> Result<ApiClient, SyncError> {
        if self.account().source.values.is_empty() {
            return Ok(self.clone());
        }
        Ok(self.with_account(super::derive::with_calls(self).await?))
    }

    /// The same client for an account that knows more.
    pub(super) fn with_account(&self, account: Account) -> ApiClient {
        let inner = &self.inner;
        ApiClient {
            inner: Arc::new(Inner {
                account,
                stats: Arc::clone(&inner.stats),
                tokens: Arc::clone(&inner.tokens),
                http: inner.http.clone(),
                limiter: Arc::clone(&inner.limiter),
                token: Mutex::new(self.token()),
                page_size: Mutex::default(),
                renewing: tokio::sync::Mutex::new(()),
            }),
        }
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.inner.http
    }

    /// Halves the size of the pages that are asked for. False when it cannot be less.
    fn reduce_page(&self, request: &Request) -> bool {
        let mut size = self.inner.page_size.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(present) = address::page_size(request).map(|asked| size.map_or(asked, |reduced| reduced.min(asked)))
        else {
            return false;
        };
        *size = Some(present / 2);
        present > 1
    }

    pub fn account(&self) -> &Account {
        &self.inner.account
    }

    pub fn stats(&self) -> &Stats {
        &self.inner.stats
    }

    /// The address that paths are relative to.
    pub fn base_url(&self) -> Result<String, SyncError> {
        address::base_url(self.account(), self.token().as_ref())
    }

    /// The error for a reply with a success status that cannot be used; `why` in plain words.
    pub fn unreadable(&self, reply: &Reply, why: &str) -> SyncError {
        unreadable_with(&self.scrubber(), reply, why)
    }

    /// The app's own words without secrets and control characters.
    pub fn cleaned(&self, words: &str) -> String {
        self.scrubber().clean(words)
    }

    /// Whether a text is one of the account's secrets, or its access token.
    pub fn is_secret(&self, text: &str) -> bool {
        let token = self.token();
        let mut secrets = self.account().credentials.values().chain(token.iter().map(|token| &token.token));
        !text.is_empty() && secrets.any(|secret| secret.expose() == text)
    }

    /// What the app says, as it may be shown: one line without any credential.
    pub fn hide_secrets(&self, text: &str) -> String {
        self.scrubber().clean(text)
    }

    fn token(&self) -> Option<AccessToken> {
        // A whole value is put in under the lock, so a panic elsewhere leaves it usable.
        self.inner.token.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    fn scrubber(&self) -> Scrubber {
        Scrubber::new(self.account(), self.token().as_ref())
    }

    fn count_wait(&self, wait: Duration) {
        self.inner.stats.waited_ms.fetch_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    async fn try_once(&self, request: &Request) -> Result<Reply, Miss> {
        let inner = &self.inner;
        let account = &inner.account;
        self.check_quota().map_err(Miss::Final)?;
        let token = self.fresh_token().await.map_err(Miss::Final)?;
        let (built, path) = self.build(request, token.as_ref()).map_err(Miss::Final)?;

        let queued = Instant::now();
        let turn = inner.limiter.turn(&path).await.map_err(|wait| Miss::Final(quiet_for(wait)))?;
        self.count_wait(queued.elapsed());
        let scrubber = Scrubber::new(account, token.as_ref());
        let raw = transport::send(&inner.http, &account.policy, &inner.stats, &scrubber, built).await;
        drop(turn);

        let raw = raw.and_then(|raw| unpack::unpacked(raw, account.policy.max_body_bytes));
        let raw = raw.map_err(|broken| match broken {
            Broken::Final(error) => Miss::Final(error),
            Broken::Lost(error) if request.once => Miss::Final(error),
            Broken::NotSent(error) | Broken::Lost(error) => Miss::Again { error, asked: None, limited: None },
        })?;
        self.note_allowance(&path, &raw.headers).await;
        if request.accept.contains(&raw.status) {
            return Ok(reply(raw));
        }
        let Some(ruling) = verdict::meaning(account, request, raw.status, &raw.headers, &raw.body) else {
            return Ok(reply(raw));
        };
        if ruling.0 == Meaning::NoRecords && request.accept.contains(&404) {
            return Ok(Reply { status: 404, ..reply(raw) });
        }
        Err(self.miss(ruling, request, path, raw, token, &scrubber))
    }

    #[allow(clippy::too_many_arguments)]
    fn miss(
        &self,
        (means, wait): (Meaning, Option<&Wait>),
        request: &Request,
        path: String,
        raw: Raw,
        token: Option<AccessToken>,
        scrubber: &Scrubber,
    ) -> Miss {
        let account = &self.inner.account;
        let our_now = SystemTime::now();
        let app_now = app_now(&raw.headers);
        let retry_after =
            raw.headers.get(RETRY_AFTER).and_then(|v| parse_retry_after(v.to_str().ok()?, app_now, our_now));
        let is_limited = means == Meaning::RateLimited;
        let renewed = || is_limited.then(|| self.inner.limiter.renewed_in(&path, &raw.headers, app_now)).flatten();

        let by_rule = || super::rules::wait_of(wait?, &raw.headers, &raw.body, app_now.unwrap_or(our_now));
        let asked = retry_after.or_else(by_rule).or_else(renewed);
        let words = verdict::message(&account.source, raw.status, &raw.body, scrubber);
        let words = match means {
            Meaning::AccessDenied => {
                with_missing(&words, &verdict::missing_scopes(&account.source, &raw.body, scrubber))
            }
            _ => words,
        };
        let error = verdict::error_of(
            means,
            Failure {
                status: raw.status,
                detail: words,
                request: &address::shown_request(account, request),
                tries: 1,
                until: asked.and_then(|wait| our_now.checked_add(wait)),
            },
        );
        match means {
            Meaning::Retry if request.once => Miss::Final(error),
            Meaning::Retry => Miss::Again { error, asked, limited: None },
            Meaning::RateLimited => Miss::Again { error, asked, limited: Some(path) },
            Meaning::ReducePage => Miss::Reduce(error),
            Meaning::TokenExpired if matches!(account.auth(), Auth::Oauth2 { .. }) => {
                Miss::Token { error, stale: token }
            }
            _ => Miss::Final(error),
        }
    }

    /// A reply with a good status that the reader cannot use. Only one that looks cut off is worth another try:
    /// a page for people, or whole JSON of another shape, comes again.
    fn misread(&self, reply: &Reply, why: &str) -> Miss {
        let error = self.unreadable(reply, why);
        let for_people = content_type(&reply.headers).contains("html");
        let whole = serde_json::from_slice::<serde::de::IgnoredAny>(&reply.body).is_ok()
            || super::xml::read(&reply.body).is_some();
        if for_people || whole {
            Miss::Final(error)
        } else {
            Miss::Again { error, asked: None, limited: None }
        }
    }

    /// The request to send, and its path below the base address.
    fn build(&self, request: &Request, token: Option<&AccessToken>) -> Result<(reqwest::Request, String), SyncError> {
        let account = &self.inner.account;
        let base = address::base_of(account, token, request.base.as_deref())?;
        let reduced = *self.inner.page_size.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let smaller = reduced.and_then(|size| address::with_page_size(request, size));
        let request = smaller.as_ref().unwrap_or(request);
        let url = address::call_url(account, &base, token, request)?;
        let method = match (request.method, request.post) {
            ("", false) => reqwest::Method::GET,
            ("", true) => reqwest::Method::POST,
            (other, _) => reqwest::Method::from_bytes(other.as_bytes())
                .map_err(|_| SyncError::internal(format!("\"{other}\" is not a method")))?,
        };
        let path = address::path_below(&base, &url);
        let headers = match address::is_elsewhere(&base, request, &url) {
            true => address::bare_headers(request)?,
            false => address::call_headers(account, token, request)?,
        };
        let mut built = reqwest::Request::new(method, url);
        *built.headers_mut() = headers;
        if let Some(body) = &request.json_body {
            let json = reqwest::header::HeaderValue::from_static("application/json");
            built.headers_mut().insert(CONTENT_TYPE, json);
            *built.body_mut() = Some(body.to_string().into());
        } else if !request.form.is_empty() {
            let form = reqwest::header::HeaderValue::from_static("application/x-www-form-urlencoded");
            built.headers_mut().insert(CONTENT_TYPE, form);
            *built.body_mut() = Some(address::form_text(&request.form).into());
        } else if let Some(body) = &request.xml_body {
            let xml = reqwest::header::HeaderValue::from_static("text/xml; charset=utf-8");
            built.headers_mut().insert(CONTENT_TYPE, xml);
            let proof = token.and_then(|token| super::xml::escaped(token.token.expose())).unwrap_or_default();
            *built.body_mut() = Some(body.replacen("{access_token}", &proof, 1).into());
        }
        Ok((built, path))
    }

    /// The access token to use, renewed first when it is missing or about to end; `None` for static credentials.
    pub(super) async fn fresh_token(&self) -> Result<Option<AccessToken>, SyncError> {
        if !matches!(self.inner.account.auth(), Auth::Oauth2 { .. }) {
            return Ok(None);
        }
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
        let soon = now.unwrap_or(i64::MAX).saturating_add(TOKEN_MARGIN_SECONDS);
        match self.token() {
            Some(token) if token.expires_at > soon => Ok(Some(token)),
            stale => self.renew(stale).await.map(Some),
        }
    }

    async fn renew(&self, stale: Option<AccessToken>) -> Result<AccessToken, SyncError> {
        let _one_at_a_time = self.inner.renewing.lock().await;
        let text = |token: &AccessToken| token.token.fingerprint();
        if let Some(present) = self.token() {
            if stale.as_ref().map(text) != Some(text(&present)) {
                return Ok(present);
            }
        }
        let token = self.inner.tokens.renew(stale).await?;
        *self.inner.token.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(token.clone());
        Ok(token)
    }

    /// Keeps what the app tells of its allowance.
    async fn note_allowance(&self, path: &str, headers: &HeaderMap) {
        let Some(rate) = &self.inner.account.source.rate else { return };
        let usage = rate.usage_header.as_deref().and_then(|name| headers.get(name)?.to_str().ok());
        if let Some((used, limit)) = usage.and_then(parse_usage) {
            self.inner.stats.quota_used.store(used, Relaxed);
            self.inner.stats.quota_limit.store(limit, Relaxed);
        }
        self.inner.limiter.note(path, headers, app_now(headers)).await;
        if let Some((percent, from)) = super::rules::used_percent(&rate.usage, headers).zip(rate.slow_from_percent) {
            self.inner.limiter.used(path, percent, f64::from(from)).await;
        }
    }

    /// Refuses the next call when the day's quota is used up to the share kept free for others.
    fn check_quota(&self) -> Result<(), SyncError> {
        let stats = &self.inner.stats;
        let (used, limit) = (stats.quota_used.load(Relaxed), stats.quota_limit.load(Relaxed));
        let reserve = self.inner.account.policy.quota_reserve;
        if limit <= 0 || used < 0 || (used as f64) <= (limit as f64) * (1.0 - reserve) {
            return Ok(());
        }
        let detail = format!("{used} of {limit} calls of the day are used, and {:.0} % are kept free", reserve * 100.0);
        Err(SyncError::RateLimited { until: None, detail })
    }
}

/// `api-usage=18/5000` or `18/5000`, the first of several.
fn parse_usage(text: &str) -> Option<(i64, i64)> {
    let first = text.split([';', ',']).next()?;
    let numbers = first.rsplit('=').next()?;
    let (used, limit) = numbers.split_once('/')?;
    Some((used.trim().parse().ok()?, limit.trim().parse().ok()?))
}

fn with_tries(error: SyncError, spent: u32) -> SyncError {
    match error {
        SyncError::Unavailable { status, detail, .. } => SyncError::Unavailable { status, tries: spent, detail },
        other => other,
    }
}

fn reply(raw: Raw) -> Reply {
    let date_us = date_us(&raw.headers);
    Reply { status: raw.status, headers: raw.headers, body: raw.body, date_us, elapsed: raw.elapsed }
}

/// The error for a call that is not made, because the app told before that it will take none for so long.
fn quiet_for(wait: Duration) -> SyncError {
    let detail = "the app takes no calls until its allowance is renewed".to_string();
    SyncError::RateLimited { until: SystemTime::now().checked_add(wait), detail }
}

/// The app's own clock.
fn app_now(headers: &HeaderMap) -> Option<SystemTime> {
    Some(UNIX_EPOCH + Duration::from_micros(date_us(headers)?.try_into().ok()?))
}

fn date_us(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get(DATE)?.to_str().ok()?;
    Some(chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp_micros())
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("no content type")
}

fn unreadable_with(scrubber: &Scrubber, reply: &Reply, why: &str) -> SyncError {
    let start = reply.body.get(..reply.body.len().min(4096)).unwrap_or_default();
    SyncError::Unreadable {
        content_type: scrubber.clean_to(content_type(&reply.headers), START_CHARS),
        start: scrubber.clean_to(&String::from_utf8_lossy(start), START_CHARS),
        detail: scrubber.clean(why),
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "client_account_tests.rs"]
mod account_tests;
