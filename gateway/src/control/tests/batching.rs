//! When what is published, and when nothing.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::time::sleep;

use super::super::Source;
use super::rig::{Call, Rig, apply, delete, lost, put, replace, resync};
use crate::store::WatchItem;

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn watches_every_family_with_one_watch() {
    let rig = Rig::started(None, 1, &[]).await;
    let families =
        ["routes/", "discovery/", "gw/services/", "gw/plugins/", "gw/nodes/", "gw/certificates/", "gw/journal/open"];
    assert_eq!(*rig.store.watched.lock().unwrap(), [families.map(|family| format!("/my/cloud/{family}"))]);
}

#[tokio::test(start_paused = true)]
async fn the_first_listing_is_a_replace_and_makes_ready() {
    let mut rig = Rig::new(None);
    rig.send(resync(7, &[("routes/a", "1", 3), ("gw/head", "x", 7), ("discovery/s.1", "n", 4)]));
    rig.start();
    rig.until(|rig| rig.ready.load(SeqCst)).await;
    assert_eq!(rig.calls(), [replace(7, &["discovery/s.1=n@4", "routes/a=1@3"])]);
    let status = rig.status.report();
    assert!(status.ready && status.connected);
    assert_eq!((status.source, status.stored_revision, status.applied_revision), (Source::Store, 7, 7));
    assert_eq!((status.entries, status.publishes), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn an_empty_store_is_published_at_the_start() {
    let mut rig = Rig::new(None);
    rig.send(resync(1, &[]));
    rig.start();
    rig.until(|rig| rig.ready.load(SeqCst)).await;
    assert_eq!(rig.calls(), [replace(1, &[])]);
    assert!(rig.status.ready());
}

#[tokio::test(start_paused = true)]
async fn the_first_change_after_quiet_is_published_at_once_and_followers_within_20_ms_together() {
    let rig = Rig::started(None, 1, &[("routes/a", "1", 1)]).await;
    let start = rig.now();
    rig.send(put("routes/b", "1", 2));
    sleep(5 * MS).await;
    rig.send(put("routes/c", "1", 3));
    sleep(5 * MS).await;
    rig.send(put("routes/d", "1", 4));
    rig.send(put("routes/c", "2", 5));
    sleep(200 * MS).await;
    let calls: Vec<_> = rig.timed_calls().into_iter().map(|(at, call)| ((at - start).as_millis(), call)).collect();
    assert_eq!(calls[0], (0, apply(2, &["routes/b=1@2"])));
    // Tokio's timer has a resolution of a millisecond and never fires early.
    assert!((20..=21).contains(&calls[1].0), "{calls:?}");
    assert_eq!(calls[1].1, apply(5, &["routes/c=2@5", "routes/d=1@4"]));
    assert_eq!(calls.len(), 2);
}

#[tokio::test]
async fn what_arrives_while_the_publisher_works_goes_into_one_publish() {
    let rig = Rig::started(None, 1, &[]).await;
    rig.notes.stuck.store(true, SeqCst);
    rig.send(put("routes/a", "1", 2));
    let calls = || rig.notes.calls.lock().unwrap().len();
    while calls() == 0 {
        tokio::task::yield_now().await;
    }
    for revision in 3..=50 {
        rig.send(put(&format!("routes/{}", revision % 10), "x", revision));
    }
    // The loop keeps draining while the publisher is stuck.
    while rig.status.stored_revision() != 50 {
        tokio::task::yield_now().await;
    }
    assert_eq!((calls(), rig.status.applied_revision()), (1, 1));
    rig.notes.stuck.store(false, SeqCst);
    rig.until(|rig| rig.status.applied_revision() == 50).await;
    let calls = rig.calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    let Call::Apply(50, lines) = &calls[1] else { panic!("{calls:?}") };
    assert_eq!((lines.len(), lines[0].as_str()), (10, "routes/0=x@50"));
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_says_nothing_new_publishes_nothing() {
    let rows = [("routes/a", "1", 1), ("routes/b", "2", 2)];
    let rig = Rig::started(None, 2, &rows).await;
    rig.sent(resync(9, &rows)).await;
    assert_eq!(rig.calls(), []);
    assert_eq!((rig.status.stored_revision(), rig.status.applied_revision()), (9, 9));
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_handed_over_as_what_differs() {
    let rig = Rig::started(None, 3, &[("routes/a", "1", 1), ("routes/b", "2", 2), ("routes/c", "3", 3)]).await;
    rig.sent(resync(9, &[("routes/a", "1", 1), ("routes/b", "5", 8), ("routes/d", "4", 9)])).await;
    assert_eq!(rig.calls(), [apply(9, &["routes/b=5@8", "routes/d=4@9", "-routes/c"])]);
}

#[tokio::test(start_paused = true)]
async fn a_restored_store_whose_revisions_began_anew_is_compared_by_value_too() {
    let rig = Rig::started(None, 9, &[("routes/a", "1", 4), ("routes/b", "2", 9)]).await;
    rig.sent(resync(4, &[("routes/a", "other", 4), ("routes/b", "2", 2)])).await;
    assert_eq!(rig.calls(), [apply(4, &["routes/a=other@4", "routes/b=2@2"])]);
    assert_eq!(rig.status.applied_revision(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_changes_nothing_in_the_end_publishes_nothing() {
    let rig = Rig::started(None, 1, &[("routes/a", "1", 1), ("discovery/s.1", "n", 1)]).await;
    rig.send(put("routes/new", "1", 2));
    rig.send(delete(&["routes/new", "routes/never"], 3));
    // A service that registers itself anew and says what it said before.
    rig.send(put("discovery/s.1", "n", 4));
    rig.send(put("gw/head", "4", 5));
    sleep(100 * MS).await;
    assert_eq!(rig.calls(), []);
    assert_eq!((rig.status.stored_revision(), rig.status.applied_revision()), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_panics_is_given_everything_anew_with_the_next_change() {
    let rig = Rig::started(None, 1, &[("routes/a", "1", 1)]).await;
    rig.notes.panics.store(true, SeqCst);
    rig.sent(put("routes/b", "bad", 2)).await;
    assert_eq!(rig.calls(), [apply(2, &["routes/b=bad@2"])]);
    let status = rig.status.report();
    assert_eq!(status.publish_error.as_deref(), Some("a bad object"));
    assert_eq!((status.stored_revision, status.applied_revision), (2, 1));
    sleep(100 * MS).await;
    assert_eq!(rig.calls(), [], "it is not tried again for nothing");

    rig.notes.panics.store(false, SeqCst);
    rig.sent(put("routes/b", "good", 3)).await;
    assert_eq!(rig.calls(), [replace(3, &["routes/a=1@1", "routes/b=good@3"])]);
    let status = rig.status.report();
    assert_eq!((status.applied_revision, status.publish_error), (3, None));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_visible_and_what_is_live_stays() {
    let rig = Rig::started(None, 1, &[("routes/a", "1", 1)]).await;
    assert_eq!(rig.status.stale_for(), Duration::ZERO);
    rig.sent(lost("connection refused")).await;
    sleep(Duration::from_secs(600)).await;
    let status = rig.status.report();
    assert_eq!((status.ready, status.connected), (true, false));
    assert_eq!(status.outage.as_deref(), Some("connection refused"));
    assert_eq!(status.stale_seconds.round(), 600.0);
    rig.sent(put("routes/b", "1", 2)).await;
    let status = rig.status.report();
    assert_eq!((status.connected, status.stale_seconds, status.outage), (true, 0.0, None));
    assert_eq!(rig.calls(), [apply(2, &["routes/b=1@2"])]);
    rig.sent(lost("again")).await;
    rig.sent(WatchItem::Connected).await;
    assert!(rig.status.connected());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_back_after_an_outage_applies_only_what_changed() {
    let rig = Rig::started(None, 2, &[("routes/a", "1", 1), ("routes/b", "1", 2)]).await;
    rig.sent(lost("connection refused")).await;
    rig.sent(resync(5, &[("routes/a", "1", 1), ("routes/b", "2", 5)])).await;
    assert_eq!(rig.calls(), [apply(5, &["routes/b=2@5"])]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_opened_anew() {
    let mut rig = Rig::started(None, 1, &[("routes/a", "1", 1)]).await;
    rig.next_feed();
    rig.until(|rig| rig.store.watched.lock().unwrap().len() == 2).await;
    assert_eq!(rig.status.outage().as_deref(), Some("the watch ended"));
    rig.sent(resync(2, &[("routes/a", "2", 2)])).await;
    rig.until(|rig| rig.status.connected()).await;
    assert_eq!(rig.calls(), [apply(2, &["routes/a=2@2"])]);
}

#[test]
fn an_outage_is_told_once_and_so_is_its_end() {
    let status = super::super::ControlStatus::new();
    assert!(status.set_disconnected("refused"));
    assert!(!status.set_disconnected("refused again"));
    assert_eq!(status.outage().as_deref(), Some("refused again"));
    assert!(status.set_connected().is_some());
    assert!(status.set_connected().is_none());
    assert!(status.set_disconnected("refused"));
}

#[tokio::test(start_paused = true)]
async fn changes_before_the_first_listing_wait_for_it() {
    let mut rig = Rig::new(None);
    rig.send(put("routes/b", "1", 2));
    rig.start();
    rig.until(|rig| rig.ready.load(SeqCst)).await;
    assert_eq!((rig.calls(), rig.status.ready()), (vec![], false));
    rig.sent(resync(2, &[("routes/a", "1", 1), ("routes/b", "1", 2)])).await;
    assert_eq!(rig.calls(), [replace(2, &["routes/a=1@1", "routes/b=1@2"])]);
}
