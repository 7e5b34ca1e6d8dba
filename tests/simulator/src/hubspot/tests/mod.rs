//! One test for each habit of the app; here is what they share.

mod marketing;
mod objects;
mod traffic;

use super::*;
use crate::config::Config;

const NOW: i64 = 1_780_000_000_000;

/// The app with its settings and its time.
struct Portal {
    app: Hubspot,
    config: Config,
    now_ms: i64,
    calls: u64,
}

impl Portal {
    fn new() -> Portal {
        let app = Hubspot::new(1);
        let config = Config::new(app.knobs().as_object().unwrap().clone());
        Portal { app, config, now_ms: NOW, calls: 0 }
    }

    fn seeded(sizes: Value) -> Portal {
        let mut portal = Portal::new();
        portal.control("POST", "/seed", sizes);
        portal
    }

    fn set(&mut self, changes: Value) {
        self.config = self.config.changed_by(&changes).unwrap();
    }

    fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut all: Vec<(String, String)> = headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        all.push(("host".into(), "127.0.0.1:1".into()));
        let request = Request {
            method: method.into(),
            path: crate::http::decode(path),
            query: query.into(),
            headers: all,
            body: body.into(),
            ..Request::default()
        };
        self.calls += 1;
        let (config, calls, now_ms) = (self.config.clone(), self.calls, self.now_ms);
        self.app.answer(&Call { request: &request, config: &config, is_over_rate: false, calls, in_flight: 1, now_ms })
    }

    fn with_token(&mut self, token: &str, target: &str) -> Reply {
        self.send("GET", target, &[("authorization", &format!("Bearer {token}"))], "")
    }

    fn raw(&mut self, target: &str) -> Reply {
        self.with_token("pat-na1-simulated", target)
    }

    fn get(&mut self, target: &str) -> Value {
        body(&self.raw(target))
    }

    fn posted(&mut self, target: &str, given: Value) -> Reply {
        self.send("POST", target, &[("authorization", "Bearer pat-na1-simulated")], &given.to_string())
    }

    fn post(&mut self, target: &str, given: Value) -> Value {
        body(&self.posted(target, given))
    }

    fn search(&mut self, given: Value) -> Value {
        self.post("/crm/v3/objects/contacts/search", given)
    }

    /// A call of the control API.
    fn try_control(&mut self, method: &str, target: &str, given: Value) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request { method: method.into(), path: path.into(), query: query.into(), ..Request::default() };
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let config = self.config.clone();
        let given = given.as_object().cloned().unwrap_or_default();
        let mut ask =
            Ask { request: &request, config: &config, body: given, lent: Vec::new(), seed: 1, now_ms: self.now_ms };
        if let Some(answer) = self.app.control(&ask, &parts) {
            return answer;
        }
        match (method, parts.as_slice()) {
            ("POST", ["seed"]) => self.app.seed(&mut ask),
            ("GET", [name, "ledger"]) => self.app.ledger(&ask, name),
            ("GET", [name, "count"]) => self.app.count(&ask, name),
            ("POST", [name]) => self.app.create(&ask, name),
            ("PATCH", [name, id]) => self.app.change(&ask, name, id),
            ("DELETE", [name, id]) => self.app.delete(&ask, name, id),
            ("POST", [name, id, "undelete"]) => self.app.undelete(&ask, name, id),
            _ => panic!("{method} {target}"),
        }
    }

    fn control(&mut self, method: &str, target: &str, given: Value) -> Value {
        serde_json::from_str(&self.try_control(method, target, given).unwrap()).unwrap()
    }

    fn ledger(&mut self, name: &str) -> Vec<Value> {
        self.control("GET", &format!("/{name}/ledger"), json!({})).as_array().unwrap().clone()
    }
}

fn body(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or(Value::Null)
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|r| crm::id_text(&r["id"])).collect()
}

/// Follows `paging.next.after` through a GET list.
fn walk(portal: &mut Portal, target: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = portal.get(&format!("{target}{after}"));
        all.extend(page["results"].as_array().unwrap().clone());
        match page["paging"]["next"]["after"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}
