//! Lets one piece of database work fail without taking the whole run with it.

use crate::report::{fail, Report};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use pgrx::PgSqlErrorCode as Code;
use std::panic::AssertUnwindSafe;

enum Failure {
    Ours(Report),
    Raised(CaughtError),
}

/// Runs `work` in a subtransaction: on any failure its changes are undone and the failure is given back.
///
/// Cancels, terminations and shutdowns are not failures of the work: they go on up.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, Report>) -> Result<T, Report> {
    // SAFETY: the pattern of PL/pgSQL's exception blocks: context and owner are put back on both ways out, and nothing of
    // the subtransaction is used after it.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let work = AssertUnwindSafe(work);
        let result = PgTryBuilder::new(AssertUnwindSafe(|| {
            let AssertUnwindSafe(work) = work;
            work().map_err(Failure::Ours)
        }))
        .catch_others(|caught| Err(Failure::Raised(caught)))
        .catch_rust_panic(|caught| Err(Failure::Raised(caught)))
        .execute();
        if result.is_ok() {
            pg_sys::ReleaseCurrentSubTransaction();
        } else {
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        match result {
            Ok(value) => Ok(value),
            Err(Failure::Ours(report)) => Err(report),
            Err(Failure::Raised(caught)) => report_of(caught),
        }
    }
}

fn report_of<T>(caught: CaughtError) -> Result<T, Report> {
    match &caught {
        CaughtError::PostgresError(error) | CaughtError::ErrorReport(error) => {
            let interrupted = [
                Code::ERRCODE_QUERY_CANCELED,
                Code::ERRCODE_ADMIN_SHUTDOWN,
                Code::ERRCODE_CRASH_SHUTDOWN,
                Code::ERRCODE_IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            ];
            if interrupted.contains(&error.sql_error_code()) {
                caught.rethrow();
            }
            Err(Report::of_postgres(error))
        }
        CaughtError::RustPanic { ereport, .. } => {
            Err(fail(Code::ERRCODE_INTERNAL_ERROR, ereport.message().to_string(), "", "Please report this."))
        }
    }
}
