//! The gateway's own figures.
//!
//! Handles are given out when the configuration is compiled and kept in what is compiled. A request
//! costs five relaxed additions: two when it begins and ends, to counters of its own thread, and
//! three to its route's. Reading for a scrape takes no lock that a request takes: there are none.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::admin::AdminMetrics;
use super::edge::EdgeMetrics;
use super::events::Events;
use super::histogram::AtomicHistogram;
use super::hour::Figures;
use super::labels::Family;
use super::plugin_time::PluginTimes;
use super::scrape;
use super::sink::thread_number;
use super::spans::SpanMetrics;
use super::tap::Tap;

/// The `Content-Type` of what [`Metrics::encode`] writes.
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The labels of [`RouteMetrics::requests`].
pub(super) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// What a scrape says of a node.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeFigures<'a> {
    /// Its service.
    pub service: &'a str,
    /// Its address.
    pub node: &'a str,
    /// Whether requests go to it.
    pub up: bool,
    /// Why it is left out because of what requests showed, if it is.
    pub ejected: Option<&'static str>,
    /// Requests it is answering.
    pub in_flight: u32,
    /// Tries that went to it.
    pub picked: u32,
    /// Tries that failed, or were answered as servers answer that fail.
    pub failed: u32,
}

/// What a scrape says of the nodes of a service together, counted since the service is known.
#[derive(Debug, Clone, Copy)]
pub struct HealthFigures<'a> {
    /// The service.
    pub service: &'a str,
    /// Probes by their result.
    pub probes: [(&'static str, u64); 2],
    /// What nodes became, and how often.
    pub changes: [(&'static str, u64); 4],
}

/// Tells each node.
pub(super) type Nodes = dyn Fn(&mut dyn FnMut(NodeFigures<'_>)) + Send + Sync;
/// Tells each service.
pub(super) type Health = dyn Fn(&mut dyn FnMut(HealthFigures<'_>)) + Send + Sync;

/// Says of each certificate how long it lasts, as `(id, host, seconds)`.
pub(super) type Certificates = dyn Fn(&mut dyn FnMut(&str, &str, i64)) + Send + Sync;

/// Plugins with a label of their own. Each has up to a hundred series, and a gateway has a few dozen.
const MAX_PLUGINS: usize = 50;

/// All figures of one gateway.
pub struct Metrics {
    /// Budget of series for each name with labels.
    pub(super) max_labels: usize,
    pub(super) routes: Family<2, RouteMetrics>,
    pub(super) services: Family<1, ServiceMetrics>,
    pub(super) plugin_panics: Family<1, AtomicU64>,
    pub(super) plugin_events: Family<2, AtomicU64>,
    pub(super) plugin_times: Family<1, PluginTimes>,
    pub(super) nodes: OnceLock<Box<Nodes>>,
    pub(super) health: OnceLock<Box<Health>>,
    pub(super) certificates: OnceLock<Box<Certificates>>,
    pub(super) drops: Mutex<Vec<(&'static str, Arc<AtomicU64>)>>,
    /// The configuration's state; control writes it.
    pub config: ConfigMetrics,
    /// What was turned away.
    pub edge: EdgeMetrics,
    /// TLS handshakes by how they ended.
    pub handshakes: HandshakeMetrics,
    /// Calls of the Admin API.
    pub admin: AdminMetrics,
    /// What became of spans.
    pub spans: SpanMetrics,
    pub(super) started: SystemTime,
    /// What happens, for those who listen. No figure, but told from the same places.
    pub events: Arc<Events>,
    /// Requests as they are answered, for those who listen.
    pub tap: Arc<Tap>,
    requests: Stripes,
    connections: Stripes,
}

impl Metrics {
    /// No figures yet. Each name has at most `max_labels` series, and one for the rest.
    pub fn new(max_labels: usize) -> Arc<Self> {
        Arc::new(Self {
            max_labels,
            routes: Family::new(max_labels),
            services: Family::new(max_labels),
            plugin_panics: Family::new(max_labels),
            plugin_events: Family::new(max_labels),
            plugin_times: Family::new(max_labels.min(MAX_PLUGINS)),
            nodes: OnceLock::new(),
            health: OnceLock::new(),
            certificates: OnceLock::new(),
            drops: Mutex::default(),
            config: ConfigMetrics::default(),
            edge: EdgeMetrics::default(),
            handshakes: HandshakeMetrics::default(),
            admin: AdminMetrics::default(),
            spans: SpanMetrics::default(),
            started: SystemTime::now(),
            events: Arc::default(),
            tap: Arc::default(),
            requests: Stripes::default(),
            connections: Stripes::default(),
        })
    }

    /// The figures of a route. For compile: locks and allocates.
    pub fn route(&self, route: &str, service: &str) -> Arc<RouteMetrics> {
        self.routes.get([route, service])
    }

    /// The figures of a service. For compile: locks and allocates.
    pub fn service(&self, service: &str) -> Arc<ServiceMetrics> {
        self.services.get([service])
    }

    /// What each route (and its service) has come to so far.
    pub fn route_figures(&self) -> impl Iterator<Item = ([String; 2], Figures)> {
        self.routes.live().into_iter().map(|(labels, route)| ((*labels).clone(), route.figures()))
    }

    /// The counter of a plugin's panics. For compile: locks and allocates.
    pub fn plugin_panics(&self, plugin: &str) -> Arc<AtomicU64> {
        self.plugin_panics.get([plugin])
    }

    /// The times of a plugin's runs. For compile: locks and allocates.
    pub fn plugin_times(&self, plugin: &str) -> Arc<PluginTimes> {
        self.plugin_times.get([plugin])
    }

    /// A counter of a plugin's own. For compile: locks and allocates.
    pub fn plugin_event(&self, plugin: &str, event: &str) -> Arc<AtomicU64> {
        self.plugin_events.get([plugin, event])
    }

    /// Where to learn which nodes are up, at each scrape. The first source given is kept.
    pub fn set_nodes(&self, nodes: impl Fn(&mut dyn FnMut(NodeFigures<'_>)) + Send + Sync + 'static) {
        let _kept = self.nodes.set(Box::new(nodes));
    }

    /// Where to learn how services' nodes are, at each scrape. The first source given is kept.
    pub fn set_health(&self, health: impl Fn(&mut dyn FnMut(HealthFigures<'_>)) + Send + Sync + 'static) {
        let _kept = self.health.set(Box::new(health));
    }

    /// Where to learn how long certificates last, at each scrape. The first source given is kept.
    pub fn set_certificates(&self, source: impl Fn(&mut dyn FnMut(&str, &str, i64)) + Send + Sync + 'static) {
        let _kept = self.certificates.set(Box::new(source));
    }

    /// Shows a counter of lost log lines, as `gateway_<log>_dropped_total`.
    pub fn watch_drops(&self, log: &'static str, drops: Arc<AtomicU64>) {
        self.drops.lock().unwrap_or_else(PoisonError::into_inner).push((log, drops));
    }

    /// Counts a request, and has it in flight until the guard is dropped.
    pub fn begin_request(self: &Arc<Self>) -> RequestGuard {
        self.requests.begin();
        RequestGuard(Arc::clone(self))
    }

    /// Counts a connection, and has it active until the guard is dropped.
    pub fn begin_connection(self: &Arc<Self>) -> ConnectionGuard {
        self.connections.begin();
        ConnectionGuard(Arc::clone(self))
    }

    /// Requests begun so far.
    pub fn requests_total(&self) -> u64 {
        self.requests.read().0
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u64 {
        self.requests.read().1
    }

    /// Connections accepted so far.
    pub fn connections_accepted(&self) -> u64 {
        self.connections.read().0
    }

    /// Connections that are open.
    pub fn connections_active(&self) -> u64 {
        self.connections.read().1
    }

    /// Appends all figures in the OpenMetrics text format, which Prometheus reads.
    pub fn encode(self: &Arc<Self>, out: &mut String) -> fmt::Result {
        scrape::encode(self, out)
    }

    /// The old gateway's `/nginx_status`, byte for byte as nginx's stub_status writes it.
    pub fn nginx_status(&self) -> String {
        let (accepted, active) = self.connections.read();
        let (requests, writing) = self.requests.read();
        // A connection without a request waits for one; a request in flight counts as being written.
        // Several streams of HTTP/2 share a connection, so there may be more of them.
        let waiting = active.saturating_sub(writing);
        format!(
            "Active connections: {active} \nserver accepts handled requests\n {accepted} {accepted} {requests} \n\
             Reading: 0 Writing: {writing} Waiting: {waiting} \n"
        )
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("max_labels", &self.max_labels).finish_non_exhaustive()
    }
}

/// The figures of one route.
#[derive(Debug, Default)]
// On cache lines of its own: two busy routes must not slow each other down.
#[repr(align(64))]
pub struct RouteMetrics {
    /// Requests by class of the status: 1xx to 5xx, and those without a usual status.
    pub requests: [AtomicU64; 6],
    /// Time from the request's first byte to the end of the response.
    pub latency: AtomicHistogram,
    /// Bytes of response bodies.
    pub bytes: AtomicU64,
}

impl RouteMetrics {
    /// Counts one finished request.
    pub fn observe(&self, status: Option<u16>, duration: Duration) {
        self.requests[class_of(status)].fetch_add(1, Ordering::Relaxed);
        self.latency.observe(duration);
    }

    /// What there was so far.
    pub fn figures(&self) -> Figures {
        let classes = self.requests.each_ref().map(|count| count.load(Ordering::Relaxed));
        Figures {
            requests: classes.iter().sum(),
            errors: classes[4],
            classes,
            times: self.latency.read(),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// The index of a status in [`CLASSES`].
pub(super) fn class_of(status: Option<u16>) -> usize {
    match status {
        Some(status @ 100..600) => usize::from(status / 100 - 1),
        _ => CLASSES.len() - 1,
    }
}

/// The figures of one service.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ServiceMetrics {
    /// Attempts at a node, the first of each request included.
    pub tries: AtomicU64,
    /// Attempts that ended without a response.
    pub failures: AtomicU64,
    /// Attempts after the first of a request.
    pub retries: AtomicU64,
    /// Requests refused because every node was at its limit.
    pub limited: AtomicU64,
    /// Requests that wait for a node.
    pub pending: AtomicU64,
}

/// A request that waits for a node.
#[derive(Debug)]
#[must_use = "the request waits until this is dropped"]
pub struct PendingGuard<'a>(&'a ServiceMetrics);

impl Drop for PendingGuard<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ServiceMetrics {
    /// Has a request wait for a node until the guard is dropped.
    pub fn begin_pending(&self) -> PendingGuard<'_> {
        self.pending.fetch_add(1, Ordering::Relaxed);
        PendingGuard(self)
    }

    /// Counts one attempt at a node.
    pub fn tried(&self, answered: bool) {
        self.tries.fetch_add(1, Ordering::Relaxed);
        if !answered {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How a TLS handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// A new session.
    Full,
    /// An earlier session was resumed.
    Resumed,
    /// It failed: no certificate, none in common, or the client left.
    Failed,
    /// It took too long.
    TimedOut,
}

/// The labels of [`HandshakeMetrics`], in the order of [`Handshake`].
pub(super) const HANDSHAKES: [&str; 4] = ["full", "resumed", "failed", "timeout"];

/// TLS handshakes by how they ended.
#[derive(Debug, Default)]
pub struct HandshakeMetrics(pub(super) [AtomicU64; HANDSHAKES.len()]);

impl HandshakeMetrics {
    /// Counts one that ended.
    pub fn count(&self, ended: Handshake) {
        self.0[ended as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// How far the configuration is.
#[derive(Debug)]
pub struct ConfigMetrics {
    /// The store's newest revision of the configuration.
    pub stored_revision: AtomicU64,
    /// The revision requests see.
    pub applied_revision: AtomicU64,
    /// Objects in the store that are not live as stored.
    pub rejected_objects: AtomicU64,
    /// Nodes kept beyond their lease.
    pub kept_beyond_lease: AtomicU64,
    /// Routes that are live.
    pub routes: AtomicU64,
    /// Services that are live.
    pub services: AtomicU64,
    disconnected_since: Mutex<Option<Instant>>,
}

impl Default for ConfigMetrics {
    /// Not connected yet.
    fn default() -> Self {
        Self {
            stored_revision: AtomicU64::new(0),
            applied_revision: AtomicU64::new(0),
            rejected_objects: AtomicU64::new(0),
            kept_beyond_lease: AtomicU64::new(0),
            routes: AtomicU64::new(0),
            services: AtomicU64::new(0),
            disconnected_since: Mutex::new(Some(Instant::now())),
        }
    }
}

impl ConfigMetrics {
    /// Notes whether the store is connected; the configuration is stale since it last was.
    pub fn set_connected(&self, connected: bool) {
        let mut since = self.disconnected_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = if connected { None } else { Some(since.unwrap_or_else(Instant::now)) };
    }

    /// Time since the store was last connected; `None` while it is.
    pub fn stale(&self) -> Option<Duration> {
        self.disconnected_since.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }
}

/// A request in flight.
#[derive(Debug)]
#[must_use = "the request ends when this is dropped"]
pub struct RequestGuard(Arc<Metrics>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.requests.end();
    }
}

/// An open connection.
#[derive(Debug)]
#[must_use = "the connection ends when this is dropped"]
pub struct ConnectionGuard(Arc<Metrics>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.connections.end();
    }
}

/// Counts what begins and ends, in a cache line for each thread.
#[derive(Debug, Default)]
struct Stripes([Stripe; 16]);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Stripes {
    fn own(&self) -> &Stripe {
        &self.0[thread_number() % self.0.len()]
    }

    fn begin(&self) {
        self.own().begun.fetch_add(1, Ordering::Relaxed);
    }

    /// On whatever thread: only the sums mean something.
    fn end(&self) {
        self.own().ended.fetch_add(1, Ordering::Release);
    }

    /// What has begun so far, and how much of it has not ended.
    fn read(&self) -> (u64, u64) {
        // What ended first: the other way round something could end that was not seen to begin.
        let ended: u64 = self.0.iter().map(|stripe| stripe.ended.load(Ordering::Acquire)).sum();
        let begun: u64 = self.0.iter().map(|stripe| stripe.begun.load(Ordering::Relaxed)).sum();
        (begun, begun.saturating_sub(ended))
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
