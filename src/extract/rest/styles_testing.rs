//! A source, a reading and what came of it: what the tests of each style share.

use super::testing::{http_date, output, run, table, NOW};
use super::*;
use crate::extract::{Mode, Output, Page};
use crate::http::testing::{account, client, json as reply, Act, Seen, Server};
use crate::manifest::Source;
use serde_json::{json, Value};

/// A source with these members beside the usual ones.
pub fn source(members: Value) -> Source {
    crate::http::testing::source(members)
}

/// One collection of things with an id and the time of their last change.
pub fn things(members: Value) -> Value {
    let mut collection = json!({
        "name": "things", "path": "/things", "records": "/data", "primary_key": ["id"], "pages": {"style": "none"},
        "columns": [{"name": "id", "type": "text"}, {"name": "updated", "type": "timestamptz", "format": "unix"}],
    });
    for (name, value) in members.as_object().unwrap() {
        collection[name] = value.clone();
    }
    collection
}

pub fn thing(id: &str, updated: i64) -> Value {
    json!({"id": id, "updated": updated})
}

/// A reply that shows the app's clock.
pub fn dated(body: Value) -> Act {
    match reply(body) {
        Act::Reply(code, mut headers, body) => {
            headers.push(("Date", http_date(NOW)));
            Act::Reply(code, headers, body)
        }
        other => other,
    }
}

pub fn body(seen: &Seen) -> Value {
    serde_json::from_str(&seen.body).unwrap_or_default()
}

pub struct Done {
    pub pages: Vec<Page>,
    pub end: Result<ReadEnd, SyncError>,
}

impl Done {
    pub fn keys(&self) -> Vec<String> {
        table(&self.pages, 0).keys().into_iter().map(str::to_string).collect()
    }

    pub fn checkpoint(&self) -> Option<Value> {
        self.end.as_ref().unwrap().checkpoints[0].clone()
    }

    pub fn rows(&self) -> Vec<Vec<String>> {
        table(&self.pages, 0).0.into_values().map(|(cells, ..)| cells).collect()
    }
}

pub async fn read_with(
    source: &Source,
    server: &Server,
    outputs: Vec<Output>,
    mode: Mode,
    options: &[(&str, &str)],
) -> Done {
    let mut account = account(source.clone(), &server.url);
    account.options.extend(options.iter().map(|(name, value)| (name.to_string(), value.to_string())));
    let (pages, end) = run(&client(account), ReadRequest { outputs, mode }).await;
    Done { pages, end }
}

pub async fn full(source: &Source, server: &Server, name: &str) -> Done {
    read_with(source, server, vec![output(source, name, None)], Mode::Full { resume: None }, &[]).await
}

pub async fn changes(source: &Source, server: &Server, name: &str, since: Value) -> Done {
    read_with(source, server, vec![output(source, name, Some(since))], Mode::Incremental, &[]).await
}
