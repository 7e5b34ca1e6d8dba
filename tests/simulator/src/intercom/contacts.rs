//! Decides what the contact endpoints answer. Users and leads are one resource, told apart by their role.

use std::sync::Arc;

use serde_json::{json, Value};

use super::listing::{page, Ask};
use super::query::Of;
use super::wire::refuse;
use super::Workspace;
use crate::app::Call;
use crate::http::Reply;
use crate::rest::Record;

/// Lists inside a contact hold so many; the rest is behind their URL.
const EMBEDDED: usize = 10;
/// The collections that together are the contacts.
pub const ROLES: [&str; 2] = ["users", "contacts"];
/// Members of a record that the API does not show.
const HIDDEN: [&str; 4] = ["company_ids", "tag_ids", "segment_ids", "note_ids"];

fn ids(record: &Record, name: &str) -> Vec<String> {
    let list = record.get(name).as_array();
    list.into_iter().flatten().filter_map(|id| id.as_str().map(str::to_string)).collect()
}

fn user_not_found() -> Reply {
    refuse(404, "not_found", "User Not Found")
}

impl Workspace {
    /// Contacts as the search index shows them, of both roles.
    fn indexed(&self) -> Vec<Arc<Record>> {
        ROLES.iter().flat_map(|role| self.book.listed(role)).collect()
    }

    /// Contacts as they are.
    fn contacts(&self) -> Vec<Arc<Record>> {
        let all = ROLES.iter().flat_map(|role| self.book.all_latest(role));
        all.filter(|record| !record.is_deleted()).collect()
    }

    pub fn contact(&self, id: &str) -> Option<Arc<Record>> {
        ROLES.iter().find_map(|role| self.book.latest(role, id)).filter(|record| !record.is_deleted())
    }

    /// A contact as the API gives it.
    pub fn render_contact(&self, record: &Record) -> Value {
        let mut fields = record.fields.clone();
        HIDDEN.iter().for_each(|name| drop(fields.shift_remove(*name)));
        let folder = format!("/contacts/{}", record.id);
        let list = |name: &str, kind: &str| {
            let all = ids(record, &format!("{}_ids", kind));
            let data: Vec<Value> = all
                .iter()
                .take(EMBEDDED)
                .map(|id| {
                    let url = if kind == "company" { format!("/companies/{id}") } else { format!("/{name}/{id}") };
                    json!({"type": kind, "id": id, "url": url})
                })
                .collect();
            json!({
                "type": "list", "data": data, "url": format!("{folder}/{name}"), "total_count": all.len(),
                "has_more": all.len() > EMBEDDED,
            })
        };
        for (name, kind) in [("tags", "tag"), ("notes", "note"), ("companies", "company")] {
            fields.insert(name.into(), list(name, kind));
        }
        Value::Object(fields)
    }

    fn contact_list(&self, call: &Call<'_>, records: Vec<Arc<Record>>, ask: &Ask) -> Reply {
        let page = page(call, records, ask);
        let data: Vec<Value> = page.records.iter().map(|record| self.render_contact(record)).collect();
        let body = json!({"type": "list", "data": data, "total_count": page.total, "pages": page.pages});
        Reply::json(200, body.to_string())
    }

    /// `GET /contacts`.
    pub fn list_contacts(&self, call: &Call<'_>) -> Reply {
        match Ask::of_list(call, 10, "created_at") {
            Ok(ask) => self.contact_list(call, self.contacts(), &ask),
            Err(refusal) => refusal,
        }
    }

    /// `POST /contacts/search`: new contacts are missing for some minutes (`late_visibility_ms`).
    pub fn search_contacts(&self, call: &Call<'_>) -> Reply {
        match self.found(call, Of::Contacts, 50, self.indexed()) {
            Ok((records, ask)) => self.contact_list(call, records, &ask),
            Err(refusal) => refusal,
        }
    }

    pub fn get_contact(&self, id: &str) -> Reply {
        match self.contact(id) {
            Some(record) => Reply::json(200, self.render_contact(&record).to_string()),
            None => user_not_found(),
        }
    }

    /// `GET /contacts/{id}/companies`, `/tags`, `/segments`: all of them, with what they are.
    pub fn of_contact(&self, id: &str, what: &str) -> Reply {
        let Some(contact) = self.contact(id) else { return user_not_found() };
        let (collection, member) = match what {
            "companies" => ("companies", "company_ids"),
            "segments" => ("segments", "segment_ids"),
            _ => ("tags", "tag_ids"),
        };
        let data: Vec<Value> = ids(&contact, member)
            .iter()
            .filter_map(|id| self.book.latest(collection, id))
            .filter(|record| !record.is_deleted())
            .map(|record| record.json())
            .collect();
        let mut body = json!({"type": "list", "data": data});
        if what == "companies" {
            body["total_count"] = json!(data.len());
            body["pages"] = json!({"type": "pages", "next": null, "page": 1, "per_page": 50, "total_pages": 1});
        }
        Reply::json(200, body.to_string())
    }
}
