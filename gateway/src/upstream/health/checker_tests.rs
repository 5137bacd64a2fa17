//! The pace of probes and what they change, in paused time.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;
use crate::upstream::{Memory, Peers, UpstreamOptions};

/// What a test tells its nodes to answer, and what they were asked.
#[derive(Default)]
struct Nodes {
    sick: Mutex<HashSet<u16>>,
    asked: Mutex<Vec<(Instant, u16)>>,
    at_once: Mutex<(usize, usize)>,
}

/// How long a probe takes.
const TAKES: Duration = Duration::from_millis(10);

fn upstream(nodes: u16, check: Option<Check>, states: &BTreeMap<u16, Arc<NodeState>>) -> Arc<Upstream> {
    let nodes = (1..=nodes).map(|port| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let state = states.get(&port).cloned().unwrap_or_default();
        Node { state, ..Node::new(address, 1, Peers::new(address, None, &Arc::default())) }
    });
    let options = UpstreamOptions { check: check.map(Arc::new), ..UpstreamOptions::default() };
    Arc::new(Upstream::new("s".into(), nodes.collect(), options, Arc::new(Memory::default())))
}

fn states(upstream: &Upstream) -> BTreeMap<u16, Arc<NodeState>> {
    upstream.nodes().iter().map(|n| (n.address.port(), Arc::clone(&n.state))).collect()
}

/// Runs a checker over what the cell holds.
fn run(concurrency: usize, upstreams: &Arc<Mutex<Option<Arc<Upstream>>>>) -> Arc<Nodes> {
    let nodes = Arc::new(Nodes::default());
    let told = Arc::clone(&nodes);
    let checker = Checker::asking(concurrency, move |upstream, index, _| {
        let nodes = Arc::clone(&told);
        let port = upstream.nodes()[index].address.port();
        Box::pin(async move {
            nodes.asked.lock().unwrap().push((Instant::now(), port));
            {
                let mut at_once = nodes.at_once.lock().unwrap();
                at_once.0 += 1;
                at_once.1 = at_once.1.max(at_once.0);
            }
            tokio::time::sleep(TAKES).await;
            nodes.at_once.lock().unwrap().0 -= 1;
            if nodes.sick.lock().unwrap().contains(&port) { Err("status 500".into()) } else { Ok(()) }
        })
    });
    let upstreams = Arc::clone(upstreams);
    tokio::spawn(checker.run(move || upstreams.lock().unwrap().take().map(|upstream| vec![upstream])));
    nodes
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn check() -> Check {
    Check { interval: seconds(10.0), unhealthy_interval: seconds(20.0), single: true, ..Check::default() }
}

#[tokio::test(start_paused = true)]
async fn probes_are_spread_over_the_interval_from_the_start() {
    let upstream = upstream(1000, Some(check()), &BTreeMap::new());
    let nodes = run(100, &Arc::new(Mutex::new(Some(upstream))));
    let started = Instant::now();
    tokio::time::sleep(seconds(60.0)).await;
    let asked = nodes.asked.lock().unwrap();
    for second in 1..60 {
        let count = asked.iter().filter(|(at, _)| (*at - started).as_secs() == second).count();
        assert!((50..=150).contains(&count), "{count} probes in second {second}");
    }
    let of_one: Vec<_> = asked.iter().filter(|(_, port)| *port == 7).map(|(at, _)| *at).collect();
    assert!((5..=7).contains(&of_one.len()), "{of_one:?}");
    for pair in of_one.windows(2) {
        let apart = (pair[1] - pair[0]).as_secs_f64();
        assert!((9.4..10.6).contains(&apart), "{apart}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_probes_run_at_a_time_than_allowed() {
    let upstream = upstream(200, Some(Check { interval: seconds(0.05), ..check() }), &BTreeMap::new());
    let nodes = run(7, &Arc::new(Mutex::new(Some(upstream))));
    tokio::time::sleep(seconds(5.0)).await;
    assert_eq!(nodes.at_once.lock().unwrap().1, 7);
    let asked = nodes.asked.lock().unwrap().len();
    // 7 at a time, each 10 ms and a millisecond of the clock.
    assert!((2_500..=3_600).contains(&asked), "{asked}");
    let each: HashSet<u16> = nodes.asked.lock().unwrap().iter().map(|(_, port)| *port).collect();
    assert_eq!(each.len(), 200, "none is forgotten");
}

#[tokio::test(start_paused = true)]
async fn thresholds_count_results_in_a_row() {
    let check = Check { failures: 3, successes: 2, jitter: 0.0, ..check() };
    let upstream = upstream(1, Some(check), &BTreeMap::new());
    let state = Arc::clone(&upstream.nodes()[0].state);
    let counts = Arc::clone(&upstream.memory);
    let nodes = run(1, &Arc::new(Mutex::new(Some(upstream))));
    tokio::time::sleep(seconds(11.0)).await;
    assert!(state.found.last().is_some_and(|probed| probed.failure.is_none()));
    // Two failures and a success are no three.
    nodes.sick.lock().unwrap().insert(1);
    tokio::time::sleep(seconds(20.0)).await;
    nodes.sick.lock().unwrap().clear();
    tokio::time::sleep(seconds(10.0)).await;
    nodes.sick.lock().unwrap().insert(1);
    tokio::time::sleep(seconds(20.0)).await;
    assert!(state.is_healthy());
    tokio::time::sleep(seconds(10.0)).await;
    assert!(!state.is_healthy());
    assert_eq!(&*state.found.unhealthy().unwrap().1, "status 500");
    nodes.sick.lock().unwrap().clear();
    tokio::time::sleep(seconds(20.5)).await;
    assert!(!state.is_healthy(), "one success is not two");
    tokio::time::sleep(seconds(20.5)).await;
    assert!(state.is_healthy() && state.found.unhealthy().is_none());
    assert_eq!(
        (counts.counts.unhealthy.load(Ordering::Relaxed), counts.counts.healthy.load(Ordering::Relaxed)),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_node_is_probed_at_its_own_pace_and_alone_counts_too() {
    let upstream = upstream(1, Some(Check { failures: 1, jitter: 0.0, ..check() }), &BTreeMap::new());
    let nodes = run(1, &Arc::new(Mutex::new(Some(upstream))));
    nodes.sick.lock().unwrap().insert(1);
    tokio::time::sleep(seconds(100.0)).await;
    let asked = nodes.asked.lock().unwrap();
    for pair in asked.windows(2) {
        assert_eq!((pair[1].0 - pair[0].0).as_secs(), 20);
    }
    assert!((4..=5).contains(&asked.len()), "{}", asked.len());
}

#[tokio::test(start_paused = true)]
async fn a_single_node_is_not_probed_unless_its_service_asks_for_it() {
    let upstream = upstream(1, Some(Check { single: false, ..check() }), &BTreeMap::new());
    let nodes = run(1, &Arc::new(Mutex::new(Some(upstream))));
    tokio::time::sleep(seconds(100.0)).await;
    assert!(nodes.asked.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_change_elsewhere_does_not_change_a_nodes_pace() {
    let cell = Arc::new(Mutex::new(None));
    let nodes = run(10, &cell);
    let mut now = upstream(3, Some(Check { jitter: 0.0, ..check() }), &BTreeMap::new());
    *cell.lock().unwrap() = Some(Arc::clone(&now));
    for count in 3..50 {
        tokio::time::sleep(seconds(1.0)).await;
        now = upstream(count % 7 + 3, Some(Check { jitter: 0.0, ..check() }), &states(&now));
        *cell.lock().unwrap() = Some(Arc::clone(&now));
    }
    let asked = nodes.asked.lock().unwrap();
    let of_one: Vec<_> = asked.iter().filter(|(_, port)| *port == 1).map(|(at, _)| *at).collect();
    assert!((4..=5).contains(&of_one.len()), "{of_one:?}");
    assert!(of_one.windows(2).all(|pair| (pair[1] - pair[0]).as_secs() == 10), "{of_one:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_check_goes_is_no_longer_unhealthy() {
    let cell = Arc::new(Mutex::new(None));
    let nodes = run(10, &cell);
    nodes.sick.lock().unwrap().insert(2);
    let checked = upstream(3, Some(Check { failures: 1, ..check() }), &BTreeMap::new());
    *cell.lock().unwrap() = Some(Arc::clone(&checked));
    tokio::time::sleep(seconds(15.0)).await;
    assert!(!checked.nodes()[1].state.is_healthy());
    *cell.lock().unwrap() = Some(upstream(3, None, &states(&checked)));
    tokio::time::sleep(seconds(1.0)).await;
    assert!(checked.nodes()[1].state.is_healthy());
    let before = nodes.asked.lock().unwrap().len();
    tokio::time::sleep(seconds(60.0)).await;
    assert_eq!(nodes.asked.lock().unwrap().len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_refused_is_asked_until_it_answers_without_any_check() {
    let upstream = upstream(2, None, &BTreeMap::new());
    let nodes = run(10, &Arc::new(Mutex::new(Some(Arc::clone(&upstream)))));
    nodes.sick.lock().unwrap().insert(1);
    tokio::time::sleep(seconds(5.0)).await;
    assert!(nodes.asked.lock().unwrap().is_empty());
    upstream.observe(0, crate::upstream::Outcome::NoConnection);
    tokio::time::sleep(seconds(5.0)).await;
    assert!(upstream.nodes()[0].state.awaits_readmission());
    assert!(nodes.asked.lock().unwrap().len() >= 9, "every half second");
    nodes.sick.lock().unwrap().clear();
    tokio::time::sleep(seconds(1.0)).await;
    assert!(!upstream.nodes()[0].state.awaits_readmission());
    let before = nodes.asked.lock().unwrap().len();
    tokio::time::sleep(seconds(5.0)).await;
    assert_eq!(nodes.asked.lock().unwrap().len(), before);
}
