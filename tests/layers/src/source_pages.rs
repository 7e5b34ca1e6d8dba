//! Writes the page of a source from its source file, so that the two cannot disagree.
//!
//! `cargo run -p cloudsync-layers --bin source-pages` writes `docs/sources/`; a test fails while a page is stale.

use crate::extract::{pushable, Op, OutColumn, Pushed, Target};
use crate::manifest::naming::snake_case;
use crate::manifest::{
    template, Auth, Collection, Column, Deletes, GrantType, Kind, Pages, Parent, Protocol, RateGroup, Setting, Source,
};
use crate::quiet_runs;
use std::fmt::Write;
use std::path::PathBuf;

/// Where the page of a source lies.
pub fn page_path(source: &Source) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/sources").join(format!("{}.md", source.source))
}

/// The page of a source, as Markdown.
pub fn page(source: &Source) -> String {
    let mut page = String::new();
    let kind = match source.kind {
        Kind::Object => "Its rows change; a refresh reads what changed.",
        Kind::Event => "Its rows are only added.",
    };
    let supported = source.collections.iter().filter(|c| c.unsupported.is_none()).count();
    let pushed = match source.collections.iter().filter(|c| c.webhook.is_some()).count() {
        0 => String::new(),
        pushed => format!(", and {pushed} of which it sends by webhook"),
    };
    let all = source.collections.len();
    add(&mut page, format_args!("# {}\n", source.title));
    add(
        &mut page,
        format_args!("<!-- Made from sources/{}.json by source-pages; change that file. -->\n", source.source),
    );
    add(
        &mut page,
        format_args!(
            "{all} collections, {supported} of which the app serves{pushed}. {kind} [API reference]({}).",
            source.docs
        ),
    );
    if let Some(version) = &source.api_version {
        add(&mut page, format_args!("API version {version}, unless the server option `api_version` says another."));
    }
    connect(source, &mut page);
    overview(source, &mut page);
    page.push_str(&quiet_runs::section(source));
    if !source.notes.is_empty() {
        page.push_str("\n## Good to know\n\n");
        source.notes.iter().for_each(|note| add(&mut page, format_args!("- {note}")));
    }
    limits(source, &mut page);
    page.push_str("\n## Columns\n\n");
    page.push_str(
        "Beside these, every local table has `is_deleted`, `received_at`, `record_version`, `record_hash` and `extra`, \
         which keeps what has no column. In brackets: the field of the app, where it is called otherwise.\n",
    );
    source.collections.iter().for_each(|collection| details(source, collection, &mut page));
    page
}

fn add(page: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{line}");
}

/// A text as a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn connect(source: &Source, page: &mut String) {
    let required: String =
        source.settings.iter().filter(|s| s.required).map(|s| format!(", {} '..'", s.name)).collect();
    let first: Vec<&str> = match &source.auth {
        Auth::Oauth2 { grants, .. } => grants.iter().take(1).flat_map(|g| &g.needs).map(String::as_str).collect(),
        Auth::OneOf { options, credentials } => {
            // Those of the first way in; the others are in the table below.
            let first = |name: &str| options.first().is_some_and(|option| uses(option, name));
            credentials.iter().map(|credential| credential.name.as_str()).filter(|name| first(name)).collect()
        }
        other => other.credentials().iter().map(|credential| credential.name.as_str()).collect(),
    };
    let secrets: Vec<String> = first.iter().map(|name| format!("{name} '..'")).collect();
    let name = &source.source;
    page.push_str("\n## Connect\n\n```sql\n");
    add(page, format_args!("CREATE SERVER {name} FOREIGN DATA WRAPPER cloudsync OPTIONS (source '{name}'{required});"));
    add(page, format_args!("CREATE USER MAPPING FOR CURRENT_USER SERVER {name} OPTIONS ({});", secrets.join(", ")));
    page.push_str("```\n");
    if let Auth::Oauth2 { grants, .. } = &source.auth {
        page.push_str(
            "\nThe first of these grants whose credentials are all set is used:\n\n| grant | needs |\n| --- | --- |\n",
        );
        for grant in grants {
            let kind = match grant.grant_type {
                GrantType::RefreshToken => "refresh token",
                GrantType::ClientCredentials => "client credentials",
                GrantType::JwtBearer => "JWT bearer",
            };
            let needs: Vec<String> = grant.needs.iter().map(|name| code(name)).collect();
            add(page, format_args!("| {kind} | {} |", needs.join(", ")));
        }
    }
    page.push_str("\n| credential (user mapping) | how to get it |\n| --- | --- |\n");
    for credential in source.auth.credentials() {
        add(page, format_args!("| `{}` | {} |", credential.name, cell(&credential.help)));
    }
    if !source.settings.is_empty() {
        page.push_str("\n| setting (server option) | default | meaning |\n| --- | --- | --- |\n");
        for setting in &source.settings {
            add(page, format_args!("| `{}` | {} | {} |", setting.name, default_of(setting), cell(&setting.help)));
        }
    }
}

/// Whether a way to prove who we are needs a credential.
fn uses(auth: &Auth, name: &str) -> bool {
    let in_text = |text: &str| template::names(text).any(|known| known == name);
    match auth {
        Auth::None { .. } => false,
        Auth::Bearer { secret, .. } => secret == name,
        Auth::Basic { user, password, .. } => in_text(user) || in_text(password),
        Auth::Header { value, .. } | Auth::Query { value, .. } => in_text(value),
        Auth::Oauth2 { grants, .. } => grants.first().is_some_and(|grant| grant.needs.iter().any(|need| need == name)),
        Auth::OneOf { options, .. } => options.iter().any(|option| uses(option, name)),
    }
}

fn default_of(setting: &Setting) -> String {
    let default = match (&setting.default, &setting.default_by) {
        (Some(value), _) => code(value),
        (None, Some(by)) => {
            let each: Vec<String> = by.values.iter().map(|(key, value)| format!("{key}: `{value}`")).collect();
            format!("by `{}`: {}", by.setting, each.join(", "))
        }
        (None, None) if setting.required => "required".to_string(),
        (None, None) => "none".to_string(),
    };
    let others: Vec<String> =
        setting.values.iter().filter(|v| Some(*v) != setting.default.as_ref()).map(|v| code(v)).collect();
    if others.is_empty() {
        default
    } else {
        format!("{default}; or {}", others.join(", "))
    }
}

fn overview(source: &Source, page: &mut String) {
    page.push_str("\n## Collections\n\n");
    page.push_str(
        "| collection | primary key | how changes are found | how deletions are seen | a quiet run costs |\n",
    );
    page.push_str("| --- | --- | --- | --- | --- |\n");
    for collection in &source.collections {
        let row = match &collection.unsupported {
            Some(_) if collection.webhook.is_some() => {
                ["by webhook, not taken in yet".to_string(), "only added".to_string(), "nothing".to_string()]
            }
            Some(reason) => ["not served".to_string(), "".to_string(), cell(reason)],
            None => [changes(source, collection), deletions(source, collection), quiet_cost(source, collection)],
        };
        let [changes, deletions, cost] = row;
        let key = collection.primary_key.join(", ");
        add(page, format_args!("| [{0}](#{0}) | {key} | {changes} | {deletions} | {cost} |", collection.name));
    }
}

/// The collection whose listing tells of a collection's changes: the parent that holds its records, or itself.
fn listing<'s>(source: &'s Source, collection: &'s Collection) -> &'s Collection {
    let holds = |parent: &&Parent| parent.explode.is_some() || parent.changed_only;
    let parent = collection.parent.as_ref().filter(holds).and_then(|parent| parent.collections.first());
    parent.and_then(|name| source.listed(name)).unwrap_or(collection)
}

/// Whether only what changed is asked for.
fn is_asked_since(source: &Source, collection: &Collection) -> bool {
    let listing = listing(source, collection);
    let by_protocol = source.protocol != Protocol::Rest && listing.cursor.as_ref().is_some_and(|c| !c.created_only);
    let below = collection.parent.as_ref().is_some_and(|parent| parent.path.is_some());
    let is_facebook = collection.reader.as_deref().is_some_and(|reader| reader.starts_with("facebook"));
    let by_reader = is_facebook && listing.cursor.as_ref().is_some_and(|c| !c.created_only);
    by_protocol
        || by_reader
        || quiet_runs::is_bounded(listing)
        || (below && listing.cursor.as_ref().is_some_and(|c| c.param.is_some()))
}

fn changes(source: &Source, collection: &Collection) -> String {
    if collection.feed.is_some() {
        return "feed of changes".to_string();
    }
    let cursor = listing(source, collection).cursor.as_ref();
    match (cursor, &collection.lookback) {
        (Some(cursor), Some(window)) => {
            format!("`{}`, and the last {} again", cursor.field, duration(window.seconds))
        }
        (Some(cursor), None) if is_asked_since(source, collection) => {
            let overlap = match cursor.overlap_seconds {
                0 => String::new(),
                seconds => format!(", from {} before", duration(seconds)),
            };
            format!("`{}`{overlap}", cursor.field)
        }
        _ if source.protocol == Protocol::Salesforce => "as the object describes itself".to_string(),
        _ => "read in full".to_string(),
    }
}

fn deletions(source: &Source, collection: &Collection) -> String {
    match &collection.deletes {
        Deletes::None if source.protocol == Protocol::Salesforce && collection.cursor.is_none() => {
            "as the object describes itself".to_string()
        }
        Deletes::None => "by `cloudsync_reconcile` only".to_string(),
        Deletes::Flag { field, equals: None } => format!("flag `{field}`"),
        Deletes::Flag { field, equals: Some(value) } => format!("`{field}` is `{value}`"),
        Deletes::Feed => "feed of changes".to_string(),
        Deletes::WithParent { .. } => "replaced with their parent".to_string(),
        Deletes::Absent => "absent from the full listing".to_string(),
        Deletes::Rule { any } => {
            let fields: Vec<String> = any.iter().map(|rule| code(&rule.field)).collect();
            format!("rule on {}", fields.join(", "))
        }
        Deletes::Listing { list, .. } => format!("listed at `{}`", list.path),
    }
}

fn quiet_cost(source: &Source, collection: &Collection) -> String {
    if collection.feed.is_some() {
        return "nothing beside the feed's call".to_string();
    }
    let cursor = listing(source, collection).cursor.as_ref();
    let single = matches!(collection.pages, Some(Pages::None));
    if let Some(parent) = collection.parent.as_ref().filter(|parent| parent.path.is_some()) {
        let which = if parent.changed_only { "parent that is new" } else { "parent" };
        return format!("the parents' listing, and 1 call for each {which}");
    }
    if quiet_runs::job_of(listing(source, collection)).is_some() {
        return "a job and its files".to_string();
    }
    match (&collection.lookback, cursor) {
        (Some(window), _) => format!(
            "nothing; the window's pages every {}",
            duration(window.at_least_every_seconds).trim_start_matches("1 ")
        ),
        (None, Some(cursor)) if source.protocol == Protocol::GoogleAds && cursor.step_seconds.is_some() => {
            "1 call for each account and day that is read again".to_string()
        }
        (None, _) if source.protocol == Protocol::GoogleAds => "1 call for each account".to_string(),
        (None, Some(_)) if collection.reader.is_some() => {
            let calls: u64 = quiet_runs::listings(source, collection).iter().map(|listing| listing.calls).sum();
            format!("{calls} calls")
        }
        (None, Some(_)) if is_asked_since(source, collection) => "1 call".to_string(),
        (None, _) if single => "1 call".to_string(),
        (None, _) if source.protocol == Protocol::Salesforce => "1 call, or all pages".to_string(),
        (None, _) => "all pages".to_string(),
    }
}

/// `seconds` in the largest unit that needs no fraction.
fn duration(seconds: u64) -> String {
    for (size, unit) in [(86_400, "day"), (3_600, "hour"), (60, "minute")] {
        if seconds > 0 && seconds.is_multiple_of(size) {
            let count = seconds / size;
            return format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
        }
    }
    format!("{seconds} s")
}

/// What the app counts apart.
fn group_limits(group: &RateGroup) -> String {
    let paths: Vec<String> = group.paths.iter().map(|path| format!("`{path}`")).collect();
    let mut limits = Vec::new();
    if let (Some(calls), Some(seconds)) = (group.calls, group.per_seconds) {
        let other = group.calls_setting.as_ref().map(|name| format!(" (or as `{name}` says)")).unwrap_or_default();
        limits.push(format!("{calls} in {seconds} s{other}"));
    }
    if group.connections > 0 {
        limits.push(format!("at most {} in flight at once", group.connections));
    }
    let headers = [&group.remaining_header, &group.reset_header];
    limits.extend(headers.into_iter().flatten().map(|header| format!("as the header `{header}` tells")));
    let also = if group.also_general { " They count among the others, too." } else { "" };
    format!("Calls to {} are counted apart: {}.{also}", paths.join(", "), limits.join(", "))
}

fn limits(source: &Source, page: &mut String) {
    let mut lines = Vec::new();
    if let Some(rate) = &source.rate {
        if let (Some(calls), Some(seconds)) = (rate.calls, rate.per_seconds) {
            lines.push(format!("Calls are spread to {calls} in {seconds} s."));
        }
        if let Some(calls) = rate.per_day {
            lines.push(format!("The app allows {calls} calls a day."));
        }
        if let Some(header) = &rate.usage_header {
            lines.push(format!("The daily quota is read from the header `{header}` of each reply."));
        }
        if let Some(header) = &rate.remaining_header {
            lines.push(format!("What is left is read from the header `{header}` of each reply."));
        }
        if let Some(percent) = rate.slow_from_percent {
            let mut headers: Vec<String> = rate.usage.iter().map(|place| code(&place.header)).collect();
            headers.dedup();
            let headers = headers.join(", ");
            lines.push(format!(
                "Calls come slower from {percent} percent of an allowance on, as these headers tell: {headers}."
            ));
        }
        if rate.connections > 0 {
            lines.push(format!("At most {} requests are in flight at once.", rate.connections));
        }
        lines.extend(rate.groups.iter().map(group_limits));
    }
    if let Some(feed) = &source.feed {
        lines.push(format!(
            "The feed of changes keeps {} days; after a longer pause everything is read in full.",
            feed.retention_days
        ));
    }
    if !lines.is_empty() {
        page.push_str("\n## Limits\n\n");
        lines.iter().for_each(|line| add(page, format_args!("- {line}")));
    }
}

fn details(source: &Source, collection: &Collection, page: &mut String) {
    add(page, format_args!("\n### {}\n", collection.name));
    let object = if collection.object.is_empty() { "Reference" } else { &collection.object };
    let mut about = match &collection.docs {
        Some(docs) => format!("[{object}]({docs})."),
        None => format!("{object}."),
    };
    for part in [collection.unsupported.as_ref(), collection.notes.as_ref()].into_iter().flatten() {
        let _ = write!(about, " {part}");
    }
    if let Some(origin) = origin(collection) {
        let _ = write!(about, " {origin}");
    }
    add(page, format_args!("{about}\n"));
    if source.protocol == Protocol::Rest && collection.unsupported.is_none() {
        add(page, format_args!("Conditions that the app is told: {}.\n", conditions(source, collection)));
    }
    let columns: Vec<String> = collection.columns.iter().map(column_text).collect();
    add(page, format_args!("{}", columns.join(", ")));
    if let Some(discover) = &collection.discover {
        let off = if discover.off.is_some() { ", without hidden ones" } else { "" };
        let place = discover.field.replace("/{name}", "");
        add(
            page,
            format_args!(
                "\nBeside these the account's own: one column for each field in `{}` that `{}` tells of{off}. Asked when the \
                 collection is connected, and again after `describe_hours`: 1 call.",
                place.trim_start_matches('/').replace('/', "."),
                discover.list.path,
            ),
        );
    }
}

/// Where a child's records come from.
fn origin(collection: &Collection) -> Option<String> {
    let parent = collection.parent.as_ref()?;
    let names: Vec<String> = parent.collections.iter().map(|name| code(name)).collect();
    Some(match (&parent.explode, &parent.path) {
        (Some(pointer), _) => format!("Read out of `{}` in {}.", pointer.trim_start_matches('/'), names.join(" and ")),
        (None, Some(path)) => format!("Read from `{path}` for each record of {}.", names.join(" and ")),
        (None, None) => return None,
    })
}

/// What a live query can leave to the app.
fn conditions(source: &Source, collection: &Collection) -> String {
    let mut parts = Vec::new();
    if collection.reader.as_deref() == Some("sfmc_soap") {
        parts.push("`=` and `IN` on numbers and texts, `<`, `<=`, `>` and `>=` on numbers and times".to_string());
    }
    if collection.reader.as_deref().is_some_and(|reader| reader.starts_with("facebook")) {
        return asked_of_reader(source, collection);
    }
    if let Some(path) = &collection.by_key {
        let columns: Vec<String> = crate::manifest::template::names(path).map(|name| format!("`{name} =`")).collect();
        if !columns.is_empty() {
            parts.push(columns.join(" with "));
        }
    }
    if let Some(column) = collection.parent.as_ref().and_then(|parent| parent.key_column.as_ref()) {
        parts.push(format!("`{column} =`"));
    }
    for (column, operators) in &collection.filters {
        let mut signs: Vec<&str> = operators.keys().map(String::as_str).collect();
        signs.sort_by_key(|sign| (sign.trim_end_matches('=').is_empty(), *sign));
        signs.reverse();
        parts.push(format!("`{column} {}`", signs.join(" ")));
    }
    if parts.is_empty() {
        "none".to_string()
    } else {
        parts.join(", ")
    }
}

/// The same of a reader of its own, which knows itself what it can leave to the app.
fn asked_of_reader(source: &Source, collection: &Collection) -> String {
    let signs = [(Op::Eq, "="), (Op::Ge, ">="), (Op::Gt, ">"), (Op::Le, "<="), (Op::Lt, "<")];
    let parts = collection.columns.iter().filter_map(|column| {
        let out =
            OutColumn { name: column.name.clone(), path: column.path(), target: Target::Text, format: column.format };
        let is_told = |op: &Op| pushable(source, collection, &out, *op) != Pushed::No;
        let told: Vec<&str> = signs.iter().filter(|(op, _)| is_told(op)).map(|(_, sign)| *sign).collect();
        (!told.is_empty()).then(|| format!("`{} {}`", column.name, told.join(" ")))
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() {
        "none".to_string()
    } else {
        parts.join(", ")
    }
}

/// `customer_id text (customer)`
fn column_text(column: &Column) -> String {
    let path = column.path().join(".");
    let plain = snake_case(&path) == column.name || path == column.name;
    if plain && column.path().len() == 1 {
        format!("`{}` {}", column.name, column.type_name)
    } else {
        format!("`{}` {} ({path})", column.name, column.type_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::load::sources;

    #[test]
    fn every_source_has_a_fresh_page() {
        for source in sources() {
            let path = page_path(&source);
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(found, page(&source), "stale: cargo run -p cloudsync-layers --bin source-pages");
        }
    }

    #[test]
    fn what_is_counted_apart_is_told() {
        let group = |group: &str| group_limits(&serde_json::from_str(group).unwrap());
        assert_eq!(
            group(r#"{"name": "export", "match": "/incremental", "calls": 10, "per_seconds": 60, "connections": 2}"#),
            "Calls to `/incremental` are counted apart: 10 in 60 s, at most 2 in flight at once."
        );
        assert_eq!(
            group(r#"{"name": "search", "match": ["/a", "/b"], "remaining_header": "X-Left", "also_general": true}"#),
            "Calls to `/a`, `/b` are counted apart: as the header `X-Left` tells. They count among the others, too."
        );
    }

    #[test]
    fn spans_of_time_are_told_in_their_largest_unit() {
        for (seconds, want) in
            [(0, "0 s"), (45, "45 s"), (600, "10 minutes"), (3_600, "1 hour"), (86_400, "1 day"), (604_800, "7 days")]
        {
            assert_eq!(duration(seconds), want);
        }
    }
}
