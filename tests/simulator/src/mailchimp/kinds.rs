//! Decides which collections there are and what a record looks like when a test names only some members.

use serde_json::{json, Map, Value};

use super::md5;
use crate::chance::Chance;
use crate::names;
use crate::rest::time::Form;
use crate::rest::{crud, Kind, Stamp};

/// Parents first. A list and a campaign have no time of their last change: that is a habit of this API.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "lists",
        key: &["id"],
        created: Some(Stamp("date_created", Form::IsoOffset)),
        updated: None,
        parent: None,
    },
    Kind {
        name: "list_members",
        key: &["list_id", "id"],
        created: Some(Stamp("timestamp_signup", Form::IsoOffset)),
        updated: Some(Stamp("last_changed", Form::IsoOffset)),
        parent: Some("list_id"),
    },
    Kind {
        name: "campaigns",
        key: &["id"],
        created: Some(Stamp("create_time", Form::IsoOffset)),
        updated: None,
        parent: None,
    },
    Kind {
        name: "conversations",
        key: &["id"],
        created: None,
        updated: Some(Stamp("last_message.timestamp", Form::IsoOffset)),
        parent: None,
    },
    Kind {
        name: "subscriber_activity",
        key: &["campaign_id", "email_id", "action", "timestamp"],
        created: Some(Stamp("timestamp", Form::IsoOffset)),
        updated: None,
        parent: Some("campaign_id"),
    },
];

/// Ten hexadecimal digits that belong to a number.
pub fn short_id(collection: &str, number: u64) -> String {
    md5::hex(&format!("{collection} {number}"))[..10].to_string()
}

/// What a draft refers to: a list, a member of it, a campaign sent to it.
pub struct Known {
    pub list: Option<String>,
    pub campaign: Option<String>,
    pub member: Option<(String, String)>,
}

/// A record with these members over made-up ones, without its stamps.
pub fn draft(
    collection: &str,
    number: u64,
    at_ms: i64,
    known: &Known,
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    let mut chance = Chance::new(number, collection);
    let at = Form::IsoOffset.text(at_ms);
    let mut made = match collection {
        "lists" => list(number, &mut chance),
        "list_members" => {
            let list = known.list.as_deref().ok_or("there is no list yet")?;
            member(number, list, &at, given, &mut chance)
        }
        "campaigns" => campaign(number, known.list.as_deref().ok_or("there is no list yet")?, &at, &mut chance),
        "conversations" => json!({
            "id": short_id(collection, number), "message_count": 1, "campaign_id": known.campaign, "list_id": known.list,
            "unread_messages": 0, "from_label": names::person(number).0, "from_email": names::mailbox(number, number % 7),
            "subject": names::prose(&mut chance, 4),
            "last_message": {
                "from_label": names::person(number).0, "from_email": names::mailbox(number, number % 7),
                "subject": names::prose(&mut chance, 4), "message": names::prose(&mut chance, 12), "read": true,
            },
        }),
        "subscriber_activity" => {
            let campaign = known.campaign.as_deref().ok_or("there is no campaign yet")?;
            let (id, address) = known.member.clone().ok_or("there is no member yet")?;
            json!({
                "campaign_id": campaign, "list_id": known.list, "list_is_active": true, "email_id": id,
                "email_address": address, "action": chance.pick(&["open", "click", "bounce"]),
            })
        }
        _ => return Err(format!("there is no collection {collection}")),
    };
    if collection == "subscriber_activity" {
        match given.get("action").or(made.get("action")).and_then(Value::as_str) {
            Some("click") => made["url"] = json!("https://shop.sim.example/offer"),
            Some("bounce") => made["type"] = json!("soft"),
            _ => {}
        }
        made["ip"] = json!("198.51.100.7");
    }
    let mut fields = made.as_object().cloned().unwrap_or_default();
    crud::merge(&mut fields, given);
    Ok(fields)
}

fn list(number: u64, chance: &mut Chance) -> Value {
    json!({
        "id": short_id("lists", number), "web_id": 1000 + number, "name": format!("{} news", names::company(number)),
        "contact": {
            "company": names::company(number), "address1": names::street(chance), "address2": "", "city": "Austin",
            "state": "TX", "zip": "78701", "country": "US", "phone": "",
        },
        "permission_reminder": "You signed up on our website.", "use_archive_bar": true,
        "campaign_defaults": {"from_name": "Sim", "from_email": "news@sim.example", "subject": "", "language": "en"},
        "notify_on_subscribe": "", "notify_on_unsubscribe": "", "list_rating": chance.below(6), "email_type_option": false,
        "subscribe_url_short": format!("http://eepurl.example/{number}"),
        "subscribe_url_long": format!("https://sim.us6.list-manage.example/subscribe?u=1&id={number}"),
        "beamer_address": format!("us6-{number}@inbound.mailchimp.example"), "visibility": "prv", "double_optin": false,
        "has_welcome": false, "marketing_permissions": false, "modules": [],
        "stats": {
            "member_count": 0, "unsubscribe_count": 0, "cleaned_count": 0, "campaign_count": 0, "campaign_last_sent": "",
            "open_rate": 0, "click_rate": 0, "last_sub_date": "", "last_unsub_date": "",
        },
    })
}

fn member(number: u64, list: &str, at: &str, given: &Map<String, Value>, chance: &mut Chance) -> Value {
    let address = match given.get("email_address").and_then(Value::as_str) {
        Some(address) => address.to_string(),
        None => names::mailbox(number, number % 7),
    };
    let (first, last) = names::person(number);
    let id = md5::hex(&address.to_lowercase());
    json!({
        "id": id, "contact_id": md5::hex(&format!("contact {address}")), "email_address": address,
        "unique_email_id": &md5::hex(&format!("unique {address}"))[..10], "web_id": 500_000 + number,
        "full_name": format!("{first} {last}"), "email_type": "html",
        "status": chance.pick(&["subscribed", "subscribed", "unsubscribed", "cleaned", "pending", "transactional"]),
        "consents_to_one_to_one_messaging": true, "merge_fields": {"FNAME": first, "LNAME": last, "PHONE": ""},
        "interests": {}, "stats": {"avg_open_rate": 0, "avg_click_rate": 0}, "ip_signup": "", "ip_opt": "198.51.100.7",
        "timestamp_opt": at, "member_rating": 2, "language": "en", "vip": chance.percent(5), "email_client": "",
        "location": {"latitude": 0, "longitude": 0, "gmtoff": 0, "dstoff": 0, "country_code": "", "timezone": ""},
        "source": "API - Generic", "tags_count": 0, "tags": [], "list_id": list,
    })
}

fn campaign(number: u64, list: &str, at: &str, chance: &mut Chance) -> Value {
    let is_sent = number % 3 != 2;
    json!({
        "id": short_id("campaigns", number), "web_id": 7000 + number, "type": "regular",
        "archive_url": format!("http://eepurl.example/c{number}"), "content_type": "template",
        "long_archive_url": format!("https://mailchi.mp.example/{number}"), "status": if is_sent { "sent" } else { "save" },
        "emails_sent": if is_sent { chance.below(500) } else { 0 }, "send_time": if is_sent { at } else { "" },
        "needs_block_refresh": false, "resendable": is_sent, "parent_campaign_id": "",
        "recipients": {"list_id": list, "list_is_active": true, "list_name": "", "segment_text": "", "recipient_count": 0},
        "settings": {"subject_line": names::prose(chance, 4), "title": format!("Campaign {number}"), "from_name": "Sim",
                     "reply_to": "news@sim.example"},
        "tracking": {"opens": true, "html_clicks": true, "text_clicks": false},
        "report_summary": {"opens": 0, "unique_opens": 0, "open_rate": 0, "clicks": 0, "subscriber_clicks": 0, "click_rate": 0},
        "delivery_status": {"enabled": false},
    })
}
