//! Decides the records a test asks for: contacts, lists and single sends of today, and the recipients, lists, segments and
//! campaigns of the legacy product.

use chrono::{DateTime, Utc};
use serde_json::{json, Map, Value};

use crate::chance::Chance;
use crate::names;

pub type Record = Map<String, Value>;

/// `2024-01-02T03:04:05Z`.
pub fn stamp(ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(ms).unwrap_or_default().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn uuid(chance: &mut Chance) -> String {
    let (a, b) = (chance.next(), chance.next());
    let hex = format!("{a:016x}{b:016x}");
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

/// The id the legacy product makes of an e-mail address: its base64, safe in URLs.
pub fn recipient_id(email: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE.encode(email.to_lowercase())
}

/// A record of `collection`; `n` is its number, `seed` the program's.
pub fn draft(collection: &str, n: u64, at_ms: i64, seed: u64) -> Option<Record> {
    let mut chance = Chance::new(seed ^ n.rotate_left(24), collection);
    let (first, last) = names::person(n);
    let town = names::TOWNS[(n % 10) as usize];
    let email = names::mailbox(n, n % 400);
    let record = match collection {
        "mc_contacts" => json!({
            "id": uuid(&mut chance),
            "first_name": first,
            "last_name": last,
            "unique_name": "",
            "email": email,
            "alternate_emails": if n.is_multiple_of(5) { json!([format!("alt.{email}")]) } else { json!([]) },
            "address_line_1": names::street(&mut chance),
            "address_line_2": "",
            "city": town.0,
            "state_province_region": town.1,
            "country": town.3,
            "postal_code": town.2,
            "phone_number": format!("+1415555{:04}", n % 10_000),
            "whatsapp": "",
            "line": "",
            "facebook": "",
            "list_ids": [],
            "segment_ids": [],
            "custom_fields": if n.is_multiple_of(2) { json!({"favourite_colour": "blue, or green"}) } else { json!({}) },
            "created_at": stamp(at_ms),
            "updated_at": stamp(at_ms),
        }),
        "mc_lists" => {
            json!({"id": uuid(&mut chance), "name": format!("List {}", n + 1), "contact_count": chance.between(0, 900)})
        }
        "mc_single_sends" => {
            let is_abtest = n.is_multiple_of(4);
            json!({
                "id": uuid(&mut chance),
                "name": format!("Send {}", n + 1),
                "status": chance.pick(&["draft", "scheduled", "triggered"]),
                "categories": if n.is_multiple_of(3) { json!(["news"]) } else { json!([]) },
                "is_abtest": is_abtest,
                "abtest": if is_abtest {
                    json!({"type": "subject", "winner_criteria": "open", "test_percentage": 20, "duration": "1h",
                        "winning_template_id": "", "winner_selected_at": null, "expiration_date": null})
                } else {
                    Value::Null
                },
                "send_at": if n % 3 == 1 { Value::Null } else { json!(stamp(at_ms + 86_400_000)) },
                "created_at": stamp(at_ms),
                "updated_at": stamp(at_ms),
            })
        }
        "lists" => {
            json!({"id": n + 1, "name": format!("Legacy list {}", n + 1), "recipient_count": chance.between(0, 900)})
        }
        "segments" => json!({
            "id": n + 1,
            "name": format!("Segment {}", n + 1),
            "list_id": n % 4 + 1,
            "conditions": [
                {"field": "last_name", "value": last, "operator": "eq", "and_or": ""},
                {"field": "last_clicked", "value": "01/02/2015", "operator": "gt", "and_or": "and"},
            ],
            "recipient_count": chance.between(0, 900),
        }),
        "recipients" => json!({
            "id": recipient_id(&email),
            "email": email,
            "first_name": first,
            "last_name": last,
            "created_at": at_ms / 1000,
            "updated_at": at_ms / 1000,
            "last_emailed": if n.is_multiple_of(2) { json!(at_ms / 1000 + 60) } else { Value::Null },
            "last_clicked": Value::Null,
            "last_opened": if n.is_multiple_of(4) { json!(at_ms / 1000 + 90) } else { Value::Null },
            "custom_fields": [{"id": 6234, "name": "age", "value": n % 80 + 18, "type": "number"}],
        }),
        "campaigns" => json!({
            "id": n + 1001,
            "title": format!("Campaign {}", n + 1),
            "subject": if n % 4 == 3 { Value::Null } else { json!(format!("News, number {}", n + 1)) },
            "sender_id": 124_451,
            "list_ids": [n % 4 + 1],
            "segment_ids": Value::Null,
            "categories": ["spring line"],
            "suppression_group_id": 42,
            "custom_unsubscribe_url": "",
            "ip_pool": "marketing",
            "html_content": "<html><body><p>Look [Unsubscribe]</p></body></html>",
            "plain_content": "Look [unsubscribe]",
            "editor": "code",
            "status": chance.pick(&["Draft", "Scheduled", "Sent"]),
        }),
        _ => return None,
    };
    match record {
        Value::Object(record) => Some(record),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_collection_has_drafts_that_repeat() {
        for collection in ["mc_contacts", "mc_lists", "mc_single_sends", "lists", "segments", "recipients", "campaigns"]
        {
            assert_eq!(draft(collection, 4, 1_700_000_000_000, 1), draft(collection, 4, 1_700_000_000_000, 1));
            assert!(draft(collection, 4, 1_700_000_000_000, 1).unwrap().contains_key("id"), "{collection}");
        }
        assert_eq!(draft("mc_lists", 0, 0, 1).unwrap()["id"].as_str().map(str::len), Some(36));
        assert_eq!(recipient_id("E@x.example"), "ZUB4LmV4YW1wbGU=");
        assert!(draft("activity", 0, 0, 1).is_none());
    }
}
