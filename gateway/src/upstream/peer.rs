//! Prebuilt Pingora peers of a node, one for each way to speak to it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pingora::connectors::L4Connect;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};

use sha2::{Digest as _, Sha256};

use super::gate::GatedConnector;
use super::proxy_protocol::ProxyVersion;
use super::tls::NodeTls;
use crate::resource::Timeouts;

/// What nodes speak. gRPC always goes by HTTP/2, WebSockets by HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NodeProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by prior knowledge in clear text, by ALPN with TLS.
    Http2,
    /// With TLS what ALPN finds; HTTP/1.1 without.
    Auto,
}

/// How a service's nodes are reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    protocol: NodeProtocol,
    tls: Option<Arc<NodeTls>>,
    proxy_protocol: Option<ProxyVersion>,
    /// Of all of it, and of the service.
    group: u64,
}

impl Reach {
    /// How the nodes of this service are reached.
    pub fn new(
        service: &str,
        protocol: NodeProtocol,
        tls: Option<Arc<NodeTls>>,
        proxy_protocol: Option<ProxyVersion>,
    ) -> Self {
        let mut hash = Sha256::new();
        hash.update(service);
        hash.update([0, protocol as u8, proxy_protocol.map_or(0, |version| version as u8 + 1)]);
        hash.update(tls.as_ref().map_or([0; 32], |tls| tls.digest));
        let [a, b, c, d, e, f, g, ..]: [u8; 32] = hash.finalize().into();
        Self { protocol, tls, proxy_protocol, group: u64::from_be_bytes([a, b, c, d, e, f, g, 0]) }
    }

    /// The PROXY protocol's header that nodes expect.
    pub fn proxy_protocol(&self) -> Option<ProxyVersion> {
        self.proxy_protocol
    }
}

/// What peers are built from. Equal options make equal peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerOptions {
    /// Time to connect.
    pub connect: Duration,
    /// Longest silence while a response is read.
    pub read: Duration,
    /// Longest wait for the node to take request bytes.
    pub send: Duration,
    /// How long an idle connection is kept.
    pub idle: Duration,
    /// Most streams on one HTTP/2 connection.
    pub h2_max_streams: usize,
    /// How often an HTTP/2 connection in use is pinged.
    pub h2_ping_interval: Duration,
    /// Protocol and trust.
    pub reach: Reach,
}

impl Default for PeerOptions {
    /// As the configuration file's defaults.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(60),
            send: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            h2_max_streams: 100,
            h2_ping_interval: Duration::from_secs(10),
            reach: Reach::default(),
        }
    }
}

/// A node's peers. The plain one is ready; a peer is large, so the others are made when a first
/// request asks for them.
///
/// Pingora's pool tells connections apart by address, names and group key; it does not look at CAs,
/// keys, protocols or connectors. So each service and each way to speak has a group key of its own.
#[derive(Debug)]
pub struct Peers {
    address: SocketAddr,
    /// The address as logs write it.
    label: Box<str>,
    /// What the node is registered as, when not by address.
    name: Option<Box<str>>,
    options: Arc<PeerOptions>,
    http: HttpPeer,
    grpc: OnceLock<Box<HttpPeer>>,
    websocket: OnceLock<Box<HttpPeer>>,
}

/// The lowest byte of a group key.
const HTTP: u64 = 1;
const GRPC: u64 = 2;
const WEBSOCKET: u64 = 3;

impl Peers {
    /// The peers of a node, which is registered as `name` when not by address.
    pub fn new(address: SocketAddr, name: Option<&str>, options: &Arc<PeerOptions>) -> Self {
        let (grpc, websocket) = (OnceLock::new(), OnceLock::new());
        let http = http(address, name, options);
        let label = address.to_string().into();
        Self { address, label, name: name.map(Into::into), options: Arc::clone(options), http, grpc, websocket }
    }

    /// The node's address as logs write it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The name the node is registered under, when not by address.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What they are built from.
    pub fn options(&self) -> &Arc<PeerOptions> {
        &self.options
    }

    /// Whether they are those of a node of this name, built from these very options.
    pub fn are_of(&self, name: Option<&str>, options: &Arc<PeerOptions>) -> bool {
        Arc::ptr_eq(&self.options, options) && self.name.as_deref() == name
    }

    /// Plain requests.
    #[inline]
    pub fn http(&self) -> &HttpPeer {
        &self.http
    }

    /// gRPC: HTTP/2.
    pub fn grpc(&self) -> &HttpPeer {
        self.grpc.get_or_init(|| Box::new(grpc(self.address, self.name.as_deref(), &self.options)))
    }

    /// HTTP/1.1 that becomes a WebSocket.
    pub fn websocket(&self) -> &HttpPeer {
        self.websocket.get_or_init(|| Box::new(websocket(self.address, self.name.as_deref(), &self.options)))
    }
}

fn http(address: SocketAddr, name: Option<&str>, options: &PeerOptions) -> HttpPeer {
    let reach = &options.reach;
    let mut http = plain(address, name, options);
    http.group_key = reach.group | HTTP;
    // Only a WebSocket handshake is an upgrade; see `websocket` below.
    http.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    match reach.protocol {
        NodeProtocol::Http2 => speak_h2(&mut http, 2, options),
        NodeProtocol::Auto if reach.tls.is_some() => speak_h2(&mut http, 1, options),
        NodeProtocol::Http1 | NodeProtocol::Auto => {}
    }
    http
}

fn grpc(address: SocketAddr, name: Option<&str>, options: &PeerOptions) -> HttpPeer {
    let mut grpc = plain(address, name, options);
    grpc.group_key = options.reach.group | GRPC;
    grpc.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    speak_h2(&mut grpc, 2, options);
    // A stream may be silent for as long as it likes; a dead node is found by pings.
    grpc.options.read_timeout = None;
    grpc
}

fn websocket(address: SocketAddr, name: Option<&str>, options: &PeerOptions) -> HttpPeer {
    let mut websocket = plain(address, name, options);
    websocket.group_key = options.reach.group | WEBSOCKET;
    websocket.options.read_timeout = None;
    websocket.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::default();
    websocket.options.custom_l4 = Some(gated());
    websocket
}

/// What all of them have in common.
fn plain(address: SocketAddr, name: Option<&str>, options: &PeerOptions) -> HttpPeer {
    let mut plain = HttpPeer::new(address, false, String::new());
    plain.options.connection_timeout = Some(options.connect);
    plain.options.total_connection_timeout = Some(options.connect);
    plain.options.read_timeout = Some(options.read);
    plain.options.write_timeout = Some(options.send);
    plain.options.idle_timeout = Some(options.idle);
    if let Some(tls) = &options.reach.tls {
        tls.apply(&mut plain, address, name);
    }
    plain
}

fn speak_h2(peer: &mut HttpPeer, least: u8, options: &PeerOptions) {
    peer.options.set_http_version(2, least);
    peer.options.max_h2_streams = options.h2_max_streams;
    peer.options.h2_ping_interval = Some(options.h2_ping_interval);
}

fn gated() -> Arc<dyn L4Connect + Send + Sync> {
    Arc::new(GatedConnector)
}

/// Puts a route's own timeouts on a peer.
pub fn override_timeouts(peer: &mut HttpPeer, own: &Timeouts) {
    if let Some(connect) = own.connect {
        peer.options.connection_timeout = Some(connect);
        peer.options.total_connection_timeout = Some(connect);
    }
    if let Some(read) = own.read {
        // Set for this very route, it holds for streams as well.
        peer.options.read_timeout = Some(read);
    }
    if let Some(send) = own.send {
        peer.options.write_timeout = Some(send);
    }
}

/// Keeps a peer's connections out of what its pool holds already.
pub fn isolate(peer: &mut HttpPeer, number: u64) {
    peer.group_key ^= number << 8;
}
