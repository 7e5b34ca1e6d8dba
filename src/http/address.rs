//! Decides where a call goes and which headers it carries: templates filled, next links kept to their origin.
//!
//! Layer: http. Knows nothing of Postgres.

use super::guard::{check_url, same_origin};
use super::scrub::Scrubber;
use super::{AccessToken, Account, Request};
use crate::error::SyncError;
use crate::manifest::{template, Auth, Call};
use base64::Engine;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, AUTHORIZATION};
use reqwest::Url;
use std::borrow::Cow;

/// The value of a template's name: a server option, else the source's default.
pub fn setting<'a>(account: &'a Account, name: &str) -> Option<Cow<'a, str>> {
    let default = || match name {
        "api_version" => account.source.api_version.as_deref(),
        _ => account.source.settings.iter().find(|s| s.name == name).and_then(|s| s.default.as_deref()),
    };
    account.options.get(name).map(String::as_str).or_else(default).filter(|v| !v.is_empty()).map(Cow::from)
}

fn credential<'a>(account: &'a Account, name: &str) -> Option<Cow<'a, str>> {
    account.credentials.get(name).map(|s| s.expose()).filter(|v| !v.is_empty()).map(Cow::from)
}

/// Fills a template with server options. `None` when an optional name in it is unset.
pub fn fill(account: &Account, text: &str) -> Result<Option<String>, SyncError> {
    template::fill(text, |name| setting(account, name)).map_err(|unset| missing(account, unset.0))
}

/// Fills a template with credentials, the access token, else server options.
pub fn fill_secret_with(
    account: &Account,
    token: Option<&AccessToken>,
    text: &str,
) -> Result<Option<String>, SyncError> {
    let token = |name: &str| token.filter(|_| name == "access_token").map(|token| Cow::from(token.token.expose()));
    template::fill(text, |name| credential(account, name).or_else(|| token(name)).or_else(|| setting(account, name)))
        .map_err(|unset| missing(account, unset.0))
}

/// Fills a template with credentials, else server options.
pub fn fill_secret(account: &Account, text: &str) -> Result<Option<String>, SyncError> {
    template::fill(text, |name| credential(account, name).or_else(|| setting(account, name)))
        .map_err(|unset| missing(account, unset.0))
}

fn missing(account: &Account, option: String) -> SyncError {
    let is_credential = account.source.auth.credentials().iter().any(|c| c.name == option);
    SyncError::Missing { place: if is_credential { "user mapping" } else { "server" }, option }
}

/// A call of the source itself, whose templates may hold credentials.
pub fn own_call(account: &Account, call: &Call) -> Result<Request, SyncError> {
    let filled = |text: &str| fill_secret(account, text);
    let mut request = Request { target: call.path.clone(), method: call.method.word(), ..Request::default() };
    for (name, param) in &call.params {
        for text in param.templates() {
            request.query.extend(filled(text)?.map(|value| (name.clone(), value)));
        }
    }
    for (name, text) in &call.headers {
        request.headers.extend(filled(text)?.map(|value| (name.clone(), value)));
    }
    for (name, text) in &call.form {
        request.form.extend(filled(text)?.map(|value| (name.clone(), value)));
    }
    if let Some(body) = &call.json {
        let value = |name: &str| credential(account, name).or_else(|| setting(account, name));
        let list = |_: &str| None;
        request.json_body = template::fill_json(body, &value, &list).map_err(|unset| missing(account, unset.0))?;
    }
    Ok(request)
}

/// The address that paths are relative to: the server option `base_url`, else the source's template, in which
/// `{instance_url}` is what the token answer named.
pub fn base_url(account: &Account, token: Option<&AccessToken>) -> Result<String, SyncError> {
    base_of(account, token, None)
}

/// The same for calls that have a template of their own. The server option takes the place of both.
pub fn base_of(account: &Account, token: Option<&AccessToken>, own: Option<&str>) -> Result<String, SyncError> {
    let of_source = || own.unwrap_or(account.source.base_url.as_str());
    let template_text = account.options.get("base_url").map_or_else(of_source, String::as_str);
    let instance = token.and_then(|t| t.base_url.as_deref());
    let value = |name: &str| match name {
        "instance_url" => instance.map(Cow::from),
        _ => setting(account, name),
    };
    check_host("base_url", template_text, value)?;
    match template::fill(template_text, value) {
        Ok(Some(url)) => Ok(url.trim_end_matches('/').to_string()),
        Ok(None) => Err(SyncError::internal("the base address has an optional part")),
        Err(unset) if unset.0 == "instance_url" => {
            Err(SyncError::internal("the token answer did not name the address that calls go to"))
        }
        Err(unset) => Err(missing(account, unset.0)),
    }
}

/// Refuses values that would end the host part of an address: with `evil.test/` for `{subdomain}` in
/// `https://{subdomain}.example.com`, calls and their credentials would go elsewhere. A value may come from an app's answer.
pub fn check_host<'a>(option: &str, text: &str, value: impl Fn(&str) -> Option<Cow<'a, str>>) -> Result<(), SyncError> {
    let Some(host) = template::authority(text).filter(|host| host.contains('{')) else { return Ok(()) };
    match template::fill(host, value) {
        Ok(Some(host)) if host.contains(|c: char| matches!(c, '/' | '\\' | '?' | '#' | '@') || c <= ' ') => {
            let detail = "a value in its host part is more than a part of a host's name".to_string();
            Err(SyncError::BadSetting { option: option.to_string(), detail })
        }
        _ => Ok(()),
    }
}

/// Parses an address that the owner or the source file gives.
pub fn parse_url(account: &Account, option: &str, text: &str) -> Result<Url, SyncError> {
    let url = Url::parse(text)
        .map_err(|e| SyncError::BadSetting { option: option.to_string(), detail: format!("not an address: {e}") })?;
    check_url(&url, account.policy.allow_private_addresses)
        .map_err(|refused| SyncError::Connect { host: host_of(&url), detail: refused.0 })?;
    Ok(url)
}

/// Host and port as errors name them.
pub fn host_of(url: &Url) -> String {
    match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_string(),
    }
}

/// The whole address of a call. A target that leads away from the base address is refused: the credential stays home.
pub fn call_url(
    account: &Account,
    base: &str,
    token: Option<&AccessToken>,
    request: &Request,
) -> Result<Url, SyncError> {
    let base_url = parse_url(account, "base_url", base)?;
    let target = fill_target(account, &request.target)?;
    let absolute = target.starts_with("https://") || target.starts_with("http://");
    let text = match (absolute, target.starts_with('/')) {
        (true, _) => target,
        // The slash keeps "@host" and the like out of the authority.
        (false, slash) => format!("{base}{}{target}", if slash { "" } else { "/" }),
    };
    let mut url = Url::parse(&text).map_err(|_| SyncError::internal("a path makes no address"))?;
    if !same_origin(&base_url, &url) && !is_elsewhere(base, request, &url) {
        let detail = format!(
            "a link leads to \"{}\" instead; it was not followed, and no credential was sent there",
            Scrubber::new(account, None).clean_to(&host_of(&url), 100)
        );
        return Err(SyncError::Connect { host: host_of(&base_url), detail });
    }
    check_url(&url, account.policy.allow_private_addresses)
        .map_err(|refused| SyncError::Connect { host: host_of(&base_url), detail: refused.0 })?;
    if !request.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&request.query);
    }
    if is_elsewhere(base, request, &url) {
        return Ok(url);
    }
    // What every call carries, unless a next link has it already.
    let proof = match account.auth() {
        Auth::Query { param, value, .. } => Some((param, value)),
        _ => None,
    };
    for (name, text) in account.source.params.iter().chain(proof) {
        let is_there = url.query_pairs().any(|(known, _)| known == name.as_str());
        if let Some(value) = fill_secret_with(account, token, text)?.filter(|_| !is_there) {
            url.query_pairs_mut().append_pair(name, &value);
        }
    }
    url.set_fragment(None);
    Ok(url)
}

/// Whether a call leads to one of the other hosts that it may lead to. One with a port is another host.
pub fn is_elsewhere(base: &str, request: &Request, url: &Url) -> bool {
    let host = host_of(url);
    let is_it = |pattern: &String| match pattern.strip_prefix('*') {
        Some(end) => end.starts_with('.') && host.len() > end.len() && host.ends_with(end),
        None => host == *pattern,
    };
    request.hosts.iter().any(is_it) && !Url::parse(base).is_ok_and(|base| same_origin(&base, url))
}

/// Headers of a call that leads elsewhere: nothing of the source, and no proof of who we are.
pub fn bare_headers(request: &Request) -> Result<HeaderMap, SyncError> {
    let mut headers = HeaderMap::new();
    headers.insert(reqwest::header::ACCEPT, HeaderValue::from_static("*/*"));
    for (name, text) in &request.headers {
        headers.insert(header_name(name)?, header_value(name, text)?);
    }
    Ok(headers)
}

/// The path of a call below the base address, as a source file writes paths.
pub fn path_below(base: &str, url: &Url) -> String {
    let of_base = Url::parse(base).map(|base| base.path().trim_end_matches('/').to_string()).unwrap_or_default();
    let path = url.path();
    path.strip_prefix(&of_base).filter(|rest| rest.starts_with('/')).unwrap_or(path).to_string()
}

/// Fields of a form as its body.
pub fn form_text(form: &[(String, String)]) -> String {
    let mut url = Url::parse("form:").ok();
    if let Some(url) = &mut url {
        url.query_pairs_mut().extend_pairs(form);
    }
    url.and_then(|url| url.query().map(str::to_string)).unwrap_or_default()
}

/// How many records a request asks for at once, in its own parameters, its body, or a next link.
pub fn page_size(request: &Request) -> Option<u64> {
    let place = request.size_place.as_deref()?;
    if place.starts_with('/') {
        return request.json_body.as_ref()?.pointer(place)?.as_u64();
    }
    let own = request.query.iter().find(|(name, _)| name == place).map(|(_, value)| value.clone());
    let in_link = || Some(link_pairs(&request.target)?.into_iter().find(|(name, _)| name == place)?.1);
    own.or_else(in_link)?.parse().ok()
}

/// The request for at most so many records at once; `None` when it asks for no more anyway.
pub fn with_page_size(request: &Request, size: u64) -> Option<Request> {
    let place = request.size_place.as_deref()?;
    let size = size.max(1);
    page_size(request).filter(|present| *present > size)?;
    let mut request = request.clone();
    if place.starts_with('/') {
        *request.json_body.as_mut()?.pointer_mut(place)? = size.into();
        return Some(request);
    }
    if let Some((_, value)) = request.query.iter_mut().find(|(name, _)| name == place) {
        *value = size.to_string();
        return Some(request);
    }
    let pairs = link_pairs(&request.target)?.into_iter().map(|(name, value)| {
        let value = if name == place { size.to_string() } else { value };
        (name, value)
    });
    let (path, _) = request.target.split_once('?')?;
    request.target = format!("{path}?{}", form_text(&pairs.collect::<Vec<_>>()));
    Some(request)
}

fn link_pairs(target: &str) -> Option<Vec<(String, String)>> {
    let (_, query) = target.split_once('?')?;
    let url = Url::parse(&format!("form:?{query}")).ok()?;
    Some(url.query_pairs().into_owned().collect())
}

/// Paths of source files may hold `{api_version}` and other settings.
fn fill_target(account: &Account, target: &str) -> Result<String, SyncError> {
    if !target.contains('{') {
        return Ok(target.to_string());
    }
    // Names that are no setting stay as they are: a next link may hold braces of its own.
    template::fill(target, |name| setting(account, name).or_else(|| Some(Cow::from(format!("{{{name}}}")))))
        .map_err(|unset| missing(account, unset.0))
        .map(Option::unwrap_or_default)
}

/// Headers of a call: the source's, the request's own, and the proof of who we are.
pub fn call_headers(account: &Account, token: Option<&AccessToken>, request: &Request) -> Result<HeaderMap, SyncError> {
    let mut headers = HeaderMap::new();
    headers.insert(reqwest::header::ACCEPT, HeaderValue::from_static("application/json"));
    for (name, text) in &account.source.headers {
        if let Some(filled) = fill_secret(account, text)? {
            headers.insert(header_name(name)?, header_value(name, &filled)?);
        }
    }
    for (name, text) in &request.headers {
        headers.insert(header_name(name)?, header_value(name, text)?);
    }
    let (name, text, option) = match account.auth() {
        Auth::Bearer { secret, .. } => {
            let key = credential(account, secret).ok_or_else(|| missing(account, secret.clone()))?;
            (AUTHORIZATION, format!("Bearer {key}"), secret.as_str())
        }
        Auth::Basic { user, password, .. } => {
            let user_text = fill_secret(account, user)?.unwrap_or_default();
            let password_text = fill_secret(account, password)?.unwrap_or_default();
            let both = base64::engine::general_purpose::STANDARD.encode(format!("{user_text}:{password_text}"));
            (AUTHORIZATION, format!("Basic {both}"), "user")
        }
        Auth::Header { header, value, .. } => match fill_secret(account, value)? {
            Some(text) => (header_name(header)?, text, header.as_str()),
            None => return Ok(headers),
        },
        Auth::None { .. } | Auth::Query { .. } | Auth::OneOf { .. } => return Ok(headers),
        Auth::Oauth2 { header, value, .. } => match token {
            Some(token) => {
                let name = header.as_deref().map_or(Ok(AUTHORIZATION), header_name)?;
                let text = value.as_deref().unwrap_or("Bearer {access_token}");
                (name, fill_secret_with(account, Some(token), text)?.unwrap_or_default(), "access token")
            }
            None => return Err(SyncError::internal("a call was made before there was an access token")),
        },
    };
    let mut proof = header_value(option, &text)?;
    proof.set_sensitive(true);
    headers.insert(name, proof);
    Ok(headers)
}

fn header_name(name: &str) -> Result<HeaderName, SyncError> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| SyncError::internal(format!("\"{name}\" is not a header's name")))
}

fn header_value(option: &str, text: &str) -> Result<HeaderValue, SyncError> {
    HeaderValue::from_str(text.trim()).map_err(|_| SyncError::BadSetting {
        option: option.to_string(),
        detail: "it has characters that cannot be sent in a header, such as a line break".to_string(),
    })
}

/// The request as EXPLAIN shows it: method, path and parameters, no host and no credential.
pub fn shown_request(account: &Account, request: &Request) -> String {
    let method = match (request.method, request.post) {
        ("", false) => "GET",
        ("", true) => "POST",
        (other, _) => other,
    };
    let target = fill_target(account, &request.target).unwrap_or_else(|_| request.target.clone());
    let mut shown = match Url::parse(&target) {
        Ok(url) => {
            let query: Vec<String> = url.query_pairs().map(|(k, v)| format!("{k}={v}")).collect();
            if query.is_empty() {
                url.path().to_string()
            } else {
                format!("{}?{}", url.path(), query.join("&"))
            }
        }
        Err(_) => target,
    };
    for (name, value) in &request.query {
        shown.push(if shown.contains('?') { '&' } else { '?' });
        shown.push_str(&format!("{name}={value}"));
    }
    if let Some(body) = &request.json_body {
        shown.push_str(&format!(" {body}"));
    } else if !request.form.is_empty() {
        shown.push_str(&format!(" {}", form_text(&request.form)));
    } else if let Some(body) = &request.xml_body {
        shown.push_str(&format!(" {body}"));
    }
    // A SOQL text in the address may be long, and EXPLAIN is where one wants to read it.
    format!("{method} {}", Scrubber::new(account, None).clean_to(&shown, 20_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_a_part_of_the_host() {
        for (text, value, good) in [
            ("https://{site}.acme.test/api", "eu-1", true),
            ("https://{site}.acme.test/api", "a.b", true),
            ("https://{site}", "crm.acme.test:8443", true),
            ("https://api.acme.test/{site}", "a/b?c#d@e", true),
            ("{site}/token", "https://login.acme.test", true),
            ("https://{site}.acme.test/api", "evil.test/", false),
            ("https://{site}.acme.test", "evil.test?", false),
            ("https://{site}.acme.test", "evil.test#", false),
            ("https://{site}.acme.test", "evil.test\\", false),
            ("https://api.acme.test{site}", "@evil.test", false),
            ("https://{site}.acme.test", "evil.test\t/", false),
            ("https://{site|before_first:/}.acme.test", "eu/1", true),
        ] {
            let checked = check_host("base_url", text, |name| (name == "site").then(|| Cow::from(value)));
            assert_eq!(checked.is_ok(), good, "{text} with {value}");
        }
    }
}
