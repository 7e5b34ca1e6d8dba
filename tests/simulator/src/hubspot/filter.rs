//! Decides which records one filter of a search matches, and how values of a type compare.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::properties::{Properties, Type};
use super::wire::parse_time;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Eq,
    Neq,
    Lt,
    Lte,
    Gt,
    Gte,
    Between,
    In,
    NotIn,
    Has,
    HasNot,
    Contains,
    ContainsNot,
}

#[derive(Debug)]
pub struct Filter {
    property: String,
    kind: Type,
    operator: Operator,
    values: Vec<String>,
    keys: Vec<Key>,
}

/// A value of a search as a text.
pub fn text_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

impl Filter {
    pub fn read(given: &Value, known: &Properties) -> Result<Filter, String> {
        let (Some(property), Some(operator)) = (text_of(given.get("propertyName")), text_of(given.get("operator")))
        else {
            return Err(
                "Invalid input JSON: Cannot build Filter, some of required attributes are not set [propertyName, operator]"
                    .into(),
            );
        };
        let operator = match operator.as_str() {
            "EQ" => Operator::Eq,
            "NEQ" => Operator::Neq,
            "LT" => Operator::Lt,
            "LTE" => Operator::Lte,
            "GT" => Operator::Gt,
            "GTE" => Operator::Gte,
            "BETWEEN" => Operator::Between,
            "IN" => Operator::In,
            "NOT_IN" => Operator::NotIn,
            "HAS_PROPERTY" => Operator::Has,
            "NOT_HAS_PROPERTY" => Operator::HasNot,
            "CONTAINS_TOKEN" => Operator::Contains,
            "NOT_CONTAINS_TOKEN" => Operator::ContainsNot,
            other => return Err(format!("Invalid input JSON: {other} is not one of the filter operators")),
        };
        let kind = known.get(&property).ok_or("There was a problem with the request.")?.kind;
        let value = text_of(given.get("value"));
        let high = text_of(given.get("highValue"));
        let several: Vec<String> = given
            .get("values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|v| text_of(Some(v)))
            .collect();
        let values = match operator {
            Operator::Has | Operator::HasNot if value.is_some() || !several.is_empty() => {
                return Err("A filter with HAS_PROPERTY or NOT_HAS_PROPERTY takes no value".into());
            }
            Operator::Has | Operator::HasNot => Vec::new(),
            Operator::In | Operator::NotIn if several.is_empty() => {
                return Err("operator IN requires values to be specified in the field values".into());
            }
            Operator::In | Operator::NotIn => several,
            Operator::Between => match (value, high) {
                (Some(low), Some(high)) => vec![low, high],
                _ => return Err("operator BETWEEN requires value and highValue".into()),
            },
            _ => vec![value.ok_or("a filter of this operator requires a value")?],
        };
        if matches!(kind, Type::Date | Type::DateTime) {
            if let Some(wrong) = values.iter().find(|v| parse_time(v).is_none()) {
                return Err(format!("{wrong} is not a valid time for {property}"));
            }
        }
        let keys = values.iter().map(|text| Key::of(kind, text)).collect();
        Ok(Filter { property, kind, operator, values, keys })
    }

    pub fn matches(&self, record: &Map<String, Value>) -> bool {
        let value = record.get(&self.property).and_then(Value::as_str).filter(|v| !v.is_empty());
        let (operator, kind) = (self.operator, self.kind);
        let Some(value) = value else {
            return matches!(operator, Operator::HasNot | Operator::NotIn | Operator::ContainsNot);
        };
        let key = Key::of(kind, value);
        let against = |at: usize| key.order(&self.keys[at]);
        match operator {
            Operator::Has => true,
            Operator::HasNot => false,
            Operator::Eq => against(0) == Ordering::Equal,
            Operator::Neq => against(0) != Ordering::Equal,
            Operator::Lt => against(0) == Ordering::Less,
            Operator::Lte => against(0) != Ordering::Greater,
            Operator::Gt => against(0) == Ordering::Greater,
            Operator::Gte => against(0) != Ordering::Less,
            Operator::Between => against(0) != Ordering::Less && against(1) != Ordering::Greater,
            Operator::In => self.is_in(value),
            Operator::NotIn => !self.is_in(value),
            Operator::Contains => contains(value, &self.values[0]),
            Operator::ContainsNot => !contains(value, &self.values[0]),
        }
    }

    /// Texts are indexed in lower case, and IN compares with the index as it is: values must be given in lower case
    /// (documented). Enumerations are compared exactly.
    fn is_in(&self, value: &str) -> bool {
        match self.kind {
            Type::Text => {
                let value = value.to_lowercase();
                self.values.contains(&value)
            }
            Type::Enumeration => value.split(';').any(|part| self.values.iter().any(|v| v == part)),
            kind => self.keys.contains(&Key::of(kind, value)),
        }
    }
}

/// `*` at an end stands for anything; otherwise a whole word must be the same.
fn contains(value: &str, token: &str) -> bool {
    let (value, token) = (value.to_lowercase(), token.to_lowercase());
    let core = token.trim_matches('*');
    let words = value.split(|c: char| !c.is_alphanumeric());
    match (token.starts_with('*'), token.ends_with('*')) {
        (true, true) => value.contains(core),
        (true, false) => value.ends_with(core) || words.into_iter().any(|w| w.ends_with(core)),
        (false, true) => value.starts_with(core) || words.into_iter().any(|w| w.starts_with(core)),
        (false, false) => value == core || words.into_iter().any(|w| w == core),
    }
}

/// A value of a property in the order of its type, read once.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    Number(f64),
    Time(Option<i64>),
    Text(String),
}

impl Key {
    pub fn of(kind: Type, text: &str) -> Key {
        match kind {
            Type::Number => Key::Number(text.parse().unwrap_or(f64::NAN)),
            Type::Date | Type::DateTime => Key::Time(parse_time(text)),
            _ => Key::Text(text.to_lowercase()),
        }
    }

    pub fn order(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Number(l), Key::Number(r)) => l.partial_cmp(r).unwrap_or(Ordering::Less),
            (Key::Time(l), Key::Time(r)) => l.cmp(r),
            (Key::Text(l), Key::Text(r)) => l.cmp(r),
            _ => Ordering::Less,
        }
    }
}
