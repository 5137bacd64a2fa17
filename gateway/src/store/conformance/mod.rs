//! What every store promises, as tests that run against both, etcd being the real server.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::time::{sleep, timeout};

use super::embedded::EmbeddedStore;
use super::etcd::{EtcdOptions, EtcdStore};
use super::{Event, Kv, Listing, Revision, SharedStore, WatchItem};

pub(super) mod etcd_server;
mod promises;
pub(super) mod tcp_proxy;

/// Long enough for a busy machine; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
pub(super) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let waiting = async {
        while !condition().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

/// A watch, and what its items add up to.
pub(super) struct Mirror {
    stream: BoxStream<'static, WatchItem>,
    pub(super) content: BTreeMap<String, Kv>,
    pub(super) revision: Revision,
}

impl Mirror {
    pub(super) fn of(store: &SharedStore, prefixes: &[&str]) -> Self {
        let prefixes = prefixes.iter().map(|p| (*p).to_owned()).collect();
        Self { stream: store.watch(prefixes), content: BTreeMap::new(), revision: 0 }
    }

    /// Takes in the next item, checking what holds for all items.
    pub(super) async fn next(&mut self) -> WatchItem {
        let item = timeout(PATIENCE, self.stream.next()).await.expect("an item in time").expect("an endless watch");
        match &item {
            WatchItem::Resync(Listing { revision, entries }) => {
                self.content = entries.iter().map(|kv| (kv.key.clone(), kv.clone())).collect();
                self.revision = *revision;
            }
            WatchItem::Events { revision, events } => {
                assert!(!events.is_empty(), "an item without changes");
                assert!(*revision > self.revision, "{item:?} after revision {}", self.revision);
                let mut last = self.revision;
                for event in events {
                    assert!(event_revision(event) >= last, "out of order: {events:?}");
                    assert!(event_revision(event) > self.revision, "seen before: {event:?}");
                    last = event_revision(event);
                    self.apply(event);
                }
                assert_eq!(last, *revision, "the item's revision is that of its last change");
                self.revision = last;
            }
            WatchItem::Disconnected { .. } | WatchItem::Connected => {}
        }
        item
    }

    pub(super) async fn resync(&mut self) -> Listing {
        loop {
            if let WatchItem::Resync(listing) = self.next().await {
                return listing;
            }
        }
    }

    pub(super) async fn events(&mut self) -> Vec<Event> {
        match self.next().await {
            WatchItem::Events { events, .. } => events,
            other => panic!("expected changes, got {other:?}"),
        }
    }

    /// Takes in items until the content is at `revision`; whether any was a resync.
    pub(super) async fn reach(&mut self, revision: Revision) -> bool {
        let mut resynced = false;
        while self.revision < revision {
            resynced |= matches!(self.next().await, WatchItem::Resync(_));
        }
        resynced
    }

    pub(super) async fn disconnected(&mut self) -> String {
        loop {
            if let WatchItem::Disconnected { reason } = self.next().await {
                return reason;
            }
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Put(kv) => self.content.insert(kv.key.clone(), kv.clone()),
            Event::Delete { key, .. } => self.content.remove(key),
        };
    }
}

pub(super) fn event_revision(event: &Event) -> Revision {
    match event {
        Event::Put(kv) => kv.mod_revision,
        Event::Delete { revision, .. } => *revision,
    }
}

pub(super) async fn etcd_store(options: EtcdOptions) -> SharedStore {
    let store: SharedStore = Arc::new(EtcdStore::connect(options).expect("valid options"));
    eventually("etcd is ready", || async { store.health().await.ok }).await;
    store
}

macro_rules! both_stores_promise {
    ($($promise:ident),* $(,)?) => {
        mod embedded {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let dir = tempfile::tempdir().unwrap();
                    let store: SharedStore = Arc::new(EmbeddedStore::open(&dir.path().join("store.redb")).unwrap());
                    promises::$promise(store).await;
                }
            )*
        }

        mod etcd {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let server = etcd_server::EtcdServer::start();
                    promises::$promise(etcd_store(server.options()).await).await;
                }
            )*
        }
    };
}

both_stores_promise! {
    a_written_key_reads_back,
    an_absent_key_reads_as_none,
    every_write_transaction_raises_the_revision_by_one,
    a_transaction_has_one_revision,
    deleting_an_absent_key_changes_nothing,
    a_failed_guard_writes_nothing,
    guards_alone_return_the_revision,
    a_key_written_again_after_deletion_is_a_new_one,
    a_listing_has_the_keys_of_its_prefix_in_order,
    a_long_listing_is_complete,
    a_large_listing_is_complete,
    limits_are_kept,
    the_largest_transactions_are_accepted,
    concurrent_increments_are_all_counted,
    a_key_keeps_its_lease_only_when_told_so,
    a_large_transaction_keeps_leases,
    an_unknown_lease_is_refused,
    an_expired_lease_takes_its_keys_in_one_revision,
    a_renewed_lease_lives_on,
    a_revoked_lease_takes_its_keys,
    a_detached_key_outlives_its_lease,
    leases_last_whole_seconds,
    a_watch_begins_with_the_content,
    a_watch_yields_each_change_in_order,
    a_watch_of_several_prefixes_keeps_transactions_whole,
    overlapping_prefixes_are_watched_once,
    a_watch_of_no_prefix_is_empty,
    a_watch_under_load_ends_at_the_content,
    a_slow_watcher_ends_at_the_content,
    health_tells_the_revision,
}
