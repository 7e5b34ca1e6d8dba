//! Decides which objects and fields the org has. The standard ones come from `objects.txt`; tests add, change and hide.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::record::Record;
use crate::clock;
use crate::store::Table;

#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    /// The type as describe names it: `id`, `string`, `datetime`, `currency` ...
    pub kind: String,
    pub length: u32,
    pub nillable: bool,
    pub filterable: bool,
    pub calculated: bool,
    pub compound: Option<String>,
    pub reference_to: Vec<String>,
    pub is_hidden: bool,
    /// Describe attributes a test gave, put over our own.
    pub given: Map<String, Value>,
}

impl Field {
    fn parse(token: &str) -> Field {
        let (name, mut rest) = token.split_once(':').unwrap_or((token, "string"));
        let mut field = Field { name: name.to_string(), ..Field::plain() };
        while let Some(short) = rest.strip_suffix(['!', '-', '=']) {
            match &rest[short.len()..] {
                "!" => field.nillable = false,
                "-" => field.filterable = false,
                _ => field.calculated = true,
            }
            rest = short;
        }
        if let Some((short, compound)) = rest.split_once('@') {
            field.compound = Some(compound.to_string());
            rest = short;
        }
        if let Some((short, targets)) = rest.split_once('>') {
            field.reference_to = targets.split('+').map(str::to_string).collect();
            rest = short;
        }
        let (kind, length) = rest.split_once('(').unwrap_or((rest, ""));
        field.kind = kind.to_string();
        field.length = length.trim_end_matches(')').parse().unwrap_or(match kind {
            "id" | "reference" => 18,
            "phone" => 40,
            "email" => 80,
            "url" => 255,
            _ => 0,
        });
        field
    }

    pub fn plain() -> Field {
        Field {
            name: String::new(),
            kind: "string".into(),
            length: 0,
            nillable: true,
            filterable: true,
            calculated: false,
            compound: None,
            reference_to: Vec::new(),
            is_hidden: false,
            given: Map::new(),
        }
    }

    /// Takes over what a test says of the field, in describe's own words.
    pub fn apply(&mut self, given: &Map<String, Value>) {
        for (name, value) in given {
            match (name.as_str(), value) {
                ("type", Value::String(kind)) => self.kind = kind.clone(),
                ("length", value) => self.length = value.as_u64().unwrap_or(0) as u32,
                ("nillable", value) => self.nillable = value.as_bool().unwrap_or(true),
                ("filterable", value) => self.filterable = value.as_bool().unwrap_or(true),
                ("calculated", value) => self.calculated = value.as_bool().unwrap_or(false),
                ("compoundFieldName", value) => self.compound = value.as_str().map(str::to_string),
                ("referenceTo", Value::Array(to)) => {
                    self.reference_to = to.iter().filter_map(Value::as_str).map(str::to_string).collect();
                }
                ("hidden", value) => self.is_hidden = value.as_bool().unwrap_or(false),
                _ => {
                    self.given.insert(name.clone(), value.clone());
                }
            }
        }
    }

    pub fn is_compound(&self) -> bool {
        matches!(self.kind.as_str(), "address" | "location")
    }
}

pub struct Object {
    pub name: String,
    /// The name of the collection in the control API.
    pub collection: String,
    pub key_prefix: String,
    pub fields: Vec<Field>,
    by_name: HashMap<String, usize>,
    pub is_accessible: bool,
    /// A Tag object: in the org only when tagging is on, unless a test decided otherwise.
    pub is_tag: bool,
    pub is_queryable: bool,
    pub is_custom: bool,
    /// Describe attributes of the object a test gave.
    pub given: Map<String, Value>,
    /// Whole seconds, and later than any earlier change of the object's definition: `Last-Modified` of describe.
    pub modified_s: i64,
    pub table: Table<Record>,
    /// When which record was deleted, softly or for good: what getDeleted tells.
    pub deletions: Vec<(i64, String)>,
    pub made: u64,
}

impl Object {
    pub fn new(name: &str, collection: &str, key_prefix: &str, fields: Vec<Field>) -> Object {
        let mut object = Object {
            name: name.to_string(),
            collection: collection.to_string(),
            key_prefix: key_prefix.to_string(),
            fields,
            by_name: HashMap::new(),
            is_accessible: true,
            is_tag: false,
            is_queryable: true,
            is_custom: name.ends_with("__c"),
            given: Map::new(),
            modified_s: 1_700_000_000,
            table: Table::default(),
            deletions: Vec::new(),
            made: 0,
        };
        object.index();
        object
    }

    pub fn index(&mut self) {
        self.by_name = self.fields.iter().enumerate().map(|(at, f)| (f.name.to_ascii_lowercase(), at)).collect();
    }

    /// Notes that the definition changed, so that the next describe is not answered with 304.
    pub fn touch(&mut self) {
        self.modified_s = (clock::now_ms() / 1000).max(self.modified_s + 1);
    }

    /// Where the field is, hidden or not; names are not case-sensitive.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).or_else(|| self.by_name.get(&name.to_ascii_lowercase())).copied()
    }

    /// Where the field is, if the user may see it.
    pub fn visible(&self, name: &str) -> Option<usize> {
        self.place(name).filter(|at| !self.fields[*at].is_hidden)
    }

    pub fn has(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// The field listings go by: changes move it.
    pub fn stamp_field(&self) -> &'static str {
        ["SystemModstamp", "LastModifiedDate", "CreatedDate"].into_iter().find(|f| self.has(f)).unwrap_or("Id")
    }
}

/// Fields written as in `objects.txt`.
pub fn parse_fields(line: &str) -> Vec<Field> {
    line.split_whitespace().map(Field::parse).collect()
}

/// The objects of `objects.txt`.
pub fn standard_objects() -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    for line in include_str!("objects.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(fields) = line.strip_prefix("  ") {
            if let Some(object) = objects.last_mut() {
                object.fields.extend(parse_fields(fields));
            }
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [collection, name, prefix, flags @ ..] = words.as_slice() {
            let mut object = Object::new(name, collection, prefix, Vec::new());
            object.is_tag = flags.contains(&"absent");
            object.is_queryable = !flags.contains(&"noquery");
            objects.push(object);
        }
    }
    for object in &mut objects {
        object.index();
    }
    objects
}

/// The 18 characters of record number `n` of an object.
pub fn record_id(key_prefix: &str, n: u64) -> String {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut tail = [b'0'; 8];
    let mut rest = n;
    for place in tail.iter_mut().rev() {
        *place = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    let short = format!("{key_prefix}5g00{}", String::from_utf8_lossy(&tail));
    long_id(&short)
}

/// A 15 character id with its three check characters, which tell upper from lower case.
pub fn long_id(short: &str) -> String {
    const CHECK: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let mut id = short.to_string();
    for part in short.as_bytes().chunks(5) {
        let bits = part.iter().enumerate().map(|(at, c)| usize::from(c.is_ascii_uppercase()) << at).sum::<usize>();
        id.push(CHECK[bits] as char);
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_org_has_the_catalogs_objects() {
        let objects = standard_objects();
        assert_eq!(objects.len(), 48);
        for object in &objects {
            assert!(object.has("Id"), "{}", object.name);
            assert_eq!(object.key_prefix.len(), 3);
        }
        let prefixes: std::collections::HashSet<_> = objects.iter().map(|o| &o.key_prefix).collect();
        assert_eq!(prefixes.len(), 48);
    }

    #[test]
    fn ids_have_their_check_characters() {
        // Known pair from the vendor's description of the two forms.
        assert_eq!(long_id("001A0000006Vm9r"), "001A0000006Vm9rIAC");
        assert_eq!(record_id("001", 1).len(), 18);
        assert!(record_id("001", 61) < record_id("001", 62));
    }
}
