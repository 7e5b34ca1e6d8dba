//! Decides what the rest of the simulator may know of Stripe and do to it.

use serde_json::{json, Map, Value};

use super::edit::Manner;
use super::seed::Options;
use super::Stripe;
use crate::app::{bad, missing, Answer, App, Ask, Call};
use crate::clock;
use crate::http::{Reply, Request};

/// `?account=acct_x` means that account instead of the key's own.
fn account_of(ask: &Ask<'_>) -> Option<String> {
    ask.request.param("account")
}

fn manner<'a>(ask: &Ask<'a>) -> Manner<'a> {
    Manner { config: ask.config, is_silent: ask.flag("silent") }
}

impl App for Stripe {
    fn answer(&mut self, call: &Call<'_>) -> Reply {
        self.play(call.request, call.config, call.is_over_rate)
    }

    /// `api_version` is the account's own, used without a `Stripe-Version` header; `event_api_version` that in which events
    /// are rendered.
    fn knobs(&self) -> Value {
        json!({
            "api_key": "sk_test_sim",
            "api_version": "2024-06-20",
            "event_api_version": "2024-06-20",
            "event_retention_days": 30,
        })
    }

    fn seed(&mut self, ask: &mut Ask<'_>) -> Answer {
        let with_events = ask.body.remove("with_events").is_some_and(|v| v == true);
        let options = Options { until_s: ask.take_until_s(), accounts: std::mem::take(&mut ask.lent), seed: ask.seed };
        let account = self.account(account_of(ask).as_deref());
        let mut made = account.seed(&ask.body, &options).map_err(bad)?;
        if with_events {
            let since = clock::now_ms() / 1000 - ask.config.number("event_retention_days") * 86_400;
            made["events"] = json!(account.tell_recent(since, ask.config));
        }
        Ok(made.to_string())
    }

    fn create(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        self.account(account_of(ask).as_deref()).create(collection, &ask.body, manner(ask)).map_err(bad)
    }

    fn change(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        self.account(account_of(ask).as_deref()).change(collection, id, &ask.body, manner(ask)).map_err(bad)
    }

    fn delete(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        self.account(account_of(ask).as_deref()).delete(collection, id, ask.flag("hard"), manner(ask)).map_err(bad)
    }

    fn undelete(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        self.account(account_of(ask).as_deref()).undelete(collection, id, manner(ask)).map_err(bad)
    }

    fn ledger(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        let with_records = ask.request.param("records").is_none_or(|v| v != "false");
        self.account(account_of(ask).as_deref()).ledger(collection, with_records).map_err(missing)
    }

    fn count(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        self.account(account_of(ask).as_deref()).count(collection).map(|v| v.to_string()).map_err(missing)
    }

    fn error_body(&self, status: u16) -> String {
        let (kind, message) = match status {
            401 => ("invalid_request_error", "Invalid API Key provided: sk_test_***"),
            402 => ("card_error", "The card was declined."),
            403 => {
                ("invalid_request_error", "The provided key does not have the required permissions for this endpoint.")
            }
            429 => ("invalid_request_error", "Request rate limit exceeded."),
            400..=499 => ("invalid_request_error", "The request could not be processed."),
            _ => ("api_error", "An unknown error occurred"),
        };
        let mut error = Map::from_iter([("message".into(), json!(message)), ("type".into(), json!(kind))]);
        let code = match status {
            429 => "rate_limit",
            409 => "lock_timeout",
            _ => "",
        };
        if !code.is_empty() {
            error.insert("code".into(), json!(code));
        }
        json!({"error": error}).to_string()
    }

    fn place_params(&self) -> &'static [&'static str] {
        &["starting_after", "ending_before"]
    }

    fn continues_from_last_record(&self) -> bool {
        true
    }

    fn lead_on(&self, is_empty: bool, _request: &Request, _reply: &Reply, body: &mut Value) {
        if is_empty {
            body["has_more"] = json!(true);
        }
    }
}
