//! Decides how a live query is asked: its conditions, order and limit in GAQL, account by account, page by page as the
//! executor wants them.
//!
//! Each account is a query of its own. Without an order they are asked one after the other, so that a query for a few rows
//! stops at the first that has them. With one, all are asked and their rows are put in between each other, each account
//! giving them in that order already. A LIMIT goes to each of them when everything else was said exactly.
//!
//! When Google refuses a condition after all (a constant that its enum does not have, a field that cannot be filtered), the
//! query is made once more without them: Postgres checks every row anyway.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::calls::{self, Pages};
use super::customers::{Customer, Customers};
use super::gaql::{self, Days, Query};
use super::plan::Plan;
use super::push::{say, Ids, Said};
use crate::error::SyncError;
use crate::extract::batch::Batch;
use crate::extract::record::{About, RecordParser};
use crate::extract::rest::raw::{at_path, text_of};
use crate::extract::sink::Sink;
use crate::extract::{Output, Page, Scan};
use crate::http::{ApiClient, Request};
use std::cmp::Ordering;
use std::collections::VecDeque;

/// Rows of one batch where accounts are read in between each other.
const MERGED_ROWS: usize = 10_000;

/// What is asked of each account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Made one after the other; empty when no row can match.
    pub queries: Vec<Query>,
    /// Conditions on the account itself.
    pub ids: Vec<Ids>,
    /// Whether GAQL holds a condition of the user's beside the days.
    pub says_conditions: bool,
}

impl Asked {
    pub fn new(plan: &Plan, output: &Output, scan: &Scan) -> Result<Self, SyncError> {
        let (mut first, mut last) = (i64::MIN, i64::MAX);
        let (mut conditions, mut ids, mut is_exact) = (Vec::new(), Vec::new(), true);
        for filter in &scan.filters {
            let Some(column) = output.columns.get(filter.column) else {
                is_exact = false;
                continue;
            };
            match say(&output.collection, column, filter) {
                Said::Never => return Ok(Asked::default()),
                Said::Nothing => is_exact = false,
                Said::Customers(wanted) => ids.push(wanted),
                Said::Days { first: from, last: to, exact } => {
                    first = first.max(from.unwrap_or(i64::MIN));
                    last = last.min(to.unwrap_or(i64::MAX));
                    is_exact &= exact;
                }
                Said::Condition { gaql, exact } => {
                    conditions.push(gaql);
                    is_exact &= exact;
                }
            }
        }
        let order = scan.order.iter().map(|key| {
            let column = output.columns.get(key.column).ok_or_else(|| SyncError::internal("an order by no column"))?;
            Ok((gaql::name_of(&column.path)?, key.descending))
        });
        let order: Vec<(String, bool)> = order.collect::<Result<_, SyncError>>()?;
        let windows: Vec<Option<Days>> = match &plan.report {
            None => vec![None],
            Some(report) => {
                let whole = report.windows(first);
                let (Some(begin), Some(end)) = (whole.first(), whole.last()) else { return Ok(Asked::default()) };
                let days = report.split(Days { first: begin.first, last: end.last.min(last) });
                // Clicks: the newest day first.
                days.into_iter().rev().map(Some).collect()
            }
        };
        let says_conditions = !conditions.is_empty();
        let query = |days: Option<Days>| {
            let mut query = plan.query(days);
            query.conditions.extend(conditions.iter().cloned());
            query.order = order.clone();
            query.limit = scan.limit.filter(|_| is_exact);
            query
        };
        Ok(Asked { queries: windows.into_iter().map(query).collect(), ids, says_conditions })
    }

    pub fn wants(&self, id: &str) -> bool {
        self.ids.iter().all(|ids| ids.holds(id))
    }
}

/// A live query of one table.
pub struct Live<'a> {
    pub api: &'a ApiClient,
    pub output: &'a Output,
    pub sink: &'a Sink,
    parser: RecordParser,
    has_given: bool,
}

impl<'a> Live<'a> {
    pub fn new(api: &'a ApiClient, output: &'a Output, sink: &'a Sink) -> Self {
        Live { api, output, sink, parser: RecordParser::new(output), has_given: false }
    }

    /// Reads what a query wants; gives what is to be told of it.
    pub async fn read(&mut self, plan: &Plan, scan: &Scan, customers: Customers) -> Result<Vec<String>, SyncError> {
        let asked = Asked::new(plan, self.output, scan)?;
        let mut notes = customers.notes;
        match self.ask(&asked, scan, &customers.list).await {
            Err(SyncError::BadRequest { status: 400, detail, .. }) if asked.says_conditions && !self.has_given => {
                notes.push(format!("Google refused a condition and was asked without: {detail}"));
                let days_only = |filter: &&crate::extract::Filter| {
                    let column = self.output.columns.get(filter.column);
                    let said = column.map(|column| say(&self.output.collection, column, filter));
                    matches!(said, Some(Said::Days { .. } | Said::Customers(_)))
                };
                let filters = scan.filters.iter().filter(days_only).cloned().collect();
                let plain = Scan { filters, order: scan.order.clone(), limit: None };
                let asked = Asked::new(plan, self.output, &plain)?;
                self.ask(&asked, &plain, &customers.list).await?;
            }
            ended => ended?,
        }
        Ok(notes)
    }

    async fn ask(&mut self, asked: &Asked, scan: &Scan, all: &[Customer]) -> Result<(), SyncError> {
        let wanted: Vec<&Customer> = all.iter().filter(|customer| asked.wants(&customer.id)).collect();
        if !scan.order.is_empty() && wanted.len() > 1 {
            return self.merged(asked, scan, &wanted).await;
        }
        // By day first, so that the newest clicks of all accounts come first.
        for query in &asked.queries {
            for customer in &wanted {
                let mut pages = Pages::new(self.api, customer, query.clone());
                while let Some(answer) = next_unless_closed(&mut pages).await? {
                    let mut batch = Batch::new(self.output.columns.len());
                    answer.rows().for_each(|row| self.parser.push(&mut batch, row, &About::default()));
                    self.give(batch).await?;
                }
            }
        }
        Ok(())
    }

    /// Accounts in between each other, by the order that each of them keeps.
    async fn merged(&mut self, asked: &Asked, scan: &Scan, customers: &[&Customer]) -> Result<(), SyncError> {
        for query in &asked.queries {
            let mut streams: Vec<Sorted<'_>> = Vec::new();
            for customer in customers {
                let pages = Pages::new(self.api, customer, query.clone());
                let mut stream = Sorted { pages, rows: VecDeque::new() };
                stream.fill(self.output, scan).await?;
                streams.push(stream);
            }
            let mut batch = Batch::new(self.output.columns.len());
            let mut left = scan.limit.filter(|_| query.limit.is_some()).unwrap_or(u64::MAX);
            while left > 0 {
                let heads = streams.iter().enumerate().filter_map(|(at, stream)| Some((at, &stream.rows.front()?.0)));
                let Some((at, _)) = heads.min_by(|(_, a), (_, b)| compare(scan, a, b)) else { break };
                let Some(stream) = streams.get_mut(at) else { break };
                if let Some((_, row)) = stream.rows.pop_front() {
                    self.parser.push(&mut batch, &row, &About::default());
                    left -= 1;
                }
                if stream.rows.is_empty() {
                    stream.fill(self.output, scan).await?;
                }
                if batch.rows.len() >= MERGED_ROWS {
                    self.give(std::mem::replace(&mut batch, Batch::new(self.output.columns.len()))).await?;
                }
            }
            self.give(batch).await?;
        }
        Ok(())
    }

    async fn give(&mut self, batch: Batch) -> Result<(), SyncError> {
        if batch.rows.is_empty() && batch.rejected.is_empty() {
            return Ok(());
        }
        self.has_given = true;
        self.sink.page(Page { batches: vec![(0, batch)], position: None }).await
    }
}

/// The next page. An account that was closed since it was listed has none; one that may not be read is an error, since
/// the query would miss its rows without a word.
async fn next_unless_closed(pages: &mut Pages<'_>) -> Result<Option<calls::Answer>, SyncError> {
    match pages.next().await {
        Err(SyncError::NotFound { .. }) => Ok(None),
        answer => answer,
    }
}

/// What a row is sorted by; `None` is null.
type Key = Vec<Option<Part>>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(i64),
    /// A day, which sorts as text.
    Text(String),
}

/// One account's rows, in the order of the query.
struct Sorted<'a> {
    pages: Pages<'a>,
    rows: VecDeque<(Key, String)>,
}

impl Sorted<'_> {
    /// Reads on until there is a row, or no more.
    async fn fill(&mut self, output: &Output, scan: &Scan) -> Result<(), SyncError> {
        while self.rows.is_empty() && !self.pages.is_done() {
            let Some(answer) = next_unless_closed(&mut self.pages).await? else { return Ok(()) };
            self.rows.extend(answer.rows().map(|row| (key_of(output, scan, row), row.to_string())));
        }
        Ok(())
    }
}

fn key_of(output: &Output, scan: &Scan, row: &str) -> Key {
    let part = |index: usize| {
        let text = text_of(at_path(row, &output.columns.get(index)?.path)?)?;
        Some(text.parse().map_or_else(|_| Part::Text(text.to_string()), Part::Number))
    };
    scan.order.iter().map(|key| part(key.column)).collect()
}

fn compare(scan: &Scan, a: &Key, b: &Key) -> Ordering {
    for ((a, b), order) in a.iter().zip(b).zip(&scan.order) {
        let found = match (a, b) {
            (Some(a), Some(b)) if order.descending => b.cmp(a),
            (Some(a), Some(b)) => a.cmp(b),
            (None, None) => Ordering::Equal,
            (None, Some(_)) if order.nulls_first => Ordering::Less,
            (Some(_), None) if !order.nulls_first => Ordering::Less,
            _ => Ordering::Greater,
        };
        if found != Ordering::Equal {
            return found;
        }
    }
    Ordering::Equal
}

/// What EXPLAIN shows: the query to the first account that the options name. A scan that needs no call shows the one for
/// no row at all.
pub fn first_request(
    plan: &Plan,
    output: &Output,
    scan: &Scan,
    named: Option<Vec<Customer>>,
) -> Result<Request, SyncError> {
    let asked = Asked::new(plan, output, scan)?;
    let nobody = || Customer { id: "{customer_id}".to_string(), login: None };
    let customer = named.and_then(|all| all.into_iter().find(|one| asked.wants(&one.id))).unwrap_or_else(nobody);
    let query = asked.queries.into_iter().next().unwrap_or_else(|| plan.query(None));
    Ok(calls::request(&customer, &query, false, None))
}

#[cfg(test)]
mod tests {
    use super::super::plan::Today;
    use super::super::testing::{account, output};
    use super::*;
    use crate::extract::{Filter, FilterValue, Op, Order};

    /// 2026-01-10, 12:00 UTC.
    const NOON: i64 = 1_768_046_400_000_000;

    fn texts(collection: &str, columns: &[&str], scan: &Scan) -> Vec<String> {
        let output = output(collection, columns);
        let plan = Plan::on(&output, &account(&[]), false, Today::at(NOON)).unwrap();
        let asked = Asked::new(&plan, &output, scan).unwrap();
        let tail = |query: &Query| {
            let text = query.text();
            let (_, tail) = text.split_once(&format!(" FROM {}", plan.from)).unwrap();
            tail.replace(" PARAMETERS omit_unselected_resource_names = true", "").trim().to_string()
        };
        asked.queries.iter().map(tail).collect()
    }

    fn filter(column: usize, op: Op, value: FilterValue) -> Filter {
        Filter { column, op, values: vec![value] }
    }

    #[test]
    fn a_limit_goes_along_when_everything_was_said_exactly() {
        let by_id = Order { column: 0, descending: true, nulls_first: true };
        for (name, filters, order, limit, want) in [
            ("everything", vec![], vec![], None, ""),
            ("a few", vec![], vec![], Some(3), "LIMIT 3"),
            (
                "exact, ordered, limited",
                vec![filter(1, Op::Eq, FilterValue::Text("x".into()))],
                vec![by_id],
                Some(3),
                "WHERE campaign.name = 'x' ORDER BY campaign.id DESC LIMIT 3",
            ),
            (
                "not exact",
                vec![filter(1, Op::Like, FilterValue::Text("x%".into()))],
                vec![],
                Some(3),
                "WHERE campaign.name LIKE 'x%'",
            ),
            ("not said", vec![filter(1, Op::Lt, FilterValue::Text("x".into()))], vec![], Some(3), ""),
        ] {
            assert_eq!(texts("campaigns", &["id", "name"], &Scan { filters, order, limit }), [want], "{name}");
        }
    }

    #[test]
    fn a_report_is_asked_for_the_days_that_the_query_names() {
        let ask = |filters: Vec<Filter>| {
            texts("campaign_performance_report", &["date_start", "clicks"], &Scan { filters, ..Scan::default() })
        };
        let day = |text: &str| FilterValue::Date(super::super::plan::day_from(text).unwrap() as i32);
        assert_eq!(ask(vec![]), ["WHERE segments.date BETWEEN '2000-01-01' AND '2026-01-11'"]);
        let january = vec![filter(0, Op::Ge, day("2026-01-01")), filter(0, Op::Lt, day("2026-01-05"))];
        assert_eq!(ask(january), ["WHERE segments.date BETWEEN '2026-01-01' AND '2026-01-04'"]);
        assert_eq!(ask(vec![filter(0, Op::Gt, day("2026-02-01"))]), [""; 0], "no such day yet: no call");
        let nothing = vec![filter(0, Op::Gt, day("2026-01-05")), filter(0, Op::Lt, day("2026-01-05"))];
        assert_eq!(ask(nothing), [""; 0]);
    }

    #[test]
    fn clicks_are_asked_for_from_the_newest_day_back() {
        let ask = |filters: Vec<Filter>, limit: Option<u64>| {
            texts("click_performance_report", &["gcl_id", "date_start"], &Scan { filters, limit, ..Scan::default() })
        };
        let all = ask(vec![], Some(1));
        assert_eq!((all.len(), all[0].as_str()), (90, "WHERE segments.date = '2026-01-10' LIMIT 1"));
        let since = FilterValue::Date(super::super::plan::day_from("2026-01-09").unwrap() as i32);
        assert_eq!(ask(vec![filter(1, Op::Ge, since)], None).len(), 2);
    }

    #[test]
    fn rows_of_accounts_are_put_in_order() {
        let output = output("campaign_performance_report", &["date_start", "clicks"]);
        let order = |column, descending| Order { column, descending, nulls_first: descending };
        let scan = Scan { order: vec![order(0, false), order(1, true)], ..Scan::default() };
        let key = |day: &str, clicks: &str| {
            key_of(&output, &scan, &format!(r#"{{"segments":{{"date":"{day}"}},"metrics":{{"clicks":"{clicks}"}}}}"#))
        };
        assert_eq!(compare(&scan, &key("2026-01-01", "1"), &key("2026-01-02", "1")), Ordering::Less);
        assert_eq!(compare(&scan, &key("2026-01-01", "9"), &key("2026-01-01", "10")), Ordering::Greater, "numbers");
        let without = key_of(&output, &scan, r#"{"segments":{"date":"2026-01-01"}}"#);
        assert_eq!(compare(&scan, &without, &key("2026-01-01", "1")), Ordering::Less, "nulls first");
    }
}
