//! The load that neither wrk nor h2load can make. A run prints its result as one line of JSON; a response
//! that is not as expected, or a broken connection, ends it with an error.
//!
//! It does not give up on a server that never answers: run it under `timeout`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the result and the error are printed")]

// A crate root looks for its modules beside itself, hence the paths.
#[path = "load/client.rs"]
mod client;
#[path = "load/events.rs"]
mod events;
#[path = "load/grpc.rs"]
mod grpc;
#[path = "upstream/http1.rs"]
mod http1;
#[path = "load/idle.rs"]
mod idle;
#[path = "load/latency.rs"]
mod latency;
#[path = "load/rate.rs"]
mod rate;
#[path = "load/tls.rs"]
mod tls;
#[path = "load/transfer.rs"]
mod transfer;
#[path = "upstream/websocket.rs"]
mod websocket;
#[path = "load/websocket.rs"]
mod websockets;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use futures::future::try_join_all;
use tokio::runtime::{Builder, Runtime};

#[derive(Parser)]
#[command(name = "bench-load", about = "Load that neither wrk nor h2load can make")]
struct Arguments {
    #[command(subcommand)]
    load: Load,
    /// How many threads make the load
    #[arg(long, global = true, default_value_t = 1)]
    threads: usize,
}

#[derive(Subcommand)]
enum Load {
    /// Requests at a constant rate, however fast they are answered
    Rate(rate::Options),
    /// Connections that are open and do nothing, until stdin is closed
    Idle(idle::Options),
    /// GET /bytes/N on each connection
    Download(transfer::Options),
    /// POST N bytes to /sink on each connection
    Upload(transfer::Options),
    /// GET /events/N on each connection, and counting the events
    Events(events::Options),
    /// Messages over WebSockets, each sent when the last one has come back
    Websocket(websockets::Options),
    /// Unary gRPC calls over HTTP/2 without TLS
    Grpc(grpc::Options),
    /// TLS handshakes
    Tls(tls::Options),
}

fn main() -> ExitCode {
    let Arguments { load, threads } = Arguments::parse();
    match runtime(threads).and_then(|runtime| runtime.block_on(run(load))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime(threads: usize) -> Result<Runtime> {
    ensure!(threads > 0, "--threads: at least one is needed");
    let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.worker_threads(threads).enable_all().build().context("the event loop cannot start")
}

async fn run(load: Load) -> Result<()> {
    match load {
        Load::Rate(options) => rate::run(options).await,
        Load::Idle(options) => idle::run(options).await,
        Load::Download(options) => transfer::download(options).await,
        Load::Upload(options) => transfer::upload(options).await,
        Load::Events(options) => events::run(options).await,
        Load::Websocket(options) => websockets::run(options).await,
        Load::Grpc(options) => grpc::run(options).await,
        Load::Tls(options) => tls::run(options).await,
    }
}

fn report(result: &serde_json::Value) {
    println!("{result}");
}

/// Runs as many of them at once as there are connections, on all threads; the first error ends it.
async fn on_each<F, T>(connections: usize, work: impl FnMut(usize) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let spawned = (0..connections).map(work).map(tokio::spawn);
    let joined = spawned.enumerate().map(|(index, task)| async move {
        task.await.expect("a connection's task does not panic").with_context(|| format!("connection {index}"))
    });
    try_join_all(joined).await
}

/// How long something took, and how many there were of it in a second.
fn per_second(count: u64, elapsed: Duration) -> (f64, f64) {
    let rounded = |number: f64| (number * 1e3).round() / 1e3;
    (rounded(elapsed.as_secs_f64()), rounded(count as f64 / elapsed.as_secs_f64()))
}
