//! Decides what one read of an object asks for: its fields, its cursor, how deletions show, and how long an address may be.
//!
//! Asked for are the columns of the table and nothing else, beside `Id`, the cursor field and `IsDeleted`, without which
//! a row has no key, no version and no deletion mark. What the app describes goes before what the source file says.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::soql::{self, Tail};
use crate::error::SyncError;
use crate::extract::{DescribedColumn, OutColumn, Output, Target};
use crate::http::{Account, Request};
use crate::manifest::{Column, Deletes};
use std::sync::Arc;

/// The version of the API when neither the server nor the source file names one.
const DEFAULT_VERSION: &str = "62.0";
/// Longest address we send. Salesforce refuses more than 16,384 bytes of address and headers (docs: REST API
/// Developer Guide, "API Request Limits"; 414 or 431).
const DEFAULT_URL_BYTES: usize = 16_000;
/// Below this nothing useful fits: splitting further would only repeat the refusal.
pub const LEAST_URL_BYTES: usize = 1_000;
/// Commits become visible out of the order of their stamps; ten minutes were enough for everyone who published a figure.
const DEFAULT_OVERLAP_SECONDS: u64 = 600;
/// Rows of a page; the most that Salesforce gives (docs: "Query Options Header").
pub const PAGE_ROWS: u32 = 2000;

pub const ID: &str = "Id";

/// What one read asks for.
#[derive(Clone, Debug)]
pub struct Plan {
    pub object: String,
    /// `/services/data/v62.0`.
    pub root: String,
    /// `Id`, the cursor field and the deletion mark: in every query, so that every part of a record tells which it is.
    pub base: Vec<String>,
    /// The other fields, as the table's columns name them.
    pub fields: Vec<String>,
    /// `None`: every read is a full listing.
    pub cursor: Option<String>,
    pub deleted: Option<String>,
    /// Whether the app can put records in the order of their ids (external and big objects cannot).
    pub orders_by_id: bool,
    /// How far before the cursor a read begins, in microseconds.
    pub overlap_us: i64,
    pub max_url_bytes: usize,
    /// Length of the address before the path.
    pub base_url_bytes: usize,
    /// The table, with everything ignored that belongs to the protocol and not to the record.
    pub output: Output,
}

/// `/services/data/v62.0`, whether the version is written with or without its `v`.
pub fn root(account: &Account) -> Result<String, SyncError> {
    let version = account
        .options
        .get("api_version")
        .map(String::as_str)
        .or(account.source.api_version.as_deref())
        .unwrap_or(DEFAULT_VERSION);
    let number = version.trim_start_matches(['v', 'V']);
    if number.is_empty() || !number.bytes().all(|c| c.is_ascii_digit() || c == b'.') {
        return Err(SyncError::BadSetting {
            option: "api_version".to_string(),
            detail: format!("\"{version}\" is not a version such as v{DEFAULT_VERSION}"),
        });
    }
    Ok(format!("/services/data/v{number}"))
}

/// A server option that holds a whole number; `None` when it is not set.
pub fn number_option(account: &Account, option: &str) -> Result<Option<u64>, SyncError> {
    let Some(text) = account.options.get(option) else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| SyncError::BadSetting {
        option: option.to_string(),
        detail: "it must be a whole number".to_string(),
    })
}

/// A server option that is on or off; off when it is not set.
pub fn is_on(account: &Account, option: &str) -> bool {
    account
        .options
        .get(option)
        .is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "on" | "true" | "yes" | "1"))
}

impl Plan {
    pub fn new(output: &Output, account: &Account) -> Result<Plan, SyncError> {
        let collection = &output.collection;
        if let Some(reason) = &collection.unsupported {
            return Err(SyncError::Unsupported { reason: reason.clone() });
        }
        let object = soql::check_name(&collection.object)?.to_string();
        let described = output.described.as_deref();
        let file_cursor = collection.cursor.as_ref();
        let cursor = match described {
            Some(described) => described.cursor_field.clone(),
            None => file_cursor.map(|cursor| cursor.field.trim_start_matches('/').to_string()),
        };
        let deleted = match (described, &collection.deletes) {
            (Some(described), _) => described.deleted_field.clone(),
            (None, Deletes::Flag { field, .. }) => Some(field.trim_start_matches('/').to_string()),
            (None, _) => None,
        };
        let overlap = file_cursor.map(|c| c.overlap_seconds).filter(|s| *s > 0).unwrap_or(DEFAULT_OVERLAP_SECONDS);
        let max_url_bytes = number_option(account, "max_url_bytes")?.map_or(DEFAULT_URL_BYTES, |n| n as usize);
        let mut base = vec![ID.to_string()];
        for field in cursor.iter().chain(&deleted) {
            push_new(&mut base, soql::check_name(field)?);
        }
        let mut fields = Vec::new();
        for column in &output.columns {
            let Some(field) = field_of(output, column) else { continue };
            let field = soql::check_name(&field)?;
            if !base.iter().any(|known| known.eq_ignore_ascii_case(field)) {
                push_new(&mut fields, field);
            }
        }
        // What is kept in `extra` has to be asked for, too.
        for column in kept_of(output) {
            push_new(&mut fields, soql::check_name(&column.field)?);
        }
        Ok(Plan {
            object,
            root: root(account)?,
            orders_by_id: described_column(output, ID).is_none_or(|id| id.sortable),
            overlap_us: i64::try_from(overlap).unwrap_or(i64::MAX / 1_000_000).saturating_mul(1_000_000),
            max_url_bytes: max_url_bytes.max(LEAST_URL_BYTES),
            base_url_bytes: account.token.as_ref().and_then(|t| t.base_url.as_ref()).map_or(80, String::len),
            output: without_protocol_keys(output, &base),
            base,
            fields,
            cursor,
            deleted,
        })
    }

    /// Fields without a column, which are kept in `extra`.
    pub fn kept(&self) -> impl Iterator<Item = &DescribedColumn> {
        kept_of(&self.output)
    }

    /// Every field of the read, in one list.
    pub fn all_fields(&self) -> Vec<String> {
        self.base.iter().chain(&self.fields).cloned().collect()
    }

    /// The field lists of the queries that together ask for everything: one, unless its address would be too long.
    pub fn parts(&self, tail: &Tail) -> Vec<Vec<String>> {
        let fixed = self.url_bytes(&tail.query(&self.base, &self.object));
        let room = self.max_url_bytes.saturating_sub(fixed);
        let mut parts = Vec::new();
        let mut part = self.base.clone();
        let mut used = 0;
        for field in &self.fields {
            let size = soql::encoded_len(field) + soql::encoded_len(",");
            if used > 0 && used + size > room {
                parts.push(std::mem::replace(&mut part, self.base.clone()));
                used = 0;
            }
            part.push(field.clone());
            used += size;
        }
        parts.push(part);
        parts
    }

    /// The length of the address that asks for a query.
    pub fn url_bytes(&self, query: &str) -> usize {
        self.base_url_bytes + self.root.len() + "/queryAll?q=".len() + soql::encoded_len(query)
    }

    /// `queryAll` also gives what is in the recycle bin, merged records and archived activities; it is asked wherever
    /// a record can say that it is deleted (docs: /queryAll).
    pub fn query_request(&self, query: String) -> Request {
        let verb = if self.deleted.is_some() { "queryAll" } else { "query" };
        Request {
            target: format!("{}/{verb}", self.root),
            query: vec![("q".to_string(), query)],
            headers: vec![page_header()],
            ..Request::default()
        }
    }
}

/// Asks for the largest pages; on every page, since a next link does not remember it.
pub fn page_header() -> (String, String) {
    ("Sforce-Query-Options".to_string(), format!("batchSize={PAGE_ROWS}"))
}

fn push_new(list: &mut Vec<String>, field: &str) {
    if !list.iter().any(|known| known.eq_ignore_ascii_case(field)) {
        list.push(field.to_string());
    }
}

/// The field to select for a column; `None` for what comes without asking (`attributes`).
///
/// A path is a relationship (`Owner.Name`), except into a compound field, which is selected as a whole.
pub fn field_of(output: &Output, column: &OutColumn) -> Option<String> {
    let first = column.path.first()?;
    if first == "attributes" {
        return None;
    }
    let is_compound = described_column(output, first).is_some_and(|c| c.type_name == "jsonb");
    Some(if is_compound { first.clone() } else { column.path.join(".") })
}

/// What the app says of a field.
pub fn described_column<'a>(output: &'a Output, field: &str) -> Option<&'a DescribedColumn> {
    output.described.as_deref()?.columns.iter().find(|column| column.field == field)
}

/// What the source file says of a field.
pub fn file_column<'a>(columns: &'a [Column], path: &[String]) -> Option<&'a Column> {
    columns.iter().find(|column| column.path() == path)
}

/// The described fields of a table that are kept in `extra`; none when it keeps nothing there.
pub fn kept_of(output: &Output) -> impl Iterator<Item = &DescribedColumn> {
    let described = output.described.iter().filter(|_| output.keep_extra);
    described.flat_map(|described| &described.columns).filter(|column| column.in_extra)
}

/// Records carry `attributes` and the fields we add to every query; those are no news for `extra`.
fn without_protocol_keys(output: &Output, base: &[String]) -> Output {
    let mut collection = (*output.collection).clone();
    collection.ignore.push("attributes".to_string());
    collection.ignore.extend(base.iter().cloned());
    Output { collection: Arc::new(collection), ..output.clone() }
}

/// How the values of a field behave in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    Bool,
    Integer,
    Number,
    Timestamp,
    Date,
    Text,
    /// The record's own id.
    Id,
    Json,
}

impl Nature {
    pub fn of_type(type_name: &str) -> Nature {
        match type_name {
            "boolean" => Nature::Bool,
            "smallint" | "integer" | "bigint" => Nature::Integer,
            "numeric" | "double precision" => Nature::Number,
            "timestamptz" => Nature::Timestamp,
            "date" => Nature::Date,
            "jsonb" => Nature::Json,
            _ => Nature::Text,
        }
    }

    pub fn of_target(target: Target) -> Nature {
        match target {
            Target::Bool => Nature::Bool,
            Target::Int2 | Target::Int4 | Target::Int8 => Nature::Integer,
            Target::Float8 | Target::Numeric => Nature::Number,
            Target::Timestamptz => Nature::Timestamp,
            Target::Date => Nature::Date,
            Target::Text => Nature::Text,
            Target::Json | Target::Jsonb => Nature::Json,
        }
    }

    pub fn is_numeric(self) -> bool {
        matches!(self, Nature::Integer | Nature::Number)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{account, column, output};
    use super::*;

    #[test]
    fn only_the_columns_are_asked_for_and_what_every_row_needs() {
        let plan = Plan::new(
            &output(&[column("name", "Name", Target::Text), column("owner", "/Owner/Name", Target::Text)]),
            &account(&[]),
        )
        .unwrap();
        assert_eq!(plan.all_fields(), ["Id", "SystemModstamp", "IsDeleted", "Name", "Owner.Name"]);
        assert_eq!(plan.root, "/services/data/v62.0");
        assert_eq!(plan.overlap_us, 600_000_000);
        let request = plan.query_request("SELECT Id FROM Account".into());
        assert_eq!(request.target, "/services/data/v62.0/queryAll");
        assert_eq!(request.headers, [("Sforce-Query-Options".to_string(), "batchSize=2000".to_string())]);
    }

    #[test]
    fn a_column_cannot_smuggle_soql() {
        let bad = output(&[column("x", "Name FROM User", Target::Text)]);
        assert!(Plan::new(&bad, &account(&[])).is_err());
    }

    #[test]
    fn wide_objects_are_asked_for_in_parts_that_each_fit() {
        let columns: Vec<_> = (0..500)
            .map(|n| column(&format!("f{n}"), &format!("A_Rather_Long_Field_Name_{n}__c"), Target::Text))
            .collect();
        let out = output(&columns);
        let plan = Plan::new(&out, &account(&[])).unwrap();
        let tail = Tail { order: "Id".into(), ..Tail::default() };
        let parts = plan.parts(&tail);
        assert_eq!(parts.len(), 2);
        let mut all: Vec<&String> = Vec::new();
        for part in &parts {
            assert_eq!(part[..3], ["Id", "SystemModstamp", "IsDeleted"]);
            assert!(plan.url_bytes(&tail.query(part, "Account")) <= 16_000);
            all.extend(&part[3..]);
        }
        assert_eq!(all.len(), 500);
        let narrow = Plan::new(&output(&columns[..10]), &account(&[])).unwrap();
        assert_eq!(narrow.parts(&tail).len(), 1);
        let small = Plan::new(&out, &account(&[("max_url_bytes", "2000")])).unwrap();
        assert!(small.parts(&tail).len() > 8);
    }

    #[test]
    fn versions_and_numbers_that_cannot_be_used_are_named() {
        for (options, option) in
            [(("api_version", "latest"), "api_version"), (("max_url_bytes", "many"), "max_url_bytes")]
        {
            match Plan::new(&output(&[]), &account(&[options])) {
                Err(SyncError::BadSetting { option: named, .. }) => assert_eq!(named, option),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(root(&account(&[("api_version", "58.0")])).unwrap(), "/services/data/v58.0");
    }
}
