//! For tests: an app alone, asked without a socket.

use serde_json::{json, Value};

use crate::app::{App, Ask, Call};
use crate::config::Config;
use crate::http::{Reply, Request};

pub struct Probe {
    pub app: Box<dyn App>,
    pub config: Config,
    /// The apps' time of the next calls.
    pub now_ms: i64,
    pub in_flight: u64,
    pub is_over_rate: bool,
    /// Sent with each request to the app; names in lower case. The host is `sim` unless given here.
    pub headers: Vec<(String, String)>,
}

impl Probe {
    pub fn new(app: Box<dyn App>, now_ms: i64) -> Probe {
        let config = Config::new(app.knobs().as_object().cloned().unwrap());
        Probe { app, config, now_ms, in_flight: 1, is_over_rate: false, headers: Vec::new() }
    }

    pub fn set(&mut self, changes: Value) {
        self.config = self.config.changed_by(&changes).unwrap();
        self.app.configured(changes.as_object().unwrap());
    }

    fn request(&self, method: &str, target: &str, body: &str) -> Request {
        // A whole URL, as in a link to the next page, is as good as a path.
        let target = target.strip_prefix("http://sim").unwrap_or(target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = self.headers.clone();
        headers.push(("host".to_string(), "sim".to_string()));
        Request {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            headers,
            body: body.as_bytes().to_vec(),
            ..Request::default()
        }
    }

    pub fn reply(&mut self, method: &str, target: &str, body: &str) -> Reply {
        let request = self.request(method, target, body);
        let (config, in_flight, is_over_rate) = (&self.config, self.in_flight, self.is_over_rate);
        self.app.answer(&Call { request: &request, config, is_over_rate, calls: 1, in_flight, now_ms: self.now_ms })
    }

    /// The JSON of a reply that must have this status.
    pub fn get(&mut self, status: u16, target: &str) -> Value {
        let reply = self.reply("GET", target, "");
        let text = String::from_utf8(reply.body).unwrap();
        assert_eq!(reply.status, status, "{target}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// A call of the control API, `target` being what follows `/{app}/`.
    pub fn control(&mut self, method: &str, target: &str, body: Value) -> Value {
        let request = self.request(method, target, "");
        let parts: Vec<&str> = request.path.split('/').collect();
        let body = body.as_object().cloned().unwrap_or_default();
        let (config, now_ms) = (&self.config, self.now_ms);
        let mut ask = Ask { request: &request, config, body, lent: Vec::new(), seed: 1, now_ms };
        let app = &mut self.app;
        let answer = app.control(&ask, &parts).unwrap_or_else(|| match (method, parts.as_slice()) {
            ("POST", ["seed"]) => app.seed(&mut ask),
            ("GET", [collection, "ledger"]) => app.ledger(&ask, collection),
            ("GET", [collection, "count"]) => app.count(&ask, collection),
            ("POST", [collection]) => app.create(&ask, collection),
            ("PATCH", [collection, id]) => app.change(&ask, collection, id),
            ("DELETE", [collection, id]) => app.delete(&ask, collection, id),
            ("POST", [collection, id, "undelete"]) => app.undelete(&ask, collection, id),
            _ => panic!("no {method} {target}"),
        });
        match answer {
            Ok(text) => serde_json::from_str(&text).unwrap(),
            Err((status, message)) => json!({"refused": status, "error": message}),
        }
    }

    /// The ids of the ledger's records that are not deleted.
    pub fn ids(&mut self, collection: &str) -> Vec<String> {
        let ledger = self.control("GET", &format!("{collection}/ledger"), json!({}));
        let rows = ledger.as_array().unwrap().iter().filter(|row| row["deleted"] == false);
        rows.map(|row| row["id"].as_str().unwrap().to_string()).collect()
    }
}
