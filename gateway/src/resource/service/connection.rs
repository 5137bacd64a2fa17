//! What a service's nodes speak, and how they are trusted.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::resource::Invalid;

/// What a node speaks. gRPC routes always speak HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by prior knowledge in clear text, by ALPN with TLS.
    Http2,
    /// With TLS what ALPN finds, HTTP/2 or HTTP/1.1.
    Auto,
}

/// The PROXY protocol's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyVersion {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
}

/// TLS towards nodes. Certificates and keys are PEM texts, or `file:` and the path of one, which is
/// read on each gateway when the service is compiled.
#[derive(Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NodeTls {
    /// The CAs that may have signed a node's certificate; the system's when absent.
    pub ca: Option<String>,
    /// Our certificate, with its chain.
    pub cert: Option<String>,
    /// Its key.
    pub key: Option<String>,
    /// The name asked for. When absent: the name that a node is registered by; else `verify_name`;
    /// else none, and the certificate must be for the node's address.
    pub sni: Option<String>,
    /// A name the certificate may have instead of the one asked for.
    pub verify_name: Option<String>,
    /// `false`: any certificate will do. For tests only.
    pub verify: Option<bool>,
}

impl std::fmt::Debug for NodeTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeTls").field("sni", &self.sni).field("verify", &self.verify).finish_non_exhaustive()
    }
}

impl NodeTls {
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if self.cert.is_some() != self.key.is_some() {
            return Err(Invalid::at("tls.cert", "cert and key go together; give both or none"));
        }
        for (field, name) in [("tls.sni", &self.sni), ("tls.verify_name", &self.verify_name)] {
            if let Some(name) = name
                && !is_host_name(name)
            {
                let reason = "is no host name; expected one such as api.internal. Addresses need none here";
                return Err(Invalid::at(field, format!("\"{name}\" {reason}")));
            }
        }
        Ok(())
    }
}

/// Whether this is the name of a host, and not an address: dot-separated labels, at most 253 bytes.
pub(in crate::resource) fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // What ends in a number would be read as an address, such as 10.0.0.300 or 127.1.
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(is_label) && !last.bytes().all(|b| b.is_ascii_digit())
}
