//! Decides what follows from a change of a ticket: its audit with child events, its metrics, its comments; and what goes with
//! a deleted parent.

use serde_json::{json, Map, Value};

use super::kinds::{self, id_of};
use super::Zendesk;
use crate::app::Happened;
use crate::names;
use crate::rest::time::Form;
use crate::rest::{crud, Record, When};

/// Members of a ticket whose changes are told as child events.
const TOLD: [&str; 10] = [
    "subject",
    "status",
    "priority",
    "type",
    "assignee_id",
    "group_id",
    "requester_id",
    "organization_id",
    "tags",
    "ticket_form_id",
];

fn via() -> Value {
    json!({"channel": "web", "source": {"from": {}, "to": {}, "rel": null}})
}

fn pair(minutes: Option<i64>) -> Value {
    json!({"calendar": minutes, "business": minutes.map(|m| m / 3)})
}

impl Zendesk {
    pub(super) fn follow(&mut self, change: &Happened<'_>) {
        let when = change.when;
        match (change.collection, change.before, change.after) {
            ("tickets", None, Some(after)) => {
                let told = TOLD.iter().map(|name| (*name, Value::Null, after.get(name).clone()));
                let events = told.filter(|(_, _, value)| !value.is_null()).collect();
                let audit = self.audit(after.number_of("id"), "Create", events, when);
                let text = json!({"body": after.get("description"), "author_id": after.get("requester_id")});
                let comment = self.write_comment(audit, after, text.as_object().unwrap_or(&Map::new()), when);
                self.put("ticket_comments", Value::Object(comment), when);
                self.measure(after, when);
            }
            ("tickets", Some(before), Some(after)) => {
                let mut events: Vec<(&str, Value, Value)> = Vec::new();
                for name in TOLD {
                    if before.get(name) != after.get(name) {
                        events.push((name, before.get(name).clone(), after.get(name).clone()));
                    }
                }
                if !events.is_empty() {
                    self.audit(after.number_of("id"), "Change", events, when);
                    self.measure(after, when);
                }
            }
            ("tickets", Some(before), None) => self.drop_children("ticket_metrics", &before.id, when),
            ("groups", Some(_), Some(after)) if after.is_deleted() => {
                self.drop_children("group_memberships", &after.id, when);
            }
            ("organizations", Some(_), Some(after)) if after.is_deleted() => {
                self.drop_children("organization_memberships", &after.id, when);
            }
            ("users", Some(_), after) if after.is_none_or(Record::is_deleted) => {
                let id = change.before.map(|user| user.number_of("id")).unwrap_or(0);
                for collection in ["group_memberships", "organization_memberships"] {
                    for member in self.book.all_latest(collection) {
                        if member.number_of("user_id") == id {
                            let _ = self.book.remove(collection, &member.id, when);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Takes away the records of a parent.
    fn drop_children(&mut self, collection: &str, parent: &str, when: When) {
        for child in self.book.children(collection, parent) {
            let _ = self.book.remove(collection, &child.id, when);
        }
    }

    fn event_id(&mut self) -> u64 {
        self.last_event += 1;
        30_000_000_000_000 + self.last_event
    }

    /// One update of a ticket with its child events; answers its id.
    fn audit(&mut self, ticket: i64, kind: &str, events: Vec<(&str, Value, Value)>, when: When) -> u64 {
        let audit = self.event_id();
        let seconds = when.at_ms.div_euclid(1000);
        let fields = json!({
            "id": audit, "ticket_id": ticket, "timestamp": seconds, "created_at": Form::Iso.text(when.at_ms),
            "updater_id": self.owner_id(), "via": "Web form", "event_type": "Audit", "metadata": {},
            "system": {"client": "Sim/1.0", "location": "Berlin, BE, Germany", "latitude": 52.52, "longitude": 13.4},
        });
        self.put("ticket_audits", fields, when);
        for (name, before, after) in events {
            let mut child = json!({"event_type": kind});
            child[name] = after;
            if kind == "Change" {
                child["previous_value"] = before;
            }
            self.child(audit, ticket, child, when);
        }
        audit
    }

    fn child(&mut self, audit: u64, ticket: i64, mut child: Value, when: When) -> u64 {
        let id = self.event_id();
        child["id"] = json!(id);
        child["via"] = json!("Web form");
        child["via_reference_id"] = Value::Null;
        child["created_at"] = json!(Form::Iso.text(when.at_ms));
        child["ticket_event_id"] = json!(audit);
        child["ticket_id"] = json!(ticket);
        self.put("ticket_events", child, when);
        id
    }

    /// The members of a comment within an audit. Its child event and the attachments that `given` names are added here.
    fn write_comment(
        &mut self,
        audit: u64,
        ticket: &Record,
        given: &Map<String, Value>,
        when: When,
    ) -> Map<String, Value> {
        let mut given = given.clone();
        let attachments = given.remove("attachments").and_then(|v| v.as_array().cloned()).unwrap_or_default();
        let public = given.get("public").cloned().unwrap_or(json!(true));
        let told = json!({"event_type": "Comment", "comment_present": true, "comment_public": public});
        let id = self.child(audit, ticket.number_of("id"), told, when);
        for attachment in attachments {
            let over = attachment.as_object().cloned().unwrap_or_default();
            let drafted = self.attachment_fields(id, ticket.number_of("id"), &over);
            self.put("attachments", Value::Object(drafted), when);
        }
        let text = given.get("body").and_then(Value::as_str).unwrap_or_default().to_string();
        let made = json!({
            "id": id, "type": "Comment", "event_type": "Comment", "ticket_id": ticket.get("id"), "ticket_event_id": audit,
            "audit_id": audit, "author_id": self.owner_id(), "body": text, "plain_body": text,
            "html_body": format!("<div class=\"zd-comment\"><p>{text}</p></div>"), "public": public, "via": via(),
            "via_reference_id": 0, "metadata": {"system": {}, "custom": {}}, "created_at": Form::Iso.text(when.at_ms),
        });
        let mut fields = made.as_object().cloned().unwrap_or_default();
        crud::merge(&mut fields, &given);
        fields
    }

    fn attachment_fields(&self, comment: u64, ticket: i64, given: &Map<String, Value>) -> Map<String, Value> {
        let number = self.book.made("attachments");
        let id = id_of("attachments", number);
        let name = format!("screenshot-{number}.png");
        let made = json!({
            "id": id, "url": kinds::url("attachments", id), "file_name": name,
            "content_url": format!("https://sim.zendesk.com/attachments/token/{id}/?name={name}"),
            "mapped_content_url": format!("https://sim.zendesk.com/attachments/token/{id}/?name={name}"),
            "content_type": "image/png", "size": 2048 + number, "width": 640, "height": 480, "inline": false,
            "deleted": false, "thumbnails": [], "comment_id": comment, "ticket_id": ticket,
        });
        let mut fields = made.as_object().cloned().unwrap_or_default();
        crud::merge(&mut fields, given);
        fields
    }

    /// The members of a new comment, whose ticket is touched and has an audit of it now.
    pub(super) fn draft_comment(
        &mut self,
        given: &Map<String, Value>,
        when: When,
    ) -> Result<Map<String, Value>, String> {
        let ticket = self.ticket_for(given)?;
        // A seeded comment may be older than the ticket's last change.
        let touch = When { at_ms: when.at_ms.max(ticket.updated_ms), ..when };
        let at = Form::Iso.text(touch.at_ms);
        let touched = self.book.edit("tickets", &ticket.id, touch, |record| {
            record.fields.insert("updated_at".into(), json!(at));
        })?;
        let audit = self.audit(touched.number_of("id"), "Change", Vec::new(), when);
        self.measure(&touched, when);
        let mut given = given.clone();
        given
            .entry("body")
            .or_insert_with(|| json!(names::prose(&mut crate::chance::Chance::new(self.last_event, "comment"), 12)));
        Ok(self.write_comment(audit, &touched, &given, when))
    }

    /// The members of a new attachment, in a comment of its own.
    pub(super) fn draft_attachment(
        &mut self,
        given: &Map<String, Value>,
        when: When,
    ) -> Result<Map<String, Value>, String> {
        let about: Map<String, Value> = given.iter().filter(|(n, _)| *n == "ticket_id").map(own).collect();
        let comment = self.draft_comment(&about, when)?;
        self.put("ticket_comments", Value::Object(comment.clone()), when);
        let number = |name: &str| comment.get(name).and_then(Value::as_u64).unwrap_or(0);
        Ok(self.attachment_fields(number("id"), number("ticket_id") as i64, given))
    }

    fn ticket_for(&self, given: &Map<String, Value>) -> Result<std::sync::Arc<Record>, String> {
        let id = match given.get("ticket_id") {
            Some(id) => id.to_string(),
            None => match self.book.made("tickets") {
                0 => return Err("there is no ticket yet".into()),
                made => id_of("tickets", self.last_event % made).to_string(),
            },
        };
        self.book.latest("tickets", &id).ok_or(format!("tickets has no {id}"))
    }

    /// Makes or moves the metrics of a ticket.
    fn measure(&mut self, ticket: &Record, when: When) {
        let at = Form::Iso.text(when.at_ms);
        let solved = matches!(ticket.text("status"), "solved" | "closed");
        let number = id_of("ticket_metrics", ticket.number);
        let minutes = (when.at_ms - ticket.created_ms) / 60_000;
        let moved = json!({
            "group_stations": 1, "assignee_stations": 1, "reopens": 0,
            "replies": self.comments_of(ticket).saturating_sub(1),
            "assignee_updated_at": at, "requester_updated_at": at, "status_updated_at": at, "latest_comment_added_at": at,
            "solved_at": if solved { json!(at) } else { Value::Null },
            "reply_time_in_minutes": pair(Some(minutes)), "reply_time_in_seconds": {"calendar": minutes * 60},
            "first_resolution_time_in_minutes": pair(solved.then_some(minutes)),
            "full_resolution_time_in_minutes": pair(solved.then_some(minutes)),
            "agent_wait_time_in_minutes": pair(Some(minutes / 2)), "requester_wait_time_in_minutes": pair(Some(minutes / 2)),
            "on_hold_time_in_minutes": pair(Some(0)), "custom_status_updated_at": at,
        });
        let moved = moved.as_object().cloned().unwrap_or_default();
        if self.book.latest("ticket_metrics", &number.to_string()).is_some() {
            let _ = self.book.edit("ticket_metrics", &number.to_string(), when, |r| crud::merge(&mut r.fields, &moved));
            return;
        }
        let mut fields = json!({
            "id": number, "url": kinds::url("ticket_metrics", number), "ticket_id": ticket.get("id"),
            "initially_assigned_at": at, "assigned_at": at, "created_at": ticket.get("created_at"),
        });
        if let Some(fields) = fields.as_object_mut() {
            crud::merge(fields, &moved);
        }
        self.put("ticket_metrics", fields, when);
    }

    fn comments_of(&self, ticket: &Record) -> usize {
        self.book.children("ticket_comments", &ticket.id).len()
    }

    /// Adds a record that must be new.
    pub(super) fn put(&mut self, collection: &str, fields: Value, when: When) {
        if let Value::Object(fields) = fields {
            let _ = self.book.add(collection, fields, when);
        }
    }
}

fn own((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}
