//! Decides which options a server, user mapping, foreign table and column may have, and what they mean.
//!
//! Postgres calls the validator for every CREATE and ALTER, so this is the only place where options are refused.

use crate::http::Policy;
use crate::manifest::Format;
use crate::report::{fail, Report};
use crate::sources;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// What kind of value an option takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    Text,
    /// A whole number in a range, both ends included.
    Number(u64, u64),
    OneOf(&'static [&'static str]),
}

/// Server options that every source has: name, kind, help.
const SERVER_OPTIONS: &[(&str, Value, &str)] = &[
    ("source", Value::Text, "the app, as in cloudsync.sources"),
    ("schema", Value::Text, "schema of the local tables (default: the server's name)"),
    ("live_schema", Value::Text, "schema of the foreign tables (default: the schema with _live)"),
    ("base_url", Value::Text, "address of the API, when it is not the app's own"),
    ("ca_certificate", Value::Text, "PEM of further certificate authorities to trust"),
    ("connect_timeout_ms", Value::Number(1, 600_000), "longest time to connect"),
    ("read_timeout_ms", Value::Number(1, 3_600_000), "longest silence while a reply is read"),
    ("request_timeout_ms", Value::Number(1, 3_600_000), "longest time of one request"),
    ("max_tries", Value::Number(1, 100), "tries of one call, the first included"),
    ("patience_seconds", Value::Number(0, 86_400), "longest wait for one call before the run is deferred"),
    ("max_body_bytes", Value::Number(1_024, 1 << 40), "largest reply"),
    ("max_pages", Value::Number(1, u64::MAX), "most pages of one listing"),
    ("max_concurrency", Value::Number(1, 64), "requests in flight at once"),
    ("requests_per_second", Value::Number(0, 100_000), "pace of calls; 0 for none (default: what the app documents)"),
    ("quota_reserve_percent", Value::Number(0, 100), "share of the daily quota kept free for others"),
    ("overlap_seconds", Value::Number(0, 31_536_000), "how far before the cursor an incremental refresh reads again"),
    ("schema_changes", Value::OneOf(&["add", "extra", "fail"]), "what to do with a field that has no column"),
    (
        "describe_hours",
        Value::Number(0, 8_760),
        "the app is asked again what fields there are after so many hours (default: 24)",
    ),
    ("mass_delete_percent", Value::Number(1, 100), "largest share of a table that one reconcile may mark deleted"),
];

const TABLE_OPTIONS: &[&str] = &["collection", "object"];
const COLUMN_OPTIONS: &[&str] = &["field", "format"];

/// Checks the options of one object; `catalog` is the oid of the system catalog it lives in.
#[pg_extern(strict)]
fn cloudsync_fdw_validator(options: Vec<Option<String>>, catalog: pg_sys::Oid) -> Result<(), ErrorReport> {
    Ok(validate(options, catalog)?)
}

fn validate(options: Vec<Option<String>>, catalog: pg_sys::Oid) -> Result<(), Report> {
    let mut given = BTreeMap::new();
    for option in options.into_iter().flatten() {
        if let Some((name, value)) = option.split_once('=') {
            given.insert(name.to_string(), value.to_string());
        }
    }
    match catalog {
        pg_sys::ForeignServerRelationId => check_server(&given),
        // The source of the server is not told here.
        pg_sys::UserMappingRelationId if is_restoring() => Ok(()),
        pg_sys::UserMappingRelationId => check_names(&given, "user mapping", credential_names()?),
        pg_sys::ForeignTableRelationId => check_names(&given, "foreign table", names(TABLE_OPTIONS)),
        pg_sys::AttributeRelationId => {
            check_names(&given, "column", names(COLUMN_OPTIONS))?;
            match given.get("format").map(|format| Format::parse(format)) {
                Some(None) => Err(bad_value(
                    "format",
                    "Valid values are: auto, unix, unix_ms, rfc2822, or an offset as in -06:00.",
                )),
                _ => Ok(()),
            }
        }
        _ => check_names(&given, "foreign-data wrapper", Vec::new()),
    }
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| name.to_string()).collect()
}

/// The credentials of all sources.
fn credential_names() -> Result<Vec<String>, Report> {
    let sources = sources::all()?;
    let mut all: Vec<String> =
        sources.iter().flat_map(|(source, _)| source.auth.credentials()).map(|c| c.name.clone()).collect();
    all.sort();
    all.dedup();
    Ok(all)
}

/// Whether objects are loaded that may refer to what is not there yet. A dump makes servers and user mappings before the rows
/// of `cloudsync.defined_sources`; it switches this off for the same reason, and PostgreSQL's own checks obey it.
fn is_restoring() -> bool {
    // SAFETY: reads a setting.
    unsafe { !pg_sys::check_function_bodies }
}

fn check_server(given: &BTreeMap<String, String>) -> Result<(), Report> {
    let Some(name) = given.get("source") else {
        return Err(fail(
            PgSqlErrorCode::ERRCODE_FDW_OPTION_NAME_NOT_FOUND,
            "option \"source\" is missing",
            "",
            format!("Add OPTIONS (source '...'); the sources are: {}.", sources::names()?),
        ));
    };
    let source = match sources::find(name)? {
        Some(source) => source,
        None if is_restoring() => return check_common(given),
        None => return Err(sources::unknown(name)?),
    };
    let mut valid: Vec<String> = SERVER_OPTIONS.iter().map(|(name, ..)| name.to_string()).collect();
    valid.extend(source.settings.iter().map(|s| s.name.clone()));
    if source.api_version.is_some() && !valid.iter().any(|v| v == "api_version") {
        valid.push("api_version".into());
    }
    check_names(given, "server", valid)?;
    check_common(given)?;
    for (name, value) in given {
        if let Some(setting) = source.settings.iter().find(|s| &s.name == name) {
            if !setting.values.is_empty() && !setting.values.contains(value) {
                return Err(bad_value(name, &format!("Valid values are: {}.", setting.values.join(", "))));
            }
        }
    }
    Ok(())
}

/// Checks the values of the options that every source has.
fn check_common(given: &BTreeMap<String, String>) -> Result<(), Report> {
    for (name, value) in given {
        if let Some((_, kind, _)) = SERVER_OPTIONS.iter().find(|(known, ..)| known == name) {
            check_value(name, *kind, value)?;
        }
    }
    Ok(())
}

fn check_names(given: &BTreeMap<String, String>, place: &str, valid: Vec<String>) -> Result<(), Report> {
    let Some(name) = given.keys().find(|name| !valid.contains(name)) else { return Ok(()) };
    let mut hint = if valid.is_empty() {
        format!("A {place} has no options.")
    } else {
        format!("Valid options of a {place} are: {}.", valid.join(", "))
    };
    if place != "user mapping" && credential_names()?.contains(name) {
        hint = format!("Credentials belong in the user mapping: CREATE USER MAPPING .. OPTIONS ({name} '...'). {hint}");
    } else if place != "server" && SERVER_OPTIONS.iter().any(|(known, ..)| known == name) {
        hint = format!("\"{name}\" is an option of the server. {hint}");
    }
    Err(fail(
        PgSqlErrorCode::ERRCODE_FDW_INVALID_OPTION_NAME, // HV00D
        format!("invalid option \"{name}\" for a {place}"),
        "",
        hint,
    ))
}

fn bad_value(name: &str, hint: &str) -> Report {
    fail(
        PgSqlErrorCode::ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE, // HV024
        format!("option \"{name}\" has a value that cannot be used"),
        "",
        hint,
    )
}

fn check_value(name: &str, kind: Value, value: &str) -> Result<(), Report> {
    match kind {
        Value::Text => Ok(()),
        Value::Number(low, high) => match value.parse::<u64>() {
            Ok(number) if (low..=high).contains(&number) => Ok(()),
            _ => Err(bad_value(name, &format!("Give a whole number from {low} to {high}."))),
        },
        Value::OneOf(values) if values.contains(&value) => Ok(()),
        Value::OneOf(values) => Err(bad_value(name, &format!("Valid values are: {}.", values.join(", ")))),
    }
}

/// Options that are numbers, by name; they were checked when they were set.
fn number(options: &BTreeMap<String, String>, name: &str) -> Option<u64> {
    options.get(name).and_then(|value| value.parse().ok())
}

/// The limits that a server's options set; the rest are defaults.
pub fn policy(options: &BTreeMap<String, String>, allow_private_addresses: bool) -> Policy {
    let defaults = Policy::default();
    let ms = |name, default: Duration| number(options, name).map_or(default, Duration::from_millis);
    Policy {
        connect_timeout: ms("connect_timeout_ms", defaults.connect_timeout),
        read_timeout: ms("read_timeout_ms", defaults.read_timeout),
        request_timeout: ms("request_timeout_ms", defaults.request_timeout),
        tries: number(options, "max_tries").map_or(defaults.tries, |n| n as u32),
        patience: number(options, "patience_seconds").map_or(defaults.patience, Duration::from_secs),
        max_body_bytes: number(options, "max_body_bytes").unwrap_or(defaults.max_body_bytes),
        max_pages: number(options, "max_pages").unwrap_or(defaults.max_pages),
        max_concurrency: number(options, "max_concurrency").map_or(defaults.max_concurrency, |n| n as u32),
        quota_reserve: number(options, "quota_reserve_percent").map_or(defaults.quota_reserve, |n| n as f64 / 100.0),
        ca_certificate: options.get("ca_certificate").cloned(),
        allow_private_addresses,
        ..defaults
    }
}

/// What happens to fields that have no column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaChanges {
    /// A column is added for them.
    Add,
    /// They stay in `extra`.
    Extra,
    /// The collection fails until somebody decides.
    Fail,
}

pub fn schema_changes(options: &BTreeMap<String, String>) -> SchemaChanges {
    match options.get("schema_changes").map(String::as_str) {
        Some("extra") => SchemaChanges::Extra,
        Some("fail") => SchemaChanges::Fail,
        _ => SchemaChanges::Add,
    }
}

/// An app is asked again what fields a collection has when the last answer is older than this, in seconds.
pub fn describe_after_seconds(options: &BTreeMap<String, String>) -> f64 {
    number(options, "describe_hours").unwrap_or(24) as f64 * 3600.0
}

/// Largest share of a table's rows that one reconcile may mark deleted, 0.0..1.0.
pub fn mass_delete_share(options: &BTreeMap<String, String>) -> f64 {
    number(options, "mass_delete_percent").map_or(0.5, |n| n as f64 / 100.0)
}
