//! Asks an app which fields an account has, and makes columns of them beside those of the source file.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::made::holds;
use super::raw::{at, text_at};
use super::take::belongs;
use super::walk::{Part, Walk};
use crate::error::SyncError;
use crate::extract::{Described, DescribedColumn};
use crate::http::ApiClient;
use crate::manifest::naming::unique_names;
use crate::manifest::{field_path, template, Collection, Cursor, Deletes, Discover};
use std::borrow::Cow;

/// The columns that a collection offers to this account; `None` when the source file alone says that.
pub async fn describe(api: &ApiClient, collection: &Collection) -> Result<Option<Described>, SyncError> {
    let Some(discover) = &collection.discover else { return Ok(None) };
    Ok(Some(described(collection, found(&api.prepared().await?, collection, discover).await?)))
}

/// The names of the fields that the account has.
pub async fn names(api: &ApiClient, collection: &Collection) -> Result<Option<Vec<String>>, SyncError> {
    let Some(discover) = &collection.discover else { return Ok(None) };
    Ok(Some(found(api, collection, discover).await?.into_iter().map(|(name, _)| name).collect()))
}

async fn found(
    api: &ApiClient,
    collection: &Collection,
    discover: &Discover,
) -> Result<Vec<(String, DescribedColumn)>, SyncError> {
    // Nothing of the collection's own listing is of use here.
    let base = Collection { name: collection.name.clone(), ..Collection::default() }.listed_by(&discover.list);
    let base = Collection { cursor: None::<Cursor>, ..base };
    let mut found = Vec::new();
    let mut walk = Walk::new(api, &base, &[], Part::default())?;
    while let Some(page) = walk.next_page().await? {
        found.extend(page.records().filter_map(|raw| field_of(discover, raw)));
    }
    Ok(found)
}

/// A description as a column without its final name.
fn field_of(discover: &Discover, raw: &str) -> Option<(String, DescribedColumn)> {
    if !belongs(raw, &[], &discover.only) {
        return None;
    }
    let name = text_at(raw, &discover.name).filter(|name| !name.is_empty())?.into_owned();
    // The name becomes a key of a pointer, whatever it holds.
    let key = name.replace('~', "~0").replace('/', "~1");
    let field = template::fill(&discover.field, |of| (of == "name").then(|| Cow::from(key.as_str()))).ok().flatten()?;
    let app_type = text_at(raw, &discover.type_name);
    let known = app_type.and_then(|name| discover.types.get(name.as_ref()));
    let column = DescribedColumn {
        field,
        type_name: known.unwrap_or(&discover.default_type).clone(),
        off: discover.off.as_ref().is_some_and(|rule| holds(rule, raw)),
        label: discover
            .label
            .as_ref()
            .and_then(|label| at(raw, label))
            .filter(|l| *l != "null")
            .map(|label| crate::extract::record::string_of(label).into_owned()),
        ..DescribedColumn::default()
    };
    Some((name, column))
}

/// The file's columns, then what the account has beside them.
pub fn described(collection: &Collection, found: Vec<(String, DescribedColumn)>) -> Described {
    let of_file = collection.columns.iter().map(|column| DescribedColumn {
        name: column.name.clone(),
        field: column.field.clone().unwrap_or_else(|| column.name.clone()),
        type_name: column.type_name.clone(),
        ..DescribedColumn::default()
    });
    let mut columns: Vec<DescribedColumn> = of_file.collect();
    let is_new = |field: &str| !collection.columns.iter().any(|column| column.path() == field_path(field));
    let mut fresh: Vec<(String, DescribedColumn)> = Vec::new();
    for (name, column) in found.into_iter().filter(|(_, column)| is_new(&column.field)) {
        if !fresh.iter().any(|(_, known)| known.field == column.field) {
            fresh.push((name, column));
        }
    }
    // Names of the file come first, so that no field of the account renames a column of it.
    let all = collection.columns.iter().map(|column| column.name.as_str()).chain(fresh.iter().map(|(n, _)| n.as_str()));
    let names = unique_names(all).split_off(collection.columns.len());
    columns.extend(fresh.into_iter().zip(names).map(|((_, column), name)| DescribedColumn { name, ..column }));
    let deleted_field = match &collection.deletes {
        Deletes::Flag { field, equals: None } => Some(field.clone()),
        _ => None,
    };
    Described { columns, deleted_field, ..Described::default() }
}
