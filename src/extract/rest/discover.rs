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
use crate::manifest::naming::unique_names_of;
use crate::manifest::{field_path, template, Collection, Cursor, Deletes, Discover};
use std::borrow::Cow;
use std::collections::HashSet;

/// The columns that a collection offers to this account; `None` when the source file alone says that.
pub async fn describe(api: &ApiClient, collection: &Collection) -> Result<Option<Described>, SyncError> {
    let Some(discover) = &collection.discover else { return Ok(None) };
    Ok(Some(described(collection, found(&api.prepared().await?, collection, discover).await?)))
}

/// The names of the fields that the account has.
pub async fn names(api: &ApiClient, collection: &Collection) -> Result<Option<Vec<String>>, SyncError> {
    let Some(discover) = &collection.discover else { return Ok(None) };
    Ok(Some(found(api, collection, discover).await?.into_iter().map(|found| found.own).collect()))
}

async fn found(api: &ApiClient, collection: &Collection, discover: &Discover) -> Result<Vec<Found>, SyncError> {
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

/// A description as a column without its final name, and what that is made of: what it is named after, and its own name.
fn field_of(discover: &Discover, raw: &str) -> Option<Found> {
    if !belongs(raw, &[], &discover.only) {
        return None;
    }
    let name = text_at(raw, &discover.name).filter(|name| !name.is_empty())?.into_owned();
    // The name becomes a key of a pointer, whatever it holds.
    let key = name.replace('~', "~0").replace('/', "~1");
    let field = template::fill(&discover.field, |of| (of == "name").then(|| Cow::from(key.as_str()))).ok().flatten()?;
    let called = discover.column.as_ref().and_then(|pointer| text_at(raw, pointer)).filter(|text| !text.is_empty());
    let called = called.map_or_else(|| name.clone(), |text| text.into_owned());
    let app_type = text_at(raw, &discover.type_name).unwrap_or_default();
    let column = DescribedColumn {
        field,
        type_name: discover.types.get(app_type.as_ref()).unwrap_or(&discover.default_type).clone(),
        format: discover.formats.get(app_type.as_ref()).copied().unwrap_or_default(),
        off: discover.off.as_ref().is_some_and(|rule| holds(rule, raw)),
        label: discover
            .label
            .as_ref()
            .and_then(|label| at(raw, label))
            .filter(|l| *l != "null")
            .map(|label| crate::extract::record::string_of(label).into_owned()),
        ..DescribedColumn::default()
    };
    Some(Found { called, own: name, column })
}

/// A field of the account, before its column has a name.
pub struct Found {
    /// What its column is named after.
    pub called: String,
    /// The app's name of it.
    pub own: String,
    pub column: DescribedColumn,
}

/// What is known of a collection whose fields the app does not tell us.
pub fn by_file(collection: &Collection) -> Described {
    described(collection, Vec::new())
}

/// The file's columns, then what the account has beside them.
pub fn described(collection: &Collection, found: Vec<Found>) -> Described {
    let of_file = collection.columns.iter().map(|column| DescribedColumn {
        name: column.name.clone(),
        field: column.field.clone().unwrap_or_else(|| column.name.clone()),
        type_name: column.type_name.clone(),
        format: column.format,
        // What the app is told is said by the file.
        filterable: true,
        ..DescribedColumn::default()
    });
    let mut columns: Vec<DescribedColumn> = of_file.collect();
    let is_new = |field: &str| !collection.columns.iter().any(|column| column.path() == field_path(field));
    let mut seen = HashSet::new();
    let is_first = |found: &Found| seen.insert(found.column.field.clone());
    let fresh: Vec<Found> = found.into_iter().filter(|found| is_new(&found.column.field)).filter(is_first).collect();
    // Names of the file come first, so that no field of the account renames a column of it.
    let of_file = collection.columns.iter().map(|column| (column.name.as_str(), column.name.as_str()));
    let all = of_file.chain(fresh.iter().map(|found| (found.called.as_str(), found.own.as_str())));
    let names = unique_names_of(all).split_off(collection.columns.len());
    columns.extend(fresh.into_iter().zip(names).map(|(found, name)| DescribedColumn { name, ..found.column }));
    let deleted_field = match &collection.deletes {
        Deletes::Flag { field, equals: None } => Some(field.clone()),
        _ => None,
    };
    Described { columns, deleted_field, ..Described::default() }
}
