//! What the Admin API tells of what is going on: the cluster is joined here, and counters are read every
//! ten seconds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Parts, state};
use crate::admin::LiveDeps;
use crate::cluster::{Cluster, RejectedObject, Report};
use crate::config::{Config, StoreKind};
use crate::telemetry::{Hour, STEP};

/// Rejected objects that a report names, and how much it says of each.
const REJECTED: usize = 5;
const REASON: usize = 200;

/// The last hour of this gateway.
#[derive(Default)]
pub(super) struct Figures {
    routes: Hour,
    pub(super) nodes: Hour,
}

/// Joins the cluster, and begins to read counters. Must be called within the runtime.
pub(super) fn start(parts: &Arc<Parts>) -> LiveDeps {
    let cluster = cluster(parts);
    let figures = Arc::new(Figures::default());
    tokio::spawn(read(Arc::clone(parts), Arc::clone(&figures)));
    let (handle, of_nodes) = (Arc::clone(&parts.handle), Arc::clone(&figures));
    LiveDeps {
        events: Arc::clone(&parts.metrics.events),
        tap: Arc::clone(&parts.metrics.tap),
        cluster,
        services: Arc::new(move |name| state::services(&handle.load_full(), &of_nodes, name)),
        figures: Arc::new(move |of_nodes, since| {
            let hour = if of_nodes { &figures.nodes } else { &figures.routes };
            hour.series(since, |_| true)
        }),
    }
}

fn cluster(parts: &Arc<Parts>) -> Arc<Cluster> {
    let hostname = hostname();
    let started = unix(SystemTime::now() - parts.started.elapsed());
    let url = url(&parts.config);
    let of = Arc::clone(parts);
    let report = Arc::new(move || report(&of, &hostname, started, url.as_ref()));
    let prefix = &parts.config.store.data_prefix;
    let cluster = Cluster::new(Arc::clone(&parts.store), prefix, report, Arc::clone(&parts.metrics.events));
    // The embedded store has one gateway; there is nobody to be told.
    if parts.config.store.kind == StoreKind::Etcd {
        tokio::spawn(Arc::clone(&cluster).follow());
        tokio::spawn(Arc::clone(&cluster).keep(parts.ending.retired.subscribe()));
    }
    cluster
}

fn report(parts: &Parts, hostname: &str, started: u64, url: Option<&String>) -> Report {
    let rejected = Arc::clone(&parts.handle.load().rejected);
    let first = rejected
        .iter()
        .take(REJECTED)
        .map(|object| RejectedObject { key: object.key.clone(), reason: object.reason.chars().take(REASON).collect() });
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: hostname.to_owned(),
        started,
        url: url.cloned(),
        stored_revision: parts.status.stored_revision(),
        applied_revision: parts.status.applied_revision(),
        rejected: rejected.len(),
        rejected_first: first.collect(),
        ready: parts.is_ready(),
        draining: parts.draining.load(Ordering::Relaxed),
    }
}

/// Where the others reach this one's Admin API, if they do.
fn url(config: &Config) -> Option<String> {
    let of_listener = || {
        let address = config.admin.listen.filter(|at| !at.ip().is_loopback() && !at.ip().is_unspecified())?;
        Some(format!("http://{address}"))
    };
    config.admin.advertise.clone().or_else(of_listener)
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// Reads the counters at the end of every step, as long as the process lives.
async fn read(parts: Arc<Parts>, figures: Arc<Figures>) {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let next = (now.as_secs() / STEP + 1) * STEP;
        tokio::time::sleep(Duration::from_secs(next).saturating_sub(now)).await;
        // The timer may be early by a little, or late by a lot: the step is the one that has ended.
        let at = next.max(unix(SystemTime::now()) / STEP * STEP) - STEP;
        figures.routes.read(at, parts.metrics.route_figures());
        let snapshot = parts.handle.load_full();
        let nodes = snapshot.upstreams().flat_map(|upstream| upstream.nodes().iter().map(move |node| (upstream, node)));
        let nodes = nodes.map(|(upstream, node)| {
            ([node.label().to_owned(), upstream.name.to_string()], node.state.served.figures())
        });
        figures.nodes.read(at, nodes);
    }
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
