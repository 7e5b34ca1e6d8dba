//! Decides which columns an object offers, from what the org itself says of it (`describe`).
//!
//! Types follow the field's own; a kind of field we do not know is text, so a new one never breaks a table. Left out of
//! a new table are compound fields whose parts are there (an address and its street) and base64 bodies. `IsDeleted` is
//! no column: every table has `is_deleted`. Changes are asked by the first stamp that exists *and* can be filtered:
//! some objects have a SystemModstamp that cannot (ActivityFieldHistory).
//!
//! Layer: extract. Knows nothing of Postgres.

use super::plan::root;
use super::query::words_of;
use super::soql;
use crate::error::SyncError;
use crate::extract::{Described, DescribedColumn};
use crate::http::{ApiClient, Reply, Request};
use crate::manifest::naming::unique_names;
use serde::Deserialize;

/// In the order in which they tell changes best.
const CURSOR_FIELDS: [&str; 4] = ["SystemModstamp", "LastModifiedDate", "CreatedDate", "LoginTime"];
const DELETED_FIELD: &str = "IsDeleted";
/// Objects that belong to a feature of the org: without it they are not there.
const OPTIONAL_OBJECTS: [&str; 5] =
    ["OpportunityLineItemSchedule", "Solution", "CaseSolution", "CategoryData", "Territory2"];

/// An object of the org.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectInfo {
    pub name: String,
    pub label: String,
    pub queryable: bool,
    pub custom: bool,
    /// Whether its deleted ids can be asked for.
    pub replicateable: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SObject {
    name: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    queryable: bool,
    #[serde(default)]
    custom: bool,
    #[serde(default)]
    replicateable: bool,
    #[serde(default)]
    deprecated_and_hidden: bool,
    /// Absent in a list of objects.
    #[serde(default)]
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct SObjects {
    sobjects: Vec<SObject>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Field {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    filterable: bool,
    #[serde(default)]
    sortable: bool,
    #[serde(default)]
    calculated: bool,
    #[serde(default)]
    compound_field_name: Option<String>,
    #[serde(default)]
    deprecated_and_hidden: bool,
}

/// The PostgreSQL type of a kind of field (docs: Object Reference, "Field Types").
fn type_name(kind: &str) -> &'static str {
    match kind {
        "double" | "percent" | "currency" => "numeric",
        "int" => "integer",
        "long" => "bigint",
        "datetime" => "timestamptz",
        "date" => "date",
        "boolean" => "boolean",
        "address" | "location" => "jsonb",
        _ => "text",
    }
}

fn described(object: SObject) -> Result<Described, SyncError> {
    if !object.queryable {
        return Err(SyncError::Unsupported {
            reason: format!("{} cannot be queried: its describe says queryable = false", object.name),
        });
    }
    let mut fields = object.fields;
    fields.retain(|field| !field.deprecated_and_hidden);
    let has_parts = |name: &str| {
        // Name of a person is compound too (FirstName and LastName point to it), but it is what people look for.
        name != "Name" && fields.iter().any(|f| f.name != name && f.compound_field_name.as_deref() == Some(name))
    };
    let is_cursor = |name: &&str| fields.iter().any(|f| f.name == *name && f.filterable);
    let cursor_field = CURSOR_FIELDS.iter().find(|name| is_cursor(name)).map(|name| name.to_string());
    let deleted_field = fields.iter().find(|f| f.name == DELETED_FIELD).map(|f| f.name.clone());
    let shown = || fields.iter().filter(|field| field.name != DELETED_FIELD);
    let names = unique_names(shown().map(|field| field.name.as_str()));
    let columns = names
        .into_iter()
        .zip(shown())
        .map(|(name, field)| DescribedColumn {
            name,
            field: field.name.clone(),
            type_name: type_name(&field.kind).to_string(),
            filterable: field.filterable,
            sortable: field.sortable,
            calculated: field.calculated,
            off: field.kind == "base64" || has_parts(&field.name),
            label: field.label.clone(),
            ..DescribedColumn::default()
        })
        .collect();
    let replicateable = object.replicateable;
    Ok(Described { columns, cursor_field, deleted_field, replicateable, ..Described::default() })
}

/// Whether an object's absence is a normal state of an org.
fn is_optional(object: &str) -> bool {
    object.ends_with("Tag") || object.ends_with("Share") || OPTIONAL_OBJECTS.contains(&object)
}

fn absent(object: &str, status: u16) -> SyncError {
    if is_optional(object) {
        SyncError::Unsupported { reason: format!("the org does not have {object} (the feature is off)") }
    } else {
        SyncError::NotFound { status, detail: format!("the org has no object {object}, or its user may not see it") }
    }
}

/// What the org says of an object; `None` when that did not change since `last_modified` (a 304, which costs a call
/// but no body).
pub async fn describe(
    api: &ApiClient,
    object: &str,
    last_modified: Option<&str>,
) -> Result<Option<Described>, SyncError> {
    let mut request = Request {
        target: format!("{}/sobjects/{}/describe", root(api.account())?, soql::check_name(object)?),
        accept: vec![304, 404],
        ..Request::default()
    };
    if let Some(stamp) = last_modified {
        request.headers.push(("If-Modified-Since".to_string(), stamp.to_string()));
    }
    let parse = |reply: &Reply| match reply.status {
        304 | 404 => Ok(None),
        _ => serde_json::from_slice::<SObject>(&reply.body)
            .map(|object| Some((object, last_modified_of(reply))))
            .map_err(|error| format!("not a describe: {error}"))
            .and_then(|found| match &found {
                Some((object, _)) if object.fields.is_empty() => Err("a describe without fields".to_string()),
                _ => Ok(found),
            }),
    };
    let answer = api.call_parsed(request, |reply| Ok((reply.status, parse(reply)?))).await;
    match answer {
        Ok((_, Some((object, stamp)))) => Ok(Some(Described { last_modified: stamp, ..described(object)? })),
        Ok((304, None)) => Ok(None),
        Ok((status, None)) => Err(absent(object, status)),
        Err(SyncError::NotFound { status, .. }) => Err(absent(object, status)),
        Err(error) if words_of(&error).contains("INVALID_TYPE") => Err(absent(object, 400)),
        Err(error) => Err(error),
    }
}

fn last_modified_of(reply: &Reply) -> Option<String> {
    reply.headers.get("last-modified").and_then(|value| value.to_str().ok()).map(str::to_string)
}

/// Every object of the org that its user may see, to find custom ones.
pub async fn list_objects(api: &ApiClient) -> Result<Vec<ObjectInfo>, SyncError> {
    let request = Request { target: format!("{}/sobjects", root(api.account())?), ..Request::default() };
    let parse = |reply: &Reply| {
        serde_json::from_slice::<SObjects>(&reply.body).map_err(|error| format!("not a list of objects: {error}"))
    };
    let list = api.call_parsed(request, parse).await?;
    Ok(objects(list))
}

fn objects(list: SObjects) -> Vec<ObjectInfo> {
    list.sobjects
        .into_iter()
        .filter(|object| !object.deprecated_and_hidden)
        .map(|object| ObjectInfo {
            label: object.label.unwrap_or_else(|| object.name.clone()),
            name: object.name,
            queryable: object.queryable,
            custom: object.custom,
            replicateable: object.replicateable,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::recorded;
    use super::*;

    fn parse(body: &str) -> Result<Described, SyncError> {
        described(serde_json::from_str(body).unwrap())
    }

    fn column<'a>(described: &'a Described, field: &str) -> &'a DescribedColumn {
        described.columns.iter().find(|c| c.field == field).unwrap()
    }

    #[test]
    fn kinds_of_fields_have_types() {
        for (kind, want) in [
            ("id", "text"),
            ("reference", "text"),
            ("multipicklist", "text"),
            ("time", "text"),
            ("base64", "text"),
            ("not yet invented", "text"),
            ("double", "numeric"),
            ("percent", "numeric"),
            ("currency", "numeric"),
            ("int", "integer"),
            ("long", "bigint"),
            ("datetime", "timestamptz"),
            ("date", "date"),
            ("boolean", "boolean"),
            ("address", "jsonb"),
            ("location", "jsonb"),
        ] {
            assert_eq!(type_name(kind), want, "{kind}");
        }
    }

    #[test]
    fn the_cursor_is_the_first_stamp_that_can_be_filtered() {
        let field = |(name, filterable): &(&str, bool)| {
            format!(r#"{{"name":"{name}","type":"datetime","filterable":{filterable}}}"#)
        };
        for (stamps, want) in [
            (vec![("CreatedDate", true), ("SystemModstamp", true)], Some("SystemModstamp")),
            (vec![("SystemModstamp", false), ("LastModifiedDate", true)], Some("LastModifiedDate")),
            (vec![("LoginTime", true), ("CreatedDate", true)], Some("CreatedDate")),
            (vec![("LoginTime", true)], Some("LoginTime")),
            (vec![("SystemModstamp", false), ("Other", true)], None),
        ] {
            let fields: Vec<String> = stamps.iter().map(field).collect();
            let body = format!(r#"{{"name":"X","queryable":true,"fields":[{}]}}"#, fields.join(","));
            let described = parse(&body).unwrap();
            assert_eq!(described.cursor_field.as_deref(), want, "{stamps:?}");
            assert_eq!(described.deleted_field, None);
        }
    }

    #[test]
    fn bodies_are_off_and_formulas_are_flagged() {
        let described = parse(
            r#"{"name":"X","queryable":true,"replicateable":true,"fields":[
            {"name":"Body","type":"base64"},{"name":"Sum__c","type":"double","calculated":true},
            {"name":"Place__c","type":"location"},{"name":"Place__Latitude__s","type":"double","compoundFieldName":"Place__c"},
            {"name":"Old__c","type":"string","deprecatedAndHidden":true}]}"#,
        )
        .unwrap();
        assert!(column(&described, "Body").off);
        assert!(column(&described, "Sum__c").calculated);
        assert!(column(&described, "Place__c").off);
        assert!(!column(&described, "Place__Latitude__s").off);
        assert_eq!(described.columns.len(), 4);
        assert!(described.replicateable);
    }

    #[test]
    fn an_object_that_cannot_be_queried_or_is_not_there() {
        let refused = parse(r#"{"name":"Name","queryable":false,"fields":[]}"#);
        assert!(matches!(refused, Err(SyncError::Unsupported { reason }) if reason.contains("queryable")));
        for (object, optional) in
            [("AccountTag", true), ("CampaignShare", true), ("Solution", true), ("Account", false), ("Tag__c", false)]
        {
            assert_eq!(matches!(absent(object, 404), SyncError::Unsupported { .. }), optional, "{object}");
        }
    }

    #[test]
    fn a_recorded_account_and_contact() {
        let Some(body) = recorded("describe/Account.json") else { return };
        let account = parse(&body).unwrap();
        assert_eq!(account.cursor_field.as_deref(), Some("SystemModstamp"));
        assert_eq!(account.deleted_field.as_deref(), Some("IsDeleted"));
        assert!(!account.columns.iter().any(|c| c.field == "IsDeleted"));
        for (field, name, type_name, off, filterable) in [
            ("Id", "id", "text", false, true),
            ("Name", "name", "text", false, true),
            ("BillingAddress", "billing_address", "jsonb", true, true),
            ("BillingLatitude", "billing_latitude", "numeric", false, true),
            ("AnnualRevenue", "annual_revenue", "numeric", false, true),
            ("NumberOfEmployees", "number_of_employees", "integer", false, true),
            ("SystemModstamp", "system_modstamp", "timestamptz", false, true),
            ("LastActivityDate", "last_activity_date", "date", false, true),
            ("Description", "description", "text", false, false),
        ] {
            let got = column(&account, field);
            assert_eq!(
                (got.name.as_str(), got.type_name.as_str(), got.off, got.filterable),
                (name, type_name, off, filterable),
                "{field}"
            );
        }
        let Some(body) = recorded("describe/Contact.json") else { return };
        let contact = parse(&body).unwrap();
        assert!(!column(&contact, "Name").off, "FirstName points to it, yet it stays");
        assert!(column(&contact, "MailingAddress").off);
        let Some(body) = recorded("sobject_describe_success_response.json") else { return };
        assert_eq!(parse(&body).unwrap().columns.len(), 29);
    }

    #[test]
    fn a_recorded_list_of_objects() {
        let Some(body) = recorded("describe_sobjects_success_response.json") else { return };
        let list = objects(serde_json::from_str(&body).unwrap());
        let account = ObjectInfo {
            name: "Account".into(),
            label: "Account".into(),
            queryable: true,
            custom: false,
            replicateable: true,
        };
        assert_eq!(list, [account]);
    }
}
