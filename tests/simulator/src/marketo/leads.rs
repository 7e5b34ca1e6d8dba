//! Decides what the lead database answers: leads by filter or list, static lists, campaigns (docs: /leads, /static-lists).

use std::sync::Arc;

use serde_json::{json, Map, Value};

use super::answers::{error, one, page, Asked, Error, Good};
use super::fields::{Fields, DEFAULT};
use super::tokens;
use super::Marketo;
use crate::config::Config;
use crate::rest::Record;

/// A filter that more leads than this match is refused.
const MOST_MATCHES: usize = 1000;
const MOST_VALUES: usize = 300;

/// A lead with the fields asked for. `with_nulls`: those without a value too.
fn rendered(lead: &Record, fields: &[String], with_nulls: bool) -> Value {
    let mut shown = Map::new();
    shown.insert("id".into(), lead.get("id").clone());
    for name in fields {
        match lead.get(name) {
            Value::Null if !with_nulls => {}
            value => drop(shown.insert(name.clone(), value.clone())),
        }
    }
    Value::Object(shown)
}

/// The fields a call asks for, or those it gets anyway.
fn asked_fields(asked: &Asked<'_>, fields: &Fields) -> Result<Vec<String>, Error> {
    let names = asked.list("fields");
    if names.is_empty() {
        return Ok(DEFAULT.iter().map(|name| (*name).to_string()).collect());
    }
    match names.iter().find(|name| fields.get(name).is_none()) {
        Some(unknown) => error("1006", format!("Field '{unknown}' not found")),
        None => Ok(names),
    }
}

/// One page of records in the order of their ids, by position.
fn paged(
    list: &str,
    mut records: Vec<Arc<Record>>,
    asked: &Asked<'_>,
    config: &Config,
    render: impl Fn(&Record) -> Value,
) -> Good {
    let size = config.page_of(asked.batch()?, 300);
    let after = match asked.get("nextPageToken") {
        None => 0,
        Some(token) => match tokens::parse_list_token(list, token) {
            Some(id) => id,
            None => return error("1003", format!("Invalid nextPageToken '{token}'")),
        },
    };
    records.retain(|record| record.number_of("id") as u64 > after);
    records.sort_by_key(|record| record.number_of("id"));
    let next = (records.len() > size).then(|| tokens::list_token(list, records[size - 1].number_of("id") as u64));
    page(records.iter().take(size).map(|record| render(record)).collect(), next)
}

impl Marketo {
    pub(super) fn lead(&self, asked: &Asked<'_>, id: &str) -> Good {
        let fields = asked_fields(asked, &self.fields)?;
        match self.book.find("leads", id).filter(|lead| !lead.is_deleted()) {
            Some(lead) => one(rendered(&lead, &fields, false)),
            None => error("1004", format!("Lead '{id}' not found")),
        }
    }

    pub(super) fn leads(&self, asked: &Asked<'_>, config: &Config) -> Good {
        let filter = asked.needed("filterType")?;
        asked.needed("filterValues")?;
        let values = asked.list("filterValues");
        if !self.fields.is_searchable(filter) {
            return error("1011", format!("Lookup field '{filter}' not supported"));
        }
        if values.len() > MOST_VALUES {
            return error("1003", format!("filterValues has more than {MOST_VALUES} values"));
        }
        let fields = asked_fields(asked, &self.fields)?;
        let found: Vec<Arc<Record>> = if filter == "id" {
            if let Some(wrong) = values.iter().find(|v| v.parse::<u64>().is_err()) {
                return error("1001", format!("Invalid value '{wrong}'. Required of type 'integer'"));
            }
            values.iter().filter_map(|id| self.book.find("leads", id)).filter(|lead| !lead.is_deleted()).collect()
        } else {
            let is_meant = |lead: &Arc<Record>| match lead.get(filter) {
                Value::Null => false,
                Value::String(text) => values.iter().any(|v| v.eq_ignore_ascii_case(text)),
                other => values.contains(&other.to_string()),
            };
            self.book.listed("leads").into_iter().filter(is_meant).collect()
        };
        if found.len() > MOST_MATCHES {
            return error("1003", "Too many results match the filter");
        }
        paged("leads", found, asked, config, |lead| rendered(lead, &fields, true))
    }

    pub(super) fn list_leads(&self, asked: &Asked<'_>, config: &Config, list: &str) -> Good {
        if self.book.find("lists", list).is_none_or(|l| l.is_deleted()) {
            return error("1013", format!("Static list with id {list} not found"));
        }
        let fields = asked_fields(asked, &self.fields)?;
        let members = self.members.get(list);
        let is_member = |lead: &Arc<Record>| members.is_some_and(|m| m.contains(&(lead.number_of("id") as u64)));
        let leads = self.book.listed("leads").into_iter().filter(is_member).collect();
        paged(&format!("list {list}"), leads, asked, config, |lead| rendered(lead, &fields, true))
    }

    /// `/rest/v1/lists.json` and `/rest/v1/campaigns.json`, with their filters.
    pub(super) fn browse(&self, asked: &Asked<'_>, config: &Config, collection: &str) -> Good {
        let filters = ["id", "name", "programName", "workspaceName"].map(|name| (name, asked.list(name)));
        let is_triggerable = asked.get("isTriggerable") == Some("true");
        let is_meant = |record: &Arc<Record>| {
            let named = filters.iter().all(|(name, values)| {
                let has = record.get(name).as_str().map_or_else(|| record.get(name).to_string(), str::to_string);
                values.is_empty() || values.contains(&has)
            });
            named && (!is_triggerable || (record.text("type") == "trigger" && *record.get("active") == json!(true)))
        };
        let records = self.book.listed(collection).into_iter().filter(is_meant).collect();
        paged(collection, records, asked, config, Record::json)
    }

    pub(super) fn named(&self, collection: &str, id: &str) -> Good {
        match self.book.find(collection, id).filter(|record| !record.is_deleted()) {
            Some(record) => one(record.json()),
            None => error("1013", format!("{collection} {id} not found")),
        }
    }
}
