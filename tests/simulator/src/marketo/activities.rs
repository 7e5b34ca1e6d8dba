//! Decides what the activity log answers: by tokens made of a date, in the order things happened (docs: /activities).

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{json, Map, Value};

use super::answers::{error, instant, Asked, Error, Good};
use super::tokens::LogPlace;
use super::types::{CHANGE_DATA_VALUE, DELETE_LEAD, NEW_LEAD};
use super::{drafts, Marketo};
use crate::config::Config;
use crate::rest::time::{self, Form};
use crate::rest::{Record, When};

/// Deletions older than this are no longer told.
const DELETIONS_MS: i64 = 14 * 86_400_000;

impl Marketo {
    /// Writes an activity into the log and gives its number.
    pub(super) fn note(&mut self, lead: &Record, type_id: i64, details: Value, when: When) {
        let moment = self.book.made("lead_activities") + 1;
        let lead_id = lead.number_of("id") as u64;
        let mut activity = drafts::activity(moment, lead_id, type_id, when.at_ms);
        if let Value::Object(details) = details {
            activity.extend(details);
        }
        // The key counts up, so it cannot be there yet.
        let _ = self.book.add("lead_activities", activity, When { is_silent: false, ..when });
    }

    /// What of a changed lead the log tells: a Change Data Value for each field.
    pub(super) fn note_changes(&mut self, before: &Record, after: &Record, when: When) {
        let names: BTreeSet<&String> = before.fields.keys().chain(after.fields.keys()).collect();
        for name in names {
            let (old, new) = (before.get(name), after.get(name));
            let Some(field) = self.fields.get(name) else { continue };
            if old == new || matches!(name.as_str(), "updatedAt" | "createdAt" | "id") {
                continue;
            }
            let text = |value: &Value| match value {
                Value::Null => Value::Null,
                Value::String(text) => json!(text),
                other => json!(other.to_string()),
            };
            let details = json!({
                "primaryAttributeValueId": field.id,
                "primaryAttributeValue": field.label,
                "attributes": [
                    {"name": "New Value", "value": text(new)},
                    {"name": "Old Value", "value": text(old)},
                    {"name": "Reason", "value": "Web service API"},
                    {"name": "Source", "value": "Web service API"},
                ],
            });
            let change = json!({"id": field.id, "name": name, "newValue": text(new), "oldValue": text(old)});
            self.changes.insert(self.book.made("lead_activities") + 1, change);
            self.note(after, CHANGE_DATA_VALUE, details, when);
        }
    }

    pub(super) fn paging_token(&self, asked: &Asked<'_>) -> Good {
        let since = asked.needed("sinceDatetime")?;
        let Some(at_ms) = instant(since) else {
            return error("1001", format!("Invalid value '{since}'. Required of type 'datetime'"));
        };
        let mut body = Map::new();
        body.insert("nextPageToken".into(), json!(LogPlace { at_ms, last_id: 0 }.token()));
        Ok(body)
    }

    pub(super) fn activities(&self, asked: &Asked<'_>, config: &Config) -> Good {
        let place = place(asked)?;
        asked.needed("activityTypeIds")?;
        let mut types = Vec::new();
        for text in asked.list("activityTypeIds") {
            match text.parse::<i64>() {
                Ok(id) => types.push(id),
                Err(_) => return error("1001", format!("Invalid value '{text}'. Required of type 'integer'")),
            }
        }
        if types.len() > 10 {
            return error("1003", "activityTypeIds: at most 10 ids can be given");
        }
        if let Some(unknown) = types.iter().find(|id| self.book.find("lead_activity_types", &id.to_string()).is_none())
        {
            return error("1003", format!("Invalid activity type id {unknown}"));
        }
        let (leads, members) = self.narrowed(asked)?;
        let assets = asked.list("assetIds");
        let is_meant = |activity: &Record| {
            let lead = activity.number_of("leadId") as u64;
            types.contains(&activity.number_of("activityTypeId"))
                && (leads.is_empty() || leads.contains(&lead))
                && members.as_ref().is_none_or(|m| m.contains(&lead))
                && (assets.is_empty() || assets.contains(&activity.get("primaryAttributeValueId").to_string()))
        };
        self.log(place, asked, config, is_meant, Record::json)
    }

    pub(super) fn deleted_leads(&self, asked: &Asked<'_>, config: &Config, now_ms: i64) -> Good {
        let mut place = place(asked)?;
        if place.at_ms < now_ms - DELETIONS_MS {
            place = LogPlace { at_ms: now_ms - DELETIONS_MS, last_id: 0 };
        }
        let is_meant = |activity: &Record| activity.number_of("activityTypeId") == DELETE_LEAD;
        self.log(place, asked, config, is_meant, with_offset)
    }

    pub(super) fn lead_changes(&self, asked: &Asked<'_>, config: &Config) -> Good {
        let place = place(asked)?;
        asked.needed("fields")?;
        let names = asked.list("fields");
        if let Some(unknown) = names.iter().find(|name| self.fields.get(name).is_none()) {
            return error("1006", format!("Field '{unknown}' not found"));
        }
        let (leads, members) = self.narrowed(asked)?;
        let change = |activity: &Record| self.changes.get(&(activity.number_of("id") as u64));
        let is_meant = |activity: &Record| {
            let lead = activity.number_of("leadId") as u64;
            let told = match activity.number_of("activityTypeId") {
                NEW_LEAD => true,
                _ => change(activity).is_some_and(|c| names.iter().any(|name| c["name"] == name.as_str())),
            };
            told && (leads.is_empty() || leads.contains(&lead)) && members.as_ref().is_none_or(|m| m.contains(&lead))
        };
        self.log(place, asked, config, is_meant, |activity| {
            let mut shown = with_offset(activity);
            shown["fields"] = change(activity).into_iter().cloned().collect();
            shown
        })
    }

    /// The leads a call is narrowed to: by their ids, and by a static list.
    fn narrowed(&self, asked: &Asked<'_>) -> Result<(Vec<u64>, Option<BTreeSet<u64>>), Error> {
        let leads: Vec<u64> = asked.list("leadIds").iter().filter_map(|id| id.parse().ok()).collect();
        if leads.len() > 30 {
            return error("1003", "leadIds: at most 30 ids can be given");
        }
        let members = match asked.get("listId") {
            None => None,
            Some(id) if self.book.find("lists", id).is_none() => {
                return error("1013", format!("Static list with id {id} not found"))
            }
            Some(id) => Some(self.members.get(id).cloned().unwrap_or_default()),
        };
        Ok((leads, members))
    }

    /// At least `count` activities after a place, if there are so many, in the order they happened.
    fn entries_after(&self, place: LogPlace, count: usize) -> Vec<Arc<Record>> {
        let is_after = |r: &Record| r.updated_ms > place.at_ms || r.number_of("id") as u64 > place.last_id;
        // A short stretch of time is enough for most pages of a long log.
        let mut span_ms = 86_400_000_i64;
        loop {
            let to_ms = place.at_ms.saturating_add(span_ms);
            let mut entries = self.book.by_change("lead_activities", place.at_ms, to_ms);
            entries.retain(|entry| is_after(entry) && !entry.is_deleted());
            if entries.len() >= count || span_ms == i64::MAX {
                return entries;
            }
            span_ms = span_ms.saturating_mul(16);
        }
    }

    /// One page. A call looks through so much of the log and no more, so that a page may be short, even empty, and
    /// others follow. There always is a next token; `result` is left out when it would be empty.
    fn log(
        &self,
        place: LogPlace,
        asked: &Asked<'_>,
        config: &Config,
        is_meant: impl Fn(&Record) -> bool,
        render: impl Fn(&Record) -> Value,
    ) -> Good {
        let size = config.page_of(asked.batch()?, 300);
        let stretch = match config.number("activity_stretch") {
            0 => 3 * size,
            length => length.max(1) as usize,
        };
        let entries = self.entries_after(place, stretch + 1);
        let mut next = place;
        let (mut result, mut looked_at, mut has_more) = (Vec::new(), 0, false);
        for entry in &entries {
            if looked_at == stretch || result.len() == size {
                has_more = true;
                break;
            }
            looked_at += 1;
            next = LogPlace { at_ms: entry.updated_ms, last_id: entry.number_of("id") as u64 };
            if is_meant(entry) {
                result.push(render(entry));
            }
        }
        let mut body = Map::new();
        if !result.is_empty() {
            body.insert("result".into(), Value::Array(result));
        }
        body.insert("nextPageToken".into(), json!(next.token()));
        body.insert("moreResult".into(), json!(has_more));
        Ok(body)
    }
}

fn place(asked: &Asked<'_>) -> Result<LogPlace, Error> {
    let token = asked.needed("nextPageToken")?;
    match LogPlace::parse(token) {
        Some(place) => Ok(place),
        None => error("1003", format!("Invalid nextPageToken '{token}'")),
    }
}

/// An activity with its date as these two endpoints write it.
fn with_offset(activity: &Record) -> Value {
    let mut shown = activity.json();
    if let Some(at_ms) = time::parse(activity.text("activityDate")) {
        shown["activityDate"] = Form::IsoPlainOffset.write(at_ms);
    }
    shown
}
