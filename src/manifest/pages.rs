//! Says how a listing goes on after a page, and where it ends.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::Call;
use serde::Deserialize;

/// How a listing goes on after a page. `param` and `size_param` are names of parameters, or pointers into the body.
///
/// `more` points to what says that there is more: true, or anything but false, null, 0 and empty. `end` points to
/// what says that there is not.
#[derive(Clone, Debug, PartialEq, Deserialize)]
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
        more: Option<String>,
        #[serde(default)]
        end: Option<String>,
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
        more: Option<String>,
        #[serde(default)]
        end: Option<String>,
        /// The first page needs a token, too: a call gives it.
        #[serde(default)]
        first: Option<Box<FirstToken>>,
        /// Pages may be empty although there is more: the app looks through so much of a log for each of them.
        #[serde(default)]
        sparse: bool,
        #[serde(default)]
        size_param: Option<String>,
        #[serde(default)]
        size: Option<u32>,
    },
    /// A token in a header of the reply goes into a parameter; absent, empty or `null` at the end.
    HeaderToken {
        header: String,
        param: String,
        #[serde(default)]
        size_param: Option<String>,
        #[serde(default)]
        size: Option<u32>,
    },
    /// The address in the `Link` header with the relation `rel` (RFC 8288).
    LinkHeader {
        #[serde(default = "next")]
        rel: String,
        #[serde(default)]
        size_param: Option<String>,
        #[serde(default)]
        size: Option<u32>,
    },
    /// A number of records to pass over.
    Offset {
        param: String,
        size_param: String,
        size: u32,
        #[serde(default)]
        more: Option<String>,
        /// Pointer to the number of all records.
        #[serde(default)]
        total: Option<String>,
        #[serde(default)]
        until: Until,
    },
    /// A number of the page.
    PageNumber {
        param: String,
        /// The number of the first page.
        #[serde(default = "one")]
        start: u64,
        #[serde(default)]
        more: Option<String>,
        /// Pointer to the number of all records.
        #[serde(default)]
        total: Option<String>,
        /// Pointer to the number of all pages.
        #[serde(default)]
        total_pages: Option<String>,
        #[serde(default)]
        until: Until,
        #[serde(default)]
        size_param: Option<String>,
        #[serde(default)]
        size: Option<u32>,
    },
    /// One token for the whole walk, given back with each reply until a page is empty. It dies within a minute or so,
    /// and an app allows one walk at a time: the listing is not resumed, and its error rules say what is busy.
    Scroll { pointer: String, param: String },
    /// An export in the order of time whose next page begins at the time where this one ended (Zendesk). It ends when
    /// `end` says so; where the reply has no `end`, at a page of fewer than `size` or whose time did not move.
    TimeExport {
        /// Pointer to the next address.
        pointer: String,
        /// Pointer to the time where the page ended, Unix seconds: the cursor of the next run.
        time: String,
        #[serde(default)]
        end: Option<String>,
        #[serde(default)]
        size_param: Option<String>,
        size: u32,
    },
}

/// When a counted listing is at its end, where no reply says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// At a page that is not full.
    #[default]
    ShortPage,
    /// At a page without records.
    EmptyPage,
    /// At the 404 behind the last page, for pages may be empty before it.
    NotFound,
}

/// The call that gives the first page's token; `{cursor}` is where the reading begins.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstToken {
    pub call: Call,
    pub pointer: String,
}

fn next() -> String {
    "next".to_string()
}

fn one() -> u64 {
    1
}

impl Pages {
    /// Whether only a 404 ends the listing.
    pub fn ends_with_404(&self) -> bool {
        matches!(self, Pages::Offset { until: Until::NotFound, .. } | Pages::PageNumber { until: Until::NotFound, .. })
    }

    /// The place of the size, and the size.
    pub fn size(&self) -> (Option<&str>, Option<u32>) {
        match self {
            Pages::None | Pages::Scroll { .. } => (None, None),
            Pages::LastId { size_param, size, .. } | Pages::Offset { size_param, size, .. } => {
                (Some(size_param), Some(*size))
            }
            Pages::TimeExport { size_param, size, .. } => (size_param.as_deref(), Some(*size)),
            Pages::NextUrl { size_param, size, .. }
            | Pages::Token { size_param, size, .. }
            | Pages::HeaderToken { size_param, size, .. }
            | Pages::LinkHeader { size_param, size, .. }
            | Pages::PageNumber { size_param, size, .. } => (size_param.as_deref(), *size),
        }
    }
}
