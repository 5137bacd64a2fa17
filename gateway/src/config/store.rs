//! Where declarations are kept: the store, and the copy on disk.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// A database file of this process.
    #[default]
    Embedded,
    /// An etcd cluster.
    Etcd,
}

/// Where declarations are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// `embedded` or `etcd`.
    pub kind: StoreKind,
    /// The prefix of all keys; begins and ends with `/`.
    pub data_prefix: String,
    /// How long an emptied store is doubted before its emptiness is believed.
    #[serde(with = "humantime_serde")]
    pub empty_hold: Duration,
    /// When more than half of a service's leased nodes go within this, those that still answer are
    /// kept until they don't; zero = never.
    #[serde(with = "humantime_serde")]
    pub expiry_window: Duration,
    /// Settings of the embedded store.
    pub embedded: EmbeddedConfig,
    /// Settings of etcd.
    pub etcd: EtcdConfig,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            kind: StoreKind::Embedded,
            data_prefix: "/my/cloud/".into(),
            empty_hold: Duration::from_secs(30),
            expiry_window: Duration::from_secs(30),
            embedded: EmbeddedConfig::default(),
            etcd: EtcdConfig::default(),
        }
    }
}

/// The embedded store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddedConfig {
    /// The database file.
    pub path: PathBuf,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self { path: "data/store.redb".into() }
    }
}

/// An etcd cluster.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EtcdConfig {
    /// One or more URLs of etcd members.
    pub endpoints: Vec<String>,
    /// The user, when etcd has authentication on.
    pub user: Option<String>,
    /// The user's password.
    #[serde(skip_serializing)]
    pub password: Option<String>,
    /// TLS towards etcd, for `https://` endpoints.
    pub tls: Option<EtcdTlsConfig>,
    /// Time to connect.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Time for one call, with its retries.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:2379".into()],
            user: None,
            password: None,
            tls: None,
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
        }
    }
}

impl std::fmt::Debug for EtcdConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdConfig")
            .field("endpoints", &self.endpoints)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// TLS towards etcd. Files are PEM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct EtcdTlsConfig {
    /// The CA that signed etcd's certificate; the system's CAs when absent.
    pub ca_file: Option<PathBuf>,
    /// Our client certificate.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// The name expected in etcd's certificate, when it is not the endpoint's host.
    pub server_name: Option<String>,
}

/// The copy of the last good configuration on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotConfig {
    /// Whether it is kept.
    pub enabled: bool,
    /// The folder it is kept in.
    pub dir: PathBuf,
    /// How long a start waits for the store before it serves from the copy.
    #[serde(with = "humantime_serde")]
    pub store_wait: Duration,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        Self { enabled: true, dir: "data/snapshot".into(), store_wait: Duration::from_millis(500) }
    }
}
