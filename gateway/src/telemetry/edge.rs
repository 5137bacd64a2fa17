//! What was turned away before anything was done for it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection was closed unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// All listeners together have as many as the process has files for.
    Files,
    /// Its listener has as many as it may.
    Listener,
    /// Its client's address has as many as it may.
    Address,
    /// The PROXY header is missing, malformed or late.
    ProxyHeader,
    /// Memory is nearly used up.
    Memory,
}

/// Why a request was answered with 503 under load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// Too many requests are in flight.
    InFlight,
    /// Memory is nearly used up.
    Memory,
}

const REFUSED: [&str; 5] = ["files", "listener", "address", "proxy_header", "memory"];
const SHED: [&str; 2] = ["in_flight", "memory"];

/// Counts what was turned away.
#[derive(Debug, Default)]
pub struct EdgeMetrics {
    refused: [AtomicU64; REFUSED.len()],
    shed: [AtomicU64; SHED.len()],
}

impl EdgeMetrics {
    /// Counts a connection.
    pub fn refuse(&self, reason: Refused) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request.
    pub fn shed(&self, reason: Shed) {
        self.shed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Connections turned away, by reason.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REFUSED.into_iter().zip(self.refused.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Requests turned away, by reason.
    pub(super) fn shed_requests(&self) -> impl Iterator<Item = (&'static str, u64)> {
        SHED.into_iter().zip(self.shed.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_under_its_name() {
        let metrics = EdgeMetrics::default();
        for reason in [Refused::Files, Refused::Listener, Refused::Address, Refused::ProxyHeader, Refused::Memory] {
            metrics.refuse(reason);
        }
        metrics.refuse(Refused::Memory);
        metrics.shed(Shed::Memory);
        let refused: Vec<_> = metrics.refused().collect();
        assert_eq!(refused, [("files", 1), ("listener", 1), ("address", 1), ("proxy_header", 1), ("memory", 2)]);
        assert_eq!(metrics.shed_requests().collect::<Vec<_>>(), [("in_flight", 0), ("memory", 1)]);
    }
}
