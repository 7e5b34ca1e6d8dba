//! Decides how a decimal number becomes Postgres's `numeric`: digits of base 10000, as `numeric_in` makes them.
//!
//! Layer: extract. Calls nothing of Postgres.

use super::{close, HEADER};

/// Longer texts, and larger exponents, are left to `numeric_in`.
const MAX_TEXT: usize = 1000;
const MAX_EXPONENT: i32 = 2000;
/// Decimal digits in one digit of base 10000.
const DIGITS: i32 = 4;

/// Sign, shown decimals and weight fit two bytes when the last two are within these.
const SHORT_SCALE: i32 = 0x3f;
const SHORT_WEIGHT: std::ops::RangeInclusive<i32> = -0x40..=0x3f;

/// Appends the value of a decimal text, with its header, to `out`. Gives false, and leaves `out` as it was, for texts that
/// are not plain decimals or are too long to be made here.
pub fn encode(text: &str, out: &mut Vec<u8>) -> bool {
    if text.len() > MAX_TEXT {
        return false;
    }
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..)),
        Some(b'+') => (false, text.get(1..)),
        _ => (false, Some(text)),
    };
    let unsigned = unsigned.unwrap_or_default();
    let (digits, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((digits, exponent)) => match exponent.parse::<i32>() {
            Ok(exponent) if exponent.abs() <= MAX_EXPONENT => (digits, exponent),
            _ => return false,
        },
        None => (unsigned, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let decimal = |part: &str| part.bytes().all(|c| c.is_ascii_digit());
    if !decimal(whole) || !decimal(fraction) || whole.len() + fraction.len() == 0 {
        return false;
    }
    // The place of the first digit (0 is ones), and the decimals shown.
    let first = whole.len() as i32 - 1 + exponent;
    let scale = (fraction.len() as i32 - exponent).max(0);
    let mut weight = first.div_euclid(DIGITS);
    let start = out.len();
    out.extend_from_slice(&[0; HEADER + 4]);
    let groups = out.len();
    let mut group = 0i16;
    // Digits before the first one in its group of four.
    let mut place = DIGITS - 1 - first.rem_euclid(DIGITS);
    for c in whole.bytes().chain(fraction.bytes()) {
        group = group * 10 + i16::from(c - b'0');
        place += 1;
        if place == DIGITS {
            push(out, groups, &mut weight, group);
            (group, place) = (0, 0);
        }
    }
    if place > 0 {
        for _ in place..DIGITS {
            group *= 10;
        }
        push(out, groups, &mut weight, group);
    }
    while out.len() > groups && out.ends_with(&[0, 0]) {
        out.truncate(out.len() - 2);
    }
    let is_zero = out.len() == groups;
    let (weight, negative) = if is_zero { (0, false) } else { (weight, negative) };
    if scale <= SHORT_SCALE && SHORT_WEIGHT.contains(&weight) {
        let sign = if negative { 0x2000 } else { 0 };
        let minus = if weight < 0 { 0x40 } else { 0 };
        let short = 0x8000u16 | sign | (scale as u16) << 7 | minus | (weight as u16 & 0x3f);
        out.drain(start + HEADER..start + HEADER + 2);
        write(out, start + HEADER, short);
    } else {
        write(out, start + HEADER, if negative { 0x4000 } else { 0 } | scale as u16);
        write(out, start + HEADER + 2, weight as u16);
    }
    close(out, start);
    true
}

/// Appends a digit of base 10000; zeros before the first other one only move the weight.
fn push(out: &mut Vec<u8>, groups: usize, weight: &mut i32, group: i16) {
    if group == 0 && out.len() == groups {
        *weight -= 1;
    } else {
        out.extend_from_slice(&group.to_le_bytes());
    }
}

fn write(out: &mut [u8], at: usize, value: u16) {
    if let Some(place) = out.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header bits and digits, as `numeric_in` of PostgreSQL 15 stores them.
    #[test]
    fn numbers_are_laid_out_as_postgres_does() {
        for (text, want) in [
            ("0", vec![0x8000]),
            ("-0.00", vec![0x8100]),
            ("1", vec![0x8000, 1]),
            ("-1", vec![0xa000, 1]),
            ("1.50", vec![0x8100, 1, 5000]),
            ("10000", vec![0x8001, 1]),
            ("12345.6789", vec![0x8201, 1, 2345, 6789]),
            ("0.0001", vec![0x827f, 1]),
            ("0.00001", vec![0x82fe, 1000]),
            ("1e5", vec![0x8001, 10]),
            ("1.5e-3", vec![0x827f, 15]),
            ("100000000", vec![0x8002, 1]),
        ] {
            let mut out = Vec::new();
            assert!(encode(text, &mut out), "{text}");
            let words: Vec<u16> = out[4..].chunks(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
            assert_eq!(words, want, "{text}");
            assert_eq!(u32::from_le_bytes(out[..4].try_into().unwrap()) >> 2, out.len() as u32);
        }
    }

    #[test]
    fn what_is_no_plain_decimal_is_left_alone() {
        let long = "1".repeat(MAX_TEXT + 1);
        for text in ["", "-", ".", "1a", "NaN", "1e99999", "0x10", "1_000", &long] {
            let mut out = vec![7];
            assert!(!encode(text, &mut out), "{text}");
            assert_eq!(out, [7]);
        }
    }
}
