//! Shows a scan in EXPLAIN: the request without making it, and with ANALYZE what the calls cost.

use super::plan::or_raise;
use super::scan::{shown_request, State};
use crate::extract;
use crate::http;
use pgrx::prelude::*;
use std::ffi::{CStr, CString};
use std::sync::atomic::Ordering;

unsafe fn property(label: &CStr, text: &str, es: *mut pg_sys::ExplainState) {
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    pg_sys::ExplainPropertyText(label.as_ptr(), text.as_ptr(), es);
}

unsafe fn number(label: &CStr, value: u64, es: *mut pg_sys::ExplainState) {
    pg_sys::ExplainPropertyInteger(label.as_ptr(), std::ptr::null(), value as i64, es);
}

#[pg_guard]
pub unsafe extern "C-unwind" fn explain_foreign_scan(
    node: *mut pg_sys::ForeignScanState,
    es: *mut pg_sys::ExplainState,
) {
    if (*es).verbose {
        let (request, account) = or_raise(shown_request(node));
        match extract::first_request(&request, &account) {
            Ok(request) => property(c"Cloudsync Request", &http::shown_request(&account, &request), es),
            Err(error) => property(c"Cloudsync Request", &format!("none: {error}"), es),
        }
    }
    let Some(state) = (*node).fdw_state.cast::<State>().as_ref() else { return };
    if (*es).analyze {
        number(c"Cloudsync Calls", state.stats.calls.load(Ordering::Relaxed), es);
        number(c"Cloudsync Pages", state.stats.pages.load(Ordering::Relaxed), es);
        number(c"Cloudsync Bytes", state.stats.bytes.load(Ordering::Relaxed), es);
        number(c"Cloudsync Retries", state.stats.retries.load(Ordering::Relaxed), es);
        number(c"Cloudsync Waited ms", state.stats.waited_ms.load(Ordering::Relaxed), es);
    }
}
