//! Decides what is asked of one table: its fields, and which days.
//!
//! Only the columns a table has are asked for, and beside them what the rows depend on. Google leaves out the rows of a
//! report whose selected figures are all zero (docs/reporting/zero-metrics), so a query for a figure that is rare would
//! give other rows than one for all: the file's `select.always_include` names the figures that decide. The status that marks
//! what is removed is asked for whether or not it is a column.
//!
//! Days are those of each account's own zone. Up to where is asked by our clock and the latest day anywhere; where a
//! refresh has come to is told by Google's.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::gaql::{self, day_of, Days, Query, DATE};
use crate::error::SyncError;
use crate::extract::time::{parse_date, parse_iso};
use crate::extract::Output;
use crate::http::{fill, Account};
use crate::manifest::{field_path, Cursor, Deletes};
use std::time::{SystemTime, UNIX_EPOCH};

const HOUR_US: i64 = 3_600_000_000;
const DAY_SECONDS: u64 = 86_400;
/// The farthest zone ahead of UTC.
const ZONE_HOURS: i64 = 14;
/// Before the first account there was: 2000-01-01.
const FIRST_DAY: i64 = 10_957;

/// Today by our clock, days since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Today {
    pub utc: i64,
    /// Where the day began first.
    pub latest: i64,
}

impl Today {
    pub fn at(now_us: i64) -> Self {
        Today { utc: day_of(now_us), latest: day_of(now_us.saturating_add(ZONE_HOURS * HOUR_US)) }
    }

    pub fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        Today::at(now.and_then(|now| i64::try_from(now.as_micros()).ok()).unwrap_or(0))
    }
}

/// The days of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where a first load begins.
    pub start: i64,
    /// Days before the newest that was read.
    pub lookback: i64,
    /// One query for each day: clicks.
    pub is_daily: bool,
    pub today: Today,
}

impl Report {
    fn new(account: &Account, cursor: &Cursor, today: Today) -> Result<Self, SyncError> {
        let lookback = number_option(account, "overlap_seconds")?.unwrap_or(cursor.overlap_seconds);
        let oldest = cursor.oldest_days.map(|days| today.utc.saturating_sub(i64::from(days)));
        let given = match &cursor.start {
            Some(text) => fill(account, text)?.filter(|text| !text.trim().is_empty()),
            None => None,
        };
        let given = given.map(|text| {
            let day = parse_iso(text.trim()).map(day_of);
            day.ok_or_else(|| SyncError::BadSetting {
                option: "start_date".to_string(),
                detail: "not a day, as in 2024-01-31".to_string(),
            })
        });
        Ok(Report {
            start: given.transpose()?.unwrap_or(FIRST_DAY).max(oldest.unwrap_or(FIRST_DAY)),
            lookback: i64::try_from(lookback.div_ceil(DAY_SECONDS)).unwrap_or(i64::MAX),
            is_daily: cursor.step_seconds.is_some(),
            today,
        })
    }

    /// The days of each query from `from` on, none of them older than the start.
    pub fn windows(&self, from: i64) -> Vec<Days> {
        let first = from.max(self.start);
        // A click of the latest day is asked for once that day has begun in UTC: before, most accounts would have none.
        let last = if self.is_daily { self.today.utc } else { self.today.latest };
        self.split(Days { first, last })
    }

    /// These days as queries can ask for them.
    pub fn split(&self, days: Days) -> Vec<Days> {
        match (days.first <= days.last, self.is_daily) {
            (false, _) => Vec::new(),
            (true, false) => vec![days],
            (true, true) => (days.first..=days.last).map(|day| Days { first: day, last: day }).collect(),
        }
    }

    /// Whether there may be rows from before the days that can be listed.
    pub fn is_cut(&self) -> bool {
        self.start > FIRST_DAY
    }

    /// Where the next refresh of an account begins that was read up to `day`.
    pub fn since(&self, day: i64) -> i64 {
        day.saturating_sub(self.lookback)
    }
}

/// A server option that is a whole number.
fn number_option(account: &Account, option: &str) -> Result<Option<u64>, SyncError> {
    let Some(text) = account.options.get(option) else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| SyncError::BadSetting {
        option: option.to_string(),
        detail: "it must be a whole number".to_string(),
    })
}

/// What is asked for one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub from: String,
    pub select: Vec<String>,
    pub report: Option<Report>,
}

impl Plan {
    /// `key_only`: the fields of the key, and what the rows depend on.
    pub fn new(output: &Output, account: &Account, key_only: bool) -> Result<Self, SyncError> {
        Plan::on(output, account, key_only, Today::now())
    }

    pub fn on(output: &Output, account: &Account, key_only: bool, today: Today) -> Result<Self, SyncError> {
        let collection = &output.collection;
        let mut select: Vec<String> = Vec::new();
        let mut add = |name: String| {
            if !select.contains(&name) {
                select.push(name);
            }
        };
        for (index, column) in output.columns.iter().enumerate() {
            if !key_only || output.key.contains(&index) {
                add(gaql::name_of(&column.path)?);
            }
        }
        if let Deletes::Flag { field, .. } = &collection.deletes {
            add(gaql::name_of(&field_path(field))?);
        }
        let report = collection.cursor.as_ref().map(|cursor| Report::new(account, cursor, today)).transpose()?;
        if report.is_some() {
            add(DATE.to_string());
        }
        for name in collection.select.iter().flat_map(|select| &select.always_include) {
            add(name.clone());
        }
        Ok(Plan { from: gaql::resource(&collection.object)?.to_string(), select, report })
    }

    /// The query for some days, or for everything.
    pub fn query(&self, days: Option<Days>) -> Query {
        Query {
            select: self.select.clone(),
            from: self.from.clone(),
            conditions: days.iter().map(Days::condition).collect(),
            ..Query::default()
        }
    }
}

/// A day as a checkpoint has it.
pub fn day_from(text: &str) -> Option<i64> {
    parse_date(text).map(i64::from)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{account, output};
    use super::*;

    /// 2026-01-10, 12:00 UTC: in the farthest zone it is the 11th.
    const NOON: i64 = 1_768_046_400_000_000;

    fn plan(collection: &str, columns: &[&str], options: &[(&str, &str)]) -> Plan {
        Plan::on(&output(collection, columns), &account(options), false, Today::at(NOON)).unwrap()
    }

    fn day(text: &str) -> i64 {
        day_from(text).unwrap()
    }

    #[test]
    fn only_what_is_selected_is_asked_for_and_what_the_rows_depend_on() {
        assert_eq!(
            plan("campaigns", &["adwords_customer_id", "id", "name"], &[]).query(None).text(),
            "SELECT customer.id, campaign.id, campaign.name, campaign.status FROM campaign \
             PARAMETERS omit_unselected_resource_names = true"
        );
        let report =
            plan("keywords_performance_report", &["adwords_customer_id", "ad_group_id", "keyword_id", "ctr"], &[]);
        assert_eq!(
            report.select,
            [
                "customer.id",
                "ad_group.id",
                "ad_group_criterion.criterion_id",
                "metrics.ctr",
                "segments.date",
                "metrics.impressions",
                "metrics.clicks",
                "metrics.all_conversions"
            ]
        );
    }

    #[test]
    fn reports_begin_at_the_start_and_end_on_the_latest_day_anywhere() {
        let name = "campaign_performance_report";
        let days =
            |options: &[(&str, &str)], from: i64| plan(name, &["campaign_id"], options).report.unwrap().windows(from);
        let last = day("2026-01-11");
        assert_eq!(days(&[], i64::MIN), [Days { first: day("2000-01-01"), last }]);
        assert_eq!(days(&[("start_date", "2025-12-31")], i64::MIN), [Days { first: day("2025-12-31"), last }]);
        assert_eq!(days(&[], day("2026-01-03")), [Days { first: day("2026-01-03"), last }]);
        assert_eq!(days(&[("start_date", "2027-01-01")], i64::MIN), []);
        let report = plan(name, &["campaign_id"], &[]).report.unwrap();
        assert_eq!(report.since(day("2026-01-10")), day("2026-01-03"), "7 days");
        assert!(!report.is_cut());
        let longer = plan(name, &["campaign_id"], &[("overlap_seconds", "1209601")]).report.unwrap();
        assert_eq!(longer.since(day("2026-01-16")), day("2026-01-01"), "15 days, as a part of one is one");
        let wrong = account(&[("start_date", "soon")]);
        let refused = Plan::new(&output(name, &["campaign_id"]), &wrong, false);
        assert!(matches!(refused, Err(SyncError::BadSetting { option, .. }) if option == "start_date"));
    }

    #[test]
    fn clicks_are_asked_for_day_by_day_and_no_more_than_90_of_them() {
        let report = plan("click_performance_report", &["gcl_id"], &[]).report.unwrap();
        let all = report.windows(i64::MIN);
        assert!(report.is_cut());
        assert_eq!(all.len(), 90);
        assert_eq!(all[0], Days { first: day("2025-10-13"), last: day("2025-10-13") });
        assert_eq!(all[89].last, day("2026-01-10"));
        let again = report.windows(report.since(day("2026-01-10")));
        assert_eq!(again.len(), 2, "today and the day before");
    }
}
