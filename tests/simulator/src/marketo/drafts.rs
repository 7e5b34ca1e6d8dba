//! Decides the records a test asks for: made-up values under what it gives, whole enough to be listed.

use serde_json::{json, Map, Value};

use super::types;
use crate::chance::Chance;
use crate::names;
use crate::rest::time::Form;

/// The first id of leads and assets: real instances start there.
pub const FIRST_ID: u64 = 1001;

pub type Record = Map<String, Value>;

fn object(value: Value) -> Record {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or("")
}

/// A lead. Fields without a value are left out: the API shows them as null.
pub fn lead(id: u64, at_ms: i64, chance: &mut Chance) -> Record {
    let n = id - FIRST_ID.min(id);
    let company = n % 400;
    let (first, last) = names::person(n);
    let town = names::TOWNS[(n % 10) as usize];
    let mut lead = json!({
        "id": id,
        "company": names::company(company),
        "website": format!("https://www.{}/", names::domain(company)),
        "personType": "contact",
        "isLead": true,
        "isAnonymous": false,
        "mktoIsPartner": false,
        "mktoIsCustomer": chance.percent(20),
        "firstName": first,
        "lastName": last,
        "mktoName": format!("{first} {last}"),
        "email": names::mailbox(n, company),
        "city": town.0,
        "state": town.1,
        "postalCode": town.2,
        "country": town.3,
        "leadScore": chance.between(0, 180),
        "unsubscribed": chance.percent(4),
        "emailInvalid": false,
        "doNotCall": false,
        "leadPartitionId": "1",
        "createdAt": Form::Iso.text(at_ms),
        "updatedAt": Form::Iso.text(at_ms),
    });
    if chance.percent(50) {
        lead["title"] = json!(chance.pick(&["Buyer", "Head of \"Growth\"", "Engineer, senior", "CFO"]));
        lead["phone"] = json!(format!("+1 415 555 {:04}", n % 10_000));
        lead["address"] = json!(format!("{}\nFloor {}", names::street(chance), n % 9 + 1));
    }
    if chance.percent(30) {
        lead["annualRevenue"] = json!(chance.between(1, 9_000_000) as f64 + 0.5);
        lead["numberOfEmployees"] = json!(chance.between(1, 20_000));
        lead["industry"] = json!(chance.pick(&["Software", "Retail", "Energy"]));
        lead["dateOfBirth"] = json!(format!("19{:02}-0{}-1{}", 50 + n % 49, n % 9 + 1, n % 9));
        lead["leadSource"] = json!(chance.pick(&["Web", "Trade Show", "Partner"]));
        lead["urgency"] = json!(chance.between(0, 500) as f64 / 10.0);
        lead["priority"] = json!(chance.between(0, 100));
    }
    object(lead)
}

/// An activity as the REST API tells it. `moment` is its number of all, which is its id.
pub fn activity(moment: u64, lead_id: u64, type_id: i64, at_ms: i64) -> Record {
    let types::Filled { primary, attributes } = types::filled(type_id, moment);
    let mut activity = json!({
        "id": moment,
        "marketoGUID": moment.to_string(),
        "leadId": lead_id,
        "activityDate": Form::Iso.text(at_ms),
        "activityTypeId": type_id,
        "attributes": attributes.iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>(),
    });
    if moment.is_multiple_of(4) {
        activity["campaignId"] = json!(FIRST_ID + moment % 5);
    }
    if let Some((id, value)) = primary {
        activity["primaryAttributeValueId"] = json!(id);
        activity["primaryAttributeValue"] = json!(value);
    }
    object(activity)
}

fn folder(kind: &str, id: u64, name: &str) -> Value {
    json!({"type": kind, "value": id, "folderName": name})
}

/// A record of any other collection, number `n` of it. `parent` is the segmentation of a segment.
pub fn other(collection: &str, id: u64, n: u64, at_ms: i64, parent: u64, chance: &mut Chance) -> Option<Record> {
    let (plain, asset) = (Form::Iso.text(at_ms), Form::IsoBothOffsets.text(at_ms));
    let header = |value: String| json!({"type": "Text", "value": value});
    Some(object(match collection {
        "campaigns" => json!({
            "id": id,
            "name": format!("Campaign {}", n + 1),
            "description": if n.is_multiple_of(3) { Value::Null } else { json!(names::prose(chance, 8)) },
            "type": if n.is_multiple_of(2) { "batch" } else { "trigger" },
            "programName": format!("Program {}", n % 4 + 1),
            "programId": FIRST_ID + n % 4,
            "workspaceName": "Default",
            "createdAt": plain,
            "updatedAt": plain,
            "active": n % 2 == 1,
        }),
        "lists" => json!({
            "id": id,
            "name": format!("List {}", n + 1),
            "description": names::prose(chance, 5),
            "programName": format!("Program {}", n % 4 + 1),
            "workspaceName": "Default",
            "createdAt": plain,
            "updatedAt": plain,
        }),
        "email" => json!({
            "id": id,
            "name": format!("Email {}", n + 1),
            "description": "",
            "createdAt": asset,
            "updatedAt": asset,
            "url": format!("https://app-sim.marketo.com/#EM{id}A1"),
            "subject": header(format!("News, number {}", n + 1)),
            "fromName": header(names::company(n)),
            // An email may lack its sender (docs: /emails, By ID).
            "fromEmail": if n % 7 == 3 { Value::Null } else { header(format!("news@{}", names::domain(n))) },
            "replyEmail": header(format!("reply@{}", names::domain(n))),
            "folder": folder("Folder", 341, "Newsletters"),
            "operational": n.is_multiple_of(5),
            "textOnly": false,
            "publishToMSI": false,
            "webView": n.is_multiple_of(2),
            "status": if n % 4 == 1 { "draft" } else { "approved" },
            "template": if n.is_multiple_of(3) { Value::Null } else { json!(338) },
            "workspace": "Default",
            "isOpenTrackingDisabled": false,
            "version": 2,
            "autoCopyToText": true,
            "ccFields": if n.is_multiple_of(6) {
                json!([{"attributeId": "157", "objectName": "lead", "displayName": "Lead Owner Email Address", "apiName": null}])
            } else {
                Value::Null
            },
            "preHeader": names::prose(chance, 4),
        }),
        "landing_pages" => json!({
            "id": id,
            "name": format!("Page {}", n + 1),
            "description": names::prose(chance, 6),
            "createdAt": asset,
            "updatedAt": asset,
            "folder": folder("Folder", 75, "Landing Pages"),
            "workspace": "Default",
            "status": if n % 3 == 2 { "draft" } else { "approved" },
            "template": 1,
            "title": format!("Page {}", n + 1),
            "robots": "index, nofollow",
            "formPrefill": false,
            "mobileEnabled": n.is_multiple_of(2),
            "URL": format!("https://app-sim.marketo.com/lpeditor/preview?pageId={id}&isGuided=false"),
            "computedUrl": format!("https://app-sim.marketo.com/#LP{id}B2"),
            "keywords": if n.is_multiple_of(2) { json!("news, sim") } else { Value::Null },
            "customHeadHTML": Value::Null,
            "facebookOgTags": Value::Null,
        }),
        "programs" => {
            let (kind, letters, channel, status) = [
                ("Default", "PG", "Content", ""),
                ("Email", "EBP", "Email Send", "unlocked"),
                ("Engagement", "NP", "Nurture", "on"),
            ][(n % 3) as usize];
            json!({
                "id": id,
                "name": format!("Program {}", n + 1),
                "description": names::prose(chance, 6),
                "createdAt": asset,
                "updatedAt": asset,
                "url": format!("https://app-sim.marketo.com/#{letters}{id}A1"),
                "type": kind,
                "channel": channel,
                "folder": folder("Folder", 28, "Marketing"),
                "status": status,
                "workspace": "Default",
                "sfdcId": if n.is_multiple_of(5) { json!(format!("701{:015}", n)) } else { Value::Null },
                "sfdcName": if n.is_multiple_of(5) { json!(format!("Linked {}", n + 1)) } else { Value::Null },
                "headStart": false,
            })
        }
        "segmentation" => json!({
            "id": id,
            "name": format!("Segmentation {}", n + 1),
            "description": "",
            "createdAt": asset,
            "updatedAt": asset,
            "url": format!("https://app-sim.marketo.com/#SG{id}A1"),
            "folder": folder("Program", 396, "Segments"),
            "status": if n % 5 == 4 { "draft" } else { "approved" },
            "workspace": "Default",
        }),
        "segments" => json!({
            "id": id,
            "name": if n % 4 == 3 { "Default".into() } else { format!("Segment {}", n + 1) },
            "description": Value::Null,
            "createdAt": asset,
            "updatedAt": asset,
            "url": format!("https://app-sim.marketo.com/#SL{id}A1"),
            "status": "approved",
            "segmentationId": parent,
        }),
        "lead_activity_types" => json!({
            "id": 100_001 + n,
            "name": format!("Attend Conference {}", n + 1),
            "description": "Attend the conference",
            "apiName": format!("attendConference{}", n + 1),
            "primaryAttribute": {"name": "Conference Name", "apiName": "conferenceName", "dataType": "string"},
            "attributes": [
                {"name": "Conference Date", "apiName": "conferenceDate", "dataType": "datetime"},
                {"name": "Number of Attendees", "apiName": "numberOfAttendees", "dataType": "integer"},
            ],
        }),
        _ => return None,
    }))
}

/// Tags and costs of a program, which only Get Program by Id tells (docs: /programs, Browse).
pub fn program_details(program: &Record) -> Value {
    let mut whole = program.clone();
    whole.insert("tags".into(), json!([{"tagType": "Region", "tagValue": text(program.get("channel"))}]));
    whole.insert("costs".into(), json!([{"startDate": "2025-01-01", "cost": 500, "note": "booth"}]));
    Value::Object(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_repeat_and_assets_have_the_double_ending() {
        let make = || lead(1005, 1_700_000_000_000, &mut Chance::new(1, "lead"));
        assert_eq!(make(), make());
        let mut chance = Chance::new(1, "asset");
        for collection in ["email", "landing_pages", "programs", "segmentation", "segments"] {
            let record = other(collection, 1001, 0, 1_700_000_000_000, 7, &mut chance).unwrap();
            assert_eq!(record["updatedAt"], "2023-11-14T22:13:20Z+0000", "{collection}");
        }
        for collection in ["lists", "campaigns"] {
            let record = other(collection, 1001, 0, 1_700_000_000_000, 0, &mut chance).unwrap();
            assert_eq!(record["createdAt"], "2023-11-14T22:13:20Z", "{collection}");
        }
        assert!(other("opportunities", 1, 0, 0, 0, &mut chance).is_none());
    }
}
