//! Builds the requests of listings and of single records out of a source's templates.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::pages::{sized, Shape};
use super::raw::at_path;
use crate::error::SyncError;
use crate::extract::record::string_of;
use crate::extract::time::to_iso_ms;
use crate::extract::Output;
use crate::http::{Account, Request};
use crate::manifest::{field_path, Collection, Cursor, Format, Pages, Param, Params, Source};

pub const SECOND_US: i64 = 1_000_000;

/// The collections whose listings hold an output's records: itself, or its parents.
pub fn bases<'s>(source: &'s Source, collection: &Collection) -> Result<Vec<&'s Collection>, SyncError> {
    if let Some(reason) = &collection.unsupported {
        return Err(SyncError::Unsupported { reason: reason.clone() });
    }
    let find = |name: &str| {
        let found = source.listed(name);
        found.ok_or_else(|| SyncError::internal(format!("the source has no collection \"{name}\"")))
    };
    match &collection.parent {
        Some(parent) => parent.collections.iter().map(|name| find(name)).collect(),
        None => Ok(vec![find(&collection.name)?]),
    }
}

/// How the listing of a collection is paged.
pub fn shape(base: &Collection) -> Shape {
    Shape { records: base.records.pointer.clone(), pages: base.pages.clone().unwrap_or(Pages::None) }
}

/// The first page of a base's listing, with what its children need to be in it.
pub fn base_request(
    account: &Account,
    base: &Collection,
    outputs: &[Output],
    limit: Option<u64>,
) -> Result<Request, SyncError> {
    if let Some(reason) = &base.unsupported {
        return Err(SyncError::Unsupported { reason: reason.clone() });
    }
    let path = base.path.as_deref();
    let path = path.ok_or_else(|| SyncError::internal(format!("collection \"{}\" has no path", base.name)))?;
    let mut request = Request { target: path.to_string(), ..Request::default() };
    let children = outputs.iter().filter_map(|o| o.collection.parent.as_ref());
    let children = children.filter(|p| p.explode.is_some() && p.collections.contains(&base.name));
    let params = base.params.iter().chain(children.flat_map(|p| &p.params));
    for (name, param) in params {
        let Param::Text(text) = param else { continue };
        if let Some(value) = crate::http::fill(account, text)? {
            let param = (name.clone(), value);
            if !request.query.contains(&param) {
                request.query.push(param);
            }
        }
    }
    Ok(sized(request, &base.pages.clone().unwrap_or(Pages::None), limit))
}

/// A listing below a record, such as `/v1/invoices/{id}/lines`.
pub fn listing(
    path: &str,
    params: &Params,
    record: Option<(&Collection, &str)>,
    pages: &Pages,
) -> Result<Request, SyncError> {
    let mut query = Vec::new();
    for (name, param) in params {
        for text in param.templates() {
            query.push((name.clone(), fill_fields(text, record, str::to_string)?));
        }
    }
    let target = fill_fields(path, record, encode_segment)?;
    Ok(sized(Request { target, query, ..Request::default() }, pages, None))
}

/// The request of one record by the values of its key. `None` when no record can have such a key.
pub fn by_key(collection: &Collection, value: impl Fn(&str) -> Option<String>) -> Option<Request> {
    let filled = crate::manifest::template::fill(collection.by_key.as_deref()?, |name| {
        if !is_column(collection, name) {
            // A setting: filled when the call is made.
            return Some(format!("{{{name}}}").into());
        }
        // A segment of dots would climb out of its folder.
        let text = value(name).filter(|text| !matches!(text.as_str(), "" | "." | ".."))?;
        Some(encode_segment(&text).into())
    });
    // An unset name makes `fill` fail: then there is no such record.
    Some(Request { target: filled.ok().flatten()?, accept: vec![404], ..Request::default() })
}

/// Whether a name in `by_key` is a column; others are settings.
fn is_column(collection: &Collection, name: &str) -> bool {
    collection.column(name).is_some() || collection.primary_key.iter().any(|k| k == name)
}

/// The columns whose values `by_key` needs.
pub fn key_columns(collection: &Collection) -> Vec<&str> {
    let names = collection.by_key.as_deref().map(crate::manifest::template::names);
    names.into_iter().flatten().filter(|name| is_column(collection, name)).collect()
}

/// The text of a column's field in a record; `None` for null or nothing.
pub fn column_text(collection: &Collection, raw: &str, name: &str) -> Option<String> {
    let path = collection.column(name).map_or_else(|| field_path(name), |c| c.path());
    at_path(raw, &path).filter(|v| *v != "null").map(|v| string_of(v).into_owned())
}

/// Fills a template below a record with the record's own fields.
fn fill_fields(
    text: &str,
    record: Option<(&Collection, &str)>,
    spell: impl Fn(&str) -> String,
) -> Result<String, SyncError> {
    let lookup = |name: &str| {
        let kept = || Some(format!("{{{name}}}").into());
        let Some((base, raw)) = record else { return kept() };
        if !is_column(base, name) && name != "id" {
            // A setting: filled when the call is made.
            return kept();
        }
        let text = column_text(base, raw, name).filter(|text| !matches!(text.as_str(), "" | "." | ".."))?;
        Some(spell(&text).into())
    };
    match crate::manifest::template::fill(text, lookup) {
        Ok(Some(filled)) => Ok(filled),
        Ok(None) => Err(SyncError::internal("a path has an optional part")),
        Err(unset) => Err(SyncError::internal(format!("a record without \"{}\" has no children's address", unset.0))),
    }
}

/// One segment of a path: everything but letters, digits and `-._~` is percent-encoded.
fn encode_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The text of a record's primary key; `None` when a part is missing.
pub fn key_text(collection: &Collection, raw: &str) -> Option<String> {
    let parts: Option<Vec<String>> =
        collection.primary_key.iter().map(|name| column_text(collection, raw, name)).collect();
    parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join(&super::tables::KEY_SEPARATOR.to_string()))
}

/// Whether an answer to `by_key` says that the record is gone.
pub fn is_gone(collection: &Collection, raw: &str) -> bool {
    collection.gone.as_deref().is_some_and(|pointer| super::raw::at(raw, pointer) == Some("true"))
}

/// The cursor's instant in a record, microseconds.
pub fn stamp_of(cursor: &Cursor, raw: &str) -> Option<i64> {
    let value = super::raw::at(raw, &cursor.field)?;
    // A bare number where text was expected can only be Unix time.
    let format = match cursor.format {
        Format::Auto if !value.starts_with('"') => Format::Unix,
        other => other,
    };
    crate::extract::record::instant(value, format)
}

/// An instant as the app's parameters spell it: a lower bound rounded down, an upper bound rounded up.
pub fn bound(cursor: &Cursor, micros: i64, is_upper: bool) -> String {
    let up = |unit: i64| micros.div_euclid(unit) + i64::from(is_upper && micros.rem_euclid(unit) != 0);
    match cursor.format {
        Format::Unix => up(SECOND_US).to_string(),
        Format::UnixMs => up(1000).to_string(),
        Format::Auto => to_iso_ms(up(1000) * 1000),
        Format::Rfc2822 => {
            chrono::DateTime::from_timestamp(up(SECOND_US), 0).map(|t| t.to_rfc2822()).unwrap_or_default()
        }
    }
}
