//! Decides when a reply leaves: after the limit was judged, the latency is over, and nobody holds it.

use crate::api;
use crate::http::{Connection, Reply, Request};
use crate::world::Shared;
use chrono::Utc;
use std::io;
use std::time::Instant;

/// Serves one client until it leaves.
pub async fn serve(world: Shared, mut connection: Connection) {
    while let Ok(Some(request)) = connection.next_request().await {
        world.borrow_mut().arrived(Instant::now());
        let sent = reply(&world, &mut connection, &request).await;
        world.borrow_mut().left(*sent.as_ref().unwrap_or(&0));
        if sent.is_err() || request.wants_close {
            return;
        }
    }
}

async fn reply(world: &Shared, connection: &mut Connection, request: &Request) -> io::Result<usize> {
    let is_admitted = world.borrow_mut().limit.admits(Instant::now());
    let latency = world.borrow().latency;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    hold(world, connection).await?;
    let mut reply = if is_admitted {
        answer(world, request)
    } else {
        world.borrow_mut().refused();
        api::rate_limited()
    };
    reply.headers.push_str(&Utc::now().format("Date: %a, %d %b %Y %H:%M:%S GMT\r\n").to_string());
    if request.wants_close {
        reply.headers.push_str("Connection: close\r\n");
    }
    connection.send(&reply).await
}

fn answer(world: &Shared, request: &Request) -> Reply {
    let mut world = world.borrow_mut();
    if let Some(version) = &request.api_version {
        world.api_version.clone_from(version);
    }
    api::answer(&world, request)
}

/// Keeps a request while replies are held. A client that leaves meanwhile is an error: there is nobody to answer.
async fn hold(world: &Shared, connection: &mut Connection) -> io::Result<()> {
    let mut hang = world.borrow().hang.subscribe();
    if !*hang.borrow_and_update() {
        return Ok(());
    }
    world.borrow().held.send_modify(|held| *held += 1);
    let released = tokio::select! {
        _ = hang.wait_for(|hang| !hang) => Ok(()),
        () = connection.gone() => Err(io::ErrorKind::ConnectionAborted.into()),
    };
    world.borrow().held.send_modify(|held| *held -= 1);
    released
}
