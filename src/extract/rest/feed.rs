//! Brings many tables up to date from one stream of changes.
//!
//! One poll serves every collection: changes come newest first, so the first one seen of an object is its latest
//! state and later ones are passed over. Decides which changes concern which table, what a deletion is, when an
//! object must be read again by its id, and which tables the stream can no longer help.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::full::{with_state, Progress};
use super::lookback;
use super::pages::{fetch, ListPage, Shape};
use super::raw::{at, text_at};
use super::request::{by_key, column_text, is_gone, key_text, stamp_of, SECOND_US};
use super::tables::{Stamp, Tables};
use super::walk::{Part, Walk};
use crate::error::SyncError;
use crate::extract::sink::Sink;
use crate::extract::time::{parse_iso, to_iso_ms};
use crate::extract::{cursor_of, Output, ReadEnd};
use crate::http::ApiClient;
use crate::manifest::{Collection, CollectionFeed, Feed, Pages, Records, Source};
use serde_json::{json, Value};
use std::collections::{BTreeMap, HashSet};

const DAY_SECONDS: i64 = 86_400;

/// What the stream has to know of one output.
pub struct Follower {
    pub cursor: i64,
    /// Changes before this are old news to it.
    from: i64,
    is_expired: bool,
    /// Why it alone could not be read.
    failed: Option<SyncError>,
    /// A change not older than its cursor was seen, of whatever object.
    pub saw_news: bool,
}

impl Follower {
    /// Nothing more is done for it in this run.
    pub fn is_out(&self) -> bool {
        self.is_expired || self.failed.is_some()
    }
}

/// Whether a failure concerns what was asked for, and not the app or the run as a whole: then the others go on.
pub fn is_of_one(error: &SyncError) -> bool {
    use SyncError::{AccessDenied, BadRequest, FieldRefused, NotFound, PagerLoop, TooLarge, Unreadable, Unsupported};
    matches!(
        error,
        AccessDenied { .. }
            | BadRequest { .. }
            | FieldRefused { .. }
            | NotFound { .. }
            | PagerLoop { .. }
            | TooLarge { .. }
            | Unreadable { .. }
            | Unsupported { .. }
    )
}

/// Brings all outputs up to date.
pub async fn read(api: &ApiClient, outputs: &[Output], sink: &Sink) -> Result<ReadEnd, SyncError> {
    let source = std::sync::Arc::clone(&api.account().source);
    let feed = source.feed.as_ref().ok_or_else(|| SyncError::internal("this source has no change feed"))?;
    let mut poll = Poll::new(api, &source, feed, outputs);
    poll.tables.newest_come_first(feed.newest_first);
    poll.read(sink).await?;
    poll.tables.newest_come_first(false);
    let now = poll.now;
    let mut end = ReadEnd { checkpoints: vec![None; outputs.len()], ..ReadEnd::default() };
    for (index, (follower, output)) in poll.followers.iter().zip(outputs).enumerate() {
        if follower.is_expired {
            let days = feed.retention_days;
            end.expired
                .push((index, format!("the app keeps changes for {days} days, and the last refresh is longer ago")));
        } else if let Some(error) = &follower.failed {
            end.failed.push((index, error.clone()));
        } else if let Some(slot) = end.checkpoints.get_mut(index) {
            *slot = Some(with_state(next_checkpoint(output, follower, poll.reached()), &poll.progress));
        }
    }
    for (index, checked) in lookback::read(api, &mut poll.tables, outputs, &poll.followers, now, sink).await? {
        match (checked, end.checkpoints.get_mut(index)) {
            (Ok(at), Some(Some(Value::Object(members)))) => {
                members.insert("checked_at".into(), at.into());
            }
            (Err(error), Some(slot)) => {
                *slot = None;
                end.failed.push((index, error));
            }
            _ => {}
        }
    }
    end.notes = std::mem::take(&mut poll.tables.notes);
    Ok(end)
}

/// The cursor follows the app's clock, and never goes back.
fn next_checkpoint(output: &Output, follower: &Follower, reached: Option<i64>) -> Value {
    let cursor = reached.map_or(follower.cursor, |reached| reached.max(follower.cursor));
    let mut checkpoint = json!({ "cursor": to_iso_ms(cursor) });
    let old = output.checkpoint.as_ref().and_then(|c| c.get("checked_at"));
    if let (Some(members), Some(old)) = (checkpoint.as_object_mut(), old) {
        members.insert("checked_at".into(), old.clone());
    }
    checkpoint
}

/// One poll of the stream.
struct Poll<'r> {
    api: &'r ApiClient,
    source: &'r Source,
    feed: &'r Feed,
    outputs: &'r [Output],
    tables: Tables<'r>,
    followers: Vec<Follower>,
    /// The app's clock at the first reply.
    now: Option<i64>,
    progress: Progress,
    /// (output, object) whose latest change was applied. Hashes of 128 bits: a stream may hold millions.
    seen: HashSet<u128>,
    api_version: Option<String>,
}

impl<'r> Poll<'r> {
    fn new(api: &'r ApiClient, source: &'r Source, feed: &'r Feed, outputs: &'r [Output]) -> Self {
        let overlap = i64::try_from(feed.cursor.overlap_seconds).unwrap_or(i64::MAX).saturating_mul(SECOND_US);
        let follower = |output: &Output| {
            let cursor = output.checkpoint.as_ref().and_then(cursor_of).and_then(parse_iso);
            Follower {
                cursor: cursor.unwrap_or(i64::MAX),
                from: cursor.unwrap_or(i64::MAX).saturating_sub(overlap),
                // Without a cursor there is nothing to go on from.
                is_expired: cursor.is_none(),
                failed: None,
                saw_news: false,
            }
        };
        let options = &api.account().options;
        Poll {
            api,
            source,
            feed,
            outputs,
            tables: Tables::new(api.account(), outputs, true),
            followers: outputs.iter().map(follower).collect(),
            now: None,
            progress: Progress::default(),
            seen: HashSet::new(),
            api_version: options.get("api_version").or(source.api_version.as_ref()).cloned(),
        }
    }

    /// The oldest change that still matters to anyone; `None` when nobody follows any more.
    fn from(&self) -> Option<i64> {
        self.followers.iter().filter(|f| !f.is_out()).map(|f| f.from).min()
    }

    async fn read(&mut self, sink: &Sink) -> Result<(), SyncError> {
        let Some(from) = self.from() else { return Ok(()) };
        let listing = Collection {
            path: Some(self.feed.path.clone()),
            params: self.feed.params.clone(),
            records: Records::at(&self.feed.records),
            pages: Some(self.feed.pages.clone()),
            cursor: Some(self.feed.cursor.clone()),
            ..Collection::default()
        };
        let opaque = self.shared_opaque();
        if opaque.is_some() {
            // The app knows what this one has not told yet, however old a change says it is.
            self.followers.iter_mut().for_each(|follower| follower.from = i64::MIN);
        }
        self.progress.opaque = opaque.clone();
        let part = Part { from: Some(from), opaque, ..Part::default() };
        let mut walk = Walk::new(self.api, &listing, &[], part)?;
        while let Some(page) = walk.next_page().await? {
            self.progress.see(&listing, &page);
            if self.now.is_none() {
                self.now =
                    page.date_us.or_else(|| self.newest_of(&page)).map(|now| now.div_euclid(SECOND_US) * SECOND_US);
                self.expire();
            }
            let Some(from) = self.from() else { return Ok(()) };
            let is_past = self.apply(&page, from, sink).await?;
            sink.page(self.tables.page(None)).await?;
            if is_past && self.feed.newest_first {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The app's own word for where all of them stopped; where they differ, time says where.
    fn shared_opaque(&self) -> Option<String> {
        let opaque = |output: &Output| Some(output.checkpoint.as_ref()?.get("opaque")?.as_str()?.to_string());
        let (mut known, is_used) = (self.outputs.iter().map(opaque), self.feed.cursor.opaque.is_some());
        let first = known.next().flatten().filter(|_| is_used)?;
        known.all(|other| other.as_ref() == Some(&first)).then_some(first)
    }

    /// Up to when all changes were told.
    fn reached(&self) -> Option<i64> {
        let behind = i64::try_from(self.feed.cursor.behind_seconds).unwrap_or(i64::MAX).saturating_mul(SECOND_US);
        self.now.map(|now| now.saturating_sub(behind))
    }

    fn newest_of(&self, page: &ListPage) -> Option<i64> {
        page.records().filter_map(|raw| stamp_of(&self.feed.cursor, raw)).max()
    }

    /// Drops the outputs whose cursor is older than what the app still keeps, a day of margin included.
    fn expire(&mut self) {
        let kept = (i64::from(self.feed.retention_days) - 1).saturating_mul(DAY_SECONDS * SECOND_US);
        let Some(now) = self.now else { return };
        for follower in &mut self.followers {
            follower.is_expired |= now.saturating_sub(follower.cursor) > kept;
        }
    }

    /// Applies a page of changes. Says whether changes older than `from` were reached.
    async fn apply(&mut self, page: &ListPage, from: i64, sink: &Sink) -> Result<bool, SyncError> {
        // A stream in the order of time is turned round page by page, so that the latest state comes first; across
        // pages the version decides.
        let changes: Vec<&str> =
            if self.feed.newest_first { page.records().collect() } else { page.records().rev().collect() };
        let mut is_past = false;
        for change in changes {
            let Some(created) = stamp_of(&self.feed.cursor, change) else {
                self.tables.note("a change without its time was passed over");
                continue;
            };
            if created < from {
                is_past = true;
                continue;
            }
            // The cursor is cut to its second, in which changes may have come after the last poll.
            for follower in &mut self.followers {
                follower.saw_news |= created >= follower.cursor;
            }
            self.change(change, created, sink).await?;
        }
        if !self.feed.newest_first {
            self.seen.clear();
        }
        Ok(is_past)
    }

    async fn change(&mut self, change: &str, created: i64, sink: &Sink) -> Result<(), SyncError> {
        let Some(name) = text_at(change, &self.feed.event_type) else { return Ok(()) };
        let Some(object) = at(change, &self.feed.object).filter(|raw| raw.starts_with('{')) else { return Ok(()) };
        // Outputs by the collection that the object is a record of: one reading by id serves them all.
        let mut takers: BTreeMap<&str, Vec<Taker>> = BTreeMap::new();
        for (index, output) in self.outputs.iter().enumerate() {
            let follows = self.followers.get(index).is_some_and(|f| !f.is_out() && created >= f.from);
            let Some(feed) = output.collection.feed.as_ref().filter(|_| follows) else { continue };
            let belongs = feed.only.iter().all(|(field, want)| text_at(object, field).as_deref() == Some(want));
            let Some(of_parent) = role(feed, &name).filter(|_| belongs) else { continue };
            let base = if of_parent {
                parent_of(self.source, &output.collection, object)
            } else {
                Some(&*output.collection.name)
            };
            let Some((base, collection)) = base.and_then(|base| Some((base, self.source.listed(base)?))) else {
                continue;
            };
            // An object without an id cannot be told from others; it goes to the table, which parks it.
            let id = key_text(collection, object);
            if id.is_none_or(|id| self.seen.insert(fingerprint(index, base, &id))) {
                let is_deleted = feed.deleted.iter().any(|wanted| is_named(wanted, &name));
                takers.entry(base).or_default().push(Taker { index, of_parent, is_deleted });
            }
        }
        for (base, takers) in takers {
            let Some(base) = self.source.listed(base) else { continue };
            match self.object(base, &takers, change, object, created, sink).await {
                Err(error) if is_of_one(&error) => self.fail(&takers, &error),
                other => other?,
            }
        }
        Ok(())
    }

    /// Leaves outputs behind that cannot be read; the others go on.
    fn fail(&mut self, takers: &[Taker], error: &SyncError) {
        for taker in takers {
            if let Some(follower) = self.followers.get_mut(taker.index) {
                follower.failed.get_or_insert(error.clone());
            }
        }
    }

    /// Puts the latest state of one object into the tables that want it.
    async fn object(
        &mut self,
        base: &Collection,
        takers: &[Taker],
        change: &str,
        object: &str,
        created: i64,
        sink: &Sink,
    ) -> Result<(), SyncError> {
        let (gone, living): (Vec<Taker>, Vec<Taker>) = takers.iter().partition(|taker| taker.is_deleted);
        let stamp = Stamp { version: Some(created), is_deleted: true };
        self.put(base, &gone, object, stamp, sink).await?;
        if living.is_empty() {
            return Ok(());
        }
        let as_it_is = Stamp { is_deleted: false, ..stamp };
        if !self.is_other_version(change) {
            return self.put(base, &living, object, as_it_is, sink).await;
        }
        let Some(request) = by_key(base, |column| column_text(base, object, column)) else {
            self.tables.note("changes in another API version were taken as they are: there is no reading by id");
            return self.put(base, &living, object, as_it_is, sink).await;
        };
        let shape = Shape { records: Records::default(), pages: Pages::None };
        let page = fetch(self.api, request, &shape).await?;
        let Some(current) = page.records().next() else {
            self.tables
                .note("a changed object was gone when it was read by its id; its deletion is a change of its own");
            return Ok(());
        };
        // What was read by id is at least as new as the change that told of it.
        let version = page.list_version().map_or(created, |version| version.max(created));
        let stamp = Stamp { version: Some(version), is_deleted: is_gone(base, current) };
        self.put(base, &living, current, stamp, sink).await
    }

    async fn put(
        &mut self,
        base: &Collection,
        takers: &[Taker],
        raw: &str,
        stamp: Stamp,
        sink: &Sink,
    ) -> Result<(), SyncError> {
        for taker in takers.iter().filter(|taker| !taker.of_parent) {
            self.tables.own(taker.index, raw, stamp);
        }
        let children: Vec<usize> = takers.iter().filter(|taker| taker.of_parent).map(|taker| taker.index).collect();
        let jobs = self.tables.children(&children, base, raw, stamp)?;
        self.tables.read_on(self.api, jobs, sink).await
    }

    /// Whether the change shows its object as another version of the API does.
    fn is_other_version(&self, change: &str) -> bool {
        let Some(pointer) = &self.feed.version else { return false };
        match (text_at(change, pointer), &self.api_version) {
            (Some(theirs), Some(ours)) => theirs != ours.as_str(),
            _ => false,
        }
    }
}

/// An output that a change concerns.
#[derive(Clone, Copy)]
struct Taker {
    index: usize,
    /// The object is the parent's, and the output's rows are inside it.
    of_parent: bool,
    is_deleted: bool,
}

/// Whether a change concerns a collection, and then whether its object is the parent's.
fn role(feed: &CollectionFeed, name: &str) -> Option<bool> {
    let is_in = |names: &[String]| names.iter().any(|wanted| is_named(wanted, name));
    if is_in(&feed.types) || is_in(&feed.deleted) {
        return Some(feed.of_parent);
    }
    is_in(&feed.parent_types).then_some(true)
}

/// The parent collection that an object is a record of.
fn parent_of<'s>(source: &'s Source, collection: &'s Collection, object: &str) -> Option<&'s str> {
    let parents = &collection.parent.as_ref()?.collections;
    // With several parents the object's own kind tells; every app that has several names it.
    let kind = text_at(object, "/object");
    let is_it = |name: &&String| source.listed(name).is_some_and(|c| Some(c.object.as_str()) == kind.as_deref());
    let only = || parents.first().filter(|_| parents.len() == 1);
    parents.iter().find(is_it).or_else(only).map(String::as_str)
}

/// `charge.refund.updated` as it is, or a family such as `charge.*`.
fn is_named(wanted: &str, name: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(family) => name.starts_with(family),
        None => wanted == name,
    }
}

fn fingerprint(output: usize, base: &str, id: &str) -> u128 {
    xxhash_rust::xxh3::xxh3_128(format!("{output}\u{0}{base}\u{0}{id}").as_bytes())
}

/// Whether the stream can bring a collection up to date.
pub fn is_followed(source: &Source, collection: &Collection) -> bool {
    source.feed.is_some() && (collection.feed.is_some() || lookback::window(source, collection).is_some())
}
