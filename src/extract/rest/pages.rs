//! Decides how a listing goes on after a page, and when it goes nowhere.
//!
//! A page is taken apart into slices of its text, in one pass; a reply that has no list where the source says is not a page,
//! and never the end of the data.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::onward::{onward, place_of, pointers, with_token, Onward};
use super::raw::{text_at, Parts};
use super::request::put;
use super::take::{decode, take, Taking};
use crate::error::SyncError;
use crate::http::{ApiClient, Reply, Request};
use crate::manifest::{Pages, Records};
use bytes::Bytes;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A repeated token, or an empty page that claims more, so often is a loop.
const STRIKES: u32 = 3;

/// How the pages of a listing are made.
#[derive(Clone, Debug)]
pub struct Shape {
    pub records: Records,
    pub pages: Pages,
}

/// One page of a listing.
#[derive(Debug)]
pub struct ListPage {
    text: Text,
    /// Where the records are in the text.
    records: Vec<Range<usize>>,
    /// What takes their place, once other calls have told more of them.
    completed: Option<Vec<String>>,
    /// What is around each record, where something is.
    around: Vec<Surroundings>,
    /// Elements of the listing in this page, kept or not.
    pub count: usize,
    /// What leads to the next page: id, address, token or number; `None` at the end.
    pub next: Option<String>,
    /// Set when there is a next page but nothing says where (an empty page that claims more).
    pub stuck: bool,
    /// What else the page says of the next.
    onward: Onward,
    pub status: u16,
    pub date_us: Option<i64>,
    pub elapsed: Duration,
}

/// The elements around a record, the outermost first, and its own name among them.
#[derive(Debug, Default)]
struct Surroundings {
    outer: Vec<Range<usize>>,
    key: Option<String>,
}

/// What is around a record in its page.
#[derive(Clone, Debug, Default)]
pub struct Around<'a> {
    pub outer: Vec<&'a str>,
    pub key: Option<&'a str>,
    /// Its position in the page, from 0.
    pub index: usize,
}

impl ListPage {
    fn slice(&self, range: &Range<usize>) -> &str {
        self.text.as_str().get(range.clone()).unwrap_or_default()
    }

    /// The reply that the records came in, as JSON.
    pub fn text(&self) -> &str {
        self.text.as_str().trim()
    }

    /// The page with other records: one for each, or else nothing is around them any more.
    pub fn with_records(mut self, records: Vec<String>) -> Self {
        if records.len() != self.records().len() {
            self.around.clear();
        }
        self.completed = Some(records);
        self
    }

    /// What is around the record of that index.
    pub fn around(&self, index: usize) -> Around<'_> {
        let found = self.around.get(index);
        let outer = found.map(|around| around.outer.iter().map(|range| self.slice(range)).collect());
        Around { outer: outer.unwrap_or_default(), key: found.and_then(|around| around.key.as_deref()), index }
    }

    /// Where an export in the order of time has come to, microseconds.
    pub fn time_us(&self) -> Option<i64> {
        self.onward.time.map(|seconds| seconds.saturating_mul(super::request::SECOND_US))
    }

    pub fn records(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        let text = self.text.as_str();
        let count = self.completed.as_ref().map_or(self.records.len(), Vec::len);
        (0..count).map(move |index| match &self.completed {
            Some(records) => records.get(index).map_or("", String::as_str),
            None => self.records.get(index).and_then(|range| text.get(range.clone())).unwrap_or_default(),
        })
    }

    /// The latest version that a listed record may claim: when the app looked, by its own clock, less what we cannot
    /// know. A list has no stamp of its own, and may not pass for newer than an event that came right after.
    pub fn list_version(&self) -> Option<i64> {
        let second = 1_000_000;
        let elapsed = i64::try_from(self.elapsed.as_micros()).ok()?.saturating_add(second - 1).div_euclid(second);
        Some((self.date_us?.div_euclid(second) - elapsed - 1) * second)
    }
}

/// The text of a body, which is checked once and then read as text each time a record is asked for.
#[derive(Debug, Default)]
pub struct Text(Bytes);

impl Text {
    /// Without a byte order mark, bytes that are not UTF-8 replaced.
    pub fn of(body: &Bytes) -> Self {
        let body = if body.starts_with(b"\xef\xbb\xbf") { body.slice(3..) } else { body.clone() };
        match std::str::from_utf8(&body) {
            Ok(_) => Text(body),
            Err(_) => Text(Bytes::from(String::from_utf8_lossy(&body).into_owned())),
        }
    }

    pub fn as_str(&self) -> &str {
        // SAFETY: only `of` makes a Text, of bytes that are UTF-8, and nothing changes the bytes of a `Bytes`.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }
}

/// Takes a reply apart. The error says in plain words why it is no page.
pub fn parse_page(reply: &Reply, shape: &Shape) -> Result<ListPage, String> {
    let empty = |stuck| ListPage {
        text: Text::default(),
        records: Vec::new(),
        completed: None,
        next: None,
        stuck,
        around: Vec::new(),
        count: 0,
        onward: Onward::default(),
        status: reply.status,
        date_us: reply.date_us,
        elapsed: reply.elapsed,
    };
    if !(200..300).contains(&reply.status) {
        return Ok(empty(false));
    }
    let records = &shape.records;
    let text = Text::of(&decode(&reply.body, records)?);
    let whole = text.as_str();
    // One reading finds what leads on, and a plain list of records.
    let onward_pointers = pointers(&shape.pages);
    let mut wanted: Vec<&str> = if records.is_plain() { vec![records.pointer.as_str()] } else { Vec::new() };
    let before = wanted.len();
    wanted.extend(&onward_pointers);
    let parts = Parts::read(whole, &wanted).map_err(|e| format!("the reply is not whole JSON: {e}"))?;
    let taking = if records.is_plain() {
        let place = parts.value(0).ok_or_else(|| format!("the reply has no records at \"{}\"", records.pointer))?;
        let slices = match place.as_bytes().first() {
            Some(b'[') => &parts.elements[..],
            Some(b'{') if records.pointer.is_empty() => &[place],
            _ => return Err(format!("the reply has no list of records at \"{}\"", records.pointer)),
        };
        Taking::plain(slices)
    } else {
        take(whole.trim(), records)?
    };
    let start = whole.as_ptr() as usize;
    let range = |slice: &str| {
        let from = (slice.as_ptr() as usize).saturating_sub(start);
        from..from + slice.len()
    };
    let said = |pointer: &str| parts.value(before + onward_pointers.iter().position(|known| *known == pointer)?);
    let last = taking.records.last().map(|record| record.raw);
    let mut onward = onward(&shape.pages, reply, &said, taking.count, last)?;
    let (next, stuck) = (onward.next.take(), onward.stuck);
    let has_around = taking.records.iter().any(|record| !record.outer.is_empty() || record.key.is_some());
    let around: Vec<Surroundings> = taking
        .records
        .iter()
        .filter(|_| has_around)
        .map(|record| Surroundings {
            outer: record.outer.iter().map(|outer| range(outer)).collect(),
            key: record.key.clone(),
        })
        .collect();
    let (records, count) = (taking.records.iter().map(|record| range(record.raw)).collect(), taking.count);
    Ok(ListPage { records, around, count, text, next, onward, ..empty(stuck) })
}

/// The size parameter of a listing, unless the request says it already.
pub fn sized(mut request: Request, pages: &Pages, limit: Option<u64>) -> Request {
    if let (Some(param), Some(size)) = pages.size() {
        // What is counted in full pages keeps their size.
        let fixed = matches!(pages, Pages::Offset { .. } | Pages::PageNumber { .. } | Pages::TimeExport { .. });
        let size = limit.filter(|_| !fixed).map_or(u64::from(size), |limit| limit.clamp(1, u64::from(size)));
        if param.starts_with('/') {
            put(&mut request, param, size.into());
        } else {
            request.query.retain(|(name, _)| name != param);
            request.query.insert(0, (param.to_string(), size.to_string()));
        }
        request.size_place = (!fixed).then(|| param.to_string());
    }
    request
}

/// Notices a listing that goes round in circles or never ends.
#[derive(Debug, Default)]
pub struct Guard {
    seen: HashSet<u64>,
    repeats: u32,
    empties: u32,
    pages: u64,
    /// Empty pages lead on (`sparse`).
    is_sparse: bool,
}

impl Guard {
    fn of(pages: &Pages) -> Self {
        let is_sparse = matches!(pages, Pages::Token { sparse: true, .. }) || pages.ends_with_404();
        Guard { is_sparse, ..Guard::default() }
    }

    /// Judges a page; `place` is where the next one is said to be.
    pub fn check(&mut self, page: &ListPage, place: Option<&str>, max_pages: u64) -> Result<(), SyncError> {
        self.pages += 1;
        if place.is_none() && !page.stuck {
            return Ok(());
        }
        if self.pages >= max_pages {
            return Err(SyncError::TooLarge { what: "a listing in pages".into(), limit: max_pages });
        }
        let is_empty = page.records.is_empty() && !self.is_sparse;
        self.empties = if is_empty { self.empties + 1 } else { 0 };
        if self.empties >= STRIKES {
            return Err(SyncError::PagerLoop {
                detail: format!("{STRIKES} empty pages in a row claim that there is more"),
            });
        }
        let Some(next) = place else { return Ok(()) };
        // The token itself may be a secret, or hold one.
        let hash = xxhash_rust::xxh3::xxh3_64(next.as_bytes());
        if !self.seen.insert(hash) {
            self.repeats += 1;
            if self.repeats >= STRIKES {
                return Err(SyncError::PagerLoop { detail: format!("the same place (hash {hash:016x}) came again") });
            }
        }
        Ok(())
    }
}

/// Reads a listing page by page.
pub struct Pager {
    shape: Shape,
    /// The first page's request: what later pages add to.
    first: Request,
    next: Option<Request>,
    /// The next page by records before the last one, should that be deleted before we ask (best one last).
    spare: Vec<Request>,
    /// Records passed over, or the number of the page, of a counted listing.
    counted: u64,
    /// The most records of a page so far.
    largest: u64,
    /// Where an export in the order of time stood a page ago.
    time: Option<i64>,
    guard: Guard,
}

impl Pager {
    pub fn new(shape: Shape, first: Request) -> Self {
        let first = match &shape.pages {
            // Some apps call their first page 0: it is named from the start.
            Pages::PageNumber { param, start, .. } if place_of(&first, param).is_none() => {
                with_token(&first, param, &start.to_string(), true)
            }
            // Others will have an offset, if it is 0.
            Pages::Offset { param, .. } if param.starts_with('/') && place_of(&first, param).is_none() => {
                with_token(&first, param, "0", true)
            }
            _ => first,
        };
        let pager = Pager {
            next: None,
            guard: Guard::of(&shape.pages),
            shape,
            first: first.clone(),
            spare: Vec::new(),
            counted: 0,
            largest: 0,
            time: None,
        };
        pager.starting_at(first)
    }

    /// Starts somewhere else than at the first page.
    pub fn starting_at(mut self, next: Request) -> Self {
        if let Pages::Offset { param, .. } | Pages::PageNumber { param, .. } = &self.shape.pages {
            self.counted = place_of(&next, param).unwrap_or(0);
        }
        self.next = Some(next);
        self
    }

    /// The request of the next page.
    pub fn next(&self) -> Option<&Request> {
        self.next.as_ref()
    }

    /// Nothing of what is left is wanted.
    pub fn stop(&mut self) {
        self.next = None;
    }

    /// The next page, or `None` after the last.
    pub async fn next_page(&mut self, api: &ApiClient) -> Result<Option<ListPage>, SyncError> {
        let Some(mut request) = self.next.take() else { return Ok(None) };
        let page = loop {
            match fetch(api, request.clone(), &self.shape).await {
                Ok(page) => break page,
                Err(error @ SyncError::CursorExpired { .. }) => request = self.spare.pop().ok_or(error)?,
                Err(error) => return Err(error),
            }
        };
        let place = self.place(&page)?;
        self.guard.check(&page, place.as_deref(), api.account().policy.max_pages)?;
        self.next = match (&place, &page.next) {
            (Some(place), Some(next)) => Some(self.following(api, place, next, page.onward.is_number)?),
            _ => page.stuck.then_some(request),
        };
        if let Pages::LastId { param, field, .. } = &self.shape.pages {
            let before = page.records().rev().skip(1).take(STRIKES as usize);
            self.spare = before.filter_map(|raw| Some(with_param(&self.first, param, &text_at(raw, field)?))).collect();
            self.spare.reverse();
        }
        Ok(Some(page))
    }

    /// Where the next page is, in words that differ from page to page while the listing moves.
    fn place(&mut self, page: &ListPage) -> Result<Option<String>, SyncError> {
        let Some(next) = &page.next else { return Ok(None) };
        Ok(match &self.shape.pages {
            Pages::Offset { .. } => {
                self.counted += page.count as u64;
                let is_over = page.onward.total.is_some_and(|total| self.counted >= total);
                (!is_over).then(|| self.counted.to_string())
            }
            Pages::PageNumber { start, .. } => {
                self.counted += 1;
                // Some apps give fewer records on a page than they are asked for.
                self.largest = self.largest.max(page.count as u64);
                let by_records = page.onward.records.map(|records| records.div_ceil(self.largest.max(1)));
                let is_over =
                    by_records.or(page.onward.total).is_some_and(|total| self.counted >= start.saturating_add(total));
                (!is_over).then(|| self.counted.to_string())
            }
            // A walk has one token from its beginning to its end.
            Pages::Scroll { .. } => Some(format!("{next} {}", self.guard.pages)),
            Pages::TimeExport { size, .. } => {
                let stands = page.onward.time.is_some() && page.onward.time == self.time;
                self.time = page.onward.time;
                if stands && page.count >= *size as usize {
                    let detail = "the export does not get past one moment: more than a page of records have it".into();
                    return Err(SyncError::PagerLoop { detail });
                }
                (!stands).then(|| next.clone())
            }
            _ => Some(next.clone()),
        })
    }

    fn following(&self, api: &ApiClient, place: &str, next: &str, is_number: bool) -> Result<Request, SyncError> {
        Ok(match &self.shape.pages {
            Pages::None => self.first.clone(),
            Pages::LastId { param, .. } | Pages::Token { param, .. } | Pages::HeaderToken { param, .. } => {
                with_token(&self.first, param, next, is_number)
            }
            Pages::Scroll { param, .. } => with_token(&self.first, param, next, false),
            pages @ (Pages::Offset { param, .. } | Pages::PageNumber { param, .. }) => {
                let mut next = with_token(&self.first, param, place, true);
                if pages.ends_with_404() {
                    next.accept.push(404);
                }
                next
            }
            Pages::NextUrl { .. } | Pages::LinkHeader { .. } | Pages::TimeExport { .. } => {
                let base = format!("{}/{}", api.base_url()?, self.first.target.trim_start_matches('/'));
                let joined = reqwest::Url::parse(&base).and_then(|base| base.join(next));
                let joined =
                    joined.map_err(|_| SyncError::PagerLoop { detail: "the next page has no address".into() })?;
                let target = without_secrets(api, joined);
                Request { target, query: Vec::new(), ..self.first.clone() }
            }
        })
    }
}

/// An address without the parameters that hold a credential: some apps repeat it there, and positions are stored.
fn without_secrets(api: &ApiClient, mut url: reqwest::Url) -> String {
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(_, value)| !api.is_secret(value))
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect();
    if kept.len() < url.query_pairs().count() {
        url.query_pairs_mut().clear().extend_pairs(kept);
    }
    url.into()
}

/// A request with one parameter set.
pub fn with_param(request: &Request, param: &str, value: &str) -> Request {
    with_token(request, param, value, false)
}

/// Makes one call of a listing.
pub async fn fetch(api: &ApiClient, request: Request, shape: &Shape) -> Result<ListPage, SyncError> {
    let page = api.call_parsed(request, |reply| parse_page(reply, shape)).await?;
    api.stats().pages.fetch_add(1, Relaxed);
    Ok(page)
}
