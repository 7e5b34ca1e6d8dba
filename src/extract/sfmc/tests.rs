use super::*;
use crate::extract::sink::{Channel, Event};
use crate::extract::{Filter, FilterValue, Output, Target};
use crate::http::testing::{account, client, source, Act, Seen, Server};
use crate::manifest::Format;
use serde_json::json;
use std::sync::Arc;

const COLUMNS: [(&str, &str, &str, Target); 5] = [
    ("id", "ID", "bigint", Target::Int8),
    ("name", "ListName", "text", Target::Text),
    ("client_id", "/Client/ID", "bigint", Target::Int8),
    ("secret_note", "Note", "text", Target::Text),
    ("modified_date", "ModifiedDate", "timestamptz", Target::Timestamptz),
];

fn collection() -> Collection {
    let column = |(name, field, kind, _): &(&str, &str, &str, Target)| {
        let format = if *kind == "timestamptz" { "-06:00" } else { "auto" };
        json!({"name": name, "field": field, "type": kind, "format": format})
    };
    serde_json::from_value(json!({
        "name": "lists", "object": "List", "reader": "sfmc_soap", "path": "/Service.asmx", "primary_key": ["id"],
        "cursor": {"field": "ModifiedDate", "format": "-06:00"},
        "deletes": {"style": "absent"}, "columns": COLUMNS.iter().map(column).collect::<Vec<_>>(),
    }))
    .unwrap()
}

fn output() -> Output {
    let column = |(name, field, _, target): &(&str, &str, &str, Target)| OutColumn {
        name: name.to_string(),
        path: crate::manifest::field_path(field),
        target: *target,
        format: if *target == Target::Timestamptz { Format::At(-21_600) } else { Format::Auto },
    };
    Output {
        collection: Arc::new(collection()),
        columns: COLUMNS.iter().map(column).collect(),
        key: vec![0],
        keep_extra: true,
        checkpoint: None,
        binary: None,
        described: None,
    }
}

fn xml(status: u16, body: &str) -> Act {
    let text = format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>{body}</s:Body></s:Envelope>"
    );
    Act::Reply(status, vec![("Content-Type", "text/xml".into())], text.into_bytes())
}

fn described() -> Act {
    let property = |(name, can): (&str, bool)| {
        format!("<Properties><Name>{name}</Name><DataType>String</DataType><IsRetrievable>{can}</IsRetrievable></Properties>")
    };
    let all = [
        ("ID", true),
        ("ListName", true),
        ("Client.ID", true),
        ("ModifiedDate", true),
        ("Note", false),
        ("Color", true),
    ];
    let all: String = all.into_iter().map(property).collect();
    xml(200, &format!("<DefinitionResponseMsg><ObjectDefinition>{all}</ObjectDefinition></DefinitionResponseMsg>"))
}

fn batch(status: &str, ids: std::ops::Range<u32>) -> Act {
    let result = |id: u32| {
        format!("<Results><Client><ID>7</ID></Client><ID>{id}</ID><ListName>A &amp; {id}</ListName><ModifiedDate>2024-01-01T21:04:{id:02}</ModifiedDate></Results>")
    };
    let results: String = ids.map(result).collect();
    xml(200, &format!("<RetrieveResponseMsg><OverallStatus>{status}</OverallStatus><RequestID>r-1</RequestID>{results}</RetrieveResponseMsg>"))
}

/// A service that answers Describe as above and each Retrieve by its number.
async fn service(mut retrieve: impl FnMut(usize, &Seen) -> Act + Send + 'static) -> Server {
    let mut number = 0;
    Server::start(move |seen| match seen.headers["soapaction"].as_str() {
        "Describe" => described(),
        _ => {
            number += 1;
            retrieve(number - 1, seen)
        }
    })
    .await
}

struct Got {
    keys: Vec<i64>,
    names: Vec<String>,
    stamps: Vec<i64>,
    end: ReadEnd,
}

async fn run(server: &Server, output: Output, mode: Mode) -> Result<Got, SyncError> {
    use crate::extract::batch::Cell;
    let channel = Channel::new(1 << 30, Box::new(|| {}));
    let api = client(account(source(json!({})), &server.url));
    let request = ReadRequest { outputs: vec![output], mode };
    let end = MarketingCloud::read(&api, request, &Sink::new(Arc::clone(&channel))).await?;
    let mut got = Got { keys: Vec::new(), names: Vec::new(), stamps: Vec::new(), end };
    while let Some(Event::Page(page)) = channel.take() {
        for (_, batch) in &page.batches {
            assert_eq!((batch.rejected.len(), batch.misfits), (0, 0));
            for row in 0..batch.rows.len() {
                let cells = batch.row(row);
                let Cell::Int(id) = cells[0] else { panic!("{cells:?}") };
                got.keys.push(id);
                got.names.push(batch.text(&cells[1]).into_owned());
                if let Cell::Timestamp(at) = cells[4] {
                    got.stamps.push(at);
                }
                assert!(matches!(cells[3], Cell::Null), "cannot be retrieved");
            }
        }
    }
    Ok(got)
}

fn full() -> Mode {
    Mode::Full { resume: None }
}

#[tokio::test]
async fn only_what_can_be_retrieved_is_asked_for_until_all_is_told() {
    let server = service(|number, _| match number {
        0 => batch("MoreDataAvailable", 1..3),
        1 => batch("MoreDataAvailable", 3..5),
        _ => batch("OK", 5..6),
    })
    .await;
    let got = run(&server, output(), full()).await.unwrap();
    assert_eq!((got.keys, got.names[0].as_str()), (vec![1, 2, 3, 4, 5], "A & 1"));
    assert_eq!(got.stamps[0], 1_704_164_641_000_000, "six hours behind UTC");
    let sent = server.seen();
    assert_eq!(sent.len(), 4);
    let first = &sent[1].body;
    for part in ["<ObjectType>List</ObjectType>", "<Properties>Client.ID</Properties>", "<BatchSize>2500</BatchSize>"] {
        assert!(first.contains(part), "{first}");
    }
    assert!(!first.contains("Note") && !first.contains("Color") && !first.contains("<Filter"), "{first}");
    assert!(sent[2].body.contains("<ContinueRequest>r-1</ContinueRequest>"), "{}", sent[2].body);
}

#[tokio::test]
async fn all_is_read_each_time_and_no_checkpoint_is_left() {
    let server = service(|_, _| batch("OK", 1..3)).await;
    let known = Output { checkpoint: Some(json!({"cursor": "2024-01-02T03:05:05.500Z"})), ..output() };
    for (output, mode) in [(output(), full()), (known, Mode::Incremental)] {
        let got = run(&server, output, mode).await.unwrap();
        assert_eq!((got.keys, got.end.checkpoints), (vec![1, 2], vec![None]));
        assert!(!server.seen().last().unwrap().body.contains("<Filter"));
    }
}

#[tokio::test]
async fn a_retrieve_that_broke_begins_anew_and_never_skips_a_batch() {
    let server = service(|number, _| match number {
        // The answer to the first continuation is lost: the service has moved on.
        0 | 2 => batch("MoreDataAvailable", 1..3),
        1 => Act::Reset,
        _ => batch("OK", 3..4),
    })
    .await;
    let got = run(&server, output(), full()).await.unwrap();
    assert_eq!(got.keys, [1, 2, 1, 2, 3]);
    assert_eq!(got.end.notes.len(), 1);
    let server = service(|number, _| match number % 2 {
        0 => batch("MoreDataAvailable", 1..3),
        _ => batch("Error: The ContinueRequest is unknown or has expired", 0..0),
    })
    .await;
    let error = run(&server, output(), full()).await.err().unwrap();
    assert!(matches!(error, SyncError::CursorExpired { .. }), "{error:?}");
    assert_eq!(server.seen().len(), 7, "three times, and Describe");
    let server = service(|_, _| batch("MoreDataAvailable", 0..0)).await;
    let error = run(&server, output(), full()).await.err().unwrap();
    assert!(matches!(error, SyncError::PagerLoop { .. }), "{error:?}");
}

#[tokio::test]
async fn refusals_inside_a_good_reply_are_told() {
    for (status, want) in [
        ("Error: API Permission Failed", "AccessDenied"),
        ("Error: The Request Property(s) Note do not match with the fields of List retrieve", "FieldRefused"),
        ("Error: something else", "BadRequest"),
    ] {
        let server = service(move |_, _| batch(status, 0..0)).await;
        let error = run(&server, output(), full()).await.err().unwrap();
        let shown = format!("{error:?}");
        assert!(shown.starts_with(want) && shown.contains(status), "{shown}");
        assert_eq!(server.seen().len(), 2, "asked once");
    }
    let server = service(|_, _| xml(200, "<Other/>")).await;
    let error = run(&server, output(), full()).await.err().unwrap();
    assert!(matches!(error, SyncError::Unreadable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_live_query_says_its_conditions_and_does_without_those_that_are_refused() {
    let scan = |filters: Vec<(usize, Op, Vec<FilterValue>)>, limit| {
        let filters = filters.into_iter().map(|(column, op, values)| Filter { column, op, values }).collect();
        Mode::Scan(Scan { filters, limit, ..Scan::default() })
    };
    let at = FilterValue::Timestamp(1_704_164_645_500_000);
    let text = |text: &str| FilterValue::Text(text.into());
    for (filters, limit, want) in [
        (vec![], Some(1), "<BatchSize>1</BatchSize>"),
        (
            vec![(0, Op::Eq, vec![FilterValue::Int(5)])],
            None,
            "<Filter xsi:type=\"SimpleFilterPart\"><Property>ID</Property><SimpleOperator>equals</SimpleOperator><Value>5</Value></Filter>",
        ),
        (
            vec![(1, Op::In, vec![text("a<b"), text("c")]), (4, Op::Gt, vec![at.clone()])],
            None,
            "<Filter xsi:type=\"ComplexFilterPart\"><LeftOperand xsi:type=\"SimpleFilterPart\"><Property>ListName</Property>\
             <SimpleOperator>IN</SimpleOperator><Value>a&lt;b</Value><Value>c</Value></LeftOperand>\
             <LogicalOperator>AND</LogicalOperator><RightOperand xsi:type=\"SimpleFilterPart\"><Property>ModifiedDate</Property>\
             <SimpleOperator>greaterThanOrEqual</SimpleOperator><DateValue>2024-01-01T21:04:05</DateValue></RightOperand></Filter>",
        ),
        (
            vec![(4, Op::Le, vec![at.clone()])],
            None,
            "<SimpleOperator>lessThanOrEqual</SimpleOperator><DateValue>2024-01-01T21:04:06</DateValue></Filter>",
        ),
        (vec![(1, Op::Eq, vec![text("\u{1}")]), (3, Op::Eq, vec![text("x")])], None, "</Properties><Options>"),
    ] {
        // Rows are given as they are wanted.
        let server = service(|_, _| batch("OK", 0..0)).await;
        run_lazily(&server, scan(filters, limit)).await.unwrap();
        let sent = server.seen().last().unwrap().body.clone();
        assert!(sent.contains(want), "{want} is not in {sent}");
    }
    let server = service(|number, _| match number {
        0 => batch("Error: The Filter Property(s) ListName do not match with the fields of List retrieve", 0..0),
        _ => batch("OK", 0..0),
    })
    .await;
    let end = run_lazily(&server, scan(vec![(1, Op::Eq, vec![text("x")])], None)).await.unwrap();
    assert_eq!((server.seen().len(), end.notes.len()), (3, 1));
    assert!(!server.seen()[2].body.contains("<Filter"));
}

async fn run_lazily(server: &Server, mode: Mode) -> Result<ReadEnd, SyncError> {
    let channel = Channel::new(0, Box::new(|| {}));
    channel.want_more();
    let api = client(account(source(json!({})), &server.url));
    let request = ReadRequest { outputs: vec![output()], mode };
    MarketingCloud::read(&api, request, &Sink::new(channel)).await
}

#[tokio::test]
async fn an_account_offers_what_it_can_retrieve_beside_the_files_columns() {
    let server = service(|_, _| batch("OK", 0..0)).await;
    let api = client(account(source(json!({})), &server.url));
    let collection = collection();
    let described = MarketingCloud::describe(&api, &collection, None).await.unwrap().unwrap();
    let shown: Vec<(&str, &str, bool)> =
        described.columns.iter().map(|c| (c.name.as_str(), c.field.as_str(), c.filterable)).collect();
    let want = [
        ("id", "ID", true),
        ("name", "ListName", true),
        ("client_id", "/Client/ID", true),
        ("secret_note", "Note", false),
        ("modified_date", "ModifiedDate", true),
        ("color", "/Color", true),
    ];
    assert_eq!(shown, want);
    // With it in mind, nothing is described again.
    let known = Output { described: Some(Arc::new(described)), ..output() };
    run(&server, known, full()).await.unwrap();
    assert_eq!(server.seen().len(), 2);
}
