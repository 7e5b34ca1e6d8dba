//! Decides how credentials are read from a request, and which access tokens given out are still good.

use std::collections::HashMap;

use base64::Engine;

use crate::chance::Chance;
use crate::http::Request;

/// The token of `Authorization: Bearer ...` (the word in any case).
pub fn bearer(request: &Request) -> Option<&str> {
    scheme(request, "bearer")
}

/// What follows a scheme's name in the `Authorization` header.
pub fn scheme<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let (given, rest) = request.header("authorization")?.split_once(' ')?;
    given.eq_ignore_ascii_case(name).then_some(rest.trim())
}

/// User and password of `Authorization: Basic ...`.
pub fn basic(request: &Request) -> Option<(String, String)> {
    let coded = scheme(request, "basic")?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(coded).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':').unwrap_or((&text, ""));
    Some((user.to_string(), password.to_string()))
}

/// What `Reply::credential` says of a secret: "valid", "wrong" or "none".
pub fn judge(given: Option<&str>, good: &str) -> &'static str {
    match given {
        None => "none",
        Some(given) if given == good => "valid",
        Some(_) => "wrong",
    }
}

/// Access tokens given out by a token endpoint.
pub struct Tokens {
    ends_ms: HashMap<String, i64>,
    chance: Chance,
    pub granted: u64,
}

impl Tokens {
    pub fn new(seed: u64) -> Tokens {
        Tokens { ends_ms: HashMap::new(), chance: Chance::new(seed, "tokens"), granted: 0 }
    }

    pub fn mint(&mut self, prefix: &str, lifetime_s: i64, now_ms: i64) -> String {
        let token = format!("{prefix}{}", self.chance.letters(40));
        self.ends_ms.insert(token.clone(), now_ms + lifetime_s.saturating_mul(1000));
        self.granted += 1;
        token
    }

    /// "valid", "expired", "wrong" or "none".
    pub fn check(&self, token: Option<&str>, now_ms: i64) -> &'static str {
        match token.map(|t| self.ends_ms.get(t)) {
            None => "none",
            Some(None) => "wrong",
            Some(Some(ends)) if *ends > now_ms => "valid",
            Some(Some(_)) => "expired",
        }
    }

    pub fn expire_all(&mut self) {
        self.ends_ms.values_mut().for_each(|ends| *ends = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(header: &str) -> Request {
        Request { headers: vec![("authorization".into(), header.into())], ..Request::default() }
    }

    #[test]
    fn credentials_are_read_from_the_header() {
        assert_eq!(bearer(&with("bearer abc")), Some("abc"));
        assert_eq!(bearer(&with("Basic abc")), None);
        assert_eq!(basic(&with("Basic YUBiLmMvdG9rZW46czpx")), Some(("a@b.c/token".into(), "s:q".into())));
        assert_eq!((judge(None, "k"), judge(Some("x"), "k"), judge(Some("k"), "k")), ("none", "wrong", "valid"));
    }

    #[test]
    fn a_token_is_good_until_it_ends() {
        let mut tokens = Tokens::new(1);
        let token = tokens.mint("t-", 10, 1000);
        assert_eq!((tokens.check(Some(&token), 10_999), tokens.check(Some(&token), 11_000)), ("valid", "expired"));
        assert_eq!((tokens.check(Some("x"), 0), tokens.check(None, 0)), ("wrong", "none"));
        tokens.expire_all();
        assert_eq!(tokens.check(Some(&token), 1001), "expired");
    }
}
