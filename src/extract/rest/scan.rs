//! Answers a live query: decides what the app is told, and reads no page before somebody wants it.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::incremental::changes_of;
use super::pages::{fetch, Shape};
use super::request::{bases, by_key, is_gone, is_named, key_columns, SECOND_US};
use super::tables::{Stamp, Tables};
use super::walk::{self, Part, Walk};
use super::{below, full, job, lookups, parents};
use crate::error::SyncError;
use crate::extract::sink::Sink;
use crate::extract::time::to_iso_ms;
use crate::extract::{Filter, FilterValue, Op, OutColumn, Output, Pushed, ReadEnd, Scan};
use crate::http::{Account, ApiClient, Request};
use crate::manifest::{field_path, Collection, Cursor, Format, Job, Pages, Records, Source};

const DAY_US: i64 = 86_400 * SECOND_US;
/// The years 1 and 10000.
const MIN_US: i64 = -62_135_596_800 * SECOND_US;
const MAX_US: i64 = 253_402_300_800 * SECOND_US;

/// More single readings than this, and the listing is read instead.
const MOST_KEYS: usize = 1000;

/// What a query comes down to.
enum Plan<'s> {
    /// Records by their keys, of the collection or of the parent that holds them.
    Keys { base: &'s Collection, requests: Vec<Request> },
    /// Listings; `is_exact` when they give nothing but what the query asks for.
    Lists { lists: Vec<(&'s Collection, Collection, Part)>, is_exact: bool, is_filtered: bool },
}

/// How well the app reads a condition on a column.
pub fn pushable(collection: &Collection, column: &OutColumn, op: Op) -> Pushed {
    let keys = keys_of_record(collection);
    if matches!(op, Op::Eq | Op::In) && keys.contains(&column.name.as_str()) {
        // The one key of a record: the app gives that record or none.
        let is_all = keys.len() == 1 && collection.primary_key == [column.name.as_str()];
        return if is_all { Pushed::Exact } else { Pushed::Superset };
    }
    let params = collection.filters.get(&column.name);
    if symbol(op).is_some_and(|symbol| params.is_some_and(|p| p.contains_key(symbol))) {
        return Pushed::Exact;
    }
    if is_cursor(collection, column) {
        let asked = changes_of(collection);
        let cursor = asked.cursor.as_ref();
        let lower = cursor.is_some_and(|c| c.param.is_some()) || is_named(&asked, "cursor");
        let upper = cursor.is_some_and(|c| c.upper_param.is_some()) || is_named(&asked, "upper");
        let reads = match op {
            Op::Ge | Op::Gt => lower,
            Op::Le | Op::Lt => upper,
            Op::Eq => lower || upper,
            _ => false,
        };
        // Bounds are inclusive and as coarse as the app's unit.
        return if reads { Pushed::Superset } else { Pushed::No };
    }
    let names_parent = collection.parent.as_ref().is_some_and(|p| p.key_column.as_ref() == Some(&column.name));
    if names_parent && matches!(op, Op::Eq | Op::In) {
        return Pushed::Superset;
    }
    Pushed::No
}

/// Whether a column is what changes are asked for by.
fn is_cursor(collection: &Collection, column: &OutColumn) -> bool {
    collection.cursor.as_ref().is_some_and(|cursor| field_path(&cursor.field) == column.path)
}

/// The columns by which single records can be read; none when a part of the record is outside of it.
fn keys_of_record(collection: &Collection) -> Vec<&str> {
    let needs_parent = collection.parent.as_ref().is_some_and(|p| !p.add.is_empty());
    if needs_parent {
        Vec::new()
    } else {
        key_columns(collection)
    }
}

fn symbol(op: Op) -> Option<&'static str> {
    Some(match op {
        Op::Eq => "=",
        Op::Ge => ">=",
        Op::Gt => ">",
        Op::Le => "<=",
        Op::Lt => "<",
        _ => return None,
    })
}

/// A value as a key in an address.
fn spelled(value: &FilterValue) -> String {
    match value {
        FilterValue::Bool(b) => b.to_string(),
        FilterValue::Int(n) => n.to_string(),
        FilterValue::Number(text) | FilterValue::Text(text) => text.clone(),
        FilterValue::Timestamp(micros) => to_iso_ms(*micros),
        FilterValue::Date(days) => to_iso_ms(i64::from(*days) * DAY_US).chars().take(10).collect(),
    }
}

/// A value as a filter's parameter, or `None` when the app cannot be told exactly this.
///
/// Instants are in the column's unit, so a bound between two units moves to the one that keeps its meaning:
/// after half past ten seconds is after ten.
fn filter_text(column: &OutColumn, op: Op, value: &FilterValue) -> Option<String> {
    let FilterValue::Timestamp(at) = value else {
        return Some(spelled(value)).filter(|text| !text.is_empty());
    };
    let unit = match column.format {
        Format::Unix | Format::Rfc2822 => SECOND_US,
        Format::UnixMs | Format::Auto | Format::At(_) => 1000,
    };
    // Infinity, and years that no app writes.
    if !(MIN_US..MAX_US).contains(at) {
        return None;
    }
    let whole = match op {
        Op::Gt | Op::Le => at.div_euclid(unit),
        Op::Ge | Op::Lt => at.div_euclid(unit) + i64::from(at.rem_euclid(unit) != 0),
        _ => at.div_euclid(unit) + if at.rem_euclid(unit) == 0 { 0 } else { return None },
    };
    match column.format {
        Format::Unix | Format::UnixMs => Some(whole.to_string()),
        Format::Auto => Some(to_iso_ms(whole * unit)),
        Format::Rfc2822 | Format::At(_) => None,
    }
}

/// The values that a column must be one of, each once.
fn values_of(scan: &Scan, output: &Output, name: &str) -> Option<Vec<String>> {
    let column = |f: &&Filter| output.columns.get(f.column).is_some_and(|c| c.name == name);
    let filter = scan.filters.iter().filter(column).find(|f| matches!(f.op, Op::Eq | Op::In))?;
    let mut values: Vec<String> = filter.values.iter().map(spelled).collect();
    values.sort();
    values.dedup();
    Some(values)
}

/// Readings by key: of the collection itself, else of the parents that the query names.
fn key_requests<'s>(source: &'s Source, output: &Output, scan: &Scan) -> Option<(&'s Collection, Vec<Request>)> {
    let collection = source.collection(&output.collection.name)?;
    let reads = |base: &'s Collection, named: Vec<(String, Vec<String>)>| {
        let mut combined: Vec<Vec<(String, String)>> = vec![Vec::new()];
        for (name, values) in named {
            let grow = |so_far: &Vec<(String, String)>| {
                let add = |value: &String| so_far.iter().cloned().chain([(name.clone(), value.clone())]).collect();
                values.iter().map(add).collect::<Vec<Vec<_>>>()
            };
            combined = combined.iter().flat_map(grow).collect();
            if combined.len() > MOST_KEYS {
                return None;
            }
        }
        let value = |key: &Vec<(String, String)>, name: &str| {
            key.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        Some((base, combined.iter().filter_map(|key| by_key(base, |name| value(key, name))).collect()))
    };
    let keys = keys_of_record(collection);
    let named = |name: &&str| Some((name.to_string(), values_of(scan, output, name)?));
    if let Some(named) = keys.iter().map(named).collect::<Option<Vec<_>>>().filter(|named| !named.is_empty()) {
        return reads(collection, named);
    }
    let parent = collection.parent.as_ref().filter(|parent| parent.path.is_none())?;
    let [base] = parent.collections.as_slice() else { return None };
    let base = source.listed(base).filter(|b| b.by_key.is_some())?;
    let [key] = base.primary_key.as_slice() else { return None };
    reads(base, vec![(key.clone(), values_of(scan, output, parent.key_column.as_deref()?)?)])
}

fn plan<'s>(source: &'s Source, output: &Output, scan: &Scan) -> Result<Plan<'s>, SyncError> {
    let bases = bases(source, &output.collection)?;
    if let Some((base, mut requests)) = key_requests(source, output, scan) {
        let params = output.collection.parent.as_ref().filter(|_| base.name != output.collection.name);
        let params = params.iter().flat_map(|p| &p.params);
        for (name, value) in
            params.flat_map(|(name, param)| param.templates().into_iter().map(move |text| (name, text)))
        {
            // Alone, a record is expanded without the name of the list around it (`data.sources` is `sources`).
            let around = format!("{}.", base.records.pointer.trim_start_matches('/').replace('/', "."));
            let value = value.strip_prefix(&around).unwrap_or(value).to_string();
            requests.iter_mut().for_each(|r| r.query.push((name.clone(), value.clone())));
        }
        return Ok(Plan::Keys { base, requests });
    }
    let mut is_exact = true;
    let mut params: Vec<(String, String)> = Vec::new();
    let mut bounds: [Option<i64>; 2] = [None, None];
    let own = output.collection.parent.is_none();
    for filter in &scan.filters {
        let column = output.columns.get(filter.column);
        let value = filter.values.first().filter(|_| filter.values.len() == 1);
        let (Some(column), Some(value), true) = (column, value, own) else {
            is_exact = false;
            continue;
        };
        let param = output.collection.filters.get(&column.name).and_then(|ops| ops.get(symbol(filter.op)?));
        let is_cursor = is_cursor(&output.collection, column);
        match (param, value) {
            (Some(param), _) => {
                let Some(text) = filter_text(column, filter.op, value) else {
                    is_exact = false;
                    continue;
                };
                let pair = (param.clone(), text);
                // Two values for one parameter: the app would take one of them.
                is_exact &= params.iter().all(|known| known.0 != pair.0 || *known == pair);
                params.retain(|known| known.0 != pair.0);
                params.push(pair);
            }
            (None, FilterValue::Timestamp(at)) if is_cursor => {
                is_exact = false;
                let [lower, upper] = &mut bounds;
                if matches!(filter.op, Op::Ge | Op::Gt | Op::Eq) {
                    *lower = (*lower).max(Some(*at));
                }
                if matches!(filter.op, Op::Le | Op::Lt | Op::Eq) {
                    *upper = Some(upper.map_or(*at, |known| known.min(*at)));
                }
            }
            _ => is_exact = false,
        }
    }
    let is_filtered = !params.is_empty();
    let [from, to] = if own { bounds } else { [None, None] };
    // Of parents nobody knows how many have a child.
    let part = Part { from, to, params, limit: scan.limit.filter(|_| is_exact && own), ..Part::default() };
    let lists = bases.into_iter().map(|base| (base, bounded(base, from.or(to).is_some()), part.clone())).collect();
    Ok(Plan::Lists { lists, is_exact, is_filtered })
}

/// The listing as a query bounds it: the one of changes, where only that knows time; by creation, too, where that is all
/// that the app filters by.
fn bounded(base: &Collection, by_time: bool) -> Collection {
    let listing = if by_time { changes_of(base) } else { base.clone() };
    let cursor = listing.cursor.clone().map(|cursor| Cursor { created_only: false, ..cursor });
    Collection { cursor, ..listing }
}

/// Whether a listing may show a record twice, because its pages or windows overlap or it moves while it is read.
fn may_repeat(listing: &Collection) -> bool {
    let by_time =
        listing.cursor.as_ref().is_some_and(|cursor| cursor.step_seconds.is_some() || cursor.opaque.is_some());
    by_time || listing.ceiling.is_some() || matches!(listing.pages, Some(Pages::TimeExport { .. }))
}

/// The parents that a query names, where their keys are all that listing their children needs.
fn named_parents(source: &Source, output: &Output, scan: &Scan) -> Option<Vec<String>> {
    let parent = output.collection.parent.as_ref()?;
    let keys = values_of(scan, output, parent.key_column.as_deref()?)?;
    parents::named_parents(source, &output.collection, &keys)
}

/// The job that stands in for a listing, in live queries too. One that only full readings use does not: they have a
/// listing for everything else.
fn job_of(base: &Collection) -> Option<&Job> {
    job::of(base, false)
}

/// The first call that a query would make; `None` when it makes none.
pub fn first_request(account: &Account, output: &Output, scan: &Scan) -> Result<Option<Request>, SyncError> {
    Ok(match plan(&account.source, output, scan)? {
        Plan::Keys { requests, .. } => requests.into_iter().next(),
        Plan::Lists { .. } if below::is_below(output) && named_parents(&account.source, output, scan).is_some() => {
            match named_parents(&account.source, output, scan).iter().flatten().next() {
                Some(named) => below::first_request(account, output, named)?,
                None => None,
            }
        }
        Plan::Lists { lists, .. } => match lists.first() {
            Some((base, listing, part)) => {
                let made = job_of(base).map(|job| job::asked(listing, job));
                let asked = made.as_ref().unwrap_or(listing);
                Some(walk::first_request(account, asked, std::slice::from_ref(output), part)?)
            }
            None => None,
        },
    })
}

/// Reads what a query needs, page by page as it is wanted.
pub async fn read(api: &ApiClient, output: &Output, scan: &Scan, sink: &Sink) -> Result<ReadEnd, SyncError> {
    let source = std::sync::Arc::clone(&api.account().source);
    let outputs = std::slice::from_ref(output);
    let mut tables = Tables::new(api.account(), outputs, false);
    let plan = plan(&source, output, scan)?;
    sink.until_room().await?;
    match plan {
        Plan::Keys { base, requests } => {
            let one = Shape { records: Records::default(), pages: Pages::None };
            let alone = base.alone();
            for request in requests {
                let page = lookups::complete(api, &alone, outputs, None, fetch(api, request, &one).await?).await?;
                let found = page.records().next();
                // A deleted record's stub is no row of a live query.
                if let Some(raw) = found.filter(|raw| !is_gone(base, raw)) {
                    let jobs = tables.record(base, raw, &page.around(0), Stamp::default())?;
                    tables.read_on(api, jobs, sink).await?;
                }
                sink.page(tables.page(None)).await?;
            }
        }
        Plan::Lists { .. } if below::is_below(output) => {
            return below::scan(api, output, named_parents(&source, output, scan), sink).await;
        }
        Plan::Lists { lists, is_exact, is_filtered } => {
            let mut left = scan.limit.filter(|_| is_exact);
            // Where parts of a listing share their bound, what lies on it comes twice.
            tables.newest_come_first(lists.iter().any(|(_, listing, _)| may_repeat(listing)));
            for (base, listing, part) in lists {
                if let Some(job) = job_of(base) {
                    let mut progress = full::Progress::default();
                    let part = part.clone();
                    let read =
                        job::read(api, &mut tables, &listing, job, outputs, part, None, false, &mut progress, sink);
                    if read.await? {
                        continue;
                    }
                }
                let mut walk = Walk::new(api, &listing, outputs, part)?;
                loop {
                    let page = match walk.next_page().await {
                        Ok(Some(page)) => page,
                        Ok(None) => break,
                        // The list is there (that would be a 404); what the filter names is not.
                        Err(SyncError::NotFound { status: 400, .. }) if is_filtered => break,
                        Err(error) => return Err(error),
                    };
                    for (index, raw) in page.records().enumerate() {
                        let jobs = tables.record(base, raw, &page.around(index), Stamp::default())?;
                        // What the record holds is shown before more of its list is asked for.
                        if !jobs.is_empty() && tables.row_count() > 0 {
                            sink.page(tables.page(None)).await?;
                        }
                        tables.read_on(api, jobs, sink).await?;
                    }
                    let rows = tables.row_count() as u64;
                    sink.page(tables.page(None)).await?;
                    left = left.map(|left| left.saturating_sub(rows));
                    if left == Some(0) {
                        return Ok(ReadEnd::default());
                    }
                }
            }
        }
    }
    Ok(ReadEnd { notes: std::mem::take(&mut tables.notes), ..ReadEnd::default() })
}
