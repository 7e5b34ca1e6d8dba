//! Decides whether what a call sends, and how its answer is taken apart, makes sense.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::super::{
    texts_of, Call, Ceiling, Cursor, ErrorRule, Granularity, Listing, Method, OneOrMany, Pages, Params, Records,
    Restart,
};
use super::{error_rule, escaped, Mistakes};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// A request as a collection, a listing or a call has it.
pub(super) struct Asked<'s> {
    pub method: Method,
    pub path: Option<&'s str>,
    pub params: &'s Params,
    pub headers: &'s BTreeMap<String, String>,
    pub json: &'s Option<Value>,
    pub form: &'s BTreeMap<String, String>,
}

impl<'s> From<&'s Call> for Asked<'s> {
    fn from(call: &'s Call) -> Self {
        let Call { method, path, params, headers, json, form } = call;
        Asked { method: *method, path: Some(path), params, headers, json, form }
    }
}

impl<'s> From<&'s Listing> for Asked<'s> {
    fn from(list: &'s Listing) -> Self {
        let Listing { method, path, params, headers, json, form, .. } = list;
        Asked { method: *method, path: Some(path), params, headers, json, form }
    }
}

impl Asked<'_> {
    /// Whether a template of it holds a name.
    pub fn names(&self, name: &str) -> bool {
        let params = self.params.values().flat_map(|param| param.templates());
        let body = self.json.iter().flat_map(texts_of);
        let texts = params.chain(body).chain(self.path).chain(self.form.values().map(String::as_str));
        let mut texts = texts.chain(self.headers.values().map(String::as_str));
        texts.any(|text| super::template::names(text).any(|known| known == name))
    }

    pub fn check(&self, at: &str, known: &HashSet<&str>, found: &mut Mistakes) {
        if let Some(path) = self.path {
            found.template(&format!("{at}/path"), path, known);
        }
        params(self.params, &format!("{at}/params"), known, found);
        for (part, texts) in [("headers", self.headers), ("form", self.form)] {
            for (name, text) in texts {
                let place = format!("{at}/{part}/{}", escaped(name));
                if part == "headers" {
                    super::address::header(&place, name, found);
                }
                found.template(&place, text, known);
            }
        }
        if let Some(body) = self.json {
            json(body, &format!("{at}/json"), known, found);
            found.when(!self.form.is_empty(), &format!("{at}/form"), "there is one body: json or form");
        }
        let body = self.json.is_some() || !self.form.is_empty();
        found.when(
            body && self.method == Method::Get,
            &format!("{at}/method"),
            "a GET has no body: \"POST\" is needed",
        );
    }
}

pub(super) fn params(params: &Params, at: &str, known: &HashSet<&str>, found: &mut Mistakes) {
    for (name, param) in params {
        for text in param.templates() {
            found.template(&format!("{at}/{}", escaped(name)), text, known);
        }
    }
}

fn json(body: &Value, at: &str, known: &HashSet<&str>, found: &mut Mistakes) {
    match body {
        Value::String(text) => found.template(at, text, known),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| json(item, &format!("{at}/{index}"), known, found));
        }
        Value::Object(members) => {
            let mut known = known.clone();
            if members.contains_key("$each") {
                known.insert("each");
            }
            let known = &known;
            for (name, value) in members {
                let place = format!("{at}/{}", escaped(name));
                match (name.as_str(), value) {
                    ("$if", Value::String(name)) => found.known(&place, name, "name", known),
                    ("$if", _) => found.say(&place, "is the name of a value"),
                    ("$each", Value::String(text)) if text.starts_with('{') => found.template(&place, text, known),
                    ("$each", _) => found.say(&place, "is a list's name in braces: {keys}"),
                    _ => json(value, &place, known, found),
                }
            }
        }
        _ => {}
    }
}

pub(super) fn call(call: &Call, at: &str, known: &HashSet<&str>, found: &mut Mistakes) {
    Asked::from(call).check(at, known, found);
}

/// A listing beside a collection's own; `known` are settings and what is around it.
pub(super) fn listing(list: &Listing, at: &str, known: &HashSet<&str>, found: &mut Mistakes) {
    let asked = Asked::from(list);
    let mut names = known.clone();
    if list.cursor.is_some() {
        names.extend(["cursor", "upper"]);
    }
    if list.ceiling.is_some() {
        names.insert("last_key");
    }
    asked.check(at, &names, found);
    records(&list.records, &format!("{at}/records"), found);
    if let Some(style) = &list.pages {
        pages(style, &format!("{at}/pages"), &Some(&asked), &names, found);
    }
    if let Some(order) = &list.cursor {
        cursor(order, &asked, &format!("{at}/cursor"), &names, found);
    }
    if let Some(ceiling) = &list.ceiling {
        self::ceiling(ceiling, list.cursor.is_some(), &asked, &format!("{at}/ceiling"), found);
    }
    errors(&list.errors, at, found);
}

pub(super) fn records(records: &Records, at: &str, found: &mut Mistakes) {
    found.pointer(at, &records.pointer);
    found.when(records.single && records.keyed, at, "one record, or an object of them: not both");
    only(&records.only, &format!("{at}/only"), found);
}

pub(super) fn only(only: &BTreeMap<String, OneOrMany>, at: &str, found: &mut Mistakes) {
    for (pointer, values) in only {
        let place = format!("{at}/{}", escaped(pointer));
        found.pointer(&place, pointer.trim_start_matches('^'));
        found.when(values.0.is_empty(), &place, "keeps nothing");
    }
}

/// A place for a value: a parameter, or a pointer into the body.
pub(super) fn place(place: &str, at: &str, asked: &Option<&Asked<'_>>, found: &mut Mistakes) {
    found.when(place.is_empty(), at, "names no parameter");
    let body = asked.is_some_and(|asked| asked.json.is_some());
    found.when(place.starts_with('/') && !body, at, "points into the body, and there is none: give json");
}

pub(super) fn pages(pages: &Pages, at: &str, asked: &Option<&Asked<'_>>, known: &HashSet<&str>, found: &mut Mistakes) {
    let (size_param, size) = pages.size();
    found.when(size == Some(0), &format!("{at}/size"), "a page holds at least one record");
    if let Some(param) = size_param {
        place(param, &format!("{at}/size_param"), asked, found);
    }
    let mut pointers: Vec<(&str, Option<&str>)> = Vec::new();
    match pages {
        Pages::None => {}
        Pages::LastId { param, field, more, .. } => {
            place(param, &format!("{at}/param"), asked, found);
            pointers.extend([("field", Some(field.as_str())), ("more", Some(more.as_str()))]);
        }
        Pages::NextUrl { pointer, more, end, .. } => {
            pointers.extend([("pointer", Some(pointer.as_str())), ("more", more.as_deref()), ("end", end.as_deref())]);
        }
        Pages::Token { pointer, param, more, end, first, .. } => {
            place(param, &format!("{at}/param"), asked, found);
            pointers.extend([("pointer", Some(pointer.as_str())), ("more", more.as_deref()), ("end", end.as_deref())]);
            if let Some(first) = first {
                call(&first.call, &format!("{at}/first/call"), known, found);
                found.pointer(&format!("{at}/first/pointer"), &first.pointer);
            }
        }
        Pages::HeaderToken { param, .. } => place(param, &format!("{at}/param"), asked, found),
        Pages::LinkHeader { .. } => {}
        Pages::Offset { param, more, total, .. } => {
            place(param, &format!("{at}/param"), asked, found);
            pointers.extend([("more", more.as_deref()), ("total", total.as_deref())]);
        }
        Pages::PageNumber { param, more, total, total_pages, size, .. } => {
            place(param, &format!("{at}/param"), asked, found);
            pointers.extend([
                ("more", more.as_deref()),
                ("total", total.as_deref()),
                ("total_pages", total_pages.as_deref()),
            ]);
            let endless = total.is_some() && size.is_none();
            found.when(
                endless,
                &format!("{at}/total"),
                "counts records: without size nobody knows how many pages that is",
            );
        }
        Pages::Scroll { pointer, param } => {
            place(param, &format!("{at}/param"), asked, found);
            pointers.push(("pointer", Some(pointer)));
        }
        Pages::TimeExport { pointer, time, end, .. } => {
            pointers.extend([
                ("pointer", Some(pointer.as_str())),
                ("time", Some(time.as_str())),
                ("end", end.as_deref()),
            ]);
        }
    }
    for (name, pointer) in pointers {
        if let Some(pointer) = pointer {
            found.pointer(&format!("{at}/{name}"), pointer);
        }
    }
}

pub(super) fn cursor(cursor: &Cursor, asked: &Asked<'_>, at: &str, known: &HashSet<&str>, found: &mut Mistakes) {
    found.field(&format!("{at}/field"), &cursor.field);
    let lower = cursor.param.is_some() || asked.names("cursor");
    let upper = cursor.upper_param.is_some() || asked.names("upper");
    found.when(upper && !lower, &format!("{at}/upper_param"), "an upper bound without a lower one");
    for (name, param) in [("param", &cursor.param), ("upper_param", &cursor.upper_param)] {
        if let Some(param) = param {
            place(param, &format!("{at}/{name}"), &Some(asked), found);
        }
    }
    if let Some(opaque) = &cursor.opaque {
        found.pointer(&format!("{at}/opaque/pointer"), &opaque.pointer);
        place(&opaque.param, &format!("{at}/opaque/param"), &Some(asked), found);
    }
    for (name, text) in [("start", &cursor.start), ("zone", &cursor.zone)] {
        if let Some(text) = text {
            found.template(&format!("{at}/{name}"), text, known);
        }
    }
    found.when(cursor.step_seconds == Some(0), &format!("{at}/step_seconds"), "a window of nothing");
    let half = cursor.step_seconds.is_some() && !(lower && upper);
    found.when(half, &format!("{at}/step_seconds"), "a window needs both bounds: param and upper_param");
    let endless = cursor.start.as_deref().is_none_or(|start| super::template::names(start).next().is_some())
        && cursor.start_days.is_none()
        && cursor.oldest_days.is_none();
    let endless = endless && cursor.step_seconds.is_some();
    found.when(
        endless,
        &format!("{at}/step_seconds"),
        "windows begin somewhere: give start_days, oldest_days or a fixed start",
    );
    let named = cursor.datetime_format.as_deref().is_some_and(|format| !format.contains('%'));
    found.when(named, &format!("{at}/datetime_format"), "is written with %, as %Y-%m-%d");
    let coarse = cursor.granularity == Granularity::Day && !lower && !cursor.client_side;
    found.when(coarse, &format!("{at}/granularity"), "is how the app reads a bound, and it is asked with none");
    if cursor.created_only {
        found.when(cursor.client_side, &format!("{at}/client_side"), "what sees creation only finds no changes");
    }
}

pub(super) fn ceiling(ceiling: &Ceiling, has_cursor: bool, asked: &Asked<'_>, at: &str, found: &mut Mistakes) {
    found.when(ceiling.records == 0, &format!("{at}/records"), "a query that gives nothing is of no use");
    match ceiling.restart {
        Restart::LastKey => {
            let blind = ceiling.field.is_none() || !asked.names("last_key");
            found.when(blind, at, "last_key needs field, and {last_key} in the request");
        }
        Restart::Cursor => found.when(!has_cursor, at, "restarts at the cursor, and there is none"),
    }
    if let Some(pointer) = &ceiling.field {
        found.pointer(&format!("{at}/field"), pointer);
    }
}

pub(super) fn errors(rules: &[ErrorRule], at: &str, found: &mut Mistakes) {
    for (index, rule) in rules.iter().enumerate() {
        error_rule(rule, &format!("{at}/errors/{index}"), found);
    }
}
