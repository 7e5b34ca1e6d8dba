//! Reads everything: a first load, a fall-back, or the keys for a reconcile.
//!
//! Decides the checkpoint that a complete listing earns, and what is saved with each page so that an interrupted
//! listing goes on where it was. Listings that can be asked by creation are read in slices (`slices.rs`).
//!
//! Layer: extract. Knows nothing of Postgres.

use super::pages::{ListPage, Pager};
use super::request::{base_request, bases, shape, stamp_of};
use super::slices;
use super::tables::{Stamp, Tables};
use crate::error::SyncError;
use crate::extract::sink::Sink;
use crate::extract::time::{parse_iso, to_iso_ms};
use crate::extract::{Output, ReadEnd};
use crate::http::{ApiClient, Request};
use crate::manifest::{Collection, Pages, Source};
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
}

impl Progress {
    fn of(position: &Value) -> Self {
        let instant = |name: &str| position.get(name).and_then(Value::as_str).and_then(parse_iso);
        let base = position.get("base").and_then(Value::as_u64).and_then(|n| n.try_into().ok()).unwrap_or(0);
        Progress { base, upper: instant("upper"), newest: instant("newest") }
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
            if self.base > 0 {
                members.insert("base".into(), self.base.into());
            }
        }
        position
    }

    /// Takes note of a page's clock and stamps.
    pub fn see(&mut self, base: &Collection, page: &ListPage) {
        self.upper = self.upper.or(page.date_us);
        if let Some(cursor) = base.cursor.as_ref().filter(|c| !c.created_only) {
            self.newest = self.newest.max(page.records().filter_map(|raw| stamp_of(cursor, raw)).max());
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
    let stamp = stamp(tables.source(), base, page);
    for raw in page.records() {
        let jobs = tables.record(base, raw, stamp)?;
        if !jobs.is_empty() {
            tables.read_on(api, jobs, sink).await?;
        }
    }
    Ok(())
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
    let bases = bases(&source, &first.collection)?;
    let mut tables = Tables::new(&source, outputs, true);
    let mut progress = resume.map(Progress::of).unwrap_or_default();
    let mut resume = resume;
    while let Some(base) = bases.get(progress.base) {
        let place = resume.take();
        if is_sliced(base) {
            slices::read(api, &mut tables, base, outputs, place, keep_position, &mut progress, sink).await?;
        } else {
            read_plain(api, &mut tables, base, outputs, place, keep_position, &mut progress, sink).await?;
        }
        progress.base += 1;
    }
    let checkpoint = checkpoint(progress.cursor());
    Ok(ReadEnd {
        checkpoints: outputs.iter().map(|_| Some(checkpoint.clone())).collect(),
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
    let first = base_request(api.account(), base, outputs, None)?;
    let fresh = || Pager::new(shape(base), first.clone());
    let saved = resume.and_then(|position| position.get("page")).and_then(|page| request_at(page, &first));
    let mut is_resumed = saved.is_some();
    let mut pager = match saved {
        Some(next) => fresh().starting_at(next),
        None => fresh(),
    };
    loop {
        let page = match pager.next_page(api).await {
            Ok(page) => page,
            // A page token may have died with the listing it came from.
            Err(SyncError::BadRequest { .. } | SyncError::NotFound { .. } | SyncError::CursorExpired { .. })
                if is_resumed =>
            {
                is_resumed = false;
                tables.note("the interrupted listing could not be continued and was read from its start");
                *progress = Progress { base: progress.base, ..Progress::default() };
                pager = fresh();
                continue;
            }
            Err(error) => return Err(error),
        };
        is_resumed = false;
        let Some(page) = page else { return Ok(()) };
        progress.see(base, &page);
        fill(api, tables, base, &page, sink).await?;
        let position = match pager.next() {
            Some(next) => progress.position("page", json!({ "target": next.target, "query": next.query })),
            None => Progress { base: progress.base + 1, ..progress.clone() }.position("page", Value::Null),
        };
        sink.page(tables.page(keep_position.then_some(position))).await?;
    }
}

/// The saved request of a page, with everything else as a fresh one has it.
fn request_at(page: &Value, first: &Request) -> Option<Request> {
    let target = page.get("target")?.as_str()?.to_string();
    let query: Vec<(String, String)> = serde_json::from_value(page.get("query")?.clone()).ok()?;
    Some(Request { target, query, ..first.clone() })
}
