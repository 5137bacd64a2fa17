//! TLS towards nodes: whom we trust, under which name, and what we show of ourselves.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use openssl::ssl::SslRef;
use openssl::x509::{X509, X509Ref};
use pingora::protocols::Digest;
use pingora::upstreams::peer::{HttpPeer, Scheme};
use pingora::utils::tls::CertKey;

/// TLS of a service, read and checked.
#[derive(Clone)]
pub struct NodeTls {
    /// The CAs that may have signed a node's certificate; the system's when absent.
    pub ca: Option<Arc<Box<[X509]>>>,
    /// Our certificate with its chain, and its key.
    pub client: Option<Arc<CertKey>>,
    /// The name asked for, whatever a node is registered as.
    pub sni: Option<String>,
    /// A name the certificate may have instead of the one asked for.
    pub verify_name: Option<String>,
    /// Whether the certificate must be good.
    pub verify: bool,
    /// Of all of it: equal digests, equal trust.
    pub digest: [u8; 32],
}

impl PartialEq for NodeTls {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for NodeTls {}

impl std::fmt::Debug for NodeTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeTls").field("sni", &self.sni).field("verify", &self.verify).finish_non_exhaustive()
    }
}

/// What is left at a connection whose node's certificate does not have the node's address.
#[derive(Debug)]
struct Untrusted;

impl NodeTls {
    /// Makes a peer speak TLS. `name` is what the node is registered as, when not by address.
    ///
    /// The client's `Host` has no part in this: a client must not choose whom we trust.
    pub(super) fn apply(&self, peer: &mut HttpPeer, address: SocketAddr, name: Option<&str>) {
        peer.scheme = Scheme::HTTPS;
        peer.client_cert_key.clone_from(&self.client);
        peer.options.ca.clone_from(&self.ca);
        peer.options.verify_cert = self.verify;
        peer.options.verify_hostname = self.verify;
        peer.options.alternative_cn.clone_from(&self.verify_name);
        let asked = self.sni.as_deref().or(name).or(self.verify_name.as_deref());
        if let Some(asked) = asked {
            asked.clone_into(&mut peer.sni);
        } else {
            // Pingora verifies nothing when there is no name, and never looks at addresses. So an
            // address is its name (OpenSSL does not send one), and we compare it ourselves.
            peer.sni = address.ip().to_string();
            peer.options.verify_hostname = false;
            if self.verify {
                let ip = address.ip().to_canonical();
                peer.options.upstream_tls_handshake_complete_hook =
                    Some(Arc::new(move |ssl: &SslRef| (!is_for(ssl, ip)).then(|| Arc::new(Untrusted) as _)));
            }
        }
    }
}

fn is_for(ssl: &SslRef, ip: IpAddr) -> bool {
    ssl.peer_certificate().is_some_and(|certificate| names_address(&certificate, ip))
}

fn names_address(certificate: &X509Ref, ip: IpAddr) -> bool {
    let is_it = |octets: &[u8]| match ip {
        IpAddr::V4(ip) => octets == ip.octets(),
        IpAddr::V6(ip) => octets == ip.octets(),
    };
    let names = certificate.subject_alt_names();
    names.is_some_and(|names| names.iter().any(|name| name.ipaddress().is_some_and(is_it)))
}

/// Whether a connection must not be used: its node's certificate is good, but not for the node's
/// address. To be asked of new and of kept connections.
pub fn is_untrusted(digest: &Digest) -> bool {
    digest.ssl_digest.as_ref().is_some_and(|ssl| ssl.extension.get::<Untrusted>().is_some())
}
