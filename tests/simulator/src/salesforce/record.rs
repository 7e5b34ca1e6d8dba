//! Decides how a record is kept: its values as JSON text side by side, so a query copies slices and parses nothing.

use serde_json::{Map, Value};

use super::schema::Object;
use crate::clock;
use crate::store::Row;

pub struct Record {
    id: Box<str>,
    /// Milliseconds of the field that `Object::stamp_field` names.
    pub stamp_ms: i64,
    pub is_deleted: bool,
    data: Box<str>,
    /// Where each field's value ends in `data`; fields added later have none and are null.
    ends: Box<[u32]>,
}

impl Row for Record {
    fn id(&self) -> &str {
        &self.id
    }
    fn order(&self) -> i64 {
        self.stamp_ms
    }
    fn is_listed(&self) -> bool {
        true
    }
    fn keys(&self) -> &[(u8, Box<str>)] {
        &[]
    }
}

impl Record {
    /// Packs values that stand in the order of the object's fields.
    pub fn pack(object: &Object, values: &[Value]) -> Record {
        let mut data = String::with_capacity(1024);
        let mut ends = Vec::with_capacity(values.len());
        for (field, value) in object.fields.iter().zip(values) {
            match (field.kind.as_str(), value.as_f64()) {
                ("double" | "currency" | "percent", Some(number)) => data.push_str(&java_double(number)),
                _ => {
                    use std::fmt::Write;
                    let _ = write!(data, "{value}");
                }
            }
            ends.push(data.len() as u32);
        }
        let text = |name: &str| object.place(name).and_then(|at| values.get(at)).and_then(Value::as_str).unwrap_or("");
        let is_deleted =
            object.place("IsDeleted").and_then(|at| values.get(at)).and_then(Value::as_bool).unwrap_or(false);
        Record {
            id: text("Id").into(),
            stamp_ms: clock::parse_instant(text(object.stamp_field())).unwrap_or(0),
            is_deleted,
            data: data.into(),
            ends: ends.into(),
        }
    }

    /// The JSON text of field number `at`.
    pub fn value(&self, at: usize) -> &str {
        let Some(end) = self.ends.get(at) else { return "null" };
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.data[start..*end as usize]
    }

    /// The values in the order of the object's fields.
    pub fn unpack(&self, object: &Object) -> Vec<Value> {
        (0..object.fields.len()).map(|at| serde_json::from_str(self.value(at)).unwrap_or(Value::Null)).collect()
    }

    /// The record as a JSON object of the fields that can be seen.
    pub fn render(&self, object: &Object) -> String {
        let mut text = String::with_capacity(self.data.len() * 3);
        text.push('{');
        for (at, field) in object.fields.iter().enumerate().filter(|(_, f)| !f.is_hidden) {
            if text.len() > 1 {
                text.push(',');
            }
            text.push('"');
            text.push_str(&field.name);
            text.push_str("\":");
            text.push_str(self.value(at));
        }
        text.push('}');
        text
    }
}

/// A number as the API's Java writes it: `100.0`, `3.5E8`.
pub fn java_double(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}

/// Fills the fields that follow from others: the compound addresses, `Name` of a person.
pub fn derive(object: &Object, values: &mut [Value]) {
    let by_name =
        |values: &[Value], name: &str| object.place(name).and_then(|at| values.get(at)).cloned().unwrap_or(Value::Null);
    for (at, field) in object.fields.iter().enumerate() {
        if field.kind != "address" {
            continue;
        }
        let prefix = field.name.trim_end_matches("Address");
        let part = |name: &str| by_name(values, &format!("{prefix}{name}"));
        let parts = ["City", "Country", "GeocodeAccuracy", "Latitude", "Longitude", "PostalCode", "State", "Street"];
        let mut address = Map::new();
        for name in parts {
            let key = format!("{}{}", name[..1].to_ascii_lowercase(), &name[1..]);
            address.insert(key, part(name));
        }
        let is_empty = address.values().all(Value::is_null);
        values[at] = if is_empty { Value::Null } else { Value::Object(address) };
    }
    if let (Some(name), true) =
        (object.place("Name"), object.fields.iter().any(|f| f.compound.as_deref() == Some("Name")))
    {
        let (first, last) = (by_name(values, "FirstName"), by_name(values, "LastName"));
        if let Some(last) = last.as_str() {
            values[name] = Value::String(first.as_str().map_or(last.to_string(), |first| format!("{first} {last}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_like_the_apis() {
        for (number, text) in [
            (0.0, "0.0"),
            (100.0, "100.0"),
            (350_000_000.0, "3.5E8"),
            (1e7, "1.0E7"),
            (0.000_5, "5.0E-4"),
            (-37.789, "-37.789"),
        ] {
            assert_eq!(java_double(number), text);
        }
    }
}
