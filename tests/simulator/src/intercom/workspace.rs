//! Decides what the endpoints about the workspace itself answer: who asks, its admins, teams, tags, segments, and the
//! attributes its records have.

use serde_json::{json, Value};

use super::wire::{invalid, not_found, refuse};
use super::Workspace;
use crate::app::Call;
use crate::http::Reply;
use crate::rest::Record;

/// The workspace's id, as records name it.
pub const APP_ID: &str = "sim00wsp";

/// `model name type` of the attributes every workspace has.
const ATTRIBUTES: &str = "
contact id string
contact external_id string
contact email string
contact phone string
contact name string
contact role string
contact owner_id integer
contact created_at date
contact updated_at date
contact signed_up_at date
contact last_seen_at date
contact last_replied_at date
contact last_contacted_at date
contact unsubscribed_from_emails boolean
contact marked_email_as_spam boolean
contact has_hard_bounced boolean
contact browser string
contact os string
contact location.country string
contact location.city string
company name string
company company_id string
company last_request_at date
company remote_created_at date
company user_count integer
company session_count integer
company monthly_spend float
company size integer
company industry string
company website string
conversation id string
conversation title string
conversation created_at date
conversation updated_at date
conversation state string
conversation priority string
";

fn attribute(line: &str) -> Option<Value> {
    let mut words = line.split(' ');
    let (model, name, kind) = (words.next()?, words.next()?, words.next()?);
    Some(json!({
        "type": "data_attribute", "name": name.rsplit('.').next()?, "full_name": name, "label": name.replace(['_', '.'], " "),
        "description": format!("The {} of a {model}", name.replace(['_', '.'], " ")), "data_type": kind, "api_writable": false,
        "ui_writable": false, "messenger_writable": true, "custom": false, "archived": false, "model": model,
    }))
}

/// A custom attribute.
pub fn custom_attribute(number: u64, model: &str, name: &str, kind: &str) -> Value {
    json!({
        "type": "data_attribute", "id": 3_400_001 + number, "model": model, "name": name,
        "full_name": format!("custom_attributes.{name}"), "label": name.replace('_', " "), "description": "", "data_type": kind,
        "api_writable": true, "ui_writable": true, "messenger_writable": true, "custom": true, "archived": false,
        "admin_id": "991267460",
    })
}

impl Workspace {
    /// The data type of a custom attribute that is not archived.
    pub fn custom_type(&self, model: &str, name: &str) -> Option<String> {
        let all = self.book.listed("data_attributes");
        let found = all.iter().find(|record| record.text("model") == model && record.text("name") == name)?;
        Some(found.text("data_type").to_string())
    }

    /// `GET /data_attributes?model=&include_archived=`: the workspace's own have ids, the others none.
    pub fn list_attributes(&self, call: &Call<'_>) -> Reply {
        let model = call.request.param("model");
        if model.as_deref().is_some_and(|m| !["contact", "company", "conversation"].contains(&m)) {
            return invalid("model must be contact, company or conversation");
        }
        let archived = call.request.param("include_archived").is_some_and(|v| v == "true");
        let standard = ATTRIBUTES.lines().filter_map(attribute);
        let custom = self.book.shown("data_attributes");
        let custom = custom.iter().filter(|r| archived || !r.is_deleted()).map(|r| r.json());
        let data: Vec<Value> =
            standard.chain(custom).filter(|a| model.as_deref().is_none_or(|m| a["model"] == m)).collect();
        Reply::json(200, json!({"type": "list", "data": data}).to_string())
    }

    /// The short lists, which have no pages: their type, the member their records are in.
    pub fn whole_list(&self, collection: &str, kind: &str, member: &str, render: impl Fn(&Record) -> Value) -> Reply {
        let all: Vec<Value> = self.book.listed(collection).iter().map(|record| render(record)).collect();
        Reply::json(200, json!({"type": kind, member: all}).to_string())
    }

    pub fn one(&self, collection: &str, id: &str) -> Reply {
        match self.book.find(collection, id).filter(|record| !record.is_deleted()) {
            Some(record) => Reply::json(200, record.json().to_string()),
            None => match collection {
                "admins" => refuse(404, "admin_not_found", "Admin not found"),
                "teams" => refuse(404, "team_not_found", "Team not found"),
                _ => not_found(),
            },
        }
    }

    /// `GET /segments`: with their sizes only when asked for.
    pub fn list_segments(&self, call: &Call<'_>) -> Reply {
        let counts = call.request.param("include_count").is_some_and(|v| v == "true");
        self.whole_list("segments", "segment.list", "segments", |record| {
            let mut fields = record.fields.clone();
            if !counts {
                fields.shift_remove("count");
            }
            Value::Object(fields)
        })
    }

    /// `GET /me`.
    pub fn me(&self, call: &Call<'_>) -> Reply {
        let minutes = call.config.number("utc_offset_minutes");
        // Etc/GMT+8 is eight hours behind: the sign is turned round in these names.
        let zone = match minutes {
            0 => "Etc/UTC".to_string(),
            _ => format!("Etc/GMT{:+}", -minutes.div_euclid(60)),
        };
        let body = json!({
            "type": "admin", "id": "991267459", "email": "admin@workspace.example", "name": "Ada Andersen", "email_verified": true,
            "app": {
                "type": "app", "id_code": APP_ID, "name": "Simulated", "created_at": 1_577_836_800, "secure": false,
                "identity_verification": false, "timezone": zone, "region": call.config.text("region").to_uppercase(),
            },
            "avatar": {"type": "avatar", "image_url": null}, "has_inbox_seat": true,
        });
        Reply::json(200, body.to_string())
    }
}
