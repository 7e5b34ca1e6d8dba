//! Decides what a change through the control API does: the record, those it touches, and the events told.

use serde_json::{json, Map, Value};

use super::events::What;
use super::kinds::{self, KINDS};
use super::templates::template;
use super::{Account, Thing};
use crate::clock;
use crate::config::Config;
use crate::store::Row;

type Fallible<T> = Result<T, String>;

/// How a change is made.
#[derive(Clone, Copy)]
pub struct Manner<'a> {
    pub config: &'a Config,
    /// No event tells it.
    pub is_silent: bool,
}

impl Manner<'_> {
    fn due_ms(&self) -> Option<i64> {
        (self.config.late_visibility_ms > 0).then(|| clock::now_ms() + self.config.late_visibility_ms)
    }
}

/// A parent that is rendered with its children, the member that names it in the child, and the sum a child changes.
fn touched(name: &str) -> Option<(&'static str, &'static str, &'static str)> {
    match name {
        "refunds" => Some(("charges", "charge", "amount_refunded")),
        "application_fee_refunds" => Some(("application_fees", "fee", "amount_refunded")),
        "transfer_reversals" => Some(("transfers", "transfer", "amount_reversed")),
        "invoice_lines" => Some(("invoices", "invoice", "")),
        "subscription_items" => Some(("subscriptions", "subscription", "")),
        _ => None,
    }
}

impl Account {
    /// A new id of a kind.
    pub(super) fn new_id(&mut self, name: &str, object: &str) -> String {
        match (name, object) {
            ("coupons", _) => self.chance.letters(8).to_ascii_uppercase(),
            ("sources", "bank_account") => format!("ba_1Sim{}", self.chance.letters(20)),
            (name, _) => {
                let prefix = kinds::place(name).map_or("obj_", |at| KINDS[at].id_prefix);
                let length = if matches!(name, "customers" | "products" | "subscription_items") { 14 } else { 20 };
                format!("{prefix}{}{}", if length == 20 { "1Sim" } else { "" }, self.chance.letters(length))
            }
        }
    }

    /// A row for a record; `created` is for kinds that do not show theirs.
    pub(super) fn thing(&mut self, kind_at: usize, value: &Value, created: Option<i64>) -> Thing {
        let kind = &KINDS[kind_at];
        let mut keys = Vec::new();
        for (at, filter) in kind.filters.iter().enumerate() {
            let text = match &value[*filter] {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                Value::Object(inner) => match inner.get("id").and_then(Value::as_str) {
                    Some(id) => id.to_string(),
                    None => continue,
                },
                other => other.to_string(),
            };
            keys.push((at as u8, text.into()));
        }
        let own = value["created"].as_i64().or_else(|| value["date"].as_i64());
        self.version += 1;
        Thing {
            id: value["id"].as_str().unwrap_or("").into(),
            created: own.or(created).unwrap_or_else(|| clock::now_ms() / 1000),
            is_deleted: false,
            is_gone: false,
            text: serde_json::to_string(value).unwrap_or_default().into(),
            version: self.version,
            changed_s: clock::now_ms() / 1000,
            keys: keys.into(),
        }
    }

    fn put(&mut self, kind_at: usize, value: &Value, created: Option<i64>, manner: Manner<'_>) {
        let thing = self.thing(kind_at, value, created);
        self.tables[kind_at].put(thing, manner.due_ms());
    }

    fn latest(&self, kind_at: usize, id: &str) -> Fallible<(Value, i64)> {
        let thing = self.tables[kind_at].latest(id).filter(|t| !t.is_gone).ok_or_else(|| format!("no record {id}"))?;
        Ok((thing.value(), thing.created))
    }

    pub fn create(&mut self, name: &str, given: &Map<String, Value>, manner: Manner<'_>) -> Fallible<String> {
        if name == "discounts" {
            return self.give_discount(given, manner);
        }
        let (kind_at, object) = kinds::collection(name).ok_or_else(|| format!("there is no collection {name}"))?;
        let kind = &KINDS[kind_at];
        if let (Some(parent), Some(member)) = (kind.parent, kind.filters.first()) {
            let id = given
                .get(*member)
                .and_then(Value::as_str)
                .ok_or_else(|| format!("a record of {name} needs {member}"))?;
            let parent_at = kinds::place(parent).unwrap_or(0);
            self.latest(parent_at, id)?;
        }
        let id = match given.get("id").and_then(Value::as_str) {
            Some(id) => id.to_string(),
            None => self.new_id(kind.name, object),
        };
        let now_s = clock::now_ms() / 1000;
        let mut value = template(kind.name, object, &id, now_s);
        for (name, member) in given {
            value[name] = member.clone();
        }
        self.put(kind_at, &value, None, manner);
        if !manner.is_silent {
            self.tell(kind_at, What::Created, &Value::Null, &value, manner.config, manner.due_ms());
        }
        self.touch_parent(kind.name, &value, value["amount"].as_i64().unwrap_or(0), manner)?;
        Ok(value.to_string())
    }

    /// Changes the record a child belongs to, as the app does.
    fn touch_parent(&mut self, name: &str, child: &Value, amount: i64, manner: Manner<'_>) -> Fallible<()> {
        let Some((parent, member, sum)) = touched(name) else { return Ok(()) };
        let Some(id) = child[member].as_str() else { return Ok(()) };
        let parent_at = kinds::place(parent).unwrap_or(0);
        let Ok((before, created)) = self.latest(parent_at, id) else { return Ok(()) };
        let mut after = before.clone();
        if !sum.is_empty() {
            let total = before[sum].as_i64().unwrap_or(0) + amount;
            after[sum] = json!(total);
            let flag = if sum == "amount_reversed" { "reversed" } else { "refunded" };
            after[flag] = json!(total >= before["amount"].as_i64().unwrap_or(0));
        }
        self.put(parent_at, &after, Some(created), manner);
        if !manner.is_silent {
            self.tell(parent_at, What::Updated, &before, &after, manner.config, manner.due_ms());
        }
        Ok(())
    }

    pub fn change(&mut self, name: &str, id: &str, given: &Map<String, Value>, manner: Manner<'_>) -> Fallible<String> {
        if name == "accounts" {
            return Ok(self.change_info(given, manner));
        }
        if name == "discounts" {
            let (parent_at, parent) = self.discounted(id)?;
            let mut discount = self.latest(parent_at, &parent)?.0["discount"].take();
            for (name, member) in given {
                discount[name] = member.clone();
            }
            return self.set_discount(parent_at, &parent, discount, "customer.discount.updated", manner);
        }
        let (kind_at, _) = kinds::collection(name).ok_or_else(|| format!("there is no collection {name}"))?;
        let (before, created) = self.latest(kind_at, id)?;
        let mut after = before.clone();
        for (name, member) in given {
            after[name] = member.clone();
        }
        if KINDS[kind_at].name == "products" && !manner.is_silent && !given.contains_key("updated") {
            after["updated"] = json!(clock::now_ms() / 1000);
        }
        self.put(kind_at, &after, Some(created), manner);
        if !manner.is_silent {
            self.tell(kind_at, What::Updated, &before, &after, manner.config, manner.due_ms());
        }
        let grown = after["amount"].as_i64().unwrap_or(0) - before["amount"].as_i64().unwrap_or(0);
        self.touch_parent(KINDS[kind_at].name, &after, grown, manner)?;
        Ok(after.to_string())
    }

    fn change_info(&mut self, given: &Map<String, Value>, manner: Manner<'_>) -> String {
        let before = self.info.clone();
        for (name, member) in given {
            self.info[name] = member.clone();
        }
        self.version += 1;
        self.info_version = self.version;
        if !manner.is_silent {
            let earlier = super::events::previous(&before, &self.info);
            let info = self.info.clone();
            self.emit("account.updated", info, earlier, manner.config, clock::now_ms() / 1000, manner.due_ms());
        }
        self.info.to_string()
    }

    /// Deletes as the app does: some kinds are canceled or detached instead. `hard` leaves no trace at all.
    pub fn delete(&mut self, name: &str, id: &str, hard: bool, manner: Manner<'_>) -> Fallible<String> {
        if name == "discounts" {
            let (parent_at, parent) = self.discounted(id)?;
            return self.set_discount(parent_at, &parent, Value::Null, "customer.discount.deleted", manner);
        }
        let (kind_at, _) = kinds::collection(name).ok_or_else(|| format!("there is no collection {name}"))?;
        let kind = &KINDS[kind_at];
        let manner = Manner { is_silent: manner.is_silent || hard, ..manner };
        let (before, created) = self.latest(kind_at, id)?;
        let now_s = clock::now_ms() / 1000;
        let mut after = before.clone();
        match kind.name {
            "subscriptions" if !hard => {
                after["status"] = json!("canceled");
                after["canceled_at"] = json!(now_s);
                after["ended_at"] = json!(now_s);
                self.put(kind_at, &after, Some(created), manner);
            }
            "payment_methods" if !hard => {
                after["customer"] = Value::Null;
                self.put(kind_at, &after, Some(created), manner);
            }
            _ => {
                self.delete_children(kind.name, id, hard, manner);
                let mut thing = self.thing(kind_at, &before, Some(created));
                (thing.is_deleted, thing.is_gone) = (true, hard);
                self.tables[kind_at].put(thing, manner.due_ms());
            }
        }
        if !manner.is_silent {
            self.tell(kind_at, What::Deleted, &before, &after, manner.config, manner.due_ms());
        }
        self.touch_parent(kind.name, &before, -before["amount"].as_i64().unwrap_or(0), manner)?;
        Ok(json!({"id": id, "object": kind.object, "deleted": true}).to_string())
    }

    /// What goes with a deleted record: a customer's sources and subscriptions, an invoice's lines.
    fn delete_children(&mut self, name: &str, id: &str, hard: bool, manner: Manner<'_>) {
        let children: &[&str] = match name {
            "customers" => &["sources", "subscriptions", "payment_methods"],
            "invoices" => &["invoice_lines"],
            _ => return,
        };
        for child in children {
            let child_at = kinds::place(child).unwrap_or(0);
            let table = &self.tables[child_at];
            let slots: Vec<u32> =
                table.positions(Some(&(0, id.into()))).into_iter().flatten().map(|(_, slot)| *slot).collect();
            let ids: Vec<String> =
                slots.iter().filter_map(|slot| table.at(*slot)).map(|t| t.id().to_string()).collect();
            for child_id in ids {
                // The parent is going: what its children change of it is not told.
                let quiet = Manner { is_silent: manner.is_silent || name == "invoices", ..manner };
                if name == "invoices" {
                    let Ok((value, created)) = self.latest(child_at, &child_id) else { continue };
                    let mut thing = self.thing(child_at, &value, Some(created));
                    (thing.is_deleted, thing.is_gone) = (true, hard);
                    self.tables[child_at].put(thing, quiet.due_ms());
                } else {
                    let _ = self.delete(child, &child_id, hard, quiet);
                }
            }
        }
    }

    pub fn undelete(&mut self, name: &str, id: &str, manner: Manner<'_>) -> Fallible<String> {
        let (kind_at, _) = kinds::collection(name).ok_or_else(|| format!("there is no collection {name}"))?;
        let thing = self.tables[kind_at].latest(id).ok_or_else(|| format!("no record {id}"))?;
        let (value, created) = (thing.value(), thing.created);
        self.put(kind_at, &value, Some(created), manner);
        if !manner.is_silent {
            self.tell(kind_at, What::Created, &Value::Null, &value, manner.config, manner.due_ms());
        }
        Ok(value.to_string())
    }

    /// The customer or subscription that has a discount: by the discount's id.
    fn discounted(&self, id: &str) -> Fallible<(usize, String)> {
        for name in ["customers", "subscriptions"] {
            let at = kinds::place(name).unwrap_or(0);
            let mark = format!("\"id\":\"{id}\"");
            if let Some(thing) =
                self.tables[at].iter_latest().find(|t| t.text.contains(&mark) && t.value()["discount"]["id"] == id)
            {
                return Ok((at, thing.id.to_string()));
            }
        }
        Err(format!("no discount {id}"))
    }

    fn give_discount(&mut self, given: &Map<String, Value>, manner: Manner<'_>) -> Fallible<String> {
        let named = |name: &str| given.get(name).and_then(Value::as_str).map(str::to_string);
        let (parents, parent) = match (named("subscription"), named("customer")) {
            (Some(id), _) => ("subscriptions", id),
            (None, Some(id)) => ("customers", id),
            _ => return Err("a discount needs customer or subscription".into()),
        };
        let parent_at = kinds::place(parents).unwrap_or(0);
        let (value, _) = self.latest(parent_at, &parent)?;
        let coupons = kinds::place("coupons").unwrap_or(0);
        let coupon = match given.get("coupon") {
            Some(Value::String(id)) => self.latest(coupons, id)?.0,
            Some(other) => other.clone(),
            None => template("coupons", "coupon", "SIMULATED", clock::now_ms() / 1000),
        };
        let id = named("id").unwrap_or_else(|| format!("di_1Sim{}", self.chance.letters(20)));
        let customer = if parents == "customers" { json!(parent) } else { value["customer"].clone() };
        let mut discount = discount(&id, coupon, customer, clock::now_ms() / 1000);
        if parents == "subscriptions" {
            discount["subscription"] = json!(parent);
        }
        for (name, member) in given.iter().filter(|(n, _)| *n != "coupon") {
            discount[name] = member.clone();
        }
        self.set_discount(parent_at, &parent, discount, "customer.discount.created", manner)
    }

    fn set_discount(
        &mut self,
        parent_at: usize,
        parent: &str,
        discount: Value,
        event: &str,
        manner: Manner<'_>,
    ) -> Fallible<String> {
        let (before, created) = self.latest(parent_at, parent)?;
        let mut after = before.clone();
        after["discount"] = discount.clone();
        if KINDS[parent_at].name == "subscriptions" {
            after["discounts"] = if discount.is_null() { json!([]) } else { json!([discount["id"]]) };
        }
        self.put(parent_at, &after, Some(created), manner);
        let told = if discount.is_null() { before["discount"].clone() } else { discount };
        if !manner.is_silent {
            let earlier = if event.ends_with("updated") {
                super::events::previous(&before["discount"], &told)
            } else {
                Map::new()
            };
            self.emit(event, told.clone(), earlier, manner.config, clock::now_ms() / 1000, manner.due_ms());
            self.tell(parent_at, What::Updated, &before, &after, manner.config, manner.due_ms());
        }
        Ok(told.to_string())
    }

    /// All records of a collection as they truly are. Those made of parts of others have a version of their parent.
    pub fn ledger(&self, name: &str, with_records: bool) -> Fallible<String> {
        let mut text = String::from("[");
        let mut add = |id: &str, thing: (u64, i64, bool), record: &str| {
            use std::fmt::Write;
            let comma = if text.len() > 1 { "," } else { "" };
            let (version, changed_at, deleted) = thing;
            let _ = write!(
                text,
                "{comma}\n{{\"id\":{},\"version\":{version},\"changed_at\":{changed_at},\"deleted\":{deleted}",
                json!(id)
            );
            if with_records {
                text.push_str(",\"record\":");
                text.push_str(record);
            }
            text.push('}');
        };
        let of = |t: &Thing| (t.version, t.changed_s, t.is_deleted);
        match name {
            "accounts" => add(&self.id, (self.info_version, super::ACCOUNT_CREATED_S, false), &self.info.to_string()),
            "balance_transaction_fee_details" => {
                for thing in self.tables[kinds::place("balance_transactions").unwrap_or(0)].iter_latest() {
                    for (index, mut fee) in
                        thing.value()["fee_details"].as_array().cloned().unwrap_or_default().into_iter().enumerate()
                    {
                        fee["balance_transaction_id"] = json!(thing.id);
                        fee["index"] = json!(index);
                        add(&format!("{}/{index}", thing.id), of(thing), &fee.to_string());
                    }
                }
            }
            "discounts" => {
                for parents in ["customers", "subscriptions"] {
                    for thing in self.tables[kinds::place(parents).unwrap_or(0)].iter_latest() {
                        let discount = thing.value()["discount"].take();
                        if let Some(id) = discount["id"].as_str() {
                            add(id, of(thing), &discount.to_string());
                        }
                    }
                }
            }
            _ => {
                let (kind_at, object) =
                    kinds::collection(name).ok_or_else(|| format!("there is no collection {name}"))?;
                let is_source = KINDS[kind_at].name == "sources" && name != "sources";
                for thing in self.tables[kind_at]
                    .iter_latest()
                    .filter(|t| !t.is_gone && (!is_source || t.key(1) == Some(object)))
                {
                    let mut record = String::new();
                    if with_records {
                        self.render(kind_at, thing, &[], &mut record);
                    }
                    add(&thing.id, of(thing), &record);
                }
            }
        }
        text.push_str("\n]");
        Ok(text)
    }

    pub fn count(&self, name: &str) -> Fallible<Value> {
        let all: Vec<Value> = serde_json::from_str(&self.ledger(name, false)?).map_err(|e| e.to_string())?;
        let deleted = all.iter().filter(|r| r["deleted"] == true).count();
        Ok(json!({"count": all.len() - deleted, "deleted": deleted, "total": all.len()}))
    }
}

/// A discount that a coupon gives.
pub fn discount(id: &str, coupon: Value, customer: Value, start: i64) -> Value {
    json!({
        "id": id, "object": "discount", "checkout_session": null, "coupon": coupon, "customer": customer, "end": null, "invoice": null,
        "invoice_item": null, "promotion_code": null, "start": start, "subscription": null, "subscription_item": null,
    })
}
