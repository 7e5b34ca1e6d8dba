//! Decides the records a fresh org has: as many of each object as a test asks for, referring to each other.
//!
//! Everything follows from the seed and the record's number. Stamps spread over the years before a fixed day, and in blocks
//! many records share one stamp, as after a bulk load.

use serde_json::{json, Map, Value};

use super::record::{derive, java_double, Record};
use super::schema::{record_id, Field};
use super::Salesforce;
use crate::chance::Chance;
use crate::clock;
use crate::names;

const SPAN_DAYS: i64 = 5 * 365;
/// Records in a row that share a stamp.
const TIE: u64 = 25;

/// Referred objects come before those that refer to them.
const ORDER: [&str; 33] = [
    "Profile",
    "UserRole",
    "User",
    "Group",
    "UserLogin",
    "Period",
    "OpportunityStage",
    "Account",
    "Contact",
    "Lead",
    "Campaign",
    "Product2",
    "Pricebook2",
    "PricebookEntry",
    "Opportunity",
    "OpportunityLineItem",
    "OpportunityLineItemSchedule",
    "OpportunityCompetitor",
    "OpportunityContactRole",
    "OpportunityFieldHistory",
    "Case",
    "CaseComment",
    "CaseContactRole",
    "Solution",
    "CaseSolution",
    "Contract",
    "AccountContactRole",
    "CampaignMember",
    "CampaignShare",
    "Dashboard",
    "Document",
    "Event",
    "Note",
];

/// The values of a picklist.
pub fn choices(field: &str) -> &'static [&'static str] {
    match field {
        "Industry" => &[
            "Agriculture",
            "Banking",
            "Biotechnology",
            "Education",
            "Energy",
            "Healthcare",
            "Manufacturing",
            "Retail",
            "Technology",
            "Transportation",
        ],
        "Type" => &["Prospect", "Customer - Direct", "Customer - Channel", "Partner", "Other"],
        "StageName" => &[
            "Prospecting",
            "Qualification",
            "Needs Analysis",
            "Proposal/Price Quote",
            "Negotiation/Review",
            "Closed Won",
            "Closed Lost",
        ],
        "Status" => &["New", "Working", "Escalated", "Completed", "Closed"],
        "Rating" => &["Hot", "Warm", "Cold"],
        "LeadSource" | "AccountSource" => &["Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other"],
        "Priority" => &["High", "Normal", "Low"],
        "Origin" => &["Phone", "Email", "Web"],
        "Reason" => &["Installation", "Equipment Complexity", "Performance", "Breakdown", "Other"],
        "Role" => &["Business User", "Decision Maker", "Economic Buyer", "Evaluator", "Influencer"],
        "Salutation" => &["Mr.", "Ms.", "Dr.", "Prof."],
        "ForecastCategory" | "ForecastCategoryName" => &["Pipeline", "Best Case", "Commit", "Omitted", "Closed"],
        "StatusCode" => &["Draft", "InApproval", "Activated"],
        "CampaignAccessLevel" => &["Read", "Edit", "All"],
        "RowCause" => &["Owner", "Manual", "Rule"],
        "Subject" => &["Call", "Send Letter", "Send Quote", "Email", "Meeting"],
        "TaskSubtype" => &["Task", "Email", "Call"],
        "Field" => &["StageName", "Amount", "CloseDate", "created"],
        "Family" => &["Hardware", "Software", "Services"],
        name if name.ends_with("GeocodeAccuracy") => &["Address", "Street", "Zip", "City"],
        "TimeZoneSidKey" => &["America/Los_Angeles", "Europe/Berlin", "Asia/Tokyo"],
        "LocaleSidKey" | "LanguageLocaleKey" => &["en_US", "de_DE", "ja_JP"],
        "EmailEncodingKey" => &["UTF-8", "ISO-8859-1"],
        "UserType" => &["Standard"],
        "QuarterLabel" | "PeriodLabel" => &[],
        _ => &[],
    }
}

/// What a seeding request says besides the sizes.
pub struct Options {
    pub until_s: i64,
    /// This many records of each object share the newest stamp.
    pub ties: u64,
    pub deleted_percent: u64,
}

struct Row<'a> {
    object: &'a str,
    number: u64,
    index: u64,
    created: &'a str,
    stamp: &'a str,
    town: usize,
    company: u64,
}

impl Salesforce {
    /// Adds records; `sizes` names objects or collections.
    pub fn seed(&mut self, sizes: &Map<String, Value>, options: &Options) -> Result<Value, String> {
        let mut wanted: Vec<(usize, u64)> = Vec::new();
        for (name, size) in sizes {
            let at = self.place(name).ok_or_else(|| format!("there is no collection {name}"))?;
            wanted.push((at, size.as_u64().ok_or_else(|| format!("{name} must be a number of records"))?));
        }
        wanted.sort_by_key(|(at, _)| {
            ORDER.iter().position(|name| *name == self.objects[*at].name).unwrap_or(ORDER.len())
        });
        let mut made = Map::new();
        for (at, size) in wanted {
            self.seed_object(at, size, options);
            made.insert(self.objects[at].collection.clone(), json!(size));
        }
        Ok(Value::Object(made))
    }

    fn seed_object(&mut self, at: usize, size: u64, options: &Options) {
        let first = self.objects[at].made;
        let counts: Vec<(String, String, u64)> =
            self.objects.iter().map(|o| (o.name.clone(), o.key_prefix.clone(), o.made)).collect();
        let mut chance = Chance::new(self.seed.wrapping_add(first), &self.objects[at].name);
        let start = options.until_s - SPAN_DAYS * 86_400;
        let step = (SPAN_DAYS * 86_400) as f64 / (size + 1) as f64;
        for index in 0..size {
            let number = self.next_number(at);
            let created_s = start + (step * (index as f64 + 0.5)) as i64;
            // Two in three were changed after they were made, some of them all at one moment.
            let stamp_s = if index + options.ties >= size && options.ties > 0 {
                options.until_s - 3600
            } else {
                match index % 3 {
                    0 => created_s,
                    1 => start + (step * ((index / TIE + 1) * TIE) as f64) as i64,
                    _ => created_s + chance.between(0, 90 * 86_400),
                }
                .clamp(created_s, options.until_s - 1)
            };
            let (created, stamp) =
                (clock::salesforce_instant(created_s * 1000), clock::salesforce_instant(stamp_s * 1000));
            let town = chance.below(names::TOWNS.len() as u64) as usize;
            let accounts = counts.iter().find(|(name, ..)| name == "Account").map_or(0, |c| c.2);
            let company = if self.objects[at].name == "Account" { number - 1 } else { chance.below(accounts.max(1)) };
            let object = &self.objects[at];
            let row = Row { object: &object.name, number, index, created: &created, stamp: &stamp, town, company };
            let mut values: Vec<Value> =
                object.fields.iter().map(|f| value_of(&row, f, &object.key_prefix, &counts, &mut chance)).collect();
            if let (Some(place), true) = (object.place("IsDeleted"), chance.percent(options.deleted_percent)) {
                values[place] = json!(true);
            }
            derive(object, &mut values);
            let record = Record::pack(object, &values);
            let gone = record.is_deleted.then(|| (stamp_s * 1000, record_id(&object.key_prefix, number)));
            let object = &mut self.objects[at];
            object.deletions.extend(gone);
            object.table.put(record, None);
        }
    }
}

fn reference(row: &Row<'_>, field: &Field, counts: &[(String, String, u64)], chance: &mut Chance) -> Value {
    if matches!(field.name.as_str(), "MasterRecordId" | "RecurrenceActivityId") {
        return Value::Null;
    }
    let filled = |name: &str| counts.iter().find(|(n, _, made)| n == name && *made > 0);
    let targets: Vec<_> = field.reference_to.iter().filter_map(|to| filled(to)).collect();
    if field.name == "AccountId" {
        return filled("Account").map_or(Value::Null, |(_, prefix, _)| json!(record_id(prefix, row.company + 1)));
    }
    let Some((_, prefix, made)) = targets.get(chance.below(targets.len() as u64) as usize) else {
        return if field.reference_to.iter().any(|to| to == "User") && !field.nillable {
            json!(super::edit::FIRST_USER)
        } else {
            Value::Null
        };
    };
    if field.nillable
        && (field.name == "ParentId" || field.name == "ParentRoleId" || field.name.starts_with("Converted"))
        && chance.percent(70)
    {
        return Value::Null;
    }
    json!(record_id(prefix, 1 + chance.below(*made)))
}

fn value_of(
    row: &Row<'_>,
    field: &Field,
    prefix: &str,
    counts: &[(String, String, u64)],
    chance: &mut Chance,
) -> Value {
    let name = field.name.as_str();
    match name {
        "Id" => return json!(record_id(prefix, row.number)),
        "CreatedDate" => return json!(row.created),
        "SystemModstamp" | "LastModifiedDate" => return json!(row.stamp),
        "LastViewedDate" | "LastReferencedDate" | "LastActivityDate" if chance.percent(70) => return Value::Null,
        _ => {}
    }
    match field.kind.as_str() {
        "reference" => reference(row, field, counts, chance),
        "boolean" => json!(match name {
            "IsDeleted" | "IsArchived" | "IsConverted" => false,
            "IsActive" => true,
            _ => chance.percent(15),
        }),
        "datetime" => {
            if name == "ClosedDate" || chance.percent(40) {
                json!(row.stamp)
            } else {
                Value::Null
            }
        }
        "date" => {
            let from = clock::parse_instant(row.created).unwrap_or(0);
            json!(clock::date(from + chance.between(0, 120) * 86_400_000))
        }
        "int" | "long" => json!(chance.between(0, 5000)),
        "double" if name.ends_with("Latitude") => json!(names::TOWNS[row.town].4),
        "double" if name.ends_with("Longitude") => json!(names::TOWNS[row.town].5),
        "double" => json!(chance.between(1, 50)),
        "percent" => json!(chance.between(0, 10) * 10),
        "currency" => number(chance),
        "base64" => json!(base64_of(&names::prose(chance, 20))),
        "address" | "location" => Value::Null,
        "picklist" | "combobox" => match choices(name) {
            [] => Value::Null,
            all => json!(chance.pick(all)),
        },
        "phone" => json!(format!("+1 ({}) 555-{}", 200 + chance.below(700), chance.digits(4))),
        "email" => json!(names::mailbox(row.number, row.company)),
        "url" if name == "Website" => json!(format!("https://www.{}", names::domain(row.company))),
        "url" => json!(format!("/services/images/photo/{}", record_id(prefix, row.number))),
        "textarea" if name.ends_with("Street") => json!(names::street(chance)),
        "textarea" if chance.percent(40) => Value::Null,
        "textarea" => json!(names::prose(chance, 12)),
        "id" | "anyType" => Value::Null,
        _ => text_of(row, name, chance),
    }
}

fn number(chance: &mut Chance) -> Value {
    let cents = chance.between(10_000, 500_000_000);
    serde_json::from_str(&java_double(cents as f64 / 100.0)).unwrap_or(Value::Null)
}

fn base64_of(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn text_of(row: &Row<'_>, name: &str, chance: &mut Chance) -> Value {
    let (first, last) = names::person(row.number);
    let town = names::TOWNS[row.town];
    let text = match name {
        "FirstName" => first.to_string(),
        "LastName" => last.to_string(),
        "Name" => match row.object {
            "Account" => names::company(row.company),
            "Opportunity" => format!("{} - {} licences", names::company(row.company), 5 + row.number % 200),
            "User" => format!("{first} {last}"),
            "Product2" | "PricebookEntry" | "OpportunityLineItem" => {
                format!("{} plan {}", chance.pick(&["Basic", "Team", "Enterprise"]), row.number)
            }
            object => format!("{object} {}", row.number),
        },
        "Company" | "CompanyName" | "CompanyOrAccount" => names::company(row.company),
        "Username" => format!("user{}@{}", row.number, names::domain(row.company)),
        "Alias" => format!("u{:06}", row.number),
        "CommunityNickname" => format!("user{}", row.number),
        "Subject" | "Title" | "SolutionName" => names::prose(chance, 5),
        "CaseNumber" | "ContractNumber" | "SolutionNumber" => format!("{:08}", 1000 + row.number),
        "Department" | "Division" => chance.pick(&["Sales", "Finance", "Engineering", "Support"]).to_string(),
        "MasterLabel" | "ApiName" => {
            choices("StageName").get(row.index as usize % 7).copied().unwrap_or("Stage").to_string()
        }
        "ProductCode" => format!("P-{:05}", row.number),
        "CompetitorName" => names::company(chance.below(384)),
        "ContentType" => "text/plain".to_string(),
        "Fiscal" => format!("{} {}", &row.created[..4], 1 + chance.below(4)),
        name if name.ends_with("City") => town.0.to_string(),
        name if name.ends_with("State") => town.1.to_string(),
        name if name.ends_with("PostalCode") => town.2.to_string(),
        name if name.ends_with("Country") => town.3.to_string(),
        "DeveloperName" => format!("{}_{}", row.object, row.number),
        _ => return Value::Null,
    };
    json!(text)
}
