//! Bulk extract jobs and their files.

use super::*;

#[test]
fn updated_at_shows_changes_of_standard_fields_only_but_the_filter_knows_all() {
    let mut m = played();
    m.control("POST", "fields/colour", json!({"dataType": "string"}));
    let lead = m.control("POST", "leads", json!({"colour": "red"}));
    m.now_ms += 3_000_000;
    let after = m.control("PATCH", &format!("leads/{}", lead["id"]), json!({"colour": "blue"}));
    assert_eq!((&after["updatedAt"], &after["colour"]), (&lead["updatedAt"], &json!("blue")));
    let order = |from: &str, to: &str| json!({"fields": ["id", "colour", "updatedAt"], "filter": {"updatedAt": {"startAt": from, "endAt": to}}});
    let (id, status) = m.export("leads", order("2026-01-01T00:30:00Z", "2026-01-01T02:00:00Z"));
    assert_eq!(status["numberOfRecords"], 1);
    assert_eq!(m.file("leads", &id), format!("id,colour,updatedAt\n{},blue,2026-01-01T00:00:00Z\n", lead["id"]));
    m.configure(json!({"updated_at_filter": false}));
    let refused = m.post("/bulk/v1/leads/export/create.json", order("2026-01-01T00:30:00Z", "2026-01-01T02:00:00Z"));
    assert_eq!(code_of(&refused), "1035");
}

#[test]
fn jobs_are_refused_for_what_the_documentation_forbids() {
    let mut m = played();
    let range = |days: u32| json!({"startAt": "2025-01-01T00:00:00Z", "endAt": format!("2025-{:02}-{:02}T00:00:00Z", 1 + days / 31, 1 + days % 31)});
    for (name, what, body, want) in [
        ("31 days are good", "leads", json!({"fields": ["id"], "filter": {"createdAt": range(31)}}), "none"),
        ("32 are not", "leads", json!({"fields": ["id"], "filter": {"createdAt": range(32)}}), "1003"),
        ("no filter", "leads", json!({"fields": ["id"]}), "1003"),
        ("no fields", "leads", json!({"filter": {"createdAt": range(1)}}), "1003"),
        ("an unknown field", "leads", json!({"fields": ["shoeSize"], "filter": {"createdAt": range(1)}}), "1003"),
        ("a field of SOAP only", "leads", json!({"fields": [""], "filter": {"createdAt": range(1)}}), "1003"),
        (
            "two filters",
            "leads",
            json!({"fields": ["id"], "filter": {"createdAt": range(1), "updatedAt": range(1)}}),
            "1003",
        ),
        ("a smart list", "leads", json!({"fields": ["id"], "filter": {"smartListId": 5}}), "1035"),
        ("no such list", "leads", json!({"fields": ["id"], "filter": {"staticListId": 5}}), "1013"),
        (
            "a wrong format",
            "leads",
            json!({"format": "XML", "fields": ["id"], "filter": {"createdAt": range(1)}}),
            "1003",
        ),
        ("activities need no fields", "activities", json!({"fields": null, "filter": {"createdAt": range(1)}}), "none"),
        (
            "deletions are told elsewhere",
            "activities",
            json!({"filter": {"createdAt": range(1), "activityTypeIds": [37]}}),
            "1003",
        ),
        ("activities by date only", "activities", json!({"filter": {"activityTypeIds": [1]}}), "1003"),
    ] {
        assert_eq!(code_of(&m.post(&format!("/bulk/v1/{what}/export/create.json"), body)), want, "{name}");
    }
    assert_eq!(
        code_of(&serde_json::from_slice(&m.send("POST", "/bulk/v1/leads/export/create.json", "", "{").body).unwrap()),
        "609"
    );
    assert_eq!(m.code("/bulk/v1/leads/export/none/status.json", ""), "1013");
    assert_eq!(m.send("GET", "/bulk/v1/leads/export/none/file.json", "", "").status, 404);
}

#[test]
fn a_lead_file_is_csv_with_null_for_what_is_empty() {
    let mut m = played();
    let lead = m.control("POST", "leads", json!({"email": "a,b@x.example", "lastName": "Quote\"d", "unsubscribed": true, "site": "nul\u{0}", "middleName": null}));
    let body = json!({
        "fields": ["id", "email", "lastName", "middleName", "unsubscribed", "site"],
        "columnHeaderNames": {"id": "Marketo Id"},
        "filter": {"createdAt": {"startAt": "2025-12-31T00:00:00Z", "endAt": "2026-01-31T00:00:00Z"}},
    });
    let (id, status) = m.export("leads", body);
    assert_eq!(status["status"], "Completed");
    let file = m.file("leads", &id);
    let want = format!("Marketo Id,email,lastName,middleName,unsubscribed,site\n{},\"a,b@x.example\",\"Quote\"\"d\",null,true,nul\u{0}\n", lead["id"]);
    assert_eq!(file, want);
    assert_eq!(status["fileSize"], file.len());
    assert_eq!(status["fileChecksum"], format!("sha256:{}", exports::sha256(file.as_bytes())));
    let part = m.send_with("GET", &format!("/bulk/v1/leads/export/{id}/file.json"), "", "", &[("range", "bytes=8-9")]);
    assert_eq!((part.status, part.body.as_slice()), (206, b"Id".as_slice().get(..2).unwrap()));
    assert!(part.headers.contains(&("Content-Range".into(), format!("bytes 8-9/{}", file.len()))));
}

#[test]
fn an_activity_file_has_its_attributes_as_one_object() {
    let mut m = played();
    m.seed(json!({"leads": 5, "lead_activities": 60}));
    let day = json!({"startAt": "2025-12-05T00:00:00Z", "endAt": "2026-01-05T00:00:00Z"});
    let (id, status) = m.export("activities", json!({"filter": {"createdAt": day, "activityTypeIds": [1, 10]}}));
    let file = m.file("activities", &id);
    let ledger = m.control("GET", "lead_activities/ledger", json!({}));
    let count = ledger
        .as_array()
        .unwrap()
        .iter()
        .filter(|r| [json!(1), json!(10)].contains(&r["record"]["activityTypeId"]))
        .count();
    assert_eq!(status["numberOfRecords"], count);
    assert!(file.starts_with("marketoGUID,leadId,activityDate,activityTypeId,campaignId,primaryAttributeValueId,primaryAttributeValue,attributes\n"));
    assert!(file.contains(",\"{\"\"") && !file.contains("\"\"name\"\":"));
}

#[test]
fn a_job_runs_through_its_states_and_its_file_waits() {
    let mut m = played();
    m.configure(json!({"export_queue_ms": 1000, "export_run_ms": 5000, "export_refresh_ms": 60000}));
    let filter = json!({"createdAt": {"startAt": "2025-12-31T00:00:00Z", "endAt": "2026-01-01T00:00:00Z"}});
    let made = m.post("/bulk/v1/leads/export/create.json", json!({"fields": ["id"], "filter": filter}));
    let id = made["result"][0]["exportId"].as_str().unwrap().to_string();
    assert_eq!(made["result"][0]["status"], "Created");
    let status =
        |m: &mut Played| m.get(&format!("/bulk/v1/leads/export/{id}/status.json"), "")["result"][0]["status"].clone();
    assert_eq!(m.post(&format!("/bulk/v1/leads/export/{id}/enqueue.json"), json!({}))["result"][0]["status"], "Queued");
    assert_eq!(code_of(&m.post(&format!("/bulk/v1/leads/export/{id}/enqueue.json"), json!({}))), "1029");
    m.now_ms += 3000;
    assert_eq!(m.send("GET", &format!("/bulk/v1/leads/export/{id}/file.json"), "", "").status, 404);
    m.now_ms += 56_000;
    assert_eq!(status(&mut m), "Queued", "what is shown moves once a minute");
    m.now_ms += 1000;
    assert_eq!(status(&mut m), "Completed");
    assert_eq!(m.drain("/bulk/v1/leads/export.json", "status=Completed,Failed").len(), 1);
    m.configure(json!({"export_failure": "Internal", "export_refresh_ms": 0}));
    let (_, failed) = m.export("leads", json!({"fields": ["id"], "filter": filter}));
    assert_eq!(failed["status"], "Processing");
    m.now_ms += 6000;
    let listed = m.drain("/bulk/v1/leads/export.json", "status=Failed");
    assert_eq!(listed[0]["errorMsg"], "Internal");
    let next = m.post("/bulk/v1/leads/export/create.json", json!({"fields": ["id"], "filter": filter}));
    let next = next["result"][0]["exportId"].as_str().unwrap().to_string();
    let cancelled = m.post(&format!("/bulk/v1/leads/export/{next}/cancel.json"), json!({}));
    assert_eq!(cancelled["result"][0]["status"], "Cancelled");
    m.configure(json!({"export_daily_bytes": 1}));
    let over = m.post("/bulk/v1/leads/export/create.json", json!({"fields": ["id"], "filter": filter}));
    assert_eq!(
        (code_of(&over).as_str(), over["errors"][0]["message"].as_str()),
        ("1029", Some("Export daily quota exceeded"))
    );
}
