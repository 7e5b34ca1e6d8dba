//! Decides how a benchmark steers the server: sizes, latency, limit, held replies, changes and counters, as JSON.

use crate::http::{Connection, Reply, Request};
use crate::store::{Collection, Kind};
use crate::world::{unix_now, Shared};
use serde::Deserialize;
use serde_json::{json, Value};
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sizes {
    customers: Option<usize>,
    charges: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    latency_ms: Option<u64>,
    /// 0 for no limit.
    requests_per_second: Option<usize>,
    hang: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Touch {
    collection: String,
    count: usize,
    #[serde(default)]
    seed: u64,
    /// Forget the events of earlier changes, so that a poll reads those of this one only.
    #[serde(default)]
    forget_events: bool,
}

/// Serves one client of the control port until it leaves.
pub async fn serve(world: Shared, mut connection: Connection) {
    while let Ok(Some(request)) = connection.next_request().await {
        let reply = match answer(&world, &request).await {
            Ok(body) => Reply::json(200, body.to_string()),
            Err(message) => Reply::json(400, json!({ "error": message }).to_string()),
        };
        if connection.send(&reply).await.is_err() || request.wants_close {
            return;
        }
    }
}

async fn answer(world: &Shared, request: &Request) -> Result<Value, String> {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/counters") => counters(world, request).await,
        ("DELETE", "/counters") => {
            world.borrow_mut().reset_counters();
            Ok(json!({}))
        }
        ("GET", "/sizes") => Ok(world.borrow().sizes()),
        ("POST", "/sizes") => Ok(set_sizes(world, &body(request)?)),
        ("POST", "/settings") => Ok(set(world, &body(request)?)),
        ("POST", "/touch") => touch(world, &body(request)?),
        (method, path) => Err(format!("no such control: {method} {path}")),
    }
}

fn body<'r, T: Deserialize<'r>>(request: &'r Request) -> Result<T, String> {
    serde_json::from_slice(&request.body).map_err(|error| error.to_string())
}

/// `?held=N` waits until at least so many replies are held, `?released=N` until at most so many are; ten seconds.
async fn counters(world: &Shared, request: &Request) -> Result<Value, String> {
    for (name, is_least) in [("held", true), ("released", false)] {
        let Some(wanted) = request.param(name) else { continue };
        let wanted: u64 = wanted.parse().map_err(|_| format!("{name} must be a number"))?;
        let mut held = world.borrow().held.subscribe();
        let reached = held.wait_for(|held| if is_least { *held >= wanted } else { *held <= wanted });
        // Who asked sees by the figure whether it came so far.
        let _ = tokio::time::timeout(Duration::from_secs(10), reached).await;
    }
    Ok(world.borrow().counted())
}

fn set_sizes(world: &Shared, sizes: &Sizes) -> Value {
    let mut world = world.borrow_mut();
    let seed = world.seed;
    for (kind, records) in [(Kind::Customer, sizes.customers), (Kind::Charge, sizes.charges)] {
        let Some(records) = records else { continue };
        let collection = world.collection(kind);
        // The old arena goes first: two of a gigabyte each need not be there at once.
        *collection = Collection::render(kind, seed, 0);
        *collection = Collection::render(kind, seed, records);
    }
    world.events.clear();
    world.sizes()
}

fn set(world: &Shared, settings: &Settings) -> Value {
    let mut world = world.borrow_mut();
    if let Some(ms) = settings.latency_ms {
        world.latency = Duration::from_millis(ms);
    }
    if let Some(allowed) = settings.requests_per_second {
        world.limit.set(allowed);
    }
    if let Some(hang) = settings.hang {
        world.hang.send_replace(hang);
    }
    json!({})
}

fn touch(world: &Shared, touch: &Touch) -> Result<Value, String> {
    let kind = Kind::named(&touch.collection)?;
    let mut world = world.borrow_mut();
    let changes = world.collection(kind).touch(touch.count, touch.seed);
    if touch.forget_events {
        world.events.clear();
    }
    let api_version = world.api_version.clone();
    world.events.tell(kind, &changes, unix_now() as u64, &api_version);
    Ok(json!({"ids": changes.iter().map(|change| &change.id).collect::<Vec<_>>()}))
}
