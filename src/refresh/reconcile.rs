//! Marks what a complete listing does not hold any more: the only deletion by absence there is.
//!
//! The keys seen are kept in a temporary table. Marks are made at the end, all at once, only when the listing ended
//! normally, and not when they would concern an implausible share of the table.

use super::tables::LocalTable;
use crate::extract::batch::{Batch, Cell};
use crate::extract::Output;
use crate::report::{fail, Report};
use crate::spi;
use pgrx::spi::quote_identifier;
use pgrx::PgSqlErrorCode as Code;

/// The keys that a listing has shown so far.
pub struct Seen {
    table: String,
}

impl Seen {
    pub fn begin(local: &LocalTable, output: &Output) -> Result<Self, Report> {
        let table = format!("pg_temp.{}", quote_identifier(format!("cloudsync_seen_{}", local.oid.to_u32())));
        spi::run(&format!("DROP TABLE IF EXISTS {table}"), &[])?;
        let key: Vec<String> = output.collection.primary_key.iter().map(|k| quote_identifier(k)).collect();
        spi::run(
            &format!(
                "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA",
                table.trim_start_matches("pg_temp."),
                key.join(", "),
                local.qualified
            ),
            &[],
        )?;
        Ok(Seen { table })
    }

    /// Adds the keys of a batch.
    pub fn add(&self, batch: &Batch, output: &Output) -> Result<(), Report> {
        let text = |cell: Option<&Cell>| match cell {
            Some(Cell::Text(span) | Cell::Number(span) | Cell::Json(span)) => {
                String::from_utf8_lossy(batch.bytes(*span)).into_owned()
            }
            Some(Cell::Int(n)) => n.to_string(),
            Some(other) => format!("{other:?}"),
            None => String::new(),
        };
        let columns: Vec<String> = output.collection.primary_key.iter().map(|k| quote_identifier(k)).collect();
        let mut params: Vec<Vec<String>> = vec![Vec::with_capacity(batch.rows.len()); output.key.len()];
        for (index, meta) in batch.rows.iter().enumerate() {
            if meta.key_only || meta.deleted == Some(true) {
                continue;
            }
            for (values, at) in params.iter_mut().zip(&output.key) {
                values.push(text(batch.row(index).get(*at)));
            }
        }
        let arrays: Vec<String> = (1..=params.len()).map(|n| format!("${n}::pg_catalog.text[]")).collect();
        let names: Vec<String> = (1..=params.len()).map(|n| format!("k{n}")).collect();
        let casts = self.casts(output)?;
        let selected: Vec<String> = names.iter().zip(&casts).map(|(name, cast)| format!("{name}::{cast}")).collect();
        let sql = format!(
            "INSERT INTO {} ({}) SELECT {} FROM ROWS FROM (pg_catalog.unnest({})) AS u({})",
            self.table,
            columns.join(", "),
            selected.join(", "),
            arrays.join(", "),
            names.join(", ")
        );
        let args: Vec<_> = params.into_iter().map(Into::into).collect();
        spi::run(&sql, &args)?;
        Ok(())
    }

    fn casts(&self, output: &Output) -> Result<Vec<String>, Report> {
        output
            .collection
            .primary_key
            .iter()
            .map(|name| {
                let cast: Option<String> = spi::value(
                    "SELECT pg_catalog.format_type(atttypid, NULL) FROM pg_catalog.pg_attribute \
                     WHERE attrelid OPERATOR(pg_catalog.=) $1::pg_catalog.regclass AND attname OPERATOR(pg_catalog.=) \
                     $2::pg_catalog.name",
                    &[self.table.clone().into(), name.clone().into()],
                )?;
                Ok(cast.unwrap_or_else(|| "text".into()))
            })
            .collect()
    }

    /// Marks the rows that were there before the listing and are not in it. Gives their number.
    pub fn mark_missing(&self, local: &LocalTable, output: &Output, largest_share: f64) -> Result<i64, Report> {
        let same: Vec<String> = output
            .collection
            .primary_key
            .iter()
            .map(|k| format!("s.{k} OPERATOR(pg_catalog.=) t.{k}", k = quote_identifier(k)))
            .collect();
        let missing = format!(
            "NOT t.is_deleted AND t.received_at OPERATOR(pg_catalog.<) pg_catalog.now() \
             AND NOT EXISTS (SELECT FROM {} s WHERE {})",
            self.table,
            same.join(" AND ")
        );
        let (gone, all) = spi::row(
            &format!(
                "SELECT count(*) FILTER (WHERE {missing}), count(*) FILTER (WHERE NOT t.is_deleted) FROM {} t",
                local.qualified
            ),
            &[],
            |row| Ok((row.get::<i64>(1)?.unwrap_or(0), row.get::<i64>(2)?.unwrap_or(0))),
        )?
        .unwrap_or_default();
        if gone > 10 && gone as f64 > all as f64 * largest_share {
            return Err(fail(
                Code::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                format!("{}: {gone} of {all} rows would be marked deleted", local.qualified),
                format!("That is more than {:.0} percent; nothing was marked.", largest_share * 100.0),
                "If they are really gone, raise the server's option mass_delete_percent and reconcile again.",
            ));
        }
        let marked = spi::run(
            &format!(
                "UPDATE {} AS t SET is_deleted = true, received_at = pg_catalog.now(), record_hash = NULL WHERE {missing}",
                local.qualified
            ),
            &[],
        )?;
        Ok(marked as i64)
    }
}
