//! Reads everything: a first load, a fall-back, or the keys for a reconcile.
//!
//! Decides the checkpoint that a complete listing earns, and what is saved with each page so that an interrupted
//! listing goes on where it was. Listings that can be asked by creation are read in slices (`slices.rs`).
//!
//! Layer: extract. Knows nothing of Postgres.

use super::lookups::Told;
use super::pages::ListPage;
use super::raw::text_at;
use super::request::{bases, stamp_of, SECOND_US};
use super::tables::{Stamp, Tables};
use super::walk::{Part, Walk};
use super::windows::start_of;
use super::{below, job, slices};
use crate::error::SyncError;
use crate::extract::sink::Sink;
use crate::extract::time::{parse_iso, to_iso_ms};
use crate::extract::{Output, ReadEnd};
use crate::http::ApiClient;
use crate::manifest::{Collection, Cursor, Deletes, Pages, SortOrder, Source};
use serde_json::{json, Value};

/// What a complete reading knows, saved as the position of an interrupted one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The listing being read, when there are several.
    pub base: usize,
    /// The app's clock when the reading began, microseconds: nothing older is missed.
    pub upper: Option<i64>,
    /// The newest stamp seen, for collections with stamps of their own.
    pub newest: Option<i64>,
    /// The app's own word for where the next run goes on.
    pub opaque: Option<String>,
    /// Records that the next run need not ask about again, where something is looked up.
    pub told: Option<Told>,
}

impl Progress {
    pub fn of(position: &Value) -> Self {
        let instant = |name: &str| position.get(name).and_then(Value::as_str).and_then(parse_iso);
        let base = position.get("base").and_then(Value::as_u64).and_then(|n| n.try_into().ok()).unwrap_or(0);
        let opaque = position.get("opaque").and_then(Value::as_str).map(str::to_string);
        Progress { base, upper: instant("upper"), newest: instant("newest"), opaque, told: None }
    }

    /// The position after a page: `(name, value)` says where its listing goes on.
    pub fn position(&self, name: &str, value: Value) -> Value {
        let mut position = json!({ name: value });
        if let Some(members) = position.as_object_mut() {
            for (name, instant) in [("upper", self.upper), ("newest", self.newest)] {
                if let Some(instant) = instant {
                    members.insert(name.into(), to_iso_ms(instant).into());
                }
            }
            if let Some(opaque) = &self.opaque {
                members.insert("opaque".into(), opaque.as_str().into());
            }
            if self.base > 0 {
                members.insert("base".into(), self.base.into());
            }
        }
        position
    }

    /// Takes note of a page's clock and stamps.
    pub fn see(&mut self, base: &Collection, page: &ListPage) {
        self.upper = self.upper.or(page.date_us);
        if let Some(told) = &mut self.told {
            told.see(base, page);
        }
        if let Some(cursor) = base.cursor.as_ref().filter(|c| !c.created_only) {
            // An export in the order of time says itself where it has come to.
            let newest = page.time_us().or_else(|| page.records().filter_map(|raw| stamp_of(cursor, raw)).max());
            self.newest = self.newest.max(newest);
            if let Some(opaque) = &cursor.opaque {
                self.opaque =
                    text_at(page.text(), &opaque.pointer).map(|text| text.into_owned()).or(self.opaque.take());
            }
        }
    }

    /// The cursor that what was read earns: no change before it was missed, and no future stamp freezes it.
    pub fn cursor(&self) -> Option<i64> {
        match (self.newest, self.upper) {
            (Some(newest), Some(upper)) => Some(newest.min(upper)),
            // Without a clock a stamp may be of a change that came while earlier pages were already read.
            (Some(_), None) => None,
            (None, upper) => upper,
        }
    }
}

/// Whether a base can be read in slices of its creation time, newest first.
fn is_sliced(base: &Collection) -> bool {
    let by_creation =
        base.cursor.as_ref().is_some_and(|c| c.created_only && c.param.is_some() && c.upper_param.is_some());
    by_creation && matches!(base.pages, Some(Pages::LastId { .. }))
}

/// The version of what a page lists, for collections whose records have no stamp of their own.
pub fn stamp(source: &Source, base: &Collection, page: &ListPage) -> Stamp {
    let has_own = base.cursor.as_ref().is_some_and(|c| !c.created_only);
    let version = if has_own || source.feed.is_none() { None } else { page.list_version() };
    Stamp { version, is_deleted: false }
}

/// Puts a page's records into their tables, and reads on what they hold by the first page only.
pub async fn fill(
    api: &ApiClient,
    tables: &mut Tables<'_>,
    base: &Collection,
    page: &ListPage,
    sink: &Sink,
) -> Result<(), SyncError> {
    fill_from(api, tables, base, page, None, sink).await
}

/// The same, without what is older than `from`.
pub async fn fill_from(
    api: &ApiClient,
    tables: &mut Tables<'_>,
    base: &Collection,
    page: &ListPage,
    from: Option<i64>,
    sink: &Sink,
) -> Result<(), SyncError> {
    let stamp = stamp(tables.source(), base, page);
    for (index, raw) in page.records().enumerate() {
        if is_before(base.cursor.as_ref(), raw, from) {
            continue;
        }
        let jobs = tables.record(base, raw, &page.around(index), stamp)?;
        if !jobs.is_empty() {
            tables.read_on(api, jobs, sink).await?;
        }
    }
    Ok(())
}

/// Whether a record is older than what is wanted. One without a time is not.
fn is_before(cursor: Option<&Cursor>, raw: &str, from: Option<i64>) -> bool {
    let stamp = || stamp_of(cursor?, raw);
    from.is_some_and(|from| stamp().is_some_and(|stamp| stamp < from))
}

/// Reads a part of a base's listing into the tables, until it ends or comes to what is known: `from` is where the part
/// begins.
#[allow(clippy::too_many_arguments)]
pub async fn walk_through(
    api: &ApiClient,
    tables: &mut Tables<'_>,
    base: &Collection,
    walk: &mut Walk<'_>,
    from: Option<i64>,
    progress: &mut Progress,
    keep_position: bool,
    sink: &Sink,
) -> Result<(), SyncError> {
    let cursor = base.cursor.as_ref().filter(|cursor| !cursor.created_only);
    let newest_first = cursor.is_some_and(|cursor| cursor.order == Some(SortOrder::NewestFirst));
    let wanted = from.filter(|_| cursor.is_some_and(|cursor| cursor.client_side || newest_first));
    while let Some(page) = walk.next_page().await? {
        progress.see(base, &page);
        fill_from(api, tables, base, &page, wanted, sink).await?;
        if newest_first && page.records().next_back().is_some_and(|last| is_before(cursor, last, wanted)) {
            walk.stop();
        }
        let position = position_of(walk, progress).filter(|_| keep_position);
        sink.page(tables.page(position)).await?;
    }
    Ok(())
}

/// The position after a page, where the walk can be taken up again.
fn position_of(walk: &Walk<'_>, progress: &Progress) -> Option<Value> {
    let places = walk.position()?;
    let is_over = places.iter().any(|(name, value)| *name == "page" && value.is_null());
    let progress = if is_over { Progress { base: progress.base + 1, ..progress.clone() } } else { progress.clone() };
    let mut position = progress.position("page", Value::Null);
    for (name, value) in places {
        if let Some(members) = position.as_object_mut() {
            members.insert(name.into(), value);
        }
    }
    Some(position)
}

/// How far before a cursor is read again, microseconds.
pub fn overlap_us(cursor: &Cursor) -> i64 {
    i64::try_from(cursor.overlap_seconds).unwrap_or(i64::MAX).saturating_mul(SECOND_US)
}

/// What a complete reading leaves behind for an output. Nothing where only a complete listing tells what is gone: the
/// next run is one again.
pub fn checkpoint_of(output: &Output, progress: &Progress) -> Option<Value> {
    if matches!(output.collection.deletes, Deletes::Absent) {
        return None;
    }
    Some(with_state(checkpoint(progress.cursor()), progress))
}

/// A checkpoint with what the next reading has to know beside the time.
pub fn with_state(mut checkpoint: Value, progress: &Progress) -> Value {
    if let Some(members) = checkpoint.as_object_mut() {
        members.extend(progress.opaque.iter().map(|opaque| ("opaque".to_string(), opaque.as_str().into())));
        progress.told.iter().for_each(|told| told.leave(members));
    }
    checkpoint
}

/// The checkpoint after a complete reading.
pub fn checkpoint(cursor: Option<i64>) -> Value {
    match cursor.map(to_iso_ms) {
        Some(text) => json!({ "cursor": text, "checked_at": text }),
        None => json!({ "cursor": null }),
    }
}

/// Reads every page of every base. `keep_position` saves where to go on with each page.
pub async fn read(
    api: &ApiClient,
    outputs: &[Output],
    resume: Option<&Value>,
    keep_position: bool,
    sink: &Sink,
) -> Result<ReadEnd, SyncError> {
    let source = std::sync::Arc::clone(&api.account().source);
    let Some(first) = outputs.first() else { return Ok(ReadEnd::default()) };
    if below::is_below(first) {
        return below::read(api, first, resume, false, sink).await;
    }
    let bases = bases(&source, &first.collection)?;
    let mut tables = Tables::new(api.account(), outputs, true);
    let mut progress = resume.map(Progress::of).unwrap_or_default();
    let mut resume = resume;
    while let Some(base) = bases.get(progress.base) {
        progress.told = Told::of(base, outputs).map(|_| Told::default());
        let place = resume.take();
        let is_read = match job::of(base, true) {
            Some(job) => {
                let part = Part::default();
                job::read(api, &mut tables, base, job, outputs, part, place, keep_position, &mut progress, sink).await?
            }
            None => false,
        };
        if is_read {
            // Nothing is left to list.
        } else if is_sliced(base) {
            slices::read(api, &mut tables, base, outputs, place, keep_position, &mut progress, sink).await?;
        } else {
            read_plain(api, &mut tables, base, outputs, place, keep_position, &mut progress, sink).await?;
        }
        progress.base += 1;
    }
    Ok(ReadEnd {
        checkpoints: outputs.iter().map(|output| checkpoint_of(output, &progress)).collect(),
        notes: std::mem::take(&mut tables.notes),
        ..ReadEnd::default()
    })
}

/// Reads a listing that only its own page tokens can divide.
#[allow(clippy::too_many_arguments)]
async fn read_plain(
    api: &ApiClient,
    tables: &mut Tables<'_>,
    base: &Collection,
    outputs: &[Output],
    resume: Option<&Value>,
    keep_position: bool,
    progress: &mut Progress,
    sink: &Sink,
) -> Result<(), SyncError> {
    let from = match base.cursor.as_ref().filter(|cursor| !cursor.created_only) {
        Some(cursor) => start_of(api.account(), cursor)?,
        None => None,
    };
    let mut walk = Walk::new(api, base, outputs, Part::default())?;
    let is_resumed = match resume {
        Some(position) => walk.resume(position)?,
        None => false,
    };
    if is_resumed {
        match walk_through(api, tables, base, &mut walk, from, progress, keep_position, sink).await {
            // A page token may have died with the listing it came from.
            Err(SyncError::BadRequest { .. } | SyncError::NotFound { .. } | SyncError::CursorExpired { .. }) => {
                tables.note("the interrupted listing could not be continued and was read from its start");
                *progress = Progress { base: progress.base, ..Progress::default() };
                walk = Walk::new(api, base, outputs, Part::default())?;
            }
            ended => return ended,
        }
    }
    let ended = walk_through(api, tables, base, &mut walk, from, progress, keep_position, sink).await;
    match (ended, &base.pages) {
        // A walk that the app let die, or another one that was open, begins anew once.
        (Err(SyncError::CursorExpired { .. }), Some(Pages::Scroll { .. })) => {
            tables.note("the app gave up the listing half way; it was read again from its start");
            *progress = Progress { base: progress.base, ..Progress::default() };
            walk = Walk::new(api, base, outputs, Part::default())?;
            walk_through(api, tables, base, &mut walk, from, progress, keep_position, sink).await
        }
        (ended, _) => ended,
    }
}
