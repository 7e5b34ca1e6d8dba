//! Decides what JSON text becomes in Postgres: strings without escapes, numbers that numeric takes, JSON that jsonb takes.
//!
//! Postgres can hold neither NUL nor a lone surrogate; both become U+FFFD, and the caller keeps the raw value.
//!
//! Layer: extract. Knows nothing of Postgres.

/// The deepest nesting of a value that is kept as JSON; Postgres's own parser recurses.
pub const MAX_DEPTH: usize = 512;
/// Exponents and lengths beyond these do not fit numeric (131072 digits before, 16383 after the point).
const MAX_EXPONENT: i64 = 16_000;
const MAX_DIGITS: usize = 100_000;

const REPLACEMENT: &str = "\u{fffd}";

/// Appends the text of a JSON string (quotes included in `raw`) to `out`. Returns false when something had to be replaced.
pub fn unescape(raw: &str, out: &mut Vec<u8>) -> bool {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if !inner.as_bytes().contains(&b'\\') {
        out.extend_from_slice(inner.as_bytes());
        return true;
    }
    let mut faithful = true;
    let mut rest = inner;
    while let Some(at) = rest.bytes().position(|c| c == b'\\') {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before.as_bytes());
        let mut used = 2;
        match from.as_bytes().get(1) {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'b') => out.push(8),
            Some(b'f') => out.push(12),
            Some(b'u') => {
                let (c, length) = unicode_escape(from);
                used = length;
                match c {
                    Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                    None => {
                        out.extend_from_slice(REPLACEMENT.as_bytes());
                        faithful = false;
                    }
                }
            }
            Some(c) => out.push(*c),
            None => used = 1,
        }
        rest = from.get(used..).unwrap_or_default();
    }
    out.extend_from_slice(rest.as_bytes());
    faithful
}

/// Reads `\uXXXX`, or the two of a pair, at the start of `text`: the character, unless it is NUL or half of a pair, and
/// the bytes it takes.
fn unicode_escape(text: &str) -> (Option<char>, usize) {
    let unit = |at: usize| text.get(at..at + 4).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let Some(high) = unit(2) else { return (None, text.len().min(2)) };
    if (0xd800..0xdc00).contains(&high) {
        if text.get(6..8) == Some("\\u") {
            if let Some(low) = unit(8).filter(|low| (0xdc00..0xe000).contains(low)) {
                return (char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)), 12);
            }
        }
        return (None, 6);
    }
    (char::from_u32(high).filter(|c| *c != '\0'), 6)
}

/// Whether numeric takes this JSON number: not too long, not too large.
pub fn fits_numeric(number: &str) -> bool {
    let (digits, exponent) = match number.split_once(['e', 'E']) {
        Some((digits, exponent)) => match exponent.parse::<i64>() {
            Ok(exponent) => (digits, exponent),
            Err(_) => return false,
        },
        None => (number, 0),
    };
    digits.len() <= MAX_DIGITS && exponent.abs() <= MAX_EXPONENT
}

/// Whether a text is a decimal number as numeric reads it (a number in a JSON string).
pub fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (digits, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|c| c.is_ascii_digit());
    all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && !exponent.is_empty()
        && all_digits(exponent)
        && fits_numeric(text)
}

/// Appends JSON text that jsonb takes. Returns false when something had to be replaced; `None` when it cannot be kept as
/// JSON at all (nested too deeply).
///
/// What needs care is rare, so valid text is scanned once and copied whole.
pub fn clean_json(raw: &str, out: &mut Vec<u8>) -> Option<bool> {
    let bytes = raw.as_bytes();
    let start = out.len();
    let mut faithful = true;
    let mut depth = 0usize;
    let mut copied = 0;
    let mut at = 0;
    while let Some(c) = bytes.get(at) {
        match c {
            b'"' => {
                at += 1;
                loop {
                    match bytes.get(at) {
                        None | Some(b'"') => break,
                        Some(b'\\') if bytes.get(at + 1) == Some(&b'u') => {
                            let (c, used) = unicode_escape(raw.get(at..).unwrap_or_default());
                            if c.is_none() {
                                out.extend_from_slice(bytes.get(copied..at).unwrap_or_default());
                                out.extend_from_slice(REPLACEMENT.as_bytes());
                                copied = at + used;
                                faithful = false;
                            }
                            at += used;
                        }
                        Some(b'\\') => at += 2,
                        Some(_) => at += 1,
                    }
                }
                at += 1;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    out.truncate(start);
                    return None;
                }
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let from = at;
                while bytes.get(at).is_some_and(|c| matches!(c, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
                    at += 1;
                }
                let number = raw.get(from..at).unwrap_or_default();
                if !fits_numeric(number) {
                    out.extend_from_slice(bytes.get(copied..from).unwrap_or_default());
                    out.push(b'"');
                    out.extend_from_slice(number.as_bytes());
                    out.push(b'"');
                    copied = at;
                    faithful = false;
                }
            }
            _ => at += 1,
        }
    }
    out.extend_from_slice(bytes.get(copied..).unwrap_or_default());
    Some(faithful)
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    quote(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends `text` as a JSON string.
pub fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\0' => out.extend_from_slice(REPLACEMENT.as_bytes()),
            c if (c as u32) < 0x20 => out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped(raw: &str) -> (String, bool) {
        let mut out = Vec::new();
        let faithful = unescape(raw, &mut out);
        (String::from_utf8(out).unwrap(), faithful)
    }

    #[test]
    fn strings_lose_their_escapes_and_nothing_else() {
        for (raw, want, faithful) in [
            (r#""plain é""#, "plain é", true),
            (r#""a\"b\\c\/d\n""#, "a\"b\\c/d\n", true),
            (r#""\u00e9\ud83d\ude00""#, "é😀", true),
            (r#""a\u0000b""#, "a\u{fffd}b", false),
            (r#""\ud800x""#, "\u{fffd}x", false),
            (r#""\ud800\u0041""#, "\u{fffd}A", false),
            (r#""\udc00""#, "\u{fffd}", false),
            (r#""""#, "", true),
        ] {
            assert_eq!(unescaped(raw), (want.to_string(), faithful), "{raw}");
        }
    }

    #[test]
    fn json_is_kept_as_sent_unless_jsonb_refuses_it() {
        for (raw, want) in [
            (r#"{"b":1,"a":[1.50,"\\u0000"]}"#, Some((r#"{"b":1,"a":[1.50,"\\u0000"]}"#, true))),
            (r#"["\u0000",1]"#, Some(("[\"\u{fffd}\",1]", false))),
            (r#"{"x":1e400000}"#, Some((r#"{"x":"1e400000"}"#, false))),
            (r#"{"x":-1.5e10}"#, Some((r#"{"x":-1.5e10}"#, true))),
            (r#"["\"-1e99999"]"#, Some((r#"["\"-1e99999"]"#, true))),
        ] {
            let mut out = Vec::new();
            let faithful = clean_json(raw, &mut out);
            assert_eq!(
                faithful.map(|f| (String::from_utf8(out).unwrap(), f)),
                want.map(|(t, f)| (t.to_string(), f)),
                "{raw}"
            );
        }
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        assert_eq!(clean_json(&deep, &mut Vec::new()), None);
    }

    #[test]
    fn decimals() {
        for (text, want) in [
            ("1", true),
            ("-1.50", true),
            (".5", true),
            ("1e5", true),
            ("1e99999", false),
            ("", false),
            (".", false),
            ("1a", false),
            ("NaN", false),
        ] {
            assert_eq!(is_decimal(text), want, "{text}");
        }
    }
}
