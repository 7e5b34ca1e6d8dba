//! Whole reads against a scripted server: which calls are made, which rows come, what is left to go on from.

use super::testing::{column, output};
use super::testing_server::{failed, id, ok, on_runtime, page, record, Answer, Got, Played, BEGUN};
use crate::error::SyncError;
use crate::extract::batch::Cell;
use crate::extract::reader::Reader;
use crate::extract::sink::{Channel, Event, Sink};
use crate::extract::{Filter, FilterValue, Mode, Op, Output, ReadRequest, Scan, Target};
use serde_json::{json, Value};
use std::sync::atomic::{AtomicU64, Ordering};

const EARLIER: &str = "2026-01-01T10:00:00.000+0000";

fn table() -> Output {
    output(&[column("id", "Id", Target::Text), column("name", "Name", Target::Text)])
}

fn since(cursor: &str) -> Output {
    Output { checkpoint: Some(json!({ "cursor": cursor, "cursor_field": "SystemModstamp" })), ..table() }
}

fn full() -> Mode {
    Mode::Full { resume: None }
}

fn error_of(got: Got) -> SyncError {
    got.end.unwrap_err()
}

#[test]
fn a_first_load_is_one_query_and_its_pages() {
    on_runtime(async {
        let played = Played::new(&[], |asked| match asked {
            "GET /services/data/v62.0/query/01g-2" => page(&[record(3, EARLIER)], None),
            _ => page(&[record(1, EARLIER), record(2, EARLIER)], Some("01g-2")),
        })
        .await;
        let got = played.read(table(), full()).await;
        assert_eq!(got.texts(1), ["n1", "n2", "n3"]);
        assert_eq!(got.pages[0].position, Some(json!({ "upper": BEGUN, "last_id": id(2) })));
        assert_eq!(got.checkpoint(), json!({ "cursor": BEGUN, "cursor_field": "SystemModstamp" }));
        assert_eq!(
            played.asked(),
            [
                "GET /services/data/v62.0/queryAll?q=SELECT Id,SystemModstamp,IsDeleted,Name FROM Account ORDER BY Id",
                "GET /services/data/v62.0/query/01g-2"
            ]
        );
        let row = got.rows()[0];
        assert_eq!((row.deleted, row.extra, row.version.is_some()), (Some(false), Cell::Null, true));
    });
}

#[test]
fn an_interrupted_load_goes_on_behind_its_last_record_with_its_first_bound() {
    on_runtime(async {
        let played = Played::new(&[], |_| page(&[record(9, EARLIER)], None)).await;
        let resume = json!({ "upper": "2025-12-31T00:00:00.000Z", "last_id": id(8) });
        let got = played.read(table(), Mode::Full { resume: Some(resume) }).await;
        assert!(played.asked()[0].ends_with(&format!("FROM Account WHERE Id > '{}' ORDER BY Id", id(8))));
        assert_eq!(got.checkpoint()["cursor"], "2025-12-31T00:00:00.000Z");
    });
}

#[test]
fn an_expired_next_link_costs_one_more_query() {
    on_runtime(async {
        let played = Played::new(&[], |asked| match asked {
            asked if asked.contains("/query/") => failed(400, "INVALID_QUERY_LOCATOR", "invalid query locator"),
            asked if asked.contains("Id >") => page(&[record(2, EARLIER)], None),
            _ => page(&[record(1, EARLIER)], Some("01g-1")),
        })
        .await;
        let got = played.read(table(), full()).await;
        assert_eq!(got.texts(1), ["n1", "n2"]);
        assert_eq!(played.calls(), 3);
        assert_eq!(got.notes().len(), 1);

        let never = Played::new(&[], |_| failed(400, "INVALID_QUERY_LOCATOR", "x")).await;
        assert!(never.read(table(), full()).await.end.is_err(), "without progress it is an error");
        assert_eq!(never.calls(), 1);
    });
}

#[test]
fn changes_are_read_from_before_the_cursor_and_ties_go_by_id() {
    on_runtime(async {
        let stamp = "2026-01-01T11:00:00.000+0000";
        let played = Played::new(&[], move |asked| match asked {
            asked if asked.contains("/query/") => failed(400, "INVALID_QUERY_LOCATOR", "x"),
            asked if asked.contains(" OR ") => page(&[record(2, stamp)], None),
            _ => page(&[record(1, stamp)], Some("01g-1")),
        })
        .await;
        let got = played.read(since("2026-01-01T10:30:00.000Z"), Mode::Incremental).await;
        assert_eq!(got.checkpoint()["cursor"], "2026-01-01T11:00:00.000Z");
        assert!(got.pages.iter().all(|page| page.position.is_none()));
        let asked = played.asked();
        assert!(asked[0].ends_with("WHERE SystemModstamp >= 2026-01-01T10:20:00.000Z ORDER BY SystemModstamp,Id"));
        assert!(asked[2].ends_with(&format!(
            "WHERE SystemModstamp >= 2026-01-01T10:20:00.000Z AND ((SystemModstamp = 2026-01-01T11:00:00.000Z AND \
             Id > '{}') OR SystemModstamp > 2026-01-01T11:00:00.000Z) ORDER BY SystemModstamp,Id",
            id(1)
        )));
    });
}

#[test]
fn a_quiet_run_is_one_call_and_a_future_stamp_does_not_freeze_the_cursor() {
    on_runtime(async {
        for (name, records, want) in [
            ("quiet", vec![], BEGUN),
            ("the overlap alone", vec![record(1, "2026-01-01T10:29:00.000+0000")], BEGUN),
            ("a stamp in the future", vec![record(1, "2030-01-01T00:00:00.000+0000")], BEGUN),
            ("a change", vec![record(1, "2026-01-01T10:31:00.000+0000")], "2026-01-01T10:31:00.000Z"),
        ] {
            let played = Played::new(&[], move |_| page(&records, None)).await;
            let got = played.read(since("2026-01-01T10:30:00.000Z"), Mode::Incremental).await;
            assert_eq!(got.checkpoint()["cursor"], want, "{name}");
            assert_eq!(played.calls(), 1, "{name}");
        }
    });
}

#[test]
fn without_a_cursor_everything_is_listed_and_a_broken_one_is_said() {
    on_runtime(async {
        let played = Played::new(&[], |_| page(&[record(1, EARLIER)], None)).await;
        let mut snapshot = table();
        snapshot.described = Some(Default::default());
        let got = played.read(snapshot, Mode::Incremental).await;
        assert_eq!(got.checkpoint(), json!({}));
        assert_eq!(played.asked(), ["GET /services/data/v62.0/query?q=SELECT Id,Name FROM Account ORDER BY Id"]);
        let broken = played.read(since("yesterday"), Mode::Incremental).await;
        assert!(matches!(error_of(broken), SyncError::CursorExpired { .. }));
        assert_eq!(played.calls(), 1, "no call for a checkpoint that cannot be used");
    });
}

/// Answers queries for parts of records 1 to `last`, `size` a page by the number of fields asked for.
fn parts(last: u64, sizes: fn(bool) -> u64, missing: Option<(bool, u64)>) -> impl Fn(&str) -> Answer {
    move |asked| {
        let (is_first, from) = match asked.split_once("/query/") {
            Some((_, link)) => (link.starts_with("first"), link.split('-').nth(1).unwrap().parse().unwrap()),
            None => (asked.contains("Field_000__c"), 1),
        };
        let size = sizes(is_first);
        let field = if is_first { "Field_000__c" } else { "Field_199__c" };
        let records: Vec<String> = (from..(from + size).min(last + 1))
            .filter(|n| missing != Some((is_first, *n)))
            .map(|n| record(n, EARLIER).replace("Name", field))
            .collect();
        let link = format!("{}-{}", if is_first { "first" } else { "second" }, from + size);
        page(&records, (from + size <= last).then_some(link.as_str()))
    }
}

fn wide() -> Output {
    let mut columns = vec![column("id", "Id", Target::Text)];
    columns.extend((0..200).map(|n| column(&format!("f{n}"), &format!("Field_{n:03}__c"), Target::Text)));
    output(&columns)
}

#[test]
fn a_wide_object_is_joined_whatever_the_pages_are() {
    on_runtime(async {
        for (name, longest, sizes) in [
            ("equal pages", "2500", (|_| 10) as fn(bool) -> u64),
            ("the first part has small pages", "2500", |is_first| if is_first { 3 } else { 25 }),
            ("the second part has small pages", "2500", |is_first| if is_first { 100 } else { 7 }),
            ("three parts", "1500", |is_first| if is_first { 30 } else { 7 }),
        ] {
            let played = Played::new(&[("max_url_bytes", longest)], parts(100, sizes, None)).await;
            let got = played.read(wide(), full()).await;
            let want: Vec<String> = (1..=100).map(|n| format!("n{n}")).collect();
            assert_eq!(got.texts(1), want, "{name}");
            assert_eq!(got.texts(200), want, "{name}");
            assert!(got.notes().is_empty(), "{name}");
            assert_eq!(got.checkpoint()["cursor"], BEGUN, "{name}");
            let asked = played.asked();
            assert!(asked.iter().filter(|a| a.contains("q=")).all(|a| a.ends_with("FROM Account ORDER BY Id")));
        }
        for (part, gone) in [(true, 50), (false, 50), (false, 100), (true, 1)] {
            let played = Played::new(&[("max_url_bytes", "2500")], parts(100, |_| 10, Some((part, gone)))).await;
            let got = played.read(wide(), full()).await;
            assert_eq!(got.texts(0).len(), 99);
            assert!(!got.texts(0).contains(&id(gone)));
            assert!(got.notes()[0].contains("1 records came or went"), "{:?}", got.notes());
        }
    });
}

#[test]
fn an_address_that_is_refused_as_too_long_is_asked_in_parts() {
    on_runtime(async {
        let whole = parts(5, |_| 10, None);
        let played = Played::new(&[], move |asked| {
            if asked.len() > 2500 {
                Answer { status: 414, headers: Vec::new(), body: "URI too long".into() }
            } else {
                whole(asked)
            }
        })
        .await;
        let got = played.read(wide(), full()).await;
        assert!(got.end.is_ok(), "{:?}", got.end);
        assert_eq!(got.texts(200).len(), 5);
        assert!(got.notes()[0].contains("too long"));
        let never = Played::new(&[], |_| Answer { status: 414, headers: Vec::new(), body: String::new() }).await;
        assert!(matches!(error_of(never.read(wide(), full()).await), SyncError::BadRequest { status: 414, .. }));
        assert!(never.calls() < 10);
    });
}

#[test]
fn a_removed_field_is_surfaced_and_a_listing_without_end_is_an_error() {
    on_runtime(async {
        let refused = Played::new(&[], |_| failed(400, "INVALID_FIELD", "No such column 'Name'")).await;
        assert!(matches!(error_of(refused.read(table(), full()).await), SyncError::FieldRefused { .. }));
        let same = Played::new(&[], |_| page(&[record(1, EARLIER)], Some("01g-1"))).await;
        assert!(matches!(error_of(same.read(table(), full()).await), SyncError::PagerLoop { .. }));
        let number = AtomicU64::new(0);
        let empty =
            Played::new(&[], move |_| page(&[], Some(&format!("01g-{}", number.fetch_add(1, Ordering::Relaxed)))))
                .await;
        assert!(matches!(error_of(empty.read(table(), full()).await), SyncError::PagerLoop { .. }));
        assert_eq!(empty.calls(), 3);
    });
}

#[test]
fn keys_alone_for_a_reconcile() {
    on_runtime(async {
        let played = Played::new(&[], |_| page(&[record(1, EARLIER)], None)).await;
        let got = played.read(table(), Mode::Keys).await;
        assert!(played.asked()[0].ends_with("SELECT Id,SystemModstamp,IsDeleted FROM Account ORDER BY Id"));
        assert!(got.rows()[0].key_only);
        assert_eq!(got.end.unwrap().checkpoints, [None]);
    });
}

#[test]
fn a_live_query_calls_only_when_rows_are_wanted() {
    on_runtime(async {
        let played = Played::new(&[], |asked| match asked {
            asked if asked.contains("/query/") => page(&[record(2, EARLIER)], None),
            _ => page(&[record(1, EARLIER)], Some("01g-1")),
        })
        .await;
        let channel = Channel::new(0, Box::new(|| {}));
        let sink = Sink::new(channel.clone());
        let api = played.api.clone();
        let request = ReadRequest { outputs: vec![table()], mode: Mode::Scan(Scan::default()) };
        let reading = tokio::spawn(async move { crate::extract::read(&api, request, &sink).await });
        let settle = || async {
            for _ in 0..50 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        settle().await;
        assert_eq!(played.calls(), 0, "nobody asked for a row");
        for calls in 1..=2 {
            channel.want_more();
            let page = loop {
                match channel.take() {
                    Some(event) => break event,
                    None => settle().await,
                }
            };
            assert!(matches!(page, Event::Page(_)));
            settle().await;
            assert_eq!(played.calls(), calls);
        }
        channel.want_more();
        let end = reading.await.unwrap().unwrap();
        assert_eq!(end.checkpoints, [None]);
    });
}

#[test]
fn a_condition_that_the_app_refuses_is_left_to_postgres() {
    on_runtime(async {
        let played = Played::new(&[], |asked| {
            if asked.contains("Name =") {
                failed(400, "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: x")
            } else {
                page(&[record(1, EARLIER)], None)
            }
        })
        .await;
        let scan = |column, op, text: &str| {
            let filter = Filter { column, op, values: vec![FilterValue::Text(text.into())] };
            Mode::Scan(Scan { filters: vec![filter], ..Scan::default() })
        };
        // Room for everything, as for a refresh: what is lazy is tested above.
        let got = played.read(table(), scan(1, Op::Eq, "x")).await;
        assert_eq!(got.texts(1), ["n1"]);
        assert_eq!(played.calls(), 2);
        let none = played.read(table(), scan(0, Op::Eq, "no id")).await;
        assert!(none.pages.is_empty() && none.end.is_ok());
        assert_eq!(played.calls(), 2, "nothing can match: no call");
    });
}

#[test]
fn hard_deletes_are_one_more_call() {
    on_runtime(async {
        let script = |asked: &str| match asked {
            asked if asked.contains("/deleted/") => ok(json!({
                "deletedRecords": [{ "id": id(7), "deletedDate": "2026-01-01T11:00:00.000+0000" }],
                "earliestDateAvailable": "2025-12-01T00:00:00.000+0000",
                "latestDateCovered": "2026-01-01T11:58:00.000+0000"
            })
            .to_string()),
            _ => page(&[], None),
        };
        let played = Played::new(&[("hard_deletes", "on")], script).await;
        let first = played.read(table(), full()).await;
        assert_eq!(first.checkpoint()["deleted_until"], BEGUN);
        assert_eq!(played.calls(), 1, "a first load has nothing to delete");

        let got = played.read(since("2026-01-01T10:30:00.000Z"), Mode::Incremental).await;
        assert_eq!(got.texts(0), [id(7)]);
        let row = got.rows()[0];
        assert!(row.key_only && row.deleted == Some(true) && row.version.is_some());
        assert_eq!(got.checkpoint()["deleted_until"], "2026-01-01T11:58:00.000Z");
        assert!(
            played.asked()[2].contains("start=2026-01-01T10:30:00 00:00&end=2026-01-01T11:59:00 00:00")
                || played.asked()[2].contains("start=2026-01-01T10:30:00+00:00&end=2026-01-01T11:59:00+00:00")
        );

        let purged = Played::new(&[("hard_deletes", "on")], |asked| {
            if asked.contains("/deleted/") {
                failed(400, "INVALID_REPLICATION_DATE", "start date too far back")
            } else {
                page(&[], None)
            }
        })
        .await;
        let got = purged.read(since("2025-10-01T00:00:00.000Z"), Mode::Incremental).await;
        assert_eq!(got.notes().len(), 2, "cut to 15 days, and refused: {:?}", got.notes());
        assert_eq!(got.checkpoint()["deleted_until"], "2026-01-01T11:59:00.000Z");
    });
}

#[test]
fn formulas_are_read_again_for_everything_when_they_are_due() {
    on_runtime(async {
        let played = Played::new(&[("formula_refresh_hours", "24")], |_| page(&[record(1, EARLIER)], None)).await;
        let due = |formulas_at: Value| {
            let mut out = since("2026-01-01T10:30:00.000Z");
            let mut described = (*super::testing::described(&[("Id", "text", true), ("Name", "text", true)])).clone();
            described.columns[1].calculated = true;
            out.described = Some(described.into());
            out.checkpoint.as_mut().unwrap()["formulas_at"] = formulas_at;
            out
        };
        let got = played.read(due(json!("2020-01-01T00:00:00.000Z")), Mode::Incremental).await;
        assert!(got.notes()[0].contains("formula"));
        assert_eq!(got.checkpoint()["formulas_at"], BEGUN);
        let far = "2100-01-01T00:00:00.000Z";
        let got = played.read(due(json!(far)), Mode::Incremental).await;
        assert!(got.notes().is_empty());
        assert_eq!(got.checkpoint()["formulas_at"], far);
        assert!(played.asked()[1].contains("WHERE SystemModstamp >="));
    });
}

#[test]
fn an_object_is_described_or_its_absence_explained() {
    on_runtime(async {
        let played = Played::new(&[], |asked| match asked {
            asked if asked.ends_with("(if modified)") => {
                Answer { status: 304, headers: Vec::new(), body: String::new() }
            }
            asked if asked.contains("/AccountTag/") => {
                failed(404, "NOT_FOUND", "The requested resource does not exist")
            }
            asked if asked.contains("/Lost__c/") => failed(400, "INVALID_TYPE", "no such object"),
            asked if asked.ends_with("/limits") => ok("{}"),
            asked if asked.contains("q=") => page(&[], None),
            _ => Answer {
                status: 200,
                headers: vec![("Last-Modified", "Wed, 31 Dec 2025 00:00:00 GMT".into())],
                body: r#"{"name":"Account","queryable":true,"fields":[{"name":"Id","type":"id"}]}"#.into(),
            },
        })
        .await;
        let api = &played.api;
        let described = super::describe::describe(api, "Account", None).await.unwrap().unwrap();
        assert_eq!(described.last_modified.as_deref(), Some("Wed, 31 Dec 2025 00:00:00 GMT"));
        assert_eq!(super::describe::describe(api, "Account", described.last_modified.as_deref()).await, Ok(None));
        assert!(matches!(super::describe::describe(api, "AccountTag", None).await, Err(SyncError::Unsupported { .. })));
        assert!(matches!(super::describe::describe(api, "Lost__c", None).await, Err(SyncError::NotFound { .. })));
        assert!(super::describe::describe(api, "../limits", None).await.is_err());
        assert_eq!(super::Salesforce::check(api, None).await, Ok(()));
        assert_eq!(super::Salesforce::check(api, Some(&table().collection)).await, Ok(()));
    });
}
