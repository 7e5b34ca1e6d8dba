//! Decides which fields may be searched, and of which type each is.

use super::query::Of;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Whole,
    Flag,
    Date,
}

const CONTACT_TEXTS: &[&str] = &[
    "id",
    "role",
    "name",
    "avatar",
    "email",
    "email_domain",
    "phone",
    "external_id",
    "language_override",
    "browser",
    "browser_language",
    "os",
    "location.country",
    "location.region",
    "location.city",
    "ios_app_version",
    "ios_device",
    "ios_os_version",
    "ios_app_name",
    "ios_sdk_version",
    "android_app_version",
    "android_device",
    "android_app_name",
    "android_sdk_version",
    "segment_id",
    "tag_id",
];
const CONTACT_DATES: &[&str] = &[
    "created_at",
    "signed_up_at",
    "updated_at",
    "last_seen_at",
    "last_contacted_at",
    "last_replied_at",
    "last_email_opened_at",
    "last_email_clicked_at",
    "ios_last_seen_at",
    "android_last_seen_at",
];
const CONTACT_FLAGS: &[&str] = &["unsubscribed_from_emails", "marked_email_as_spam", "has_hard_bounced"];
const CONVERSATION_TEXTS: &[&str] = &[
    "id",
    "source.type",
    "source.id",
    "source.delivered_as",
    "source.subject",
    "source.body",
    "source.author.id",
    "source.author.type",
    "source.author.name",
    "source.author.email",
    "source.url",
    "contact_ids",
    "teammate_ids",
    "channel_initiated",
    "state",
    "tag_ids",
    "priority",
    "statistics.last_closed_by_id",
    "conversation_rating.remark",
    "conversation_rating.contact_id",
    "ai_agent.resolution_state",
    "ai_agent.last_answer_type",
];
const CONVERSATION_DATES: &[&str] = &[
    "created_at",
    "updated_at",
    "waiting_since",
    "snoozed_until",
    "statistics.first_contact_reply_at",
    "statistics.first_assignment_at",
    "statistics.first_admin_reply_at",
    "statistics.first_close_at",
    "statistics.last_assignment_at",
    "statistics.last_contact_reply_at",
    "statistics.last_admin_reply_at",
    "statistics.last_close_at",
];
const CONVERSATION_WHOLES: &[&str] = &[
    "admin_assignee_id",
    "team_assignee_id",
    "statistics.time_to_assignment",
    "statistics.time_to_admin_reply",
    "statistics.count_reopens",
    "statistics.count_assignments",
    "statistics.count_conversation_parts",
    "conversation_rating.score",
];

/// The type of a field that may be searched.
pub fn kind_of(of: Of, field: &str) -> Option<Kind> {
    let (texts, dates, wholes, flags): (&[&str], &[&str], &[&str], &[&str]) = match of {
        Of::Contacts => (CONTACT_TEXTS, CONTACT_DATES, &["owner_id"], CONTACT_FLAGS),
        Of::Conversations => {
            (CONVERSATION_TEXTS, CONVERSATION_DATES, CONVERSATION_WHOLES, &["open", "read", "ai_agent_participated"])
        }
    };
    let kinds = [(texts, Kind::Text), (dates, Kind::Date), (wholes, Kind::Whole), (flags, Kind::Flag)];
    kinds.iter().find(|(names, _)| names.contains(&field)).map(|(_, kind)| *kind)
}
