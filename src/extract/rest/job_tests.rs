//! Jobs of every kind, against small apps that gather records in their own time.

use super::styles_testing::*;
use super::testing::{checkpoint, http_date, output, row_count, NOW};
use super::*;
use crate::extract::time::to_iso_ms;
use crate::extract::Mode;
use crate::http::testing::{json as reply, status, Act, Seen, Server, KEY};
use crate::manifest::Source;
use serde_json::{json, Value};
use std::io::Write;
use std::sync::{Arc, Mutex};

/// A job as most apps have it; `more` are further members.
fn job(more: Value) -> Value {
    let mut job = json!({
        "create": {"method": "POST", "path": "/jobs", "json": {"file": "csv"}}, "id": "/id",
        "status": {"path": "/jobs/{job_id}"}, "state": "/state",
        "states": {"running": ["made", "runs"], "done": ["ok"], "failed": ["broken"]},
        "download": {"call": {"path": "/jobs/{job_id}/file"}, "records": {"pointer": "", "decoder": "csv"}},
    });
    more.as_object().unwrap().iter().for_each(|(name, value)| job[name] = value.clone());
    job
}

/// Things that a job gives; `more` are further members of the collection.
fn gathered(job: Value, more: Value) -> Source {
    let mut collection = things(json!({
        "job": job,
        "columns": [{"name": "id", "type": "text"},
            {"name": "updated", "type": "timestamptz", "format": "unix", "null_if": [""]}]}));
    collection.as_object_mut().unwrap().remove("path");
    collection.as_object_mut().unwrap().remove("pages");
    more.as_object().unwrap().iter().for_each(|(name, value)| collection[name] = value.clone());
    source(json!({"collections": [collection]}))
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn file(bytes: impl Into<Vec<u8>>) -> Act {
    Act::Reply(200, vec![("Content-Type", "application/octet-stream".into())], bytes.into())
}

fn calls(server: &Server) -> Vec<String> {
    server.seen().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
}

/// The position saved with each page that has one.
fn positions(done: &Done) -> Vec<Value> {
    done.pages.iter().filter_map(|page| page.position.clone()).collect()
}

async fn resume(source: &Source, server: &Server, position: Value) -> Done {
    let mode = Mode::Full { resume: Some(position) };
    read_with(source, server, vec![output(source, "things", None)], mode, &[]).await
}

#[tokio::test]
async fn a_job_is_made_started_watched_downloaded_and_deleted() {
    let mut looks = 0;
    let server = Server::start(move |seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("POST", "/jobs") => dated(json!({"id": 7})),
        ("POST", "/jobs/7/start") => reply(json!({})),
        ("GET", "/jobs/7") => {
            looks += 1;
            let state = ["made", "runs", "ok"][looks - 1];
            reply(json!({"state": state}))
        }
        ("GET", "/jobs/7/file") => file(format!("id,updated\n1,{NOW}\n2,\n")),
        ("DELETE", "/jobs/7") => status(404, "{}"),
        other => panic!("{other:?}"),
    })
    .await;
    let more = json!({"start": {"method": "POST", "path": "/jobs/{job_id}/start"},
        "delete": {"method": "DELETE", "path": "/jobs/{job_id}"}});
    let done = full(&gathered(job(more), json!({})), &server, "things").await;
    let want = ["POST /jobs", "POST /jobs/7/start", "GET /jobs/7", "GET /jobs/7", "GET /jobs/7", "GET /jobs/7/file"];
    assert_eq!(calls(&server)[..6], want);
    assert_eq!(calls(&server)[6..], ["DELETE /jobs/7"], "that it is gone already is no failure");
    assert_eq!(done.rows(), [vec!["1", &NOW.to_string()], vec!["2", "null"]]);
    assert_eq!(done.checkpoint().unwrap()["cursor"], checkpoint(NOW)["cursor"], "the app's clock when it was asked");
    assert_eq!(server.seen()[0].body, r#"{"file":"csv"}"#);
    assert_eq!(positions(&done)[0]["job"]["id"], "7", "saved before the wait");
}

#[tokio::test]
async fn files_lie_elsewhere_and_are_fetched_without_a_credential() {
    let store = Server::start(|seen| match seen.path.as_str() {
        "/a" => file(packed("{\"id\": \"1\"}\n{\"id\": \"2\"}\n")),
        "/b" => file("{\"id\": \"3\"}\n"),
        other => panic!("{other}"),
    })
    .await;
    let (url, host) = (store.url.clone(), store.url.trim_start_matches("http://").to_string());
    let server = Server::start(move |seen| match seen.path.as_str() {
        "/jobs" => dated(json!({"id": "j"})),
        "/jobs/j" => reply(json!({"state": "ok", "urls": [format!("{url}/a?X-Signature=s"), format!("{url}/b")]})),
        other => panic!("{other}"),
    })
    .await;
    let download = |hosts: Value| {
        let download = json!({"urls": "/urls", "hosts": hosts, "records": {"pointer": "", "decoder": "jsonl"}});
        let mut source = gathered(job(json!({"download": download})), json!({}));
        source.headers.insert("X-Account".into(), "{api_key}".into());
        source.params.insert("proof".into(), "{api_key}".into());
        source
    };
    let done = full(&download(json!([host])), &server, "things").await;
    assert_eq!(done.keys(), ["1", "2", "3"], "{:?}", done.end);
    for seen in store.seen() {
        let told = format!("{seen:?}");
        assert!(!told.contains(KEY) && !seen.headers.contains_key("authorization"), "{told}");
    }
    assert_eq!(store.seen()[0].param("X-Signature"), Some("s"));
    assert!(server.seen().iter().all(|seen| seen.headers["authorization"] == format!("Bearer {KEY}")));
    let before = store.calls();
    for hosts in [json!([]), json!(["*.s3.amazonaws.com", "127.0.0.1"])] {
        let done = full(&download(hosts), &server, "things").await;
        assert!(matches!(&done.end, Err(SyncError::Connect { detail, .. }) if detail.contains("not followed")));
    }
    assert_eq!(store.calls(), before);
}

#[tokio::test]
async fn an_interrupted_reading_goes_on_with_its_job() {
    // Three files; the second one breaks once.
    let broken = Arc::new(Mutex::new(true));
    let is_broken = Arc::clone(&broken);
    let server = Server::start(move |seen| match seen.path.as_str() {
        "/jobs" => dated(json!({"id": "j"})),
        "/jobs/j" => reply(json!({"state": "ok", "urls": ["/files/0", "/files/1", "/files/2"]})),
        "/files/1" if *is_broken.lock().unwrap() => status(500, "{}"),
        path => file(format!("id,updated\n{}x,1\n{}y,2\n", &path[7..], &path[7..])),
    })
    .await;
    let download = json!({"urls": "/urls", "records": {"pointer": "", "decoder": "csv"}});
    let source = gathered(job(json!({"download": download})), json!({}));
    let done = full(&source, &server, "things").await;
    assert!(matches!(done.end, Err(SyncError::Unavailable { status: 500, .. })), "{:?}", done.end);
    assert_eq!(done.keys(), ["0x", "0y"]);
    let position = positions(&done).pop().unwrap();
    *broken.lock().unwrap() = false;
    let before = server.calls();
    let done = resume(&source, &server, position).await;
    assert_eq!(done.keys(), ["1x", "1y", "2x", "2y"], "what was read is not read again");
    assert_eq!(calls(&server)[before..], ["GET /jobs/j", "GET /files/1", "GET /files/2"]);
    assert_eq!(done.checkpoint().unwrap()["cursor"], checkpoint(NOW)["cursor"], "since the job was made");
}

#[tokio::test]
async fn a_job_that_is_gone_or_failed_is_made_anew_once() {
    for (old, is_gone) in [(status(404, "{}"), true), (reply(json!({"state": "broken"})), false)] {
        let old = Mutex::new(Some(old));
        let server = Server::start(move |seen| match seen.path.as_str() {
            "/jobs" => dated(json!({"id": "new"})),
            "/jobs/old" => old.lock().unwrap().take().unwrap(),
            "/jobs/new" => reply(json!({"state": "ok"})),
            _ => file("id,updated\n1,1\n"),
        })
        .await;
        let source = gathered(job(json!({})), json!({}));
        let position = json!({"job": {"id": "old", "files": 1}, "upper": to_iso_ms((NOW - 100) * 1_000_000)});
        let done = resume(&source, &server, position).await;
        assert_eq!(done.keys(), ["1"], "gone: {is_gone}");
        assert_eq!(calls(&server), ["GET /jobs/old", "POST /jobs", "GET /jobs/new", "GET /jobs/new/file"]);
        assert!(done.end.unwrap().notes[0].contains("another one was made"));
    }
    let server = Server::start(|seen| match seen.path.as_str() {
        "/jobs" => dated(json!({"id": "j"})),
        _ => reply(json!({"state": "broken", "error": {"message": format!("disk full, {KEY}")}})),
    })
    .await;
    let done = full(&gathered(job(json!({})), json!({})), &server, "things").await;
    let Err(SyncError::Unavailable { detail, .. }) = &done.end else { panic!("{:?}", done.end) };
    assert!(detail.contains("broken: disk full") && !detail.contains(KEY), "{detail}");
    assert_eq!(server.calls(), 2, "a new job that failed is not made again in the same run");
}

#[tokio::test]
async fn a_job_that_cannot_be_had_leaves_the_listing() {
    let listed = |seen: &Seen, refusal: fn() -> Act| match (seen.method.as_str(), seen.path.as_str()) {
        ("POST", "/jobs") => refusal(),
        ("GET", "/jobs/j") => reply(json!({"state": "broken"})),
        _ => dated(json!({"data": [thing("1", NOW)]})),
    };
    let list = json!({"path": "/things", "pages": {"style": "none"}});
    for (name, refusal) in [
        ("no permission", (|| status(403, r#"{"error": {"message": "not in your plan"}}"#)) as fn() -> Act),
        ("no such thing", || status(404, "{}")),
        ("refused", || status(400, "{}")),
        ("failed", || dated(json!({"id": "j"}))),
    ] {
        let server = Server::start(move |seen| listed(seen, refusal)).await;
        let source = gathered(job(json!({"fall_back": true})), list.clone());
        let done = full(&source, &server, "things").await;
        assert_eq!(done.keys(), ["1"], "{name}");
        let notes = done.end.unwrap().notes;
        assert!(notes[0].contains("the listing was read instead"), "{name}: {notes:?}");
        assert!(name != "no permission" || notes[0].contains("not in your plan"), "{notes:?}");
        let done = full(&gathered(job(json!({})), list.clone()), &server, "things").await;
        assert!(done.end.is_err(), "{name}: nobody said that the listing may stand in");
    }
    let server = Server::start(move |seen| listed(seen, || status(401, "{}"))).await;
    let done = full(&gathered(job(json!({"fall_back": true})), list.clone()), &server, "things").await;
    assert!(matches!(done.end, Err(SyncError::AuthRejected { .. })), "{:?}", done.end);
}

/// Later runs list what changed, where a job is for full readings only.
#[tokio::test]
async fn a_job_may_be_for_full_readings_only() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/jobs" => dated(json!({"id": "j"})),
        "/jobs/j" => reply(json!({"state": "ok"})),
        "/jobs/j/file" => file(format!("id,updated\n1,{NOW}\n")),
        _ => dated(json!({"data": [thing("2", NOW + 5)]})),
    })
    .await;
    let list = json!({"path": "/things", "pages": {"style": "none"},
        "cursor": {"field": "updated", "format": "unix", "param": "since"}});
    let source = gathered(job(json!({"when": "full"})), list);
    assert_eq!(full(&source, &server, "things").await.keys(), ["1"]);
    let before = server.calls();
    assert_eq!(changes(&source, &server, "things", checkpoint(NOW)).await.keys(), ["2"]);
    assert_eq!(calls(&server)[before..], ["GET /things"]);
}

#[tokio::test]
async fn changes_are_asked_for_by_jobs_window_by_window() {
    // Two days at most in a job; each gives the records of its window, in pages.
    let seen_windows: Arc<Mutex<Vec<(i64, i64)>>> = Arc::default();
    let windows = Arc::clone(&seen_windows);
    let server = Server::start(move |seen| match seen.path.as_str() {
        "/jobs" => {
            let body = body(seen);
            let mut windows = windows.lock().unwrap();
            windows.push((body["from"].as_i64().unwrap(), body["to"].as_i64().unwrap()));
            dated(json!({"id": format!("j{}", windows.len())}))
        }
        path if path.ends_with("/file") => {
            let number: usize = path[7..path.len() - 5].parse().unwrap();
            let page: usize = seen.param("page").map_or(1, |page| page.parse().unwrap());
            let (from, _) = windows.lock().unwrap()[number - 1];
            let rows = if page < 3 { format!("{number}-{page},{}\n", from + 1) } else { String::new() };
            file(format!("id,updated\n{rows}"))
        }
        _ => reply(json!({"state": "ok"})),
    })
    .await;
    let day = 86_400;
    let more = json!({
        "create": {"method": "POST", "path": "/jobs", "json": {"from": "{cursor|unix|number}", "to": "{upper|unix|number}"}},
        "download": {"call": {"path": "/jobs/{job_id}/file"}, "records": {"pointer": "", "decoder": "csv"},
            "pages": {"style": "page_number", "param": "page", "until": "empty_page"}}});
    let cursor = json!({"cursor": {"field": "updated", "format": "unix", "step_seconds": 2 * day, "start_days": 5}});
    let source = gathered(job(more), cursor);
    let done = full(&source, &server, "things").await;
    assert_eq!(done.keys(), ["1-1", "1-2", "2-1", "2-2", "3-1", "3-2"], "{:?}", done.end);
    assert_eq!(row_count(&done.pages), 6);
    let windows = seen_windows.lock().unwrap().clone();
    assert_eq!(windows.len(), 3);
    assert!(windows.iter().all(|(from, to)| to - from <= 2 * day), "{windows:?}");
    assert!(windows.windows(2).all(|pair| pair[0].1 >= pair[1].0), "without a gap: {windows:?}");
    // In the middle of the second window's results.
    let place = |page: &Value| page["job"]["id"] == "j2" && page["job"]["page"]["query"] == json!([["page", "2"]]);
    let position = positions(&done).into_iter().find(place).unwrap();
    let before = server.calls();
    let done = resume(&source, &server, position).await;
    assert_eq!(done.keys(), ["2-2", "4-1", "4-2"], "the rest of the second, and the third in a job of its own");
    assert_eq!(calls(&server)[before], "GET /jobs/j2");
    assert_eq!(seen_windows.lock().unwrap()[3].0, windows[2].0);
    // What changed since: one window, from the cursor on.
    let now = seen_windows.lock().unwrap()[3].1;
    let done = changes(&source, &server, "things", checkpoint(now - 100)).await;
    assert_eq!(done.keys(), ["5-1", "5-2"]);
    assert_eq!(seen_windows.lock().unwrap()[4].0, now - 100);
}

#[tokio::test]
async fn a_job_that_does_not_end_is_left_to_the_next_run() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/jobs" => dated(json!({"id": "j"})),
        _ => reply(json!({"state": "runs"})),
    })
    .await;
    let source = gathered(job(json!({"poll_seconds": 1, "timeout_seconds": 1})), json!({}));
    let done = full(&source, &server, "things").await;
    let Err(SyncError::Unavailable { status: 0, detail, .. }) = &done.end else { panic!("{:?}", done.end) };
    assert!(detail.contains("not done after 1 s"), "{detail}");
    assert_eq!(positions(&done).pop().unwrap()["job"]["id"], "j");
    let strange = Server::start(|seen| match seen.path.as_str() {
        "/jobs" => dated(json!({"id": "j"})),
        _ => reply(json!({"state": "paused by an admin"})),
    })
    .await;
    let done = full(&source, &strange, "things").await;
    assert!(matches!(&done.end, Err(SyncError::Unavailable { detail, .. }) if detail.contains("paused by an admin")));
}

#[tokio::test]
async fn a_live_query_and_a_check_know_of_jobs() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/jobs" => dated(json!({"id": "j"})),
        "/jobs/j" => reply(json!({"state": "ok"})),
        "/ping" => reply(json!({})),
        _ => Act::Reply(200, vec![("Date", http_date(NOW))], b"id,updated\n1,1\n2,2\n".to_vec()),
    })
    .await;
    let mut source = gathered(job(json!({})), json!({}));
    source.check_path = Some("/ping".into());
    let outputs = vec![output(&source, "things", None)];
    let request = ReadRequest { outputs: outputs.clone(), mode: Mode::Scan(Scan::default()) };
    let account = crate::http::testing::account(source.clone(), &server.url);
    let shown = crate::http::shown_request(&account, &Rest::first_request(&request, &account).unwrap());
    assert_eq!((shown.as_str(), server.calls()), (r#"POST /jobs {"file":"csv"}"#, 0));
    let done = read_with(&source, &server, outputs, Mode::Scan(Scan::default()), &[]).await;
    assert_eq!(done.keys(), ["1", "2"]);
    assert!(positions(&done).is_empty());
    let before = server.calls();
    let api = crate::http::testing::client(account);
    Rest::check(&api, source.collection("things")).await.unwrap();
    assert_eq!(calls(&server)[before..], ["GET /ping"], "no job is made only to see whether it may be");
}

/// What was deleted leaves its place on the page empty; only the 404 is the end.
#[tokio::test]
async fn pages_may_be_empty_before_the_404_behind_the_last() {
    let server = Server::start(|seen| match seen.param("page").unwrap().parse::<i64>().unwrap() {
        page @ (1 | 7) => dated(json!({"data": [thing(&page.to_string(), NOW)]})),
        8 => status(404, "{}"),
        _ => dated(json!({"data": []})),
    })
    .await;
    let pages = json!({"style": "page_number", "param": "page", "until": "not_found"});
    let source = source(json!({"collections": [things(json!({"pages": pages}))]}));
    assert_eq!(full(&source, &server, "things").await.keys(), ["1", "7"]);
    assert_eq!(server.calls(), 8);
    let server = Server::start(|_| status(404, "{}")).await;
    let done = full(&source, &server, "things").await;
    assert!(matches!(done.end, Err(SyncError::NotFound { .. })), "a listing that is not there at all is no empty one");
}
