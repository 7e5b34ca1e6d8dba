//! Decides which endpoint a path is, and to which collection it belongs.

use serde_json::json;

use super::answers::{self, error, Asked, Good};
use super::Marketo;
use crate::app::Call;
use crate::rest::time::Form;

impl Marketo {
    pub(super) fn rest(&mut self, call: &Call<'_>) -> Good {
        let asked = Asked::read(call.request);
        let (config, now_ms) = (call.config, call.now_ms);
        let path = asked.path.strip_suffix(".json").unwrap_or("");
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let collection = collection_of(&parts);
        if config.denies(&[collection]) {
            return error("603", "Access denied");
        }
        if let ["bulk", "v1", what @ ("leads" | "activities"), "export", rest @ ..] = parts.as_slice() {
            let what = if *what == "leads" { "leads" } else { "activities" };
            return match (asked.method, rest) {
                ("GET", []) => self.list_exports(what, &asked, config, now_ms),
                ("POST", ["create"]) => self.create_export(what, call.request, config, now_ms),
                ("POST", [id, "enqueue"]) => self.enqueue_export(what, id, config, now_ms),
                ("POST", [id, "cancel"]) => self.cancel_export(what, id, config, now_ms),
                ("GET", [id, "status"]) => self.export_status(what, id, config, now_ms),
                (method, ["create"] | [_, "enqueue" | "cancel" | "status"]) => wrong_method(method),
                _ => unknown_path(asked.path),
            };
        }
        let known = !collection.is_empty() || matches!(parts.as_slice(), ["rest", "v1", "stats", "usage"]);
        if asked.method != "GET" && known {
            return wrong_method(asked.method);
        }
        match parts.as_slice() {
            ["rest", "v1", "leads"] => self.leads(&asked, config),
            ["rest", "v1", "leads", "describe"] => answers::page(self.fields.describe(), None),
            ["rest", "v1", "leads", "describe2"] => answers::one(self.fields.describe2()),
            ["rest", "v1", "lead", id] => self.lead(&asked, id),
            ["rest", "v1", "list" | "lists", id, "leads"] => self.list_leads(&asked, config, id),
            ["rest", "v1", "lists"] => self.browse(&asked, config, "lists"),
            ["rest", "v1", "lists", id] => self.named("lists", id),
            ["rest", "v1", "campaigns"] => self.browse(&asked, config, "campaigns"),
            ["rest", "v1", "campaigns", id] => self.named("campaigns", id),
            ["rest", "v1", "activities"] => self.activities(&asked, config),
            ["rest", "v1", "activities", "pagingtoken"] => self.paging_token(&asked),
            ["rest", "v1", "activities", "deletedleads"] => self.deleted_leads(&asked, config, now_ms),
            ["rest", "v1", "activities", "leadchanges"] => self.lead_changes(&asked, config),
            ["rest", "v1", "activities", "types"] => {
                answers::page(self.book.listed("lead_activity_types").iter().map(|t| t.json()).collect(), None)
            }
            ["rest", "v1", "stats", "usage"] => {
                let users = json!([{"userId": "api@sim.example", "count": call.calls}]);
                answers::one(json!({"date": Form::Date.text(now_ms), "total": call.calls, "users": users}))
            }
            ["rest", "asset", "v1", "emails" | "landingPages" | "programs"] => self.assets(&asked, collection),
            ["rest", "asset", "v1", "email" | "landingPage" | "program", id] => self.asset(collection, id),
            ["rest", "asset", "v1", "segmentation"] => self.segmentations(&asked),
            ["rest", "asset", "v1", "segmentation", id, "segments"] => self.segments(&asked, id),
            _ => unknown_path(asked.path),
        }
    }
}

fn unknown_path(path: &str) -> Good {
    error("610", format!("Requested resource '{path}' not found"))
}

fn wrong_method(method: &str) -> Good {
    error("605", format!("HTTP Method '{method}' is not supported"))
}

/// The collection a path belongs to, by which it can be denied; empty for a path of none.
pub fn collection_of(parts: &[&str]) -> &'static str {
    match parts {
        ["rest", "v1", "leads" | "lead", ..] | ["bulk", "v1", "leads", ..] => "leads",
        ["rest", "v1", "activities", "types"] => "lead_activity_types",
        ["rest", "v1", "activities", ..] | ["bulk", "v1", "activities", ..] => "lead_activities",
        ["rest", "v1", "lists" | "list", ..] => "lists",
        ["rest", "v1", "campaigns", ..] => "campaigns",
        ["rest", "asset", "v1", "emails" | "email", ..] => "email",
        ["rest", "asset", "v1", "landingPages" | "landingPage", ..] => "landing_pages",
        ["rest", "asset", "v1", "programs" | "program", ..] => "programs",
        ["rest", "asset", "v1", "segmentation", _, "segments"] => "segments",
        ["rest", "asset", "v1", "segmentation"] => "segmentation",
        _ => "",
    }
}
