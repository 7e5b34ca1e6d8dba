//! Decides whether a source file makes sense: every name it uses exists, and nothing in it contradicts the rest.
//!
//! What the types cannot refuse is refused here, before any call is made, with the place in the file.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::load::Problem;
use super::{template, Auth, Derived, ErrorRule, Feed, Grant, GrantType, Listing, ScopeAt, Setting, Source};
use std::collections::HashSet;

#[path = "check_address.rs"]
mod address;
#[path = "check_children.rs"]
mod children;
#[path = "check_collection.rs"]
mod collection;
#[path = "check_rate.rs"]
mod rate;
#[path = "check_request.rs"]
mod request;

/// Parts of names that only secrets have; a server option is readable by everyone, a user mapping is not.
const SECRET_WORDS: [&str; 5] = ["secret", "password", "token", "private_key", "api_key"];
/// Server options that every source has; a setting of one of these names would be ambiguous.
const COMMON_OPTIONS: [&str; 19] = [
    "source",
    "schema",
    "live_schema",
    "base_url",
    "api_version",
    "ca_certificate",
    "connect_timeout_ms",
    "read_timeout_ms",
    "request_timeout_ms",
    "max_tries",
    "patience_seconds",
    "max_body_bytes",
    "max_pages",
    "max_concurrency",
    "requests_per_second",
    "quota_reserve_percent",
    "overlap_seconds",
    "schema_changes",
    "mass_delete_percent",
];

/// All mistakes of a source file, in the file's order.
pub fn mistakes(source: &Source) -> Vec<Problem> {
    let mut found = Mistakes::default();
    found.name("/source", &source.source);
    for (place, text) in [("/title", &source.title), ("/docs", &source.docs)] {
        found.when(text.trim().is_empty(), place, "may not be empty");
    }
    let settings = setting_names(source);
    let mut in_address = settings.clone();
    if names_the_address(&source.auth) {
        in_address.insert("instance_url");
    }
    found.template("/base_url", &source.base_url, &in_address);
    address::check("/base_url", &source.base_url, true, &mut found);
    let credentials: HashSet<&str> = source.auth.credentials().iter().map(|c| c.name.as_str()).collect();
    let both: HashSet<&str> = credentials.union(&settings).copied().collect();
    auth(source, &settings, &mut found);
    self::settings(source, &mut found);
    values(source, &both, &mut found);
    let mut proof = both.clone();
    if source.auth.may_use_tokens() {
        proof.insert("access_token");
    }
    for (header, value) in &source.headers {
        let place = format!("/headers/{}", escaped(header));
        address::header(&place, header, &mut found);
        found.template(&place, value, &both);
    }
    for (param, value) in &source.params {
        found.template(&format!("/params/{}", escaped(param)), value, &proof);
    }
    if let Some(rate) = &source.rate {
        rate::check(rate, &source.settings, &mut found);
    }
    for (index, rule) in source.errors.iter().enumerate() {
        error_rule(rule, &format!("/errors/{index}"), &mut found);
    }
    for (index, pointer) in source.error_message.iter().enumerate() {
        found.pointer(&format!("/error_message/{index}"), pointer);
    }
    for (index, place) in source.missing_scope.iter().enumerate() {
        let at = format!("/missing_scope/{index}");
        match place {
            ScopeAt::Pointer(pointer) => found.pointer(&at, pointer),
            ScopeAt::Words(words) => {
                found.pointer(&format!("{at}/pointer"), &words.pointer);
                found.when(words.prefix.is_empty(), &format!("{at}/prefix"), "would take every word");
            }
        }
    }
    if let Some(path) = &source.check_path {
        found.template("/check_path", path, &settings);
        found.when(source.check.is_some(), "/check", "give either check or check_path");
    }
    if let Some(call) = &source.check {
        request::call(call, "/check", &both, &mut found);
    }
    if let Some(feed) = &source.feed {
        self::feed(feed, &settings, &mut found);
    }
    found.when(source.collections.is_empty(), "/collections", "a source needs at least one collection");
    let tables = source.collections.iter().enumerate().map(|(i, c)| (format!("/collections/{i}"), c, false));
    let helpers = source.helpers.iter().enumerate().map(|(i, c)| (format!("/helpers/{i}"), c, true));
    let all: Vec<_> = tables.chain(helpers).collect();
    found.unique(all.iter().map(|(at, c, _)| (format!("{at}/name"), c.name.as_str())));
    for (at, item, is_helper) in &all {
        collection::check(source, item, *is_helper, at, &settings, &mut found);
    }
    found.list
}

/// Whether the token answer may say where calls go.
fn names_the_address(auth: &Auth) -> bool {
    match auth {
        Auth::Oauth2 { base_url, .. } => base_url.is_some(),
        Auth::OneOf { options, .. } => options.iter().any(names_the_address),
        _ => false,
    }
}

/// Names without a value of their own to type in.
fn values<'s>(source: &'s Source, known: &HashSet<&'s str>, found: &mut Mistakes) {
    for (name, ways) in &source.values {
        let at = format!("/values/{}", escaped(name));
        found.name(&at, name);
        let taken = source.settings.iter().any(|setting| &setting.name == name);
        found.when(taken, &at, "is a setting already");
        found.when(ways.is_empty(), &at, "nothing gives it a value");
        for (index, way) in ways.iter().enumerate() {
            derived(name, way, &format!("{at}/{index}"), known, found);
        }
    }
}

fn derived(name: &str, way: &Derived, at: &str, known: &HashSet<&str>, found: &mut Mistakes) {
    let mut known = known.clone();
    known.remove(name);
    match (&way.template, &way.call, &way.pointer) {
        (Some(text), None, None) => found.template(&format!("{at}/template"), text, &known),
        (None, Some(call), Some(pointer)) => {
            known.insert("access_token");
            request::call(call, &format!("{at}/call"), &known, found);
            found.pointer(&format!("{at}/pointer"), pointer);
        }
        _ => found.say(at, "give either template, or call and pointer"),
    }
}

/// The names that templates may use anywhere in the file.
fn setting_names(source: &Source) -> HashSet<&str> {
    let mut names: HashSet<&str> = source.settings.iter().map(|setting| setting.name.as_str()).collect();
    names.extend(source.values.keys().map(String::as_str));
    if source.api_version.is_some() {
        names.insert("api_version");
    }
    names
}

fn auth(source: &Source, settings: &HashSet<&str>, found: &mut Mistakes) {
    let credentials = source.auth.credentials();
    found.unique(credentials.iter().enumerate().map(|(i, c)| (format!("/auth/credentials/{i}/name"), c.name.as_str())));
    for (index, credential) in credentials.iter().enumerate() {
        found.name(&format!("/auth/credentials/{index}/name"), &credential.name);
    }
    let known: HashSet<&str> = credentials.iter().map(|credential| credential.name.as_str()).collect();
    way_in(&source.auth, "/auth", false, &known, settings, found);
}

/// One way to prove who we are.
fn way_in(
    auth: &Auth,
    at: &str,
    is_option: bool,
    known: &HashSet<&str>,
    settings: &HashSet<&str>,
    found: &mut Mistakes,
) {
    let both: HashSet<&str> = known.union(settings).copied().collect();
    if is_option {
        let place = format!("{at}/credentials");
        found.when(!auth.credentials().is_empty(), &place, "are listed once, beside the options");
    } else if !matches!(auth, Auth::None { .. }) {
        let place = format!("{at}/credentials");
        found.when(auth.credentials().is_empty(), &place, "at least one credential is needed");
    }
    match auth {
        Auth::None { .. } => {}
        Auth::Bearer { secret, .. } => found.known(&format!("{at}/secret"), secret, "credential", known),
        Auth::Basic { user, password, .. } => {
            found.template(&format!("{at}/user"), user, &both);
            found.template(&format!("{at}/password"), password, &both);
        }
        Auth::Header { header, value, .. } => {
            address::header(&format!("{at}/header"), header, found);
            found.template(&format!("{at}/value"), value, &both);
        }
        Auth::Query { value, .. } => found.template(&format!("{at}/value"), value, &both),
        Auth::Oauth2 { token_url, grants, base_url, request, header, value, .. } => {
            found.template(&format!("{at}/token_url"), token_url, settings);
            // Else a path below the base address.
            if !token_url.starts_with('/') {
                address::check(&format!("{at}/token_url"), token_url, false, found);
            }
            if let Some(header) = header {
                address::header(&format!("{at}/header"), header, found);
            }
            found.when(grants.is_empty(), &format!("{at}/grants"), "at least one grant is needed");
            if let Some(pointer) = base_url {
                found.pointer(&format!("{at}/base_url"), pointer);
            }
            for (name, text) in &request.params {
                found.template(&format!("{at}/request/params/{}", escaped(name)), text, &both);
            }
            for (name, pointer) in [
                ("access_token", &request.access_token),
                ("expires_in", &request.expires_in),
                ("error", &request.error),
            ] {
                if let Some(pointer) = pointer {
                    found.pointer(&format!("{at}/request/{name}"), pointer);
                }
            }
            if let Some(text) = value {
                let mut known = both.clone();
                known.insert("access_token");
                found.template(&format!("{at}/value"), text, &known);
            }
            for (index, item) in grants.iter().enumerate() {
                let earlier = grants.get(..index).unwrap_or_default();
                grant(item, earlier, &format!("{at}/grants/{index}"), known, settings, found);
            }
        }
        Auth::OneOf { options, .. } => {
            found.when(options.is_empty(), &format!("{at}/options"), "at least one option is needed");
            for (index, option) in options.iter().enumerate() {
                let place = format!("{at}/options/{index}");
                let nested = matches!(option, Auth::OneOf { .. });
                found.when(nested, &place, "an option cannot be a choice itself");
                way_in(option, &place, true, known, settings, found);
            }
        }
    }
}

fn grant(
    grant: &Grant,
    earlier: &[Grant],
    at: &str,
    credentials: &HashSet<&str>,
    settings: &HashSet<&str>,
    found: &mut Mistakes,
) {
    for (index, name) in grant.needs.iter().enumerate() {
        found.known(&format!("{at}/needs/{index}"), name, "credential", credentials);
    }
    let hidden = earlier.iter().any(|other| other.needs.iter().all(|name| grant.needs.contains(name)));
    found.when(hidden, at, "is never chosen: an earlier grant needs no more than this one");
    for (claim, text) in &grant.claims {
        let both: HashSet<&str> = credentials.union(settings).copied().collect();
        found.template(&format!("{at}/claims/{}", escaped(claim)), text, &both);
    }
    match &grant.audience {
        Some(audience) => found.template(&format!("{at}/audience"), audience, settings),
        None => found.when(grant.grant_type == GrantType::JwtBearer, at, "jwt_bearer needs an audience"),
    }
}

fn settings(source: &Source, found: &mut Mistakes) {
    found.unique(source.settings.iter().enumerate().map(|(i, s)| (format!("/settings/{i}/name"), s.name.as_str())));
    let credentials = source.auth.credentials();
    for (index, setting) in source.settings.iter().enumerate() {
        let at = format!("/settings/{index}");
        let name = format!("{at}/name");
        found.name(&name, &setting.name);
        let secret = SECRET_WORDS.iter().any(|word| setting.name.contains(word))
            || credentials.iter().any(|credential| credential.name == setting.name);
        found.when(secret, &name, "secrets are credentials, not settings: everyone can read a server's options");
        found.when(COMMON_OPTIONS.contains(&setting.name.as_str()), &name, "is an option that every server has");
        setting_default(source, setting, &at, found);
    }
}

fn setting_default(source: &Source, setting: &Setting, at: &str, found: &mut Mistakes) {
    let fits = |value: &String| setting.values.is_empty() || setting.values.contains(value);
    if let Some(default) = &setting.default {
        found.when(!fits(default), &format!("{at}/default"), "is not one of the allowed values");
        found.when(setting.required, &format!("{at}/required"), "a setting with a default is never missing");
    }
    let Some(by) = &setting.default_by else { return };
    let place = format!("{at}/default_by");
    found.when(setting.default.is_some(), &place, "has no use beside a default");
    found.when(!by.values.values().all(fits), &format!("{place}/values"), "holds a value that is not allowed");
    match source.settings.iter().find(|other| other.name == by.setting && other.name != setting.name) {
        None => found.say(&format!("{place}/setting"), format!("there is no other setting \"{}\"", by.setting)),
        Some(deciding) => {
            for value in
                by.values.keys().filter(|value| !deciding.values.is_empty() && !deciding.values.contains(*value))
            {
                let message = format!("\"{}\" is never \"{value}\"", by.setting);
                found.say(&format!("{place}/values/{}", escaped(value)), message);
            }
        }
    }
}

fn error_rule(rule: &ErrorRule, at: &str, found: &mut Mistakes) {
    let open = rule.status.is_empty()
        && rule.code.is_none()
        && rule.contains.is_none()
        && rule.header.is_none()
        && rule.json.is_none();
    found.when(open, at, "would match every failure: give status, code, contains, header or json");
    if let Some(wait) = &rule.wait {
        let place = format!("{at}/wait");
        let says = wait.seconds.is_some() || wait.header.is_some() || wait.pointer.is_some() || wait.midnight.is_some();
        found.when(!says, &place, "says nothing: give seconds, header, pointer or midnight");
        if let Some(pointer) = &wait.pointer {
            found.pointer(&format!("{place}/pointer"), pointer);
        }
        let zone = wait.midnight.as_deref().is_some_and(|zone| super::cursor::fixed_offset(zone).is_none());
        found.when(zone, &format!("{place}/midnight"), "is no zone: utc, +hh:mm or -hh:mm");
    }
    found.when(rule.code.is_none() && !rule.codes.is_empty(), at, "codes need the pointer to the code");
    if let Some(code) = &rule.code {
        found.pointer(&format!("{at}/code"), code);
    }
}

fn feed(feed: &Feed, settings: &HashSet<&str>, found: &mut Mistakes) {
    let mut names = settings.clone();
    names.extend(["cursor", "upper"]);
    let list = Listing { path: feed.path.clone(), params: feed.params.clone(), ..Listing::default() };
    let asked = request::Asked::from(&list);
    asked.check("/feed", &names, found);
    for (place, pointer) in
        [("/feed/records", &feed.records), ("/feed/event_type", &feed.event_type), ("/feed/object", &feed.object)]
    {
        found.pointer(place, pointer);
    }
    if let Some(version) = &feed.version {
        found.pointer("/feed/version", version);
    }
    let cursor = &feed.cursor;
    request::cursor(cursor, &asked, "/feed/cursor", &names, found);
    let blind = !cursor.client_side && cursor.opaque.is_none() && cursor.param.is_none() && !asked.names("cursor");
    found.when(blind, "/feed/cursor", "a feed is asked for what came since: param is needed");
    found.when(cursor.per_parent, "/feed/cursor/per_parent", "a feed has no parents");
    for (part, is_there) in [("step_seconds", cursor.step_seconds.is_some()), ("opaque", cursor.opaque.is_some())] {
        let turned = is_there && feed.newest_first;
        found.when(turned, &format!("/feed/cursor/{part}"), "goes on where the last poll ended: not with newest_first");
    }
    found.when(feed.retention_days == 0, "/feed/retention_days", "a feed that keeps nothing is of no use");
    request::pages(&feed.pages, "/feed/pages", &Some(&asked), settings, found);
}

/// A key as a part of a JSON pointer.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The mistakes found so far, and the tests that many places share.
#[derive(Default)]
struct Mistakes {
    list: Vec<Problem>,
}

impl Mistakes {
    fn say(&mut self, pointer: &str, message: impl Into<String>) {
        self.list.push(Problem::new(pointer, message));
    }

    fn when(&mut self, wrong: bool, pointer: &str, message: &str) {
        if wrong {
            self.say(pointer, message);
        }
    }

    /// A name that needs no quotes in SQL and fits PostgreSQL.
    fn name(&mut self, pointer: &str, name: &str) {
        let start = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !start || !plain || name.len() > super::naming::NAME_BYTES {
            self.say(pointer, format!("\"{name}\" is no name: small letters, digits and _, at most 63"));
        }
    }

    fn unique<'a>(&mut self, names: impl Iterator<Item = (String, &'a str)>) {
        let mut seen = HashSet::new();
        for (pointer, name) in names {
            if !seen.insert(name) {
                self.say(&pointer, format!("\"{name}\" is there twice"));
            }
        }
    }

    fn known(&mut self, pointer: &str, name: &str, what: &str, known: &HashSet<&str>) {
        if !known.contains(name) {
            self.say(pointer, format!("there is no {what} \"{name}\""));
        }
    }

    fn template(&mut self, pointer: &str, text: &str, known: &HashSet<&str>) {
        for name in template::names(text).filter(|name| !known.contains(name)) {
            self.say(pointer, format!("nothing gives {{{name}}} a value"));
        }
        if let Some(filter) = template::unknown_filter(text) {
            self.say(pointer, format!("there is no filter \"{filter}\""));
        }
    }

    fn pointer(&mut self, place: &str, pointer: &str) {
        self.when(!pointer.is_empty() && !pointer.starts_with('/'), place, "is no JSON pointer: it begins with /");
    }

    /// A pointer, or a bare key of the record.
    fn field(&mut self, place: &str, field: &str) {
        let bare = !field.starts_with('/');
        self.when(field.is_empty() || (bare && field.contains('/')), place, "is neither a key nor a JSON pointer");
    }
}
