//! Decides whether what a source file says of an app's limits makes sense.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::super::{Rate, RateGroup, Setting};
use super::Mistakes;

pub(super) fn check(rate: &Rate, settings: &[Setting], found: &mut Mistakes) {
    allowance("/rate", rate.calls, rate.per_seconds, found);
    found.when(rate.per_day == Some(0), "/rate", "an allowance of 0 lets no call through");
    found.when(
        rate.usage.is_empty() != rate.slow_from_percent.is_none(),
        "/rate",
        "usage and slow_from_percent belong together",
    );
    let late = rate.slow_from_percent.is_some_and(|percent| percent >= 100);
    found.when(late, "/rate/slow_from_percent", "is below 100: there the app refuses");
    for (index, place) in rate.usage.iter().enumerate() {
        found.pointer(&format!("/rate/usage/{index}/pointer"), &place.pointer);
    }
    found.unique(rate.groups.iter().enumerate().map(|(i, g)| (format!("/rate/groups/{i}/name"), g.name.as_str())));
    for (index, group) in rate.groups.iter().enumerate() {
        let earlier = rate.groups.get(..index).unwrap_or_default();
        self::group(group, earlier, settings, &format!("/rate/groups/{index}"), found);
    }
}

fn allowance(at: &str, calls: Option<u32>, per_seconds: Option<u32>, found: &mut Mistakes) {
    found.when(calls.is_some() != per_seconds.is_some(), at, "calls and per_seconds belong together");
    found.when(calls == Some(0) || per_seconds == Some(0), at, "an allowance of 0 lets no call through");
}

fn group(group: &RateGroup, earlier: &[RateGroup], settings: &[Setting], at: &str, found: &mut Mistakes) {
    found.name(&format!("{at}/name"), &group.name);
    let place = format!("{at}/match");
    found.when(group.paths.is_empty(), &place, "matches no call");
    let relative = group.paths.iter().any(|path| !path.starts_with('/'));
    found.when(relative, &place, "is no path below the base address: it begins with /");
    let hidden = group.paths.iter().any(|path| earlier.iter().any(|other| other.matches(path)));
    found.when(hidden, &place, "is never chosen: an earlier group takes these calls");
    allowance(at, group.calls, group.per_seconds, found);
    let unnamed = |name: &String| !settings.iter().any(|setting| setting.name == *name);
    found.when(
        group.calls_setting.as_ref().is_some_and(unnamed),
        &format!("{at}/calls_setting"),
        "there is no setting of this name",
    );
    let alone = group.calls_setting.is_some() && group.calls.is_none();
    found.when(alone, &format!("{at}/calls_setting"), "takes the place of calls, which is missing");
    let limits = group.calls.is_some()
        || group.connections > 0
        || group.remaining_header.is_some()
        || group.reset_header.is_some();
    found.when(!limits, at, "limits nothing: give calls, connections or a header");
}
