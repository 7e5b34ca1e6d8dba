//! Decides which conditions and orders of a query Google Ads may answer for Postgres.
//!
//! A condition is pushed when GAQL finds at least the rows that Postgres would: Postgres checks them again.
//! - Accounts: which of them are asked is decided here, exactly, by any comparison of their id.
//! - Days: bounds of the range that every query has.
//! - Whole numbers of attributes (ids) and texts: `=`, `IN` and ranges of numbers agree; texts are compared with their case.
//!   `!=` also finds what has no value, LIKE ignores case: both find more. Ranges of texts stay here.
//! - Figures (metrics): one that a row does not have counts as 0 there and is null here, so they find more.
//! - `IS NULL` stays here: what GAQL takes for it is not documented field by field.
//!
//! Orders of days, of the key's numbers and of the counted figures that each query asks for agree, since every row has them.
//! Clicks are asked for by one day, so no order spans them.
//!
//! Docs: developers.google.com/google-ads/api/docs/query/grammar, case-sensitivity.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::gaql;
use crate::extract::{Filter, FilterValue, Op, OutColumn, Pushed, Target};
use crate::manifest::Collection;

/// Values of one IN list; Google takes 20,000.
pub const LIST_VALUES: usize = 10_000;

/// What a column's field is to a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// The account's id.
    Customer,
    Day,
    /// A whole number of an attribute or segment.
    Integer,
    /// A figure.
    Metric,
    Text,
    Bool,
    Other,
}

/// The nature of a column, by its field and the type that the source file gives it. A column of another type is compared in
/// another way here: it is left to Postgres.
pub fn nature(collection: &Collection, column: &OutColumn) -> Nature {
    let path: Vec<&str> = column.path.iter().map(String::as_str).collect();
    let known = collection.columns.iter().find(|known| known.path() == column.path);
    let type_name = known.map_or("", |known| known.type_name.as_str());
    let is_integer = matches!(column.target, Target::Int8 | Target::Int4 | Target::Int2 | Target::Numeric);
    match (path.as_slice(), type_name, column.target) {
        (["customer", "id"], "bigint", _) if is_integer => Nature::Customer,
        (["segments", "date"], "date", Target::Date) => Nature::Day,
        (["metrics", ..], "bigint" | "numeric", _) if is_integer => Nature::Metric,
        (_, "bigint", _) if is_integer => Nature::Integer,
        (_, "text", Target::Text) => Nature::Text,
        (_, "boolean", Target::Bool) => Nature::Bool,
        _ => Nature::Other,
    }
}

/// How well the app answers a condition on a column, whatever its value.
pub fn pushable(collection: &Collection, column: &OutColumn, op: Op) -> Pushed {
    let is_range = matches!(op, Op::Lt | Op::Le | Op::Gt | Op::Ge);
    match (nature(collection, column), op) {
        (_, Op::IsNull | Op::IsNotNull) | (Nature::Other, _) => Pushed::No,
        (Nature::Text, Op::Eq | Op::In) => Pushed::Exact,
        (Nature::Text, Op::Ne | Op::Like) => Pushed::Superset,
        (Nature::Bool, Op::Eq) => Pushed::Superset,
        (Nature::Text | Nature::Bool, _) | (_, Op::Like) => Pushed::No,
        (Nature::Customer, _) => Pushed::Exact,
        (Nature::Day, Op::Eq) => Pushed::Exact,
        (Nature::Day, Op::In) => Pushed::Superset,
        (Nature::Day, _) if is_range => Pushed::Exact,
        (Nature::Day, _) => Pushed::No,
        (Nature::Integer, Op::Ne) | (Nature::Metric, _) => Pushed::Superset,
        (Nature::Integer, _) => Pushed::Exact,
    }
}

/// Whether the app's order of a column is Postgres's; see the top of this file.
pub fn order_pushable(collection: &Collection, column: &OutColumn) -> bool {
    let is_daily = collection.cursor.as_ref().is_some_and(|cursor| cursor.step_seconds.is_some());
    let in_key = || collection.primary_key.contains(&column.name);
    let is_always_there = || {
        let asked = collection.select.iter().flat_map(|select| &select.always_include);
        gaql::name_of(&column.path).is_ok_and(|name| asked.into_iter().any(|always| *always == name))
    };
    let is_whole = column.target == Target::Int8;
    !is_daily
        && match nature(collection, column) {
            Nature::Day => true,
            Nature::Customer | Nature::Integer => is_whole && in_key(),
            Nature::Metric => is_whole && is_always_there(),
            _ => false,
        }
}

/// A condition as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Left to Postgres.
    Nothing,
    /// No row can match: there is no need to ask.
    Never,
    /// Only these accounts are asked.
    Customers(Ids),
    /// The range of days: bounds, both included.
    Days { first: Option<i64>, last: Option<i64>, exact: bool },
    /// `exact` when no other rows come than those that match.
    Condition { gaql: String, exact: bool },
}

/// A comparison of account ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    pub op: Op,
    pub values: Vec<i64>,
}

impl Ids {
    pub fn holds(&self, id: &str) -> bool {
        let Ok(id) = id.parse::<i64>() else { return true };
        let first = self.values.first().copied();
        match self.op {
            Op::Eq | Op::In => self.values.contains(&id),
            Op::Ne => first != Some(id),
            Op::Lt => first.is_some_and(|value| id < value),
            Op::Le => first.is_some_and(|value| id <= value),
            Op::Gt => first.is_some_and(|value| id > value),
            Op::Ge => first.is_some_and(|value| id >= value),
            _ => true,
        }
    }
}

fn sign(op: Op) -> Option<&'static str> {
    Some(match op {
        Op::Eq => "=",
        // There is no <> in GAQL.
        Op::Ne => "!=",
        Op::Lt => "<",
        Op::Le => "<=",
        Op::Gt => ">",
        Op::Ge => ">=",
        _ => return None,
    })
}

fn literal(nature: Nature, value: &FilterValue) -> Option<String> {
    match (nature, value) {
        (Nature::Integer | Nature::Metric, FilterValue::Int(n)) => Some(n.to_string()),
        (Nature::Metric, FilterValue::Number(text)) => gaql::number(text),
        (Nature::Integer, FilterValue::Number(text)) => text.parse::<i64>().ok().map(|n| n.to_string()),
        // An empty text may be no value at all.
        (Nature::Text, FilterValue::Text(text)) if !text.is_empty() => gaql::string(text),
        (Nature::Bool, FilterValue::Bool(yes)) => Some(yes.to_string()),
        _ => None,
    }
}

/// Writes one condition.
pub fn say(collection: &Collection, column: &OutColumn, filter: &Filter) -> Said {
    let exact = match pushable(collection, column, filter.op) {
        Pushed::No => return Said::Nothing,
        pushed => pushed == Pushed::Exact,
    };
    if filter.op == Op::In && filter.values.is_empty() {
        return Said::Never;
    }
    let nature = nature(collection, column);
    match nature {
        Nature::Customer => return customers(filter),
        Nature::Day => return days(filter),
        _ => {}
    }
    let Ok(name) = gaql::name_of(&column.path) else { return Said::Nothing };
    let literals: Option<Vec<String>> = match (filter.op, filter.values.first()) {
        (Op::Like, Some(FilterValue::Text(pattern))) => gaql::like_pattern(pattern).map(|pattern| vec![pattern]),
        _ => filter.values.iter().map(|value| literal(nature, value)).collect(),
    };
    let Some(mut literals) = literals.filter(|literals| literals.len() <= LIST_VALUES) else { return Said::Nothing };
    let gaql = match (filter.op, sign(filter.op), literals.first()) {
        (Op::In, ..) => {
            literals.sort_unstable();
            literals.dedup();
            format!("{name} IN ({})", literals.join(", "))
        }
        (Op::Like, _, Some(pattern)) => format!("{name} LIKE {pattern}"),
        (_, Some(sign), Some(literal)) => format!("{name} {sign} {literal}"),
        _ => return Said::Nothing,
    };
    Said::Condition { gaql, exact }
}

fn customers(filter: &Filter) -> Said {
    let id = |value: &FilterValue| match value {
        FilterValue::Int(n) => Some(*n),
        FilterValue::Number(text) => text.parse::<i64>().ok(),
        _ => None,
    };
    match filter.values.iter().map(id).collect::<Option<Vec<i64>>>() {
        Some(values) => Said::Customers(Ids { op: filter.op, values }),
        None => Said::Nothing,
    }
}

fn days(filter: &Filter) -> Said {
    let day = |value: &FilterValue| match value {
        FilterValue::Date(day) => Some(i64::from(*day)),
        _ => None,
    };
    let Some(days) = filter.values.iter().map(day).collect::<Option<Vec<i64>>>() else { return Said::Nothing };
    let (Some(least), Some(most)) = (days.iter().min().copied(), days.iter().max().copied()) else {
        return Said::Nothing;
    };
    let (first, last) = match filter.op {
        Op::Eq | Op::In => (Some(least), Some(most)),
        Op::Ge => (Some(least), None),
        Op::Gt => (Some(least.saturating_add(1)), None),
        Op::Le => (None, Some(most)),
        Op::Lt => (None, Some(most.saturating_sub(1))),
        _ => return Said::Nothing,
    };
    Said::Days { first, last, exact: least == most }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{column, output};
    use super::*;
    use FilterValue::{Bool, Date, Int, Number, Text};

    const REPORT: &str = "campaign_performance_report";

    fn said(collection: &str, name: &str, op: Op, values: Vec<FilterValue>) -> String {
        let output = output(collection, &[name]);
        match say(&output.collection, &output.columns[0], &Filter { column: 0, op, values }) {
            Said::Nothing => String::new(),
            Said::Never => "never".to_string(),
            Said::Customers(ids) => format!("accounts {:?} {:?}", ids.op, ids.values),
            Said::Days { first, last, exact } => format!("{first:?} to {last:?}{}", if exact { " !" } else { "" }),
            Said::Condition { gaql, exact } => format!("{gaql}{}", if exact { " !" } else { "" }),
        }
    }

    #[test]
    fn conditions_are_written_as_gaql_reads_them() {
        for (collection, name, op, values, want) in [
            ("campaigns", "id", Op::Eq, vec![Int(5)], "campaign.id = 5 !"),
            ("campaigns", "id", Op::Ne, vec![Int(5)], "campaign.id != 5"),
            ("campaigns", "id", Op::In, vec![Int(7), Int(5), Int(7)], "campaign.id IN (5, 7) !"),
            ("campaigns", "id", Op::In, vec![], "never"),
            ("campaigns", "id", Op::Ge, vec![Number("5.5".into())], ""),
            ("campaigns", "name", Op::Eq, vec![Text("it's".into())], r"campaign.name = 'it\'s' !"),
            ("campaigns", "name", Op::Eq, vec![Text("".into())], ""),
            ("campaigns", "name", Op::Ne, vec![Text("x".into())], "campaign.name != 'x'"),
            ("campaigns", "name", Op::Like, vec![Text("Sale_%".into())], "campaign.name LIKE 'Sale%%'"),
            ("campaigns", "name", Op::Lt, vec![Text("x".into())], ""),
            ("campaigns", "name", Op::IsNull, vec![], ""),
            ("campaigns", "status", Op::In, vec![Text("ENABLED".into())], "campaign.status IN ('ENABLED') !"),
            ("campaigns", "url_custom_parameters", Op::Eq, vec![Text("{}".into())], ""),
            ("campaigns", "adwords_customer_id", Op::Lt, vec![Int(9)], "accounts Lt [9]"),
            (REPORT, "clicks", Op::Gt, vec![Int(3)], "metrics.clicks > 3"),
            (REPORT, "conversions", Op::Ge, vec![Number("1.50".into())], "metrics.conversions >= 1.5"),
            (REPORT, "conversions", Op::Ge, vec![Number("NaN".into())], ""),
            (
                REPORT,
                "is_budget_explicitly_shared",
                Op::Eq,
                vec![Bool(true)],
                "campaign_budget.explicitly_shared = true",
            ),
            (REPORT, "date_start", Op::Gt, vec![Date(5)], "Some(6) to None !"),
            (REPORT, "date_start", Op::Le, vec![Date(5)], "None to Some(5) !"),
            (REPORT, "date_start", Op::Eq, vec![Date(5)], "Some(5) to Some(5) !"),
            (REPORT, "date_start", Op::In, vec![Date(5), Date(9)], "Some(5) to Some(9)"),
            (REPORT, "date_start", Op::Ne, vec![Date(5)], ""),
        ] {
            assert_eq!(said(collection, name, op, values.clone()), want, "{name} {op:?} {values:?}");
        }
    }

    #[test]
    fn a_column_of_another_type_is_left_to_postgres() {
        let output = output("campaigns", &["id", "name"]);
        let as_text = OutColumn { target: Target::Text, ..output.columns[0].clone() };
        assert_eq!(pushable(&output.collection, &as_text, Op::Eq), Pushed::No);
        let unknown = column("labels", "/campaign/labels", Target::Text);
        assert_eq!(pushable(&output.collection, &unknown, Op::Eq), Pushed::No);
    }

    #[test]
    fn orders_of_what_every_row_has_agree() {
        for (collection, orders) in [
            ("campaigns", vec![("id", true), ("adwords_customer_id", true), ("name", false)]),
            (REPORT, vec![("date_start", true), ("cost", true), ("amount", false), ("conversions", false)]),
            ("ad_groups", vec![("id", true), ("campaign_id", false), ("cpc_bid_micros", false)]),
            ("click_performance_report", vec![("date_start", false), ("adwords_customer_id", false)]),
        ] {
            for (name, want) in orders {
                let output = output(collection, &[name]);
                assert_eq!(order_pushable(&output.collection, &output.columns[0]), want, "{collection} {name}");
            }
        }
    }

    #[test]
    fn accounts_are_compared_as_numbers() {
        let filter = |op: Op, values: &[i64]| Ids { op, values: values.to_vec() };
        assert!(filter(Op::In, &[1_000_000_002, 5]).holds("1000000002"));
        assert!(!filter(Op::Eq, &[5]).holds("1000000002"));
        assert!(filter(Op::Gt, &[5]).holds("1000000002"));
        assert!(!filter(Op::Ne, &[1_000_000_002]).holds("1000000002"));
    }
}
