//! The origin behind every proxy of a benchmark. It shares its CPU with the load generator, so an
//! answer must cost next to nothing: HTTP/1.1 is written by hand and each thread is an event loop
//! of its own.
//!
//! - `GET /hello/world`: a small JSON body
//! - `GET /bytes/N`: N bytes
//! - `POST /sink`: how many bytes the body had
//! - `GET /events/N`: N server-sent events, each written by itself
//! - `GET /ws`: a WebSocket that echoes
//! - on the ports of `--grpc`: every unary call is answered with its own message
#![allow(clippy::print_stderr, reason = "the error is printed")]

// A crate root looks for its modules beside itself, hence the paths.
#[path = "upstream/echo.rs"]
mod echo;
#[path = "upstream/grpc.rs"]
mod grpc;
#[path = "upstream/http1.rs"]
mod http1;
#[path = "upstream/origin.rs"]
mod origin;
#[path = "upstream/websocket.rs"]
mod websocket;

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;

#[derive(Parser)]
#[command(name = "bench-upstream", about = "The origin behind every proxy of a benchmark")]
struct Arguments {
    /// Where to speak HTTP/1.1
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    http: Vec<SocketAddr>,
    /// Where to speak gRPC: HTTP/2 without TLS
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    grpc: Vec<SocketAddr>,
    /// Event loops; connections are spread over them by chance
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[derive(Clone, Copy)]
enum Protocol {
    Http,
    Grpc,
}

type Listeners = Vec<(Protocol, TcpListener)>;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-upstream: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until a thread fails.
fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.threads > 0, "--threads: at least one is needed");
    let listeners = runtime()?.block_on(async { bind(arguments) })?;
    ensure!(!listeners.is_empty(), "nothing to do: neither --http nor --grpc is given");
    let (ended, end) = mpsc::channel();
    for _ in 0..arguments.threads {
        let (own, ended) = (copy(&listeners)?, ended.clone());
        thread::spawn(move || ended.send(serve(own)));
    }
    end.recv().expect("a thread says how it ended")
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Builder::new_current_thread().enable_io().build().context("the event loop cannot start")
}

fn bind(arguments: &Arguments) -> Result<Listeners> {
    let http = arguments.http.iter().map(|address| (Protocol::Http, *address));
    let grpc = arguments.grpc.iter().map(|address| (Protocol::Grpc, *address));
    http.chain(grpc)
        .map(|(protocol, address)| {
            let listener = listen(address).with_context(|| format!("cannot listen on {address}"))?;
            Ok((protocol, listener))
        })
        .collect()
}

/// The standard library's backlog of 128 is too small for a proxy that opens all its connections at once.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)?.into_std()
}

/// The same sockets once more, so that each thread accepts from them.
fn copy(listeners: &Listeners) -> Result<Listeners> {
    listeners.iter().map(|(protocol, listener)| Ok((*protocol, listener.try_clone()?))).collect()
}

fn serve(listeners: Listeners) -> Result<()> {
    runtime()?.block_on(async {
        let accepting = listeners.into_iter().map(|(protocol, listener)| accept(protocol, listener));
        futures::future::try_join_all(accepting).await?;
        Ok(())
    })
}

async fn accept(protocol: Protocol, listener: TcpListener) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept a connection")?;
        tokio::spawn(answer(protocol, stream));
    }
}

/// A broken connection is reported by the load generator, which sees the request fail.
async fn answer(protocol: Protocol, stream: TcpStream) {
    stream.set_nodelay(true).ok();
    match protocol {
        Protocol::Http => origin::serve(stream).await.ok(),
        Protocol::Grpc => grpc::serve(stream).await.ok(),
    };
}
