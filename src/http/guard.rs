//! Decides which hosts may be talked to: no private, loopback, link-local or metadata address unless allowed.
//!
//! A name is judged by the addresses it resolves to, at the moment of connecting, so a name that is pointed
//! inside later is refused later (S6). One bad address refuses the name: a host of the app has none.
//!
//! Layer: http. Knows nothing of Postgres.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::Url;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// What kind of address is refused, or `None` for one of the public internet.
pub fn forbidden(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => forbidden_v4(ip),
        IpAddr::V6(ip) => forbidden_v6(ip),
    }
}

fn forbidden_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = ip.octets();
    Some(match (a, b, c) {
        (0, ..) => "this network",
        (127, ..) => "loopback",
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => "private",
        (169, 254, _) => "link-local",
        (100, 64..=127, _) => "carrier-grade NAT",
        // Azure's and Alibaba's metadata services hide outside link-local space; the latter is within 100.64/10.
        (168, 63, 129) => "cloud metadata",
        (192, 0, 0) | (192, 0, 2) | (198, 51, 100) | (203, 0, 113) | (198, 18..=19, _) => "reserved",
        (224..=255, ..) => "multicast or reserved",
        _ => return None,
    })
}

fn forbidden_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let segments = ip.segments();
    let [a, b, ..] = segments;
    let [.., y, z] = segments;
    // Addresses that carry an IPv4 address are judged by it: mapped, compatible, NAT64 and 6to4.
    let v4 = |hi: u16, lo: u16| Ipv4Addr::from((u32::from(hi) << 16) | u32::from(lo));
    if ip.is_loopback() {
        return Some("loopback");
    }
    if ip.is_unspecified() {
        return Some("this network");
    }
    if let [0, 0, 0, 0, 0, 0xffff | 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] = segments {
        return forbidden_v4(v4(y, z));
    }
    if a == 0x2002 {
        let [_, hi, lo, ..] = segments;
        return forbidden_v4(v4(hi, lo));
    }
    Some(match a {
        0xfc00..=0xfdff => "unique-local",
        0xfe80..=0xfebf => "link-local",
        0xfec0..=0xfeff => "site-local",
        0xff00..=0xffff => "multicast",
        0x64 if b == 0xff9b => "local NAT64",
        0x100 => "discard-only",
        0x2001 if b == 0xdb8 || b < 0x200 => "reserved",
        _ => return None,
    })
}

/// Judges an address written as a URL: its scheme, no credentials in it, and its host when that is a literal IP.
pub fn check_url(url: &Url, allow_private: bool) -> Result<(), Refused> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refused("an address with a user name or password in it is not used".into()));
    }
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        "http" => return Err(Refused("plain http is not allowed here".into())),
        _ => return Err(Refused("the address is neither https nor http".into())),
    }
    let host = url.host_str().unwrap_or_default();
    if host.is_empty() {
        return Err(Refused("the address names no host".into()));
    }
    if allow_private {
        return Ok(());
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>().ok().and_then(forbidden) {
        Some(kind) => Err(refused_kind(kind)),
        None => Ok(()),
    }
}

fn refused_kind(kind: &str) -> Refused {
    Refused(format!("the host has a {kind} address, which is not allowed here"))
}

/// Whether both lead to the same scheme, host and port: only there does a credential go.
pub fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host_str() == b.host_str() && a.port_or_known_default() == b.port_or_known_default()
}

/// Resolves names on tokio's blocking threads and refuses those that lead inside.
pub struct GuardedResolver {
    pub allow_private: bool,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if !allow_private {
                if let Some(kind) = found.iter().find_map(|a| forbidden(a.ip())) {
                    return Err(refused_kind(kind).into());
                }
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_addresses_are_refused_in_every_spelling() {
        for inside in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:a00:1::",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(forbidden(inside.parse().unwrap()).is_some(), "{inside}");
        }
        for outside in [
            "8.8.8.8",
            "172.32.0.1",
            "172.15.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2001:4860:4860::8888",
        ] {
            assert_eq!(forbidden(outside.parse().unwrap()), None, "{outside}");
        }
    }

    #[test]
    fn addresses_are_https_without_credentials_and_outside() {
        for (url, private, want) in [
            ("https://api.example.com/v1", false, true),
            ("http://api.example.com/v1", false, false),
            ("http://127.0.0.1:8080/", true, true),
            ("https://127.0.0.1/", false, false),
            ("https://0x7f.1/", false, false),
            ("https://2130706433/", false, false),
            ("https://[::1]/", false, false),
            ("https://[::ffff:169.254.169.254]/", false, false),
            ("https://user:pw@api.example.com/", true, false),
            ("ftp://api.example.com/", true, false),
        ] {
            assert_eq!(check_url(&url.parse().unwrap(), private).is_ok(), want, "{url}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let base: Url = "https://api.example.com/v1".parse().unwrap();
        for (other, want) in [
            ("https://api.example.com:443/other", true),
            ("https://API.example.com/x", true),
            ("http://api.example.com/v1", false),
            ("https://api.example.com:8443/v1", false),
            ("https://api.example.com.evil.test/v1", false),
            ("https://api.example.com@evil.test/v1", false),
        ] {
            assert_eq!(same_origin(&base, &other.parse().unwrap()), want, "{other}");
        }
    }
}
