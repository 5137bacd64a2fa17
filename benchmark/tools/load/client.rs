//! A client of HTTP/1.1 that checks what it gets.

use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http1::{Connection, Framing, headers, invalid};

/// A connection with or without TLS.
pub(crate) type Socket = Box<dyn Duplex>;

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// What a URL says.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) path: String,
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> Result<Self> {
        let uri: http::Uri = url.parse()?;
        ensure!(uri.scheme_str() == Some("http"), "only http://host:port/path is understood");
        let authority = uri.authority().context("the URL has no host")?;
        let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        Ok(Self { address, path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned() })
    }
}

impl Target {
    pub(crate) async fn connect(&self) -> Result<Connection<TcpStream>> {
        Ok(Connection::new(connect(&self.address).await?))
    }

    /// A head without its last, empty line.
    pub(crate) fn head(&self, method: &str) -> String {
        head(method, &self.path, &self.address)
    }

    pub(crate) fn get(&self) -> String {
        self.head("GET") + "\r\n"
    }
}

pub(crate) fn head(method: &str, path: &str, host: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n")
}

pub(crate) async fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The head of a response.
pub(crate) struct Response {
    pub(crate) framing: Framing,
    /// What proves that a WebSocket handshake was understood.
    pub(crate) websocket_accept: Option<String>,
    status: u16,
}

impl Response {
    /// Reads the next head; a status other than the expected is an error.
    pub(crate) async fn expect<S>(connection: &mut Connection<S>, status: u16) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let response = connection.head(Self::parse).await?.context("the connection was closed without a response")?;
        if response.status != status {
            bail!("the status of a response is {}, not {status}", response.status);
        }
        Ok(response)
    }

    fn parse(head: &[u8]) -> std::io::Result<Self> {
        let accept = headers(head).find(|(name, _)| name.eq_ignore_ascii_case(b"sec-websocket-accept"));
        Ok(Self {
            framing: Framing::of(head)?,
            websocket_accept: accept.map(|(_, value)| String::from_utf8_lossy(value).into_owned()),
            status: status(head).ok_or_else(|| invalid("a response does not start with a status line"))?,
        })
    }
}

fn status(head: &[u8]) -> Option<u16> {
    let line = str::from_utf8(head.get(..12)?).ok()?;
    line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?.parse().ok()
}

/// Sends a request and reads the whole answer, handing over its body; returns whether the connection
/// may be used again.
pub(crate) async fn ask<S>(connection: &mut Connection<S>, request: &[u8], body: impl FnMut(&[u8])) -> Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connection.stream.write_all(request).await?;
    connection.stream.flush().await?;
    answer(connection, body).await
}

pub(crate) async fn answer<S>(connection: &mut Connection<S>, body: impl FnMut(&[u8])) -> Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let response = Response::expect(connection, 200).await?;
    connection.body(response.framing.body, body).await?;
    Ok(!response.framing.close)
}
