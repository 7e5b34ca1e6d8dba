//! Decides which conditions and orders of a query Salesforce may answer for Postgres.
//!
//! A condition is pushed when SOQL finds at least the rows that Postgres would: Postgres checks them again.
//! - Text: `=`, `IN` and `LIKE` ignore case in SOQL, so they find more. `<>` would find less, and ranges follow the
//!   org's language and not the column's collation: both stay here.
//! - Numbers, days, instants and booleans compare alike. SOQL's `!=` also finds nulls, so it finds more.
//! - Orders of numbers, days and instants agree, nulls being placed explicitly. Texts have another collation there, and
//!   ids compare by bytes there but by the collation here: neither order is pushed.
//!
//! Planning sees no value and no describe. What a value cannot say in SOQL, or what the object's describe forbids
//! (`filterable`), is left out when the query is written; then no LIMIT is sent either.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::plan::{described_column, field_of, file_column, Nature, ID};
use super::soql;
use crate::extract::{Filter, FilterValue, Op, Order, OutColumn, Output, Pushed};
use crate::manifest::Collection;

/// The nature of a column's field, or `None` when the column has another type than its field: then their comparisons
/// have different meanings.
fn nature(type_name: Option<&str>, column: &OutColumn) -> Option<Nature> {
    if column.path.len() == 1 && column.path.first().is_some_and(|field| field == ID) {
        return Some(Nature::Id);
    }
    let here = Nature::of_target(column.target);
    let there = type_name.map_or(here, Nature::of_type);
    (here == there || (here.is_numeric() && there.is_numeric())).then_some(there)
}

/// How well the app answers a condition on a column, whatever its value.
pub fn pushable(collection: &Collection, column: &OutColumn, op: Op) -> Pushed {
    let type_name = file_column(&collection.columns, &column.path).map(|c| c.type_name.as_str());
    match nature(type_name, column) {
        Some(nature) => pushed(nature, op),
        None => Pushed::No,
    }
}

fn pushed(nature: Nature, op: Op) -> Pushed {
    match (nature, op) {
        (Nature::Json, _) => Pushed::No,
        (Nature::Id, Op::Eq | Op::In) => Pushed::Superset,
        (Nature::Id, _) => Pushed::No,
        (Nature::Text, Op::Eq | Op::In | Op::Like) => Pushed::Superset,
        (Nature::Text, Op::IsNull | Op::IsNotNull) => Pushed::Exact,
        (Nature::Text, _) => Pushed::No,
        // A boolean is never null there (docs: "Boolean fields").
        (Nature::Bool, Op::Eq | Op::Ne) => Pushed::Exact,
        (Nature::Bool, _) => Pushed::No,
        (_, Op::Like) => Pushed::No,
        (_, Op::Ne) => Pushed::Superset,
        (_, _) => Pushed::Exact,
    }
}

/// Whether the app's order of a column is Postgres's.
pub fn order_pushable(column: &OutColumn) -> bool {
    let nature = Nature::of_target(column.target);
    column.path.len() == 1 && (nature.is_numeric() || matches!(nature, Nature::Timestamp | Nature::Date))
}

/// A condition as the app is told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Left to Postgres.
    Nothing,
    /// No record can match: there is no need to ask.
    Never,
    /// `exact` when no other rows come than those that match.
    Condition { soql: String, exact: bool },
    /// The field is one of these literals. No record equals two of them when `disjoint`.
    OneOf { field: String, literals: Vec<String>, exact: bool, disjoint: bool },
}

/// Writes one condition.
pub fn say(output: &Output, filter: &Filter) -> Said {
    let Some(column) = output.columns.get(filter.column) else { return Said::Nothing };
    let Some(field) = field_of(output, column).filter(|field| soql::check_name(field).is_ok()) else {
        return Said::Nothing;
    };
    let described = column.path.first().and_then(|first| described_column(output, first));
    if described.is_some_and(|c| !c.filterable) {
        return Said::Nothing;
    }
    let type_name = described
        .map(|c| c.type_name.as_str())
        .or_else(|| file_column(&output.collection.columns, &column.path).map(|c| c.type_name.as_str()));
    // Over a relationship the described type is that of another field.
    let type_name = type_name.filter(|_| column.path.len() == 1);
    let Some(nature) = nature(type_name, column) else { return Said::Nothing };
    let exact = match pushed(nature, filter.op) {
        Pushed::No => return Said::Nothing,
        pushed => pushed == Pushed::Exact,
    };
    let value = filter.values.first();
    match filter.op {
        Op::IsNull => Said::Condition { soql: format!("{field} = null"), exact },
        Op::IsNotNull => Said::Condition { soql: format!("{field} != null"), exact },
        Op::In => one_of(field, nature, &filter.values, exact),
        Op::Like => match value {
            Some(FilterValue::Text(pattern)) => match soql::like_pattern(pattern) {
                Some(pattern) => Said::Condition { soql: format!("{field} LIKE {pattern}"), exact },
                None => Said::Nothing,
            },
            _ => Said::Nothing,
        },
        op => value.and_then(|value| compare(&field, nature, op, value, exact)).unwrap_or(Said::Nothing),
    }
}

/// What is known of a value before it is compared.
enum Literal {
    Is(String),
    /// No value of the field equals it.
    EqualsNone,
}

fn literal(nature: Nature, value: &FilterValue) -> Option<Literal> {
    let text = match (nature, value) {
        (Nature::Id, FilterValue::Text(id)) => {
            return Some(if soql::is_id(id) { Literal::Is(format!("'{id}'")) } else { Literal::EqualsNone });
        }
        (Nature::Text, FilterValue::Text(text)) => soql::string(text)?,
        (Nature::Bool, FilterValue::Bool(value)) => value.to_string(),
        (Nature::Integer, FilterValue::Int(n)) => i32::try_from(*n).ok()?.to_string(),
        (Nature::Integer, FilterValue::Number(text)) => {
            soql::number(text).filter(|number| number.parse::<i32>().is_ok())?
        }
        (Nature::Number, FilterValue::Int(n)) => soql::number(&n.to_string())?,
        (Nature::Number, FilterValue::Number(text)) => soql::number(text)?,
        (Nature::Date, FilterValue::Date(days)) => soql::date(*days)?,
        (Nature::Timestamp, FilterValue::Timestamp(us)) => {
            let text = soql::datetime(*us)?;
            if us % 1000 != 0 {
                return Some(Literal::EqualsNone);
            }
            text
        }
        _ => return None,
    };
    Some(Literal::Is(text))
}

fn compare(field: &str, nature: Nature, op: Op, value: &FilterValue, exact: bool) -> Option<Said> {
    let sign = match op {
        Op::Eq => "=",
        Op::Ne => "!=",
        Op::Lt => "<",
        Op::Le => "<=",
        Op::Gt => ">",
        Op::Ge => ">=",
        _ => return None,
    };
    match literal(nature, value)? {
        Literal::Is(text) => Some(Said::Condition { soql: format!("{field} {sign} {text}"), exact }),
        Literal::EqualsNone if op == Op::Eq => Some(Said::Never),
        Literal::EqualsNone => finer(field, op, value),
    }
}

/// An instant finer than milliseconds: bounds are widened to the next one that SOQL can say.
fn finer(field: &str, op: Op, value: &FilterValue) -> Option<Said> {
    let FilterValue::Timestamp(us) = value else { return None };
    let soql = match op {
        Op::Gt | Op::Ge => format!("{field} >= {}", soql::datetime(*us)?),
        Op::Lt | Op::Le => format!("{field} <= {}", soql::datetime_up(*us)?),
        _ => return None,
    };
    Some(Said::Condition { soql, exact: false })
}

fn one_of(field: String, nature: Nature, values: &[FilterValue], exact: bool) -> Said {
    let mut literals = Vec::with_capacity(values.len());
    for value in values {
        match literal(nature, value) {
            Some(Literal::Is(text)) => literals.push(text),
            Some(Literal::EqualsNone) => {}
            None => return Said::Nothing,
        }
    }
    literals.sort_unstable();
    literals.dedup();
    if literals.is_empty() {
        return Said::Never;
    }
    // Texts that differ in case only are the same to the app: one record can equal several of them.
    Said::OneOf { field, literals, exact, disjoint: nature != Nature::Text }
}

/// The text behind ORDER BY. Nulls are placed explicitly, since SOQL's own default differs from Postgres's.
pub fn order_text(output: &Output, order: &[Order]) -> Option<String> {
    let mut text = Vec::new();
    for key in order {
        let field = field_of(output, output.columns.get(key.column)?)?;
        soql::check_name(&field).ok()?;
        let direction = if key.descending { "DESC" } else { "ASC" };
        let nulls = if key.nulls_first { "FIRST" } else { "LAST" };
        text.push(format!("{field} {direction} NULLS {nulls}"));
    }
    Some(text.join(","))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{column, described, output};
    use super::*;
    use crate::extract::Target;
    use FilterValue::{Bool, Date, Int, Number, Text, Timestamp};

    fn table() -> Output {
        output(&[
            column("id", "Id", Target::Text),
            column("name", "Name", Target::Text),
            column("employees", "NumberOfEmployees", Target::Int4),
            column("revenue", "AnnualRevenue", Target::Numeric),
            column("active", "Active__c", Target::Bool),
            column("made_at", "CreatedDate", Target::Timestamptz),
            column("day", "Day__c", Target::Date),
            column("address", "BillingAddress", Target::Json),
        ])
    }

    #[test]
    fn conditions_are_written_as_soql_reads_them() {
        let table = table();
        let id = "001000000000001AAA".to_string();
        for (column, op, values, want) in [
            (0, Op::Eq, vec![Text(id.clone())], "Id = '001000000000001AAA'"),
            (0, Op::Eq, vec![Text("x' OR Id != '".into())], "never"),
            (0, Op::Like, vec![Text("001%".into())], ""),
            (1, Op::Eq, vec![Text("O'Brien".into())], r"Name = 'O\'Brien'"),
            (1, Op::Ne, vec![Text("x".into())], ""),
            (1, Op::Gt, vec![Text("x".into())], ""),
            (1, Op::Like, vec![Text("Ac%".into())], "Name LIKE 'Ac%'"),
            (1, Op::Like, vec![Text(r"a\\b".into())], ""),
            (1, Op::IsNull, vec![], "Name = null !"),
            (1, Op::IsNotNull, vec![], "Name != null !"),
            (1, Op::Eq, vec![Int(1)], ""),
            (2, Op::Eq, vec![Int(5)], "NumberOfEmployees = 5 !"),
            (2, Op::Eq, vec![Int(1 << 40)], ""),
            (2, Op::Lt, vec![Number("1.5".into())], ""),
            (2, Op::Ne, vec![Int(5)], "NumberOfEmployees != 5"),
            (3, Op::Ge, vec![Number("-10.50".into())], "AnnualRevenue >= -10.5 !"),
            (3, Op::Eq, vec![Number("NaN".into())], ""),
            (3, Op::Eq, vec![Number("0.12345678901234567".into())], ""),
            (4, Op::Eq, vec![Bool(true)], "Active__c = true !"),
            (4, Op::Ne, vec![Bool(true)], "Active__c != true !"),
            (4, Op::IsNull, vec![], ""),
            (5, Op::Gt, vec![Timestamp(1_000)], "CreatedDate > 1970-01-01T00:00:00.001Z !"),
            (5, Op::Gt, vec![Timestamp(1_001)], "CreatedDate >= 1970-01-01T00:00:00.001Z"),
            (5, Op::Ge, vec![Timestamp(1_999)], "CreatedDate >= 1970-01-01T00:00:00.001Z"),
            (5, Op::Lt, vec![Timestamp(1_001)], "CreatedDate <= 1970-01-01T00:00:00.002Z"),
            (5, Op::Le, vec![Timestamp(1_001)], "CreatedDate <= 1970-01-01T00:00:00.002Z"),
            (5, Op::Eq, vec![Timestamp(1_001)], "never"),
            (5, Op::Ne, vec![Timestamp(1_001)], ""),
            (5, Op::Gt, vec![Timestamp(i64::MIN)], ""),
            (6, Op::Eq, vec![Date(0)], "Day__c = 1970-01-01 !"),
            (6, Op::Eq, vec![Date(i32::MAX)], ""),
            (7, Op::IsNull, vec![], ""),
            (99, Op::Eq, vec![Int(1)], ""),
        ] {
            let said = match say(&table, &Filter { column, op, values: values.clone() }) {
                Said::Nothing => String::new(),
                Said::Never => "never".to_string(),
                Said::Condition { soql, exact } => format!("{soql}{}", if exact { " !" } else { "" }),
                Said::OneOf { .. } => panic!("not a list"),
            };
            assert_eq!(said, want, "column {column} {op:?} {values:?}");
        }
    }

    #[test]
    fn lists_keep_what_can_match() {
        let id = |n: usize| format!("{n:015}AAA");
        let ids =
            Filter { column: 0, op: Op::In, values: vec![Text(id(2)), Text("short".into()), Text(id(1)), Text(id(2))] };
        assert_eq!(
            say(&table(), &ids),
            Said::OneOf {
                field: "Id".into(),
                literals: vec![format!("'{}'", id(1)), format!("'{}'", id(2))],
                exact: false,
                disjoint: true
            }
        );
        let none = Filter { column: 0, op: Op::In, values: vec![Text("short".into())] };
        assert_eq!(say(&table(), &none), Said::Never);
        let one_cannot = Filter { column: 3, op: Op::In, values: vec![Number("1".into()), Number("1e9".into())] };
        assert_eq!(say(&table(), &one_cannot), Said::Nothing);
    }

    #[test]
    fn a_field_that_cannot_be_filtered_or_has_another_type_is_left_to_postgres() {
        let mut table = table();
        table.described = Some(described(&[("Name", "text", false), ("AnnualRevenue", "text", true)]));
        for (column, value) in [(1, Text("x".into())), (3, Number("1".into()))] {
            assert_eq!(say(&table, &Filter { column, op: Op::Eq, values: vec![value] }), Said::Nothing);
        }
    }

    #[test]
    fn planning_knows_what_can_be_pushed() {
        let table = table();
        for (index, op, want) in [
            (0, Op::Eq, Pushed::Superset),
            (1, Op::Eq, Pushed::Superset),
            (1, Op::Lt, Pushed::No),
            (1, Op::Ne, Pushed::No),
            (1, Op::IsNull, Pushed::Exact),
            (3, Op::Ge, Pushed::Exact),
            (3, Op::Ne, Pushed::Superset),
            (4, Op::Eq, Pushed::Exact),
            (5, Op::Lt, Pushed::Exact),
            (7, Op::Eq, Pushed::No),
        ] {
            assert_eq!(pushable(&table.collection, &table.columns[index], op), want, "{index} {op:?}");
        }
        let orders: Vec<bool> = table.columns.iter().map(order_pushable).collect();
        assert_eq!(orders, [false, false, true, true, false, true, true, false]);
        let order = [
            Order { column: 3, descending: true, nulls_first: true },
            Order { column: 6, descending: false, nulls_first: false },
        ];
        assert_eq!(order_text(&table, &order).as_deref(), Some("AnnualRevenue DESC NULLS FIRST,Day__c ASC NULLS LAST"));
    }
}
