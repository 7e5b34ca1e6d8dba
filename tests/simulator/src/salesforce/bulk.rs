//! Decides the life of a Bulk API 2.0 query job: created, polled, read in pages of CSV, aborted, deleted.
//!
//! Unlike a REST query the result is a file: what it found is fixed when the job is created.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{json, Value};

use super::record::Record;
use super::schema::Object;
use super::{refuse, Call, Salesforce};
use crate::clock;
use crate::http::Reply;

struct Job {
    id: String,
    operation: String,
    query: String,
    object: usize,
    places: Vec<usize>,
    records: Vec<Arc<Record>>,
    delimiter: char,
    line_end: &'static str,
    state: &'static str,
    polls: u32,
    failure: String,
    created: String,
}

#[derive(Default)]
pub struct Jobs {
    all: BTreeMap<String, Job>,
    made: u64,
}

impl Salesforce {
    pub(super) fn bulk(&mut self, call: &Call<'_>, rest: &[&str]) -> Reply {
        match (call.request.method.as_str(), rest) {
            ("POST", []) => self.create_job(call),
            ("GET", []) => {
                let records: Vec<Value> = self.jobs.all.values().map(|j| self.job_info(call, j)).collect();
                Reply::json(200, json!({"done": true, "nextRecordsUrl": null, "records": records}).to_string())
            }
            (method, [id, rest @ ..]) => {
                let Some(mut job) = self.jobs.all.remove(*id) else {
                    return refuse(404, "INVALIDJOB", "Unable to find object: invalid job id");
                };
                let (reply, keep) = match (method, rest) {
                    ("GET", []) => {
                        job.advance(call);
                        (Reply::json(200, self.job_info(call, &job).to_string()), true)
                    }
                    ("GET", ["results"]) => (job.results(call, &self.objects[job.object]), true),
                    ("PATCH", []) => {
                        let asked: Value = serde_json::from_slice(&call.request.body).unwrap_or_default();
                        if asked["state"] != "Aborted" {
                            (refuse(400, "INVALIDJOBSTATE", "Only the state Aborted can be set"), true)
                        } else {
                            job.state = "Aborted";
                            (Reply::json(200, self.job_info(call, &job).to_string()), true)
                        }
                    }
                    ("DELETE", []) if matches!(job.state, "UploadComplete" | "InProgress") => (
                        refuse(400, "INVALIDJOBSTATE", "Job must be completed, aborted or failed before it is deleted"),
                        true,
                    ),
                    ("DELETE", []) => (Reply::empty(204), false),
                    _ => (super::not_found(), true),
                };
                if keep {
                    self.jobs.all.insert(job.id.clone(), job);
                }
                reply
            }
            _ => refuse(405, "METHOD_NOT_ALLOWED", "HTTP Method not allowed"),
        }
    }

    fn create_job(&mut self, call: &Call<'_>) -> Reply {
        let Ok(asked) = serde_json::from_slice::<Value>(&call.request.body) else {
            return refuse(400, "JSON_PARSER_ERROR", "Unexpected character in the request body");
        };
        let operation = asked["operation"].as_str().unwrap_or("");
        if !matches!(operation, "query" | "queryAll") {
            return refuse(400, "INVALIDOPERATION", "operation must be query or queryAll");
        }
        let text = asked["query"].as_str().unwrap_or("");
        let upper = text.to_ascii_uppercase();
        if upper.contains(" OFFSET ") || upper.contains(" GROUP BY ") || upper.contains("COUNT()") {
            return refuse(400, "API_ERROR", "Aggregate Relationships not supported in Bulk Query");
        }
        let found = match self.find(call, text, operation == "queryAll") {
            Ok(found) => found,
            Err((status, (code, message))) => return refuse(status, code, &message),
        };
        let object = &self.objects[found.object];
        if object.name.ends_with("Tag") {
            return refuse(
                400,
                "INVALIDENTITY",
                &format!("Entity '{}' is not supported by the Bulk API.", object.name),
            );
        }
        for field in found.places.iter().map(|at| &object.fields[*at]) {
            if field.is_compound() {
                return refuse(400, "FUNCTIONALITY_NOT_ENABLED", "Selecting compound data not supported in Bulk Query");
            }
            if field.kind == "base64" {
                return refuse(
                    400,
                    "FUNCTIONALITY_NOT_ENABLED",
                    &format!("Binary field '{}' not supported in Bulk Query", field.name),
                );
            }
        }
        let delimiter = match asked["columnDelimiter"].as_str().unwrap_or("COMMA") {
            "COMMA" => ',',
            "TAB" => '\t',
            "PIPE" => '|',
            "SEMICOLON" => ';',
            "CARET" => '^',
            "BACKQUOTE" => '`',
            _ => return refuse(400, "INVALIDCOLUMNDELIMITER", "columnDelimiter is unknown"),
        };
        self.jobs.made += 1;
        let id = super::schema::record_id("750", self.jobs.made);
        let job = Job {
            id: id.clone(),
            operation: operation.to_string(),
            query: text.to_string(),
            object: found.object,
            places: found.places,
            records: found.slots.iter().filter_map(|slot| object.table.at(*slot).cloned()).collect(),
            delimiter,
            line_end: if asked["lineEnding"] == "CRLF" { "\r\n" } else { "\n" },
            state: "UploadComplete",
            polls: 0,
            failure: call.config.text("bulk_failure").to_string(),
            created: clock::salesforce_instant(clock::now_ms()),
        };
        let info = self.job_info(call, &job).to_string();
        self.jobs.all.insert(id, job);
        Reply::json(200, info)
    }

    fn job_info(&self, call: &Call<'_>, job: &Job) -> Value {
        let delimiter = match job.delimiter {
            ',' => "COMMA",
            '\t' => "TAB",
            '|' => "PIPE",
            ';' => "SEMICOLON",
            '^' => "CARET",
            _ => "BACKQUOTE",
        };
        let mut info = json!({
            "id": job.id, "operation": job.operation, "object": self.objects[job.object].name, "createdById": "0055g0000000001AAA",
            "createdDate": job.created, "systemModstamp": clock::salesforce_instant(clock::now_ms()), "state": job.state,
            "concurrencyMode": "Parallel", "contentType": "CSV", "apiVersion": call.version.trim_start_matches('v').parse::<f64>().unwrap_or(62.0),
            "lineEnding": if job.line_end == "\n" { "LF" } else { "CRLF" }, "columnDelimiter": delimiter,
        });
        if matches!(job.state, "JobComplete" | "Failed") {
            info["jobType"] = json!("V2Query");
            info["numberRecordsProcessed"] = json!(if job.state == "Failed" { 0 } else { job.records.len() });
            info["retries"] = json!(0);
            info["totalProcessingTime"] = json!(7);
            info["isPkChunkingSupported"] = json!(true);
        }
        if job.state == "Failed" {
            info["errorMessage"] = json!(job.failure);
        }
        info["query"] = json!(job.query);
        info
    }
}

impl Job {
    /// Each look brings the job nearer to its end.
    fn advance(&mut self, call: &Call<'_>) {
        if !matches!(self.state, "UploadComplete" | "InProgress") {
            return;
        }
        self.polls += 1;
        self.state = if i64::from(self.polls) < call.config.number("bulk_polls") {
            "InProgress"
        } else if self.failure.is_empty() {
            "JobComplete"
        } else {
            "Failed"
        };
    }

    fn results(&self, call: &Call<'_>, object: &Object) -> Reply {
        if self.state != "JobComplete" {
            return refuse(400, "INVALIDJOBSTATE", "The job must be in the state JobComplete to read its results");
        }
        let offset = match call.request.param("locator") {
            None => 0,
            Some(locator) => match locator
                .strip_prefix("MT")
                .and_then(|o| o.parse::<usize>().ok())
                .filter(|o| *o <= self.records.len())
            {
                Some(offset) => offset,
                None => return refuse(400, "INVALIDLOCATOR", "The locator is invalid"),
            },
        };
        let cap = match call.config.size("bulk_page_size") {
            0 => 250_000,
            cap => cap,
        };
        let asked =
            call.request.param("maxRecords").and_then(|m| m.parse::<usize>().ok()).filter(|m| *m > 0).unwrap_or(cap);
        let end = (offset + asked.min(cap)).min(self.records.len());
        let mut csv = String::new();
        let names: Vec<String> = self.places.iter().map(|at| format!("\"{}\"", object.fields[*at].name)).collect();
        csv.push_str(&names.join(&self.delimiter.to_string()));
        csv.push_str(self.line_end);
        for record in &self.records[offset..end] {
            for (n, at) in self.places.iter().enumerate() {
                if n > 0 {
                    csv.push(self.delimiter);
                }
                csv.push('"');
                csv.push_str(&cell(record.value(*at), &object.fields[*at].kind).replace('"', "\"\""));
                csv.push('"');
            }
            csv.push_str(self.line_end);
        }
        let locator = if end < self.records.len() { format!("MT{end}") } else { "null".to_string() };
        Reply { body: csv.into_bytes(), ..Reply::empty(200) }
            .with("Content-Type", "text/csv")
            .with("Sforce-Locator", locator)
            .with("Sforce-NumberOfRecords", (end - offset).to_string())
    }
}

/// A JSON value as a CSV cell, without its quotes.
fn cell(json: &str, kind: &str) -> String {
    match json {
        "null" => String::new(),
        _ if kind == "datetime" => json.trim_matches('"').replace("+0000", "Z"),
        _ => match serde_json::from_str::<Value>(json) {
            Ok(Value::String(text)) => text,
            _ => json.to_string(),
        },
    }
}
