//! Reads Facebook Ads: the objects of ad accounts, and the figures of ads by day.
//!
//! Addresses, fields, filters and errors are in the source file. Here is what no file can say: ad accounts are listed once
//! for all tables (`accounts.rs`); a change of a campaign shows on its ads without a word there (`objects.rs`); figures are
//! read again for weeks (`insights.rs`), and many of them are worked out by report runs (`runs.rs`).
//!
//! Layer: extract. Knows nothing of Postgres.

mod accounts;
mod insights;
mod listing;
mod objects;
mod place;
mod runs;
mod scan;
mod words;

use super::rest::full::{checkpoint, overlap_us};
use super::rest::tables::{Stamp, Tables};
use super::rest::{feed, Rest};
use super::sink::Sink;
use super::{single_output, Mode, Op, OutColumn, Output, Pushed, ReadEnd, ReadRequest};
use crate::error::SyncError;
use crate::extract::reader::Reader;
use crate::http::{Account, ApiClient, Request};
use crate::manifest::Collection;
use serde_json::Value;

/// The collection of the ad accounts themselves, below which all others lie.
const ACCOUNTS: &str = "ad_accounts";
/// The reader that the source file names for figures; the other one is for objects.
const INSIGHTS: &str = "facebook_insights";

/// The reader of Facebook Ads.
pub struct Facebook;

impl Reader for Facebook {
    async fn read(api: &ApiClient, request: ReadRequest, sink: &Sink) -> Result<ReadEnd, SyncError> {
        let (resume, is_incremental, keeps_position) = match &request.mode {
            Mode::Scan(scan) => {
                return scan::read(api, single_output(&request)?, scan, sink).await.map_err(words::explained)
            }
            Mode::Full { resume } => (resume.as_ref(), false, true),
            Mode::Keys | Mode::Columns => (None, false, false),
            Mode::Incremental => (None, true, false),
        };
        let mut run = Run::new(api, &request.outputs, sink, keeps_position);
        run.read(resume, is_incremental).await.map_err(words::explained)
    }

    async fn check(api: &ApiClient, collection: Option<&Collection>) -> Result<(), SyncError> {
        match collection {
            Some(collection) => scan::check(api, collection).await.map_err(words::explained),
            None => Rest::check(api, None).await,
        }
    }

    fn first_request(request: &ReadRequest, account: &Account) -> Result<Request, SyncError> {
        let output = request.outputs.first().ok_or_else(|| SyncError::internal("a request without a table"))?;
        match &request.mode {
            Mode::Scan(scan) => scan::first_request(account, output, scan),
            _ => scan::first_request(account, output, &super::Scan::default()),
        }
    }

    fn pushable(collection: &Collection, column: &OutColumn, op: Op) -> Pushed {
        scan::pushable(collection, column, op)
    }

    /// What changed is read for all tables at once. First loads of figures take long and stand alone.
    fn stream(collection: &Collection, is_incremental: bool) -> Option<&'static str> {
        Some(match (is_incremental, is_figures(collection)) {
            (true, _) => "facebook",
            (false, false) => "facebook_objects",
            (false, true) => INSIGHTS,
        })
    }
}

fn is_figures(collection: &Collection) -> bool {
    collection.reader.as_deref() == Some(INSIGHTS)
}

/// One reading of some tables.
struct Run<'a> {
    api: &'a ApiClient,
    outputs: &'a [Output],
    tables: Tables<'a>,
    sink: &'a Sink,
    failed: Vec<(usize, SyncError)>,
    checkpoints: Vec<Option<Value>>,
    keeps_position: bool,
}

impl<'a> Run<'a> {
    fn new(api: &'a ApiClient, outputs: &'a [Output], sink: &'a Sink, keeps_position: bool) -> Self {
        let tables = Tables::new(api.account(), outputs, true);
        let checkpoints = vec![None; outputs.len()];
        Run { api, outputs, tables, sink, failed: Vec::new(), checkpoints, keeps_position }
    }

    async fn read(&mut self, resume: Option<&Value>, is_incremental: bool) -> Result<ReadEnd, SyncError> {
        let accounts = accounts::read(self).await?;
        if let Some(index) = self.index(ACCOUNTS) {
            self.set_checkpoint(index, checkpoint(accounts.now_us));
        }
        if is_incremental {
            objects::changes(self, &accounts).await?;
        } else {
            objects::all(self, &accounts, resume).await?;
        }
        if let Some(index) = self.outputs.iter().position(|output| is_figures(&output.collection)) {
            insights::read(self, index, &accounts, resume, is_incremental).await?;
        }
        self.give(None).await?;
        Ok(ReadEnd {
            checkpoints: std::mem::take(&mut self.checkpoints),
            failed: std::mem::take(&mut self.failed).into_iter().map(|(i, e)| (i, words::explained(e))).collect(),
            notes: std::mem::take(&mut self.tables.notes),
            ..ReadEnd::default()
        })
    }

    /// The table of a collection, as long as it can be read.
    fn index(&self, name: &str) -> Option<usize> {
        let index = self.outputs.iter().position(|output| output.collection.name == name)?;
        (!self.has_failed(index)).then_some(index)
    }

    fn output(&self, index: usize) -> Result<&'a Output, SyncError> {
        self.outputs.get(index).ok_or_else(|| SyncError::internal("a table that nobody asked for"))
    }

    fn has_failed(&self, index: usize) -> bool {
        self.failed.iter().any(|(failed, _)| *failed == index)
    }

    /// One table cannot be read; the others go on, unless the failure is everybody's.
    fn fail(&mut self, index: usize, error: SyncError) -> Result<(), SyncError> {
        if !feed::is_of_one(&error) {
            return Err(error);
        }
        // A later place would account for rows of this table that were never read.
        self.keeps_position = false;
        if !self.has_failed(index) {
            self.failed.push((index, error));
        }
        Ok(())
    }

    fn set_checkpoint(&mut self, index: usize, checkpoint: Value) {
        if let Some(place) = self.checkpoints.get_mut(index) {
            *place = Some(checkpoint);
        }
    }

    fn add(&mut self, index: usize, raw: &str) {
        self.tables.own(index, raw, Stamp::default());
    }

    /// Hands over what was gathered; `position` is where an interrupted reading goes on.
    async fn give(&mut self, position: Option<Value>) -> Result<(), SyncError> {
        let page = self.tables.page(position.filter(|_| self.keeps_position));
        self.sink.page(page).await
    }
}

/// How far before its last look a table is read again, microseconds.
fn overlap_of(collection: &Collection) -> i64 {
    collection.cursor.as_ref().map_or(0, overlap_us)
}
