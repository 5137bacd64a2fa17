//! The gateway's own configuration file as types: what an operator sets before the start.
//!
//! Routes, nodes and the like are not here: they live in the store. Every field has a default, and
//! `etc/gateway.yaml` shows them all; a test compares the two.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

mod legacy;
mod load;
mod validate;

pub use load::{ConfigError, load};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where routes, nodes and the like are kept.
    pub store: StoreConfig,
    /// The copy of the last good configuration on disk.
    pub snapshot: SnapshotConfig,
    /// The addresses clients connect to.
    pub listeners: Listeners,
    /// Limits and timeouts towards clients.
    pub client: ClientConfig,
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
    /// Worker threads of the data plane. 0 = one a core.
    pub workers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            store: StoreConfig::default(),
            snapshot: SnapshotConfig::default(),
            listeners: Listeners::default(),
            client: ClientConfig::default(),
            upstream: UpstreamConfig::default(),
            healthcheck: Some(HealthcheckConfig::default()),
            routing: RoutingConfig::default(),
            plugins: PluginsConfig::default(),
            admin: AdminConfig::default(),
            status: StatusConfig::default(),
            log: LogConfig::default(),
            workers: 0,
        }
    }
}

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

/// The addresses clients connect to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listeners {
    /// HTTP/1.1 in clear text.
    pub http: Vec<SocketAddr>,
    /// HTTP/2 by prior knowledge, and HTTP/1.1, in clear text. gRPC clients use it.
    pub h2c: Vec<SocketAddr>,
}

impl Default for Listeners {
    fn default() -> Self {
        let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        Self { http: vec![any(10_000)], h2c: vec![any(11_000)] }
    }
}

/// Limits and timeouts towards clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientConfig {
    /// Time for the whole request header, from its first byte (or the connection's start).
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// Largest request header in bytes, request line included. At most 1 MiB.
    pub max_header_size: ByteSize,
    /// Longest silence while a request body is read.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Longest wait for a client to take response bytes.
    #[serde(with = "humantime_serde")]
    pub send_timeout: Duration,
    /// How long an idle HTTP/1.1 connection is kept. Whole seconds; 0 closes after each response.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
    /// How long an idle HTTP/2 connection is kept.
    #[serde(with = "humantime_serde")]
    pub h2_idle_timeout: Duration,
    /// Most concurrent streams on an HTTP/2 connection.
    pub h2_max_streams: u32,
    /// Largest request body; 0 = no limit. A route may set its own.
    pub max_body_size: ByteSize,
    /// Peers whose X-Forwarded-* is believed, as addresses or CIDRs.
    pub trusted_proxies: Vec<IpNet>,
    /// The `Server` header on every response.
    pub server_header: String,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            max_header_size: ByteSize::kib(64),
            body_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(60),
            h2_idle_timeout: Duration::from_secs(120),
            h2_max_streams: 100,
            max_body_size: ByteSize::mib(100),
            trusted_proxies: Vec::new(),
            server_header: "Ws-Cloud-Gateway".into(),
        }
    }
}

/// Timeouts, retries and connections towards upstream nodes. Services and routes may set their own
/// timeouts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamConfig {
    /// Time to connect to a node.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Longest silence while a response is read. WebSocket and gRPC streams have none.
    #[serde(with = "humantime_serde")]
    pub read_timeout: Duration,
    /// Longest wait for a node to take request bytes.
    #[serde(with = "humantime_serde")]
    pub send_timeout: Duration,
    /// How long an idle connection to a node is kept.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Most idle connections kept.
    pub keepalive_pool_size: usize,
    /// Most nodes tried for one request, the first included.
    pub max_tries: u32,
    /// How long a node that refuses connections is left out before it is tried again.
    #[serde(with = "humantime_serde")]
    pub eject_time: Duration,
    /// Most streams on one HTTP/2 connection to a node.
    pub h2_max_streams: usize,
    /// How often an HTTP/2 connection to a node is pinged while in use.
    #[serde(with = "humantime_serde")]
    pub h2_ping_interval: Duration,
    /// Address ranges no node may have. The gateway's own admin and status addresses never may.
    pub deny: Vec<IpNet>,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            keepalive_pool_size: 1024,
            max_tries: 3,
            eject_time: Duration::from_secs(10),
            h2_max_streams: 100,
            h2_ping_interval: Duration::from_secs(10),
            deny: vec![
                "169.254.0.0/16".parse().expect("a valid network"),
                "fe80::/10".parse().expect("a valid network"),
            ],
        }
    }
}

/// Active TCP health checks, with the names and defaults of the old gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct HealthcheckConfig {
    /// The probes.
    pub active: ActiveCheckConfig,
}

/// The probes of the active health check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ActiveCheckConfig {
    /// `tcp`: a connection is made and closed.
    #[serde(rename = "type")]
    pub kind: CheckKind,
    /// Time for one probe, in seconds.
    pub timeout: f64,
    /// Probes running at the same time.
    pub concurrency: usize,
    /// Probes of healthy nodes.
    pub healthy: HealthyConfig,
    /// Probes of unhealthy nodes.
    pub unhealthy: UnhealthyConfig,
}

impl Default for ActiveCheckConfig {
    fn default() -> Self {
        Self {
            kind: CheckKind::Tcp,
            timeout: 1.0,
            concurrency: 10,
            healthy: HealthyConfig::default(),
            unhealthy: UnhealthyConfig::default(),
        }
    }
}

/// How a node is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// A connection is made and closed.
    #[default]
    Tcp,
}

/// Probes of healthy nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthyConfig {
    /// Seconds between probes; 0 = none.
    pub interval: f64,
    /// Successes that make an unhealthy node healthy.
    pub successes: u32,
}

impl Default for HealthyConfig {
    fn default() -> Self {
        Self { interval: 3.0, successes: 1 }
    }
}

/// Probes of unhealthy nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UnhealthyConfig {
    /// Seconds between probes; 0 = none.
    pub interval: f64,
    /// Failures that make a healthy node unhealthy.
    pub tcp_failures: u32,
}

impl Default for UnhealthyConfig {
    fn default() -> Self {
        Self { interval: 10.0, tcp_failures: 2 }
    }
}

/// How paths are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingConfig {
    /// Whether `//` in a path is read as `/`.
    pub merge_slashes: bool,
    /// What `%2F` and `%5C` in a path mean.
    pub escaped_slashes: EscapedSlashes,
}

impl Default for RoutingConfig {
    fn default() -> Self {
        Self { merge_slashes: true, escaped_slashes: EscapedSlashes::Keep }
    }
}

/// What `%2F` and `%5C` in a path mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum EscapedSlashes {
    /// They stay as they are: data within a segment.
    #[default]
    Keep,
    /// They are refused with 400.
    Reject,
    /// They are slashes, as in the old gateway.
    Decode,
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

/// The Admin API.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Its own address; `null` turns it off.
    pub listen: Option<SocketAddr>,
    /// Whether the old paths `/admin` and `/dashboard` are answered on the data ports too.
    pub on_gateway_ports: bool,
    /// Who may reach it, as addresses or CIDRs.
    pub allow: Vec<IpNet>,
    /// Origins that browsers may call it from.
    pub cors_origins: Vec<String>,
    /// How long a login lasts.
    #[serde(with = "humantime_serde")]
    pub token_lifetime: Duration,
    /// The secret logins are signed with; made at the first start when absent.
    #[serde(skip_serializing)]
    pub jwt_secret: Option<String>,
    /// Accounts of the old configuration, beside those of the store.
    #[serde(skip_serializing)]
    pub account: BTreeMap<String, AccountConfig>,
    /// API tokens (`X-Api-Token`) of the old configuration.
    #[serde(skip_serializing)]
    pub tokens: BTreeMap<String, TokenConfig>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 12_000)),
            on_gateway_ports: false,
            allow: vec!["127.0.0.1/32".parse().expect("a valid network"), "::1/128".parse().expect("a valid network")],
            cors_origins: Vec::new(),
            token_lifetime: Duration::from_secs(7 * 24 * 60 * 60),
            jwt_secret: None,
            account: BTreeMap::new(),
            tokens: BTreeMap::new(),
        }
    }
}

impl std::fmt::Debug for AdminConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminConfig").field("listen", &self.listen).field("allow", &self.allow).finish_non_exhaustive()
    }
}

/// An account of the old configuration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct AccountConfig {
    /// The password: an argon2id hash (`$argon2id$…`), or plain as in the old configuration.
    pub password: String,
    /// What `/admin/user/info` answers, beside the user name.
    pub info: serde_json::Map<String, serde_json::Value>,
}

impl std::fmt::Debug for AccountConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountConfig").finish_non_exhaustive()
    }
}

/// What is said of an API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct TokenConfig {
    /// What the token is for.
    pub desc: String,
}

/// Health and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatusConfig {
    /// The address of `/healthz`, `/readyz`, `/metrics` and `/nginx_status`; `null` turns it off.
    pub listen: Option<SocketAddr>,
    /// Most routes (and services) with a label of their own in `/metrics`; the rest share `other`.
    pub max_labels: usize,
}

impl Default for StatusConfig {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 12_001)), max_labels: 200 }
    }
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// One JSON line for each request.
    pub access: AccessLogConfig,
    /// What the gateway has to say.
    pub error: ErrorLogConfig,
}

/// The access log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogConfig {
    /// A file, `stdout`, or `off`.
    pub output: String,
    /// Size at which the file is set aside; 0 = never.
    pub rotate_size: ByteSize,
    /// How many files set aside are kept.
    pub rotate_keep: usize,
    /// Most lines waiting to be written; more are dropped and counted.
    pub queue: usize,
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self {
            output: "logs/gateway-access.log".into(),
            rotate_size: ByteSize::mib(100),
            rotate_keep: 5,
            queue: 65_536,
        }
    }
}

/// The error log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorLogConfig {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`; changeable while running.
    pub level: LogLevel,
    /// `text` or `json`.
    pub format: LogFormat,
    /// A file, or `stderr`.
    pub output: String,
}

impl Default for ErrorLogConfig {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text, output: "stderr".into() }
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::Off,
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
