//! A request's place in a trace: what nodes are told of it, and what is recorded when it ends.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Version, header};
use pingora::{Error, ErrorType};
use pingora_proxy::Session;
use ws_cloud_plugin_sdk::RequestHead as _;
use ws_cloud_plugin_sdk::trace_context::{TRACEPARENT, TRACESTATE};

use super::context::Context;
use super::record::{host_of, path_of};
use super::retry::is_timeout;
use super::{Proxy, head};
use crate::telemetry::tracing::{Exchange, Trace, TriedNode, text};

/// Tells a node that the `n`th try is its parent. After the plugins: one may have begun the trace.
pub(super) fn pass_on(trace: &mut Trace, n: usize, head: &mut head::Request<'_>) {
    trace.settle(head.headers());
    if !trace.keeps_state() {
        // It belongs to a traceparent that was not valid, or was not there.
        head.remove_header(&TRACESTATE);
    }
    if let Some(value) = trace.traceparent(n) {
        head.insert_header(TRACEPARENT, value);
    }
}

impl Proxy {
    /// Hands the request over to be exported, if it is recorded.
    #[cold]
    pub(super) fn trace(&self, session: &Session, ctx: &mut Context, status: Option<u16>, duration: Duration) {
        let Some(tracer) = &self.options.tracer else { return };
        let Some(mut trace) = ctx.trace.take().filter(Trace::is_recorded) else { return };
        let request = session.req_header();
        trace.settle(&request.headers);
        tracer.finish(Exchange {
            trace,
            ended: SystemTime::now(),
            time: duration,
            method: request.method.clone(),
            path: text(path_of(request)),
            scheme: if session.digest().is_some_and(|digest| digest.ssl_digest.is_some()) { "https" } else { "http" },
            host: host_of(request).map(|host| text(host.as_bytes())),
            version: match request.version {
                Version::HTTP_10 => "1.0",
                Version::HTTP_2 => "2",
                _ => "1.1",
            },
            user_agent: request.headers.get(header::USER_AGENT).map(|value| text(value.as_bytes())),
            client: ctx.client_ip,
            route: ctx.route.as_ref().map(|route| Arc::clone(&route.info)),
            status,
            tries: tries(ctx, duration),
        });
    }
}

fn tries(ctx: &Context, duration: Duration) -> Vec<TriedNode> {
    let Some(upstream) = &ctx.upstream else { return Vec::new() };
    let path = ctx.state.as_ref().map_or("/", |state| state.path());
    let path: Arc<str> = text(path.as_bytes()).into();
    let last = ctx.attempts.len().saturating_sub(1);
    let tries = ctx.attempts.iter().enumerate().map(|(n, attempt)| {
        let node = &upstream.nodes()[attempt.node];
        let after = attempt.started.saturating_duration_since(ctx.started);
        let rest = duration.saturating_sub(after);
        TriedNode {
            name: node.label().to_owned(),
            address: node.address,
            path: Arc::clone(&path),
            scheme: if node.peers.http().is_tls() { "https" } else { "http" },
            after,
            // That of an answer that is passed on is known to its header; the try goes on to its end.
            time: attempt.time.filter(|_| n < last || attempt.status.is_none()).unwrap_or(rest),
            status: attempt.status,
            error: attempt.error.or(attempt.status.is_none().then_some("cancelled")),
        }
    });
    tries.collect()
}

/// Why there was no answer, in one of a few words.
pub(super) fn error_name(error: &Error) -> &'static str {
    match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => "connect_timeout",
        ErrorType::ConnectRefused => "connection_refused",
        ErrorType::ConnectNoRoute => "no_route",
        ErrorType::InvalidCert => "invalid_certificate",
        ErrorType::TLSHandshakeFailure | ErrorType::TLSWantX509Lookup => "tls_handshake",
        ErrorType::ConnectError | ErrorType::ConnectProxyFailure | ErrorType::SocketError => "connect_error",
        ErrorType::InvalidHTTPHeader | ErrorType::H1Error | ErrorType::H2Error | ErrorType::InvalidH2 => {
            "protocol_error"
        }
        ErrorType::ConnectionClosed => "connection_closed",
        _ if is_timeout(error) => "timeout",
        _ => "connection_broken",
    }
}
