//! Reads a listing that is given newest first and can be asked by creation time: in slices that survive interruption.
//!
//! A slice shrinks from above with each page. What is saved is which slices are still open, so an interrupted load
//! goes on at most one page back, wherever it stopped. A long slice is split for a second worker only once it has
//! shown itself to be long: a short listing must not cost calls that find nothing.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::bound::bound;
use super::full::{fill, Progress};
use super::lookups;
use super::pages::{fetch, with_param, Guard, ListPage};
use super::request::{base_request, shape, stamp_of, SECOND_US};
use super::tables::Tables;
use crate::error::SyncError;
use crate::extract::sink::Sink;
use crate::extract::Output;
use crate::http::{ApiClient, Request};
use crate::manifest::{Collection, Cursor, Format, Pages};
use serde_json::{json, Value};
use tokio::task::JoinSet;

/// Full pages before a listing counts as long, and pages that each part must still be worth.
const LONG: u32 = 4;

/// How many pages further the first split starts when nobody knows where the listing ends; each later one twice as far.
const AHEAD: i64 = 16;

/// A part of the listing that is still to be read; seconds of creation time, both ends included.
#[derive(Clone, Debug, PartialEq)]
struct Slice {
    /// `None` reaches back to the beginning.
    lo: Option<i64>,
    /// `None` reaches up to now.
    hi: Option<i64>,
    /// The upper bound that its calls ask with.
    asked_hi: Option<i64>,
    /// The last record of the page before.
    after: Option<String>,
    /// Creation of the first record seen.
    top: Option<i64>,
    pages: u32,
    /// Seconds in a page of the slice that it was split from.
    pace_before: Option<i64>,
    /// How many pages further the next split starts, where there is no lower end.
    ahead: i64,
    in_flight: bool,
}

impl Slice {
    fn new(lo: Option<i64>, hi: Option<i64>) -> Self {
        Slice {
            lo,
            hi,
            asked_hi: hi,
            after: None,
            top: None,
            pages: 0,
            pace_before: None,
            ahead: AHEAD,
            in_flight: false,
        }
    }

    /// Seconds of creation time in a page, as far as this slice or the one before has shown.
    fn pace(&self) -> Option<i64> {
        let own = self.top.zip(self.hi).map(|(top, hi)| (top - hi) / i64::from(self.pages.max(1)));
        own.or(self.pace_before).map(|pace| pace.max(1))
    }

    /// Pages that are left, as far as one can tell; `None` when that is not enough for two.
    fn pages_left(&self) -> Option<i64> {
        let (pace, hi) = (self.pace()?, self.hi?);
        match self.lo {
            Some(lo) => Some((hi - lo) / pace).filter(|pages| *pages >= i64::from(LONG) * 2),
            // Nobody knows, but it goes on: a first slice must have shown that it is long, a later one that it is not empty.
            None => (self.pages >= if self.pace_before.is_some() { 1 } else { LONG }).then_some(i64::MAX),
        }
    }

    /// Gives its older part away. Where stamps are whole seconds no record is in both parts.
    fn split(&mut self, whole_seconds: bool) -> Option<Slice> {
        let (pace, hi) = (self.pace()?, self.hi?);
        let middle = match self.lo {
            Some(lo) => lo + (hi - lo) / 2,
            None => hi.checked_sub(pace.saturating_mul(self.ahead)).filter(|middle| *middle > 0)?,
        };
        let mut older = Slice::new(self.lo, Some(middle));
        older.pace_before = Some(pace);
        older.ahead = self.ahead.saturating_mul(2);
        self.lo = Some(if whole_seconds { middle + 1 } else { middle });
        Some(older)
    }
}

/// How a base's slices are asked for.
struct Plan<'a> {
    cursor: &'a Cursor,
    first: Request,
    after_param: String,
}

impl Plan<'_> {
    fn request(&self, slice: &Slice) -> Request {
        let mut request = self.first.clone();
        for (param, second, is_upper) in
            [(&self.cursor.param, slice.lo, false), (&self.cursor.upper_param, slice.asked_hi, true)]
        {
            if let (Some(param), Some(second)) = (param, second) {
                request = with_param(&request, param, &bound(self.cursor, second.saturating_mul(SECOND_US), is_upper));
            }
        }
        match &slice.after {
            Some(id) => with_param(&request, &self.after_param, id),
            None => request,
        }
    }
}

fn open_slices(position: &Value) -> Option<Vec<Slice>> {
    let pairs: Vec<(Option<i64>, Option<i64>)> = serde_json::from_value(position.get("slices")?.clone()).ok()?;
    Some(pairs.into_iter().map(|(lo, hi)| Slice::new(lo, hi)).collect())
}

/// Reads all slices, several at once when the listing is long.
#[allow(clippy::too_many_arguments)]
pub async fn read(
    api: &ApiClient,
    tables: &mut Tables<'_>,
    base: &Collection,
    outputs: &[Output],
    resume: Option<&Value>,
    keep_position: bool,
    progress: &mut Progress,
    sink: &Sink,
) -> Result<(), SyncError> {
    let (Some(cursor), Some(Pages::LastId { param, .. })) = (&base.cursor, &base.pages) else {
        return Err(SyncError::internal("this listing has no slices"));
    };
    let first = base_request(api.account(), base, outputs, None)?;
    let plan = Plan { cursor, first, after_param: param.clone() };
    let mut open = resume.and_then(open_slices).unwrap_or_else(|| vec![Slice::new(None, None)]);
    let workers = api.account().policy.max_concurrency.max(1) as usize;
    let mut guard = Guard::default();
    let mut calls: JoinSet<(Slice, Result<ListPage, SyncError>)> = JoinSet::new();
    loop {
        start(api, base, &plan, &mut open, &mut calls, workers);
        let Some(done) = calls.join_next().await else { return Ok(()) };
        let (asked, page) = done.map_err(|_| SyncError::internal("a call was stopped from inside"))?;
        let page = match page {
            Ok(page) => page,
            // The record that the next page was to begin after was deleted meanwhile: its time still says where.
            Err(SyncError::CursorExpired { .. }) if asked.after.is_some() => {
                let same = |s: &&mut Slice| s.in_flight && s.asked_hi == asked.asked_hi && s.after == asked.after;
                if let Some(slice) = open.iter_mut().find(same) {
                    *slice = Slice { asked_hi: slice.hi, after: None, in_flight: false, ..slice.clone() };
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        guard.check(&page, page.next.as_deref(), api.account().policy.max_pages)?;
        progress.see(base, &page);
        shrink(&mut open, &asked, &page, cursor);
        let page = lookups::complete(api, base, outputs, None, page).await?;
        // The position of this page must not cover rows of another that is still on its way: those slices have not
        // shrunk yet.
        fill(api, tables, base, &page, sink).await?;
        let position = saved(progress, &open);
        while open.iter().filter(|s| !s.in_flight).count() + calls.len() < workers
            && split_longest(&mut open, cursor.format == Format::Unix)
        {}
        sink.page(tables.page(keep_position.then_some(position))).await?;
    }
}

/// Starts calls for idle slices, newest first, up to the number of workers.
fn start(
    api: &ApiClient,
    base: &Collection,
    plan: &Plan<'_>,
    open: &mut [Slice],
    calls: &mut JoinSet<(Slice, Result<ListPage, SyncError>)>,
    workers: usize,
) {
    for slice in open.iter_mut().filter(|s| !s.in_flight) {
        if calls.len() >= workers {
            return;
        }
        slice.in_flight = true;
        let (api, request, shape, slice) = (api.clone(), plan.request(slice), shape(base), slice.clone());
        calls.spawn(async move {
            let page = fetch(&api, request, &shape).await;
            (slice, page)
        });
    }
}

/// Takes a page off its slice.
fn shrink(open: &mut Vec<Slice>, asked: &Slice, page: &ListPage, cursor: &Cursor) {
    // A slice is known by where it began; its lower end may have been given away meanwhile.
    let same = |s: &Slice| s.in_flight && s.asked_hi == asked.asked_hi && s.after == asked.after;
    let Some(index) = open.iter().position(same) else { return };
    let Some(slice) = open.get_mut(index) else { return };
    slice.in_flight = false;
    slice.pages += 1;
    let second = |raw: &str| Some(stamp_of(cursor, raw)?.div_euclid(SECOND_US));
    if slice.top.is_none() {
        slice.top = page.records().find_map(second);
    }
    // The last record decides: what follows is not newer than it. Rounded up, to lose no part of its second.
    if let Some(lowest) = page.records().next_back().and_then(second) {
        let lowest = lowest.saturating_add(i64::from(cursor.format != Format::Unix));
        slice.hi = Some(slice.hi.map_or(lowest, |hi| hi.min(lowest)));
    }
    let passed_end = slice.lo.zip(slice.hi).is_some_and(|(lo, hi)| hi < lo);
    match &page.next {
        Some(id) if !passed_end => slice.after = Some(id.clone()),
        None if page.stuck => {}
        _ => {
            open.remove(index);
        }
    }
}

/// Splits the longest slice, if one is long enough.
fn split_longest(open: &mut Vec<Slice>, whole_seconds: bool) -> bool {
    let longest = open.iter_mut().filter_map(|s| Some((s.pages_left()?, s))).max_by_key(|(pages, _)| *pages);
    match longest.and_then(|(_, slice)| slice.split(whole_seconds)) {
        Some(older) => {
            open.push(older);
            true
        }
        None => false,
    }
}

fn saved(progress: &Progress, open: &[Slice]) -> Value {
    if open.is_empty() {
        return Progress { base: progress.base + 1, ..progress.clone() }.position("slices", json!([]));
    }
    let pairs: Vec<Value> = open.iter().map(|s| json!([s.lo, s.hi])).collect();
    progress.position("slices", Value::Array(pairs))
}
