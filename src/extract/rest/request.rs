//! Builds the requests of listings and of single records out of a source's templates.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::names::Names;
use super::pages::{sized, Shape};
use super::raw::at_path;
use crate::error::SyncError;
use crate::extract::record::string_of;
use crate::extract::Output;
use crate::http::{Account, Request};
use crate::manifest::{field_path, template, texts_of, Collection, Cursor, Format, Pages, Param, Params, Source};
use serde_json::Value;
use std::borrow::Cow;

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
    Shape { records: base.records.clone(), pages: base.pages.clone().unwrap_or(Pages::None) }
}

/// The first page of a base's listing, with what its children need to be in it: without any bound, or with the widest
/// that its templates cannot do without.
pub fn base_request(
    account: &Account,
    base: &Collection,
    outputs: &[Output],
    limit: Option<u64>,
) -> Result<Request, SyncError> {
    let mut names = Names::default();
    super::lookups::set_names(base, outputs, &mut names);
    if let Some(fields) = super::names::fields(base, outputs).into_iter().next() {
        names.set_list("fields", fields);
    }
    if let Some(cursor) = &base.cursor {
        widest(base, cursor, &mut names);
    }
    request_with(account, base, outputs, &names, limit)
}

/// Bounds that templates cannot be filled without: everything there is.
pub fn widest(base: &Collection, cursor: &Cursor, names: &mut Names) {
    let texts = unconditional(base);
    let needs = |name: &str| texts.iter().any(|text| template::required_names(text).any(|known| known == name));
    if needs("cursor") && !names.has("cursor") {
        names.set_bound("cursor", cursor, 0, false);
    }
    if needs("upper") && !names.has("upper") {
        names.set_bound("upper", cursor, now_us(), true);
    }
}

/// Whether a request's templates name a value.
pub fn is_named(base: &Collection, name: &str) -> bool {
    templates(base).iter().any(|text| template::names(text).any(|known| known == name))
}

/// The templates that are filled whatever has a value.
fn unconditional(base: &Collection) -> Vec<&str> {
    fn certain(value: &Value) -> Vec<&str> {
        match value {
            Value::String(text) => vec![text],
            Value::Array(items) => items.iter().flat_map(certain).collect(),
            Value::Object(members) if !members.contains_key("$if") => members.values().flat_map(certain).collect(),
            _ => Vec::new(),
        }
    }
    let params = base.params.values().flat_map(|param| match param {
        Param::Json(value) => certain(value),
        other => other.templates(),
    });
    let body = base.json.iter().flat_map(certain).chain(base.form.values().map(String::as_str));
    let others = base.path.as_deref().into_iter().chain(base.headers.values().map(String::as_str));
    params.chain(body).chain(others).collect()
}

fn templates(base: &Collection) -> Vec<&str> {
    let params = base.params.values().flat_map(|param| param.templates());
    let body = base.json.iter().flat_map(texts_of).chain(base.form.values().map(String::as_str));
    let others = base.path.as_deref().into_iter().chain(base.headers.values().map(String::as_str));
    params.chain(body).chain(others).collect()
}

/// Our own clock. It only says how far we ask; where a reading ended is said by the app's.
pub fn now_us() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}

/// A request of a base's listing, its templates filled with `names` and settings.
pub fn request_with(
    account: &Account,
    base: &Collection,
    outputs: &[Output],
    names: &Names,
    limit: Option<u64>,
) -> Result<Request, SyncError> {
    if let Some(reason) = &base.unsupported {
        return Err(SyncError::Unsupported { reason: reason.clone() });
    }
    let path = base.path.as_deref();
    let path = path.ok_or_else(|| SyncError::internal(format!("collection \"{}\" has no path", base.name)))?;
    let filling = Filling { account, names };
    let mut request = Request {
        target: filling.path(path)?,
        method: base.method.word(),
        base: base.base_url.clone(),
        rules: base.errors.clone(),
        ..Request::default()
    };
    let children = outputs.iter().filter_map(|o| o.collection.parent.as_ref());
    let children = children.filter(|p| p.explode.is_some() && p.collections.contains(&base.name));
    let params = base.params.iter().chain(children.flat_map(|p| &p.params));
    for (name, param) in params {
        for value in filling.param(param)? {
            let param = (name.clone(), value);
            if !request.query.contains(&param) {
                request.query.push(param);
            }
        }
    }
    for (name, text) in &base.headers {
        request.headers.extend(filling.text(text)?.map(|value| (name.clone(), value)));
    }
    for (name, text) in &base.form {
        request.form.extend(filling.text(text)?.map(|value| (name.clone(), value)));
    }
    if let Some(body) = &base.json {
        request.json_body = filling.json(body)?;
    }
    Ok(sized(request, &base.pages.clone().unwrap_or(Pages::None), limit))
}

/// Fills templates with names of the reading, else settings.
struct Filling<'a> {
    account: &'a Account,
    names: &'a Names,
}

impl Filling<'_> {
    fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.names.text(name).or_else(|| crate::http::setting(self.account, name))
    }

    fn missing(unset: template::Unset) -> SyncError {
        SyncError::Missing { place: "server", option: unset.0 }
    }

    fn text(&self, text: &str) -> Result<Option<String>, SyncError> {
        template::fill(text, |name| self.value(name)).map_err(Self::missing)
    }

    /// Names of the reading become segments; settings are filled when the call is made.
    fn path(&self, path: &str) -> Result<String, SyncError> {
        let segment = |name: &str| match self.names.text(name) {
            Some(text) => (!matches!(text.as_ref(), "" | "." | "..")).then(|| encode_segment(&text).into()),
            None => Some(format!("{{{name}}}").into()),
        };
        let filled = template::fill(path, segment);
        filled.ok().flatten().ok_or_else(|| SyncError::internal("a record without its key has no address of its own"))
    }

    fn json(&self, body: &Value) -> Result<Option<Value>, SyncError> {
        let list = |name: &str| self.names.list(name).cloned();
        template::fill_json(body, &|name: &str| self.value(name), &list).map_err(Self::missing)
    }

    fn param(&self, param: &Param) -> Result<Vec<String>, SyncError> {
        match param {
            Param::Text(text) => Ok(self.text(text)?.into_iter().collect()),
            Param::Many(texts) => texts.iter().filter_map(|text| self.text(text).transpose()).collect(),
            Param::Json(value) => {
                let filled = self.json(value)?;
                // An empty list of conditions is no condition.
                let filled = filled.filter(|v| v.as_array().is_none_or(|items| !items.is_empty()));
                Ok(filled.map(|value| value.to_string()).into_iter().collect())
            }
        }
    }
}

/// Puts a value into its place: a parameter, or where a pointer leads in the body.
pub fn put(request: &mut Request, place: &str, value: Value) {
    if !place.starts_with('/') {
        let text = match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        request.query.retain(|(name, _)| name != place);
        request.query.push((place.to_string(), text));
        return;
    }
    let mut at = request.json_body.get_or_insert_with(|| Value::Object(serde_json::Map::new()));
    let keys = field_path(place);
    for key in &keys {
        at = match at {
            Value::Array(items) => match key.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                Some(item) => item,
                None => return,
            },
            other => {
                if !other.is_object() {
                    *other = Value::Object(serde_json::Map::new());
                }
                let Value::Object(members) = other else { return };
                members.entry(key.clone()).or_insert(Value::Null)
            }
        };
    }
    *at = value;
}

/// A listing below a record of `base`, such as `/v1/invoices/{id}/lines`.
pub fn listing(
    account: &Account,
    path: &str,
    params: &Params,
    base: &Collection,
    raw: &str,
    pages: &Pages,
) -> Result<Request, SyncError> {
    let mut names = Names::default();
    names.set_columns(base, raw);
    let is_of_record = |name: &&str| is_column(base, name) || *name == "id";
    if let Some(name) = template::names(path).filter(is_of_record).find(|name| !names.has(name)) {
        return Err(SyncError::internal(format!("a record without \"{name}\" has no children's address")));
    }
    let below = Collection {
        path: Some(path.to_string()),
        params: params.clone(),
        pages: Some(pages.clone()),
        base_url: base.base_url.clone(),
        ..Collection::default()
    };
    request_with(account, &below, &[], &names, None)
}

/// The request of one record by the values of its key. `None` when no record can have such a key.
pub fn by_key(collection: &Collection, value: impl Fn(&str) -> Option<String>) -> Option<Request> {
    let filled = template::fill(collection.by_key.as_deref()?, |name| {
        if !is_column(collection, name) {
            // A setting: filled when the call is made.
            return Some(format!("{{{name}}}").into());
        }
        // A segment of dots would climb out of its folder.
        let text = value(name).filter(|text| !matches!(text.as_str(), "" | "." | ".."))?;
        Some(encode_segment(&text).into())
    });
    // An unset name makes `fill` fail: then there is no such record.
    let base = collection.base_url.clone();
    Some(Request { target: filled.ok().flatten()?, base, accept: vec![404], ..Request::default() })
}

/// Whether a name in `by_key` is a column; others are settings.
fn is_column(collection: &Collection, name: &str) -> bool {
    collection.column(name).is_some() || collection.primary_key.iter().any(|k| k == name)
}

/// The columns whose values `by_key` needs.
pub fn key_columns(collection: &Collection) -> Vec<&str> {
    let names = collection.by_key.as_deref().map(template::names);
    names.into_iter().flatten().filter(|name| is_column(collection, name)).collect()
}

/// The text of a column's field in a record; `None` for null or nothing.
pub fn column_text(collection: &Collection, raw: &str, name: &str) -> Option<String> {
    let path = collection.column(name).map_or_else(|| field_path(name), |c| c.path());
    at_path(raw, &path).filter(|v| *v != "null").map(|v| string_of(v).into_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_where_their_place_is() {
        let mut request =
            Request { json_body: Some(serde_json::json!({"q": [{"v": 1}], "p": null})), ..Request::default() };
        put(&mut request, "limit", 5.into());
        put(&mut request, "limit", "6".into());
        put(&mut request, "/q/0/v", "x".into());
        put(&mut request, "/p/after", "t".into());
        put(&mut request, "/q/7/v", "nowhere".into());
        assert_eq!(request.query, [("limit".to_string(), "6".to_string())]);
        assert_eq!(request.json_body, Some(serde_json::json!({"q": [{"v": "x"}], "p": {"after": "t"}})));
    }
}
