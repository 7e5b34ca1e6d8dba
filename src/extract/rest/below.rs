//! Reads listings that lie below the records of another collection: one call for each parent, or for many at once.
//!
//! Decides which parents are asked about, from where on, and what a reading of their children is worth: only a listing
//! without a bound tells that it is complete.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::full::{checkpoint, checkpoint_of, overlap_us, stamp, Progress};
use super::incremental::{changes_of, check_age};
use super::names::Names;
use super::pages::ListPage;
use super::parents::given_parents;
use super::raw::text_at;
use super::request::{bases, key_text, stamp_of};
use super::tables::{Stamp, Tables, FLUSH_BYTES};
use super::walk::{can_ask_since, can_read_since, Part, Walk};
use super::windows::start_of;
use crate::error::SyncError;
use crate::extract::sink::Sink;
use crate::extract::time::{parse_iso, to_iso_ms};
use crate::extract::{cursor_of, Output, ReadEnd};
use crate::http::{Account, ApiClient, Request};
use crate::manifest::{Collection, Cursor, Parent, Records};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Whether an output's records are listed below its parents, and not by the change feed's rules.
pub fn is_below(output: &Output) -> bool {
    output.collection.parent.as_ref().is_some_and(|parent| parent.path.is_some())
}

/// The collection as it is listed below its parents.
fn listing_of(collection: &Collection, parent: &Parent, base: &Collection) -> Collection {
    let own = collection.records != Records::default();
    Collection {
        method: parent.method,
        path: parent.path.clone(),
        params: collection.params.iter().chain(&parent.params).map(|(k, v)| (k.clone(), v.clone())).collect(),
        json: parent.json.clone(),
        records: if own { collection.records.clone() } else { base.records.clone() },
        pages: collection.pages.clone().or_else(|| base.pages.clone()),
        ..collection.clone()
    }
}

/// One call's parents: their records, and the names that stand for them.
struct Asked {
    parents: Vec<String>,
    names: Names,
}

/// A reading of one table's rows below all the parents that matter.
struct Below<'a> {
    api: &'a ApiClient,
    output: &'a Output,
    parent: &'a Parent,
    tables: Tables<'a>,
    is_incremental: bool,
    /// The shared cursor of an earlier reading.
    cursor: Option<i64>,
    /// Those of each parent, old and new.
    cursors: BTreeMap<String, i64>,
    /// Of the children.
    progress: Progress,
    keep_position: bool,
    /// A live query: rows are given as soon as there are some.
    is_lazy: bool,
    /// A parent was passed over, so that rows may lack that are not gone.
    is_incomplete: bool,
}

impl<'a> Below<'a> {
    fn new(api: &'a ApiClient, output: &'a Output, is_lazy: bool) -> Result<Self, SyncError> {
        let parent = output.collection.parent.as_ref();
        Ok(Below {
            api,
            output,
            parent: parent.ok_or_else(|| SyncError::internal("a listing below no parent"))?,
            tables: Tables::new(api.account(), std::slice::from_ref(output), !is_lazy),
            is_incremental: false,
            cursor: None,
            cursors: BTreeMap::new(),
            progress: Progress::default(),
            keep_position: false,
            is_lazy,
            is_incomplete: false,
        })
    }
}

/// Shows a live query the rows below its parents, or below those that it names.
pub async fn scan(
    api: &ApiClient,
    output: &Output,
    named: Option<Vec<String>>,
    sink: &Sink,
) -> Result<ReadEnd, SyncError> {
    let source = std::sync::Arc::clone(&api.account().source);
    let mut below = Below::new(api, output, true)?;
    for base in bases(&source, &output.collection)? {
        let given = given_parents(api, below.parent, base)?;
        match named.clone().or(given) {
            Some(parents) => below.all(base, parents, None, 0, sink).await?,
            None => below.listed(base, None, &mut Progress::default(), sink).await?,
        }
    }
    Ok(ReadEnd { notes: std::mem::take(&mut below.tables.notes), ..ReadEnd::default() })
}

/// The first call below a parent that a live query names.
pub fn first_request(account: &Account, output: &Output, named: &str) -> Result<Option<Request>, SyncError> {
    let Some(parent) = &output.collection.parent else { return Ok(None) };
    let Some(base) = bases(&account.source, &output.collection)?.into_iter().next() else { return Ok(None) };
    let mut names = Names::default();
    names.set_columns(base, named);
    let listing = listing_of(&output.collection, parent, base);
    let part = Part { names, ..Part::default() };
    super::walk::first_request(account, &listing, std::slice::from_ref(output), &part).map(Some)
}

/// Asks for one child of the first of these parents that can be asked about.
pub async fn try_one(api: &ApiClient, output: &Output, base: &Collection, parents: &[String]) -> Result<(), SyncError> {
    let below = Below::new(api, output, true)?;
    let asked = parents.iter().find_map(|parent| below.asked(base, std::slice::from_ref(parent)));
    let Some(asked) = asked else { return Ok(()) };
    let listing = listing_of(&output.collection, below.parent, base);
    let part = Part { names: asked.names, may_be_gone: true, limit: Some(1), ..Part::default() };
    Walk::new(api, &listing, std::slice::from_ref(output), part)?.next_page().await?;
    Ok(())
}

/// Reads the rows of `output` below its parents.
pub async fn read(
    api: &ApiClient,
    output: &Output,
    resume: Option<&Value>,
    is_incremental: bool,
    sink: &Sink,
) -> Result<ReadEnd, SyncError> {
    let source = std::sync::Arc::clone(&api.account().source);
    let known = output.checkpoint.as_ref().filter(|_| is_incremental);
    let instants = |value: &Value| {
        value.as_object().map(|members| {
            members.iter().filter_map(|(key, at)| Some((key.clone(), parse_iso(at.as_str()?)?))).collect()
        })
    };
    let mut below = Below {
        is_incremental,
        cursor: known.and_then(cursor_of).and_then(parse_iso),
        cursors: known.and_then(|known| known.get("parents")).and_then(instants).unwrap_or_default(),
        keep_position: !is_incremental,
        ..Below::new(api, output, false)?
    };
    let parent = below.parent;
    let saved = resume.map(Progress::of).unwrap_or_default();
    below.progress = saved.clone();
    let mut parents = Progress::default();
    for (number, base) in bases(&source, &output.collection)?.into_iter().enumerate().skip(saved.base) {
        below.progress.base = number;
        let place = resume.filter(|_| number == saved.base);
        match given_parents(api, parent, base)? {
            Some(given) => below.all(base, given, None, 0, sink).await?,
            None => below.listed(base, place, &mut parents, sink).await?,
        }
    }
    sink.page(below.tables.page(None)).await?;
    let checkpoint = below.checkpoint(&parents);
    let incomplete = if below.is_incomplete { vec![0] } else { Vec::new() };
    let notes = std::mem::take(&mut below.tables.notes);
    Ok(ReadEnd { checkpoints: vec![checkpoint], incomplete, notes, ..ReadEnd::default() })
}

impl Below<'_> {
    /// Reads the parents' listing, and what is below each of its records.
    async fn listed(
        &mut self,
        base: &Collection,
        place: Option<&Value>,
        parents: &mut Progress,
        sink: &Sink,
    ) -> Result<(), SyncError> {
        let only_changed = self.parent.changed_only && self.is_incremental;
        let listing = if only_changed { changes_of(base) } else { base.clone() };
        let mut part = Part::default();
        let since = self.cursor.filter(|_| only_changed && can_read_since(&listing));
        if let (Some(since), Some(cursor)) = (since, &listing.cursor) {
            check_age(cursor, since)?;
            part.from = Some(since.saturating_sub(overlap_us(cursor)));
        }
        let from = part.from;
        let mut walk = Walk::new(self.api, &listing, &[], part.clone())?;
        let mut skip = 0;
        let mut is_resumed = false;
        if let Some(place) = place {
            is_resumed = walk.resume(place)?;
            if is_resumed {
                skip = place.get("skip").and_then(Value::as_u64).unwrap_or(0) as usize;
            }
        }
        // The place of the page at hand: what is below its records is not all read yet.
        let mut at_hand = place.and_then(|place| place.get("page")).cloned();
        loop {
            let page = match walk.next_page().await {
                // A page token may have died with the listing it came from.
                Err(SyncError::BadRequest { .. } | SyncError::NotFound { .. } | SyncError::CursorExpired { .. })
                    if is_resumed =>
                {
                    self.tables.note("the interrupted listing could not be continued and was read from its start");
                    walk = Walk::new(self.api, &listing, &[], part.clone())?;
                    (is_resumed, skip, at_hand) = (false, 0, None);
                    continue;
                }
                page => page?,
            };
            is_resumed = false;
            let Some(page) = page else { return Ok(()) };
            parents.see(&listing, &page);
            let is_wanted = |raw: &&str| match (from, &listing.cursor) {
                (Some(from), Some(cursor)) => stamp_of(cursor, raw).is_none_or(|stamp| stamp >= from),
                _ => true,
            };
            let records: Vec<String> = page.records().filter(is_wanted).map(str::to_string).collect();
            self.all(base, records, at_hand.as_ref(), skip, sink).await?;
            skip = 0;
            at_hand = walk
                .position()
                .and_then(|places| places.into_iter().find(|(name, _)| *name == "page").map(|(_, value)| value));
            // What was read so far, and that the next page of parents comes next. Rows of a live query are given already.
            if !self.is_lazy {
                let position = self.position(at_hand.as_ref(), 0);
                sink.page(self.tables.page(position)).await?;
            }
        }
    }

    /// Where an interrupted reading goes on: at a page of parents, behind so many of them.
    fn position(&self, page: Option<&Value>, done: usize) -> Option<Value> {
        if !self.keep_position {
            return None;
        }
        let page = page?;
        let is_over = page.is_null();
        let base = self.progress.base + usize::from(is_over);
        let mut position = Progress { base, ..self.progress.clone() }.position("page", page.clone());
        if let (Some(members), true) = (position.as_object_mut(), done > 0) {
            members.insert("skip".into(), done.into());
        }
        Some(position)
    }

    /// Reads what is below each of these parents.
    async fn all(
        &mut self,
        base: &Collection,
        parents: Vec<String>,
        page: Option<&Value>,
        skip: usize,
        sink: &Sink,
    ) -> Result<(), SyncError> {
        let size = self.parent.batch.as_ref().map_or(1, |batch| batch.size.max(1));
        let mut done = skip;
        for some in parents.get(skip..).unwrap_or_default().chunks(size) {
            if let Some(asked) = self.asked(base, some) {
                self.one_call(base, &asked, sink).await?;
            }
            done += some.len();
            if self.tables.size() > FLUSH_BYTES {
                let position = self.position(page, done);
                sink.page(self.tables.page(position)).await?;
            }
        }
        Ok(())
    }

    /// The names for a call about these parents; `None` when there is nothing to ask about.
    fn asked(&self, base: &Collection, parents: &[String]) -> Option<Asked> {
        let mut names = Names::default();
        let Some(batch) = &self.parent.batch else {
            names.set_columns(base, parents.first()?);
            return Some(Asked { parents: parents.to_vec(), names });
        };
        let mut keys: Vec<String> = Vec::new();
        let mut kept = Vec::new();
        for parent in parents {
            if let Some(key) = text_at(parent, &batch.key).filter(|key| !key.is_empty()) {
                keys.push(key.into_owned());
                kept.push(parent.clone());
            }
        }
        if keys.is_empty() {
            return None;
        }
        names.set_list("parent_keys", keys);
        Some(Asked { parents: kept, names })
    }

    /// One listing below a parent, or below several.
    async fn one_call(&mut self, base: &Collection, asked: &Asked, sink: &Sink) -> Result<(), SyncError> {
        let listing = listing_of(&self.output.collection, self.parent, base);
        let key = asked.parents.first().and_then(|raw| key_text(base, raw)).filter(|_| asked.parents.len() == 1);
        let cursor = listing.cursor.clone().filter(|cursor| !cursor.created_only);
        let from = self.from(cursor.as_ref(), key.as_deref())?;
        let is_bounded = from.is_some() && can_ask_since(&listing);
        let part = Part { from, names: asked.names.clone(), may_be_gone: true, ..Part::default() };
        let outputs = std::slice::from_ref(self.output);
        let mut walk = Walk::new(self.api, &listing, outputs, part)?;
        let wanted = from.filter(|_| cursor.as_ref().is_some_and(|c| c.client_side || c.order.is_some()));
        let (mut keys, mut index, mut is_gone) = (Vec::new(), 0, false);
        let mut own = Progress::default();
        while let Some(page) = walk.next_page().await? {
            if page.status == 404 {
                is_gone = true;
                continue;
            }
            own.see(&listing, &page);
            let is_past = self.rows(base, asked, &listing, &page, wanted, &mut index, &mut keys);
            if is_past {
                walk.stop();
            }
            if self.tables.size() > FLUSH_BYTES || (self.is_lazy && self.tables.row_count() > 0) {
                // Rows of a parent that is not done yet: the place stays where it was.
                sink.page(self.tables.page(None)).await?;
            }
        }
        self.progress.upper = self.progress.upper.or(own.upper);
        self.progress.newest = self.progress.newest.max(own.newest);
        if is_gone {
            self.tables.note("a parent was gone, or has no such children, when they were asked for");
            self.is_incomplete = true;
            return Ok(());
        }
        if let (Some(key), Some(at)) = (&key, own.cursor()) {
            let at = self.cursors.get(key).map_or(at, |known| at.max(*known));
            // Without any record, the old place stays: the app's clock may be ahead of what it shows.
            if own.newest.is_some() || !self.cursors.contains_key(key) {
                self.cursors.insert(key.clone(), at);
            }
        }
        let is_partial = is_bounded || wanted.is_some();
        if let Some(key) = key.filter(|_| !is_partial) {
            self.tables.complete(0, Stamp::default(), Some(&key), keys);
        }
        Ok(())
    }

    /// Puts a page's records into the table. Says whether what is known was reached.
    #[allow(clippy::too_many_arguments)]
    fn rows(
        &mut self,
        base: &Collection,
        asked: &Asked,
        listing: &Collection,
        page: &ListPage,
        wanted: Option<i64>,
        index: &mut usize,
        keys: &mut Vec<String>,
    ) -> bool {
        let is_old = |raw: &str| {
            let stamp = || stamp_of(listing.cursor.as_ref()?, raw);
            wanted.is_some_and(|from| stamp().is_some_and(|stamp| stamp < from))
        };
        let stamp = stamp(self.tables.source(), listing, page);
        for (number, raw) in page.records().enumerate() {
            *index += 1;
            if is_old(raw) {
                continue;
            }
            let Some(parent) = self.parent_of(base, asked, raw) else { continue };
            let around = page.around(number);
            let mut outer: Vec<&str> = vec![parent];
            outer.extend(around.outer);
            keys.extend(self.tables.child(0, raw, parent, &outer, *index - 1, stamp));
        }
        let by_time = listing.cursor.as_ref().is_some_and(|c| c.order == Some(crate::manifest::SortOrder::NewestFirst));
        by_time && page.records().next_back().is_some_and(is_old)
    }

    /// The parent that a child of a batch belongs to.
    fn parent_of<'p>(&self, _base: &Collection, asked: &'p Asked, child: &str) -> Option<&'p str> {
        let batch = self.parent.batch.as_ref().and_then(|batch| Some((batch, batch.key_in_child.as_ref()?)));
        let Some((batch, in_child)) = batch else { return asked.parents.first().map(String::as_str) };
        let key = text_at(child, in_child)?;
        asked.parents.iter().map(String::as_str).find(|parent| text_at(parent, &batch.key).as_deref() == Some(&*key))
    }

    /// From where on the children of a parent are asked for.
    fn from(&self, cursor: Option<&Cursor>, key: Option<&str>) -> Result<Option<i64>, SyncError> {
        let Some(cursor) = cursor else { return Ok(None) };
        let known = match (self.is_incremental, cursor.per_parent) {
            (false, _) => None,
            (true, true) => key.and_then(|key| self.cursors.get(key)).copied(),
            // Children of changed parents are read whole: which of them changed is known by nobody.
            (true, false) => self.cursor.filter(|_| !self.parent.changed_only),
        };
        match known {
            Some(at) => {
                check_age(cursor, at)?;
                Ok(Some(at.saturating_sub(overlap_us(cursor))))
            }
            None => start_of(self.api.account(), cursor),
        }
    }

    /// What the next run goes on from.
    fn checkpoint(&self, parents: &Progress) -> Option<Value> {
        let cursor = self.output.collection.cursor.as_ref().filter(|cursor| !cursor.created_only);
        let own = cursor.filter(|_| !self.parent.changed_only);
        let progress = if own.is_some() { &self.progress } else { parents };
        if !self.is_incremental {
            return Some(self.with_parents(checkpoint_of(self.output, progress)?));
        }
        if matches!(self.output.collection.deletes, crate::manifest::Deletes::Absent) {
            return None;
        }
        let old = self.cursor;
        let seen = progress.newest.and(progress.cursor());
        let at = match (seen, old) {
            (Some(seen), Some(old)) => Some(seen.max(old)),
            (seen, old) => seen.or(old),
        };
        Some(self.with_parents(checkpoint(at.or(progress.cursor()))))
    }

    fn with_parents(&self, mut checkpoint: Value) -> Value {
        let per_parent = self.output.collection.cursor.as_ref().is_some_and(|cursor| cursor.per_parent);
        if let (Some(members), true) = (checkpoint.as_object_mut(), per_parent) {
            let cursors: Map<String, Value> =
                self.cursors.iter().map(|(key, at)| (key.clone(), to_iso_ms(*at).into())).collect();
            members.insert("parents".into(), cursors.into());
        }
        checkpoint
    }
}
