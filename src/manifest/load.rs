//! Finds the built-in source files, fills in the defaults of settings and refuses files that make no sense.
//!
//! The files of `sources/` are built in (`build.rs`), so an installed extension needs no file beside it. A user's own
//! source comes through [`parse`] as well: one set of rules for both.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::{check, Source};
use once_cell::sync::Lazy;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// (name of the file, its text), in name order.
static FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/source_files.rs"));

/// Parsed at first use. A file with a mistake is left out rather than breaking the others; a test keeps that from
/// being released.
static SOURCES: Lazy<BTreeMap<String, Arc<Source>>> = Lazy::new(|| {
    FILES.iter().filter_map(|(name, text)| Some((name.to_string(), Arc::new(parse(text).ok()?)))).collect()
});

/// What is wrong with a source file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// JSON pointer of the place; empty for the file as a whole.
    pub pointer: String,
    pub message: String,
}

impl Problem {
    pub fn new(pointer: &str, message: impl Into<String>) -> Self {
        Problem { pointer: pointer.to_string(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => write!(f, "source file: {}", self.message),
            place => write!(f, "source file at {place}: {}", self.message),
        }
    }
}

impl std::error::Error for Problem {}

/// Why nothing is asked for what a webhook fills.
const PUSHED: &str =
    "It is filled by webhooks: the app sends its events and keeps none to ask for. Taking them in comes with a later version.";

/// The built-in source of that name.
pub fn source(name: &str) -> Option<Arc<Source>> {
    SOURCES.get(name).cloned()
}

/// All built-in sources, in name order.
pub fn sources() -> impl Iterator<Item = Arc<Source>> {
    SOURCES.values().cloned()
}

/// Reads a source file. The error is the first mistake: one of form before any of sense, then in the file's order.
pub fn parse(json: &str) -> Result<Source, Problem> {
    read(json).map_err(|problems| problems.into_iter().next().unwrap_or_else(|| Problem::new("", "unknown")))
}

/// Reads a source file, and gives all that is wrong with it. A mistake of form ends the reading, so it comes alone.
pub fn read(json: &str) -> Result<Source, Vec<Problem>> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let mut source: Source = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| vec![Problem::new(&pointer_of(error.path()), error.inner().to_string())])?;
    deserializer.end().map_err(|error| vec![Problem::new("", error.to_string())])?;
    let problems = check::mistakes(&source);
    if problems.is_empty() {
        for collection in source.collections.iter_mut().filter(|c| c.webhook.is_some() && c.unsupported.is_none()) {
            collection.unsupported = Some(PUSHED.to_string());
        }
        Ok(source)
    } else {
        Err(problems)
    }
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path.iter() {
        let key = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            // The variant of a `style` is no place of its own in the file.
            Segment::Enum { .. } => continue,
            // Deeper than the reader can follow.
            Segment::Unknown => break,
        };
        pointer.push('/');
        pointer.push_str(&key);
    }
    pointer
}

/// The options of a server with the source's defaults filled in, `api_version` included: what templates are filled from.
///
/// A setting with `default_by` takes its default by the value of another setting, after that one got its own: the
/// login host of a Salesforce sandbox follows from `environment` unless `login_url` is set. Options that are not
/// settings of the source pass through.
pub fn settings_of(source: &Source, options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut settings = options.clone();
    let mut default = |name: &str, value: Option<&String>| {
        if let Some(value) = value.filter(|_| !settings.contains_key(name)) {
            settings.insert(name.to_string(), value.clone());
        }
    };
    default("api_version", source.api_version.as_ref());
    for setting in &source.settings {
        default(&setting.name, setting.default.as_ref());
    }
    for setting in &source.settings {
        let Some(by) = setting.default_by.as_ref().filter(|_| !settings.contains_key(&setting.name)) else { continue };
        if let Some(value) = settings.get(&by.setting).and_then(|deciding| by.values.get(deciding)).cloned() {
            settings.insert(setting.name.clone(), value);
        }
    }
    settings
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
