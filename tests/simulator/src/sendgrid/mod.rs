//! Plays Twilio SendGrid's v3 API: marketing contacts with their export jobs, lists, single sends, and what is left of the
//! legacy product (contactdb and campaigns).
//!
//! Written from the vendor's API reference and OpenAPI files (sendgrid/sendgrid-oai). Nothing tells of deletions. Exports are
//! of the contacts at the moment they are asked for; their links lead back to this host and need no key.

mod drafts;
mod exports;
#[cfg(test)]
mod tests;

use serde_json::{json, Map, Value};

use crate::app::{App, Call};
use crate::chance::Chance;
use crate::config::Config;
use crate::http::{Reply, Request};
use crate::rest::rate::{Spent, Windows};
use crate::rest::time::Form;
use crate::rest::{auth, crud, page, Book, Kind, Record, Stamp};
use exports::Export;

/// The sample of contacts the list endpoint gives, whatever there is.
const SAMPLE: usize = 50;
/// The stretch of time a rate counts.
const MINUTE_MS: i64 = 60_000;

const fn bare(name: &'static str) -> Kind {
    Kind { name, key: &["id"], created: None, updated: None, parent: None }
}

const fn stamped(name: &'static str, form: Form) -> Kind {
    Kind { created: Some(Stamp("created_at", form)), updated: Some(Stamp("updated_at", form)), ..bare(name) }
}

const KINDS: [Kind; 7] = [
    bare("mc_lists"),
    stamped("mc_contacts", Form::Iso),
    stamped("mc_single_sends", Form::Iso),
    bare("lists"),
    bare("segments"),
    stamped("recipients", Form::Unix),
    bare("campaigns"),
];

pub struct Sendgrid {
    book: Book,
    seed: u64,
    chance: Chance,
    exports: Vec<Export>,
    rate: Windows,
}

pub fn new(seed: u64) -> Box<dyn App> {
    Box::new(Sendgrid::new(seed))
}

fn error(field: Option<&str>, message: &str) -> String {
    json!({"errors": [{"field": field, "message": message}]}).to_string()
}

fn refuse(status: u16, field: Option<&str>, message: &str) -> Reply {
    Reply::json(status, error(field, message))
}

/// The collection a path belongs to; empty for none.
fn collection_of(path: &str) -> &'static str {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    match parts.as_slice() {
        ["v3", "marketing", "contacts", ..] => "mc_contacts",
        ["v3", "marketing", "lists", ..] => "mc_lists",
        ["v3", "marketing", "singlesends", ..] => "mc_single_sends",
        ["v3", "contactdb", "lists", ..] => "lists",
        ["v3", "contactdb", "segments", ..] => "segments",
        ["v3", "contactdb", "recipients", ..] => "recipients",
        ["v3", "campaigns", ..] => "campaigns",
        _ => "",
    }
}

/// A parameter that must be a whole number of at least `least`.
fn whole(request: &Request, name: &str, usual: usize, least: usize) -> Result<usize, Reply> {
    let Some(text) = request.param(name) else { return Ok(usual) };
    match text.parse::<usize>() {
        Ok(number) if number >= least => Ok(number),
        Ok(_) => Err(refuse(400, Some(name), &format!("{name} must be at least {least}"))),
        Err(_) => Err(refuse(400, Some(name), &format!("{name} is not a valid integer"))),
    }
}

impl Sendgrid {
    fn new(seed: u64) -> Sendgrid {
        let chance = Chance::new(seed, "sendgrid");
        Sendgrid { book: Book::new(&KINDS), seed, chance, exports: Vec::new(), rate: Windows::default() }
    }

    fn new_id(&mut self) -> String {
        let hex = format!("{:016x}{:016x}", self.chance.next(), self.chance.next());
        format!("{}-{}-4{}-9{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
    }

    /// What refuses a call before its endpoint sees it: the key, and the region it was made for.
    fn check(&self, call: &Call<'_>) -> (&'static str, Option<Reply>) {
        let credential = auth::judge(auth::bearer(call.request), call.config.text("api_key"));
        let revoked = "The provided authorization grant is invalid, expired, or revoked";
        match credential {
            "none" => (credential, Some(refuse(401, None, "authorization required"))),
            "wrong" => (credential, Some(refuse(401, None, revoked))),
            // A key of one region is none in the other. Any host but the real ones passes for the right one.
            _ if is_foreign(call.request, call.config.text("region")) => ("wrong", Some(refuse(401, None, revoked))),
            _ => (credential, None),
        }
    }

    fn respond(&mut self, call: &Call<'_>) -> Reply {
        let (request, config, now_ms) = (call.request, call.config, call.now_ms);
        let collection = collection_of(&request.path);
        let is_legacy = ["lists", "segments", "recipients", "campaigns"].contains(&collection);
        if config.denies(&[collection]) {
            return refuse(403, None, "access forbidden");
        }
        if is_legacy && !config.flag("legacy") {
            return match config.number("legacy_status") {
                404 => refuse(404, None, "not found"),
                _ => refuse(403, None, "access forbidden"),
            };
        }
        let parts: Vec<&str> = request.path.split('/').filter(|p| !p.is_empty()).collect();
        let outcome = match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["v3", "scopes"]) => Ok(json!({"scopes": scopes(config)})),
            ("GET", ["v3", "marketing", "contacts"]) => Ok(self.sample(request)),
            ("GET", ["v3", "marketing", "contacts", "count"]) => {
                let count = self.book.listed("mc_contacts").len();
                Ok(json!({"contact_count": count, "billable_count": count}))
            }
            ("POST", ["v3", "marketing", "contacts", "exports"]) => return self.start_export(call),
            ("GET", ["v3", "marketing", "contacts", "exports"]) => {
                let told: Vec<Value> = self.exports.iter().map(|e| e.told(&request.origin(), now_ms)).collect();
                Ok(json!({"result": told, "_metadata": {"self": page::link_with(request, &[])}}))
            }
            ("GET", ["v3", "marketing", "contacts", "exports", id]) => {
                let export = self.exports.iter().find(|e| e.id == *id);
                export.map(|e| e.told(&request.origin(), now_ms)).ok_or_else(|| refuse(404, None, "export not found"))
            }
            ("GET", ["v3", "marketing", "lists"]) => self.by_link(request, config, "mc_lists", 100, 1000),
            ("GET", ["v3", "marketing", "singlesends"]) => self.by_link(request, config, "mc_single_sends", 100, 100),
            ("GET", ["v3", "contactdb", name @ ("lists" | "segments")]) => Ok(json!({ *name: self.all(collection) })),
            ("GET", ["v3", "contactdb", "recipients"]) => self.recipients(request),
            ("GET", ["v3", "campaigns"]) => self.campaigns(request),
            ("GET", ["v3", "marketing" | "contactdb", _, id] | ["v3", "campaigns", id]) if !collection.is_empty() => {
                let found = self.book.find(collection, id).filter(|record| !record.is_deleted());
                found.map(|record| record.json()).ok_or_else(|| refuse(404, None, "resource not found"))
            }
            (_, _) if collection.is_empty() => Err(refuse(404, None, "not found")),
            (_, _) => Err(refuse(405, None, "method not allowed")),
        };
        outcome.map_or_else(|reply| reply, |body| Reply::json(200, body.to_string()))
    }

    fn all(&self, collection: &str) -> Vec<Value> {
        self.book.listed(collection).iter().map(|record| record.json()).collect()
    }

    /// The newest contacts, by e-mail address; there are no further pages.
    fn sample(&self, request: &Request) -> Value {
        let mut contacts = self.book.listed("mc_contacts");
        let count = contacts.len();
        contacts.sort_by_key(|contact| std::cmp::Reverse((contact.updated_ms, contact.number)));
        contacts.truncate(SAMPLE);
        contacts.sort_by(|a, b| a.text("email").cmp(b.text("email")));
        let result: Vec<Value> = contacts.iter().map(|c| self.linked(request, "contacts", c.json())).collect();
        json!({"result": result, "contact_count": count, "_metadata": {"self": page::link_with(request, &[])}})
    }

    /// A record with the link to itself.
    fn linked(&self, request: &Request, path: &str, mut record: Value) -> Value {
        let id = record["id"].as_str().unwrap_or("").to_string();
        record["_metadata"] = json!({"self": format!("{}/v3/marketing/{path}/{id}", request.origin())});
        record
    }

    /// Lists whose next page is a link in `_metadata`. It is left out on the last one.
    fn by_link(
        &self,
        request: &Request,
        config: &Config,
        collection: &str,
        usual: usize,
        most: usize,
    ) -> Result<Value, Reply> {
        let size = whole(request, "page_size", usual, 1)?;
        if size > most {
            return Err(refuse(400, Some("page_size"), &format!("page_size must not exceed {most}")));
        }
        let size = config.page_of(size, most);
        let records = self.book.listed(collection);
        // A token says where the page begins, by the number of its first record: what is deleted moves nothing.
        let start = match request.param("page_token").filter(|token| !token.is_empty()) {
            None => 0,
            Some(token) => match page::read_cursor(&token).and_then(|place| place.as_u64()) {
                Some(number) => records.partition_point(|record| record.number < number),
                None => return Err(refuse(400, Some("page_token"), "page_token is invalid")),
            },
        };
        let mut metadata = json!({"self": page::link_with(request, &[]), "count": records.len()});
        let link =
            |first: &Record| page::link_with(request, &[("page_token", Some(&page::cursor(&json!(first.number))))]);
        if let Some(first) = records.get(start + size) {
            metadata["next"] = json!(link(first));
        }
        if let Some(first) = records.get(start.saturating_sub(size)).filter(|_| start > 0) {
            metadata["prev"] = json!(link(first));
        }
        let shown = page::slice(&records, start, size).iter().map(|record| record.json());
        let result: Vec<Value> = match collection {
            "mc_lists" => shown.map(|record| self.linked(request, "lists", record)).collect(),
            _ => shown.collect(),
        };
        Ok(json!({"result": result, "_metadata": metadata}))
    }

    /// Pages by number; behind the last one there is a 404, and only that tells the end: pages may be empty before.
    fn recipients(&self, request: &Request) -> Result<Value, Reply> {
        let (number, size) = (whole(request, "page", 1, 1)?, whole(request, "page_size", 100, 1)?);
        if size > 1000 {
            return Err(refuse(400, Some("page_size"), "page_size must be between 1 and 1000"));
        }
        // A deleted recipient leaves its place on the page empty.
        let all = self.book.shown("recipients");
        if number > 1 && (number - 1) * size >= all.len() {
            return Err(refuse(404, None, "page not found"));
        }
        let part = page::slice(&all, (number - 1) * size, size);
        let recipients: Vec<Value> = part.iter().filter(|r| !r.is_deleted()).map(|r| r.json()).collect();
        Ok(json!({"recipients": recipients, "recipient_count": self.book.listed("recipients").len()}))
    }

    /// The newest first, by offset.
    fn campaigns(&self, request: &Request) -> Result<Value, Reply> {
        let (limit, offset) = (whole(request, "limit", 10, 1)?, whole(request, "offset", 0, 0)?);
        let mut all = self.all("campaigns");
        all.reverse();
        Ok(json!({"result": page::slice(&all, offset, limit)}))
    }

    /// `POST /v3/marketing/contacts/exports`: of everything, or of some lists or segments.
    fn start_export(&mut self, call: &Call<'_>) -> Reply {
        let (config, now_ms) = (call.config, call.now_ms);
        let body: Value = match call.request.body.is_empty() {
            true => json!({}),
            false => match serde_json::from_slice(&call.request.body) {
                Ok(body) => body,
                Err(_) => return refuse(400, None, "request body is not valid JSON"),
            },
        };
        let file_type = body["file_type"].as_str().unwrap_or("csv");
        if !["csv", "json"].contains(&file_type) {
            return refuse(400, Some("file_type"), "file_type must be csv or json");
        }
        let ids = |member: &str| -> Vec<Value> { body[member].as_array().cloned().unwrap_or_default() };
        let (lists, segments) = (ids("list_ids"), ids("segment_ids"));
        if let Some(unknown) = lists.iter().find(|id| self.book.find("mc_lists", id.as_str().unwrap_or("")).is_none()) {
            return refuse(400, Some("list_ids"), &format!("list {unknown} does not exist"));
        }
        let is_on = |contact: &Map<String, Value>, member: &str, wanted: &[Value]| {
            let has = contact.get(member).and_then(Value::as_array);
            has.is_some_and(|has| wanted.iter().any(|id| has.contains(id)))
        };
        let contacts: Vec<Map<String, Value>> = self
            .book
            .listed("mc_contacts")
            .iter()
            .map(|contact| contact.fields.clone())
            .filter(|c| {
                let all = lists.is_empty() && segments.is_empty();
                all || is_on(c, "list_ids", &lists) || is_on(c, "segment_ids", &segments)
            })
            .collect();
        let kind = match (lists.is_empty(), segments.is_empty()) {
            (true, true) => "contacts_export",
            (false, _) => "list_export",
            _ => "segment_export",
        };
        let id = self.new_id();
        let files = exports::files(&contacts, file_type == "json", config.size("export_rows_per_file"));
        let extension = if file_type == "json" { "json.gz" } else { "csv.gz" };
        let files = files.into_iter().map(|file| (format!("{}.{extension}", self.new_id()), file)).collect();
        let export = Export {
            id: id.clone(),
            created_ms: now_ms,
            ready_ms: now_ms + config.number("export_ms"),
            failure: config.text("export_failure").to_string(),
            files,
            kind,
        };
        self.exports.push(export);
        let this = format!("{}/v3/marketing/contacts/exports/{id}", call.request.origin());
        Reply::json(202, json!({"id": id, "_metadata": {"self": this}}).to_string())
    }

    /// A file behind a link, which needs no key. The store says `application/gzip` and does not call it an encoding.
    fn file(&self, call: &Call<'_>, name: &str) -> Reply {
        match self.exports.iter().find_map(|export| export.file(name, call.now_ms)) {
            Some(file) => Reply { body: file.to_vec(), ..Reply::empty(200).with("Content-Type", "application/gzip") },
            None => {
                let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
                let reply = Reply::empty(403).with("Content-Type", "application/xml");
                Reply { body: body.as_bytes().to_vec(), ..reply }
            }
        }
    }
}

/// Whether the request came to the real host of the other region.
fn is_foreign(request: &Request, region: &str) -> bool {
    let host = request.header("host").unwrap_or("").split(':').next().unwrap_or("");
    match region {
        "eu" => host == "api.sendgrid.com",
        _ => host == "api.eu.sendgrid.com",
    }
}

fn scopes(config: &Config) -> Vec<String> {
    let all = ["marketing.read", "contactdb.read", "campaigns.read", "mail.send", "user.scheduled_sends.read"];
    all.iter().filter(|scope| !scope.starts_with("contactdb") || config.flag("legacy")).map(|s| s.to_string()).collect()
}

fn told(reply: Reply, spent: &Spent) -> Reply {
    reply
        .with("X-RateLimit-Limit", spent.limit.to_string())
        .with("X-RateLimit-Remaining", spent.remaining.to_string())
        .with("X-RateLimit-Reset", (spent.resets_at_ms + 999).div_euclid(1000).to_string())
}

impl App for Sendgrid {
    fn answer(&mut self, call: &Call<'_>) -> Reply {
        self.book.publish(call.now_ms);
        if let Some(name) = call.request.path.strip_prefix("/contact-exports/") {
            return self.file(call, name);
        }
        let (credential, refusal) = self.check(call);
        if let Some(reply) = refusal {
            return Reply { credential, ..reply };
        }
        // Each endpoint has a rate of its own.
        let endpoint: Vec<&str> = call.request.path.split('/').filter(|p| !p.is_empty()).take(3).collect();
        let limit = call.config.size("rate_limit").max(1) as u64;
        let spent = self.rate.take(&endpoint.join("/"), limit, MINUTE_MS, call.now_ms);
        let reply = match spent.is_over || call.is_over_rate {
            true => refuse(429, None, "too many requests"),
            false => self.respond(call),
        };
        let spent = if reply.status == 429 { Spent { remaining: 0, ..spent } } else { spent };
        Reply { credential, ..told(reply, &spent) }
    }

    fn knobs(&self) -> Value {
        json!({
            "api_key": "SG.sim-key",
            // global or eu: the region the key was made in.
            "region": "global",
            // Requests a minute to one endpoint. Every reply tells it.
            "rate_limit": 6000,
            // Whether the account has the legacy product, and what its endpoints answer when not: 403 or 404.
            "legacy": true,
            "legacy_status": 403,
            "export_ms": 300,
            // The message that exports from now on end with.
            "export_failure": "",
            // Splits the export into files of so many rows, as max_file_size does by megabytes; 0 is one file.
            "export_rows_per_file": 0,
        })
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
        let made = drafts::draft(collection, number, at_ms, self.seed);
        let mut record = made.ok_or(format!("{collection} cannot be created"))?;
        let lists = self.book.listed("mc_lists");
        if collection == "mc_contacts" && !lists.is_empty() {
            record.insert("list_ids".into(), json!([lists[number as usize % lists.len()].get("id")]));
        }
        crud::merge(&mut record, given);
        let email = given.get("email").and_then(Value::as_str).filter(|_| collection == "recipients");
        if let (Some(email), None) = (email, given.get("id")) {
            record.insert("id".into(), json!(drafts::recipient_id(email)));
        }
        Ok(record)
    }

    fn error_body(&self, status: u16) -> String {
        match status {
            401 => error(None, "authorization required"),
            403 => error(None, "access forbidden"),
            404 => error(None, "not found"),
            429 => error(None, "too many requests"),
            400..=499 => error(None, "bad request"),
            _ => error(None, "internal server error"),
        }
    }

    fn list_name(&self, request: &Request) -> String {
        match collection_of(&request.path) {
            name @ ("lists" | "segments" | "recipients") => name.into(),
            _ => "result".into(),
        }
    }

    fn place_params(&self) -> &'static [&'static str] {
        &["page_token", "page", "offset"]
    }

    /// An emptied page of a list with links leads to itself once more.
    fn lead_on(&self, is_empty: bool, request: &Request, _reply: &Reply, body: &mut Value) {
        if is_empty && body["_metadata"].is_object() && body["_metadata"].get("next").is_none() {
            body["_metadata"]["next"] = json!(page::link_with(request, &[]));
        }
    }
}
