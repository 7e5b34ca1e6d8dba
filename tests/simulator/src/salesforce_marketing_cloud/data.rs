//! Decides what a business unit holds: lists, sends, campaigns with their assets, journeys with their goals.
//!
//! Instants are kept in UTC; `central` writes them. A journey's versions are records of their own with one `definitionId`.

use serde_json::{json, Map, Value};

use crate::chance::Chance;
use crate::names;
use crate::rest::crud::merge;
use crate::rest::time::Form;
use crate::rest::{Book, Kind, Stamp};

pub type Fields = Map<String, Value>;

const fn rest(name: &'static str, key: &'static [&'static str], parent: Option<&'static str>) -> Kind {
    Kind {
        name,
        key,
        created: Some(Stamp("createdDate", Form::IsoMillis)),
        updated: Some(Stamp("modifiedDate", Form::IsoMillis)),
        parent,
    }
}

/// Parents first.
pub const KINDS: [Kind; 5] = [
    Kind {
        name: "lists",
        key: &["ID"],
        created: Some(Stamp("CreatedDate", Form::IsoMillis)),
        updated: Some(Stamp("ModifiedDate", Form::IsoMillis)),
        parent: None,
    },
    Kind {
        name: "sends",
        key: &["ID"],
        created: Some(Stamp("CreatedDate", Form::IsoMillis)),
        updated: Some(Stamp("ModifiedDate", Form::IsoMillis)),
        parent: None,
    },
    rest("campaigns", &["id"], None),
    Kind { updated: None, ..rest("campaign_assets", &["campaignId", "id"], Some("campaignId")) },
    rest("interactions", &["id"], Some("definitionId")),
];

fn guid(chance: &mut Chance) -> String {
    let hex = format!("{:016x}{:016x}", chance.next(), chance.next());
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A whole record: `given` over made-up values. The campaign of an asset is named by `campaignId`.
pub fn draft(
    book: &Book,
    seed: u64,
    collection: &str,
    number: u64,
    at_ms: i64,
    mid: i64,
    given: &Fields,
) -> Result<Fields, String> {
    let mut chance = Chance::new(seed.wrapping_add(number), collection);
    let fields = match collection {
        "lists" => json!({
            "ID": 1000 + number, "ListName": format!("{} subscribers", names::company(number)),
            "Description": names::prose(&mut chance, 6), "Category": 500 + number % 7,
            "Type": *chance.pick(&["Public", "Private"]), "ListClassification": "ExactTargetList",
            "CustomerKey": format!("list-{number}"), "ObjectID": guid(&mut chance), "PartnerKey": null,
            "Client": {"ID": mid, "PartnerClientKey": format!("partner-{mid}")},
        }),
        "sends" => json!({
            "ID": 5000 + number, "Client": {"ID": mid, "PartnerClientKey": format!("partner-{mid}")}, "PartnerKey": null,
            "Email": {"ID": 700 + number % 9}, "EmailName": format!("{} news", names::company(number)),
            "Subject": names::prose(&mut chance, 5), "FromName": names::company(number),
            "FromAddress": format!("news{number}@sim.example"), "SendDate": Form::IsoMillis.text(at_ms),
            "SentDate": Form::IsoMillis.text(at_ms), "Status": *chance.pick(&["Complete", "Complete", "Canceled"]),
            "IsMultipart": chance.percent(50), "Duplicates": chance.below(5), "HardBounces": chance.below(20),
            "NumberSent": 900 + chance.below(900), "NumberDelivered": 800 + chance.below(100),
            "UniqueOpens": chance.below(500), "Unsubscribes": chance.below(9),
        }),
        "campaigns" => json!({
            "id": (3000 + number).to_string(), "name": format!("{} campaign", names::company(number)),
            "description": names::prose(&mut chance, 8), "campaignCode": format!("camp{number}"),
            "color": format!("{:06x}", chance.below(1 << 24)), "favorite": chance.percent(20),
        }),
        "campaign_assets" => {
            let campaigns = book.all_latest("campaigns");
            let campaign =
                campaigns.get(number as usize % campaigns.len().max(1)).ok_or("there are no campaigns yet")?;
            json!({
                "id": (9000 + number).to_string(), "campaignId": campaign.text("id"),
                "itemID": chance.digits(8),
                "type": *chance.pick(&["EMAIL", "TRIGGERED_SEND", "LANDING_PAGE", "CMS_ASSET"]),
            })
        }
        "interactions" => {
            let id = guid(&mut chance);
            json!({
                "id": id, "definitionId": guid(&mut chance), "key": format!("journey-{number}"),
                "name": format!("{} journey", names::company(number)), "description": names::prose(&mut chance, 5),
                "version": 1, "workflowApiVersion": 1.0, "lastPublishedDate": Form::IsoMillis.text(at_ms),
                "status": *chance.pick(&["Published", "Published", "Draft", "Stopped"]), "executionMode": "Production",
                "entryMode": "SingleEntryAcrossAllVersions", "definitionType": "Multistep", "channel": "",
                "categoryId": 77, "metaData": {}, "scheduledStatus": "Draft",
                "defaults": {
                    "email": ["{{Contact.Default.Email}}"],
                    "properties": {"analyticsTracking": {
                        "enabled": chance.percent(50), "analyticsType": "google", "urlDomainsToTrack": [],
                    }},
                },
                "stats": {
                    "currentPopulation": chance.below(900), "cumulativePopulation": 900 + chance.below(9000),
                    "metGoal": chance.below(500), "metExitCriteria": 0,
                    "goalPerformance": (chance.below(1000) as f64) / 10.0,
                },
                "goals": [goal(&id, number)],
                "activities": [{"id": guid(&mut chance), "key": "WAIT-1", "name": "", "type": "WAIT"}],
                "triggers": [{"id": guid(&mut chance), "key": "TRIGGER", "name": "New entry", "type": "EmailAudience"}],
            })
        }
        _ => return Err(format!("{collection} cannot be created")),
    };
    let mut fields = fields.as_object().cloned().unwrap_or_default();
    merge(&mut fields, given);
    Ok(fields)
}

fn goal(id: &str, number: u64) -> Value {
    let schema = |access: &str, kind: &str, direction: &str| json!({"access": access, "dataType": kind, "direction": direction, "isNullable": true, "readOnly": false});
    json!({
        "id": format!("goal-of-{id}"), "key": format!("GOAL-{number}"), "name": "Bought something",
        "description": "Has an order", "type": "ContactDecision", "outcomes": [], "errors": [],
        "arguments": {"filterResult": "true", "dequeueReason": "", "lastExecutionActivityKey": "WAIT-1", "startActivityKey": "{{Context.StartActivityKey}}"},
        "configurationArguments": {
            "criteria": "<FilterDefinition />", "schemaVersionId": "137", "filterDefinitionId": "",
        },
        "metaData": {
            "isExitCriteria": false, "conversionUnit": "percentage", "conversionValue": "10",
            "eventDefinitionId": "e-1", "eventDefinitionKey": "ContactEvent", "configurationRequired": false,
            "configurationDescription": "", "chainType": "none", "iconUrl": "/icon.svg", "title": "",
        },
        "schema": {"arguments": {
            "conditionOutcome": schema("visible", "Boolean", "Out"), "dequeueReason": schema("visible", "Text", "In"),
            "filterResult": schema("hidden", "Text", "In"), "lastExecutionActivityKey": schema("visible", "Text", "In"),
            "startActivityKey": schema("visible", "Text", "In"),
        }},
    })
}
