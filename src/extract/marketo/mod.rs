//! Reads Marketo's leads and activities: a first load from bulk extracts, what came after from the log.
//!
//! What data can say of them is in the source file: the listings, their paging tokens, columns, errors. Here is what it
//! cannot: extract jobs with a queue and a quota of their own (`load.rs`, `jobs.rs`, `export.rs`, `file.rs`), a list of changes that holds only
//! the ids of leads (`changes.rs`), and which conditions of a live query the app can be told (`scan.rs`).
//!
//! Docs: Marketo Engage developer guide, "Bulk Extract", "Activities", "Paging Tokens".
//!
//! Layer: extract. Knows nothing of Postgres.

mod changes;
mod export;
mod file;
mod jobs;
mod load;
mod scan;

use super::reader::Reader;
use super::rest::discover;
use super::rest::request::{bases, now_us};
use super::rest::walk::first_token_call;
use super::sink::Sink;
use super::{json, single_output, Described, Mode, Op, OutColumn, Output, Pushed, ReadEnd, ReadRequest, Scan};
use crate::error::SyncError;
use crate::http::{Account, ApiClient, Request};
use crate::manifest::Collection;
use std::sync::Arc;

/// The most types of activities that one call of the log takes.
const TYPES_OF_A_CALL: usize = 10;

/// The reader of leads and activities.
pub struct MarketoBulk;

/// What of Marketo is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Leads,
    Activities,
}

impl What {
    fn of(base: &Collection) -> Self {
        if base.name == "leads" {
            What::Leads
        } else {
            What::Activities
        }
    }

    /// Its name in the addresses of extracts.
    fn name(self) -> &'static str {
        match self {
            What::Leads => "leads",
            What::Activities => "activities",
        }
    }
}

/// The listing that a stream's tables come out of.
fn base_of(api: &ApiClient, outputs: &[Output]) -> Result<Collection, SyncError> {
    let source = Arc::clone(&api.account().source);
    let first = outputs.first().ok_or_else(|| SyncError::internal("a request without a table"))?;
    let base = bases(&source, &first.collection)?.first().copied().cloned();
    base.ok_or_else(|| SyncError::internal("a collection that is listed nowhere"))
}

/// The types of activities that the owner chose.
fn chosen_types(account: &Account) -> Result<Vec<String>, SyncError> {
    let wrong = |detail: &str| SyncError::BadSetting { option: "activity_type_ids".into(), detail: detail.into() };
    let text = crate::http::setting(account, "activity_type_ids").unwrap_or_default();
    let ids: Vec<String> =
        text.split([',', ' ']).map(str::trim).filter(|id| !id.is_empty()).map(str::to_string).collect();
    if ids.iter().any(|id| !id.bytes().all(|c| c.is_ascii_digit())) {
        return Err(wrong("not numbers separated by commas, as in 12,13"));
    }
    if ids.is_empty() {
        return Err(wrong("names no type"));
    }
    Ok(ids)
}

/// The call for the leads of these ids, without fields.
fn leads_by(base: &Collection, filter: &str, values: &[String]) -> Request {
    let query = [("filterType", filter.to_string()), ("filterValues", values.join(","))];
    Request {
        target: base.path.clone().unwrap_or_default(),
        query: query.map(|(name, value)| (name.to_string(), value)).to_vec(),
        rules: base.errors.clone(),
        ..Request::default()
    }
}

impl Reader for MarketoBulk {
    async fn read(api: &ApiClient, request: ReadRequest, sink: &Sink) -> Result<ReadEnd, SyncError> {
        let api = &api.prepared().await?;
        let outputs = &request.outputs;
        let base = base_of(api, outputs)?;
        match &request.mode {
            Mode::Full { resume } => load::full(api, outputs, &base, resume.as_ref(), sink).await,
            Mode::Columns => load::full(api, outputs, &base, None, sink).await,
            Mode::Keys => load::keys(api, outputs, &base, sink).await,
            Mode::Incremental => changes::since_checkpoint(api, outputs, &base, sink).await,
            Mode::Scan(scan) => scan::read(api, single_output(&request)?, &base, scan, sink).await,
        }
    }

    async fn check(api: &ApiClient, collection: Option<&Collection>) -> Result<(), SyncError> {
        let api = &api.prepared().await?;
        let Some(collection) = collection else {
            return Err(SyncError::internal("credentials are checked by the source's own path"));
        };
        let source = Arc::clone(&api.account().source);
        let base = bases(&source, collection)?.first().copied();
        let base = base.ok_or_else(|| SyncError::internal("a collection that is listed nowhere"))?;
        let request = match What::of(base) {
            What::Leads => {
                let mut request = leads_by(base, "id", &["1".to_string()]);
                request.query.push(("fields".to_string(), "id".to_string()));
                request
            }
            What::Activities => first_token_call(api.account(), base, Some(now_us()))?,
        };
        let is_json = |reply: &crate::http::Reply| {
            json::check(super::rest::pages::Text::of(&reply.body).as_str()).map_err(|e| e.to_string())
        };
        api.call_parsed(request, is_json).await
    }

    fn first_request(request: &ReadRequest, account: &Account) -> Result<Request, SyncError> {
        let output = request.outputs.first().ok_or_else(|| SyncError::internal("a request without a table"))?;
        let account = &crate::http::without_calls(account);
        let scan = match &request.mode {
            Mode::Scan(scan) => scan.clone(),
            _ => Scan::default(),
        };
        let base = bases(&account.source, &output.collection)?.first().copied().cloned();
        let base = base.ok_or_else(|| SyncError::internal("a collection that is listed nowhere"))?;
        scan::first_request(account, output, &base, &scan)
    }

    fn pushable(collection: &Collection, column: &OutColumn, op: Op) -> Pushed {
        scan::pushable(collection, column, op)
    }

    fn is_described(collection: &Collection) -> bool {
        collection.discover.is_some()
    }

    async fn describe(
        api: &ApiClient,
        collection: &Collection,
        _since: Option<&str>,
    ) -> Result<Option<Described>, SyncError> {
        discover::describe(api, collection).await
    }
}
