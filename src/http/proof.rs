//! Decides that credentials are tried by one call before others follow: refused ones cost a run that one call.
//!
//! Streams of a run start together. Whichever calls first goes ahead, the others wait for the first answer that is not a
//! refusal of the credentials, whatever else it is; once they are refused no call of the run is made any more.
//!
//! Layer: http. Knows nothing of Postgres.

use crate::error::SyncError;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;

/// A first call that takes longer than this says nothing of the credentials: the others do not wait for it.
const HELD_AT_MOST: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Untried,
    /// The first call is under way.
    Tried,
    Good,
    Refused(SyncError),
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

/// What one run knows of its credentials. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Proof(Arc<Inner>);

/// Leave to call. Dropped before an answer came (the call failed, or was cancelled), the next in line goes ahead.
#[must_use]
pub struct Leave {
    proof: Proof,
    is_first: bool,
}

impl Proof {
    /// Waits until a call may be made; the refusal when none may any more.
    pub async fn leave(&self) -> Result<Leave, SyncError> {
        let is_first = loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(is_first) = self.begin()? {
                break is_first;
            }
            if tokio::time::timeout(HELD_AT_MOST, changed).await.is_err() {
                break false;
            }
        };
        Ok(Leave { proof: self.clone(), is_first })
    }

    /// Whether a call made now is the first; `None` while another one is.
    fn begin(&self) -> Result<Option<bool>, SyncError> {
        let mut state = self.state();
        match &*state {
            State::Refused(error) => Err(error.clone()),
            State::Good => Ok(Some(false)),
            State::Tried => Ok(None),
            State::Untried => {
                *state = State::Tried;
                Ok(Some(true))
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A whole value is put in under the lock, so a panic elsewhere leaves it usable.
        self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn set(&self, new: State) {
        *self.state() = new;
        self.0.changed.notify_waiters();
    }
}

impl Leave {
    /// An answer came that does not refuse the credentials.
    pub fn accepted(&mut self) {
        if std::mem::take(&mut self.is_first) {
            self.proof.set(State::Good);
        }
    }

    /// How the call ended, with all its tries.
    pub fn ended<T>(mut self, result: &Result<T, SyncError>) {
        match result {
            Err(error @ SyncError::AuthRejected { .. }) => {
                self.is_first = false;
                self.proof.set(State::Refused(error.clone()));
            }
            _ => self.accepted(),
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if self.is_first {
            self.proof.set(State::Untried);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn refusal() -> SyncError {
        SyncError::AuthRejected { status: 401, detail: "no".into() }
    }

    #[tokio::test]
    async fn others_wait_for_the_first_answer() {
        let proof = Proof::default();
        let mut first = proof.leave().await.unwrap();
        let mut second = Box::pin(proof.leave());
        assert!(second.as_mut().now_or_never().is_none(), "the second call did not wait");
        first.accepted();
        second.await.unwrap().ended(&Ok(()));
        assert!(proof.leave().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_call_that_hangs_does_not_hold_the_others() {
        let proof = Proof::default();
        let first = proof.leave().await.unwrap();
        proof.leave().await.unwrap().ended(&Ok(()));
        drop(first);
    }

    #[tokio::test]
    async fn a_refusal_stops_all() {
        let proof = Proof::default();
        let first = proof.leave().await.unwrap();
        let second = proof.leave();
        first.ended::<()>(&Err(refusal()));
        assert_eq!(second.await.err(), Some(refusal()));
        assert_eq!(proof.leave().await.err(), Some(refusal()));
    }

    #[tokio::test]
    async fn a_first_call_without_an_answer_leaves_the_place_to_the_next() {
        let proof = Proof::default();
        drop(proof.leave().await.unwrap());
        let next = proof.leave().await.unwrap();
        let mut third = Box::pin(proof.leave());
        assert!(third.as_mut().now_or_never().is_none(), "the next one is not the first now");
        next.ended::<()>(&Err(SyncError::NotFound { status: 404, detail: String::new() }));
        third.await.unwrap().ended(&Ok(()));
    }
}
