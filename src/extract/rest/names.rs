//! Decides what the names in a request's templates stand for: bounds, keys, fields, columns of a parent.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::bound::{bound, spelled};
use super::raw::at_path;
use crate::extract::record::string_of;
use crate::extract::Output;
use crate::manifest::{Collection, Cursor, LimitType, Select};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Values of names, beside settings.
#[derive(Clone, Debug, Default)]
pub struct Names {
    texts: BTreeMap<String, String>,
    lists: BTreeMap<String, Vec<String>>,
}

impl Names {
    pub fn set(&mut self, name: &str, text: impl Into<String>) {
        self.texts.insert(name.to_string(), text.into());
    }

    pub fn set_list(&mut self, name: &str, values: Vec<String>) {
        self.lists.insert(name.to_string(), values);
    }

    /// A bound, as its cursor writes it and in every other spelling.
    pub fn set_bound(&mut self, name: &str, cursor: &Cursor, micros: i64, is_upper: bool) {
        self.set(name, bound(cursor, micros, is_upper));
        for filter in crate::manifest::template::TIME_FILTERS {
            self.set(&format!("{name}|{filter}"), spelled(cursor, filter, micros, is_upper));
        }
    }

    /// The columns of a parent's record, by name; `id` is its field of that name even where it is no column.
    pub fn set_columns(&mut self, base: &Collection, raw: &str) {
        let id = ("id".to_string(), vec!["id".to_string()]);
        let columns = base.columns.iter().map(|column| (column.name.clone(), column.path()));
        for (name, path) in std::iter::once(id).chain(columns) {
            if let Some(value) = at_path(raw, &path).filter(|value| *value != "null") {
                self.texts.insert(name, string_of(value).into_owned());
            }
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.texts.contains_key(name) || self.lists.contains_key(name)
    }

    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        let text = self.texts.get(name).map(|text| Cow::from(text.as_str()));
        text.or_else(|| self.lists.get(name).map(|values| Cow::from(values.join(","))))
    }

    pub fn list(&self, name: &str) -> Option<&Vec<String>> {
        self.lists.get(name)
    }
}

/// The fields to ask for by name, in parts that the app takes at once.
pub fn fields(base: &Collection, outputs: &[Output]) -> Vec<Vec<String>> {
    let Some(select) = &base.select else { return Vec::new() };
    // What is in a body does not make the address longer.
    let is_long = base.json.is_some() && select.limit_type == LimitType::Characters;
    let select = &Select { limit: select.limit.filter(|_| !is_long), ..select.clone() };
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_string());
        }
    };
    select.always_include.iter().for_each(|name| add(name));
    let own = outputs.iter().filter(|output| output.collection.name == base.name);
    let children = outputs.iter().filter_map(|output| output.collection.parent.as_ref());
    let children = children.filter(|parent| parent.collections.contains(&base.name));
    let mut paths: Vec<Vec<String>> = own.clone().flat_map(|o| &o.columns).map(|column| column.path.clone()).collect();
    let cursor = base.cursor.iter().map(|cursor| crate::manifest::field_path(&cursor.field));
    let key = base.primary_key.iter().filter_map(|name| base.column(name)).map(|column| column.path());
    // What is kept in `extra` has to be asked for, too.
    let kept = own.clone().filter(|output| output.keep_extra).filter_map(|output| output.described.as_deref());
    let kept = kept.flat_map(|described| &described.columns).filter(|column| column.in_extra);
    paths.extend(kept.map(|column| crate::manifest::field_path(&column.field)));
    paths.extend(cursor.chain(key));
    paths.extend(children.filter_map(|parent| parent.explode.as_deref()).map(crate::manifest::field_path));
    let outer = crate::manifest::field_path(&select.under);
    let outer = if select.under.is_empty() { Vec::new() } else { outer };
    for path in paths {
        let inside = path.strip_prefix(outer.as_slice());
        // A field deeper inside is asked for with what is around it.
        if let Some(name) = inside.and_then(|rest| rest.first()) {
            let made = own.clone().flat_map(|o| &o.collection.columns).any(|c| !c.is_of_record() && path == c.path());
            if !made {
                add(name);
            }
        }
    }
    parts(names, select)
}

fn parts(names: Vec<String>, select: &Select) -> Vec<Vec<String>> {
    let Some(limit) = select.limit else { return vec![names] };
    let weight = |name: &String| match select.limit_type {
        LimitType::Characters => name.len() + 1,
        LimitType::Fields => 1,
    };
    let fixed: usize = select.always_include.iter().map(weight).sum();
    let (always, others): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| select.always_include.contains(name));
    let mut parts = vec![always.clone()];
    let mut used = fixed;
    for name in others {
        let is_full = used + weight(&name) > limit && used > fixed;
        if is_full {
            parts.push(always.clone());
            used = fixed;
        }
        used += weight(&name);
        if let Some(part) = parts.last_mut() {
            part.push(name);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_asked_for_in_parts_that_fit() {
        let names: Vec<String> = ["id", "a", "bb", "ccc"].map(str::to_string).to_vec();
        let select = |limit, limit_type| Select {
            always_include: vec!["id".into()],
            limit: Some(limit),
            limit_type,
            ..Select::default()
        };
        for (name, select, want) in [
            ("by count", select(2, LimitType::Fields), vec!["id,a", "id,bb", "id,ccc"]),
            ("by length", select(8, LimitType::Characters), vec!["id,a,bb", "id,ccc"]),
            ("one that is too long alone", select(4, LimitType::Characters), vec!["id,a", "id,bb", "id,ccc"]),
            ("all at once", select(100, LimitType::Characters), vec!["id,a,bb,ccc"]),
        ] {
            let got: Vec<String> = parts(names.clone(), &select).iter().map(|part| part.join(",")).collect();
            assert_eq!(got, want, "{name}");
        }
    }
}
