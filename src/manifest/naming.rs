//! Decides what a field of an app is called as a column.
//!
//! The rule is that of Segment's warehouse, so that queries written for it keep working: words are found by case and
//! punctuation, put in lower case and joined with `_` (`SystemModstamp` is `system_modstamp`, `Region__c` is
//! `region_c`). What Segment leaves open, names longer than PostgreSQL's and two fields of one name, is settled here.
//!
//! Layer: manifest. Knows nothing of Postgres.

use std::collections::HashSet;

/// Columns that the engine adds to every local table; no field may take these names.
pub const ENGINE_COLUMNS: [&str; 5] = ["is_deleted", "received_at", "extra", "record_version", "record_hash"];

/// Longest identifier of PostgreSQL, in bytes.
pub const NAME_BYTES: usize = 63;

/// The name of a field without any letter or digit of ASCII.
const UNNAMED: &str = "unnamed";

/// The column name of a field: lower-case ASCII words joined with `_`, at most [`NAME_BYTES`] long, never empty.
///
/// Every byte but ASCII letters and digits separates words. A word is capitals and digits followed by small letters and
/// digits, so an acronym sticks to what follows it (`CStringRef` is `cstring_ref`), as it does at Segment. A name that
/// is too long ends in a hash of the field's own name and therefore stays the same whatever other fields there are.
pub fn snake_case(field: &str) -> String {
    let words = words(field.as_bytes());
    if words.is_empty() {
        UNNAMED.to_string()
    } else if words.len() > NAME_BYTES {
        with_hash(&words, field)
    } else {
        words
    }
}

/// The column names of a table's fields, in their order and all different.
///
/// Of fields that would have the same name the first keeps it; a later one gets a hash of its own name behind it, and
/// so does one that would take a name of [`ENGINE_COLUMNS`]. A field added at the end never renames one before it.
pub fn unique_names<'a>(fields: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    unique_names_of(fields.into_iter().map(|field| (field, field)))
}

/// The same for fields that are named after something else than their own name: (what a column is named after, own name).
/// The hash is that of the own name, which stays when a title changes.
pub fn unique_names_of<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut taken: HashSet<String> = ENGINE_COLUMNS.iter().map(|name| (*name).to_string()).collect();
    let mut names = Vec::new();
    for (called, own) in fields {
        let name = free_name(&snake_case(called), own, &taken);
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

/// `plain`, or where that is taken a name that ends in a hash of the field's `own` name.
pub fn free_name(plain: &str, own: &str, taken: &HashSet<String>) -> String {
    let mut name = plain.to_string();
    let mut salted = own.to_string();
    // The same field twice, or two hashes alike: a longer text to hash gives another name.
    while taken.contains(&name) {
        name = with_hash(plain, &salted);
        salted.push('_');
    }
    name
}

/// `name`, cut to make room for `_` and eight hex digits that only `field` decides.
fn with_hash(name: &str, field: &str) -> String {
    let hash = xxhash_rust::xxh3::xxh3_64(field.as_bytes()) as u32;
    let start: String = name.chars().take(NAME_BYTES - 9).collect();
    format!("{}_{hash:08x}", start.trim_end_matches('_'))
}

/// Whether a byte can stay where it is: a small letter, a digit, or one underscore between two of these.
fn stays(bytes: &[u8], at: usize) -> bool {
    let plain = |index: usize| bytes.get(index).is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    plain(at) || (bytes.get(at) == Some(&b'_') && at > 0 && plain(at + 1))
}

fn words(field: &[u8]) -> String {
    let kept = (0..field.len()).take_while(|at| stays(field, *at)).count();
    let (start, rest) = field.split_at(kept);
    let mut name: String = start.iter().map(|b| char::from(*b)).collect();
    let mut rest = rest.iter().copied().peekable();
    // Digits at the start of a word belong to the capitals after them: 5TEst is 5test, but base5Test is base5_test.
    let last_word = name.rsplit('_').next().unwrap_or_default();
    let mut same_word = !last_word.bytes().any(|b| b.is_ascii_lowercase());
    while let Some(byte) = rest.peek().copied() {
        if !byte.is_ascii_alphanumeric() {
            rest.next();
            same_word = false;
            continue;
        }
        if !name.is_empty() && !same_word {
            name.push('_');
        }
        same_word = false;
        while let Some(b) = rest.next_if(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
            name.push(char::from(b.to_ascii_lowercase()));
        }
        while let Some(b) = rest.next_if(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            name.push(char::from(b));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_called_as_in_segments_warehouse() {
        for (field, want) in [
            ("SystemModstamp", "system_modstamp"),
            ("Pricebook2Id", "pricebook2_id"),
            ("BillingStreet", "billing_street"),
            ("Id", "id"),
            ("Custom_Field__c", "custom_field_c"),
            ("region__c", "region_c"),
            ("GoogleDocURL__c", "google_doc_url_c"),
            ("CStringRef", "cstring_ref"),
            ("accountType", "account_type"),
            ("sample_text", "sample_text"),
            ("sample___text", "sample_text"),
            ("sample-text", "sample_text"),
            ("   $#$sample   2    Text   ", "sample_2_text"),
            ("SAMPLE 2 TEXT", "sample_2_text"),
            ("___$$Base64Encode", "base64_encode"),
            ("FOO:BAR$BAZ", "foo_bar_baz"),
            ("something.com", "something_com"),
            ("iOS Foreground Push Opened", "i_os_foreground_push_opened"),
            ("WhatsApp Inbound Received", "whats_app_inbound_received"),
            ("2FA Enabled", "2fa_enabled"),
            ("5TEst", "5test"),
            ("THE5r", "the5r"),
            ("line_2Test", "line_2test"),
            ("base5Test", "base5_test"),
            ("_group", "group"),
            ("trailing_", "trailing"),
            ("größe", "gr_e"),
            ("名前", "unnamed"),
            ("", "unnamed"),
        ] {
            assert_eq!(snake_case(field), want, "{field}");
            assert_eq!(snake_case(want), want, "{want} is a name already");
        }
    }

    #[test]
    fn a_long_name_is_cut_and_stays_unlike_its_neighbours() {
        let long = "A".repeat(80);
        let (one, other) = (format!("{long}__c"), format!("{long}_2__c"));
        for field in [&one, &other] {
            assert_eq!(snake_case(field).len(), NAME_BYTES);
        }
        assert_ne!(snake_case(&one), snake_case(&other));
        assert_eq!(snake_case(&"b".repeat(63)), "b".repeat(63));
    }

    #[test]
    fn names_of_one_table_are_all_different() {
        let names = unique_names(["Name", "FooBar__c", "Foo_Bar__c", "NAME", "Extra", "IsDeleted", "Name"]);
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
        for (index, start) in
            ["name", "foo_bar_c", "foo_bar_c_", "name_", "extra_", "is_deleted_", "name_"].iter().enumerate()
        {
            assert!(names[index].starts_with(start), "{names:?}");
        }
        assert_eq!((names[0].as_str(), names[1].as_str()), ("name", "foo_bar_c"), "the first keeps the plain name");
        let more = unique_names(["Name", "FooBar__c", "Foo_Bar__c", "NAME", "Extra", "IsDeleted", "Name", "foo_bar_c"]);
        assert_eq!(more[..names.len()], names[..], "a new field renames no other");
    }
}
