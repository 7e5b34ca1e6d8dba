//! Bulk.
use super::read::{Progress, Run};
use crate::error::SyncError;
use serde_json::Value;
pub async fn load(
    _run: &mut Run<'_>,
    _resume: Option<&Value>,
    _resumable: bool,
    _p: &mut Progress,
) -> Result<bool, SyncError> {
    Ok(false)
}
