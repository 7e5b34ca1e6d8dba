//! Decides what a query answers: its fields, its pages, and the cursors behind `nextRecordsUrl`.
//!
//! A cursor keeps which records were found, not their values: a record changed or gone between two pages is seen so.

use std::collections::VecDeque;

use super::eval::{self, Refusal};
use super::record::Record;
use super::schema::Object;
use super::soql::{self, Select};
use super::{refuse, Call, Salesforce};
use crate::http::Reply;
use crate::store::Row;

/// As many cursors as are kept; older ones are forgotten and answer INVALID_QUERY_LOCATOR.
const KEPT: usize = 500;

struct Cursor {
    id: String,
    object: usize,
    places: Vec<usize>,
    slots: Vec<u32>,
    batch: usize,
    with_deleted: bool,
}

#[derive(Default)]
pub struct Cursors {
    all: VecDeque<Cursor>,
    made: u64,
}

/// A query that was understood and run.
pub struct Found {
    pub object: usize,
    pub places: Vec<usize>,
    pub slots: Vec<u32>,
    pub is_count: bool,
}

/// Writes a record as REST does: `attributes`, then the fields asked for.
pub fn render(object: &Object, record: &Record, places: &[usize], version: &str, out: &mut String) {
    let (name, id) = (object.name.as_str(), record.id());
    for part in [
        "{\"attributes\":{\"type\":\"",
        name,
        "\",\"url\":\"/services/data/",
        version,
        "/sobjects/",
        name,
        "/",
        id,
        "\"}",
    ] {
        out.push_str(part);
    }
    for at in places {
        let field = &object.fields[*at];
        out.push_str(",\"");
        out.push_str(&field.name);
        out.push_str("\":");
        let value = record.value(*at);
        if field.kind == "base64" && value != "null" {
            for part in ["\"/services/data/", version, "/sobjects/", name, "/", id, "/", &field.name, "\""] {
                out.push_str(part);
            }
        } else {
            out.push_str(value);
        }
    }
    out.push('}');
}

impl Salesforce {
    /// Understands and runs a SOQL text, as the user may.
    pub(super) fn find(&self, call: &Call<'_>, text: &str, with_deleted: bool) -> Result<Found, (u16, Refusal)> {
        let query = soql::parse(text).map_err(|message| (400, ("MALFORMED_QUERY", message)))?;
        let Some(at) = self.visible(&query.object, call.config) else {
            let name = &query.object;
            let message = format!(
                "\n{text}\n^\nERROR at Row:1:Column:1\nsObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to append \
                 the '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate names."
            );
            return Err((400, ("INVALID_TYPE", message)));
        };
        let object = &self.objects[at];
        if !object.is_queryable {
            return Err((
                400,
                ("INVALID_TYPE_FOR_OPERATION", format!("entity type {} does not support query", object.name)),
            ));
        }
        if self.is_denied(object, call.config) {
            return Err((403, ("INSUFFICIENT_ACCESS", "insufficient access rights on cross-reference id".to_string())));
        }
        let mut places = Vec::new();
        match &query.select {
            Select::Count => {}
            Select::Group(group) => {
                let wanted = |custom: bool| group == "ALL" || (group == "CUSTOM") == custom;
                places.extend((0..object.fields.len()).filter(|at| {
                    let field = &object.fields[*at];
                    !field.is_hidden && wanted(field.name.ends_with("__c"))
                }));
            }
            Select::Fields(names) => {
                for name in names {
                    let place = object.visible(name).ok_or_else(|| (400, eval::no_such_column(object, name)))?;
                    if places.contains(&place) {
                        return Err((400, ("INVALID_FIELD", format!("duplicate field selected: {name}"))));
                    }
                    places.push(place);
                }
            }
        }
        let slots = eval::run(object, &query, with_deleted).map_err(|refusal| (400, refusal))?;
        Ok(Found { object: at, places, slots, is_count: query.select == Select::Count })
    }

    /// `GET /query?q=` and `GET /queryAll?q=`.
    pub(super) fn query(&mut self, call: &Call<'_>, with_deleted: bool) -> Reply {
        let Some(text) = call.request.param("q") else {
            return refuse(400, "MALFORMED_QUERY", "A query string has to be specified");
        };
        let found = match self.find(call, &text, with_deleted) {
            Ok(found) => found,
            Err((status, (code, message))) => return refuse(status, code, &message),
        };
        if found.is_count {
            return Reply::json(200, format!("{{\"totalSize\":{},\"done\":true,\"records\":[]}}", found.slots.len()));
        }
        let asked = call.request.header("sforce-query-options").and_then(|o| {
            let size = o
                .split(',')
                .find_map(|part| part.trim().to_ascii_lowercase().strip_prefix("batchsize=").map(str::to_string))?;
            size.trim().parse::<usize>().ok()
        });
        let mut batch = asked.unwrap_or(2000).clamp(200, 2000);
        if call.config.page_size > 0 {
            batch = batch.min(call.config.page_size);
        }
        let Found { object, places, slots, .. } = found;
        self.cursors.made += 1;
        let id = format!("01g5g{:010}SIM", self.cursors.made);
        if self.cursors.all.len() == KEPT {
            self.cursors.all.pop_front();
        }
        self.cursors.all.push_back(Cursor { id: id.clone(), object, places, slots, batch, with_deleted });
        self.page(call, self.cursors.all.len() - 1, 0)
    }

    /// `GET /query/{locator}`: a locator is a cursor and an offset, with `-r` after a page that a fault repeats.
    pub(super) fn next_page(&mut self, call: &Call<'_>, locator: &str) -> Reply {
        let mut parts = locator.split('-');
        let (id, offset) = (parts.next().unwrap_or(""), parts.next().and_then(|o| o.parse::<usize>().ok()));
        let at = self.cursors.all.iter().position(|c| c.id == id);
        match (at, offset) {
            (Some(at), Some(offset)) if offset <= self.cursors.all[at].slots.len() => self.page(call, at, offset),
            _ => refuse(400, "INVALID_QUERY_LOCATOR", "invalid query locator"),
        }
    }

    fn page(&self, call: &Call<'_>, at: usize, offset: usize) -> Reply {
        let cursor = &self.cursors.all[at];
        let object = &self.objects[cursor.object];
        let total = cursor.slots.len();
        let end = (offset + cursor.batch).min(total);
        let mut text = format!("{{\"totalSize\":{total},\"done\":{},", end == total);
        if end < total {
            text.push_str(&format!(
                "\"nextRecordsUrl\":\"/services/data/{}/query/{}-{end}\",",
                call.version, cursor.id
            ));
        }
        text.push_str("\"records\":[");
        let mut is_first = true;
        for slot in &cursor.slots[offset..end] {
            let Some(record) = object.table.at(*slot).filter(|r| cursor.with_deleted || !r.is_deleted) else {
                continue;
            };
            if !is_first {
                text.push(',');
            }
            is_first = false;
            render(object, record, &cursor.places, call.version, &mut text);
        }
        text.push_str("]}");
        Reply { locator: Some(cursor.id.clone()), ..Reply::json(200, text) }
    }
}
