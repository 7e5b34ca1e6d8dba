//! Reads the log: activities by themselves, leads by the ids of those that were made or changed, and which are gone.
//!
//! Decides where a run begins and what cursor it leaves. A run begins `overlap_seconds` before the cursor, since Marketo
//! writes its log late, by one paging token that serves every listing of the log. The cursor never passes the app's
//! clock at the first reply. After a run that saw nothing new it is that clock: left where it was, every quiet run
//! would read the leads of the last change again.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::{chosen_types, leads_by, What, TYPES_OF_A_CALL};
use crate::error::SyncError;
use crate::extract::rest::deleted::key_record;
use crate::extract::rest::discover;
use crate::extract::rest::full::{checkpoint, fill, fill_from, overlap_us, Progress};
use crate::extract::rest::incremental::{changes_of, check_age};
use crate::extract::rest::names::{fields, Names};
use crate::extract::rest::pages::{sized, Pager};
use crate::extract::rest::raw::text_at;
use crate::extract::rest::request::{now_us, shape, stamp_of, SECOND_US};
use crate::extract::rest::tables::Tables;
use crate::extract::rest::walk::{first_token_of, Part, Walk};
use crate::extract::sink::Sink;
use crate::extract::time::parse_iso;
use crate::extract::{cursor_of, Output, ReadEnd};
use crate::http::{ApiClient, Request};
use crate::manifest::{Collection, Deletes, Method, Param};
use std::collections::HashSet;

/// Ids that one call can ask for.
pub const IDS_OF_A_CALL: usize = 300;
/// Addresses beyond 8 KB are refused (414); what is longer than this goes into a body.
const LONGEST_QUERY: usize = 6000;
/// How long Marketo tells of deletions.
const DELETIONS_US: i64 = 14 * 86_400 * SECOND_US;

/// One reading of the log.
pub struct Log<'a> {
    pub api: &'a ApiClient,
    pub outputs: &'a [Output],
    pub base: &'a Collection,
    pub tables: Tables<'a>,
    pub progress: Progress,
    /// Leads that were asked for already: what they are told later is in their answer.
    asked: HashSet<String>,
}

/// Brings tables up to date.
pub async fn since_checkpoint(
    api: &ApiClient,
    outputs: &[Output],
    base: &Collection,
    sink: &Sink,
) -> Result<ReadEnd, SyncError> {
    let cursors = outputs.iter().map(|o| o.checkpoint.as_ref().and_then(cursor_of).and_then(parse_iso));
    let oldest = cursors.collect::<Option<Vec<i64>>>().and_then(|all| all.into_iter().min());
    let oldest = oldest.ok_or_else(|| SyncError::CursorExpired {
        detail: "the saved checkpoint has no instant in \"cursor\"".into(),
    })?;
    let mut log = Log::new(api, outputs, base);
    match What::of(base) {
        What::Activities => {
            let overlap = base.cursor.as_ref().map_or(0, overlap_us);
            log.activities(oldest.saturating_sub(overlap), &chosen_types(api.account())?, sink).await?;
        }
        What::Leads => {
            let list = changes_of(base);
            let cursor = list.cursor.as_ref().ok_or_else(|| SyncError::internal("changes without a cursor"))?;
            check_age(cursor, oldest)?;
            if now_us().saturating_sub(oldest) > DELETIONS_US {
                log.tables.note("deletions of more than 14 days ago are not told; cloudsync_reconcile finds them");
            }
            let from = oldest.saturating_sub(overlap_us(cursor));
            let token = first_token_of(api, &list, Some(from)).await?;
            log.leads(&list, from, token.clone(), sink).await?;
            log.deletions(from, token, sink).await?;
        }
    }
    let cursor = moved(oldest, log.progress.newest, log.progress.upper);
    Ok(log.end(Some(cursor)))
}

/// The cursor after a run; see the top of this file.
fn moved(old: i64, newest: Option<i64>, clock: Option<i64>) -> i64 {
    match (newest.filter(|stamp| *stamp > old), clock) {
        (Some(stamp), Some(clock)) => stamp.min(clock).max(old),
        (None, Some(clock)) => clock.max(old),
        // A reply without a Date: there is only the data to go by.
        (Some(stamp), None) => stamp,
        (None, None) => old,
    }
}

impl<'a> Log<'a> {
    pub fn new(api: &'a ApiClient, outputs: &'a [Output], base: &'a Collection) -> Self {
        let tables = Tables::new(api.account(), outputs, true);
        Log { api, outputs, base, tables, progress: Progress::default(), asked: HashSet::new() }
    }

    /// What the reading leaves: the same cursor for each of its tables.
    pub fn end(mut self, cursor: Option<i64>) -> ReadEnd {
        ReadEnd {
            checkpoints: self.outputs.iter().map(|_| Some(checkpoint(cursor))).collect(),
            notes: std::mem::take(&mut self.tables.notes),
            ..ReadEnd::default()
        }
    }

    /// The activities of these types from a time on, ten types to a call.
    pub async fn activities(&mut self, from: i64, types: &[String], sink: &Sink) -> Result<(), SyncError> {
        let token = first_token_of(self.api, self.base, Some(from)).await?;
        for some in types.chunks(TYPES_OF_A_CALL) {
            let mut names = Names::default();
            names.set("activity_type_ids", some.join(","));
            let part = Part { from: Some(from), token: token.clone(), names, ..Part::default() };
            let mut walk = Walk::new(self.api, self.base, self.outputs, part)?;
            while let Some(page) = walk.next_page().await? {
                self.progress.see(self.base, &page);
                fill_from(self.api, &mut self.tables, self.base, &page, None, sink).await?;
                sink.page(self.tables.page(None)).await?;
            }
        }
        Ok(())
    }

    /// The leads that were made or changed since a time, as they are now.
    pub async fn leads(
        &mut self,
        list: &Collection,
        from: i64,
        token: Option<String>,
        sink: &Sink,
    ) -> Result<(), SyncError> {
        let names = self.lead_fields();
        match self.leads_with(list, &names, from, token.clone(), sink).await {
            // A field was hidden or removed since the columns were made.
            Err(SyncError::FieldRefused { .. }) => {
                let there = self.fields_there(names).await?;
                self.asked.clear();
                self.leads_with(list, &there, from, token, sink).await
            }
            ended => ended,
        }
    }

    /// The fields that the table has columns for.
    pub fn lead_fields(&self) -> Vec<String> {
        fields(self.base, self.outputs).into_iter().flatten().collect()
    }

    /// Those of some fields that the account has; the others are told.
    pub async fn fields_there(&mut self, names: Vec<String>) -> Result<Vec<String>, SyncError> {
        let Some(known) = discover::names(self.api, self.base).await? else { return Ok(names) };
        let (there, gone): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| known.contains(name));
        if !gone.is_empty() {
            self.tables.note(&format!("the account has no field {}: nothing was read for it", gone.join(", ")));
        }
        Ok(there)
    }

    async fn leads_with(
        &mut self,
        list: &Collection,
        names: &[String],
        from: i64,
        token: Option<String>,
        sink: &Sink,
    ) -> Result<(), SyncError> {
        let mut waiting: Vec<String> = Vec::new();
        let (list, part) = log_of(list, names, from, token);
        let mut walk = Walk::new(self.api, &list, self.outputs, part)?;
        while let Some(page) = walk.next_page().await? {
            self.progress.see(&list, &page);
            waiting.extend(self.fresh(page.records()));
            while waiting.len() >= IDS_OF_A_CALL {
                let rest = waiting.split_off(IDS_OF_A_CALL);
                self.read_leads("id", &waiting, names, sink).await?;
                waiting = rest;
            }
        }
        if !waiting.is_empty() {
            self.read_leads("id", &waiting, names, sink).await?;
        }
        Ok(())
    }

    /// The leads of these entries of the log that were not asked for yet.
    pub fn fresh<'r>(&mut self, entries: impl Iterator<Item = &'r str>) -> Vec<String> {
        let ids = entries.filter_map(|raw| text_at(raw, "/leadId").map(|id| id.into_owned()));
        ids.filter(|id| self.asked.insert(id.clone())).collect()
    }

    /// Reads leads by their ids, or by another field.
    pub async fn read_leads(
        &mut self,
        filter: &str,
        values: &[String],
        names: &[String],
        sink: &Sink,
    ) -> Result<(), SyncError> {
        let shape = shape(self.base);
        let mut request = sized(leads_by(self.base, filter, values), &shape.pages, None);
        request.query.push(("fields".to_string(), names.join(",")));
        let mut pager = Pager::new(shape, in_body_if_long(request));
        while let Some(page) = pager.next_page(self.api).await? {
            fill(self.api, &mut self.tables, self.base, &page, sink).await?;
            sink.page(self.tables.page(None)).await?;
        }
        Ok(())
    }

    /// Marks the leads that were deleted since a time.
    async fn deletions(&mut self, from: i64, token: Option<String>, sink: &Sink) -> Result<(), SyncError> {
        let Deletes::Listing { list, key } = &self.base.deletes else { return Ok(()) };
        let list = self.base.listed_by(list);
        let part = Part { from: Some(from), token, ..Part::default() };
        let mut walk = Walk::new(self.api, &Collection { select: None, ..list.clone() }, self.outputs, part)?;
        while let Some(page) = walk.next_page().await? {
            for raw in page.records() {
                let stamp = list.cursor.as_ref().and_then(|cursor| stamp_of(cursor, raw));
                if let Some(record) = key_record(self.base, raw, key) {
                    (0..self.outputs.len()).for_each(|table| self.tables.gone(table, &record, stamp, true));
                }
            }
            sink.page(self.tables.page(None)).await?;
        }
        Ok(())
    }

    /// Activities that tell of deletions, of which extracts tell nothing.
    pub async fn deletion_activities(&mut self, start: i64, sink: &Sink) -> Result<(), SyncError> {
        let source = std::sync::Arc::clone(&self.api.account().source);
        let leads = source.collections.iter().find_map(|c| match &c.deletes {
            Deletes::Listing { list, .. } if c.reader == self.base.reader => Some(list),
            _ => None,
        });
        let Some(list) = leads else { return Ok(()) };
        let list = Collection { select: None, ..self.base.listed_by(list) };
        let from = start.max(now_us().saturating_sub(DELETIONS_US));
        let part = Part { from: Some(from), ..Part::default() };
        let mut walk = Walk::new(self.api, &list, self.outputs, part)?;
        while let Some(page) = walk.next_page().await? {
            self.progress.see(&list, &page);
            fill(self.api, &mut self.tables, self.base, &page, sink).await?;
            sink.page(self.tables.page(None)).await?;
        }
        Ok(())
    }
}

/// The list of changes of these fields, from a time on.
pub fn log_of(list: &Collection, names: &[String], from: i64, token: Option<String>) -> (Collection, Part) {
    // What is no value of the record does not change: asking for it would find nothing.
    let watched = names.iter().filter(|name| !matches!(name.as_str(), "id" | "createdAt" | "updatedAt"));
    let mut watched: Vec<String> = watched.cloned().collect();
    if watched.is_empty() {
        // The call needs one. New leads are told whichever it is.
        watched.push("email".to_string());
    }
    let mut template = Names::default();
    let mut list = Collection { select: None, ..list.clone() };
    if watched.iter().map(|name| name.len() + 3).sum::<usize>() > LONGEST_QUERY {
        list.form = std::mem::take(&mut list.params)
            .into_iter()
            .filter_map(|(name, param)| match param {
                Param::Text(text) => Some((name, text)),
                _ => None,
            })
            .collect();
        list.method = Method::Post;
        list.params.insert("_method".into(), Param::Text("GET".into()));
    }
    template.set_list("fields", watched);
    (list, Part { from: Some(from), token, names: template, ..Part::default() })
}

/// A call whose parameters are in its body, where its address would be too long.
///
/// Docs: "REST API", long URIs: a POST with `_method=GET` is a GET whose parameters are in a form.
fn in_body_if_long(mut request: Request) -> Request {
    // Each comma is three characters in an address.
    let length = |(name, value): &(String, String)| name.len() + value.len() + 2 * value.matches(',').count() + 2;
    if request.query.iter().map(length).sum::<usize>() > LONGEST_QUERY {
        request.post = true;
        request.form = std::mem::take(&mut request.query);
        request.query.push(("_method".to_string(), "GET".to_string()));
        request.size_place = None;
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_never_passes_the_apps_clock_and_never_moves_back() {
        for (name, old, newest, clock, want) in [
            ("a change", 100, Some(150), Some(200), 150),
            ("quiet", 100, None, Some(200), 200),
            ("quiet: only the overlap", 100, Some(90), Some(200), 200),
            ("a stamp in the future", 100, Some(900), Some(200), 200),
            ("the app's clock stepped back", 100, Some(150), Some(50), 100),
            ("no Date", 100, Some(150), None, 150),
            ("no Date and quiet", 100, None, None, 100),
        ] {
            assert_eq!(moved(old, newest, clock), want, "{name}");
        }
    }

    #[test]
    fn long_calls_go_into_the_body() {
        let base = Collection { path: Some("/rest/v1/leads.json".into()), ..Collection::default() };
        let short = in_body_if_long(leads_by(&base, "id", &["1".into(), "2".into()]));
        assert!(!short.post && short.query.contains(&("filterValues".into(), "1,2".into())));
        let many: Vec<String> = (1_000_000..1_000_800).map(|id| id.to_string()).collect();
        let long = in_body_if_long(leads_by(&base, "id", &many));
        assert_eq!((long.post, long.query), (true, vec![("_method".into(), "GET".into())]));
        assert_eq!(long.form.len(), 2);
        let names: Vec<String> = (0..600).map(|n| format!("customField{n}")).collect();
        let params = [("fields".to_string(), Param::Text("{fields}".into()))].into();
        let (list, _) = log_of(&Collection { params, ..Collection::default() }, &names, 0, None);
        assert_eq!((list.method, list.form.len()), (Method::Post, 1));
    }
}
