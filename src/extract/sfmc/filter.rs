//! Decides which conditions a Retrieve is told, and writes them: parts that say their type, joined two by two.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::describe::property_of;
use super::soap::text;
use crate::error::SyncError;
use crate::extract::rest::bound::bound;
use crate::extract::{FilterValue, Op, OutColumn, Output, Pushed, Scan, Target};
use crate::http::xml;
use crate::manifest::Cursor;

/// A longer list of values is left to Postgres.
const MOST_VALUES: usize = 200;

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Simple {
    pub property: String,
    pub operator: &'static str,
    pub values: Vec<String>,
    pub is_date: bool,
}

/// How well the app reads a condition. Never exactly: it compares texts without regard to case, and instants in whole
/// seconds here.
pub fn pushable(column: &OutColumn, op: Op) -> Pushed {
    let is_range = matches!(op, Op::Lt | Op::Le | Op::Gt | Op::Ge);
    let reads = match column.target {
        Target::Int2 | Target::Int4 | Target::Int8 => is_range || matches!(op, Op::Eq | Op::In),
        Target::Timestamptz => is_range || op == Op::Eq,
        Target::Text => matches!(op, Op::Eq | Op::In),
        _ => false,
    };
    if reads {
        Pushed::Superset
    } else {
        Pushed::No
    }
}

/// An instant in the app's own zone, which it does not name: whole seconds, outwards.
fn date(cursor: &Cursor, micros: i64, is_upper: bool) -> String {
    let format = Some("%Y-%m-%dT%H:%M:%S".to_string());
    bound(&Cursor { format: cursor.format, datetime_format: format, ..Cursor::default() }, micros, is_upper)
}

/// What a live query can tell of its conditions. `can` says which properties the account can name.
pub fn of_scan(output: &Output, scan: &Scan, can: &dyn Fn(&str) -> bool) -> Vec<Simple> {
    let mut parts = Vec::new();
    for filter in &scan.filters {
        let Some(column) = output.columns.get(filter.column) else { continue };
        let property = property_of(&column.path);
        let few = !filter.values.is_empty() && filter.values.len() <= MOST_VALUES;
        if !few || !can(&property) || pushable(column, filter.op) == Pushed::No {
            continue;
        }
        if column.target == Target::Timestamptz {
            let cursor = output.collection.cursor.clone().unwrap_or_default();
            if let [FilterValue::Timestamp(at)] = filter.values.as_slice() {
                let simple = |operator, is_upper| Simple {
                    property: property.clone(),
                    operator,
                    values: vec![date(&cursor, *at, is_upper)],
                    is_date: true,
                };
                if matches!(filter.op, Op::Ge | Op::Gt | Op::Eq) {
                    parts.push(simple("greaterThanOrEqual", false));
                }
                if matches!(filter.op, Op::Le | Op::Lt | Op::Eq) {
                    parts.push(simple("lessThanOrEqual", true));
                }
            }
            continue;
        }
        let operator = match filter.op {
            Op::Eq => "equals",
            Op::In => "IN",
            Op::Lt => "lessThan",
            Op::Le => "lessThanOrEqual",
            Op::Gt => "greaterThan",
            Op::Ge => "greaterThanOrEqual",
            _ => continue,
        };
        let spelled = |value: &FilterValue| match value {
            FilterValue::Int(number) => Some(number.to_string()),
            FilterValue::Text(text) => xml::escaped(text).map(|_| text.clone()),
            _ => None,
        };
        let values: Option<Vec<String>> = filter.values.iter().map(spelled).collect();
        match (values, operator) {
            // A list of one is what the app knows best as equality.
            (Some(values), "IN") if values.len() == 1 => {
                parts.push(Simple { property, operator: "equals", values, is_date: false });
            }
            (Some(values), operator) => parts.push(Simple { property, operator, values, is_date: false }),
            (None, _) => {}
        }
    }
    parts
}

/// The filter of a Retrieve; `None` without any condition.
pub fn written(parts: &[Simple]) -> Result<Option<String>, SyncError> {
    Ok(match parts {
        [] => None,
        parts => Some(joined(parts, "Filter")?),
    })
}

fn joined(parts: &[Simple], tag: &str) -> Result<String, SyncError> {
    match parts {
        [one] => one.written(tag),
        [one, rest @ ..] => Ok(format!(
            "<{tag} xsi:type=\"ComplexFilterPart\">{}<LogicalOperator>AND</LogicalOperator>{}</{tag}>",
            one.written("LeftOperand")?,
            joined(rest, "RightOperand")?
        )),
        [] => Err(SyncError::internal("a filter without conditions")),
    }
}

impl Simple {
    fn written(&self, tag: &str) -> Result<String, SyncError> {
        let kind = if self.is_date { "DateValue" } else { "Value" };
        let mut inside =
            format!("<Property>{}</Property><SimpleOperator>{}</SimpleOperator>", text(&self.property)?, self.operator);
        for value in &self.values {
            inside.push_str(&format!("<{kind}>{}</{kind}>", text(value)?));
        }
        Ok(format!("<{tag} xsi:type=\"SimpleFilterPart\">{inside}</{tag}>"))
    }
}
