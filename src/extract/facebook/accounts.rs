//! Decides which ad accounts are read, and fills their own table.
//!
//! Named by the owner (`account_ids`) they cost no call, unless their table is wanted: then one for each. Else they are
//! listed, once for all tables of a run.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::listing::fields_of;
use super::words::about;
use super::{Run, ACCOUNTS};
use crate::error::SyncError;
use crate::extract::rest::names::Names;
use crate::extract::rest::pages::ListPage;
use crate::extract::rest::raw::text_at;
use crate::extract::rest::request::{now_us, SECOND_US};
use crate::extract::rest::walk::{Part, Walk};
use crate::http::{Account, ApiClient};
use crate::manifest::{Collection, Pages, Records};
use chrono::NaiveDate;

/// Fields of the business behind an account: a token without business_management is refused them, and all others with
/// them, by an error that names none (docs: /reference/ad-account).
const OF_BUSINESS: [&str; 14] = [
    "agency_client_declaration",
    "business",
    "end_advertiser",
    "end_advertiser_name",
    "extended_credit_invoice_group",
    "funding_source",
    "funding_source_details",
    "io_number",
    "line_numbers",
    "media_agency",
    "owner",
    "partner",
    "tax_id",
    "user_tos_accepted",
];

/// One ad account.
#[derive(Clone, Debug, PartialEq)]
pub struct AdAccount {
    /// Without `act_`.
    pub id: String,
    /// Seconds east of UTC; `None` when nobody said.
    pub zone: Option<i64>,
}

/// The ad accounts of a run.
#[derive(Debug, Default)]
pub struct Accounts {
    pub all: Vec<AdAccount>,
    /// The app's clock, microseconds, when it was asked for them.
    pub now_us: Option<i64>,
}

/// Hours of the zones that are furthest from UTC, to the west and to the east.
const FURTHEST: (i64, i64) = (-12, 14);

impl AdAccount {
    fn of(raw: &str) -> Option<Self> {
        let id = text_at(raw, "/account_id").map(|id| id.into_owned());
        let id = id.or_else(|| Some(text_at(raw, "/id")?.trim_start_matches("act_").to_string()))?;
        let hours: Option<f64> = text_at(raw, "/timezone_offset_hours_utc").and_then(|hours| hours.parse().ok());
        let zone = hours.filter(|hours| hours.abs() <= 15.0).map(|hours| (hours * 3600.0) as i64);
        Some(AdAccount { id, zone })
    }

    /// The day that may have begun there: the latest that it can be.
    pub fn latest_day(&self, now_us: i64) -> NaiveDate {
        day(now_us, self.zone.unwrap_or(FURTHEST.1 * 3600))
    }

    /// The day that has begun there whatever the zone is.
    pub fn certain_day(&self, now_us: i64) -> NaiveDate {
        day(now_us, self.zone.unwrap_or(FURTHEST.0 * 3600))
    }
}

fn day(now_us: i64, zone_seconds: i64) -> NaiveDate {
    let local = now_us.saturating_add(zone_seconds.saturating_mul(SECOND_US));
    chrono::DateTime::from_timestamp_micros(local).map(|at| at.date_naive()).unwrap_or_default()
}

/// The ids that the owner named.
pub fn named(account: &Account) -> Option<Vec<String>> {
    let text = crate::http::setting(account, "account_ids")?;
    let ids: Vec<String> = text
        .split([',', ' '])
        .map(|id| id.trim().trim_start_matches("act_").to_string())
        .filter(|id| !id.is_empty())
        .collect();
    (!ids.is_empty()).then_some(ids)
}

/// What ad accounts are asked for when no table wants more of them.
pub fn least_fields() -> Vec<String> {
    ["id", "account_id", "timezone_offset_hours_utc"].map(str::to_string).to_vec()
}

/// The collection of ad accounts, as a listing.
pub fn collection(account: &Account) -> Result<Collection, SyncError> {
    let found = account.source.collection(ACCOUNTS).cloned();
    let found = found.ok_or_else(|| SyncError::internal("the source has no ad accounts"))?;
    Ok(Collection { select: None, ..found })
}

/// The listing of one ad account alone.
pub fn one(collection: &Collection, id: &str) -> Collection {
    Collection {
        path: Some(format!("/{{api_version}}/act_{id}")),
        records: Records::default(),
        pages: Some(Pages::None),
        ..collection.clone()
    }
}

/// Lists the ad accounts, and fills their table where it is wanted.
pub async fn read(run: &mut Run<'_>) -> Result<Accounts, SyncError> {
    let base = collection(run.api.account())?;
    let table = run.index(ACCOUNTS);
    let Some(ids) = named(run.api.account()) else {
        return listed(run, &base, table).await;
    };
    let mut accounts = Accounts::default();
    for id in ids {
        let mut known = AdAccount { id: id.clone(), zone: None };
        if let Some(table) = table.filter(|table| !run.has_failed(*table)) {
            match listed(run, &one(&base, &id), Some(table)).await {
                Ok(mut found) => {
                    accounts.now_us = accounts.now_us.or(found.now_us);
                    known = found.all.pop().unwrap_or(known);
                }
                Err(error) => run.fail(table, about(&id, error))?,
            }
        }
        accounts.all.push(known);
    }
    Ok(accounts)
}

/// Reads a listing of ad accounts; without the fields of the business where the token may not have them.
async fn listed(run: &mut Run<'_>, base: &Collection, table: Option<usize>) -> Result<Accounts, SyncError> {
    let fields = match table {
        Some(table) => fields_of(run.output(table)?),
        None => least_fields(),
    };
    let (of_business, others): (Vec<String>, Vec<String>) =
        fields.iter().cloned().partition(|field| OF_BUSINESS.contains(&field.as_str()));
    match pages(run, base, table, fields).await {
        Err(SyncError::AccessDenied { .. }) if !of_business.is_empty() => {
            let accounts = pages(run, base, table, others).await?;
            let names = of_business.join(", ");
            run.tables.note(&format!("without the permission business_management these stay empty: {names}"));
            Ok(accounts)
        }
        result => result,
    }
}

async fn pages(
    run: &mut Run<'_>,
    base: &Collection,
    table: Option<usize>,
    fields: Vec<String>,
) -> Result<Accounts, SyncError> {
    let mut names = Names::default();
    names.set_list("fields", fields);
    let mut walk = Walk::new(run.api, base, &[], Part { names, ..Part::default() })?;
    let mut accounts = Accounts::default();
    while let Some(page) = walk.next_page().await? {
        accounts.see(&page);
        if let Some(table) = table {
            page.records().for_each(|raw| run.add(table, raw));
            run.give(None).await?;
        }
    }
    Ok(accounts)
}

impl Accounts {
    fn see(&mut self, page: &ListPage) {
        self.now_us = self.now_us.or(page.date_us);
        self.all.extend(page.records().filter_map(AdAccount::of));
    }

    /// The app's clock, or ours where it has not been asked yet.
    pub fn now_us(&self) -> i64 {
        self.now_us.unwrap_or_else(now_us)
    }
}

/// The ad accounts without a table: for a live query and for checks.
pub async fn of_query(api: &ApiClient, limit: Option<u64>) -> Result<Accounts, SyncError> {
    let base = collection(api.account())?;
    let mut names = Names::default();
    names.set_list("fields", least_fields());
    let mut walk = Walk::new(api, &base, &[], Part { names, ..Part::default() })?;
    let mut accounts = Accounts::default();
    while let Some(page) = walk.next_page().await? {
        accounts.see(&page);
        if limit.is_some_and(|limit| accounts.all.len() as u64 >= limit) {
            break;
        }
    }
    Ok(accounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_account() {
        let noon = 1_767_225_600 * SECOND_US + 12 * 3600 * SECOND_US; // 2026-01-01T12:00Z
        let account = |hours: &str| {
            let raw = format!(r#"{{"id": "act_7", "account_id": "7", "timezone_offset_hours_utc": {hours}}}"#);
            AdAccount::of(&raw).unwrap()
        };
        for (hours, latest, certain) in [
            ("-7", "2026-01-01", "2026-01-01"),
            ("12.5", "2026-01-02", "2026-01-02"),
            ("-12", "2026-01-01", "2026-01-01"),
            ("null", "2026-01-02", "2026-01-01"),
        ] {
            let account = account(hours);
            let days = (account.latest_day(noon).to_string(), account.certain_day(noon).to_string());
            assert_eq!(days, (latest.to_string(), certain.to_string()), "{hours}");
        }
        assert_eq!(AdAccount::of(r#"{"id": "act_9"}"#), Some(AdAccount { id: "9".into(), zone: None }));
    }
}
