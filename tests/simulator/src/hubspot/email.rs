//! Decides what the legacy e-mail API answers: campaigns, events, and changes of subscriptions. All come newest first.
//!
//! Offsets are opaque and belong to one query: with other parameters they are refused.

use std::sync::Arc;

use serde_json::{json, Value};

use super::crm::{is_true, limit};
use super::wire::{invalid, not_found, place, token};
use super::Hubspot;
use crate::app::Call;
use crate::http::{Reply, Request};
use crate::rest::{page, Record};

const MOST_EVENTS: usize = 1000;
const MOST_CAMPAIGNS: usize = 500;

/// The query without what pages through it.
fn query_of(request: &Request) -> String {
    let mut params = request.params();
    params.retain(|(name, _)| name != "offset" && name != "limit");
    params.sort();
    format!("{}{params:?}", request.path)
}

/// One page of records that are in their order: records, more, and the offset of the next.
fn paged(
    call: &Call<'_>,
    records: &[Arc<Record>],
    most: usize,
    order: impl Fn(&Record) -> (i64, u64),
) -> Result<(Vec<Arc<Record>>, bool, Value), Reply> {
    let size = call.config.page_of(limit(call.request, "limit", 10, most)?, most);
    let of = query_of(call.request);
    let from = match call.request.param("offset").filter(|text| !text.is_empty()) {
        None => 0,
        Some(text) => {
            let place = place(&of, &text).ok_or_else(|| invalid("The offset is not one of this query"))?;
            let last = (place[0].as_i64().unwrap_or(0), place[1].as_u64().unwrap_or(0));
            // Newest first: the page goes on below the last record of the page before.
            records.partition_point(|record| order(record) >= last)
        }
    };
    let page = page::slice(records, from, size).to_vec();
    let more = from + page.len() < records.len();
    let offset = page.last().map(|record| {
        let (time, number) = order(record);
        token(&of, &json!([time, number]))
    });
    Ok((page, more, json!(offset)))
}

fn within(request: &Request, at_ms: i64) -> Result<bool, Reply> {
    let bound = |name: &str| match request.param(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => text.parse::<i64>().map(Some).map_err(|_| invalid(&format!("{name} must be in milliseconds"))),
    };
    Ok(bound("startTimestamp")?.is_none_or(|from| at_ms >= from) && bound("endTimestamp")?.is_none_or(|to| at_ms <= to))
}

impl Hubspot {
    /// Records of a time-ordered collection that the parameters ask for, newest first. Both ends of the time are included.
    fn newest(&self, request: &Request, name: &str, filters: &[(&str, &str)]) -> Result<Vec<Arc<Record>>, Reply> {
        within(request, 0)?;
        let wanted: Vec<(&str, String)> =
            filters.iter().filter_map(|(param, member)| Some((*member, request.param(param)?))).collect();
        let mut records = self.book.listed(name);
        records.retain(|record| {
            within(request, record.created_ms).unwrap_or(false)
                && wanted.iter().all(|(member, value)| super::crm::id_text(record.get(member)) == *value)
        });
        records.sort_by_key(|record| std::cmp::Reverse((record.created_ms, record.number)));
        Ok(records)
    }

    /// `GET /email/public/v1/events`.
    pub fn list_events(&self, call: &Call<'_>) -> Reply {
        let filters =
            [("appId", "appId"), ("campaignId", "emailCampaignId"), ("recipient", "recipient"), ("eventType", "type")];
        let outcome = self.newest(call.request, "email_events", &filters).and_then(|mut records| {
            if is_true(call.request, "excludeFilteredEvents") {
                records.retain(|record| record.get("filteredEvent") != true);
            }
            paged(call, &records, MOST_EVENTS, |r| (r.created_ms, r.number))
        });
        match outcome {
            Ok((page, more, offset)) => {
                let events: Vec<Value> = page.iter().map(|record| record.json()).collect();
                Reply::json(200, json!({"hasMore": more, "offset": offset, "events": events}).to_string())
            }
            Err(refusal) => refusal,
        }
    }

    /// `GET /email/public/v1/events/{created}/{id}`: only both together name an event.
    pub fn get_event(&self, created: &str, id: &str) -> Reply {
        match self.book.find("email_events", &format!("{id}:{created}")) {
            Some(record) => Reply::json(200, record.json().to_string()),
            None => not_found("resource not found"),
        }
    }

    /// `GET /email/public/v1/subscriptions/timeline`: items of one recipient and moment, each with its changes.
    pub fn subscription_timeline(&self, call: &Call<'_>) -> Reply {
        let outcome = self.newest(call.request, "email_subscription_event_changes", &[("recipient", "recipient")]);
        let outcome = outcome.and_then(|mut records| {
            if let Some(kind) = call.request.param("changeType") {
                let has = |record: &Record| {
                    record.get("changes").as_array().into_iter().flatten().any(|c| c["changeType"] == kind.as_str())
                };
                records.retain(|record| has(record));
            }
            paged(call, &records, MOST_EVENTS, |r| (r.created_ms, r.number))
        });
        match outcome {
            Ok((page, more, offset)) => {
                let item = |record: &Arc<Record>| {
                    let mut fields = record.fields.clone();
                    fields.shift_remove("id");
                    Value::Object(fields)
                };
                let timeline: Vec<Value> = page.iter().map(item).collect();
                Reply::json(200, json!({"hasMore": more, "offset": offset, "timeline": timeline}).to_string())
            }
            Err(refusal) => refusal,
        }
    }

    /// `GET /email/public/v1/campaigns` (latest activity first) and `/by-id` (in no order that means anything): only what
    /// names a campaign; the rest is asked for one by one.
    pub fn list_campaigns(&self, call: &Call<'_>, is_by_id: bool) -> Reply {
        let order = move |r: &Record| if is_by_id { (0, u64::MAX - r.number) } else { (r.updated_ms, r.number) };
        let mut records = self.book.listed("email_campaigns");
        records.sort_by_key(|record| std::cmp::Reverse(order(record)));
        let (page, more, offset) = match paged(call, &records, MOST_CAMPAIGNS, order) {
            Ok(paged) => paged,
            Err(refusal) => return refusal,
        };
        let campaigns: Vec<Value> = page
            .iter()
            .map(|r| {
                let mut row = json!({"id": r.get("id"), "appId": r.get("appId"), "appName": r.get("appName")});
                if !is_by_id {
                    row["lastUpdatedTime"] = r.get("lastUpdatedTime").clone();
                }
                row
            })
            .collect();
        Reply::json(200, json!({"hasMore": more, "offset": offset, "campaigns": campaigns}).to_string())
    }

    /// `GET /email/public/v1/campaigns/{id}?appId=`.
    pub fn get_campaign(&self, call: &Call<'_>, id: &str) -> Reply {
        let Some(app) = call.request.param("appId") else { return invalid("appId is a required parameter") };
        let app = app.parse::<i64>().ok();
        let found = self.book.find("email_campaigns", id).filter(|r| !r.is_deleted() && r.get("appId").as_i64() == app);
        match found {
            Some(record) => {
                let mut fields = record.fields.clone();
                // The time of the last change is told by the list only.
                fields.shift_remove("lastUpdatedTime");
                Reply::json(200, Value::Object(fields).to_string())
            }
            None => not_found("resource not found"),
        }
    }
}
