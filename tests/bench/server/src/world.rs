//! Decides what the server remembers: its records, its settings, and what it counted.

use crate::events::Events;
use crate::limit::Window;
use crate::store::{Collection, Kind};
use serde_json::{json, Value};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// The version that the records are shaped after; events name it until a client asks for one.
const API_VERSION: &str = "2024-06-20";

/// What one run of requests looked like.
#[derive(Default)]
pub struct Counters {
    requests: u64,
    refused: u64,
    bytes: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    in_flight: u64,
    most_in_flight: u64,
}

pub struct World {
    pub seed: u64,
    pub customers: Collection,
    pub charges: Collection,
    pub events: Events,
    pub latency: Duration,
    pub limit: Window,
    pub api_version: String,
    counters: Counters,
    /// Whether replies are held, and how many are.
    pub hang: watch::Sender<bool>,
    pub held: watch::Sender<u64>,
}

/// One thread serves everything, so nothing is locked. No borrow lives across a wait.
pub type Shared = Rc<RefCell<World>>;

impl World {
    pub fn new(seed: u64) -> World {
        World {
            seed,
            customers: Collection::render(Kind::Customer, seed, 0),
            charges: Collection::render(Kind::Charge, seed, 0),
            events: Events::default(),
            latency: Duration::ZERO,
            limit: Window::default(),
            api_version: API_VERSION.into(),
            counters: Counters::default(),
            hang: watch::Sender::new(false),
            held: watch::Sender::new(0),
        }
    }

    pub fn collection(&mut self, kind: Kind) -> &mut Collection {
        match kind {
            Kind::Customer => &mut self.customers,
            Kind::Charge => &mut self.charges,
        }
    }

    pub fn arrived(&mut self, now: Instant) {
        let counters = &mut self.counters;
        counters.requests += 1;
        counters.first.get_or_insert(now);
        counters.last = Some(now);
        counters.in_flight += 1;
        counters.most_in_flight = counters.most_in_flight.max(counters.in_flight);
    }

    pub fn refused(&mut self) {
        self.counters.refused += 1;
    }

    pub fn left(&mut self, bytes: usize) {
        self.counters.bytes += bytes as u64;
        self.counters.in_flight -= 1;
    }

    /// Counts from 0 again; what is in flight stays so.
    pub fn reset_counters(&mut self) {
        let in_flight = self.counters.in_flight;
        self.counters = Counters { in_flight, most_in_flight: in_flight, ..Counters::default() };
    }

    pub fn counted(&self) -> Value {
        let Counters { requests, refused, bytes, first, last, in_flight, most_in_flight } = &self.counters;
        let ago = |instant: &Option<Instant>| instant.map(|instant| unix_now() - instant.elapsed().as_secs_f64());
        let seconds = first.zip(*last).map(|(first, last)| last.duration_since(first).as_secs_f64());
        json!({
            "requests": requests, "refused": refused, "bytes": bytes, "first_at": ago(first), "last_at": ago(last),
            "seconds_between": seconds, "in_flight": in_flight, "most_in_flight": most_in_flight,
            "held": *self.held.borrow(),
        })
    }

    pub fn sizes(&self) -> Value {
        let size = |collection: &Collection| json!({"records": collection.len(), "bytes": collection.bytes()});
        json!({"customers": size(&self.customers), "charges": size(&self.charges)})
    }
}

pub fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
