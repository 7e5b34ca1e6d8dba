//! Decides where the rendered records lie and which bytes make a page.
//!
//! All records of a collection are rendered once, newest first and with their commas, into one arena: a page is one
//! slice of it. A changed record lies beside the arena until the sizes are set again.

use crate::chance::Chance;
use crate::ids::{self, IdStyle};
use crate::{charge, customer};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Customer,
    Charge,
}

impl Kind {
    pub fn named(collection: &str) -> Result<Kind, String> {
        match collection {
            "customers" => Ok(Kind::Customer),
            "charges" => Ok(Kind::Charge),
            _ => Err(format!("no such collection: {collection}; there are customers and charges")),
        }
    }

    /// The name of one object, as Stripe's events and errors use it.
    pub fn object(self) -> &'static str {
        match self {
            Kind::Customer => "customer",
            Kind::Charge => "charge",
        }
    }

    pub fn id_style(self) -> IdStyle {
        match self {
            Kind::Customer => ids::CUSTOMER,
            Kind::Charge => ids::CHARGE,
        }
    }

    /// More than a record takes, so that the arena is allocated once.
    fn most_bytes(self) -> usize {
        match self {
            Kind::Customer => 1_200,
            Kind::Charge => 3_000,
        }
    }

    fn render(self, to: &mut String, seed: u64, place: usize, version: u64) {
        let created = ids::created(place);
        let id = self.id_style().id(place, created);
        match self {
            Kind::Customer => customer::render(to, seed, place, &id, created, version),
            Kind::Charge => charge::render(to, seed, place, &id, created, version),
        }
    }

    /// What a change of a record altered, as it was before: an event's `previous_attributes`.
    fn previous(self, seed: u64, place: usize, version: u64) -> String {
        match self {
            Kind::Customer => {
                let was = customer::changing(seed, place, version);
                format!(
                    r#"{{"balance":{},"metadata":{{"revision":"{version}"}},"next_invoice_sequence":{}}}"#,
                    was.balance, was.next_invoice_sequence
                )
            }
            Kind::Charge => {
                let was = charge::changing(seed, place, version);
                format!(
                    r#"{{"metadata":{{"revision":"{version}"}},"shipping":{{"tracking_number":"{}"}}}}"#,
                    was.tracking_number
                )
            }
        }
    }
}

/// A changed record: what an event tells of it.
pub struct Change {
    pub id: String,
    /// The record with its comma.
    pub record: Bytes,
    pub previous: String,
}

/// The records of one collection.
pub struct Collection {
    pub kind: Kind,
    seed: u64,
    arena: Bytes,
    /// Where each record begins; one more than there are records.
    starts: Vec<u64>,
    /// Records that were changed since: their version, and their bytes with the comma.
    changed: BTreeMap<usize, (u64, Bytes)>,
}

impl Collection {
    pub fn render(kind: Kind, seed: u64, records: usize) -> Collection {
        let mut text = String::with_capacity(records * kind.most_bytes());
        let mut starts = Vec::with_capacity(records + 1);
        starts.push(0);
        for place in 0..records {
            kind.render(&mut text, seed, place, 0);
            text.push(',');
            starts.push(text.len() as u64);
        }
        Collection { kind, seed, arena: Bytes::from(text), starts, changed: BTreeMap::new() }
    }

    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// The place of the record with this id.
    pub fn place(&self, id: &str) -> Option<usize> {
        let place = self.kind.id_style().place(id).filter(|place| *place < self.len())?;
        (self.kind.id_style().id(place, ids::created(place)) == id).then_some(place)
    }

    /// The records created from `from` to `to`, both included.
    pub fn created_within(&self, from: u64, to: u64) -> Range<usize> {
        first_place(self.len(), |created| created <= to)..first_place(self.len(), |created| created < from)
    }

    /// One record, without its comma.
    pub fn record(&self, place: usize) -> Bytes {
        let bytes = match self.changed.get(&place) {
            Some((_, bytes)) => bytes.clone(),
            None => self.slice(place..place + 1),
        };
        bytes.slice(..bytes.len() - 1)
    }

    /// The records of some places with commas between them, in as few pieces as their changes leave.
    pub fn page(&self, places: Range<usize>) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        let mut at = places.start;
        for (place, (_, bytes)) in self.changed.range(places.clone()) {
            if at < *place {
                pieces.push(self.slice(at..*place));
            }
            pieces.push(bytes.clone());
            at = place + 1;
        }
        if at < places.end {
            pieces.push(self.slice(at..places.end));
        }
        if let Some(last) = pieces.last_mut() {
            last.truncate(last.len() - 1);
        }
        pieces
    }

    fn slice(&self, places: Range<usize>) -> Bytes {
        self.arena.slice(self.starts[places.start] as usize..self.starts[places.end] as usize)
    }

    /// Gives `count` records drawn at random new values.
    pub fn touch(&mut self, count: usize, draw: u64) -> Vec<Change> {
        let mut chance = Chance::new(draw, 0, 0);
        let mut places = BTreeSet::new();
        while places.len() < count.min(self.len()) {
            places.insert(chance.below(self.len() as u64) as usize);
        }
        places.into_iter().map(|place| self.change(place)).collect()
    }

    fn change(&mut self, place: usize) -> Change {
        let version = self.changed.get(&place).map_or(0, |(version, _)| *version);
        let mut text = String::with_capacity(self.kind.most_bytes());
        self.kind.render(&mut text, self.seed, place, version + 1);
        text.push(',');
        let record = Bytes::from(text);
        self.changed.insert(place, (version + 1, record.clone()));
        Change {
            id: self.kind.id_style().id(place, ids::created(place)),
            record,
            previous: self.kind.previous(self.seed, place, version),
        }
    }
}

/// The first place whose creation fits; creation falls as the place rises, so all places after it fit, too.
fn first_place(records: usize, fits: impl Fn(u64) -> bool) -> usize {
    let (mut low, mut high) = (0, records);
    while low < high {
        let middle = low + (high - low) / 2;
        if fits(ids::created(middle)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn parsed(pieces: Vec<Bytes>) -> Vec<Value> {
        serde_json::from_slice(&[b"[", pieces.concat().as_slice(), b"]"].concat()).unwrap()
    }

    #[test]
    fn records_are_valid_distinct_and_as_large_as_promised() {
        for (kind, least, most) in [(Kind::Customer, 950, 1_100), (Kind::Charge, 2_600, 2_850)] {
            let collection = Collection::render(kind, 1, 1_000);
            let mean = collection.bytes() / collection.len();
            assert!((least..most).contains(&mean), "{kind:?}: {mean} bytes a record");
            let records = parsed(collection.page(0..1_000));
            for (place, record) in records.iter().enumerate() {
                assert_eq!(record["id"], kind.id_style().id(place, ids::created(place)));
                assert_eq!(record["created"], ids::created(place));
                assert_eq!(record["object"], kind.object());
            }
            let texts: BTreeSet<String> = records.iter().map(|record| record["metadata"].to_string()).collect();
            assert_eq!(texts.len(), 1_000);
            assert_eq!(collection.arena, Collection::render(kind, 1, 1_000).arena);
            assert_ne!(collection.arena, Collection::render(kind, 2, 1_000).arena);
        }
    }

    #[test]
    fn a_change_alters_a_record_where_it_lies_and_tells_what_it_was() {
        for kind in [Kind::Customer, Kind::Charge] {
            let mut collection = Collection::render(kind, 1, 1_000);
            let before = parsed(collection.page(0..1_000));
            let changes = collection.touch(10, 7);
            let after = parsed(collection.page(0..1_000));
            let altered: Vec<usize> = (0..1_000).filter(|place| before[*place] != after[*place]).collect();
            assert_eq!(altered.len(), 10);
            for (place, change) in altered.into_iter().zip(&changes) {
                assert_eq!(after[place]["id"], change.id.as_str());
                assert_eq!(after[place]["metadata"]["revision"], "1");
                let previous: Value = serde_json::from_str(&change.previous).unwrap();
                let (name, was) = previous.as_object().unwrap().iter().next().unwrap();
                if name != "metadata" {
                    assert_eq!(&before[place][name], was);
                }
            }
            collection.touch(1_000, 8);
            assert_eq!(parsed(collection.page(3..5)).len(), 2);
        }
    }

    #[test]
    fn bounds_of_creation_are_included() {
        let collection = Collection::render(Kind::Customer, 1, 100);
        let bounded = |from, to| collection.created_within(from, to);
        assert_eq!(bounded(0, u64::MAX), 0..100);
        for (from, to) in
            [(ids::created(50), ids::created(10)), (ids::created(3), ids::created(3)), (ids::NEWEST + 1, u64::MAX)]
        {
            let wanted: Vec<usize> = (0..100).filter(|p| (from..=to).contains(&ids::created(*p))).collect();
            assert_eq!(bounded(from, to).collect::<Vec<_>>(), wanted);
        }
        assert_eq!(bounded(ids::created(3), ids::created(3)), 2..4, "two records share this second");
    }
}
