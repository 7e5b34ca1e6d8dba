//! Goes through JSON text once and hands out slices of it: the members of an object, the elements of an array.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::skip::{after_colon, after_key, after_space, after_value, byte, malformed, NO_COMMA};
use super::Malformed;
use std::borrow::Cow;

/// Whether a text is one JSON value and nothing else.
pub fn check(text: &str) -> Result<(), Malformed> {
    let mut scanner = Scanner::new(text);
    scanner.value()?;
    scanner.end()
}

/// The members of an object, in their order, repeated keys included. An error is the last thing that comes.
///
/// A key is borrowed unless it has escapes. A value is its JSON text, without the white space around it.
pub fn members(raw: &str) -> Members<'_> {
    Members { scanner: Scanner::new(raw), place: Place::Before }
}

/// The elements of an array, as their JSON text. An error is the last thing that comes.
pub fn elements(raw: &str) -> Elements<'_> {
    Elements { scanner: Scanner::new(raw), place: Place::Before }
}

/// How far an iterator has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Before,
    Within,
    After,
}

#[derive(Debug)]
pub struct Members<'a> {
    scanner: Scanner<'a>,
    place: Place,
}

impl<'a> Members<'a> {
    #[inline(always)]
    fn step(&mut self) -> Result<Option<(Cow<'a, str>, &'a str)>, Malformed> {
        let found = match self.place {
            Place::Before => self.scanner.first_key()?,
            Place::Within => self.scanner.next_key()?,
            Place::After => return Ok(None),
        };
        match found {
            Some(key) => Ok(Some((key.text()?, self.scanner.value()?))),
            None => self.scanner.end().map(|()| None),
        }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<(Cow<'a, str>, &'a str), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        self.place = if matches!(step, Ok(Some(_))) { Place::Within } else { Place::After };
        step.transpose()
    }
}

#[derive(Debug)]
pub struct Elements<'a> {
    scanner: Scanner<'a>,
    place: Place,
}

impl<'a> Elements<'a> {
    #[inline(always)]
    fn step(&mut self) -> Result<Option<&'a str>, Malformed> {
        let is_there = match self.place {
            Place::Before => self.scanner.first_element()?,
            Place::Within => self.scanner.next_element()?,
            Place::After => return Ok(None),
        };
        if is_there {
            self.scanner.value().map(Some)
        } else {
            self.scanner.end().map(|()| None)
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<&'a str, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        self.place = if matches!(step, Ok(Some(_))) { Place::Within } else { Place::After };
        step.transpose()
    }
}

/// A key as it stands between its quotes.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    inner: &'a str,
    has_escapes: bool,
    at: usize,
}

impl<'a> Key<'a> {
    /// Whether it says `name`.
    pub fn is(&self, name: &str) -> bool {
        if self.has_escapes {
            self.unescaped().is_ok_and(|text| text == name)
        } else {
            self.inner == name
        }
    }

    /// The key without escapes. Half a surrogate pair is refused here, as by serde_json: no text can hold it.
    #[inline(always)]
    pub fn text(&self) -> Result<Cow<'a, str>, Malformed> {
        if self.has_escapes {
            self.unescaped().map(Cow::Owned)
        } else {
            Ok(Cow::Borrowed(self.inner))
        }
    }

    #[cold]
    fn unescaped(&self) -> Result<String, Malformed> {
        let unescaped = serde_json::from_str(&format!("\"{}\"", self.inner));
        unescaped.map_err(|_| Malformed { what: "a key with half a surrogate pair", at: self.at })
    }
}

/// A place in a text, which only moves forward over whole tokens.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Scanner { text, at: 0 }
    }

    /// The next byte that is not white space, not yet passed; 0, which begins no token, at the end.
    #[inline(always)]
    pub fn token(&mut self) -> u8 {
        self.at = after_space(self.text.as_bytes(), self.at);
        byte(self.text.as_bytes(), self.at)
    }

    /// Enters an object: its first key, if it has one. What follows is the key's value.
    #[inline(always)]
    pub fn first_key(&mut self) -> Result<Option<Key<'a>>, Malformed> {
        self.pass(b'{', "no object")?;
        if self.token() == b'}' {
            self.at += 1;
            return Ok(None);
        }
        self.key().map(Some)
    }

    /// The key after a member's value; `None` at the end of the object, which is passed.
    #[inline(always)]
    pub fn next_key(&mut self) -> Result<Option<Key<'a>>, Malformed> {
        let byte = self.token();
        if !matches!(byte, b',' | b'}') {
            return Err(self.malformed(NO_COMMA));
        }
        self.at += 1;
        if byte == b'}' {
            return Ok(None);
        }
        self.key().map(Some)
    }

    /// Enters an array. Whether it has a first element, which follows.
    #[inline(always)]
    pub fn first_element(&mut self) -> Result<bool, Malformed> {
        self.pass(b'[', "no array")?;
        let is_empty = self.token() == b']';
        self.at += usize::from(is_empty);
        Ok(!is_empty)
    }

    /// Whether another element follows; if not, the end of the array is passed.
    #[inline(always)]
    pub fn next_element(&mut self) -> Result<bool, Malformed> {
        let byte = self.token();
        if !matches!(byte, b',' | b']') {
            return Err(self.malformed(NO_COMMA));
        }
        self.at += 1;
        Ok(byte == b',')
    }

    /// Passes one value: its text.
    #[inline(always)]
    pub fn value(&mut self) -> Result<&'a str, Malformed> {
        self.token();
        let from = self.at;
        self.at = after_value(self.text.as_bytes(), from)?;
        Ok(self.since(from))
    }

    /// Where the scanner stands, in bytes.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What was passed since a place.
    #[inline(always)]
    pub fn since(&self, from: usize) -> &'a str {
        self.text.get(from..self.at).unwrap_or_default()
    }

    /// Nothing but white space is left.
    pub fn end(&mut self) -> Result<(), Malformed> {
        self.token();
        if self.at < self.text.len() {
            return Err(self.malformed("more text after the value"));
        }
        Ok(())
    }

    #[cold]
    fn malformed(&self, what: &'static str) -> Malformed {
        malformed(self.text.as_bytes(), self.at, what)
    }

    #[inline(always)]
    fn pass(&mut self, byte: u8, what: &'static str) -> Result<(), Malformed> {
        if self.token() != byte {
            return Err(self.malformed(what));
        }
        self.at += 1;
        Ok(())
    }

    /// A key and its colon.
    #[inline(always)]
    fn key(&mut self) -> Result<Key<'a>, Malformed> {
        let bytes = self.text.as_bytes();
        let start = after_space(bytes, self.at);
        let (after, has_escapes) = after_key(bytes, start)?;
        self.at = after_colon(bytes, after)?;
        let inner = self.text.get(start + 1..after - 1).unwrap_or_default();
        Ok(Key { inner, has_escapes, at: start + 1 })
    }
}
