//! `cloudsync_define_source` and `cloudsync_drop_source`: a user's own REST API as a source, by the same JSON as the files that
//! are built in.
//!
//! A definition says where calls go and what they carry, so it is as good as the credentials of every server that uses it:
//! only its first definer and superusers replace it. Replacing keeps servers and tables. A collection that is asked for in
//! another way is read in full again, since what was remembered of it belongs to the old way.

use crate::catalog::{self, ForeignTable};
use crate::http::guard::check_url;
use crate::manifest::{Problem, Source};
use crate::refresh::context::check_writable;
use crate::refresh::{lock, state};
use crate::report::{fail, Report};
use crate::sources;
use crate::spi;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{JsonB, PgSqlErrorCode as Code};
use serde_json::Value;
use std::collections::BTreeMap;

type DefineRow = (String, String, String, Option<String>);

/// The longest definition, in bytes: several times the largest that is built in.
const MOST_BYTES: usize = 4 << 20;

/// Members of a collection that say what a record becomes, not which records are read.
const OF_RECORDS: [&str; 9] = ["title", "docs", "notes", "columns", "ignore", "filters", "by_key", "gone", "errors"];

/// Makes or replaces a source. Gives a row a collection: `new`, `same`, `changed` (other columns), `read again` (asked for in
/// another way, so its next refresh is a full one) or `removed` (its tables stay).
#[pg_extern]
#[allow(clippy::type_complexity)]
fn cloudsync_define_source(
    definition: JsonB,
) -> Result<
    TableIterator<
        'static,
        (name!(source, String), name!(collection, String), name!(change, String), name!(message, Option<String>)),
    >,
    ErrorReport,
> {
    Ok(TableIterator::new(define(definition.0)?))
}

/// Drops a source that no server uses.
#[pg_extern]
fn cloudsync_drop_source(name: String) -> Result<(), ErrorReport> {
    Ok(drop_source(&name)?)
}

/// A definition as it was before.
struct Stored {
    definition: Value,
    defined_by: String,
}

fn define(definition: Value) -> Result<Vec<DefineRow>, Report> {
    check_writable()?;
    let source = checked(&definition)?;
    let name = source.source.as_str();
    // One definer at a time: two who make the same source at once would replace each other's unasked.
    spi::as_owner(|| spi::run("LOCK TABLE cloudsync.defined_sources IN SHARE ROW EXCLUSIVE MODE", &[]))?;
    let before = stored(name)?;
    if let Some(before) = &before {
        check_owner(name, before)?;
    }
    let definer = current_user();
    spi::as_owner(|| {
        spi::run(
            "INSERT INTO cloudsync.defined_sources (source, definition, defined_by) \
             VALUES ($1, $2::pg_catalog.text::pg_catalog.jsonb, $3) \
             ON CONFLICT (source) DO UPDATE SET definition = excluded.definition, defined_at = excluded.defined_at",
            &[name.into(), definition.to_string().into(), definer.into()],
        )
    })?;
    let old = before.map(|before| before.definition).unwrap_or_default();
    let servers = servers_of(name)?;
    let mut rows = Vec::new();
    for (collection, change) in changes(&old, &definition) {
        let message = match change {
            "removed" => left_behind(&servers, &collection)?,
            "read again" => read_again(&servers, &collection)?,
            _ => None,
        };
        rows.push((name.to_string(), collection, change.to_string(), message));
    }
    forget_plans(&servers)?;
    Ok(rows)
}

/// The source that a definition describes, or all that is wrong with it.
fn checked(definition: &Value) -> Result<Source, Report> {
    let text = definition.to_string();
    let message = "the source cannot be defined";
    if text.len() > MOST_BYTES {
        let problem = Problem::new("", format!("it has {} bytes, and {MOST_BYTES} are allowed", text.len()));
        return Err(sources::refusal(message, &[problem]));
    }
    let source = Source::of_user(&text).map_err(|problems| sources::refusal(message, &problems))?;
    let mut problems = Vec::new();
    if sources::is_built_in(&source.source) {
        problems.push(Problem::new("/source", format!("\"{}\" is built in: choose another name", source.source)));
    }
    // What is known of an address now is judged now; the rest, and what a name leads to, at each call.
    if let Some(Err(refused)) = source.base_url.parse().ok().map(|url| check_url(&url, allow_private())) {
        problems.push(Problem::new("/base_url", refused.to_string()));
    }
    if problems.is_empty() {
        Ok(source)
    } else {
        Err(sources::refusal(message, &problems))
    }
}

fn allow_private() -> bool {
    crate::ALLOW_PRIVATE_ADDRESSES.get()
}

fn current_user() -> String {
    // SAFETY: reads session state; the name is a copy in the current memory context.
    let name = unsafe { std::ffi::CStr::from_ptr(pg_sys::GetUserNameFromId(pg_sys::GetUserId(), false)) };
    name.to_string_lossy().into_owned()
}

fn stored(name: &str) -> Result<Option<Stored>, Report> {
    spi::as_owner(|| {
        spi::row(
            "SELECT definition::pg_catalog.text, defined_by FROM cloudsync.defined_sources \
             WHERE source OPERATOR(pg_catalog.=) $1 FOR UPDATE",
            &[name.into()],
            |row| {
                let definition = serde_json::from_str(&row.text(1)?).unwrap_or_default();
                Ok(Stored { definition, defined_by: row.text(2)? })
            },
        )
    })
}

/// Refuses who neither is a superuser nor has the role that defined the source.
fn check_owner(name: &str, stored: &Stored) -> Result<(), Report> {
    // SAFETY: reads session state.
    if unsafe { pg_sys::superuser() } {
        return Ok(());
    }
    let has_role: Option<bool> = spi::value(
        "SELECT pg_catalog.pg_has_role(r.oid, 'USAGE') FROM pg_catalog.pg_roles r \
         WHERE r.rolname OPERATOR(pg_catalog.=) $1::pg_catalog.name",
        &[stored.defined_by.clone().into()],
    )?;
    if has_role == Some(true) {
        return Ok(());
    }
    Err(fail(
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE, // 42501
        format!("permission denied for source {name}"),
        format!(
            "It was defined by role \"{}\"; servers that use it send their credentials where it says.",
            stored.defined_by
        ),
        "Ask that role or a superuser, or define a source of another name.",
    ))
}

/// The collections of both definitions, and what became of each: those of the new one in its order, then those removed.
fn changes(old: &Value, new: &Value) -> Vec<(String, &'static str)> {
    let (was, is) = (collections(old), collections(new));
    let find = |list: &[(String, Value)], name: &str| list.iter().find(|(n, _)| n == name).map(|(_, c)| c.clone());
    let kept = is.iter().map(|(name, collection)| {
        let change = match find(&was, name) {
            None => "new",
            Some(before) if reading(old, &before) != reading(new, collection) => "read again",
            Some(before) if before != *collection => "changed",
            Some(_) => "same",
        };
        (name.clone(), change)
    });
    let gone = was.iter().filter(|(name, _)| find(&is, name).is_none()).map(|(name, _)| (name.clone(), "removed"));
    kept.chain(gone).collect()
}

fn collections(definition: &Value) -> Vec<(String, Value)> {
    let list = definition.get("collections").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(|c| Some((c.get("name")?.as_str()?.to_string(), c.clone()))).collect()
}

/// What decides which records are read: of the collection, of its parents, and of the feed where it has one.
fn reading(definition: &Value, collection: &Value) -> Vec<BTreeMap<String, Value>> {
    let parts = |collection: &Value| -> BTreeMap<String, Value> {
        let members = collection.as_object().into_iter().flatten();
        members.filter(|(n, _)| !OF_RECORDS.contains(&n.as_str())).map(|(n, v)| (n.clone(), v.clone())).collect()
    };
    let mut all = vec![parts(collection)];
    let parents = collection.pointer("/parent/collections").and_then(Value::as_array);
    for parent in parents.into_iter().flatten() {
        for list in ["collections", "helpers"] {
            let listed = definition.get(list).and_then(Value::as_array).into_iter().flatten();
            all.extend(listed.filter(|other| other.get("name") == Some(parent)).map(parts));
        }
    }
    if collection.get("feed").is_some() {
        all.extend(definition.get("feed").map(parts));
    }
    all
}

/// The servers that use a source: oid and name.
fn servers_of(source: &str) -> Result<Vec<(pg_sys::Oid, String)>, Report> {
    spi::rows(
        "SELECT s.oid, s.srvname::pg_catalog.text FROM pg_catalog.pg_foreign_server s \
         JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid OPERATOR(pg_catalog.=) s.srvfdw \
         CROSS JOIN LATERAL pg_catalog.pg_options_to_table(s.srvoptions) o \
         WHERE w.fdwname OPERATOR(pg_catalog.=) 'cloudsync' AND o.option_name OPERATOR(pg_catalog.=) 'source' \
         AND o.option_value OPERATOR(pg_catalog.=) $1 ORDER BY s.srvname",
        &[source.into()],
        |row| Ok((row.get(1)?.unwrap_or(pg_sys::InvalidOid), row.text(2)?)),
    )
}

/// The foreign tables of a server.
fn foreign_tables(server: pg_sys::Oid) -> Result<Vec<ForeignTable>, Report> {
    let tables = spi::rows(
        "SELECT ftrelid FROM pg_catalog.pg_foreign_table WHERE ftserver OPERATOR(pg_catalog.=) $1 ORDER BY ftrelid",
        &[server.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::InvalidOid)),
    )?;
    tables.into_iter().map(catalog::foreign_table).collect()
}

/// The foreign tables that a removed collection leaves behind.
fn left_behind(servers: &[(pg_sys::Oid, String)], collection: &str) -> Result<Option<String>, Report> {
    let mut tables = Vec::new();
    for (oid, _) in servers {
        for table in foreign_tables(*oid)?.iter().filter(|table| table.collection == collection) {
            tables.extend(spi::value::<String>(
                "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
                 WHERE c.oid OPERATOR(pg_catalog.=) $1",
                &[table.oid.into()],
            )?);
        }
    }
    let stay = format!("drop {} when no longer wanted; local tables stay as they are", tables.join(", "));
    Ok((!tables.is_empty()).then_some(stay))
}

/// Forgets the checkpoints of a collection that is asked for in another way now.
fn read_again(servers: &[(pg_sys::Oid, String)], collection: &str) -> Result<Option<String>, Report> {
    for (_, server) in servers {
        // A refresh under way would save the checkpoint of the old way when it ends.
        if lock::collection(server, collection, false).is_none() {
            return Err(fail(
                Code::ERRCODE_OBJECT_IN_USE, // 55006
                format!("{server}.{collection}: another session is refreshing it"),
                "The new definition reads it in another way.",
                "Define the source again when that refresh has ended.",
            ));
        }
        state::forget(server, collection)?;
    }
    let names: Vec<&str> = servers.iter().map(|(_, name)| name.as_str()).collect();
    Ok((!names.is_empty()).then(|| format!("the next refresh of {} reads it in full", names.join(", "))))
}

/// Cached plans of other sessions hold conditions that the old definition knew how to send.
fn forget_plans(servers: &[(pg_sys::Oid, String)]) -> Result<(), Report> {
    for (oid, _) in servers {
        for table in foreign_tables(*oid)? {
            // SAFETY: the table exists; the message goes out when the transaction commits.
            unsafe { pg_sys::CacheInvalidateRelcacheByRelid(table.oid) };
        }
    }
    Ok(())
}

fn drop_source(name: &str) -> Result<(), Report> {
    check_writable()?;
    let Some(before) = stored(name)? else {
        if sources::is_built_in(name) {
            return Err(fail(
                Code::ERRCODE_WRONG_OBJECT_TYPE, // 42809
                format!("source \"{name}\" is built in"),
                "",
                "Only what cloudsync_define_source() made can be dropped.",
            ));
        }
        return Err(sources::unknown(name)?);
    };
    check_owner(name, &before)?;
    let servers: Vec<String> = servers_of(name)?.into_iter().map(|(_, server)| server).collect();
    if let Some(first) = servers.first() {
        return Err(fail(
            Code::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST, // 2BP01
            format!("cannot drop source {name} because servers use it"),
            format!("They are: {}.", servers.join(", ")),
            format!("Drop them first: SELECT cloudsync_disconnect({});", pgrx::spi::quote_literal(first)),
        ));
    }
    spi::as_owner(|| {
        spi::run("DELETE FROM cloudsync.defined_sources WHERE source OPERATOR(pg_catalog.=) $1", &[name.into()])
    })?;
    Ok(())
}
