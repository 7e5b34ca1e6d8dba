//! Plays Marketo: the identity endpoint, the lead database, the asset API and bulk extracts.
//!
//! Written from Adobe's developer guide (experienceleague.adobe.com/docs/marketo-developer) and its Swagger files
//! (AdobeDocs/marketo-apis). Paths below `/identity`, `/rest` and `/bulk` of one host. Messages of errors are our own words
//! where the documentation gives only a code.
//!
//! A lead that is made, changed or deleted notes that in the activity log itself. Control calls of its own:
//! `POST /marketo/fields/{name}` `{"dataType","displayName"}` adds a custom lead field, `DELETE` hides any;
//! `POST /marketo/lists/{id}/members` `{"lead_ids"}`; `POST /marketo/token`, `DELETE /marketo/tokens` (ends them),
//! `GET /marketo/tokens` (how many were granted). `lead_activity_attributes` and `lead_activity_type_attributes` have a
//! ledger and a count only.

mod activities;
mod answers;
mod assets;
mod bulk;
mod csv;
mod drafts;
mod exports;
mod fields;
mod identity;
mod leads;
mod routes;
#[cfg(test)]
mod tests;
mod tokens;
mod types;

use std::collections::{BTreeSet, HashMap};

use serde_json::{json, Map, Value};

use crate::app::{bad, missing, Answer, App, Ask, Call, Happened};
use crate::chance::Chance;
use crate::http::{Reply, Request};
use crate::rest::rate::Windows;
use crate::rest::time::Form;
use crate::rest::{auth, crud, Book, Kind, Stamp, When};
use answers::{error, Error};
use drafts::FIRST_ID;
use fields::Fields;
use identity::Tokens;
use routes::collection_of;

/// What the rate limit counts: calls in so many milliseconds.
const RATE_MS: i64 = 20_000;

/// Longer addresses are refused with 414 (docs: /error-codes).
const LONGEST_URI: usize = 8192;

const fn kind(name: &'static str, form: Form) -> Kind {
    Kind {
        name,
        key: &["id"],
        created: Some(Stamp("createdAt", form)),
        updated: Some(Stamp("updatedAt", form)),
        parent: None,
    }
}

fn kinds() -> [Kind; 10] {
    let (plain, asset) = (Form::Iso, Form::IsoBothOffsets);
    let bare = |name| Kind { created: None, updated: None, ..kind(name, plain) };
    [
        kind("leads", plain),
        kind("lists", plain),
        kind("campaigns", plain),
        kind("programs", asset),
        kind("email", asset),
        kind("landing_pages", asset),
        kind("segmentation", asset),
        Kind { parent: Some("segmentationId"), ..kind("segments", asset) },
        bare("lead_activity_types"),
        Kind { key: &["marketoGUID"], updated: Some(Stamp("activityDate", plain)), ..bare("lead_activities") },
    ]
}

pub struct Marketo {
    book: Book,
    fields: Fields,
    tokens: Tokens,
    chance: Chance,
    seed: u64,
    exports: exports::Exports,
    rate: Windows,
    requests: u64,
    /// Leads of each static list.
    members: HashMap<String, BTreeSet<u64>>,
    /// What each Change Data Value changed, by the number of the activity.
    changes: HashMap<u64, Value>,
    /// When custom fields of a lead were last changed, which its `updatedAt` does not show.
    custom_changes: HashMap<String, i64>,
}

pub fn new(seed: u64) -> Box<dyn App> {
    Box::new(Marketo::new(seed))
}

impl Marketo {
    fn new(seed: u64) -> Marketo {
        let mut book = Book::new(&kinds());
        for told in types::standard() {
            let fields = told.as_object().cloned().unwrap_or_default();
            let _ = book.add("lead_activity_types", fields, When::now(0));
        }
        Marketo {
            book,
            fields: Fields::default(),
            tokens: Tokens::default(),
            chance: Chance::new(seed, "marketo"),
            seed,
            exports: exports::Exports::default(),
            rate: Windows::default(),
            requests: 0,
            members: HashMap::new(),
            changes: HashMap::new(),
            custom_changes: HashMap::new(),
        }
    }

    fn new_uuid(&mut self) -> String {
        let hex = format!("{:016x}{:016x}", self.chance.next(), self.chance.next());
        format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
    }

    /// What refuses a call before its endpoint sees it.
    fn check(&mut self, call: &Call<'_>, credential: &str) -> Result<(), Error> {
        let config = call.config;
        match credential {
            // The query parameter of old was switched off on 2026-08-31: it counts as no token.
            "none" => return error("600", "Access token not specified"),
            "expired" => return error("602", "Access token expired"),
            "valid" => {}
            _ => return error("601", "Access token invalid"),
        }
        let limit = config.size("calls_per_20_seconds") as u64;
        if call.is_over_rate || self.rate.take("calls", limit, RATE_MS, call.now_ms).is_over {
            let limit = if limit == 0 { 100 } else { limit };
            return error("606", format!("Max rate limit '{limit}' exceeded with in '20' secs"));
        }
        let quota = config.size("daily_quota") as u64;
        if quota > 0 && call.calls > quota {
            return error("607", format!("Daily quota '{quota}' reached"));
        }
        let most = config.size("concurrent_calls") as u64;
        if most > 0 && call.in_flight > most {
            return error("615", "Concurrent access limit reached");
        }
        Ok(())
    }
}

impl App for Marketo {
    fn answer(&mut self, call: &Call<'_>) -> Reply {
        self.requests += 1;
        self.book.publish(call.now_ms);
        self.write_exports(call.now_ms);
        let request = call.request;
        if request.path.len() + request.query.len() > LONGEST_URI {
            return Reply::empty(414);
        }
        if request.path == "/identity/oauth/token" {
            return self.identity(call);
        }
        let credential = self.tokens.check(auth::bearer(request), call.now_ms);
        let request_id = format!("{:x}#{:x}", 0x1000 + self.requests, call.now_ms);
        if let Err(refusal) = self.check(call, credential) {
            return Reply { credential, ..answers::reply(Err(refusal), &request_id) };
        }
        let parts: Vec<&str> = request.path.split('/').filter(|p| !p.is_empty()).collect();
        let reply = match parts.as_slice() {
            ["bulk", "v1", what @ ("leads" | "activities"), "export", id, "file.json"] if request.method == "GET" => {
                match call.config.denies(&[collection_of(&parts)]) {
                    true => answers::reply(error("603", "Access denied"), &request_id),
                    false => self.export_file(what, id, request, call.now_ms),
                }
            }
            _ => answers::reply(self.rest(call), &request_id),
        };
        Reply { credential, ..reply }
    }

    fn knobs(&self) -> Value {
        json!({
            "client_id": "sim-client",
            "client_secret": "sim-secret",
            "token_lifetime_seconds": 3600,
            // The three limits of the real instance are 100, 50000 and 10; 0 is none.
            "calls_per_20_seconds": 0,
            "daily_quota": 0,
            "concurrent_calls": 0,
            // How much of the log one call looks through; 0 is three pages.
            "activity_stretch": 0,
            "updated_at_filter": true,
            "export_queue_ms": 100,
            "export_run_ms": 200,
            // 60000 in the real instance: the status moves once a minute.
            "export_refresh_ms": 0,
            "export_daily_bytes": 500_000_000,
            // The message that jobs enqueued from now on end with.
            "export_failure": "",
        })
    }

    fn counts(&self, request: &Request) -> bool {
        !request.path.starts_with("/identity")
    }

    fn book(&mut self) -> Option<&mut Book> {
        Some(&mut self.book)
    }

    fn draft(
        &mut self,
        collection: &str,
        number: u64,
        at_ms: i64,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, String> {
        let mut chance = Chance::new(self.seed ^ number.rotate_left(20), collection);
        let id = given.get("id").and_then(Value::as_u64).unwrap_or(FIRST_ID + number);
        let mut record = match collection {
            "leads" => drafts::lead(id, at_ms, &mut chance),
            "lead_activities" => {
                let moment = given.get("id").and_then(Value::as_u64).unwrap_or(number + 1);
                let leads = self.book.made("leads").max(1);
                let type_id = types::SEEDED[(chance.below(12).min(chance.below(12))) as usize];
                let type_id = given.get("activityTypeId").and_then(Value::as_i64).unwrap_or(type_id);
                drafts::activity(moment, FIRST_ID + chance.below(leads), type_id, at_ms)
            }
            _ => {
                let parent = match (collection, given.get("segmentationId").and_then(Value::as_u64)) {
                    ("segments", Some(parent)) => parent,
                    ("segments", None) => match self.book.made("segmentation") {
                        0 => return Err("a segment needs a segmentation".into()),
                        made => FIRST_ID + number % made,
                    },
                    _ => 0,
                };
                let made = drafts::other(collection, id, number, at_ms, parent, &mut chance);
                made.ok_or(format!("{collection} cannot be created"))?
            }
        };
        if let Some(unknown) = given.keys().find(|name| collection == "leads" && self.fields.get(name).is_none()) {
            return Err(format!("leads have no field {unknown}"));
        }
        crud::merge(&mut record, given);
        Ok(record)
    }

    fn happened(&mut self, change: &Happened<'_>) {
        if change.collection != "leads" {
            return;
        }
        match (change.before, change.after) {
            (None, Some(lead)) => {
                let created = When { at_ms: lead.created_ms, ..change.when };
                self.note(lead, types::NEW_LEAD, json!({}), created);
            }
            (Some(before), Some(after)) if after.is_deleted() && !before.is_deleted() => {
                let details = json!({"primaryAttributeValueId": after.get("id"), "attributes": [],
                    "primaryAttributeValue": format!("{} {}", after.text("firstName"), after.text("lastName"))});
                self.note(after, types::DELETE_LEAD, details, change.when);
            }
            (Some(before), Some(after)) if !change.when.is_silent => self.note_changes(before, after, change.when),
            _ => {}
        }
    }

    fn control(&mut self, ask: &Ask<'_>, parts: &[&str]) -> Option<Answer> {
        let text = |name: &str| ask.body.get(name).and_then(Value::as_str).unwrap_or("");
        Some(match (ask.request.method.as_str(), parts) {
            ("POST", ["token"]) => {
                let fresh = format!("{}:sj", self.new_uuid());
                let lifetime_s = ask.config.number("token_lifetime_seconds");
                let (token, _) = self.tokens.grant(fresh, lifetime_s, ask.now_ms);
                Ok(json!({"access_token": token}).to_string())
            }
            ("DELETE", ["tokens"]) => {
                self.tokens.end();
                Ok(json!({"ok": true}).to_string())
            }
            ("GET", ["tokens"]) => Ok(json!({"granted": self.tokens.granted}).to_string()),
            ("POST", ["fields", name]) => {
                let data_type = Some(text("dataType")).filter(|t| !t.is_empty()).unwrap_or("string");
                let made = self.fields.define(name, text("displayName"), data_type);
                made.map(|field| field.to_string()).map_err(bad)
            }
            ("DELETE", ["fields", name]) => {
                self.fields.hide(name).map(|()| json!({"ok": true}).to_string()).map_err(missing)
            }
            ("POST", ["lists", id, "members"]) => {
                let ids = ask.body.get("lead_ids").and_then(Value::as_array);
                let Some(ids) = ids else { return Some(Err(bad("lead_ids must be a list of ids"))) };
                let ids: BTreeSet<u64> = ids.iter().filter_map(Value::as_u64).collect();
                self.members.insert((*id).to_string(), ids);
                Ok(json!({"ok": true}).to_string())
            }
            _ => return None,
        })
    }

    fn seed(&mut self, ask: &mut Ask<'_>) -> Answer {
        let made = crud::seed(self, ask)?;
        let leads = self.book.all_latest("leads");
        for (n, list) in self.book.all_latest("lists").iter().enumerate() {
            let members = leads.iter().skip(n % 3).step_by(3).map(|lead| lead.number_of("id") as u64);
            self.members.entry(list.id.to_string()).or_insert_with(|| members.collect());
        }
        Ok(made)
    }

    fn change(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        if collection != "leads" {
            return crud::change(self, ask, collection, id);
        }
        if let Some(unknown) = ask.body.keys().find(|name| self.fields.get(name).is_none()) {
            return Err(bad(format!("leads have no field {unknown}")));
        }
        let is_custom = |name: &String| self.fields.get(name).is_some_and(|field| field.is_custom);
        if ask.body.is_empty() || ask.flag("silent") || !ask.body.keys().all(is_custom) {
            return crud::change(self, ask, collection, id);
        }
        // updatedAt reflects updates to standard fields only (docs: /bulk-lead-extract, Filters).
        let Some(before) = self.book.latest(collection, id) else {
            return Err(bad(format!("{collection} has no {id}")));
        };
        let when = When { at_ms: ask.now_ms, due_ms: ask.due_ms(), is_silent: true };
        let edited = self.book.edit(collection, id, when, |record| crud::merge(&mut record.fields, &ask.body));
        let after = edited.map_err(bad)?;
        self.custom_changes.insert(id.to_string(), ask.now_ms);
        self.note_changes(&before, &after, When { is_silent: false, ..when });
        Ok(after.json().to_string())
    }

    fn ledger(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        let Some(parents) = parents_of(collection) else { return crud::ledger(self, ask, collection) };
        let rows = self.book.all_latest(parents).into_iter().flat_map(|parent| {
            let elements = parent.get("attributes").as_array().cloned().unwrap_or_default();
            let row = |element: Value| {
                let name = element["name"].as_str().unwrap_or("").to_string();
                let record = match collection {
                    "lead_activity_attributes" => json!({"activity_id": parent.get("marketoGUID"),
                        "activity_type_id": parent.get("activityTypeId"), "name": name, "value": element["value"]}),
                    _ => json!({"activity_type_id": parent.get("id"), "name": name, "data_type": element["dataType"]}),
                };
                json!({"id": format!("{}:{name}", parent.id), "version": parent.version,
                    "deleted": parent.is_deleted(), "changed_at": parent.updated_ms, "record": record})
            };
            elements.into_iter().map(row).collect::<Vec<Value>>()
        });
        Ok(Value::Array(rows.collect()).to_string())
    }

    fn count(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        if parents_of(collection).is_none() {
            return crud::count(self, collection);
        }
        let rows: Vec<Value> = serde_json::from_str(&self.ledger(ask, collection)?).map_err(|e| bad(e.to_string()))?;
        let deleted = rows.iter().filter(|row| row["deleted"] == true).count();
        Ok(json!({"count": rows.len() - deleted, "deleted": deleted, "total": rows.len()}).to_string())
    }

    fn error_body(&self, status: u16) -> String {
        let (code, message) = match status {
            401 => ("601", "Access token invalid"),
            403 => ("603", "Access denied"),
            404 => ("610", "Requested resource not found"),
            408 | 504 => ("604", "Request timed out"),
            429 => ("606", "Max rate limit '100' exceeded with in '20' secs"),
            502 => ("502", "Bad Gateway"),
            503 => ("608", "API Temporarily Unavailable"),
            _ => ("611", "System error"),
        };
        json!({"requestId": "sim#fault", "success": false, "errors": [{"code": code, "message": message}]}).to_string()
    }

    fn list_name(&self, _request: &Request) -> String {
        "result".into()
    }

    fn place_params(&self) -> &'static [&'static str] {
        &["nextPageToken", "offset"]
    }

    /// An emptied page of a list with tokens leads to itself, as a stretch of the log without a hit leads on.
    fn lead_on(&self, is_empty: bool, request: &Request, _reply: &Reply, body: &mut Value) {
        if let (true, Some(token)) = (is_empty, request.param("nextPageToken")) {
            body["nextPageToken"] = json!(token);
            body["moreResult"] = json!(true);
        }
    }
}

/// The collection whose records hold the elements of this one.
fn parents_of(collection: &str) -> Option<&'static str> {
    match collection {
        "lead_activity_attributes" => Some("lead_activities"),
        "lead_activity_type_attributes" => Some("lead_activity_types"),
        _ => None,
    }
}
