//! A store that is suddenly empty.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::time::sleep;

use super::super::Source;
use super::rig::{Rig, Row, apply, delete, kv, lost, put, replace, resync};

const SECOND: Duration = Duration::from_secs(1);
const FULL: [Row<'static>; 3] = [("routes/a", "1", 1), ("routes/b", "2", 2), ("discovery/s.1", "n", 3)];

/// A gateway whose store was full and is empty now, both for the watch and for a listing.
async fn emptied() -> Rig {
    let rig = Rig::started(None, 3, &FULL).await;
    *rig.store.content.lock().unwrap() = Some(vec![]);
    rig.sent(resync(9, &[])).await;
    assert!(rig.status.holding().is_some());
    rig
}

#[tokio::test(start_paused = true)]
async fn an_emptied_store_is_believed_after_30_s_and_a_second_look() {
    let rig = emptied().await;
    sleep(29 * SECOND).await;
    assert_eq!(rig.calls(), []);
    let status = rig.status.report();
    assert_eq!((status.stored_revision, status.applied_revision, status.entries), (9, 3, 3));
    assert_eq!(status.holding_seconds.unwrap_or_default().round(), 1.0);
    assert_eq!(rig.store.lists.load(SeqCst), 0);

    sleep(2 * SECOND).await;
    assert_eq!(rig.calls(), [apply(9, &["-discovery/s.1", "-routes/a", "-routes/b"])]);
    assert_eq!((rig.status.holding(), rig.status.applied_revision()), (None, 9));
    assert!(rig.store.lists.load(SeqCst) > 0);
}

#[tokio::test(start_paused = true)]
async fn one_transaction_that_deletes_all_is_held_too() {
    let rig = Rig::started(None, 3, &FULL).await;
    *rig.store.content.lock().unwrap() = Some(vec![]);
    rig.sent(delete(&["routes/a", "routes/b", "discovery/s.1"], 9)).await;
    sleep(29 * SECOND).await;
    assert_eq!(rig.calls(), []);
    rig.until(|rig| rig.status.holding().is_none()).await;
    rig.until(|rig| rig.status.entries() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_listing_with_the_entries_cancels_the_hold() {
    let rig = emptied().await;
    rig.sent(lost("restarting")).await;
    rig.sent(resync(10, &FULL)).await;
    assert_eq!((rig.status.holding(), rig.status.applied_revision()), (None, 10));
    sleep(60 * SECOND).await;
    assert_eq!(rig.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_was_cancelled_does_not_let_the_next_wipe_through() {
    let rig = emptied().await;
    rig.sent(resync(10, &FULL)).await;
    rig.sent(resync(11, &[])).await;
    assert!(rig.status.holding().is_some());
    sleep(29 * SECOND).await;
    assert_eq!(rig.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn entries_put_back_one_by_one_are_live_at_once_and_end_the_hold_when_no_more_come() {
    let rig = emptied().await;
    rig.sent(put("routes/a", "new", 10)).await;
    assert_eq!(rig.calls(), [apply(10, &["routes/a=new@10"])]);
    sleep(SECOND / 2).await;
    assert!(rig.status.holding().is_some());
    rig.sent(put("discovery/s.1", "n", 11)).await;
    sleep(SECOND).await;
    assert_eq!(rig.calls(), [apply(11, &["-routes/b"])]);
    assert_eq!(rig.status.holding(), None);
    assert_eq!(rig.store.lists.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn services_that_register_anew_are_live_but_do_not_end_the_hold() {
    let rig = emptied().await;
    rig.sent(put("discovery/s.2", "m", 10)).await;
    assert_eq!(rig.calls(), [apply(10, &["discovery/s.2=m@10"])]);
    sleep(20 * SECOND).await;
    assert!(rig.status.holding().is_some());
    assert_eq!(rig.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn a_listing_with_nothing_but_nodes_counts_as_empty() {
    let rig = Rig::started(None, 3, &FULL).await;
    rig.sent(resync(9, &[("discovery/s.1", "n", 9)])).await;
    assert!(rig.status.holding().is_some());
    assert_eq!(rig.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn the_only_entry_can_be_deleted_at_once() {
    let rig = Rig::started(None, 1, &[("routes/a", "1", 1)]).await;
    rig.sent(delete(&["routes/a"], 2)).await;
    assert_eq!(rig.calls(), [apply(2, &["-routes/a"])]);
    let rig = Rig::started(None, 1, &[("routes/a", "1", 1)]).await;
    rig.sent(resync(2, &[])).await;
    assert_eq!(rig.calls(), [apply(2, &["-routes/a"])]);
}

#[tokio::test(start_paused = true)]
async fn entries_deleted_one_by_one_are_not_held() {
    let rig = Rig::started(None, 3, &FULL).await;
    for (revision, key) in [(4, "routes/a"), (5, "routes/b"), (6, "discovery/s.1")] {
        rig.send(delete(&[key], revision));
    }
    rig.until(|rig| rig.status.entries() == 0).await;
    assert_eq!(rig.status.holding(), None);
}

#[tokio::test(start_paused = true)]
async fn an_emptied_store_that_cannot_be_asked_again_stays_held() {
    let rig = emptied().await;
    *rig.store.content.lock().unwrap() = None;
    sleep(300 * SECOND).await;
    assert_eq!(rig.calls(), []);
    assert!(rig.status.holding().is_some());
    *rig.store.content.lock().unwrap() = Some(vec![]);
    rig.until(|rig| rig.status.entries() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_look_that_finds_entries_opens_the_watch_anew() {
    let mut rig = emptied().await;
    *rig.store.content.lock().unwrap() = Some(vec![kv("routes/a", "1", 1)]);
    let mut old = Rig::new(None);
    std::mem::swap(&mut old.feed, &mut rig.feed);
    rig.next_feed();
    rig.until(|rig| rig.store.watched.lock().unwrap().len() == 2).await;
    rig.sent(resync(12, &FULL)).await;
    assert_eq!(rig.status.holding(), None);
    assert_eq!(rig.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn an_empty_hold_of_zero_believes_at_once() {
    let mut rig = Rig::new(None);
    rig.control.as_mut().unwrap().options.empty_hold = Duration::ZERO;
    rig.send(resync(3, &FULL));
    rig.start();
    rig.until(|rig| rig.ready.load(SeqCst)).await;
    rig.sent(resync(9, &[])).await;
    rig.until(|rig| rig.status.entries() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_store_is_not_believed_over_the_copy_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    Rig::started(Some(dir.path()), 3, &FULL).await.stop().await;
    let mut rig = Rig::new(Some(dir.path()));
    rig.send(resync(9, &[]));
    rig.start();
    rig.until(|rig| rig.ready.load(SeqCst)).await;
    assert_eq!(rig.calls(), [replace(3, &["discovery/s.1=n@3", "routes/a=1@1", "routes/b=2@2"])]);
    let status = rig.status.report();
    assert!(status.ready && status.holding_seconds.is_some());
    assert_eq!((status.source, status.applied_revision, status.stored_revision), (Source::Disk, 3, 9));
    *rig.store.content.lock().unwrap() = Some(vec![]);
    rig.until(|rig| rig.status.entries() == 0).await;
    assert_eq!((rig.status.source(), rig.status.applied_revision()), (Source::Store, 9));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_emptied_again_while_entries_come_back_stays_held() {
    let rig = emptied().await;
    rig.sent(put("routes/a", "new", 10)).await;
    assert_eq!(rig.calls(), [apply(10, &["routes/a=new@10"])]);
    rig.sent(resync(11, &[])).await;
    sleep(20 * SECOND).await;
    assert_eq!(rig.calls(), []);
    assert!(rig.status.holding().is_some());
    rig.until(|rig| rig.status.entries() == 0).await;
    assert_eq!(rig.status.applied_revision(), 11);
}
