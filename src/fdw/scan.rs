//! Runs a scan: evaluates the conditions at the first row, takes pages one by one, and fills slots.
//!
//! The state is a Rust value that a reset callback of the query's memory context drops, so an aborted query frees its reader
//! too.

use super::conditions::op_of;
use super::plan::{list_text, or_raise, ScanPlan};
use super::Table;
use crate::catalog::{self, Server};
use crate::error::SyncError;
use crate::extract::batch::Batch;
use crate::extract::sink::Event;
use crate::extract::{Filter, FilterValue, Mode, Order, Output, ReadRequest, Scan, Target};
use crate::http::{Account, Stats};
use crate::io::Reading;
use crate::refresh::context::{renew, start};
use crate::refresh::state::{self, Stop};
use crate::report::{report, Report, Subject};
use crate::{value, worker};
use pgrx::prelude::*;
use pgrx::{AnyNumeric, FromDatum, PgMemoryContexts};
use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::Arc;

/// Pages are kept for a rescan up to this size.
const KEEP_BYTES: usize = 4 << 20;

/// Where the value of an attribute comes from.
#[derive(Clone, Copy)]
enum Source {
    Cell(usize),
    IsDeleted,
    Extra,
    Null,
}

pub struct State {
    pub table: Table,
    pub plan: ScanPlan,
    pub output: Output,
    user: pg_sys::Oid,
    /// One an attribute of the slot, with its type.
    fill: Vec<(Source, pg_sys::Oid)>,
    exprs: *mut pg_sys::List,
    pub stats: Arc<Stats>,
    reading: Option<Reading>,
    started: bool,
    done: bool,
    /// Pages read and not yet thrown away, and where the next row is.
    pages: VecDeque<Batch>,
    page: usize,
    row: usize,
    kept_bytes: usize,
    /// Whether `pages` still holds everything since the start.
    whole: bool,
    /// Datums of the page at hand.
    memory: PgMemoryContexts,
    convert: bool,
}

/// The output of a scan: the columns used, and those that the engine fills itself apart.
fn output_of(table: &Table, plan: &ScanPlan) -> Result<(Output, Vec<(Source, pg_sys::Oid)>), Report> {
    let mut columns = Vec::new();
    let width = table.columns.iter().map(|c| c.attnum).max().unwrap_or(0).max(0) as usize;
    let mut fill = vec![(Source::Null, pg_sys::InvalidOid); width];
    for column in &table.columns {
        let place = (column.attnum - 1) as usize;
        let out = catalog::out_column(column, &table.collection, table.described.as_deref());
        // A table that has is_deleted always shows deleted rows too, whichever columns a query names.
        let always = table.asks_for_deleted() && column.name == "is_deleted";
        let source = match column.name.as_str() {
            _ if !always && !plan.columns.contains(&column.attnum) => Source::Null,
            "extra" if column.field.is_none() => Source::Extra,
            "is_deleted" if !table.asks_for_deleted() => Source::IsDeleted,
            _ => {
                columns.push(out?);
                Source::Cell(columns.len() - 1)
            }
        };
        if let Some(slot) = fill.get_mut(place) {
            *slot = (source, column.type_oid);
        }
    }
    // The reader needs the key to make out records; it is asked for when the query did not.
    let mut key = Vec::new();
    for name in &table.collection.primary_key {
        let at = match columns.iter().position(|c| &c.name == name) {
            Some(at) => at,
            None => {
                let known = table.collection.column(name).cloned().unwrap_or_default();
                columns.push(crate::extract::OutColumn {
                    name: name.clone(),
                    path: known.path(),
                    target: Target::Text,
                    format: known.format,
                });
                columns.len() - 1
            }
        };
        key.push(at);
    }
    let keep_extra = fill.iter().any(|(source, _)| matches!(source, Source::Extra));
    let output = Output {
        collection: table.collection.clone(),
        columns,
        key,
        keep_extra,
        checkpoint: None,
        binary: value::binary(Vec::new()),
        described: table.described.clone(),
    };
    Ok((output, fill))
}

/// The table and the plan of a scan node.
pub unsafe fn planned(node: *mut pg_sys::ForeignScanState) -> (Table, ScanPlan) {
    let scan = (*node).ss.ps.plan.cast::<pg_sys::ForeignScan>();
    let plan = serde_json::from_str(&list_text((*scan).fdw_private)).unwrap_or_default();
    let relid = (*(*node).ss.ss_currentRelation).rd_id;
    (or_raise(Table::of(relid)), plan)
}

#[pg_guard]
pub unsafe extern "C-unwind" fn begin_foreign_scan(node: *mut pg_sys::ForeignScanState, flags: std::ffi::c_int) {
    if flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as i32 != 0 {
        return;
    }
    let scan = (*node).ss.ps.plan.cast::<pg_sys::ForeignScan>();
    let (table, plan) = planned(node);
    let (output, fill) = or_raise(output_of(&table, &plan));
    let state = Box::new(State {
        user: scan_user(node),
        exprs: pg_sys::ExecInitExprList((*scan).fdw_exprs, node.cast()),
        table,
        plan,
        output,
        fill,
        stats: Arc::default(),
        reading: None,
        started: false,
        done: false,
        pages: VecDeque::new(),
        page: 0,
        row: 0,
        kept_bytes: 0,
        whole: true,
        memory: PgMemoryContexts::new("cloudsync page"),
        convert: value::needs_conversion(),
    });
    let state = Box::into_raw(state);
    let query = (*(*node).ss.ps.state).es_query_cxt;
    let callback = pg_sys::MemoryContextAllocZero(query, std::mem::size_of::<pg_sys::MemoryContextCallback>())
        .cast::<pg_sys::MemoryContextCallback>();
    (*callback).func = Some(drop_state);
    (*callback).arg = state.cast();
    pg_sys::MemoryContextRegisterResetCallback(query, callback);
    (*node).fdw_state = state.cast();
}

/// The role whose user mapping counts: the owner of a view, or who runs the query.
unsafe fn scan_user(node: *mut pg_sys::ForeignScanState) -> pg_sys::Oid {
    let scan = (*node).ss.ps.plan.cast::<pg_sys::ForeignScan>();
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    let user = {
        let entry = pg_sys::list_nth((*(*node).ss.ps.state).es_range_table, (*scan).scan.scanrelid as i32 - 1);
        (*entry.cast::<pg_sys::RangeTblEntry>()).checkAsUser
    };
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    let user = (*scan).checkAsUser;
    if user == pg_sys::InvalidOid {
        pg_sys::GetUserId()
    } else {
        user
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn drop_state(arg: *mut c_void) {
    // The page's memory context hangs below the query's, which is being deleted; forgetting it here avoids freeing it twice.
    let state = Box::from_raw(arg.cast::<State>());
    let State { memory, .. } = *state;
    std::mem::forget(memory);
}

#[pg_guard]
pub unsafe extern "C-unwind" fn end_foreign_scan(node: *mut pg_sys::ForeignScanState) {
    if let Some(state) = (*node).fdw_state.cast::<State>().as_mut() {
        // Stops the reader now; the rest goes with the query's memory.
        state.reading = None;
        state.pages.clear();
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn rescan_foreign_scan(node: *mut pg_sys::ForeignScanState) {
    let Some(state) = (*node).fdw_state.cast::<State>().as_mut() else { return };
    let changed = !(*node).ss.ps.chgParam.is_null();
    if state.started && state.whole && !changed {
        state.page = 0;
        state.row = 0;
        return;
    }
    state.reading = None;
    state.started = false;
    state.done = false;
    state.whole = true;
    state.pages.clear();
    state.kept_bytes = 0;
    state.page = 0;
    state.row = 0;
}

#[pg_guard]
pub unsafe extern "C-unwind" fn iterate_foreign_scan(
    node: *mut pg_sys::ForeignScanState,
) -> *mut pg_sys::TupleTableSlot {
    let slot = (*node).ss.ss_ScanTupleSlot;
    if let Some(clear) = (*slot).tts_ops.as_ref().and_then(|ops| ops.clear) {
        clear(slot);
    }
    let Some(state) = (*node).fdw_state.cast::<State>().as_mut() else { return slot };
    if !state.started {
        state.started = true;
        let scan = or_raise(state.scan(node));
        match scan {
            Some(scan) => or_raise(state.open(scan)),
            None => state.done = true,
        }
    }
    if or_raise(state.advance()) {
        state.fill_slot(slot);
        pg_sys::ExecStoreVirtualTuple(slot);
    }
    slot
}

impl State {
    fn subject(&self) -> Subject<'_> {
        Subject { server: &self.table.server.name, collection: Some(&self.table.collection.name) }
    }

    fn failed(&self, error: &SyncError) -> Report {
        report(&self.subject(), error)
    }

    /// The conditions with their values; `None` when one of them can never be true.
    unsafe fn scan(&self, node: *mut pg_sys::ForeignScanState) -> Result<Option<Scan>, Report> {
        let context = (*node).ss.ps.ps_ExprContext;
        let evaluate = |number: usize| {
            let expr: *mut pg_sys::ExprState = pg_sys::list_nth(self.exprs, number as i32).cast();
            let mut is_null = false;
            let datum = (*expr).evalfunc.map(|eval| eval(expr, context, &mut is_null));
            datum.filter(|_| !is_null)
        };
        let mut scan = Scan { limit: self.plan.limit, ..Scan::default() };
        for condition in &self.plan.conditions {
            let (Some(op), Some(column)) = (op_of(&condition.op), self.column(condition.attnum)) else { continue };
            let values = match (condition.constant, condition.expr) {
                (Some(constant), _) => vec![FilterValue::Bool(constant)],
                (None, None) => Vec::new(),
                (None, Some(number)) => match evaluate(number) {
                    None => return Ok(None),
                    Some(datum) if condition.op == "any" => {
                        let values = array_values(datum);
                        if values.is_empty() {
                            return Ok(None);
                        }
                        values
                    }
                    Some(datum) => {
                        let state: *mut pg_sys::ExprState = pg_sys::list_nth(self.exprs, number as i32).cast();
                        let given = pg_sys::exprType((*state).expr.cast());
                        filter_value(datum, given).into_iter().collect()
                    }
                },
            };
            scan.filters.push(Filter { column, op, values });
        }
        for order in &self.plan.order {
            if let Some(column) = self.column(order.attnum) {
                scan.order.push(Order { column, descending: order.descending, nulls_first: order.nulls_first });
            }
        }
        Ok(Some(scan))
    }

    /// The output column of an attribute.
    fn column(&self, attnum: i16) -> Option<usize> {
        match self.fill.get((attnum - 1) as usize) {
            Some((Source::Cell(at), _)) => Some(*at),
            _ => None,
        }
    }

    /// Starts the reader, unless a stop of the server forbids any call.
    fn open(&mut self, scan: Scan) -> Result<(), Report> {
        let server = &self.table.server;
        if let Some(reason) = &self.table.collection.unsupported {
            return Err(self.failed(&SyncError::Unsupported { reason: reason.clone() }));
        }
        let mapping = catalog::mapping(server, self.user)?;
        if let Some(stop) = state::stop_in_force(server, &mapping)? {
            return Err(self.failed(&stop));
        }
        let account = account(server, &mapping)?;
        let request = ReadRequest { outputs: vec![self.output.clone()], mode: Mode::Scan(scan) };
        let reading = start(account, self.stats.clone(), request, 0).map_err(|e| self.failed(&e))?;
        self.reading = Some(reading);
        Ok(())
    }

    /// Moves to the next row; false at the end.
    fn advance(&mut self) -> Result<bool, Report> {
        loop {
            if let Some(batch) = self.pages.get(self.page) {
                if self.row < batch.rows.len() {
                    self.row += 1;
                    return Ok(true);
                }
                if self.page + 1 < self.pages.len() {
                    self.next_page();
                    continue;
                }
            }
            if self.done {
                return Ok(false);
            }
            let Some(reading) = &self.reading else { return Ok(false) };
            reading.want_more();
            self.take_page()?;
        }
    }

    fn next_page(&mut self) {
        self.page += 1;
        self.row = 0;
        // SAFETY: the slot was given back to us by the executor, so datums of the page before are no longer used.
        unsafe { self.memory.reset() };
    }

    /// Waits for a page, or the end.
    fn take_page(&mut self) -> Result<(), Report> {
        let Some(reading) = &self.reading else { return Ok(()) };
        loop {
            match reading.next().map_err(|e| self.failed(&e))? {
                Event::NeedToken { stale, reply } => {
                    let _ = reply.send(renew(&self.table.server, self.user, stale));
                }
                Event::End(Ok(_)) => {
                    self.done = true;
                    self.reading = None;
                    return Ok(());
                }
                Event::End(Err(error)) => {
                    self.remember(&error);
                    return Err(self.failed(&error));
                }
                Event::Page(page) => {
                    for (_, batch) in page.batches {
                        self.keep(batch);
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Adds a page; throws earlier ones away when they grow too large to be kept for a rescan.
    fn keep(&mut self, batch: Batch) {
        if batch.rows.is_empty() {
            return;
        }
        self.kept_bytes += batch.size();
        if self.kept_bytes > KEEP_BYTES && !self.pages.is_empty() {
            self.whole = false;
            self.pages.clear();
            self.pages.push_back(batch);
            self.page = 0;
            self.row = 0;
            // SAFETY: as in `next_page`.
            unsafe { self.memory.reset() };
            return;
        }
        self.pages.push_back(batch);
        if self.pages.len() > 1 {
            self.next_page();
        }
    }

    /// Makes refused credentials stop later calls, too.
    fn remember(&self, error: &SyncError) {
        if let SyncError::AuthRejected { detail, .. } = error {
            if let Ok(mapping) = catalog::mapping(&self.table.server, self.user) {
                let stop = Stop {
                    server: self.table.server.name.clone(),
                    refused: Some(mapping.fingerprint()),
                    deferred_until: None,
                    message: detail.clone(),
                };
                // On a standby nothing can be remembered, and nothing is lost by that.
                if unsafe { !pg_sys::RecoveryInProgress() } {
                    let _ = worker::record(Vec::new(), Some(stop));
                }
            }
        }
    }

    /// Puts the present row into the slot.
    unsafe fn fill_slot(&mut self, slot: *mut pg_sys::TupleTableSlot) {
        let Some(batch) = self.pages.get(self.page) else { return };
        let index = self.row.saturating_sub(1);
        let (cells, Some(meta)) = (batch.row(index), batch.rows.get(index)) else { return };
        let (fill, convert) = (&self.fill, self.convert);
        let natts = (*(*slot).tts_tupleDescriptor).natts as usize;
        self.memory.switch_to(|_| {
            for at in 0..natts {
                let (source, type_oid) = fill.get(at).copied().unwrap_or((Source::Null, pg_sys::InvalidOid));
                let datum = match source {
                    Source::Null => None,
                    Source::Cell(cell) => cells.get(cell).and_then(|cell| value::datum(cell, batch, type_oid, convert)),
                    Source::IsDeleted => Some(pg_sys::Datum::from(usize::from(meta.deleted.unwrap_or(false)))),
                    Source::Extra => value::datum(&meta.extra, batch, pg_sys::JSONBOID, convert),
                };
                *(*slot).tts_isnull.add(at) = datum.is_none();
                *(*slot).tts_values.add(at) = datum.unwrap_or(pg_sys::Datum::from(0));
            }
        });
    }
}

/// The account of a scan, with the stored access token.
fn account(server: &Server, mapping: &catalog::Mapping) -> Result<Account, Report> {
    let uses_tokens = server.source.auth.may_use_tokens();
    let token = if uses_tokens { state::load_token(server, mapping)? } else { None };
    Ok(catalog::account(server, mapping, token))
}

/// A value of a known type, as the app is told it.
pub unsafe fn filter_value(datum: pg_sys::Datum, type_oid: pg_sys::Oid) -> Option<FilterValue> {
    Some(match type_oid {
        pg_sys::BOOLOID => FilterValue::Bool(bool::from_datum(datum, false)?),
        pg_sys::INT2OID => FilterValue::Int(i64::from(i16::from_datum(datum, false)?)),
        pg_sys::INT4OID => FilterValue::Int(i64::from(i32::from_datum(datum, false)?)),
        pg_sys::INT8OID => FilterValue::Int(i64::from_datum(datum, false)?),
        pg_sys::FLOAT4OID => FilterValue::Number(f32::from_datum(datum, false)?.to_string()),
        pg_sys::FLOAT8OID => FilterValue::Number(f64::from_datum(datum, false)?.to_string()),
        pg_sys::NUMERICOID => FilterValue::Number(AnyNumeric::from_datum(datum, false)?.to_string()),
        pg_sys::TEXTOID | pg_sys::VARCHAROID => FilterValue::Text(String::from_datum(datum, false)?),
        pg_sys::TIMESTAMPTZOID => FilterValue::Timestamp(value::unix_us(datum)),
        pg_sys::DATEOID => FilterValue::Date(value::unix_days(datum)),
        _ => return None,
    })
}

/// The elements of an array that are not null.
pub unsafe fn array_values(datum: pg_sys::Datum) -> Vec<FilterValue> {
    let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
    let element = (*array).elemtype;
    let (mut length, mut by_value, mut align) = (0i16, false, 0 as std::ffi::c_char);
    pg_sys::get_typlenbyvalalign(element, &mut length, &mut by_value, &mut align);
    let (mut datums, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    pg_sys::deconstruct_array(array, element, i32::from(length), by_value, align, &mut datums, &mut nulls, &mut count);
    (0..count as usize).filter(|at| !*nulls.add(*at)).filter_map(|at| filter_value(*datums.add(at), element)).collect()
}

/// The request of a scan whose constants are known, for EXPLAIN: nothing is evaluated and nothing is sent.
pub unsafe fn shown_request(node: *mut pg_sys::ForeignScanState) -> Result<(ReadRequest, Account), Report> {
    let scan_node = (*node).ss.ps.plan.cast::<pg_sys::ForeignScan>();
    let (table, plan) = planned(node);
    let (output, fill) = output_of(&table, &plan)?;
    let mut scan = Scan { limit: plan.limit, ..Scan::default() };
    let column_of = |attnum: i16| match fill.get((attnum - 1) as usize) {
        Some((Source::Cell(at), _)) => Some(*at),
        _ => None,
    };
    for condition in &plan.conditions {
        let (Some(op), Some(column)) = (op_of(&condition.op), column_of(condition.attnum)) else {
            continue;
        };
        let values = match (condition.constant, condition.expr) {
            (Some(constant), _) => vec![FilterValue::Bool(constant)],
            (None, None) => Vec::new(),
            (None, Some(number)) => {
                let expr: *mut pg_sys::Node = pg_sys::list_nth((*scan_node).fdw_exprs, number as i32).cast();
                if (*expr).type_ == pg_sys::NodeTag::T_Const && !(*expr.cast::<pg_sys::Const>()).constisnull {
                    let constant = expr.cast::<pg_sys::Const>();
                    if condition.op == "any" {
                        array_values((*constant).constvalue)
                    } else {
                        filter_value((*constant).constvalue, (*constant).consttype).into_iter().collect()
                    }
                } else {
                    // Known only when the scan runs.
                    vec![FilterValue::Text("?".into())]
                }
            }
        };
        scan.filters.push(Filter { column, op, values });
    }
    for order in &plan.order {
        if let Some(column) = column_of(order.attnum) {
            scan.order.push(Order { column, descending: order.descending, nulls_first: order.nulls_first });
        }
    }
    let nobody = catalog::Mapping { user: String::new(), credentials: Default::default() };
    let account = catalog::account(&table.server, &nobody, None);
    Ok((ReadRequest { outputs: vec![output], mode: Mode::Scan(scan) }, account))
}
