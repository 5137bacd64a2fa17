//! Starts the health checks, and tells metrics and status what they and requests have shown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::Parts;
use crate::snapshot::Snapshot;
use crate::telemetry::{HealthFigures, Metrics, NodeFigures};
use crate::upstream::health::{Checker, Prober};
use crate::upstream::{NodeState, Upstream};

/// Probes at the same time where the configuration file has no health check.
const DEFAULT_PROBES: usize = 10;
/// Most nodes the status names.
const NAMED: usize = 100;

pub(super) fn start(parts: &Parts, prober: Arc<Prober>, runtime: &Runtime) {
    let concurrency = parts.config.healthcheck.as_ref().map_or(DEFAULT_PROBES, |check| check.active.concurrency);
    let checker = Checker::new(prober, concurrency);
    let handle = Arc::clone(&parts.handle);
    // Weak: the old snapshot is not to be dropped here, and its place is not used again.
    let mut seen = Weak::new();
    runtime.spawn(checker.run(move || {
        let snapshot = handle.load_full();
        let now = Arc::downgrade(&snapshot);
        let is_new = !Weak::ptr_eq(&seen, &now);
        seen = now;
        is_new.then(|| snapshot.upstreams().map(Arc::clone).collect())
    }));
    show(parts, &parts.metrics);
}

fn show(parts: &Parts, metrics: &Metrics) {
    let handle = Arc::clone(&parts.handle);
    metrics.set_nodes(move |each| {
        for upstream in handle.load().upstreams() {
            for node in upstream.nodes() {
                let (service, node, up) = (&upstream.name, &node.label, node.state.is_usable());
                each(NodeFigures { service, node, up, ejected: None });
            }
        }
    });
    let handle = Arc::clone(&parts.handle);
    metrics.set_health(move |each| {
        for upstream in handle.load().upstreams() {
            let counts = &upstream.memory.counts;
            let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
            each(HealthFigures {
                service: &upstream.name,
                probes: [("success", read(&counts.passed)), ("failure", read(&counts.failed))],
                changes: [
                    ("healthy", read(&counts.healthy)),
                    ("unhealthy", read(&counts.unhealthy)),
                    ("ejected", read(&counts.ejected)),
                    ("readmitted", read(&counts.readmitted)),
                ],
            });
        }
    });
}

/// The nodes requests do not go to, and why. At most [`NAMED`] of them are named.
pub(super) fn nodes_out(snapshot: &Snapshot) -> Value {
    let (mut count, mut named) = (0, Vec::new());
    for upstream in snapshot.upstreams() {
        for node in upstream.nodes().iter().filter(|node| !node.state.is_usable()) {
            count += 1;
            if named.len() < NAMED {
                named.push(out(upstream, &node.label, &node.state));
            }
        }
    }
    json!({"count": count, "nodes": named})
}

fn out(upstream: &Upstream, node: &str, state: &NodeState) -> Value {
    let mut out = json!({"service": &*upstream.name, "node": node});
    if let Some((since, why)) = state.found.unhealthy() {
        out["unhealthy"] = json!({"reason": why, "seconds": ago(since)});
    }
    if let Some(last) = state.found.last() {
        out["last_probe"] = json!({"failure": last.failure, "seconds_ago": ago(last.at)});
    }
    out
}

fn ago(at: SystemTime) -> u64 {
    at.elapsed().unwrap_or_default().as_secs()
}
