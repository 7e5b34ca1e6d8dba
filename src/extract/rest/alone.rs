//! Decides when tables that share a listing are read one by one after all: what only one of them asks for is refused, and
//! that must not stop the others.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::walk::{first_request, Part};
use super::{feed, read_together};
use crate::error::SyncError;
use crate::extract::sink::Sink;
use crate::extract::{Mode, Output, ReadEnd};
use crate::http::{Account, Request};

/// Whether reading them one by one may go better: a refusal of what is asked, which is not the same for all.
pub fn may_help(account: &Account, outputs: &[Output], error: &SyncError) -> bool {
    use SyncError::{AccessDenied, BadRequest, NotFound, Unsupported};
    let is_refusal = matches!(error, AccessDenied { .. } | BadRequest { .. } | NotFound { .. } | Unsupported { .. });
    if outputs.len() < 2 || !is_refusal || outputs.iter().all(|o| feed::is_followed(&account.source, &o.collection)) {
        return false;
    }
    let asks = |output: &Output| -> Option<Request> {
        let bases = super::request::bases(&account.source, &output.collection).ok()?;
        first_request(account, bases.first()?, std::slice::from_ref(output), &Part::default()).ok()
    };
    let is_same = |one: &Request, other: &Request| one.query == other.query && one.json_body == other.json_body;
    let first = outputs.first().and_then(asks);
    outputs.iter().skip(1).any(|output| match (&first, asks(output)) {
        (Some(first), Some(other)) => !is_same(first, &other),
        _ => true,
    })
}

/// Reads each by itself, and tells which could not be read. No position is saved: it would be that of one of them.
pub async fn read(
    api: &crate::http::ApiClient,
    outputs: &[Output],
    mode: &Mode,
    sink: &Sink,
) -> Result<ReadEnd, SyncError> {
    let mut all = ReadEnd::default();
    for (index, output) in outputs.iter().enumerate() {
        let own = sink.of_output(index);
        let mode = match mode {
            Mode::Full { .. } => Mode::Full { resume: None },
            other => other.clone(),
        };
        match read_together(api, std::slice::from_ref(output), &mode, false, &own).await {
            Ok(end) => {
                all.checkpoints.push(end.checkpoints.into_iter().next().flatten());
                all.expired.extend(end.expired.into_iter().map(|(_, why)| (index, why)));
                all.failed.extend(end.failed.into_iter().map(|(_, error)| (index, error)));
                all.incomplete.extend(end.incomplete.into_iter().map(|_| index));
                all.notes.extend(end.notes);
            }
            Err(SyncError::CursorExpired { detail }) => {
                all.checkpoints.push(None);
                all.expired.push((index, detail));
            }
            Err(error) if feed::is_of_one(&error) => {
                all.checkpoints.push(None);
                all.failed.push((index, error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}
