//! Decides what an XML text holds: elements with their namespaces, attributes and text. As much of XML as SOAP requests use.

/// An element; names are without prefix.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Element {
    pub name: String,
    /// The namespace it is in; empty for none.
    pub space: String,
    /// By local name: `type` for `xsi:type`.
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    pub text: String,
}

impl Element {
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of a child, without the white space around it; empty when there is none.
    pub fn text_of(&self, name: &str) -> &str {
        self.child(name).map_or("", |child| child.text.trim())
    }

    /// Its text and that of all inside it.
    pub fn inner_text(&self) -> String {
        let inside: String = self.children.iter().map(Element::inner_text).collect();
        format!("{}{inside}", self.text)
    }

    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Text as it stands between tags or in an attribute.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let end = rest[at..].find(';')? + at;
        let name = &rest[at + 1..end];
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = name.strip_prefix('#')?;
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => number.parse().ok()?,
                };
                char::from_u32(code)?
            }
        });
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Some(out)
}

struct Reader<'a> {
    text: &'a str,
    /// Prefix and namespace, innermost last.
    spaces: Vec<(String, String)>,
}

/// The root element; `None` for a text that is not well formed.
pub fn parse(text: &str) -> Option<Element> {
    let mut reader = Reader { text: text.trim_start_matches('\u{feff}'), spaces: Vec::new() };
    reader.skip_between()?;
    let root = reader.element(0)?;
    reader.skip_between()?;
    reader.text.is_empty().then_some(root)
}

impl<'a> Reader<'a> {
    fn until(&mut self, end: &str) -> Option<&'a str> {
        let at = self.text.find(end)?;
        let taken = &self.text[..at];
        self.text = &self.text[at + end.len()..];
        Some(taken)
    }

    /// White space, comments, the declaration and other instructions.
    fn skip_between(&mut self) -> Option<()> {
        loop {
            self.text = self.text.trim_start();
            if self.text.starts_with("<!--") {
                self.until("-->")?;
            } else if self.text.starts_with("<?") {
                self.until("?>")?;
            } else {
                return Some(());
            }
        }
    }

    fn element(&mut self, depth: usize) -> Option<Element> {
        if depth > 60 {
            return None;
        }
        self.text = self.text.strip_prefix('<')?;
        let scope = self.spaces.len();
        let (tag, is_empty) = self.tag()?;
        let (name, attributes) = tag;
        for (attribute, value) in &attributes {
            if attribute == "xmlns" {
                self.spaces.push((String::new(), value.clone()));
            } else if let Some(prefix) = attribute.strip_prefix("xmlns:") {
                self.spaces.push((prefix.to_string(), value.clone()));
            }
        }
        let (prefix, local) = name.split_once(':').unwrap_or(("", &name));
        let space = self.spaces.iter().rev().find(|(p, _)| p == prefix).map(|(_, s)| s.clone());
        if space.is_none() && !prefix.is_empty() {
            return None;
        }
        let mut element = Element { name: local.into(), space: space.unwrap_or_default(), ..Element::default() };
        let own = attributes.into_iter().filter(|(n, _)| !n.starts_with("xmlns"));
        element.attributes =
            own.map(|(n, v)| (n.split_once(':').map_or(n.clone(), |(_, local)| local.to_string()), v)).collect();
        if !is_empty {
            self.content(&mut element, &name, depth)?;
        }
        self.spaces.truncate(scope);
        Some(element)
    }

    /// Reads up to the end of an opening tag: name, attributes, and whether the element ends at once.
    #[allow(clippy::type_complexity)]
    fn tag(&mut self) -> Option<((String, Vec<(String, String)>), bool)> {
        let end = self.text.find(|c: char| c.is_whitespace() || c == '>' || c == '/')?;
        let name = self.text[..end].to_string();
        self.text = &self.text[end..];
        let mut attributes = Vec::new();
        loop {
            self.text = self.text.trim_start();
            if let Some(rest) = self.text.strip_prefix("/>") {
                self.text = rest;
                return (!name.is_empty()).then_some(((name, attributes), true));
            }
            if let Some(rest) = self.text.strip_prefix('>') {
                self.text = rest;
                return (!name.is_empty()).then_some(((name, attributes), false));
            }
            let attribute = self.until("=")?.trim().to_string();
            self.text = self.text.trim_start();
            let quote = self.text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            self.text = &self.text[1..];
            let value = self.until(&quote.to_string())?;
            attributes.push((attribute, unescape(value)?));
        }
    }

    fn content(&mut self, element: &mut Element, name: &str, depth: usize) -> Option<()> {
        loop {
            let at = self.text.find('<')?;
            element.text.push_str(&unescape(&self.text[..at])?);
            self.text = &self.text[at..];
            if let Some(rest) = self.text.strip_prefix("</") {
                self.text = rest;
                return (self.until(">")?.trim() == name).then_some(());
            }
            if let Some(rest) = self.text.strip_prefix("<![CDATA[") {
                self.text = rest;
                element.text.push_str(self.until("]]>")?);
            } else if self.text.starts_with("<!--") {
                self.until("-->")?;
            } else {
                element.children.push(self.element(depth + 1)?);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_their_namespace_attributes_and_text() {
        let text = r#"<?xml version="1.0"?><!-- x --><s:E xmlns:s="urn:s"><B xmlns="urn:b" xsi:type="t:Q" xmlns:xsi="urn:i">
            <C>a &lt; b &#38; c</C><C/><D><![CDATA[<raw>]]></D></B></s:E>"#;
        let root = parse(text).unwrap();
        let b = root.child("B").unwrap();
        assert_eq!((root.name.as_str(), root.space.as_str(), b.space.as_str()), ("E", "urn:s", "urn:b"));
        assert_eq!(b.attribute("type"), Some("t:Q"));
        assert_eq!((b.text_of("C"), b.all("C").count(), b.text_of("D")), ("a < b & c", 2, "<raw>"));
        assert_eq!(b.child("C").unwrap().space, "urn:b");
        assert_eq!(escape("<\"&>"), "&lt;&quot;&amp;&gt;");
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for text in ["", "<a>", "<a></b>", "<a><b></a></b>", "<a>&nope;</a>", "<p:a/>", "<a/><b/>", "<a b=c/>", "plain"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
