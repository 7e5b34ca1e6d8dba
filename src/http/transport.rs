//! Sends one request and reads its reply to the end, within the limits of size and time.
//!
//! Decides which failures of the wire deserve another try. Redirects are followed for GET, at most five, and never
//! to another origin: the credential would go with them.
//!
//! Layer: http. Knows nothing of Postgres.

use super::address::host_of;
use super::guard::{same_origin, Refused};
use super::scrub::Scrubber;
use super::verdict::ERROR_BODY_BYTES;
use super::{Policy, Stats};
use crate::error::SyncError;
use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, CONTENT_LENGTH, LOCATION};
use reqwest::{Method, Response, Url};
use std::error::Error;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

const REDIRECTS: u32 = 5;

/// A whole reply, whatever its status.
pub struct Raw {
    pub status: u16,
    pub headers: HeaderMap,
    /// Of a failed reply its beginning only.
    pub body: Bytes,
    pub elapsed: Duration,
}

/// Why there is no whole reply.
#[derive(Debug)]
pub enum Broken {
    /// Another try cannot help.
    Final(SyncError),
    /// Nothing reached the app: it cannot have acted on the request.
    NotSent(SyncError),
    /// The request may have reached the app.
    Lost(SyncError),
}

/// Sends `request`, follows its redirects, reads the reply.
pub async fn send(
    http: &reqwest::Client,
    policy: &Policy,
    stats: &Stats,
    scrubber: &Scrubber,
    mut request: reqwest::Request,
) -> Result<Raw, Broken> {
    *request.timeout_mut() = Some(policy.request_timeout);
    let started = Instant::now();
    for _ in 0..=REDIRECTS {
        let url = request.url().clone();
        let follow_up = (request.method() == Method::GET).then(|| request.try_clone()).flatten();
        stats.calls.fetch_add(1, Relaxed);
        let response = http.execute(request).await.map_err(|e| broken(&url, e, scrubber))?;
        let status = response.status().as_u16();
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            let (status, headers) = (status, response.headers().clone());
            let body = body(response, policy, stats, &url, scrubber).await?;
            return Ok(Raw { status, headers, body, elapsed: started.elapsed() });
        }
        let target = redirect_target(&url, response.headers(), scrubber).map_err(Broken::Final)?;
        let Some(mut next) = follow_up else {
            let detail = "the app redirects a request that is not a plain reading; it was not followed".to_string();
            return Err(Broken::Final(SyncError::Connect { host: host_of(&url), detail }));
        };
        *next.url_mut() = target;
        request = next;
    }
    let detail = format!("no reply after {REDIRECTS} redirects");
    Err(Broken::Final(SyncError::Unavailable { status: 302, tries: 1, detail }))
}

fn redirect_target(from: &Url, headers: &HeaderMap, scrubber: &Scrubber) -> Result<Url, SyncError> {
    let refuse = |detail: String| SyncError::Connect { host: host_of(from), detail };
    let target = headers
        .get(LOCATION)
        .and_then(|location| location.to_str().ok())
        .and_then(|location| from.join(location).ok())
        .ok_or_else(|| refuse("the app redirects to no address".into()))?;
    if same_origin(from, &target) && target.username().is_empty() && target.password().is_none() {
        return Ok(target);
    }
    let to = scrubber.clean_to(&format!("{}://{}", target.scheme(), host_of(&target)), 100);
    Err(refuse(format!("the app redirects to \"{to}\"; it was not followed, and no credential was sent there")))
}

/// Reads a body, counted after decompression, so that a compressed bomb is noticed while it unfolds.
async fn body(
    mut response: Response,
    policy: &Policy,
    stats: &Stats,
    url: &Url,
    scrubber: &Scrubber,
) -> Result<Bytes, Broken> {
    let good = response.status().is_success();
    let limit = usize::try_from(policy.max_body_bytes).unwrap_or(usize::MAX);
    let too_large =
        || Broken::Final(SyncError::TooLarge { what: "a reply's body in bytes".into(), limit: policy.max_body_bytes });
    // Absent when the body is compressed.
    let told = response.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if good && told.is_some_and(|told| told > limit) {
        return Err(too_large());
    }
    let mut body = BytesMut::with_capacity(told.unwrap_or(0).min(1 << 20));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                stats.bytes.fetch_add(chunk.len() as u64, Relaxed);
                if body.len() + chunk.len() > limit {
                    return Err(too_large());
                }
                body.extend_from_slice(&chunk);
                if !good && body.len() >= ERROR_BODY_BYTES {
                    body.truncate(ERROR_BODY_BYTES);
                    return Ok(body.freeze());
                }
            }
            Ok(None) => return Ok(body.freeze()),
            // The status of a failed reply is worth more than the rest of its body.
            Err(_) if !good => return Ok(body.freeze()),
            Err(e) => return Err(broken(url, e, scrubber)),
        }
    }
}

/// Reads a failure of the wire.
fn broken(url: &Url, error: reqwest::Error, scrubber: &Scrubber) -> Broken {
    let error = error.without_url();
    let mut reasons: Vec<String> = Vec::new();
    let mut refused = None;
    let mut bad_tls = false;
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(e) = cause {
        if let Some(found) = e.downcast_ref::<Refused>() {
            refused = Some(found.clone());
        }
        // rustls reports what it refuses (certificates, protocol versions) as invalid data.
        bad_tls |= e.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::InvalidData);
        let text = e.to_string();
        if !reasons.iter().any(|known| known.contains(&text)) {
            reasons.push(text);
        }
        cause = match e.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()) {
            Some(inner) => Some(inner),
            None => e.source(),
        };
    }
    let host = host_of(url);
    if let Some(Refused(detail)) = refused {
        return Broken::Final(SyncError::Connect { host, detail });
    }
    // The outer reasons ("error sending request", "client error (Connect)") say nothing more.
    let detail = scrubber.clean_to(&reasons.split_off(reasons.len().saturating_sub(2)).join(": "), 300);
    if error.is_builder() {
        return Broken::Final(SyncError::internal(detail));
    }
    if error.is_connect() {
        let failed = SyncError::Connect { host, detail };
        return if bad_tls { Broken::Final(failed) } else { Broken::NotSent(failed) };
    }
    let detail = if error.is_timeout() { "the app took too long to answer".to_string() } else { detail };
    Broken::Lost(SyncError::Unavailable { status: 0, tries: 1, detail })
}
