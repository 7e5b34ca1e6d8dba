//! Reads the figures of ads by day.
//!
//! Decides which days are asked for, and how. Figures change for 28 days after they are first told, so every run reads
//! those days again. Few days are asked for at once; many by report runs (`runs.rs`). What is too much for Facebook is asked
//! for in smaller parts: at once, by a run, by two runs of half the days, and in the end a day in ever smaller pages.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::accounts::{Accounts, AdAccount};
use super::listing::{fields_of, names, of_days};
use super::place::Known;
use super::words::{about, is_overloaded, is_too_early, is_too_much};
use super::{overlap_of, runs, Run};
use crate::error::SyncError;
use crate::extract::rest::names::Names;
use crate::extract::rest::request::request_with;
use crate::extract::rest::walk::{Part, Walk};
use crate::extract::rest::windows::start_of;
use crate::extract::time::{parse_iso, to_iso_ms};
use chrono::{Days, Months, NaiveDate};
use serde_json::{json, Map, Value};
use std::collections::{BTreeMap, VecDeque};

/// Facebook keeps no older figures (error 3018).
const KEPT_MONTHS: u32 = 37;
/// So many days are asked for at once; more by runs.
const DAYS_AT_ONCE: i64 = 35;
/// Days of one run.
const DAYS_OF_A_RUN: i64 = 90;

/// How days are asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    AtOnce,
    ByRun,
    /// At once, in pages that are halved while they are too much.
    InSmallPages,
}

/// Days to read, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub since: NaiveDate,
    pub until: NaiveDate,
    pub how: How,
}

/// Why days were not read.
pub enum Miss {
    /// Less has to be asked for.
    TooMuch(String),
    Error(SyncError),
}

impl From<SyncError> for Miss {
    fn from(error: SyncError) -> Self {
        Miss::Error(error)
    }
}

impl Window {
    pub fn days(&self) -> i64 {
        (self.until - self.since).num_days() + 1
    }

    /// What to ask for instead when it is too much; nothing when it cannot be less.
    pub fn smaller(&self) -> Vec<Window> {
        match self.how {
            How::AtOnce => vec![Window { how: How::ByRun, ..*self }],
            How::ByRun if self.days() > 1 => self.halves().to_vec(),
            How::ByRun => vec![Window { how: How::InSmallPages, ..*self }],
            How::InSmallPages => Vec::new(),
        }
    }

    pub fn halves(&self) -> [Window; 2] {
        let middle = self.since + Days::new((self.days() / 2 - 1).max(0).unsigned_abs());
        [Window { until: middle, ..*self }, Window { since: middle + Days::new(1), ..*self }]
    }
}

/// The earliest day that may be asked for.
pub fn floor(account: &AdAccount, now_us: i64) -> NaiveDate {
    let today = account.latest_day(now_us);
    today.checked_sub_months(Months::new(KEPT_MONTHS)).unwrap_or(today)
}

/// Days in parts that are asked for one by one, the oldest first.
pub fn windows(since: NaiveDate, until: NaiveDate) -> VecDeque<Window> {
    let mut found = VecDeque::new();
    let mut from = since;
    while from <= until {
        let left = (until - from).num_days() + 1;
        let how = if left <= DAYS_AT_ONCE { How::AtOnce } else { How::ByRun };
        let to = from + Days::new((left.min(DAYS_OF_A_RUN) - 1).unsigned_abs());
        found.push_back(Window { since: from, until: to, how });
        from = to + Days::new(1);
    }
    found
}

pub fn day_of(micros: i64) -> NaiveDate {
    chrono::DateTime::from_timestamp_micros(micros).map(|at| at.date_naive()).unwrap_or_default()
}

fn micros_of(day: NaiveDate) -> i64 {
    day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros()
}

/// A run that was ordered, and the days it is for.
#[derive(Clone, Debug, PartialEq)]
struct Ordered {
    account: String,
    since: NaiveDate,
    until: NaiveDate,
    id: String,
}

/// Where an interrupted load goes on.
#[derive(Clone, Debug, Default, PartialEq)]
struct Place {
    upper: Option<i64>,
    /// The next day of each ad account.
    next: BTreeMap<String, NaiveDate>,
    ordered: Option<Ordered>,
}

impl Place {
    fn of(position: Option<&Value>) -> Self {
        let Some(position) = position else { return Place::default() };
        let next = position.get("next").and_then(Value::as_object).into_iter().flatten();
        let run = position.get("run");
        let text = |name: &str| run.and_then(|run| run.get(name)).and_then(Value::as_str);
        let ordered = || {
            Some(Ordered {
                account: text("account")?.to_string(),
                since: text("since")?.parse().ok()?,
                until: text("until")?.parse().ok()?,
                id: text("id").filter(|id| super::listing::is_id(id))?.to_string(),
            })
        };
        Place {
            upper: position.get("upper").and_then(Value::as_str).and_then(parse_iso),
            next: next.filter_map(|(id, day)| Some((id.clone(), day.as_str()?.parse().ok()?))).collect(),
            ordered: ordered(),
        }
    }

    fn position(&self) -> Value {
        let next: Map<String, Value> = self.next.iter().map(|(id, day)| (id.clone(), day.to_string().into())).collect();
        let run = self.ordered.as_ref().map(|run| {
            json!({ "account": run.account, "since": run.since.to_string(), "until": run.until.to_string(), "id": run.id })
        });
        json!({ "upper": self.upper.map(to_iso_ms), "next": next, "run": run })
    }
}

/// Reads the days that matter of every ad account.
pub async fn read(
    run: &mut Run<'_>,
    index: usize,
    accounts: &Accounts,
    resume: Option<&Value>,
    is_incremental: bool,
) -> Result<(), SyncError> {
    let output = run.output(index)?;
    let mut known = Known::of(output.checkpoint.as_ref().filter(|_| is_incremental));
    let mut place = Place::of(resume);
    // An interrupted load goes on to the day on which it began: the next run reads on from there.
    let now_us = place.upper.unwrap_or_else(|| accounts.now_us());
    place.upper = Some(now_us);
    let start = match &output.collection.cursor {
        Some(cursor) => start_of(run.api.account(), cursor)?.map(day_of),
        None => None,
    };
    for account in &accounts.all {
        if run.has_failed(index) {
            return Ok(());
        }
        let last = account.latest_day(now_us);
        let again = known.at.get(&account.id).map(|at| day_of(at.saturating_sub(overlap_of(&output.collection))));
        let first = again.or(start).unwrap_or_default().max(floor(account, now_us));
        let first = place.next.get(&account.id).map_or(first, |next| first.max(*next));
        if let Err(error) = days(run, index, account, windows(first, last), &mut place).await {
            run.fail(index, about(&account.id, error))?;
        }
        known.at.insert(account.id.clone(), micros_of(account.certain_day(now_us)));
    }
    run.set_checkpoint(index, known.checkpoint(Some(now_us)));
    Ok(())
}

/// Reads windows of days, in smaller parts where that is needed.
async fn days(
    run: &mut Run<'_>,
    index: usize,
    account: &AdAccount,
    mut windows: VecDeque<Window>,
    place: &mut Place,
) -> Result<(), SyncError> {
    while let Some(window) = windows.pop_front() {
        match one(run, index, account, &window, place).await {
            Ok(()) => {
                place.ordered = None;
                place.next.insert(account.id.clone(), window.until + Days::new(1));
                run.give(Some(place.position())).await?;
            }
            Err(Miss::Error(error)) if is_too_early(&error) && window.days() > 1 => {
                windows.push_front(Window { since: window.since + Days::new(1), ..window });
            }
            Err(Miss::TooMuch(why)) => {
                place.ordered = None;
                let smaller = window.smaller();
                if smaller.is_empty() {
                    return Err(SyncError::internal("a day in small pages cannot be less"));
                }
                if window.how == How::ByRun {
                    run.tables.note(&format!("report runs were asked for in smaller parts ({why})"));
                }
                smaller.into_iter().rev().for_each(|part| windows.push_front(part));
            }
            Err(Miss::Error(error)) => return Err(error),
        }
    }
    Ok(())
}

/// The names of a request for days.
pub fn names_of(account: &str, fields: &[String], window: &Window) -> Names {
    let mut names = names(account, fields);
    names.set("cursor", window.since.to_string());
    names.set("upper", window.until.to_string());
    names
}

/// Reads one window as it says.
async fn one(
    run: &mut Run<'_>,
    index: usize,
    account: &AdAccount,
    window: &Window,
    place: &mut Place,
) -> Result<(), Miss> {
    let output = run.output(index)?;
    let listing = of_days(&output.collection, &[]);
    let names = names_of(&account.id, &fields_of(output), window);
    let listing = match window.how {
        How::InSmallPages => listing,
        How::AtOnce => runs::at_once(&listing),
        How::ByRun => {
            let id = match place.ordered.take().filter(|run| is_for(run, account, window)) {
                Some(saved) => saved.id,
                None => runs::order(run.api, request_with(run.api.account(), &listing, &[], &names, None)?).await?,
            };
            let (since, until) = (window.since, window.until);
            place.ordered = Some(Ordered { account: account.id.clone(), since, until, id: id.clone() });
            // Saved before the wait: a load that is stopped meanwhile goes on with this run.
            run.give(Some(place.position())).await?;
            runs::wait(run.api, &id).await?;
            runs::rows(&listing, &id)
        }
    };
    let mut walk = Walk::new(run.api, &listing, &[], Part { names, ..Part::default() })?;
    loop {
        let page = match walk.next_page().await {
            Err(error) if window.how != How::InSmallPages && (is_too_much(&error) || is_overloaded(&error)) => {
                return Err(Miss::TooMuch(words_of(&error)));
            }
            page => page?,
        };
        let Some(page) = page else { return Ok(()) };
        page.records().for_each(|raw| run.add(index, raw));
        run.give(None).await?;
    }
}

fn is_for(run: &Ordered, account: &AdAccount, window: &Window) -> bool {
    (run.account.as_str(), run.since, run.until) == (account.id.as_str(), window.since, window.until)
}

fn words_of(error: &SyncError) -> String {
    match error {
        SyncError::BadRequest { detail, .. } | SyncError::Unavailable { detail, .. } => detail.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn windows_cover_all_days_once() {
        for (since, until, want) in [
            ("2026-01-01", "2026-01-01", vec![("2026-01-01", "2026-01-01", How::AtOnce)]),
            ("2026-01-01", "2026-02-04", vec![("2026-01-01", "2026-02-04", How::AtOnce)]),
            ("2026-01-01", "2026-02-05", vec![("2026-01-01", "2026-02-05", How::ByRun)]),
            (
                "2026-01-01",
                "2026-04-15",
                vec![("2026-01-01", "2026-03-31", How::ByRun), ("2026-04-01", "2026-04-15", How::AtOnce)],
            ),
            ("2026-01-02", "2026-01-01", vec![]),
        ] {
            let got: Vec<_> = windows(day(since), day(until)).into_iter().collect();
            let want: Vec<_> = want
                .into_iter()
                .map(|(since, until, how)| Window { since: day(since), until: day(until), how })
                .collect();
            assert_eq!(got, want, "{since} {until}");
        }
        let all = windows(day("2022-12-01"), day("2026-01-01"));
        assert_eq!(all.iter().map(Window::days).sum::<i64>(), 1128);
        assert!(all.iter().zip(all.iter().skip(1)).all(|(one, next)| one.until + Days::new(1) == next.since));
    }

    #[test]
    fn what_is_too_much_becomes_less_until_a_day() {
        let mut windows =
            VecDeque::from([Window { since: day("2026-01-01"), until: day("2026-01-05"), how: How::AtOnce }]);
        let mut ends = Vec::new();
        let mut tries = 0;
        while let Some(window) = windows.pop_front() {
            tries += 1;
            let smaller = window.smaller();
            if smaller.is_empty() {
                ends.push((window.since, window.until, window.how));
            }
            smaller.into_iter().rev().for_each(|part| windows.push_front(part));
        }
        let want: Vec<_> = (1..=5)
            .map(|n| (day(&format!("2026-01-0{n}")), day(&format!("2026-01-0{n}")), How::InSmallPages))
            .collect();
        assert_eq!(ends, want);
        assert_eq!(tries, 1 + 9 + 5, "at once, runs of 5, 2, 3 .. days, and each day in pages");
    }

    #[test]
    fn an_interrupted_load_goes_on_where_it_was() {
        let place = Place {
            upper: Some(0),
            next: BTreeMap::from([("7".to_string(), day("2026-01-01"))]),
            ordered: Some(Ordered {
                account: "7".into(),
                since: day("2026-01-01"),
                until: day("2026-03-31"),
                id: "900".into(),
            }),
        };
        assert_eq!(Place::of(Some(&place.position())), place);
        let mut other = place.position();
        other["run"]["id"] = json!("../me");
        assert_eq!(Place::of(Some(&other)).ordered, None);
    }
}
