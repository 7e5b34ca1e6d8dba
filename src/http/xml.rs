//! Turns XML into JSON, so that pointers, error rules and records are the same for both.
//!
//! The rule: the root is an object whose one member is the outermost element. An element with neither attributes nor
//! elements in it is its text. Any other is an object of its elements by name, its attributes by `@` and name, and its
//! own text, if it has any, as `#text`. Elements of one name side by side are an array. Names are without their prefix.
//! What belongs to the namespace of schema instances says how to read an element and is no value: `nil` makes it null.
//!
//! Nothing is looked up or expanded: a document type is refused, so no entity but XML's own five and characters by
//! number can be meant. Depth is bounded, and the text is not read twice.
//!
//! Layer: http. Knows nothing of Postgres.

use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::NsReader;
use serde_json::{Map, Value};

/// The deepest nesting that is read; what apps send has a dozen levels.
const MAX_DEPTH: usize = 128;

const INSTANCE: &[u8] = b"http://www.w3.org/2001/XMLSchema-instance";
const TEXT: &str = "#text";

/// An element that is not closed yet.
#[derive(Default)]
struct Open {
    name: String,
    members: Map<String, Value>,
    text: String,
    is_nil: bool,
}

impl Open {
    /// Adds what came with a name, beside what it has brought before.
    fn add(&mut self, name: String, value: Value, is_list: bool) {
        match self.members.get_mut(&name) {
            None if is_list => {
                self.members.insert(name, Value::Array(vec![value]));
            }
            None => {
                self.members.insert(name, value);
            }
            // No element alone is an array, so this one has collected some.
            Some(Value::Array(known)) => known.push(value),
            Some(known) => {
                let first = known.take();
                *known = Value::Array(vec![first, value]);
            }
        }
    }

    fn close(mut self) -> Value {
        if self.is_nil {
            return Value::Null;
        }
        if self.members.is_empty() {
            return Value::String(self.text);
        }
        let text = self.text.trim();
        if !text.is_empty() {
            self.members.insert(TEXT.to_string(), Value::String(text.to_string()));
        }
        Value::Object(self.members)
    }
}

/// XML as JSON. `lists` are paths of names from the root: elements there are always an array, also one alone, or none
/// in an element that is there. The error says in plain words what is wrong.
pub fn to_json(body: &[u8], lists: &[Vec<String>]) -> Result<Value, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the XML is not in UTF-8".to_string())?;
    let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}'));
    reader.config_mut().check_end_names = true;
    let mut open = vec![Open::default()];
    loop {
        let event = reader.read_event().map_err(|error| format!("the reply is not whole XML: {error}"))?;
        match event {
            Event::Start(start) => {
                if open.len() > MAX_DEPTH {
                    return Err(format!("the XML is nested deeper than {MAX_DEPTH}"));
                }
                open.push(begin(&reader, &start)?);
            }
            Event::Empty(start) => {
                let element = begin(&reader, &start)?;
                end(&mut open, element, lists)?;
            }
            Event::End(_) => {
                let Some(element) = open.pop() else { return Err("the XML ends twice".to_string()) };
                end(&mut open, element, lists)?;
            }
            Event::Text(text) => {
                let text = text.xml_content().map_err(|error| error.to_string())?;
                say(&mut open, &text)?;
            }
            Event::CData(data) => {
                let text = data.decode().map_err(|error| error.to_string())?;
                say(&mut open, &text)?;
            }
            Event::GeneralRef(reference) => say(&mut open, &character(&reference)?)?,
            Event::DocType(_) => return Err("the XML declares a document type, which is not read".to_string()),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            Event::Eof => break,
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some(root), true) if !root.members.is_empty() => Ok(Value::Object(root.members)),
        (Some(_), true) => Err("the reply is not XML".to_string()),
        _ => Err("the reply is not whole XML: an element is not closed".to_string()),
    }
}

/// A body that is XML, as JSON; `None` for anything else.
pub fn read(body: &[u8]) -> Option<Value> {
    may_be(body).then(|| to_json(body, &[]).ok()).flatten()
}

/// Whether a body may be XML: it begins as XML does, and is no page for people.
pub fn may_be(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    let is_page = |mark: &[u8]| body.get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark));
    body.first() == Some(&b'<') && !is_page(b"<html") && !is_page(b"<!doctype")
}

/// A text as it stands in an element. `None` when it holds what no XML can (most control characters).
pub fn escaped(text: &str) -> Option<std::borrow::Cow<'_, str>> {
    let is_char =
        |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') || c > '\u{ffff}';
    text.chars().all(is_char).then(|| quick_xml::escape::escape(text))
}

/// An element's name and attributes.
fn begin(reader: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Result<Open, String> {
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut element = Open { name: name(start.local_name().as_ref()), ..Open::default() };
    if let (ResolveResult::Unknown(prefix), _) = reader.resolve_element(start.name()) {
        return Err(format!("the XML does not say what the prefix \"{}\" is", name(&prefix)));
    }
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| format!("the reply is not whole XML: {error}"))?;
        if attribute.key.as_namespace_binding().is_some() {
            continue;
        }
        let value = attribute.unescape_value().map_err(|error| format!("the reply is not whole XML: {error}"))?;
        match reader.resolve_attribute(attribute.key) {
            (ResolveResult::Bound(space), local) if space.as_ref() == INSTANCE => {
                element.is_nil |= local.as_ref() == b"nil" && matches!(value.trim(), "true" | "1");
            }
            (_, local) => {
                element.add(format!("@{}", name(local.as_ref())), Value::String(value.into_owned()), false);
            }
        }
    }
    Ok(element)
}

/// Puts an element that ended into the one around it.
fn end(open: &mut [Open], mut element: Open, lists: &[Vec<String>]) -> Result<(), String> {
    let is_at = |path: &[String], name: &str| {
        let names = open.iter().skip(1).map(|outer| outer.name.as_str()).chain(std::iter::once(name));
        path.len() == open.len() && names.zip(path).all(|(name, step)| name == step)
    };
    let is_list = lists.iter().any(|path| is_at(path, &element.name));
    // Where a list belongs and none came, it is an empty one.
    for path in lists {
        let Some((last, outer)) = path.split_last() else { continue };
        if !element.is_nil && is_at(outer, &element.name) && !element.members.contains_key(last) {
            element.members.insert(last.clone(), Value::Array(Vec::new()));
        }
    }
    let name = std::mem::take(&mut element.name);
    let is_outermost = open.len() == 1;
    let around = open.last_mut().ok_or_else(|| "the XML ends twice".to_string())?;
    if is_outermost && !around.members.is_empty() {
        return Err("the XML has a second root".to_string());
    }
    around.add(name, element.close(), is_list);
    Ok(())
}

fn say(open: &mut [Open], text: &str) -> Result<(), String> {
    match open {
        [_, .., inner] => inner.text.push_str(text),
        _ if text.trim().is_empty() => {}
        _ => return Err("the reply is not XML: there is text outside of its root".to_string()),
    }
    Ok(())
}

/// What a reference stands for: a character by its number, or one of XML's own five.
fn character(reference: &BytesRef<'_>) -> Result<String, String> {
    let wrong = || format!("the XML names \"&{};\", which is not read", String::from_utf8_lossy(reference));
    if let Some(character) = reference.resolve_char_ref().map_err(|_| wrong())? {
        return Ok(character.to_string());
    }
    let name = reference.decode().map_err(|_| wrong())?;
    resolve_xml_entity(&name).map(str::to_string).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Result<Value, String> {
        to_json(text.as_bytes(), &[])
    }

    fn path(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn elements_become_members() {
        for (name, text, want) in [
            ("text", "<a>x &lt;&amp;&#233;&#x20AC; y</a>", json!({"a": "x <&é€ y"})),
            ("nothing in it", "<a/>", json!({"a": ""})),
            ("text keeps its spaces", "<a> x\n</a>", json!({"a": " x\n"})),
            ("elements", "<a>\n <b>1</b>\n <c>2</c>\n</a>", json!({"a": {"b": "1", "c": "2"}})),
            ("repeated", "<a><b>1</b><c/><b><d>2</d></b></a>", json!({"a": {"b": ["1", {"d": "2"}], "c": ""}})),
            ("thrice", "<a><b/><b/><b>x</b></a>", json!({"a": {"b": ["", "", "x"]}})),
            ("attributes", "<a id='1' n=\"&quot;\">x</a>", json!({"a": {"@id": "1", "@n": "\"", "#text": "x"}})),
            ("text among elements", "<a> x <b>1</b> y</a>", json!({"a": {"b": "1", "#text": "x  y"}})),
            ("raw text", "<a><![CDATA[<b>&amp;]]></a>", json!({"a": "<b>&amp;"})),
            ("notes", "<?xml version=\"1.0\"?><!-- - --><a><!-- x --><?y z?>1</a>\n", json!({"a": "1"})),
            (
                "prefixes",
                "<s:a xmlns:s='u' xmlns='v'><b s:c='1' xmlns:t='w'><t:d>2</t:d></b></s:a>",
                json!({"a": {"b": {"@c": "1", "d": "2"}}}),
            ),
            (
                "what a schema says",
                "<a xmlns:i='http://www.w3.org/2001/XMLSchema-instance'><b i:nil='true'/><c i:type='x'>1</c><d nil='true'>2</d></a>",
                json!({"a": {"b": null, "c": "1", "d": {"@nil": "true", "#text": "2"}}}),
            ),
        ] {
            assert_eq!(read(text), Ok(want), "{name}");
        }
        assert_eq!(read("\u{feff}<a/>"), Ok(json!({"a": ""})));
    }

    #[test]
    fn a_list_is_one_whatever_is_in_it() {
        let lists = [path(&["r", "items", "item"])];
        for (text, want) in [
            ("<r><items><item>1</item></items></r>", json!({"r": {"items": {"item": ["1"]}}})),
            ("<r><items><item/><item/></items></r>", json!({"r": {"items": {"item": ["", ""]}}})),
            ("<r><items/></r>", json!({"r": {"items": {"item": []}}})),
            ("<r><items> </items></r>", json!({"r": {"items": {"item": []}}})),
            ("<r><other><item>1</item></other></r>", json!({"r": {"other": {"item": "1"}}})),
            ("<r/>", json!({"r": ""})),
        ] {
            assert_eq!(to_json(text.as_bytes(), &lists), Ok(want), "{text}");
        }
        let nested = [path(&["r", "g"]), path(&["r", "g", "x"])];
        let one = to_json(b"<r><g><x>1</x></g></r>", &nested);
        assert_eq!(one, Ok(json!({"r": {"g": [{"x": ["1"]}]}})));
    }

    #[test]
    fn what_is_not_safe_or_not_whole_is_refused() {
        let deep = format!("{}{}", "<a>".repeat(200), "</a>".repeat(200));
        for (name, text, says) in [
            (
                "an entity from elsewhere",
                "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>",
                "document type",
            ),
            ("entities in entities", "<!DOCTYPE a [<!ENTITY x \"&y;&y;\">]><a>&x;</a>", "document type"),
            ("an entity nobody declared", "<a>&nbsp;</a>", "&nbsp;"),
            ("in an attribute", "<a b='&x;'/>", "not whole"),
            ("a character that is none", "<a>&#0;</a>", "&#0;"),
            ("too deep", &deep, "deeper"),
            ("cut off", "<a><b>1</b>", "not"),
            ("cut off in a tag", "<a><b", "not"),
            ("crossed", "<a><b></a></b>", "not whole"),
            ("two roots", "<a/><b/>", "second root"),
            ("a prefix of nothing", "<s:a/>", "\"s\""),
            ("words", "Service Unavailable", "not XML"),
            ("nothing", "", "not XML"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{name}: {error}");
        }
        assert!(to_json(b"<a>\xe9</a>", &[]).unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn what_may_be_xml_begins_as_it() {
        for (body, want) in [
            ("<?xml version=\"1.0\"?><a/>", true),
            ("\u{feff} <a/>", true),
            ("<!DOCTYPE html><html></html>", false),
            ("<HTML>", false),
            ("{\"a\": \"<\"}", false),
            ("", false),
        ] {
            assert_eq!(may_be(body.as_bytes()), want, "{body}");
        }
    }
}
