//! Decides how a listing goes on after a page, and when it goes nowhere.
//!
//! A page is taken apart into slices of its text, in one pass; a reply that has no list where the source says is not a page,
//! and never the end of the data.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::raw::{text_at, text_of, Parts};
use crate::error::SyncError;
use crate::http::{ApiClient, Reply, Request};
use crate::manifest::Pages;
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
    /// Pointer to the array of records.
    pub records: String,
    pub pages: Pages,
}

/// One page of a listing.
#[derive(Debug)]
pub struct ListPage {
    text: Text,
    /// Where the records are in the text.
    records: Vec<Range<usize>>,
    /// What leads to the next page: id, address, token or number; `None` at the end.
    pub next: Option<String>,
    /// Set when there is a next page but nothing says where (an empty page that claims more).
    pub stuck: bool,
    pub status: u16,
    pub date_us: Option<i64>,
    pub elapsed: Duration,
}

impl ListPage {
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        let text = self.text.as_str();
        self.records.iter().map(|range| text.get(range.clone()).unwrap_or_default())
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
        next: None,
        stuck,
        status: reply.status,
        date_us: reply.date_us,
        elapsed: reply.elapsed,
    };
    if !(200..300).contains(&reply.status) {
        return Ok(empty(false));
    }
    let text = Text::of(&reply.body);
    let whole = text.as_str();
    let pointers = [Some(shape.records.as_str()), pointer(&shape.pages)];
    let pointers: Vec<&str> = pointers.into_iter().flatten().collect();
    let parts = Parts::read(whole, &pointers).map_err(|e| format!("the reply is not whole JSON: {e}"))?;
    let place = parts.value(0).ok_or_else(|| format!("the reply has no records at \"{}\"", shape.records))?;
    let slices = match place.as_bytes().first() {
        Some(b'[') => &parts.elements[..],
        Some(b'{') if shape.records.is_empty() => &[place],
        _ => return Err(format!("the reply has no list of records at \"{}\"", shape.records)),
    };
    let start = whole.as_ptr() as usize;
    let range = |slice: &&str| {
        let from = (slice.as_ptr() as usize).saturating_sub(start);
        from..from + slice.len()
    };
    let (mut next, mut stuck) = (None, false);
    match &shape.pages {
        Pages::None => {}
        Pages::LastId { field, more, .. } => match parts.value(1) {
            Some("true") => {
                next = slices.last().and_then(|last| text_at(last, field)).map(|id| id.into_owned());
                stuck = next.is_none();
            }
            Some("false" | "null") => {}
            _ => return Err(format!("the reply does not say at \"{more}\" whether there is more")),
        },
        Pages::NextUrl { .. } | Pages::Token { .. } | Pages::Scroll { .. } | Pages::TimeExport { .. } => {
            next = parts.value(1).and_then(text_of).filter(|text| !text.is_empty()).map(|text| text.into_owned());
        }
        // The pager counts; all it needs to know is whether the page was full.
        Pages::Offset { size, .. } => next = (slices.len() >= *size as usize).then(|| slices.len().to_string()),
        Pages::HeaderToken { .. } | Pages::LinkHeader { .. } | Pages::PageNumber { .. } => {}
    }
    let records = slices.iter().map(range).collect();
    Ok(ListPage { records, text, next, stuck, ..empty(false) })
}

/// What a page is read for beside its records: where it says how the listing goes on.
fn pointer(pages: &Pages) -> Option<&str> {
    match pages {
        Pages::LastId { more: pointer, .. }
        | Pages::NextUrl { pointer, .. }
        | Pages::Token { pointer, .. }
        | Pages::Scroll { pointer, .. }
        | Pages::TimeExport { pointer, .. } => Some(pointer),
        _ => None,
    }
}

/// The size parameter of a listing, unless the request says it already.
pub fn sized(mut request: Request, pages: &Pages, limit: Option<u64>) -> Request {
    if let (Some(param), Some(size)) = pages.size() {
        // Offsets are counted in full pages, so their size stays.
        let fixed = matches!(pages, Pages::Offset { .. });
        let size = limit.filter(|_| !fixed).map_or(u64::from(size), |limit| limit.clamp(1, u64::from(size)));
        request.query.retain(|(name, _)| name != param);
        request.query.insert(0, (param.to_string(), size.to_string()));
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
}

impl Guard {
    /// Judges a page; `place` is where the next one is said to be.
    pub fn check(&mut self, page: &ListPage, place: Option<&str>, max_pages: u64) -> Result<(), SyncError> {
        self.pages += 1;
        if place.is_none() && !page.stuck {
            return Ok(());
        }
        if self.pages >= max_pages {
            return Err(SyncError::TooLarge { what: "a listing in pages".into(), limit: max_pages });
        }
        let is_empty = page.records.is_empty();
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
    offset: u64,
    guard: Guard,
}

impl Pager {
    pub fn new(shape: Shape, first: Request) -> Self {
        Pager { next: Some(first.clone()), shape, first, spare: Vec::new(), offset: 0, guard: Guard::default() }
    }

    /// Starts somewhere else than at the first page.
    pub fn starting_at(mut self, next: Request) -> Self {
        if let Pages::Offset { param, .. } = &self.shape.pages {
            let told = next.query.iter().find(|(name, _)| name == param).and_then(|(_, value)| value.parse().ok());
            self.offset = told.unwrap_or(0);
        }
        self.next = Some(next);
        self
    }

    /// The request of the next page.
    pub fn next(&self) -> Option<&Request> {
        self.next.as_ref()
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
        self.offset += page.records.len() as u64;
        let offset = self.offset.to_string();
        let place = match self.shape.pages {
            Pages::Offset { .. } => page.next.as_ref().map(|_| offset.as_str()),
            _ => page.next.as_deref(),
        };
        self.guard.check(&page, place, api.account().policy.max_pages)?;
        self.next = match place {
            Some(place) => Some(self.following(api, place)?),
            None => page.stuck.then_some(request),
        };
        if let Pages::LastId { param, field, .. } = &self.shape.pages {
            let before = page.records().rev().skip(1).take(STRIKES as usize);
            self.spare = before.filter_map(|raw| Some(with_param(&self.first, param, &text_at(raw, field)?))).collect();
            self.spare.reverse();
        }
        Ok(Some(page))
    }

    fn following(&self, api: &ApiClient, place: &str) -> Result<Request, SyncError> {
        Ok(match &self.shape.pages {
            Pages::None => self.first.clone(),
            Pages::LastId { param, .. }
            | Pages::Token { param, .. }
            | Pages::HeaderToken { param, .. }
            | Pages::Scroll { param, .. }
            | Pages::PageNumber { param, .. }
            | Pages::Offset { param, .. } => with_param(&self.first, param, place),
            Pages::NextUrl { .. } | Pages::LinkHeader { .. } | Pages::TimeExport { .. } => {
                let base = format!("{}/{}", api.base_url()?, self.first.target.trim_start_matches('/'));
                let joined = reqwest::Url::parse(&base).and_then(|base| base.join(place));
                let joined =
                    joined.map_err(|_| SyncError::PagerLoop { detail: "the next page has no address".into() })?;
                Request { target: joined.into(), query: Vec::new(), ..self.first.clone() }
            }
        })
    }
}

/// A request with one parameter set.
pub fn with_param(request: &Request, param: &str, value: &str) -> Request {
    let mut request = request.clone();
    request.query.retain(|(name, _)| name != param);
    request.query.push((param.to_string(), value.to_string()));
    request
}

/// Makes one call of a listing.
pub async fn fetch(api: &ApiClient, request: Request, shape: &Shape) -> Result<ListPage, SyncError> {
    let page = api.call_parsed(request, |reply| parse_page(reply, shape)).await?;
    api.stats().pages.fetch_add(1, Relaxed);
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(body: &[u8]) -> Result<ListPage, String> {
        let pages = Pages::Token { param: "after".into(), pointer: "/next".into(), size_param: None, size: None };
        let body = Bytes::copy_from_slice(body);
        let reply = Reply { status: 200, headers: Default::default(), body, date_us: None, elapsed: Duration::ZERO };
        parse_page(&reply, &Shape { records: "/data".into(), pages })
    }

    #[test]
    fn a_body_is_text_whatever_its_bytes_are() {
        for (name, body, records) in [
            ("plain", &b"{\"data\": [\"a\", {\"b\": 1} ], \"next\": \"t\"}"[..], vec!["\"a\"", "{\"b\": 1}"]),
            ("a byte order mark", b"\xef\xbb\xbf{\"data\": [\"a\"], \"next\": \"t\"}", vec!["\"a\""]),
            (
                "not UTF-8",
                b"{\"data\": [\"\xe9\xff\", \"\xc3\xa9\"], \"next\": \"t\"}",
                vec!["\"\u{fffd}\u{fffd}\"", "\"é\""],
            ),
        ] {
            let page = page(body).unwrap();
            assert_eq!(page.records().collect::<Vec<_>>(), records, "{name}");
            assert_eq!(page.next.as_deref(), Some("t"), "{name}");
        }
    }

    #[test]
    fn what_is_no_page_says_why() {
        for (body, why) in [
            ("{\"data\": [1, 2", "the reply is not whole JSON: the text ends too early at byte 14"),
            ("{\"data\": [1] x}", "the reply is not whole JSON: neither ',' nor the end after a value at byte 13"),
            ("", "the reply is not whole JSON: the text ends too early at byte 0"),
            ("{\"list\": []}", "the reply has no records at \"/data\""),
            ("{\"data\": {}}", "the reply has no list of records at \"/data\""),
        ] {
            assert_eq!(page(body.as_bytes()).unwrap_err(), why, "{body}");
        }
    }
}
