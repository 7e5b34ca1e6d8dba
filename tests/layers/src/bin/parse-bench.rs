//! Measures how fast a page of records is taken apart, by our readers and by serde_json. `docs/performance.md` has results.
//!
//! `cargo run --release -p cloudsync-layers --bin parse-bench -- [words ...]` prints microseconds of this thread's processor
//! time for each record: the median of many rounds, and what a tenth of them stayed below. Words choose the lines that
//! contain all of them.

// For `json!` of a whole charge.
#![recursion_limit = "256"]

use cloudsync_layers::extract::json;
use cloudsync_layers::extract::rest::pages::{parse_page, Shape};
use cloudsync_layers::http::Reply;
use cloudsync_layers::manifest::{Pages, Records};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{json, Value};
use std::borrow::Cow;
use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;

const RECORDS: usize = 100;
const PAGES_A_ROUND: usize = 10;
const ROUNDS: usize = 301;

/// Reads the page, or all its records, once.
type Job<'p> = Box<dyn Fn() -> usize + 'p>;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    for (data, page) in pages() {
        println!("{data}: {} bytes a record", page.len() / RECORDS);
        let mut jobs = jobs(&page);
        jobs.retain(|(name, _)| words.iter().all(|word| format!("{data} {name}").contains(word.as_str())));
        // Rounds of all readers take turns, so that a busy machine is busy for all of them.
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); jobs.len()];
        for _ in 0..ROUNDS {
            for ((_, job), times) in jobs.iter().zip(&mut times) {
                let start = thread_time_us();
                (0..PAGES_A_ROUND).for_each(|_| _ = black_box(job()));
                times.push((thread_time_us() - start) / (PAGES_A_ROUND * RECORDS) as f64);
            }
        }
        for ((name, _), mut times) in jobs.into_iter().zip(times) {
            times.sort_by(f64::total_cmp);
            let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
            println!("  {name:32} {:7.3}  (a tenth below {:.3})", at(50), at(10));
        }
    }
}

fn jobs(page: &str) -> Vec<(&'static str, Job<'_>)> {
    let records = Rc::new(records_by_scanner(page));
    let each = |visit: fn(&str) -> usize| -> Job<'_> {
        let records = Rc::clone(&records);
        Box::new(move || records.iter().map(|record| visit(record)).sum())
    };
    let tape = RefCell::new(json::Tape::default());
    let by_tape = {
        let records = Rc::clone(&records);
        move || records.iter().map(|record| members_by_tape(&mut tape.borrow_mut(), record)).sum()
    };
    let reply = reply_of(page);
    let ignored = || usize::from(serde_json::from_str::<IgnoredAny>(page).is_ok());
    vec![
        ("UTF-8 | std", Box::new(|| std::str::from_utf8(page.as_bytes()).map_or(0, str::len))),
        ("check | json::check", Box::new(|| usize::from(json::check(page).is_ok()))),
        ("check | serde_json IgnoredAny", Box::new(ignored)),
        ("slice | parse_page", Box::new(move || parsed(&reply))),
        ("slice | serde_json RawValue", Box::new(|| slice_by_serde(page))),
        ("visit | json::members", each(members_by_scanner)),
        ("visit | json::Tape", Box::new(by_tape)),
        ("visit | serde_json RawValue", each(members_by_serde)),
    ]
}

/// Processor time of this thread: other programs on the machine do not count.
fn thread_time_us() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local that outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// Pages as Stripe spells them (indented) and as most apps do (compact).
fn pages() -> Vec<(&'static str, String)> {
    let page = |record: fn(usize) -> Value| json!({ "object": "list", "data": (0..RECORDS).map(record).collect::<Vec<_>>(), "has_more": true, "url": "/v1/things" });
    vec![
        ("charges, compact", page(charge).to_string()),
        ("charges, indented", format!("{:#}", page(charge))),
        ("customers, compact", page(customer).to_string()),
    ]
}

fn id(prefix: &str, number: usize) -> String {
    format!("{prefix}_{:024x}", (number as u128 + 1) * 0x9e37_79b9_7f4a_7c15_f39c)
}

fn address(number: usize) -> Value {
    let city = ["Berlin", "São Paulo", "San Francisco", "Île-de-France"].get(number % 4);
    json!({ "city": city, "country": "DE", "line1": format!("{number} Hauptstraße"), "line2": null,
            "postal_code": format!("{:05}", number * 37), "state": null })
}

fn charge(number: usize) -> Value {
    let amount = number * 731 % 90_000;
    json!({
        "id": id("ch", number), "object": "charge", "amount": amount, "amount_captured": amount, "amount_refunded": 0,
        "application": null, "application_fee": null, "application_fee_amount": null,
        "balance_transaction": id("txn", number),
        "billing_details": { "address": address(number), "email": format!("buyer{number}@example.com"),
                             "name": "Cobalt Health", "phone": "+14155552284", "tax_id": null },
        "calculated_statement_descriptor": "EXAMPLE SHOP", "captured": true, "created": 1_766_596_975 - number * 977,
        "currency": "usd", "customer": id("cus", number / 3), "description": format!("Order \"{number}\", two items"),
        "destination": null, "dispute": null, "disputed": false, "failure_balance_transaction": null,
        "failure_code": null, "failure_message": null, "fraud_details": {}, "invoice": id("in", number),
        "livemode": false, "metadata": { "order_id": number.to_string(), "channel": "mobile", "note": "gift\nwrapped" },
        "on_behalf_of": null, "order": null,
        "outcome": { "advice_code": null, "network_advice_code": null, "network_decline_code": null,
                     "network_status": "approved_by_network", "reason": null, "risk_level": "normal",
                     "risk_score": number % 100, "seller_message": "Payment complete.", "type": "authorized" },
        "paid": true, "payment_intent": id("pi", number), "payment_method": id("pm", number),
        "payment_method_details": { "card": {
            "amount_authorized": amount, "authorization_code": null, "brand": "visa",
            "checks": { "address_line1_check": null, "address_postal_code_check": "pass", "cvc_check": "pass" },
            "country": "US", "exp_month": 6, "exp_year": 2033, "extended_authorization": { "status": "disabled" },
            "fingerprint": "IpuzlpHAb2clgcYc", "funding": "credit",
            "incremental_authorization": { "status": "unavailable" }, "installments": null, "last4": "4242",
            "mandate": null, "multicapture": { "status": "unavailable" }, "network": "visa",
            "network_token": { "used": false }, "network_transaction_id": "104102978678771",
            "overcapture": { "maximum_amount_capturable": amount, "status": "unavailable" },
            "regulated_status": "unregulated", "three_d_secure": null, "wallet": null }, "type": "card" },
        "radar_options": {}, "receipt_email": null, "receipt_number": null,
        "receipt_url": format!("https://pay.example.com/receipts/payment/{}{}", id("r", number), "CAcaFwoVYWNjdF8x".repeat(5)),
        "refunded": false, "review": null, "shipping": null, "source": null, "source_transfer": null,
        "statement_descriptor": null, "statement_descriptor_suffix": null, "status": "succeeded",
        "transfer_data": null, "transfer_group": null
    })
}

fn customer(number: usize) -> Value {
    json!({
        "id": id("cus", number), "object": "customer", "address": address(number), "balance": 0,
        "created": 1_766_596_975 - number * 977, "currency": "usd", "default_source": null, "delinquent": false,
        "description": "Buys for several regions, wants to be asked about terms each quarter.", "discount": null,
        "email": format!("buyer{number}@example.com"), "invoice_prefix": format!("KRU8{number:04}"),
        "invoice_settings": { "custom_fields": null, "default_payment_method": null, "footer": null, "rendering_options": null },
        "livemode": false, "metadata": { "source": "import", "segment": "mid" }, "name": "Lumen Tools",
        "next_invoice_sequence": 1, "phone": "+14155558212", "preferred_locales": ["de", "en"], "shipping": null,
        "tax_exempt": "none", "test_clock": null
    })
}

fn reply_of(page: &str) -> Reply {
    let body = page.to_string().into();
    Reply { status: 200, headers: Default::default(), body, date_us: None, elapsed: Default::default() }
}

fn parsed(reply: &Reply) -> usize {
    let pages = Pages::LastId {
        param: "starting_after".into(),
        field: "id".into(),
        more: "/has_more".into(),
        size_param: "limit".into(),
        size: 100,
    };
    parse_page(reply, &Shape { records: Records::at("/data"), pages }).map_or(0, |page| page.records().len())
}

fn records_by_scanner(page: &str) -> Vec<&str> {
    let list = json::members(page).flatten().find(|(key, _)| key == "data");
    list.map_or(Vec::new(), |(_, list)| json::elements(list).flatten().collect())
}

fn slice_by_serde(page: &str) -> usize {
    #[derive(serde::Deserialize)]
    struct List<'a> {
        #[serde(borrow)]
        data: Vec<&'a RawValue>,
        has_more: bool,
    }
    serde_json::from_str::<List>(page).map_or(0, |list| list.data.len() + usize::from(list.has_more))
}

/// What keeps the optimiser from leaving a member out.
fn weigh(key: &str, value: &str) -> usize {
    black_box(key).len() + black_box(value).len()
}

fn members_by_scanner(record: &str) -> usize {
    json::members(record).flatten().map(|(key, value)| weigh(&key, value)).sum()
}

fn members_by_tape(tape: &mut json::Tape, record: &str) -> usize {
    let Ok(record) = tape.read(record) else { return 0 };
    record.members().map(|(key, value)| weigh(key.inner(), value.raw())).sum()
}

fn members_by_serde(record: &str) -> usize {
    #[derive(serde::Deserialize)]
    struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
    struct Weigh;
    impl<'de> Visitor<'de> for Weigh {
        type Value = usize;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
            let mut weight = 0;
            while let Some((Key(key), value)) = map.next_entry::<_, &RawValue>()? {
                weight += weigh(&key, value.get());
            }
            Ok(weight)
        }
    }
    serde_json::Deserializer::from_str(record).deserialize_map(Weigh).unwrap_or_default()
}
