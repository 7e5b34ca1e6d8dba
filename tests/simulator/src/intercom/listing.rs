//! Decides what a page of a cursor listing is: the order, where a page begins, and what `pages` says.
//!
//! A cursor is a place in the order (the value sorted by and the id), as in a search index: records that move while the
//! listing is read can come twice or not at all.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{json, Map, Value};

use super::query::{Of, Query, Zone};
use super::wire::{cursor, invalid, parse_cursor};
use super::Workspace;
use crate::app::Call;
use crate::http::Reply;
use crate::rest::{page, Record};

pub const MOST_A_PAGE: usize = 150;

/// What a listing is asked for.
pub struct Ask {
    pub per_page: usize,
    pub after: Option<(Value, String, usize)>,
    /// The member sorted by, and whether the largest comes first.
    pub sort: (String, bool),
}

impl Ask {
    fn new(per_page: Option<i64>, default: usize, after: Option<String>, sort: (String, bool)) -> Result<Ask, Reply> {
        let per_page = match per_page {
            None => default,
            Some(size) if (1..=MOST_A_PAGE as i64).contains(&size) => size as usize,
            Some(size) => return Err(invalid(&format!("per_page is {size}, it must be between 1 and {MOST_A_PAGE}"))),
        };
        let after = match after.filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(parse_cursor(&text).ok_or_else(|| invalid("starting_after is not a valid cursor"))?),
        };
        Ok(Ask { per_page, after, sort })
    }

    /// Of a GET list.
    pub fn of_list(call: &Call<'_>, default: usize, sort: &str) -> Result<Ask, Reply> {
        let per_page = match call.request.param("per_page") {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| invalid("per_page must be a number"))?),
        };
        Ask::new(per_page, default, call.request.param("starting_after"), (sort.into(), true))
    }

    /// Of a search's body.
    pub fn of_search(body: &Map<String, Value>, default: usize, sort: &str) -> Result<Ask, Reply> {
        let pagination = body.get("pagination").cloned().unwrap_or_default();
        let per_page = pagination["per_page"].as_i64();
        let after = pagination["starting_after"].as_str().map(str::to_string);
        let sort = match body.get("sort") {
            None | Some(Value::Null) => (sort.to_string(), true),
            Some(given) => {
                let field = given["field"].as_str().ok_or_else(|| invalid("sort needs a field"))?;
                match given["order"].as_str().unwrap_or("descending") {
                    "ascending" => (field.to_string(), false),
                    "descending" => (field.to_string(), true),
                    other => return Err(invalid(&format!("{other} is not an order"))),
                }
            }
        };
        Ask::new(per_page, default, after, sort)
    }
}

/// A member in the order of the index, read once: what is not set comes first.
#[derive(Debug, Clone, PartialEq)]
enum Key {
    Unset,
    Flag(bool),
    Number(f64),
    Text(String),
}

impl Key {
    fn of(value: Option<&Value>) -> Key {
        match value {
            Some(Value::Bool(flag)) => Key::Flag(*flag),
            Some(Value::Number(number)) => Key::Number(number.as_f64().unwrap_or(0.0)),
            Some(Value::String(text)) => Key::Text(text.clone()),
            _ => Key::Unset,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Key::Unset => 0,
            Key::Flag(_) => 1,
            Key::Number(_) => 2,
            Key::Text(_) => 3,
        }
    }

    fn order(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Flag(l), Key::Flag(r)) => l.cmp(r),
            (Key::Number(l), Key::Number(r)) => l.partial_cmp(r).unwrap_or(Ordering::Equal),
            (Key::Text(l), Key::Text(r)) => l.cmp(r),
            (l, r) => l.rank().cmp(&r.rank()),
        }
    }
}

/// A page of records: those on it, and the members `total_count` and `pages`.
pub struct Page {
    pub records: Vec<Arc<Record>>,
    pub total: usize,
    pub pages: Value,
}

pub fn page(call: &Call<'_>, records: Vec<Arc<Record>>, ask: &Ask) -> Page {
    let (field, falls) = (&ask.sort.0, ask.sort.1);
    let compare = |left: (&Key, &str), right: (&Key, &str)| {
        let by = left.0.order(right.0).then_with(|| left.1.cmp(right.1));
        if falls {
            by.reverse()
        } else {
            by
        }
    };
    let mut keyed: Vec<(Key, Arc<Record>)> =
        records.into_iter().map(|record| (Key::of(record.fields.get(field)), record)).collect();
    keyed.sort_by(|(left, l), (right, r)| compare((left, &l.id), (right, &r.id)));
    let (from, number) = match &ask.after {
        Some((at, id, number)) if !id.is_empty() => {
            let at = Key::of(Some(at));
            let is_before =
                |(key, record): &(Key, Arc<Record>)| compare((key, &record.id), (&at, id)) != Ordering::Greater;
            (keyed.partition_point(is_before), *number)
        }
        _ => (0, 1),
    };
    let records: Vec<Arc<Record>> = keyed.into_iter().map(|(_, record)| record).collect();
    let size = call.config.page_of(ask.per_page, MOST_A_PAGE);
    let shown = page::slice(&records, from, size).to_vec();
    let mut pages = json!({"type": "pages"});
    if let (Some(last), true) = (shown.last(), from + shown.len() < records.len()) {
        let value = last.fields.get(field).cloned().unwrap_or_default();
        let after = cursor(&value, &last.id, number + 1);
        pages["next"] = json!({"page": number + 1, "per_page": ask.per_page, "starting_after": after});
    }
    pages["page"] = json!(number);
    pages["per_page"] = json!(ask.per_page);
    pages["total_pages"] = json!(records.len().div_ceil(size));
    Page { records: shown, total: records.len(), pages }
}

impl Workspace {
    pub fn zone(&self, call: &Call<'_>) -> Zone {
        Zone { offset_s: call.config.number("utc_offset_minutes") * 60 }
    }

    /// The records a search's body finds among these, and what it asks for.
    pub fn found(
        &self,
        call: &Call<'_>,
        of: Of,
        default: usize,
        mut records: Vec<Arc<Record>>,
    ) -> Result<(Vec<Arc<Record>>, Ask), Reply> {
        let body: Map<String, Value> = match serde_json::from_slice(&call.request.body) {
            Ok(Value::Object(body)) => body,
            _ => return Err(super::wire::refuse(400, "bad_request", "bad 'Content-Type': the body is not JSON")),
        };
        let model = if of == Of::Contacts { "contact" } else { "conversation" };
        let query = match body.get("query") {
            None | Some(Value::Null) => return Err(invalid("query is missing")),
            Some(query) => Query::read(of, query, &|name| self.custom_type(model, name)).map_err(|e| invalid(&e))?,
        };
        let ask = Ask::of_search(&body, default, "created_at")?;
        let zone = self.zone(call);
        records.retain(|record| query.matches(&record.fields, zone));
        Ok((records, ask))
    }
}
