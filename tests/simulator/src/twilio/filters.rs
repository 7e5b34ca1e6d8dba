//! Decides which records a list answers: filters by equality, and dates whose operator is in the parameter's name.
//!
//! `StartTime>=2024-01-02` reaches us as the parameter `StartTime>` with a value, so `StartTime%3E=2024-01-02` does too.
//! What "before a date" means differs by resource, as the reference words it for each. Parameters a list does not know
//! are ignored, as the app does: a misspelt filter answers everything.

use chrono::{DateTime, NaiveDateTime};
use serde_json::{Map, Value};

use crate::clock;

const DAY_MS: i64 = 86_400_000;

/// How a date filter treats its upper end and times of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dates {
    /// `<` is before the date (calls).
    Before,
    /// `<` is until midnight at its start, and a time of day is cut off (conferences).
    UntilMidnight,
    /// `<` is until its end (messages).
    UntilEnd,
}

/// A filter of one list.
#[derive(Debug)]
pub struct Filter {
    pub param: &'static str,
    pub field: &'static str,
    pub dates: Option<Dates>,
}

const fn equal(param: &'static str, field: &'static str) -> Filter {
    Filter { param, field, dates: None }
}

const fn dated(param: &'static str, field: &'static str, dates: Dates) -> Filter {
    Filter { param, field, dates: Some(dates) }
}

pub fn of(collection: &str) -> &'static [Filter] {
    const ADDRESSES: &[Filter] = &[
        equal("CustomerName", "customer_name"),
        equal("FriendlyName", "friendly_name"),
        equal("EmergencyEnabled", "emergency_enabled"),
        equal("IsoCountry", "iso_country"),
    ];
    const CALLS: &[Filter] = &[
        equal("To", "to"),
        equal("From", "from"),
        equal("ParentCallSid", "parent_call_sid"),
        equal("Status", "status"),
        dated("StartTime", "start_time", Dates::Before),
        dated("EndTime", "end_time", Dates::Before),
    ];
    const CONFERENCES: &[Filter] = &[
        equal("FriendlyName", "friendly_name"),
        equal("Status", "status"),
        dated("DateCreated", "date_created", Dates::UntilMidnight),
        dated("DateUpdated", "date_updated", Dates::UntilMidnight),
    ];
    const MESSAGES: &[Filter] =
        &[equal("To", "to"), equal("From", "from"), dated("DateSent", "date_sent", Dates::UntilEnd)];
    const ACCOUNTS: &[Filter] = &[equal("FriendlyName", "friendly_name"), equal("Status", "status")];
    match collection {
        "addresses" => ADDRESSES,
        "calls" => CALLS,
        "conferences" => CONFERENCES,
        "messages" => MESSAGES,
        "accounts" => ACCOUNTS,
        _ => &[],
    }
}

/// A date (with the day's length) or an instant, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Day(i64),
    Instant(i64),
}

fn parse(text: &str) -> Option<When> {
    let text = text.trim();
    if let Some(day) = clock::parse_date(text) {
        return Some(When::Day(day));
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1)) {
        return Some(When::Instant(time.timestamp_millis()));
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.fZ", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.fZ", "%Y-%m-%d %H:%M:%S%.f"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(When::Instant(time.and_utc().timestamp_millis()));
        }
    }
    clock::parse_http_date(text).map(When::Instant)
}

/// One condition of a request.
#[derive(Debug)]
enum Condition {
    Is(&'static str, String),
    /// The field lies in `from..to` (ms).
    Within(&'static str, i64, i64),
}

/// What a request asks of a list.
#[derive(Debug, Default)]
pub struct Conditions(Vec<Condition>);

impl Conditions {
    /// Fails with the parameter whose value is no date.
    pub fn read(collection: &str, params: &[(String, String)]) -> Result<Conditions, String> {
        let mut conditions = Vec::new();
        for (name, value) in params {
            let (base, operator) = match name.strip_suffix(['<', '>']) {
                Some(base) => (base, &name[base.len()..]),
                None => (name.as_str(), ""),
            };
            let Some(filter) = of(collection).iter().find(|f| f.param == base) else { continue };
            match filter.dates {
                Some(dates) => {
                    let when = parse(value).ok_or_else(|| name.clone())?;
                    let (from, to) = bounds(dates, operator, when);
                    conditions.push(Condition::Within(filter.field, from, to));
                }
                None if operator.is_empty() => conditions.push(Condition::Is(filter.field, value.clone())),
                None => {}
            }
        }
        Ok(Conditions(conditions))
    }

    pub fn hold_for(&self, record: &Map<String, Value>) -> bool {
        self.0.iter().all(|condition| match condition {
            Condition::Is(field, wanted) => match record.get(*field) {
                Some(Value::String(text)) => text == wanted,
                Some(Value::Bool(is)) => is.to_string() == wanted.to_ascii_lowercase(),
                _ => false,
            },
            // A call that is still queued has no start: no filter of dates finds it.
            Condition::Within(field, from, to) => record
                .get(*field)
                .and_then(Value::as_str)
                .and_then(clock::parse_http_date)
                .is_some_and(|at| (*from..*to).contains(&at)),
        })
    }
}

/// The first moment that counts and the first that no longer does.
fn bounds(dates: Dates, operator: &str, when: When) -> (i64, i64) {
    let when = match (dates, when) {
        (Dates::UntilMidnight, When::Instant(at)) => When::Day(at.div_euclid(DAY_MS) * DAY_MS),
        _ => when,
    };
    let (start, end) = match when {
        When::Day(day) => (day, day + DAY_MS),
        When::Instant(at) => (at, at + 1000),
    };
    match operator {
        ">" => (start, i64::MAX),
        "<" => match dates {
            Dates::Before => (i64::MIN, start),
            Dates::UntilMidnight => (i64::MIN, start + 1),
            Dates::UntilEnd => (i64::MIN, end),
        },
        _ => (start, end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(collection: &str, field: &str, params: &[(&str, &str)]) -> Vec<usize> {
        let params: Vec<(String, String)> = params.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        let conditions = Conditions::read(collection, &params).unwrap();
        let stamps = [
            json!("Tue, 02 Jan 2024 23:59:59 +0000"),
            json!("Wed, 03 Jan 2024 00:00:00 +0000"),
            json!("Wed, 03 Jan 2024 12:30:15 +0000"),
            json!("Thu, 04 Jan 2024 00:00:00 +0000"),
            json!(null),
        ];
        let holds = |stamp: &Value| conditions.hold_for(json!({ field: stamp }).as_object().unwrap());
        (0..5).filter(|at| holds(&stamps[*at])).collect()
    }

    #[test]
    fn dates_mean_what_each_resource_documents() {
        for (collection, param, field, before) in [
            ("calls", "StartTime", "start_time", vec![0]),
            ("conferences", "DateUpdated", "date_updated", vec![0, 1]),
            ("messages", "DateSent", "date_sent", vec![0, 1, 2]),
        ] {
            let find =
                |operator: &str, value: &str| found(collection, field, &[(&format!("{param}{operator}"), value)]);
            assert_eq!(find(">", "2024-01-03"), [1, 2, 3], "{collection}");
            assert_eq!(find("", "2024-01-03"), [1, 2], "{collection}");
            assert_eq!(find("<", "2024-01-03"), before, "{collection}");
        }
    }

    #[test]
    fn times_of_day_count_for_calls_and_messages_but_not_for_conferences() {
        for (form, want) in [
            ("2024-01-03T12:30:15Z", vec![2, 3]),
            ("2024-01-03 12:30:15Z", vec![2, 3]),
            ("2024-01-03T12:30:16+00:00", vec![3]),
            ("Wed, 03 Jan 2024 12:30:16 +0000", vec![3]),
        ] {
            assert_eq!(found("calls", "start_time", &[("StartTime>", form)]), want, "{form}");
            assert_eq!(found("messages", "date_sent", &[("DateSent>", form)]), want, "{form}");
            assert_eq!(found("conferences", "date_updated", &[("DateUpdated>", form)]), [1, 2, 3], "{form}");
        }
        assert_eq!(found("messages", "date_sent", &[("DateSent<", "2024-01-03T12:30:15Z")]), [0, 1, 2]);
        assert_eq!(found("calls", "start_time", &[("StartTime<", "2024-01-03T12:30:15Z")]), [0, 1]);
    }

    #[test]
    fn unknown_parameters_filter_nothing_and_a_wrong_date_is_named() {
        assert_eq!(found("calls", "start_time", &[("StartTimeAfter", "2024-01-04")]).len(), 5);
        assert_eq!(found("transcriptions", "date_updated", &[("DateUpdated>", "2024-01-04")]).len(), 5);
        let wrong = Conditions::read("calls", &[("StartTime>".into(), "soon".into())]);
        assert_eq!(wrong.err().as_deref(), Some("StartTime>"));
    }
}
