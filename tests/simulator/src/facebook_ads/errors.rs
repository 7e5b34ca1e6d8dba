//! Decides how the Graph API words an error. There is no 429: codes say what happened, mostly within a 400.
//!
//! developers.facebook.com/docs/graph-api/guides/error-handling and .../marketing-api/overview/rate-limiting.

use serde_json::{json, Value};

use crate::http::Reply;

#[derive(Debug, Clone)]
pub struct Refusal {
    pub status: u16,
    pub kind: &'static str,
    pub code: u32,
    pub subcode: u32,
    pub message: String,
    pub is_transient: bool,
    /// Title and text for the user.
    pub told: Option<(&'static str, &'static str)>,
}

impl Refusal {
    pub fn new(status: u16, code: u32, message: impl Into<String>) -> Refusal {
        let message = message.into();
        Refusal { status, kind: "OAuthException", code, subcode: 0, message, is_transient: false, told: None }
    }

    fn sub(self, subcode: u32) -> Refusal {
        Refusal { subcode, ..self }
    }

    fn transient(self) -> Refusal {
        Refusal { is_transient: true, ..self }
    }

    pub fn param(message: impl Into<String>) -> Refusal {
        Refusal::new(400, 100, format!("(#100) {}", message.into()))
    }

    pub fn no_token() -> Refusal {
        Refusal::new(400, 2500, "An active access token must be used to query information about the current user.")
    }

    pub fn bad_token() -> Refusal {
        Refusal::new(400, 190, "Invalid OAuth access token - Cannot parse access token")
    }

    pub fn ended_token() -> Refusal {
        let message =
            "Error validating access token: Session has expired on Thursday, 01-Jan-26 00:00:00 PST. The current \
                       time is Friday, 02-Jan-26 00:00:00 PST.";
        Refusal::new(400, 190, message).sub(463)
    }

    pub fn bad_proof(is_missing: bool) -> Refusal {
        let message = match is_missing {
            true => "API calls from the server require an appsecret_proof argument",
            false => "Invalid appsecret_proof provided in the API argument",
        };
        Refusal { kind: "GraphMethodException", ..Refusal::new(400, 100, message) }
    }

    pub fn no_object(method: &str, id: &str) -> Refusal {
        let message = format!(
            "Unsupported {} request. Object with ID '{id}' does not exist, cannot be loaded due to missing permissions, or does not support this operation. Please read the Graph API documentation at https://developers.facebook.com/docs/graph-api",
            method.to_lowercase()
        );
        Refusal { kind: "GraphMethodException", ..Refusal::new(400, 100, message).sub(33) }
    }

    pub fn no_field(field: &str, node: &str) -> Refusal {
        Refusal::param(format!("Tried accessing nonexisting field ({field}) on node type ({node})"))
    }

    pub fn unknown_path(path: &str) -> Refusal {
        Refusal::new(400, 2500, format!("Unknown path components: {path}"))
    }

    pub fn old_version(newest: u32) -> Refusal {
        let message = format!(
            "(#2635) You are calling a deprecated version of the Ads API. Please update to the latest version: v{newest}.0."
        );
        Refusal::new(400, 2635, message)
    }

    pub fn no_account_permission() -> Refusal {
        Refusal::new(403, 200, "(#200) Ad account owner has NOT grant ads_management or ads_read permission")
    }

    pub fn no_field_permission() -> Refusal {
        Refusal::new(403, 200, "(#200) Requires business_management permission to manage the object")
    }

    pub fn no_permission() -> Refusal {
        Refusal::new(403, 10, "(#10) Application does not have permission for this action")
    }

    /// No code tells it from other unknown errors: only its message does.
    pub fn too_much_data() -> Refusal {
        let message = "Please reduce the amount of data you're asking for, then retry your request";
        Refusal { kind: "", ..Refusal::new(500, 1, message) }
    }

    pub fn too_early() -> Refusal {
        Refusal::new(
            400,
            3018,
            "(#3018) The start date of the time range cannot be beyond 37 months from the current date",
        )
    }

    pub fn unfinished_report() -> Refusal {
        let told =
            ("Loading Async Session Failed", "Sorry, the loading of the async session has failed. Please retry later.");
        let refusal = Refusal::new(400, 2601, "(#2601) Error accessing adreport job.").sub(1_815_107).transient();
        Refusal { told: Some(told), ..refusal }
    }

    /// One of the ways the API says that there were too many calls.
    pub fn too_many_calls(code: u32) -> Refusal {
        let url = "https://developers.facebook.com/docs/graph-api/overview/rate-limiting";
        match code {
            4 => Refusal::new(403, 4, "(#4) Application request limit reached").transient(),
            17 => Refusal::new(400, 17, "(#17) User request limit reached").sub(2_446_079).transient(),
            32 => Refusal::new(403, 32, "(#32) Page request limit reached").transient(),
            613 => {
                let message = "(#613) Calls to this api have exceeded the rate limit.";
                let told = (
                    "Too Many API Calls",
                    "There have been too many calls from this ad-account. Please wait a bit and try again.",
                );
                Refusal { told: Some(told), ..Refusal::new(400, 613, message).sub(1_487_742) }
            }
            80000 => {
                let message = format!("(#80000) There have been too many calls from this ad-account. Please wait a bit and try again. For more info, please refer to {url}#ads-insights.");
                Refusal::new(400, 80000, message).sub(2_446_079)
            }
            code => {
                let message = format!("(#{code}) There have been too many calls to this ad-account. Wait a bit and try again. For more info, please refer to {url}#ads-management.");
                Refusal::new(400, code, message).sub(2_446_079)
            }
        }
    }

    pub fn body(&self, trace: &str) -> Value {
        let mut error = json!({"message": self.message, "code": self.code});
        if !self.kind.is_empty() {
            error["type"] = json!(self.kind);
            error["fbtrace_id"] = json!(trace);
        }
        if self.subcode > 0 {
            error["error_subcode"] = json!(self.subcode);
        }
        if self.is_transient {
            error["is_transient"] = json!(true);
        }
        if let Some((title, text)) = self.told {
            error["error_user_title"] = json!(title);
            error["error_user_msg"] = json!(text);
        }
        json!({"error": error})
    }

    pub fn reply(&self, trace: &str) -> Reply {
        let reply = Reply::json(self.status, self.body(trace).to_string());
        match self.code {
            190 => {
                let told = format!("OAuth \"Facebook Platform\" \"invalid_token\" \"{}\"", self.message);
                reply.with("WWW-Authenticate", told)
            }
            _ => reply,
        }
    }
}
