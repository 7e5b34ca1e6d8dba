//! Gets a collection ready to be read: its lock, the app's description of it, and its two tables.

use super::context::ask;
use super::ending::is_deferral;
use super::run::{now_us, Ended, Job, Requests, Run};
use super::state::{self, State};
use super::tables::{self, LocalTable};
use super::write::{Counts, Writer};
use super::{lock, reconcile, subtransaction};
use crate::catalog;
use crate::error::SyncError;
use crate::extract::{describe, is_described, Described, Output};
use crate::http::Stats;
use crate::manifest::{Collection, Deletes};
use crate::options::{self, SchemaChanges};
use crate::report::{fail, Report};
use pgrx::pg_sys;
use pgrx::PgSqlErrorCode as Code;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;

/// The app is asked to describe a collection again after this long.
const DESCRIBE_AGAIN: f64 = 86_400.0;

impl Run {
    /// Locks a collection and gets its tables ready; what cannot be is an outcome, not an error.
    pub(super) fn prepare(
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
        let (local, mut output, mut writer, notes) = match tables {
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
        writer.expect_new(mode != "incremental" && !reconcile && (local.is_empty || mode == "resumed"));
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
            quota: None,
            started,
            started_us,
            calls: stats.calls.load(Ordering::Relaxed) as i64,
            bytes: stats.bytes.load(Ordering::Relaxed) as i64,
            pages: 0,
            described_again: false,
            is_catching_up: false,
            told: started,
            keys_only: reconcile,
            seen,
            ended: None,
            _lock: lock,
        });
        Ok(())
    }

    /// The app's own description of a collection, from memory while it is young enough.
    pub(super) fn described(
        &self,
        collection: &Collection,
        state: &State,
        stats: &Arc<Stats>,
        refused: bool,
    ) -> Result<Option<Described>, SyncError> {
        if !is_described(&self.context.server.source, collection) {
            return Ok(None);
        }
        if let (Some(known), Some(age), false) = (&state.described, state.described_age, refused) {
            if age < DESCRIBE_AGAIN {
                return Ok(Some(known.clone()));
            }
        }
        let known = collection.clone();
        let since = state.described.as_ref().and_then(|d| d.last_modified.clone()).filter(|_| !refused);
        let answer = ask(&self.context, stats, move |api| {
            Box::pin(async move { describe(&api, &known, since.as_deref()).await })
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
    pub(super) fn tables(
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

    pub(super) fn follow_schema(
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

    /// A field was refused: ask for the present fields once, and read again without it.
    pub(super) fn describe_again(&mut self, jobs: &[usize], error: SyncError) -> Result<Option<Requests>, Report> {
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
}
