//! Decides how the org describes itself: the list of objects, and each object with its fields.

use serde_json::{json, Map, Value};

use super::schema::{Field, Object};

/// `SystemModstamp` as a person reads it.
fn label(name: &str) -> String {
    let mut text = String::new();
    let bare = name.trim_end_matches("__c").replace('_', " ");
    let mut before = ' ';
    for c in bare.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            text.push(' ');
        }
        text.push(c);
        before = c;
    }
    text
}

fn is_read_only(object: &Object) -> bool {
    matches!(
        object.name.as_str(),
        "OpportunityFieldHistory" | "Name" | "Period" | "OpportunityStage" | "UserLogin" | "CaseSolution"
    )
}

/// What the list of objects and describe have in common.
pub fn object_summary(object: &Object, version: &str) -> Map<String, Value> {
    let base = format!("/services/data/{version}/sobjects/{}", object.name);
    let name = &object.name;
    let is_tag = name.ends_with("Tag");
    let replicateable = object.is_queryable && !is_tag && object.has("SystemModstamp");
    let is_main = object.has("OwnerId") && object.has("IsDeleted");
    let writable = !is_read_only(object);
    let Value::Object(mut summary) = json!({
        "activateable": false, "associateEntityType": null, "associateParentEntity": null, "createable": writable,
        "custom": object.is_custom, "customSetting": false, "deepCloneable": false,
        "deletable": writable && object.has("IsDeleted"), "deprecatedAndHidden": false, "feedEnabled": is_main,
        "hasSubtypes": false, "isInterface": false, "isSubtype": false, "keyPrefix": object.key_prefix,
        "label": label(name), "labelPlural": format!("{}s", label(name)), "layoutable": is_main,
        "mergeable": matches!(name.as_str(), "Account" | "Contact" | "Lead" | "Case"), "mruEnabled": is_main, "name": name,
        "queryable": object.is_queryable, "replicateable": replicateable, "retrieveable": object.is_queryable,
        "searchable": is_main, "triggerable": is_main, "undeletable": object.has("IsDeleted") && !name.ends_with("Share"),
        "updateable": writable && !is_tag,
        "urls": {"sobject": base, "describe": format!("{base}/describe"), "rowTemplate": format!("{base}/{{ID}}")},
    }) else {
        return Map::new();
    };
    for (name, value) in &object.given {
        summary.insert(name.clone(), value.clone());
    }
    summary
}

/// The answer of `/sobjects/{Object}/describe`.
pub fn describe(object: &Object, version: &str) -> String {
    let mut all = object_summary(object, version);
    let fields: Vec<Value> = object.fields.iter().filter(|f| !f.is_hidden).map(|f| describe_field(object, f)).collect();
    let Value::Object(rest) = json!({
        "actionOverrides": [], "childRelationships": [], "compactLayoutable": true, "defaultImplementation": null, "extendedBy": null,
        "extendsInterfaces": null, "fields": fields, "implementedBy": null, "implementsInterfaces": null, "listviewable": null,
        "lookupLayoutable": null, "namedLayoutInfos": [], "networkScopeFieldName": null, "recordTypeInfos": [], "searchLayoutable": true,
        "sobjectDescribeOption": "FULL", "supportedScopes": [{"label": "All records", "name": "everything"}],
    }) else {
        return String::new();
    };
    all.extend(rest);
    Value::Object(all).to_string()
}

fn soap_type(kind: &str) -> &'static str {
    match kind {
        "id" | "reference" => "tns:ID",
        "boolean" => "xsd:boolean",
        "int" => "xsd:int",
        "long" => "xsd:long",
        "double" | "currency" | "percent" => "xsd:double",
        "datetime" => "xsd:dateTime",
        "date" => "xsd:date",
        "time" => "xsd:time",
        "base64" => "xsd:base64Binary",
        "address" => "urn:address",
        "location" => "urn:location",
        "anyType" => "xsd:anyType",
        _ => "xsd:string",
    }
}

fn picklist(field: &Field) -> Vec<Value> {
    super::seed::choices(&field.name)
        .iter()
        .map(|v| json!({"active": true, "defaultValue": false, "label": v, "validFor": null, "value": v}))
        .collect()
}

fn describe_field(object: &Object, field: &Field) -> Value {
    let kind = field.kind.as_str();
    let is_number = matches!(kind, "double" | "currency" | "percent");
    let is_place = field.name.ends_with("Latitude") || field.name.ends_with("Longitude");
    let (precision, scale) = match (is_number, is_place) {
        (false, _) => (0, 0),
        (true, true) => (18, 15),
        (true, false) => (18, 2),
    };
    let is_text = soap_type(kind) == "xsd:string";
    let is_system = matches!(
        field.name.as_str(),
        "Id" | "IsDeleted"
            | "CreatedDate"
            | "CreatedById"
            | "LastModifiedDate"
            | "LastModifiedById"
            | "SystemModstamp"
            | "MasterRecordId"
    );
    let is_writable = !is_system && !field.is_compound() && !field.calculated && !is_read_only(object);
    let sortable = field.filterable && !field.is_compound() && kind != "base64";
    let groupable = sortable && !is_number && kind != "datetime";
    let relation = field.reference_to.first().map(|_| match field.name.strip_suffix("__c") {
        Some(bare) => format!("{bare}__r"),
        None => field.name.trim_end_matches("Id").to_string(),
    });
    let byte_length = if is_text { field.length * 3 } else { field.length };
    let mut all = json!({
        "aggregatable": sortable && kind != "boolean", "aiPredictionField": false, "autoNumber": field.name.ends_with("Number") && kind == "string",
        "byteLength": byte_length, "calculated": field.calculated, "calculatedFormula": null, "cascadeDelete": false,
        "caseSensitive": false, "compoundFieldName": field.compound, "controllerName": null, "createable": is_writable,
        "custom": field.name.ends_with("__c"), "defaultValue": if kind == "boolean" { json!(false) } else { Value::Null },
        "defaultValueFormula": null, "defaultedOnCreate": is_system || kind == "boolean", "dependentPicklist": false,
        "deprecatedAndHidden": false, "digits": if kind == "int" { 8 } else { 0 }, "displayLocationInDecimal": false,
        "encrypted": false, "externalId": false, "extraTypeInfo": if kind == "textarea" { json!("plaintextarea") } else { Value::Null },
        "filterable": field.filterable, "filteredLookupInfo": null, "formulaTreatNullNumberAsZero": false, "groupable": groupable,
        "highScaleNumber": false, "htmlFormatted": false, "idLookup": kind == "id", "inlineHelpText": null, "label": label(&field.name),
        "length": field.length, "mask": null, "maskType": null, "name": field.name, "nameField": field.name == "Name",
        "namePointing": field.reference_to.len() > 1, "nillable": field.nillable, "permissionable": field.nillable && is_writable,
        "picklistValues": if matches!(kind, "picklist" | "multipicklist" | "combobox") { picklist(field) } else { Vec::new() },
        "polymorphicForeignKey": field.reference_to.len() > 1, "precision": precision, "queryByDistance": field.is_compound(),
        "referenceTargetField": null, "referenceTo": field.reference_to, "relationshipName": relation, "relationshipOrder": null,
        "restrictedDelete": false, "restrictedPicklist": false, "scale": scale, "searchPrefilterable": false,
        "soapType": soap_type(kind), "sortable": sortable, "type": kind, "unique": false, "updateable": is_writable && field.name != "Id",
        "writeRequiresMasterRead": false,
    });
    for (name, value) in &field.given {
        all[name.as_str()] = value.clone();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::schema::standard_objects;
    use super::*;

    #[test]
    fn describe_names_each_field_with_its_type() {
        for object in standard_objects() {
            let all: Value = serde_json::from_str(&describe(&object, "v62.0")).unwrap();
            assert_eq!(all["fields"].as_array().map(Vec::len), Some(object.fields.len()), "{}", object.name);
        }
        let object = standard_objects().into_iter().find(|o| o.name == "Account").unwrap();
        let all: Value = serde_json::from_str(&describe(&object, "v62.0")).unwrap();
        let field = |name: &str| all["fields"].as_array().unwrap().iter().find(|f| f["name"] == name).unwrap().clone();
        assert_eq!(field("BillingLatitude")["scale"], 15);
        assert_eq!(field("BillingAddress")["soapType"], "urn:address");
        assert_eq!(field("BillingCity")["compoundFieldName"], "BillingAddress");
        assert_eq!(field("OwnerId")["relationshipName"], "Owner");
        assert_eq!(field("Description")["filterable"], false);
        assert_eq!(label("SystemModstamp"), "System Modstamp");
    }
}
