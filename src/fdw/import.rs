//! IMPORT FOREIGN SCHEMA: one foreign table a collection.

use super::plan::or_raise;
use crate::catalog;
use crate::error::SyncError;
use crate::extract::salesforce;
use crate::functions::connect::describe;
use crate::http::Stats;
use crate::manifest::naming::snake_case;
use crate::manifest::Protocol;
use crate::refresh::context::{ask, Context};
use crate::refresh::tables::foreign_table_ddl;
use crate::report::{fail, report, Report, Subject};
use pgrx::prelude::*;
use pgrx::{PgList, PgSqlErrorCode as Code};
use std::ffi::{CStr, CString};
use std::sync::Arc;

#[pg_guard]
pub unsafe extern "C-unwind" fn import_foreign_schema(
    statement: *mut pg_sys::ImportForeignSchemaStmt,
    server: pg_sys::Oid,
) -> *mut pg_sys::List {
    let text = |pointer: *const std::ffi::c_char| CStr::from_ptr(pointer).to_string_lossy().into_owned();
    let named: Vec<String> = PgList::<pg_sys::RangeVar>::from_pg((*statement).table_list)
        .iter_ptr()
        .map(|table| text((*table).relname))
        .collect();
    let commands = or_raise(import(
        server,
        &text((*statement).remote_schema),
        &text((*statement).local_schema),
        &named,
        (*statement).list_type,
    ));
    let mut list: *mut pg_sys::List = std::ptr::null_mut();
    for command in commands {
        let command = CString::new(command).unwrap_or_default();
        list = pg_sys::lappend(list, pg_sys::pstrdup(command.as_ptr()).cast());
    }
    list
}

/// Queryable objects that only this account has, with the names their tables get.
fn custom_objects(context: &Context) -> Result<Vec<(String, Option<String>)>, Report> {
    let objects =
        ask(context, &Arc::new(Stats::default()), |api| Box::pin(async move { salesforce::list_objects(&api).await }));
    let subject = Subject { server: &context.server.name, collection: None };
    let objects = objects.map_err(|error| report(&subject, &error))?;
    let own = objects.into_iter().filter(|object| object.custom && object.queryable && object.name.ends_with("__c"));
    Ok(own.map(|object| (snake_case(&object.name), Some(object.name))).collect())
}

fn import(
    server: pg_sys::Oid,
    remote: &str,
    local: &str,
    named: &[String],
    kind: pg_sys::ImportForeignSchemaType::Type,
) -> Result<Vec<String>, Report> {
    use pg_sys::ImportForeignSchemaType as Kind;
    let server = catalog::server_by_oid(server)?;
    if remote != server.source.source && remote != server.name {
        return Err(fail(
            Code::ERRCODE_FDW_SCHEMA_NOT_FOUND, // HV00Q
            format!("server \"{}\" has no schema \"{remote}\"", server.name),
            "",
            format!("Write IMPORT FOREIGN SCHEMA {}.", server.source.source),
        ));
    }
    let explicit = kind == Kind::FDW_IMPORT_SCHEMA_LIMIT_TO;
    let context = Context::of(&server.name)?;
    // The collections of the source file, then the account's own objects: (name, object).
    let mut all: Vec<(String, Option<String>)> =
        server.source.collections.iter().map(|c| (c.name.clone(), None)).collect();
    if server.source.protocol == Protocol::Salesforce
        && (!explicit || named.iter().any(|name| server.source.collection(name).is_none()))
    {
        all.extend(custom_objects(&context)?);
    }
    let wanted: Vec<(String, Option<String>)> = match kind {
        Kind::FDW_IMPORT_SCHEMA_LIMIT_TO => named
            .iter()
            .map(|name| {
                let same = |object: &String| object.eq_ignore_ascii_case(name);
                let known = all.iter().find(|(have, object)| have == name || object.as_ref().is_some_and(same));
                known.cloned().unwrap_or_else(|| (name.clone(), None))
            })
            .collect(),
        Kind::FDW_IMPORT_SCHEMA_EXCEPT => all.into_iter().filter(|(name, _)| !named.contains(name)).collect(),
        _ => all,
    };
    let mut commands = Vec::new();
    for (name, object) in wanted {
        let collection = catalog::collection(&server, object.as_deref().unwrap_or(&name), object.as_deref())?;
        let found = match &collection.unsupported {
            Some(reason) => Err(SyncError::Unsupported { reason: reason.clone() }),
            None => describe(&context, &collection),
        };
        match found {
            Ok((described, lacking)) => {
                if let Some(detail) = lacking {
                    pgrx::warning!("cloudsync: {name} is made without the account's own fields: {detail}");
                }
                // Postgres keeps to the names in the list, so an object that is listed by its own name keeps that name.
                let listed = named.iter().find(|n| object.as_ref().is_some_and(|o| o.eq_ignore_ascii_case(n)));
                let table = listed.filter(|_| explicit).unwrap_or(&name);
                commands.push(foreign_table_ddl(&server, &collection, described.as_ref(), local, table));
            }
            Err(error) => {
                let report = report(&Subject { server: &server.name, collection: Some(&name) }, &error);
                let absent = matches!(error, SyncError::Unsupported { .. } | SyncError::NotFound { .. });
                if explicit || !absent {
                    return Err(report);
                }
                pgrx::notice!("cloudsync: {} is left out: {}", name, report.detail);
            }
        }
    }
    Ok(commands)
}
