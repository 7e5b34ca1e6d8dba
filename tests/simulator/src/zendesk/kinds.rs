//! Decides which collections there are, their ids, and what a record looks like when a test names only some members.

use serde_json::{json, Map, Value};

use crate::chance::Chance;
use crate::names;
use crate::rest::time::Form;
use crate::rest::{crud, Kind, Stamp};

const CREATED: Stamp = Stamp("created_at", Form::Iso);
const UPDATED: Stamp = Stamp("updated_at", Form::Iso);

const fn kind(name: &'static str, updated: Stamp, parent: Option<&'static str>) -> Kind {
    Kind { name, key: &["id"], created: Some(CREATED), updated: Some(updated), parent }
}

const fn log(name: &'static str, parent: Option<&'static str>) -> Kind {
    Kind { name, key: &["id"], created: Some(CREATED), updated: None, parent }
}

/// Parents first. `ticket_audits` hold the `ticket_events` of one update; `ticket_metrics`, `ticket_audits` and
/// `ticket_events` come out of tickets and their changes only.
pub const KINDS: &[Kind] = &[
    kind("ticket_fields", UPDATED, None),
    kind("user_fields", UPDATED, None),
    kind("organization_fields", UPDATED, None),
    kind("ticket_forms", UPDATED, None),
    kind("groups", UPDATED, None),
    kind("organizations", UPDATED, None),
    kind("users", UPDATED, None),
    kind("group_memberships", UPDATED, Some("group_id")),
    kind("organization_memberships", UPDATED, Some("organization_id")),
    // Exports go by generated_timestamp, which also moves on system updates that leave updated_at alone.
    kind("tickets", Stamp("generated_timestamp", Form::Unix), None),
    kind("ticket_metrics", UPDATED, Some("ticket_id")),
    log("ticket_audits", Some("ticket_id")),
    log("ticket_events", Some("ticket_event_id")),
    log("ticket_comments", Some("ticket_id")),
    Kind { name: "attachments", key: &["id"], created: None, updated: None, parent: Some("comment_id") },
    kind("satisfaction_ratings", UPDATED, None),
    kind("ticket_skips", UPDATED, None),
    kind("activities", UPDATED, None),
    log("audit_logs", None),
];

/// The id of record number `number`. Tickets are counted from 1; other ids are long, as they are in accounts of today.
pub fn id_of(collection: &str, number: u64) -> u64 {
    if collection == "tickets" {
        return number + 1;
    }
    let place = KINDS.iter().position(|kind| kind.name == collection).unwrap_or(0) as u64;
    9_000_000_000_000 + (place + 1) * 100_000_000_000 + number
}

pub fn url(resource: &str, id: impl std::fmt::Display) -> String {
    format!("https://sim.zendesk.com/api/v2/{resource}/{id}.json")
}

/// Ids a draft refers to; `null` where there is no such record.
pub struct Known {
    pub user: Value,
    pub agent: Value,
    pub organization: Value,
    pub group: Value,
    pub ticket: Value,
    pub form: Value,
    /// Ids of the custom ticket fields, keys of the others.
    pub ticket_fields: Vec<Value>,
    pub user_fields: Vec<String>,
    pub organization_fields: Vec<String>,
}

/// A record with these members over made-up ones, without its stamps.
pub fn draft(
    collection: &str,
    number: u64,
    at_ms: i64,
    known: &Known,
    given: &Map<String, Value>,
) -> Map<String, Value> {
    let id = given.get("id").and_then(Value::as_u64).unwrap_or_else(|| id_of(collection, number));
    let mut chance = Chance::new(number, collection);
    let at = Form::Iso.text(at_ms);
    let made = match collection {
        "users" => user(id, number, known, &mut chance),
        "organizations" => organization(id, number, known, &mut chance),
        "groups" => json!({
            "id": id, "url": url("groups", id), "name": format!("{} team", names::company(number)), "description": "",
            "default": number == 0, "is_public": true, "deleted": false,
        }),
        "group_memberships" => json!({
            "id": id, "url": url("group_memberships", id), "user_id": known.agent, "group_id": known.group, "default": false,
        }),
        "organization_memberships" => json!({
            "id": id, "url": url("organization_memberships", id), "user_id": known.user,
            "organization_id": known.organization, "organization_name": names::company(number), "default": true,
            "view_tickets": false,
        }),
        "tickets" => ticket(id, &at, known, &mut chance),
        "ticket_fields" => field(id, collection, number),
        "user_fields" | "organization_fields" => key_field(id, collection, number),
        "ticket_forms" => json!({
            "id": id, "url": url("ticket_forms", id), "name": format!("Form {number}"), "raw_name": format!("Form {number}"),
            "display_name": format!("Form {number}"), "raw_display_name": format!("Form {number}"),
            "end_user_visible": true, "position": number + 1, "ticket_field_ids": known.ticket_fields, "active": true,
            "default": number == 0, "in_all_brands": true, "restricted_brand_ids": [], "agent_conditions": [],
            "end_user_conditions": [],
        }),
        "satisfaction_ratings" => json!({
            "id": id, "url": url("satisfaction_ratings", id), "assignee_id": known.agent, "group_id": known.group,
            "requester_id": known.user, "ticket_id": known.ticket, "score": chance.pick(&["good", "bad", "offered"]),
            "comment": names::prose(&mut chance, 6), "reason": "No reason provided", "reason_id": 0,
        }),
        "ticket_skips" => json!({
            "id": id, "ticket_id": known.ticket, "user_id": known.agent, "reason": names::prose(&mut chance, 4),
        }),
        "activities" => json!({
            "id": id, "url": url("activities", id), "verb": "tickets.assignment",
            "title": "A ticket was assigned to you.", "user_id": known.agent, "actor_id": known.agent,
            "object": {"ticket": {"id": known.ticket, "subject": names::prose(&mut chance, 4)}},
            "target": {"ticket": {"id": known.ticket, "subject": names::prose(&mut chance, 4)}},
        }),
        "audit_logs" => json!({
            "id": id, "url": url("audit_logs", id), "action": "update", "action_label": "Updated", "actor_id": known.agent,
            "actor_name": "Sim Owner", "source_id": known.user, "source_type": "user", "source_label": "Team member: Sim",
            "change_description": "Role set to Agent", "ip_address": "203.0.113.7",
        }),
        _ => json!({"id": id}),
    };
    let mut fields = made.as_object().cloned().unwrap_or_default();
    crud::merge(&mut fields, given);
    fields
}

fn custom(keys: &[String], chance: &mut Chance) -> Map<String, Value> {
    keys.iter().map(|key| (key.clone(), json!(format!("{} {}", key, chance.below(10))))).collect()
}

fn user(id: u64, number: u64, known: &Known, chance: &mut Chance) -> Value {
    let (first, last) = names::person(number);
    // The first few work here, the others ask.
    let role = match number {
        0 => "admin",
        1..=3 => "agent",
        _ => "end-user",
    };
    json!({
        "id": id, "url": url("users", id), "name": format!("{first} {last}"), "email": names::mailbox(number, number % 7),
        "role": role, "role_type": if role == "end-user" { Value::Null } else { json!(4) }, "active": true, "verified": true,
        "suspended": false, "moderator": role != "end-user", "restricted_agent": role == "end-user", "chat_only": false,
        "only_private_comments": false, "shared": false, "shared_agent": false, "shared_phone_number": null,
        "ticket_restriction": if role == "end-user" { json!("requested") } else { Value::Null }, "custom_role_id": null,
        "default_group_id": if role == "end-user" { Value::Null } else { known.group.clone() },
        "organization_id": known.organization, "locale": "en-US", "locale_id": 1, "time_zone": "Eastern Time (US & Canada)",
        "iana_time_zone": "America/New_York", "phone": format!("+1555{:07}", chance.below(10_000_000)), "photo": null,
        "alias": "", "details": "", "notes": "", "signature": null, "external_id": null, "tags": [],
        "last_login_at": null, "two_factor_auth_enabled": null, "report_csv": false, "permanently_deleted": false,
        "user_fields": custom(&known.user_fields, chance),
    })
}

fn organization(id: u64, number: u64, known: &Known, chance: &mut Chance) -> Value {
    json!({
        "id": id, "url": url("organizations", id), "name": names::company(number), "domain_names": [names::domain(number)],
        "details": "", "notes": "", "group_id": known.group, "shared_tickets": false, "shared_comments": false,
        "external_id": format!("company-{number}"), "tags": ["customer"], "deleted_at": null,
        "organization_fields": custom(&known.organization_fields, chance),
    })
}

fn ticket(id: u64, at: &str, known: &Known, chance: &mut Chance) -> Value {
    let subject = names::prose(chance, 5);
    let custom: Vec<Value> =
        known.ticket_fields.iter().map(|id| json!({"id": id, "value": chance.pick(&["yes", "no", "later"])})).collect();
    json!({
        "id": id, "url": url("tickets", id), "external_id": null, "subject": subject, "raw_subject": subject,
        "description": names::prose(chance, 20), "type": chance.pick(&["question", "incident", "problem", "task"]),
        "priority": chance.pick(&["low", "normal", "high", "urgent"]), "status": chance.pick(&["new", "open", "pending"]),
        "recipient": null, "requester_id": known.user, "submitter_id": known.user, "assignee_id": known.agent,
        "organization_id": known.organization, "group_id": known.group, "collaborator_ids": [], "follower_ids": [],
        "email_cc_ids": [], "forum_topic_id": null, "problem_id": null, "has_incidents": false, "is_public": true,
        "due_at": null, "tags": ["sim"], "via": {"channel": "web", "source": {"from": {}, "to": {}, "rel": null}},
        "custom_fields": custom, "fields": custom, "satisfaction_rating": {"score": "unoffered"},
        "sharing_agreement_ids": [], "followup_ids": [], "ticket_form_id": known.form, "brand_id": 360_000_000_001_i64,
        "allow_channelback": false, "allow_attachments": true, "from_messaging_channel": false, "custom_status_id": null,
        "updated_at": at,
    })
}

fn field(id: u64, collection: &str, number: u64) -> Value {
    json!({
        "id": id, "url": url(collection, id), "type": "text", "title": format!("Field {number}"),
        "raw_title": format!("Field {number}"), "description": "", "raw_description": "", "position": 9999, "active": true,
        "required": false, "collapsed_for_agents": false, "regexp_for_validation": null,
        "title_in_portal": format!("Field {number}"), "raw_title_in_portal": format!("Field {number}"),
        "visible_in_portal": false, "editable_in_portal": false, "required_in_portal": false, "tag": null,
        "removable": true, "key": null, "agent_description": null, "sub_type_id": null,
    })
}

fn key_field(id: u64, collection: &str, number: u64) -> Value {
    json!({
        "id": id, "url": url(collection, id), "key": format!("custom_{number}"), "type": "text",
        "title": format!("Custom {number}"), "raw_title": format!("Custom {number}"), "description": "",
        "raw_description": "", "position": number, "active": true, "system": false, "regexp_for_validation": null,
    })
}

/// The fields every account has, with the system's own type names.
pub fn system_fields() -> Vec<Map<String, Value>> {
    let names = [
        ("subject", "Subject"),
        ("description", "Description"),
        ("status", "Status"),
        ("tickettype", "Type"),
        ("priority", "Priority"),
        ("group", "Group"),
        ("assignee", "Assignee"),
    ];
    let made =
        names.iter().map(|(kind, title)| json!({"type": kind, "title": title, "raw_title": title, "removable": false}));
    made.filter_map(|value| value.as_object().cloned()).collect()
}
