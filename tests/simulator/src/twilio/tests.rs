//! The quirks of the documentation, each asked of the app itself.

use base64::Engine;

use super::*;
use crate::app::Ask;

const BASE: &str = "/2010-04-01/Accounts";

struct Played {
    app: Twilio,
    config: Config,
    now_ms: i64,
    in_flight: u64,
    user: String,
    password: String,
}

fn played() -> Played {
    let app = Twilio::new(1);
    let config = Config::new(app.knobs().as_object().cloned().unwrap());
    let (user, password) = (ACCOUNT.to_string(), "sim-auth-token".to_string());
    Played { app, config, now_ms: 1_767_225_600_000, in_flight: 1, user, password }
}

impl Played {
    fn send(&mut self, path: &str) -> Reply {
        let coded = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", self.user, self.password));
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = Request {
            method: "GET".into(),
            path: path.into(),
            query: query.into(),
            headers: vec![("authorization".into(), format!("Basic {coded}"))],
            ..Request::default()
        };
        self.app.answer(&Call {
            request: &request,
            config: &self.config,
            is_over_rate: false,
            calls: 1,
            in_flight: self.in_flight,
            now_ms: self.now_ms,
        })
    }

    /// Status, error code, body.
    fn get(&mut self, path: &str) -> (u16, u64, Value) {
        let reply = self.send(path);
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        (reply.status, body["code"].as_u64().unwrap_or(0), body)
    }

    fn list(&mut self, list: &str, query: &str) -> Value {
        let (status, _, body) = self.get(&format!("{BASE}/{ACCOUNT}/{list}.json{query}"));
        assert_eq!(status, 200, "{body}");
        body
    }

    /// All records of a list, by following `next_page_uri`.
    fn drain(&mut self, list: &str, member: &str, query: &str) -> Vec<Value> {
        let mut page = self.list(list, query);
        let mut all = page[member].as_array().unwrap().clone();
        while let Some(next) = page["next_page_uri"].as_str().map(str::to_string) {
            assert!(next.starts_with("/2010-04-01/"), "{next}");
            page = self.get(&next).2;
            all.extend(page[member].as_array().unwrap().clone());
        }
        all
    }

    fn control(&mut self, method: &str, path: &str, body: Value) -> Value {
        let request = Request { method: method.into(), ..Request::default() };
        let mut ask = Ask {
            request: &request,
            config: &self.config,
            body: body.as_object().unwrap().clone(),
            lent: Vec::new(),
            seed: 1,
            now_ms: self.now_ms,
        };
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let answer = match (method, parts.as_slice()) {
            ("POST", ["seed"]) => self.app.seed(&mut ask),
            ("GET", [collection, "ledger"]) => self.app.ledger(&ask, collection),
            ("POST", [collection]) => self.app.create(&ask, collection),
            ("PATCH", [collection, id]) => self.app.change(&ask, collection, id),
            ("DELETE", [collection, id]) => self.app.delete(&ask, collection, id),
            _ => panic!("{method} {path}"),
        };
        serde_json::from_str(&answer.unwrap()).unwrap()
    }

    fn ids(&mut self, collection: &str) -> Vec<String> {
        let rows = self.control("GET", &format!("{collection}/ledger"), json!({}));
        rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_string()).collect()
    }

    fn configure(&mut self, changes: Value) {
        self.config = self.config.changed_by(&changes).unwrap();
    }
}

fn sids(records: &[Value]) -> Vec<String> {
    records.iter().map(|r| r["sid"].as_str().unwrap().to_string()).collect()
}

#[test]
fn every_list_is_read_whole_by_relative_links() {
    let mut t = played();
    t.control(
        "POST",
        "seed",
        json!({"addresses": 7, "calls": 60, "conferences": 8, "transcriptions": 9, "messages": 130}),
    );
    for (list, member, query) in [
        ("Addresses", "addresses", "?PageSize=2"),
        ("Calls", "calls", ""),
        ("Conferences", "conferences", "?PageSize=3"),
        ("Transcriptions", "transcriptions", "?PageSize=4"),
        ("Messages", "messages", "?PageSize=50"),
    ] {
        let mut read = sids(&t.drain(list, member, query));
        read.sort();
        assert_eq!(read, t.ids(member), "{list}");
    }
    assert_eq!(t.list("Calls", "")["calls"].as_array().unwrap().len(), 50, "50 unless asked otherwise");
    t.configure(json!({"page_size": 5}));
    assert_eq!(t.drain("Calls", "calls", "?PageSize=1000").len(), 60);
}

#[test]
fn a_page_says_where_it_is() {
    let mut t = played();
    t.control("POST", "seed", json!({"calls": 5}));
    let first = t.list("Calls", "?Status=completed&PageSize=2");
    assert_eq!(
        (&first["page"], &first["start"], &first["end"], &first["page_size"]),
        (&json!(0), &json!(0), &json!(1), &json!(2))
    );
    assert_eq!(first["previous_page_uri"], Value::Null);
    let next = first["next_page_uri"].as_str().unwrap().to_string();
    let last = first["calls"][1]["sid"].as_str().unwrap();
    assert_eq!(next, format!("{BASE}/{ACCOUNT}/Calls.json?Status=completed&PageSize=2&Page=1&PageToken=PA{last}"));
    let second = t.get(&next).2;
    assert_eq!((&second["page"], &second["start"], &second["end"]), (&json!(1), &json!(2), &json!(3)));
    let back = t.get(second["previous_page_uri"].as_str().unwrap()).2;
    assert_eq!(back["calls"], first["calls"]);
    for (query, code) in
        [("?PageSize=1001", 20007), ("?Page=2", 20001), ("?PageToken=PACAnone", 20001), ("?StartTime%3E=soon", 20001)]
    {
        let (status, found, _) = t.get(&format!("{BASE}/{ACCOUNT}/Calls.json{query}"));
        assert_eq!((status, found), (400, code), "{query}");
    }
}

#[test]
fn lists_go_from_the_newest_to_the_oldest_and_tokens_hold_while_they_change() {
    let mut t = played();
    t.control("POST", "seed", json!({"messages": 10}));
    let all = t.drain("Messages", "messages", "?PageSize=1000");
    let sent: Vec<i64> = all.iter().map(|m| time::parse(m["date_sent"].as_str().unwrap()).unwrap()).collect();
    assert!(sent.windows(2).all(|two| two[0] >= two[1]));
    let first = t.list("Messages", "?PageSize=4");
    let next = first["next_page_uri"].as_str().unwrap().to_string();
    t.control("POST", "messages", json!({}));
    let last = first["messages"][3]["sid"].as_str().unwrap().to_string();
    assert_eq!(sids(t.get(&next).2["messages"].as_array().unwrap()), sids(&all[4..8]));
    t.control("DELETE", &format!("messages/{last}"), json!({}));
    assert_eq!(
        sids(t.get(&next).2["messages"].as_array().unwrap()),
        sids(&all[4..8]),
        "the record of the token is gone"
    );
    assert_eq!(t.drain("Messages", "messages", "?PageSize=4").len(), 10);
}

#[test]
fn dates_filter_by_day_and_a_queued_call_has_no_start() {
    let mut t = played();
    for (at, status) in [("Fri, 18 Oct 2019 17:00:00 +0000", "completed"), ("Sat, 19 Oct 2019 00:00:00 +0000", "busy")]
    {
        t.control("POST", "calls", json!({"start_time": at, "status": status}));
    }
    t.control("POST", "calls", json!({"start_time": null, "end_time": null, "duration": null, "status": "queued"}));
    for (query, want) in [
        ("", 3),
        ("?StartTime%3E=2019-10-18", 2),
        ("?StartTime>=2019-10-19", 1),
        ("?StartTime%3C=2019-10-19", 1),
        ("?StartTime=2019-10-18", 1),
        ("?StartTime%3E=2019-10-18T17:00:01Z", 1),
        ("?StartTime%3E=2019-10-18&StartTime%3C=2019-10-19", 1),
        ("?Status=queued", 1),
        ("?StartTimeAfter=2019-10-19", 3),
    ] {
        assert_eq!(t.list("Calls", query)["calls"].as_array().unwrap().len(), want, "{query}");
    }
}

#[test]
fn a_change_of_a_conference_moves_it_into_a_later_window() {
    let mut t = played();
    let made = t.control("POST", "conferences", json!({"status": "in-progress"}));
    t.now_ms += 2 * 86_400_000;
    let path = format!("conferences/{}", made["sid"].as_str().unwrap());
    t.control("PATCH", &path, json!({"status": "completed"}));
    let found = t.list("Conferences", "?DateUpdated%3E=2026-01-03");
    assert_eq!(found["conferences"][0]["date_updated"], "Sat, 03 Jan 2026 00:00:00 +0000");
    assert_eq!(t.list("Conferences", "?DateCreated%3E=2026-01-02")["conferences"], json!([]));
}

#[test]
fn old_messages_leave_the_list() {
    let mut t = played();
    t.configure(json!({"message_retention_days": 400}));
    t.control("POST", "messages", json!({}));
    t.now_ms += 399 * 86_400_000;
    assert_eq!(t.list("Messages", "")["messages"].as_array().unwrap().len(), 1);
    t.now_ms += 2 * 86_400_000;
    assert_eq!(t.list("Messages", "")["messages"], json!([]));
}

#[test]
fn feedback_is_there_for_some_calls_until_it_is_withdrawn() {
    let mut t = played();
    t.control("POST", "seed", json!({"calls": 3, "call_feedback": 2}));
    let calls = t.ids("calls");
    let mut codes: Vec<(u16, u64)> = Vec::new();
    for call in &calls {
        let (status, code, body) = t.get(&format!("{BASE}/{ACCOUNT}/Calls/{call}/Feedback.json"));
        if status == 200 {
            assert_eq!(body["sid"], json!(call));
            assert!(body["quality_score"].is_u64() && body["issues"].is_array());
        }
        codes.push((status, code));
    }
    codes.sort_unstable();
    assert_eq!(codes, [(200, 0), (200, 0), (404, 20404)]);
    t.configure(json!({"feedback_is_withdrawn": true}));
    assert_eq!(t.get(&format!("{BASE}/{ACCOUNT}/Calls/{}/Feedback.json", calls[0])).0, 404);
}

#[test]
fn errors_have_the_apps_body() {
    let mut t = played();
    t.control("POST", "seed", json!({"calls": 1}));
    let here = format!("{BASE}/{ACCOUNT}");
    t.configure(json!({"denied": ["messages", "call_feedback"]}));
    let sid = t.ids("calls")[0].clone();
    for (path, status, code) in [
        (format!("{here}.json"), 200, 0),
        (format!("{here}/Messages.json"), 403, 20003),
        (format!("{here}/Calls/{sid}/Feedback.json"), 403, 20003),
        (format!("{here}/Calls/{sid}.json"), 200, 0),
        (format!("{here}/Calls/CAnone.json"), 404, 20404),
        (format!("{here}/Faxes.json"), 404, 20404),
        (format!("{here}/Calls"), 404, 20404),
        (format!("{BASE}/AC00000000000000000000000000000000/Calls.json"), 404, 20404),
    ] {
        let (found, found_code, body) = t.get(&path);
        assert_eq!((found, found_code), (status, code), "{path}");
        if found >= 400 {
            assert_eq!(body["status"], found);
            assert_eq!(body["more_info"], format!("https://www.twilio.com/docs/errors/{code}"));
        }
    }
    t.configure(json!({"account_status": "suspended"}));
    assert_eq!(t.get(&format!("{here}/Calls.json")).1, 20005);
    assert_eq!(t.get(&format!("{here}.json")).2["status"], "suspended");
}

#[test]
fn credentials_are_an_auth_token_or_an_api_key() {
    let mut t = played();
    let path = format!("{BASE}/{ACCOUNT}/Calls.json");
    (t.user, t.password) = ("SK0123456789abcdef0123456789abcdef".into(), "sim-key-secret".into());
    assert_eq!(t.send(&path).credential, "valid");
    t.password = "x".into();
    let refused = t.send(&path);
    assert_eq!((refused.status, refused.credential), (401, "wrong"));
    assert_eq!(t.get(&path).1, 20003);
}

#[test]
fn sub_accounts_have_trees_of_their_own() {
    let mut t = played();
    let sub = t.control("POST", "accounts", json!({}));
    let (sid, token) = (sub["sid"].as_str().unwrap().to_string(), sub["auth_token"].as_str().unwrap().to_string());
    t.control("POST", "calls", json!({"account_sid": sid}));
    t.control("POST", "calls", json!({}));
    assert_eq!(t.get(&format!("{BASE}.json")).2["accounts"].as_array().unwrap().len(), 2);
    assert_eq!(t.get(&format!("{BASE}/{sid}/Calls.json")).2["calls"].as_array().unwrap().len(), 1);
    (t.user, t.password) = (sid.clone(), token);
    assert_eq!(t.get(&format!("{BASE}/{sid}/Calls.json")).2["calls"].as_array().unwrap().len(), 1);
    assert_eq!(t.get(&format!("{BASE}/{ACCOUNT}/Calls.json")).1, 20003);
    assert_eq!(t.get(&format!("{BASE}.json")).2["accounts"].as_array().unwrap().len(), 1);
}

#[test]
fn too_many_at_a_time_are_429_with_or_without_a_wait() {
    let mut t = played();
    t.configure(json!({"concurrent_requests": 2}));
    t.in_flight = 2;
    let path = format!("{BASE}/{ACCOUNT}/Calls.json");
    assert_eq!(t.send(&path).status, 200);
    t.in_flight = 3;
    let header = |reply: &Reply, name: &str| reply.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let refused = t.send(&path);
    assert_eq!((refused.status, header(&refused, "Retry-After")), (429, None));
    assert_eq!(header(&refused, "Twilio-Concurrent-Requests"), Some("3".into()));
    assert_eq!(t.get(&path).1, 20429);
    t.configure(json!({"retry_after_seconds": 2}));
    assert_eq!(header(&t.send(&path), "Retry-After"), Some("2".into()));
}
