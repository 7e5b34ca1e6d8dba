//! Decides how Intercom words its errors, writes its cursors, and counts requests in windows of ten seconds.

use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::Engine;
use serde_json::{json, Value};

use crate::http::Reply;

/// Per ten seconds, where a knob sets no limit: the tenth part of a private app's 10,000 a minute, rounded up.
const SHOWN_LIMIT: i64 = 1667;
const WINDOW_S: i64 = 10;

/// An error list with one error; `identified` puts the request id in.
pub fn refuse(status: u16, code: &str, message: &str) -> Reply {
    let body = json!({"type": "error.list", "request_id": null, "errors": [{"code": code, "message": message}]});
    Reply::json(status, body.to_string())
}

pub fn invalid(message: &str) -> Reply {
    refuse(400, "parameter_invalid", message)
}

pub fn not_found() -> Reply {
    refuse(404, "not_found", "Resource Not Found")
}

pub fn unauthorized() -> Reply {
    refuse(401, "unauthorized", "Access Token Invalid")
}

/// What a plan or permission leaves out.
pub fn restricted() -> Reply {
    refuse(403, "api_plan_restricted", "Active subscription needed.")
}

/// The request's id in the header, and in the body of an error.
pub fn identified(mut reply: Reply, id: &str) -> Reply {
    if reply.status >= 400 {
        if let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) {
            if body.get("request_id").is_some() {
                body["request_id"] = json!(id);
                reply.body = body.to_string().into_bytes();
            }
        }
    }
    reply.with("X-Request-Id", id)
}

/// The cursor that leads to the first page.
pub fn first_cursor() -> String {
    cursor(&Value::Null, "", 1)
}

/// The cursor of `starting_after`: where in the order the page before ended (its sort value and id), and the next page's number.
pub fn cursor(value: &Value, id: &str, page: usize) -> String {
    STANDARD_NO_PAD.encode(json!([value, id, page]).to_string())
}

pub fn parse_cursor(text: &str) -> Option<(Value, String, usize)> {
    let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    let list: Vec<Value> = serde_json::from_slice(&bytes).ok()?;
    match list.as_slice() {
        [value, Value::String(id), page] => Some((value.clone(), id.clone(), page.as_u64()? as usize)),
        _ => None,
    }
}

/// Counts the requests of the present window; windows begin at full tens of seconds.
#[derive(Default)]
pub struct Window {
    start_s: i64,
    calls: i64,
}

impl Window {
    /// Counts a request; whether it is within the limit (0 is none).
    pub fn count(&mut self, limit: i64, now_ms: i64) -> bool {
        let start_s = now_ms.div_euclid(1000 * WINDOW_S) * WINDOW_S;
        if start_s != self.start_s {
            *self = Window { start_s, calls: 0 };
        }
        self.calls += 1;
        limit <= 0 || self.calls <= limit
    }

    /// `X-RateLimit-Reset` is the unix time at which the window ends.
    pub fn mark(&self, reply: Reply, limit: i64) -> Reply {
        let shown = if limit > 0 { limit } else { SHOWN_LIMIT };
        reply
            .with("X-RateLimit-Limit", shown.to_string())
            .with("X-RateLimit-Remaining", (shown - self.calls).max(0).to_string())
            .with("X-RateLimit-Reset", (self.start_s + WINDOW_S).to_string())
    }

    pub fn refusal(limit: i64) -> Reply {
        let shown = if limit > 0 { limit } else { SHOWN_LIMIT };
        refuse(429, "rate_limit_exceeded", &format!("Exceeded rate limit of {shown} in 10_seconds"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_at_the_full_ten_seconds() {
        let mut window = Window::default();
        assert!(window.count(2, 1_000_019_000) && window.count(2, 1_000_019_500) && !window.count(2, 1_000_019_999));
        let reply = window.mark(Window::refusal(2), 2);
        assert!(reply.headers.contains(&("X-RateLimit-Reset".into(), "1000020".into())));
        assert!(reply.headers.contains(&("X-RateLimit-Remaining".into(), "0".into())));
        assert!(window.count(2, 1_000_020_000));
    }

    #[test]
    fn cursors_and_request_ids_come_back() {
        let text = cursor(&json!(1_700_000_000), "6762f0", 3);
        assert_eq!(parse_cursor(&text), Some((json!(1_700_000_000), "6762f0".to_string(), 3)));
        assert_eq!(parse_cursor("nonsense"), None);
        let body: Value = serde_json::from_slice(&identified(not_found(), "r1").body).unwrap();
        assert_eq!((body["request_id"].as_str(), body["errors"][0]["code"].as_str()), (Some("r1"), Some("not_found")));
    }
}
