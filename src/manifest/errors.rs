//! Says what the replies of an app mean when they are no data.
//!
//! Layer: manifest. Knows nothing of Postgres.

use serde::Deserialize;

/// Reads meaning into a reply that its status alone does not have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    /// Any of these statuses; empty for all.
    #[serde(default)]
    pub status: Vec<u16>,
    /// Pointer to the app's error code in the body.
    #[serde(default)]
    pub code: Option<String>,
    /// The codes meant; empty for any.
    #[serde(default)]
    pub codes: Vec<String>,
    /// A text that the body holds, without regard to case.
    #[serde(default)]
    pub contains: Option<String>,
    /// A header of the reply: it is there, or has this value.
    #[serde(default)]
    pub header: Option<HeaderIs>,
    /// Whether the body is JSON.
    #[serde(default)]
    pub json: Option<bool>,
    pub means: Meaning,
    /// How long to wait, where `Retry-After` does not say.
    #[serde(default)]
    pub wait: Option<Wait>,
}

/// Where a refused reply names the permission that is missing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum ScopeAt {
    /// Pointer to a text, or to a list of them; `*` stands for any key or index.
    Pointer(String),
    Words(ScopeWords),
}

/// The words of a text that begin with a prefix of the app's.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeWords {
    pub pointer: String,
    pub prefix: String,
}

impl ErrorRule {
    /// A rule for all replies of these statuses.
    pub fn of_status(status: &[u16], means: Meaning) -> Self {
        ErrorRule {
            status: status.to_vec(),
            code: None,
            codes: Vec::new(),
            contains: None,
            header: None,
            json: None,
            means,
            wait: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderIs {
    pub name: String,
    #[serde(default)]
    pub value: Option<String>,
}

/// How long a reply asks us to wait: a fixed time, or what a header or the body says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// A fixed time; with `header` or `pointer`, the time when they say nothing.
    #[serde(default)]
    pub seconds: Option<u64>,
    #[serde(default)]
    pub header: Option<String>,
    /// Pointer into the body; `*` stands for any key or index, and the longest wait counts.
    #[serde(default)]
    pub pointer: Option<String>,
    #[serde(default)]
    pub unit: WaitUnit,
    /// Until the next midnight in this zone (`+hh:mm`, `-hh:mm` or `utc`): when a day's quota begins anew.
    #[serde(default)]
    pub midnight: Option<String>,
}

/// What the number of a header or body means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitUnit {
    /// Seconds; `5s` and `0.5s` are read, too.
    #[default]
    Seconds,
    Milliseconds,
    Minutes,
    /// The moment itself, in Unix seconds.
    Unix,
}

/// What a failed reply asks us to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// Try again with backoff.
    Retry,
    /// Wait as asked, then try again; a wait beyond our patience ends the run as deferred.
    RateLimited,
    /// The day's quota is spent: end the run.
    QuotaSpent,
    /// Renew the access token once and repeat.
    TokenExpired,
    /// Stop the source.
    AuthRejected,
    AccessDenied,
    NotFound,
    FieldRefused,
    CursorExpired,
    Unsupported,
    BadRequest,
    /// Ask for half as many records in a page, and repeat.
    ReducePage,
    /// The parent that was asked about has no such children: it is passed over.
    NoRecords,
}
