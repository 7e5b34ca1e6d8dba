//! Starts the simulator's program and talks to its control API.

use serde_json::{json, Value};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The program: the one that `CLOUDSYNC_SIMULATOR_PROGRAM` names, else it is built now.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let built = || {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let arguments = ["build", "-q", "-p", "cloudsync-simulator", "--message-format=json"];
        let output = Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut executables = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
        executables.next_back().expect("cargo names the program")
    };
    PROGRAM
        .get_or_init(|| std::env::var_os("CLOUDSYNC_SIMULATOR_PROGRAM").map(PathBuf::from).unwrap_or_else(built))
        .clone()
}

/// A simulator on free ports. It ends with this value, or by itself after ten minutes.
pub struct Simulator {
    child: Child,
    addresses: Value,
    http: reqwest::Client,
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Simulator {
    pub fn start() -> Simulator {
        let mut command = Command::new(program());
        let mut child =
            command.args(["--stop-after-seconds", "600"]).stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addresses = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Simulator { child, addresses, http }
    }

    /// Where an app is.
    pub fn address(&self, app: &str) -> String {
        self.addresses[app]["http"].as_str().unwrap().to_string()
    }

    async fn call(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.addresses["control"].as_str().unwrap());
        let request = self.http.request(method.clone(), &url).body(body.to_string());
        let answer = request.header("Content-Type", "application/json").send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call(reqwest::Method::GET, path, json!({})).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.call(reqwest::Method::POST, path, body).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Value {
        self.call(reqwest::Method::PATCH, path, body).await
    }

    pub async fn delete(&self, path: &str) -> Value {
        self.delete_what(path, json!({})).await
    }

    pub async fn delete_what(&self, path: &str, body: Value) -> Value {
        self.call(reqwest::Method::DELETE, path, body).await
    }

    /// What an app itself answers to who holds a token.
    pub async fn shown(&self, app: &str, path: &str, token: &str) -> Value {
        let request = self.http.get(format!("{}{path}", self.address(app))).bearer_auth(token);
        let text = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// What a collection holds: `{"id", "version", "deleted", "record"}` of each record.
    pub async fn ledger(&self, app: &str, collection: &str) -> Vec<Value> {
        self.get(&format!("/{app}/{collection}/ledger")).await.as_array().unwrap().clone()
    }

    /// Ids of records that are there, or that are marked as deleted.
    pub async fn ids(&self, app: &str, collection: &str, deleted: bool) -> Vec<String> {
        let rows = self.ledger(app, collection).await;
        let chosen = rows.iter().filter(|row| row["deleted"] == deleted);
        chosen.map(|row| row["id"].as_str().map_or_else(|| row["id"].to_string(), str::to_string)).collect()
    }

    /// The calls that an app had, the newest last.
    pub async fn requests(&self, app: &str) -> Vec<Value> {
        let log = self.get(&format!("/{app}/requests")).await;
        log.as_array().or(log["requests"].as_array()).unwrap().clone()
    }

    pub async fn forget_requests(&self, app: &str) {
        self.delete(&format!("/{app}/requests")).await;
    }
}
