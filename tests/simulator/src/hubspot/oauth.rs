//! Decides which access tokens are given for a refresh token, and what is said of one that ended.

use serde_json::json;

use super::record::PORTAL;
use super::wire::{iso, not_found, refuse};
use super::Hubspot;
use crate::app::Call;
use crate::http::Reply;

const SCOPES: [&str; 8] = [
    "oauth",
    "crm.objects.contacts.read",
    "crm.objects.companies.read",
    "crm.objects.deals.read",
    "crm.lists.read",
    "forms",
    "content",
    "communication_preferences.read",
];

/// A refusal of the token endpoint: its `status` is a code of its own.
fn refused(code: &str, message: &str) -> Reply {
    Reply::json(400, json!({"status": code, "message": message, "correlationId": ""}).to_string())
}

/// 401 of a token that was good once.
pub fn expired(ended_ms: i64, now_ms: i64) -> Reply {
    let seconds = (now_ms - ended_ms).max(0) / 1000;
    let ago = match seconds {
        0..=59 => format!("{seconds} second(s)"),
        60..=3599 => format!("{} minute(s)", seconds / 60),
        3600..=86_399 => format!("{} hour(s)", seconds / 3600),
        _ => format!("{} day(s)", seconds / 86_400),
    };
    let body = json!({
        "status": "error", "message": format!("The OAuth token used to make this call expired {ago} ago."), "correlationId": "",
        "category": "EXPIRED_AUTHENTICATION", "context": {"expire time": [iso(ended_ms)]},
    });
    Reply::json(401, body.to_string())
}

impl Hubspot {
    /// When a token ended: it is told in the refusal.
    pub fn tokens_end(&self, token: &str) -> i64 {
        self.ends.get(token).copied().unwrap_or(0)
    }

    pub fn mint(&mut self, call_now_ms: i64, lifetime_s: i64) -> String {
        let token = self.tokens.mint("CSim", lifetime_s, call_now_ms);
        self.ends.insert(token.clone(), call_now_ms + lifetime_s * 1000);
        token
    }

    pub fn oauth(&mut self, call: &Call<'_>, parts: &[&str]) -> Reply {
        let request = call.request;
        match (request.method.as_str(), parts) {
            ("POST", ["oauth", "v1" | "v3", "token"]) => self.grant(call),
            ("GET", ["oauth", "v1", "access-tokens", token])
                if self.tokens.check(Some(token), call.now_ms) == "valid" =>
            {
                let body = json!({
                    "token": token, "user": "sim@portal.example", "hub_domain": "portal.example", "scopes": SCOPES, "hub_id": PORTAL,
                    "app_id": 1_170_001, "expires_in": (self.tokens_end(token) - call.now_ms) / 1000, "user_id": 5_000_001,
                    "token_type": "access",
                });
                Reply::json(200, body.to_string())
            }
            ("GET", ["oauth", "v1", "access-tokens", _]) => not_found("token not found"),
            _ => refuse(405, "METHOD_NOT_ALLOWED", "The token endpoint takes a POST"),
        }
    }

    fn grant(&mut self, call: &Call<'_>) -> Reply {
        let (request, config) = (call.request, call.config);
        let is_form =
            request.header("content-type").is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
        let form = if is_form { request.form() } else { Vec::new() };
        let field = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap_or("");
        if field("grant_type") != "refresh_token" {
            return refused("BAD_GRANT_TYPE", "missing or unknown grant type");
        }
        if field("client_id") != config.text("client_id") {
            return refused("BAD_CLIENT_ID", "missing or unknown client id");
        }
        if field("client_secret") != config.text("client_secret") {
            return refused("BAD_CLIENT_SECRET", "missing or invalid client secret");
        }
        if field("refresh_token") != config.text("refresh_token") {
            return refused("BAD_REFRESH_TOKEN", "missing or invalid refresh token");
        }
        let lifetime = config.number("token_lifetime_seconds");
        let token = self.mint(call.now_ms, lifetime);
        // The refresh token stays the same.
        let body = json!({
            "token_type": "bearer", "refresh_token": config.text("refresh_token"), "access_token": token, "hub_id": PORTAL,
            "scopes": SCOPES, "user_id": 5_000_001, "expires_in": lifetime,
        });
        let mut reply = Reply::json(200, body.to_string());
        reply.credential = "valid";
        reply
    }
}
