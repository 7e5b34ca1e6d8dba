//! Decides what a request for insights means: level, fields, days and filters.

use chrono::{Datelike, Days, Months, NaiveDate};
use serde_json::Value;

use super::errors::Refusal;
use super::fields;
use super::filters::{parse, Filter};

/// Figures older than this are not kept.
const MONTHS: u32 = 37;

pub struct Asked {
    pub level: String,
    pub fields: Vec<String>,
    pub ranges: Vec<(NaiveDate, NaiveDate)>,
    pub increment: Increment,
    pub filters: Vec<Filter>,
}

#[derive(Clone, Copy)]
pub enum Increment {
    Whole,
    Monthly,
    Days(u64),
}

pub fn day(text: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()
}

/// Reads the parameters. `own_level` is that of the object asked; `today` is the account's day.
pub fn read(param: &dyn Fn(&str) -> Option<String>, own_level: &str, today: &str) -> Result<Asked, Refusal> {
    let today = day(today).unwrap_or_default();
    let wanted = fields::parse(&param("fields").unwrap_or_else(|| "account_id,impressions,spend".into()));
    if let Some(unknown) = wanted.iter().find(|w| !fields::has("insights", &w.name)) {
        return Err(Refusal::param(format!(
            "{} is not valid for fields param. please check https://developers.facebook.com/docs/marketing-api/reference/ads-insights/ for all valid values",
            unknown.name
        )));
    }
    if param("breakdowns").is_some_and(|text| !matches!(text.as_str(), "" | "[]")) {
        return Err(Refusal::param("breakdowns are not played here"));
    }
    let level = param("level").unwrap_or_else(|| own_level.to_string());
    if !["account", "campaign", "adset", "ad"].contains(&level.as_str()) {
        return Err(Refusal::param("level must be one of the following values: ad, adset, campaign, account"));
    }
    let increment = match param("time_increment").as_deref() {
        None | Some("all_days") => Increment::Whole,
        Some("monthly") => Increment::Monthly,
        Some(text) => match text.parse::<u64>() {
            Ok(days @ 1..=90) => Increment::Days(days),
            _ => return Err(Refusal::param("time_increment must be an integer between 1 and 90, monthly or all_days")),
        },
    };
    let ranges = ranges(param, today)?;
    let floor = today.checked_sub_months(Months::new(MONTHS)).unwrap_or(today);
    if ranges.iter().any(|(since, _)| *since < floor) {
        return Err(Refusal::too_early());
    }
    let fields = wanted.into_iter().map(|w| w.name).collect();
    Ok(Asked { level, fields, ranges, increment, filters: parse(param)? })
}

fn range(value: &Value) -> Result<(NaiveDate, NaiveDate), Refusal> {
    let part = |name: &str| value[name].as_str().and_then(day);
    let (Some(since), Some(until)) = (part("since"), part("until")) else {
        return Err(Refusal::param("Must be a date representation in the format YYYY-MM-DD"));
    };
    if since > until {
        return Err(Refusal::param("The since date must be before the until date"));
    }
    Ok((since, until))
}

fn ranges(param: &dyn Fn(&str) -> Option<String>, today: NaiveDate) -> Result<Vec<(NaiveDate, NaiveDate)>, Refusal> {
    let read = |text: String| {
        serde_json::from_str::<Value>(&text).map_err(|_| Refusal::param("param time_range must be a JSON object"))
    };
    if let Some(text) = param("time_ranges") {
        return read(text)?.as_array().cloned().unwrap_or_default().iter().map(range).collect();
    }
    if let Some(text) = param("time_range") {
        return Ok(vec![range(&read(text)?)?]);
    }
    let back = |days: u64| today.checked_sub_days(Days::new(days)).unwrap_or(today);
    let month = today.with_day(1).unwrap_or(today);
    let preset = param("date_preset").unwrap_or_else(|| "last_30d".into());
    Ok(vec![match preset.as_str() {
        "today" => (today, today),
        "yesterday" => (back(1), back(1)),
        "last_3d" => (back(3), back(1)),
        "last_7d" => (back(7), back(1)),
        "last_14d" => (back(14), back(1)),
        "last_28d" => (back(28), back(1)),
        "last_30d" => (back(30), back(1)),
        "last_90d" => (back(90), back(1)),
        "this_month" => (month, today),
        "last_month" => {
            let end = month.pred_opt().unwrap_or(month);
            (end.with_day(1).unwrap_or(end), end)
        }
        "this_year" => (today.with_ordinal(1).unwrap_or(today), today),
        "maximum" | "data_maximum" => (today.checked_sub_months(Months::new(MONTHS)).unwrap_or(today), today),
        _ => return Err(Refusal::param("date_preset must be one of the documented values")),
    }])
}

impl Asked {
    /// The stretches of time that have rows of their own.
    pub fn stretches(&self) -> Vec<(NaiveDate, NaiveDate)> {
        let mut found = Vec::new();
        for (since, until) in &self.ranges {
            let mut from = *since;
            while from <= *until {
                let next = match self.increment {
                    Increment::Whole => None,
                    Increment::Days(days) => from.checked_add_days(Days::new(days)),
                    Increment::Monthly => from.with_day(1).and_then(|first| first.checked_add_months(Months::new(1))),
                };
                let to = next.and_then(|next| next.pred_opt()).unwrap_or(*until).min(*until);
                found.push((from, to));
                match next {
                    Some(next) => from = next,
                    None => break,
                }
            }
        }
        found
    }
}
