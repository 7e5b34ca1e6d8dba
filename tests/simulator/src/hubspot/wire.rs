//! Decides how HubSpot writes instants, page tokens and its errors.

use chrono::{DateTime, SecondsFormat};
use serde_json::{json, Value};

use crate::http::Reply;
use crate::rest::{page, time};

/// `2024-01-02T03:04:05.678Z`. A whole second has no fraction, so a reader cannot count on one.
pub fn iso(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// An instant as filters and the control API give it: milliseconds as digits, an ISO instant, or a date.
pub fn parse_time(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| time::parse(text))
}

/// Makes an opaque page token of a place in a listing; `of` names the listing, whose tokens fit no other.
pub fn token(of: &str, place: &Value) -> String {
    page::cursor(&json!([fold(of), place]))
}

/// The place a token stands for, if it is one of this listing.
pub fn place(of: &str, token: &str) -> Option<Value> {
    let mut pair = page::read_cursor(token)?;
    (pair[0] == fold(of)).then(|| pair[1].take())
}

fn fold(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// A made-up UUID that is always the same for the same number.
pub fn uuid(of: u64) -> String {
    let (a, b) = (fold(&format!("a{of}")), fold(&format!("b{of}")));
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 48 & 0xfff,
        b & 0xffff_ffff_ffff
    )
}

/// A refusal; `answer` puts its correlation id in.
pub fn refuse(status: u16, category: &str, message: &str) -> Reply {
    Reply::json(
        status,
        json!({"status": "error", "message": message, "correlationId": "", "category": category}).to_string(),
    )
}

pub fn invalid(message: &str) -> Reply {
    refuse(400, "VALIDATION_ERROR", message)
}

pub fn not_found(message: &str) -> Reply {
    refuse(404, "OBJECT_NOT_FOUND", message)
}

/// 403 with the scope that is missing.
pub fn missing_scope(scope: &str) -> Reply {
    let body = json!({
        "status": "error",
        "message": "This app hasn't been granted all required scopes to make this call. Read more about required scopes here: https://developers.hubspot.com/scopes.",
        "correlationId": "",
        "errors": [{"message": "One or more of the following scopes are required.", "context": {"requiredGranularScopes": [scope]}}],
        "links": {"scopes": "https://developers.hubspot.com/scopes"},
        "category": "MISSING_SCOPES",
    });
    Reply::json(403, body.to_string())
}

/// 429; the policy is `TEN_SECONDLY_ROLLING`, `SECONDLY` (searches) or `DAILY`. There is no Retry-After.
pub fn limited(policy: &str) -> Reply {
    let body = json!({
        "status": "error",
        "message": format!("You have reached your {} limit.", policy.to_ascii_lowercase()),
        "errorType": "RATE_LIMIT",
        "correlationId": "",
        "policyName": policy,
        "groupName": "publicapi:private-apps-api-calls",
    });
    Reply::json(429, body.to_string())
}

/// The page of the proxy before HubSpot: it answers what is too long for it, and in HTML.
pub fn too_long() -> Reply {
    let page = "<html>\r\n<head><title>414 Request-URI Too Large</title></head>\r\n<body>\r\n<center><h1>414 Request-URI Too Large</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n";
    Reply { body: page.into(), ..Reply::empty(414) }.with("Content-Type", "text/html")
}

/// Puts the correlation id into an error's body.
pub fn correlated(mut reply: Reply, id: &str) -> Reply {
    if reply.status >= 400 {
        if let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) {
            if body.get("correlationId").is_some() {
                body["correlationId"] = json!(id);
                reply.body = body.to_string().into_bytes();
            }
        }
    }
    reply.with("X-HubSpot-Correlation-Id", id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_lose_their_fraction_on_the_full_second() {
        assert_eq!(iso(1_704_164_645_678), "2024-01-02T03:04:05.678Z");
        assert_eq!(iso(1_704_164_645_000), "2024-01-02T03:04:05Z");
        for text in ["1704164645000", "2024-01-02T03:04:05Z", "2024-01-02T03:04:05.000Z"] {
            assert_eq!(parse_time(text), Some(1_704_164_645_000), "{text}");
        }
        assert_eq!(parse_time("2024-01-02"), Some(1_704_153_600_000));
    }

    #[test]
    fn a_page_token_fits_its_own_listing_only() {
        let made = token("events?a", &json!([17, "x"]));
        assert_eq!(place("events?a", &made), Some(json!([17, "x"])));
        assert_eq!(place("events?b", &made), None);
        assert_eq!(place("events?a", "17"), None);
        assert_eq!(uuid(1).len(), 36);
        assert_ne!(uuid(1), uuid(2));
    }
}
