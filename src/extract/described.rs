//! What an app says of a collection's fields, and how a new description goes on from the one before.
//!
//! A field keeps the column name it once got, whatever is added, renamed or taken away at the app; a name of a field that is
//! gone is not given to another one. What was decided about a field stays decided.
//!
//! Layer: extract. Knows nothing of Postgres.

use crate::manifest::naming::free_name;
use crate::manifest::{field_path, Format};
use std::collections::HashSet;

/// A collection as the app itself describes it.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Described {
    /// Columns to offer, in order.
    pub columns: Vec<DescribedColumn>,
    /// The field to ask changes by; `None` when the app has none that can be filtered.
    pub cursor_field: Option<String>,
    /// The field that marks deleted records.
    pub deleted_field: Option<String>,
    /// For `If-Modified-Since`.
    #[serde(default)]
    pub last_modified: Option<String>,
    /// Whether deleted ids can be asked for (`getDeleted`).
    #[serde(default)]
    pub replicateable: bool,
    /// Fields that the app once had: should one come back, its column does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<DescribedColumn>,
    /// Keys of records that the app does not describe (fields that are switched off): no sign of a new field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unlisted: Vec<String>,
}

/// A column found by discovery.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct DescribedColumn {
    pub name: String,
    pub field: String,
    pub type_name: String,
    #[serde(default)]
    pub format: Format,
    #[serde(default)]
    pub filterable: bool,
    #[serde(default)]
    pub sortable: bool,
    /// A formula: changes of its value do not move the cursor.
    #[serde(default)]
    pub calculated: bool,
    /// Left out of a new table unless asked for (compound parents whose parts are there, base64).
    #[serde(default)]
    pub off: bool,
    /// It has no column by choice: it is asked for and kept in `extra`.
    #[serde(default)]
    pub in_extra: bool,
    #[serde(default)]
    pub label: Option<String>,
}

impl DescribedColumn {
    /// The field's own name: the last part of its place.
    pub fn own_name(&self) -> String {
        field_path(&self.field).pop().unwrap_or_default()
    }
}

impl Described {
    pub fn column_of(&self, field: &str) -> Option<&DescribedColumn> {
        self.columns.iter().find(|column| column.field == field)
    }

    /// This description, as it goes on from `before`: names and decisions stay.
    pub fn following(mut self, before: &Described) -> Described {
        let known = |field: &str| before.columns.iter().chain(&before.gone).find(|old| old.field == field);
        let mut taken: HashSet<String> =
            before.columns.iter().chain(&before.gone).map(|column| column.name.clone()).collect();
        for column in &mut self.columns {
            match known(&column.field) {
                Some(old) => {
                    column.name.clone_from(&old.name);
                    column.in_extra = old.in_extra;
                }
                None => column.name = free_name(&column.name, &column.own_name(), &taken),
            }
            taken.insert(column.name.clone());
        }
        let lost = |old: &&DescribedColumn| self.column_of(&old.field).is_none();
        let mut gone: Vec<DescribedColumn> = before.columns.iter().chain(&before.gone).filter(lost).cloned().collect();
        // Under another policy a field that comes back is a new one.
        gone.iter_mut().for_each(|column| column.in_extra = false);
        self.gone = gone;
        let named: HashSet<String> = self.columns.iter().map(DescribedColumn::own_name).collect();
        self.unlisted = before.unlisted.iter().filter(|key| !named.contains(*key)).cloned().collect();
        self
    }

    /// Fields to make columns of: those that `before` did not have, or kept in `extra`.
    pub fn fresh<'d>(&'d self, before: &'d Described) -> impl Iterator<Item = usize> + 'd {
        let is_fresh = |column: &DescribedColumn| {
            !column.off && before.column_of(&column.field).is_none_or(|old| old.in_extra || old.off)
        };
        let places = self.columns.iter().enumerate().filter(move |(_, column)| is_fresh(column));
        places.map(|(at, _)| at)
    }

    /// Fields whose type is another one than before, with what it was.
    pub fn retyped<'d>(&'d self, before: &'d Described) -> impl Iterator<Item = (&'d DescribedColumn, &'d str)> {
        self.columns.iter().filter_map(|column| {
            let old = before.column_of(&column.field)?;
            (old.type_name != column.type_name).then_some((column, old.type_name.as_str()))
        })
    }

    /// Takes note of keys that are in records and that this description does not name.
    pub fn note_unlisted<'k>(&mut self, keys: impl IntoIterator<Item = &'k String>) {
        let named: HashSet<String> = self.columns.iter().map(DescribedColumn::own_name).collect();
        for key in keys {
            if !named.contains(key) && !self.unlisted.contains(key) {
                self.unlisted.push(key.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, field: &str) -> DescribedColumn {
        DescribedColumn { name: name.into(), field: field.into(), type_name: "text".into(), ..Default::default() }
    }

    fn described(columns: &[(&str, &str)]) -> Described {
        Described { columns: columns.iter().map(|(name, field)| column(name, field)).collect(), ..Default::default() }
    }

    fn names(described: &Described) -> Vec<&str> {
        described.columns.iter().map(|column| column.name.as_str()).collect()
    }

    #[test]
    fn a_column_keeps_its_name_and_gives_it_to_nobody() {
        let first = described(&[("id", "id"), ("colour", "/f/1"), ("size", "/f/2")]);
        // Field 1 got another title, field 3 has its old one.
        let second =
            described(&[("id", "id"), ("shade", "/f/1"), ("size", "/f/2"), ("colour", "/f/3")]).following(&first);
        assert_eq!(names(&second)[..3], ["id", "colour", "size"]);
        let third = names(&second)[3].to_string();
        assert!(third.starts_with("colour_") && third.len() == "colour_".len() + 8, "{third}");
        assert_eq!(second.fresh(&first).collect::<Vec<_>>(), [3]);
        // Field 2 goes, another takes its title, and it comes back.
        let gone = described(&[("id", "id"), ("colour", "/f/1"), ("size", "/f/4")]).following(&second);
        assert_eq!(gone.gone.iter().map(|c| c.field.as_str()).collect::<Vec<_>>(), ["/f/2", "/f/3"]);
        assert!(names(&gone)[2].starts_with("size_"));
        let back = described(&[("id", "id"), ("size", "/f/2")]).following(&gone);
        assert_eq!(names(&back), ["id", "size"]);
        assert_eq!(back.fresh(&gone).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn what_is_kept_in_extra_stays_there_until_that_changes() {
        let mut before = described(&[("id", "id"), ("a", "/f/a")]);
        before.columns[1].in_extra = true;
        let now = described(&[("id", "id"), ("a", "/f/a"), ("b", "/f/b")]).following(&before);
        assert!(now.columns[1].in_extra && !now.columns[2].in_extra);
        assert_eq!(now.fresh(&before).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn keys_that_nobody_describes_are_noted_once() {
        let mut first = described(&[("id", "id"), ("a", "/f/a")]);
        first.note_unlisted(&["a".to_string(), "old".to_string(), "old".to_string()]);
        assert_eq!(first.unlisted, ["old"]);
        let second = described(&[("id", "id"), ("old", "/f/old")]).following(&first);
        assert!(second.unlisted.is_empty());
    }

    #[test]
    fn another_type_of_a_field_is_seen() {
        let before = described(&[("id", "id"), ("a", "/f/a")]);
        let mut now = before.clone();
        now.columns[1].type_name = "numeric".into();
        let seen: Vec<_> = now.retyped(&before).map(|(column, old)| (column.name.as_str(), old)).collect();
        assert_eq!(seen, [("a", "text")]);
    }
}
