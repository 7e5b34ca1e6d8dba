//! Builds the listings below an ad account: which fields are asked for, and with which conditions.
//!
//! Layer: extract. Knows nothing of Postgres.

use crate::extract::rest::names::Names;
use crate::extract::Output;
use crate::manifest::{field_path, Collection, Deletes, Param};
use serde_json::{json, Value};

/// The collection as it is listed below an ad account, with further conditions.
pub fn below(collection: &Collection, more: &[Value]) -> Collection {
    let Some(parent) = &collection.parent else { return collection.clone() };
    let mut params = parent.params.clone();
    if let Some(Param::Json(Value::Array(conditions))) = params.get_mut("filtering") {
        conditions.extend(more.iter().cloned());
    }
    Collection { path: parent.path.clone(), params, parent: None, select: None, ..collection.clone() }
}

/// The collection without its own idea of windows: the days are named one by one.
pub fn of_days(collection: &Collection, more: &[Value]) -> Collection {
    Collection { cursor: None, ..below(collection, more) }
}

/// What the templates of such a listing are filled with.
pub fn names(account: &str, fields: &[String]) -> Names {
    let mut names = Names::default();
    names.set("account_id", account);
    names.set_list("fields", fields.to_vec());
    names
}

/// The listing of records with these statuses only. What is archived or deleted is listed only when it is named.
pub fn with_statuses(mut listing: Collection, keep: impl Fn(&str) -> bool) -> Collection {
    let Some(Param::Json(Value::Array(conditions))) = listing.params.get_mut("filtering") else { return listing };
    let is_on_status = |condition: &&mut Value| {
        condition.get("field").and_then(Value::as_str).is_some_and(|field| field.ends_with(".effective_status"))
    };
    for condition in conditions.iter_mut().filter(is_on_status) {
        if let Some(Value::Array(statuses)) = condition.get_mut("value") {
            statuses.retain(|status| status.as_str().is_some_and(&keep));
        }
    }
    listing
}

/// The statuses that a collection's records can have.
pub fn statuses(collection: &Collection) -> Vec<String> {
    let params = collection.parent.iter().filter_map(|parent| parent.params.get("filtering"));
    let conditions =
        params.filter_map(|param| if let Param::Json(Value::Array(list)) = param { Some(list) } else { None });
    let values = conditions.flatten().filter_map(|condition| condition.get("value")?.as_array()).flatten();
    values.filter_map(Value::as_str).map(str::to_string).collect()
}

/// Records whose id is one of these; `level` is what filters call their kind.
pub fn one_of(level: &str, ids: &[String]) -> Value {
    json!({ "field": format!("{level}.id"), "operator": "IN", "value": ids })
}

/// An id that can stand in a filter. What is none names no record.
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit())
}

/// The fields that a table needs.
pub fn fields_of(output: &Output) -> Vec<String> {
    let is_made = |name: &str| output.collection.column(name).is_some_and(|column| !column.is_of_record());
    let columns = output.columns.iter().filter(|column| !is_made(&column.name));
    spelled(&output.collection, columns.map(|column| column.path.clone()))
}

/// The fields of all columns that the source file has.
pub fn all_fields(collection: &Collection) -> Vec<String> {
    let columns = collection.columns.iter().filter(|column| column.is_of_record());
    spelled(collection, columns.map(|column| column.path()))
}

/// Fields as Facebook takes them: what lies inside another object in its braces.
fn spelled(collection: &Collection, own: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    let keys = collection.primary_key.iter().filter_map(|name| collection.column(name)).map(|column| column.path());
    let deleted = match &collection.deletes {
        Deletes::Flag { field, .. } => Some(field_path(field)),
        _ => None,
    };
    let cursor = collection.cursor.iter().map(|cursor| field_path(&cursor.field));
    let always = collection.select.iter().flat_map(|select| &select.always_include).map(|name| vec![name.clone()]);
    let mut wanted: Vec<(String, Vec<String>)> = Vec::new();
    for path in always.chain(keys).chain(cursor).chain(deleted).chain(own) {
        let Some((first, inside)) = path.split_first() else { continue };
        let at = wanted.iter().position(|(name, _)| name == first).unwrap_or_else(|| {
            wanted.push((first.clone(), Vec::new()));
            wanted.len() - 1
        });
        if let (Some((_, known)), Some(inner)) = (wanted.get_mut(at), inside.first()) {
            if !known.contains(inner) {
                known.push(inner.clone());
            }
        }
    }
    let with_inside = |(name, inside): (String, Vec<String>)| match inside.is_empty() {
        true => name,
        false => format!("{name}{{{}}}", inside.join(",")),
    };
    wanted.into_iter().map(with_inside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::{OutColumn, Target};
    use crate::manifest::{load, Format};
    use std::sync::Arc;

    fn output(collection: &str, columns: &[&str]) -> Output {
        let source = load::source("facebook_ads").unwrap();
        let collection = source.collection(collection).unwrap().clone();
        let column = |name: &&str| OutColumn {
            name: name.to_string(),
            path: collection.column(name).unwrap().path(),
            target: Target::Text,
            format: Format::Auto,
        };
        Output {
            columns: columns.iter().map(column).collect(),
            key: vec![0],
            keep_extra: true,
            checkpoint: None,
            binary: None,
            described: None,
            collection: Arc::new(collection),
        }
    }

    #[test]
    fn only_what_a_table_needs_is_asked_for() {
        for (collection, columns, want) in [
            ("ads", vec!["id"], "id updated_time effective_status"),
            (
                "ads",
                vec!["id", "creative_id", "name", "utm_source", "url_parameters"],
                "id updated_time effective_status creative{id,url_tags} name",
            ),
            ("insights", vec!["id", "spend"], "account_id ad_id date_start spend"),
            ("ad_accounts", vec!["id", "partner_id"], "id account_id timezone_offset_hours_utc account_status partner"),
        ] {
            assert_eq!(fields_of(&output(collection, &columns)).join(" "), want, "{collection} {columns:?}");
        }
    }

    #[test]
    fn conditions_come_on_top_of_the_files() {
        let source = load::source("facebook_ads").unwrap();
        let listing = below(source.collection("ads").unwrap(), &[one_of("campaign", &["7".into()])]);
        let Some(Param::Json(Value::Array(conditions))) = listing.params.get("filtering") else { panic!("no filters") };
        assert_eq!(conditions.len(), 3);
        assert_eq!(conditions[2], json!({"field": "campaign.id", "operator": "IN", "value": ["7"]}));
        assert!(is_id("120200000000000001") && !is_id("1{x}") && !is_id(""));
    }
}
