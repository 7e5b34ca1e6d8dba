//! Makes the live and the local table of a collection, and keeps the local one able to hold what the live one selects.
//!
//! Changes are additive: a column is added, never dropped, renamed or retyped. Everything runs with the caller's rights.

use super::subtransaction;
use crate::catalog::{self, ForeignTable, Server, TableColumn, ENGINE_COLUMNS};
use crate::extract::{Described, DescribedColumn, OutColumn, Output};
use crate::manifest::{Collection, Deletes, Format, Protocol};
use crate::report::{fail, Report};
use crate::spi;
use crate::value;
use pgrx::spi::{quote_identifier, quote_literal};
use pgrx::{pg_sys, PgSqlErrorCode as Code};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A local table that was found fit to be written.
#[derive(Clone, Debug)]
pub struct LocalTable {
    /// `schema.table`, quoted.
    pub qualified: String,
    pub columns: BTreeMap<String, pg_sys::Oid>,
    /// Columns whose wide values are compressed with lz4.
    pub lz4: BTreeSet<String>,
    /// It holds no row: it is new, or somebody emptied it.
    pub is_empty: bool,
    pub is_partitioned: bool,
}

/// A column as a new table gets it.
pub(super) struct NewColumn {
    pub(super) name: String,
    type_name: String,
    field: Option<String>,
    format: Format,
}

/// A table of PostgreSQL has at most 1600 columns, those that were dropped included; some are left for the user and us.
pub const MOST_COLUMNS: usize = 1500;

pub(super) fn new_column(column: &DescribedColumn) -> NewColumn {
    NewColumn {
        name: column.name.clone(),
        type_name: column.type_name.clone(),
        field: Some(column.field.clone()).filter(|field| field != &column.name),
        format: column.format,
    }
}

/// The columns that a collection offers: as the app describes them, else as the source file does.
fn offered(collection: &Collection, described: Option<&Described>) -> Vec<NewColumn> {
    match described {
        Some(described) => {
            described.columns.iter().filter(|column| !column.off).take(MOST_COLUMNS).map(new_column).collect()
        }
        None => collection
            .columns
            .iter()
            .map(|column| NewColumn {
                name: column.name.clone(),
                type_name: column.type_name.clone(),
                field: column.field.clone().filter(|field| field != &column.name),
                format: column.format,
            })
            .collect(),
    }
}

/// The definition of one column of a foreign table.
pub(super) fn foreign_column(column: &NewColumn) -> String {
    let mut options = Vec::new();
    if let Some(field) = &column.field {
        options.push(format!("field {}", quote_literal(field)));
    }
    if column.format != Format::Auto {
        options.push(format!("format {}", quote_literal(column.format.text())));
    }
    let options = if options.is_empty() { String::new() } else { format!(" OPTIONS ({})", options.join(", ")) };
    format!("{} {}{options}", quote_identifier(&column.name), column.type_name)
}

/// The statement that makes a collection's foreign table.
pub fn foreign_table_ddl(
    server: &Server,
    collection: &Collection,
    described: Option<&Described>,
    schema: &str,
    table: &str,
) -> String {
    let mut columns: Vec<String> = offered(collection, described).iter().map(foreign_column).collect();
    let deleted_field = match (&collection.deletes, described) {
        (_, Some(described)) => described.deleted_field.clone(),
        (Deletes::Flag { field, equals: None }, None) => Some(field.trim_start_matches('/').to_string()),
        _ => None,
    };
    if let Some(field) = deleted_field {
        columns.push(format!("is_deleted boolean OPTIONS (field {})", quote_literal(field)));
    }
    if server.source.protocol == Protocol::Rest {
        columns.push("extra jsonb".into());
    }
    let object = if server.source.collection(&collection.name).is_none() {
        format!(", object {}", quote_literal(&collection.object))
    } else {
        String::new()
    };
    format!(
        "CREATE FOREIGN TABLE {}.{} ({}) SERVER {} OPTIONS (collection {}{object})",
        quote_identifier(schema),
        quote_identifier(table),
        columns.join(", "),
        quote_identifier(&server.name),
        quote_literal(&collection.name),
    )
}

/// Makes a schema unless it is there, also when another session makes it at the same time.
fn ensure_schema(schema: &str) -> Result<(), Report> {
    if schema_exists(schema)? {
        return Ok(());
    }
    let made = subtransaction::guarded(|| spi::run(&format!("CREATE SCHEMA {}", quote_identifier(schema)), &[]));
    match made {
        Err(report) if !schema_exists(schema)? => Err(report),
        _ => Ok(()),
    }
}

fn schema_exists(schema: &str) -> Result<bool, Report> {
    let there: Option<bool> = spi::value(
        "SELECT true FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) $1::pg_catalog.name",
        &[schema.into()],
    )?;
    Ok(there.is_some())
}

/// The foreign table of a collection, made when there is none.
pub fn ensure_live(
    server: &Server,
    collection: &Collection,
    described: Option<&Described>,
    existing: Option<pg_sys::Oid>,
) -> Result<ForeignTable, Report> {
    if let Some(oid) = existing {
        return catalog::foreign_table(oid);
    }
    let schema = server.live_schema();
    ensure_schema(&schema)?;
    if let Some(kind) = relation_kind(&schema, &collection.name)? {
        return Err(fail(
            Code::ERRCODE_DUPLICATE_TABLE, // 42P07
            format!("relation \"{}.{}\" is in the way of the foreign table", schema, collection.name),
            format!("It is {}.", kind_name(&kind)),
            "Rename it, or choose another schema with the server's option \"live_schema\".",
        ));
    }
    spi::run(&foreign_table_ddl(server, collection, described, &schema, &collection.name), &[])?;
    let oid = relation_oid(&schema, &collection.name)?;
    catalog::foreign_table(oid)
}

fn relation_kind(schema: &str, table: &str) -> Result<Option<String>, Report> {
    spi::value(
        "SELECT c.relkind::pg_catalog.text FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE n.nspname OPERATOR(pg_catalog.=) $1::pg_catalog.name AND c.relname OPERATOR(pg_catalog.=) $2::pg_catalog.name",
        &[schema.into(), table.into()],
    )
}

fn relation_oid(schema: &str, table: &str) -> Result<pg_sys::Oid, Report> {
    let oid: Option<pg_sys::Oid> = spi::value(
        "SELECT c.oid FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE n.nspname OPERATOR(pg_catalog.=) $1::pg_catalog.name AND c.relname OPERATOR(pg_catalog.=) $2::pg_catalog.name",
        &[schema.into(), table.into()],
    )?;
    Ok(oid.unwrap_or(pg_sys::InvalidOid))
}

fn kind_name(kind: &str) -> &'static str {
    match kind {
        "v" => "a view",
        "m" => "a materialized view",
        "f" => "a foreign table",
        "i" | "I" => "an index",
        "S" => "a sequence",
        "c" => "a composite type",
        _ => "a table",
    }
}

/// Types a local column may have instead of the live one's, because they hold everything it holds.
pub(super) fn widens(live: pg_sys::Oid, local: pg_sys::Oid) -> bool {
    let any = [pg_sys::TEXTOID, pg_sys::VARCHAROID];
    let numbers = [pg_sys::INT2OID, pg_sys::INT4OID, pg_sys::INT8OID];
    live == local
        || any.contains(&local)
        || (numbers.contains(&live) && (local == pg_sys::INT8OID || local == pg_sys::NUMERICOID))
        || (live == pg_sys::JSONOID && local == pg_sys::JSONBOID)
        || (live == pg_sys::JSONBOID && local == pg_sys::JSONOID)
}

/// The engine's own columns of a local table: name and definition.
fn engine_column_ddl() -> [(&'static str, &'static str, pg_sys::Oid); 5] {
    [
        ("is_deleted", "boolean NOT NULL DEFAULT false", pg_sys::BOOLOID),
        ("received_at", "timestamptz", pg_sys::TIMESTAMPTZOID),
        ("extra", "jsonb", pg_sys::JSONBOID),
        ("record_version", "timestamptz", pg_sys::TIMESTAMPTZOID),
        ("record_hash", "bigint", pg_sys::INT8OID),
    ]
}

/// Columns of the live table that are stored as such; the engine's own are kept by the engine.
pub(super) fn stored(live: &ForeignTable) -> impl Iterator<Item = &TableColumn> {
    live.columns.iter().filter(|column| !ENGINE_COLUMNS.contains(&column.name.as_str()))
}

fn type_text(oid: pg_sys::Oid) -> Result<String, Report> {
    Ok(spi::value("SELECT pg_catalog.format_type($1, NULL)", &[oid.into()])?.unwrap_or_default())
}

/// lz4 for wide jsonb where the server has it: most of the cost of storing a record is compressing it.
fn compression() -> Result<&'static str, Report> {
    let has: Option<bool> = spi::value(
        "SELECT 'lz4' OPERATOR(pg_catalog.=) ANY (enumvals) FROM pg_catalog.pg_settings \
         WHERE name OPERATOR(pg_catalog.=) 'default_toast_compression'",
        &[],
    )?;
    Ok(if has == Some(true) { " COMPRESSION lz4" } else { "" })
}

fn local_column(name: &str, type_oid: pg_sys::Oid, lz4: &str) -> Result<String, Report> {
    let compressed = if type_oid == pg_sys::JSONBOID { lz4 } else { "" };
    Ok(format!("{} {}{compressed}", quote_identifier(name), type_text(type_oid)?))
}

/// The local table of a collection: made when there is none, extended when columns are missing, refused when it is
/// something else than a table of this collection.
pub fn ensure_local(server: &Server, collection: &Collection, live: &ForeignTable) -> Result<LocalTable, Report> {
    let schema = server.schema();
    ensure_schema(&schema)?;
    let qualified = format!("{}.{}", quote_identifier(&schema), quote_identifier(&collection.name));
    let kind = relation_kind(&schema, &collection.name)?;
    match kind.as_deref() {
        None => create_local(&qualified, collection, live)?,
        Some("r" | "p") => {}
        Some(kind) => {
            return Err(fail(
                Code::ERRCODE_WRONG_OBJECT_TYPE, // 42809
                format!("{qualified} is {}, not a table", kind_name(kind)),
                "A refresh writes to an ordinary or partitioned table only.",
                "Rename it and refresh again, or choose another schema with the server's option \"schema\".",
            ));
        }
    }
    let oid = relation_oid(&schema, &collection.name)?;
    let present = catalog::table_columns(oid, false)?;
    let mut columns: BTreeMap<String, pg_sys::Oid> = present.iter().map(|c| (c.name.clone(), c.type_oid)).collect();
    let lz4 = compression()?;
    let mut missing = Vec::new();
    for column in stored(live) {
        match columns.get(&column.name) {
            Some(local) if widens(column.type_oid, *local) => {}
            Some(local) => return Err(conflict(&qualified, &column.name, *local, column.type_oid)?),
            None => {
                missing.push(format!("ADD COLUMN {}", local_column(&column.name, column.type_oid, lz4)?));
                columns.insert(column.name.clone(), column.type_oid);
            }
        }
    }
    for (name, definition, type_oid) in engine_column_ddl() {
        match columns.get(name) {
            Some(local) if *local == type_oid => {}
            Some(local) => return Err(conflict(&qualified, name, *local, type_oid)?),
            None => {
                missing.push(format!("ADD COLUMN {name} {definition}"));
                columns.insert(name.to_string(), type_oid);
            }
        }
    }
    if !missing.is_empty() {
        spi::run(&format!("ALTER TABLE {qualified} {}", missing.join(", ")), &[])?;
    }
    check_key(oid, &qualified, collection)?;
    let with_lz4 =
        catalog::table_columns(oid, false)?.into_iter().filter(|c| c.is_lz4 && c.type_oid == pg_sys::JSONBOID);
    let has_rows: Option<bool> = spi::value(&format!("SELECT EXISTS (SELECT FROM {qualified})"), &[])?;
    Ok(LocalTable {
        qualified,
        columns,
        lz4: with_lz4.map(|column| column.name).collect(),
        is_empty: has_rows != Some(true),
        is_partitioned: kind.as_deref() == Some("p"),
    })
}

fn conflict(table: &str, column: &str, local: pg_sys::Oid, wanted: pg_sys::Oid) -> Result<Report, Report> {
    Ok(fail(
        Code::ERRCODE_DATATYPE_MISMATCH, // 42804
        format!("column \"{column}\" of {table} has type {}, but {} is needed", type_text(local)?, type_text(wanted)?),
        "Columns are never retyped by a refresh.",
        format!(
            "Rename the column or change its type: ALTER TABLE {table} ALTER COLUMN {} TYPE {};",
            quote_identifier(column),
            type_text(wanted)?
        ),
    ))
}

fn create_local(qualified: &str, collection: &Collection, live: &ForeignTable) -> Result<(), Report> {
    let lz4 = compression()?;
    let mut columns = Vec::new();
    for column in stored(live) {
        columns.push(local_column(&column.name, column.type_oid, lz4)?);
    }
    for (name, definition, _) in engine_column_ddl() {
        columns.push(format!("{name} {definition}"));
    }
    let key: Vec<String> = collection.primary_key.iter().map(quote_identifier).collect();
    columns.push(format!("PRIMARY KEY ({})", key.join(", ")));
    spi::run(&format!("CREATE TABLE {qualified} ({})", columns.join(", ")), &[])?;
    for (column, comment) in [
        ("is_deleted", "Deleted at the app."),
        ("received_at", "When this version of the row was stored."),
        ("extra", "What the app sent that has no column or did not fit."),
        ("record_version", "When the app last changed the record, as far as known."),
        ("record_hash", "Hash of the row's content: equal hashes are not written again."),
    ] {
        spi::run(&format!("COMMENT ON COLUMN {qualified}.{column} IS {}", quote_literal(comment)), &[])?;
    }
    Ok(())
}

/// The upsert needs a unique index on exactly the key columns.
fn check_key(oid: pg_sys::Oid, qualified: &str, collection: &Collection) -> Result<(), Report> {
    let key: Vec<&str> = collection.primary_key.iter().map(String::as_str).collect();
    let fits: Option<bool> = spi::value(
        "SELECT true FROM pg_catalog.pg_index i WHERE i.indrelid OPERATOR(pg_catalog.=) $1 AND i.indisunique \
         AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indimmediate AND \
         (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attname) FROM pg_catalog.pg_attribute a \
          WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attnum OPERATOR(pg_catalog.=) \
            ANY ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts OPERATOR(pg_catalog.-) 1])) OPERATOR(pg_catalog.=) \
         (SELECT pg_catalog.array_agg(k ORDER BY k COLLATE \"C\") FROM pg_catalog.unnest($2) k) LIMIT 1",
        &[oid.into(), key.clone().into()],
    )?;
    if fits == Some(true) {
        return Ok(());
    }
    Err(fail(
        Code::ERRCODE_INVALID_TABLE_DEFINITION, // 42P16
        format!("{qualified} has no primary key or unique constraint on ({})", key.join(", ")),
        "Rows are matched by it alone.",
        format!("Run ALTER TABLE {qualified} ADD PRIMARY KEY ({});", key.join(", ")),
    ))
}

/// The columns of a collection's local table, by name; none when there is no such table.
pub fn local_columns(server: &Server, collection: &Collection) -> Result<BTreeMap<String, pg_sys::Oid>, Report> {
    let oid = relation_oid(&server.schema(), &collection.name)?;
    let present = catalog::table_columns(oid, false)?;
    Ok(present.into_iter().map(|column| (column.name, column.type_oid)).collect())
}

pub fn relation_name(oid: pg_sys::Oid) -> Result<String, Report> {
    Ok(spi::value(
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE c.oid OPERATOR(pg_catalog.=) $1",
        &[oid.into()],
    )?
    .unwrap_or_default())
}

/// What a refresh of the collection fills: the stored columns of the live table, typed as the local table has them.
pub fn output(
    collection: Arc<Collection>,
    described: Option<Arc<Described>>,
    live: &ForeignTable,
    local: &LocalTable,
) -> Result<Output, Report> {
    let mut columns: Vec<OutColumn> = Vec::new();
    for column in stored(live) {
        let typed = TableColumn {
            type_oid: local.columns.get(&column.name).copied().unwrap_or(column.type_oid),
            ..column.clone()
        };
        columns.push(catalog::out_column(&typed, &collection, described.as_deref())?);
    }
    let lz4 = columns.iter().enumerate().filter(|(_, column)| local.lz4.contains(&column.name));
    let lz4 = lz4.map(|(index, _)| index).collect();
    Ok(Output { binary: value::binary(lz4), ..catalog::output(collection, columns, described, true)? })
}
