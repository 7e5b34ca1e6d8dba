//! Decides how a live query is asked: its conditions, order and limit in SOQL, page by page as the executor wants them.
//!
//! A live table shows what exists: deleted records are left out, unless `IsDeleted` itself is a selected column. A long
//! `IN` list is asked in several queries. A LIMIT is sent only when everything else was said exactly, since the app would
//! stop counting at rows that Postgres then removes. When the app refuses a condition after all (a reference compared
//! with what is no id, LIKE on a multi-select picklist), the query is made once more without conditions: Postgres
//! checks every row anyway.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::plan::{field_of, Plan};
use super::push::{order_text, say, Said};
use super::query::words_of;
use super::read::{self, Progress, Run, Sequence};
use super::soql::{self, Tail};
use crate::error::SyncError;
use crate::extract::Scan;
use crate::http::Request;

/// Values of one IN list.
const LIST_VALUES: usize = 200;

/// The queries of one scan, to be made in turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queries {
    /// Empty when no record can match.
    pub tails: Vec<Tail>,
    /// Whether any condition of the user's was said.
    pub says_conditions: bool,
}

pub fn queries(plan: &Plan, scan: &Scan) -> Queries {
    let mut conditions = visible(plan);
    let mut lists = Vec::new();
    let mut is_exact = true;
    // Half of the address is for conditions, half for fields.
    let mut room = plan.max_url_bytes / 2;
    for filter in &scan.filters {
        match say(&plan.output, filter) {
            Said::Never => return Queries::default(),
            Said::Nothing => is_exact = false,
            Said::Condition { soql, exact } => {
                let size = soql::encoded_len(&soql) + soql::encoded_len(" AND ");
                if size <= room {
                    room -= size;
                    conditions.push(soql);
                    is_exact &= exact;
                } else {
                    is_exact = false;
                }
            }
            Said::OneOf { field, literals, exact, disjoint } => {
                is_exact &= exact;
                lists.push((field, literals, disjoint));
            }
        }
    }
    // The order of a scan spans its queries only when there is one.
    let mut may_split = scan.order.is_empty();
    let mut alternatives: Vec<Option<String>> = vec![None];
    for (field, literals, disjoint) in lists {
        // 200 ids fit at the usual length; something is left for a second list.
        let chunks = chunks(&field, literals, room / 4 * 3);
        match chunks.as_slice() {
            [one] if soql::encoded_len(one) <= room => {
                room -= soql::encoded_len(one);
                conditions.push(one.clone());
            }
            [_, _, ..] if may_split && disjoint => {
                may_split = false;
                alternatives = chunks.into_iter().map(Some).collect();
            }
            _ => is_exact = false,
        }
    }
    let says_conditions = conditions.len() > visible(plan).len() || alternatives != [None];
    let order = order_text(&plan.output, &scan.order).unwrap_or_default();
    let limit = scan.limit.filter(|_| is_exact);
    let tail = |alternative: Option<String>| Tail {
        conditions: conditions.iter().cloned().chain(alternative).collect(),
        order: order.clone(),
        limit,
    };
    Queries { tails: alternatives.into_iter().map(tail).collect(), says_conditions }
}

/// `field IN (..)` as often as needed: at most 200 values and `room` bytes each. A single value stays one.
fn chunks(field: &str, literals: Vec<String>, room: usize) -> Vec<String> {
    let mut chunks = Vec::new();
    let mut chunk: Vec<String> = Vec::new();
    let mut used = 0;
    let close = |chunk: &mut Vec<String>| format!("{field} IN ({})", std::mem::take(chunk).join(","));
    for literal in literals {
        let size = soql::encoded_len(&literal) + soql::encoded_len(",");
        if !chunk.is_empty() && (chunk.len() >= LIST_VALUES || used + size > room) {
            chunks.push(close(&mut chunk));
            used = 0;
        }
        used += size;
        chunk.push(literal);
    }
    if !chunk.is_empty() {
        chunks.push(close(&mut chunk));
    }
    chunks
}

fn visible(plan: &Plan) -> Vec<String> {
    let Some(deleted) = &plan.deleted else { return Vec::new() };
    let is_selected = plan.output.columns.iter().any(|c| field_of(&plan.output, c).as_ref() == Some(deleted));
    if is_selected {
        Vec::new()
    } else {
        vec![format!("{deleted} = false")]
    }
}

/// The order in which the queries of a scan are read; several parts of one query need one they share.
fn sequence(plan: &Plan, tail: &mut Tail) -> Sequence {
    if plan.parts(tail).len() == 1 {
        return Sequence::Free;
    }
    if tail.order.is_empty() && tail.limit.is_none() {
        return Sequence::ById;
    }
    let order = std::mem::take(&mut tail.order);
    tail.order = if order.is_empty() { "Id".to_string() } else { format!("{order},Id") };
    Sequence::Free
}

pub async fn scan(run: &mut Run<'_>, scan: &Scan) -> Result<(), SyncError> {
    let queries = queries(&run.plan, scan);
    run.sink.until_room().await?;
    let mut progress = Progress::default();
    for mut tail in queries.tails {
        progress.place = None;
        let sequence = sequence(&run.plan, &mut tail);
        match run.listing(&tail, sequence, &mut progress, &|_| None).await {
            Err(error) if queries.says_conditions && !progress.has_given && refuses_condition(&error) => {
                run.notes
                    .push(format!("the app refused a condition and was asked for everything: {}", words_of(&error)));
                let plain = Scan { order: scan.order.clone(), ..Scan::default() };
                for mut tail in self::queries(&run.plan, &plain).tails {
                    let sequence = self::sequence(&run.plan, &mut tail);
                    run.listing(&tail, sequence, &mut progress, &|_| None).await?;
                }
                return Ok(());
            }
            ended => ended.map(drop)?,
        }
    }
    Ok(())
}

/// What the app says of conditions it cannot take: `INVALID_QUERY_FILTER_OPERATOR`, "can not be filtered in a query
/// call", "value of filter criterion for field", "invalid ID field".
fn refuses_condition(error: &SyncError) -> bool {
    let words = words_of(error).to_ascii_lowercase();
    matches!(error, SyncError::BadRequest { status: 400, .. } | SyncError::FieldRefused { .. })
        && ["filter", "invalid id field", "invalid operator"].iter().any(|mark| words.contains(mark))
}

/// What EXPLAIN shows. A scan that needs no call shows the query that finds nothing.
pub fn first_request(plan: &Plan, scan: &Scan) -> Request {
    let nothing = Tail { conditions: vec!["Id = null".to_string()], ..Tail::default() };
    let mut tail = queries(plan, scan).tails.into_iter().next().unwrap_or(nothing);
    let sequence = sequence(plan, &mut tail);
    read::first_request(plan, &tail, sequence)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{account, column, output};
    use super::*;
    use crate::extract::{Filter, FilterValue, Op, Order, Output, Target};

    fn table() -> Output {
        output(&[
            column("id", "Id", Target::Text),
            column("name", "Name", Target::Text),
            column("revenue", "AnnualRevenue", Target::Numeric),
        ])
    }

    fn texts(table: &Output, scan: &Scan) -> Vec<String> {
        let plan = Plan::new(table, &account(&[])).unwrap();
        let queries = queries(&plan, scan);
        queries.tails.iter().map(|tail| tail.query(&[], "X").replace("SELECT  FROM X", "").trim().to_string()).collect()
    }

    fn filter(column: usize, op: Op, values: Vec<FilterValue>) -> Filter {
        Filter { column, op, values }
    }

    #[test]
    fn a_scan_is_one_query_and_its_limit_needs_exact_conditions() {
        let rich = filter(2, Op::Gt, vec![FilterValue::Int(5)]);
        let named = filter(1, Op::Eq, vec![FilterValue::Text("x".into())]);
        let by_revenue = Order { column: 2, descending: true, nulls_first: true };
        for (name, filters, order, limit, want) in [
            ("everything", vec![], vec![], None, "WHERE IsDeleted = false"),
            ("a few of everything", vec![], vec![], Some(3), "WHERE IsDeleted = false LIMIT 3"),
            (
                "exact, ordered, limited",
                vec![rich.clone()],
                vec![by_revenue],
                Some(3),
                "WHERE IsDeleted = false AND AnnualRevenue > 5 ORDER BY AnnualRevenue DESC NULLS FIRST LIMIT 3",
            ),
            (
                "text ignores case: no limit",
                vec![rich, named],
                vec![],
                Some(3),
                "WHERE IsDeleted = false AND AnnualRevenue > 5 AND Name = 'x'",
            ),
        ] {
            assert_eq!(texts(&table(), &Scan { filters, order, limit }), [want], "{name}");
        }
    }

    #[test]
    fn deleted_records_show_only_when_asked_for() {
        let mut table = table();
        table.columns.push(column("gone", "IsDeleted", Target::Bool));
        assert_eq!(texts(&table, &Scan::default()), [""]);
    }

    #[test]
    fn a_long_list_of_ids_is_asked_in_parts_and_other_lists_only_when_they_fit() {
        let ids = |n: usize| (0..n).map(|i| FilterValue::Text(format!("{i:015}AAA"))).collect::<Vec<_>>();
        let names = |n: usize| (0..n).map(|i| FilterValue::Text(format!("name {i}"))).collect::<Vec<_>>();
        let scan = |filters: Vec<Filter>| Scan { filters, ..Scan::default() };
        let many = texts(&table(), &scan(vec![filter(0, Op::In, ids(450))]));
        assert_eq!(many.len(), 3);
        let asked: usize = many.iter().map(|q| q.matches("AAA'").count()).sum();
        assert_eq!(asked, 450);
        assert!(many.iter().all(|query| query.matches("AAA'").count() <= 200));
        assert_eq!(texts(&table(), &scan(vec![filter(1, Op::In, names(5))])).len(), 1);
        assert_eq!(texts(&table(), &scan(vec![filter(1, Op::In, names(500))])), ["WHERE IsDeleted = false"]);
        let none = scan(vec![filter(0, Op::In, vec![FilterValue::Text("no id".into())])]);
        assert!(texts(&table(), &none).is_empty());
        let ordered = Scan {
            filters: vec![filter(0, Op::In, ids(450))],
            order: vec![Order { column: 2, descending: false, nulls_first: false }],
            limit: Some(5),
        };
        assert_eq!(
            texts(&table(), &ordered),
            ["WHERE IsDeleted = false ORDER BY AnnualRevenue ASC NULLS LAST"],
            "an order cannot span several queries"
        );
    }

    #[test]
    fn explain_shows_a_query_even_when_none_is_needed() {
        let plan = Plan::new(&table(), &account(&[])).unwrap();
        let none = Scan { filters: vec![filter(0, Op::Eq, vec![FilterValue::Text("x".into())])], ..Scan::default() };
        let request = first_request(&plan, &none);
        assert_eq!(
            request.query[0].1,
            "SELECT Id,SystemModstamp,IsDeleted,Name,AnnualRevenue FROM Account WHERE Id = null"
        );
    }
}
