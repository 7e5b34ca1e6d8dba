//! Decides what is true of reports: the rows the API would give for every account and day, by their keys.

use std::collections::HashMap;

use serde_json::{json, Value};

use super::eval::{rows, Fields};
use super::shown::Shown;
use super::{data, fields};
use crate::app::{bad, Refusal};
use crate::rest::Book;

struct Report {
    name: &'static str,
    from: &'static str,
    /// What names a row, besides the account.
    key: &'static [&'static str],
    /// The facts it is made of.
    facts: &'static str,
}

const REPORTS: [Report; 5] = [
    Report {
        name: "ad_performance_report",
        from: "ad_group_ad",
        key: &["ad_group.id", "ad_group_ad.ad.id", "segments.date"],
        facts: "ad_performance_report",
    },
    Report {
        name: "campaign_performance_report",
        from: "campaign",
        key: &["campaign.id", "segments.date"],
        facts: "ad_performance_report",
    },
    Report {
        name: "keywords_performance_report",
        from: "keyword_view",
        key: &["ad_group.id", "ad_group_criterion.criterion_id", "segments.date"],
        facts: "keywords_performance_report",
    },
    Report {
        name: "search_performance_report",
        from: "search_term_view",
        key: &[
            "ad_group.id",
            "ad_group_ad.ad.id",
            "search_term_view.search_term",
            "segments.search_term_match_type",
            "segments.device",
            "segments.ad_network_type",
            "segments.date",
        ],
        facts: "search_performance_report",
    },
    Report {
        name: "click_performance_report",
        from: "click_view",
        key: &["click_view.gclid", "segments.date"],
        facts: "click_performance_report",
    },
];

/// Our names for what a resource is asked for: any of them can be denied.
pub fn names_of(from: &str) -> &'static [&'static str] {
    match from {
        "campaign" => &["campaign", "campaigns", "campaign_performance_report"],
        "ad_group" => &["ad_group", "ad_groups"],
        "ad_group_ad" => &["ad_group_ad", "ads", "ad_performance_report"],
        "keyword_view" => &["keyword_view", "keywords_performance_report"],
        "search_term_view" => &["search_term_view", "search_performance_report"],
        "click_view" => &["click_view", "click_performance_report"],
        "customer_client" => &["customer_client"],
        "customer" => &["customer"],
        "campaign_budget" => &["campaign_budget"],
        _ => &["ad_group_criterion"],
    }
}

fn at<'a>(row: &'a Fields, path: &str) -> &'a Value {
    let mut steps = path.split('.').map(fields::camel);
    let first = steps.next().and_then(|step| row.get(&step)).unwrap_or(&Value::Null);
    steps.fold(first, |value, step| &value[&step])
}

/// Every row of a report, with all that can be asked beside it or its key alone.
fn all_rows(book: &Book, report: &Report, with_all: bool) -> Vec<(String, Fields)> {
    let Some(from) = fields::resource(report.from) else { return Vec::new() };
    let fits = |f: &&fields::Field| match (f.is_metric(), f.is_segment()) {
        (false, false) => f.resource() == from.name || from.beside.contains(&f.resource()),
        // What would split the rows further than their key.
        (false, true) => report.key.contains(&f.name) || (report.from == "click_view" && fields::fits(f, from)),
        (true, _) => fields::fits(f, from),
    };
    let names: Vec<&str> = fields::all().iter().filter(fits).map(|f| f.name).collect();
    let names: Vec<&str> = names
        .into_iter()
        .filter(|name| {
            with_all || report.key.contains(name) || ["metrics.impressions", "metrics.clicks"].contains(name)
        })
        .filter(|name| *name != "segments.external_conversion_source")
        .collect();
    let query = format!(
        "SELECT {} FROM {} WHERE segments.date BETWEEN '1970-01-01' AND '2999-12-31'",
        names.join(", "),
        report.from
    );
    let mut found = Vec::new();
    for customer in book.all_latest("customers").iter().filter(|c| c.get("manager") == false) {
        let shown = Shown::of(book, customer, report.from);
        for row in rows(&query, &shown.sources(report.from), "2026-01-01").unwrap_or_default() {
            let key: Vec<&str> = report.key.iter().map(|path| at(&row, path).as_str().unwrap_or("")).collect();
            found.push((key.join(":"), row));
        }
    }
    found
}

/// The newest version of the facts behind each row. A fact's id begins with that of its row, but for campaigns.
fn versions(book: &Book, report: &Report) -> HashMap<String, u64> {
    let groups = book.all_latest("ad_groups");
    let campaigns: HashMap<&str, &str> = groups.iter().map(|g| (&*g.id, data::tail(g.text("campaign")))).collect();
    let mut found: HashMap<String, u64> = HashMap::new();
    for fact in book.all_latest(report.facts) {
        let parts: Vec<&str> = fact.id.split(':').collect();
        let row = match report.name {
            "campaign_performance_report" => {
                let campaign = campaigns.get(fact.text("adGroupId")).copied().unwrap_or("");
                format!("{campaign}:{}", fact.get("segments")["date"].as_str().unwrap_or(""))
            }
            "ad_performance_report" | "keywords_performance_report" => parts[..parts.len().min(3)].join(":"),
            _ => fact.id.to_string(),
        };
        let newest = found.entry(row).or_default();
        *newest = fact.version.max(*newest);
    }
    found
}

/// The ledger of a report; `None` for a collection that is none. A report shows what the API shows.
pub fn report(book: &Book, collection: &str) -> Option<String> {
    let report = REPORTS.iter().find(|report| report.name == collection)?;
    let versions = versions(book, report);
    let rows: Vec<String> = all_rows(book, report, true)
        .into_iter()
        .map(|(id, record)| {
            let version = versions.get(&id).copied().unwrap_or(0);
            json!({"id": id, "version": version, "deleted": false, "record": record}).to_string()
        })
        .collect();
    Some(format!("[{}\n]", rows.iter().map(|row| format!("\n{row}")).collect::<Vec<_>>().join(",")))
}

pub fn size(book: &Book, collection: &str) -> Option<usize> {
    REPORTS.iter().find(|report| report.name == collection).map(|report| all_rows(book, report, false).len())
}

/// The fact a row's id means. A row of several facts (devices, networks) cannot be changed as a whole.
pub fn fact_of(book: &Book, collection: &str, id: &str) -> Result<String, Refusal> {
    if collection == "campaign_performance_report" {
        return Err(bad("it follows from ad_performance_report: change that"));
    }
    if !data::FACTS.contains(&collection) {
        return Ok(id.to_string());
    }
    let all = book.all_latest(collection);
    let found: Vec<&str> =
        all.iter().map(|fact| &*fact.id).filter(|fact| *fact == id || fact.starts_with(&format!("{id}:"))).collect();
    match found.as_slice() {
        [one] => Ok((*one).to_string()),
        [] => Err(bad(format!("{collection} has no {id}"))),
        many => Err(bad(format!("{id} is made of {} facts: name one of {many:?}", many.len()))),
    }
}
