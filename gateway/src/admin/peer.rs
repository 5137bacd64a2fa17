//! Whose call it is: the client's address, and whether it may call at all.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use http::HeaderMap;
use http::header::HOST;
use ipnet::IpNet;

/// The header by which the data plane hands on the client's address over the internal socket.
pub const PEER_HEADER: &str = "x-gateway-peer";

/// Where a router learns the client's address from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerSource {
    /// The connection. The header is ignored.
    Socket,
    /// `X-Gateway-Peer`, an address with or without a port. Only for a socket that no one but the
    /// data plane can reach, which must remove the header from what clients send.
    Header,
}

/// The address of a connection, put into each of its requests by [`super::serve`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Connection(pub(super) Option<IpAddr>);

/// The address at the other end of a connection.
pub trait PeerAddr {
    /// The IP address, if it has one.
    fn ip(&self) -> Option<IpAddr>;
}

impl PeerAddr for SocketAddr {
    fn ip(&self) -> Option<IpAddr> {
        Some(SocketAddr::ip(self))
    }
}

impl PeerAddr for tokio::net::unix::SocketAddr {
    fn ip(&self) -> Option<IpAddr> {
        None
    }
}

impl PeerSource {
    /// The client's address; `None` when it cannot be told for sure.
    pub(super) fn of(self, request: &Request) -> Option<IpAddr> {
        let ip = match self {
            Self::Socket => request.extensions().get::<Connection>()?.0?,
            Self::Header => from_header(request.headers())?,
        };
        Some(ip.to_canonical())
    }
}

fn from_header(headers: &HeaderMap) -> Option<IpAddr> {
    let mut values = headers.get_all(PEER_HEADER).iter();
    // Two of them: one is the client's.
    let (value, None) = (values.next()?.to_str().ok()?, values.next()) else { return None };
    value.parse().or_else(|_| value.parse::<SocketAddr>().map(|address| address.ip())).ok()
}

/// Whether one of the networks has the address. An IPv4 address written as IPv6 is the same one.
pub(super) fn allowed(networks: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    networks.iter().any(|network| {
        network.contains(&ip)
            || match (network, ip) {
                // `::ffff:10.0.0.0/104` is 10.0.0.0/8.
                (IpNet::V6(mapped), IpAddr::V4(v4)) => {
                    mapped.prefix_len() >= 96
                        && mapped.addr().to_ipv4_mapped().is_some()
                        && mapped.contains(&v4.to_ipv6_mapped())
                }
                _ => false,
            }
    })
}

/// Whether the call names a host that can be this gateway, asked of clients on this machine only.
/// A page of another site can make its own name resolve to 127.0.0.1 (DNS rebinding), and its
/// scripts then reach what listens there, from an admitted address; but the name stays in `Host`.
/// Addresses, `localhost` and the hosts of `admin.cors_origins` can not be such names. A call
/// without `Host` comes from no browser.
pub(super) fn host_is_ours(request: &Request, peer: IpAddr, origins: &[String]) -> bool {
    if !peer.is_loopback() {
        return true;
    }
    let named = request.headers().get(HOST).map(|host| host.to_str().ok());
    let in_target = request.uri().authority().map(|authority| Some(authority.as_str()));
    [named, in_target].into_iter().flatten().all(|host| host.is_some_and(|host| is_ours(host, origins)))
}

fn is_ours(host: &str, origins: &[String]) -> bool {
    let name = without_port(host).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name == "localhost"
        || name.ends_with(".localhost")
        || literal.parse::<IpAddr>().is_ok()
        || origins.iter().any(|origin| {
            origin.split_once("://").is_some_and(|(_, origin)| without_port(origin).eq_ignore_ascii_case(name))
        })
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}
