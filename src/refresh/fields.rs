//! Follows the fields of an account: a new one gets a column, stays in `extra` or stops the collection, as the server's
//! option `schema_changes` says; one that is gone is no longer read.
//!
//! The app is asked when a collection is first read, when `describe_hours` have passed, when it refuses a field, and when a
//! record shows a field that nobody described.

use super::context::ask;
use super::ending::is_deferral;
use super::run::{Ended, Purpose, Run};
use super::state::{self, State};
use super::{subtransaction, tables};
use crate::catalog::{self, ForeignTable, ENGINE_COLUMNS};
use crate::error::SyncError;
use crate::extract::{describe, is_described, rest, Described};
use crate::http::Stats;
use crate::manifest::naming::free_name;
use crate::manifest::{field_path, Collection, Protocol};
use crate::options::{self, SchemaChanges};
use crate::report::{fail, Report};
use crate::spi;
use pgrx::spi::quote_identifier;
use pgrx::PgSqlErrorCode as Code;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// A listing of no more records is read again at once for a new column; a larger one waits for its records to change.
const READ_AGAIN_RECORDS: i64 = 10_000;

/// What is known of a collection's fields, and what the user should know of that.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) described: Option<Described>,
    pub(super) note: Option<String>,
}

impl Run {
    /// The app's own description of a collection, from memory while it is young enough. `anew`: whatever its age.
    ///
    /// Credentials that may read records but not what fields there are read the fields they know of.
    pub(super) fn described(
        &self,
        collection: &Collection,
        state: &State,
        stats: &Arc<Stats>,
        anew: bool,
    ) -> Result<Fields, SyncError> {
        let server = &self.context.server;
        if !is_described(&server.source, collection) {
            return Ok(Fields::default());
        }
        let known = state.described.clone();
        if let (Some(_), Some(age), false) = (&known, state.described_age, anew) {
            if age < options::describe_after_seconds(&server.options) {
                return Ok(Fields { described: known, note: None });
            }
        }
        let asked = collection.clone();
        let since = known.as_ref().and_then(|d| d.last_modified.clone()).filter(|_| !anew);
        let answer = ask(&self.context, stats, move |api| {
            Box::pin(async move { describe(&api, &asked, since.as_deref()).await })
        });
        match (answer, known) {
            (Ok(Some(new)), Some(known)) => Ok(Fields { described: Some(new.following(&known)), note: None }),
            (Ok(Some(new)), None) => Ok(Fields { described: Some(new), note: None }),
            (Ok(None), Some(known)) => Ok(Fields { described: Some(known), note: None }),
            (Ok(None), None) => Err(SyncError::internal("unchanged since never")),
            (Err(SyncError::AccessDenied { detail, .. } | SyncError::NotFound { detail, .. }), known)
                if server.source.protocol == Protocol::Rest =>
            {
                let note =
                    format!("the app does not tell which fields there are, so only those known are read: {detail}");
                Ok(Fields { described: Some(known.unwrap_or_else(|| rest::by_file(collection))), note: Some(note) })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Brings the foreign table up to what the app describes now.
    pub(super) fn follow_schema(
        &self,
        collection: &Collection,
        live: &mut ForeignTable,
        before: &Described,
        now: &mut Described,
        notes: &mut Vec<String>,
    ) -> Result<(), Report> {
        let server = &self.context.server;
        let has_column = |field: &str| {
            tables::stored(live).any(|c| field_path(c.field.as_deref().unwrap_or(&c.name)) == field_path(field))
        };
        let mut fresh: Vec<usize> = now.fresh(before).collect();
        fresh.retain(|at| {
            let Some(column) = now.columns.get_mut(*at) else { return false };
            // The user was faster.
            let is_there = has_column(&column.field);
            column.in_extra &= !is_there;
            !is_there
        });
        let names = |now: &Described, of: &[usize]| {
            of.iter().filter_map(|at| now.columns.get(*at)).map(|c| c.name.clone()).collect::<Vec<_>>().join(", ")
        };
        match options::schema_changes(&server.options) {
            _ if fresh.is_empty() => {}
            SchemaChanges::Extra => keep_in_extra(now, before, &fresh, "new fields are kept in extra", notes),
            SchemaChanges::Add => {
                let used = live.columns.iter().map(|column| usize::try_from(column.attnum).unwrap_or(0)).max();
                let room = tables::MOST_COLUMNS.saturating_sub(used.unwrap_or(0));
                let left = fresh.split_off(room.min(fresh.len()));
                keep_in_extra(now, before, &left, "a table holds no more columns, so these stay in extra", notes);
                if !fresh.is_empty() {
                    self.add_columns(collection, live, before, now, &fresh)?;
                    *live = catalog::foreign_table(live.oid)?;
                    notes.push(format!(
                        "new columns: {}; older rows fill as they change, or by cloudsync_backfill",
                        names(now, &fresh)
                    ));
                }
            }
            SchemaChanges::Fail => {
                fresh.retain(|at| now.columns.get(*at).is_some_and(|c| before.column_of(&c.field).is_none()));
                let ddl = fresh.iter().filter_map(|at| now.columns.get(*at)).map(tables::new_column);
                let adds: Vec<String> =
                    ddl.map(|column| format!("ADD COLUMN {}", tables::foreign_column(&column))).collect();
                if !adds.is_empty() {
                    return Err(fail(
                        Code::ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION, // HV021
                        format!("the app has new fields: {}", names(now, &fresh)),
                        "",
                        format!(
                            "Run ALTER FOREIGN TABLE {} {}; or set the server's option schema_changes to 'add' or 'extra'.",
                            tables::relation_name(live.oid)?,
                            adds.join(", ")
                        ),
                    ));
                }
            }
        }
        for (column, was) in now.retyped(before) {
            notes.push(format!(
                "the app's type of {} is now {}, before {was}: its column stays, and what does not fit goes into extra",
                column.name, column.type_name
            ));
        }
        let gone = drop_undescribed(live, before, now)?;
        if !gone.is_empty() {
            notes.push(format!("fields gone at the app, columns kept as they are: {}", gone.join(", ")));
            *live = catalog::foreign_table(live.oid)?;
        }
        Ok(())
    }

    /// Adds columns to the foreign table; the local one follows. A name that the local table has already is given only to the
    /// field whose column that was: anything else there is the user's.
    fn add_columns(
        &self,
        collection: &Collection,
        live: &ForeignTable,
        before: &Described,
        now: &mut Described,
        fresh: &[usize],
    ) -> Result<(), Report> {
        let local = tables::local_columns(&self.context.server, collection)?;
        let mut taken: HashSet<String> = live.columns.iter().map(|column| column.name.clone()).collect();
        taken.extend(ENGINE_COLUMNS.iter().map(|name| (*name).to_string()));
        let types = spi_types(fresh.iter().filter_map(|at| now.columns.get(*at)).map(|c| c.type_name.as_str()))?;
        let mut adds = Vec::new();
        for (at, type_oid) in fresh.iter().zip(types) {
            let Some(column) = now.columns.get_mut(*at) else { continue };
            let was_here = before.gone.iter().any(|old| old.field == column.field && old.name == column.name);
            let fits = local.get(&column.name).is_none_or(|have| was_here && tables::widens(type_oid, *have));
            if !fits || taken.contains(&column.name) {
                let others = taken.iter().chain(local.keys()).cloned().collect();
                column.name = free_name(&column.name, &column.own_name(), &others);
            }
            column.in_extra = false;
            taken.insert(column.name.clone());
            adds.push(format!("ADD COLUMN {}", tables::foreign_column(&tables::new_column(column))));
        }
        spi::run(&format!("ALTER FOREIGN TABLE {} {}", tables::relation_name(live.oid)?, adds.join(", ")), &[])?;
        Ok(())
    }

    /// Records had fields that nobody described: the app is asked once what they are. True when the collection has columns
    /// for them now and is to be read again.
    pub(super) fn meet_unknown(&mut self, at: usize) -> Result<bool, Report> {
        let server = self.context.server.clone();
        if options::schema_changes(&server.options) == SchemaChanges::Extra {
            return Ok(false);
        }
        let is_news = |job: &&mut super::run::Job| {
            job.ended.is_none() && !job.unknown.is_empty() && !job.described_again && job.purpose == Purpose::Refresh
        };
        let Some(job) = self.jobs.get_mut(at).filter(is_news) else { return Ok(false) };
        job.described_again = true;
        let unknown = std::mem::take(&mut job.unknown);
        let collection = job.collection.clone();
        let state = state::load(&server.name, &collection.name)?;
        let stats = Arc::new(Stats::default());
        let asked = self.described(&collection, &state, &stats, true);
        let ready = match asked {
            Ok(Fields { described: Some(mut described), note }) => {
                described.note_unlisted(&unknown);
                let table = catalog::foreign_tables(&server)?.get(&collection.name).copied();
                let fields = Fields { described: Some(described), note };
                subtransaction::guarded(|| self.tables(&collection, table, fields, &state)).map(Some)
            }
            Ok(_) => Ok(None),
            Err(error) if is_deferral(&error) => Ok(None),
            Err(error) => Err(crate::report::report(&self.subject(&collection.name), &error)),
        };
        let Some(job) = self.jobs.get_mut(at) else { return Ok(false) };
        job.calls += stats.calls.load(Ordering::Relaxed) as i64;
        job.bytes += stats.bytes.load(Ordering::Relaxed) as i64;
        match ready {
            Ok(Some((local, mut output, writer, notes))) => {
                let has_more = output.columns.len() > job.output.columns.len();
                job.notes.extend(notes);
                if !has_more || (job.mode != "incremental" && job.counts.fetched > READ_AGAIN_RECORDS) {
                    return Ok(false);
                }
                output.checkpoint = job.output.checkpoint.take();
                job.position = None;
                (job.local, job.output, job.writer) = (local, output, writer);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(mut report) => {
                // Before anything is read, the next refresh asks first.
                state::describe_soon(&server.name, &collection.name)?;
                report.message = format!("{}.{}: {}", server.name, collection.name, report.message);
                let stored = job.counts.inserted + job.counts.updated > 0;
                job.ended = Some(Ended::Badly(report, if stored { "partial" } else { "failed" }));
                Ok(false)
            }
        }
    }
}

/// Marks fields as kept in `extra`, and says so of those that were not there before.
fn keep_in_extra(now: &mut Described, before: &Described, of: &[usize], why: &str, notes: &mut Vec<String>) {
    let mut news = Vec::new();
    for at in of {
        let Some(column) = now.columns.get_mut(*at) else { continue };
        column.in_extra = true;
        if before.column_of(&column.field).is_none() {
            news.push(column.name.clone());
        }
    }
    if !news.is_empty() {
        notes.push(format!("{why}: {}", news.join(", ")));
    }
}

/// The oids of types by their names.
fn spi_types<'n>(names: impl Iterator<Item = &'n str>) -> Result<Vec<pgrx::pg_sys::Oid>, Report> {
    names
        .map(|name| {
            let oid = spi::value("SELECT pg_catalog.to_regtype($1)::pg_catalog.oid", &[name.into()])?;
            Ok(oid.unwrap_or(pgrx::pg_sys::InvalidOid))
        })
        .collect()
}

/// Drops columns from the foreign table whose field the app no longer has; the local table keeps them and their values.
fn drop_undescribed(live: &ForeignTable, before: &Described, now: &Described) -> Result<Vec<String>, Report> {
    let is_gone = |column: &&catalog::TableColumn| {
        let field = column.field.as_deref().unwrap_or(&column.name);
        before.column_of(field).is_some() && now.column_of(field).is_none()
    };
    let gone: Vec<String> = tables::stored(live).filter(is_gone).map(|column| column.name.clone()).collect();
    for column in &gone {
        let name = tables::relation_name(live.oid)?;
        spi::run(&format!("ALTER FOREIGN TABLE {name} DROP COLUMN {}", quote_identifier(column)), &[])?;
    }
    Ok(gone)
}
