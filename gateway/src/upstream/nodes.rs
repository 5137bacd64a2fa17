//! The nodes of a service: in their order, and by address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::ops::Deref;

use super::Node;

/// Nodes of different addresses, in order.
#[derive(Debug, Default)]
pub struct Nodes {
    list: Vec<Node>,
    places: HashMap<SocketAddr, u32>,
}

impl Nodes {
    /// None, with room for so many.
    pub fn with_capacity(count: usize) -> Self {
        Self { list: Vec::with_capacity(count), places: HashMap::with_capacity(count) }
    }

    /// Adds a node at the end, unless there is one at its address.
    pub fn add(&mut self, address: SocketAddr, node: impl FnOnce() -> Node) {
        if let Entry::Vacant(vacant) = self.places.entry(address) {
            vacant.insert(u32::try_from(self.list.len()).expect("fewer than 2^32 nodes"));
            self.list.push(node());
        }
    }

    /// Where the node at this address is.
    pub fn position(&self, address: SocketAddr) -> Option<usize> {
        self.places.get(&address).map(|place| *place as usize)
    }

    /// Looks nodes up that are asked for in about their order, which is quicker than each by itself.
    pub fn walk(&self) -> Walk<'_> {
        Walk { nodes: self, next: 0 }
    }
}

impl Deref for Nodes {
    type Target = [Node];

    fn deref(&self) -> &[Node] {
        &self.list
    }
}

impl FromIterator<Node> for Nodes {
    fn from_iter<I: IntoIterator<Item = Node>>(nodes: I) -> Self {
        let mut all = Self::default();
        nodes.into_iter().for_each(|node| all.add(node.address, || node));
        all
    }
}

/// A walk along the nodes.
#[derive(Debug)]
pub struct Walk<'a> {
    nodes: &'a Nodes,
    next: usize,
}

impl Walk<'_> {
    /// Where the node at this address is; most likely just after the one that was found last.
    #[inline]
    pub fn find(&mut self, address: SocketAddr) -> Option<usize> {
        let is_next = self.nodes.get(self.next).is_some_and(|node| node.address == address);
        let found = if is_next { self.next } else { self.nodes.position(address)? };
        self.next = found + 1;
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::upstream::{PeerOptions, Peers};

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn node(port: u16, weight: u32) -> Node {
        Node::new(address(port), weight, Peers::new(address(port), None, &Arc::new(PeerOptions::default())))
    }

    #[test]
    fn of_two_at_the_same_address_the_first_counts() {
        let nodes: Nodes = [node(1, 1), node(2, 1), node(1, 7)].into_iter().collect();
        assert_eq!(nodes.iter().map(|node| (node.address.port(), node.weight)).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
    }

    #[test]
    fn a_walk_finds_what_is_there_in_whatever_order_it_is_asked() {
        let nodes: Nodes = [5, 3, 9, 1].map(|port| node(port, 1)).into_iter().collect();
        let mut walk = nodes.walk();
        for (port, place) in
            [(5, Some(0)), (7, None), (9, Some(2)), (1, Some(3)), (2, None), (3, Some(1)), (3, Some(1)), (9, Some(2))]
        {
            assert_eq!(walk.find(address(port)), place, "{port}");
            assert_eq!(nodes.position(address(port)), place, "{port}");
        }
    }
}
