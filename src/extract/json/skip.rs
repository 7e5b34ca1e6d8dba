//! Decides where a value of JSON ends: given the bytes and a place, each function gives the place after.
//!
//! What a byte costs here is most of what reading a page costs (docs/performance.md). The place is an argument and a
//! result, so that it goes from step to step in a register; the small steps are inlined into the two loops that use them.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::Malformed;

pub const NO_COMMA: &str = "neither ',' nor the end after a value";

/// What is wrong at a place; at the end of the text, that it ends.
#[cold]
pub fn malformed(bytes: &[u8], at: usize, what: &'static str) -> Malformed {
    Malformed { at, what: if at < bytes.len() { what } else { "the text ends too early" } }
}

/// The byte at a place; 0, which begins no token, at the end.
#[inline(always)]
pub fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

/// Passes white space: mostly none, a single space, or the indentation of a new line.
#[inline(always)]
pub fn after_space(bytes: &[u8], at: usize) -> usize {
    if byte(bytes, at) > b' ' {
        return at;
    }
    if byte(bytes, at) == b' ' && byte(bytes, at + 1) > b' ' {
        return at + 1;
    }
    after_indentation(bytes, at)
}

#[inline]
fn after_indentation(bytes: &[u8], mut at: usize) -> usize {
    while matches!(byte(bytes, at), b' ' | b'\n' | b'\r' | b'\t') {
        at += 1;
        while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            let others = u64::from_le_bytes(*block) ^ u64::from_le_bytes([b' '; 8]);
            at += (others.trailing_zeros() / 8) as usize;
            if others != 0 {
                break;
            }
        }
    }
    at
}

/// Passes one value.
#[inline(always)]
pub fn after_value(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    match byte(bytes, at) {
        b'{' | b'[' => after_nested(bytes, at),
        _ => after_scalar(bytes, at),
    }
}

#[inline(always)]
fn after_scalar(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    match byte(bytes, at) {
        b'"' => after_string(bytes, at + 1).map(|(after, _)| after),
        b'n' => after_word(bytes, at, b"null"),
        b'-' | b'0'..=b'9' => after_number(bytes, at),
        b't' => after_word(bytes, at, b"true"),
        b'f' => after_word(bytes, at, b"false"),
        _ => Err(malformed(bytes, at, "no value")),
    }
}

/// Passes an array or object, however deep it goes.
fn after_nested(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    let mut open = Nesting::default();
    let mut at = at;
    loop {
        at = after_space(bytes, at);
        match byte(bytes, at) {
            b'{' => {
                at = after_space(bytes, at + 1);
                if byte(bytes, at) == b'}' {
                    at += 1;
                } else {
                    at = after_key_and_colon(bytes, at)?;
                    open.push(true);
                    continue;
                }
            }
            b'[' => {
                at = after_space(bytes, at + 1);
                if byte(bytes, at) == b']' {
                    at += 1;
                } else {
                    open.push(false);
                    continue;
                }
            }
            _ => at = after_scalar(bytes, at)?,
        }
        // A value is behind: the next one, or the end of what it is in.
        loop {
            let Some(in_object) = open.innermost() else { return Ok(at) };
            at = after_space(bytes, at);
            match (byte(bytes, at), in_object) {
                (b',', true) => {
                    at = after_key_and_colon(bytes, after_space(bytes, at + 1))?;
                    break;
                }
                (b',', false) => {
                    at += 1;
                    break;
                }
                (b'}', true) | (b']', false) => {
                    at += 1;
                    open.pop();
                }
                _ => return Err(malformed(bytes, at, NO_COMMA)),
            }
        }
    }
}

/// Passes a key, its quotes included. Also whether it has escapes.
#[inline(always)]
pub fn after_key(bytes: &[u8], at: usize) -> Result<(usize, bool), Malformed> {
    if byte(bytes, at) != b'"' {
        return Err(malformed(bytes, at, "no key"));
    }
    after_string(bytes, at + 1)
}

/// Passes the colon after a key.
#[inline(always)]
pub fn after_colon(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    let at = after_space(bytes, at);
    if byte(bytes, at) != b':' {
        return Err(malformed(bytes, at, "no ':' after a key"));
    }
    Ok(at + 1)
}

/// Passes a key and its colon.
#[inline(always)]
fn after_key_and_colon(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    after_colon(bytes, after_key(bytes, at)?.0)
}

/// Passes the rest of a string, after its first quote. Also whether it has escapes.
#[inline(always)]
pub fn after_string(bytes: &[u8], at: usize) -> Result<(usize, bool), Malformed> {
    let mut has_escapes = false;
    let mut at = at;
    loop {
        at = after_plain_text(bytes, at);
        match byte(bytes, at) {
            b'"' => return Ok((at + 1, has_escapes)),
            b'\\' => {
                at = after_escape(bytes, at)?;
                has_escapes = true;
            }
            _ => return Err(malformed(bytes, at, "a control character in a string")),
        }
    }
}

/// Passes what is neither quote, backslash nor control character.
#[inline(always)]
fn after_plain_text(bytes: &[u8], mut at: usize) -> usize {
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) {
        let plain = plain_bytes(block);
        at += plain;
        if plain < BLOCK {
            return at;
        }
    }
    while bytes.get(at).is_some_and(|c| *c >= 0x20 && !matches!(c, b'"' | b'\\')) {
        at += 1;
    }
    at
}

fn after_escape(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    match byte(bytes, at + 1) {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
        b'u' if bytes.get(at + 2..at + 6).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) => Ok(at + 6),
        _ => Err(malformed(bytes, at, "an unknown escape")),
    }
}

/// Passes a number. A digit after a leading zero is left: what comes next takes no digit.
#[inline(always)]
pub fn after_number(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    let mut at = at + usize::from(byte(bytes, at) == b'-');
    at = if byte(bytes, at) == b'0' { at + 1 } else { after_digits(bytes, at)? };
    if byte(bytes, at) == b'.' {
        at = after_digits(bytes, at + 1)?;
    }
    if matches!(byte(bytes, at), b'e' | b'E') {
        let sign = usize::from(matches!(byte(bytes, at + 1), b'+' | b'-'));
        at = after_digits(bytes, at + 1 + sign)?;
    }
    Ok(at)
}

#[inline(always)]
fn after_digits(bytes: &[u8], from: usize) -> Result<usize, Malformed> {
    let mut at = from;
    while byte(bytes, at).is_ascii_digit() {
        at += 1;
    }
    if at == from {
        return Err(malformed(bytes, at, "a number without digits"));
    }
    Ok(at)
}

#[inline(always)]
pub fn after_word<const N: usize>(bytes: &[u8], at: usize, word: &[u8; N]) -> Result<usize, Malformed> {
    match bytes.get(at..).and_then(<[u8]>::first_chunk::<N>) {
        Some(found) if found == word => Ok(at + N),
        _ => Err(malformed(bytes, at, "no value")),
    }
}

/// How many bytes of plain text are looked at together.
pub const BLOCK: usize = 16;

/// How many bytes come before the first that ends plain text in a string. Vectors (SSE2, which every x86-64 processor has)
/// were measured: 2 to 7 % faster, at the price of `unsafe` and of code that only one kind of processor runs.
#[inline(always)]
pub fn plain_bytes(block: &[u8; BLOCK]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    // Marks each byte that ends plain text. The lowest mark is always right: a false one is a carry from a true one.
    let marks = |word: u64| {
        let equal_to = |byte: u8| {
            let difference = word ^ (ONES * u64::from(byte));
            difference.wrapping_sub(ONES) & !difference
        };
        let below_space = word.wrapping_sub(ONES * 0x20) & !word;
        (equal_to(b'"') | equal_to(b'\\') | below_space) & (ONES * 0x80)
    };
    let both = u128::from_le_bytes(*block);
    match marks(both as u64) {
        0 => 8 + (marks((both >> 64) as u64).trailing_zeros() / 8) as usize,
        low => (low.trailing_zeros() / 8) as usize,
    }
}

/// The arrays and objects that are open, one bit each.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// The innermost ones, an object being a 1; the lowest bit is the innermost.
    bits: u64,
    /// The others, 64 a word.
    outer: Vec<u64>,
}

impl Nesting {
    #[inline]
    fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.bits);
        }
        self.depth += 1;
        self.bits = self.bits << 1 | u64::from(is_object);
    }

    #[inline]
    fn pop(&mut self) {
        self.depth -= 1;
        self.bits >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.bits = self.outer.pop().unwrap_or_default();
        }
    }

    /// Whether the innermost one is an object; `None` when all are closed.
    #[inline]
    fn innermost(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}
