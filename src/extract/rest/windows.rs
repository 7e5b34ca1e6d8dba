//! Decides where a reading begins and ends in time, and into which windows that is cut for apps that take no wider one.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::request::{is_named, now_us, SECOND_US};
use crate::error::SyncError;
use crate::extract::time::parse_iso;
use crate::http::Account;
use crate::manifest::{Collection, Cursor};
use std::collections::VecDeque;

const DAY_US: i64 = 86_400 * SECOND_US;

/// A part of the listing, both ends included; `None` is open.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    pub lower: Option<i64>,
    pub upper: Option<i64>,
}

/// Where a first load begins: a day of the owner's, so many days ago, what the app still knows; else the beginning.
pub fn start_of(account: &Account, cursor: &Cursor) -> Result<Option<i64>, SyncError> {
    let text = match &cursor.start {
        Some(text) => crate::http::fill(account, text)?.filter(|text| !text.is_empty()),
        None => None,
    };
    let days_ago = |days: u32| now_us().saturating_sub(i64::from(days).saturating_mul(DAY_US));
    let start = match text {
        Some(text) => Some(parse_iso(&text).ok_or_else(|| {
            SyncError::BadSetting {
                option: crate::manifest::template::names(cursor.start.as_deref().unwrap_or_default())
                    .next()
                    .unwrap_or("start_date")
                    .to_string(),
                detail: "not a day or a time, as in 2024-01-31".to_string(),
            }
        })?),
        None => cursor.start_days.map(days_ago),
    };
    Ok(start.max(cursor.oldest_days.map(days_ago)))
}

/// The windows from a time on (and up to another, for who wants no more), the oldest first; neighbours share their bound.
pub fn windows_of(base: &Collection, cursor: &Cursor, from: Option<i64>, to: Option<i64>) -> VecDeque<Window> {
    let now =
        now_us().saturating_sub(i64::try_from(cursor.behind_seconds).unwrap_or(i64::MAX).saturating_mul(SECOND_US));
    let end = to.map_or(now, |to| to.min(now));
    // A bound in the future, or too near to now, is refused by the app.
    let from = if cursor.behind_seconds > 0 { from.map(|from| from.min(now)) } else { from };
    let step = cursor.step_seconds.and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(i64::MAX);
    let step = step.saturating_mul(SECOND_US);
    let (Some(mut lower), true) = (from, cursor.step_seconds.is_some()) else {
        let upper = (is_named(base, "upper") || cursor.step_seconds.is_some()).then_some(end).or(to);
        return VecDeque::from([Window { lower: from, upper }]);
    };
    let mut windows = VecDeque::new();
    // On whole seconds, or rounding would make a window wider than the app takes.
    lower = lower.div_euclid(SECOND_US).saturating_mul(SECOND_US);
    while lower < end {
        let upper = lower.saturating_add(step).min(end);
        windows.push_back(Window { lower: Some(lower), upper: Some(upper) });
        lower = upper;
    }
    if windows.is_empty() {
        windows.push_back(Window { lower: Some(lower), upper: Some(lower) });
    }
    windows
}
