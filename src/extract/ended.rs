//! Says why a job that an app works off in its own time gave nothing.
//!
//! Layer: extract. Knows nothing of Postgres.

use crate::error::SyncError;

/// Why a job gave nothing.
pub enum Ended {
    /// The app does not know it any more.
    Gone,
    /// It ended without results, in the app's words.
    Failed(String),
    Error(SyncError),
}

impl From<SyncError> for Ended {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::NotFound { .. } => Ended::Gone,
            error => Ended::Error(error),
        }
    }
}
