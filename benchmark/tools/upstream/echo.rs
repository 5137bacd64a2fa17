//! The WebSocket side of the upstream: every message is returned, a ping becomes a pong.

use std::io::Result;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::http1::Connection;
use crate::websocket::{Frame, encode};

const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// `accept` is what completes the handshake.
pub(crate) async fn serve(mut connection: Connection<TcpStream>, accept: &str) -> Result<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    connection.stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        let frame = Frame::read(&mut connection).await?;
        let first = match frame.first & OPCODE {
            PING => frame.first - PING + PONG,
            _ => frame.first,
        };
        answer.clear();
        encode(&mut answer, first, &frame.payload, None);
        connection.stream.write_all(&answer).await?;
        if first & OPCODE == CLOSE {
            return Ok(());
        }
    }
}
