//! Decides which request meets which fault: by name and match, or by a seeded random schedule.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{json, Value};

use crate::app::App;
use crate::chance::Chance;
use crate::http::{decode, Request};

/// Which requests are meant. All members given must hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matcher {
    pub path_prefix: String,
    /// Searched in the path, the decoded query and the body.
    pub contains: String,
    pub method: String,
    /// Lets that many matching requests pass first.
    pub skip: u64,
}

impl Matcher {
    pub fn matches(&self, request: &Request) -> bool {
        request.path.starts_with(&self.path_prefix)
            && (self.method.is_empty() || self.method.eq_ignore_ascii_case(&request.method))
            && (self.contains.is_empty()
                || request.path.contains(&self.contains)
                || decode(&request.query).contains(&self.contains)
                || String::from_utf8_lossy(&request.body).contains(&self.contains))
    }
}

/// Everything a fault can do; the names in the control API are in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Status,
    ResetBefore,
    ResetHeaders,
    ResetBody,
    Truncate,
    TruncateJson,
    ChunkError,
    Html,
    Empty,
    ErrorObject,
    SlowDrip,
    Hang,
    HangBody,
    EndlessHeaders,
    Bomb,
    Giant,
    DeepJson,
    Redirect,
    SamePage,
    DuplicatePage,
    EmptyPage,
    Shuffle,
    BadRecord,
    RawField,
}

impl Kind {
    /// Faults that need a page already sent in the same listing.
    pub fn repeats_a_page(self, app: &dyn App) -> bool {
        self == Kind::SamePage || (self == Kind::DuplicatePage && app.repeats_duplicates())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    #[serde(default)]
    pub id: u64,
    #[serde(rename = "match", default)]
    pub matcher: Matcher,
    pub kind: Kind,
    /// How often it happens; 0 is always.
    #[serde(default = "once")]
    pub times: u64,
    #[serde(default)]
    pub status: Option<u16>,
    #[serde(default)]
    pub body: Option<Value>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub bytes_per_second: Option<u64>,
    #[serde(default)]
    pub megabytes: Option<u64>,
    #[serde(default)]
    pub depth: Option<usize>,
    #[serde(default)]
    pub location: Option<String>,
    /// bad_record: the raw JSON text put into the page; at `index` (default: the first place).
    #[serde(default)]
    pub record: Option<String>,
    #[serde(default)]
    pub index: Option<usize>,
    /// raw_field: which field of the record gets the raw JSON text.
    #[serde(default)]
    pub field: Option<String>,
    #[serde(default)]
    pub raw: Option<String>,
    /// reset_before: whether the request takes effect all the same.
    #[serde(default)]
    pub handled: bool,
    #[serde(default, skip_deserializing)]
    pub seen: u64,
    #[serde(default, skip_deserializing)]
    pub hits: u64,
}

fn once() -> u64 {
    1
}

/// A random schedule: each request meets a fault with probability `rate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chaos {
    pub seed: u64,
    pub rate: f64,
    #[serde(default)]
    pub kinds: Vec<Kind>,
    #[serde(rename = "match", default)]
    pub matcher: Matcher,
    /// Ends after so many faults; 0 is never.
    #[serde(default)]
    pub times: u64,
    #[serde(default, skip_deserializing)]
    pub seen: u64,
    #[serde(default, skip_deserializing)]
    pub hits: u64,
}

#[derive(Default)]
pub struct Faults {
    list: Vec<Fault>,
    chaos: Option<(Chaos, Chance)>,
    last: u64,
}

impl Faults {
    pub fn add(&mut self, mut fault: Fault) -> u64 {
        self.last += 1;
        fault.id = self.last;
        self.list.push(fault);
        self.last
    }

    pub fn set_chaos(&mut self, mut chaos: Chaos) {
        if chaos.kinds.is_empty() {
            chaos.kinds = vec![
                Kind::Status,
                Kind::ResetBefore,
                Kind::ResetHeaders,
                Kind::ResetBody,
                Kind::Truncate,
                Kind::TruncateJson,
                Kind::ChunkError,
            ];
        }
        let chance = Chance::new(chaos.seed, "chaos");
        self.chaos = (chaos.rate > 0.0).then_some((chaos, chance));
    }

    pub fn clear(&mut self) {
        self.list.clear();
        self.chaos = None;
    }

    /// Whether pages must be remembered because a fault may repeat them.
    pub fn repeats_pages(&self, app: &dyn App) -> bool {
        self.list.iter().any(|f| f.kind.repeats_a_page(app))
            || self.chaos.iter().any(|(c, _)| c.kinds.iter().any(|k| k.repeats_a_page(app)))
    }

    /// The fault this request meets. `has_earlier_page` tells whether its listing already sent one.
    pub fn decide(&mut self, app: &dyn App, request: &Request, has_earlier_page: bool) -> Option<Fault> {
        for fault in &mut self.list {
            if (fault.times > 0 && fault.hits >= fault.times) || !fault.matcher.matches(request) {
                continue;
            }
            if fault.kind.repeats_a_page(app) && !has_earlier_page {
                continue;
            }
            fault.seen += 1;
            if fault.seen > fault.matcher.skip {
                fault.hits += 1;
                return Some(fault.clone());
            }
        }
        let (chaos, chance) = self.chaos.as_mut()?;
        if !chaos.matcher.matches(request) || (chaos.times > 0 && chaos.hits >= chaos.times) {
            return None;
        }
        chaos.seen += 1;
        let (roll, choice) = (chance.unit(), chance.next());
        let kind = chaos.kinds[(choice % chaos.kinds.len() as u64) as usize];
        if chaos.seen <= chaos.matcher.skip || roll >= chaos.rate || (kind.repeats_a_page(app) && !has_earlier_page) {
            return None;
        }
        chaos.hits += 1;
        let status = [500, 502, 503, 504, 429][(choice / 64 % 5) as usize];
        serde_json::from_value(json!({"kind": kind, "status": if kind == Kind::Status { Some(status) } else { None }}))
            .ok()
    }

    pub fn report(&self) -> Value {
        json!({"faults": self.list, "chaos": self.chaos.as_ref().map(|(c, _)| c)})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Unwritten;

    fn fault(spec: Value) -> Fault {
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn a_fault_skips_then_hits_so_often() {
        let mut faults = Faults::default();
        faults.add(fault(json!({"kind": "status", "match": {"path_prefix": "/v1/charges", "skip": 1}, "times": 2})));
        let request = Request { method: "GET".into(), path: "/v1/charges".into(), ..Request::default() };
        let hits: Vec<bool> = (0..5).map(|_| faults.decide(&Unwritten("any"), &request, false).is_some()).collect();
        assert_eq!(hits, [false, true, true, false, false]);
        let other = Request { path: "/v1/customers".into(), ..request };
        assert!(faults.decide(&Unwritten("any"), &other, false).is_none());
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        let schedule = |seed: u64| {
            let mut faults = Faults::default();
            faults.set_chaos(serde_json::from_value(json!({"seed": seed, "rate": 0.3})).unwrap());
            let request = Request::default();
            (0..50).map(|_| faults.decide(&Unwritten("any"), &request, false).map(|f| f.kind)).collect::<Vec<_>>()
        };
        assert_eq!(schedule(7), schedule(7));
        assert_ne!(schedule(7), schedule(8));
    }
}
