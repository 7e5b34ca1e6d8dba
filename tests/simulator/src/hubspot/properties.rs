//! Decides which properties each kind of CRM object has, of which type, and how the properties endpoint describes them.
//!
//! HubSpot's own are a small part of the hundreds a real portal has; `define` adds as many as a test wants.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::{json, Map, Value};

use super::wire::iso;

/// The kinds of CRM objects played, in the order of `Kind::ALL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Contact,
    Company,
    Deal,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Contact, Kind::Company, Kind::Deal];

    /// A kind as paths name it: plural, singular, or by its type id, in any case.
    pub fn named(name: &str) -> Option<Kind> {
        match name.to_ascii_lowercase().as_str() {
            "contacts" | "contact" | "0-1" => Some(Kind::Contact),
            "companies" | "company" | "0-2" => Some(Kind::Company),
            "deals" | "deal" | "0-3" => Some(Kind::Deal),
            _ => None,
        }
    }

    pub fn at(self) -> usize {
        self as usize
    }

    pub fn plural(self) -> &'static str {
        ["contacts", "companies", "deals"][self.at()]
    }

    pub fn singular(self) -> &'static str {
        ["contact", "company", "deal"][self.at()]
    }

    pub fn type_id(self) -> &'static str {
        ["0-1", "0-2", "0-3"][self.at()]
    }

    pub fn scope(self) -> &'static str {
        ["crm.objects.contacts.read", "crm.objects.companies.read", "crm.objects.deals.read"][self.at()]
    }

    /// The property that holds the time of the last change: contacts have a name of their own for it.
    pub fn modified(self) -> &'static str {
        match self {
            Kind::Contact => "lastmodifieddate",
            _ => "hs_lastmodifieddate",
        }
    }

    /// What is answered when no property is asked for.
    pub fn defaults(self) -> &'static [&'static str] {
        match self {
            Kind::Contact => &["createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"],
            Kind::Company => &["createdate", "domain", "hs_lastmodifieddate", "hs_object_id", "name"],
            Kind::Deal => &[
                "amount",
                "closedate",
                "createdate",
                "dealname",
                "dealstage",
                "hs_lastmodifieddate",
                "hs_object_id",
                "pipeline",
            ],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Text,
    Number,
    Date,
    DateTime,
    Bool,
    Enumeration,
}

impl Type {
    pub fn named(name: &str) -> Option<Type> {
        Some(match name {
            "string" | "phone_number" | "json" | "object_coordinates" => Type::Text,
            "number" => Type::Number,
            "date" => Type::Date,
            "datetime" => Type::DateTime,
            "bool" => Type::Bool,
            "enumeration" => Type::Enumeration,
            _ => return None,
        })
    }
}

/// One property; `text` is its JSON as the properties endpoint gives it.
#[derive(Debug, Clone)]
pub struct Property {
    pub name: Box<str>,
    pub kind: Type,
    pub is_unique: bool,
    pub is_archived: bool,
    pub described: Value,
}

/// `name|label|type|fieldType|group`, with options after a further `|`. Read-only ones start with `*`.
const CONTACT: &str = "
*createdate|Create Date|datetime|date|contactinformation
*lastmodifieddate|Last Modified Date|datetime|date|contactinformation
*hs_object_id|Record ID|number|number|contactinformation
email|Email|string|text|contactinformation
firstname|First Name|string|text|contactinformation
lastname|Last Name|string|text|contactinformation
phone|Phone Number|string|phonenumber|contactinformation
mobilephone|Mobile Phone Number|string|phonenumber|contactinformation
company|Company Name|string|text|contactinformation
website|Website URL|string|text|contactinformation
jobtitle|Job Title|string|text|contactinformation
address|Street Address|string|text|contactinformation
city|City|string|text|contactinformation
state|State/Region|string|text|contactinformation
zip|Postal Code|string|text|contactinformation
country|Country/Region|string|text|contactinformation
lifecyclestage|Lifecycle Stage|enumeration|radio|contactinformation|subscriber,lead,marketingqualifiedlead,salesqualifiedlead,opportunity,customer,evangelist,other
hs_lead_status|Lead Status|enumeration|radio|sales_properties|NEW,OPEN,IN_PROGRESS,OPEN_DEAL,UNQUALIFIED,ATTEMPTED_TO_CONTACT,CONNECTED,BAD_TIMING
hubspot_owner_id|Contact owner|enumeration|select|sales_properties|@owners
*associatedcompanyid|Primary Associated Company ID|number|number|contactinformation
*hs_additional_emails|Additional email addresses|enumeration|checkbox|contactinformation|@emails
*hs_merged_object_ids|Merged record IDs|enumeration|checkbox|contactinformation|@ids
*hs_email_domain|Email Domain|string|text|contactinformation
*num_associated_deals|Number of Associated Deals|number|number|deal_information
closedate|Close Date|datetime|date|contactinformation
hs_email_optout|Unsubscribed from all email|bool|booleancheckbox|emailinformation
*notes_last_updated|Last Activity Date|datetime|date|sales_properties
annualrevenue|Annual Revenue|string|text|contactinformation
";

const COMPANY: &str = "
*createdate|Create Date|datetime|date|companyinformation
*hs_lastmodifieddate|Last Modified Date|datetime|date|companyinformation
*hs_object_id|Record ID|number|number|companyinformation
name|Company name|string|text|companyinformation
domain|Company Domain Name|string|text|companyinformation
phone|Phone Number|string|phonenumber|companyinformation
website|Website URL|string|text|companyinformation
address|Street Address|string|text|companyinformation
city|City|string|text|companyinformation
state|State/Region|string|text|companyinformation
zip|Postal Code|string|text|companyinformation
country|Country/Region|string|text|companyinformation
industry|Industry|enumeration|select|companyinformation|ACCOUNTING,BANKING,BIOTECHNOLOGY,COMPUTER_SOFTWARE,FOOD_PRODUCTION,HOSPITAL_HEALTH_CARE,LOGISTICS_AND_SUPPLY_CHAIN,MARITIME,RENEWABLES_ENVIRONMENT,TEXTILES
lifecyclestage|Lifecycle Stage|enumeration|radio|companyinformation|subscriber,lead,marketingqualifiedlead,salesqualifiedlead,opportunity,customer,evangelist,other
hubspot_owner_id|Company owner|enumeration|select|companyinformation|@owners
*first_contact_createdate|First Contact Create Date|datetime|date|companyinformation
*num_associated_contacts|Number of Associated Contacts|number|number|companyinformation
*num_associated_deals|Number of Associated Deals|number|number|companyinformation
numberofemployees|Number of Employees|number|number|companyinformation
annualrevenue|Annual Revenue|number|number|companyinformation
description|Description|string|textarea|companyinformation
type|Type|enumeration|radio|companyinformation|PROSPECT,PARTNER,RESELLER,VENDOR,OTHER
is_public|Is Public|bool|booleancheckbox|companyinformation
founded_year|Year Founded|string|text|companyinformation
*notes_last_updated|Last Activity Date|datetime|date|companyinformation
";

const DEAL: &str = "
*createdate|Create Date|datetime|date|dealinformation
*hs_lastmodifieddate|Last Modified Date|datetime|date|dealinformation
*hs_object_id|Record ID|number|number|dealinformation
dealname|Deal Name|string|text|dealinformation
amount|Amount|number|number|dealinformation
dealstage|Deal Stage|enumeration|radio|dealinformation|appointmentscheduled,qualifiedtobuy,presentationscheduled,decisionmakerboughtin,contractsent,closedwon,closedlost
pipeline|Pipeline|enumeration|select|dealinformation|default
closedate|Close Date|datetime|date|dealinformation
hubspot_owner_id|Deal owner|enumeration|select|dealinformation|@owners
dealtype|Deal Type|enumeration|radio|dealinformation|newbusiness,existingbusiness
deal_currency_code|Currency|enumeration|select|dealinformation|USD,EUR,GBP
description|Deal Description|string|textarea|dealinformation
*hs_is_closed|Is Deal Closed?|bool|booleancheckbox|dealinformation
*hs_is_closed_won|Is Closed Won|bool|booleancheckbox|dealinformation
*hs_deal_stage_probability|Deal probability|number|number|deal_revenue
*notes_last_updated|Last Activity Date|datetime|date|dealinformation
*num_associated_contacts|Number of Associated Contacts|number|number|dealinformation
*num_notes|Number of Sales Activities|number|number|dealinformation
";

/// Made by the portal's users, one of each type.
const CUSTOM: &str = "
renewal_date|Renewal date|date|date|custom
customer_score|Customer score|number|number|custom
is_beta_tester|Beta tester|bool|booleancheckbox|custom
interests|Interests|enumeration|checkbox|custom|hiking,reading,Travel
portal_note|Note|string|textarea|custom
last_seen_in_store|Last seen in store|datetime|date|custom
";

fn options(text: &str) -> Vec<Value> {
    let named =
        |(at, value): (usize, &str)| json!({"label": value, "value": value, "displayOrder": at, "hidden": false});
    text.split(',').filter(|o| !o.is_empty() && !o.starts_with('@')).enumerate().map(named).collect()
}

fn described(line: &str, made_ms: i64, is_custom: bool) -> Option<Property> {
    let is_read_only = line.starts_with('*');
    let mut parts = line.trim_start_matches('*').split('|');
    let (name, label, kind, field, group) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let choices = parts.next().unwrap_or("");
    let described = json!({
        "updatedAt": iso(made_ms), "createdAt": iso(made_ms), "name": name, "label": label, "type": kind, "fieldType": field,
        "description": "", "groupName": group, "options": options(choices), "displayOrder": -1, "calculated": false,
        "externalOptions": choices.starts_with('@'), "archived": false, "hasUniqueValue": false, "hidden": false,
        "hubspotDefined": !is_custom,
        "modificationMetadata": {"archivable": is_custom, "readOnlyDefinition": !is_custom, "readOnlyValue": is_read_only},
        "formField": !is_read_only, "dataSensitivity": "non_sensitive",
    });
    Some(Property { name: name.into(), kind: Type::named(kind)?, is_unique: false, is_archived: false, described })
}

/// The properties of one kind of object, found by their names.
#[derive(Debug, Clone)]
pub struct Properties {
    all: Vec<Property>,
    places: HashMap<Box<str>, usize>,
}

impl Properties {
    pub fn new(kind: Kind, made_ms: i64) -> Properties {
        let own = match kind {
            Kind::Contact => CONTACT,
            Kind::Company => COMPANY,
            Kind::Deal => DEAL,
        };
        let lines = |text: &'static str| text.lines().filter(|line| !line.is_empty());
        let own = lines(own).filter_map(|line| described(line, made_ms, false));
        let custom = lines(CUSTOM).filter_map(|line| described(line, made_ms, true));
        let mut properties = Properties { all: Vec::new(), places: HashMap::new() };
        own.chain(custom).for_each(|property| properties.put(property));
        properties
    }

    /// Adds a property; an archived one of that name gives its place.
    fn put(&mut self, property: Property) {
        match self.places.get(&property.name) {
            Some(at) => self.all[*at] = property,
            None => {
                self.places.insert(property.name.clone(), self.all.len());
                self.all.push(property);
            }
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Property> {
        self.all.iter()
    }

    /// A property that is not archived.
    pub fn get(&self, name: &str) -> Option<&Property> {
        self.all.get(*self.places.get(name)?).filter(|property| !property.is_archived)
    }

    /// Adds properties as a user would: `name`, `type` (string), `fieldType`, `label`, `options`, `hasUniqueValue`. With `count`
    /// so many are made, named `name_1` on. Gives their names.
    pub fn define(&mut self, given: &Map<String, Value>, now_ms: i64) -> Result<Vec<String>, String> {
        let text = |name: &str| given.get(name).and_then(Value::as_str).unwrap_or("");
        let name = text("name");
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err("name must be of lower case letters, digits and underscores".into());
        }
        let kind = if text("type").is_empty() { "string" } else { text("type") };
        Type::named(kind).ok_or(format!("there is no property type {kind}"))?;
        let field = match (text("fieldType"), kind) {
            ("", "enumeration") => "select",
            ("", "bool") => "booleancheckbox",
            ("", "date" | "datetime") => "date",
            ("", "number") => "number",
            ("", _) => "text",
            (field, _) => field,
        };
        let names: Vec<String> = match given.get("count").and_then(Value::as_u64) {
            None => vec![name.to_string()],
            Some(count) => (1..=count).map(|n| format!("{name}_{n}")).collect(),
        };
        for name in &names {
            if self.get(name).is_some() {
                return Err(format!("there is a property {name} already"));
            }
            let mut line = String::new();
            let label = if text("label").is_empty() { name } else { text("label") };
            let _ = write!(line, "{name}|{label}|{kind}|{field}|custom");
            let mut property = described(&line, now_ms, true).ok_or("not a property")?;
            if let Some(options) = given.get("options") {
                property.described["options"] = options.clone();
            }
            property.is_unique = given.get("hasUniqueValue").is_some_and(|v| v == true);
            property.described["hasUniqueValue"] = json!(property.is_unique);
            self.put(property);
        }
        Ok(names)
    }

    /// Archives a property: it leaves the list and the records no longer show it.
    pub fn archive(&mut self, name: &str, now_ms: i64) -> Result<(), String> {
        let place = self.places.get(name).copied();
        let property = place.and_then(|at| self.all.get_mut(at)).filter(|property| !property.is_archived);
        let property = property.ok_or(format!("there is no property {name}"))?;
        property.is_archived = true;
        property.described["archived"] = json!(true);
        property.described["archivedAt"] = json!(iso(now_ms));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_property_of_a_known_type() {
        for kind in Kind::ALL {
            let properties = Properties::new(kind, 0);
            let lines =
                [CONTACT, COMPANY, DEAL][kind.at()].lines().chain(CUSTOM.lines()).filter(|l| !l.is_empty()).count();
            assert_eq!(properties.all().count(), lines);
            for name in kind.defaults().iter().chain([&kind.modified()]) {
                assert!(properties.get(name).is_some(), "{name}");
            }
            assert_eq!(Kind::named(&kind.plural().to_uppercase()), Some(kind));
            assert_eq!(Kind::named(kind.type_id()), Some(kind));
        }
    }

    #[test]
    fn users_add_and_archive_properties() {
        let mut properties = Properties::new(Kind::Contact, 0);
        let before = properties.all().count();
        let given = json!({"name": "wide", "count": 300});
        assert_eq!(properties.define(given.as_object().unwrap(), 0).unwrap().len(), 300);
        assert_eq!(properties.all().count(), before + 300);
        assert_eq!(properties.get("wide_300").unwrap().described["hubspotDefined"], false);
        assert!(properties.define(given.as_object().unwrap(), 0).is_err(), "names are unique");
        properties.archive("wide_1", 5).unwrap();
        assert!(properties.get("wide_1").is_none() && properties.archive("wide_1", 6).is_err());
    }
}
