//! Decides which tables one stream of calls can fill, so that nothing is read twice.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::reader::stream;
use super::rest::is_followed;
use super::{Mode, Output, ReadRequest};
use crate::manifest::{Collection, Protocol, Source};
use serde_json::Value;

/// What outputs of one group have in common.
#[derive(PartialEq)]
enum Shared {
    /// Everything that follows the source's change feed.
    Feed,
    /// A full reading of one listing, from one position.
    Listing(String, Option<Value>),
    /// The changes of one listing.
    Changes(String),
    Alone,
}

/// Groups `(output, position of an interrupted full reading)`. Gives for each request the indexes of its outputs in
/// the input.
///
/// Collections found in several parents stay alone: a parent that may not be read must not stop another.
pub fn group(source: &Source, outputs: Vec<(Output, Option<Value>)>) -> Vec<(Vec<usize>, ReadRequest)> {
    let mut groups: Vec<(Shared, Vec<usize>, ReadRequest)> = Vec::new();
    for (index, (output, position)) in outputs.into_iter().enumerate() {
        let shared = shared(source, &output, position.as_ref());
        let joined = groups.iter_mut().find(|(known, ..)| *known == shared && shared != Shared::Alone);
        match joined {
            Some((_, indexes, request)) => {
                indexes.push(index);
                request.outputs.push(output);
            }
            None => {
                let mode = match (&output.checkpoint, position) {
                    (Some(_), None) => Mode::Incremental,
                    (_, resume) => Mode::Full { resume },
                };
                groups.push((shared, vec![index], ReadRequest { outputs: vec![output], mode }));
            }
        }
    }
    groups.into_iter().map(|(_, indexes, request)| (indexes, request)).collect()
}

fn shared(source: &Source, output: &Output, position: Option<&Value>) -> Shared {
    let collection = &output.collection;
    if collection.unsupported.is_some() {
        return Shared::Alone;
    }
    let is_incremental = output.checkpoint.is_some() && position.is_none();
    match source.protocol {
        Protocol::Rest => {}
        // Changes of all tables share one look at which accounts there are. A first load goes alone: it has a position.
        Protocol::GoogleAds if is_incremental => return Shared::Changes(String::new()),
        Protocol::GoogleAds | Protocol::Salesforce => return Shared::Alone,
    }
    if let Some(name) = stream(source, collection, is_incremental) {
        return match is_incremental {
            true => Shared::Changes(name.to_string()),
            false => Shared::Listing(name.to_string(), position.cloned()),
        };
    }
    if is_incremental {
        return match (is_followed(source, collection), listing_of(collection)) {
            (true, _) => Shared::Feed,
            (false, Some(listing)) => Shared::Changes(listing.to_string()),
            (false, None) => Shared::Alone,
        };
    }
    listing_of(collection).map_or(Shared::Alone, |name| Shared::Listing(name.to_string(), position.cloned()))
}

/// The one listing that holds a collection's records.
fn listing_of(collection: &Collection) -> Option<&str> {
    match &collection.parent {
        None => Some(&collection.name),
        Some(parent) => match parent.collections.as_slice() {
            [one] if parent.explode.is_some() => Some(one),
            _ => None,
        },
    }
}
