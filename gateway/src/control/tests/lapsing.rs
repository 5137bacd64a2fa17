//! Leases that end together.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;

use super::rig::*;
use crate::store::{Event, Kv, Listing, WatchItem};

/// The values of the nodes that answer.
type Alive = Arc<Mutex<BTreeSet<String>>>;

fn leased(name: &str, revision: u64) -> Kv {
    let mut kv = kv(&format!("discovery/s.{name}"), name, revision);
    kv.lease = Some(1);
    kv
}

fn listing(revision: u64, nodes: &[&str]) -> WatchItem {
    WatchItem::Resync(Listing { revision, entries: nodes.iter().map(|name| leased(name, 1)).collect() })
}

fn gone(name: &str, revision: u64) -> WatchItem {
    delete(&[&format!("discovery/s.{name}")], revision)
}

/// Control over five leased nodes that all answer.
async fn five() -> (Rig, Alive) {
    let mut rig = Rig::new(None);
    let names = ["a", "b", "c", "d", "e"];
    let alive: Alive = Arc::new(Mutex::new(names.iter().map(ToString::to_string).collect()));
    let asked = alive.clone();
    rig.control.as_mut().unwrap().probe_lapsed(Arc::new(move |nodes| {
        let alive = asked.lock().unwrap().clone();
        let answers = nodes.iter().map(|node| alive.contains(&*String::from_utf8_lossy(&node.value))).collect();
        Box::pin(async move {
            sleep(Duration::from_millis(50)).await;
            answers
        })
    }));
    rig.send(listing(1, &names));
    rig.start();
    rig.until(|rig| rig.status.ready()).await;
    sleep(Duration::from_millis(100)).await;
    rig.calls();
    (rig, alive)
}

fn live(rig: &Rig) -> String {
    let live = rig.notes.live.lock().unwrap();
    live.keys().map(|key| key.rsplit('.').next().unwrap()).collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn a_node_that_goes_alone_goes_at_once() {
    let (mut rig, _alive) = five().await;
    rig.sent(gone("a", 2)).await;
    assert_eq!(rig.calls(), [apply(2, &["-discovery/s.a"])]);
    sleep(Duration::from_millis(100)).await;
    rig.sent(gone("b", 3)).await;
    assert_eq!(rig.calls(), [apply(3, &["-discovery/s.b"])]);
    assert_eq!(rig.status.report().kept_beyond_lease, 0);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_many_that_go_together_those_that_answer_are_kept() {
    let (mut rig, alive) = five().await;
    alive.lock().unwrap().remove("b");
    let events = ["a", "b", "c", "d"].map(|name| Event::Delete { key: format!("{P}discovery/s.{name}"), revision: 2 });
    rig.sent(WatchItem::Events { revision: 2, events: events.into() }).await;
    assert_eq!(live(&rig), "a b c d e", "nothing goes before it was asked");
    sleep(Duration::from_millis(200)).await;
    assert_eq!(live(&rig), "a c d e", "who does not answer goes");
    let report = rig.status.report();
    assert_eq!((report.kept_beyond_lease, report.applied_revision), (3, 2));
    assert_eq!(report.kept_nodes, ["discovery/s.a", "discovery/s.c", "discovery/s.d"]);
    sleep(Duration::from_secs(120)).await;
    assert_eq!(live(&rig), "a c d e", "as long as they answer");
    // One stops, one registers again and goes alone much later.
    alive.lock().unwrap().remove("c");
    rig.sent(WatchItem::Events { revision: 3, events: vec![Event::Put(leased("a", 3))] }).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(live(&rig), "a d e");
    assert_eq!(rig.status.report().kept_nodes, ["discovery/s.d"]);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_after_the_other_within_the_window_is_together() {
    let (mut rig, _alive) = five().await;
    for (revision, name) in [(2, "a"), (3, "b"), (4, "c"), (5, "d"), (6, "e")] {
        rig.sent(gone(name, revision)).await;
        sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(live(&rig), "c d e", "two of five are believed, the third is more than half");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_and_goes_is_one() {
    let (mut rig, _alive) = five().await;
    for n in 0..5 {
        rig.sent(gone("a", 2 + 2 * n)).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(live(&rig), "b c d e");
        rig.sent(WatchItem::Events { revision: 3 + 2 * n, events: vec![Event::Put(leased("a", 3 + 2 * n))] }).await;
        sleep(Duration::from_secs(1)).await;
    }
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn slowly_they_may_all_go() {
    let (mut rig, _alive) = five().await;
    for (revision, name) in [(2, "a"), (3, "b"), (4, "c"), (5, "d"), (6, "e")] {
        rig.sent(gone(name, revision)).await;
        sleep(Duration::from_secs(31)).await;
    }
    assert_eq!(live(&rig), "");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn leases_that_ended_while_the_store_was_away_are_doubted_too() {
    let (mut rig, alive) = five().await;
    rig.sent(lost("away")).await;
    alive.lock().unwrap().remove("d");
    let mut left = listing(9, &["e"]);
    if let WatchItem::Resync(listing) = &mut left {
        listing.entries.push(kv("routes/r", "r", 8));
    }
    rig.sent(left.clone()).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(live(&rig), "a b c e routes/r");
    // The next listing says the same, and changes nothing.
    rig.sent(left).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(live(&rig), "a b c e routes/r");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_window_all_is_believed() {
    let mut rig = Rig::new(None);
    let control = rig.control.as_mut().unwrap();
    control.lapses = super::super::lapse::Lapses::new(Duration::ZERO);
    control.probe_lapsed(Arc::new(|_| unreachable!("nothing is doubted")));
    rig.send(listing(1, &["a", "b", "c"]));
    rig.start();
    rig.until(|rig| rig.status.ready()).await;
    sleep(Duration::from_millis(100)).await;
    rig.sent(gone("a", 2)).await;
    rig.sent(gone("b", 3)).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(live(&rig), "c");
    rig.stop().await;
}
