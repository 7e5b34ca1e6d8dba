//! Works through the windows of a load: some extract jobs under way at once, each fetched when it is done.
//!
//! Decides when to wait for Marketo's queue, when a job is made again, and where an interrupted load goes on: at the
//! first window that is not stored, with the jobs that were made for it and later ones.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::changes::Log;
use super::export::{self, Refused, State, Told};
use super::file::File;
use super::load::{order, Ended, Place};
use super::What;
use crate::error::SyncError;
use crate::extract::rest::pages::Around;
use crate::extract::rest::tables::{Stamp, FLUSH_BYTES};
use crate::extract::sink::Sink;
use crate::extract::Page;
use crate::http::ApiClient;
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

/// Jobs under way for one stream: Marketo works on two of all, and has places for ten.
const AT_ONCE: usize = 4;
/// A job that is not done by then is left to itself; the next run goes on waiting for it.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// A job under way.
struct Running {
    /// Where its window begins.
    from: i64,
    id: String,
    since: Instant,
}

/// The jobs of one load.
pub struct Jobs<'l, 'a> {
    log: &'l mut Log<'a>,
    what: What,
    place: Place,
    fields: &'l [String],
    types: &'l [String],
    /// Only keys are read, and no place is kept.
    is_keys: bool,
    pause: Duration,
    /// Windows without a job under way, by where they begin.
    windows: VecDeque<i64>,
    running: VecDeque<Running>,
    /// A job that is made and waits for a place in the queue.
    made: Option<(String, Option<i64>)>,
    /// Windows whose first job came to nothing.
    again: HashSet<i64>,
    /// No job was had yet: a refusal means that none will be.
    is_first: bool,
}

impl<'l, 'a> Jobs<'l, 'a> {
    pub fn new(
        log: &'l mut Log<'a>,
        place: Place,
        fields: &'l [String],
        types: &'l [String],
        is_keys: bool,
    ) -> Result<Self, SyncError> {
        Ok(Jobs {
            what: What::of(log.base),
            pause: export::poll_pause(log.api.account())?,
            log,
            windows: place.windows(),
            is_first: place.jobs.is_empty(),
            place,
            fields,
            types,
            is_keys,
            running: VecDeque::new(),
            made: None,
            again: HashSet::new(),
        })
    }

    /// Reads all windows.
    pub async fn read(mut self, sink: &Sink) -> Result<Ended, SyncError> {
        let mut spent: Option<SyncError> = None;
        let mut waits_since: Option<Instant> = None;
        loop {
            let before = self.place.jobs.len();
            let filled = if spent.is_none() { self.fill().await } else { Ok(()) };
            match filled {
                Ok(()) | Err(Refused::QueueFull) => {}
                Err(Refused::NotPermitted(error)) if self.is_first => return Ok(Ended::NotPermitted(error)),
                Err(Refused::NotPermitted(error) | Refused::Error(error)) => return Err(error),
                Err(Refused::QuotaSpent(error)) => spent = Some(error),
            }
            if !self.is_keys && self.place.jobs.len() > before {
                // Saved before the wait: a run that is stopped meanwhile goes on with these jobs.
                sink.page(Page { batches: Vec::new(), position: Some(self.place.position()) }).await?;
            }
            if let Some(job) = self.running.pop_front() {
                waits_since = None;
                self.finish(job, sink).await?;
                continue;
            }
            if let Some(error) = spent {
                return Err(error);
            }
            if self.windows.is_empty() {
                return Ok(Ended::Well(self.place.clock.map(|clock| clock.min(self.place.to))));
            }
            // The queue is full of others' jobs.
            if waits_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                let detail = "Marketo's queue of extracts stayed full".to_string();
                return Err(SyncError::Unavailable { status: 0, tries: 1, detail });
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    /// Puts jobs under way until they are enough.
    async fn fill(&mut self) -> Result<(), Refused> {
        while self.running.len() < AT_ONCE {
            let Some(from) = self.windows.front().copied() else { break };
            let id = match self.place.jobs.get(&from) {
                Some(id) => id.clone(),
                None => {
                    let order = order(self.what, self.fields, self.types, from, self.place.end_of(from));
                    let (id, date) = export::start(self.log.api, self.what, &order, &mut self.made).await?;
                    self.place.clock = self.place.clock.or(date);
                    id
                }
            };
            self.is_first = false;
            self.windows.pop_front();
            self.place.jobs.insert(from, id.clone());
            self.running.push_back(Running { from, id, since: Instant::now() });
        }
        Ok(())
    }

    /// Waits for a job and stores what it holds.
    async fn finish(&mut self, job: Running, sink: &Sink) -> Result<(), SyncError> {
        match finished(self.log.api, self.what, &job, self.pause).await {
            Ok(told) => {
                self.read_file(&job.id, &told, sink).await?;
                self.place.jobs.remove(&job.from);
                let left = self.running.iter().map(|job| job.from).chain(self.windows.iter().copied());
                self.place.from = left.min().unwrap_or(self.place.to);
                let position = (!self.is_keys).then(|| self.place.position());
                sink.page(self.log.tables.page(position)).await
            }
            Err(Lost::Again(why)) if self.again.insert(job.from) => {
                self.log.tables.note(&format!("an extract was made again ({why})"));
                self.place.jobs.remove(&job.from);
                self.windows.push_front(job.from);
                Ok(())
            }
            Err(Lost::Again(why)) => {
                let detail = format!("an extract came to nothing ({why})");
                Err(SyncError::Unavailable { status: 0, tries: 2, detail })
            }
            Err(Lost::Error(error)) => Err(error),
        }
    }

    /// Puts the records of a job's file into the tables.
    async fn read_file(&mut self, id: &str, told: &Told, sink: &Sink) -> Result<(), SyncError> {
        if told.number_of_records == Some(0) {
            return Ok(());
        }
        let unreadable =
            |detail: String| SyncError::Unreadable { content_type: "text/csv".into(), start: String::new(), detail };
        let mut file = File::new(self.what);
        let only_keys = self.is_keys && self.what == What::Leads;
        loop {
            let (part, is_whole) = export::part(self.log.api, self.what, id, file.bytes).await?;
            self.log.api.stats().pages.fetch_add(1, Relaxed);
            let size = part.len() as u64;
            let is_last = is_whole || size < export::PART_BYTES || told.file_size == Some(file.bytes + size);
            let (base, outputs, tables) = (self.log.base, self.log.outputs, &mut self.log.tables);
            let mut broken = None;
            let read = file.take(&part, is_last, |record| {
                if only_keys {
                    (0..outputs.len()).for_each(|table| tables.key(table, record));
                    return;
                }
                let added = tables.record(base, record, &Around::default(), Stamp::default());
                broken = broken.take().or(added.err());
            });
            read.map_err(unreadable)?;
            if let Some(error) = broken {
                return Err(error);
            }
            if self.log.tables.size() > FLUSH_BYTES {
                // Within a file there is no place to go on: its window is read again.
                sink.page(self.log.tables.page(None)).await?;
            }
            if is_last {
                return file.check(told).map_err(unreadable);
            }
        }
    }
}

/// Why a job gave nothing.
enum Lost {
    /// It failed, or is gone: another may do.
    Again(String),
    Error(SyncError),
}

/// Waits for a job. Marketo looks at its jobs once a minute, so that asking at once would tell nothing.
async fn finished(api: &ApiClient, what: What, job: &Running, pause: Duration) -> Result<Told, Lost> {
    tokio::time::sleep_until(job.since + pause).await;
    loop {
        let told = match export::status(api, what, &job.id).await {
            Ok(told) => told,
            Err(SyncError::NotFound { detail, .. }) => return Err(Lost::Again(detail)),
            Err(error) => return Err(Lost::Error(error)),
        };
        match told.state() {
            State::Done => return Ok(told),
            State::Failed(why) => return Err(Lost::Again(why)),
            State::Running if job.since.elapsed() >= PATIENCE => {
                let detail = format!("the extract {} was not done after {} s", job.id, job.since.elapsed().as_secs());
                return Err(Lost::Error(SyncError::Unavailable { status: 0, tries: 1, detail }));
            }
            State::Running => tokio::time::sleep(pause).await,
        }
    }
}
