//! Reads Google Ads: GAQL over REST, one query for each account and table.
//!
//! A table has the rows of all accounts. `customers.rs` decides which accounts there are, `plan.rs` what is asked of a table,
//! `sync.rs` what a refresh reads and leaves, `scan.rs` and `push.rs` how a live query is asked, `calls.rs` how answers come,
//! `gaql.rs` how everything is written.
//!
//! Campaigns, ad groups and ads show no time of their last change. Each is read whole in every run, which is one operation
//! an account however many there are. `change_status` could tell which of them changed: one query in place of three when none
//! did, one more for each kind that did. It is not asked, because it misses what Google changes by itself (a serving status
//! that moves with dates and budgets), and a table that is right is worth two operations an account.
//!
//! Docs: developers.google.com/google-ads/api/docs/reporting/overview; rest/overview.
//!
//! Layer: extract. Knows nothing of Postgres.

mod calls;
mod customers;
mod gaql;
mod plan;
mod push;
mod scan;
mod sync;
#[cfg(test)]
mod testing;

use super::reader::{Queries, Reader};
use super::sink::Sink;
use super::{single_output, Mode, Op, OutColumn, Output, Pushed, ReadEnd, ReadRequest, Scan};
use crate::error::SyncError;
use crate::http::{Account, ApiClient, Request};
use crate::manifest::{field_path, Collection, Format};
use plan::Plan;
use std::sync::Arc;
use sync::Kind;

/// The reader of Google Ads.
pub struct GoogleAds;

impl Reader for GoogleAds {
    // Pages have this size, and no other.
    const QUERIES: Option<Queries> = Some(Queries { page: 10_000, keys: push::LIST_VALUES as u32 });

    async fn read(api: &ApiClient, request: ReadRequest, sink: &Sink) -> Result<ReadEnd, SyncError> {
        let kind = match &request.mode {
            Mode::Full { resume } => Kind::Full(resume.as_ref()),
            Mode::Incremental => Kind::Changes,
            Mode::Keys => Kind::Keys,
            Mode::Columns => Kind::Full(None),
            Mode::Scan(wanted) => {
                let output = single_output(&request)?;
                let plan = Plan::new(output, api.account(), false)?;
                sink.until_room().await?;
                let customers = customers::find(api).await?;
                let notes = scan::Live::new(api, output, sink).read(&plan, wanted, customers).await?;
                return Ok(ReadEnd { notes, ..ReadEnd::default() });
            }
        };
        let customers = customers::find(api).await?;
        sync::read(api, &request.outputs, kind, &customers, sink).await
    }

    /// The credentials are good; an account can be asked for a row of a collection.
    async fn check(api: &ApiClient, collection: Option<&Collection>) -> Result<(), SyncError> {
        let Some(collection) = collection else {
            api.call(customers::accessible_request()).await?;
            return Ok(());
        };
        if let Some(reason) = &collection.unsupported {
            return Err(SyncError::Unsupported { reason: reason.clone() });
        }
        let customers = customers::find(api).await?;
        let first = customers.list.first().ok_or_else(|| SyncError::NotFound {
            status: 0,
            detail: "there is no account to read: set customer_ids or login_customer_id".to_string(),
        })?;
        let output = key_of(collection);
        let plan = Plan::new(&output, api.account(), true)?;
        let today = plan.report.as_ref().map(|report| gaql::Days { first: report.today.utc, last: report.today.utc });
        let query = gaql::Query { limit: Some(1), ..plan.query(today) };
        calls::stream(api, first, &query).await.map(drop)
    }

    fn first_request(request: &ReadRequest, account: &Account) -> Result<Request, SyncError> {
        let output = request.outputs.first().ok_or_else(|| SyncError::internal("a request without a table"))?;
        let plan = Plan::new(output, account, matches!(request.mode, Mode::Keys))?;
        let everything = Scan::default();
        let wanted = if let Mode::Scan(scan) = &request.mode { scan } else { &everything };
        scan::first_request(&plan, output, wanted, customers::named(account)?)
    }

    fn pushable(collection: &Collection, column: &OutColumn, op: Op) -> Pushed {
        push::pushable(collection, column, op)
    }

    fn order_pushable(collection: &Collection, column: &OutColumn) -> bool {
        push::order_pushable(collection, column)
    }
}

/// A table of a collection's key alone.
fn key_of(collection: &Collection) -> Output {
    let columns = collection.primary_key.iter().filter_map(|name| collection.column(name)).map(|column| OutColumn {
        name: column.name.clone(),
        path: field_path(column.field.as_deref().unwrap_or(&column.name)),
        target: super::Target::Text,
        format: Format::Auto,
    });
    let columns: Vec<OutColumn> = columns.collect();
    Output {
        key: (0..columns.len()).collect(),
        columns,
        keep_extra: false,
        checkpoint: None,
        binary: None,
        described: None,
        collection: Arc::new(collection.clone()),
    }
}
