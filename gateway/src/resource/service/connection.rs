//! What a service's nodes speak, and how they are trusted.

use serde::{Deserialize, Serialize};

use crate::resource::Invalid;

/// What a node speaks. gRPC routes always speak HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyVersion {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
}

/// TLS towards nodes. Certificates and keys are PEM texts.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeTls {
    /// The CAs that may have signed a node's certificate; the system's when absent.
    pub ca: Option<String>,
    /// Our certificate, with its chain.
    pub cert: Option<String>,
    /// Its key.
    pub key: Option<String>,
    /// The name asked for; the request's host when absent.
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
        Ok(())
    }
}
