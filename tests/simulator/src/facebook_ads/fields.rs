//! Decides which fields a node has, what `fields=` asks for, and how a node is written.
//!
//! Without `fields` a node shows little more than its id; what has no value is left out.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use serde_json::{json, Map, Value};

use super::errors::Refusal;

pub type Fields = Map<String, Value>;

/// A field asked for, with those asked for inside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub name: String,
    pub inside: Vec<Wanted>,
}

fn known() -> &'static HashMap<&'static str, HashSet<&'static str>> {
    static KNOWN: OnceLock<HashMap<&'static str, HashSet<&'static str>>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let mut found: HashMap<&str, HashSet<&str>> = HashMap::new();
        let mut name = "";
        for word in include_str!("fields.txt").lines().filter(|l| !l.starts_with('#')).flat_map(str::split_whitespace) {
            match word.strip_suffix(':') {
                Some(collection) => name = collection,
                None => drop(found.entry(name).or_default().insert(word)),
            }
        }
        found
    })
}

pub fn has(collection: &str, field: &str) -> bool {
    known().get(collection).is_some_and(|fields| fields.contains(field))
}

pub fn all(collection: &str) -> impl Iterator<Item = &'static str> {
    known().get(collection).into_iter().flatten().copied()
}

/// What errors call the nodes of a collection.
pub fn node_type(collection: &str) -> &'static str {
    match collection {
        "ad_accounts" => "AdAccount",
        "campaigns" => "AdCampaignGroup",
        "ad_sets" => "AdCampaign",
        "ads" => "AdGroup",
        _ => "AdCreative",
    }
}

/// Reads `a,b{c,d}`, or a JSON array of such texts.
pub fn parse(text: &str) -> Vec<Wanted> {
    let joined = match serde_json::from_str::<Vec<String>>(text) {
        Ok(list) => list.join(","),
        Err(_) => text.to_string(),
    };
    let mut at = joined.chars().filter(|c| !c.is_whitespace()).peekable();
    list(&mut at)
}

fn list(at: &mut std::iter::Peekable<impl Iterator<Item = char>>) -> Vec<Wanted> {
    let mut found: Vec<Wanted> = Vec::new();
    let mut name = String::new();
    let mut inside = Vec::new();
    loop {
        let c = at.next();
        match c {
            Some('{') => inside = list(at),
            Some(',' | '}') | None => {
                if !name.is_empty() {
                    // `.limit(5)` and the like only matter for edges.
                    let name = std::mem::take(&mut name);
                    let name = name.split('.').next().unwrap_or("").to_string();
                    found.push(Wanted { name, inside: std::mem::take(&mut inside) });
                }
                if c != Some(',') {
                    return found;
                }
            }
            Some(c) => name.push(c),
        }
    }
}

/// The node as it is sent. Objects that are nodes themselves show their id alone unless more of them is asked for.
pub fn render(collection: &str, node: &Fields, wanted: &[Wanted]) -> Result<Value, Refusal> {
    let mut sent = json!({});
    for field in wanted {
        if !has(collection, &field.name) {
            return Err(Refusal::no_field(&field.name, node_type(collection)));
        }
        let Some(value) = node.get(&field.name).filter(|value| !value.is_null()) else { continue };
        sent[&field.name] = match (field.name.as_str(), value) {
            ("creative", Value::Object(creative)) => render("creatives", creative, &with_id(&field.inside))?,
            ("business", Value::Object(_)) if field.inside.is_empty() => value.clone(),
            ("campaign" | "adset" | "business", Value::Object(inner)) => {
                let names = with_id(&field.inside);
                let shown = names.iter().filter_map(|w| Some((w.name.clone(), inner.get(&w.name)?.clone())));
                Value::Object(shown.collect())
            }
            (_, value) => value.clone(),
        };
    }
    sent["id"] = node.get("id").cloned().unwrap_or_default();
    Ok(sent)
}

fn with_id(inside: &[Wanted]) -> Vec<Wanted> {
    let mut names = inside.to_vec();
    if !names.iter().any(|w| w.name == "id") {
        names.push(Wanted { name: "id".into(), inside: Vec::new() });
    }
    names
}

/// What is sent when `fields` is not given.
pub fn default_of(collection: &str) -> Vec<Wanted> {
    match collection {
        "ad_accounts" => parse("account_id,id"),
        _ => parse("id"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_be_nested_or_a_json_array() {
        let wanted = parse("id, creative{id,url_tags},name");
        assert_eq!(wanted.len(), 3);
        assert_eq!(wanted[1].inside.iter().map(|w| w.name.as_str()).collect::<Vec<_>>(), ["id", "url_tags"]);
        assert_eq!(parse(r#"["id","name"]"#), parse("id,name"));
        assert_eq!(parse("adsets.limit(5){id}")[0].name, "adsets");
    }

    #[test]
    fn a_node_shows_what_is_asked_and_has_a_value() {
        let node =
            json!({"id": "1", "name": "A", "spend_cap": null, "creative": {"id": "9", "url_tags": "utm_source=x"}});
        let node = node.as_object().unwrap();
        assert_eq!(render("ads", node, &parse("creative")).unwrap(), json!({"id": "1", "creative": {"id": "9"}}));
        let deeper = render("ads", node, &parse("name,creative{url_tags}")).unwrap();
        assert_eq!(deeper, json!({"id": "1", "name": "A", "creative": {"id": "9", "url_tags": "utm_source=x"}}));
        assert_eq!(render("campaigns", node, &parse("id,spend_cap")).unwrap(), json!({"id": "1"}));
        let refused = render("campaigns", node, &parse("nonsense")).unwrap_err();
        assert_eq!(
            (refused.code, refused.message.as_str()),
            (100, "(#100) Tried accessing nonexisting field (nonsense) on node type (AdCampaignGroup)")
        );
    }
}
