//! Decides which rule of a source, or of one request, a reply falls under, and how long it asks us to wait.
//!
//! Layer: http. Knows nothing of Postgres.

use super::retry::LONGEST_ASKED;
use super::verdict::ERROR_BODY_BYTES;
use super::xml;
use crate::manifest::{fixed_offset, ErrorRule, UsageHeader, Wait, WaitUnit};
use reqwest::header::HeaderMap;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The first rule that a reply falls under.
pub fn rule<'r>(
    rules: impl Iterator<Item = &'r ErrorRule>,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<&'r ErrorRule> {
    let good = (200..300).contains(&status);
    let mut parsed: Option<(Option<Value>, bool)> = None;
    for rule in rules {
        if !rule.status.is_empty() && !rule.status.contains(&status) {
            continue;
        }
        let looks_inside = rule.code.is_some() || rule.contains.is_some() || rule.json.is_some();
        // A good reply is judged by its code, or by a rule that names its status.
        if good && rule.code.is_none() && rule.status.is_empty() {
            continue;
        }
        if good && looks_inside && body.len() > ERROR_BODY_BYTES {
            continue;
        }
        if rule.header.as_ref().is_some_and(|wanted| !has_header(headers, &wanted.name, wanted.value.as_deref())) {
            continue;
        }
        if rule.contains.as_ref().is_some_and(|text| !contains(body, text)) {
            continue;
        }
        if rule.code.is_none() && rule.json.is_none() {
            return Some(rule);
        }
        let (value, is_json) = parsed.get_or_insert_with(|| {
            let json: Option<Value> = serde_json::from_slice(body).ok();
            let is_json = json.is_some();
            (json.or_else(|| xml::read(body)), is_json)
        });
        if rule.json.is_some_and(|json| json != *is_json) {
            continue;
        }
        let Some(pointer) = &rule.code else { return Some(rule) };
        let code = value.as_ref().and_then(|value| value.pointer(pointer)).and_then(text_of);
        if code.is_some_and(|code| rule.codes.is_empty() || rule.codes.contains(&code)) {
            return Some(rule);
        }
    }
    None
}

fn has_header(headers: &HeaderMap, name: &str, want: Option<&str>) -> bool {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| want.is_none_or(|want| value.trim().eq_ignore_ascii_case(want)))
}

fn contains(body: &[u8], text: &str) -> bool {
    let shown = body.get(..body.len().min(ERROR_BODY_BYTES)).unwrap_or_default();
    String::from_utf8_lossy(shown).to_lowercase().contains(&text.to_lowercase())
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// How long a rule's reply asks us to wait; never more than a day. Moments are reckoned by the app's clock.
pub fn wait_of(wait: &Wait, headers: &HeaderMap, body: &[u8], app_now: SystemTime) -> Option<Duration> {
    let in_header = || headers.get(wait.header.as_deref()?)?.to_str().ok().map(str::to_string);
    let told: Option<f64> = match (&wait.header, &wait.pointer) {
        (Some(_), None) => in_header().as_deref().and_then(number),
        (header, Some(pointer)) => {
            let json = match header {
                Some(_) => in_header().and_then(|text| serde_json::from_str::<Value>(&text).ok()),
                None => serde_json::from_slice::<Value>(body).ok(),
            };
            let keys: Vec<&str> = pointer.split('/').skip(1).collect();
            json.and_then(|json| longest(&json, &keys))
        }
        (None, None) => None,
    };
    let now = app_now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let seconds = told.map(|told| match wait.unit {
        WaitUnit::Seconds => told,
        WaitUnit::Milliseconds => told / 1000.0,
        WaitUnit::Minutes => told * 60.0,
        WaitUnit::Unix => told - now,
    });
    let midnight = wait.midnight.as_deref().and_then(fixed_offset).map(|offset| {
        let local = now + offset as f64;
        86_400.0 - local.rem_euclid(86_400.0)
    });
    let seconds = seconds.or(midnight).or(wait.seconds.map(|seconds| seconds as f64))?;
    let usable = seconds.is_finite().then(|| seconds.clamp(0.0, LONGEST_ASKED.as_secs_f64()))?;
    Some(Duration::from_secs_f64(usable))
}

/// How much of an allowance a reply says is used, in percent: the largest of all that it tells.
pub fn used_percent(usage: &[UsageHeader], headers: &HeaderMap) -> Option<f64> {
    let told = usage.iter().filter_map(|place| {
        let json: Value = serde_json::from_str(headers.get(&place.header)?.to_str().ok()?).ok()?;
        longest(&json, &place.pointer.split('/').skip(1).collect::<Vec<_>>())
    });
    told.filter(|percent| percent.is_finite()).reduce(f64::max)
}

/// The texts that a pointer with `*` in it leads to: one, or those of a list.
pub fn texts_at(value: &Value, pointer: &str) -> Vec<String> {
    let keys: Vec<&str> = pointer.split('/').skip(1).collect();
    let mut texts = Vec::new();
    gather(value, &keys, &mut texts);
    texts
}

fn gather(value: &Value, keys: &[&str], texts: &mut Vec<String>) {
    match keys.split_first() {
        Some((key, rest)) => inner(value, key).into_iter().for_each(|value| gather(value, rest, texts)),
        None => match value {
            Value::Array(items) => texts.extend(items.iter().filter_map(text_of)),
            other => texts.extend(text_of(other)),
        },
    }
}

/// What a key of a pointer leads to; `*` to everything.
fn inner<'v>(value: &'v Value, key: &str) -> Vec<&'v Value> {
    match value {
        Value::Array(items) if key == "*" => items.iter().collect(),
        Value::Object(members) if key == "*" => members.values().collect(),
        Value::Array(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)).into_iter().collect(),
        Value::Object(members) => members.get(&key.replace("~1", "/").replace("~0", "~")).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// `5`, `0.5s`, `"30"`.
fn number(text: &str) -> Option<f64> {
    text.trim().trim_end_matches('s').parse().ok()
}

/// The largest number at a path with `*` in it.
fn longest(value: &Value, keys: &[&str]) -> Option<f64> {
    let Some((key, rest)) = keys.split_first() else {
        return text_of(value).as_deref().and_then(number);
    };
    inner(value, key).into_iter().filter_map(|value| longest(value, rest)).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};
    use serde_json::json;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_str(v).unwrap())).collect()
    }

    #[test]
    fn the_first_rule_whose_conditions_all_hold_decides() {
        let rules: Vec<ErrorRule> = serde_json::from_value(json!([
            {"code": "/errors/0/code", "codes": ["601"], "means": "token_expired"},
            {"code": "/errors/code/0", "codes": ["601"], "means": "token_expired"},
            {"code": "/success", "codes": ["false"], "means": "bad_request"},
            {"status": [403], "json": false, "means": "retry"},
            {"status": [500], "contains": "reduce the amount", "means": "reduce_page"},
            {"status": [429], "header": {"name": "x-policy", "value": "DAILY"}, "means": "quota_spent"},
            {"header": {"name": "x-down"}, "means": "retry"},
        ]))
        .unwrap();
        for (name, status, head, body, want) in [
            (
                "a code in a good reply",
                200,
                headers(&[]),
                r#"{"success": false, "errors": [{"code": "601"}]}"#,
                Some(0),
            ),
            ("a flag in a good reply", 200, headers(&[]), r#"{"success": false, "errors": [{"code": 9}]}"#, Some(2)),
            ("a good one", 200, headers(&[("x-down", "1")]), r#"{"success": true}"#, None),
            ("no JSON", 403, headers(&[]), "<html>", Some(3)),
            ("JSON", 403, headers(&[]), "{}", None),
            (
                "a code in XML",
                500,
                headers(&[]),
                "<e:errors xmlns:e='u'><e:code>601</e:code><e:code>7</e:code></e:errors>",
                Some(1),
            ),
            ("XML is no JSON", 403, headers(&[]), "<a/>", Some(3)),
            ("a text", 500, headers(&[]), "Please Reduce The Amount of data", Some(4)),
            ("a header's value", 429, headers(&[("x-policy", "daily")]), "", Some(5)),
            ("another value", 429, headers(&[("x-policy", "second")]), "", None),
            ("a header", 503, headers(&[("x-down", "")]), "", Some(6)),
        ] {
            let found = rule(rules.iter(), status, &head, body.as_bytes());
            assert_eq!(
                found.map(|rule| rules.iter().position(|known| std::ptr::eq(known, rule)).unwrap()),
                want,
                "{name}"
            );
        }
    }

    #[test]
    fn texts_are_found_behind_any_key() {
        let body = json!({"errors": [{"c": {"s": ["a", "b"]}}, {"c": {"s": "c"}}, {}], "n": null});
        for (pointer, want) in
            [("/errors/*/c/s", vec!["a", "b", "c"]), ("/errors/1/c/s", vec!["c"]), ("/n", vec![]), ("/x/*", vec![])]
        {
            assert_eq!(texts_at(&body, pointer), want, "{pointer}");
        }
    }

    #[test]
    fn waits_are_told_in_many_ways() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000); // 22:13:20 UTC
        for (name, wait, head, body, want) in [
            ("fixed", json!({"seconds": 20}), headers(&[]), "", Some(20.0)),
            (
                "a moment",
                json!({"header": "x-reset", "unit": "unix"}),
                headers(&[("x-reset", "1700000030")]),
                "",
                Some(30.0),
            ),
            (
                "a moment gone",
                json!({"header": "x-reset", "unit": "unix"}),
                headers(&[("x-reset", "5")]),
                "",
                Some(0.0),
            ),
            ("nothing told", json!({"header": "x-reset"}), headers(&[]), "", None),
            (
                "nothing told, but a rule",
                json!({"header": "x-reset", "seconds": 7}),
                headers(&[("x-reset", "soon")]),
                "",
                Some(7.0),
            ),
            (
                "inside the body",
                json!({"pointer": "/e/*/delay"}),
                headers(&[]),
                r#"{"e": [{"delay": "2s"}, {"delay": "12.5s"}, {}]}"#,
                Some(12.5),
            ),
            (
                "inside a header",
                json!({"header": "x-usage", "pointer": "/*/*/minutes", "unit": "minutes"}),
                headers(&[("x-usage", r#"{"123": [{"minutes": 2}, {"minutes": 1}]}"#)]),
                "",
                Some(120.0),
            ),
            (
                "milliseconds",
                json!({"pointer": "/ms", "unit": "milliseconds"}),
                headers(&[]),
                r#"{"ms": 1500}"#,
                Some(1.5),
            ),
            ("until midnight", json!({"midnight": "utc"}), headers(&[]), "", Some(6400.0)),
            ("in Chicago's winter", json!({"midnight": "-06:00"}), headers(&[]), "", Some(28_000.0)),
            ("never for ever", json!({"seconds": 999_999_999}), headers(&[]), "", Some(86_400.0)),
        ] {
            let wait: Wait = serde_json::from_value(wait).unwrap();
            assert_eq!(wait_of(&wait, &head, body.as_bytes(), now).map(|d| d.as_secs_f64()), want, "{name}");
        }
    }

    #[test]
    fn the_largest_percentage_counts() {
        let usage: Vec<UsageHeader> = serde_json::from_value(json!([
            {"header": "x-app-usage", "pointer": "/*"},
            {"header": "x-business-use-case-usage", "pointer": "/*/*/call_count"},
        ]))
        .unwrap();
        let case = r#"{"7": [{"type": "ads_insights", "call_count": 81, "total_time": 95}]}"#;
        for (name, head, want) in [
            ("none", headers(&[]), None),
            ("one", headers(&[("x-app-usage", r#"{"call_count": 28, "total_time": 35}"#)]), Some(35.0)),
            (
                "two",
                headers(&[("x-app-usage", r#"{"call_count": 28}"#), ("x-business-use-case-usage", case)]),
                Some(81.0),
            ),
            ("no JSON", headers(&[("x-app-usage", "28")]), None),
        ] {
            assert_eq!(used_percent(&usage, &head), want, "{name}");
        }
    }
}
