//! One test for each habit of the app; here is what they share.

mod people;
mod workspace;

use super::*;
use crate::config::Config;

/// 2026-05-28 20:26:40 UTC.
const NOW: i64 = 1_780_000_000_000;

/// The app with its settings and its time.
struct Shop {
    app: Workspace,
    config: Config,
    now_ms: i64,
}

impl Shop {
    fn seeded(sizes: Value) -> Shop {
        let app = Workspace::new(1);
        let config = Config::new(app.knobs().as_object().unwrap().clone());
        let mut shop = Shop { app, config, now_ms: NOW };
        shop.control("POST", "/seed", sizes);
        shop
    }

    fn set(&mut self, changes: Value) {
        self.config = self.config.changed_by(&changes).unwrap();
    }

    fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            headers: headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
            body: body.into(),
            ..Request::default()
        };
        let (config, now_ms) = (self.config.clone(), self.now_ms);
        self.app.answer(&Call {
            request: &request,
            config: &config,
            is_over_rate: false,
            calls: 1,
            in_flight: 1,
            now_ms,
        })
    }

    fn raw(&mut self, target: &str) -> Reply {
        self.send("GET", target, &[("authorization", "Bearer sim-intercom-token")], "")
    }

    fn get(&mut self, target: &str) -> Value {
        body(&self.raw(target))
    }

    fn posted(&mut self, target: &str, given: Value) -> Reply {
        self.send("POST", target, &[("authorization", "Bearer sim-intercom-token")], &given.to_string())
    }

    fn post(&mut self, target: &str, given: Value) -> Value {
        body(&self.posted(target, given))
    }

    /// A call of the control API.
    fn control(&mut self, method: &str, target: &str, given: Value) -> Value {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request { method: method.into(), path: path.into(), query: query.into(), ..Request::default() };
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let config = self.config.clone();
        let given = given.as_object().cloned().unwrap_or_default();
        let mut ask =
            Ask { request: &request, config: &config, body: given, lent: Vec::new(), seed: 1, now_ms: self.now_ms };
        let answer = match (method, parts.as_slice()) {
            ("POST", ["seed"]) => self.app.seed(&mut ask),
            ("GET", [name, "ledger"]) => self.app.ledger(&ask, name),
            ("GET", [name, "count"]) => self.app.count(&ask, name),
            ("POST", [name]) => self.app.create(&ask, name),
            ("PATCH", [name, id]) => self.app.change(&ask, name, id),
            ("DELETE", [name, id]) => self.app.delete(&ask, name, id),
            ("POST", [name, id, "undelete"]) => self.app.undelete(&ask, name, id),
            _ => panic!("{method} {target}"),
        };
        serde_json::from_str(&answer.unwrap()).unwrap()
    }

    fn ledger(&mut self, name: &str) -> Vec<Value> {
        self.control("GET", &format!("/{name}/ledger"), json!({})).as_array().unwrap().clone()
    }
}

fn body(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

fn code(reply: &Reply) -> (u16, String) {
    (reply.status, body(reply)["errors"][0]["code"].as_str().unwrap_or("").to_string())
}

fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.headers.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str())
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_string()).collect()
}

/// Follows `starting_after` through a search.
fn search_all(shop: &mut Shop, path: &str, member: &str, mut ask: Value) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let page = shop.post(path, ask.clone());
        all.extend(page[member].as_array().unwrap().clone());
        match page["pages"]["next"]["starting_after"].as_str() {
            Some(after) => ask["pagination"]["starting_after"] = json!(after),
            None => return all,
        }
    }
}

fn any_role() -> Value {
    json!({"field": "role", "operator": "IN", "value": ["user", "lead"]})
}
