//! Decides what an app is to the rest of the simulator: one module behind the trait `App`, and one line in `APPS`.
//!
//! The rest (connections, log, latency, gates, faults, rate, the control API's paths) is the same for every app and knows
//! none by name. README.md, "How to add an app", goes through it step by step.

use serde_json::{json, Map, Value};

use crate::clock;
use crate::config::Config;
use crate::http::{Reply, Request};
use crate::rest::{crud, Book, Record, When};
use crate::{
    bookshop, facebook_ads, google_ads, hubspot, intercom, mailchimp, mandrill, marketo, salesforce,
    salesforce_marketing_cloud, sendgrid, stripe, twilio, zendesk,
};

/// An app as it is listed: `/{name}/...` in the control API.
pub struct Entry {
    pub name: &'static str,
    /// With `--port-base N` it listens on N + this, and with TLS on N + this + 10.
    pub port: u16,
    /// A new, empty one. Everything random in it comes from the seed.
    pub new: fn(u64) -> Box<dyn App>,
}

/// Every app, by name. Ports: 1 to 9 (https 11 to 19), then 21 to 29 (https 31 to 39); a port given once stays.
pub const APPS: &[Entry] = &[
    Entry { name: "bookshop", port: 25, new: bookshop::new },
    Entry { name: "facebook_ads", port: 3, new: facebook_ads::new },
    Entry { name: "google_ads", port: 4, new: google_ads::new },
    Entry { name: "hubspot", port: 5, new: hubspot::new },
    Entry { name: "intercom", port: 6, new: intercom::new },
    Entry { name: "mailchimp", port: 7, new: mailchimp::new },
    Entry { name: "mandrill", port: 8, new: mandrill::new },
    Entry { name: "marketo", port: 9, new: marketo::new },
    Entry { name: "salesforce", port: 1, new: salesforce::new },
    Entry { name: "salesforce_marketing_cloud", port: 21, new: salesforce_marketing_cloud::new },
    Entry { name: "sendgrid", port: 22, new: sendgrid::new },
    Entry { name: "stripe", port: 2, new: stripe::new },
    Entry { name: "twilio", port: 23, new: twilio::new },
    Entry { name: "zendesk", port: 24, new: zendesk::new },
];

/// One request to an app, with what is known of the traffic around it.
pub struct Call<'a> {
    pub request: &'a Request,
    pub config: &'a Config,
    /// `rate_per_second` is spent: the app answers its 429 (after it judged the credential, where the real one does).
    pub is_over_rate: bool,
    /// Calls so far that `App::counts`, this one included.
    pub calls: u64,
    /// Requests of this app under way when this one came in, itself included.
    pub in_flight: u64,
    /// The apps' time.
    pub now_ms: i64,
}

/// One request of the control API to an app.
pub struct Ask<'a> {
    pub request: &'a Request,
    pub config: &'a Config,
    /// The body; empty when there was none.
    pub body: Map<String, Value>,
    /// Ids that other apps lend (`App::lends`), filled for `seed` only.
    pub lent: Vec<String>,
    /// The program's seed.
    pub seed: u64,
    pub now_ms: i64,
}

impl Ask<'_> {
    /// Whether `?name=true` (or 1) was given.
    pub fn flag(&self, name: &str) -> bool {
        self.request.param(name).is_some_and(|v| v == "true" || v == "1")
    }

    /// When the API may show the change; `None` is at once.
    pub fn due_ms(&self) -> Option<i64> {
        self.config.due_ms(self.now_ms)
    }

    /// Takes a member out of the body that is not the size of a collection.
    pub fn take_number(&mut self, name: &str) -> u64 {
        self.body.remove(name).and_then(|v| v.as_u64()).unwrap_or(0)
    }

    /// Takes `until` out of the body: unix seconds or "now"; 2026-01-01 when not given.
    pub fn take_until_s(&mut self) -> i64 {
        match self.body.remove("until") {
            Some(Value::String(text)) if text == "now" => self.now_ms / 1000,
            Some(Value::Number(seconds)) => seconds.as_i64().unwrap_or(clock::ANCHOR_S),
            _ => clock::ANCHOR_S,
        }
    }
}

/// What the control API refuses: status and message.
pub type Refusal = (u16, String);

/// The control API's answer: JSON as text, because a ledger can be large.
pub type Answer = Result<String, Refusal>;

pub fn bad(message: impl Into<String>) -> Refusal {
    (400, message.into())
}

pub fn missing(message: impl Into<String>) -> Refusal {
    (404, message.into())
}

/// A change of a record in the book, told after it was made.
pub struct Happened<'a> {
    pub collection: &'a str,
    /// `None` for a new record.
    pub before: Option<&'a Record>,
    /// `None` for one deleted without a trace.
    pub after: Option<&'a Record>,
    pub when: When,
}

/// One app. Only `answer` must be written; an app whose records live in a `Book` also gives `book` and `draft` and gets the
/// data calls of the control API for it. Reset makes a new one.
pub trait App: Send {
    /// What the app answers. Sets `Reply::credential`.
    fn answer(&mut self, call: &Call<'_>) -> Reply;

    /// The app's own settings with the values they start with: a JSON object.
    fn knobs(&self) -> Value {
        json!({})
    }

    /// Called when settings were changed, with the members given.
    fn configured(&mut self, _changes: &Map<String, Value>) {}

    /// Whether a request counts in `Call::calls`.
    fn counts(&self, _request: &Request) -> bool {
        true
    }

    // The control API.

    /// Where the records are, for apps that keep them in a book.
    fn book(&mut self) -> Option<&mut Book> {
        None
    }

    /// A whole record for the book: `given` over made-up values. `number` counts the records of its collection from 0;
    /// `at_ms` is when it is made. It holds its key members; stamps and parent are read from it.
    fn draft(
        &mut self,
        collection: &str,
        _number: u64,
        _at_ms: i64,
        _given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, String> {
        Err(format!("{collection} cannot be created"))
    }

    /// Writes into a record that it is deleted, or not any more, as the app says it. Nothing: it just is no longer listed.
    fn mark(&mut self, _collection: &str, _fields: &mut Map<String, Value>, _is_deleted: bool, _at_ms: i64) {}

    /// Called after each change of a record by the control API: for what follows from it (events, counts, children).
    fn happened(&mut self, _change: &Happened<'_>) {}

    /// A control call of the app's own under `/{app}/`; `None` is for the common ones below.
    fn control(&mut self, _ask: &Ask<'_>, _parts: &[&str]) -> Option<Answer> {
        None
    }

    /// `POST /{app}/seed`: the body has the size of each collection.
    fn seed(&mut self, ask: &mut Ask<'_>) -> Answer {
        crud::seed(self, ask)
    }

    fn create(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        crud::create(self, ask, collection)
    }

    fn change(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        crud::change(self, ask, collection, id)
    }

    /// `?hard=true`: without a trace.
    fn delete(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        crud::delete(self, ask, collection, id)
    }

    fn undelete(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        crud::undelete(self, ask, collection, id)
    }

    fn ledger(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        crud::ledger(self, ask, collection)
    }

    fn count(&mut self, _ask: &Ask<'_>, collection: &str) -> Answer {
        crud::count(self, collection)
    }

    /// Ids that the seeds of other apps may refer to.
    fn lends(&self) -> Vec<String> {
        Vec::new()
    }

    // What faults need to know of its replies.

    /// An error as the app words it, for the faults `status` and `error_object`.
    fn error_body(&self, status: u16) -> String {
        json!({"error": {"status": status, "message": "The request could not be processed."}}).to_string()
    }

    /// The member that holds the records in replies to this request.
    fn list_name(&self, _request: &Request) -> String {
        "data".into()
    }

    /// The records in a reply's body.
    fn records<'a>(&self, request: &Request, body: &'a mut Value) -> Option<&'a mut Vec<Value>> {
        if body.is_array() {
            return body.as_array_mut();
        }
        body.get_mut(self.list_name(request))?.as_array_mut()
    }

    /// Query parameters that say where in a listing a page is: a request without any asks for a first page.
    fn place_params(&self) -> &'static [&'static str] {
        &["page", "cursor", "after", "offset"]
    }

    /// What the requests of one listing have in common.
    fn listing_key(&self, request: &Request) -> String {
        let mut params = request.params();
        params.retain(|(name, _)| !self.place_params().contains(&name.as_str()));
        params.sort();
        format!("{}?{params:?}", request.path)
    }

    /// Whether the request asks for a first page, which repeats none.
    fn starts_listing(&self, request: &Request) -> bool {
        !request.params().iter().any(|(name, _)| self.place_params().contains(&name.as_str()))
    }

    /// The listing a sent page belongs to.
    fn sent_listing(&self, request: &Request, _reply: &Reply) -> Option<String> {
        Some(self.listing_key(request))
    }

    /// Whether the next page starts after the last record, so that `shuffle` must leave that one in its place.
    fn continues_from_last_record(&self) -> bool {
        false
    }

    /// Whether the fault `duplicate_page` sends the earlier page again. Otherwise `lead_on` makes the page lead to itself.
    fn repeats_duplicates(&self) -> bool {
        true
    }

    /// Makes an emptied (or duplicated) page lead on to another.
    fn lead_on(&self, _is_empty: bool, _request: &Request, _reply: &Reply, _body: &mut Value) {}
}

/// An app that plays nothing, for tests of what is around apps: every request answers 501.
#[cfg(test)]
pub struct Unwritten(pub &'static str);

#[cfg(test)]
impl App for Unwritten {
    fn answer(&mut self, _call: &Call<'_>) -> Reply {
        Reply::json(501, json!({"error": format!("{} is not played yet", self.0)}).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_are_listed_by_name_and_share_no_port() {
        assert!(APPS.windows(2).all(|two| two[0].name < two[1].name));
        let mut ports: Vec<u16> = APPS.iter().flat_map(|entry| [entry.port, entry.port + 10]).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), APPS.len() * 2);
        assert!(!ports.contains(&0), "the control API has it");
        for (name, port) in [("salesforce", 1), ("stripe", 2)] {
            assert!(APPS.iter().any(|entry| entry.name == name && entry.port == port), "{name}");
        }
        for entry in APPS {
            assert!((entry.new)(1).knobs().is_object(), "{}", entry.name);
        }
    }
}
