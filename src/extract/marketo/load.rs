//! Reads everything by extracts, one for each window of 31 days (`jobs.rs` works through them).
//!
//! Decides which windows there are, what a job is asked for, and what stands in for extracts that are not permitted. A position names the first window that is not stored yet and the jobs that were made for it and those
//! behind it; Marketo keeps jobs and files for 7 days, and a job that is gone is made again. When the day's quota is
//! used up, what is under way is still fetched, and then the collection is deferred.
//!
//! The cursor that a load leaves is the app's clock at its first reply: what was made or changed since comes by the log.
//!
//! Docs: "Bulk Extract", "Bulk Lead Extract", "Bulk Activity Extract".
//!
//! Layer: extract. Knows nothing of Postgres.

use super::changes::Log;
use super::export;
use super::jobs::Jobs;
use super::{chosen_types, What};
use crate::error::SyncError;
use crate::extract::rest::incremental::changes_of;
use crate::extract::rest::request::{now_us, SECOND_US};
use crate::extract::rest::walk::first_token_of;
use crate::extract::rest::windows::start_of;
use crate::extract::sink::Sink;
use crate::extract::time::{parse_iso, to_iso_ms};
use crate::extract::{Output, ReadEnd};
use crate::http::ApiClient;
use crate::manifest::Collection;
use serde_json::{json, Value};
use std::collections::{BTreeMap, VecDeque};

/// The widest filter that a job takes.
const WINDOW_US: i64 = 31 * 86_400 * SECOND_US;
/// Marketo is from 2006: no lead is older.
const FIRST_DAY_US: i64 = 1_136_073_600 * SECOND_US;
/// The type of activity that extracts do not hold.
const DELETE_LEAD: &str = "37";

/// Where a load stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Where the first window begins that is not stored yet.
    pub from: i64,
    /// Where the last one ends.
    pub to: i64,
    /// Jobs that were made, by where their windows begin.
    pub jobs: BTreeMap<i64, String>,
    /// The app's clock at the first reply.
    pub clock: Option<i64>,
}

impl Place {
    pub fn position(&self) -> Value {
        let jobs: BTreeMap<String, &String> = self.jobs.iter().map(|(from, id)| (to_iso_ms(*from), id)).collect();
        let extracts = json!({ "from": to_iso_ms(self.from), "to": to_iso_ms(self.to), "jobs": jobs });
        json!({ "upper": self.clock.map(to_iso_ms), "extracts": extracts })
    }

    fn saved(position: &Value) -> Option<Self> {
        let extracts = position.get("extracts")?;
        let instant = |value: Option<&Value>| value.and_then(Value::as_str).and_then(parse_iso);
        let job = |(from, id): (&String, &Value)| {
            Some((parse_iso(from)?, id.as_str().filter(|id| export::is_id(id))?.into()))
        };
        Some(Place {
            from: instant(extracts.get("from"))?,
            to: instant(extracts.get("to"))?,
            jobs: extracts.get("jobs")?.as_object()?.iter().filter_map(job).collect(),
            clock: instant(position.get("upper")),
        })
    }

    /// The beginnings of windows, from one on.
    pub fn windows(&self) -> VecDeque<i64> {
        let mut windows = VecDeque::new();
        let mut from = self.from;
        while from < self.to {
            windows.push_back(from);
            from = from.saturating_add(WINDOW_US);
        }
        windows
    }

    pub fn end_of(&self, from: i64) -> i64 {
        from.saturating_add(WINDOW_US).min(self.to)
    }
}

/// How a load by extracts ended.
pub enum Ended {
    Well(Option<i64>),
    /// The first job was refused for good.
    NotPermitted(SyncError),
}

/// Everything, for a first load or because the cursor is of no use.
pub async fn full(
    api: &ApiClient,
    outputs: &[Output],
    base: &Collection,
    resume: Option<&Value>,
    sink: &Sink,
) -> Result<ReadEnd, SyncError> {
    let mut log = Log::new(api, outputs, base);
    let place = resume.and_then(Place::saved);
    let start = first_day(api, base)?;
    let fields = match What::of(base) {
        What::Leads => {
            let wanted = log.lead_fields();
            log.fields_there(wanted).await?
        }
        What::Activities => Vec::new(),
    };
    let ended = extracts(&mut log, place.unwrap_or(beginning(start)), &fields, false, sink).await?;
    let denied = match ended {
        Ended::Well(clock) => {
            if What::of(base) == What::Activities && chosen_types(api.account())?.iter().any(|id| id == DELETE_LEAD) {
                log.deletion_activities(start, sink).await?;
            }
            // Where extracts hold nothing of what is wanted, the log's own clock counts.
            let clock = clock.or(log.progress.upper);
            return Ok(log.end(clock));
        }
        Ended::NotPermitted(error) => error,
    };
    let words = match denied {
        SyncError::AccessDenied { detail, .. } | SyncError::NotFound { detail, .. } => detail,
        SyncError::Unsupported { reason } => reason,
        other => other.to_string(),
    };
    log.tables.note(&format!("no bulk extract ({words}); read from the log"));
    match What::of(base) {
        What::Activities => {
            log.activities(start, &chosen_types(api.account())?, sink).await?;
            let clock = log.progress.upper;
            Ok(log.end(clock))
        }
        What::Leads => {
            let list = changes_of(base);
            let token = first_token_of(api, &list, Some(start)).await?;
            log.leads(&list, start, token, sink).await?;
            log.tables.note("leads that the log does not know of any more are missing");
            let clock = log.progress.upper;
            Ok(ReadEnd { incomplete: (0..outputs.len()).collect(), ..log.end(clock) })
        }
    }
}

/// Everything, for its keys. Nothing can stand in for extracts here: absence has to mean something.
pub async fn keys(api: &ApiClient, outputs: &[Output], base: &Collection, sink: &Sink) -> Result<ReadEnd, SyncError> {
    let mut log = Log::new(api, outputs, base);
    let start = first_day(api, base)?;
    match extracts(&mut log, beginning(start), &["id".to_string()], true, sink).await? {
        Ended::Well(_) => Ok(ReadEnd { notes: std::mem::take(&mut log.tables.notes), ..ReadEnd::default() }),
        Ended::NotPermitted(error) => Err(error),
    }
}

fn first_day(api: &ApiClient, base: &Collection) -> Result<i64, SyncError> {
    let start = match &base.cursor {
        Some(cursor) => start_of(api.account(), cursor)?,
        None => None,
    };
    let start = start.unwrap_or(FIRST_DAY_US);
    // Filters are in whole seconds.
    Ok(start.div_euclid(SECOND_US).saturating_mul(SECOND_US))
}

fn beginning(start: i64) -> Place {
    let to = now_us().div_euclid(SECOND_US).saturating_add(1).saturating_mul(SECOND_US);
    Place { from: start, to, jobs: BTreeMap::new(), clock: None }
}

/// What the job of a window is asked for. Without milliseconds (docs: "Bulk Lead Extract", Filters).
pub fn order(what: What, fields: &[String], types: &[String], from: i64, to: i64) -> Value {
    let second = |at: i64| {
        let time = chrono::DateTime::from_timestamp_micros(at).unwrap_or_default();
        time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let created = json!({ "startAt": second(from), "endAt": second(to) });
    match what {
        What::Leads => json!({ "format": "CSV", "fields": fields, "filter": { "createdAt": created } }),
        What::Activities => {
            let types: Vec<u64> = types.iter().filter_map(|id| id.parse().ok()).collect();
            json!({ "format": "CSV", "filter": { "createdAt": created, "activityTypeIds": types } })
        }
    }
}

/// Works through the windows, unless extracts hold nothing of what is wanted.
async fn extracts(
    log: &mut Log<'_>,
    place: Place,
    fields: &[String],
    is_keys: bool,
    sink: &Sink,
) -> Result<Ended, SyncError> {
    let mut types = Vec::new();
    if What::of(log.base) == What::Activities {
        types = chosen_types(log.api.account())?;
        types.retain(|id| id != DELETE_LEAD);
        if types.is_empty() {
            return Ok(Ended::Well(None));
        }
    }
    Jobs::new(log, place, fields, &types, is_keys)?.read(sink).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_share_their_bounds_and_end_now() {
        let day = 86_400 * SECOND_US;
        let place = Place { from: 0, to: 70 * day, jobs: BTreeMap::new(), clock: None };
        assert_eq!(place.windows(), [0, 31 * day, 62 * day]);
        assert_eq!((place.end_of(0), place.end_of(62 * day)), (31 * day, 70 * day));
        assert!(Place { from: 5, to: 5, ..place }.windows().is_empty());
        let order = order(What::Activities, &[], &["12".into(), "104".into()], 0, 31 * day);
        assert_eq!(
            order["filter"],
            json!({"createdAt": {"startAt": "1970-01-01T00:00:00Z", "endAt": "1970-02-01T00:00:00Z"},
                "activityTypeIds": [12, 104]})
        );
    }

    #[test]
    fn a_saved_place_is_read_as_it_was_written() {
        let jobs = BTreeMap::from([(0, "ce45a7a1-f19d".to_string()), (WINDOW_US, "b".to_string())]);
        let place = Place { from: 0, to: 2 * WINDOW_US, jobs, clock: Some(SECOND_US) };
        assert_eq!(Place::saved(&place.position()), Some(place.clone()));
        let mut strange = place.position();
        strange["extracts"]["jobs"]["1970-01-01T00:00:00.000Z"] = json!("../x");
        assert_eq!(Place::saved(&strange).unwrap().jobs.len(), 1);
        assert_eq!(Place::saved(&json!({ "page": null })), None);
    }
}
