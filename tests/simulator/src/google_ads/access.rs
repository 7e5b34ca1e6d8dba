//! Decides who may ask for which account: token, developer token, quota, and the way from a login to an account.
//!
//! developers.google.com/google-ads/api/docs/concepts/call-structure#cid: a client that is reached through a manager needs
//! that manager in `login-customer-id`.

use std::sync::Arc;

use super::errors::Refusal;
use super::GoogleAds;
use crate::app::Call;
use crate::rest::auth::bearer;
use crate::rest::Record;

impl GoogleAds {
    pub fn check_credentials(&self, call: &Call<'_>) -> Result<(), Refusal> {
        match self.credential(call) {
            "valid" => {}
            "expired" => return Err(Refusal::unauthenticated("OAUTH_TOKEN_EXPIRED", "The OAuth token has expired.")),
            "none" => return Err(Refusal::unauthenticated("OAUTH_TOKEN_HEADER_INVALID", "There is no OAuth token.")),
            _ => return Err(Refusal::unauthenticated("OAUTH_TOKEN_INVALID", "The OAuth token is invalid.")),
        }
        match call.request.header("developer-token") {
            None => {
                let message = "The developer token is missing from the request.";
                return Err(Refusal::request("DEVELOPER_TOKEN_PARAMETER_MISSING", message));
            }
            Some(token) if token != call.config.text("developer_token") => {
                let message = "The developer token is not valid.";
                return Err(Refusal::unauthenticated("DEVELOPER_TOKEN_INVALID", message));
            }
            Some(_) if !call.config.flag("developer_token_approved") => {
                let message = "The developer token is only approved for use with test accounts. To access non-test \
                               accounts, apply for Basic or Standard access.";
                return Err(Refusal::denied("DEVELOPER_TOKEN_NOT_APPROVED", message));
            }
            Some(_) => {}
        }
        let quota = call.config.number("daily_quota");
        let delay = call.config.number("retry_delay_seconds").max(0) as u64;
        if quota > 0 && call.calls > quota as u64 {
            return Err(Refusal::exhausted(true, delay));
        }
        if call.is_over_rate {
            return Err(Refusal::exhausted(false, delay));
        }
        Ok(())
    }

    pub fn credential(&self, call: &Call<'_>) -> &'static str {
        let token = bearer(call.request);
        let constant = call.config.text("access_token");
        match token {
            Some(token) if !constant.is_empty() && token == constant => "valid",
            token => self.tokens.check(token, call.now_ms),
        }
    }

    /// The account a path names, if whoever asks may read it.
    pub fn customer(&self, call: &Call<'_>, id: &str) -> Result<Arc<Record>, Refusal> {
        if !is_customer_id(id) {
            let message = format!("Invalid customer ID '{id}'.");
            return Err(Refusal::request("INVALID_CUSTOMER_ID", &message));
        }
        let login = call.request.header("login-customer-id").unwrap_or(id);
        if !is_customer_id(login) {
            let message = format!("The login customer ID header '{login}' could not be validated.");
            return Err(Refusal::header("INVALID_LOGIN_CUSTOMER_ID", &message));
        }
        let Some(customer) = self.book.find("customers", id) else {
            let message = "No customer found for the provided customer id.";
            return Err(Refusal::unauthenticated("CUSTOMER_NOT_FOUND", message));
        };
        let above = self.lineage(id);
        let is_reachable = above.iter().any(|one| one == login)
            && self.lineage(login).iter().any(|one| accessible(call).contains(&one.as_str()));
        // A client that is only reached through a manager needs that manager in the header.
        let is_direct = call.request.header("login-customer-id").is_some() || accessible(call).contains(&id);
        if !is_reachable || !is_direct || call.config.denies(&[id]) {
            return Err(Refusal::no_permission());
        }
        match customer.text("status") {
            "ENABLED" => Ok(customer),
            _ => Err(Refusal::not_enabled()),
        }
    }

    /// An account and its managers, lowest first.
    fn lineage(&self, id: &str) -> Vec<String> {
        let mut found = vec![id.to_string()];
        while let Some(customer) = found.last().and_then(|id| self.book.find("customers", id)) {
            let above = customer.text("managedBy").to_string();
            if above.is_empty() || found.contains(&above) {
                break;
            }
            found.push(above);
        }
        found
    }
}

fn is_customer_id(text: &str) -> bool {
    text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit())
}

/// The accounts whoever asks has a login for.
pub fn accessible<'a>(call: &Call<'a>) -> Vec<&'a str> {
    call.config.text("accessible_customers").split(',').map(str::trim).filter(|id| !id.is_empty()).collect()
}
