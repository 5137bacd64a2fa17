//! The scripted store, the recording publisher and control running between them.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::super::{Control, ControlOptions, ControlStatus};
use crate::snapshot::change::{Change, Publish};
use crate::store::{Event, Guard, Health, Kv, LeaseId, Listing, Op, Revision, Store, StoreError, WatchItem};

pub(super) const P: &str = "/my/cloud/";

/// Key, value and revision of an entry.
pub(super) type Row<'a> = (&'a str, &'a str, u64);

pub(super) fn kv(key: &str, value: &str, revision: u64) -> Kv {
    let (key, value) = (format!("{P}{key}"), Bytes::copy_from_slice(value.as_bytes()));
    Kv { key, value, create_revision: revision, mod_revision: revision, lease: None }
}

pub(super) fn resync(revision: u64, rows: &[Row<'_>]) -> WatchItem {
    WatchItem::Resync(Listing { revision, entries: rows.iter().map(|(k, v, r)| kv(k, v, *r)).collect() })
}

pub(super) fn put(key: &str, value: &str, revision: u64) -> WatchItem {
    WatchItem::Events { revision, events: vec![Event::Put(kv(key, value, revision))] }
}

/// One transaction that deletes all of these.
pub(super) fn delete(keys: &[&str], revision: u64) -> WatchItem {
    let events = keys.iter().map(|key| Event::Delete { key: format!("{P}{key}"), revision }).collect();
    WatchItem::Events { revision, events }
}

pub(super) fn lost(reason: &str) -> WatchItem {
    WatchItem::Disconnected { reason: reason.into() }
}

/// A store that yields what it is told to.
#[derive(Default)]
pub(super) struct Script {
    feeds: Mutex<VecDeque<mpsc::UnboundedReceiver<WatchItem>>>,
    pub(super) watched: Mutex<Vec<Vec<String>>>,
    /// What `list` finds, or why it cannot.
    pub(super) content: Mutex<Option<Vec<Kv>>>,
    pub(super) lists: AtomicUsize,
}

#[async_trait]
impl Store for Script {
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.lists.fetch_add(1, SeqCst);
        let content = self.content.lock().unwrap().clone();
        let mut entries = content.ok_or_else(|| StoreError::Unavailable("gone".into()))?;
        entries.retain(|kv| kv.key.starts_with(prefix));
        Ok(Listing { revision: 1, entries })
    }

    fn watch(&self, prefixes: Vec<String>) -> BoxStream<'static, WatchItem> {
        self.watched.lock().unwrap().push(prefixes);
        match self.feeds.lock().unwrap().pop_front() {
            Some(mut feed) => stream::poll_fn(move |cx| feed.poll_recv(cx)).boxed(),
            None => stream::pending().boxed(),
        }
    }

    async fn get(&self, _: &str) -> Result<Option<Kv>, StoreError> {
        unreachable!("control lists and watches")
    }
    async fn txn(&self, _: Vec<Guard>, _: Vec<Op>) -> Result<Revision, StoreError> {
        unreachable!("control never writes")
    }
    async fn grant_lease(&self, _: Duration) -> Result<LeaseId, StoreError> {
        unreachable!("control never writes")
    }
    async fn renew_lease(&self, _: LeaseId) -> Result<Duration, StoreError> {
        unreachable!("control never writes")
    }
    async fn lease_left(&self, _: LeaseId) -> Result<Duration, StoreError> {
        unreachable!("control never writes")
    }
    async fn revoke_lease(&self, _: LeaseId) -> Result<(), StoreError> {
        unreachable!("control never writes")
    }
    async fn health(&self) -> Health {
        unreachable!("control watches")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    Restore(Vec<String>),
    Replace(u64, Vec<String>),
    Apply(u64, Vec<String>),
}

/// What the publisher was told.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) calls: Mutex<Vec<(SinceBuilt, Call)>>,
    pub(super) live: Mutex<BTreeMap<String, (String, u64)>>,
    pub(super) last_good: Mutex<Vec<Change>>,
    pub(super) panics: AtomicBool,
    /// Keeps the publisher busy.
    pub(super) stuck: AtomicBool,
}

/// When a call was made, since the rig was built.
pub(super) type SinceBuilt = Duration;

struct Recorder {
    notes: Arc<Notes>,
    built: Instant,
}

fn line(change: &Change) -> String {
    match &change.value {
        Some(value) => format!("{}={}@{}", change.key, String::from_utf8_lossy(value), change.revision),
        None => format!("-{}", change.key),
    }
}

impl Recorder {
    fn note(&self, call: Call) {
        self.notes.calls.lock().unwrap().push((self.built.elapsed(), call));
    }

    fn work(&self, changes: &[Change]) {
        while self.notes.stuck.load(SeqCst) {
            std::thread::yield_now();
        }
        assert!(!self.notes.panics.load(SeqCst), "a bad object");
        let mut live = self.notes.live.lock().unwrap();
        for change in changes {
            match &change.value {
                Some(value) => {
                    let text = String::from_utf8_lossy(value).into_owned();
                    live.insert(change.key.clone(), (text, change.revision));
                }
                None => assert!(live.remove(&change.key).is_some(), "deleted what was not there"),
            }
        }
    }
}

impl Publish for Recorder {
    fn replace(&mut self, revision: u64, entries: &mut dyn Iterator<Item = Change>) {
        let entries: Vec<Change> = entries.collect();
        self.note(Call::Replace(revision, entries.iter().map(line).collect()));
        self.notes.live.lock().unwrap().clear();
        self.work(&entries);
    }
    fn apply(&mut self, revision: u64, changes: Vec<Change>) {
        assert!(!changes.is_empty(), "nothing changed");
        self.note(Call::Apply(revision, changes.iter().map(line).collect()));
        self.work(&changes);
    }
    fn last_good(&self) -> Vec<Change> {
        self.notes.last_good.lock().unwrap().clone()
    }
    fn restore_last_good(&mut self, versions: Vec<Change>) {
        self.note(Call::Restore(versions.iter().map(line).collect()));
    }
}

/// Control with everything around it.
pub(super) struct Rig {
    pub(super) store: Arc<Script>,
    pub(super) notes: Arc<Notes>,
    pub(super) status: Arc<ControlStatus>,
    pub(super) control: Option<Control>,
    pub(super) feed: Option<mpsc::UnboundedSender<WatchItem>>,
    pub(super) ready: Arc<AtomicBool>,
    built: Instant,
    stop: watch::Sender<bool>,
    running: Option<JoinHandle<()>>,
}

impl Rig {
    pub(super) fn new(dir: Option<&Path>) -> Self {
        let (store, notes) = (Arc::new(Script::default()), Arc::new(Notes::default()));
        let built = Instant::now();
        let options = ControlOptions {
            stale: Arc::default(),
            data_prefix: P.to_owned(),
            empty_hold: Duration::from_secs(30),
            expiry_window: Duration::from_secs(30),
            store_wait: Duration::from_millis(500),
            snapshot_dir: dir.map(Path::to_owned),
        };
        let recorder = Recorder { notes: notes.clone(), built };
        let (control, status) = Control::new(store.clone(), Box::new(recorder), options);
        let (stop, ready) = (watch::channel(false).0, Arc::default());
        let mut rig =
            Self { store, notes, status, control: Some(control), feed: None, ready, built, stop, running: None };
        rig.next_feed();
        rig
    }

    /// Makes further items go to the watch that is opened next.
    pub(super) fn next_feed(&mut self) {
        let (feed, items) = mpsc::unbounded_channel();
        self.store.feeds.lock().unwrap().push_back(items);
        self.feed = Some(feed);
    }

    pub(super) fn start(&mut self) {
        let ready = self.ready.clone();
        let control = self.control.take().expect("not started before");
        let run = control.run(move || ready.store(true, SeqCst), self.stop.subscribe());
        self.running = Some(tokio::spawn(run));
    }

    /// Starts from a store with these entries; forgets what was published so far.
    pub(super) async fn started(dir: Option<&Path>, revision: u64, rows: &[Row<'_>]) -> Self {
        let mut rig = Self::new(dir);
        rig.send(resync(revision, rows));
        rig.start();
        rig.until(|rig| rig.ready.load(SeqCst)).await;
        // The window of the first publish is over: it is quiet.
        sleep(Duration::from_millis(100)).await;
        rig.calls();
        rig
    }

    pub(super) fn send(&self, item: WatchItem) {
        self.feed.as_ref().expect("a feed").send(item).expect("a watch");
    }

    /// Sends, and waits until control has done all it does at once.
    pub(super) async fn sent(&self, item: WatchItem) {
        self.send(item);
        sleep(Duration::from_millis(1)).await;
    }

    pub(super) async fn until(&self, done: impl Fn(&Self) -> bool) {
        for _ in 0..100_000 {
            if done(self) {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
        panic!("never happened; the status is {:?}", self.status.report());
    }

    /// What was published since the last time this was asked.
    pub(super) fn calls(&self) -> Vec<Call> {
        self.timed_calls().into_iter().map(|(_, call)| call).collect()
    }

    pub(super) fn timed_calls(&self) -> Vec<(Duration, Call)> {
        std::mem::take(&mut *self.notes.calls.lock().unwrap())
    }

    pub(super) fn now(&self) -> Duration {
        self.built.elapsed()
    }

    pub(super) async fn stop(&mut self) {
        self.stop.send_replace(true);
        self.running.take().expect("started").await.expect("no panic");
    }
}

pub(super) fn apply(revision: u64, lines: &[&str]) -> Call {
    Call::Apply(revision, lines.iter().map(ToString::to_string).collect())
}

pub(super) fn replace(revision: u64, lines: &[&str]) -> Call {
    Call::Replace(revision, lines.iter().map(ToString::to_string).collect())
}
