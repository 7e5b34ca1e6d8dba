//! The legacy contacts, e-mail, subscriptions, forms, lists and owners.

use std::collections::BTreeSet;

use super::*;

#[test]
fn merged_contacts_leave_no_trace_but_their_identities() {
    let mut portal = Portal::seeded(json!({"contacts": 3}));
    let rows = portal.ledger("contacts");
    let (kept, gone) = (rows[0]["id"].as_str().unwrap().to_string(), rows[1]["id"].as_str().unwrap().to_string());
    portal.control("POST", &format!("/contacts/{kept}/merge"), json!({"from": gone}));
    assert!(!ids(&portal.get("/crm/v3/objects/contacts")["results"]).contains(&gone));
    assert_eq!(portal.get("/crm/v3/objects/contacts?archived=true")["results"], json!([]));
    let shown =
        portal.get(&format!("/crm/v3/objects/contacts/{kept}?properties=hs_merged_object_ids,hs_additional_emails"));
    assert_eq!(shown["properties"]["hs_merged_object_ids"], json!(gone));
    assert_eq!(shown["properties"]["hs_additional_emails"], rows[1]["record"]["properties"]["email"]);
    let old = portal.get("/contacts/v1/lists/all/contacts/all?count=1");
    let contact = &old["contacts"][0];
    assert_eq!(contact["merged-vids"], json!([gone.parse::<i64>().unwrap()]));
    assert_eq!(contact["identity-profiles"].as_array().unwrap().len(), 2);
}

#[test]
fn the_first_version_lists_contacts_with_identities() {
    let mut portal = Portal::seeded(json!({"contacts": 45}));
    let (mut seen, mut offset) = (Vec::new(), 0);
    loop {
        let page = portal
            .get(&format!("/contacts/v1/lists/all/contacts/all?vidOffset={offset}&property=email&property=phone"));
        seen.extend(page["contacts"].as_array().unwrap().clone());
        assert!(page["contacts"].as_array().unwrap().len() <= 20);
        offset = page["vid-offset"].as_i64().unwrap();
        if page["has-more"] == false {
            break;
        }
    }
    assert_eq!(seen.len(), 45);
    let profiles: BTreeSet<String> = seen
        .iter()
        .flat_map(|c| c["identity-profiles"].as_array().unwrap())
        .map(|p| format!("{}:{}", p["vid"], p["saved-at-timestamp"]))
        .collect();
    let ledger: BTreeSet<String> =
        portal.ledger("contact_identity_profiles").iter().map(|r| r["id"].as_str().unwrap().to_string()).collect();
    assert_eq!(profiles, ledger);
    let identities: usize =
        seen.iter().map(|c| c["identity-profiles"][0]["identities"].as_array().unwrap().len()).sum();
    assert_eq!(identities, portal.ledger("contact_identities").len());
    let first = &seen[0];
    assert!(first["properties"]["lastmodifieddate"]["value"].as_str().unwrap().parse::<i64>().is_ok(), "milliseconds");
    assert_eq!(first["identity-profiles"][0]["identities"][0]["is-primary"], true);
    assert!(seen.iter().any(|c| c["properties"].get("email").is_none()), "what is not set is left away");
    assert_eq!(portal.get("/contacts/v1/lists/all/contacts/all?count=1000")["contacts"].as_array().unwrap().len(), 45);
    assert_eq!(portal.raw("/contacts/v1/lists/7/contacts/all").status, 404);
}

#[test]
fn recent_contacts_go_back_thirty_days_by_time_and_vid() {
    let mut portal = Portal::seeded(json!({"contacts": 12, "until": NOW / 1000, "ties": 5}));
    portal.now_ms = NOW;
    let read = |portal: &mut Portal, with_vid: bool| {
        let (mut seen, mut place) = (Vec::new(), String::new());
        loop {
            let page = portal.get(&format!("/contacts/v1/lists/recently_updated/contacts/recent?count=3{place}"));
            seen.extend(page["contacts"].as_array().unwrap().iter().map(|c| c["vid"].as_i64().unwrap()));
            place = format!("&timeOffset={}", page["time-offset"]);
            if with_vid {
                place = format!("{place}&vidOffset={}", page["vid-offset"]);
            }
            if page["has-more"] == false {
                return seen;
            }
        }
    };
    assert_eq!(read(&mut portal, true).len(), 12);
    assert!(read(&mut portal, false).len() < 12, "the time alone skips some");
    portal.now_ms = NOW + 31 * 86_400_000;
    assert!(read(&mut portal, true).is_empty());
}

#[test]
fn events_come_newest_first_within_both_ends() {
    let mut portal = Portal::seeded(json!({"email_campaigns": 2, "email_events": 85}));
    let ledger = portal.ledger("email_events");
    let times: Vec<i64> = ledger.iter().map(|r| r["record"]["created"].as_i64().unwrap()).collect();
    let (low, high) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
    let query = format!("startTimestamp={low}&endTimestamp={high}&limit=30");
    let (mut seen, mut offset) = (Vec::new(), String::new());
    loop {
        let page = portal.get(&format!("/email/public/v1/events?{query}{offset}"));
        seen.extend(page["events"].as_array().unwrap().clone());
        offset = format!("&offset={}", page["offset"].as_str().unwrap());
        if page["hasMore"] == false {
            break;
        }
    }
    assert_eq!(seen.len(), 85);
    assert!(seen.windows(2).all(|two| two[0]["created"].as_i64() >= two[1]["created"].as_i64()));
    let names: BTreeSet<&str> = seen.iter().map(|e| e["id"].as_str().unwrap()).collect();
    assert!(names.len() < 85, "an id alone does not name an event");
    let pairs: BTreeSet<(&str, i64)> =
        seen.iter().map(|e| (e["id"].as_str().unwrap(), e["created"].as_i64().unwrap())).collect();
    assert_eq!(pairs.len(), 85);
    let other = portal.raw(&format!("/email/public/v1/events?eventType=OPEN{offset}"));
    assert_eq!(other.status, 400, "an offset belongs to its query");
    let opens = portal.get("/email/public/v1/events?eventType=OPEN&limit=1000");
    assert!(opens["events"].as_array().unwrap().iter().all(|e| e["type"] == "OPEN"));
    assert_eq!(portal.get("/email/public/v1/events")["events"].as_array().unwrap().len(), 10);
    let one = &seen[3];
    assert_eq!(
        portal.get(&format!("/email/public/v1/events/{}/{}", one["created"], one["id"].as_str().unwrap())),
        *one
    );
    assert_eq!(portal.raw("/email/public/v1/events?limit=1001").status, 400);
    let inner =
        portal.get(&format!("/email/public/v1/events?startTimestamp={}&endTimestamp={}&limit=1000", low + 1, high - 1));
    assert!(inner["events"].as_array().unwrap().len() < 85);
}

#[test]
fn subscription_changes_are_grouped_in_a_timeline() {
    let mut portal = Portal::seeded(json!({"email_subscription_event_changes": 9}));
    let page = portal.get("/email/public/v1/subscriptions/timeline?limit=1000");
    let items = page["timeline"].as_array().unwrap();
    assert_eq!(items.len(), 9);
    assert!(items.iter().all(|item| item.get("id").is_none()), "nothing names an item");
    let changes: usize = items.iter().map(|item| item["changes"].as_array().unwrap().len()).sum();
    assert_eq!(changes, portal.ledger("email_subscription_event_changes").len());
    assert!(changes > 9);
    let bounced = portal.get("/email/public/v1/subscriptions/timeline?changeType=PORTAL_BOUNCE&limit=1000");
    assert!(!bounced["timeline"].as_array().unwrap().is_empty() && bounced["timeline"].as_array().unwrap().len() < 9);
}

#[test]
fn campaigns_are_listed_by_activity_and_told_one_by_one() {
    let mut portal = Portal::seeded(json!({"email_campaigns": 5}));
    let oldest = portal.get("/email/public/v1/campaigns?limit=500")["campaigns"][4].clone();
    portal.control("PATCH", &format!("/email_campaigns/{}", oldest["id"]), json!({"counters": {"open": 1}}));
    let page = portal.get("/email/public/v1/campaigns?limit=2");
    assert_eq!((&page["campaigns"][0]["id"], &page["hasMore"]), (&oldest["id"], &json!(true)));
    assert_eq!(page["campaigns"][0].as_object().unwrap().len(), 4);
    let next = portal.get(&format!("/email/public/v1/campaigns?limit=2&offset={}", page["offset"].as_str().unwrap()));
    assert!(!ids(&next["campaigns"]).iter().any(|id| ids(&page["campaigns"]).contains(id)));
    let whole = portal.get(&format!("/email/public/v1/campaigns/{}?appId={}", oldest["id"], oldest["appId"]));
    assert_eq!(whole["counters"]["open"], 1);
    assert!(whole["counters"]["sent"].is_number(), "others stay");
    assert_eq!(portal.raw(&format!("/email/public/v1/campaigns/{}", oldest["id"])).status, 400, "appId is required");
    assert_eq!(portal.get("/email/public/v1/campaigns/by-id?limit=500")["campaigns"].as_array().unwrap().len(), 5);
}

#[test]
fn statuses_are_keyed_by_address() {
    let mut portal = Portal::seeded(json!({"contacts": 3}));
    let email = portal.ledger("contacts")[0]["record"]["properties"]["email"].as_str().unwrap().to_string();
    portal.control(
        "POST",
        "/email_subscriptions",
        json!({"subscriberIdString": email, "subscriptionId": 2_849_001, "status": "UNSUBSCRIBED"}),
    );
    let ask = json!({"inputs": [email, "nobody@x.example"]});
    let answer = portal.post("/communication-preferences/v4/statuses/batch/read?channel=EMAIL", ask.clone());
    let statuses = |at: usize| -> Vec<&str> {
        answer["results"][at]["statuses"].as_array().unwrap().iter().map(|s| s["status"].as_str().unwrap()).collect()
    };
    assert_eq!(statuses(0), ["UNSUBSCRIBED", "NOT_SPECIFIED", "NOT_SPECIFIED"]);
    assert_eq!(statuses(1), ["NOT_SPECIFIED"; 3]);
    assert_eq!(
        portal.posted("/communication-preferences/v4/statuses/batch/read", ask).status,
        400,
        "the channel is required"
    );
    let wrong = json!({"inputs": ["not an address"]});
    assert_eq!(portal.posted("/communication-preferences/v4/statuses/batch/read?channel=EMAIL", wrong).status, 207);
    assert_eq!(portal.ledger("email_subscriptions").len(), 9);
    assert_eq!(portal.get("/communication-preferences/v4/definitions")["results"].as_array().unwrap().len(), 3);
}

#[test]
fn forms_are_filtered_by_type_and_submissions_come_newest_first() {
    let mut portal = Portal::seeded(json!({"forms": 5, "form_submissions": 130}));
    assert_eq!(
        portal.get("/marketing/v3/forms")["results"].as_array().unwrap().len(),
        2,
        "only those of the type hubspot"
    );
    let forms = walk(&mut portal, "/marketing/v3/forms?limit=2&formTypes=hubspot,captured,flow");
    assert_eq!(forms.len(), 4);
    let mut total = 0;
    for form in &forms {
        let all = walk(
            &mut portal,
            &format!("/form-integrations/v1/submissions/forms/{}?limit=50", form["id"].as_str().unwrap()),
        );
        assert!(all.windows(2).all(|two| two[0]["submittedAt"].as_i64() >= two[1]["submittedAt"].as_i64()));
        assert!(all.iter().all(|s| s.get("formId").is_none()));
        total += all.len();
    }
    assert_eq!(total, 130);
    let comments =
        portal.get("/marketing/v3/forms?formTypes=blog_comment")["results"][0]["id"].as_str().unwrap().to_string();
    let refused = portal.raw(&format!("/form-integrations/v1/submissions/forms/{comments}"));
    assert_eq!((refused.status, &body(&refused)["errors"][0]["errorType"]), (400, &json!("FORM_TYPE_NOT_ALLOWED")));
    let first = forms[0]["id"].as_str().unwrap();
    assert_eq!(portal.raw(&format!("/form-integrations/v1/submissions/forms/{first}?limit=51")).status, 400);
}

#[test]
fn lists_are_searched_with_required_members() {
    let mut portal = Portal::seeded(json!({"contact_lists": 45}));
    let ask = |offset: u64| json!({"count": 20, "offset": offset, "sort": "-HS_UPDATED_AT", "additionalProperties": ["hs_list_size_week_delta"]});
    let (mut seen, mut offset) = (Vec::new(), 0);
    loop {
        let page = portal.post("/crm/v3/lists/search", ask(offset));
        seen.extend(page["lists"].as_array().unwrap().clone());
        offset = page["offset"].as_u64().unwrap();
        if page["hasMore"] == false {
            assert_eq!(page["total"], 45);
            break;
        }
    }
    assert_eq!(seen.len(), 45);
    assert!(seen.windows(2).all(|two| two[0]["updatedAt"].as_str() >= two[1]["updatedAt"].as_str()));
    let shown = seen[0]["additionalProperties"].as_object().unwrap();
    assert!(
        shown.contains_key("hs_list_size_week_delta") && !shown.contains_key("hs_folder_name"),
        "empty ones are left away"
    );
    let plain = portal.post("/crm/v3/lists/search", json!({"offset": 0, "additionalProperties": []}));
    assert!(!plain["lists"][0]["additionalProperties"].as_object().unwrap().contains_key("hs_list_size_week_delta"));
    assert_eq!(portal.posted("/crm/v3/lists/search", json!({"count": 20})).status, 400);
    assert_eq!(
        portal.posted("/crm/v3/lists/search", json!({"count": 501, "offset": 0, "additionalProperties": []})).status,
        400
    );
    portal.control("DELETE", "/contact_lists/3", json!({}));
    assert_eq!(portal.post("/crm/v3/lists/search", ask(0))["total"], 44);
    assert_eq!((portal.raw("/crm/v3/lists/3").status, portal.raw("/crm/v3/lists/4").status), (404, 200));
}

#[test]
fn owners_and_pipelines_are_read() {
    let mut portal = Portal::seeded(json!({"owners": 7, "contacts": 3}));
    let owners = walk(&mut portal, "/crm/v3/owners?limit=3");
    assert_eq!(owners.len(), 7);
    let contact = portal.get("/crm/v3/objects/contacts?properties=hubspot_owner_id");
    let owner = contact["results"][0]["properties"]["hubspot_owner_id"].as_str().unwrap();
    assert!(owners.iter().any(|o| o["id"] == owner));
    portal.control("DELETE", &format!("/owners/{owner}"), json!({}));
    assert_eq!(portal.get("/crm/v3/owners")["results"].as_array().unwrap().len(), 6);
    assert_eq!(portal.get("/crm/v3/owners?archived=true")["results"][0]["archived"], true);
    let pipeline = portal.get("/crm/v3/pipelines/deals")["results"][0].clone();
    assert_eq!((&pipeline["id"], pipeline["stages"].as_array().unwrap().len()), (&json!("default"), 7));
    assert_eq!(portal.get("/account-info/v3/details")["portalId"], json!(record::PORTAL));
}
