use bytes::Bytes;

use super::*;
use crate::store::embedded::EmbeddedStore;
use crate::store::{Kv, Listing, WatchItem};

fn report() -> Report {
    Report { version: "2".into(), hostname: "h".into(), stored_revision: 9, applied_revision: 7, ..Report::default() }
}

fn cluster(store: SharedStore) -> Arc<Cluster> {
    Cluster::new(store, "/p/", Arc::new(report), Arc::default())
}

fn embedded() -> (tempfile::TempDir, SharedStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&dir.path().join("s.redb")).unwrap();
    (dir, Arc::new(store))
}

#[test]
fn a_report_is_never_larger_than_it_may_be() {
    let object = RejectedObject { key: "routes/x".into(), reason: "r".repeat(1000) };
    let large = Report { rejected: 9, rejected_first: vec![object; 9], ..report() };
    let bytes = large.to_bytes();
    assert!(bytes.len() <= MOST_BYTES);
    let read: Report = serde_json::from_slice(&bytes).unwrap();
    assert!(read.rejected == 9 && (1..9).contains(&read.rejected_first.len()));
}

#[test]
fn a_report_of_another_version_is_read() {
    let read: Report = serde_json::from_str(r#"{"version": "3", "more": {"a": 1}}"#).unwrap();
    assert_eq!(read, Report { version: "3".into(), ..Report::default() });
}

#[tokio::test]
async fn gateways_of_a_store_know_each_other_until_they_go() {
    let (_dir, store) = embedded();
    let (a, b) = (cluster(Arc::clone(&store)), cluster(store));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let following = tokio::spawn(Arc::clone(&a).follow());
    let mut heard = a.events.listen(None).unwrap();
    let keeping = [tokio::spawn(Arc::clone(&a).keep(stopped.clone())), tokio::spawn(Arc::clone(&b).keep(stopped))];
    while a.others().is_empty() || a.read(|known| known.secret.is_none()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let members = a.members().await;
    assert_eq!(members.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), [a.id(), b.id()]);
    assert_eq!((&members[1].report, members[1].stale), (&report(), false));
    stop.send_replace(true);
    for keeping in keeping {
        keeping.await.unwrap();
    }
    while !a.others().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut left = false;
    while !left {
        let crate::telemetry::Heard::Event(event) = heard.next().await else { panic!() };
        left = event.data["change"] == "left" && event.data["gateway"] == b.id();
    }
    following.abort();
}

#[tokio::test]
async fn a_secret_is_made_once_and_a_weak_one_is_not_used() {
    let (_dir, store) = embedded();
    let (a, b) = (cluster(Arc::clone(&store)), cluster(Arc::clone(&store)));
    a.make_secret().await.unwrap();
    let made = store.get("/p/gw/secrets/peer").await.unwrap().unwrap().value;
    b.make_secret().await.unwrap();
    assert_eq!(store.get("/p/gw/secrets/peer").await.unwrap().unwrap().value, made);

    let mut known = Known::default();
    let mut secret_of = |value: &[u8]| {
        let kv = Kv {
            key: "/p/gw/secrets/peer".into(),
            value: Bytes::copy_from_slice(value),
            create_revision: 1,
            mod_revision: 1,
            lease: None,
        };
        known.take("/p/", WatchItem::Resync(Listing { revision: 1, entries: vec![kv] }));
        known.secret.clone()
    };
    assert_eq!(secret_of(&made).unwrap().len(), 32);
    for weak in ["{}", "", r#"{"secret": ""}"#, r#"{"secret": "00"}"#, r#"{"secret": "not hex"}"#] {
        assert_eq!(secret_of(weak.as_bytes()), None, "{weak}");
    }
}

#[test]
fn without_a_secret_nobody_is_admitted() {
    let (_dir, store) = embedded();
    let cluster = cluster(store);
    assert!(cluster.admits("a;1;00", "GET", "/admin/v2/figures").is_err());
}
