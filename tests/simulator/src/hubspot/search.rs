//! Decides what a CRM search means: which filters it may have, which records they match, and in which order they come.
//!
//! Documented limits (developers.hubspot.com, "CRM search"): 5 filter groups of 6 filters, 18 in all; one sort; 200 a page;
//! 10,000 results of one query, beyond which the answer is 400; 3,000 characters of query text.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::filter::{text_of, Filter, Key};
use super::properties::{Properties, Type};
use super::record::value;
use crate::rest::Record;

pub const CEILING: usize = 10_000;
const MOST_A_PAGE: usize = 200;
const GROUPS: usize = 5;
const FILTERS_OF_GROUP: usize = 6;
const FILTERS: usize = 18;
const QUERY_CHARACTERS: usize = 3000;

#[derive(Debug)]
pub struct Search {
    groups: Vec<Vec<Filter>>,
    /// Property, its type, and whether the largest comes first.
    sort: Option<(String, Type, bool)>,
    words: String,
    pub properties: Vec<String>,
    pub limit: usize,
    pub after: usize,
}

fn list_of<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], String> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(format!("Invalid input JSON: {name} must be an array")),
    }
}

impl Search {
    /// Reads a search's body, or says what is wrong with it.
    /// `ceiling` is 10,000 but for tests that want it lower.
    pub fn read(body: &Map<String, Value>, known: &Properties, ceiling: usize) -> Result<Search, String> {
        let mut groups = Vec::new();
        for group in list_of(body, "filterGroups")? {
            let group = group.as_object().ok_or("Invalid input JSON: filterGroups must hold objects")?;
            let filters: Vec<Filter> =
                list_of(group, "filters")?.iter().map(|f| Filter::read(f, known)).collect::<Result<_, _>>()?;
            if filters.len() > FILTERS_OF_GROUP {
                return Err(format!("The maximum number of filters in a filterGroup is {FILTERS_OF_GROUP}"));
            }
            groups.push(filters);
        }
        if groups.len() > GROUPS {
            return Err(format!("The maximum number of filterGroups is {GROUPS}"));
        }
        if groups.iter().map(Vec::len).sum::<usize>() > FILTERS {
            return Err(format!("The maximum number of filters is {FILTERS}"));
        }
        let sort = match list_of(body, "sorts")? {
            [] => None,
            [one] => Some(Search::read_sort(one, known)?),
            _ => return Err("Only one sort can be applied to a search".into()),
        };
        let words = text_of(body.get("query")).unwrap_or_default().to_lowercase();
        if words.chars().count() > QUERY_CHARACTERS {
            return Err(format!("The query can have at most {QUERY_CHARACTERS} characters"));
        }
        let whole = |name: &str, or: usize| match text_of(body.get(name)) {
            None => Ok(or),
            Some(text) if text.is_empty() => Ok(or),
            Some(text) => {
                text.parse::<usize>().map_err(|_| format!("Invalid input JSON: {name} must be a whole number"))
            }
        };
        let (limit, after) = (whole("limit", 10)?, whole("after", 0)?);
        if limit > MOST_A_PAGE {
            return Err(format!("The limit must be at most {MOST_A_PAGE}, it is {limit}"));
        }
        if after + limit > ceiling {
            return Err(format!("Paging through search results is limited to {ceiling} results"));
        }
        let properties = list_of(body, "properties")?.iter().filter_map(|p| text_of(Some(p))).collect();
        Ok(Search { groups, sort, words, properties, limit, after })
    }

    /// `{"propertyName", "direction"}`, or the name alone, with a minus for the largest first.
    fn read_sort(given: &Value, known: &Properties) -> Result<(String, Type, bool), String> {
        let (name, falls) = match given {
            Value::String(text) => (text.trim_start_matches('-').to_string(), text.starts_with('-')),
            _ => {
                let name = text_of(given.get("propertyName")).ok_or("Invalid input JSON: a sort needs propertyName")?;
                let direction = text_of(given.get("direction")).unwrap_or_else(|| "ASCENDING".into());
                if !["ASCENDING", "DESCENDING"].contains(&direction.as_str()) {
                    return Err(format!("Invalid input JSON: {direction} is not a sort direction"));
                }
                (name, direction == "DESCENDING")
            }
        };
        let kind = known.get(&name).ok_or("There was a problem with the request.")?.kind;
        Ok((name, kind, falls))
    }

    /// Whether a record with these properties is found: by any group, all of whose filters must match.
    pub fn matches(&self, properties: &Map<String, Value>) -> bool {
        let by_filters = self.groups.is_empty() || self.groups.iter().any(|g| g.iter().all(|f| f.matches(properties)));
        by_filters && (self.words.is_empty() || self.has_words(properties))
    }

    fn has_words(&self, properties: &Map<String, Value>) -> bool {
        const SEARCHED: [&str; 8] =
            ["email", "firstname", "lastname", "phone", "company", "name", "domain", "dealname"];
        let values: Vec<String> =
            SEARCHED.iter().filter_map(|n| properties.get(*n)?.as_str().map(str::to_lowercase)).collect();
        self.words.split_whitespace().all(|word| values.iter().any(|v| v.contains(word)))
    }

    /// Puts records in the order asked for. Without a sort the oldest comes first; a record without the value comes last; ties
    /// are in the order of ids.
    pub fn sort(&self, records: &mut Vec<Arc<Record>>) {
        let (name, kind, falls) = match &self.sort {
            Some((name, kind, falls)) => (name.as_str(), *kind, *falls),
            None => ("createdate", Type::DateTime, false),
        };
        let mut keyed: Vec<(Option<Key>, Arc<Record>)> =
            records.drain(..).map(|record| (value(&record, name).map(|text| Key::of(kind, text)), record)).collect();
        keyed.sort_by(|(left, l), (right, r)| {
            let by = match (left, right) {
                (Some(left), Some(right)) if falls => right.order(left),
                (Some(left), Some(right)) => left.order(right),
                (left, right) => right.is_some().cmp(&left.is_some()),
            };
            by.then(l.number.cmp(&r.number))
        });
        records.extend(keyed.into_iter().map(|(_, record)| record));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::properties::Kind;
    use super::super::record::shelf;
    use super::*;
    use crate::rest::{Book, When};

    fn known() -> Properties {
        Properties::new(Kind::Contact, 0)
    }

    fn read(body: Value) -> Result<Search, String> {
        Search::read(body.as_object().unwrap(), &known(), CEILING)
    }

    fn one(filter: Value) -> Search {
        read(json!({"filterGroups": [{"filters": [filter]}]})).unwrap()
    }

    #[test]
    fn filters_compare_by_the_type_of_the_property() {
        let record = json!({
            "email": "Ada@Lumen.example", "firstname": "Ada", "customer_score": "9.5", "lifecyclestage": "lead",
            "interests": "hiking;Travel", "lastmodifieddate": "2024-01-02T03:04:05.500Z", "hs_object_id": "1000",
        });
        for (name, filter, want) in [
            ("numbers are not texts", json!({"propertyName": "customer_score", "operator": "LT", "value": "10"}), true),
            ("ids are numbers", json!({"propertyName": "hs_object_id", "operator": "GT", "value": "999"}), true),
            (
                "milliseconds",
                json!({"propertyName": "lastmodifieddate", "operator": "GTE", "value": "1704164645500"}),
                true,
            ),
            (
                "GT leaves the same moment out",
                json!({"propertyName": "lastmodifieddate", "operator": "GT", "value": "1704164645500"}),
                false,
            ),
            (
                "ISO works too",
                json!({"propertyName": "lastmodifieddate", "operator": "LT", "value": "2024-01-02T03:04:06Z"}),
                true,
            ),
            ("EQ ignores case", json!({"propertyName": "email", "operator": "EQ", "value": "ADA@lumen.example"}), true),
            ("IN does not", json!({"propertyName": "email", "operator": "IN", "values": ["Ada@Lumen.example"]}), false),
            (
                "IN in lower case",
                json!({"propertyName": "email", "operator": "IN", "values": ["x", "ada@lumen.example"]}),
                true,
            ),
            ("a choice of several", json!({"propertyName": "interests", "operator": "IN", "values": ["Travel"]}), true),
            (
                "between, both ends",
                json!({"propertyName": "customer_score", "operator": "BETWEEN", "value": "9.5", "highValue": "9.5"}),
                true,
            ),
            ("unset", json!({"propertyName": "phone", "operator": "NOT_HAS_PROPERTY"}), true),
            ("unset is not unequal", json!({"propertyName": "phone", "operator": "NEQ", "value": "1"}), false),
            ("unset is in no list", json!({"propertyName": "phone", "operator": "NOT_IN", "values": ["1"]}), true),
            (
                "a token",
                json!({"propertyName": "email", "operator": "CONTAINS_TOKEN", "value": "*@lumen.example"}),
                true,
            ),
            ("another", json!({"propertyName": "email", "operator": "CONTAINS_TOKEN", "value": "lum"}), false),
        ] {
            assert_eq!(one(filter).matches(record.as_object().unwrap()), want, "{name}");
        }
    }

    #[test]
    fn groups_are_alternatives_and_the_query_searches_words() {
        let two = read(json!({"filterGroups": [
            {"filters": [{"propertyName": "firstname", "operator": "EQ", "value": "Bo"}]},
            {"filters": [{"propertyName": "lastname", "operator": "HAS_PROPERTY"}, {"propertyName": "city", "operator": "EQ", "value": "Rome"}]},
        ], "query": "ada lumen"}))
        .unwrap();
        let found = |record: Value| two.matches(record.as_object().unwrap());
        assert!(found(json!({"lastname": "Ada", "city": "Rome", "email": "x@lumen.example"})));
        assert!(!found(json!({"lastname": "Ada", "email": "x@lumen.example"})), "half a group");
        assert!(!found(json!({"lastname": "Ada", "city": "Rome", "email": "x@other.example"})), "not the words");
    }

    #[test]
    fn what_exceeds_the_limits_is_refused() {
        let filter = json!({"propertyName": "city", "operator": "HAS_PROPERTY"});
        let group = |n: usize| json!({"filters": vec![filter.clone(); n]});
        for (name, body) in [
            ("201 a page", json!({"limit": 201})),
            ("beyond the ceiling", json!({"limit": 200, "after": "9900"})),
            ("at the ceiling", json!({"limit": 1, "after": 10_000})),
            ("six groups", json!({"filterGroups": vec![group(1); 6]})),
            ("seven filters", json!({"filterGroups": [group(7)]})),
            ("twenty filters", json!({"filterGroups": vec![group(5); 4]})),
            ("two sorts", json!({"sorts": ["city", "zip"]})),
            (
                "an unknown property",
                json!({"filterGroups": [{"filters": [{"propertyName": "nope", "operator": "HAS_PROPERTY"}]}]}),
            ),
            (
                "an unknown operator",
                json!({"filterGroups": [{"filters": [{"propertyName": "city", "operator": ">"}]}]}),
            ),
            ("no operator", json!({"filterGroups": [{"filters": [{"propertyName": "city"}]}]})),
            (
                "IN without values",
                json!({"filterGroups": [{"filters": [{"propertyName": "city", "operator": "IN", "value": "x"}]}]}),
            ),
            (
                "a time that is none",
                json!({"filterGroups": [{"filters": [{"propertyName": "createdate", "operator": "GT", "value": "soon"}]}]}),
            ),
            ("a token that is none", json!({"after": "abc"})),
            ("long words", json!({"query": "x".repeat(3001)})),
        ] {
            assert!(read(body).is_err(), "{name}");
        }
        assert!(read(json!({"limit": 200, "after": "9800"})).is_ok());
        assert!(read(json!({"filterGroups": [group(6), group(6), group(6)]})).is_ok());
    }

    #[test]
    fn one_sort_orders_by_the_type_and_the_unset_come_last() {
        let mut book = Book::new(&[shelf(Kind::Contact)]);
        for (id, properties) in
            [json!({"customer_score": "9"}), json!({"customer_score": "10"}), json!({})].iter().enumerate()
        {
            let fields = json!({"id": id.to_string(), "properties": properties});
            book.add("contacts", fields.as_object().unwrap().clone(), When::now(1)).unwrap();
        }
        let order = |sort: Value| {
            let mut found = book.listed("contacts");
            read(json!({"sorts": [sort]})).unwrap().sort(&mut found);
            found.iter().map(|record| record.number).collect::<Vec<_>>()
        };
        assert_eq!(order(json!({"propertyName": "customer_score", "direction": "ASCENDING"})), [0, 1, 2]);
        assert_eq!(order(json!({"propertyName": "customer_score", "direction": "DESCENDING"})), [1, 0, 2]);
        assert_eq!(order(json!("-customer_score")), [1, 0, 2]);
    }
}
