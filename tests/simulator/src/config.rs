//! Decides how each app behaves beyond its data: speed, limits, credentials. Set by `POST /{app}/config`.
//!
//! What every app has is named here. The rest are the app's own knobs, with the values they start with (`App::knobs`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The settings of one app. Unknown names are refused, so a test cannot silently set nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Waited before each reply.
    pub latency_ms: u64,
    /// Requests per second before the app answers 429; 0 is no limit.
    pub rate_per_second: f64,
    /// Caps the records of a page; 0 is no cap.
    pub page_size: usize,
    /// New changes become visible to queries and events that much later.
    pub late_visibility_ms: i64,
    /// Collections (or objects) the credential may not read.
    pub denied: Vec<String>,
    /// Compress replies when the client accepts gzip (bulk results always are).
    pub gzip: bool,
    /// The app's own knobs.
    #[serde(flatten)]
    own: Map<String, Value>,
}

impl Config {
    /// The settings an app starts with.
    pub fn new(knobs: Map<String, Value>) -> Config {
        Config { own: knobs, ..Config::default() }
    }

    /// These settings with the members of `changes` put over them.
    pub fn changed_by(&self, changes: &Value) -> Result<Config, String> {
        let mut all = serde_json::to_value(self).map_err(|e| e.to_string())?;
        let (Some(all_members), Some(changes)) = (all.as_object_mut(), changes.as_object()) else {
            return Err("the body must be a JSON object".into());
        };
        for (name, value) in changes {
            let Some(before) = all_members.get(name) else { return Err(format!("unknown field `{name}`")) };
            if std::mem::discriminant(before) != std::mem::discriminant(value) && !before.is_null() && !value.is_null()
            {
                return Err(format!("{name} is now {before} and cannot become {value}"));
            }
            all_members.insert(name.clone(), value.clone());
        }
        serde_json::from_value(all).map_err(|e| e.to_string())
    }

    /// Whether any of these names is among the denied ones, whatever the case of its letters.
    pub fn denies(&self, names: &[&str]) -> bool {
        self.denied.iter().any(|denied| names.iter().any(|name| name.eq_ignore_ascii_case(denied)))
    }

    /// The page size for a request that asks for `asked` where the app gives at most `most`: the cap of the tests comes last.
    pub fn page_of(&self, asked: usize, most: usize) -> usize {
        let size = asked.clamp(1, most.max(1));
        if self.page_size > 0 {
            size.min(self.page_size)
        } else {
            size
        }
    }

    /// When a change made now is shown; `None` is at once.
    pub fn due_ms(&self, now_ms: i64) -> Option<i64> {
        (self.late_visibility_ms > 0).then(|| now_ms + self.late_visibility_ms)
    }

    /// One of the app's own knobs. A name it does not have is a mistake in the app's module, so it panics.
    pub fn knob(&self, name: &str) -> &Value {
        self.own.get(name).unwrap_or_else(|| panic!("the app has no knob {name}"))
    }

    pub fn text(&self, name: &str) -> &str {
        self.knob(name).as_str().unwrap_or("")
    }

    pub fn number(&self, name: &str) -> i64 {
        let value = self.knob(name);
        value.as_i64().or(value.as_f64().map(|f| f as i64)).unwrap_or(0)
    }

    /// A number as a count; negative ones are 0.
    pub fn size(&self, name: &str) -> usize {
        usize::try_from(self.number(name)).unwrap_or(0)
    }

    pub fn flag(&self, name: &str) -> bool {
        self.knob(name) == true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Config {
        Config::new(json!({"api_key": "k", "quota": 5, "tags": false, "until": null}).as_object().unwrap().clone())
    }

    #[test]
    fn a_knob_keeps_its_type_and_unknown_names_are_refused() {
        let config = sample().changed_by(&json!({"quota": 7, "tags": true, "page_size": 3, "until": 1})).unwrap();
        assert_eq!((config.number("quota"), config.flag("tags"), config.page_size), (7, true, 3));
        assert_eq!((config.text("api_key"), config.knob("until")), ("k", &json!(1)));
        for wrong in [json!({"quotas": 7}), json!({"quota": "7"}), json!({"page_size": "x"}), json!([])] {
            assert!(sample().changed_by(&wrong).is_err(), "{wrong}");
        }
        let shown = serde_json::to_value(&config).unwrap();
        assert_eq!((&shown["quota"], &shown["latency_ms"]), (&json!(7), &json!(0)));
    }

    #[test]
    fn the_cap_of_the_tests_is_below_what_the_app_gives() {
        let capped = sample().changed_by(&json!({"page_size": 3})).unwrap();
        assert_eq!((sample().page_of(5000, 1000), capped.page_of(5000, 1000), capped.page_of(2, 1000)), (1000, 3, 2));
    }
}
