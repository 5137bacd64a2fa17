//! Connections that do nothing, so that what they cost the server can be read from outside.

use std::io::{copy, sink, stdin};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use openssl::ssl::SslConnector;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::task::{coop::unconstrained, spawn_blocking};

use crate::client::{Socket, ask, connect, head};
use crate::http1::Connection;
use crate::{per_second, report, tls};

#[derive(Args)]
pub(crate) struct Options {
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    #[arg(long)]
    connections: usize,
    /// Over TLS; the certificate is not verified
    #[arg(long)]
    tls: bool,
    /// A path to be asked for once on each connection
    #[arg(long, value_name = "PATH")]
    ask: Option<String>,
    /// The host that is asked for, by SNI too; that of the address if not given
    #[arg(long)]
    host: Option<String>,
}

/// How many are being opened at once: less than a usual backlog.
const OPENING: usize = 100;

pub(crate) async fn run(options: Options) -> Result<()> {
    raise_file_limit(options.connections)?;
    let connector = if options.tls { Some(tls::connector(None)?.build()) } else { None };
    let start = Instant::now();
    let open = stream::iter(0..options.connections)
        .map(|index| {
            open(&options, connector.as_ref()).map(move |done| done.with_context(|| format!("connection {index}")))
        })
        .buffer_unordered(OPENING);
    let mut held: Vec<Socket> = open.try_collect().await?;
    let (seconds, _) = per_second(0, start.elapsed());
    report(&json!({"open": held.len(), "asked": options.ask.is_some(), "tls": options.tls, "seconds": seconds}));
    spawn_blocking(|| copy(&mut stdin(), &mut sink())).await??;
    match held.iter_mut().filter_map(|socket| is_closed(socket).then_some(())).count() {
        0 => Ok(()),
        closed => bail!("the server closed {closed} of the {} connections meanwhile", held.len()),
    }
}

/// One for each connection, and some for the program itself.
fn raise_file_limit(connections: usize) -> Result<()> {
    let needed = connections as u64 + 100;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < needed) {
        let limit = Rlimit { current: Some(needed), maximum };
        setrlimit(Resource::Nofile, limit).with_context(|| format!("the limit of open files must be {needed}"))?;
    }
    Ok(())
}

async fn open(options: &Options, connector: Option<&SslConnector>) -> Result<Socket> {
    let host = options.host.as_deref();
    let stream = connect(&options.address).await?;
    let socket: Socket = if let Some(connector) = connector {
        let name = host.or_else(|| options.address.rsplit_once(':').map(|(host, _)| host));
        Box::new(tls::handshake(connector, name.unwrap_or_default(), stream).await?)
    } else {
        Box::new(stream)
    };
    let Some(path) = &options.ask else { return Ok(socket) };
    let request = head("GET", path, host.unwrap_or(&options.address)) + "\r\n";
    let mut connection = Connection::new(socket);
    if !ask(&mut connection, request.as_bytes(), |_| ()).await? {
        bail!("the server does not keep the connection");
    }
    Ok(connection.stream)
}

/// What has come meanwhile, such as session tickets, is read over. Not constrained: tokio would let only
/// some hundred reads of a task through, and the rest would look as if nothing had come.
fn is_closed(socket: &mut Socket) -> bool {
    let mut read = [0; 1024];
    loop {
        match unconstrained(socket.read(&mut read)).now_or_never() {
            None => return false,
            Some(Ok(0) | Err(_)) => return true,
            Some(Ok(_)) => {}
        }
    }
}
