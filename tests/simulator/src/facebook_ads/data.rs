//! Decides what an ad account holds: made-up campaigns, ad sets, ads, and one fact for each ad and day.

use std::sync::Arc;

use chrono::{DateTime, FixedOffset};
use serde_json::{json, Value};

use super::fields::Fields;
use crate::chance::Chance;
use crate::names;
use crate::rest::crud::merge;
use crate::rest::time::{self, Form};
use crate::rest::{Book, Kind, Record, Stamp};

/// The accounts there are from the start. Their zones have no summer time.
pub const ACCOUNTS: [(&str, &str, &str, &str); 2] = [
    ("100000000000001", "Simulated Ads", "USD", "America/Phoenix"),
    ("100000000000002", "Simulated Ads India", "INR", "Asia/Kolkata"),
];

const CREATED: Option<Stamp> = Some(Stamp("created_time", Form::IsoPlainOffset));
const UPDATED: Option<Stamp> = Some(Stamp("updated_time", Form::IsoPlainOffset));

const fn kind(name: &'static str) -> Kind {
    Kind { name, key: &["id"], created: CREATED, updated: UPDATED, parent: Some("account_id") }
}

/// Parents first. All but the accounts belong to an account.
pub const KINDS: [Kind; 5] = [
    Kind { updated: None, parent: None, ..kind("ad_accounts") },
    kind("campaigns"),
    kind("ad_sets"),
    kind("ads"),
    Kind {
        name: "insights",
        key: &["account_id", "ad_id", "date_start"],
        created: None,
        updated: None,
        parent: Some("account_id"),
    },
];

/// Hours of a zone from UTC.
pub fn offset_hours(zone: &str) -> f64 {
    match zone {
        "America/Phoenix" => -7.0,
        "Asia/Kolkata" => 5.5,
        "Asia/Tokyo" => 9.0,
        _ => 0.0,
    }
}

/// An instant as the API writes it in an account: `2026-01-02T03:04:05-0700`.
pub fn local(text: &str, zone: &str) -> Option<String> {
    let offset = FixedOffset::east_opt((offset_hours(zone) * 3600.0) as i32)?;
    let at = DateTime::from_timestamp_millis(time::parse(text)?)?;
    Some(at.with_timezone(&offset).format("%Y-%m-%dT%H:%M:%S%z").to_string())
}

/// The day it is in a zone.
pub fn today(zone: &str, now_ms: i64) -> String {
    Form::Date.text(now_ms + (offset_hours(zone) * 3_600_000.0) as i64)
}

fn object(value: Value) -> Fields {
    value.as_object().cloned().unwrap_or_default()
}

/// An account with its id (without `act_`).
pub fn account(id: &str, name: &str, currency: &str, zone: &str, number: u64) -> Fields {
    object(json!({
        "id": format!("act_{id}"), "account_id": id, "account_status": 1, "age": 812.5,
        "amount_spent": (number * 100 + 123_456).to_string(), "balance": "1250",
        "business": {"id": format!("20000000000{number:04}"), "name": names::company(number)},
        "business_city": "Springfield", "business_country_code": "US", "business_name": names::company(number),
        "business_state": "IL", "business_street": "1 Main St", "business_street2": "", "business_zip": "62701",
        "can_create_brand_lift_study": false, "capabilities": ["CAN_CREATE_CALL_ADS", "CAN_USE_REACH_AND_FREQUENCY"],
        "created_time": "2019-05-09T11:00:00+0000", "currency": currency, "disable_reason": 0,
        "end_advertiser": "30000000000001", "end_advertiser_name": names::company(number), "fb_entity": 85,
        "funding_source": "40000000000001", "funding_source_details": {"id": "40000000000001", "type": 1},
        "has_migrated_permissions": true, "io_number": "0", "is_attribution_spec_system_default": true,
        "is_direct_deals_enabled": false, "is_in_3ds_authorization_enabled_market": false,
        "is_notifications_enabled": true, "is_personal": 0, "is_prepay_account": false, "is_tax_id_required": false,
        "media_agency": "0", "min_campaign_group_spend_cap": "10000", "min_daily_budget": 100, "name": name,
        "offsite_pixels_tos_accepted": true, "owner": "20000000000001", "partner": "0", "spend_cap": "0",
        "tax_id_status": 0, "timezone_id": if zone == "Asia/Kolkata" { 71 } else { 6 }, "timezone_name": zone,
        "timezone_offset_hours_utc": offset_hours(zone), "tos_accepted": {"web_custom_audience_tos": 1},
        "user_tasks": ["ADVERTISE", "ANALYZE", "DRAFT"], "user_tos_accepted": {"web_custom_audience_tos": 1},
    }))
}

/// The id of the first record made up in a collection.
fn first_id(collection: &str) -> Option<u64> {
    match collection {
        "campaigns" => Some(120_200_000_000_000_001),
        "ad_sets" => Some(120_210_000_000_000_001),
        "ads" => Some(120_220_000_000_000_001),
        _ => None,
    }
}

/// The parent a new record names, or one of those there are by its number.
fn parent(book: &Book, collection: &str, number: u64, given: Option<Value>) -> Result<Arc<Record>, String> {
    if let Some(id) = given {
        let id = id.as_str().map_or_else(|| id.to_string(), str::to_string);
        let id = if collection == "ad_accounts" && !id.starts_with("act_") { format!("act_{id}") } else { id };
        return book.latest(collection, &id).ok_or(format!("{collection} has no {id}"));
    }
    // Records have ids in a row unless a test gave its own.
    let made = book.made(collection);
    let usual = first_id(collection).zip((made > 0).then(|| number % made)).map(|(first, at)| (first + at).to_string());
    if let Some(record) = usual.and_then(|id| book.latest(collection, &id)) {
        return Ok(record);
    }
    let all = book.all_latest(collection);
    match all.len() as u64 {
        0 => Err(format!("there are no {collection} yet")),
        n => Ok(all[(number % n) as usize].clone()),
    }
}

/// A whole record: `given` over made-up values. Parents are named by `account_id`, `campaign_id`, `adset_id`, `ad_id`.
pub fn draft(
    book: &Book,
    seed: u64,
    collection: &str,
    number: u64,
    at_ms: i64,
    given: &Fields,
) -> Result<Fields, String> {
    let mut chance = Chance::new(seed.wrapping_add(number), collection);
    let mut given = given.clone();
    let status = chance.pick(&["ACTIVE", "ACTIVE", "ACTIVE", "PAUSED"]);
    let id = first_id(collection).map(|first| (first + number).to_string());
    let start = Form::IsoPlainOffset.text(at_ms + 3_600_000);
    let fields = match collection {
        "ad_accounts" => {
            let id = format!("{}", 100_000_000_000_003 + number - ACCOUNTS.len() as u64);
            Value::Object(account(&id, &names::company(number), "USD", "America/Phoenix", number))
        }
        "campaigns" => {
            let account = parent(book, "ad_accounts", number, given.remove("account_id"))?;
            json!({
                "id": id, "account_id": account.text("account_id"),
                "name": format!("{} {number}", names::company(number)), "objective": "OUTCOME_TRAFFIC",
                "status": status, "configured_status": status, "buying_type": "AUCTION",
                "bid_strategy": "LOWEST_COST_WITHOUT_CAP", "budget_rebalance_flag": false,
                "daily_budget": (chance.between(5, 500) * 100).to_string(), "budget_remaining": "1200",
                "lifetime_budget": "0", "smart_promotion_type": "GUIDED_CREATION", "source_campaign_id": "0",
                "special_ad_category": "NONE", "special_ad_categories": [], "special_ad_category_country": [],
                "spend_cap": "1000000", "start_time": start, "stop_time": null,
                "adlabels": [{"id": "601", "name": "season"}],
            })
        }
        "ad_sets" => {
            let campaign = parent(book, "campaigns", number, given.remove("campaign_id"))?;
            json!({
                "id": id, "account_id": campaign.text("account_id"),
                "campaign_id": campaign.text("id"), "name": format!("Set {number}"), "status": status,
                "configured_status": status, "daily_budget": "0", "lifetime_budget": "0", "budget_remaining": "0",
                "bid_amount": chance.between(50, 900), "bid_strategy": "LOWEST_COST_WITH_BID_CAP",
                "bid_info": {"ACTIONS": chance.between(50, 900)}, "billing_event": "IMPRESSIONS",
                "optimization_goal": "LINK_CLICKS", "start_time": start, "end_time": "2037-12-30T23:59:59+0000",
                "promoted_object": {"page_id": "500000000000001"},
                "targeting": {"age_min": 18, "age_max": 65, "geo_locations": {"countries": ["US"]}},
                "learning_stage_info": {"status": "SUCCESS"},
            })
        }
        "ads" => {
            let set = parent(book, "ad_sets", number, given.remove("adset_id"))?;
            json!({
                "id": id, "account_id": set.text("account_id"),
                "campaign_id": set.text("campaign_id"), "adset_id": set.text("id"), "name": format!("Ad {number}"),
                "status": status, "configured_status": status, "bid_type": "CPA", "bid_amount": chance.between(50, 900),
                "bid_info": {"ACTIONS": chance.between(50, 900)}, "last_updated_by_app_id": "700000000000001",
                "source_ad_id": "0", "targeting": set.get("targeting").clone(),
                "conversion_specs": [{"action.type": ["link_click"]}], "tracking_specs": [{"action.type": ["link_click"]}],
                "creative": {
                    "id": (800_000_000_000_001 + number).to_string(), "name": format!("Creative {number}"),
                    "account_id": set.text("account_id"),
                    "url_tags": format!("utm_source=facebook&utm_medium=paid&utm_campaign=c{number}&utm_content=ad%20{number}"),
                },
            })
        }
        "insights" => {
            let ad = parent(book, "ads", number, given.remove("ad_id"))?;
            day(&ad, &Form::Date.text(at_ms), &mut chance)
        }
        _ => return Err(format!("{collection} cannot be created")),
    };
    let mut fields = object(fields);
    merge(&mut fields, &given);
    if given.contains_key("status") && !given.contains_key("configured_status") {
        let status = fields.get("status").cloned().unwrap_or_default();
        fields.insert("configured_status".into(), status);
    }
    Ok(fields)
}

/// What was counted for an ad on a day. Money in the account's currency, as text.
fn day(ad: &Record, date: &str, chance: &mut Chance) -> Value {
    let impressions = chance.between(20, 5000);
    let clicks = chance.between(0, impressions / 12);
    let links = chance.between(0, clicks);
    let bought = chance.between(0, links / 3 + 1);
    let views = chance.between(0, impressions / 4);
    let cents = clicks * chance.between(5, 220);
    let whole = |n: i64| n.to_string();
    let acts = |of: &[(&str, i64)]| {
        Value::Array(
            of.iter().filter(|(_, n)| *n > 0).map(|(t, n)| json!({"action_type": t, "value": whole(*n)})).collect(),
        )
    };
    let video = |n: i64| acts(&[("video_view", n)]);
    json!({
        "account_id": ad.text("account_id"), "ad_id": ad.text("id"), "date_start": date, "date_stop": date,
        "impressions": whole(impressions), "clicks": whole(clicks), "reach": whole(impressions * 3 / 4 + 1),
        "spend": format!("{}.{:02}", cents / 100, cents % 100), "social_spend": "0.00",
        "inline_link_clicks": whole(links), "inline_post_engagement": whole(clicks + views),
        "unique_clicks": whole(clicks * 9 / 10), "unique_inline_link_clicks": whole(links * 9 / 10),
        "full_view_impressions": whole(impressions / 2), "full_view_reach": whole(impressions / 3),
        "actions": acts(&[("link_click", links), ("video_view", views), ("omni_purchase", bought)]),
        "unique_actions": acts(&[("link_click", links * 9 / 10), ("omni_purchase", bought)]),
        "action_values": acts(&[("omni_purchase", bought * 25)]),
        "conversions": acts(&[("contact_total", bought / 2)]),
        "conversion_values": acts(&[("contact_total", bought / 2 * 10)]),
        "outbound_clicks": acts(&[("outbound_click", links)]),
        "unique_outbound_clicks": acts(&[("outbound_click", links * 9 / 10)]),
        "video_play_actions": video(views), "video_15_sec_watched_actions": video(views / 2),
        "video_30_sec_watched_actions": video(views / 3), "video_avg_time_watched_actions": video(views.min(9)),
        "video_p25_watched_actions": video(views * 3 / 4), "video_p50_watched_actions": video(views / 2),
        "video_p75_watched_actions": video(views / 3), "video_p95_watched_actions": video(views / 5),
        "video_p100_watched_actions": video(views / 6),
    })
}
