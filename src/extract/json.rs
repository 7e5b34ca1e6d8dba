//! Decides what is JSON: one strict pass over a record that notes where each value lies.
//!
//! What the pass leaves is a tape: one node a value, in the order of the text, each knowing where its neighbour is. Columns
//! are then filled from nodes, so no byte is scanned twice; a generic tree would allocate for each value.
//!
//! Layer: extract. Knows nothing of Postgres.

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

/// Why a text is not JSON, and where, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub at: usize,
    pub what: &'static str,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

/// The values of one text. Kept and filled again, it allocates nothing.
#[derive(Debug, Default)]
pub struct Tape {
    nodes: Vec<Node>,
    open: Vec<u32>,
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
    pub fn kind(&self) -> Kind {
        self.node.kind
    }

    /// Elements, or members.
    pub fn len(&self) -> u32 {
        self.node.count
    }

    /// Its text as it was sent.
    pub fn raw(&self) -> &'t str {
        self.text.get(self.node.start as usize..self.node.end as usize).unwrap_or_default()
    }

    /// What stands between the quotes of a string.
    pub fn inner(&self) -> &'t str {
        let raw = self.raw();
        raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()
    }

    /// The same without the text: where it begins, and its length.
    pub fn inner_span(&self) -> (u32, u32) {
        (self.node.start + 1, (self.node.end - self.node.start).saturating_sub(2))
    }

    /// The text that it is part of.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// Its place on the tape.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Another value of the same text, by its place.
    pub fn at(&self, index: u32) -> Option<Value<'t>> {
        let node = *self.nodes.get(index as usize)?;
        Some(Value { node, index, ..*self })
    }

    /// The values in it: elements, or keys and values by turns.
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
    pub fn members(&self) -> impl Iterator<Item = (Value<'t>, Value<'t>)> + use<'t> {
        let mut inside = self.inside();
        std::iter::from_fn(move || Some((inside.next()?, inside.next()?)))
    }
}

impl Tape {
    /// Reads `text`, which must be one value and nothing else. Nesting is limited by memory alone.
    pub fn read<'t>(&'t mut self, text: &'t str) -> Result<Value<'t>, Malformed> {
        self.nodes.clear();
        self.open.clear();
        Reader { bytes: text.as_bytes(), at: 0, tape: self }.read()?;
        let nodes: &'t [Node] = &self.nodes;
        let node = nodes.first().copied().ok_or(Malformed { at: 0, what: "nothing" })?;
        Ok(Value { text, nodes, node, index: 0 })
    }
}

struct Reader<'r> {
    bytes: &'r [u8],
    at: usize,
    tape: &'r mut Tape,
}

impl Reader<'_> {
    fn wrong<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, what })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn read(&mut self) -> Result<(), Malformed> {
        if self.bytes.len() > u32::MAX as usize / 2 {
            return self.wrong("a text too long");
        }
        loop {
            self.skip_space();
            self.value()?;
            // A value is complete: what may follow depends on what is open.
            loop {
                self.skip_space();
                let Some(container) = self.tape.open.last().copied() else {
                    return if self.at == self.bytes.len() { Ok(()) } else { self.wrong("something behind the value") };
                };
                let is_object = self.is_object(container);
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if is_object {
                            self.skip_space();
                            self.key()?;
                        }
                        break;
                    }
                    Some(b'}') if is_object => self.close(),
                    Some(b']') if !is_object => self.close(),
                    Some(_) => return self.wrong("neither a comma nor an end"),
                    None => return self.wrong("an end too early"),
                }
            }
        }
    }

    /// Whether an open container is an object.
    fn is_object(&self, container: u32) -> bool {
        self.tape.nodes.get(container as usize).is_some_and(|node| node.kind == Kind::Object)
    }

    fn push(&mut self, kind: Kind, start: usize) {
        let next = self.tape.nodes.len() as u32 + 1;
        self.tape.nodes.push(Node { kind, start: start as u32, end: self.at as u32, next, count: 0 });
        if let Some(container) = self.tape.open.last().and_then(|c| self.tape.nodes.get_mut(*c as usize)) {
            container.count += 1;
        }
    }

    fn close(&mut self) {
        self.at += 1;
        let next = self.tape.nodes.len() as u32;
        if let Some(node) = self.tape.open.pop().and_then(|c| self.tape.nodes.get_mut(c as usize)) {
            node.end = self.at as u32;
            node.next = next;
        }
    }

    fn key(&mut self) -> Result<(), Malformed> {
        if self.peek() != Some(b'"') {
            return self.wrong("no key where one must be");
        }
        let start = self.at;
        let escaped = self.string()?;
        self.push(Kind::String { escaped }, start);
        // The member counts once, with its value.
        if let Some(container) = self.tape.open.last().and_then(|c| self.tape.nodes.get_mut(*c as usize)) {
            container.count -= 1;
        }
        self.skip_space();
        if self.peek() != Some(b':') {
            return self.wrong("no colon behind a key");
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    /// Reads one value; of a container that holds something only its beginning, up to its first value.
    fn value(&mut self) -> Result<(), Malformed> {
        loop {
            let start = self.at;
            match self.peek() {
                Some(b'"') => {
                    let escaped = self.string()?;
                    self.push(Kind::String { escaped }, start);
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                    self.push(Kind::Number, start);
                }
                Some(b'n') => self.word(b"null", Kind::Null)?,
                Some(b't') => self.word(b"true", Kind::True)?,
                Some(b'f') => self.word(b"false", Kind::False)?,
                Some(first @ (b'{' | b'[')) => {
                    self.at += 1;
                    let is_object = first == b'{';
                    self.push(if is_object { Kind::Object } else { Kind::Array }, start);
                    self.tape.open.push(self.tape.nodes.len() as u32 - 1);
                    self.skip_space();
                    match self.peek() {
                        Some(b'}') if is_object => self.close(),
                        Some(b']') if !is_object => self.close(),
                        _ => {
                            if is_object {
                                self.key()?;
                            }
                            continue;
                        }
                    }
                }
                Some(_) => return self.wrong("no value where one must be"),
                None => return self.wrong("an end too early"),
            }
            return Ok(());
        }
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<(), Malformed> {
        let start = self.at;
        if !self.bytes.get(start..).is_some_and(|rest| rest.starts_with(word)) {
            return self.wrong("no value where one must be");
        }
        self.at += word.len();
        self.push(kind, start);
        Ok(())
    }

    fn number(&mut self) -> Result<(), Malformed> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let first = self.at;
        let whole = self.digits();
        if whole == 0 || (whole > 1 && self.bytes.get(first) == Some(&b'0')) {
            return self.wrong("a number that is none");
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return self.wrong("a number that is none");
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return self.wrong("a number that is none");
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    /// Passes over a string; tells whether it has escapes.
    fn string(&mut self) -> Result<bool, Malformed> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += plain_length(self.bytes.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    let after = match self.bytes.get(self.at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u') if self.has_hex(self.at + 2) => 6,
                        _ => return self.wrong("an escape that is none"),
                    };
                    self.at += after;
                }
                Some(_) => return self.wrong("a control character in a string"),
                None => return self.wrong("an end too early"),
            }
        }
    }

    fn has_hex(&self, at: usize) -> bool {
        self.bytes.get(at..at + 4).is_some_and(|four| four.iter().all(u8::is_ascii_hexdigit))
    }
}

/// How many bytes stand before the first quote, backslash or control character: eight bytes at a time.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The high bit of each byte that is zero; exact up to the first such byte, and no further one is looked at.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut length = 0;
    for chunk in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\'))) | control;
        if found != 0 {
            return length + found.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let rest = bytes.get(length..).unwrap_or_default();
    length + rest.iter().position(|c| matches!(c, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
