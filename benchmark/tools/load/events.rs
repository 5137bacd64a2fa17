//! Server-sent events: whether all of them pass, and how fast.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::json;

use crate::client::{Target, ask};
use crate::{on_each, per_second, report};

#[derive(Args)]
pub(crate) struct Options {
    /// Ends with the number of events, such as /events/1000
    #[arg(long)]
    url: Target,
    #[arg(long)]
    connections: usize,
}

/// Counts the empty lines, which end an event, of a stream that comes in pieces.
#[derive(Default)]
struct Events {
    count: u64,
    last: u8,
}

impl Events {
    fn read(&mut self, piece: &[u8]) {
        for byte in piece {
            self.count += u64::from(*byte == b'\n' && self.last == b'\n');
            self.last = *byte;
        }
    }
}

pub(crate) async fn run(options: Options) -> Result<()> {
    let number = options.url.path.rsplit('/').next().and_then(|last| last.parse().ok());
    let number: u64 = number.context("--url: its path does not end with a number of events")?;
    let start = Instant::now();
    on_each(options.connections, |_| listen(options.url.clone(), number)).await?;
    let total = number * options.connections as u64;
    let (seconds, events_per_s) = per_second(total, start.elapsed());
    report(&json!({
        "connections": options.connections,
        "events": total,
        "seconds": seconds,
        "events_per_s": events_per_s,
    }));
    Ok(())
}

async fn listen(target: Target, number: u64) -> Result<()> {
    let mut events = Events::default();
    ask(&mut target.connect().await?, target.get().as_bytes(), |piece| events.read(piece)).await?;
    ensure!(events.count == number, "{} events came instead of {number}", events.count);
    Ok(())
}
