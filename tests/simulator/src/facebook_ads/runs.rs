//! Decides how an asynchronous report run goes: each look at it takes it one step on.
//!
//! `Job Running` can stand beside 100 percent: only `Job Completed` with 100 means that the rows can be read
//! (developers.facebook.com/docs/marketing-api/insights/best-practices). Its rows are those of the moment it was made.

use std::collections::HashMap;

use serde_json::{json, Value};

use super::errors::Refusal;
use super::fields;

pub struct Run {
    id: String,
    account: String,
    rows: Vec<Value>,
    looks: usize,
    /// Looks before it ends.
    steps: usize,
    /// `Job Completed`, `Job Failed` or `Job Skipped`.
    outcome: String,
    made_ms: i64,
    dates: (String, String),
}

#[derive(Default)]
pub struct Runs {
    runs: HashMap<String, Run>,
}

const FIRST_ID: u64 = 900_000_000_000_001;

/// What a run is made of.
pub struct Order {
    pub account: String,
    pub rows: Vec<Value>,
    pub steps: usize,
    pub outcome: String,
    pub made_ms: i64,
    pub dates: (String, String),
}

impl Runs {
    pub fn make(&mut self, order: Order) -> String {
        let id = (FIRST_ID + self.runs.len() as u64).to_string();
        let Order { account, rows, steps, outcome, made_ms, dates } = order;
        let run = Run { id: id.clone(), account, rows, looks: 0, steps, outcome, made_ms, dates };
        self.runs.insert(id.clone(), run);
        id
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Run> {
        self.runs.get_mut(id)
    }
}

impl Run {
    fn state(&self) -> (&str, u64) {
        match (self.looks, self.steps) {
            (looks, steps) if looks > steps => match self.outcome.as_str() {
                "Job Completed" => ("Job Completed", 100),
                other => (other, 0),
            },
            (looks, steps) if looks == steps => ("Job Running", 100),
            (1, _) => ("Job Not Started", 0),
            (2, _) => ("Job Started", 0),
            (looks, steps) => ("Job Running", (looks * 100 / steps.max(1)) as u64),
        }
    }

    pub fn look(&mut self, wanted: Option<String>) -> Result<Value, Refusal> {
        self.looks += 1;
        let (status, percent) = self.state();
        let is_over = self.looks > self.steps;
        let mut node = json!({
            "id": self.id, "account_id": self.account, "time_ref": self.made_ms / 1000, "async_status": status,
            "async_percent_completion": percent, "is_running": !is_over, "date_start": self.dates.0,
            "date_stop": self.dates.1,
        });
        if is_over {
            node["time_completed"] = json!(self.made_ms / 1000 + self.steps as i64);
        }
        if is_over && self.outcome == "Job Failed" {
            node["error_code"] = json!(2);
            node["error_message"] = json!("Service temporarily unavailable");
        }
        let Some(wanted) = wanted else { return Ok(node) };
        let mut sent = json!({"id": self.id});
        for field in fields::parse(&wanted) {
            if let Some(value) = node.get(&field.name) {
                sent[&field.name] = value.clone();
            }
        }
        Ok(sent)
    }

    /// The rows, once the run is complete.
    pub fn rows(&self) -> Result<&[Value], Refusal> {
        if self.looks > self.steps && self.outcome == "Job Completed" {
            return Ok(&self.rows);
        }
        Err(Refusal::unfinished_report())
    }
}
