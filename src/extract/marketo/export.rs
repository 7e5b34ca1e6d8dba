//! Makes extract jobs, looks how they stand and fetches their files.
//!
//! Decides what a refusal means: the queue is full (wait), the day's quota is used up (go on tomorrow), or extracts are
//! not for this user. Both of the first have the code 1029; only the words tell them apart.
//!
//! Docs: "Bulk Extract" (queue, quota, polling), "Error Codes" (1029).
//!
//! Layer: extract. Knows nothing of Postgres.

use super::What;
use crate::error::SyncError;
use crate::http::{Account, ApiClient, Reply, Request};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// So much of a file is asked for at once.
pub const PART_BYTES: u64 = 8 << 20;

/// How a job stands, as every answer about it tells.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    pub export_id: String,
    pub status: String,
    #[serde(default)]
    pub number_of_records: Option<u64>,
    #[serde(default)]
    pub file_size: Option<u64>,
    #[serde(default)]
    pub file_checksum: Option<String>,
    #[serde(default)]
    pub error_msg: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Done,
    /// It ended without a file.
    Failed(String),
}

impl Told {
    pub fn state(&self) -> State {
        match self.status.as_str() {
            "Completed" => State::Done,
            "Failed" | "Cancelled" | "Canceled" => {
                State::Failed(format!("{}: {}", self.status, self.error_msg.as_deref().unwrap_or("no reason given")))
            }
            _ => State::Running,
        }
    }
}

/// Why no job was to be had.
#[derive(Debug)]
pub enum Refused {
    /// Ten jobs are queued, ours or others'.
    QueueFull,
    QuotaSpent(SyncError),
    /// Not for this user or subscription; the app's words.
    NotPermitted(SyncError),
    Error(SyncError),
}

impl From<SyncError> for Refused {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::RateLimited { until, detail } => {
                let words = detail.to_lowercase();
                if words.contains("queue") {
                    Refused::QueueFull
                } else if words.contains("export") {
                    let detail = format!("{detail}; extracts go on when the day's quota is renewed");
                    Refused::QuotaSpent(SyncError::Deferred { until, detail })
                } else {
                    Refused::Error(SyncError::RateLimited { until, detail })
                }
            }
            error @ (SyncError::AccessDenied { .. } | SyncError::NotFound { .. } | SyncError::Unsupported { .. }) => {
                Refused::NotPermitted(error)
            }
            error => Refused::Error(error),
        }
    }
}

/// How often a job is looked at.
pub fn poll_pause(account: &Account) -> Result<Duration, SyncError> {
    let text = crate::http::setting(account, "export_poll_seconds").unwrap_or_default();
    let seconds: Result<u64, _> = text.trim().parse();
    let seconds = seconds.ok().filter(|seconds| *seconds <= 3600).ok_or_else(|| SyncError::BadSetting {
        option: "export_poll_seconds".into(),
        detail: "not a whole number of seconds up to an hour".into(),
    })?;
    Ok(Duration::from_secs(seconds).max(Duration::from_millis(50)))
}

fn told(reply: &Reply) -> Result<Told, String> {
    #[derive(Deserialize)]
    struct Answer {
        result: Vec<Told>,
    }
    let answer: Answer = serde_json::from_slice(&reply.body).map_err(|e| format!("not an extract job: {e}"))?;
    answer.result.into_iter().next().filter(|job| is_id(&job.export_id)).ok_or_else(|| "no extract job".to_string())
}

/// Ids go into paths.
pub fn is_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
}

fn request(what: What, below: &str) -> Request {
    Request { target: format!("/bulk/v1/{}/export/{below}", what.name()), ..Request::default() }
}

/// Makes a job and puts it into the queue. Gives its id, and the app's clock. `made` holds the job while there is no
/// place for it.
pub async fn start(
    api: &ApiClient,
    what: What,
    order: &Value,
    made: &mut Option<(String, Option<i64>)>,
) -> Result<(String, Option<i64>), Refused> {
    let (id, date) = match made.take() {
        Some(job) => job,
        None => {
            let create = Request { post: true, json_body: Some(order.clone()), ..request(what, "create.json") };
            api.call_parsed(create, |reply| Ok((told(reply)?.export_id, reply.date_us))).await?
        }
    };
    let queued = Request { post: true, ..request(what, &format!("{id}/enqueue.json")) };
    match api.call_parsed(queued, told).await {
        // An answer that was lost on the way, and the call made again.
        Err(SyncError::RateLimited { detail, .. }) if detail.to_lowercase().contains("already queued") => {}
        Err(error) => {
            let refused = Refused::from(error);
            if matches!(refused, Refused::QueueFull) {
                *made = Some((id, date));
            }
            return Err(refused);
        }
        Ok(_) => {}
    }
    Ok((id, date))
}

pub async fn status(api: &ApiClient, what: What, id: &str) -> Result<Told, SyncError> {
    api.call_parsed(request(what, &format!("{id}/status.json")), told).await
}

/// A part of a job's file, from a byte on. What is given is the whole file where the app knows no parts.
pub async fn part(api: &ApiClient, what: What, id: &str, from: u64) -> Result<(bytes::Bytes, bool), SyncError> {
    let range = format!("bytes={from}-{}", from + PART_BYTES - 1);
    let headers = vec![("Range".to_string(), range), ("Accept".to_string(), "text/csv".to_string())];
    let asked = Request { headers, ..request(what, &format!("{id}/file.json")) };
    api.call_parsed(asked, |reply| Ok((reply.body.clone(), reply.status != 206))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_known_by_its_words() {
        let limited = |words: &str| Refused::from(SyncError::RateLimited { until: None, detail: words.into() });
        assert!(matches!(limited("Too many jobs in queue"), Refused::QueueFull));
        assert!(matches!(
            limited("Export daily quota 500MB exceeded."),
            Refused::QuotaSpent(SyncError::Deferred { .. })
        ));
        assert!(matches!(limited("Daily quota '50000' reached"), Refused::Error(SyncError::RateLimited { .. })));
        let denied = SyncError::AccessDenied { status: 200, detail: "Access denied".into() };
        assert!(matches!(Refused::from(denied), Refused::NotPermitted(_)));
    }

    #[test]
    fn states_of_a_job() {
        let job = |status: &str| Told { status: status.into(), error_msg: Some("why".into()), ..Told::default() };
        for (status, want) in [
            ("Created", State::Running),
            ("Queued", State::Running),
            ("Processing", State::Running),
            ("Completed", State::Done),
            ("Failed", State::Failed("Failed: why".into())),
            ("Canceled", State::Failed("Canceled: why".into())),
        ] {
            assert_eq!(job(status).state(), want);
        }
        assert!(is_id("ce45a7a1-f19d-4ce2-882c-a3c795940a7d") && !is_id("../x") && !is_id(""));
    }
}
