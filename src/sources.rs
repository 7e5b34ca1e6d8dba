//! Finds a source by name: built in, or defined by a user with `cloudsync_define_source`.
//!
//! Definitions are rows of `cloudsync.defined_sources`, read with the extension owner's rights. Each is parsed once in a
//! backend; the row's own version (`xmin` and `ctid`) tells at every use whether that still holds, so another session's
//! definition counts from the next statement on. A built-in source of the same name wins: it may come with an upgrade.

use crate::manifest::{load, Problem, Source};
use crate::report::{fail, Report};
use crate::spi;
use pgrx::PgSqlErrorCode as Code;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

thread_local! {
    /// What was parsed, by name, with the version of its row.
    static PARSED: RefCell<HashMap<String, (String, Arc<Source>)>> = RefCell::default();
}

/// Definitions kept parsed in a backend; with more, all are parsed again.
const KEPT: usize = 64;

/// The source of that name, or an error that lists them.
pub fn source(name: &str) -> Result<Arc<Source>, Report> {
    match find(name)? {
        Some(source) => Ok(source),
        None => Err(unknown(name)?),
    }
}

/// The source of that name, if there is one.
pub fn find(name: &str) -> Result<Option<Arc<Source>>, Report> {
    match load::source(name) {
        Some(source) => Ok(Some(source)),
        None => defined(name),
    }
}

pub fn is_built_in(name: &str) -> bool {
    load::source(name).is_some()
}

/// All sources and whether a user defined them: those built in, then the others, in name order. A definition that can no
/// longer be used is left out with a warning, so that one of them does not hide all.
pub fn all() -> Result<Vec<(Arc<Source>, bool)>, Report> {
    let mut found: Vec<_> = load::sources().map(|source| (source, false)).collect();
    for name in defined_names()? {
        match defined(&name) {
            Ok(source) => found.extend(source.map(|source| (source, true))),
            Err(report) => pgrx::warning!("cloudsync: {}", report.with_detail()),
        }
    }
    Ok(found)
}

/// The names of all sources, for messages.
pub fn names() -> Result<String, Report> {
    let built_in = load::sources().map(|source| source.source.clone());
    Ok(built_in.chain(defined_names()?).collect::<Vec<_>>().join(", "))
}

/// The error for a source that is not there.
pub fn unknown(name: &str) -> Result<Report, Report> {
    Ok(fail(
        Code::ERRCODE_UNDEFINED_OBJECT, // 42704
        format!("source \"{name}\" does not exist"),
        "",
        format!("The sources are: {}. Your own is made with cloudsync_define_source().", names()?),
    ))
}

/// The definition of a user's source as JSON text; `None` for one that is built in.
pub fn definition(name: &str) -> Result<Option<String>, Report> {
    if is_built_in(name) {
        return Ok(None);
    }
    spi::as_owner(|| {
        spi::value(
            "SELECT definition::pg_catalog.text FROM cloudsync.defined_sources WHERE source OPERATOR(pg_catalog.=) $1",
            &[name.into()],
        )
    })
}

/// Reads a definition that was stored, or travelled along with a request.
pub fn read(name: &str, text: &str) -> Result<Arc<Source>, Report> {
    Source::of_user(text)
        .map(Arc::new)
        .map_err(|problems| refusal(&format!("source \"{name}\" cannot be used as it is defined"), &problems))
}

/// All that is wrong with a definition: the first in the message, each in the detail.
pub fn refusal(message: &str, problems: &[Problem]) -> Report {
    let told = |problem: &Problem| match problem.pointer.as_str() {
        "" => problem.message.clone(),
        place => format!("at {place}: {}", problem.message),
    };
    fail(
        Code::ERRCODE_INVALID_PARAMETER_VALUE, // 22023
        format!("{message}: {}", problems.first().map(told).unwrap_or_default()),
        problems.iter().map(told).collect::<Vec<_>>().join("\n"),
        "The format is described in docs/source-files.md.",
    )
}

fn defined_names() -> Result<Vec<String>, Report> {
    let names = spi::as_owner(|| {
        spi::rows("SELECT source FROM cloudsync.defined_sources ORDER BY source", &[], |row| row.text(1))
    })?;
    Ok(names.into_iter().filter(|name| !is_built_in(name)).collect())
}

/// A user's source, parsed unless that was done before.
fn defined(name: &str) -> Result<Option<Arc<Source>>, Report> {
    let version: Option<String> = spi::as_owner(|| {
        spi::value(
            "SELECT xmin::pg_catalog.text OPERATOR(pg_catalog.||) ctid::pg_catalog.text \
             FROM cloudsync.defined_sources WHERE source OPERATOR(pg_catalog.=) $1",
            &[name.into()],
        )
    })?;
    let Some(version) = version else { return Ok(None) };
    let known = PARSED.with_borrow(|parsed| parsed.get(name).cloned());
    if let Some((_, source)) = known.filter(|(of, _)| *of == version) {
        return Ok(Some(source));
    }
    let Some(text) = definition(name)? else { return Ok(None) };
    let source = read(name, &text)?;
    PARSED.with_borrow_mut(|parsed| {
        if parsed.len() >= KEPT {
            parsed.clear();
        }
        parsed.insert(name.to_string(), (version, source.clone()));
    });
    Ok(Some(source))
}
