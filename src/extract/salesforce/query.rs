//! Decides how one query is paged: from its first reply along `nextRecordsUrl` to `done`.
//!
//! A listing that would never end is an error: a link that was followed already, or empty pages that promise more.
//! Records stay raw text; only the last one of a page is looked into, for the place where a broken listing goes on.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::plan::{page_header, ID};
use crate::error::SyncError;
use crate::extract::time;
use crate::http::{ApiClient, Reply, Request};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Empty pages in a row that say there is more, until we stop believing it.
const EMPTY_PAGES: u32 = 3;

/// Where a record stands in the order of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub id: String,
    /// The cursor field, microseconds since 1970.
    pub stamp: Option<i64>,
}

/// What one page was, beside its records.
#[derive(Clone, Debug, Default)]
pub struct PageFacts {
    pub records: usize,
    /// When the app began with the call, by its own clock.
    pub begun_us: Option<i64>,
    /// Of the last record.
    pub last: Option<Place>,
    /// Records of the whole listing.
    pub total: u64,
}

/// A reply of `query` or `queryAll`.
#[derive(Deserialize)]
struct QueryReply<'a> {
    done: bool,
    #[serde(borrow, rename = "nextRecordsUrl", default)]
    next: Option<Cow<'a, str>>,
    #[serde(rename = "totalSize", default)]
    total: u64,
    #[serde(borrow)]
    records: Vec<&'a RawValue>,
}

/// The pages of one query.
#[derive(Debug)]
pub struct Listing {
    /// The call to make next; `None` behind the last page.
    request: Option<Request>,
    seen: HashSet<u64>,
    empty_in_a_row: u32,
    pages: u64,
}

impl Listing {
    pub fn new(first: Request) -> Self {
        Listing { request: Some(first), seen: HashSet::new(), empty_in_a_row: 0, pages: 0 }
    }

    pub fn is_done(&self) -> bool {
        self.request.is_none()
    }

    /// Makes the next call and hands each of its records to `take`, which fills what `start` makes. `None` at the end.
    ///
    /// Both may run again for the same page, when a reply was unreadable and is asked for again.
    pub async fn next<T: Send>(
        &mut self,
        api: &ApiClient,
        cursor: Option<&str>,
        start: impl Fn() -> T + Send + Sync,
        take: impl Fn(&mut T, &str) + Send + Sync,
    ) -> Result<Option<(T, PageFacts)>, SyncError> {
        let Some(request) = self.request.clone() else { return Ok(None) };
        let (taken, facts, next) = api.call_parsed(request, |reply| read_page(reply, cursor, &start, &take)).await?;
        api.stats().pages.fetch_add(1, Ordering::Relaxed);
        self.pages += 1;
        self.request = match next {
            None => None,
            Some(link) => Some(self.follow(link, facts.records, api.account().policy.max_pages)?),
        };
        Ok(Some((taken, facts)))
    }

    /// The call for a next link, unless following it would never end.
    fn follow(&mut self, link: String, records: usize, max_pages: u64) -> Result<Request, SyncError> {
        self.empty_in_a_row = if records == 0 { self.empty_in_a_row + 1 } else { 0 };
        let hash = xxhash_rust::xxh3::xxh3_64(link.as_bytes());
        if !self.seen.insert(hash) {
            return Err(SyncError::PagerLoop {
                detail: format!("page {} gave a next link that was followed before (hash {hash:016x})", self.pages),
            });
        }
        if self.empty_in_a_row >= EMPTY_PAGES {
            return Err(SyncError::PagerLoop {
                detail: format!("{EMPTY_PAGES} empty pages in a row said that there is more (hash {hash:016x})"),
            });
        }
        if self.pages >= max_pages {
            return Err(SyncError::TooLarge { what: "the number of pages".to_string(), limit: max_pages });
        }
        // The link says /query/ even when the listing began at /queryAll; deleted records keep coming.
        Ok(Request { target: link, headers: vec![page_header()], ..Request::default() })
    }
}

type ReadPage<T> = (T, PageFacts, Option<String>);

fn read_page<T>(
    reply: &Reply,
    cursor: Option<&str>,
    start: &impl Fn() -> T,
    take: &impl Fn(&mut T, &str),
) -> Result<ReadPage<T>, String> {
    // A byte that is not UTF-8 costs its own characters, never the page.
    let text = String::from_utf8_lossy(&reply.body);
    let page: QueryReply<'_> =
        serde_json::from_str(&text).map_err(|error| format!("not a reply to a query: {error}"))?;
    let next = match (page.done, page.next) {
        (true, _) => None,
        (false, Some(link)) if !link.is_empty() => Some(link.into_owned()),
        (false, _) => return Err("the listing is not done and has no nextRecordsUrl".to_string()),
    };
    let mut taken = start();
    for record in &page.records {
        take(&mut taken, record.get());
    }
    let facts = PageFacts {
        records: page.records.len(),
        begun_us: begun_us(reply),
        last: page.records.last().and_then(|record| place_of(record.get(), cursor)),
        total: page.total,
    };
    Ok((taken, facts, next))
}

/// When the app began with a call: its `Date`, less the time the call took, in whole seconds as the header has them.
/// What was committed before is in the reply, late publishing apart.
pub fn begun_us(reply: &Reply) -> Option<i64> {
    let took = i64::try_from(reply.elapsed.as_micros()).ok()?;
    let second = i64::try_from(Duration::from_secs(1).as_micros()).ok()?;
    Some((reply.date_us?.checked_sub(took)?).div_euclid(second) * second)
}

/// A record's id and stamp.
pub fn place_of(record: &str, cursor: Option<&str>) -> Option<Place> {
    let members = members(record)?;
    let text = |field: &str| {
        let (_, raw) = members.iter().find(|(key, _)| key == field)?;
        serde_json::from_str::<String>(raw.get()).ok()
    };
    Some(Place { id: text(ID)?, stamp: cursor.and_then(|field| time::parse_iso(&text(field)?)) })
}

/// The members of a record, values as raw text. `None` when it is not an object.
pub fn members(record: &str) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    struct Members;
    #[derive(Deserialize)]
    struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de RawValue)>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(Key(key)) = map.next_key()? {
                members.push((key, map.next_value()?));
            }
            Ok(members)
        }
    }
    serde_json::Deserializer::from_str(record).deserialize_map(Members).ok()
}

/// The app's own words in an error, where its error codes are found.
pub fn words_of(error: &SyncError) -> &str {
    match error {
        SyncError::AuthRejected { detail, .. }
        | SyncError::AccessDenied { detail, .. }
        | SyncError::NotFound { detail, .. }
        | SyncError::BadRequest { detail, .. }
        | SyncError::FieldRefused { detail }
        | SyncError::Unavailable { detail, .. }
        | SyncError::RateLimited { detail, .. }
        | SyncError::CursorExpired { detail } => detail,
        SyncError::Unsupported { reason } => reason,
        _ => "",
    }
}

/// Whether a listing broke because its next link is too old (docs: two days; fewer when an account opens many).
pub fn is_expired_locator(error: &SyncError) -> bool {
    matches!(error, SyncError::CursorExpired { .. }) || words_of(error).contains("INVALID_QUERY_LOCATOR")
}

/// Whether the address or its headers were too long.
pub fn is_too_long(error: &SyncError) -> bool {
    matches!(error, SyncError::BadRequest { status: 414 | 431, .. })
}

#[cfg(test)]
mod tests {
    use super::super::testing::recorded;
    use super::*;

    fn reply(body: &str) -> Reply {
        Reply {
            status: 200,
            headers: Default::default(),
            body: body.to_string().into(),
            date_us: Some(1_700_000_000_000_000),
            elapsed: Duration::from_millis(1500),
        }
    }

    fn read(body: &str) -> Result<ReadPage<Vec<String>>, String> {
        read_page(&reply(body), Some("Stamp"), &Vec::new, &|all: &mut Vec<String>, raw| all.push(raw.to_string()))
    }

    #[test]
    fn a_page_gives_its_records_raw_and_its_last_place() {
        let body = r#"{"totalSize":2,"done":false,"nextRecordsUrl":"/services/data/v62.0/query/01g-2",
            "records":[{"Id":"a","n":1.10},{"attributes":{"Id":"no"},"Id":"b","Stamp":"1970-01-01T00:00:01.000+0000"}]}"#;
        let (records, facts, next) = read(body).unwrap();
        assert_eq!(records[0], r#"{"Id":"a","n":1.10}"#);
        assert_eq!(facts.last, Some(Place { id: "b".into(), stamp: Some(1_000_000) }));
        assert_eq!(facts.begun_us, Some(1_699_999_998_000_000), "the call took 1.5 s");
        assert_eq!(next.as_deref(), Some("/services/data/v62.0/query/01g-2"));
    }

    #[test]
    fn what_is_not_a_page_is_refused() {
        for (name, body) in [
            ("empty", ""),
            ("html", "<html>"),
            ("an error object", r#"[{"errorCode":"X"}]"#),
            ("cut off", r#"{"totalSize":1,"done":true,"records":[{"Id":"a"}"#),
            ("no records", r#"{"totalSize":0,"done":true}"#),
            ("no done", r#"{"totalSize":0,"records":[]}"#),
            ("more, but nowhere", r#"{"done":false,"records":[]}"#),
        ] {
            assert!(read(body).is_err(), "{name}");
        }
    }

    #[test]
    fn recorded_pages_are_read() {
        for (file, records, more) in [
            ("query_empty_response.json", 0, false),
            ("query_success_response.json", 1, false),
            ("query_paginated_first_page_response.json", 1, true),
            ("query_paginated_last_page_response.json", 1, false),
        ] {
            let Some(body) = recorded(file) else { continue };
            let (got, _, next) = read(&body).unwrap();
            assert_eq!((got.len(), next.is_some()), (records, more), "{file}");
        }
    }

    #[test]
    fn a_listing_without_end_is_noticed() {
        let new = || Listing::new(Request::default());
        let mut same = new();
        assert!(same.follow("/a".into(), 1, 100).is_ok());
        assert!(same.follow("/b".into(), 1, 100).is_ok());
        assert!(matches!(same.follow("/a".into(), 1, 100), Err(SyncError::PagerLoop { .. })), "a cycle");
        let mut empty = new();
        assert!(empty.follow("/a".into(), 0, 100).is_ok());
        assert!(empty.follow("/b".into(), 0, 100).is_ok());
        assert!(matches!(empty.follow("/c".into(), 0, 100), Err(SyncError::PagerLoop { .. })), "empty pages");
        let mut long = new();
        long.pages = 5;
        assert!(matches!(long.follow("/a".into(), 1, 5), Err(SyncError::TooLarge { .. })), "too many pages");
    }
}
