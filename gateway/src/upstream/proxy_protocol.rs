//! The PROXY protocol towards nodes: a connection begins by saying which client it is for.
//!
//! Such a connection serves that client alone, so the pool keeps it under a key of the header it
//! began with. TLS comes after the header.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::protocols::l4::stream::Stream;
use pingora::upstreams::peer::HttpPeer;
use pingora::{ErrorType, OrErr};
use tokio::io::AsyncWriteExt;

use super::gate::connect;

/// An idle connection is of use to one client only, and not kept for long.
const IDLE: Duration = Duration::from_secs(10);

/// The version of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
}

/// The first bytes of a header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

impl ProxyVersion {
    /// The header that says: this is for the client at `source`, who connected to `destination`.
    /// Without a destination that is not known.
    fn header(self, source: SocketAddr, destination: Option<SocketAddr>) -> Vec<u8> {
        let Some(destination) = destination else {
            return match self {
                Self::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
                // LOCAL, no address family.
                Self::V2 => [SIGNATURE.as_slice(), &[0x20, 0, 0, 0]].concat(),
            };
        };
        let (from, to) = one_family(source.ip(), destination.ip());
        let (from_port, to_port) = (source.port(), destination.port());
        match self {
            Self::V1 => {
                let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
                format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes()
            }
            Self::V2 => {
                // PROXY over a stream, then the family and the length of what follows.
                let (family, length) = if from.is_ipv4() { (0x11, 12) } else { (0x21, 36) };
                let mut header = [SIGNATURE.as_slice(), &[0x21, family, 0, length]].concat();
                for ip in [from, to] {
                    match ip {
                        IpAddr::V4(ip) => header.extend(ip.octets()),
                        IpAddr::V6(ip) => header.extend(ip.octets()),
                    }
                }
                header.extend(from_port.to_be_bytes());
                header.extend(to_port.to_be_bytes());
                header
            }
        }
    }
}

/// Both as IPv4 when they are, else both as IPv6.
fn one_family(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    let mapped = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => IpAddr::V6(ip.to_ipv6_mapped()),
        IpAddr::V6(_) => ip,
    };
    match (a.to_canonical(), b.to_canonical()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.into(), b.into()),
        (a, b) => (mapped(a), mapped(b)),
    }
}

/// Makes a peer's connections begin with the header. What connector it has is used below.
pub fn announce(peer: &mut HttpPeer, version: ProxyVersion, source: SocketAddr, destination: Option<SocketAddr>) {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let header = version.header(source, destination);
    // The lowest byte tells the ways to speak apart.
    peer.group_key ^= KEYS.hash_one(&header) << 8;
    peer.options.idle_timeout = Some(peer.options.idle_timeout.map_or(IDLE, |idle| idle.min(IDLE)));
    let below = peer.options.custom_l4.take();
    peer.options.custom_l4 = Some(Arc::new(Announcing { header, below }));
}

/// Connects and writes the header.
#[derive(Debug)]
struct Announcing {
    header: Vec<u8>,
    below: Option<Arc<dyn L4Connect + Send + Sync>>,
}

#[async_trait]
impl L4Connect for Announcing {
    async fn connect(&self, address: &PeerAddress) -> pingora::Result<Stream> {
        let mut stream = match &self.below {
            Some(below) => below.connect(address).await?,
            None => Stream::from(connect(address).await?),
        };
        stream.write_all(&self.header).await.or_err(ErrorType::ConnectError, "while writing the PROXY header")?;
        stream.flush().await.or_err(ErrorType::ConnectError, "while writing the PROXY header")?;
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: ProxyVersion, source: &str, destination: &str) -> Vec<u8> {
        version.header(source.parse().unwrap(), Some(destination.parse().unwrap()))
    }

    #[test]
    fn version_1_is_a_line_of_text() {
        let line = |source, destination| String::from_utf8(header(ProxyVersion::V1, source, destination)).unwrap();
        assert_eq!(line("192.0.2.1:4711", "10.0.0.1:80"), "PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\r\n");
        assert_eq!(line("[2001:db8::1]:4711", "[::1]:80"), "PROXY TCP6 2001:db8::1 ::1 4711 80\r\n");
        // A socket of both families has IPv4 clients under IPv6 addresses.
        assert_eq!(line("[::ffff:192.0.2.1]:1", "[::ffff:10.0.0.1]:2"), "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n");
        // The line knows no mix of families.
        assert_eq!(line("192.0.2.1:1", "[::1]:2"), "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n");
    }

    #[test]
    fn version_2_is_binary() {
        let v4 = header(ProxyVersion::V2, "192.0.2.1:258", "10.0.0.1:80");
        assert_eq!(&v4[..12], SIGNATURE);
        assert_eq!(&v4[12..], [0x21, 0x11, 0, 12, 192, 0, 2, 1, 10, 0, 0, 1, 1, 2, 0, 80]);
        let v6 = header(ProxyVersion::V2, "[2001:db8::1]:1", "[::1]:2");
        assert_eq!((&v6[12..16], v6.len()), ([0x21, 0x21, 0, 36].as_slice(), 16 + 36));
    }

    #[test]
    fn a_client_whose_destination_is_unknown_is_not_named() {
        let source = "192.0.2.1:1".parse().unwrap();
        assert_eq!(ProxyVersion::V1.header(source, None), b"PROXY UNKNOWN\r\n");
        assert_eq!(ProxyVersion::V2.header(source, None)[12..], [0x20, 0, 0, 0]);
    }

    #[test]
    fn connections_of_different_clients_are_kept_apart() {
        let peer = |source: &str| {
            let mut peer = HttpPeer::new("127.0.0.1:1", false, String::new());
            announce(&mut peer, ProxyVersion::V1, source.parse().unwrap(), Some("127.0.0.1:2".parse().unwrap()));
            peer.group_key
        };
        assert_eq!(peer("192.0.2.1:1"), peer("192.0.2.1:1"));
        assert_ne!(peer("192.0.2.1:1"), peer("192.0.2.1:2"));
    }
}
