//! Decides what a page of an edge is: `data`, the cursors of both ends, and a link where there is more.
//!
//! The last page has cursors and no `next`; a list without any object has no `paging` at all. The link repeats the request's
//! parameters, the access token among them if that came as one, but not `appsecret_proof`: whoever follows it adds that anew
//! (developers.facebook.com/docs/graph-api/results).

use serde_json::{json, Value};

use super::errors::Refusal;
use crate::http::Request;
use crate::rest::page;

pub const DEFAULT: usize = 25;
const MOST: usize = 5000;

/// How many a page may have: `limit`, cut to what the edge gives.
pub fn limit(text: Option<String>) -> Result<usize, Refusal> {
    let Some(text) = text else { return Ok(DEFAULT) };
    match text.parse::<usize>() {
        Ok(limit) if limit > 0 => Ok(limit.min(MOST)),
        _ => Err(Refusal::param("param limit must be an integer greater than 0.")),
    }
}

/// Where a page lies in a list of so many: from and to. `place` finds the position a cursor means.
pub fn range(
    request: &Request,
    total: usize,
    size: usize,
    place: impl Fn(&Value) -> Option<usize>,
) -> Result<(usize, usize), Refusal> {
    let read = |name: &str| -> Result<Option<usize>, Refusal> {
        let Some(text) = request.param(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let found = page::read_cursor(&text).and_then(|value| place(&value));
        found.map(Some).ok_or_else(|| Refusal::param("Invalid cursors values"))
    };
    if let Some(before) = read("before")? {
        let end = before.min(total);
        return Ok((end.saturating_sub(size), end));
    }
    let from = read("after")?.map_or(0, |at| (at + 1).min(total));
    Ok((from, (from + size).min(total)))
}

/// The page as it is sent. `cursor` names the place of a record of the page.
pub fn body(
    request: &Request,
    data: Vec<Value>,
    (from, to): (usize, usize),
    total: usize,
    cursor: impl Fn(usize) -> Value,
) -> Value {
    if data.is_empty() {
        return json!({"data": []});
    }
    let (first, last) = (page::cursor(&cursor(from)), page::cursor(&cursor(to - 1)));
    let link = |name: &str, value: &str| {
        let other = if name == "after" { "before" } else { "after" };
        page::link_with(request, &[("appsecret_proof", None), (other, None), (name, Some(value))])
    };
    let mut paging = json!({"cursors": {"before": first, "after": last}});
    if to < total {
        paging["next"] = json!(link("after", &last));
    }
    if from > 0 {
        paging["previous"] = json!(link("before", &first));
    }
    json!({"data": data, "paging": paging})
}
