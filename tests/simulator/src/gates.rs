//! Decides when a held request may go on: a gate keeps matching requests waiting until a test releases it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{json, Value};
use tokio::sync::watch;

use crate::faults::Matcher;
use crate::http::{Connection, Request};

#[derive(Debug, Clone, Copy, Default)]
struct State {
    waiting: u64,
    passed: u64,
    gone: u64,
    permits: u64,
    is_open: bool,
}

pub struct Gate {
    app: &'static str,
    at_body: bool,
    state: watch::Sender<State>,
}

/// What a test sends to make a gate.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateSpec {
    #[serde(rename = "match", default)]
    matcher: Matcher,
    /// "headers" (before the reply, the default) or "body" (after half of it).
    #[serde(default, rename = "where")]
    place: String,
    /// How many requests it holds; 0 is all.
    #[serde(default)]
    times: u64,
}

struct Standing {
    gate: Arc<Gate>,
    matcher: Matcher,
    seen: u64,
    times: u64,
}

#[derive(Default)]
pub struct Gates {
    last: Mutex<u64>,
    all: Mutex<BTreeMap<u64, Standing>>,
}

/// How a hold ended.
#[derive(PartialEq)]
pub enum Held {
    Released,
    ClientGone,
}

impl Gates {
    pub fn add(&self, app: &'static str, spec: GateSpec) -> u64 {
        let mut last = self.last.lock().unwrap();
        *last += 1;
        let gate = Arc::new(Gate { app, at_body: spec.place == "body", state: watch::Sender::new(State::default()) });
        self.all.lock().unwrap().insert(*last, Standing { gate, matcher: spec.matcher, seen: 0, times: spec.times });
        *last
    }

    /// The gate that holds this request at this place, if any.
    pub fn hit(&self, app: &str, request: &Request, at_body: bool) -> Option<Arc<Gate>> {
        for standing in self.all.lock().unwrap().values_mut() {
            let gate = &standing.gate;
            if gate.app != app || gate.at_body != at_body || !standing.matcher.matches(request) {
                continue;
            }
            standing.seen += 1;
            let ordinal = standing.seen;
            let skip = standing.matcher.skip;
            if ordinal > skip && (standing.times == 0 || ordinal - skip <= standing.times) {
                return Some(gate.clone());
            }
        }
        None
    }

    fn gate(&self, id: u64) -> Option<Arc<Gate>> {
        self.all.lock().unwrap().get(&id).map(|s| s.gate.clone())
    }

    /// Lets all requests pass from now on, or only `count` of them.
    pub fn release(&self, id: u64, count: Option<u64>) -> bool {
        let Some(gate) = self.gate(id) else { return false };
        gate.state.send_modify(|s| match count {
            Some(count) => s.permits += count,
            None => s.is_open = true,
        });
        true
    }

    /// Opens and forgets gates: one app's, or all.
    pub fn clear(&self, app: Option<&str>) {
        self.all.lock().unwrap().retain(|_, standing| {
            let gone = app.is_none_or(|app| app == standing.gate.app);
            if gone {
                standing.gate.state.send_modify(|s| s.is_open = true);
            }
            !gone
        });
    }

    /// The gate's counts, once `wait_for` requests are waiting (or passed or gone), at most `longest` from now.
    pub async fn look(&self, id: u64, wait_for: u64, gone: u64, longest: Duration) -> Option<Value> {
        let gate = self.gate(id)?;
        let mut state = gate.state.subscribe();
        let reached = state.wait_for(|s| s.waiting >= wait_for && s.gone >= gone);
        let _ = tokio::time::timeout(longest, reached).await;
        let s = *gate.state.borrow();
        Some(json!({"waiting": s.waiting, "passed": s.passed, "gone": s.gone, "open": s.is_open}))
    }
}

/// Its own function, because the guard that `wait_for` gives must be gone before the state is changed.
async fn may_pass(state: &mut watch::Receiver<State>) {
    let _ = state.wait_for(|s| s.is_open || s.permits > 0).await;
}

impl Gate {
    /// Keeps the request waiting; notices a client that leaves.
    pub async fn hold(&self, connection: &mut Connection) -> Held {
        let mut state = self.state.subscribe();
        self.state.send_modify(|s| s.waiting += 1);
        loop {
            tokio::select! {
                () = may_pass(&mut state) => {
                    let passed = self.state.send_if_modified(|s| {
                        if !s.is_open && s.permits == 0 {
                            return false;
                        }
                        s.permits = s.permits.saturating_sub(1);
                        s.waiting -= 1;
                        s.passed += 1;
                        true
                    });
                    if passed {
                        return Held::Released;
                    }
                }
                read = connection.read_more() => if !matches!(read, Ok(n) if n > 0) {
                    self.state.send_modify(|s| {
                        s.waiting -= 1;
                        s.gone += 1;
                    });
                    return Held::ClientGone;
                }
            }
        }
    }
}
