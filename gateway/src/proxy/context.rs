//! One request from its first callback to its last.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;
use pingora::Error;
use ws_cloud_plugin_sdk::{RequestState, Response, UpstreamChoice};

use super::connection::Connection;
use super::overload::Share;
use super::trace::error_name;
use crate::pipeline::BodyBuffers;
use crate::snapshot::CompiledRoute;
use crate::telemetry::tracing::Trace;
use crate::telemetry::{LiveRequest, RequestGuard};
use crate::upstream::{InFlight, Outcome, ReadDeadline, Tried, Upstream};

/// How the request is carried to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    #[default]
    Http,
    Grpc,
    WebSocket,
    /// Not the data plane's: handed to the admin's own socket.
    Internal,
}

/// One try at a node.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Index in the upstream of the context.
    pub(super) node: usize,
    pub(super) started: Instant,
    pub(super) status: Option<u16>,
    pub(super) time: Option<Duration>,
    /// Why there was no answer, in a word; for traces.
    pub(super) error: Option<&'static str>,
}

/// What is kept with a request.
pub struct Context {
    pub(super) started: Instant,
    /// Counts the request as in flight while it lives.
    _in_flight: RequestGuard,
    /// Its share of what may be in flight, when that is limited.
    pub(super) share: Option<Share>,
    pub(super) kind: Kind,
    pub(super) connection: Option<Arc<Connection>>,
    /// Loaded once: the request sees one configuration from start to end.
    pub(super) route: Option<Arc<CompiledRoute>>,
    pub(super) upstream: Option<Arc<Upstream>>,
    pub(super) state: Option<RequestState>,
    /// Its place in a trace, where there is something to do about that.
    pub(super) trace: Option<Trace>,
    pub(super) client_ip: Option<IpAddr>,
    /// The client's X-Forwarded-For, for the log.
    pub(super) client_xff: Option<HeaderValue>,
    pub(super) path_was_normal: bool,
    pub(super) tried: Tried,
    pub(super) attempts: Vec<Attempt>,
    pub(super) node_in_flight: Option<InFlight>,
    pub(super) choice: Option<UpstreamChoice>,
    pub(super) buffers: BodyBuffers,
    pub(super) body_limit: u64,
    pub(super) body_seen: u64,
    /// Whether a plugin was handed a piece of the body, which then cannot be replayed.
    pub(super) plugins_saw_body: bool,
    /// The next connection must be a new one: a kept one turned out to be closed.
    pub(super) fresh: bool,
    /// The next retry has been taken from the budget already.
    pub(super) retry_granted: bool,
    /// When the whole exchange must be over.
    pub(super) deadline: Option<Instant>,
    /// Longest wait for the header of a response.
    pub(super) first_byte: Option<Duration>,
    /// The deadline of the present connection to a node, when the request has such limits.
    pub(super) read_deadline: Option<Arc<ReadDeadline>>,
    /// What a plugin answers to a request body, or what is answered when nodes are at their limits.
    pub(super) plugin_answer: Option<Box<Response>>,
    /// A plugin panicked over a response head; the error page goes out without plugins.
    pub(super) response_filter_failed: bool,
    /// The status of an answer of our own.
    pub(super) answered: Option<u16>,
    /// What is shown of it to those who watch requests, when someone may want it.
    pub(super) live: Option<Box<LiveRequest>>,
}

impl Context {
    pub(super) fn new(in_flight: RequestGuard) -> Self {
        Self {
            started: Instant::now(),
            _in_flight: in_flight,
            share: None,
            kind: Kind::Http,
            connection: None,
            route: None,
            upstream: None,
            state: None,
            trace: None,
            client_ip: None,
            client_xff: None,
            path_was_normal: true,
            tried: Tried::default(),
            attempts: Vec::new(),
            node_in_flight: None,
            choice: None,
            buffers: BodyBuffers::default(),
            body_limit: 0,
            body_seen: 0,
            plugins_saw_body: false,
            fresh: false,
            retry_granted: false,
            deadline: None,
            first_byte: None,
            read_deadline: None,
            plugin_answer: None,
            response_filter_failed: false,
            answered: None,
            live: None,
        }
    }

    /// Tells the upstream what the present try came to.
    pub(super) fn observe(&self, outcome: Outcome) {
        if let (Some(upstream), Some(attempt)) = (&self.upstream, self.attempts.last()) {
            upstream.observe(attempt.node, outcome);
        }
    }

    /// The client left while the present try was under way: neither a success nor a failure of the
    /// node.
    pub(super) fn attempt_abandoned(&mut self) {
        if let Some(attempt) = self.attempts.last_mut().filter(|a| a.time.is_none()) {
            attempt.time = Some(attempt.started.elapsed());
        }
    }

    /// Notes that the present try failed, once.
    pub(super) fn attempt_failed(&mut self, error: &Error) {
        if let Some(attempt) = self.attempts.last_mut().filter(|a| a.time.is_none()) {
            attempt.error = Some(error_name(error));
        }
        self.attempt_ended(None);
    }

    /// Notes what the present try came to, once.
    pub(super) fn attempt_ended(&mut self, status: Option<u16>) {
        if let Some(attempt) = self.attempts.last_mut().filter(|a| a.time.is_none()) {
            attempt.status = status;
            attempt.time = Some(attempt.started.elapsed());
            if let Some(route) = &self.route
                && let Some(metrics) = &route.service_metrics
            {
                metrics.tried(status.is_some());
            }
        }
    }
}
