//! The data plane: Pingora's callbacks in the order they run, each naming what happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use crate::pipeline::Panicked;
use crate::request::forwarded::TrustedProxies;
use crate::request::framing::Underscores;
use crate::request::path::PathRules;
use crate::snapshot::Handle;
use crate::telemetry::tracing::Tracer;
use crate::telemetry::{AccessLog, Metrics, RouteMetrics};
use crate::tls::Files;
use crate::upstream::is_untrusted;

mod admit;
mod answer;
mod arrival;
mod body;
mod connection;
mod context;
mod edge;
mod handshake;
mod head;
mod http2;
mod idle;
mod limits;
mod live;
mod node;
mod overload;
mod proxy_protocol;
mod record;
mod retry;
mod time;
mod trace;
mod upstream_request;

pub use arrival::{ConnectionOptions, ProxyHeaders};
pub use context::Context;
pub use edge::{Edge, EdgeOptions};
pub use handshake::Handshakes;
pub use overload::Overload;

/// What the proxy needs to know of the configuration file.
#[derive(Debug)]
pub struct ProxyOptions {
    /// How paths are read.
    pub rules: PathRules,
    /// Whose X-Forwarded-* is believed.
    pub trusted_proxies: TrustedProxies,
    /// What becomes of headers whose names have an underscore.
    pub underscores: Underscores,
    /// Fewest bytes a second of a request body; 0 = any number.
    pub min_body_rate: u64,
    /// Most requests on a connection; 0 = no limit.
    pub max_requests_per_connection: u32,
    /// Largest request body; 0 = no limit.
    pub max_body_size: u64,
    /// The `Server` header of every response.
    pub server_header: HeaderValue,
    /// Longest wait for a client to take response bytes.
    pub send_timeout: Duration,
    /// Where `/admin` and `/dashboard` go when they are answered here too.
    pub internal: Option<Internal>,
    /// Certificates from files.
    pub certificates: Arc<Files>,
    /// Records traces, when that is wished.
    pub tracer: Option<Arc<Tracer>>,
}

/// The admin on the data ports, as an opaque peer.
#[derive(Debug)]
pub struct Internal {
    /// Its own socket.
    pub peer: HttpPeer,
    /// Who may reach it.
    pub allow: TrustedProxies,
}

/// The data plane.
pub struct Proxy {
    options: ProxyOptions,
    snapshot: Arc<Handle>,
    metrics: Arc<Metrics>,
    access: Arc<AccessLog>,
    draining: Arc<AtomicBool>,
    overload: Arc<Overload>,
    /// Numbers connections to nodes that no other request may use.
    own_keys: AtomicU64,
    /// Counters of requests without a route.
    unrouted: Arc<RouteMetrics>,
}

impl Proxy {
    /// A proxy that serves what the handle holds. While `draining`, responses close their
    /// connections.
    pub fn new(
        options: ProxyOptions,
        snapshot: Arc<Handle>,
        metrics: Arc<Metrics>,
        access: Arc<AccessLog>,
        draining: Arc<AtomicBool>,
        overload: Arc<Overload>,
    ) -> Self {
        let unrouted = metrics.route("none", "");
        Self { options, snapshot, metrics, access, draining, overload, own_keys: AtomicU64::new(1), unrouted }
    }

    /// Counts and logs a plugin's panic, and makes the error that ends the request with 500.
    fn panicked(&self, panic: &Panicked) -> Box<Error> {
        self.metrics.plugin_panics(panic.plugin).fetch_add(1, Ordering::Relaxed);
        self.metrics.events.tell_some(
            panic.plugin,
            "plugin_panic",
            || serde_json::json!({"plugin": panic.plugin, "reason": panic.to_string()}),
        );
        log::error!("{panic}");
        answer::error(answer::INTERNAL)
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    /// Boxed: Pingora moves it through several futures, and each copies what it is given.
    type CTX = Box<Context>;

    fn new_ctx(&self) -> Box<Context> {
        Box::new(Context::new(self.metrics.begin_request()))
    }

    /// None: each module costs every request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Box<Context>) -> pingora::Result<bool> {
        if self.draining.load(Ordering::Relaxed) || self.overload.closes_connections() {
            session.set_keepalive(None);
        }
        if session.is_http2() {
            // Those of HTTP/1.1 get it from the edge.
            session.set_write_timeout(Some(self.options.send_timeout));
        }
        match self.admit(session, ctx).await? {
            admit::Admission::Proxy => Ok(false),
            admit::Admission::Refuse(refusal) => self.refuse(session, ctx, refusal).await.map(|()| true),
            admit::Admission::Answer(response) => self.answer(session, ctx, *response).await.map(|()| true),
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Box<Context>) -> pingora::Result<Box<HttpPeer>> {
        self.next_peer(session, ctx).await
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, ctx: &mut Box<Context>, error: Box<Error>) -> Box<Error> {
        self.connect_failed(ctx, error)
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        ctx: &mut Box<Context>,
    ) -> pingora::Result<()> {
        if digest.is_some_and(is_untrusted) {
            let reason = "the certificate is not for the node's address";
            return Err(Error::explain(ErrorType::InvalidCert, reason).into_up());
        }
        ctx.limit_connection(digest);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Box<Context>,
    ) -> pingora::Result<()> {
        self.prepare(session, request, ctx)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Box<Context>,
    ) -> pingora::Result<()> {
        self.request_body(session, ctx, body, end_of_stream)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Box<Context>,
    ) -> pingora::Result<()> {
        self.upstream_answered(session, ctx, response.status.as_u16())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Box<Context>,
    ) -> pingora::Result<()> {
        if session.req_header().version == Version::HTTP_10 {
            // An HTTP/1.0 client knows no chunks; its response ends with the connection.
            response.remove_header(&header::TRANSFER_ENCODING);
        }
        // 100 and 103 announce a response; only 101 is one.
        if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        if self.draining.load(Ordering::Relaxed) && response.status != StatusCode::SWITCHING_PROTOCOLS {
            // It may have begun while the request was in flight.
            session.set_keepalive(None);
        }
        let had_length = response.headers.contains_key(header::CONTENT_LENGTH);
        self.finish_head(ctx, response)?;
        let is_http11 = session.req_header().version == Version::HTTP_11;
        if is_http11 && had_length && !response.headers.contains_key(header::CONTENT_LENGTH) {
            // A plugin that changes the body has taken its length away.
            response.insert_header(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Box<Context>,
    ) -> pingora::Result<Option<Duration>> {
        self.response_body(session, ctx, body, end_of_stream).map(|()| None)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Box<Context>,
        reused: bool,
    ) -> Box<Error> {
        self.exchange_failed(peer, session, ctx, error, reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Box<Context>) -> FailToProxy {
        let status = self.fail(session, ctx, error).await;
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Box<Context>) {
        self.record(session, ctx, error);
    }

    /// The access log has every request, and `Proxy::record` tells the error log what matters.
    fn suppress_error_log(&self, _: &Session, _: &Box<Context>, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Box<Context>, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }
}

/// Whether a method may be sent again when it is unknown what became of it: RFC 9110 section 9.2.2.
fn is_repeatable(method: &Method) -> bool {
    method.is_idempotent()
}

/// The response that was sent to the client, if one was: an interim one (100, 103) is none.
fn final_response(session: &Session) -> Option<&ResponseHeader> {
    let is_final = |r: &&ResponseHeader| !r.status.is_informational() || r.status == StatusCode::SWITCHING_PROTOCOLS;
    session.response_written().filter(is_final)
}

/// Whether it was the client who went away.
fn is_clients(error: &Error) -> bool {
    matches!(error.esource(), ErrorSource::Downstream) && !matches!(error.etype(), ErrorType::HTTPStatus(_))
}
