//! How nodes are watched by probes: what a check is, who performs it and when, and what it found.

use std::time::Duration;

mod checker;
mod exchange;
mod found;
mod grpc;
mod http;
mod prober;

pub use checker::Checker;
pub use found::{Counts, Found, Probed};
pub use prober::Prober;

/// How the nodes of a service are probed. Equal checks probe alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What is asked.
    pub probe: Probe,
    /// A port other than the node's own.
    pub port: Option<u16>,
    /// Time for one probe.
    pub timeout: Duration,
    /// Between probes of a healthy node; zero = none.
    pub interval: Duration,
    /// Between probes of an unhealthy node; zero = none.
    pub unhealthy_interval: Duration,
    /// The share of an interval that is left to chance, 0 to 1.
    pub jitter: f64,
    /// Successes in a row that make an unhealthy node healthy.
    pub successes: u32,
    /// Failures in a row that make a healthy node unhealthy.
    pub failures: u32,
    /// Whether a service's only node is probed as well. It is used whatever that finds.
    pub single: bool,
}

impl Default for Check {
    /// The defaults of the configuration file.
    fn default() -> Self {
        Self {
            probe: Probe::Tcp,
            port: None,
            timeout: Duration::from_secs(1),
            interval: Duration::from_secs(3),
            unhealthy_interval: Duration::from_secs(10),
            jitter: 0.1,
            successes: 1,
            failures: 2,
            single: false,
        }
    }
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// Whether a connection can be made.
    Tcp,
    /// A GET.
    Http(HttpProbe),
    /// `grpc.health.v1.Health/Check`.
    Grpc(GrpcProbe),
}

/// A GET that must be answered with an expected status. Redirects are not followed.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpProbe {
    /// The path, with its query.
    pub path: String,
    /// The host asked for; the node's address when absent.
    pub host: Option<String>,
    /// The statuses that are a success; 200 to 399 when empty.
    pub statuses: Vec<u16>,
}

impl Default for HttpProbe {
    fn default() -> Self {
        Self { path: "/".to_owned(), host: None, statuses: Vec::new() }
    }
}

impl HttpProbe {
    fn expects(&self, status: u16) -> bool {
        if self.statuses.is_empty() { (200..400).contains(&status) } else { self.statuses.contains(&status) }
    }
}

/// A call of the standard health service, which must say SERVING. A node without that service, or
/// which does not know the name asked for, fails: who asks for this check has it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GrpcProbe {
    /// The name asked for; empty = the server as a whole.
    pub service: String,
    /// The authority; the node's address when absent.
    pub host: Option<String>,
}

impl Probe {
    /// How logs and status call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http(_) => "http",
            Self::Grpc(_) => "grpc",
        }
    }
}
