//! Decides what the company endpoints answer: a list that ends at 10,000, and a scroll that only one client can have open.

use std::sync::Arc;

use serde_json::{json, Value};

use super::wire::{invalid, refuse};
use super::Workspace;
use crate::app::Call;
use crate::chance::Chance;
use crate::http::Reply;
use crate::rest::{page, Record};

const SCROLL_PAGE: usize = 100;
const MOST_A_PAGE: usize = 60;

/// The one open scroll: what there was when it began.
pub struct Scroll {
    param: String,
    records: Vec<Arc<Record>>,
    at: usize,
    used_ms: i64,
}

fn company_not_found() -> Reply {
    refuse(404, "company_not_found", "Company Not Found")
}

impl Workspace {
    fn companies(&self) -> Vec<Arc<Record>> {
        let all = self.book.all_latest("companies");
        all.into_iter().filter(|record| !record.is_deleted()).collect()
    }

    /// `GET /companies/scroll`. A scroll not used for a minute expires; its last page is empty and still names it.
    pub fn scroll(&mut self, call: &Call<'_>) -> Reply {
        let lifetime_ms = call.config.number("scroll_seconds") * 1000;
        if self.scroll.as_ref().is_some_and(|scroll| call.now_ms - scroll.used_ms >= lifetime_ms) {
            self.scroll = None;
        }
        match call.request.param("scroll_param").filter(|param| !param.is_empty()) {
            None if self.scroll.is_some() => {
                return refuse(400, "scroll_exists", "scroll already exists for this workspace");
            }
            None => {
                self.scrolls += 1;
                let param = scroll_param(self.scrolls);
                self.scroll = Some(Scroll { param, records: self.companies(), at: 0, used_ms: call.now_ms });
            }
            Some(param) => match &mut self.scroll {
                Some(scroll) if scroll.param == param => scroll.used_ms = call.now_ms,
                _ => return refuse(404, "not_found", "scroll parameter not found"),
            },
        }
        let Some(scroll) = &mut self.scroll else { return company_not_found() };
        let size = call.config.page_of(SCROLL_PAGE, SCROLL_PAGE);
        let shown = page::slice(&scroll.records, scroll.at, size);
        let data: Vec<Value> = shown.iter().map(|record| record.json()).collect();
        scroll.at += shown.len();
        let body = json!({
            "type": "list", "data": data, "pages": null, "total_count": null, "scroll_param": scroll.param,
        });
        if data.is_empty() {
            self.scroll = None;
        }
        Reply::json(200, body.to_string())
    }

    /// `POST /companies/list` (and `GET /companies` without a filter): by page number, the most recently seen first, without
    /// companies that have no users.
    pub fn list_companies(&self, call: &Call<'_>) -> Reply {
        let sent: Value = serde_json::from_slice(&call.request.body).unwrap_or_default();
        let given = |name: &str| {
            let text = call.request.param(name).or_else(|| match &sent[name] {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            })?;
            Some(text.parse::<usize>().map_err(|_| invalid(&format!("{name} must be a number"))))
        };
        let (number, size) = match (given("page").transpose(), given("per_page").transpose()) {
            (Ok(number), Ok(size)) => (number.unwrap_or(1).max(1), size.unwrap_or(20)),
            (Err(refusal), _) | (_, Err(refusal)) => return refusal,
        };
        if !(1..=MOST_A_PAGE).contains(&size) {
            return invalid(&format!("per_page is {size}, it must be between 1 and {MOST_A_PAGE}"));
        }
        let size = call.config.page_of(size, MOST_A_PAGE);
        if number * size > call.config.size("company_list_limit") {
            return refuse(400, "bad_request", "page limit reached, please use scroll API");
        }
        let order = call.request.param("order").or_else(|| sent["order"].as_str().map(str::to_string));
        let mut companies = self.companies();
        for (param, path) in [("tag_id", ["tags", "tags"]), ("segment_id", ["segments", "segments"])] {
            if let Some(id) = call.request.param(param) {
                let list = |r: &Record| r.get(path[0])[path[1]].as_array().cloned().unwrap_or_default();
                companies.retain(|r| list(r).iter().any(|one| one["id"] == id.as_str()));
            }
        }
        companies.retain(|record| record.number_of("user_count") > 0);
        companies.sort_by_key(|record| (record.number_of("last_request_at"), record.number));
        if order.as_deref() != Some("asc") {
            companies.reverse();
        }
        let total_pages = companies.len().div_ceil(size);
        let data: Vec<Value> =
            page::slice(&companies, (number - 1) * size, size).iter().map(|record| record.json()).collect();
        let next = (number < total_pages).then(|| json!({"page": number + 1, "per_page": size}));
        let body = json!({
            "type": "list", "data": data, "total_count": companies.len(),
            "pages": {"type": "pages", "next": next, "page": number, "per_page": size, "total_pages": total_pages},
        });
        Reply::json(200, body.to_string())
    }

    /// `GET /companies?company_id=` or `?name=`: one company; otherwise the list.
    pub fn get_companies(&self, call: &Call<'_>) -> Reply {
        for member in ["company_id", "name"] {
            if let Some(wanted) = call.request.param(member) {
                let found = self.companies().into_iter().find(|record| record.text(member) == wanted);
                return found.map_or_else(company_not_found, |record| Reply::json(200, record.json().to_string()));
            }
        }
        self.list_companies(call)
    }

    pub fn get_company(&self, id: &str) -> Reply {
        match self.book.latest("companies", id).filter(|record| !record.is_deleted()) {
            Some(record) => Reply::json(200, record.json().to_string()),
            None => company_not_found(),
        }
    }
}

/// A made-up UUID for each scroll.
fn scroll_param(number: u64) -> String {
    let mut chance = Chance::new(number, "scroll");
    let (a, b) = (chance.next(), chance.next());
    format!(
        "{:08x}-{:04x}-4{:03x}-b{:03x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 48 & 0xfff,
        b & 0xffff_ffff_ffff
    )
}
