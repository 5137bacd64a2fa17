//! New connections: whether there is room for one more, and who is at the other end.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::Stream;

use super::connection::Connection;
use super::limits::{AddressSlot, ConnectionLimits, Room};
use super::overload::Overload;
use super::proxy_protocol::{self, Source};
use crate::request::forwarded::TrustedProxies;
use crate::telemetry::{Metrics, Refused};

/// Which connections begin with a PROXY header.
#[derive(Debug, Clone, Default)]
pub struct ProxyHeaders {
    /// Those of these peers.
    pub from: TrustedProxies,
    /// On these ports; empty = on all.
    pub ports: HashSet<u16>,
}

impl ProxyHeaders {
    fn expected(&self, peer: SocketAddr, port: u16) -> bool {
        !self.from.is_empty() && (self.ports.is_empty() || self.ports.contains(&port)) && self.from.contains(peer.ip())
    }
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionOptions {
    /// On all listeners.
    pub max_total: usize,
    /// On each listener; 0 = no limit of its own.
    pub max_per_listener: usize,
    /// From one address; 0 = no limit.
    pub max_per_ip: u32,
}

/// What every new connection passes before a byte of TLS or HTTP is read.
pub(super) struct Arrivals {
    pub(super) limits: ConnectionLimits,
    pub(super) proxy_headers: ProxyHeaders,
    /// Proxies bring the connections of many clients.
    pub(super) trusted_proxies: TrustedProxies,
    pub(super) header_timeout: Duration,
    pub(super) overload: Arc<Overload>,
    pub(super) metrics: Arc<Metrics>,
}

/// A connection that was let in.
pub(super) struct Arrival {
    pub(super) connection: Connection,
    /// The port it came to.
    pub(super) port: u16,
    _room: Room,
    _address: Option<AddressSlot>,
}

impl Arrivals {
    /// Lets a connection in, or not: then it is to be closed. Reads its PROXY header, if it is to have one.
    pub(super) async fn admit(&self, stream: &mut Stream) -> Option<Arrival> {
        let digest = stream.get_socket_digest()?;
        let socket = *digest.peer_addr()?.as_inet()?;
        let port = digest.local_addr()?.as_inet()?.port();
        match self.let_in(stream, socket, port).await {
            Ok(arrival) => arrival,
            Err(reason) => {
                self.metrics.edge.refuse(reason);
                log::debug!("connection of {socket} to port {port} refused: {reason:?}");
                None
            }
        }
    }

    async fn let_in(&self, stream: &mut Stream, socket: SocketAddr, port: u16) -> Result<Option<Arrival>, Refused> {
        if self.overload.refuses_connections() {
            return Err(Refused::Memory);
        }
        let room = self.limits.enter(port)?;
        let connection = if self.proxy_headers.expected(socket, port) {
            let read = self.read_proxy_header(stream, socket).await.map_err(|e| {
                log::debug!("PROXY header of {socket}: {e}");
                Refused::ProxyHeader
            })?;
            let Some(connection) = read else { return Ok(None) };
            connection
        } else {
            Connection::new(socket)
        };
        let peer = connection.peer.ip();
        let is_proxy = self.trusted_proxies.contains(peer) || self.proxy_headers.from.contains(peer);
        let address = if is_proxy { None } else { self.limits.enter_address(peer)? };
        Ok(Some(Arrival { connection, port, _room: room, _address: address }))
    }

    async fn read_proxy_header(&self, stream: &mut Stream, socket: SocketAddr) -> io::Result<Option<Connection>> {
        let read = tokio::time::timeout(self.header_timeout, proxy_protocol::read(stream));
        let source = read.await.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(source.map(|source| match source {
            Source::Client(client) => Connection::relayed(socket, Some(client)),
            Source::Unknown => Connection::relayed(socket, None),
            Source::Balancer => Connection::new(socket),
        }))
    }
}
