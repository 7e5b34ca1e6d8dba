//! Each habit of the API, by asking the app itself.

use super::xml::Element;
use super::*;
use crate::config::Config;
use crate::rest::When;

const NOW_MS: i64 = 1_767_225_600_000;

struct Desk {
    app: MarketingCloud,
    config: Config,
    over_rate: bool,
}

fn desk(sizes: Value) -> Desk {
    let app = MarketingCloud::new(1);
    let config = Config::new(app.knobs().as_object().unwrap().clone());
    let mut desk = Desk { app, config, over_rate: false };
    let request = Request::default();
    let body = sizes.as_object().unwrap().clone();
    let config = desk.config.clone();
    let mut ask = Ask { request: &request, config: &config, body, lent: Vec::new(), seed: 1, now_ms: NOW_MS };
    desk.app.seed(&mut ask).unwrap();
    desk
}

const HEADERS: [(&str, &str); 3] =
    [("authorization", "Bearer sim-token"), ("host", "127.0.0.1:9"), ("soapaction", "\"Retrieve\"")];

impl Desk {
    fn send(&mut self, method: &str, path: &str, query: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let request = Request {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            headers: headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
            body: body.into(),
            ..Request::default()
        };
        let call = Call {
            request: &request,
            config: &self.config,
            is_over_rate: self.over_rate,
            calls: 1,
            in_flight: 1,
            now_ms: NOW_MS,
        };
        self.app.answer(&call)
    }

    fn get(&mut self, path: &str, query: &str) -> (u16, Value) {
        let reply = self.send("GET", path, query, &HEADERS, "");
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }

    fn soap(&mut self, body: &str) -> Element {
        let envelope = envelope("sim-token", body);
        let reply = self.send("POST", "/Service.asmx", "", &HEADERS[1..], &envelope);
        let root = xml::parse(std::str::from_utf8(&reply.body).unwrap()).unwrap();
        root.child("Body").unwrap().children[0].clone()
    }

    fn retrieve(&mut self, inside: &str) -> Element {
        self.soap(&format!(
            "<RetrieveRequestMsg xmlns=\"http://exacttarget.com/wsdl/partnerAPI\"><RetrieveRequest>{inside}</RetrieveRequest></RetrieveRequestMsg>"
        ))
    }

    fn set(&mut self, changes: Value) {
        self.config = self.config.changed_by(&changes).unwrap();
    }
}

fn envelope(token: &str, body: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\
         <s:Header><fueloauth xmlns=\"http://exacttarget.com\">{token}</fueloauth></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    )
}

const FIELDS: &str = "<ObjectType>List</ObjectType><Properties>ID</Properties><Properties>ListName</Properties>\
                      <Properties>ModifiedDate</Properties><Properties>Client.ID</Properties>";

fn simple(tag: &str, property: &str, operator: &str, value: &str) -> String {
    let kind = if property.ends_with("Date") { "DateValue" } else { "Value" };
    format!(
        "<{tag} xsi:type=\"SimpleFilterPart\"><Property>{property}</Property><SimpleOperator>{operator}</SimpleOperator>\
         <{kind}>{value}</{kind}></{tag}>"
    )
}

#[test]
fn a_retrieve_goes_on_until_all_is_told() {
    let mut desk = desk(json!({"lists": 12}));
    let options = "<Options><BatchSize>5</BatchSize></Options>";
    let mut answer = desk.retrieve(&format!("{options}{FIELDS}"));
    let mut ids: Vec<String> = Vec::new();
    let mut sizes = Vec::new();
    loop {
        sizes.push(answer.all("Results").count());
        ids.extend(answer.all("Results").map(|r| r.text_of("ID").to_string()));
        if answer.text_of("OverallStatus") == "OK" {
            break;
        }
        assert_eq!(answer.text_of("OverallStatus"), "MoreDataAvailable");
        let id = answer.text_of("RequestID").to_string();
        // Clients send the rest of the request along: it does not matter.
        answer = desk.retrieve(&format!("{FIELDS}<ContinueRequest>{id}</ContinueRequest>"));
    }
    assert_eq!(sizes, [5, 5, 2]);
    ids.dedup();
    assert_eq!(ids.len(), 12);
    let over = desk.retrieve(&format!("{FIELDS}<ContinueRequest>x</ContinueRequest>"));
    assert!(over.text_of("OverallStatus").starts_with("Error:"));
    desk.set(json!({"page_size": 4}));
    assert_eq!(desk.retrieve(FIELDS).all("Results").count(), 4);
}

#[test]
fn results_have_the_order_of_the_schema_and_central_time() {
    let mut desk = desk(json!({"lists": 1}));
    let answer = desk.retrieve(FIELDS);
    let result = answer.child("Results").unwrap();
    let names: Vec<&str> = result.children.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["Client", "PartnerKey", "ModifiedDate", "ID", "ObjectID", "ListName"]);
    assert_eq!(
        (result.attribute("type"), result.child("PartnerKey").unwrap().attribute("nil")),
        (Some("List"), Some("true"))
    );
    assert_eq!(result.text_of("ModifiedDate"), "2025-12-31T18:00:00", "midnight in UTC, without saying so");
    assert_eq!(result.child("Client").unwrap().text_of("ID"), "7000001");
}

#[test]
fn filters_are_on_central_time_and_need_their_type() {
    let mut desk = desk(json!({"lists": 3}));
    for (id, at_ms) in [(1, NOW_MS), (2, NOW_MS + 1000), (3, NOW_MS + 2000)] {
        let fields = json!({"ID": id, "ListName": format!("Own {id}")});
        let fields = fields.as_object().unwrap().clone();
        let fields = desk.app.draft("lists", id, at_ms, &fields).unwrap();
        desk.app.book.add("lists", fields, When::now(at_ms)).unwrap();
    }
    let mut ids = |filter: &str| -> Vec<String> {
        let answer = desk.retrieve(&format!("{FIELDS}{filter}"));
        assert_eq!(answer.text_of("OverallStatus"), "OK", "{filter}");
        answer.all("Results").map(|r| r.text_of("ID").to_string()).collect()
    };
    let date = |operator: &str, value: &str| simple("Filter", "ModifiedDate", operator, value);
    assert_eq!(ids(&date("greaterThan", "2025-12-31T18:00:00")), ["2", "3"]);
    assert_eq!(ids(&date("greaterThan", "2026-01-01T00:00:00Z")), ["2", "3"], "an offset counts");
    assert_eq!(ids(&date("greaterThan", "2025-12-31T18:00:00.5-06:00")), ["2", "3"]);
    assert!(ids(&date("greaterThanOrEqual", "2026-01-01T00:00:00")).is_empty(), "Central, not UTC");
    let window = format!(
        "<Filter xsi:type=\"ComplexFilterPart\">{}<LogicalOperator>AND</LogicalOperator>{}<AdditionalOperands>{}</AdditionalOperands></Filter>",
        simple("LeftOperand", "ModifiedDate", "greaterThanOrEqual", "2025-12-31T18:00:00"),
        simple("RightOperand", "ModifiedDate", "lessThanOrEqual", "2025-12-31T18:00:01"),
        simple("Operand", "ListName", "like", "own%"),
    );
    assert_eq!(ids(&window), ["1", "2"]);
    assert_eq!(ids(&simple("Filter", "ID", "lessThan", "10")), ["1", "2", "3"]);
    for (wrong, text) in [
        (simple("Filter", "ID", "equals", "1").replace(" xsi:type=\"SimpleFilterPart\"", ""), "filter type"),
        (simple("Filter", "Nonsense", "equals", "1"), "Filter Property(s) Nonsense"),
        (simple("Filter", "ModifiedDate", "greaterThan", "yesterday"), "not valid"),
        (simple("Filter", "ID", "roughly", "1"), "operator"),
    ] {
        let status = desk.retrieve(&format!("{FIELDS}{wrong}")).text_of("OverallStatus").to_string();
        assert!(status.starts_with("Error:") && status.contains(text), "{status}");
    }
}

#[test]
fn describe_tells_what_can_be_retrieved_and_the_rest_is_refused() {
    let mut desk = desk(json!({"lists": 1}));
    let body = "<DefinitionRequestMsg xmlns=\"http://exacttarget.com/wsdl/partnerAPI\"><DescribeRequests>\
                <ObjectDefinitionRequest><ObjectType>List</ObjectType></ObjectDefinitionRequest></DescribeRequests></DefinitionRequestMsg>";
    let headers = [("soapaction", "Describe")];
    let reply = desk.send("POST", "/service.asmx", "", &headers, &envelope("sim-token", body));
    let root = xml::parse(std::str::from_utf8(&reply.body).unwrap()).unwrap();
    let answer = root.child("Body").unwrap().children[0].clone();
    let properties: Vec<(String, bool)> = answer
        .child("ObjectDefinition")
        .unwrap()
        .all("Properties")
        .map(|p| (p.text_of("Name").to_string(), p.text_of("IsRetrievable") == "true"))
        .collect();
    let ask = |name: &str| format!("<ObjectType>LIST</ObjectType><Properties>{name}</Properties>");
    for (name, can) in properties {
        let status = desk.retrieve(&ask(&name)).text_of("OverallStatus").to_string();
        assert_eq!(status == "OK", can, "{name}: {status}");
    }
    let status = desk.retrieve(&ask("Nonsense")).text_of("OverallStatus").to_string();
    assert_eq!(status, "Error: The Request Property(s) Nonsense do not match with the fields of List retrieve");
    desk.set(json!({"denied": ["lists"]}));
    assert_eq!(desk.retrieve(FIELDS).text_of("OverallStatus"), "Error: API Permission Failed");
}

#[test]
fn faults_come_with_a_500() {
    let mut desk = desk(json!({"lists": 1}));
    let good = format!("<RetrieveRequestMsg xmlns=\"http://exacttarget.com/wsdl/partnerAPI\"><RetrieveRequest>{FIELDS}</RetrieveRequest></RetrieveRequestMsg>");
    let ended = desk.app.tokens.mint("t", 0, NOW_MS);
    for (token, headers, body, text) in [
        ("x", &HEADERS[1..], good.as_str(), "Login Failed"),
        ("", &HEADERS[1..], &good, "Login Failed"),
        (&ended, &HEADERS[1..], &good, "Token Expired"),
        ("sim-token", &HEADERS[1..2], &good, "Unable to determine SOAP action"),
        ("sim-token", &HEADERS[1..], "<Retrieve/>", "no known namespace"),
        ("sim-token", &HEADERS[1..], "<broken", "not well formed"),
    ] {
        let reply = desk.send("POST", "/Service.asmx", "", headers, &envelope(token, body));
        let shown = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(reply.status == 500 && shown.contains(text) && shown.contains("faultstring"), "{shown}");
    }
    let newer = envelope("sim-token", &good)
        .replace("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope");
    let headers = [("content-type", "application/soap+xml; charset=utf-8; action=\"Retrieve\"")];
    let reply = desk.send("POST", "/Service.asmx", "", &headers, &newer);
    assert_eq!(reply.status, 200);
    assert!(String::from_utf8_lossy(&reply.body).contains("2003/05/soap-envelope"));
}

#[test]
fn tokens_are_granted_for_client_credentials_and_end() {
    let mut desk = desk(json!({}));
    let ask = |desk: &mut Desk, changes: Value| {
        let mut body =
            json!({"grant_type": "client_credentials", "client_id": "sim-client", "client_secret": "sim-secret"});
        for (name, value) in changes.as_object().unwrap() {
            body[name] = value.clone();
        }
        let reply = desk.send("POST", "/v2/token", "", &HEADERS[1..2], &body.to_string());
        (reply.status, serde_json::from_slice::<Value>(&reply.body).unwrap())
    };
    let (status, granted) = ask(&mut desk, json!({}));
    assert_eq!(
        (status, granted["expires_in"].as_i64(), granted["rest_instance_url"].as_str()),
        (200, Some(1079), Some("http://127.0.0.1:9/"))
    );
    for (changes, want) in [
        (json!({"client_id": "x"}), (401, "invalid_client")),
        (json!({"client_secret": "x"}), (401, "invalid_client")),
        (json!({"grant_type": "x"}), (400, "unsupported_grant_type")),
        (json!({"account_id": "1"}), (400, "invalid_request")),
    ] {
        let (status, body) = ask(&mut desk, changes);
        assert_eq!((status, body["error"].as_str().unwrap()), want);
    }
    assert_eq!(ask(&mut desk, json!({"account_id": 7_000_001})).0, 200);
    let bearer = format!("Bearer {}", granted["access_token"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(desk.send("GET", "//hub/v1/campaigns", "", &headers, "").status, 200, "as the vendor's SDK joins it");
    desk.app.tokens.expire_all();
    let reply = desk.send("GET", "/hub/v1/campaigns", "", &headers, "");
    assert_eq!((reply.status, reply.credential), (401, "expired"));
    assert!(String::from_utf8_lossy(&reply.body).contains("Not Authorized"));
}

#[test]
fn campaigns_and_assets_come_in_numbered_pages() {
    let mut desk = desk(json!({"campaigns": 120, "campaign_assets": 240}));
    let mut seen = Vec::new();
    for number in 1..=4 {
        let (_, page) = desk.get("/hub/v1/campaigns", &format!("%24page={number}&%24pageSize=100"));
        assert_eq!((page["count"].as_u64(), page["pageSize"].as_u64()), (Some(120), Some(50)), "no more than 50");
        seen.push(page["items"].as_array().unwrap().len());
    }
    assert_eq!(seen, [50, 50, 20, 0]);
    let (_, page) = desk.get("/hub/v1/campaigns", "");
    let first = &page["items"][0];
    assert!(first["id"].is_string() && !first["createdDate"].as_str().unwrap().contains('Z'));
    let (_, assets) = desk.get("/hub/v1/campaigns/3000/assets", "");
    assert_eq!((assets["count"].as_u64(), assets["items"][0]["campaignId"].as_str()), (Some(2), Some("3000")));
    assert_eq!(desk.get("/hub/v1/campaigns/1/assets", "").0, 404);
    assert_eq!(desk.get("/hub/v1/campaigns", "%24page=0").0, 400);
    desk.set(json!({"denied": ["campaigns"]}));
    assert_eq!(desk.get("/hub/v1/campaigns", "").0, 403);
    desk.over_rate = true;
    assert_eq!(desk.get("/hub/v1/campaigns", "").0, 429);
}

#[test]
fn journeys_are_newest_first_and_by_version() {
    let mut desk = desk(json!({"interactions": 6}));
    let (_, page) = desk.get("/interaction/v1/interactions", "extras=stats");
    let items = page["items"].as_array().unwrap().clone();
    let stamps: Vec<&str> = items.iter().map(|j| j["modifiedDate"].as_str().unwrap()).collect();
    let mut sorted = stamps.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    assert_eq!(stamps, sorted);
    assert!(items[0].get("stats").is_some() && items[0].get("goals").is_none());
    assert!(desk.get("/interaction/v1/interactions", "").1["items"][0]["goals"].is_array());

    let (id, definition) = (items[0]["id"].as_str().unwrap(), items[0]["definitionId"].as_str().unwrap());
    let next = json!({"id": "v2", "definitionId": definition, "key": items[0]["key"], "version": 2, "name": "Second"});
    let fields = desk.app.draft("interactions", 6, NOW_MS, next.as_object().unwrap()).unwrap();
    desk.app.book.add("interactions", fields, When::now(NOW_MS)).unwrap();
    assert_eq!(desk.get("/interaction/v1/interactions", "").1["count"], 6);
    assert_eq!(desk.get("/interaction/v1/interactions", "mostRecentVersionOnly=false").1["count"], 7);
    let (_, single) = desk.get(&format!("/interaction/v1/interactions/{id}"), "versionNumber=2");
    assert_eq!((single["name"].as_str(), single["goals"].is_array()), (Some("Second"), true));
    assert_eq!(desk.get("/interaction/v1/interactions/key:none", "").0, 404);

    let request = Request::default();
    let config = desk.config.clone();
    let ask =
        Ask { request: &request, config: &config, body: Fields::new(), lent: Vec::new(), seed: 1, now_ms: NOW_MS };
    desk.app.delete(&ask, "interactions", "v2").unwrap();
    let (_, deleted) = desk.get("/interaction/v1/interactions", "status=Deleted");
    assert_eq!(deleted["items"][0]["id"], "v2", "a deleted journey stays in the list");
    assert_eq!(
        serde_json::from_str::<Value>(&desk.app.ledger(&ask, "goals").unwrap()).unwrap().as_array().unwrap().len(),
        7
    );
}

#[test]
fn sends_are_retrieved_as_lists_are() {
    let mut desk = desk(json!({"sends": 3, "lists": 1}));
    let ask = |names: &[&str]| {
        let names: String = names.iter().map(|name| format!("<Properties>{name}</Properties>")).collect();
        format!("<ObjectType>Send</ObjectType>{names}")
    };
    let answer = desk.retrieve(&ask(&["ID", "Email.ID", "NumberSent", "ModifiedDate"]));
    assert_eq!((answer.text_of("OverallStatus"), answer.all("Results").count()), ("OK", 3));
    let first = answer.child("Results").unwrap();
    assert_eq!((first.attribute("type"), first.text_of("ID")), (Some("Send"), "5000"));
    assert_eq!(first.child("Email").unwrap().text_of("ID"), "700");
    let refused = desk.retrieve(&ask(&["List", "ListName"])).text_of("OverallStatus").to_string();
    assert_eq!(refused, "Error: The Request Property(s) List,ListName do not match with the fields of Send retrieve");
    desk.set(json!({"denied": ["sends"]}));
    assert_eq!(desk.retrieve(&ask(&["ID"])).text_of("OverallStatus"), "Error: API Permission Failed");
    assert_eq!(desk.retrieve(FIELDS).text_of("OverallStatus"), "OK");
}
