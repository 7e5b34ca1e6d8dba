//! Who refreshes what: a server, its credentials, and one question at a time to its app.

use super::state;
use crate::catalog::{self, Mapping, Server};
use crate::error::SyncError;
use crate::extract::sink::Event;
use crate::extract::{self, ReadEnd, ReadRequest};
use crate::http::{AccessToken, Account, ApiClient, Proof, Stats, Told};
use crate::io::{Reading, READ_AHEAD_BYTES};
use crate::report::{fail, Report};
use crate::worker;
use futures_util::future::LocalBoxFuture;
use pgrx::prelude::*;
use pgrx::PgSqlErrorCode as Code;
use std::cell::RefCell;
use std::sync::{Arc, Mutex};

/// A server and who refreshes it.
pub struct Context {
    pub server: Server,
    pub user: pg_sys::Oid,
    pub mapping: Mapping,
    /// What the calls so far say of the credentials with this fingerprint.
    proof: RefCell<(i64, Proof)>,
    /// What calls have told so far.
    told: Told,
}

impl Context {
    /// Looks everything up, and refuses who may not.
    pub fn of(server: &str) -> Result<Self, Report> {
        // SAFETY: reads a session variable.
        let user = unsafe { pg_sys::GetUserId() };
        let server = catalog::server(server)?;
        catalog::check_usage(&server, user)?;
        let mapping = catalog::mapping(&server, user)?;
        let proof = RefCell::new((mapping.fingerprint(), Proof::default()));
        Ok(Context { server, user, mapping, proof, told: Told::default() })
    }

    /// The account with the stored access token, if one still holds. Sees credentials changed since.
    pub fn account(&self) -> Result<Account, Report> {
        let mapping = catalog::mapping(&self.server, self.user)?;
        let uses_tokens = self.server.source.auth.may_use_tokens();
        let token = if uses_tokens { state::load_token(&self.server, &mapping)? } else { None };
        let mut account = catalog::account(&self.server, &mapping, token);
        let fingerprint = mapping.fingerprint();
        let mut known = self.proof.borrow_mut();
        if known.0 != fingerprint {
            *known = (fingerprint, Proof::default());
        }
        account.proof = known.1.clone();
        account.told = self.told.clone();
        Ok(account)
    }
}

/// Refuses to begin where a refresh could not be stored: no call is made then.
pub fn check_writable() -> Result<(), Report> {
    // SAFETY: reads session state.
    let (recovering, read_only, upgrading) =
        unsafe { (pg_sys::RecoveryInProgress(), pg_sys::XactReadOnly, pg_sys::IsBinaryUpgrade) };
    let why = if recovering {
        "This server is a standby."
    } else if read_only {
        "The transaction is read-only."
    } else if upgrading {
        "The cluster is being upgraded."
    } else {
        return Ok(());
    };
    Err(fail(
        Code::ERRCODE_READ_ONLY_SQL_TRANSACTION, // 25006
        "cannot refresh in a read-only transaction",
        why,
        "Refresh on the primary, in a transaction that may write.",
    ))
}

/// Takes a reader's events until it ends, serving its wish for tokens.
pub fn pump(reading: &Reading, server: &Server, user: pg_sys::Oid) -> Result<(), SyncError> {
    loop {
        match reading.next()? {
            Event::NeedToken { stale, reply } => {
                let _ = reply.send(renew(server, user, stale));
            }
            Event::End(result) => return result.map(|_| ()),
            Event::Page(_) => {}
        }
    }
}

/// Renews an access token in a worker; see [`worker::renew_token`].
pub fn renew(server: &Server, user: pg_sys::Oid, stale: Option<AccessToken>) -> Result<AccessToken, SyncError> {
    worker::renew_token(server, user, stale.as_ref())
}

/// Does one thing at the app and waits for its result.
pub fn ask<T, F>(context: &Context, stats: &Arc<Stats>, work: F) -> Result<T, SyncError>
where
    T: Send + 'static,
    F: FnOnce(ApiClient) -> LocalBoxFuture<'static, Result<T, SyncError>> + Send + 'static,
{
    let account = context.account().map_err(|report| SyncError::internal(report.message))?;
    let slot: Arc<Mutex<Option<T>>> = Arc::default();
    let filled = slot.clone();
    let stats = stats.clone();
    let reading = Reading::start(READ_AHEAD_BYTES, move |pool, sink| {
        Box::pin(async move {
            let api = ApiClient::new(account, stats, Arc::new(sink), &pool)?;
            let value = work(api).await?;
            if let Ok(mut slot) = filled.lock() {
                *slot = Some(value);
            }
            Ok(ReadEnd::default())
        })
    })?;
    pump(&reading, &context.server, context.user)?;
    let value = slot.lock().ok().and_then(|mut slot| slot.take());
    value.ok_or_else(|| SyncError::internal("the reader gave nothing"))
}

/// Starts the reader of a request; see [`Reading::start`].
pub fn start(
    account: Account,
    stats: Arc<Stats>,
    request: ReadRequest,
    read_ahead_bytes: usize,
) -> Result<Reading, SyncError> {
    Reading::start(read_ahead_bytes, move |pool, sink| {
        Box::pin(async move {
            let api = ApiClient::new(account, stats, Arc::new(sink.clone()), &pool)?;
            extract::read(&api, request, &sink).await
        })
    })
}
