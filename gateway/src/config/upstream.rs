//! Towards upstream nodes: timeouts, retries, connections, health checks.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

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
    /// Longest wait for the header of a response; none when absent.
    #[serde(with = "humantime_serde")]
    pub first_byte_timeout: Option<Duration>,
    /// Time for a whole exchange, all tries and both bodies included; none when absent.
    #[serde(with = "humantime_serde")]
    pub total_timeout: Option<Duration>,
    /// How long after its start a request that reached a node may be tried at another.
    #[serde(with = "humantime_serde")]
    pub retry_within: Duration,
    /// The share of a service's requests that may be retries, 0 to 1.
    pub retry_budget: f64,
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
    /// How host names of nodes are resolved.
    pub resolver: ResolverConfig,
}

/// How host names of nodes are resolved, in the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResolverConfig {
    /// Name servers; those of /etc/resolv.conf, with its search list, when empty.
    pub servers: Vec<SocketAddr>,
    /// An answer is used for at least this long, whatever its TTL.
    #[serde(with = "humantime_serde")]
    pub min_ttl: Duration,
    /// And at most this long.
    #[serde(with = "humantime_serde")]
    pub max_ttl: Duration,
    /// How long a name server may take to answer.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
            timeout: Duration::from_secs(2),
        }
    }
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
            first_byte_timeout: None,
            total_timeout: None,
            retry_within: Duration::from_secs(1),
            retry_budget: 0.5,
            eject_time: Duration::from_secs(10),
            h2_max_streams: 100,
            h2_ping_interval: Duration::from_secs(10),
            deny: vec![
                "169.254.0.0/16".parse().expect("a valid network"),
                "fe80::/10".parse().expect("a valid network"),
            ],
            resolver: ResolverConfig::default(),
        }
    }
}

/// Active health checks, with the names and defaults of the old gateway.
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
    /// What is asked.
    #[serde(rename = "type")]
    pub kind: CheckKind,
    /// A port other than the node's own.
    pub port: Option<u16>,
    /// The path of an http probe, `/` when absent; the service a grpc probe asks for.
    pub path: Option<String>,
    /// The host of an http or grpc probe; the node's address when absent.
    pub host: Option<String>,
    /// The share of an interval that is left to chance, 0 to 1.
    pub jitter: f64,
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
            port: None,
            path: None,
            host: None,
            jitter: 0.1,
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
    /// A GET is answered with an expected status.
    Http,
    /// `grpc.health.v1.Health/Check` says SERVING.
    Grpc,
}

/// Probes of healthy nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthyConfig {
    /// Seconds between probes; 0 = none.
    pub interval: f64,
    /// Successes that make an unhealthy node healthy.
    pub successes: u32,
    /// The statuses of an http probe that are a success; 200 to 399 when empty.
    pub http_statuses: Vec<u16>,
}

impl Default for HealthyConfig {
    fn default() -> Self {
        Self { interval: 3.0, successes: 1, http_statuses: Vec::new() }
    }
}

/// Probes of unhealthy nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UnhealthyConfig {
    /// Seconds between probes; 0 = none.
    pub interval: f64,
    /// Failures that make a healthy node unhealthy, of whatever probe.
    pub tcp_failures: u32,
}

impl Default for UnhealthyConfig {
    fn default() -> Self {
        Self { interval: 10.0, tcp_failures: 2 }
    }
}
