//! Decides which columns an object offers, and which of their properties can be asked for, from what Describe says.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::soap;
use crate::error::SyncError;
use crate::extract::rest::discover;
use crate::extract::{Described, DescribedColumn};
use crate::http::{xml, ApiClient, Reply};
use crate::manifest::{field_path, Collection};
use serde_json::Value;

/// A property as the account sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// With dots between the parts: `Client.ID`.
    pub name: String,
    pub data_type: String,
    pub is_retrievable: bool,
}

/// What Describe says of a collection's object.
pub async fn properties(api: &ApiClient, collection: &Collection) -> Result<Vec<Property>, SyncError> {
    let found = api.call_parsed(soap::describe_request(collection)?, read).await?;
    if found.is_empty() {
        let detail = format!("the account knows no object {}", collection.object);
        return Err(SyncError::NotFound { status: 200, detail });
    }
    Ok(found)
}

fn read(reply: &Reply) -> Result<Vec<Property>, String> {
    let place = "/Envelope/Body/DefinitionResponseMsg/ObjectDefinition/Properties";
    let answer = xml::to_json(&reply.body, &[field_path(place)])?;
    if answer.pointer("/Envelope/Body/DefinitionResponseMsg").is_none() {
        return Err("the reply is not the answer to a Describe".to_string());
    }
    let text =
        |property: &Value, name: &str| property.get(name).and_then(Value::as_str).unwrap_or_default().to_string();
    let property = |property: &Value| Property {
        name: text(property, "Name"),
        data_type: text(property, "DataType"),
        is_retrievable: text(property, "IsRetrievable") == "true",
    };
    let found = answer.pointer(place).and_then(Value::as_array).into_iter().flatten().map(property);
    Ok(found.filter(|property| !property.name.is_empty()).collect())
}

/// The property that a column's path is.
pub fn property_of(path: &[String]) -> String {
    path.join(".")
}

/// The file's columns, those that can be asked for marked as filterable, and what the account can retrieve beside them.
pub fn described(collection: &Collection, properties: &[Property]) -> Described {
    let retrievable = || properties.iter().filter(|property| property.is_retrievable);
    let new = retrievable().map(|property| {
        let column = DescribedColumn {
            field: format!("/{}", property.name.replace('.', "/")),
            type_name: type_name(&property.data_type).to_string(),
            ..DescribedColumn::default()
        };
        discover::Found { called: property.name.clone(), own: property.name.clone(), column }
    });
    let mut described = discover::described(collection, new.collect());
    for column in &mut described.columns {
        let name = property_of(&field_path(&column.field));
        column.filterable = retrievable().any(|property| is_part(&property.name, &name));
    }
    described
}

/// Whether a property is the named one, or inside it.
pub fn is_part(property: &str, name: &str) -> bool {
    property.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Times are texts here: what they mean is known of the file's own columns only.
fn type_name(data_type: &str) -> &'static str {
    match data_type {
        "Int16" | "Int32" | "Int64" | "Long" => "bigint",
        "Boolean" => "boolean",
        "Decimal" | "Double" | "Single" => "numeric",
        list if list.ends_with("[]") => "jsonb",
        _ => "text",
    }
}
