//! Decides what a REST app's records are: JSON objects with a key, stamps and perhaps a parent, deleted softly or not.

use serde_json::{json, Map, Value};

use super::time::Form;
use crate::store::Row;

type Fallible<T> = Result<T, String>;

/// A collection.
#[derive(Debug, Clone)]
pub struct Kind {
    pub name: &'static str,
    /// The members that name a record for ever; their values joined by ":" are its id in the control API.
    pub key: &'static [&'static str],
    /// The member with the time of creation, if records have one.
    pub created: Option<Stamp>,
    /// The member with the time of the last change, if records have one.
    pub updated: Option<Stamp>,
    /// The member that names the parent: `Book::children` finds by it.
    pub parent: Option<&'static str>,
}

/// A member (dots lead into objects) and how an instant is written in it.
#[derive(Debug, Clone, Copy)]
pub struct Stamp(pub &'static str, pub Form);

impl Stamp {
    pub(super) fn read(self, fields: &Map<String, Value>) -> Option<i64> {
        self.1.read(at_path(fields, self.0)?)
    }

    pub(super) fn write(self, fields: &mut Map<String, Value>, ms: i64) {
        let mut inside = fields;
        let (folders, member) = self.0.rsplit_once('.').unwrap_or(("", self.0));
        for folder in folders.split('.').filter(|f| !f.is_empty()) {
            match inside.entry(folder).or_insert_with(|| json!({})).as_object_mut() {
                Some(object) => inside = object,
                None => return,
            }
        }
        inside.insert(member.into(), self.1.write(ms));
    }
}

fn at_path<'a>(fields: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let mut value = fields.get(parts.next()?)?;
    for part in parts {
        value = value.get(part)?;
    }
    Some(value)
}

/// A value as it is in a key: text without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// A record at one moment.
#[derive(Debug, Clone)]
pub struct Record {
    pub id: Box<str>,
    /// Counts the records of the collection from 0, in the order they were made.
    pub number: u64,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub deleted_ms: Option<i64>,
    /// Counts the changes of the whole book: newer is larger.
    pub version: u64,
    pub fields: Map<String, Value>,
    /// Under which `Book::children` finds it.
    pub(super) keys: Box<[(u8, Box<str>)]>,
}

impl Row for Record {
    fn id(&self) -> &str {
        &self.id
    }
    fn order(&self) -> i64 {
        self.updated_ms
    }
    fn is_listed(&self) -> bool {
        true
    }
    fn keys(&self) -> &[(u8, Box<str>)] {
        &self.keys
    }
}

impl Record {
    pub fn is_deleted(&self) -> bool {
        self.deleted_ms.is_some()
    }

    /// A member, `null` when there is none.
    pub fn get(&self, name: &str) -> &Value {
        self.fields.get(name).unwrap_or(&Value::Null)
    }

    pub fn text(&self, name: &str) -> &str {
        self.get(name).as_str().unwrap_or("")
    }

    pub fn number_of(&self, name: &str) -> i64 {
        self.get(name).as_i64().unwrap_or(0)
    }

    pub fn json(&self) -> Value {
        Value::Object(self.fields.clone())
    }
}

/// How and when something is changed.
#[derive(Debug, Clone, Copy)]
pub struct When {
    pub at_ms: i64,
    /// When the API may show it; `None` is at once.
    pub due_ms: Option<i64>,
    /// The time of the last change stays as it is.
    pub is_silent: bool,
}

impl When {
    pub fn now(at_ms: i64) -> When {
        When { at_ms, due_ms: None, is_silent: false }
    }
}

/// The stamp a record has, or one written now.
pub(super) fn stamp(stamp: Option<Stamp>, fields: &mut Map<String, Value>, at_ms: i64) -> i64 {
    let Some(stamp) = stamp else { return at_ms };
    stamp.read(fields).unwrap_or_else(|| {
        stamp.write(fields, at_ms);
        at_ms
    })
}

pub(super) fn id_of(kind: &Kind, fields: &Map<String, Value>) -> Fallible<String> {
    let parts: Fallible<Vec<String>> = kind
        .key
        .iter()
        .map(|member| at_path(fields, member).map(plain).ok_or(format!("a record of {} needs {member}", kind.name)))
        .collect();
    Ok(parts?.join(":"))
}

pub(super) fn keys_of(kind: &Kind, fields: &Map<String, Value>) -> Box<[(u8, Box<str>)]> {
    let parent = kind.parent.and_then(|member| at_path(fields, member)).filter(|value| !value.is_null());
    parent.into_iter().map(|value| (0, plain(value).into())).collect()
}
