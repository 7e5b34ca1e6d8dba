//! Unpacks a body that is a gzip file itself: stores hand out exports so, and do not call it an encoding.
//!
//! Layer: http. Knows nothing of Postgres.

use super::transport::{Broken, Raw};
use crate::error::SyncError;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use std::io::Read;

/// The first bytes of every gzip file. No text begins so.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The reply with its body unpacked, counted while it unfolds. One that was cut off deserves another try.
pub fn unpacked(raw: Raw, limit: u64) -> Result<Raw, Broken> {
    if !(200..300).contains(&raw.status) || !raw.body.starts_with(&MAGIC) {
        return Ok(raw);
    }
    let mut whole = Vec::new();
    let decoder = MultiGzDecoder::new(raw.body.as_ref());
    if let Err(error) = decoder.take(limit.saturating_add(1)).read_to_end(&mut whole) {
        let detail = format!("a gzip file is not whole: {error}");
        return Err(Broken::Lost(SyncError::Unavailable { status: raw.status, tries: 1, detail }));
    }
    if whole.len() as u64 > limit {
        return Err(Broken::Final(SyncError::TooLarge { what: "a reply's body in bytes".into(), limit }));
    }
    Ok(Raw { body: Bytes::from(whole), ..raw })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn packed(parts: &[&str]) -> Vec<u8> {
        let mut file = Vec::new();
        for part in parts {
            let mut encoder = flate2::write::GzEncoder::new(&mut file, flate2::Compression::default());
            encoder.write_all(part.as_bytes()).unwrap();
            encoder.finish().unwrap();
        }
        file
    }

    fn of(body: &[u8], limit: u64) -> Result<Bytes, Broken> {
        let raw = Raw {
            status: 200,
            headers: reqwest::header::HeaderMap::new(),
            body: Bytes::copy_from_slice(body),
            elapsed: std::time::Duration::ZERO,
        };
        unpacked(raw, limit).map(|raw| raw.body)
    }

    #[test]
    fn files_are_unpacked_within_their_limit() {
        assert_eq!(of(b"{}", 1).unwrap(), "{}", "what is not packed has its limit elsewhere");
        assert_eq!(of(&packed(&["a,b\n", "1,2\n"]), 8).unwrap(), "a,b\n1,2\n", "in several parts");
        let bomb = packed(&[&"0".repeat(1 << 20)]);
        assert!(bomb.len() < 2000);
        assert!(matches!(of(&bomb, 1000), Err(Broken::Final(SyncError::TooLarge { limit: 1000, .. }))));
        let file = packed(&["a,b\n1,2\n"]);
        assert!(matches!(of(&file[..file.len() - 3], 100), Err(Broken::Lost(SyncError::Unavailable { .. }))));
    }
}
