//! IMPORT FOREIGN SCHEMA: one foreign table a collection.

use super::plan::or_raise;
use crate::catalog;
use crate::error::SyncError;
use crate::functions::connect::describe;
use crate::refresh::run::Context;
use crate::refresh::tables::foreign_table_ddl;
use crate::report::{fail, report, Report, Subject};
use pgrx::prelude::*;
use pgrx::{PgList, PgSqlErrorCode as Code};
use std::ffi::{CStr, CString};

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
    let all = || server.source.collections.iter().map(|c| c.name.clone());
    let wanted: Vec<String> = match kind {
        Kind::FDW_IMPORT_SCHEMA_LIMIT_TO => named.to_vec(),
        Kind::FDW_IMPORT_SCHEMA_EXCEPT => all().filter(|name| !named.contains(name)).collect(),
        _ => all().collect(),
    };
    let explicit = kind == Kind::FDW_IMPORT_SCHEMA_LIMIT_TO;
    let context = Context::of(&server.name)?;
    let mut commands = Vec::new();
    for name in wanted {
        let collection = catalog::collection(&server, &name, None)?;
        let found = match &collection.unsupported {
            Some(reason) => Err(SyncError::Unsupported { reason: reason.clone() }),
            None => describe(&context, &collection.object),
        };
        match found {
            Ok(described) => {
                commands.push(foreign_table_ddl(&server, &collection, described.as_ref(), local, &name));
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
