//! Gives every failure its SQLSTATE, detail and hint: the one place where errors become Postgres's.

use crate::error::SyncError;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode as Code};

/// Who a failure concerns.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    pub server: &'a str,
    /// `None` when it concerns the server as a whole.
    pub collection: Option<&'a str>,
}

/// A failure in the words a user reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub code: Code,
    pub message: String,
    pub detail: String,
    pub hint: String,
}

impl Report {
    pub fn sqlstate(&self) -> String {
        sqlstate(self.code)
    }

    /// Message and detail in one text.
    pub fn with_detail(&self) -> String {
        if self.detail.is_empty() {
            self.message.clone()
        } else {
            format!("{}. {}", self.message, self.detail)
        }
    }

    /// Ends the statement with this error.
    pub fn raise(self) -> ! {
        ErrorReport::from(self).report(PgLogLevel::ERROR);
        unreachable!("an error report at level ERROR does not return")
    }

    /// An error that Postgres raised and we caught.
    pub fn of_postgres(error: &pgrx::pg_sys::panic::ErrorReportWithLevel) -> Self {
        Report {
            code: error.sql_error_code(),
            message: error.message().to_string(),
            detail: error.detail().unwrap_or_default().to_string(),
            hint: error.hint().unwrap_or_default().to_string(),
        }
    }
}

impl From<Report> for ErrorReport {
    fn from(report: Report) -> Self {
        let mut error = ErrorReport::new(report.code, report.message, "cloudsync");
        if !report.detail.is_empty() {
            error = error.set_detail(report.detail);
        }
        if !report.hint.is_empty() {
            error = error.set_hint(report.hint);
        }
        error
    }
}

/// The five characters of a code.
pub fn sqlstate(code: Code) -> String {
    let mut bits = code as i32;
    (0..5)
        .map(|_| {
            let c = char::from((bits & 0x3f) as u8 + b'0');
            bits >>= 6;
            c
        })
        .collect()
}

/// An error of ours; empty detail and hint are left out.
pub fn fail(code: Code, message: impl Into<String>, detail: impl Into<String>, hint: impl Into<String>) -> Report {
    Report { code, message: message.into(), detail: detail.into(), hint: hint.into() }
}

/// What a user reads of a failure.
pub fn report(subject: &Subject<'_>, error: &SyncError) -> Report {
    let server = subject.server;
    let place = match subject.collection {
        Some(collection) => format!("{server}.{collection}"),
        None => format!("server \"{server}\""),
    };
    let (code, message, detail, hint) = match error {
        SyncError::AuthRejected { status, detail } => (
            Code::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, // 28000
            format!("{place}: credentials were rejected"),
            sentence(&format!("The API answered with HTTP status {status}; no further collection was tried"), detail),
            format!(
                "Renew the credentials of server \"{server}\" with cloudsync_set_credential(), then refresh again."
            ),
        ),
        SyncError::AccessDenied { status, detail } => (
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE, // 42501
            format!("{place}: access denied"),
            sentence(&format!("The API answered with HTTP status {status}"), detail),
            match crate::error::missing_in(detail) {
                Some(scopes) => {
                    format!("Grant {scopes} to the API user or key, or drop the collection's foreign table.")
                }
                None => {
                    "Give the API user or key the permission to read this collection, or drop its foreign table.".into()
                }
            },
        ),
        SyncError::NotFound { status, detail } => (
            Code::ERRCODE_FDW_TABLE_NOT_FOUND, // HV00R
            format!("{place}: not found at the app"),
            sentence(&format!("The API answered with HTTP status {status}"), detail),
            "Check that the account has this feature and that the API user may see it.".into(),
        ),
        SyncError::Unsupported { reason } => (
            Code::ERRCODE_FEATURE_NOT_SUPPORTED, // 0A000
            format!("{place}: the app does not serve this collection"),
            sentence(reason, ""),
            String::new(),
        ),
        SyncError::BadRequest { status, request, detail } => (
            Code::ERRCODE_FDW_UNABLE_TO_CREATE_REPLY, // HV00M
            format!("{place}: the app refused the request with HTTP status {status}"),
            sentence(&format!("The request was {request}"), detail),
            "Check the options of the server and of the foreign table against the app's reference.".into(),
        ),
        SyncError::FieldRefused { detail } => (
            Code::ERRCODE_FDW_COLUMN_NAME_NOT_FOUND, // HV005
            format!("{place}: the app refused a field"),
            sentence(detail, ""),
            "Drop the column from the foreign table, or give the API user the right to read the field.".into(),
        ),
        SyncError::Connect { host, detail } => (
            Code::ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION, // HV00N
            format!("{place}: could not connect to \"{host}\""),
            sentence(detail, ""),
            "Check the address, the network and the server's option \"base_url\".".into(),
        ),
        SyncError::Unavailable { status, tries, detail } => (
            Code::ERRCODE_FDW_UNABLE_TO_CREATE_EXECUTION, // HV00L
            if *status == 0 {
                format!("{place}: no complete reply after {tries} tries")
            } else {
                format!("{place}: the app answered with HTTP status {status} in each of {tries} tries")
            },
            sentence(detail, ""),
            "Refresh again later; what was stored is kept, and the refresh goes on from there.".into(),
        ),
        SyncError::Unreadable { content_type, start, detail } => (
            Code::ERRCODE_FDW_UNABLE_TO_CREATE_REPLY, // HV00M
            format!("{place}: unreadable reply"),
            sentence(detail, &format!("content type \"{content_type}\", beginning \"{start}\"")),
            "Check the server's option \"base_url\": something else than the API may have answered.".into(),
        ),
        SyncError::RateLimited { until, detail } | SyncError::Deferred { until, detail } => (
            Code::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED, // 53400
            format!("{place}: the app's quota is spent"),
            sentence(
                detail,
                &until.map_or(String::new(), |t| {
                    let at: chrono::DateTime<chrono::Utc> = t.into();
                    format!("it frees at {}", at.format("%Y-%m-%d %H:%M:%S UTC"))
                }),
            ),
            "Nothing has to be done: the next refresh goes on where this one stopped.".into(),
        ),
        SyncError::TooLarge { what, limit } => (
            Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, // 54000
            format!("{place}: {what} is over the limit of {limit}"),
            String::new(),
            "Raise the limit in the server's options if the data is right.".into(),
        ),
        SyncError::PagerLoop { detail } => (
            Code::ERRCODE_FDW_UNABLE_TO_CREATE_REPLY, // HV00M
            format!("{place}: the app repeats its pages"),
            sentence(detail, ""),
            "Refresh again later; if it stays so, the app's API is at fault.".into(),
        ),
        SyncError::CursorExpired { detail } => (
            Code::ERRCODE_FDW_ERROR, // HV000
            format!("{place}: the app no longer accepts the saved cursor"),
            sentence(detail, ""),
            "Call cloudsync_reset() for the collection, then refresh again.".into(),
        ),
        SyncError::Missing { place: where_, option } => (
            Code::ERRCODE_FDW_OPTION_NAME_NOT_FOUND, // HV00J
            format!("{place}: option \"{option}\" is missing in the {where_}"),
            String::new(),
            if *where_ == "user mapping" {
                format!("Set it: SELECT cloudsync_set_credential('{server}', '{option}', '...');")
            } else {
                format!("Set it: ALTER SERVER \"{server}\" OPTIONS (ADD {option} '...');")
            },
        ),
        SyncError::BadSetting { option, detail } => (
            Code::ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE, // HV024
            format!("{place}: option \"{option}\" has a value that cannot be used"),
            sentence(detail, ""),
            "Correct the option.".into(),
        ),
        SyncError::NoWorker => (
            Code::ERRCODE_INSUFFICIENT_RESOURCES, // 53000
            format!("{place}: no background worker is free"),
            "Access tokens are renewed in a worker, so that a rotated refresh token cannot be lost.".into(),
            "Raise max_worker_processes, or refresh again when other workers have ended.".into(),
        ),
        SyncError::Internal { detail } => (
            Code::ERRCODE_INTERNAL_ERROR, // XX000
            format!("{place}: internal error"),
            sentence(detail, ""),
            "Please report this with the server log.".into(),
        ),
    };
    Report { code, message, detail, hint }
}

/// Two parts as sentences, each ended by one full stop; empty parts are left out.
fn sentence(first: &str, second: &str) -> String {
    [first, second]
        .iter()
        .map(|part| part.trim().trim_end_matches('.'))
        .filter(|part| !part.is_empty())
        .map(|part| {
            let mut letters = part.chars();
            let head = letters.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
            format!("{head}{}.", letters.as_str())
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// No server of that name.
pub fn unknown_server(name: &str) -> Report {
    fail(
        Code::ERRCODE_UNDEFINED_OBJECT, // 42704
        format!("server \"{name}\" does not exist"),
        "",
        format!(
            "Create it: CREATE SERVER {} FOREIGN DATA WRAPPER cloudsync OPTIONS (source '...'); \
             the sources are listed in cloudsync.sources.",
            pgrx::spi::quote_identifier(name)
        ),
    )
}
