//! Keeps what a call told for the whole run: streams that need the same list of accounts ask for it once.
//!
//! What holds longer than a run is in `derive.rs`.
//!
//! Layer: http. Knows nothing of Postgres.

use crate::error::SyncError;
use serde_json::Value;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The answers of one run, by a name that the reader gives. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<Mutex<BTreeMap<&'static str, Value>>>);

impl Told {
    /// What was told under this name, or else what `ask` brings. Those who want it meanwhile wait; a failure is not kept.
    pub async fn once(
        &self,
        name: &'static str,
        ask: impl Future<Output = Result<Value, SyncError>>,
    ) -> Result<Value, SyncError> {
        let mut told = self.0.lock().await;
        if let Some(known) = told.get(name) {
            return Ok(known.clone());
        }
        let answer = ask.await?;
        told.insert(name, answer.clone());
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_serves_all_and_a_failure_nobody() {
        let told = Told::default();
        let failure = SyncError::NotFound { status: 404, detail: String::new() };
        let failed = told.once("accounts", async { Err(failure.clone()) }).await;
        assert_eq!(failed, Err(failure));
        let same = told.clone();
        let (one, other) = tokio::join!(
            same.once("accounts", async { Ok(Value::from(1)) }),
            told.once("accounts", async { Ok(Value::from(2)) })
        );
        assert_eq!((one, other), (Ok(Value::from(1)), Ok(Value::from(1))));
    }
}
