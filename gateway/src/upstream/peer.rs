//! Prebuilt Pingora peers of a node, one for each way to speak to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::connectors::L4Connect;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};

use super::gate::GatedConnector;

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
        }
    }
}

/// A node's peers. Pingora's pool tells connections apart by address and group key, not by
/// protocol or connector, so each way to speak has a group key of its own.
#[derive(Debug, Clone)]
pub struct Peers {
    /// HTTP/1.1.
    pub http: HttpPeer,
    /// HTTP/2 in clear text by prior knowledge.
    pub grpc: HttpPeer,
    /// HTTP/1.1 that becomes a WebSocket.
    pub websocket: HttpPeer,
}

const HTTP: u64 = 1;
const GRPC: u64 = 2;
const WEBSOCKET: u64 = 3;

impl Peers {
    /// The peers of a node.
    pub fn new(address: SocketAddr, options: &PeerOptions) -> Self {
        let mut http = HttpPeer::new(address, false, String::new());
        http.group_key = HTTP;
        http.options.connection_timeout = Some(options.connect);
        http.options.total_connection_timeout = Some(options.connect);
        http.options.read_timeout = Some(options.read);
        http.options.write_timeout = Some(options.send);
        http.options.idle_timeout = Some(options.idle);

        // Only a WebSocket handshake is an upgrade; see `websocket` below.
        http.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();

        let mut grpc = http.clone();
        grpc.group_key = GRPC;
        grpc.options.set_http_version(2, 2);
        grpc.options.max_h2_streams = options.h2_max_streams;
        grpc.options.h2_ping_interval = Some(options.h2_ping_interval);
        // A stream may be silent for as long as it likes; a dead node is found by pings.
        grpc.options.read_timeout = None;

        let mut websocket = http.clone();
        websocket.group_key = WEBSOCKET;
        websocket.options.read_timeout = None;
        websocket.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::default();
        websocket.options.custom_l4 = Some(gated());
        Self { http, grpc, websocket }
    }
}

fn gated() -> Arc<dyn L4Connect + Send + Sync> {
    Arc::new(GatedConnector)
}
