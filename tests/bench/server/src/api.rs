//! Decides what Stripe answers: lists newest first, single records, the account, and its errors
//! (docs: https://docs.stripe.com/api/pagination, https://docs.stripe.com/api/errors).

use crate::http::{Reply, Request};
use crate::store::Collection;
use crate::world::World;
use bytes::Bytes;
use serde_json::json;

/// Stripe's own bounds of `limit`.
const LIMIT: std::ops::RangeInclusive<usize> = 1..=100;
const LIMIT_UNASKED: usize = 10;

const ACCOUNT: &str = include_str!("account.json");

/// What a list is asked for.
struct Ask<'r> {
    limit: usize,
    after: Option<&'r str>,
    from: u64,
    to: u64,
    types: Vec<&'r str>,
}

pub fn rate_limited() -> Reply {
    let message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.";
    let mut reply = refused(429, "rate_limit", message, None);
    reply.headers.push_str("Stripe-Rate-Limited-Reason: global-rate\r\n");
    reply
}

pub fn answer(world: &World, request: &Request) -> Reply {
    if !request.has_credentials {
        return refused(401, "", "You did not provide an API key.", None);
    }
    let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    match (request.method.as_str(), path.as_slice()) {
        ("GET", ["v1", "account"]) => Reply::json(200, ACCOUNT),
        ("GET", ["v1", "events"]) => list(request, |ask| events(world, ask)),
        ("GET", ["v1", "customers"]) => list(request, |ask| records(&world.customers, ask)),
        ("GET", ["v1", "charges"]) => list(request, |ask| records(&world.charges, ask)),
        ("GET", ["v1", "customers", id]) => record(&world.customers, id),
        ("GET", ["v1", "charges", id]) => record(&world.charges, id),
        // An account that has only customers and charges: everything else is there and empty.
        ("GET", ["v1", _] | ["v1", _, _, _]) => list_of(&request.path, Vec::new(), false),
        (method, _) => {
            let message = format!("Unrecognized request URL ({method}: {}).", request.path);
            refused(404, "", &message, None)
        }
    }
}

fn refused(status: u16, code: &str, message: &str, param: Option<&str>) -> Reply {
    let mut error = json!({"message": message, "type": "invalid_request_error"});
    if !code.is_empty() {
        error["code"] = code.into();
        error["doc_url"] = format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-")).into();
    }
    if let Some(param) = param {
        error["param"] = param.into();
    }
    Reply::json(status, json!({ "error": error }).to_string())
}

fn missing(object: &str, id: &str, param: &str) -> Reply {
    let status = if param == "id" { 404 } else { 400 };
    refused(status, "resource_missing", &format!("No such {object}: '{id}'"), Some(param))
}

fn record(collection: &Collection, id: &str) -> Reply {
    match collection.place(id) {
        Some(place) => Reply::json(200, collection.record(place)),
        None => missing(collection.kind.object(), id, "id"),
    }
}

/// Reads the parameters and makes a list of what `find` gives: records with commas between, and whether more follow.
fn list(request: &Request, find: impl FnOnce(&Ask<'_>) -> Result<(Vec<Bytes>, bool), Reply>) -> Reply {
    let found = ask(request).and_then(|ask| find(&ask));
    match found {
        Ok((records, has_more)) => list_of(&request.path, records, has_more),
        Err(reply) => reply,
    }
}

fn list_of(path: &str, records: Vec<Bytes>, has_more: bool) -> Reply {
    let mut body = Vec::with_capacity(records.len() + 2);
    body.push(Bytes::from_static(br#"{"object":"list","data":["#));
    body.extend(records);
    body.push(Bytes::from(format!(r#"],"has_more":{has_more},"url":"{path}"}}"#)));
    Reply { status: 200, headers: String::new(), body }
}

fn ask(request: &Request) -> Result<Ask<'_>, Reply> {
    let mut ask = Ask { limit: LIMIT_UNASKED, after: None, from: 0, to: u64::MAX, types: Vec::new() };
    for (name, value) in &request.params {
        let number = || {
            let message = format!("Invalid integer: {value}");
            value.parse::<u64>().map_err(|_| refused(400, "parameter_invalid_integer", &message, Some(name)))
        };
        match name.as_str() {
            "limit" => {
                ask.limit = number()? as usize;
                if !LIMIT.contains(&ask.limit) {
                    let message =
                        format!("Invalid integer: This value must be between 1 and 100 (it currently is '{value}').");
                    return Err(refused(400, "parameter_invalid_integer", &message, Some(name)));
                }
            }
            "starting_after" => ask.after = Some(value),
            "created" => (ask.from, ask.to) = (number()?, number()?),
            "created[gte]" => ask.from = ask.from.max(number()?),
            "created[gt]" => ask.from = ask.from.max(number()?.saturating_add(1)),
            "created[lte]" => ask.to = ask.to.min(number()?),
            "created[lt]" => ask.to = ask.to.min(number()?.saturating_sub(1)),
            "type" => ask.types.push(value),
            name if name.starts_with("types[") => ask.types.push(value),
            // What could be expanded is empty in this account.
            name if name.starts_with("expand[") => {}
            _ => {
                let message = format!("Received unknown parameter: {name}");
                return Err(refused(400, "parameter_unknown", &message, Some(name)));
            }
        }
    }
    Ok(ask)
}

fn records(collection: &Collection, ask: &Ask<'_>) -> Result<(Vec<Bytes>, bool), Reply> {
    let within = collection.created_within(ask.from, ask.to);
    let first = match ask.after {
        None => within.start,
        Some(id) => {
            let place = collection.place(id).ok_or_else(|| missing(collection.kind.object(), id, "starting_after"))?;
            within.start.max(place + 1)
        }
    };
    let end = within.end.min(first.saturating_add(ask.limit)).max(first);
    Ok((collection.page(first..end), end < within.end))
}

fn events(world: &World, ask: &Ask<'_>) -> Result<(Vec<Bytes>, bool), Reply> {
    let is_wanted = |name: &str| {
        let fits = |wanted: &&str| wanted.strip_suffix('*').map_or(*wanted == name, |start| name.starts_with(start));
        ask.types.is_empty() || ask.types.iter().any(fits)
    };
    let after =
        world.events.after(ask.after).ok_or_else(|| missing("event", ask.after.unwrap_or(""), "starting_after"))?;
    let mut found = after.filter(|event| (ask.from..=ask.to).contains(&event.created) && is_wanted(event.name));
    let mut page: Vec<Bytes> = found.by_ref().take(ask.limit).map(|event| event.rendered.clone()).collect();
    if let Some(last) = page.last_mut() {
        last.truncate(last.len() - 1);
    }
    Ok((page, found.next().is_some()))
}
