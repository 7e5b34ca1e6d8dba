//! Live foreign tables: the planner's and the executor's side of a scan.
//!
//! A scan is lazy: nothing is asked of the app before the executor wants the first row, and no page before it wants a row of
//! it. So a LIMIT is right without being told to the app, and EXPLAIN costs nothing.

mod conditions;
mod explain;
mod import;
mod plan;
mod scan;

use pgrx::prelude::*;

/// The foreign-data wrapper's callbacks.
#[pg_extern(
    sql = "CREATE FUNCTION cloudsync_fdw_handler() RETURNS fdw_handler STRICT LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';"
)]
fn cloudsync_fdw_handler() -> pgrx::PgBox<pg_sys::FdwRoutine> {
    // SAFETY: the node is zeroed: a callback that is not set is one that we do not offer.
    let mut routine =
        unsafe { pgrx::PgBox::<pg_sys::FdwRoutine>::alloc_node(pg_sys::NodeTag::T_FdwRoutine).into_pg_boxed() };
    routine.GetForeignRelSize = Some(plan::get_foreign_rel_size);
    routine.GetForeignPaths = Some(plan::get_foreign_paths);
    routine.GetForeignPlan = Some(plan::get_foreign_plan);
    routine.BeginForeignScan = Some(scan::begin_foreign_scan);
    routine.IterateForeignScan = Some(scan::iterate_foreign_scan);
    routine.ReScanForeignScan = Some(scan::rescan_foreign_scan);
    routine.EndForeignScan = Some(scan::end_foreign_scan);
    routine.ExplainForeignScan = Some(explain::explain_foreign_scan);
    routine.ImportForeignSchema = Some(import::import_foreign_schema);
    routine
}

/// The table that a scan reads, as far as planning and scanning need it.
pub(crate) struct Table {
    pub server: crate::catalog::Server,
    pub collection: std::sync::Arc<crate::manifest::Collection>,
    pub columns: Vec<crate::catalog::TableColumn>,
    /// Fields as the app described them last; `None` when it was not asked yet, or has no such call.
    pub described: Option<std::sync::Arc<crate::extract::Described>>,
}

impl Table {
    pub fn of(relid: pg_sys::Oid) -> Result<Self, crate::report::Report> {
        let table = crate::catalog::foreign_table(relid)?;
        // SAFETY: the relation is a foreign table, or the line above had raised.
        let server = crate::catalog::server_by_oid(unsafe { (*pg_sys::GetForeignTable(relid)).serverid })?;
        let collection = crate::catalog::collection(&server, &table.collection, table.object.as_deref())?;
        let described = if crate::extract::is_described(&server.source, &collection) {
            crate::refresh::state::load(&server.name, &collection.name)?.described.map(std::sync::Arc::new)
        } else {
            None
        };
        Ok(Table { server, collection, columns: table.columns, described })
    }

    /// The column of an attribute number, as it is read from a record.
    pub fn out_column(&self, attnum: i16) -> Result<Option<crate::extract::OutColumn>, crate::report::Report> {
        match self.columns.iter().find(|column| column.attnum == attnum) {
            Some(column) => crate::catalog::out_column(column, &self.collection, self.described.as_deref()).map(Some),
            None => Ok(None),
        }
    }

    /// What the app says of a column's field, when it was asked.
    pub fn described_column(&self, attnum: i16) -> Option<&crate::extract::DescribedColumn> {
        let column = self.columns.iter().find(|column| column.attnum == attnum)?;
        let field = column.field.as_deref().unwrap_or(&column.name);
        self.described.as_deref()?.columns.iter().find(|c| c.field == field || c.name == column.name)
    }

    /// What the query language of the app takes, if it has one.
    pub fn queries(&self) -> Option<crate::extract::Queries> {
        crate::extract::queries(&self.server.source, &self.collection)
    }

    /// Deleted records are left out by the app unless their mark is asked for.
    pub fn asks_for_deleted(&self) -> bool {
        self.server.source.protocol == crate::manifest::Protocol::Salesforce
    }
}
