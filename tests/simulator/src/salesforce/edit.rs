//! Decides what a change through the control API does to a record: its stamps, its Recycle Bin, the log of deletions.

use serde_json::{json, Map, Value};

use super::record::{derive, Record};
use super::schema::{record_id, Field, Object};
use super::Salesforce;
use crate::clock;
use crate::store::Row;

type Fallible<T> = Result<T, String>;

/// How a change is made.
#[derive(Clone, Copy, Default)]
pub struct Manner {
    /// Neither stamp nor trace.
    pub is_silent: bool,
    /// When queries see it, in ms; `None` is at once.
    pub due_ms: Option<i64>,
}

pub const FIRST_USER: &str = "0055g0000000001AAA";

/// Puts the given members over a record's values. Instants are written as the API writes them.
fn overlay(object: &Object, values: &mut [Value], given: &Map<String, Value>) -> Fallible<()> {
    for (name, value) in given {
        let at = object.place(name).ok_or_else(|| format!("{} has no field {name}", object.name))?;
        values[at] = match (object.fields[at].kind.as_str(), value.as_str().and_then(clock::parse_instant)) {
            ("datetime", Some(ms)) => json!(clock::salesforce_instant(ms)),
            _ => value.clone(),
        };
    }
    Ok(())
}

fn set(object: &Object, values: &mut [Value], name: &str, value: Value) {
    if let Some(at) = object.place(name) {
        values[at] = value;
    }
}

fn default_value(object: &Object, field: &Field, number: u64, now: &str) -> Value {
    match (field.name.as_str(), field.kind.as_str()) {
        (_, "boolean") => json!(field.name == "IsActive"),
        ("CreatedDate" | "LastModifiedDate" | "SystemModstamp", _) => json!(now),
        ("CreatedById" | "LastModifiedById" | "OwnerId", _) => json!(FIRST_USER),
        _ if field.nillable || field.calculated => Value::Null,
        ("Email" | "Username", _) => json!(format!("{}{number}@example.com", object.collection)),
        (_, "string") if field.name.ends_with("Number") => json!(format!("{number:08}")),
        (_, "string") => json!(format!("{} {number}", object.name)),
        (_, "date") => json!(&now[..10]),
        (name, "picklist" | "combobox") => json!(super::seed::choices(name).first().copied().unwrap_or("None")),
        _ => Value::Null,
    }
}

impl Salesforce {
    /// The number of the next record of an object, which makes its id.
    pub(super) fn next_number(&mut self, at: usize) -> u64 {
        self.objects[at].made += 1;
        self.objects[at].made
    }

    pub fn create(&mut self, at: usize, given: &Map<String, Value>, manner: Manner) -> Fallible<String> {
        let number = self.next_number(at);
        let object = &self.objects[at];
        let now = clock::salesforce_instant(clock::now_ms() / 1000 * 1000);
        let mut values: Vec<Value> = object.fields.iter().map(|f| default_value(object, f, number, &now)).collect();
        set(object, &mut values, "Id", json!(record_id(&object.key_prefix, number)));
        set(object, &mut values, "IsDeleted", json!(false));
        overlay(object, &mut values, given)?;
        derive(object, &mut values);
        // A name that was given outright stays, even where it is put together from others.
        if let Some(name) = given.get("Name") {
            set(object, &mut values, "Name", name.clone());
        }
        self.keep(at, values, manner)
    }

    fn keep(&mut self, at: usize, values: Vec<Value>, manner: Manner) -> Fallible<String> {
        let object = &mut self.objects[at];
        let record = Record::pack(object, &values);
        if record.id().is_empty() {
            return Err("a record needs an Id".into());
        }
        let text = record.render(object);
        object.table.put(record, manner.due_ms);
        Ok(text)
    }

    fn values(&self, at: usize, id: &str) -> Fallible<Vec<Value>> {
        let object = &self.objects[at];
        let record = object.table.latest(id).ok_or_else(|| format!("no record {id}"))?;
        Ok(record.unpack(object))
    }

    pub fn change(&mut self, at: usize, id: &str, given: &Map<String, Value>, manner: Manner) -> Fallible<String> {
        let mut values = self.values(at, id)?;
        let now_ms = clock::now_ms() / 1000 * 1000;
        let object = &self.objects[at];
        let was_deleted = object.table.latest(id).is_some_and(|r| r.is_deleted);
        if !manner.is_silent {
            let now = json!(clock::salesforce_instant(now_ms));
            set(object, &mut values, "LastModifiedDate", now.clone());
            set(object, &mut values, "SystemModstamp", now);
        }
        overlay(object, &mut values, given)?;
        derive(object, &mut values);
        if let Some(name) = given.get("Name") {
            set(object, &mut values, "Name", name.clone());
        }
        let text = self.keep(at, values, manner)?;
        let object = &mut self.objects[at];
        match (was_deleted, object.table.latest(id).is_some_and(|r| r.is_deleted)) {
            (false, true) => object.deletions.push((now_ms, id.to_string())),
            (true, false) => object.deletions.retain(|(_, deleted)| deleted != id),
            _ => {}
        }
        Ok(text)
    }

    /// Moves a record into the Recycle Bin; objects without one lose it for good.
    pub fn delete(&mut self, at: usize, id: &str, hard: bool, manner: Manner) -> Fallible<String> {
        let object = &mut self.objects[at];
        let is_known = object.deletions.iter().any(|(_, deleted)| deleted == id);
        if !hard && object.has("IsDeleted") {
            let Value::Object(given) = json!({"IsDeleted": true}) else { return Err("unreachable".into()) };
            return self.change(at, id, &given, manner);
        }
        if object.table.latest(id).is_none() {
            return Err(format!("no record {id}"));
        }
        object.table.remove(id, manner.due_ms);
        if !is_known && !manner.is_silent {
            object.deletions.push((clock::now_ms() / 1000 * 1000, id.to_string()));
        }
        Ok(json!({"Id": id, "gone": true}).to_string())
    }

    pub fn undelete(&mut self, at: usize, id: &str, manner: Manner) -> Fallible<String> {
        let Value::Object(given) = json!({"IsDeleted": false}) else { return Err("unreachable".into()) };
        self.change(at, id, &given, manner)
    }

    /// Defines a custom object, or adds to and changes the definition of one there is.
    pub fn define(&mut self, name: &str, body: &Value) -> Fallible<Value> {
        let at = match self.place(name) {
            Some(at) => at,
            None => {
                let system = "Id:id! OwnerId:reference>User! IsDeleted:boolean! Name:string(80)! CreatedDate:datetime! CreatedById:reference>User! \
                              LastModifiedDate:datetime! LastModifiedById:reference>User! SystemModstamp:datetime!";
                let custom = self.objects.iter().filter(|o| o.is_custom).count();
                let prefix = format!("a{:02}", custom);
                let template = super::schema::parse_fields(system);
                self.objects.push(Object::new(name, &name.to_ascii_lowercase(), &prefix, template));
                self.index();
                self.objects.len() - 1
            }
        };
        let object = &mut self.objects[at];
        for given in body.get("fields").and_then(Value::as_array).into_iter().flatten() {
            let given = given.as_object().ok_or("a field must be a JSON object")?;
            let name = given.get("name").and_then(Value::as_str).ok_or("a field needs a name")?;
            let place = object.place(name).unwrap_or_else(|| {
                object.fields.push(Field { name: name.to_string(), length: 255, ..Field::plain() });
                object.fields.len() - 1
            });
            object.fields[place].is_hidden = false;
            object.fields[place].apply(given);
            object.index();
        }
        for (name, value) in body.as_object().ok_or("the body must be a JSON object")? {
            match (name.as_str(), value) {
                ("fields", _) => {}
                ("accessible", value) => {
                    object.is_accessible = value.as_bool().unwrap_or(true);
                    // A test's word is stronger than the config that turns tags on and off.
                    object.is_tag = false;
                }
                ("queryable", value) => object.is_queryable = value.as_bool().unwrap_or(true),
                (_, value) => {
                    object.given.insert(name.clone(), value.clone());
                }
            }
        }
        object.touch();
        Ok(json!({"name": object.name, "collection": object.collection, "fields": object.fields.len()}))
    }

    /// Hides a field from describe and queries; its values stay.
    pub fn hide(&mut self, name: &str, field: &str) -> Fallible<Value> {
        let at = self.place(name).ok_or_else(|| format!("no object {name}"))?;
        let object = &mut self.objects[at];
        let place = object.place(field).ok_or_else(|| format!("{name} has no field {field}"))?;
        object.fields[place].is_hidden = true;
        object.touch();
        Ok(json!({"hidden": object.fields[place].name}))
    }

    /// How many records an object has, and how many of them are in the Recycle Bin.
    pub fn count(&self, at: usize) -> Value {
        let (mut live, mut deleted) = (0, 0);
        for record in self.objects[at].table.iter_latest() {
            if record.is_deleted {
                deleted += 1;
            } else {
                live += 1;
            }
        }
        json!({"count": live, "deleted": deleted, "total": live + deleted})
    }
}
