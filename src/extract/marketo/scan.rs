//! Answers a live query: which conditions Marketo is told, and what stands for "all leads", which no call lists.
//!
//! The log is read from the earliest moment that matters, page by page as it is wanted. Leads are asked for by id or
//! e-mail address where the query names those; else they are those that the log knows of, which is said on the
//! source's page. Every condition is a superset: Postgres checks each row again.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::changes::{log_of, Log, IDS_OF_A_CALL};
use super::{chosen_types, leads_by, What, TYPES_OF_A_CALL};
use crate::error::SyncError;
use crate::extract::rest::full::fill;
use crate::extract::rest::incremental::changes_of;
use crate::extract::rest::names::Names;
use crate::extract::rest::pages::sized;
use crate::extract::rest::request::{now_us, stamp_of, SECOND_US};
use crate::extract::rest::walk::{first_token_call, first_token_of, Part, Walk};
use crate::extract::rest::windows::start_of;
use crate::extract::sink::Sink;
use crate::extract::{FilterValue, Op, OutColumn, Output, Pushed, ReadEnd, Scan};
use crate::http::{Account, ApiClient, Request};
use crate::manifest::{Collection, Pages, Param};

/// Where a live query of leads begins when nothing says it: as far back as the log knows changes.
const LOG_US: i64 = 90 * 86_400 * SECOND_US;
/// Leads that one call of the log can be narrowed to.
const LEADS_OF_A_CALL: usize = 30;

/// How well Marketo reads a condition on a column.
pub fn pushable(collection: &Collection, column: &OutColumn, op: Op) -> Pushed {
    let is_lead = What::of(collection) == What::Leads;
    let is_pushed = match (is_lead, column.name.as_str(), op) {
        (true, "id" | "email", Op::Eq | Op::In) => true,
        (true, "created_at" | "updated_at", Op::Eq | Op::Ge | Op::Gt) => true,
        (false, "activity_type_id" | "lead_id", Op::Eq | Op::In) => collection.name == "lead_activities",
        (false, "activity_date", Op::Eq | Op::Ge | Op::Gt | Op::Le | Op::Lt) => collection.name == "lead_activities",
        _ => false,
    };
    if is_pushed {
        Pushed::Superset
    } else {
        Pushed::No
    }
}

/// The values that a column must be one of; `None` when the query does not say, or says what no call can.
fn values(output: &Output, scan: &Scan, name: &str) -> Option<Vec<String>> {
    let column = |index: usize| output.columns.get(index).is_some_and(|column| column.name == name);
    let filter = scan.filters.iter().find(|f| column(f.column) && matches!(f.op, Op::Eq | Op::In))?;
    let text = |value: &FilterValue| match value {
        FilterValue::Int(n) => Some(n.to_string()),
        FilterValue::Number(text) | FilterValue::Text(text) => Some(text.clone()),
        _ => None,
    };
    let mut values = filter.values.iter().map(text).collect::<Option<Vec<String>>>()?;
    values.sort();
    values.dedup();
    // A comma divides values; no call takes one within.
    values.iter().all(|value| !value.contains(',') && !value.trim().is_empty()).then_some(values)
}

/// The bounds that a query puts on one of these columns.
fn bounds(output: &Output, scan: &Scan, names: &[&str]) -> (Option<i64>, Option<i64>) {
    let (mut lower, mut upper) = (None::<i64>, None::<i64>);
    for filter in &scan.filters {
        let column = output.columns.get(filter.column).map(|column| column.name.as_str());
        let (Some(FilterValue::Timestamp(at)), true) =
            (filter.values.first(), column.is_some_and(|c| names.contains(&c)))
        else {
            continue;
        };
        if matches!(filter.op, Op::Ge | Op::Gt | Op::Eq) {
            lower = lower.max(Some(*at));
        }
        if matches!(filter.op, Op::Le | Op::Lt | Op::Eq) {
            upper = Some(upper.map_or(*at, |known| known.min(*at)));
        }
    }
    (lower, upper)
}

/// Which leads are asked for by a field of theirs.
fn named_leads(output: &Output, scan: &Scan) -> Option<(&'static str, Vec<String>)> {
    ["id", "email"].into_iter().find_map(|name| Some((name, values(output, scan, name)?)))
}

fn start_of_account(account: &Account, base: &Collection) -> Result<i64, SyncError> {
    let start = base.cursor.as_ref().map(|cursor| start_of(account, cursor)).transpose()?.flatten();
    Ok(start.unwrap_or_else(|| now_us().saturating_sub(LOG_US)))
}

/// The first call that a query makes.
pub fn first_request(account: &Account, output: &Output, base: &Collection, scan: &Scan) -> Result<Request, SyncError> {
    let named = named_leads(output, scan).filter(|_| What::of(base) == What::Leads);
    if let Some((filter, values)) = named {
        let some = values.get(..values.len().min(IDS_OF_A_CALL)).unwrap_or_default();
        let pages = base.pages.clone().unwrap_or(Pages::None);
        return Ok(sized(leads_by(base, filter, some), &pages, None));
    }
    let (lower, _) = bounds(output, scan, &["activity_date", "created_at", "updated_at"]);
    let from = lower.map_or_else(|| start_of_account(account, base), Ok)?;
    match What::of(base) {
        What::Leads => first_token_call(account, &changes_of(base), Some(from)),
        What::Activities => first_token_call(account, base, Some(from)),
    }
}

pub async fn read(
    api: &ApiClient,
    output: &Output,
    base: &Collection,
    scan: &Scan,
    sink: &Sink,
) -> Result<ReadEnd, SyncError> {
    let outputs = std::slice::from_ref(output);
    let mut log = Log::new(api, outputs, base);
    sink.until_room().await?;
    match What::of(base) {
        What::Leads => leads(&mut log, output, scan, sink).await?,
        What::Activities => activities(&mut log, output, scan, sink).await?,
    }
    Ok(ReadEnd { notes: std::mem::take(&mut log.tables.notes), ..ReadEnd::default() })
}

async fn leads(log: &mut Log<'_>, output: &Output, scan: &Scan, sink: &Sink) -> Result<(), SyncError> {
    let fields = log.lead_fields();
    if let Some((filter, values)) = named_leads(output, scan) {
        for some in values.chunks(IDS_OF_A_CALL) {
            log.read_leads(filter, some, &fields, sink).await?;
        }
        return Ok(());
    }
    let (lower, _) = bounds(output, scan, &["created_at", "updated_at"]);
    let from = lower.map_or_else(|| start_of_account(log.api.account(), log.base), Ok)?;
    let list = changes_of(log.base);
    let token = first_token_of(log.api, &list, Some(from)).await?;
    let (list, part) = log_of(&list, &fields, from, token);
    let mut walk = Walk::new(log.api, &list, log.outputs, part)?;
    while let Some(page) = walk.next_page().await? {
        let fresh = log.fresh(page.records());
        for some in fresh.chunks(IDS_OF_A_CALL) {
            log.read_leads("id", some, &fields, sink).await?;
        }
    }
    Ok(())
}

async fn activities(log: &mut Log<'_>, output: &Output, scan: &Scan, sink: &Sink) -> Result<(), SyncError> {
    let account = log.api.account();
    // Conditions on a child's columns are about other records than those of the log.
    let is_own = output.collection.name == log.base.name;
    let asked = |name: &str| values(output, scan, name).filter(|_| is_own);
    let (lower, upper) = if is_own { bounds(output, scan, &["activity_date"]) } else { (None, None) };
    let from = lower.map_or_else(|| start_of_account(account, log.base), Ok)?;
    let mut types = chosen_types(account)?;
    if let Some(wanted) = asked("activity_type_id") {
        types.retain(|id| wanted.contains(id));
    }
    let mut base = log.base.clone();
    if let Some(leads) = asked("lead_id").filter(|leads| leads.len() <= LEADS_OF_A_CALL) {
        base.params.insert("leadIds".to_string(), Param::Text(leads.join(",")));
    }
    if types.is_empty() {
        return Ok(());
    }
    let token = first_token_of(log.api, &base, Some(from)).await?;
    for some in types.chunks(TYPES_OF_A_CALL) {
        let mut names = Names::default();
        names.set("activity_type_ids", some.join(","));
        let part = Part { from: Some(from), token: token.clone(), names, ..Part::default() };
        let mut walk = Walk::new(log.api, &base, log.outputs, part)?;
        while let Some(page) = walk.next_page().await? {
            fill(log.api, &mut log.tables, log.base, &page, sink).await?;
            let last = page.records().next_back().and_then(|raw| stamp_of(base.cursor.as_ref()?, raw));
            if last.zip(upper).is_some_and(|(last, upper)| last > upper) {
                walk.stop();
            }
            sink.page(log.tables.page(None)).await?;
        }
    }
    Ok(())
}
