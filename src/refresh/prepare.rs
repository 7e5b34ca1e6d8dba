//! Gets a collection ready to be read: its lock, the app's description of it, and its two tables.

use super::backfill;
use super::ending::is_deferral;
use super::fields::Fields;
use super::run::{now_us, Ended, Job, Purpose, Requests, Run};
use super::state::{self, State};
use super::tables::{self, LocalTable};
use super::write::{Counts, Writer};
use super::{lock, reconcile, subtransaction};
use crate::catalog;
use crate::error::SyncError;
use crate::extract::Output;
use crate::http::Stats;
use crate::manifest::{Collection, Deletes};
use crate::options;
use crate::report::{fail, Report};
use pgrx::pg_sys;
use pgrx::PgSqlErrorCode as Code;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;

impl Run {
    /// Locks a collection and gets its tables ready; what cannot be is an outcome, not an error.
    pub(super) fn prepare(
        &mut self,
        collection: Arc<Collection>,
        table: Option<pg_sys::Oid>,
        purpose: Purpose,
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
        let fields = match self.described(&collection, &state, &stats, false) {
            Ok(fields) => fields,
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
        let tables = subtransaction::guarded(|| self.tables(&collection, table, fields, &state));
        let (local, mut output, mut writer, mut notes) = match tables {
            Ok(ready) => ready,
            Err(mut report) => {
                report.message = format!("{}.{name}: {}", self.context.server.name, report.message);
                self.without_job_report(&name, report, "failed");
                return Ok(());
            }
        };
        let reconcile = purpose == Purpose::Reconcile;
        if let Purpose::Backfill { column } = &purpose {
            output = backfill::narrowed(&output, column, &self.context.server.name)?;
            if local.is_empty {
                self.nothing_to_fill(&name);
                return Ok(());
            }
            writer = Writer::filling(&local, &output)?;
            notes.extend(self.backfill_note(&collection));
        }
        // A table that was dropped or emptied begins anew: its checkpoint accounts for rows that are gone.
        let emptied = local.is_empty && state.rows_stored > 0;
        let (checkpoint, position) =
            if purpose != Purpose::Refresh || emptied { (None, None) } else { (state.checkpoint, state.position) };
        output.checkpoint = checkpoint;
        let mode = match (&output.checkpoint, &position) {
            _ if matches!(purpose, Purpose::Backfill { .. }) => "backfill",
            (Some(_), _) => "incremental",
            (None, Some(_)) => "resumed",
            (None, None) => "full",
        };
        writer.expect_new(matches!(mode, "full" | "resumed") && !reconcile && (local.is_empty || mode == "resumed"));
        // A full listing over rows that are already there also shows which of them are gone, where the app deletes at all.
        let begins = mode == "full" && !local.is_empty && !matches!(collection.deletes, Deletes::None);
        let goes_on = mode == "resumed" && state.marks_missing;
        let seen = if reconcile || begins || goes_on {
            Some(reconcile::Seen::begin(&self.context.server.name, &name, !goes_on)?)
        } else {
            None
        };
        if mode == "full" && purpose == Purpose::Refresh {
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
            quota: None,
            started,
            started_us,
            calls: stats.calls.load(Ordering::Relaxed) as i64,
            bytes: stats.bytes.load(Ordering::Relaxed) as i64,
            pages: 0,
            described_again: false,
            is_catching_up: false,
            told: started,
            purpose,
            unknown: BTreeSet::new(),
            seen,
            ended: None,
            _lock: lock,
        });
        Ok(())
    }

    /// The tables of a collection, brought up to what the app describes.
    #[allow(clippy::type_complexity)]
    pub(super) fn tables(
        &self,
        collection: &Arc<Collection>,
        table: Option<pg_sys::Oid>,
        fields: Fields,
        state: &State,
    ) -> Result<(LocalTable, Output, Writer, Vec<String>), Report> {
        let server = &self.context.server;
        let Fields { mut described, note } = fields;
        let mut notes: Vec<String> = note.into_iter().collect();
        let mut live = tables::ensure_live(server, collection, described.as_ref(), table)?;
        if let Some(now) = &mut described {
            let before = state.described.as_ref();
            // Fields kept in extra become columns when the user wishes so now, although the app says nothing new.
            let waits = now.columns.iter().any(|column| column.in_extra);
            if let Some(before) = before.filter(|before| *before != now || waits) {
                self.follow_schema(collection, &mut live, before, now, &mut notes)?;
            }
            let after = options::describe_after_seconds(&server.options);
            if before != Some(now) || state.described_age.is_none_or(|age| age >= after) {
                state::save_described(&server.name, &collection.name, now)?;
            }
        }
        let local = tables::ensure_local(server, collection, &live)?;
        let described = described.map(Arc::new);
        let output = tables::output(collection.clone(), described, &live, &local)?;
        let writer = Writer::new(&local, &output)?;
        Ok((local, output, writer, notes))
    }

    /// A field was refused: ask for the present fields once, and read again without it.
    pub(super) fn describe_again(&mut self, jobs: &[usize], error: SyncError) -> Result<Option<Requests>, Report> {
        let first = jobs.first().copied().and_then(|at| self.jobs.get(at).map(|job| (at, job)));
        let Some((at, job)) = first.filter(|(_, job)| {
            let is_backfill = matches!(job.purpose, Purpose::Backfill { .. });
            !job.described_again && jobs.len() == 1 && !is_backfill
        }) else {
            self.end_badly(jobs, &error)?;
            return Ok(None);
        };
        let collection = job.collection.clone();
        let table = catalog::foreign_tables(&self.context.server)?.get(&collection.name).copied();
        let state = state::load(&self.context.server.name, &collection.name)?;
        let stats = Arc::new(Stats::default());
        let fields = match self.described(&collection, &state, &stats, true) {
            Ok(fields) => fields,
            Err(other) => {
                self.end_badly(jobs, &other)?;
                return Ok(None);
            }
        };
        let ready = subtransaction::guarded(|| self.tables(&collection, table, fields, &state));
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
}
