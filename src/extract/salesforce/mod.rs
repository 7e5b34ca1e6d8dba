//! Reads Salesforce: SOQL over REST, Bulk API 2.0 for large first loads, describe for columns.
//!
//! One query and its pages for each read, and nothing else unless an option asks for it: `hard_deletes` (one call for
//! deletions), `bulk_threshold` (a job instead of many pages), `formula_refresh_hours` (a full pass now and then).
//! `sync.rs` decides what a refresh reads and leaves, `scan.rs` how a live query is asked, `plan.rs` which fields, `read.rs`
//! and `query.rs` how pages follow each other.
//!
//! Docs: REST API Developer Guide; Bulk API 2.0 and Bulk API Developer Guide; SOQL and SOSL Reference; Object Reference.
//!
//! Layer: extract. Knows nothing of Postgres.

mod bulk;
mod bulk_results;
#[cfg(test)]
mod bulk_tests;
mod deleted;
mod describe;
mod plan;
mod push;
mod query;
mod read;
#[cfg(test)]
mod reading_tests;
mod scan;
mod soql;
mod sync;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod testing_server;
mod wide;

pub use describe::list_objects;

use super::reader::{Queries, Reader};
use super::sink::Sink;
use super::{single_output, Described, Mode, Op, OutColumn, Pushed, ReadEnd, ReadRequest};
use crate::error::SyncError;
use crate::http::{Account, ApiClient, Request};
use crate::manifest::{Collection, Source};
use plan::Plan;
use read::{Run, Sequence};

/// The reader of Salesforce.
pub struct Salesforce;

impl Reader for Salesforce {
    const QUERIES: Option<Queries> = Some(Queries { page: 2000, keys: 200 });

    async fn read(api: &ApiClient, request: ReadRequest, sink: &Sink) -> Result<ReadEnd, SyncError> {
        let output = single_output(&request)?;
        let plan = Plan::new(output, api.account())?;
        let mut run = Run::new(api, sink, plan, matches!(request.mode, Mode::Keys));
        let checkpoint = match &request.mode {
            Mode::Full { resume } => Some(sync::full(&mut run, resume.as_ref()).await?),
            Mode::Incremental => Some(sync::incremental(&mut run).await?),
            Mode::Scan(wanted) => {
                scan::scan(&mut run, wanted).await?;
                None
            }
            Mode::Keys => {
                sync::keys(&mut run).await?;
                None
            }
            Mode::Columns => {
                sync::columns(&mut run).await?;
                None
            }
        };
        Ok(ReadEnd { checkpoints: vec![checkpoint], notes: run.notes, ..ReadEnd::default() })
    }

    fn first_request(request: &ReadRequest, account: &Account) -> Result<Request, SyncError> {
        let mut plan = Plan::new(single_output(request)?, account)?;
        Ok(match &request.mode {
            Mode::Scan(wanted) => scan::first_request(&plan, wanted),
            Mode::Incremental => read::first_request(&plan, &sync::bounds(&plan)?, Sequence::ByStamp),
            Mode::Full { .. } | Mode::Columns => read::first_request(&plan, &soql::Tail::default(), Sequence::ById),
            Mode::Keys => {
                plan.fields.clear();
                read::first_request(&plan, &soql::Tail::default(), Sequence::ById)
            }
        })
    }

    /// A collection is there and gives one id: what may not be read is no object of a query either.
    async fn check(api: &ApiClient, collection: Option<&Collection>) -> Result<(), SyncError> {
        let root = plan::root(api.account())?;
        let Some(collection) = collection else {
            api.call(Request { target: format!("{root}/limits"), ..Request::default() }).await?;
            return Ok(());
        };
        if let Some(reason) = &collection.unsupported {
            return Err(SyncError::Unsupported { reason: reason.clone() });
        }
        let object = soql::check_name(&collection.object)?;
        api.call(Request {
            target: format!("{root}/query"),
            query: vec![("q".to_string(), format!("SELECT Id FROM {object} LIMIT 1"))],
            ..Request::default()
        })
        .await?;
        Ok(())
    }

    fn pushable(collection: &Collection, column: &OutColumn, op: Op) -> Pushed {
        push::pushable(collection, column, op)
    }

    fn order_pushable(_collection: &Collection, column: &OutColumn) -> bool {
        push::order_pushable(column)
    }

    fn is_described(_collection: &Collection) -> bool {
        true
    }

    fn asks_for_fields(_source: &Source, _collection: &Collection) -> bool {
        true
    }

    async fn describe(
        api: &ApiClient,
        collection: &Collection,
        since: Option<&str>,
    ) -> Result<Option<Described>, SyncError> {
        describe::describe(api, &collection.object, since).await
    }
}
