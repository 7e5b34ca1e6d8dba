//! Accounts, tables and recorded replies for the tests of this reader.

use crate::extract::{Described, DescribedColumn, OutColumn, Output, Target};
use crate::http::{Account, Policy, Proof};
use crate::manifest::{field_path, Auth, Collection, Column, Cursor, Deletes, Format, Kind, Protocol, Source};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub fn account(options: &[(&str, &str)]) -> Account {
    let source = Source {
        source: "salesforce".into(),
        title: "Salesforce".into(),
        kind: Kind::Object,
        docs: String::new(),
        protocol: Protocol::Salesforce,
        base_url: "https://example.invalid".into(),
        api_version: Some("v62.0".into()),
        auth: Auth::Bearer { secret: "token".into(), credentials: Vec::new() },
        settings: Vec::new(),
        values: BTreeMap::new(),
        headers: BTreeMap::new(),
        params: BTreeMap::new(),
        rate: None,
        errors: Vec::new(),
        error_message: vec!["/0/message".into()],
        missing_scope: Vec::new(),
        check_path: None,
        check: None,
        feed: None,
        notes: Vec::new(),
        collections: Vec::new(),
        helpers: Vec::new(),
    };
    Account {
        server: "sf".into(),
        source: Arc::new(source),
        options: options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        credentials: [("token".to_string(), crate::secret::Secret::new("t"))].into(),
        policy: Policy::default(),
        token: None,
        proof: Proof::default(),
        told: Default::default(),
    }
}

pub fn column(name: &str, field: &str, target: Target) -> OutColumn {
    OutColumn { name: name.into(), path: field_path(field), target, format: Format::Auto }
}

/// A table of accounts as the source file knows them; the key is the column of `Id`, when there is one.
pub fn output(columns: &[OutColumn]) -> Output {
    let type_name = |target: Target| match target {
        Target::Bool => "boolean",
        Target::Int2 | Target::Int4 | Target::Int8 => "integer",
        Target::Float8 | Target::Numeric => "numeric",
        Target::Timestamptz => "timestamptz",
        Target::Date => "date",
        Target::Json | Target::Jsonb => "jsonb",
        Target::Text => "text",
    };
    let columns_of_file = columns
        .iter()
        .map(|c| Column {
            name: c.name.clone(),
            type_name: type_name(c.target).into(),
            field: Some(if c.path.len() == 1 { c.path[0].clone() } else { format!("/{}", c.path.join("/")) }),
            ..Column::default()
        })
        .collect();
    let collection = Collection {
        name: "accounts".into(),
        object: "Account".into(),
        primary_key: vec!["id".into()],
        cursor: Some(Cursor { field: "SystemModstamp".into(), overlap_seconds: 600, ..Cursor::default() }),
        deletes: Deletes::Flag { field: "IsDeleted".into(), equals: None },
        columns: columns_of_file,
        ..Collection::default()
    };
    Output {
        collection: Arc::new(collection),
        columns: columns.to_vec(),
        key: columns.iter().position(|c| c.path == ["Id"]).into_iter().collect(),
        keep_extra: true,
        checkpoint: None,
        binary: None,
        described: None,
    }
}

/// (field, type, filterable).
pub fn described(fields: &[(&str, &str, bool)]) -> Arc<Described> {
    let columns = fields
        .iter()
        .map(|(field, type_name, filterable)| DescribedColumn {
            name: field.to_lowercase(),
            field: field.to_string(),
            type_name: type_name.to_string(),
            filterable: *filterable,
            sortable: true,
            ..DescribedColumn::default()
        })
        .collect();
    Arc::new(Described {
        columns,
        cursor_field: Some("SystemModstamp".into()),
        deleted_field: Some("IsDeleted".into()),
        replicateable: true,
        ..Described::default()
    })
}

/// A reply recorded from a real org, when the recordings are there; says so when they are not.
pub fn recorded(file: &str) -> Option<String> {
    let root = match std::env::var_os("CLOUDSYNC_RECORDED") {
        Some(root) => PathBuf::from(root),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recorded"),
    };
    let path = root.join("salesforce").join(file);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        eprintln!("SKIPPED: no recorded reply salesforce/{file} (set CLOUDSYNC_RECORDED)");
    }
    text
}
