//! Decides what a search's query means: which fields may be searched with which operators, and which records it finds.
//!
//! Dates of contacts are matched by calendar day in the workspace's time zone: `>` begins with the next day, `<` ends before
//! the day, `=` is the whole day. Those of conversations are exact. (developers.intercom.com, "Search contacts",
//! "Search conversations"; 2 levels of nesting, 15 filters in a group.)

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::fields::{kind_of, Kind};

const NESTING: usize = 2;
const FILTERS: usize = 15;
const DAY_S: i64 = 86_400;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Contacts,
    Conversations,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    In,
    NotIn,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Contains,
    ContainsNot,
    Starts,
    Ends,
}

fn operator_of(text: &str) -> Option<Operator> {
    Some(match text {
        "=" => Operator::Equal,
        "!=" => Operator::Unequal,
        "IN" => Operator::In,
        "NIN" => Operator::NotIn,
        ">" => Operator::Greater,
        "<" => Operator::Less,
        ">=" => Operator::GreaterOrEqual,
        "<=" => Operator::LessOrEqual,
        "~" => Operator::Contains,
        "!~" => Operator::ContainsNot,
        "^" => Operator::Starts,
        "$" => Operator::Ends,
        _ => return None,
    })
}

#[derive(Debug)]
pub enum Query {
    All(Vec<Query>),
    Any(Vec<Query>),
    Filter(Filter),
}

#[derive(Debug)]
pub struct Filter {
    of: Of,
    field: String,
    kind: Kind,
    operator: Operator,
    values: Vec<Value>,
}

/// What the meaning of a query depends on beside the record.
#[derive(Debug, Clone, Copy, Default)]
pub struct Zone {
    pub offset_s: i64,
}

impl Zone {
    /// The first second of the day in which `at_s` falls.
    pub fn day_start(self, at_s: i64) -> i64 {
        (at_s + self.offset_s).div_euclid(DAY_S) * DAY_S - self.offset_s
    }
}

impl Query {
    /// Reads `query` of a search's body, or says what is wrong with it. `custom` gives the data type of a custom attribute.
    pub fn read(of: Of, given: &Value, custom: &dyn Fn(&str) -> Option<String>) -> Result<Query, String> {
        Query::level(of, given, custom, 0)
    }

    fn level(of: Of, given: &Value, custom: &dyn Fn(&str) -> Option<String>, depth: usize) -> Result<Query, String> {
        let operator = given.get("operator").and_then(Value::as_str).ok_or("operator is missing")?;
        if let (Some(list), "AND" | "OR") = (given.get("value").and_then(Value::as_array), operator) {
            if depth >= NESTING {
                return Err(format!("Query can be nested at most {NESTING} levels deep"));
            }
            if list.len() > FILTERS {
                return Err(format!("A group can have at most {FILTERS} filters"));
            }
            let parts = list.iter().map(|one| Query::level(of, one, custom, depth + 1)).collect::<Result<_, _>>()?;
            return Ok(if operator == "AND" { Query::All(parts) } else { Query::Any(parts) });
        }
        Filter::read(of, given, operator, custom).map(Query::Filter)
    }

    pub fn matches(&self, record: &Map<String, Value>, zone: Zone) -> bool {
        match self {
            Query::All(parts) => parts.iter().all(|part| part.matches(record, zone)),
            Query::Any(parts) => parts.iter().any(|part| part.matches(record, zone)),
            Query::Filter(filter) => filter.matches(record, zone),
        }
    }
}

impl Filter {
    fn read(of: Of, given: &Value, operator: &str, custom: &dyn Fn(&str) -> Option<String>) -> Result<Filter, String> {
        let field = given.get("field").and_then(Value::as_str).ok_or("field is missing")?;
        let kind = match field.strip_prefix("custom_attributes.") {
            Some(name) => match custom(name).as_deref() {
                Some("date") => Kind::Date,
                Some("integer" | "float") => Kind::Whole,
                Some("boolean") => Kind::Flag,
                Some(_) => Kind::Text,
                None => return Err(format!("'{field}' is not a searchable field")),
            },
            None => kind_of(of, field).ok_or(format!("'{field}' is not a searchable field"))?,
        };
        let refused = || format!("operator {operator} is not supported for the field {field}");
        let parsed = operator_of(operator).ok_or_else(refused)?;
        let takes_list = matches!(parsed, Operator::In | Operator::NotIn);
        let fits = match (kind, parsed) {
            (_, Operator::Equal) => true,
            // Contacts refuse these on dates (documented); conversations know no <= and >= on dates at all.
            (Kind::Date, Operator::Unequal | Operator::In | Operator::NotIn) => of == Of::Conversations,
            (Kind::Date, Operator::GreaterOrEqual | Operator::LessOrEqual) => false,
            (Kind::Date, Operator::Greater | Operator::Less) => true,
            (Kind::Whole, Operator::GreaterOrEqual | Operator::LessOrEqual) => of == Of::Contacts,
            (Kind::Whole, Operator::Greater | Operator::Less) => true,
            (Kind::Text, Operator::Contains | Operator::ContainsNot | Operator::Starts | Operator::Ends) => {
                field != "tag_id"
            }
            (_, Operator::In | Operator::NotIn) => field != "tag_id",
            (_, Operator::Unequal) => true,
            _ => false,
        };
        if !fits {
            return Err(refused());
        }
        let value = given.get("value").ok_or("value is missing")?;
        let values = match value {
            Value::Array(list) if takes_list => list.clone(),
            Value::Array(_) => return Err(format!("the value of {field} must not be an array")),
            _ if takes_list => return Err(format!("the value of {field} must be an array")),
            one => vec![one.clone()],
        };
        let typed = |v: &Value| match kind {
            Kind::Date | Kind::Whole => v.is_null() || number(v).is_some(),
            Kind::Flag => v.is_boolean() || v == "true" || v == "false",
            Kind::Text => !v.is_object() && !v.is_array(),
        };
        if !values.iter().all(typed) {
            return Err(format!("the value of {field} is not of its type"));
        }
        Ok(Filter { of, field: field.to_string(), kind, operator: parsed, values })
    }

    fn matches(&self, record: &Map<String, Value>, zone: Zone) -> bool {
        if let Some(several) = self.several(record) {
            let any = several.iter().any(|id| self.values.iter().any(|v| as_text(v).as_deref() == Some(id.as_str())));
            return matches!(self.operator, Operator::Equal | Operator::In) == any;
        }
        let value = at_path(record, self.field.split('.')).unwrap_or(&Value::Null);
        match self.kind {
            Kind::Date => self.matches_date(value, zone),
            Kind::Whole => self.compare(number(value), number),
            Kind::Flag => {
                let same = self.values.iter().any(|v| as_text(v) == as_text(value));
                matches!(self.operator, Operator::Equal | Operator::In) == same
            }
            Kind::Text => self.matches_text(value),
        }
    }

    /// Ids a record carries in a list of its own.
    fn several(&self, record: &Map<String, Value>) -> Option<Vec<String>> {
        let path: &[&str] = match (self.of, self.field.as_str()) {
            (Of::Contacts, "tag_id") => &["tag_ids"],
            (Of::Contacts, "segment_id") => &["segment_ids"],
            (Of::Conversations, "tag_ids") => &["tags", "tags"],
            (Of::Conversations, "contact_ids") => &["contacts", "contacts"],
            (Of::Conversations, "teammate_ids") => &["teammates", "teammates"],
            _ => return None,
        };
        let list = at_path(record, path.iter().copied()).and_then(Value::as_array);
        Some(list.into_iter().flatten().filter_map(|one| as_text(one.get("id").unwrap_or(one))).collect())
    }

    fn matches_date(&self, value: &Value, zone: Zone) -> bool {
        let at = number(value);
        let by_day = self.of == Of::Contacts || self.field.starts_with("custom_attributes.");
        let (Some(at), true) = (at, by_day) else {
            return self.compare(at, number);
        };
        let Some(asked) = number(&self.values[0]) else { return false };
        let day = zone.day_start(asked);
        match self.operator {
            Operator::Greater => at >= day + DAY_S,
            Operator::Less => at < day,
            _ => zone.day_start(at) == day,
        }
    }

    fn compare(&self, value: Option<i64>, read: impl Fn(&Value) -> Option<i64>) -> bool {
        let is_among = self.values.iter().any(|v| read(v) == value);
        let order = value.zip(read(&self.values[0])).map(|(l, r)| l.cmp(&r));
        match self.operator {
            Operator::Equal | Operator::In => is_among,
            Operator::Unequal | Operator::NotIn => !is_among,
            Operator::Greater => order == Some(Ordering::Greater),
            Operator::Less => order == Some(Ordering::Less),
            Operator::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Operator::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            _ => false,
        }
    }

    fn matches_text(&self, value: &Value) -> bool {
        let have = as_text(value).map(|t| t.to_lowercase());
        let wanted = |v: &Value| as_text(v).map(|t| t.to_lowercase());
        // The body is indexed by its words (documented): `=` finds a word of it, never a phrase.
        if self.field == "source.body" && matches!(self.operator, Operator::Equal | Operator::Unequal) {
            let words = have.unwrap_or_default();
            let found =
                words.split(|c: char| !c.is_alphanumeric()).any(|w| wanted(&self.values[0]).as_deref() == Some(w));
            return found == (self.operator == Operator::Equal);
        }
        let is_among = self.values.iter().any(|v| wanted(v) == have);
        let part = wanted(&self.values[0]).unwrap_or_default();
        let text = have.as_deref().unwrap_or("");
        match self.operator {
            Operator::Equal | Operator::In => is_among,
            Operator::Unequal | Operator::NotIn => !is_among,
            Operator::Contains => have.is_some() && text.contains(&part),
            Operator::ContainsNot => !text.contains(&part),
            Operator::Starts => have.is_some() && text.starts_with(&part),
            Operator::Ends => have.is_some() && text.ends_with(&part),
            _ => false,
        }
    }
}

fn at_path<'a, 'p>(record: &'a Map<String, Value>, mut path: impl Iterator<Item = &'p str>) -> Option<&'a Value> {
    let first = record.get(path.next()?)?;
    path.try_fold(first, |at, name| at.get(name))
}

/// A whole number, also when it is written as a text.
fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(n) => n.as_i64().or(n.as_f64().map(|f| f as i64)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOON: i64 = 1_577_880_000; // 2020-01-01 12:00 UTC

    fn read(of: Of, query: Value) -> Result<Query, String> {
        Query::read(of, &query, &|name| (name == "trial_ends").then(|| "date".to_string()))
    }

    fn finds(of: Of, field: &str, operator: &str, value: Value, record: Value, zone: Zone) -> bool {
        read(of, json!({"field": field, "operator": operator, "value": value}))
            .unwrap()
            .matches(record.as_object().unwrap(), zone)
    }

    #[test]
    fn dates_of_contacts_are_whole_days_of_the_workspace() {
        let utc = Zone::default();
        let west = Zone { offset_s: -8 * 3600 };
        let at = |s: i64| json!({"updated_at": s, "custom_attributes": {"trial_ends": s}});
        for (name, operator, record, zone, want) in [
            ("later the same day is not after", ">", at(NOON + 3600), utc, false),
            ("the next midnight is", ">", at(NOON + 12 * 3600), utc, true),
            ("earlier the same day is not before", "<", at(NOON - 3600), utc, false),
            ("the evening before is", "<", at(NOON - 12 * 3600 - 1), utc, true),
            ("the day itself", "=", at(NOON - 12 * 3600), utc, true),
            ("midnight in UTC is afternoon in the west", ">", at(NOON + 12 * 3600), west, false),
            ("midnight in the west", ">", at(NOON + 20 * 3600), west, true),
        ] {
            assert_eq!(finds(Of::Contacts, "updated_at", operator, json!(NOON), record.clone(), zone), want, "{name}");
            let custom = "custom_attributes.trial_ends";
            assert_eq!(finds(Of::Contacts, custom, operator, json!(NOON), record, zone), want, "{name}, custom");
        }
    }

    #[test]
    fn dates_of_conversations_are_exact_and_greater_is_not_equal() {
        let at = |s: i64| json!({"updated_at": s});
        for (operator, second, want) in [
            (">", 0, false),
            (">", 1, true),
            ("<", 0, false),
            ("<", -1, true),
            ("=", 0, true),
            ("=", 1, false),
            ("!=", 1, true),
        ] {
            let found =
                finds(Of::Conversations, "updated_at", operator, json!(NOON), at(NOON + second), Zone::default());
            assert_eq!(found, want, "{operator} {second}");
        }
    }

    #[test]
    fn what_the_search_cannot_do_is_refused() {
        let filter =
            |field: &str, operator: &str, value: Value| json!({"field": field, "operator": operator, "value": value});
        let good = filter("role", "=", json!("user"));
        let nest = |inner: Value| json!({"operator": "AND", "value": [inner]});
        for (name, of, query) in [
            ("at or after", Of::Contacts, filter("updated_at", ">=", json!(1))),
            ("at or after, conversations", Of::Conversations, filter("updated_at", ">=", json!(1))),
            ("not on that day", Of::Contacts, filter("updated_at", "!=", json!(1))),
            ("an unknown field", Of::Contacts, filter("nickname", "=", json!("x"))),
            ("an unknown attribute", Of::Contacts, filter("custom_attributes.nope", "=", json!("x"))),
            ("a text for a time", Of::Contacts, filter("updated_at", ">", json!("soon"))),
            ("a list without IN", Of::Contacts, filter("role", "=", json!(["user"]))),
            ("IN without a list", Of::Contacts, filter("role", "IN", json!("user"))),
            ("a text that is greater", Of::Contacts, filter("name", ">", json!("x"))),
            ("three levels", Of::Contacts, nest(nest(nest(good.clone())))),
            ("sixteen filters", Of::Contacts, json!({"operator": "AND", "value": vec![good.clone(); 16]})),
            ("no operator", Of::Contacts, json!({"field": "role", "value": "user"})),
        ] {
            assert!(read(of, query).is_err(), "{name}");
        }
        assert!(read(Of::Contacts, nest(nest(good))).is_ok());
    }

    #[test]
    fn texts_lists_and_groups() {
        let contact = json!({"role": "user", "email": "Ada@x.example", "owner_id": 7, "tag_ids": ["9"],
            "unsubscribed_from_emails": false, "location": {"city": "Rome"}});
        for (name, field, operator, value, want) in [
            ("case does not matter", "email", "=", json!("ada@X.example"), true),
            ("ends with", "email", "$", json!(".example"), true),
            ("contains not", "email", "!~", json!("bob"), true),
            ("in", "role", "IN", json!(["lead", "user"]), true),
            ("nested", "location.city", "^", json!("ro"), true),
            ("numbers", "owner_id", ">=", json!(7), true),
            ("flags", "unsubscribed_from_emails", "=", json!(false), true),
            ("tags", "tag_id", "=", json!("9"), true),
            ("not the tag", "tag_id", "!=", json!("9"), false),
            ("unset", "phone", "=", json!(null), true),
        ] {
            assert_eq!(finds(Of::Contacts, field, operator, value, contact.clone(), Zone::default()), want, "{name}");
        }
        let either = json!({"operator": "OR", "value": [
            {"field": "role", "operator": "=", "value": "lead"},
            {"operator": "AND", "value": [{"field": "role", "operator": "=", "value": "user"}, {"field": "owner_id", "operator": "=", "value": 7}]},
        ]});
        assert!(read(Of::Contacts, either).unwrap().matches(contact.as_object().unwrap(), Zone::default()));
        let body = json!({"source": {"body": "<p>I need support</p>"}});
        assert!(finds(Of::Conversations, "source.body", "=", json!("support"), body.clone(), Zone::default()));
        assert!(
            !finds(Of::Conversations, "source.body", "=", json!("need support"), body, Zone::default()),
            "never a phrase"
        );
    }
}
