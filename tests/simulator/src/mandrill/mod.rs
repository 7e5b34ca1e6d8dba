//! Plays of Mandrill what can be asked: the ping that tells whether an API key is good. Everything else it sends by webhook.

use serde_json::{json, Value};

use crate::app::{App, Call};
use crate::http::{Reply, Request};
use crate::rest::auth;

struct Mandrill;

pub fn new(_seed: u64) -> Box<dyn App> {
    Box::new(Mandrill)
}

/// Every error is a 500, a wrong key too.
fn refuse(name: &str, message: &str) -> Reply {
    Reply::json(500, json!({"status": "error", "code": -1, "name": name, "message": message}).to_string())
}

/// The key, which is in the body as JSON or as a form.
fn key_of(request: &Request) -> Option<String> {
    match serde_json::from_slice::<Value>(&request.body) {
        Ok(body) => Some(body["key"].as_str()?.to_string()),
        Err(_) => request.form().into_iter().find(|(name, _)| name == "key").map(|(_, key)| key),
    }
}

impl App for Mandrill {
    fn answer(&mut self, call: &Call<'_>) -> Reply {
        let key = key_of(call.request);
        let credential = auth::judge(key.as_deref(), call.config.text("api_key"));
        let path = call.request.path.trim_end_matches(".json");
        let reply = match (call.request.method.as_str(), path, credential) {
            ("POST", _, "none") => refuse("ValidationError", "You must specify a key value"),
            ("POST", _, "wrong") => refuse("Invalid_Key", "Invalid API key"),
            ("POST", "/api/1.0/users/ping2", _) => Reply::json(200, json!({"PING": "PONG!"}).to_string()),
            // The elder of the two answers a bare string.
            ("POST", "/api/1.0/users/ping", _) => Reply::json(200, json!("PONG!").to_string()),
            _ => refuse("Unknown_Method", &format!("Unknown method \"{}\"", path.trim_start_matches("/api/1.0/"))),
        };
        Reply { credential, ..reply }
    }

    fn knobs(&self) -> Value {
        json!({"api_key": "sim-mandrill-key"})
    }

    fn error_body(&self, _status: u16) -> String {
        json!({"status": "error", "code": -1, "name": "GeneralError", "message": "An unknown error occurred"})
            .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_ping_tells_a_good_key_from_a_wrong_one() {
        let mut app = Mandrill;
        let config = Config::new(app.knobs().as_object().cloned().unwrap());
        for (path, body, status, want) in [
            ("/api/1.0/users/ping2", "{\"key\": \"sim-mandrill-key\"}", 200, json!({"PING": "PONG!"})),
            ("/api/1.0/users/ping.json", "key=sim-mandrill-key", 200, json!("PONG!")),
            ("/api/1.0/users/ping2", "{\"key\": \"x\"}", 500, json!("Invalid_Key")),
            ("/api/1.0/users/ping2.json", "", 500, json!("ValidationError")),
            ("/api/1.0/users/nonsense", "{\"key\": \"sim-mandrill-key\"}", 500, json!("Unknown_Method")),
        ] {
            let request = Request {
                method: "POST".into(),
                path: path.into(),
                body: body.as_bytes().to_vec(),
                ..Request::default()
            };
            let call =
                Call { request: &request, config: &config, is_over_rate: false, calls: 1, in_flight: 1, now_ms: 0 };
            let reply = app.answer(&call);
            let body: Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!((reply.status, body.get("name").unwrap_or(&body)), (status, &want), "{path} {}", body);
        }
    }
}
