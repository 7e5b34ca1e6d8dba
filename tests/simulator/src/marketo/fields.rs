//! Decides which fields a lead has: the standard ones, and those a test adds. What Describe Lead tells of them.

use serde_json::{json, Value};

/// A field of the lead record.
#[derive(Clone, Debug)]
pub struct Field {
    pub id: u64,
    /// The REST API name; empty for a field only the SOAP API knows.
    pub name: String,
    pub label: String,
    pub data_type: String,
    pub length: Option<u64>,
    pub is_read_only: bool,
    pub is_custom: bool,
    pub is_hidden: bool,
}

/// Name, label and data type. A `!` before the type: read only through the API.
const STANDARD: &[(&str, &str, &str)] = &[
    ("company", "Company Name", "string"),
    ("site", "Site", "string"),
    ("billingStreet", "Billing Address", "text"),
    ("billingCity", "Billing City", "string"),
    ("billingState", "Billing State", "string"),
    ("billingCountry", "Billing Country", "string"),
    ("billingPostalCode", "Billing Postal Code", "string"),
    ("website", "Website", "url"),
    ("mainPhone", "Main Phone", "phone"),
    ("annualRevenue", "Annual Revenue", "currency"),
    ("numberOfEmployees", "Num Employees", "integer"),
    ("industry", "Industry", "string"),
    ("sicCode", "SIC Code", "string"),
    ("mktoCompanyNotes", "Marketo Company Notes", "text"),
    ("externalCompanyId", "External Company Id", "string"),
    ("id", "Id", "!integer"),
    ("mktoName", "Full Name", "!string"),
    ("personType", "Person Type", "!string"),
    ("mktoIsPartner", "Is Partner", "boolean"),
    ("isLead", "Is Lead", "!boolean"),
    ("mktoIsCustomer", "Is Customer", "boolean"),
    ("isAnonymous", "Is Anonymous", "!boolean"),
    ("salutation", "Salutation", "string"),
    ("firstName", "First Name", "string"),
    ("middleName", "Middle Name", "string"),
    ("lastName", "Last Name", "string"),
    ("email", "Email Address", "email"),
    ("phone", "Phone Number", "phone"),
    ("mobilePhone", "Mobile Phone Number", "phone"),
    ("fax", "Fax Number", "phone"),
    ("title", "Job Title", "string"),
    ("contactCompany", "Contact Company", "!reference"),
    ("dateOfBirth", "Date of Birth", "date"),
    ("address", "Address", "text"),
    ("city", "City", "string"),
    ("state", "State", "string"),
    ("country", "Country", "string"),
    ("postalCode", "Postal Code", "string"),
    ("personTimeZone", "Person Time Zone", "string"),
    ("originalSourceType", "Original Source Type", "!string"),
    ("originalSourceInfo", "Original Source Info", "!string"),
    ("registrationSourceType", "Registration Source Type", "string"),
    ("registrationSourceInfo", "Registration Source Info", "string"),
    ("originalSearchEngine", "Original Search Engine", "!string"),
    ("originalSearchPhrase", "Original Search Phrase", "!string"),
    ("originalReferrer", "Original Referrer", "!string"),
    ("emailInvalid", "Email Invalid", "boolean"),
    ("emailInvalidCause", "Email Invalid Cause", "string"),
    ("unsubscribed", "Unsubscribed", "boolean"),
    ("unsubscribedReason", "Unsubscribed Reason", "text"),
    ("doNotCall", "Do Not Call", "boolean"),
    ("mktoDoNotCallCause", "Do Not Call Cause", "!string"),
    ("doNotCallReason", "Do Not Call Reason", "text"),
    ("marketingSuspended", "Marketing Suspended", "boolean"),
    ("marketingSuspendedCause", "Marketing Suspended Cause", "string"),
    ("blackListed", "Black Listed", "boolean"),
    ("blackListedCause", "Black Listed Cause", "string"),
    ("mktoPersonNotes", "Person Notes", "text"),
    ("anonymousIP", "Anonymous IP", "string"),
    ("inferredCompany", "Inferred Company", "!string"),
    ("inferredCountry", "Inferred Country", "!string"),
    ("inferredCity", "Inferred City", "!string"),
    ("inferredStateRegion", "Inferred State Region", "!string"),
    ("inferredPostalCode", "Inferred Postal Code", "!string"),
    ("inferredMetropolitanArea", "Inferred Metropolitan Area", "!string"),
    ("inferredPhoneAreaCode", "Inferred Phone Area Code", "!string"),
    ("emailSuspended", "Email Suspended", "boolean"),
    ("emailSuspendedCause", "Email Suspended Cause", "string"),
    ("emailSuspendedAt", "Email Suspended At", "datetime"),
    ("department", "Department", "string"),
    ("createdAt", "Created At", "!datetime"),
    ("updatedAt", "Updated At", "!datetime"),
    ("cookies", "Cookies", "!string"),
    ("externalSalesPersonId", "External Sales Person Id", "string"),
    ("leadPerson", "Person", "!reference"),
    ("leadRole", "Role", "string"),
    ("leadSource", "Lead Source", "string"),
    ("leadStatus", "Lead Status", "string"),
    ("leadScore", "Lead Score", "score"),
    ("urgency", "Urgency", "float"),
    ("priority", "Priority", "integer"),
    ("relativeScore", "Relative Score", "!integer"),
    ("relativeUrgency", "Relative Urgency", "!integer"),
    ("rating", "Lead Rating", "string"),
    ("personPrimaryLeadInterest", "Primary Lead Interest", "!reference"),
    ("leadPartitionId", "Lead Partition Id", "!reference"),
    ("leadRevenueCycleModelId", "Revenue Cycle Model Id", "!reference"),
    ("leadRevenueStageId", "Revenue Stage Id", "!reference"),
    ("acquisitionProgramId", "Acquisition Program Id", "reference"),
    ("mktoAcquisitionDate", "Acquisition Date", "datetime"),
];

/// What a lead is answered with when the call names no fields (docs: /leads, Query).
pub const DEFAULT: [&str; 6] = ["id", "email", "updatedAt", "createdAt", "lastName", "firstName"];

/// Standard fields leads can be looked up by. Custom ones can when they are strings, emails or integers.
const SEARCHABLE: [&str; 13] = [
    "id",
    "cookies",
    "email",
    "twitterId",
    "facebookId",
    "linkedInId",
    "sfdcAccountId",
    "sfdcContactId",
    "sfdcLeadId",
    "sfdcLeadOwnerId",
    "sfdcOpptyId",
    "externalCompanyId",
    "externalSalesPersonId",
];

pub struct Fields(Vec<Field>);

impl Default for Fields {
    fn default() -> Self {
        let mut all: Vec<Field> = STANDARD
            .iter()
            .enumerate()
            .map(|(at, (name, label, kind))| {
                let data_type = kind.trim_start_matches('!');
                Field {
                    id: at as u64 + 2,
                    name: (*name).into(),
                    label: (*label).into(),
                    data_type: data_type.into(),
                    length: length_of(data_type),
                    is_read_only: kind.starts_with('!'),
                    is_custom: false,
                    is_hidden: false,
                }
            })
            .collect();
        // Describe also lists what only the SOAP API can read: such an item has no `rest` member.
        all.push(Field {
            id: 126,
            name: String::new(),
            label: "SFDC Type".into(),
            data_type: "string".into(),
            length: Some(255),
            is_read_only: true,
            is_custom: false,
            is_hidden: false,
        });
        Fields(all)
    }
}

fn length_of(data_type: &str) -> Option<u64> {
    match data_type {
        "string" | "email" | "phone" | "url" | "reference" => Some(255),
        "text" => Some(30_000),
        _ => None,
    }
}

impl Fields {
    /// The field of this REST name, if it is there and not hidden.
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|f| !f.name.is_empty() && f.name == name && !f.is_hidden)
    }

    pub fn visible(&self) -> impl Iterator<Item = &Field> {
        self.0.iter().filter(|f| !f.is_hidden)
    }

    /// Adds a custom field, or shows it again under a new type.
    pub fn define(&mut self, name: &str, label: &str, data_type: &str) -> Result<Value, String> {
        const TYPES: [&str; 13] = [
            "string", "email", "phone", "url", "text", "integer", "score", "percent", "float", "currency", "boolean",
            "date", "datetime",
        ];
        if !TYPES.contains(&data_type) {
            return Err(format!("there is no field type {data_type}"));
        }
        if self.0.iter().any(|f| f.name == name && !f.is_custom) {
            return Err(format!("{name} is a standard field"));
        }
        self.0.retain(|f| f.name != name);
        let id = self.0.iter().map(|f| f.id).max().unwrap_or(1).max(999) + 1;
        let field = Field {
            id,
            name: name.into(),
            label: if label.is_empty() { name.into() } else { label.into() },
            data_type: data_type.into(),
            length: length_of(data_type),
            is_read_only: false,
            is_custom: true,
            is_hidden: false,
        };
        let told = field.describe();
        self.0.push(field);
        Ok(told)
    }

    pub fn hide(&mut self, name: &str) -> Result<(), String> {
        let field = self
            .0
            .iter_mut()
            .find(|f| !name.is_empty() && f.name == name)
            .ok_or(format!("there is no field {name}"))?;
        field.is_hidden = true;
        Ok(())
    }

    pub fn is_searchable(&self, name: &str) -> bool {
        SEARCHABLE.contains(&name)
            || self
                .get(name)
                .is_some_and(|f| f.is_custom && matches!(f.data_type.as_str(), "string" | "email" | "integer"))
    }

    /// `GET /rest/v1/leads/describe.json`.
    pub fn describe(&self) -> Vec<Value> {
        self.visible().map(Field::describe).collect()
    }

    /// `GET /rest/v1/leads/describe2.json`.
    pub fn describe2(&self) -> Value {
        let named = || self.visible().filter(|f| !f.name.is_empty());
        let searchable: Vec<Value> = named().filter(|f| self.is_searchable(&f.name)).map(|f| json!([f.name])).collect();
        let fields: Vec<Value> = named()
            .map(|f| {
                let mut field = json!({"name": f.name, "displayName": f.label, "dataType": f.data_type,
                    "updateable": !f.is_read_only, "crmManaged": false});
                if let Some(length) = f.length {
                    field["length"] = json!(length);
                }
                field
            })
            .collect();
        json!({"name": "API Lead", "searchableFields": searchable, "fields": fields})
    }
}

impl Field {
    fn describe(&self) -> Value {
        let mut told = json!({"id": self.id, "displayName": self.label, "dataType": self.data_type});
        if let Some(length) = self.length {
            told["length"] = json!(length);
        }
        if !self.name.is_empty() {
            told["rest"] = json!({"name": self.name, "readOnly": self.is_read_only});
        }
        let soap: String = self.label.split(' ').collect();
        told["soap"] = json!({"name": soap, "readOnly": self.is_read_only});
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describe_tells_custom_fields_and_one_without_a_rest_name() {
        let mut fields = Fields::default();
        fields.define("favouriteColour", "Favourite Colour", "string").unwrap();
        assert!(fields.define("email", "", "string").is_err());
        assert!(fields.define("x", "", "blob").is_err());
        let told = fields.describe();
        let named = |name: &str| told.iter().find(|f| f["rest"]["name"] == name).cloned().unwrap_or_default();
        assert_eq!(named("company")["id"], 2);
        assert_eq!(named("favouriteColour")["dataType"], "string");
        assert_eq!(named("annualRevenue")["dataType"], "currency");
        assert_eq!(told.iter().filter(|f| f.get("rest").is_none()).count(), 1);
        assert!(
            fields.is_searchable("favouriteColour") && fields.is_searchable("email") && !fields.is_searchable("city")
        );
        fields.hide("favouriteColour").unwrap();
        assert!(fields.get("favouriteColour").is_none());
    }
}
