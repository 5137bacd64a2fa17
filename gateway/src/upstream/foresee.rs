//! What the choice of a node would come to, without making it: nobody's turn is taken, nothing is
//! counted, nobody waits.

use super::balancer::Balancer;
use super::{Node, Upstream, Wish};

/// What [`Upstream::choose`] would come to now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreseen {
    /// This node, unless another request comes first.
    Node(usize),
    /// One of these nodes: chance decides, or what is under way.
    OneOf(Vec<usize>),
    /// Every node it could go to is at its limit; it would wait.
    Wait,
    /// They are, and it would be refused.
    Full,
    /// There is no node it could go to.
    Nobody,
}

impl Upstream {
    /// As [`Upstream::choose`], with nothing chosen.
    pub fn foresee(&self, wish: &Wish<'_>, preferred: Option<usize>, allowed: impl Fn(&Node) -> bool) -> Foreseen {
        let wish = Wish { is_look: true, ..*wish };
        let possible = |index: &usize| !wish.tried.contains(*index) && allowed(&self.nodes[*index]);
        let is_usable = |index: &usize| self.nodes[*index].state.is_usable();
        let most = self.most(wish.http2);
        let has_room = |index: &usize| most == u32::MAX || self.nodes[*index].state.in_flight() < most;
        let all = || (0..self.nodes.len()).filter(possible);
        let queues = self.options.limits.is_some() && self.memory.queue.is_busy();
        if !queues {
            if let Some(index) = preferred.filter(|index| possible(index) && is_usable(index) && has_room(index)) {
                return Foreseen::Node(index);
            }
            let usable: Vec<usize> = all().filter(is_usable).filter(has_room).collect();
            if usable.len() > 1 && !self.is_certain(&wish, &usable) {
                return Foreseen::OneOf(usable);
            }
            if let Some(index) = self.pick(&wish, &allowed) {
                return Foreseen::Node(index);
            }
        }
        match &self.options.limits {
            _ if all().next().is_none() => Foreseen::Nobody,
            None => Foreseen::Nobody,
            Some(limits) if limits.pending == 0 => Foreseen::Full,
            Some(_) => Foreseen::Wait,
        }
    }

    /// Whether the choice among these nodes is not left to chance.
    fn is_certain(&self, wish: &Wish<'_>, usable: &[usize]) -> bool {
        match &self.balancer {
            Balancer::Hash { .. } if wish.key.is_some() => true,
            Balancer::RoundRobin(_) | Balancer::Hash { .. } => {
                usable.iter().all(|index| self.is_ready(*index, || f32::INFINITY))
            }
            Balancer::Random(_) | Balancer::LeastRequests(_) | Balancer::Ewma { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::upstream::{Balancing, Choice, HashOn, Hashing, Limits, PeerOptions, Peers, Tried, UpstreamOptions};

    fn balancing() -> impl Strategy<Value = Balancing> {
        let hash = |bounded_load| Balancing::Hash(Hashing { on: HashOn::Path, bounded_load });
        prop_oneof![
            3 => Just(Balancing::RoundRobin),
            1 => Just(Balancing::Random),
            1 => Just(Balancing::LeastRequests),
            1 => Just(Balancing::Ewma),
            2 => Just(hash(None)),
            1 => Just(hash(Some(1.0))),
        ]
    }

    #[derive(Debug, Clone)]
    struct Step {
        key: Option<u64>,
        first_tried: Option<usize>,
        preferred: Option<usize>,
        excluded: Option<usize>,
        /// Whether the request stays at its node.
        stays: bool,
        condemned: Option<usize>,
        healed: Option<usize>,
    }

    fn step() -> impl Strategy<Value = Step> {
        let node = || prop::option::weighted(0.2, 0_usize..5);
        (prop::option::of(any::<u64>()), node(), node(), node(), any::<bool>(), node(), node()).prop_map(
            |(key, first_tried, preferred, excluded, stays, condemned, healed)| Step {
                key,
                first_tried,
                preferred,
                excluded,
                stays,
                condemned,
                healed,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_foreseen_is_what_is_chosen_then(
            balancing in balancing(),
            weights in prop::collection::vec(1_u32..4, 0..5),
            limit in prop::option::of((1_u32..4, 0_usize..2)),
            steps in prop::collection::vec(step(), 1..30),
        ) {
            let peers = Arc::new(PeerOptions::default());
            let nodes = (1_u16..).zip(weights).map(|(port, weight)| {
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                Node::new(address, weight, Peers::new(address, None, &peers))
            });
            let limits = limit.map(|(most, pending)| Limits { http1: most, http2: most, pending, wait: Duration::ZERO });
            let options = UpstreamOptions { balancing, limits, ..UpstreamOptions::default() };
            let upstream = Arc::new(Upstream::new("s".into(), nodes.collect(), options, Arc::default()));
            let known = |index: Option<usize>| index.filter(|index| *index < upstream.nodes().len());
            let mut inside = Vec::new();
            for step in steps {
                if let Some(index) = known(step.condemned) {
                    upstream.nodes()[index].state.condemn("as told");
                }
                if let Some(index) = known(step.healed) {
                    upstream.nodes()[index].state.heal();
                }
                let mut tried = Tried::default();
                known(step.first_tried).into_iter().for_each(|index| tried.push(index));
                let wish = Wish { key: step.key, ..Wish::new(&tried) };
                let excluded = known(step.excluded).map(|index| upstream.nodes()[index].address);
                let allowed = |node: &Node| Some(node.address) != excluded;
                let foreseen = upstream.foresee(&wish, known(step.preferred), allowed);
                prop_assert_eq!(&foreseen, &upstream.foresee(&wish, known(step.preferred), allowed), "a look changes nothing");
                match (upstream.choose(&wish, known(step.preferred), allowed), foreseen) {
                    (Choice::Node(index, in_flight), foreseen) => {
                        match foreseen {
                            Foreseen::Node(one) => prop_assert_eq!(one, index),
                            Foreseen::OneOf(some) => prop_assert!(some.contains(&index)),
                            other => prop_assert!(false, "{:?} and not {}", other, index),
                        }
                        inside.extend(step.stays.then_some(in_flight));
                    }
                    (Choice::Wait(_), Foreseen::Wait) | (Choice::Full, Foreseen::Full) => {}
                    (Choice::Nobody, Foreseen::Nobody) => {}
                    (chosen, foreseen) => prop_assert!(false, "{:?} and not {:?}", foreseen, chosen),
                }
            }
        }
    }
}
