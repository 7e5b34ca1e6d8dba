//! Decides when a call may start: how many at once, how many in a time, and not while the app asked for quiet.
//!
//! A call takes from the group of addresses it belongs to, from the source's general allowance, or from both. Reads of
//! one server share what the app allows, whichever process they run in; `max_concurrency` is each process's own.
//!
//! Layer: http. Knows nothing of Postgres.

use super::lane::{Clock, Lane, Promise, Seat, Told};
use super::pace_table::Table;
use super::Policy;
use crate::manifest::{Rate, RateGroup};
use reqwest::header::HeaderMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, Instant};

/// A wait longer than this is waited without a place among the requests in flight: calls of other groups go on.
const LONG_WAIT: Duration = Duration::from_secs(1);
/// Promised starts that may be missed before a call goes all the same: the machine is too busy to be on time.
const MISSES: u32 = 3;

/// The paces of one server.
pub struct Limiter {
    at_once: Arc<Semaphore>,
    general: Lane,
    groups: Vec<(RateGroup, Lane)>,
    patience: Duration,
}

/// Leave to make one call. Held until its body is read.
pub struct Turn {
    _at_once: Option<OwnedSemaphorePermit>,
    _seat: Seat,
}

impl Limiter {
    /// `shared` is the table of all processes and the account's name in it.
    pub fn new(policy: &Policy, rate: Option<&Rate>, shared: Option<(Arc<Table>, &str)>) -> Self {
        let clock = if shared.is_some() { Clock::Boot } else { Clock::Runtime(Instant::now()) };
        Limiter::with_clock(policy, rate, shared, clock)
    }

    fn with_clock(policy: &Policy, rate: Option<&Rate>, shared: Option<(Arc<Table>, &str)>, clock: Clock) -> Self {
        let nothing = Rate::default();
        let rate = rate.unwrap_or(&nothing);
        // No group has an empty name.
        let in_table = |name: &str| shared.as_ref().map(|(table, of)| (Arc::clone(table), format!("{of}\n{name}")));
        let told = Told {
            remaining: rate.remaining_header.clone(),
            reset: rate.reset_header.clone(),
            format: rate.reset_format,
        };
        let general = Lane::new(rate.calls.zip(rate.per_seconds), rate.connections, told, in_table(""), clock.clone());
        let group = |group: &RateGroup| {
            let told = Told {
                remaining: group.remaining_header.clone(),
                reset: group.reset_header.clone(),
                format: group.reset_format,
            };
            let calls = group.calls.zip(group.per_seconds);
            let lane = Lane::new(calls, group.connections, told, in_table(&group.name), clock.clone());
            (group.clone(), lane)
        };
        Limiter {
            at_once: Arc::new(Semaphore::new(policy.max_concurrency.clamp(1, 1000) as usize)),
            general,
            groups: rate.groups.iter().map(group).collect(),
            patience: policy.patience,
        }
    }

    fn group(&self, path: &str) -> Option<&(RateGroup, Lane)> {
        self.groups.iter().find(|(group, _)| group.matches(path))
    }

    /// The allowances that a call takes from; the narrower one first.
    fn lanes(&self, path: &str) -> impl Iterator<Item = &Lane> {
        let group = self.group(path);
        let general = group.is_none_or(|(group, _)| group.also_general).then_some(&self.general);
        group.map(|(_, lane)| lane).into_iter().chain(general)
    }

    /// Those whose requests in flight it counts among: a group without a limit of its own uses the source's.
    fn seats(&self, path: &str) -> impl Iterator<Item = &Lane> {
        let group = self.group(path);
        let is_apart = group.is_some_and(|(group, lane)| lane.has_connections() && !group.also_general);
        let general = (!is_apart).then_some(&self.general);
        group.map(|(_, lane)| lane).into_iter().chain(general).filter(|lane| lane.has_connections())
    }

    /// Waits for the moment and for room among the requests in flight. `path` is that of the call below the base
    /// address. An error is how long the app wants quiet, when that is beyond the owner's patience.
    pub async fn turn(&self, path: &str) -> Result<Turn, Duration> {
        let mut room = Some(self.room(path).await);
        let mut missed = 0;
        loop {
            let Some(promises) = self.promises(path, &mut room).await? else { continue };
            let turn = match room.take() {
                Some(turn) => turn,
                None => self.room(path).await,
            };
            let mut in_time = true;
            for promise in &promises {
                in_time &= promise.is_in_time().await;
            }
            if in_time || missed == MISSES {
                promises.into_iter().for_each(Promise::keep);
                return Ok(turn);
            }
            missed += 1;
            room = Some(turn);
        }
    }

    /// Waits for the promised start. `None` when the app asked for quiet meanwhile; gives up its room for a long wait.
    async fn promises(&self, path: &str, room: &mut Option<Turn>) -> Result<Option<Vec<Promise<'_>>>, Duration> {
        let mut promises = Vec::new();
        // One after the other: a start promised far ahead would hold up all others of the wider allowance.
        for lane in self.lanes(path) {
            let promise = lane.reserve(self.patience).await?;
            let wait = promise.wait();
            promises.push(promise);
            if wait.is_zero() {
                continue;
            }
            if wait > LONG_WAIT {
                *room = None;
            }
            sleep(wait).await;
            if lane.is_quiet().await {
                return Ok(None);
            }
        }
        Ok(Some(promises))
    }

    /// Waits for room among the requests in flight: the app's, then our own.
    async fn room(&self, path: &str) -> Turn {
        let mut seat = Seat::default();
        for lane in self.seats(path) {
            lane.sit(&mut seat).await;
        }
        // The semaphore is never closed; without a permit the call just goes on.
        let at_once = Arc::clone(&self.at_once).acquire_owned().await.ok();
        Turn { _at_once: at_once, _seat: seat }
    }

    /// The app refused a call: none that takes from the same allowances starts before `wait` is over.
    pub async fn be_quiet(&self, path: &str, wait: Duration) {
        for lane in self.lanes(path) {
            lane.refused(wait).await;
        }
    }

    /// Keeps what a reply tells of what is left. `app_now` is the app's own clock.
    pub async fn note(&self, path: &str, headers: &HeaderMap, app_now: Option<SystemTime>) {
        for lane in self.lanes(path) {
            if let Some(remaining) = lane.told.remaining(headers) {
                lane.left(remaining, lane.told.renewed_in(headers, app_now), self.patience).await;
            }
        }
    }

    /// The app said how many percent of an allowance are used; `from` so many on, calls come slower.
    pub async fn used(&self, path: &str, percent: f64, from: f64) {
        for lane in self.lanes(path) {
            lane.used(percent, from).await;
        }
    }

    /// How long a refused call has to wait by the header that tells of the renewal.
    pub fn renewed_in(&self, path: &str, headers: &HeaderMap, app_now: Option<SystemTime>) -> Option<Duration> {
        self.lanes(path).find_map(|lane| lane.told.renewed_in(headers, app_now))
    }
}

#[cfg(test)]
#[path = "limit_tests.rs"]
mod tests;
