//! Decides what getDeleted and getUpdated answer for a span of time.

use serde_json::json;

use super::{not_found, refuse, Call, Salesforce};
use crate::clock;
use crate::http::Reply;
use crate::store::Row;

const DAY_MS: i64 = 86_400_000;

/// `start` and `end` of the request in ms, seconds ignored.
fn span(call: &Call<'_>, days: i64) -> Result<(i64, i64), Reply> {
    let instant = |name: &str| {
        let text =
            call.request.param(name).ok_or_else(|| refuse(400, "MISSING_ARGUMENT", &format!("{name} is required")))?;
        // A `+` of the offset that was sent unescaped arrives as a space.
        let text = text.replace(' ', "+");
        clock::parse_instant(&text)
            .map(|ms| ms.div_euclid(60_000) * 60_000)
            .ok_or_else(|| refuse(400, "INVALID_REPLICATION_DATE", &format!("invalid date: {text}")))
    };
    let (start, end) = (instant("start")?, instant("end")?);
    let now = clock::now_ms();
    if end - start < 60_000 {
        return Err(refuse(
            400,
            "INVALID_REPLICATION_DATE",
            "start date must precede end date by more than one minute",
        ));
    }
    if start < now - days * DAY_MS {
        return Err(refuse(400, "INVALID_REPLICATION_DATE", "startDate before org replication enabled date"));
    }
    Ok((start, end))
}

impl Salesforce {
    fn replicated(&self, call: &Call<'_>, name: &str) -> Result<usize, Reply> {
        let at = self.visible(name, call.config).ok_or_else(not_found)?;
        let object = &self.objects[at];
        if object.name.ends_with("Tag") || !object.has("SystemModstamp") {
            return Err(refuse(
                400,
                "INVALID_TYPE_FOR_OPERATION",
                &format!("entity type {} is not replicateable", object.name),
            ));
        }
        if self.is_denied(object, call.config) {
            return Err(refuse(403, "INSUFFICIENT_ACCESS", "insufficient access rights on cross-reference id"));
        }
        Ok(at)
    }

    pub(super) fn deleted(&self, call: &Call<'_>, name: &str) -> Reply {
        let (at, (start, end)) = match self.replicated(call, name).and_then(|at| Ok((at, span(call, 15)?))) {
            Ok(all) => all,
            Err(reply) => return reply,
        };
        let mut records: Vec<_> =
            self.objects[at].deletions.iter().filter(|(ms, _)| (start..end).contains(ms)).collect();
        records.sort();
        let records: Vec<_> =
            records.iter().map(|(ms, id)| json!({"deletedDate": clock::salesforce_instant(*ms), "id": id})).collect();
        let answer = json!({
            "deletedRecords": records, "earliestDateAvailable": clock::salesforce_instant(clock::now_ms() - 15 * DAY_MS),
            "latestDateCovered": clock::salesforce_instant(end.min(clock::now_ms().div_euclid(60_000) * 60_000)),
        });
        Reply::json(200, answer.to_string())
    }

    pub(super) fn updated(&self, call: &Call<'_>, name: &str) -> Reply {
        let (at, (start, end)) = match self.replicated(call, name).and_then(|at| Ok((at, span(call, 30)?))) {
            Ok(all) => all,
            Err(reply) => return reply,
        };
        let table = &self.objects[at].table;
        let ids: Vec<&str> = table
            .slots_between(start, end - 1)
            .filter_map(|slot| table.at(slot))
            .filter(|r| !r.is_deleted)
            .map(|r| r.id())
            .collect();
        let answer = json!({"ids": ids, "latestDateCovered": clock::salesforce_instant(end.min(clock::now_ms().div_euclid(60_000) * 60_000))});
        Reply::json(200, answer.to_string())
    }
}
