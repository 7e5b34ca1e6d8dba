//! Turns the file of an extract into records as the REST API gives them, so that a row is the same by either way.
//!
//! A file comes in parts, which end anywhere. What is empty is the word `null`. Attributes of an activity are one JSON
//! object here (older files have a list) and a list of `name` and `value` there. A file that was cut off is an error: the
//! job tells its length, its number of records and its checksum.
//!
//! Docs: "Bulk Lead Extract", "Bulk Activity Extract", Retrieving Your Data.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::export::Told;
use super::What;
use crate::extract::csv;
use crate::extract::json::members;
use crate::extract::text;
use std::borrow::Cow;

/// The file so far.
pub struct File {
    what: What,
    header: Vec<String>,
    /// The beginning of a record whose end has not come.
    rest: Vec<u8>,
    pub bytes: u64,
    records: u64,
    digest: ring::digest::Context,
}

impl File {
    pub fn new(what: What) -> Self {
        let digest = ring::digest::Context::new(&ring::digest::SHA256);
        File { what, header: Vec::new(), rest: Vec::new(), bytes: 0, records: 0, digest }
    }

    /// Takes the next part; `each` gets the records that are whole now.
    pub fn take(&mut self, part: &[u8], is_last: bool, mut each: impl FnMut(&str)) -> Result<(), String> {
        self.bytes += part.len() as u64;
        self.digest.update(part);
        self.rest.extend_from_slice(part);
        let end = if is_last { self.rest.len() } else { end_of_records(&self.rest) };
        let behind = self.rest.split_off(end);
        let whole = std::mem::replace(&mut self.rest, behind);
        let text = String::from_utf8_lossy(&whole);
        let mut reader = csv::Reader::new(&text);
        let mut fields: Vec<Cow<'_, str>> = Vec::new();
        let mut record = Vec::new();
        while reader.next(&mut fields)? {
            if self.header.is_empty() {
                self.header = fields.iter().map(|name| name.trim().to_string()).collect();
                continue;
            }
            if fields.len() != self.header.len() {
                return Err(format!("a record has {} fields instead of {}", fields.len(), self.header.len()));
            }
            self.records += 1;
            record.clear();
            write(self.what, &self.header, &fields, &mut record);
            each(std::str::from_utf8(&record).unwrap_or("{}"));
        }
        Ok(())
    }

    /// Compares what came with what the job told.
    pub fn check(self, told: &Told) -> Result<(), String> {
        if let Some(size) = told.file_size.filter(|size| *size != self.bytes) {
            return Err(format!("the file of an extract has {} bytes instead of {size}", self.bytes));
        }
        if let Some(records) = told.number_of_records.filter(|records| *records != self.records) {
            return Err(format!("the file of an extract has {} records instead of {records}", self.records));
        }
        let digest: String = self.digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        match told.file_checksum.as_deref().and_then(|sum| sum.strip_prefix("sha256:")) {
            Some(sum) if !sum.eq_ignore_ascii_case(&digest) => {
                Err("the file of an extract does not match its checksum".to_string())
            }
            _ => Ok(()),
        }
    }
}

/// Behind the last line end that is not inside quotes.
fn end_of_records(bytes: &[u8]) -> usize {
    let (mut end, mut is_quoted) = (0, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\n' if !is_quoted => end = at + 1,
            _ => {}
        }
    }
    end
}

fn write(what: What, header: &[String], fields: &[Cow<'_, str>], out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, field)) in header.iter().zip(fields).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        text::quote(name, out);
        out.push(b':');
        match (what, name.as_str()) {
            _ if field == "null" => out.extend_from_slice(b"null"),
            (What::Activities, "attributes") => attributes(field, out),
            (What::Activities, "leadId" | "activityTypeId" | "campaignId") if is_whole(field) => {
                out.extend_from_slice(field.as_bytes());
            }
            _ => text::quote(field, out),
        }
    }
    out.push(b'}');
}

/// A number that JSON takes as it is.
fn is_whole(text: &str) -> bool {
    !text.is_empty() && text.len() < 19 && text.bytes().all(|c| c.is_ascii_digit()) && !text.starts_with('0')
}

fn attributes(object: &str, out: &mut Vec<u8>) {
    let object = object.trim();
    let is_json = crate::extract::json::check(object).is_ok();
    match object.as_bytes().first() {
        Some(b'[') if is_json => out.extend_from_slice(object.as_bytes()),
        Some(b'{') if is_json => {
            out.push(b'[');
            for (index, (name, value)) in members(object).filter_map(Result::ok).enumerate() {
                out.extend_from_slice(if index > 0 { b",{\"name\":" } else { b"{\"name\":" });
                text::quote(&name, out);
                out.extend_from_slice(b",\"value\":");
                out.extend_from_slice(value.as_bytes());
                out.push(b'}');
            }
            out.push(b']');
        }
        _ => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn read(what: What, parts: &[&[u8]]) -> (Vec<Value>, File) {
        let mut file = File::new(what);
        let mut records = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let each = |record: &str| records.push(serde_json::from_str(record).unwrap());
            file.take(part, index + 1 == parts.len(), each).unwrap();
        }
        (records, file)
    }

    const LEADS: &str = "id,lastName,city\n1,\"a \"\"b\"\",\nc\",null\n2,Zoë,\n";

    #[test]
    fn parts_may_end_anywhere() {
        let want = vec![
            json!({"id": "1", "lastName": "a \"b\",\nc", "city": null}),
            json!({"id": "2", "lastName": "Zoë", "city": ""}),
        ];
        for cut in 0..=LEADS.len() {
            let (before, after) = LEADS.as_bytes().split_at(cut);
            assert_eq!(read(What::Leads, &[before, after]).0, want, "{cut}");
        }
        let (records, file) = read(What::Leads, &[LEADS.as_bytes()]);
        assert_eq!(records, want);
        let told = |bytes: u64, records: u64| Told {
            file_size: Some(bytes),
            number_of_records: Some(records),
            ..Told::default()
        };
        assert_eq!(file.check(&told(LEADS.len() as u64, 2)), Ok(()));
        let again = || read(What::Leads, &[LEADS.as_bytes()]).1;
        assert!(again().check(&told(LEADS.len() as u64, 3)).is_err());
        assert!(again().check(&told(1, 2)).is_err());
        let sum = Some(format!("sha256:{}", "0".repeat(64)));
        assert!(again().check(&Told { file_checksum: sum, ..Told::default() }).is_err());
    }

    #[test]
    fn a_record_that_was_cut_off_is_no_record() {
        for text in ["id,city\n1\n", "id,city\n1,\"x", "id,city\n1,x,y\n"] {
            assert!(File::new(What::Leads).take(text.as_bytes(), true, |_| ()).is_err(), "{text}");
        }
    }

    #[test]
    fn an_activity_is_as_the_log_tells_it() {
        let text = "marketoGUID,leadId,activityTypeId,campaignId,attributes\n\
            783,54,104,null,\"{\"\"Reason\"\":\"\"x, y\"\",\"\"Success\"\":false}\"\n\
            784,54,12,7,\"[{\"\"name\"\":\"\"Source Type\"\",\"\"value\"\":\"\"Web\"\"}]\"\n785,54,12,7,oops\n";
        let (records, _) = read(What::Activities, &[text.as_bytes()]);
        let attributes = json!([{"name": "Reason", "value": "x, y"}, {"name": "Success", "value": false}]);
        assert_eq!(
            records[0],
            json!({"marketoGUID": "783", "leadId": 54, "activityTypeId": 104, "campaignId": null, "attributes": attributes})
        );
        assert_eq!(records[1]["attributes"], json!([{"name": "Source Type", "value": "Web"}]));
        assert_eq!(records[2]["attributes"], Value::Null);
    }
}
