//! Decides who is subscribed to what: statuses by e-mail address and subscription type.

use serde_json::{json, Value};

use super::crm::{body_of, id_text};
use super::links::batch;
use super::record::value;
use super::wire::{invalid, iso};
use super::Hubspot;
use crate::app::Call;
use crate::http::Reply;

const MOST_INPUTS: usize = 100;
/// The portal's subscription types: id, name, purpose.
pub const TYPES: [(i64, &str, &str); 3] = [
    (2_849_001, "Marketing Information", "Marketing"),
    (2_849_002, "Product Updates", "Marketing"),
    (2_849_003, "One to One", "Sales"),
];
const MADE_MS: i64 = 1_577_836_800_000;

impl Hubspot {
    /// The status of every subscription type for an address. One that was never set is NOT_SPECIFIED, since the address is known.
    pub fn statuses(&self, email: &str) -> Vec<Value> {
        let email = email.to_lowercase();
        let known = |r: &std::sync::Arc<crate::rest::Record>| {
            value(r, "email").is_some_and(|e| e.to_lowercase() == email).then_some(r.created_ms)
        };
        let mut since = None;
        let status = |(id, name, _): &(i64, &str, &str)| {
            if let Some(set) = self.book.latest("email_subscriptions", &format!("{email}:{id}")) {
                return set.json();
            }
            let since = *since
                .get_or_insert_with(|| self.book.all_latest("contacts").iter().find_map(known).unwrap_or(MADE_MS));
            json!({
                "subscriberIdString": email, "subscriptionId": id, "subscriptionName": name, "channel": "EMAIL",
                "status": "NOT_SPECIFIED", "source": "", "legalBasis": null, "legalBasisExplanation": null,
                "setStatusSuccessReason": null, "businessUnitId": 0, "timestamp": iso(since),
            })
        };
        TYPES.iter().map(status).collect()
    }

    /// `POST /communication-preferences/v4/statuses/batch/read?channel=EMAIL`: keyed by addresses, not by contacts.
    pub fn read_statuses(&self, call: &Call<'_>) -> Reply {
        if call.request.param("channel").as_deref() != Some("EMAIL") {
            return invalid("channel is a required parameter, its value is EMAIL");
        }
        let body = match body_of(call.request) {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let Some(inputs) = body.get("inputs").and_then(Value::as_array) else {
            return invalid("Invalid input JSON: Some required fields were not set: [inputs]");
        };
        if inputs.len() > MOST_INPUTS {
            return invalid(&format!("The batch can have at most {MOST_INPUTS} inputs"));
        }
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for email in inputs.iter().map(id_text) {
            match email.contains('@') {
                true => results.push(json!({"subscriberIdString": email, "statuses": self.statuses(&email)})),
                false => errors.push(json!({
                    "status": "error", "category": "VALIDATION_ERROR", "message": format!("{email} is not a valid email address"),
                    "context": {"subscriberIdString": [email]},
                })),
            }
        }
        batch(call.now_ms, results, errors)
    }

    /// `GET /communication-preferences/v4/statuses/{email}`.
    pub fn get_statuses(&self, call: &Call<'_>, email: &str) -> Reply {
        if call.request.param("channel").as_deref() != Some("EMAIL") {
            return invalid("channel is a required parameter, its value is EMAIL");
        }
        batch(call.now_ms, self.statuses(email), Vec::new())
    }

    pub fn definitions(&self, call: &Call<'_>) -> Reply {
        let one = |(id, name, purpose): &(i64, &str, &str)| {
            json!({
                "id": id.to_string(), "name": name, "description": format!("{name} by e-mail"), "purpose": purpose,
                "communicationMethod": "Email", "isActive": true, "isDefault": *id == TYPES[0].0, "isInternal": false,
                "businessUnitId": 0, "createdAt": iso(MADE_MS), "updatedAt": iso(MADE_MS), "subscriptionTranslations": [],
            })
        };
        batch(call.now_ms, TYPES.iter().map(one).collect(), Vec::new())
    }
}
