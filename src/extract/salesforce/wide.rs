//! Reads an object with more fields than fit one address: several queries over the same records, joined by id.
//!
//! All parts have the same bounds and order. The part that is behind is read next, so what waits for its other parts
//! stays within a few pages, whatever sizes the app gives them. Rows come out in the order of the first part. A record
//! that another part does not have was added or removed while we read: it is left out, counted, and read again next
//! time, since its stamp is not older than the start of this read. The first part's stamp is the row's version:
//! it was read first, so a record that changed in between looks older than it is and is replaced later.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::plan::{Plan, PAGE_ROWS};
use super::query::{members, place_of, Listing, PageFacts, Place};
use super::soql::Tail;
use crate::error::SyncError;
use crate::extract::text;
use crate::http::ApiClient;
use std::collections::{HashMap, VecDeque};

/// How far a part may have read past a record without meeting it, until it counts as missing.
const SLACK: u64 = 2 * PAGE_ROWS as u64;

/// A whole record, with its place when it has one.
pub type Record = (Option<Place>, String);

/// A record of the first part that waits for its other parts.
struct Waiting {
    place: Place,
    raw: String,
    number: u64,
}

/// One of the queries, with what it gave and nobody took yet.
struct Part {
    listing: Listing,
    /// Records given so far.
    given: u64,
    /// By id; unused in the first part.
    records: HashMap<String, (u64, String)>,
}

/// Several queries read as one.
pub struct Joined {
    parts: Vec<Part>,
    waiting: VecDeque<Waiting>,
    /// Records that not every part had.
    pub missing: u64,
}

impl Joined {
    pub fn new(plan: &Plan, lists: &[Vec<String>], tail: &Tail) -> Self {
        let part = |fields: &Vec<String>| Part {
            listing: Listing::new(plan.query_request(tail.query(fields, &plan.object))),
            given: 0,
            records: HashMap::new(),
        };
        Joined { parts: lists.iter().map(part).collect(), waiting: VecDeque::new(), missing: 0 }
    }

    /// The next records that are complete; an empty list at times, `None` at the end.
    pub async fn next(&mut self, api: &ApiClient, plan: &Plan) -> Result<Option<(Vec<Record>, PageFacts)>, SyncError> {
        let behind = self.parts.iter().enumerate().filter(|(_, part)| !part.listing.is_done());
        let Some(index) = behind.min_by_key(|(_, part)| part.given).map(|(index, _)| index) else { return Ok(None) };
        let Some(part) = self.parts.get_mut(index) else { return Ok(None) };
        let cursor = plan.cursor.as_deref();
        let take = |all: &mut Vec<Record>, raw: &str| all.push((place_of(raw, cursor), raw.to_string()));
        let Some((page, mut facts)) = part.listing.next(api, cursor, Vec::new, take).await? else {
            return Ok(Some((Vec::new(), PageFacts::default())));
        };
        let mut complete = Vec::new();
        for (place, raw) in page {
            part.given += 1;
            match place {
                Some(place) if index == 0 => self.waiting.push_back(Waiting { place, raw, number: part.given }),
                Some(place) => drop(part.records.insert(place.id, (part.given, raw))),
                // Without an id it cannot be a row; the parser parks it.
                None if index == 0 => complete.push((None, raw)),
                None => {}
            }
        }
        self.complete(plan, &mut complete);
        facts.records = complete.len();
        facts.last = complete.iter().rev().find_map(|(place, _)| place.clone());
        Ok(Some((complete, facts)))
    }

    /// Takes from the front what is whole or given up, and stops at the first record that may still become whole.
    fn complete(&mut self, plan: &Plan, complete: &mut Vec<Record>) {
        while let Some(first) = self.waiting.front() {
            let others = self.parts.get(1..).unwrap_or_default();
            let lacking = || others.iter().filter(|part| !part.records.contains_key(&first.place.id));
            if lacking().any(|part| !part.listing.is_done() && part.given <= first.number + SLACK) {
                break;
            }
            let is_whole = lacking().next().is_none();
            let Some(first) = self.waiting.pop_front() else { break };
            let others = self.parts.iter_mut().skip(1);
            let rest: Vec<String> =
                others.filter_map(|part| part.records.remove(&first.place.id).map(|(_, raw)| raw)).collect();
            if is_whole {
                complete.push((Some(first.place), join(&first.raw, &rest, &plan.base)));
            } else {
                self.missing += 1;
            }
        }
        self.forget_strangers();
    }

    /// Drops records that the first part passed without having them.
    fn forget_strangers(&mut self) {
        let Some((first, others)) = self.parts.split_first_mut() else { return };
        let all_taken = first.listing.is_done() && self.waiting.is_empty();
        let passed = self.waiting.front().map_or(first.given, |waiting| waiting.number);
        for part in others {
            let before = part.records.len();
            if all_taken {
                part.records.clear();
            } else if before as u64 > 2 * SLACK {
                part.records.retain(|_, (number, _)| *number + SLACK > passed);
            }
            self.missing += (before - part.records.len()) as u64;
        }
    }
}

/// One record out of its parts; what every part has is taken from the first.
fn join(first: &str, rest: &[String], base: &[String]) -> String {
    let mut whole = first.trim_end().strip_suffix('}').unwrap_or(first).as_bytes().to_vec();
    for part in rest {
        for (key, raw) in members(part).unwrap_or_default() {
            if key != "attributes" && !base.iter().any(|field| *field == key) {
                whole.push(b',');
                text::quote(&key, &mut whole);
                whole.push(b':');
                whole.extend_from_slice(raw.get().as_bytes());
            }
        }
    }
    whole.push(b'}');
    String::from_utf8_lossy(&whole).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_joined_from_its_parts() {
        let base = ["Id".to_string(), "SystemModstamp".to_string()];
        let whole = join(
            r#"{"attributes":{"type":"A"},"Id":"1","SystemModstamp":"x","A":1.10}"#,
            &[r#"{"attributes":{},"Id":"1","SystemModstamp":"y","B":"q\"\u00e9","Owner":{"Name":"n"}}"#.to_string()],
            &base,
        );
        assert_eq!(
            whole,
            r#"{"attributes":{"type":"A"},"Id":"1","SystemModstamp":"x","A":1.10,"B":"q\"\u00e9","Owner":{"Name":"n"}}"#
        );
    }
}
