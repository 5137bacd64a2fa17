//! A service's nodes and the choice among them.
//!
//! An [`Upstream`] is immutable and compiled with its snapshot: prebuilt peers, and what its balancer
//! needs: a schedule, a table to draw from, or a ring. What a node has been through (health, ejection, requests in
//! flight) is in [`NodeState`], which outlives snapshots and is found again by address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use pingora::upstreams::peer::HttpPeer;
use serde_json::json;

mod balancer;
#[cfg(test)]
mod balancer_tests;
mod choice;
pub mod ejection;
mod foresee;
mod gate;
pub mod health;
mod latency;
#[cfg(test)]
mod limit_tests;
mod names;
mod nodes;
mod outcome;
mod passive;
mod peer;
mod proxy_protocol;
mod queue;
mod resolve;
mod retry;
mod schedule;
mod served;
mod state;
#[cfg(test)]
mod tests;
mod timed;
mod tls;

pub use balancer::{Balancing, HashOn, Hashing};
pub use choice::{Choice, Wish};
pub use foresee::Foreseen;
use health::{Check, Counts};
pub use names::{Found, Names};
pub use nodes::{Nodes, Walk};
pub use outcome::Outcome;
pub use passive::Passive;
pub use peer::{NodeProtocol, PeerOptions, Peers, Reach, isolate, override_timeouts};
pub use proxy_protocol::{ProxyVersion, announce};
pub use queue::Ticket;
pub use resolve::{ResolveOptions, resolve};
pub use retry::{RetryBudget, RetryOn, RetryPolicy};
pub use served::Served;
pub use state::{InFlight, NodeState};
pub use timed::{ReadDeadline, time};
pub use tls::{NodeTls, is_untrusted};

use crate::telemetry::Events;

/// Most nodes one request may try.
pub const MAX_TRIES: usize = 10;

/// A node as the balancer sees it. Small, so that many of them are near each other in memory; the
/// rest is shared with the upstreams before and after.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share of the requests, at least 1.
    pub weight: u32,
    /// What it has been through.
    pub state: Arc<NodeState>,
    /// How to connect to it.
    pub peers: Arc<Peers>,
}

impl Node {
    /// A node that nothing is known of yet.
    pub fn new(address: SocketAddr, weight: u32, peers: Peers) -> Self {
        Self { address, weight, state: Arc::default(), peers: Arc::new(peers) }
    }

    /// The address as logs write it.
    pub fn label(&self) -> &str {
        self.peers.label()
    }
}

/// The most a node is given at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most requests over HTTP/1.1, each of which has a connection of its own.
    pub http1: u32,
    /// Most requests over HTTP/2.
    pub http2: u32,
    /// Most requests that wait while every node is at its limit.
    pub pending: usize,
    /// How long they wait.
    pub wait: Duration,
}

impl Limits {
    fn most(&self, http2: bool) -> u32 {
        if http2 { self.http2 } else { self.http1 }
    }
}

/// How the nodes of a service are used.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamOptions {
    /// How a node is chosen.
    pub balancing: Balancing,
    /// How long a new or recovered node takes to reach its whole weight.
    pub slow_start: Option<Duration>,
    /// The most a node is given at a time.
    pub limits: Option<Limits>,
    /// Whether nodes are spoken to over HTTP/2 also when a request is not gRPC.
    pub speaks_http2: bool,
    /// Most nodes tried for one request; at most [`MAX_TRIES`].
    pub max_tries: usize,
    /// What is tried again.
    pub retry: RetryPolicy,
    /// Longest wait for the header of a response.
    pub first_byte: Option<Duration>,
    /// Time for the whole exchange.
    pub total: Option<Duration>,
    /// How long a node that refuses connections is left out.
    pub eject_time: Duration,
    /// How its nodes are probed; not at all when absent.
    pub check: Option<Arc<Check>>,
    /// When nodes are left out because of what requests show, refused connections aside.
    pub passive: Option<Passive>,
    /// The PROXY protocol's header its nodes expect.
    pub proxy_protocol: Option<ProxyVersion>,
}

impl Default for UpstreamOptions {
    /// As the configuration file's defaults.
    fn default() -> Self {
        Self {
            balancing: Balancing::default(),
            slow_start: None,
            limits: None,
            speaks_http2: false,
            max_tries: 3,
            retry: RetryPolicy::default(),
            first_byte: None,
            total: None,
            eject_time: Duration::from_secs(10),
            check: None,
            passive: None,
            proxy_protocol: None,
        }
    }
}

/// What is remembered of a service over rebuilds, beside its nodes' states.
#[derive(Debug, Default)]
pub struct Memory {
    /// Where the round stands, so that a change does not restart it.
    cursor: AtomicUsize,
    /// The requests in flight at its nodes, together; kept only while a balancer asks for it.
    in_flight: AtomicUsize,
    /// How soon its nodes answer, together.
    latency: latency::Latency,
    /// Who waits for a node.
    queue: queue::Queue,
    /// The retries there may be.
    pub budget: RetryBudget,
    /// Whether there may be nodes left out, which the health checker must look for.
    left_out: AtomicBool,
    /// Whether it is being decided if there is room to leave out one more node.
    deciding: AtomicBool,
    /// When the window of passive checks began.
    window_began: AtomicU64,
    /// What has happened to its nodes.
    pub counts: Counts,
    /// Who is told when one of its nodes changes, if anyone is.
    events: Option<Arc<Events>>,
}

impl Memory {
    /// Nothing yet; changes of nodes are told there.
    pub fn telling(events: &Arc<Events>) -> Arc<Self> {
        Arc::new(Self { events: Some(Arc::clone(events)), ..Self::default() })
    }
}

/// A node that is declared and takes no requests.
#[derive(Debug, Clone)]
pub struct Resting {
    /// Where it listens.
    pub address: SocketAddr,
    /// Why it rests: `drain`, `disabled` or `weight`.
    pub why: &'static str,
    /// What it has been through, when it took requests before: some may be in flight still.
    pub state: Option<Arc<NodeState>>,
}

/// The nodes of a service.
#[derive(Debug)]
pub struct Upstream {
    /// The service's name.
    pub name: Arc<str>,
    /// How its nodes are used.
    pub options: UpstreamOptions,
    /// Kept over rebuilds.
    pub memory: Arc<Memory>,
    /// Nodes that are declared and take no requests, to be shown.
    pub resting: Vec<Resting>,
    nodes: Nodes,
    balancer: balancer::Balancer,
}

/// The nodes a request has tried, by index.
#[derive(Debug, Default, Clone)]
pub struct Tried {
    nodes: [u32; MAX_TRIES],
    count: usize,
}

impl Tried {
    /// How many nodes were tried.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether this node was.
    pub fn contains(&self, node: usize) -> bool {
        self.nodes[..self.count].iter().any(|n| *n as usize == node)
    }

    /// Takes the last node back, so that it may be tried again.
    pub fn pop(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// Adds a node. Beyond [`MAX_TRIES`] nothing is added; no request tries more.
    pub fn push(&mut self, node: usize) {
        if let Some(slot) = self.nodes.get_mut(self.count) {
            *slot = u32::try_from(node).unwrap_or(u32::MAX);
            self.count += 1;
        }
    }
}

impl Upstream {
    /// An upstream of these nodes. Nodes of weight 0 must have been left out.
    pub fn new(name: Arc<str>, nodes: Nodes, options: UpstreamOptions, memory: Arc<Memory>) -> Self {
        let balancer = balancer::Balancer::new(&options.balancing, &nodes);
        Self::with(name, nodes, options, memory, balancer)
    }

    /// The upstream of the same service after a change: as a new one, but made from what this one
    /// has where that is quicker.
    #[must_use]
    pub fn succeeded_by(&self, nodes: Nodes, options: UpstreamOptions) -> Self {
        let balancer = self.balancer.succeeded_by(&options.balancing, &self.nodes, &nodes);
        Self::with(Arc::clone(&self.name), nodes, options, Arc::clone(&self.memory), balancer)
    }

    fn with(
        name: Arc<str>,
        nodes: Nodes,
        options: UpstreamOptions,
        memory: Arc<Memory>,
        balancer: balancer::Balancer,
    ) -> Self {
        let upstream = Self { name, options, memory, resting: Vec::new(), nodes, balancer };
        upstream.take_stock();
        upstream
    }

    /// What a node has been through, whether it takes requests or rests.
    pub fn state_of(&self, address: SocketAddr) -> Option<&Arc<NodeState>> {
        let resting = || self.resting.iter().find(|node| node.address == address)?.state.as_ref();
        self.position(address).map(|index| &self.nodes[index].state).or_else(resting)
    }

    /// All nodes that take requests.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// The node at this address, if the service has it.
    pub fn position(&self, address: SocketAddr) -> Option<usize> {
        self.nodes.position(address)
    }

    /// Tells of a node that has become something else than it was.
    fn tell(&self, node: &Node, from: &str, to: &str, why: std::fmt::Arguments<'_>) {
        if let Some(events) = &self.memory.events {
            let (service, node) = (&*self.name, node.label());
            let event = json!({"service": service, "node": node, "from": from, "to": to, "why": why.to_string()});
            events.tell("node", event);
        }
    }

    /// Whether a request that tried these nodes may try another.
    pub fn may_try_again(&self, tried: &Tried) -> bool {
        tried.count() < self.options.max_tries.min(MAX_TRIES) && tried.count() < self.nodes.len()
    }
}

/// A peer ready to be handed to Pingora.
pub type BoxedPeer = Box<HttpPeer>;
