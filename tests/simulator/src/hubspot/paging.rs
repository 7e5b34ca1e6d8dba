//! Decides where in its listing a request is, for the faults that repeat or empty pages: parameters of a GET, members of a
//! POST's body.

use serde_json::{json, Value};

use super::crm::id_text;
use crate::http::Request;

/// The query parameters that lead into a listing.
pub const PLACE_PARAMS: &[&str] = &["after", "offset", "vidOffset", "timeOffset"];

/// The member of a reply that holds its records, by the path.
pub fn list_member(path: &str) -> &'static str {
    match path {
        _ if path.starts_with("/contacts/v1/") => "contacts",
        _ if path.starts_with("/email/public/v1/campaigns") => "campaigns",
        _ if path.starts_with("/email/public/v1/events") => "events",
        _ if path.starts_with("/email/public/v1/subscriptions") => "timeline",
        _ if path.starts_with("/crm/v3/lists") => "lists",
        _ => "results",
    }
}

/// The member of a search's body that pages through it.
pub const PLACE_IN_BODY: [&str; 2] = ["after", "offset"];

/// What the requests of one listing have in common.
pub fn listing_key(request: &Request) -> String {
    let mut params = request.params();
    params.retain(|(name, _)| !PLACE_PARAMS.contains(&name.as_str()));
    params.sort();
    let mut body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    if let Some(body) = body.as_object_mut() {
        body.retain(|name, _| !PLACE_IN_BODY.contains(&name.as_str()));
    }
    format!("{}?{params:?}{body}", request.path)
}

/// Whether a request asks for a first page.
pub fn starts_listing(request: &Request) -> bool {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let is_first = |value: Option<&Value>| value.is_none_or(|v| v.is_null() || v == 0 || v == "0" || v == "");
    PLACE_IN_BODY.iter().all(|name| is_first(body.get(*name)))
        && !request.params().iter().any(|(name, _)| PLACE_PARAMS.contains(&name.as_str()))
}

/// Makes an emptied page lead to itself once more. The place is written a little differently where it can be, so that it is
/// not the same text twice.
pub fn lead_back(request: &Request, body: &mut Value) {
    let sent: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let here = |name: &str| request.param(name).or_else(|| sent.get(name).map(id_text));
    match list_member(&request.path) {
        "contacts" => {
            body["has-more"] = json!(true);
            for (member, param) in [("vid-offset", "vidOffset"), ("time-offset", "timeOffset")] {
                if let (Some(_), Some(place)) = (body.get(member), here(param).and_then(|v| v.parse::<i64>().ok())) {
                    body[member] = json!(place);
                } else if body.get(member).is_some() {
                    body[member] = json!(if param == "vidOffset" { 0 } else { i64::MAX });
                }
            }
        }
        "lists" => {
            body["hasMore"] = json!(true);
            body["offset"] = json!(here("offset").and_then(|v| v.parse::<u64>().ok()).unwrap_or(0));
        }
        "results" => {
            let numeric = here("after").is_none_or(|after| after.bytes().all(|b| b.is_ascii_digit()));
            let after = here("after").unwrap_or_default();
            body["paging"] =
                json!({"next": {"after": if numeric { format!("0{after}") } else { format!("{after}=") }}});
        }
        _ => {
            body["hasMore"] = json!(true);
            body["offset"] = json!(here("offset").map(|offset| format!("{offset}=")));
        }
    }
}
