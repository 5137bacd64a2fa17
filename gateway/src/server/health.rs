//! Starts the health checks, and tells metrics and status what they and requests have shown.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::Parts;
use crate::control::{LapsedNode, ProbeNodes};
use crate::resource::{Node, NodeAddress};
use crate::snapshot::{Handle, Snapshot};
use crate::telemetry::{HealthFigures, Metrics, NodeFigures};
use crate::upstream::ejection::Cause;
use crate::upstream::health::{Check, Checker, Prober};
use crate::upstream::{Names, NodeState, Upstream};

/// Probes at the same time where the configuration file has no health check.
const DEFAULT_PROBES: usize = 10;
/// Probes at the same time of nodes whose leases ended.
const PROBES_OF_LAPSED: usize = 64;
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

/// How control learns whether nodes whose leases ended together still answer.
pub(super) fn probe_lapsed(handle: Arc<Handle>, names: Arc<Names>, prober: Arc<Prober>) -> ProbeNodes {
    Arc::new(move |nodes| {
        let (snapshot, prober) = (handle.load_full(), Arc::clone(&prober));
        let upstreams: HashMap<&str, &Arc<Upstream>> =
            snapshot.upstreams().map(|upstream| (&*upstream.name, upstream)).collect();
        let probes: Vec<_> = nodes
            .into_iter()
            .map(|node| {
                let upstream = upstreams.get(node.service.as_str()).map(|upstream| Arc::clone(upstream));
                still_answers(node, upstream, Arc::clone(&names), Arc::clone(&prober))
            })
            .collect();
        Box::pin(futures::stream::iter(probes).buffered(PROBES_OF_LAPSED).collect())
    })
}

/// Asks by the service's check, or else whether a connection is taken. One of two tries is enough,
/// and of a host name one address.
async fn still_answers(
    node: LapsedNode,
    upstream: Option<Arc<Upstream>>,
    names: Arc<Names>,
    prober: Arc<Prober>,
) -> bool {
    let Ok(declared) = Node::parse(&node.value) else { return false };
    let addresses = match &declared.upstream {
        NodeAddress::Ip(address) => vec![*address],
        // Not all that a name server says may be connected to; the upstream has what may.
        NodeAddress::Name { host, port } => {
            let found = names.find(host).addresses;
            let found = found.iter().map(|ip| SocketAddr::new(*ip, *port));
            found.filter(|at| upstream.as_ref().is_some_and(|up| up.position(*at).is_some())).collect()
        }
    };
    for pause in [Duration::ZERO, Duration::from_millis(500)] {
        tokio::time::sleep(pause).await;
        for address in &addresses {
            match probe(*address, upstream.as_ref(), &prober).await {
                Ok(()) => return true,
                Err(why) => log::debug!("service \"{}\": {address} has no lease: {why}", node.service),
            }
        }
    }
    false
}

async fn probe(address: SocketAddr, upstream: Option<&Arc<Upstream>>, prober: &Prober) -> Result<(), Box<str>> {
    match upstream.and_then(|upstream| Some((upstream, upstream.position(address)?))) {
        Some((upstream, index)) => {
            let check = upstream.options.check.clone().unwrap_or_default();
            prober.probe(&upstream.nodes()[index], &check).await
        }
        None => prober.connects(address, Check::default().timeout).await,
    }
}

fn show(parts: &Parts, metrics: &Metrics) {
    let handle = Arc::clone(&parts.handle);
    metrics.set_nodes(move |each| {
        for upstream in handle.load().upstreams() {
            for node in upstream.nodes().iter() {
                let ejected = node.state.ejection.cause().map(Cause::name);
                let (picked, failed) = node.state.counted();
                each(NodeFigures {
                    service: &upstream.name,
                    node: node.label(),
                    up: is_up(&node.state),
                    ejected,
                    in_flight: node.state.in_flight(),
                    picked,
                    failed,
                });
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
        for node in upstream.nodes().iter().filter(|node| !is_up(&node.state)) {
            count += 1;
            if named.len() < NAMED {
                named.push(out(upstream, node.label(), &node.state));
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
    if let Some(cause) = state.ejection.cause() {
        let (lasts, times) = state.ejection.lasts();
        out["ejected"] = json!({"cause": cause.name(), "seconds": lasts.as_secs(), "times_in_a_row": times});
    }
    if let Some(last) = state.found.last() {
        out["last_probe"] = json!({"failure": last.failure, "seconds_ago": ago(last.at)});
    }
    out
}

/// A node that was left out and only gets single requests to show whether it is well is not up yet.
pub(super) fn is_up(state: &NodeState) -> bool {
    state.is_healthy() && !state.awaits_readmission()
}

pub(super) fn ago(at: SystemTime) -> u64 {
    at.elapsed().unwrap_or_default().as_secs()
}
