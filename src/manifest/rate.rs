//! Says what an app allows: how many calls in a time, how many at once, and which headers tell of it.
//!
//! An app that counts some addresses apart has a group for each such count.
//!
//! Layer: manifest. Knows nothing of Postgres.

use serde::{Deserialize, Deserializer};

/// What the app allows; headers are trusted before documented numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Documented allowance.
    #[serde(default)]
    pub calls: Option<u32>,
    #[serde(default)]
    pub per_seconds: Option<u32>,
    /// Calls per day, when the app counts so.
    #[serde(default)]
    pub per_day: Option<u64>,
    /// A header that holds `used/allowed` of the daily quota, with an optional `name=` before it.
    #[serde(default)]
    pub usage_header: Option<String>,
    /// A header that holds how many calls are left until the allowance is renewed.
    #[serde(default)]
    pub remaining_header: Option<String>,
    /// A header that holds when the allowance is renewed, as `reset_format` says.
    #[serde(default)]
    pub reset_header: Option<String>,
    #[serde(default)]
    pub reset_format: ResetFormat,
    /// Requests in flight at once; 0 for no limit of the app's.
    #[serde(default)]
    pub connections: u32,
    /// Addresses that the app counts apart; the first group that matches a call is the call's.
    #[serde(default)]
    pub groups: Vec<RateGroup>,
    /// Where replies tell in percent how much of an allowance is used; the largest counts.
    #[serde(default)]
    pub usage: Vec<UsageHeader>,
    /// From this percentage on, calls come slower.
    #[serde(default)]
    pub slow_from_percent: Option<u32>,
}

/// A header that is JSON and holds percentages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageHeader {
    pub header: String,
    /// Pointer into the JSON; `*` stands for any key or index.
    pub pointer: String,
}

/// The allowance of some addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateGroup {
    pub name: String,
    /// Beginnings of paths below the base address; `{name}` stands for one part of the path.
    #[serde(rename = "match", deserialize_with = "one_or_many")]
    pub paths: Vec<String>,
    #[serde(default)]
    pub calls: Option<u32>,
    /// A setting that says how many calls this account may make instead, where that depends on what was bought.
    #[serde(default)]
    pub calls_setting: Option<String>,
    #[serde(default)]
    pub per_seconds: Option<u32>,
    /// Requests of the group in flight at once; 0: they count among those of the source.
    #[serde(default)]
    pub connections: u32,
    #[serde(default)]
    pub remaining_header: Option<String>,
    #[serde(default)]
    pub reset_header: Option<String>,
    #[serde(default)]
    pub reset_format: ResetFormat,
    /// Whether the app counts these calls in the general allowance as well.
    #[serde(default)]
    pub also_general: bool,
}

/// How `reset_header` says when an allowance is renewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetFormat {
    /// Seconds from now.
    #[default]
    Seconds,
    /// An instant in seconds since 1970.
    Unix,
    /// An instant in milliseconds since 1970.
    UnixMs,
}

impl Rate {
    /// The rate with the pace that the owner of a server set: `per_second` calls instead of the documented general
    /// allowance. 0 takes away every pace, that of groups too; what an app refuses (429) is still heeded.
    pub fn paced_at(mut self, per_second: u32) -> Self {
        self.calls = (per_second > 0).then_some(per_second);
        self.per_seconds = (per_second > 0).then_some(1);
        if per_second == 0 {
            (self.remaining_header, self.reset_header) = (None, None);
            self.usage.clear();
            for group in &mut self.groups {
                (group.calls, group.per_seconds) = (None, None);
                (group.remaining_header, group.reset_header) = (None, None);
            }
        }
        self
    }
}

impl RateGroup {
    /// Whether a call to `path` (below the base address, beginning with `/`) takes from this group.
    pub fn matches(&self, path: &str) -> bool {
        self.paths.iter().any(|pattern| begins_like(path, pattern))
    }
}

/// Whether `path` begins with `pattern`, in which `{name}` stands for at least one character other than `/`.
fn begins_like(path: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('{').map(|part| part.split_once('}').map_or(part, |(_, literal)| literal));
    let Some(mut rest) = parts.next().and_then(|literal| path.strip_prefix(literal)) else { return false };
    for literal in parts {
        let segment = rest.find('/').unwrap_or(rest.len());
        let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= segment);
        let mut tails = ends.filter_map(|end| rest.get(end..)?.strip_prefix(literal));
        // Nothing more to find: the whole part belongs to the name.
        match if literal.is_empty() { tails.last() } else { tails.next() } {
            Some(tail) => rest = tail,
            None => return false,
        }
    }
    true
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a path or a list of paths")]
    enum Paths {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Paths::deserialize(deserializer)? {
        Paths::One(path) => vec![path],
        Paths::Many(paths) => paths,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_path_begins_like_a_pattern() {
        for (pattern, path, want) in [
            ("/incremental", "/incremental/tickets.json", true),
            ("/incremental", "/incremental", true),
            ("/incremental/", "/incremental", false),
            ("/incremental", "/api/incremental", false),
            ("/objects/{type}/search", "/objects/contacts/search", true),
            ("/objects/{type}/search", "/objects/contacts/search/more", true),
            ("/objects/{type}/search", "/objects//search", false),
            ("/objects/{type}/search", "/objects/a/b/search", false),
            ("/objects/{type}/search", "/objects/contacts", false),
            ("/{version}/users/{id}.json", "/v2/users/a.b.json", true),
            ("/{version}/users/{id}.json", "/v2/users/.json", false),
            ("/users/{id}", "/users/7", true),
            ("/users/{id}", "/users/", false),
            ("/users/{id}", "/users/é/x", true),
            ("/", "/anything", true),
        ] {
            assert_eq!(begins_like(path, pattern), want, "{pattern} on {path}");
        }
    }

    #[test]
    fn one_path_or_many() {
        for (paths, want) in [(json!("/a"), vec!["/a"]), (json!(["/a", "/b"]), vec!["/a", "/b"])] {
            let group: RateGroup = serde_json::from_value(json!({"name": "g", "match": paths})).unwrap();
            assert_eq!(group.paths, want);
            assert!(group.matches("/a/1") && !group.matches("/c"));
        }
        let error = serde_json::from_value::<RateGroup>(json!({"name": "g", "match": 7})).unwrap_err();
        assert!(error.to_string().contains("a list of paths"), "{error}");
    }

    #[test]
    fn the_owner_may_set_the_pace_or_lift_it() {
        let documented: Rate = serde_json::from_value(json!({
            "calls": 200, "per_seconds": 60, "remaining_header": "Left", "reset_header": "Reset", "connections": 5,
            "groups": [{"name": "export", "match": "/export", "calls": 10, "per_seconds": 60, "connections": 2}]
        }))
        .unwrap();
        let faster = documented.clone().paced_at(40);
        assert_eq!((faster.calls, faster.per_seconds, faster.groups[0].calls), (Some(40), Some(1), Some(10)));
        assert_eq!(faster.remaining_header.as_deref(), Some("Left"));
        let lifted = documented.paced_at(0);
        assert_eq!((lifted.calls, lifted.per_seconds, lifted.remaining_header), (None, None, None));
        assert_eq!((lifted.groups[0].calls, lifted.groups[0].connections, lifted.connections), (None, 2, 5));
    }
}
