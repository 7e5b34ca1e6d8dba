//! Plays Stripe's list API on loopback for the benchmarks, from bytes rendered beforehand.
//!
//! Decides what the program listens on and for how long. It prints one JSON line with its addresses and serves until it
//! is told to stop. One thread does everything: serving a page costs two system calls, and the other core is left to
//! what is measured.

mod api;
mod chance;
mod charge;
mod control;
mod customer;
mod drain;
mod events;
mod http;
mod ids;
mod limit;
mod render;
mod serve;
mod store;
mod words;
mod world;

use crate::http::Connection;
use crate::world::{Shared, World};
use serde_json::json;
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{signal, SignalKind};
use tokio::task::{spawn_local, LocalSet};

const USAGE: &str = "usage: cloudsync-bench-server [--seed N] [--stop-after-seconds N]
       cloudsync-bench-server drain http://HOST:PORT/PATH
  --stop-after-seconds 0 serves until a signal (default 7200)
  drain reads every page of a list and prints pages, bytes and seconds";

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

struct Args {
    seed: u64,
    stop_after: u64,
}

fn parse_args(given: &[String]) -> Fallible<Args> {
    let mut args = Args { seed: 1, stop_after: 7200 };
    let mut given = given.iter();
    while let Some(name) = given.next() {
        let value: u64 = given.next().and_then(|value| value.parse().ok()).ok_or(USAGE)?;
        match name.as_str() {
            "--seed" => args.seed = value,
            "--stop-after-seconds" => args.stop_after = value,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(args)
}

/// Listens on a free port of loopback and accepts for ever; each connection is served by a task of its own.
async fn accept<F, Fut>(serve: F) -> Fallible<String>
where
    F: Fn(Connection) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    spawn_local(async move {
        loop {
            // A failed accept (out of descriptors) leaves others running.
            let Ok((socket, _)) = listener.accept().await else {
                tokio::task::yield_now().await;
                continue;
            };
            // A reply in two writes must not wait for an acknowledgement; without the option it is only slower.
            let _ = socket.set_nodelay(true);
            spawn_local(serve(Connection::new(socket)));
        }
    });
    Ok(format!("http://{address}"))
}

async fn run(args: Args) -> Fallible<()> {
    let world: Shared = Rc::new(RefCell::new(World::new(args.seed)));
    let (of_api, of_control) = (world.clone(), world);
    let api = accept(move |connection| serve::serve(of_api.clone(), connection)).await?;
    let control = accept(move |connection| control::serve(of_control.clone(), connection)).await?;
    println!("{}", json!({"api": api, "control": control}));

    let stop_after = async {
        match args.stop_after {
            0 => std::future::pending().await,
            seconds => tokio::time::sleep(Duration::from_secs(seconds)).await,
        }
    };
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = stop_after => {}
    }
    // Held connections would keep an orderly end waiting.
    std::process::exit(0)
}

fn start(given: &[String]) -> Fallible<()> {
    match given {
        [command, url] if command == "drain" => {
            println!("{}", drain::drain(url)?);
            Ok(())
        }
        _ => {
            let args = parse_args(given)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(LocalSet::new().run_until(run(args)))
        }
    }
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if let Err(error) = start(&given) {
        eprintln!("cloudsync-bench-server: {error}");
        std::process::exit(1);
    }
}
