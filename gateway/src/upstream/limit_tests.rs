//! Limits of nodes, and the queue of those who wait for one.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn limited(nodes: u16, most: u32, pending: usize) -> Arc<Upstream> {
    let peers = Arc::new(PeerOptions::default());
    let node = |port| {
        let address = SocketAddr::from(([10, 0, 0, 1], port));
        Node::new(address, 1, Peers::new(address, None, &peers))
    };
    let limits = Some(Limits { http1: most, http2: most * 10, pending, wait: LONG });
    let options = UpstreamOptions { limits, ..UpstreamOptions::default() };
    Arc::new(Upstream::new("s".into(), (1..=nodes).map(node).collect(), options, Arc::default()))
}

fn choose(upstream: &Arc<Upstream>) -> Choice {
    upstream.choose(&Wish::new(&Tried::default()), None, |_| true)
}

#[track_caller]
fn enter(upstream: &Arc<Upstream>) -> (usize, InFlight) {
    match choose(upstream) {
        Choice::Node(index, in_flight) => (index, in_flight),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn line_up(upstream: &Arc<Upstream>) -> Ticket {
    match choose(upstream) {
        Choice::Wait(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

/// Whether a ticket has its place by now.
async fn is_served(ticket: Ticket) -> Option<(usize, InFlight)> {
    ticket.wait(Duration::ZERO).await
}

#[test]
fn nodes_take_as_many_as_they_may_and_no_more() {
    let upstream = limited(2, 3, 0);
    let inside: Vec<_> = (0..6).map(|_| enter(&upstream)).collect();
    assert!(upstream.nodes().iter().all(|node| node.state.in_flight() == 3));
    assert!(matches!(choose(&upstream), Choice::Full));
    drop(inside);
    enter(&upstream);
}

#[test]
fn http2_has_a_limit_of_its_own() {
    let upstream = limited(1, 1, 0);
    let _first = enter(&upstream);
    let tried = Tried::default();
    let wish = Wish { http2: true, ..Wish::new(&tried) };
    assert!(matches!(upstream.choose(&wish, None, |_| true), Choice::Node(0, _)));
}

#[test]
fn a_full_node_is_passed_over_and_does_not_count_as_tried() {
    let upstream = limited(2, 1, 0);
    let (first, _in_flight) = enter(&upstream);
    let (second, other) = enter(&upstream);
    assert_ne!(first, second);
    drop(other);
    assert_eq!(enter(&upstream).0, second);
}

#[test]
fn the_preferred_node_is_taken_unless_it_is_full() {
    let upstream = limited(3, 1, 0);
    let tried = Tried::default();
    let prefer = || upstream.choose(&Wish::new(&tried), Some(1), |_| true);
    let Choice::Node(1, _in_flight) = prefer() else { panic!("not the preferred one") };
    assert!(matches!(prefer(), Choice::Node(0 | 2, _)));
}

#[test]
fn an_unusable_node_does_not_stand_in_for_a_full_one() {
    let upstream = limited(2, 1, 0);
    upstream.nodes()[0].state.eject(LONG);
    let (index, in_flight) = enter(&upstream);
    assert_eq!(index, 1);
    assert!(matches!(choose(&upstream), Choice::Full));
    upstream.nodes()[1].state.eject(LONG);
    drop(in_flight);
    enter(&upstream);
}

#[test]
fn without_a_possible_node_nobody_waits() {
    let upstream = limited(1, 1, 10);
    assert!(matches!(upstream.choose(&Wish::new(&Tried::default()), None, |_| false), Choice::Nobody));
}

#[tokio::test]
async fn who_came_first_is_served_first() {
    let upstream = limited(1, 1, 3);
    let inside = enter(&upstream);
    let (first, second, third) = (line_up(&upstream), line_up(&upstream), line_up(&upstream));
    assert!(matches!(choose(&upstream), Choice::Full));
    drop(inside);
    let inside = is_served(first).await.expect("the first is served");
    assert!(is_served(second).await.is_none(), "and leaves");
    drop(inside);
    is_served(third).await.expect("the third is served");
    assert!(!upstream.memory.queue.is_busy());
    enter(&upstream);
}

#[tokio::test]
async fn a_place_given_to_one_who_left_goes_to_the_next() {
    let upstream = limited(1, 1, 3);
    let inside = enter(&upstream);
    let (first, second) = (line_up(&upstream), line_up(&upstream));
    drop(inside);
    // It has been given to the first, who goes without looking.
    drop(first);
    is_served(second).await.expect("the second is served");
    assert_eq!(upstream.nodes()[0].state.in_flight(), 0);
    assert!(!upstream.memory.queue.is_busy());
}

#[tokio::test]
async fn a_latecomer_does_not_pass_those_who_wait() {
    let upstream = limited(1, 1, 3);
    let inside = enter(&upstream);
    let first = line_up(&upstream);
    drop(inside);
    let second = line_up(&upstream);
    let inside = is_served(first).await.expect("the first is served");
    drop(inside);
    is_served(second).await.expect("then the second");
}

#[tokio::test]
async fn who_cannot_use_a_place_lets_the_next_have_it() {
    let upstream = limited(2, 1, 3);
    let inside = [enter(&upstream), enter(&upstream)];
    let mut tried = Tried::default();
    tried.push(inside[0].0);
    let Choice::Wait(picky) = upstream.choose(&Wish::new(&tried), None, |_| true) else { panic!("it waits") };
    let easy = line_up(&upstream);
    let [first, second] = inside;
    let freed = first.0;
    drop(first);
    assert_eq!(is_served(easy).await.expect("the easy one is served").0, freed);
    drop(second);
    assert_ne!(is_served(picky).await.expect("then the picky one").0, freed);
}

#[tokio::test]
async fn places_are_not_lost_over_a_rebuild() {
    let old = limited(1, 1, 3);
    let inside = enter(&old);
    let same = old.nodes().iter().cloned().collect();
    let new = Arc::new(old.succeeded_by(same, old.options.clone()));
    let waiting = line_up(&new);
    drop(inside);
    is_served(waiting).await.expect("a request of the old snapshot makes room for one of the new");
}

#[test]
fn threads_never_overshoot() {
    let upstream = limited(3, 2, 0);
    let (refused, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    match choose(&upstream) {
                        Choice::Node(index, _in_flight) => {
                            most.fetch_max(upstream.nodes()[index].state.in_flight(), Ordering::Relaxed);
                            std::thread::yield_now();
                        }
                        Choice::Full => drop(refused.fetch_add(1, Ordering::Relaxed)),
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    assert_eq!(most.into_inner(), 2);
    assert!(refused.into_inner() > 0, "the limit was never reached");
    assert!(upstream.nodes().iter().all(|node| node.state.in_flight() == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everyone_who_waits_is_served_whatever_the_order_of_things() {
    let upstream = limited(2, 2, 10_000);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..200_u64 {
        let upstream = Arc::clone(&upstream);
        tasks.spawn(async move {
            let mut given_up = 0;
            for round in 0..50 {
                let (index, _in_flight) = match choose(&upstream) {
                    Choice::Node(index, in_flight) => (index, in_flight),
                    Choice::Wait(ticket) => {
                        // Some have no patience.
                        let longest = if (task + round) % 7 == 0 { Duration::from_micros(task) } else { LONG };
                        let Some(placed) = ticket.wait(longest).await else {
                            assert!(longest < LONG, "a place was lost");
                            given_up += 1;
                            continue;
                        };
                        placed
                    }
                    other => panic!("{other:?}"),
                };
                assert!(upstream.nodes()[index].state.in_flight() <= 2);
                tokio::task::yield_now().await;
            }
            given_up
        });
    }
    let given_up: u32 = tasks.join_all().await.into_iter().sum();
    assert!(given_up < 200 * 50 / 7 + 200, "{given_up}");
    assert!(upstream.nodes().iter().all(|node| node.state.in_flight() == 0));
    assert!(!upstream.memory.queue.is_busy());
}
