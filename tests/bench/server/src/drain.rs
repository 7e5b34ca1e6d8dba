//! Decides how fast a listing can be read at all: one page after another over one connection, every byte thrown away.
//!
//! Plain blocking sockets and one buffer; of a page only the id of its last record is looked for, from the end.

use crate::Fallible;
use serde_json::{json, Value};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

/// Reads every page of `http://host:port/path` and tells how many bytes and seconds it took.
pub fn drain(url: &str) -> Fallible<Value> {
    let rest = url.strip_prefix("http://").ok_or("only http:// can be drained")?;
    let (host, path) = rest.split_once('/').ok_or("the URL names no path")?;
    let started = Instant::now();
    let mut stream = TcpStream::connect(host)?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 1 << 20];
    let (mut pages, mut bytes) = (0u64, 0usize);
    let mut after = String::new();
    loop {
        let request = format!(
            "GET /{path}?limit=100{after} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer sk_live_drain\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let (body, end) = read_reply(&mut stream, &mut buffer)?;
        pages += 1;
        bytes += end - body;
        let page = &buffer[body..end];
        match find_last(&page[page.len().saturating_sub(200)..], b"\"has_more\":true").and(last_id(page)) {
            Some(id) => after = format!("&starting_after={id}"),
            None => break,
        }
    }
    Ok(json!({"pages": pages, "bytes": bytes, "seconds": started.elapsed().as_secs_f64()}))
}

/// Reads one reply into the buffer; gives where its body begins and ends.
fn read_reply(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Fallible<(usize, usize)> {
    let mut filled = 0;
    let mut ends: Option<(usize, usize)> = None;
    loop {
        if let Some((body, end)) = ends {
            if filled >= end {
                return Ok((body, end));
            }
            if buffer.len() < end {
                buffer.resize(end, 0);
            }
        }
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Err("the server closed the connection".into());
        }
        filled += read;
        if ends.is_none() {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut reply = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(body) = reply.parse(&buffer[..filled])? {
                if reply.code != Some(200) {
                    return Err(format!("status {:?}", reply.code).into());
                }
                let length = reply.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
                let length: usize = std::str::from_utf8(length.ok_or("a reply without its length")?.value)?.parse()?;
                ends = Some((body, body + length));
            }
        }
    }
}

/// The id of the last record: records begin with their id, and their own `object` follows it.
fn last_id(page: &[u8]) -> Option<&str> {
    let mut end = page.len();
    loop {
        let start = find_last(&page[..end], b"{\"id\":\"")?;
        let id = page.get(start + 7..)?;
        let length = id.iter().position(|byte| *byte == b'"')?;
        let is_record = start > 0 && matches!(page[start - 1], b',' | b'[');
        if is_record && id[length..].starts_with(b"\",\"object\":") {
            return std::str::from_utf8(&id[..length]).ok();
        }
        end = start;
    }
}

fn find_last(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    (0..=bytes.len().checked_sub(wanted.len())?).rev().find(|at| bytes[*at..].starts_with(wanted))
}
