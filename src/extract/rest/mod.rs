//! Reads every app that data can describe: listings, pages, slices, change feeds, children, single records.
//!
//! Decides nothing about one app: what differs between apps is in their source files.
//!
//! Layer: extract. Knows nothing of Postgres.

mod alone;
mod below;
pub(super) mod bound;
mod check;
pub(super) mod deleted;
pub(super) mod discover;
pub(super) mod feed;
pub(super) mod full;
pub(super) mod incremental;
mod job;
mod lookback;
mod lookups;
mod made;
pub(super) mod names;
pub(super) mod onward;
pub mod pages;
mod parents;
pub mod raw;
pub(super) mod request;
mod scan;
mod slices;
pub(super) mod tables;
mod take;
pub(super) mod walk;
mod wide;
pub(super) mod windows;

pub use discover::by_file;
pub use feed::is_followed;
pub use tables::KEY_SEPARATOR;

use super::reader::Reader;
use super::sink::Sink;
use super::{json, single_output, Described, Mode, Op, OutColumn, Output, Pushed, ReadEnd, ReadRequest, Scan};
use crate::error::SyncError;
use crate::http::{Account, ApiClient, Request};
use crate::manifest::{Collection, Source};

/// The reader of everything that data can describe.
pub struct Rest;

impl Reader for Rest {
    async fn read(api: &ApiClient, request: ReadRequest, sink: &Sink) -> Result<ReadEnd, SyncError> {
        let api = &api.prepared().await?;
        let outputs = &request.outputs;
        if let Mode::Scan(scan) = &request.mode {
            return scan::read(api, single_output(&request)?, scan, sink).await;
        }
        let read = read_together(api, outputs, &request.mode, true, sink).await;
        let mut end = match read {
            Err(error) if alone::may_help(api.account(), outputs, &error) => {
                alone::read(api, outputs, &request.mode, sink).await?
            }
            read => read?,
        };
        let is_full = match &request.mode {
            Mode::Keys | Mode::Columns | Mode::Scan(_) => return Ok(end),
            Mode::Full { .. } => true,
            Mode::Incremental => false,
        };
        deleted::read_all(api, outputs, &mut end, is_full, sink).await?;
        Ok(end)
    }

    async fn check(api: &ApiClient, collection: Option<&Collection>) -> Result<(), SyncError> {
        check::check(&api.prepared().await?, collection).await
    }

    fn first_request(request: &ReadRequest, account: &Account) -> Result<Request, SyncError> {
        let output = request.outputs.first().ok_or_else(|| SyncError::internal("a request without a table"))?;
        let scan = match &request.mode {
            Mode::Scan(scan) => scan.clone(),
            _ => Scan::default(),
        };
        let account = &crate::http::without_calls(account);
        // A query for a key that no record can have makes no call.
        Ok(scan::first_request(account, output, &scan)?.unwrap_or_default())
    }

    fn pushable(collection: &Collection, column: &OutColumn, op: Op) -> Pushed {
        scan::pushable(collection, column, op)
    }

    fn is_described(collection: &Collection) -> bool {
        collection.discover.is_some()
    }

    fn asks_for_fields(source: &Source, collection: &Collection) -> bool {
        request::bases(source, collection).is_ok_and(|bases| bases.iter().all(|base| base.select.is_some()))
    }

    async fn describe(
        api: &ApiClient,
        collection: &Collection,
        _since: Option<&str>,
    ) -> Result<Option<Described>, SyncError> {
        discover::describe(api, collection).await
    }
}

/// Reads what one stream of calls gives for all outputs.
async fn read_together(
    api: &ApiClient,
    outputs: &[Output],
    mode: &Mode,
    keep_position: bool,
    sink: &Sink,
) -> Result<ReadEnd, SyncError> {
    match mode {
        Mode::Full { resume } => full::read(api, outputs, resume.as_ref(), keep_position, sink).await,
        Mode::Keys | Mode::Columns => full::read(api, outputs, None, false, sink).await,
        Mode::Incremental => incremental::read(api, outputs, sink).await,
        Mode::Scan(_) => Err(SyncError::internal("a live query is read for itself")),
    }
}

#[cfg(test)]
mod testing;

#[cfg(test)]
#[path = "full_tests.rs"]
mod full_tests;

#[cfg(test)]
#[path = "feed_tests.rs"]
mod feed_tests;

#[cfg(test)]
#[path = "scan_tests.rs"]
mod scan_tests;

#[cfg(test)]
#[path = "incremental_tests.rs"]
mod incremental_tests;

#[cfg(test)]
mod styles_testing;

#[cfg(test)]
#[path = "styles_tests.rs"]
mod styles_tests;

#[cfg(test)]
#[path = "job_tests.rs"]
mod job_tests;

#[cfg(test)]
#[path = "shapes_tests.rs"]
mod shapes_tests;

#[cfg(test)]
#[path = "below_tests.rs"]
mod below_tests;

#[cfg(test)]
#[path = "lookups_tests.rs"]
mod lookups_tests;
