//! Accounts and tables of the source file itself, for the tests of this reader.

use crate::extract::{OutColumn, Output, Target};
use crate::http::{Account, Policy};
use crate::manifest::{field_path, load, Format};
use crate::secret::Secret;
use std::sync::Arc;

pub fn account(options: &[(&str, &str)]) -> Account {
    Account {
        server: "ads".into(),
        source: load::source("google_ads").expect("sources/google_ads.json makes sense"),
        options: options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        credentials: [("developer_token".to_string(), Secret::new("d"))].into(),
        policy: Policy::default(),
        token: None,
        proof: Default::default(),
        told: Default::default(),
    }
}

pub fn column(name: &str, pointer: &str, target: Target) -> OutColumn {
    OutColumn { name: name.into(), path: field_path(pointer), target, format: Format::Auto }
}

/// A table with these columns of the file. Its key are those that are among them.
pub fn output(collection: &str, columns: &[&str]) -> Output {
    let source = load::source("google_ads").expect("sources/google_ads.json makes sense");
    let collection = Arc::new(source.collection(collection).expect("a collection of the file").clone());
    let target = |type_name: &str| match type_name {
        "bigint" => Target::Int8,
        "numeric" => Target::Numeric,
        "boolean" => Target::Bool,
        "date" => Target::Date,
        "jsonb" => Target::Json,
        _ => Target::Text,
    };
    let known = |name: &&str| collection.column(name).unwrap_or_else(|| panic!("there is no column {name}")).clone();
    let chosen: Vec<_> = columns.iter().map(known).collect();
    Output {
        key: (0..columns.len()).filter(|at| collection.primary_key.contains(&chosen[*at].name)).collect(),
        columns: chosen
            .iter()
            .map(|c| column(&c.name, c.field.as_deref().unwrap_or(&c.name), target(&c.type_name)))
            .collect(),
        keep_extra: true,
        checkpoint: None,
        binary: None,
        described: None,
        collection,
    }
}
