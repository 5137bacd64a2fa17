//! Consistent hashing: nodes have points on a ring, and a key belongs to the next point.
//!
//! As nginx's `hash ... consistent`: a node has 160 points for each unit of its weight, and they
//! depend on its address alone, so that every gateway has the same ring, and a node that comes or
//! goes moves no key between others. Only when all points together would take too much memory (a
//! sum of weights above 6,553) every node has half of them, or a quarter.

use std::net::{IpAddr, SocketAddr};

use twox_hash::XxHash64;

use crate::upstream::Nodes;

/// Points for each unit of weight.
const POINTS: u64 = 160;
/// Most points of a ring: 8 MiB.
const MAX_POINTS: u64 = 1 << 20;
/// Points looked at before another way is tried.
const WALK: usize = 4096;

/// The share of the nodes, as its inverse, that may change for the rest of a ring to be copied.
const FEW: usize = 8;
/// Points that share a place to begin a search at.
const STRIDE: usize = 8;

/// The points of all nodes, in order.
#[derive(Debug, PartialEq)]
pub(crate) struct Ring {
    /// The place in the upper half, the owner in the lower: both are needed, and one look at memory
    /// has them.
    points: Vec<u64>,
    /// Where the points of each part of the ring begin, and at last where they end. Halving hundreds
    /// of thousands of points would wait for memory twenty times.
    parts: Vec<u32>,
    /// What of a place is not the number of its part.
    shift: u32,
    halvings: u32,
}

impl Ring {
    /// The ring of these nodes.
    pub(crate) fn new(nodes: &Nodes) -> Self {
        let halvings = halvings(nodes);
        Self::of(points(nodes, 0..nodes.len(), halvings), halvings)
    }

    /// The ring after a change of the nodes from `before` to `now`: equal to a new one, but the
    /// points of nodes that have not changed are neither hashed nor sorted again.
    pub(crate) fn succeeded_by(&self, before: &Nodes, now: &Nodes) -> Self {
        match Moves::new(before, now) {
            // Each point that comes or goes is looked for; of many a new ring is made as soon.
            Some(moves) if halvings(now) == self.halvings && moves.count() <= now.len() / FEW => {
                self.moved(&moves, before, now)
            }
            _ => Self::new(now),
        }
    }

    fn moved(&self, moves: &Moves, before: &Nodes, now: &Nodes) -> Self {
        let added = points(now, moves.added.iter().copied(), self.halvings);
        let gone = points(before, moves.gone.iter().copied(), self.halvings);
        let mut all = Vec::with_capacity((self.points.len() + added.len()).saturating_sub(gone.len()));
        let mut changes: Vec<(usize, Option<u64>)> =
            added.into_iter().map(|point| (self.room_for(point, moves), Some(point))).collect();
        for (index, point) in gone.iter().enumerate() {
            // A node may have one place twice.
            let same = gone[..index].iter().rev().take_while(|before| *before == point).count();
            changes.push((self.points.partition_point(|old| old < point) + same, None));
        }
        // Stable: what is added in front of a point that goes comes first.
        changes.sort_by_key(|(at, _)| *at);
        let mut copied = 0;
        for (at, added) in changes {
            moves.copy(&self.points[copied..at], &mut all);
            copied = if added.is_some() { at } else { at + 1 };
            all.extend(added);
        }
        moves.copy(&self.points[copied..], &mut all);
        Self::of(all, self.halvings)
    }

    /// In front of which of these points a new one belongs, once their owners have moved.
    fn room_for(&self, point: u64, moves: &Moves) -> usize {
        let place = point >> 32;
        let first = self.points.partition_point(|old| old >> 32 < place);
        let is_before = |old: &&u64| {
            let owner = moves.to[**old as u32 as usize];
            **old >> 32 == place && (owner == Moves::GONE || owner < point as u32)
        };
        first + self.points[first..].iter().take_while(is_before).count()
    }

    /// The ring of points in order.
    fn of(points: Vec<u64>, halvings: u32) -> Self {
        let bits = (points.len() / STRIDE).max(1).ilog2();
        let shift = u32::BITS - bits;
        // A part ends behind the last of its points, or where the one before it does.
        let mut parts = vec![0; (1 << bits) + 1];
        for (end, point) in (1_u32..).zip(&points) {
            parts[(point >> 32 >> shift) as usize + 1] = end;
        }
        for part in 1..parts.len() {
            parts[part] = parts[part].max(parts[part - 1]);
        }
        Self { points, parts, shift, halvings }
    }

    /// The owners of the points from a key's place on, with repetitions.
    #[inline]
    pub(crate) fn from(&self, key: u64) -> impl Iterator<Item = usize> {
        let part = (key >> 32 >> self.shift) as usize;
        let (begin, end) = (self.parts[part] as usize, self.parts[part + 1] as usize);
        let start = begin + self.points[begin..end].partition_point(|point| point >> 32 < key >> 32);
        self.points[start..].iter().chain(&self.points[..start]).take(WALK).map(|point| *point as u32 as usize)
    }
}

/// How often the number of points is halved, so that they are not too many.
fn halvings(nodes: &Nodes) -> u32 {
    let sum: u64 = nodes.iter().map(|node| u64::from(node.weight) * POINTS).sum();
    (0..64).find(|halvings| sum >> halvings <= MAX_POINTS).unwrap_or(0)
}

/// The points of some of the nodes, in order: the place in the upper half, the owner in the lower.
fn points(nodes: &Nodes, which: impl Iterator<Item = usize>, halvings: u32) -> Vec<u64> {
    let mut points: Vec<u64> = Vec::new();
    for index in which {
        let count = ((u64::from(nodes[index].weight) * POINTS) >> halvings).max(1);
        points.extend(places(nodes[index].address, count).map(|place| u64::from(place) << 32 | index as u64));
    }
    points.sort_unstable();
    points
}

/// What becomes of nodes in a change that leaves the order of those that stay.
struct Moves {
    /// Where each old node is now.
    to: Vec<u32>,
    /// The old nodes that are gone, or had another weight.
    gone: Vec<usize>,
    /// The nodes that are new, or have another weight.
    added: Vec<usize>,
    /// Whether those that stay are where they were.
    in_place: bool,
}

impl Moves {
    /// In place of one of `gone`.
    const GONE: u32 = u32::MAX;

    /// `None` when the order of those that stay has changed.
    fn new(before: &Nodes, now: &Nodes) -> Option<Self> {
        let (mut to, mut added) = (vec![Self::GONE; before.len()], Vec::new());
        let (mut walk, mut least, mut in_place) = (before.walk(), 0, true);
        for (index, node) in now.iter().enumerate() {
            match walk.find(node.address) {
                Some(old) if old < least => return None,
                Some(old) if before[old].weight == node.weight => {
                    to[old] = index as u32;
                    least = old + 1;
                    in_place &= old == index;
                }
                _ => added.push(index),
            }
        }
        let gone = (0..before.len()).filter(|old| to[*old] == Self::GONE).collect();
        Some(Self { to, gone, added, in_place })
    }

    fn count(&self) -> usize {
        self.gone.len() + self.added.len()
    }

    /// Adds points of nodes that stay to those of the new ring.
    fn copy(&self, points: &[u64], ring: &mut Vec<u64>) {
        if self.in_place {
            ring.extend_from_slice(points);
        } else {
            ring.extend(points.iter().map(|point| point >> 32 << 32 | u64::from(self.to[*point as u32 as usize])));
        }
    }
}

/// The first places of a node: two of each hash of its address.
fn places(address: SocketAddr, count: u64) -> impl Iterator<Item = u32> {
    let bytes = bytes_of(address);
    let hashes = (0..count.div_ceil(2)).map(move |seed| XxHash64::oneshot(seed, &bytes));
    hashes.flat_map(|hash| [(hash >> 32) as u32, hash as u32]).take(usize::try_from(count).unwrap_or(usize::MAX))
}

/// How well a node suits a key when the ring does not say.
pub(crate) fn affinity(key: u64, address: SocketAddr) -> u64 {
    XxHash64::oneshot(key, &bytes_of(address))
}

fn bytes_of(address: SocketAddr) -> [u8; 18] {
    let mut bytes = [0; 18];
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::upstream::{Node, PeerOptions, Peers};

    /// Several gateways, of several versions, must agree: these values never change.
    #[test]
    fn the_points_of_a_node_are_the_same_everywhere_and_for_ever() {
        let four: Vec<u32> = places("10.0.0.5:8080".parse().unwrap(), 4).collect();
        assert_eq!(four, [2_913_352_042, 849_078_661, 207_965_799, 1_542_222_342]);
        let six: Vec<u32> = places("[fd00::5]:8080".parse().unwrap(), 2).collect();
        assert_eq!(six, [840_875_245, 535_409_646]);
        assert_eq!(affinity(7, "10.0.0.5:8080".parse().unwrap()), 10_645_047_519_115_570_065);
    }

    fn nodes(declared: impl IntoIterator<Item = (u16, u32)>) -> Nodes {
        let options = Arc::new(PeerOptions::default());
        let node = |(port, weight)| {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            Node::new(address, weight, Peers::new(address, None, &options))
        };
        declared.into_iter().map(node).collect()
    }

    #[test]
    fn a_ring_stays_bounded() {
        let ring = Ring::new(&nodes((1..=2000).map(|port| (port, 10_000))));
        assert!(ring.points.len() as u64 <= MAX_POINTS, "{}", ring.points.len());
    }

    #[test]
    fn nobody_owns_an_empty_ring() {
        assert_eq!(Ring::new(&Nodes::default()).from(77).next(), None);
    }

    /// Where hundreds of thousands of points share places.
    #[test]
    fn points_at_the_same_place_are_in_the_order_of_their_nodes() {
        let all: Vec<(u16, u32)> = (1..2000).map(|port| (port, 3)).collect();
        let whole = nodes(all.clone());
        let ring = Ring::new(&whole);
        let shared = ring.points.windows(2).filter(|pair| pair[0] >> 32 == pair[1] >> 32).count();
        assert!(shared > 50, "{shared}");
        for odd in [0, 1] {
            let fewer = nodes(all.iter().copied().filter(|(port, _)| port % 10 != odd));
            let other = nodes(all.iter().map(|(port, weight)| (*port, weight + u32::from(port % 20 == odd))));
            assert_eq!(ring.succeeded_by(&whole, &fewer), Ring::new(&fewer));
            assert_eq!(Ring::new(&fewer).succeeded_by(&fewer, &whole), ring);
            assert_eq!(ring.succeeded_by(&whole, &other), Ring::new(&other));
        }
    }

    #[test]
    fn nodes_that_change_places_or_need_other_points_make_a_new_ring() {
        let few = nodes([(1, 1), (2, 1)]);
        for others in [nodes([(2, 1), (1, 1)]), nodes([(1, 1), (2, 10_000)])] {
            assert_eq!(Ring::new(&few).succeeded_by(&few, &others), Ring::new(&others));
            assert_eq!(Ring::new(&others).succeeded_by(&others, &few), Ring::new(&few));
        }
    }

    proptest! {
        #[test]
        fn a_key_belongs_to_the_next_point(
            declared in prop::collection::btree_map(1_u16..100, 1_u32..3, 1..10),
            keys: Vec<u64>,
        ) {
            let ring = Ring::new(&nodes(declared));
            let at_a_point = ring.points.iter().step_by(100).flat_map(|point| [point.wrapping_sub(1), *point, point.wrapping_add(1 << 32)]);
            for key in keys.into_iter().chain(at_a_point).chain([0, u64::MAX]) {
                let next = ring.points.iter().find(|point| **point >> 32 >= key >> 32).unwrap_or(&ring.points[0]);
                prop_assert_eq!(ring.from(key).next(), Some(*next as u32 as usize));
            }
        }

        /// However nodes come, go, and change their weight or place.
        #[test]
        fn a_ring_made_of_the_one_before_is_the_one_made_from_nothing(
            first in prop::collection::btree_map(1_u16..100, 1_u32..4, 0..100),
            steps in prop::collection::vec(prop::collection::btree_map(1_u16..100, 0_u32..4, 0..6), 1..6),
            shuffled: bool,
        ) {
            let mut declared = first;
            let mut before = nodes(declared.clone());
            let mut ring = Ring::new(&before);
            for step in steps {
                declared.extend(step);
                declared.retain(|_, weight| *weight > 0);
                let mut step = Vec::from_iter(declared.clone());
                if shuffled {
                    step.reverse();
                }
                let now = nodes(step);
                ring = ring.succeeded_by(&before, &now);
                prop_assert_eq!(&ring, &Ring::new(&now));
                before = now;
            }
        }
    }
}
