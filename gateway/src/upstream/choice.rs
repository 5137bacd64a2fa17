//! The choice of a node for a request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::balancer::{Balancer, Bound, Ring, affinity, among};
use super::queue::{self, Joined, Placed, Ticket};
use super::state::now_ms;
use super::{InFlight, Node, Tried, Upstream};

/// What a request asks of the choice.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The nodes it has tried.
    pub tried: &'a Tried,
    /// What the `hash` balancer tells it apart by, hashed.
    pub key: Option<u64>,
    /// Whether it goes to a node over HTTP/2.
    pub http2: bool,
    /// Whether it is only asked what the choice would be: then it takes nobody's turn.
    pub is_look: bool,
}

impl<'a> Wish<'a> {
    /// That of a request without a key.
    pub fn new(tried: &'a Tried) -> Self {
        Self { tried, key: None, http2: false, is_look: false }
    }
}

/// What came of a request's choice.
#[derive(Debug)]
pub enum Choice {
    /// This node, where it is counted already.
    Node(usize, InFlight),
    /// Every node it could go to is at its limit; it may wait.
    Wait(Ticket),
    /// They are, and as many requests wait as may.
    Full,
    /// There is no node it could go to.
    Nobody,
}

impl Upstream {
    /// Chooses a node, and counts the request there; `preferred` if that will do.
    pub fn choose(
        self: &Arc<Self>,
        wish: &Wish<'_>,
        preferred: Option<usize>,
        allowed: impl Fn(&Node) -> bool,
    ) -> Choice {
        let place = || {
            let preferred = preferred.filter(|index| {
                let node = &self.nodes[*index];
                node.state.is_usable() && allowed(node) && !wish.tried.contains(*index)
            });
            preferred.and_then(|index| self.enter_at(index, wish.http2)).or_else(|| self.enter(wish, &allowed))
        };
        let Some(limits) = &self.options.limits else {
            return place().map_or(Choice::Nobody, |(index, in_flight)| Choice::Node(index, in_flight));
        };
        let placed = if self.memory.queue.is_busy() { None } else { place() };
        if let Some((index, in_flight)) = placed {
            return Choice::Node(index, in_flight);
        }
        let possible = |index: &usize| !wish.tried.contains(*index) && allowed(&self.nodes[*index]);
        if !(0..self.nodes.len()).any(|index| possible(&index)) {
            return Choice::Nobody;
        }
        if limits.pending == 0 {
            return Choice::Full;
        }
        let nodes: Box<[usize]> = (0..self.nodes.len()).filter(possible).collect();
        match queue::join(self, nodes, wish.http2, limits.pending, place) {
            Joined::Placed((index, in_flight)) => Choice::Node(index, in_flight),
            Joined::Waits(ticket) => Choice::Wait(ticket),
            Joined::Full => Choice::Full,
        }
    }

    /// Picks a node and counts the request there.
    fn enter(&self, wish: &Wish<'_>, allowed: &impl Fn(&Node) -> bool) -> Option<Placed> {
        loop {
            let index = self.pick(wish, allowed)?;
            // It fails when another request took the last place meanwhile; that node is full now,
            // and passed over.
            if let Some(placed) = self.enter_at(index, wish.http2) {
                return Some(placed);
            }
        }
    }

    /// Counts a request at a node, if it has room.
    pub(super) fn enter_at(&self, index: usize, http2: bool) -> Option<Placed> {
        let state = &self.nodes[index].state;
        let in_flight = match &self.options.limits {
            None => InFlight::at(state),
            Some(limits) => {
                let waiting = (limits.pending > 0).then_some(&self.memory);
                InFlight::within(state, limits.most(http2), waiting)?
            }
        };
        Some((index, if self.balancer.bound().is_some() { in_flight.summed(&self.memory) } else { in_flight }))
    }

    /// Looks at all nodes for what the bound on their load must know of them, if there is one. For
    /// the health checker, since no request does.
    pub(super) fn take_stock(&self) {
        if let Some(bound) = self.balancer.bound() {
            bound.take_stock(&self.nodes, &self.memory);
        }
    }

    /// Whether one of these nodes has room.
    pub(super) fn has_room(&self, nodes: &[usize], http2: bool) -> bool {
        let most = self.most(http2);
        nodes.iter().any(|index| self.nodes[*index].state.in_flight() < most)
    }

    pub(super) fn most(&self, http2: bool) -> u32 {
        self.options.limits.as_ref().map_or(u32::MAX, |limits| limits.most(http2))
    }

    /// A node that was not tried, has room and is not ruled out by `allowed`, chosen as the service
    /// says. When no usable one is left any will do: a health check may be wrong, and a refused
    /// connection costs little.
    pub fn pick(&self, wish: &Wish<'_>, allowed: impl Fn(&Node) -> bool) -> Option<usize> {
        let most = self.most(wish.http2);
        let possible = |index: usize| !wish.tried.contains(index) && allowed(&self.nodes[index]);
        let has_room = |index: usize| most == u32::MAX || self.nodes[index].state.in_flight() < most;
        let is_usable = |index: usize| self.nodes[index].state.is_usable();
        let usable = |index: usize| possible(index) && is_usable(index) && has_room(index);
        self.balance(wish, &usable).or_else(|| {
            // A usable node without room is worth waiting for.
            let full = most != u32::MAX && (0..self.nodes.len()).any(|index| possible(index) && is_usable(index));
            if full { None } else { self.last_resort(wish, &|index| possible(index) && has_room(index)) }
        })
    }

    /// One of those that are `usable`, as the service says.
    #[inline]
    fn balance(&self, wish: &Wish<'_>, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        let ready = |index: usize| usable(index) && self.is_ready(index, fastrand::f32);
        match &self.balancer {
            Balancer::RoundRobin(schedule) => self.in_turn(schedule, wish, usable),
            Balancer::Random(draw) => draw.find(ready).or_else(|| self.any_by_weight(usable)),
            Balancer::LeastRequests(draw) => {
                draw.better(ready, |a, b| self.load(a, b) < self.load(b, a)).or_else(|| self.any_by_weight(usable))
            }
            Balancer::Ewma { draw, mean_weight } => {
                let now = now_ms();
                let cost = |index: usize| self.cost(index, *mean_weight, now);
                draw.better(ready, |a, b| cost(a) < cost(b)).or_else(|| self.any_by_weight(usable))
            }
            Balancer::Hash { ring, bound, schedule } => match wish.key {
                Some(key) => self.on_ring(ring, key, bound.as_ref(), usable),
                None => self.in_turn(schedule, wish, usable),
            },
        }
    }

    fn last_resort(&self, wish: &Wish<'_>, possible: &impl Fn(usize) -> bool) -> Option<usize> {
        match (&self.balancer, wish.key) {
            (Balancer::Hash { .. }, Some(key)) => self.nearest(key, possible),
            // The round has been moved on already, in search of a usable node; or would have been.
            (Balancer::Hash { .. } | Balancer::RoundRobin(_), _) => {
                let moved = usize::from(wish.is_look && wish.tried.count() == 0);
                let now = self.memory.cursor.load(Ordering::Relaxed).wrapping_add(moved);
                self.from(now).find(|index| possible(*index))
            }
            _ => self.from(self.turn(wish)).find(|index| possible(*index)),
        }
    }

    /// Where the round stands. A first try moves it on; a second one takes nobody's turn, or with two
    /// nodes every request would begin at the same one.
    #[inline]
    fn turn(&self, wish: &Wish<'_>) -> usize {
        let step = usize::from(wish.tried.count() == 0 && !wish.is_look);
        self.memory.cursor.fetch_add(step, Ordering::Relaxed)
    }

    /// Whether a node that is starting slowly takes this request. The chance, from 0 to 1, is asked
    /// for only then.
    #[inline]
    pub(super) fn is_ready(&self, index: usize, chance: impl FnOnce() -> f32) -> bool {
        let Some(slow_start) = self.options.slow_start else { return true };
        self.nodes[index].state.warmth(slow_start, now_ms).is_none_or(|warmth| chance() < warmth)
    }

    /// The requests at a node beside those at another, both by weight.
    fn load(&self, index: usize, other: usize) -> u64 {
        u64::from(self.nodes[index].state.in_flight()) * u64::from(self.nodes[other].weight)
    }

    /// What a request at this node is thought to cost: how soon it answers, for the requests it has.
    /// A node nothing is known of is taken for an average one.
    fn cost(&self, index: usize, mean_weight: f32, now: u64) -> f32 {
        let node = &self.nodes[index];
        let latency = node.state.latency.read(now).or_else(|| self.memory.latency.read(now)).unwrap_or(1.0);
        latency * (1.0 + node.state.in_flight() as f32 * mean_weight / node.weight as f32)
    }

    /// All nodes, beginning with this one of them.
    fn from(&self, first: usize) -> impl Iterator<Item = usize> {
        let count = self.nodes.len();
        (0..count).map(move |step| (first % count + step) % count)
    }

    fn in_turn(&self, schedule: &[u32], wish: &Wish<'_>, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        let len = schedule.len();
        if len == 0 {
            return None;
        }
        let start = if len == 1 { 0 } else { self.turn(wish) % len };
        // With a heavy node down the round may hold thousands of its turns in a row; beyond a few
        // times the number of nodes, looking at each node once is shorter.
        let round = schedule[start..].iter().chain(&schedule[..start]).map(|slot| *slot as usize);
        let in_turn =
            round.take(4 * self.nodes.len()).find(|index| usable(*index) && self.is_ready(*index, fastrand::f32));
        in_turn.or_else(|| self.from(start).find(|index| usable(*index)))
    }

    /// One by chance, when drawing has not found one.
    fn any_by_weight(&self, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        let nodes = self.nodes.iter().enumerate().filter(|(index, _)| usable(*index));
        among(nodes.map(|(index, node)| (index, node.weight)))
    }

    /// The owner of a key: the first on the ring that will do.
    /// When the load of all is beyond their bound, the first without one: a bound moves requests, it
    /// never refuses them.
    fn on_ring(&self, ring: &Ring, key: u64, bound: Option<&Bound>, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        // Keys go over to a starting node one after the other, and each stays there. The ring has
        // taken the upper half of the key.
        let chance = || (key as u32) as f32 / 4_294_967_296.0;
        let with_room = |per_weight: Option<f64>| {
            let has_room = |index: usize| {
                let node = &self.nodes[index];
                per_weight.is_none_or(|most| node.state.in_flight() < (most * f64::from(node.weight)).ceil() as u32)
            };
            ring.from(key).find(|index| usable(*index) && self.is_ready(*index, chance) && has_room(*index))
        };
        with_room(bound.map(|bound| bound.per_weight(&self.memory)))
            // The estimate is of all nodes, also of those that this request may not go to.
            .or_else(|| with_room(Some(bound?.per_weight_of(&self.nodes, usable))))
            .or_else(|| ring.from(key).find(|index| usable(*index)))
            .or_else(|| self.nearest(key, usable))
    }

    /// The node that suits a key best, when the ring does not say soon enough.
    fn nearest(&self, key: u64, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        (0..self.nodes.len()).filter(|index| wanted(*index)).max_by_key(|i| affinity(key, self.nodes[*i].address))
    }
}
