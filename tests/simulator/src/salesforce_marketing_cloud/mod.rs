//! Plays Salesforce Marketing Cloud: decides who may ask, and whether a request is for REST or for SOAP.
//!
//! Three hosts of one tenant (auth, rest, soap) share an address here and differ by path. Doubled slashes are taken: the
//! vendor's own SDK joins `rest_instance_url`, which ends with one, to paths that begin with one.
//!
//! Control calls of its own: `DELETE tokens` ends all access tokens, `GET tokens` counts those granted, `DELETE retrieves`
//! forgets the retrieves under way. `goals` are read from `interactions`: change those.

mod central;
mod data;
mod lists;
mod rest;
mod soap;
mod xml;

#[cfg(test)]
mod tests;

use serde_json::{json, Value};

use crate::app::{Answer, App, Ask, Call};
use crate::http::{Reply, Request};
use crate::rest::auth::{bearer, Tokens};
use crate::rest::{crud, page, Book};
use data::Fields;

/// The business unit all data is of.
const MID: i64 = 7_000_001;

pub struct MarketingCloud {
    seed: u64,
    book: Book,
    tokens: Tokens,
    service: soap::Service,
}

pub fn new(seed: u64) -> Box<dyn App> {
    Box::new(MarketingCloud::new(seed))
}

/// The address of the tenant, as the token endpoint tells it: with a slash at its end.
fn root(call: &Call<'_>) -> String {
    format!("{}/", call.request.origin())
}

impl MarketingCloud {
    fn new(seed: u64) -> MarketingCloud {
        let (tokens, service) = (Tokens::new(seed), soap::Service::new(seed));
        MarketingCloud { seed, book: Book::new(&data::KINDS), tokens, service }
    }

    /// The token endpoint: client credentials as JSON (a form is taken too).
    fn grant(&mut self, call: &Call<'_>) -> Reply {
        let body: Value = serde_json::from_slice(&call.request.body).unwrap_or_else(|_| {
            call.request.form().into_iter().map(|(name, value)| (name, Value::String(value))).collect()
        });
        let refuse = |status: u16, error: &str, description: &str| {
            let uri = "https://developer.salesforce.com/docs";
            let body = json!({"error": error, "error_description": description, "error_uri": uri});
            Reply { credential: "wrong", ..Reply::json(status, body.to_string()) }
        };
        let given = |name: &str| body[name].as_str().unwrap_or("");
        match given("grant_type") {
            "client_credentials" => {}
            "" => return refuse(400, "invalid_request", "grant_type is required."),
            _ => return refuse(400, "unsupported_grant_type", "The grant type is not supported."),
        }
        if given("client_id") != call.config.text("client_id") {
            let text = "Invalid client ID. Use the client ID in Marketing Cloud Installed Packages.";
            return refuse(401, "invalid_client", text);
        }
        if given("client_secret") != call.config.text("client_secret") {
            let text = "Invalid client secret. Use the client secret in Marketing Cloud Installed Packages.";
            return refuse(401, "invalid_client", text);
        }
        let unit = body["account_id"].as_str().map_or_else(|| body["account_id"].to_string(), str::to_string);
        if !matches!(unit.as_str(), "null" | "") && unit != call.config.text("account_id") {
            return refuse(400, "invalid_request", "The client has no access to the requested account.");
        }
        let lifetime = call.config.number("token_lifetime_seconds");
        let token = self.tokens.mint("eyJsim.", lifetime, call.now_ms);
        let body = json!({
            "access_token": token, "token_type": "Bearer", "expires_in": lifetime,
            "scope": "offline campaign_read journeys_read list_and_subscribers_read", "soap_instance_url": root(call),
            "rest_instance_url": root(call),
        });
        Reply { credential: "valid", ..Reply::json(200, body.to_string()) }
    }

    fn credential(&self, call: &Call<'_>, token: Option<&str>) -> &'static str {
        let constant = call.config.text("access_token");
        match token {
            Some(token) if !constant.is_empty() && token == constant => "valid",
            token => self.tokens.check(token, call.now_ms),
        }
    }
}

impl App for MarketingCloud {
    fn answer(&mut self, call: &Call<'_>) -> Reply {
        self.book.publish(call.now_ms);
        let request = call.request;
        let parts: Vec<&str> = request.path.split('/').filter(|p| !p.is_empty()).collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("POST", ["v2", "token"]) => return self.grant(call),
            ("GET" | "HEAD", ["etframework.wsdl"]) => {
                let text = include_str!("wsdl.xml").replace("{origin}", &request.origin());
                return Reply::json(200, text).with("Content-Type", "text/xml");
            }
            _ => {}
        }
        let is_soap = soap::is_service(&request.path);
        let token = if is_soap { soap::token_of(request) } else { bearer(request).map(str::to_string) };
        let credential = self.credential(call, token.as_deref());
        let reply = if call.is_over_rate && credential == "valid" {
            rest::refuse(429, 50200, "Your requests are temporarily blocked.")
        } else if is_soap && request.method == "POST" {
            self.service.answer(call, &self.book, credential)
        } else if credential != "valid" {
            rest::refuse(401, 0, "Not Authorized").with("WWW-Authenticate", "Bearer")
        } else if request.method != "GET" {
            rest::refuse(405, 0, "Method Not Allowed")
        } else {
            rest::answer(call, &self.book, &parts)
        };
        Reply { credential, ..reply }
    }

    fn knobs(&self) -> Value {
        json!({
            "client_id": "sim-client", "client_secret": "sim-secret", "account_id": MID.to_string(),
            // An access token that is always good; empty for none.
            "access_token": "sim-token", "token_lifetime_seconds": 1079,
        })
    }

    fn book(&mut self) -> Option<&mut Book> {
        Some(&mut self.book)
    }

    fn draft(&mut self, collection: &str, number: u64, at_ms: i64, given: &Fields) -> Result<Fields, String> {
        data::draft(&self.book, self.seed, collection, number, at_ms, MID, given)
    }

    /// Only journeys tell that they are deleted; everything else is just not there any more.
    fn mark(&mut self, collection: &str, fields: &mut Fields, is_deleted: bool, _at_ms: i64) {
        if collection == "interactions" {
            fields.insert("status".into(), json!(if is_deleted { "Deleted" } else { "Draft" }));
        }
    }

    fn control(&mut self, ask: &Ask<'_>, parts: &[&str]) -> Option<Answer> {
        match (ask.request.method.as_str(), parts) {
            ("DELETE", ["tokens"]) => {
                self.tokens.expire_all();
                Some(Ok(json!({"ok": true}).to_string()))
            }
            ("GET", ["tokens"]) => Some(Ok(json!({"granted": self.tokens.granted}).to_string())),
            // Retrieves under way: going on with one is refused then.
            ("DELETE", ["retrieves"]) => {
                self.service.forget();
                Some(Ok(json!({"ok": true}).to_string()))
            }
            _ => None,
        }
    }

    /// Goals have no records of their own: they are those of the journeys.
    fn ledger(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        if collection != "goals" {
            return crud::ledger(self, ask, collection);
        }
        let mut rows = Vec::new();
        for journey in self.book.all_latest("interactions") {
            for goal in journey.get("goals").as_array().into_iter().flatten() {
                let id = format!("{}:{}", journey.id, goal["key"].as_str().unwrap_or(""));
                rows.push(
                    json!({"id": id, "version": journey.version, "deleted": journey.is_deleted(), "record": goal}),
                );
            }
        }
        Ok(Value::Array(rows).to_string())
    }

    fn count(&mut self, _ask: &Ask<'_>, collection: &str) -> Answer {
        if collection != "goals" {
            return crud::count(self, collection);
        }
        let journeys = self.book.all_latest("interactions");
        let goals = |is_deleted: bool| -> usize {
            let of = journeys.iter().filter(|journey| journey.is_deleted() == is_deleted);
            of.map(|journey| journey.get("goals").as_array().map_or(0, Vec::len)).sum()
        };
        let (count, deleted) = (goals(false), goals(true));
        Ok(json!({"count": count, "deleted": deleted, "total": count + deleted}).to_string())
    }

    fn error_body(&self, status: u16) -> String {
        let reply = rest::refuse(status, 0, "The request could not be processed.");
        String::from_utf8_lossy(&reply.body).into_owned()
    }

    fn list_name(&self, _request: &Request) -> String {
        "items".into()
    }

    fn place_params(&self) -> &'static [&'static str] {
        &["$page"]
    }

    /// The first page is page 1, said or not.
    fn starts_listing(&self, request: &Request) -> bool {
        page::number(request, "$page").is_none_or(|number| number == 1)
    }
}
