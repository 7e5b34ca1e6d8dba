//! Writes batches into a local table: one prepared statement a collection, fed from a tuplestore without any text.
//!
//! In a first load that is a plain INSERT: it needs no look at the key's index before each row, and no mark in the log after it.
//! Should a row be there all the same, the batch is undone and stored by the upsert.
//!
//! A row whose stored hash equals the record's is left alone, so a quiet refresh writes no row version. A record older than
//! the stored row (by `record_version`) never replaces it; an equally old one does, since two changes can share a stamp.

use super::statements::Statements;
use super::tables::LocalTable;
use crate::extract::batch::{Batch, Cell, Rejected, RowMeta};
use crate::extract::Output;
use crate::report::{fail, Report};
use crate::value;
use pgrx::prelude::*;
use pgrx::{FromDatum, PgMemoryContexts};
use std::collections::HashMap;
use std::ffi::CString;

/// What one batch, or one run, did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub fetched: i64,
    pub inserted: i64,
    pub updated: i64,
    pub unchanged: i64,
    pub stale: i64,
    pub deleted: i64,
    pub rejected: i64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.fetched += other.fetched;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.stale += other.stale;
        self.deleted += other.deleted;
        self.rejected += other.rejected;
    }
}

/// Beyond this the tuplestore goes to disk; what is handed to a writer at once is less.
const STORE_KILOBYTES: i32 = 64 << 10;

/// A plan that survives commits; freed with its owner.
struct Plan(pg_sys::SPIPlanPtr);

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: the plan was kept and is used by nobody else.
        unsafe { pg_sys::SPI_freeplan(self.0) };
    }
}

/// How rows are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// None of them is there yet, as far as known: quick, and an error (23505) when one is.
    Insert,
    Upsert,
    /// Rows that are there get one column's value.
    Fill,
}

/// Writes the batches of one output.
pub struct Writer {
    types: Vec<pg_sys::Oid>,
    key: Vec<usize>,
    /// Shape of the relation `batch`; lives in TopMemoryContext.
    shape: pg_sys::TupleDesc,
    statements: Statements,
    plans: HashMap<&'static str, Plan>,
    convert: bool,
    /// How often rows taken for new were new, and were not.
    as_expected: u32,
    surprises: u32,
    expects_new: bool,
    /// The statement of [`Way::Fill`], for a writer that does nothing else.
    fill: Option<String>,
    /// One row on its way, used again for each.
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // SAFETY: made by `shape_of`, not reference-counted, used by nobody else.
        unsafe { pg_sys::FreeTupleDesc(self.shape) };
    }
}

/// Columns of the relation `batch` beside the table's: name and type.
const EXTRA_COLUMNS: [(&str, pg_sys::Oid); 5] = [
    ("is_deleted", pg_sys::BOOLOID),
    ("extra", pg_sys::JSONBOID),
    ("record_version", pg_sys::TIMESTAMPTZOID),
    ("record_hash", pg_sys::INT8OID),
    ("key_only", pg_sys::BOOLOID),
];

/// Rows are no longer taken for new when more than one batch in so many surprised: each costs the batch twice.
const RARELY: u32 = 8;

/// One row of several batches.
type Place = (usize, usize);

impl Writer {
    pub fn new(table: &LocalTable, output: &Output) -> Result<Self, Report> {
        let types: Vec<pg_sys::Oid> =
            output.columns.iter().map(|c| table.columns.get(&c.name).copied().unwrap_or(pg_sys::InvalidOid)).collect();
        let width = types.len() + EXTRA_COLUMNS.len();
        Ok(Writer {
            shape: shape_of(&types)?,
            types,
            key: output.key.clone(),
            statements: Statements::new(table, output),
            plans: HashMap::new(),
            convert: value::needs_conversion(),
            as_expected: 0,
            surprises: 0,
            expects_new: false,
            fill: None,
            values: vec![pg_sys::Datum::from(0); width],
            nulls: vec![true; width],
        })
    }

    /// A writer that fills the last column of rows that are there.
    pub fn filling(table: &LocalTable, output: &Output) -> Result<Self, Report> {
        let mut writer = Writer::new(table, output)?;
        writer.fill = Some(super::backfill::statement(table, output));
        Ok(writer)
    }

    /// Rows to come are not there yet, as in a first load; should that be wrong, nothing but time is lost.
    pub fn expect_new(&mut self, yes: bool) {
        self.expects_new = yes;
    }

    pub fn way(&self) -> Way {
        if self.fill.is_some() {
            Way::Fill
        } else if self.expects_new && self.surprises <= 1 + self.as_expected / RARELY {
            Way::Insert
        } else {
            Way::Upsert
        }
    }

    /// Whether rows taken for new were so.
    pub fn note_insert(&mut self, were_new: bool) {
        if were_new {
            self.as_expected += 1;
        } else {
            self.surprises += 1;
        }
    }

    /// Stores batches as if they were one. Errors of the table (constraints, triggers, rights) are raised as Postgres
    /// has them.
    ///
    /// Gives the counts and the records that could not be stored.
    pub fn write(&mut self, batches: &[&Batch], way: Way) -> Result<(Counts, Vec<Rejected>), Report> {
        let mut counts = Counts::default();
        let mut rejected = Vec::new();
        for batch in batches {
            counts.fetched += (batch.rows.len() + batch.rejected.len()) as i64;
            rejected.extend(batch.rejected.iter().cloned());
        }
        let chosen = self.newest_of_each_key(batches);
        counts.unchanged += batches.iter().map(|b| b.rows.len()).sum::<usize>() as i64 - chosen.len() as i64;
        let mut context = PgMemoryContexts::new("cloudsync batch");
        // SAFETY: everything allocated inside lives in `context`, which is freed after the last use.
        let outcome = unsafe { context.switch_to(|_| self.execute(batches, &chosen, way, &mut counts, &mut rejected)) };
        outcome?;
        for batch in batches.iter().filter(|batch| !batch.complete_parents.is_empty()) {
            let Some(sql) = &self.statements.parents else { break };
            let parents: Vec<&str> = batch.complete_parents.iter().map(|p| p.parent_key.as_str()).collect();
            let children: Vec<&str> =
                batch.complete_parents.iter().flat_map(|p| p.child_keys.iter().map(String::as_str)).collect();
            counts.deleted += crate::spi::run(sql, &[parents.into(), children.into()])? as i64;
        }
        counts.rejected = rejected.len() as i64;
        Ok((counts, rejected))
    }

    /// The rows to store: of several with one key only the newest, and of equally old ones the last.
    fn newest_of_each_key(&self, batches: &[&Batch]) -> Vec<Place> {
        let count = batches.iter().map(|batch| batch.rows.len()).sum();
        let mut place: HashMap<u128, usize> = HashMap::with_capacity(count);
        let mut chosen: Vec<Place> = Vec::with_capacity(count);
        let version = |(batch, row): Place| batches.get(batch)?.rows.get(row)?.version;
        let mut bytes = Vec::new();
        for (at, batch) in batches.iter().enumerate() {
            for row in 0..batch.rows.len() {
                let key = key_hash(batch, row, &self.key, &mut bytes);
                match place.get(&key).copied() {
                    None => {
                        place.insert(key, chosen.len());
                        chosen.push((at, row));
                    }
                    Some(slot) => {
                        let Some(held) = chosen.get_mut(slot) else { continue };
                        let (new, old) = (version((at, row)), version(*held));
                        if new.is_none() || old.is_none() || new >= old {
                            *held = (at, row);
                        }
                    }
                }
            }
        }
        chosen
    }

    /// Fills the tuplestore and runs the statements over it.
    ///
    /// # Safety
    /// The current memory context must outlive the call.
    unsafe fn execute(
        &mut self,
        batches: &[&Batch],
        chosen: &[Place],
        way: Way,
        counts: &mut Counts,
        rejected: &mut Vec<Rejected>,
    ) -> Result<(), Report> {
        let store = pg_sys::tuplestore_begin_heap(false, false, STORE_KILOBYTES);
        let (mut whole, mut tombstones, mut versions) = (0i64, 0i64, false);
        for (at, row) in chosen {
            let Some((batch, meta)) = batches.get(*at).and_then(|b| Some((*b, b.rows.get(*row)?))) else { continue };
            match self.put(store, batch, *row, meta) {
                Ok(()) if meta.key_only => tombstones += 1,
                Ok(()) => {
                    whole += 1;
                    versions |= meta.version.is_some();
                }
                Err(reason) => rejected.push(Rejected { raw: describe_row(batch, *row), reason }),
            }
        }
        if pg_sys::SPI_connect() != pg_sys::SPI_OK_CONNECT as i32 {
            return Err(fail(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, "SPI_connect failed", "", ""));
        }
        let name = c"batch";
        let mut relation = pg_sys::EphemeralNamedRelationData {
            md: pg_sys::EphemeralNamedRelationMetadataData {
                name: name.as_ptr().cast_mut(),
                reliddesc: pg_sys::InvalidOid,
                tupdesc: self.shape,
                enrtype: pg_sys::EphemeralNameRelationType::ENR_NAMED_TUPLESTORE,
                enrtuples: chosen.len() as f64,
            },
            reldata: store.cast(),
        };
        pg_sys::SPI_register_relation(&mut relation);
        match way {
            _ if whole == 0 => {}
            Way::Insert => {
                let sql = self.statements.insert.clone();
                let inserted = self.run("insert", &sql, pg_sys::SPI_OK_INSERT)?;
                counts.inserted += inserted;
                counts.unchanged += whole - inserted;
                counts.deleted += marked_deleted(batches, chosen);
            }
            Way::Upsert => self.upsert(whole, versions, counts)?,
            Way::Fill => {
                let sql = self.fill.clone().unwrap_or_default();
                let (filled, _, _) = self.counts_of("fill", &sql)?;
                counts.updated += filled;
                let sql = self.statements.stale.clone();
                let stale = if versions { self.counts_of("stale", &sql)?.0.min(whole - filled) } else { 0 };
                counts.stale += stale;
                counts.unchanged += whole - filled - stale;
            }
        }
        if way == Way::Fill {
            counts.unchanged += tombstones;
        } else if tombstones > 0 {
            let sql = self.statements.tombstone.clone();
            let (marked, _, _) = self.counts_of("tombstone", &sql)?;
            counts.updated += marked;
            counts.deleted += marked;
            counts.unchanged += tombstones - marked;
        }
        pg_sys::SPI_finish();
        pg_sys::tuplestore_end(store);
        Ok(())
    }

    /// Stores `whole` rows that may be there already.
    unsafe fn upsert(&mut self, whole: i64, versions: bool, counts: &mut Counts) -> Result<(), Report> {
        let present = match self.statements.present.clone() {
            Some(sql) => Some(self.counts_of("present", &sql)?.0),
            None => None,
        };
        let sql = self.statements.upsert.clone();
        let (mut inserted, mut updated, gone) = self.counts_of("upsert", &sql)?;
        if let Some(present) = present {
            inserted = whole - present;
            updated -= inserted;
        }
        counts.inserted += inserted;
        counts.updated += updated;
        counts.deleted += gone;
        let kept = whole - inserted - updated;
        if kept > 0 && versions {
            let sql = self.statements.stale.clone();
            let (stale, _, _) = self.counts_of("stale", &sql)?;
            // Rows just written carry the batch's own version, so they are not among the newer ones.
            counts.stale += stale.min(kept);
            counts.unchanged += kept - stale.min(kept);
        } else {
            counts.unchanged += kept;
        }
        Ok(())
    }

    /// Appends one row. An error of a value is given back as its text, with nothing appended.
    unsafe fn put(
        &mut self,
        store: *mut pg_sys::Tuplestorestate,
        batch: &Batch,
        row: usize,
        meta: &RowMeta,
    ) -> Result<(), String> {
        let cells = batch.row(row);
        // Values that lie ready cannot fail; only those that an input function reads can.
        let is_text = |cell: &Cell| matches!(cell, Cell::Number(_) | Cell::Json(_));
        if !self.convert && !cells.iter().any(is_text) && !is_text(&meta.extra) {
            self.fill(batch, cells, meta);
            pg_sys::tuplestore_putvalues(store, self.shape, self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
            return Ok(());
        }
        let context = pg_sys::CurrentMemoryContext;
        let fill = std::panic::AssertUnwindSafe(|| {
            self.fill(batch, cells, meta);
            pg_sys::tuplestore_putvalues(store, self.shape, self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
            Ok(())
        });
        // Input functions hold no locks and pins, so an error of theirs needs no subtransaction to be forgotten.
        PgTryBuilder::new(fill)
            .catch_others(|caught| match caught {
                pg_sys::panic::CaughtError::PostgresError(e) if is_data_error(e.sql_error_code()) => {
                    // SAFETY: the context was current before the try and still lives.
                    pg_sys::MemoryContextSwitchTo(context);
                    Err(e.message().to_string())
                }
                other => other.rethrow(),
            })
            .execute()
    }

    /// Sets `values` and `nulls` to a row's.
    unsafe fn fill(&mut self, batch: &Batch, cells: &[Cell], meta: &RowMeta) {
        let of_cells = cells.iter().zip(&self.types).map(|(cell, oid)| value::datum(cell, batch, *oid, self.convert));
        let of_row = [
            meta.deleted.map(|d| pg_sys::Datum::from(usize::from(d))),
            value::datum(&meta.extra, batch, pg_sys::JSONBOID, self.convert),
            meta.version.map(value::timestamp),
            Some(pg_sys::Datum::from(meta.hash)),
            Some(pg_sys::Datum::from(usize::from(meta.key_only))),
        ];
        let places = self.values.iter_mut().zip(self.nulls.iter_mut());
        for ((value, is_null), datum) in places.zip(of_cells.chain(of_row)) {
            *is_null = datum.is_none();
            *value = datum.unwrap_or(pg_sys::Datum::from(0));
        }
    }

    /// Runs one of the statements over the registered relation; gives the number of rows it touched.
    ///
    /// Only statements that read no table are planned once: a join planned while the table was small would go on reading
    /// all of it when it is large.
    unsafe fn run(&mut self, name: &'static str, sql: &str, expected: u32) -> Result<i64, Report> {
        let is_kept = matches!(name, "insert" | "upsert");
        if !self.plans.contains_key(name) {
            let text =
                CString::new(sql).map_err(|e| fail(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, e.to_string(), "", ""))?;
            let plan = pg_sys::SPI_prepare(text.as_ptr(), 0, std::ptr::null_mut());
            if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
                return Err(fail(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, "could not prepare a statement", sql, ""));
            }
            self.plans.insert(name, Plan(plan));
        }
        let Some(plan) = self.plans.get(name) else { return Ok(0) };
        let code = pg_sys::SPI_execute_plan(plan.0, std::ptr::null_mut(), std::ptr::null(), false, 0);
        if !is_kept {
            self.plans.remove(name);
        }
        if code != expected as i32 {
            return Err(fail(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, format!("SPI answered {code}"), sql, ""));
        }
        Ok(pg_sys::SPI_processed as i64)
    }

    /// The same for a statement that answers one row of three counts.
    unsafe fn counts_of(&mut self, name: &'static str, sql: &str) -> Result<(i64, i64, i64), Report> {
        let rows = self.run(name, sql, pg_sys::SPI_OK_SELECT)?;
        let table = pg_sys::SPI_tuptable;
        if table.is_null() || rows != 1 {
            return Err(fail(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, format!("{rows} rows of counts"), sql, ""));
        }
        let tuple = *(*table).vals;
        let count = |column: i32| {
            let mut is_null = false;
            let datum = pg_sys::SPI_getbinval(tuple, (*table).tupdesc, column, &mut is_null);
            i64::from_datum(datum, is_null).unwrap_or(0)
        };
        let counts = (count(1), count(2), count(3));
        pg_sys::SPI_freetuptable(table);
        Ok(counts)
    }
}

/// Of the rows to store, those that say they are deleted.
fn marked_deleted(batches: &[&Batch], chosen: &[Place]) -> i64 {
    let metas = chosen.iter().filter_map(|(at, row)| batches.get(*at)?.rows.get(*row));
    metas.filter(|meta| !meta.key_only && meta.deleted == Some(true)).count() as i64
}

/// Errors that lie in a value, not in the table or the server.
fn is_data_error(code: PgSqlErrorCode) -> bool {
    let text = crate::report::sqlstate(code);
    text.starts_with("22") || text.starts_with("54")
}

/// The shape of the relation `batch` for a table of these column types.
fn shape_of(types: &[pg_sys::Oid]) -> Result<pg_sys::TupleDesc, Report> {
    let width = types.len() + EXTRA_COLUMNS.len();
    // SAFETY: attribute numbers run from 1 to the width given; names are zero-terminated; the result outlives the
    // transaction because it is made in TopMemoryContext.
    unsafe {
        PgMemoryContexts::TopMemoryContext.switch_to(|_| {
            let shape = pg_sys::CreateTemplateTupleDesc(width as i32);
            let named = types.iter().enumerate().map(|(n, oid)| (format!("c{}", n + 1), *oid));
            let extra = EXTRA_COLUMNS.iter().map(|(name, oid)| (name.to_string(), *oid));
            for (at, (name, oid)) in named.chain(extra).enumerate() {
                let name = CString::new(name)
                    .map_err(|e| fail(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, e.to_string(), "", ""))?;
                pg_sys::TupleDescInitEntry(shape, (at + 1) as i16, name.as_ptr(), oid, -1, 0);
            }
            Ok(shape)
        })
    }
}

/// The key of a row as a number that is equal for equal keys only, as far as 128 bits can tell.
fn key_hash(batch: &Batch, row: usize, key: &[usize], bytes: &mut Vec<u8>) -> u128 {
    let cells = batch.row(row);
    bytes.clear();
    for at in key {
        let (tag, number) = match cells.get(*at) {
            Some(Cell::Text(span) | Cell::Number(span) | Cell::Json(span) | Cell::Binary(span)) => {
                bytes.extend_from_slice(batch.bytes(*span));
                (0, u64::from(span.len))
            }
            Some(Cell::Int(n) | Cell::Timestamp(n)) => (1, *n as u64),
            Some(Cell::Bool(b)) => (2, u64::from(*b)),
            Some(Cell::Float(x)) => (3, x.to_bits()),
            Some(Cell::Date(d)) => (4, *d as u64),
            Some(Cell::Null) | None => (5, 0),
        };
        bytes.push(tag);
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    xxhash_rust::xxh3::xxh3_128(bytes)
}

/// What is left to show of a row whose record is gone.
fn describe_row(batch: &Batch, index: usize) -> String {
    let cells: Vec<String> = batch
        .row(index)
        .iter()
        .map(|cell| match cell {
            Cell::Text(_) | Cell::Number(_) | Cell::Json(_) => batch.text(cell).into_owned(),
            Cell::Null | Cell::Binary(_) => String::new(),
            other => format!("{other:?}"),
        })
        .collect();
    serde_json::to_string(&cells).unwrap_or_default()
}
