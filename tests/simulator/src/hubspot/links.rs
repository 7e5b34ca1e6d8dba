//! Decides which objects are associated with which, and how the association endpoints say it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{json, Value};

use super::properties::Kind;
use super::wire::{invalid, iso, not_found};
use super::Hubspot;
use crate::app::Call;
use crate::http::Reply;
use crate::rest::page;

/// A batch may ask for so many objects (developers.hubspot.com, "Associations v4").
const MOST_INPUTS: usize = 1000;
const MOST_A_PAGE: usize = 500;
/// A record in a list shows so many of each kind (changelog, "How v3 CRM APIs return association data").
const MOST_IN_A_LIST: usize = 100;

type Ids = BTreeSet<Box<str>>;

#[derive(Default)]
pub struct Links(BTreeMap<(Kind, Box<str>, Kind), Ids>);

impl Links {
    /// Both directions at once. Whether it is new.
    pub fn add(&mut self, from: (Kind, &str), to: (Kind, &str)) -> bool {
        self.0.entry((to.0, to.1.into(), from.0)).or_default().insert(from.1.into());
        self.0.entry((from.0, from.1.into(), to.0)).or_default().insert(to.1.into())
    }

    pub fn remove(&mut self, from: (Kind, &str), to: (Kind, &str)) -> bool {
        let mut cut = |(kind, id): (Kind, &str), (other, with): (Kind, &str)| {
            self.0.get_mut(&(kind, id.into(), other)).is_some_and(|ids| ids.remove(with))
        };
        cut(to, from) | cut(from, to)
    }

    /// By id, which is by age.
    pub fn of(&self, kind: Kind, id: &str, to: Kind) -> Vec<&str> {
        self.0.get(&(kind, id.into(), to)).into_iter().flatten().map(|id| &**id).collect()
    }

    /// An object is gone for good.
    pub fn forget(&mut self, kind: Kind, id: &str) {
        for other in Kind::ALL {
            for with in self.0.remove(&(kind, id.into(), other)).unwrap_or_default() {
                if let Some(ids) = self.0.get_mut(&(other, with, kind)) {
                    ids.remove(id);
                }
            }
        }
    }
}

/// The id of an association type; the first company of an object is its primary one and has a type beside the plain one.
fn type_ids(from: Kind, to: Kind, is_first: bool) -> Vec<(i64, Option<&'static str>)> {
    let (plain, primary) = match (from, to) {
        (Kind::Contact, Kind::Company) => (279, Some(1)),
        (Kind::Company, Kind::Contact) => (280, None),
        (Kind::Deal, Kind::Contact) => (3, None),
        (Kind::Contact, Kind::Deal) => (4, None),
        (Kind::Deal, Kind::Company) => (341, Some(5)),
        (Kind::Company, Kind::Deal) => (342, None),
        (Kind::Company, Kind::Company) => (450, None),
        (Kind::Contact, Kind::Contact) => (449, None),
        (Kind::Deal, Kind::Deal) => (451, None),
    };
    let primary = primary.filter(|_| is_first).map(|id| (id, Some("Primary")));
    primary.into_iter().chain([(plain, None)]).collect()
}

impl Hubspot {
    /// The objects associated with one, without those that are archived or gone.
    pub fn linked(&self, kind: Kind, id: &str, to: Kind) -> Vec<&str> {
        let mut ids = self.links.of(kind, id, to);
        ids.retain(|id| self.book.latest(to.plural(), id).is_some_and(|r| !r.is_deleted()));
        ids
    }

    /// The member `associations` of an object in a list.
    pub fn associations(&self, call: &Call<'_>, kind: Kind, id: &str, wanted: &[Kind]) -> Option<Value> {
        let mut found = json!({});
        let most = shown_at_once(call, MOST_IN_A_LIST);
        for to in wanted {
            let ids = self.linked(kind, id, *to);
            let results: Vec<Value> = ids
                .iter()
                .take(most)
                .enumerate()
                .flat_map(|(at, id)| {
                    let name = format!("{}_to_{}", kind.singular(), to.singular());
                    let plain = type_ids(kind, *to, true).len() > 1;
                    let primary = (plain && at == 0).then(|| json!({"id": id, "type": name}));
                    let plain =
                        json!({"id": id, "type": if plain { format!("{name}_unlabeled") } else { name.clone() }});
                    primary.into_iter().chain([plain])
                })
                .collect();
            if !results.is_empty() {
                found[to.plural()] = json!({"results": results});
                if let Some(next) = ids.get(most) {
                    let link =
                        format!("/crm/v3/objects/{}/{id}/associations/{}?after={next}", kind.plural(), to.plural());
                    found[to.plural()]["paging"] = json!({"next": {"after": next, "link": link}});
                }
            }
        }
        found.as_object().is_some_and(|f| !f.is_empty()).then_some(found)
    }

    fn targets(&self, from: Kind, id: &str, to: Kind, is_v4: bool) -> Vec<Value> {
        let one = |(at, id): (usize, &&str)| {
            if !is_v4 {
                return json!({"id": id, "type": format!("{}_to_{}", from.singular(), to.singular())});
            }
            let types: Vec<Value> = type_ids(from, to, at == 0)
                .into_iter()
                .map(|(id, label)| json!({"category": "HUBSPOT_DEFINED", "typeId": id, "label": label}))
                .collect();
            json!({"toObjectId": id, "associationTypes": types})
        };
        self.linked(from, id, to).iter().enumerate().map(one).collect()
    }

    /// `POST /crm/v4/associations/{from}/{to}/batch/read`: 207 when some objects have none.
    pub fn read_associations(&self, call: &Call<'_>, from: Kind, to: Kind, is_v4: bool) -> Reply {
        let body: Value = serde_json::from_slice(&call.request.body).unwrap_or_default();
        let Some(inputs) = body.get("inputs").and_then(Value::as_array) else {
            return invalid("Invalid input JSON: Some required fields were not set: [inputs]");
        };
        if inputs.len() > MOST_INPUTS {
            return invalid(&format!("The batch can have at most {MOST_INPUTS} inputs"));
        }
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for input in inputs {
            let id = super::crm::id_text(input.get("id").unwrap_or(&Value::Null));
            let after =
                input.get("after").and_then(Value::as_str).filter(|_| is_v4).and_then(|after| after.parse().ok());
            let targets = self.targets(from, &id, to, is_v4);
            let (offset, size) = (after.unwrap_or(0), shown_at_once(call, MOST_A_PAGE));
            if targets.is_empty() {
                errors.push(json!({
                    "status": "error", "category": "OBJECT_NOT_FOUND", "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
                    "message": format!("No {} is associated with {} {id}.", to.singular(), from.singular()),
                    "context": {"fromObjectId": [id], "fromObjectType": [from.singular()], "toObjectType": [to.singular()]},
                }));
            } else {
                let mut one = json!({"from": {"id": id}, "to": page::slice(&targets, offset, size)});
                if offset + size < targets.len() {
                    one["paging"] = json!({"next": {"after": (offset + size).to_string()}});
                }
                results.push(one);
            }
        }
        batch(call.now_ms, results, errors)
    }

    /// `GET /crm/v4/objects/{kind}/{id}/associations/{to}`.
    pub fn list_associations(&self, call: &Call<'_>, from: Kind, id: &str, to: Kind, is_v4: bool) -> Reply {
        if self.book.latest(from.plural(), id).is_none() {
            return not_found("resource not found");
        }
        let all = self.targets(from, id, to, is_v4);
        let offset = page::number(call.request, "after").unwrap_or(0);
        let size = call.config.page_of(page::number(call.request, "limit").unwrap_or(MOST_A_PAGE), MOST_A_PAGE);
        let mut body = json!({"results": page::slice(&all, offset, size)});
        if offset + size < all.len() {
            let after = (offset + size).to_string();
            body["paging"] =
                json!({"next": {"after": after, "link": page::link_with(call.request, &[("after", Some(&after))])}});
        }
        Reply::json(200, body.to_string())
    }
}

/// How many associations of a record are shown before they are paged.
fn shown_at_once(call: &Call<'_>, usual: usize) -> usize {
    match call.config.size("associations_shown") {
        0 => usual,
        size => size,
    }
}

/// The answer of a batch: 200, or 207 when some inputs failed.
pub fn batch(now_ms: i64, results: Vec<Value>, errors: Vec<Value>) -> Reply {
    let mut body =
        json!({"status": "COMPLETE", "results": results, "startedAt": iso(now_ms), "completedAt": iso(now_ms + 7)});
    if errors.is_empty() {
        return Reply::json(200, body.to_string());
    }
    body["numErrors"] = json!(errors.len());
    body["errors"] = json!(errors);
    Reply::json(207, body.to_string())
}
