//! `cloudsync_check`: the credentials, then the permission of each collection, in the vendor's own words.

use super::{Reader, Simulator};
use crate::error::{missing_in, SyncError};
use crate::extract;
use serde_json::json;

/// What the check of a collection is to say when it is refused.
pub struct Refusal<'a> {
    pub collection: &'a str,
    /// What the simulator is told to refuse, where that is not the collection itself.
    pub denied: &'a str,
    pub words: &'a str,
    /// The permission that the app names.
    pub missing: Option<&'a str>,
}

impl Reader {
    /// Tries a collection, and counts the calls.
    pub async fn check(&self, simulator: &Simulator, collection: &str) -> (Result<(), SyncError>, usize) {
        simulator.forget_requests(self.app()).await;
        let found = self.source.collection(collection).unwrap();
        let checked = extract::check(&self.client(), Some(found)).await;
        (checked, simulator.requests(self.app()).await.len())
    }
}

/// Tries every collection: one call for each listing (`calls`), and none without the permission.
pub async fn each_collection_is_checked(
    simulator: &Simulator,
    reader: &Reader,
    calls: impl Fn(&str) -> usize,
    refusal: impl Fn(&str) -> Refusal<'static>,
) {
    // What has to be asked for once in a process.
    extract::check(&reader.client(), None).await.unwrap();
    for name in reader.collection_names() {
        let (checked, count) = reader.check(simulator, &name).await;
        checked.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(count, calls(&name), "{name}");
        let wanted = refusal(&name);
        simulator.post(&format!("/{}/config", reader.app()), json!({"denied": [wanted.denied]})).await;
        match reader.check(simulator, wanted.collection).await {
            (Err(SyncError::AccessDenied { status: 403, detail }), count) => {
                assert!(detail.contains(wanted.words), "{name}: {detail}");
                assert_eq!(missing_in(&detail), wanted.missing, "{name}: {detail}");
                assert!(count <= calls(&name), "{name}: {count} calls");
            }
            other => panic!("{name}: {other:?}"),
        }
        // The credentials are as good as before.
        extract::check(&reader.client(), None).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        simulator.post(&format!("/{}/config", reader.app()), json!({"denied": []})).await;
    }
}

/// Bad credentials end everything with one call; nothing of them is told.
pub async fn bad_credentials_cost_one_call(simulator: &Simulator, wrong: &mut Reader, secret: &str) {
    let refused = extract::check(&wrong.client(), None).await.unwrap_err();
    assert!(matches!(refused, SyncError::AuthRejected { .. }), "{refused:?}");
    let names = wrong.collection_names();
    simulator.forget_requests(wrong.app()).await;
    let failed = wrong.refresh(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(failed.len(), names.len());
    assert!(failed.values().all(|error| matches!(error, SyncError::AuthRejected { .. })), "{failed:?}");
    assert!(!format!("{failed:?}").contains(secret), "the credential is told");
    assert_eq!(simulator.requests(wrong.app()).await.len(), 1);
}
