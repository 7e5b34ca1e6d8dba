//! Says how checkpoints and positions of Facebook's tables are written, and reads them again.
//!
//! A checkpoint has an instant for each ad account (`parents`): what changed before it is known. `recent` are the states of
//! campaigns and ad sets that were passed on to what is below them already, as far as the overlap shows them again.
//!
//! Layer: extract. Knows nothing of Postgres.

use crate::extract::time::{parse_iso, to_iso_ms};
use serde_json::{json, Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What a table knows of each ad account.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    pub at: BTreeMap<String, i64>,
    pub recent: BTreeMap<String, BTreeSet<String>>,
}

impl Known {
    pub fn of(checkpoint: Option<&Value>) -> Self {
        let members = |name: &str| checkpoint.and_then(|c| c.get(name)).and_then(Value::as_object);
        let instant = |(id, at): (&String, &Value)| Some((id.clone(), parse_iso(at.as_str()?)?));
        let states = |(id, list): (&String, &Value)| {
            let texts = list.as_array()?.iter().filter_map(Value::as_str).map(str::to_string);
            Some((id.clone(), texts.collect()))
        };
        Known {
            at: members("parents").into_iter().flatten().filter_map(instant).collect(),
            recent: members("recent").into_iter().flatten().filter_map(states).collect(),
        }
    }

    /// `now_us` is the app's clock when there is no account to have an instant of its own.
    pub fn checkpoint(&self, now_us: Option<i64>) -> Value {
        let oldest = self.at.values().min().copied().or(now_us);
        let parents: Map<String, Value> = self.at.iter().map(|(id, at)| (id.clone(), to_iso_ms(*at).into())).collect();
        let mut checkpoint = json!({ "cursor": oldest.map(to_iso_ms), "parents": parents });
        if let Some(members) = checkpoint.as_object_mut() {
            members.extend(now_us.map(|now| ("checked_at".to_string(), to_iso_ms(now).into())));
            let recent: Map<String, Value> = self
                .recent
                .iter()
                .filter(|(_, states)| !states.is_empty())
                .map(|(id, states)| (id.clone(), states.iter().map(String::as_str).collect()))
                .collect();
            if !recent.is_empty() {
                members.insert("recent".into(), recent.into());
            }
        }
        checkpoint
    }
}

/// Where an interrupted load of objects goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// The app's clock when the load began: what changed since is read again.
    pub upper: Option<i64>,
    /// Listings that are done, by account and collection.
    pub done: BTreeSet<String>,
    /// The listing at hand, and its next page.
    pub at: Option<(String, Value)>,
}

impl Place {
    pub fn of(position: Option<&Value>) -> Self {
        let Some(position) = position else { return Place::default() };
        let text = |name: &str| position.get(name).and_then(Value::as_str).map(str::to_string);
        let done = position.get("done").and_then(Value::as_array).into_iter().flatten();
        Place {
            upper: text("upper").as_deref().and_then(parse_iso),
            done: done.filter_map(Value::as_str).map(str::to_string).collect(),
            at: text("at").zip(position.get("page").cloned()),
        }
    }

    pub fn position(&self) -> Value {
        let done: Vec<&str> = self.done.iter().map(String::as_str).collect();
        let mut position = json!({ "upper": self.upper.map(to_iso_ms), "done": done });
        if let (Some(members), Some((at, page))) = (position.as_object_mut(), &self.at) {
            members.insert("at".into(), at.as_str().into());
            members.insert("page".into(), page.clone());
        }
        position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_as_it_was() {
        let second = 1_000_000;
        let known = Known {
            at: BTreeMap::from([("1".to_string(), 50 * second), ("2".to_string(), 40 * second)]),
            recent: BTreeMap::from([("1".to_string(), BTreeSet::from(["ab".to_string()]))]),
        };
        let saved = known.checkpoint(Some(60 * second));
        assert_eq!(Known::of(Some(&saved)), known);
        assert_eq!(
            (saved["cursor"].as_str(), saved["checked_at"].as_str()),
            (Some("1970-01-01T00:00:40.000Z"), Some("1970-01-01T00:01:00.000Z")),
            "as far as every account is known"
        );
        assert_eq!(Known::of(None), Known::default());
        let place = Place {
            upper: Some(7 * second),
            done: BTreeSet::from(["1/ads".to_string()]),
            at: Some(("2/ads".to_string(), json!({"target": "/x", "query": []}))),
        };
        assert_eq!(Place::of(Some(&place.position())), place);
        assert_eq!(Place::of(Some(&json!({"page": null}))), Place::default());
    }
}
