//! The copy on disk.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use tempfile::tempdir;
use tokio::time::sleep;

use super::super::Source;
use super::super::disk::{Content, Disk};
use super::super::table::Version;
use super::rig::{Call, P, Rig, apply, lost, put, replace, resync};
use crate::snapshot::change::Change;

const SECOND: Duration = Duration::from_secs(1);

type Spoil = fn(Vec<u8>) -> Vec<u8>;

fn disk(dir: &Path) -> Disk {
    Disk { dir: dir.to_owned(), data_prefix: P.to_owned() }
}

fn content(revision: u64, rows: &[(&str, &[u8])]) -> Content {
    let version = |value: &[u8]| Version { revision, value: Bytes::copy_from_slice(value), leased: value == b"leased" };
    let entries = rows.iter().map(|(key, value)| ((*key).to_owned(), version(value))).collect();
    Content { revision, saved_at: "2030-01-02T03:04:05Z".into(), entries: Arc::new(entries), last_good: vec![] }
}

fn change(key: &str, value: &str, revision: u64) -> Change {
    Change { key: key.into(), value: Some(Bytes::copy_from_slice(value.as_bytes())), revision }
}

/// The revision that a start from this directory would serve.
fn loads(dir: &Path) -> Option<u64> {
    disk(dir).load().content.map(|content| content.revision)
}

fn two_generations() -> tempfile::TempDir {
    let dir = tempdir().unwrap();
    disk(dir.path()).save(&content(1, &[("routes/a", b"1")]), false).unwrap();
    disk(dir.path()).save(&content(2, &[("routes/a", b"2")]), true).unwrap();
    dir
}

#[test]
fn all_bytes_come_back_and_the_file_can_be_read_by_people_and_only_by_the_owner() {
    let dir = tempdir().unwrap();
    let mut saved = content(
        5,
        &[("routes/a", b"{\"a\":1}"), ("routes/b", b"\xff\x00\n"), ("routes/c", b""), ("routes/d", b"leased")],
    );
    saved.last_good = vec![change("routes/b", "{}", 4)];
    disk(dir.path()).save(&saved, false).unwrap();
    assert_eq!(disk(dir.path()).load().content, Some(saved));
    let path = dir.path().join("current.json");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(path).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["payload"]["entries"][0]["value"], "{\"a\":1}");
    assert!(text.contains("\n{\"key\":\"routes/b\",\"revision\":5,\"hex\":\"ff000a\"},\n"), "{text}");
}

#[test]
fn a_corrupt_current_falls_back_to_the_previous_and_two_corrupt_ones_to_nothing() {
    let spoil: [(&str, Spoil); 6] = [
        ("empty", |_| vec![]),
        ("cut off", |text| text[..text.len() / 2].to_vec()),
        ("cut off at the end", |text| text[..text.len() - 20].to_vec()),
        ("one bit", |text| String::from_utf8(text).unwrap().replace("routes/a", "routes/b").into()),
        ("not text", |_| vec![0xff; 100]),
        ("other format", |text| String::from_utf8(text).unwrap().replace("\"format\":1", "\"format\":9").into()),
    ];
    for (what, spoil) in spoil {
        let dir = two_generations();
        assert_eq!(loads(dir.path()), Some(2));
        let file = |name| dir.path().join(name);
        fs::write(file("current.json"), spoil(fs::read(file("current.json")).unwrap())).unwrap();
        assert_eq!(loads(dir.path()), Some(1), "{what}");
        fs::write(file("previous.json"), spoil(fs::read(file("previous.json")).unwrap())).unwrap();
        assert_eq!(loads(dir.path()), None, "{what}");
    }
    let dir = two_generations();
    fs::remove_file(dir.path().join("current.json")).unwrap();
    assert_eq!(loads(dir.path()), Some(1), "killed between the two renames");
}

#[test]
fn every_cut_and_every_flipped_byte_is_noticed() {
    let dir = two_generations();
    let path = dir.path().join("current.json");
    let good = fs::read(&path).unwrap();
    let cut = (0..good.len() - 1).map(|at| good[..at].to_vec());
    let flipped = (0..good.len() - 1).map(|at| {
        let mut bad = good.clone();
        bad[at] ^= 1;
        bad
    });
    for bad in cut.chain(flipped) {
        fs::write(&path, &bad).unwrap();
        let loaded = loads(dir.path());
        assert!(loaded == Some(1), "{loaded:?}: {}", String::from_utf8_lossy(&bad));
    }
}

#[test]
fn a_corrupt_current_does_not_take_the_place_of_a_good_previous() {
    let dir = two_generations();
    fs::write(dir.path().join("current.json"), "spoilt").unwrap();
    let loaded = disk(dir.path()).load();
    assert!(!loaded.current_is_good);
    disk(dir.path()).save(&content(3, &[]), loaded.current_is_good).unwrap();
    assert_eq!(loads(dir.path()), Some(3));
    fs::remove_file(dir.path().join("current.json")).unwrap();
    assert_eq!(loads(dir.path()), Some(1));
}

#[test]
fn a_snapshot_of_another_data_prefix_is_not_used() {
    let dir = two_generations();
    let other = Disk { data_prefix: "/other/".into(), ..disk(dir.path()) };
    assert_eq!(other.load().content, None);
    assert_eq!(loads(dir.path()), Some(2));
}

#[tokio::test(start_paused = true)]
async fn without_the_store_the_copy_on_disk_is_served_within_the_wait() {
    let dir = tempdir().unwrap();
    let rows = [("routes/a", "1", 1), ("discovery/s.1", "n", 2)];
    Rig::started(Some(dir.path()), 2, &rows).await.stop().await;

    let mut rig = Rig::new(Some(dir.path()));
    rig.start();
    rig.until(|rig| rig.ready.load(SeqCst)).await;
    assert!(rig.now() <= Duration::from_millis(502), "{:?}", rig.now());
    assert_eq!(rig.calls(), [replace(2, &["discovery/s.1=n@2", "routes/a=1@1"])]);
    let status = rig.status.report();
    assert_eq!((status.ready, status.connected, status.source), (true, false, Source::Disk));
    assert_eq!(status.outage.as_deref(), Some("no answer within 500ms"));
    assert!(status.disk_saved_at.is_some());

    sleep(60 * SECOND).await;
    rig.sent(resync(9, &[("routes/a", "2", 9), ("discovery/s.1", "n", 2)])).await;
    assert_eq!(rig.calls(), [apply(9, &["routes/a=2@9"])]);
    assert_eq!((rig.status.source(), rig.status.applied_revision()), (Source::Store, 9));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_says_it_cannot_be_reached_is_not_waited_for() {
    let dir = two_generations();
    let mut rig = Rig::new(Some(dir.path()));
    rig.send(lost("connection refused"));
    rig.start();
    rig.until(|rig| rig.ready.load(SeqCst)).await;
    assert!(rig.now() < Duration::from_millis(5));
    assert_eq!(rig.calls(), [replace(2, &["routes/a=2@2"])]);
    // Equal to what is on disk: nothing is disturbed.
    rig.sent(resync(2, &[("routes/a", "2", 2)])).await;
    assert_eq!(rig.calls(), []);
    assert_eq!(rig.status.source(), Source::Store);
}

#[tokio::test(start_paused = true)]
async fn with_neither_store_nor_disk_it_starts_all_the_same_and_is_not_ready() {
    for dir in [None, Some(tempdir().unwrap())] {
        let mut rig = Rig::new(dir.as_ref().map(tempfile::TempDir::path));
        rig.start();
        rig.until(|rig| rig.ready.load(SeqCst)).await;
        assert_eq!((rig.calls(), rig.status.ready()), (vec![], false));
        rig.sent(resync(2, &[("routes/a", "2", 2)])).await;
        assert_eq!((rig.calls(), rig.status.ready()), (vec![replace(2, &["routes/a=2@2"])], true));
    }
}

#[tokio::test(start_paused = true)]
async fn the_copy_on_disk_can_be_served_before_control_runs() {
    let dir = two_generations();
    let mut rig = Rig::new(Some(dir.path()));
    assert!(rig.control.as_mut().unwrap().load_disk());
    assert_eq!((rig.calls(), rig.status.source()), (vec![replace(2, &["routes/a=2@2"])], Source::Disk));
    rig.send(resync(3, &[("routes/a", "3", 3)]));
    rig.start();
    rig.until(|rig| rig.ready.load(SeqCst)).await;
    assert_eq!(rig.calls(), [apply(3, &["routes/a=3@3"])]);
    assert!(!Rig::new(None).control.as_mut().unwrap().load_disk());
}

#[tokio::test(start_paused = true)]
async fn last_good_versions_are_restored_before_the_first_replace() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::started(Some(dir.path()), 1, &[("routes/a", "1", 1), ("routes/b", "1", 1)]).await;
    *rig.notes.last_good.lock().unwrap() = vec![change("routes/a", "1", 1)];
    rig.sent(put("routes/a", "bad", 2)).await;
    rig.stop().await;

    // While the gateway was down b, which was good, was overwritten too.
    let mut rig = Rig::new(Some(dir.path()));
    rig.send(resync(3, &[("routes/a", "bad", 2), ("routes/b", "bad", 3)]));
    rig.start();
    rig.until(|rig| rig.ready.load(SeqCst)).await;
    let restored = Call::Restore(vec!["routes/a=1@1".into(), "routes/b=1@1".into()]);
    assert_eq!(rig.calls(), [restored, replace(3, &["routes/a=bad@2", "routes/b=bad@3"])]);
}

#[tokio::test(start_paused = true)]
async fn is_saved_a_second_after_things_settle() {
    let dir = tempdir().unwrap();
    let rig = Rig::started(Some(dir.path()), 1, &[("routes/a", "1", 1)]).await;
    sleep(2 * SECOND).await;
    assert_eq!(loads(dir.path()), Some(1));
    rig.sent(put("routes/a", "2", 2)).await;
    sleep(SECOND / 2).await;
    rig.sent(put("routes/a", "3", 3)).await;
    sleep(SECOND * 9 / 10).await;
    assert_eq!(loads(dir.path()), Some(1));
    sleep(SECOND / 5).await;
    assert_eq!(loads(dir.path()), Some(3));
}

#[tokio::test(start_paused = true)]
async fn is_saved_now_and_then_in_a_storm() {
    let dir = tempdir().unwrap();
    let rig = Rig::started(Some(dir.path()), 1, &[]).await;
    sleep(2 * SECOND).await;
    let (mut seen, mut saves) = (loads(dir.path()), 0);
    for revision in 2..=202 {
        rig.sent(put("routes/a", "x", revision)).await;
        sleep(SECOND / 10).await;
        if loads(dir.path()) != seen {
            (seen, saves) = (loads(dir.path()), saves + 1);
        }
    }
    assert!((3..=4).contains(&saves), "{saves} in 20 s");
}

#[tokio::test(start_paused = true)]
async fn is_saved_at_the_end() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::started(Some(dir.path()), 1, &[("routes/a", "1", 1)]).await;
    rig.sent(put("routes/a", "2", 2)).await;
    rig.stop().await;
    assert_eq!(loads(dir.path()), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_shown_and_harms_neither_what_is_live_nor_the_copy_there_is() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::started(Some(dir.path()), 1, &[("routes/a", "1", 1)]).await;
    sleep(2 * SECOND).await;
    let before = fs::read(dir.path().join("current.json")).unwrap();

    let temporary = dir.path().join(format!("new.{}.tmp", std::process::id()));
    symlink("/dev/full", &temporary).unwrap();
    rig.sent(put("routes/a", "2", 2)).await;
    sleep(2 * SECOND).await;
    assert_eq!(rig.calls(), [apply(2, &["routes/a=2@2"])]);
    let error = rig.status.disk_error().unwrap_or_default();
    assert!(error.ends_with("No space left on device (os error 28)"), "{error}");
    assert!(fs::symlink_metadata(&temporary).is_err(), "the temporary file is gone");
    assert_eq!(fs::read(dir.path().join("current.json")).unwrap(), before);

    // There is space again: it is tried once more without a further change.
    sleep(31 * SECOND).await;
    assert_eq!((loads(dir.path()), rig.status.disk_error()), (Some(2), None));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_cannot_be_made_is_an_error_shown_and_no_more() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let mut rig = Rig::started(Some(&dir.path().join("file/snapshot")), 1, &[("routes/a", "1", 1)]).await;
    sleep(2 * SECOND).await;
    assert!(rig.status.disk_error().is_some());
    rig.sent(put("routes/a", "2", 2)).await;
    assert_eq!(rig.calls(), [apply(2, &["routes/a=2@2"])]);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_makes_the_publisher_panic_does_not_keep_the_store_out() {
    let dir = two_generations();
    let mut rig = Rig::new(Some(dir.path()));
    rig.notes.panics.store(true, SeqCst);
    rig.send(lost("connection refused"));
    rig.start();
    rig.until(|rig| rig.ready.load(SeqCst)).await;
    assert!(!rig.status.ready());
    rig.notes.panics.store(false, SeqCst);
    rig.calls();
    rig.sent(resync(2, &[("routes/a", "2", 2)])).await;
    sleep(SECOND).await;
    assert_eq!(rig.calls(), [replace(2, &["routes/a=2@2"])]);
    assert!(rig.status.ready());
}
