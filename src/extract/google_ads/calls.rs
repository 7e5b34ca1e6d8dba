//! Makes queries: a whole answer in one call, or page by page.
//!
//! `searchStream` answers everything at once, as an array of chunks: a refresh asks it, one call a query. `search` gives
//! pages of 10,000 rows: a live query asks it, so that nothing is fetched that nobody reads, and a refresh where the whole
//! answer is larger than `max_body_bytes`. To Google both are one operation, whatever the number of pages.
//!
//! Docs: developers.google.com/google-ads/api/rest/common/search; docs/best-practices/quotas.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::customers::Customer;
use super::gaql::Query;
use crate::error::SyncError;
use crate::extract::json;
use crate::extract::rest::pages::Text;
use crate::extract::rest::raw::{elements, text_of, Parts};
use crate::http::{ApiClient, Reply, Request};
use serde_json::json;
use std::collections::HashSet;
use std::sync::atomic::Ordering;

/// The answer to one call.
#[derive(Debug)]
pub struct Answer {
    text: Text,
    /// Whether it is an array of chunks.
    is_stream: bool,
    /// When Google began with it, by its own clock, microseconds since 1970.
    pub begun_us: Option<i64>,
}

impl Answer {
    /// Its rows, as JSON text, chunk by chunk.
    pub fn rows(&self) -> impl Iterator<Item = &str> + '_ {
        let whole = self.text.as_str();
        let chunks: Box<dyn Iterator<Item = &str> + Send> =
            if self.is_stream { Box::new(json::elements(whole).flatten()) } else { Box::new(std::iter::once(whole)) };
        chunks.flat_map(|chunk| Parts::read(chunk, &["/results"]).map(|parts| parts.elements).unwrap_or_default())
    }
}

fn begun_us(reply: &Reply) -> Option<i64> {
    reply.date_us?.checked_sub(i64::try_from(reply.elapsed.as_micros()).ok()?)
}

/// The call for a query; `page_token` is for the next page of `search`.
pub fn request(customer: &Customer, query: &Query, is_stream: bool, page_token: Option<&str>) -> Request {
    let method = if is_stream { "searchStream" } else { "search" };
    let mut body = json!({ "query": query.text() });
    if let (Some(token), Some(members)) = (page_token, body.as_object_mut()) {
        members.insert("pageToken".to_string(), token.into());
    }
    let login = customer.login.iter().map(|id| ("login-customer-id".to_string(), id.clone()));
    Request {
        post: true,
        target: format!("/{{api_version}}/customers/{}/googleAds:{method}", customer.id),
        headers: login.collect(),
        json_body: Some(body),
        ..Request::default()
    }
}

/// The whole answer to a query.
pub async fn stream(api: &ApiClient, customer: &Customer, query: &Query) -> Result<Answer, SyncError> {
    let answer = api.call_parsed(request(customer, query, true, None), read_stream).await?;
    api.stats().pages.fetch_add(1, Ordering::Relaxed);
    Ok(answer)
}

/// Sees that a reply is an array of chunks to its end. One that broke off half way has an error among them.
fn read_stream(reply: &Reply) -> Result<Answer, String> {
    let text = Text::of(&reply.body);
    let chunks = elements(text.as_str()).ok_or("not an array of chunks")?;
    for chunk in chunks {
        let parts = Parts::read(chunk, &["/results", "/error"]).map_err(|error| error.to_string())?;
        if let Some(error) = parts.value(1) {
            return Err(format!("the stream broke off: {error}"));
        }
    }
    Ok(Answer { text, is_stream: true, begun_us: begun_us(reply) })
}

/// The pages of one query.
pub struct Pages<'a> {
    api: &'a ApiClient,
    customer: Customer,
    query: Query,
    seen: HashSet<String>,
    /// The token of the next page; `None` behind the last one.
    next: Option<String>,
    pages: u64,
}

impl<'a> Pages<'a> {
    pub fn new(api: &'a ApiClient, customer: &Customer, query: Query) -> Self {
        let customer = customer.clone();
        Pages { api, customer, query, seen: HashSet::new(), next: Some(String::new()), pages: 0 }
    }

    pub fn is_done(&self) -> bool {
        self.next.is_none()
    }

    /// The next page, or `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Answer>, SyncError> {
        let Some(token) = self.next.take() else { return Ok(None) };
        let most = self.api.account().policy.max_pages;
        if self.pages >= most {
            return Err(SyncError::TooLarge { what: "the number of pages".to_string(), limit: most });
        }
        let token = Some(token.as_str()).filter(|token| !token.is_empty());
        let (answer, next) =
            self.api.call_parsed(request(&self.customer, &self.query, false, token), read_page).await?;
        self.api.stats().pages.fetch_add(1, Ordering::Relaxed);
        self.pages += 1;
        if let Some(next) = &next {
            if !self.seen.insert(next.clone()) {
                let detail = format!("page {} gave a page token that was used before", self.pages);
                return Err(SyncError::PagerLoop { detail });
            }
        }
        self.next = next;
        Ok(Some(answer))
    }
}

fn read_page(reply: &Reply) -> Result<(Answer, Option<String>), String> {
    let text = Text::of(&reply.body);
    let parts = Parts::read(text.as_str(), &["/results", "/nextPageToken"]).map_err(|error| error.to_string())?;
    if !text.as_str().trim_start().starts_with('{') {
        return Err("not a page of rows".to_string());
    }
    let next = parts.value(1).and_then(text_of).map(|token| token.into_owned()).filter(|token| !token.is_empty());
    Ok((Answer { text, is_stream: false, begun_us: begun_us(reply) }, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn reply(body: &str) -> Reply {
        Reply {
            status: 200,
            headers: Default::default(),
            body: body.to_string().into(),
            date_us: Some(10_000_000),
            elapsed: Duration::from_secs(2),
        }
    }

    #[test]
    fn chunks_are_read_one_after_the_other() {
        let body =
            r#"[{"results": [{"a": 1}, {"a": 2}], "fieldMask": "a"}, {"fieldMask": "a"}, {"results": [{"a": 3}]}]"#;
        let answer = read_stream(&reply(body)).unwrap();
        assert_eq!(answer.rows().collect::<Vec<_>>(), [r#"{"a": 1}"#, r#"{"a": 2}"#, r#"{"a": 3}"#]);
        assert_eq!(answer.begun_us, Some(8_000_000));
        assert_eq!(read_stream(&reply("[]")).unwrap().rows().count(), 0);
    }

    #[test]
    fn what_broke_off_is_no_answer() {
        for (name, body) in [
            ("cut off", r#"[{"results": [{"a": 1}]}"#),
            ("cut off within a chunk", r#"[{"results": [{"a": 1}"#),
            ("an error among the chunks", r#"[{"results": [{"a": 1}]}, {"error": {"code": 500}}]"#),
            ("an object", r#"{"results": []}"#),
            ("html", "<html>"),
        ] {
            assert!(read_stream(&reply(body)).is_err(), "{name}");
        }
        for body in ["[]", "", r#"{"results": ["#] {
            assert!(read_page(&reply(body)).is_err(), "{body}");
        }
    }

    #[test]
    fn a_page_tells_of_the_next() {
        let (answer, next) = read_page(&reply(r#"{"results": [{"a": 1}], "nextPageToken": "x"}"#)).unwrap();
        assert_eq!((answer.rows().count(), next.as_deref()), (1, Some("x")));
        let (answer, next) = read_page(&reply(r#"{"fieldMask": "a", "nextPageToken": ""}"#)).unwrap();
        assert_eq!((answer.rows().count(), next), (0, None));
    }
}
