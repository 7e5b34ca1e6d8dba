//! Decides which properties a List and a Send have and what a filter on them means.

use serde_json::Value;

use super::central;
use super::xml::Element;
use crate::rest::Record;

/// A property: name, type, and whether Retrieve can give it.
pub type Property = (&'static str, &'static str, bool);

pub const LIST: [Property; 20] = [
    ("Client.ID", "Int32", true),
    ("Client.PartnerClientKey", "String", true),
    ("PartnerKey", "String", true),
    ("CreatedDate", "DateTime", true),
    ("ModifiedDate", "DateTime", true),
    ("ID", "Int32", true),
    ("ObjectID", "String", true),
    ("CustomerKey", "String", true),
    ("ListName", "String", true),
    ("Category", "Int32", true),
    ("Type", "ListTypeEnum", true),
    ("Description", "String", true),
    ("ListClassification", "ListClassificationEnum", true),
    ("Client.CreatedBy", "Int32", false),
    ("Client.ModifiedBy", "Int32", false),
    ("Client.UserID", "Int32", false),
    ("PartnerProperties", "APIProperty[]", false),
    ("SendClassification", "SendClassification", false),
    ("Subscribers", "Subscriber[]", false),
    ("ObjectState", "String", false),
];

pub const SEND: [Property; 22] = [
    ("Client.ID", "Int32", true),
    ("Client.PartnerClientKey", "String", true),
    ("PartnerKey", "String", true),
    ("CreatedDate", "DateTime", true),
    ("ModifiedDate", "DateTime", true),
    ("ID", "Int32", true),
    ("Email.ID", "Int32", true),
    ("FromAddress", "String", true),
    ("FromName", "String", true),
    ("Duplicates", "Int32", true),
    ("HardBounces", "Int32", true),
    ("NumberSent", "Int32", true),
    ("NumberDelivered", "Int32", true),
    ("UniqueOpens", "Int32", true),
    ("Unsubscribes", "Int32", true),
    ("Subject", "String", true),
    ("EmailName", "String", true),
    ("SendDate", "DateTime", true),
    ("SentDate", "DateTime", true),
    ("Status", "String", true),
    ("IsMultipart", "Boolean", true),
    ("List", "List[]", false),
];

/// The collection and the properties of an object type; `None` for types that are not played.
pub fn object(kind: &str) -> Option<(&'static str, &'static [Property])> {
    match kind.to_ascii_lowercase().as_str() {
        "list" => Some(("lists", &LIST)),
        "send" => Some(("sends", &SEND)),
        _ => None,
    }
}

/// A property of a record as text; `None` when it has no value.
pub fn value(list: &Record, property: &str) -> Option<String> {
    let mut at: &Value = &list.json();
    for step in property.split('.') {
        at = at.get(step)?;
    }
    match at {
        Value::Null => None,
        Value::String(text) if property.ends_with("Date") => central::of_stamp(text),
        Value::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    }
}

/// What a `Filter` of a retrieve leaves in.
pub enum Filter {
    Simple { property: String, operator: String, values: Vec<String> },
    Complex { is_and: bool, operands: Vec<Filter> },
}

impl Filter {
    /// Reads a filter part. What it is says `xsi:type`: a part without one means nothing to the service.
    pub fn read(part: &Element, object: &str, properties: &[Property]) -> Result<Filter, String> {
        let kind = part.attribute("type").map(|t| t.rsplit(':').next().unwrap_or("").to_string());
        match kind.as_deref() {
            Some("SimpleFilterPart") => {
                let property = part.text_of("Property").to_string();
                if !properties.iter().any(|(name, _, can)| *name == property && *can) {
                    return Err(format!(
                        "Error: The Filter Property(s) {property} do not match with the fields of {object} retrieve"
                    ));
                }
                let dates = part.all("DateValue");
                let values: Vec<String> =
                    part.all("Value").chain(dates).map(|value| value.text.trim().to_string()).collect();
                let operator = part.text_of("SimpleOperator").to_string();
                let needed = match operator.as_str() {
                    "isNull" | "isNotNull" => 0,
                    "between" => 2,
                    "equals" | "notEquals" | "greaterThan" | "lessThan" | "greaterThanOrEqual" | "lessThanOrEqual"
                    | "IN" | "like" => 1,
                    _ => return Err(format!("Error: The operator {operator} is not supported")),
                };
                let is_date = property.ends_with("Date");
                if values.len() < needed || (is_date && values.iter().any(|v| central::parse(v).is_none())) {
                    return Err(format!("Error: The value of filter property {property} is not valid"));
                }
                Ok(Filter::Simple { property, operator, values })
            }
            Some("ComplexFilterPart") => {
                let additional = part.child("AdditionalOperands").map(|more| more.children.clone()).unwrap_or_default();
                let ends = ["LeftOperand", "RightOperand"].into_iter().filter_map(|name| part.child(name));
                let operands: Result<Vec<Filter>, String> =
                    ends.chain(&additional).map(|part| Filter::read(part, object, properties)).collect();
                let is_and = match part.text_of("LogicalOperator") {
                    "AND" => true,
                    "OR" => false,
                    other => return Err(format!("Error: The logical operator {other} is not supported")),
                };
                Ok(Filter::Complex { is_and, operands: operands? })
            }
            _ => Err("Error: The filter type is not supported".into()),
        }
    }

    pub fn holds(&self, list: &Record) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let (property, operator, values) = match self {
            Filter::Complex { is_and: true, operands } => return operands.iter().all(|o| o.holds(list)),
            Filter::Complex { operands, .. } => return operands.iter().any(|o| o.holds(list)),
            Filter::Simple { property, operator, values } => (property, operator, values),
        };
        let own = value(list, property);
        let Some(own) = own.filter(|_| operator != "isNull") else {
            return operator == "isNull" && value(list, property).is_none();
        };
        let against = |other: &str| match (central::parse(&own), central::parse(other)) {
            (Some(a), Some(b)) if property.ends_with("Date") => a.cmp(&b),
            _ => match (own.parse::<i64>(), other.parse::<i64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                _ => own.to_lowercase().cmp(&other.to_lowercase()),
            },
        };
        let first = values.first().map_or("", String::as_str);
        match operator.as_str() {
            "isNotNull" => true,
            "equals" => against(first) == Equal,
            "notEquals" => against(first) != Equal,
            "greaterThan" => against(first) == Greater,
            "lessThan" => against(first) == Less,
            "greaterThanOrEqual" => against(first) != Less,
            "lessThanOrEqual" => against(first) != Greater,
            "between" => against(first) != Less && values.get(1).is_some_and(|last| against(last) != Greater),
            "IN" => values.iter().any(|v| against(v) == Equal),
            _ => own.to_lowercase().contains(&first.trim_matches('%').to_lowercase()),
        }
    }
}
