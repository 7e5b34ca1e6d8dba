//! Decides what the CRM object endpoints answer: lists, single objects, batches, searches, and the properties there are.

use serde_json::{json, Map, Value};

use super::links::batch;
use super::properties::{Kind, Properties};
use super::record::{properties, render, value, Asked};
use super::search::Search;
use super::wire::{invalid, not_found, refuse};
use super::Hubspot;
use crate::app::Call;
use crate::http::{Reply, Request};
use crate::rest::page;
use crate::rest::Record;

const MOST_A_PAGE: usize = 100;
const MOST_WITH_HISTORY: usize = 50;
const MOST_INPUTS: usize = 100;
const MOST_FOUND: usize = 200;

/// A parameter that holds names, repeated or separated by commas.
fn names(request: &Request, name: &str) -> Vec<String> {
    let given = request.params().into_iter().filter(|(n, _)| n == name);
    given
        .flat_map(|(_, v)| v.split(',').map(|n| n.trim().to_string()).collect::<Vec<_>>())
        .filter(|n| !n.is_empty())
        .collect()
}

/// A flag: the case of its letters does not matter (HubSpot's own Python client sends `True`).
pub fn is_true(request: &Request, name: &str) -> bool {
    request.param(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// An id as a batch gives it: text or number.
pub fn id_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// A page size given as a parameter: at most `most`, or the refusal.
pub fn limit(request: &Request, name: &str, default: usize, most: usize) -> Result<usize, Reply> {
    let Some(text) = request.param(name) else { return Ok(default) };
    match text.parse::<usize>() {
        Ok(size) if (1..=most).contains(&size) => Ok(size),
        Ok(size) => Err(invalid(&format!("Invalid input: {name} is {size}, it must be between 1 and {most}"))),
        Err(_) => Err(invalid(&format!("Invalid input: {name} '{text}' is not a whole number"))),
    }
}

impl Hubspot {
    fn known(&self, kind: Kind) -> &Properties {
        &self.properties[kind.at()]
    }

    fn shown(&self, kind: Kind, record: &Record, asked: &[String], history: &[String]) -> Value {
        let mut object = render(kind, self.known(kind), record, Asked::Named(asked));
        if !history.is_empty() {
            let versions = history.iter().filter_map(|name| {
                self.known(kind).get(name)?;
                let at = super::wire::iso(record.updated_ms);
                let version = value(record, name)
                    .map(|v| json!({"value": v, "timestamp": at, "sourceType": "CRM_UI", "sourceId": "userId:1"}));
                Some((name.clone(), json!(version.into_iter().collect::<Vec<_>>())))
            });
            object["propertiesWithHistory"] = Value::Object(versions.collect());
        }
        object
    }

    /// `GET /crm/v3/objects/{kind}`: in the order of ids, archived ones only when asked for, and then no others. `after` is the
    /// first id of the next page.
    pub fn list_objects(&self, call: &Call<'_>, kind: Kind) -> Reply {
        let request = call.request;
        let history = names(request, "propertiesWithHistory");
        let most = if history.is_empty() { MOST_A_PAGE } else { MOST_WITH_HISTORY };
        let size = match limit(request, "limit", 10, most) {
            Ok(size) => call.config.page_of(size, most),
            Err(refusal) => return refusal,
        };
        let after = match request.param("after").filter(|text| !text.is_empty()).map(|text| text.parse::<u64>()) {
            None => 0,
            Some(Ok(after)) => after,
            Some(Err(_)) => return invalid("Invalid input: after is not a token of this list"),
        };
        let archived = is_true(request, "archived");
        let mut wanted = Vec::new();
        for name in names(request, "associations") {
            match Kind::named(&name) {
                Some(kind) => wanted.push(kind),
                None => return invalid(&format!("Unable to infer object type from: {name}")),
            }
        }
        let asked = names(request, "properties");
        // The list is the database, not the search index: it knows changes at once.
        let records = self.book.all_latest(kind.plural());
        let number = |record: &Record| record.id.parse::<u64>().unwrap_or(0);
        // Ids grow as objects are made, which is the order the records are in.
        let from = records.partition_point(|record| number(record) < after);
        let mut found = records[from..].iter().filter(|record| record.is_deleted() == archived);
        let page: Vec<_> = found.by_ref().take(size).collect();
        let results: Vec<Value> = page
            .iter()
            .map(|record| {
                let mut object = self.shown(kind, record, &asked, &history);
                if let Some(found) = self.associations(call, kind, &record.id, &wanted) {
                    object["associations"] = found;
                }
                object
            })
            .collect();
        let mut body = json!({"results": results});
        if let (Some(_), Some(last)) = (found.next(), page.last()) {
            let after = (number(last) + 1).to_string();
            body["paging"] =
                json!({"next": {"after": after, "link": page::link_with(request, &[("after", Some(&after))])}});
        }
        Reply::json(200, body.to_string())
    }

    /// The record an id means: by `hs_object_id`, a contact also by e-mail (its additional ones too), or a unique property.
    fn by(&self, kind: Kind, id_property: &str, id: &str) -> Option<std::sync::Arc<Record>> {
        if matches!(id_property, "" | "hs_object_id") {
            return self.book.latest(kind.plural(), id);
        }
        let id = id.to_lowercase();
        let holds = |record: &Record| {
            let same = |text: &str| text.to_lowercase() == id;
            value(record, id_property).is_some_and(same)
                || (id_property == "email"
                    && value(record, "hs_additional_emails").is_some_and(|list| list.split(';').any(same)))
        };
        self.book.all_latest(kind.plural()).into_iter().find(|r| !r.is_deleted() && holds(r))
    }

    fn is_unique(&self, kind: Kind, id_property: &str) -> bool {
        matches!(id_property, "" | "hs_object_id")
            || (kind == Kind::Contact && id_property == "email")
            || self.known(kind).get(id_property).is_some_and(|p| p.is_unique)
    }

    /// `GET /crm/v3/objects/{kind}/{id}`.
    pub fn get_object(&self, call: &Call<'_>, kind: Kind, id: &str) -> Reply {
        let request = call.request;
        let property = request.param("idProperty").unwrap_or_default();
        if !self.is_unique(kind, &property) {
            return invalid(&format!("{property} is not a unique property"));
        }
        let archived = is_true(request, "archived");
        let Some(record) = self.by(kind, &property, id).filter(|r| r.is_deleted() == archived) else {
            return not_found("resource not found");
        };
        let mut object =
            self.shown(kind, &record, &names(request, "properties"), &names(request, "propertiesWithHistory"));
        let wanted: Vec<Kind> = names(request, "associations").iter().filter_map(|n| Kind::named(n)).collect();
        if let Some(found) = self.associations(call, kind, &record.id, &wanted) {
            object["associations"] = found;
        }
        Reply::json(200, object.to_string())
    }

    /// `POST /crm/v3/objects/{kind}/batch/read`. What is not found makes it 207; the results come by id, whatever the order asked.
    pub fn read_batch(&self, call: &Call<'_>, kind: Kind) -> Reply {
        let body = match body_of(call.request) {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let texts = |name: &str| -> Vec<String> {
            body.get(name).and_then(Value::as_array).into_iter().flatten().map(id_text).collect()
        };
        let Some(inputs) = body.get("inputs").and_then(Value::as_array) else {
            return invalid("Invalid input JSON: Some required fields were not set: [inputs]");
        };
        if inputs.len() > MOST_INPUTS {
            return invalid(&format!("The batch can have at most {MOST_INPUTS} inputs"));
        }
        let property = body.get("idProperty").and_then(Value::as_str).unwrap_or("");
        if !self.is_unique(kind, property) {
            return invalid(&format!("{property} is not a unique property"));
        }
        let mut ids: Vec<String> = inputs.iter().map(|input| id_text(&input["id"])).collect();
        ids.sort();
        if let Some(twice) = ids.windows(2).find(|two| two[0] == two[1]) {
            return invalid(&format!("Duplicate IDs found in batch input: [{}]. IDs must be unique", twice[0]));
        }
        let archived = is_true(call.request, "archived");
        let (asked, history) = (texts("properties"), texts("propertiesWithHistory"));
        let mut lost = Vec::new();
        let mut found = Vec::new();
        for id in ids {
            match self.by(kind, property, &id).filter(|r| r.is_deleted() == archived) {
                Some(record) => found.push(record),
                None => lost.push(id),
            }
        }
        found.sort_by_key(|record| record.number);
        found.dedup_by_key(|record| record.number);
        let results = found.iter().map(|record| self.shown(kind, record, &asked, &history)).collect();
        let message = format!(
            "Could not get some {} objects, they may be deleted or not exist. Check that ids are valid.",
            kind.singular().to_uppercase()
        );
        let errors = (!lost.is_empty()).then(
            || json!({"status": "error", "category": "OBJECT_NOT_FOUND", "message": message, "context": {"ids": lost}}),
        );
        batch(call.now_ms, results, errors.into_iter().collect())
    }

    /// `POST /crm/v3/objects/{kind}/search`. It sees what the index has: late changes are not in it yet, archived objects never.
    pub fn search_objects(&self, call: &Call<'_>, kind: Kind) -> Reply {
        let body = match body_of(call.request) {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let search = match Search::read(&body, self.known(kind), call.config.size("search_ceiling")) {
            Ok(search) => search,
            Err(message) => return invalid(&message),
        };
        let mut found = self.book.listed(kind.plural());
        found.retain(|record| search.matches(properties(record)));
        search.sort(&mut found);
        let size = call.config.page_of(search.limit, MOST_FOUND);
        let page = page::slice(&found, search.after, size);
        let results: Vec<Value> = page.iter().map(|record| self.shown(kind, record, &search.properties, &[])).collect();
        let mut answer = json!({"total": found.len(), "results": results});
        // Also where the next page would be beyond the ceiling: asking for it is what fails.
        if search.after + size < found.len() {
            answer["paging"] = json!({"next": {"after": (search.after + size).to_string()}});
        }
        Reply::json(200, answer.to_string())
    }

    /// `GET /crm/v3/properties/{kind}`: no pages.
    pub fn list_properties(&self, call: &Call<'_>, kind: Kind) -> Reply {
        let archived = is_true(call.request, "archived");
        let results: Vec<&Value> =
            self.known(kind).all().filter(|p| p.is_archived == archived).map(|p| &p.described).collect();
        Reply::json(200, json!({"results": results}).to_string())
    }

    pub fn get_property(&self, kind: Kind, name: &str) -> Reply {
        match self.known(kind).get(name) {
            Some(property) => Reply::json(200, property.described.to_string()),
            None => refuse(404, "OBJECT_NOT_FOUND", &format!("Property {name} does not exist for {}", kind.plural())),
        }
    }
}

/// The body of a POST, which must be a JSON object.
pub fn body_of(request: &Request) -> Result<Map<String, Value>, Reply> {
    match serde_json::from_slice(&request.body) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(invalid("Invalid input JSON: an object is expected")),
        Err(e) => Err(invalid(&format!("Invalid input JSON on line {}, column {}: {e}", e.line(), e.column()))),
    }
}
