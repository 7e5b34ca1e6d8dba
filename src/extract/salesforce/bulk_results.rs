//! Reads one page of a Bulk job's results: CSV whose header names the fields, into rows.
//!
//! Nulls are empty, instants end in `Z` (REST has `+0000`). The reply tells how many records it has; another number means
//! that it was cut off.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::plan::{field_of, Nature, Plan, ID};
use crate::extract::batch::Batch;
use crate::extract::csv;
use crate::extract::record::{About, RecordParser};
use crate::extract::text::quoted;
use crate::extract::time::parse_iso;
use crate::http::Reply;
use std::borrow::Cow;

/// Rows given to the sink at once.
const BATCH_ROWS: usize = 2_000;

/// Which column each field of the CSV goes to.
pub struct Columns {
    /// (field as selected, indexes of the columns).
    of_field: Vec<(String, Vec<usize>)>,
    /// Fields that are kept in `extra`.
    kept: Vec<(String, Nature)>,
    cursor: Option<String>,
    deleted: Option<String>,
}

impl Columns {
    pub fn of(plan: &Plan) -> Self {
        let mut of_field: Vec<(String, Vec<usize>)> = Vec::new();
        for (index, column) in plan.output.columns.iter().enumerate() {
            let Some(field) = field_of(&plan.output, column) else { continue };
            match of_field.iter_mut().find(|(known, _)| *known == field) {
                Some((_, indexes)) => indexes.push(index),
                None => of_field.push((field, vec![index])),
            }
        }
        let kept = plan.kept().map(|column| (column.field.clone(), Nature::of_type(&column.type_name)));
        Columns { of_field, kept: kept.collect(), cursor: plan.cursor.clone(), deleted: plan.deleted.clone() }
    }
}

/// A value of the CSV as the same record read by a query has it, or the row would change with the next run.
fn as_json(nature: Nature, text: &str) -> Cow<'_, str> {
    match nature {
        Nature::Bool | Nature::Integer | Nature::Number => Cow::from(text),
        Nature::Timestamp => {
            quoted(&text.strip_suffix('Z').map_or(text.to_string(), |time| format!("{time}+0000"))).into()
        }
        _ => quoted(text).into(),
    }
}

/// Rows in batches, and the locator of the next page.
pub type ReadResults = (Vec<Batch>, Option<String>);

/// The rows of one page of results.
pub fn read_results(
    reply: &Reply,
    columns: &Columns,
    parser: &RecordParser,
    width: usize,
) -> Result<ReadResults, String> {
    let header = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok());
    let text = String::from_utf8_lossy(&reply.body);
    let mut reader = csv::Reader::new(&text);
    let mut fields: Vec<Cow<'_, str>> = Vec::new();
    if !reader.next(&mut fields)? {
        return Err("results without a header line".to_string());
    }
    let names: Vec<String> = fields.iter().map(|name| name.to_string()).collect();
    let place = |field: &str| names.iter().position(|name| name.eq_ignore_ascii_case(field));
    if place(ID).is_none() {
        return Err("results without the field Id".to_string());
    }
    let targets: Vec<(usize, usize)> = columns
        .of_field
        .iter()
        .filter_map(|(field, indexes)| place(field).map(|at| indexes.iter().map(move |index| (at, *index))))
        .flatten()
        .collect();
    let kept = columns.kept.iter().filter_map(|(field, nature)| Some((field.as_str(), *nature, place(field)?)));
    let kept: Vec<(&str, Nature, usize)> = kept.collect();
    let cursor = columns.cursor.as_deref().and_then(place);
    let deleted = columns.deleted.as_deref().and_then(place);
    let mut batches = Vec::new();
    let mut batch = Batch::new(width);
    let mut records = 0_usize;
    while reader.next(&mut fields)? {
        records += 1;
        let text = |at: usize| fields.get(at).map(Cow::as_ref).unwrap_or_default();
        let row: Vec<(usize, &str)> = targets.iter().map(|(at, column)| (*column, text(*at))).collect();
        let about = About {
            version: cursor.and_then(|at| parse_iso(text(at))),
            deleted: deleted.map(|at| text(at) == "true"),
            ..About::default()
        };
        let of_extra = kept.iter().map(|(field, nature, at)| (*field, *nature, text(*at)));
        let of_extra = of_extra.filter(|(_, _, text)| !text.is_empty());
        let extra: Vec<(&str, Cow<'_, str>)> =
            of_extra.map(|(name, nature, text)| (name, as_json(nature, text))).collect();
        parser.push_fields(&mut batch, &row, &extra, &about);
        if records.is_multiple_of(BATCH_ROWS) {
            batches.push(std::mem::replace(&mut batch, Batch::new(width)));
        }
    }
    let told = header("sforce-numberofrecords").and_then(|text| text.trim().parse::<usize>().ok());
    if told.is_some_and(|told| told != records) {
        return Err(format!("{records} records instead of {}", told.unwrap_or_default()));
    }
    if !batch.rows.is_empty() || !batch.rejected.is_empty() || batches.is_empty() {
        batches.push(batch);
    }
    // The text null marks the end (docs: "Get Results for a Query Job").
    let next = header("sforce-locator").filter(|locator| *locator != "null" && !locator.is_empty());
    Ok((batches, next.map(str::to_string)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{account, column, described, output};
    use super::*;
    use crate::extract::batch::Cell;
    use crate::extract::{Described, Output, Target};
    use reqwest::header::{HeaderMap, HeaderValue};
    use std::sync::Arc;
    use std::time::Duration;

    fn reply(body: &str, locator: &'static str, records: &'static str) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert("sforce-locator", HeaderValue::from_static(locator));
        headers.insert("sforce-numberofrecords", HeaderValue::from_static(records));
        Reply { status: 200, headers, body: body.to_string().into(), date_us: None, elapsed: Duration::ZERO }
    }

    #[test]
    fn results_become_rows_with_versions_and_deletions() {
        let out = output(&[
            column("name", "Name", Target::Text),
            column("id", "Id", Target::Text),
            column("revenue", "AnnualRevenue", Target::Numeric),
        ]);
        let plan = Plan::new(&out, &account(&[])).unwrap();
        let (columns, parser) = (Columns::of(&plan), RecordParser::new(&plan.output));
        let body = "\"Id\",\"SystemModstamp\",\"IsDeleted\",\"Name\",\"AnnualRevenue\"\n\
                    \"1\",\"1970-01-01T00:00:01.000Z\",\"true\",\"a, \"\"b\"\"\",\"1.50\"\n\
                    \"2\",\"1970-01-01T00:00:02.000Z\",\"false\",\"\",\"\"\n";
        let (batches, next) = read_results(&reply(body, "MTAw", "2"), &columns, &parser, 3).unwrap();
        assert_eq!(next.as_deref(), Some("MTAw"));
        let batch = &batches[0];
        let Cell::Text(name) = batch.row(0)[0] else { panic!("text") };
        assert_eq!(batch.bytes(name), b"a, \"b\"");
        let Cell::Number(revenue) = batch.row(0)[2] else { panic!("number") };
        assert_eq!(batch.bytes(revenue), b"1.50");
        assert_eq!((batch.rows[0].version, batch.rows[0].deleted), (Some(1_000_000), Some(true)));
        assert_eq!((batch.rows[1].version, batch.rows[1].deleted), (Some(2_000_000), Some(false)));
        assert_eq!((batch.row(1)[0], batch.row(1)[2]), (Cell::Null, Cell::Null));

        let (_, end) = read_results(&reply(body, "null", "2"), &columns, &parser, 3).unwrap();
        assert_eq!(end, None);
        let short = read_results(&reply(body, "null", "3"), &columns, &parser, 3);
        assert!(short.is_err(), "a record is missing");
    }
    /// A row that a job gave and one that a query gave are the same row.
    #[test]
    fn fields_without_a_column_are_kept_as_a_query_has_them() {
        let fields = [
            ("Region__c", "text"),
            ("Score__c", "double precision"),
            ("Vip__c", "boolean"),
            ("Seen__c", "timestamptz"),
            ("Born__c", "date"),
            ("Empty__c", "text"),
        ];
        let mut described = Described::clone(&described(&fields.map(|(field, type_name)| (field, type_name, true))));
        described.columns.iter_mut().for_each(|column| column.in_extra = true);
        let out = Output { described: Some(Arc::new(described)), ..output(&[column("id", "Id", Target::Text)]) };
        let plan = Plan::new(&out, &account(&[])).unwrap();
        let parser = RecordParser::new(&plan.output);
        let body = "\"Id\",\"SystemModstamp\",\"IsDeleted\",\"Region__c\",\"Score__c\",\"Vip__c\",\"Seen__c\",\"Born__c\",\"Empty__c\"\n\
                    \"1\",\"1970-01-01T00:00:01.000Z\",\"false\",\"EM\"\"EA\",\"12.50\",\"true\",\"2026-01-02T03:04:05.000Z\",\"1990-01-02\",\"\"\n";
        let (batches, _) = read_results(&reply(body, "null", "1"), &Columns::of(&plan), &parser, 1).unwrap();
        let mut queried = Batch::new(1);
        let record = r#"{"attributes": {"type": "Account"}, "Id": "1", "SystemModstamp": "1970-01-01T00:00:01.000+0000",
            "IsDeleted": false, "Region__c": "EM\"EA", "Score__c": 12.50, "Vip__c": true,
            "Seen__c": "2026-01-02T03:04:05.000+0000", "Born__c": "1990-01-02", "Empty__c": null}"#;
        parser.push(
            &mut queried,
            record,
            &About { version: Some(1_000_000), deleted: Some(false), ..About::default() },
        );
        let extra = |batch: &Batch| batch.text(&batch.rows[0].extra).into_owned();
        assert_eq!(extra(&batches[0]), extra(&queried));
        assert!(extra(&queried).contains(r#""Score__c":12.50"#), "{}", extra(&queried));
        assert_eq!(batches[0].rows[0].hash, queried.rows[0].hash);
    }
}
