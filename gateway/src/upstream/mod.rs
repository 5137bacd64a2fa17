//! A service's nodes and the choice among them.
//!
//! An [`Upstream`] is immutable and compiled with its snapshot: prebuilt peers, a schedule that is
//! evenly interleaved by weight. What a node has been through (health, ejection, requests in
//! flight) is in [`NodeState`], which outlives snapshots and is found again by address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pingora::upstreams::peer::HttpPeer;

mod gate;
pub mod health;
mod outcome;
mod peer;
mod retry;
mod schedule;
mod state;
#[cfg(test)]
mod tests;

pub use outcome::Outcome;
pub use peer::{PeerOptions, Peers};
pub use retry::{RetryBudget, RetryOn, RetryPolicy};
pub use state::{InFlight, NodeState};

/// Most nodes one request may try.
pub const MAX_TRIES: usize = 10;

/// A node as the balancer sees it.
#[derive(Debug)]
pub struct Node {
    /// Where it listens.
    pub address: SocketAddr,
    /// The address as logs write it.
    pub label: Box<str>,
    /// Its share of the requests, at least 1.
    pub weight: u32,
    /// What it has been through.
    pub state: Arc<NodeState>,
    /// How to connect to it.
    pub peers: Peers,
}

/// How the nodes of a service are used.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamOptions {
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
}

impl Default for UpstreamOptions {
    /// As the configuration file's defaults.
    fn default() -> Self {
        Self {
            max_tries: 3,
            retry: RetryPolicy::default(),
            first_byte: None,
            total: None,
            eject_time: Duration::from_secs(10),
        }
    }
}

/// What is remembered of a service over rebuilds, beside its nodes' states.
#[derive(Debug, Default)]
pub struct Memory {
    /// Where the round stands, so that a change does not restart it.
    cursor: AtomicUsize,
    /// The retries there may be.
    pub budget: RetryBudget,
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
    nodes: Box<[Node]>,
    schedule: Box<[u32]>,
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
    pub fn new(name: Arc<str>, nodes: Vec<Node>, options: UpstreamOptions, memory: Arc<Memory>) -> Self {
        let weights: Vec<u32> = nodes.iter().map(|n| n.weight).collect();
        Self { name, options, memory, schedule: schedule::interleave(&weights), nodes: nodes.into() }
    }

    /// All nodes that take requests.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The next node in turn that was not tried and is not ruled out by `allowed`. Usable nodes
    /// come first; when none is left any will do: a health check may be wrong, and a refused
    /// connection costs little.
    pub fn pick(&self, tried: &Tried, allowed: impl Fn(&Node) -> bool) -> Option<usize> {
        let len = self.schedule.len();
        if len == 0 {
            return None;
        }
        let start = if len == 1 { 0 } else { self.memory.cursor.fetch_add(1, Ordering::Relaxed) % len };
        let possible = |index: &usize| !tried.contains(*index) && allowed(&self.nodes[*index]);
        let usable = |index: &usize| possible(index) && self.nodes[*index].state.is_usable();
        // With a heavy node down the round may hold thousands of its turns in a row; beyond a few
        // times the number of nodes, looking at each node once is shorter.
        let round = self.schedule[start..].iter().chain(&self.schedule[..start]).map(|slot| *slot as usize);
        let in_turn = round.take(4 * self.nodes.len()).find(usable);
        let any = || (0..self.nodes.len()).map(|i| (i + start) % self.nodes.len());
        in_turn.or_else(|| any().find(usable)).or_else(|| any().find(possible))
    }

    /// The node at this address, if the service has it.
    pub fn position(&self, address: SocketAddr) -> Option<usize> {
        self.nodes.iter().position(|n| n.address == address)
    }

    /// Whether a request that tried these nodes may try another.
    pub fn may_try_again(&self, tried: &Tried) -> bool {
        tried.count() < self.options.max_tries.min(MAX_TRIES) && tried.count() < self.nodes.len()
    }
}

/// A peer ready to be handed to Pingora.
pub type BoxedPeer = Box<HttpPeer>;
