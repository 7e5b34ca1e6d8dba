//! Decides the records a fresh account has: as many as a test asks for, referring to each other.
//!
//! Everything follows from the seed. What belongs to a named collection comes with it unless its own size is given: cards
//! and payment methods with customers, balance transactions and refunds with charges, lines with invoices.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::{json, Map, Value};

use super::edit::discount;
use super::kinds::{self, KINDS};
use super::templates::template;
use super::Account;
use crate::chance::Chance;
use crate::names;

const SPAN_S: i64 = 4 * 365 * 86_400;

/// What a seeding request says besides the sizes.
pub struct Options {
    pub until_s: i64,
    /// The Salesforce accounts customers can belong to.
    pub accounts: Vec<String>,
    pub seed: u64,
}

/// Referred collections come first.
const ORDER: [&str; 22] = [
    "tax_rates",
    "coupons",
    "products",
    "plans",
    "prices",
    "customers",
    "cards",
    "bank_accounts",
    "payment_methods",
    "subscriptions",
    "payment_intents",
    "charges",
    "refunds",
    "disputes",
    "balance_transactions",
    "invoices",
    "invoice_items",
    "application_fees",
    "application_fee_refunds",
    "transfers",
    "transfer_reversals",
    "payouts",
];

struct Maker<'a> {
    account: &'a mut Account,
    options: &'a Options,
    chance: Chance,
    /// Ids by collection, in the order they were made.
    ids: HashMap<&'static str, Vec<String>>,
    /// The customers, read once.
    customers: HashMap<String, Rc<Value>>,
    /// Charges, then refunds, made now: kind, id and amount, each waiting for its balance transaction.
    unsettled: Vec<(&'static str, String, i64)>,
    /// How many of them will get one.
    settled: usize,
}

impl Account {
    pub fn seed(&mut self, sizes: &Map<String, Value>, options: &Options) -> Result<Value, String> {
        let mut wanted: Map<String, Value> = sizes.clone();
        for name in wanted.keys() {
            if !ORDER.contains(&name.as_str()) && name != "invoice_lines" && name != "subscription_items" {
                return Err(format!("{name} cannot be seeded"));
            }
        }
        let size = |wanted: &Map<String, Value>, name: &str| wanted.get(name).and_then(Value::as_u64).unwrap_or(0);
        for (child, parent, part) in [
            ("cards", "customers", 2),
            ("bank_accounts", "customers", 5),
            ("payment_methods", "customers", 1),
            ("refunds", "charges", 10),
            ("disputes", "charges", 50),
            ("application_fee_refunds", "application_fees", 3),
            ("transfer_reversals", "transfers", 3),
        ] {
            if !wanted.contains_key(child) && wanted.contains_key(parent) {
                let count = size(&wanted, parent) / part;
                wanted.insert(child.into(), json!(count));
            }
        }
        if !wanted.contains_key("balance_transactions") && wanted.contains_key("charges") {
            let count = size(&wanted, "charges") + size(&wanted, "refunds");
            wanted.insert("balance_transactions".into(), json!(count));
        }
        let chance = Chance::new(options.seed.wrapping_add(self.version), "stripe seed");
        let mut ids = HashMap::new();
        for name in ORDER {
            if let Some((kind_at, object)) = kinds::collection(name) {
                let is_source = KINDS[kind_at].name == "sources";
                let rows = self.tables[kind_at]
                    .iter_latest()
                    .filter(|t| !t.is_deleted && (!is_source || t.key(1) == Some(object)));
                ids.insert(name, rows.map(|t| t.id.to_string()).collect::<Vec<_>>());
            }
        }
        let settled = size(&wanted, "balance_transactions") as usize;
        let (customers, unsettled) = (HashMap::new(), Vec::new());
        let mut maker = Maker { account: self, options, chance, ids, customers, unsettled, settled };
        for name in ORDER {
            maker.make_all(name, size(&wanted, name));
        }
        let counted = ORDER.iter().filter_map(|name| Some((name.to_string(), self.count(name).ok()?["count"].clone())));
        Ok(Value::Object(counted.collect()))
    }
}

impl Maker<'_> {
    fn any(&mut self, name: &str) -> Value {
        match self.ids.get(name).filter(|ids| !ids.is_empty()) {
            Some(ids) => json!(ids[self.chance.below(ids.len() as u64) as usize]),
            None => Value::Null,
        }
    }

    fn record(&self, name: &str, id: &Value) -> Value {
        let found = kinds::place(name).zip(id.as_str()).and_then(|(at, id)| self.account.tables[at].latest(id));
        found.map(|t| t.value()).unwrap_or_default()
    }

    fn customer(&mut self, id: &Value) -> Rc<Value> {
        let Some(id) = id.as_str() else { return Rc::default() };
        if let Some(customer) = self.customers.get(id) {
            return customer.clone();
        }
        let customer = Rc::new(self.record("customers", &json!(id)));
        self.customers.insert(id.to_string(), customer.clone());
        customer
    }

    /// The id of the balance transaction that will settle a charge or refund.
    fn settle(&mut self, name: &'static str, v: &mut Value) {
        let id = v["id"].as_str().unwrap_or("").to_string();
        if self.unsettled.len() < self.settled {
            v["balance_transaction"] = json!(settlement(&id));
            self.unsettled.push((name, id, v["amount"].as_i64().unwrap_or(0)));
        }
    }

    fn keep(&mut self, name: &str, value: &Value, created: i64) {
        let kind_at = kinds::collection(name).map_or(0, |(at, _)| at);
        let thing = self.account.thing(kind_at, value, Some(created));
        self.account.tables[kind_at].put(thing, None);
    }

    fn change(&mut self, name: &str, id: &Value, edit: impl FnOnce(&mut Value)) {
        let mut value = self.record(name, id);
        if value.is_object() {
            edit(&mut value);
            let created = value["created"].as_i64().unwrap_or(self.options.until_s);
            self.keep(name, &value, created);
        }
    }

    fn make_all(&mut self, name: &'static str, size: u64) {
        let Some((kind_at, object)) = kinds::collection(name) else { return };
        let start = self.options.until_s - SPAN_S;
        let step = SPAN_S as f64 / (size + 1) as f64;
        let first = self.ids.get(name).map_or(0, Vec::len) as u64;
        let mut created = start;
        for index in 0..size {
            // Every eighth shares its second with the one before.
            if index % 8 != 7 {
                created = start + (step * (index as f64 + 0.5)) as i64;
            }
            let settles = (name == "balance_transactions").then(|| self.unsettled.get(index as usize)).flatten();
            let id = match settles {
                Some((_, source, _)) => settlement(source),
                None => self.account.new_id(KINDS[kind_at].name, object),
            };
            let mut value = template(KINDS[kind_at].name, object, &id, created);
            let number = if name == "balance_transactions" { index } else { first + index };
            self.fill(name, &mut value, number, created);
            if name == "charges" || name == "refunds" {
                self.settle(name, &mut value);
            }
            self.keep(name, &value, created);
            self.children(name, &value, index, created);
            if let Some(ids) = self.ids.get_mut(name) {
                ids.push(id);
            }
        }
    }

    fn card_details(&mut self) -> (&'static str, String, i64, i64) {
        let brand = ["visa", "mastercard", "amex", "discover"][self.chance.below(4) as usize];
        (brand, self.chance.digits(4), self.chance.between(1, 12), self.chance.between(2026, 2033))
    }

    fn address(&mut self) -> Value {
        let town = names::TOWNS[self.chance.below(names::TOWNS.len() as u64) as usize];
        let line = names::street(&mut self.chance);
        json!({"city": town.0, "country": town.3, "line1": line, "line2": null, "postal_code": town.2, "state": town.1})
    }

    fn fill(&mut self, name: &str, v: &mut Value, index: u64, created: i64) {
        let amount = self.chance.between(5, 900) * 100 + 99;
        if name != "balance_transactions" && v.get("amount").is_some_and(|a| !a.is_null()) {
            v["amount"] = json!(amount);
        }
        match name {
            "customers" => {
                let accounts = self.options.accounts.len() as u64;
                let company = if accounts > 0 { index % accounts } else { index };
                let (first, last) = names::person(index);
                v["name"] = json!(names::company(company));
                v["email"] = json!(names::mailbox(index, company));
                v["description"] = json!(format!("{first} {last}, {}", names::prose(&mut self.chance, 10)));
                v["phone"] = json!(format!("+1415555{}", self.chance.digits(4)));
                v["address"] = self.address();
                if index.is_multiple_of(3) {
                    let address = self.address();
                    v["shipping"] = json!({"address": address, "name": names::company(company), "phone": null});
                }
                v["metadata"] = json!({"source": "seed", "segment": self.chance.pick(&["smb", "mid", "enterprise"])});
                // Two in three belong to an account of the sales org.
                if let Some(id) = self.options.accounts.get(company as usize).filter(|_| index % 3 != 2) {
                    v["metadata"]["salesforce_account_id"] = json!(id);
                }
                v["balance"] = json!(if index.is_multiple_of(9) { -500 } else { 0 });
                let coupon = if index.is_multiple_of(10) { self.any("coupons") } else { Value::Null };
                if !coupon.is_null() {
                    let coupon = self.record("coupons", &coupon);
                    let id = format!("di_1Sim{}", self.chance.letters(20));
                    v["discount"] = discount(&id, coupon, v["id"].clone(), created);
                }
            }
            "cards" | "bank_accounts" | "payment_methods" => {
                // The fourth customer has many, so that its list has a second page.
                let many = self.ids.get("customers").and_then(|ids| ids.get(3)).cloned();
                v["customer"] = match many {
                    Some(id) if index < 12 && name == "cards" => json!(id),
                    _ => self.any("customers"),
                };
                let customer = self.customer(&v["customer"].clone());
                let (brand, last4, month, year) = self.card_details();
                if name == "cards" {
                    v["brand"] = json!(match brand {
                        "visa" => "Visa",
                        "mastercard" => "MasterCard",
                        "amex" => "American Express",
                        _ => "Discover",
                    });
                    (v["last4"], v["exp_month"], v["exp_year"], v["name"]) =
                        (json!(last4), json!(month), json!(year), customer["name"].clone());
                } else if name == "bank_accounts" {
                    (v["last4"], v["account_holder_name"]) = (json!(last4), customer["name"].clone());
                } else {
                    (v["card"]["brand"], v["card"]["last4"]) = (json!(brand), json!(last4));
                    (v["card"]["exp_month"], v["card"]["exp_year"]) = (json!(month), json!(year));
                    v["billing_details"] = json!({"address": customer["address"], "email": customer["email"], "name": customer["name"], "phone": null});
                }
            }
            "products" => {
                v["name"] =
                    json!(format!("{} {}", self.chance.pick(&["Basic", "Team", "Enterprise", "Add-on"]), index + 1));
                v["description"] = json!(names::prose(&mut self.chance, 14));
            }
            "plans" | "prices" => {
                v["product"] = self.any("products");
                v["nickname"] = json!(format!("plan {}", index + 1));
                let member = if name == "plans" { "amount" } else { "unit_amount" };
                (v[member], v[&format!("{member}_decimal")]) = (json!(amount), json!(amount.to_string()));
                if name == "plans" && index % 4 == 3 {
                    v["interval"] = json!("year");
                }
            }
            "coupons" => {
                v["name"] = json!(format!("Coupon {}", index + 1));
                match index % 3 {
                    0 => (v["percent_off"], v["amount_off"], v["currency"]) = (Value::Null, json!(500), json!("usd")),
                    _ => v["percent_off"] = json!(5.0 * (1 + index % 10) as f64),
                }
            }
            "tax_rates" => {
                let (country, display, percent) =
                    [("DE", "VAT", 19.0), ("US", "Sales tax", 8.875), ("GB", "VAT", 20.0), ("CA", "GST", 5.0)]
                        [index as usize % 4];
                (v["country"], v["jurisdiction"], v["display_name"]) = (json!(country), json!(country), json!(display));
                (v["percentage"], v["effective_percentage"]) = (json!(percent), json!(percent));
            }
            "subscriptions" => self.fill_subscription(v, index, created),
            "payment_intents" => {
                v["customer"] = self.any("customers");
                let done = index % 6 != 5;
                v["status"] = json!(if done { "succeeded" } else { "requires_payment_method" });
                v["amount_received"] = json!(if done { amount } else { 0 });
            }
            "charges" => self.fill_charge(v, index, amount),
            "refunds" => {
                v["charge"] = self.any("charges");
                let charge = v["charge"].clone();
                let whole = self.record("charges", &charge)["amount"].as_i64().unwrap_or(100);
                let part = if index.is_multiple_of(2) { whole } else { (whole / 3).max(1) };
                v["amount"] = json!(part);
                v["reason"] = json!(["requested_by_customer", "duplicate", "fraudulent"][index as usize % 3]);
                self.change("charges", &charge, |c| {
                    let total = (c["amount_refunded"].as_i64().unwrap_or(0) + part).min(whole);
                    (c["amount_refunded"], c["refunded"]) = (json!(total), json!(total >= whole));
                });
            }
            "disputes" => {
                v["charge"] = self.any("charges");
                let (id, charge) = (v["id"].clone(), v["charge"].clone());
                v["amount"] = self.record("charges", &charge)["amount"].clone();
                self.change("charges", &charge, |c| (c["disputed"], c["dispute"]) = (json!(true), id));
            }
            "balance_transactions" => self.fill_balance(v, index, created),
            "invoices" => self.fill_invoice(v, index, created),
            "invoice_items" => {
                v["customer"] = self.any("customers");
                v["description"] = json!(names::prose(&mut self.chance, 4));
                (v["unit_amount"], v["unit_amount_decimal"]) = (json!(amount), json!(amount.to_string()));
            }
            "application_fees" => {
                v["charge"] = self.any("charges");
                v["account"] = json!("acct_1SimConnected");
                v["fee_source"] = json!({"charge": v["charge"], "type": "charge"});
            }
            "application_fee_refunds" | "transfer_reversals" => {
                let (parents, member, sum) = if name == "transfer_reversals" {
                    ("transfers", "transfer", "amount_reversed")
                } else {
                    ("application_fees", "fee", "amount_refunded")
                };
                v[member] = self.any(parents);
                v["amount"] = json!(100);
                let parent = v[member].clone();
                self.change(parents, &parent, |p| p[sum] = json!(p[sum].as_i64().unwrap_or(0) + 100));
            }
            "transfers" => v["transfer_group"] = json!(format!("ORDER{index}")),
            _ => {}
        }
    }

    fn fill_charge(&mut self, v: &mut Value, index: u64, amount: i64) {
        v["customer"] = self.any("customers");
        let customer = self.customer(&v["customer"].clone());
        v["billing_details"] = json!({"address": customer["address"], "email": customer["email"], "name": customer["name"], "phone": customer["phone"]});
        v["receipt_email"] = customer["email"].clone();
        v["description"] = json!(format!("Charge for {}", names::prose(&mut self.chance, 6)));
        v["metadata"] = json!({"order_id": format!("{:06}", 100_000 + index), "channel": self.chance.pick(&["web", "mobile", "sales"])});
        if index.is_multiple_of(4) {
            v["shipping"] = customer["shipping"].clone();
        }
        v["payment_intent"] = self.any("payment_intents");
        let (brand, last4, month, year) = self.card_details();
        let card = &mut v["payment_method_details"]["card"];
        (card["brand"], card["network"], card["last4"]) = (json!(brand), json!(brand), json!(last4));
        (card["exp_month"], card["exp_year"], card["amount_authorized"]) = (json!(month), json!(year), json!(amount));
        card["overcapture"]["maximum_amount_capturable"] = json!(amount);
        v["amount_captured"] = json!(amount);
        if index % 20 == 19 {
            v["status"] = json!("failed");
            (v["paid"], v["captured"], v["amount_captured"]) = (json!(false), json!(false), json!(0));
            (v["failure_code"], v["failure_message"]) = (json!("card_declined"), json!("Your card was declined."));
            v["outcome"] = json!({"network_status": "declined_by_network", "reason": "generic_decline", "risk_level": "normal", "risk_score": 41,
                "seller_message": "The bank did not return any further details with this decline.", "type": "issuer_declined"});
        }
    }

    fn fill_balance(&mut self, v: &mut Value, index: u64, created: i64) {
        if created + 2 * 86_400 > self.options.until_s {
            v["status"] = json!("pending");
        }
        let Some((name, source, amount)) = self.unsettled.get(index as usize).cloned() else { return };
        v["source"] = json!(source);
        if name == "refunds" {
            (v["amount"], v["net"], v["fee"], v["fee_details"]) = (json!(-amount), json!(-amount), json!(0), json!([]));
            (v["type"], v["reporting_category"]) = (json!("refund"), json!("refund"));
            return;
        }
        let detail = |amount: i64, what: &str, kind: &str| json!({"amount": amount, "application": null, "currency": "usd", "description": what, "type": kind});
        let fee = amount * 29 / 1000 + 30;
        let mut details = vec![detail(fee, "Stripe processing fees", "stripe_fee")];
        let tax = if index.is_multiple_of(5) { fee / 5 } else { 0 };
        if tax > 0 {
            details.push(detail(tax, "VAT", "tax"));
        }
        (v["amount"], v["fee"], v["net"]) = (json!(amount), json!(fee + tax), json!(amount - fee - tax));
        v["fee_details"] = json!(details);
    }

    fn fill_subscription(&mut self, v: &mut Value, index: u64, created: i64) {
        v["customer"] = self.any("customers");
        let plan = self.any("plans");
        v["plan"] = self.record("plans", &plan);
        if v["plan"].as_object().is_none_or(Map::is_empty) {
            v["plan"] = Value::Null;
        }
        v["quantity"] = json!(1 + index % 5);
        v["status"] =
            json!(["active", "active", "active", "trialing", "past_due", "active", "canceled"][index as usize % 7]);
        if v["status"] == "canceled" {
            let end = created + 40 * 86_400;
            (v["canceled_at"], v["ended_at"]) = (json!(end), json!(end));
        }
    }

    fn fill_invoice(&mut self, v: &mut Value, index: u64, created: i64) {
        v["customer"] = self.any("customers");
        let customer = self.customer(&v["customer"].clone());
        (v["customer_email"], v["customer_name"]) = (customer["email"].clone(), customer["name"].clone());
        v["number"] = json!(format!("{}-{:04}", customer["invoice_prefix"].as_str().unwrap_or("SIM"), index + 1));
        v["subscription"] = if index.is_multiple_of(2) { self.any("subscriptions") } else { Value::Null };
        v["charge"] = if index.is_multiple_of(3) { self.any("charges") } else { Value::Null };
        let total: i64 = (0..lines_of(index)).map(|n| 100 * (n as i64 + 1)).sum();
        for member in
            ["amount_due", "amount_remaining", "subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax"]
        {
            v[member] = json!(total);
        }
        let status = ["paid", "paid", "open", "draft", "void", "paid"][index as usize % 6];
        v["status"] = json!(status);
        if status != "draft" {
            v["status_transitions"]["finalized_at"] = json!(created + 3600);
            v["hosted_invoice_url"] =
                json!(format!("https://invoice.stripe.example/i/{}", v["id"].as_str().unwrap_or("")));
        }
        if status == "paid" {
            (v["paid"], v["attempted"], v["attempt_count"]) = (json!(true), json!(true), json!(1));
            (v["amount_paid"], v["amount_remaining"]) = (json!(total), json!(0));
            v["status_transitions"]["paid_at"] = json!(created + 3700);
        }
    }

    /// The lists that come with a record.
    fn children(&mut self, name: &str, parent: &Value, index: u64, created: i64) {
        let (child, object, count) = match name {
            "invoices" => ("invoice_lines", "line_item", lines_of(index)),
            "subscriptions" => {
                ("subscription_items", "subscription_item", if index % 20 == 5 { 12 } else { 1 + index % 2 })
            }
            _ => return,
        };
        for n in 0..count {
            let id = self.account.new_id(child, object);
            let mut v = template(child, object, &id, created);
            v[KINDS[kinds::place(child).unwrap_or(0)].filters[0]] = parent["id"].clone();
            if child == "invoice_lines" {
                let amount = 100 * (n as i64 + 1);
                (v["amount"], v["amount_excluding_tax"], v["unit_amount_excluding_tax"]) =
                    (json!(amount), json!(amount), json!(amount.to_string()));
                v["description"] = json!(format!("Line {} of {count}", n + 1));
                v["subscription"] = parent["subscription"].clone();
            } else {
                v["plan"] = parent["plan"].clone();
                v["quantity"] = json!(n + 1);
            }
            self.keep(child, &v, created);
        }
    }
}

/// The id of the balance transaction of a charge or refund.
fn settlement(source: &str) -> String {
    format!("txn_{}", source.split_once('_').map_or(source, |(_, tail)| tail))
}

/// Every tenth invoice has more lines than an embedded list holds.
fn lines_of(index: u64) -> u64 {
    if index % 10 == 4 {
        12 + index % 14
    } else {
        1 + index % 3
    }
}
