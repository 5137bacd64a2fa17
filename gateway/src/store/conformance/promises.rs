//! The promises, one function each.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt as _;

use super::super::{
    Event, Guard, Kv, Lease, MAX_KEY_BYTES, MAX_TXN_BYTES, MAX_TXN_OPS, Op, Revision, SharedStore, StoreError,
    WatchItem,
};
use super::{Mirror, event_revision, eventually};

async fn put(store: &SharedStore, key: &str, value: &str) -> Revision {
    store.txn(vec![], vec![Op::put(key, value.to_owned())]).await.unwrap()
}

async fn delete(store: &SharedStore, key: &str) -> Revision {
    store.txn(vec![], vec![Op::delete(key)]).await.unwrap()
}

async fn leased(store: &SharedStore, key: &str, lease: Lease) -> Result<Revision, StoreError> {
    store.txn(vec![], vec![Op::Put { key: key.into(), value: "leased".into(), lease }]).await
}

async fn get(store: &SharedStore, key: &str) -> Option<Kv> {
    store.get(key).await.unwrap()
}

async fn revision(store: &SharedStore) -> Revision {
    store.list("").await.unwrap().revision
}

async fn keys(store: &SharedStore, prefix: &str) -> Vec<String> {
    store.list(prefix).await.unwrap().entries.into_iter().map(|kv| kv.key).collect()
}

pub(super) async fn a_written_key_reads_back(store: SharedStore) {
    for value in [&b""[..], b"text", b"\0\xff\x80 binary"] {
        let revision = store.txn(vec![], vec![Op::put("a/key", value)]).await.unwrap();
        let kv = get(&store, "a/key").await.unwrap();
        assert_eq!((kv.key.as_str(), kv.value.as_ref()), ("a/key", value));
        assert_eq!((kv.mod_revision, kv.lease), (revision, None));
    }
}

pub(super) async fn an_absent_key_reads_as_none(store: SharedStore) {
    put(&store, "a/key", "1").await;
    for key in ["a", "a/ke", "a/key/", "a/keys"] {
        assert_eq!(get(&store, key).await, None, "{key}");
    }
    assert_eq!(store.get("").await, Err(StoreError::Invalid("a key must not be empty".into())));
}

pub(super) async fn every_write_transaction_raises_the_revision_by_one(store: SharedStore) {
    let start = revision(&store).await;
    assert_eq!(start, 1, "an empty store is at revision 1");
    assert_eq!(put(&store, "a", "1").await, start + 1);
    assert_eq!(put(&store, "a", "1").await, start + 2, "the same value is a write, too");
    assert_eq!(delete(&store, "a").await, start + 3);
    assert_eq!(revision(&store).await, start + 3);
}

pub(super) async fn a_transaction_has_one_revision(store: SharedStore) {
    put(&store, "old", "1").await;
    let ops = vec![Op::put("b", "2"), Op::put("a", "1"), Op::delete("old"), Op::delete("never")];
    let revision = store.txn(vec![], ops).await.unwrap();
    let listing = store.list("").await.unwrap();
    assert_eq!(listing.revision, revision);
    let found: Vec<_> = listing.entries.iter().map(|kv| (kv.key.as_str(), kv.mod_revision)).collect();
    assert_eq!(found, [("a", revision), ("b", revision)]);
}

pub(super) async fn deleting_an_absent_key_changes_nothing(store: SharedStore) {
    let before = put(&store, "a", "1").await;
    assert_eq!(delete(&store, "b").await, before);
    assert_eq!(store.txn(vec![], vec![Op::delete("b"), Op::delete("c")]).await, Ok(before));
    assert_eq!(revision(&store).await, before);
}

pub(super) async fn a_failed_guard_writes_nothing(store: SharedStore) {
    let old = put(&store, "a", "1").await;
    let now = put(&store, "a", "2").await;
    let absent = |key: &str| Guard::Absent(key.into());
    let at = |key: &str, revision| Guard::ModRevision(key.into(), revision);
    for guards in [
        vec![absent("a")],
        vec![at("a", old)],
        vec![at("a", now + 1)],
        vec![at("a", u64::MAX)],
        vec![at("a", 0)],
        vec![at("b", 0)],
        vec![at("b", now)],
        vec![at("a", now), absent("b"), absent("a")],
    ] {
        for ops in [vec![Op::put("b", "x"), Op::delete("a")], vec![]] {
            assert_eq!(store.txn(guards.clone(), ops).await, Err(StoreError::Conflict), "{guards:?}");
        }
    }
    assert_eq!(revision(&store).await, now);
    assert_eq!(keys(&store, "").await, ["a"]);
    let ops = vec![Op::put("b", "x"), Op::delete("a")];
    assert_eq!(store.txn(vec![at("a", now), absent("b")], ops).await, Ok(now + 1));
    assert_eq!(keys(&store, "").await, ["b"]);
}

pub(super) async fn guards_alone_return_the_revision(store: SharedStore) {
    let now = put(&store, "a", "1").await;
    assert_eq!(store.txn(vec![Guard::ModRevision("a".into(), now)], vec![]).await, Ok(now));
    assert_eq!(store.txn(vec![Guard::Absent("b".into())], vec![]).await, Ok(now));
    assert_eq!(store.txn(vec![], vec![]).await, Ok(now));
}

pub(super) async fn a_key_written_again_after_deletion_is_a_new_one(store: SharedStore) {
    let created = put(&store, "a", "1").await;
    let changed = put(&store, "a", "2").await;
    let kv = get(&store, "a").await.unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision), (created, changed));
    delete(&store, "a").await;
    let again = put(&store, "a", "3").await;
    let kv = get(&store, "a").await.unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision), (again, again));
}

pub(super) async fn a_listing_has_the_keys_of_its_prefix_in_order(store: SharedStore) {
    let last = char::MAX;
    let all = [
        "a".to_owned(),
        "a-b".into(),
        "a/".into(),
        "a/b".into(),
        "a/\u{7f}".into(),
        "a/\u{ff}".into(),
        format!("a/{last}"),
        format!("a/{last}{last}x"),
        "a0".into(),
        "b/a/".into(),
        format!("{last}"),
        format!("{last}z"),
    ];
    store.txn(vec![], all.iter().rev().map(|key| Op::put(key, "v")).collect()).await.unwrap();
    for prefix in ["", "a", "a/", "a/b", "a/b/", "a/\u{7f}", "b", "c", &format!("a/{last}"), &format!("{last}")] {
        let mut expected: Vec<_> = all.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
        expected.sort();
        assert_eq!(keys(&store, prefix).await, expected, "{prefix:?}");
    }
}

pub(super) async fn a_long_listing_is_complete(store: SharedStore) {
    let all: Vec<_> = (0..1201).map(|n| format!("k/{n:05}")).collect();
    for chunk in all.chunks(MAX_TXN_OPS) {
        store.txn(vec![], chunk.iter().map(|key| Op::put(key, "v")).collect()).await.unwrap();
    }
    put(&store, "k0", "not of the prefix").await;
    assert_eq!(keys(&store, "k/").await, all);
    // Exactly one and two pages of etcd's.
    for count in [500, 1000] {
        for chunk in all[count..].chunks(MAX_TXN_OPS) {
            store.txn(vec![], chunk.iter().map(Op::delete).collect()).await.unwrap();
        }
        assert_eq!(keys(&store, "k/").await, all[..count]);
        for chunk in all[count..].chunks(MAX_TXN_OPS) {
            store.txn(vec![], chunk.iter().map(|key| Op::put(key, "v")).collect()).await.unwrap();
        }
    }
}

pub(super) async fn a_large_listing_is_complete(store: SharedStore) {
    // More than gRPC's usual 4 MiB, and in all more than what is accepted in one answer.
    let value = vec![7; 900 << 10];
    for n in 0..80 {
        store.txn(vec![], vec![Op::put(format!("k/{n:02}"), value.clone())]).await.unwrap();
    }
    let listing = store.list("k/").await.unwrap();
    assert_eq!(listing.entries.len(), 80);
    assert!(listing.entries.iter().all(|kv| kv.value == value));
    let mut mirror = Mirror::of(&store, &["k/"]);
    assert_eq!(mirror.resync().await, listing);
}

pub(super) async fn limits_are_kept(store: SharedStore) {
    let before = revision(&store).await;
    let many = |count: usize| (0..count).map(|n| Op::put(format!("k/{n}"), "v")).collect::<Vec<_>>();
    let guards = |count: usize| (0..count).map(|n| Guard::Absent(format!("k/{n}"))).collect::<Vec<_>>();
    for (guards, ops, message) in [
        (vec![], many(101), "a transaction has at most 100 writes, this one has 101"),
        (guards(101), vec![], "a transaction has at most 100 guards, this one has 101"),
        (vec![], vec![Op::put("", "v")], "a key must not be empty"),
        (vec![Guard::Absent(String::new())], vec![], "a key must not be empty"),
        (vec![], vec![Op::delete("k".repeat(1025))], "a key has at most 1024 bytes, this one has 1025"),
        (vec![], vec![Op::put("k", "1"), Op::delete("k")], "key \"k\" is written twice in one transaction"),
        (
            vec![],
            vec![Op::put("k", vec![0; MAX_TXN_BYTES])],
            "a transaction writes at most 1048576 bytes, this one 1048577",
        ),
    ] {
        assert_eq!(store.txn(guards, ops).await, Err(StoreError::Invalid(message.into())));
    }
    assert_eq!(revision(&store).await, before);
}

pub(super) async fn the_largest_transactions_are_accepted(store: SharedStore) {
    let long = |n: usize| format!("{n:0width$}", width = MAX_KEY_BYTES);
    let lease = store.grant_lease(Duration::from_secs(600)).await.unwrap();
    for lease in [Lease::None, Lease::Keep, Lease::Attach(lease)] {
        for size in [1, MAX_TXN_BYTES / MAX_TXN_OPS - MAX_KEY_BYTES] {
            let guards: Vec<_> = (0..MAX_TXN_OPS).map(|n| Guard::Absent(long(n))).collect();
            let put = |n| Op::Put { key: long(n), value: vec![7; size].into(), lease };
            store.txn(guards, (0..MAX_TXN_OPS).map(put).collect()).await.unwrap();
            let put = |n| Op::Put { key: long(n), value: vec![8; size].into(), lease };
            store.txn(vec![], (0..MAX_TXN_OPS).map(put).collect()).await.unwrap();
            store.txn(vec![], (0..MAX_TXN_OPS).map(|n| Op::delete(long(n))).collect()).await.unwrap();
        }
        for _ in 0..2 {
            let put = Op::Put { key: "k".into(), value: vec![9; MAX_TXN_BYTES - 1].into(), lease };
            store.txn(vec![], vec![put]).await.unwrap();
        }
        delete(&store, "k").await;
    }
}

pub(super) async fn concurrent_increments_are_all_counted(store: SharedStore) {
    const TASKS: u64 = 4;
    const EACH: u64 = 10;
    put(&store, "count", "0").await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    loop {
                        let kv = get(&store, "count").await.unwrap();
                        let count: u64 = std::str::from_utf8(&kv.value).unwrap().parse().unwrap();
                        let guard = Guard::ModRevision("count".into(), kv.mod_revision);
                        match store.txn(vec![guard], vec![Op::put("count", (count + 1).to_string())]).await {
                            Ok(_) => break,
                            Err(StoreError::Conflict) => {}
                            Err(e) => panic!("{e}"),
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(get(&store, "count").await.unwrap().value, (TASKS * EACH).to_string());
}

pub(super) async fn a_key_keeps_its_lease_only_when_told_so(store: SharedStore) {
    let one = store.grant_lease(Duration::from_secs(600)).await.unwrap();
    let two = store.grant_lease(Duration::from_secs(600)).await.unwrap();
    assert!(one != 0 && two != 0 && one != two);
    for (write, expected) in [
        (Lease::Keep, None),
        (Lease::Attach(one), Some(one)),
        (Lease::Keep, Some(one)),
        (Lease::Attach(two), Some(two)),
        (Lease::Keep, Some(two)),
        (Lease::None, None),
        (Lease::Keep, None),
    ] {
        let revision = leased(&store, "k", write).await.unwrap();
        let kv = get(&store, "k").await.unwrap();
        assert_eq!((kv.lease, kv.mod_revision), (expected, revision), "after {write:?}");
    }
    leased(&store, "k", Lease::Attach(one)).await.unwrap();
    delete(&store, "k").await;
    leased(&store, "k", Lease::Keep).await.unwrap();
    assert_eq!(get(&store, "k").await.unwrap().lease, None, "the deleted key's lease is gone");
}

pub(super) async fn a_large_transaction_keeps_leases(store: SharedStore) {
    let lease = store.grant_lease(Duration::from_secs(600)).await.unwrap();
    leased(&store, "leased", Lease::Attach(lease)).await.unwrap();
    put(&store, "plain", "1").await;
    let large = |key: &str| Op::Put { key: key.into(), value: vec![7; 300 << 10].into(), lease: Lease::Keep };
    let ops = vec![large("leased"), large("plain"), large("new")];
    let conflict = store.txn(vec![Guard::Absent("plain".into())], ops.clone()).await;
    assert_eq!(conflict, Err(StoreError::Conflict));
    let revision = store.txn(vec![Guard::Absent("new".into())], ops).await.unwrap();
    for (key, expected) in [("leased", Some(lease)), ("plain", None), ("new", None)] {
        let kv = get(&store, key).await.unwrap();
        assert_eq!((kv.lease, kv.mod_revision, kv.value.len()), (expected, revision, 300 << 10), "{key}");
    }
}

pub(super) async fn an_unknown_lease_is_refused(store: SharedStore) {
    let known = store.grant_lease(Duration::from_secs(600)).await.unwrap();
    let before = revision(&store).await;
    let unknown = known ^ 1;
    assert_eq!(leased(&store, "k", Lease::Attach(unknown)).await, Err(StoreError::LeaseNotFound(unknown)));
    let put = |key: &str, lease| Op::Put { key: key.into(), value: "v".into(), lease: Lease::Attach(lease) };
    let mixed = store.txn(vec![], vec![put("a", known), put("b", unknown)]).await;
    assert_eq!(mixed, Err(StoreError::LeaseNotFound(unknown)));
    assert_eq!(store.renew_lease(unknown).await, Err(StoreError::LeaseNotFound(unknown)));
    assert_eq!(store.lease_left(unknown).await, Err(StoreError::LeaseNotFound(unknown)));
    assert_eq!(store.revoke_lease(unknown).await, Ok(()));
    assert_eq!(revision(&store).await, before);
    assert_eq!(keys(&store, "").await, [""; 0]);
}

pub(super) async fn an_expired_lease_takes_its_keys_in_one_revision(store: SharedStore) {
    let mut mirror = Mirror::of(&store, &["k/"]);
    mirror.resync().await;
    let lease = store.grant_lease(Duration::from_secs(1)).await.unwrap();
    let put = |n: usize| Op::Put { key: format!("k/{n}"), value: "v".into(), lease: Lease::Attach(lease) };
    let written = store.txn(vec![], (0..5).map(put).chain([Op::put("k/stays", "v")]).collect()).await.unwrap();
    mirror.reach(written).await;
    let events = mirror.events().await;
    let expected: Vec<_> = (0..5).map(|n| Event::Delete { key: format!("k/{n}"), revision: written + 1 }).collect();
    assert_eq!(events, expected);
    assert_eq!(keys(&store, "").await, ["k/stays"]);
    assert_eq!(revision(&store).await, written + 1);
    assert_eq!(store.renew_lease(lease).await, Err(StoreError::LeaseNotFound(lease)));
    assert_eq!(leased(&store, "k/6", Lease::Attach(lease)).await, Err(StoreError::LeaseNotFound(lease)));
}

pub(super) async fn a_renewed_lease_lives_on(store: SharedStore) {
    let ttl = Duration::from_secs(3);
    let lease = store.grant_lease(ttl).await.unwrap();
    leased(&store, "k", Lease::Attach(lease)).await.unwrap();
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let left = store.renew_lease(lease).await.unwrap();
        assert!(left > Duration::ZERO && left <= ttl, "{left:?}");
        let left = store.lease_left(lease).await.unwrap();
        assert!(left <= ttl, "{left:?}");
    }
    assert_eq!(get(&store, "k").await.unwrap().lease, Some(lease));
    eventually("the lease expires", || async { get(&store, "k").await.is_none() }).await;
}

pub(super) async fn a_revoked_lease_takes_its_keys(store: SharedStore) {
    let lease = store.grant_lease(Duration::from_secs(600)).await.unwrap();
    let other = store.grant_lease(Duration::from_secs(600)).await.unwrap();
    for key in ["a", "b"] {
        leased(&store, key, Lease::Attach(lease)).await.unwrap();
    }
    let before = leased(&store, "c", Lease::Attach(other)).await.unwrap();
    store.revoke_lease(lease).await.unwrap();
    assert_eq!(revision(&store).await, before + 1);
    assert_eq!(keys(&store, "").await, ["c"]);
    store.revoke_lease(lease).await.unwrap();
    assert_eq!(revision(&store).await, before + 1, "a lease can be revoked twice");
    let empty = store.grant_lease(Duration::from_secs(600)).await.unwrap();
    store.revoke_lease(empty).await.unwrap();
    assert_eq!(revision(&store).await, before + 1, "a lease without keys changes nothing");
}

pub(super) async fn a_detached_key_outlives_its_lease(store: SharedStore) {
    let lease = store.grant_lease(Duration::from_secs(600)).await.unwrap();
    let other = store.grant_lease(Duration::from_secs(600)).await.unwrap();
    for key in ["detached", "moved", "deleted", "leased"] {
        leased(&store, key, Lease::Attach(lease)).await.unwrap();
    }
    put(&store, "detached", "1").await;
    leased(&store, "moved", Lease::Attach(other)).await.unwrap();
    delete(&store, "deleted").await;
    put(&store, "deleted", "1").await;
    store.revoke_lease(lease).await.unwrap();
    assert_eq!(keys(&store, "").await, ["deleted", "detached", "moved"]);
}

pub(super) async fn leases_last_whole_seconds(store: SharedStore) {
    let too_short = StoreError::Invalid("a lease lasts at least 1 s".into());
    assert_eq!(store.grant_lease(Duration::ZERO).await, Err(too_short));
    let too_long = StoreError::Invalid("a lease lasts at most 9000000000 s, this one 9000000001".into());
    assert_eq!(store.grant_lease(Duration::from_secs(9_000_000_001)).await, Err(too_long));
    let lease = store.grant_lease(Duration::from_millis(59_001)).await.unwrap();
    assert_eq!(store.renew_lease(lease).await, Ok(Duration::from_secs(60)));
    store.grant_lease(Duration::from_secs(9_000_000_000)).await.unwrap();
}

pub(super) async fn a_watch_begins_with_the_content(store: SharedStore) {
    put(&store, "a/2", "2").await;
    put(&store, "b/1", "1").await;
    put(&store, "c/1", "1").await;
    put(&store, "a/1", "1").await;
    let mut mirror = Mirror::of(&store, &["c/", "a/"]);
    let WatchItem::Resync(listing) = mirror.next().await else { panic!("the first item is no resync") };
    let found: Vec<_> = listing.entries.iter().map(|kv| kv.key.as_str()).collect();
    assert_eq!(found, ["a/1", "a/2", "c/1"]);
    assert_eq!(listing.revision, revision(&store).await);
}

pub(super) async fn a_watch_yields_each_change_in_order(store: SharedStore) {
    let mut mirror = Mirror::of(&store, &["a/"]);
    mirror.resync().await;
    let first = put(&store, "a/1", "1").await;
    put(&store, "b/1", "not watched").await;
    put(&store, "a0", "not watched").await;
    put(&store, "a/1", "2").await;
    delete(&store, "a/1").await;
    delete(&store, "a/never").await;
    let last = put(&store, "a/2", "3").await;
    let mut events = Vec::new();
    while mirror.revision < last {
        events.extend(mirror.events().await);
    }
    let kv = |key: &str, value: &'static str, create_revision, mod_revision| {
        Event::Put(Kv { key: key.into(), value: value.into(), create_revision, mod_revision, lease: None })
    };
    let expected = [
        kv("a/1", "1", first, first),
        kv("a/1", "2", first, first + 3),
        Event::Delete { key: "a/1".into(), revision: first + 4 },
        kv("a/2", "3", first + 5, first + 5),
    ];
    assert_eq!(events, expected);
}

pub(super) async fn a_watch_of_several_prefixes_keeps_transactions_whole(store: SharedStore) {
    let mut mirror = Mirror::of(&store, &["a/", "k/", "z/"]);
    mirror.resync().await;
    let ops =
        |n: usize| ["z/", "a/", "b/not watched/", "k/"].map(|prefix| Op::put(format!("{prefix}{n}"), "v")).to_vec();
    let mut last = 0;
    for n in 0..50 {
        last = store.txn(vec![], ops(n)).await.unwrap();
    }
    let mut by_revision = BTreeMap::<Revision, usize>::new();
    while mirror.revision < last {
        for event in mirror.events().await {
            // Mirror has checked that no item goes back to a revision of an earlier one.
            *by_revision.entry(event_revision(&event)).or_default() += 1;
        }
    }
    assert_eq!(by_revision.len(), 50);
    assert!(by_revision.values().all(|count| *count == 3), "{by_revision:?}");
}

pub(super) async fn overlapping_prefixes_are_watched_once(store: SharedStore) {
    put(&store, "a/b/1", "1").await;
    let mut mirror = Mirror::of(&store, &["a/b/", "a/", "a/", "a/b/1"]);
    assert_eq!(mirror.resync().await.entries.len(), 1);
    put(&store, "a/b/1", "2").await;
    assert_eq!(mirror.events().await.len(), 1);
    let mut all = Mirror::of(&store, &["", "a/"]);
    assert_eq!(all.resync().await.entries.len(), 1);
    put(&store, "x", "2").await;
    assert_eq!(all.events().await.len(), 1);
}

pub(super) async fn a_watch_of_no_prefix_is_empty(store: SharedStore) {
    let now = put(&store, "a", "1").await;
    let mut mirror = Mirror::of(&store, &[]);
    let listing = mirror.resync().await;
    assert_eq!((listing.revision, listing.entries), (now, vec![]));
    put(&store, "a", "2").await;
    assert!(mirror.next().now_or_never().is_none());
}

pub(super) async fn a_watch_under_load_ends_at_the_content(store: SharedStore) {
    let writers: Vec<_> = (0..4u8)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..40u8 {
                    let key = format!("k/{}", (n ^ writer) % 8);
                    let op = if n % 5 == 4 { Op::delete(key) } else { Op::put(key, vec![n, writer]) };
                    store.txn(vec![], vec![op, Op::put(format!("k/own/{writer}"), vec![n])]).await.unwrap();
                }
            })
        })
        .collect();
    // Watchers that begin in the middle of it.
    let mut mirrors = Vec::new();
    for writer in writers {
        let mut mirror = Mirror::of(&store, &["k/"]);
        mirror.resync().await;
        mirrors.push(mirror);
        writer.await.unwrap();
    }
    let listing = store.list("k/").await.unwrap();
    for mut mirror in mirrors {
        mirror.reach(listing.revision).await;
        assert_eq!(mirror.content.into_values().collect::<Vec<_>>(), listing.entries);
    }
}

pub(super) async fn a_slow_watcher_ends_at_the_content(store: SharedStore) {
    let mut mirror = Mirror::of(&store, &["k/"]);
    mirror.resync().await;
    for n in 0..600 {
        put(&store, &format!("k/{}", n % 7), &n.to_string()).await;
    }
    let listing = store.list("k/").await.unwrap();
    mirror.reach(listing.revision).await;
    assert_eq!(mirror.content.into_values().collect::<Vec<_>>(), listing.entries);
}

pub(super) async fn health_tells_the_revision(store: SharedStore) {
    let now = put(&store, "a", "1").await;
    let health = store.health().await;
    assert_eq!((health.ok, health.revision), (true, Some(now)), "{}", health.detail);
}
