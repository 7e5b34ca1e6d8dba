//! cloudsync: every collection of a cloud app as a foreign table, and as a local table kept fresh.
//!
//! An arrow means "is used by": `sources/*.json` -> `manifest` -> `http` -> `extract` -> `fdw`, `refresh` -> `functions`,
//! `sql/`. The first three know nothing of Postgres; docs/ARCHITECTURE.md tells the whole.

mod catalog;
mod error;
mod extract;
mod fdw;
mod functions;
mod http;
mod io;
// The pages made from source files read more of them than the server does.
#[allow(dead_code)]
mod manifest;
mod options;
mod refresh;
mod report;
mod secret;
mod sources;
mod spi;
mod value;
mod worker;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;

pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/schema.sql", name = "schema", bootstrap);
extension_sql_file!(
    "../sql/wrapper.sql",
    name = "wrapper",
    requires = [
        functions::lists::cloudsync_list_sources,
        functions::lists::cloudsync_list_collections,
        options::cloudsync_fdw_validator,
        fdw::cloudsync_fdw_handler,
    ]
);
extension_sql_file!(
    "../sql/views.sql",
    name = "views",
    requires = ["wrapper", functions::schedule::cloudsync_job_name, functions::schedule::cloudsync_next_occurrence,]
);
extension_sql_file!("../sql/rights.sql", name = "rights", finalize);

/// Plain http, private, loopback and link-local addresses; a superuser's decision.
pub static ALLOW_PRIVATE_ADDRESSES: GucSetting<bool> = GucSetting::<bool>::new(false);
/// How long the history of runs is kept, in days.
pub static KEEP_RUNS_DAYS: GucSetting<i32> = GucSetting::<i32>::new(30);

#[allow(non_snake_case)]
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    GucRegistry::define_bool_guc(
        c"cloudsync.allow_private_addresses",
        c"Allows sources at plain http, private, loopback and link-local addresses.",
        c"Off, a server option or a reply of an app cannot make the database call into its own network.",
        &ALLOW_PRIVATE_ADDRESSES,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"cloudsync.keep_runs_days",
        c"Days that the history in cloudsync.runs is kept.",
        c"Older runs of a collection are dropped when it runs again.",
        &KEEP_RUNS_DAYS,
        1,
        36500,
        GucContext::Userset,
        GucFlags::default(),
    );
}
