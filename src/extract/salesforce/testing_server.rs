//! A small HTTP server inside the test: plays Salesforce by a closure and keeps what it was asked.

use super::testing::account;
use crate::error::SyncError;
use crate::extract::batch::{Cell, RowMeta};
use crate::extract::sink::{Channel, Event, Sink};
use crate::extract::{Mode, Output, Page, ReadEnd, ReadRequest};
use crate::http::{ApiClient, ClientPool, Stats};
use crate::manifest::Source;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The app's clock, in every reply. Calls take a moment, so reads count as begun one second earlier.
pub const DATE: &str = "Thu, 01 Jan 2026 12:00:00 GMT";
pub const BEGUN: &str = "2026-01-01T11:59:59.000Z";

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

pub fn ok(body: impl Into<String>) -> Answer {
    Answer { status: 200, headers: Vec::new(), body: body.into() }
}

pub fn failed(status: u16, code: &str, message: &str) -> Answer {
    Answer { status, headers: Vec::new(), body: format!(r#"[{{"errorCode":"{code}","message":"{message}"}}]"#) }
}

/// A page of records; `next` is the rest of the link.
pub fn page(records: &[String], next: Option<&str>) -> Answer {
    let link = next.map(|n| format!(r#""nextRecordsUrl":"/services/data/v62.0/query/{n}","#)).unwrap_or_default();
    let done = next.is_none();
    ok(format!(r#"{{"totalSize":0,"done":{done},{link}"records":[{}]}}"#, records.join(",")))
}

/// A record with an id of 18 characters, a stamp and a name.
pub fn record(number: u64, stamp: &str) -> String {
    let id = id(number);
    format!(
        r#"{{"attributes":{{"type":"Account"}},"Id":"{id}","SystemModstamp":"{stamp}","IsDeleted":false,"Name":"n{number}"}}"#
    )
}

pub fn id(number: u64) -> String {
    format!("001{number:012}AAA")
}

type Script = dyn Fn(&str) -> Answer + Send + Sync;

/// The server, and a client of it.
pub struct Played {
    pub api: ApiClient,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Played {
    /// `script` gets each request as `METHOD /path?query` with the query decoded, and its body behind a line break.
    pub async fn new(options: &[(&str, &str)], script: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, script) = (asked.clone(), Arc::new(script) as Arc<Script>);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, log.clone(), script.clone()));
            }
        });
        let mut account = account(options);
        let file: serde_json::Value = serde_json::from_str(include_str!("../../../sources/salesforce.json")).unwrap();
        let mut source: Source = (*account.source).clone();
        source.errors = serde_json::from_value(file["errors"].clone()).unwrap();
        source.base_url = base;
        account.source = Arc::new(source);
        account.policy.allow_private_addresses = true;
        account.policy.tries = 2;
        account.policy.backoff_base = std::time::Duration::from_millis(1);
        let tokens = Arc::new(Sink::new(Channel::new(1, Box::new(|| {}))));
        let api = ApiClient::new(account, Arc::new(Stats::default()), tokens, &ClientPool::new()).unwrap();
        Played { api, asked }
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub fn calls(&self) -> u64 {
        self.api.stats().calls.load(Ordering::Relaxed)
    }

    /// Reads to the end with room for everything.
    pub async fn read(&self, output: Output, mode: Mode) -> Got {
        let channel = Channel::new(1 << 30, Box::new(|| {}));
        let request = ReadRequest { outputs: vec![output], mode };
        let end = crate::extract::read(&self.api, request, &Sink::new(channel.clone())).await;
        let mut pages = Vec::new();
        while let Some(Event::Page(page)) = channel.take() {
            pages.push(page);
        }
        Got { end, pages }
    }
}

/// What a read gave.
pub struct Got {
    pub end: Result<ReadEnd, SyncError>,
    pub pages: Vec<Page>,
}

impl Got {
    /// The texts of one column, row by row; `-` for null.
    pub fn texts(&self, column: usize) -> Vec<String> {
        let batches = self.pages.iter().flat_map(|page| &page.batches);
        batches
            .flat_map(|(_, batch)| {
                (0..batch.rows.len()).map(|row| match batch.row(row)[column] {
                    Cell::Text(span) => String::from_utf8(batch.bytes(span).to_vec()).unwrap(),
                    Cell::Null => "-".to_string(),
                    other => format!("{other:?}"),
                })
            })
            .collect()
    }

    pub fn rows(&self) -> Vec<RowMeta> {
        self.pages.iter().flat_map(|page| &page.batches).flat_map(|(_, batch)| batch.rows.clone()).collect()
    }

    pub fn checkpoint(&self) -> serde_json::Value {
        self.end.as_ref().unwrap().checkpoints[0].clone().unwrap()
    }

    pub fn notes(&self) -> &[String] {
        &self.end.as_ref().unwrap().notes
    }
}

async fn serve(mut stream: TcpStream, log: Arc<Mutex<Vec<String>>>, script: Arc<Script>) -> Option<()> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        stream.read_buf(&mut bytes).await.ok().filter(|n| *n > 0)?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let header = |name: &str| {
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(|v| v.trim().to_string()))
    };
    let length: usize = header("content-length:").and_then(|v| v.parse().ok()).unwrap_or(0);
    while bytes.len() < head_end + 4 + length {
        stream.read_buf(&mut bytes).await.ok().filter(|n| *n > 0)?;
    }
    let line = head.lines().next()?.strip_suffix(" HTTP/1.1")?;
    let mut asked = decoded(line);
    if header("if-modified-since:").is_some() {
        asked.push_str(" (if modified)");
    }
    if length > 0 {
        asked.push('\n');
        asked.push_str(&String::from_utf8_lossy(&bytes[head_end + 4..]));
    }
    if line.contains("q=") && !asked.ends_with("LIMIT 1") {
        assert_eq!(header("sforce-query-options:").as_deref(), Some("batchsize=2000"), "{asked}");
    }
    log.lock().unwrap().push(asked.clone());
    let answer = script(&asked);
    let mut reply = format!("HTTP/1.1 {} X\r\nDate: {DATE}\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        reply.push_str(&format!("{name}: {value}\r\n"));
    }
    reply.push_str(&format!("Content-Length: {}\r\n\r\n{}", answer.body.len(), answer.body));
    stream.write_all(reply.as_bytes()).await.ok()
}

fn decoded(line: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Runs a test on a runtime as small as the I/O thread's.
pub fn on_runtime<F: std::future::Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}
