//! Live queries: what a scan shows, and how many calls it makes before its rows are enough.

use super::{Reader, Simulator};
use crate::error::SyncError;
use crate::extract::sink::{Channel, Event, Sink};
use crate::extract::{Filter, FilterValue, Mode, Op, ReadRequest, Scan};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Notify;

/// A condition on a column, by its name.
pub type Condition<'a> = (&'a str, Op, FilterValue);

impl Reader {
    /// The rows of a live query, page by page as an executor wants them, until `enough` are there.
    pub async fn scan(
        &self,
        name: &str,
        conditions: &[Condition<'_>],
        limit: Option<u64>,
        enough: usize,
    ) -> Result<Vec<Vec<Value>>, SyncError> {
        let output = self.output(name);
        let place = |column: &str| output.columns.iter().position(|c| c.name == column).unwrap();
        let filter = |(column, op, value): &Condition<'_>| Filter {
            column: place(column),
            op: *op,
            values: vec![value.clone()],
        };
        let scan = Scan { filters: conditions.iter().map(filter).collect(), limit, ..Scan::default() };
        let request = ReadRequest { outputs: vec![output], mode: Mode::Scan(scan) };
        let woken = Arc::new(Notify::new());
        let wake = Arc::clone(&woken);
        let channel = Channel::new(0, Box::new(move || wake.notify_one()));
        let (sink, client) = (Sink::new(Arc::clone(&channel)), self.client());
        let mut reading = Box::pin(crate::extract::read(&client, request, &sink));
        let mut rows = Vec::new();
        loop {
            channel.want_more();
            let ended = tokio::select! {
                ended = &mut reading => Some(ended?),
                () = woken.notified() => None,
            };
            while let Some(event) = channel.take() {
                let Event::Page(page) = event else { panic!("{event:?}") };
                for (_, batch) in &page.batches {
                    assert_eq!(batch.rejected, [], "{name}");
                    rows.extend((0..batch.rows.len()).map(|row| super::rows::cells(batch, row)));
                }
            }
            if ended.is_some() || rows.len() >= enough {
                return Ok(rows);
            }
        }
    }

    /// The keys of a live query's rows, each once.
    pub async fn scanned_keys(&self, name: &str, conditions: &[Condition<'_>]) -> BTreeSet<String> {
        let rows = self.scan(name, conditions, None, usize::MAX).await;
        let rows = rows.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let key = self.output(name).key;
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
        let keys: Vec<String> =
            rows.iter().map(|row| key.iter().map(|part| text(&row[*part])).collect::<Vec<_>>().join(":")).collect();
        let once: BTreeSet<String> = keys.iter().cloned().collect();
        assert_eq!(once.len(), keys.len(), "{name} shows a row twice");
        once
    }

    /// The calls of a query for one row, which there must be.
    pub async fn calls_of_one_row(&self, simulator: &Simulator, name: &str) -> usize {
        simulator.forget_requests(self.app()).await;
        let rows = self.scan(name, &[], Some(1), 1).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert!(!rows.is_empty(), "{name} shows no row");
        simulator.requests(self.app()).await.len()
    }
}

/// Compares live queries of all collections with their local tables, which have just been read.
pub async fn all_show_what_is_stored(reader: &Reader, but: &[&str]) {
    for name in reader.collection_names().iter().filter(|name| !but.contains(&name.as_str())) {
        let stored = reader.tables[name].keys(false);
        assert!(!stored.is_empty(), "{name} is empty");
        let shown: BTreeSet<String> = reader.scanned_keys(name, &[]).await;
        // A flag of the record marks what is deleted; the listing still shows it.
        let shown: BTreeSet<String> = shown.difference(&reader.tables[name].keys(true)).cloned().collect();
        assert_eq!(shown, stored, "{name}");
    }
}
