//! Decides what Facebook's own words mean where its codes do not say enough, and what is added to them.
//!
//! Docs: Marketing API, "Error codes"; Insights API, "Limits and best practices".
//!
//! Layer: extract. Knows nothing of Postgres.

use crate::error::SyncError;

/// Permissions that an ad account can ask for.
const PERMISSIONS: [&str; 3] = ["ads_read", "ads_management", "business_management"];

/// The error with what is needed, where Facebook refuses without naming it.
pub fn explained(error: SyncError) -> SyncError {
    match error {
        SyncError::AccessDenied { status, detail } if !PERMISSIONS.iter().any(|name| detail.contains(name)) => {
            let detail =
                format!("{detail} (the access token needs the permission ads_read, and its user the ad account)");
            SyncError::AccessDenied { status, detail }
        }
        other => other,
    }
}

/// The error with the ad account that it is about: Facebook does not always say which.
pub fn about(account: &str, error: SyncError) -> SyncError {
    let named = |detail: String| if detail.contains(account) { detail } else { format!("act_{account}: {detail}") };
    match error {
        SyncError::AccessDenied { status, detail } => SyncError::AccessDenied { status, detail: named(detail) },
        SyncError::NotFound { status, detail } => SyncError::NotFound { status, detail: named(detail) },
        SyncError::BadRequest { status, request, detail } => {
            SyncError::BadRequest { status, request, detail: named(detail) }
        }
        other => other,
    }
}

/// Whether less has to be asked for at once.
pub fn is_too_much(error: &SyncError) -> bool {
    let SyncError::BadRequest { detail, .. } = error else { return false };
    let detail = detail.to_lowercase();
    ["reduce the amount", "smaller date range", "data per call"].iter().any(|words| detail.contains(words))
}

/// Whether the app broke off again and again: on figures, most often another word for too much.
pub fn is_overloaded(error: &SyncError) -> bool {
    matches!(error, SyncError::Unavailable { .. })
}

/// Whether a day is asked for that Facebook no longer keeps (3018). By which hour it counts months is not documented.
pub fn is_too_early(error: &SyncError) -> bool {
    matches!(error, SyncError::BadRequest { detail, .. } if detail.contains("37 months"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(detail: &str) -> SyncError {
        SyncError::BadRequest { status: 400, request: "GET /x".into(), detail: detail.into() }
    }

    #[test]
    fn a_refusal_names_what_is_missing_and_where() {
        let denied = |detail: &str| SyncError::AccessDenied { status: 403, detail: detail.into() };
        let named = denied("(#200) Ad account owner has NOT grant ads_management or ads_read permission");
        assert_eq!(explained(named.clone()), named);
        let SyncError::AccessDenied { detail, .. } = explained(about("7", denied("(#10) no permission"))) else {
            panic!("another kind of error");
        };
        assert!(detail.starts_with("act_7: (#10) no permission (") && detail.contains("ads_read"), "{detail}");
        assert_eq!(about("7", denied("act_7 is closed")), denied("act_7 is closed"));
    }

    #[test]
    fn too_much_and_too_early_are_told_by_words() {
        assert!(is_too_much(&bad("Please reduce the amount of data you're asking for, then retry your request")));
        let timeout = SyncError::Unavailable { status: 500, tries: 5, detail: "time-out".into() };
        assert!(is_overloaded(&timeout) && !is_too_much(&timeout));
        assert!(!is_too_much(&bad("(#100) x is not valid for fields param")));
        assert!(is_too_early(&bad(
            "(#3018) The start date of the time range cannot be beyond 37 months from the current date"
        )));
    }
}
