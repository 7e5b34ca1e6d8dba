//! Decides what `filtering`, `effective_status` and `updated_since` leave of a list.
//!
//! Archived and deleted objects are only listed when a filter on `effective_status` names their status.

use serde_json::Value;

use super::errors::Refusal;
use super::fields::Fields;
use super::nodes::FILTERED;
use crate::rest::time;

#[derive(Debug, Clone)]
pub struct Filter {
    /// `ad` of `ad.updated_time`; empty when the field has no prefix.
    pub level: String,
    pub field: String,
    operator: String,
    value: Value,
}

const OPERATORS: [&str; 11] = [
    "EQUAL",
    "NOT_EQUAL",
    "GREATER_THAN",
    "GREATER_THAN_OR_EQUAL",
    "LESS_THAN",
    "LESS_THAN_OR_EQUAL",
    "IN",
    "NOT_IN",
    "CONTAIN",
    "NOT_CONTAIN",
    "IN_RANGE",
];

fn json_param(name: &str, text: &str) -> Result<Value, Refusal> {
    serde_json::from_str(text).map_err(|_| Refusal::param(format!("param {name} must be an array.")))
}

/// All filters of a request's parameters.
pub fn parse(param: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Filter>, Refusal> {
    let mut filters = Vec::new();
    let own = |field: &str, operator: &str, value: Value| Filter {
        level: String::new(),
        field: field.into(),
        operator: operator.into(),
        value,
    };
    if let Some(text) = param("effective_status") {
        filters.push(own("effective_status", "IN", json_param("effective_status", &text)?));
    }
    if let Some(text) = param("updated_since") {
        filters.push(own("updated_time", "GREATER_THAN", Value::String(text)));
    }
    let Some(text) = param("filtering") else { return Ok(filters) };
    let Value::Array(list) = json_param("filtering", &text)? else {
        return Err(Refusal::param("param filtering must be an array."));
    };
    for one in &list {
        let (Some(field), Some(operator)) = (one["field"].as_str(), one["operator"].as_str()) else {
            return Err(Refusal::param("param filtering[0] must have the keys field, operator and value."));
        };
        if !OPERATORS.contains(&operator) {
            let message =
                format!("param filtering[0][operator] must be one of the following values: {}", OPERATORS.join(", "));
            return Err(Refusal::param(message));
        }
        let (level, name) = field.split_once('.').unwrap_or(("", field));
        filters.push(Filter {
            level: level.into(),
            field: name.into(),
            operator: operator.into(),
            value: one["value"].clone(),
        });
    }
    Ok(filters)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn number(field: &str, value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        // Times are compared in whole seconds.
        Value::String(text) if field.ends_with("_time") => time::parse(text).map(|ms| ms.div_euclid(1000) as f64),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

impl Filter {
    pub fn is_on_status(&self) -> bool {
        self.field == "effective_status"
    }

    /// Whether it leaves a value in.
    pub fn holds(&self, value: &Value) -> bool {
        let members =
            || self.value.as_array().map(|list| list.iter().map(text).collect::<Vec<_>>()).unwrap_or_default();
        let compared = || number(&self.field, value).zip(number(&self.field, &self.value));
        let is_equal = || compared().map_or_else(|| text(value) == text(&self.value), |(a, b)| a == b);
        match self.operator.as_str() {
            "EQUAL" => is_equal(),
            "NOT_EQUAL" => !is_equal(),
            "IN" => members().contains(&text(value)),
            "NOT_IN" => !members().contains(&text(value)),
            "CONTAIN" => text(value).to_lowercase().contains(&text(&self.value).to_lowercase()),
            "NOT_CONTAIN" => !text(value).to_lowercase().contains(&text(&self.value).to_lowercase()),
            "IN_RANGE" => {
                let ends =
                    self.value.as_array().map(|list| list.iter().map(|v| number(&self.field, v)).collect::<Vec<_>>());
                match (number(&self.field, value), ends.as_deref()) {
                    (Some(value), Some([Some(low), Some(high)])) => *low <= value && value <= *high,
                    _ => false,
                }
            }
            operator => compared().is_some_and(|(a, b)| match operator {
                "GREATER_THAN" => a > b,
                "GREATER_THAN_OR_EQUAL" => a >= b,
                "LESS_THAN" => a < b,
                _ => a <= b,
            }),
        }
    }
}

/// Whether a node of that level stays in a list.
pub fn keep(filters: &[Filter], level: &str, node: &Fields) -> Result<bool, Refusal> {
    let status = node.get("effective_status").and_then(Value::as_str).unwrap_or("");
    if !filters.iter().any(Filter::is_on_status) && ["ARCHIVED", "DELETED"].contains(&status) {
        return Ok(false);
    }
    for filter in filters {
        let name = match (filter.level.as_str(), filter.field.as_str()) {
            ("", field) => field.to_string(),
            (own, field) if own == level => field.to_string(),
            ("campaign", "id") => "campaign_id".into(),
            ("adset", "id") => "adset_id".into(),
            (other, field) => {
                let message = format!(
                    "Filtering field '{other}.{field}' with operation '{}' is not supported",
                    filter.operator.to_lowercase()
                );
                return Err(Refusal::param(message));
            }
        };
        if !FILTERED.contains(&name.as_str()) {
            let message = format!(
                "Filtering field '{name}' with operation '{}' is not supported",
                filter.operator.to_lowercase()
            );
            return Err(Refusal::param(message));
        }
        if !filter.holds(node.get(&name).unwrap_or(&Value::Null)) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Filter {
    /// One that names every status, so that nothing is left out.
    pub fn any_status() -> Filter {
        let value = Value::Array(Vec::new());
        Filter { level: String::new(), field: "effective_status".into(), operator: "NOT_IN".into(), value }
    }
}
