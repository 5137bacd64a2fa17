//! A steady load: so many requests a second, whatever the answers, on keep-alive connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{Client, Request};

const CONNECTIONS: u32 = 50;

/// How the requests of a load ended.
#[derive(Debug, Default)]
pub struct Outcome {
    pub answered_200: usize,
    /// Every other end, with how often it came.
    pub failed: BTreeMap<String, usize>,
}

impl Outcome {
    #[track_caller]
    pub fn assert_no_failures(&self, at_least: usize) {
        assert!(self.failed.is_empty(), "{} requests went well, others did not: {:?}", self.answered_200, self.failed);
        assert!(self.answered_200 >= at_least, "only {} requests were made", self.answered_200);
    }
}

/// A load in progress.
pub struct Load {
    workers: JoinSet<Vec<Result<(), String>>>,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
}

impl Load {
    /// Begins to send this request, so many times a second.
    pub fn start(to: SocketAddr, request: &Request, per_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicUsize::new(0));
        let bytes: Arc<[u8]> = request.to_bytes().into();
        let interval = Duration::from_secs(1) * CONNECTIONS / per_second;
        let mut workers = JoinSet::new();
        for i in 0..CONNECTIONS {
            let worker = Worker { to, bytes: bytes.clone(), interval, stop: stop.clone(), sent: sent.clone() };
            workers.spawn(worker.run(interval * i / CONNECTIONS));
        }
        Self { workers, stop, sent }
    }

    /// The requests sent so far.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until so many requests have been sent.
    pub async fn reach(&self, sent: usize) {
        super::eventually(&format!("{sent} requests are sent"), || async { self.sent() >= sent }).await;
    }

    pub async fn stop(mut self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut outcome = Outcome::default();
        while let Some(results) = self.workers.join_next().await {
            for result in results.unwrap() {
                match result {
                    Ok(()) => outcome.answered_200 += 1,
                    Err(failure) => *outcome.failed.entry(failure).or_default() += 1,
                }
            }
        }
        outcome
    }
}

struct Worker {
    to: SocketAddr,
    bytes: Arc<[u8]>,
    interval: Duration,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
}

impl Worker {
    async fn run(self, delay: Duration) -> Vec<Result<(), String>> {
        tokio::time::sleep(delay).await;
        let mut client = None;
        let mut results = Vec::new();
        let mut due = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            self.sent.fetch_add(1, Ordering::Relaxed);
            results.push(self.once(&mut client).await);
            due += self.interval;
            tokio::time::sleep_until(due.into()).await;
        }
        results
    }

    async fn once(&self, kept: &mut Option<Client>) -> Result<(), String> {
        let mut client = match kept.take() {
            Some(client) => client,
            None => Client::try_connect(self.to).await.map_err(|e| format!("connect: {e}"))?,
        };
        client.send(&self.bytes).await.map_err(|e| format!("send: {e}"))?;
        let response = client.response_to("GET").await.map_err(|e| format!("receive: {e}"))?;
        if response.header("connection") != Some("close") {
            *kept = Some(client);
        }
        if response.status == 200 { Ok(()) } else { Err(format!("{} {}", response.status, response.text())) }
    }
}
