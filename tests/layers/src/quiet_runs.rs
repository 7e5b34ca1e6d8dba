//! Works out what a run costs that finds nothing new: the calls that a source file makes necessary, listing by listing.
//!
//! The pages of the sources show it, and the tests that read the simulator count it.

use crate::manifest::{template, texts_of, Collection, Deletes, Job, Pages, Protocol, Source, Until, When};

/// One listing that a quiet run asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct QuietCalls {
    /// Its address, below the app's.
    pub path: String,
    /// The collections it fills.
    pub fills: Vec<String>,
    /// The least that is asked: its first page, and the one behind it where only that ends it.
    pub calls: u64,
    /// What comes on top, in words; empty for nothing.
    pub more: String,
}

/// The listings of a run over all collections in which nothing is new.
pub fn quiet_calls(source: &Source) -> Vec<QuietCalls> {
    match source.protocol {
        Protocol::Rest => {}
        Protocol::GoogleAds => return of_accounts(source),
        Protocol::Salesforce => return Vec::new(),
    }
    let mut all: Vec<(String, QuietCalls)> = Vec::new();
    for collection in source.collections.iter().filter(|c| c.unsupported.is_none()) {
        for asked in listings(source, collection) {
            // What a reader of its own asks for is in the body, not in the path; what lies inside of records costs nothing.
            let stream = stream_of(source, collection);
            let is_same = |known: &QuietCalls| known.path == asked.path && known.more == asked.more;
            let is_shared = |(of, known): &&mut (String, QuietCalls)| {
                *of == stream && is_same(known) && !known.fills.contains(&collection.name)
            };
            let is_inside = collection.parent.as_ref().is_some_and(|parent| parent.explode.is_some());
            let may_share = collection.reader.is_none() || is_inside;
            match all.iter_mut().find(|known| is_shared(known) && may_share) {
                Some((_, known)) => known.fills.extend(asked.fills),
                None => all.push((stream, asked)),
            }
        }
    }
    all.into_iter().map(|(_, asked)| asked).collect()
}

/// The stream of calls that fills a collection: others have the same only where they are read together.
fn stream_of(source: &Source, collection: &Collection) -> String {
    if source.feed.is_some() && collection.feed.is_some() {
        return "the feed".to_string();
    }
    match collection.parent.as_ref().map(|parent| (parent.collections.as_slice(), &parent.path)) {
        Some(([one], None)) => one.clone(),
        _ => collection.name.clone(),
    }
}

/// Queries of Google Ads: which accounts there are, then one or more to each of them.
fn of_accounts(source: &Source) -> Vec<QuietCalls> {
    let served = || source.collections.iter().filter(|c| c.unsupported.is_none());
    let accounts = QuietCalls {
        path: "FROM customer_client".to_string(),
        fills: served().map(|collection| collection.name.clone()).collect(),
        calls: 1,
        more:
            "none when customer_ids names the accounts; without login_customer_id 1 more, and 1 for each further login"
                .to_string(),
    };
    let of = |collection: &Collection| {
        let from = format!("FROM {}", collection.object);
        let more = match collection.cursor.as_ref().and_then(|cursor| Some((cursor, cursor.step_seconds?))) {
            Some((cursor, step)) => {
                let days = cursor.overlap_seconds.div_ceil(step) + 1;
                format!("{days} to `{from}` for each account, and 1 for each day since the last run")
            }
            None => format!("1 to `{from}` for each account"),
        };
        QuietCalls { path: from, fills: vec![collection.name.clone()], calls: 0, more }
    };
    std::iter::once(accounts).chain(served().map(of)).collect()
}

/// The listings of a quiet run for one collection.
pub fn listings(source: &Source, collection: &Collection) -> Vec<QuietCalls> {
    let fills = vec![collection.name.clone()];
    if let (Some(feed), Some(_)) = (&source.feed, &collection.feed) {
        return vec![QuietCalls { path: feed.path.clone(), fills, calls: 1, more: String::new() }];
    }
    let parent = collection.parent.as_ref();
    let bases: Vec<&Collection> = match parent {
        Some(parent) => parent.collections.iter().filter_map(|name| source.listed(name)).collect(),
        None => vec![collection],
    };
    let asked = bases.into_iter().filter_map(|base| {
        if let Some(job) = job_of(base) {
            return Some(job_calls(job, fills.clone()));
        }
        let own = base.path.as_ref()?;
        let changes = base.incremental.as_ref().map(|list| &list.path);
        let reads_on = parent.is_none_or(|parent| parent.path.is_none() || parent.changed_only);
        let path = changes.filter(|_| reads_on).unwrap_or(own).clone();
        let Some(below) = parent.and_then(|parent| parent.path.as_ref()) else {
            // A scroll ends with an empty page.
            let scrolls = matches!(base.pages, Some(Pages::Scroll { .. }));
            let calls = u64::from(collection.lookback.is_none()) + u64::from(scrolls || is_ended_by_one_more(base));
            let listed = base.incremental.as_ref().map_or_else(|| base.clone(), |list| base.listed_by(list));
            let (token, told) = token_call(&listed);
            let more = Some(more(base, collection)).filter(|more| !more.is_empty()).or(told).unwrap_or_default();
            return Some(QuietCalls { path, fills: fills.clone(), calls: calls + token, more });
        };
        let which = if parent.is_some_and(|parent| parent.changed_only) { "of these that is new" } else { "of these" };
        let more = format!("1 to `{below}` for each {which}");
        // Readers of their own list the parents once for all that is below them.
        let calls = u64::from(collection.reader.is_none() || base.reader != Some("facebook_objects".to_string()));
        Some(QuietCalls { path, fills: fills.clone(), calls, more })
    });
    let mut asked: Vec<QuietCalls> = asked.collect();
    if let Deletes::Listing { list, .. } = &collection.deletes {
        let base = collection.listed_by(list);
        let more = match (is_bounded(&base), base.pages.as_ref().and_then(|pages| pages.size().1)) {
            (false, Some(size)) => format!("1 for each further {size} records that are gone"),
            _ => String::new(),
        };
        // Listings of one collection that begin by the same token share it.
        let changes = collection.incremental.as_ref().and_then(|list| list.pages.as_ref());
        let is_shared = changes.is_some() && changes == base.pages.as_ref();
        let (token, told) = if is_shared { (0, None) } else { token_call(&base) };
        let more = told.filter(|_| more.is_empty()).unwrap_or(more);
        asked.push(QuietCalls {
            path: list.path.clone(),
            fills: vec![collection.name.clone()],
            calls: 1 + token,
            more,
        });
    }
    asked
}

/// The call for the token that a listing's first page wants, and how it is told.
fn token_call(base: &Collection) -> (u64, Option<String>) {
    match &base.pages {
        Some(Pages::Token { first: Some(first), .. }) => (1, Some(format!("one of them to `{}`", first.call.path))),
        _ => (0, None),
    }
}

/// Whether only a page behind the last one ends a listing.
fn is_ended_by_one_more(base: &Collection) -> bool {
    match &base.pages {
        Some(Pages::Offset { until, more, total, .. }) => {
            *until != Until::ShortPage && more.is_none() && total.is_none()
        }
        Some(Pages::PageNumber { until, more, total, total_pages, .. }) => {
            *until != Until::ShortPage && more.is_none() && total.is_none() && total_pages.is_none()
        }
        _ => false,
    }
}

/// The job that a run makes although nothing is new.
pub fn job_of(base: &Collection) -> Option<&Job> {
    let is_full = matches!(base.deletes, Deletes::Absent);
    base.job.as_deref().filter(|job| is_full || job.when == When::Always)
}

/// The least that a job costs: it is made, done at the first look, and one file or page.
fn job_calls(job: &Job, fills: Vec<String>) -> QuietCalls {
    let calls = 3 + u64::from(job.start.is_some()) + u64::from(job.delete.is_some());
    let more = "1 for each further look at the job, and for each further file".to_string();
    QuietCalls { path: job.create.path.clone(), fills, calls, more }
}

/// What comes on top of a listing's first page although nothing is new.
fn more(base: &Collection, collection: &Collection) -> String {
    if collection.lookback.is_some() {
        return "its window's pages, when they are due".to_string();
    }
    if is_bounded(base) || matches!(base.pages, None | Some(Pages::None)) {
        return String::new();
    }
    match base.pages.as_ref().and_then(|pages| pages.size().1) {
        Some(size) => format!("1 for each further {size} records"),
        None => "1 for each further page".to_string(),
    }
}

/// Whether a listing is asked for what is new only, or stops where that ends.
pub fn is_bounded(base: &Collection) -> bool {
    let in_templates = || {
        let texts = base.params.values().flat_map(|param| param.templates()).chain(base.json.iter().flat_map(texts_of));
        texts.flat_map(template::names).any(|name| name == "cursor")
    };
    let asks = |base: &Collection| {
        let cursor = base.cursor.as_ref().filter(|cursor| !cursor.created_only);
        cursor.is_some_and(|cursor| cursor.param.is_some() || cursor.order.is_some() || in_templates())
    };
    // A token made from a time is a bound, too.
    let by_token = matches!(&base.pages, Some(Pages::Token { first: Some(_), .. }));
    base.incremental.is_some() || by_token || asks(base)
}

/// The section of a source's page.
pub fn section(source: &Source) -> String {
    let all = quiet_calls(source);
    let mut text = String::new();
    if all.is_empty() {
        return text;
    }
    text.push_str("\n## Calls of a quiet run\n\n");
    text.push_str(
        "A run over all collections that finds nothing new makes these calls. A run over some makes only theirs.\n\n",
    );
    text.push_str("| listing | for | calls | and |\n| --- | --- | --- | --- |\n");
    for listing in &all {
        let fills = match listing.fills.len() {
            1..=8 => listing.fills.join(", "),
            many => format!("{many} collections"),
        };
        text.push_str(&format!("| `{}` | {fills} | {} | {} |\n", listing.path, listing.calls, listing.more));
    }
    let least: u64 = all.iter().map(|listing| listing.calls).sum();
    text.push_str(&format!("| all | | {least} | |\n"));
    text
}
