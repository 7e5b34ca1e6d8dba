//! Plays Stripe: decides whose request it is and which resource it means.
//!
//! Written from the API reference of version 2024-06-20. Each account has data of its own; `Stripe-Account` chooses one.

mod control;
mod edit;
mod events;
mod kinds;
mod lists;
mod seed;
mod templates;

use std::collections::BTreeMap;

use serde_json::{json, Value};

use crate::app::App;
use crate::chance::Chance;
use crate::clock;
use crate::config::Config;
use crate::http::{Reply, Request};
use crate::store::{Row, Table};
use kinds::{Kind, KINDS};

/// The account a key belongs to.
pub const OWN_ACCOUNT: &str = "acct_1SimulatedOwner";
const ACCOUNT_CREATED_S: i64 = 1_577_836_800;

/// A record: its JSON without the lists embedded in it, which are put in when it is sent.
pub struct Thing {
    id: Box<str>,
    created: i64,
    is_deleted: bool,
    /// Deleted without a word: not even a GET by id knows it.
    is_gone: bool,
    text: Box<str>,
    version: u64,
    changed_s: i64,
    keys: Box<[(u8, Box<str>)]>,
}

impl Row for Thing {
    fn id(&self) -> &str {
        &self.id
    }
    fn order(&self) -> i64 {
        self.created
    }
    fn is_listed(&self) -> bool {
        !self.is_deleted
    }
    fn keys(&self) -> &[(u8, Box<str>)] {
        &self.keys
    }
}

impl Thing {
    fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    fn key(&self, at: u8) -> Option<&str> {
        self.keys.iter().find(|(k, _)| *k == at).map(|(_, v)| v.as_ref())
    }
}

/// One account's data.
pub struct Account {
    id: String,
    info: Value,
    info_version: u64,
    tables: Vec<Table<Thing>>,
    /// Counts the changes.
    version: u64,
    chance: Chance,
}

impl Account {
    fn new(id: &str, seed: u64) -> Account {
        Account {
            id: id.to_string(),
            info: templates::account(id, ACCOUNT_CREATED_S),
            info_version: 0,
            tables: KINDS.iter().map(|_| Table::default()).collect(),
            version: 0,
            chance: Chance::new(seed, id),
        }
    }
}

pub fn new(seed: u64) -> Box<dyn App> {
    Box::new(Stripe::new(seed))
}

struct Stripe {
    seed: u64,
    accounts: BTreeMap<String, Account>,
    requests: u64,
}

/// An error as the API words it.
fn refuse(status: u16, kind: &str, code: &str, message: &str, param: Option<&str>) -> Reply {
    let mut error = json!({"message": message, "type": kind});
    if !code.is_empty() {
        error["code"] = json!(code);
        error["doc_url"] = json!(format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-")));
    }
    if let Some(param) = param {
        error["param"] = json!(param);
    }
    Reply::json(status, json!({"error": error}).to_string())
}

fn bad_request(code: &str, message: &str, param: Option<&str>) -> Reply {
    refuse(400, "invalid_request_error", code, message, param)
}

fn missing(status: u16, object: &str, id: &str, param: &str) -> Reply {
    let object = object.replace('_', " ");
    refuse(status, "invalid_request_error", "resource_missing", &format!("No such {object}: '{id}'"), Some(param))
}

impl Stripe {
    pub fn new(seed: u64) -> Stripe {
        let own = Account::new(OWN_ACCOUNT, seed);
        Stripe { seed, accounts: BTreeMap::from([(OWN_ACCOUNT.to_string(), own)]), requests: 0 }
    }

    /// The account's data, made when there is none: for the control API.
    pub fn account(&mut self, id: Option<&str>) -> &mut Account {
        let id = id.unwrap_or(OWN_ACCOUNT);
        let seed = self.seed;
        self.accounts.entry(id.to_string()).or_insert_with(|| Account::new(id, seed))
    }

    fn play(&mut self, request: &Request, config: &Config, over_rate: bool) -> Reply {
        self.requests += 1;
        let number = self.requests;
        let (credential, refusal) = check_key(request, config);
        let mut reply = match refusal {
            Some(reply) => reply,
            None if over_rate => {
                let message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.";
                refuse(429, "invalid_request_error", "rate_limit", message, None)
                    .with("Stripe-Rate-Limited-Reason", "global-rate")
                    .with("Stripe-Should-Retry", "true")
            }
            None => self.answer_account(request, config),
        };
        reply.credential = credential;
        if let Some(account) = request.header("stripe-account") {
            reply = reply.with("Stripe-Account", account);
        }
        let version = request.header("stripe-version").unwrap_or(config.text("api_version"));
        reply
            .with("Content-Type", "application/json")
            .with("Request-Id", format!("req_{number:014}"))
            .with("Stripe-Version", version)
    }

    fn answer_account(&mut self, request: &Request, config: &Config) -> Reply {
        let id = request.header("stripe-account").unwrap_or(OWN_ACCOUNT);
        let known: Vec<String> = self.accounts.keys().cloned().collect();
        let Some(account) = self.accounts.get_mut(id) else {
            let message = format!("The provided key 'sk_test_***' does not have access to account '{id}' (or that account does not exist). Application access may have been revoked.");
            return refuse(403, "invalid_request_error", "account_invalid", &message, None);
        };
        let now = clock::now_ms();
        account.tables.iter_mut().for_each(|t| t.publish(now));
        let Some(path) = request.path.strip_prefix("/v1/") else { return unknown_url(request) };
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return unknown_url(request);
        }
        match parts.as_slice() {
            ["account"] => return account.own_info(config),
            ["accounts", wanted] if known.iter().any(|k| k == wanted) => {
                return Reply::json(200, self.accounts[*wanted].info.to_string());
            }
            ["accounts"] => {
                let data: Vec<&Value> =
                    self.accounts.values().filter(|a| a.id != OWN_ACCOUNT).map(|a| &a.info).collect();
                return Reply::json(
                    200,
                    json!({"object": "list", "url": "/v1/accounts", "has_more": false, "data": data}).to_string(),
                );
            }
            _ => {}
        }
        account.answer(request, config, &parts)
    }
}

impl Account {
    fn own_info(&self, config: &Config) -> Reply {
        match denied(config, &["accounts", "account"]) {
            Some(reply) => reply,
            None => Reply::json(200, self.info.to_string()),
        }
    }

    fn answer(&self, request: &Request, config: &Config, parts: &[&str]) -> Reply {
        let at = |name: &str| kinds::place(name).unwrap_or(0);
        let by_path = |path: &str| KINDS.iter().position(|k| !k.path.is_empty() && k.path == path);
        let kind = match parts {
            [path, ..] => match by_path(path) {
                Some(kind) => kind,
                None => return unknown_url(request),
            },
            [] => return unknown_url(request),
        };
        match parts {
            [_] => self.list(request, config, kind, None),
            [_, id] => self.one(request, config, kind, id),
            ["customers", id, "sources"] => self.nested(
                request,
                config,
                "customers",
                id,
                at("sources"),
                &request.param("object").unwrap_or_default(),
            ),
            ["customers", id, "cards"] => self.nested(request, config, "customers", id, at("sources"), "card"),
            ["customers", id, "bank_accounts"] => {
                self.nested(request, config, "customers", id, at("sources"), "bank_account")
            }
            ["customers", id, "payment_methods"] => {
                self.nested(request, config, "customers", id, at("payment_methods"), "")
            }
            ["customers", id, "subscriptions"] => {
                self.nested(request, config, "customers", id, at("subscriptions"), "")
            }
            ["customers", id, "discount"] => self.discount(config, kind, id),
            ["invoices", id, "lines"] => self.nested(request, config, "invoices", id, at("invoice_lines"), ""),
            ["charges", id, "refunds"] => self.nested(request, config, "charges", id, at("refunds"), ""),
            ["transfers", id, "reversals"] => {
                self.nested(request, config, "transfers", id, at("transfer_reversals"), "")
            }
            ["application_fees", id, "refunds"] => {
                self.nested(request, config, "application_fees", id, at("application_fee_refunds"), "")
            }
            ["customers", _, "sources" | "cards" | "bank_accounts", id] => self.one(request, config, at("sources"), id),
            ["customers", _, "payment_methods", id] => self.one(request, config, at("payment_methods"), id),
            ["transfers", _, "reversals", id] => self.one(request, config, at("transfer_reversals"), id),
            ["application_fees", _, "refunds", id] => self.one(request, config, at("application_fee_refunds"), id),
            _ => unknown_url(request),
        }
    }

    fn discount(&self, config: &Config, customers: usize, id: &str) -> Reply {
        if let Some(reply) = denied(config, &["customers", "discounts"]) {
            return reply;
        }
        match self.tables[customers].get(id).map(|c| c.value()["discount"].take()) {
            Some(Value::Null) | None => refuse(
                404,
                "invalid_request_error",
                "resource_missing",
                "No active discount for customer: ".to_string().as_str(),
                Some("customer"),
            ),
            Some(discount) => Reply::json(200, discount.to_string()),
        }
    }
}

/// Judges the key: bearer, or basic with the key as the user.
fn check_key(request: &Request, config: &Config) -> (&'static str, Option<Reply>) {
    let unauthorized = |message: &str| {
        Some(refuse(401, "invalid_request_error", "", message, None).with("WWW-Authenticate", "Basic realm=\"Stripe\""))
    };
    let Some(header) = request.header("authorization") else {
        let message = "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').";
        return ("none", unauthorized(message));
    };
    let key = match header.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim().to_string(),
        Some((scheme, coded)) if scheme.eq_ignore_ascii_case("basic") => {
            use base64::Engine;
            let text = base64::engine::general_purpose::STANDARD
                .decode(coded.trim())
                .ok()
                .and_then(|b| String::from_utf8(b).ok())
                .unwrap_or_default();
            text.split(':').next().unwrap_or("").to_string()
        }
        _ => String::new(),
    };
    if key == config.text("api_key") {
        return ("valid", None);
    }
    let shown: String = key.chars().take(8).collect();
    ("wrong", unauthorized(&format!("Invalid API Key provided: {shown}****")))
}

fn unknown_url(request: &Request) -> Reply {
    let message = format!(
        "Unrecognized request URL ({}: {}). Please see https://stripe.com/docs or we can help at https://support.stripe.com/.",
        request.method, request.path
    );
    refuse(404, "invalid_request_error", "", &message, None)
}

/// The refusal of a restricted key that lacks a permission for one of these collections.
fn denied(config: &Config, names: &[&str]) -> Option<Reply> {
    let name = names.iter().find(|name| config.denied.iter().any(|d| d == *name))?;
    let message = format!(
        "The provided key 'rk_test_***' does not have the required permissions for this endpoint on account '{OWN_ACCOUNT}'. Having the 'rak_{name}_read' permission would allow this request to continue."
    );
    Some(refuse(403, "invalid_request_error", "", &message, None))
}

/// The names under which a kind can be denied.
fn names_of(kind: &Kind) -> Vec<&'static str> {
    match kind.name {
        "sources" => vec!["sources", "cards", "bank_accounts"],
        name => vec![name, kind.path],
    }
}
