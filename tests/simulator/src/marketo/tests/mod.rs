//! The quirks of the documentation, each asked of the app itself.

mod bulk;
mod log;

use super::*;
use crate::config::Config;

struct Played {
    app: Marketo,
    config: Config,
    now_ms: i64,
    in_flight: u64,
    calls: u64,
    token: String,
}

fn played() -> Played {
    let app = Marketo::new(1);
    let config = Config::new(app.knobs().as_object().cloned().unwrap());
    let mut played = Played { app, config, now_ms: 1_767_225_600_000, in_flight: 1, calls: 1, token: String::new() };
    let query = "grant_type=client_credentials&client_id=sim-client&client_secret=sim-secret";
    let granted = played.send("GET", "/identity/oauth/token", query, "");
    played.token = serde_json::from_slice::<Value>(&granted.body).unwrap()["access_token"].as_str().unwrap().into();
    played
}

impl Played {
    fn send(&mut self, method: &str, path: &str, query: &str, body: &str) -> Reply {
        self.send_with(method, path, query, body, &[])
    }

    fn send_with(&mut self, method: &str, path: &str, query: &str, body: &str, more: &[(&str, &str)]) -> Reply {
        let mut headers = vec![("authorization".to_string(), format!("Bearer {}", self.token))];
        headers.extend(more.iter().map(|(n, v)| ((*n).to_string(), (*v).to_string())));
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
            calls: self.calls,
            in_flight: self.in_flight,
            now_ms: self.now_ms,
        };
        self.app.answer(&call)
    }

    fn get(&mut self, path: &str, query: &str) -> Value {
        let reply = self.send("GET", path, query, "");
        assert_eq!(reply.status, 200, "{path}");
        serde_json::from_slice(&reply.body).unwrap()
    }

    fn post(&mut self, path: &str, body: Value) -> Value {
        serde_json::from_slice(&self.send("POST", path, "", &body.to_string()).body).unwrap()
    }

    fn code(&mut self, path: &str, query: &str) -> String {
        code_of(&self.get(path, query))
    }

    fn configure(&mut self, changes: Value) {
        self.config = self.config.changed_by(&changes).unwrap();
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
        let answer = match self.app.control(&ask, &parts) {
            Some(answer) => answer,
            None => match (method, parts.as_slice()) {
                ("POST", ["seed"]) => self.app.seed(&mut ask),
                ("GET", [collection, "ledger"]) => self.app.ledger(&ask, collection),
                ("GET", [collection, "count"]) => self.app.count(&ask, collection),
                ("POST", [collection]) => self.app.create(&ask, collection),
                ("PATCH", [collection, id]) => self.app.change(&ask, collection, id),
                ("DELETE", [collection, id]) => self.app.delete(&ask, collection, id),
                _ => panic!("{method} {path}"),
            },
        };
        serde_json::from_str(&answer.unwrap()).unwrap()
    }

    fn seed(&mut self, sizes: Value) {
        self.control("POST", "seed", sizes);
    }

    /// All pages of a list with tokens.
    fn drain(&mut self, path: &str, query: &str) -> Vec<Value> {
        let (mut all, mut token) = (Vec::new(), None::<String>);
        loop {
            let query = token.as_ref().map_or(query.to_string(), |t| format!("{query}&nextPageToken={t}"));
            let page = self.get(path, &query);
            assert_eq!(page["success"], true, "{page}");
            all.extend(page["result"].as_array().cloned().unwrap_or_default());
            match page["nextPageToken"].as_str() {
                Some(next) if page["moreResult"] == true => token = Some(next.into()),
                _ => return all,
            }
        }
    }

    fn paging_token(&mut self, since: &str) -> String {
        let token = self.get("/rest/v1/activities/pagingtoken.json", &format!("sinceDatetime={since}"));
        token["nextPageToken"].as_str().unwrap().into()
    }

    /// Pages of the log from a date on: the records, and the sizes of the pages.
    fn log(&mut self, path: &str, query: &str, since: &str) -> (Vec<Value>, Vec<usize>) {
        let (mut all, mut sizes, mut token) = (Vec::new(), Vec::new(), self.paging_token(since));
        loop {
            let page = self.get(path, &format!("{query}&nextPageToken={token}"));
            assert_eq!(page["success"], true, "{page}");
            let found = page["result"].as_array().cloned().unwrap_or_default();
            sizes.push(found.len());
            all.extend(found);
            if page["moreResult"] == false {
                return (all, sizes);
            }
            token = page["nextPageToken"].as_str().unwrap().into();
        }
    }

    fn export(&mut self, what: &str, body: Value) -> (String, Value) {
        let made = self.post(&format!("/bulk/v1/{what}/export/create.json"), body);
        assert_eq!(made["success"], true, "{made}");
        let id = made["result"][0]["exportId"].as_str().unwrap().to_string();
        self.post(&format!("/bulk/v1/{what}/export/{id}/enqueue.json"), json!({}));
        self.now_ms += 1000;
        let status = self.get(&format!("/bulk/v1/{what}/export/{id}/status.json"), "")["result"][0].clone();
        (id, status)
    }

    fn file(&mut self, what: &str, id: &str) -> String {
        let reply = self.send("GET", &format!("/bulk/v1/{what}/export/{id}/file.json"), "", "");
        assert_eq!(reply.status, 200);
        String::from_utf8(reply.body).unwrap()
    }
}

fn code_of(body: &Value) -> String {
    body["errors"][0]["code"].as_str().unwrap_or("none").into()
}

#[test]
fn the_same_token_is_handed_out_until_it_ends() {
    let mut m = played();
    let query = "grant_type=client_credentials&client_id=sim-client&client_secret=sim-secret";
    m.now_ms += 600_000;
    let again = m.get("/identity/oauth/token", query);
    assert_eq!((again["access_token"].as_str(), again["expires_in"].as_i64()), (Some(m.token.as_str()), Some(3000)));
    assert_eq!(m.get("/rest/v1/activities/types.json", "")["success"], true);
    m.now_ms += 3_000_000;
    assert_eq!(m.code("/rest/v1/activities/types.json", ""), "602");
    let fresh = m.get("/identity/oauth/token", query)["access_token"].as_str().unwrap().to_string();
    assert_ne!(fresh, m.token);
    assert_eq!(m.code("/rest/v1/activities/types.json", ""), "602");
    m.token = "nonsense".into();
    assert_eq!(m.code("/rest/v1/activities/types.json", ""), "601");
    for (change, status, error) in [
        ("client_id=x&client_secret=sim-secret&grant_type=client_credentials", 401, "unauthorized"),
        ("client_id=sim-client&client_secret=x&grant_type=client_credentials", 401, "invalid_client"),
        ("client_id=sim-client&client_secret=sim-secret&grant_type=password", 400, "unsupported_grant_type"),
    ] {
        let reply = m.send("GET", "/identity/oauth/token", change, "");
        assert_eq!(reply.status, status, "{change}");
        assert_eq!(serde_json::from_slice::<Value>(&reply.body).unwrap()["error"], error);
    }
    m.token = fresh;
    m.control("DELETE", "tokens", json!({}));
    assert_eq!(m.code("/rest/v1/activities/types.json", ""), "602");
}

#[test]
fn limits_are_errors_in_good_replies() {
    let mut m = played();
    m.configure(json!({"calls_per_20_seconds": 2}));
    let codes: Vec<String> = (0..3).map(|_| m.code("/rest/v1/activities/types.json", "")).collect();
    assert_eq!(codes, ["none", "none", "606"]);
    m.now_ms += 20_000;
    assert_eq!(m.code("/rest/v1/activities/types.json", ""), "none");
    m.configure(json!({"calls_per_20_seconds": 0, "daily_quota": 5, "concurrent_calls": 10}));
    m.calls = 6;
    assert_eq!(m.code("/rest/v1/activities/types.json", ""), "607");
    (m.calls, m.in_flight) = (5, 11);
    assert_eq!(m.code("/rest/v1/activities/types.json", ""), "615");
    m.in_flight = 10;
    m.configure(json!({"denied": ["lead_activity_types"]}));
    assert_eq!(m.code("/rest/v1/activities/types.json", ""), "603");
    assert_eq!(m.code("/rest/v1/lists.json", ""), "none");
    assert_eq!(m.code("/rest/v1/nonsense.json", ""), "610");
    assert_eq!(code_of(&m.post("/rest/v1/lists.json", json!({}))), "605");
    assert_eq!(m.send("GET", "/rest/v1/leads.json", &"x".repeat(8200), "").status, 414);
}

#[test]
fn leads_are_found_by_filter_and_paged_by_token() {
    let mut m = played();
    m.seed(json!({"leads": 700, "lists": 2}));
    let ids = |from: u64, to: u64| (from..=to).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let found =
        m.drain("/rest/v1/leads.json", &format!("filterType=id&filterValues={}&batchSize=100", ids(1001, 1250)));
    assert_eq!(found.len(), 250);
    let mut names: Vec<&String> = found[0].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["createdAt", "email", "firstName", "id", "lastName", "updatedAt"]);
    let chosen = m.get("/rest/v1/leads.json", "filterType=id&filterValues=1001&fields=email,middleName");
    assert_eq!(chosen["result"][0]["middleName"], Value::Null);
    assert!(chosen["result"][0].as_object().unwrap().contains_key("middleName"));
    let one = m.get("/rest/v1/lead/1001.json", "fields=email,middleName");
    assert!(!one["result"][0].as_object().unwrap().contains_key("middleName"));
    for (query, want) in [
        ("filterType=id".to_string(), "1002"),
        ("filterType=createdAt&filterValues=2024-01-01".into(), "1011"),
        ("filterType=id&filterValues=x".into(), "1001"),
        ("filterType=id&filterValues=1001&fields=shoeSize".into(), "1006"),
        (format!("filterType=id&filterValues={}", ids(1001, 1301)), "1003"),
        ("filterType=id&filterValues=1001&nextPageToken=junk".into(), "1003"),
        ("filterType=email&filterValues=nobody@x.example".into(), "none"),
    ] {
        assert_eq!(m.code("/rest/v1/leads.json", &query), want, "{query}");
    }
    assert_eq!(m.code("/rest/v1/lead/7.json", ""), "1004");
    assert_eq!(m.drain("/rest/v1/lists/1001/leads.json", "batchSize=50").len(), 234);
    assert_eq!(m.code("/rest/v1/list/9/leads.json", ""), "1013");
    let long = m.send("POST", "/rest/v1/leads.json", "", "_method=GET&filterType=id&filterValues=1001%2C1002");
    assert_eq!(serde_json::from_slice::<Value>(&long.body).unwrap()["result"].as_array().unwrap().len(), 2);
}

#[test]
fn too_many_matches_are_refused() {
    let mut m = played();
    m.control("POST", "fields/colour", json!({"dataType": "string"}));
    for _ in 0..1001 {
        m.control("POST", "leads", json!({"colour": "red"}));
    }
    assert_eq!(m.code("/rest/v1/leads.json", "filterType=colour&filterValues=red"), "1003");
}

#[test]
fn lists_and_campaigns_are_paged_and_plainly_dated() {
    let mut m = played();
    m.seed(json!({"lists": 7, "campaigns": 8}));
    assert_eq!(m.drain("/rest/v1/lists.json", "batchSize=3").len(), 7);
    let first = m.get("/rest/v1/lists.json", "batchSize=3");
    assert_eq!((first["moreResult"].as_bool(), first["result"].as_array().unwrap().len()), (Some(true), 3));
    let last = m.get("/rest/v1/lists.json", "");
    assert!(last.get("nextPageToken").is_none() && last.get("moreResult").is_none());
    assert!(last["result"][0]["createdAt"].as_str().unwrap().ends_with('Z'));
    assert_eq!(m.drain("/rest/v1/campaigns.json", "name=Campaign 2,Campaign 4").len(), 2);
    assert_eq!(m.drain("/rest/v1/campaigns.json", "isTriggerable=true").len(), 4);
    assert_eq!(m.get("/rest/v1/lists/1003.json", "")["result"][0]["name"], "List 3");
    m.control("DELETE", "lists/1003", json!({}));
    assert_eq!(m.drain("/rest/v1/lists.json", "").len(), 6);
    m.configure(json!({"page_size": 2}));
    assert_eq!(m.drain("/rest/v1/lists.json", "").len(), 6);
}

#[test]
fn assets_are_read_by_offset_and_an_empty_search_is_a_warning() {
    let mut m = played();
    let none = m.get("/rest/asset/v1/emails.json", "");
    assert_eq!(none["warnings"][0], "No assets found for the given search criteria.");
    assert!(none["success"] == true && none.get("result").is_none());
    m.seed(json!({"email": 45, "programs": 6, "landing_pages": 3, "segmentation": 3, "segments": 12}));
    let size = |m: &mut Played, query: &str| {
        m.get("/rest/asset/v1/emails.json", query)["result"].as_array().map_or(0, Vec::len)
    };
    for (query, want) in [
        ("", 20),
        ("maxReturn=200", 45),
        ("maxReturn=20&offset=40", 5),
        ("offset=45", 0),
        ("maxReturn=200&status=draft", 11),
    ] {
        assert_eq!(size(&mut m, query), want, "{query}");
    }
    m.configure(json!({"page_size": 2}));
    assert_eq!(size(&mut m, "maxReturn=200"), 45, "only the last page of an offset list is short");
    assert_eq!(m.code("/rest/asset/v1/emails.json", "maxReturn=201"), "701");
    assert_eq!(m.code("/rest/asset/v1/emails.json", "earliestUpdatedAt=soon"), "704");
    assert_eq!(
        m.code(
            "/rest/asset/v1/programs.json",
            "earliestUpdatedAt=2025-02-01T00:00:00Z&latestUpdatedAt=2025-01-01T00:00:00Z"
        ),
        "709"
    );
    let email = m.get("/rest/asset/v1/email/1001.json", "")["result"][0].clone();
    assert_eq!(email["subject"]["type"], "Text");
    assert!(email["updatedAt"].as_str().unwrap().ends_with("Z+0000"));
    let page = m.get("/rest/asset/v1/landingPages.json", "earliestUpdatedAt=2099-01-01T00:00:00Z");
    assert_eq!(page["result"].as_array().unwrap().len(), 3, "landing pages have no filter by date");
    assert!(page["result"][0].get("URL").is_some());
    let programs = m.get("/rest/asset/v1/programs.json", "");
    assert!(programs["result"][0].get("tags").is_none());
    assert!(m.get("/rest/asset/v1/program/1001.json", "")["result"][0]["tags"].is_array());
    let segmentations =
        m.get("/rest/asset/v1/segmentation.json", "maxReturn=1&offset=1")["result"].as_array().unwrap().len();
    assert_eq!(segmentations, 3, "this list has no pages");
    let segments = m.get("/rest/asset/v1/segmentation/1002/segments.json", "maxReturn=3");
    assert_eq!(segments["result"].as_array().unwrap().len(), 3);
    assert!(segments["result"].as_array().unwrap().iter().all(|s| s["segmentationId"] == 1002));
    assert_eq!(m.code("/rest/asset/v1/segmentation/9/segments.json", ""), "702");
}

#[test]
fn assets_changed_since_are_found_by_date() {
    let mut m = played();
    m.seed(json!({"programs": 30}));
    m.now_ms += 86_400_000;
    m.token = m.control("POST", "token", json!({}))["access_token"].as_str().unwrap().into();
    m.control("PATCH", "programs/1005", json!({"name": "Renamed"}));
    let found = m.get(
        "/rest/asset/v1/programs.json",
        "maxReturn=200&earliestUpdatedAt=2026-01-01T12:00:00-00:00&latestUpdatedAt=2026-02-01T00:00:00Z",
    );
    let names: Vec<&Value> = found["result"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
    assert_eq!(names, [&json!("Renamed")]);
}
