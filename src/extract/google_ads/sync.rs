//! Decides what a refresh reads of each account, and which checkpoint it leaves.
//!
//! Each account has a place of its own: the day, by Google's clock in UTC, on which it was read last. A report is read again
//! from the look-back before that day on, so it does not matter in which zone the account lives; an account that is new is
//! read from the start. What has no date is read whole in every run.
//!
//! A checkpoint is `{"cursor", "customers": {"<id>": "2024-01-31"}}`, `cursor` being the earliest of those days. The position
//! of an interrupted first load is the same: accounts and days that were read whole.
//!
//! An account that may not be read is passed over with a note, keeps its place, and takes none of its rows along; when none
//! may be read, the collection fails.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::calls::{self, Answer, Pages};
use super::customers::{passed_over, Customer, Customers};
use super::gaql::{day_of, day_text, Days};
use super::plan::{day_from, Plan};
use crate::error::{Reach, SyncError};
use crate::extract::batch::Batch;
use crate::extract::record::{About, RecordParser};
use crate::extract::sink::Sink;
use crate::extract::time::to_iso_ms;
use crate::extract::{Output, Page, ReadEnd};
use crate::http::ApiClient;
use futures_util::future::join_all;
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;

/// Rows are given in batches of about so many bytes.
const FLUSH_BYTES: usize = 2 << 20;
const DAY_US: i64 = 86_400_000_000;

/// How a refresh reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind<'a> {
    /// Everything, from a position on.
    Full(Option<&'a Value>),
    Changes,
    Keys,
}

/// Reads all tables of a request. Each is a stream of queries of its own; what stops one does not stop the others.
pub async fn read(
    api: &ApiClient,
    outputs: &[Output],
    kind: Kind<'_>,
    customers: &Customers,
    sink: &Sink,
) -> Result<ReadEnd, SyncError> {
    let tables = outputs.iter().enumerate().map(|(index, output)| table(api, index, output, kind, customers, sink));
    let mut end = ReadEnd { notes: customers.notes.clone(), ..ReadEnd::default() };
    for (index, ended) in join_all(tables).await.into_iter().enumerate() {
        let (checkpoint, notes, is_whole) = match ended {
            Ok(read) => read,
            Err(error) if error.reach() == Reach::Server || outputs.len() == 1 => return Err(error),
            Err(error) => {
                end.failed.push((index, error));
                end.checkpoints.push(None);
                continue;
            }
        };
        end.checkpoints.push(checkpoint.filter(|_| kind != Kind::Keys));
        end.notes.extend(notes);
        if !is_whole || !customers.notes.is_empty() {
            end.incomplete.push(index);
        }
    }
    Ok(end)
}

/// The days up to which accounts were read, in a checkpoint or position.
fn places(saved: Option<&Value>) -> BTreeMap<String, i64> {
    let saved = saved.and_then(|saved| saved.get("customers")).and_then(Value::as_object);
    let place = |(id, day): (&String, &Value)| Some((id.clone(), day_from(day.as_str()?)?));
    saved.map(|saved| saved.iter().filter_map(place).collect()).unwrap_or_default()
}

fn saved(places: &BTreeMap<String, i64>, is_report: bool) -> Value {
    let earliest = places.values().min().filter(|_| is_report);
    let days: Map<String, Value> = places.iter().map(|(id, day)| (id.clone(), day_text(*day).into())).collect();
    json!({ "cursor": earliest.map(|day| to_iso_ms(day.saturating_mul(DAY_US))), "customers": days })
}

/// One table on its way.
struct Table<'a> {
    api: &'a ApiClient,
    sink: &'a Sink,
    index: usize,
    plan: Plan,
    parser: RecordParser,
    width: usize,
    about: About<'a>,
    batch: Batch,
    /// Saved with every page of a first load.
    saves: bool,
    places: BTreeMap<String, i64>,
}

type Ended = (Option<Value>, Vec<String>, bool);

async fn table(
    api: &ApiClient,
    index: usize,
    output: &Output,
    kind: Kind<'_>,
    customers: &Customers,
    sink: &Sink,
) -> Result<Ended, SyncError> {
    let plan = Plan::new(output, api.account(), kind == Kind::Keys)?;
    let before = match kind {
        Kind::Full(position) => places(position),
        Kind::Changes => places(output.checkpoint.as_ref()),
        Kind::Keys => BTreeMap::new(),
    };
    let is_listed = |id: &String| customers.list.iter().any(|customer| customer.id == *id);
    let mut table = Table {
        api,
        sink,
        index,
        parser: RecordParser::new(output),
        width: output.columns.len(),
        about: About { key_only: kind == Kind::Keys, ..About::default() },
        batch: Batch::new(output.columns.len()),
        saves: matches!(kind, Kind::Full(_)),
        places: before.clone().into_iter().filter(|(id, _)| is_listed(id)).collect(),
        plan,
    };
    let (mut notes, mut refused, mut read) = (Vec::new(), None, 0);
    for customer in &customers.list {
        match table.customer(customer, before.get(&customer.id).copied()).await {
            Ok(()) => read += 1,
            Err(error @ (SyncError::AccessDenied { .. } | SyncError::NotFound { .. })) => {
                notes.push(format!("{}: {}", output.collection.name, passed_over(&customer.id, &error)));
                refused = match error {
                    SyncError::AccessDenied { .. } => refused.or(Some(error)),
                    _ => refused,
                };
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = refused.filter(|_| read == 0) {
        return Err(error);
    }
    // Clicks of the past outlive the days in which Google tells of them.
    let is_cut = table.plan.report.as_ref().is_some_and(|report| report.is_cut());
    if is_cut && kind == Kind::Keys {
        let name = &output.collection.name;
        notes.push(format!("{name}: its first days cannot be listed any more, so no row was taken for gone"));
    }
    let is_whole = notes.is_empty() && !is_cut;
    Ok((Some(saved(&table.places, table.plan.report.is_some())), notes, is_whole))
}

impl Table<'_> {
    /// Reads an account from where it was left.
    async fn customer(&mut self, customer: &Customer, known: Option<i64>) -> Result<(), SyncError> {
        let windows: Vec<Option<Days>> = match (&self.plan.report, known) {
            (Some(report), known) => {
                let from = known.map_or(i64::MIN, |day| if self.saves { day } else { report.since(day) });
                report.windows(from).into_iter().map(Some).collect()
            }
            // It was read before the interruption.
            (None, Some(_)) if self.saves => return Ok(()),
            (None, _) => vec![None],
        };
        let mut begun: Option<i64> = None;
        for window in windows {
            let first = self.window(customer, window).await?;
            begun = begun.or(first);
            // By a clock that is not Google's nothing is known to be read.
            if let Some(day) = begun.map(day_of).map(|today| window.map_or(today, |days| days.last.min(today))) {
                self.places.insert(customer.id.clone(), day);
            }
            self.give(true).await?;
        }
        Ok(())
    }

    /// Reads the rows of some days; gives when Google began with it.
    async fn window(&mut self, customer: &Customer, days: Option<Days>) -> Result<Option<i64>, SyncError> {
        let mut begun = None;
        let mut left = vec![days];
        while let Some(days) = left.pop() {
            let query = self.plan.query(days);
            match calls::stream(self.api, customer, &query).await {
                Ok(answer) => {
                    begun = begun.or(answer.begun_us);
                    self.rows(&answer).await?;
                }
                // More than we take at once: fewer days, or what cannot be fewer page by page.
                Err(SyncError::TooLarge { .. }) => match days.filter(|days| days.first < days.last) {
                    Some(Days { first, last }) => {
                        let middle = first + (last - first) / 2;
                        left.push(Some(Days { first: middle + 1, last }));
                        left.push(Some(Days { first, last: middle }));
                    }
                    None => {
                        let mut pages = Pages::new(self.api, customer, query);
                        while let Some(answer) = pages.next().await? {
                            begun = begun.or(answer.begun_us);
                            self.rows(&answer).await?;
                        }
                    }
                },
                Err(error) => return Err(error),
            }
        }
        Ok(begun)
    }

    async fn rows(&mut self, answer: &Answer) -> Result<(), SyncError> {
        for row in answer.rows() {
            self.parser.push(&mut self.batch, row, &self.about);
            if self.batch.size() > FLUSH_BYTES {
                self.give(false).await?;
            }
        }
        Ok(())
    }

    /// Gives what there is; `is_whole` when a window is done, which a first load can go on behind.
    async fn give(&mut self, is_whole: bool) -> Result<(), SyncError> {
        let is_empty = self.batch.rows.is_empty() && self.batch.rejected.is_empty();
        let position = (is_whole && self.saves).then(|| saved(&self.places, self.plan.report.is_some()));
        if is_empty && position.is_none() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, Batch::new(self.width));
        let batches = if is_empty { Vec::new() } else { vec![(self.index, batch)] };
        self.sink.page(Page { batches, position }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let days = BTreeMap::from([("1".to_string(), 1), ("2".to_string(), 0)]);
        let report = saved(&days, true);
        assert_eq!(
            report,
            json!({"cursor": "1970-01-01T00:00:00.000Z", "customers": {"1": "1970-01-02", "2": "1970-01-01"}})
        );
        assert_eq!(places(Some(&report)), days);
        assert_eq!(saved(&days, false)["cursor"], Value::Null);
        assert_eq!(places(None), BTreeMap::new());
        assert_eq!(places(Some(&json!({"customers": {"1": "soon"}}))), BTreeMap::new());
    }
}
