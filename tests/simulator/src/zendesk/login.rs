//! Decides whose request it is: OAuth tokens that end, refresh tokens that are good once, and API tokens.

use serde_json::{json, Value};

use super::Zendesk;
use crate::app::Call;
use crate::http::Reply;
use crate::rest::auth;

impl Zendesk {
    /// Judges `Authorization`: OAuth, or basic with `{email}/token` and the API token.
    pub(super) fn credential(&self, call: &Call<'_>) -> (&'static str, Option<Reply>) {
        if let Some(token) = auth::bearer(call.request) {
            if token == call.config.text("access_token") {
                return ("valid", None);
            }
            let credential = self.tokens.check(Some(token), call.now_ms);
            let text = "The access token provided is expired, revoked, malformed or invalid for other reasons.";
            let reply = Reply::json(401, json!({"error": "invalid_token", "error_description": text}).to_string())
                .with("WWW-Authenticate", "Bearer realm=\"Zendesk\", error=\"invalid_token\"");
            return (credential, (credential != "valid").then_some(reply));
        }
        let refused = Reply::json(401, json!({"error": "Couldn't authenticate you"}).to_string())
            .with("WWW-Authenticate", "Basic realm=\"Web Password\"");
        match auth::basic(call.request) {
            None => ("none", Some(refused)),
            Some((user, password)) => {
                let wanted = format!("{}/token", call.config.text("email"));
                let is_good = user.eq_ignore_ascii_case(&wanted) && password == call.config.text("api_token");
                if is_good {
                    ("valid", None)
                } else {
                    ("wrong", Some(refused))
                }
            }
        }
    }

    /// `POST /oauth/tokens` with a refresh token: each is good once.
    pub(super) fn grant(&mut self, call: &Call<'_>) -> Reply {
        let body: Value = serde_json::from_slice(&call.request.body).unwrap_or_default();
        let form = call.request.form();
        let get = |name: &str| -> String {
            let in_form = form.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
            body[name].as_str().map(str::to_string).or(in_form).unwrap_or_default()
        };
        let denied = |error: &str, text: &str| {
            Reply::json(
                if error == "invalid_client" { 401 } else { 400 },
                json!({"error": error, "error_description": text}).to_string(),
            )
        };
        let good = self.refresh_token.clone().unwrap_or_else(|| call.config.text("refresh_token").to_string());
        if get("client_id") != call.config.text("client_id")
            || get("client_secret") != call.config.text("client_secret")
        {
            return denied("invalid_client", "Client authentication failed.");
        }
        if get("grant_type") != "refresh_token" {
            return denied("unsupported_grant_type", "The authorization grant type is not supported.");
        }
        if get("refresh_token") != good {
            return denied("invalid_grant", "The provided refresh token is invalid, expired or revoked.");
        }
        let lifetime = call.config.number("token_lifetime_seconds");
        let access = self.tokens.mint("", lifetime, call.now_ms);
        let next = self.chance.letters(40);
        self.refresh_token = Some(next.clone());
        let granted = json!({
            "access_token": access, "refresh_token": next, "token_type": "bearer", "scope": "read",
            "expires_in": lifetime, "refresh_token_expires_in": 7_776_000,
        });
        Reply { credential: "valid", ..Reply::json(200, granted.to_string()) }
    }
}
