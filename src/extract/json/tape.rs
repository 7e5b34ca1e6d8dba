//! Notes where each value of a text lies: one node a value, in the order of the text, each knowing where its neighbour is.
//!
//! Columns are then filled from nodes, so no byte is scanned twice; a generic tree would allocate for each value.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::skip::{
    after_colon, after_key, after_number, after_space, after_string, after_word, byte, malformed, NO_COMMA,
};
use super::Malformed;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    True,
    False,
    Number,
    /// `escaped` when its text holds a backslash.
    String {
        escaped: bool,
    },
    Array,
    /// Its nodes are a string and a value for each member, by turns.
    Object,
}

/// One value on the tape.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    pub kind: Kind,
    /// Where its text begins and ends, quotes and brackets included.
    pub start: u32,
    pub end: u32,
    /// The node behind it and all that it holds.
    pub next: u32,
    /// Elements, or members.
    pub count: u32,
}

/// The values of one text. Kept and filled again, it allocates nothing.
#[derive(Debug, Default)]
pub struct Tape {
    nodes: Vec<Node>,
    /// What encloses the innermost open container.
    outer: Vec<Open>,
}

/// An array or object that is being read.
#[derive(Clone, Copy, Debug)]
struct Open {
    node: usize,
    is_object: bool,
    count: u32,
}

/// A value of a text.
#[derive(Clone, Copy)]
pub struct Value<'t> {
    text: &'t str,
    nodes: &'t [Node],
    node: Node,
    index: u32,
}

impl<'t> Value<'t> {
    #[inline]
    pub fn kind(&self) -> Kind {
        self.node.kind
    }

    /// Elements, or members.
    #[inline]
    pub fn count(&self) -> u32 {
        self.node.count
    }

    /// Its text as it was sent.
    #[inline]
    pub fn raw(&self) -> &'t str {
        self.text.get(self.node.start as usize..self.node.end as usize).unwrap_or_default()
    }

    /// What stands between the quotes of a string.
    #[inline]
    pub fn inner(&self) -> &'t str {
        let raw = self.raw();
        raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()
    }

    /// The same without the text: where it begins, and its length.
    #[inline]
    pub fn inner_span(&self) -> (u32, u32) {
        (self.node.start + 1, (self.node.end - self.node.start).saturating_sub(2))
    }

    /// The text that it is part of.
    #[inline]
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// Its place on the tape.
    #[inline]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Another value of the same text, by its place.
    #[inline]
    pub fn at(&self, index: u32) -> Option<Value<'t>> {
        let node = *self.nodes.get(index as usize)?;
        Some(Value { node, index, ..*self })
    }

    /// The values in it: elements, or keys and values by turns.
    #[inline]
    pub fn inside(&self) -> impl Iterator<Item = Value<'t>> + use<'t> {
        let whole = *self;
        let mut index = self.index + 1;
        std::iter::from_fn(move || {
            let value = whole.at(index).filter(|_| index < whole.node.next)?;
            index = value.node.next;
            Some(value)
        })
    }

    /// Keys and values of an object.
    #[inline]
    pub fn members(&self) -> impl Iterator<Item = (Value<'t>, Value<'t>)> + use<'t> {
        let whole = *self;
        let mut index = self.index + 1;
        std::iter::from_fn(move || {
            let key = whole.at(index).filter(|_| index < whole.node.next)?;
            let value = whole.at(index + 1)?;
            index = value.node.next;
            Some((key, value))
        })
    }
}

impl Tape {
    /// Reads `text`, which must be one value and nothing else. Nesting is limited by memory alone.
    pub fn read<'t>(&'t mut self, text: &'t str) -> Result<Value<'t>, Malformed> {
        self.nodes.clear();
        self.outer.clear();
        let bytes = text.as_bytes();
        if bytes.len() > u32::MAX as usize / 2 {
            return Err(malformed(bytes, 0, "a text too long"));
        }
        let end = after_space(bytes, self.note_value(bytes)?);
        if end < bytes.len() {
            return Err(malformed(bytes, end, "more text after the value"));
        }
        let nodes: &'t [Node] = &self.nodes;
        let node = nodes.first().copied().ok_or(malformed(bytes, 0, "no value"))?;
        Ok(Value { text, nodes, node, index: 0 })
    }

    /// Notes one value and all that it holds. Gives the place after it.
    fn note_value(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        // In a local, since each value looks at it; those around it are in `outer`.
        let mut open: Option<Open> = None;
        loop {
            at = after_space(bytes, at);
            let start = at;
            match byte(bytes, at) {
                b'"' => {
                    let (after, escaped) = after_string(bytes, at + 1)?;
                    at = after;
                    self.push(Kind::String { escaped }, start, at);
                }
                b'n' => {
                    at = after_word(bytes, at, b"null")?;
                    self.push(Kind::Null, start, at);
                }
                b'-' | b'0'..=b'9' => {
                    at = after_number(bytes, at)?;
                    self.push(Kind::Number, start, at);
                }
                b't' => {
                    at = after_word(bytes, at, b"true")?;
                    self.push(Kind::True, start, at);
                }
                b'f' => {
                    at = after_word(bytes, at, b"false")?;
                    self.push(Kind::False, start, at);
                }
                first @ (b'{' | b'[') => {
                    let is_object = first == b'{';
                    self.outer.extend(open);
                    open = Some(Open { node: self.nodes.len(), is_object, count: 0 });
                    self.push(if is_object { Kind::Object } else { Kind::Array }, start, start);
                    at = after_space(bytes, at + 1);
                    match (byte(bytes, at), is_object) {
                        (b'}', true) | (b']', false) => {
                            at += 1;
                            open = self.close(open, at);
                        }
                        (_, true) => {
                            at = self.note_key(bytes, at)?;
                            continue;
                        }
                        (_, false) => continue,
                    }
                }
                _ => return Err(malformed(bytes, at, "no value")),
            }
            // A value is behind: the next one, or the end of what it is in.
            loop {
                let Some(inner) = &mut open else { return Ok(at) };
                inner.count += 1;
                at = after_space(bytes, at);
                match (byte(bytes, at), inner.is_object) {
                    (b',', true) => {
                        at = self.note_key(bytes, after_space(bytes, at + 1))?;
                        break;
                    }
                    (b',', false) => {
                        at += 1;
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        at += 1;
                        open = self.close(open, at);
                    }
                    _ => return Err(malformed(bytes, at, NO_COMMA)),
                }
            }
        }
    }

    #[inline(always)]
    fn note_key(&mut self, bytes: &[u8], at: usize) -> Result<usize, Malformed> {
        let (after, escaped) = after_key(bytes, at)?;
        self.push(Kind::String { escaped }, at, after);
        after_colon(bytes, after)
    }

    #[inline(always)]
    fn push(&mut self, kind: Kind, start: usize, end: usize) {
        let next = self.nodes.len() as u32 + 1;
        self.nodes.push(Node { kind, start: start as u32, end: end as u32, next, count: 0 });
    }

    /// Completes a container. Gives the one around it.
    #[inline(always)]
    fn close(&mut self, open: Option<Open>, end: usize) -> Option<Open> {
        let next = self.nodes.len() as u32;
        let closed = open?;
        if let Some(node) = self.nodes.get_mut(closed.node) {
            *node = Node { end: end as u32, next, count: closed.count, ..*node };
        }
        self.outer.pop()
    }
}
