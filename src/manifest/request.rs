//! Says what a call sends, and where its answer holds the records.
//!
//! A place for a value is the name of a parameter, or a JSON pointer into the body (`/pagination/starting_after`):
//! no parameter's name begins with a slash.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::{Ceiling, Cursor, ErrorRule, Pages};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// Parameters by name.
pub type Params = BTreeMap<String, Param>;

/// What a parameter holds; its texts are templates.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    Text(String),
    /// The parameter is repeated, once for each.
    Many(Vec<String>),
    /// JSON text in one parameter (Facebook's `filtering`).
    Json(Value),
}

impl Default for Param {
    fn default() -> Self {
        Param::Text(String::new())
    }
}

impl<'de> Deserialize<'de> for Param {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || D::Error::custom("a parameter is a text, a list of texts, or {\"json\": ..}");
        Ok(match Value::deserialize(deserializer)? {
            Value::String(text) => Param::Text(text),
            Value::Number(number) => Param::Text(number.to_string()),
            Value::Bool(flag) => Param::Text(flag.to_string()),
            Value::Array(list) => {
                let texts = list.into_iter().map(|item| match item {
                    Value::String(text) => Some(text),
                    Value::Number(number) => Some(number.to_string()),
                    _ => None,
                });
                Param::Many(texts.collect::<Option<_>>().ok_or_else(wrong)?)
            }
            Value::Object(mut members) if members.len() == 1 => Param::Json(members.remove("json").ok_or_else(wrong)?),
            _ => return Err(wrong()),
        })
    }
}

impl Param {
    /// The templates in it.
    pub fn templates(&self) -> Vec<&str> {
        match self {
            Param::Text(text) => vec![text],
            Param::Many(texts) => texts.iter().map(String::as_str).collect(),
            Param::Json(value) => texts_of(value),
        }
    }
}

/// All texts in a JSON template, and the names that `$if` asks for.
pub fn texts_of(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts_of).collect(),
        Value::Object(members) => members.iter().filter(|(k, _)| *k != "$if").flat_map(|(_, v)| texts_of(v)).collect(),
        _ => Vec::new(),
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    #[default]
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// As a request has it: nothing for the usual one.
    pub fn word(self) -> &'static str {
        match self {
            Method::Get => "",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

/// One call whose answer is not a list: a step of a job, or a value that has to be asked for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    #[serde(default)]
    pub method: Method,
    /// Template of the path, or of a whole address where the app has another one for this.
    pub path: String,
    #[serde(default)]
    pub params: Params,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Template of a JSON body.
    #[serde(default)]
    pub json: Option<Value>,
    /// Templates of a form in the body.
    #[serde(default)]
    pub form: BTreeMap<String, String>,
}

/// A listing beside a collection's own: of its changes, of what was deleted, of its fields.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    #[serde(default)]
    pub method: Method,
    pub path: String,
    #[serde(default)]
    pub params: Params,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub json: Option<Value>,
    #[serde(default)]
    pub form: BTreeMap<String, String>,
    #[serde(default)]
    pub records: Records,
    #[serde(default)]
    pub pages: Option<Pages>,
    #[serde(default)]
    pub cursor: Option<Cursor>,
    #[serde(default)]
    pub ceiling: Option<Ceiling>,
    #[serde(default)]
    pub errors: Vec<ErrorRule>,
}

/// Where a reply holds its records, and which of them count. A bare text is `pointer`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    /// Pointer to the array of records; `*` stands for every element of an array or member of an object on the way.
    /// Empty: the reply is the array, or the one record.
    pub pointer: String,
    /// What is there is one record, not an array.
    pub single: bool,
    /// There may be nothing at the pointer: then there are no records.
    pub optional: bool,
    /// What is there is an object whose members are the records: `#key` in a column's `value` is the member's name.
    pub keyed: bool,
    /// Keep only records whose field has one of these values (pointer -> texts).
    pub only: BTreeMap<String, OneOrMany>,
    pub decoder: Decoder,
}

impl Records {
    pub fn at(pointer: &str) -> Self {
        Records { pointer: pointer.to_string(), ..Records::default() }
    }

    /// Whether a plain array at a plain pointer is meant.
    pub fn is_plain(&self) -> bool {
        *self == Records::at(&self.pointer) && !self.pointer.split('/').any(|key| key == "*")
    }
}

/// The members of `records` when it is an object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordsObject {
    pointer: String,
    #[serde(default)]
    single: bool,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    keyed: bool,
    #[serde(default)]
    only: BTreeMap<String, OneOrMany>,
    #[serde(default)]
    decoder: Decoder,
}

impl<'de> Deserialize<'de> for Records {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(pointer) => Ok(Records { pointer, ..Records::default() }),
            value @ Value::Object(_) => {
                let RecordsObject { pointer, single, optional, keyed, only, decoder } =
                    serde_json::from_value(value).map_err(D::Error::custom)?;
                Ok(Records { pointer, single, optional, keyed, only, decoder })
            }
            _ => Err(D::Error::custom("records is a pointer, or an object with a pointer")),
        }
    }
}

/// A text, or a list of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OneOrMany(pub Vec<String>);

impl OneOrMany {
    pub fn has(&self, text: &str) -> bool {
        self.0.iter().any(|known| known == text)
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Param::deserialize(deserializer)? {
            Param::Text(text) => Ok(OneOrMany(vec![text])),
            Param::Many(texts) => Ok(OneOrMany(texts)),
            Param::Json(_) => Err(D::Error::custom("a text or a list of texts")),
        }
    }
}

/// What a body is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decoder {
    #[default]
    Json,
    /// One JSON object a line.
    Jsonl,
    /// A header line, then records; every value is a text.
    Csv,
    Xml,
}
