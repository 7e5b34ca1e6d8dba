//! Decides the lists of records: offset and count, since and before, order, and the members a client asked for.

use std::sync::Arc;

use serde_json::{json, Map, Value};

use super::{problem, Mailchimp};
use crate::app::Call;
use crate::http::{Reply, Request};
use crate::rest::{page, time, Record};

/// What a page has when no `count` is given, and the most it has: a larger `count` gives that without a word.
const USUAL: usize = 10;
const MOST: usize = 1000;

/// One kind of list.
struct Listing {
    /// The member of the reply that holds the records.
    name: &'static str,
    /// Members with a time: `since_{name}` and `before_{name}` filter by them, `sort_field` may name them.
    times: &'static [&'static str],
    /// Parameters that want an equal member.
    equals: &'static [&'static str],
}

const LISTS: Listing = Listing { name: "lists", times: &["date_created"], equals: &[] };
const MEMBERS: Listing = Listing {
    name: "members",
    times: &["last_changed", "timestamp_opt", "timestamp_signup"],
    equals: &["status", "email_type", "unique_email_id"],
};
const CAMPAIGNS: Listing =
    Listing { name: "campaigns", times: &["create_time", "send_time"], equals: &["type", "status"] };
const CONVERSATIONS: Listing = Listing { name: "conversations", times: &[], equals: &["list_id", "campaign_id"] };

/// The refusal of parameters that do not fit the schema.
fn invalid(field: &str, message: &str) -> Reply {
    let text = "The resource submitted could not be validated. For field-specific details, see the 'errors' array.";
    let mut body = super::problem_body(400, "Invalid Resource", text);
    body["errors"] = json!([{"field": field, "message": message}]);
    super::as_problem(400, &body)
}

impl Mailchimp {
    pub(super) fn resource(&self, call: &Call<'_>, parts: &[&str]) -> Reply {
        let book = &self.book;
        let no_such = || problem(404, "Resource Not Found", "The requested resource could not be found.");
        let listed = |collection: &str, id: &str| book.find(collection, id).filter(|record| !record.is_deleted());
        let collection = match parts {
            ["lists", _, "members", ..] => "list_members",
            ["reports", _, "email-activity"] => "subscriber_activity",
            [name @ ("lists" | "campaigns" | "conversations"), ..] => name,
            _ => return no_such(),
        };
        let is_unpaid = collection == "conversations" && !call.config.flag("conversations");
        if call.config.denies(&[collection]) || is_unpaid {
            return problem(403, "Forbidden", "You are not permitted to access this resource.");
        }
        match parts {
            ["lists"] => self.list(call, &LISTS, book.listed("lists"), json!({"constraints": {"may_create": true}})),
            ["campaigns"] => {
                let mut records = book.listed("campaigns");
                if let Some(list) = call.request.param("list_id") {
                    records.retain(|record| record.get("recipients")["list_id"] == list.as_str());
                }
                self.list(call, &CAMPAIGNS, records, json!({}))
            }
            ["conversations"] => self.list(call, &CONVERSATIONS, book.listed("conversations"), json!({})),
            ["lists", id, "members"] if listed("lists", id).is_some() => {
                let mut records = book.children("list_members", id);
                // Archived ones are a status among others; whether a list without `status` has them is not documented.
                if call.request.param("status").is_none() && !call.config.flag("lists_archived") {
                    records.retain(|record| !record.is_deleted());
                }
                if call.request.param("vip_only").is_some_and(|v| v == "true") {
                    records.retain(|record| *record.get("vip") == true);
                }
                self.list(call, &MEMBERS, records, json!({"list_id": id}))
            }
            ["lists", list, "members", id] => match book.find("list_members", &format!("{list}:{id}")) {
                Some(record) => shaped(call.request, record.json()),
                None => no_such(),
            },
            ["reports", id, "email-activity"] => match listed("campaigns", id) {
                // A campaign that was not sent has no report.
                Some(campaign) if campaign.text("status") == "sent" => self.activity(call, id),
                _ => no_such(),
            },
            [_, id] => match listed(collection, id) {
                Some(record) => shaped(call.request, record.json()),
                None => no_such(),
            },
            _ => no_such(),
        }
    }

    fn list(&self, call: &Call<'_>, listing: &Listing, mut records: Vec<Arc<Record>>, more: Value) -> Reply {
        let request = call.request;
        for time in listing.times {
            for (prefix, wanted) in [("since_", std::cmp::Ordering::Greater), ("before_", std::cmp::Ordering::Less)] {
                let name = format!("{prefix}{time}");
                let Some(text) = request.param(&name).filter(|text| !text.is_empty()) else { continue };
                let Some(limit) = time::parse(&text) else {
                    return invalid(&name, "Schema describes string, format date-time");
                };
                // After and before, so not at that moment itself (docs: "changed after the set timeframe").
                records.retain(|record| time::parse(record.text(time)).is_some_and(|at| at.cmp(&limit) == wanted));
            }
        }
        for name in listing.equals {
            if let Some(wanted) = request.param(name) {
                records.retain(|record| record.text(name) == wanted);
            }
        }
        if let Some(field) = request.param("sort_field") {
            if !listing.times.contains(&field.as_str()) {
                return invalid("sort_field", &format!("Value must be one of: {}", listing.times.join(", ")));
            }
            records.sort_by_key(|record| time::parse(record.text(&field)).unwrap_or(i64::MIN));
            if request.param("sort_dir").is_some_and(|v| v.eq_ignore_ascii_case("desc")) {
                records.reverse();
            }
        }
        let all: Vec<Value> = records.iter().map(|record| with_links(request, record.json())).collect();
        paged(call, listing.name, &all, more)
    }

    /// One entry for each address, with what it did: `since` filters the actions, not the addresses.
    fn activity(&self, call: &Call<'_>, campaign: &str) -> Reply {
        let since = match call.request.param("since") {
            None => i64::MIN,
            Some(text) => match time::parse(&text) {
                Some(since) => since,
                None => return invalid("since", "Schema describes string, format date-time"),
            },
        };
        let mut emails: Vec<Value> = Vec::new();
        for record in self.book.children("subscriber_activity", campaign) {
            let at = emails.iter().position(|email| email["email_id"] == *record.get("email_id"));
            let at = at.unwrap_or_else(|| {
                let names = ["campaign_id", "list_id", "list_is_active", "email_id", "email_address"];
                let mut email: Map<String, Value> =
                    names.iter().map(|name| (name.to_string(), record.get(name).clone())).collect();
                email.insert("activity".into(), json!([]));
                emails.push(with_links(call.request, Value::Object(email)));
                emails.len() - 1
            });
            let done = ["action", "type", "timestamp", "url", "ip"].iter().filter(|name| !record.get(name).is_null());
            let done: Map<String, Value> = done.map(|name| (name.to_string(), record.get(name).clone())).collect();
            if record.created_ms > since {
                if let Some(activity) = emails[at]["activity"].as_array_mut() {
                    activity.push(Value::Object(done));
                }
            }
        }
        paged(call, "emails", &emails, json!({"campaign_id": campaign}))
    }
}

fn with_links(request: &Request, mut record: Value) -> Value {
    let href = format!("{}{}", request.origin(), request.path);
    record["_links"] = json!([{"rel": "parent", "href": href, "method": "GET"}]);
    record
}

/// The page by `offset` and `count`, with the sum of all.
fn paged(call: &Call<'_>, name: &str, all: &[Value], more: Value) -> Reply {
    let request = call.request;
    let mut numbers = [0, USUAL];
    for (number, name) in numbers.iter_mut().zip(["offset", "count"]) {
        if let Some(text) = request.param(name) {
            match text.parse::<usize>() {
                Ok(given) => *number = given,
                Err(_) => return invalid(name, "Schema describes integer, string found instead"),
            }
        }
    }
    let [offset, count] = numbers;
    let size = if count == 0 { 0 } else { call.config.page_of(count, MOST) };
    let mut body = more;
    body[name] = json!(page::slice(all, offset, size));
    body["total_items"] = json!(all.len());
    shaped(request, with_links(request, body))
}

/// The reply with the members that `fields` names, or without those of `exclude_fields`.
fn shaped(request: &Request, mut body: Value) -> Reply {
    let paths = |name: &str| -> Vec<Vec<String>> {
        let text = request.param(name).unwrap_or_default();
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|path| path.split('.').map(str::to_string).collect()).collect()
    };
    let wanted = paths("fields");
    if !wanted.is_empty() {
        body = only(&body, &wanted);
    }
    for path in paths("exclude_fields") {
        without(&mut body, &path);
    }
    Reply::json(200, body.to_string())
}

fn only(value: &Value, paths: &[Vec<String>]) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| only(item, paths)).collect(),
        Value::Object(members) => {
            let mut kept = Map::new();
            for (name, member) in members {
                let below: Vec<Vec<String>> =
                    paths.iter().filter(|p| p.first() == Some(name)).map(|p| p[1..].to_vec()).collect();
                if below.iter().any(Vec::is_empty) {
                    kept.insert(name.clone(), member.clone());
                } else if !below.is_empty() {
                    kept.insert(name.clone(), only(member, &below));
                }
            }
            Value::Object(kept)
        }
        other => other.clone(),
    }
}

fn without(value: &mut Value, path: &[String]) {
    match (value, path) {
        (Value::Array(items), path) => items.iter_mut().for_each(|item| without(item, path)),
        (Value::Object(members), [name]) => drop(members.remove(name)),
        (Value::Object(members), [name, rest @ ..]) => {
            if let Some(member) = members.get_mut(name) {
                without(member, rest);
            }
        }
        _ => {}
    }
}
