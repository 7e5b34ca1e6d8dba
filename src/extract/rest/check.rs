//! Tries whether the credentials are good, and whether a collection may be read: one call for each listing that its
//! records come out of, for as few records as the app gives.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::below;
use super::parents::given_parents;
use super::request::{bases, now_us, request_with, SECOND_US};
use super::walk::{can_ask_since, Part, Walk};
use super::{json, pages};
use crate::error::SyncError;
use crate::extract::Output;
use crate::http::{own_call, ApiClient, Reply, Request};
use crate::manifest::Collection;
use std::sync::Arc;

/// A listing by change is asked for this much.
const LAST_DAY_US: i64 = 86_400 * SECOND_US;

/// Tries the credentials (`None`), or a collection.
pub async fn check(api: &ApiClient, collection: Option<&Collection>) -> Result<(), SyncError> {
    let source = Arc::clone(&api.account().source);
    let collection = match (collection, &source.check, &source.check_path) {
        (Some(collection), ..) => collection,
        (None, Some(asked), _) => return call(api, own_call(api.account(), asked)?).await,
        (None, None, Some(path)) => return call(api, Request { target: path.clone(), ..Request::default() }).await,
        (None, None, None) => {
            let served = source.collections.iter().find(|c| c.unsupported.is_none() && c.path.is_some());
            served.ok_or_else(|| SyncError::internal("the source has nothing to check with"))?
        }
    };
    let bases = bases(&source, collection)?;
    if let Some(asked) = &collection.check {
        let asked = Collection { errors: collection.errors.clone(), ..Collection::asking(asked) };
        return call(api, request_with(api.account(), &asked, &[], &Default::default(), None)?).await;
    }
    // To make a job only to see whether it may be made would be too much to ask.
    if let (None, Some(_), Some(path)) = (&collection.path, &collection.job, &source.check_path) {
        return call(api, Request { target: path.clone(), ..Request::default() }).await;
    }
    // No field is asked for by name: those that the key needs are enough.
    let output = Output {
        collection: Arc::new(collection.clone()),
        columns: Vec::new(),
        key: Vec::new(),
        keep_extra: false,
        checkpoint: None,
        binary: None,
        described: None,
    };
    for base in bases {
        let Some(parent) = collection.parent.as_ref().filter(|parent| parent.path.is_some()) else {
            let from = can_ask_since(base).then(|| now_us().saturating_sub(LAST_DAY_US));
            let part = Part { from, limit: Some(1), ..Part::default() };
            Walk::new(api, base, std::slice::from_ref(&output), part)?.next_page().await?;
            continue;
        };
        let parents = match given_parents(api, parent, base)? {
            Some(given) => given,
            None => {
                let part = Part { limit: Some(1), ..Part::default() };
                let page = Walk::new(api, base, &[], part)?.next_page().await?;
                page.iter().flat_map(|page| page.records()).map(str::to_string).collect()
            }
        };
        below::try_one(api, &output, base, &parents).await?;
    }
    Ok(())
}

async fn call(api: &ApiClient, request: Request) -> Result<(), SyncError> {
    let is_json = |reply: &Reply| json::check(pages::Text::of(&reply.body).as_str()).map_err(|e| e.to_string());
    api.call_parsed(request, is_json).await
}
