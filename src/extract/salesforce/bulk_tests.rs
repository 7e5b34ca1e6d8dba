//! First loads through a Bulk job, against a scripted server.

use super::testing::{column, output};
use super::testing_server::{failed, id, ok, on_runtime, page, record, Answer, Played, BEGUN};
use crate::extract::{Mode, Output, Target};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};

const BULK: [(&str, &str); 1] = [("bulk_threshold", "2")];
const JOB: &str = "750000000000001AAA";

fn table() -> Output {
    output(&[column("id", "Id", Target::Text), column("name", "Name", Target::Text)])
}

fn csv(numbers: &[u64], locator: &str) -> Answer {
    let mut body = "\"Id\",\"SystemModstamp\",\"IsDeleted\",\"Name\"\n".to_string();
    for n in numbers {
        body.push_str(&format!("\"{}\",\"2026-01-01T10:00:00.000Z\",\"false\",\"n{n}\"\n", id(*n)));
    }
    let headers = vec![("Sforce-Locator", locator.to_string()), ("Sforce-NumberOfRecords", numbers.len().to_string())];
    Answer { status: 200, headers, body }
}

fn job(state: &str) -> Answer {
    ok(json!({ "id": JOB, "state": state, "errorMessage": "it broke" }).to_string())
}

/// The first page of an ordinary listing of `total` records.
fn first_page(total: u64) -> Answer {
    let link = (total > 1).then_some("01g-1");
    let mut answer = page(&[record(1, "2026-01-01T10:00:00.000+0000")], link);
    answer.body = answer.body.replace("\"totalSize\":0", &format!("\"totalSize\":{total}"));
    answer
}

#[test]
fn a_large_first_load_is_a_job() {
    on_runtime(async {
        let polls = AtomicU64::new(0);
        let played = Played::new(&BULK, move |asked| match asked {
            asked if asked.contains("q=") => first_page(3),
            asked if asked.starts_with("POST") => job("UploadComplete"),
            asked if asked.starts_with("DELETE") => Answer { status: 204, headers: vec![], body: String::new() },
            asked if asked.contains("locator=MTAw") => csv(&[3], "null"),
            asked if asked.contains("/results") => csv(&[1, 2], "MTAw"),
            _ => job(if polls.fetch_add(1, Ordering::Relaxed) == 0 { "InProgress" } else { "JobComplete" }),
        })
        .await;
        let got = played.read(table(), Mode::Full { resume: None }).await;
        assert_eq!(got.texts(1), ["n1", "n1", "n2", "n3"], "the first page told how large it is");
        assert_eq!(got.checkpoint()["cursor"], BEGUN);
        let bulk = |locator: Option<&str>| json!({ "upper": BEGUN, "bulk": { "job": JOB, "locator": locator } });
        let positions: Vec<_> = got.pages.iter().map(|page| page.position.clone().unwrap()).collect();
        let listed = json!({ "upper": BEGUN, "last_id": id(1) });
        assert_eq!(positions, [listed, bulk(None), bulk(Some("MTAw")), bulk(Some("MTAw"))]);
        let asked = played.asked();
        assert_eq!(asked.len(), 7, "a page, create, two polls, two pages, delete: {asked:?}");
        assert!(asked[1].contains(r#""operation":"queryAll""#), "{}", asked[1]);
        assert!(asked[1].contains(r#""query":"SELECT Id,SystemModstamp,IsDeleted,Name FROM Account""#));
    });
}

#[test]
fn an_interrupted_job_is_read_on_and_a_lost_one_begins_again() {
    on_runtime(async {
        let script = |asked: &str| match asked {
            asked if asked.contains("750old") => failed(404, "NOT_FOUND", "gone"),
            asked if asked.starts_with("POST") => job("UploadComplete"),
            asked if asked.contains("locator=MTAw") => csv(&[3], "null"),
            asked if asked.contains("/results") => csv(&[1, 2], "null"),
            _ => job("JobComplete"),
        };
        let resume = |job: &str| Mode::Full {
            resume: Some(json!({ "upper": "2025-12-31T00:00:00.000Z", "bulk": { "job": job, "locator": "MTAw" } })),
        };
        let played = Played::new(&BULK, script).await;
        let got = played.read(table(), resume(JOB)).await;
        assert_eq!(got.texts(1), ["n3"]);
        assert_eq!(got.checkpoint()["cursor"], "2025-12-31T00:00:00.000Z");
        assert_eq!(played.calls(), 2, "the rest of the results, delete");
        let got = played.read(table(), resume("750old")).await;
        assert_eq!(got.texts(1), ["n1", "n2"]);
        assert_eq!(got.notes().len(), 1);
    });
}

#[test]
fn what_bulk_cannot_do_queries_do() {
    on_runtime(async {
        for (name, refusal, notes) in [
            ("few records", None, 0),
            (
                "a limit",
                Some(failed as fn(u16, &str, &str) -> Answer).map(|f| f(400, "LIMIT_EXCEEDED", "10000 jobs")),
                1,
            ),
            ("not supported", Some(failed(400, "INVALIDENTITY", "is not supported by the Bulk API")), 1),
            ("the job fails", Some(job("Failed")), 1),
        ] {
            let refusal = std::sync::Arc::new(refusal);
            let script = {
                let refusal = refusal.clone();
                move |asked: &str| match (asked, refusal.as_ref()) {
                    (asked, refusal) if asked.ends_with("ORDER BY Id") && !asked.contains("Id >") => {
                        first_page(if refusal.is_some() { 9 } else { 1 })
                    }
                    (asked, Some(refusal)) if asked.contains("jobs") => {
                        Answer { status: refusal.status, headers: vec![], body: refusal.body.clone() }
                    }
                    (asked, _) => {
                        assert!(asked.contains(&format!("Id > '{}'", id(1))), "it goes on behind the page it has");
                        page(&[record(2, "2026-01-01T10:00:00.000+0000")], None)
                    }
                }
            };
            let played = Played::new(&BULK, script).await;
            let got = played.read(table(), Mode::Full { resume: None }).await;
            assert_eq!(got.texts(1).len(), 1 + notes, "{name}");
            assert_eq!(got.notes().len(), notes, "{name}: {:?}", got.notes());
            assert_eq!(got.checkpoint()["cursor"], BEGUN, "{name}");
        }
    });
}

#[test]
fn only_first_loads_of_large_objects_make_a_job_and_only_when_asked_to() {
    on_runtime(async {
        for (options, mode) in [(&[][..], Mode::Full { resume: None }), (&BULK[..], Mode::Incremental)] {
            let played = Played::new(options, |asked| match asked {
                asked if asked.contains("q=") => first_page(9),
                _ => page(&[record(2, "2026-01-01T10:00:00.000+0000")], None),
            })
            .await;
            played.read(table(), mode).await.end.unwrap();
            assert_eq!(played.calls(), 2, "a query and its pages");
        }
    });
}
