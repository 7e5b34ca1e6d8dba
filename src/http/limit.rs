//! Decides when a call may start: how many at once, how many in a time, and not while the app asked for quiet.
//!
//! The documented allowance is spread, not hit: a tenth of it may go at once, the rest comes evenly, and together
//! they stay within the allowance of any window. All reads of one server in this process share one limiter.
//!
//! Layer: http. Knows nothing of Postgres.

use super::Policy;
use crate::manifest::Rate;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The pace of one server.
pub struct Limiter {
    slots: Arc<Semaphore>,
    /// Time between two calls once the burst is spent; zero for no limit.
    interval: Duration,
    burst: u32,
    times: Mutex<Times>,
}

#[derive(Default)]
struct Times {
    /// When the allowance is back to full.
    full_at: Option<Instant>,
    /// No call before this: the app asked for quiet.
    quiet_until: Option<Instant>,
}

impl Limiter {
    pub fn new(policy: &Policy, rate: Option<&Rate>) -> Self {
        let connections = match rate.map_or(0, |r| r.connections) {
            0 => policy.max_concurrency,
            theirs => theirs.min(policy.max_concurrency),
        };
        let (mut interval, mut burst) = (Duration::ZERO, 0);
        if let Some((calls, seconds)) = rate.and_then(|r| r.calls.zip(r.per_seconds)).filter(|(calls, _)| *calls > 0) {
            burst = (calls / 10).max(1);
            let even = calls.saturating_sub(burst).max(1);
            interval = Duration::from_secs(u64::from(seconds)) / even;
        }
        let slots = Arc::new(Semaphore::new(connections.clamp(1, 1000) as usize));
        Limiter { slots, interval, burst, times: Mutex::default() }
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        // Each change is one assignment: a panic elsewhere cannot leave it half done.
        self.times.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits for a slot and for the moment, and gives the slot. The call holds it until its body is read.
    pub async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed; without a permit the call just goes on.
        let permit = Arc::clone(&self.slots).acquire_owned().await.ok();
        loop {
            let Some(at) = self.not_before(Instant::now()) else { return permit };
            tokio::time::sleep_until(at).await;
        }
    }

    /// Takes one call of the allowance, or says when to come again.
    fn not_before(&self, now: Instant) -> Option<Instant> {
        let mut times = self.times();
        if let Some(until) = times.quiet_until.filter(|until| *until > now) {
            return Some(until);
        }
        if self.interval.is_zero() {
            return None;
        }
        let full_at = times.full_at.unwrap_or(now).max(now);
        let room_at = full_at.checked_sub(self.interval.saturating_mul(self.burst.saturating_sub(1))).unwrap_or(now);
        if room_at > now {
            return Some(room_at);
        }
        times.full_at = Some(full_at + self.interval);
        None
    }

    /// The app asked for quiet: no call of this server starts before `wait` is over.
    pub fn be_quiet(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut times = self.times();
        times.quiet_until = Some(times.quiet_until.map_or(until, |old| old.max(until)));
    }

    /// The app says how many calls are left in its window. With none left we pause for one even share of ten
    /// calls: long enough to matter, short enough when the window turns at once.
    pub fn left(&self, remaining: u64) {
        if remaining == 0 && !self.interval.is_zero() {
            self.be_quiet(self.interval.saturating_mul(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(calls: u32, per_seconds: u32, connections: u32) -> Limiter {
        let rate = Rate { calls: Some(calls), per_seconds: Some(per_seconds), connections, ..Rate::default() };
        Limiter::new(&Policy::default(), Some(&rate))
    }

    #[tokio::test(start_paused = true)]
    async fn any_window_stays_within_the_allowance_and_is_used_well() {
        let limiter = limiter(100, 10, 0);
        let start = Instant::now();
        let mut starts = Vec::new();
        for _ in 0..400 {
            drop(limiter.slot().await);
            starts.push(start.elapsed());
        }
        for window in starts.windows(101) {
            assert!(window[100] - window[0] >= Duration::from_secs(10), "{window:?}");
        }
        let total = *starts.last().unwrap();
        assert!(total < Duration::from_secs(45), "400 calls at 10 a second took {total:?}");
        assert!(starts[9] < Duration::from_millis(20), "a few calls are not held up: {:?}", starts[9]);
    }

    #[tokio::test(start_paused = true)]
    async fn quiet_holds_every_call_of_the_server() {
        let limiter = Limiter::new(&Policy::default(), None);
        limiter.be_quiet(Duration::from_secs(30));
        limiter.be_quiet(Duration::from_secs(5));
        let start = Instant::now();
        drop(limiter.slot().await);
        assert!(start.elapsed() >= Duration::from_secs(30));
        drop(limiter.slot().await);
        assert!(start.elapsed() < Duration::from_secs(31));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_calls_at_once_than_both_sides_allow() {
        let limiter = limiter(1000, 1, 2);
        let first = limiter.slot().await;
        let _second = limiter.slot().await;
        assert!(tokio::time::timeout(Duration::from_secs(5), limiter.slot()).await.is_err());
        drop(first);
        assert!(tokio::time::timeout(Duration::from_secs(5), limiter.slot()).await.is_ok());
    }
}
