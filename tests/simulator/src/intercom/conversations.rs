//! Decides what the conversation endpoints answer. Only a single conversation has its parts.

use std::sync::Arc;

use serde_json::{json, Value};

use super::listing::{page, Ask};
use super::query::Of;
use super::wire::not_found;
use super::Workspace;
use crate::app::Call;
use crate::http::Reply;
use crate::rest::Record;

impl Workspace {
    fn conversation_list(&self, call: &Call<'_>, records: Vec<Arc<Record>>, ask: &Ask) -> Reply {
        let page = page(call, records, ask);
        let conversations: Vec<Value> = page.records.iter().map(|record| record.json()).collect();
        let body = json!({
            "type": "conversation.list", "pages": page.pages, "total_count": page.total, "conversations": conversations,
        });
        Reply::json(200, body.to_string())
    }

    /// `GET /conversations`: the latest changed first.
    pub fn list_conversations(&self, call: &Call<'_>) -> Reply {
        let mut all = self.book.all_latest("conversations");
        all.retain(|record| !record.is_deleted());
        match Ask::of_list(call, 20, "updated_at") {
            Ok(ask) => self.conversation_list(call, all, &ask),
            Err(refusal) => refusal,
        }
    }

    /// `POST /conversations/search`.
    pub fn search_conversations(&self, call: &Call<'_>) -> Reply {
        match self.found(call, Of::Conversations, 20, self.book.listed("conversations")) {
            Ok((records, ask)) => self.conversation_list(call, records, &ask),
            Err(refusal) => refusal,
        }
    }

    /// A part as the API gives it: it does not name its conversation.
    fn render_part(record: &Record) -> Value {
        let mut fields = record.fields.clone();
        fields.shift_remove("conversation_id");
        Value::Object(fields)
    }

    /// `GET /conversations/{id}`: with its 500 latest parts, in their order. `display_as=plaintext` takes the markup out.
    pub fn get_conversation(&self, call: &Call<'_>, id: &str) -> Reply {
        let Some(record) = self.book.latest("conversations", id).filter(|record| !record.is_deleted()) else {
            return not_found();
        };
        // Only the searches are late, but finding the parts that are not shown yet takes a walk through all.
        let parts = match call.config.late_visibility_ms {
            0 => self.book.children("conversation_parts", id),
            _ => {
                let mut all = self.book.all_latest("conversation_parts");
                all.retain(|part| part.text("conversation_id") == id);
                all
            }
        };
        let most = call.config.size("conversation_parts_limit");
        let mut shown: Vec<Value> =
            parts.iter().skip(parts.len().saturating_sub(most)).map(|part| Self::render_part(part)).collect();
        let mut body = record.json();
        if call.request.param("display_as").as_deref() == Some("plaintext") {
            for one in shown.iter_mut().chain([&mut body["source"]]) {
                if let Some(text) = one["body"].as_str().map(plain) {
                    one["body"] = json!(text);
                }
            }
        }
        body["conversation_parts"] =
            json!({"type": "conversation_part.list", "conversation_parts": shown, "total_count": parts.len()});
        Reply::json(200, body.to_string())
    }
}

/// A text without its tags.
fn plain(text: &str) -> String {
    let mut inside = false;
    let is_text = |c: &char| {
        let shown = !inside && *c != '<';
        inside = match c {
            '<' => true,
            '>' => false,
            _ => inside,
        };
        shown
    };
    text.chars().filter(is_text).collect()
}
