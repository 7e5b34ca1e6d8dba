//! Decides what exists: one world with its apps, and beside each app what happens to its traffic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Instant;

use crate::clock;
use crate::config::Config;
use crate::faults::Faults;
use crate::gates::Gates;
use crate::http::{Reply, Request};
use crate::log::Log;
use crate::salesforce::Salesforce;
use crate::stripe::Stripe;

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
}

impl Traffic {
    pub fn config(&self) -> Arc<Config> {
        self.config.read().unwrap().clone()
    }

    pub fn set_config(&self, config: Config) {
        *self.config.write().unwrap() = Arc::new(config);
        *self.bucket.lock().unwrap() = None;
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

    fn reset(&self) {
        self.log.lock().unwrap().clear();
        self.faults.lock().unwrap().clear();
        self.last_pages.lock().unwrap().clear();
        self.set_config(Config::default());
        self.set_calls(0);
    }
}

pub struct World {
    pub seed: u64,
    pub gates: Gates,
    salesforce: Mutex<Salesforce>,
    stripe: Mutex<Stripe>,
    salesforce_traffic: Traffic,
    stripe_traffic: Traffic,
}

impl World {
    pub fn new(seed: u64) -> World {
        World {
            seed,
            gates: Gates::default(),
            salesforce: Mutex::new(Salesforce::new(seed)),
            stripe: Mutex::new(Stripe::new(seed)),
            salesforce_traffic: Traffic::default(),
            stripe_traffic: Traffic::default(),
        }
    }

    pub fn traffic(&self, app: &str) -> &Traffic {
        if app == "salesforce" {
            &self.salesforce_traffic
        } else {
            &self.stripe_traffic
        }
    }

    pub fn salesforce(&self) -> MutexGuard<'_, Salesforce> {
        self.salesforce.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    pub fn stripe(&self) -> MutexGuard<'_, Stripe> {
        self.stripe.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// What the app itself answers.
    pub fn answer(&self, app: &str, request: &Request) -> Reply {
        let traffic = self.traffic(app);
        let config = traffic.config();
        let over_rate = traffic.is_over_rate(config.rate_per_second);
        if app == "salesforce" {
            let calls = if request.path.starts_with("/services/data") { traffic.count_call() } else { traffic.calls() };
            self.salesforce().answer(request, &config, over_rate, calls)
        } else {
            self.stripe().answer(request, &config, over_rate)
        }
    }

    /// Everything back to empty.
    pub fn reset(&self) {
        self.gates.clear(None);
        clock::set_offset_seconds(0);
        *self.salesforce() = Salesforce::new(self.seed);
        *self.stripe() = Stripe::new(self.seed);
        self.salesforce_traffic.reset();
        self.stripe_traffic.reset();
    }
}
