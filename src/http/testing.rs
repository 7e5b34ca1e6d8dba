//! An HTTP server for tests: each request is answered by a closure, which may also break the wire.
//!
//! Layer: http. Knows nothing of Postgres.

use super::{AccessToken, Account, ApiClient, ClientPool, Policy, Proof, Stats, TokenSource};
use crate::error::SyncError;
use crate::manifest::Source;
use crate::secret::Secret;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One request as it came in.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Seen {
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// What the server does with a request.
pub enum Act {
    Reply(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes, then the connection is closed.
    Raw(Vec<u8>),
    /// Nothing at all, or these bytes and then nothing.
    Hang(Vec<u8>),
    Reset,
}

/// A JSON reply with status 200.
pub fn json(body: impl ToString) -> Act {
    Act::Reply(200, vec![("Content-Type", "application/json".into())], body.to_string().into_bytes())
}

/// A JSON reply with another status.
pub fn status(code: u16, body: &str) -> Act {
    Act::Reply(code, vec![("Content-Type", "application/json".into())], body.as_bytes().to_vec())
}

pub struct Server {
    pub url: String,
    log: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(answer: impl FnMut(&Seen) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (answer, shared_log) = (Arc::new(Mutex::new(answer)), Arc::clone(&log));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&shared_log));
                tokio::spawn(async move {
                    serve(stream, |seen| {
                        log.lock().unwrap().push(seen.clone());
                        (*answer.lock().unwrap())(seen)
                    })
                    .await
                });
            }
        });
        Server { url, log, task }
    }

    /// Answers with one act after the other; the last one stays.
    pub async fn script(acts: Vec<fn() -> Act>) -> Self {
        let mut calls = 0;
        Server::start(move |_| {
            calls += 1;
            acts[(calls - 1).min(acts.len() - 1)]()
        })
        .await
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    pub fn calls(&self) -> usize {
        self.log.lock().unwrap().len()
    }
}

async fn serve(mut stream: TcpStream, answer: impl FnOnce(&Seen) -> Act) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
        }
        // Not HTTP (a TLS greeting): answer something that is not TLS, as a plain server does.
        if bytes.first() == Some(&0x16) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
            answer(&Seen { method: "TLS".into(), ..Seen::default() });
            return;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap(), first.next().unwrap());
    let url = reqwest::Url::parse(&format!("http://x{target}")).unwrap();
    let headers: BTreeMap<String, String> =
        lines.filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_lowercase(), v.to_string())).collect();
    let length: usize = headers.get("content-length").map_or(0, |l| l.parse().unwrap());
    while bytes.len() < head_end + 4 + length {
        let n = stream.read(&mut buffer).await.unwrap();
        bytes.extend_from_slice(&buffer[..n]);
    }
    let seen = Seen {
        method: method.into(),
        path: url.path().into(),
        query: url.query_pairs().into_owned().collect(),
        headers,
        body: String::from_utf8_lossy(&bytes[head_end + 4..]).into_owned(),
    };
    match answer(&seen) {
        Act::Reply(code, headers, body) => {
            let mut out = format!("HTTP/1.1 {code} X\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
            for (name, value) in headers {
                out.push_str(&format!("{name}: {value}\r\n"));
            }
            let _ = stream.write_all(format!("{out}\r\n").as_bytes()).await;
            let _ = stream.write_all(&body).await;
            let _ = stream.shutdown().await;
        }
        Act::Raw(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Act::Hang(bytes) => {
            let _ = stream.write_all(&bytes).await;
            std::future::pending::<()>().await;
        }
        Act::Reset => {
            let _ = stream.set_zero_linger();
        }
    }
}

pub const KEY: &str = "sk_test_canary0123456789";

/// A policy that tries fast and takes loopback.
pub fn policy() -> Policy {
    Policy {
        tries: 3,
        backoff_base: Duration::from_millis(1),
        backoff_cap: Duration::from_millis(4),
        allow_private_addresses: true,
        ..Policy::default()
    }
}

pub fn account(source: Source, url: &str) -> Account {
    Account {
        server: "acme".into(),
        source: Arc::new(source),
        options: BTreeMap::from([("base_url".to_string(), url.to_string())]),
        credentials: BTreeMap::from([("api_key".to_string(), Secret::new(KEY))]),
        policy: policy(),
        token: None,
        proof: Proof::default(),
        told: Default::default(),
    }
}

/// A source with nothing special; `more` are further members.
pub fn source(more: serde_json::Value) -> Source {
    let mut source = serde_json::json!({
        "source": "acme", "title": "Acme", "docs": "https://acme.test", "base_url": "https://api.acme.test",
        "auth": {"style": "bearer", "secret": "api_key", "credentials": [{"name": "api_key", "help": "key"}]},
        "error_message": ["/error/message"], "collections": [],
    });
    for (name, value) in more.as_object().unwrap() {
        source[name] = value.clone();
    }
    serde_json::from_value(source).unwrap()
}

/// Gives tokens named t1, t2, ... and counts them.
#[derive(Clone, Default)]
pub struct Tokens(pub Arc<Mutex<u32>>);

pub fn token(text: &str) -> AccessToken {
    AccessToken { token: Secret::new(text), base_url: None, expires_at: i64::MAX, new_refresh_token: None }
}

impl TokenSource for Tokens {
    fn renew(&self, _stale: Option<AccessToken>) -> BoxFuture<'static, Result<AccessToken, SyncError>> {
        let count = Arc::clone(&self.0);
        Box::pin(async move {
            tokio::task::yield_now().await;
            *count.lock().unwrap() += 1;
            let text = format!("token-t{}", count.lock().unwrap());
            Ok(token(&text))
        })
    }
}

pub fn client(account: Account) -> ApiClient {
    client_with(account, Tokens::default())
}

pub fn client_with(account: Account, tokens: Tokens) -> ApiClient {
    ApiClient::new(account, Arc::new(Stats::default()), Arc::new(tokens), &ClientPool::new()).unwrap()
}
