//! Decides what tests may do to the world: fill it, change it, break it, look at it. Plain JSON over HTTP.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Map, Value};

use crate::clock;
use crate::faults::{Chaos, Fault};
use crate::gates::GateSpec;
use crate::http::{Connection, Reply, Request};
use crate::salesforce;
use crate::stripe;
use crate::world::World;

/// How long a look at a gate waits at most.
const LONGEST_LOOK: Duration = Duration::from_secs(30);

type Answer = Result<Value, (u16, String)>;

fn bad(message: impl Into<String>) -> (u16, String) {
    (400, message.into())
}

/// Serves one client of the control API.
pub async fn serve(world: Arc<World>, mut connection: Connection) {
    while let Ok(Some(request)) = connection.next_request().await {
        let reply = answer(&world, &request).await;
        if connection.send(&reply, request.wants_close, false).await.is_err() || request.wants_close {
            break;
        }
    }
}

async fn answer(world: &World, request: &Request) -> Reply {
    let parts: Vec<&str> = request.path.split('/').filter(|p| !p.is_empty()).collect();
    let outcome = match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["gates", id]) => return look(world, request, id).await,
        (_, ["salesforce" | "stripe", name, "ledger"]) => return ledger(world, request, parts[0], name),
        _ => route(world, request, &parts),
    };
    match outcome {
        Ok(value) => Reply::json(200, value.to_string()),
        Err((status, message)) => Reply::json(status, json!({"error": message}).to_string()),
    }
}

async fn look(world: &World, request: &Request, id: &str) -> Reply {
    let number = |name: &str| request.param(name).and_then(|v| v.parse().ok()).unwrap_or(0);
    let found = world.gates.look(id.parse().unwrap_or(0), number("wait_for"), number("gone"), LONGEST_LOOK).await;
    match found {
        Some(counts) => Reply::json(200, counts.to_string()),
        None => Reply::json(404, json!({"error": format!("there is no gate {id}")}).to_string()),
    }
}

fn body_of(request: &Request) -> Result<Map<String, Value>, (u16, String)> {
    if request.body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&request.body) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(bad("the body must be a JSON object")),
        Err(e) => Err(bad(format!("the body is not JSON: {e}"))),
    }
}

fn read<T: serde::de::DeserializeOwned>(body: Map<String, Value>) -> Result<T, (u16, String)> {
    serde_json::from_value(Value::Object(body)).map_err(|e| bad(e.to_string()))
}

fn route(world: &World, request: &Request, parts: &[&str]) -> Answer {
    let method = request.method.as_str();
    match (method, parts) {
        ("GET", [] | ["health"]) => Ok(json!({"ok": true, "seed": world.seed})),
        ("POST", ["reset"]) => {
            world.reset();
            Ok(json!({"ok": true}))
        }
        ("POST", ["clock"]) => {
            let body = body_of(request)?;
            clock::set_offset_seconds(
                body.get("offset_seconds")
                    .and_then(Value::as_i64)
                    .ok_or_else(|| bad("offset_seconds must be a whole number"))?,
            );
            Ok(json!({"offset_seconds": clock::offset_seconds(), "now_ms": clock::now_ms()}))
        }
        ("GET", ["clock"]) => Ok(json!({"offset_seconds": clock::offset_seconds(), "now_ms": clock::now_ms()})),
        ("POST", ["gates", id, "release"]) => {
            let count = body_of(request)?.get("count").and_then(Value::as_u64);
            match id.parse().is_ok_and(|id| world.gates.release(id, count)) {
                true => Ok(json!({"ok": true})),
                false => Err((404, format!("there is no gate {id}"))),
            }
        }
        ("DELETE", ["gates"]) => {
            world.gates.clear(None);
            Ok(json!({"ok": true}))
        }
        (_, ["salesforce", rest @ ..]) => app(world, request, "salesforce", rest),
        (_, ["stripe", rest @ ..]) => app(world, request, "stripe", rest),
        _ => Err((404, format!("the control API has no {method} {}", request.path))),
    }
}

/// What both apps have alike.
fn app(world: &World, request: &Request, app: &'static str, rest: &[&str]) -> Answer {
    let traffic = world.traffic(app);
    match (request.method.as_str(), rest) {
        ("GET", ["requests"]) => {
            let prefix = request.param("path_prefix").unwrap_or_default();
            serde_json::to_value(traffic.log.lock().unwrap().entries(&prefix)).map_err(|e| bad(e.to_string()))
        }
        ("DELETE", ["requests"]) => {
            traffic.log.lock().unwrap().clear();
            Ok(json!({"ok": true}))
        }
        ("GET", ["config"]) => serde_json::to_value(&*traffic.config()).map_err(|e| bad(e.to_string())),
        ("POST", ["config"]) => {
            let mut body = body_of(request)?;
            // How many calls the day has seen already.
            if let Some(calls) = body.remove("api_usage").and_then(|v| v.as_u64()) {
                traffic.set_calls(calls);
            }
            let config = traffic.config().changed_by(&Value::Object(body.clone())).map_err(bad)?;
            if app == "salesforce" && body.contains_key("refresh_token") {
                world.salesforce().tokens.restore_family();
            }
            traffic.set_config(config.clone());
            serde_json::to_value(&config).map_err(|e| bad(e.to_string()))
        }
        ("POST", ["faults"]) => {
            let fault: Fault = read(body_of(request)?)?;
            Ok(json!({"id": traffic.faults.lock().unwrap().add(fault)}))
        }
        ("GET", ["faults"]) => Ok(traffic.faults.lock().unwrap().report()),
        ("DELETE", ["faults"]) => {
            traffic.faults.lock().unwrap().clear();
            traffic.last_pages.lock().unwrap().clear();
            Ok(json!({"ok": true}))
        }
        ("POST", ["chaos"]) => {
            let chaos: Chaos = read(body_of(request)?)?;
            traffic.faults.lock().unwrap().set_chaos(chaos);
            Ok(json!({"ok": true}))
        }
        ("POST", ["gates"]) => {
            let spec: GateSpec = read(body_of(request)?)?;
            Ok(json!({"id": world.gates.add(app, spec)}))
        }
        ("DELETE", ["gates"]) => {
            world.gates.clear(Some(app));
            Ok(json!({"ok": true}))
        }
        _ if app == "salesforce" => salesforce_data(world, request, rest),
        _ => stripe_data(world, request, rest),
    }
}

fn text_as_json(text: String) -> Answer {
    serde_json::from_str(&text).map_err(|e| bad(e.to_string()))
}

/// A time a seeding request gives: unix seconds, or "now".
fn until(body: &mut Map<String, Value>) -> i64 {
    match body.remove("until") {
        Some(Value::String(text)) if text == "now" => clock::now_ms() / 1000,
        Some(Value::Number(seconds)) => seconds.as_i64().unwrap_or(salesforce::ANCHOR_S),
        _ => salesforce::ANCHOR_S,
    }
}

fn salesforce_data(world: &World, request: &Request, rest: &[&str]) -> Answer {
    let config = world.traffic("salesforce").config();
    let flag = |name: &str| request.param(name).is_some_and(|v| v == "true" || v == "1");
    let manner = salesforce::Manner {
        is_silent: flag("silent"),
        due_ms: (config.late_visibility_ms > 0).then(|| clock::now_ms() + config.late_visibility_ms),
    };
    let mut org = world.salesforce();
    let place = |org: &salesforce::Salesforce, name: &str| {
        org.place(name).ok_or((404, format!("there is no collection {name}")))
    };
    match (request.method.as_str(), rest) {
        ("POST", ["seed"]) => {
            let mut body = body_of(request)?;
            let number =
                |body: &mut Map<String, Value>, name: &str| body.remove(name).and_then(|v| v.as_u64()).unwrap_or(0);
            let options = salesforce::SeedOptions {
                until_s: until(&mut body),
                ties: number(&mut body, "ties"),
                deleted_percent: number(&mut body, "deleted_percent"),
            };
            org.seed(&body, &options).map_err(bad)
        }
        ("POST", ["token"]) => Ok(json!({"access_token": org.tokens.mint(&config)})),
        ("DELETE", ["tokens"]) => {
            org.tokens.expire_all();
            Ok(json!({"ok": true}))
        }
        ("GET", ["tokens"]) => Ok(
            json!({"granted": org.tokens.granted, "refresh_token": org.tokens.current_refresh_token(&config), "family_is_dead": org.tokens.family_is_dead()}),
        ),
        ("DELETE", ["cursors"]) => {
            org.drop_cursors();
            Ok(json!({"ok": true}))
        }
        ("POST", ["objects", name]) => org.define(name, &Value::Object(body_of(request)?)).map_err(bad),
        ("DELETE", ["objects", name, "fields", field]) => org.hide(name, field).map_err(bad),
        ("GET", [name, "count"]) => {
            let at = place(&org, name)?;
            Ok(org.count(at))
        }
        ("POST", [name]) => {
            let at = place(&org, name)?;
            text_as_json(org.create(at, &body_of(request)?, manner).map_err(bad)?)
        }
        ("PATCH", [name, id]) => {
            let at = place(&org, name)?;
            text_as_json(org.change(at, id, &body_of(request)?, manner).map_err(bad)?)
        }
        ("DELETE", [name, id]) => {
            let at = place(&org, name)?;
            text_as_json(org.delete(at, id, flag("hard"), manner).map_err(bad)?)
        }
        ("POST", [name, id, "undelete"]) => {
            let at = place(&org, name)?;
            text_as_json(org.undelete(at, id, manner).map_err(bad)?)
        }
        _ => Err((404, format!("the control API has no {} {}", request.method, request.path))),
    }
}

fn stripe_data(world: &World, request: &Request, rest: &[&str]) -> Answer {
    let config = world.traffic("stripe").config();
    let flag = |name: &str| request.param(name).is_some_and(|v| v == "true" || v == "1");
    let manner = stripe::Manner { config: &config, is_silent: flag("silent") };
    let of = request.param("account");
    if let ("POST", ["seed"]) = (request.method.as_str(), rest) {
        let accounts = world.salesforce().account_ids();
        let mut body = body_of(request)?;
        let with_events = body.remove("with_events").is_some_and(|v| v == true);
        let options = stripe::SeedOptions { until_s: until(&mut body), accounts, seed: world.seed };
        let mut stripe = world.stripe();
        let account = stripe.account(of.as_deref());
        let mut made = account.seed(&body, &options).map_err(bad)?;
        if with_events {
            let since = clock::now_ms() / 1000 - config.event_retention_days * 86_400;
            made["events"] = json!(account.tell_recent(since, &config));
        }
        return Ok(made);
    }
    let mut stripe = world.stripe();
    let account = stripe.account(of.as_deref());
    match (request.method.as_str(), rest) {
        ("GET", [name, "count"]) => account.count(name).map_err(|e| (404, e)),
        ("POST", [name]) => text_as_json(account.create(name, &body_of(request)?, manner).map_err(bad)?),
        ("PATCH", [name, id]) => text_as_json(account.change(name, id, &body_of(request)?, manner).map_err(bad)?),
        ("DELETE", [name, id]) => text_as_json(account.delete(name, id, flag("hard"), manner).map_err(bad)?),
        ("POST", [name, id, "undelete"]) => text_as_json(account.undelete(name, id, manner).map_err(bad)?),
        _ => Err((404, format!("the control API has no {} {}", request.method, request.path))),
    }
}

/// The ledger is sent as text: it can be large.
fn ledger(world: &World, request: &Request, app: &str, name: &str) -> Reply {
    let with_records = request.param("records").is_none_or(|v| v != "false");
    let text = if app == "salesforce" {
        let org = world.salesforce();
        let with_gone = request.param("gone").is_some_and(|v| v == "true");
        org.place(name)
            .map(|at| org.ledger(at, with_records, with_gone))
            .ok_or(format!("there is no collection {name}"))
    } else {
        world.stripe().account(request.param("account").as_deref()).ledger(name, with_records)
    };
    match text {
        Ok(text) => Reply::json(200, text),
        Err(message) => Reply::json(404, json!({"error": message}).to_string()),
    }
}
