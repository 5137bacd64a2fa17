//! Consistent hashing: nodes have points on a ring, and a key belongs to the next point.
//!
//! As nginx's `hash ... consistent`: a node has 160 points for each unit of its weight, and they
//! depend on its address alone, so that every gateway has the same ring, and a node that comes or
//! goes moves no key between others. Only when all points together would take too much memory (a
//! sum of weights above 6,553) every node has half of them, or a quarter.

use std::net::{IpAddr, SocketAddr};

use twox_hash::XxHash64;

/// Points for each unit of weight.
const POINTS: u64 = 160;
/// Most points of a ring: 8 MiB.
const MAX_POINTS: u64 = 1 << 20;
/// Points looked at before another way is tried.
const WALK: usize = 4096;

/// The points of all nodes, in order.
#[derive(Debug)]
pub(crate) struct Ring {
    places: Box<[u32]>,
    owners: Box<[u32]>,
}

impl Ring {
    /// The ring of these nodes.
    pub(crate) fn new(nodes: impl Iterator<Item = (SocketAddr, u32)>) -> Self {
        let nodes: Vec<_> = nodes.collect();
        let sum: u64 = nodes.iter().map(|(_, weight)| u64::from(*weight) * POINTS).sum();
        let halvings = (0..64).find(|halvings| sum >> halvings <= MAX_POINTS).unwrap_or(0);
        let mut points: Vec<u64> = Vec::new();
        for (index, (address, weight)) in (0_u64..).zip(nodes) {
            let count = ((u64::from(weight) * POINTS) >> halvings).max(1);
            points.extend(places(address, count).map(|place| u64::from(place) << 32 | index));
        }
        points.sort_unstable();
        Self {
            places: points.iter().map(|point| (point >> 32) as u32).collect(),
            owners: points.iter().map(|point| *point as u32).collect(),
        }
    }

    /// The owners of the points from a key's place on, with repetitions.
    #[inline]
    pub(crate) fn from(&self, key: u64) -> impl Iterator<Item = usize> {
        let place = (key >> 32) as u32;
        let start = self.places.partition_point(|point| *point < place);
        self.owners[start..].iter().chain(&self.owners[..start]).take(WALK).map(|owner| *owner as usize)
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
    use super::*;

    /// Several gateways, of several versions, must agree: these values never change.
    #[test]
    fn the_points_of_a_node_are_the_same_everywhere_and_for_ever() {
        let four: Vec<u32> = places("10.0.0.5:8080".parse().unwrap(), 4).collect();
        assert_eq!(four, [2_913_352_042, 849_078_661, 207_965_799, 1_542_222_342]);
        let six: Vec<u32> = places("[fd00::5]:8080".parse().unwrap(), 2).collect();
        assert_eq!(six, [840_875_245, 535_409_646]);
        assert_eq!(affinity(7, "10.0.0.5:8080".parse().unwrap()), 10_645_047_519_115_570_065);
    }

    #[test]
    fn a_ring_stays_bounded() {
        let nodes = (1..=2000_u16).map(|port| (SocketAddr::from(([127, 0, 0, 1], port)), 10_000));
        let ring = Ring::new(nodes);
        assert!(ring.places.len() as u64 <= MAX_POINTS, "{}", ring.places.len());
    }

    #[test]
    fn nobody_owns_an_empty_ring() {
        assert_eq!(Ring::new(std::iter::empty()).from(77).next(), None);
    }
}
