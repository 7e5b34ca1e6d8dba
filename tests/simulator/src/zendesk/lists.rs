//! Decides the lists and single records: cursor pagination (`page[size]`) or offset pagination (`per_page`, `page`), filters
//! and order.

use std::sync::Arc;

use serde_json::{json, Value};

use super::{forbidden, refuse, Zendesk};
use crate::app::Call;
use crate::http::{Reply, Request};
use crate::rest::{page, time, Record};

/// The most records a page of a list has.
const MOST: usize = 100;
/// Offset pagination ends here (docs: /api-reference/introduction/pagination).
const DEEPEST: usize = 10_000;
/// Activities are kept for that long.
const DAY_MS: i64 = 86_400_000;

/// Our name of a collection by its path, and whether the list takes `page[size]`.
fn collection_at(path: &str) -> Option<(&'static str, bool)> {
    Some(match path {
        "users" => ("users", true),
        "groups" => ("groups", true),
        "tickets" => ("tickets", true),
        "ticket_fields" => ("ticket_fields", true),
        "user_fields" => ("user_fields", true),
        "organization_fields" => ("organization_fields", true),
        "ticket_forms" => ("ticket_forms", false),
        "organizations" => ("organizations", true),
        "activities" => ("activities", true),
        "ticket_metrics" => ("ticket_metrics", true),
        "satisfaction_ratings" => ("satisfaction_ratings", true),
        "skips" => ("ticket_skips", true),
        "organization_memberships" => ("organization_memberships", true),
        "group_memberships" => ("group_memberships", true),
        "audit_logs" => ("audit_logs", true),
        _ => return None,
    })
}

/// A list's order: the member, and whether newest first.
struct Order {
    by: &'static str,
    descending: bool,
}

impl Order {
    fn of(request: &Request, collection: &str) -> Order {
        let sort = request.param("sort").or(request.param("sort_by")).unwrap_or_default();
        let by = match sort.trim_start_matches('-') {
            "created_at" => "created_at",
            "updated_at" => "updated_at",
            _ => "id",
        };
        let newest_first = collection == "audit_logs" && by == "id";
        let descending =
            sort.starts_with('-') || newest_first || request.param("sort_order").is_some_and(|v| v == "desc");
        Order { by, descending }
    }

    fn key(&self, record: &Record) -> (String, i64) {
        let text = match self.by {
            "id" => String::new(),
            by => record.text(by).to_string(),
        };
        (text, record.number_of("id"))
    }

    fn sort(&self, records: &mut [Arc<Record>]) {
        records.sort_by_key(|record| self.key(record));
        if self.descending {
            records.reverse();
        }
    }

    /// Whether a record comes after a place in this order.
    fn is_after(&self, record: &Record, place: &(String, i64)) -> bool {
        let key = self.key(record);
        if self.descending {
            key < *place
        } else {
            key > *place
        }
    }
}

impl Zendesk {
    pub(super) fn resource(&mut self, call: &Call<'_>, parts: &[&str]) -> Reply {
        let collection = match parts {
            ["tickets", _, "comments"] => "ticket_comments",
            ["deleted_tickets"] => "tickets",
            ["deleted_users"] => "users",
            [path, ..] => match collection_at(path) {
                Some((collection, _)) => collection,
                None => return refuse(404, "InvalidEndpoint", "Not found"),
            },
            [] => return refuse(404, "InvalidEndpoint", "Not found"),
        };
        let needs_admin = matches!(collection, "audit_logs") || parts[0].starts_with("deleted_");
        if call.config.denies(&[collection, parts[0]]) || (needs_admin && call.config.text("role") != "admin") {
            return forbidden();
        }
        if matches!(collection, "audit_logs" | "ticket_forms") && call.config.text("plan") != "enterprise" {
            // The feature is not in the plan (docs: both are for Enterprise).
            return if collection == "audit_logs" { forbidden() } else { refuse(404, "InvalidEndpoint", "Not found") };
        }
        match parts {
            [path] => {
                let records = self.chosen(call, path, collection);
                self.list(call, path, collection, records)
            }
            [_, "count"] => {
                let count = self.book.listed(collection).len();
                let shown = json!({"count": {"value": count, "refreshed_at": time::Form::Iso.text(call.now_ms)}});
                Reply::json(200, shown.to_string())
            }
            ["tickets", id, "comments"] => {
                let records = self.book.children("ticket_comments", id);
                self.list(call, "comments", collection, records)
            }
            ["tickets", id, "metrics"] => match self.book.children("ticket_metrics", id).first() {
                Some(metric) => Reply::json(200, json!({"ticket_metric": metric.json()}).to_string()),
                None => refuse(404, "RecordNotFound", "Not found"),
            },
            [path, id] => self.one(path, collection, id),
            _ => refuse(404, "InvalidEndpoint", "Not found"),
        }
    }

    fn one(&self, path: &str, collection: &str, id: &str) -> Reply {
        match self.book.find(collection, id).filter(|r| !r.is_deleted() || matches!(collection, "users" | "groups")) {
            Some(record) => {
                let name = path.strip_suffix("ies").map_or(path.trim_end_matches('s').to_string(), |p| format!("{p}y"));
                let mut body = json!({});
                body[name] = self.shown(collection, &record);
                Reply::json(200, body.to_string())
            }
            None => refuse(404, "RecordNotFound", "Not found"),
        }
    }

    /// The records a list has, by its filters.
    fn chosen(&self, call: &Call<'_>, path: &str, collection: &str) -> Vec<Arc<Record>> {
        let request = call.request;
        let is_false = |name: &str| request.param(name).is_some_and(|v| v == "false");
        let unix = |name: &str| request.param(name).and_then(|v| v.parse::<i64>().ok()).map(|s| s * 1000);
        let mut records = match path {
            "deleted_tickets" | "deleted_users" => {
                let mut records = self.book.shown(collection);
                records.retain(|record| record.is_deleted());
                records
            }
            // exclude_deleted is true unless given.
            "groups" if is_false("exclude_deleted") => self.book.shown(collection),
            _ => self.book.listed(collection),
        };
        match collection {
            "activities" => {
                let oldest = call.now_ms - call.config.number("activity_days") * DAY_MS;
                let since = request.param("since").and_then(|v| time::parse(&v)).or(unix("start_time")).unwrap_or(0);
                records.retain(|r| r.created_ms >= oldest && r.created_ms >= since);
            }
            "satisfaction_ratings" => {
                let (from, to) = (unix("start_time").unwrap_or(i64::MIN), unix("end_time").unwrap_or(i64::MAX));
                let by_creation = call.config.text("ratings_by") == "created_at";
                let at = |r: &Record| if by_creation { r.created_ms } else { r.updated_ms };
                records.retain(|r| (from..=to).contains(&at(r)));
                if let Some(score) = request.param("score") {
                    records.retain(|r| r.text("score") == score);
                }
            }
            "ticket_skips" => {
                let from = unix("start_time").unwrap_or(i64::MIN);
                records.retain(|r| r.updated_ms >= from);
            }
            "audit_logs" => {
                // Given twice: from and to.
                let given = request.params().into_iter().filter(|(name, _)| name == "filter[created_at][]");
                let stretch: Vec<i64> = given.filter_map(|(_, v)| time::parse(&v)).collect();
                if let [from, to] = stretch.as_slice() {
                    records.retain(|r| (*from..=*to).contains(&r.created_ms));
                }
            }
            _ => {}
        }
        records
    }

    /// A record shows each custom field that there is and no other: one made later is null, one deleted is gone.
    pub(super) fn with_fields(&self, collection: &str, value: &mut Value) {
        let own = |fields: &str, member: &str| -> Vec<Value> {
            let all = self.book.listed(fields).into_iter().filter(|field| field.get("removable") != false);
            all.map(|field| field.get(member).clone()).collect()
        };
        match collection {
            "tickets" => {
                let held = value["custom_fields"].as_array().cloned().unwrap_or_default();
                let of = |id: Value| {
                    let known = held.iter().find(|field| field["id"] == id);
                    known.cloned().unwrap_or_else(|| json!({"id": id, "value": null}))
                };
                let shown: Vec<Value> = own("ticket_fields", "id").into_iter().map(of).collect();
                value["fields"] = json!(shown);
                value["custom_fields"] = json!(shown);
            }
            "users" | "organizations" => {
                let member = if collection == "users" { "user_fields" } else { "organization_fields" };
                let held = value[member].clone();
                let keys = own(member, "key");
                let keys = keys.iter().filter_map(Value::as_str);
                value[member] = Value::Object(keys.map(|key| (key.to_string(), held[key].clone())).collect());
            }
            _ => {}
        }
    }

    /// A record as a list has it.
    fn shown(&self, collection: &str, record: &Record) -> Value {
        let mut value = record.json();
        self.with_fields(collection, &mut value);
        let user = |id: &Value| self.book.find("users", &id.to_string()).map_or(Value::Null, |user| user.json());
        match collection {
            "ticket_comments" => return Value::Object(self.comment(record)),
            "ticket_skips" => {
                let ticket = self.book.find("tickets", &record.get("ticket_id").to_string());
                value["ticket"] = ticket.map_or(Value::Null, |ticket| ticket.json());
            }
            "activities" => {
                value["user"] = user(record.get("user_id"));
                value["actor"] = user(record.get("actor_id"));
            }
            _ => {}
        }
        value
    }

    fn list(&self, call: &Call<'_>, path: &str, collection: &str, mut records: Vec<Arc<Record>>) -> Reply {
        let request = call.request;
        let order = Order::of(request, collection);
        order.sort(&mut records);
        let takes_cursor = collection_at(path).is_none_or(|(_, takes)| takes);
        let names_cursor = request.params().iter().any(|(name, _)| name.starts_with("page["));
        if takes_cursor && names_cursor {
            return self.cursor_page(call, path, collection, &order, &records);
        }
        let count = records.len();
        let number = page::number(request, "page").unwrap_or(1).max(1);
        // Forms come all at once.
        let most = if takes_cursor { MOST } else { DEEPEST };
        let size = call.config.page_of(page::number(request, "per_page").unwrap_or(most), most);
        if number * size > DEEPEST {
            let text = "You passed an invalid value for the page attribute. Use cursor pagination beyond the first 10000 records";
            return Reply::json(400, json!({"error": {"title": "Invalid attribute", "message": text}}).to_string());
        }
        let sent = page::slice(&records, (number - 1) * size, size);
        let link = |to: usize| page::link_with(request, &[("page", Some(&to.to_string()))]);
        let mut body = json!({
            "count": count,
            "next_page": (number * size < count).then(|| link(number + 1)),
            "previous_page": (number > 1).then(|| link(number - 1)),
        });
        body[path] = sent.iter().map(|record| self.shown(collection, record)).collect();
        Reply::json(200, body.to_string())
    }

    fn cursor_page(
        &self,
        call: &Call<'_>,
        path: &str,
        collection: &str,
        order: &Order,
        records: &[Arc<Record>],
    ) -> Reply {
        let request = call.request;
        let invalid = |what: &str| {
            let error = json!({"code": "InvalidPaginationParameter", "title": format!("{what} is not valid")});
            Reply::json(400, json!({"errors": [error]}).to_string())
        };
        let asked = page::number(request, "page[size]").unwrap_or(MOST);
        if asked == 0 || asked > MOST {
            return invalid("page[size]");
        }
        let size = call.config.page_of(asked, MOST);
        let place = match request.param("page[after]") {
            None => None,
            Some(text) => {
                match page::read_cursor(&text).and_then(|v| Some((v[0].as_str()?.to_string(), v[1].as_i64()?))) {
                    Some(place) => Some(place),
                    None => return invalid("page[after]"),
                }
            }
        };
        // The place is a record's, not a number: a page neither skips nor repeats when others come or go meanwhile.
        let rest: Vec<&Arc<Record>> =
            records.iter().filter(|r| place.as_ref().is_none_or(|place| order.is_after(r, place))).collect();
        let sent = page::slice(&rest, 0, size);
        let has_more = sent.len() < rest.len();
        let cursor_at = |record: Option<&&Arc<Record>>| {
            record.map(|record| {
                let (text, id) = order.key(record);
                page::cursor(&json!([text, id]))
            })
        };
        let (before, after) = (cursor_at(sent.first()), cursor_at(sent.last()));
        let link = |name: &str, cursor: &Option<String>| {
            let other = if name == "page[after]" { "page[before]" } else { "page[after]" };
            cursor.as_ref().map(|cursor| page::link_with(request, &[(name, Some(cursor)), (other, None)]))
        };
        let mut body = json!({
            "meta": {"has_more": has_more, "after_cursor": after, "before_cursor": before},
            "links": {"next": if has_more { link("page[after]", &after) } else { None }, "prev": link("page[before]", &before)},
        });
        body[path] = sent.iter().map(|record| self.shown(collection, record)).collect();
        Reply::json(200, body.to_string())
    }
}
