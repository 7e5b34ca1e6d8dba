//! What a reader is, and which one reads a collection: the generic one of data, or the module of a protocol of its own.
//!
//! A new protocol is one module with one `impl Reader` and one line in [`dispatch`]; nothing above this layer names it.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::facebook::Facebook;
use super::google_ads::GoogleAds;
use super::marketo::MarketoBulk;
use super::rest::Rest;
use super::salesforce::Salesforce;
use super::sfmc::MarketingCloud;
use super::sink::Sink;
use super::{Described, Op, OutColumn, Pushed, ReadEnd, ReadRequest};
use crate::error::SyncError;
use crate::http::{Account, ApiClient, Request};
use crate::manifest::{Collection, Protocol, Source};

/// One way of talking to an app.
pub(super) trait Reader {
    /// Conditions, order and limit are sent to the app in a query language.
    const QUERIES: Option<Queries> = None;

    /// Reads what `request` asks for and gives its pages to `sink`.
    async fn read(api: &ApiClient, request: ReadRequest, sink: &Sink) -> Result<ReadEnd, SyncError>;

    /// Tries the credentials (`None`), or whether a collection may be read, with calls as cheap as there are.
    async fn check(api: &ApiClient, collection: Option<&Collection>) -> Result<(), SyncError>;

    /// The first call of a read as EXPLAIN shows it; nothing is sent.
    fn first_request(request: &ReadRequest, account: &Account) -> Result<Request, SyncError>;

    /// How well the app reads a condition on a column.
    fn pushable(collection: &Collection, column: &OutColumn, op: Op) -> Pushed;

    /// Whether the app's order by a column is exactly Postgres's. Asked only of readers with [`Reader::QUERIES`].
    fn order_pushable(_collection: &Collection, _column: &OutColumn) -> bool {
        false
    }

    /// The stream of calls that can fill this collection's table with others; `None` for one of its own, or where the
    /// generic rules of [`super::group`] say it.
    fn stream(_collection: &Collection, _is_incremental: bool) -> Option<&'static str> {
        None
    }

    /// Whether the app is asked what fields a collection has.
    fn is_described(_collection: &Collection) -> bool {
        false
    }

    /// Whether a record's fields are asked for by name, so that one of them can be had without the others.
    fn asks_for_fields(_source: &Source, _collection: &Collection) -> bool {
        false
    }

    /// What fields a collection has for this account. `None` when nothing changed since the `Last-Modified` of `since`, or
    /// the source file says it alone.
    async fn describe(
        _api: &ApiClient,
        _collection: &Collection,
        _since: Option<&str>,
    ) -> Result<Option<Described>, SyncError> {
        Ok(None)
    }
}

/// What a query language spares: the planner counts calls by it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Queries {
    /// Records of one page.
    pub page: u32,
    /// Keys that one query can name.
    pub keys: u32,
}

/// Calls `$call` with `$reader` as the reader of a collection (`None`: of the source itself).
macro_rules! dispatch {
    ($source:expr, $collection:expr, $reader:ident => $call:expr) => {{
        let collection: Option<&Collection> = $collection;
        match ($source.protocol, collection.and_then(|c| c.reader.as_deref())) {
            (Protocol::Salesforce, _) => {
                type $reader = Salesforce;
                $call
            }
            (Protocol::GoogleAds, _) => {
                type $reader = GoogleAds;
                $call
            }
            (Protocol::Rest, Some("marketo_bulk")) => {
                type $reader = MarketoBulk;
                $call
            }
            (Protocol::Rest, Some("sfmc_soap")) => {
                type $reader = MarketingCloud;
                $call
            }
            (Protocol::Rest, Some("facebook_objects" | "facebook_insights")) => {
                type $reader = Facebook;
                $call
            }
            (Protocol::Rest, _) => {
                type $reader = Rest;
                $call
            }
        }
    }};
}

/// Reads what `request` asks for and gives its pages to `sink`.
pub async fn read(api: &ApiClient, request: ReadRequest, sink: &Sink) -> Result<ReadEnd, SyncError> {
    let collection = request.outputs.first().map(|output| output.collection.clone());
    dispatch!(api.account().source, collection.as_deref(), R => R::read(api, request, sink).await)
}

/// Tries the credentials (`None`), or whether a collection may be read.
pub async fn check(api: &ApiClient, collection: Option<&Collection>) -> Result<(), SyncError> {
    dispatch!(api.account().source, collection, R => R::check(api, collection).await)
}

/// The first call that a request makes; nothing is sent.
pub fn first_request(request: &ReadRequest, account: &Account) -> Result<Request, SyncError> {
    let collection = request.outputs.first().map(|output| output.collection.as_ref());
    dispatch!(account.source, collection, R => R::first_request(request, account))
}

/// How well the app reads a condition on a column.
pub fn pushable(source: &Source, collection: &Collection, column: &OutColumn, op: Op) -> Pushed {
    dispatch!(source, Some(collection), R => R::pushable(collection, column, op))
}

/// Whether the app can order by a column exactly as Postgres does.
pub fn order_pushable(source: &Source, collection: &Collection, column: &OutColumn) -> bool {
    dispatch!(source, Some(collection), R => R::QUERIES.is_some() && R::order_pushable(collection, column))
}

/// What the collection's query language takes, if it has one.
pub fn queries(source: &Source, collection: &Collection) -> Option<Queries> {
    dispatch!(source, Some(collection), R => R::QUERIES)
}

/// The stream of calls that a reader of its own fills a collection's table with; see [`Reader::stream`].
pub(super) fn stream(source: &Source, collection: &Collection, is_incremental: bool) -> Option<&'static str> {
    dispatch!(source, Some(collection), R => R::stream(collection, is_incremental))
}

/// Whether the app is asked what fields a collection has.
pub fn is_described(source: &Source, collection: &Collection) -> bool {
    dispatch!(source, Some(collection), R => R::is_described(collection))
}

/// Whether one field of a collection's records can be had without the others.
pub fn asks_for_fields(source: &Source, collection: &Collection) -> bool {
    dispatch!(source, Some(collection), R => R::asks_for_fields(source, collection))
}

/// What fields a collection has for this account; see [`Reader::describe`].
pub async fn describe(
    api: &ApiClient,
    collection: &Collection,
    since: Option<&str>,
) -> Result<Option<Described>, SyncError> {
    dispatch!(api.account().source, Some(collection), R => R::describe(api, collection, since).await)
}
