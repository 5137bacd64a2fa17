//! How nodes are watched: by probes, and by what requests show.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::resource::Invalid;

/// How the nodes of a service are watched.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Probes instead of those of the configuration file.
    pub active: Option<ActiveCheck>,
    /// What requests show.
    pub passive: PassiveCheck,
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

/// Probes of a service's nodes. What is absent is as in the configuration file.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ActiveCheck {
    /// How a node is probed.
    #[serde(rename = "type")]
    pub kind: CheckKind,
    /// Whether nodes are probed at all; absent = yes.
    pub enabled: Option<bool>,
    /// A port other than the node's own.
    pub port: Option<u16>,
    /// The path of an http probe, `/` when absent; the service asked for by a grpc probe.
    pub path: Option<String>,
    /// The `Host` of an http probe.
    pub host: Option<String>,
    /// The statuses that are a success; 200 to 399 when empty.
    pub statuses: Vec<u16>,
    /// Time for one probe.
    #[serde(with = "humantime_serde")]
    pub timeout: Option<Duration>,
    /// Between probes of a healthy node.
    #[serde(with = "humantime_serde")]
    pub interval: Option<Duration>,
    /// Between probes of an unhealthy node.
    #[serde(with = "humantime_serde")]
    pub unhealthy_interval: Option<Duration>,
    /// The share of the interval that is left to chance, 0 to 1.
    pub jitter: Option<f64>,
    /// Successes that make an unhealthy node healthy.
    pub successes: Option<u32>,
    /// Failures that make a healthy node unhealthy.
    pub failures: Option<u32>,
}

/// When a node is left out because of what requests show. Off where absent; a refused connection
/// always counts.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PassiveCheck {
    /// Errors in a row: no connection, broken, too slow, or a status of 500 and above.
    pub consecutive_errors: Option<u32>,
    /// The share of requests that fail within the window, 0 to 1.
    pub error_ratio: Option<f64>,
    /// How many times slower than the other nodes' median it answers.
    pub latency_factor: Option<f64>,
    /// The window of ratio and latency; 10 s when absent.
    #[serde(with = "humantime_serde")]
    pub window: Option<Duration>,
    /// Fewest requests in the window for it to say anything; 20 when absent.
    pub min_requests: Option<u32>,
    /// How long a node is left out the first time; doubled each time after, up to ten times.
    #[serde(with = "humantime_serde")]
    pub eject_time: Option<Duration>,
    /// Largest share of the nodes that may be left out at a time, 0 to 1; 0.5 when absent.
    pub max_ejected: Option<f64>,
}

impl Health {
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let passive = &self.passive;
        for (field, share) in [("error_ratio", passive.error_ratio), ("max_ejected", passive.max_ejected)] {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                return Err(Invalid::at(format!("health.passive.{field}"), "must be from 0 to 1, such as 0.5"));
            }
        }
        Ok(())
    }
}
