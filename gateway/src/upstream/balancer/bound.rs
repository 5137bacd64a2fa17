//! The bound on the load of a node: so many times its share of the requests in flight.
//!
//! To look at all nodes for each request would take longer than the request. So the service keeps
//! the sum of its requests in flight, which changes with each, and takes stock of what is to be
//! known beside it, which changes seldom: the weight of the nodes that are usable, and how much of
//! the sum is not at them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::upstream::{Memory, Node};

/// The bound of a service.
#[derive(Debug)]
pub(crate) struct Bound {
    /// How many times its share a node may have; at least 1.
    times: f64,
    /// The usable nodes' weight.
    weight: AtomicU64,
    /// How much larger the sum is than what is in flight at usable nodes. Requests that began before
    /// there was a bound are not in the sum; then it is less than 0.
    elsewhere: AtomicI64,
}

impl Bound {
    pub(super) fn new(times: f64) -> Self {
        Self { times, weight: AtomicU64::new(0), elsewhere: AtomicI64::new(0) }
    }

    /// Looks at all nodes. Requests that begin or end meanwhile may be mistaken, until the next time.
    pub(crate) fn take_stock(&self, nodes: &[Node], memory: &Memory) {
        let (mut weight, mut requests) = (0, 0_i64);
        for node in nodes.iter().filter(|node| node.state.is_usable()) {
            weight += u64::from(node.weight);
            requests += i64::from(node.state.in_flight());
        }
        self.weight.store(weight, Relaxed);
        self.elsewhere.store(sum(memory) - requests, Relaxed);
    }

    /// The most requests a node may have for its weight, so that none has more than so many times
    /// its share of those in flight, one more included. Requests that choose at the same moment do
    /// not see each other, and may go over it by as many as they are.
    ///
    /// A node that has become unusable, or usable again, is noticed when stock is taken. Until then
    /// the bound is too tight by its share, or too loose. A bound too tight may find no node with
    /// room; who asks then has to look: [`Self::per_weight_of`].
    #[inline]
    pub(crate) fn per_weight(&self, memory: &Memory) -> f64 {
        let requests = (sum(memory) - self.elsewhere.load(Relaxed)).max(0) + 1;
        self.times * requests as f64 / self.weight.load(Relaxed).max(1) as f64
    }

    /// The same of just the nodes that a request could go to. Looks at all nodes, so it is only asked
    /// for when the estimate lets a request go nowhere.
    pub(crate) fn per_weight_of(&self, nodes: &[Node], usable: &impl Fn(usize) -> bool) -> f64 {
        let (mut weight, mut requests) = (0, 1);
        for (_, node) in nodes.iter().enumerate().filter(|(index, _)| usable(*index)) {
            weight += u64::from(node.weight);
            requests += u64::from(node.state.in_flight());
        }
        self.times * requests as f64 / weight.max(1) as f64
    }
}

fn sum(memory: &Memory) -> i64 {
    i64::try_from(memory.in_flight.load(Relaxed)).unwrap_or(i64::MAX)
}

/// A request that is in the sum of its service until this is dropped.
#[derive(Debug)]
pub(crate) struct Summed(Arc<Memory>);

impl Summed {
    pub(crate) fn new(memory: &Arc<Memory>) -> Self {
        memory.in_flight.fetch_add(1, Relaxed);
        Self(Arc::clone(memory))
    }
}

impl Drop for Summed {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
