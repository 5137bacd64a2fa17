//! The ways to choose among nodes, each prebuilt when its service changes.

use http::HeaderName;

use super::{Nodes, schedule};

mod bound;
mod draw;
mod ring;

pub(super) use bound::{Bound, Summed};
pub(super) use draw::{Draw, among};
pub(super) use ring::{Ring, affinity};

/// How a node is chosen.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Balancing {
    /// In turn, by weight, evenly interleaved.
    #[default]
    RoundRobin,
    /// By chance, by weight.
    Random,
    /// Of two by chance the one with fewer requests in flight for its weight.
    LeastRequests,
    /// Of two by chance the one that answered sooner of late, for its load.
    Ewma,
    /// The same node for the same key.
    Hash(Hashing),
}

/// What requests are told apart by.
#[derive(Debug, Clone, PartialEq)]
pub struct Hashing {
    /// Where the key is found.
    pub on: HashOn,
    /// How many times the average load of its weight a node may have before its keys go on to the
    /// next; at least 1.
    pub bounded_load: Option<f64>,
}

/// Where the key of a request is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashOn {
    /// The client's address.
    ClientIp,
    /// A header.
    Header(HeaderName),
    /// A cookie.
    Cookie(Box<str>),
    /// The path.
    Path,
    /// A query argument, decoded.
    Query(Box<str>),
}

/// What a choice needs beside the nodes, built once.
#[derive(Debug)]
pub(super) enum Balancer {
    RoundRobin(Box<[u32]>),
    Random(Draw),
    LeastRequests(Draw),
    Ewma {
        draw: Draw,
        mean_weight: f32,
    },
    Hash {
        ring: Ring,
        bound: Option<Bound>,
        /// For requests without a key.
        schedule: Box<[u32]>,
    },
}

impl Balancer {
    pub(super) fn new(balancing: &Balancing, nodes: &Nodes) -> Self {
        Self::build(balancing, nodes, || Ring::new(nodes))
    }

    /// That of the same service after a change of its nodes from `before` to `now`, or of its
    /// balancing. The ring is what takes long to build.
    pub(super) fn succeeded_by(&self, balancing: &Balancing, before: &Nodes, now: &Nodes) -> Self {
        Self::build(balancing, now, || match self {
            Self::Hash { ring, .. } => ring.succeeded_by(before, now),
            _ => Ring::new(now),
        })
    }

    fn build(balancing: &Balancing, nodes: &Nodes, ring: impl FnOnce() -> Ring) -> Self {
        let weights: Vec<u32> = nodes.iter().map(|node| node.weight).collect();
        match balancing {
            Balancing::RoundRobin => Self::RoundRobin(schedule::interleave(&weights)),
            Balancing::Random => Self::Random(Draw::new(&weights)),
            Balancing::LeastRequests => Self::LeastRequests(Draw::new(&weights)),
            Balancing::Ewma => {
                let sum: f64 = weights.iter().copied().map(f64::from).sum();
                Self::Ewma { draw: Draw::new(&weights), mean_weight: (sum / weights.len().max(1) as f64) as f32 }
            }
            Balancing::Hash(hashing) => Self::Hash {
                ring: ring(),
                bound: hashing.bounded_load.map(Bound::new),
                schedule: schedule::interleave(&weights),
            },
        }
    }

    /// The bound on the load of its nodes, if there is one.
    #[inline]
    pub(super) fn bound(&self) -> Option<&Bound> {
        if let Self::Hash { bound, .. } = self { bound.as_ref() } else { None }
    }
}
