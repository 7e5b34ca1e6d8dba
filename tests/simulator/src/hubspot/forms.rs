//! Decides what the form endpoints answer: forms with their kinds, and the submissions of one form, newest first.

use serde_json::{json, Value};

use super::crm::{is_true, limit};
use super::wire::{invalid, not_found, place, token};
use super::Hubspot;
use crate::app::Call;
use crate::http::Reply;
use crate::rest::{page, Record};

const MOST_FORMS: usize = 1000;
const MOST_SUBMISSIONS: usize = 50;

impl Hubspot {
    /// `GET /marketing/v3/forms`: without `formTypes` only forms of the type hubspot.
    pub fn list_forms(&self, call: &Call<'_>) -> Reply {
        let request = call.request;
        let size = match limit(request, "limit", 20, MOST_FORMS) {
            Ok(size) => call.config.page_of(size, MOST_FORMS),
            Err(refusal) => return refusal,
        };
        let given = request.params().into_iter().filter(|(name, _)| name == "formTypes");
        let types: Vec<String> =
            given.flat_map(|(_, v)| v.split(',').map(str::to_string).collect::<Vec<_>>()).collect();
        let archived = is_true(request, "archived");
        let is_wanted = |record: &Record| match types.as_slice() {
            [] => record.text("formType") == "hubspot",
            types => types.iter().any(|t| t == "all" || t == record.text("formType")),
        };
        let mut forms = self.book.shown("forms");
        forms.retain(|record| record.is_deleted() == archived && is_wanted(record));
        let of = format!("{}{types:?}", request.path);
        let offset = match request.param("after").filter(|text| !text.is_empty()) {
            None => 0,
            Some(text) => match place(&of, &text).and_then(|place| place.as_u64()) {
                Some(number) => forms.partition_point(|record| record.number <= number),
                None => return invalid("Invalid input: after is not a token of this list"),
            },
        };
        let page = page::slice(&forms, offset, size);
        let mut body = json!({"results": page.iter().map(|r| r.json()).collect::<Vec<_>>()});
        if let (Some(last), true) = (page.last(), offset + page.len() < forms.len()) {
            let after = token(&of, &json!(last.number));
            body["paging"] =
                json!({"next": {"after": after, "link": page::link_with(request, &[("after", Some(&after))])}});
        }
        Reply::json(200, body.to_string())
    }

    pub fn get_form(&self, id: &str) -> Reply {
        match self.book.find("forms", id).filter(|r| !r.is_deleted()) {
            Some(record) => Reply::json(200, record.json().to_string()),
            None => not_found("resource not found"),
        }
    }

    /// `GET /form-integrations/v1/submissions/forms/{id}`. Comments on blogs are forms that it refuses.
    pub fn list_submissions(&self, call: &Call<'_>, form: &str) -> Reply {
        let request = call.request;
        let Some(parent) = self.book.find("forms", form) else { return not_found("No form found with the given id") };
        if parent.text("formType") == "blog_comment" {
            let body = json!({
                "status": "error", "message": "The form is of a type that has no submissions", "correlationId": "",
                "errors": [{"message": "Form type 'blog_comment' is not allowed", "errorType": "FORM_TYPE_NOT_ALLOWED"}],
                "category": "VALIDATION_ERROR",
            });
            return Reply::json(400, body.to_string());
        }
        let size = match limit(request, "limit", 20, MOST_SUBMISSIONS) {
            Ok(size) => call.config.page_of(size, MOST_SUBMISSIONS),
            Err(refusal) => return refusal,
        };
        let order = |record: &Record| (record.created_ms, record.number);
        let mut found = self.book.children("form_submissions", form);
        found.retain(|record| !record.is_deleted());
        found.sort_by_key(|record| std::cmp::Reverse(order(record)));
        let offset = match request.param("after").filter(|text| !text.is_empty()) {
            None => 0,
            Some(text) => match place(form, &text) {
                Some(last) => {
                    let last = (last[0].as_i64().unwrap_or(0), last[1].as_u64().unwrap_or(0));
                    found.partition_point(|record| order(record) >= last)
                }
                None => return invalid("Invalid input: after is not a token of this list"),
            },
        };
        let page = page::slice(&found, offset, size);
        let row = |record: &std::sync::Arc<Record>| {
            let mut fields = record.fields.clone();
            fields.shift_remove("formId");
            Value::Object(fields)
        };
        let mut body = json!({"results": page.iter().map(row).collect::<Vec<_>>()});
        if let (Some(last), true) = (page.last(), offset + page.len() < found.len()) {
            let after = token(form, &json!([last.created_ms, last.number]));
            let link = page::path_with(request, &[("after", Some(&after))]);
            let query = link.split_once('?').map_or("", |(_, query)| query);
            body["paging"] = json!({"next": {"after": after, "link": format!("?{query}")}});
        }
        Reply::json(200, body.to_string())
    }
}
