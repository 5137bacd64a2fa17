//! The choice among nodes.

use std::collections::HashMap;
use std::time::Duration;

use super::*;

fn upstream(weights: &[u32]) -> Upstream {
    let options = PeerOptions::default();
    let nodes = (1_u16..)
        .zip(weights)
        .map(|(port, weight)| {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            Node {
                address,
                label: address.to_string().into(),
                weight: *weight,
                state: Arc::default(),
                peers: Peers::new(address, &options),
            }
        })
        .collect();
    Upstream::new("s".into(), nodes, UpstreamOptions::default(), Arc::default())
}

fn picks(upstream: &Upstream, count: usize) -> HashMap<usize, usize> {
    let mut picks = HashMap::new();
    for _ in 0..count {
        *picks.entry(upstream.pick(&Wish::new(&Tried::default()), |_| true).unwrap()).or_default() += 1;
    }
    picks
}

#[test]
fn nodes_are_picked_by_weight() {
    assert_eq!(picks(&upstream(&[5, 3, 2]), 1000), HashMap::from([(0, 500), (1, 300), (2, 200)]));
}

#[test]
fn no_node_is_no_pick() {
    assert_eq!(upstream(&[]).pick(&Wish::new(&Tried::default()), |_| true), None);
}

#[test]
fn a_node_is_never_tried_twice() {
    let upstream = upstream(&[9, 1, 1]);
    let mut tried = Tried::default();
    let mut seen = Vec::new();
    while let Some(node) = upstream.pick(&Wish::new(&tried), |_| true) {
        tried.push(node);
        seen.push(node);
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2]);
}

#[test]
fn unusable_nodes_are_passed_over_until_no_other_is_left() {
    let upstream = upstream(&[1, 1]);
    upstream.nodes()[0].state.condemn("refused");
    assert_eq!(picks(&upstream, 10), HashMap::from([(1, 10)]));
    upstream.nodes()[1].state.eject(Duration::from_secs(60));
    assert_eq!(picks(&upstream, 10).values().sum::<usize>(), 10, "all down: fail open");
    upstream.nodes()[1].state.readmit();
    assert_eq!(picks(&upstream, 10), HashMap::from([(1, 10)]));
}

#[test]
fn an_ejection_ends_by_itself() {
    let state = NodeState::default();
    assert!(state.eject(Duration::ZERO));
    assert!(state.is_usable() && state.awaits_readmission());
}

#[test]
fn requests_in_flight_are_counted_however_they_end() {
    let state = Arc::new(NodeState::default());
    let guard = InFlight::at(&state);
    assert_eq!(state.in_flight(), 1);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _guard = guard;
        panic!("a request that panics");
    }));
    assert!(result.is_err());
    assert_eq!(state.in_flight(), 0);
}

#[test]
fn a_request_may_try_again_while_nodes_and_tries_are_left() {
    let upstream = upstream(&[1, 1]);
    let mut tried = Tried::default();
    assert!(upstream.may_try_again(&tried));
    tried.push(0);
    assert!(upstream.may_try_again(&tried));
    tried.push(1);
    assert!(!upstream.may_try_again(&tried));
}
