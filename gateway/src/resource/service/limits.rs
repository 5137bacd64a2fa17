//! The most a node is given at a time: a circuit breaker.

use serde::{Deserialize, Serialize};

use crate::resource::Invalid;

/// Limits of each node; none where absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most connections in use.
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
        Ok(())
    }
}
