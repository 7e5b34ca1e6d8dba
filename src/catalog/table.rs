//! Reads foreign tables and the columns of tables, and says how a record fills them.

use super::{option_list, text_of, Server};
use crate::extract::{Described, OutColumn, Output, Target};
use crate::manifest::{field_path, Collection, Deletes, Format};
use crate::report::{fail, Report};
use crate::spi;
use crate::value;
use pgrx::{pg_sys, PgSqlErrorCode as Code};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Columns that the engine keeps in every local table.
pub const ENGINE_COLUMNS: [&str; 5] = ["is_deleted", "received_at", "extra", "record_version", "record_hash"];

/// One column of a table as Postgres has it.
#[derive(Clone, Debug, PartialEq)]
pub struct TableColumn {
    pub attnum: i16,
    pub name: String,
    pub type_oid: pg_sys::Oid,
    pub field: Option<String>,
    pub format: Option<Format>,
    pub generated: bool,
    /// Its wide values are compressed with lz4.
    pub is_lz4: bool,
}

/// A foreign table of ours.
#[derive(Clone, Debug)]
pub struct ForeignTable {
    pub oid: pg_sys::Oid,
    pub collection: String,
    pub object: Option<String>,
    pub columns: Vec<TableColumn>,
}

/// A foreign table by oid.
pub fn foreign_table(relid: pg_sys::Oid) -> Result<ForeignTable, Report> {
    // SAFETY: raises when it is no foreign table.
    let options = unsafe { option_list((*pg_sys::GetForeignTable(relid)).options) };
    // SAFETY: the table exists.
    let name = text_of(unsafe { pg_sys::get_rel_name(relid) });
    Ok(ForeignTable {
        oid: relid,
        collection: options.get("collection").cloned().unwrap_or(name),
        object: options.get("object").cloned(),
        columns: table_columns(relid, true)?,
    })
}

/// The columns of a table, in order.
pub fn table_columns(relid: pg_sys::Oid, foreign: bool) -> Result<Vec<TableColumn>, Report> {
    let mut columns = spi::rows(
        "SELECT attnum, attname::pg_catalog.text, atttypid, attgenerated::pg_catalog.text, \
         attcompression OPERATOR(pg_catalog.=) 'l' AND attstorage OPERATOR(pg_catalog.=) ANY ('{x,m}') \
         FROM pg_catalog.pg_attribute \
         WHERE attrelid OPERATOR(pg_catalog.=) $1 AND attnum OPERATOR(pg_catalog.>) 0 AND NOT attisdropped ORDER BY attnum",
        &[relid.into()],
        |row| {
            Ok(TableColumn {
                attnum: row.get(1)?.unwrap_or_default(),
                name: row.text(2)?,
                type_oid: row.get(3)?.unwrap_or(pg_sys::InvalidOid),
                field: None,
                format: None,
                generated: !row.text(4)?.is_empty(),
                is_lz4: row.get(5)?.unwrap_or(false),
            })
        },
    )?;
    if foreign {
        for column in &mut columns {
            // SAFETY: the column exists.
            let options = unsafe { option_list(pg_sys::GetForeignColumnOptions(relid, column.attnum)) };
            column.field = options.get("field").cloned();
            column.format = options.get("format").map(|text| Format::parse(text).unwrap_or_default());
        }
    }
    Ok(columns)
}

/// The foreign tables of a server, one a collection: the one in the live schema, else the oldest.
pub fn foreign_tables(server: &Server) -> Result<BTreeMap<String, pg_sys::Oid>, Report> {
    let mut found = BTreeMap::new();
    let tables = spi::rows(
        "SELECT t.ftrelid, coalesce((SELECT o.option_value FROM pg_catalog.pg_options_to_table(t.ftoptions) o \
                WHERE o.option_name OPERATOR(pg_catalog.=) 'collection'), c.relname::pg_catalog.text) \
         FROM pg_catalog.pg_foreign_table t \
         JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.ftrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE t.ftserver OPERATOR(pg_catalog.=) $1 \
         ORDER BY (n.nspname OPERATOR(pg_catalog.=) $2::pg_catalog.name) DESC, t.ftrelid",
        &[server.oid.into(), server.live_schema().into()],
        |row| Ok((row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid), row.text(2)?)),
    )?;
    for (oid, collection) in tables {
        found.entry(collection).or_insert(oid);
    }
    Ok(found)
}

/// What a column of this type is filled with; `None` for types we cannot fill.
pub fn target_of(type_oid: pg_sys::Oid) -> Option<Target> {
    Some(match type_oid {
        pg_sys::BOOLOID => Target::Bool,
        pg_sys::INT2OID => Target::Int2,
        pg_sys::INT4OID => Target::Int4,
        pg_sys::INT8OID => Target::Int8,
        pg_sys::FLOAT4OID | pg_sys::FLOAT8OID => Target::Float8,
        pg_sys::NUMERICOID => Target::Numeric,
        pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => Target::Text,
        pg_sys::TIMESTAMPTZOID | pg_sys::TIMESTAMPOID => Target::Timestamptz,
        pg_sys::DATEOID => Target::Date,
        pg_sys::JSONOID => Target::Json,
        pg_sys::JSONBOID => Target::Jsonb,
        _ => return None,
    })
}

/// How a table column is read from a record: by its own options, else as the app or the source file describes it.
pub fn out_column(
    column: &TableColumn,
    collection: &Collection,
    described: Option<&Described>,
) -> Result<OutColumn, Report> {
    let known = collection.column(&column.name);
    let found = described.and_then(|d| d.columns.iter().find(|c| c.name == column.name));
    let flag = match &collection.deletes {
        Deletes::Flag { field, .. } if column.name == "is_deleted" => Some(field.clone()),
        _ => None,
    };
    let field = column
        .field
        .clone()
        .or_else(|| found.map(|c| c.field.clone()))
        .or_else(|| known.and_then(|c| c.field.clone()))
        .or(flag)
        .unwrap_or_else(|| column.name.clone());
    let Some(target) = target_of(column.type_oid) else {
        return Err(fail(
            Code::ERRCODE_FDW_INVALID_DATA_TYPE, // HV004
            format!("column \"{}\" of {} has a type that cannot be filled", column.name, collection.name),
            "",
            "Use boolean, smallint, integer, bigint, numeric, real, double precision, text, varchar, timestamptz, \
             timestamp, date, jsonb or json.",
        ));
    };
    Ok(OutColumn {
        name: column.name.clone(),
        path: field_path(&field),
        target,
        format: column.format.or(known.map(|c| c.format)).unwrap_or_default(),
    })
}

/// A table to fill. `columns` must hold the primary key.
pub fn output(
    collection: Arc<Collection>,
    columns: Vec<OutColumn>,
    described: Option<Arc<Described>>,
    keep_extra: bool,
) -> Result<Output, Report> {
    let mut key = Vec::new();
    for name in &collection.primary_key {
        match columns.iter().position(|column| &column.name == name) {
            Some(at) => key.push(at),
            None => {
                return Err(fail(
                    Code::ERRCODE_FDW_COLUMN_NAME_NOT_FOUND, // HV005
                    format!("the table of collection \"{}\" lacks its key column \"{name}\"", collection.name),
                    "",
                    format!("Add the column \"{name}\" to it."),
                ));
            }
        }
    }
    Ok(Output { collection, columns, key, keep_extra, checkpoint: None, binary: value::binary(Vec::new()), described })
}
