//! Every collection of Stripe, against the simulator: first load, the feed's changes, live queries, refusals, and calls.

use super::checks::{bad_credentials_cost_one_call, each_collection_is_checked, Refusal};
use super::scans::all_show_what_is_stored;
use super::{all_agree, quiet_run_costs_what_the_page_says, refresh_all, Reader, Simulator};
use crate::error::SyncError;
use serde_json::json;

/// What no event tells of: only the balance transactions' window, or a reconcile, finds it.
const SILENT: [&str; 3] = ["application_fees", "balance_transaction_fee_details", "balance_transactions"];

fn reader(simulator: &Simulator) -> Reader {
    Reader::new(simulator, "stripe", &[], &[("api_key", "sk_test_sim")])
}

/// An account with something of everything.
async fn account() -> Simulator {
    let simulator = Simulator::start();
    let first = json!({"tax_rates": 3, "coupons": 4, "products": 6, "plans": 7, "customers": 40, "subscriptions": 14,
        "payment_intents": 12, "charges": 40, "refunds": 9, "disputes": 5, "invoices": 15, "invoice_items": 11});
    simulator.post("/stripe/seed", first).await;
    let others = json!({"application_fees": 9, "application_fee_refunds": 6, "transfers": 8, "transfer_reversals": 6});
    simulator.post("/stripe/seed", others).await;
    simulator
}

#[tokio::test]
async fn a_first_load_is_the_ledger_page_by_page() {
    for page_size in [0, 7] {
        let simulator = account().await;
        simulator.post("/stripe/config", json!({"page_size": page_size})).await;
        let mut reader = reader(&simulator);
        refresh_all(&mut reader).await;
        all_agree(&reader, &simulator).await;
    }
}

#[tokio::test]
async fn changes_deletions_and_returns_come_by_the_feed() {
    let simulator = account().await;
    simulator.post("/stripe/config", json!({"page_size": 5})).await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    let mut gone = Vec::new();
    for collection in [
        "charges",
        "coupons",
        "customers",
        "disputes",
        "invoices",
        "plans",
        "products",
        "subscriptions",
        "tax_rates",
        "transfers",
    ] {
        let ids = simulator.ids("stripe", collection, false).await;
        simulator.patch(&format!("/stripe/{collection}/{}", ids[0]), json!({"metadata": {"tier": "gold"}})).await;
        simulator.post(&format!("/stripe/{collection}"), json!({})).await;
        if ["coupons", "customers", "plans", "products"].contains(&collection) {
            simulator.delete(&format!("/stripe/{collection}/{}", ids[1])).await;
            gone.push((collection, ids[1].clone()));
        }
    }
    refresh_all(&mut reader).await;
    all_agree(&reader, &simulator).await;
    for (collection, id) in &gone {
        assert!(reader.tables[*collection].keys(true).contains(id), "{collection} {id}");
        simulator.post(&format!("/stripe/{collection}/{id}/undelete"), json!({})).await;
    }
    refresh_all(&mut reader).await;
    for (collection, id) in &gone {
        reader.agrees(&simulator, collection, &[]).await;
        assert!(reader.tables[*collection].keys(false).contains(id), "{collection} {id} came back");
    }
}

/// A dozen events of one second, five to a page; and more of that second after the cursor was saved at it.
#[tokio::test]
async fn events_of_one_second_are_all_seen() {
    let simulator = account().await;
    simulator.post("/stripe/config", json!({"page_size": 5})).await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["customers", "products"]).await;
    for round in 0..3 {
        for number in 0..12 {
            let name = json!({"name": format!("Tied {round} {number}")});
            simulator.post("/stripe/customers", name.clone()).await;
            simulator.post("/stripe/products", name).await;
        }
        reader.refresh_well(&["customers", "products"]).await;
        reader.agrees(&simulator, "customers", &[]).await;
        reader.agrees(&simulator, "products", &[]).await;
    }
}

#[tokio::test]
async fn a_quiet_run_costs_one_call() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    refresh_all(&mut reader).await;
    quiet_run_costs_what_the_page_says(&simulator, &mut reader, &[]).await;
    all_agree(&reader, &simulator).await;
}

#[tokio::test]
async fn each_collection_is_checked_and_the_missing_permission_is_named() {
    let simulator = account().await;
    let refusal = |name: &str| {
        let denied = match name {
            "application_fee_refunds" => "application_fees",
            "balance_transaction_fee_details" => "balance_transactions",
            "bank_accounts" | "cards" | "discounts" => "customers",
            "invoice_lines" => "invoices",
            "subscription_items" => "subscriptions",
            "transfer_reversals" => "transfers",
            name => name,
        };
        let leaked = |text: &str| -> &'static str { Box::leak(text.to_string().into_boxed_str()) };
        let missing = Some(leaked(&format!("rak_{denied}_read")));
        Refusal {
            collection: leaked(name),
            denied: leaked(denied),
            words: "does not have the required permissions",
            missing,
        }
    };
    let reader = reader(&simulator);
    let calls = |name: &str| match name {
        // Customers and subscriptions; a customer, and what is below it.
        "discounts" | "payment_methods" => 2,
        _ => 1,
    };
    let own = |name: &str| name != "accounts";
    // The account is what the credentials are tried with.
    let mut others = Reader::new(&simulator, "stripe", &[], &[("api_key", "sk_test_sim")]);
    others.source.collections.retain(|collection| own(&collection.name));
    each_collection_is_checked(&simulator, &others, calls, refusal).await;
    assert!(reader.check(&simulator, "accounts").await.0.is_ok());
    let mut wrong = Reader::new(&simulator, "stripe", &[], &[("api_key", "sk_test_other")]);
    bad_credentials_cost_one_call(&simulator, &mut wrong, "sk_test_other").await;
}

/// All follow one feed; a look that only one of them needs is refused.
#[tokio::test]
async fn what_is_not_permitted_stops_nothing_else() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    simulator.post("/stripe/config", json!({"denied": ["refunds"]})).await;
    let names = reader.collection_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let failed = reader.refresh(&names).await;
    assert_eq!(failed.keys().collect::<Vec<_>>(), ["refunds"]);
    assert!(matches!(failed["refunds"], SyncError::AccessDenied { .. }), "{failed:?}");
    assert!(reader.agrees(&simulator, "charges", &[]).await > 0);
    simulator.post("/stripe/config", json!({"denied": ["balance_transactions"]})).await;
    simulator.post("/stripe/customers", json!({})).await;
    let failed = reader.refresh(&names).await;
    let refused = ["balance_transaction_fee_details", "balance_transactions"];
    assert_eq!(failed.keys().collect::<Vec<_>>(), refused, "{failed:?}");
    reader.agrees(&simulator, "customers", &[]).await;
    reader.agrees(&simulator, "refunds", &[]).await;
    simulator.post("/stripe/config", json!({"denied": []})).await;
    reader.refresh_well(&names).await;
    all_agree(&reader, &simulator).await;
}

#[tokio::test]
async fn live_queries_show_what_is_stored() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    all_show_what_is_stored(&reader, &["discounts"]).await;
    for name in reader.collection_names() {
        let calls = reader.calls_of_one_row(&simulator, &name).await;
        let is_right = match name.as_str() {
            // A customer's list of sources is read on, and customers without a method come first.
            "bank_accounts" | "cards" => calls <= 4,
            "payment_methods" => calls <= 4,
            _ => calls == 1,
        };
        assert!(is_right, "{name}: {calls} calls");
    }
}

/// What the feed is silent about is found in the window that is read again, or by a reconcile.
#[tokio::test]
async fn what_no_event_tells_is_found_another_way() {
    let simulator = account().await;
    let mut reader = reader(&simulator);
    refresh_all(&mut reader).await;
    simulator.post("/stripe/charges", json!({})).await;
    simulator.post("/stripe/customers", json!({})).await;
    refresh_all(&mut reader).await;
    for name in SILENT {
        reader.agrees(&simulator, name, &[]).await;
    }
}
