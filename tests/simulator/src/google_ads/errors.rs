//! Decides how a refusal looks: a `google.rpc.Status` whose details hold a `GoogleAdsFailure`.
//!
//! developers.google.com/google-ads/api/docs/best-practices/understand-api-errors. A stream's error comes as an array of one.

use serde_json::{json, Value};

use crate::http::Reply;

/// HTTP status, `google.rpc.Status.status`, and its `message`: the failure inside is more exact.
type Kind = (u16, &'static str, &'static str);

#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    kind: &'static Kind,
    /// The member of `errorCode`, such as `queryError`; empty when there is no failure inside.
    pub family: &'static str,
    pub code: String,
    pub message: String,
    details: Option<Box<Value>>,
}

static INVALID: Kind = (400, "INVALID_ARGUMENT", "Request contains an invalid argument.");
static DENIED: Kind = (403, "PERMISSION_DENIED", "The caller does not have permission");
static EXHAUSTED: Kind = (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).");
static NO_METHOD: Kind = (404, "NOT_FOUND", "Method not found.");
static UNAUTHENTICATED: Kind = (
    401,
    "UNAUTHENTICATED",
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid \
     authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
);

impl Refusal {
    fn of(kind: &'static Kind, family: &'static str, code: &str, message: String) -> Refusal {
        Refusal { kind, family, code: code.into(), message, details: None }
    }

    pub fn query(code: &str, message: String) -> Refusal {
        Refusal::of(&INVALID, "queryError", code, message)
    }

    pub fn request(code: &str, message: &str) -> Refusal {
        Refusal::of(&INVALID, "requestError", code, message.into())
    }

    pub fn header(code: &str, message: &str) -> Refusal {
        Refusal::of(&INVALID, "headerError", code, message.into())
    }

    pub fn date(code: &str, message: &str) -> Refusal {
        Refusal::of(&INVALID, "dateError", code, message.into())
    }

    pub fn unauthenticated(code: &str, message: &str) -> Refusal {
        Refusal::of(&UNAUTHENTICATED, "authenticationError", code, message.into())
    }

    pub fn denied(code: &str, message: &str) -> Refusal {
        Refusal::of(&DENIED, "authorizationError", code, message.into())
    }

    pub fn no_permission() -> Refusal {
        let message =
            "User doesn't have permission to access customer. Note: If you're accessing a client customer, the \
                       manager's customer id must be set in the 'login-customer-id' header. See \
                       https://developers.google.com/google-ads/api/docs/concepts/call-structure#cid";
        Refusal::denied("USER_PERMISSION_DENIED", message)
    }

    pub fn not_enabled() -> Refusal {
        let message = "The customer account can't be accessed because it is not yet enabled or has been deactivated.";
        Refusal::denied("CUSTOMER_NOT_ENABLED", message)
    }

    /// The quota is spent: the delay is told in the failure only, there is no `Retry-After`.
    pub fn exhausted(is_daily: bool, seconds: u64) -> Refusal {
        let (code, name) = match is_daily {
            true => ("RESOURCE_EXHAUSTED", "Number of operations for basic access"),
            false => ("RESOURCE_TEMPORARILY_EXHAUSTED", "Requests per second per developer token"),
        };
        let message = format!("Too many requests. Retry in {seconds} seconds.");
        let mut refusal = Refusal::of(&EXHAUSTED, "quotaError", code, message);
        let quota = json!({"rateScope": "DEVELOPER", "rateName": name, "retryDelay": format!("{seconds}s")});
        refusal.details = Some(Box::new(json!({"quotaErrorDetails": quota})));
        refusal
    }

    pub fn unknown_method() -> Refusal {
        Refusal::of(&NO_METHOD, "", "", String::new())
    }

    pub fn body(&self, version: &str, request_id: &str) -> Value {
        let (http, status, summary) = self.kind;
        let mut error = json!({"code": http, "message": summary, "status": status});
        if !self.family.is_empty() {
            let mut failure = json!({"errorCode": {self.family: self.code}, "message": self.message});
            if let Some(details) = &self.details {
                failure["details"] = (**details).clone();
            }
            error["details"] = json!([{
                "@type": format!("type.googleapis.com/google.ads.googleads.{version}.errors.GoogleAdsFailure"),
                "errors": [failure],
                "requestId": request_id,
            }]);
        }
        json!({"error": error})
    }

    pub fn reply(&self, version: &str, request_id: &str, is_stream: bool) -> Reply {
        let body = self.body(version, request_id);
        let body = if is_stream { json!([body]) } else { body };
        Reply::json(self.kind.0, body.to_string())
    }
}
