//! Decides what a refresh reads and which checkpoint it leaves.
//!
//! The checkpoint's cursor never passes the moment at which the app began with the first reply (its own clock), so a
//! stamp in the future cannot freeze it, and the next read begins `overlap` before it, because commits become visible
//! out of the order of their stamps. Within that bound:
//! - a full listing leaves that moment itself: everything older was there to be listed;
//! - an incremental read leaves the latest stamp it saw, while that is newer than the old cursor;
//! - otherwise it was quiet, and the cursor moves up to that moment: it read the whole overlap and found nothing new. Left
//!   where it was, every quiet run would read the last burst of changes again (a bulk update stamps a million
//!   records alike).
//!
//! The cursor never moves back. Without a cursor field every read is a full listing.
//!
//! A checkpoint is `{"cursor", "cursor_field", "deleted_until", "formulas_at"}`, instants in ISO 8601; what does not
//! apply is absent. The position of an interrupted full listing is `{"upper", "last_id"}`, or `{"upper", "bulk"}` while a
//! Bulk job serves it.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::bulk;
use super::deleted;
use super::plan::{field_of, is_on, number_option, Plan};
use super::query::Place;
use super::read::{Listed, Progress, Run, Sequence};
use super::soql::{self, Tail};
use crate::error::SyncError;
use crate::extract::time::{parse_iso, to_iso_ms};
use serde_json::{json, Map, Value};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the last read left, as far as it can still be used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    pub cursor_us: Option<i64>,
    pub cursor_field: Option<String>,
    /// Up to where deletions were asked for.
    pub deleted_until_us: Option<i64>,
    /// When formula fields were last read for every record.
    pub formulas_at_us: Option<i64>,
}

impl Checkpoint {
    pub fn read(saved: Option<&Value>) -> Result<Self, SyncError> {
        let Some(saved) = saved else { return Ok(Checkpoint::default()) };
        let instant = |key: &str| match saved.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_str().and_then(parse_iso).map(Some).ok_or_else(|| SyncError::CursorExpired {
                detail: format!("the saved checkpoint has no instant in \"{key}\""),
            }),
        };
        Ok(Checkpoint {
            cursor_us: instant("cursor")?,
            cursor_field: saved.get("cursor_field").and_then(Value::as_str).map(str::to_string),
            deleted_until_us: instant("deleted_until")?,
            formulas_at_us: instant("formulas_at")?,
        })
    }

    pub fn write(&self) -> Value {
        let mut saved = Map::new();
        let mut put = |key: &str, us: Option<i64>| {
            if let Some(us) = us {
                saved.insert(key.to_string(), Value::String(to_iso_ms(us)));
            }
        };
        put("cursor", self.cursor_us);
        put("deleted_until", self.deleted_until_us);
        put("formulas_at", self.formulas_at_us);
        if let Some(field) = &self.cursor_field {
            saved.insert("cursor_field".to_string(), json!(field));
        }
        Value::Object(saved)
    }
}

/// The cursor after an incremental read; see the top of this file.
fn moved_cursor(old: i64, latest: Option<i64>, upper: Option<i64>) -> i64 {
    let newer = latest.filter(|stamp| *stamp > old);
    match (newer, upper) {
        (Some(stamp), Some(upper)) => stamp.min(upper).max(old),
        (None, Some(upper)) => upper.max(old),
        // A reply without a Date: there is only the data to go by.
        (Some(stamp), None) => stamp,
        (None, None) => old,
    }
}

/// Why an incremental read has to list everything; `Ok(cursor)` when it has not.
fn cursor_to_use(checkpoint: &Checkpoint, field: Option<&str>, formulas_due: bool) -> Result<i64, Option<String>> {
    let Some(field) = field else { return Err(None) };
    let Some(cursor) = checkpoint.cursor_us else { return Err(None) };
    match &checkpoint.cursor_field {
        Some(saved) if saved != field => {
            return Err(Some(format!("changes are now told by {field}, before by {saved}: everything was listed")));
        }
        _ => {}
    }
    if formulas_due {
        return Err(Some("formula fields were due: everything was listed".to_string()));
    }
    Ok(cursor)
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|t| i64::try_from(t.as_micros()).ok()).unwrap_or(0)
}

/// Whether formula fields are selected and kept fresh, and their last full pass is too long ago. Our own clock will do:
/// it only says how often, never which records.
fn formulas_due(run: &Run<'_>, checkpoint: &Checkpoint) -> Result<Option<bool>, SyncError> {
    let hours = number_option(run.api.account(), "formula_refresh_hours")?.unwrap_or(0);
    let output = &run.plan.output;
    let is_formula = |field: &String| {
        output.described.as_deref().is_some_and(|d| d.columns.iter().any(|c| c.calculated && c.field == *field))
    };
    let is_selected = output.columns.iter().filter_map(|column| field_of(output, column)).any(|f| is_formula(&f));
    if hours == 0 || !is_selected {
        return Ok(None);
    }
    let age_us = i64::try_from(hours).unwrap_or(i64::MAX).saturating_mul(3_600_000_000);
    let is_due = checkpoint.formulas_at_us.is_none_or(|at| at.saturating_add(age_us) <= now_us());
    Ok(Some(is_due))
}

/// A full listing that saves its position with every page.
pub async fn full(run: &mut Run<'_>, resume: Option<&Value>) -> Result<Value, SyncError> {
    Ok(everything(run, resume, true).await?.0.write())
}

/// Lists everything; gives the checkpoint and the moment up to which it knows.
async fn everything(
    run: &mut Run<'_>,
    resume: Option<&Value>,
    resumable: bool,
) -> Result<(Checkpoint, Option<i64>), SyncError> {
    let old = Checkpoint::read(run.plan.output.checkpoint.as_ref()).unwrap_or_default();
    let mut progress = Progress::default();
    if let Some(position) = resume {
        progress.begun_us = position.get("upper").and_then(Value::as_str).and_then(parse_iso);
        let last_id = position.get("last_id").and_then(Value::as_str);
        progress.place = last_id.map(|id| Place { id: id.to_string(), stamp: None });
    }
    let was_read = match resume {
        Some(position) => bulk::resume(run, position, &mut progress).await?,
        None => false,
    };
    if !was_read {
        run.large_from = bulk::threshold(run.api.account())?.filter(|_| resumable && resume.is_none());
        list(run, resumable, &mut progress).await?;
    }
    let upper = progress.begun_us.or(progress.latest_us);
    let has_cursor = run.plan.cursor.is_some();
    let left = Checkpoint {
        cursor_us: upper.max(old.cursor_us).filter(|_| has_cursor),
        cursor_field: run.plan.cursor.clone(),
        // What was gone before the listing began has no row; what goes from then on is asked for next time.
        deleted_until_us: match old.deleted_until_us {
            Some(until) => Some(until),
            None => upper.filter(|_| is_on(run.api.account(), "hard_deletes")),
        },
        formulas_at_us: match formulas_due(run, &old)? {
            Some(_) => upper.or(old.formulas_at_us),
            None => None,
        },
    };
    Ok((left, upper))
}

/// Lists everything by queries, or by a job when it turns out to be large.
async fn list(run: &mut Run<'_>, resumable: bool, progress: &mut Progress) -> Result<(), SyncError> {
    let sequence = if run.plan.orders_by_id { Sequence::ById } else { Sequence::Free };
    let saves = resumable && run.plan.orders_by_id;
    let position = move |progress: &Progress| {
        let place = progress.place.as_ref().filter(|_| saves)?;
        Some(json!({ "upper": progress.begun_us.map(to_iso_ms), "last_id": place.id }))
    };
    let everything = Tail::default();
    if run.listing(&everything, sequence, progress, &position).await? == Listed::Large {
        run.large_from = None;
        if !bulk::load(run, progress).await? {
            run.listing(&everything, sequence, progress, &position).await?;
        }
    }
    Ok(())
}

/// The bounds of an incremental read: the overlap before the cursor is read again.
fn since(plan: &Plan, field: &str, cursor_us: i64) -> Result<Tail, SyncError> {
    let from = soql::datetime(cursor_us.saturating_sub(plan.overlap_us)).ok_or_else(|| SyncError::CursorExpired {
        detail: "the saved cursor is outside the years of SOQL".to_string(),
    })?;
    Ok(Tail { conditions: vec![format!("{field} >= {from}")], ..Tail::default() })
}

/// The bounds of the incremental read that the saved checkpoint leads to.
pub fn bounds(plan: &Plan) -> Result<Tail, SyncError> {
    let checkpoint = Checkpoint::read(plan.output.checkpoint.as_ref())?;
    match (&plan.cursor, checkpoint.cursor_us) {
        (Some(field), Some(cursor)) => since(plan, field, cursor),
        _ => Ok(Tail::default()),
    }
}

/// What changed since the checkpoint.
pub async fn incremental(run: &mut Run<'_>) -> Result<Value, SyncError> {
    let old = Checkpoint::read(run.plan.output.checkpoint.as_ref())?;
    let formulas_due = formulas_due(run, &old)?.unwrap_or(false);
    let field = run.plan.cursor.clone();
    let cursor = match cursor_to_use(&old, field.as_deref(), formulas_due) {
        Ok(cursor) => cursor,
        Err(note) => {
            run.notes.extend(note);
            let (left, upper) = everything(run, None, false).await?;
            return ask_for_deletions(run, left, upper).await;
        }
    };
    let field = field.unwrap_or_default();
    let bounds = since(&run.plan, &field, cursor)?;
    let mut progress = Progress::default();
    run.listing(&bounds, Sequence::ByStamp, &mut progress, &|_| None).await?;
    let left = Checkpoint {
        cursor_us: Some(moved_cursor(cursor, progress.latest_us, progress.begun_us)),
        cursor_field: Some(field),
        // Never asked before: everything since the last read.
        deleted_until_us: old.deleted_until_us.or(Some(cursor)),
        ..old
    };
    ask_for_deletions(run, left, progress.begun_us).await
}

/// Reads the deletions up to `until`, when the server's options ask for them.
async fn ask_for_deletions(run: &mut Run<'_>, mut left: Checkpoint, until: Option<i64>) -> Result<Value, SyncError> {
    let is_replicateable = run.plan.output.described.as_deref().is_none_or(|d| d.replicateable);
    if !is_on(run.api.account(), "hard_deletes") || !is_replicateable {
        left.deleted_until_us = None;
    } else if let (Some(from), Some(until)) = (left.deleted_until_us, until) {
        left.deleted_until_us = Some(deleted::read(run, from, until).await?);
    }
    Ok(left.write())
}

/// Every key, for a reconcile.
pub async fn keys(run: &mut Run<'_>) -> Result<(), SyncError> {
    let sequence = if run.plan.orders_by_id { Sequence::ById } else { Sequence::Free };
    run.listing(&Tail::default(), sequence, &mut Progress::default(), &|_| None).await.map(drop)
}

/// Everything, for the table's columns alone; by a job when that is a lot.
pub async fn columns(run: &mut Run<'_>) -> Result<(), SyncError> {
    run.large_from = bulk::threshold(run.api.account())?;
    list(run, false, &mut Progress::default()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_never_passes_the_apps_clock_and_never_moves_back() {
        for (name, old, latest, upper, want) in [
            ("a change", 100, Some(150), Some(200), 150),
            ("quiet: nothing in the overlap", 100, None, Some(200), 200),
            ("quiet: only the overlap itself", 100, Some(90), Some(200), 200),
            ("a stamp in the future", 100, Some(900), Some(200), 200),
            ("the app's clock stepped back", 100, Some(150), Some(50), 100),
            ("no Date", 100, Some(150), None, 150),
            ("no Date and quiet", 100, None, None, 100),
        ] {
            assert_eq!(moved_cursor(old, latest, upper), want, "{name}");
        }
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let whole = Checkpoint {
            cursor_us: Some(1_000_000),
            cursor_field: Some("SystemModstamp".into()),
            deleted_until_us: Some(2_000_000),
            formulas_at_us: Some(3_000_000),
        };
        assert_eq!(Checkpoint::read(Some(&whole.write())).unwrap(), whole);
        assert_eq!(whole.write()["cursor"], "1970-01-01T00:00:01.000Z");
        assert_eq!(Checkpoint::default().write(), json!({}));
        assert_eq!(Checkpoint::read(None).unwrap(), Checkpoint::default());
        let broken = json!({ "cursor": "yesterday" });
        assert!(matches!(Checkpoint::read(Some(&broken)), Err(SyncError::CursorExpired { .. })));
    }

    #[test]
    fn when_everything_is_listed_again() {
        let saved = Checkpoint { cursor_us: Some(5), cursor_field: Some("A".into()), ..Checkpoint::default() };
        assert_eq!(cursor_to_use(&saved, Some("A"), false), Ok(5));
        assert_eq!(cursor_to_use(&saved, None, false), Err(None), "no cursor field");
        assert_eq!(cursor_to_use(&Checkpoint::default(), Some("A"), false), Err(None), "no cursor");
        assert!(cursor_to_use(&saved, Some("B"), false).unwrap_err().is_some(), "another cursor field");
        assert!(cursor_to_use(&saved, Some("A"), true).unwrap_err().is_some(), "formulas");
    }
}
