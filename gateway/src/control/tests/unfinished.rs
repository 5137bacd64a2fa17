//! Changes larger than a transaction: nothing is published between their beginning and their end.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::time::sleep;

use super::super::Source;
use super::rig::{Rig, apply, delete, put, replace, resync};

const OPEN: &str = "gw/journal/open";

#[tokio::test(start_paused = true)]
async fn a_large_change_is_published_as_one_when_it_ends() {
    let rig = Rig::started(None, 1, &[("routes/a", "1", 1), ("routes/b", "1", 1)]).await;
    rig.sent(put(OPEN, "{}", 2)).await;
    rig.sent(put("routes/a", "2", 3)).await;
    sleep(Duration::from_secs(30)).await;
    rig.sent(delete(&["routes/b"], 4)).await;
    assert_eq!(rig.calls(), []);
    rig.sent(delete(&[OPEN], 5)).await;
    assert_eq!(rig.calls(), [apply(5, &["routes/a=2@3", "-routes/b"])]);
}

#[tokio::test(start_paused = true)]
async fn one_that_never_ends_does_not_stop_all_that_follows() {
    let rig = Rig::started(None, 1, &[("routes/a", "1", 1)]).await;
    rig.sent(put(OPEN, "{}", 2)).await;
    rig.sent(put("routes/a", "2", 3)).await;
    sleep(Duration::from_secs(61)).await;
    assert_eq!(rig.calls(), [apply(3, &["routes/a=2@3"])]);
    rig.sent(put("routes/a", "3", 4)).await;
    assert_eq!(rig.calls(), [apply(4, &["routes/a=3@4"])]);
}

#[tokio::test(start_paused = true)]
async fn a_listing_without_its_mark_ends_it() {
    let rig = Rig::started(None, 1, &[("routes/a", "1", 1)]).await;
    rig.sent(put(OPEN, "{}", 2)).await;
    rig.sent(resync(9, &[("routes/a", "2", 3)])).await;
    assert_eq!(rig.calls(), [apply(9, &["routes/a=2@3"])]);
}

#[tokio::test(start_paused = true)]
async fn a_start_in_the_middle_of_one_serves_what_was_live_last() {
    let dir = tempfile::tempdir().unwrap();
    Rig::started(Some(dir.path()), 2, &[("routes/a", "1", 1)]).await.stop().await;
    let mut rig = Rig::new(Some(dir.path()));
    rig.send(resync(5, &[("routes/a", "2", 4), (OPEN, "{}", 3)]));
    rig.start();
    rig.until(|rig| rig.ready.load(SeqCst)).await;
    assert_eq!((rig.calls(), rig.status.source()), (vec![replace(2, &["routes/a=1@1"])], Source::Disk));
    rig.sent(delete(&[OPEN], 6)).await;
    assert_eq!((rig.calls(), rig.status.source()), (vec![apply(6, &["routes/a=2@4"])], Source::Store));
}
