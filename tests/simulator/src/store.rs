//! Decides what is the truth and what of it can be seen: rows in slots, their order, and changes that are visible later.
//!
//! A change made while changes are shown late is known to the ledger at once and to the API only when it is due, with the
//! stamp of the moment it was made: what a long transaction of the app looks like from outside.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// A record as a table keeps it.
pub trait Row {
    fn id(&self) -> &str;
    /// What listings and cursors go by: `SystemModstamp` in ms, or `created` in s.
    fn order(&self) -> i64;
    /// Whether listings contain it.
    fn is_listed(&self) -> bool;
    /// The (filter, value) pairs under which it is found quickly.
    fn keys(&self) -> &[(u8, Box<str>)];
}

type Order = BTreeSet<(i64, u32)>;

pub struct Table<R> {
    rows: Vec<Option<Arc<R>>>,
    ids: BTreeMap<Box<str>, u32>,
    order: Order,
    keyed: HashMap<(u8, Box<str>), Order>,
    pending: VecDeque<(i64, u32, Option<Arc<R>>)>,
    overlay: HashMap<u32, Option<Arc<R>>>,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Table {
            rows: Vec::new(),
            ids: BTreeMap::new(),
            order: Order::new(),
            keyed: HashMap::new(),
            pending: VecDeque::new(),
            overlay: HashMap::new(),
        }
    }
}

impl<R: Row> Table<R> {
    /// Adds or replaces a row; `due_ms` is when the API may show it (`None`: now).
    pub fn put(&mut self, row: R, due_ms: Option<i64>) {
        let slot = match self.ids.get(row.id()) {
            Some(slot) => *slot,
            None => {
                let slot = self.rows.len() as u32;
                self.rows.push(None);
                self.ids.insert(row.id().into(), slot);
                slot
            }
        };
        self.change(slot, Some(Arc::new(row)), due_ms);
    }

    /// Takes a row away without a trace.
    pub fn remove(&mut self, id: &str, due_ms: Option<i64>) {
        if let Some(slot) = self.ids.get(id).copied() {
            self.change(slot, None, due_ms);
        }
    }

    fn change(&mut self, slot: u32, row: Option<Arc<R>>, due_ms: Option<i64>) {
        if due_ms.is_none() && !self.overlay.contains_key(&slot) {
            return self.show(slot, row);
        }
        // Never before an earlier change of the same row.
        let earlier = self.pending.iter().filter(|(_, s, _)| *s == slot).map(|(due, ..)| *due).max().unwrap_or(0);
        self.overlay.insert(slot, row.clone());
        self.pending.push_back((due_ms.unwrap_or(0).max(earlier), slot, row));
    }

    fn show(&mut self, slot: u32, row: Option<Arc<R>>) {
        let old = std::mem::replace(&mut self.rows[slot as usize], row);
        if let Some(old) = old.filter(|r| r.is_listed()) {
            self.order.remove(&(old.order(), slot));
            for key in old.keys() {
                if let Some(set) = self.keyed.get_mut(key) {
                    set.remove(&(old.order(), slot));
                }
            }
        }
        if let Some(new) = self.rows[slot as usize].clone().filter(|r| r.is_listed()) {
            self.order.insert((new.order(), slot));
            for key in new.keys() {
                self.keyed.entry(key.clone()).or_default().insert((new.order(), slot));
            }
        }
    }

    /// Shows what is due by now; called before each request.
    pub fn publish(&mut self, now_ms: i64) {
        if self.pending.is_empty() {
            return;
        }
        let (due, later): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|(at, ..)| *at <= now_ms);
        self.pending = later;
        for (_, slot, row) in due {
            if !self.pending.iter().any(|(_, s, _)| *s == slot) {
                self.overlay.remove(&slot);
            }
            self.show(slot, row);
        }
    }

    /// The row as the API shows it.
    pub fn get(&self, id: &str) -> Option<&Arc<R>> {
        self.at(*self.ids.get(id)?)
    }

    pub fn at(&self, slot: u32) -> Option<&Arc<R>> {
        self.rows.get(slot as usize)?.as_ref()
    }

    pub fn slot(&self, id: &str) -> Option<u32> {
        self.ids.get(id).copied()
    }

    /// The row as it truly is.
    pub fn latest(&self, id: &str) -> Option<&Arc<R>> {
        let slot = *self.ids.get(id)?;
        match self.overlay.get(&slot) {
            Some(row) => row.as_ref(),
            None => self.at(slot),
        }
    }

    /// All true rows, by id.
    pub fn iter_latest(&self) -> impl Iterator<Item = &Arc<R>> {
        self.ids.values().filter_map(|slot| match self.overlay.get(slot) {
            Some(row) => row.as_ref(),
            None => self.at(*slot),
        })
    }

    /// The rows shown, in the order they first came.
    pub fn iter_shown(&self) -> impl Iterator<Item = &Arc<R>> {
        self.rows.iter().flatten()
    }

    /// Slots of the rows shown, by id, from just after `after` on.
    pub fn slots_by_id(&self, after: Option<&str>) -> impl Iterator<Item = u32> + '_ {
        let from = match after {
            Some(id) => Bound::Excluded(id),
            None => Bound::Unbounded,
        };
        self.ids
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(_, slot)| *slot)
            .filter(|slot| self.rows[*slot as usize].is_some())
    }

    /// Slots of the listed rows in ascending order within `from..=to`.
    pub fn slots_between(&self, from: i64, to: i64) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.order.range((from, 0)..=(to.max(from), u32::MAX)).map(|(_, slot)| *slot)
    }

    /// Positions (order, slot) of the listed rows under a key, or of all.
    pub fn positions(&self, key: Option<&(u8, Box<str>)>) -> Option<&Order> {
        match key {
            None => Some(&self.order),
            Some(key) => self.keyed.get(key),
        }
    }

    pub fn position(&self, id: &str) -> Option<(i64, u32)> {
        let slot = self.slot(id)?;
        let row = self.at(slot)?;
        row.is_listed().then(|| (row.order(), slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sample(&'static str, i64, bool);
    impl Row for Sample {
        fn id(&self) -> &str {
            self.0
        }
        fn order(&self) -> i64 {
            self.1
        }
        fn is_listed(&self) -> bool {
            self.2
        }
        fn keys(&self) -> &[(u8, Box<str>)] {
            &[]
        }
    }

    #[test]
    fn a_late_change_is_true_at_once_and_shown_when_due() {
        let mut table = Table::default();
        table.put(Sample("a", 1, true), None);
        table.put(Sample("a", 2, true), Some(500));
        table.put(Sample("b", 3, true), Some(400));
        assert_eq!(table.latest("a").map(|r| r.1), Some(2));
        assert_eq!(table.get("a").map(|r| r.1), Some(1));
        assert!(table.get("b").is_none());
        table.publish(450);
        assert_eq!(table.get("b").map(|r| r.1), Some(3));
        assert_eq!(table.get("a").map(|r| r.1), Some(1));
        table.publish(500);
        assert_eq!(table.slots_between(2, 9).count(), 2);
        table.put(Sample("a", 5, false), None);
        assert_eq!(table.slots_between(0, 9).count(), 1);
    }
}
