//! Plans a scan: which conditions, columns, order and limit go to the app, and what that costs.
//!
//! What counts is calls: a page costs far more than a row, so key look-ups beat listings, and a join with few rows outside
//! asks by key. The plan keeps only text (JSON) and expressions, so it can be copied, cached and run again.

use super::conditions::{self, Condition};
use super::Table;
use crate::extract::{self, Op, Pushed};
use crate::report::Report;
use crate::spi;
use pgrx::prelude::*;
use pgrx::PgList;
use serde::{Deserialize, Serialize};
use std::ffi::{c_void, CStr, CString};

/// Price of one call, in the planner's units (a sequential page read is 1).
const CALL_COST: f64 = 1_000.0;
const ROW_COST: f64 = 0.05;
/// Rows assumed of a collection that was never synced.
const UNKNOWN_ROWS: f64 = 10_000.0;

/// What a plan carries to the executor.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ScanPlan {
    pub conditions: Vec<Condition>,
    /// Attributes that the query uses, in order.
    pub columns: Vec<i16>,
    pub order: Vec<PlannedOrder>,
    pub limit: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlannedOrder {
    pub attnum: i16,
    pub descending: bool,
    pub nulls_first: bool,
}

/// Raises our error where a callback cannot return one.
pub fn or_raise<T>(result: Result<T, Report>) -> T {
    result.unwrap_or_else(|report| report.raise())
}

/// A list holding one text, which plans may copy.
unsafe fn text_list(text: &str) -> *mut pg_sys::List {
    let text = CString::new(text).unwrap_or_default();
    pg_sys::lappend(std::ptr::null_mut(), pg_sys::makeString(pg_sys::pstrdup(text.as_ptr())).cast())
}

/// The text of such a list.
pub unsafe fn list_text(list: *mut pg_sys::List) -> String {
    if list.is_null() {
        return String::new();
    }
    #[cfg(feature = "pg14")]
    let text = (*pg_sys::list_nth(list, 0).cast::<pg_sys::Value>()).val.str_;
    #[cfg(not(feature = "pg14"))]
    let text = (*pg_sys::list_nth(list, 0).cast::<pg_sys::String>()).sval;
    CStr::from_ptr(text).to_string_lossy().into_owned()
}

/// Rows of the collection, as far as known.
fn known_rows(table: &Table) -> Result<f64, Report> {
    let rows: Option<i64> = spi::as_owner(|| {
        spi::value(
            "SELECT rows_stored FROM cloudsync.collection_state \
             WHERE server OPERATOR(pg_catalog.=) $1 AND collection OPERATOR(pg_catalog.=) $2",
            &[table.server.name.clone().into(), table.collection.name.clone().into()],
        )
    })?;
    Ok(rows.filter(|rows| *rows > 0).map_or(UNKNOWN_ROWS, |rows| rows as f64))
}

/// Records of one page.
fn page_rows(table: &Table) -> f64 {
    use crate::manifest::Pages;
    match &table.collection.pages {
        _ if table.queries().is_some() => table.queries().map_or(1.0, |queries| f64::from(queries.page)),
        Some(Pages::LastId { size, .. } | Pages::Offset { size, .. }) => f64::from(*size),
        Some(Pages::NextUrl { size: Some(size), .. } | Pages::Token { size: Some(size), .. }) => f64::from(*size),
        _ => 100.0,
    }
}

unsafe fn relation_oid(root: *mut pg_sys::PlannerInfo, rel: *mut pg_sys::RelOptInfo) -> pg_sys::Oid {
    (**(*root).simple_rte_array.add((*rel).relid as usize)).relid
}

#[pg_guard]
pub unsafe extern "C-unwind" fn get_foreign_rel_size(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    relid: pg_sys::Oid,
) {
    let table = or_raise(Table::of(relid));
    (*rel).tuples = or_raise(known_rows(&table));
    pg_sys::set_baserel_size_estimates(root, rel);
    let found = or_raise(found_conditions(root, rel, &table, (*rel).baserestrictinfo));
    if let Some(keys) = key_count(&table, &found) {
        (*rel).rows = keys.min((*rel).rows.max(1.0));
    }
}

/// The conditions among a list of RestrictInfos.
unsafe fn found_conditions(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    table: &Table,
    clauses: *mut pg_sys::List,
) -> Result<Vec<conditions::Found>, Report> {
    let mut found = Vec::new();
    for info in PgList::<pg_sys::RestrictInfo>::from_pg(clauses).iter_ptr() {
        if let Some(one) = conditions::find(root, (*info).clause, (*rel).relid, table)? {
            found.push(one);
        }
    }
    Ok(found)
}

/// How many records the conditions name by their whole key; `None` when they do not.
unsafe fn key_count(table: &Table, found: &[conditions::Found]) -> Option<f64> {
    let mut count = 1.0;
    for name in &table.collection.primary_key {
        let column = table.columns.iter().find(|c| &c.name == name)?;
        let one = found
            .iter()
            .find(|f| f.condition.attnum == column.attnum && matches!(f.condition.op.as_str(), "=" | "any"))?;
        if one.condition.op == "any" {
            count *= array_length(one.value).unwrap_or(10.0);
        }
    }
    Some(count)
}

/// The length of a constant array.
unsafe fn array_length(value: *mut pg_sys::Expr) -> Option<f64> {
    if value.is_null() || (*value.cast::<pg_sys::Node>()).type_ != pg_sys::NodeTag::T_Const {
        return None;
    }
    let constant = value.cast::<pg_sys::Const>();
    if (*constant).constisnull {
        return Some(0.0);
    }
    let array = pg_sys::pg_detoast_datum((*constant).constvalue.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
    let dims = array.cast::<u8>().add(std::mem::size_of::<pg_sys::ArrayType>()).cast::<i32>();
    Some(f64::from(pg_sys::ArrayGetNItems((*array).ndim, dims)))
}

#[pg_guard]
pub unsafe extern "C-unwind" fn get_foreign_paths(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    relid: pg_sys::Oid,
) {
    let table = or_raise(Table::of(relid));
    let found = or_raise(found_conditions(root, rel, &table, (*rel).baserestrictinfo));
    let all_rows = (*rel).tuples.max(1.0);
    let page = page_rows(&table);
    let calls = match (key_count(&table, &found), table.queries()) {
        (Some(keys), Some(queries)) => (keys / f64::from(queries.keys)).ceil(),
        (Some(keys), None) => keys,
        // A query language filters everything it is told; elsewhere most conditions still read every page.
        (None, Some(_)) => ((*rel).rows / page).ceil().max(1.0),
        (None, None) if !found.is_empty() => ((*rel).rows / page).ceil().max(1.0),
        (None, None) => (all_rows / page).ceil().max(1.0),
    };
    let total = calls * CALL_COST + (*rel).rows * ROW_COST;
    add_path(root, rel, (*rel).rows, CALL_COST, total, std::ptr::null_mut(), (*rel).lateral_relids);
    if !(*root).query_pathkeys.is_null() && or_raise(planned_order(root, rel, &table)).is_some() {
        add_path(root, rel, (*rel).rows, CALL_COST, total, (*root).query_pathkeys, (*rel).lateral_relids);
    }
    add_parameterized_paths(root, rel, &table);
}

#[allow(clippy::too_many_arguments)]
unsafe fn add_path(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    rows: f64,
    startup: f64,
    total: f64,
    pathkeys: *mut pg_sys::List,
    outer: pg_sys::Relids,
) {
    let none = std::ptr::null_mut();
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    let path = pg_sys::create_foreignscan_path(
        root,
        rel,
        none,
        rows,
        startup,
        total,
        pathkeys,
        outer,
        none.cast(),
        none.cast(),
    );
    #[cfg(feature = "pg17")]
    let path = pg_sys::create_foreignscan_path(
        root,
        rel,
        none,
        rows,
        startup,
        total,
        pathkeys,
        outer,
        none.cast(),
        none.cast(),
        none.cast(),
    );
    #[cfg(feature = "pg18")]
    let path = pg_sys::create_foreignscan_path(
        root,
        rel,
        none,
        rows,
        0,
        startup,
        total,
        pathkeys,
        outer,
        none.cast(),
        none.cast(),
        none.cast(),
    );
    pg_sys::add_path(rel, path.cast());
}

/// The column that equivalence classes are searched for.
struct Wanted {
    relid: u32,
    attnum: i16,
}

#[pg_guard]
unsafe extern "C-unwind" fn is_wanted(
    _root: *mut pg_sys::PlannerInfo,
    _rel: *mut pg_sys::RelOptInfo,
    _class: *mut pg_sys::EquivalenceClass,
    member: *mut pg_sys::EquivalenceMember,
    arg: *mut c_void,
) -> bool {
    let wanted = &*arg.cast::<Wanted>();
    let mut node: *mut pg_sys::Node = (*member).em_expr.cast();
    while (*node).type_ == pg_sys::NodeTag::T_RelabelType {
        node = (*node.cast::<pg_sys::RelabelType>()).arg.cast();
    }
    if (*node).type_ != pg_sys::NodeTag::T_Var {
        return false;
    }
    let var = node.cast::<pg_sys::Var>();
    (*var).varno as u32 == wanted.relid && (*var).varattno == wanted.attnum
}

/// For each column that the app looks up exactly: a path whose value comes from the other side of a join.
unsafe fn add_parameterized_paths(root: *mut pg_sys::PlannerInfo, rel: *mut pg_sys::RelOptInfo, table: &Table) {
    let page = page_rows(table);
    for column in &table.columns {
        if or_raise(conditions::pushed(table, column.attnum, Op::Eq)) == Pushed::No {
            continue;
        }
        let is_key = table.collection.primary_key.as_slice() == [column.name.clone()];
        let mut wanted = Wanted { relid: (*rel).relid, attnum: column.attnum };
        let mut clauses: Vec<*mut pg_sys::RestrictInfo> = Vec::new();
        if (*rel).has_eclass_joins {
            let implied = pg_sys::generate_implied_equalities_for_column(
                root,
                rel,
                Some(is_wanted),
                (&raw mut wanted).cast(),
                (*rel).lateral_referencers,
            );
            clauses.extend(PgList::<pg_sys::RestrictInfo>::from_pg(implied).iter_ptr());
        }
        clauses.extend(PgList::<pg_sys::RestrictInfo>::from_pg((*rel).joininfo).iter_ptr());
        let mut seen: Vec<pg_sys::Relids> = Vec::new();
        for info in clauses {
            if !pg_sys::join_clause_is_movable_to(info, rel) {
                continue;
            }
            match or_raise(conditions::find(root, (*info).clause, (*rel).relid, table)) {
                Some(found) if found.condition.attnum == column.attnum && found.condition.op == "=" => {}
                _ => continue,
            }
            let mut outer = pg_sys::bms_union((*info).clause_relids, (*rel).lateral_relids);
            outer = pg_sys::bms_del_member(outer, (*rel).relid as i32);
            if outer.is_null()
                || pg_sys::bms_membership(outer) == pg_sys::BMS_Membership::BMS_EMPTY_SET
                || seen.iter().any(|s| pg_sys::bms_equal(*s, outer))
            {
                continue;
            }
            seen.push(outer);
            let param = pg_sys::get_baserel_parampathinfo(root, rel, outer);
            let rows = if is_key { 1.0 } else { (*param).ppi_rows.max(1.0) };
            let calls = if is_key { 1.0 } else { (rows / page).ceil().max(1.0) };
            add_path(root, rel, rows, CALL_COST, calls * CALL_COST + rows * ROW_COST, std::ptr::null_mut(), outer);
        }
    }
}

/// The query's order as the app can give it, or `None` when it cannot.
unsafe fn planned_order(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    table: &Table,
) -> Result<Option<Vec<PlannedOrder>>, Report> {
    if table.queries().is_none() {
        return Ok(None);
    }
    let mut order = Vec::new();
    for key in PgList::<pg_sys::PathKey>::from_pg((*root).query_pathkeys).iter_ptr() {
        let class = (*key).pk_eclass;
        if (*class).ec_has_volatile {
            return Ok(None);
        }
        let mut found = None;
        for member in PgList::<pg_sys::EquivalenceMember>::from_pg((*class).ec_members).iter_ptr() {
            let node: *mut pg_sys::Node = (*member).em_expr.cast();
            if (*node).type_ == pg_sys::NodeTag::T_Var && (*node.cast::<pg_sys::Var>()).varno as u32 == (*rel).relid {
                found = Some((*node.cast::<pg_sys::Var>()).varattno);
            }
        }
        let Some(attnum) = found.filter(|attnum| *attnum > 0) else { return Ok(None) };
        match table.out_column(attnum)? {
            Some(out)
                if extract::order_pushable(&table.server.source, &table.collection, &out)
                    && table.described_column(attnum).is_none_or(|d| d.sortable) => {}
            _ => return Ok(None),
        }
        #[cfg(not(feature = "pg18"))]
        let descending = (*key).pk_strategy == pg_sys::BTGreaterStrategyNumber as i32;
        #[cfg(feature = "pg18")]
        let descending = (*key).pk_cmptype == pg_sys::CompareType::COMPARE_GT;
        order.push(PlannedOrder { attnum, descending, nulls_first: (*key).pk_nulls_first });
    }
    Ok(Some(order))
}

/// The limit that the app may apply itself: only when nothing but our scan decides which rows come out, and in which order.
unsafe fn planned_limit(root: *mut pg_sys::PlannerInfo, order_is_pushed: bool, all_exact: bool) -> Option<u64> {
    let query = (*root).parse;
    let alone = pg_sys::bms_membership((*root).all_baserels) == pg_sys::BMS_Membership::BMS_SINGLETON;
    let plain = (*query).groupClause.is_null()
        && (*query).groupingSets.is_null()
        && (*query).distinctClause.is_null()
        && (*query).havingQual.is_null()
        && (*query).setOperations.is_null()
        && (*query).rowMarks.is_null()
        && !(*query).hasAggs
        && !(*query).hasWindowFuncs
        && !(*query).hasTargetSRFs
        && !(*query).hasSubLinks;
    let ordered = (*query).sortClause.is_null() || order_is_pushed;
    let limit = (*root).limit_tuples;
    (alone && plain && ordered && all_exact && (1.0..=50_000.0).contains(&limit)).then_some(limit as u64)
}

#[pg_guard]
pub unsafe extern "C-unwind" fn get_foreign_plan(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    _relid: pg_sys::Oid,
    best: *mut pg_sys::ForeignPath,
    tlist: *mut pg_sys::List,
    clauses: *mut pg_sys::List,
    outer_plan: *mut pg_sys::Plan,
) -> *mut pg_sys::ForeignScan {
    let table = or_raise(Table::of(relation_oid(root, rel)));
    let mut plan = ScanPlan::default();
    let mut exprs: *mut pg_sys::List = std::ptr::null_mut();
    let mut all_exact = true;
    for info in PgList::<pg_sys::RestrictInfo>::from_pg(clauses).iter_ptr() {
        if (*info).pseudoconstant {
            continue;
        }
        match or_raise(conditions::find(root, (*info).clause, (*rel).relid, &table)) {
            Some(mut found) => {
                all_exact &= found.condition.exact;
                if !found.value.is_null() {
                    found.condition.expr = Some(if exprs.is_null() { 0 } else { (*exprs).length as usize });
                    exprs = pg_sys::lappend(exprs, found.value.cast());
                }
                plan.conditions.push(found.condition);
            }
            None => all_exact = false,
        }
    }
    let actual = pg_sys::extract_actual_clauses(clauses, false);
    plan.columns = used_columns(rel, actual, &table);
    let ordered = !(*best).path.pathkeys.is_null();
    if ordered {
        plan.order = or_raise(planned_order(root, rel, &table)).unwrap_or_default();
    }
    plan.limit = planned_limit(root, ordered, all_exact).filter(|_| table.queries().is_some());
    let text = serde_json::to_string(&plan).unwrap_or_default();
    let none = std::ptr::null_mut();
    pg_sys::make_foreignscan(tlist, actual, (*rel).relid, exprs, text_list(&text), none, none, outer_plan)
}

/// The attributes that the target list and the conditions need.
unsafe fn used_columns(rel: *mut pg_sys::RelOptInfo, clauses: *mut pg_sys::List, table: &Table) -> Vec<i16> {
    let mut used: *mut pg_sys::Bitmapset = std::ptr::null_mut();
    pg_sys::pull_varattnos((*(*rel).reltarget).exprs.cast(), (*rel).relid, &mut used);
    pg_sys::pull_varattnos(clauses.cast(), (*rel).relid, &mut used);
    let offset = pg_sys::FirstLowInvalidHeapAttributeNumber;
    let whole_row = pg_sys::bms_is_member(-offset, used);
    let attnums = table.columns.iter().map(|column| column.attnum);
    attnums.filter(|attnum| whole_row || pg_sys::bms_is_member(i32::from(*attnum) - offset, used)).collect()
}
