//! A small app for the reader's tests: lists by creation, a feed of changes, records by id.
//!
//! It follows Stripe's documented habits (newest first, `starting_after`, `created[gte]`), and keeps its own truth.

use super::*;
use crate::extract::batch::{Batch, Cell};
use crate::extract::record::string_of;
use crate::extract::sink::{Channel, Event};
use crate::extract::{OutColumn, Output, Page, Target};
use crate::http::testing::{account, client, json as reply, status, Act, Seen, Server};
use crate::manifest::{Format, Source};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub const NOW: i64 = 1_700_000_000;

/// The app's data, shared with the server that shows it.
#[derive(Default)]
pub struct App {
    pub things: Vec<Value>,
    pub events: Vec<Value>,
    pub lines: BTreeMap<String, Vec<Value>>,
    /// Seconds by the app's clock.
    pub now: i64,
    /// Replies left before the app fails for good.
    pub fails_after: Option<usize>,
    pub embedded: usize,
    /// A path that may not be read.
    pub forbidden: Option<String>,
}

pub type Shared = Arc<Mutex<App>>;

pub fn http_date(seconds: i64) -> String {
    chrono::DateTime::from_timestamp(seconds, 0).unwrap().format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn list(all: &[Value], seen: &Seen) -> Value {
    let number = |name: &str| seen.param(name).map(|v| v.parse::<i64>().unwrap());
    let mut sorted: Vec<&Value> = all.iter().collect();
    sorted.sort_by_key(|v| (v["created"].as_i64().unwrap(), v["id"].as_str().unwrap().to_string()));
    sorted.reverse();
    let kept = sorted.into_iter().filter(|v| {
        let created = v["created"].as_i64().unwrap();
        number("created[gte]").is_none_or(|n| created >= n) && number("created[lte]").is_none_or(|n| created <= n)
    });
    let mut kept: Vec<&Value> = kept.collect();
    if let Some(after) = seen.param("starting_after") {
        let at = kept.iter().position(|v| v["id"] == after).unwrap_or(kept.len() - 1);
        kept.drain(..=at);
    }
    let limit = number("limit").unwrap_or(10) as usize;
    let has_more = kept.len() > limit;
    kept.truncate(limit);
    json!({"object": "list", "data": kept, "has_more": has_more})
}

pub fn answer(app: &mut App, seen: &Seen) -> Act {
    if let Some(left) = &mut app.fails_after {
        if *left == 0 {
            return status(400, r#"{"error": {"message": "gone for now"}}"#);
        }
        *left -= 1;
    }
    if app.forbidden.as_deref().is_some_and(|path| seen.path.starts_with(path)) {
        return status(403, r#"{"error": {"message": "not yours"}}"#);
    }
    let parts: Vec<&str> = seen.path.trim_matches('/').split('/').collect();
    let with_lines = |app: &App, thing: &Value| {
        let mut thing = thing.clone();
        let id = thing["id"].as_str().unwrap().to_string();
        if let Some(lines) = app.lines.get(&id) {
            let shown: Vec<&Value> = lines.iter().take(app.embedded).collect();
            thing["lines"] = json!({"data": shown, "has_more": lines.len() > app.embedded});
        }
        thing
    };
    let body = match parts.as_slice() {
        ["things"] => {
            let all: Vec<Value> = app.things.iter().map(|thing| with_lines(app, thing)).collect();
            list(&all, seen)
        }
        ["events"] => list(&app.events, seen),
        ["things", id] => match app.things.iter().find(|t| t["id"] == *id) {
            Some(thing) => with_lines(app, thing),
            None => return status(404, r#"{"error": {"message": "no such thing"}}"#),
        },
        ["things", id, "lines"] => list(&app.lines[*id], seen),
        _ => return status(404, "{}"),
    };
    match reply(body) {
        Act::Reply(code, mut headers, body) => {
            headers.push(("Date", http_date(app.now)));
            Act::Reply(code, headers, body)
        }
        other => other,
    }
}

pub async fn serve(app: &Shared) -> Server {
    let app = Arc::clone(app);
    Server::start(move |seen| answer(&mut app.lock().unwrap(), seen)).await
}

fn pages() -> Value {
    json!({"style": "last_id", "param": "starting_after", "field": "/id", "more": "/has_more", "size_param": "limit", "size": 10})
}

pub fn source() -> Source {
    let cursor = json!({"field": "created", "param": "created[gte]", "upper_param": "created[lte]", "format": "unix",
        "created_only": true});
    let key = json!([{"name": "id", "type": "text"}, {"name": "created", "type": "timestamptz", "format": "unix"},
        {"name": "amount", "type": "bigint"}]);
    let line_columns =
        json!([{"name": "id", "type": "text"}, {"name": "thing_id", "type": "text"}, {"name": "n", "type": "bigint"}]);
    crate::http::testing::source(json!({
    "api_version": "v1",
    "check_path": "/account",
    "feed": {"path": "/events", "records": "/data", "pages": pages(), "event_type": "/type", "object": "/data/object",
        "version": "/api_version", "retention_days": 30, "newest_first": true,
        "cursor": {"field": "created", "param": "created[gte]", "format": "unix", "overlap_seconds": 300}},
    "collections": [
        {"name": "things", "object": "thing", "path": "/things", "records": "/data", "primary_key": ["id"], "pages": pages(),
         "cursor": cursor, "by_key": "/things/{id}", "gone": "/deleted", "deletes": {"style": "feed"},
         "filters": {"amount": {"=": "amount"}},
         "feed": {"types": ["thing.created", "thing.updated", "thing.deleted"], "deleted": ["thing.deleted"]},
         "columns": key},
        {"name": "lines", "object": "line", "primary_key": ["id"], "deletes": {"style": "with_parent"},
         "parent": {"collections": ["things"], "explode": "/lines", "add": {"thing_id": "/id"}, "key_column": "thing_id",
            "list": {"records": "/data", "more": "/has_more", "path": "/things/{id}/lines"}},
         "feed": {"types": ["thing.created", "thing.updated", "thing.deleted"], "deleted": ["thing.deleted"], "of_parent": true},
         "columns": line_columns},
        {"name": "balances", "object": "balance", "path": "/things", "records": "/data", "primary_key": ["id"],
         "pages": pages(), "cursor": cursor, "lookback": {"seconds": 1000, "at_least_every_seconds": 5000}, "columns": key},
        {"name": "parts", "object": "part", "primary_key": ["id"], "lookback": {"seconds": 1000, "at_least_every_seconds": 5000},
         "parent": {"collections": ["balances"], "explode": "/lines", "add": {"thing_id": "/id"}, "key_column": "thing_id",
            "list": {"records": "/data", "more": "/has_more", "path": "/things/{id}/lines"}},
         "columns": line_columns},
        {"name": "skus", "primary_key": ["id"], "unsupported": "ended", "columns": key}
    ]}))
}

pub fn output(source: &Source, name: &str, checkpoint: Option<Value>) -> Output {
    let collection = source.collection(name).unwrap().clone();
    let target = |name: &str| match name {
        "bigint" => Target::Int8,
        "timestamptz" => Target::Timestamptz,
        _ => Target::Text,
    };
    let columns: Vec<OutColumn> = collection
        .columns
        .iter()
        .map(|c| OutColumn { name: c.name.clone(), path: c.path(), target: target(&c.type_name), format: c.format })
        .collect();
    let key = vec![0];
    Output {
        collection: Arc::new(collection),
        columns,
        key,
        keep_extra: false,
        checkpoint,
        binary: None,
        described: None,
    }
}

pub fn thing(id: &str, created: i64, amount: i64) -> Value {
    json!({"id": id, "object": "thing", "created": created, "amount": amount})
}

pub fn event(id: &str, created: i64, kind: &str, object: Value) -> Value {
    json!({"id": id, "created": created, "type": kind, "api_version": "v1", "data": {"object": object}})
}

pub fn checkpoint(seconds: i64) -> Value {
    let text = crate::extract::time::to_iso_ms(seconds * 1_000_000);
    json!({"cursor": text, "checked_at": text})
}

pub fn api(source: Source, server: &Server, change: impl FnOnce(&mut crate::http::Account)) -> ApiClient {
    let mut account = account(source, &server.url);
    account.policy.max_concurrency = 1;
    change(&mut account);
    client(account)
}

/// Runs a read with room for everything, and gives the pages it made.
pub async fn run(api: &ApiClient, request: ReadRequest) -> (Vec<Page>, Result<ReadEnd, SyncError>) {
    let channel = Channel::new(1 << 30, Box::new(|| {}));
    let sink = Sink::new(Arc::clone(&channel));
    let end = crate::extract::read(api, request, &sink).await;
    let mut pages = Vec::new();
    while let Some(event) = channel.take() {
        match event {
            Event::Page(page) => pages.push(page),
            other => panic!("{other:?}"),
        }
    }
    (pages, end)
}

pub fn cell(batch: &Batch, cell: &Cell) -> String {
    match cell {
        Cell::Text(span) => String::from_utf8_lossy(batch.bytes(*span)).into_owned(),
        Cell::Int(n) => n.to_string(),
        Cell::Timestamp(t) => (t / 1_000_000).to_string(),
        Cell::Null => "null".into(),
        other => format!("{other:?}"),
    }
}

/// A table as a writer would leave it: by key, (cells, version in seconds, deleted), newer versions winning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table(pub BTreeMap<String, (Vec<String>, Option<i64>, bool)>);

impl Table {
    pub fn store(&mut self, pages: &[Page], output: usize) {
        for (_, batch) in pages.iter().flat_map(|p| &p.batches).filter(|(index, _)| *index == output) {
            for (index, meta) in batch.rows.iter().enumerate() {
                let cells: Vec<String> = batch.row(index).iter().map(|c| cell(batch, c)).collect();
                let version = meta.version.map(|v| v / 1_000_000);
                let key = cells[0].clone();
                if self.0.get(&key).is_none_or(|(_, held, _)| version >= *held) {
                    self.0.insert(key, (cells, version, meta.deleted.unwrap_or(false)));
                }
            }
        }
    }

    pub fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

pub fn table(pages: &[Page], output: usize) -> Table {
    let mut table = Table::default();
    table.store(pages, output);
    table
}

pub fn row_count(pages: &[Page]) -> usize {
    pages.iter().flat_map(|p| &p.batches).map(|(_, b)| b.rows.len()).sum()
}

#[test]
fn the_source_of_these_tests_reads_its_format() {
    assert_eq!(source().collections.len(), 5);
    assert_eq!(string_of("\"a\""), "a");
    assert_eq!(Format::default(), Format::Auto);
}
