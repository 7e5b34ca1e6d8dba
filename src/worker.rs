//! Commits what must outlive the caller's transaction: a renewed token, a rotated refresh token, a failure, a stop.
//!
//! A short-lived background worker does it in a transaction of its own. For tokens it makes the exchange itself, so that a
//! caller who is cancelled or killed in the middle cannot lose a refresh token that the app has already rotated. Request
//! and answer travel through a piece of dynamic shared memory.

use crate::catalog::{self, Mapping, Server};
use crate::error::SyncError;
use crate::http::{oauth, AccessToken, Stats};
use crate::io::{Reading, READ_AHEAD_BYTES};
use crate::refresh::state::{self, Outcome, Stop};
use crate::refresh::{context::pump, lock};
use crate::report::{fail, Report};
use crate::secret::Secret;
use crate::sources;
use pgrx::bgworkers::BackgroundWorker;
use pgrx::prelude::*;
use pgrx::PgSqlErrorCode as Code;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Room for a request and its answer, in bytes; a longer request gets what it needs. An answer is short.
const ROOM: usize = 256 << 10;

/// What the worker is asked to do.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// Renew the access token of a mapping unless another session just did. Server and mapping come along as the caller sees
    /// them: they may be new in its transaction.
    Token {
        server: String,
        options: BTreeMap<String, String>,
        /// Of a user's own source.
        definition: Option<String>,
        mapping_user: String,
        credentials: BTreeMap<String, String>,
        /// The caller's transaction made or changed the mapping: nobody else's view of it counts.
        is_uncommitted: bool,
        user: u32,
        stale: Option<u64>,
    },
    /// Keep the record of a run, and a stop of the server.
    Record { outcomes: Vec<Outcome>, stop: Option<Stop> },
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Done,
    Token { token: String, base_url: Option<String>, expires_at: i64 },
    Refused { status: u16, detail: String },
    Connect { host: String, detail: String },
    Unavailable { status: u16, tries: u32, detail: String },
    Missing { option: String },
    Failed { detail: String },
}

/// Renews the access token of a server for a role. The caller's transaction may end in any way: what was exchanged stays.
pub fn renew_token(server: &Server, user: pg_sys::Oid, stale: Option<&AccessToken>) -> Result<AccessToken, SyncError> {
    let mapping = catalog::mapping(server, user).map_err(|report| SyncError::internal(report.message))?;
    let credentials = mapping.credentials.iter().map(|(name, value)| (name.clone(), value.expose().to_string()));
    let request = Request::Token {
        server: server.name.clone(),
        options: server.options.clone(),
        definition: sources::definition(&server.source.source).map_err(|report| SyncError::internal(report.message))?,
        mapping_user: mapping.user.clone(),
        credentials: credentials.collect(),
        is_uncommitted: catalog::mapping_is_uncommitted(server, &mapping)
            .map_err(|report| SyncError::internal(report.message))?,
        user: user.to_u32(),
        stale: stale.map(|token| token.token.fingerprint()),
    };
    match ask(&request)? {
        Answer::Token { token, base_url, expires_at } => {
            Ok(AccessToken { token: Secret::new(token), base_url, expires_at, new_refresh_token: None })
        }
        Answer::Refused { status, detail } => Err(SyncError::AuthRejected { status, detail }),
        Answer::Connect { host, detail } => Err(SyncError::Connect { host, detail }),
        Answer::Unavailable { status, tries, detail } => Err(SyncError::Unavailable { status, tries, detail }),
        Answer::Missing { option } => Err(SyncError::Missing { place: "user mapping", option }),
        Answer::Failed { detail } => Err(SyncError::Internal { detail }),
        Answer::Done => Err(SyncError::internal("the worker gave no token")),
    }
}

/// Keeps the record of failed runs whatever becomes of the caller's transaction.
pub fn record(outcomes: Vec<Outcome>, stop: Option<Stop>) -> Result<(), SyncError> {
    match ask(&Request::Record { outcomes, stop })? {
        Answer::Failed { detail } => Err(SyncError::Internal { detail }),
        _ => Ok(()),
    }
}

/// Starts a worker with a request and waits for its answer; Postgres's interrupts are honoured while waiting.
fn ask(request: &Request) -> Result<Answer, SyncError> {
    let text = serde_json::to_vec(request).map_err(|e| SyncError::internal(e.to_string()))?;
    let room = ROOM.max(text.len() + 8);
    // SAFETY: the segment is mapped for `room` bytes until it is detached; the worker writes to it only before it ends, and
    // it is read only after that.
    unsafe {
        let segment = pg_sys::dsm_create(room, 0);
        let memory = pg_sys::dsm_segment_address(segment).cast::<u8>();
        put(memory, &text);
        let mut worker: pg_sys::BackgroundWorker = std::mem::zeroed();
        copy_name(&mut worker.bgw_name, "cloudsync record keeper");
        copy_name(&mut worker.bgw_type, "cloudsync record keeper");
        copy_name(&mut worker.bgw_library_name, "cloudsync");
        copy_name(&mut worker.bgw_function_name, "cloudsync_worker_main");
        worker.bgw_flags =
            (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as std::ffi::c_int;
        worker.bgw_start_time = pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished;
        worker.bgw_restart_time = pg_sys::BGW_NEVER_RESTART;
        worker.bgw_main_arg = pg_sys::Datum::from(pg_sys::dsm_segment_handle(segment) as i64);
        worker.bgw_notify_pid = pg_sys::MyProcPid;
        let database = pg_sys::MyDatabaseId.to_u32().to_ne_bytes();
        for (place, byte) in worker.bgw_extra.iter_mut().zip(database) {
            *place = byte as std::ffi::c_char;
        }
        let mut handle: *mut pg_sys::BackgroundWorkerHandle = std::ptr::null_mut();
        if !pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle) {
            pg_sys::dsm_detach(segment);
            return Err(SyncError::NoWorker);
        }
        pg_sys::WaitForBackgroundWorkerShutdown(handle);
        let answer = get(memory, room);
        let answer = serde_json::from_slice::<Answer>(&answer)
            .map_err(|_| SyncError::internal("the record keeper ended without an answer; see the server log"));
        pg_sys::dsm_detach(segment);
        answer
    }
}

/// Writes a length and bytes.
///
/// # Safety
/// `memory` must have room for `bytes` and 8 more.
unsafe fn put(memory: *mut u8, bytes: &[u8]) {
    let length = (bytes.len() as u64).to_ne_bytes();
    std::ptr::copy_nonoverlapping(length.as_ptr(), memory, 8);
    std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory.add(8), bytes.len());
}

/// Reads what [`put`] wrote.
///
/// # Safety
/// `memory` must have `room` bytes, 8 at least.
unsafe fn get(memory: *const u8, room: usize) -> Vec<u8> {
    let mut length = [0u8; 8];
    std::ptr::copy_nonoverlapping(memory, length.as_mut_ptr(), 8);
    let length = (u64::from_ne_bytes(length) as usize).min(room - 8);
    std::slice::from_raw_parts(memory.add(8), length).to_vec()
}

fn copy_name(place: &mut [std::ffi::c_char], name: &str) {
    for (to, from) in place.iter_mut().zip(name.bytes().chain(std::iter::once(0))) {
        *to = from as std::ffi::c_char;
    }
}

/// Life of the worker.
///
/// # Safety
/// Called by Postgres only, in a process of its own.
#[pg_guard]
#[no_mangle]
pub unsafe extern "C-unwind" fn cloudsync_worker_main(arg: pg_sys::Datum) {
    // The caller may be cancelled; what it asked for is done all the same, so only SIGTERM ends this worker.
    BackgroundWorker::attach_signal_handlers(pgrx::bgworkers::SignalWakeFlags::SIGTERM);
    pg_sys::CurrentResourceOwner =
        pg_sys::ResourceOwnerCreate(std::ptr::null_mut(), c"cloudsync record keeper".as_ptr());
    let segment = pg_sys::dsm_attach(arg.value() as pg_sys::dsm_handle);
    if segment.is_null() {
        return;
    }
    let memory = pg_sys::dsm_segment_address(segment).cast::<u8>();
    pg_sys::dsm_pin_mapping(segment);
    let request = serde_json::from_slice::<Request>(&get(memory, pg_sys::dsm_segment_map_length(segment)));
    put(memory, b"");
    let mut database = [0u8; 4];
    for (to, from) in database.iter_mut().zip((*pg_sys::MyBgworkerEntry).bgw_extra) {
        *to = from as u8;
    }
    let database = pg_sys::Oid::from_u32(u32::from_ne_bytes(database));
    pg_sys::BackgroundWorkerInitializeConnectionByOid(database, pg_sys::InvalidOid, 0);
    let answer = match request {
        Err(e) => Answer::Failed { detail: e.to_string() },
        Ok(request) => BackgroundWorker::transaction(std::panic::AssertUnwindSafe(|| {
            serve(&request).unwrap_or_else(|report| Answer::Failed { detail: report.message })
        })),
    };
    // Only after the commit above.
    put(memory, &serde_json::to_vec(&answer).unwrap_or_default());
}

fn serve(request: &Request) -> Result<Answer, Report> {
    match request {
        Request::Record { outcomes, stop } => {
            for outcome in outcomes {
                state::log_run(outcome)?;
            }
            if let Some(stop) = stop {
                state::save_stop(stop)?;
            }
            Ok(Answer::Done)
        }
        Request::Token { server, options, definition, mapping_user, credentials, is_uncommitted, user, stale } => {
            let user = pg_sys::Oid::from_u32(*user);
            let given = Mapping {
                user: mapping_user.clone(),
                credentials: credentials
                    .iter()
                    .map(|(name, value)| (name.clone(), Secret::new(value.as_str())))
                    .collect(),
            };
            lock::wait_for_token_lock(server, mapping_user)?;
            // SAFETY: makes what other sessions committed while we waited visible.
            unsafe { pg_sys::AcceptInvalidationMessages() };
            // Another session may have rotated the refresh token meanwhile: the committed mapping is the newer one.
            let committed = catalog::find_server(server)?.and_then(|s| catalog::mapping(&s, user).ok());
            let mapping = committed.filter(|_| !is_uncommitted).unwrap_or(given);
            let name = options.get("source").map_or("", String::as_str);
            let source = match definition {
                Some(text) => sources::read(name, text)?,
                None => sources::source(name)?,
            };
            let server = Server { oid: pg_sys::InvalidOid, name: server.clone(), options: options.clone(), source };
            if let Some(token) = state::load_token(&server, &mapping)? {
                if *stale != Some(token.token.fingerprint()) {
                    return Ok(answer_of(token));
                }
            }
            exchange(&server, user, mapping)
        }
    }
}

fn answer_of(token: AccessToken) -> Answer {
    Answer::Token { token: token.token.expose().to_string(), base_url: token.base_url, expires_at: token.expires_at }
}

/// Asks the token endpoint, and stores what it gives.
fn exchange(server: &Server, user: pg_sys::Oid, mapping: Mapping) -> Result<Answer, Report> {
    let mut with_successor = mapping.clone();
    if let Some(successor) = state::load_successor(server, &mapping)? {
        with_successor.credentials.insert("refresh_token".into(), successor);
    }
    let account = catalog::account(server, &with_successor, None);
    let slot: Arc<Mutex<Option<AccessToken>>> = Arc::default();
    let filled = slot.clone();
    let reading = Reading::start(READ_AHEAD_BYTES, move |pool, _sink| {
        Box::pin(async move {
            let token = oauth::exchange(&account, &pool, &Stats::default()).await?;
            if let Ok(mut slot) = filled.lock() {
                *slot = Some(token);
            }
            Ok(Default::default())
        })
    });
    let ended = reading.and_then(|reading| pump(&reading, server, user));
    let token = match ended {
        Ok(()) => slot.lock().ok().and_then(|mut slot| slot.take()),
        Err(SyncError::AuthRejected { status, detail }) => {
            state::save_stop(&Stop {
                server: server.name.clone(),
                refused: Some(mapping.fingerprint()),
                deferred_until: None,
                message: detail.clone(),
            })?;
            return Ok(Answer::Refused { status, detail });
        }
        Err(SyncError::Connect { host, detail }) => return Ok(Answer::Connect { host, detail }),
        Err(SyncError::Unavailable { status, tries, detail }) => {
            return Ok(Answer::Unavailable { status, tries, detail })
        }
        Err(SyncError::Missing { option, .. }) => return Ok(Answer::Missing { option }),
        Err(other) => return Ok(Answer::Failed { detail: other.to_string() }),
    };
    let Some(token) = token else {
        return Err(fail(Code::ERRCODE_INTERNAL_ERROR, "the token exchange gave nothing", "", ""));
    };
    let mut mapping = mapping;
    let mut successor = None;
    if let Some(rotated) = &token.new_refresh_token {
        match catalog::find_server(&server.name)?.and_then(|s| catalog::mapping(&s, user).ok().map(|m| (s, m))) {
            Some((committed, present)) if present.fingerprint() == mapping.fingerprint() => {
                catalog::set_credential(&committed, &present, "refresh_token", rotated)?;
                mapping.credentials.insert("refresh_token".into(), rotated.clone());
            }
            // The mapping is not committed yet: the successor is kept beside it, found by what it replaces.
            _ => successor = Some(rotated),
        }
    }
    state::save_token(server, &mapping, &token, successor)?;
    Ok(answer_of(token))
}
