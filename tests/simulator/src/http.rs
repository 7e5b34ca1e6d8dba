//! Decides how bytes on a connection become requests, and replies become bytes.
//!
//! A small HTTP/1.1 server of our own, because a simulator must also be able to break the protocol: cut a body, reset the
//! connection half way, never end the headers. A library that always answers correctly cannot do that.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Longer request heads are refused: far above any limit the apps themselves have.
const MAX_HEAD_BYTES: usize = 1 << 20;
const MAX_BODY_BYTES: usize = 256 << 20;

/// One client connection, with or without TLS.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(s) => s,
            Stream::Tls(s) => s.get_ref().0,
        }
    }

    /// Makes the close that follows a TCP reset instead of an orderly end.
    pub fn reset_on_close(&self) {
        let _ = socket2::SockRef::from(self.tcp()).set_linger(Some(std::time::Duration::ZERO));
    }

    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_flush(cx),
            Stream::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

/// A connection with what was read from it and not used yet.
pub struct Connection {
    pub stream: Stream,
    pub unread: Vec<u8>,
}

/// A request as it came in; `query` is still percent-encoded.
#[derive(Debug, Default, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub is_tls: bool,
    pub wants_close: bool,
}

impl Request {
    /// The first header of that name (written in lower case here), if any.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The decoded query parameters, in their order.
    pub fn params(&self) -> Vec<(String, String)> {
        decode_pairs(&self.query)
    }

    pub fn param(&self, name: &str) -> Option<String> {
        self.params().into_iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// The body of an `application/x-www-form-urlencoded` request.
    pub fn form(&self) -> Vec<(String, String)> {
        decode_pairs(&String::from_utf8_lossy(&self.body))
    }

    /// The address the client used, to be given back as its base URL.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.header("host").unwrap_or("127.0.0.1"))
    }
}

/// `a=1&b=x%20y` as decoded pairs.
pub fn decode_pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// Percent-decoding with `+` as a space; broken escapes stay as they are.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An answer, before the wire faults.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What the request's credential was: "valid", "expired", "wrong" or "none".
    pub credential: &'static str,
    /// The query locator behind this page, also when it is the only page. Not sent.
    pub locator: Option<String>,
}

impl Reply {
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        let headers = vec![("Content-Type".into(), "application/json;charset=UTF-8".into())];
        Reply { status, headers, body: body.into(), credential: "none", locator: None }
    }

    pub fn empty(status: u16) -> Reply {
        Reply { status, credential: "none", ..Reply::default() }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The status line and headers, with a `Content-Length` of `length` unless that is `None` (chunked).
    pub fn head(&self, length: Option<usize>, close: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status)).into_bytes();
        for (name, value) in &self.headers {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        match length {
            Some(length) if self.status != 304 && self.status != 204 => {
                head.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
            }
            Some(_) => {}
            None => head.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        }
        head.extend_from_slice(if close {
            b"Connection: close\r\n\r\n" as &[u8]
        } else {
            b"Connection: keep-alive\r\n\r\n"
        });
        head
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        406 => "Not Acceptable",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Entity",
        425 => "Too Early",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unnamed",
    }
}

impl Connection {
    pub fn new(stream: Stream) -> Connection {
        Connection { stream, unread: Vec::with_capacity(8 << 10) }
    }

    /// Reads more bytes into `unread`; 0 means the client has ended the connection.
    pub async fn read_more(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.unread).await
    }

    /// The next request, or `None` when the client is done.
    pub async fn next_request(&mut self) -> io::Result<Option<Request>> {
        loop {
            if let Some((mut request, used, body)) = parse_head(&self.unread)? {
                self.unread.drain(..used);
                request.is_tls = self.stream.is_tls();
                if request.header("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue")) {
                    self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                }
                request.body = match body {
                    BodyLength::Bytes(length) => self.take(length).await?,
                    BodyLength::Chunked => self.take_chunks().await?,
                };
                return Ok(Some(request));
            }
            if self.unread.len() > MAX_HEAD_BYTES {
                return Err(io::Error::other("request head too long"));
            }
            if self.read_more().await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > MAX_BODY_BYTES {
            return Err(io::Error::other("request body too long"));
        }
        while self.unread.len() < length {
            if self.read_more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.unread.drain(..length).collect())
    }

    async fn take_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line_end = loop {
                if let Some(at) = self.unread.windows(2).position(|w| w == b"\r\n") {
                    break at;
                }
                if self.read_more().await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            };
            let line = String::from_utf8_lossy(&self.unread[..line_end]).into_owned();
            self.unread.drain(..line_end + 2);
            let size =
                usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16).map_err(io::Error::other)?;
            if body.len() + size > MAX_BODY_BYTES {
                return Err(io::Error::other("request body too long"));
            }
            body.extend(self.take(size).await?);
            self.take(2).await?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    /// Sends a reply as it is. `is_head` leaves the body away.
    pub async fn send(&mut self, reply: &Reply, close: bool, is_head: bool) -> io::Result<()> {
        let mut bytes = reply.head(Some(reply.body.len()), close);
        if !is_head && reply.status != 304 && reply.status != 204 {
            bytes.extend_from_slice(&reply.body);
        }
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }

    /// Writes raw bytes at once.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Waits until the client has gone, keeping what it still sends.
    pub async fn wait_gone(&mut self) {
        while matches!(self.read_more().await, Ok(n) if n > 0) {}
    }
}

enum BodyLength {
    Bytes(usize),
    Chunked,
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<(Request, usize, BodyLength)>> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Request::new(&mut headers);
    let used = match parsed.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(used) => used,
    };
    let target = parsed.path.unwrap_or("/");
    let target = target.split_once("://").map_or(target, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(String, String)> = parsed
        .headers
        .iter()
        .map(|h| (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).trim().to_string()))
        .collect();
    let request = Request {
        method: parsed.method.unwrap_or("GET").to_string(),
        path: decode(&path.replace('+', "%2B")),
        query: query.to_string(),
        headers,
        wants_close: parsed.version == Some(0),
        ..Request::default()
    };
    let length = request.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    let chunked = request.header("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked"));
    let wants_close =
        request.wants_close || request.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
    Ok(Some((
        Request { wants_close, ..request },
        used,
        if chunked { BodyLength::Chunked } else { BodyLength::Bytes(length) },
    )))
}
