//! Makes the calls: address, credentials, limits, waits and tries.
//!
//! Layer: http. Knows nothing of Postgres.

use super::{AccessToken, Account, Reply, Request, Stats, TokenSource};
use crate::error::SyncError;
use std::sync::{Arc, Mutex};

/// HTTP clients and limits, one for each server, kept for the life of the I/O thread.
#[derive(Clone, Default)]
pub struct ClientPool {}

impl ClientPool {
    pub fn new() -> Self {
        ClientPool {}
    }
}

/// The way out for one read of one account. Clones share the access token.
#[derive(Clone)]
pub struct ApiClient {
    inner: Arc<Inner>,
}

struct Inner {
    account: Account,
    stats: Arc<Stats>,
    _tokens: Arc<dyn TokenSource>,
    token: Mutex<Option<AccessToken>>,
}

impl ApiClient {
    pub fn new(
        account: Account,
        stats: Arc<Stats>,
        tokens: Arc<dyn TokenSource>,
        _pool: &ClientPool,
    ) -> Result<Self, SyncError> {
        let token = Mutex::new(account.token.clone());
        Ok(ApiClient { inner: Arc::new(Inner { account, stats, _tokens: tokens, token }) })
    }

    /// Makes one call, with its tries, and gives the complete reply.
    pub async fn call(&self, request: Request) -> Result<Reply, SyncError> {
        self.call_parsed(request, |reply| Ok(reply.clone())).await
    }

    /// The same, with the reading of the reply as part of the call: a reply that `parse` refuses counts as failed
    /// and is asked for again. `parse` says in plain words why.
    pub async fn call_parsed<T: Send>(
        &self,
        _request: Request,
        _parse: impl Fn(&Reply) -> Result<T, String> + Send + Sync,
    ) -> Result<T, SyncError> {
        Err(SyncError::internal("calls are not made yet"))
    }

    pub fn account(&self) -> &Account {
        &self.inner.account
    }

    pub fn stats(&self) -> &Stats {
        &self.inner.stats
    }

    /// The address that paths are relative to.
    pub fn base_url(&self) -> Result<String, SyncError> {
        let _ = &self.inner.token;
        Err(SyncError::internal("calls are not made yet"))
    }
}

/// The request as EXPLAIN shows it: method, path and parameters, no host and no credential.
pub fn shown_request(_account: &Account, request: &Request) -> String {
    request.target.clone()
}

/// The error for a reply with a success status that cannot be used; `why` in plain words.
pub fn unreadable(_account: &Account, _reply: &Reply, why: &str) -> SyncError {
    SyncError::Unreadable { content_type: String::new(), start: String::new(), detail: why.to_string() }
}
