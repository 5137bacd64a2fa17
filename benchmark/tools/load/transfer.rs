//! Large bodies: how fast they pass, down and up.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::client::{Target, answer, ask};
use crate::{on_each, per_second, report};

#[derive(Args, Clone)]
pub(crate) struct Options {
    /// With the whole path, such as /bytes/1000000 or /sink
    #[arg(long)]
    url: Target,
    /// The length of each body
    #[arg(long)]
    bytes: u64,
    #[arg(long)]
    connections: usize,
}

static BLOCK: [u8; 256 << 10] = [b'x'; 256 << 10];

pub(crate) async fn download(options: Options) -> Result<()> {
    let start = Instant::now();
    on_each(options.connections, |_| get(options.clone())).await?;
    summarize(&options, start);
    Ok(())
}

pub(crate) async fn upload(options: Options) -> Result<()> {
    let start = Instant::now();
    on_each(options.connections, |_| post(options.clone())).await?;
    summarize(&options, start);
    Ok(())
}

async fn get(Options { url, bytes, .. }: Options) -> Result<()> {
    let mut received = 0;
    ask(&mut url.connect().await?, url.get().as_bytes(), |piece| received += piece.len() as u64).await?;
    ensure!(received == bytes, "{received} bytes came instead of {bytes}");
    Ok(())
}

async fn post(Options { url, bytes, .. }: Options) -> Result<()> {
    let mut connection = url.connect().await?;
    let head = url.head("POST") + &format!("Content-Length: {bytes}\r\n\r\n");
    connection.stream.write_all(head.as_bytes()).await?;
    let mut left = bytes;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK.len());
        left -= connection.stream.write(&BLOCK[..piece]).await? as u64;
    }
    let mut counted = Vec::new();
    answer(&mut connection, |piece| counted.extend_from_slice(piece)).await?;
    let counted = String::from_utf8_lossy(&counted);
    ensure!(counted == bytes.to_string(), "of {bytes} bytes {counted:?} arrived");
    Ok(())
}

fn summarize(options: &Options, start: Instant) {
    let total = options.bytes * options.connections as u64;
    let (seconds, bytes_per_second) = per_second(total, start.elapsed());
    report(&json!({
        "connections": options.connections,
        "bytes": total,
        "seconds": seconds,
        "mb_per_s": (bytes_per_second / 1e5).round() / 10.0,
    }));
}
