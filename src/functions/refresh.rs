//! `cloudsync_refresh`, `cloudsync_sync` and `cloudsync_reconcile`.

use crate::refresh::run::{run, Order, Purpose};
use crate::refresh::state::Outcome;
use crate::report::{fail, Report};
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{AllocatedByRust, IntoDatum, PgSqlErrorCode as Code};

type Row = PgHeapTuple<'static, AllocatedByRust>;

/// An outcome as a row of cloudsync.outcome.
fn row(outcome: &Outcome) -> Result<Row, Report> {
    let mut row = PgHeapTuple::new_composite_type("cloudsync.outcome")
        .map_err(|e| fail(Code::ERRCODE_INTERNAL_ERROR, e.to_string(), "", ""))?;
    let o = outcome;
    set(&mut row, "server", Some(o.server.clone()))?;
    set(&mut row, "collection", Some(o.collection.clone()))?;
    set(&mut row, "status", Some(o.status.clone()))?;
    set(&mut row, "mode", o.mode.clone())?;
    for (name, value) in [
        ("fetched", o.fetched),
        ("inserted", o.inserted),
        ("updated", o.updated),
        ("unchanged", o.unchanged),
        ("stale", o.stale),
        ("deleted", o.deleted),
        ("rejected", o.rejected),
        ("calls", o.calls),
        ("bytes", o.bytes),
    ] {
        set(&mut row, name, Some(value))?;
    }
    let started = crate::value::timestamp(o.started_us);
    // SAFETY: the datum is a timestamptz made by `value::timestamp`.
    let started: Option<TimestampWithTimeZone> = unsafe { pgrx::FromDatum::from_datum(started, false) };
    set(&mut row, "started_at", started)?;
    let elapsed = Interval::from_micros(o.elapsed_us);
    set(&mut row, "elapsed", Some(elapsed))?;
    set(&mut row, "sqlstate", o.sqlstate.clone())?;
    set(&mut row, "message", o.message.clone())?;
    set(&mut row, "hint", o.hint.clone())?;
    Ok(row)
}

fn set<T: IntoDatum>(row: &mut Row, name: &str, value: Option<T>) -> Result<(), Report> {
    let Some(value) = value else { return Ok(()) };
    row.set_by_name(name, value).map_err(|e| fail(Code::ERRCODE_INTERNAL_ERROR, e.to_string(), "", ""))
}

/// Warns of what did not go well: the row alone is easily overlooked.
fn warn(outcomes: &[Outcome]) {
    for outcome in outcomes.iter().filter(|o| matches!(o.status.as_str(), "failed" | "partial" | "deferred")) {
        let message = format!("cloudsync: {}", outcome.message.clone().unwrap_or_default());
        match &outcome.hint {
            Some(hint) => ErrorReport::new(Code::ERRCODE_WARNING, message, "cloudsync").set_hint(hint.clone()),
            None => ErrorReport::new(Code::ERRCODE_WARNING, message, "cloudsync"),
        }
        .report(PgLogLevel::WARNING);
    }
}

/// A server must be named.
fn required(server: Option<String>, example: &str) -> Result<String, Report> {
    let code = Code::ERRCODE_NULL_VALUE_NOT_ALLOWED; // 22004
    server.ok_or_else(|| fail(code, "the server must not be null", "", example))
}

/// Brings local tables up to date, in the caller's transaction.
#[pg_extern]
fn cloudsync_refresh(
    server: Option<String>,
    collection: default!(Option<String>, "NULL"),
) -> Result<SetOfIterator<'static, pgrx::composite_type!('static, "cloudsync.outcome")>, ErrorReport> {
    let server = required(server, "SELECT * FROM cloudsync_refresh('name of the server');")?;
    let collections = collection.map(|name| vec![name]);
    let outcomes = run(Order { server: &server, collections, committing: false, purpose: Purpose::Refresh })?;
    warn(&outcomes);
    let rows = outcomes.iter().map(row).collect::<Result<Vec<_>, Report>>()?;
    Ok(SetOfIterator::new(rows))
}

/// Reads one collection completely, and marks the rows that are not in it as deleted.
#[pg_extern]
fn cloudsync_reconcile(
    server: String,
    collection: String,
) -> Result<pgrx::composite_type!('static, "cloudsync.outcome"), ErrorReport> {
    one(&server, collection, Purpose::Reconcile)
}

/// Fills one column of the rows that are there, as for a column that is new: the app is asked for it and the key alone where that
/// is possible, rows whose value differs are updated, and the cursor stays where it is.
#[pg_extern]
fn cloudsync_backfill(
    server: String,
    collection: String,
    column_name: String,
) -> Result<pgrx::composite_type!('static, "cloudsync.outcome"), ErrorReport> {
    one(&server, collection, Purpose::Backfill { column: column_name })
}

fn one(server: &str, collection: String, purpose: Purpose) -> Result<Row, ErrorReport> {
    let order = Order { server, collections: Some(vec![collection]), committing: false, purpose };
    let outcomes = run(order)?;
    warn(&outcomes);
    match outcomes.first() {
        Some(outcome) => Ok(row(outcome)?),
        None => Err(fail(Code::ERRCODE_INTERNAL_ERROR, "the run gave no outcome", "", "").into()),
    }
}

/// The same as cloudsync_refresh, committing batch by batch. Must be CALLed outside a transaction block.
#[pg_extern(sql = r#"
CREATE PROCEDURE cloudsync_sync(server text, collections text[] DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#)]
fn cloudsync_sync(
    server: Option<String>,
    collections: Option<Vec<Option<String>>>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<(), ErrorReport> {
    let server = required(server, "CALL cloudsync_sync('name of the server');")?;
    let connection = NonAtomic::connect(fcinfo)?;
    let collections = collections.map(|names| names.into_iter().flatten().collect());
    let outcomes = run(Order { server: &server, collections, committing: true, purpose: Purpose::Refresh })?;
    drop(connection);
    warn(&outcomes);
    let failed: Vec<&Outcome> = outcomes.iter().filter(|o| matches!(o.status.as_str(), "failed" | "partial")).collect();
    let Some(first) = failed.first() else { return Ok(()) };
    let names: Vec<String> = failed.iter().map(|o| o.collection.clone()).collect();
    Err(fail(
        code_of(first.sqlstate.as_deref().unwrap_or_default()),
        format!(
            "cloudsync: {} of {} collections of server \"{server}\" failed: {}",
            failed.len(),
            outcomes.len(),
            names.join(", ")
        ),
        first.message.clone().unwrap_or_default(),
        first.hint.clone().unwrap_or_default(),
    )
    .into())
}

/// The code of a SQLSTATE's five characters.
fn code_of(sqlstate: &str) -> Code {
    let number = sqlstate
        .bytes()
        .enumerate()
        .fold(0i32, |code, (at, c)| code + (i32::from(c.wrapping_sub(b'0') & 0x3f) << (6 * at)));
    Code::from(number as isize)
}

/// An SPI connection in which the procedure may commit.
struct NonAtomic;

impl NonAtomic {
    fn connect(fcinfo: pg_sys::FunctionCallInfo) -> Result<Self, Report> {
        // SAFETY: Postgres gives a live call structure; its context is a CallContext exactly when its tag says so.
        let atomic = unsafe {
            let context = (*fcinfo).context;
            context.is_null()
                || (*context).type_ != pg_sys::NodeTag::T_CallContext
                || (*context.cast::<pg_sys::CallContext>()).atomic
        };
        if atomic {
            return Err(fail(
                Code::ERRCODE_INVALID_TRANSACTION_TERMINATION, // 2D000
                "cloudsync_sync cannot run inside a transaction block",
                "It commits after each batch, so that an interrupted run goes on where it stopped.",
                "CALL it on its own, outside BEGIN .. COMMIT, or use SELECT * FROM cloudsync_refresh(..).",
            ));
        }
        // SAFETY: closed by Drop; an error closes it with the transaction.
        unsafe { pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32) };
        Ok(NonAtomic)
    }
}

impl Drop for NonAtomic {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: the connection made above is the innermost one.
            unsafe { pg_sys::SPI_finish() };
        }
    }
}
