//! TLS handshakes, each on a connection of its own: full ones, or ones that resume an earlier session.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use http::Uri;
use hyper_openssl::client::legacy::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslMode, SslOptions, SslVerifyMode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;
use tower::Service;

use crate::client::{Socket, ask, connect, head};
use crate::http1::Connection;
use crate::latency::Latencies;
use crate::{on_each, per_second, report};

#[derive(Args, Clone)]
pub(crate) struct Options {
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    #[arg(long, value_name = "NAME")]
    sni: String,
    /// How many over all
    #[arg(long)]
    handshakes: u64,
    /// How many at once
    #[arg(long)]
    connections: usize,
    /// Resume an earlier session; an error if the server mostly does not
    #[arg(long)]
    resume: bool,
    /// Close after the handshake instead of sending a GET
    #[arg(long)]
    handshake_only: bool,
    #[arg(long, default_value = "/hello/world")]
    path: String,
    /// Verify the certificate with the certificates of this file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Shakes hands; the two differ in whether sessions are kept.
#[derive(Clone)]
enum Dialer {
    Fresh(SslConnector),
    Resuming(HttpsConnector<Address>),
}

struct Shared {
    options: Options,
    started: AtomicU64,
    resumed: AtomicU64,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    ensure!(options.connections > 0, "--connections: at least one is needed");
    let shared = Arc::new(Shared { options, started: AtomicU64::new(0), resumed: AtomicU64::new(0) });
    let dialer = Dialer::new(&shared.options)?;
    let start = Instant::now();
    let latencies = on_each(shared.options.connections, |_| repeat(Arc::clone(&shared), dialer.clone())).await?;
    let options = &shared.options;
    let (seconds, handshakes_per_s) = per_second(options.handshakes, start.elapsed());
    let resumed = shared.resumed.load(Ordering::Relaxed);
    report(&json!({
        "connections": options.connections,
        "handshakes": options.handshakes,
        "resumed": resumed,
        "seconds": seconds,
        "handshakes_per_s": handshakes_per_s,
        "latency_us": Latencies::of(latencies).microseconds(),
    }));
    ensure!(!options.resume || resumed * 2 > options.handshakes, "only {resumed} handshakes resumed a session");
    Ok(())
}

async fn repeat(shared: Arc<Shared>, mut dialer: Dialer) -> Result<Vec<Duration>> {
    let options = &shared.options;
    let mut latencies = Vec::new();
    while shared.started.fetch_add(1, Ordering::Relaxed) < options.handshakes {
        let start = Instant::now();
        let (socket, resumed) = dialer.dial(options).await?;
        latencies.push(start.elapsed());
        shared.resumed.fetch_add(u64::from(resumed), Ordering::Relaxed);
        if options.handshake_only { close(socket).await? } else { get(socket, options).await? }
    }
    Ok(latencies)
}

impl Dialer {
    fn new(options: &Options) -> Result<Self> {
        let builder = connector(options.ca.as_deref())?;
        if options.resume {
            Ok(Self::Resuming(HttpsConnector::with_connector(Address(options.address.clone()), builder)?))
        } else {
            Ok(Self::Fresh(builder.build()))
        }
    }

    /// Returns whether a session was resumed, too.
    async fn dial(&mut self, options: &Options) -> Result<(Socket, bool)> {
        match self {
            Self::Fresh(connector) => {
                let stream = connect(&options.address).await?;
                Ok((Box::new(handshake(connector, &options.sni, stream).await?), false))
            }
            Self::Resuming(connector) => {
                let stream = connector.call(format!("https://{}/", options.sni).parse()?).await;
                let stream = stream.map_err(|error| anyhow::anyhow!(error)).context("the TLS handshake failed")?;
                let resumed = matches!(&stream, MaybeHttpsStream::Https(tls) if tls.ssl().session_reused());
                Ok((Box::new(TokioIo::new(stream)), resumed))
            }
        }
    }
}

/// Connects to one address, whatever the URI says.
#[derive(Clone)]
struct Address(String);

impl Service<Uri> for Address {
    type Response = TokioIo<TcpStream>;
    type Error = anyhow::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.0.clone();
        Box::pin(async move { connect(&address).await.map(TokioIo::new) })
    }
}

/// Verifies nothing unless there is a file to verify with.
pub(crate) fn connector(ca: Option<&Path>) -> Result<SslConnectorBuilder> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    // Many a server closes the connection without saying so in TLS.
    builder.set_options(SslOptions::IGNORE_UNEXPECTED_EOF);
    match ca {
        Some(file) => builder.set_ca_file(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => builder.set_verify(SslVerifyMode::NONE),
    }
    Ok(builder)
}

pub(crate) async fn handshake(connector: &SslConnector, name: &str, stream: TcpStream) -> Result<SslStream<TcpStream>> {
    let mut stream = SslStream::new(connector.configure()?.into_ssl(name)?, stream)?;
    Pin::new(&mut stream).connect().await.context("the TLS handshake failed")?;
    Ok(stream)
}

/// Waits for the server to close as well: in TLS 1.3 it may still refuse the handshake, and it sends
/// the tickets with which a session is resumed.
async fn close(mut socket: Socket) -> Result<()> {
    socket.shutdown().await?;
    while socket.read(&mut [0; 4096]).await? > 0 {}
    Ok(())
}

async fn get(socket: Socket, options: &Options) -> Result<()> {
    let request = head("GET", &options.path, &options.sni) + "Connection: close\r\n\r\n";
    let mut connection = Connection::new(socket);
    ask(&mut connection, request.as_bytes(), |_| ()).await?;
    // The server may have closed already. OpenSSL resumes no session that was left without a farewell.
    connection.stream.shutdown().await.ok();
    Ok(())
}
