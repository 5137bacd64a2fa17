//! TLS towards clients.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// TLS towards clients. Certificates come from files, and from the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The addresses of HTTPS: HTTP/2 and HTTP/1.1, by ALPN.
    pub listen: Vec<SocketAddr>,
    /// Certificates from PEM files, read anew when they change. The first is the default unless
    /// another says so.
    pub certificates: Vec<TlsCertificateConfig>,
    /// Time for a whole handshake.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// The lowest version that is spoken.
    pub min_version: TlsVersion,
    /// CAs that sign client certificates, for names whose certificate has none of its own.
    pub client_ca: Option<PathBuf>,
    /// Whether clients are asked for a certificate, for names whose certificate does not say.
    pub client_auth: ClientAuthConfig,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            certificates: Vec::new(),
            handshake_timeout: Duration::from_secs(10),
            min_version: TlsVersion::default(),
            client_ca: None,
            client_auth: ClientAuthConfig::default(),
        }
    }
}

/// A certificate from PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsCertificateConfig {
    /// The chain, the host's certificate first.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The hosts it is for; those it names itself when empty.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Whether it is for clients that ask for another host, or for none.
    #[serde(default)]
    pub default: bool,
    /// CAs that sign client certificates.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Whether clients are asked for a certificate; `require` when only `client_ca` is given.
    #[serde(default)]
    pub client_auth: Option<ClientAuthConfig>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthConfig {
    /// They are not asked.
    #[default]
    None,
    /// They are asked, and may have none.
    Request,
    /// They must have one.
    Require,
}
