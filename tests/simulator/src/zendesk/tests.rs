//! The habits of the API that a client must cope with, one test each.

use std::collections::BTreeSet;

use serde_json::{json, Value};

use super::new;
use crate::clock;
use crate::rest::probe::Probe;

const NOW: i64 = clock::ANCHOR_S * 1000 + 86_400_000;
const START: i64 = clock::ANCHOR_S - 7 * 365 * 86_400;

fn desk() -> Probe {
    let mut probe = Probe::new(new(1), NOW);
    probe.headers = vec![("authorization".into(), "Bearer sim-access".into())];
    probe.set(json!({"export_per_minute": 0}));
    probe
}

fn ids(list: &Value) -> Vec<i64> {
    list.as_array().unwrap().iter().map(|record| record["id"].as_i64().unwrap()).collect()
}

fn as_ids(texts: Vec<String>) -> BTreeSet<i64> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// All pages of a cursor export: ids in the order they came, and the last cursor.
fn drain(desk: &mut Probe, first: &str, list: &str) -> (Vec<i64>, String) {
    let (mut url, mut seen) = (first.to_string(), Vec::new());
    for _ in 0..100 {
        let page = desk.get(200, &url);
        seen.extend(ids(&page[list]));
        if page["end_of_stream"] == true {
            return (seen, page["after_cursor"].as_str().unwrap().to_string());
        }
        url = page["after_url"].as_str().unwrap().to_string();
    }
    panic!("{first} never ends");
}

#[test]
fn both_ways_to_authenticate_and_what_is_wrong() {
    let mut desk = desk();
    for (header, status, credential) in [
        ("Bearer sim-access", 200, "valid"),
        ("Bearer other", 401, "wrong"),
        ("Basic YWdlbnRAc2ltLmV4YW1wbGUvdG9rZW46c2ltLXRva2Vu", 200, "valid"),
        ("Basic YWdlbnRAc2ltLmV4YW1wbGU6c2ltLXRva2Vu", 401, "wrong"),
    ] {
        desk.headers = vec![("authorization".into(), header.into())];
        let reply = desk.reply("GET", "/api/v2/users/me.json", "");
        assert_eq!((reply.status, reply.credential), (status, credential), "{header}");
    }
    desk.headers.clear();
    assert_eq!(desk.get(401, "/api/v2/users/me")["error"], "Couldn't authenticate you");
}

#[test]
fn a_refresh_token_is_good_once_and_its_access_token_ends() {
    let mut desk = desk();
    let ask = |desk: &mut Probe, token: &str| {
        let body = json!({"grant_type": "refresh_token", "refresh_token": token, "client_id": "sim-client", "client_secret": "sim-secret"});
        let reply = desk.reply("POST", "/oauth/tokens", &body.to_string());
        (reply.status, serde_json::from_slice::<Value>(&reply.body).unwrap())
    };
    let (status, granted) = ask(&mut desk, "sim-refresh");
    assert_eq!((status, granted["expires_in"].as_i64()), (200, Some(1800)));
    assert_eq!(ask(&mut desk, "sim-refresh").1["error"], "invalid_grant");
    assert_eq!(ask(&mut desk, granted["refresh_token"].as_str().unwrap()).0, 200);
    let bearer = format!("Bearer {}", granted["access_token"].as_str().unwrap());
    desk.headers = vec![("authorization".into(), bearer)];
    desk.get(200, "/api/v2/users/me");
    desk.now_ms += 1_801_000;
    assert_eq!(desk.get(401, "/api/v2/users/me")["error"], "invalid_token");
    assert_eq!(desk.reply("GET", "/api/v2/users/me", "").credential, "expired");
}

#[test]
fn a_cursor_export_repeats_the_last_second_and_misses_nothing() {
    let mut desk = desk();
    desk.control("POST", "seed", json!({"organizations": 3, "users": 20, "tickets": 95, "ties": 30}));
    let want = as_ids(desk.ids("tickets"));
    let first = format!("/api/v2/incremental/tickets/cursor.json?start_time={START}&per_page=10");
    let (seen, cursor) = drain(&mut desk, &first, "tickets");
    assert_eq!(seen.iter().copied().collect::<BTreeSet<_>>(), want);
    assert!(seen.len() > want.len(), "records of a page's last second come again");
    // Nothing new: only the last second again, and the same cursor.
    let again = desk.get(200, &format!("/api/v2/incremental/tickets/cursor?cursor={cursor}"));
    assert_eq!((again["end_of_stream"].clone(), again["after_cursor"].as_str()), (json!(true), Some(cursor.as_str())));
    assert_eq!(again["tickets"].as_array().unwrap().len(), 30);
    // A change comes once it is a minute old.
    desk.control("PATCH", "tickets/5", json!({"status": "solved"}));
    let url = format!("/api/v2/incremental/tickets/cursor?cursor={cursor}");
    let later = |page: &Value| ids(&page["tickets"]).contains(&5);
    assert!(!later(&desk.get(200, &url)));
    desk.now_ms += 61_000;
    let page = desk.get(200, &url);
    assert!(later(&page));
    assert_ne!(page["after_cursor"].as_str(), Some(cursor.as_str()));
    assert_eq!(desk.get(400, "/api/v2/incremental/tickets/cursor?cursor=junk")["error"], "InvalidCursor");
}

#[test]
fn a_start_must_be_a_minute_old() {
    let mut desk = desk();
    for resource in ["tickets/cursor", "users/cursor.json", "organizations", "ticket_events.json"] {
        let recent = format!("/api/v2/incremental/{resource}?start_time={}", NOW / 1000 - 59);
        assert_eq!(desk.get(422, &recent)["error"], "StartTimeTooRecent", "{resource}");
        desk.get(200, &format!("/api/v2/incremental/{resource}?start_time={}", NOW / 1000 - 60));
        desk.get(400, &format!("/api/v2/incremental/{resource}"));
    }
    desk.get(404, "/api/v2/incremental/organizations/cursor?start_time=0");
    desk.get(404, "/api/v2/incremental/groups?start_time=0");
}

#[test]
fn a_time_export_moves_by_whole_seconds() {
    let mut desk = desk();
    desk.control("POST", "seed", json!({"organizations": 40, "ties": 12}));
    let want = as_ids(desk.ids("organizations"));
    let mut url = format!("/api/v2/incremental/organizations?start_time={START}&per_page=7");
    let mut seen = Vec::new();
    for _ in 0..50 {
        let page = desk.get(200, &url);
        let sent = ids(&page["organizations"]);
        assert_eq!(page["count"].as_u64(), Some(sent.len() as u64));
        seen.extend(sent);
        url = page["next_page"].as_str().unwrap().to_string();
        assert!(url.contains(&format!("start_time={}", page["end_time"])), "{url}");
        if page["end_of_stream"] == true {
            break;
        }
    }
    assert_eq!(seen.iter().copied().collect::<BTreeSet<_>>(), want);
    assert!(seen.len() > want.len(), "the second at a page's border comes twice");
    // Twelve of one second do not fit a page of seven: it grows, or with the knob it goes round in circles.
    let tied = format!("/api/v2/incremental/organizations?start_time={}&per_page=7", clock::ANCHOR_S);
    assert!(desk.get(200, &tied)["count"].as_u64().unwrap() >= 12);
    desk.set(json!({"stuck_time_pages": true}));
    let stuck = desk.get(200, &tied);
    assert_eq!((stuck["count"].as_u64(), stuck["end_time"].as_i64()), (Some(7), Some(clock::ANCHOR_S)));
    assert_eq!(stuck["end_of_stream"], false);
    let empty = desk.get(200, &format!("/api/v2/incremental/organizations?start_time={}", clock::ANCHOR_S + 1));
    assert_eq!(
        empty,
        json!({"count": 0, "end_of_stream": true, "end_time": null, "next_page": null, "organizations": []})
    );
}

#[test]
fn exports_have_a_limit_of_their_own() {
    let mut desk = desk();
    desk.set(json!({"export_per_minute": 10}));
    let url = format!("/api/v2/incremental/tickets/cursor?start_time={START}");
    for _ in 0..10 {
        desk.get(200, &url);
    }
    desk.now_ms += 20_000;
    let refused = desk.reply("GET", &url, "");
    let header = |name: &str| refused.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!((refused.status, header("Retry-After")), (429, Some("40")));
    assert_eq!(header("Zendesk-RateLimit-Incremental-Exports"), Some("total=10; remaining=0; resets=40"));
    assert_eq!(header("X-Rate-Limit-Remaining"), Some("689"));
    desk.get(200, "/api/v2/groups");
    desk.now_ms += 40_000;
    desk.get(200, &url);
    desk.set(json!({"calls_per_minute": 3}));
    desk.now_ms += 60_000;
    let statuses: Vec<u16> = (0..4).map(|_| desk.reply("GET", "/api/v2/groups", "").status).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
}

#[test]
fn a_deleted_ticket_stays_in_the_export() {
    let mut desk = desk();
    desk.control("POST", "seed", json!({"users": 5, "tickets": 3}));
    desk.control("DELETE", "tickets/2", json!({}));
    desk.now_ms += 120_000;
    let url = format!("/api/v2/incremental/tickets/cursor?start_time={}", NOW / 1000 - 1);
    let deleted = desk.get(200, &url);
    assert_eq!((ids(&deleted["tickets"]), deleted["tickets"][0]["status"].as_str()), (vec![2], Some("deleted")));
    assert_eq!(desk.get(200, &format!("{url}&exclude_deleted=true"))["tickets"], json!([]));
    assert_eq!(ids(&desk.get(200, "/api/v2/tickets.json")["tickets"]), [1, 3]);
    assert_eq!(ids(&desk.get(200, "/api/v2/deleted_tickets")["deleted_tickets"]), [2]);
    desk.control("DELETE", "tickets/3?hard=true", json!({}));
    desk.get(404, "/api/v2/tickets/3");
    assert_eq!(as_ids(desk.ids("ticket_metrics")).len(), 2);
}

#[test]
fn a_system_update_moves_the_generated_timestamp_only() {
    let mut desk = desk();
    desk.control("POST", "seed", json!({"users": 5, "tickets": 1}));
    let before = desk.control("PATCH", "tickets/1", json!({"priority": "low"}));
    desk.now_ms += 5000;
    let after = desk.control("PATCH", "tickets/1?system=true", json!({"tags": ["nightly"]}));
    assert_eq!(after["updated_at"], before["updated_at"]);
    assert_eq!(after["generated_timestamp"].as_i64(), before["generated_timestamp"].as_i64().map(|s| s + 5));
    desk.now_ms += 5000;
    assert_ne!(desk.control("PATCH", "tickets/1", json!({"priority": "high"}))["updated_at"], before["updated_at"]);
}

#[test]
fn changes_of_tickets_are_events_with_children_and_comments() {
    let mut desk = desk();
    desk.control("POST", "seed", json!({"users": 5}));
    desk.control("POST", "tickets", json!({"status": "open", "priority": "low"}));
    desk.now_ms += 1000;
    desk.control("PATCH", "tickets/1", json!({"status": "solved", "priority": "urgent", "due_at": null}));
    desk.control(
        "POST",
        "ticket_comments",
        json!({"ticket_id": 1, "body": "Done.", "attachments": [{"file_name": "a.txt"}]}),
    );
    desk.control("POST", "attachments", json!({"ticket_id": 1}));
    desk.now_ms += 120_000;
    let plain = desk.get(200, &format!("/api/v2/incremental/ticket_events.json?start_time={START}"));
    let audits = plain["ticket_events"].as_array().unwrap();
    assert_eq!(audits.len(), 4);
    assert_eq!((plain["count"].as_u64(), audits[1]["ticket_id"].as_i64()), (Some(4), Some(1)));
    assert_eq!(audits[1]["timestamp"].as_i64(), Some(NOW / 1000 + 1));
    let changes = audits[1]["child_events"].as_array().unwrap();
    assert_eq!(changes.len(), 2, "one child for each member that changed");
    assert_eq!((changes[0]["status"].as_str(), changes[0]["event_type"].as_str()), (Some("solved"), Some("Change")));
    assert!(changes[0]["previous_value"].is_string());
    let comment = &audits[2]["child_events"][0];
    assert_eq!((comment["event_type"].as_str(), comment.get("body")), (Some("Comment"), None));
    let full =
        desk.get(200, &format!("/api/v2/incremental/ticket_events.json?start_time={START}&include=comment_events"));
    let comment = &full["ticket_events"][2]["child_events"][0];
    assert_eq!(
        (comment["body"].as_str(), comment["attachments"][0]["file_name"].as_str()),
        (Some("Done."), Some("a.txt"))
    );
    let children = full["ticket_events"].as_array().unwrap().iter().flat_map(|audit| ids(&audit["child_events"]));
    assert_eq!(children.collect::<BTreeSet<_>>(), as_ids(desk.ids("ticket_events")));
    assert_eq!((desk.ids("ticket_comments").len(), desk.ids("attachments").len()), (3, 2));
    assert_eq!(desk.control("POST", "ticket_events", json!({}))["refused"], 400);
    assert_eq!(desk.get(200, "/api/v2/tickets/1/comments")["comments"].as_array().unwrap().len(), 3);
}

#[test]
fn metrics_come_with_tickets_and_alone() {
    let mut desk = desk();
    desk.control("POST", "seed", json!({"users": 5, "tickets": 4}));
    desk.control("PATCH", "tickets/2", json!({"status": "solved"}));
    desk.now_ms += 61_000;
    let with = desk.get(200, &format!("/api/v2/incremental/tickets/cursor?start_time={START}&include=metric_sets"));
    for ticket in with["tickets"].as_array().unwrap() {
        assert_eq!(ticket["metric_set"]["ticket_id"], ticket["id"]);
    }
    let solved = desk.get(200, "/api/v2/tickets/2/metrics");
    assert!(solved["ticket_metric"]["solved_at"].is_string());
    assert_eq!(desk.get(200, "/api/v2/ticket_metrics?page[size]=100")["ticket_metrics"].as_array().unwrap().len(), 4);
    let without = desk.get(200, &format!("/api/v2/incremental/tickets/cursor?start_time={START}"));
    assert_eq!(without["tickets"][0].get("metric_set"), None);
}

#[test]
fn lists_page_by_cursor_or_by_number() {
    let mut desk = desk();
    desk.control("POST", "seed", json!({"users": 9, "organizations": 2, "organization_memberships": 25}));
    let want = as_ids(desk.ids("organization_memberships"));
    let (mut url, mut seen) = ("/api/v2/organization_memberships?page[size]=10".to_string(), Vec::new());
    loop {
        let page = desk.get(200, &url);
        seen.extend(ids(&page["organization_memberships"]));
        match page["links"]["next"].as_str() {
            Some(next) if page["meta"]["has_more"] == true => url = next.to_string(),
            next => break assert_eq!((next, &page["meta"]["has_more"]), (None, &json!(false))),
        }
        // One that was sent is gone meanwhile: nothing is skipped for it.
        let first = format!("organization_memberships/{}", seen[0]);
        desk.control("DELETE", &first, json!({}));
    }
    assert_eq!(seen.len(), 25);
    assert_eq!(seen.iter().copied().collect::<BTreeSet<_>>(), want);
    let numbered = desk.get(200, "/api/v2/organization_memberships.json?per_page=10&page=2");
    assert_eq!(numbered["count"], 24);
    assert!(numbered["next_page"].as_str().unwrap().contains("page=3"));
    assert!(numbered["previous_page"].as_str().unwrap().contains("page=1"));
    desk.get(400, "/api/v2/organization_memberships?page[size]=101");
    desk.get(400, "/api/v2/organization_memberships?page[after]=junk");
    desk.get(400, "/api/v2/organization_memberships?per_page=100&page=101");
    let newest = desk.get(200, "/api/v2/organization_memberships?page[size]=1&sort=-created_at");
    assert_eq!(ids(&newest["organization_memberships"])[0], *seen.last().unwrap());
}

#[test]
fn deleted_groups_are_listed_on_demand() {
    let mut desk = desk();
    let group = desk.control("POST", "groups", json!({"name": "Night"}));
    let id = group["id"].to_string();
    let member = desk.control("POST", "group_memberships", json!({"group_id": group["id"]}));
    desk.control("DELETE", &format!("groups/{id}"), json!({}));
    let named = |page: Value| ids(&page["groups"]).contains(&group["id"].as_i64().unwrap());
    assert!(!named(desk.get(200, "/api/v2/groups?page[size]=100")));
    assert!(named(desk.get(200, "/api/v2/groups?page[size]=100&exclude_deleted=false")));
    let members = ids(&desk.get(200, "/api/v2/group_memberships?page[size]=100")["group_memberships"]);
    assert!(!members.contains(&member["id"].as_i64().unwrap()), "its memberships went with it");
    desk.control("POST", &format!("groups/{id}/undelete"), json!({}));
    assert!(named(desk.get(200, "/api/v2/groups")));
}

#[test]
fn an_agent_may_list_but_not_export() {
    let mut desk = desk();
    desk.set(json!({"role": "agent"}));
    desk.get(403, "/api/v2/incremental/users/cursor?start_time=0");
    desk.get(403, "/api/v2/audit_logs");
    assert_eq!(desk.get(200, "/api/v2/users/me")["user"]["role"], "agent");
    desk.get(200, "/api/v2/groups");
    desk.set(json!({"role": "admin", "plan": "team", "denied": ["groups", "ticket_comments"]}));
    desk.get(403, "/api/v2/groups");
    desk.get(403, "/api/v2/audit_logs");
    desk.get(404, "/api/v2/ticket_forms");
    desk.get(403, "/api/v2/incremental/ticket_events?start_time=0&include=comment_events");
    desk.get(200, "/api/v2/incremental/ticket_events?start_time=0");
    desk.get(404, "/api/v2/nothing");
}

#[test]
fn custom_fields_are_described_and_have_values() {
    let mut desk = desk();
    let field = desk.control("POST", "ticket_fields", json!({"title": "Product", "type": "tagger"}));
    desk.control("POST", "user_fields", json!({"key": "tier"}));
    desk.control("POST", "organization_fields", json!({"key": "region"}));
    desk.control("POST", "seed", json!({"organizations": 1, "users": 4, "tickets": 1}));
    let fields = desk.get(200, "/api/v2/ticket_fields?page[size]=100");
    let system = fields["ticket_fields"].as_array().unwrap().iter().filter(|f| f["removable"] == false).count();
    assert_eq!((system, fields["ticket_fields"].as_array().unwrap().len()), (7, 8));
    let changed = desk.control("PATCH", "tickets/1", json!({"custom_fields": [{"id": field["id"], "value": "lamp"}]}));
    assert_eq!(changed["custom_fields"], json!([{"id": field["id"], "value": "lamp"}]));
    assert_eq!(changed["fields"], changed["custom_fields"]);
    let users = desk.get(200, &format!("/api/v2/incremental/users/cursor?start_time={START}"));
    assert!(users["users"].as_array().unwrap().last().unwrap()["user_fields"]["tier"].is_string());
    let organizations = desk.get(200, &format!("/api/v2/incremental/organizations?start_time={START}"));
    assert!(organizations["organizations"][0]["organization_fields"]["region"].is_string());
    for path in ["user_fields", "organization_fields"] {
        assert_eq!(desk.get(200, &format!("/api/v2/{path}.json"))[path].as_array().unwrap().len(), 1);
    }
}

#[test]
fn the_smaller_lists_filter_as_documented() {
    let mut desk = desk();
    let body = json!({"users": 5, "tickets": 3, "activities": 10, "ticket_skips": 6, "satisfaction_ratings": 8, "audit_logs": 5, "ticket_forms": 2});
    desk.control("POST", "seed", body);
    assert_eq!(desk.get(200, "/api/v2/activities?page[size]=100")["activities"].as_array().unwrap().len(), 10);
    let skips = desk.get(200, "/api/v2/skips.json?sort_order=desc&page[size]=100");
    assert!(skips["skips"][0]["ticket"]["id"].is_i64());
    let logs = desk.get(200, "/api/v2/audit_logs?page[size]=100")["audit_logs"].clone();
    let times: Vec<&str> = logs.as_array().unwrap().iter().map(|log| log["created_at"].as_str().unwrap()).collect();
    assert!(times.windows(2).all(|two| two[0] >= two[1]), "newest first");
    let stretch = format!("/api/v2/audit_logs?filter[created_at][]={}&filter[created_at][]={}", times[3], times[1]);
    assert_eq!(desk.get(200, &stretch)["audit_logs"].as_array().unwrap().len(), 3);
    let forms = desk.get(200, "/api/v2/ticket_forms?page[size]=1");
    assert_eq!((forms["ticket_forms"].as_array().unwrap().len(), &forms["next_page"]), (3, &Value::Null));
    // A rating given long after it was asked for.
    let rating = desk.get(200, "/api/v2/satisfaction_ratings")["satisfaction_ratings"][0]["id"].to_string();
    desk.control("PATCH", &format!("satisfaction_ratings/{rating}"), json!({"score": "bad"}));
    let since = format!("/api/v2/satisfaction_ratings?start_time={}", NOW / 1000);
    assert_eq!(desk.get(200, &since)["satisfaction_ratings"].as_array().unwrap().len(), 1);
    desk.set(json!({"ratings_by": "created_at"}));
    assert_eq!(desk.get(200, &since)["satisfaction_ratings"].as_array().unwrap().len(), 0);
    desk.now_ms += 40 * 86_400_000;
    assert_eq!(desk.get(200, "/api/v2/activities")["activities"], json!([]), "they are kept for 30 days");
}

#[test]
fn late_changes_appear_with_their_old_stamps() {
    let mut desk = desk();
    desk.control("POST", "seed", json!({"users": 5, "tickets": 2}));
    desk.set(json!({"late_visibility_ms": 300_000}));
    desk.control("PATCH", "tickets/1", json!({"status": "solved"}));
    desk.control("POST", "ticket_comments", json!({"ticket_id": 1, "body": "late"}));
    desk.now_ms += 120_000;
    let url = format!("/api/v2/incremental/tickets/cursor?start_time={}", NOW / 1000 - 10);
    assert_eq!(desk.get(200, &url)["tickets"], json!([]));
    desk.now_ms += 180_000;
    let shown = desk.get(200, &url);
    assert_eq!(
        (ids(&shown["tickets"]), shown["tickets"][0]["generated_timestamp"].as_i64()),
        (vec![1], Some(NOW / 1000))
    );
    let events = desk.get(200, &format!("/api/v2/incremental/ticket_events?start_time={}", NOW / 1000 - 10));
    assert_eq!(events["count"], 2);
}
