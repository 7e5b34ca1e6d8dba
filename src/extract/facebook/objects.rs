//! Reads campaigns, ad sets and ads: everything, or what changed.
//!
//! Decides how a change above shows below. Facebook passes the status of a campaign or ad set on to what is in it, without
//! touching the `updated_time` there (docs: "Manage your ad object's status"). So whatever lies below a campaign or ad
//! set that changed is listed again, by its id; those whose change was passed on before are known by their state
//! (`place.rs`), or each run would do it again for the newest one.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::accounts::{Accounts, AdAccount};
use super::listing::{below, fields_of, is_id, names, one_of};
use super::place::{Known, Place};
use super::words::about;
use super::{overlap_of, Run};
use crate::error::SyncError;
use crate::extract::rest::feed::is_of_one;
use crate::extract::rest::raw::text_at;
use crate::extract::rest::request::stamp_of;
use crate::extract::rest::walk::{Part, Walk};
use crate::manifest::Collection;
use serde_json::{json, Value};
use std::collections::BTreeSet;

/// Collections and what filters call their records; what is above comes first.
pub const LEVELS: [(&str, &str); 3] = [("campaigns", "campaign"), ("ad_sets", "adset"), ("ads", "ad")];
/// Ids of one filter: with 18 digits each they stay far below what an address may be long.
const IDS_AT_ONCE: usize = 50;

/// A campaign or ad set as it was seen in this run.
struct Seen {
    rank: usize,
    id: String,
    stamp: i64,
    /// A hash of all that what is below it can show.
    state: String,
}

impl Seen {
    fn of(collection: &Collection, rank: usize, raw: &str) -> Option<Self> {
        let id = text_at(raw, "/id")?.into_owned();
        let stamp = stamp_of(collection.cursor.as_ref()?, raw)?;
        let status = text_at(raw, "/effective_status").unwrap_or_default();
        let state = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(format!("{id} {stamp} {status}").as_bytes()));
        Some(Seen { rank, id, stamp, state })
    }
}

/// The states of what was seen above a level, as far as the next run may see them again.
fn recent(seen: &[Seen], rank: usize, since: i64) -> BTreeSet<String> {
    seen.iter().filter(|one| one.rank < rank && one.stamp >= since).map(|one| one.state.clone()).collect()
}

fn collection_of(run: &Run<'_>, name: &str) -> Result<Collection, SyncError> {
    let found = run.api.account().source.collection(name).cloned();
    found.ok_or_else(|| SyncError::internal(format!("the source has no {name}")))
}

/// Reads every object of every ad account.
pub async fn all(run: &mut Run<'_>, accounts: &Accounts, resume: Option<&Value>) -> Result<(), SyncError> {
    let mut place = Place::of(resume);
    place.upper = place.upper.or(accounts.now_us);
    let mut known = vec![Known::default(); LEVELS.len()];
    for account in &accounts.all {
        let mut seen = Vec::new();
        for (rank, (name, _)) in LEVELS.iter().enumerate() {
            let Some(index) = run.index(name) else { continue };
            if place.done.contains(&key(account, name)) {
                continue;
            }
            if let Err(error) = whole(run, index, account, rank, &mut place, &mut seen).await {
                run.fail(index, about(&account.id, error))?;
            }
        }
        let Some(upper) = place.upper else { continue };
        for (rank, (name, _)) in LEVELS.iter().enumerate() {
            let (Some(known), Some(index)) = (known.get_mut(rank), run.index(name)) else { continue };
            let since = upper.saturating_sub(overlap_of(&run.output(index)?.collection));
            known.at.insert(account.id.clone(), upper);
            known.recent.insert(account.id.clone(), recent(&seen, rank, since));
        }
    }
    for ((name, _), known) in LEVELS.iter().zip(&known) {
        if let Some(index) = run.index(name) {
            run.set_checkpoint(index, known.checkpoint(place.upper));
        }
    }
    Ok(())
}

fn key(account: &AdAccount, name: &str) -> String {
    format!("{}/{name}", account.id)
}

/// Reads the whole of one listing, from where an interrupted reading left it.
async fn whole(
    run: &mut Run<'_>,
    index: usize,
    account: &AdAccount,
    rank: usize,
    place: &mut Place,
    seen: &mut Vec<Seen>,
) -> Result<(), SyncError> {
    let output = run.output(index)?;
    let collection = &output.collection;
    let key = key(account, &collection.name);
    let part = Part { names: names(&account.id, &fields_of(output)), ..Part::default() };
    let listing = below(collection, &[]);
    let mut walk = Walk::new(run.api, &listing, &[], part.clone())?;
    let saved = place.at.take().filter(|(at, _)| *at == key).map(|(_, page)| json!({ "page": page }));
    let mut is_resumed = match &saved {
        Some(saved) => walk.resume(saved)?,
        None => false,
    };
    loop {
        let page = match walk.next_page().await {
            // A page's cursor may have died with the listing it came from.
            Err(SyncError::BadRequest { .. } | SyncError::NotFound { .. }) if is_resumed => {
                run.tables.note("the interrupted listing could not be continued and was read from its start");
                walk = Walk::new(run.api, &listing, &[], part.clone())?;
                is_resumed = false;
                continue;
            }
            page => page?,
        };
        is_resumed = false;
        let Some(page) = page else { break };
        place.upper = place.upper.or(page.date_us);
        for raw in page.records() {
            run.add(index, raw);
            seen.extend(Seen::of(collection, rank, raw));
        }
        let next = walk.position().and_then(|places| places.into_iter().find(|(name, _)| *name == "page"));
        place.at = next.map(|(_, page)| page).filter(|page| !page.is_null()).map(|page| (key.clone(), page));
        if place.at.is_none() {
            place.done.insert(key.clone());
        }
        run.give(Some(place.position())).await?;
    }
    place.done.insert(key);
    Ok(())
}

/// What one table knew of an ad account before this run.
struct Before {
    index: usize,
    overlap: i64,
    known: Known,
}

impl Before {
    /// From where on changes matter to it; `None` when it has to be read whole.
    fn from(&self, account: &AdAccount) -> Option<i64> {
        self.known.at.get(&account.id).map(|at| at.saturating_sub(self.overlap))
    }

    /// Ids of what changed above it, and was not passed on yet.
    fn changed(&self, account: &AdAccount, seen: &[Seen], rank: usize) -> Vec<String> {
        let Some(from) = self.from(account) else { return Vec::new() };
        let recent = self.known.recent.get(&account.id);
        let is_new = |one: &&Seen| {
            one.rank == rank && one.stamp >= from && !recent.is_some_and(|recent| recent.contains(&one.state))
        };
        seen.iter().filter(is_new).map(|one| one.id.clone()).filter(|id| is_id(id)).collect()
    }
}

/// Reads what changed since each table was last read.
pub async fn changes(run: &mut Run<'_>, accounts: &Accounts) -> Result<(), SyncError> {
    let mut tables: Vec<Option<Before>> = Vec::new();
    for (name, _) in LEVELS {
        let before = |index: usize| {
            let output = run.output(index)?;
            let known = Known::of(output.checkpoint.as_ref());
            Ok::<_, SyncError>(Before { index, overlap: overlap_of(&output.collection), known })
        };
        tables.push(run.index(name).map(before).transpose()?);
    }
    if tables.iter().all(Option::is_none) {
        return Ok(());
    }
    let mut clock = accounts.now_us;
    for account in &accounts.all {
        let mut upper = accounts.now_us;
        let mut seen = Vec::new();
        for rank in 0..LEVELS.len() {
            level(run, account, rank, &tables, &mut upper, &mut seen).await?;
        }
        clock = clock.or(upper);
        let Some(upper) = upper else { continue };
        for (rank, table) in tables.iter_mut().enumerate() {
            let Some(table) = table else { continue };
            let at = table.known.at.entry(account.id.clone()).or_insert(upper);
            *at = upper.max(*at);
            let since = at.saturating_sub(table.overlap);
            table.known.recent.insert(account.id.clone(), recent(&seen, rank, since));
        }
    }
    for table in tables.into_iter().flatten().filter(|table| !run.has_failed(table.index)).collect::<Vec<_>>() {
        run.set_checkpoint(table.index, table.known.checkpoint(clock));
    }
    Ok(())
}

/// Reads the changes of one level in one ad account, and what lies below the changes seen above it.
async fn level(
    run: &mut Run<'_>,
    account: &AdAccount,
    rank: usize,
    tables: &[Option<Before>],
    upper: &mut Option<i64>,
    seen: &mut Vec<Seen>,
) -> Result<(), SyncError> {
    let Some((name, _)) = LEVELS.get(rank) else { return Ok(()) };
    let open = |table: &&Before| !run.has_failed(table.index);
    let own = tables.get(rank).and_then(Option::as_ref).filter(open);
    let below = tables.iter().skip(rank + 1).flatten().filter(open);
    let wanted_below = below.filter_map(|table| table.from(account)).min();
    let from = match own {
        // A new account, or one that failed so far.
        Some(own) => own.from(account).map(|from| wanted_below.map_or(from, |below| from.min(below))),
        None if wanted_below.is_some() => wanted_below,
        None => return Ok(()),
    };
    let (index, reads_whole) = (own.map(|own| own.index), from.is_none());
    if let Err(error) = listed(run, index, account, rank, from, &[], upper, seen).await {
        let error = about(&account.id, error);
        match index {
            Some(index) => run.fail(index, error)?,
            None if is_of_one(&error) => {}
            None => return Err(error),
        }
        run.tables.note(&format!("changes of {name} cannot be read: what they change below does not show"));
    }
    let Some(own) = own.filter(|own| !reads_whole && !run.has_failed(own.index)) else { return Ok(()) };
    for above in 0..rank {
        let Some((_, above_level)) = LEVELS.get(above) else { continue };
        for ids in own.changed(account, seen, above).chunks(IDS_AT_ONCE) {
            let condition = one_of(above_level, ids);
            let result = listed(run, Some(own.index), account, rank, None, &[condition], upper, &mut Vec::new()).await;
            if let Err(error) = result {
                return run.fail(own.index, about(&account.id, error));
            }
        }
    }
    Ok(())
}

/// Reads a listing into its table, or only to see what changed where the table is not wanted.
#[allow(clippy::too_many_arguments)]
async fn listed(
    run: &mut Run<'_>,
    index: Option<usize>,
    account: &AdAccount,
    rank: usize,
    from: Option<i64>,
    more: &[Value],
    upper: &mut Option<i64>,
    seen: &mut Vec<Seen>,
) -> Result<(), SyncError> {
    let (name, _) = LEVELS.get(rank).copied().unwrap_or_default();
    let (collection, fields) = match index {
        Some(index) => (Collection::clone(&run.output(index)?.collection), fields_of(run.output(index)?)),
        None => (collection_of(run, name)?, ["id", "updated_time", "effective_status"].map(str::to_string).to_vec()),
    };
    let part = Part { from, names: names(&account.id, &fields), ..Part::default() };
    let mut walk = Walk::new(run.api, &below(&collection, more), &[], part)?;
    while let Some(page) = walk.next_page().await? {
        *upper = upper.or(page.date_us);
        for raw in page.records() {
            if let Some(index) = index {
                run.add(index, raw);
            }
            seen.extend(Seen::of(&collection, rank, raw));
        }
        run.give(None).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::load;
    use std::collections::BTreeMap;

    #[test]
    fn a_change_above_is_passed_on_once() {
        let source = load::source("facebook_ads").unwrap();
        let campaigns = source.collection("campaigns").unwrap();
        let second = 1_000_000;
        let seen = |status: &str| {
            let raw =
                format!(r#"{{"id": "7", "updated_time": "1970-01-01T00:20:00+0000", "effective_status": "{status}"}}"#);
            vec![Seen::of(campaigns, 0, &raw).unwrap()]
        };
        let account = AdAccount { id: "1".into(), zone: None };
        let before = |at: i64, recent: BTreeSet<String>| Before {
            index: 0,
            overlap: 600 * second,
            known: Known {
                at: BTreeMap::from([("1".to_string(), at * second)]),
                recent: BTreeMap::from([("1".to_string(), recent)]),
            },
        };
        let active = recent(&seen("ACTIVE"), 1, 0);
        for (name, before, status, want) in [
            ("new", before(1200, BTreeSet::new()), "PAUSED", vec!["7"]),
            ("passed on before", before(1200, active.clone()), "ACTIVE", vec![]),
            ("changed once more in the same second", before(1200, active.clone()), "PAUSED", vec!["7"]),
            ("just within the overlap", before(1800, BTreeSet::new()), "PAUSED", vec!["7"]),
            ("beyond the overlap", before(1801, BTreeSet::new()), "PAUSED", vec![]),
        ] {
            assert_eq!(before.changed(&account, &seen(status), 0), want, "{name}");
        }
        let other = AdAccount { id: "2".into(), zone: None };
        assert!(before(1200, active).changed(&other, &seen("PAUSED"), 0).is_empty(), "read whole");
        assert!(recent(&seen("ACTIVE"), 0, 0).is_empty() && recent(&seen("ACTIVE"), 1, 1201 * second).is_empty());
    }
}
