//! What Facebook refuses, against the simulator: collections, fields of the business, credentials, too many calls, and what passes.

use super::facebook_ads::{
    agrees, all_agree, business, date, paths, reader, reader_with, set, today, ALL, INDIA, OBJECTS, US,
};
use super::Reader;
use crate::error::SyncError;
use crate::extract;
use serde_json::{json, Value};

#[tokio::test]
async fn what_is_not_permitted_stops_nothing_else() {
    let simulator = business().await;
    for refused in ["ad_accounts", "campaigns", "ad_sets", "ads", "insights"] {
        set(&simulator, json!({"denied": []})).await;
        let (accounts, start) = (format!("{US},{INDIA}"), date(today() - 50));
        let mut options = vec![("start_date", start.as_str())];
        if refused == "ad_accounts" {
            options.push(("account_ids", accounts.as_str()));
        }
        let mut reader = reader_with(&simulator, &options);
        for is_first in [true, false] {
            set(&simulator, json!({"denied": [refused]})).await;
            let failed = reader.refresh(&ALL).await;
            assert_eq!(failed.keys().collect::<Vec<_>>(), [refused], "{failed:?}");
            let SyncError::AccessDenied { status: 403, detail } = &failed[refused] else { panic!("{failed:?}") };
            assert!(detail.contains("Application does not have permission") && detail.contains("ads_read"), "{detail}");
            for name in ALL.iter().filter(|name| **name != refused) {
                assert!(agrees(&reader, &simulator, name).await > 0, "{is_first} {name}");
            }
            let source = reader.source.clone();
            for collection in &source.collections {
                let checked = extract::check(&reader.client(), Some(collection)).await;
                assert_eq!(checked.is_err(), collection.name == refused, "{} {checked:?}", collection.name);
            }
        }
    }
    set(&simulator, json!({"denied": [US]})).await;
    let accounts = format!("{US},{INDIA}");
    let failed = reader_with(&simulator, &[("account_ids", accounts.as_str())]).refresh(&["ads"]).await;
    let SyncError::AccessDenied { detail, .. } = &failed["ads"] else { panic!("{failed:?}") };
    assert!(detail.starts_with("act_100000000000001: ") && detail.contains("ads_read"), "{detail}");
}

#[tokio::test]
async fn fields_of_the_business_stay_empty_without_its_permission() {
    let simulator = business().await;
    set(&simulator, json!({"denied": ["ad_accounts.owner"]})).await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&["ad_accounts"]).await;
    let key = format!("act_{US}");
    assert_eq!(reader.cell("ad_accounts", &key, "owner"), Value::Null);
    assert_eq!(reader.cell("ad_accounts", &key, "currency"), "USD");
    assert!(
        reader.notes.iter().any(|note| note.contains("business_management") && note.contains("owner")),
        "{:?}",
        reader.notes
    );
}

#[tokio::test]
async fn bad_credentials_are_told_after_one_call() {
    let simulator = business().await;
    let mut wrong = Reader::new(&simulator, "facebook_ads", &[], &[("access_token", "EAAx")]);
    simulator.forget_requests("facebook_ads").await;
    let refused = extract::check(&wrong.client(), None).await.unwrap_err();
    assert!(matches!(refused, SyncError::AuthRejected { status: 400, .. }), "{refused:?}");
    assert_eq!(paths(&simulator).await, ["GET /v26.0/me"]);
    simulator.forget_requests("facebook_ads").await;
    let failed = wrong.refresh(&OBJECTS).await;
    assert_eq!(paths(&simulator).await.len(), 1);
    assert_eq!(failed.len(), OBJECTS.len());
    assert!(failed.values().all(|error| matches!(error, SyncError::AuthRejected { .. })), "{failed:?}");
    // An app that wants a proof with each call, next pages and report runs among them.
    set(&simulator, json!({"require_proof": true, "page_size": 20})).await;
    let refused = extract::check(&reader(&simulator).client(), None).await.unwrap_err();
    assert!(matches!(refused, SyncError::AuthRejected { .. }), "{refused:?}");
    let secrets = [("access_token", "sim-token"), ("app_secret", "sim-secret")];
    let start = date(today() - 50);
    let mut proved = Reader::new(&simulator, "facebook_ads", &[("start_date", start.as_str())], &secrets);
    proved.refresh_well(&ALL).await;
    all_agree(&proved, &simulator, &ALL).await;
    simulator.delete("/facebook_ads/tokens").await;
    let failed = proved.refresh(&["ads"]).await;
    assert!(
        matches!(&failed["ads"], SyncError::AuthRejected { detail, .. } if detail.contains("expired")),
        "{failed:?}"
    );
}

#[tokio::test]
async fn too_many_calls_are_told_by_codes_and_put_off() {
    let simulator = business().await;
    for code in [4, 17, 32, 613, 80000, 80004] {
        set(&simulator, json!({"rate_error": code, "call_quota": 1, "regain_minutes": 5})).await;
        simulator.forget_requests("facebook_ads").await;
        let failed = reader_with(&simulator, &[("account_ids", US)]).refresh(&["ads", "campaigns"]).await;
        let SyncError::RateLimited { detail, until } = &failed["ads"] else { panic!("{code}: {failed:?}") };
        assert!(detail.contains(&format!("#{code})")), "{detail}");
        let left = until.unwrap().duration_since(std::time::SystemTime::now()).unwrap().as_secs();
        assert!((240..=300).contains(&left), "as long as the header says: {left}");
    }
}

#[tokio::test]
async fn passing_failures_cost_nothing_but_calls() {
    let simulator = business().await;
    for kind in ["empty_page", "duplicate_page", "truncate_json", "reset_body"] {
        simulator
            .post(
                "/facebook_ads/faults",
                json!({"kind": kind, "match": {"path_prefix": "/v26.0/act_", "skip": 2}, "times": 1}),
            )
            .await;
    }
    let unknown =
        json!({"error": {"message": "An unknown error occurred", "code": 1, "error_subcode": 99}}).to_string();
    simulator.post("/facebook_ads/faults", json!({"kind": "status", "status": 400, "body": unknown, "match": {"path_prefix": "/v26.0/act_"}, "times": 1})).await;
    set(&simulator, json!({"page_size": 6})).await;
    let mut reader = reader(&simulator);
    reader.refresh_well(&ALL).await;
    all_agree(&reader, &simulator, &ALL).await;
}
