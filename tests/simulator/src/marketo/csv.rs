//! Decides how an extract is written: the separator of the format, quotes where needed, `null` for what is empty.

use serde_json::Value;

/// The separator of a format the create call accepts.
pub fn separator(format: &str) -> Option<char> {
    match format {
        "CSV" => Some(','),
        "TSV" => Some('\t'),
        "SSV" => Some(' '),
        _ => None,
    }
}

/// One value. Empty is the word `null` without quotes (docs: /bulk-lead-extract, Retrieving Your Data).
pub fn cell(value: &Value, separator: char, out: &mut String) {
    let text = match value {
        Value::Null => "null".to_string(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains([separator, '"', '\n', '\r']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(&text);
    }
}

pub fn line<'a>(values: impl Iterator<Item = &'a Value>, separator: char, out: &mut String) {
    for (n, value) in values.enumerate() {
        if n > 0 {
            out.push(separator);
        }
        cell(value, separator, out);
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_quoted_only_where_they_must_be() {
        let mut out = String::new();
        let values =
            [json!(7), json!(null), json!("a,b"), json!("say \"x\"\nnow"), json!(true), json!(""), json!("nul\u{0}")];
        line(values.iter(), ',', &mut out);
        assert_eq!(out, "7,null,\"a,b\",\"say \"\"x\"\"\nnow\",true,,nul\u{0}\n");
        out.clear();
        line([json!("a,b"), json!("c\td")].iter(), '\t', &mut out);
        assert_eq!(out, "a,b\t\"c\td\"\n");
    }
}
