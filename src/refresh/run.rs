//! Runs a refresh: prepares the tables, starts the readers, writes what they give, and says how it went.
//!
//! Both forms share this file: `cloudsync_refresh` does everything in the caller's transaction; `cloudsync_sync` commits
//! after each batch, so that an interruption of any kind costs at most one batch.

use super::lock::{self, Lock};
use super::state::{self, Outcome, State, Stop};
use super::tables::{self, LocalTable};
use super::write::{Counts, Writer};
use super::{reconcile, subtransaction};
use crate::catalog::{self, Mapping, Server};
use crate::error::{Reach, SyncError};
use crate::extract::sink::Event;
use crate::extract::{group::group, rest, salesforce, Described, Mode, Output, ReadEnd, ReadRequest};
use crate::http::{AccessToken, Account, ApiClient, Stats};
use crate::io::{self, Reading};
use crate::manifest::{Auth, Collection, Deletes, Protocol};
use crate::options::{self, SchemaChanges};
use crate::report::{self, fail, Report, Subject};
use crate::worker;
use futures_util::future::LocalBoxFuture;
use pgrx::prelude::*;
use pgrx::PgSqlErrorCode as Code;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// The app is asked to describe a collection again after this long.
const DESCRIBE_AGAIN: f64 = 86_400.0;
/// Between two lines of progress of one collection.
const PROGRESS: Duration = Duration::from_secs(5);
/// Without a time from the app, a spent daily quota is tried again after this long.
const QUOTA_PAUSE: Duration = Duration::from_secs(3600);

/// What a run is asked to do.
pub struct Order<'a> {
    pub server: &'a str,
    /// `None` for all selected collections.
    pub collections: Option<Vec<String>>,
    /// Commit after each batch (the procedure form).
    pub committing: bool,
    /// Read everything and mark what is not there any more.
    pub reconcile: bool,
}

/// A server and who refreshes it.
pub struct Context {
    pub server: Server,
    pub user: pg_sys::Oid,
    pub mapping: Mapping,
}

impl Context {
    /// Looks everything up, and refuses who may not.
    pub fn of(server: &str) -> Result<Self, Report> {
        // SAFETY: reads a session variable.
        let user = unsafe { pg_sys::GetUserId() };
        let server = catalog::server(server)?;
        catalog::check_usage(&server, user)?;
        let mapping = catalog::mapping(&server, user)?;
        Ok(Context { server, user, mapping })
    }

    /// The account with the stored access token, if one still holds. Sees credentials changed since.
    pub fn account(&self) -> Result<Account, Report> {
        let mapping = catalog::mapping(&self.server, self.user)?;
        let token = match self.server.source.auth {
            Auth::Oauth2 { .. } => state::load_token(&self.server, &mapping)?,
            _ => None,
        };
        Ok(catalog::account(&self.server, &mapping, token))
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
    let reading = Reading::start(false, move |pool, sink| {
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

/// Starts the reader of a request.
pub fn start(account: Account, stats: Arc<Stats>, request: ReadRequest, lazy: bool) -> Result<Reading, SyncError> {
    Reading::start(lazy, move |pool, sink| {
        Box::pin(async move {
            let protocol = account.source.protocol;
            let api = ApiClient::new(account, stats, Arc::new(sink.clone()), &pool)?;
            match protocol {
                Protocol::Rest => rest::read(&api, request, &sink).await,
                Protocol::Salesforce => salesforce::read(&api, request, &sink).await,
            }
        })
    })
}

/// One collection on its way through a run.
struct Job {
    collection: Arc<Collection>,
    local: LocalTable,
    output: Output,
    writer: Writer,
    position: Option<Value>,
    mode: &'static str,
    counts: Counts,
    /// Counts since they were last saved.
    unsaved: Counts,
    notes: Vec<String>,
    started: Instant,
    started_us: i64,
    calls: i64,
    bytes: i64,
    pages: i64,
    described_again: bool,
    told: Instant,
    /// Everything is read for its keys, leaving the checkpoint alone.
    keys_only: bool,
    seen: Option<reconcile::Seen>,
    ended: Option<Ended>,
    _lock: Lock,
}

/// How a job ended.
enum Ended {
    Well,
    Badly(Report, &'static str),
}

/// A reader at work and the jobs it fills.
struct Stream {
    reading: Reading,
    jobs: Vec<usize>,
    stats: Arc<Stats>,
    done: bool,
}

/// Everything of one run.
struct Run {
    context: Context,
    committing: bool,
    jobs: Vec<Job>,
    outcomes: Vec<Outcome>,
    stop: Option<Stop>,
    /// Why the whole server was stopped.
    stopped_by: Option<SyncError>,
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64)
}

/// Runs an order; gives one outcome a collection. Errors are wrong arguments and missing rights only.
pub fn run(order: Order<'_>) -> Result<Vec<Outcome>, Report> {
    check_writable()?;
    let context = Context::of(order.server)?;
    let live = catalog::foreign_tables(&context.server)?;
    let names: Vec<String> = match &order.collections {
        Some(names) => names.clone(),
        None if live.is_empty() => context.server.source.collections.iter().map(|c| c.name.clone()).collect(),
        None => live.keys().cloned().collect(),
    };
    let mut wanted = Vec::new();
    for name in names {
        let object = match live.get(&name) {
            Some(table) => catalog::foreign_table(*table)?.object,
            None => None,
        };
        let collection = catalog::collection(&context.server, &name, object.as_deref())?;
        let table = live.get(&collection.name).copied();
        wanted.push((collection, table));
    }
    let mut run = Run {
        context,
        committing: order.committing,
        jobs: Vec::new(),
        outcomes: Vec::new(),
        stop: None,
        stopped_by: None,
    };
    if let Some(stop) = state::stop_in_force(&run.context.server, &run.context.mapping)? {
        for (collection, _) in wanted {
            let status = if matches!(stop, SyncError::RateLimited { .. }) { "deferred" } else { "failed" };
            run.without_job(&collection.name, &stop, status);
        }
        return Ok(run.outcomes);
    }
    for (collection, table) in wanted {
        run.prepare(collection, table, order.reconcile)?;
    }
    run.commit()?;
    run.read()?;
    run.finish()
}

impl Run {
    fn subject<'a>(&'a self, collection: &'a str) -> Subject<'a> {
        Subject { server: &self.context.server.name, collection: Some(collection) }
    }

    /// Ends the transaction and begins the next (procedure form).
    fn commit(&self) -> Result<(), Report> {
        if self.committing {
            // SAFETY: the procedure's own SPI connection is the innermost and allows it; no pointer into Postgres's
            // memory is kept across.
            unsafe { pg_sys::SPI_commit() };
        }
        Ok(())
    }

    /// The outcome of a collection that no reader was started for.
    fn without_job(&mut self, collection: &str, error: &SyncError, status: &str) {
        let report = report::report(&self.subject(collection), error);
        self.without_job_report(collection, report, status);
    }

    fn without_job_report(&mut self, collection: &str, report: Report, status: &str) {
        self.outcomes.push(Outcome {
            server: self.context.server.name.clone(),
            collection: collection.to_string(),
            status: status.to_string(),
            started_us: now_us(),
            sqlstate: Some(report.sqlstate()),
            message: Some(report.with_detail()),
            hint: Some(report.hint).filter(|hint| !hint.is_empty()),
            ..Outcome::default()
        });
    }

    /// Locks a collection and gets its tables ready; what cannot be is an outcome, not an error.
    fn prepare(
        &mut self,
        collection: Arc<Collection>,
        table: Option<pg_sys::Oid>,
        reconcile: bool,
    ) -> Result<(), Report> {
        let name = collection.name.clone();
        if let Some(reason) = &collection.unsupported {
            let reason = reason.clone();
            self.without_job(&name, &SyncError::Unsupported { reason }, "skipped");
            return Ok(());
        }
        if let Some(stopped) = self.stopped_by.clone() {
            self.without_job(&name, &stopped, if is_deferral(&stopped) { "deferred" } else { "skipped" });
            return Ok(());
        }
        let Some(lock) = lock::collection(&self.context.server.name, &name, self.committing) else {
            let report = fail(
                Code::ERRCODE_OBJECT_IN_USE, // 55006
                format!("{}.{name}: another session is refreshing it", self.context.server.name),
                "",
                "Wait for it; nothing has to be done.",
            );
            self.without_job_report(&name, report, "skipped");
            return Ok(());
        };
        let stats = Arc::new(Stats::default());
        let (started, started_us) = (Instant::now(), now_us());
        let state = state::load(&self.context.server.name, &name)?;
        let described = match self.described(&collection, &state, &stats, false) {
            Ok(described) => described,
            Err(error) => {
                let status = match &error {
                    SyncError::Unsupported { .. } => "skipped",
                    other if is_deferral(other) => "deferred",
                    _ => "failed",
                };
                self.without_job(&name, &error, status);
                if let Some(outcome) = self.outcomes.last_mut() {
                    outcome.calls = stats.calls.load(Ordering::Relaxed) as i64;
                    outcome.started_us = started_us;
                    outcome.elapsed_us = started.elapsed().as_micros() as i64;
                }
                self.stop_server(&error);
                return Ok(());
            }
        };
        let tables = subtransaction::guarded(|| self.tables(&collection, table, &described, &state));
        let (local, mut output, writer, notes) = match tables {
            Ok(ready) => ready,
            Err(mut report) => {
                report.message = format!("{}.{name}: {}", self.context.server.name, report.message);
                self.without_job_report(&name, report, "failed");
                return Ok(());
            }
        };
        // A table that was dropped or emptied begins anew: its checkpoint accounts for rows that are gone.
        let emptied = local.is_empty && state.rows_stored > 0;
        let (checkpoint, position) =
            if reconcile || emptied { (None, None) } else { (state.checkpoint, state.position) };
        output.checkpoint = checkpoint;
        let mode = match (&output.checkpoint, &position) {
            (Some(_), _) => "incremental",
            (None, Some(_)) => "resumed",
            (None, None) => "full",
        };
        // A full listing over rows that are already there also shows which of them are gone, where the app deletes at all.
        let begins = mode == "full" && !local.is_empty && !matches!(collection.deletes, Deletes::None);
        let goes_on = mode == "resumed" && state.marks_missing;
        let seen = if reconcile || begins || goes_on {
            Some(reconcile::Seen::begin(&self.context.server.name, &name, !goes_on)?)
        } else {
            None
        };
        if mode == "full" && !reconcile {
            state::save_begin(&self.context.server.name, &name, begins, local.is_empty)?;
        }
        if self.committing {
            state::save_running(&self.context.server.name, &name)?;
        }
        self.jobs.push(Job {
            collection,
            local,
            output,
            writer,
            position,
            mode,
            counts: Counts::default(),
            unsaved: Counts::default(),
            notes,
            started,
            started_us,
            calls: stats.calls.load(Ordering::Relaxed) as i64,
            bytes: stats.bytes.load(Ordering::Relaxed) as i64,
            pages: 0,
            described_again: false,
            told: started,
            keys_only: reconcile,
            seen,
            ended: None,
            _lock: lock,
        });
        Ok(())
    }

    /// The app's own description of a collection, from memory while it is young enough.
    fn described(
        &self,
        collection: &Collection,
        state: &State,
        stats: &Arc<Stats>,
        refused: bool,
    ) -> Result<Option<Described>, SyncError> {
        if self.context.server.source.protocol != Protocol::Salesforce {
            return Ok(None);
        }
        if let (Some(known), Some(age), false) = (&state.described, state.described_age, refused) {
            if age < DESCRIBE_AGAIN {
                return Ok(Some(known.clone()));
            }
        }
        let object = collection.object.clone();
        let since = state.described.as_ref().and_then(|d| d.last_modified.clone()).filter(|_| !refused);
        let answer = ask(&self.context, stats, move |api| {
            Box::pin(async move { salesforce::describe(&api, &object, since.as_deref()).await })
        })?;
        let described = match (answer, &state.described) {
            (Some(new), _) => new,
            (None, Some(known)) => known.clone(),
            (None, None) => return Err(SyncError::internal("unchanged since never")),
        };
        Ok(Some(described))
    }

    /// The tables of a collection, brought up to what the app describes.
    #[allow(clippy::type_complexity)]
    fn tables(
        &self,
        collection: &Arc<Collection>,
        table: Option<pg_sys::Oid>,
        described: &Option<Described>,
        state: &State,
    ) -> Result<(LocalTable, Output, Writer, Vec<String>), Report> {
        let server = &self.context.server;
        let mut notes = Vec::new();
        let mut live = tables::ensure_live(server, collection, described.as_ref(), table)?;
        if let Some(now) = described {
            if let Some(before) = state.described.as_ref().filter(|before| *before != now) {
                self.follow_schema(&mut live, before, now, &mut notes)?;
            }
            if state.described.as_ref() != Some(now) || state.described_age.is_none_or(|age| age >= DESCRIBE_AGAIN) {
                state::save_described(&server.name, &collection.name, now)?;
            }
        }
        let local = tables::ensure_local(server, collection, &live)?;
        let described = described.clone().map(Arc::new);
        let output = tables::output(collection.clone(), described, &live, &local)?;
        let writer = Writer::new(&local, &output)?;
        Ok((local, output, writer, notes))
    }

    fn follow_schema(
        &self,
        live: &mut catalog::ForeignTable,
        before: &Described,
        now: &Described,
        notes: &mut Vec<String>,
    ) -> Result<(), Report> {
        match options::schema_changes(&self.context.server.options) {
            SchemaChanges::Extra => {}
            SchemaChanges::Add => {
                let added = tables::add_described(live, before, now)?;
                if !added.is_empty() {
                    notes.push(format!("new columns: {}; older rows fill as they change", added.join(", ")));
                    *live = catalog::foreign_table(live.oid)?;
                }
            }
            SchemaChanges::Fail => {
                let fresh: Vec<&str> = now
                    .columns
                    .iter()
                    .filter(|c| !c.off && !before.columns.iter().any(|old| old.field == c.field))
                    .map(|c| c.name.as_str())
                    .collect();
                if !fresh.is_empty() {
                    return Err(fail(
                        Code::ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION, // HV021
                        format!("{}.{}: the app has new fields", self.context.server.name, live.collection),
                        format!("They are: {}.", fresh.join(", ")),
                        "Set the server's option schema_changes to 'add' or 'extra', or add the columns.",
                    ));
                }
            }
        }
        let gone = tables::drop_undescribed(live, before, now)?;
        if !gone.is_empty() {
            notes.push(format!("fields gone at the app, columns kept as they are: {}", gone.join(", ")));
            *live = catalog::foreign_table(live.oid)?;
        }
        Ok(())
    }

    /// Reads everything the jobs need, several streams at once.
    fn read(&mut self) -> Result<(), Report> {
        let mut waiting: VecDeque<(Vec<usize>, ReadRequest)> = self.requests((0..self.jobs.len()).collect());
        let mut streams: Vec<Stream> = Vec::new();
        let most = options::policy(&self.context.server.options, true).max_concurrency.max(1) as usize;
        loop {
            while self.stopped_by.is_none() && streams.len() < most {
                let Some((jobs, request)) = waiting.pop_front() else { break };
                let stats = Arc::new(Stats::default());
                let account = self.context.account()?;
                match start(account, stats.clone(), request, false) {
                    Ok(reading) => streams.push(Stream { reading, jobs, stats, done: false }),
                    Err(error) => self.end_badly(&jobs, &error)?,
                }
            }
            if self.stopped_by.is_some() {
                let error = self.stopped_by.clone().unwrap_or_else(|| SyncError::internal("stopped"));
                for (jobs, _) in waiting.drain(..) {
                    self.end_badly(&jobs, &error)?;
                }
                for stream in streams.drain(..) {
                    if !stream.done {
                        self.account_for(&stream);
                    }
                    self.end_badly(&stream.jobs, &error)?;
                }
            }
            if streams.is_empty() {
                return Ok(());
            }
            let mut idle = true;
            for stream in &mut streams {
                while let Some(event) = stream.reading.take() {
                    idle = false;
                    if let Some(again) = self.take(stream, event)? {
                        waiting.extend(again);
                    }
                    if stream.done || self.stopped_by.is_some() {
                        break;
                    }
                    pgrx::check_for_interrupts!();
                }
            }
            streams.retain(|stream| !stream.done);
            if idle {
                io::wait().map_err(|e| report::report(&self.subject(""), &e))?;
            }
        }
    }

    /// Groups jobs into streams of calls.
    fn requests(&self, jobs: Vec<usize>) -> VecDeque<(Vec<usize>, ReadRequest)> {
        let source = &self.context.server.source;
        let ready: Vec<(usize, &Job)> =
            jobs.into_iter().filter_map(|at| self.jobs.get(at).map(|job| (at, job))).collect();
        if ready.iter().any(|(_, job)| job.keys_only) {
            let keys = |(at, job): &(usize, &Job)| {
                (vec![*at], ReadRequest { outputs: vec![job.output.clone()], mode: Mode::Keys })
            };
            return ready.iter().map(keys).collect();
        }
        let single = |(at, job): &(usize, &Job)| {
            let mode = match &job.output.checkpoint {
                Some(_) => Mode::Incremental,
                None => Mode::Full { resume: job.position.clone() },
            };
            (vec![*at], ReadRequest { outputs: vec![job.output.clone()], mode })
        };
        match source.protocol {
            Protocol::Salesforce => ready.iter().map(single).collect(),
            Protocol::Rest => {
                let outputs = ready.iter().map(|(_, job)| (job.output.clone(), job.position.clone())).collect();
                group(source, outputs)
                    .into_iter()
                    .map(|(indexes, request)| {
                        (indexes.iter().filter_map(|i| ready.get(*i).map(|(at, _)| *at)).collect(), request)
                    })
                    .collect()
            }
        }
    }

    /// Adds a stream's calls to its first job.
    fn account_for(&mut self, stream: &Stream) {
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as i64;
        let first = stream.jobs.first().and_then(|at| self.jobs.get_mut(*at));
        if let Some(job) = first {
            job.calls += load(&stream.stats.calls);
            job.bytes += load(&stream.stats.bytes);
            job.pages += load(&stream.stats.pages);
        }
        let used = stream.stats.quota_used.load(Ordering::Relaxed);
        let limit = stream.stats.quota_limit.load(Ordering::Relaxed);
        if limit > 0 {
            for at in &stream.jobs {
                if let Some(job) = self.jobs.get_mut(*at) {
                    job.notes.push(format!("\u{1}{used}/{limit}"));
                }
            }
        }
    }

    /// Handles one event of a stream; gives requests that must be made instead.
    fn take(
        &mut self,
        stream: &mut Stream,
        event: Event,
    ) -> Result<Option<VecDeque<(Vec<usize>, ReadRequest)>>, Report> {
        match event {
            Event::NeedToken { stale, reply } => {
                let token = renew(&self.context.server, self.context.user, stale);
                let _ = reply.send(token);
                Ok(None)
            }
            Event::Page(page) => {
                for (index, batch) in &page.batches {
                    let Some(at) = stream.jobs.get(*index).copied() else { continue };
                    self.store(at, batch)?;
                }
                for at in stream.jobs.clone() {
                    self.save(at, page.position.as_ref())?;
                }
                self.commit()?;
                Ok(None)
            }
            Event::End(Ok(end)) => {
                stream.done = true;
                self.account_for(stream);
                self.end_well(&stream.jobs.clone(), end)
            }
            Event::End(Err(error)) => {
                stream.done = true;
                self.account_for(stream);
                let jobs = stream.jobs.clone();
                match error {
                    SyncError::FieldRefused { .. } => self.describe_again(&jobs, error),
                    SyncError::CursorExpired { detail } => self.read_fully(&jobs, &detail).map(Some),
                    other => {
                        self.end_badly(&jobs, &other)?;
                        Ok(None)
                    }
                }
            }
        }
    }

    /// Writes one batch of a job, unless the job has already failed.
    fn store(&mut self, at: usize, batch: &crate::extract::batch::Batch) -> Result<(), Report> {
        let server = self.context.server.name.clone();
        let Some(job) = self.jobs.get_mut(at).filter(|job| job.ended.is_none()) else { return Ok(()) };
        let written = subtransaction::guarded(|| {
            let (counts, rejected) = job.writer.write(batch)?;
            if let Some(seen) = &job.seen {
                seen.add(batch, &job.output)?;
            }
            state::park(&server, &job.collection.name, &rejected)?;
            Ok(counts)
        });
        match written {
            Ok(counts) => {
                job.counts.add(&counts);
                job.unsaved.add(&counts);
            }
            Err(mut report) => {
                report.message = format!("{server}.{}: {}", job.collection.name, report.message);
                job.ended = Some(Ended::Badly(report, "failed"));
            }
        }
        Ok(())
    }

    /// Saves how far a job is, in the transaction of its rows.
    fn save(&mut self, at: usize, position: Option<&Value>) -> Result<(), Report> {
        let server = self.context.server.name.clone();
        let Some(job) = self.jobs.get_mut(at).filter(|job| job.ended.is_none()) else { return Ok(()) };
        match position.filter(|_| !job.keys_only) {
            Some(position) => state::save_position(&server, &job.collection.name, position, &job.unsaved)?,
            None => state::save_rows(&server, &job.collection.name, &job.unsaved)?,
        }
        job.unsaved = Counts::default();
        if self.committing && job.told.elapsed() >= PROGRESS {
            job.told = Instant::now();
            let name = &job.collection.name;
            pgrx::notice!("cloudsync: {server}.{name}: {} records so far", job.counts.fetched);
        }
        Ok(())
    }

    /// One line a collection that went well, as soon as it did: to the client of a CALL, else to the server's log.
    fn tell(&self, at: usize) {
        let Some(job) = self.jobs.get(at).filter(|job| matches!(job.ended, Some(Ended::Well))) else { return };
        let n = &job.counts;
        let line = format!(
            "cloudsync: {}.{}: {} pages, {} upserted, {} soft-deleted, {} calls, {:.1} s",
            self.context.server.name,
            job.collection.name,
            job.pages,
            n.inserted + n.updated - n.deleted.min(n.updated),
            n.deleted,
            job.calls,
            job.started.elapsed().as_secs_f64()
        );
        if self.committing {
            pgrx::notice!("{line}");
        } else {
            pgrx::log!("{line}");
        }
    }

    fn end_well(
        &mut self,
        jobs: &[usize],
        end: ReadEnd,
    ) -> Result<Option<VecDeque<(Vec<usize>, ReadRequest)>>, Report> {
        let server = self.context.server.clone();
        let mut again = Vec::new();
        for (index, error) in &end.failed {
            if let Some(at) = jobs.get(*index) {
                self.end_badly(&[*at], error)?;
            }
        }
        for (index, at) in jobs.iter().enumerate() {
            if let Some((_, why)) = end.expired.iter().find(|(expired, _)| *expired == index) {
                if let Some(job) = self.jobs.get_mut(*at) {
                    restart_fully(&server.name, job, why)?;
                }
                again.push(*at);
                continue;
            }
            let Some(job) = self.jobs.get_mut(*at).filter(|job| job.ended.is_none()) else { continue };
            let mut unmarked = None;
            if let Some(seen) = job.seen.take() {
                let share = options::mass_delete_share(&server.options);
                match subtransaction::guarded(|| seen.mark_missing(&job.local, &job.output, share)) {
                    Ok(marked) => job.counts.deleted += marked,
                    Err(report) => unmarked = Some(report),
                }
            }
            let checkpoint = end.checkpoints.get(index).and_then(Option::as_ref).filter(|_| !job.keys_only);
            state::save_end(&server.name, &job.collection.name, checkpoint)?;
            job.notes.extend(end.notes.iter().cloned());
            // The rows of the listing are right; only what is gone waits for somebody to look.
            let status = if job.keys_only { "failed" } else { "partial" };
            job.ended = Some(unmarked.map_or(Ended::Well, |report| Ended::Badly(report, status)));
            self.tell(*at);
        }
        self.commit()?;
        if again.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.requests(again)))
    }

    /// The cursor is of no use any more: everything is read again.
    fn read_fully(&mut self, jobs: &[usize], why: &str) -> Result<VecDeque<(Vec<usize>, ReadRequest)>, Report> {
        let server = self.context.server.name.clone();
        for at in jobs {
            if let Some(job) = self.jobs.get_mut(*at) {
                restart_fully(&server, job, why)?;
            }
        }
        Ok(self.requests(jobs.to_vec()))
    }

    /// A field was refused: ask for the present fields once, and read again without it.
    fn describe_again(
        &mut self,
        jobs: &[usize],
        error: SyncError,
    ) -> Result<Option<VecDeque<(Vec<usize>, ReadRequest)>>, Report> {
        let first = jobs.first().copied().and_then(|at| self.jobs.get(at).map(|job| (at, job)));
        let Some((at, job)) = first.filter(|(_, job)| !job.described_again && jobs.len() == 1) else {
            self.end_badly(jobs, &error)?;
            return Ok(None);
        };
        let collection = job.collection.clone();
        let table = catalog::foreign_tables(&self.context.server)?.get(&collection.name).copied();
        let state = state::load(&self.context.server.name, &collection.name)?;
        let stats = Arc::new(Stats::default());
        let described = match self.described(&collection, &state, &stats, true) {
            Ok(described) => described,
            Err(other) => {
                self.end_badly(jobs, &other)?;
                return Ok(None);
            }
        };
        let ready = subtransaction::guarded(|| self.tables(&collection, table, &described, &state));
        let Some(job) = self.jobs.get_mut(at) else { return Ok(None) };
        job.calls += stats.calls.load(Ordering::Relaxed) as i64;
        job.described_again = true;
        match ready {
            Ok((local, mut output, writer, notes)) => {
                output.checkpoint = job.output.checkpoint.take();
                job.local = local;
                job.output = output;
                job.writer = writer;
                job.notes.extend(notes);
                self.commit()?;
                Ok(Some(self.requests(vec![at])))
            }
            Err(report) => {
                job.ended = Some(Ended::Badly(report, "failed"));
                Ok(None)
            }
        }
    }

    /// Ends jobs with a failure of their reader.
    fn end_badly(&mut self, jobs: &[usize], error: &SyncError) -> Result<(), Report> {
        for at in jobs {
            let name = match self.jobs.get(*at) {
                Some(job) if job.ended.is_none() => job.collection.name.clone(),
                _ => continue,
            };
            let report = report::report(&self.subject(&name), error);
            let stopped = self.stopped_by.is_some();
            if let Some(job) = self.jobs.get_mut(*at) {
                let stored = job.counts.inserted + job.counts.updated > 0;
                let status = match error {
                    SyncError::Unsupported { .. } => "skipped",
                    _ if is_deferral(error) => "deferred",
                    _ if stored => "partial",
                    _ if stopped && job.calls == 0 && job.counts.fetched == 0 => "skipped",
                    _ => "failed",
                };
                job.ended = Some(Ended::Badly(report, status));
            }
        }
        self.stop_server(error);
        Ok(())
    }

    /// Remembers a failure that concerns every collection.
    fn stop_server(&mut self, error: &SyncError) {
        if error.reach() != Reach::Server || self.stopped_by.is_some() {
            return;
        }
        self.stopped_by = Some(error.clone());
        let server = self.context.server.name.clone();
        match error {
            SyncError::AuthRejected { detail, .. } => {
                let refused = Some(self.context.mapping.fingerprint());
                self.stop = Some(Stop { server, refused, deferred_until: None, message: detail.clone() });
            }
            SyncError::RateLimited { until, detail } => {
                let until = until.unwrap_or_else(|| SystemTime::now() + QUOTA_PAUSE);
                let seconds = until.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
                self.stop =
                    Some(Stop { server, refused: None, deferred_until: Some(seconds), message: detail.clone() });
            }
            _ => {}
        }
    }

    /// Records how everything went.
    fn finish(mut self) -> Result<Vec<Outcome>, Report> {
        let jobs = std::mem::take(&mut self.jobs);
        let server = self.context.server.name.clone();
        for job in jobs {
            let mut outcome = Outcome {
                server: server.clone(),
                collection: job.collection.name.clone(),
                mode: Some(job.mode.to_string()),
                calls: job.calls,
                bytes: job.bytes,
                pages: job.pages,
                started_us: job.started_us,
                elapsed_us: job.started.elapsed().as_micros() as i64,
                ..Outcome::default()
            };
            outcome.count(&job.counts);
            let (quota, notes): (Vec<&String>, Vec<&String>) = job.notes.iter().partition(|n| n.starts_with('\u{1}'));
            if let Some((used, limit)) = quota.last().and_then(|q| q.get(1..)).and_then(|q| q.split_once('/')) {
                outcome.quota_used = used.parse().ok();
                outcome.quota_limit = limit.parse().ok();
            }
            let notes = notes.into_iter().cloned().collect::<Vec<_>>().join("; ");
            match job.ended {
                Some(Ended::Well) | None => {
                    outcome.status = "ok".into();
                    outcome.message = Some(notes).filter(|n| !n.is_empty());
                }
                Some(Ended::Badly(report, status)) => {
                    outcome.status = status.into();
                    outcome.sqlstate = Some(report.sqlstate());
                    outcome.message = Some(report.with_detail());
                    outcome.hint = Some(report.hint).filter(|h| !h.is_empty());
                }
            }
            if self.committing && outcome.status != "ok" {
                state::clear_running(&server, &outcome.collection)?;
            }
            self.outcomes.push(outcome);
        }
        self.outcomes.sort_by(|a, b| a.collection.cmp(&b.collection));
        let (well, badly): (Vec<&Outcome>, Vec<&Outcome>) = self.outcomes.iter().partition(|o| o.sqlstate.is_none());
        for outcome in well {
            state::log_run(outcome)?;
        }
        let busy = report::sqlstate(Code::ERRCODE_OBJECT_IN_USE);
        let badly: Vec<Outcome> =
            badly.into_iter().filter(|o| o.sqlstate.as_deref() != Some(busy.as_str())).cloned().collect();
        if self.committing {
            for outcome in &badly {
                state::log_run(outcome)?;
            }
            if let Some(stop) = &self.stop {
                state::save_stop(stop)?;
            }
            self.commit()?;
        } else if !badly.is_empty() || self.stop.is_some() {
            if let Err(error) = worker::record(badly.clone(), self.stop.clone()) {
                // No worker to be had: the record shares the fate of this transaction, which is better than none.
                pgrx::debug1!("cloudsync: {error}");
                for outcome in &badly {
                    state::log_run(outcome)?;
                }
                if let Some(stop) = &self.stop {
                    state::save_stop(stop)?;
                }
            }
        }
        Ok(self.outcomes)
    }
}

fn restart_fully(server: &str, job: &mut Job, why: &str) -> Result<(), Report> {
    job.output.checkpoint = None;
    job.position = None;
    job.mode = "full";
    job.notes.push(why.to_string());
    let notes_keys = !matches!(job.collection.deletes, Deletes::None);
    if notes_keys {
        job.seen = Some(reconcile::Seen::begin(server, &job.collection.name, true)?);
    }
    state::save_begin(server, &job.collection.name, notes_keys, false)
}

fn is_deferral(error: &SyncError) -> bool {
    matches!(error, SyncError::RateLimited { .. })
}
