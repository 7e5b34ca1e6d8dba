//! Decides how a report run is ordered, waited for and read: figures that Facebook works out in its own time.
//!
//! `Job Running` may stand beside 100 percent; only `Job Completed` with 100 means that all rows are there. A run takes up to
//! an hour (docs: Insights API, "Limits and best practices"). What it made can be read for weeks, so an interrupted load
//! goes on with the run it ordered.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::insights::Miss;
use super::listing::is_id;
use super::words::is_too_much;
use crate::error::SyncError;
use crate::http::{ApiClient, Reply, Request};
use crate::manifest::{Collection, Pages, Param, Params};
use serde_json::Value;
use std::time::Duration;

/// A run that is not done by then is given up for smaller ones.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The longest time between two looks at a run.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How a run stands.
#[derive(Clone, Debug, PartialEq)]
enum State {
    Running,
    Done,
    /// It ended without rows.
    Failed(String),
}

fn state(run: &Value) -> Result<State, String> {
    let status = run.get("async_status").and_then(Value::as_str);
    let percent = run.get("async_percent_completion").and_then(Value::as_u64);
    Ok(match status.ok_or("not a report run: it has no async_status")? {
        "Job Completed" if percent.is_none_or(|percent| percent >= 100) => State::Done,
        status @ ("Job Failed" | "Job Skipped") => {
            let why = ["error_user_msg", "error_message"].iter().find_map(|name| run.get(*name)?.as_str());
            State::Failed(why.map_or_else(|| status.to_string(), |why| format!("{status}: {why}")))
        }
        _ => State::Running,
    })
}

fn json(reply: &Reply) -> Result<Value, String> {
    serde_json::from_slice(&reply.body).map_err(|error| format!("the reply is not whole JSON: {error}"))
}

/// Orders the run for what a request would have read at once. Gives its id.
pub async fn order(api: &ApiClient, request: Request) -> Result<String, Miss> {
    let form: Vec<(String, String)> = request.query.into_iter().filter(|(name, _)| name != "limit").collect();
    let order = Request { post: true, form, query: Vec::new(), size_place: None, ..request };
    let id = api.call_parsed(order, |reply| {
        let id = json(reply)?.get("report_run_id").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_string));
        id.filter(|id| is_id(id)).ok_or_else(|| "the reply names no report run".to_string())
    });
    id.await.map_err(|error| match error {
        // Nothing else is tried while the app is down.
        SyncError::BadRequest { .. } if is_too_much(&error) => Miss::TooMuch(error.to_string()),
        error => Miss::Error(error),
    })
}

/// Waits until the run's rows can be read.
pub async fn wait(api: &ApiClient, id: &str) -> Result<(), Miss> {
    // The usual backoff of a server is a good first wait, too: small accounts are done within a second.
    let mut wait = api.account().policy.backoff_base * 2;
    let mut waited = Duration::ZERO;
    loop {
        tokio::time::sleep(wait).await;
        waited += wait;
        let request = Request { target: format!("/{{api_version}}/{id}"), ..Request::default() };
        match api.call_parsed(request, |reply| state(&json(reply)?)).await.map_err(Miss::Error)? {
            State::Done => return Ok(()),
            State::Failed(why) => return Err(Miss::TooMuch(why)),
            State::Running if waited >= PATIENCE => {
                return Err(Miss::TooMuch(format!("a report run was not done after {} s", waited.as_secs())));
            }
            State::Running => {}
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// The listing of a run's rows.
pub fn rows(collection: &Collection, id: &str) -> Collection {
    Collection { path: Some(format!("/{{api_version}}/{id}/insights")), params: Params::new(), ..collection.clone() }
}

/// The listing with a page size that is not halved: too much is told for good.
pub fn at_once(collection: &Collection) -> Collection {
    let mut listing = collection.clone();
    if let Some(Pages::NextUrl { size_param, size, .. }) = &mut listing.pages {
        if let (Some(param), Some(size)) = (size_param.take(), size.take()) {
            listing.params.insert(param, Param::Text(size.to_string()));
        }
    }
    listing
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_run_is_done_only_when_it_says_so() {
        for (run, want) in [
            (json!({"async_status": "Job Not Started", "async_percent_completion": 0}), State::Running),
            (json!({"async_status": "Job Running", "async_percent_completion": 100}), State::Running),
            (json!({"async_status": "Job Completed", "async_percent_completion": 99}), State::Running),
            (json!({"async_status": "Job Completed", "async_percent_completion": 100}), State::Done),
            (json!({"async_status": "Job Skipped"}), State::Failed("Job Skipped".into())),
            (json!({"async_status": "Job Failed", "error_message": "why"}), State::Failed("Job Failed: why".into())),
        ] {
            assert_eq!(state(&run), Ok(want), "{run}");
        }
        assert!(state(&json!({"id": "7"})).is_err());
    }
}
