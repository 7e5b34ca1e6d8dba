//! Plays HubSpot: decides whose request it is, whether it is within the limits, and which endpoint it means.
//!
//! Written from the API reference of v3 and v4 and of the legacy endpoints (contacts v1, e-mail v1) that the newer ones have no
//! counterpart of. One portal.
//!
//! Calls of the control API beyond the common ones, under `/hubspot/`: `POST objects/{kind}/properties` (`name`, `type`,
//! `options`, ...; `count` makes so many) and `DELETE objects/{kind}/properties/{name}`; `POST` and `DELETE associations`
//! (`from`, `from_id`, `to`, `to_id`); `POST contacts/{id}/merge` (`from`); `POST token`, `GET` and `DELETE tokens`. Objects are
//! made and changed by the names of their properties, and `associations` (`{"companies": [id]}`) when made. The collections
//! `contact_identity_profiles`, `contact_identities` and `email_subscriptions` have ledgers that follow from the contacts.

mod crm;
mod directory;
mod draft;
mod edit;
mod email;
mod filter;
mod forms;
mod legacy;
mod limits;
mod links;
mod oauth;
mod paging;
mod properties;
mod record;
mod search;
mod subscriptions;
#[cfg(test)]
mod tests;
mod wire;

use serde_json::{json, Map, Value};

use crate::app::{Answer, App, Ask, Call, Happened};
use crate::http::{Reply, Request};
use crate::rest::auth::{self, Tokens};
use crate::rest::time::Form;
use crate::rest::{crud, Book, Kind as Shelf, Stamp};
use limits::{Limits, Meter};
use links::Links;
use properties::{Kind, Properties};
use wire::{correlated, invalid, limited, missing_scope, not_found, refuse, too_long, uuid};

/// HubSpot's own properties are that old: 2020-01-01.
const MADE_MS: i64 = 1_577_836_800_456;

pub struct Hubspot {
    seed: u64,
    book: Book,
    properties: [Properties; 3],
    links: Links,
    tokens: Tokens,
    /// When each token ends.
    ends: std::collections::HashMap<String, i64>,
    meter: Meter,
    requests: u64,
}

pub fn new(seed: u64) -> Box<dyn App> {
    Box::new(Hubspot::new(seed))
}

fn shelves() -> Vec<Shelf> {
    let shelf = |name, key, created, updated, parent| Shelf { name, key, created, updated, parent };
    let iso = |name| Some(Stamp(name, Form::IsoMillis));
    let ms = |name| Some(Stamp(name, Form::UnixMillis));
    vec![
        shelf("owners", &["id"], iso("createdAt"), iso("updatedAt"), None),
        record::shelf(Kind::Company),
        record::shelf(Kind::Contact),
        record::shelf(Kind::Deal),
        shelf("contact_lists", &["listId"], iso("createdAt"), iso("updatedAt"), None),
        shelf("forms", &["id"], iso("createdAt"), iso("updatedAt"), None),
        shelf("form_submissions", &["formId", "conversionId"], ms("submittedAt"), None, Some("formId")),
        shelf("email_campaigns", &["id"], None, ms("lastUpdatedTime"), None),
        shelf("email_events", &["id", "created"], ms("created"), None, None),
        shelf("email_subscription_event_changes", &["id"], ms("timestamp"), None, None),
        shelf("email_subscriptions", &["subscriberIdString", "subscriptionId"], iso("timestamp"), None, None),
    ]
}

/// Which scope an endpoint needs, and the collections whose denial takes it away.
fn scope_of(parts: &[&str]) -> Option<(&'static str, Vec<&'static str>)> {
    let objects = |name: &str| Kind::named(name).map(|kind| (kind.scope(), vec![kind.plural(), kind.singular()]));
    match parts {
        ["crm", "v3", "objects" | "properties" | "pipelines", name, ..]
        | ["crm", "v3" | "v4", "associations", name, ..]
        | ["crm", "v4", "objects", name, ..] => objects(name),
        ["crm", "v3", "owners", ..] => Some(("crm.objects.owners.read", vec!["owners"])),
        ["crm", "v3", "lists", ..] => Some(("crm.lists.read", vec!["contact_lists"])),
        ["contacts", "v1", ..] => {
            Some(("crm.objects.contacts.read", vec!["contacts", "contact_identity_profiles", "contact_identities"]))
        }
        ["email", "public", "v1", "campaigns", ..] => Some(("content", vec!["email_campaigns"])),
        ["email", "public", "v1", "events", ..] => Some(("content", vec!["email_events"])),
        ["email", "public", "v1", "subscriptions", ..] => Some(("content", vec!["email_subscription_event_changes"])),
        ["communication-preferences", ..] => Some(("communication_preferences.read", vec!["email_subscriptions"])),
        ["marketing", "v3", "forms", ..] => Some(("forms", vec!["forms", "form_submissions"])),
        ["form-integrations", ..] => Some(("forms", vec!["form_submissions"])),
        _ => None,
    }
}

impl Hubspot {
    pub fn new(seed: u64) -> Hubspot {
        Hubspot {
            seed,
            book: Book::new(&shelves()),
            properties: Kind::ALL.map(|kind| Properties::new(kind, MADE_MS)),
            links: Links::default(),
            tokens: Tokens::new(seed),
            ends: std::collections::HashMap::new(),
            meter: Meter::default(),
            requests: 0,
        }
    }

    /// The credential: a private app's token, or one of OAuth. And the refusal of a wrong one.
    fn judge(&self, call: &Call<'_>) -> (&'static str, bool, Option<Reply>) {
        let token = auth::bearer(call.request);
        if token == Some(call.config.text("access_token")) && token != Some("") {
            return ("valid", false, None);
        }
        let judged = self.tokens.check(token, call.now_ms);
        let refusal = match judged {
            "valid" => None,
            "expired" => Some(oauth::expired(self.tokens_end(token.unwrap_or("")), call.now_ms)),
            _ => Some(refuse(
                401,
                "INVALID_AUTHENTICATION",
                "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
            )),
        };
        (judged, true, refusal)
    }

    fn route(&mut self, call: &Call<'_>) -> Reply {
        let request = call.request;
        let length = request.path.len() + request.query.len() + usize::from(!request.query.is_empty());
        if call.config.size("uri_limit") > 0 && length > call.config.size("uri_limit") {
            return too_long();
        }
        let path = request.path.clone();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        if let ["oauth", ..] = parts.as_slice() {
            return self.oauth(call, &parts);
        }
        let (credential, is_oauth, refusal) = self.judge(call);
        if let Some(mut refusal) = refusal {
            refusal.credential = credential;
            return refusal;
        }
        let is_search = request.method == "POST" && parts.last() == Some(&"search");
        let limits = Limits {
            ten_secondly: call.config.number("calls_per_ten_seconds"),
            searches_per_second: call.config.number("searches_per_second"),
            daily: call.config.number("daily_quota"),
        };
        let spent = match self.meter.count(limits, is_search, call.calls, call.now_ms) {
            None if call.is_over_rate => Some("TEN_SECONDLY_ROLLING"),
            spent => spent,
        };
        let mut reply = match spent {
            Some(policy) => limited(policy),
            None => self.endpoint(call, &parts),
        };
        if !is_search {
            reply = self.meter.mark(reply, limits, call.calls, is_oauth);
        }
        reply.credential = credential;
        reply
    }

    fn endpoint(&mut self, call: &Call<'_>, parts: &[&str]) -> Reply {
        if let Some((scope, names)) = scope_of(parts) {
            if call.config.denies(&[scope]) || call.config.denies(&names) {
                return missing_scope(scope);
            }
        }
        let is_get = matches!(call.request.method.as_str(), "GET" | "HEAD");
        let is_post = call.request.method == "POST";
        // Names of objects in paths.
        if let ["crm", "v3" | "v4", "objects" | "properties" | "pipelines" | "associations", name, ..] = parts {
            if Kind::named(name).is_none() {
                return invalid(&format!("Unable to infer object type from: {name}"));
            }
        }
        let kind = |name: &str| Kind::named(name).unwrap_or(Kind::Contact);
        match parts {
            ["account-info", "v3", "details"] if is_get => self.account_details(),
            ["crm", "v3", "objects", name] if is_get => self.list_objects(call, kind(name)),
            ["crm", "v3", "objects", name, "search"] if is_post => self.search_objects(call, kind(name)),
            ["crm", "v3", "objects", name, "batch", "read"] if is_post => self.read_batch(call, kind(name)),
            ["crm", "v3", "objects", name, id] if is_get => self.get_object(call, kind(name), id),
            ["crm", version @ ("v3" | "v4"), "objects", name, id, "associations", to] if is_get => {
                match Kind::named(to) {
                    Some(to) => self.list_associations(call, kind(name), id, to, *version == "v4"),
                    None => invalid(&format!("Unable to infer object type from: {to}")),
                }
            }
            ["crm", version @ ("v3" | "v4"), "associations", from, to, "batch", "read"] if is_post => {
                match Kind::named(to) {
                    Some(to) => self.read_associations(call, kind(from), to, *version == "v4"),
                    None => invalid(&format!("Unable to infer object type from: {to}")),
                }
            }
            ["crm", "v3", "properties", name] if is_get => self.list_properties(call, kind(name)),
            ["crm", "v3", "properties", name, property] if is_get => self.get_property(kind(name), property),
            ["crm", "v3", "pipelines", name] if is_get => self.list_pipelines(kind(name)),
            ["crm", "v3", "pipelines", name, id] if is_get => self.get_pipeline(kind(name), id, false),
            ["crm", "v3", "pipelines", name, id, "stages"] if is_get => self.get_pipeline(kind(name), id, true),
            ["crm", "v3", "owners"] if is_get => self.list_owners(call),
            ["crm", "v3", "owners", id] if is_get => self.get_owner(id),
            ["crm", "v3", "lists", "search"] if is_post => self.search_lists(call),
            ["crm", "v3", "lists", id] if is_get => self.get_list(id),
            ["contacts", "v1", "lists", "all", "contacts", "all"] if is_get => self.all_contacts(call),
            ["contacts", "v1", "lists", list @ ("all" | "recently_updated"), "contacts", "recent"] if is_get => {
                self.recent_contacts(call, list)
            }
            ["contacts", "v1", "lists", ..] => self.ended_list(),
            ["email", "public", "v1", "campaigns"] if is_get => self.list_campaigns(call, false),
            ["email", "public", "v1", "campaigns", "by-id"] if is_get => self.list_campaigns(call, true),
            ["email", "public", "v1", "campaigns", id] if is_get => self.get_campaign(call, id),
            ["email", "public", "v1", "events"] if is_get => self.list_events(call),
            ["email", "public", "v1", "events", created, id] if is_get => self.get_event(created, id),
            ["email", "public", "v1", "subscriptions", "timeline"] if is_get => self.subscription_timeline(call),
            ["communication-preferences", "v4", "statuses", "batch", "read"] if is_post => self.read_statuses(call),
            ["communication-preferences", "v4", "definitions"] if is_get => self.definitions(call),
            ["communication-preferences", "v4", "statuses", email] if is_get => self.get_statuses(call, email),
            ["marketing", "v3", "forms"] if is_get => self.list_forms(call),
            ["marketing", "v3", "forms", id] if is_get => self.get_form(id),
            ["form-integrations", "v1", "submissions", "forms", id] if is_get => self.list_submissions(call, id),
            _ => not_found(&format!("No resource is found at {} {}", call.request.method, call.request.path)),
        }
    }
}

impl App for Hubspot {
    fn answer(&mut self, call: &Call<'_>) -> Reply {
        self.requests += 1;
        let id = uuid(1_000_000_000_000 + self.requests);
        self.book.publish(call.now_ms);
        correlated(self.route(call), &id)
    }

    fn knobs(&self) -> Value {
        json!({
            // A private app's token, which does not end; empty for none.
            "access_token": "pat-na1-simulated",
            "client_id": "sim-client",
            "client_secret": "sim-secret",
            "refresh_token": "sim-refresh",
            "token_lifetime_seconds": 1800,
            // Limits; 0 is none. What HubSpot has: 100 to 190 calls in ten seconds, 5 searches a second.
            "calls_per_ten_seconds": 0,
            "searches_per_second": 0,
            "daily_quota": 0,
            "uri_limit": 16_384,
            // Results of one search that can be paged through.
            "search_ceiling": search::CEILING,
            // Associations of a record shown at once; 0 for as many as HubSpot shows.
            "associations_shown": 0,
        })
    }

    fn counts(&self, request: &Request) -> bool {
        !request.path.starts_with("/oauth/")
    }

    fn book(&mut self) -> Option<&mut Book> {
        Some(&mut self.book)
    }

    fn draft(
        &mut self,
        collection: &str,
        number: u64,
        at_ms: i64,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, String> {
        match edit::object(collection) {
            Some(kind) => self.draft_object(kind, number, given),
            None => self.draft_other(collection, number, at_ms, given),
        }
    }

    fn mark(&mut self, collection: &str, fields: &mut Map<String, Value>, is_deleted: bool, at_ms: i64) {
        match collection {
            "contact_lists" => {
                let at = is_deleted.then(|| Form::IsoMillis.text(at_ms));
                fields.insert("deletedAt".into(), json!(at));
            }
            "owners" | "forms" => {
                fields.insert("archived".into(), json!(is_deleted));
            }
            _ => {}
        }
    }

    fn happened(&mut self, change: &Happened<'_>) {
        let Some(kind) = edit::object(change.collection) else { return };
        match (change.before, change.after) {
            (None, Some(record)) => self.link_new(kind, record, change.when),
            (Some(record), None) => self.links.forget(kind, &record.id),
            _ => {}
        }
    }

    fn control(&mut self, ask: &Ask<'_>, parts: &[&str]) -> Option<Answer> {
        self.own_call(ask, parts)
    }

    fn create(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        match edit::object(collection) {
            Some(kind) => self.create_object(ask, kind),
            None => crud::create(self, ask, collection),
        }
    }

    fn change(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        match edit::object(collection) {
            Some(kind) => self.change_object(ask, kind, id),
            None => crud::change(self, ask, collection, id),
        }
    }

    fn delete(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        edit::delete(self, ask, collection, id)
    }

    fn undelete(&mut self, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
        edit::undelete(self, ask, collection, id)
    }

    fn ledger(&mut self, ask: &Ask<'_>, collection: &str) -> Answer {
        match self.own_ledger(ask, collection) {
            Some(answer) => answer,
            None => crud::ledger(self, ask, collection),
        }
    }

    fn count(&mut self, _ask: &Ask<'_>, collection: &str) -> Answer {
        match self.own_count(collection) {
            Some(answer) => answer,
            None => crud::count(self, collection),
        }
    }

    fn error_body(&self, status: u16) -> String {
        let reply = match status {
            401 => refuse(401, "INVALID_AUTHENTICATION", "Authentication credentials not found."),
            403 => missing_scope("crm.objects.contacts.read"),
            404 => not_found("resource not found"),
            429 => limited("TEN_SECONDLY_ROLLING"),
            400..=499 => refuse(status, "VALIDATION_ERROR", "There was a problem with the request."),
            _ => refuse(status, "INTERNAL_ERROR", "internal error"),
        };
        String::from_utf8_lossy(&correlated(reply, &uuid(1)).body).into_owned()
    }

    fn list_name(&self, request: &Request) -> String {
        paging::list_member(&request.path).into()
    }

    fn place_params(&self) -> &'static [&'static str] {
        paging::PLACE_PARAMS
    }

    fn listing_key(&self, request: &Request) -> String {
        paging::listing_key(request)
    }

    fn starts_listing(&self, request: &Request) -> bool {
        paging::starts_listing(request)
    }

    fn lead_on(&self, is_empty: bool, request: &Request, _reply: &Reply, body: &mut Value) {
        if is_empty {
            paging::lead_back(request, body);
        }
    }
}
