//! Plays the HTTP APIs of cloud apps on loopback for the tests and the demo.
//!
//! Decides what the program listens on and for how long. It prints one JSON line with its addresses and serves until it is
//! told to stop.

// The longest records are written as one `json!`.
#![recursion_limit = "512"]

mod app;
mod bookshop;
mod breakage;
mod chance;
mod clock;
mod config;
mod control;
mod facebook_ads;
mod faults;
mod gates;
mod google_ads;
mod http;
mod hubspot;
mod intercom;
mod log;
mod mailchimp;
mod mandrill;
mod marketo;
mod names;
mod pages;
mod rest;
mod salesforce;
mod salesforce_marketing_cloud;
mod sendgrid;
mod serve;
mod store;
mod stripe;
mod tls;
mod twilio;
mod world;
mod zendesk;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{signal, SignalKind};
use tokio_rustls::TlsAcceptor;

use crate::app::APPS;
use crate::http::{Connection, Stream};
use crate::world::World;

const USAGE: &str = "usage: cloudsync-simulator [--port-base N] [--seed N] [--ca-file PATH] [--stop-after-seconds N]
  --port-base 0 (default) takes free ports; N serves control on N and each app on ports above (README.md)
  --stop-after-seconds 0 serves until a signal (default 7200)";

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

struct Args {
    port_base: u16,
    seed: u64,
    ca_file: Option<String>,
    stop_after: u64,
}

fn parse_args() -> Result<Args, String> {
    let mut args = Args { port_base: 0, seed: 1, ca_file: None, stop_after: 7200 };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        if name == "--help" || name == "-h" {
            return Err(USAGE.into());
        }
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name.to_string(), value.to_string()),
            None => (name.clone(), given.next().ok_or(format!("{name} needs a value\n{USAGE}"))?),
        };
        let number = || value.parse::<u64>().map_err(|_| format!("{name} must be a number"));
        match name.as_str() {
            "--port-base" => {
                args.port_base = u16::try_from(number()?).map_err(|_| "--port-base is too big".to_string())?
            }
            "--seed" => args.seed = number()?,
            "--ca-file" => args.ca_file = Some(value),
            "--stop-after-seconds" => args.stop_after = number()?,
            _ => return Err(format!("unknown option {name}\n{USAGE}")),
        }
    }
    Ok(args)
}

async fn listen(base: u16, offset: u16) -> Fallible<(TcpListener, String)> {
    let port = if base == 0 { 0 } else { base + offset };
    let listener =
        TcpListener::bind(("127.0.0.1", port)).await.map_err(|e| format!("cannot listen on port {port}: {e}"))?;
    let address = listener.local_addr()?.to_string();
    Ok((listener, address))
}

/// Accepts for ever; each connection is served by a task of its own.
fn accept<F, Fut>(listener: TcpListener, tls: Option<TlsAcceptor>, serve: F)
where
    F: Fn(Connection) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    async fn secured(socket: TcpStream, tls: Option<TlsAcceptor>) -> Option<Stream> {
        let _ = socket.set_nodelay(true);
        match tls {
            None => Some(Stream::Plain(socket)),
            Some(acceptor) => acceptor.accept(socket).await.ok().map(|s| Stream::Tls(Box::new(s))),
        }
    }
    tokio::spawn(async move {
        loop {
            // A failed accept (out of descriptors) leaves others running.
            let Ok((socket, _)) = listener.accept().await else {
                tokio::task::yield_now().await;
                continue;
            };
            let (tls, serve) = (tls.clone(), serve.clone());
            tokio::spawn(async move {
                if let Some(stream) = secured(socket, tls).await {
                    serve(Connection::new(stream)).await;
                }
            });
        }
    });
}

async fn run(args: Args) -> Fallible<()> {
    let (acceptor, ca_pem) = tls::make()?;
    if let Some(path) = &args.ca_file {
        std::fs::write(path, &ca_pem).map_err(|e| format!("cannot write {path}: {e}"))?;
    }
    let world = Arc::new(World::new(args.seed));
    let base = args.port_base;
    let (control, control_at) = listen(base, 0).await?;
    let mut addresses = json!({"control": format!("http://{control_at}")});
    let control_world = world.clone();
    accept(control, None, move |connection| control::serve(control_world.clone(), connection));
    for entry in APPS {
        let (app, offset) = (entry.name, entry.port);
        let (plain, plain_at) = listen(base, offset).await?;
        let (secure, secure_at) = listen(base, offset + 10).await?;
        addresses[app] = json!({"http": format!("http://{plain_at}"), "https": format!("https://{secure_at}")});
        for (listener, tls) in [(plain, None), (secure, Some(acceptor.clone()))] {
            let world = world.clone();
            accept(listener, tls, move |connection| serve::serve(world.clone(), app, connection));
        }
    }
    addresses["ca"] = json!(args.ca_file);
    println!("{addresses}");

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

fn main() {
    let args = match parse_args() {
        Ok(args) => args,
        Err(message) => {
            eprintln!("{message}");
            std::process::exit(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    if let Err(e) = runtime.map_err(Into::into).and_then(|rt| rt.block_on(run(args))) {
        eprintln!("cloudsync-simulator: {e}");
        std::process::exit(1);
    }
}
