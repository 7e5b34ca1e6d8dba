//! Decides the incremental exports: by cursor for tickets and users, by time for these, organizations and ticket events.
//!
//! Every export leaves out the last minute, wants a start older than that, and allows few calls a minute
//! (docs: /documentation/ticketing/managing-tickets/using-the-incremental-export-api).

use std::sync::Arc;

use base64::Engine;
use serde_json::{json, Map, Value};

use super::{refuse, Zendesk};
use crate::app::Call;
use crate::http::Reply;
use crate::rest::{page, Record};

/// Changes of the last minute are not exported yet.
const HELD_BACK_S: i64 = 60;
const MOST: usize = 1000;

/// Where a cursor export has come to: the second and id of the last record sent.
struct Place {
    second: i64,
    id: i64,
}

impl Place {
    fn write(&self) -> String {
        base64::engine::general_purpose::STANDARD.encode(format!("{}.0||{}|", self.second, self.id))
    }

    fn read(text: &str) -> Option<Place> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (second, id) = text.strip_suffix('|')?.split_once(".0||")?;
        Some(Place { second: second.parse().ok()?, id: id.parse().ok()? })
    }
}

fn second(record: &Record) -> i64 {
    record.updated_ms.div_euclid(1000)
}

impl Zendesk {
    /// `incremental/{resource}` and `incremental/{resource}/cursor`.
    pub(super) fn export(&mut self, call: &Call<'_>, resource: &str, by_cursor: bool) -> Reply {
        let collection = match (resource, by_cursor) {
            ("tickets" | "users", _) => resource,
            ("organizations", false) => resource,
            ("ticket_events", false) => "ticket_audits",
            _ => return refuse(404, "InvalidEndpoint", "Not found"),
        };
        if call.config.text("role") != "admin" || call.config.denies(&[resource]) {
            return super::forbidden();
        }
        if resource == "ticket_events"
            && call.config.denies(&["ticket_comments", "attachments"])
            && self.asks_comments(call)
        {
            return super::forbidden();
        }
        let limit = call.config.size("export_per_minute") as u64;
        let spent = self.windows.take("export", limit, 60_000, call.now_ms);
        let mut reply = if spent.is_over {
            refuse(429, "APIRateLimitExceeded", "Number of allowed incremental export API requests per minute exceeded")
                .with("Retry-After", spent.seconds_left(call.now_ms).to_string())
        } else if by_cursor {
            self.by_cursor(call, collection)
        } else {
            self.by_time(call, resource, collection)
        };
        if limit > 0 {
            let left = spent.seconds_left(call.now_ms);
            let shown = format!("total={limit}; remaining={}; resets={left}", spent.remaining);
            reply = reply.with("Zendesk-RateLimit-Incremental-Exports", shown);
        }
        reply
    }

    fn asks_comments(&self, call: &Call<'_>) -> bool {
        call.request.param("include").is_some_and(|v| v.split(',').any(|part| part.trim() == "comment_events"))
    }

    /// The records that may be exported now from a second on, in the order of change.
    fn changed(&self, call: &Call<'_>, collection: &str, from_s: i64) -> Vec<Arc<Record>> {
        let until_ms = call.now_ms - HELD_BACK_S * 1000;
        let mut records = match from_s.saturating_mul(1000) {
            from_ms if from_ms > until_ms => Vec::new(),
            from_ms => self.book.by_change(collection, from_ms, until_ms),
        };
        if call.request.param("exclude_deleted").is_some_and(|v| v == "true") {
            records.retain(|record| !record.is_deleted());
        }
        // Stamps are whole seconds, so that is what the order goes by.
        records.sort_by_key(|record| (second(record), record.number_of("id")));
        records
    }

    /// A page starts with the records of the second where the last one ended, again, and then has up to `per_page` new ones.
    fn by_cursor(&self, call: &Call<'_>, collection: &str) -> Reply {
        let request = call.request;
        let place = match request.param("cursor") {
            Some(text) => match Place::read(&text) {
                Some(place) => place,
                None => return refuse(400, "InvalidCursor", "The cursor is invalid"),
            },
            None => match start_of(call) {
                Ok(start) => Place { second: start, id: i64::MIN },
                Err(reply) => return reply,
            },
        };
        let size = call.config.page_of(page::number(request, "per_page").unwrap_or(MOST), MOST);
        let records = self.changed(call, collection, place.second);
        let again = records.iter().filter(|r| second(r) == place.second && r.number_of("id") <= place.id).count();
        let sent = page::slice(&records, 0, again + size);
        let is_end = sent.len() == records.len();
        let next = sent.last().map_or(place, |r| Place { second: second(r), id: r.number_of("id") });
        let cursor = next.write();
        let mut body = json!({
            "after_cursor": cursor,
            "after_url": page::link_with(request, &[("start_time", None), ("cursor", Some(&cursor))]),
            "before_cursor": null, "before_url": null, "end_of_stream": is_end,
        });
        body[collection] = self.rendered(call, collection, sent);
        Reply::json(200, body.to_string())
    }

    /// A page starts at the second where the last one ended, so the records of that second come again. All records of the
    /// last second are in it, however many (or, with the knob `stuck_time_pages`, no more than fit: then the next page is the
    /// same one when they fill it).
    fn by_time(&self, call: &Call<'_>, resource: &str, collection: &str) -> Reply {
        let request = call.request;
        let start = match start_of(call) {
            Ok(start) => start,
            Err(reply) => return reply,
        };
        let records = self.changed(call, collection, start);
        let size = call.config.page_of(page::number(request, "per_page").unwrap_or(MOST), MOST);
        let mut end = size.min(records.len());
        if let (Some(last), false) = (records.get(end.saturating_sub(1)), call.config.flag("stuck_time_pages")) {
            let of_that_second = second(last);
            end += records[end..].iter().take_while(|r| second(r) == of_that_second).count();
        }
        let sent = &records[..end];
        let end_time = sent.last().map(|r| second(r));
        let next = end_time.map(|at| page::link_with(request, &[("start_time", Some(&at.to_string()))]));
        let mut body = json!({
            "count": sent.len(), "end_of_stream": end == records.len(), "end_time": end_time, "next_page": next,
        });
        body[resource] = match resource {
            "ticket_events" => self.audits(sent, self.asks_comments(call)),
            _ => self.rendered(call, collection, sent),
        };
        Reply::json(200, body.to_string())
    }

    fn rendered(&self, call: &Call<'_>, collection: &str, records: &[Arc<Record>]) -> Value {
        let include = call.request.param("include").unwrap_or_default();
        let with_metrics = collection == "tickets" && include.split(',').any(|part| part.trim() == "metric_sets");
        records
            .iter()
            .map(|record| {
                let mut value = record.json();
                self.with_fields(collection, &mut value);
                if with_metrics {
                    let metrics = self.book.children("ticket_metrics", &record.id);
                    value["metric_set"] = metrics.first().map_or(Value::Null, |m| m.json());
                }
                value
            })
            .collect()
    }

    /// Audits with their child events. Text and attachments of comments come with `include=comment_events` only.
    fn audits(&self, audits: &[Arc<Record>], with_comments: bool) -> Value {
        let rendered = audits.iter().map(|audit| {
            let mut value = audit.json();
            let children = self.book.children("ticket_events", &audit.id);
            let children = children.iter().filter(|child| !child.is_deleted());
            value["child_events"] = children.map(|child| self.child_event(child, with_comments)).collect();
            value
        });
        rendered.collect()
    }

    fn child_event(&self, child: &Record, with_comments: bool) -> Value {
        let mut fields = child.fields.clone();
        if with_comments && child.text("event_type") == "Comment" {
            if let Some(comment) = self.book.find("ticket_comments", &child.id) {
                fields = self.comment(&comment);
            }
        }
        // What is said of the audit around it.
        fields.remove("ticket_event_id");
        fields.remove("ticket_id");
        Value::Object(fields)
    }

    /// A comment with its attachments.
    pub(super) fn comment(&self, comment: &Record) -> Map<String, Value> {
        let mut fields = comment.fields.clone();
        let attachments = self.book.children("attachments", &comment.id).into_iter().map(|attachment| {
            let mut fields = attachment.fields.clone();
            fields.remove("comment_id");
            fields.remove("ticket_id");
            Value::Object(fields)
        });
        fields.insert("attachments".into(), attachments.collect());
        fields
    }
}

/// `start_time`, which must be a unix time at least a minute ago.
fn start_of(call: &Call<'_>) -> Result<i64, Reply> {
    let Some(text) = call.request.param("start_time") else {
        return Err(refuse(400, "StartTimeMissing", "Missing required parameter: start_time"));
    };
    let Ok(start) = text.trim().parse::<i64>() else {
        return Err(refuse(422, "InvalidStartTime", "Invalid start_time: it must be a Unix epoch time"));
    };
    if start * 1000 > call.now_ms - HELD_BACK_S * 1000 {
        let text = "Too recent start_time. Use a start_time older than 60 seconds";
        return Err(refuse(422, "StartTimeTooRecent", text));
    }
    Ok(start)
}
