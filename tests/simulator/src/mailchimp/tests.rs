//! The habits of the API that a client must cope with, one test each.

use std::collections::BTreeSet;

use base64::Engine;
use serde_json::{json, Value};

use super::new;
use crate::clock;
use crate::rest::probe::Probe;

const NOW: i64 = clock::ANCHOR_S * 1000 + 86_400_000;

fn basic(password: &str) -> Vec<(String, String)> {
    let coded = base64::engine::general_purpose::STANDARD.encode(format!("anystring:{password}"));
    vec![("authorization".into(), format!("Basic {coded}"))]
}

fn account() -> Probe {
    let mut probe = Probe::new(new(1), NOW);
    probe.headers = basic("0123456789abcdef0123456789abcdef-us6");
    probe
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|record| record["id"].as_str().unwrap().to_string()).collect()
}

/// An account with one list of so many members.
fn with_members(count: u64) -> (Probe, String) {
    let mut account = account();
    account.control("POST", "seed", json!({"lists": 1, "list_members": count}));
    let list = account.ids("lists")[0].clone();
    (account, list)
}

#[test]
fn the_key_names_its_data_center() {
    let mut account = account();
    assert_eq!(account.get(200, "/3.0/ping")["health_status"], "Everything's Chimpy!");
    assert_eq!(account.get(200, "/3.0/")["account_name"], "Sim");
    for (password, host, status, title) in [
        ("0123456789abcdef0123456789abcdef-us6", "us6.api.mailchimp.com", 200, None),
        ("wrong-us6", "us6.api.mailchimp.com", 401, Some("API Key Invalid")),
        ("0123456789abcdef0123456789abcdef-us6", "us7.api.mailchimp.com", 403, Some("Wrong Datacenter")),
    ] {
        account.headers = basic(password);
        account.headers.push(("host".into(), host.into()));
        let reply = account.reply("GET", "/3.0/ping", "");
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!((reply.status, body["title"].as_str()), (status, title));
        let is_problem = reply.headers.iter().any(|(_, v)| v.starts_with("application/problem+json"));
        assert_eq!(is_problem, status != 200);
    }
    account.headers.clear();
    assert_eq!(account.get(401, "/3.0/lists")["title"], "API Key Missing");
}

#[test]
fn an_access_token_learns_its_data_center_from_the_metadata() {
    let mut account = account();
    account.headers = vec![("authorization".into(), "OAuth sim-access".into())];
    assert_eq!(account.get(200, "/oauth2/metadata")["dc"], "us6");
    account.headers = vec![("authorization".into(), "OAuth other".into())];
    assert_eq!(account.get(200, "/oauth2/metadata"), json!({"error": "invalid_token"}), "with status 200");
    account.headers = vec![("authorization".into(), "Bearer sim-access".into())];
    account.get(200, "/3.0/ping");
}

#[test]
fn the_eleventh_at_once_is_refused_without_saying_for_how_long() {
    let mut account = account();
    account.in_flight = 10;
    account.get(200, "/3.0/lists");
    account.in_flight = 11;
    let reply = account.reply("GET", "/3.0/lists", "");
    assert_eq!((reply.status, reply.credential), (429, "valid"));
    assert!(!reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("retry-after")));
    account.set(json!({"max_connections": 0}));
    account.get(200, "/3.0/lists");
}

#[test]
fn pages_go_by_offset_and_a_large_count_is_cut_silently() {
    let (mut account, list) = with_members(1203);
    let url = format!("/3.0/lists/{list}/members");
    assert_eq!(account.get(200, &url)["members"].as_array().unwrap().len(), 10);
    let first = account.get(200, &format!("{url}?count=3000"));
    assert_eq!((first["members"].as_array().unwrap().len(), first["total_items"].as_u64()), (1000, Some(1203)));
    let second = account.get(200, &format!("{url}?count=1000&offset=1000"));
    let mut seen: BTreeSet<String> = ids(&first["members"]).into_iter().collect();
    seen.extend(ids(&second["members"]));
    assert_eq!(seen.len(), 1203);
    let want: BTreeSet<String> =
        account.ids("list_members").iter().map(|id| id.split_once(':').unwrap().1.to_string()).collect();
    assert_eq!(seen, want);
    assert_eq!(account.get(200, &format!("{url}?offset=1203&count=5"))["members"], json!([]));
    assert_eq!(account.get(200, &format!("{url}?count=0"))["total_items"], 1203);
    assert_eq!(account.get(400, &format!("{url}?count=many"))["errors"][0]["field"], "count");
    account.set(json!({"page_size": 100}));
    assert_eq!(account.get(200, &format!("{url}?count=1000"))["members"].as_array().unwrap().len(), 100);
}

#[test]
fn since_and_before_leave_out_the_moment_itself() {
    let (mut account, list) = with_members(5);
    let url = format!("/3.0/lists/{list}/members?sort_field=last_changed&sort_dir=ASC&count=1000");
    let all = account.get(200, &url)["members"].clone();
    let times: Vec<String> =
        all.as_array().unwrap().iter().map(|m| m["last_changed"].as_str().unwrap().to_string()).collect();
    assert!(times.windows(2).all(|two| two[0] <= two[1]) && times[0].ends_with("+00:00"));
    let coded = times[2].replace('+', "%2B");
    let since = account.get(200, &format!("{url}&since_last_changed={coded}"));
    assert_eq!(since["total_items"].as_u64().unwrap(), times.iter().filter(|t| **t > times[2]).count() as u64);
    let before = account.get(200, &format!("{url}&before_last_changed={coded}"));
    assert_eq!(before["total_items"].as_u64().unwrap(), times.iter().filter(|t| **t < times[2]).count() as u64);
    // A plus sign that is not coded is a space: no time.
    assert_eq!(account.get(400, &format!("{url}&since_last_changed={}", times[2]))["title"], "Invalid Resource");
    assert_eq!(account.get(400, &format!("/3.0/lists/{list}/members?sort_field=name"))["status"], 400);
}

#[test]
fn members_have_statuses_and_are_archived_when_deleted() {
    let (mut account, list) = with_members(1);
    let made = account.control(
        "POST",
        "list_members",
        json!({"email_address": "Ann@Sim.example", "status": "subscribed", "list_id": list}),
    );
    assert_eq!(made["id"], super::md5::hex("ann@sim.example"));
    let key = format!("list_members/{list}:{}", made["id"].as_str().unwrap());
    let url = format!("/3.0/lists/{list}/members");
    let status =
        |account: &mut Probe, wanted: &str| ids(&account.get(200, &format!("{url}?status={wanted}"))["members"]);
    assert!(status(&mut account, "subscribed").contains(&made["id"].as_str().unwrap().to_string()));
    account.control("DELETE", &key, json!({}));
    assert_eq!(status(&mut account, "archived"), [made["id"].as_str().unwrap()]);
    assert_eq!(account.get(200, &url)["total_items"], 2);
    account.set(json!({"lists_archived": false}));
    assert_eq!(account.get(200, &url)["total_items"], 1);
    let one = format!("{url}/{}", made["id"].as_str().unwrap());
    assert_eq!(account.get(200, &one)["status"], "archived");
    account.control("POST", &format!("{key}/undelete"), json!({}));
    assert_eq!(account.get(200, &one)["status"], "subscribed");
    account.control("DELETE", &format!("{key}?hard=true"), json!({}));
    account.get(404, &one);
    account.control("DELETE", &format!("lists/{list}"), json!({}));
    assert_eq!(account.get(404, &url)["title"], "Resource Not Found");
    assert_eq!(account.ids("list_members"), Vec::<String>::new(), "they went with their list");
}

#[test]
fn a_campaign_changes_without_its_create_time() {
    let mut account = account();
    account.control("POST", "seed", json!({"lists": 2, "campaigns": 6}));
    let saved = account.get(200, "/3.0/campaigns?status=save&count=1")["campaigns"][0].clone();
    let id = saved["id"].as_str().unwrap();
    let sent = json!({"status": "sent", "send_time": "2026-01-02T00:00:00+00:00", "emails_sent": 9});
    account.control("PATCH", &format!("campaigns/{id}"), sent);
    let now = account.get(200, &format!("/3.0/campaigns/{id}"));
    assert_eq!((now["emails_sent"].as_i64(), &now["create_time"]), (Some(9), &saved["create_time"]));
    let since = account.get(200, "/3.0/campaigns?since_send_time=2026-01-01T12:00:00Z");
    assert_eq!(ids(&since["campaigns"]), [id]);
    assert_eq!(account.get(200, "/3.0/campaigns?since_create_time=2026-01-01T12:00:00Z")["campaigns"], json!([]));
    let list = now["recipients"]["list_id"].as_str().unwrap();
    assert!(ids(&account.get(200, &format!("/3.0/campaigns?list_id={list}&count=100"))["campaigns"])
        .contains(&id.to_string()));
    account.control("DELETE", &format!("campaigns/{id}"), json!({}));
    account.get(404, &format!("/3.0/campaigns/{id}"));
}

#[test]
fn activity_is_told_by_address_and_only_of_what_was_sent() {
    let mut account = account();
    account.control(
        "POST",
        "seed",
        json!({"lists": 1, "list_members": 6, "campaigns": 3, "subscriber_activity": 40, "ties": 9}),
    );
    let campaigns = account.get(200, "/3.0/campaigns?count=100")["campaigns"].clone();
    let mut actions = 0;
    for campaign in campaigns.as_array().unwrap() {
        let url = format!("/3.0/reports/{}/email-activity?count=1000", campaign["id"].as_str().unwrap());
        if campaign["status"] != "sent" {
            account.get(404, &url);
            continue;
        }
        let report = account.get(200, &url);
        assert_eq!(report["campaign_id"], campaign["id"]);
        for email in report["emails"].as_array().unwrap() {
            assert_eq!(email["campaign_id"], campaign["id"]);
            actions += email["activity"].as_array().unwrap().len();
        }
        let since = account.get(200, &format!("{url}&since=2026-01-01T00:00:00Z"));
        assert_eq!(since["total_items"], report["total_items"], "addresses stay, their older actions go");
        assert!(since["emails"].as_array().unwrap().iter().all(|email| email["activity"] == json!([])));
    }
    assert_eq!((actions, account.ids("subscriber_activity").len()), (40, 40));
}

#[test]
fn a_reply_can_be_cut_to_some_members() {
    let (mut account, list) = with_members(3);
    let url = format!("/3.0/lists/{list}/members");
    let only = account.get(200, &format!("{url}?fields=members.id,members.merge_fields.FNAME,total_items"));
    let first = only["members"][0].as_object().unwrap();
    assert_eq!(first.keys().map(String::as_str).collect::<Vec<_>>(), ["id", "merge_fields"]);
    assert_eq!((only["total_items"].as_u64(), only.get("list_id")), (Some(3), None));
    let without = account.get(200, &format!("{url}?exclude_fields=members._links,_links"));
    assert_eq!((without["members"][0].get("_links"), without.get("_links")), (None, None));
    assert!(without["members"][0]["email_address"].is_string());
}

#[test]
fn conversations_are_a_paid_feature_and_rights_differ_by_collection() {
    let mut account = account();
    account.control("POST", "seed", json!({"lists": 1, "campaigns": 1, "conversations": 2}));
    let all = account.get(200, "/3.0/conversations?count=1000");
    assert!(all["conversations"][0]["last_message"]["timestamp"].is_string());
    account.set(json!({"conversations": false, "denied": ["list_members"]}));
    assert_eq!(account.get(403, "/3.0/conversations")["title"], "Forbidden");
    let list = account.ids("lists")[0].clone();
    account.get(403, &format!("/3.0/lists/{list}/members"));
    account.get(200, "/3.0/lists");
    account.get(404, "/3.0/automations-of-old");
    let reply = account.reply("POST", "/3.0/lists", "{}");
    assert_eq!(reply.status, 405);
}
