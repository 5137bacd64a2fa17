//! The choice among nodes.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;

fn upstream(weights: &[u32]) -> Upstream {
    let options = Arc::new(PeerOptions::default());
    let nodes = (1_u16..)
        .zip(weights)
        .map(|(port, weight)| {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            Node::new(address, *weight, Peers::new(address, None, &options))
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

/// Or every request would begin at the broken one of two nodes, and need a retry.
#[test]
fn a_second_try_takes_nobodys_turn() {
    for all_are_unhealthy in [false, true] {
        let upstream = upstream(&[1, 1]);
        if all_are_unhealthy {
            upstream.nodes().iter().for_each(|node| node.state.condemn("refused"));
        }
        let mut began_at_the_broken_one = 0;
        for _ in 0..100 {
            let mut tried = Tried::default();
            if upstream.pick(&Wish::new(&tried), |_| true) == Some(0) {
                began_at_the_broken_one += 1;
                tried.push(0);
                assert_eq!(upstream.pick(&Wish::new(&tried), |_| true), Some(1));
            }
        }
        // Of nodes that are usable by nobody's word the round is looked at twice.
        assert_eq!(began_at_the_broken_one, 50, "unhealthy: {all_are_unhealthy}");
    }
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

/// Nodes watched by these rules; who is left out is so for no time at all.
fn watched(nodes: usize, passive: Passive) -> Upstream {
    let mut upstream = upstream(&vec![1; nodes]);
    upstream.options.passive = Some(passive);
    upstream.options.eject_time = Duration::ZERO;
    upstream
}

fn rules() -> Passive {
    Passive {
        consecutive_errors: None,
        error_ratio: None,
        latency_factor: None,
        window: Duration::from_secs(3600),
        min_requests: 20,
        max_ejected: 0.5,
    }
}

fn answer(upstream: &Upstream, node: usize, status: u16, millis: u64) {
    upstream.observe(node, Outcome::Answered { status, first_byte: Duration::from_millis(millis) });
}

fn out(upstream: &Upstream) -> Vec<usize> {
    (0..upstream.nodes().len()).filter(|node| upstream.nodes()[*node].state.awaits_readmission()).collect()
}

#[test]
fn errors_in_a_row_leave_nodes_out_but_never_more_than_may_be() {
    let upstream = watched(5, Passive { consecutive_errors: Some(3), ..rules() });
    for node in 0..5 {
        answer(&upstream, node, 500, 1);
        answer(&upstream, node, 503, 1);
        answer(&upstream, node, 404, 1);
        upstream.observe(node, Outcome::TooSlow);
        upstream.observe(node, Outcome::Broken);
    }
    assert!(out(&upstream).is_empty(), "an answer ends a row");
    (0..5).for_each(|node| answer(&upstream, node, 500, 1));
    assert_eq!(out(&upstream), [0, 1], "half of five, rounded down");
    for _ in 0..100 {
        (0..5).for_each(|node| answer(&upstream, node, 500, 1));
    }
    assert_eq!(out(&upstream), [0, 1]);
}

#[test]
fn one_of_two_may_be_left_out_and_never_both_nor_the_only_one() {
    for (nodes, share, expected) in [(2, 0.1, 1), (2, 1.0, 1), (1, 1.0, 0), (3, 0.0, 0), (3, 1.0, 2)] {
        let upstream = watched(nodes, Passive { consecutive_errors: Some(1), max_ejected: share, ..rules() });
        (0..nodes).for_each(|node| answer(&upstream, node, 500, 1));
        assert_eq!(out(&upstream).len(), expected, "{nodes} nodes, {share}");
    }
}

#[test]
fn unhealthy_nodes_count_among_those_that_are_out() {
    let upstream = watched(4, Passive { consecutive_errors: Some(1), ..rules() });
    upstream.nodes()[3].state.condemn("status 500");
    upstream.nodes()[2].state.eject(Duration::from_secs(60));
    answer(&upstream, 0, 500, 1);
    assert!(!out(&upstream).contains(&0));
}

#[test]
fn requests_let_through_take_a_node_back() {
    let upstream = watched(2, Passive { consecutive_errors: Some(1), ..rules() });
    answer(&upstream, 0, 500, 1);
    let state = Arc::clone(&upstream.nodes()[0].state);
    answer(&upstream, 0, 200, 1);
    assert!(state.awaits_readmission(), "it was on its way before");
    let passing = InFlight::at(&state);
    assert!(!state.is_usable(), "one at a time");
    (0..3).for_each(|_| answer(&upstream, 0, 200, 1));
    drop(passing);
    assert!(!state.awaits_readmission());
    let counts = &upstream.memory.counts;
    assert_eq!((counts.ejected.load(Ordering::Relaxed), counts.readmitted.load(Ordering::Relaxed)), (1, 1));
}

#[test]
fn a_large_share_of_errors_leaves_a_node_out_when_there_were_enough_requests() {
    let upstream = watched(3, Passive { error_ratio: Some(0.5), ..rules() });
    for n in 0..20 {
        upstream.judge();
        assert!(out(&upstream).is_empty());
        answer(&upstream, 0, if n % 2 == 0 { 500 } else { 200 }, 1);
        answer(&upstream, 1, if n % 4 == 0 { 500 } else { 200 }, 1);
    }
    upstream.judge();
    assert_eq!(out(&upstream), [0]);
}

#[test]
fn a_node_much_slower_than_the_others_is_left_out() {
    let upstream = watched(4, Passive { latency_factor: Some(3.0), ..rules() });
    for _ in 0..20 {
        for (node, millis) in [(0, 20), (1, 200), (2, 25), (3, 50)] {
            answer(&upstream, node, 200, millis);
        }
    }
    upstream.judge();
    assert_eq!(out(&upstream), [1], "50 ms are not three times the others' median");
    assert_eq!(upstream.nodes()[1].state.ejection.cause(), Some(ejection::Cause::Latency));
    // Nor is a tenth of a millisecond against a few.
    let upstream = watched(2, Passive { latency_factor: Some(3.0), ..rules() });
    (0..20).for_each(|_| [(0, 0), (1, 9)].into_iter().for_each(|(node, millis)| answer(&upstream, node, 200, millis)));
    upstream.judge();
    assert!(out(&upstream).is_empty());
}
