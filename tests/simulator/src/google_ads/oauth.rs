//! Decides what Google's token endpoint answers: an access token for a refresh token, or `invalid_grant`.

use serde_json::{json, Value};

use crate::app::Call;
use crate::http::Reply;
use crate::rest::auth::{basic, Tokens};

const PATHS: [&str; 4] = ["/token", "/oauth2/v3/token", "/oauth2/v4/token", "/o/oauth2/token"];
const SCOPE: &str = "https://www.googleapis.com/auth/adwords";

fn refuse(status: u16, error: &str, description: &str) -> Reply {
    Reply::json(status, json!({"error": error, "error_description": description}).to_string())
}

/// The answer when the request is for the token endpoint. A body may be a form or JSON: the endpoint takes both.
pub fn answer(call: &Call<'_>, tokens: &mut Tokens) -> Option<Reply> {
    let request = call.request;
    if request.method != "POST" || !PATHS.contains(&request.path.as_str()) {
        return None;
    }
    let json: Option<Value> = serde_json::from_slice(&request.body).ok();
    let form = request.form();
    let given = |name: &str| match &json {
        Some(body) if body.is_object() => body[name].as_str().map(str::to_string),
        _ => form.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()),
    };
    let client = basic(request);
    let client_id = given("client_id").or(client.as_ref().map(|(id, _)| id.clone()));
    let client_secret = given("client_secret").or(client.map(|(_, secret)| secret));
    let config = call.config;
    Some(match given("grant_type").as_deref() {
        None => refuse(400, "invalid_request", "Missing required parameter: grant_type"),
        Some("refresh_token") => {
            if client_id.as_deref() != Some(config.text("client_id")) {
                refuse(401, "invalid_client", "The OAuth client was not found.")
            } else if client_secret.as_deref() != Some(config.text("client_secret")) {
                refuse(401, "invalid_client", "Unauthorized")
            } else {
                match given("refresh_token") {
                    None => refuse(400, "invalid_request", "Missing required parameter: refresh_token"),
                    Some(token) if token != config.text("refresh_token") => {
                        refuse(400, "invalid_grant", "Token has been expired or revoked.")
                    }
                    Some(_) => {
                        let lifetime = config.number("token_lifetime_seconds");
                        let token = tokens.mint("ya29.sim-", lifetime, call.now_ms);
                        let body = json!({
                            "access_token": token, "expires_in": lifetime, "scope": SCOPE, "token_type": "Bearer",
                        });
                        Reply { credential: "valid", ..Reply::json(200, body.to_string()) }
                    }
                }
            }
        }
        Some(other) => refuse(400, "unsupported_grant_type", &format!("Invalid grant_type: {other}")),
    })
}
