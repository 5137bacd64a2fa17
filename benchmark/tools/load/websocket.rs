//! WebSockets on which messages go back and forth.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::client::{Response, Target};
use crate::http1::Connection;
use crate::latency::Latencies;
use crate::websocket::{Frame, accept, encode};
use crate::{on_each, per_second, report};

#[derive(Args, Clone)]
pub(crate) struct Options {
    #[arg(long)]
    url: Target,
    #[arg(long)]
    connections: usize,
    /// How many on each connection
    #[arg(long)]
    messages: u64,
    /// Bytes of each message, up to 65536
    #[arg(long)]
    size: usize,
}

const FINAL_BINARY: u8 = 0x82;
const FINAL_CLOSE: u8 = 0x88;
const NORMAL_CLOSURE: [u8; 2] = 1000_u16.to_be_bytes();

pub(crate) async fn run(options: Options) -> Result<()> {
    let opened = on_each(options.connections, |_| handshake(options.url.clone())).await?;
    let mut opened = opened.into_iter();
    let start = Instant::now();
    let latencies =
        on_each(options.connections, |_| talk(opened.next().expect("one was opened for each"), options.clone()));
    let latencies = latencies.await?;
    let total = options.messages * options.connections as u64;
    let (seconds, messages_per_s) = per_second(total, start.elapsed());
    report(&json!({
        "connections": options.connections,
        "messages": total,
        "seconds": seconds,
        "messages_per_s": messages_per_s,
        "latency_us": Latencies::of(latencies).microseconds(),
    }));
    Ok(())
}

async fn handshake(target: Target) -> Result<Connection<TcpStream>> {
    let key = BASE64_STANDARD.encode(fastrand::u128(..).to_ne_bytes());
    let request = target.head("GET")
        + &format!(
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
    let mut connection = target.connect().await?;
    connection.stream.write_all(request.as_bytes()).await?;
    let response = Response::expect(&mut connection, 101).await?;
    ensure!(response.websocket_accept == Some(accept(key.as_bytes())), "Sec-WebSocket-Accept does not fit the key");
    Ok(connection)
}

async fn talk(mut connection: Connection<TcpStream>, options: Options) -> Result<Vec<Duration>> {
    let mut message = vec![0; options.size];
    fastrand::fill(&mut message);
    let mut latencies = Vec::new();
    for _ in 0..options.messages {
        let sent = Instant::now();
        echo(&mut connection, FINAL_BINARY, &message).await?;
        latencies.push(sent.elapsed());
    }
    echo(&mut connection, FINAL_CLOSE, &NORMAL_CLOSURE).await?;
    Ok(latencies)
}

async fn echo(connection: &mut Connection<TcpStream>, first: u8, payload: &[u8]) -> Result<()> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    encode(&mut frame, first, payload, Some(fastrand::u32(..).to_ne_bytes()));
    connection.stream.write_all(&frame).await?;
    let answer = Frame::read(connection).await?;
    ensure!(answer.first == first && answer.payload == payload, "a message has come back changed");
    Ok(())
}
