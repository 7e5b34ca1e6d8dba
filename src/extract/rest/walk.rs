//! Walks through a part of a listing: window by window where the app allows no wider one, query by query where it gives
//! only so many records, page by page.
//!
//! A bound that is sent may come from our own clock: it only says how far is asked. What a reading has reached is told by
//! the app, in its records and its `Date`.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::bound::bound;
use super::lookups::{self, Told};
use super::names::{fields, Names};
use super::onward::{text_of_place, with_token};
use super::pages::{fetch, with_param, ListPage, Pager, Shape};
use super::raw::text_at;
use super::request::{is_named, key_text, request_with, shape, stamp_of, widest};
use super::wide::join;
use super::windows::{start_of, windows_of, Window};
use crate::error::SyncError;
use crate::extract::time::{parse_iso, to_iso_ms};
use crate::extract::Output;
use crate::http::{Account, ApiClient, Request};
use crate::manifest::{Collection, Pages, Restart};
use serde_json::{json, Value};
use std::collections::{HashMap, VecDeque};

/// What to ask for.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// From here on; `None` for everything, or for where the source says that a first load begins.
    pub from: Option<i64>,
    /// Up to here, for who wants no more.
    pub to: Option<i64>,
    /// The app's own word for where to go on.
    pub opaque: Option<String>,
    /// The token of the first page, where it is known already.
    pub token: Option<String>,
    /// Names of templates that are the same in every query.
    pub names: Names,
    /// An answer of 404 is an empty page (listings below a parent).
    pub may_be_gone: bool,
    /// Further parameters, which take the place of those of the same name.
    pub params: Vec<(String, String)>,
    /// Records that need not be read again, where others tell more of them.
    pub told: Option<Told>,
    /// More records than these are not wanted.
    pub limit: Option<u64>,
}

/// A walk through one listing.
pub struct Walk<'a> {
    api: &'a ApiClient,
    base: Collection,
    outputs: &'a [Output],
    part: Part,
    windows: VecDeque<Window>,
    window: Window,
    pager: Option<Pager>,
    /// Records of this query so far.
    count: u64,
    /// The key that this query goes on after.
    last_key: Option<String>,
    /// Fields to ask for beside those of the query itself, in parts that the app takes at once.
    more_fields: Vec<Vec<String>>,
}

/// Whether changes since a time can be asked for.
pub fn can_ask_since(base: &Collection) -> bool {
    let named = || is_named(base, "cursor") || first_token(base).is_some();
    base.cursor.as_ref().is_some_and(|c| !c.created_only && (c.param.is_some() || named()))
}

/// Whether a reading since a time is less than everything, for us if not for the app.
pub fn can_read_since(base: &Collection) -> bool {
    can_ask_since(base) || base.cursor.as_ref().is_some_and(|c| !c.created_only && (c.client_side || c.order.is_some()))
}

fn first_token(base: &Collection) -> Option<&crate::manifest::FirstToken> {
    match &base.pages {
        Some(Pages::Token { first, .. }) => first.as_deref(),
        _ => None,
    }
}

impl<'a> Walk<'a> {
    pub fn new(api: &'a ApiClient, base: &Collection, outputs: &'a [Output], part: Part) -> Result<Self, SyncError> {
        let mut part = part;
        lookups::set_names(base, outputs, &mut part.names);
        let mut parts = fields(base, outputs).into_iter();
        if let Some(names) = parts.next() {
            part.names.set_list("fields", names);
        }
        let more_fields: Vec<Vec<String>> = if is_named(base, "fields") { parts.collect() } else { Vec::new() };
        let (base, mut windows) = in_time(api.account(), base, &part)?;
        let window = windows.pop_front().unwrap_or_default();
        Ok(Walk { api, base, outputs, part, windows, window, pager: None, count: 0, last_key: None, more_fields })
    }

    /// Goes on at a saved place. False when what was saved cannot be used.
    pub fn resume(&mut self, position: &Value) -> Result<bool, SyncError> {
        let instant = |name: &str| position.get(name).and_then(Value::as_str).and_then(parse_iso);
        if let Some(lower) = instant("window") {
            self.go_to_window(lower);
        }
        let first = self.request(None)?;
        let Some(saved) = position.get("page").and_then(|page| request_at(page, &first)) else { return Ok(false) };
        self.count = position.get("count").and_then(Value::as_u64).unwrap_or(0);
        self.last_key = position.get("last_key").and_then(Value::as_str).map(str::to_string);
        self.pager = Some(Pager::new(self.shape(), first).starting_at(saved));
        Ok(true)
    }

    /// Goes on with the window that begins there.
    pub fn go_to_window(&mut self, lower: i64) {
        if let Some(cursor) = &self.base.cursor {
            self.windows = windows_of(&self.base, cursor, Some(lower), self.part.to);
            self.window = self.windows.pop_front().unwrap_or_default();
        }
    }

    /// Goes on with the next window, for who reads each of them otherwise than in pages. False after the last.
    pub fn next_window(&mut self) -> bool {
        let next = self.windows.pop_front();
        self.window = next.unwrap_or_default();
        next.is_some()
    }

    /// Where the present window begins, if there are several.
    pub fn window_from(&self) -> Option<i64> {
        self.window.lower.filter(|_| self.is_windowed())
    }

    /// The request for the present window.
    pub fn window_request(&self) -> Result<Request, SyncError> {
        self.request(None)
    }

    /// Where the walk goes on, as far as that can be saved. `Null` as the page: it is at its end.
    pub fn position(&self) -> Option<Vec<(&'static str, Value)>> {
        if matches!(self.base.pages, Some(Pages::Scroll { .. })) {
            // The app forgets a walk within a minute.
            return None;
        }
        let Some(next) = self.pager.as_ref().and_then(Pager::next) else {
            return self.windows.is_empty().then(|| vec![("page", Value::Null)]);
        };
        let mut position = vec![("page", saved_page(next))];
        if self.base.ceiling.is_some() {
            position.push(("count", self.count.into()));
        }
        if let Some(key) = self.last_key.as_ref().filter(|_| !self.more_fields.is_empty()) {
            position.push(("last_key", key.as_str().into()));
        }
        if let Some(lower) = self.window_from() {
            position.push(("window", to_iso_ms(lower).into()));
        }
        Some(position)
    }

    /// Nothing of what is left is wanted.
    pub fn stop(&mut self) {
        self.windows.clear();
        if let Some(pager) = &mut self.pager {
            pager.stop();
        }
    }

    /// The next page, or `None` after the last.
    pub async fn next_page(&mut self) -> Result<Option<ListPage>, SyncError> {
        loop {
            if self.pager.is_none() {
                self.pager = Some(self.begin().await?);
            }
            let Some(pager) = &mut self.pager else { return Ok(None) };
            let asked = pager.next().cloned();
            let Some(page) = pager.next_page(self.api).await? else {
                let Some(next) = self.windows.pop_front() else { return Ok(None) };
                self.window = next;
                self.count = 0;
                self.last_key = None;
                self.pager = None;
                continue;
            };
            let page = match asked {
                Some(asked) if !self.more_fields.is_empty() && page.records().len() > 0 => {
                    self.with_more_fields(page, &asked).await?
                }
                _ => page,
            };
            self.count += page.count as u64;
            self.go_on_above_the_ceiling(&page)?;
            // The first request of the next window is the place that is saved with the last page of this one.
            let is_over = self.pager.as_ref().is_some_and(|pager| pager.next().is_none());
            if let Some(next) = self.windows.front().copied().filter(|_| is_over && first_token(&self.base).is_none()) {
                self.windows.pop_front();
                self.window = next;
                self.count = 0;
                self.last_key = None;
                self.pager = Some(Pager::new(self.shape(), self.request(None)?));
            }
            // Last, since it leaves out what is told already: where the walk goes on is said by the page as it came.
            let told = self.part.told.as_ref();
            return lookups::complete(self.api, &self.base, self.outputs, told, page).await.map(Some);
        }
    }

    /// The page with the fields that did not fit into its own request.
    async fn with_more_fields(&self, page: ListPage, asked: &Request) -> Result<ListPage, SyncError> {
        let under = self.base.select.as_ref().map(|select| select.under.as_str()).filter(|under| !under.is_empty());
        let under = under.map(crate::manifest::field_path).unwrap_or_default();
        let mut records: Vec<(String, String)> =
            page.records().filter_map(|raw| Some((key_text(&self.base, raw)?, raw.to_string()))).collect();
        for names in &self.more_fields {
            let request = self.at_the_same_place(asked, names)?;
            let one_page = Shape { pages: Pages::None, ..self.shape() };
            let other = fetch(self.api, request, &one_page).await?;
            let parts: HashMap<String, &str> =
                other.records().filter_map(|raw| Some((key_text(&self.base, raw)?, raw))).collect();
            records = records
                .into_iter()
                .filter_map(|(key, raw)| join(&raw, parts.get(&key)?, &under).map(|both| (key, both)))
                .collect();
        }
        let records: Vec<String> = records.into_iter().map(|(_, raw)| raw).collect();
        Ok(page.with_records(records))
    }

    /// The request of a page, for other fields.
    fn at_the_same_place(&self, asked: &Request, names: &[String]) -> Result<Request, SyncError> {
        let mut other = self.part.names.clone();
        other.set_list("fields", names.to_vec());
        let request = self.request_with_names(other, self.last_key.clone())?;
        let place = match &self.base.pages {
            Some(
                Pages::Token { param, .. }
                | Pages::LastId { param, .. }
                | Pages::Offset { param, .. }
                | Pages::PageNumber { param, .. },
            ) => param,
            Some(Pages::None) | None => return Ok(request),
            Some(_) => return Err(SyncError::internal("pages by address cannot be asked for other fields")),
        };
        Ok(match text_of_place(asked, place) {
            Some((text, is_number)) => with_token(&request, place, &text, is_number),
            None => request,
        })
    }

    /// Begins another query where this one has given all that the app gives.
    fn go_on_above_the_ceiling(&mut self, page: &ListPage) -> Result<(), SyncError> {
        let Some(ceiling) = &self.base.ceiling else { return Ok(()) };
        let size = self.base.pages.as_ref().and_then(|pages| pages.size().1).map_or(0, u64::from);
        let goes_on = self.pager.as_ref().is_some_and(|pager| pager.next().is_some());
        let is_reached = self.count >= ceiling.records || (goes_on && self.count + size > ceiling.records);
        let Some(last) = page.records().next_back().filter(|_| is_reached) else { return Ok(()) };
        let stuck =
            || SyncError::TooLarge { what: "records that one query can tell apart".into(), limit: ceiling.records };
        let key = match ceiling.restart {
            Restart::LastKey => {
                let field = ceiling.field.as_deref().unwrap_or_default();
                Some(text_at(last, field).ok_or_else(stuck)?.into_owned())
            }
            Restart::Cursor => {
                let stamp = self.base.cursor.as_ref().and_then(|cursor| stamp_of(cursor, last)).ok_or_else(stuck)?;
                if self.window.lower.is_some_and(|lower| stamp <= lower) {
                    return Err(stuck());
                }
                self.window.lower = Some(stamp);
                None
            }
        };
        self.count = 0;
        self.last_key = key.clone();
        self.pager = Some(Pager::new(self.shape(), self.request(key)?));
        Ok(())
    }

    fn shape(&self) -> Shape {
        shape(&self.base)
    }

    fn is_windowed(&self) -> bool {
        self.base.cursor.as_ref().is_some_and(|cursor| cursor.step_seconds.is_some())
    }

    /// The first page of the query for the present window.
    fn request(&self, last_key: Option<String>) -> Result<Request, SyncError> {
        self.request_with_names(self.part.names.clone(), last_key)
    }

    fn request_with_names(&self, names: Names, last_key: Option<String>) -> Result<Request, SyncError> {
        request_of(self.api.account(), &self.base, self.outputs, &self.part, self.window, names, last_key)
    }

    /// The pager of the first query, with the token that some apps want for it.
    async fn begin(&self) -> Result<Pager, SyncError> {
        let request = self.request(None)?;
        let Some(Pages::Token { param, .. }) = &self.base.pages else { return Ok(Pager::new(self.shape(), request)) };
        let token = match &self.part.token {
            Some(token) => Some(token.clone()),
            None => first_token_of(self.api, &self.base, self.window.lower).await?,
        };
        let request = match token {
            Some(token) => with_token(&request, param, &token, false),
            None => request,
        };
        Ok(Pager::new(self.shape(), request))
    }
}

/// The call that gives the token for a listing's first page; `from` is where the listing begins.
pub fn first_token_call(account: &Account, base: &Collection, from: Option<i64>) -> Result<Request, SyncError> {
    let first = first_token(base).ok_or_else(|| SyncError::internal("the listing begins without a token"))?;
    let mut names = Names::default();
    if let Some(cursor) = &base.cursor {
        names.set_bound("cursor", cursor, from.unwrap_or(0), false);
    }
    let call = request_with(account, &Collection::asking(&first.call), &[], &names, None)?;
    Ok(Request { rules: base.errors.clone(), ..call })
}

/// Asks for the token that a listing's first page wants, where it wants one.
pub async fn first_token_of(
    api: &ApiClient,
    base: &Collection,
    from: Option<i64>,
) -> Result<Option<String>, SyncError> {
    let Some(first) = first_token(base) else { return Ok(None) };
    let call = first_token_call(api.account(), base, from)?;
    let token = api.call_parsed(call, |reply| {
        let text = std::str::from_utf8(&reply.body).unwrap_or_default();
        serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|e| format!("the reply is not whole JSON: {e}"))?;
        let token = text_at(text, &first.pointer).filter(|token| !token.is_empty()).map(|token| token.into_owned());
        token.ok_or_else(|| format!("the reply has no token at \"{}\"", first.pointer))
    });
    token.await.map(Some)
}

/// The first request of a part, as far as it can be known without a call.
pub fn first_request(
    account: &Account,
    base: &Collection,
    outputs: &[Output],
    part: &Part,
) -> Result<Request, SyncError> {
    let mut names = part.names.clone();
    lookups::set_names(base, outputs, &mut names);
    if let Some(fields) = fields(base, outputs).into_iter().next() {
        names.set_list("fields", fields);
    }
    let (base, windows) = in_time(account, base, part)?;
    request_of(account, &base, outputs, part, windows.front().copied().unwrap_or_default(), names, None)
}

/// The listing with its zone known, and the windows in which a part of it is read.
fn in_time(account: &Account, base: &Collection, part: &Part) -> Result<(Collection, VecDeque<Window>), SyncError> {
    let mut base = base.clone();
    let Some(cursor) = base.cursor.as_mut().filter(|cursor| !cursor.created_only) else {
        return Ok((base, VecDeque::from([Window::default()])));
    };
    if let Some(zone) = &cursor.zone {
        // A zone that nobody knows is one that we cannot count in.
        cursor.zone = Some(crate::http::fill(account, zone)?.unwrap_or_else(|| "unknown".into()));
    }
    let cursor = cursor.clone();
    let windows = windows_of(&base, &cursor, part.from.max(start_of(account, &cursor)?), part.to);
    Ok((base, windows))
}

/// The first page of the query for a window.
fn request_of(
    account: &Account,
    base: &Collection,
    outputs: &[Output],
    part: &Part,
    window: Window,
    mut names: Names,
    last_key: Option<String>,
) -> Result<Request, SyncError> {
    let cursor = base.cursor.as_ref().filter(|cursor| !cursor.created_only);
    if let Some(cursor) = cursor {
        for (name, at, is_upper) in [("cursor", window.lower, false), ("upper", window.upper, true)] {
            if let Some(at) = at {
                names.set_bound(name, cursor, at, is_upper);
            }
        }
        widest(base, cursor, &mut names);
    }
    if let Some(key) = last_key {
        names.set("last_key", key);
    }
    let mut request = request_with(account, base, outputs, &names, part.limit)?;
    if part.may_be_gone {
        request.accept = vec![404];
    }
    for (name, value) in &part.params {
        request = with_param(&request, name, value);
    }
    let opaque = cursor.and_then(|cursor| cursor.opaque.as_ref()).zip(part.opaque.as_ref());
    if let Some((opaque, text)) = opaque {
        return Ok(with_token(&request, &opaque.param, text, false));
    }
    let Some(cursor) = cursor else { return Ok(request) };
    for (param, at, is_upper) in [(&cursor.param, window.lower, false), (&cursor.upper_param, window.upper, true)] {
        if let (Some(param), Some(at)) = (param, at) {
            let text = bound(cursor, at, is_upper);
            let is_number = text.bytes().all(|b| b.is_ascii_digit());
            request = with_token(&request, param, &text, is_number);
        }
    }
    Ok(request)
}

/// The request of a page, as far as it is saved.
pub fn saved_page(next: &Request) -> Value {
    let mut page = json!({ "target": next.target, "query": next.query });
    if let (Some(body), Some(members)) = (&next.json_body, page.as_object_mut()) {
        members.insert("json".into(), body.clone());
    }
    page
}

/// The saved request of a page, with everything else as a fresh one has it.
pub fn request_at(page: &Value, first: &Request) -> Option<Request> {
    let target = page.get("target")?.as_str()?.to_string();
    let query: Vec<(String, String)> = serde_json::from_value(page.get("query")?.clone()).ok()?;
    let json_body = page.get("json").cloned().or_else(|| first.json_body.clone());
    Some(Request { target, query, json_body, ..first.clone() })
}
