//! When which node is probed, and what follows from what was found.
//!
//! Runs beside the data path and only writes node states. Every probed node has one place in a heap
//! by the time it is due, so that ten thousand of them cost nothing until then. Nodes left out
//! because they refused a connection are asked whether they take one again, configured or not.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, MissedTickBehavior};

use super::{Check, Counts, Probe, Prober};
use crate::upstream::ejection::Cause;
use crate::upstream::state::now_ms;
use crate::upstream::{Node, NodeState, Upstream};

/// How often changed upstreams and nodes left out are looked for.
const TICK: Duration = Duration::from_millis(500);

/// What a probe is for.
#[derive(Debug, Clone, PartialEq)]
enum Purpose {
    /// The service's check.
    Check(Arc<Check>),
    /// To learn whether a node that refused a connection takes one again.
    Readmission,
}

type Outcome = Result<(), Box<str>>;
type Ask = dyn Fn(Arc<Upstream>, usize, Purpose) -> BoxFuture<'static, Outcome> + Send + Sync;

/// A probe that has ended.
struct Done {
    service: Arc<str>,
    address: SocketAddr,
    purpose: Purpose,
    started: Instant,
    outcome: Outcome,
}

/// A service whose nodes are watched.
struct Watched {
    upstream: Arc<Upstream>,
    /// The nodes that are probed; none when there is no check.
    tasks: HashMap<SocketAddr, Task>,
}

/// The probes of one node.
#[derive(Debug)]
struct Task {
    /// Its place among the upstream's nodes.
    index: usize,
    /// When it is probed next; `None` while it is, or when it is not.
    due: Option<Instant>,
    /// Results in a row that differ from the node's present health.
    streak: u32,
}

/// A node's place in the heap.
struct Due {
    at: Instant,
    service: Arc<str>,
    address: SocketAddr,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// Probes nodes when they are due.
pub struct Checker {
    ask: Arc<Ask>,
    concurrency: usize,
    services: HashMap<Arc<str>, Watched>,
    due: BinaryHeap<Reverse<Due>>,
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Nodes that are being asked whether they take connections again.
    asked: HashSet<(Arc<str>, SocketAddr)>,
}

impl Checker {
    /// A checker that does at most so many probes at a time.
    pub fn new(prober: Arc<Prober>, concurrency: usize) -> Self {
        let timeout = Check::default().timeout;
        Self::asking(concurrency, move |upstream, index, purpose| {
            let prober = Arc::clone(&prober);
            Box::pin(async move {
                let Some(node) = upstream.nodes().get(index) else { return Err("the node is gone".into()) };
                match purpose {
                    Purpose::Check(check) => prober.probe(node, &check).await,
                    Purpose::Readmission => prober.connects(node.address, timeout).await,
                }
            })
        })
    }

    fn asking(
        concurrency: usize,
        ask: impl Fn(Arc<Upstream>, usize, Purpose) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
    ) -> Self {
        Self {
            ask: Arc::new(ask),
            concurrency: concurrency.max(1),
            services: HashMap::new(),
            due: BinaryHeap::new(),
            running: FuturesUnordered::new(),
            asked: HashSet::new(),
        }
    }

    /// Probes until the future is dropped. `changed` is asked again and again for all upstreams, and
    /// gives them when they are not those it gave last.
    pub async fn run(mut self, mut changed: impl FnMut() -> Option<Vec<Arc<Upstream>>>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.start_due();
            let wake = self.wake();
            tokio::select! {
                Some(done) = self.running.next(), if !self.running.is_empty() => self.take(done),
                () = at(wake) => {}
                _ = tick.tick() => {
                    if let Some(upstreams) = changed() {
                        self.adopt(upstreams);
                    }
                    self.ask_refused();
                    self.services.values().for_each(|watched| {
                        watched.upstream.judge();
                        watched.upstream.take_stock();
                    });
                }
            }
        }
    }

    /// Takes over what has changed: new nodes are probed within an interval, at a time of their own.
    fn adopt(&mut self, upstreams: Vec<Arc<Upstream>>) {
        let now = Instant::now();
        let mut services = HashMap::with_capacity(upstreams.len());
        for upstream in upstreams {
            let name = Arc::clone(&upstream.name);
            let watched = match self.services.remove(&name) {
                Some(watched) if Arc::ptr_eq(&watched.upstream, &upstream) => watched,
                before => self.watch(upstream, before, now),
            };
            services.insert(name, watched);
        }
        self.services = services;
    }

    fn watch(&mut self, upstream: Arc<Upstream>, before: Option<Watched>, now: Instant) -> Watched {
        let Some(check) = check_of(&upstream) else {
            // Nobody would ever find them healthy again.
            upstream.nodes().iter().for_each(|n| n.state.heal());
            return Watched { upstream, tasks: HashMap::new() };
        };
        let same = before.as_ref().is_some_and(|before| check_of(&before.upstream) == Some(check));
        let mut known = before.map(|before| before.tasks).unwrap_or_default();
        let mut tasks = HashMap::with_capacity(upstream.nodes().len());
        for (index, node) in upstream.nodes().iter().enumerate() {
            let task = match known.remove(&node.address) {
                Some(task) if same => Task { index, ..task },
                _ => {
                    let interval = interval(check, &node.state);
                    let due = (!interval.is_zero()).then(|| now + interval.mul_f64(rand::random()));
                    let task = Task { index, due, streak: 0 };
                    push(&mut self.due, &upstream.name, node.address, &task);
                    task
                }
            };
            tasks.insert(node.address, task);
        }
        Watched { upstream, tasks }
    }

    /// When a probe is due that may be started.
    fn wake(&self) -> Option<Instant> {
        self.due.peek().filter(|_| self.running.len() < self.concurrency).map(|Reverse(due)| due.at)
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        while self.wake().is_some_and(|at| at <= now) {
            let Some(Reverse(due)) = self.due.pop() else { break };
            let Some(watched) = self.services.get_mut(&due.service) else { continue };
            let Some(check) = watched.upstream.options.check.clone() else { continue };
            // Another place in the heap counts, or none.
            let Some(task) = watched.tasks.get_mut(&due.address).filter(|task| task.due == Some(due.at)) else {
                continue;
            };
            task.due = None;
            let (upstream, index) = (Arc::clone(&watched.upstream), task.index);
            self.start(upstream, index, Purpose::Check(check), now);
        }
    }

    fn start(&self, upstream: Arc<Upstream>, index: usize, purpose: Purpose, started: Instant) {
        let Some(node) = upstream.nodes().get(index) else { return };
        let (service, address) = (Arc::clone(&upstream.name), node.address);
        let asked = (self.ask)(upstream, index, purpose.clone());
        self.running.push(Box::pin(async move { Done { service, address, purpose, started, outcome: asked.await } }));
    }

    /// Asks the nodes that refused a connection. Only services that have some are looked through.
    fn ask_refused(&mut self) {
        let mut refused = Vec::new();
        for watched in self.services.values() {
            let flag = &watched.upstream.memory.left_out;
            if !flag.load(Ordering::Relaxed) {
                continue;
            }
            // Before looking: one that comes to be left out meanwhile sets it again.
            flag.store(false, Ordering::Relaxed);
            for (index, node) in watched.upstream.nodes().iter().enumerate() {
                if node.state.ejection.cause() == Some(Cause::Refused) {
                    flag.store(true, Ordering::Relaxed);
                    refused.push((Arc::clone(&watched.upstream), index));
                }
            }
        }
        for (upstream, index) in refused {
            let node = &upstream.nodes()[index];
            let room = self.running.len() < self.concurrency;
            if room && self.asked.insert((Arc::clone(&upstream.name), node.address)) {
                self.start(upstream, index, Purpose::Readmission, Instant::now());
            }
        }
    }

    fn take(&mut self, done: Done) {
        let Done { service, address, purpose, started, outcome } = done;
        if purpose == Purpose::Readmission {
            self.asked.remove(&(Arc::clone(&service), address));
        }
        let Some(watched) = self.services.get_mut(&service) else { return };
        let upstream = &watched.upstream;
        let Purpose::Check(check) = purpose else {
            let node = upstream.position(address).map(|index| &upstream.nodes()[index]);
            if let Some(node) = node.filter(|_| outcome.is_ok()) {
                readmit(upstream, node, true);
            }
            return;
        };
        let Some(task) = watched.tasks.get_mut(&address) else { return };
        let node = &upstream.nodes()[task.index];
        if task.due.is_some() || check_of(upstream) != Some(&check) {
            // It was asked by a check that is no more.
            return;
        }
        conclude(upstream, node, &check, task, outcome);
        let interval = jittered(interval(&check, &node.state), check.jitter);
        if !interval.is_zero() {
            task.due = Some((started + interval).max(Instant::now()));
            push(&mut self.due, &service, address, task);
        }
    }
}

/// What a probe means for the node.
fn conclude(upstream: &Upstream, node: &Node, check: &Check, task: &mut Task, outcome: Outcome) {
    let (counts, found) = (&upstream.memory.counts, &node.state.found);
    let failure = outcome.as_ref().err().cloned();
    Counts::one(if failure.is_none() { &counts.passed } else { &counts.failed });
    found.probed(outcome);
    if failure.is_none() {
        readmit(upstream, node, check.probe == Probe::Tcp);
    }
    if failure.is_none() == node.state.is_healthy() {
        task.streak = 0;
        return;
    }
    task.streak += 1;
    let needed = if failure.is_none() { check.successes } else { check.failures };
    if task.streak < needed {
        return;
    }
    task.streak = 0;
    let (service, address, kind) = (&upstream.name, node.address, check.probe.name());
    if let Some(why) = failure {
        node.state.condemn(&why);
        Counts::one(&counts.unhealthy);
        log::warn!("service \"{service}\": node {address} is unhealthy, {needed} {kind} probes failed: {why}");
        upstream.tell(node, "healthy", "unhealthy", format_args!("{needed} {kind} probes failed: {why}"));
    } else {
        node.state.heal();
        Counts::one(&counts.healthy);
        log::info!("service \"{service}\": node {address} is healthy again");
        upstream.tell(node, "unhealthy", "healthy", format_args!("{needed} {kind} probes succeeded"));
    }
}

fn readmit(upstream: &Upstream, node: &Node, only_connects: bool) {
    if node.state.ejection.probed(only_connects, now_ms()) {
        upstream.taken_back(node);
    }
}

/// The check of an upstream, if its nodes are probed.
fn check_of(upstream: &Upstream) -> Option<&Arc<Check>> {
    upstream.options.check.as_ref().filter(|check| check.single || upstream.nodes().len() > 1)
}

fn interval(check: &Check, state: &NodeState) -> Duration {
    if state.is_healthy() { check.interval } else { check.unhealthy_interval }
}

/// An interval with a share of it left to chance; the mean stays what it is.
fn jittered(interval: Duration, jitter: f64) -> Duration {
    interval.mul_f64((1.0 + jitter * (rand::random::<f64>() - 0.5)).max(0.0))
}

fn push(heap: &mut BinaryHeap<Reverse<Due>>, service: &Arc<str>, address: SocketAddr, task: &Task) {
    if let Some(at) = task.due {
        heap.push(Reverse(Due { at, service: Arc::clone(service), address }));
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
