//! Decides how each collection of a run ended, and records it where it outlives what may come.

use super::run::{Ended, Job, Purpose, Requests, Run};
use super::state::{self, Outcome, Stop};
use super::{reconcile, subtransaction};
use crate::error::{Reach, SyncError};
use crate::extract::ReadEnd;
use crate::manifest::Deletes;
use crate::options;
use crate::report::{self, Report};
use crate::worker;
use pgrx::PgSqlErrorCode as Code;
use std::time::{Duration, SystemTime};

/// Without a time from the app, a spent daily quota is tried again after this long.
const QUOTA_PAUSE: Duration = Duration::from_secs(3600);

impl Run {
    pub(super) fn end_well(&mut self, jobs: &[usize], end: ReadEnd) -> Result<Option<Requests>, Report> {
        let server = self.context.server.clone();
        let mut again = Vec::new();
        for (index, error) in &end.failed {
            if let Some(at) = jobs.get(*index) {
                self.end_badly(&[*at], error)?;
            }
        }
        for (index, at) in jobs.iter().enumerate() {
            if let Some((_, why)) = end.expired.iter().find(|(expired, _)| *expired == index) {
                if let Some(job) = self.jobs.get_mut(*at).filter(|job| job.ended.is_none()) {
                    restart_fully(&server.name, job, why)?;
                    again.push(*at);
                }
                continue;
            }
            if self.meet_unknown(*at)? {
                again.push(*at);
                continue;
            }
            let Some(job) = self.jobs.get_mut(*at).filter(|job| job.ended.is_none()) else { continue };
            let mut unmarked = None;
            // What lies in a part that was passed over is not gone.
            if let Some(seen) = job.seen.take().filter(|_| !end.incomplete.contains(&index)) {
                let share = options::mass_delete_share(&server.options);
                match subtransaction::guarded(|| seen.mark_missing(&job.local, &job.output, share)) {
                    Ok(marked) => job.counts.deleted += marked,
                    Err(report) => unmarked = Some(report),
                }
            }
            let is_refresh = job.purpose == Purpose::Refresh;
            let checkpoint = end.checkpoints.get(index).and_then(Option::as_ref).filter(|_| is_refresh);
            if !matches!(job.purpose, Purpose::Backfill { .. }) {
                state::save_end(&server.name, &job.collection.name, checkpoint)?;
            }
            if let Some(checkpoint) =
                checkpoint.filter(|_| job.mode == "resumed" && !job.is_catching_up && unmarked.is_none())
            {
                // What an interrupted listing read before its interruption may have changed since: one look at the changes
                // makes this run end as up to date as any other.
                job.is_catching_up = true;
                job.position = None;
                job.writer.expect_new(false);
                job.output.checkpoint = Some(checkpoint.clone());
                job.notes.extend(end.notes.iter().cloned());
                again.push(*at);
                continue;
            }
            job.notes.extend(end.notes.iter().cloned());
            // The rows of the listing are right; only what is gone waits for somebody to look.
            let status = if job.purpose == Purpose::Reconcile { "failed" } else { "partial" };
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
    pub(super) fn read_fully(&mut self, jobs: &[usize], why: &str) -> Result<Requests, Report> {
        let server = self.context.server.name.clone();
        for at in jobs {
            if let Some(job) = self.jobs.get_mut(*at) {
                restart_fully(&server, job, why)?;
            }
        }
        Ok(self.requests(jobs.to_vec()))
    }

    /// Ends jobs with a failure of their reader.
    pub(super) fn end_badly(&mut self, jobs: &[usize], error: &SyncError) -> Result<(), Report> {
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
    pub(super) fn stop_server(&mut self, error: &SyncError) {
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
    pub(super) fn finish(mut self) -> Result<Vec<Outcome>, Report> {
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
            outcome.quota_used = job.quota.map(|(used, _)| used);
            outcome.quota_limit = job.quota.map(|(_, limit)| limit);
            let notes = job.notes.join("; ");
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

/// The cursor is of no use any more: the job reads everything, and notes which rows are still there.
fn restart_fully(server: &str, job: &mut Job, why: &str) -> Result<(), Report> {
    job.output.checkpoint = None;
    job.position = None;
    job.mode = "full";
    job.writer.expect_new(false);
    job.notes.push(why.to_string());
    let notes_keys = !matches!(job.collection.deletes, Deletes::None);
    if notes_keys {
        job.seen = Some(reconcile::Seen::begin(server, &job.collection.name, true)?);
    }
    state::save_begin(server, &job.collection.name, notes_keys, false)
}

pub(super) fn is_deferral(error: &SyncError) -> bool {
    matches!(error, SyncError::RateLimited { .. } | SyncError::Deferred { .. })
}
