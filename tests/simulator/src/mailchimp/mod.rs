//! Plays Mailchimp Marketing: decides who asks, how many at once, and which resource is meant.
//!
//! Written from the reference of API 3.0 (mailchimp.com/developer/marketing). `/oauth2/metadata`, which is on a login host,
//! answers at the same address.

mod kinds;
mod lists;
mod md5;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde_json::{json, Map, Value};

use crate::app::{App, Call, Happened};
use crate::chance::Chance;
use crate::http::{Reply, Request};
use crate::rest::{auth, Book};

pub fn new(seed: u64) -> Box<dyn App> {
    Box::new(Mailchimp {
        book: Book::new(kinds::KINDS),
        chance: Chance::new(seed, "mailchimp"),
        members: HashMap::new(),
        requests: 0,
    })
}

struct Mailchimp {
    book: Book,
    chance: Chance,
    /// Ids and addresses by list, as they were made: who can have done something.
    members: HashMap<String, Vec<(String, String)>>,
    requests: u64,
}

fn problem_body(status: u16, title: &str, detail: &str) -> Value {
    json!({
        "type": "https://mailchimp.com/developer/marketing/docs/errors/", "title": title, "status": status,
        "detail": detail, "instance": "5e1f3a2b-0c4d-4e5f-8a9b-0c1d2e3f4a5b",
    })
}

fn as_problem(status: u16, body: &Value) -> Reply {
    Reply::json(status, body.to_string()).with("Content-Type", "application/problem+json; charset=utf-8")
}

/// An error, as `application/problem+json`.
fn problem(status: u16, title: &str, detail: &str) -> Reply {
    as_problem(status, &problem_body(status, title, detail))
}

/// The data center a key belongs to: what follows its last dash.
fn data_center(key: &str) -> &str {
    key.rsplit_once('-').map_or("", |(_, dc)| dc)
}

impl Mailchimp {
    /// Judges the key (basic, with any user) or the access token.
    fn credential(&self, call: &Call<'_>) -> (&'static str, Option<Reply>) {
        let key = call.config.text("api_key");
        let credential = match (auth::bearer(call.request), auth::basic(call.request)) {
            // A key is a good bearer token too.
            (Some(token), _) if token == key => "valid",
            (Some(token), _) => auth::judge(Some(token), call.config.text("access_token")),
            (None, Some((_, password))) => auth::judge(Some(&password), key),
            (None, None) => {
                return ("none", Some(problem(401, "API Key Missing", "Your request did not include an API key.")))
            }
        };
        let host = call.request.header("host").unwrap_or("");
        let asked_center = host.split_once(".api.mailchimp.").map(|(dc, _)| dc);
        if asked_center.is_some_and(|dc| dc != data_center(key)) {
            let text = "The API key provided is linked to a different data center.";
            return (credential, Some(problem(403, "Wrong Datacenter", text)));
        }
        if credential == "valid" {
            return ("valid", None);
        }
        let text = "Your API key may be invalid, or you've attempted to access the wrong datacenter.";
        ("wrong", Some(problem(401, "API Key Invalid", text)))
    }

    fn metadata(&self, call: &Call<'_>) -> Reply {
        let token = auth::scheme(call.request, "oauth").or(auth::bearer(call.request));
        let credential = auth::judge(token, call.config.text("access_token"));
        let reply = match credential {
            "valid" => Reply::json(
                200,
                json!({
                    "dc": data_center(call.config.text("api_key")), "role": "owner", "accountname": "Sim", "user_id": 1,
                    "login": {"email": "owner@sim.example", "login_id": 1, "login_name": "sim"},
                    "login_url": "https://login.mailchimp.com", "api_endpoint": call.request.origin(),
                })
                .to_string(),
            ),
            _ => Reply::json(200, json!({"error": "invalid_token"}).to_string()),
        };
        Reply { credential, ..reply }
    }

    fn route(&mut self, call: &Call<'_>) -> Reply {
        let path = call.request.path.trim_end_matches('/');
        let no_such = || problem(404, "Resource Not Found", "The requested resource could not be found.");
        let Some(rest) = path.strip_prefix("/3.0") else { return no_such() };
        if !matches!(call.request.method.as_str(), "GET" | "HEAD") {
            let text = "The requested method and resource are not compatible.";
            return problem(405, "Method Not Allowed", text);
        }
        self.book.publish(call.now_ms);
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        match parts.as_slice() {
            [] => Reply::json(
                200,
                json!({
                    "account_id": "8d3a3db4d97663a9074efcc16", "login_id": "1", "account_name": "Sim",
                    "email": "owner@sim.example", "role": "owner", "pricing_plan_type": "monthly",
                    "account_timezone": "Etc/UTC", "total_subscribers": self.book.listed("list_members").len(),
                    "pro_enabled": false, "_links": [],
                })
                .to_string(),
            ),
            ["ping"] => Reply::json(200, json!({"health_status": "Everything's Chimpy!"}).to_string()),
            parts => self.resource(call, parts),
        }
    }

    /// Some record of a collection that is not deleted.
    fn some(&mut self, collection: &str) -> Option<std::sync::Arc<crate::rest::Record>> {
        let made = self.book.made(collection);
        let number = self.chance.below(made);
        let found = self.book.latest(collection, &kinds::short_id(collection, number)).filter(|r| !r.is_deleted());
        found.or_else(|| self.book.all_latest(collection).into_iter().find(|r| !r.is_deleted()))
    }

    fn known(&mut self, collection: &str, given: &Map<String, Value>) -> kinds::Known {
        let text = |name: &str| given.get(name).and_then(Value::as_str).map(str::to_string);
        let mut known = kinds::Known { list: text("list_id"), campaign: text("campaign_id"), member: None };
        if matches!(collection, "conversations" | "subscriber_activity") && known.campaign.is_none() {
            // Only what was sent has activity.
            let campaigns = self.book.all_latest("campaigns").into_iter();
            let sent: Vec<_> = campaigns.filter(|c| !c.is_deleted() && c.text("status") == "sent").collect();
            let at = self.chance.below(sent.len() as u64) as usize;
            known.campaign = sent.get(at).map(|campaign| campaign.id.to_string());
        }
        if let (None, Some(id)) = (&known.list, &known.campaign) {
            let campaign = self.book.latest("campaigns", id);
            known.list = campaign.and_then(|c| c.get("recipients")["list_id"].as_str().map(str::to_string));
        }
        if known.list.is_none() {
            known.list = self.some("lists").map(|list| list.id.to_string());
        }
        if collection == "subscriber_activity" {
            let wanted = text("email_id");
            let members = self.members.get(known.list.as_deref().unwrap_or("")).map_or(&[][..], Vec::as_slice);
            let at = self.chance.below(members.len() as u64) as usize;
            known.member = match wanted {
                Some(id) => members.iter().find(|(known, _)| *known == id).cloned(),
                None => members.get(at).cloned(),
            };
        }
        known
    }
}

impl App for Mailchimp {
    fn answer(&mut self, call: &Call<'_>) -> Reply {
        self.requests += 1;
        let number = self.requests;
        if call.request.path == "/oauth2/metadata" {
            return self.metadata(call);
        }
        let (credential, refusal) = self.credential(call);
        let most = call.config.number("max_connections") as u64;
        let mut reply = match refusal {
            Some(reply) => reply,
            // Neither Retry-After nor any other header tells when to come back (docs: fundamentals, throttling).
            None if call.is_over_rate || (most > 0 && call.in_flight > most) => problem(
                429,
                "Too Many Requests",
                &format!("You have exceeded the limit of {most} simultaneous connections."),
            ),
            None => self.route(call),
        };
        if reply.status == 200 {
            reply = reply.with("Content-Type", "application/json; charset=utf-8");
        }
        reply.credential = credential;
        reply.with("X-Request-Id", format!("00000000-0000-4000-8000-{number:012}"))
    }

    /// `max_connections` 0 for no limit; `conversations` whether the plan has them; `lists_archived` whether a list of members
    /// without `status` has the archived ones, which the reference leaves open.
    fn knobs(&self) -> Value {
        json!({
            "api_key": "0123456789abcdef0123456789abcdef-us6",
            "access_token": "sim-access",
            "max_connections": 10,
            "conversations": true,
            "lists_archived": true,
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
        let known = self.known(collection, given);
        let mut fields = kinds::draft(collection, number, at_ms, &known, given)?;
        // Twice the same action of one address at one time would be one record.
        for salt in 1..50 {
            if collection != "subscriber_activity" || !self.book.has_record(collection, &fields, at_ms) {
                break;
            }
            let known = self.known(collection, given);
            fields = kinds::draft(collection, number + salt * 7919, at_ms, &known, given)?;
        }
        Ok(fields)
    }

    /// A deleted member is archived, and stays a member of that status.
    fn mark(&mut self, collection: &str, fields: &mut Map<String, Value>, is_deleted: bool, _at_ms: i64) {
        if collection == "list_members" {
            fields.insert("status".into(), json!(if is_deleted { "archived" } else { "subscribed" }));
        }
    }

    /// A deleted list takes its members along.
    fn happened(&mut self, change: &Happened<'_>) {
        if let ("list_members", None, Some(member)) = (change.collection, change.before, change.after) {
            let of_list = self.members.entry(member.text("list_id").to_string()).or_default();
            of_list.push((member.text("id").to_string(), member.text("email_address").to_string()));
        }
        let is_gone = change.after.is_none_or(crate::rest::Record::is_deleted);
        if let ("lists", true, Some(list)) = (change.collection, is_gone, change.before) {
            for member in self.book.children("list_members", &list.id) {
                let _ = self.book.remove("list_members", &member.id, change.when);
            }
        }
    }

    fn error_body(&self, status: u16) -> String {
        let (title, detail) = match status {
            401 => {
                ("API Key Invalid", "Your API key may be invalid, or you've attempted to access the wrong datacenter.")
            }
            403 => ("Forbidden", "You are not permitted to access this resource."),
            404 => ("Resource Not Found", "The requested resource could not be found."),
            429 => ("Too Many Requests", "You have exceeded the limit of 10 simultaneous connections."),
            400..=499 => ("Bad Request", "Your request could not be processed."),
            _ => ("Internal Server Error", "An unexpected internal error has occurred. Please contact Support."),
        };
        problem_body(status, title, detail).to_string()
    }

    fn list_name(&self, request: &Request) -> String {
        match request.path.trim_end_matches('/').rsplit('/').next().unwrap_or("") {
            "email-activity" => "emails".into(),
            name => name.into(),
        }
    }

    fn place_params(&self) -> &'static [&'static str] {
        &["offset"]
    }

    /// `offset=0` is a first page too.
    fn starts_listing(&self, request: &Request) -> bool {
        request.param("offset").is_none_or(|offset| offset == "0")
    }
}
