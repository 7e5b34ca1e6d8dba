use super::super::naming::{snake_case, ENGINE_COLUMNS};
use super::super::{Collection, Deletes, GrantType, Pages};
use super::*;
use serde_json::{json, Value};

const STRIPE: [&str; 27] = [
    "accounts",
    "application_fee_refunds",
    "application_fees",
    "balance_transaction_fee_details",
    "balance_transactions",
    "bank_accounts",
    "cards",
    "charges",
    "coupons",
    "customers",
    "discounts",
    "disputes",
    "invoice_items",
    "invoice_lines",
    "invoices",
    "order_shipping_methods",
    "payment_intents",
    "payment_methods",
    "plans",
    "products",
    "refunds",
    "skus",
    "subscription_items",
    "subscriptions",
    "tax_rates",
    "transfer_reversals",
    "transfers",
];

/// (collection, object of Salesforce).
const SALESFORCE: [(&str, &str); 48] = [
    ("accounts", "Account"),
    ("account_contact_roles", "AccountContactRole"),
    ("account_tags", "AccountTag"),
    ("campaigns", "Campaign"),
    ("campaign_members", "CampaignMember"),
    ("campaign_shares", "CampaignShare"),
    ("campaign_tags", "CampaignTag"),
    ("cases", "Case"),
    ("case_comments", "CaseComment"),
    ("case_contact_role", "CaseContactRole"),
    ("case_solution", "CaseSolution"),
    ("case_tags", "CaseTag"),
    ("contacts", "Contact"),
    ("contact_tags", "ContactTag"),
    ("contracts", "Contract"),
    ("contract_tags", "ContractTag"),
    ("dashboards", "Dashboard"),
    ("dashboard_tags", "DashboardTag"),
    ("documents", "Document"),
    ("document_tags", "DocumentTag"),
    ("events", "Event"),
    ("event_tags", "EventTag"),
    ("_group", "Group"),
    ("leads", "Lead"),
    ("lead_tags", "LeadTag"),
    ("names", "Name"),
    ("notes", "Note"),
    ("note_tags", "NoteTag"),
    ("opportunities", "Opportunity"),
    ("opportunity_competitor", "OpportunityCompetitor"),
    ("opportunity_contact_role", "OpportunityContactRole"),
    ("opportunity_field_history", "OpportunityFieldHistory"),
    ("opportunity_product", "OpportunityLineItem"),
    ("opportunity_line_item_schedules", "OpportunityLineItemSchedule"),
    ("opportunity_stage", "OpportunityStage"),
    ("opportunity_tag", "OpportunityTag"),
    ("period", "Period"),
    ("price_books", "Pricebook2"),
    ("price_book_entries", "PricebookEntry"),
    ("products", "Product2"),
    ("profile", "Profile"),
    ("solutions", "Solution"),
    ("solution_tags", "SolutionTag"),
    ("tasks", "Task"),
    ("task_tags", "TaskTag"),
    ("users", "User"),
    ("user_login", "UserLogin"),
    ("role", "UserRole"),
];

fn built_in(name: &str) -> Arc<Source> {
    source(name).unwrap_or_else(|| panic!("sources/{name}.json is missing or wrong"))
}

fn names_with(source: &Source, wanted: impl Fn(&Collection) -> bool) -> Vec<&str> {
    source.collections.iter().filter(|c| wanted(c)).map(|c| c.name.as_str()).collect()
}

#[test]
fn all_built_in_files_are_good() {
    for (name, text) in FILES {
        match parse(text) {
            Ok(source) => assert_eq!(&source.source, name, "a file is called as its source"),
            Err(error) => panic!("sources/{name}.json: {error}"),
        }
    }
    assert_eq!(sources().count(), FILES.len());
    let names: Vec<String> = sources().map(|source| source.source.clone()).collect();
    assert!(names.is_sorted(), "{names:?}");
}

#[test]
fn stripe_has_the_collections_of_segment() {
    let stripe = built_in("stripe");
    assert_eq!(names_with(&stripe, |_| true), STRIPE);
    assert_eq!(names_with(&stripe, |c| c.unsupported.is_some()), ["order_shipping_methods", "skus"]);
    let quiet = |c: &Collection| c.unsupported.is_none() && c.feed.is_none();
    let unfed = names_with(&stripe, quiet);
    assert_eq!(unfed, ["balance_transaction_fee_details", "balance_transactions"], "all others live on one feed");
    for collection in stripe.collections.iter().filter(|c| quiet(c)) {
        assert!(collection.lookback.is_some(), "{} has no other sign of change", collection.name);
    }
}

#[test]
fn stripe_tells_deletions_from_other_ends() {
    let stripe = built_in("stripe");
    let by_feed = [
        "bank_accounts",
        "cards",
        "coupons",
        "customers",
        "discounts",
        "invoice_items",
        "invoices",
        "plans",
        "products",
    ];
    assert_eq!(names_with(&stripe, |c| matches!(c.deletes, Deletes::Feed)), by_feed);
    let replaced = ["invoice_lines", "subscription_items"];
    assert_eq!(names_with(&stripe, |c| matches!(c.deletes, Deletes::WithParent { .. })), replaced);
    for (collection, change) in
        [("subscriptions", "customer.subscription.deleted"), ("payment_methods", "payment_method.detached")]
    {
        let feed = stripe.collection(collection).and_then(|c| c.feed.as_ref()).expect(collection);
        assert!(feed.types.iter().any(|name| name == change), "{change} is read");
        assert!(feed.deleted.is_empty(), "{change} deletes nothing");
    }
    for collection in stripe.collections.iter().filter(|c| matches!(c.deletes, Deletes::Feed)) {
        let deleted = collection.feed.iter().flat_map(|feed| &feed.deleted);
        assert!(deleted.clone().all(|name| name.ends_with(".deleted")), "{}", collection.name);
    }
}

#[test]
fn stripes_columns_are_named_as_in_segments_warehouse() {
    let stripe = built_in("stripe");
    for (collection, column, path) in [
        ("charges", "customer_id", "customer"),
        ("charges", "shipping_address_city", "shipping/address/city"),
        ("charges", "fraud_details_user_report", "fraud_details/user_report"),
        ("charges", "billing_details", "billing_details"),
        ("balance_transactions", "available", "available_on"),
        ("discounts", "coupon_id", "coupon/id"),
        ("invoice_items", "period_start", "period/start"),
        ("invoice_lines", "invoice_id", "invoice_id"),
        ("invoice_lines", "item_id", "invoice_item"),
        ("payment_intents", "transfer_data_destination", "transfer_data/destination"),
        ("payment_methods", "billing_details_email", "billing_details/email"),
        ("subscription_items", "plan_id", "plan/id"),
        ("subscriptions", "discount_id", "discount/id"),
        ("transfers", "destination_id", "destination"),
    ] {
        let found = stripe.collection(collection).and_then(|c| c.column(column));
        assert_eq!(found.map(|c| c.path().join("/")).as_deref(), Some(path), "{collection}.{column}");
    }
    for (collection, column) in [("charges", "shipping"), ("charges", "customer"), ("invoices", "lines")] {
        let found = stripe.collection(collection).and_then(|c| c.column(column));
        assert_eq!(found, None, "{collection}.{column} would store its value twice");
    }
}

#[test]
fn stripe_pages_by_the_last_id() {
    for collection in built_in("stripe").collections.iter() {
        match &collection.pages {
            None | Some(Pages::None) => {}
            Some(Pages::LastId { param, size, .. }) => assert_eq!((param.as_str(), *size), ("starting_after", 100)),
            Some(other) => panic!("{}: {other:?}", collection.name),
        }
    }
}

#[test]
fn salesforce_has_the_collections_of_segment() {
    let salesforce = built_in("salesforce");
    let found: Vec<(&str, &str)> =
        salesforce.collections.iter().map(|c| (c.name.as_str(), c.object.as_str())).collect();
    assert_eq!(found, SALESFORCE);
    assert_eq!(names_with(&salesforce, |c| c.unsupported.is_some()), ["names"]);
    let tags = |c: &Collection| c.object.ends_with("Tag");
    assert_eq!(names_with(&salesforce, tags).len(), 13);
    let described = names_with(&salesforce, |c| c.cursor.is_none() && c.unsupported.is_none());
    assert_eq!(described, names_with(&salesforce, tags), "only of tags is the cursor unknown beforehand");
    for (collection, cursor) in [
        ("accounts", "SystemModstamp"),
        ("campaign_shares", "LastModifiedDate"),
        ("user_login", "LastModifiedDate"),
        ("opportunity_field_history", "CreatedDate"),
    ] {
        let found = salesforce.collection(collection).and_then(|c| c.cursor.as_ref()).expect(collection);
        assert_eq!((found.field.as_str(), found.overlap_seconds), (cursor, 600), "{collection}");
    }
    let lasting = ["_group", "opportunity_stage", "period", "profile", "users", "user_login", "role"];
    let unmarked = |c: &Collection| matches!(c.deletes, Deletes::None) && !tags(c) && c.unsupported.is_none();
    assert_eq!(names_with(&salesforce, unmarked), lasting);
}

#[test]
fn salesforces_columns_are_its_fields_in_snake_case() {
    let salesforce = built_in("salesforce");
    for collection in &salesforce.collections {
        assert_eq!(collection.primary_key, ["id"], "{}", collection.name);
        for column in &collection.columns {
            assert_eq!(column.name, snake_case(column.field.as_deref().unwrap_or_default()), "{}", collection.name);
            assert_ne!(column.type_name, "jsonb", "{}.{} repeats its parts", collection.name, column.name);
        }
    }
    assert_eq!(salesforce.collection("documents").and_then(|c| c.column("body")), None);
}

#[test]
fn salesforce_prefers_the_grant_that_says_most() {
    let super::super::Auth::Oauth2 { grants, .. } = &built_in("salesforce").auth else { panic!("oauth2") };
    for (set, want) in [
        (vec!["client_id", "client_secret", "refresh_token"], Some(GrantType::RefreshToken)),
        (vec!["client_id", "private_key", "username"], Some(GrantType::JwtBearer)),
        (vec!["client_id", "client_secret", "private_key", "username"], Some(GrantType::JwtBearer)),
        (vec!["client_id", "client_secret"], Some(GrantType::ClientCredentials)),
        (vec!["client_id"], None),
    ] {
        let chosen = grants.iter().find(|grant| grant.needs.iter().all(|name| set.contains(&name.as_str())));
        assert_eq!(chosen.map(|grant| grant.grant_type), want, "{set:?}");
    }
}

#[test]
fn no_column_takes_a_name_of_the_engine() {
    for source in sources() {
        for collection in &source.collections {
            for name in ENGINE_COLUMNS {
                assert_eq!(collection.column(name), None, "{}.{}", source.source, collection.name);
            }
        }
    }
}

#[test]
fn unset_settings_take_their_defaults() {
    let production = "https://login.salesforce.com";
    for (name, source, options, setting, want) in [
        ("a plain default", "salesforce", vec![], "environment", Some("production")),
        ("the login host follows from it", "salesforce", vec![], "login_url", Some(production)),
        (
            "a sandbox has another",
            "salesforce",
            vec![("environment", "sandbox")],
            "login_url",
            Some("https://test.salesforce.com"),
        ),
        ("unless it is set", "salesforce", vec![("login_url", "https://x.test")], "login_url", Some("https://x.test")),
        ("a value nobody knows decides nothing", "salesforce", vec![("environment", "moon")], "login_url", None),
        ("the version is a setting", "salesforce", vec![], "api_version", Some("v62.0")),
        ("of every source that has one", "stripe", vec![], "api_version", Some("2024-06-20")),
        ("and can be set", "stripe", vec![("api_version", "2020-08-27")], "api_version", Some("2020-08-27")),
        ("no default, no value", "stripe", vec![], "account_id", None),
        ("other options pass through", "stripe", vec![("schema", "s")], "schema", Some("s")),
    ] {
        let options = options.into_iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let settings = settings_of(&built_in(source), &options);
        assert_eq!(settings.get(setting).map(String::as_str), want, "{name}");
    }
}

/// A small source without a mistake.
fn desk() -> Value {
    json!({
        "source": "desk", "title": "Desk", "docs": "https://desk.example/docs", "base_url": "https://{site}.desk.example",
        "auth": { "style": "bearer", "secret": "key", "credentials": [{ "name": "key", "help": "Your key." }] },
        "settings": [
            { "name": "site", "help": "Your site.", "required": true },
            { "name": "region", "help": "Where.", "default": "eu", "values": ["eu", "us"] },
            { "name": "host", "help": "Which.", "default_by": { "setting": "region", "values": { "eu": "a", "us": "b" } } }
        ],
        "errors": [{ "code": "/code", "codes": ["gone"], "means": "not_found" }],
        "collections": [
            { "name": "tickets", "path": "/tickets", "records": "/tickets", "primary_key": ["id"],
              "pages": { "style": "next_url", "pointer": "/next" }, "by_key": "/tickets/{id}", "gone": "/gone",
              "cursor": { "field": "updated_at", "param": "since" },
              "deletes": { "style": "flag", "field": "/status", "equals": "deleted" },
              "filters": { "id": { "=": "id" } },
              "columns": [
                { "name": "id", "type": "bigint" },
                { "name": "status", "type": "text" },
                { "name": "city", "type": "text", "field": "/address/city" },
                { "name": "updated_at", "type": "timestamptz", "format": "unix" } ] },
            { "name": "comments", "primary_key": ["ticket_id", "position"], "deletes": { "style": "with_parent" },
              "parent": { "collections": ["tickets"], "explode": "/comments", "key_column": "ticket_id",
                          "add": { "ticket_id": "/id", "position": "#index" } },
              "columns": [
                { "name": "ticket_id", "type": "bigint" },
                { "name": "position", "type": "integer" },
                { "name": "body", "type": "text" } ] },
            { "name": "macros", "unsupported": "Ended.", "primary_key": ["id"],
              "columns": [{ "name": "id", "type": "bigint" }] }
        ]
    })
}

#[test]
fn a_small_source_is_taken() {
    let source = parse(&desk().to_string()).expect("no mistake");
    assert_eq!(source.collections.len(), 3);
}

/// A rate with a group for each path.
fn groups(paths: &[&str]) -> Value {
    let group = |(index, path): (usize, &&str)| json!({ "name": format!("g{index}"), "match": path, "connections": 1 });
    json!({ "groups": paths.iter().enumerate().map(group).collect::<Vec<_>>() })
}

/// Where the app names the next page itself, or keeps one walk, other fields of a page cannot be asked for.
#[test]
fn fields_in_parts_need_pages_that_can_be_asked_again() {
    for (pages, is_taken) in [
        (json!({ "style": "next_url", "pointer": "/next" }), false),
        (json!({ "style": "link_header" }), false),
        (json!({ "style": "header_token", "header": "X-Next", "param": "next" }), false),
        (json!({ "style": "scroll", "pointer": "/scroll", "param": "scroll" }), false),
        (json!({ "style": "time_export", "pointer": "/next", "time": "/end_time", "size": 100 }), false),
        (json!({ "style": "token", "pointer": "/next", "param": "after" }), true),
        (json!({ "style": "offset", "param": "offset", "size_param": "count", "size": 100 }), true),
    ] {
        let mut file = desk();
        let tickets = &mut file["collections"][0];
        tickets["params"] = json!({ "fields": "{fields}" });
        tickets["pages"] = pages.clone();
        tickets["select"] = json!({ "always_include": ["updated_at"], "limit": 100 });
        let problems = read(&file.to_string()).err().unwrap_or_default();
        let shown = format!("{problems:?}");
        assert_eq!(problems.is_empty(), is_taken, "{pages}: {shown}");
        assert_eq!(shown.contains("cannot be asked for other fields"), !is_taken, "{pages}: {shown}");
    }
}

/// A lookup with one member changed, and where in it the mistake is.
fn lookup(
    place: &str,
    value: Value,
    wrong: &'static str,
    message: &'static str,
) -> (&'static str, Value, &'static str, &'static str) {
    let call = json!({ "path": "/more", "params": { "ids": "{keys}" } });
    let good = json!({ "name": "more", "into": "/more", "call": call, "size": 5, "records": "/data", "key": "/id" });
    let mut lookups = json!([good]);
    set(&mut lookups, &format!("/0{place}"), value);
    ("/collections/0/lookups", lookups, Box::leak(format!("/collections/0/lookups/0{wrong}").into_boxed_str()), message)
}

#[test]
fn a_mistake_is_told_with_its_place() {
    // (what is done to the good file: pointer and new value, null to remove; where the mistake is; part of what it is)
    let cases: Vec<(&str, Value, &str, &str)> = vec![
        ("/titel", json!("Desk"), "/titel", "unknown field"),
        ("/title", Value::Null, "", "missing field `title`"),
        ("/source", json!("My Desk"), "/source", "is no name"),
        ("/base_url", json!("https://{sight}.example"), "/base_url", "{sight}"),
        ("/base_url", json!("{instance_url}"), "/base_url", "{instance_url}"),
        ("/headers", json!({ "X-A~B": "{nothing}" }), "/headers/X-A~0B", "{nothing}"),
        ("/headers", json!({ "X-A/B": "b" }), "/headers/X-A~1B", "no name of a header"),
        ("/base_url", json!("https://me@desk.example"), "/base_url", "user name"),
        ("/collections/0/base_url", json!("https://me@soap.example"), "/collections/0/base_url", "user name"),
        ("/auth/secret", json!("other"), "/auth/secret", "no credential \"other\""),
        ("/auth/credentials/0/name", json!("Key"), "/auth/credentials/0/name", "is no name"),
        ("/auth/style", json!("magic"), "/auth/style", "unknown variant `magic`"),
        ("/settings/2/name", json!("api_token"), "/settings/2/name", "secrets are credentials"),
        ("/settings/2/name", json!("schema"), "/settings/2/name", "every server has"),
        ("/settings/1/name", json!("site"), "/settings/1/name", "there twice"),
        ("/settings/1/default", json!("mars"), "/settings/1/default", "allowed values"),
        ("/settings/1/required", json!(true), "/settings/1/required", "never missing"),
        ("/settings/2/default_by/setting", json!("planet"), "/settings/2/default_by/setting", "no other setting"),
        ("/settings/2/default_by/values/moon", json!("c"), "/settings/2/default_by/values/moon", "never \"moon\""),
        ("/rate", json!({ "calls": 10 }), "/rate", "belong together"),
        ("/rate", json!({ "calls": 10, "per_seconds": 0 }), "/rate", "lets no call through"),
        ("/rate", json!({ "groups": [{ "name": "a", "match": "/a" }] }), "/rate/groups/0", "limits nothing"),
        ("/rate", groups(&["search"]), "/rate/groups/0/match", "begins with /"),
        ("/rate", groups(&["/search", "/search/more"]), "/rate/groups/1/match", "never chosen"),
        ("/rate", groups(&["/{type}/search", "/contacts/search"]), "/rate/groups/1/match", "never chosen"),
        ("/rate", json!({ "reset_format": "minutes" }), "/rate/reset_format", "unknown variant `minutes`"),
        ("/errors/0/code", Value::Null, "/errors/0", "would match every failure"),
        ("/missing_scope", json!(["scope"]), "/missing_scope/0", ""),
        ("/missing_scope", json!([{ "pointer": "/m", "prefix": "" }]), "/missing_scope/0/prefix", "every word"),
        ("/collections/0/check", json!({ "path": "/tickets/{nothing}" }), "/collections/0/check/path", "{nothing}"),
        ("/errors/0/means", json!("panic"), "/errors/0/means", "unknown variant `panic`"),
        ("/collections", json!([]), "/collections", "at least one collection"),
        ("/collections/1/name", json!("tickets"), "/collections/1/name", "there twice"),
        ("/collections/0/columns/1/type", json!("varchar"), "/collections/0/columns/1/type", "unknown type"),
        ("/collections/0/columns/1/typ", json!("text"), "/collections/0/columns/1/typ", "unknown field"),
        ("/collections/0/columns/1/name", json!("extra"), "/collections/0/columns/1/name", "already"),
        ("/collections/0/columns/1/name", json!("id"), "/collections/0/columns/1/name", "there twice"),
        ("/collections/0/columns/1/format", json!("unix"), "/collections/0/columns/1/format", "only times"),
        ("/collections/0/columns/1/field", json!("id"), "/collections/0/columns/1/field", "stores this value"),
        ("/collections/0/columns/1/field", json!("/address"), "/collections/0/columns/2/field", "stores this value"),
        ("/collections/0/columns/1/field", json!("a/b"), "/collections/0/columns/1/field", "neither a key"),
        ("/collections/0/primary_key/0", json!("key"), "/collections/0/primary_key/0", "no column \"key\""),
        ("/collections/0/primary_key", json!([]), "/collections/0/primary_key", "needs a key"),
        ("/collections/0/columns/0/type", json!("jsonb"), "/collections/0/primary_key/0", "cannot be a key"),
        ("/collections/0/path", Value::Null, "/collections/0", "either path or parent"),
        ("/collections/0/path", json!("/{who}"), "/collections/0/path", "{who}"),
        ("/collections/0/pages", Value::Null, "/collections/0", "pages is needed"),
        ("/collections/0/pages/pointer", json!("next"), "/collections/0/pages/pointer", "begins with /"),
        ("/collections/0/pages/size", json!(0), "/collections/0/pages/size", "at least one record"),
        ("/collections/0/cursor/field", json!("changed"), "/collections/0/cursor/field", "no column"),
        ("/collections/0/by_key", json!("/tickets/{number}"), "/collections/0/by_key", "{number}"),
        ("/collections/0/by_key", Value::Null, "/collections/0/gone", "by_key"),
        ("/collections/0/filters/who", json!({ "=": "who" }), "/collections/0/filters/who", "no column \"who\""),
        ("/collections/0/filters/id/~1", json!("id"), "/collections/0/filters/id/~1", "unknown operator"),
        ("/collections/0/ignore", json!(["status"]), "/collections/0/ignore/0", "is a column"),
        ("/collections/0/kind", json!("event"), "/collections/0/deletes", "only added"),
        ("/collections/0/deletes", json!({ "style": "feed" }), "/collections/0/deletes", "feed.deleted"),
        ("/collections/0/feed", json!({ "types": ["a"] }), "/collections/0/feed", "no feed"),
        ("/collections/1/parent/collections/0", json!("users"), "/collections/1/parent/collections/0", "no collection"),
        (
            "/collections/1/parent/collections/0",
            json!("macros"),
            "/collections/1/parent/collections/0",
            "not supported",
        ),
        ("/collections/1/parent/collections/0", json!("comments"), "/collections/1/parent/collections/0", "one level"),
        ("/collections/1/parent/explode", Value::Null, "/collections/1/parent", "either explode or path"),
        ("/collections/1/parent/add/author", json!("/author"), "/collections/1/parent/add/author", "no column"),
        ("/collections/1/parent/key_column", Value::Null, "/collections/1/deletes", "parent.key_column"),
        ("/collections/2/unsupported", json!(" "), "/collections/2/unsupported", "the reason"),
        lookup("/into", json!(""), "/into", "place of the record"),
        lookup("/size", json!(0), "/size", "asks about nobody"),
        lookup("/call/path", json!("/more?ids={ids}"), "/call/path", "{ids}"),
        lookup("/call/params", json!({}), "/call", "{keys}"),
        lookup("/next", json!("/next"), "/next", "{after}"),
        lookup("/name", json!("More"), "/name", "is no name"),
    ];
    for (place, value, pointer, message) in cases {
        let mut file = desk();
        set(&mut file, place, value.clone());
        let error = parse(&file.to_string()).err().unwrap_or_else(|| panic!("{place} = {value} was taken"));
        assert_eq!(error.pointer, pointer, "{place} = {value}: {error}");
        assert!(error.message.contains(message), "{place} = {value}: {error}");
    }
}

#[test]
fn a_grant_that_is_never_chosen_is_a_mistake() {
    let mut file = desk();
    let auth = json!({
        "style": "oauth2", "token_url": "https://desk.example/token", "lifetime_seconds": 60,
        "credentials": [{ "name": "id", "help": "" }, { "name": "secret", "help": "" }, { "name": "refresh", "help": "" }],
        "grants": [
            { "grant_type": "client_credentials", "needs": ["id", "secret"] },
            { "grant_type": "refresh_token", "needs": ["id", "secret", "refresh"] }
        ]
    });
    set(&mut file, "/auth", auth);
    let error = parse(&file.to_string()).expect_err("the first grant needs less");
    assert_eq!(error.pointer, "/auth/grants/1");
    set(&mut file, "/auth/grants/0", json!({ "grant_type": "jwt_bearer", "needs": ["id", "key"] }));
    let error = parse(&file.to_string()).expect_err("no such credential");
    assert_eq!(error.pointer, "/auth/grants/0/needs/1");
}

#[test]
fn text_that_is_not_json_is_told_by_line() {
    for (text, message) in [("{", "line 1"), ("", "line 1"), ("[]", "invalid"), ("nul", "line 1")] {
        let error = parse(text).expect_err(text);
        assert!(error.message.contains(message), "{text}: {error}");
    }
    let twice = format!("{0} {0}", desk());
    assert!(parse(&twice).expect_err("two files in one").message.contains("trailing characters"));
}

/// Sets the value at a pointer whose last part may be new; `Null` removes it.
fn set(file: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let key = key.replace("~1", "/").replace("~0", "~");
    match file.pointer_mut(parent).expect(parent) {
        Value::Object(object) if value.is_null() => drop(object.shift_remove(&key)),
        Value::Object(object) => drop(object.insert(key, value)),
        Value::Array(array) => array[key.parse::<usize>().expect("an index")] = value,
        other => panic!("{other} holds nothing"),
    }
}
