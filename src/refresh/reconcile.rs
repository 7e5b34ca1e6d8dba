//! Marks what a complete listing does not hold any more: the only deletion by absence there is.
//!
//! The keys seen are kept in a table, in the transaction of the rows they belong to, so a listing that was interrupted goes
//! on noting them. Marks are made at the end, all at once, only when the listing ended normally, and not when they would
//! concern an implausible share of the table: that waits for a human.

use super::statements::key_text;
use super::tables::LocalTable;
use crate::extract::batch::{Batch, Cell};
use crate::extract::rest::KEY_SEPARATOR;
use crate::extract::Output;
use crate::report::{fail, Report};
use crate::spi;
use pgrx::spi::quote_literal;
use pgrx::PgSqlErrorCode as Code;

/// Fewer marks than this are never implausible.
const ALWAYS_PLAUSIBLE: i64 = 10;

/// The keys that a listing has shown so far.
pub struct Seen {
    server: String,
    collection: String,
}

impl Seen {
    /// Begins to note keys; `anew` forgets those of an earlier listing.
    pub fn begin(server: &str, collection: &str, anew: bool) -> Result<Self, Report> {
        let seen = Seen { server: server.to_string(), collection: collection.to_string() };
        if anew {
            seen.forget()?;
        }
        Ok(seen)
    }

    fn forget(&self) -> Result<(), Report> {
        spi::as_owner(|| {
            spi::run(
                "DELETE FROM cloudsync.seen_keys WHERE server OPERATOR(pg_catalog.=) $1 \
                 AND collection OPERATOR(pg_catalog.=) $2",
                &[self.server.clone().into(), self.collection.clone().into()],
            )
        })?;
        Ok(())
    }

    /// Adds the keys of a batch; those of deleted records are left out, they need no mark of ours.
    pub fn add(&self, batch: &Batch, output: &Output) -> Result<(), Report> {
        let text = |cell: Option<&Cell>| match cell {
            Some(cell @ (Cell::Text(_) | Cell::Number(_) | Cell::Json(_))) => batch.text(cell).into_owned(),
            Some(Cell::Int(n) | Cell::Timestamp(n)) => n.to_string(),
            Some(Cell::Date(days)) => days.to_string(),
            Some(Cell::Bool(b)) => b.to_string(),
            _ => String::new(),
        };
        let alive = batch.rows.iter().enumerate().filter(|(_, meta)| meta.deleted != Some(true));
        let keys: Vec<String> = alive
            .map(|(index, _)| {
                let row = batch.row(index);
                let parts: Vec<String> = output.key.iter().map(|at| text(row.get(*at))).collect();
                parts.join(&KEY_SEPARATOR.to_string())
            })
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        spi::as_owner(|| {
            spi::run(
                "INSERT INTO cloudsync.seen_keys (server, collection, key) SELECT $1, $2, k \
                 FROM pg_catalog.unnest($3) k ON CONFLICT DO NOTHING",
                &[self.server.clone().into(), self.collection.clone().into(), keys.into()],
            )
        })?;
        Ok(())
    }

    /// Marks the rows that are not in the listing. Gives their number.
    pub fn mark_missing(&self, local: &LocalTable, output: &Output, largest_share: f64) -> Result<i64, Report> {
        let missing = format!(
            "NOT t.is_deleted AND NOT EXISTS (SELECT FROM cloudsync.seen_keys s \
             WHERE s.server OPERATOR(pg_catalog.=) {} AND s.collection OPERATOR(pg_catalog.=) {} \
             AND s.key OPERATOR(pg_catalog.=) {})",
            quote_literal(&self.server),
            quote_literal(&self.collection),
            key_text(local, output)
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
        if gone > ALWAYS_PLAUSIBLE && gone as f64 > all as f64 * largest_share {
            return Err(fail(
                Code::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                format!("{}: {gone} of {all} rows are not in the app's listing", local.qualified),
                format!("That is more than {:.0} percent, so nothing was marked deleted.", largest_share * 100.0),
                "If they are really gone, raise the server's option mass_delete_percent and call cloudsync_reconcile().",
            ));
        }
        if gone > 0 {
            spi::run(
                &format!(
                    "UPDATE {} AS t SET is_deleted = true, received_at = pg_catalog.now(), record_hash = NULL \
                     WHERE {missing}",
                    local.qualified
                ),
                &[],
            )?;
        }
        self.forget()?;
        Ok(gone)
    }
}
