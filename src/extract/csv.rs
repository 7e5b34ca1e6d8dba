//! Reads CSV (RFC 4180), one record at a time, without copying what is not escaped.
//!
//! A reply that was cut off must not look like a shorter one: an open quote, and a record with more or fewer fields than
//! the header, are errors. (That the bytes are complete is checked before, by length and by the number of records.)
//!
//! Layer: extract. Knows nothing of Postgres.

use std::borrow::Cow;

/// The records of one CSV text.
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Fields of the header; 0 until it is read.
    width: usize,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Self {
        Reader { text: text.strip_prefix('\u{feff}').unwrap_or(text), at: 0, width: 0 }
    }

    /// Reads the next record into `fields`; false at the end. The first record sets the number of fields.
    pub fn next(&mut self, fields: &mut Vec<Cow<'a, str>>) -> Result<bool, String> {
        fields.clear();
        if self.at >= self.text.len() {
            return Ok(false);
        }
        loop {
            fields.push(self.field()?);
            match self.byte() {
                Some(b',') => self.at += 1,
                Some(b'\n') => {
                    self.at += 1;
                    break;
                }
                Some(b'\r') if matches!(self.rest(), "\r") || self.rest().starts_with("\r\n") => {
                    self.at += 2;
                    break;
                }
                None => break,
                Some(_) => return Err(format!("text behind a closing quote at byte {}", self.at)),
            }
        }
        if self.width == 0 {
            self.width = fields.len();
        }
        if fields.len() == self.width {
            Ok(true)
        } else {
            Err(format!("a record has {} fields instead of {} (before byte {})", fields.len(), self.width, self.at))
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn field(&mut self) -> Result<Cow<'a, str>, String> {
        if self.byte() != Some(b'"') {
            let rest = self.rest();
            let end = rest.find([',', '\n']).unwrap_or(rest.len());
            let bare = rest.get(..end).unwrap_or_default();
            // A carriage return before the line's end belongs to the end.
            let is_last = rest.as_bytes().get(end) != Some(&b',');
            let bare = if is_last { bare.strip_suffix('\r').unwrap_or(bare) } else { bare };
            self.at += bare.len();
            return Ok(Cow::Borrowed(bare));
        }
        self.at += 1;
        let mut whole = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let Some(end) = rest.find('"') else { return Err("the text ends inside quotes".to_string()) };
            let piece = rest.get(..end).unwrap_or_default();
            self.at += end + 1;
            if whole.is_empty() {
                whole = Cow::Borrowed(piece);
            } else {
                whole.to_mut().push_str(piece);
            }
            if self.byte() != Some(b'"') {
                return Ok(whole);
            }
            self.at += 1;
            whole.to_mut().push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Vec<String>>, String> {
        let mut reader = Reader::new(text);
        let mut fields = Vec::new();
        let mut all = Vec::new();
        while reader.next(&mut fields)? {
            all.push(fields.iter().map(|field| field.to_string()).collect());
        }
        Ok(all)
    }

    #[test]
    fn records_as_apps_write_them() {
        for (name, text, want) in [
            ("plain", "a,b\n1,2\n", vec![vec!["a", "b"], vec!["1", "2"]]),
            ("no last line end", "a,b\n1,2", vec![vec!["a", "b"], vec!["1", "2"]]),
            ("carriage returns", "a,b\r\n\"1\",\r\n", vec![vec!["a", "b"], vec!["1", ""]]),
            ("quotes", "a,b\n\"say \"\"hi\"\"\",\"x,\ny\"\n", vec![vec!["a", "b"], vec!["say \"hi\"", "x,\ny"]]),
            ("only quotes", "a\n\"\"\"\"\"\"\n", vec![vec!["a"], vec!["\"\""]]),
            ("empty fields", "a,b\n,\"\"\n", vec![vec!["a", "b"], vec!["", ""]]),
            ("an empty line is one empty field", "a\n\nb\n", vec![vec!["a"], vec![""], vec!["b"]]),
            ("byte order mark", "\u{feff}\"a\"\né\n", vec![vec!["a"], vec!["é"]]),
            ("header alone", "a,b\n", vec![vec!["a", "b"]]),
            ("nothing", "", vec![]),
        ] {
            assert_eq!(read(text).unwrap(), want, "{name}");
        }
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        for text in ["a,b\n\"1", "a,b\n1", "a,b\n1,2,3\n", "a,b\n\"1\"x,2\n", "a\n\"1\"\""] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    /// Writes as Salesforce does (every field quoted), and without needless quotes.
    fn write(records: &[Vec<String>], always: bool, end: &str) -> String {
        let quote = |field: &String| {
            if always || field.contains([',', '"', '\n', '\r']) || field.is_empty() {
                format!("\"{}\"", field.replace('"', "\"\""))
            } else {
                field.clone()
            }
        };
        records.iter().map(|r| r.iter().map(quote).collect::<Vec<_>>().join(",") + end).collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut draw = |end: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % end
        };
        let letters = ["a", "\"", ",", "\n", "\r", "\r\n", "é", "漢", " ", "0", "\"\"", "\u{1}"];
        for _ in 0..3000 {
            let width = 1 + draw(5);
            let records: Vec<Vec<String>> = (0..1 + draw(4))
                .map(|_| {
                    let mut field = || (0..draw(6)).map(|_| letters[draw(letters.len() as u64) as usize]).collect();
                    (0..width).map(|_| field()).collect()
                })
                .collect();
            for (always, end) in [(true, "\n"), (false, "\n"), (true, "\r\n"), (false, "\r\n")] {
                let text = write(&records, always, end);
                assert_eq!(read(&text).as_ref(), Ok(&records), "{text:?}");
                // Cut anywhere it is an error, or whole records of it.
                let cut =
                    (0..=draw(text.len() as u64) as usize).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                if let Ok(part) = read(&text[..cut]) {
                    assert!(part.len() <= records.len());
                }
            }
        }
    }
}
