//! Decides how a place in a listing is written: offsets, cursors, and links to the next page.

use base64::Engine;
use serde_json::Value;

use crate::http::Request;

/// A parameter that is a whole number; `None` when it is not given or none.
pub fn number(request: &Request, name: &str) -> Option<usize> {
    request.param(name)?.trim().parse().ok()
}

/// At most `size` of the records from `offset` on.
pub fn slice<T>(all: &[T], offset: usize, size: usize) -> &[T] {
    let from = offset.min(all.len());
    &all[from..from.saturating_add(size).min(all.len())]
}

/// A place as an opaque text that is safe in a URL.
pub fn cursor(place: &Value) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(place.to_string())
}

/// The inverse of `cursor`; `None` for a text that is none.
pub fn read_cursor(text: &str) -> Option<Value> {
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Path and query of the request with some parameters replaced, or left away (`None`). Others keep their order.
pub fn path_with(request: &Request, changes: &[(&str, Option<&str>)]) -> String {
    let mut params = request.params();
    for (name, value) in changes {
        match (params.iter().position(|(n, _)| n == name), value) {
            (Some(at), Some(value)) => params[at].1 = value.to_string(),
            (Some(_), None) => params.retain(|(n, _)| n != name),
            (None, Some(value)) => params.push((name.to_string(), value.to_string())),
            (None, None) => {}
        }
    }
    let query: Vec<String> = params.iter().map(|(n, v)| format!("{}={}", encode(n), encode(v))).collect();
    match query.is_empty() {
        true => request.path.clone(),
        false => format!("{}?{}", request.path, query.join("&")),
    }
}

/// The same as a whole URL, at the address the client used.
pub fn link_with(request: &Request, changes: &[(&str, Option<&str>)]) -> String {
    format!("{}{}", request.origin(), path_with(request, changes))
}

/// Percent-encodes a parameter's name or value.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_link_keeps_the_other_parameters() {
        let request = Request {
            path: "/v1/things".into(),
            query: "page%5Bsize%5D=2&q=a+b&after=x".into(),
            headers: vec![("host".into(), "127.0.0.1:9".into())],
            ..Request::default()
        };
        assert_eq!(path_with(&request, &[("after", Some("y"))]), "/v1/things?page%5Bsize%5D=2&q=a%20b&after=y");
        assert_eq!(path_with(&request, &[("after", None), ("z", None)]), "/v1/things?page%5Bsize%5D=2&q=a%20b");
        assert!(link_with(&request, &[("n", Some("1"))]).starts_with("http://127.0.0.1:9/v1/things?"));
        assert_eq!(number(&request, "page[size]"), Some(2));
    }

    #[test]
    fn a_cursor_is_read_back_and_junk_is_not() {
        let place = json!([17, "a/b"]);
        assert_eq!(read_cursor(&cursor(&place)), Some(place));
        assert_eq!(read_cursor("!!"), None);
        assert_eq!((slice(&[1, 2, 3], 1, 5), slice(&[1, 2, 3], 7, 5)), (&[2, 3][..], &[][..]));
    }
}
