//! Decides whether a source file makes sense: every name it uses exists, and nothing in it contradicts the rest.
//!
//! What the types cannot refuse is refused here, before any call is made, with the place in the file.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::load::SourceFileError;
use super::{template, Auth, ErrorRule, Feed, Grant, GrantType, Pages, Setting, Source};
use std::collections::HashSet;

#[path = "check_collection.rs"]
mod collection;
#[path = "check_rate.rs"]
mod rate;

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
pub fn mistakes(source: &Source) -> Vec<SourceFileError> {
    let mut found = Mistakes::default();
    found.name("/source", &source.source);
    for (place, text) in [("/title", &source.title), ("/docs", &source.docs)] {
        found.when(text.trim().is_empty(), place, "may not be empty");
    }
    let settings = setting_names(source);
    let mut address = settings.clone();
    if matches!(&source.auth, Auth::Oauth2 { base_url: Some(_), .. }) {
        address.insert("instance_url");
    }
    found.template("/base_url", &source.base_url, &address);
    auth(source, &settings, &mut found);
    self::settings(source, &mut found);
    for (header, value) in &source.headers {
        found.template(&format!("/headers/{}", escaped(header)), value, &settings);
    }
    if let Some(rate) = &source.rate {
        rate::check(rate, &mut found);
    }
    for (index, rule) in source.errors.iter().enumerate() {
        error_rule(rule, &format!("/errors/{index}"), &mut found);
    }
    for (index, pointer) in source.error_message.iter().enumerate() {
        found.pointer(&format!("/error_message/{index}"), pointer);
    }
    if let Some(path) = &source.check_path {
        found.template("/check_path", path, &settings);
    }
    if let Some(feed) = &source.feed {
        self::feed(feed, &settings, &mut found);
    }
    found.when(source.collections.is_empty(), "/collections", "a source needs at least one collection");
    found.unique(
        source.collections.iter().enumerate().map(|(i, c)| (format!("/collections/{i}/name"), c.name.as_str())),
    );
    for (index, item) in source.collections.iter().enumerate() {
        collection::check(source, item, &format!("/collections/{index}"), &settings, &mut found);
    }
    found.list
}

/// The names that templates may use anywhere in the file.
fn setting_names(source: &Source) -> HashSet<&str> {
    let mut names: HashSet<&str> = source.settings.iter().map(|setting| setting.name.as_str()).collect();
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
    let both: HashSet<&str> = known.union(settings).copied().collect();
    match &source.auth {
        Auth::Bearer { secret, .. } => found.known("/auth/secret", secret, "credential", &known),
        Auth::Basic { user, password, .. } => {
            found.template("/auth/user", user, &both);
            found.template("/auth/password", password, &both);
        }
        Auth::Header { value, .. } => found.template("/auth/value", value, &both),
        Auth::Oauth2 { token_url, grants, base_url, .. } => {
            found.template("/auth/token_url", token_url, settings);
            found.when(grants.is_empty(), "/auth/grants", "at least one grant is needed");
            if let Some(pointer) = base_url {
                found.pointer("/auth/base_url", pointer);
            }
            for (index, item) in grants.iter().enumerate() {
                let earlier = grants.get(..index).unwrap_or_default();
                grant(item, earlier, &format!("/auth/grants/{index}"), &known, settings, found);
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
    found.when(rule.status.is_empty() && rule.code.is_none(), at, "would match every failure: give status or code");
    found.when(rule.code.is_none() && !rule.codes.is_empty(), at, "codes need the pointer to the code");
    if let Some(code) = &rule.code {
        found.pointer(&format!("{at}/code"), code);
    }
}

fn feed(feed: &Feed, settings: &HashSet<&str>, found: &mut Mistakes) {
    found.template("/feed/path", &feed.path, settings);
    for (name, value) in &feed.params {
        found.template(&format!("/feed/params/{}", escaped(name)), value, settings);
    }
    for (place, pointer) in
        [("/feed/records", &feed.records), ("/feed/event_type", &feed.event_type), ("/feed/object", &feed.object)]
    {
        found.pointer(place, pointer);
    }
    if let Some(version) = &feed.version {
        found.pointer("/feed/version", version);
    }
    found.when(feed.cursor.param.is_none(), "/feed/cursor", "a feed is asked for what came since: param is needed");
    found.when(feed.retention_days == 0, "/feed/retention_days", "a feed that keeps nothing is of no use");
    pages(&feed.pages, "/feed/pages", found);
}

fn pages(pages: &Pages, at: &str, found: &mut Mistakes) {
    let size = match pages {
        Pages::None => None,
        Pages::LastId { field, more, size, .. } => {
            found.pointer(&format!("{at}/field"), field);
            found.pointer(&format!("{at}/more"), more);
            Some(*size)
        }
        Pages::NextUrl { pointer, size, .. } | Pages::Token { pointer, size, .. } => {
            found.pointer(&format!("{at}/pointer"), pointer);
            *size
        }
        Pages::Offset { size, .. } => Some(*size),
    };
    found.when(size == Some(0), &format!("{at}/size"), "a page holds at least one record");
}

/// A key as a part of a JSON pointer.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The mistakes found so far, and the tests that many places share.
#[derive(Default)]
struct Mistakes {
    list: Vec<SourceFileError>,
}

impl Mistakes {
    fn say(&mut self, pointer: &str, message: impl Into<String>) {
        self.list.push(SourceFileError { pointer: pointer.to_string(), message: message.into() });
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
