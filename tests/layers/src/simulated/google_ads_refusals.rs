//! What Google Ads refuses, against the simulator: accounts, collections, credentials, quotas. And which accounts are found.

use super::google_ads::{accounts, agrees, reader, reader_with, LOGIN, MANAGER, ONE, TWO};
use super::Reader;
use crate::error::SyncError;
use crate::extract;
use crate::http::{oauth, ClientPool, Stats};
use serde_json::{json, Value};
use std::collections::{BTreeMap, BTreeSet};

#[tokio::test]
async fn what_is_not_permitted_stops_nothing_else() {
    let simulator = accounts().await;
    simulator.post("/google_ads/config", json!({"denied": ["ad_groups"]})).await;
    let mut reader = reader(&simulator);
    let names = reader.collection_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for _ in 0..2 {
        let failed = reader.refresh(&names).await;
        assert_eq!(failed.keys().collect::<Vec<_>>(), ["ad_groups"]);
        let SyncError::AccessDenied { status: 403, detail } = &failed["ad_groups"] else { panic!("{failed:?}") };
        assert!(detail.contains("User doesn't have permission to access customer"), "{detail}");
        for name in names.iter().filter(|name| **name != "ad_groups") {
            assert!(agrees(&reader, &simulator, name).await > 0, "{name}");
        }
    }
}

#[tokio::test]
async fn an_account_that_may_not_be_read_stays_behind_alone() {
    let simulator = accounts().await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["campaigns", "campaign_performance_report"]).await;
    let before = reader.checkpoints.clone();
    simulator.post("/google_ads/config", json!({"denied": [TWO]})).await;
    let change = json!({"name": "Renamed"});
    let campaigns = simulator.ids("google_ads", "campaigns", false).await;
    for id in &campaigns {
        simulator.patch(&format!("/google_ads/campaigns/{id}"), change.clone()).await;
    }
    reader.refresh_well(&["campaigns", "campaign_performance_report"]).await;
    let named = |account: &str| {
        let rows = reader.tables["campaigns"].rows.iter().filter(|(key, _)| key.starts_with(account));
        rows.map(|(key, _)| reader.cell("campaigns", key, "name").to_string()).collect::<BTreeSet<_>>().len()
    };
    assert_eq!(named(ONE), 1, "all have the new name");
    assert!(named(TWO) > 1, "none was read");
    assert!(reader
        .notes
        .iter()
        .any(|note| note.contains("campaigns: account 1000000004 was passed over: User doesn't")));
    let place =
        |checkpoints: &BTreeMap<String, Value>| checkpoints["campaign_performance_report"]["customers"][TWO].clone();
    assert_eq!(place(&reader.checkpoints), place(&before), "it keeps its place");
    // A look for what is gone does not take its rows for gone.
    reader.reconcile(&["campaigns"]).await;
    assert!(reader.tables["campaigns"].keys(false).iter().any(|key| key.starts_with(TWO)));
    // Nor for those that are too old to be listed.
    reader.refresh_well(&["click_performance_report"]).await;
    let clicks = reader.tables["click_performance_report"].keys(false).len();
    reader.tables.get_mut("click_performance_report").unwrap().rows.insert("older".into(), Default::default());
    reader.reconcile(&["click_performance_report"]).await;
    assert_eq!(reader.tables["click_performance_report"].keys(false).len(), clicks + 1);
    simulator.post("/google_ads/config", json!({"denied": []})).await;
    reader.refresh_well(&["campaigns", "campaign_performance_report"]).await;
    for name in ["campaigns", "campaign_performance_report"] {
        agrees(&reader, &simulator, name).await;
    }
}

#[tokio::test]
async fn a_closed_account_is_passed_over_with_a_note() {
    let simulator = accounts().await;
    let ids = format!("{ONE},1000000005");
    let mut reader = reader_with(&simulator, &[("login_customer_id", MANAGER), ("customer_ids", &ids)]);
    reader.refresh_well(&["campaigns"]).await;
    let told =
        reader.notes.iter().any(|note| note.contains("1000000005 was passed over: The customer account can't be"));
    assert!(told, "{:?}", reader.notes);
    assert!(reader.tables["campaigns"].rows.keys().all(|key| key.starts_with(ONE)));
    assert!(!reader.tables["campaigns"].rows.is_empty());
}

#[tokio::test]
async fn accounts_are_found_with_and_without_a_manager() {
    let simulator = accounts().await;
    let mut by_login = reader_with(&simulator, &[]);
    by_login.refresh_well(&["campaigns"]).await;
    agrees(&by_login, &simulator, "campaigns").await;
    // A direct login needs no manager, and one account below another is read once.
    simulator.post("/google_ads/config", json!({"accessible_customers": format!("{ONE},{MANAGER}")})).await;
    simulator.forget_requests("google_ads").await;
    let mut both = reader_with(&simulator, &[]);
    both.refresh_well(&["campaigns"]).await;
    agrees(&both, &simulator, "campaigns").await;
    assert_eq!(simulator.requests("google_ads").await.len(), 5, "logins, two roots, two accounts");
    let mut wrong = reader_with(&simulator, &[("customer_ids", "12345")]);
    let failed = wrong.refresh(&["campaigns"]).await;
    assert!(
        matches!(&failed["campaigns"], SyncError::BadSetting { option, .. } if option == "customer_ids"),
        "{failed:?}"
    );
    let mut unknown = reader_with(&simulator, &[("login_customer_id", MANAGER), ("customer_ids", "1999999999")]);
    let failed = unknown.refresh(&["campaigns"]).await;
    assert!(
        matches!(&failed["campaigns"], SyncError::AccessDenied { detail, .. } if detail.contains("No customer found"))
    );
}

#[tokio::test]
async fn a_bad_credential_stops_the_source_after_one_call() {
    let simulator = accounts().await;
    let credentials = [("developer_token", "wrong"), LOGIN[1], LOGIN[2], LOGIN[3]];
    let mut reader = Reader::new(&simulator, "google_ads", &[("login_customer_id", MANAGER)], &credentials);
    simulator.forget_requests("google_ads").await;
    let failed = reader.refresh(&["campaigns"]).await;
    assert!(
        matches!(&failed["campaigns"], SyncError::AuthRejected { status: 401, detail } if detail.contains("developer token"))
    );
    assert_eq!(simulator.requests("google_ads").await.len(), 1);
    simulator.post("/google_ads/config", json!({"developer_token_approved": false})).await;
    let failed = self::reader(&simulator).refresh(&["campaigns"]).await;
    assert!(matches!(&failed["campaigns"], SyncError::AuthRejected { status: 403, .. }), "{failed:?}");
    // An access token that is refused is renewed once.
    simulator.post("/google_ads/config", json!({"developer_token_approved": true, "access_token": "token-t2"})).await;
    self::reader(&simulator).refresh_well(&["campaigns"]).await;
    simulator.post("/google_ads/config", json!({"access_token": "another"})).await;
    simulator.forget_requests("google_ads").await;
    let failed = self::reader(&simulator).refresh(&["campaigns"]).await;
    assert!(matches!(&failed["campaigns"], SyncError::AuthRejected { status: 401, .. }), "{failed:?}");
    assert_eq!(simulator.requests("google_ads").await.len(), 2);
}

#[tokio::test]
async fn a_refresh_token_gives_access_until_it_is_revoked() {
    let simulator = accounts().await;
    let address = simulator.address("google_ads");
    let options = [("login_customer_id", MANAGER), ("login_url", address.as_str())];
    let reader = reader_with(&simulator, &options);
    let token = oauth::exchange(&reader.account(), &ClientPool::new(), &Stats::default()).await.unwrap();
    assert!(token.token.expose().starts_with("ya29.sim-") && token.new_refresh_token.is_none());
    let mut account = reader.account();
    account.token = Some(token);
    extract::check(&crate::http::testing::client(account), None).await.unwrap();
    simulator.post("/google_ads/config", json!({"refresh_token": "another"})).await;
    let refused = oauth::exchange(&reader.account(), &ClientPool::new(), &Stats::default()).await.unwrap_err();
    assert!(matches!(&refused, SyncError::AuthRejected { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_delay_in_the_error_is_waited_for_and_a_spent_quota_ends_the_run() {
    let simulator = accounts().await;
    let body = |code: &str, seconds: u32| {
        json!([{"error": {"code": 429, "message": "Resource has been exhausted (e.g. check quota).", "status": "RESOURCE_EXHAUSTED",
            "details": [{"errors": [{"errorCode": {"quotaError": code}, "message": "Too many requests.",
                "details": {"quotaErrorDetails": {"rateScope": "DEVELOPER", "retryDelay": format!("{seconds}s")}}}]}]}}])
        .to_string()
    };
    let fault = |code: &str, seconds: u32| {
        json!({"kind": "status", "status": 429, "body": body(code, seconds), "times": 1,
            "match": {"contains": "FROM campaign "}})
    };
    simulator.post("/google_ads/faults", fault("RESOURCE_TEMPORARILY_EXHAUSTED", 1)).await;
    let started = std::time::Instant::now();
    let mut reader = reader(&simulator);
    reader.refresh_well(&["campaigns"]).await;
    assert!(started.elapsed().as_millis() >= 1000, "the wait of the body, not our own of a few milliseconds");
    agrees(&reader, &simulator, "campaigns").await;
    simulator.post("/google_ads/faults", fault("RESOURCE_TEMPORARILY_EXHAUSTED", 600)).await;
    let failed = reader.refresh(&["campaigns"]).await;
    assert!(matches!(failed["campaigns"], SyncError::RateLimited { until: Some(_), .. }), "{failed:?}");
    // The day's operations: not tried again, and every collection is deferred.
    simulator.post("/google_ads/config", json!({"daily_quota": 1, "retry_delay_seconds": 3600})).await;
    simulator.forget_requests("google_ads").await;
    let failed = reader.refresh(&["campaigns"]).await;
    let SyncError::RateLimited { until: Some(until), detail } = &failed["campaigns"] else { panic!("{failed:?}") };
    let seconds = until.duration_since(std::time::SystemTime::now()).unwrap().as_secs();
    assert!((3500..=3600).contains(&seconds) && detail.contains("Too many requests"), "{seconds} {detail}");
    assert_eq!(simulator.requests("google_ads").await.len(), 1);
}

#[tokio::test]
async fn a_check_tells_of_credentials_and_of_each_collection() {
    let simulator = accounts().await;
    let reader = reader(&simulator);
    simulator.forget_requests("google_ads").await;
    extract::check(&reader.client(), None).await.unwrap();
    assert_eq!(simulator.requests("google_ads").await.len(), 1);
    for collection in &reader.source.collections {
        extract::check(&reader.client(), Some(collection))
            .await
            .unwrap_or_else(|e| panic!("{}: {e:?}", collection.name));
    }
    simulator.post("/google_ads/config", json!({"denied": ["ads"]})).await;
    let refused = extract::check(&reader.client(), reader.source.collection("ads")).await.unwrap_err();
    assert!(matches!(refused, SyncError::AccessDenied { status: 403, .. }), "{refused:?}");
    let wrong = [("developer_token", "wrong"), LOGIN[1], LOGIN[2], LOGIN[3]];
    let refused = extract::check(&Reader::new(&simulator, "google_ads", &[], &wrong).client(), None).await.unwrap_err();
    assert!(matches!(refused, SyncError::AuthRejected { .. }), "{refused:?}");
}
