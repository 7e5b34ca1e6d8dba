//! Decides the way of a request through an app: log, latency, gate, fault, the app's answer, and the bytes sent.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::breakage;
use crate::clock;
use crate::faults::{Fault, Kind};
use crate::gates::Held;
use crate::http::{Connection, Reply, Request};
use crate::pages;
use crate::world::{Seat, World};

/// Whether the connection can serve another request.
#[derive(PartialEq)]
pub enum Next {
    Keep,
    Close,
    /// Dropped at once, so that the reset asked for is what the client sees.
    Reset,
}

/// Serves one client of an app until either side ends the connection.
pub async fn serve(world: Arc<World>, app: &'static str, mut connection: Connection) {
    let Some(seat) = world.seat(app) else { return };
    while let Ok(Some(request)) = connection.next_request().await {
        match serve_one(&world, seat, &mut connection, &request).await {
            Ok(Next::Keep) if !request.wants_close => {}
            Ok(Next::Reset) => return,
            _ => break,
        }
    }
    use tokio::io::AsyncWriteExt;
    let _ = connection.stream.shutdown().await;
}

async fn serve_one(
    world: &World,
    seat: &Seat,
    connection: &mut Connection,
    request: &Request,
) -> std::io::Result<Next> {
    let (traffic, app) = (&seat.traffic, seat.entry.name);
    let in_flight = traffic.begin();
    let n = traffic.log.lock().unwrap().begin(request);
    let config = traffic.config();
    if config.latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(config.latency_ms)).await;
    }
    if let Some(gate) = world.gates.hit(app, request, false) {
        if gate.hold(connection).await == Held::ClientGone {
            return Ok(Next::Close);
        }
    }

    let (fault, mut reply) = make_reply(seat, request, n, in_flight.count);
    if !reply.headers.iter().any(|(n, _)| n == "Date") {
        reply = reply.with("Date", clock::http_date(clock::now_ms()));
    }
    if config.gzip || reply.headers.iter().any(|(n, v)| n == "Content-Type" && v.starts_with("text/csv")) {
        compress(request, &mut reply);
    }
    traffic.log.lock().unwrap().amend(n, |e| {
        e.credential = reply.credential;
        e.status = reply.status;
        e.bytes = reply.body.len();
    });

    if let Some(fault) = fault.filter(|f| breakage::breaks_the_wire(f.kind)) {
        let sent = breakage::send(connection, &fault, &reply).await;
        traffic.log.lock().unwrap().amend(n, |e| {
            e.bytes = sent.body_bytes;
            if !sent.status_line {
                e.status = 0;
            }
        });
        return Ok(sent.next);
    }
    let close = request.wants_close;
    if let Some(gate) = world.gates.hit(app, request, true) {
        let half = reply.body.len() / 2;
        let mut first = reply.head(Some(reply.body.len()), close);
        first.extend_from_slice(&reply.body[..half]);
        connection.write(&first).await?;
        if gate.hold(connection).await == Held::ClientGone {
            traffic.log.lock().unwrap().amend(n, |e| e.bytes = half);
            return Ok(Next::Close);
        }
        connection.write(&reply.body[half..]).await?;
        return Ok(Next::Keep);
    }
    connection.send(&reply, close, request.method == "HEAD").await?;
    Ok(Next::Keep)
}

/// The app's reply to a request and the fault it meets, before anything that concerns the bytes.
fn make_reply(seat: &Seat, request: &Request, n: u64, in_flight: u64) -> (Option<Fault>, Reply) {
    let traffic = &seat.traffic;
    let (fault, earlier, replaced) = {
        let app = seat.app();
        let app = app.as_ref();
        let is_start = app.starts_listing(request);
        let earlier = traffic.last_pages.lock().unwrap().get(&app.listing_key(request)).filter(|_| !is_start).cloned();
        let fault = traffic.faults.lock().unwrap().decide(app, request, earlier.is_some());
        let earlier = earlier.filter(|_| fault.as_ref().is_some_and(|f| f.kind.repeats_a_page(app)));
        let replaced = fault.as_ref().and_then(|f| breakage::replacement(app, request, f));
        (fault, earlier, replaced)
    };
    if let Some(fault) = &fault {
        let name = serde_json::to_value(fault.kind).ok().and_then(|v| v.as_str().map(str::to_string));
        traffic.log.lock().unwrap().amend(n, |e| e.fault = name);
    }
    // The app does not see these at all.
    let is_unseen = fault.as_ref().is_some_and(|f| match f.kind {
        Kind::ResetBefore => !f.handled,
        kind => matches!(kind, Kind::Hang | Kind::EndlessHeaders | Kind::Bomb | Kind::Giant),
    });
    let mut reply = match replaced.or(earlier) {
        Some(reply) => reply,
        None if is_unseen => Reply::json(200, "{}"),
        None => seat.answer(request, in_flight),
    };
    let app = seat.app();
    if let Some(fault) = &fault {
        pages::alter(app.as_ref(), fault, request, &mut reply);
    }
    if reply.status == 200 && traffic.faults.lock().unwrap().repeats_pages(app.as_ref()) {
        if let Some(key) = app.sent_listing(request, &reply) {
            traffic.last_pages.lock().unwrap().insert(key, reply.clone());
        }
    }
    (fault, reply)
}

fn compress(request: &Request, reply: &mut Reply) {
    let accepts = request.header("accept-encoding").is_some_and(|v| v.contains("gzip"));
    let is_coded = reply.headers.iter().any(|(n, _)| n == "Content-Encoding");
    if !accepts || is_coded || reply.body.len() < 256 {
        return;
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    if encoder.write_all(&reply.body).is_ok() {
        if let Ok(body) = encoder.finish() {
            reply.body = body;
            reply.headers.push(("Content-Encoding".into(), "gzip".into()));
        }
    }
}
