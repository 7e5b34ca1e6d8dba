//! Decides who keeps one allowance of an app: all processes in the shared table, or this process where that cannot be.
//!
//! Layer: http. Knows nothing of Postgres.

use super::pace::{Allowance, Reserved, Starts, State, STARTS};
use super::pace_table::{InFlight, Table, Trouble, MOST_REQUESTS};
use super::retry::{parse_reset, roll};
use crate::manifest::ResetFormat;
use reqwest::header::HeaderMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, Instant};

/// Tries to get a lock that others hold for microseconds, a millisecond apart. After that somebody who holds it was
/// stopped, and we pace alone for this call.
const LOCK_TRIES: u32 = 200;
/// The same where nothing can be waited for.
const LOCK_TRIES_AT_ONCE: u32 = 20;
/// Between two looks whether a request of another process has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// As late as a timer of the runtime may be: so much is in the margin.
const ON_TIME: Duration = Duration::from_millis(2);
/// The app's quiet may pass the owner's patience by this.
const PATIENCE_MARGIN: Duration = Duration::from_secs(1);

/// Where times come from: all who share an allowance need the same.
#[derive(Clone, Debug)]
pub enum Clock {
    /// Runs on while the machine sleeps, as the app's windows do, and is never set.
    Boot,
    /// The runtime's own, from this instant on. Tests can move it.
    Runtime(Instant),
}

impl Clock {
    pub fn now_ns(&self) -> u64 {
        // Far from 0, so that there is a past.
        const BEGIN_NS: u64 = 1 << 60;
        match self {
            Clock::Boot => {
                let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
                // SAFETY: writes into a live struct. The clock exists since Linux 2.6.39.
                unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
                let since = Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32);
                BEGIN_NS.saturating_add(u64::try_from(since.as_nanos()).unwrap_or_default())
            }
            Clock::Runtime(begin) => {
                BEGIN_NS.saturating_add(u64::try_from(begin.elapsed().as_nanos()).unwrap_or_default())
            }
        }
    }
}

/// The headers in which an app tells of one allowance.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub remaining: Option<String>,
    pub reset: Option<String>,
    pub format: ResetFormat,
}

impl Told {
    fn text<'a>(name: Option<&String>, headers: &'a HeaderMap) -> Option<&'a str> {
        headers.get(name?.as_str())?.to_str().ok()
    }

    /// How many calls are left.
    pub fn remaining(&self, headers: &HeaderMap) -> Option<u64> {
        Told::text(self.remaining.as_ref(), headers)?.trim().parse().ok()
    }

    /// How long until there are more; `app_now` is the app's own clock.
    pub fn renewed_in(&self, headers: &HeaderMap, app_now: Option<SystemTime>) -> Option<Duration> {
        let text = Told::text(self.reset.as_ref(), headers)?;
        parse_reset(text, self.format, app_now.unwrap_or_else(SystemTime::now))
    }
}

/// One allowance: of the source, or of a group of addresses.
pub struct Lane {
    pub told: Told,
    allowance: Allowance,
    /// Requests in flight that the app allows; 0 for no limit.
    connections: usize,
    permits: Arc<Semaphore>,
    shared: Option<Shared>,
    alone: Mutex<(State, Vec<u64>)>,
    clock: Clock,
}

/// Our place in the shared table.
struct Shared {
    table: Arc<Table>,
    key: u64,
    /// `usize::MAX` while it is not known.
    slot: AtomicUsize,
}

/// A start that was promised. Dropped before it is kept, it is given back.
pub struct Promise<'a> {
    lane: &'a Lane,
    reserved: Option<Reserved>,
    is_shared: bool,
    /// By the runtime's clock.
    start: Instant,
}

/// What an app's limit of requests in flight holds against us.
#[derive(Default)]
pub struct Seat {
    _permits: Vec<OwnedSemaphorePermit>,
    _requests: Vec<InFlight>,
}

impl Lane {
    /// `shared` is the table, and the name of the account and the group in it.
    pub fn new(
        calls_per_seconds: Option<(u32, u32)>,
        connections: u32,
        told: Told,
        shared: Option<(Arc<Table>, String)>,
        clock: Clock,
    ) -> Self {
        let connections = (connections as usize).min(MOST_REQUESTS);
        let shared = shared.map(|(table, name)| {
            // Another pace for the same calls, set by the owner meanwhile, begins anew.
            let key = table.key(&format!("{name}\n{calls_per_seconds:?} {connections}"));
            Shared { table, key, slot: AtomicUsize::new(usize::MAX) }
        });
        Lane {
            told,
            allowance: Allowance::new(calls_per_seconds),
            connections,
            permits: Arc::new(Semaphore::new(connections)),
            shared,
            alone: Mutex::new((State::default(), vec![0; STARTS])),
            clock,
        }
    }

    pub fn has_connections(&self) -> bool {
        self.connections > 0
    }

    /// Works on the state that all share; where that cannot be, on our own.
    async fn update<R: Send>(&self, work: impl Fn(&mut State, &mut dyn Starts, u64) -> R + Send + Sync) -> (R, bool) {
        for _ in 0..LOCK_TRIES {
            match self.try_update(&work) {
                Ok(result) => return (result, true),
                Err(Trouble::Busy) => sleep(Duration::from_millis(1)).await,
                Err(_) => break,
            }
        }
        (self.update_alone(work), false)
    }

    fn update_alone<R>(&self, work: impl Fn(&mut State, &mut dyn Starts, u64) -> R) -> R {
        // Whatever a panic elsewhere left, it is numbers.
        let mut alone = self.alone.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (state, starts) = &mut *alone;
        work(state, starts, self.clock.now_ns())
    }

    fn try_update<R>(&self, work: impl Fn(&mut State, &mut dyn Starts, u64) -> R) -> Result<R, Trouble> {
        let Some(Shared { table, key, .. }) = &self.shared else { return Err(Trouble::Full) };
        let mut is_new = false;
        loop {
            let slot = self.slot()?;
            match table.update((*key, slot), self.allowance.memory_ns(), || self.clock.now_ns(), &work) {
                Err(Trouble::Lost) if !is_new => {
                    is_new = true;
                    self.forget_slot();
                }
                result => return result,
            }
        }
    }

    fn slot(&self) -> Result<usize, Trouble> {
        let Some(Shared { table, key, slot }) = &self.shared else { return Err(Trouble::Full) };
        match slot.load(Relaxed) {
            usize::MAX => {
                let found = table.find(*key, self.clock.now_ns())?;
                slot.store(found, Relaxed);
                Ok(found)
            }
            known => Ok(known),
        }
    }

    fn forget_slot(&self) {
        if let Some(shared) = &self.shared {
            shared.slot.store(usize::MAX, Relaxed);
        }
    }

    /// Promises the next start. An error is how long the app wants quiet, when that is beyond `patience`.
    pub async fn reserve(&self, patience: Duration) -> Result<Promise<'_>, Duration> {
        let most_ns = u64::try_from((patience + PATIENCE_MARGIN).as_nanos()).unwrap_or(u64::MAX);
        let (result, is_shared) = self
            .update(|state, starts, now_ns| {
                let quiet_ns = self.allowance.quiet_ns(state, now_ns);
                if quiet_ns > most_ns {
                    return Err(Duration::from_nanos(quiet_ns));
                }
                let reserved = self.allowance.reserve(state, starts, now_ns);
                Ok((reserved, Duration::from_nanos(reserved.start_ns.saturating_sub(now_ns))))
            })
            .await;
        let (reserved, wait) = result?;
        Ok(Promise { lane: self, reserved: Some(reserved), is_shared, start: Instant::now() + wait })
    }

    pub async fn is_quiet(&self) -> bool {
        self.update(|state, _, now_ns| self.allowance.quiet_ns(state, now_ns) > 0).await.0
    }

    /// The app refused a call, and wants quiet for so long.
    pub async fn refused(&self, wait: Duration) {
        self.update(|state, _, now_ns| self.allowance.refused(state, now_ns, wait)).await;
    }

    /// The app said what is left.
    pub async fn left(&self, remaining: u64, renewed_in: Option<Duration>, patience: Duration) {
        self.update(|state, _, now_ns| self.allowance.left(state, now_ns, remaining, renewed_in, patience)).await;
    }

    /// The app said how many percent of an allowance are used.
    pub async fn used(&self, percent: f64, from: f64) {
        self.update(|state, _, now_ns| self.allowance.used(state, now_ns, percent, from)).await;
    }

    /// Waits until the app's limit of requests in flight has room, here and in all other processes.
    pub async fn sit(&self, seat: &mut Seat) {
        // Never closed; without a permit the call just goes on.
        seat._permits.extend(Arc::clone(&self.permits).acquire_owned().await.ok());
        loop {
            let request = match (&self.shared, self.slot()) {
                (Some(shared), Ok(slot)) => shared.table.request(slot, self.connections),
                (_, Err(trouble)) => Err(trouble),
                (None, Ok(_)) => return,
            };
            match request {
                Ok(Some(request)) => return seat._requests.push(request),
                // Not all at the same moment.
                Ok(None) | Err(Trouble::Busy) => sleep(LOOK_AGAIN.mul_f64(0.5 + roll())).await,
                Err(_) => return,
            }
        }
    }
}

impl Promise<'_> {
    /// How long until the start.
    pub fn wait(&self) -> Duration {
        self.start.saturating_duration_since(Instant::now())
    }

    /// Whether the call may start now: not if it would come too close to those after it.
    pub async fn is_in_time(&self) -> bool {
        let late = self.start.elapsed();
        let Some(reserved) = self.reserved.filter(|_| late > ON_TIME) else { return true };
        let may = |state: &mut State, starts: &mut dyn Starts, now_ns: u64| {
            self.lane.allowance.may_come_late(state, starts, &reserved, now_ns)
        };
        late <= self.lane.allowance.tolerance() && self.lane.update(may).await.0
    }

    /// The call starts.
    pub fn keep(mut self) {
        self.reserved = None;
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        let Some(reserved) = self.reserved.filter(Reserved::has_taken) else { return };
        let give_back = |state: &mut State, _: &mut dyn Starts, _: u64| self.lane.allowance.give_back(state, &reserved);
        if !self.is_shared {
            return self.lane.update_alone(give_back);
        }
        // Not given back, it is one call less that somebody makes.
        for _ in 0..LOCK_TRIES_AT_ONCE {
            if !matches!(self.lane.try_update(give_back), Err(Trouble::Busy)) {
                return;
            }
            std::thread::yield_now();
        }
    }
}
