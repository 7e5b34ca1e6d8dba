//! Reads what Salesforce Marketing Cloud gives by SOAP alone (its Partner API): lists.
//!
//! Describe tells which properties of an object the account can retrieve, and only those are asked for: one that cannot
//! be is refused together with the rest. The engine keeps the answer; a reading without it describes first. A Retrieve
//! gives batches, and what its `OverallStatus` says decides, whatever the HTTP status. `soap.rs` has the messages,
//! `filter.rs` the conditions, `sync.rs` what a refresh and a live query read.
//!
//! Docs: developer.salesforce.com, Marketing Cloud SOAP API: Retrieve, Describe, RetrieveRequest, SimpleFilterPart.
//!
//! Layer: extract. Knows nothing of Postgres.

mod describe;
mod filter;
mod soap;
mod sync;
#[cfg(test)]
mod tests;

use super::reader::Reader;
use super::sink::Sink;
use super::{single_output, Described, Mode, Op, OutColumn, Pushed, ReadEnd, ReadRequest, Scan};
use crate::error::SyncError;
use crate::http::{Account, ApiClient, Request};
use crate::manifest::Collection;
use sync::Reading;

/// The reader of collections that are retrieved by SOAP (`"reader": "sfmc_soap"`).
pub struct MarketingCloud;

impl Reader for MarketingCloud {
    async fn read(api: &ApiClient, request: ReadRequest, sink: &Sink) -> Result<ReadEnd, SyncError> {
        let api = &api.prepared().await?;
        let output = single_output(&request)?;
        supported(&output.collection)?;
        match &request.mode {
            Mode::Full { .. } | Mode::Incremental | Mode::Columns => {
                Reading::new(api, output, false, sink).await?.all().await
            }
            Mode::Keys => Reading::new(api, output, true, sink).await?.all().await,
            Mode::Scan(scan) => {
                sink.until_room().await?;
                Reading::new(api, output, false, sink).await?.scan(scan).await
            }
        }
    }

    /// Describe answers whoever has a token, so one record is retrieved.
    async fn check(api: &ApiClient, collection: Option<&Collection>) -> Result<(), SyncError> {
        let api = &api.prepared().await?;
        let Some(collection) = collection else {
            return Err(SyncError::internal("the source itself is not read by SOAP"));
        };
        supported(collection)?;
        let keys = collection.primary_key.iter().filter_map(|name| collection.column(name));
        let keys: Vec<String> = keys.map(|column| column.path().join(".")).collect();
        let answer = soap::retrieve(api, soap::retrieve_request(collection, &keys, None, 1)?).await?;
        answer.has_more(api, collection).map(drop)
    }

    fn first_request(request: &ReadRequest, _account: &Account) -> Result<Request, SyncError> {
        let output = single_output(request)?;
        supported(&output.collection)?;
        let scan = match &request.mode {
            Mode::Scan(scan) => scan.clone(),
            _ => Scan::default(),
        };
        sync::first_request(output, &scan)
    }

    fn pushable(_collection: &Collection, column: &OutColumn, op: Op) -> Pushed {
        filter::pushable(column, op)
    }

    fn is_described(_collection: &Collection) -> bool {
        true
    }

    async fn describe(
        api: &ApiClient,
        collection: &Collection,
        _since: Option<&str>,
    ) -> Result<Option<Described>, SyncError> {
        let api = &api.prepared().await?;
        let properties = describe::properties(api, collection).await?;
        Ok(Some(describe::described(collection, &properties)))
    }
}

fn supported(collection: &Collection) -> Result<(), SyncError> {
    match &collection.unsupported {
        Some(reason) => Err(SyncError::Unsupported { reason: reason.clone() }),
        None => Ok(()),
    }
}
