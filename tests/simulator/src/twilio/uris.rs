//! Decides the addresses of pages: relative, with the filters of the first call and a token that names a record.

use crate::http::Request;

/// What a list gives at most, and when the call does not say.
const MOST: usize = 1000;
const USUAL: usize = 50;

/// Where a page is: its number is for the client only, the token counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub size: usize,
    pub page: u64,
    pub token: Option<Token>,
}

/// `PA` and a sid: after that record. `PB` and a sid: before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    After(String),
    Before(String),
}

impl Token {
    fn parse(text: &str) -> Option<Token> {
        match text.get(..2)? {
            "PA" => Some(Token::After(text[2..].into())),
            "PB" => Some(Token::Before(text[2..].into())),
            _ => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Token::After(sid) => format!("PA{sid}"),
            Token::Before(sid) => format!("PB{sid}"),
        }
    }
}

/// Why a place cannot be read: the app's error code and message.
pub type Wrong = (u64, &'static str);

impl Place {
    pub fn read(params: &[(String, String)]) -> Result<Place, Wrong> {
        let get = |name: &str| params.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let size = match get("PageSize").map(str::parse::<usize>) {
            None => USUAL,
            Some(Ok(size)) if (1..=MOST).contains(&size) => size,
            Some(_) => return Err((20007, "Page size must be an integer between 1 and 1000")),
        };
        let page = get("Page").and_then(|p| p.parse().ok()).unwrap_or(0);
        let token = match get("PageToken").filter(|t| !t.is_empty()) {
            None => None,
            Some(text) => Some(Token::parse(text).ok_or((20001, "Invalid PageToken"))?),
        };
        // Pages cannot be reached by their number alone since 2015.
        if page > 0 && token.is_none() {
            return Err((20001, "Page by number is no longer supported: use next_page_uri"));
        }
        Ok(Place { size, page, token })
    }
}

/// Percent-encoding as in the app's own URIs: a space is `+`.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// The address of a page of the same list: filters first, then the place.
pub fn uri(request: &Request, size: usize, page: u64, token: Option<&Token>) -> String {
    let mut uri = format!("{}?", request.path);
    for (name, value) in request.params() {
        if !matches!(name.as_str(), "PageSize" | "Page" | "PageToken") {
            encode(&name, &mut uri);
            uri.push('=');
            encode(&value, &mut uri);
            uri.push('&');
        }
    }
    uri.push_str(&format!("PageSize={size}&Page={page}"));
    if let Some(token) = token {
        uri.push_str(&format!("&PageToken={}", token.text()));
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Request {
        Request { path: "/2010-04-01/Accounts/AC1/Calls.json".into(), query: query.into(), ..Request::default() }
    }

    #[test]
    fn the_next_page_keeps_the_filters_and_names_the_last_record() {
        let request = asked("StartTime%3E=2008-01-02&To=%2B123&PageSize=2&Page=3&PageToken=PACA9");
        let place = Place::read(&request.params()).unwrap();
        assert_eq!(place, Place { size: 2, page: 3, token: Some(Token::After("CA9".into())) });
        assert_eq!(
            uri(&request, 2, 4, Some(&Token::After("CA7".into()))),
            "/2010-04-01/Accounts/AC1/Calls.json?StartTime%3E=2008-01-02&To=%2B123&PageSize=2&Page=4&PageToken=PACA7"
        );
        // The same written without encoding.
        assert!(
            uri(&asked("StartTime>=2008-01-02"), 50, 0, None).ends_with("?StartTime%3E=2008-01-02&PageSize=50&Page=0")
        );
    }

    #[test]
    fn sizes_have_bounds_and_pages_need_their_token() {
        let code = |query: &str| Place::read(&asked(query).params()).map(|p| p.size).map_err(|w| w.0);
        for (query, want) in [
            ("", Ok(50)),
            ("PageSize=1000", Ok(1000)),
            ("PageSize=1001", Err(20007)),
            ("PageSize=0", Err(20007)),
            ("PageSize=x", Err(20007)),
            ("Page=0", Ok(50)),
            ("Page=1", Err(20001)),
            ("PageToken=XX1", Err(20001)),
            ("PageToken=P\u{e9}", Err(20001)),
        ] {
            assert_eq!(code(query), want, "{query}");
        }
    }
}
