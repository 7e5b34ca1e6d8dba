//! Reads what the user configured: servers, credentials, foreign tables and their columns.

mod mapping;
mod server;
mod table;

pub use mapping::{mapping, mapping_is_uncommitted, set_credential, Mapping};
pub use server::{account, check_usage, collection, find_server, server, server_by_oid, Server};
pub use table::{
    foreign_table, foreign_tables, out_column, output, table_columns, ForeignTable, TableColumn, ENGINE_COLUMNS,
};

use crate::report::{fail, Report};
use pgrx::{pg_sys, PgSqlErrorCode as Code};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

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
