//! Completes the records of a page with what only another call tells of them, asked for many at once.
//!
//! Nothing is asked that no table has a column for, nor of a record that the listing told whole. A call that fails is a
//! failure of the reading: rows that lack what they had would be wrong.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::full::overlap_us;
use super::names::Names;
use super::pages::{parse_page, ListPage, Shape};
use super::raw::{at, elements, text_at};
use super::request::{key_text, request_with, stamp_of, SECOND_US};
use super::take::take;
use super::wide::join;
use crate::error::SyncError;
use crate::extract::text::quoted;
use crate::extract::{OutColumn, Output};
use crate::http::{ApiClient, Request};
use crate::manifest::{field_path, Collection, Lookup, NoneOf, Pages};
use futures_util::future::try_join_all;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

/// Records at the end of a reading that the next one need not ask about; of more it asks again.
const MOST_TOLD: usize = 1000;
/// A record that changed so short a time ago may change again with the same stamp.
const SETTLED_US: i64 = 2 * SECOND_US;
/// More answers about one record than these are a loop.
const MOST_PARTS: u32 = 10_000;

/// Records of which a reading has told all, by key, with their stamps in microseconds. The next reading looks back over
/// some of them, and need not ask about them again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told(BTreeMap<String, i64>);

impl Told {
    /// What the last reading left behind, where all the tables were in it; `None` when nothing is looked up.
    pub fn of(base: &Collection, outputs: &[Output]) -> Option<Told> {
        if wanted(base, outputs).is_empty() {
            return None;
        }
        let known = |output: &Output| output.checkpoint.as_ref().and_then(|known| known.get("told")).cloned();
        let first = outputs.first().and_then(known);
        let first = first.filter(|first| outputs.iter().all(|output| known(output).as_ref() == Some(first)));
        let members = first.as_ref().and_then(Value::as_object).into_iter().flatten();
        Some(Told(members.filter_map(|(key, at)| Some((key.clone(), at.as_i64()?))).collect()))
    }

    fn knows(&self, base: &Collection, raw: &str) -> bool {
        let stamp = || stamp_of(base.cursor.as_ref()?, raw);
        key_text(base, raw).is_some_and(|key| self.0.get(&key).copied().is_some_and(|at| stamp() == Some(at)))
    }

    /// Takes note of a page, and forgets what the next reading will not look back on.
    pub fn see(&mut self, base: &Collection, page: &ListPage) {
        let (Some(cursor), Some(now)) = (&base.cursor, page.date_us) else { return };
        for raw in page.records() {
            let Some((key, at)) = key_text(base, raw).zip(stamp_of(cursor, raw)) else { continue };
            if at.saturating_add(SETTLED_US) <= now {
                self.0.insert(key, at);
            } else {
                self.0.remove(&key);
            }
        }
        let newest = self.0.values().max().copied().unwrap_or(i64::MIN);
        self.0.retain(|_, at| *at >= newest.saturating_sub(overlap_us(cursor)));
    }

    /// Puts it into a checkpoint.
    pub fn leave(&self, checkpoint: &mut Map<String, Value>) {
        if self.0.len() <= MOST_TOLD && !self.0.is_empty() {
            let told = self.0.iter().map(|(key, at)| (key.clone(), Value::from(*at)));
            checkpoint.insert("told".into(), Value::Object(told.collect()));
        }
    }
}

/// A record is gone: should it come back as it was, it is news.
pub fn forget(checkpoint: &mut Map<String, Value>, key: &str) {
    if let Some(told) = checkpoint.get_mut("told").and_then(Value::as_object_mut) {
        told.remove(key);
    }
}

/// The lookups that fill a column, or hold children, of a table that is read.
fn wanted<'b>(base: &'b Collection, outputs: &[Output]) -> Vec<&'b Lookup> {
    let is_wanted = |lookup: &&Lookup| outputs.iter().any(|output| wants(output, base, lookup));
    base.lookups.iter().filter(is_wanted).collect()
}

fn wants(output: &Output, base: &Collection, lookup: &Lookup) -> bool {
    let into = field_path(&lookup.into);
    if output.collection.name == base.name {
        return output.columns.iter().any(|column| touches(column, &into));
    }
    let parent = output.collection.parent.as_ref().filter(|parent| parent.collections.contains(&base.name));
    let path = parent.and_then(|parent| parent.explode.as_deref()).map(field_path);
    path.is_some_and(|path| path.starts_with(&into) || into.starts_with(&path))
}

/// Whether a column holds a part of what is at the path, or all of it.
fn touches(column: &OutColumn, into: &[String]) -> bool {
    !column.path.is_empty() && (column.path.starts_with(into) || into.starts_with(&column.path))
}

/// Gives the names of the lookups that are wanted to the templates of a listing.
pub fn set_names(base: &Collection, outputs: &[Output], names: &mut Names) {
    let wanted: Vec<String> = wanted(base, outputs).into_iter().map(|lookup| lookup.name.clone()).collect();
    if !wanted.is_empty() {
        names.set_list("lookups", wanted);
    }
}

/// The page with what the wanted lookups tell of its records, without those of which all is told already.
pub async fn complete(
    api: &ApiClient,
    base: &Collection,
    outputs: &[Output],
    told: Option<&Told>,
    page: ListPage,
) -> Result<ListPage, SyncError> {
    let wanted = wanted(base, outputs);
    if wanted.is_empty() || page.records().len() == 0 {
        return Ok(page);
    }
    let is_news = |raw: &&str| told.is_none_or(|told| !told.knows(base, raw));
    let news: Vec<String> = page.records().filter(is_news).map(str::to_string).collect();
    let page = if news.len() < page.records().len() { page.with_records(news) } else { page };
    let keyed = || page.records().filter_map(|raw| Some((key_text(base, raw)?, raw)));
    let told = wanted.iter().map(|lookup| {
        let is_whole = |raw: &str| lookup.listed.as_deref().is_some_and(|pointer| text_at(raw, pointer).is_none());
        let keys: Vec<String> = keyed().filter(|(_, raw)| !is_whole(raw)).map(|(key, _)| key).collect();
        ask(api, base, lookup, keys)
    });
    let told = try_join_all(told).await?;
    if told.iter().all(BTreeMap::is_empty) {
        return Ok(page);
    }
    let complete = |raw: &str| {
        let key = key_text(base, raw);
        let mut record = raw.to_string();
        for (lookup, told) in wanted.iter().zip(&told) {
            if let Some(value) = key.as_ref().and_then(|key| told.get(key)) {
                record = put(&record, &lookup.into, value).unwrap_or(record);
            }
        }
        record
    };
    let records: Vec<String> = page.records().map(complete).collect();
    Ok(page.with_records(records))
}

/// The record with a value at a pointer, whatever was there.
fn put(record: &str, pointer: &str, value: &str) -> Option<String> {
    let path = field_path(pointer);
    let (last, before) = path.split_last()?;
    let around = |inner: String, key: &String| format!("{{{}:{inner}}}", quoted(key));
    let alone = std::iter::once(last).chain(before.iter().rev()).fold(value.to_string(), around);
    join(&alone, record, before)
}

/// What an app tells of the records with these keys: key -> value.
async fn ask(
    api: &ApiClient,
    base: &Collection,
    lookup: &Lookup,
    keys: Vec<String>,
) -> Result<BTreeMap<String, String>, SyncError> {
    let mut told = BTreeMap::new();
    for some in keys.chunks(lookup.size.max(1)) {
        let page = call(api, base, lookup, some, None).await?;
        for about in page.records() {
            let Some(key) = text_at(about, &lookup.key).map(|key| key.into_owned()) else { continue };
            let value = match &lookup.next {
                Some(next) => whole(api, base, lookup, &key, about, next).await?,
                None => at(about, &lookup.value).map(str::to_string),
            };
            told.extend(value.map(|value| (key, value)));
        }
    }
    Ok(told)
}

/// The list about one record, with what later answers add to it.
async fn whole(
    api: &ApiClient,
    base: &Collection,
    lookup: &Lookup,
    key: &str,
    about: &str,
    next: &str,
) -> Result<Option<String>, SyncError> {
    let token = |about: &str| text_at(about, next).filter(|token| !token.is_empty()).map(|token| token.into_owned());
    let Some(mut after) = token(about) else { return Ok(at(about, &lookup.value).map(str::to_string)) };
    let list = |about: &str| -> Vec<String> {
        at(about, &lookup.value).and_then(elements).into_iter().flatten().map(str::to_string).collect()
    };
    let mut all = list(about);
    for _ in 0..MOST_PARTS {
        let page = call(api, base, lookup, std::slice::from_ref(&key.to_string()), Some(&after)).await?;
        let about = page.records().next().unwrap_or("null");
        all.extend(list(about));
        match token(about) {
            Some(token) => after = token,
            None => return Ok(Some(format!("[{}]", all.join(",")))),
        }
    }
    Err(SyncError::PagerLoop { detail: format!("what is told of one record ({}) does not end", lookup.name) })
}

async fn call(
    api: &ApiClient,
    base: &Collection,
    lookup: &Lookup,
    keys: &[String],
    after: Option<&str>,
) -> Result<ListPage, SyncError> {
    let mut names = Names::default();
    names.set_list("keys", keys.to_vec());
    if let Some(after) = after {
        names.set("after", after);
    }
    let asking = Collection { base_url: base.base_url.clone(), ..Collection::asking(&lookup.call) };
    let request = request_with(api.account(), &asking, &[], &names, None)?;
    let request = Request { rules: base.errors.clone(), ..request };
    let shape = Shape { records: lookup.records.clone(), pages: Pages::None };
    api.call_parsed(request, |reply| {
        let page = parse_page(reply, &shape)?;
        match &lookup.none {
            Some(none) => all_named(&page, lookup, none, keys).map(|()| page),
            None => Ok(page),
        }
    })
    .await
}

/// Whether an answer tells something of each record, or says that there is nothing.
fn all_named(page: &ListPage, lookup: &Lookup, none: &NoneOf, keys: &[String]) -> Result<(), String> {
    let nothing = take(page.text(), &none.records)?.records;
    let nothing = nothing.iter().filter_map(|about| text_at(about.raw, &none.key));
    let named: HashSet<Cow<'_, str>> =
        page.records().filter_map(|about| text_at(about, &lookup.key)).chain(nothing).collect();
    match keys.iter().filter(|key| !named.contains(key.as_str())).count() {
        0 => Ok(()),
        count => Err(format!("the answer leaves out {count} of the {} records that it was asked about", keys.len())),
    }
}
