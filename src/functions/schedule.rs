//! `cloudsync_schedule` and `cloudsync_unschedule`: jobs of pg_cron that CALL cloudsync_sync.

use crate::catalog;
use crate::refresh::context::check_writable;
use crate::report::{fail, Report};
use crate::spi;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::quote_literal;
use pgrx::{IntoDatum, PgSqlErrorCode as Code};
use std::str::FromStr;

/// The name of a server's job; pg_cron before 1.5 keeps 63 bytes of it.
fn job_name(server: &str) -> String {
    let name = format!("cloudsync {server}");
    if name.len() < 64 {
        return name;
    }
    let hash = xxhash_rust::xxh3::xxh3_64(server.as_bytes());
    let head: String = name
        .chars()
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= 46).then_some(c)
        })
        .collect();
    format!("{head} {hash:016x}")
}

fn require_pg_cron() -> Result<(), Report> {
    let here: Option<bool> =
        spi::value("SELECT true FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'pg_cron'", &[])?;
    if here.is_some() {
        return Ok(());
    }
    Err(fail(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, // 55000
        "pg_cron is not installed in this database",
        "Schedules are jobs of pg_cron.",
        "Add pg_cron to shared_preload_libraries, set cron.database_name to this database, restart, and run \
         CREATE EXTENSION pg_cron.",
    ))
}

/// Schedules CALL cloudsync_sync(server) as a job of pg_cron, replacing the server's present one. Gives the job's id.
#[pg_extern]
fn cloudsync_schedule(server: String, schedule: String) -> Result<i64, ErrorReport> {
    Ok(set_schedule(&server, &schedule)?)
}

pub fn set_schedule(server: &str, schedule: &str) -> Result<i64, Report> {
    check_writable()?;
    catalog::server(server)?;
    require_pg_cron()?;
    let schema: Option<String> = spi::value(
        "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n \
         ON n.oid OPERATOR(pg_catalog.=) e.extnamespace WHERE e.extname OPERATOR(pg_catalog.=) 'cloudsync'",
        &[],
    )?;
    // One statement only: pg_cron runs several as one transaction, in which the procedure could not commit.
    let command =
        format!("CALL {}.cloudsync_sync({})", schema.unwrap_or_else(|| "public".into()), quote_literal(server));
    let id: Option<i64> =
        spi::value("SELECT cron.schedule($1, $2, $3)", &[job_name(server).into(), schedule.into(), command.into()])?;
    Ok(id.unwrap_or_default())
}

/// Ends a server's schedule. Gives whether there was one.
#[pg_extern]
fn cloudsync_unschedule(server: String) -> Result<bool, ErrorReport> {
    check_writable()?;
    catalog::server(&server)?;
    Ok(unschedule(&server)?)
}

pub fn unschedule(server: &str) -> Result<bool, Report> {
    require_pg_cron()?;
    let id: Option<i64> = spi::value(
        "SELECT jobid FROM cron.job WHERE jobname::pg_catalog.text OPERATOR(pg_catalog.=) $1 \
         AND (username OPERATOR(pg_catalog.=) current_user OR pg_catalog.current_setting('is_superuser')::pg_catalog.bool)",
        &[job_name(server).into()],
    )?;
    let Some(id) = id else { return Ok(false) };
    spi::run("SELECT cron.unschedule($1)", &[id.into()])?;
    Ok(true)
}

/// When a schedule of pg_cron is due next after an instant, both by the clock of UTC; NULL for one that is not understood.
///
/// pg_cron itself does not tell. `[n] seconds` counts from `after`.
#[pg_extern(immutable, strict)]
fn cloudsync_next_occurrence(schedule: String, after: TimestampWithTimeZone) -> Option<TimestampWithTimeZone> {
    let us = crate::value::unix_us(after.into_datum()?);
    let next_us = next_occurrence(&schedule, us)?;
    // SAFETY: the datum is a timestamptz made by `value::timestamp`.
    unsafe { pgrx::FromDatum::from_datum(crate::value::timestamp(next_us), false) }
}

/// The same in microseconds since 1970.
fn next_occurrence(schedule: &str, after_us: i64) -> Option<i64> {
    if let Some(seconds) = schedule.trim().strip_suffix("seconds").or_else(|| schedule.trim().strip_suffix("second")) {
        let seconds: i64 = seconds.trim().parse().ok()?;
        return after_us.checked_add(seconds.checked_mul(1_000_000)?);
    }
    // pg_cron writes the last day of a month as `$`, croner as `L`.
    let cron = croner::Cron::from_str(&schedule.replace('$', "L")).ok()?;
    let after = chrono::DateTime::from_timestamp_micros(after_us)?;
    Some(cron.find_next_occurrence(&after, false).ok()?.timestamp_micros())
}

/// The name under which a server's job is found; for the status view.
#[pg_extern(immutable, strict)]
fn cloudsync_job_name(server: String) -> String {
    job_name(&server)
}
