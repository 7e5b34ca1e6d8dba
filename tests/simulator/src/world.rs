//! Decides what exists: one world with its apps, and beside each app what happens to its traffic.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Instant;

use crate::app::{App, Call, Entry, APPS};
use crate::clock;
use crate::config::Config;
use crate::faults::Faults;
use crate::gates::Gates;
use crate::http::{Reply, Request};
use crate::log::Log;

/// The requests of one app, whatever they ask.
#[derive(Default)]
pub struct Traffic {
    pub log: Mutex<Log>,
    pub faults: Mutex<Faults>,
    /// The last page sent in each listing, kept while a fault may repeat it.
    pub last_pages: Mutex<HashMap<String, Reply>>,
    config: RwLock<Arc<Config>>,
    bucket: Mutex<Option<(Instant, f64)>>,
    calls: Mutex<u64>,
    in_flight: AtomicU64,
}

/// A request under way, until this is dropped.
pub struct InFlight<'a> {
    traffic: &'a Traffic,
    /// How many there were when it began, itself included.
    pub count: u64,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.traffic.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Traffic {
    pub fn config(&self) -> Arc<Config> {
        self.config.read().unwrap().clone()
    }

    pub fn set_config(&self, config: Config) {
        *self.config.write().unwrap() = Arc::new(config);
        *self.bucket.lock().unwrap() = None;
    }

    pub fn begin(&self) -> InFlight<'_> {
        InFlight { traffic: self, count: self.in_flight.fetch_add(1, Ordering::SeqCst) + 1 }
    }

    /// Counts a call and gives how many there were: what `Sforce-Limit-Info` shows.
    pub fn count_call(&self) -> u64 {
        let mut calls = self.calls.lock().unwrap();
        *calls += 1;
        *calls
    }

    pub fn calls(&self) -> u64 {
        *self.calls.lock().unwrap()
    }

    pub fn set_calls(&self, calls: u64) {
        *self.calls.lock().unwrap() = calls;
    }

    /// Takes one request out of the rate, which allows a burst of one second's worth.
    pub fn is_over_rate(&self, per_second: f64) -> bool {
        if per_second <= 0.0 {
            return false;
        }
        let burst = per_second.max(1.0);
        let now = Instant::now();
        let mut bucket = self.bucket.lock().unwrap();
        let (before, tokens) = bucket.unwrap_or((now, burst));
        let tokens = (tokens + now.duration_since(before).as_secs_f64() * per_second).min(burst);
        let over = tokens < 1.0;
        *bucket = Some((now, if over { tokens } else { tokens - 1.0 }));
        over
    }

    fn reset(&self, config: Config) {
        self.log.lock().unwrap().clear();
        self.faults.lock().unwrap().clear();
        self.last_pages.lock().unwrap().clear();
        self.set_config(config);
        self.set_calls(0);
    }
}

/// One app at its place in the world.
pub struct Seat {
    pub entry: &'static Entry,
    pub traffic: Traffic,
    app: Mutex<Box<dyn App>>,
}

impl Seat {
    fn new(entry: &'static Entry, seed: u64) -> Seat {
        let seat = Seat { entry, traffic: Traffic::default(), app: Mutex::new((entry.new)(seed)) };
        seat.traffic.set_config(seat.first_config());
        seat
    }

    fn first_config(&self) -> Config {
        Config::new(self.app().knobs().as_object().cloned().unwrap_or_default())
    }

    /// A panic in an app must not end the tests that follow: they reset first.
    pub fn app(&self) -> MutexGuard<'_, Box<dyn App>> {
        self.app.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// What the app itself answers.
    pub fn answer(&self, request: &Request, in_flight: u64) -> Reply {
        let config = self.traffic.config();
        let is_over_rate = self.traffic.is_over_rate(config.rate_per_second);
        let mut app = self.app();
        let calls = if app.counts(request) { self.traffic.count_call() } else { self.traffic.calls() };
        app.answer(&Call { request, config: &config, is_over_rate, calls, in_flight, now_ms: clock::now_ms() })
    }
}

pub struct World {
    pub seed: u64,
    pub gates: Gates,
    seats: BTreeMap<&'static str, Seat>,
}

impl World {
    pub fn new(seed: u64) -> World {
        let seats = APPS.iter().map(|entry| (entry.name, Seat::new(entry, seed))).collect();
        World { seed, gates: Gates::default(), seats }
    }

    pub fn seat(&self, name: &str) -> Option<&Seat> {
        self.seats.get(name)
    }

    /// The ids that apps other than this one lend to its seed.
    pub fn lent_to(&self, name: &str) -> Vec<String> {
        self.seats.values().filter(|seat| seat.entry.name != name).flat_map(|seat| seat.app().lends()).collect()
    }

    /// Everything back to empty.
    pub fn reset(&self) {
        self.gates.clear(None);
        clock::set_offset_seconds(0);
        for seat in self.seats.values() {
            *seat.app() = (seat.entry.new)(self.seed);
            seat.traffic.reset(seat.first_config());
        }
    }
}
