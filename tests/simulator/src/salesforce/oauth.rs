//! Decides who gets an access token, and whether a token is still good.

use std::collections::HashMap;

use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use base64::Engine;
use serde_json::{json, Value};

use crate::chance::Chance;
use crate::clock;
use crate::config::Config;
use crate::http::{Reply, Request};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

pub struct Tokens {
    chance: Chance,
    /// Access tokens and when they end, in ms of the machine's clock.
    access: HashMap<String, i64>,
    /// The refresh token that is good now, once rotation has replaced the configured one.
    rotated: Option<String>,
    /// Refresh tokens already used up by rotation; using one again ends the family.
    used: Vec<String>,
    family_is_dead: bool,
    pub granted: u64,
}

/// How a request identified itself.
#[derive(Debug, PartialEq, Clone, Copy)]
pub enum Credential {
    Valid,
    Expired,
    Wrong,
    None,
}

impl Credential {
    pub fn label(self) -> &'static str {
        match self {
            Credential::Valid => "valid",
            Credential::Expired => "expired",
            Credential::Wrong => "wrong",
            Credential::None => "none",
        }
    }
}

impl Tokens {
    pub fn new(seed: u64) -> Tokens {
        Tokens {
            chance: Chance::new(seed, "tokens"),
            access: HashMap::new(),
            rotated: None,
            used: Vec::new(),
            family_is_dead: false,
            granted: 0,
        }
    }

    /// Judges the `Authorization` header.
    pub fn check(&self, request: &Request, config: &Config) -> Credential {
        let Some(header) = request.header("authorization") else { return Credential::None };
        let Some(token) = header.strip_prefix("Bearer ").or_else(|| header.strip_prefix("OAuth ")) else {
            return Credential::Wrong;
        };
        if !config.text("session_id").is_empty() && token == config.text("session_id") {
            return Credential::Valid;
        }
        match self.access.get(token) {
            Some(ends) if *ends > clock::real_ms() => Credential::Valid,
            Some(_) => Credential::Expired,
            None => Credential::Wrong,
        }
    }

    /// A new access token.
    pub fn mint(&mut self, config: &Config) -> String {
        let token = format!("00D5g0000008SimEAE!AQ{}.{}", self.chance.letters(30), self.chance.letters(60));
        self.access
            .insert(token.clone(), clock::real_ms() + config.number("token_lifetime_seconds").saturating_mul(1000));
        self.granted += 1;
        token
    }

    /// Ends all access tokens; the configured `session_id` stays good.
    pub fn expire_all(&mut self) {
        self.access.values_mut().for_each(|ends| *ends = 0);
    }

    /// Takes the configured refresh token as the good one again.
    pub fn restore_family(&mut self) {
        self.rotated = None;
        self.used.clear();
        self.family_is_dead = false;
    }

    /// Whether reuse of an old refresh token has ended the whole grant.
    pub fn family_is_dead(&self) -> bool {
        self.family_is_dead
    }

    pub fn current_refresh_token(&self, config: &Config) -> String {
        self.rotated.clone().unwrap_or_else(|| config.text("refresh_token").to_string())
    }

    /// Answers `POST /services/oauth2/token`.
    pub fn token(&mut self, request: &Request, config: &Config) -> Reply {
        if request.method != "POST" {
            return refuse("invalid_request", "must use HTTP POST");
        }
        let mut form = request.form();
        form.extend(basic_client(request));
        let get = |name: &str| form.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
        let grant = get("grant_type");
        if grant != JWT_BEARER {
            if get("client_id") != config.text("client_id") {
                return refuse("invalid_client_id", "client identifier invalid");
            }
            if get("client_secret") != config.text("client_secret") {
                return refuse("invalid_client", "invalid client credentials");
            }
        }
        let mut rotated = None;
        let outcome = match grant {
            "refresh_token" => match self.refresh(get("refresh_token"), config) {
                Ok(new) => {
                    rotated = new;
                    Ok(())
                }
                Err(e) => Err(e),
            },
            "client_credentials" => Ok(()),
            "password" if get("username") == config.text("username") && get("password") == config.text("password") => {
                Ok(())
            }
            "password" => Err(("invalid_grant", "authentication failure".to_string())),
            JWT_BEARER => check_assertion(get("assertion"), config).map_err(|e| ("invalid_grant", e)),
            "" => Err(("invalid_request", "grant_type is required".to_string())),
            _ => Err(("unsupported_grant_type", "grant type not supported".to_string())),
        };
        let outcome = outcome.and_then(|()| {
            if config.flag("user_inactive") {
                Err(("inactive_user", "user is inactive".to_string()))
            } else {
                Ok(())
            }
        });
        if let Err((error, description)) = outcome {
            return refuse(error, &description);
        }
        let access_token = self.mint(config);
        let id = format!("{}/id/00D5g0000008SimEAE/0055g0000000001AAA", request.origin());
        let issued_at = clock::now_ms().to_string();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, config.text("client_secret").as_bytes());
        let signature = STANDARD.encode(ring::hmac::sign(&key, format!("{id}{issued_at}").as_bytes()));
        let mut answer = json!({
            "access_token": access_token, "instance_url": request.origin(), "id": id, "token_type": "Bearer",
            "issued_at": issued_at, "signature": signature, "scope": "api refresh_token",
        });
        if let Some(token) = rotated {
            answer["refresh_token"] = json!(token);
        }
        Reply { credential: "valid", ..Reply::json(200, answer.to_string()) }
    }

    /// Judges a refresh token, and gives the one that takes its place under rotation.
    fn refresh(&mut self, token: &str, config: &Config) -> Result<Option<String>, (&'static str, String)> {
        let expired = || ("invalid_grant", "expired access/refresh token".to_string());
        if self.used.iter().any(|t| t == token) {
            self.family_is_dead = true;
        }
        if self.family_is_dead || token != self.current_refresh_token(config) {
            return Err(expired());
        }
        if !config.flag("rotate_refresh_tokens") {
            return Ok(None);
        }
        let new = format!("5Aep861{}", self.chance.letters(40));
        self.used.push(token.to_string());
        self.rotated = Some(new.clone());
        Ok(Some(new))
    }
}

fn refuse(error: &str, description: &str) -> Reply {
    Reply {
        credential: "wrong",
        ..Reply::json(400, json!({"error": error, "error_description": description}).to_string())
    }
}

/// Client id and secret of a Basic header.
fn basic_client(request: &Request) -> Vec<(String, String)> {
    let decoded =
        request.header("authorization").and_then(|h| h.strip_prefix("Basic ")).and_then(|b| STANDARD.decode(b).ok());
    let Some((id, secret)) = decoded
        .and_then(|d| String::from_utf8(d).ok())
        .and_then(|t| t.split_once(':').map(|(a, b)| (a.to_string(), b.to_string())))
    else {
        return Vec::new();
    };
    vec![("client_id".into(), id), ("client_secret".into(), secret)]
}

/// Verifies a JWT bearer assertion: RS256 with the configured key, issuer, subject, audience and end.
fn check_assertion(assertion: &str, config: &Config) -> Result<(), String> {
    let invalid = || "invalid assertion".to_string();
    let parts: Vec<&str> = assertion.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else { return Err(invalid()) };
    let json_of = |part: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?).ok()
    };
    let (head, body) = (json_of(header).ok_or_else(invalid)?, json_of(claims).ok_or_else(invalid)?);
    if head["alg"] != "RS256" {
        return Err("algorithm not supported".into());
    }
    let key = rsa_key(config.text("jwt_public_key_pem")).ok_or("no public key is configured for this client")?;
    let signature = URL_SAFE_NO_PAD.decode(signature.trim_end_matches('=')).map_err(|_| invalid())?;
    ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PKCS1_2048_8192_SHA256, key)
        .verify(format!("{header}.{claims}").as_bytes(), &signature)
        .map_err(|_| invalid())?;
    if body["iss"] != config.text("client_id") {
        return Err("client identifier invalid".into());
    }
    if body["sub"] != config.text("username") {
        return Err("user hasn't approved this consumer".into());
    }
    let audience = body["aud"].as_str().unwrap_or("");
    let is_ours = ["https://login.salesforce.com", "https://test.salesforce.com"]
        .contains(&audience.trim_end_matches('/'))
        || audience.contains("127.0.0.1")
        || audience.contains("localhost");
    if !is_ours {
        return Err("audience is invalid".into());
    }
    let now = clock::now_ms() / 1000;
    // The real endpoint takes an end at most some minutes ahead.
    match body["exp"].as_f64() {
        Some(exp) if (exp as i64) > now && (exp as i64) <= now + 600 => Ok(()),
        _ => Err("assertion is expired".into()),
    }
}

/// The PKCS#1 key in a PEM of either kind (`PUBLIC KEY` or `RSA PUBLIC KEY`).
fn rsa_key(pem: &str) -> Option<Vec<u8>> {
    let body: String = pem.lines().filter(|l| !l.starts_with("-----")).map(str::trim).collect();
    let der = STANDARD.decode(body).ok().filter(|d| !d.is_empty())?;
    if pem.contains("BEGIN RSA PUBLIC KEY") {
        return Some(der);
    }
    // SEQUENCE { SEQUENCE algorithm, BIT STRING { 0 unused bits, key } }
    let outer = der_content(&der, 0x30)?.0;
    let (_, rest) = der_content(outer, 0x30)?;
    let (bits, _) = der_content(rest, 0x03)?;
    bits.strip_prefix(&[0]).map(<[u8]>::to_vec)
}

/// The content of the DER element at the start, and what follows it.
fn der_content(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match *length {
        short @ 0..=0x7f => (usize::from(short), rest),
        long => {
            let count = usize::from(long & 0x7f);
            let bytes = rest.get(..count)?;
            (bytes.iter().fold(0usize, |n, b| n << 8 | usize::from(*b)), &rest[count..])
        }
    };
    Some((rest.get(..length)?, rest.get(length..)?))
}
