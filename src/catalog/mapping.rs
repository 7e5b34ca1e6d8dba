//! Reads and sets the credentials that a role uses at a server: its user mapping.

use super::{c_string, option_list, text_of, Server};
use crate::report::{fail, Report};
use crate::secret::Secret;
use crate::spi;
use pgrx::{pg_sys, IntoDatum, PgSqlErrorCode as Code};
use std::collections::BTreeMap;

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
