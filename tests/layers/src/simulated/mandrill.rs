//! Mandrill tells everything by webhook: its collections are listed, nothing is asked for them, and a key can be tried.

use super::{Reader, Simulator};
use crate::error::SyncError;
use crate::extract;
use crate::quiet_runs::quiet_calls;
use std::collections::BTreeSet;

#[tokio::test]
async fn nothing_is_asked_for_what_webhooks_fill() {
    let simulator = Simulator::start();
    let mut reader = Reader::new(&simulator, "mandrill", &[], &[]);
    let names: BTreeSet<String> = reader.source.collections.iter().map(|c| c.name.clone()).collect();
    let listed = ["bounced", "clicked", "delayed", "marked_as_spam", "opened", "recipient_unsubscribes", "rejected"];
    assert_eq!(names, listed.iter().chain(&["sent", "soft_bounced"]).map(|name| name.to_string()).collect());
    let failed = reader.refresh(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(failed.len(), 9);
    for error in failed.values() {
        assert!(matches!(error, SyncError::Unsupported { reason } if reason.contains("webhooks")), "{error:?}");
    }
    assert_eq!(simulator.requests("mandrill").await.len(), 0);
    assert_eq!(quiet_calls(&reader.source), []);
}

#[tokio::test]
async fn a_key_is_tried_by_a_ping() {
    let simulator = Simulator::start();
    let with = |key: &str| Reader::new(&simulator, "mandrill", &[], &[("api_key", key)]);
    extract::check(&with("sim-mandrill-key").client(), None).await.unwrap();
    let refused = extract::check(&with("another-key").client(), None).await.unwrap_err();
    let SyncError::AuthRejected { detail, .. } = &refused else { panic!("{refused:?}") };
    assert!(detail.contains("Invalid API key") && !detail.contains("another-key"), "{detail}");
    assert_eq!(simulator.requests("mandrill").await.len(), 2, "a wrong key is not tried again");
    let none = Reader::new(&simulator, "mandrill", &[], &[]);
    let refused = extract::check(&none.client(), None).await.unwrap_err();
    assert!(matches!(&refused, SyncError::Missing { option, .. } if option == "api_key"), "{refused:?}");
}
