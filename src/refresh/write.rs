//! Writes batches into a local table: one prepared upsert a collection, fed from a tuplestore without any text.
//!
//! A row whose stored hash equals the record's is left alone, so a quiet refresh writes no row version. A record older than
//! the stored row (by `record_version`) never replaces it; an equally old one does, since two changes can share a stamp.

use super::tables::LocalTable;
use crate::extract::batch::{Batch, Cell, Rejected};
use crate::extract::rest::KEY_SEPARATOR;
use crate::extract::Output;
use crate::report::{fail, Report};
use crate::value;
use pgrx::prelude::*;
use pgrx::spi::{quote_identifier, quote_literal};
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

/// A plan that survives commits; freed with its owner.
struct Plan(pg_sys::SPIPlanPtr);

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: the plan was kept and is used by nobody else.
        unsafe { pg_sys::SPI_freeplan(self.0) };
    }
}

/// Writes the batches of one output.
pub struct Writer {
    types: Vec<pg_sys::Oid>,
    key: Vec<usize>,
    /// Shape of the relation `batch`; lives in TopMemoryContext.
    shape: pg_sys::TupleDesc,
    upsert_sql: String,
    /// Counts the batch's rows that are there already, where the upsert itself cannot tell.
    present_sql: Option<String>,
    tombstone_sql: String,
    stale_sql: String,
    parents_sql: Option<String>,
    plans: HashMap<&'static str, Plan>,
    convert: bool,
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

impl Writer {
    pub fn new(table: &LocalTable, output: &Output) -> Result<Self, Report> {
        let types: Vec<pg_sys::Oid> =
            output.columns.iter().map(|c| table.columns.get(&c.name).copied().unwrap_or(pg_sys::InvalidOid)).collect();
        let key: Vec<String> = output.collection.primary_key.iter().map(quote_identifier).collect();
        let names: Vec<String> = output.columns.iter().map(|c| quote_identifier(&c.name)).collect();
        let cells: Vec<String> = (1..=names.len()).map(|n| format!("b.c{n}")).collect();
        let same_key = |left: &str| -> String {
            output
                .collection
                .primary_key
                .iter()
                .zip(&output.key)
                .map(|(name, at)| format!("{left}.{} OPERATOR(pg_catalog.=) b.c{}", quote_identifier(name), at + 1))
                .collect::<Vec<_>>()
                .join(" AND ")
        };
        let set: Vec<String> =
            names.iter().filter(|n| !key.contains(n)).map(|n| format!("{n} = excluded.{n}")).collect();
        let target = &table.qualified;
        let not_older = |new: &str| {
            format!(
                "(t.record_version IS NULL OR {new}.record_version IS NULL \
                 OR t.record_version OPERATOR(pg_catalog.<=) {new}.record_version)"
            )
        };
        let upsert_sql = format!(
            "WITH written AS (INSERT INTO {target} AS t ({columns}, is_deleted, received_at, extra, record_version, \
             record_hash) SELECT {cells}, coalesce(b.is_deleted, false), pg_catalog.now(), b.extra, b.record_version, \
             b.record_hash FROM batch b WHERE NOT b.key_only ON CONFLICT ({key}) DO UPDATE SET {set}{comma}\
             is_deleted = excluded.is_deleted, received_at = excluded.received_at, extra = excluded.extra, \
             record_version = excluded.record_version, record_hash = excluded.record_hash \
             WHERE (t.record_hash IS NULL OR t.record_hash OPERATOR(pg_catalog.<>) excluded.record_hash \
             OR t.is_deleted OPERATOR(pg_catalog.<>) excluded.is_deleted) AND {guard} \
             RETURNING {is_new} AS is_new, t.is_deleted AS is_gone) \
             SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new), \
             count(*) FILTER (WHERE is_gone) FROM written",
            columns = names.join(", "),
            cells = cells.join(", "),
            key = key.join(", "),
            set = set.join(", "),
            comma = if set.is_empty() { "" } else { ", " },
            guard = not_older("excluded"),
            // A new row version that no updater touched was inserted; partitioned tables do not tell.
            is_new = if table.is_partitioned { "false" } else { "(t.xmax OPERATOR(pg_catalog.=) '0'::pg_catalog.xid)" },
        );
        let present_sql = table.is_partitioned.then(|| {
            format!(
                "SELECT count(*), count(*), count(*) FROM batch b JOIN {target} t ON {same} WHERE NOT b.key_only",
                same = same_key("t"),
            )
        });
        let tombstone_sql = format!(
            "WITH marked AS (UPDATE {target} AS t SET is_deleted = true, received_at = pg_catalog.now(), \
             record_version = coalesce(b.record_version, t.record_version), record_hash = NULL \
             FROM batch b WHERE b.key_only AND b.is_deleted AND NOT t.is_deleted AND {same} AND {guard} RETURNING 1) \
             SELECT count(*), count(*), count(*) FROM marked",
            same = same_key("t"),
            guard = not_older("b"),
        );
        let stale_sql = format!(
            "SELECT count(*), count(*), count(*) FROM batch b JOIN {target} t ON {same} \
             WHERE t.record_version OPERATOR(pg_catalog.>) b.record_version",
            same = same_key("t"),
        );
        let parents_sql = output.collection.parent.as_ref().and_then(|p| p.key_column.as_ref()).map(|parent| {
            format!(
                "UPDATE {target} AS t SET is_deleted = true, received_at = pg_catalog.now(), record_hash = NULL \
                 WHERE t.{parent} OPERATOR(pg_catalog.=) ANY ($1) AND NOT t.is_deleted \
                 AND NOT (pg_catalog.concat_ws({separator}, {key}) OPERATOR(pg_catalog.=) ANY ($2))",
                parent = quote_identifier(parent),
                separator = quote_literal(KEY_SEPARATOR.to_string()),
                key = key.iter().map(|k| format!("t.{k}")).collect::<Vec<_>>().join(", "),
            )
        });
        Ok(Writer {
            shape: shape_of(&types)?,
            types,
            key: output.key.clone(),
            upsert_sql,
            present_sql,
            tombstone_sql,
            stale_sql,
            parents_sql,
            plans: HashMap::new(),
            convert: value::needs_conversion(),
        })
    }

    /// Stores a batch. Errors of the table (constraints, triggers, rights) are raised as Postgres has them.
    ///
    /// Gives the counts and the records that could not be stored.
    pub fn write(&mut self, batch: &Batch) -> Result<(Counts, Vec<Rejected>), Report> {
        let mut counts = Counts { fetched: (batch.rows.len() + batch.rejected.len()) as i64, ..Counts::default() };
        let mut rejected = batch.rejected.clone();
        let chosen = self.newest_of_each_key(batch);
        counts.unchanged += (batch.rows.len() - chosen.len()) as i64;
        let mut context = PgMemoryContexts::new("cloudsync batch");
        // SAFETY: everything allocated inside lives in `context`, which is freed after the last use.
        let outcome = unsafe { context.switch_to(|_| self.execute(batch, &chosen, &mut counts, &mut rejected)) };
        outcome?;
        if let Some(sql) = self.parents_sql.as_ref().filter(|_| !batch.complete_parents.is_empty()) {
            let parents: Vec<&str> = batch.complete_parents.iter().map(|p| p.parent_key.as_str()).collect();
            let children: Vec<&str> =
                batch.complete_parents.iter().flat_map(|p| p.child_keys.iter().map(String::as_str)).collect();
            counts.deleted += crate::spi::run(sql, &[parents.into(), children.into()])? as i64;
        }
        counts.rejected = rejected.len() as i64;
        Ok((counts, rejected))
    }

    /// The rows to store: of several with one key only the newest, and of equally old ones the last.
    fn newest_of_each_key(&self, batch: &Batch) -> Vec<usize> {
        let mut place: HashMap<Vec<u8>, usize> = HashMap::with_capacity(batch.rows.len());
        let mut chosen: Vec<usize> = Vec::with_capacity(batch.rows.len());
        for (index, meta) in batch.rows.iter().enumerate() {
            let key = key_bytes(batch, index, &self.key);
            match place.get(&key).copied() {
                None => {
                    place.insert(key, chosen.len());
                    chosen.push(index);
                }
                Some(at) => {
                    let held = chosen.get(at).and_then(|held| batch.rows.get(*held)).and_then(|meta| meta.version);
                    if meta.version.is_none() || held.is_none() || meta.version >= held {
                        if let Some(slot) = chosen.get_mut(at) {
                            *slot = index;
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
        batch: &Batch,
        chosen: &[usize],
        counts: &mut Counts,
        rejected: &mut Vec<Rejected>,
    ) -> Result<(), Report> {
        let store = pg_sys::tuplestore_begin_heap(false, false, pg_sys::work_mem);
        let (mut whole, mut tombstones, mut versions) = (0i64, 0i64, false);
        for index in chosen {
            let Some(meta) = batch.rows.get(*index) else { continue };
            match self.put(store, batch, *index) {
                Ok(()) if meta.key_only => tombstones += 1,
                Ok(()) => {
                    whole += 1;
                    versions |= meta.version.is_some();
                }
                Err(reason) => rejected.push(Rejected { raw: describe_row(batch, *index), reason }),
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
        if whole > 0 {
            let present = match self.present_sql.clone() {
                Some(sql) => Some(self.counts_of("present", &sql)?.0),
                None => None,
            };
            let sql = self.upsert_sql.clone();
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
                let sql = self.stale_sql.clone();
                let (stale, _, _) = self.counts_of("stale", &sql)?;
                // Rows just written carry the batch's own version, so they are not among the newer ones.
                counts.stale += stale.min(kept);
                counts.unchanged += kept - stale.min(kept);
            } else {
                counts.unchanged += kept;
            }
        }
        if tombstones > 0 {
            let sql = self.tombstone_sql.clone();
            let (marked, _, _) = self.counts_of("tombstone", &sql)?;
            counts.updated += marked;
            counts.deleted += marked;
            counts.unchanged += tombstones - marked;
        }
        pg_sys::SPI_finish();
        pg_sys::tuplestore_end(store);
        Ok(())
    }

    /// Converts one row and appends it. An error of a value is given back as its text, with nothing appended.
    unsafe fn put(&self, store: *mut pg_sys::Tuplestorestate, batch: &Batch, index: usize) -> Result<(), String> {
        let Some(meta) = batch.rows.get(index) else { return Ok(()) };
        let context = pg_sys::CurrentMemoryContext;
        let convert = self.convert;
        let fill = std::panic::AssertUnwindSafe(|| {
            let mut values = Vec::with_capacity(self.types.len() + EXTRA_COLUMNS.len());
            for (cell, type_oid) in batch.row(index).iter().zip(&self.types) {
                values.push(value::datum(cell, batch, *type_oid, convert));
            }
            values.push(meta.deleted.map(|d| pg_sys::Datum::from(usize::from(d))));
            values.push(meta.extra.and_then(|span| value::datum(&Cell::Json(span), batch, pg_sys::JSONBOID, convert)));
            values.push(meta.version.map(value::timestamp));
            values.push(Some(pg_sys::Datum::from(meta.hash)));
            values.push(Some(pg_sys::Datum::from(usize::from(meta.key_only))));
            let mut nulls: Vec<bool> = values.iter().map(Option::is_none).collect();
            let mut datums: Vec<pg_sys::Datum> =
                values.into_iter().map(|d| d.unwrap_or(pg_sys::Datum::from(0))).collect();
            pg_sys::tuplestore_putvalues(store, self.shape, datums.as_mut_ptr(), nulls.as_mut_ptr());
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

    /// Runs one of the statements over the registered relation; gives its three counts.
    unsafe fn counts_of(&mut self, name: &'static str, sql: &str) -> Result<(i64, i64, i64), Report> {
        if !self.plans.contains_key(name) {
            let text =
                CString::new(sql).map_err(|e| fail(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, e.to_string(), "", ""))?;
            let plan = pg_sys::SPI_prepare(text.as_ptr(), 0, std::ptr::null_mut());
            if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
                return Err(fail(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, "could not prepare the upsert", sql, ""));
            }
            self.plans.insert(name, Plan(plan));
        }
        let Some(plan) = self.plans.get(name) else { return Ok((0, 0, 0)) };
        let code = pg_sys::SPI_execute_plan(plan.0, std::ptr::null_mut(), std::ptr::null(), false, 0);
        if code != pg_sys::SPI_OK_SELECT as i32 || pg_sys::SPI_tuptable.is_null() || pg_sys::SPI_processed != 1 {
            return Err(fail(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, format!("SPI answered {code}"), sql, ""));
        }
        let table = pg_sys::SPI_tuptable;
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

/// The key of a row as bytes that are equal only for equal keys.
fn key_bytes(batch: &Batch, index: usize, key: &[usize]) -> Vec<u8> {
    let row = batch.row(index);
    let mut bytes = Vec::with_capacity(32);
    for at in key {
        match row.get(*at) {
            Some(Cell::Text(span) | Cell::Number(span) | Cell::Json(span)) => {
                bytes.extend_from_slice(batch.bytes(*span))
            }
            Some(other) => bytes.extend_from_slice(format!("{other:?}").as_bytes()),
            None => {}
        }
        bytes.push(0);
    }
    bytes
}

/// What is left to show of a row whose record is gone.
fn describe_row(batch: &Batch, index: usize) -> String {
    let cells: Vec<String> = batch
        .row(index)
        .iter()
        .map(|cell| match cell {
            Cell::Text(span) | Cell::Number(span) | Cell::Json(span) => {
                String::from_utf8_lossy(batch.bytes(*span)).into_owned()
            }
            Cell::Null => String::new(),
            other => format!("{other:?}"),
        })
        .collect();
    serde_json::to_string(&cells).unwrap_or_default()
}
