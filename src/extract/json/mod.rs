//! Decides what is JSON, and where its values lie: one strict look at each byte, no tree.
//!
//! Two readers for two uses. `scan` goes through a page or an object once and hands out slices of it; `tape` notes where
//! each value of a record lies, for columns to be filled from. What they pass over is decided in `skip`, for both.
//!
//! All are exactly as strict as serde_json is when it passes a value over (a property test holds them against each other):
//! numbers may have any size, `\u` may name half a pair, and keys may repeat. Values may nest to any depth: one record nested
//! absurdly deep must not cost its page, and no stack is used here that it could exhaust. What can be kept of such a
//! value is decided where it is stored.
//!
//! Layer: extract. Knows nothing of Postgres.

mod scan;
mod skip;
mod tape;

pub use scan::{check, elements, members, Scanner};
pub use tape::{Kind, Tape, Value};

/// Why a text is not the JSON it should be, and where that shows, in bytes counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub at: usize,
    pub what: &'static str,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for Malformed {}

#[cfg(test)]
mod tape_tests;
#[cfg(test)]
mod tests;
