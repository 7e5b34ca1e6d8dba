//! Each habit of the API, by asking the app itself.

use super::*;
use crate::config::Config;

const NOW_MS: i64 = 1_767_225_600_000;
const US: &str = "act_100000000000001";
const INDIA: &str = "act_100000000000002";
const ALL: &str = r#"["ACTIVE","PAUSED","DELETED","ARCHIVED","CAMPAIGN_PAUSED","ADSET_PAUSED"]"#;

struct Desk {
    app: FacebookAds,
    config: Config,
    over_rate: bool,
    calls: u64,
}

fn desk(sizes: Value) -> Desk {
    let app = FacebookAds::new(1);
    let config = Config::new(app.knobs().as_object().unwrap().clone());
    let mut desk = Desk { app, config, over_rate: false, calls: 0 };
    let request = Request::default();
    let config = desk.config.clone();
    let mut ask = ask(&request, &config, sizes);
    desk.app.seed(&mut ask).unwrap();
    desk
}

fn ask<'a>(request: &'a Request, config: &'a Config, body: Value) -> Ask<'a> {
    Ask { request, config, body: body.as_object().unwrap().clone(), lent: Vec::new(), seed: 1, now_ms: NOW_MS }
}

fn full() -> Desk {
    desk(json!({"campaigns": 8, "ad_sets": 16, "ads": 32, "insights": 320}))
}

impl Desk {
    fn send(&mut self, request: Request) -> (Reply, Value) {
        self.calls += 1;
        let call = Call {
            request: &request,
            config: &self.config,
            is_over_rate: self.over_rate,
            calls: self.calls,
            in_flight: 1,
            now_ms: NOW_MS,
        };
        let reply = self.app.answer(&call);
        let body = serde_json::from_slice(&reply.body).unwrap_or_default();
        (reply, body)
    }

    fn get(&mut self, path: &str, params: &[(&str, &str)]) -> Value {
        self.send(request("GET", path, params)).1
    }

    fn code(&mut self, path: &str, params: &[(&str, &str)]) -> (u16, u64) {
        let (reply, body) = self.send(request("GET", path, params));
        (reply.status, body["error"]["code"].as_u64().unwrap_or(0))
    }

    /// Every record of an edge, by following `next`, and the sizes of the pages.
    fn all(&mut self, path: &str, params: &[(&str, &str)]) -> (Vec<Value>, Vec<usize>) {
        let mut page = self.get(path, params);
        let (mut records, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let data = page["data"].as_array().cloned().unwrap_or_default();
            sizes.push(data.len());
            records.extend(data);
            let Some(next) = page["paging"]["next"].as_str().map(str::to_string) else { return (records, sizes) };
            let rest = next.split_once("://").unwrap().1;
            let (path, query) = rest[rest.find('/').unwrap()..].split_once('?').unwrap();
            let mut request = request("GET", path, &[]);
            request.query = query.into();
            page = self.send(request).1;
        }
    }

    fn set(&mut self, changes: Value) {
        self.config = self.config.changed_by(&changes).unwrap();
    }

    fn patch(&mut self, collection: &str, id: &str, body: Value) -> Value {
        let (request, config) = (Request::default(), self.config.clone());
        serde_json::from_str(&self.app.change(&ask(&request, &config, body), collection, id).unwrap()).unwrap()
    }

    fn drop(&mut self, collection: &str, id: &str) {
        let (request, config) = (Request::default(), self.config.clone());
        self.app.delete(&ask(&request, &config, json!({})), collection, id).unwrap();
    }
}

fn request(method: &str, path: &str, params: &[(&str, &str)]) -> Request {
    let query: Vec<String> = params.iter().map(|(n, v)| format!("{n}={}", page::encode(v))).collect();
    Request {
        method: method.into(),
        path: path.into(),
        query: query.join("&"),
        headers: vec![("authorization".into(), "Bearer sim-token".into()), ("host".into(), "127.0.0.1:9".into())],
        ..Request::default()
    }
}

fn ids(records: &[Value]) -> Vec<String> {
    records.iter().map(|r| r["id"].as_str().unwrap().to_string()).collect()
}

#[test]
fn pages_lead_on_until_there_is_no_next() {
    let mut desk = full();
    let path = format!("/v26.0/{US}/ads");
    let (ads, sizes) = desk.all(&path, &[("fields", "id,name"), ("limit", "7")]);
    assert_eq!(sizes, [7, 7, 2]);
    let mut unique = ids(&ads);
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 16, "every second ad is this account's");
    assert_eq!(desk.get(&path, &[])["data"][0].as_object().unwrap().len(), 1, "without fields only the id");
    let first = desk.get(
        &path,
        &[("limit", "7"), ("access_token", "sim-token"), ("appsecret_proof", &proof_of("sim-token", "sim-secret"))],
    );
    let next = first["paging"]["next"].as_str().unwrap();
    assert!(next.contains("access_token=sim-token") && !next.contains("appsecret_proof"), "{next}");
    assert!(first["paging"].get("previous").is_none());
    let after = first["paging"]["cursors"]["after"].as_str().unwrap().to_string();
    let second = desk.get(&path, &[("limit", "7"), ("after", &after)]);
    let before = second["paging"]["cursors"]["before"].as_str().unwrap();
    assert_eq!(
        ids(desk.get(&path, &[("limit", "7"), ("before", before)])["data"].as_array().unwrap()),
        ids(first["data"].as_array().unwrap())
    );
    assert_eq!(
        desk.get(
            "/v26.0/120200000000000001/ads",
            &[("filtering", r#"[{"field":"ad.id","operator":"IN","value":["x"]}]"#)]
        ),
        json!({"data": []})
    );
    assert_eq!(desk.code(&path, &[("after", "junk")]), (400, 100));
    assert_eq!(desk.get(&path, &[("summary", "true")])["summary"]["total_count"], 16);
}

#[test]
fn a_deletion_between_pages_loses_and_repeats_nothing() {
    let mut desk = full();
    let path = format!("/v26.0/{US}/ads");
    let whole = ids(&desk.all(&path, &[("limit", "100")]).0);
    let first = desk.get(&path, &[("limit", "5")]);
    let last = whole[4].clone();
    desk.drop("ads", &last);
    let after = first["paging"]["cursors"]["after"].as_str().unwrap().to_string();
    let rest = ids(&desk.all(&path, &[("limit", "5"), ("after", &after)]).0);
    assert_eq!(rest, whole[5..]);
}

#[test]
fn changes_are_found_by_the_filter_on_updated_time() {
    let mut desk = full();
    let id = "120200000000000001";
    let since = (NOW_MS / 1000 - 10).to_string();
    let filter = format!(r#"[{{"field":"campaign.updated_time","operator":"GREATER_THAN","value":{since}}}]"#);
    let path = format!("/v26.0/{US}/campaigns");
    let before = desk.get(&path, &[("filtering", &filter), ("fields", "id")]);
    let known = ids(before["data"].as_array().unwrap());
    desk.patch("campaigns", id, json!({"name": "Renamed"}));
    let found = desk.get(&path, &[("filtering", &filter), ("fields", "id,name,updated_time")]);
    let renamed = found["data"].as_array().unwrap().iter().find(|c| c["id"] == id).unwrap().clone();
    assert!(!known.contains(&id.to_string()));
    assert_eq!(
        renamed["updated_time"], "2025-12-31T17:00:00-0700",
        "in the account's zone, the offset without a colon"
    );
    let india = format!("/v26.0/{INDIA}/campaigns");
    assert!(desk.get(&india, &[("fields", "updated_time")])["data"][0]["updated_time"]
        .as_str()
        .unwrap()
        .ends_with("+0530"));
    for wrong in [
        "[",
        r#"[{"field":"campaign.nonsense","operator":"EQUAL","value":1}]"#,
        r#"[{"field":"campaign.id","operator":"LIKE","value":1}]"#,
    ] {
        assert_eq!(desk.code(&path, &[("filtering", wrong)]), (400, 100), "{wrong}");
    }
}

#[test]
fn archived_and_deleted_objects_are_listed_only_when_named() {
    let mut desk = full();
    let path = format!("/v26.0/{US}/campaigns");
    let (gone, put_away) = ("120200000000000001", "120200000000000003");
    desk.drop("campaigns", gone);
    desk.patch("campaigns", put_away, json!({"status": "ARCHIVED"}));
    let plain = ids(&desk.all(&path, &[]).0);
    assert!(!plain.contains(&gone.to_string()) && !plain.contains(&put_away.to_string()));
    let named = format!(r#"[{{"field":"campaign.effective_status","operator":"IN","value":{ALL}}}]"#);
    let all = desk.all(&path, &[("filtering", &named), ("fields", "effective_status")]).0;
    let status = |id: &str| all.iter().find(|c| c["id"] == id).unwrap()["effective_status"].clone();
    assert_eq!((status(gone), status(put_away), all.len()), (json!("DELETED"), json!("ARCHIVED"), 4));
    assert_eq!(desk.all(&path, &[("effective_status", r#"["DELETED"]"#)]).0.len(), 1);
    assert_eq!(
        desk.get(&format!("/v26.0/{gone}"), &[("fields", "status")])["status"],
        "DELETED",
        "by its id it stays readable"
    );
    // What is below goes along, without a change of its own.
    let sets = desk.get(&format!("/v26.0/{gone}/adsets"), &[]);
    assert_eq!(sets, json!({"data": []}));
    let ledger: Value = {
        let (request, config) = (Request::default(), desk.config.clone());
        serde_json::from_str(&desk.app.ledger(&ask(&request, &config, json!({})), "ads").unwrap()).unwrap()
    };
    let deleted = ledger.as_array().unwrap().iter().filter(|row| row["deleted"] == true).count();
    assert_eq!(deleted, 4, "the ads of both its sets");
}

#[test]
fn a_pause_shows_below_without_a_new_updated_time() {
    let mut desk = full();
    let id = "120200000000000001";
    desk.patch("campaigns", id, json!({"status": "ACTIVE"}));
    let sets = |desk: &mut Desk| {
        desk.get(&format!("/v26.0/{id}/adsets"), &[("fields", "effective_status,status,updated_time")])["data"].clone()
    };
    for set in ids(sets(&mut desk).as_array().unwrap()) {
        desk.patch("ad_sets", &set, json!({"status": "ACTIVE"}));
    }
    let before = sets(&mut desk);
    desk.patch("campaigns", id, json!({"status": "PAUSED"}));
    let after = sets(&mut desk);
    assert_eq!(
        (&before[0]["effective_status"], &after[0]["effective_status"]),
        (&json!("ACTIVE"), &json!("CAMPAIGN_PAUSED"))
    );
    assert_eq!((&after[0]["status"], &after[0]["updated_time"]), (&json!("ACTIVE"), &before[0]["updated_time"]));
}

#[test]
fn insights_are_text_by_object_and_day() {
    let mut desk = full();
    let path = format!("/v26.0/{US}/insights");
    let range = ("time_range", r#"{"since":"2025-12-25","until":"2025-12-31"}"#);
    let daily = [
        ("level", "ad"),
        ("time_increment", "1"),
        range,
        ("fields", "ad_id,campaign_id,impressions,spend,cpc,ctr,actions,reach"),
        ("limit", "50"),
    ];
    let (rows, sizes) = desk.all(&path, &daily);
    assert_eq!((rows.len(), sizes), (16 * 7, vec![50, 50, 12]));
    let row = &rows[0];
    assert!(["impressions", "spend", "ctr"].iter().all(|name| row[name].is_string()), "{row}");
    assert_eq!((row["date_start"].as_str(), row["date_stop"].as_str()), (Some("2025-12-25"), Some("2025-12-25")));
    let sum =
        |rows: &[Value]| rows.iter().map(|r| r["impressions"].as_str().unwrap().parse::<i64>().unwrap()).sum::<i64>();
    let (whole, _) = desk.all(&path, &[("level", "campaign"), range, ("fields", "campaign_id,ad_id,impressions")]);
    assert_eq!((whole.len(), sum(&whole)), (4, sum(&rows)));
    assert_eq!(
        (whole[0]["date_start"].as_str(), whole[0]["date_stop"].as_str()),
        (Some("2025-12-25"), Some("2025-12-31"))
    );
    assert!(whole[0].get("ad_id").is_none(), "nothing below the level");
    let (account, _) = desk.all(&path, &[range]);
    assert_eq!((account.len(), sum(&account)), (1, sum(&rows)));
    for (params, code) in [
        (&[("fields", "nonsense")][..], (400, 100)),
        (&[("level", "planet")], (400, 100)),
        (&[("time_range", "{")], (400, 100)),
        (&[("time_range", r#"{"since":"2022-11-29","until":"2022-12-02"}"#)], (400, 3018)),
        (&[("time_range", r#"{"since":"2022-11-30","until":"2022-12-02"}"#)], (200, 0)),
    ] {
        assert_eq!(desk.code(&path, params), code, "{params:?}");
    }
    desk.set(json!({"most_rows_at_once": 100}));
    let (reply, body) = desk.send(request("GET", &path, &daily));
    assert_eq!((reply.status, &body["error"]["code"]), (500, &json!(1)));
    assert!(body["error"]["message"].as_str().unwrap().starts_with("Please reduce the amount of data"));
}

#[test]
fn insights_leave_deleted_ads_out_unless_they_are_named_or_asked() {
    let mut desk = full();
    let id = "120220000000000001";
    desk.drop("ads", id);
    let path = format!("/v26.0/{US}/insights");
    let base = [("level", "ad"), ("date_preset", "last_7d"), ("fields", "ad_id,impressions"), ("limit", "500")];
    let has = |rows: &[Value]| rows.iter().any(|row| row["ad_id"] == id);
    assert!(!has(&desk.all(&path, &base).0));
    let named = format!(r#"[{{"field":"ad.effective_status","operator":"IN","value":{ALL}}}]"#);
    assert!(has(&desk.all(&path, &[&base[..], &[("filtering", named.as_str())]].concat()).0));
    assert!(has(&desk
        .all(&format!("/v26.0/{id}/insights"), &[("date_preset", "last_7d"), ("fields", "ad_id,impressions")])
        .0));
    let campaign = desk.all(&path, &[("level", "campaign"), ("date_preset", "last_7d"), ("limit", "500")]).0;
    assert_eq!(campaign.len(), 4, "its figures stay those of the campaign");
}

#[test]
fn a_report_run_is_complete_only_when_it_says_so() {
    let mut desk = full();
    let path = format!("/v26.0/{US}/insights");
    let mut post = request("POST", &path, &[]);
    post.body =
        format!("level=ad&time_increment=1&date_preset=last_7d&fields={}", page::encode(r#"["ad_id","impressions"]"#))
            .into();
    let order = |desk: &mut Desk| desk.send(post.clone()).1["report_run_id"].as_str().unwrap().to_string();
    let id = order(&mut desk);
    let run = format!("/v26.0/{id}");
    let mut seen = Vec::new();
    for _ in 0..3 {
        assert_eq!(desk.code(&format!("{run}/insights"), &[]), (400, 2601), "not before it is complete");
        let node = desk.get(&run, &[]);
        seen.push((
            node["async_status"].as_str().unwrap().to_string(),
            node["async_percent_completion"].as_u64().unwrap(),
        ));
    }
    assert_eq!(seen, [("Job Not Started".into(), 0), ("Job Running".into(), 100), ("Job Completed".into(), 100)]);
    let (rows, sizes) = desk.all(&format!("{run}/insights"), &[("limit", "100")]);
    assert_eq!((rows.len(), sizes), (112, vec![100, 12]));
    desk.set(json!({"most_rows_of_a_run": 100, "run_polls": 0}));
    let large = order(&mut desk);
    assert_eq!(desk.get(&format!("/v26.0/{large}"), &[])["async_status"], "Job Failed");
    desk.set(json!({"most_rows_of_a_run": 0, "run_outcome": "Job Skipped"}));
    let skipped = order(&mut desk);
    assert_eq!(desk.get(&format!("/v26.0/{skipped}"), &[("fields", "async_status")])["async_status"], "Job Skipped");
}

#[test]
fn tokens_and_permissions_have_codes_of_their_own() {
    let mut desk = full();
    let path = format!("/v26.0/{US}/ads");
    let bare = |token: &str| Request {
        headers: Vec::new(),
        query: if token.is_empty() { String::new() } else { format!("access_token={token}") },
        ..request("GET", &path, &[])
    };
    let code = |desk: &mut Desk, request: Request| {
        let (reply, body) = desk.send(request);
        (reply.status, body["error"]["code"].as_u64().unwrap_or(0), reply.credential)
    };
    assert_eq!(code(&mut desk, bare("sim-token")), (200, 0, "valid"));
    assert_eq!(code(&mut desk, bare("")), (400, 2500, "none"));
    assert_eq!(code(&mut desk, bare("x")), (400, 190, "wrong"));
    assert_eq!(desk.code(&path, &[("appsecret_proof", "x")]), (400, 100));
    desk.set(json!({"require_proof": true}));
    assert_eq!(desk.code(&path, &[]), (400, 100));
    assert_eq!(desk.code(&path, &[("appsecret_proof", &proof_of("sim-token", "sim-secret"))]), (200, 0));
    desk.set(json!({"require_proof": false, "denied": ["ads", "ad_accounts.owner"]}));
    assert_eq!(desk.code(&path, &[]), (403, 10));
    assert_eq!(desk.code("/v26.0/me/adaccounts", &[("fields", "id,owner")]), (403, 200));
    desk.set(json!({"denied": [US]}));
    assert_eq!(desk.code(&path, &[]), (403, 200));
    assert_eq!(ids(&desk.all("/v26.0/me/adaccounts", &[]).0), [INDIA]);
    desk.app.token_ended = true;
    let (_, body) = desk.send(bare("sim-token"));
    assert_eq!((&body["error"]["code"], &body["error"]["error_subcode"]), (&json!(190), &json!(463)));
    for (path, want) in [
        ("/v26.0/999", (400, 100)),
        ("/v26.0/act_100000000000001/planets", (400, 2500)),
        ("/v10.0/me", (400, 2635)),
        ("/v99.0/me", (400, 2500)),
        ("/me", (200, 0)),
    ] {
        desk.app.token_ended = false;
        assert_eq!(desk.code(path, &[]), want, "{path}");
    }
}

#[test]
fn too_many_calls_is_never_a_429() {
    let mut desk = full();
    desk.over_rate = true;
    for (path, want) in [
        ("/v26.0/me", (400, 17)),
        ("/v26.0/act_100000000000001/ads", (400, 80004)),
        ("/v26.0/act_100000000000001/insights", (400, 80000)),
    ] {
        assert_eq!(desk.code(path, &[]), want, "{path}");
    }
    let usage = |reply: &Reply, name: &str| -> Value {
        let found = reply.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        found.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    };
    let (reply, _) = desk.send(request("GET", "/v26.0/act_100000000000001/insights", &[]));
    let case = &usage(&reply, "x-business-use-case-usage")["100000000000001"][0];
    assert_eq!((&case["type"], &case["estimated_time_to_regain_access"]), (&json!("ads_insights"), &json!(5)));
    assert!(usage(&reply, "x-fb-ads-insights-throttle")["acc_id_util_pct"].is_number());
    for (code, status) in [(4, 403), (17, 400), (32, 403), (613, 400), (80004, 400)] {
        desk.set(json!({"rate_error": code}));
        assert_eq!(desk.code("/v26.0/me", &[]), (status, code));
    }
    desk.over_rate = false;
    desk.set(json!({"call_quota": 1000, "rate_error": 0}));
    desk.calls = 899;
    let (reply, _) = desk.send(request("GET", "/v26.0/act_100000000000001/ads", &[]));
    assert_eq!((reply.status, usage(&reply, "x-app-usage")["call_count"].clone()), (200, json!(90)));
    assert_eq!(usage(&reply, "x-ad-account-usage")["acc_id_util_pct"], 90);
    desk.calls = 1000;
    assert_eq!(desk.code("/v26.0/act_100000000000001/ads", &[]), (400, 80004));
}

#[test]
fn too_large_a_page_is_too_much_data() {
    let mut desk = full();
    desk.set(json!({"most_per_page": 50}));
    let path = format!("/v26.0/{US}/ads");
    assert_eq!(desk.code(&path, &[("limit", "100")]), (500, 1));
    assert_eq!(desk.code(&path, &[("limit", "50")]), (200, 0));
    assert_eq!(desk.code(&path, &[("limit", "0")]), (400, 100));
}

#[test]
fn a_batch_answers_each_of_its_calls() {
    let mut desk = full();
    let calls = json!([
        {"method": "GET", "relative_url": format!("v26.0/{US}/ads?limit=1")},
        {"method": "GET", "relative_url": "v26.0/999"},
    ]);
    let mut post = request("POST", "/v26.0/", &[]);
    post.body = format!("batch={}", page::encode(&calls.to_string())).into();
    let (_, answers) = desk.send(post);
    assert_eq!((&answers[0]["code"], &answers[1]["code"]), (&json!(200), &json!(400)));
    let inner: Value = serde_json::from_str(answers[0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(inner["data"].as_array().unwrap().len(), 1);
}
