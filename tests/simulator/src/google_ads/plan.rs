//! Decides what may be asked together: names that exist, resources and segments that fit, values that suit their field.

use super::dates;
use super::errors::Refusal;
use super::fields::{self, Field, Kind, Resource};
use super::gaql::{Condition, Operator, Query};

/// A query whose names are known and go together.
pub struct Plan {
    pub from: &'static Resource,
    pub select: Vec<&'static Field>,
    pub conditions: Vec<(&'static Field, Condition)>,
    pub order: Vec<(&'static Field, bool)>,
    pub limit: Option<usize>,
    pub omits_resource_names: bool,
}

fn field(name: &str) -> Result<&'static Field, Refusal> {
    fields::find(name)
        .ok_or_else(|| Refusal::query("UNRECOGNIZED_FIELD", format!("Unrecognized field in the query: '{name}'.")))
}

/// Whether a field can be asked of a resource.
fn admit(field: &Field, from: &Resource, is_selected: bool) -> Result<(), Refusal> {
    let clause = if is_selected { "SELECT" } else { "WHERE" };
    if field.is_metric() && !fields::fits(field, from) {
        let message = format!("The following metric is incompatible with '{}': '{}'.", from.name, field.name);
        return Err(Refusal::query("PROHIBITED_METRIC_IN_SELECT_OR_WHERE_CLAUSE", message));
    }
    if field.is_segment() && !fields::fits(field, from) {
        let message = format!("The following segment is incompatible with '{}': '{}'.", from.name, field.name);
        return Err(Refusal::query("PROHIBITED_SEGMENT_IN_SELECT_OR_WHERE_CLAUSE", message));
    }
    let resource = field.resource();
    if !field.is_metric() && !field.is_segment() && resource != from.name && !from.beside.contains(&resource) {
        let message = format!("Cannot select fields from the following resources: {resource}, since the resource is incompatible with the resource in FROM clause.");
        return Err(Refusal::query(&format!("PROHIBITED_RESOURCE_TYPE_IN_{clause}_CLAUSE"), message));
    }
    Ok(())
}

impl Plan {
    pub fn new(query: &Query) -> Result<Plan, Refusal> {
        let Some(from) = fields::resource(&query.from) else {
            let message = format!("Error in FROM clause: '{}' is not a valid resource name.", query.from);
            return Err(Refusal::query("BAD_RESOURCE_TYPE_IN_FROM_CLAUSE", message));
        };
        let select: Vec<&'static Field> =
            query.select.iter().map(|name| field(name)).collect::<Result<_, Refusal>>()?;
        let conditions: Vec<(&'static Field, Condition)> =
            query.conditions.iter().map(|c| Ok((field(&c.field)?, c.clone()))).collect::<Result<_, Refusal>>()?;
        let order: Vec<(&'static Field, bool)> =
            query.order.iter().map(|(name, down)| Ok((field(name)?, *down))).collect::<Result<_, Refusal>>()?;
        for field in &select {
            admit(field, from, true)?;
        }
        for (field, condition) in &conditions {
            admit(field, from, false)?;
            check(field, condition)?;
        }
        for (field, _) in &order {
            if matches!(field.kind, Kind::List | Kind::Objects) {
                let message = format!("The following field cannot be used in ORDER BY: '{}'.", field.name);
                return Err(Refusal::query("PROHIBITED_FIELD_IN_ORDER_BY_CLAUSE", message));
            }
            admit(field, from, false)?;
        }
        let is_selected = |field: &Field| select.iter().any(|s| s.name == field.name);
        let referred = conditions.iter().map(|(f, _)| *f).filter(|f| !f.is_core_date());
        for field in referred.chain(order.iter().map(|(f, _)| *f)).filter(|f| f.is_segment()) {
            if !is_selected(field) {
                let message = format!("The following field must be present in SELECT clause: '{}'.", field.name);
                return Err(Refusal::query("EXPECTED_REFERENCED_FIELD_IN_SELECT_CLAUSE", message));
            }
        }
        if let Some(source) = select.iter().find(|f| f.name == "segments.external_conversion_source") {
            if let Some(metric) = select.iter().find(|f| f.is_metric() && !fields::is_of_conversions(f.name)) {
                let message = format!(
                    "Cannot select or filter on the following segments: '{}', since segments are incompatible with the following metrics: '{}'.",
                    source.name, metric.name
                );
                return Err(Refusal::query("PROHIBITED_SEGMENT_WITH_METRIC_IN_SELECT_OR_WHERE_CLAUSE", message));
            }
        }
        let plan = Plan {
            from,
            select,
            conditions,
            order,
            limit: query.limit,
            omits_resource_names: query.omits_resource_names,
        };
        plan.check_dates()?;
        Ok(plan)
    }

    pub fn asks_metrics(&self) -> bool {
        self.select.iter().any(|f| f.is_metric()) || self.conditions.iter().any(|(f, _)| f.is_metric())
    }

    /// The first and last day that the conditions on `segments.date` leave, where they say so.
    pub fn days(&self, today: &str) -> (Option<String>, Option<String>) {
        let (mut from, mut to): (Option<String>, Option<String>) = (None, None);
        let later = |now: &Option<String>, day: &str| now.as_deref().is_none_or(|now| now < day);
        let sooner = |now: &Option<String>, day: &str| now.as_deref().is_none_or(|now| now > day);
        for (_, condition) in self.conditions.iter().filter(|(f, _)| f.name == "segments.date") {
            let first = condition.values.first().map(|v| v.text().to_string()).unwrap_or_default();
            let (low, high) = match condition.operator {
                Operator::Equal => (Some(first.clone()), Some(first)),
                Operator::Between => (Some(first), condition.values.get(1).map(|v| v.text().to_string())),
                Operator::During => match dates::named(&first, today) {
                    Some((low, high)) => (Some(low), Some(high)),
                    None => (None, None),
                },
                Operator::GreaterOrEqual => (Some(first), None),
                Operator::Greater => (Some(dates::shifted(&first, 1)), None),
                Operator::LessOrEqual => (None, Some(first)),
                Operator::Less => (None, Some(dates::shifted(&first, -1))),
                _ => (None, None),
            };
            if let Some(low) = low.filter(|low| later(&from, low)) {
                from = Some(low);
            }
            if let Some(high) = high.filter(|high| sooner(&to, high)) {
                to = Some(high);
            }
        }
        (from, to)
    }

    /// A core date segment in SELECT needs a finite range in WHERE, the right way round.
    fn check_dates(&self) -> Result<(), Refusal> {
        let wants_dates = self.select.iter().any(|f| f.is_core_date());
        let (from, to) = self.days("2026-01-01");
        let others = self.conditions.iter().any(|(f, c)| {
            f.is_core_date() && f.name != "segments.date" && matches!(c.operator, Operator::Equal | Operator::Between)
        });
        if wants_dates && !others && (from.is_none() || to.is_none()) && self.from.name != "click_view" {
            let message = "Queries that select a core date segment must filter on a finite date range.".to_string();
            return Err(Refusal::query("EXPECTED_FILTERS_ON_DATE_RANGE", message));
        }
        match (from, to) {
            (Some(from), Some(to)) if from > to => Err(Refusal::query(
                "DATE_RANGE_TOO_NARROW",
                "Filters on date/week/month/quarter have a start date after end date.".into(),
            )),
            _ => Ok(()),
        }
    }

    /// The mask that comes with every answer.
    pub fn field_mask(&self) -> String {
        let paths: Vec<String> = self.select.iter().map(|f| f.path.join(".")).collect();
        paths.join(",")
    }
}

/// Whether an operator and its values suit a field.
fn check(field: &Field, condition: &Condition) -> Result<(), Refusal> {
    let mismatch = || {
        let message = format!("Operator is not applicable to the field being filtered: '{}'.", field.name);
        Err(Refusal::query("OPERATOR_FIELD_MISMATCH", message))
    };
    let operator = condition.operator;
    let is_range = matches!(
        operator,
        Operator::Greater | Operator::GreaterOrEqual | Operator::Less | Operator::LessOrEqual | Operator::Between
    );
    match field.kind {
        Kind::Objects => return mismatch(),
        Kind::List
            if !matches!(
                operator,
                Operator::ContainsAny
                    | Operator::ContainsAll
                    | Operator::ContainsNone
                    | Operator::IsNull
                    | Operator::IsNotNull
            ) =>
        {
            return mismatch()
        }
        Kind::Enum | Kind::Bool if is_range => return mismatch(),
        _ if operator == Operator::During && field.kind != Kind::Date => return mismatch(),
        _ => {}
    }
    for value in &condition.values {
        let text = value.text();
        match field.kind {
            Kind::Enum if !field.constants.is_empty() && !field.constants.contains(&text) => {
                let message = format!("Invalid enum value cannot be included in WHERE clause: '{text}'.");
                return Err(Refusal::query("BAD_ENUM_CONSTANT", message));
            }
            Kind::Date if operator == Operator::During && dates::named(text, "2026-01-01").is_none() => {
                let message = format!("'{text}' is not a date range literal.");
                return Err(Refusal::query("INVALID_VALUE_WITH_DURING_OPERATOR", message));
            }
            Kind::Date if operator != Operator::During && !dates::is_day(text) => {
                let message =
                    format!("Invalid date literal supplied for field '{}'. Expected 'YYYY-MM-DD'.", field.name);
                return Err(Refusal::query("INVALID_DATE_FORMAT", message));
            }
            Kind::Int64 | Kind::Int32 | Kind::Double if text.parse::<f64>().is_err() => {
                return Err(Refusal::query("BAD_VALUE", format!("Value '{text}' is invalid for '{}'.", field.name)));
            }
            _ => {}
        }
    }
    Ok(())
}
