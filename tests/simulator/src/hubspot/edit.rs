//! Decides what the control API does to the portal beyond the common calls: properties of objects, associations, merges,
//! tokens, and the ledgers of collections that are made of parts of others.

use std::sync::Arc;

use serde_json::{json, Map, Value};

use super::legacy::profiles;
use super::properties::Kind;
use super::record::{render, set, value, Asked};
use super::Hubspot;
use crate::app::{bad, missing, Answer, Ask};
use crate::rest::{crud, Record, When};

pub fn when(ask: &Ask<'_>) -> When {
    When { at_ms: ask.now_ms, due_ms: ask.due_ms(), is_silent: ask.flag("silent") }
}

impl Hubspot {
    fn whole(&self, kind: Kind, record: &Record) -> Value {
        render(kind, &self.properties[kind.at()], record, Asked::All)
    }

    pub fn create_object(&mut self, ask: &Ask<'_>, kind: Kind) -> Answer {
        let record = crud::make(self, kind.plural(), &ask.body, when(ask))?;
        // Its links may have changed it.
        let record = self.book.latest(kind.plural(), &record.id).unwrap_or(record);
        Ok(self.whole(kind, &record).to_string())
    }

    pub fn change_object(&mut self, ask: &Ask<'_>, kind: Kind, id: &str) -> Answer {
        let mut given = ask.body.clone();
        if let Some(Value::Object(inner)) = given.shift_remove("properties") {
            given.extend(inner);
        }
        let before =
            self.book.latest(kind.plural(), id).ok_or_else(|| bad(format!("{} has no {id}", kind.plural())))?;
        let mut fields = before.fields.clone();
        set(kind, &self.properties[kind.at()], &mut fields, &given).map_err(bad)?;
        if kind == Kind::Contact && given.contains_key("email") {
            fields.insert("email_at".into(), json!(ask.now_ms));
        }
        let after = self.book.edit(kind.plural(), id, when(ask), |record| record.fields = fields).map_err(bad)?;
        Ok(self.whole(kind, &after).to_string())
    }

    /// Delete and undelete: the common call, answered as the API shows the object.
    pub fn marked(&mut self, kind: Kind, answer: Answer, id: &str) -> Answer {
        let text = answer?;
        Ok(self.book.latest(kind.plural(), id).map_or(text, |record| self.whole(kind, &record).to_string()))
    }

    /// Sets a number that is counted by the app. The stamp moves, but never back.
    fn bump(&mut self, kind: Kind, id: &str, property: &str, by: i64, when: When) {
        let Some(record) = self.book.latest(kind.plural(), id) else { return };
        let count = value(&record, property).and_then(|n| n.parse::<i64>().ok()).unwrap_or(0) + by;
        let first = (property == "num_associated_contacts" && kind == Kind::Company && count == 1)
            .then_some(when.at_ms)
            .filter(|_| value(&record, "first_contact_createdate").is_none());
        let when = When { is_silent: when.is_silent || when.at_ms < record.updated_ms, ..when };
        let _ = self.book.edit(kind.plural(), id, when, |record| {
            if let Some(properties) = record.fields.get_mut("properties").and_then(Value::as_object_mut) {
                properties.insert(property.into(), json!(count.max(0).to_string()));
                if let Some(at) = first {
                    properties.insert("first_contact_createdate".into(), json!(at.to_string()));
                }
            }
        });
    }

    /// Associates two objects or parts them, with the counts both have of the other.
    pub fn link(&mut self, from: (Kind, &str), to: (Kind, &str), is_linked: bool, when: When) {
        let changed = match is_linked {
            true => self.links.add(from, to),
            false => self.links.remove(from, to),
        };
        if !changed {
            return;
        }
        let by = if is_linked { 1 } else { -1 };
        for (one, other) in [(from, to), (to, from)] {
            let counted = match (one.0, other.0) {
                (Kind::Company | Kind::Deal, Kind::Contact) => "num_associated_contacts",
                (Kind::Company | Kind::Contact, Kind::Deal) => "num_associated_deals",
                _ => continue,
            };
            self.bump(one.0, one.1, counted, by, when);
        }
    }

    /// The associations a new object came with.
    pub fn link_new(&mut self, kind: Kind, record: &Record, when: When) {
        let links = record.get("links").clone();
        for (name, ids) in links.as_object().into_iter().flatten() {
            let Some(other) = Kind::named(name) else { continue };
            for id in ids.as_array().into_iter().flatten().map(super::crm::id_text) {
                self.link((kind, &record.id), (other, &id), true, when);
            }
        }
    }

    /// Merges a contact into another: it is gone without a trace, the other takes its e-mail and its identities.
    fn merge(&mut self, ask: &Ask<'_>, id: &str) -> Answer {
        let from = ask.body.get("from").map(super::crm::id_text).unwrap_or_default();
        if from == id {
            return Err(bad("a contact cannot be merged into itself"));
        }
        let gone = self.book.latest("contacts", &from).ok_or_else(|| bad(format!("contacts has no {from}")))?;
        let when = when(ask);
        let (vid, email) = (from.parse::<i64>().unwrap_or(0), value(&gone, "email").map(str::to_string));
        let join = |fields: &mut Map<String, Value>, name: &str, more: &str| {
            if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
                let before = properties.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
                let all = before.map_or(more.to_string(), |before| format!("{before};{more}"));
                properties.insert(name.into(), json!(all));
            }
        };
        let edited = self.book.edit("contacts", id, when, |record| {
            join(&mut record.fields, "hs_merged_object_ids", &from);
            if let Some(email) = &email {
                join(&mut record.fields, "hs_additional_emails", email);
            }
            let merged = record.fields.entry("merged").or_insert_with(|| json!([]));
            if let Some(list) = merged.as_array_mut() {
                list.push(json!({"vid": vid, "at": when.at_ms}));
            }
        });
        let record = edited.map_err(bad)?;
        self.book.remove("contacts", &from, when).map_err(bad)?;
        self.links.forget(Kind::Contact, &from);
        Ok(self.whole(Kind::Contact, &record).to_string())
    }

    fn associate(&mut self, ask: &Ask<'_>, is_linked: bool) -> Answer {
        let text = |name: &str| ask.body.get(name).map(super::crm::id_text).unwrap_or_default();
        let end = |name: &str| {
            let kind =
                Kind::named(&text(name)).ok_or_else(|| bad(format!("{name} must be contacts, companies or deals")))?;
            let id = text(&format!("{name}_id"));
            match self.book.latest(kind.plural(), &id) {
                Some(_) => Ok((kind, id)),
                None => Err(bad(format!("{} has no {id}", kind.plural()))),
            }
        };
        let (from, to) = (end("from")?, end("to")?);
        self.link((from.0, &from.1), (to.0, &to.1), is_linked, when(ask));
        Ok(json!({"ok": true}).to_string())
    }

    /// Calls of this app alone.
    pub fn own_call(&mut self, ask: &Ask<'_>, parts: &[&str]) -> Option<Answer> {
        let ok = || Ok(json!({"ok": true}).to_string());
        Some(match (ask.request.method.as_str(), parts) {
            ("POST", ["token"]) => {
                let lifetime = ask.config.number("token_lifetime_seconds");
                Ok(json!({"access_token": self.mint(ask.now_ms, lifetime)}).to_string())
            }
            ("GET", ["tokens"]) => Ok(json!({"granted": self.tokens.granted}).to_string()),
            ("DELETE", ["tokens"]) => {
                self.tokens.expire_all();
                ok()
            }
            ("POST", ["associations"]) => self.associate(ask, true),
            ("DELETE", ["associations"]) => self.associate(ask, false),
            ("POST", ["contacts", id, "merge"]) => self.merge(ask, id),
            (method @ ("POST" | "DELETE"), ["objects", name, "properties", rest @ ..]) => {
                let Some(kind) = Kind::named(name) else {
                    return Some(Err(missing(format!("there is no object {name}"))));
                };
                let properties = &mut self.properties[kind.at()];
                match (method, rest) {
                    ("POST", []) => {
                        properties.define(&ask.body, ask.now_ms).map_err(bad).map(|names| json!(names).to_string())
                    }
                    ("DELETE", [property]) => match properties.archive(property, ask.now_ms) {
                        Ok(()) => ok(),
                        Err(message) => Err(missing(message)),
                    },
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    /// Collections without records of their own, from the records they are part of.
    fn parts(&self, collection: &str) -> Option<Vec<(String, u64, Value)>> {
        let contacts = || self.book.all_latest("contacts").into_iter().filter(|r| !r.is_deleted());
        Some(match collection {
            "contact_identity_profiles" => contacts()
                .flat_map(|r| {
                    let row = |p: Value| (format!("{}:{}", p["vid"], p["saved-at-timestamp"]), r.version, p);
                    profiles(&r).into_iter().map(row).collect::<Vec<_>>()
                })
                .collect(),
            "contact_identities" => contacts()
                .flat_map(|r| {
                    let mut rows = Vec::new();
                    for profile in profiles(&r) {
                        for identity in profile["identities"].as_array().into_iter().flatten() {
                            let mut row = identity.clone();
                            row["vid"] = profile["vid"].clone();
                            let text = |name: &str| identity[name].as_str().unwrap_or("").to_string();
                            rows.push((
                                format!("{}:{}:{}", profile["vid"], text("type"), text("value")),
                                r.version,
                                row,
                            ));
                        }
                    }
                    rows
                })
                .collect(),
            "email_subscriptions" => contacts()
                .filter_map(|r| Some((value(&r, "email")?.to_lowercase(), r.version)))
                .flat_map(|(email, version)| {
                    let row = |s: Value| (format!("{email}:{}", s["subscriptionId"]), version, s);
                    self.statuses(&email).into_iter().map(row).collect::<Vec<_>>()
                })
                .collect(),
            "email_subscription_event_changes" => {
                let items: Vec<Arc<Record>> = self.book.all_latest(collection);
                let changes = items.iter().filter(|item| !item.is_deleted()).flat_map(|item| {
                    let all = item.get("changes").as_array().cloned().unwrap_or_default();
                    let row = |(at, mut change): (usize, Value)| {
                        for name in ["timestamp", "portalId", "recipient", "normalizedEmailId"] {
                            change[name] = item.get(name).clone();
                        }
                        (format!("{}:{at}", item.id), item.version, change)
                    };
                    all.into_iter().enumerate().map(row).collect::<Vec<_>>()
                });
                changes.collect()
            }
            _ => return None,
        })
    }

    pub fn own_ledger(&self, ask: &Ask<'_>, collection: &str) -> Option<Answer> {
        let with_records = ask.request.param("records").is_none_or(|v| v != "false");
        let mut rows = Vec::new();
        if let Some(kind) = Kind::named(collection).filter(|kind| kind.plural() == collection) {
            if ask.flag("gone") {
                return None;
            }
            for record in self.book.all_latest(collection) {
                let mut row = json!({
                    "id": record.id, "version": record.version, "deleted": record.is_deleted(), "changed_at": record.updated_ms,
                });
                if with_records {
                    row["record"] = self.whole(kind, &record);
                }
                rows.push(row.to_string());
            }
        } else {
            for (id, version, record) in self.parts(collection)? {
                let mut row = json!({"id": id, "version": version, "deleted": false});
                if with_records {
                    row["record"] = record;
                }
                rows.push(row.to_string());
            }
        }
        Some(Ok(format!("[{}\n]", rows.iter().map(|row| format!("\n{row}")).collect::<Vec<_>>().join(","))))
    }

    pub fn own_count(&mut self, collection: &str) -> Option<Answer> {
        if self.book.kinds().any(|kind| kind.name == collection) && collection != "email_subscriptions" {
            return None;
        }
        let count = self.parts(collection)?.len();
        Some(Ok(json!({"count": count, "deleted": 0, "total": count}).to_string()))
    }
}

/// Which calls on a collection concern CRM objects.
pub fn object(collection: &str) -> Option<Kind> {
    Kind::named(collection).filter(|kind| kind.plural() == collection)
}

/// The common delete and undelete, by way of the trait's own functions.
pub fn delete(app: &mut Hubspot, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
    let answer = crud::delete(app, ask, collection, id);
    match object(collection) {
        Some(kind) => app.marked(kind, answer, id),
        None => answer,
    }
}

pub fn undelete(app: &mut Hubspot, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
    let answer = crud::undelete(app, ask, collection, id);
    match object(collection) {
        Some(kind) => app.marked(kind, answer, id),
        None => answer,
    }
}
