//! Exchanges long-lived credentials for an access token.
//!
//! Layer: http. Knows nothing of Postgres.

use super::{AccessToken, Account, ClientPool, Stats};
use crate::error::SyncError;
use crate::manifest::Grant;

/// Asks the token endpoint for an access token.
pub async fn exchange(_account: &Account, _pool: &ClientPool, _stats: &Stats) -> Result<AccessToken, SyncError> {
    Err(SyncError::internal("tokens are not exchanged yet"))
}

/// The grant to use: the first whose credentials are all set.
pub fn grant(_account: &Account) -> Result<&Grant, SyncError> {
    Err(SyncError::internal("tokens are not exchanged yet"))
}
