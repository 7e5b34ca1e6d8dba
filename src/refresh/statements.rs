//! Decides the statements that store a batch: plain SQL over the relation `batch`, so triggers, policies, constraints,
//! generated columns and partitions work as for anybody's INSERT.

use super::tables::LocalTable;
use crate::extract::rest::KEY_SEPARATOR;
use crate::extract::Output;
use pgrx::pg_sys;
use pgrx::spi::{quote_identifier, quote_literal};

/// The statements of one table. All but `insert` and `parents` answer three counts.
pub struct Statements {
    /// For rows that are not there yet: the quickest way, and an error when one is.
    pub insert: String,
    pub upsert: String,
    /// Counts the batch's rows that are there already, where the upsert itself cannot tell.
    pub present: Option<String>,
    pub tombstone: String,
    pub stale: String,
    pub parents: Option<String>,
}

impl Statements {
    pub fn new(table: &LocalTable, output: &Output) -> Self {
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
        let insert = format!(
            "INSERT INTO {target} AS t ({columns}, is_deleted, received_at, extra, record_version, record_hash) \
             SELECT {cells}, coalesce(b.is_deleted, false), pg_catalog.now(), b.extra, b.record_version, b.record_hash \
             FROM batch b WHERE NOT b.key_only",
            columns = names.join(", "),
            cells = cells.join(", "),
        );
        let upsert = format!(
            "WITH written AS ({insert} ON CONFLICT ({key}) DO UPDATE SET {set}{comma}\
             is_deleted = excluded.is_deleted, received_at = excluded.received_at, extra = excluded.extra, \
             record_version = excluded.record_version, record_hash = excluded.record_hash \
             WHERE (t.record_hash IS NULL OR t.record_hash OPERATOR(pg_catalog.<>) excluded.record_hash \
             OR t.is_deleted OPERATOR(pg_catalog.<>) excluded.is_deleted) AND {guard} \
             RETURNING {is_new} AS is_new, t.is_deleted AS is_gone) \
             SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new), \
             count(*) FILTER (WHERE is_gone) FROM written",
            key = key.join(", "),
            set = set.join(", "),
            comma = if set.is_empty() { "" } else { ", " },
            guard = not_older("excluded"),
            // A new row version that no updater touched was inserted; partitioned tables do not tell.
            is_new = if table.is_partitioned { "false" } else { "(t.xmax OPERATOR(pg_catalog.=) '0'::pg_catalog.xid)" },
        );
        let present = table.is_partitioned.then(|| {
            format!(
                "SELECT count(*), count(*), count(*) FROM batch b JOIN {target} t ON {same} WHERE NOT b.key_only",
                same = same_key("t"),
            )
        });
        let tombstone = format!(
            "WITH marked AS (UPDATE {target} AS t SET is_deleted = true, received_at = pg_catalog.now(), \
             record_version = coalesce(b.record_version, t.record_version), record_hash = NULL \
             FROM batch b WHERE b.key_only AND b.is_deleted AND NOT t.is_deleted AND {same} AND {guard} RETURNING 1) \
             SELECT count(*), count(*), count(*) FROM marked",
            same = same_key("t"),
            guard = not_older("b"),
        );
        let stale = format!(
            "SELECT count(*), count(*), count(*) FROM batch b JOIN {target} t ON {same} \
             WHERE t.record_version OPERATOR(pg_catalog.>) b.record_version",
            same = same_key("t"),
        );
        let parents = output.collection.parent.as_ref().and_then(|p| p.key_column.as_ref()).map(|parent| {
            format!(
                "UPDATE {target} AS t SET is_deleted = true, received_at = pg_catalog.now(), record_hash = NULL \
                 WHERE t.{parent}::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1) AND NOT t.is_deleted \
                 AND NOT ({key} OPERATOR(pg_catalog.=) ANY ($2))",
                parent = quote_identifier(parent),
                key = key_text(table, output),
            )
        });
        Statements { insert, upsert, present, tombstone, stale, parents }
    }
}

/// The key of a row of `t` as the text that readers make of it: times as microseconds and days as days since 1970, whatever
/// the session shows.
pub fn key_text(table: &LocalTable, output: &Output) -> String {
    let part = |name: &String| {
        let column = format!("t.{}", quote_identifier(name));
        match table.columns.get(name).copied() {
            Some(pg_sys::TIMESTAMPTZOID | pg_sys::TIMESTAMPOID) => {
                format!("(EXTRACT(epoch FROM {column}) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8")
            }
            Some(pg_sys::DATEOID) => format!("({column} OPERATOR(pg_catalog.-) '1970-01-01'::pg_catalog.date)"),
            _ => column,
        }
    };
    let parts: Vec<String> = output.collection.primary_key.iter().map(part).collect();
    format!("pg_catalog.concat_ws({}, {})", quote_literal(KEY_SEPARATOR.to_string()), parts.join(", "))
}
