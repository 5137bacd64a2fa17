//! Accepted connections: which protocol they speak, and their requests one after the other.
//!
//! Stands in for Pingora's own loop so that a connection is guarded before its first byte is read.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::protocols::{ALPN, Stream};
use pingora::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use super::arrival::{Arrivals, ConnectionOptions, ProxyHeaders};
use super::connection::{Connection, Guarded, HeaderLimits};
use super::handshake::{Handshakes, Tls};
use super::idle::Idle;
use super::limits::ConnectionLimits;
use super::overload::Overload;
use super::record::Unread;
use super::{Proxy, http2};
use crate::request::forwarded::TrustedProxies;
use crate::telemetry::{AccessLog, Metrics};

/// Small DATA frames that may be waiting on a connection, in bytes of overhead. The default of the
/// h2 crate ends legitimate gRPC streams of small messages (trap T16).
const H2_DATA_FRAME_BUDGET: usize = 4 << 20;
const H2_CONNECTION_WINDOW: u32 = 1 << 20;
const H2_STREAM_WINDOW: u32 = 256 << 10;
/// Of each stream: a client may have a hundred and read none. The h2 crate's own is 400 KiB.
const H2_SEND_BUFFER: usize = 64 << 10;

/// What the edge needs to know of the configuration.
#[derive(Debug, Clone)]
pub struct EdgeOptions {
    /// Time for a request header.
    pub header_timeout: Duration,
    /// Largest request header.
    pub max_header_size: usize,
    /// Longest silence within a request body.
    pub body_timeout: Duration,
    /// Longest wait for a client to take bytes.
    pub send_timeout: Duration,
    /// How long an idle HTTP/1.1 connection is kept; whole seconds, 0 = not at all.
    pub keepalive_timeout: Duration,
    /// How long an idle HTTP/2 connection is kept.
    pub h2_idle_timeout: Duration,
    /// Most streams on an HTTP/2 connection.
    pub h2_max_streams: u32,
    /// The ports on which HTTP/2 by prior knowledge is spoken.
    pub h2c_ports: HashSet<u16>,
    /// All ports there are.
    pub ports: HashSet<u16>,
    /// How many connections there may be.
    pub connections: ConnectionOptions,
    /// Most requests on a connection; 0 = no limit.
    pub max_requests_per_connection: u32,
    /// Which connections begin with a PROXY header.
    pub proxy_headers: ProxyHeaders,
    /// Whose connections are not counted by address.
    pub trusted_proxies: TrustedProxies,
    /// The ports on which TLS is spoken.
    pub tls_ports: HashSet<u16>,
    /// The `Server` header.
    pub server_header: String,
}

/// The application behind the data plane's listeners.
pub struct Edge {
    proxy: Arc<HttpProxy<Proxy>>,
    arrivals: Arrivals,
    limits: Arc<HeaderLimits>,
    options: EdgeOptions,
    handshakes: Handshakes,
    metrics: Arc<Metrics>,
}

impl Edge {
    /// An edge in front of this proxy.
    pub fn new(
        mut proxy: HttpProxy<Proxy>,
        options: EdgeOptions,
        handshakes: Handshakes,
        overload: Arc<Overload>,
        metrics: Arc<Metrics>,
        access: Arc<AccessLog>,
    ) -> Self {
        let mut server = HttpServerOptions::default();
        // Only connections found to speak HTTP/2 are handed to Pingora's own loop.
        server.h2c = true;
        server.h2_idle_timeout = Some(options.h2_idle_timeout);
        // So that it is our callback that refuses CONNECT, in our words.
        server.allow_connect_method_proxying = true;
        proxy.server_options = Some(server);

        let mut h2 = default_h2_options();
        h2.max_concurrent_streams(options.h2_max_streams);
        h2.max_header_list_size(u32::try_from(options.max_header_size).unwrap_or(u32::MAX));
        h2.initial_connection_window_size(H2_CONNECTION_WINDOW);
        h2.initial_window_size(H2_STREAM_WINDOW);
        h2.data_frame_budget(H2_DATA_FRAME_BUDGET);
        h2.max_send_buffer_size(H2_SEND_BUFFER);
        proxy.h2_options = Some(h2);

        let unread = Unread { access, metrics: metrics.route("none", "") };
        let limits = HeaderLimits::new(options.header_timeout, options.max_header_size, &options.server_header, unread);
        let ConnectionOptions { max_total, max_per_listener, max_per_ip } = options.connections;
        let arrivals = Arrivals {
            limits: ConnectionLimits::new(max_total, max_per_listener, max_per_ip, options.ports.iter().copied()),
            proxy_headers: options.proxy_headers.clone(),
            trusted_proxies: options.trusted_proxies.clone(),
            header_timeout: options.header_timeout,
            overload,
            metrics: Arc::clone(&metrics),
        };
        Self { proxy: Arc::new(proxy), arrivals, limits: Arc::new(limits), options, handshakes, metrics }
    }

    fn session(&self, stream: Stream, settings: Option<HttpPersistentSettings>) -> ServerSession {
        let mut session = ServerSession::new_http1(stream);
        session.set_read_timeout(Some(self.options.body_timeout));
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
        // Otherwise a request that comes early makes Pingora fail the one before it.
        session.set_pipelining_enabled(true);
        session
    }

    async fn http1(&self, mut stream: Guarded, connection: &Connection, shutdown: &ShutdownWatch) {
        stream.limit_sending(self.options.send_timeout);
        let mut stream: Stream = Box::new(stream);
        let Ok(begun) = Idle::first(&mut stream).await else { return stream.shutdown().await };
        let mut session = self.session(stream, None);
        session.set_pipelined_prefix(begun);
        // Pingora reads 0 as forever; never that (trap T18).
        let keepalive = self.options.keepalive_timeout.as_secs();
        session.set_keepalive((keepalive > 0 && !*shutdown.borrow()).then_some(keepalive));
        // Pingora counts what may follow; with 0 it reads "no more".
        session.set_keepalive_reuses_remaining(self.options.max_requests_per_connection.checked_sub(1));
        let mut idle = Idle::new(self.options.keepalive_timeout);
        while let Some(kept) = self.proxy.process_new_http(session, shutdown).await {
            let (mut stream, settings) = kept.consume();
            if connection.next_request() {
                let Ok(begun) = idle.next(&mut stream).await else { return stream.shutdown().await };
                session = self.session(stream, settings);
                session.set_pipelined_prefix(begun);
            } else {
                // Pingora may hold the beginning of the next request already.
                session = self.session(stream, settings);
            }
        }
    }
}

/// Which protocol a connection may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Http1,
    /// HTTP/2 by prior knowledge, or HTTP/1.1.
    Either,
    /// HTTP/2, as negotiated by TLS.
    Http2,
}

impl Edge {
    /// TLS, on the ports where it is spoken. `None` when the handshake failed.
    async fn secured(&self, stream: Stream, port: u16) -> Option<(Stream, Option<Tls>)> {
        if self.options.tls_ports.contains(&port) {
            let (stream, tls) = self.handshakes.accept(stream).await?;
            return Some((stream, Some(tls)));
        }
        Some((stream, None))
    }

    fn speaks(&self, stream: &Stream, port: u16) -> Speaks {
        match stream.selected_alpn_proto() {
            Some(ALPN::H2) => Speaks::Http2,
            _ if self.options.h2c_ports.contains(&port) => Speaks::Either,
            _ => Speaks::Http1,
        }
    }

    async fn serve(&self, mut stream: Guarded, speaks: Speaks, connection: &Connection, shutdown: &ShutdownWatch) {
        let is_http2 = match speaks {
            Speaks::Http1 => Ok(false),
            Speaks::Either | Speaks::Http2 => stream.begins_http2().await,
        };
        match is_http2 {
            Ok(true) => {
                http2::serve(&self.proxy, stream, connection, shutdown).await;
            }
            Ok(false) if speaks == Speaks::Http2 => {
                log::debug!("{} negotiated HTTP/2 and does not speak it", connection.peer);
            }
            Ok(false) => self.http1(stream, connection, shutdown).await,
            Err(e) => log::debug!("{} left before its first request: {e}", connection.peer),
        }
    }
}

/// Without Pingora's `cleanup`, which cuts idle connections off the moment the listeners close: they
/// are told with their next response.
#[async_trait]
impl ServerApp for Edge {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _counted = self.metrics.begin_connection();
        let mut arrival = self.arrivals.admit(&mut stream).await?;
        let (stream, tls) = self.secured(stream, arrival.port).await?;
        arrival.connection.tls = tls;
        let speaks = self.speaks(&stream, arrival.port);
        let connection = Arc::new(arrival.connection);
        let stream = Guarded::new(stream, Arc::clone(&connection), Arc::clone(&self.limits)).ok()?;
        self.serve(stream, speaks, &connection, shutdown).await;
        None
    }
}
