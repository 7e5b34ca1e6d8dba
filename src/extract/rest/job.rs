//! Reads what the app gathers in its own time: a job is made, watched until it is done, downloaded, and taken away.
//!
//! The position saved with each file holds the job and how far it was read, so an interrupted full reading goes on with the
//! same job, which the app keeps for days. One that is gone by then, or failed, is made anew once. Where windows are
//! bounded, each is a job of its own. Files on other hosts are fetched without a credential (`http::Request::hosts`).
//!
//! Layer: extract. Knows nothing of Postgres.

use super::full::{stamp, Progress};
use super::names::Names;
use super::pages::{fetch, Pager, Shape};
use super::raw::{at, elements, text_at};
use super::request::request_with;
use super::tables::{Tables, FLUSH_BYTES};
use super::walk::{request_at, saved_page, Part, Walk};
use crate::error::SyncError;
use crate::extract::ended::Ended;
use crate::extract::sink::Sink;
use crate::extract::time::{parse_iso, to_iso_ms};
use crate::extract::Output;
use crate::http::{ApiClient, Reply, Request};
use crate::manifest::{Call, Collection, ErrorRule, Job, Meaning, Pages, When};
use serde_json::{json, Value};
use std::time::Duration;

/// Before the first look; each wait after it is twice as long, up to `poll_seconds`.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The job of a reading; where there is none, the collection's listing is read.
pub fn of(base: &Collection, is_full: bool) -> Option<&Job> {
    base.job.as_deref().filter(|job| is_full || job.when == When::Always)
}

/// The call that makes a job, as a listing that its cursor bounds.
pub fn asked(base: &Collection, job: &Job) -> Collection {
    Collection {
        name: base.name.clone(),
        base_url: base.base_url.clone(),
        primary_key: base.primary_key.clone(),
        cursor: base.cursor.clone(),
        select: base.select.clone(),
        errors: base.errors.clone(),
        columns: base.columns.clone(),
        ..Collection::asking(&job.create)
    }
}

/// A job that was made and started, and how far it was read.
#[derive(Clone, Debug, Default, PartialEq)]
struct Made {
    id: String,
    /// Where its window begins, microseconds.
    window: Option<i64>,
    /// Files that were read.
    files: usize,
    /// The page to read next, of results in pages.
    page: Option<Value>,
}

impl Made {
    fn of(position: &Value) -> Option<Made> {
        let job = position.get("job")?;
        let files = job.get("files").and_then(Value::as_u64).and_then(|n| n.try_into().ok()).unwrap_or(0);
        Some(Made {
            id: job.get("id")?.as_str()?.to_string(),
            window: job.get("window").and_then(Value::as_str).and_then(parse_iso),
            files,
            page: job.get("page").filter(|page| !page.is_null()).cloned(),
        })
    }

    fn position(&self, progress: &Progress) -> Value {
        let job = json!({"id": self.id, "window": self.window.map(to_iso_ms), "files": self.files, "page": self.page});
        progress.position("job", job)
    }
}

struct Reading<'a> {
    api: &'a ApiClient,
    base: &'a Collection,
    job: &'a Job,
    sink: &'a Sink,
    keep_position: bool,
}

/// Reads a part of a base through its job. False: it cannot be had, and its listing is to be
/// read instead.
#[allow(clippy::too_many_arguments)]
pub async fn read(
    api: &ApiClient,
    tables: &mut Tables<'_>,
    base: &Collection,
    job: &Job,
    outputs: &[Output],
    part: Part,
    position: Option<&Value>,
    keep_position: bool,
    progress: &mut Progress,
    sink: &Sink,
) -> Result<bool, SyncError> {
    let reading = Reading { api, base, job, sink, keep_position };
    let asked = asked(base, job);
    let mut walk = Walk::new(api, &asked, outputs, part)?;
    let mut saved = position.and_then(Made::of);
    if let Some(window) = saved.as_ref().and_then(|made| made.window) {
        walk.go_to_window(window);
    }
    loop {
        if let Some(why) = reading.window(&walk, tables, saved.take(), progress).await? {
            tables.note(&format!("no job ({why}); the listing was read instead"));
            return Ok(false);
        }
        if !walk.next_window() {
            return Ok(true);
        }
    }
}

impl Reading<'_> {
    /// Reads one window. Gives why it cannot be had as a job, where the listing may stand in for it.
    async fn window(
        &self,
        walk: &Walk<'_>,
        tables: &mut Tables<'_>,
        saved: Option<Made>,
        progress: &mut Progress,
    ) -> Result<Option<String>, SyncError> {
        let mut is_old = saved.is_some();
        let mut known = saved;
        loop {
            let made = match known.take() {
                Some(made) => Ok(made),
                None => self.create(walk, progress).await,
            };
            let mut made = match made {
                Ok(made) => made,
                Err(error) => return self.fall_back(error).map(Some),
            };
            let ended = match self.results(tables, &mut made, progress).await {
                Ok(()) => {
                    if let Some(call) = &self.job.delete {
                        // What stays there is removed by the app in time.
                        let _ = self.api.call(self.request(call, &made)?).await;
                    }
                    return Ok(None);
                }
                Err(Ended::Error(error)) => return Err(error),
                Err(ended) => ended,
            };
            if is_old {
                tables.note("the job of the interrupted reading is of no use any more; another one was made");
                is_old = false;
                continue;
            }
            let why = match ended {
                Ended::Failed(why) => why,
                _ => "it vanished while it was read".to_string(),
            };
            let error = SyncError::Unavailable { status: 0, tries: 1, detail: format!("the job gave nothing: {why}") };
            return if self.job.fall_back { Ok(Some(why)) } else { Err(error) };
        }
    }

    /// What a job that the app refuses to make means.
    fn fall_back(&self, error: SyncError) -> Result<String, SyncError> {
        let words = match &error {
            SyncError::AccessDenied { detail, .. }
            | SyncError::NotFound { detail, .. }
            | SyncError::BadRequest { detail, .. } => Some(detail.clone()),
            SyncError::Unsupported { reason } => Some(reason.clone()),
            _ => None,
        };
        words.filter(|_| self.job.fall_back).ok_or(error)
    }

    fn request(&self, call: &Call, made: &Made) -> Result<Request, SyncError> {
        let mut names = Names::default();
        names.set("job_id", made.id.as_str());
        let (base_url, errors) = (self.base.base_url.clone(), self.base.errors.clone());
        let asked = Collection { base_url, errors, ..Collection::asking(call) };
        request_with(self.api.account(), &asked, &[], &names, None)
    }

    /// Makes a job and starts it.
    async fn create(&self, walk: &Walk<'_>, progress: &mut Progress) -> Result<Made, SyncError> {
        let pointer = &self.job.id;
        let id = |reply: &Reply| {
            let text = std::str::from_utf8(&reply.body).unwrap_or_default();
            let id = text_at(text, pointer).filter(|id| !id.is_empty()).map(|id| id.into_owned());
            Ok((id.ok_or_else(|| format!("the reply has no id of a job at \"{pointer}\""))?, reply.date_us))
        };
        let (id, date_us) = self.api.call_parsed(walk.window_request()?, id).await?;
        progress.upper = progress.upper.or(date_us);
        let made = Made { id, window: walk.window_from(), ..Made::default() };
        if let Some(call) = &self.job.start {
            self.api.call(self.request(call, &made)?).await?;
        }
        Ok(made)
    }

    async fn give(&self, tables: &mut Tables<'_>, made: &Made, progress: &Progress) -> Result<(), SyncError> {
        let position = self.keep_position.then(|| made.position(progress));
        self.sink.page(tables.page(position)).await
    }

    /// Waits for a job and gives its rows.
    async fn results(&self, tables: &mut Tables<'_>, made: &mut Made, progress: &mut Progress) -> Result<(), Ended> {
        // Saved before the wait: a run that is stopped meanwhile goes on with this job.
        if self.keep_position {
            self.give(tables, made, progress).await?;
        }
        let done = self.until_done(made).await?;
        let Some(pointer) = &self.job.download.urls else {
            return self.pages(tables, made, progress).await;
        };
        let found = at(&done, pointer);
        let urls: Vec<String> = match found.and_then(elements) {
            Some(list) => list.into_iter().filter_map(|url| text_at(url, "")).map(|url| url.into_owned()).collect(),
            None => found.and_then(|url| text_at(url, "")).map(|url| url.into_owned()).into_iter().collect(),
        };
        if urls.is_empty() {
            return Err(Ended::Failed(format!("it names no file at \"{pointer}\"")));
        }
        let hosts = &self.job.download.hosts;
        for url in urls.into_iter().skip(made.files) {
            // A link that has expired is refused by the store, which says nothing of our credentials.
            let expired = ErrorRule::of_status(&[401, 403, 404, 410], Meaning::NotFound);
            let (base, hosts) = (self.base.base_url.clone(), hosts.clone());
            let request = Request { target: url, base, hosts, rules: vec![expired], ..Request::default() };
            let shape = Shape { records: self.job.download.records.clone(), pages: Pages::None };
            let page = fetch(self.api, request, &shape).await?;
            self.fill(tables, &page, made, progress).await?;
            made.files += 1;
            self.give(tables, made, progress).await?;
        }
        Ok(())
    }

    /// Reads results that a call gives, in pages if it does so.
    async fn pages(&self, tables: &mut Tables<'_>, made: &mut Made, progress: &mut Progress) -> Result<(), Ended> {
        let Some(call) = &self.job.download.call else { return Ok(()) };
        let first = self.request(call, made)?;
        let pages = self.job.download.pages.clone().unwrap_or(Pages::None);
        let first = super::pages::sized(first, &pages, None);
        let shape = Shape { records: self.job.download.records.clone(), pages };
        let next = made.page.as_ref().and_then(|page| request_at(page, &first));
        let mut pager = Pager::new(shape, first);
        if let Some(next) = next {
            pager = pager.starting_at(next);
        }
        while let Some(page) = pager.next_page(self.api).await? {
            self.fill(tables, &page, made, progress).await?;
            // After the last page its own place stays: it is read again, should the run end before the checkpoint.
            if let Some(next) = pager.next() {
                made.page = Some(saved_page(next));
            }
            self.give(tables, made, progress).await?;
        }
        Ok(())
    }

    /// Puts the records of a file into their tables, a few at a time: a file may hold everything.
    async fn fill(
        &self,
        tables: &mut Tables<'_>,
        page: &super::pages::ListPage,
        made: &Made,
        progress: &mut Progress,
    ) -> Result<(), SyncError> {
        progress.see(self.base, page);
        let stamp = stamp(tables.source(), self.base, page);
        for (index, raw) in page.records().enumerate() {
            let jobs = tables.record(self.base, raw, &page.around(index), stamp)?;
            if !jobs.is_empty() {
                tables.read_on(self.api, jobs, self.sink).await?;
            }
            if tables.size() > FLUSH_BYTES {
                self.give(tables, made, progress).await?;
            }
        }
        Ok(())
    }

    /// Looks at a job until it is done. Gives the last answer.
    async fn until_done(&self, made: &Made) -> Result<String, Ended> {
        let job = self.job;
        let longest = Duration::from_secs(job.poll_seconds.max(1));
        let timeout = Duration::from_secs(job.timeout_seconds);
        let (mut wait, mut waited) = (FIRST_WAIT, Duration::ZERO);
        loop {
            tokio::time::sleep(wait).await;
            waited += wait;
            wait = (wait * 2).min(longest);
            let parse = |reply: &Reply| {
                let text = String::from_utf8_lossy(&reply.body).into_owned();
                let state = text_at(&text, &job.state).map(|state| state.into_owned());
                Ok((state.ok_or_else(|| format!("the reply has no state of a job at \"{}\"", job.state))?, text))
            };
            let (state, text) = self.api.call_parsed(self.request(&job.status, made)?, parse).await?;
            let is = |known: &[String]| known.contains(&state);
            if is(&job.states.done) {
                return Ok(text);
            }
            let unavailable = |detail| Ended::Error(SyncError::Unavailable { status: 0, tries: 1, detail });
            if is(&job.states.failed) {
                let words = self.api.account().source.error_message.iter().find_map(|pointer| text_at(&text, pointer));
                let words = words.map_or(state.clone(), |words| format!("{state}: {words}"));
                return Err(Ended::Failed(self.api.hide_secrets(&words)));
            }
            if !is(&job.states.running) {
                let detail = format!("the job is \"{}\", a state that nobody knows", self.api.hide_secrets(&state));
                return Err(unavailable(detail));
            }
            if waited >= timeout {
                return Err(unavailable(format!("the job was not done after {} s", waited.as_secs())));
            }
        }
    }
}
