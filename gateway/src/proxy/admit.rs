//! From a complete request header to a route whose plugins let the request pass.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::{Method, header};
use pingora::http::RequestHeader;
use pingora_proxy::Session;
use ws_cloud_plugin_sdk::{Flow, RequestCtx, RequestState, Response};

use super::answer::{self, Refusal};
use super::connection::Connection;
use super::context::{Context, Kind};
use super::handshake::Tls;
use super::{Proxy, head};
use crate::request::path::{normalise, of_target};
use crate::request::{forwarded, framing, host, internal, websocket};
use crate::resource::Protocol;
use crate::router::Lookup;
use crate::snapshot::{CompiledRoute, Snapshot, Target};
use crate::tls::Found;

/// What becomes of a request.
pub(super) enum Admission {
    Proxy,
    Refuse(Refusal),
    Answer(Box<Response>),
}

impl Proxy {
    pub(super) async fn admit(&self, session: &mut Session, ctx: &mut Context) -> pingora::Result<Admission> {
        if self.metrics.tap.is_on() {
            self.begin_live(session, ctx);
        }
        if let Err(refusal) = self.find_route(session, ctx) {
            return Ok(Admission::Refuse(refusal));
        }
        let (Some(route), Some(state)) = (&ctx.route, &mut ctx.state) else { return Ok(Admission::Proxy) };
        let mut head = head::Request::new(session.req_header_mut());
        let mut request = RequestCtx::new(&mut head, state);
        let flow = if route.pipeline.waits {
            route.pipeline.request_filter_async(&mut request).await
        } else {
            route.pipeline.request_filter(&mut request)
        };
        match flow.map_err(|panic| self.panicked(&panic))? {
            Flow::Continue => Ok(Admission::Proxy),
            Flow::Respond(response) => Ok(Admission::Answer(response)),
        }
    }

    fn find_route(&self, session: &mut Session, ctx: &mut Context) -> Result<(), Refusal> {
        let connection = Arc::clone(Connection::of(session).ok_or(answer::INTERNAL)?);
        connection.header_complete();
        if connection.is_last(self.options.max_requests_per_connection) || self.overload.closes_connections() {
            connection.retire();
        }
        let peer = connection.peer.ip();
        ctx.connection = Some(Arc::clone(&connection));

        let request = session.req_header();
        let authority = request.uri.authority().map(|a| a.as_str());
        let checked = framing::check(request.version, &request.headers, authority, self.options.underscores);
        if checked.map_err(|e| malformed(&e))? {
            leave_out_underscored(session.req_header_mut());
        }
        head::forget_case(session.req_header_mut());
        let request = session.req_header();
        let is_chunked = request.headers.contains_key(header::TRANSFER_ENCODING);
        if is_chunked && has_length(session) {
            return Err(malformed(&framing::FramingError::ContentLengthAndTransferEncoding));
        }
        if is_chunked {
            // Pingora is lenient with chunks: what is read behind them is nobody's request.
            session.set_pipelining_enabled(false);
        }
        let request = session.req_header();
        let authority = request.uri.authority().map(|a| a.as_str());
        if request.method == Method::CONNECT {
            return Err(answer::NO_CONNECT);
        }
        let host = request.headers.get(header::HOST).and_then(|v| v.to_str().ok()).or(authority).unwrap_or_default();
        let host = host::normalise(host);
        let snapshot = self.snapshot.load();
        let tls = connection.tls.as_ref();
        if tls.is_some_and(|tls| self.is_misdirected(tls, &host, &snapshot)) {
            return Err(answer::MISDIRECTED);
        }
        let path = normalise(of_target(request.raw_path()), &self.options.rules).map_err(|e| malformed(&e))?;
        if self.options.internal.is_some() && internal::is_internal(&path) {
            ctx.client_ip = Some(self.client_ip(peer, request));
            return self.admit_internal(ctx, &connection);
        }
        ctx.trace = self.options.tracer.as_ref().and_then(|tracer| tracer.begin(&request.headers));
        ctx.share = self.overload.begin().map_err(|reason| {
            self.metrics.edge.shed(reason);
            answer::OVERLOADED
        })?;
        let query = request.uri.query();
        let lookup = Lookup { path: &path, host: &host, method: &request.method, headers: &request.headers, query };
        let found = snapshot.find_unambiguous(&lookup).map_err(|e| malformed(&e))?;
        let route = Arc::clone(found.filter(|route| !route.is_void()).ok_or(answer::NO_ROUTE)?);
        if let Target::Upstream(upstream) = snapshot.target(&route) {
            upstream.memory.budget.request();
            ctx.upstream = Some(Arc::clone(upstream));
        }
        ctx.limit_time(&route);
        let broken = route.is_broken() || matches!(snapshot.target(&route), Target::Broken);
        drop(snapshot);

        ctx.client_xff = request.headers.get("x-forwarded-for").cloned();
        if ctx.client_xff.is_some() && forwarded::goes_in_circles(forwarded_for(request)) {
            return Err(answer::LOOP);
        }
        let client_ip = self.client_ip(peer, request);
        ctx.client_ip = Some(client_ip);
        // The upstream gets the origin form, of the very path that was matched.
        ctx.path_was_normal = matches!(path, Cow::Borrowed(_)) && request.raw_path().first() == Some(&b'/');
        let mut state =
            RequestState::new(Arc::clone(&route.info), client_ip, path.into_owned(), query.map(str::to_owned));
        state.tls = tls.map(|tls| Arc::clone(&tls.info));
        ctx.state = Some(state);
        ctx.kind = kind(session, &route);
        // A stream of messages has no size that could be too large, unless its route says so.
        let limit = if ctx.kind == Kind::Http { self.options.max_body_size } else { 0 };
        ctx.body_limit = route.options.max_body_size.unwrap_or(limit);
        ctx.route = Some(route);
        if broken {
            return Err(answer::BROKEN_ROUTE);
        }
        self.check_carriage(session, ctx)
    }

    /// Whether the host demands something else of clients than was demanded of this one. Hosts that
    /// demand the same may share a connection.
    fn is_misdirected(&self, tls: &Tls, host: &str, snapshot: &Snapshot) -> bool {
        let files = &self.options.certificates;
        let listeners = files.settings().policy.load();
        let stored = &snapshot.certificates;
        let in_files = files.load();
        let nobody_is_asked = tls.policy.is_open() && listeners.is_open();
        if nobody_is_asked && !stored.has_policies() && !in_files.has_policies() {
            return false;
        }
        match stored.find_in_both(&in_files, Some(host)) {
            Some(Found::Entry(entry)) => *entry.secure().policy != *tls.policy,
            Some(Found::Closed(_)) => true,
            None => **listeners != *tls.policy,
        }
    }

    fn client_ip(&self, peer: IpAddr, request: &RequestHeader) -> IpAddr {
        if self.options.trusted_proxies.is_empty() {
            return peer.to_canonical();
        }
        forwarded::client_ip(peer, forwarded_for(request), &self.options.trusted_proxies)
    }

    /// What can be said of body and protocol before a node is asked.
    fn check_carriage(&self, session: &Session, ctx: &Context) -> Result<(), Refusal> {
        // HTTP/1.1 trailers are lost on the way, and with them a gRPC status (trap T14).
        if !session.is_http2() && (ctx.kind == Kind::Grpc || answer::is_grpc_request(session)) {
            return Err(answer::GRPC_NEEDS_HTTP2);
        }
        let length = session.req_header().headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
        if ctx.body_limit > 0 && length.is_some_and(|length| length > ctx.body_limit) {
            return Err(answer::BODY_TOO_LARGE);
        }
        Ok(())
    }

    fn admit_internal(&self, ctx: &mut Context, connection: &Connection) -> Result<(), Refusal> {
        let internal = self.options.internal.as_ref().ok_or(answer::NO_ROUTE)?;
        // A trusted proxy vouches for its client; it does not lend it its own rights.
        let allowed = |ip| internal.allow.contains(ip);
        if !connection.all_pass(allowed) || !ctx.client_ip.is_some_and(allowed) {
            return Err(answer::FORBIDDEN);
        }
        ctx.kind = Kind::Internal;
        Ok(())
    }
}

fn forwarded_for(request: &RequestHeader) -> impl DoubleEndedIterator<Item = &[u8]> {
    request.headers.get_all("x-forwarded-for").iter().map(|value| value.as_bytes())
}

fn leave_out_underscored(request: &mut RequestHeader) {
    for name in framing::underscored(&request.headers) {
        request.remove_header(&name);
    }
}

/// Pingora takes the Content-Length out of a request that has a Transfer-Encoding too, before anyone
/// can see it; only the raw header still tells.
fn has_length(session: &Session) -> bool {
    const NAME: &[u8] = b"\ncontent-length";
    let raw = session.as_http1().map(|http1| http1.get_headers_raw_bytes()).unwrap_or_default();
    raw.windows(NAME.len()).any(|window| window.eq_ignore_ascii_case(NAME))
}

fn malformed(error: &dyn std::fmt::Display) -> Refusal {
    log::debug!("malformed request: {error}");
    Refusal::closing(400, "malformed request\n")
}

fn kind(session: &Session, route: &CompiledRoute) -> Kind {
    match route.protocol {
        Protocol::Grpc => Kind::Grpc,
        Protocol::Http if is_websocket(session) => Kind::WebSocket,
        Protocol::Http => Kind::Http,
    }
}

fn is_websocket(session: &Session) -> bool {
    let request = session.req_header();
    session.is_upgrade_req() && websocket::is_handshake(&request.method, &request.headers)
}
