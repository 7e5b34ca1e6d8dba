//! Plays the Graph API of Facebook Ads (Meta Marketing API): decides whose request it is and which node or edge it means.
//!
//! developers.facebook.com/docs/marketing-api. Every request is judged by its token first, then by how many there were; usage
//! comes in headers, in percent.
//!
//! Control calls of its own: `DELETE tokens` ends the token (190, 463), `POST tokens` makes it good again. What is above a new
//! record is named by `account_id`, `campaign_id`, `adset_id` or `ad_id`. A row of insights is `{account}:{ad}:{day}`.

mod asked;
mod calls;
mod data;
mod errors;
mod fields;
mod filters;
mod insights;
mod nodes;
mod pages;
mod runs;
mod usage;

#[cfg(test)]
mod tests;

use serde_json::{json, Map, Value};

use crate::app::{bad, Answer, App, Ask, Call};
use crate::chance::Chance;
use crate::http::{decode_pairs, Reply, Request};
use crate::rest::auth::{scheme, Tokens};
use crate::rest::{crud, page, Book, When};
use errors::Refusal;
use fields::Fields;
use nodes::Look;

/// Versions that answer; the newest is what facebook-business 26 asks for.
const VERSIONS: std::ops::RangeInclusive<u32> = 24..=26;
const BATCH: usize = 50;

pub struct FacebookAds {
    seed: u64,
    book: Book,
    tokens: Tokens,
    runs: runs::Runs,
    chance: Chance,
    token_ended: bool,
}

pub fn new(seed: u64) -> Box<dyn App> {
    Box::new(FacebookAds::new(seed))
}

/// Parameters from the query, and from the body of a POST.
struct Params(Vec<(String, String)>);

impl Params {
    fn of(request: &Request) -> Params {
        let mut all = request.params();
        if request.method != "GET" {
            match serde_json::from_slice::<Map<String, Value>>(&request.body) {
                Ok(body) => all.extend(
                    body.into_iter().map(|(n, v)| (n, v.as_str().map_or_else(|| v.to_string(), str::to_string))),
                ),
                Err(_) => all.extend(request.form()),
            }
        }
        Params(all)
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
    }
}

impl FacebookAds {
    fn new(seed: u64) -> FacebookAds {
        let mut book = Book::new(&data::KINDS);
        for (number, (id, name, currency, zone)) in data::ACCOUNTS.into_iter().enumerate() {
            // The book has the collection, and the ids differ.
            let _ = book.add("ad_accounts", data::account(id, name, currency, zone, number as u64), When::now(0));
        }
        let (tokens, chance) = (Tokens::new(seed), Chance::new(seed, "facebook"));
        FacebookAds { seed, book, tokens, runs: runs::Runs::default(), chance, token_ended: false }
    }

    fn look(&self) -> Look<'_> {
        Look { book: &self.book, is_truth: false }
    }

    fn token(request: &Request, params: &Params) -> Option<String> {
        let header = scheme(request, "bearer").or(scheme(request, "oauth")).map(str::to_string);
        header.or(params.get("access_token")).filter(|token| !token.is_empty())
    }

    fn credential(&self, call: &Call<'_>, params: &Params) -> &'static str {
        let token = FacebookAds::token(call.request, params);
        match token.as_deref() {
            Some(token) if token == call.config.text("access_token") => match self.token_ended {
                true => "expired",
                false => "valid",
            },
            token => self.tokens.check(token, call.now_ms),
        }
    }

    fn check_token(&self, call: &Call<'_>, params: &Params) -> Result<(), Refusal> {
        match self.credential(call, params) {
            "valid" => {}
            "none" => return Err(Refusal::no_token()),
            "expired" => return Err(Refusal::ended_token()),
            _ => return Err(Refusal::bad_token()),
        }
        let token = FacebookAds::token(call.request, params).unwrap_or_default();
        match params.get("appsecret_proof") {
            None if call.config.flag("require_proof") => Err(Refusal::bad_proof(true)),
            Some(proof) if proof != proof_of(&token, call.config.text("app_secret")) => Err(Refusal::bad_proof(false)),
            _ => Ok(()),
        }
    }

    fn answer_graph(&mut self, call: &Call<'_>, params: &Params) -> Result<Value, Refusal> {
        let request = call.request;
        let parts: Vec<&str> = request.path.split('/').filter(|p| !p.is_empty()).collect();
        let parts = match parts.split_first() {
            Some((first, rest)) if first.starts_with('v') && first[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                check_version(first, &request.path)?;
                rest
            }
            _ => &parts[..],
        };
        if let (_, ["oauth", "access_token"]) = (request.method.as_str(), parts) {
            return self.exchange(call, params);
        }
        self.check_token(call, params)?;
        usage::check(call, parts)?;
        match (request.method.as_str(), parts) {
            ("POST", []) => self.batch(call, params),
            ("GET", ["me"]) => Ok(json!({"name": "Simulated User", "id": "10000000000000001"})),
            ("GET", ["me", "adaccounts"]) => self.accounts(call, params),
            ("GET", [id]) => self.node(call, params, id),
            ("GET", [id, "insights"]) => self.insights(call, params, id),
            ("POST", [id, "insights"]) => self.order(call, params, id),
            ("GET", [id, edge]) => self.edge(call, params, id, edge),
            (method, [id, ..]) => Err(Refusal::no_object(method, id)),
            _ => Err(Refusal::unknown_path("/")),
        }
    }

    /// A longer lived token for a good one.
    fn exchange(&mut self, call: &Call<'_>, params: &Params) -> Result<Value, Refusal> {
        let is = |name: &str, knob: &str| params.get(name).is_some_and(|given| given == call.config.text(knob));
        if params.get("grant_type").as_deref() != Some("fb_exchange_token") {
            return Err(Refusal::new(400, 100, "Missing or unsupported grant_type"));
        }
        if !is("client_id", "app_id") || !is("client_secret", "app_secret") {
            return Err(Refusal::new(400, 1, "Error validating client secret."));
        }
        if self.token_ended || !is("fb_exchange_token", "access_token") {
            return Err(Refusal::bad_token());
        }
        let lifetime = call.config.number("token_lifetime_seconds");
        let token = self.tokens.mint("EAAsim", lifetime, call.now_ms);
        Ok(json!({"access_token": token, "token_type": "bearer", "expires_in": lifetime}))
    }

    /// Up to 50 calls in one, each with an answer of its own.
    fn batch(&mut self, call: &Call<'_>, params: &Params) -> Result<Value, Refusal> {
        let calls: Option<Vec<Value>> = params.get("batch").and_then(|text| serde_json::from_str(&text).ok());
        let calls = calls.ok_or_else(|| Refusal::param("batch parameter must be a JSON array"))?;
        if calls.len() > BATCH {
            return Err(Refusal::param(format!("Too many requests in batch message. Maximum batch size is {BATCH}")));
        }
        let mut answers = Vec::new();
        for one in &calls {
            let url = one["relative_url"].as_str().unwrap_or("");
            let (path, query) = url.split_once('?').unwrap_or((url, ""));
            let mut request = Request {
                method: one["method"].as_str().unwrap_or("GET").into(),
                path: format!("/{}", path.trim_start_matches('/')),
                query: query.into(),
                body: one["body"].as_str().unwrap_or("").into(),
                headers: call.request.headers.clone(),
                is_tls: call.request.is_tls,
                ..Request::default()
            };
            let names: Vec<String> = decode_pairs(query).into_iter().map(|(n, _)| n).collect();
            for name in ["access_token", "appsecret_proof"] {
                if let Some(value) = params.get(name).filter(|_| !names.iter().any(|n| n == name)) {
                    let glue = if request.query.is_empty() { "" } else { "&" };
                    request.query.push_str(&format!("{glue}{name}={}", page::encode(&value)));
                }
            }
            let inner = Call { request: &request, ..*call };
            let reply = self.reply(&inner);
            let headers: Vec<Value> =
                reply.headers.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            answers.push(json!({
                "code": reply.status, "headers": headers, "body": String::from_utf8_lossy(&reply.body),
            }));
        }
        Ok(Value::Array(answers))
    }

    fn reply(&mut self, call: &Call<'_>) -> Reply {
        let params = Params::of(call.request);
        let trace = format!("A{}", self.chance.letters(22));
        let credential = self.credential(call, &params);
        let mut reply = match self.answer_graph(call, &params) {
            Ok(body) => Reply::json(200, body.to_string()),
            Err(refusal) => refusal.reply(&trace),
        };
        reply.credential = credential;
        let reply = reply.with("Content-Type", "application/json; charset=UTF-8").with("x-fb-trace-id", trace);
        usage::tell(call, reply)
    }
}

/// `appsecret_proof`: the token's HMAC-SHA256 under the app's secret.
fn proof_of(token: &str, secret: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    ring::hmac::sign(&key, token.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_version(part: &str, path: &str) -> Result<(), Refusal> {
    let major = part[1..].strip_suffix(".0").and_then(|n| n.parse::<u32>().ok());
    match major {
        Some(major) if VERSIONS.contains(&major) => Ok(()),
        Some(major) if major < *VERSIONS.start() => Err(Refusal::old_version(*VERSIONS.end())),
        _ => Err(Refusal::unknown_path(path)),
    }
}

impl App for FacebookAds {
    fn answer(&mut self, call: &Call<'_>) -> Reply {
        self.book.publish(call.now_ms);
        self.reply(call)
    }

    fn knobs(&self) -> Value {
        json!({
            "access_token": "sim-token", "app_id": "sim-app", "app_secret": "sim-secret", "require_proof": false,
            "token_lifetime_seconds": 5_184_000,
            // Calls until the allowance is spent; 0 is no limit. The headers count in percent of it.
            "call_quota": 0,
            // The code that tells of too many calls; 0: by the kind of call (80000, 80004 or 17).
            "rate_error": 0, "regain_minutes": 5,
            // A larger `limit`, or more rows of insights at once, is answered by "reduce the amount of data". 0 is no limit.
            "most_per_page": 0, "most_rows_at_once": 0,
            // Looks at a report run before it ends, how it ends, and the most rows it can have.
            "run_polls": 2, "run_outcome": "Job Completed", "most_rows_of_a_run": 0,
        })
    }

    fn book(&mut self) -> Option<&mut Book> {
        Some(&mut self.book)
    }

    fn draft(&mut self, collection: &str, number: u64, at_ms: i64, given: &Fields) -> Result<Fields, String> {
        data::draft(&self.book, self.seed, collection, number, at_ms, given)
    }

    /// The API itself takes no deletion back; a test may.
    fn mark(&mut self, collection: &str, fields: &mut Fields, is_deleted: bool, _at_ms: i64) {
        match collection {
            "insights" => {}
            "ad_accounts" => drop(fields.insert("account_status".into(), json!(if is_deleted { 101 } else { 1 }))),
            _ => {
                let status = if is_deleted { "DELETED" } else { "ACTIVE" };
                fields.insert("status".into(), json!(status));
                fields.insert("configured_status".into(), json!(status));
            }
        }
    }

    fn control(&mut self, ask: &Ask<'_>, parts: &[&str]) -> Option<Answer> {
        let done = Some(Ok(json!({"ok": true}).to_string()));
        match (ask.request.method.as_str(), parts) {
            ("DELETE", ["tokens"]) => {
                self.tokens.expire_all();
                self.token_ended = true;
                done
            }
            ("POST", ["tokens"]) => {
                self.token_ended = false;
                done
            }
            _ => None,
        }
    }

    fn configured(&mut self, changes: &Map<String, Value>) {
        if changes.contains_key("access_token") {
            self.token_ended = false;
        }
    }

    /// Insights are spread over days that end with the one before `until`: one row for each ad and day.
    fn seed(&mut self, ask: &mut Ask<'_>) -> Answer {
        let until_s = ask.take_until_s();
        ask.body.insert("until".into(), json!(until_s));
        let insights = ask.body.remove("insights");
        let made = crud::seed(self, ask)?;
        let mut made: Value = serde_json::from_str(&made).map_err(|e| bad(e.to_string()))?;
        if let Some(size) = insights {
            let size = size.as_u64().ok_or_else(|| bad("the size of insights must be a whole number"))?;
            let ads: Vec<String> = self.book.all_latest("ads").iter().map(|ad| ad.id.to_string()).collect();
            if ads.is_empty() && size > 0 {
                return Err(bad("insights need ads"));
            }
            for i in 0..size {
                let days = (i / ads.len() as u64) as i64;
                let mut given = Fields::new();
                given.insert("ad_id".into(), json!(ads[(i % ads.len() as u64) as usize]));
                crud::make(self, "insights", &given, When::now((until_s - 1 - days * 86_400) * 1000))?;
            }
            made["insights"] = json!(size);
        }
        Ok(made.to_string())
    }

    fn change(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        let status = ask.body.get("status").and_then(Value::as_str).unwrap_or("").to_string();
        if status == "DELETED" {
            crud::delete(self, ask, collection, id)?;
        }
        crud::change(self, ask, collection, id)?;
        let when = When { at_ms: ask.now_ms, due_ms: ask.due_ms(), is_silent: true };
        if !status.is_empty() {
            let set = |record: &mut crate::rest::Record| {
                drop(record.fields.insert("configured_status".into(), json!(status)))
            };
            self.book.edit(collection, id, when, set).map_err(bad)?;
        }
        let truth = Look { book: &self.book, is_truth: true };
        let record = truth.get(collection, id).ok_or_else(|| bad(format!("{collection} has no {id}")))?;
        Ok(Value::Object(truth.node(collection, &record)).to_string())
    }

    /// Records as the API writes them: with the status that their parents leave them, which decides what is deleted.
    fn ledger(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        let truth = Look { book: &self.book, is_truth: true };
        let mut rows: Vec<String> = Vec::new();
        match collection {
            "insights" => {
                for row in insights::all(truth) {
                    let id =
                        format!("{}:{}:{}", text(&row, "account_id"), text(&row, "ad_id"), text(&row, "date_start"));
                    let version = self.book.latest("insights", &id).map_or(0, |record| record.version);
                    rows.push(json!({"id": id, "version": version, "deleted": false, "record": row}).to_string());
                }
            }
            "campaigns" | "ad_sets" | "ads" if !ask.flag("gone") => {
                for record in self.book.all_latest(collection) {
                    let node = truth.node(collection, &record);
                    let is_deleted = node.get("effective_status") == Some(&json!("DELETED"));
                    rows.push(
                        json!({"id": record.id, "version": truth.version(&record), "deleted": is_deleted,
                               "changed_at": record.updated_ms, "record": node})
                        .to_string(),
                    );
                }
            }
            _ => return crud::ledger(self, ask, collection),
        }
        Ok(format!("[{}\n]", rows.iter().map(|row| format!("\n{row}")).collect::<Vec<_>>().join(",")))
    }

    fn error_body(&self, status: u16) -> String {
        let refusal = match status {
            401 => Refusal::bad_token(),
            403 => Refusal::no_account_permission(),
            404 => Refusal::no_object("get", "0"),
            429 => Refusal::too_many_calls(17),
            400 => Refusal::param("Invalid parameter"),
            _ => Refusal { is_transient: true, ..Refusal::new(status, 2, "Service temporarily unavailable") },
        };
        refusal.body("Asimulated").to_string()
    }

    fn place_params(&self) -> &'static [&'static str] {
        &["after", "before"]
    }

    /// An emptied page leads to the same place once more, as a page does whose objects were all filtered out.
    fn lead_on(&self, _is_empty: bool, request: &Request, _reply: &Reply, body: &mut Value) {
        body["paging"]["next"] = json!(page::link_with(request, &[]));
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or("")
}
