//! Plays Zendesk Support: decides who asks, what they may have, and which resource is meant.
//!
//! Written from the Ticketing API reference (developer.zendesk.com). Paths answer with and without `.json`. An account is
//! never quite empty: it has an owner, a group, the system ticket fields and a form.

mod changes;
mod exports;
mod kinds;
mod lists;
mod login;
#[cfg(test)]
mod tests;

use serde_json::{json, Map, Value};

use crate::app::{bad, Answer, App, Ask, Call, Happened};
use crate::chance::Chance;
use crate::clock;
use crate::http::{Reply, Request};
use crate::rest::{auth, crud, rate, time, Book, When};

pub fn new(seed: u64) -> Box<dyn App> {
    Box::new(Zendesk::new(seed))
}

struct Zendesk {
    book: Book,
    tokens: auth::Tokens,
    /// The refresh token that is good now, once one was used.
    refresh_token: Option<String>,
    windows: rate::Windows,
    chance: Chance,
    /// Counts audits and their child events, which share their ids' sequence.
    last_event: u64,
    /// When the API may show what is being drafted.
    due_ms: Option<i64>,
}

fn refuse(status: u16, error: &str, description: &str) -> Reply {
    Reply::json(status, json!({"error": error, "description": description}).to_string())
}

/// The answer to an agent where an admin is needed, or to a credential without the right.
fn forbidden() -> Reply {
    let text =
        "You do not have access to this page. Please contact the account owner of this help desk for further help.";
    Reply::json(403, json!({"error": {"title": "Forbidden", "message": text}}).to_string())
}

impl Zendesk {
    fn new(seed: u64) -> Zendesk {
        let mut desk = Zendesk {
            book: Book::new(kinds::KINDS),
            tokens: auth::Tokens::new(seed),
            refresh_token: None,
            windows: rate::Windows::default(),
            chance: Chance::new(seed, "zendesk"),
            last_event: 0,
            due_ms: None,
        };
        let founded = When::now((clock::ANCHOR_S - 6 * 365 * 86_400) * 1000);
        let support = json!({"name": "Support"}).as_object().cloned().unwrap_or_default();
        let owner = json!({"name": "Sim Owner", "email": "agent@sim.example"}).as_object().cloned().unwrap_or_default();
        let mut first: Vec<(&str, Map<String, Value>)> = Vec::new();
        first.extend(kinds::system_fields().into_iter().map(|field| ("ticket_fields", field)));
        first.extend([
            ("groups", support),
            ("users", owner),
            ("ticket_forms", Map::new()),
            ("group_memberships", Map::new()),
        ]);
        for (collection, given) in first {
            let number = desk.book.made(collection);
            let known = desk.known();
            let fields = kinds::draft(collection, number, founded.at_ms, &known, &given);
            desk.put(collection, Value::Object(fields), founded);
        }
        desk
    }

    fn owner_id(&self) -> u64 {
        kinds::id_of("users", 0)
    }

    /// The id of some record there is, or `null`.
    fn any(&mut self, collection: &str, below: u64) -> Value {
        let made = self.book.made(collection).min(below);
        let id = kinds::id_of(collection, self.chance.below(made));
        match self.book.latest(collection, &id.to_string()) {
            Some(record) if !record.is_deleted() => json!(id),
            _ => Value::Null,
        }
    }

    fn known(&mut self) -> kinds::Known {
        let customs = |book: &Book, collection: &str, member: &str| -> Vec<Value> {
            let fields =
                book.all_latest(collection).into_iter().filter(|f| !f.is_deleted() && f.get("removable") != false);
            fields.map(|field| field.get(member).clone()).collect()
        };
        let texts = |values: Vec<Value>| values.iter().filter_map(|v| v.as_str().map(str::to_string)).collect();
        kinds::Known {
            user: self.any("users", u64::MAX),
            agent: self.any("users", 4),
            organization: self.any("organizations", u64::MAX),
            group: self.any("groups", u64::MAX),
            ticket: self.any("tickets", u64::MAX),
            form: self.any("ticket_forms", 1),
            ticket_fields: customs(&self.book, "ticket_fields", "id"),
            user_fields: texts(customs(&self.book, "user_fields", "key")),
            organization_fields: texts(customs(&self.book, "organization_fields", "key")),
        }
    }

    fn route(&mut self, call: &Call<'_>) -> Reply {
        let path = call.request.path.trim_end_matches('/').trim_end_matches(".json");
        let Some(path) = path.strip_prefix("/api/v2/") else { return refuse(404, "InvalidEndpoint", "Not found") };
        if !matches!(call.request.method.as_str(), "GET" | "HEAD") {
            return refuse(405, "MethodNotAllowed", "Only reading is played here");
        }
        self.book.publish(call.now_ms);
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match parts.as_slice() {
            ["users", "me"] => {
                let owner = self.book.find("users", &self.owner_id().to_string());
                let mut user = owner.map_or(Value::Null, |owner| owner.json());
                user["role"] = json!(call.config.text("role"));
                Reply::json(200, json!({"user": user}).to_string())
            }
            ["oauth", "tokens", "current"] => {
                let shown = json!({"token": {"scopes": ["read"], "user_id": self.owner_id(), "expires_at": null}});
                Reply::json(200, shown.to_string())
            }
            ["incremental", resource] => self.export(call, resource, false),
            ["incremental", resource, "cursor"] => self.export(call, resource, true),
            parts => self.resource(call, parts),
        }
    }
}

/// The last parts of a path: what its list is called in the reply.
fn list_name(request: &Request) -> String {
    let path = request.path.trim_end_matches('/').trim_end_matches(".json").trim_end_matches("/cursor");
    path.rsplit('/').next().unwrap_or("").to_string()
}

impl App for Zendesk {
    fn answer(&mut self, call: &Call<'_>) -> Reply {
        if call.request.path == "/oauth/tokens" && call.request.method == "POST" {
            return self.grant(call);
        }
        let (credential, refusal) = self.credential(call);
        let limit = call.config.size("calls_per_minute") as u64;
        let mut reply = match refusal {
            Some(reply) => reply,
            None if call.is_over_rate => {
                refuse(429, "APIRateLimitExceeded", "Number of allowed API requests per minute exceeded")
                    .with("Retry-After", "1")
            }
            None => {
                let spent = self.windows.take("account", limit, 60_000, call.now_ms);
                let left = spent.seconds_left(call.now_ms).to_string();
                let reply = if spent.is_over {
                    refuse(429, "APIRateLimitExceeded", "Number of allowed API requests per minute exceeded")
                        .with("Retry-After", left.clone())
                } else {
                    self.route(call)
                };
                match limit {
                    0 => reply,
                    _ => reply
                        .with("X-Rate-Limit", limit.to_string())
                        .with("X-Rate-Limit-Remaining", spent.remaining.to_string())
                        .with("ratelimit-limit", limit.to_string())
                        .with("ratelimit-remaining", spent.remaining.to_string())
                        .with("ratelimit-reset", left),
                }
            }
        };
        reply.credential = credential;
        reply.with("X-Zendesk-API-Version", "v2")
    }

    /// `role` is "admin" or "agent" (who may not export); `plan` "enterprise" or another (no forms, no audit logs);
    /// `calls_per_minute` and `export_per_minute` 0 for no limit; `ratings_by` the member that `start_time` of satisfaction
    /// ratings goes by, which the reference leaves open.
    fn knobs(&self) -> Value {
        json!({
            "email": "agent@sim.example",
            "api_token": "sim-token",
            "access_token": "sim-access",
            "client_id": "sim-client",
            "client_secret": "sim-secret",
            "refresh_token": "sim-refresh",
            "token_lifetime_seconds": 1800,
            "role": "admin",
            "plan": "enterprise",
            "calls_per_minute": 700,
            "export_per_minute": 10,
            "activity_days": 30,
            "ratings_by": "updated_at",
            "stuck_time_pages": false,
        })
    }

    fn configured(&mut self, changes: &Map<String, Value>) {
        if changes.contains_key("refresh_token") {
            self.refresh_token = None;
        }
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
        let when = When { due_ms: self.due_ms, ..When::now(at_ms) };
        match collection {
            "ticket_comments" => return self.draft_comment(given, when),
            "attachments" => return self.draft_attachment(given, when),
            "ticket_audits" | "ticket_events" | "ticket_metrics" => {
                return Err(format!("{collection} come out of tickets and their changes"));
            }
            _ => {}
        }
        let known = self.known();
        let mut fields = kinds::draft(collection, number, at_ms, &known, given);
        if collection == "tickets" {
            let custom = fields.get("custom_fields").cloned().unwrap_or_default();
            fields.insert("fields".into(), custom);
        }
        Ok(fields)
    }

    fn mark(&mut self, collection: &str, fields: &mut Map<String, Value>, is_deleted: bool, at_ms: i64) {
        let at = json!(time::Form::Iso.text(at_ms));
        match collection {
            "tickets" => {
                fields.insert("status".into(), json!(if is_deleted { "deleted" } else { "open" }));
                fields.insert("updated_at".into(), at);
            }
            "users" => drop(fields.insert("active".into(), json!(!is_deleted))),
            "organizations" => drop(fields.insert("deleted_at".into(), if is_deleted { at } else { Value::Null })),
            "groups" => drop(fields.insert("deleted".into(), json!(is_deleted))),
            _ => {}
        }
    }

    fn happened(&mut self, change: &Happened<'_>) {
        self.follow(change);
    }

    fn control(&mut self, ask: &Ask<'_>, parts: &[&str]) -> Option<Answer> {
        self.due_ms = ask.due_ms();
        Some(match (ask.request.method.as_str(), parts) {
            ("DELETE", ["tokens"]) => {
                self.tokens.expire_all();
                Ok(json!({"ok": true}).to_string())
            }
            ("GET", ["tokens"]) => {
                let good = self.refresh_token.clone().unwrap_or_else(|| ask.config.text("refresh_token").to_string());
                Ok(json!({"granted": self.tokens.granted, "refresh_token": good}).to_string())
            }
            _ => return None,
        })
    }

    fn seed(&mut self, ask: &mut Ask<'_>) -> Answer {
        // What is seeded is old: it is shown at once.
        self.due_ms = None;
        crud::seed(self, ask)
    }

    /// A ticket's `updated_at` moves too, but not with `?system=true`: that is what an update by the system looks like.
    /// Custom fields are merged by their ids.
    fn change(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        if collection != "tickets" {
            return crud::change(self, ask, collection, id);
        }
        let before = self.book.latest(collection, id).ok_or_else(|| bad(format!("tickets has no {id}")))?;
        let mut body = ask.body.clone();
        if !ask.flag("system") && !ask.flag("silent") {
            body.entry("updated_at").or_insert(json!(time::Form::Iso.text(ask.now_ms)));
        }
        if let Some(given) = body.get("custom_fields").and_then(Value::as_array) {
            let mut merged = before.get("custom_fields").as_array().cloned().unwrap_or_default();
            for field in given {
                match merged.iter_mut().find(|known| known["id"] == field["id"]) {
                    Some(known) => *known = field.clone(),
                    None => merged.push(field.clone()),
                }
            }
            body.insert("fields".into(), json!(merged));
            body.insert("custom_fields".into(), json!(merged));
        }
        let ask = Ask { body, lent: Vec::new(), ..*ask };
        crud::change(self, &ask, collection, id)
    }

    fn error_body(&self, status: u16) -> String {
        let (error, text) = match status {
            401 => return json!({"error": "Couldn't authenticate you"}).to_string(),
            403 => ("Forbidden", "You do not have access to this page."),
            404 => ("RecordNotFound", "Not found"),
            422 => ("RecordInvalid", "Record validation errors"),
            429 => ("APIRateLimitExceeded", "Number of allowed API requests per minute exceeded"),
            400..=499 => ("InvalidRequest", "The request could not be processed"),
            _ => ("InternalError", "An unexpected error occurred"),
        };
        json!({"error": error, "description": text}).to_string()
    }

    fn list_name(&self, request: &Request) -> String {
        list_name(request)
    }

    fn place_params(&self) -> &'static [&'static str] {
        &["page[after]", "page[before]", "page", "cursor", "start_time"]
    }

    /// A first page of a time export has its `start_time` like any other; a cursor export begins with it.
    fn starts_listing(&self, request: &Request) -> bool {
        let has = |name: &str| request.params().iter().any(|(n, _)| n == name);
        let by_time = request.path.contains("/incremental/") && !request.path.contains("/cursor");
        !by_time && !["page[after]", "page[before]", "page", "cursor"].iter().any(|name| has(name))
    }

    fn lead_on(&self, is_empty: bool, request: &Request, _reply: &Reply, body: &mut Value) {
        if !is_empty {
            return;
        }
        if body.get("end_of_stream").is_some() {
            body["end_of_stream"] = json!(false);
        } else if let Some(after) = body["meta"]["after_cursor"].as_str().map(str::to_string) {
            body["links"]["next"] = json!(crate::rest::page::link_with(request, &[("page[after]", Some(&after))]));
            body["meta"]["has_more"] = json!(true);
        }
    }
}
