//! Says what a source file can express: one JSON file of facts about one cloud app.
//!
//! The types here are the format; `load.rs` finds the files, fills in defaults and refuses what makes no sense.
//! Paths into a record or a reply are JSON pointers (`/data/object`); an empty pointer is the value itself.
//! Templates hold `{name}` (required) or `{name?}` (what contains it is left out when unset), filled from server
//! options, then defaults of the source.
//!
//! Layer: manifest. Knows nothing of Postgres.

mod auth;
mod check;
mod children;
mod collection;
mod cursor;
mod errors;
mod home;
mod job;
pub mod load;
mod lookup;
pub mod naming;
mod pages;
mod rate;
mod request;
pub mod template;
mod tuned;

// The format is named from here, whole, whether or not this crate names each part of it.
#[allow(unused_imports)]
pub use auth::{Auth, ClientAuth, Credential, Grant, GrantType, SendAs, TokenRequest};
#[allow(unused_imports)]
pub use children::{BatchOfParents, CollectionFeed, EmbeddedList, Feed, Parent};
#[allow(unused_imports)]
pub use collection::{Collection, Column, Deletes, Discover, FieldIs, LimitType, Pairs, Select, Shape, Webhook};
#[allow(unused_imports)]
pub use cursor::{fixed_offset, Ceiling, Cursor, Format, Granularity, Lookback, Opaque, Restart, SortOrder};
#[allow(unused_imports)]
pub use errors::{ErrorRule, HeaderIs, Meaning, ScopeAt, ScopeWords, Wait, WaitUnit};
#[allow(unused_imports)]
pub use job::{Download, Job, States, When};
#[allow(unused_imports)]
pub use load::Problem;
#[allow(unused_imports)]
pub use lookup::{Lookup, NoneOf};
#[allow(unused_imports)]
pub use pages::{FirstToken, Pages, Until};
#[allow(unused_imports)]
pub use rate::{Rate, RateGroup, ResetFormat, UsageHeader};
#[allow(unused_imports)]
pub use request::{texts_of, Call, Decoder, Listing, Method, OneOrMany, Param, Params, Records};
#[allow(unused_imports)]
pub use tuned::tuned;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// One cloud app: everything a reader has to know that is not code.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The name in `CREATE SERVER .. OPTIONS (source '..')`.
    pub source: String,
    pub title: String,
    #[serde(default)]
    pub kind: Kind,
    /// The vendor's API reference.
    pub docs: String,
    /// The reader: `rest` for everything that data can say.
    #[serde(default)]
    pub protocol: Protocol,
    /// Template of the address; `{instance_url}` stands for what the token answer names.
    pub base_url: String,
    /// Default of the server option `api_version`; available to templates as `{api_version}`.
    #[serde(default)]
    pub api_version: Option<String>,
    pub auth: Auth,
    /// Server options of this source beside the general ones.
    #[serde(default)]
    pub settings: Vec<Setting>,
    /// Values that templates need and nobody types in: a part of a credential, or the answer of a call. The first way
    /// that gives one counts; they are names like settings.
    #[serde(default)]
    pub values: BTreeMap<String, Vec<Derived>>,
    /// Sent with every call; values are templates over credentials and settings.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Parameters of every call, of the same kind: a proof computed from the token, say.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    #[serde(default)]
    pub rate: Option<Rate>,
    /// Checked in order before the general reading of the status; the first that matches decides.
    #[serde(default)]
    pub errors: Vec<ErrorRule>,
    /// Where a JSON error body says what happened: pointers tried in order, e.g. `/error/message`, `/0/message`.
    #[serde(default)]
    pub error_message: Vec<String>,
    /// Where the answer to a call that is not permitted names the permission that it wants.
    #[serde(default)]
    pub missing_scope: Vec<ScopeAt>,
    /// The cheapest call that needs valid credentials, for `cloudsync_check`; a template.
    #[serde(default)]
    pub check_path: Option<String>,
    /// The same, where it is more than a path; its templates are over credentials, too.
    #[serde(default)]
    pub check: Option<Call>,
    /// One stream of changes that serves every collection.
    #[serde(default)]
    pub feed: Option<Feed>,
    /// Odd or unknown things a user should know, for the source's page.
    #[serde(default)]
    pub notes: Vec<String>,
    pub collections: Vec<Collection>,
    /// Listings that are no table: only their children are.
    #[serde(default)]
    pub helpers: Vec<Collection>,
}

/// One way to a value: a template over credentials and settings, or a pointer into the answer of a call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    #[serde(default)]
    pub template: Option<String>,
    #[serde(default)]
    pub call: Option<Call>,
    #[serde(default)]
    pub pointer: Option<String>,
}

/// Whether rows of a collection change, or are only added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    #[default]
    Object,
    Event,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Rest,
    Salesforce,
    GoogleAds,
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.as_str() {
            "rest" => Ok(Protocol::Rest),
            "salesforce" => Ok(Protocol::Salesforce),
            "google_ads" => Ok(Protocol::GoogleAds),
            other => Err(D::Error::custom(format!("unknown protocol \"{other}\"; there is \"rest\""))),
        }
    }
}

/// A server option of one source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    pub name: String,
    pub help: String,
    #[serde(default)]
    pub default: Option<String>,
    /// A default that depends on another setting, used when there is no `default`.
    #[serde(default)]
    pub default_by: Option<DefaultBy>,
    #[serde(default)]
    pub required: bool,
    /// When not empty, the only values allowed.
    #[serde(default)]
    pub values: Vec<String>,
}

/// The default of a setting, by the value of another setting.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultBy {
    pub setting: String,
    /// Value of that setting -> default.
    pub values: BTreeMap<String, String>,
}

/// `BillingCity` or `/address/city` as a list of keys.
pub fn field_path(field: &str) -> Vec<String> {
    match field.strip_prefix('/') {
        Some(rest) => rest.split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect(),
        None => vec![field.to_string()],
    }
}

impl Source {
    /// Reads a source file, and tells all that is wrong with it: of form first, and only then of sense.
    pub fn from_json(text: &str) -> Result<Source, Vec<Problem>> {
        load::read(text)
    }

    /// The same for a definition of a user's own, whose calls stay at one host.
    pub fn of_user(text: &str) -> Result<Source, Vec<Problem>> {
        let source = load::read(text)?;
        let problems = home::leaving(&source);
        if problems.is_empty() {
            Ok(source)
        } else {
            Err(problems)
        }
    }

    /// A table's collection.
    pub fn collection(&self, name: &str) -> Option<&Collection> {
        self.collections.iter().find(|c| c.name == name)
    }

    /// A collection that is listed: a table's, or a helper.
    pub fn listed(&self, name: &str) -> Option<&Collection> {
        self.collection(name).or_else(|| self.helpers.iter().find(|c| c.name == name))
    }
}
