//! The most a node is given at a time: a circuit breaker.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::resource::Invalid;

/// Most requests that may wait.
const MAX_PENDING: u32 = 100_000;

/// Limits of each node; none where absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most connections in use: over HTTP/1.1 as many as requests; over HTTP/2 each carries up to
    /// `upstream.h2_max_streams` requests.
    pub connections: Option<u32>,
    /// Most requests in flight.
    pub requests: Option<u32>,
    /// Most requests that wait while all nodes are at their limits; they wait as long as a
    /// connection may take. More are refused with 503 at once.
    pub pending: Option<u32>,
}

impl Limits {
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        for (field, value) in [("connections", self.connections), ("requests", self.requests)] {
            if value == Some(0) {
                return Err(Invalid::at(format!("limits.{field}"), "must be at least 1"));
            }
        }
        let Some(pending) = self.pending else { return Ok(()) };
        if self.connections.is_none() && self.requests.is_none() {
            return Err(Invalid::at("limits.pending", "needs limits.requests or limits.connections"));
        }
        if pending > MAX_PENDING {
            return Err(Invalid::at("limits.pending", format!("must be at most {MAX_PENDING}")));
        }
        Ok(())
    }
}
