//! Plays Intercom: decides whose request it is, in which version of the API, and which endpoint it means.
//!
//! Written from the OpenAPI description of version 2.14. One workspace; its regional hosts share this address.
//!
//! In the control API the contacts are two collections, `users` and `contacts` (leads); a change of `role` moves a contact from
//! one to the other. Deleting a part redacts it, deleting an attribute archives it. `social_profiles` has a ledger only.

mod companies;
mod contacts;
mod conversations;
mod draft;
mod fields;
mod listing;
mod query;
#[cfg(test)]
mod tests;
mod wire;
mod workspace;

use serde_json::{json, Map, Value};

use crate::app::{bad, Answer, App, Ask, Call, Happened};
use crate::http::{Reply, Request};
use crate::rest::time::Form;
use crate::rest::{auth, crud, Book, Kind as Shelf, Stamp, When};
use companies::Scroll;
use wire::{first_cursor, identified, not_found, refuse, restricted, unauthorized, Window};

/// The versions whose answers are those played here; older ones (1.x, 2.0 to 2.6) had other shapes.
const VERSIONS: [&str; 11] = ["2.7", "2.8", "2.9", "2.10", "2.11", "2.12", "2.13", "2.14", "2.15", "2.16", "Unstable"];
/// When the workspace and its attributes were made: 2020-01-01.
const MADE_MS: i64 = 1_577_836_800_000;

pub struct Workspace {
    seed: u64,
    book: Book,
    scroll: Option<Scroll>,
    scrolls: u64,
    window: Window,
    requests: u64,
}

pub fn new(seed: u64) -> Box<dyn App> {
    Box::new(Workspace::new(seed))
}

fn shelves() -> Vec<Shelf> {
    let plain = |name| Shelf { name, key: &["id"], created: None, updated: None, parent: None };
    let stamped = |name| Shelf {
        created: Some(Stamp("created_at", Form::Unix)),
        updated: Some(Stamp("updated_at", Form::Unix)),
        ..plain(name)
    };
    vec![
        plain("admins"),
        plain("teams"),
        plain("tags"),
        stamped("segments"),
        stamped("data_attributes"),
        stamped("companies"),
        stamped("users"),
        stamped("contacts"),
        stamped("conversations"),
        Shelf { parent: Some("conversation_id"), ..stamped("conversation_parts") },
    ]
}

/// The collections whose denial closes an endpoint.
fn names_of(parts: &[&str]) -> &'static [&'static str] {
    match parts {
        ["contacts", ..] => &["contacts", "users", "social_profiles"],
        ["companies", ..] => &["companies"],
        ["conversations", "search"] | ["conversations"] => &["conversations"],
        ["conversations", ..] => &["conversation_parts", "conversations"],
        ["admins", ..] => &["admins"],
        ["teams", ..] => &["teams"],
        ["tags", ..] => &["tags"],
        ["segments", ..] => &["segments"],
        ["data_attributes", ..] => &["data_attributes"],
        _ => &[],
    }
}

impl Workspace {
    pub fn new(seed: u64) -> Workspace {
        let mut book = Book::new(&shelves());
        for (number, (model, name, kind)) in [
            ("contact", "plan_tier", "string"),
            ("contact", "seat_count", "integer"),
            ("contact", "trial_ends_at", "date"),
            ("company", "account_tier", "string"),
        ]
        .into_iter()
        .enumerate()
        {
            let made = workspace::custom_attribute(number as u64, model, name, kind);
            // The book is empty, so nothing can be there already.
            let _ = book.add("data_attributes", made.as_object().cloned().unwrap_or_default(), When::now(MADE_MS));
        }
        Workspace { seed, book, scroll: None, scrolls: 0, window: Window::default(), requests: 0 }
    }

    /// A token is good at the host of its region only. Tests use addresses that are no host of Intercom's.
    fn is_other_region(call: &Call<'_>) -> bool {
        let host = call.request.header("host").unwrap_or("").split(':').next().unwrap_or("").to_ascii_lowercase();
        let own = match call.config.text("region") {
            "eu" => "api.eu.intercom.io",
            "au" => "api.au.intercom.io",
            _ => "api.intercom.io",
        };
        host.ends_with("intercom.io") && host != own
    }

    fn route(&mut self, call: &Call<'_>) -> Reply {
        let credential = auth::judge(auth::bearer(call.request), call.config.text("access_token"));
        if credential != "valid" || Self::is_other_region(call) {
            return Reply { credential, ..unauthorized() };
        }
        let limit = call.config.number("calls_per_ten_seconds");
        let is_within = self.window.count(limit, call.now_ms) && !call.is_over_rate;
        let reply = match is_within {
            true => self.versioned(call),
            false => Window::refusal(limit),
        };
        Reply { credential, ..self.window.mark(reply, limit) }
    }

    fn versioned(&mut self, call: &Call<'_>) -> Reply {
        let version = call.request.header("intercom-version").unwrap_or(call.config.text("api_version")).to_string();
        if !VERSIONS.contains(&version.as_str()) {
            return refuse(400, "intercom_version_invalid", "The requested version could not be found");
        }
        self.endpoint(call).with("Intercom-Version", version)
    }

    fn endpoint(&mut self, call: &Call<'_>) -> Reply {
        let path = call.request.path.clone();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        if call.config.denies(names_of(&parts)) {
            return restricted();
        }
        let is_post = call.request.method == "POST";
        match parts.as_slice() {
            ["contacts", "search"] if is_post => return self.search_contacts(call),
            ["conversations", "search"] if is_post => return self.search_conversations(call),
            ["companies", "list"] if is_post => return self.list_companies(call),
            _ if !matches!(call.request.method.as_str(), "GET" | "HEAD") => return not_found(),
            _ => {}
        }
        match parts.as_slice() {
            ["me"] => self.me(call),
            ["admins"] => self.whole_list("admins", "admin.list", "admins", |record| record.json()),
            ["teams"] => self.whole_list("teams", "team.list", "teams", |record| record.json()),
            ["tags"] => self.whole_list("tags", "list", "data", |record| record.json()),
            ["segments"] => self.list_segments(call),
            ["data_attributes"] => self.list_attributes(call),
            [collection @ ("admins" | "teams" | "tags" | "segments"), id] => self.one(collection, id),
            ["contacts"] => self.list_contacts(call),
            ["contacts", id] => self.get_contact(id),
            ["contacts", id, what @ ("companies" | "segments" | "tags")] => self.of_contact(id, what),
            ["companies"] => self.get_companies(call),
            ["companies", "scroll"] => self.scroll(call),
            ["companies", id] => self.get_company(id),
            ["conversations"] => self.list_conversations(call),
            ["conversations", id] => self.get_conversation(call, id),
            _ => not_found(),
        }
    }

    /// A lead that becomes a user, or a user a lead: the same contact in the other collection.
    fn move_role(&mut self, ask: &Ask<'_>, from: &str, to: &'static str, id: &str) -> Answer {
        let when = When { at_ms: ask.now_ms, due_ms: ask.due_ms(), is_silent: false };
        let before = self.book.remove(from, id, when).map_err(bad)?;
        let mut fields = before.fields.clone();
        crud::merge(&mut fields, &ask.body);
        fields.insert("updated_at".into(), json!(ask.now_ms / 1000));
        let after = self.book.add(to, fields, when).map_err(bad)?;
        Ok(self.render_contact(&after).to_string())
    }

    /// Moves a record's stamp to what happened to it, never back, and counts.
    fn touch(&mut self, collection: &str, id: &str, by: i64, count: &[&str], when: When) {
        let Some(record) = self.book.latest(collection, id) else { return };
        let when = When { is_silent: when.is_silent || when.at_ms < record.updated_ms, ..when };
        let _ = self.book.edit(collection, id, when, |record| {
            let Some((first, rest)) = count.split_first() else { return };
            let member = record.fields.get_mut(*first);
            let slot = rest.iter().fold(member, |at, name| at.and_then(|at| at.get_mut(*name)));
            if let Some(slot) = slot {
                *slot = json!(slot.as_i64().unwrap_or(0) + by);
            }
        });
    }
}

impl App for Workspace {
    fn answer(&mut self, call: &Call<'_>) -> Reply {
        self.requests += 1;
        let id = format!("{:020x}", 0x5f37_0000_0000_0000_u64 + self.requests);
        self.book.publish(call.now_ms);
        identified(self.route(call), &id)
    }

    fn knobs(&self) -> Value {
        json!({
            "access_token": "sim-intercom-token",
            // us, eu or au.
            "region": "us",
            // Used without an Intercom-Version header.
            "api_version": "2.14",
            // Where the workspace's day begins: searches of contacts go by it.
            "utc_offset_minutes": 0,
            // 0 is no limit.
            "calls_per_ten_seconds": 0,
            "company_list_limit": 10_000,
            "conversation_parts_limit": 500,
            // How long a scroll that nobody uses stays open.
            "scroll_seconds": 60,
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
        self.draft_record(collection, number, at_ms, given)
    }

    fn mark(&mut self, collection: &str, fields: &mut Map<String, Value>, is_deleted: bool, _at_ms: i64) {
        match collection {
            // A part is redacted: it stays, without its text.
            "conversation_parts" => {
                fields.insert("redacted".into(), json!(is_deleted));
                if is_deleted {
                    fields.insert("body".into(), Value::Null);
                }
            }
            "data_attributes" => drop(fields.insert("archived".into(), json!(is_deleted))),
            _ => {}
        }
    }

    fn happened(&mut self, change: &Happened<'_>) {
        match change.collection {
            "conversation_parts" => {
                let by = i64::from(change.before.is_none()) - i64::from(change.after.is_none());
                if let Some(part) = change.after.or(change.before) {
                    let id = part.text("conversation_id").to_string();
                    self.touch("conversations", &id, by, &["statistics", "count_conversation_parts"], change.when);
                }
            }
            "users" if change.before.is_none() => {
                let ids = change.after.map(|record| record.get("company_ids").clone()).unwrap_or_default();
                for id in ids.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    self.touch("companies", id, 1, &["user_count"], change.when);
                }
            }
            _ => {}
        }
    }

    fn create(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        let answer = crud::create(self, ask, collection)?;
        let id = serde_json::from_str::<Value>(&answer).ok().and_then(|v| v["id"].as_str().map(str::to_string));
        match id.and_then(|id| self.contact(&id)) {
            Some(contact) => Ok(self.render_contact(&contact).to_string()),
            None => Ok(answer),
        }
    }

    fn change(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        match (collection, ask.body.get("role").and_then(Value::as_str)) {
            ("contacts", Some("user")) => self.move_role(ask, "contacts", "users", id),
            ("users", Some("lead")) => self.move_role(ask, "users", "contacts", id),
            ("users" | "contacts", _) => {
                crud::change(self, ask, collection, id)?;
                let record =
                    self.book.latest(collection, id).ok_or_else(|| bad(format!("{collection} has no {id}")))?;
                Ok(self.render_contact(&record).to_string())
            }
            _ => crud::change(self, ask, collection, id),
        }
    }

    fn ledger(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        if ask.flag("gone") || !["users", "contacts", "social_profiles"].contains(&collection) {
            return crud::ledger(self, ask, collection);
        }
        let with_records = ask.request.param("records").is_none_or(|v| v != "false");
        let mut rows = Vec::new();
        let mut add = |id: String, record: &crate::rest::Record, shown: Value| {
            let mut row = json!({
                "id": id, "version": record.version, "deleted": record.is_deleted(), "changed_at": record.updated_ms,
            });
            if with_records {
                row["record"] = shown;
            }
            rows.push(row.to_string());
        };
        if collection == "social_profiles" {
            for record in contacts::ROLES.iter().flat_map(|role| self.book.all_latest(role)).filter(|r| !r.is_deleted())
            {
                for profile in record.get("social_profiles")["data"].as_array().into_iter().flatten() {
                    let mut shown = profile.clone();
                    shown["contact_id"] = json!(record.id);
                    add(format!("{}:{}", record.id, profile["name"].as_str().unwrap_or("")), &record, shown);
                }
            }
        } else {
            for record in self.book.all_latest(collection) {
                add(record.id.to_string(), &record, self.render_contact(&record));
            }
        }
        Ok(format!("[{}\n]", rows.iter().map(|row| format!("\n{row}")).collect::<Vec<_>>().join(",")))
    }

    fn error_body(&self, status: u16) -> String {
        let reply = match status {
            401 => unauthorized(),
            403 => restricted(),
            404 => not_found(),
            429 => Window::refusal(0),
            500 => refuse(
                500,
                "server_error",
                "Request failed due to an internal network error. Please restart the scroll operation.",
            ),
            503 => refuse(503, "service_unavailable", "Sorry, the API service is temporarily unavailable"),
            400..=499 => refuse(status, "parameter_invalid", "The request could not be processed"),
            _ => refuse(status, "server_error", "Server Error"),
        };
        String::from_utf8_lossy(&identified(reply, "simulated").body).into_owned()
    }

    fn list_name(&self, request: &Request) -> String {
        let first = request.path.split('/').find(|part| !part.is_empty()).unwrap_or("");
        match first {
            "conversations" | "admins" | "segments" | "teams" => first.into(),
            _ => "data".into(),
        }
    }

    fn records<'a>(&self, request: &Request, body: &'a mut Value) -> Option<&'a mut Vec<Value>> {
        if body.get("conversation_parts").is_some() {
            return body["conversation_parts"]["conversation_parts"].as_array_mut();
        }
        body.get_mut(self.list_name(request))?.as_array_mut()
    }

    fn place_params(&self) -> &'static [&'static str] {
        &["starting_after", "page", "scroll_param"]
    }

    fn listing_key(&self, request: &Request) -> String {
        let mut params = request.params();
        params.retain(|(name, _)| !self.place_params().contains(&name.as_str()));
        params.sort();
        let mut body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if let Some(pagination) = body.get_mut("pagination").and_then(Value::as_object_mut) {
            pagination.shift_remove("starting_after");
        }
        format!("{}?{params:?}{body}", request.path)
    }

    fn starts_listing(&self, request: &Request) -> bool {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        body["pagination"]["starting_after"].is_null()
            && !request
                .params()
                .iter()
                .any(|(name, value)| self.place_params().contains(&name.as_str()) && !(name == "page" && value == "1"))
    }

    /// An emptied page of a cursor listing leads to itself once more. A scroll or a list by page number cannot: there, empty
    /// is the end.
    fn lead_on(&self, is_empty: bool, request: &Request, _reply: &Reply, body: &mut Value) {
        let is_by_cursor = matches!(
            request.path.trim_end_matches('/'),
            "/contacts" | "/contacts/search" | "/conversations" | "/conversations/search"
        );
        if !is_empty || !is_by_cursor {
            return;
        }
        let sent: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let here = request
            .param("starting_after")
            .or_else(|| sent["pagination"]["starting_after"].as_str().map(str::to_string))
            .filter(|text| !text.is_empty())
            .map_or_else(first_cursor, |text| format!("{text}="));
        body["pages"]["next"] = json!({"page": body["pages"]["page"], "starting_after": here});
    }
}
