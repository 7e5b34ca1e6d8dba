//! Decides how a contact export lives: pending, then ready with one link to each file, or a failure; links that expire.
//!
//! The files are gzip-compressed CSV with the columns in upper case, or JSON lines (docs: Export Contacts).

use std::io::Write;

use serde_json::{json, Map, Value};

use super::drafts::stamp;

/// Links are good for three days.
const GOOD_MS: i64 = 72 * 3_600_000;

/// The columns of every export, in their order. Custom fields follow, by name.
const COLUMNS: [&str; 18] = [
    "email",
    "first_name",
    "last_name",
    "address_line_1",
    "address_line_2",
    "city",
    "state_province_region",
    "postal_code",
    "country",
    "alternate_emails",
    "phone_number",
    "whatsapp",
    "line",
    "facebook",
    "unique_name",
    "contact_id",
    "created_at",
    "updated_at",
];

#[derive(Debug)]
pub struct Export {
    pub id: String,
    pub created_ms: i64,
    pub ready_ms: i64,
    pub failure: String,
    /// Compressed. Each link has a name of its own, which is all that guards it.
    pub files: Vec<(String, Vec<u8>)>,
    /// `contacts_export`, `list_export` or `segment_export`.
    pub kind: &'static str,
}

impl Export {
    pub fn is_ready(&self, now_ms: i64) -> bool {
        self.failure.is_empty() && now_ms >= self.ready_ms
    }

    /// The file behind a link, unless it is not there yet or no more.
    pub fn file(&self, name: &str, now_ms: i64) -> Option<&[u8]> {
        if !self.is_ready(now_ms) || now_ms >= self.ready_ms + GOOD_MS {
            return None;
        }
        self.files.iter().find(|(n, _)| n == name).map(|(_, file)| file.as_slice())
    }

    /// `GET /v3/marketing/contacts/exports/{id}`.
    pub fn told(&self, origin: &str, now_ms: i64) -> Value {
        let this = format!("{origin}/v3/marketing/contacts/exports/{}", self.id);
        let mut told = json!({"id": self.id, "created_at": stamp(self.created_ms), "export_type": self.kind,
            "user_id": "8096", "_metadata": {"self": this}});
        if now_ms < self.ready_ms {
            told["status"] = json!("pending");
            told["updated_at"] = json!(stamp(self.created_ms));
            return told;
        }
        told["updated_at"] = json!(stamp(self.ready_ms));
        if !self.failure.is_empty() {
            told["status"] = json!("failure");
            told["message"] = json!(self.failure);
            return told;
        }
        told["status"] = json!("ready");
        told["completed_at"] = json!(stamp(self.ready_ms));
        told["expires_at"] = json!(stamp(self.ready_ms + GOOD_MS));
        told["urls"] = self.files.iter().map(|(name, _)| json!(format!("{origin}/contact-exports/{name}"))).collect();
        told
    }
}

/// The contacts as files of at most `rows` rows each (0: one file), compressed.
pub fn files(contacts: &[Map<String, Value>], as_json: bool, rows: usize) -> Vec<Vec<u8>> {
    let rows = if rows == 0 { contacts.len().max(1) } else { rows };
    let mut custom: Vec<&str> = contacts
        .iter()
        .filter_map(|c| c.get("custom_fields")?.as_object())
        .flat_map(|fields| fields.keys().map(String::as_str))
        .collect();
    custom.sort_unstable();
    custom.dedup();
    // An account without contacts still gets a file with its header line.
    let parts: Vec<&[Map<String, Value>]> =
        if contacts.is_empty() { vec![&[]] } else { contacts.chunks(rows).collect() };
    parts.iter().map(|part| compress(&if as_json { lines(part) } else { csv(part, &custom) })).collect()
}

fn column<'a>(contact: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    contact.get(if name == "contact_id" { "id" } else { name })
}

fn csv(contacts: &[Map<String, Value>], custom: &[&str]) -> String {
    let names = COLUMNS.iter().chain(custom).map(|name| name.to_uppercase());
    let mut text = names.collect::<Vec<_>>().join(",");
    text.push('\n');
    for contact in contacts {
        let own = COLUMNS.iter().map(|name| column(contact, name));
        let more = custom.iter().map(|name| contact.get("custom_fields").and_then(|fields| fields.get(name)));
        let cells: Vec<String> = own.chain(more).map(|value| quoted(&plain(value))).collect();
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().map(|item| plain(Some(item))).collect::<Vec<_>>().join(","),
        Some(other) => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_string()
}

fn lines(contacts: &[Map<String, Value>]) -> String {
    contacts.iter().map(|contact| Value::Object(contact.clone()).to_string() + "\n").collect()
}

fn compress(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let _ = encoder.write_all(text.as_bytes());
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn unpacked(file: &[u8]) -> String {
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn files_are_compressed_csv_with_columns_in_upper_case() {
        let contacts: Vec<_> = (0..3).map(|n| super::super::drafts::draft("mc_contacts", n, 0, 1).unwrap()).collect();
        let files = files(&contacts, false, 2);
        assert_eq!(files.len(), 2);
        let text = unpacked(&files[0]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("EMAIL,FIRST_NAME,") && lines[0].ends_with(",CREATED_AT,UPDATED_AT,FAVOURITE_COLOUR")
        );
        assert!(lines[1].ends_with(",\"blue, or green\""), "{}", lines[1]);
        assert_eq!(lines.len(), 3);
        assert_eq!(unpacked(&files[1]).lines().count(), 2);
        assert_eq!(unpacked(&super::files(&[], false, 0)[0]).lines().count(), 1);
        assert_eq!(unpacked(&super::files(&contacts, true, 0)[0]).lines().count(), 3);
    }

    #[test]
    fn links_come_when_it_is_ready_and_go_after_three_days() {
        let mut export = Export {
            id: "e1".into(),
            created_ms: 0,
            ready_ms: 5000,
            failure: String::new(),
            files: vec![("f1".into(), vec![1])],
            kind: "contacts_export",
        };
        let told = |export: &Export, at: i64| export.told("http://x", at);
        assert_eq!(told(&export, 4999)["status"], "pending");
        assert!(told(&export, 4999).get("urls").is_none() && export.file("f1", 4999).is_none());
        assert_eq!(told(&export, 5000)["urls"], json!(["http://x/contact-exports/f1"]));
        assert!(export.file("f1", 5000).is_some() && export.file("f2", 5000).is_none());
        assert!(export.file("f1", 5000 + GOOD_MS).is_none());
        export.failure = "boom".into();
        assert_eq!(
            (told(&export, 5000)["status"].as_str(), told(&export, 5000)["message"].as_str()),
            (Some("failure"), Some("boom"))
        );
    }
}
