//! `cloudsync_check`, `cloudsync_reset` and `cloudsync_set_credential`.

use crate::catalog::{self, Mapping};
use crate::error::SyncError;
use crate::extract;
use crate::http::Stats;
use crate::manifest::Collection;
use crate::refresh::context::{ask, check_writable, Context};
use crate::refresh::{lock, state};
use crate::report::{fail, report, Report, Subject};
use crate::secret::Secret;
use crate::spi;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::PgSqlErrorCode as Code;
use std::collections::BTreeMap;
use std::sync::Arc;

type CheckRow = (Option<String>, bool, String, Option<String>, Option<String>, Option<String>);

/// Tries the credentials, then each selected collection: what works, and what to do about what does not.
#[pg_extern]
#[allow(clippy::type_complexity)]
fn cloudsync_check(
    server: String,
) -> Result<
    TableIterator<
        'static,
        (
            name!(collection, Option<String>),
            name!(ok, bool),
            name!(status, String),
            name!(sqlstate, Option<String>),
            name!(message, Option<String>),
            name!(hint, Option<String>),
        ),
    >,
    ErrorReport,
> {
    Ok(TableIterator::new(check(&server)?))
}

fn check(server: &str) -> Result<Vec<CheckRow>, Report> {
    check_writable()?;
    let context = Context::of(server)?;
    let mut rows = vec![check_one(&context, None)];
    if rows.iter().any(|row| !row.1) {
        return Ok(rows);
    }
    // They work, whatever was remembered: somebody repaired the account at the app.
    state::lift_refusal(&context.server.name)?;
    let live = catalog::foreign_tables(&context.server)?;
    let names: Vec<String> = if live.is_empty() {
        context.server.source.collections.iter().map(|c| c.name.clone()).collect()
    } else {
        live.keys().cloned().collect()
    };
    for name in names {
        let object = live.get(&name).map(|oid| catalog::foreign_table(*oid)).transpose()?.and_then(|t| t.object);
        rows.push(match catalog::collection(&context.server, &name, object.as_deref()) {
            Ok(collection) => check_one(&context, Some(collection)),
            // Its table is there, and the source no longer has it.
            Err(gone) => {
                (Some(name), false, "skipped".into(), Some(gone.sqlstate()), Some(gone.message), Some(gone.hint))
            }
        });
    }
    Ok(rows)
}

fn check_one(context: &Context, collection: Option<Arc<Collection>>) -> CheckRow {
    let name = collection.as_ref().map(|c| c.name.clone());
    let result = match collection.as_ref().and_then(|c| c.unsupported.clone()) {
        Some(reason) => Err(SyncError::Unsupported { reason }),
        None => ask(context, &Arc::new(Stats::default()), move |api| {
            Box::pin(async move { extract::check(&api, collection.as_deref()).await })
        }),
    };
    match result {
        Ok(()) => (name, true, "ok".into(), None, None, None),
        Err(error) => {
            let report = report(&Subject { server: &context.server.name, collection: name.as_deref() }, &error);
            let status = if matches!(error, SyncError::Unsupported { .. }) { "skipped" } else { "failed" };
            let message = report.with_detail();
            (name, false, status.into(), Some(report.sqlstate()), Some(message), Some(report.hint))
        }
    }
}

/// Forgets the checkpoint of a collection: its next refresh reads everything. Rows stay.
#[pg_extern]
fn cloudsync_reset(server: String, collection: String) -> Result<(), ErrorReport> {
    check_writable()?;
    let context = Context::of(&server)?;
    known(&context, &collection)?;
    let Some(_lock) = lock::collection(&server, &collection, false) else {
        return Err(fail(
            Code::ERRCODE_OBJECT_IN_USE, // 55006
            format!("{server}.{collection}: another session is refreshing it"),
            "",
            "Reset it when that refresh has ended.",
        )
        .into());
    };
    Ok(state::forget(&server, &collection)?)
}

/// Refuses a collection that neither the source nor a foreign table has.
fn known(context: &Context, collection: &str) -> Result<(), Report> {
    if catalog::foreign_tables(&context.server)?.contains_key(collection) {
        return Ok(());
    }
    catalog::collection(&context.server, collection, None).map(|_| ())
}

/// Sets one credential in the caller's user mapping; pass the value as a bind parameter, and no log holds a copy.
#[pg_extern]
fn cloudsync_set_credential(server: String, name: String, value: String) -> Result<(), ErrorReport> {
    Ok(set_credential(&server, &name, &value)?)
}

pub fn set_credential(server: &str, name: &str, value: &str) -> Result<(), Report> {
    let server = catalog::server(server)?;
    let valid: Vec<&str> = server.source.auth.credentials().iter().map(|c| c.name.as_str()).collect();
    if !valid.contains(&name) {
        return Err(fail(
            Code::ERRCODE_FDW_INVALID_OPTION_NAME, // HV00D
            format!("invalid credential \"{name}\" for source \"{}\"", server.source.source),
            "",
            format!("The credentials are: {}.", valid.join(", ")),
        ));
    }
    let user: Option<String> = spi::value("SELECT current_user::pg_catalog.text", &[])?;
    let user = user.unwrap_or_default();
    // SAFETY: reads a session variable.
    let user_id = unsafe { pg_sys::GetUserId() };
    // The caller's own mapping only; PUBLIC's is for ALTER USER MAPPING.
    let own = catalog::mapping(&server, user_id).ok().filter(|mapping| mapping.user == user);
    let mapping = own.unwrap_or(Mapping { user, credentials: BTreeMap::new() });
    catalog::set_credential(&server, &mapping, name, &Secret::new(value))?;
    state::lift_refusal(&server.name)
}
