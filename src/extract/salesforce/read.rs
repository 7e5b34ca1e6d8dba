//! Decides how one listing goes on when something breaks it: after an expired next link, and when its address is too long.
//!
//! A listing in a known order (by id, or by stamp and id) continues behind the last record that was given, with one more
//! query. A too long address is asked again in shorter parts. Everything else ends the listing.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::plan::{Plan, ID, LEAST_URL_BYTES};
use super::query::{self, Listing, PageFacts, Place};
use super::soql::{self, Tail};
use super::wide::Joined;
use crate::error::SyncError;
use crate::extract::batch::Batch;
use crate::extract::record::{About, RecordParser};
use crate::extract::sink::Sink;
use crate::extract::Page;
use crate::http::{ApiClient, Request};
use serde_json::Value;

/// The order of a listing, and with it how a broken one goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    ById,
    /// By the cursor field, then id.
    ByStamp,
    /// As asked for, or any: a broken listing cannot go on.
    Free,
}

/// How far a read has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// When the app began with the first reply, by its own clock, microseconds since 1970.
    pub begun_us: Option<i64>,
    /// The last record given.
    pub place: Option<Place>,
    /// The latest stamp among the last records of pages; the latest of all when read by stamp.
    pub latest_us: Option<i64>,
    /// Whether anything was given to the sink.
    pub has_given: bool,
}

impl Progress {
    fn advance(&mut self, facts: &PageFacts) {
        self.begun_us = self.begun_us.or(facts.begun_us);
        if let Some(place) = &facts.last {
            self.latest_us = self.latest_us.max(place.stamp);
            self.place = Some(place.clone());
        }
    }
}

/// What to save with a page, so that an interrupted read goes on behind it.
pub type Position<'p> = &'p (dyn Fn(&Progress) -> Option<Value> + Send + Sync);

/// How a listing ended that was not broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    Everything,
    /// Left behind its first page, because it is larger than [`Run::large_from`].
    Large,
}

/// One read of one table.
pub struct Run<'a> {
    pub api: &'a ApiClient,
    pub sink: &'a Sink,
    pub plan: Plan,
    pub parser: RecordParser,
    /// Only keys, stamps and deletion marks are read; other columns are unknown.
    pub key_only: bool,
    /// A listing of so many records is left to a Bulk job.
    pub large_from: Option<u64>,
    pub notes: Vec<String>,
}

impl<'a> Run<'a> {
    pub fn new(api: &'a ApiClient, sink: &'a Sink, mut plan: Plan, key_only: bool) -> Self {
        if key_only {
            plan.fields.clear();
        }
        plan.base_url_bytes = api.base_url().map_or(plan.base_url_bytes, |url| url.len());
        let parser = RecordParser::new(&plan.output);
        Run { api, sink, plan, parser, key_only, large_from: None, notes: Vec::new() }
    }

    pub fn width(&self) -> usize {
        self.plan.output.columns.len()
    }

    /// Reads a listing to its end; its rows go to the sink.
    pub async fn listing(
        &mut self,
        bounds: &Tail,
        mut sequence: Sequence,
        progress: &mut Progress,
        position: Position<'_>,
    ) -> Result<Listed, SyncError> {
        loop {
            // Parts are joined by id alone: while one is read a stamp can change, an id cannot.
            if sequence == Sequence::ByStamp && self.plan.parts(&longest(&self.plan, bounds, sequence)).len() > 1 {
                if progress.place.take().is_some() {
                    progress.latest_us = None;
                }
                sequence = Sequence::ById;
            }
            let begun_at = progress.place.clone();
            let tail = tail_after(&self.plan, bounds, sequence, begun_at.as_ref());
            let lists = self.plan.parts(&tail);
            let ended = if lists.len() > 1 {
                self.drain_parts(&lists, &tail, progress, position).await
            } else {
                let query = tail.query(&self.plan.all_fields(), &self.plan.object);
                self.drain(Listing::new(self.plan.query_request(query)), progress, position).await
            };
            match ended {
                Err(error) if query::is_too_long(&error) && self.shorten(&lists, &tail) => {}
                Err(error) if query::is_expired_locator(&error) => {
                    if sequence == Sequence::Free || progress.place == begun_at {
                        return Err(error);
                    }
                    self.notes.push("the listing expired at the app; it went on behind its last record".to_string());
                }
                ended => return ended,
            }
        }
    }

    /// Halves the longest address allowed. False when that cannot help any more.
    fn shorten(&mut self, lists: &[Vec<String>], tail: &Tail) -> bool {
        let sent = lists.iter().map(|list| self.plan.url_bytes(&tail.query(list, &self.plan.object))).max();
        let shorter = sent.unwrap_or_default().min(self.plan.max_url_bytes) / 2;
        if shorter < LEAST_URL_BYTES || self.plan.fields.len() < 2 {
            return false;
        }
        self.plan.max_url_bytes = shorter;
        self.notes
            .push(format!("the app refused an address as too long; fields are asked for in parts of {shorter} bytes"));
        true
    }

    async fn drain(
        &mut self,
        mut listing: Listing,
        progress: &mut Progress,
        position: Position<'_>,
    ) -> Result<Listed, SyncError> {
        let width = self.width();
        let about = About { key_only: self.key_only, ..About::default() };
        loop {
            let (parser, cursor) = (&self.parser, self.plan.cursor.as_deref());
            let take = |batch: &mut Batch, raw: &str| parser.push(batch, raw, &about);
            let Some((batch, facts)) = listing.next(self.api, cursor, || Batch::new(width), take).await? else {
                return Ok(Listed::Everything);
            };
            progress.advance(&facts);
            self.give(batch, progress, position).await?;
            if !listing.is_done() && self.is_large(&facts) {
                return Ok(Listed::Large);
            }
        }
    }

    async fn drain_parts(
        &mut self,
        lists: &[Vec<String>],
        tail: &Tail,
        progress: &mut Progress,
        position: Position<'_>,
    ) -> Result<Listed, SyncError> {
        let about = About { key_only: self.key_only, ..About::default() };
        let mut joined = Joined::new(&self.plan, lists, tail);
        while let Some((records, facts)) = joined.next(self.api, &self.plan).await? {
            let mut batch = Batch::new(self.width());
            for (place, raw) in &records {
                self.parser.push(&mut batch, raw, &about);
                progress.latest_us = progress.latest_us.max(place.as_ref().and_then(|place| place.stamp));
            }
            progress.advance(&facts);
            self.give(batch, progress, position).await?;
            if self.is_large(&facts) {
                return Ok(Listed::Large);
            }
        }
        if joined.missing > 0 {
            self.notes.push(format!(
                "{} records came or went while the object was read in parts; the next refresh reads them",
                joined.missing
            ));
        }
        Ok(Listed::Everything)
    }

    fn is_large(&self, facts: &PageFacts) -> bool {
        self.large_from.is_some_and(|records| facts.total >= records)
    }

    /// Gives a page to the sink, unless there is nothing in it.
    pub async fn give(
        &mut self,
        batch: Batch,
        progress: &mut Progress,
        position: Position<'_>,
    ) -> Result<(), SyncError> {
        if batch.rows.is_empty() && batch.rejected.is_empty() {
            return Ok(());
        }
        progress.has_given = true;
        self.sink.page(Page { batches: vec![(0, batch)], position: position(progress) }).await
    }
}

/// The first call of a listing, as EXPLAIN shows it.
pub fn first_request(plan: &Plan, bounds: &Tail, sequence: Sequence) -> Request {
    let is_wide = plan.parts(&longest(plan, bounds, sequence)).len() > 1;
    let sequence = if is_wide && sequence == Sequence::ByStamp { Sequence::ById } else { sequence };
    let tail = tail_after(plan, bounds, sequence, None);
    let first = plan.parts(&tail).into_iter().next().unwrap_or_default();
    plan.query_request(tail.query(&first, &plan.object))
}

/// A tail at least as long as any that this listing will send.
fn longest(plan: &Plan, bounds: &Tail, sequence: Sequence) -> Tail {
    let place = Place { id: "0".repeat(18), stamp: Some(0) };
    tail_after(plan, bounds, sequence, Some(&place))
}

/// The bounds of a listing, with its order, behind the last record given.
fn tail_after(plan: &Plan, bounds: &Tail, sequence: Sequence, place: Option<&Place>) -> Tail {
    let mut tail = bounds.clone();
    let after_id = place.and_then(|place| Some(format!("{ID} > {}", soql::string(&place.id)?)));
    match (sequence, plan.cursor.as_deref()) {
        (Sequence::Free, _) => {}
        (Sequence::ByStamp, Some(cursor)) => {
            let stamp = place.and_then(|place| soql::datetime(place.stamp?));
            if let (Some(stamp), Some(after_id)) = (stamp, after_id) {
                // Many records share one stamp (a bulk update): the id decides among them.
                tail.conditions.push(format!("(({cursor} = {stamp} AND {after_id}) OR {cursor} > {stamp})"));
            }
            tail.order = format!("{cursor},{ID}");
        }
        _ => {
            tail.conditions.extend(after_id);
            tail.order = ID.to_string();
        }
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::super::testing::{account, column, output};
    use super::*;
    use crate::extract::Target;

    #[test]
    fn a_broken_listing_goes_on_behind_its_last_record() {
        let plan = Plan::new(&output(&[column("name", "Name", Target::Text)]), &account(&[])).unwrap();
        let place = Place { id: "001000000000001AAA".into(), stamp: Some(1_000_000) };
        let bounds = Tail { conditions: vec!["X = 1".into()], ..Tail::default() };
        for (sequence, place, want) in [
            (Sequence::ById, None, "WHERE X = 1 ORDER BY Id"),
            (Sequence::ById, Some(&place), "WHERE X = 1 AND Id > '001000000000001AAA' ORDER BY Id"),
            (Sequence::ByStamp, None, "WHERE X = 1 ORDER BY SystemModstamp,Id"),
            (
                Sequence::ByStamp,
                Some(&place),
                "WHERE X = 1 AND ((SystemModstamp = 1970-01-01T00:00:01.000Z AND Id > '001000000000001AAA') \
                 OR SystemModstamp > 1970-01-01T00:00:01.000Z) ORDER BY SystemModstamp,Id",
            ),
            (Sequence::Free, Some(&place), "WHERE X = 1"),
        ] {
            let query = tail_after(&plan, &bounds, sequence, place).query(&plan.all_fields(), "Account");
            assert_eq!(query, format!("SELECT Id,SystemModstamp,IsDeleted,Name FROM Account {want}"), "{sequence:?}");
        }
    }

    #[test]
    fn a_wide_object_is_read_by_id() {
        let columns: Vec<_> =
            (0..900).map(|n| column(&format!("f{n}"), &format!("A_Long_Name_{n}__c"), Target::Text)).collect();
        let plan = Plan::new(&output(&columns), &account(&[])).unwrap();
        let request = first_request(&plan, &Tail::default(), Sequence::ByStamp);
        assert!(request.query[0].1.ends_with(" FROM Account ORDER BY Id"));
    }
}
