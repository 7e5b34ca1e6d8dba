//! Decides how a CRM object is kept and how it is shown.
//!
//! Values are kept as texts, times in milliseconds: the legacy API gives those, v3 writes them out. What is not set is not
//! kept; v3 shows it as null.

use std::collections::BTreeSet;

use serde_json::{json, Map, Value};

use super::properties::{Kind, Properties, Property, Type};
use super::wire::{iso, parse_time};
use crate::rest::time::Form;
use crate::rest::{self, Record, Stamp};

pub const PORTAL: i64 = 24_680_135;

/// How the book keeps objects of a kind.
pub fn shelf(kind: Kind) -> rest::Kind {
    let modified = match kind {
        Kind::Contact => "properties.lastmodifieddate",
        _ => "properties.hs_lastmodifieddate",
    };
    rest::Kind {
        name: kind.plural(),
        key: &["id"],
        created: Some(Stamp("properties.createdate", Form::UnixMillisText)),
        updated: Some(Stamp(modified, Form::UnixMillisText)),
        parent: None,
    }
}

pub fn properties(record: &Record) -> &Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    record.get("properties").as_object().unwrap_or(&NONE)
}

/// A property as it is kept.
pub fn value<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    properties(record).get(name)?.as_str()
}

/// A value as it is kept: `None` unsets it.
fn kept(kind: Type, given: &Value) -> Result<Option<String>, String> {
    let text = match given {
        Value::Null => return Ok(None),
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => given.to_string(),
        _ => return Err("a property is a text, a number or a flag".into()),
    };
    if text.is_empty() {
        return Ok(None);
    }
    let time = || parse_time(&text).ok_or(format!("{text} is no time"));
    Ok(Some(match kind {
        Type::DateTime => time()?.to_string(),
        Type::Date => Form::Date.text(time()?),
        _ => text,
    }))
}

/// Sets properties; those that follow from others are set with them.
pub fn set(
    kind: Kind,
    known: &Properties,
    fields: &mut Map<String, Value>,
    given: &Map<String, Value>,
) -> Result<(), String> {
    let Some(properties) = fields.entry("properties").or_insert_with(|| json!({})).as_object_mut() else {
        return Err("not an object".into());
    };
    for (name, value) in given {
        let property = known.get(name).ok_or(format!("Property \"{name}\" does not exist"))?;
        match kept(property.kind, value)? {
            Some(text) => properties.insert(name.clone(), json!(text)),
            None => properties.shift_remove(name),
        };
    }
    let text = |properties: &Map<String, Value>, name: &str| properties.get(name)?.as_str().map(str::to_string);
    if kind == Kind::Contact {
        match text(properties, "email").and_then(|e| e.split_once('@').map(|(_, domain)| domain.to_string())) {
            Some(domain) => properties.insert("hs_email_domain".into(), json!(domain)),
            None => properties.shift_remove("hs_email_domain"),
        };
    }
    if kind == Kind::Deal {
        let stage = text(properties, "dealstage").unwrap_or_default();
        properties.insert("hs_is_closed".into(), json!((stage.starts_with("closed")).to_string()));
        properties.insert("hs_is_closed_won".into(), json!((stage == "closedwon").to_string()));
        properties.insert("hs_deal_stage_probability".into(), json!(probability(&stage)));
    }
    Ok(())
}

/// The stages of the default pipeline with their probabilities.
pub const STAGES: [(&str, &str, &str); 7] = [
    ("appointmentscheduled", "Appointment Scheduled", "0.2"),
    ("qualifiedtobuy", "Qualified To Buy", "0.4"),
    ("presentationscheduled", "Presentation Scheduled", "0.6"),
    ("decisionmakerboughtin", "Decision Maker Bought-In", "0.8"),
    ("contractsent", "Contract Sent", "0.9"),
    ("closedwon", "Closed Won", "1.0"),
    ("closedlost", "Closed Lost", "0.0"),
];

fn probability(stage: &str) -> &'static str {
    STAGES.iter().find(|(id, ..)| *id == stage).map_or("0.0", |(.., probability)| probability)
}

/// Which properties a reply shows.
#[derive(Clone, Copy)]
pub enum Asked<'a> {
    /// Those named, with the ones that always come; without names the kind's defaults.
    Named(&'a [String]),
    /// All that are not archived: the ledger.
    All,
}

/// An object as v3 gives it. Names that are no property are left away without a word.
pub fn render(kind: Kind, known: &Properties, record: &Record, asked: Asked<'_>) -> Value {
    let shown = |property: &Property| {
        let text = value(record, &property.name).map(|text| match property.kind {
            Type::DateTime => parse_time(text).map_or_else(|| text.to_string(), iso),
            _ => text.to_string(),
        });
        (property.name.to_string(), json!(text))
    };
    let properties: Map<String, Value> = match asked {
        Asked::All => known.all().filter(|property| !property.is_archived).map(shown).collect(),
        Asked::Named(list) => {
            let names: BTreeSet<&str> = match list {
                [] => kind.defaults().iter().copied().collect(),
                list => {
                    list.iter().map(String::as_str).chain(["createdate", kind.modified(), "hs_object_id"]).collect()
                }
            };
            names.into_iter().filter_map(|name| known.get(name)).map(shown).collect()
        }
    };
    let mut object = json!({
        "id": record.id,
        "properties": properties,
        "createdAt": iso(record.created_ms),
        "updatedAt": iso(record.updated_ms),
        "archived": record.is_deleted(),
    });
    if let Some(at) = record.deleted_ms {
        object["archivedAt"] = json!(iso(at));
    }
    object["url"] = json!(format!("https://app.hubspot.com/contacts/{PORTAL}/record/{}/{}", kind.type_id(), record.id));
    object
}
