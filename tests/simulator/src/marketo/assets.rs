//! Decides what the asset API answers: by offset, with the filters each list has (docs: /assets, /programs, /emails).
//!
//! A search without a hit is a success with a warning and no `result`.

use std::sync::Arc;

use serde_json::{json, Map, Value};

use super::answers::{error, instant, Asked, Error, Good};
use super::{drafts, Marketo};
use crate::rest::{page, Record};

const USUAL: u64 = 20;
const MOST: u64 = 200;

fn good(result: Vec<Value>) -> Good {
    let mut body = Map::new();
    body.insert("errors".into(), json!([]));
    if result.is_empty() {
        body.insert("warnings".into(), json!(["No assets found for the given search criteria."]));
    } else {
        body.insert("warnings".into(), json!([]));
        body.insert("result".into(), Value::Array(result));
    }
    Ok(body)
}

/// The part of the list a call asks for. The tests' cap does not count here: only the last page is ever short.
fn part(asked: &Asked<'_>) -> Result<(usize, usize), Error> {
    let size = asked.whole("maxReturn")?.unwrap_or(USUAL);
    if !(1..=MOST).contains(&size) {
        return error("701", format!("maxReturn must be between 1 and {MOST}"));
    }
    Ok((asked.whole("offset")?.unwrap_or(0) as usize, size as usize))
}

/// The bounds of `updatedAt`, both included.
fn bounds(asked: &Asked<'_>) -> Result<(i64, i64), Error> {
    let read = |name: &str, other: i64| match asked.get(name) {
        None => Ok(other),
        Some(text) => match instant(text) {
            Some(at) => Ok(at),
            None => error("704", format!("Invalid date format for {name}: {text}")),
        },
    };
    let (from, to) = (read("earliestUpdatedAt", i64::MIN)?, read("latestUpdatedAt", i64::MAX)?);
    if from > to {
        return error("709", "earliestUpdatedAt must precede latestUpdatedAt");
    }
    Ok((from, to))
}

impl Marketo {
    /// `GET /rest/asset/v1/{emails|landingPages|programs}.json`.
    pub(super) fn assets(&self, asked: &Asked<'_>, collection: &str) -> Good {
        let (offset, size) = part(asked)?;
        // Landing pages have no filter by date: it is ignored.
        let (from, to) = if collection == "landing_pages" { (i64::MIN, i64::MAX) } else { bounds(asked)? };
        let status = asked.get("status").filter(|_| collection != "programs" || asked.get("filterType").is_none());
        // The clients write the folder as JSON or nearly so; only its number counts here.
        let folder: Option<i64> = asked.get("folder").map(|text| {
            let digits = text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit);
            digits.collect::<String>().parse().unwrap_or(-1)
        });
        let wanted = asked.list("filterValues");
        let by = asked.get("filterType").filter(|_| collection == "programs");
        let is_meant = |record: &Arc<Record>| {
            let is_in_time = (from..=to).contains(&record.updated_ms);
            let has_status = status.is_none_or(|s| record.text("status").eq_ignore_ascii_case(s));
            let is_there = folder.is_none_or(|f| record.get("folder")["value"] == f);
            let is_named = by.is_none_or(|name| {
                let value = record.get(name);
                wanted.contains(&value.as_str().map_or_else(|| value.to_string(), str::to_string))
            });
            is_in_time && has_status && is_there && is_named
        };
        let mut records: Vec<Arc<Record>> = self.book.listed(collection).into_iter().filter(is_meant).collect();
        if collection == "programs" {
            // Newest first, so that a new program moves the others on by one while they are read.
            records.reverse();
        }
        good(page::slice(&records, offset, size).iter().map(|record| record.json()).collect())
    }

    pub(super) fn asset(&self, collection: &str, id: &str) -> Good {
        let found = self.book.find(collection, id).filter(|record| !record.is_deleted());
        good(
            found
                .into_iter()
                .map(|r| if collection == "programs" { drafts::program_details(&r.fields) } else { r.json() })
                .collect(),
        )
    }

    /// All segmentations at once: this list has no pages.
    pub(super) fn segmentations(&self, asked: &Asked<'_>) -> Good {
        let status = asked.get("status");
        let is_meant = |record: &Arc<Record>| status.is_none_or(|s| record.text("status").eq_ignore_ascii_case(s));
        good(self.book.listed("segmentation").into_iter().filter(is_meant).map(|record| record.json()).collect())
    }

    pub(super) fn segments(&self, asked: &Asked<'_>, segmentation: &str) -> Good {
        let (offset, size) = part(asked)?;
        if self.book.find("segmentation", segmentation).is_none_or(|record| record.is_deleted()) {
            return error("702", format!("Segmentation {segmentation} not found"));
        }
        let status = asked.get("status");
        let mut records = self.book.children("segments", segmentation);
        records.retain(|r| !r.is_deleted() && status.is_none_or(|s| r.text("status").eq_ignore_ascii_case(s)));
        good(page::slice(&records, offset, size).iter().map(|record| record.json()).collect())
    }
}
