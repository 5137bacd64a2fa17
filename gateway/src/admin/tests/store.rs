//! A store in memory, which can be away, and whose writes can be preceded by someone else's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::sync::mpsc;

use crate::store::{
    Event, Guard, Health, Kv, Lease, LeaseId, Listing, Op, Revision, Store, StoreError, WatchItem, check_txn,
};

type Interference = Box<dyn FnMut(&mut Content) + Send>;

#[derive(Default)]
pub(super) struct Content {
    revision: Revision,
    keys: BTreeMap<String, Kv>,
    watchers: Vec<(Vec<String>, mpsc::UnboundedSender<WatchItem>)>,
    leases: Vec<(LeaseId, Duration)>,
    granted: LeaseId,
}

impl Content {
    /// One transaction.
    pub(super) fn write(&mut self, ops: Vec<Op>) {
        self.revision += 1;
        let events: Vec<Event> = ops.into_iter().filter_map(|op| self.one(op)).collect();
        let revision = self.revision;
        self.watchers.retain(|(prefixes, sender)| {
            let covered = |event: &&Event| prefixes.iter().any(|prefix| event.key().starts_with(prefix));
            let events: Vec<Event> = events.iter().filter(covered).cloned().collect();
            events.is_empty() || sender.send(WatchItem::Events { revision, events }).is_ok()
        });
    }

    fn one(&mut self, op: Op) -> Option<Event> {
        match op {
            Op::Put { key, value, lease } => {
                let before = self.keys.get(&key);
                let lease = match lease {
                    Lease::None => None,
                    Lease::Keep => before.and_then(|kv| kv.lease),
                    Lease::Attach(id) => Some(id),
                };
                let create_revision = before.map_or(self.revision, |kv| kv.create_revision);
                let kv = Kv { key: key.clone(), value, create_revision, mod_revision: self.revision, lease };
                self.keys.insert(key, kv.clone());
                Some(Event::Put(kv))
            }
            Op::Delete(key) => self.keys.remove(&key).map(|kv| Event::Delete { key: kv.key, revision: self.revision }),
        }
    }
}

#[derive(Default)]
pub(super) struct MemoryStore {
    pub(super) content: Mutex<Content>,
    down: AtomicBool,
    before_txn: Mutex<Option<Interference>>,
}

impl MemoryStore {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(super) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Lets someone else write before every transaction that follows.
    pub(super) fn interfere(&self, write: impl FnMut(&mut Content) + Send + 'static) {
        *self.before_txn.lock().unwrap() = Some(Box::new(write));
    }

    pub(super) fn put(&self, key: &str, value: &str) {
        self.content.lock().unwrap().write(vec![Op::put(key, value.to_owned())]);
    }

    pub(super) fn put_leased(&self, key: &str, value: &str) {
        let put = Op::Put { key: key.into(), value: value.to_owned().into(), lease: Lease::Attach(7) };
        self.content.lock().unwrap().write(vec![put]);
    }

    /// Every key and value, the revision of each included.
    pub(super) fn dump(&self) -> Vec<Kv> {
        self.content.lock().unwrap().keys.values().cloned().collect()
    }

    pub(super) fn revision(&self) -> Revision {
        self.content.lock().unwrap().revision
    }

    pub(super) fn leases(&self) -> Vec<(LeaseId, Duration)> {
        self.content.lock().unwrap().leases.clone()
    }

    pub(super) fn json(&self, key: &str) -> Option<serde_json::Value> {
        let content = self.content.lock().unwrap();
        content.keys.get(key).map(|kv| serde_json::from_slice(&kv.value).unwrap())
    }

    /// The keys that begin so, without it.
    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        self.dump().into_iter().filter_map(|kv| kv.key.strip_prefix(prefix).map(str::to_owned)).collect()
    }

    fn reached(&self) -> Result<std::sync::MutexGuard<'_, Content>, StoreError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("it is down".into()));
        }
        Ok(self.content.lock().unwrap())
    }
}

fn list(content: &Content, prefixes: &[&str]) -> Listing {
    let covered = |kv: &&Kv| prefixes.iter().any(|prefix| kv.key.starts_with(prefix));
    Listing { revision: content.revision, entries: content.keys.values().filter(covered).cloned().collect() }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Kv>, StoreError> {
        Ok(self.reached()?.keys.get(key).cloned())
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        Ok(list(&*self.reached()?, &[prefix]))
    }

    async fn txn(&self, guards: Vec<Guard>, ops: Vec<Op>) -> Result<Revision, StoreError> {
        check_txn(&guards, &ops)?;
        // Others get a turn between reads and writes.
        tokio::task::yield_now().await;
        let mut content = self.reached()?;
        if let Some(interfere) = self.before_txn.lock().unwrap().as_mut() {
            interfere(&mut content);
        }
        let holds = |guard: &Guard| match guard {
            Guard::Absent(key) => !content.keys.contains_key(key),
            Guard::ModRevision(key, revision) => content.keys.get(key).is_some_and(|kv| kv.mod_revision == *revision),
        };
        if !guards.iter().all(holds) {
            return Err(StoreError::Conflict);
        }
        content.write(ops);
        Ok(content.revision)
    }

    fn watch(&self, prefixes: Vec<String>) -> BoxStream<'static, WatchItem> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut content = self.content.lock().unwrap();
        if self.down.load(Ordering::SeqCst) {
            sender.send(WatchItem::Disconnected { reason: "it is down".into() }).unwrap();
        } else {
            let listed = list(&content, &prefixes.iter().map(String::as_str).collect::<Vec<_>>());
            sender.send(WatchItem::Resync(listed)).unwrap();
        }
        content.watchers.push((prefixes, sender));
        stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }).boxed()
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let mut content = self.reached()?;
        content.granted += 1;
        let id = 99 + content.granted;
        content.leases.push((id, ttl));
        Ok(id)
    }

    async fn renew_lease(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.lease_left(lease).await
    }

    async fn lease_left(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        let content = self.reached()?;
        let found = content.leases.iter().find(|(id, _)| *id == lease);
        found.map(|(_, ttl)| *ttl).ok_or(StoreError::LeaseNotFound(lease))
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        let mut content = self.reached()?;
        let keys: Vec<String> =
            content.keys.values().filter(|kv| kv.lease == Some(lease)).map(|kv| kv.key.clone()).collect();
        content.leases.retain(|(id, _)| *id != lease);
        content.write(keys.into_iter().map(Op::Delete).collect());
        Ok(())
    }

    async fn health(&self) -> Health {
        Health { ok: true, revision: None, detail: String::new() }
    }
}

/// Bytes of a text.
pub(super) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
