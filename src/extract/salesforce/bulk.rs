//! Decides when a first load is given to a Bulk API 2.0 job, and reads what it made.
//!
//! Only with the option `bulk_threshold`. How large an object is tells the first page of the ordinary listing, so a small
//! one costs no call more, and a large one only that page, which is kept. Then a job is made, asked for with
//! growing waits, and its CSV read page by page. The position saved with each page holds the job, whose results
//! Salesforce keeps for 7 days: an interrupted load goes on with the same job. When the job cannot be had (object or
//! feature not supported, limits of the day) the listing goes on by queries, and says so. Compound and base64 fields
//! cannot be selected by a job: a table with such a column is read by queries, since the column would stay empty.
//!
//! Docs: Bulk API 2.0 and Bulk API Developer Guide, "Query".
//!
//! Layer: extract. Knows nothing of Postgres.

use super::bulk_results::{read_results, Columns};
use super::plan::{described_column, kept_of, number_option, Plan};
use super::query::{begun_us, words_of};
use super::read::{Progress, Run};
use super::soql::Tail;
use crate::error::SyncError;
use crate::extract::batch::Batch;
use crate::extract::ended::Ended;
use crate::extract::time::to_iso_ms;
use crate::extract::{DescribedColumn, Output, Page};
use crate::http::{Account, Reply, Request};
use serde::Deserialize;
use serde_json::{json, Value};
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Records asked for in one page of results: with wide records still some tens of megabytes.
const RESULT_ROWS: usize = 25_000;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A job that is not done by then is left to itself; the next run goes on waiting for it.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// What is known of a job.
#[derive(Clone, Debug, Default, PartialEq)]
struct Job {
    id: String,
    /// Of the page of results to read next; `None` for the first.
    locator: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobReply {
    id: String,
    state: String,
    #[serde(default)]
    error_message: Option<String>,
}

/// How a job stands.
#[derive(Debug, PartialEq)]
enum State {
    Running,
    Done,
    /// It ended without results.
    Failed(String),
}

impl JobReply {
    fn state(&self) -> State {
        match self.state.as_str() {
            "JobComplete" => State::Done,
            "Failed" | "Aborted" => {
                State::Failed(format!("{}: {}", self.state, self.error_message.as_deref().unwrap_or("no reason given")))
            }
            _ => State::Running,
        }
    }
}

/// From how many records on a first load is a job; `None` for never.
pub fn threshold(account: &Account) -> Result<Option<u64>, SyncError> {
    Ok(number_option(account, "bulk_threshold")?.filter(|records| *records > 0))
}

/// Goes on with the job that a position names. False: there is none, or it cannot be read; read by queries.
pub async fn resume(run: &mut Run<'_>, position: &Value, progress: &mut Progress) -> Result<bool, SyncError> {
    match saved_job(position) {
        Some(job) => read(run, job, progress).await,
        None => Ok(false),
    }
}

/// Loads everything through a new job. False: it cannot be had; read by queries.
pub async fn load(run: &mut Run<'_>, progress: &mut Progress) -> Result<bool, SyncError> {
    if let Some(name) = unfit_column(&run.plan.output) {
        fall_back(run, &format!("column \"{name}\" cannot be selected by one"));
        return Ok(false);
    }
    match create(run, progress).await? {
        Some(job) => read(run, job, progress).await,
        None => Ok(false),
    }
}

async fn read(run: &mut Run<'_>, mut job: Job, progress: &mut Progress) -> Result<bool, SyncError> {
    for is_second_try in [false, true] {
        match results(run, &mut job, progress).await {
            Ok(()) => {
                // What stays is removed by Salesforce after 7 days.
                let _ = run.api.call(Request { method: "DELETE", ..job_request(&run.plan, &job, "") }).await;
                return Ok(true);
            }
            // Kept for 7 days only, or deleted by someone else: its rows come again from the beginning.
            Err(Ended::Gone) if !is_second_try => {
                run.notes.push("the Bulk job of the interrupted load is gone; the load began again".to_string());
                match create(run, progress).await? {
                    Some(again) => job = again,
                    None => return Ok(false),
                }
            }
            Err(Ended::Gone) => fall_back(run, "it vanished while it was read"),
            Err(Ended::Failed(why)) => {
                fall_back(run, &why);
                return Ok(false);
            }
            Err(Ended::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

fn fall_back(run: &mut Run<'_>, why: &str) {
    run.notes.push(format!("no Bulk job ({why}); read by queries"));
}

fn saved_job(position: &Value) -> Option<Job> {
    let bulk = position.get("bulk")?;
    let text = |key: &str| bulk.get(key).and_then(Value::as_str).map(str::to_string);
    Some(Job { id: text("job").filter(|id| is_job_id(id))?, locator: text("locator") })
}

/// Ids go into paths.
fn is_job_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|c| c.is_ascii_alphanumeric())
}

/// A selected column that Bulk refuses: compound (jsonb) or base64 (text, and off for new tables).
fn unfit_column(output: &Output) -> Option<String> {
    let is_unfit = |c: &DescribedColumn| c.type_name == "jsonb" || (c.off && c.type_name == "text");
    let of_table = output.columns.iter().filter_map(|column| Some((&column.name, column.path.first()?)));
    let mut of_table = of_table.filter_map(|(name, field)| Some((name, described_column(output, field)?)));
    let unfit = of_table.find(|(_, column)| is_unfit(column)).map(|(name, _)| name);
    unfit.or_else(|| kept_of(output).find(|column| is_unfit(column)).map(|column| &column.name)).cloned()
}

/// Makes the job; `None` when the app refuses it for a reason that queries do not have.
async fn create(run: &mut Run<'_>, progress: &mut Progress) -> Result<Option<Job>, SyncError> {
    let operation = if run.plan.deleted.is_some() { "queryAll" } else { "query" };
    let query = Tail::default().query(&run.plan.all_fields(), &run.plan.object);
    let request = Request {
        post: true,
        target: format!("{}/jobs/query", run.plan.root),
        json_body: Some(json!({
            "operation": operation, "query": query,
            "contentType": "CSV", "columnDelimiter": "COMMA", "lineEnding": "LF",
        })),
        // The error's code tells a limit of Bulk from a bad query.
        accept: vec![400],
        ..Request::default()
    };
    let made = run.api.call_parsed(request, |reply| Ok((made_job(reply)?, begun_us(reply)))).await;
    let refused = match made {
        Ok((Ok(id), begun)) => {
            progress.begun_us = progress.begun_us.or(begun);
            return Ok(Some(Job { id, locator: None }));
        }
        Ok((Err(refused), _)) => refused,
        Err(SyncError::Unsupported { reason }) => reason,
        Err(error) if is_refusal(words_of(&error)) => words_of(&error).to_string(),
        Err(error) => return Err(error),
    };
    if refused.contains("INVALID_FIELD") {
        return Err(SyncError::FieldRefused { detail: refused });
    }
    fall_back(run, &refused);
    Ok(None)
}

/// The id of a new job, or the app's refusal.
fn made_job(reply: &Reply) -> Result<Result<String, String>, String> {
    if reply.status == 400 {
        return Ok(
            Err(String::from_utf8_lossy(reply.body.get(..reply.body.len().min(500)).unwrap_or_default()).into()),
        );
    }
    let job: JobReply = serde_json::from_slice(&reply.body).map_err(|e| format!("not a Bulk job: {e}"))?;
    if is_job_id(&job.id) {
        Ok(Ok(job.id))
    } else {
        Err("a Bulk job without a usable id".to_string())
    }
}

/// Refusals that concern Bulk alone (docs: "Bulk API and Bulk API 2.0 Limits and Allocations").
fn is_refusal(words: &str) -> bool {
    ["not supported by the Bulk API", "does not support query", "LIMIT_EXCEEDED", "EXCEEDED_QUOTA", "FEATURENOTENABLED"]
        .iter()
        .any(|mark| words.contains(mark))
}

fn job_request(plan: &Plan, job: &Job, below: &str) -> Request {
    Request { target: format!("{}/jobs/query/{}{below}", plan.root, job.id), ..Request::default() }
}

fn position(progress: &Progress, job: &Job) -> Option<Value> {
    let upper = progress.begun_us.map(to_iso_ms);
    Some(json!({ "upper": upper, "bulk": { "job": job.id, "locator": job.locator } }))
}

/// Waits for the job and gives its rows.
async fn results(run: &mut Run<'_>, job: &mut Job, progress: &mut Progress) -> Result<(), Ended> {
    if job.locator.is_none() {
        // Saved before the wait: a run that is stopped meanwhile goes on with this job.
        let empty = Batch::new(run.width());
        run.sink.page(Page { batches: vec![(0, empty)], position: position(progress, job) }).await?;
        wait_until_done(run, job).await?;
    }
    let columns = Columns::of(&run.plan);
    let mut seen = HashSet::new();
    loop {
        let mut request = job_request(&run.plan, job, "/results");
        request.headers.push(("Accept".to_string(), "text/csv".to_string()));
        request.query.push(("maxRecords".to_string(), RESULT_ROWS.to_string()));
        request.query.extend(job.locator.iter().map(|locator| ("locator".to_string(), locator.clone())));
        let parser = &run.parser;
        let width = run.width();
        let (batches, next) =
            run.api.call_parsed(request, |reply| read_results(reply, &columns, parser, width)).await?;
        run.api.stats().pages.fetch_add(1, Ordering::Relaxed);
        let at = position(progress, job);
        let last = batches.len().saturating_sub(1);
        if let Some(locator) = &next {
            if !seen.insert(locator.clone()) {
                let hash = xxhash_rust::xxh3::xxh3_64(locator.as_bytes());
                let detail = format!("results of a Bulk job gave a locator again (hash {hash:016x})");
                return Err(Ended::Error(SyncError::PagerLoop { detail }));
            }
            job.locator = Some(locator.clone());
        }
        for (index, batch) in batches.into_iter().enumerate() {
            // Within a page of results there is no place to go on: that page is read again.
            let saved = if index == last && next.is_some() { position(progress, job) } else { at.clone() };
            run.sink.page(Page { batches: vec![(0, batch)], position: saved }).await?;
        }
        if next.is_none() {
            return Ok(());
        }
    }
}

async fn wait_until_done(run: &Run<'_>, job: &Job) -> Result<(), Ended> {
    let mut wait = FIRST_WAIT;
    let mut waited = Duration::ZERO;
    loop {
        let parse = |reply: &Reply| {
            serde_json::from_slice::<JobReply>(&reply.body).map_err(|error| format!("not a Bulk job: {error}"))
        };
        match run.api.call_parsed(job_request(&run.plan, job, ""), parse).await?.state() {
            State::Done => return Ok(()),
            State::Failed(why) => return Err(Ended::Failed(why)),
            State::Running if waited >= PATIENCE => {
                let detail = format!("the Bulk job {} was not done after {} s", job.id, waited.as_secs());
                return Err(Ended::Error(SyncError::Unavailable { status: 0, tries: 1, detail }));
            }
            State::Running => {}
        }
        tokio::time::sleep(wait).await;
        waited += wait;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{column, described, output};
    use super::*;
    use crate::extract::{Described, Target};
    use std::sync::Arc;

    #[test]
    fn states_of_a_job() {
        for (state, want) in [
            ("UploadComplete", State::Running),
            ("InProgress", State::Running),
            ("JobComplete", State::Done),
            ("Failed", State::Failed("Failed: why".into())),
        ] {
            let job: JobReply =
                serde_json::from_value(json!({ "id": "750x", "state": state, "errorMessage": "why" })).unwrap();
            assert_eq!(job.state(), want);
        }
    }

    #[test]
    fn columns_that_a_job_cannot_select() {
        let mut out = output(&[column("address", "BillingAddress", Target::Json)]);
        assert_eq!(unfit_column(&out), None);
        out.described = Some(described(&[("BillingAddress", "jsonb", true)]));
        assert_eq!(unfit_column(&out).as_deref(), Some("address"));
        out.columns.clear();
        assert_eq!(unfit_column(&out), None);
        let mut kept = Described::clone(&described(&[("Site__c", "jsonb", true)]));
        kept.columns[0].in_extra = true;
        out.described = Some(Arc::new(kept));
        assert_eq!(unfit_column(&out).as_deref(), Some("site__c"), "what is kept in extra is selected, too");
    }

    #[test]
    fn a_saved_job_is_read_as_it_was_written() {
        let job = Job { id: "750R0000000zlh9".into(), locator: Some("MTAw".into()) };
        let progress = Progress { begun_us: Some(0), ..Progress::default() };
        let saved = position(&progress, &job).unwrap();
        assert_eq!(saved["upper"], "1970-01-01T00:00:00.000Z");
        assert_eq!(saved_job(&saved), Some(job));
        assert_eq!(saved_job(&json!({ "bulk": { "job": "../x" } })), None);
        assert_eq!(saved_job(&json!({ "last_id": "x" })), None);
    }
}
