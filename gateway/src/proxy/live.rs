//! Requests for those who watch them, from the first callback to the last. Nothing here runs while
//! nobody watches.

use std::time::Duration;

use http::{HeaderMap, header};
use pingora::Error;
use pingora::http::RequestHeader;
use pingora_proxy::Session;

use super::context::Context;
use super::record::protocol;
use super::{Proxy, final_response};
use crate::request::host;
use crate::telemetry::{Head, LiveRequest, LiveTry, Sampled, Timings};

impl Proxy {
    /// Copies a request's head as it came, if someone may want to see it.
    #[cold]
    pub(super) fn begin_live(&self, session: &Session, ctx: &mut Context) {
        let request = session.req_header();
        let (method, target) = (request.method.as_str(), request.raw_path());
        ctx.live = self.metrics.tap.begin(method, target, protocol(request.version), || as_received(request));
    }

    /// Shows a request that was answered.
    #[cold]
    pub(super) fn show_live(
        &self,
        live: Box<LiveRequest>,
        session: &Session,
        ctx: &Context,
        status: Option<u16>,
        took: Duration,
    ) {
        let route = ctx.route.as_ref().map(|route| &route.info);
        let sampled = Sampled {
            route: route.map(|route| route.key.as_str()),
            service: route.map(|route| route.service.as_str()).filter(|service| !service.is_empty()),
            status,
            took,
            client: ctx.client_ip.or_else(|| ctx.connection.as_ref().map(|connection| connection.peer.ip())),
            trace_id: ctx.state.as_ref().and_then(|state| state.trace_id.as_ref()).map(|id| id.as_bytes()),
        };
        self.metrics.tap.show(live, session.req_header().raw_path(), &sampled, |live| {
            let request = session.req_header();
            let named = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
            let named = named.or_else(|| request.uri.authority().map(|authority| authority.as_str()));
            live.host = named.map(|name| host::normalise(name).into_owned());
            live.client = sampled.client;
            live.route = sampled.route.map(str::to_owned);
            live.service = sampled.service.map(str::to_owned);
            live.trace_id = sampled.trace_id.map(|id| String::from_utf8_lossy(id).into_owned());
            live.status = sampled.status;
            live.response = final_response(session).map(|response| Head::response(pairs(&response.headers)));
            live.bytes = session.body_bytes_sent() as u64;
            live.tries = tries(live, ctx);
            live.timings = timings(ctx, took);
        });
    }
}

impl Context {
    /// Copies a request's head as it goes to a node.
    pub(super) fn live_sent(&mut self, request: &RequestHeader) {
        if let Some(live) = &mut self.live {
            live.sent = Some(Head::request(request.method.as_str(), request.raw_path(), pairs(&request.headers)));
        }
    }

    /// Notes why the present try failed.
    pub(super) fn live_failed(&mut self, error: &Error) {
        if let Some(live) = &mut self.live {
            live.failed(self.attempts.len(), error.etype().as_str());
        }
    }
}

/// With names as the client wrote them.
fn as_received(request: &RequestHeader) -> Head {
    let (method, target) = (request.method.as_str(), request.raw_path());
    if !request.has_case() {
        return Head::request(method, target, pairs(&request.headers));
    }
    // The names are made for it, and have to live as long as it is read.
    let named: Vec<_> = request.case_header_iter().map(|(name, value)| (name.as_slice().to_vec(), value)).collect();
    Head::request(method, target, named.iter().map(|(name, value)| (name.as_slice(), value.as_bytes())))
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

fn tries(live: &LiveRequest, ctx: &Context) -> Vec<LiveTry> {
    let Some(upstream) = &ctx.upstream else { return Vec::new() };
    let one = |(number, attempt): (usize, &super::context::Attempt)| LiveTry {
        node: upstream.nodes()[attempt.node].label().to_owned(),
        status: attempt.status,
        error: live.error(number + 1).filter(|_| attempt.status.is_none()),
        time_ms: millis(attempt.time.unwrap_or_default()),
    };
    ctx.attempts.iter().enumerate().map(one).collect()
}

fn timings(ctx: &Context, took: Duration) -> Timings {
    let answered = ctx.attempts.last().filter(|attempt| attempt.status.is_some());
    let first_byte = answered.map(|last| {
        let before = last.started.saturating_duration_since(ctx.started);
        millis(before + last.time.unwrap_or_default())
    });
    let upstream = ctx.attempts.iter().filter_map(|attempt| attempt.time).sum();
    Timings { total_ms: millis(took), first_byte_ms: first_byte, upstream_ms: millis(upstream) }
}

/// To the microsecond.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
