//! Performs one probe: connects as requests of the service do, and asks.

use std::io;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use pingora::connectors::TransportConnector;
use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{HealthCheck as _, TcpHealthCheck};

use super::{Check, Probe, grpc, http};
use crate::upstream::Node;

/// Performs probes. Each has a connection of its own.
///
/// Both connectors are made when they are first needed: each reads the system's certificate
/// authorities, which takes longer than all the rest of a start.
pub struct Prober {
    connector: LazyLock<TransportConnector>,
    tcp: LazyLock<TcpHealthCheck>,
}

impl Default for Prober {
    fn default() -> Self {
        Self {
            connector: LazyLock::new(|| TransportConnector::new(None)),
            tcp: LazyLock::new(|| *TcpHealthCheck::new()),
        }
    }
}

impl Prober {
    /// Probes a node.
    ///
    /// # Errors
    /// Why the node does not pass, in a few words.
    pub async fn probe(&self, node: &Node, check: &Check) -> Result<(), Box<str>> {
        let asked = async {
            match &check.probe {
                Probe::Tcp => self.tcp(at_port(node.address, check.port)).await,
                Probe::Http(probe) => {
                    let peer = probe_peer(node.peers.http(), check);
                    let authority = authority(probe.host.as_deref(), &peer);
                    let stream = self.connector.new_stream(&peer).await.map_err(|e| reason(&e))?;
                    let scheme = if peer.is_tls() { "https" } else { "http" };
                    let negotiated = stream.selected_alpn_proto();
                    if negotiated == Some(ALPN::H2) || (!peer.is_tls() && speaks_only_http2(&peer)) {
                        http::http2(stream, scheme, &authority, probe).await
                    } else {
                        http::http1(stream, &authority, probe).await
                    }
                }
                Probe::Grpc(probe) => {
                    let peer = probe_peer(node.peers.grpc(), check);
                    let authority = authority(probe.host.as_deref(), &peer);
                    let stream = self.connector.new_stream(&peer).await.map_err(|e| reason(&e))?;
                    let scheme = if peer.is_tls() { "https" } else { "http" };
                    grpc::check(stream, scheme, &authority, probe).await
                }
            }
        };
        within(check.timeout, asked).await
    }

    /// Whether a connection to a node can be made.
    ///
    /// # Errors
    /// Why not, in a few words.
    pub async fn connects(&self, address: SocketAddr, timeout: Duration) -> Result<(), Box<str>> {
        within(timeout, self.tcp(address)).await
    }

    async fn tcp(&self, address: SocketAddr) -> Result<(), Box<str>> {
        let backend = Backend::new(&address.to_string()).map_err(|e| reason(&e))?;
        self.tcp.check(&backend).await.map_err(|e| reason(&e))
    }
}

/// The node's peer as the check reaches it.
fn probe_peer(peer: &HttpPeer, check: &Check) -> HttpPeer {
    let mut peer = peer.clone();
    if let Some(port) = check.port {
        peer._address.set_port(port);
    }
    peer.options.connection_timeout = Some(check.timeout);
    peer.options.total_connection_timeout = Some(check.timeout);
    peer
}

async fn within<T>(timeout: Duration, asked: impl Future<Output = Result<T, Box<str>>>) -> Result<T, Box<str>> {
    let late = || Err(format!("no answer within {timeout:?}").into());
    tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| late())
}

fn at_port(address: SocketAddr, port: Option<u16>) -> SocketAddr {
    SocketAddr::new(address.ip(), port.unwrap_or_else(|| address.port()))
}

fn authority(host: Option<&str>, peer: &HttpPeer) -> String {
    match host {
        Some(host) => host.to_owned(),
        None if !peer.sni.is_empty() => peer.sni.clone(),
        None => peer._address.to_string(),
    }
}

fn speaks_only_http2(peer: &HttpPeer) -> bool {
    peer.options.alpn.get_min_http_version() == 2
}

/// Why Pingora could not connect or exchange, in a few words.
pub(super) fn reason(error: &Error) -> Box<str> {
    match error.etype() {
        ErrorType::ConnectRefused => "connection refused".into(),
        ErrorType::ConnectTimedout => "no connection in time".into(),
        ErrorType::ConnectionClosed => "the connection was closed".into(),
        kind => {
            let cause = error.root_cause();
            match cause.downcast_ref::<io::Error>() {
                Some(e) => io_reason(e).into(),
                None => format!("{}: {cause}", kind.as_str()).into(),
            }
        }
    }
}

fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::UnexpectedEof => "the connection was closed".to_owned(),
        _ => error.to_string(),
    }
}
