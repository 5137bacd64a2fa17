//! Traces by OpenTelemetry: one span for a request, one for each try at a node, sent to a collector
//! by OTLP.
//!
//! A request that is not recorded costs a look at a header and a random number, one that is recorded
//! a few allocations at its end. What ended is handed to a bounded queue, which neither blocks nor
//! wakes anybody; a task takes it from there several times a second (`export.rs`). What does not fit,
//! or is not taken by the collector, is dropped and counted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::mpsc;
use ws_cloud_plugin_sdk::RouteInfo;
use ws_cloud_plugin_sdk::trace_context::TraceParent;

use super::metrics::Metrics;
use super::spans::Lost;

mod export;
mod span;
mod transport;

pub use export::Exporter;
pub use transport::{Protocol, TracingOptions};

/// Longest text of a client's that is kept with a span, in bytes.
const MAX_TEXT: usize = 1024;

/// Decides what is recorded, and takes what was.
#[derive(Debug)]
pub struct Tracer {
    /// Share of the traces that begin here.
    sample: f64,
    queue: mpsc::Sender<Box<Exchange>>,
    metrics: Arc<Metrics>,
}

/// A request's place in a trace.
#[derive(Debug, Clone, Copy)]
pub struct Trace {
    /// The trace; of one that begins here it is found out late, for a plugin may name it.
    place: Option<TraceParent>,
    /// The client's span.
    parent: Option<u64>,
    /// The gateway's own.
    span: u64,
    recorded: bool,
    /// Whether the `tracestate` of the request belongs to its trace.
    keeps_state: bool,
}

/// A recorded request that has ended.
#[derive(Debug)]
pub struct Exchange {
    /// Its place.
    pub trace: Trace,
    /// When it ended.
    pub ended: SystemTime,
    /// How long it took.
    pub time: Duration,
    /// The method.
    pub method: Method,
    /// The path as the client sent it, without the query, which may have secrets.
    pub path: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host asked for.
    pub host: Option<String>,
    /// `1.1`, `2`.
    pub version: &'static str,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The route that was found.
    pub route: Option<Arc<RouteInfo>>,
    /// The status; 499 when the client left.
    pub status: Option<u16>,
    /// The tries, in order.
    pub tries: Vec<TriedNode>,
}

/// A try at a node.
#[derive(Debug)]
pub struct TriedNode {
    /// The node as it was declared.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
    /// The path sent there, without the query.
    pub path: Arc<str>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// How long after the request the try began.
    pub after: Duration,
    /// How long it took.
    pub time: Duration,
    /// What the node answered.
    pub status: Option<u16>,
    /// Why it did not.
    pub error: Option<&'static str>,
}

impl Tracer {
    /// A tracer, and the other end of its queue.
    ///
    /// # Errors
    /// When what the options name cannot be used; in words.
    pub fn new(options: TracingOptions, metrics: &Arc<Metrics>) -> Result<(Arc<Self>, Exporter), String> {
        let (queue, waiting) = mpsc::channel(options.queue.max(1));
        let tracer = Self { sample: options.sample, queue, metrics: Arc::clone(metrics) };
        let exporter = Exporter::new(options, waiting, Arc::clone(metrics))?;
        Ok((Arc::new(tracer), exporter))
    }

    /// The place of a request with these headers; `None` when it is its client's wish that nothing is
    /// recorded, and there is nothing to do.
    pub fn begin(&self, headers: &HeaderMap) -> Option<Trace> {
        let (place, recorded) = match TraceParent::of(headers) {
            Some(parent) if parent.is_sampled() => (Some(parent), true),
            Some(_) => return None,
            // By chance alone and not by the id, of which not all bits are random.
            None => (None, fastrand::f64() < self.sample),
        };
        let span = if recorded { fastrand::u64(1..) } else { 0 };
        Some(Trace { place, parent: place.map(|place| place.span), span, recorded, keeps_state: true })
    }

    /// Takes a request that ended.
    pub fn finish(&self, mut exchange: Exchange) {
        // A method may be as long as a head; its beginning is one too.
        if exchange.method.as_str().len() > MAX_TEXT {
            exchange.method =
                Method::from_bytes(text(exchange.method.as_str().as_bytes()).as_bytes()).unwrap_or_default();
        }
        let spans = 1 + exchange.tries.len();
        if self.queue.try_send(Box::new(exchange)).is_err() {
            self.metrics.spans.lost(Lost::QueueFull, spans);
        }
    }
}

impl Trace {
    /// Whether spans are made.
    pub fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// Whether the `tracestate` of the request belongs to its trace, and is passed on.
    pub fn keeps_state(&self) -> bool {
        self.keeps_state
    }

    /// Finds out which trace it is where it begins here: that of the headers, which then a plugin has
    /// put there, or a new one.
    pub fn settle(&mut self, headers: &HeaderMap) {
        if self.place.is_some() {
            return;
        }
        let found = TraceParent::of(headers);
        let place = found.unwrap_or_else(|| TraceParent::begin(fastrand::u128(..), self.recorded));
        self.place = Some(place.sampled(self.recorded));
        self.keeps_state = found.is_some();
    }

    /// What a node is told at the `n`th try: that this try is its parent.
    pub fn traceparent(&self, n: usize) -> Option<HeaderValue> {
        // What is not recorded has no spans; but there must be some number.
        let span = if self.recorded { self.span_of_try(n) } else { fastrand::u64(1..) };
        self.place.map(|place| place.to_value(span))
    }

    /// The span of the `n`th try, which so need not be kept.
    fn span_of_try(&self, n: usize) -> u64 {
        self.span.wrapping_add((n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1)
    }
}

/// A text of a client's as it is kept with a span.
pub fn text(bytes: &[u8]) -> String {
    let (kept, _) = super::escape::cap(bytes, MAX_TEXT);
    String::from_utf8_lossy(kept).into_owned()
}

#[cfg(test)]
mod tests;
