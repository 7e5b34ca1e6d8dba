//! Reads every app that data can describe: listings, pages, slices, change feeds, children, single records.
//!
//! Decides nothing about one app: what differs between apps is in their source files.
//!
//! Layer: extract. Knows nothing of Postgres.

mod below;
mod bound;
mod deleted;
mod discover;
mod feed;
mod full;
mod incremental;
mod lookback;
mod made;
mod names;
mod onward;
pub mod pages;
pub mod raw;
mod request;
mod scan;
mod slices;
mod tables;
mod take;
mod walk;
mod wide;
mod windows;

pub use discover::by_file;
pub use feed::is_followed;
pub use tables::KEY_SEPARATOR;

use super::reader::Reader;
use super::sink::Sink;
use super::{json, single_output, Described, Mode, Op, OutColumn, Pushed, ReadEnd, ReadRequest, Scan};
use crate::error::SyncError;
use crate::http::{Account, ApiClient, Reply, Request};
use crate::manifest::{Collection, Source};

/// The reader of everything that data can describe.
pub struct Rest;

impl Reader for Rest {
    async fn read(api: &ApiClient, request: ReadRequest, sink: &Sink) -> Result<ReadEnd, SyncError> {
        let api = &api.prepared().await?;
        let outputs = &request.outputs;
        let (mut end, is_full) = match &request.mode {
            Mode::Full { resume } => (full::read(api, outputs, resume.as_ref(), true, sink).await?, true),
            Mode::Keys | Mode::Columns => return full::read(api, outputs, None, false, sink).await,
            Mode::Incremental => (incremental::read(api, outputs, sink).await?, false),
            Mode::Scan(scan) => return scan::read(api, single_output(&request)?, scan, sink).await,
        };
        deleted::read_all(api, outputs, &mut end, is_full, sink).await?;
        Ok(end)
    }

    async fn check(api: &ApiClient, collection: Option<&Collection>) -> Result<(), SyncError> {
        let api = &api.prepared().await?;
        let account = api.account();
        let request = match (collection, &account.source.check_path) {
            (None, Some(path)) => Request { target: path.clone(), ..Request::default() },
            (None, None) => {
                let served = account.source.collections.iter().find(|c| c.unsupported.is_none() && c.path.is_some());
                let served = served.ok_or_else(|| SyncError::internal("the source has nothing to check with"))?;
                first_page(account, served)?
            }
            (Some(collection), _) => {
                let bases = request::bases(&account.source, collection)?;
                let base = bases.first().ok_or_else(|| SyncError::internal("a child collection without a parent"))?;
                first_page(account, base)?
            }
        };
        let is_json = |reply: &Reply| json::check(pages::Text::of(&reply.body).as_str()).map_err(|e| e.to_string());
        api.call_parsed(request, is_json).await
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

/// The first page of a listing, for as few records as the app gives.
fn first_page(account: &Account, base: &Collection) -> Result<Request, SyncError> {
    walk::first_request(account, base, &[], &walk::Part { limit: Some(1), ..walk::Part::default() })
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
#[path = "shapes_tests.rs"]
mod shapes_tests;

#[cfg(test)]
#[path = "below_tests.rs"]
mod below_tests;
