//! Reads what the user configured: servers, credentials, foreign tables and their columns.

use crate::extract::{Described, OutColumn, Output, Target};
use crate::http::{AccessToken, Account, Proof, SharedPace};
use crate::manifest::{field_path, load, naming, Collection, Deletes, Format, Protocol, Source};
use crate::options;
use crate::report::{fail, unknown_server, Report};
use crate::secret::Secret;
use crate::spi;
use crate::value;
use pgrx::{pg_sys, IntoDatum, PgSqlErrorCode as Code};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// Columns that the engine keeps in every local table.
pub const ENGINE_COLUMNS: [&str; 5] = ["is_deleted", "received_at", "extra", "record_version", "record_hash"];

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

/// A list of options as Postgres keeps them.
///
/// # Safety
/// `list` must be a live list of `DefElem`s, or null.
unsafe fn option_list(list: *mut pg_sys::List) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    let length = if list.is_null() { 0 } else { (*list).length };
    for at in 0..length {
        let element: *mut pg_sys::DefElem = pg_sys::list_nth(list, at).cast();
        let name = CStr::from_ptr((*element).defname).to_string_lossy().into_owned();
        let value = CStr::from_ptr(pg_sys::defGetString(element)).to_string_lossy().into_owned();
        options.insert(name, value);
    }
    options
}

fn c_string(text: &str) -> Result<CString, Report> {
    CString::new(text)
        .map_err(|_| fail(Code::ERRCODE_INVALID_PARAMETER_VALUE, "a name contains a zero byte", "", "Remove it."))
}

fn text_of(pointer: *const std::ffi::c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: the catalog functions give zero-terminated strings.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
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
        Some(source) if wrapper == "cloudsync" => with_options(options::source(source)?, &options),
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

/// The source with the server's own overlap (for every cursor and the feed) and pace, where it has them.
fn with_options(source: Arc<Source>, options: &BTreeMap<String, String>) -> Arc<Source> {
    let number = |name: &str| options.get(name).and_then(|text| text.parse::<u64>().ok());
    let (overlap, pace) = (number("overlap_seconds"), number("requests_per_second"));
    let groups = source.rate.iter().flat_map(|rate| &rate.groups);
    let own_pace = groups.filter_map(|group| group.calls_setting.as_deref()).any(|name| number(name).is_some());
    if overlap.is_none() && pace.is_none() && !own_pace {
        return source;
    }
    let mut source = Source::clone(&source);
    if let Some(overlap) = overlap {
        for cursor in source.collections.iter_mut().filter_map(|collection| collection.cursor.as_mut()) {
            cursor.overlap_seconds = overlap;
        }
        if let Some(feed) = source.feed.as_mut() {
            feed.cursor.overlap_seconds = overlap;
        }
    }
    for group in source.rate.iter_mut().flat_map(|rate| &mut rate.groups) {
        if let Some(calls) = group.calls_setting.as_deref().and_then(number).filter(|calls| *calls > 0) {
            group.calls = Some(u32::try_from(calls).unwrap_or(u32::MAX));
        }
    }
    if let Some(pace) = pace {
        source.rate = Some(source.rate.take().unwrap_or_default().paced_at(pace as u32));
    }
    Arc::new(source)
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

/// Whose credentials a role uses at a server.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Role name; empty for PUBLIC.
    pub user: String,
    pub credentials: BTreeMap<String, Secret>,
}

impl Mapping {
    /// Changes when any credential does.
    pub fn fingerprint(&self) -> i64 {
        let all: Vec<String> =
            self.credentials.iter().map(|(name, secret)| format!("{name}={:x}", secret.fingerprint())).collect();
        xxhash_rust::xxh3::xxh3_64(all.join(";").as_bytes()) as i64
    }
}

/// The user mapping that a role uses: its own, or PUBLIC's.
pub fn mapping(server: &Server, user: pg_sys::Oid) -> Result<Mapping, Report> {
    for id in [user, pg_sys::InvalidOid] {
        let cache = pg_sys::SysCacheIdentifier::USERMAPPINGUSERSERVER as i32;
        let (user_key, server_key) = (id.into_datum(), server.oid.into_datum());
        let (Some(user_key), Some(server_key)) = (user_key, server_key) else { continue };
        // SAFETY: a look-up by two oids in the cache that is keyed so.
        let exists = unsafe {
            pg_sys::SearchSysCacheExists(cache, user_key, server_key, pg_sys::Datum::from(0), pg_sys::Datum::from(0))
        };
        if !exists {
            continue;
        }
        // SAFETY: it exists; GetUserMapping finds the same row (its own fallback is PUBLIC, as ours).
        let options = unsafe { option_list((*pg_sys::GetUserMapping(id, server.oid)).options) };
        let user = if id == pg_sys::InvalidOid {
            String::new()
        } else {
            // SAFETY: the role exists, a mapping refers to it.
            text_of(unsafe { pg_sys::GetUserNameFromId(id, true) })
        };
        let credentials = options.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
        return Ok(Mapping { user, credentials });
    }
    let needed: Vec<&str> = server.source.auth.credentials().iter().map(|c| c.name.as_str()).collect();
    Err(fail(
        Code::ERRCODE_FDW_OPTION_NAME_NOT_FOUND, // HV00J
        format!("no user mapping for server \"{}\"", server.name),
        format!("Credentials of {} are: {}.", server.source.title, needed.join(", ")),
        format!(
            "Run CREATE USER MAPPING FOR CURRENT_USER SERVER {} OPTIONS ({} '...');",
            pgrx::spi::quote_identifier(&server.name),
            needed.first().unwrap_or(&"...")
        ),
    ))
}

/// Whether the mapping that a role uses was made or changed in the caller's own transaction, so that nobody else sees it.
pub fn mapping_is_uncommitted(server: &Server, mapping: &Mapping) -> Result<bool, Report> {
    let writer: Option<String> = spi::as_owner(|| {
        spi::value(
            "SELECT m.xmin::pg_catalog.text FROM pg_catalog.pg_user_mapping m \
             LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) m.umuser \
             WHERE m.umserver OPERATOR(pg_catalog.=) $1 \
             AND coalesce(r.rolname, '') OPERATOR(pg_catalog.=) $2::pg_catalog.name",
            &[server.oid.into(), mapping.user.clone().into()],
        )
    })?;
    let writer = writer.and_then(|xid| xid.parse::<u32>().ok());
    // SAFETY: only looks the number up among those of the present transaction.
    Ok(writer.is_none_or(|xid| unsafe { pg_sys::TransactionIdIsCurrentTransactionId(xid.into()) }))
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

/// One column of a table as Postgres has it.
#[derive(Clone, Debug, PartialEq)]
pub struct TableColumn {
    pub attnum: i16,
    pub name: String,
    pub type_oid: pg_sys::Oid,
    pub field: Option<String>,
    pub format: Option<Format>,
    pub generated: bool,
    /// Its wide values are compressed with lz4.
    pub is_lz4: bool,
}

/// A foreign table of ours.
#[derive(Clone, Debug)]
pub struct ForeignTable {
    pub oid: pg_sys::Oid,
    pub collection: String,
    pub object: Option<String>,
    pub columns: Vec<TableColumn>,
}

/// A foreign table by oid.
pub fn foreign_table(relid: pg_sys::Oid) -> Result<ForeignTable, Report> {
    // SAFETY: raises when it is no foreign table.
    let options = unsafe { option_list((*pg_sys::GetForeignTable(relid)).options) };
    // SAFETY: the table exists.
    let name = text_of(unsafe { pg_sys::get_rel_name(relid) });
    Ok(ForeignTable {
        oid: relid,
        collection: options.get("collection").cloned().unwrap_or(name),
        object: options.get("object").cloned(),
        columns: table_columns(relid, true)?,
    })
}

/// The columns of a table, in order.
pub fn table_columns(relid: pg_sys::Oid, foreign: bool) -> Result<Vec<TableColumn>, Report> {
    let mut columns = spi::rows(
        "SELECT attnum, attname::pg_catalog.text, atttypid, attgenerated::pg_catalog.text, \
         attcompression OPERATOR(pg_catalog.=) 'l' AND attstorage OPERATOR(pg_catalog.=) ANY ('{x,m}') \
         FROM pg_catalog.pg_attribute \
         WHERE attrelid OPERATOR(pg_catalog.=) $1 AND attnum OPERATOR(pg_catalog.>) 0 AND NOT attisdropped ORDER BY attnum",
        &[relid.into()],
        |row| {
            Ok(TableColumn {
                attnum: row.get(1)?.unwrap_or_default(),
                name: row.text(2)?,
                type_oid: row.get(3)?.unwrap_or(pg_sys::InvalidOid),
                field: None,
                format: None,
                generated: !row.text(4)?.is_empty(),
                is_lz4: row.get(5)?.unwrap_or(false),
            })
        },
    )?;
    if foreign {
        for column in &mut columns {
            // SAFETY: the column exists.
            let options = unsafe { option_list(pg_sys::GetForeignColumnOptions(relid, column.attnum)) };
            column.field = options.get("field").cloned();
            column.format = options.get("format").map(|text| match text.as_str() {
                "unix" => Format::Unix,
                "unix_ms" => Format::UnixMs,
                "rfc2822" => Format::Rfc2822,
                _ => Format::Auto,
            });
        }
    }
    Ok(columns)
}

/// The foreign tables of a server, one a collection: the one in the live schema, else the oldest.
pub fn foreign_tables(server: &Server) -> Result<BTreeMap<String, pg_sys::Oid>, Report> {
    let mut found = BTreeMap::new();
    let tables = spi::rows(
        "SELECT t.ftrelid, coalesce((SELECT o.option_value FROM pg_catalog.pg_options_to_table(t.ftoptions) o \
                WHERE o.option_name OPERATOR(pg_catalog.=) 'collection'), c.relname::pg_catalog.text) \
         FROM pg_catalog.pg_foreign_table t \
         JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.ftrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE t.ftserver OPERATOR(pg_catalog.=) $1 \
         ORDER BY (n.nspname OPERATOR(pg_catalog.=) $2::pg_catalog.name) DESC, t.ftrelid",
        &[server.oid.into(), server.live_schema().into()],
        |row| Ok((row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid), row.text(2)?)),
    )?;
    for (oid, collection) in tables {
        found.entry(collection).or_insert(oid);
    }
    Ok(found)
}

/// What a column of this type is filled with; `None` for types we cannot fill.
pub fn target_of(type_oid: pg_sys::Oid) -> Option<Target> {
    Some(match type_oid {
        pg_sys::BOOLOID => Target::Bool,
        pg_sys::INT2OID => Target::Int2,
        pg_sys::INT4OID => Target::Int4,
        pg_sys::INT8OID => Target::Int8,
        pg_sys::FLOAT4OID | pg_sys::FLOAT8OID => Target::Float8,
        pg_sys::NUMERICOID => Target::Numeric,
        pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => Target::Text,
        pg_sys::TIMESTAMPTZOID | pg_sys::TIMESTAMPOID => Target::Timestamptz,
        pg_sys::DATEOID => Target::Date,
        pg_sys::JSONOID => Target::Json,
        pg_sys::JSONBOID => Target::Jsonb,
        _ => return None,
    })
}

/// How a table column is read from a record: by its own options, else as the app or the source file describes it.
pub fn out_column(
    column: &TableColumn,
    collection: &Collection,
    described: Option<&Described>,
) -> Result<OutColumn, Report> {
    let known = collection.column(&column.name);
    let found = described.and_then(|d| d.columns.iter().find(|c| c.name == column.name));
    let flag = match &collection.deletes {
        Deletes::Flag { field, .. } if column.name == "is_deleted" => Some(field.clone()),
        _ => None,
    };
    let field = column
        .field
        .clone()
        .or_else(|| found.map(|c| c.field.clone()))
        .or_else(|| known.and_then(|c| c.field.clone()))
        .or(flag)
        .unwrap_or_else(|| column.name.clone());
    let Some(target) = target_of(column.type_oid) else {
        return Err(fail(
            Code::ERRCODE_FDW_INVALID_DATA_TYPE, // HV004
            format!("column \"{}\" of {} has a type that cannot be filled", column.name, collection.name),
            "",
            "Use boolean, smallint, integer, bigint, numeric, real, double precision, text, varchar, timestamptz, \
             timestamp, date, jsonb or json.",
        ));
    };
    Ok(OutColumn {
        name: column.name.clone(),
        path: field_path(&field),
        target,
        format: column.format.or(known.map(|c| c.format)).unwrap_or_default(),
    })
}

/// A table to fill. `columns` must hold the primary key.
pub fn output(
    collection: Arc<Collection>,
    columns: Vec<OutColumn>,
    described: Option<Arc<Described>>,
    keep_extra: bool,
) -> Result<Output, Report> {
    let mut key = Vec::new();
    for name in &collection.primary_key {
        match columns.iter().position(|column| &column.name == name) {
            Some(at) => key.push(at),
            None => {
                return Err(fail(
                    Code::ERRCODE_FDW_COLUMN_NAME_NOT_FOUND, // HV005
                    format!("the table of collection \"{}\" lacks its key column \"{name}\"", collection.name),
                    "",
                    format!("Add the column \"{name}\" to it."),
                ));
            }
        }
    }
    Ok(Output { collection, columns, key, keep_extra, checkpoint: None, binary: value::binary(Vec::new()), described })
}

/// Sets one credential of a mapping, without a statement that could be logged.
///
/// The caller needs the rights of ALTER USER MAPPING. Makes the mapping for the current role when there is none
/// (`mapping.credentials` is empty then and `mapping.user` names the role).
pub fn set_credential(server: &Server, mapping: &Mapping, name: &str, value: &Secret) -> Result<(), Report> {
    let (user, server_name) = (c_string(&mapping.user)?, c_string(&server.name)?);
    let (name_c, value_c) = (c_string(name)?, c_string(value.expose())?);
    // SAFETY: nodes are zeroed structs of the right tag in the current memory context, as the parser would make them;
    // strings are copies in the same context.
    unsafe {
        let role = node::<pg_sys::RoleSpec>(pg_sys::NodeTag::T_RoleSpec);
        if mapping.user.is_empty() {
            (*role).roletype = pg_sys::RoleSpecType::ROLESPEC_PUBLIC;
        } else {
            (*role).roletype = pg_sys::RoleSpecType::ROLESPEC_CSTRING;
            (*role).rolename = pg_sys::pstrdup(user.as_ptr());
        }
        let text = pg_sys::makeString(pg_sys::pstrdup(value_c.as_ptr()));
        let option = pg_sys::makeDefElem(pg_sys::pstrdup(name_c.as_ptr()), text.cast(), -1);
        (*option).defaction = if mapping.credentials.contains_key(name) {
            pg_sys::DefElemAction::DEFELEM_SET
        } else {
            pg_sys::DefElemAction::DEFELEM_ADD
        };
        let options = pg_sys::lappend(std::ptr::null_mut(), option.cast());
        if mapping.credentials.is_empty() && !mapping_exists(server, mapping)? {
            let statement = node::<pg_sys::CreateUserMappingStmt>(pg_sys::NodeTag::T_CreateUserMappingStmt);
            (*statement).user = role;
            (*statement).servername = pg_sys::pstrdup(server_name.as_ptr());
            (*statement).options = options;
            pg_sys::CreateUserMapping(statement);
        } else {
            let statement = node::<pg_sys::AlterUserMappingStmt>(pg_sys::NodeTag::T_AlterUserMappingStmt);
            (*statement).user = role;
            (*statement).servername = pg_sys::pstrdup(server_name.as_ptr());
            (*statement).options = options;
            pg_sys::AlterUserMapping(statement);
        }
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}

fn mapping_exists(server: &Server, mapping: &Mapping) -> Result<bool, Report> {
    let found: Option<bool> = spi::value(
        "SELECT true FROM pg_catalog.pg_user_mappings WHERE srvid OPERATOR(pg_catalog.=) $1 AND \
         usename OPERATOR(pg_catalog.=) (CASE WHEN $2 OPERATOR(pg_catalog.=) '' THEN 'public' ELSE $2 END)::pg_catalog.name",
        &[server.oid.into(), mapping.user.clone().into()],
    )?;
    Ok(found.is_some())
}

/// A zeroed parse node.
///
/// # Safety
/// `T` must be the struct of that tag.
unsafe fn node<T>(tag: pg_sys::NodeTag) -> *mut T {
    let node = pg_sys::palloc0(std::mem::size_of::<T>()).cast::<T>();
    (*node.cast::<pg_sys::Node>()).type_ = tag;
    node
}
