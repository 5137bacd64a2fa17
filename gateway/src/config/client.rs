//! Towards clients: addresses, limits and timeouts, how paths are read.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

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
    /// Fewest bytes a second of a request body, on average, after its first five seconds; 0 = any number. For services
    /// that take bodies as fast as they come: an upload they hold up counts as slow.
    pub min_body_rate: ByteSize,
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
    /// Most connections on each listening address; 0 = no limit but that of all: three quarters of the open files
    /// the process may have.
    pub max_connections: usize,
    /// Most connections of one client address (IPv6: /64 network); 0 = no limit. Trusted proxies have none.
    pub max_connections_per_ip: u32,
    /// Most requests on a connection, which then ends (on HTTP/2 with a GOAWAY); 0 = no limit.
    pub max_requests_per_connection: u32,
    /// Who tells the client's address by a PROXY header.
    pub proxy_protocol: ProxyProtocolConfig,
    /// Peers whose X-Forwarded-* is believed, as addresses or CIDRs.
    pub trusted_proxies: Vec<IpNet>,
    /// What becomes of headers whose names have an underscore. Those that imitate trusted headers, such as
    /// `X_Real_IP`, are refused in any case.
    pub underscore_headers: UnderscoreHeaders,
    /// The `Server` header on every response.
    pub server_header: String,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            max_header_size: ByteSize::kib(64),
            body_timeout: Duration::from_secs(60),
            min_body_rate: ByteSize(0),
            send_timeout: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(60),
            h2_idle_timeout: Duration::from_secs(120),
            h2_max_streams: 100,
            max_body_size: ByteSize::mib(100),
            max_connections: 0,
            max_connections_per_ip: 0,
            max_requests_per_connection: 0,
            proxy_protocol: ProxyProtocolConfig::default(),
            trusted_proxies: Vec::new(),
            underscore_headers: UnderscoreHeaders::Drop,
            server_header: "Ws-Cloud-Gateway".into(),
        }
    }
}

/// What becomes of headers whose names have an underscore, which many servers cannot tell from a dash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum UnderscoreHeaders {
    /// They are left out, as nginx does.
    #[default]
    Drop,
    /// They pass.
    Allow,
    /// The request is refused with 400.
    Reject,
}

/// Who tells the client's address by a PROXY header (version 1 or 2), as load balancers do that pass on TCP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyProtocolConfig {
    /// Peers whose connections begin with such a header: all of them, and nobody else's. Addresses or CIDRs.
    pub from: Vec<IpNet>,
    /// The ports of `listeners` where they do; empty = all.
    pub ports: Vec<u16>,
}

/// What is refused under load, before anything breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OverloadConfig {
    /// Most requests in flight; more are answered with 503. 0 = no limit.
    pub max_in_flight: usize,
    /// Most memory the process may use. From 92% connections are closed after their response, from 95% new requests
    /// are answered with 503 and new connections are closed. `null` = the limit of its cgroup, if it has one.
    pub max_memory: Option<ByteSize>,
    /// What the Retry-After of such an answer says; whole seconds.
    #[serde(with = "humantime_serde")]
    pub retry_after: Duration,
}

impl Default for OverloadConfig {
    fn default() -> Self {
        Self { max_in_flight: 0, max_memory: None, retry_after: Duration::from_secs(1) }
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
