//! The choice of a node for a request.

use std::sync::atomic::Ordering;

use super::balancer::{Balancer, Ring, affinity, among};
use super::state::now_ms;
use super::{Node, Tried, Upstream};

/// What a request asks of the choice.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The nodes it has tried.
    pub tried: &'a Tried,
    /// What the `hash` balancer tells it apart by, hashed.
    pub key: Option<u64>,
}

impl<'a> Wish<'a> {
    /// That of a request without a key.
    pub fn new(tried: &'a Tried) -> Self {
        Self { tried, key: None }
    }
}

impl Upstream {
    /// A node that was not tried and is not ruled out by `allowed`, chosen as the service says.
    /// Usable nodes come first; when none is left any will do: a health check may be wrong, and a
    /// refused connection costs little.
    pub fn pick(&self, wish: &Wish<'_>, allowed: impl Fn(&Node) -> bool) -> Option<usize> {
        let possible = |index: usize| !wish.tried.contains(index) && allowed(&self.nodes[index]);
        let usable = |index: usize| possible(index) && self.nodes[index].state.is_usable();
        match &self.balancer {
            Balancer::RoundRobin(schedule) => self.in_turn(schedule, &possible),
            Balancer::Random(draw) => {
                let ready = |index: usize| usable(index) && self.is_ready(index, fastrand::f32);
                draw.find(ready).or_else(|| self.any_by_weight(&possible))
            }
            Balancer::LeastRequests(draw) => {
                let ready = |index: usize| usable(index) && self.is_ready(index, fastrand::f32);
                draw.better(ready, |a, b| self.load(a, b) < self.load(b, a)).or_else(|| self.any_by_weight(&possible))
            }
            Balancer::Ewma { draw, mean_weight } => {
                let ready = |index: usize| usable(index) && self.is_ready(index, fastrand::f32);
                let now = now_ms();
                let cost = |index: usize| self.cost(index, *mean_weight, now);
                draw.better(ready, |a, b| cost(a) < cost(b)).or_else(|| self.any_by_weight(&possible))
            }
            Balancer::Hash { ring, bound, schedule } => match wish.key {
                Some(key) => self.on_ring(ring, key, *bound, &possible),
                None => self.in_turn(schedule, &possible),
            },
        }
    }

    fn is_usable(&self, index: usize) -> bool {
        self.nodes[index].state.is_usable()
    }

    /// Whether a node that is starting slowly takes this request. The chance, from 0 to 1, is asked
    /// for only then.
    #[inline]
    fn is_ready(&self, index: usize, chance: impl FnOnce() -> f32) -> bool {
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

    fn in_turn(&self, schedule: &[u32], possible: &impl Fn(usize) -> bool) -> Option<usize> {
        let len = schedule.len();
        if len == 0 {
            return None;
        }
        let start = if len == 1 { 0 } else { self.memory.cursor.fetch_add(1, Ordering::Relaxed) % len };
        let usable = |index: &usize| possible(*index) && self.is_usable(*index);
        let ready = |index: &usize| usable(index) && self.is_ready(*index, fastrand::f32);
        // With a heavy node down the round may hold thousands of its turns in a row; beyond a few
        // times the number of nodes, looking at each node once is shorter.
        let round = schedule[start..].iter().chain(&schedule[..start]).map(|slot| *slot as usize);
        let in_turn = round.take(4 * self.nodes.len()).find(ready);
        let any = || (0..self.nodes.len()).map(|i| (i + start) % self.nodes.len());
        in_turn.or_else(|| any().find(usable)).or_else(|| any().find(|index| possible(*index)))
    }

    /// One by chance, when drawing has not found one.
    fn any_by_weight(&self, possible: &impl Fn(usize) -> bool) -> Option<usize> {
        let those = |wanted: &dyn Fn(usize) -> bool| {
            among(self.nodes.iter().enumerate().filter(|(index, _)| wanted(*index)).map(|(i, node)| (i, node.weight)))
        };
        those(&|index| possible(index) && self.is_usable(index)).or_else(|| those(possible))
    }

    /// The owner of a key: the first on the ring that will do.
    fn on_ring(&self, ring: &Ring, key: u64, bound: Option<f64>, possible: &impl Fn(usize) -> bool) -> Option<usize> {
        let usable = |index: usize| possible(index) && self.is_usable(index);
        // Keys go over to a starting node one after the other, and each stays there. The ring has
        // taken the upper half of the key.
        let chance = || (key as u32) as f32 / 4_294_967_296.0;
        let most = bound.map(|bound| self.bounded(bound, usable));
        let has_room =
            |index: usize| most.as_ref().is_none_or(|most| self.nodes[index].state.in_flight() < most(index));
        ring.from(key)
            .find(|index| usable(*index) && self.is_ready(*index, chance) && has_room(*index))
            .or_else(|| ring.from(key).find(|index| usable(*index)))
            .or_else(|| self.nearest(key, usable))
            .or_else(|| self.nearest(key, possible))
    }

    /// The most requests a node may have so that none has more than `bound` times its share of
    /// those in flight, this one included.
    fn bounded(&self, bound: f64, usable: impl Fn(usize) -> bool) -> impl Fn(usize) -> u32 {
        let (mut requests, mut weights) = (1_u64, 0_u64);
        for (_, node) in self.nodes.iter().enumerate().filter(|(index, _)| usable(*index)) {
            requests += u64::from(node.state.in_flight());
            weights += u64::from(node.weight);
        }
        let per_weight = bound * requests as f64 / weights.max(1) as f64;
        move |index| (per_weight * f64::from(self.nodes[index].weight)).ceil() as u32
    }

    /// The node that suits a key best, when the ring does not say soon enough.
    fn nearest(&self, key: u64, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        (0..self.nodes.len()).filter(|index| wanted(*index)).max_by_key(|i| affinity(key, self.nodes[*i].address))
    }
}
