//! What a client of the program sees: lists as Stripe gives them, limits, held replies, changes, and its speed.

use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_cloudsync-bench-server");

struct Server {
    process: Child,
    api: String,
    control: String,
}

impl Server {
    fn start(sizes: Value) -> Server {
        let mut process =
            Command::new(PROGRAM).args(["--stop-after-seconds", "300"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addresses: Value = serde_json::from_str(&line).unwrap();
        let of = |name: &str| addresses[name].as_str().unwrap().strip_prefix("http://").unwrap().to_string();
        let server = Server { process, api: of("api"), control: of("control") };
        server.steer("POST", "/sizes", &sizes);
        server
    }

    /// A call of the API: status and body.
    fn get(&self, target: &str) -> (u16, Value) {
        call(&self.api, "GET", target, "Authorization: Bearer sk_live_test\r\nStripe-Version: 2020-01-02\r\n", "")
    }

    fn steer(&self, method: &str, target: &str, body: &Value) -> Value {
        let (status, reply) = call(&self.control, method, target, "", &body.to_string());
        assert_eq!(status, 200, "{reply}");
        reply
    }

    /// All records of a list, page by page.
    fn all(&self, list: &str) -> Vec<Value> {
        let mut records: Vec<Value> = Vec::new();
        loop {
            let after = records.last().map(|last| format!("&starting_after={}", last["id"].as_str().unwrap()));
            let (status, page) = self.get(&format!("{list}{}", after.unwrap_or_default()));
            assert_eq!(status, 200, "{page}");
            records.extend(page["data"].as_array().unwrap().iter().cloned());
            if page["has_more"] == false {
                return records;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn send(host: &str, method: &str, target: &str, headers: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let headers = format!("Host: {host}\r\n{headers}Content-Length: {}\r\nConnection: close", body.len());
    let request = format!("{method} {target} HTTP/1.1\r\n{headers}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn call(host: &str, method: &str, target: &str, headers: &str, body: &str) -> (u16, Value) {
    read_reply(send(host, method, target, headers, body))
}

fn read_reply(mut stream: TcpStream) -> (u16, Value) {
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nContent-Length: "), "{head}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

fn ids(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["id"].as_str().unwrap()).collect()
}

#[test]
fn a_list_is_given_newest_first_in_pages_and_within_bounds() {
    let server = Server::start(json!({"customers": 250, "charges": 30}));
    let everything = server.all("/v1/customers?limit=100");
    assert_eq!(everything.len(), 250);
    let times: Vec<u64> = everything.iter().map(|record| record["created"].as_u64().unwrap()).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older));
    // The same in any page size, and a page that ends with the list says so.
    assert_eq!(ids(&server.all("/v1/customers?limit=7")), ids(&everything));
    assert_eq!(server.get("/v1/charges?limit=30").1["has_more"], false);
    assert_eq!(server.get("/v1/charges").1["data"].as_array().unwrap().len(), 10);

    let (from, to) = (times[200], times[20]);
    let bounded = server.all(&format!("/v1/customers?limit=100&created[gte]={from}&created%5Blte%5D={to}"));
    let wanted: Vec<&Value> =
        everything.iter().filter(|record| (from..=to).contains(&record["created"].as_u64().unwrap())).collect();
    assert_eq!(bounded.iter().collect::<Vec<_>>(), wanted);

    let one = &everything[77];
    assert_eq!(server.get(&format!("/v1/customers/{}", one["id"].as_str().unwrap())), (200, one.clone()));
    assert_eq!(server.get("/v1/account").1["object"], "account");
    assert_eq!(server.get("/v1/refunds?limit=100").1["data"], json!([]));
}

#[test]
fn what_stripe_refuses_is_refused() {
    let server = Server::start(json!({"customers": 5}));
    for (target, status, code, param) in [
        ("/v1/customers?limit=101", 400, "parameter_invalid_integer", "limit"),
        ("/v1/customers?limit=x", 400, "parameter_invalid_integer", "limit"),
        ("/v1/customers?starting_after=cus_unknown", 400, "resource_missing", "starting_after"),
        ("/v1/customers?color=red", 400, "parameter_unknown", "color"),
        ("/v1/customers/cus_unknown", 404, "resource_missing", "id"),
    ] {
        let (answered, body) = server.get(target);
        assert_eq!((answered, &body["error"]["code"], &body["error"]["param"]), (status, &json!(code), &json!(param)));
    }
    assert_eq!(call(&server.api, "GET", "/v1/customers", "", "").0, 401);
}

#[test]
fn a_change_is_in_the_list_and_in_the_events() {
    let server = Server::start(json!({"customers": 300, "charges": 300}));
    let before = server.all("/v1/customers?limit=100");
    let touched = server.steer("POST", "/touch", &json!({"collection": "customers", "count": 120, "seed": 3}));
    let after = server.all("/v1/customers?limit=100");
    let altered: Vec<&Value> = after.iter().zip(&before).filter(|(new, old)| new != old).map(|(new, _)| new).collect();
    assert_eq!(altered.len(), 120);
    assert_eq!(json!(altered.iter().map(|record| &record["id"]).collect::<Vec<_>>()), touched["ids"]);

    let events = server.all("/v1/events?limit=100");
    assert_eq!(events.len(), 120);
    for (event, record) in events.iter().rev().zip(&altered) {
        assert_eq!(event["data"]["object"], **record);
        assert_eq!((&event["type"], &event["api_version"]), (&json!("customer.updated"), &json!("2020-01-02")));
        assert!(event["data"]["previous_attributes"].is_object());
    }
    assert_eq!(server.all("/v1/events?limit=100&types[]=charge.updated"), Vec::<Value>::new());
    server.steer("POST", "/touch", &json!({"collection": "charges", "count": 5, "forget_events": true}));
    assert_eq!(server.all("/v1/events?limit=100&types[]=charge.*").len(), 5);
    assert_eq!(server.all("/v1/events?limit=100").len(), 5);
}

#[test]
fn a_request_too_many_is_refused_and_counted() {
    let server = Server::start(json!({"customers": 5}));
    server.steer("POST", "/settings", &json!({"requests_per_second": 3}));
    server.steer("DELETE", "/counters", &Value::Null);
    let statuses: Vec<u16> = (0..5).map(|_| server.get("/v1/customers").0).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let counted = server.steer("GET", "/counters", &Value::Null);
    assert_eq!((&counted["requests"], &counted["refused"]), (&json!(5), &json!(2)));
    assert!(counted["bytes"].as_u64().unwrap() > 15_000 && counted["first_at"].as_f64() < counted["last_at"].as_f64());
}

#[test]
fn replies_can_be_late_or_held_until_released() {
    let server = Server::start(json!({"customers": 5}));
    server.steer("POST", "/settings", &json!({"latency_ms": 80}));
    let started = Instant::now();
    server.get("/v1/customers");
    assert!(started.elapsed() >= Duration::from_millis(80));

    server.steer("POST", "/settings", &json!({"latency_ms": 0, "hang": true}));
    let held = || send(&server.api, "GET", "/v1/customers?limit=1", "Authorization: Bearer x\r\n", "");
    let (stays, leaves) = (held(), held());
    assert_eq!(server.steer("GET", "/counters?held=2", &Value::Null)["held"], 2);
    drop(leaves);
    assert_eq!(server.steer("GET", "/counters?released=1", &Value::Null)["held"], 1);
    server.steer("POST", "/settings", &json!({"hang": false}));
    assert_eq!(read_reply(stays).0, 200);
    let counted = server.steer("GET", "/counters?released=0", &Value::Null);
    assert_eq!((&counted["held"], &counted["in_flight"]), (&json!(0), &json!(0)));
}

#[test]
fn everything_is_read_faster_than_anyone_could_use_it() {
    let server = Server::start(json!({"customers": 10_000}));
    let drained =
        Command::new(PROGRAM).args(["drain", &format!("http://{}/v1/customers", server.api)]).output().unwrap();
    let drained: Value = serde_json::from_slice(&drained.stdout).unwrap();
    assert_eq!(drained["pages"], 100);
    let per_second = drained["bytes"].as_f64().unwrap() / drained["seconds"].as_f64().unwrap();
    // What is optimised is what has to be fast.
    assert!(cfg!(debug_assertions) || per_second > 300e6, "{per_second} bytes a second");
}
