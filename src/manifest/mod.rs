//! Says what a source file can express: one JSON file of facts about one cloud app.
//!
//! The types here are the format; `load.rs` finds the files, fills in defaults and refuses what makes no sense.
//! Paths into a record or a reply are JSON pointers (`/data/object`); an empty pointer is the value itself.
//! Templates hold `{name}` (required) or `{name?}` (what contains it is left out when unset), filled from server
//! options, then defaults of the source.
//!
//! Layer: manifest. Knows nothing of Postgres.

mod check;
pub mod load;
pub mod naming;
mod rate;
pub mod template;

pub use rate::{Rate, RateGroup, ResetFormat};

use serde::Deserialize;
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
    /// Sent with every call; values are templates.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub rate: Option<Rate>,
    /// Checked in order before the general reading of the status; the first that matches decides.
    #[serde(default)]
    pub errors: Vec<ErrorRule>,
    /// Where a JSON error body says what happened: pointers tried in order, e.g. `/error/message`, `/0/message`.
    #[serde(default)]
    pub error_message: Vec<String>,
    /// The cheapest call that needs valid credentials, for `cloudsync_check`; a template.
    #[serde(default)]
    pub check_path: Option<String>,
    /// One stream of changes that serves every collection.
    #[serde(default)]
    pub feed: Option<Feed>,
    /// Odd or unknown things a user should know, for the source's page.
    #[serde(default)]
    pub notes: Vec<String>,
    pub collections: Vec<Collection>,
}

/// Whether rows of a collection change, or are only added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    #[default]
    Object,
    Event,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Rest,
    Salesforce,
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

/// A user mapping option: a secret or part of one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    pub name: String,
    pub help: String,
}

/// How calls prove who they are.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "style", rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// `Authorization: Bearer <credential>`.
    Bearer { secret: String, credentials: Vec<Credential> },
    /// HTTP basic; user and password are templates over the credentials.
    Basic { user: String, password: String, credentials: Vec<Credential> },
    /// A header of the app's own; `value` is a template over the credentials.
    Header { header: String, value: String, credentials: Vec<Credential> },
    /// Access tokens from a token endpoint. The grant is the first of `grants` whose credentials are all set.
    Oauth2 {
        /// Template, e.g. `{login_url}/services/oauth2/token`.
        token_url: String,
        grants: Vec<Grant>,
        credentials: Vec<Credential>,
        /// Pointer in the token answer to the address that calls go to.
        #[serde(default)]
        base_url: Option<String>,
        /// Assumed when the answer has no `expires_in`.
        lifetime_seconds: u64,
        /// `error` values of the token endpoint that mean "renew the credential", not "try again".
        #[serde(default)]
        rejected: Vec<String>,
    },
}

impl Auth {
    pub fn credentials(&self) -> &[Credential] {
        match self {
            Auth::Bearer { credentials, .. }
            | Auth::Basic { credentials, .. }
            | Auth::Header { credentials, .. }
            | Auth::Oauth2 { credentials, .. } => credentials,
        }
    }
}

/// One OAuth 2.0 grant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub grant_type: GrantType,
    /// The credentials it needs; it is chosen when all are set.
    pub needs: Vec<String>,
    /// For `jwt_bearer`: template of the `aud` claim.
    #[serde(default)]
    pub audience: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    RefreshToken,
    ClientCredentials,
    JwtBearer,
}

/// Reads meaning into a reply that its status alone does not have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    /// Any of these statuses; empty for all.
    #[serde(default)]
    pub status: Vec<u16>,
    /// Pointer to the app's error code in the body.
    #[serde(default)]
    pub code: Option<String>,
    /// The codes meant; empty for any.
    #[serde(default)]
    pub codes: Vec<String>,
    pub means: Meaning,
}

/// What a failed reply asks us to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// Try again with backoff.
    Retry,
    /// Wait as asked, then try again; a wait beyond our patience ends the run as deferred.
    RateLimited,
    /// The day's quota is spent: end the run.
    QuotaSpent,
    /// Renew the access token once and repeat.
    TokenExpired,
    /// Stop the source.
    AuthRejected,
    AccessDenied,
    NotFound,
    FieldRefused,
    CursorExpired,
    Unsupported,
    BadRequest,
}

/// One stream of changes that serves every collection of the source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    pub path: String,
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    pub records: String,
    pub pages: Pages,
    pub cursor: Cursor,
    /// Pointer to the name of the change, e.g. `/type`.
    pub event_type: String,
    /// Pointer to the changed object, e.g. `/data/object`.
    pub object: String,
    /// Pointer to the API version that the object is rendered in; another than ours is read again by id.
    #[serde(default)]
    pub version: Option<String>,
    /// How long the app keeps changes; an older checkpoint falls back to a full listing.
    pub retention_days: u32,
    /// Newest changes come first, so the first one seen of an object wins.
    #[serde(default)]
    pub newest_first: bool,
}

/// How a listing goes on after a page.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "style", rename_all = "snake_case", deny_unknown_fields)]
pub enum Pages {
    /// A single reply.
    None,
    /// The last record's field goes into a parameter; `more` is a flag in the reply.
    LastId { param: String, field: String, more: String, size_param: String, size: u32 },
    /// A whole address, absolute or relative, in the reply; absent or null at the end.
    NextUrl {
        pointer: String,
        #[serde(default)]
        size_param: Option<String>,
        #[serde(default)]
        size: Option<u32>,
    },
    /// A token in the reply goes into a parameter.
    Token {
        pointer: String,
        param: String,
        #[serde(default)]
        size_param: Option<String>,
        #[serde(default)]
        size: Option<u32>,
    },
    /// A number of records to pass over.
    Offset { param: String, size_param: String, size: u32 },
}

/// The order of change of a collection, and how to ask for a part of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Pointer in the record.
    pub field: String,
    /// Parameter of the inclusive lower bound.
    #[serde(default)]
    pub param: Option<String>,
    /// Parameter of the inclusive upper bound.
    #[serde(default)]
    pub upper_param: Option<String>,
    #[serde(default)]
    pub format: Format,
    /// Whether the filter sees changes, or only creation (then it serves slices of a first load, not updates).
    #[serde(default)]
    pub created_only: bool,
    /// How far before the cursor we read again, because apps publish late.
    #[serde(default)]
    pub overlap_seconds: u64,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// As the value shows: ISO 8601 text, or an unadorned number for a number.
    #[default]
    Auto,
    Unix,
    UnixMs,
    Rfc2822,
}

/// How a collection shows that a record is gone.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(tag = "style", rename_all = "snake_case", deny_unknown_fields)]
pub enum Deletes {
    /// It does not; a reconcile listing finds out.
    #[default]
    None,
    /// A field of the record. Deleted when it equals `equals`, or is true when `equals` is not given.
    Flag {
        field: String,
        #[serde(default)]
        equals: Option<String>,
    },
    /// Changes of the feed named in the collection's `feed.deleted`.
    Feed,
    /// The children of one parent are always given complete: those not among them any more are gone.
    WithParent,
    /// Missing from a complete listing means deleted (only collections that are always read in full).
    Absent,
}

/// One collection of the app.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collection {
    pub name: String,
    /// The vendor's name of the resource (`Account`, `charge`).
    #[serde(default)]
    pub object: String,
    #[serde(default)]
    pub kind: Option<Kind>,
    #[serde(default)]
    pub docs: Option<String>,
    #[serde(default)]
    pub notes: Option<String>,
    /// Why the app cannot serve it; then nothing else is asked of the app.
    #[serde(default)]
    pub unsupported: Option<String>,
    #[serde(default)]
    pub path: Option<String>,
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Pointer to the array of records in a reply (empty: the reply is the one record).
    #[serde(default)]
    pub records: String,
    /// Column names.
    pub primary_key: Vec<String>,
    #[serde(default)]
    pub pages: Option<Pages>,
    #[serde(default)]
    pub cursor: Option<Cursor>,
    #[serde(default)]
    pub deletes: Deletes,
    /// Path template of one record, e.g. `/v1/charges/{id}`; `{..}` is a column of the collection, most often of the
    /// key. A changed record is read again by it; a live scan uses it when it knows all those columns.
    #[serde(default)]
    pub by_key: Option<String>,
    /// Pointer to a flag that is true in the answer of `by_key` when the record is gone (Stripe: `/deleted`).
    #[serde(default)]
    pub gone: Option<String>,
    /// Filters of the listing that equal a column exactly: column -> operator (`=`, `>`, `>=`, `<`, `<=`) -> parameter.
    #[serde(default)]
    pub filters: BTreeMap<String, BTreeMap<String, String>>,
    /// Set when its records come out of another collection's. Without a `path` of its own it is read, and sliced by
    /// the cursor, like the parent.
    #[serde(default)]
    pub parent: Option<Parent>,
    #[serde(default)]
    pub feed: Option<CollectionFeed>,
    /// Collections with no change signal of their own: read this far back from the cursor, and only when the feed
    /// moved or `at_least_every_seconds` passed.
    #[serde(default)]
    pub lookback: Option<Lookback>,
    /// Top-level keys of a record that are neither a column nor kept in `extra`.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// In the order in which the tables list them.
    #[serde(default)]
    pub columns: Vec<Column>,
}

/// A window before the cursor that is read again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lookback {
    pub seconds: u64,
    pub at_least_every_seconds: u64,
}

/// Where a child collection's records come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Collections whose records hold the children.
    pub collections: Vec<String>,
    /// Pointer in the parent's record to the child, an array of children, or a list object (`list` is set).
    #[serde(default)]
    pub explode: Option<String>,
    /// The exploded value is a first page: `{records, more, path}` say how to read the rest of it.
    #[serde(default)]
    pub list: Option<EmbeddedList>,
    /// One listing call for each parent record instead; template with `{id}` of the parent.
    #[serde(default)]
    pub path: Option<String>,
    /// Keep only children whose field has this value (pointer -> text).
    #[serde(default)]
    pub only: BTreeMap<String, String>,
    /// Columns filled from outside the child: column -> pointer in the parent, or `#index`.
    #[serde(default)]
    pub add: BTreeMap<String, String>,
    /// Parameters to add to the parent's listing for the children to be there (`expand[]`).
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Column of the child that names its parent: for `with_parent` deletions, and to read one parent's children only.
    #[serde(default)]
    pub key_column: Option<String>,
}

/// A list inside a record that holds its first page only.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedList {
    /// Pointers within the exploded value.
    pub records: String,
    pub more: String,
    /// Template of the listing that goes on, with `{id}` of the parent; paged like the parent.
    pub path: String,
    /// Values are templates of the same kind.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
}

/// Which changes of the source's feed concern a collection.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectionFeed {
    /// Names of changes whose object is a record of this collection (or its parent's record, with `of_parent`).
    pub types: Vec<String>,
    /// Further names, whose object is the parent's record although those of `types` are records of this collection.
    #[serde(default)]
    pub parent_types: Vec<String>,
    /// Those of `types` that say the record is gone; with `of_parent`, that the parent is gone and its children with it.
    #[serde(default)]
    pub deleted: Vec<String>,
    /// Keep only changes whose object has this value (pointer -> text).
    #[serde(default)]
    pub only: BTreeMap<String, String>,
    /// The object of all `types` is the parent's: children are exploded out of it as in a listing.
    #[serde(default)]
    pub of_parent: bool,
}

/// One column as the source defines it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub name: String,
    /// PostgreSQL type name: text, bigint, integer, numeric, double precision, boolean, timestamptz, date, jsonb.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Pointer in the record, or a bare key; the column's name when absent.
    #[serde(default)]
    pub field: Option<String>,
    #[serde(default)]
    pub format: Format,
}

impl Column {
    /// The path in the record, one key an element.
    pub fn path(&self) -> Vec<String> {
        field_path(self.field.as_deref().unwrap_or(&self.name))
    }
}

/// `BillingCity` or `/address/city` as a list of keys.
pub fn field_path(field: &str) -> Vec<String> {
    match field.strip_prefix('/') {
        Some(rest) => rest.split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect(),
        None => vec![field.to_string()],
    }
}

impl Source {
    pub fn collection(&self, name: &str) -> Option<&Collection> {
        self.collections.iter().find(|c| c.name == name)
    }
}

impl Collection {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }
}
