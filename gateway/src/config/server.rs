//! The process itself: how it ends, and how a newer binary takes its place.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The end of the process: SIGTERM, SIGINT or SIGQUIT. A second signal ends it at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownConfig {
    /// How long connections are still accepted while `/readyz` says no, so that load balancers
    /// notice before anything is refused.
    #[serde(with = "humantime_serde")]
    pub delay: Duration,
    /// How long idle connections are kept after that, to be told with their next response to close.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// How long requests, WebSockets and streams in flight get to end.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { delay: Duration::ZERO, idle: Duration::from_secs(1), drain: Duration::from_secs(30) }
    }
}

/// `ws-cloud-gateway upgrade`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpgradeConfig {
    /// How long the new process has to become ready. When it does not it is ended, and the old one
    /// goes on.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for UpgradeConfig {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30) }
    }
}
