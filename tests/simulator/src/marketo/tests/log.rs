//! The activity log, by tokens.

use super::*;

#[test]
fn the_log_has_short_and_empty_pages_before_its_end() {
    let mut m = played();
    m.seed(json!({"leads": 40, "lead_activities": 900}));
    let types = "activityTypeIds=1,2,3,6,7,8,10,11,22,24";
    let (all, _) = m.log("/rest/v1/activities.json", types, "2000-01-01T00:00:00Z");
    let ledger = m.control("GET", "lead_activities/ledger", json!({}));
    let wanted: Vec<&Value> = ledger.as_array().unwrap().iter().map(|row| &row["record"]).collect();
    let is_meant = |a: &&&Value| [1, 2, 3, 6, 7, 8, 10, 11, 22, 24].contains(&a["activityTypeId"].as_i64().unwrap());
    assert_eq!(all.len(), wanted.iter().filter(is_meant).count());
    assert!(all.iter().all(|a| wanted.contains(&a)));
    let (rare, sizes) = m.log("/rest/v1/activities.json", "activityTypeIds=104&batchSize=2", "2000-01-01T00:00:00Z");
    assert!(rare.iter().all(|a| a["activityTypeId"] == 104) && !rare.is_empty());
    assert!(sizes.contains(&0), "{sizes:?}");
    let middle = all[all.len() / 2]["activityDate"].as_str().unwrap().to_string();
    let (later, _) = m.log("/rest/v1/activities.json", types, &middle);
    assert!(later.iter().all(|a| a["activityDate"].as_str().unwrap() >= middle.as_str()));
    assert!(later.len() < all.len() && later.len() >= all.len() / 2);
    let (of_lead, _) = m.log("/rest/v1/activities.json", &format!("{types}&leadIds=1001,1002"), "2000-01-01");
    assert!(of_lead.iter().all(|a| a["leadId"] == 1001 || a["leadId"] == 1002) && !of_lead.is_empty());
    let token = m.paging_token("2026-06-01T00:00:00Z");
    let end = m.get("/rest/v1/activities.json", &format!("{types}&nextPageToken={token}"));
    assert!(end.get("result").is_none() && end["moreResult"] == false && end["nextPageToken"].is_string());
}

#[test]
fn the_log_refuses_what_it_does_not_take() {
    let mut m = played();
    let token = m.paging_token("2026-01-01T00:00:00Z");
    for (query, want) in [
        ("activityTypeIds=1".to_string(), "1002"),
        (format!("nextPageToken={token}"), "1002"),
        (format!("nextPageToken={token}&activityTypeIds=1,2,3,6,7,8,10,11,12,13,22"), "1003"),
        (format!("nextPageToken={token}&activityTypeIds=999"), "1003"),
        (format!("nextPageToken={token}&activityTypeIds=x"), "1001"),
        ("nextPageToken=nonsense&activityTypeIds=1".into(), "1003"),
        (format!("nextPageToken={token}&activityTypeIds=1&listId=5"), "1013"),
    ] {
        assert_eq!(m.code("/rest/v1/activities.json", &query), want, "{query}");
    }
    assert_eq!(m.code("/rest/v1/activities/pagingtoken.json", ""), "1002");
    assert_eq!(m.code("/rest/v1/activities/pagingtoken.json", "sinceDatetime=soon"), "1001");
    assert_eq!(m.code("/rest/v1/activities/leadchanges.json", &format!("nextPageToken={token}")), "1002");
}

#[test]
fn changes_and_deletions_of_leads_are_in_the_log() {
    let mut m = played();
    let lead = m.control("POST", "leads", json!({"firstName": "Ada", "city": "Rome"}));
    let id = lead["id"].as_u64().unwrap();
    m.now_ms += 60_000;
    m.control("PATCH", &format!("leads/{id}"), json!({"city": "Oslo", "leadScore": 7}));
    let (changes, _) = m.log("/rest/v1/activities/leadchanges.json", "fields=city", "2025-12-31T00:00:00Z");
    assert_eq!(changes.iter().map(|c| c["activityTypeId"].as_i64().unwrap()).collect::<Vec<_>>(), [12, 13]);
    assert_eq!(changes[1]["fields"][0]["newValue"], "Oslo");
    assert_eq!(changes[1]["fields"][0]["oldValue"], "Rome");
    assert_eq!(changes[1]["activityDate"], "2026-01-01T00:01:00+0000");
    let (log, _) = m.log("/rest/v1/activities.json", "activityTypeIds=13", "2025-12-31T00:00:00Z");
    assert_eq!(log.len(), 2, "a change for each field");
    m.now_ms += 60_000;
    m.control("DELETE", &format!("leads/{id}"), json!({}));
    assert_eq!(m.code(&format!("/rest/v1/lead/{id}.json"), ""), "1004");
    let (gone, _) = m.log("/rest/v1/activities/deletedleads.json", "batchSize=300", "2025-12-31T00:00:00Z");
    assert_eq!((gone[0]["leadId"].as_u64(), gone[0]["activityTypeId"].as_i64()), (Some(id), Some(37)));
    assert_eq!(gone[0]["activityDate"], "2026-01-01T00:02:00+0000");
    m.now_ms += 14 * 86_400_000 + 1000;
    m.token = m.control("POST", "token", json!({}))["access_token"].as_str().unwrap().into();
    let (pruned, _) = m.log("/rest/v1/activities/deletedleads.json", "batchSize=300", "2025-12-31T00:00:00Z");
    assert!(pruned.is_empty());
}

#[test]
fn elements_of_activities_and_types_have_a_ledger_of_their_own() {
    let mut m = played();
    m.seed(json!({"leads": 2, "lead_activities": 5}));
    let rows = m.control("GET", "lead_activity_attributes/ledger", json!({}));
    let row = &rows[0];
    assert_eq!(
        row["id"],
        format!("{}:{}", row["record"]["activity_id"].as_str().unwrap(), row["record"]["name"].as_str().unwrap())
    );
    let counts = m.control("GET", "lead_activity_attributes/count", json!({}));
    assert_eq!(counts["total"], rows.as_array().unwrap().len());
    let types = m.get("/rest/v1/activities/types.json", "");
    let elements: usize =
        types["result"].as_array().unwrap().iter().map(|t| t["attributes"].as_array().unwrap().len()).sum();
    assert_eq!(m.control("GET", "lead_activity_type_attributes/count", json!({}))["count"], elements);
}
