//! Decides who may call: the identity endpoint, and which access tokens are good (docs: /authentication).

use serde_json::json;

use super::Marketo;
use crate::app::Call;
use crate::http::Reply;

/// The access token handed out last, and those before it.
#[derive(Default)]
pub struct Tokens {
    current: Option<(String, i64)>,
    earlier: Vec<String>,
    pub granted: u64,
}

impl Tokens {
    /// The same token until it ends, with the seconds it still has (docs: /authentication).
    pub fn grant(&mut self, fresh: String, lifetime_s: i64, now_ms: i64) -> (String, i64) {
        let ended = self.current.as_ref().is_none_or(|(_, ends)| *ends <= now_ms);
        if ended {
            self.end();
            self.current = Some((fresh, now_ms + lifetime_s * 1000));
            self.granted += 1;
        }
        let (token, ends) = self.current.clone().unwrap_or_default();
        (token, (ends - now_ms) / 1000)
    }

    pub fn end(&mut self) {
        self.earlier.extend(self.current.take().map(|(token, _)| token));
    }

    pub fn check(&self, token: Option<&str>, now_ms: i64) -> &'static str {
        match (token, &self.current) {
            (None, _) => "none",
            (Some(token), Some((current, ends))) if token == current => {
                if *ends > now_ms {
                    "valid"
                } else {
                    "expired"
                }
            }
            (Some(token), _) if self.earlier.iter().any(|earlier| earlier == token) => "expired",
            _ => "wrong",
        }
    }
}

impl Marketo {
    /// `/identity/oauth/token`, the only endpoint that says 401.
    pub(super) fn identity(&mut self, call: &Call<'_>) -> Reply {
        let request = call.request;
        let mut params = request.params();
        if request.method == "POST" {
            params.extend(request.form());
        }
        let get = |name: &str| params.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
        let refuse = |status: u16, kind: &str, text: &str| {
            Reply::json(status, json!({"error": kind, "error_description": text}).to_string())
        };
        let (id, secret) = (get("client_id"), get("client_secret"));
        if get("grant_type") != "client_credentials" {
            return refuse(400, "unsupported_grant_type", &format!("Unsupported grant type: {}", get("grant_type")));
        }
        if id != call.config.text("client_id") {
            let reply = refuse(401, "unauthorized", &format!("No client with requested id: {id}"));
            return Reply { credential: "wrong", ..reply };
        }
        if secret != call.config.text("client_secret") {
            return Reply { credential: "wrong", ..refuse(401, "invalid_client", "Bad client credentials") };
        }
        let fresh = format!("{}:sj", self.new_uuid());
        let lifetime_s = call.config.number("token_lifetime_seconds");
        let (token, expires_in) = self.tokens.grant(fresh, lifetime_s, call.now_ms);
        let body = json!({"access_token": token, "token_type": "bearer", "expires_in": expires_in,
            "scope": "api@sim.example"});
        Reply { credential: "valid", ..Reply::json(200, body.to_string()) }
    }
}
