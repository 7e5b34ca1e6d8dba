//! Fills `{name}` and `{name?}` in addresses, headers, parameters and bodies.
//!
//! Behind the name may stand filters: `{api_key|after_last:-}`, `{customer_id|digits}`. The lookup is asked for the name with
//! its filters first, so that who knows more of a value than its text (an instant, say) can spell it himself.
//!
//! Layer: manifest. Knows nothing of Postgres.

use serde_json::{Map, Value};
use std::borrow::Cow;

/// Filters on texts. Those of instants (`unix`, `iso`, ..) are the reader's: see [`TIME_FILTERS`].
const TEXT_FILTERS: [&str; 9] =
    ["number", "json", "after_last", "before_first", "replace", "digits", "lower", "join", "hmac_sha256"];
/// How `{cursor}` and `{upper}` can be spelled otherwise than their cursor says.
pub const TIME_FILTERS: [&str; 4] = ["unix", "unix_ms", "iso", "date"];

/// A required name that has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unset(pub String);

/// `name?|filter:argument|..`, the inside of a pair of braces.
struct Expression<'t> {
    name: &'t str,
    is_optional: bool,
    filters: &'t str,
}

impl<'t> Expression<'t> {
    fn of(inside: &'t str) -> Self {
        let (name, filters) = inside.split_once('|').unwrap_or((inside, ""));
        Expression { name: name.trim_end_matches('?'), is_optional: name.ends_with('?'), filters }
    }

    fn filters(&self) -> impl Iterator<Item = (&'t str, &'t str)> {
        let parts = self.filters.split('|').filter(|part| !part.is_empty());
        parts.map(|part| part.split_once(':').unwrap_or((part, "")))
    }

    /// The value, or the name that has none.
    fn value<'a>(&self, lookup: &impl Fn(&str) -> Option<Cow<'a, str>>) -> Result<Cow<'a, str>, String> {
        // The longest part that the lookup knows, then the filters behind it.
        let mut known = self.filters;
        let (mut value, left) = loop {
            if known.is_empty() {
                break (lookup(self.name).ok_or_else(|| self.name.to_string())?, self.filters);
            }
            if let Some(value) = lookup(&format!("{}|{known}", self.name)) {
                break (value, self.filters.get(known.len()..).unwrap_or_default());
            }
            known = known.rsplit_once('|').map_or("", |(before, _)| before);
        };
        for (filter, argument) in (Expression { filters: left, ..*self }).filters() {
            value = match filter {
                "after_last" => value.rsplit(argument).next().unwrap_or_default().to_string().into(),
                "before_first" => value.split(argument).next().unwrap_or_default().to_string().into(),
                "replace" => match argument.split_once('=') {
                    Some((old, new)) => value.replacen(old, new, 1).into(),
                    None => value,
                },
                "digits" => value.chars().filter(char::is_ascii_digit).collect::<String>().into(),
                "lower" => value.to_lowercase().into(),
                "hmac_sha256" => {
                    let key = lookup(argument).ok_or_else(|| argument.to_string())?;
                    hmac_sha256(&key, &value).into()
                }
                _ => value,
            };
        }
        Ok(value)
    }
}

fn hmac_sha256(key: &str, message: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.as_bytes());
    ring::hmac::sign(&key, message.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fills a template. `None` when an optional name (`{name?}`) is unset: then what holds the template is left out.
///
/// `lookup` gives the value of a name. A `{` without its `}` stays as it is.
pub fn fill<'a>(template: &str, lookup: impl Fn(&str) -> Option<Cow<'a, str>>) -> Result<Option<String>, Unset> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((inside, tail)) = after.split_once('}') else {
            filled.push('{');
            rest = after;
            continue;
        };
        let expression = Expression::of(inside);
        match expression.value(&lookup) {
            Ok(value) => filled.push_str(&value),
            Err(_) if expression.is_optional => return Ok(None),
            Err(name) => return Err(Unset(name)),
        }
        rest = tail;
    }
    filled.push_str(rest);
    Ok(Some(filled))
}

/// Fills the texts of a JSON template. `list` gives the values of a name that stands for several.
///
/// `None` when the value is to be left out. A text that is `{name|number}` or `{name|json}` alone is that number or value;
/// an object whose `$if` names something unset is left out; a list's name alone in an array becomes its elements, and an
/// object with a list's name as `$each` is filled once for each of them, which is `{each}` in it.
pub fn fill_json<'a>(
    template: &Value,
    lookup: &dyn Fn(&str) -> Option<Cow<'a, str>>,
    list: &dyn Fn(&str) -> Option<Vec<String>>,
) -> Result<Option<Value>, Unset> {
    Ok(match template {
        Value::String(text) => {
            fill(text, lookup)?.map(|filled| match alone(text).and_then(|e| e.filters.rsplit('|').next()) {
                Some("number" | "json") => serde_json::from_str(&filled).unwrap_or(Value::String(filled)),
                _ => Value::String(filled),
            })
        }
        Value::Array(items) => {
            let mut filled = Vec::with_capacity(items.len());
            let values_of = |text: &str| alone(text).and_then(|e| list(e.name));
            for item in items {
                if let Some(values) = item.as_str().and_then(values_of) {
                    filled.extend(values.into_iter().map(Value::String));
                } else if let Some(values) = item.get("$each").and_then(Value::as_str).and_then(values_of) {
                    for value in values {
                        let each = |name: &str| if name == "each" { Some(value.clone().into()) } else { lookup(name) };
                        filled.extend(fill_json(item, &each, list)?);
                    }
                } else {
                    filled.extend(fill_json(item, lookup, list)?);
                }
            }
            Some(Value::Array(filled))
        }
        Value::Object(members) => {
            if members.get("$if").and_then(Value::as_str).is_some_and(|name| lookup(name).is_none()) {
                return Ok(None);
            }
            let mut filled = Map::new();
            for (name, value) in members.iter().filter(|(name, _)| !matches!(name.as_str(), "$if" | "$each")) {
                if let Some(value) = fill_json(value, lookup, list)? {
                    filled.insert(name.clone(), value);
                }
            }
            Some(Value::Object(filled))
        }
        other => Some(other.clone()),
    })
}

/// The host in the template of an address, with its port: what is behind `://`, names and their filters whole.
pub fn authority(address: &str) -> Option<&str> {
    let (_, after) = address.split_once("://")?;
    let mut depth = 0;
    let end = after.find(|c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth == 0 && matches!(c, '/' | '?' | '#')
    });
    Some(end.and_then(|end| after.get(..end)).unwrap_or(after))
}

/// The expression that a text consists of.
fn alone(text: &str) -> Option<Expression<'_>> {
    let inside = text.strip_prefix('{')?.strip_suffix('}')?;
    (!inside.contains(['{', '}'])).then(|| Expression::of(inside))
}

fn expressions(template: &str) -> impl Iterator<Item = Expression<'_>> {
    template.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(inside, _)| Expression::of(inside))
}

/// The names a template holds, without the mark of an optional one; those that filters use, too.
pub fn names(template: &str) -> impl Iterator<Item = &str> {
    expressions(template).flat_map(|e| std::iter::once(e.name).chain(filter_names(&e)))
}

/// The names without which a template cannot be filled.
pub fn required_names(template: &str) -> impl Iterator<Item = &str> {
    expressions(template).filter(|e| !e.is_optional).flat_map(|e| std::iter::once(e.name).chain(filter_names(&e)))
}

fn filter_names<'t>(expression: &Expression<'t>) -> Vec<&'t str> {
    expression.filters().filter(|(filter, _)| *filter == "hmac_sha256").map(|(_, argument)| argument).collect()
}

/// A filter of the template that nobody knows.
pub fn unknown_filter(template: &str) -> Option<&str> {
    let known = |filter: &str| TEXT_FILTERS.contains(&filter) || TIME_FILTERS.contains(&filter);
    expressions(template).find_map(|e| e.filters().map(|(filter, _)| filter).find(|filter| !known(filter)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_template_are_listed() {
        for (template, want) in [
            ("/v1/charges", vec![]),
            ("/v1/{customer_id}/sources/{id}", vec!["customer_id", "id"]),
            ("{account_id?}", vec!["account_id"]),
            ("open { brace", vec![]),
        ] {
            assert_eq!(names(template).collect::<Vec<_>>(), want, "{template}");
        }
    }

    #[test]
    fn filters_change_what_is_filled_in() {
        let lookup = |name: &str| {
            let known = [
                ("key", "abc-d-us6"),
                ("id", "123-456"),
                ("token", "what do ya want for nothing?"),
                ("secret", "Jefe"),
                ("cursor", "2024-01-02"),
                ("cursor|unix", "1704153600"),
            ];
            known.iter().find(|(known, _)| *known == name).map(|(_, value)| Cow::from(*value))
        };
        for (template, want) in [
            ("https://{key|after_last:-}.x.test", Ok(Some("https://us6.x.test".to_string()))),
            ("{key|before_first:-}", Ok(Some("abc".to_string()))),
            ("{id|digits}", Ok(Some("123456".to_string()))),
            ("since={cursor|unix}", Ok(Some("since=1704153600".to_string()))),
            // RFC 4231, test case 2.
            (
                "{token|hmac_sha256:secret}",
                Ok(Some("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843".to_string())),
            ),
            ("{token?|hmac_sha256:unset}", Ok(None)),
            ("{token|hmac_sha256:unset}", Err(Unset("unset".to_string()))),
        ] {
            assert_eq!(fill(template, lookup), want, "{template}");
        }
        assert_eq!(names("{token?|hmac_sha256:secret}").collect::<Vec<_>>(), ["token", "secret"]);
        assert_eq!(required_names("{a?}{b}").collect::<Vec<_>>(), ["b"]);
        assert_eq!(unknown_filter("{a|digits}{b|shout}"), Some("shout"));
    }

    #[test]
    fn bodies_keep_types_and_leave_out_what_has_no_value() {
        let lookup =
            |name: &str| [("n", "15"), ("since", "7")].iter().find(|(k, _)| *k == name).map(|(_, v)| Cow::from(*v));
        let list = |name: &str| (name == "fields").then(|| vec!["a".to_string(), "b".to_string()]);
        let template = serde_json::json!({
            "size": "{n|number}", "text": "{n}", "gone": "{unset?}", "fields": ["{fields}", "c"],
            "filters": [{"$if": "since", "value": "{since}"}, {"$if": "last_key", "value": "{last_key}"}], "as": [1, null],
        });
        let want = serde_json::json!({
            "size": 15, "text": "15", "fields": ["a", "b", "c"], "filters": [{"value": "7"}], "as": [1, null],
        });
        assert_eq!(fill_json(&template, &lookup, &list), Ok(Some(want)));
        let template =
            serde_json::json!([{"$each": "{fields}", "id": "{each}", "size": "{n|number}", "after": "{unset?}"}]);
        let want = serde_json::json!([{"id": "a", "size": 15}, {"id": "b", "size": 15}]);
        assert_eq!(fill_json(&template, &lookup, &list), Ok(Some(want)));
        let wrong = fill_json(&serde_json::json!(["{unset}"]), &lookup, &list);
        assert_eq!(wrong, Err(Unset("unset".to_string())));
    }

    #[test]
    fn names_are_filled_or_reported() {
        let lookup = |name: &str| (name == "a").then(|| Cow::from("1"));
        for (template, want) in [
            ("/x/{a}/y", Ok(Some("/x/1/y".to_string()))),
            ("{a?}", Ok(Some("1".to_string()))),
            ("v={b?}", Ok(None)),
            ("{b}", Err(Unset("b".to_string()))),
            ("open { brace", Ok(Some("open { brace".to_string()))),
        ] {
            assert_eq!(fill(template, lookup), want, "{template}");
        }
    }
}
