//! Decides how bytes on a connection become requests, and how replies are written without being copied together.

use bytes::{Buf, Bytes, BytesMut};
use std::io::{self, IoSlice};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MAX_BYTES: usize = 1 << 20;
/// Linux takes 1,024 pieces in one call.
const MAX_PIECES: usize = 1_024;

/// A request as it came in; parameters are decoded.
#[derive(Debug, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub params: Vec<(String, String)>,
    pub has_credentials: bool,
    pub api_version: Option<String>,
    pub body: Bytes,
    pub wants_close: bool,
}

impl Request {
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

/// An answer: its body is the pieces, one after another.
pub struct Reply {
    pub status: u16,
    pub headers: String,
    pub body: Vec<Bytes>,
}

impl Reply {
    pub fn json(status: u16, body: impl Into<Bytes>) -> Reply {
        Reply { status, headers: String::new(), body: vec![body.into()] }
    }

    fn head(&self) -> Bytes {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            401 => "Unauthorized",
            404 => "Not Found",
            429 => "Too Many Requests",
            _ => "Unnamed",
        };
        let length: usize = self.body.iter().map(Bytes::len).sum();
        Bytes::from(format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{}\r\n",
            self.status, self.headers
        ))
    }
}

/// A connection with what was read from it and not used yet.
pub struct Connection {
    stream: TcpStream,
    unread: BytesMut,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Connection {
        Connection { stream, unread: BytesMut::with_capacity(8 << 10) }
    }

    /// The next request, or `None` when the client is done.
    pub async fn next_request(&mut self) -> io::Result<Option<Request>> {
        loop {
            if let Some((mut request, head, body)) = parse(&self.unread)? {
                if self.unread.len() >= head + body {
                    self.unread.advance(head);
                    request.body = self.unread.split_to(body).freeze();
                    return Ok(Some(request));
                }
            }
            if self.unread.len() > MAX_BYTES {
                return Err(io::Error::other("request too long"));
            }
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Writes a reply from where its bytes lie; returns how many they were.
    pub async fn send(&mut self, reply: &Reply) -> io::Result<usize> {
        let head = reply.head();
        let mut left: Vec<IoSlice<'_>> = Vec::with_capacity(reply.body.len() + 1);
        left.push(IoSlice::new(&head));
        left.extend(reply.body.iter().map(|piece| IoSlice::new(piece)));
        let mut left = left.as_mut_slice();
        let mut sent = 0;
        while !left.is_empty() {
            let now = left.len().min(MAX_PIECES);
            match self.stream.write_vectored(&left[..now]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => {
                    sent += written;
                    IoSlice::advance_slices(&mut left, written);
                }
            }
        }
        Ok(sent)
    }

    /// Returns once the client has gone; what it still sends is kept.
    pub async fn gone(&mut self) {
        while matches!(self.stream.read_buf(&mut self.unread).await, Ok(read) if read > 0) {
            if self.unread.len() > MAX_BYTES {
                return;
            }
        }
    }
}

/// The request at the front, with the lengths of its head and body.
fn parse(bytes: &[u8]) -> io::Result<Option<(Request, usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let head = match parsed.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(head) => head,
    };
    let target = parsed.path.unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: parsed.method.unwrap_or("GET").to_string(),
        path: decode(path),
        params: decode_pairs(query),
        wants_close: parsed.version == Some(0),
        ..Request::default()
    };
    let mut body = 0;
    for header in parsed.headers.iter() {
        let value = || String::from_utf8_lossy(header.value).trim().to_string();
        match header.name.to_ascii_lowercase().as_str() {
            "authorization" => request.has_credentials = !header.value.is_empty(),
            "stripe-version" => request.api_version = Some(value()),
            "connection" => request.wants_close |= value().eq_ignore_ascii_case("close"),
            "content-length" => body = value().parse().map_err(io::Error::other)?,
            "transfer-encoding" => return Err(io::Error::other("bodies in chunks are not read")),
            _ => {}
        }
    }
    Ok(Some((request, head, body)))
}

fn decode_pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// Percent-decoding with `+` as a space; broken escapes stay as they are.
fn decode(text: &str) -> String {
    if !text.contains(['%', '+']) {
        return text.to_string();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
