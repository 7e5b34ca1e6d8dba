//! The quirks of the documentation, each asked of the app itself.

use std::io::Read;

use super::*;
use crate::app::Ask;

struct Played {
    app: Sendgrid,
    config: Config,
    now_ms: i64,
    key: String,
    host: String,
}

fn played() -> Played {
    let app = Sendgrid::new(1);
    let config = Config::new(app.knobs().as_object().cloned().unwrap());
    Played { app, config, now_ms: 1_767_225_600_000, key: "SG.sim-key".into(), host: "127.0.0.1:9".into() }
}

impl Played {
    fn send(&mut self, method: &str, path: &str, body: &str) -> Reply {
        let path = path.strip_prefix("http://127.0.0.1:9").unwrap_or(path);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let headers =
            vec![("host".into(), self.host.clone()), ("authorization".into(), format!("Bearer {}", self.key))];
        let request = Request {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            headers,
            body: body.as_bytes().to_vec(),
            ..Request::default()
        };
        let call = Call {
            request: &request,
            config: &self.config,
            is_over_rate: false,
            calls: 1,
            in_flight: 1,
            now_ms: self.now_ms,
        };
        self.app.answer(&call)
    }

    fn get(&mut self, path: &str) -> (u16, Value) {
        let reply = self.send("GET", path, "");
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }

    fn good(&mut self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        body
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
        let parts: Vec<&str> = path.split('/').collect();
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

    fn configure(&mut self, changes: Value) {
        self.config = self.config.changed_by(&changes).unwrap();
    }
}

fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.headers.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|r| r["id"].as_str().map_or(r["id"].to_string(), str::to_string)).collect()
}

#[test]
fn lists_and_single_sends_are_paged_by_links() {
    let mut s = played();
    s.control("POST", "seed", json!({"mc_lists": 7, "mc_single_sends": 5}));
    for (path, size, collection) in [("lists", 3, "mc_lists"), ("singlesends", 2, "mc_single_sends")] {
        let mut body = s.good(&format!("/v3/marketing/{path}?page_size={size}"));
        let mut read = ids(&body["result"]);
        while let Some(next) = body["_metadata"]["next"].as_str().map(str::to_string) {
            assert!(next.starts_with("http://127.0.0.1:9/v3/marketing/"), "{next}");
            assert_eq!(ids(&body["result"]).len(), size);
            body = s.good(&next);
            read.extend(ids(&body["result"]));
        }
        read.sort();
        assert_eq!(read, ids(&s.control("GET", &format!("{collection}/ledger"), json!({}))));
    }
    assert!(s.good("/v3/marketing/lists")["_metadata"].get("next").is_none());
    let first = s.good("/v3/marketing/lists?page_size=3");
    assert_eq!(first["_metadata"]["count"], 7);
    let id = ids(&first["result"])[0].clone();
    assert_eq!(first["result"][0]["_metadata"]["self"], format!("http://127.0.0.1:9/v3/marketing/lists/{id}"));
    let next = first["_metadata"]["next"].as_str().unwrap().to_string();
    s.control("DELETE", &format!("mc_lists/{id}"), json!({}));
    assert_eq!(ids(&s.good(&next)["result"]).len(), 3, "what follows a token does not move");
    for path in ["lists?page_size=1001", "lists?page_size=x", "lists?page_token=%21", "singlesends?page_size=101"] {
        assert_eq!(s.get(&format!("/v3/marketing/{path}")).0, 400, "{path}");
    }
}

#[test]
fn the_contact_list_is_a_sample_and_the_rest_needs_an_export() {
    let mut s = played();
    s.control("POST", "seed", json!({"mc_lists": 2, "mc_contacts": 120}));
    let sample = s.good("/v3/marketing/contacts");
    let emails: Vec<&str> = sample["result"].as_array().unwrap().iter().map(|c| c["email"].as_str().unwrap()).collect();
    assert_eq!((emails.len(), sample["contact_count"].as_u64()), (50, Some(120)));
    assert!(emails.windows(2).all(|two| two[0] <= two[1]));
    assert!(sample["_metadata"].get("next").is_none());

    s.configure(json!({"export_rows_per_file": 50}));
    let started = s.send("POST", "/v3/marketing/contacts/exports", "{}");
    assert_eq!(started.status, 202);
    let id = serde_json::from_slice::<Value>(&started.body).unwrap()["id"].as_str().unwrap().to_string();
    let path = format!("/v3/marketing/contacts/exports/{id}");
    assert_eq!(s.good(&path)["status"], "pending");
    s.now_ms += 300;
    let ready = s.good(&path);
    assert_eq!((ready["status"].as_str(), ready["urls"].as_array().map(Vec::len)), (Some("ready"), Some(3)));
    s.key = String::new();
    let mut rows = 0;
    for url in ready["urls"].as_array().unwrap() {
        let reply = s.send("GET", url.as_str().unwrap(), "");
        assert_eq!((reply.status, header(&reply, "Content-Encoding")), (200, ""));
        let mut text = String::new();
        flate2::read::GzDecoder::new(reply.body.as_slice()).read_to_string(&mut text).unwrap();
        assert!(text.starts_with("EMAIL,"));
        rows += text.lines().count() - 1;
    }
    assert_eq!(rows, 120);
    s.now_ms += 73 * 3_600_000;
    assert_eq!(s.send("GET", ready["urls"][0].as_str().unwrap(), "").status, 403);
}

#[test]
fn an_export_may_be_of_some_lists_and_may_fail() {
    let mut s = played();
    s.control("POST", "seed", json!({"mc_lists": 2, "mc_contacts": 9}));
    let list = ids(&s.good("/v3/marketing/lists")["result"])[0].clone();
    let body = json!({"list_ids": [list], "file_type": "json"}).to_string();
    assert_eq!(s.send("POST", "/v3/marketing/contacts/exports", &body).status, 202);
    s.configure(json!({"export_failure": "too busy"}));
    assert_eq!(s.send("POST", "/v3/marketing/contacts/exports", "").status, 202);
    s.now_ms += 1000;
    let all = s.good("/v3/marketing/contacts/exports");
    assert_eq!(
        (&all["result"][0]["status"], &all["result"][0]["export_type"]),
        (&json!("ready"), &json!("list_export"))
    );
    assert_eq!((&all["result"][1]["status"], &all["result"][1]["message"]), (&json!("failure"), &json!("too busy")));
    for body in ["{", "{\"file_type\": \"xml\"}", "{\"list_ids\": [\"none\"]}"] {
        assert_eq!(s.send("POST", "/v3/marketing/contacts/exports", body).status, 400, "{body}");
    }
    assert_eq!(s.get("/v3/marketing/contacts/exports/none").0, 404);
}

#[test]
fn recipients_end_with_a_404_and_a_page_may_be_empty_before() {
    let mut s = played();
    assert_eq!(s.good("/v3/contactdb/recipients")["recipients"], json!([]));
    s.control("POST", "seed", json!({"recipients": 5}));
    let size = |s: &mut Played, page: u32| match s.get(&format!("/v3/contactdb/recipients?page={page}&page_size=2")) {
        (200, body) => body["recipients"].as_array().unwrap().len() as i64,
        (status, _) => -i64::from(status),
    };
    assert_eq!([1, 2, 3, 4].map(|page| size(&mut s, page)), [2, 2, 1, -404]);
    let second = s.good("/v3/contactdb/recipients?page=2&page_size=2");
    for id in ids(&second["recipients"]) {
        s.control("DELETE", &format!("recipients/{id}"), json!({}));
    }
    assert_eq!([1, 2, 3, 4].map(|page| size(&mut s, page)), [2, 0, 1, -404]);
    for query in ["page=0", "page=x", "page_size=0", "page_size=1001"] {
        let (status, body) = s.get(&format!("/v3/contactdb/recipients?{query}"));
        assert_eq!((status, body["errors"][0]["field"].as_str()), (400, query.split('=').next()), "{query}");
    }
}

#[test]
fn campaigns_are_read_by_offset_ten_at_a_time() {
    let mut s = played();
    s.control("POST", "seed", json!({"campaigns": 13, "lists": 3, "segments": 4}));
    let first = s.good("/v3/campaigns");
    assert_eq!((ids(&first["result"]).len(), first["result"][0]["id"].as_u64()), (10, Some(1013)));
    assert_eq!(ids(&s.good("/v3/campaigns?offset=10&limit=100")["result"]).len(), 3);
    assert_eq!(s.good("/v3/campaigns?offset=13")["result"], json!([]));
    s.configure(json!({"page_size": 2}));
    assert_eq!(ids(&s.good("/v3/campaigns?limit=5")["result"]).len(), 5, "only the last page is short");
    assert_eq!(ids(&s.good("/v3/contactdb/lists")["lists"]).len(), 3);
    assert_eq!(s.good("/v3/contactdb/segments")["segments"][0]["conditions"][0]["operator"], "eq");
}

#[test]
fn refusals_are_lists_of_errors() {
    let mut s = played();
    s.configure(json!({"denied": ["mc_lists"]}));
    let (status, body) = s.get("/v3/marketing/lists");
    assert_eq!((status, body), (403, json!({"errors": [{"field": null, "message": "access forbidden"}]})));
    s.configure(json!({"legacy": false}));
    assert_eq!(s.get("/v3/contactdb/lists").0, 403);
    s.configure(json!({"legacy_status": 404}));
    assert_eq!(s.get("/v3/campaigns").0, 404);
    assert_eq!(s.get("/v3/marketing/singlesends").0, 200);
    assert_eq!(s.get("/v3/nonsense").0, 404);
    assert!(s.good("/v3/scopes")["scopes"].as_array().unwrap().contains(&json!("marketing.read")));
    s.key = "SG.other".into();
    let refused = s.send("GET", "/v3/scopes", "");
    assert_eq!((refused.status, refused.credential), (401, "wrong"));
}

#[test]
fn a_key_is_of_one_region() {
    let mut s = played();
    for (region, host, status) in [
        ("global", "api.sendgrid.com", 200),
        ("global", "api.eu.sendgrid.com", 401),
        ("eu", "api.sendgrid.com", 401),
        ("eu", "api.eu.sendgrid.com", 200),
        ("eu", "127.0.0.1:9", 200),
    ] {
        s.configure(json!({"region": region}));
        s.host = host.into();
        assert_eq!(s.get("/v3/scopes").0, status, "{region} {host}");
    }
}

#[test]
fn every_reply_tells_the_rate_of_its_endpoint() {
    let mut s = played();
    s.configure(json!({"rate_limit": 2}));
    let told = |reply: &Reply| (reply.status, header(reply, "X-RateLimit-Remaining").to_string());
    let reply = s.send("GET", "/v3/marketing/lists", "");
    assert_eq!(told(&reply), (200, "1".into()));
    assert_eq!((header(&reply, "X-RateLimit-Limit"), header(&reply, "X-RateLimit-Reset")), ("2", "1767225660"));
    assert_eq!(told(&s.send("GET", "/v3/marketing/lists", "")), (200, "0".into()));
    assert_eq!(told(&s.send("GET", "/v3/marketing/lists", "")), (429, "0".into()));
    assert_eq!(told(&s.send("GET", "/v3/campaigns", "")), (200, "1".into()));
    s.now_ms += 60_000;
    assert_eq!(s.get("/v3/marketing/lists").0, 200);
}
