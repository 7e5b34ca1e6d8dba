//! Decides what a Google Ads account holds: its resources as the API writes them, and one fact a day for what happened.
//!
//! Four collections are facts: figures of an ad, of a keyword, of a search term on a day, and single clicks. The figures of
//! campaigns follow from those of their ads. A fact is named by what it belongs to, its day, device and network.

use std::sync::Arc;

use serde_json::{json, Map, Value};

use super::eval::Fields;
use crate::chance::Chance;
use crate::names;
use crate::rest::crud::merge;
use crate::rest::{Book, Kind, Record};

pub const MANAGER: &str = "1000000001";

/// Id, name, manager above, whether it is a manager, status, currency, time zone. Only zones without summer time.
const CUSTOMERS: [(&str, &str, &str, bool, &str, &str, &str); 5] = [
    (MANAGER, "Simulated Manager", "", true, "ENABLED", "USD", "America/Phoenix"),
    ("1000000002", "Client One", MANAGER, false, "ENABLED", "USD", "America/Phoenix"),
    ("1000000003", "Inner Manager", MANAGER, true, "ENABLED", "EUR", "Asia/Kolkata"),
    ("1000000004", "Client Two", "1000000003", false, "ENABLED", "EUR", "Asia/Kolkata"),
    ("1000000005", "Closed Client", MANAGER, false, "CANCELED", "USD", "America/Phoenix"),
];

const FACT: &[&str] = &["adGroupId", "adId", "segments.date", "segments.device", "segments.adNetworkType"];

const fn kind(name: &'static str, key: &'static [&'static str]) -> Kind {
    Kind { name, key, created: None, updated: None, parent: None }
}

/// Parents first. `parent` of a fact is the ad group it belongs to.
pub const KINDS: [Kind; 10] = [
    kind("customers", &["id"]),
    kind("campaign_budgets", &["id"]),
    kind("campaigns", &["id"]),
    kind("ad_groups", &["id"]),
    kind("ads", &["ad.id"]),
    kind("keywords", &["criterionId"]),
    Kind { parent: Some("adGroupId"), ..kind("ad_performance_report", FACT) },
    Kind {
        parent: Some("adGroupId"),
        ..kind(
            "keywords_performance_report",
            &["adGroupId", "criterionId", "segments.date", "segments.device", "segments.adNetworkType"],
        )
    },
    Kind {
        parent: Some("adGroupId"),
        ..kind(
            "search_performance_report",
            &[
                "adGroupId",
                "adId",
                "searchTerm",
                "segments.searchTermMatchType",
                "segments.device",
                "segments.adNetworkType",
                "segments.date",
            ],
        )
    },
    Kind { parent: Some("adGroupId"), ..kind("click_performance_report", &["gclid", "segments.date"]) },
];

pub const FACTS: [&str; 4] =
    ["ad_performance_report", "keywords_performance_report", "search_performance_report", "click_performance_report"];

/// The customer a resource name belongs to.
pub fn customer_of(fields: &Fields) -> &str {
    let name = fields.get("resourceName").and_then(Value::as_str).unwrap_or("");
    name.split('/').nth(1).unwrap_or("")
}

pub fn text<'a>(fields: &'a Fields, member: &str) -> &'a str {
    fields.get(member).and_then(Value::as_str).unwrap_or("")
}

/// The last part of a resource name: `7` of `customers/1/campaigns/7`.
pub fn tail(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or("")
}

pub fn customers() -> impl Iterator<Item = Fields> {
    CUSTOMERS.into_iter().map(|(id, name, above, is_manager, status, currency, zone)| {
        object(json!({
            "resourceName": format!("customers/{id}"), "id": id, "descriptiveName": name, "currencyCode": currency,
            "timeZone": zone, "manager": is_manager, "testAccount": false, "autoTaggingEnabled": true, "status": status,
            "managedBy": above, "hidden": false,
        }))
    })
}

pub fn object(value: Value) -> Fields {
    value.as_object().cloned().unwrap_or_default()
}

/// The accounts that can have campaigns.
fn clients(book: &Book) -> Vec<String> {
    let all = book.all_latest("customers");
    let open = all.iter().filter(|c| c.get("manager") == false && c.text("status") == "ENABLED");
    open.map(|customer| customer.id.to_string()).collect()
}

/// The id of the first record made up in a collection.
fn first_id(collection: &str) -> u64 {
    match collection {
        "campaigns" => 20_000_000_001,
        "ad_groups" => 130_000_000_001,
        "ads" => 600_000_000_001,
        "keywords" => 300_000_000_001,
        _ => 1_000_000_100,
    }
}

/// The parent a new record names, or one of those there are by its number.
fn parent(book: &Book, collection: &str, number: u64, given: Option<&Value>) -> Result<Arc<Record>, String> {
    if let Some(id) = given.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_string)) {
        return book.latest(collection, tail(&id)).ok_or(format!("{collection} has no {id}"));
    }
    // Records have ids in a row unless a test gave its own.
    let made = book.made(collection);
    let usual = (made > 0).then(|| (first_id(collection) + number % made).to_string());
    if let Some(record) = usual.and_then(|id| book.latest(collection, &id)) {
        return Ok(record);
    }
    let all = book.all_latest(collection);
    match all.len() as u64 {
        0 => Err(format!("there are no {collection} yet")),
        n => Ok(all[(number % n) as usize].clone()),
    }
}

/// A whole record: `given` over made-up values. Parents are named as `customer`, `campaign`, `adGroup`, `ad`, `keyword`.
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
    let fields = match collection {
        "customers" => {
            let id = (first_id(collection) + number).to_string();
            json!({
                "resourceName": format!("customers/{id}"), "id": id, "descriptiveName": names::company(number),
                "currencyCode": "USD", "timeZone": "America/Phoenix", "manager": false, "testAccount": false,
                "autoTaggingEnabled": true, "status": "ENABLED", "managedBy": MANAGER, "hidden": false,
            })
        }
        "campaigns" => {
            let customer = owner(book, number, given.remove("customer"))?;
            let id = first_id(collection) + number;
            json!({
                "resourceName": format!("customers/{customer}/campaigns/{id}"), "id": id.to_string(),
                "name": format!("{} {id}", names::company(number)),
                "status": *chance.pick(&["ENABLED", "ENABLED", "PAUSED"]), "servingStatus": "SERVING",
                "advertisingChannelType": "SEARCH", "advertisingChannelSubType": "UNSPECIFIED",
                "experimentType": "BASE", "baseCampaign": format!("customers/{customer}/campaigns/{id}"),
                "campaignBudget": format!("customers/{customer}/campaignBudgets/{}", 30_000_000_001 + number),
                "biddingStrategyType": "MANUAL_CPC", "startDateTime": "2020-01-01 00:00:00",
                "endDateTime": "2037-12-30 23:59:59",
                "urlCustomParameters": [{"key": "season", "value": *chance.pick(&["spring", "autumn"])}],
            })
        }
        "ad_groups" => {
            let campaign = parent(book, "campaigns", number, given.remove("campaign").as_ref())?;
            let (customer, id) = (customer_of(&campaign.fields), first_id(collection) + number);
            json!({
                "resourceName": format!("customers/{customer}/adGroups/{id}"), "id": id.to_string(),
                "name": format!("Group {id}"), "status": "ENABLED", "type": "SEARCH_STANDARD",
                "campaign": campaign.text("resourceName"),
                "cpcBidMicros": (chance.between(10, 900) * 10_000).to_string(),
            })
        }
        "ads" => {
            let group = parent(book, "ad_groups", number, given.remove("adGroup").as_ref())?;
            let (customer, id) = (customer_of(&group.fields), first_id(collection) + number);
            json!({
                "resourceName": format!("customers/{customer}/adGroupAds/{}~{id}", group.id), "status": "ENABLED",
                "adGroup": group.text("resourceName"),
                "ad": {
                    "resourceName": format!("customers/{customer}/ads/{id}"), "id": id.to_string(),
                    "type": "RESPONSIVE_SEARCH_AD",
                    "finalUrls": [format!("https://www.{}/?ad={id}", names::domain(number))],
                },
            })
        }
        "keywords" => {
            let group = parent(book, "ad_groups", number, given.remove("adGroup").as_ref())?;
            let (customer, id) = (customer_of(&group.fields), first_id(collection) + number);
            json!({
                "resourceName": format!("customers/{customer}/adGroupCriteria/{}~{id}", group.id),
                "criterionId": id.to_string(), "status": "ENABLED", "type": "KEYWORD", "negative": false,
                "adGroup": group.text("resourceName"), "approvalStatus": "APPROVED",
                "keyword": {"text": names::prose(&mut chance, 2).to_lowercase(), "matchType": "PHRASE"},
                "cpcBidMicros": "1200000", "effectiveCpcBidMicros": "1200000", "effectiveCpcBidSource": "AD_GROUP_CRITERION",
                "finalUrls": [],
            })
        }
        "ad_performance_report" | "search_performance_report" | "click_performance_report" => {
            let ad = parent(book, "ads", number, given.remove("ad").as_ref())?;
            of_ad(collection, &ad, number, at_ms, &mut chance)
        }
        "keywords_performance_report" => {
            let keyword = parent(book, "keywords", number, given.remove("keyword").as_ref())?;
            let mut fact = fact(at_ms, &mut chance);
            fact["adGroupId"] = json!(tail(keyword.text("adGroup")));
            fact["criterionId"] = keyword.get("criterionId").clone();
            fact
        }
        _ => return Err(format!("{collection} cannot be created")),
    };
    let mut fields = object(fields);
    if let Some(date) = given.remove("date") {
        merge(&mut fields, &object(json!({"segments": {"date": date}})));
    }
    merge(&mut fields, &given);
    Ok(fields)
}

fn owner(book: &Book, number: u64, given: Option<Value>) -> Result<String, String> {
    if let Some(id) = given {
        let id = id.as_str().map_or_else(|| id.to_string(), |name| tail(name).to_string());
        return book.latest("customers", &id).map(|c| c.id.to_string()).ok_or(format!("customers has no {id}"));
    }
    let clients = clients(book);
    clients.get(number as usize % clients.len().max(1)).cloned().ok_or("no account is open".into())
}

/// The budget a new campaign comes with.
pub fn budget_of(campaign: &Record, seed: u64) -> Fields {
    let name = campaign.text("campaignBudget");
    let id = tail(name);
    let amount = Chance::new(seed.wrapping_add(campaign.number), "budgets").between(1, 500) * 1_000_000;
    object(json!({
        "resourceName": name, "id": id, "name": format!("Budget {id}"), "amountMicros": amount.to_string(),
        "explicitlyShared": false, "status": "ENABLED", "deliveryMethod": "STANDARD", "period": "DAILY",
        "referenceCount": "1",
    }))
}

/// A day's figures that fit each other.
fn fact(at_ms: i64, chance: &mut Chance) -> Value {
    let impressions = chance.between(20, 4000);
    let clicks = chance.between(0, impressions / 10);
    let conversions = chance.between(0, clicks.max(1)) as f64 / 4.0;
    let seen = chance.between(0, impressions);
    let views = chance.between(0, impressions / 5);
    let whole = |n: i64| n.to_string();
    json!({
        "segments": {
            "date": day_of(at_ms), "device": *chance.pick(&["MOBILE", "DESKTOP", "TABLET"]),
            "adNetworkType": *chance.pick(&["SEARCH", "SEARCH_PARTNERS"]), "clickType": "URL_CLICKS",
            "externalConversionSource": "WEBPAGE",
        },
        "metrics": {
            "impressions": whole(impressions), "clicks": whole(clicks), "interactions": whole(clicks),
            "engagements": whole(views), "costMicros": whole(clicks * chance.between(100_000, 3_000_000)),
            "conversions": conversions, "conversionsValue": conversions * 12.5, "allConversions": conversions * 1.5,
            "allConversionsValue": conversions * 20.0, "crossDeviceConversions": conversions * 0.25,
            "viewThroughConversions": whole(chance.between(0, 9)), "activeViewImpressions": whole(seen),
            "activeViewMeasurableImpressions": whole((seen + impressions) / 2),
            "activeViewMeasurableCostMicros": whole(clicks * 90_000), "videoTrueviewViews": whole(views),
            "invalidClicks": whole(clicks / 20), "gmailForwards": "0", "gmailSaves": "0", "gmailSecondaryClicks": "0",
            "videoQuartileP25": whole(views), "videoQuartileP50": whole(views * 3 / 4),
            "videoQuartileP75": whole(views / 2), "videoQuartileP100": whole(views / 4), "bounces": whole(clicks / 3),
            "secondsOnSite": whole(clicks * 41), "pageViews": whole(clicks * 3), "eligibleImpressions": whole(impressions * 2),
        },
    })
}

fn day_of(at_ms: i64) -> String {
    super::dates::today("UTC", at_ms)
}

fn of_ad(collection: &str, ad: &Record, number: u64, at_ms: i64, chance: &mut Chance) -> Value {
    let customer = customer_of(&ad.fields);
    let group = tail(ad.text("adGroup"));
    let mut fact = fact(at_ms, chance);
    fact["adGroupId"] = json!(group);
    fact["adId"] = ad.get("ad")["id"].clone();
    let keyword = json!({"adGroupCriterion": format!("customers/{customer}/adGroupCriteria/{group}~{}", first_id("keywords") + number),
                         "info": {"text": "running shoes", "matchType": "PHRASE"}});
    match collection {
        "search_performance_report" => {
            fact["searchTerm"] = json!(format!("{} {}", names::prose(chance, 1).to_lowercase(), number % 7));
            fact["status"] = json!(*chance.pick(&["ADDED", "NONE"]));
            fact["segments"]["searchTermMatchType"] = json!(*chance.pick(&["BROAD", "EXACT", "PHRASE"]));
            fact["segments"]["keyword"] = keyword;
        }
        "click_performance_report" => {
            let gclid = format!("Cj0KCQ{}_wcB", chance.letters(60));
            fact["metrics"] = json!({"clicks": "1"});
            fact["segments"]["slot"] = json!("SEARCH_TOP");
            fact["gclid"] = json!(gclid);
            fact["adGroupAd"] = ad.get("resourceName").clone();
            fact["pageNumber"] = json!("1");
            fact["areaOfInterest"] = json!({"mostSpecific": "geoTargetConstants/1013462"});
            fact["locationOfPresence"] = json!({"mostSpecific": "geoTargetConstants/1013462"});
            fact["keyword"] = keyword["adGroupCriterion"].clone();
            fact["keywordInfo"] = keyword["info"].clone();
        }
        _ => {}
    }
    fact
}

/// Members a control call may not give a fact: what follows from others.
pub fn check_fact(fields: &Map<String, Value>) -> Result<(), String> {
    let Some(metrics) = fields.get("metrics").and_then(Value::as_object) else { return Ok(()) };
    let known = super::fields::all().iter().filter(|f| f.is_metric());
    let mut counted: Vec<String> = known
        .map(|f| f.name.trim_start_matches("metrics."))
        .filter(|name| super::metrics::is_counted(name))
        .map(super::fields::camel)
        .collect();
    counted.extend(super::metrics::HIDDEN.iter().map(|name| super::fields::camel(name)));
    match metrics.keys().find(|name| !counted.contains(name)) {
        Some(name) => Err(format!("metrics.{name} is not counted, so it cannot be set")),
        None => Ok(()),
    }
}
