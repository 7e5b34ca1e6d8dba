//! Turns records into rows of each table they concern: the record's own, and those of children found inside it.
//!
//! Decides which children belong to a table, what they get from their parent, and when a parent's children are
//! known to be all there.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::made::{self, Made};
use super::pages::{Around, Pager, Shape};
use super::raw::{at, at_path, text_at};
use super::request::{key_text, listing};
use super::take::{self, Taken};
use crate::error::SyncError;
use crate::extract::batch::{Batch, Cell, CompleteParent};
use crate::extract::record::{About, RecordParser};
use crate::extract::sink::Sink;
use crate::extract::{Output, Page};
use crate::http::{Account, ApiClient, Request};
use crate::manifest::{field_path, Collection, Deletes, Pages, Parent, Records, Source};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;

/// Between the parts of a child's key in [`CompleteParent`].
pub const KEY_SEPARATOR: char = ',';

/// Rows beyond this are handed over before the rest of a parent's children is read, in bytes.
pub const FLUSH_BYTES: usize = 4 << 20;

/// What is known of a record from the reply it came in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamp {
    pub version: Option<i64>,
    /// It is gone: only its key counts.
    pub is_deleted: bool,
}

/// Where a child's column comes from.
enum Added {
    Index,
    Parent(Vec<String>),
    /// A pointer into what is around the child, `^` a step.
    Around(String),
}

struct Table<'r> {
    output: &'r Output,
    parser: RecordParser,
    batch: Batch,
    added: Vec<(usize, Added)>,
    /// Columns that are no field of the record as it is.
    made: Vec<(usize, Made)>,
}

/// The tables that one stream of calls fills.
pub struct Tables<'r> {
    account: &'r Account,
    tables: Vec<Table<'r>>,
    /// Whether complete sets of children are reported (a live scan has no use for them).
    report_complete: bool,
    /// The only tables that a listing fills for now.
    only_these: Option<Vec<usize>>,
    /// Rows of which a newer state was given already: what comes later in a stream of newest changes is older.
    seen: Option<HashSet<u128>>,
    pub notes: Vec<String>,
}

/// Children that go on in a listing of their own.
pub struct ReadOn {
    request: Request,
    next: Option<Request>,
    shape: Shape,
    parent: String,
    parent_key: Option<String>,
    stamp: Stamp,
    /// Table, keys of its children so far.
    takers: Vec<(usize, Vec<String>)>,
    index: usize,
}

impl<'r> Tables<'r> {
    pub fn new(account: &'r Account, outputs: &'r [Output], report_complete: bool) -> Self {
        let table = |output: &'r Output| {
            let parent = output.collection.parent.as_ref();
            let column = |name: &str| output.columns.iter().position(|c| c.name == name);
            let place = |text: &str| match text {
                "#index" => Added::Index,
                outer if outer.starts_with('^') => Added::Around(outer.to_string()),
                pointer => Added::Parent(if pointer.is_empty() { Vec::new() } else { field_path(pointer) }),
            };
            let (parsed, made) = made::split(account, output);
            Table {
                output,
                parser: RecordParser::new(&parsed),
                made,
                batch: Batch::new(output.columns.len()),
                added: parent
                    .iter()
                    .flat_map(|p| &p.add)
                    .filter_map(|(name, from)| Some((column(name)?, place(from))))
                    .collect(),
            }
        };
        Tables {
            account,
            tables: outputs.iter().map(table).collect(),
            report_complete,
            only_these: None,
            seen: None,
            notes: Vec::new(),
        }
    }

    /// Lets listings fill these tables only, or all again.
    pub fn limit_to(&mut self, tables: Option<Vec<usize>>) {
        self.only_these = tables;
    }

    /// From now on, or no longer, the first row of a key is its newest, and others of that key are passed over.
    pub fn newest_come_first(&mut self, yes: bool) {
        self.seen = yes.then(HashSet::new);
    }

    pub fn output(&self, table: usize) -> Option<&'r Output> {
        self.tables.get(table).map(|t| t.output)
    }

    /// A record of `base`'s listing: its own row, and its children's. What is given back must be read on.
    pub fn record(
        &mut self,
        base: &Collection,
        raw: &str,
        around: &Around<'_>,
        stamp: Stamp,
    ) -> Result<Vec<ReadOn>, SyncError> {
        let of = |test: &dyn Fn(&Collection) -> bool| -> Vec<usize> {
            let is_open = |index: &usize| self.only_these.as_ref().is_none_or(|these| these.contains(index));
            let matching = self.tables.iter().enumerate().filter(|(_, t)| test(&t.output.collection));
            matching.map(|(index, _)| index).filter(is_open).collect()
        };
        let own = of(&|c| c.name == base.name);
        let children = of(&|c| c.parent.as_ref().is_some_and(|p| p.collections.contains(&base.name)));
        for table in own {
            self.push(table, raw, around, &About { version: stamp.version, ..gone(stamp) });
        }
        self.children(&children, base, raw, stamp)
    }

    /// The row of a record of the table's own collection.
    pub fn own(&mut self, table: usize, raw: &str, stamp: Stamp) {
        self.push(table, raw, &Around::default(), &About { version: stamp.version, ..gone(stamp) });
    }

    /// A record of which only the key is read: it is there, and that is all.
    pub fn key(&mut self, table: usize, raw: &str) {
        self.push(table, raw, &Around::default(), &About { key_only: true, ..About::default() });
    }

    /// A record that another listing shows as gone: whole, or its key alone in a record of ours.
    pub fn gone(&mut self, table: usize, raw: &str, version: Option<i64>, key_only: bool) {
        let about = About { version, deleted: Some(true), key_only, added: &[] };
        self.push(table, raw, &Around::default(), &about);
    }

    /// Adds a row. Gives its key, unless the record could not become a row.
    fn push(&mut self, index: usize, raw: &str, around: &Around<'_>, about: &About<'_>) -> Option<String> {
        let table = self.tables.get_mut(index)?;
        let batch = &mut table.batch;
        let (row, arena, misfits) = (batch.rows.len(), batch.arena.len(), batch.misfits);
        let by_rule = if about.deleted.is_none() { made::is_gone_by_rule(&table.output.collection, raw) } else { None };
        // A tombstone's made columns are those of its key.
        let makes = |column: &usize| !about.key_only || table.output.key.contains(column);
        let wanted = table.made.iter().filter(|(column, _)| makes(column));
        let values: Vec<(usize, Cow<'_, str>)> =
            wanted.map(|(column, how)| (*column, how.value(raw, around))).collect();
        let made = values.iter().map(|(column, value)| (*column, value.as_ref()));
        let added: Vec<(usize, &str)> = made.chain(about.added.iter().copied()).collect();
        table.parser.push(batch, raw, &About { deleted: about.deleted.or(by_rule), added: &added, ..*about });
        if batch.rows.len() == row {
            return None;
        }
        let key = row_key(batch, row, &table.output.key);
        let hash = || xxhash_rust::xxh3::xxh3_128(format!("{index}\u{0}{key}").as_bytes());
        if self.seen.as_mut().is_some_and(|seen| !seen.insert(hash())) {
            batch.rows.truncate(row);
            batch.cells.truncate(row * batch.width);
            batch.arena.truncate(arena);
            batch.misfits = misfits;
        }
        Some(key)
    }

    /// The rows of `tables` that are inside a record of their parent.
    pub fn children(
        &mut self,
        tables: &[usize],
        base: &Collection,
        raw: &str,
        stamp: Stamp,
    ) -> Result<Vec<ReadOn>, SyncError> {
        let mut jobs: Vec<ReadOn> = Vec::new();
        if tables.is_empty() {
            return Ok(jobs);
        }
        let parent_key = key_text(base, raw);
        let is_gone = made::is_marked_gone(base, raw);
        for index in tables {
            let Some(output) = self.output(*index) else { continue };
            let Some(parent) = &output.collection.parent else { continue };
            if is_gone && matches!(output.collection.deletes, Deletes::WithParent { marked: true }) {
                let gone = Stamp { is_deleted: true, ..stamp };
                self.complete(*index, gone, parent_key.as_deref(), Vec::new());
                continue;
            }
            let Some(explode) = &parent.explode else {
                // One listing for each parent, deleted ones apart: nobody lists those.
                match (&parent.path, stamp.is_deleted) {
                    (Some(_), false) => {
                        let job = self.listing_of(output, parent, base, raw, parent_key.clone(), stamp)?;
                        push_job(&mut jobs, job, *index, Vec::new());
                    }
                    _ => self.complete(*index, stamp, parent_key.as_deref(), Vec::new()),
                }
                continue;
            };
            // Absent means not shown (a field that has to be expanded), not that there are none.
            // The path up to the first `*`, and what is behind it.
            let (explode, levels) = match explode.find("/*") {
                Some(at) => (explode.get(..at).unwrap_or_default(), explode.get(at..).unwrap_or_default()),
                None => (explode.as_str(), ""),
            };
            let Some(value) = at(raw, explode) else {
                if stamp.is_deleted {
                    self.complete(*index, stamp, parent_key.as_deref(), Vec::new());
                }
                continue;
            };
            let list = parent.list.as_ref();
            let inside = match list {
                Some(list) if value != "null" => at(value, &list.records).unwrap_or("null"),
                _ => value,
            };
            let found = inner(inside, raw, levels);
            let mut keys = Vec::new();
            for (position, child) in found.iter().enumerate() {
                keys.extend(self.child(*index, child.raw, raw, &child.outer, position, stamp));
            }
            match list {
                Some(list) if !stamp.is_deleted && at(value, &list.more) == Some("true") => {
                    let pages = base.pages.clone().unwrap_or(Pages::None);
                    let first = listing(self.account, &list.path, &list.params, base, raw, &pages)?;
                    let last = found.last().map(|child| child.raw);
                    let job = read_on(
                        first,
                        Records::at(&list.records),
                        pages,
                        last,
                        raw,
                        parent_key.clone(),
                        stamp,
                        found.len(),
                    );
                    push_job(&mut jobs, job, *index, keys);
                }
                _ => self.complete(*index, stamp, parent_key.as_deref(), keys),
            }
        }
        Ok(jobs)
    }

    fn listing_of(
        &self,
        output: &Output,
        parent: &Parent,
        base: &Collection,
        raw: &str,
        parent_key: Option<String>,
        stamp: Stamp,
    ) -> Result<ReadOn, SyncError> {
        let collection = &output.collection;
        let pages = collection.pages.clone().or_else(|| base.pages.clone()).unwrap_or(Pages::None);
        let params = collection.params.iter().chain(&parent.params).map(|(k, v)| (k.clone(), v.clone())).collect();
        let first = listing(self.account, parent.path.as_deref().unwrap_or_default(), &params, base, raw, &pages)?;
        let own = &collection.records;
        let records = if own.pointer.is_empty() { base.records.clone() } else { own.clone() };
        Ok(read_on(first, records, pages, None, raw, parent_key, stamp, 0))
    }

    /// One child. Gives its key when it became a row of the table.
    pub fn child(
        &mut self,
        table: usize,
        raw: &str,
        parent: &str,
        outer: &[&str],
        position: usize,
        stamp: Stamp,
    ) -> Option<String> {
        let index = table;
        let table = self.tables.get(index)?;
        let origin = table.output.collection.parent.as_ref();
        if !origin.is_none_or(|origin| take::belongs(raw, outer, &origin.only)) {
            return None;
        }
        let around = Around { outer: outer.to_vec(), key: None, index: position };
        let position = position.to_string();
        let added: Vec<(usize, &str)> = table
            .added
            .iter()
            .map(|(column, from)| match from {
                Added::Index => (*column, position.as_str()),
                Added::Parent(path) => (*column, at_path(parent, path).unwrap_or("null")),
                Added::Around(pointer) => {
                    let found = take::around(raw, outer, pointer).and_then(|(raw, pointer)| at(raw, pointer));
                    (*column, found.unwrap_or("null"))
                }
            })
            .collect();
        self.push(index, raw, &around, &About { version: stamp.version, added: &added, ..gone(stamp) })
    }

    /// All children of a parent are known: others of it are gone.
    pub fn complete(&mut self, table: usize, stamp: Stamp, parent_key: Option<&str>, child_keys: Vec<String>) {
        let report = self.report_complete;
        let Some(table) = self.tables.get_mut(table) else { return };
        let Some(parent_key) = parent_key.filter(|_| report) else { return };
        if matches!(table.output.collection.deletes, Deletes::WithParent { .. }) {
            // A deleted parent has no children left, whatever its last state shows.
            let child_keys = if stamp.is_deleted { Vec::new() } else { child_keys };
            table.batch.complete_parents.push(CompleteParent { parent_key: parent_key.to_string(), child_keys });
        }
    }

    /// Reads the rest of lists that were given by their first page only.
    pub async fn read_on(&mut self, api: &ApiClient, jobs: Vec<ReadOn>, sink: &Sink) -> Result<(), SyncError> {
        for mut job in jobs {
            let mut pager = Pager::new(job.shape.clone(), job.request.clone());
            if let Some(next) = job.next.take() {
                pager = pager.starting_at(next);
            }
            let mut is_gone = false;
            while let Some(page) = pager.next_page(api).await? {
                is_gone |= page.status == 404;
                for child in page.records() {
                    for (table, keys) in &mut job.takers {
                        keys.extend(self.child(*table, child, &job.parent, &[&job.parent], job.index, job.stamp));
                    }
                    job.index += 1;
                }
                if self.size() > FLUSH_BYTES {
                    sink.page(self.page(None)).await?;
                }
            }
            if is_gone {
                self.note("a parent was deleted while its children were read");
                continue;
            }
            for (table, keys) in job.takers {
                self.complete(table, job.stamp, job.parent_key.as_deref(), keys);
            }
        }
        Ok(())
    }

    pub fn size(&self) -> usize {
        self.tables.iter().map(|t| t.batch.size()).sum()
    }

    /// Rows since the last page.
    pub fn row_count(&self) -> usize {
        self.tables.iter().map(|t| t.batch.rows.len()).sum()
    }

    /// Says something once.
    pub fn note(&mut self, text: &str) {
        if !self.notes.iter().any(|known| known == text) {
            self.notes.push(text.to_string());
        }
    }

    /// What was gathered, as a page.
    pub fn page(&mut self, position: Option<Value>) -> Page {
        let mut batches = Vec::new();
        for (index, table) in self.tables.iter_mut().enumerate() {
            let has_news = !table.batch.rows.is_empty()
                || !table.batch.rejected.is_empty()
                || !table.batch.complete_parents.is_empty();
            if has_news {
                let width = table.output.columns.len();
                batches.push((index, std::mem::replace(&mut table.batch, Batch::new(width))));
            }
        }
        Page { batches, position }
    }

    pub fn source(&self) -> &'r Source {
        &self.account.source
    }
}

/// The children in what a parent's path led to; `levels` are further steps with `*`.
fn inner<'a>(value: &'a str, parent: &'a str, levels: &str) -> Vec<Taken<'a>> {
    let records =
        Records { optional: true, single: value.starts_with('{') && levels.is_empty(), ..Records::at(levels) };
    let mut taken = take::take(value, &records).map(|taking| taking.records).unwrap_or_default();
    for child in &mut taken {
        child.outer.insert(0, parent);
    }
    taken
}

fn gone(stamp: Stamp) -> About<'static> {
    About { deleted: stamp.is_deleted.then_some(true), key_only: stamp.is_deleted, ..About::default() }
}

#[allow(clippy::too_many_arguments)]
fn read_on(
    request: Request,
    records: Records,
    pages: Pages,
    last: Option<&str>,
    parent: &str,
    parent_key: Option<String>,
    stamp: Stamp,
    index: usize,
) -> ReadOn {
    // A last id continues where the embedded page ended; other styles have to begin again.
    let next = match (&pages, last) {
        (Pages::LastId { param, field, .. }, Some(last)) => {
            text_at(last, field).map(|id| super::pages::with_param(&request, param, &id))
        }
        _ => None,
    };
    let index = if next.is_some() { index } else { 0 };
    let request = Request { accept: vec![404], ..request };
    let next = next.map(|next| Request { accept: vec![404], ..next });
    let shape = Shape { records, pages };
    ReadOn { request, next, shape, parent: parent.to_string(), parent_key, stamp, takers: Vec::new(), index }
}

/// Tables that want the same listing share it.
fn push_job(jobs: &mut Vec<ReadOn>, job: ReadOn, table: usize, keys: Vec<String>) {
    let same =
        |known: &&mut ReadOn| known.request.target == job.request.target && known.request.query == job.request.query;
    match jobs.iter_mut().find(same) {
        Some(known) => known.takers.push((table, keys)),
        None => jobs.push(ReadOn { takers: vec![(table, keys)], ..job }),
    }
}

/// The key of a row as text, its parts in the order of the primary key.
fn row_key(batch: &Batch, row: usize, key: &[usize]) -> String {
    let cells = batch.row(row);
    let part = |index: &usize| match cells.get(*index) {
        Some(cell @ (Cell::Text(_) | Cell::Number(_) | Cell::Json(_))) => batch.text(cell).into_owned(),
        Some(Cell::Int(n)) => n.to_string(),
        Some(Cell::Bool(b)) => b.to_string(),
        Some(Cell::Float(x)) => x.to_string(),
        Some(Cell::Timestamp(t)) => t.to_string(),
        Some(Cell::Date(d)) => d.to_string(),
        Some(Cell::Null | Cell::Binary(_)) | None => String::new(),
    };
    key.iter().map(part).collect::<Vec<_>>().join(&KEY_SEPARATOR.to_string())
}
