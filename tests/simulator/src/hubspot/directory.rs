//! Decides what the endpoints about the portal itself answer: contact lists, owners, pipelines, the account.

use serde_json::{json, Map, Value};

use super::crm::{body_of, id_text, is_true, limit};
use super::properties::Kind;
use super::record::{PORTAL, STAGES};
use super::wire::{invalid, iso, not_found};
use super::Hubspot;
use crate::app::Call;
use crate::http::Reply;
use crate::rest::{page, Record};

const MOST_LISTS: usize = 500;
const LISTS_CEILING: usize = 10_000;
const MOST_OWNERS: usize = 500;
/// These come with every list, others when asked for; an empty one never.
const ALWAYS: [&str; 5] = [
    "hs_list_size",
    "hs_last_record_added_at",
    "hs_last_record_removed_at",
    "hs_folder_name",
    "hs_list_reference_count",
];
const MADE_MS: i64 = 1_577_836_800_123;

fn list_of(record: &Record, asked: &[String]) -> Value {
    let mut fields = record.fields.clone();
    let all = fields.get("additionalProperties").and_then(Value::as_object).cloned().unwrap_or_default();
    let is_shown = |name: &str| ALWAYS.contains(&name) || asked.iter().any(|a| a == name);
    let shown: Map<String, Value> =
        all.into_iter().filter(|(name, value)| is_shown(name) && !value.is_null() && value != "").collect();
    fields.insert("additionalProperties".into(), Value::Object(shown));
    Value::Object(fields)
}

impl Hubspot {
    /// `POST /crm/v3/lists/search`. Deleted lists are not found.
    pub fn search_lists(&self, call: &Call<'_>) -> Reply {
        let body = match body_of(call.request) {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let lost: Vec<&str> =
            ["additionalProperties", "offset"].into_iter().filter(|n| !body.contains_key(*n)).collect();
        if !lost.is_empty() {
            return invalid(&format!("Invalid input JSON: Some required fields were not set: [{}]", lost.join(", ")));
        }
        let whole = |name: &str, default: usize| match body.get(name) {
            None | Some(Value::Null) => Some(default),
            Some(value) => id_text(value).parse::<usize>().ok(),
        };
        let (Some(count), Some(offset)) = (whole("count", 20), whole("offset", 0)) else {
            return invalid("Invalid input JSON: count and offset must be whole numbers");
        };
        if count > MOST_LISTS {
            return invalid(&format!("count must be at most {MOST_LISTS}"));
        }
        if offset + count > LISTS_CEILING {
            return invalid(&format!("offset and count together must be at most {LISTS_CEILING}"));
        }
        let texts = |name: &str| -> Vec<String> {
            body.get(name).and_then(Value::as_array).into_iter().flatten().map(id_text).collect()
        };
        let (asked, ids, types) = (texts("additionalProperties"), texts("listIds"), texts("processingTypes"));
        let words = body.get("query").and_then(Value::as_str).unwrap_or("").to_lowercase();
        let object = body.get("objectTypeId").and_then(Value::as_str);
        let mut lists = self.book.listed("contact_lists");
        lists.retain(|list| {
            (ids.is_empty() || ids.iter().any(|id| **id == *list.id))
                && (types.is_empty() || types.iter().any(|t| t == list.text("processingType")))
                && object.is_none_or(|object| list.text("objectTypeId") == object)
                && list.text("name").to_lowercase().contains(&words)
        });
        let sort = body.get("sort").and_then(Value::as_str).unwrap_or("HS_LIST_ID");
        match sort.trim_start_matches('-') {
            "HS_LIST_ID" => {}
            "HS_CREATED_AT" => lists.sort_by_key(|list| list.created_ms),
            "HS_UPDATED_AT" => lists.sort_by_key(|list| list.updated_ms),
            "HS_NAME" => lists.sort_by_key(|list| list.text("name").to_lowercase()),
            other => return invalid(&format!("{other} is not a field to sort by")),
        }
        if sort.starts_with('-') {
            lists.reverse();
        }
        let size = call.config.page_of(count, MOST_LISTS);
        let page = page::slice(&lists, offset, size);
        let next = offset + page.len();
        let answer = json!({
            "offset": next, "hasMore": next < lists.len(), "total": lists.len(),
            "lists": page.iter().map(|list| list_of(list, &asked)).collect::<Vec<_>>(),
        });
        Reply::json(200, answer.to_string())
    }

    pub fn get_list(&self, id: &str) -> Reply {
        match self.book.find("contact_lists", id).filter(|list| !list.is_deleted()) {
            Some(list) => {
                let mut fields = list.fields.clone();
                fields.shift_remove("additionalProperties");
                Reply::json(200, json!({"list": fields}).to_string())
            }
            None => not_found(&format!("List does not exist with ID {id}.")),
        }
    }

    /// `GET /crm/v3/owners`. The token is the number of the last one; former owners only when asked for.
    pub fn list_owners(&self, call: &Call<'_>) -> Reply {
        let request = call.request;
        let size = match limit(request, "limit", 100, MOST_OWNERS) {
            Ok(size) => call.config.page_of(size, MOST_OWNERS),
            Err(refusal) => return refusal,
        };
        let archived = is_true(request, "archived");
        let email = request.param("email").filter(|e| !e.is_empty());
        let after: u64 = request.param("after").and_then(|v| v.parse().ok()).unwrap_or(0);
        let mut owners = self.book.shown("owners");
        owners.retain(|o| o.is_deleted() == archived && email.as_ref().is_none_or(|e| o.text("email") == e));
        owners.retain(|o| o.id.parse::<u64>().unwrap_or(0) > after);
        let page = page::slice(&owners, 0, size);
        let mut body = json!({"results": page.iter().map(|o| o.json()).collect::<Vec<_>>()});
        if let (Some(last), true) = (page.last(), page.len() < owners.len()) {
            let link = page::link_with(request, &[("after", Some(&last.id))]);
            body["paging"] = json!({"next": {"after": last.id, "link": link}});
        }
        Reply::json(200, body.to_string())
    }

    pub fn get_owner(&self, id: &str) -> Reply {
        match self.book.find("owners", id) {
            Some(owner) => Reply::json(200, owner.json().to_string()),
            None => not_found("resource not found"),
        }
    }

    /// `GET /crm/v3/pipelines/{kind}`: deals have the one each portal begins with, the others none.
    pub fn list_pipelines(&self, kind: Kind) -> Reply {
        let pipelines = (kind == Kind::Deal).then(pipeline);
        Reply::json(200, json!({"results": pipelines.into_iter().collect::<Vec<_>>()}).to_string())
    }

    pub fn get_pipeline(&self, kind: Kind, id: &str, is_stages: bool) -> Reply {
        let found = (kind == Kind::Deal && id == "default").then(pipeline);
        match found {
            Some(mut found) if is_stages => Reply::json(200, json!({"results": found["stages"].take()}).to_string()),
            Some(found) => Reply::json(200, found.to_string()),
            None => not_found("resource not found"),
        }
    }

    pub fn account_details(&self) -> Reply {
        let body = json!({
            "portalId": PORTAL, "accountType": "STANDARD", "timeZone": "US/Eastern", "companyCurrency": "USD",
            "additionalCurrencies": [], "utcOffset": "-05:00", "utcOffsetMilliseconds": -18_000_000, "uiDomain": "app.hubspot.com",
            "dataHostingLocation": "na1",
        });
        Reply::json(200, body.to_string())
    }
}

fn pipeline() -> Value {
    let stages: Vec<Value> = STAGES
        .iter()
        .enumerate()
        .map(|(at, (id, label, probability))| {
            json!({
                "label": label, "displayOrder": at, "id": id, "createdAt": iso(MADE_MS), "updatedAt": iso(MADE_MS), "archived": false,
                "metadata": {"isClosed": id.starts_with("closed").to_string(), "probability": probability},
                "writePermissions": "CRM_PERMISSIONS_ENFORCEMENT",
            })
        })
        .collect();
    json!({
        "label": "Sales Pipeline", "displayOrder": 0, "id": "default", "stages": stages, "createdAt": iso(MADE_MS),
        "updatedAt": iso(MADE_MS), "archived": false,
    })
}
