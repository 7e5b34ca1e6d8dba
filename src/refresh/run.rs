//! Runs a refresh: starts the readers and writes what they give. `prepare` comes before it, `ending` after.
//!
//! Both forms share it: `cloudsync_refresh` does everything in the caller's transaction; `cloudsync_sync` commits
//! after each batch, so that an interruption of any kind costs at most one batch.

use super::context::{check_writable, renew, start, Context};
use super::lock::Lock;
use super::state::{self, Outcome, Stop};
use super::tables::LocalTable;
use super::write::{Counts, Way, Writer};
use super::{reconcile, subtransaction};
use crate::catalog;
use crate::error::SyncError;
use crate::extract::batch::Batch;
use crate::extract::sink::Event;
use crate::extract::{group::group, Mode, Output, Page, ReadRequest};
use crate::http::Stats;
use crate::io::{self, Reading};
use crate::manifest::{Collection, Protocol};
use crate::options;
use crate::report::{self, Report, Subject};
use pgrx::prelude::*;
use pgrx::PgSqlErrorCode as Code;
use serde_json::Value;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Between two lines of progress of one collection.
const PROGRESS: Duration = Duration::from_secs(5);

/// So many bytes of pages that wait are stored together.
const TOGETHER_BYTES: usize = 2 << 20;

/// So many streams are read at once; each has its share of the memory.
const STREAMS: usize = 8;

/// What a run is asked to do.
pub struct Order<'a> {
    pub server: &'a str,
    /// `None` for all selected collections.
    pub collections: Option<Vec<String>>,
    /// Commit after each batch (the procedure form).
    pub committing: bool,
    pub purpose: Purpose,
}

/// What a collection is read for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be up to date.
    Refresh,
    /// Everything is read for its keys, and what is not there any more is marked.
    Reconcile,
    /// One column of the rows that are there.
    Backfill { column: String },
}

/// One collection on its way through a run.
pub(super) struct Job {
    pub(super) collection: Arc<Collection>,
    pub(super) local: LocalTable,
    pub(super) output: Output,
    pub(super) writer: Writer,
    pub(super) position: Option<Value>,
    pub(super) mode: &'static str,
    pub(super) counts: Counts,
    /// Counts since they were last saved.
    pub(super) unsaved: Counts,
    pub(super) notes: Vec<String>,
    /// Calls of the day: used and allowed, as the app told last.
    pub(super) quota: Option<(i64, i64)>,
    pub(super) started: Instant,
    pub(super) started_us: i64,
    pub(super) calls: i64,
    pub(super) bytes: i64,
    pub(super) pages: i64,
    pub(super) described_again: bool,
    /// A resumed listing has ended, and the changes since its start are being read.
    pub(super) is_catching_up: bool,
    pub(super) told: Instant,
    /// Anything but a refresh leaves the checkpoint alone.
    pub(super) purpose: Purpose,
    /// Fields of the account that records had and its description did not name.
    pub(super) unknown: BTreeSet<String>,
    pub(super) seen: Option<reconcile::Seen>,
    pub(super) ended: Option<Ended>,
    pub(super) _lock: Lock,
}

/// How a job ended.
pub(super) enum Ended {
    Well,
    Badly(Report, &'static str),
}

/// A reader at work and the jobs it fills.
pub(super) struct Stream {
    pub(super) reading: Reading,
    pub(super) jobs: Vec<usize>,
    pub(super) stats: Arc<Stats>,
    pub(super) done: bool,
}

/// Reads to make: the jobs that each one fills, and what it asks.
pub(super) type Requests = VecDeque<(Vec<usize>, ReadRequest)>;

/// Everything of one run.
pub(super) struct Run {
    pub(super) context: Context,
    pub(super) committing: bool,
    pub(super) jobs: Vec<Job>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) stop: Option<Stop>,
    /// Why the whole server was stopped.
    pub(super) stopped_by: Option<SyncError>,
}

pub(super) fn now_us() -> i64 {
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
    let (mut wanted, mut gone) = (Vec::new(), Vec::new());
    for name in names {
        let object_of = |name: &String| match live.get(name) {
            Some(table) => catalog::foreign_table(*table).map(|table| table.object),
            None => Ok(None),
        };
        let named = match catalog::collection(&context.server, &name, object_of(&name)?.as_deref()) {
            // The source no longer has it, though its table is there: nobody asked for it by name, so the others go on.
            Err(report) if order.collections.is_none() => {
                gone.push((name, report));
                continue;
            }
            named => named?,
        };
        // A custom object may be named as the app does: its table knows how it is really spelt.
        let object = object_of(&named.name)?;
        let collection = match object {
            Some(object) => catalog::collection(&context.server, &named.name, Some(&object))?,
            None => named,
        };
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
    for (name, report) in gone {
        let hint = "Drop its foreign table, or define the source with the collection again.".to_string();
        run.without_job_report(&name, Report { hint, ..report }, "skipped");
    }
    if let Some(stop) = state::stop_in_force(&run.context.server, &run.context.mapping)? {
        for (collection, _) in wanted {
            let status = if matches!(stop, SyncError::RateLimited { .. }) { "deferred" } else { "failed" };
            run.without_job(&collection.name, &stop, status);
        }
        return Ok(run.outcomes);
    }
    for (collection, table) in wanted {
        run.prepare(collection, table, order.purpose.clone())?;
    }
    run.commit()?;
    run.read()?;
    run.finish()
}

impl Run {
    pub(super) fn subject<'a>(&'a self, collection: &'a str) -> Subject<'a> {
        Subject { server: &self.context.server.name, collection: Some(collection) }
    }

    /// Ends the transaction and begins the next (procedure form).
    pub(super) fn commit(&self) -> Result<(), Report> {
        if self.committing {
            // SAFETY: the procedure's own SPI connection is the innermost and allows it; no pointer into Postgres's
            // memory is kept across.
            unsafe { pg_sys::SPI_commit() };
        }
        Ok(())
    }

    /// The outcome of a collection that no reader was started for.
    pub(super) fn without_job(&mut self, collection: &str, error: &SyncError, status: &str) {
        let report = report::report(&self.subject(collection), error);
        self.without_job_report(collection, report, status);
    }

    pub(super) fn without_job_report(&mut self, collection: &str, report: Report, status: &str) {
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

    /// Reads everything the jobs need, several streams at once.
    pub(super) fn read(&mut self) -> Result<(), Report> {
        let mut waiting: Requests = self.requests((0..self.jobs.len()).collect());
        let mut streams: Vec<Stream> = Vec::new();
        let at_once = options::policy(&self.context.server.options, true).max_concurrency as usize;
        let most = at_once.clamp(1, STREAMS);
        let read_ahead = io::READ_AHEAD_BYTES / waiting.len().clamp(1, most);
        loop {
            while self.stopped_by.is_none() && streams.len() < most {
                let Some((jobs, request)) = waiting.pop_front() else { break };
                let stats = Arc::new(Stats::default());
                let account = self.context.account()?;
                match start(account, stats.clone(), request, read_ahead) {
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
    pub(super) fn requests(&self, jobs: Vec<usize>) -> Requests {
        let source = &self.context.server.source;
        let ready: Vec<(usize, &Job)> =
            jobs.into_iter().filter_map(|at| self.jobs.get(at).map(|job| (at, job))).collect();
        let mode = |purpose: &Purpose| match purpose {
            Purpose::Refresh => None,
            Purpose::Reconcile => Some(Mode::Keys),
            Purpose::Backfill { .. } => Some(Mode::Columns),
        };
        if let Some(mode) = ready.iter().find_map(|(_, job)| mode(&job.purpose)) {
            let alone = |(at, job): &(usize, &Job)| {
                (vec![*at], ReadRequest { outputs: vec![job.output.clone()], mode: mode.clone() })
            };
            return ready.iter().map(alone).collect();
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
            Protocol::Rest | Protocol::GoogleAds => {
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
    pub(super) fn account_for(&mut self, stream: &Stream) {
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
                    job.quota = Some((used, limit));
                }
            }
        }
    }

    /// Handles one event of a stream; gives requests that must be made instead.
    pub(super) fn take(&mut self, stream: &mut Stream, event: Event) -> Result<Option<Requests>, Report> {
        match event {
            Event::NeedToken { stale, reply } => {
                let token = renew(&self.context.server, self.context.user, stale);
                let _ = reply.send(token);
                Ok(None)
            }
            Event::Page(page) => {
                self.pages(stream, page)?;
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
                    SyncError::CursorExpired { detail } if self.is_refresh(&jobs) => {
                        self.read_fully(&jobs, &detail).map(Some)
                    }
                    other => {
                        self.end_badly(&jobs, &other)?;
                        Ok(None)
                    }
                }
            }
        }
    }

    fn is_refresh(&self, jobs: &[usize]) -> bool {
        jobs.iter().filter_map(|at| self.jobs.get(*at)).all(|job| job.purpose == Purpose::Refresh)
    }

    /// Stores a page, and those that wait behind it: when the app is quicker than the table, fewer and larger
    /// transactions carry more.
    fn pages(&mut self, stream: &Stream, first: Page) -> Result<(), Report> {
        let mut pages = vec![first];
        let mut bytes = 0;
        while let Some(page) = pages.last().map(Page::size).and_then(|size| {
            bytes += size;
            (bytes < TOGETHER_BYTES).then(|| stream.reading.take_page()).flatten()
        }) {
            pages.push(page);
        }
        for (index, at) in stream.jobs.iter().enumerate() {
            let of_job = pages.iter().flat_map(|page| &page.batches).filter(|(of, _)| *of == index);
            let batches: Vec<&Batch> = of_job.map(|(_, batch)| batch).collect();
            if !batches.is_empty() {
                self.store(*at, &batches)?;
            }
        }
        // A later position accounts for everything before it.
        let position = pages.iter().rev().find_map(|page| page.position.as_ref());
        for at in &stream.jobs {
            self.save(*at, position)?;
        }
        self.commit()
    }

    /// Writes batches of a job, unless the job has already failed.
    pub(super) fn store(&mut self, at: usize, batches: &[&Batch]) -> Result<(), Report> {
        let server = self.context.server.name.clone();
        let Some(job) = self.jobs.get_mut(at).filter(|job| job.ended.is_none()) else { return Ok(()) };
        let way = job.writer.way();
        job.unknown.extend(batches.iter().flat_map(|batch| batch.unknown.iter().cloned()));
        let Job { writer, seen, output, collection, .. } = job;
        let mut write = |way: Way| {
            subtransaction::guarded(|| {
                let (counts, rejected) = writer.write(batches, way)?;
                if let Some(seen) = &seen {
                    for batch in batches {
                        seen.add(batch, output)?;
                    }
                }
                state::park(&server, &collection.name, &rejected)?;
                Ok(counts)
            })
        };
        let mut written = write(way);
        if way == Way::Insert {
            let is_known = written.as_ref().is_err_and(|report| report.code == Code::ERRCODE_UNIQUE_VIOLATION);
            if is_known {
                written = write(Way::Upsert);
            }
            job.writer.note_insert(!is_known);
        }
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
    pub(super) fn save(&mut self, at: usize, position: Option<&Value>) -> Result<(), Report> {
        let server = self.context.server.name.clone();
        let Some(job) = self.jobs.get_mut(at).filter(|job| job.ended.is_none()) else { return Ok(()) };
        match position.filter(|_| job.purpose == Purpose::Refresh) {
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
    pub(super) fn tell(&self, at: usize) {
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
}
