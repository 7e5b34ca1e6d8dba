//! Answers a live query, and tries whether a collection may be read.
//!
//! Decides which conditions Facebook is told: ad accounts, ids of an object and of what is above it, the time of change, the
//! status, and days. Figures are read from the newest days back, a window whenever somebody wants more rows; nobody
//! waits here for a report run.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::accounts::{self, AdAccount};
use super::insights::{day_of, floor, names_of, How, Window};
use super::listing::{all_fields, below, fields_of, is_id, names, of_days, one_of, statuses, with_statuses};
use super::objects::LEVELS;
use super::words::{about, is_too_much};
use super::{is_figures, runs, ACCOUNTS};
use crate::error::SyncError;
use crate::extract::rest::names::Names;
use crate::extract::rest::request::{now_us, request_with, widest};
use crate::extract::rest::tables::{Stamp, Tables};
use crate::extract::rest::walk::{Part, Walk};
use crate::extract::rest::windows::start_of;
use crate::extract::sink::Sink;
use crate::extract::{FilterValue, Op, OutColumn, Output, Pushed, ReadEnd, Scan};
use crate::http::{Account, ApiClient, Request};
use crate::manifest::{Collection, Pages};
use chrono::{Days, NaiveDate};
use serde_json::Value;

/// Days of figures that are asked for at once.
const DAYS: u64 = 30;
/// More ids in a condition, and Postgres alone looks at it.
const MOST_IDS: usize = 50;

/// What a column is to Facebook's filters.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Filtered {
    Account,
    /// The id of an object of that kind.
    Id(&'static str),
    Updated,
    Status,
    Day,
}

fn filtered(collection: &Collection, path: &[String]) -> Option<Filtered> {
    let [field] = path else { return None };
    let rank = LEVELS.iter().position(|(name, _)| *name == collection.name);
    // The id of a row of figures is made here.
    let rank = if is_figures(collection) { Some(LEVELS.len()) } else { rank };
    let level = |at: usize| LEVELS.get(at).map(|(_, level)| Filtered::Id(level));
    match (field.as_str(), rank) {
        ("account_id", _) | ("id", None) => Some(Filtered::Account),
        ("id", Some(rank)) => level(rank),
        ("campaign_id", Some(rank)) if rank > 0 => level(0),
        ("adset_id", Some(rank)) if rank > 1 => level(1),
        ("ad_id", Some(rank)) if rank > 2 => level(2),
        ("updated_time", Some(rank)) if rank < LEVELS.len() => Some(Filtered::Updated),
        ("effective_status", Some(rank)) if rank < LEVELS.len() => Some(Filtered::Status),
        ("date_start", Some(rank)) if rank == LEVELS.len() => Some(Filtered::Day),
        _ => None,
    }
}

/// How well Facebook reads a condition on a column: exactly or more, never less; Postgres looks again.
pub fn pushable(collection: &Collection, column: &OutColumn, op: Op) -> Pushed {
    let reads = match filtered(collection, &column.path) {
        Some(Filtered::Account | Filtered::Id(_) | Filtered::Status) => matches!(op, Op::Eq | Op::In),
        Some(Filtered::Updated) => matches!(op, Op::Eq | Op::Ge | Op::Gt),
        Some(Filtered::Day) => matches!(op, Op::Eq | Op::Ge | Op::Gt | Op::Le | Op::Lt),
        None => false,
    };
    if reads {
        Pushed::Superset
    } else {
        Pushed::No
    }
}

/// What a query asks of Facebook.
#[derive(Debug, Default)]
struct Asked {
    /// No record can be meant.
    is_nothing: bool,
    accounts: Option<Vec<String>>,
    conditions: Vec<Value>,
    from: Option<i64>,
    statuses: Option<Vec<String>>,
    since: Option<NaiveDate>,
    until: Option<NaiveDate>,
}

impl Asked {
    fn of(output: &Output, scan: &Scan) -> Self {
        let mut asked = Asked::default();
        for filter in &scan.filters {
            let column = output.columns.get(filter.column);
            let Some(what) = column.and_then(|column| filtered(&output.collection, &column.path)) else { continue };
            let texts = || filter.values.iter().filter_map(text).collect::<Vec<String>>();
            match (what, filter.op) {
                (Filtered::Account, Op::Eq | Op::In) => {
                    let ids = texts().into_iter().map(|id| id.trim_start_matches("act_").to_string());
                    asked.only_accounts(ids.filter(|id| is_id(id)).collect());
                }
                (Filtered::Id(level), Op::Eq | Op::In) => {
                    let ids: Vec<String> = texts().into_iter().filter(|id| is_id(id)).collect();
                    asked.is_nothing |= ids.is_empty();
                    if ids.len() <= MOST_IDS {
                        asked.conditions.push(one_of(level, &ids));
                    }
                }
                (Filtered::Status, Op::Eq | Op::In) => {
                    let known = statuses(&output.collection);
                    let wanted: Vec<String> = texts().into_iter().filter(|status| known.contains(status)).collect();
                    asked.is_nothing |= wanted.is_empty();
                    asked.statuses = Some(wanted);
                }
                (Filtered::Updated, Op::Eq | Op::Ge | Op::Gt) => {
                    let earliest = filter.values.iter().filter_map(instant).min();
                    asked.from = asked.from.max(earliest);
                }
                (Filtered::Day, op) => asked.day(op, filter.values.first()),
                _ => {}
            }
        }
        asked
    }

    fn only_accounts(&mut self, ids: Vec<String>) {
        let known = self.accounts.take();
        let ids: Vec<String> =
            ids.into_iter().filter(|id| known.as_ref().is_none_or(|known| known.contains(id))).collect();
        self.is_nothing |= ids.is_empty();
        self.accounts = Some(ids);
    }

    fn day(&mut self, op: Op, value: Option<&FilterValue>) {
        let Some(FilterValue::Date(days)) = value else { return };
        let Some(day) = chrono::DateTime::from_timestamp(i64::from(*days) * 86_400, 0) else { return };
        let day = day.date_naive();
        if matches!(op, Op::Eq | Op::Ge | Op::Gt) {
            self.since = self.since.max(Some(day));
        }
        if matches!(op, Op::Eq | Op::Le | Op::Lt) {
            self.until = Some(self.until.map_or(day, |known| known.min(day)));
        }
    }

    /// The ad accounts that are named, by the query or by the owner.
    fn named(&self, account: &Account) -> Option<Vec<AdAccount>> {
        let of_owner = accounts::named(account);
        let ids = match (&self.accounts, of_owner) {
            (Some(ids), Some(allowed)) => ids.iter().filter(|id| allowed.contains(id)).cloned().collect(),
            (Some(ids), None) => ids.clone(),
            (None, Some(allowed)) => allowed,
            (None, None) => return None,
        };
        Some(ids.into_iter().map(|id| AdAccount { id, zone: None }).collect())
    }
}

fn text(value: &FilterValue) -> Option<String> {
    match value {
        FilterValue::Text(text) | FilterValue::Number(text) => Some(text.clone()),
        FilterValue::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

fn instant(value: &FilterValue) -> Option<i64> {
    match value {
        FilterValue::Timestamp(at) => Some((*at).max(0)),
        _ => None,
    }
}

/// The listing of objects that a query asks for.
fn objects(collection: &Collection, asked: &Asked) -> Collection {
    let listing = below(collection, &asked.conditions);
    // A deleted object is no row of a live query that does not ask for such.
    with_statuses(listing, |status| match &asked.statuses {
        Some(wanted) => wanted.iter().any(|known| known == status),
        None => status != "DELETED",
    })
}

/// The listing for no more than so many records at once.
fn limited(mut listing: Collection, limit: Option<u64>) -> Collection {
    if let (Some(Pages::NextUrl { size: Some(size), .. }), Some(limit)) = (&mut listing.pages, limit) {
        *size = u32::try_from(limit.clamp(1, u64::from(*size))).unwrap_or(*size);
    }
    listing
}

/// Windows of days, the newest first.
fn windows(since: NaiveDate, until: NaiveDate) -> Vec<Window> {
    let (mut found, mut to) = (Vec::new(), until);
    while since <= to {
        let from = since.max(to - Days::new(DAYS - 1));
        found.push(Window { since: from, until: to, how: How::AtOnce });
        to = from - Days::new(1);
    }
    found
}

/// The days that a query is about in one ad account.
fn days(asked: &Asked, account: &AdAccount, start: Option<NaiveDate>, now_us: i64) -> Vec<Window> {
    let earliest = start.unwrap_or_default().max(floor(account, now_us));
    let (last, since) = (account.latest_day(now_us), asked.since.unwrap_or_default().max(earliest));
    windows(since, asked.until.unwrap_or(last).min(last))
}

/// The first call of a query; nothing is sent.
pub fn first_request(account: &Account, output: &Output, scan: &Scan) -> Result<Request, SyncError> {
    let asked = Asked::of(output, scan);
    let collection = &output.collection;
    let named = asked.named(account);
    if asked.is_nothing || named.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Request::default());
    }
    let fields = fields_of(output);
    let first = named.and_then(|named| named.into_iter().next());
    let (listing, names) = match first {
        Some(first) if collection.name == ACCOUNTS => {
            (accounts::one(&accounts::collection(account)?, &first.id), of_fields(fields))
        }
        Some(first) if is_figures(collection) => {
            let window = days(&asked, &first, None, now_us()).into_iter().next();
            let Some(window) = window else { return Ok(Request::default()) };
            (of_days(collection, &asked.conditions), names_of(&first.id, &fields, &window))
        }
        Some(first) => {
            let listing = objects(collection, &asked);
            let mut names = names(&first.id, &fields);
            if let Some(cursor) = &listing.cursor {
                if let Some(from) = asked.from {
                    names.set_bound("cursor", cursor, from, false);
                }
                widest(&listing, cursor, &mut names);
            }
            (listing, names)
        }
        None => {
            let fields = if collection.name == ACCOUNTS { fields } else { accounts::least_fields() };
            (accounts::collection(account)?, of_fields(fields))
        }
    };
    request_with(account, &limited(listing, scan.limit), &[], &names, None)
}

fn of_fields(fields: Vec<String>) -> Names {
    let mut names = Names::default();
    names.set_list("fields", fields);
    names
}

/// A live query at work.
struct Query<'a> {
    api: &'a ApiClient,
    output: &'a Output,
    tables: Tables<'a>,
    sink: &'a Sink,
    asked: Asked,
    /// Rows that are still wanted, where nobody else leaves any out.
    left: Option<u64>,
}

/// Reads what a query needs, page by page as it is wanted.
pub async fn read(api: &ApiClient, output: &Output, scan: &Scan, sink: &Sink) -> Result<ReadEnd, SyncError> {
    let tables = Tables::new(api.account(), std::slice::from_ref(output), false);
    let mut query = Query { api, output, tables, sink, asked: Asked::of(output, scan), left: scan.limit };
    sink.until_room().await?;
    if !query.asked.is_nothing {
        query.read().await?;
    }
    Ok(ReadEnd { notes: std::mem::take(&mut query.tables.notes), ..ReadEnd::default() })
}

impl Query<'_> {
    async fn read(&mut self) -> Result<(), SyncError> {
        let account = self.api.account();
        let (named, fields) = (self.asked.named(account), fields_of(self.output));
        if self.output.collection.name == ACCOUNTS {
            let base = accounts::collection(account)?;
            let Some(named) = named else { return self.pages(base, of_fields(fields), None).await };
            for one in named {
                self.pages(accounts::one(&base, &one.id), of_fields(fields.clone()), None).await?;
            }
            return Ok(());
        }
        let (all, now_us) = match named {
            Some(named) => (named, now_us()),
            None => {
                let found = accounts::of_query(self.api, None).await?;
                let now_us = found.now_us();
                (found.all, now_us)
            }
        };
        for one in all {
            if self.left == Some(0) {
                return Ok(());
            }
            let result = match is_figures(&self.output.collection) {
                true => self.figures(&one, &fields, now_us).await,
                false => {
                    let listing = objects(&self.output.collection, &self.asked);
                    self.pages(listing, names(&one.id, &fields), self.asked.from).await
                }
            };
            result.map_err(|error| about(&one.id, error))?;
        }
        Ok(())
    }

    async fn figures(&mut self, account: &AdAccount, fields: &[String], now_us: i64) -> Result<(), SyncError> {
        let start = match &self.output.collection.cursor {
            Some(cursor) => start_of(self.api.account(), cursor)?.map(day_of),
            None => None,
        };
        let listing = of_days(&self.output.collection, &self.asked.conditions);
        let mut windows = days(&self.asked, account, start, now_us);
        windows.reverse();
        while let Some(window) = windows.pop() {
            let names = names_of(&account.id, fields, &window);
            let own = match window.how {
                How::AtOnce => runs::at_once(&limited(listing.clone(), self.left)),
                _ => listing.clone(),
            };
            match self.pages(own, names, None).await {
                // What was given already would come twice: only the first page of a window can be too much.
                Err(error) if is_too_much(&error) && window.how == How::AtOnce => match window.days() {
                    1 => windows.push(Window { how: How::InSmallPages, ..window }),
                    _ => windows.extend(window.halves()),
                },
                ended => ended?,
            }
            if self.left == Some(0) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Gives the rows of a listing until enough are there.
    async fn pages(&mut self, listing: Collection, names: Names, from: Option<i64>) -> Result<(), SyncError> {
        let listing = limited(listing, self.left);
        let mut walk = Walk::new(self.api, &listing, &[], Part { from, names, ..Part::default() })?;
        let is_named = self.asked.accounts.is_some();
        let mut is_first = true;
        loop {
            let page = match walk.next_page().await {
                // An ad account that the query alone named.
                Err(SyncError::NotFound { .. }) if is_named && is_first => return Ok(()),
                Err(error) if is_too_much(&error) && !is_first => {
                    let what = "a window of figures whose later pages are refused".to_string();
                    return Err(SyncError::TooLarge { what, limit: self.tables.row_count() as u64 });
                }
                page => page?,
            };
            let Some(page) = page else { return Ok(()) };
            is_first = false;
            page.records().for_each(|raw| self.tables.own(0, raw, Stamp::default()));
            let rows = self.tables.row_count() as u64;
            self.sink.page(self.tables.page(None)).await?;
            self.left = self.left.map(|left| left.saturating_sub(rows));
            if self.left == Some(0) {
                return Ok(());
            }
        }
    }
}

/// Reads one record of a collection, with all its fields.
pub async fn check(api: &ApiClient, collection: &Collection) -> Result<(), SyncError> {
    if let Some(reason) = &collection.unsupported {
        return Err(SyncError::Unsupported { reason: reason.clone() });
    }
    let account = api.account();
    let named = Asked::default().named(account);
    if collection.name == ACCOUNTS {
        let base = accounts::collection(account)?;
        let base =
            named.and_then(|named| named.into_iter().next()).map_or(base.clone(), |one| accounts::one(&base, &one.id));
        return once(api, base, of_fields(accounts::least_fields())).await;
    }
    let (all, now_us) = match named {
        Some(named) => (named, now_us()),
        None => {
            let found = accounts::of_query(api, Some(1)).await?;
            let now_us = found.now_us();
            (found.all, now_us)
        }
    };
    let Some(first) = all.into_iter().next() else { return Ok(()) };
    let fields = all_fields(collection);
    let tried = match is_figures(collection) {
        true => {
            let today = first.certain_day(now_us);
            let window = Window { since: today, until: today, how: How::AtOnce };
            once(api, of_days(collection, &[]), names_of(&first.id, &fields, &window)).await
        }
        false => once(api, below(collection, &[]), names(&first.id, &fields)).await,
    };
    tried.map_err(|error| about(&first.id, error))
}

async fn once(api: &ApiClient, listing: Collection, names: Names) -> Result<(), SyncError> {
    let listing = limited(listing, Some(1));
    Walk::new(api, &listing, &[], Part { names, ..Part::default() })?.next_page().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn the_newest_days_come_first() {
        let got: Vec<_> =
            windows(day("2025-11-15"), day("2026-01-20")).iter().map(|w| (w.since.to_string(), w.days())).collect();
        let want = [("2025-12-22", 30), ("2025-11-22", 30), ("2025-11-15", 7)];
        assert_eq!(got, want.map(|(since, days)| (since.to_string(), days)));
        assert!(windows(day("2026-01-02"), day("2026-01-01")).is_empty());
    }

    #[test]
    fn columns_that_facebook_filters_by() {
        let source = crate::manifest::load::source("facebook_ads").unwrap();
        for (collection, field, op, want) in [
            ("ads", "id", Op::Eq, true),
            ("ads", "adset_id", Op::In, true),
            ("ads", "campaign_id", Op::Eq, true),
            ("ads", "name", Op::Eq, false),
            ("ads", "updated_time", Op::Ge, true),
            ("ads", "updated_time", Op::Le, false),
            ("ad_sets", "effective_status", Op::Eq, true),
            ("ad_sets", "adset_id", Op::Eq, false),
            ("campaigns", "campaign_id", Op::Eq, false),
            ("ad_accounts", "id", Op::Eq, true),
            ("ad_accounts", "name", Op::Eq, false),
            ("insights", "ad_id", Op::Eq, true),
            ("insights", "date_start", Op::Lt, true),
            ("insights", "date_start", Op::Ne, false),
            ("insights", "id", Op::Eq, false),
        ] {
            let collection = source.collection(collection).unwrap();
            let column = OutColumn {
                name: field.into(),
                path: vec![field.into()],
                target: crate::extract::Target::Text,
                format: crate::manifest::Format::Auto,
            };
            assert_eq!(pushable(collection, &column, op) == Pushed::Superset, want, "{} {field}", collection.name);
        }
    }
}
