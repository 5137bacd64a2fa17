//! The HTTP/1.1 side of the upstream: a request is parsed to what it wants, read to its end, and answered.

use std::io::{Result, Write as _};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::http1::{Connection, Framing, headers, number};
use crate::{echo, websocket};

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 61\r\n\r\n\
    {\"message\":\"hello, world\",\"from\":\"a node behind the gateway\"}";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
const EVENTS: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
    Transfer-Encoding: chunked\r\n\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

static BLOCK: [u8; 256 << 10] = [b'x'; 256 << 10];

struct Request {
    wanted: Wanted,
    framing: Framing,
}

enum Wanted {
    Hello,
    Bytes(u64),
    Sink,
    Events(u64),
    /// With what proves that the handshake was understood.
    WebSocket(String),
    Unknown,
}

pub(crate) async fn serve(stream: TcpStream) -> Result<()> {
    let mut connection = Connection::new(stream);
    while let Some(Request { wanted, framing }) = connection.head(Request::parse).await? {
        let received = connection.body(framing.body, |_| ()).await?;
        let stream = &mut connection.stream;
        match wanted {
            Wanted::Hello => stream.write_all(HELLO).await?,
            Wanted::Bytes(length) => bytes(stream, length).await?,
            Wanted::Sink => count(stream, received).await?,
            Wanted::Events(number) => events(stream, number).await?,
            Wanted::WebSocket(accept) => return echo::serve(connection, &accept).await,
            Wanted::Unknown => stream.write_all(NOT_FOUND).await?,
        }
        if framing.close {
            break;
        }
    }
    Ok(())
}

impl Request {
    fn parse(head: &[u8]) -> Result<Self> {
        Ok(Self { wanted: Wanted::parse(head)?, framing: Framing::of(head)? })
    }
}

impl Wanted {
    fn parse(head: &[u8]) -> Result<Self> {
        let mut words = head.splitn(3, |byte| *byte == b' ');
        let path = words.nth(1).unwrap_or_default();
        let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
        Ok(match path {
            b"/hello/world" => Self::Hello,
            b"/sink" => Self::Sink,
            b"/ws" => websocket_key(head).map_or(Self::Unknown, |key| Self::WebSocket(websocket::accept(key))),
            _ if let Some(length) = path.strip_prefix(b"/bytes/") => Self::Bytes(number(length, 10)?),
            _ if let Some(events) = path.strip_prefix(b"/events/") => Self::Events(number(events, 10)?),
            _ => Self::Unknown,
        })
    }
}

fn websocket_key(head: &[u8]) -> Option<&[u8]> {
    headers(head).find(|(name, _)| name.eq_ignore_ascii_case(b"sec-websocket-key")).map(|(_, key)| key)
}

async fn bytes(stream: &mut TcpStream, length: u64) -> Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut left = length;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK.len());
        left -= stream.write(&BLOCK[..piece]).await? as u64;
    }
    Ok(())
}

async fn count(stream: &mut TcpStream, received: u64) -> Result<()> {
    let text = received.to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", text.len());
    stream.write_all((head + &text).as_bytes()).await
}

/// Each event is a chunk and a write of its own, as if it had just happened.
async fn events(stream: &mut TcpStream, events: u64) -> Result<()> {
    stream.write_all(EVENTS).await?;
    let mut chunk = Vec::new();
    for event in 0..events {
        chunk.clear();
        // 0x3c: an event has 60 bytes.
        write!(chunk, "3c\r\nid: {event:010}\ndata: {{\"token\":\"a piece of a long answer.\"}}\n\n\r\n")?;
        stream.write_all(&chunk).await?;
    }
    stream.write_all(LAST_CHUNK).await
}
