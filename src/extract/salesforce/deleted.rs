//! Reads which records are gone for good (`getDeleted`): what left the recycle bin no longer comes with any query.
//!
//! One extra call a run, so it is an option (`hard_deletes`). Docs: REST API Developer Guide, "Get Deleted": at most 15 days
//! back, the start more than a minute before the end, seconds ignored, at most 600,000 ids. A record deleted and
//! restored since is told apart by its stamp: the deletion's version is its date, and an older one replaces nothing.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::plan::{Plan, ID};
use super::read::{Progress, Run};
use crate::error::SyncError;
use crate::extract::batch::Batch;
use crate::extract::record::About;
use crate::extract::time::{parse_iso, to_iso_ms};
use crate::http::{Reply, Request};
use serde::Deserialize;

const MINUTE_US: i64 = 60_000_000;
/// 15 days, less a margin for the time until the app looks at the request.
const FURTHEST_US: i64 = (15 * 24 * 60 - 5) * MINUTE_US;
/// Rows of one page.
const BATCH_ROWS: usize = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeletedReply {
    deleted_records: Vec<DeletedRecord>,
    latest_date_covered: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeletedRecord {
    id: String,
    deleted_date: Option<String>,
}

/// The window to ask for, in whole minutes, and whether it lost its beginning. `None` when it is still too short.
fn window(from: i64, until: i64) -> Option<(i64, i64, bool)> {
    let until = until.div_euclid(MINUTE_US) * MINUTE_US;
    let oldest = until - FURTHEST_US;
    let is_cut = from < oldest;
    let from = from.max(oldest).div_euclid(MINUTE_US) * MINUTE_US;
    (until - from > MINUTE_US).then_some((from, until, is_cut))
}

fn request(plan: &Plan, from: i64, until: i64) -> Request {
    let instant = |us: i64| to_iso_ms(us).replace(".000Z", "+00:00");
    Request {
        target: format!("{}/sobjects/{}/deleted/", plan.root, plan.object),
        query: vec![("start".to_string(), instant(from)), ("end".to_string(), instant(until))],
        // INVALID_REPLICATION_DATE (its log was purged) and EXCEEDED_ID_LIMIT: an answer, since the rows were read.
        accept: vec![400],
        ..Request::default()
    }
}

/// Gives the deletions between two instants as rows of keys, and says up to when they are known now.
pub async fn read(run: &mut Run<'_>, from: i64, until: i64) -> Result<i64, SyncError> {
    let Some((start, end, is_cut)) = window(from, until) else { return Ok(from) };
    if is_cut {
        run.notes.push(format!(
            "the app tells deletions of 15 days only: those before {} need a reconcile",
            to_iso_ms(start)
        ));
    }
    let answer = run.api.call_parsed(request(&run.plan, start, end), answer_of).await?;
    let (records, covered) = match answer {
        Answer::Deletions(records, covered) => (records, covered),
        Answer::Gap(words) => {
            run.notes.push(format!(
                "deletions between {} and {} cannot be asked for, a reconcile finds them: {words}",
                to_iso_ms(start),
                to_iso_ms(end)
            ));
            return Ok(end);
        }
    };
    for chunk in records.chunks(BATCH_ROWS) {
        let mut batch = Batch::new(run.width());
        for record in chunk {
            let about = About {
                version: record.deleted_date.as_deref().and_then(parse_iso),
                deleted: Some(true),
                key_only: true,
                added: &[],
            };
            let raw = serde_json::json!({ ID: record.id }).to_string();
            run.parser.push(&mut batch, &raw, &about);
        }
        run.give(batch, &mut Progress::default(), &|_| None).await?;
    }
    // Never back, and never past the window: a date too far would skip what is not yet covered.
    Ok(covered.min(end).max(from))
}

enum Answer {
    /// And up to when they are complete.
    Deletions(Vec<DeletedRecord>, i64),
    /// Deletions that the app cannot tell any more, or not at once.
    Gap(String),
}

fn answer_of(reply: &Reply) -> Result<Answer, String> {
    if reply.status == 400 {
        let words = String::from_utf8_lossy(reply.body.get(..reply.body.len().min(500)).unwrap_or_default());
        return Ok(Answer::Gap(words.into_owned()));
    }
    let deletions: DeletedReply =
        serde_json::from_slice(&reply.body).map_err(|error| format!("not a list of deletions: {error}"))?;
    let covered = parse_iso(&deletions.latest_date_covered).ok_or("latestDateCovered is no instant")?;
    Ok(Answer::Deletions(deletions.deleted_records, covered))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{account, output, recorded};
    use super::*;

    const DAY_US: i64 = 24 * 60 * MINUTE_US;

    #[test]
    fn windows_are_whole_minutes_of_at_most_15_days() {
        for (name, from, until, want) in [
            ("an hour", 30_000_000, 61 * MINUTE_US, Some((0, 61 * MINUTE_US, false))),
            ("a minute is too short", 0, MINUTE_US + 5_000_000, None),
            ("backwards", 10 * MINUTE_US, 0, None),
            ("a month", 0, 30 * DAY_US, Some((30 * DAY_US - FURTHEST_US, 30 * DAY_US, true))),
        ] {
            assert_eq!(window(from, until), want, "{name}");
        }
    }

    #[test]
    fn the_call_names_its_window() {
        let plan = Plan::new(&output(&[]), &account(&[])).unwrap();
        let request = request(&plan, 0, DAY_US);
        assert_eq!(request.target, "/services/data/v62.0/sobjects/Account/deleted/");
        assert_eq!(request.query[0], ("start".to_string(), "1970-01-01T00:00:00+00:00".to_string()));
        assert_eq!(request.query[1], ("end".to_string(), "1970-01-02T00:00:00+00:00".to_string()));
    }

    #[test]
    fn a_recorded_reply_is_read() {
        let Some(body) = recorded("get_deleted_success_response.json") else { return };
        let reply: DeletedReply = serde_json::from_str(&body).unwrap();
        assert_eq!(reply.deleted_records[0].id, "a00D0000008pQRAIA2");
        assert_eq!(parse_iso(&reply.latest_date_covered), parse_iso("2013-05-08T21:20:00Z"));
    }
}
