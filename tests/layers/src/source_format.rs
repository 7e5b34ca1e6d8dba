//! Tests that the three descriptions of a source file agree: the types, the JSON Schema, and the page with its examples.

use crate::manifest::*;
use jsonschema::Validator;
use serde::de::DeserializeOwned;
use serde_json::{json, Value};
use std::path::PathBuf;

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn schema() -> Value {
    serde_json::from_str(&read("docs/source-file.schema.json")).unwrap()
}

/// The schema of the whole file (`""`), or of one of its definitions.
fn validator(definition: &str) -> Validator {
    let mut schema = schema();
    if !definition.is_empty() {
        assert!(schema["$defs"].get(definition).is_some(), "there is no definition {definition}");
        schema = json!({"$ref": format!("#/$defs/{definition}"), "$defs": schema["$defs"]});
    }
    jsonschema::draft202012::new(&schema).unwrap()
}

fn refusals(validator: &Validator, value: &Value) -> Vec<(String, String)> {
    validator.iter_errors(value).map(|e| (e.instance_path.to_string(), e.to_string())).collect()
}

#[test]
fn every_source_file_is_as_the_schema_says() {
    let (validator, mut count) = (validator(""), 0);
    for entry in std::fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../sources")).unwrap() {
        let path = entry.unwrap().path();
        let file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(refusals(&validator, &file), [], "{}", path.display());
        count += 1;
    }
    assert!(count >= 2);
}

/// One value of an example, as the type that reads it.
fn is_read(what: &str, value: Value) -> Result<(), String> {
    fn as_type<T: DeserializeOwned>(value: Value) -> Result<(), String> {
        serde_json::from_value::<T>(value).map(|_| ()).map_err(|e| e.to_string())
    }
    match what {
        "auth" => as_type::<Auth>(value),
        "setting" => as_type::<Setting>(value),
        "error_rule" => as_type::<ErrorRule>(value),
        "collection" => as_type::<Collection>(value),
        "records" => as_type::<Records>(value),
        "pages" => as_type::<Pages>(value),
        "cursor" => as_type::<Cursor>(value),
        "ceiling" => as_type::<Ceiling>(value),
        "deletes" => as_type::<Deletes>(value),
        "parent" => as_type::<Parent>(value),
        "feed" => as_type::<CollectionFeed>(value),
        "lookback" => as_type::<Lookback>(value),
        "lookup" => as_type::<Lookup>(value),
        "discover" => as_type::<Discover>(value),
        "job" => as_type::<Job>(value),
        "webhook" => as_type::<Webhook>(value),
        "column" => as_type::<Column>(value),
        other => panic!("no type for examples of {other}"),
    }
}

/// A file with one collection, into which members of an example are put.
fn file_with(source: &Value, collection: &Value) -> Value {
    let mut file = json!({
        "source": "desk", "title": "Desk", "docs": "https://desk.example/docs", "base_url": "https://desk.example",
        "auth": {"style": "bearer", "secret": "key", "credentials": [{"name": "key", "help": "Yours."}]},
        "collections": [{"name": "things", "path": "/", "pages": {"style": "none"}, "primary_key": ["id"],
            "columns": [{"name": "id", "type": "bigint"}]}],
    });
    for (name, value) in source.as_object().into_iter().flatten() {
        file[name] = value.clone();
    }
    for (name, value) in collection.as_object().into_iter().flatten() {
        file["collections"][0][name] = value.clone();
    }
    file
}

/// The XML before an example is what it is an example of.
fn is_what_the_page_becomes(before: &str, want: Value) {
    let text = before.rsplit_once("```xml\n").and_then(|(_, text)| text.split_once("```")).unwrap().0;
    let order = ["shop".to_string(), "order".to_string()];
    assert_eq!(crate::http::xml::to_json(text.as_bytes(), &[order.to_vec()]), Ok(want));
}

#[test]
fn every_example_of_the_page_is_taken() {
    let page = read("docs/source-files.md");
    let mut kinds: Vec<String> = Vec::new();
    let mut rest = page.as_str();
    let whole = validator("");
    while let Some((before, after)) = rest.split_once("```json\n") {
        let (example, tail) = after.split_once("```").unwrap();
        rest = tail;
        let what = before.trim_end().rsplit_once("<!-- example: ").and_then(|(_, c)| c.strip_suffix(" -->"));
        let what = what.unwrap_or_else(|| panic!("an example does not say of what: {example}"));
        kinds.push(what.to_string());
        let members =
            || serde_json::from_str::<Value>(&format!("{{{example}}}")).unwrap_or_else(|e| panic!("{e}: {example}"));
        if what == "xml" {
            is_what_the_page_becomes(before, serde_json::from_str(example).unwrap());
            continue;
        }
        let file = match what {
            "file" => Some(serde_json::from_str(example).unwrap()),
            "source members" => Some(file_with(&members(), &json!({}))),
            "collection members" => Some(file_with(&json!({}), &members())),
            _ => None,
        };
        if let Some(file) = file {
            assert_eq!(refusals(&whole, &file), [], "{example}");
            serde_json::from_value::<Source>(file.clone()).unwrap_or_else(|e| panic!("{e}: {example}"));
            if what == "file" {
                Source::from_json(&file.to_string()).unwrap_or_else(|problems| panic!("{problems:?}"));
            }
            continue;
        }
        let validator = validator(what);
        for value in serde_json::Deserializer::from_str(example).into_iter::<Value>() {
            let value = value.unwrap_or_else(|e| panic!("{e}: {example}"));
            assert_eq!(refusals(&validator, &value), [], "{value}");
            is_read(what, value.clone()).unwrap_or_else(|e| panic!("{e}: {value}"));
        }
    }
    kinds.dedup();
    assert!(kinds.len() > 20, "{kinds:?}");
}

/// The page shows every style that there is.
#[test]
fn every_style_has_an_example() {
    let (page, schema) = (read("docs/source-files.md"), schema());
    for definition in ["auth", "pages", "deletes", "shape"] {
        for variant in schema["$defs"][definition]["oneOf"].as_array().unwrap() {
            let style = variant["properties"]["style"]["const"].as_str().unwrap();
            assert!(page.contains(&format!("\"style\": \"{style}\"")), "no example of {definition} {style}");
        }
    }
    for definition in
        ["cursor", "records", "error_rule", "wait", "parent", "select", "column", "job", "lookup", "token_request"]
    {
        let properties = schema.pointer(&format!("/$defs/{definition}/properties"));
        let properties =
            properties.or_else(|| schema.pointer(&format!("/$defs/{definition}/oneOf/1/properties"))).unwrap();
        for name in properties.as_object().unwrap().keys().filter(|name| *name != "delete") {
            assert!(page.contains(&format!("\"{name}\":")), "no example of {definition} with {name}");
        }
    }
}

/// What is wrong in form is refused by the types and by the schema, at the same place or around it.
#[test]
fn what_is_wrong_in_form_is_refused_by_both() {
    let collection = |members: Value| file_with(&json!({}), &members);
    let source = |members: Value| file_with(&members, &json!({}));
    let listing = json!({"path": "/x", "rows": "/data"});
    let cases: Vec<(Value, &str)> = vec![
        (source(json!({"titel": "x"})), "/titel"),
        (source(json!({"protocol": "soap"})), "/protocol"),
        (source(json!({"auth": {"style": "magic"}})), "/auth/style"),
        (source(json!({"auth": {"style": "bearer", "credentials": []}})), "/auth"),
        (source(json!({"values": {"dc": "x"}})), "/values/dc"),
        (source(json!({"errors": [{"status": [400], "means": "panic"}]})), "/errors/0/means"),
        (source(json!({"errors": [{"means": "retry"}]})), "/errors/0"),
        (
            source(json!({"errors": [{"status": [429], "means": "retry", "wait": {"unit": "days"}}]})),
            "/errors/0/wait/unit",
        ),
        (source(json!({"errors": [{"status": [429], "means": "retry", "wait": {}}]})), "/errors/0/wait"),
        (source(json!({"collections": []})), "/collections"),
        (source(json!({"helpers": [{"name": "x", "path": "/x", "color": 1}]})), "/helpers/0/color"),
        (collection(json!({"method": "FETCH"})), "/collections/0/method"),
        (collection(json!({"params": {"a": {"b": 1}}})), "/collections/0/params/a"),
        (collection(json!({"params": {"a": [{"b": 1}]}})), "/collections/0/params/a"),
        (collection(json!({"records": 1})), "/collections/0/records"),
        (collection(json!({"records": {"pointer": "/a", "each": true}})), "/collections/0/records"),
        (collection(json!({"records": "data"})), "/collections/0/records"),
        (collection(json!({"pages": {"style": "guess"}})), "/collections/0/pages/style"),
        (collection(json!({"pages": {"style": "token", "pointer": "/next"}})), "/collections/0/pages"),
        (
            collection(json!({"pages": {"style": "offset", "param": "o", "size_param": "n", "size": 0}})),
            "/collections/0/pages/size",
        ),
        (collection(json!({"cursor": {"field": "id", "granularity": "week"}})), "/collections/0/cursor/granularity"),
        (
            collection(json!({"cursor": {"field": "id", "param": "x", "step_seconds": 0}})),
            "/collections/0/cursor/step_seconds",
        ),
        (collection(json!({"ceiling": {"records": 10, "restart": "never"}})), "/collections/0/ceiling/restart"),
        (collection(json!({"incremental": listing})), "/collections/0/incremental/rows"),
        (collection(json!({"deletes": {"style": "rule", "any": []}})), "/collections/0/deletes/any"),
        (collection(json!({"deletes": {"style": "rule", "any": [{"field": "a"}]}})), "/collections/0/deletes/any/0"),
        (collection(json!({"deletes": {"style": "listing", "list": listing}})), "/collections/0/deletes"),
        (collection(json!({"reader": "my_own"})), "/collections/0/reader"),
        (collection(json!({"columns": [{"name": "id", "type": "int"}]})), "/collections/0/columns/0/type"),
        (
            collection(json!({"columns": [{"name": "id", "type": "text", "shape": {"style": "round"}}]})),
            "/collections/0/columns/0/shape/style",
        ),
        (
            collection(json!({"columns": [{"name": "id", "type": "text", "value": "a", "field": "b"}]})),
            "/collections/0/columns/0",
        ),
        (
            collection(
                json!({"discover": {"list": {"path": "/x"}, "name": "/n", "type": "/t", "types": {}, "field": "/x"}}),
            ),
            "/collections/0/discover/field",
        ),
        (collection(json!({"select": {"limit": 0}})), "/collections/0/select/limit"),
        (collection(json!({"job": {"create": {"path": "/x"}}})), "/collections/0/job"),
    ];
    let validator = validator("");
    for (file, pointer) in cases {
        let problems = Source::from_json(&file.to_string()).err().unwrap_or_else(|| panic!("taken: {file}"));
        let told: Vec<&str> = problems.iter().map(|p| p.pointer.as_str()).collect();
        assert!(told.contains(&pointer), "{pointer}: {problems:?}");
        let refusals = refusals(&validator, &file);
        let near = |place: &str| pointer.starts_with(place) || place.starts_with(pointer);
        assert!(refusals.iter().any(|(place, _)| near(place)), "{pointer}: the schema says {refusals:?}");
    }
}

/// A feed's cursor may be of every kind that says where changes go on, and of no other.
#[test]
fn a_feed_goes_on_by_any_cursor_that_says_where() {
    let followed = |newest_first: bool, member: (&str, Value)| {
        let mut cursor = json!({"field": "/created", "param": "since", "upper_param": "until", "format": "unix"});
        cursor[member.0] = member.1;
        let feed = json!({"path": "/events", "records": "/data", "pages": {"style": "none"}, "cursor": cursor,
            "event_type": "/type", "object": "/object", "retention_days": 30, "newest_first": newest_first});
        file_with(&json!({"feed": feed}), &json!({"feed": {"types": ["thing.changed"]}, "by_key": "/things/{id}"}))
    };
    let windows = json!({"field": "/created", "param": "since", "upper_param": "until", "format": "unix",
        "step_seconds": 86_400, "oldest_days": 30});
    let mut in_windows = followed(false, ("field", json!("/created")));
    in_windows["feed"]["cursor"] = windows.clone();
    let (validator, mut turned) = (validator(""), followed(true, ("field", json!("/created"))));
    turned["feed"]["cursor"] = windows;
    for (file, wrong) in [
        (followed(true, ("overlap_seconds", json!(60))), None),
        (followed(false, ("opaque", json!({"pointer": "/next", "param": "after"}))), None),
        (followed(true, ("opaque", json!({"pointer": "/next", "param": "after"}))), Some("/feed/cursor/opaque")),
        (followed(true, ("client_side", json!(true))), None),
        (followed(false, ("behind_seconds", json!(60))), None),
        (in_windows, None),
        (turned, Some("/feed/cursor/step_seconds")),
        (followed(false, ("per_parent", json!(true))), Some("/feed/cursor/per_parent")),
    ] {
        assert_eq!(refusals(&validator, &file), [], "{file}");
        let told = Source::from_json(&file.to_string()).err().unwrap_or_default();
        let told: Vec<&str> = told.iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(told, Vec::from_iter(wrong), "{file}");
    }
}

/// The members that a type takes, as its refusal of another one lists them.
fn members_of<T: DeserializeOwned>() -> Vec<String> {
    let error = serde_json::from_str::<T>(r#"{"?": 0}"#).err().map(|e| e.to_string()).unwrap_or_default();
    let (_, expected) = error.split_once("expected").unwrap_or_default();
    let mut names: Vec<String> = expected.split('`').skip(1).step_by(2).map(str::to_string).collect();
    names.sort();
    names
}

#[test]
fn the_schema_knows_the_members_that_the_types_know() {
    let schema = schema();
    for (place, members) in [
        ("", members_of::<Source>()),
        ("/$defs/credential", members_of::<Credential>()),
        ("/$defs/setting", members_of::<Setting>()),
        ("/$defs/setting/properties/default_by", members_of::<DefaultBy>()),
        ("/$defs/grant", members_of::<Grant>()),
        ("/$defs/rate", members_of::<Rate>()),
        ("/$defs/rate_group", members_of::<RateGroup>()),
        ("/$defs/error_rule", members_of::<ErrorRule>()),
        ("/$defs/source_feed", members_of::<Feed>()),
        ("/$defs/cursor", members_of::<Cursor>()),
        ("/$defs/lookback", members_of::<Lookback>()),
        ("/$defs/embedded_list", members_of::<EmbeddedList>()),
        ("/$defs/parent", members_of::<Parent>()),
        ("/$defs/feed", members_of::<CollectionFeed>()),
        ("/$defs/column", members_of::<Column>()),
        ("/$defs/collection", members_of::<Collection>()),
        ("/$defs/helper", members_of::<Collection>()),
        ("/$defs/call", members_of::<Call>()),
        ("/$defs/listing", members_of::<Listing>()),
        ("/$defs/lookup", members_of::<Lookup>()),
        ("/$defs/lookup/properties/none", members_of::<NoneOf>()),
        ("/$defs/token_request", members_of::<TokenRequest>()),
        ("/$defs/wait", members_of::<Wait>()),
        ("/$defs/first_token", members_of::<FirstToken>()),
        ("/$defs/ceiling", members_of::<Ceiling>()),
        ("/$defs/cursor/properties/opaque", members_of::<Opaque>()),
        ("/$defs/field_is", members_of::<FieldIs>()),
        ("/$defs/batch", members_of::<BatchOfParents>()),
        ("/$defs/select", members_of::<Select>()),
        ("/$defs/discover", members_of::<Discover>()),
        ("/$defs/job", members_of::<Job>()),
        ("/$defs/states", members_of::<States>()),
        ("/$defs/download", members_of::<Download>()),
        ("/$defs/webhook", members_of::<Webhook>()),
    ] {
        let properties = schema.pointer(&format!("{place}/properties")).and_then(Value::as_object);
        let mut known: Vec<String> = properties.into_iter().flat_map(|p| p.keys().cloned()).collect();
        known.sort();
        assert!(!known.is_empty(), "{place}");
        assert_eq!(known, members, "{place}");
    }
}
