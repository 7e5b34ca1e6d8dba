//! Decides which events a change of a record makes, and what they hold.
//!
//! Not every change has an event, as in the real API: an update of a payment intent without a new status, of a balance
//! transaction or of an application fee is never told.

use serde_json::{json, Map, Value};

use super::kinds::{self, EVENTS, KINDS};
use super::Account;
use crate::clock;
use crate::config::Config;

/// What happened to a record.
#[derive(Clone, Copy, PartialEq)]
pub enum What {
    Created,
    Updated,
    Deleted,
}

fn status_events(name: &str, status: &str) -> &'static [&'static str] {
    match (name, status) {
        ("invoices", "open") => &["invoice.finalized"],
        ("invoices", "paid") => &["invoice.paid", "invoice.payment_succeeded"],
        ("invoices", "void") => &["invoice.voided"],
        ("invoices", "uncollectible") => &["invoice.marked_uncollectible"],
        ("charges", "succeeded") => &["charge.succeeded"],
        ("charges", "failed") => &["charge.failed"],
        ("charges", "pending") => &["charge.pending"],
        ("payment_intents", "succeeded") => &["payment_intent.succeeded"],
        ("payment_intents", "canceled") => &["payment_intent.canceled"],
        ("payment_intents", "processing") => &["payment_intent.processing"],
        ("payment_intents", "requires_action") => &["payment_intent.requires_action"],
        ("payment_intents", "requires_payment_method") => &["payment_intent.payment_failed"],
        ("disputes", "won" | "lost" | "warning_closed") => &["charge.dispute.closed"],
        ("subscriptions", "canceled") => &["customer.subscription.deleted"],
        ("subscriptions", "paused") => &["customer.subscription.paused"],
        _ => &[],
    }
}

/// The types of the events a change makes, first the plain one.
pub fn types(name: &str, what: What, before: &Value, after: &Value) -> Vec<&'static str> {
    use What::{Created, Deleted, Updated};
    let status = after["status"].as_str().unwrap_or("");
    let changed = |member: &str| before[member] != after[member];
    let mut types: Vec<&'static str> = match (name, what) {
        ("customers", Created) => vec!["customer.created"],
        ("customers", Updated) => vec!["customer.updated"],
        ("customers", Deleted) => vec!["customer.deleted"],
        ("charges", Created) => vec![],
        ("charges", Updated) => vec!["charge.updated"],
        ("invoices", Created) => vec!["invoice.created"],
        ("invoices", Updated) => vec!["invoice.updated"],
        ("invoices", Deleted) => vec!["invoice.deleted"],
        ("invoice_items", Created) => vec!["invoiceitem.created"],
        ("invoice_items", Deleted) => vec!["invoiceitem.deleted"],
        ("subscriptions", Created) => vec!["customer.subscription.created"],
        ("subscriptions", Updated) if changed("status") && status == "canceled" => vec![],
        ("subscriptions", Updated) => vec!["customer.subscription.updated"],
        ("subscriptions", Deleted) => return vec!["customer.subscription.deleted"],
        ("products", Created) => vec!["product.created"],
        ("products", Updated) => vec!["product.updated"],
        ("products", Deleted) => vec!["product.deleted"],
        ("plans", Created) => vec!["plan.created"],
        ("plans", Updated) => vec!["plan.updated"],
        ("plans", Deleted) => vec!["plan.deleted"],
        ("prices", Created) => vec!["price.created"],
        ("prices", Updated) => vec!["price.updated"],
        ("prices", Deleted) => vec!["price.deleted"],
        ("coupons", Created) => vec!["coupon.created"],
        ("coupons", Updated) => vec!["coupon.updated"],
        ("coupons", Deleted) => vec!["coupon.deleted"],
        ("disputes", Created) => vec!["charge.dispute.created"],
        ("disputes", Updated) => vec!["charge.dispute.updated"],
        ("payment_intents", Created) => return vec!["payment_intent.created"],
        ("payment_methods", Created) => vec!["payment_method.attached"],
        ("payment_methods", Updated) => vec!["payment_method.updated"],
        ("payment_methods", Deleted) => vec!["payment_method.detached"],
        ("refunds", Created) => vec!["refund.created"],
        ("refunds", Updated) => vec!["refund.updated", "charge.refund.updated"],
        ("application_fees", Created) => vec!["application_fee.created"],
        ("application_fees", Updated) if changed("amount_refunded") => vec!["application_fee.refunded"],
        ("application_fee_refunds", Updated) => vec!["application_fee.refund.updated"],
        ("sources", Created) => vec!["customer.source.created"],
        ("sources", Updated) => vec!["customer.source.updated"],
        ("sources", Deleted) => vec!["customer.source.deleted"],
        ("tax_rates", Created) => vec!["tax_rate.created"],
        ("tax_rates", Updated) => vec!["tax_rate.updated"],
        ("transfers", Created) => vec!["transfer.created"],
        ("transfers", Updated) if changed("amount_reversed") => vec!["transfer.reversed"],
        ("transfers", Updated) => vec!["transfer.updated"],
        ("payouts", Created) => vec!["payout.created"],
        ("payouts", Updated) => vec!["payout.updated"],
        _ => vec![],
    };
    if what == Deleted {
        return types;
    }
    if changed("status") || (what == Created && name == "charges") {
        types.extend(status_events(name, status));
    }
    if what == Updated && name == "charges" {
        if changed("amount_refunded") {
            types.push("charge.refunded");
        }
        if changed("captured") {
            types.push("charge.captured");
        }
    }
    if what == Updated && name == "payment_intents" && changed("amount_capturable") {
        types.push("payment_intent.amount_capturable_updated");
    }
    types
}

/// The members that changed, with their values before.
pub fn previous(before: &Value, after: &Value) -> Map<String, Value> {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return Map::new() };
    before.iter().filter(|(name, value)| after.get(*name) != Some(value)).map(|(n, v)| (n.clone(), v.clone())).collect()
}

impl Account {
    /// Notes an event about an object at its moment (unix time).
    pub(super) fn emit(
        &mut self,
        kind: &str,
        object: Value,
        previous: Map<String, Value>,
        config: &Config,
        at_s: i64,
        due_ms: Option<i64>,
    ) {
        self.version += 1;
        let id = format!("evt_1Sim{:010}{}", self.version, self.chance.letters(10));
        let mut data = json!({"object": in_version(object, config.text("event_api_version"))});
        if !previous.is_empty() {
            data["previous_attributes"] = Value::Object(previous);
        }
        let request = format!("req_{}", self.chance.letters(14));
        let event = json!({
            "id": id, "object": "event", "api_version": config.text("event_api_version"), "created": at_s, "data": data, "livemode": false,
            "pending_webhooks": 0, "request": {"id": request, "idempotency_key": null}, "type": kind,
        });
        let thing = self.thing(EVENTS, &event, None);
        self.tables[EVENTS].put(thing, due_ms);
    }

    /// Notes the events of a change; the object is rendered with its embedded lists.
    pub(super) fn tell(
        &mut self,
        kind_at: usize,
        what: What,
        before: &Value,
        after: &Value,
        config: &Config,
        due_ms: Option<i64>,
    ) {
        let name = KINDS[kind_at].name;
        let types = types(name, what, before, after);
        if types.is_empty() {
            return;
        }
        let id = after["id"].as_str().unwrap_or("");
        let mut shown = after.clone();
        for (member, child, when_expanded) in KINDS[kind_at].embeds {
            if !when_expanded {
                shown[*member] = self.embedded(child, id);
            }
        }
        let now_s = clock::now_ms() / 1000;
        for kind in types {
            let tells_before = what == What::Updated && !kind.ends_with(".deleted");
            let mut earlier = if tells_before { previous(before, after) } else { Map::new() };
            if kind == "payment_method.detached" {
                earlier.insert("customer".into(), before["customer"].clone());
            }
            self.emit(kind, shown.clone(), earlier, config, now_s, due_ms);
        }
    }

    fn embedded(&self, child: &str, parent: &str) -> Value {
        let mut text = String::new();
        self.embed(child, parent, &mut text);
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Notes `*.created` events of the records made since `since_s`, at their own moments.
    pub fn tell_recent(&mut self, since_s: i64, config: &Config) -> usize {
        let mut recent: Vec<(i64, usize, String)> = Vec::new();
        for (kind_at, table) in self.tables.iter().enumerate().filter(|(at, _)| *at != EVENTS) {
            for slot in table.slots_between(since_s, i64::MAX - 1) {
                if let Some(thing) = table.at(slot) {
                    recent.push((thing.created, kind_at, thing.id.to_string()));
                }
            }
        }
        recent.sort();
        for (created, kind_at, id) in &recent {
            let Some(object) = self.tables[*kind_at].get(id).map(|t| t.value()) else { continue };
            for kind in types(KINDS[*kind_at].name, What::Created, &Value::Null, &object) {
                self.emit(kind, object.clone(), Map::new(), config, *created, None);
            }
        }
        recent.len()
    }
}

/// An object in another API version: enough of a difference that a reader who mistakes it for the current shape is caught.
fn in_version(mut object: Value, version: &str) -> Value {
    if version == "2024-06-20" {
        return object;
    }
    let id = object["id"].as_str().unwrap_or("").to_string();
    if let Some(members) = object.as_object_mut() {
        match members.get("object").and_then(Value::as_str) {
            Some("charge") => {
                let url = kinds::nested_url("refunds", &id);
                members.insert("refunds".into(), json!({"object": "list", "data": [], "has_more": false, "url": url}));
                members.remove("amount_captured");
            }
            Some("customer") => {
                let url = kinds::nested_url("sources", &id);
                members.insert("sources".into(), json!({"object": "list", "data": [], "has_more": false, "url": url}));
                members.remove("invoice_settings");
            }
            _ => {}
        }
        members.remove("metadata");
        members.insert("rendered_in_version".into(), json!(version));
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_their_events() {
        for (name, what, before, after, want) in [
            ("customers", What::Updated, json!({"name": "a"}), json!({"name": "b"}), vec!["customer.updated"]),
            (
                "invoices",
                What::Updated,
                json!({"status": "draft"}),
                json!({"status": "open"}),
                vec!["invoice.updated", "invoice.finalized"],
            ),
            ("payment_intents", What::Updated, json!({"description": "a"}), json!({"description": "b"}), vec![]),
            ("charges", What::Created, Value::Null, json!({"status": "succeeded"}), vec!["charge.succeeded"]),
            (
                "balance_transactions",
                What::Updated,
                json!({"status": "pending"}),
                json!({"status": "available"}),
                vec![],
            ),
            (
                "subscriptions",
                What::Updated,
                json!({"status": "active"}),
                json!({"status": "canceled"}),
                vec!["customer.subscription.deleted"],
            ),
        ] {
            assert_eq!(types(name, what, &before, &after), want, "{name}");
        }
        assert_eq!(previous(&json!({"a": 1, "b": 2}), &json!({"a": 1, "b": 3})).len(), 1);
    }
}
