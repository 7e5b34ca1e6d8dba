//! Decides what of an app's own words may be shown: no credential, no control character, not endless.
//!
//! Apps like to repeat what they were sent ("invalid key sk_live_..."), whole, cut or starred out.
//!
//! Layer: http. Knows nothing of Postgres.

use super::{AccessToken, Account};
use base64::Engine;

/// Longest text of an app that goes into a message, in characters.
pub const SHOWN_CHARS: usize = 500;

/// A credential's beginning of this many characters is hidden even when the rest was cut off.
const TELLING_CHARS: usize = 8;

/// Shorter texts are not secrets, and hiding them would riddle every message.
const SHORTEST: usize = 4;

/// Stands for a hidden text until all is done; no app's words hold it.
const HIDDEN: &str = "\u{1}\u{2}\u{1}";

/// The credential texts of one account, longest first.
pub struct Scrubber {
    secrets: Vec<String>,
}

impl Scrubber {
    pub fn new(account: &Account, token: Option<&AccessToken>) -> Self {
        let mut secrets: Vec<String> = account.credentials.values().map(|s| s.expose().to_string()).collect();
        for known in [account.token.as_ref(), token].into_iter().flatten() {
            secrets.push(known.token.expose().to_string());
            secrets.extend(known.new_refresh_token.iter().map(|s| s.expose().to_string()));
        }
        // Keys in PEM form are repeated line by line, basic credentials in base64, form fields percent-encoded.
        let mut spellings = Vec::new();
        for secret in &secrets {
            if secret.contains('\n') {
                spellings.extend(secret.lines().filter(|l| !l.starts_with("-----")).map(str::to_string));
            }
            spellings.push(base64::engine::general_purpose::STANDARD.encode(secret));
            spellings.push(percent_encoded(secret));
        }
        secrets.extend(spellings);
        secrets.retain(|s| s.chars().count() >= SHORTEST);
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        secrets.dedup();
        Scrubber { secrets }
    }

    /// One line of at most [`SHOWN_CHARS`] characters without any credential.
    pub fn clean(&self, text: &str) -> String {
        self.clean_to(text, SHOWN_CHARS)
    }

    /// The same with another length. Credentials are hidden before the text is cut, or a half would remain.
    pub fn clean_to(&self, text: &str, chars: usize) -> String {
        // Only so much of a long text can end up in the result; a body may have megabytes.
        let text: String = text.chars().take(chars.saturating_add(16_384)).collect();
        let mut hidden = text;
        for secret in &self.secrets {
            if hidden.contains(secret.as_str()) {
                hidden = hidden.replace(secret.as_str(), HIDDEN);
            }
            hidden = hide_beginnings(&hidden, secret);
        }
        let line: String = unstarred(&hidden).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let words: Vec<&str> = line.split(' ').filter(|w| !w.is_empty()).collect();
        let line = words.join(" ");
        match line.char_indices().nth(chars) {
            Some((at, _)) => format!("{}...", line.get(..at).unwrap_or_default()),
            None => line,
        }
    }
}

/// Hides words that the app starred out: they still show the ends of a credential (`sk_live_****4242`).
fn unstarred(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '*' | '\u{2022}');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_part(c) != is_part(first)).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        let is_starred = is_part(first) && (run.contains("***") || run.contains("\u{2022}\u{2022}\u{2022}"));
        shown.push_str(if is_starred { HIDDEN } else { run });
        rest = tail;
    }
    shown.replace(HIDDEN, "***")
}

/// Hides cut-off copies: the credential's first characters and as many of the next as agree.
fn hide_beginnings(text: &str, secret: &str) -> String {
    let Some(start) = secret.char_indices().nth(TELLING_CHARS).and_then(|(at, _)| secret.get(..at)) else {
        return text.to_string();
    };
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(start) {
        shown.push_str(rest.get(..at).unwrap_or_default());
        shown.push_str(HIDDEN);
        let found = rest.get(at..).unwrap_or_default();
        let same: usize =
            found.chars().zip(secret.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
        rest = found.get(same..).unwrap_or_default();
    }
    shown.push_str(rest);
    shown
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubber(secrets: &[&str]) -> Scrubber {
        Scrubber { secrets: secrets.iter().map(|s| s.to_string()).collect() }
    }

    #[test]
    fn credentials_are_hidden_whole_cut_and_starred() {
        let s = scrubber(&["sk_live_0123456789abcdef"]);
        for (text, want) in [
            ("bad key sk_live_0123456789abcdef!", "bad key ***!"),
            ("bad key sk_live_0123456...", "bad key ***..."),
            ("bad key sk_live_*******cdef", "bad key ******"),
            ("bad key pk_other_*******cdef.", "bad key ***."),
            ("nothing to hide", "nothing to hide"),
            ("two\nlines\u{0}and\ta tab", "two lines and a tab"),
        ] {
            assert_eq!(s.clean(text), want, "{text}");
        }
    }

    #[test]
    fn a_long_text_is_cut_after_hiding() {
        let s = scrubber(&["secret-secret"]);
        let text = format!("{}secret-secret and more", "x ".repeat(245));
        let shown = s.clean(&text);
        assert!(!shown.contains("secret"), "{shown}");
        assert!(s.clean(&"y".repeat(10_000)).len() <= SHOWN_CHARS + 3);
        assert_eq!(s.clean(&"\u{e9}".repeat(600)).chars().count(), SHOWN_CHARS + 3);
    }
}
