//! Decides what the rest of the simulator may know of Salesforce and do to it.

use serde_json::{json, Map, Value};

use super::edit::Manner;
use super::seed::Options;
use super::Salesforce;
use crate::app::{bad, missing, Answer, App, Ask, Call};
use crate::http::{Reply, Request};
use crate::store::Row;

fn manner(ask: &Ask<'_>) -> Manner {
    Manner { is_silent: ask.flag("silent"), due_ms: ask.due_ms() }
}

impl Salesforce {
    fn place_or_404(&self, name: &str) -> Result<usize, (u16, String)> {
        self.place(name).ok_or(missing(format!("there is no collection {name}")))
    }
}

impl App for Salesforce {
    fn answer(&mut self, call: &Call<'_>) -> Reply {
        self.play(call.request, call.config, call.is_over_rate, call.calls)
    }

    /// `daily_quota` in calls, 0 for none; `uri_limit` is the longest path and query before 414; `tags` whether the Tag
    /// objects exist in this org; `session_id` an access token that is always good, empty for none; `bulk_polls` before a
    /// job is complete; `bulk_failure` the error message jobs end with; `bulk_page_size` 0 for no cap.
    fn knobs(&self) -> Value {
        json!({
            "token_lifetime_seconds": 7200,
            "rotate_refresh_tokens": false,
            "daily_quota": 0,
            "uri_limit": 16_384,
            "tags": false,
            "client_id": "sim-client",
            "client_secret": "sim-secret",
            "refresh_token": "sim-refresh",
            "username": "sim@example.com",
            "password": "sim-password",
            "session_id": "sim-session",
            "user_inactive": false,
            "jwt_public_key_pem": "",
            "bulk_polls": 2,
            "bulk_failure": "",
            "bulk_page_size": 0,
        })
    }

    fn configured(&mut self, changes: &Map<String, Value>) {
        if changes.contains_key("refresh_token") {
            self.tokens.restore_family();
        }
    }

    fn counts(&self, request: &Request) -> bool {
        request.path.starts_with("/services/data")
    }

    fn control(&mut self, ask: &Ask<'_>, parts: &[&str]) -> Option<Answer> {
        Some(match (ask.request.method.as_str(), parts) {
            ("POST", ["token"]) => Ok(json!({"access_token": self.tokens.mint(ask.config)}).to_string()),
            ("DELETE", ["tokens"]) => {
                self.tokens.expire_all();
                Ok(json!({"ok": true}).to_string())
            }
            ("GET", ["tokens"]) => Ok(json!({
                "granted": self.tokens.granted,
                "refresh_token": self.tokens.current_refresh_token(ask.config),
                "family_is_dead": self.tokens.family_is_dead(),
            })
            .to_string()),
            ("DELETE", ["cursors"]) => {
                self.drop_cursors();
                Ok(json!({"ok": true}).to_string())
            }
            ("POST", ["objects", name]) => {
                self.define(name, &Value::Object(ask.body.clone())).map(|v| v.to_string()).map_err(bad)
            }
            ("DELETE", ["objects", name, "fields", field]) => {
                self.hide(name, field).map(|v| v.to_string()).map_err(bad)
            }
            _ => return None,
        })
    }

    fn seed(&mut self, ask: &mut Ask<'_>) -> Answer {
        let options = Options {
            until_s: ask.take_until_s(),
            ties: ask.take_number("ties"),
            deleted_percent: ask.take_number("deleted_percent"),
        };
        Salesforce::seed(self, &ask.body, &options).map(|v| v.to_string()).map_err(bad)
    }

    fn create(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        let at = self.place_or_404(collection)?;
        Salesforce::create(self, at, &ask.body, manner(ask)).map_err(bad)
    }

    fn change(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        let at = self.place_or_404(collection)?;
        Salesforce::change(self, at, id, &ask.body, manner(ask)).map_err(bad)
    }

    fn delete(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        let at = self.place_or_404(collection)?;
        Salesforce::delete(self, at, id, ask.flag("hard"), manner(ask)).map_err(bad)
    }

    fn undelete(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        let at = self.place_or_404(collection)?;
        Salesforce::undelete(self, at, id, manner(ask)).map_err(bad)
    }

    fn ledger(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        let at = self.place_or_404(collection)?;
        let with_records = ask.request.param("records").is_none_or(|v| v != "false");
        let with_gone = ask.request.param("gone").is_some_and(|v| v == "true");
        Ok(Salesforce::ledger(self, at, with_records, with_gone))
    }

    fn count(&mut self, _ask: &Ask<'_>, collection: &str) -> Answer {
        let at = self.place_or_404(collection)?;
        Ok(Salesforce::count(self, at).to_string())
    }

    /// The accounts there truly are: customers of other apps may belong to them.
    fn lends(&self) -> Vec<String> {
        let accounts = self.place("Account").map(|at| &self.objects[at].table);
        let records = accounts.into_iter().flat_map(|table| table.iter_latest());
        records.filter(|r| !r.is_deleted).map(|r| r.id().to_string()).collect()
    }

    fn error_body(&self, status: u16) -> String {
        let (code, message) = match status {
            401 => ("INVALID_SESSION_ID", "Session expired or invalid"),
            403 => ("INSUFFICIENT_ACCESS", "insufficient access rights on cross-reference id"),
            404 => ("NOT_FOUND", "The requested resource does not exist"),
            429 => ("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
            503 => ("SERVER_UNAVAILABLE", "Service Unavailable"),
            400..=499 => ("INVALID_QUERY_FILTER_OPERATOR", "The request could not be processed"),
            _ => (
                "UNKNOWN_EXCEPTION",
                "An unexpected error occurred. Please include this ErrorId if you contact support: 1234567890-1 (0)",
            ),
        };
        json!([{"message": message, "errorCode": code}]).to_string()
    }

    fn list_name(&self, _request: &Request) -> String {
        "records".into()
    }

    fn listing_key(&self, request: &Request) -> String {
        locator(&request.path).map(|(id, _)| id.to_string()).unwrap_or_default()
    }

    fn starts_listing(&self, _request: &Request) -> bool {
        false
    }

    /// A query's listing is named by its page only.
    fn sent_listing(&self, _request: &Request, reply: &Reply) -> Option<String> {
        let body: Value = serde_json::from_slice(&reply.body).ok()?;
        let (id, _) = locator(body.get("nextRecordsUrl")?.as_str()?)?;
        Some(id.to_string())
    }

    fn repeats_duplicates(&self) -> bool {
        false
    }

    fn lead_on(&self, _is_empty: bool, request: &Request, reply: &Reply, body: &mut Value) {
        if let Some(url) = same_place(request, reply, body) {
            body["done"] = json!(false);
            body["nextRecordsUrl"] = json!(url);
        }
    }
}

/// The query locator and the offset in `/services/data/vX/query/01g...-2000`.
fn locator(path: &str) -> Option<(&str, &str)> {
    let last = path.rsplit('/').next()?;
    if !last.starts_with("01g") {
        return None;
    }
    last.split_once('-')
}

/// A link that leads to the page just sent, once more; `-r` makes it differ from the link that led here.
fn same_place(request: &Request, reply: &Reply, body: &Value) -> Option<String> {
    if let Some((id, offset)) = locator(&request.path) {
        let folder = &request.path[..request.path.len() - id.len() - offset.len() - 1];
        return Some(format!("{folder}{id}-{offset}-r"));
    }
    let folder = request.path.trim_end_matches("All");
    let next = body.get("nextRecordsUrl").and_then(Value::as_str).and_then(locator).map(|(id, _)| id.to_string());
    let id = next.or_else(|| reply.locator.clone())?;
    Some(format!("{folder}/{id}-0-r"))
}
