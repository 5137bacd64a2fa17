//! What each balancer promises: shares, stability, bounds.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use twox_hash::XxHash64;

use super::state::now_ms;
use super::*;

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn build(nodes: impl IntoIterator<Item = (u16, u32)>, options: UpstreamOptions) -> Upstream {
    let peers = Arc::new(PeerOptions::default());
    let node = |(port, weight)| Node::new(address(port), weight, Peers::new(address(port), None, &peers));
    Upstream::new("s".into(), nodes.into_iter().map(node).collect(), options, Arc::default())
}

fn balancing(weights: &[u32], balancing: Balancing) -> Upstream {
    build((1..).zip(weights.iter().copied()), UpstreamOptions { balancing, ..UpstreamOptions::default() })
}

fn hashing(bounded_load: Option<f64>) -> Balancing {
    Balancing::Hash(Hashing { on: HashOn::ClientIp, bounded_load })
}

fn all() -> [Balancing; 5] {
    [Balancing::RoundRobin, Balancing::Random, Balancing::LeastRequests, Balancing::Ewma, hashing(None)]
}

fn key(number: u64) -> u64 {
    XxHash64::oneshot(0, &number.to_be_bytes())
}

fn pick(upstream: &Upstream, number: u64) -> usize {
    let tried = Tried::default();
    upstream.pick(&Wish { key: Some(key(number)), ..Wish::new(&tried) }, |_| true).unwrap()
}

fn counts(upstream: &Upstream, picks: u64) -> Vec<u64> {
    let mut counts = vec![0; upstream.nodes().len()];
    (0..picks).for_each(|number| counts[pick(upstream, number)] += 1);
    counts
}

fn address_of(upstream: &Upstream, number: u64) -> SocketAddr {
    upstream.nodes()[pick(upstream, number)].address
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_balancer_gives_nodes_their_share(weights in prop::collection::vec(1_u32..20, 1..8)) {
        const PICKS: u64 = 10_000;
        let sum: u32 = weights.iter().sum();
        for way in all() {
            let upstream = balancing(&weights, way.clone());
            for (index, (count, weight)) in counts(&upstream, PICKS).into_iter().zip(&weights).enumerate() {
                let share = count as f64 / PICKS as f64;
                let fair = f64::from(*weight) / f64::from(sum);
                // The share of a ring depends on where its points happen to lie: 160 vary by 8 %.
                let spread = if matches!(way, Balancing::Hash(_)) {
                    4.0 * fair / (160.0 * f64::from(*weight)).sqrt()
                } else {
                    0.0
                };
                let allowed = 0.025 + spread;
                prop_assert!((share - fair).abs() < allowed, "{way:?} {weights:?}: node {index} has {share}, not {fair}");
            }
        }
    }

    #[test]
    fn a_node_that_goes_or_comes_moves_only_its_own_keys(
        weights in prop::collection::btree_map(1_u16..60_000, 1_u32..20, 2..12),
        which: prop::sample::Index,
    ) {
        const KEYS: u64 = 2_000;
        let options = || UpstreamOptions { balancing: hashing(None), ..UpstreamOptions::default() };
        let with = build(weights.clone(), options());
        let (port, weight) = weights.iter().nth(which.index(weights.len())).map(|(p, w)| (*p, *w)).unwrap();
        let mut fewer = weights.clone();
        fewer.remove(&port);
        let without = build(fewer, options());
        let mut moved = 0;
        for number in 0..KEYS {
            let (before, after) = (address_of(&with, number), address_of(&without, number));
            if before != after {
                prop_assert_eq!(before, address(port));
                moved += 1;
            }
        }
        let share = f64::from(weight) / f64::from(weights.values().sum::<u32>());
        prop_assert!(moved as f64 <= KEYS as f64 * share * 1.5 + 30.0, "{moved} keys moved for a share of {share}");
    }

    #[test]
    fn a_request_goes_on_to_every_other_node(weights in prop::collection::vec(1_u32..100, 1..8), number: u64) {
        for way in all() {
            let upstream = balancing(&weights, way);
            let mut tried = Tried::default();
            let mut seen = BTreeSet::new();
            while let Some(node) = upstream.pick(&Wish { key: Some(number), ..Wish::new(&tried) }, |_| true) {
                prop_assert!(seen.insert(node));
                tried.push(node);
            }
            prop_assert_eq!(seen.len(), weights.len());
        }
    }

    #[test]
    fn unusable_nodes_are_passed_over_by_every_balancer(
        weights in prop::collection::vec(1_u32..100, 2..12),
        down in prop::collection::btree_set(0_usize..12, 1..11),
        number: u64,
    ) {
        for way in all() {
            let upstream = balancing(&weights, way);
            for node in down.iter().filter_map(|index| upstream.nodes().get(*index)) {
                node.state.condemn("refused");
            }
            let some_up = upstream.nodes().iter().any(|node| node.state.is_usable());
            for number in number..number.saturating_add(20) {
                prop_assert!(!some_up || upstream.nodes()[pick(&upstream, number)].state.is_usable());
            }
        }
    }

    #[test]
    fn no_node_is_loaded_beyond_its_bound(
        weights in prop::collection::vec(1_u32..10, 2..10),
        keys in prop::collection::vec(0_u64..3, 1..200),
        bound in 1.0_f64..2.0,
    ) {
        let upstream = balancing(&weights, hashing(Some(bound)));
        let sum: f64 = weights.iter().copied().map(f64::from).sum();
        let mut in_flight = Vec::new();
        for number in keys {
            let (index, guard) = upstream.enter_at(pick(&upstream, number), false).unwrap();
            let node = &upstream.nodes()[index];
            in_flight.push(guard);
            let most = (bound * in_flight.len() as f64 * f64::from(node.weight) / sum).ceil();
            prop_assert!(f64::from(node.state.in_flight()) <= most, "{} of {}", node.state.in_flight(), in_flight.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens to the service meanwhile: the sum is right whenever stock is taken, and nothing
    /// of it is left in the end.
    #[test]
    fn the_sum_of_requests_in_flight_is_right_and_returns_to_nothing(
        steps in prop::collection::vec((0_u8..6, any::<prop::sample::Index>()), 1..80),
    ) {
        let memory = Arc::new(Memory::default());
        let options = |bound| UpstreamOptions { balancing: hashing(bound), ..UpstreamOptions::default() };
        let peers = Arc::new(PeerOptions::default());
        let node = |port| Node::new(address(port), 1, Peers::new(address(port), None, &peers));
        let mut upstream = Upstream::new("s".into(), (1..5).map(node).collect(), options(Some(1.5)), Arc::clone(&memory));
        let mut running: Vec<InFlight> = Vec::new();
        for (step, which) in steps {
            match step {
                0 | 1 => running.extend(upstream.enter_at(which.index(upstream.nodes().len()), false).map(|placed| placed.1)),
                2 if !running.is_empty() => drop(running.swap_remove(which.index(running.len()))),
                // Some nodes go, others come back as new ones; the bound goes and comes.
                3 => {
                    let bound = [None, Some(1.0), Some(1.5)][which.index(3)];
                    let stay = upstream.nodes().iter().filter(|node| node.address.port() as usize != which.index(5)).cloned();
                    let nodes: Nodes = stay.chain((1..5).map(node)).collect();
                    upstream = upstream.succeeded_by(nodes, options(bound));
                }
                4 => upstream.nodes()[which.index(upstream.nodes().len())].state.condemn("refused"),
                5 => upstream.nodes().iter().for_each(|node| node.state.heal()),
                _ => {}
            }
            upstream.take_stock();
            if let Some(bound) = upstream.balancer.bound() {
                let usable = || upstream.nodes().iter().filter(|node| node.state.is_usable());
                let requests: u32 = usable().map(|node| node.state.in_flight()).sum();
                let times = if let Balancing::Hash(hashing) = &upstream.options.balancing { hashing.bounded_load } else { None };
                let exact = times.unwrap() * f64::from(requests + 1) / usable().count().max(1) as f64;
                prop_assert!((bound.per_weight(&memory) - exact).abs() < 1e-9);
            }
        }
        drop(running);
        prop_assert_eq!(memory.in_flight.load(std::sync::atomic::Ordering::Relaxed), 0);
    }

    /// An upstream made from the one before it chooses as one made from nothing.
    #[test]
    fn an_upstream_that_succeeds_another_chooses_as_a_new_one(
        before in prop::collection::btree_map(1_u16..40, 1_u32..20, 1..20),
        after in prop::collection::btree_map(1_u16..40, 1_u32..20, 1..20),
    ) {
        for way in [Balancing::RoundRobin, hashing(None)] {
            let options = UpstreamOptions { balancing: way, ..UpstreamOptions::default() };
            let new = build(after.clone(), options.clone());
            let again = new.nodes().iter().cloned().collect();
            let succeeding = build(before.clone(), options.clone()).succeeded_by(again, options);
            for number in 0..500 {
                prop_assert_eq!(pick(&new, number), pick(&succeeding, number));
            }
        }
    }
}

#[test]
fn a_bound_holds_among_the_few_nodes_a_request_may_go_to() {
    let upstream = balancing(&[1; 10], hashing(Some(1.25)));
    let mut running = Vec::new();
    for _ in 0..100 {
        // All ask for the same, and a plugin allows two nodes.
        let allowed = |node: &Node| [1, 2].contains(&node.address.port());
        let tried = Tried::default();
        let index = upstream.pick(&Wish { key: Some(7), ..Wish::new(&tried) }, allowed).unwrap();
        running.push(upstream.enter_at(index, false).unwrap());
        let most = (1.25 * running.len() as f64 / 2.0).ceil() as u32;
        assert!(upstream.nodes()[index].state.in_flight() <= most, "of {}", running.len());
    }
}

#[test]
fn a_bound_is_that_of_usable_nodes_once_stock_is_taken_and_refuses_nobody() {
    let upstream = balancing(&[1; 10], hashing(Some(1.0)));
    let mut running: Vec<_> = (0..100).map(|number| upstream.enter_at(pick(&upstream, number), false)).collect();
    assert!(upstream.nodes().iter().all(|node| node.state.in_flight() == 10));
    // Half of them are gone for good with what they had: the others may have twice as much.
    upstream.nodes().iter().take(5).for_each(|node| node.state.condemn("refused"));
    (0..50).for_each(|number| assert!(pick(&upstream, number) >= 5, "even while the bound is too tight"));
    upstream.take_stock();
    running.extend((0..50).map(|number| upstream.enter_at(pick(&upstream, number), false)));
    assert!(upstream.nodes()[5..].iter().all(|node| node.state.in_flight() == 20));
}

#[test]
fn only_a_bound_has_the_sum_kept() {
    for way in all() {
        let upstream = balancing(&[1, 1], way);
        let _running = upstream.enter_at(0, false);
        assert_eq!(upstream.memory.in_flight.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}

#[test]
fn least_requests_keeps_the_load_even_whatever_the_time_requests_take() {
    let weights = [4, 1, 1, 2];
    let upstream = balancing(&weights, Balancing::LeastRequests);
    let mut running: Vec<Vec<InFlight>> = weights.iter().map(|_| Vec::new()).collect();
    for round in 0..5_000 {
        let index = pick(&upstream, round);
        running[index].push(InFlight::at(&upstream.nodes()[index].state));
        // Node 1 ends a request only every tenth time.
        for (index, requests) in running.iter_mut().enumerate() {
            if requests.len() > 20 * weights[index] as usize && (index != 1 || round % 10 == 0) {
                requests.remove(0);
            }
        }
        if round > 1000 {
            let load = |index: usize| running[index].len() as f64 / f64::from(weights[index]);
            let loads: Vec<f64> = (0..weights.len()).map(load).collect();
            let (least, most) = loads.iter().fold((f64::MAX, 0.0_f64), |(a, b), load| (a.min(*load), b.max(*load)));
            assert!(most <= least * 2.0 + 5.0, "{loads:?}");
        }
    }
}

#[test]
fn ewma_prefers_the_fast_node_and_asks_the_slow_one_again_after_a_while() {
    let answered = |ms| Outcome::Answered { status: 200, first_byte: Duration::from_millis(ms) };
    let upstream = balancing(&[1, 1], Balancing::Ewma);
    upstream.observe(0, answered(1));
    upstream.observe(1, answered(50));
    assert_eq!(counts(&upstream, 1000)[0], 1000);
    // Forty requests in flight at the fast one make the slow one as good.
    let busy: Vec<InFlight> = (0..60).map(|_| InFlight::at(&upstream.nodes()[0].state)).collect();
    assert_eq!(counts(&upstream, 1000)[1], 1000);
    drop(busy);
    // As if the slow answer was a minute ago.
    let ago = now_ms().wrapping_sub(60_000);
    let forgotten = balancing(&[1, 1], Balancing::Ewma);
    forgotten.nodes()[1].state.latency.observe_peak(Duration::from_millis(50), ago);
    forgotten.observe(0, answered(1));
    assert_eq!(counts(&forgotten, 1000)[1], 1000);
}

#[test]
fn a_node_without_data_is_taken_for_an_average_one() {
    let upstream = balancing(&[1, 1, 1], Balancing::Ewma);
    let answered = |ms| Outcome::Answered { status: 200, first_byte: Duration::from_millis(ms) };
    upstream.observe(0, answered(40));
    upstream.observe(1, answered(80));
    let counts = counts(&upstream, 3000);
    // Better than the slowest, worse than the fastest or its equal.
    assert!(counts[1] == 0 && counts[2] > 0 && counts[0] > 1000, "{counts:?}");
}

#[test]
fn failing_fast_does_not_draw_requests() {
    let upstream = balancing(&[1, 1], Balancing::Ewma);
    let answered = |status, ms| Outcome::Answered { status, first_byte: Duration::from_millis(ms) };
    upstream.observe(0, answered(200, 20));
    upstream.observe(1, answered(200, 20));
    (0..20).for_each(|_| upstream.observe(1, answered(503, 0)));
    assert_eq!(counts(&upstream, 1000)[1], 0);
}

#[test]
fn requests_without_a_key_take_turns() {
    let upstream = balancing(&[1, 1, 1], hashing(None));
    let tried = Tried::default();
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for _ in 0..300 {
        *counts.entry(upstream.pick(&Wish::new(&tried), |_| true).unwrap()).or_default() += 1;
    }
    assert_eq!(counts, BTreeMap::from([(0, 100), (1, 100), (2, 100)]));
}

#[test]
fn a_starting_node_begins_with_a_small_share() {
    for way in all() {
        let slow_start = Some(Duration::from_secs(3600));
        let options = UpstreamOptions { balancing: way.clone(), slow_start, ..UpstreamOptions::default() };
        let upstream = build((1..).zip([1, 1, 1, 1]), options);
        upstream.nodes()[2].state.warm_up();
        let share = counts(&upstream, 10_000)[2] as f64 / 10_000.0;
        assert!((0.01..0.06).contains(&share), "{way:?}: {share}");
        // One that has started has its whole share; so it has where no slow start is set.
        let plain = balancing(&[1, 1, 1, 1], way.clone());
        plain.nodes()[2].state.warm_up();
        let share = counts(&plain, 10_000)[2] as f64 / 10_000.0;
        assert!((0.18..0.32).contains(&share), "{way:?}: {share}");
    }
}

#[test]
fn the_share_of_a_starting_node_grows_to_the_whole() {
    let state = NodeState::default();
    let over = Duration::from_secs(30);
    assert_eq!(state.warmth(over, now_ms), None);
    state.warm_up();
    let began = now_ms();
    let share = |seconds: u64| state.warmth(over, || began + seconds * 1000);
    let near = |share: Option<f32>, expected: f32| (share.unwrap() - expected).abs() < 0.01;
    assert!(near(share(0), 0.1) && near(share(10), 0.4) && near(share(20), 0.7), "{:?}", share(10));
    assert_eq!(share(31), None);
    assert_eq!(state.warmth(over, || began), None, "it is over for good");
}

#[test]
fn a_node_that_recovers_starts_slowly() {
    let state = NodeState::default();
    let over = Duration::from_secs(30);
    state.heal();
    assert_eq!(state.warmth(over, now_ms), None, "it was healthy already");
    state.condemn("refused");
    state.heal();
    assert!(state.warmth(over, now_ms).is_some());
    let ejected = NodeState::default();
    ejected.eject(Duration::from_secs(10));
    ejected.readmit();
    assert!(ejected.warmth(over, now_ms).is_some());
}

/// Keys go over to a starting node one after the other; none comes back before it is up.
#[test]
fn keys_move_to_a_starting_node_once() {
    let options = |slow_start| UpstreamOptions { balancing: hashing(None), slow_start, ..UpstreamOptions::default() };
    let upstream = build((1..).zip([1, 1, 1]), options(Some(Duration::from_secs(3600))));
    upstream.nodes()[2].state.warm_up();
    let first: Vec<usize> = (0..1000).map(|number| pick(&upstream, number)).collect();
    assert_eq!(first, (0..1000).map(|number| pick(&upstream, number)).collect::<Vec<_>>());
    let whole = build((1..).zip([1, 1, 1]), options(None));
    for (number, index) in (0..).zip(first) {
        assert!(index != 2 || pick(&whole, number) == 2);
    }
}
