//! Plays Google Ads over REST: decides who may ask, for which account, and how rows are handed out.
//!
//! developers.google.com/google-ads/api/rest. `googleAds:searchStream` answers an array of chunks, `googleAds:search` pages
//! of 10,000 rows whose size cannot be asked for. The wording of what `click_view` refuses is not documented; its limits are.
//!
//! Control calls of its own: `POST token` gives a new access token, `DELETE tokens` ends all of them, `GET tokens` counts
//! those granted. What belongs to a new record is named by `customer`, `campaign`, `adGroup`, `ad` or `keyword`, a fact's day
//! by `date`. A report's row has the id of its key joined by ":" (`{ad group}:{ad}:{day}`); `campaign_performance_report`
//! follows from that of the ads.

mod access;
mod data;
mod dates;
mod errors;
mod eval;
mod fields;
mod gaql;
mod ledger;
mod metrics;
mod oauth;
mod plan;
mod shown;

#[cfg(test)]
mod tests;

use serde_json::{json, Map, Value};

use crate::app::{bad, Answer, App, Ask, Call, Happened};
use crate::chance::Chance;
use crate::http::{Reply, Request};
use crate::rest::auth::Tokens;
use crate::rest::{crud, page, Book, When};
use access::accessible;
use errors::Refusal;
use eval::Fields;
use plan::Plan;

/// Versions that answer; a version lives about a year.
const VERSIONS: std::ops::RangeInclusive<u32> = 23..=26;
const PAGE: usize = 10_000;
/// How far back clicks can be asked for.
const CLICK_DAYS: i64 = 90;

pub struct GoogleAds {
    seed: u64,
    book: Book,
    tokens: Tokens,
    chance: Chance,
}

pub fn new(seed: u64) -> Box<dyn App> {
    let mut book = Book::new(&data::KINDS);
    for customer in data::customers() {
        // The book has the collection, and the ids differ.
        let _ = book.add("customers", customer, When::now(0));
    }
    Box::new(GoogleAds { seed, book, tokens: Tokens::new(seed), chance: Chance::new(seed, "google ads") })
}

impl GoogleAds {
    fn answer_api(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let request = call.request;
        let parts: Vec<&str> = request.path.split('/').filter(|p| !p.is_empty()).collect();
        self.check_credentials(call)?;
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", [_, "customers:listAccessibleCustomers"]) => {
                let names: Vec<String> = accessible(call).iter().map(|id| format!("customers/{id}")).collect();
                Ok(Reply::json(200, json!({"resourceNames": names}).to_string()))
            }
            ("POST", [_, "customers", customer, "googleAds:search"]) => self.search(call, customer, false),
            ("POST", [_, "customers", customer, "googleAds:searchStream"]) => self.search(call, customer, true),
            _ => Err(Refusal::unknown_method()),
        }
    }

    fn search(&mut self, call: &Call<'_>, customer: &str, is_stream: bool) -> Result<Reply, Refusal> {
        let body: Value = serde_json::from_slice(&call.request.body)
            .map_err(|_| Refusal::request("UNKNOWN", "Invalid JSON payload received."))?;
        if body.get("pageSize").is_some() {
            let message =
                "Setting the page size is not supported. Search Responses will have fixed page size of '10000' rows.";
            return Err(Refusal::request("PAGE_SIZE_NOT_SUPPORTED", message));
        }
        let customer = self.customer(call, customer)?;
        let Some(text) = body["query"].as_str() else {
            return Err(Refusal::request("REQUIRED_FIELD_MISSING", "Required field was not present: query."));
        };
        let plan = Plan::new(&gaql::parse(text)?)?;
        if call.config.denies(ledger::names_of(plan.from.name)) {
            return Err(Refusal::no_permission());
        }
        if plan.asks_metrics() && customer.get("manager") == true {
            let message = "Metrics cannot be requested for a manager account. To retrieve metrics, issue separate \
                           requests against each client account under the manager account.";
            return Err(Refusal::query("REQUESTED_METRICS_FOR_MANAGER", message.into()));
        }
        let today = dates::today(customer.text("timeZone"), call.now_ms);
        if plan.from.name == "click_view" {
            one_recent_day(&plan, &today)?;
        }
        let shown = shown::Shown::of(&self.book, &customer, plan.from.name);
        let rows = plan.run(&shown.sources(plan.from.name), &today);
        let size = call.config.page_of(PAGE, PAGE);
        match is_stream {
            true => Ok(self.chunks(&plan, &rows, size)),
            false => one_page(&plan, &rows, size, text, &body),
        }
    }

    /// All rows in one array of chunks; a chunk without rows has no `results`.
    fn chunks(&mut self, plan: &Plan, rows: &[Value], size: usize) -> Reply {
        let request_id = self.chance.letters(22);
        let mut chunks: Vec<Value> = Vec::new();
        for results in rows.chunks(size) {
            chunks.push(json!({"results": results, "fieldMask": plan.field_mask(), "requestId": request_id}));
        }
        if chunks.is_empty() {
            chunks.push(json!({"fieldMask": plan.field_mask(), "requestId": request_id}));
        }
        Reply::json(200, Value::Array(chunks).to_string())
    }
}

/// One page; its token is good for the same query only.
fn one_page(plan: &Plan, rows: &[Value], size: usize, query: &str, body: &Value) -> Result<Reply, Refusal> {
    let invalid = || Refusal::request("INVALID_PAGE_TOKEN", "Page token is invalid.");
    let offset = match body["pageToken"].as_str().filter(|token| !token.is_empty()) {
        None => 0,
        Some(token) => match page::read_cursor(token) {
            Some(place) if place[1] == query => place[0].as_u64().ok_or_else(invalid)? as usize,
            _ => return Err(invalid()),
        },
    };
    let results = page::slice(rows, offset, size);
    let mut reply = json!({"fieldMask": plan.field_mask()});
    if !results.is_empty() {
        reply["results"] = json!(results);
    }
    if offset + results.len() < rows.len() {
        reply["nextPageToken"] = json!(page::cursor(&json!([offset + results.len(), query])));
    }
    if body["searchSettings"]["returnTotalResultsCount"] == true {
        reply["totalResultsCount"] = json!(rows.len().to_string());
    }
    Ok(Reply::json(200, reply.to_string()))
}

/// Clicks can be asked for one day at a time, at most 90 days back.
fn one_recent_day(plan: &Plan, today: &str) -> Result<(), Refusal> {
    let (from, to) = plan.days(today);
    let (Some(from), Some(to)) = (from, to) else {
        let message = "Queries on click_view must filter on a single day.".to_string();
        return Err(Refusal::query("EXPECTED_FILTERS_ON_DATE_RANGE", message));
    };
    if from != to {
        let message = "Queries on click_view must limit the results to one day.".to_string();
        return Err(Refusal::query("DATE_RANGE_TOO_WIDE", message));
    }
    if dates::between(&from, today) > CLICK_DAYS {
        let message = "Clicks can be requested for dates back to 90 days before the time of the request.";
        return Err(Refusal::date("EARLIER_THAN_MINIMUM_DATE", message));
    }
    Ok(())
}

/// The version of a path: a number that answers, or why not.
fn version(path: &str) -> Result<&str, Option<Refusal>> {
    let version = path.split('/').nth(1).unwrap_or("");
    let number = version.strip_prefix('v').and_then(|n| n.parse::<u32>().ok()).ok_or(None)?;
    if VERSIONS.contains(&number) {
        return Ok(version);
    }
    if number > *VERSIONS.end() {
        return Err(None);
    }
    let message = format!("Version {version} is deprecated. Requests to this version will be blocked.");
    Err(Some(Refusal::request("UNSUPPORTED_VERSION", &message)))
}

fn parsed(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_default()
}

impl App for GoogleAds {
    fn answer(&mut self, call: &Call<'_>) -> Reply {
        self.book.publish(call.now_ms);
        if let Some(reply) = oauth::answer(call, &mut self.tokens) {
            return reply;
        }
        let credential = self.credential(call);
        let request_id = self.chance.letters(22);
        let is_stream = call.request.path.ends_with(":searchStream");
        let mut reply = match version(&call.request.path) {
            Ok(version) => {
                let outcome = self.answer_api(call);
                outcome.unwrap_or_else(|refusal| refusal.reply(version, &request_id, is_stream))
            }
            Err(Some(refusal)) => refusal.reply("v23", &request_id, is_stream),
            Err(None) => Reply::json(404, "<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>")
                .with("Content-Type", "text/html; charset=UTF-8"),
        };
        reply.credential = credential;
        reply.with("request-id", request_id)
    }

    fn knobs(&self) -> Value {
        json!({
            "client_id": "sim-client", "client_secret": "sim-secret", "refresh_token": "sim-refresh",
            "developer_token": "sim-developer", "developer_token_approved": true,
            // An access token that is always good; empty for none.
            "access_token": "sim-token", "token_lifetime_seconds": 3599,
            // Accounts with a login of their own, separated by commas.
            "accessible_customers": data::MANAGER,
            // Queries a day; 0 is no limit. Further pages of a query do not count.
            "daily_quota": 0, "retry_delay_seconds": 30,
        })
    }

    fn counts(&self, request: &Request) -> bool {
        request.path.contains("/googleAds:search") && parsed(request)["pageToken"].as_str().is_none_or(str::is_empty)
    }

    fn book(&mut self) -> Option<&mut Book> {
        Some(&mut self.book)
    }

    fn draft(&mut self, collection: &str, number: u64, at_ms: i64, given: &Fields) -> Result<Fields, String> {
        data::check_fact(given)?;
        data::draft(&self.book, self.seed, collection, number, at_ms, given)
    }

    /// Nothing is ever gone: what is removed keeps its row with this status.
    fn mark(&mut self, collection: &str, fields: &mut Fields, is_deleted: bool, _at_ms: i64) {
        let status = match (collection, is_deleted) {
            ("customers", true) => "CANCELED",
            (_, true) => "REMOVED",
            (_, false) => "ENABLED",
        };
        if !data::FACTS.contains(&collection) {
            fields.insert("status".into(), json!(status));
        }
    }

    fn happened(&mut self, change: &Happened<'_>) {
        if let ("campaigns", None, Some(campaign)) = (change.collection, change.before, change.after) {
            let budget = data::budget_of(campaign, self.seed);
            // A campaign that was given the budget of another shares it.
            if self.book.latest("campaign_budgets", data::text(&budget, "id")).is_none() {
                let _ = self.book.add("campaign_budgets", budget, change.when);
            }
        }
    }

    fn control(&mut self, ask: &Ask<'_>, parts: &[&str]) -> Option<Answer> {
        match (ask.request.method.as_str(), parts) {
            ("POST", ["token"]) => {
                let token = self.tokens.mint("ya29.sim-", ask.config.number("token_lifetime_seconds"), ask.now_ms);
                Some(Ok(json!({"access_token": token}).to_string()))
            }
            ("DELETE", ["tokens"]) => {
                self.tokens.expire_all();
                Some(Ok(json!({"ok": true}).to_string()))
            }
            ("GET", ["tokens"]) => Some(Ok(json!({"granted": self.tokens.granted}).to_string())),
            _ => None,
        }
    }

    /// Facts are spread over days that end with the one before `until`: one for each ad (or keyword) and day.
    fn seed(&mut self, ask: &mut Ask<'_>) -> Answer {
        let until_s = ask.take_until_s();
        ask.body.insert("until".into(), json!(until_s));
        let mut facts: Map<String, Value> = Map::new();
        for name in data::FACTS {
            if let Some(size) = ask.body.remove(name) {
                facts.insert(name.into(), size);
            }
        }
        let made = crud::seed(self, ask)?;
        let mut made: Value = serde_json::from_str(&made).map_err(|e| bad(e.to_string()))?;
        for (name, size) in facts {
            let size = size.as_u64().ok_or_else(|| bad(format!("the size of {name} must be a whole number")))?;
            let owner = if name == "keywords_performance_report" { "keyword" } else { "ad" };
            let collection = if owner == "ad" { "ads" } else { "keywords" };
            let owners: Vec<String> = self.book.all_latest(collection).iter().map(|r| r.id.to_string()).collect();
            if owners.is_empty() && size > 0 {
                return Err(bad(format!("{name} needs {collection}")));
            }
            for i in 0..size {
                let days = i / owners.len() as u64;
                let at_ms = (until_s - 1 - days as i64 * 86_400) * 1000;
                let mut given = Fields::new();
                given.insert(owner.into(), json!(owners[(i % owners.len() as u64) as usize]));
                crud::make(self, &name, &given, When::now(at_ms))?;
            }
            made[name] = json!(size);
        }
        Ok(made.to_string())
    }

    fn change(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        data::check_fact(&ask.body).map_err(bad)?;
        let id = ledger::fact_of(&self.book, collection, id)?;
        if ask.body.get("status") == Some(&json!("REMOVED")) {
            crud::delete(self, ask, collection, &id)?;
        }
        crud::change(self, ask, collection, &id)
    }

    fn delete(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        let id = ledger::fact_of(&self.book, collection, id)?;
        if data::FACTS.contains(&collection) && !ask.flag("hard") {
            return Err(bad("what happened cannot be deleted softly"));
        }
        crud::delete(self, ask, collection, &id)
    }

    fn ledger(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        match ledger::report(&self.book, collection) {
            Some(rows) => Ok(rows),
            None => crud::ledger(self, ask, collection),
        }
    }

    fn count(&mut self, _ask: &Ask<'_>, collection: &str) -> Answer {
        match ledger::size(&self.book, collection) {
            Some(size) => Ok(json!({"count": size, "deleted": 0, "total": size}).to_string()),
            None => crud::count(self, collection),
        }
    }

    fn error_body(&self, status: u16) -> String {
        let (rpc, message) = match status {
            401 => ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
            403 => ("PERMISSION_DENIED", "The caller does not have permission"),
            404 => ("NOT_FOUND", "Requested entity was not found."),
            429 => ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
            500 => ("INTERNAL", "Internal error encountered."),
            503 => ("UNAVAILABLE", "The service is currently unavailable."),
            504 => ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
            _ => ("INVALID_ARGUMENT", "Request contains an invalid argument."),
        };
        json!({"error": {"code": status, "message": message, "status": rpc}}).to_string()
    }

    fn list_name(&self, _request: &Request) -> String {
        "results".into()
    }

    fn records<'a>(&self, _request: &Request, body: &'a mut Value) -> Option<&'a mut Vec<Value>> {
        let inside = if body.is_array() { body.get_mut(0)? } else { body };
        inside.get_mut("results")?.as_array_mut()
    }

    /// An emptied page of `search` leads to the same place once more; a stream has no next page.
    fn lead_on(&self, _is_empty: bool, request: &Request, _reply: &Reply, body: &mut Value) {
        if request.path.ends_with(":search") {
            let asked = parsed(request);
            let own = asked["pageToken"].as_str().filter(|token| !token.is_empty()).map(str::to_string);
            body["nextPageToken"] = json!(own.unwrap_or_else(|| page::cursor(&json!([0, asked["query"]]))));
        }
    }

    /// The page token is in the body, beside the query.
    fn listing_key(&self, request: &Request) -> String {
        format!("{} {}", request.path, parsed(request)["query"])
    }

    fn starts_listing(&self, request: &Request) -> bool {
        parsed(request)["pageToken"].as_str().is_none_or(str::is_empty)
    }
}
