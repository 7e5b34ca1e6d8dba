//! Decides what the REST routes answer: campaigns, their assets, and journeys, in numbered pages.
//!
//! developer.salesforce.com/docs/marketing/marketing-cloud. `count` is that of all pages; a page after the last is empty.

use serde_json::{json, Value};

use super::central;
use super::data::Fields;
use crate::app::Call;
use crate::http::Reply;
use crate::rest::{page, Book, Record};

/// The most and the usual number of items on a page.
const PAGE: usize = 50;
const GUIDE: &str = "https://developer.salesforce.com/docs/atlas.en-us.mc-apis.meta/mc-apis/error-handling.htm";
const STAMPS: [&str; 3] = ["createdDate", "modifiedDate", "lastPublishedDate"];

pub fn refuse(status: u16, code: u32, message: &str) -> Reply {
    Reply::json(status, json!({"message": message, "errorcode": code, "documentation": GUIDE}).to_string())
}

fn not_found() -> Reply {
    refuse(404, 30003, "Not Found")
}

fn shown(fields: &Fields) -> Value {
    let mut shown = fields.clone();
    for name in STAMPS {
        if let Some(text) = shown.get(name).and_then(Value::as_str).and_then(central::of_stamp) {
            shown.insert(name.into(), json!(text));
        }
    }
    Value::Object(shown)
}

/// One numbered page of items.
fn listing(call: &Call<'_>, items: &[Value]) -> Reply {
    let read = |name: &str, usual: usize| match call.request.param(name) {
        None => Ok(usual),
        Some(text) => match text.parse::<usize>() {
            Ok(n) if n > 0 => Ok(n),
            _ => Err(refuse(400, 10003, &format!("{name} must be a positive whole number"))),
        },
    };
    let (number, asked) = match (read("$page", 1), read("$pageSize", PAGE)) {
        (Ok(number), Ok(asked)) => (number, asked),
        (Err(reply), _) | (_, Err(reply)) => return reply,
    };
    let size = call.config.page_of(asked, PAGE);
    let on_page = page::slice(items, (number - 1).saturating_mul(size), size);
    let body = json!({"count": items.len(), "page": number, "pageSize": size, "links": {}, "items": on_page});
    Reply::json(200, body.to_string())
}

pub fn answer(call: &Call<'_>, book: &Book, parts: &[&str]) -> Reply {
    let denied = |names: &[&str]| call.config.denies(names).then(|| refuse(403, 403, "Insufficient Privileges"));
    match parts {
        ["platform", "v1", "endpoints", "soap"] => {
            Reply::json(200, json!({"url": format!("{}/Service.asmx", call.request.origin())}).to_string())
        }
        ["platform", "v1", "tokenContext"] => {
            let mid: i64 = call.config.text("account_id").parse().unwrap_or(0);
            let body = json!({"organization": {"id": mid, "enterpriseId": mid}, "rest": {"rest_instance_url": super::root(call)}});
            Reply::json(200, body.to_string())
        }
        ["hub", "v1", "campaigns", rest @ ..] => {
            let names: &[&str] = if rest.len() > 1 { &["campaigns", "campaign_assets"] } else { &["campaigns"] };
            denied(names).unwrap_or_else(|| campaigns(call, book, rest))
        }
        ["interaction", "v1", "interactions", rest @ ..] => {
            denied(&["interactions", "goals"]).unwrap_or_else(|| journeys(call, book, rest))
        }
        _ => not_found(),
    }
}

fn campaigns(call: &Call<'_>, book: &Book, rest: &[&str]) -> Reply {
    let known = |id: &str| book.find("campaigns", id).filter(|campaign| !campaign.is_deleted());
    match rest {
        [] => {
            let items: Vec<Value> = book.listed("campaigns").iter().map(|c| shown(&c.fields)).collect();
            listing(call, &items)
        }
        [id] => known(id).map_or_else(not_found, |c| Reply::json(200, shown(&c.fields).to_string())),
        [id, "assets", asset @ ..] => {
            if known(id).is_none() {
                return not_found();
            }
            let assets = book.children("campaign_assets", id);
            let live = assets.iter().filter(|a| !a.is_deleted());
            match asset {
                [] => listing(call, &live.map(|a| shown(&a.fields)).collect::<Vec<_>>()),
                [asset] => {
                    let found = live.into_iter().find(|a| a.text("id") == *asset);
                    found.map_or_else(not_found, |a| Reply::json(200, shown(&a.fields).to_string()))
                }
                _ => not_found(),
            }
        }
        _ => not_found(),
    }
}

/// A journey as `extras` says: stats, activities (with goals and triggers), all of it, or neither.
fn journey(record: &Record, extras: &str) -> Value {
    let mut fields = record.fields.clone();
    let has = |name: &str| extras == "all" || extras == name;
    if !has("stats") {
        fields.remove("stats");
    }
    if !has("activities") {
        for name in ["activities", "goals", "triggers"] {
            fields.remove(name);
        }
    }
    shown(&fields)
}

fn journeys(call: &Call<'_>, book: &Book, rest: &[&str]) -> Reply {
    let param = |name: &str| call.request.param(name);
    let version = param("versionNumber").and_then(|v| v.parse::<i64>().ok());
    match rest {
        [] => {
            // The list gives everything unless told otherwise.
            let extras = param("extras").filter(|text| !text.is_empty()).unwrap_or_else(|| "all".into());
            // Deleted ones stay, with that status.
            let all = book.shown("interactions");
            let mut kept: Vec<&Record> = all.iter().map(|record| &**record).collect();
            if let Some(status) = param("status") {
                kept.retain(|journey| journey.text("status").eq_ignore_ascii_case(&status));
            }
            if let Some(text) = param("nameOrDescription").map(|t| t.to_lowercase()) {
                let holds = |journey: &Record, name: &str| journey.text(name).to_lowercase().contains(&text);
                kept.retain(|journey| holds(journey, "name") || holds(journey, "description"));
            }
            if let Some(version) = version {
                kept.retain(|journey| journey.number_of("version") == version);
            } else if param("mostRecentVersionOnly").is_none_or(|text| text != "false") {
                let newest = |journey: &Record| {
                    let same = all.iter().filter(|other| other.text("definitionId") == journey.text("definitionId"));
                    same.map(|other| other.number_of("version")).max() == Some(journey.number_of("version"))
                };
                kept.retain(|journey| newest(journey));
            }
            if let Err(reply) = sort(&mut kept, &param("$orderBy").unwrap_or_else(|| "ModifiedDate DESC".into())) {
                return reply;
            }
            let items: Vec<Value> = kept.iter().map(|record| journey(record, &extras)).collect();
            listing(call, &items)
        }
        [id] => {
            let extras = param("extras").unwrap_or_default();
            let all = book.shown("interactions");
            let named = all.iter().find(|journey| match id.strip_prefix("key:") {
                Some(key) => journey.text("key") == key,
                None => &*journey.id == *id || journey.text("definitionId") == *id,
            });
            let found = named.and_then(|named| match version {
                None => Some(named),
                Some(version) => all.iter().find(|other| {
                    other.text("definitionId") == named.text("definitionId") && other.number_of("version") == version
                }),
            });
            // A single journey always has its goals.
            let extras = if extras == "stats" || extras == "all" { "all" } else { "activities" };
            found.map_or_else(not_found, |record| Reply::json(200, journey(record, extras).to_string()))
        }
        _ => not_found(),
    }
}

fn sort(journeys: &mut [&Record], order: &str) -> Result<(), Reply> {
    let mut words = order.split_whitespace();
    let (column, direction) = (words.next().unwrap_or(""), words.next().unwrap_or("ASC"));
    match column.to_ascii_lowercase().as_str() {
        "modifieddate" => journeys.sort_by_key(|journey| (journey.updated_ms, journey.number)),
        "name" => journeys.sort_by(|a, b| a.text("name").cmp(b.text("name"))),
        "performance" => journeys.sort_by(|a, b| {
            let of = |journey: &Record| journey.get("stats")["goalPerformance"].as_f64().unwrap_or(0.0);
            of(a).total_cmp(&of(b))
        }),
        _ => return Err(refuse(400, 10003, "$orderBy must be one of ModifiedDate, Name, Performance")),
    }
    if direction.eq_ignore_ascii_case("desc") {
        journeys.reverse();
    }
    Ok(())
}
