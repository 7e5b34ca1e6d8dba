//! Decides where a REST app's records are kept and how they change.
//!
//! What is true (`latest`, the ledger) and what the API shows (`find`, `shown`) differ while changes are shown late.

use std::sync::Arc;

use serde_json::{json, Map, Value};

use super::record::{id_of, keys_of, stamp, Kind, Record, When};
use crate::store::Table;

struct Shelf {
    kind: Kind,
    table: Table<Record>,
    made: u64,
    /// Keys of records deleted without a trace.
    gone: Vec<String>,
}

/// The records of an app.
pub struct Book {
    shelves: Vec<Shelf>,
    version: u64,
}

type Fallible<T> = Result<T, String>;

impl Book {
    pub fn new(kinds: &[Kind]) -> Book {
        let mut book = Book { shelves: Vec::new(), version: 0 };
        kinds.iter().for_each(|kind| book.add_kind(kind.clone()));
        book
    }

    /// Adds a collection; one of that name stays as it is.
    pub fn add_kind(&mut self, kind: Kind) {
        if self.shelf(kind.name).is_none() {
            self.shelves.push(Shelf { kind, table: Table::default(), made: 0, gone: Vec::new() });
        }
    }

    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.shelves.iter().map(|shelf| &shelf.kind)
    }

    pub fn has(&self, collection: &str) -> bool {
        self.shelf(collection).is_some()
    }

    /// Whether there already is a record of that key; stamps that the fields lack count as written at `at_ms`.
    pub fn has_record(&self, collection: &str, fields: &Map<String, Value>, at_ms: i64) -> bool {
        let Some(shelf) = self.shelf(collection) else { return false };
        let mut fields = fields.clone();
        stamp(shelf.kind.created, &mut fields, at_ms);
        stamp(shelf.kind.updated, &mut fields, at_ms);
        id_of(&shelf.kind, &fields).is_ok_and(|id| shelf.table.latest(&id).is_some())
    }

    /// How many records were ever made.
    pub fn made(&self, collection: &str) -> u64 {
        self.shelf(collection).map_or(0, |shelf| shelf.made)
    }

    fn shelf(&self, collection: &str) -> Option<&Shelf> {
        self.shelves.iter().find(|shelf| shelf.kind.name == collection)
    }

    fn shelf_mut(&mut self, collection: &str) -> Fallible<&mut Shelf> {
        let found = self.shelves.iter_mut().find(|shelf| shelf.kind.name == collection);
        found.ok_or(format!("there is no collection {collection}"))
    }

    /// Shows what is due by now. Called before each answer.
    pub fn publish(&mut self, now_ms: i64) {
        self.shelves.iter_mut().for_each(|shelf| shelf.table.publish(now_ms));
    }

    // As the API shows it.

    /// A record, deleted ones too.
    pub fn find(&self, collection: &str, id: &str) -> Option<Arc<Record>> {
        self.shelf(collection)?.table.get(id).cloned()
    }

    /// All records in the order they were made, deleted ones too.
    pub fn shown(&self, collection: &str) -> Vec<Arc<Record>> {
        self.shelf(collection).map_or(Vec::new(), |shelf| shelf.table.iter_shown().cloned().collect())
    }

    /// All records that are not deleted, in the order they were made.
    pub fn listed(&self, collection: &str) -> Vec<Arc<Record>> {
        self.shown(collection).into_iter().filter(|record| !record.is_deleted()).collect()
    }

    /// Records changed within `from_ms..=to_ms` by their last change, then in the order made; deleted ones too.
    pub fn by_change(&self, collection: &str, from_ms: i64, to_ms: i64) -> Vec<Arc<Record>> {
        let Some(shelf) = self.shelf(collection) else { return Vec::new() };
        shelf.table.slots_between(from_ms, to_ms).filter_map(|slot| shelf.table.at(slot).cloned()).collect()
    }

    /// The records of a parent, in the order they were made, deleted ones too.
    pub fn children(&self, collection: &str, parent: &str) -> Vec<Arc<Record>> {
        let Some(shelf) = self.shelf(collection) else { return Vec::new() };
        let slots = shelf.table.positions(Some(&(0, parent.into()))).into_iter().flatten();
        let mut records: Vec<Arc<Record>> = slots.filter_map(|(_, slot)| shelf.table.at(*slot).cloned()).collect();
        records.sort_by_key(|record| record.number);
        records
    }

    // As it truly is.

    pub fn latest(&self, collection: &str, id: &str) -> Option<Arc<Record>> {
        self.shelf(collection)?.table.latest(id).cloned()
    }

    /// All records there truly are, in the order they were made, deleted ones too.
    pub fn all_latest(&self, collection: &str) -> Vec<Arc<Record>> {
        let Some(shelf) = self.shelf(collection) else { return Vec::new() };
        let mut records: Vec<Arc<Record>> = shelf.table.iter_latest().cloned().collect();
        records.sort_by_key(|record| record.number);
        records
    }

    // Changes.

    /// Adds a record. Stamps it has are taken as they are, others are written: created at `when.at_ms`, changed then too.
    pub fn add(&mut self, collection: &str, mut fields: Map<String, Value>, when: When) -> Fallible<Arc<Record>> {
        self.version += 1;
        let version = self.version;
        let shelf = self.shelf_mut(collection)?;
        let kind = &shelf.kind;
        let created_ms = stamp(kind.created, &mut fields, when.at_ms);
        let updated_ms = stamp(kind.updated, &mut fields, created_ms);
        let id = id_of(kind, &fields)?;
        if shelf.table.latest(&id).is_some() {
            return Err(format!("{collection} already has {id}"));
        }
        let keys = keys_of(kind, &fields);
        let number = shelf.made;
        shelf.made += 1;
        let record = Record { id: id.into(), number, created_ms, updated_ms, deleted_ms: None, version, fields, keys };
        shelf.table.put(record.clone(), when.due_ms);
        Ok(Arc::new(record))
    }

    /// Changes a record with `edit`. The time of the last change moves unless `edit` itself set it or it is silent.
    pub fn edit(
        &mut self,
        collection: &str,
        id: &str,
        when: When,
        edit: impl FnOnce(&mut Record),
    ) -> Fallible<Arc<Record>> {
        self.version += 1;
        let version = self.version;
        let shelf = self.shelf_mut(collection)?;
        let before = shelf.table.latest(id).cloned().ok_or(format!("{collection} has no {id}"))?;
        let mut record = (*before).clone();
        edit(&mut record);
        let kind = &shelf.kind;
        if id_of(kind, &record.fields)? != id {
            return Err(format!("the key of {id} cannot change"));
        }
        let given = kind.updated.and_then(|stamp| {
            let now = stamp.read(&record.fields)?;
            (Some(now) != stamp.read(&before.fields)).then_some(now)
        });
        record.updated_ms = match given {
            Some(given) => given,
            None if when.is_silent => record.updated_ms,
            None => when.at_ms,
        };
        if let (Some(stamp), None, false) = (kind.updated, given, when.is_silent) {
            stamp.write(&mut record.fields, when.at_ms);
        }
        record.version = version;
        record.keys = keys_of(kind, &record.fields);
        shelf.table.put(record.clone(), when.due_ms);
        Ok(Arc::new(record))
    }

    /// Takes a record away without a trace in the API; the ledger's `?gone=true` knows it.
    pub fn remove(&mut self, collection: &str, id: &str, when: When) -> Fallible<Arc<Record>> {
        let shelf = self.shelf_mut(collection)?;
        let before = shelf.table.latest(id).cloned().ok_or(format!("{collection} has no {id}"))?;
        shelf.table.remove(id, when.due_ms);
        shelf.gone.push(id.to_string());
        Ok(before)
    }

    /// `[{"id","version","deleted","changed_at","record"}]`, `changed_at` in milliseconds; by id.
    pub fn ledger(&self, collection: &str, with_records: bool, with_gone: bool) -> Option<String> {
        let shelf = self.shelf(collection)?;
        let mut rows: Vec<String> = Vec::new();
        for record in shelf.table.iter_latest() {
            let mut row = json!({
                "id": record.id, "version": record.version, "deleted": record.is_deleted(), "changed_at": record.updated_ms,
            });
            if with_records {
                row["record"] = record.json();
            }
            rows.push(row.to_string());
        }
        for id in shelf.gone.iter().filter(|id| with_gone && shelf.table.latest(id).is_none()) {
            rows.push(json!({"id": id, "version": null, "deleted": true, "gone": true, "record": null}).to_string());
        }
        Some(format!("[{}\n]", rows.iter().map(|row| format!("\n{row}")).collect::<Vec<_>>().join(",")))
    }

    pub fn count(&self, collection: &str) -> Option<Value> {
        let shelf = self.shelf(collection)?;
        let deleted = shelf.table.iter_latest().filter(|record| record.is_deleted()).count();
        let total = shelf.table.iter_latest().count();
        Some(json!({"count": total - deleted, "deleted": deleted, "total": total}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::time::Form;
    use crate::rest::Stamp;

    const CREATED: Stamp = Stamp("created_at", Form::Iso);
    const UPDATED: Stamp = Stamp("meta.updated", Form::UnixMillis);

    fn book() -> Book {
        Book::new(&[Kind {
            name: "things",
            key: &["box", "id"],
            created: Some(CREATED),
            updated: Some(UPDATED),
            parent: Some("box"),
        }])
    }

    fn fields(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn stamps_follow_changes_and_given_ones_are_kept() {
        let mut book = book();
        let made = book.add("things", fields(json!({"box": "b", "id": 1})), When::now(5000)).unwrap();
        assert_eq!(
            made.json(),
            json!({"box": "b", "id": 1, "created_at": "1970-01-01T00:00:05Z", "meta": {"updated": 5000}})
        );
        let set = |to: i64| move |record: &mut Record| drop(record.fields.insert("n".into(), json!(to)));
        let when = |at_ms, is_silent| When { at_ms, due_ms: None, is_silent };
        assert_eq!(book.edit("things", "b:1", when(6000, false), set(1)).unwrap().updated_ms, 6000);
        let silent = book.edit("things", "b:1", when(7000, true), set(2)).unwrap();
        assert_eq!(
            (silent.updated_ms, silent.get("n"), &silent.get("meta")["updated"]),
            (6000, &json!(2), &json!(6000))
        );
        let given = book.edit("things", "b:1", when(8000, false), |r| UPDATED.write(&mut r.fields, 9000)).unwrap();
        assert_eq!(given.updated_ms, 9000);
        assert!(book.edit("things", "b:1", when(1, false), |r| drop(r.fields.insert("id".into(), json!(2)))).is_err());
        assert!(book.add("things", fields(json!({"id": 3})), When::now(1)).is_err(), "a key member is missing");
        assert!(book.add("things", fields(json!({"box": "b", "id": 1})), When::now(1)).is_err(), "twice");
        assert_eq!(book.by_change("things", 8999, 9000).len(), 1);
    }

    #[test]
    fn what_is_late_or_gone_is_in_the_ledger_only() {
        let mut book = book();
        let late = When { due_ms: Some(50), ..When::now(10) };
        book.add("things", fields(json!({"box": "b", "id": 2})), late).unwrap();
        book.add("things", fields(json!({"box": "b", "id": 1})), When::now(20)).unwrap();
        book.publish(49);
        assert_eq!((book.children("things", "b").len(), book.all_latest("things").len()), (1, 2));
        book.publish(50);
        let ids: Vec<i64> = book.children("things", "b").iter().map(|r| r.number_of("id")).collect();
        assert_eq!(ids, [2, 1]);
        book.remove("things", "b:2", When::now(60)).unwrap();
        assert!(book.find("things", "b:2").is_none());
        let ledger = |gone| serde_json::from_str::<Value>(&book.ledger("things", false, gone).unwrap()).unwrap();
        assert_eq!(ledger(false).as_array().unwrap().len(), 1);
        assert_eq!(
            ledger(true)[1],
            json!({"id": "b:2", "version": null, "deleted": true, "gone": true, "record": null})
        );
        assert_eq!(book.count("things").unwrap(), json!({"count": 1, "deleted": 0, "total": 1}));
    }
}
