//! Decides that a secret cannot be printed by accident.
//!
//! Layer: below http. Knows nothing of Postgres.

use std::fmt;

/// A credential. `Debug` and `Display` print `***`; only [`Secret::expose`] gives the text, at the one place that sends it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself. Never goes into a message, a log line or a URL that is shown.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A number that names this secret without giving it away, to notice that it was replaced.
    pub fn fingerprint(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(self.0.as_bytes(), 0x636c_6f75_6473_796e)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
