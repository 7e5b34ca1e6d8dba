//! Decides the records a test asks for: numbers as strings, dates as RFC 2822, addresses without a host.

use chrono::{DateTime, Utc};
use serde_json::{json, Map, Value};

use crate::chance::Chance;
use crate::names;

pub type Record = Map<String, Value>;

/// `Tue, 18 Aug 2015 17:07:30 +0000`.
pub fn stamp(ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(ms).unwrap_or_default().format("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// Two letters and 32 hexadecimal digits.
pub fn sid(prefix: &str, seed: u64, number: u64) -> String {
    let mut chance = Chance::new(seed ^ number.rotate_left(32), prefix);
    format!("{prefix}{:016x}{:016x}", chance.next(), chance.next())
}

/// What a collection's records are called in paths, and the letters of their sids.
pub fn place(collection: &str) -> Option<(&'static str, &'static str)> {
    Some(match collection {
        "accounts" => ("Accounts", "AC"),
        "addresses" => ("Addresses", "AD"),
        "calls" => ("Calls", "CA"),
        "conferences" => ("Conferences", "CF"),
        "transcriptions" => ("Transcriptions", "TR"),
        "messages" => ("Messages", "SM"),
        _ => return None,
    })
}

fn number(n: u64) -> String {
    format!("+1415555{:04}", n % 10_000)
}

fn formatted(number: &str) -> String {
    format!("({}) {}-{}", &number[2..5], &number[5..8], &number[8..])
}

/// A record of `collection`; `n` is its number, `seed` the program's.
pub fn draft(collection: &str, account: &str, n: u64, at_ms: i64, seed: u64) -> Option<Record> {
    let (name, prefix) = place(collection)?;
    let mut chance = Chance::new(seed ^ n, collection);
    let sid = sid(prefix, seed, n);
    let uri = match collection {
        "accounts" => format!("/2010-04-01/Accounts/{sid}.json"),
        _ => format!("/2010-04-01/Accounts/{account}/{name}/{sid}.json"),
    };
    let (at, later) = (stamp(at_ms), stamp(at_ms + 30_000));
    let below = |parts: &[&str]| -> Value {
        let base = uri.trim_end_matches(".json");
        let uris: Map<String, Value> =
            parts.iter().map(|part| (part.to_lowercase(), json!(format!("{base}/{part}.json")))).collect();
        Value::Object(uris)
    };
    let record = match collection {
        "accounts" => json!({
            "sid": sid,
            "auth_token": format!("{:016x}{:016x}", chance.next(), chance.next()),
            "friendly_name": format!("{} account", names::company(n)),
            "owner_account_sid": account,
            "status": "active",
            "type": "Full",
            "date_created": at,
            "date_updated": at,
            "subresource_uris": below(&["Addresses", "Calls", "Conferences", "Messages", "Transcriptions"]),
            "uri": uri,
        }),
        "addresses" => {
            let town = names::TOWNS[(n % 10) as usize];
            json!({
                "sid": sid,
                "account_sid": account,
                "friendly_name": if n.is_multiple_of(3) { Value::Null } else { json!(format!("Office {}", n + 1)) },
                "customer_name": names::company(n),
                "street": names::street(&mut chance),
                "street_secondary": if n.is_multiple_of(4) { json!(format!("Floor {}", n % 9)) } else { Value::Null },
                "city": town.0,
                "region": town.1,
                "postal_code": town.2,
                "iso_country": town.3,
                "emergency_enabled": false,
                "validated": n.is_multiple_of(2),
                "verified": n.is_multiple_of(5),
                "date_created": at,
                "date_updated": at,
                "uri": uri,
            })
        }
        "calls" => {
            let (from, to) = (number(n), number(n + 5000));
            let duration = chance.between(0, 900);
            let (status, answered) = match n % 10 {
                8 => ("busy", false),
                9 => ("no-answer", false),
                _ => ("completed", true),
            };
            json!({
                "sid": sid,
                "account_sid": account,
                "parent_call_sid": Value::Null,
                "phone_number_sid": self::sid("PN", seed, n % 7),
                "to": to,
                "to_formatted": formatted(&to),
                "from": from,
                "from_formatted": formatted(&from),
                "status": status,
                "start_time": at,
                "end_time": stamp(at_ms + duration * 1000),
                "duration": if answered { duration.to_string() } else { "0".into() },
                // The price comes later: null until it is known.
                "price": if answered { json!(format!("-{:.5}", (duration / 60 + 1) as f64 * 0.0085)) } else { Value::Null },
                "price_unit": "USD",
                "direction": chance.pick(&["inbound", "outbound-api", "outbound-dial"]),
                "answered_by": if n.is_multiple_of(6) { json!("human") } else { Value::Null },
                "forwarded_from": if n.is_multiple_of(5) { json!(from) } else { Value::Null },
                "group_sid": Value::Null,
                "caller_name": Value::Null,
                "queue_time": chance.between(0, 3000).to_string(),
                "trunk_sid": Value::Null,
                "api_version": "2010-04-01",
                "date_created": stamp(at_ms - 1000),
                "date_updated": stamp(at_ms + duration * 1000),
                "uri": uri,
                "subresource_uris": below(&["Notifications", "Recordings", "Events", "Transcriptions"]),
            })
        }
        "conferences" => json!({
            "sid": sid,
            "account_sid": account,
            "friendly_name": format!("Room {}", n + 1),
            "region": chance.pick(&["us1", "ie1", "jp1"]),
            "status": if n.is_multiple_of(9) { "in-progress" } else { "completed" },
            "reason_conference_ended": if n.is_multiple_of(9) { Value::Null } else { json!("last-participant-left") },
            "call_sid_ending_conference": if n.is_multiple_of(9) { Value::Null } else { json!(self::sid("CA", seed, n)) },
            "api_version": "2010-04-01",
            "date_created": at,
            "date_updated": later,
            "uri": uri,
            "subresource_uris": below(&["Participants", "Recordings"]),
        }),
        "transcriptions" => json!({
            "sid": sid,
            "account_sid": account,
            "recording_sid": self::sid("RE", seed, n),
            "status": if n.is_multiple_of(8) { "failed" } else { "completed" },
            "transcription_text": if n.is_multiple_of(8) { Value::Null } else { json!(names::prose(&mut chance, 12)) },
            "type": "fast",
            "duration": chance.between(2, 120).to_string(),
            "price": "-0.05000",
            "price_unit": "USD",
            "api_version": "2008-08-01",
            "date_created": at,
            "date_updated": later,
            "uri": uri,
        }),
        _ => {
            let status = match n % 12 {
                10 => "undelivered",
                11 => "received",
                _ => "delivered",
            };
            json!({
                "sid": sid,
                "account_sid": account,
                "messaging_service_sid": if n.is_multiple_of(2) { Value::Null } else { json!(self::sid("MG", seed, n % 3)) },
                "body": names::prose(&mut chance, 9),
                "from": number(n),
                "to": number(n + 5000),
                "direction": if status == "received" { "inbound" } else { "outbound-api" },
                "status": status,
                "num_segments": "1",
                "num_media": (n % 15 / 14).to_string(),
                "price": if n % 7 == 6 { Value::Null } else { json!("-0.00750") },
                "price_unit": "USD",
                "error_code": if status == "undelivered" { json!(30003) } else { Value::Null },
                "error_message": if status == "undelivered" { json!("Unreachable destination handset") } else { Value::Null },
                "api_version": "2010-04-01",
                "date_created": stamp(at_ms - 1000),
                "date_sent": at,
                "date_updated": later,
                "uri": uri,
                "subresource_uris": below(&["Media", "Feedback"]),
            })
        }
    };
    match record {
        Value::Object(record) => Some(record),
        _ => None,
    }
}

/// The feedback on a call.
pub fn feedback(account: &str, call: &str, n: u64, at_ms: i64) -> Record {
    let issues = [json!([]), json!(["imperfect-audio"]), json!(["audio-latency", "one-way-audio"])];
    let record = json!({
        "account_sid": account,
        "sid": call,
        "quality_score": 5 - n % 3,
        "issues": issues[(n % 3) as usize],
        "date_created": stamp(at_ms),
        "date_updated": stamp(at_ms),
    });
    match record {
        Value::Object(record) => record,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_sids_rfc_2822_dates_and_numbers_in_strings() {
        let call = draft("calls", "AC1", 3, 1_571_418_000_000, 1).unwrap();
        assert_eq!(call["start_time"], "Fri, 18 Oct 2019 17:00:00 +0000");
        assert!(call["duration"].is_string() && call["price"].is_string());
        let sid = call["sid"].as_str().unwrap();
        assert!(sid.len() == 34 && sid.starts_with("CA"));
        assert_eq!(call["uri"], format!("/2010-04-01/Accounts/AC1/Calls/{sid}.json"));
        for collection in ["accounts", "addresses", "conferences", "transcriptions", "messages"] {
            assert_eq!(draft(collection, "AC1", 3, 0, 1), draft(collection, "AC1", 3, 0, 1), "{collection}");
        }
        assert!(draft("faxes", "AC1", 0, 0, 1).is_none());
    }
}
