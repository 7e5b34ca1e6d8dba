//! Decides what paging tokens look like and mean.
//!
//! A token of the activity log holds an instant and the last id before it: the vendor's own samples are base32 of
//! `2008-11-06T00:00:00.000+0000,0`, and of the same with the id of the last activity sent. Other lists are paged by
//! position, in the same letters.

use crate::rest::time;

const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Base32 with padding.
fn encode(text: &str) -> String {
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(5) {
        let mut bits = 0u64;
        for at in 0..5 {
            bits = bits << 8 | u64::from(chunk.get(at).copied().unwrap_or(0));
        }
        let used = (chunk.len() * 8).div_ceil(5);
        for at in 0..8 {
            let letter = LETTERS[(bits >> (35 - at * 5) & 31) as usize] as char;
            out.push(if at < used { letter } else { '=' });
        }
    }
    out
}

fn decode(token: &str) -> Option<String> {
    let mut out = Vec::new();
    let (mut bits, mut held) = (0u64, 0);
    for letter in token.trim_end_matches('=').bytes() {
        let value = LETTERS.iter().position(|l| *l == letter)?;
        bits = bits << 5 | value as u64;
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held & 255) as u8);
        }
    }
    String::from_utf8(out).ok()
}

/// `2008-11-06T00:00:00.000+0000`
fn instant(ms: i64) -> String {
    format!("{}.{:03}+0000", time::Form::Iso.text(ms).trim_end_matches('Z'), ms.rem_euclid(1000))
}

/// A place in the activity log: after the activity `last_id` of that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPlace {
    pub at_ms: i64,
    pub last_id: u64,
}

impl LogPlace {
    pub fn token(self) -> String {
        encode(&format!("{},{}", instant(self.at_ms), self.last_id))
    }

    pub fn parse(token: &str) -> Option<LogPlace> {
        let text = decode(token)?;
        let (at, id) = text.split_once(',')?;
        Some(LogPlace { at_ms: time::parse(at)?, last_id: id.parse().ok()? })
    }
}

/// The token of the page that follows the record `last_id` of a list.
pub fn list_token(list: &str, last_id: u64) -> String {
    encode(&format!("{list}:{last_id}"))
}

/// The last id sent, when the token is one of this list.
pub fn parse_list_token(list: &str, token: &str) -> Option<u64> {
    decode(token)?.strip_prefix(list)?.strip_prefix(':')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_of_the_documentation_are_tokens_of_ours() {
        let sample = "GIYDAOBNGEYS2MBWKQYDAORQGA5DAMBOGAYDAKZQGAYDALBQ";
        let place = LogPlace::parse(sample).unwrap();
        assert_eq!((instant(place.at_ms).as_str(), place.last_id), ("2008-11-06T00:00:00.000+0000", 0));
        assert_eq!(place.token(), sample);
        let next = "GIYDAOBNGEYS2MBWKQYDAORQGA5DAMBOGAYDAKZQGAYDALBRGA3TQ===";
        assert_eq!(LogPlace { last_id: 1078, ..place }.token(), next);
        assert_eq!(LogPlace::parse(next).map(|p| p.last_id), Some(1078));
    }

    #[test]
    fn a_token_of_one_list_is_none_of_another() {
        let token = list_token("lists", 300);
        assert_eq!(parse_list_token("lists", &token), Some(300));
        assert_eq!(parse_list_token("campaigns", &token), None);
        assert_eq!(LogPlace::parse(&token), None);
        assert_eq!(LogPlace::parse("not base32"), None);
    }
}
