//! Reads apps that the simulator plays, over real connections, into tables as a writer would leave them.
//!
//! A test starts a simulator of its own on free ports, which ends with it. What a table should hold is asked of the
//! simulator's ledger, which shares no code with the reader.

mod checks;
mod edges;
mod facebook_ads;
mod facebook_ads_refusals;
mod fields;
mod google_ads;
mod google_ads_live;
mod google_ads_refusals;
mod hubspot;
mod intercom;
mod mailchimp;
mod mandrill;
mod marketo;
mod program;
mod rows;
mod salesforce;
mod salesforce_marketing_cloud;
mod scans;
mod sendgrid;
mod stripe;
mod twilio;
mod zendesk;

pub use program::Simulator;
pub use rows::Reader;

use crate::quiet_runs::quiet_calls;
use serde_json::Value;

/// Runs a quiet refresh of everything and compares its calls with what the source's page says. `below` says how often the
/// listings below parents are asked, by the path with its names.
async fn quiet_run_costs_what_the_page_says(simulator: &Simulator, reader: &mut Reader, below: &[(&str, u64)]) {
    let names: Vec<String> = reader.collection_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    simulator.forget_requests(reader.app()).await;
    reader.refresh_well(&names).await;
    let documented = quiet_calls(&reader.source);
    let mut want: u64 = documented.iter().map(|listing| listing.calls).sum();
    for (path, times) in below {
        let is_told = documented.iter().any(|listing| listing.more.contains(&format!("`{path}`")));
        assert!(is_told, "the page does not tell of {path}: {documented:?}");
        want += times;
    }
    let paths: Vec<Value> =
        simulator.requests(reader.app()).await.iter().map(|request| request["path"].clone()).collect();
    assert_eq!(paths.len() as u64, want, "{paths:?}");
}

/// Refreshes every collection that the app serves.
async fn refresh_all(reader: &mut Reader) {
    let names = reader.collection_names();
    reader.refresh_well(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

/// Records that were deleted are marked by the next refresh of these collections, and are there again by the one after they came
/// back.
async fn what_is_gone_comes_back(
    simulator: &Simulator,
    reader: &mut Reader,
    collections: &[&str],
    gone: &[(&str, String)],
) {
    reader.refresh_well(collections).await;
    for (collection, id) in gone {
        assert!(reader.tables[*collection].keys(true).contains(id), "{collection} {id}");
        simulator.post(&format!("/{}/{collection}/{id}/undelete", reader.app()), serde_json::json!({})).await;
    }
    reader.refresh_well(collections).await;
    for (collection, id) in gone {
        assert!(reader.tables[*collection].keys(false).contains(id), "{collection} {id} came back");
    }
}

/// Every collection holds what the ledger says, and is not empty.
async fn all_agree(reader: &Reader, simulator: &Simulator) {
    for name in reader.collection_names() {
        assert!(reader.agrees(simulator, &name, &[]).await > 0, "{name} is empty");
    }
}
