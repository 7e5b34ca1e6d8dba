//! Finds the conditions of a query that an app may be told: a column of ours against something known before the scan.

use super::Table;
use crate::extract::{self, Op, Pushed, Target};
use crate::report::Report;
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};
use std::ffi::CStr;

/// A condition as the plan keeps it; its value is the expression of the same number in `fdw_exprs`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Condition {
    pub attnum: i16,
    pub op: String,
    /// Number of the expression in `fdw_exprs`; none for the null tests and for `constant`.
    pub expr: Option<usize>,
    /// A boolean column tested as it stands.
    pub constant: Option<bool>,
    pub exact: bool,
}

/// A condition with the expression that gives its value.
pub struct Found {
    pub condition: Condition,
    pub value: *mut pg_sys::Expr,
}

pub fn op_of(name: &str) -> Option<Op> {
    Some(match name {
        "=" => Op::Eq,
        "<>" => Op::Ne,
        "<" => Op::Lt,
        "<=" => Op::Le,
        ">" => Op::Gt,
        ">=" => Op::Ge,
        "~~" => Op::Like,
        "any" => Op::In,
        "null" => Op::IsNull,
        "notnull" => Op::IsNotNull,
        _ => return None,
    })
}

/// How well the app reads a condition on this column.
pub fn pushed(table: &Table, attnum: i16, op: Op) -> Result<Pushed, Report> {
    let Some(column) = table.columns.iter().find(|c| c.attnum == attnum) else { return Ok(Pushed::No) };
    if matches!(column.type_oid, pg_sys::TIMESTAMPOID | pg_sys::JSONOID | pg_sys::JSONBOID) {
        return Ok(Pushed::No);
    }
    if table.described_column(attnum).is_some_and(|described| !described.filterable) {
        return Ok(Pushed::No);
    }
    let Ok(Some(out)) = table.out_column(attnum) else { return Ok(Pushed::No) };
    Ok(extract::pushable(&table.server.source, &table.collection, &out, op))
}

unsafe fn tag(node: *mut pg_sys::Node) -> pg_sys::NodeTag {
    (*node).type_
}

/// Takes the cast between text types off.
unsafe fn bare(mut node: *mut pg_sys::Node) -> *mut pg_sys::Node {
    while tag(node) == pg_sys::NodeTag::T_RelabelType {
        node = (*node.cast::<pg_sys::RelabelType>()).arg.cast();
    }
    node
}

/// The attribute number when the node is a plain column of the relation.
unsafe fn column_of(node: *mut pg_sys::Node, relid: u32) -> Option<i16> {
    let node = bare(node);
    if tag(node) != pg_sys::NodeTag::T_Var {
        return None;
    }
    let var = node.cast::<pg_sys::Var>();
    ((*var).varno as u32 == relid && (*var).varattno > 0 && (*var).varlevelsup == 0).then_some((*var).varattno)
}

/// Whether a value is known before the scan begins: nothing of our relation in it, and nothing volatile.
unsafe fn known_before(root: *mut pg_sys::PlannerInfo, node: *mut pg_sys::Node, relid: u32) -> bool {
    let relids = pg_sys::pull_varnos(root, node);
    !pg_sys::bms_is_member(relid as i32, relids) && !pg_sys::contain_volatile_functions(node)
}

/// The name of a built-in operator.
unsafe fn operator_name(oid: pg_sys::Oid) -> Option<String> {
    // Operators that initdb made have oids below FirstUnpinnedObjectId: others may mean anything.
    if oid.to_u32() >= 12_000 {
        return None;
    }
    let name = pg_sys::get_opname(oid);
    (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
}

/// Whether a value of this type can be sent for a column of this target.
pub fn type_fits(target: Target, type_oid: pg_sys::Oid) -> bool {
    match target {
        Target::Bool => type_oid == pg_sys::BOOLOID,
        Target::Int2 | Target::Int4 | Target::Int8 => {
            [pg_sys::INT2OID, pg_sys::INT4OID, pg_sys::INT8OID].contains(&type_oid)
        }
        Target::Float8 => [pg_sys::FLOAT4OID, pg_sys::FLOAT8OID].contains(&type_oid),
        Target::Numeric => type_oid == pg_sys::NUMERICOID,
        Target::Text => [pg_sys::TEXTOID, pg_sys::VARCHAROID].contains(&type_oid),
        Target::Timestamptz => type_oid == pg_sys::TIMESTAMPTZOID,
        Target::Date => type_oid == pg_sys::DATEOID,
        Target::Json | Target::Jsonb => false,
    }
}

fn commuted(name: &str) -> &str {
    match name {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        other => other,
    }
}

/// The condition that a clause comes down to, when it has the right shape.
///
/// # Safety
/// `clause` must be a live expression over the planner's range table.
unsafe fn shape(
    root: *mut pg_sys::PlannerInfo,
    clause: *mut pg_sys::Node,
    relid: u32,
    table: &Table,
) -> Option<(i16, String, *mut pg_sys::Expr, Option<bool>)> {
    use pg_sys::NodeTag as T;
    let none = std::ptr::null_mut();
    match tag(clause) {
        T::T_Var => column_of(clause, relid).map(|attnum| (attnum, "=".to_string(), none, Some(true))),
        T::T_BoolExpr => {
            let expr = clause.cast::<pg_sys::BoolExpr>();
            if (*expr).boolop != pg_sys::BoolExprType::NOT_EXPR {
                return None;
            }
            let inner: *mut pg_sys::Node = pg_sys::list_nth((*expr).args, 0).cast();
            column_of(inner, relid).map(|attnum| (attnum, "=".to_string(), none, Some(false)))
        }
        T::T_NullTest => {
            let test = clause.cast::<pg_sys::NullTest>();
            let attnum = column_of((*test).arg.cast(), relid)?;
            let is_null = (*test).nulltesttype == pg_sys::NullTestType::IS_NULL;
            Some((attnum, if is_null { "null" } else { "notnull" }.to_string(), none, None))
        }
        T::T_OpExpr => {
            let expr = clause.cast::<pg_sys::OpExpr>();
            if (*expr).args.is_null() || (*(*expr).args).length != 2 {
                return None;
            }
            let name = operator_name((*expr).opno)?;
            let left: *mut pg_sys::Node = pg_sys::list_nth((*expr).args, 0).cast();
            let right: *mut pg_sys::Node = pg_sys::list_nth((*expr).args, 1).cast();
            let (attnum, name, value) = match (column_of(left, relid), column_of(right, relid)) {
                (Some(attnum), None) => (attnum, name.as_str(), right),
                (None, Some(attnum)) if name != "~~" => (attnum, commuted(&name), left),
                _ => return None,
            };
            let out = table.out_column(attnum).ok()??;
            let fits = known_before(root, value, relid) && type_fits(out.target, pg_sys::exprType(bare(value)));
            fits.then(|| (attnum, name.to_string(), value.cast(), None))
        }
        T::T_ScalarArrayOpExpr => {
            let expr = clause.cast::<pg_sys::ScalarArrayOpExpr>();
            if !(*expr).useOr || operator_name((*expr).opno)? != "=" {
                return None;
            }
            let left: *mut pg_sys::Node = pg_sys::list_nth((*expr).args, 0).cast();
            let right: *mut pg_sys::Node = pg_sys::list_nth((*expr).args, 1).cast();
            let attnum = column_of(left, relid)?;
            let out = table.out_column(attnum).ok()??;
            let element = pg_sys::get_element_type(pg_sys::exprType(right));
            (known_before(root, right, relid) && type_fits(out.target, element))
                .then(|| (attnum, "any".to_string(), right.cast(), None))
        }
        _ => None,
    }
}

/// The condition of a clause that the app can be told, if any.
///
/// # Safety
/// As for [`shape`].
pub unsafe fn find(
    root: *mut pg_sys::PlannerInfo,
    clause: *mut pg_sys::Expr,
    relid: u32,
    table: &Table,
) -> Result<Option<Found>, Report> {
    let Some((attnum, op, value, constant)) = shape(root, clause.cast(), relid, table) else { return Ok(None) };
    let Some(kind) = op_of(&op) else { return Ok(None) };
    Ok(match pushed(table, attnum, kind)? {
        Pushed::No => None,
        how => Some(Found {
            condition: Condition { attnum, op, expr: None, constant, exact: how == Pushed::Exact },
            value,
        }),
    })
}
