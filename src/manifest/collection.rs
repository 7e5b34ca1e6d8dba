//! Says what one collection of an app is: how it is listed, what its records look like, how they show that they are gone.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::{
    field_path, Call, Ceiling, CollectionFeed, Cursor, ErrorRule, Format, Job, Kind, Listing, Lookback, Lookup, Method,
    OneOrMany, Pages, Params, Parent, Records,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One collection of the app.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collection {
    pub name: String,
    /// The vendor's name of the resource (`Account`, `charge`).
    #[serde(default)]
    pub object: String,
    /// A name for people, where the table's name does not say it.
    #[serde(default)]
    pub title: Option<String>,
    #[serde(default)]
    pub kind: Option<Kind>,
    #[serde(default)]
    pub docs: Option<String>,
    #[serde(default)]
    pub notes: Option<String>,
    /// Why the app cannot serve it; then nothing else is asked of the app. Whoever loads a file says it of what a webhook
    /// fills.
    #[serde(default)]
    pub unsupported: Option<String>,
    /// Template of the address of its calls, where the app has another one for it than the source's.
    #[serde(default)]
    pub base_url: Option<String>,
    /// A reader of its own, for what no style says (`marketo_bulk`).
    #[serde(default)]
    pub reader: Option<String>,
    #[serde(default)]
    pub method: Method,
    #[serde(default)]
    pub path: Option<String>,
    #[serde(default)]
    pub params: Params,
    /// Of this collection's calls only; values are templates.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Template of a JSON body. `{name|number}` alone becomes a number; an object with `$if` is left out when that name has
    /// no value; a text that is the name of a list alone is spread into the array around it, and so is an object with
    /// `$each`: once for each element, which is `{each}`.
    #[serde(default)]
    pub json: Option<Value>,
    /// Templates of a form in the body.
    #[serde(default)]
    pub form: BTreeMap<String, String>,
    #[serde(default)]
    pub records: Records,
    /// Column names; none in a helper that nothing asks for them.
    #[serde(default)]
    pub primary_key: Vec<String>,
    #[serde(default)]
    pub pages: Option<Pages>,
    #[serde(default)]
    pub cursor: Option<Cursor>,
    #[serde(default)]
    pub ceiling: Option<Ceiling>,
    /// How changes are listed once a first load is done, where that is another request; what it leaves out is as above.
    #[serde(default)]
    pub incremental: Option<Box<Listing>>,
    /// What listings leave out of their records.
    #[serde(default)]
    pub lookups: Vec<Lookup>,
    /// An asynchronous export that takes the place of the listing.
    #[serde(default)]
    pub job: Option<Box<Job>>,
    #[serde(default)]
    pub deletes: Deletes,
    /// Path template of one record, e.g. `/v1/charges/{id}`; `{..}` is a column of the collection, most often of the
    /// key. A changed record is read again by it; a live scan uses it when it knows all those columns.
    #[serde(default)]
    pub by_key: Option<String>,
    /// Pointer to a flag that is true in the answer of `by_key` when the record is gone (Stripe: `/deleted`).
    #[serde(default)]
    pub gone: Option<String>,
    /// Filters of the listing that equal a column exactly: column -> operator (`=`, `>`, `>=`, `<`, `<=`) -> parameter.
    #[serde(default)]
    pub filters: BTreeMap<String, BTreeMap<String, String>>,
    /// Set when its records come out of another collection's. Without a `path` of its own it is read, and sliced by
    /// the cursor, like the parent.
    #[serde(default)]
    pub parent: Option<Parent>,
    #[serde(default)]
    pub feed: Option<CollectionFeed>,
    /// Collections with no change signal of their own: read this far back from the cursor, and only when the feed
    /// moved or `at_least_every_seconds` passed.
    #[serde(default)]
    pub lookback: Option<Lookback>,
    /// Filled by the webhooks of the source; nothing is asked for it.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// Checked before the rules of the source.
    #[serde(default)]
    pub errors: Vec<ErrorRule>,
    /// Fields have to be asked for by name: `{fields}` in the request.
    #[serde(default)]
    pub select: Option<Select>,
    /// The call that tells whether it may be read, where its listing is not fit for that.
    #[serde(default)]
    pub check: Option<Call>,
    /// The app tells which fields the account has.
    #[serde(default)]
    pub discover: Option<Box<Discover>>,
    /// Top-level keys of a record that are neither a column nor kept in `extra`.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// In the order in which the tables list them.
    #[serde(default)]
    pub columns: Vec<Column>,
}

/// How a collection shows that a record is gone.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(tag = "style", rename_all = "snake_case", deny_unknown_fields)]
pub enum Deletes {
    /// It does not; a reconcile listing finds out.
    #[default]
    None,
    /// A field of the record. Deleted when it equals `equals`, or is true when `equals` is not given.
    Flag {
        field: String,
        #[serde(default)]
        equals: Option<String>,
    },
    /// Any of several conditions.
    Rule { any: Vec<FieldIs> },
    /// Changes of the feed named in the collection's `feed.deleted`.
    Feed,
    /// The children of one parent are always given complete: those not among them any more are gone. With `marked` a
    /// parent that its own flag or rule marks as gone has none, whatever its last state still shows.
    WithParent {
        #[serde(default)]
        marked: bool,
    },
    /// Missing from a complete listing means deleted (only collections that are always read in full).
    Absent,
    /// Another listing holds what is gone: whole records, or with `key` their keys only (column -> pointer). Its `cursor`
    /// is its own and is kept beside the collection's.
    Listing {
        list: Box<Listing>,
        #[serde(default)]
        key: BTreeMap<String, String>,
    },
}

/// A condition on a field: one of `values`, or there and not null.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldIs {
    pub field: String,
    #[serde(default)]
    pub values: Option<OneOrMany>,
    /// True: the field has a value that is not null; false: it has none.
    #[serde(default)]
    pub set: Option<bool>,
}

/// Which fields are asked for by name, and how many at once.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// Only columns whose field lies under this pointer (`/properties`): the name is what follows it.
    #[serde(default)]
    pub under: String,
    /// Names that are asked for whatever columns there are.
    #[serde(default)]
    pub always_include: Vec<String>,
    /// More than this many are asked in several requests, whose records are joined by the primary key.
    #[serde(default)]
    pub limit: Option<usize>,
    #[serde(default)]
    pub limit_type: LimitType,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitType {
    /// Of the names, with one character between two.
    #[default]
    Characters,
    Fields,
}

/// How the fields of an account are found.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discover {
    pub list: Listing,
    /// Pointers into a description: the field's name, its type, and the name that people see.
    pub name: String,
    /// Pointer to what the column is named after, where the field's own name tells nothing (a number).
    #[serde(default)]
    pub column: Option<String>,
    #[serde(rename = "type")]
    pub type_name: String,
    #[serde(default)]
    pub label: Option<String>,
    /// The app's type -> type of the column.
    pub types: BTreeMap<String, String>,
    /// Of a field whose type is not in `types`.
    #[serde(default = "text")]
    pub default_type: String,
    /// The app's type -> how its times are written, where they are not ISO 8601.
    #[serde(default)]
    pub formats: BTreeMap<String, Format>,
    /// Template of the field's place in a record, over `{name}`: `/properties/{name}`.
    pub field: String,
    /// What is around that place is an array of objects, and the object whose `key` is the field's name holds its value.
    #[serde(default)]
    pub pairs: Option<Pairs>,
    /// Texts that mean nothing in columns of other types than text.
    #[serde(default)]
    pub null_if: Vec<String>,
    /// Keep only descriptions whose field has one of these values (pointer -> texts).
    #[serde(default)]
    pub only: BTreeMap<String, OneOrMany>,
    /// Offered, but not among the columns of a new table unless asked for.
    #[serde(default)]
    pub off: Option<FieldIs>,
}

/// Where an object of an array says whose value it holds, and the value: pointers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairs {
    pub key: String,
    pub value: String,
}

impl Discover {
    /// The path of what is around the fields: `/properties`.
    pub fn folder(&self) -> Vec<String> {
        let mut path = field_path(&self.field);
        path.pop();
        path
    }
}

fn text() -> String {
    "text".to_string()
}

/// Which webhook events fill a collection.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Pointer to the name of the event.
    pub event_type: String,
    /// The events meant; empty for all.
    #[serde(default)]
    pub types: Vec<String>,
}

/// One column as the source defines it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub name: String,
    /// PostgreSQL type name: text, bigint, integer, numeric, double precision, boolean, timestamptz, date, jsonb.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Pointer in the record, or a bare key; the column's name when absent.
    #[serde(default)]
    pub field: Option<String>,
    #[serde(default)]
    pub format: Format,
    /// What the field holds is changed before it is stored.
    #[serde(default)]
    pub shape: Option<Shape>,
    /// Texts that mean nothing (`""`, `"null"`).
    #[serde(default)]
    pub null_if: Vec<String>,
    /// Not a field of the record: a template over settings and the names of the request, a fixed text, `#index`, `#key`,
    /// or with `^` before a pointer the value in what is around the record.
    #[serde(default)]
    pub value: Option<String>,
    /// Not a field of the record: a hash of these, for records that have no key of their own.
    #[serde(default)]
    pub hash: Vec<String>,
}

/// How a field's value is changed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "style", rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// Millionths: 1500000 is 1.5.
    Micros,
    /// An array of objects becomes one object: the value at `key` names the value at `value`.
    Pairs { key: String, value: String },
    /// The first element of an array.
    First,
    /// The texts of an array, joined.
    Join { separator: String },
    /// An array of objects becomes the array of their texts at the first of `fields` that has a value: each once, in order.
    Set { fields: Vec<String> },
    /// One parameter of a query string or address.
    Query { param: String },
    /// The first field that has a value; the column's own comes first.
    Or { fields: Vec<String> },
}

impl Column {
    /// The path in the record, one key an element.
    pub fn path(&self) -> Vec<String> {
        field_path(self.field.as_deref().unwrap_or(&self.name))
    }

    /// Whether it holds a field of the record as it is.
    pub fn is_plain(&self) -> bool {
        self.shape.is_none() && self.null_if.is_empty() && self.value.is_none() && self.hash.is_empty()
    }

    /// Whether it comes from a field of the record at all.
    pub fn is_of_record(&self) -> bool {
        self.value.is_none() && self.hash.is_empty()
    }
}

impl Collection {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// The collection as another listing of it is made: what that listing leaves out stays.
    pub fn listed_by(&self, list: &Listing) -> Collection {
        let other = list.clone();
        Collection {
            method: other.method,
            path: Some(other.path),
            params: other.params,
            headers: other.headers,
            json: other.json,
            form: other.form,
            records: if other.records == Records::default() { self.records.clone() } else { other.records },
            pages: other.pages.or_else(|| self.pages.clone()),
            cursor: other.cursor.or_else(|| self.cursor.clone()),
            ceiling: other.ceiling,
            errors: other.errors.into_iter().chain(self.errors.iter().cloned()).collect(),
            incremental: None,
            job: None,
            ..self.alone()
        }
    }

    /// The collection as its records are read otherwise than by its own listing, which tells more.
    pub fn alone(&self) -> Collection {
        let lookups = self.lookups.iter().map(|lookup| Lookup { listed: None, ..lookup.clone() }).collect();
        Collection { lookups, ..self.clone() }
    }

    /// A call as a listing of one reply, to build its request.
    pub fn asking(call: &Call) -> Collection {
        let call = call.clone();
        Collection {
            method: call.method,
            path: Some(call.path),
            params: call.params,
            headers: call.headers,
            json: call.json,
            form: call.form,
            pages: Some(Pages::None),
            ..Collection::default()
        }
    }
}
