//! Fills `{name}` and `{name?}` in addresses, headers and parameters.
//!
//! Layer: manifest. Knows nothing of Postgres.

use std::borrow::Cow;

/// A required name that has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unset(pub String);

/// Fills a template. `None` when an optional name (`{name?}`) is unset: then what holds the template is left out.
///
/// `lookup` gives the value of a name. A `{` without its `}` stays as it is.
pub fn fill<'a>(template: &str, lookup: impl Fn(&str) -> Option<Cow<'a, str>>) -> Result<Option<String>, Unset> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((name, tail)) = after.split_once('}') else {
            filled.push('{');
            rest = after;
            continue;
        };
        match (lookup(name.trim_end_matches('?')), name.ends_with('?')) {
            (Some(value), _) => filled.push_str(&value),
            (None, true) => return Ok(None),
            (None, false) => return Err(Unset(name.to_string())),
        }
        rest = tail;
    }
    filled.push_str(rest);
    Ok(Some(filled))
}

/// The names a template holds, without the mark of an optional one.
pub fn names(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(name, _)| name.trim_end_matches('?'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_template_are_listed() {
        for (template, want) in [
            ("/v1/charges", vec![]),
            ("/v1/{customer_id}/sources/{id}", vec!["customer_id", "id"]),
            ("{account_id?}", vec!["account_id"]),
            ("open { brace", vec![]),
        ] {
            assert_eq!(names(template).collect::<Vec<_>>(), want, "{template}");
        }
    }

    #[test]
    fn names_are_filled_or_reported() {
        let lookup = |name: &str| (name == "a").then(|| Cow::from("1"));
        for (template, want) in [
            ("/x/{a}/y", Ok(Some("/x/1/y".to_string()))),
            ("{a?}", Ok(Some("1".to_string()))),
            ("v={b?}", Ok(None)),
            ("{b}", Err(Unset("b".to_string()))),
            ("open { brace", Ok(Some("open { brace".to_string()))),
        ] {
            assert_eq!(fill(template, lookup), want, "{template}");
        }
    }
}
