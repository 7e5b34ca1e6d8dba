//! Decides whether an address is one that calls can go to, and whether a header may be set by a file.
//!
//! Values are not known here; they are judged when the address is filled (`http::address`).
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::Mistakes;
use reqwest::Url;

/// Headers that decide where a request goes or where it ends: the HTTP client's own.
const OWN_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The template of a whole address. One that begins with a name has its scheme and host from there.
pub(super) fn check(place: &str, text: &str, is_base: bool, found: &mut Mistakes) {
    let Ok(url) = Url::parse(&stand_in(text)) else {
        return found.say(place, "is no address: https://host/path");
    };
    let web = matches!(url.scheme(), "https" | "http") && url.host_str().is_some_and(|host| !host.is_empty());
    found.when(!web, place, "is no address: https://host/path");
    let user = !url.username().is_empty() || url.password().is_some();
    found.when(user, place, "holds a user name or password: credentials go into auth");
    let tail = url.fragment().is_some() || (is_base && url.query().is_some());
    found.when(tail, place, "ends with its path: parameters go into params");
}

/// The address with something harmless in place of each name.
fn stand_in(text: &str) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, (_, after))) = rest.split_once('{').and_then(|(b, a)| Some((b, a.split_once('}')?))) {
        filled.push_str(before);
        filled.push_str(if filled.is_empty() { "https://host" } else { "1" });
        rest = after;
    }
    filled + rest
}

/// A header that a file sets.
pub(super) fn header(place: &str, name: &str, found: &mut Mistakes) {
    let is_name = reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok();
    found.when(!is_name, place, "is no name of a header");
    let own = OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str());
    found.when(own, place, "is a header that the HTTP client sets itself");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(work: impl Fn(&mut Mistakes)) -> Vec<String> {
        let mut found = Mistakes::default();
        work(&mut found);
        found.list.into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn an_address_has_a_host_and_no_credentials() {
        for (text, wrong) in [
            ("https://api.example.com/v1", None),
            ("http://localhost:8080", None),
            ("https://{dc}.api.example.com", None),
            ("https://{api_key|after_last:/}.example.com:{port}/x", None),
            ("{instance_url}", None),
            ("{login_url}/services/oauth2/token", None),
            ("https://{host}", None),
            ("api.example.com", Some("no address")),
            ("file:///etc/passwd", Some("no address")),
            ("ftp://api.example.com", Some("no address")),
            ("https://", Some("no address")),
            ("https://user:pw@api.example.com", Some("user name or password")),
            ("https://{user}@api.example.com", Some("user name or password")),
            ("https://api.example.com@evil.test", Some("user name or password")),
            ("https://api.example.com?key=1", Some("ends with its path")),
            ("https://api.example.com/#a", Some("ends with its path")),
        ] {
            let said = mistakes(|found| check("/base_url", text, true, found));
            assert_eq!(said.is_empty(), wrong.is_none(), "{text}: {said:?}");
            assert!(wrong.is_none_or(|part| said.iter().any(|message| message.contains(part))), "{text}: {said:?}");
        }
        assert!(mistakes(|found| check("/auth/token_url", "https://a.example/t?x=1", false, found)).is_empty());
    }

    #[test]
    fn a_file_does_not_set_the_headers_of_the_client() {
        for (name, good) in [("X-Api-Key", true), ("Accept", true), ("Host", false), ("content-length", false)] {
            assert_eq!(mistakes(|found| header("/headers/x", name, found)).is_empty(), good, "{name}");
        }
        assert!(!mistakes(|found| header("/headers/x", "a b", found)).is_empty());
        assert!(!mistakes(|found| header("/headers/x", "a\r\nHost", found)).is_empty());
    }
}
