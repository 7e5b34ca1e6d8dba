//! Decides what leads to the next page of a listing, by what a page says, and how its request is made.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::raw::{text_at, text_of};
use super::request::put;
use crate::http::{Reply, Request};
use crate::manifest::{field_path, Pages, Until};
use serde_json::Value;

/// What leads on from a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Onward {
    /// Id, address or token of the next page, or for counted pages anything at all; `None` at the end.
    pub next: Option<String>,
    /// A token that is a number in the reply is a number in a body, too.
    pub is_number: bool,
    /// There is a next page, but nothing says where.
    pub stuck: bool,
    /// Records, or pages, of the whole listing.
    pub total: Option<u64>,
    /// Records of the whole listing, where its pages are numbered.
    pub records: Option<u64>,
    /// Where an export in the order of time has come to, Unix seconds.
    pub time: Option<i64>,
}

/// What a page says, by pointer; only those of [`pointers`] are asked for.
pub type Said<'s, 'a> = &'s dyn Fn(&str) -> Option<&'a str>;

/// Where a page may say how the listing goes on.
pub fn pointers(pages: &Pages) -> Vec<&str> {
    let found: Vec<Option<&str>> = match pages {
        Pages::None | Pages::HeaderToken { .. } | Pages::LinkHeader { .. } => Vec::new(),
        Pages::LastId { more, .. } => vec![Some(more)],
        Pages::NextUrl { pointer, more, end, .. } | Pages::Token { pointer, more, end, .. } => {
            vec![Some(pointer), more.as_deref(), end.as_deref()]
        }
        Pages::Offset { more, total, .. } => vec![more.as_deref(), total.as_deref()],
        Pages::PageNumber { more, total, total_pages, .. } => {
            vec![more.as_deref(), total.as_deref(), total_pages.as_deref()]
        }
        Pages::Scroll { pointer, .. } => vec![Some(pointer)],
        Pages::TimeExport { pointer, time, end, .. } => vec![Some(pointer), Some(time), end.as_deref()],
    };
    found.into_iter().flatten().collect()
}

/// Whether there is something at a pointer that means yes.
fn says_yes(said: Said<'_, '_>, pointer: &str) -> bool {
    let value = said(pointer).map(str::trim);
    !matches!(value, None | Some("false" | "null" | "0" | "\"\"" | "\"false\"" | "[]" | "{}"))
}

fn number(said: Said<'_, '_>, pointer: &str) -> Option<u64> {
    said(pointer).and_then(text_of)?.parse().ok()
}

/// Reads what leads on. `count` is the number of elements that the app counts, `last` the last record.
pub fn onward(
    pages: &Pages,
    reply: &Reply,
    said: Said<'_, '_>,
    count: usize,
    last: Option<&str>,
) -> Result<Onward, String> {
    let mut onward = Onward::default();
    let text =
        |pointer: &str| said(pointer).and_then(text_of).filter(|text| !text.is_empty()).map(|text| text.into_owned());
    let goes_on = |more: &Option<String>, end: &Option<String>| {
        more.as_ref().is_none_or(|more| says_yes(said, more)) && !end.as_ref().is_some_and(|end| says_yes(said, end))
    };
    match pages {
        Pages::None => {}
        Pages::LastId { field, more, .. } => match said(more) {
            Some("true") => {
                onward.next = last.and_then(|last| text_at(last, field)).map(|id| id.into_owned());
                onward.stuck = onward.next.is_none();
            }
            Some("false" | "null") => {}
            _ => return Err(format!("the reply does not say at \"{more}\" whether there is more")),
        },
        Pages::NextUrl { pointer, more, end, .. } | Pages::Token { pointer, more, end, .. } => {
            onward.next = text(pointer).filter(|_| goes_on(more, end));
            onward.is_number = said(pointer).is_some_and(|value| !value.starts_with('"'));
        }
        Pages::HeaderToken { header, .. } => {
            let value = reply.headers.get(header.as_str()).and_then(|value| value.to_str().ok());
            onward.next = value.map(str::trim).filter(|text| !matches!(*text, "" | "null")).map(str::to_string);
        }
        Pages::LinkHeader { rel, .. } => {
            let headers = reply.headers.get_all(reqwest::header::LINK).iter();
            onward.next = headers.filter_map(|value| link(value.to_str().ok()?, rel)).next();
        }
        Pages::Offset { size, more, total, until, .. } => {
            onward.total = total.as_ref().and_then(|pointer| number(said, pointer));
            onward.next = counted(said, count, Some(*size), more, *until, onward.total.is_some());
        }
        Pages::PageNumber { size, more, total, total_pages, until, .. } => {
            let records = total.as_ref().and_then(|pointer| number(said, pointer));
            onward.records = records;
            let pages = records.zip(*size).map(|(records, size)| records.div_ceil(u64::from(size.max(1))));
            onward.total = total_pages.as_ref().and_then(|pointer| number(said, pointer)).or(pages);
            onward.next = counted(said, count, *size, more, *until, onward.total.is_some());
        }
        Pages::Scroll { pointer, .. } => onward.next = text(pointer).filter(|_| count > 0),
        Pages::TimeExport { pointer, time, end, size, .. } => {
            onward.time = text(time).and_then(|text| text.parse().ok());
            let ends = match end.as_ref().filter(|end| said(end).is_some_and(|value| value != "null")) {
                Some(end) => says_yes(said, end),
                None => count < *size as usize,
            };
            onward.next = text(pointer).filter(|_| !ends);
            onward.stuck = !ends && onward.next.is_none();
        }
    }
    Ok(onward)
}

/// Whether a counted listing may go on; the pager compares its count with the total.
fn counted(
    said: Said<'_, '_>,
    count: usize,
    size: Option<u32>,
    more: &Option<String>,
    until: Until,
    has_total: bool,
) -> Option<String> {
    let goes_on = match (more, until, size) {
        (Some(more), ..) => says_yes(said, more),
        (None, Until::NotFound, _) => true,
        // A listing that grows shorter while it is read ends with its last records, whatever the total was.
        _ if has_total => count > 0,
        (None, Until::ShortPage, Some(size)) => count >= size as usize,
        _ => count > 0,
    };
    goes_on.then(|| count.to_string())
}

/// The address with a relation in a `Link` header.
fn link(header: &str, rel: &str) -> Option<String> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, tail) = after.split_once('>')?;
        // Parameters end where the next address begins.
        let (params, next) =
            tail.split_once(",").map_or((tail, ""), |(params, next)| match next.trim_start().starts_with('<') {
                true => (params, next),
                false => (
                    tail.split_once('<').map_or(tail, |(params, _)| params),
                    tail.find('<').and_then(|at| tail.get(at..)).unwrap_or(""),
                ),
            });
        let is_it = params.split(';').filter_map(|param| param.split_once('=')).any(|(name, value)| {
            let value = value.trim().trim_end_matches(',').trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel")
                && value.split_whitespace().any(|word| word.eq_ignore_ascii_case(rel))
        });
        if is_it {
            return Some(target.trim().to_string());
        }
        rest = next;
    }
    None
}

/// Where a counted listing stands by a request: its offset, or the number of its page.
pub fn place_of(request: &Request, place: &str) -> Option<u64> {
    text_of_place(request, place)?.0.parse().ok()
}

/// What a request has in a place, and whether it is a number there.
pub fn text_of_place(request: &Request, place: &str) -> Option<(String, bool)> {
    if !place.starts_with('/') {
        return request.query.iter().find(|(name, _)| name == place).map(|(_, value)| (value.clone(), false));
    }
    let mut at = request.json_body.as_ref()?;
    for key in field_path(place) {
        at = match at {
            Value::Array(items) => items.get(key.parse::<usize>().ok()?)?,
            other => other.get(key.as_str())?,
        };
    }
    match at {
        Value::String(text) => Some((text.clone(), false)),
        Value::Number(number) => Some((number.to_string(), true)),
        _ => None,
    }
}

/// The request with a token in its place.
pub fn with_token(request: &Request, place: &str, token: &str, is_number: bool) -> Request {
    let mut request = request.clone();
    let number = || serde_json::from_str::<serde_json::Number>(token).ok().map(Value::Number);
    let value = if is_number { number() } else { None };
    put(&mut request, place, value.unwrap_or_else(|| Value::String(token.to_string())));
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reply(headers: &[(&'static str, &str)]) -> Reply {
        let headers = headers.iter().map(|(name, value)| {
            (reqwest::header::HeaderName::from_static(name), reqwest::header::HeaderValue::from_str(value).unwrap())
        });
        Reply {
            status: 200,
            headers: headers.collect(),
            body: bytes::Bytes::new(),
            date_us: None,
            elapsed: std::time::Duration::ZERO,
        }
    }

    fn onward_of(pages: &Pages, reply: &Reply, root: &str, count: usize) -> Onward {
        onward(pages, reply, &|pointer| crate::extract::rest::raw::at(root, pointer), count, None).unwrap()
    }

    fn next(pages: Value, root: Value, count: usize) -> Option<String> {
        let pages: Pages = serde_json::from_value(pages).unwrap();
        onward_of(&pages, &reply(&[]), &root.to_string(), count).next
    }

    #[test]
    fn a_listing_goes_on_as_the_app_says() {
        let url = |more: Value| json!({"links": {"next": "/p2"}, "meta": {"has_more": more}});
        let next_url = || json!({"style": "next_url", "pointer": "/links/next", "more": "/meta/has_more"});
        assert_eq!(next(next_url(), url(json!(true)), 1).as_deref(), Some("/p2"));
        assert_eq!(next(next_url(), url(json!(false)), 1), None, "Zendesk gives an address after the last page, too");
        let export = || json!({"style": "next_url", "pointer": "/after_url", "end": "/end_of_stream"});
        assert_eq!(next(export(), json!({"after_url": "u", "end_of_stream": true}), 9), None);
        assert_eq!(next(export(), json!({"after_url": "u", "end_of_stream": false}), 0).as_deref(), Some("u"));
        let token = || json!({"style": "token", "pointer": "/t", "param": "t", "more": "/paging/next"});
        assert_eq!(next(token(), json!({"t": "a", "paging": {"next": "https://x"}}), 1).as_deref(), Some("a"));
        assert_eq!(next(token(), json!({"t": "a", "paging": {}}), 1), None);
        let pages: Pages = serde_json::from_value(json!({"style": "token", "pointer": "/o", "param": "/o"})).unwrap();
        let number = onward_of(&pages, &reply(&[]), r#"{"o": 500}"#, 1);
        assert_eq!((number.next.as_deref(), number.is_number), (Some("500"), true));
    }

    #[test]
    fn counted_listings_end_as_they_are_told() {
        let offset = |more: Value| {
            let mut pages = json!({"style": "offset", "param": "o", "size_param": "n", "size": 10});
            more.as_object().unwrap().iter().for_each(|(name, value)| pages[name] = value.clone());
            pages
        };
        for (name, pages, root, count, goes_on) in [
            ("full", offset(json!({})), json!({}), 10, true),
            ("short", offset(json!({})), json!({}), 9, false),
            ("short, but only an empty one ends it", offset(json!({"until": "empty_page"})), json!({}), 9, true),
            ("empty", offset(json!({"until": "empty_page"})), json!({}), 0, false),
            ("the app says more", offset(json!({"more": "/m"})), json!({"m": true}), 3, true),
            ("the app says no", offset(json!({"more": "/m"})), json!({"m": false}), 10, false),
            ("a total decides, not the page", offset(json!({"total": "/t"})), json!({"t": 30}), 3, true),
        ] {
            assert_eq!(next(pages, root, count).is_some(), goes_on, "{name}");
        }
        let pages: Pages =
            serde_json::from_value(json!({"style": "page_number", "param": "p", "total": "/t", "size": 10})).unwrap();
        assert_eq!(onward_of(&pages, &reply(&[]), r#"{"t": 21}"#, 10).total, Some(3));
    }

    #[test]
    fn an_export_ends_where_the_app_has_come_to_now() {
        let export = || json!({"style": "time_export", "pointer": "/next_page", "time": "/end_time", "end": "/end_of_stream", "size": 10});
        let root = |end: Value| json!({"next_page": "u", "end_time": 1700, "end_of_stream": end});
        assert_eq!(next(export(), root(json!(true)), 10), None);
        assert_eq!(next(export(), root(json!(false)), 3).as_deref(), Some("u"));
        assert_eq!(next(export(), root(json!(null)), 3), None, "without the flag, a short page ends it");
        assert_eq!(next(export(), root(json!(null)), 10).as_deref(), Some("u"));
    }

    #[test]
    fn links_are_found_by_their_relation() {
        for (header, want) in [
            (
                "<https://x.test/?page=2>; rel=\"next\", <https://x.test/?page=9>; rel=\"last\"",
                Some("https://x.test/?page=2"),
            ),
            ("<https://x.test/?a=1,2>; rel=\"prev\", </p?b=3,4>; title=\"a, b\"; rel=next", Some("/p?b=3,4")),
            ("<u>; rel=\"prev first\"", None),
            ("<u>; rel=\"last NEXT\"", Some("u")),
            ("nonsense", None),
        ] {
            assert_eq!(link(header, "next").as_deref(), want, "{header}");
        }
        let pages: Pages = serde_json::from_value(json!({"style": "link_header"})).unwrap();
        let both = reply(&[("link", "<a>; rel=\"prev\""), ("link", "<b>; rel=\"next\"")]);
        assert_eq!(onward_of(&pages, &both, "[]", 1).next.as_deref(), Some("b"));
        let pages: Pages =
            serde_json::from_value(json!({"style": "header_token", "header": "x-next", "param": "p"})).unwrap();
        assert_eq!(onward_of(&pages, &reply(&[("x-next", "null")]), "[]", 1).next, None);
        assert_eq!(onward_of(&pages, &reply(&[("x-next", "ab")]), "[]", 1).next.as_deref(), Some("ab"));
    }
}
