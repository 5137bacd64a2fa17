//! The gateway's own configuration file as types: what an operator sets before the start.
//!
//! Routes, nodes and the like are not here: they live in the store. Every field has a default, and
//! `etc/gateway.yaml` shows them all; a test compares the two.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod admin;
mod client;
mod legacy;
mod load;
mod log;
mod oidc;
mod secrets;
mod server;
mod store;
mod telemetry;
mod tls;
mod upstream;
mod validate;

pub use admin::{AccountConfig, AdminConfig, Right, StatusConfig, TokenConfig};
pub use client::{
    ClientConfig, EscapedSlashes, Listeners, OverloadConfig, ProxyProtocolConfig, RoutingConfig, UnderscoreHeaders,
};
pub use load::{ConfigError, load};
pub use log::{AccessLogConfig, AdminLogConfig, ErrorLogConfig, LogConfig, LogFormat, LogLevel};
pub(crate) use oidc::is_safe;
pub use oidc::{OidcConfig, OidcRole};
pub use secrets::SecretsConfig;
pub use server::{ShutdownConfig, UpgradeConfig};
pub use store::{EmbeddedConfig, EtcdConfig, EtcdTlsConfig, SnapshotConfig, StoreConfig, StoreKind};
pub use telemetry::{OtlpProtocol, TelemetryConfig, TracingConfig};
pub use tls::{ClientAuthConfig, TlsCertificateConfig, TlsConfig, TlsVersion};
pub use upstream::{
    ActiveCheckConfig, CheckKind, HealthcheckConfig, HealthyConfig, ResolverConfig, UnhealthyConfig, UpstreamConfig,
};
pub use validate::is_data_prefix;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where routes, nodes and the like are kept.
    pub store: StoreConfig,
    /// The key that secrets in the store are encrypted with.
    pub secrets: SecretsConfig,
    /// The copy of the last good configuration on disk.
    pub snapshot: SnapshotConfig,
    /// The addresses clients connect to.
    pub listeners: Listeners,
    /// TLS towards clients.
    pub tls: TlsConfig,
    /// Limits and timeouts towards clients.
    pub client: ClientConfig,
    /// What is refused under load.
    pub overload: OverloadConfig,
    /// Timeouts, retries and connections towards upstream nodes.
    pub upstream: UpstreamConfig,
    /// Active health checks; `null` turns them off.
    pub healthcheck: Option<HealthcheckConfig>,
    /// How paths are read.
    pub routing: RoutingConfig,
    /// Plugins.
    pub plugins: PluginsConfig,
    /// The Admin API.
    pub admin: AdminConfig,
    /// Health and metrics.
    pub status: StatusConfig,
    /// Logs.
    pub log: LogConfig,
    /// What is told to others than the logs.
    pub telemetry: TelemetryConfig,
    /// Worker threads of the data plane. 0 = one a core.
    pub workers: usize,
    /// A folder for what belongs to the running process: its socket for `reload` and `upgrade`, and
    /// `gateway.pid`. `null` = none of these.
    pub runtime_dir: Option<PathBuf>,
    /// How the process ends.
    pub shutdown: ShutdownConfig,
    /// How a newer binary takes its place.
    pub upgrade: UpgradeConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            store: StoreConfig::default(),
            secrets: SecretsConfig::default(),
            snapshot: SnapshotConfig::default(),
            listeners: Listeners::default(),
            tls: TlsConfig::default(),
            client: ClientConfig::default(),
            overload: OverloadConfig::default(),
            upstream: UpstreamConfig::default(),
            healthcheck: Some(HealthcheckConfig::default()),
            routing: RoutingConfig::default(),
            plugins: PluginsConfig::default(),
            admin: AdminConfig::default(),
            status: StatusConfig::default(),
            log: LogConfig::default(),
            telemetry: TelemetryConfig::default(),
            workers: 0,
            runtime_dir: Some("data/run".into()),
            shutdown: ShutdownConfig::default(),
            upgrade: UpgradeConfig::default(),
        }
    }
}

impl Config {
    /// The addresses of the data plane, with the names of their settings.
    pub fn data_addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let of = |field: &'static str, addresses: &[SocketAddr]| {
            addresses.iter().map(|address| (field, *address)).collect::<Vec<_>>()
        };
        let http = of("listeners.http", &self.listeners.http);
        let h2c = of("listeners.h2c", &self.listeners.h2c);
        http.into_iter().chain(h2c).chain(of("tls.listen", &self.tls.listen))
    }
}

/// Plugins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct PluginsConfig {
    /// Names that routes may carry though no plugin has them. Any other unknown name makes its
    /// route answer 503.
    pub ignore: Vec<String>,
    /// Secrets that plugins may ask for by name.
    #[serde(skip_serializing)]
    pub secrets: BTreeMap<String, String>,
}
