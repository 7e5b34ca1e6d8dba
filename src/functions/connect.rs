//! `cloudsync_connect` and `cloudsync_disconnect`: everything of a server in one call.

use super::maintain::set_credential;
use super::schedule::{set_schedule, unschedule};
use crate::catalog::{self, Server};
use crate::error::SyncError;
use crate::extract::{rest, Described};
use crate::http::Stats;
use crate::manifest::{Collection, Protocol};
use crate::refresh::context::{ask, check_writable, Context};
use crate::refresh::{state, tables};
use crate::report::{fail, report, Report, Subject};
use crate::sources;
use crate::spi;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::{quote_identifier, quote_literal};
use pgrx::{JsonB, PgSqlErrorCode as Code};
use serde_json::{Map, Value};
use std::sync::Arc;

type ConnectRow = (String, String, String, Option<String>);

/// Makes server, user mapping, schemas, foreign tables and local tables.
///
/// `options` holds server options, and `collections` (an array of names; all of the source without it) and `schedule`
/// (for pg_cron).
#[pg_extern]
#[allow(clippy::type_complexity)]
fn cloudsync_connect(
    server: String,
    source: String,
    credentials: default!(JsonB, "'{}'"),
    options: default!(JsonB, "'{}'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(collection, String),
            name!(live_table, String),
            name!(local_table, String),
            name!(message, Option<String>),
        ),
    >,
    ErrorReport,
> {
    Ok(TableIterator::new(connect(&server, &source, credentials.0, options.0)?))
}

fn object(value: Value, what: &str) -> Result<Map<String, Value>, Report> {
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(fail(
            Code::ERRCODE_INVALID_PARAMETER_VALUE, // 22023
            format!("{what} must be a JSON object"),
            "",
            "For example '{\"name\": \"value\"}'.",
        )),
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn connect(name: &str, source: &str, credentials: Value, options: Value) -> Result<Vec<ConnectRow>, Report> {
    check_writable()?;
    let source = sources::source(source)?;
    let credentials = object(credentials, "credentials")?;
    let mut options = object(options, "options")?;
    let wanted = match options.remove("collections") {
        None | Some(Value::Null) => None,
        Some(Value::Array(names)) => Some(names.iter().map(text_of).collect::<Vec<_>>()),
        Some(_) => {
            return Err(fail(
                Code::ERRCODE_INVALID_PARAMETER_VALUE,
                "\"collections\" must be an array of names",
                "",
                "For example {\"collections\": [\"accounts\", \"leads\"]}.",
            ))
        }
    };
    let schedule = options.remove("schedule").map(|value| text_of(&value));
    let mut pairs = vec![format!("source {}", quote_literal(&source.source))];
    pairs.extend(options.iter().map(|(k, v)| format!("{} {}", quote_identifier(k), quote_literal(text_of(v)))));
    spi::run(
        &format!(
            "CREATE SERVER {} FOREIGN DATA WRAPPER cloudsync OPTIONS ({})",
            quote_identifier(name),
            pairs.join(", ")
        ),
        &[],
    )?;
    for (credential, value) in &credentials {
        set_credential(name, credential, &text_of(value))?;
    }
    let context = Context::of(name)?;
    let names = wanted.unwrap_or_else(|| source.collections.iter().map(|c| c.name.clone()).collect());
    let mut rows = Vec::new();
    for collection in names {
        rows.push(connect_one(&context, &collection)?);
    }
    if let Some(schedule) = schedule {
        set_schedule(name, &schedule)?;
    }
    Ok(rows)
}

/// Makes the two tables of one collection; one that the app does not serve is reported and passed over.
fn connect_one(context: &Context, name: &str) -> Result<ConnectRow, Report> {
    let server = &context.server;
    let collection = catalog::collection(server, name, None)?;
    let live_name = format!("{}.{}", quote_identifier(server.live_schema()), quote_identifier(name));
    let local_name = format!("{}.{}", quote_identifier(server.schema()), quote_identifier(name));
    if let Some(reason) = &collection.unsupported {
        return Ok((name.to_string(), live_name, local_name, Some(format!("not made: {reason}"))));
    }
    let (described, lacking) = match describe(context, &collection) {
        Ok(found) => found,
        Err(error @ (SyncError::Unsupported { .. } | SyncError::NotFound { .. })) => {
            let report = report(&Subject { server: &server.name, collection: Some(name) }, &error);
            return Ok((name.to_string(), live_name, local_name, Some(format!("not made: {}", report.detail))));
        }
        Err(error) => return Err(report(&Subject { server: &server.name, collection: Some(name) }, &error)),
    };
    if let Some(described) = &described {
        state::save_described(&server.name, name, described)?;
    }
    let existing = catalog::foreign_tables(server)?.get(name).copied();
    let live = tables::ensure_live(server, &collection, described.as_ref(), existing)?;
    tables::ensure_local(server, &collection, &live)?;
    let message = lacking.map(|detail| format!("without the account's own fields: {detail}"));
    Ok((name.to_string(), live_name, local_name, message))
}

/// The app's own description of an object, `None` for sources without discovery. Where it may not be asked for, the columns of
/// the source file serve, and why.
pub fn describe(context: &Context, collection: &Collection) -> Result<(Option<Described>, Option<String>), SyncError> {
    if !crate::extract::is_described(&context.server.source, collection) {
        return Ok((None, None));
    }
    let asked = collection.clone();
    let found = ask(context, &Arc::new(Stats::default()), move |api| {
        Box::pin(async move { crate::extract::describe(&api, &asked, None).await })
    });
    match found {
        Err(error @ SyncError::AccessDenied { .. }) if context.server.source.protocol == Protocol::Rest => {
            // Its records may be had all the same; should the rest be told one day, it is news then.
            let subject = Subject { server: &context.server.name, collection: Some(&collection.name) };
            Ok((Some(rest::by_file(collection)), Some(report(&subject, &error).detail)))
        }
        found => Ok((found?, None)),
    }
}

/// Drops a server with its mappings, foreign tables, schedule and checkpoints; local tables too, if wanted.
#[pg_extern]
fn cloudsync_disconnect(server: String, drop_tables: default!(bool, "false")) -> Result<(), ErrorReport> {
    Ok(disconnect(&server, drop_tables)?)
}

fn disconnect(name: &str, drop_tables: bool) -> Result<(), Report> {
    check_writable()?;
    let server: Server = catalog::server(name)?;
    if let Err(report) = unschedule(name) {
        if report.code != Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE {
            return Err(report);
        }
    }
    let live = catalog::foreign_tables(&server)?;
    if drop_tables {
        for collection in live.keys() {
            let local = format!("{}.{}", quote_identifier(server.schema()), quote_identifier(collection));
            spi::run(&format!("DROP TABLE IF EXISTS {local}"), &[])?;
        }
    }
    spi::run(&format!("DROP SERVER {} CASCADE", quote_identifier(name)), &[])?;
    drop_if_empty(&server.live_schema())?;
    if drop_tables {
        drop_if_empty(&server.schema())?;
    }
    Ok(())
}

/// Drops a schema that holds nothing any more.
fn drop_if_empty(schema: &str) -> Result<(), Report> {
    let used: Option<bool> = spi::value(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_namespace n \
         ON d.refobjid OPERATOR(pg_catalog.=) n.oid WHERE d.refclassid OPERATOR(pg_catalog.=) \
         'pg_catalog.pg_namespace'::pg_catalog.regclass AND n.nspname OPERATOR(pg_catalog.=) $1::pg_catalog.name) \
         OR NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) $1::pg_catalog.name)",
        &[schema.into()],
    )?;
    if used == Some(false) && schema != "public" {
        spi::run(&format!("DROP SCHEMA {}", quote_identifier(schema)), &[])?;
    }
    Ok(())
}
