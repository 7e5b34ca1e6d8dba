//! Decides what records hold that nobody described: people of companies, what they wrote, and who answered.

use serde_json::{json, Map, Value};

use super::workspace::{custom_attribute, APP_ID};
use super::Workspace;
use crate::chance::Chance;
use crate::names;
use crate::rest::crud;

/// Ids of contacts and companies are 24 hexadecimal digits, growing with time.
fn long_id(kind: u64, number: u64) -> String {
    format!("{:08x}{number:016x}", 0x6762_f000_u64 + kind)
}

pub fn admin_id(number: u64) -> String {
    (991_267_460 + number).to_string()
}

impl Workspace {
    fn chance(&self, collection: &str, number: u64) -> Chance {
        Chance::new(self.seed, &format!("{collection}{number}"))
    }

    /// The id of one of those made in a collection, the same for the same number.
    fn some(&self, collection: &str, number: u64) -> Option<String> {
        let made = self.book.made(collection);
        let number = number.checked_rem(made)?;
        Some(match collection {
            "companies" => long_id(1, number),
            "users" => long_id(2, number),
            "contacts" => long_id(3, number),
            "segments" => long_id(4, number),
            "admins" => admin_id(number),
            _ => (number + 1).to_string(),
        })
    }

    pub fn draft_record(
        &self,
        collection: &str,
        number: u64,
        at_ms: i64,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, String> {
        let mut chance = self.chance(collection, number);
        let chance = &mut chance;
        let at_s = at_ms / 1000;
        let made = match collection {
            "admins" => {
                let (first, last) = names::person(number + 3);
                json!({
                    "type": "admin", "id": admin_id(number), "name": format!("{first} {last}"), "email": format!("admin{number}@workspace.example"),
                    "job_title": chance.pick(&["Support", "Success", "Sales"]), "away_mode_enabled": number % 5 == 4,
                    "away_mode_reassign": false, "away_status_reason_id": null, "has_inbox_seat": true, "team_ids": [5_017_690 + number % 2],
                    "avatar": null, "team_priority_level": {"primary_team_ids": [5_017_690 + number % 2], "secondary_team_ids": []},
                })
            }
            "teams" => json!({
                "type": "team", "id": (5_017_690 + number).to_string(), "name": format!("Team {}", number + 1),
                "admin_ids": [991_267_460], "assignment_limit": 10, "distribution_method": "round_robin",
                "admin_priority_level": {"primary_admin_ids": [], "secondary_admin_ids": []},
            }),
            "tags" => {
                json!({"type": "tag", "id": (number + 1).to_string(), "name": format!("{} {}", chance.pick(&["vip", "beta", "churn risk"]), number + 1)})
            }
            "segments" => json!({
                "type": "segment", "id": long_id(4, number), "name": format!("Segment {}", number + 1),
                "person_type": if number % 3 == 2 { "contact" } else { "user" }, "count": chance.below(5000),
            }),
            "data_attributes" => {
                let name =
                    given.get("name").and_then(Value::as_str).map_or(format!("attribute_{number}"), str::to_string);
                let text = |name: &str, or: &str| given.get(name).and_then(Value::as_str).unwrap_or(or).to_string();
                custom_attribute(number, &text("model", "contact"), &name, &text("data_type", "string"))
            }
            "companies" => self.company(number, at_s, chance),
            "users" | "contacts" => self.person(collection, number, at_s, chance),
            "conversations" => self.conversation(number, at_s, chance),
            "conversation_parts" => self.part(number, at_s, chance),
            _ => return Err(format!("{collection} cannot be created")),
        };
        let mut fields = made.as_object().cloned().unwrap_or_default();
        crud::merge(&mut fields, given);
        if collection == "conversation_parts" && !fields.get("conversation_id").is_some_and(Value::is_string) {
            return Err("a part needs a conversation: make conversations first".into());
        }
        Ok(fields)
    }

    fn company(&self, number: u64, at_s: i64, chance: &mut Chance) -> Value {
        let plan = match number % 3 {
            0 => json!({}),
            n => json!({"type": "plan", "id": n.to_string(), "name": if n == 1 { "paid" } else { "scale" }}),
        };
        json!({
            "type": "company", "company_id": format!("c-{number}"), "id": long_id(1, number), "app_id": APP_ID, "name": names::company(number),
            "remote_created_at": at_s - 86_400, "last_request_at": at_s - chance.between(0, 86_400 * 30), "monthly_spend": chance.between(0, 5000),
            "session_count": chance.below(900), "user_count": 0, "size": chance.between(1, 5000), "website": format!("https://{}", names::domain(number)),
            "industry": chance.pick(&["Logistics", "Health", "Media"]), "tags": {"type": "tag.list", "tags": []},
            "segments": {"type": "segment.list", "segments": []}, "plan": plan,
            "custom_attributes": {"account_tier": chance.pick(&["gold", "silver"])},
        })
    }

    fn person(&self, collection: &str, number: u64, at_s: i64, chance: &mut Chance) -> Value {
        let is_user = collection == "users";
        let nth = if is_user { number } else { number + 500 };
        let of = nth % self.book.made("companies").max(25);
        let (first, last) = names::person(nth);
        let (city, region, _, country, ..) = names::TOWNS[chance.below(10) as usize];
        let email = (is_user || number % 3 != 2).then(|| names::mailbox(nth, of));
        let companies: Vec<String> =
            self.some("companies", of).filter(|_| is_user && number % 7 != 6).into_iter().collect();
        let tags: Vec<String> = self.some("tags", number).filter(|_| number % 4 == 1).into_iter().collect();
        let segments: Vec<String> =
            self.some("segments", number).filter(|_| number.is_multiple_of(2)).into_iter().collect();
        let profile = |name: &str| json!({"type": "social_profile", "name": name, "url": format!("https://{}.example/{}{nth}", name.to_lowercase(), first.to_lowercase())});
        let profiles: Vec<Value> = match number % 6 {
            1 => vec![profile("Twitter")],
            2 => vec![profile("Facebook"), profile("LinkedIn")],
            _ => Vec::new(),
        };
        let seen = chance.percent(80).then(|| at_s - chance.between(0, 86_400));
        json!({
            "type": "contact", "id": long_id(if is_user { 2 } else { 3 }, number), "workspace_id": APP_ID,
            "external_id": is_user.then(|| format!("u-{number}")), "role": if is_user { "user" } else { "lead" }, "email": email,
            "email_domain": email.as_ref().map(|_| names::domain(of)), "phone": chance.percent(40).then(|| format!("+1555{}", chance.digits(7))),
            "name": format!("{first} {last}"), "avatar": null, "owner_id": (self.book.made("admins") > 0 && number.is_multiple_of(5)).then_some(991_267_460),
            "social_profiles": {"type": "list", "data": profiles}, "has_hard_bounced": chance.percent(3), "marked_email_as_spam": false,
            "unsubscribed_from_emails": chance.percent(8), "signed_up_at": is_user.then_some(at_s), "last_seen_at": seen,
            "last_replied_at": null, "last_contacted_at": chance.percent(30).then_some(at_s), "last_email_opened_at": null,
            "last_email_clicked_at": null, "language_override": null, "browser": "firefox", "browser_version": "140.0",
            "browser_language": "en", "os": "Linux",
            "location": {"type": "location", "country": country, "region": region, "city": city, "country_code": country, "continent_code": null},
            "android_app_name": null, "android_app_version": null, "android_device": null, "android_os_version": null,
            "android_sdk_version": null, "android_last_seen_at": null, "ios_app_name": null, "ios_app_version": null, "ios_device": null,
            "ios_os_version": null, "ios_sdk_version": null, "ios_last_seen_at": null,
            "custom_attributes": {"plan_tier": chance.pick(&["free", "paid"]), "seat_count": chance.below(50), "trial_ends_at": at_s + 86_400 * 14},
            "opted_out_subscription_types": {"type": "list", "data": [], "url": "", "total_count": 0, "has_more": false},
            "opted_in_subscription_types": {"type": "list", "data": [], "url": "", "total_count": 0, "has_more": false},
            "utm_campaign": null, "utm_content": null, "utm_medium": null, "utm_source": null, "utm_term": null, "referrer": null,
            "enabled_push_messaging": null, "company_ids": companies, "tag_ids": tags, "segment_ids": segments, "note_ids": [],
        })
    }

    fn conversation(&self, number: u64, at_s: i64, chance: &mut Chance) -> Value {
        let contact = self.some("users", number).or_else(|| self.some("contacts", number));
        let state = chance.pick(&["open", "closed", "closed", "snoozed"]);
        let author = match contact.as_deref().and_then(|id| self.contact(id)) {
            Some(person) => {
                json!({"type": person.text("role"), "id": person.id, "name": person.get("name"), "email": person.get("email")})
            }
            None => {
                json!({"type": "admin", "id": admin_id(0), "name": "Ada Andersen", "email": "admin@workspace.example"})
            }
        };
        let contacts: Vec<Value> = contact
            .iter()
            .map(|id| json!({"type": "contact", "id": id, "external_id": format!("u-{number}")}))
            .collect();
        let rating = (number % 5 == 3).then(|| {
            json!({
                "rating": 1 + chance.below(5), "remark": null, "created_at": at_s, "updated_at": at_s,
                "contact": contacts.first(), "teammate": {"type": "admin", "id": admin_id(0)},
            })
        });
        let tags: Vec<Value> = self
            .some("tags", number)
            .filter(|_| number.is_multiple_of(3))
            .map(|id| json!({"type": "tag", "id": id, "name": "tagged"}))
            .into_iter()
            .collect();
        json!({
            "type": "conversation", "id": (200_000_001 + number).to_string(), "title": (number % 4 == 2).then(|| names::prose(chance, 4)),
            "waiting_since": (state == "open").then_some(at_s), "snoozed_until": (state == "snoozed").then_some(at_s + 86_400),
            "source": {
                "type": "conversation", "id": (403_918_000 + number).to_string(), "delivered_as": "customer_initiated", "subject": "",
                "body": format!("<p>{}</p>", names::prose(chance, 12)), "author": author, "attachments": [], "url": null, "redacted": false,
            },
            "contacts": {"type": "contact.list", "contacts": contacts}, "first_contact_reply": null,
            "admin_assignee_id": number.is_multiple_of(2).then_some(991_267_460), "team_assignee_id": number.is_multiple_of(3).then_some(5_017_690),
            "open": state == "open", "state": state, "read": chance.percent(60), "tags": {"type": "tag.list", "tags": tags},
            "priority": if chance.percent(10) { "priority" } else { "not_priority" }, "sla_applied": null,
            "statistics": {
                "type": "conversation_statistics", "time_to_assignment": 0, "time_to_admin_reply": chance.between(60, 9000),
                "time_to_first_close": null, "time_to_last_close": null, "median_time_to_reply": null, "first_contact_reply_at": at_s,
                "first_admin_reply_at": null, "first_close_at": null, "last_close_at": null, "last_closed_by_id": null,
                "count_reopens": 0, "count_assignments": 1, "count_conversation_parts": 0,
            },
            "conversation_rating": rating, "teammates": {"type": "admin.list", "teammates": [{"type": "admin", "id": admin_id(0)}]},
            "custom_attributes": {}, "topics": {}, "ticket": null,
            "linked_objects": {"type": "list", "data": [], "total_count": 0, "has_more": false},
            "ai_agent": null, "ai_agent_participated": false,
        })
    }

    fn part(&self, number: u64, at_s: i64, chance: &mut Chance) -> Value {
        let conversation = match self.book.made("conversations") {
            0 => None,
            // Some have many parts, some one, some none.
            made => Some((200_000_001 + chance.below(made) * 2 / 3).to_string()),
        };
        let kind = chance.pick(&["comment", "comment", "note", "assignment", "close"]);
        let text = matches!(kind, "comment" | "note").then(|| format!("<p>{}</p>", names::prose(chance, 15)));
        json!({
            "type": "conversation_part", "id": (300_000_001 + number).to_string(), "part_type": kind, "body": text, "notified_at": at_s,
            "assigned_to": (kind == "assignment").then(|| json!({"type": "admin", "id": admin_id(0)})),
            "author": {"type": "admin", "id": admin_id(number % self.book.made("admins").max(1)), "name": "Ada Andersen", "email": "admin@workspace.example"},
            "attachments": [], "external_id": null, "redacted": false, "email_message_metadata": null, "metadata": null,
            "state": "open", "tags": [], "event_details": null, "app_package_code": null, "conversation_id": conversation,
        })
    }
}
