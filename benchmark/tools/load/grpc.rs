//! Unary gRPC calls over HTTP/2 without TLS. Unlike h2load, it reads the trailers: a call with status 200 and
//! another grpc-status than 0 has failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use clap::Args;
use futures::future::try_join_all;
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Request, StatusCode, header};
use serde_json::json;

use crate::client::connect;
use crate::latency::Latencies;
use crate::{on_each, per_second, report};

#[derive(Args, Clone)]
pub(crate) struct Options {
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    #[arg(long, default_value = "/bench.Echo/Unary")]
    path: String,
    /// How many over all
    #[arg(long)]
    calls: u64,
    #[arg(long)]
    connections: usize,
    /// Calls at once on each connection
    #[arg(long)]
    streams: usize,
}

/// Not compressed, 14 bytes: a protobuf message whose first field is a string.
const MESSAGE: &[u8] = b"\0\0\0\0\x0e\x0a\x0chello, world";

pub(crate) async fn run(options: Options) -> Result<()> {
    ensure!(options.connections > 0 && options.streams > 0, "--connections and --streams: at least one is needed");
    let calls = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let latencies = on_each(options.connections, |_| connection(options.clone(), Arc::clone(&calls))).await?;
    let (seconds, calls_per_s) = per_second(options.calls, start.elapsed());
    report(&json!({
        "connections": options.connections,
        "streams": options.streams,
        "calls": options.calls,
        "seconds": seconds,
        "calls_per_s": calls_per_s,
        "latency_us": Latencies::of(latencies).microseconds(),
    }));
    Ok(())
}

async fn connection(options: Options, calls: Arc<AtomicU64>) -> Result<Vec<Duration>> {
    let stream = connect(&options.address).await?;
    let mut builder = Builder::new();
    builder.enable_push(false).initial_window_size(1 << 20).initial_connection_window_size(16 << 20);
    let (sender, connection) = builder.handshake::<_, Bytes>(stream).await?;
    // Its error is that of the calls as well.
    tokio::spawn(async { connection.await.ok() });
    let streams = (0..options.streams).map(|_| repeat(&options, sender.clone(), &calls));
    Ok(try_join_all(streams).await?.concat())
}

async fn repeat(options: &Options, mut sender: SendRequest<Bytes>, calls: &AtomicU64) -> Result<Vec<Duration>> {
    let uri = format!("http://{}{}", options.address, options.path);
    let mut latencies = Vec::new();
    while calls.fetch_add(1, Ordering::Relaxed) < options.calls {
        sender = sender.ready().await?;
        let request =
            Request::post(&uri).header(header::CONTENT_TYPE, "application/grpc").header(header::TE, "trailers");
        let sent = Instant::now();
        call(&mut sender, request.body(())?).await?;
        latencies.push(sent.elapsed());
    }
    Ok(latencies)
}

async fn call(sender: &mut SendRequest<Bytes>, request: Request<()>) -> Result<()> {
    let (response, mut stream) = sender.send_request(request, false)?;
    stream.send_data(Bytes::from_static(MESSAGE), true)?;
    let (head, mut body) = response.await?.into_parts();
    ensure!(head.status == StatusCode::OK, "the status of a response is {}", head.status);
    let mut message = BytesMut::new();
    while let Some(piece) = body.data().await.transpose()? {
        body.flow_control().release_capacity(piece.len())?;
        message.extend_from_slice(&piece);
    }
    // A call that fails at once has its grpc-status in the head.
    check(&body.trailers().await?.unwrap_or(head.headers))?;
    ensure!(message == MESSAGE, "a message has come back changed");
    Ok(())
}

fn check(trailers: &HeaderMap) -> Result<()> {
    let status = trailers.get("grpc-status").context("a call has no grpc-status")?;
    if status != "0" {
        bail!("grpc-status {status:?}, {:?}", trailers.get("grpc-message"));
    }
    Ok(())
}
