//! The end of a request: counters, access log, plugins' logging.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{StatusCode, Version, header};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorSource};
use pingora_proxy::Session;
use ws_cloud_plugin_sdk::Outcome;

use super::connection::Connection;
use super::context::{Context, Kind};
use super::{Proxy, final_response, is_clients};
use crate::request::host;
use crate::telemetry::{AccessLog, AccessRecord, RouteMetrics, Try};

/// What nginx logs when the client left before a response was sent.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Tells of requests whose header could not be read. Nothing is known of them but whose they were.
pub(super) struct Unread {
    pub(super) access: Arc<AccessLog>,
    pub(super) metrics: Arc<RouteMetrics>,
}

impl Unread {
    pub(super) fn record(&self, connection: &Connection, status: u16, time: Duration) {
        self.metrics.observe(Some(status), time);
        if self.access.is_on() {
            self.access.record(&AccessRecord {
                status: Some(status),
                client: connection.peer_value.to_str().ok(),
                response_time: time,
                ..AccessRecord::default()
            });
        }
    }
}

impl Proxy {
    pub(super) fn record(&self, session: &mut Session, ctx: &mut Context, error: Option<&Error>) {
        note_length(session, ctx);
        if ctx.kind == Kind::Internal {
            return;
        }
        if error.is_some_and(|error| !matches!(error.esource(), ErrorSource::Upstream)) {
            ctx.attempt_abandoned();
        }
        ctx.attempt_ended(None);
        ctx.node_in_flight = None;
        let status = final_response(session).map(|response| response.status.as_u16());
        let status = match status {
            // A gRPC answer of our own is 200 on the wire; it counts as what it says.
            Some(200) => ctx.answered.or(status),
            None if error.is_some_and(is_clients) => Some(CLIENT_CLOSED_REQUEST),
            _ => status,
        };
        let duration = ctx.started.elapsed();
        let metrics = match &ctx.route {
            Some(route) => &route.metrics,
            None => &self.unrouted,
        };
        metrics.observe(status, duration);
        metrics.bytes.fetch_add(session.body_bytes_sent() as u64, Ordering::Relaxed);
        log::debug!(
            "{} {} -> {} after {} tries in {duration:?}",
            session.req_header().method,
            ctx.state.as_ref().map_or("-", |state| state.path()),
            status.unwrap_or_default(),
            ctx.attempts.len()
        );
        if let Some(error) = error.filter(|e| !is_clients(e)) {
            self.explain(session, ctx, status, error);
        }
        self.log_plugins(session, ctx, status, duration);
        if ctx.trace.is_some() {
            self.trace(session, ctx, status, duration);
        }
        if self.access.is_on() {
            self.log_access(session, ctx, status);
        }
        if let Some(live) = ctx.live.take() {
            self.show_live(live, session, ctx, status, duration);
        }
    }

    fn explain(&self, session: &Session, ctx: &Context, status: Option<u16>, error: &Error) {
        if status.is_some_and(|status| status < 500) {
            log::debug!("{} {error}", session.request_summary());
            return;
        }
        let route = ctx.route.as_ref().map_or("-", |route| route.info.prefix.as_str());
        let path = ctx.state.as_ref().map_or("-", |state| state.path());
        log::warn!(
            "route {route}: {} {path} ended with {} after {} tries: {error}",
            session.req_header().method,
            status.unwrap_or_default(),
            ctx.attempts.len()
        );
    }

    fn log_plugins(&self, session: &Session, ctx: &mut Context, status: Option<u16>, duration: Duration) {
        let upstream = self.answering_node(ctx);
        let (Some(route), Some(state)) = (&ctx.route, &mut ctx.state) else { return };
        if route.pipeline.is_empty() {
            return;
        }
        let outcome = Outcome {
            status: status.and_then(|status| StatusCode::from_u16(status).ok()),
            body_bytes: session.body_bytes_sent() as u64,
            duration,
            upstream,
        };
        for panic in route.pipeline.logging(state, &outcome) {
            self.panicked(&panic);
        }
    }

    fn answering_node(&self, ctx: &Context) -> Option<SocketAddr> {
        let attempt = ctx.attempts.last().filter(|attempt| attempt.status.is_some())?;
        Some(ctx.upstream.as_ref()?.nodes()[attempt.node].address)
    }

    fn log_access(&self, session: &Session, ctx: &Context, status: Option<u16>) {
        let request = session.req_header();
        let header = |name: header::HeaderName| request.headers.get(name).map(|v| v.as_bytes());
        let host = host_of(request).map(host::normalise);
        let mut tries = [Try::default(); crate::upstream::MAX_TRIES];
        let mut count = 0;
        if let Some(upstream) = &ctx.upstream {
            for (slot, attempt) in tries.iter_mut().zip(&ctx.attempts) {
                let node = &upstream.nodes()[attempt.node];
                *slot = Try { upstream: node.label(), status: attempt.status, time: attempt.time };
                count += 1;
            }
        }
        let origin = path_of(request);
        let state = ctx.state.as_ref();
        let client = ctx.connection.as_ref().and_then(|c| c.peer_value.to_str().ok());
        let client_text = ctx.client_ip.filter(|_| !self.options.trusted_proxies.is_empty()).map(|ip| ip.to_string());
        self.access.record(&AccessRecord {
            domain: host.as_deref().map(str::as_bytes),
            method: Some(request.method.as_str()),
            cache_status: None,
            uri: state.map(|state| state.path().as_bytes()).or(Some(origin)),
            origin_uri: Some(origin),
            querystring: request.uri.query().map(str::as_bytes),
            protocol: Some(protocol(request.version)),
            status,
            bytes: session.body_bytes_sent() as u64,
            referer: header(header::REFERER),
            useragent: header(header::USER_AGENT),
            xff: ctx.client_xff.as_ref().map(|v| v.as_bytes()),
            client: client_text.as_deref().or(client),
            tries: &tries[..count],
            trace_id: state.and_then(|state| state.trace_id.as_ref()).map(|v| v.as_bytes()),
            response_time: ctx.started.elapsed(),
            service: ctx.route.as_ref().map(|route| route.info.service.as_str()).filter(|s| !s.is_empty()),
        });
    }
}

/// Tells the connection which of the bytes that were read were this request's.
fn note_length(session: &Session, ctx: &Context) {
    let (Some(connection), Some(http1)) = (&ctx.connection, session.as_http1()) else { return };
    if !http1.pipelining_enabled() {
        // If the connection is kept, nothing was read behind the request.
        return connection.request_had_all();
    }
    let header = http1.get_headers_raw_bytes();
    // Of a request read behind another Pingora may have escaped the target: its length is not known.
    if !(connection.pipelines() && header.contains(&b'%')) {
        connection.request_had((header.len() + session.body_bytes_read()) as u64);
    }
}

/// The host asked for, as it was written.
pub(super) fn host_of(request: &RequestHeader) -> Option<&str> {
    let host = request.headers.get(header::HOST).and_then(|v| v.to_str().ok());
    host.or_else(|| request.uri.authority().map(|a| a.as_str()))
}

/// The path as the client sent it.
pub(super) fn path_of(request: &RequestHeader) -> &[u8] {
    let target = request.raw_path();
    target.iter().position(|b| *b == b'?').map_or(target, |query| &target[..query])
}

pub(super) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}
