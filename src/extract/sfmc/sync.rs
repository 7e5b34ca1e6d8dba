//! Decides what a refresh and a live query retrieve.
//!
//! A refresh retrieves everything each time and leaves no checkpoint: only a complete listing tells of deletions, and up
//! to 2500 records that is one call, as many as asking for changes would cost.
//!
//! A Retrieve that broke on the way cannot be taken up, so it begins anew. Rows that were given come again, unchanged.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::describe::{self, is_part, property_of};
use super::filter;
use super::soap::{self, BATCH};
use crate::error::SyncError;
use crate::extract::batch::Batch;
use crate::extract::record::{About, RecordParser};
use crate::extract::sink::Sink;
use crate::extract::{Described, Output, Page, ReadEnd, Scan};
use crate::http::{ApiClient, Request};
use crate::manifest::field_path;

/// A Retrieve that breaks more often than this is given up.
const NEW_STARTS: u32 = 2;
/// Empty batches in a row that say there is more, until we stop believing it.
const EMPTY_BATCHES: u32 = 3;

/// One reading of one table.
pub struct Reading<'a> {
    api: &'a ApiClient,
    output: &'a Output,
    sink: &'a Sink,
    parser: RecordParser,
    properties: Vec<String>,
    retrievable: Vec<String>,
    key_only: bool,
    given: u64,
    notes: Vec<String>,
}

/// How a Retrieve ended.
enum Ended {
    Whole,
    /// Half way, and nobody can say what is missing.
    Broken(SyncError),
}

/// The properties to ask for: what the table has columns for, as far as the account can retrieve it.
fn properties(output: &Output, retrievable: &[String], key_only: bool) -> Vec<String> {
    let key = output.key.iter().filter_map(|index| output.columns.get(*index));
    let mut wanted: Vec<String> = key.map(|column| property_of(&column.path)).collect();
    if !key_only {
        wanted.extend(output.columns.iter().map(|column| property_of(&column.path)));
        let cursor = output.collection.cursor.as_ref();
        wanted.extend(cursor.map(|cursor| property_of(&field_path(&cursor.field))));
    }
    let mut asked: Vec<String> = Vec::new();
    for name in wanted {
        for property in retrievable.iter().filter(|property| is_part(property, &name)) {
            if !asked.contains(property) {
                asked.push(property.clone());
            }
        }
    }
    asked
}

/// What a saved description says can be retrieved.
fn known(described: &Described) -> Vec<String> {
    let columns = described.columns.iter().filter(|column| column.filterable);
    columns.map(|column| property_of(&field_path(&column.field))).collect()
}

/// The first call of a live query, as EXPLAIN shows it. What was never described is shown whole.
pub fn first_request(output: &Output, scan: &Scan) -> Result<Request, SyncError> {
    let all = || output.columns.iter().map(|column| property_of(&column.path)).collect();
    let retrievable: Vec<String> = output.described.as_deref().map_or_else(all, known);
    let parts = filter::of_scan(output, scan, &|name| retrievable.iter().any(|known| known == name));
    let filter = filter::written(&parts)?;
    let asked = properties(output, &retrievable, false);
    soap::retrieve_request(&output.collection, &asked, filter.as_deref(), size_for(scan.limit))
}

fn size_for(limit: Option<u64>) -> u32 {
    limit.and_then(|limit| u32::try_from(limit).ok()).map_or(BATCH, |limit| limit.clamp(1, BATCH))
}

impl<'a> Reading<'a> {
    pub async fn new(
        api: &'a ApiClient,
        output: &'a Output,
        key_only: bool,
        sink: &'a Sink,
    ) -> Result<Self, SyncError> {
        let retrievable: Vec<String> = match output.described.as_deref() {
            Some(described) => known(described),
            None => {
                let found = describe::properties(api, &output.collection).await?;
                found.into_iter().filter(|property| property.is_retrievable).map(|property| property.name).collect()
            }
        };
        let properties = properties(output, &retrievable, key_only);
        let lacks = |index: &usize| {
            let column = output.columns.get(*index)?;
            let name = property_of(&column.path);
            (!properties.iter().any(|property| is_part(property, &name))).then_some(name)
        };
        if let Some(name) = output.key.iter().find_map(lacks) {
            let object = &output.collection.object;
            return Err(SyncError::FieldRefused { detail: format!("the account cannot retrieve {name} of {object}") });
        }
        Ok(Reading {
            api,
            output,
            sink,
            parser: RecordParser::new(output),
            properties,
            retrievable,
            key_only,
            given: 0,
            notes: Vec::new(),
        })
    }

    /// Everything, or the keys of everything. A Retrieve that broke is begun anew.
    pub async fn all(mut self) -> Result<ReadEnd, SyncError> {
        let mut starts = 0;
        loop {
            match self.retrieve(None, BATCH, None).await? {
                Ended::Whole => return Ok(self.end()),
                Ended::Broken(error) if starts == NEW_STARTS => return Err(error),
                Ended::Broken(_) => {
                    starts += 1;
                    let note = "a Retrieve broke half way and was begun anew".to_string();
                    if !self.notes.contains(&note) {
                        self.notes.push(note);
                    }
                }
            }
        }
    }

    fn end(self) -> ReadEnd {
        ReadEnd { checkpoints: vec![None], notes: self.notes, ..ReadEnd::default() }
    }

    /// The batches of one Retrieve, until there are no more, or no more are wanted.
    async fn retrieve(&mut self, filter: Option<&str>, size: u32, limit: Option<u64>) -> Result<Ended, SyncError> {
        let collection = &self.output.collection;
        let mut request = soap::retrieve_request(collection, &self.properties, filter, size)?;
        let (mut batches, mut empty) = (0, 0);
        loop {
            let is_first = batches == 0;
            let answer = soap::retrieve(self.api, request).await;
            let batch = match answer.and_then(|batch| Ok((batch.has_more(self.api, collection)?, batch))) {
                Err(error) if !is_first && is_broken(&error) => return Ok(Ended::Broken(error)),
                batch => batch?,
            };
            let (has_more, batch) = batch;
            batches += 1;
            empty = if batch.records.is_empty() { empty + 1 } else { 0 };
            self.give(&batch).await?;
            if !has_more || limit.is_some_and(|limit| self.given >= limit) {
                return Ok(Ended::Whole);
            }
            if empty == EMPTY_BATCHES {
                let detail = format!("{EMPTY_BATCHES} empty batches in a row claim that there is more");
                return Err(SyncError::PagerLoop { detail });
            }
            let most = self.api.account().policy.max_pages;
            if batches >= most {
                return Err(SyncError::TooLarge { what: "a Retrieve in batches".into(), limit: most });
            }
            let id = batch.id.as_deref().ok_or_else(|| SyncError::PagerLoop {
                detail: "the app says that there is more, and does not say how to go on".to_string(),
            })?;
            request = soap::continue_request(collection, id)?;
        }
    }

    /// Gives a batch's rows to the sink.
    async fn give(&mut self, answer: &soap::Batch) -> Result<(), SyncError> {
        let about = About { key_only: self.key_only, ..About::default() };
        let mut batch = Batch::new(self.output.columns.len());
        for record in &answer.records {
            self.parser.push(&mut batch, record, &about);
        }
        self.given += batch.rows.len() as u64;
        if batch.rows.is_empty() && batch.rejected.is_empty() {
            return Ok(());
        }
        self.sink.page(Page { batches: vec![(0, batch)], position: None }).await
    }

    /// Answers a live query. Where the app refuses a condition after all, it is asked for everything: Postgres checks
    /// every row anyway.
    pub async fn scan(mut self, scan: &Scan) -> Result<ReadEnd, SyncError> {
        let retrievable = &self.retrievable;
        let parts = filter::of_scan(self.output, scan, &|name| retrievable.iter().any(|known| known == name));
        let (size, filter) = (size_for(scan.limit), filter::written(&parts)?);
        let ended = match self.retrieve(filter.as_deref(), size, scan.limit).await {
            Err(error) if filter.is_some() && self.given == 0 && soap::is_of_filter(&error) => {
                self.notes.push("the app refused a condition and was asked for everything".to_string());
                self.retrieve(None, size, scan.limit).await?
            }
            ended => ended?,
        };
        match ended {
            Ended::Whole => Ok(self.end()),
            // Rows that a query was given cannot be taken back.
            Ended::Broken(error) => Err(error),
        }
    }
}

/// Whether what came after the first batch may be had by beginning anew.
fn is_broken(error: &SyncError) -> bool {
    matches!(error, SyncError::CursorExpired { .. } | SyncError::Unavailable { .. } | SyncError::Unreadable { .. })
}
