//! Reads and writes what is remembered between refreshes. All of it runs with the extension owner's rights.

use super::write::Counts;
use crate::catalog::{Mapping, Server};
use crate::error::SyncError;
use crate::extract::Described;
use crate::http::AccessToken;
use crate::report::Report;
use crate::secret::Secret;
use crate::spi;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// What is known of a collection from earlier refreshes.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub checkpoint: Option<Value>,
    pub position: Option<Value>,
    pub described: Option<Described>,
    /// Seconds since the app was asked to describe it.
    pub described_age: Option<f64>,
    /// Rows inserted since the last reset.
    pub rows_stored: i64,
    /// The open full refresh notes the keys it sees.
    pub marks_missing: bool,
}

fn json(text: Option<String>) -> Option<Value> {
    text.and_then(|text| serde_json::from_str(&text).ok())
}

pub fn load(server: &str, collection: &str) -> Result<State, Report> {
    let found = spi::as_owner(|| {
        spi::row(
            "SELECT checkpoint::pg_catalog.text, position::pg_catalog.text, described::pg_catalog.text, \
             pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) described_at), rows_stored, marks_missing \
             FROM cloudsync.collection_state \
             WHERE server OPERATOR(pg_catalog.=) $1 AND collection OPERATOR(pg_catalog.=) $2",
            &[server.into(), collection.into()],
            |row| {
                Ok(State {
                    checkpoint: json(row.get(1)?),
                    position: json(row.get(2)?),
                    described: row.get::<String>(3)?.and_then(|text| serde_json::from_str(&text).ok()),
                    described_age: row.get(4)?,
                    rows_stored: row.get(5)?.unwrap_or(0),
                    marks_missing: row.get(6)?.unwrap_or(false),
                })
            },
        )
    })?;
    Ok(found.unwrap_or_default())
}

/// Makes sure the row exists, so that everything else is an update.
fn ensure_row(server: &str, collection: &str) -> Result<(), Report> {
    spi::run(
        "INSERT INTO cloudsync.collection_state (server, collection) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        &[server.into(), collection.into()],
    )?;
    Ok(())
}

pub fn save_described(server: &str, collection: &str, described: &Described) -> Result<(), Report> {
    let text = serde_json::to_string(described).unwrap_or_default();
    spi::as_owner(|| {
        ensure_row(server, collection)?;
        spi::run(
            "UPDATE cloudsync.collection_state SET described = $3::pg_catalog.text::pg_catalog.jsonb, \
             described_at = pg_catalog.clock_timestamp() \
             WHERE server OPERATOR(pg_catalog.=) $1 AND collection OPERATOR(pg_catalog.=) $2",
            &[server.into(), collection.into(), text.into()],
        )?;
        Ok(())
    })
}

/// Has the next refresh ask the app again what fields there are.
pub fn describe_soon(server: &str, collection: &str) -> Result<(), Report> {
    spi::as_owner(|| {
        spi::run(
            "UPDATE cloudsync.collection_state SET described_at = NULL \
             WHERE server OPERATOR(pg_catalog.=) $1 AND collection OPERATOR(pg_catalog.=) $2",
            &[server.into(), collection.into()],
        )?;
        Ok(())
    })
}

/// Begins a full refresh: no open position, and whether it notes the keys it sees. An empty table counts from 0 again.
///
/// The old checkpoint accounts for rows that are gone, or no longer reaches far enough: should this refresh fail, the next
/// one must not go on from it.
pub fn save_begin(server: &str, collection: &str, marks_missing: bool, is_empty: bool) -> Result<(), Report> {
    spi::as_owner(|| {
        ensure_row(server, collection)?;
        spi::run(
            "UPDATE cloudsync.collection_state SET marks_missing = $3, position = NULL, checkpoint = NULL, \
             rows_stored = CASE WHEN $4 THEN 0 ELSE rows_stored END \
             WHERE server OPERATOR(pg_catalog.=) $1 AND collection OPERATOR(pg_catalog.=) $2",
            &[server.into(), collection.into(), marks_missing.into(), is_empty.into()],
        )?;
        Ok(())
    })
}

/// Marks a collection as being worked on by this backend, where other sessions can see it.
pub fn save_running(server: &str, collection: &str) -> Result<(), Report> {
    spi::as_owner(|| {
        ensure_row(server, collection)?;
        spi::run(
            "UPDATE cloudsync.collection_state SET running_pid = pg_catalog.pg_backend_pid(), \
             running_since = pg_catalog.clock_timestamp(), running_fetched = 0 \
             WHERE server OPERATOR(pg_catalog.=) $1 AND collection OPERATOR(pg_catalog.=) $2",
            &[server.into(), collection.into()],
        )?;
        Ok(())
    })
}

/// Saves where an interrupted full read goes on, with the rows it accounts for.
pub fn save_position(server: &str, collection: &str, position: &Value, new: &Counts) -> Result<(), Report> {
    spi::as_owner(|| {
        ensure_row(server, collection)?;
        spi::run(
            "UPDATE cloudsync.collection_state SET position = $3::pg_catalog.text::pg_catalog.jsonb, \
             rows_stored = rows_stored OPERATOR(pg_catalog.+) $4, \
             running_fetched = running_fetched OPERATOR(pg_catalog.+) $5 \
             WHERE server OPERATOR(pg_catalog.=) $1 AND collection OPERATOR(pg_catalog.=) $2",
            &[server.into(), collection.into(), position.to_string().into(), new.inserted.into(), new.fetched.into()],
        )?;
        Ok(())
    })
}

/// Saves rows stored without a position of their own (incremental pages).
pub fn save_rows(server: &str, collection: &str, new: &Counts) -> Result<(), Report> {
    if new.fetched == 0 {
        return Ok(());
    }
    spi::as_owner(|| {
        ensure_row(server, collection)?;
        spi::run(
            "UPDATE cloudsync.collection_state SET rows_stored = rows_stored OPERATOR(pg_catalog.+) $3, \
             running_fetched = running_fetched OPERATOR(pg_catalog.+) $4 \
             WHERE server OPERATOR(pg_catalog.=) $1 AND collection OPERATOR(pg_catalog.=) $2",
            &[server.into(), collection.into(), new.inserted.into(), new.fetched.into()],
        )?;
        Ok(())
    })
}

/// Ends a run that went well: the new checkpoint (or the old one, when the reader leaves it) and no open position.
pub fn save_end(server: &str, collection: &str, checkpoint: Option<&Value>) -> Result<(), Report> {
    let text = checkpoint.map(Value::to_string);
    spi::as_owner(|| {
        ensure_row(server, collection)?;
        spi::run(
            "UPDATE cloudsync.collection_state SET \
             checkpoint = coalesce($3::pg_catalog.text::pg_catalog.jsonb, checkpoint), position = NULL, \
             synced_at = pg_catalog.clock_timestamp(), running_pid = NULL, running_since = NULL, running_fetched = NULL \
             WHERE server OPERATOR(pg_catalog.=) $1 AND collection OPERATOR(pg_catalog.=) $2",
            &[server.into(), collection.into(), text.into()],
        )?;
        Ok(())
    })
}

/// No longer worked on, without an end.
pub fn clear_running(server: &str, collection: &str) -> Result<(), Report> {
    spi::as_owner(|| {
        spi::run(
            "UPDATE cloudsync.collection_state SET running_pid = NULL, running_since = NULL, running_fetched = NULL \
             WHERE server OPERATOR(pg_catalog.=) $1 AND collection OPERATOR(pg_catalog.=) $2 AND running_pid IS NOT NULL",
            &[server.into(), collection.into()],
        )?;
        Ok(())
    })
}

/// Forgets checkpoint and position: the next refresh reads everything.
pub fn forget(server: &str, collection: &str) -> Result<(), Report> {
    spi::as_owner(|| {
        spi::run(
            "UPDATE cloudsync.collection_state SET checkpoint = NULL, position = NULL, described_at = NULL \
             WHERE server OPERATOR(pg_catalog.=) $1 AND collection OPERATOR(pg_catalog.=) $2",
            &[server.into(), collection.into()],
        )?;
        Ok(())
    })
}

/// How one refresh of one collection went; the members of `cloudsync.outcome`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub server: String,
    pub collection: String,
    pub status: String,
    pub mode: Option<String>,
    pub fetched: i64,
    pub inserted: i64,
    pub updated: i64,
    pub unchanged: i64,
    pub stale: i64,
    pub deleted: i64,
    pub rejected: i64,
    pub calls: i64,
    pub bytes: i64,
    /// Microseconds since 1970.
    pub started_us: i64,
    pub elapsed_us: i64,
    pub sqlstate: Option<String>,
    pub message: Option<String>,
    pub hint: Option<String>,
    #[serde(default)]
    pub pages: i64,
    #[serde(default)]
    pub quota_used: Option<i64>,
    #[serde(default)]
    pub quota_limit: Option<i64>,
}

impl Outcome {
    pub fn count(&mut self, counts: &Counts) {
        self.fetched = counts.fetched;
        self.inserted = counts.inserted;
        self.updated = counts.updated;
        self.unchanged = counts.unchanged;
        self.stale = counts.stale;
        self.deleted = counts.deleted;
        self.rejected = counts.rejected;
    }
}

/// Adds a run to the history, and drops what is older than the history is kept.
pub fn log_run(outcome: &Outcome) -> Result<(), Report> {
    let o = outcome;
    spi::as_owner(|| {
        spi::run(
            "INSERT INTO cloudsync.run_log (outcome, quota_used, quota_limit) VALUES (ROW($1, $2, $3, $4, $5, $6, $7, \
             $8, $9, $10, $11, $12, $13, pg_catalog.to_timestamp($14), pg_catalog.make_interval(secs => $15), $16, $17, \
             $18)::cloudsync.outcome, $19, $20)",
            &[
                o.server.clone().into(),
                o.collection.clone().into(),
                o.status.clone().into(),
                o.mode.clone().into(),
                o.fetched.into(),
                o.inserted.into(),
                o.updated.into(),
                o.unchanged.into(),
                o.stale.into(),
                o.deleted.into(),
                o.rejected.into(),
                o.calls.into(),
                o.bytes.into(),
                (o.started_us as f64 / 1e6).into(),
                (o.elapsed_us as f64 / 1e6).into(),
                o.sqlstate.clone().into(),
                o.message.clone().into(),
                o.hint.clone().into(),
                o.quota_used.into(),
                o.quota_limit.into(),
            ],
        )?;
        spi::run(
            "DELETE FROM cloudsync.run_log WHERE (outcome).server OPERATOR(pg_catalog.=) $1 \
             AND (outcome).collection OPERATOR(pg_catalog.=) $2 AND (outcome).started_at OPERATOR(pg_catalog.<) \
             (pg_catalog.now() OPERATOR(pg_catalog.-) pg_catalog.make_interval(days => $3))",
            &[o.server.clone().into(), o.collection.clone().into(), crate::KEEP_RUNS_DAYS.get().into()],
        )?;
        Ok(())
    })
}

/// Parks records that could not be stored.
pub fn park(server: &str, collection: &str, rejected: &[crate::extract::batch::Rejected]) -> Result<(), Report> {
    if rejected.is_empty() {
        return Ok(());
    }
    spi::as_owner(|| {
        for record in rejected {
            let raw = record.raw.replace('\0', "\u{fffd}");
            spi::run(
                "INSERT INTO cloudsync.rejected_records (server, collection, raw, reason) VALUES ($1, $2, $3, $4)",
                &[server.into(), collection.into(), raw.into(), record.reason.clone().into()],
            )?;
        }
        Ok(())
    })
}

/// A stop of the whole server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stop {
    pub server: String,
    /// Fingerprint of the refused credentials.
    pub refused: Option<i64>,
    /// Unix seconds.
    pub deferred_until: Option<f64>,
    pub message: String,
}

pub fn save_stop(stop: &Stop) -> Result<(), Report> {
    spi::as_owner(|| {
        spi::run(
            "INSERT INTO cloudsync.server_state AS s (server, refused_credentials, refused_at, refused_message, \
             deferred_until, deferred_message) VALUES ($1, $2, \
             CASE WHEN $2 IS NULL THEN NULL ELSE pg_catalog.clock_timestamp() END, \
             CASE WHEN $2 IS NULL THEN NULL ELSE $4 END, pg_catalog.to_timestamp($3), \
             CASE WHEN $3 IS NULL THEN NULL ELSE $4 END) \
             ON CONFLICT (server) DO UPDATE SET \
             refused_credentials = coalesce(excluded.refused_credentials, s.refused_credentials), \
             refused_at = coalesce(excluded.refused_at, s.refused_at), \
             refused_message = coalesce(excluded.refused_message, s.refused_message), \
             deferred_until = coalesce(excluded.deferred_until, s.deferred_until), \
             deferred_message = coalesce(excluded.deferred_message, s.deferred_message)",
            &[stop.server.clone().into(), stop.refused.into(), stop.deferred_until.into(), stop.message.clone().into()],
        )?;
        Ok(())
    })
}

/// Lifts the stop for refused credentials: they were changed, or just found to work.
pub fn lift_refusal(server: &str) -> Result<(), Report> {
    spi::as_owner(|| {
        spi::run(
            "UPDATE cloudsync.server_state SET refused_credentials = NULL, refused_at = NULL, refused_message = NULL \
             WHERE server OPERATOR(pg_catalog.=) $1 AND refused_credentials IS NOT NULL",
            &[server.into()],
        )?;
        Ok(())
    })
}

/// The stop that is in force for a server with these credentials, if any: no call may be made then.
pub fn stop_in_force(server: &Server, mapping: &Mapping) -> Result<Option<SyncError>, Report> {
    let found = spi::as_owner(|| {
        spi::row(
            "SELECT refused_credentials OPERATOR(pg_catalog.=) $2, refused_message, \
             pg_catalog.date_part('epoch', deferred_until), deferred_until OPERATOR(pg_catalog.>) \
             pg_catalog.clock_timestamp(), deferred_message \
             FROM cloudsync.server_state WHERE server OPERATOR(pg_catalog.=) $1",
            &[server.name.clone().into(), mapping.fingerprint().into()],
            |row| {
                if row.get::<bool>(1)? == Some(true) {
                    let detail = format!("They have not changed since they were refused: {}", row.text(2)?);
                    return Ok(Some(SyncError::AuthRejected { status: 401, detail }));
                }
                if row.get::<bool>(4)? == Some(true) {
                    let until =
                        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(row.get::<f64>(3)?.unwrap_or(0.0).max(0.0));
                    return Ok(Some(SyncError::RateLimited { until: Some(until), detail: row.text(5)? }));
                }
                Ok(None)
            },
        )
    })?;
    Ok(found.flatten())
}

/// The stored access token of a mapping, when it still holds.
pub fn load_token(server: &Server, mapping: &Mapping) -> Result<Option<AccessToken>, Report> {
    spi::as_owner(|| {
        spi::row(
            "SELECT token, base_url, pg_catalog.date_part('epoch', expires_at) FROM cloudsync.access_tokens \
             WHERE server OPERATOR(pg_catalog.=) $1 AND mapping_user OPERATOR(pg_catalog.=) $2 \
             AND credentials OPERATOR(pg_catalog.=) $3 AND expires_at OPERATOR(pg_catalog.>) \
             (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) '1 minute'::pg_catalog.interval)",
            &[server.name.clone().into(), mapping.user.clone().into(), mapping.fingerprint().into()],
            |row| {
                Ok(AccessToken {
                    token: Secret::new(row.text(1)?),
                    base_url: row.get(2)?,
                    expires_at: row.get::<f64>(3)?.unwrap_or(0.0) as i64,
                    new_refresh_token: None,
                })
            },
        )
    })
}

/// The refresh token that replaced the mapping's own before the mapping was committed.
pub fn load_successor(server: &Server, mapping: &Mapping) -> Result<Option<Secret>, Report> {
    let found: Option<String> = spi::as_owner(|| {
        spi::value(
            "SELECT refresh_token FROM cloudsync.access_tokens WHERE server OPERATOR(pg_catalog.=) $1 \
             AND mapping_user OPERATOR(pg_catalog.=) $2 AND credentials OPERATOR(pg_catalog.=) $3",
            &[server.name.clone().into(), mapping.user.clone().into(), mapping.fingerprint().into()],
        )
    })?;
    Ok(found.map(Secret::new))
}

/// Stores an access token; `successor` replaces the mapping's refresh token, when the mapping itself could not be changed.
pub fn save_token(
    server: &Server,
    mapping: &Mapping,
    token: &AccessToken,
    successor: Option<&Secret>,
) -> Result<(), Report> {
    spi::as_owner(|| {
        spi::run(
            "INSERT INTO cloudsync.access_tokens AS t (server, mapping_user, credentials, token, base_url, expires_at, \
             refresh_token) VALUES ($1, $2, $3, $4, $5, pg_catalog.to_timestamp($6), $7) \
             ON CONFLICT (server, mapping_user) DO UPDATE SET \
             credentials = excluded.credentials, token = excluded.token, base_url = excluded.base_url, \
             expires_at = excluded.expires_at, refresh_token = CASE WHEN t.credentials OPERATOR(pg_catalog.=) \
             excluded.credentials THEN coalesce(excluded.refresh_token, t.refresh_token) ELSE excluded.refresh_token END",
            &[
                server.name.clone().into(),
                mapping.user.clone().into(),
                mapping.fingerprint().into(),
                token.token.expose().into(),
                token.base_url.clone().into(),
                (token.expires_at as f64).into(),
                successor.map(|secret| secret.expose().to_string()).into(),
            ],
        )?;
        Ok(())
    })
}
