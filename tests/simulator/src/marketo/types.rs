//! Decides which activity types an instance has, and what attributes their activities carry.

use serde_json::{json, Value};

pub const NEW_LEAD: i64 = 12;
pub const CHANGE_DATA_VALUE: i64 = 13;
pub const MERGE_LEADS: i64 = 32;
pub const DELETE_LEAD: i64 = 37;

/// Id, name, description, primary attribute, attributes; an attribute is `Name:type`. Some types have no primary one.
type Standard = (i64, &'static str, &'static str, &'static str, &'static [&'static str]);

const STANDARD: [Standard; 16] = [
    (
        1,
        "Visit Webpage",
        "User visits a web page",
        "Webpage ID:integer",
        &[
            "Client IP Address:string",
            "Query Parameters:string",
            "Referrer URL:string",
            "User Agent:string",
            "Webpage URL:string",
        ],
    ),
    (
        2,
        "Fill Out Form",
        "User fills out and submits form on web page",
        "Webform ID:integer",
        &[
            "Client IP Address:string",
            "Form Fields:text",
            "Query Parameters:string",
            "Referrer URL:string",
            "User Agent:string",
            "Webpage ID:integer",
        ],
    ),
    (
        3,
        "Click Link",
        "User clicks link on web page",
        "Link ID:integer",
        &[
            "Client IP Address:string",
            "Query Parameters:string",
            "Referrer URL:string",
            "User Agent:string",
            "Webpage ID:integer",
        ],
    ),
    (
        6,
        "Send Email",
        "Send Marketo Email to a person",
        "Mailing ID:integer",
        &["Campaign Run ID:integer", "Choice Number:integer", "Step ID:integer"],
    ),
    (
        7,
        "Email Delivered",
        "Marketo Email is delivered to a lead/contact",
        "Mailing ID:integer",
        &["Campaign Run ID:integer", "Choice Number:integer", "Step ID:integer"],
    ),
    (
        8,
        "Email Bounced",
        "Campaign Email is bounced for a lead",
        "Mailing ID:integer",
        &["Category:string", "Details:string", "Email:string", "Subcategory:string"],
    ),
    (
        10,
        "Open Email",
        "User opens Marketo Email",
        "Mailing ID:integer",
        &["Device:string", "Is Mobile Device:boolean", "Platform:string", "User Agent:string"],
    ),
    (
        11,
        "Click Email",
        "User clicks on a link in a Marketo Email",
        "Mailing ID:integer",
        &["Link:string", "Link ID:string", "User Agent:string"],
    ),
    (
        NEW_LEAD,
        "New Lead",
        "New person/record is added to the lead database",
        "",
        &["Created Date:date", "Form Name:string", "Lead Source:string", "List Name:string", "Source Type:string"],
    ),
    (
        CHANGE_DATA_VALUE,
        "Change Data Value",
        "Changed attribute value for a person/record",
        "Attribute Name:string",
        &["New Value:string", "Old Value:string", "Reason:string", "Source:string"],
    ),
    (
        22,
        "Change Score",
        "Modify the value of a score field",
        "Score Name:string",
        &["Change Value:string", "New Value:integer", "Old Value:integer", "Reason:string"],
    ),
    (24, "Add to List", "Add a person/record to a list", "List ID:integer", &["Source:string"]),
    (25, "Remove from List", "Remove this lead from a list", "List ID:integer", &["Source:string"]),
    (
        MERGE_LEADS,
        "Merge Leads",
        "Leads are merged into a single record",
        "Lead ID:integer",
        &["Master Updated:boolean", "Merge IDs:string", "Merge Source:string"],
    ),
    (
        DELETE_LEAD,
        "Delete Lead",
        "Delete lead from Marketo database",
        "Lead ID:integer",
        &["Campaign:string", "Removed from CRM:boolean"],
    ),
    (
        104,
        "Change Status in Progression",
        "Change the status in progression of a program",
        "Program ID:integer",
        &[
            "Acquired By:boolean",
            "New Status:string",
            "Old Status:string",
            "Program Member ID:integer",
            "Reason:string",
            "Success:boolean",
        ],
    ),
];

/// Activities are seeded of these, most often the first; 12, 13, 32 and 37 come of what happens to leads.
pub const SEEDED: [i64; 12] = [1, 10, 6, 7, 11, 3, 2, 22, 8, 24, 25, 104];

fn attribute(text: &str) -> Value {
    let (name, data_type) = text.split_once(':').unwrap_or((text, "string"));
    json!({"name": name, "dataType": data_type})
}

/// The types every instance has, as `/rest/v1/activities/types.json` tells them.
pub fn standard() -> Vec<Value> {
    STANDARD
        .iter()
        .map(|(id, name, description, primary, attributes)| {
            let mut told = json!({"id": id, "name": name, "description": description});
            if !primary.is_empty() {
                told["primaryAttribute"] = attribute(primary);
            }
            told["attributes"] = attributes.iter().map(|a| attribute(a)).collect();
            told
        })
        .collect()
}

/// The values of an activity: id and value of its primary attribute, if its type has one, and the other attributes.
pub struct Filled {
    pub primary: Option<(i64, String)>,
    pub attributes: Vec<(&'static str, Value)>,
}

/// Made-up values of an activity: number `n` of all.
pub fn filled(type_id: i64, n: u64) -> Filled {
    let Some((_, name, _, primary, attributes)) = STANDARD.iter().find(|t| t.0 == type_id) else {
        return Filled { primary: Some((1, "Sample".into())), attributes: Vec::new() };
    };
    let primary = (!primary.is_empty()).then(|| match *primary {
        "Attribute Name:string" => (48, "First Name".to_string()),
        "Score Name:string" => (88, "Lead Score".to_string()),
        _ => (1000 + (n % 20) as i64, format!("{name} {}", n % 20 + 1)),
    });
    let attributes = attributes
        .iter()
        .filter_map(|attribute| {
            let (name, data_type) = attribute.split_once(':')?;
            let value = match (name, data_type) {
                // An attribute without a value is left out (docs: /activities, Describe).
                ("Query Parameters", _) if n.is_multiple_of(3) => return None,
                ("Webpage URL", _) => json!(format!("/pages/{}.html?a=1,2", n % 50)),
                ("Client IP Address", _) => json!(format!("10.0.{}.{}", n / 250 % 250, n % 250)),
                ("User Agent", _) => json!("Mozilla/5.0 (X11; Linux x86_64) \"sim\""),
                ("Form Fields", _) => json!("a:1:{s:5:\"Email\";s:1:\"x\";}\nsecond line"),
                (_, "integer") => json!(n % 1000),
                (_, "boolean") => json!(n.is_multiple_of(2)),
                (name, _) => json!(format!("{name} {}", n % 7)),
            };
            Some((name, value))
        })
        .collect();
    Filled { primary, attributes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seeded_type_is_told_and_new_leads_have_no_primary_attribute() {
        let told = standard();
        for id in SEEDED {
            assert!(told.iter().any(|t| t["id"] == id), "{id}");
        }
        let new_lead = told.iter().find(|t| t["id"] == NEW_LEAD).unwrap();
        assert!(new_lead.get("primaryAttribute").is_none());
        assert_eq!(told[0]["primaryAttribute"], json!({"name": "Webpage ID", "dataType": "integer"}));
        assert!(filled(1, 3).attributes.iter().all(|(name, _)| *name != "Query Parameters"));
        assert!(filled(1, 4).attributes.iter().any(|(name, _)| *name == "Query Parameters"));
    }
}
