//! Decides what tests may do to the world: fill it, change it, break it, look at it. Plain JSON over HTTP.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Map, Value};

use crate::app::{bad, missing, Answer, Ask, Refusal};
use crate::clock;
use crate::faults::{Chaos, Fault};
use crate::gates::GateSpec;
use crate::http::{Connection, Reply, Request};
use crate::world::{Seat, World};

/// How long a look at a gate waits at most.
const LONGEST_LOOK: Duration = Duration::from_secs(30);

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
        (_, [name, rest @ ..]) => match world.seat(name) {
            Some(seat) => of_app(world, seat, request, rest),
            None => of_world(world, request, &parts).map(|value| value.to_string()),
        },
        _ => of_world(world, request, &parts).map(|value| value.to_string()),
    };
    match outcome {
        Ok(text) => Reply::json(200, text),
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

fn body_of(request: &Request) -> Result<Map<String, Value>, Refusal> {
    if request.body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&request.body) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(bad("the body must be a JSON object")),
        Err(e) => Err(bad(format!("the body is not JSON: {e}"))),
    }
}

fn read<T: serde::de::DeserializeOwned>(body: Map<String, Value>) -> Result<T, Refusal> {
    serde_json::from_value(Value::Object(body)).map_err(|e| bad(e.to_string()))
}

/// What concerns all apps at once.
fn of_world(world: &World, request: &Request, parts: &[&str]) -> Result<Value, Refusal> {
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
                false => Err(missing(format!("there is no gate {id}"))),
            }
        }
        ("DELETE", ["gates"]) => {
            world.gates.clear(None);
            Ok(json!({"ok": true}))
        }
        _ => Err(missing(format!("the control API has no {method} {}", request.path))),
    }
}

/// What every app has alike: its traffic, then its data.
fn of_app(world: &World, seat: &Seat, request: &Request, parts: &[&str]) -> Answer {
    match of_traffic(world, seat, request, parts) {
        Some(outcome) => outcome.map(|value| value.to_string()),
        None => of_data(world, seat, request, parts),
    }
}

fn of_traffic(world: &World, seat: &Seat, request: &Request, parts: &[&str]) -> Option<Result<Value, Refusal>> {
    let (traffic, ok) = (&seat.traffic, json!({"ok": true}));
    Some(match (request.method.as_str(), parts) {
        ("GET", ["requests"]) => {
            let prefix = request.param("path_prefix").unwrap_or_default();
            serde_json::to_value(traffic.log.lock().unwrap().entries(&prefix)).map_err(|e| bad(e.to_string()))
        }
        ("DELETE", ["requests"]) => {
            traffic.log.lock().unwrap().clear();
            Ok(ok)
        }
        ("GET", ["config"]) => serde_json::to_value(&*traffic.config()).map_err(|e| bad(e.to_string())),
        ("POST", ["config"]) => body_of(request).and_then(|body| configure(seat, body)),
        ("POST", ["faults"]) => {
            let fault = body_of(request).and_then(read::<Fault>);
            fault.map(|fault| json!({"id": traffic.faults.lock().unwrap().add(fault)}))
        }
        ("GET", ["faults"]) => Ok(traffic.faults.lock().unwrap().report()),
        ("DELETE", ["faults"]) => {
            traffic.faults.lock().unwrap().clear();
            traffic.last_pages.lock().unwrap().clear();
            Ok(ok)
        }
        ("POST", ["chaos"]) => body_of(request).and_then(read::<Chaos>).map(|chaos| {
            traffic.faults.lock().unwrap().set_chaos(chaos);
            ok
        }),
        ("POST", ["gates"]) => {
            let spec = body_of(request).and_then(read::<GateSpec>);
            spec.map(|spec| json!({"id": world.gates.add(seat.entry.name, spec)}))
        }
        ("DELETE", ["gates"]) => {
            world.gates.clear(Some(seat.entry.name));
            Ok(ok)
        }
        _ => return None,
    })
}

fn configure(seat: &Seat, mut body: Map<String, Value>) -> Result<Value, Refusal> {
    // How many calls the day has seen already.
    if let Some(calls) = body.remove("api_usage").and_then(|v| v.as_u64()) {
        seat.traffic.set_calls(calls);
    }
    let changes = Value::Object(body);
    let config = seat.traffic.config().changed_by(&changes).map_err(bad)?;
    seat.app().configured(changes.as_object().unwrap_or(&Map::new()));
    seat.traffic.set_config(config.clone());
    serde_json::to_value(&config).map_err(|e| bad(e.to_string()))
}

fn of_data(world: &World, seat: &Seat, request: &Request, parts: &[&str]) -> Answer {
    let method = request.method.as_str();
    // Asked before this app is locked: others are locked for it.
    let lent = match (method, parts) {
        ("POST", ["seed"]) => world.lent_to(seat.entry.name),
        _ => Vec::new(),
    };
    let config = seat.traffic.config();
    let body = body_of(request)?;
    let mut ask = Ask { request, config: &config, body, lent, seed: world.seed, now_ms: clock::now_ms() };
    let mut app = seat.app();
    if let Some(answer) = app.control(&ask, parts) {
        return answer;
    }
    match (method, parts) {
        ("POST", ["seed"]) => app.seed(&mut ask),
        ("GET", [collection, "ledger"]) => app.ledger(&ask, collection),
        ("GET", [collection, "count"]) => app.count(&ask, collection),
        ("POST", [collection]) => app.create(&ask, collection),
        ("PATCH", [collection, id]) => app.change(&ask, collection, id),
        ("DELETE", [collection, id]) => app.delete(&ask, collection, id),
        ("POST", [collection, id, "undelete"]) => app.undelete(&ask, collection, id),
        _ => Err(missing(format!("the control API has no {method} {}", request.path))),
    }
}
