//! Decides how a reply is broken: replies that are not the app's own, and bytes that stop, crawl or never end.

use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use crate::app::App;
use crate::faults::{Fault, Kind};
use crate::http::{Connection, Reply, Request};
use crate::serve::Next;

/// What reached the client of a broken reply.
pub struct Sent {
    pub status_line: bool,
    pub body_bytes: usize,
    pub next: Next,
}

/// The reply that takes the place of the app's own, for faults that are a complete reply.
pub fn replacement(app: &dyn App, request: &Request, fault: &Fault) -> Option<Reply> {
    let mut reply = match fault.kind {
        Kind::Status => {
            let status = fault.status.unwrap_or(500);
            Reply::json(status, fault.body.as_ref().map_or_else(|| app.error_body(status), text_of))
        }
        Kind::Html => {
            let page = "<!DOCTYPE html>\n<html><head><title>Down for maintenance</title></head><body><h1>We will be back soon</h1></body></html>\n";
            Reply::empty(fault.status.unwrap_or(200))
                .with("Content-Type", "text/html; charset=utf-8")
                .with_body(fault.body.as_ref().map_or(page.into(), text_of))
        }
        Kind::Empty => Reply::json(fault.status.unwrap_or(200), ""),
        Kind::ErrorObject => Reply::json(200, fault.body.as_ref().map_or_else(|| app.error_body(500), text_of)),
        Kind::DeepJson => {
            let depth = fault.depth.unwrap_or(10_000);
            let list = app.list_name(request);
            Reply::json(
                200,
                format!(
                    "{{\"object\":\"list\",\"totalSize\":1,\"done\":true,\"has_more\":false,\"{list}\":{}{}}}",
                    "[".repeat(depth),
                    "]".repeat(depth)
                ),
            )
        }
        Kind::Redirect => Reply::empty(fault.status.unwrap_or(302))
            .with("Location", fault.location.clone().unwrap_or_else(|| "/".into())),
        _ => return None,
    };
    for (name, value) in &fault.headers {
        reply = reply.with(name, value.clone());
    }
    Some(reply)
}

fn text_of(body: &Value) -> String {
    body.as_str().map_or_else(|| body.to_string(), str::to_string)
}

/// Whether the fault happens to the bytes, after the reply is known.
pub fn breaks_the_wire(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::ResetBefore
            | Kind::ResetHeaders
            | Kind::ResetBody
            | Kind::Truncate
            | Kind::TruncateJson
            | Kind::ChunkError
            | Kind::SlowDrip
            | Kind::Hang
            | Kind::HangBody
            | Kind::EndlessHeaders
            | Kind::Bomb
            | Kind::Giant
    )
}

/// Sends the reply in its broken way. Errors only mean that the client left first.
pub async fn send(connection: &mut Connection, fault: &Fault, reply: &Reply) -> Sent {
    let half = reply.body.len() / 2;
    let mut sent = Sent { status_line: true, body_bytes: half, next: Next::Close };
    let head = reply.head(Some(reply.body.len()), true);
    match fault.kind {
        Kind::ResetBefore => {
            connection.stream.reset_on_close();
            sent = Sent { status_line: false, body_bytes: 0, next: Next::Reset };
        }
        Kind::ResetHeaders => {
            let _ = connection.write(&head[..head.len() / 2]).await;
            connection.stream.reset_on_close();
            (sent.body_bytes, sent.next) = (0, Next::Reset);
        }
        Kind::ResetBody => {
            write_half(connection, head, &reply.body[..half]).await;
            connection.stream.reset_on_close();
            sent.next = Next::Reset;
        }
        Kind::Truncate => write_half(connection, head, &reply.body[..half]).await,
        Kind::TruncateJson => {
            let cut = Reply { body: reply.body[..half].to_vec(), ..reply.clone() };
            if connection.send(&cut, false, false).await.is_ok() {
                sent.next = Next::Keep;
            }
        }
        Kind::ChunkError => {
            let mut bytes = reply.head(None, true);
            bytes.extend_from_slice(format!("{half:x}\r\n").as_bytes());
            bytes.extend_from_slice(&reply.body[..half]);
            bytes.extend_from_slice(b"\r\nnot-a-chunk-size\r\n");
            let _ = connection.write(&bytes).await;
        }
        Kind::SlowDrip => {
            let _ = connection.write(&head).await;
            let per_second = fault.bytes_per_second.unwrap_or(10).max(1);
            // Ten ticks a second, or one byte a tick when slower.
            let step = (per_second / 10).max(1);
            let tick = Duration::from_secs_f64(step as f64 / per_second as f64);
            sent.body_bytes = 0;
            for piece in reply.body.chunks(step as usize) {
                if connection.write(piece).await.is_err() {
                    break;
                }
                sent.body_bytes += piece.len();
                tokio::time::sleep(tick).await;
            }
        }
        Kind::Hang => {
            connection.wait_gone().await;
            sent = Sent { status_line: false, body_bytes: 0, next: Next::Close };
        }
        Kind::HangBody => {
            write_half(connection, head, &reply.body[..half]).await;
            connection.wait_gone().await;
        }
        Kind::EndlessHeaders => {
            let mut lines = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n".to_vec();
            for n in 0u64.. {
                lines.extend_from_slice(format!("X-Filler-{n}: {}\r\n", "z".repeat(200)).as_bytes());
                if connection.write(&lines).await.is_err() {
                    break;
                }
                lines.clear();
            }
            sent.body_bytes = 0;
        }
        Kind::Bomb => sent.body_bytes = send_bomb(connection, fault.megabytes.unwrap_or(1000)).await,
        Kind::Giant => sent.body_bytes = send_giant(connection, fault.megabytes.unwrap_or(1000)).await,
        _ => {}
    }
    sent
}

async fn write_half(connection: &mut Connection, mut head: Vec<u8>, body: &[u8]) {
    head.extend_from_slice(body);
    let _ = connection.write(&head).await;
}

const OPENING: &[u8] =
    b"{\"object\":\"list\",\"totalSize\":1,\"done\":true,\"has_more\":false,\"data\":[],\"records\":[";

/// A small gzip body that grows to `megabytes` of JSON white space when unpacked.
async fn send_bomb(connection: &mut Connection, megabytes: u64) -> usize {
    let reply = Reply::json(200, "").with("Content-Encoding", "gzip");
    if connection.write(&reply.head(None, true)).await.is_err() {
        return 0;
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let blank = vec![b' '; 1 << 20];
    let _ = encoder.write_all(OPENING);
    let mut sent = 0;
    for _ in 0..megabytes {
        let _ = encoder.write_all(&blank);
        if !write_chunk(connection, std::mem::take(encoder.get_mut()), &mut sent).await {
            return sent;
        }
    }
    let _ = encoder.write_all(b"]}");
    if let Ok(rest) = encoder.finish() {
        write_chunk(connection, rest, &mut sent).await;
    }
    let _ = connection.write(b"0\r\n\r\n").await;
    sent
}

async fn write_chunk(connection: &mut Connection, bytes: Vec<u8>, sent: &mut usize) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(&bytes);
    chunk.extend_from_slice(b"\r\n");
    *sent += bytes.len();
    connection.write(&chunk).await.is_ok()
}

async fn send_giant(connection: &mut Connection, megabytes: u64) -> usize {
    let length = OPENING.len() + (megabytes as usize) * (1 << 20) + 2;
    let mut first = Reply::json(200, "").head(Some(length), true);
    first.extend_from_slice(OPENING);
    if connection.write(&first).await.is_err() {
        return 0;
    }
    let blank = vec![b' '; 1 << 20];
    let mut sent = OPENING.len();
    for _ in 0..megabytes {
        if connection.write(&blank).await.is_err() {
            return sent;
        }
        sent += blank.len();
    }
    let _ = connection.write(b"]}").await;
    sent + 2
}

impl Reply {
    fn with_body(mut self, body: String) -> Reply {
        self.body = body.into_bytes();
        self
    }
}
