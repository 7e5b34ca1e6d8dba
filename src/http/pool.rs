//! Keeps one HTTP client and one pace for each server, for the life of the I/O thread.
//!
//! Layer: http. Knows nothing of Postgres.

use super::guard::GuardedResolver;
use super::limit::Limiter;
use super::pace_table::Table;
use super::{Account, Policy, SharedPace};
use crate::error::SyncError;
use crate::manifest::Rate;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Connections and paces, shared by the clones.
#[derive(Clone, Default)]
pub struct ClientPool {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    clients: HashMap<ClientKey, reqwest::Client>,
    limiters: HashMap<LimiterKey, Arc<Limiter>>,
    /// Open once: the locks of a process belong to the open file.
    tables: HashMap<PathBuf, Arc<Table>>,
}

/// What a client is built from; servers with other settings do not share connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ClientKey {
    server: String,
    connect_timeout: Duration,
    read_timeout: Duration,
    allow_private: bool,
    ca_certificate: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct LimiterKey {
    server: String,
    at_once: u32,
    patience: Duration,
    pace: Option<SharedPace>,
    rate: Option<Rate>,
}

/// More servers than this in one backend, and the oldest settings are forgotten with their idle connections.
const KEPT: usize = 64;

impl ClientPool {
    pub fn new() -> Self {
        ClientPool::default()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Only whole entries are added or removed under the lock.
        self.shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The server's HTTP client.
    pub fn client(&self, account: &Account) -> Result<reqwest::Client, SyncError> {
        let policy = &account.policy;
        let key = ClientKey {
            server: account.server.clone(),
            connect_timeout: policy.connect_timeout,
            read_timeout: policy.read_timeout,
            allow_private: policy.allow_private_addresses,
            ca_certificate: policy.ca_certificate.clone(),
        };
        if let Some(known) = self.shared().clients.get(&key) {
            return Ok(known.clone());
        }
        let client = build(policy)?;
        let mut shared = self.shared();
        if shared.clients.len() >= KEPT {
            shared.clients.clear();
        }
        shared.clients.insert(key, client.clone());
        Ok(client)
    }

    /// The server's pace.
    pub fn limiter(&self, account: &Account) -> Arc<Limiter> {
        let policy = &account.policy;
        let key = LimiterKey {
            server: account.server.clone(),
            at_once: policy.max_concurrency,
            patience: policy.patience,
            pace: policy.pace.clone(),
            rate: account.source.rate.clone(),
        };
        let mut shared = self.shared();
        if let Some(known) = shared.limiters.get(&key) {
            return Arc::clone(known);
        }
        if shared.limiters.len() >= KEPT {
            shared.limiters.retain(|_, limiter| Arc::strong_count(limiter) > 1);
        }
        // Without the file we pace alone.
        let table = policy.pace.as_ref().and_then(|pace| Some((shared.table(&pace.file)?, pace.account.as_str())));
        let limiter = Arc::new(Limiter::new(policy, account.source.rate.as_ref(), table));
        shared.limiters.insert(key, Arc::clone(&limiter));
        limiter
    }
}

impl Shared {
    fn table(&mut self, path: &Path) -> Option<Arc<Table>> {
        if let Some(known) = self.tables.get(path) {
            return Some(Arc::clone(known));
        }
        let table = Table::open(path).ok()?;
        self.tables.insert(path.to_path_buf(), Arc::clone(&table));
        Some(table)
    }
}

fn build(policy: &Policy) -> Result<reqwest::Client, SyncError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("cloudsync/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .referer(false)
        .redirect(reqwest::redirect::Policy::none())
        .https_only(!policy.allow_private_addresses)
        .min_tls_version(reqwest::tls::Version::TLS_1_2)
        .dns_resolver(Arc::new(GuardedResolver { allow_private: policy.allow_private_addresses }))
        .gzip(true)
        .connect_timeout(policy.connect_timeout)
        .read_timeout(policy.read_timeout)
        .tcp_keepalive(Duration::from_secs(60))
        .pool_idle_timeout(Duration::from_secs(50))
        .pool_max_idle_per_host(8);
    if let Some(pem) = &policy.ca_certificate {
        let refuse = |detail: &str| SyncError::BadSetting { option: "ca_certificate".into(), detail: detail.into() };
        let roots = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(|_| refuse("not in PEM form"))?;
        if roots.is_empty() {
            return Err(refuse("no certificate in it"));
        }
        for root in roots {
            builder = builder.add_root_certificate(root);
        }
    }
    builder.build().map_err(|e| SyncError::internal(format!("no HTTP client: {}", e.without_url())))
}
