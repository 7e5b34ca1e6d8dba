//! Fills one column of the rows that are there already: the app is asked for that field and the key alone, where it can be.
//!
//! Only rows whose value differs are written, never one that is newer than what the app sent. Cursor and open positions stay as
//! they are, so it can be broken off and begun again at any time.

use super::run::Run;
use super::state::Outcome;
use super::tables::LocalTable;
use crate::extract::{asks_for_fields, Binary, Output};
use crate::manifest::Collection;
use crate::report::{fail, Report};
use pgrx::spi::{quote_identifier, quote_literal};
use pgrx::PgSqlErrorCode as Code;

/// The output with nothing but its key and one column, which comes last.
pub fn narrowed(output: &Output, column: &str, server: &str) -> Result<Output, Report> {
    let name = &output.collection.name;
    let wanted = output.columns.iter().position(|known| known.name == column);
    let Some(wanted) = wanted.filter(|at| !output.key.contains(at)) else {
        let others: Vec<&str> = output.columns.iter().map(|known| known.name.as_str()).collect();
        return Err(fail(
            Code::ERRCODE_UNDEFINED_COLUMN, // 42703
            format!("column \"{column}\" of {server}.{name} cannot be filled"),
            if wanted.is_some() { "It is part of the key." } else { "The foreign table has no such column." },
            format!("The columns are: {}.", others.join(", ")),
        ));
    };
    let chosen: Vec<usize> = output.key.iter().copied().chain([wanted]).collect();
    let is_lz4 = output.binary.as_ref().is_some_and(|binary| binary.lz4.contains(&wanted));
    Ok(Output {
        columns: chosen.iter().filter_map(|at| output.columns.get(*at).cloned()).collect(),
        key: (0..output.key.len()).collect(),
        keep_extra: false,
        checkpoint: None,
        binary: output
            .binary
            .as_ref()
            .map(|_| Binary { lz4: if is_lz4 { vec![output.key.len()] } else { Vec::new() } }),
        ..output.clone()
    })
}

/// The statement that fills the last column of `output` from the relation `batch`; answers three counts, all the number of rows.
///
/// The value leaves `extra`, where it was as long as it had no column. The hash no longer says what the row holds, so it goes.
pub fn statement(table: &LocalTable, output: &Output) -> String {
    let target = &table.qualified;
    let key =
        |(at, name): (usize, &String)| format!("t.{} OPERATOR(pg_catalog.=) b.c{}", quote_identifier(name), at + 1);
    let same: Vec<String> = output.collection.primary_key.iter().enumerate().map(key).collect();
    let last = output.columns.last();
    let column = quote_identifier(last.map_or("", |column| column.name.as_str()));
    let new = format!("b.c{}", output.columns.len());
    // json has no operator of its own for equality.
    let is_json = last.is_some_and(|column| column.target == crate::extract::Target::Json);
    let cast = if is_json { "::pg_catalog.text" } else { "" };
    let path: Vec<String> = last.iter().flat_map(|column| &column.path).map(quote_literal).collect();
    let folder = path.first().map_or_else(|| "''".to_string(), Clone::clone);
    let path = path.join(", ");
    format!(
        "WITH filled AS (UPDATE {target} AS t SET {column} = {new}, received_at = pg_catalog.now(), record_hash = NULL, \
         extra = (SELECT CASE WHEN e OPERATOR(pg_catalog.=) '{{}}'::pg_catalog.jsonb THEN NULL ELSE e END FROM \
         (SELECT CASE WHEN d OPERATOR(pg_catalog.->) {folder}::pg_catalog.text OPERATOR(pg_catalog.=) '{{}}'::pg_catalog.jsonb \
         THEN d OPERATOR(pg_catalog.-) {folder}::pg_catalog.text ELSE d END FROM \
         (SELECT t.extra OPERATOR(pg_catalog.#-) ARRAY[{path}]::pg_catalog.text[]) inner_extra(d)) outer_extra(e)) \
         FROM batch b WHERE NOT b.key_only AND {same} AND (t.record_version IS NULL OR b.record_version IS NULL \
         OR t.record_version OPERATOR(pg_catalog.<=) b.record_version) \
         AND (t.{column}{cast} OPERATOR(pg_catalog.<>) {new}{cast} \
         OR (t.{column} IS NULL) OPERATOR(pg_catalog.<>) ({new} IS NULL)) RETURNING 1) \
         SELECT count(*), count(*), count(*) FROM filled",
        same = same.join(" AND "),
    )
}

impl Run {
    /// What the user should know of a backfill before it begins.
    pub(super) fn backfill_note(&self, collection: &Collection) -> Option<String> {
        let alone = asks_for_fields(&self.context.server.source, collection);
        (!alone).then(|| "the app gives records with all their fields only, so these were read".to_string())
    }

    /// The outcome of a backfill of an empty table: nothing to do, and no call.
    pub(super) fn nothing_to_fill(&mut self, collection: &str) {
        self.outcomes.push(Outcome {
            server: self.context.server.name.clone(),
            collection: collection.to_string(),
            status: "ok".into(),
            mode: Some("backfill".into()),
            started_us: super::run::now_us(),
            message: Some("the table has no rows yet; a refresh fills every column".into()),
            ..Outcome::default()
        });
    }
}
