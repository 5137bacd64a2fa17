//! A client of server-sent events.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Client, PATIENCE, Request};

/// An event, its data read.
#[derive(Debug, Clone)]
pub struct Event {
    pub name: String,
    pub id: Option<String>,
    pub data: Value,
}

/// A stream of them.
pub struct Stream {
    client: Client,
    text: String,
}

impl Stream {
    /// Opens one, which must be let in.
    pub async fn open(to: SocketAddr, request: Request) -> Self {
        let request = request.header("Host", &to.to_string());
        let mut client = Client::connect(to).await;
        client.send(&request.to_bytes()).await.unwrap();
        let head = client.head().await.unwrap();
        assert!(head.first_line.contains(" 200"), "{head:?}");
        assert_eq!(head.header("content-type"), Some("text/event-stream"), "{head:?}");
        Self { client, text: String::new() }
    }

    /// The next event; comments are passed over.
    pub async fn next(&mut self) -> Event {
        self.try_next().await.unwrap().expect("the stream goes on")
    }

    /// The next event, or `None` at the end of the stream.
    pub async fn try_next(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                if let Some(event) = read(&event) {
                    return Ok(Some(event));
                }
                continue;
            }
            match self.client.chunk().await? {
                Some(chunk) => self.text.push_str(std::str::from_utf8(&chunk).unwrap()),
                None => return Ok(None),
            }
        }
    }

    /// Waits for an event that is as it should be; others are passed over.
    pub async fn until(&mut self, what: &str, is: impl Fn(&Event) -> bool) -> Event {
        let started = Instant::now();
        loop {
            let event = self.next().await;
            if is(&event) {
                return event;
            }
            assert!(started.elapsed() < PATIENCE, "not told: {what}");
        }
    }

    /// What is told within this time; for what must not be told.
    pub async fn within(&mut self, time: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        let end = Instant::now() + time;
        while let Ok(event) = tokio::time::timeout_at(end.into(), self.next()).await {
            events.push(event);
        }
        events
    }
}

fn read(text: &str) -> Option<Event> {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(value.trim_start().to_owned())
    };
    let data = serde_json::from_str(&field("data")?).unwrap();
    Some(Event { name: field("event").unwrap_or_default(), id: field("id"), data })
}
