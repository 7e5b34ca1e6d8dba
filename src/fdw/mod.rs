//! Live foreign tables: the planner's and the executor's side of a scan.

use pgrx::prelude::*;

/// The foreign-data wrapper's callbacks.
#[pg_extern(sql = "CREATE FUNCTION cloudsync_fdw_handler() RETURNS fdw_handler STRICT LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';")]
fn cloudsync_fdw_handler() -> pgrx::PgBox<pg_sys::FdwRoutine> {
    // SAFETY: the node is zeroed: a callback that is not set is one that we do not offer.
    unsafe { pgrx::PgBox::<pg_sys::FdwRoutine>::alloc_node(pg_sys::NodeTag::T_FdwRoutine).into_pg_boxed() }
}
