//! Decides what a list answers: filters, pages, what is embedded and what is expanded.

use std::fmt::Write;

use serde_json::{json, Value};

use super::kinds::{self, nested_url, Kind, EVENTS, KINDS};
use super::{bad_request, denied, missing, names_of, Account, Thing};
use crate::clock;
use crate::config::Config;
use crate::http::{Reply, Request};
use crate::store::Row;

/// Embedded lists hold the first ten.
const EMBEDDED: usize = 10;

/// What a list request asks for.
struct Ask {
    limit: usize,
    after: Option<String>,
    before: Option<String>,
    /// Bounds of `created`, both included.
    from: i64,
    to: i64,
    /// Filters by place in `Kind::filters`.
    filters: Vec<(u8, Box<str>)>,
    expand: Vec<String>,
    status_all: bool,
    types: Vec<String>,
    ids: Vec<String>,
}

impl Ask {
    fn read(request: &Request, kind: &Kind, is_nested: bool, cap: usize) -> Result<Ask, Reply> {
        let mut ask = Ask {
            limit: 10,
            after: None,
            before: None,
            from: i64::MIN,
            to: i64::MAX,
            filters: Vec::new(),
            expand: Vec::new(),
            status_all: false,
            types: Vec::new(),
            ids: Vec::new(),
        };
        for (name, value) in request.params() {
            let (base, sub) =
                name.split_once('[').map_or((name.as_str(), ""), |(base, sub)| (base, sub.trim_end_matches(']')));
            match base {
                "limit" => {
                    let number: i64 = value.parse().map_err(|_| {
                        bad_request("parameter_invalid_integer", &format!("Invalid integer: {value}"), Some("limit"))
                    })?;
                    if !(1..=100).contains(&number) {
                        let bound = if number < 1 { "greater than or equal to 1" } else { "less than or equal to 100" };
                        let message =
                            format!("Invalid integer: This value must be {bound} (it currently is '{number}').");
                        return Err(bad_request("parameter_invalid_integer", &message, Some("limit")));
                    }
                    ask.limit = number as usize;
                }
                "starting_after" if !value.is_empty() => ask.after = Some(value),
                "ending_before" if !value.is_empty() => ask.before = Some(value),
                "starting_after" | "ending_before" => {
                    let message = format!("You passed an empty string for '{base}'. We assume empty values are an attempt to unset a parameter; however '{base}' cannot be unset. You should remove '{base}' from your request or supply a non-empty value.");
                    return Err(bad_request("parameter_invalid_empty", &message, Some(base)));
                }
                "expand" => ask.expand.push(value),
                "object" if is_nested => {}
                "created" if !is_nested => {
                    let at: i64 = value.parse().map_err(|_| {
                        bad_request("parameter_invalid_integer", &format!("Invalid integer: {value}"), Some(&name))
                    })?;
                    match sub {
                        "gt" => ask.from = ask.from.max(at.saturating_add(1)),
                        "gte" => ask.from = ask.from.max(at),
                        "lt" => ask.to = ask.to.min(at.saturating_sub(1)),
                        "lte" => ask.to = ask.to.min(at),
                        "" => (ask.from, ask.to) = (at, at),
                        _ => return Err(unknown(&name)),
                    }
                }
                "types" if kind.name == "events" => {
                    ask.types.push(value);
                    if ask.types.len() > 20 {
                        return Err(bad_request("", "You may only specify up to 20 types.", Some("types")));
                    }
                }
                "type" if kind.name == "events" => ask.types.push(value),
                "delivery_success" if kind.name == "events" => {}
                "ids" if matches!(kind.name, "events" | "products") => ask.ids.push(value),
                "status" if kind.name == "subscriptions" && (value == "all" || value == "ended") => {
                    ask.status_all = true;
                    if value == "ended" {
                        ask.filters.push((1, "canceled".into()));
                    }
                }
                "pending" if kind.name == "invoice_items" => {}
                "price" | "plan" | "current_period_end" | "current_period_start" if kind.name == "subscriptions" => {}
                _ => {
                    let place = kind.filters.iter().position(|f| *f == base && sub.is_empty());
                    match place.filter(|_| !is_nested || (kind.name == "payment_methods" && base == "type")) {
                        Some(place) => {
                            ask.status_all |= base == "status";
                            ask.filters.push((place as u8, value.into()));
                        }
                        None => return Err(unknown(&name)),
                    }
                }
            }
        }
        if ask.after.is_some() && ask.before.is_some() {
            return Err(bad_request(
                "",
                "You can only use one of starting_after and ending_before.",
                Some("ending_before"),
            ));
        }
        if cap > 0 {
            ask.limit = ask.limit.min(cap);
        }
        Ok(ask)
    }

    fn wants(&self, thing: &Thing, kind: &Kind) -> bool {
        if kind.name == "subscriptions"
            && !self.status_all
            && matches!(thing.key(1), Some("canceled" | "incomplete_expired"))
        {
            return false;
        }
        if !self.ids.is_empty() && !self.ids.iter().any(|id| **id == *thing.id) {
            return false;
        }
        if !self.types.is_empty() {
            let name = thing.key(0).unwrap_or("");
            let is_meant = |wanted: &String| match wanted.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == wanted,
            };
            if !self.types.iter().any(is_meant) {
                return false;
            }
        }
        self.filters.iter().all(|(at, value)| thing.key(*at) == Some(value))
    }
}

fn unknown(name: &str) -> Reply {
    bad_request("parameter_unknown", &format!("Received unknown parameter: {name}"), Some(name))
}

impl Account {
    /// `GET /v1/{kind}`; `parent` is set for a list below a record.
    pub(super) fn list(
        &self,
        request: &Request,
        config: &Config,
        kind_at: usize,
        parent: Option<(&str, &str)>,
    ) -> Reply {
        let kind = &KINDS[kind_at];
        if let Some(reply) = denied(config, &names_of(kind)) {
            return reply;
        }
        let mut ask = match Ask::read(request, kind, parent.is_some(), config.page_size) {
            Ok(ask) => ask,
            Err(reply) => return reply,
        };
        let mut url = request.path.clone();
        if let Some((parent, object)) = parent {
            ask.filters.insert(0, (0, parent.into()));
            if !object.is_empty() {
                ask.filters.push((1, object.into()));
            }
        }
        if kind.name == "subscription_items" {
            match ask.filters.first() {
                None => {
                    return bad_request(
                        "parameter_missing",
                        "Missing required param: subscription.",
                        Some("subscription"),
                    )
                }
                Some((_, id)) => url = nested_url(kind.name, id),
            }
        }
        if kind.name == "payment_methods" && parent.is_none() && !ask.filters.iter().any(|(at, _)| *at == 0) {
            // Without a customer the real list has only those of the account itself.
            ask.ids.push("-".into());
        }
        if kind_at == EVENTS {
            ask.from = ask.from.max(clock::now_ms() / 1000 - config.number("event_retention_days") * 86_400);
        }
        let (mut things, has_more) = match self.page(kind_at, &ask) {
            Ok(page) => page,
            Err(reply) => return reply,
        };
        if ask.before.is_some() {
            things.reverse();
        }
        let mut text = String::with_capacity(things.iter().map(|t| t.text.len() + 64).sum());
        let _ = write!(text, "{{\"object\":\"list\",\"data\":[");
        let expand = match self.expansions(kind, &ask.expand, "data.") {
            Ok(expand) => expand,
            Err(reply) => return reply,
        };
        for (n, thing) in things.iter().enumerate() {
            if n > 0 {
                text.push(',');
            }
            self.render(kind_at, thing, &expand, &mut text);
        }
        let _ = write!(text, "],\"has_more\":{has_more},\"url\":{}}}", json!(url));
        Reply::json(200, text)
    }

    /// The things of one page in list order (reversed when it is read backwards), and whether more follow.
    fn page(&self, kind_at: usize, ask: &Ask) -> Result<(Vec<&Thing>, bool), Reply> {
        let (kind, table) = (&KINDS[kind_at], &self.tables[kind_at]);
        let cursor = |id: &Option<String>, param: &str| match id {
            None => Ok(None),
            Some(id) => table.position(id).map(Some).ok_or_else(|| missing(400, kind.object, id, param)),
        };
        let (after, before) = (cursor(&ask.after, "starting_after")?, cursor(&ask.before, "ending_before")?);
        let key = ask.filters.first();
        let Some(order) = table.positions(key) else { return Ok((Vec::new(), false)) };
        let mut low = (ask.from, 0);
        // The upper end is not included; no slot number is that big.
        let mut high = (ask.to, u32::MAX);
        if let Some(after) = after {
            high = high.min(after);
        }
        if let Some((created, slot)) = before {
            low = low.max((created, slot + 1));
        }
        if low >= high {
            return Ok((Vec::new(), false));
        }
        let range = order.range(low..high);
        let thing = |(_, slot): &(i64, u32)| table.at(*slot).map(|t| &**t).filter(|t| ask.wants(t, kind));
        let mut things: Vec<&Thing> = if before.is_some() {
            range.filter_map(thing).take(ask.limit + 1).collect()
        } else {
            range.rev().filter_map(thing).take(ask.limit + 1).collect()
        };
        let has_more = things.len() > ask.limit;
        things.truncate(ask.limit);
        Ok((things, has_more))
    }

    /// `GET /v1/{parents}/{id}/{kind}`.
    pub(super) fn nested(
        &self,
        request: &Request,
        config: &Config,
        parents: &str,
        id: &str,
        kind_at: usize,
        object: &str,
    ) -> Reply {
        let parent_at = kinds::place(parents).unwrap_or(0);
        if let Some(reply) = denied(config, &names_of(&KINDS[parent_at])) {
            return reply;
        }
        let is_there = self.tables[parent_at].get(id).is_some_and(|t| t.is_listed());
        if !is_there {
            return missing(404, KINDS[parent_at].object, id, KINDS[parent_at].object);
        }
        self.list(request, config, kind_at, Some((id, object)))
    }

    /// `GET /v1/{kind}/{id}`.
    pub(super) fn one(&self, request: &Request, config: &Config, kind_at: usize, id: &str) -> Reply {
        let kind = &KINDS[kind_at];
        if let Some(reply) = denied(config, &names_of(kind)) {
            return reply;
        }
        let mut asked = Vec::new();
        for (name, value) in request.params() {
            if name.split('[').next() != Some("expand") {
                return unknown(&name);
            }
            asked.push(value);
        }
        let param = if kind.name == "customers" { "id" } else { kind.object };
        let Some(thing) = self.tables[kind_at].get(id).filter(|t| !t.is_gone) else {
            return missing(404, kind.object, id, param);
        };
        if kind_at == EVENTS && thing.created < clock::now_ms() / 1000 - config.number("event_retention_days") * 86_400
        {
            return missing(404, kind.object, id, "id");
        }
        if thing.is_deleted {
            if !kind.tells_deleted {
                return missing(404, kind.object, id, param);
            }
            return Reply::json(200, json!({"id": id, "object": kind.object, "deleted": true}).to_string());
        }
        let expand = match self.expansions(kind, &asked, "") {
            Ok(expand) => expand,
            Err(reply) => return reply,
        };
        let mut text = String::new();
        self.render(kind_at, thing, &expand, &mut text);
        Reply::json(200, text)
    }

    /// The members to expand, without the prefix of lists and without what lies below them.
    fn expansions(&self, kind: &Kind, asked: &[String], prefix: &str) -> Result<Vec<String>, Reply> {
        let template = super::templates::template(kind.name, kind.object, "x", 0);
        let mut members = Vec::new();
        for path in asked {
            let refuse = || {
                let message = format!("This property cannot be expanded ({path}).");
                bad_request("", &message, Some("expand"))
            };
            let first = path.strip_prefix(prefix).ok_or_else(refuse)?.split('.').next().unwrap_or("");
            let is_list = kind.embeds.iter().any(|(member, ..)| *member == first);
            if !is_list && template.get(first).is_none() && first != "tax_ids" && first != "cash_balance" {
                return Err(refuse());
            }
            members.push(first.to_string());
        }
        Ok(members)
    }

    /// Writes a record with its lists.
    pub(super) fn render(&self, kind_at: usize, thing: &Thing, expand: &[String], out: &mut String) {
        let kind = &KINDS[kind_at];
        let is_expanded = |member: &str| expand.iter().any(|e| e == member);
        let of_ids = expand.iter().any(|e| !kind.embeds.iter().any(|(member, ..)| member == e));
        if of_ids {
            let mut value = thing.value();
            for member in expand {
                self.expand_ids(&mut value[member.as_str()]);
            }
            if is_expanded("tax_ids") {
                let url = format!("/v1/customers/{}/tax_ids", thing.id);
                value["tax_ids"] = json!({"object": "list", "data": [], "has_more": false, "url": url});
            }
            out.push_str(&value.to_string());
        } else {
            out.push_str(&thing.text);
        }
        for (member, child, when_expanded) in kind.embeds {
            if *when_expanded && !is_expanded(member) {
                continue;
            }
            out.pop();
            let _ = write!(out, ",\"{member}\":");
            self.embed(child, &thing.id, out);
            out.push('}');
        }
    }

    pub(super) fn embed(&self, child: &str, parent: &str, out: &mut String) {
        let child_at = kinds::place(child).unwrap_or(0);
        let table = &self.tables[child_at];
        let order = table.positions(Some(&(0, parent.into())));
        out.push_str("{\"object\":\"list\",\"data\":[");
        let mut count = 0;
        for (_, slot) in order.into_iter().flat_map(|o| o.iter().rev()) {
            let Some(thing) = table.at(*slot) else { continue };
            if child == "subscriptions" && thing.key(1) == Some("canceled") {
                continue;
            }
            count += 1;
            if count > EMBEDDED {
                break;
            }
            if count > 1 {
                out.push(',');
            }
            self.render(child_at, thing, &[], out);
        }
        let total = order.map_or(0, |o| o.len());
        let _ = write!(
            out,
            "],\"has_more\":{},\"total_count\":{total},\"url\":{}}}",
            count > EMBEDDED,
            json!(nested_url(child, parent))
        );
    }

    /// Puts the objects in the place of their ids.
    fn expand_ids(&self, value: &mut Value) {
        match value {
            Value::Array(all) => all.iter_mut().for_each(|v| self.expand_ids(v)),
            Value::String(id) => {
                let found = KINDS.iter().enumerate().find_map(|(at, _)| Some((at, self.tables[at].get(id)?)));
                if let Some((at, thing)) = found {
                    let mut text = String::new();
                    self.render(at, thing, &[], &mut text);
                    *value = serde_json::from_str(&text).unwrap_or_default();
                }
            }
            _ => {}
        }
    }
}
