//! Plays Twilio's API of 2010-04-01: addresses, calls and their feedback, conferences, transcriptions, messages.
//!
//! Written from twilio.com/docs and the vendor's OpenAPI file (twilio/twilio-oai, twilio_api_v2010). Lists are sorted from
//! the newest to the oldest and paged by tokens that name a record.
//!
//! A record of `accounts` is a sub-account; `account_sid` in a new record puts it there. `call_feedback` has the sid of its
//! call. Nothing tells of deletions: what is deleted leaves its list.

mod drafts;
mod filters;
#[cfg(test)]
mod tests;
mod uris;

use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::{json, Map, Value};

use crate::app::{App, Call};
use crate::config::Config;
use crate::http::{Reply, Request};
use crate::rest::time::{self, Form};
use crate::rest::{auth, crud, Book, Kind, Record, Stamp};
use filters::Conditions;
use uris::{Place, Token};

/// The account whose credentials the simulator starts with.
const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";

const fn kind(name: &'static str) -> Kind {
    Kind {
        name,
        key: &["sid"],
        created: Some(Stamp("date_created", Form::Rfc2822)),
        updated: Some(Stamp("date_updated", Form::Rfc2822)),
        parent: Some("account_sid"),
    }
}

/// A call's feedback has the sid of the call.
const KINDS: [Kind; 7] = [
    Kind { parent: None, ..kind("accounts") },
    kind("addresses"),
    kind("calls"),
    kind("conferences"),
    kind("transcriptions"),
    kind("messages"),
    Kind { parent: None, ..kind("call_feedback") },
];

/// The collections that are lists of an account.
const LISTS: [&str; 5] = ["addresses", "calls", "conferences", "transcriptions", "messages"];

pub struct Twilio {
    book: Book,
    seed: u64,
    requests: u64,
}

pub fn new(seed: u64) -> Box<dyn App> {
    Box::new(Twilio::new(seed))
}

/// An error as the app words it.
fn refuse(status: u16, code: u64, message: &str) -> Reply {
    Reply::json(status, error(status, code, message))
}

fn error(status: u16, code: u64, message: &str) -> String {
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    json!({"code": code, "message": message, "more_info": more_info, "status": status}).to_string()
}

fn not_found(request: &Request) -> Reply {
    refuse(404, 20404, &format!("The requested resource {} was not found", request.path))
}

/// The list a path segment stands for.
fn list_of(segment: &str) -> Option<&'static str> {
    LISTS.into_iter().find(|name| drafts::place(name).is_some_and(|(place, _)| place == segment))
}

impl Twilio {
    fn new(seed: u64) -> Twilio {
        Twilio { book: Book::new(&KINDS), seed, requests: 0 }
    }

    /// The account a user and a password speak for, if they are good: by auth token, or by API key.
    fn account_of(&self, config: &Config, user: &str, password: &str) -> Option<String> {
        let main = config.text("account_sid");
        let key = (config.text("api_key_sid"), config.text("api_key_secret"));
        if (user, password) == (main, config.text("auth_token")) || (user, password) == key {
            return Some(main.to_string());
        }
        let account = self.book.find("accounts", user).filter(|account| !account.is_deleted())?;
        (account.text("auth_token") == password).then(|| user.to_string())
    }

    fn respond(&self, call: &Call<'_>, own: &str) -> Reply {
        let (request, config) = (call.request, call.config);
        let main = config.text("account_sid");
        let Some(path) = request.path.strip_suffix(".json") else { return not_found(request) };
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let ["2010-04-01", "Accounts", rest @ ..] = parts.as_slice() else { return not_found(request) };
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return refuse(405, 20004, "Method not allowed");
        }
        let [account, rest @ ..] = rest else {
            return match config.denies(&["accounts"]) {
                true => forbidden(),
                false => self.accounts(request, config, main, own),
            };
        };
        // The main account reads its sub-accounts; they read neither it nor each other.
        let is_there = *account == main || self.book.find("accounts", account).is_some_and(|a| !a.is_deleted());
        if *account != own && own != main {
            return refuse(401, 20003, "Authenticate");
        }
        if !is_there {
            return not_found(request);
        }
        if rest.is_empty() {
            return Reply::json(200, self.account(config, account).to_string());
        }
        if self.account(config, account)["status"] != "active" {
            return refuse(403, 20005, "Account not active");
        }
        let segment = rest[0];
        let name = if matches!(rest, [_, _, "Feedback"]) { Some("call_feedback") } else { list_of(segment) };
        if name.is_some_and(|name| config.denies(&[name])) {
            return forbidden();
        }
        match (rest, list_of(segment)) {
            ([_], Some(list)) => self.list(request, config, list, account, call.now_ms),
            ([_, sid], Some(list)) => self.one(request, list, account, sid),
            (["Calls", sid, "Feedback"], _) => self.feedback(request, config, account, sid),
            _ => not_found(request),
        }
    }

    /// The account's own record; the main one is made of the settings.
    fn account(&self, config: &Config, sid: &str) -> Value {
        if let Some(account) = self.book.find("accounts", sid) {
            return account.json();
        }
        let mut record = drafts::draft("accounts", sid, 0, 1_438_286_400_000, self.seed).unwrap_or_default();
        let uri = format!("/2010-04-01/Accounts/{sid}");
        let lists: Map<String, Value> = LISTS
            .iter()
            .filter_map(|name| Some((name.to_string(), json!(format!("{uri}/{}.json", drafts::place(name)?.0)))))
            .collect();
        record.extend([
            ("sid".to_string(), json!(sid)),
            ("auth_token".to_string(), json!(config.text("auth_token"))),
            ("status".to_string(), json!(config.text("account_status"))),
            ("uri".to_string(), json!(format!("{uri}.json"))),
            ("subresource_uris".to_string(), Value::Object(lists)),
        ]);
        Value::Object(record)
    }

    fn accounts(&self, request: &Request, config: &Config, main: &str, own: &str) -> Reply {
        let mut all: Vec<Value> = Vec::new();
        if own == main {
            all.extend(self.book.listed("accounts").iter().rev().map(|account| account.json()));
        }
        all.push(self.account(config, own));
        let conditions = match Conditions::read("accounts", &request.params()) {
            Ok(conditions) => conditions,
            Err(param) => return wrong_date(&param),
        };
        all.retain(|account| account.as_object().is_some_and(|fields| conditions.hold_for(fields)));
        paged(
            request,
            config,
            "accounts",
            &all,
            |account| account["sid"].as_str().unwrap_or(""),
            Value::clone,
            |_| None,
        )
    }

    fn list(&self, request: &Request, config: &Config, list: &str, account: &str, now_ms: i64) -> Reply {
        let conditions = match Conditions::read(list, &request.params()) {
            Ok(conditions) => conditions,
            Err(param) => return wrong_date(&param),
        };
        let days = config.number("message_retention_days");
        let oldest_ms = if list == "messages" && days > 0 { now_ms - days * 86_400_000 } else { i64::MIN };
        let mut all = self.book.children(list, account);
        // Messages go by when they were sent, everything else by when it was made.
        all.sort_by_cached_key(|record| (Reverse(position(list, record)), Reverse(record.number)));
        let is_shown = |record: &Record| {
            !record.is_deleted() && record.created_ms >= oldest_ms && conditions.hold_for(&record.fields)
        };
        let (shown, rest): (Vec<Arc<Record>>, Vec<Arc<Record>>) = all.into_iter().partition(|record| is_shown(record));
        // A token may name a record that has left the list since: its place is still known.
        let place_of = |sid: &str| {
            let gone = rest.iter().find(|record| &*record.id == sid)?;
            let key = (Reverse(position(list, gone)), Reverse(gone.number));
            Some(shown.partition_point(|record| (Reverse(position(list, record)), Reverse(record.number)) < key))
        };
        paged(request, config, list, &shown, |record| &record.id, |record| record.json(), place_of)
    }

    fn one(&self, request: &Request, list: &str, account: &str, sid: &str) -> Reply {
        let found = self.book.find(list, sid).filter(|r| !r.is_deleted() && r.text("account_sid") == account);
        found.map_or_else(|| not_found(request), |record| Reply::json(200, record.json().to_string()))
    }

    /// The feedback resource, which the vendor has since withdrawn: then every call answers 404.
    fn feedback(&self, request: &Request, config: &Config, account: &str, call: &str) -> Reply {
        let is_there = self.book.find("calls", call).is_some_and(|c| !c.is_deleted());
        if config.flag("feedback_is_withdrawn") || !is_there {
            return not_found(request);
        }
        self.one(request, "call_feedback", account, call)
    }
}

fn position(list: &str, record: &Record) -> i64 {
    match list {
        "messages" => time::parse(record.text("date_sent")).unwrap_or(record.created_ms),
        _ => record.created_ms,
    }
}

/// A restricted API key that lacks the permission (docs: /docs/api/errors/403 and 20003).
fn forbidden() -> Reply {
    refuse(403, 20003, "Permission Denied")
}

fn wrong_date(param: &str) -> Reply {
    refuse(400, 20001, &format!("Invalid value for {param}: a date must be YYYY-MM-DD or ISO 8601"))
}

/// One page of the records. `gone` finds the place of a sid that is not among theirs.
fn paged<T>(
    request: &Request,
    config: &Config,
    member: &str,
    records: &[T],
    sid_of: impl Fn(&T) -> &str,
    render: impl Fn(&T) -> Value,
    gone: impl Fn(&str) -> Option<usize>,
) -> Reply {
    let place = match Place::read(&request.params()) {
        Ok(place) => place,
        Err((code, message)) => return refuse(400, code, message),
    };
    let size = config.page_of(place.size, 1000);
    let find = |sid: &str| records.iter().position(|record| sid_of(record) == sid);
    let start = match &place.token {
        None => Some(0),
        Some(Token::After(sid)) => find(sid).map(|at| at + 1).or_else(|| gone(sid)),
        Some(Token::Before(sid)) => find(sid).or_else(|| gone(sid)).map(|at| at.saturating_sub(size)),
    };
    let Some(start) = start else { return refuse(400, 20001, "Invalid PageToken") };
    let end = (start + size).min(records.len());
    let shown: Vec<Value> = records[start..end].iter().map(render).collect();
    let first = place.page * place.size as u64;
    let next = (end < records.len()).then(|| Token::After(sid_of(&records[end - 1]).to_string()));
    let previous = (start > 0 && start < records.len()).then(|| Token::Before(sid_of(&records[start]).to_string()));
    let link = |page: u64, token: &Token| json!(uris::uri(request, place.size, page, Some(token)));
    let body = json!({
        member: shown,
        "first_page_uri": uris::uri(request, place.size, 0, None),
        "next_page_uri": next.map_or(Value::Null, |token| link(place.page + 1, &token)),
        "previous_page_uri": previous.map_or(Value::Null, |token| link(place.page.saturating_sub(1), &token)),
        "uri": uris::uri(request, place.size, place.page, place.token.as_ref()),
        "page": place.page,
        "page_size": place.size,
        "start": first,
        "end": (first + shown.len() as u64).saturating_sub(1).max(first),
    });
    Reply::json(200, body.to_string())
}

impl App for Twilio {
    fn answer(&mut self, call: &Call<'_>) -> Reply {
        self.requests += 1;
        self.book.publish(call.now_ms);
        let given = auth::basic(call.request);
        let account = given.as_ref().and_then(|(user, password)| self.account_of(call.config, user, password));
        let (credential, reply) = match (&given, &account) {
            (None, _) => ("none", refuse(401, 20003, "Authenticate")),
            (Some(_), None) => ("wrong", refuse(401, 20003, "Authenticate")),
            (Some(_), Some(_)) if is_busy(call) => ("valid", refuse(429, 20429, "Too Many Requests")),
            (Some(_), Some(own)) => ("valid", self.respond(call, own)),
        };
        let reply = match reply.status {
            401 => reply.with("WWW-Authenticate", "Basic realm=\"Twilio API\""),
            // The wait is not always said.
            429 if call.config.number("retry_after_seconds") > 0 => {
                reply.with("Retry-After", call.config.number("retry_after_seconds").to_string())
            }
            _ => reply,
        };
        let reply = reply
            .with("Content-Type", "application/json")
            .with("Twilio-Concurrent-Requests", call.in_flight.to_string())
            .with("Twilio-Request-Id", format!("RQ{:032x}", self.requests))
            .with("X-API-Domain", "api.twilio.com");
        Reply { credential, ..reply }
    }

    fn knobs(&self) -> Value {
        json!({
            "account_sid": ACCOUNT,
            "auth_token": "sim-auth-token",
            "api_key_sid": "SK0123456789abcdef0123456789abcdef",
            "api_key_secret": "sim-key-secret",
            // active, suspended or closed.
            "account_status": "active",
            // Requests at a time; 0 is no limit. The figure of the real one is not published.
            "concurrent_requests": 0,
            // Said with a 429; 0 leaves the header away.
            "retry_after_seconds": 0,
            // Older messages are not listed: about 400 days in the real one. 0 lists all.
            "message_retention_days": 0,
            "feedback_is_withdrawn": false,
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
        let account = given.get("account_sid").and_then(Value::as_str).unwrap_or(ACCOUNT);
        let mut record = match collection {
            "call_feedback" => {
                let calls = self.book.all_latest("calls");
                let call = match given.get("sid").and_then(Value::as_str) {
                    Some(sid) => sid.to_string(),
                    None => calls.get(number as usize).ok_or("there is no call without feedback")?.id.to_string(),
                };
                drafts::feedback(account, &call, number, at_ms)
            }
            _ => {
                let made = drafts::draft(collection, account, number, at_ms, self.seed);
                made.ok_or(format!("{collection} cannot be created"))?
            }
        };
        crud::merge(&mut record, given);
        Ok(record)
    }

    fn error_body(&self, status: u16) -> String {
        match status {
            401 => error(status, 20003, "Authenticate"),
            403 => error(status, 20003, "Permission Denied"),
            404 => error(status, 20404, "The requested resource was not found"),
            429 => error(status, 20429, "Too Many Requests"),
            400..=499 => error(status, 20001, "Bad request"),
            503 => error(status, 20503, "Service Unavailable"),
            _ => error(status, 20500, "An internal server error has occurred"),
        }
    }

    fn list_name(&self, request: &Request) -> String {
        let last = request.path.trim_end_matches(".json").rsplit('/').next().unwrap_or("");
        list_of(last).unwrap_or("accounts").into()
    }

    fn place_params(&self) -> &'static [&'static str] {
        &["Page", "PageToken"]
    }

    /// An emptied page leads to itself once more.
    fn lead_on(&self, is_empty: bool, request: &Request, _reply: &Reply, body: &mut Value) {
        if is_empty && body["next_page_uri"].is_null() {
            body["next_page_uri"] = json!(format!("{}?{}", request.path, request.query));
        }
    }
}

fn is_busy(call: &Call<'_>) -> bool {
    let most = call.config.size("concurrent_requests") as u64;
    call.is_over_rate || (most > 0 && call.in_flight > most)
}
