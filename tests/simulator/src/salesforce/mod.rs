//! Plays Salesforce: decides which resource a request means and who may have it.
//!
//! Written from the REST API and Bulk API 2.0 guides. Every version `vNN.N` answers alike.

mod bulk;
mod control;
mod describe;
mod edit;
mod eval;
mod oauth;
mod query;
mod record;
mod replication;
pub mod schema;
mod seed;
mod soql;

use std::collections::HashMap;

use serde_json::{json, Value};

use crate::app::App;
use crate::clock;
use crate::config::Config;
use crate::http::{Reply, Request};
use crate::store::Row;
use oauth::{Credential, Tokens};
use schema::Object;

pub fn new(seed: u64) -> Box<dyn App> {
    Box::new(Salesforce::new(seed))
}

struct Salesforce {
    seed: u64,
    objects: Vec<Object>,
    by_name: HashMap<String, usize>,
    tokens: Tokens,
    cursors: query::Cursors,
    jobs: bulk::Jobs,
}

/// What every resource under `/services/data/vNN.N` needs to know of the request.
struct Call<'a> {
    request: &'a Request,
    config: &'a Config,
    /// `v62.0`
    version: &'a str,
}

/// The answer of an API error: an array of one.
fn refuse(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, json!([{"message": message, "errorCode": code}]).to_string())
}

fn not_found() -> Reply {
    refuse(404, "NOT_FOUND", "The requested resource does not exist")
}

impl Salesforce {
    pub fn new(seed: u64) -> Salesforce {
        let mut org = Salesforce {
            seed,
            objects: schema::standard_objects(),
            by_name: HashMap::new(),
            tokens: Tokens::new(seed),
            cursors: query::Cursors::default(),
            jobs: bulk::Jobs::default(),
        };
        org.index();
        org
    }

    fn index(&mut self) {
        self.by_name.clear();
        for (at, object) in self.objects.iter().enumerate() {
            self.by_name.insert(object.collection.to_ascii_lowercase(), at);
            self.by_name.insert(object.name.to_ascii_lowercase(), at);
        }
    }

    /// The object of that API name or collection name, whether the user may see it or not.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.by_name.get(&name.to_ascii_lowercase()).copied()
    }

    /// The object of that API name, if the user may see it.
    fn visible(&self, name: &str, config: &Config) -> Option<usize> {
        let at = self.place(name)?;
        let object = &self.objects[at];
        let exists = object.is_accessible && (!object.is_tag || config.flag("tags"));
        (exists && object.name.eq_ignore_ascii_case(name)).then_some(at)
    }

    fn is_denied(&self, object: &Object, config: &Config) -> bool {
        config.denies(&[&object.name, &object.collection])
    }

    fn play(&mut self, request: &Request, config: &Config, over_rate: bool, calls: u64) -> Reply {
        if request.path.len() + request.query.len() + 1 > config.size("uri_limit") {
            return Reply::empty(414)
                .with("Content-Type", "text/html;charset=iso-8859-1")
                .html("<h1>Bad Message 414</h1><pre>reason: URI Too Long</pre>");
        }
        if request.path == "/services/oauth2/token" {
            return self.tokens.token(request, config);
        }
        let path = request.path.trim_end_matches('/');
        if path == "/services/data" {
            return Reply::json(200, versions());
        }
        let Some((version, resource)) =
            path.strip_prefix("/services/data/").map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        else {
            return not_found();
        };
        if !is_version(version) {
            return not_found();
        }
        let credential = self.tokens.check(request, config);
        let call = Call { request, config, version };
        let mut reply = self.answer_data(&call, resource, credential, over_rate, calls);
        reply.credential = credential.label();
        let quota = shown_quota(config);
        reply.with("Sforce-Limit-Info", format!("api-usage={calls}/{quota}"))
    }

    fn answer_data(
        &mut self,
        call: &Call<'_>,
        resource: &str,
        credential: Credential,
        over_rate: bool,
        calls: u64,
    ) -> Reply {
        if credential != Credential::Valid {
            return refuse(401, "INVALID_SESSION_ID", "Session expired or invalid").with("WWW-Authenticate", "Token");
        }
        if (1..calls).contains(&daily_quota(call.config)) {
            return refuse(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.");
        }
        if over_rate {
            return refuse(
                429,
                "REQUEST_LIMIT_EXCEEDED",
                "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
            );
        }
        let now = clock::now_ms();
        for object in &mut self.objects {
            object.table.publish(now);
        }
        let parts: Vec<&str> = resource.split('/').filter(|p| !p.is_empty()).collect();
        let is_get = matches!(call.request.method.as_str(), "GET" | "HEAD");
        match parts.as_slice() {
            ["jobs", "query", rest @ ..] => return self.bulk(call, rest),
            _ if !is_get => {
                return refuse(
                    405,
                    "METHOD_NOT_ALLOWED",
                    &format!("HTTP Method '{}' not allowed. Allowed are HEAD,GET", call.request.method),
                )
            }
            _ => {}
        }
        match parts.as_slice() {
            [] => Reply::json(200, resources(call.version)),
            ["limits"] => Reply::json(200, limits(call.config, calls)),
            ["sobjects"] => self.list_objects(call),
            ["sobjects", name] => self.object_resource(call, name, false),
            ["sobjects", name, "describe"] => self.object_resource(call, name, true),
            ["sobjects", name, "deleted"] => self.deleted(call, name),
            ["sobjects", name, "updated"] => self.updated(call, name),
            ["sobjects", name, id] => self.record_resource(call, name, id, None),
            ["sobjects", name, id, field] => self.record_resource(call, name, id, Some(field)),
            ["query"] => self.query(call, false),
            ["queryAll"] => self.query(call, true),
            ["query" | "queryAll", locator] => self.next_page(call, locator),
            _ => not_found(),
        }
    }

    fn list_objects(&self, call: &Call<'_>) -> Reply {
        let seen = self.objects.iter().filter(|o| o.is_accessible && (!o.is_tag || call.config.flag("tags")));
        let objects: Vec<Value> = seen.map(|o| Value::Object(describe::object_summary(o, call.version))).collect();
        Reply::json(200, json!({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects}).to_string())
    }

    fn object_resource(&self, call: &Call<'_>, name: &str, full: bool) -> Reply {
        let Some(object) = self.visible(name, call.config).map(|at| &self.objects[at]) else { return not_found() };
        if !full {
            let summary = describe::object_summary(object, call.version);
            return Reply::json(200, json!({"objectDescribe": summary, "recentItems": []}).to_string());
        }
        let modified = clock::http_date(object.modified_s * 1000);
        let since = call.request.header("if-modified-since").and_then(clock::parse_http_date);
        if since.is_some_and(|since| since / 1000 >= object.modified_s) {
            return Reply::empty(304).with("Last-Modified", modified);
        }
        Reply::json(200, describe::describe(object, call.version)).with("Last-Modified", modified)
    }

    fn record_resource(&self, call: &Call<'_>, name: &str, id: &str, field: Option<&str>) -> Reply {
        let Some(object) = self.visible(name, call.config).map(|at| &self.objects[at]) else { return not_found() };
        if self.is_denied(object, call.config) {
            return refuse(403, "INSUFFICIENT_ACCESS", "insufficient access rights on cross-reference id");
        }
        let id = if id.len() == 15 { schema::long_id(id) } else { id.to_string() };
        let Some(record) = object.table.get(&id) else { return not_found() };
        if record.is_deleted {
            return refuse(404, "ENTITY_IS_DELETED", "entity is deleted");
        }
        if let Some(field) = field {
            use base64::Engine;
            let blob = object
                .visible(field)
                .filter(|at| object.fields[*at].kind == "base64")
                .map(|at| record.value(at).trim_matches('"').to_string());
            let Some(bytes) = blob.and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok()) else {
                return not_found();
            };
            return Reply { body: bytes, ..Reply::empty(200).with("Content-Type", "application/octet-stream") };
        }
        let wanted = call.request.param("fields");
        let mut places: Vec<usize> = (0..object.fields.len()).filter(|at| !object.fields[*at].is_hidden).collect();
        if let Some(wanted) = wanted {
            let mut chosen: Vec<usize> = object.place("Id").into_iter().collect();
            for name in wanted.split(',').map(str::trim) {
                match object.visible(name) {
                    Some(at) if !chosen.contains(&at) => chosen.push(at),
                    Some(_) => {}
                    None => {
                        let (code, message) = eval::no_such_column(object, name);
                        return refuse(400, code, &message);
                    }
                }
            }
            places = chosen;
        }
        let mut text = String::new();
        query::render(object, record, &places, call.version, &mut text);
        Reply::json(200, text)
    }

    /// All records as they truly are, as the control API shows them.
    pub fn ledger(&self, at: usize, with_records: bool, with_gone: bool) -> String {
        let object = &self.objects[at];
        let mut text = String::from("[");
        let mut comma = "";
        let stamp_at = object.place(object.stamp_field()).unwrap_or(0);
        for record in object.table.iter_latest() {
            use std::fmt::Write;
            let _ = write!(
                text,
                "{comma}\n{{\"id\":\"{}\",\"version\":{},\"deleted\":{}",
                record.id(),
                record.value(stamp_at),
                record.is_deleted
            );
            if with_records {
                text.push_str(",\"record\":");
                text.push_str(&record.render(object));
            }
            text.push('}');
            comma = ",";
        }
        if with_gone {
            for (_, id) in object.deletions.iter().filter(|(_, id)| object.table.latest(id).is_none()) {
                text.push_str(&format!(
                    "{comma}\n{{\"id\":\"{id}\",\"version\":null,\"deleted\":true,\"gone\":true,\"record\":null}}"
                ));
                comma = ",";
            }
        }
        text.push_str("\n]");
        text
    }

    /// Forgets all query cursors, as the app does when they are old.
    pub fn drop_cursors(&mut self) {
        self.cursors = query::Cursors::default();
    }
}

/// Calls a day; 0 is no limit.
fn daily_quota(config: &Config) -> u64 {
    config.size("daily_quota") as u64
}

fn shown_quota(config: &Config) -> u64 {
    match daily_quota(config) {
        0 => 100_000,
        quota => quota,
    }
}

fn is_version(text: &str) -> bool {
    text.strip_prefix('v')
        .and_then(|v| v.split_once('.'))
        .is_some_and(|(a, b)| !a.is_empty() && !b.is_empty() && a.bytes().chain(b.bytes()).all(|c| c.is_ascii_digit()))
}

fn versions() -> String {
    let all: Vec<Value> = (31..=64)
        .map(|n| json!({"label": format!("{} '{}", ["Winter", "Spring", "Summer"][n % 3], 15 + (n - 31) / 3), "url": format!("/services/data/v{n}.0"), "version": format!("{n}.0")}))
        .collect();
    Value::Array(all).to_string()
}

fn resources(version: &str) -> String {
    let base = format!("/services/data/{version}");
    let mut all = json!({});
    for name in ["jobs", "limits", "query", "queryAll", "sobjects"] {
        all[name] = json!(format!("{base}/{name}"));
    }
    all.to_string()
}

fn limits(config: &Config, calls: u64) -> String {
    let max = shown_quota(config);
    json!({
        "DailyApiRequests": {"Max": max, "Remaining": max.saturating_sub(calls)},
        "DailyBulkApiBatches": {"Max": 15_000, "Remaining": 15_000},
        "DailyBulkV2QueryFileStorageMB": {"Max": 976_562, "Remaining": 976_562},
        "DailyBulkV2QueryJobs": {"Max": 10_000, "Remaining": 10_000},
        "DataStorageMB": {"Max": 1024, "Remaining": 1000},
        "FileStorageMB": {"Max": 1024, "Remaining": 1000},
    })
    .to_string()
}

impl Reply {
    fn html(mut self, text: &str) -> Reply {
        self.body = text.as_bytes().to_vec();
        self
    }
}
