//! Says why a call or a refresh could not go on, and how far that reaches.
//!
//! The names of the server and the collection are added by whoever reports the error (`report.rs`), which also
//! gives each kind its SQLSTATE and hint. `detail` always holds the app's own words, already free of secrets.
//!
//! Layer: below manifest. Knows nothing of Postgres.

use std::fmt;
use std::time::SystemTime;

/// What one failure stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every collection of the server: no further call is made for any of them.
    Server,
    /// This collection only; the others go on.
    Collection,
}

/// Why a call or a refresh could not go on.
#[derive(Clone, Debug, PartialEq)]
pub enum SyncError {
    /// The app no longer accepts our credentials (401 after one renewal, `invalid_grant`).
    AuthRejected { status: u16, detail: String },
    /// The credentials are good, but this collection is not ours to read (403, a missing scope or feature).
    AccessDenied { status: u16, detail: String },
    /// The collection does not exist at the app (404, 410, an object that is not visible).
    NotFound { status: u16, detail: String },
    /// The app cannot serve this collection at all; a normal state, reported as `skipped`.
    Unsupported { reason: String },
    /// The app refuses the request as we made it (400, 405, 422): trying again cannot help.
    BadRequest { status: u16, request: String, detail: String },
    /// A field we asked for was removed or hidden since its schema was read: describe again, then repeat.
    FieldRefused { detail: String },
    /// No connection: DNS, TCP, TLS, or an address that is not allowed.
    Connect { host: String, detail: String },
    /// The app did not answer properly after all tries (5xx, time-out, cut-off reply). `status` is 0 without a reply.
    Unavailable { status: u16, tries: u32, detail: String },
    /// A reply with a success status that is not what the API documents (HTML, empty, cut off).
    Unreadable { content_type: String, start: String, detail: String },
    /// The quota is spent, or the app asks for a wait longer than our patience.
    RateLimited { until: Option<SystemTime>, detail: String },
    /// A quota of this collection's own kind of call is spent: it goes on later, and the others go on now.
    Deferred { until: Option<SystemTime>, detail: String },
    /// A reply, a record or a listing over a limit that the owner set.
    TooLarge { what: String, limit: u64 },
    /// The app gave the same page token again, or pages for ever.
    PagerLoop { detail: String },
    /// The app no longer honours our cursor; answered by a full listing.
    CursorExpired { detail: String },
    /// A credential or setting that the source needs is not set. `place` is "user mapping" or "server".
    Missing { place: &'static str, option: String },
    /// A setting has a value that cannot be used. Never holds a secret.
    BadSetting { option: String, detail: String },
    /// Postgres has no background worker left to do what must not be lost.
    NoWorker,
    /// The source file or our own code is wrong.
    Internal { detail: String },
}

/// Between an app's words and the permissions that it wants.
const MISSING: &str = "; missing: ";

/// An app's words about a refusal, with the permissions that it names elsewhere in its answer.
pub fn with_missing(words: &str, scopes: &[String]) -> String {
    if scopes.is_empty() {
        return words.to_string();
    }
    format!("{}{MISSING}{}", words.trim_end_matches('.'), scopes.join(", "))
}

/// The permissions that a detail made by [`with_missing`] names.
pub fn missing_in(detail: &str) -> Option<&str> {
    detail.rsplit_once(MISSING).map(|(_, scopes)| scopes)
}

impl SyncError {
    pub fn internal(detail: impl Into<String>) -> Self {
        SyncError::Internal { detail: detail.into() }
    }

    /// How far the failure reaches. Missing credentials and quotas concern the server as a whole.
    pub fn reach(&self) -> Reach {
        match self {
            SyncError::AuthRejected { .. }
            | SyncError::Connect { .. }
            | SyncError::RateLimited { .. }
            | SyncError::NoWorker
            | SyncError::Missing { .. }
            | SyncError::BadSetting { .. } => Reach::Server,
            _ => Reach::Collection,
        }
    }
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyncError::AuthRejected { .. } => write!(f, "credentials were rejected"),
            SyncError::AccessDenied { .. } => write!(f, "access denied"),
            SyncError::NotFound { .. } => write!(f, "not found at the app"),
            SyncError::Unsupported { .. } => write!(f, "the app does not serve this collection"),
            SyncError::BadRequest { status, .. } => write!(f, "the app refused the request with HTTP status {status}"),
            SyncError::FieldRefused { .. } => write!(f, "the app refused a field"),
            SyncError::Connect { host, .. } => write!(f, "could not connect to \"{host}\""),
            SyncError::Unavailable { status: 0, tries, .. } => write!(f, "no complete reply after {tries} tries"),
            SyncError::Unavailable { status, tries, .. } => {
                write!(f, "the app answered with HTTP status {status} in each of {tries} tries")
            }
            SyncError::Unreadable { .. } => write!(f, "unreadable reply"),
            SyncError::RateLimited { .. } => write!(f, "the app's quota is spent"),
            SyncError::Deferred { .. } => write!(f, "a quota of this collection is spent"),
            SyncError::TooLarge { what, limit } => write!(f, "{what} is over the limit of {limit}"),
            SyncError::PagerLoop { .. } => write!(f, "the app repeats its pages"),
            SyncError::CursorExpired { .. } => write!(f, "the app no longer accepts the saved cursor"),
            SyncError::Missing { place, option } => write!(f, "option \"{option}\" is missing in the {place}"),
            SyncError::BadSetting { option, .. } => write!(f, "option \"{option}\" has a value that cannot be used"),
            SyncError::NoWorker => write!(f, "no background worker is free"),
            SyncError::Internal { .. } => write!(f, "internal error"),
        }
    }
}

impl std::error::Error for SyncError {}
