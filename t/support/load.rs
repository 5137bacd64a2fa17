//! A steady load that counts exactly: so many requests a second, whatever becomes of the answers.
//!
//! The loop is open. A request goes out when it is due, on any of the keep-alive connections that
//! is free, and on a new one when none is; how long it took is counted from when it was due, so a
//! pause of the gateway cannot hide in requests that were never sent.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};

use super::{Client, Request};

const CONNECTIONS: usize = 50;
/// A request that would be one more than so many without an answer counts as failed.
const MOST_IN_FLIGHT: usize = 4000;

/// How the requests of a load ended.
#[derive(Default, Clone)]
pub struct Outcome {
    pub sent: usize,
    pub answered_200: usize,
    /// Every other end, with how often it came.
    pub failed: BTreeMap<String, usize>,
    /// Idle connections that the gateway had closed as a GET was sent. A browser sends it again on
    /// another connection, and so did we; the request is also counted by how that ended.
    pub stale: usize,
    /// How long each request took, from when it was due.
    pub waits: Vec<Duration>,
}

impl Outcome {
    #[track_caller]
    pub fn assert_no_failures(&self, at_least: usize) {
        assert!(self.failed.is_empty(), "{} requests went well, others did not: {:?}", self.answered_200, self.failed);
        assert_eq!(self.stale, 0, "idle connections were closed");
        assert!(self.answered_200 >= at_least, "only {} requests were made", self.answered_200);
    }

    pub fn failures(&self) -> usize {
        self.failed.values().sum()
    }

    /// The longest time that any request took.
    pub fn longest(&self) -> Duration {
        self.waits.iter().max().copied().unwrap_or_default()
    }

    /// The time that 99 of 100 requests took at most.
    pub fn p99(&self) -> Duration {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        waits.get(waits.len() * 99 / 100).copied().unwrap_or_default()
    }

    fn add(&mut self, result: Result<(), String>, wait: Duration) {
        self.waits.push(wait);
        match result {
            Ok(()) => self.answered_200 += 1,
            Err(failure) => *self.failed.entry(failure).or_default() += 1,
        }
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, answered_200, failed, stale, .. } = self;
        write!(f, "{sent} sent, {answered_200} answered 200, {stale} stale, longest {:?}", self.longest())?;
        write!(f, ", p99 {:?}, failed: {failed:?}", self.p99())
    }
}

/// A load in progress.
pub struct Load {
    state: Arc<State>,
    ticker: JoinHandle<()>,
}

struct State {
    to: SocketAddr,
    stop: AtomicBool,
    sent: AtomicUsize,
    in_flight: AtomicUsize,
    idle: Mutex<VecDeque<Client>>,
    outcome: Mutex<Outcome>,
}

/// A request of a load, as bytes.
struct Due {
    method: String,
    bytes: Vec<u8>,
    at: Instant,
}

impl Load {
    /// Begins to send this request, so many times a second.
    pub fn start(to: SocketAddr, request: &Request, per_second: u32) -> Self {
        let request = request.clone();
        Self::of(to, per_second, move |_| request.clone())
    }

    /// Begins to send the requests that the function makes of their numbers.
    pub fn of(to: SocketAddr, per_second: u32, make: impl Fn(usize) -> Request + Send + 'static) -> Self {
        let state = Arc::new(State {
            to,
            stop: AtomicBool::new(false),
            sent: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            idle: Mutex::default(),
            outcome: Mutex::default(),
        });
        let ticker = tokio::spawn(tick(state.clone(), per_second, make));
        Self { state, ticker }
    }

    /// The requests sent so far.
    pub fn sent(&self) -> usize {
        self.state.sent.load(Ordering::Relaxed)
    }

    /// The requests without an answer.
    pub fn in_flight(&self) -> usize {
        self.state.in_flight.load(Ordering::Relaxed)
    }

    /// Waits until so many requests have been sent.
    pub async fn reach(&self, sent: usize) {
        super::eventually(&format!("{sent} requests are sent"), || async { self.sent() >= sent }).await;
    }

    /// Sends no more, and waits for every answer.
    pub async fn stop(self) -> Outcome {
        self.state.stop.store(true, Ordering::Relaxed);
        self.ticker.await.unwrap();
        let outcome = self.state.outcome.lock().unwrap().clone();
        Outcome { sent: self.state.sent.load(Ordering::Relaxed), ..outcome }
    }
}

async fn tick(state: Arc<State>, per_second: u32, make: impl Fn(usize) -> Request) {
    for _ in 0..CONNECTIONS {
        if let Ok(client) = Client::try_connect(state.to).await {
            state.idle.lock().unwrap().push_back(client);
        }
    }
    let interval = Duration::from_secs(1) / per_second;
    let mut running = JoinSet::new();
    let mut at = Instant::now();
    while !state.stop.load(Ordering::Relaxed) {
        let request = make(state.sent.fetch_add(1, Ordering::Relaxed));
        let due = Due { method: request.method().to_owned(), bytes: request.to_bytes(), at };
        running.spawn(state.clone().request(due));
        while running.try_join_next().is_some() {}
        at += interval;
        tokio::time::sleep_until(at.into()).await;
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

impl State {
    async fn request(self: Arc<Self>, due: Due) {
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let result = if in_flight < MOST_IN_FLIGHT {
            self.answered(&due).await
        } else {
            Err("too many requests are without an answer".to_owned())
        };
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.outcome.lock().unwrap().add(result, due.at.elapsed());
    }

    async fn answered(&self, due: &Due) -> Result<(), String> {
        // The one that has been idle for longest, so that all are used in turn.
        let kept = self.idle.lock().unwrap().pop_front();
        if let Some(client) = kept {
            match self.exchange(client, due).await {
                Err(Failure::Stale) if due.method == "GET" => self.outcome.lock().unwrap().stale += 1,
                result => return result.map_err(|failure| failure.to_string()),
            }
        }
        let client = Client::try_connect(self.to).await.map_err(|e| format!("connect: {e}"))?;
        self.exchange(client, due).await.map_err(|failure| failure.to_string())
    }

    async fn exchange(&self, mut client: Client, due: &Due) -> Result<(), Failure> {
        let before = client.received();
        let stale_or = |what: &str, e: &io::Error, client: &Client| {
            let closed = !matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::InvalidData);
            if closed && before > 0 && client.received() == before {
                Failure::Stale
            } else {
                Failure::Other(format!("{what}: {e}"))
            }
        };
        client.send(&due.bytes).await.map_err(|e| stale_or("send", &e, &client))?;
        let response = match client.response_to(&due.method).await {
            Ok(response) => response,
            Err(e) => return Err(stale_or("receive", &e, &client)),
        };
        if !response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.idle.lock().unwrap().push_back(client);
        }
        match response.status {
            200 => Ok(()),
            status => Err(Failure::Other(format!("{status} {}", response.text()))),
        }
    }
}

enum Failure {
    /// A connection that had served before was closed without a byte of an answer.
    Stale,
    Other(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stale => f.write_str("the kept connection was closed"),
            Self::Other(what) => f.write_str(what),
        }
    }
}
