//! Active health checks: TCP probes on pingora-load-balancing's check, at the old gateway's pace.
//!
//! Runs beside the data path and only writes [`NodeState`]s. Ejected nodes are probed too, whether
//! or not checks are configured, so that one that answers again is taken back at once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{HealthCheck, TcpHealthCheck};

use super::{NodeState, Upstream};

/// How often due probes are looked for, and ejected nodes probed.
const TICK: Duration = Duration::from_millis(500);

/// What is probed, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthOptions {
    /// Time for one probe.
    pub timeout: Duration,
    /// Probes at the same time.
    pub concurrency: usize,
    /// Between probes of a healthy node; zero = none.
    pub healthy_interval: Duration,
    /// Successes that make an unhealthy node healthy.
    pub successes: u32,
    /// Between probes of an unhealthy node; zero = none.
    pub unhealthy_interval: Duration,
    /// Failures that make a healthy node unhealthy.
    pub failures: u32,
}

impl Default for HealthOptions {
    /// Ejected nodes are probed, nothing else.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            concurrency: 10,
            healthy_interval: Duration::ZERO,
            successes: 1,
            unhealthy_interval: Duration::ZERO,
            failures: 2,
        }
    }
}

/// The progress of one node's probes.
struct Progress {
    last: Instant,
    /// Results in a row that differ from the node's present health.
    streak: u32,
}

/// Probes nodes. Keyed by service and address, as node states are.
pub struct Checker {
    options: HealthOptions,
    check: TcpHealthCheck,
    progress: HashMap<(Arc<str>, SocketAddr), Progress>,
}

struct Probe {
    service: Arc<str>,
    address: SocketAddr,
    state: Arc<NodeState>,
}

impl Checker {
    /// A checker with these options.
    pub fn new(options: HealthOptions) -> Self {
        let mut check = *TcpHealthCheck::new();
        check.peer_template.options.connection_timeout = Some(options.timeout);
        Self { options, check, progress: HashMap::new() }
    }

    /// Probes what is due now among these upstreams, again and again; `upstreams` is asked anew
    /// each time. Ends when the future is dropped.
    pub async fn run(mut self, upstreams: impl Fn() -> Vec<Arc<Upstream>>) {
        loop {
            let upstreams = upstreams();
            self.round(&upstreams).await;
            tokio::time::sleep(TICK).await;
        }
    }

    async fn round(&mut self, upstreams: &[Arc<Upstream>]) {
        let now = Instant::now();
        let due = self.due(upstreams, now);
        let check = &self.check;
        let results: Vec<(Probe, bool)> = futures::stream::iter(due)
            .map(|probe| async move {
                let answered = match Backend::new(&probe.address.to_string()) {
                    Ok(backend) => check.check(&backend).await.is_ok(),
                    Err(_) => false,
                };
                (probe, answered)
            })
            .buffer_unordered(self.options.concurrency)
            .collect()
            .await;
        for (probe, answered) in results {
            self.record(probe, answered);
        }
    }

    fn due(&mut self, upstreams: &[Arc<Upstream>], now: Instant) -> Vec<Probe> {
        let mut known = HashMap::with_capacity(self.progress.len());
        let mut due = Vec::new();
        for upstream in upstreams {
            for node in upstream.nodes() {
                let key = (Arc::clone(&upstream.name), node.address);
                let progress = self.progress.remove(&key);
                let interval = if node.state.is_healthy() {
                    self.options.healthy_interval
                } else {
                    self.options.unhealthy_interval
                };
                // As in the old gateway a single node is not checked: there is nothing to choose.
                let checked = upstream.nodes().len() > 1 && !interval.is_zero();
                let waited = progress.as_ref().is_none_or(|p| now.duration_since(p.last) >= interval);
                let probe = (checked && waited) || node.state.awaits_readmission();
                known.insert(
                    key,
                    Progress {
                        last: if probe { now } else { progress.as_ref().map_or(now, |p| p.last) },
                        streak: progress.map_or(0, |p| p.streak),
                    },
                );
                if probe {
                    due.push(Probe {
                        service: Arc::clone(&upstream.name),
                        address: node.address,
                        state: Arc::clone(&node.state),
                    });
                }
            }
        }
        self.progress = known;
        due
    }

    fn record(&mut self, probe: Probe, answered: bool) {
        let Probe { service, address, state } = probe;
        if answered && state.readmit() {
            log::info!("service \"{service}\": node {address} answers again and takes requests");
        }
        let Some(progress) = self.progress.get_mut(&(Arc::clone(&service), address)) else { return };
        if answered == state.is_healthy() {
            progress.streak = 0;
            return;
        }
        progress.streak += 1;
        let needed = if answered { self.options.successes } else { self.options.failures };
        if progress.streak >= needed {
            progress.streak = 0;
            state.set_healthy(answered);
            if answered {
                log::info!("service \"{service}\": node {address} is healthy again");
            } else {
                log::warn!("service \"{service}\": node {address} is unhealthy: {needed} probes failed");
            }
        }
    }
}
