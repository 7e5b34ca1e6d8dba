//! Decides how each app behaves beyond its data: speed, limits, credentials. Set by `POST /{app}/config`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The knobs of one app. Unknown names are refused, so a test cannot silently set nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Waited before each reply.
    pub latency_ms: u64,
    /// Requests per second before the app answers 429; 0 is no limit.
    pub rate_per_second: f64,
    /// Caps the records of a page; 0 is no cap.
    pub page_size: usize,
    /// New changes become visible to queries and events that much later.
    pub late_visibility_ms: i64,
    /// Collections (or objects) the credential may not read.
    pub denied: Vec<String>,
    /// Compress replies when the client accepts gzip (bulk results always are).
    pub gzip: bool,

    // Salesforce
    pub token_lifetime_seconds: i64,
    pub rotate_refresh_tokens: bool,
    /// Calls a day; 0 is no limit. Each reply counts in `Sforce-Limit-Info`.
    pub daily_quota: u64,
    /// Longest path and query before 414.
    pub uri_limit: usize,
    /// Whether the Tag objects exist in this org.
    pub tags: bool,
    pub client_id: String,
    pub client_secret: String,
    pub refresh_token: String,
    pub username: String,
    pub password: String,
    /// An access token that is always good; empty for none.
    pub session_id: String,
    pub user_inactive: bool,
    pub jwt_public_key_pem: String,
    /// Polls of a bulk job before it is complete.
    pub bulk_polls: u32,
    /// The error message bulk jobs end with; empty when they succeed.
    pub bulk_failure: String,
    /// The most records a page of bulk results has; 0 is no cap.
    pub bulk_page_size: usize,

    // Stripe
    pub api_key: String,
    /// The account's own version: used without a `Stripe-Version` header.
    pub api_version: String,
    /// The version events are rendered in.
    pub event_api_version: String,
    pub event_retention_days: i64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            latency_ms: 0,
            rate_per_second: 0.0,
            page_size: 0,
            late_visibility_ms: 0,
            denied: Vec::new(),
            gzip: false,
            token_lifetime_seconds: 7200,
            rotate_refresh_tokens: false,
            daily_quota: 0,
            uri_limit: 16_384,
            tags: false,
            client_id: "sim-client".into(),
            client_secret: "sim-secret".into(),
            refresh_token: "sim-refresh".into(),
            username: "sim@example.com".into(),
            password: "sim-password".into(),
            session_id: "sim-session".into(),
            user_inactive: false,
            jwt_public_key_pem: String::new(),
            bulk_polls: 2,
            bulk_failure: String::new(),
            bulk_page_size: 0,
            api_key: "sk_test_sim".into(),
            api_version: "2024-06-20".into(),
            event_api_version: "2024-06-20".into(),
            event_retention_days: 30,
        }
    }
}

impl Config {
    /// These settings with the members of `changes` put over them.
    pub fn changed_by(&self, changes: &Value) -> Result<Config, String> {
        let mut all = serde_json::to_value(self).map_err(|e| e.to_string())?;
        let (Some(all_members), Some(changes)) = (all.as_object_mut(), changes.as_object()) else {
            return Err("the body must be a JSON object".into());
        };
        for (name, value) in changes {
            all_members.insert(name.clone(), value.clone());
        }
        serde_json::from_value(all).map_err(|e| e.to_string())
    }
}
