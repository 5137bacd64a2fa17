//! Requests as they are answered, for those who watch them: who watches which, and what they are shown.
//!
//! Costs a request one relaxed load while nobody watches. While someone does, a request is copied only
//! when a watcher may want it, without bodies, and without what lets someone in. Who watches too slowly
//! is told how many it was not shown; no request waits for it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use serde::Serialize;
use tokio::sync::mpsc;

use super::listeners::{Seat, Seats};
use super::redact;

/// Who may watch at the same time.
const WATCHERS: usize = 16;
/// Requests that wait for a watcher.
const QUEUE: usize = 128;
/// Most headers shown of a head.
const MOST_HEADERS: usize = 64;
/// Most bytes shown of a head's headers, and of its target.
const MOST_BYTES: usize = 8 << 10;

/// Which statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusFilter {
    /// Those that begin with this digit.
    Class(u16),
    /// This one.
    Exactly(u16),
}

impl StatusFilter {
    /// Reads `5xx` or `404`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix("xx") {
            Some(class) => class.parse().ok().filter(|class| (1..=5).contains(class)).map(Self::Class),
            None => text.parse().ok().filter(|status| (100..=599).contains(status)).map(Self::Exactly),
        }
    }

    fn is(self, status: u16) -> bool {
        match self {
            Self::Class(class) => status / 100 == class,
            Self::Exactly(exactly) => status == exactly,
        }
    }
}

/// Which requests a watcher wants; all that is absent matches everything.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The id of the route.
    pub route: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// The status.
    pub status: Option<StatusFilter>,
    /// The shortest time it took.
    pub min_latency: Duration,
    /// Whose.
    pub client: Option<IpNet>,
    /// The id a plugin gave it.
    pub trace_id: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// What its target begins with.
    pub path: Option<String>,
    /// The share of those that match, 0 to 1.
    pub sample: f64,
    /// Most of them in a second.
    pub per_second: u32,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            route: None,
            service: None,
            status: None,
            min_latency: Duration::ZERO,
            client: None,
            trace_id: None,
            method: None,
            path: None,
            sample: 1.0,
            per_second: 50,
        }
    }
}

/// What is known of a request when it has been answered, before anything is copied.
#[derive(Debug, Clone, Copy)]
pub struct Sampled<'a> {
    /// The id of its route.
    pub route: Option<&'a str>,
    /// Its service.
    pub service: Option<&'a str>,
    /// What it was answered with, if it was.
    pub status: Option<u16>,
    /// From its first byte to the last of its answer.
    pub took: Duration,
    /// Whose.
    pub client: Option<IpAddr>,
    /// The id a plugin gave it.
    pub trace_id: Option<&'a [u8]>,
}

impl Filter {
    /// What can be told when a request has come.
    fn may_want(&self, method: &str, target: &[u8], draw: f64) -> bool {
        draw < self.sample
            && self.method.as_ref().is_none_or(|wanted| wanted == method)
            && self.path.as_ref().is_none_or(|wanted| target.starts_with(wanted.as_bytes()))
    }

    /// The rest, when it has been answered.
    fn wants(&self, request: &Sampled<'_>) -> bool {
        request.took >= self.min_latency
            && self.route.as_ref().is_none_or(|wanted| request.route == Some(wanted.as_str()))
            && self.service.as_ref().is_none_or(|wanted| request.service == Some(wanted.as_str()))
            && self.status.is_none_or(|wanted| request.status.is_some_and(|status| wanted.is(status)))
            && self.client.is_none_or(|wanted| request.client.is_some_and(|ip| wanted.contains(&ip.to_canonical())))
            && self.trace_id.as_ref().is_none_or(|wanted| request.trace_id == Some(wanted.as_bytes()))
    }
}

/// The head of a message, as far as it is shown.
#[derive(Debug, Clone, Serialize)]
pub struct Head {
    /// The method; absent of a response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The target; absent of a response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Names and values in their order.
    pub headers: Vec<(String, String)>,
    /// Whether there was more than is shown.
    pub truncated: bool,
}

impl Head {
    /// The head of a request.
    pub fn request<'a>(method: &str, target: &[u8], headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let shown = target.get(..MOST_BYTES).unwrap_or(target);
        let mut head = Self::response(headers);
        head.method = Some(method.to_owned());
        head.target = Some(redact::text(shown));
        head.truncated |= shown.len() < target.len();
        head
    }

    /// The head of a response.
    pub fn response<'a>(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut head = Self { method: None, target: None, headers: Vec::new(), truncated: false };
        let mut left = MOST_BYTES;
        for (name, value) in headers {
            if head.headers.len() == MOST_HEADERS || name.len() >= left {
                head.truncated = true;
                break;
            }
            left -= name.len();
            let shown = value.get(..left).unwrap_or(value);
            head.truncated |= shown.len() < value.len();
            left -= shown.len();
            head.headers.push((String::from_utf8_lossy(name).into_owned(), redact::value(name, shown)));
        }
        head
    }
}

/// A try at a node.
#[derive(Debug, Clone, Serialize)]
pub struct LiveTry {
    /// The node.
    pub node: String,
    /// What it answered with, if it did.
    pub status: Option<u16>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    /// Until the head of its answer came, or none did.
    pub time_ms: f64,
}

/// How long things took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Timings {
    /// From the request's first byte to the end of its answer.
    pub total_ms: f64,
    /// To the head of a node's answer, if one came.
    pub first_byte_ms: Option<f64>,
    /// What of it nodes were waited for.
    pub upstream_ms: f64,
}

/// A request as it is shown.
#[derive(Debug, Clone, Serialize)]
pub struct LiveRequest {
    /// Its number among those that were copied.
    pub id: u64,
    /// When it came.
    #[serde(serialize_with = "as_text")]
    pub time: SystemTime,
    /// Whose.
    pub client: Option<IpAddr>,
    /// The host it asked for.
    pub host: Option<String>,
    /// The protocol of the client.
    pub protocol: &'static str,
    /// The id a plugin gave it.
    pub trace_id: Option<String>,
    /// The id of its route.
    pub route: Option<String>,
    /// Its service.
    pub service: Option<String>,
    /// As it came.
    pub received: Head,
    /// As it went to a node, the last time.
    pub sent: Option<Head>,
    /// The tries at nodes, in order.
    pub tries: Vec<LiveTry>,
    /// What it was answered with, if it was.
    pub status: Option<u16>,
    /// The head of the answer.
    pub response: Option<Head>,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// How long things took.
    pub timings: Timings,
    /// What it is compared with when only a share is wanted.
    #[serde(skip)]
    draw: f64,
    /// Why tries failed, by their number.
    #[serde(skip)]
    errors: Vec<(usize, &'static str)>,
}

impl LiveRequest {
    /// Notes why the try of this number (from 1) failed.
    pub fn failed(&mut self, attempt: usize, why: &'static str) {
        self.errors.push((attempt, why));
    }

    /// Why the try of this number (from 1) failed.
    pub fn error(&self, attempt: usize) -> Option<&'static str> {
        self.errors.iter().find(|(number, _)| *number == attempt).map(|(_, why)| *why)
    }
}

fn as_text<S: serde::Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&humantime::format_rfc3339_millis(*time))
}

/// What shows requests to those who watch.
pub struct Tap {
    on: AtomicBool,
    lines: ArcSwap<Vec<Arc<Line>>>,
    changing: Mutex<()>,
    seats: Arc<Seats>,
    copied: AtomicU64,
    epoch: Instant,
}

impl Default for Tap {
    fn default() -> Self {
        Self {
            on: AtomicBool::new(false),
            lines: ArcSwap::default(),
            changing: Mutex::new(()),
            seats: Seats::new(WATCHERS),
            copied: AtomicU64::new(0),
            epoch: Instant::now(),
        }
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("on", &self.on).finish_non_exhaustive()
    }
}

/// What leads to a watcher.
struct Line {
    filter: Filter,
    queue: mpsc::Sender<Arc<LiveRequest>>,
    /// What it wanted and was not shown.
    dropped: AtomicU64,
    /// The second that is counted, and how many it had.
    second: AtomicU64,
    count: AtomicU32,
}

impl Tap {
    /// Whether anyone watches.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Begins to show a request that has just come, if someone may want it; `head` copies it.
    pub fn begin(
        &self,
        method: &str,
        target: &[u8],
        protocol: &'static str,
        head: impl FnOnce() -> Head,
    ) -> Option<Box<LiveRequest>> {
        let draw = rand::random::<f64>();
        self.lines.load().iter().any(|line| line.filter.may_want(method, target, draw)).then(|| {
            Box::new(LiveRequest {
                id: self.copied.fetch_add(1, Relaxed) + 1,
                time: SystemTime::now(),
                client: None,
                host: None,
                protocol,
                trace_id: None,
                route: None,
                service: None,
                received: head(),
                sent: None,
                tries: Vec::new(),
                status: None,
                response: None,
                bytes: 0,
                timings: Timings::default(),
                draw,
                errors: Vec::new(),
            })
        })
    }

    /// Shows a request that was answered to those who want it; `complete` copies what is missing.
    pub fn show(
        &self,
        mut request: Box<LiveRequest>,
        target: &[u8],
        sampled: &Sampled<'_>,
        complete: impl FnOnce(&mut LiveRequest),
    ) {
        let lines = self.lines.load();
        let method = request.received.method.as_deref().unwrap_or_default();
        let second = self.epoch.elapsed().as_secs();
        // Now that all is known, so that what is counted as dropped is what was wanted.
        let wanted = |line: &&Arc<Line>| {
            line.filter.may_want(method, target, request.draw) && line.filter.wants(sampled) && line.has_room(second)
        };
        let takers: Vec<_> = lines.iter().filter(wanted).collect();
        if takers.is_empty() {
            return;
        }
        complete(&mut request);
        let request: Arc<LiveRequest> = request.into();
        for line in takers {
            if line.queue.try_send(Arc::clone(&request)).is_err() {
                line.dropped.fetch_add(1, Relaxed);
            }
        }
    }

    /// Watches requests from now on. `None` when too many watch already.
    pub fn watch(self: &Arc<Self>, filter: Filter) -> Option<TapListener> {
        let seat = Seats::take(&self.seats)?;
        let (queue, received) = mpsc::channel(QUEUE);
        let line = Arc::new(Line {
            filter,
            queue,
            dropped: AtomicU64::new(0),
            second: AtomicU64::new(0),
            count: AtomicU32::new(0),
        });
        self.change(|lines| lines.push(Arc::clone(&line)));
        Some(TapListener { tap: Arc::clone(self), line, received, told: 0, _seat: seat })
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Line>>)) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Vec::clone(&self.lines.load());
        change(&mut lines);
        let on = !lines.is_empty();
        self.lines.store(Arc::new(lines));
        self.on.store(on, Relaxed);
    }
}

impl Line {
    /// Whether this second has room for one more; one that has not is counted as dropped.
    fn has_room(&self, second: u64) -> bool {
        if self.second.swap(second, Relaxed) != second {
            self.count.store(0, Relaxed);
        }
        let room = self.count.fetch_add(1, Relaxed) < self.filter.per_second;
        if !room {
            self.dropped.fetch_add(1, Relaxed);
        }
        room
    }
}

/// One who watches.
pub struct TapListener {
    tap: Arc<Tap>,
    line: Arc<Line>,
    received: mpsc::Receiver<Arc<LiveRequest>>,
    /// The drops it has been told of.
    told: u64,
    _seat: Seat,
}

impl TapListener {
    /// Waits for the next request.
    pub async fn next(&mut self) -> Arc<LiveRequest> {
        match self.received.recv().await {
            Some(request) => request,
            // Its line is held here, and so is the sender.
            None => std::future::pending().await,
        }
    }

    /// How many were dropped since this was asked last.
    pub fn dropped(&mut self) -> u64 {
        let dropped = self.line.dropped.load(Relaxed);
        let new = dropped - self.told;
        self.told = dropped;
        new
    }
}

impl Drop for TapListener {
    fn drop(&mut self) {
        self.tap.change(|lines| lines.retain(|line| !Arc::ptr_eq(line, &self.line)));
    }
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
