//! Each habit of the API, by asking the app itself.

use super::*;
use crate::config::Config;

const NOW_MS: i64 = 1_767_225_600_000;

struct Desk {
    app: GoogleAds,
    config: Config,
    over_rate: bool,
    calls: u64,
}

fn desk(sizes: Value) -> Desk {
    let mut book = Book::new(&data::KINDS);
    for customer in data::customers() {
        book.add("customers", customer, When::now(0)).unwrap();
    }
    let mut app = GoogleAds { seed: 1, book, tokens: Tokens::new(1), chance: Chance::new(1, "t") };
    let config = Config::new(app.knobs().as_object().unwrap().clone());
    let request = Request::default();
    let body = sizes.as_object().unwrap().clone();
    let mut ask = Ask { request: &request, config: &config, body, lent: Vec::new(), seed: 1, now_ms: NOW_MS };
    app.seed(&mut ask).unwrap();
    Desk { app, config, over_rate: false, calls: 0 }
}

fn full() -> Desk {
    desk(json!({"campaigns": 4, "ad_groups": 8, "ads": 16, "keywords": 8, "ad_performance_report": 64,
                "keywords_performance_report": 24, "search_performance_report": 32, "click_performance_report": 32}))
}

const GOOD: [(&str, &str); 3] =
    [("authorization", "Bearer sim-token"), ("developer-token", "sim-developer"), ("login-customer-id", data::MANAGER)];

impl Desk {
    fn call(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> (u16, Value) {
        let request = Request {
            method: method.into(),
            path: path.into(),
            headers: headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
            body: body.to_string().into_bytes(),
            ..Request::default()
        };
        if self.app.counts(&request) {
            self.calls += 1;
        }
        let call = Call {
            request: &request,
            config: &self.config,
            is_over_rate: self.over_rate,
            calls: self.calls,
            in_flight: 1,
            now_ms: NOW_MS,
        };
        let reply = self.app.answer(&call);
        (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
    }

    fn stream(&mut self, customer: &str, query: &str) -> (u16, Value) {
        let path = format!("/v23/customers/{customer}/googleAds:searchStream");
        self.call("POST", &path, &GOOD, json!({"query": query}))
    }

    fn rows(&mut self, customer: &str, query: &str) -> Vec<Value> {
        let (status, chunks) = self.stream(customer, query);
        assert_eq!(status, 200, "{chunks}");
        let chunks = chunks.as_array().unwrap().iter();
        chunks.flat_map(|chunk| chunk["results"].as_array().cloned().unwrap_or_default()).collect()
    }

    fn code(&mut self, customer: &str, query: &str) -> String {
        let (_, body) = self.stream(customer, query);
        let codes = &body[0]["error"]["details"][0]["errors"][0]["errorCode"];
        codes.as_object().and_then(|c| c.values().next()).and_then(Value::as_str).unwrap_or("").to_string()
    }

    fn set(&mut self, changes: Value) {
        self.config = self.config.changed_by(&changes).unwrap();
    }
}

const ONE: &str = "1000000002";
const TWO: &str = "1000000004";

#[test]
fn numbers_are_text_and_names_are_camel_case() {
    let mut desk = full();
    let rows = desk.rows(ONE, "SELECT ad_group.id, ad_group.name, campaign.id, customer.id FROM ad_group");
    assert_eq!(rows.len(), 4, "every second campaign is this account's");
    let id = rows[0]["adGroup"]["id"].as_str().expect("an int64 is a string");
    assert_eq!(rows[0]["adGroup"]["resourceName"], json!(format!("customers/{ONE}/adGroups/{id}")));
    assert_eq!(rows[0]["customer"], json!({"resourceName": format!("customers/{ONE}"), "id": ONE}));
    let lean = "SELECT ad_group.id FROM ad_group LIMIT 1 PARAMETERS omit_unselected_resource_names=true";
    assert_eq!(desk.rows(ONE, lean)[0], json!({"adGroup": {"id": id}}));
    let ads = desk.rows(ONE, "SELECT ad_group_ad.ad.final_urls, ad_group_ad.ad.name FROM ad_group_ad");
    assert!(ads[0]["adGroupAd"]["ad"]["finalUrls"].is_array());
    assert!(ads[0]["adGroupAd"]["ad"].get("name").is_none(), "what is not set is not sent");
    let metrics = desk.rows(ONE, "SELECT campaign.id, metrics.cost_micros, metrics.conversions FROM campaign");
    assert!(metrics[0]["metrics"]["costMicros"].is_string() && metrics[0]["metrics"]["conversions"].is_number());
}

#[test]
fn a_stream_is_an_array_of_chunks_and_search_has_pages() {
    let mut desk = full();
    desk.set(json!({"page_size": 3}));
    let query = "SELECT ad_group_ad.ad.id FROM ad_group_ad";
    let (_, chunks) = desk.stream(ONE, query);
    let sizes: Vec<usize> = chunks.as_array().unwrap().iter().map(|c| c["results"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [3, 3, 2]);
    assert_eq!(chunks[0]["fieldMask"], json!("adGroupAd.ad.id"));
    let (_, empty) = desk.stream(ONE, "SELECT campaign.id FROM campaign WHERE campaign.id = 1");
    assert!(empty[0].get("results").is_none() && empty[0]["fieldMask"].is_string());

    let path = format!("/v24/customers/{ONE}/googleAds:search");
    let mut ids = Vec::new();
    let mut token = String::new();
    loop {
        let settings = json!({"returnTotalResultsCount": true});
        let (_, page) =
            desk.call("POST", &path, &GOOD, json!({"query": query, "pageToken": token, "searchSettings": settings}));
        assert_eq!(page["totalResultsCount"], json!("8"));
        ids.extend(page["results"].as_array().unwrap().iter().map(|r| r["adGroupAd"]["ad"]["id"].to_string()));
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.to_string(),
            None => break,
        }
    }
    assert_eq!(ids.len(), 8);
    assert_eq!(desk.calls, 3, "further pages of a query are no further operations");
    let (status, body) =
        desk.call("POST", &path, &GOOD, json!({"query": format!("{query} LIMIT 4"), "pageToken": token}));
    assert_eq!(
        (status, &body["error"]["details"][0]["errors"][0]["errorCode"]),
        (400, &json!({"requestError": "INVALID_PAGE_TOKEN"}))
    );
    let (_, body) = desk.call("POST", &path, &GOOD, json!({"query": query, "pageSize": 10}));
    assert_eq!(body["error"]["details"][0]["errors"][0]["errorCode"]["requestError"], "PAGE_SIZE_NOT_SUPPORTED");
}

#[test]
fn credentials_and_headers_are_judged_one_by_one() {
    let mut desk = full();
    let path = format!("/v23/customers/{ONE}/googleAds:searchStream");
    let body = json!({"query": "SELECT customer.id FROM customer"});
    let mut ask = |headers: &[(&str, &str)], path: &str| {
        let (status, body) = desk.call("POST", path, headers, body.clone());
        let code = body[0]["error"]["details"][0]["errors"][0]["errorCode"].clone();
        (status, code.as_object().and_then(|c| c.values().next()?.as_str().map(str::to_string)).unwrap_or_default())
    };
    let other = [GOOD[0], GOOD[1], ("login-customer-id", TWO)];
    for (headers, path, want) in [
        (&GOOD[..], path.as_str(), (200, "")),
        (&GOOD[1..], path.as_str(), (401, "OAUTH_TOKEN_HEADER_INVALID")),
        (&[("authorization", "Bearer x"), GOOD[1]], &path, (401, "OAUTH_TOKEN_INVALID")),
        (&[GOOD[0]], &path, (400, "DEVELOPER_TOKEN_PARAMETER_MISSING")),
        (&[GOOD[0], ("developer-token", "x")], &path, (401, "DEVELOPER_TOKEN_INVALID")),
        (&GOOD[..2], &path, (403, "USER_PERMISSION_DENIED")),
        (&other, &path, (403, "USER_PERMISSION_DENIED")),
        (&GOOD[..2], "/v23/customers/1000000001/googleAds:searchStream", (200, "")),
        (&[GOOD[0], GOOD[1], ("login-customer-id", "100-000-0001")], &path, (400, "INVALID_LOGIN_CUSTOMER_ID")),
        (&GOOD, "/v23/customers/100-000-0002/googleAds:searchStream", (400, "INVALID_CUSTOMER_ID")),
        (&GOOD, "/v23/customers/1000000005/googleAds:searchStream", (403, "CUSTOMER_NOT_ENABLED")),
        (&GOOD, "/v23/customers/1999999999/googleAds:searchStream", (401, "CUSTOMER_NOT_FOUND")),
        (&GOOD, "/v19/customers/1000000002/googleAds:searchStream", (400, "UNSUPPORTED_VERSION")),
        (&GOOD, "/v99/customers/1000000002/googleAds:searchStream", (404, "")),
    ] {
        assert_eq!(ask(headers, path), (want.0, want.1.to_string()), "{path} {headers:?}");
    }
    desk.set(json!({"developer_token_approved": false}));
    assert_eq!(desk.code(ONE, "SELECT customer.id FROM customer"), "DEVELOPER_TOKEN_NOT_APPROVED");
}

#[test]
fn a_manager_has_clients_but_no_figures() {
    let mut desk = full();
    let query = "SELECT customer_client.id, customer_client.level, customer_client.manager, customer_client.status, \
                 customer_client.client_customer, customer_client.time_zone FROM customer_client";
    let levels: Vec<(String, String)> = desk
        .rows(data::MANAGER, query)
        .iter()
        .map(|row| {
            let client = &row["customerClient"];
            (client["id"].as_str().unwrap().to_string(), client["level"].as_str().unwrap().to_string())
        })
        .collect();
    for (no, ids) in [("FALSE", 3), ("false", 3)] {
        let query = format!("SELECT customer_client.id FROM customer_client WHERE customer_client.manager = {no}");
        assert_eq!(desk.rows(data::MANAGER, &query).len(), ids, "letters of either case are the same");
    }
    let level = |id: &str| levels.iter().find(|(i, _)| i == id).map(|(_, level)| level.as_str());
    assert_eq!(
        (level(data::MANAGER), level(ONE), level("1000000003"), level(TWO)),
        (Some("0"), Some("1"), Some("1"), Some("2"))
    );
    assert_eq!(desk.rows(ONE, query).len(), 1, "an account without clients lists itself");
    assert_eq!(
        desk.code(data::MANAGER, "SELECT campaign.id, metrics.clicks FROM campaign"),
        "REQUESTED_METRICS_FOR_MANAGER"
    );
    assert!(desk.rows(data::MANAGER, "SELECT campaign.id FROM campaign").is_empty());
    let (_, names) = desk.call("GET", "/v23/customers:listAccessibleCustomers", &GOOD[..2], Value::Null);
    assert_eq!(names, json!({"resourceNames": ["customers/1000000001"]}));
}

#[test]
fn reports_hold_the_days_asked_for_and_fit_their_ledger() {
    let mut desk = full();
    let of = |rows: &[Value], path: &str| -> i64 {
        rows.iter().map(|row| row["metrics"][path].as_str().unwrap().parse::<i64>().unwrap()).sum()
    };
    let days = "segments.date BETWEEN '2025-12-30' AND '2025-12-31'";
    let by_ad = desk.rows(
        ONE,
        &format!("SELECT ad_group_ad.ad.id, segments.date, metrics.impressions FROM ad_group_ad WHERE {days}"),
    );
    assert_eq!(by_ad.len(), 16, "8 ads, 2 days");
    let by_campaign =
        desk.rows(ONE, &format!("SELECT campaign.id, segments.date, metrics.impressions, campaign_budget.amount_micros FROM campaign WHERE {days}"));
    assert_eq!(by_campaign.len(), 4, "2 campaigns, 2 days");
    assert!(by_campaign[0]["campaignBudget"]["amountMicros"].is_string());
    assert_eq!(of(&by_ad, "impressions"), of(&by_campaign, "impressions"));
    for (name, rows) in [
        ("ad_performance_report", 64),
        ("campaign_performance_report", 16),
        ("keywords_performance_report", 24),
        ("search_performance_report", 32),
        ("click_performance_report", 32),
    ] {
        let ledger: Value = serde_json::from_str(&ledger::report(&desk.app.book, name).unwrap()).unwrap();
        let mut ids: Vec<String> = ledger.as_array().unwrap().iter().map(|row| row["id"].to_string()).collect();
        assert_eq!(ids.len(), rows, "{name}");
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), rows, "{name}");
    }
    let terms = "SELECT search_term_view.search_term, segments.search_term_match_type, ad_group_ad.ad.id, \
                 segments.keyword.ad_group_criterion, metrics.impressions FROM search_term_view WHERE segments.date >= '2025-01-01'";
    let row = &desk.rows(ONE, terms)[0];
    assert!(row["searchTermView"]["searchTerm"].is_string() && row["adGroupAd"]["ad"]["id"].is_string());
    assert!(row["segments"]["keyword"]["adGroupCriterion"].as_str().unwrap().contains("/adGroupCriteria/"));
    let keywords =
        "SELECT ad_group_criterion.keyword.text, ad_group_criterion.effective_cpc_bid_micros, metrics.average_cpc \
                    FROM keyword_view WHERE segments.date DURING LAST_7_DAYS";
    assert!(desk.rows(ONE, keywords)[0]["adGroupCriterion"]["keyword"]["text"].is_string());
}

#[test]
fn clicks_are_asked_for_day_by_day_and_not_too_late() {
    let mut desk = full();
    let query = |days: &str| {
        format!("SELECT click_view.gclid, click_view.ad_group_ad, segments.date FROM click_view WHERE {days}")
    };
    let rows = desk.rows(ONE, &query("segments.date = '2025-12-31'"));
    assert_eq!(rows.len(), 8);
    assert!(rows[0]["clickView"]["adGroupAd"].as_str().unwrap().contains("/adGroupAds/"));
    for (days, code) in [
        ("segments.date BETWEEN '2025-12-30' AND '2025-12-31'", "DATE_RANGE_TOO_WIDE"),
        ("click_view.gclid = 'x'", "EXPECTED_FILTERS_ON_DATE_RANGE"),
        ("segments.date = '2025-09-30'", "EARLIER_THAN_MINIMUM_DATE"),
    ] {
        assert_eq!(desk.code(ONE, &query(days)), code, "{days}");
    }
    assert_eq!(desk.code(ONE, &query("segments.date = '2025-10-03'")), "", "the 90th day is still good");
}

#[test]
fn a_spent_quota_tells_its_delay_in_the_body() {
    let mut desk = full();
    desk.over_rate = true;
    let (status, body) = desk.stream(ONE, "SELECT customer.id FROM customer");
    let failure = &body[0]["error"]["details"][0]["errors"][0];
    assert_eq!((status, &body[0]["error"]["status"]), (429, &json!("RESOURCE_EXHAUSTED")));
    assert_eq!(failure["details"]["quotaErrorDetails"]["retryDelay"], "30s");
    assert_eq!(failure["errorCode"]["quotaError"], "RESOURCE_TEMPORARILY_EXHAUSTED");
    desk.over_rate = false;
    desk.set(json!({"daily_quota": 1}));
    assert_eq!(desk.code(ONE, "SELECT customer.id FROM customer"), "RESOURCE_EXHAUSTED");
}

#[test]
fn removed_things_stay_and_parts_of_a_day_can_be_corrected() {
    let mut desk = full();
    let request = Request::default();
    let config = desk.config.clone();
    let ask = |body: Value| Ask {
        request: &request,
        config: &config,
        body: body.as_object().unwrap().clone(),
        lent: Vec::new(),
        seed: 1,
        now_ms: NOW_MS,
    };
    let id = "20000000001";
    desk.app.delete(&ask(json!({})), "campaigns", id).unwrap();
    let status = format!("SELECT campaign.status FROM campaign WHERE campaign.id = {id}");
    assert_eq!(desk.rows(ONE, &status)[0]["campaign"]["status"], "REMOVED");
    desk.app.undelete(&ask(json!({})), "campaigns", id).unwrap();
    assert_eq!(desk.rows(ONE, &status)[0]["campaign"]["status"], "ENABLED");

    let ledger: Value =
        serde_json::from_str(&ledger::report(&desk.app.book, "ad_performance_report").unwrap()).unwrap();
    let key = ledger[0]["id"].as_str().unwrap().to_string();
    let parts: Vec<&str> = key.split(':').collect();
    let figures = format!(
        "SELECT metrics.clicks, metrics.ctr, segments.date FROM ad_group_ad WHERE ad_group_ad.ad.id = {} AND segments.date = '{}'",
        parts[1], parts[2]
    );
    let change = json!({"metrics": {"clicks": "7", "impressions": "70"}});
    desk.app.change(&ask(change), "ad_performance_report", &key).unwrap();
    assert_eq!(desk.rows(ONE, &figures)[0]["metrics"], json!({"clicks": "7", "ctr": 0.1}));
    assert!(desk.app.change(&ask(json!({"metrics": {"ctr": 1}})), "ad_performance_report", &key).is_err());
    let more = json!({"ad": parts[1], "date": parts[2], "segments": {"device": "CONNECTED_TV"},
                      "metrics": {"clicks": "3", "impressions": "30"}});
    desk.app.create(&ask(more), "ad_performance_report").unwrap();
    assert_eq!(desk.rows(ONE, &figures)[0]["metrics"]["clicks"], "10", "devices are added up");
    assert!(desk.app.change(&ask(json!({})), "ad_performance_report", &key).is_err(), "two facts now");
    assert!(desk.app.delete(&ask(json!({})), "ad_performance_report", &key).is_err());
}

#[test]
fn the_token_endpoint_grants_for_a_refresh_token_only() {
    let mut desk = full();
    let form = |desk: &mut Desk, text: &str| {
        let request = Request { method: "POST".into(), path: "/token".into(), body: text.into(), ..Request::default() };
        let call = Call {
            request: &request,
            config: &desk.config,
            is_over_rate: false,
            calls: 0,
            in_flight: 1,
            now_ms: NOW_MS,
        };
        let reply = desk.app.answer(&call);
        (reply.status, serde_json::from_slice::<Value>(&reply.body).unwrap())
    };
    let good = "grant_type=refresh_token&client_id=sim-client&client_secret=sim-secret&refresh_token=sim-refresh";
    let (status, granted) = form(&mut desk, good);
    assert_eq!((status, &granted["expires_in"]), (200, &json!(3599)));
    let bearer = format!("Bearer {}", granted["access_token"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str()), GOOD[1]];
    assert_eq!(desk.call("GET", "/v23/customers:listAccessibleCustomers", &headers, Value::Null).0, 200);
    desk.app.tokens.expire_all();
    let (status, body) = desk.call("GET", "/v23/customers:listAccessibleCustomers", &headers, Value::Null);
    assert_eq!((status, &body["error"]["status"]), (401, &json!("UNAUTHENTICATED")));
    for (text, want) in [
        (good.replace("sim-refresh", "x"), (400, "invalid_grant")),
        (good.replace("sim-secret", "x"), (401, "invalid_client")),
        (good.replace("=refresh_token", "=x"), (400, "unsupported_grant_type")),
        (String::new(), (400, "invalid_request")),
    ] {
        let (status, body) = form(&mut desk, &text);
        assert_eq!((status, body["error"].as_str().unwrap()), want, "{text}");
    }
}
