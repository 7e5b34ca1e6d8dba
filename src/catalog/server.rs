//! Reads foreign servers of ours, and what their source and options say together.

use super::{c_string, option_list, text_of, Mapping};
use crate::http::{AccessToken, Account, Proof, SharedPace, Told};
use crate::manifest::{load, naming, tuned, Collection, Protocol, Source};
use crate::options;
use crate::report::{fail, unknown_server, Report};
use crate::sources;
use crate::spi;
use pgrx::{pg_sys, PgSqlErrorCode as Code};
use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// A foreign server of ours.
#[derive(Clone, Debug)]
pub struct Server {
    pub oid: pg_sys::Oid,
    pub name: String,
    pub options: BTreeMap<String, String>,
    pub source: Arc<Source>,
}

impl Server {
    pub fn schema(&self) -> String {
        self.options.get("schema").cloned().unwrap_or_else(|| self.name.clone())
    }

    pub fn live_schema(&self) -> String {
        self.options.get("live_schema").cloned().unwrap_or_else(|| format!("{}_live", self.schema()))
    }
}

/// The server of that name; it must belong to our wrapper.
pub fn server(name: &str) -> Result<Server, Report> {
    find_server(name)?.ok_or_else(|| unknown_server(name))
}

/// The server of that name, if there is one.
pub fn find_server(name: &str) -> Result<Option<Server>, Report> {
    let c_name = c_string(name)?;
    // SAFETY: the name is zero-terminated; with missing_ok the result is null or a live struct.
    let found = unsafe { pg_sys::GetForeignServerByName(c_name.as_ptr(), true).as_ref() };
    found.map(read_server).transpose()
}

pub fn server_by_oid(oid: pg_sys::Oid) -> Result<Server, Report> {
    // SAFETY: raises when there is no such server.
    read_server(unsafe { &*pg_sys::GetForeignServer(oid) })
}

fn read_server(found: &pg_sys::ForeignServer) -> Result<Server, Report> {
    let name = text_of(found.servername);
    // SAFETY: every server has a wrapper.
    let wrapper = text_of(unsafe { (*pg_sys::GetForeignDataWrapper(found.fdwid)).fdwname });
    // SAFETY: options belong to the live struct.
    let options = unsafe { option_list(found.options) };
    let source = match options.get("source") {
        Some(source) if wrapper == "cloudsync" => with_options(sources::source(source)?, &options),
        _ => {
            return Err(fail(
                Code::ERRCODE_WRONG_OBJECT_TYPE, // 42809
                format!("server \"{name}\" is not a cloudsync server"),
                format!("It belongs to the foreign-data wrapper \"{wrapper}\"."),
                "Name a server made with FOREIGN DATA WRAPPER cloudsync.",
            ));
        }
    };
    Ok(Server { oid: found.serverid, name, options, source })
}

/// The source with the numbers that the server has of its own.
fn with_options(source: Arc<Source>, options: &BTreeMap<String, String>) -> Arc<Source> {
    let number = |name: &str| options.get(name).and_then(|text| text.parse::<u64>().ok());
    let pace = |name: &str| number(name).map(|pace| u32::try_from(pace).unwrap_or(u32::MAX));
    tuned(source, number("overlap_seconds"), pace("requests_per_second"), pace)
}

/// Refuses a caller who has no USAGE on the server.
pub fn check_usage(server: &Server, user: pg_sys::Oid) -> Result<(), Report> {
    let allowed: Option<bool> =
        spi::value("SELECT pg_catalog.has_server_privilege($1, $2, 'USAGE')", &[user.into(), server.oid.into()])?;
    if allowed == Some(true) {
        return Ok(());
    }
    Err(fail(
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("permission denied for foreign server {}", server.name),
        "",
        format!("Ask its owner: GRANT USAGE ON FOREIGN SERVER {} TO ...", pgrx::spi::quote_identifier(&server.name)),
    ))
}

/// Everything a reader has to know of a server.
pub fn account(server: &Server, mapping: &Mapping, token: Option<AccessToken>) -> Account {
    let mut policy = options::policy(&server.options, crate::ALLOW_PRIVATE_ADDRESSES.get());
    if let Some(connections) = server.source.rate.as_ref().map(|r| r.connections).filter(|n| *n > 0) {
        policy.max_concurrency = policy.max_concurrency.min(connections);
    }
    policy.pace = Some(shared_pace(server));
    Account {
        server: server.name.clone(),
        source: server.source.clone(),
        options: load::settings_of(&server.source, &server.options),
        credentials: mapping.credentials.clone(),
        policy,
        token,
        proof: Proof::default(),
        told: Told::default(),
    }
}

/// Where all sessions keep the pace of a server. PostgreSQL has `pg_stat_tmp` for files of extensions that no backup
/// holds and no restart needs.
fn shared_pace(server: &Server) -> SharedPace {
    // SAFETY: both are set before a backend runs its first statement and stay; the path is zero-terminated.
    let (folder, database) = unsafe { (CStr::from_ptr(pg_sys::DataDir), pg_sys::MyDatabaseId) };
    let folder = Path::new(OsStr::from_bytes(folder.to_bytes()));
    SharedPace {
        file: folder.join("pg_stat_tmp/cloudsync_pace"),
        account: format!("{}/{}", database.to_u32(), server.oid.to_u32()),
    }
}

/// A collection of a server: one of the source file's, or an object that only this account has.
pub fn collection(server: &Server, name: &str, object: Option<&str>) -> Result<Arc<Collection>, Report> {
    if let Some(known) = server.source.collection(name) {
        return Ok(Arc::new(known.clone()));
    }
    if server.source.protocol == Protocol::Salesforce {
        if let Some(custom) = object.map(str::to_string).or_else(|| custom_object(name)) {
            let mut like = server.source.collection("accounts").cloned().unwrap_or_default();
            like.name = naming::snake_case(name);
            like.object = custom;
            like.docs = None;
            like.columns.retain(|column| like.primary_key.contains(&column.name));
            return Ok(Arc::new(like));
        }
    }
    let mut near: Vec<&str> = server.source.collections.iter().map(|c| c.name.as_str()).collect();
    near.sort_unstable();
    Err(fail(
        Code::ERRCODE_UNDEFINED_OBJECT, // 42704
        format!("collection \"{name}\" does not exist in source \"{}\"", server.source.source),
        "",
        format!("The collections are: {}.", near.join(", ")),
    ))
}

/// Custom objects are collections under their own API name.
fn custom_object(name: &str) -> Option<String> {
    name.to_ascii_lowercase().ends_with("__c").then(|| name.to_string())
}
