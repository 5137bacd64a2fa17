//! Whatever the store does, what is published is in the end what it has.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::sleep;

use super::rig::{P, Rig, kv, lost};
use crate::store::{Event, Listing, WatchItem};

const KEYS: [&str; 6] = ["routes/a", "routes/b", "discovery/s.1", "discovery/s.2", "gw/services/s", "gw/plugins/p"];

#[derive(Debug, Clone)]
enum Step {
    /// A transaction: a key and its new value, or none to delete it.
    Write(Vec<(usize, Option<u8>)>),
    /// Writes that the watch missed, then a listing.
    Missed(Vec<(usize, Option<u8>)>),
    Wipe,
    Outage,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let writes = || prop::collection::vec((0..KEYS.len(), prop::option::weighted(0.6, 0..3_u8)), 1..4);
    let step = prop_oneof![
        6 => writes().prop_map(Step::Write),
        2 => writes().prop_map(Step::Missed),
        1 => Just(Step::Wipe),
        1 => Just(Step::Outage),
        4 => prop_oneof![0..30_u64, 900..1100_u64, Just(31_000)].prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..30)
}

/// What the store has.
#[derive(Default)]
struct Model {
    revision: u64,
    entries: BTreeMap<&'static str, (String, u64)>,
}

impl Model {
    fn write(&mut self, writes: &[(usize, Option<u8>)]) -> WatchItem {
        self.revision += 1;
        let revision = self.revision;
        let mut events = BTreeMap::new();
        for (key, value) in writes {
            let key = KEYS[*key];
            let event = match value {
                Some(value) => {
                    self.entries.insert(key, (value.to_string(), revision));
                    Event::Put(kv(key, &value.to_string(), revision))
                }
                None => {
                    self.entries.remove(key);
                    Event::Delete { key: format!("{P}{key}"), revision }
                }
            };
            events.insert(key, event);
        }
        WatchItem::Events { revision, events: events.into_values().collect() }
    }

    fn listing(&self) -> Listing {
        let entries = self.entries.iter().map(|(key, (value, revision))| kv(key, value, *revision)).collect();
        Listing { revision: self.revision, entries }
    }
}

async fn agrees(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::started(Some(dir.path()), 0, &[]).await;
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Write(writes) => rig.send(model.write(&writes)),
            Step::Missed(writes) => {
                model.write(&writes);
                rig.send(WatchItem::Resync(model.listing()));
            }
            Step::Wipe => {
                let all: Vec<_> = (0..KEYS.len()).map(|key| (key, None)).collect();
                rig.send(model.write(&all));
            }
            Step::Outage => rig.send(lost("gone")),
            Step::Wait(ms) => sleep(Duration::from_millis(ms)).await,
        }
        *rig.store.content.lock().unwrap() = Some(model.listing().entries);
    }
    sleep(Duration::from_secs(40)).await;
    let values = |live: BTreeMap<String, (String, u64)>| -> Vec<_> {
        live.into_iter().map(|(key, (value, _))| (key, value)).collect()
    };
    let expected = model.entries.into_iter().map(|(key, version)| (key.to_owned(), version)).collect();
    assert_eq!(values(rig.notes.live.lock().unwrap().clone()), values(expected));
    assert_eq!((rig.status.holding(), rig.status.applied_revision()), (None, model.revision));
    rig.stop().await;

    // A start without the store serves the same.
    let mut again = Rig::new(Some(dir.path()));
    again.start();
    again.until(|rig| rig.ready.load(SeqCst)).await;
    assert_eq!(*again.notes.live.lock().unwrap(), *rig.notes.live.lock().unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_publisher_ends_up_with_what_the_store_has(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(agrees(steps));
    }
}
