//! Says how records are had that the app gathers in its own time: a job is made, started, watched and downloaded.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::{Call, Pages, Records};
use serde::Deserialize;

/// An asynchronous export. Its calls may name `{job_id}`, and those that make it `{cursor}` and `{upper}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    pub create: Call,
    /// Pointer to the job's id in the answer of `create`.
    pub id: String,
    /// A second call that starts what was made.
    #[serde(default)]
    pub start: Option<Call>,
    pub status: Call,
    /// Pointer to the state in the answer of `status`.
    pub state: String,
    pub states: States,
    #[serde(default = "half_a_minute")]
    pub poll_seconds: u64,
    #[serde(default = "an_hour")]
    pub timeout_seconds: u64,
    pub download: Download,
    /// Called when all is read.
    #[serde(default)]
    pub delete: Option<Call>,
    /// Which readings use it; the others use the collection's listing.
    #[serde(default)]
    pub when: When,
    /// A job that cannot be had is no failure: the listing is read instead, with a note.
    #[serde(default)]
    pub fall_back: bool,
}

/// What the states of a job mean. Others are an error.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct States {
    pub running: Vec<String>,
    pub done: Vec<String>,
    pub failed: Vec<String>,
}

/// Where the results are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// The call that gives them, or with `urls` absent is not needed.
    #[serde(default)]
    pub call: Option<Call>,
    /// Pointer, in the last answer of `status`, to the addresses of the files instead.
    #[serde(default)]
    pub urls: Option<String>,
    /// Hosts other than the app's that files may lie on (`*.s3.amazonaws.com`); no credential is sent there.
    #[serde(default)]
    pub hosts: Vec<String>,
    #[serde(default)]
    pub records: Records,
    #[serde(default)]
    pub pages: Option<Pages>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    #[default]
    Always,
    /// First loads and other full readings.
    Full,
}

fn half_a_minute() -> u64 {
    30
}

fn an_hour() -> u64 {
    3600
}
