//! The store of a single machine: one redb file that one process owns.
//!
//! Behaves as etcd does (`conformance` holds both to it). redb blocks on the disk, so every call
//! runs on a blocking thread and goes on there even when its caller gave up waiting.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::broadcast;

use super::{Guard, Health, Kv, LeaseId, Listing, Op, Revision, Store, StoreError, WatchItem};
use disk::{Disk, Opener};
use leases::LeaseClock;
use watch::Change;

mod disk;
mod leases;
#[cfg(test)]
mod tests;
mod tx;
mod watch;

/// How many changes a watcher may be behind before it has to resync.
const WATCH_BACKLOG: usize = 256;
/// How often it is tried to open a file that another process is about to let go of.
const TAKE_RETRY: Duration = Duration::from_millis(20);

/// A store in a file of its own.
pub struct EmbeddedStore {
    inner: Arc<Inner>,
    expiry: Option<JoinHandle<()>>,
}

struct Inner {
    disk: Disk,
    /// The last revision watchers know of. Locked from before a write until its changes are
    /// published, so that watchers see them in order.
    published: Mutex<Revision>,
    clock: LeaseClock,
    changes: broadcast::Sender<Arc<Change>>,
}

impl EmbeddedStore {
    /// Opens the store in the file at `path`, which is created (mode 0600, parents too) when it
    /// is not there. Needs no async runtime.
    ///
    /// # Errors
    /// `Unavailable` when another process has it open or the disk fails, `Invalid` when the file
    /// is damaged or no store, `Denied` when it may not be opened, `Full` when the disk is.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, Box::new(disk::open_file))
    }

    fn open_with(path: &Path, opener: Opener) -> Result<Self, StoreError> {
        let inner = Inner::new(Disk::open(path, opener)?);
        inner.begin(&inner.disk)?;
        Self::start(inner)
    }

    /// As [`EmbeddedStore::open`]. When another process still has the file open every call fails with
    /// `Unavailable` until that lets go.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`], but for a file that is in use.
    pub fn take_over(path: &Path) -> Result<Self, StoreError> {
        let inner = Inner::new(Disk::open_or_await(path, Box::new(disk::open_file))?);
        if inner.disk.is_elsewhere() {
            let awaited = Arc::downgrade(&inner);
            std::thread::Builder::new()
                .name("store-takeover".into())
                .spawn(move || take_when_free(&awaited))
                .map_err(|e| StoreError::Unavailable(format!("cannot start a thread: {e}")))?;
        } else {
            inner.begin(&inner.disk)?;
        }
        Self::start(inner)
    }

    /// Lets go of the file for good, for the process that takes over; calls fail with `Unavailable`
    /// from now on.
    pub fn release(&self) {
        self.inner.clock.stop();
        self.inner.disk.release();
    }

    /// Whether the file belongs to another process: not taken over yet, or released.
    pub fn is_elsewhere(&self) -> bool {
        self.inner.disk.is_elsewhere()
    }

    fn start(inner: Arc<Inner>) -> Result<Self, StoreError> {
        let expiry = std::thread::Builder::new()
            .name("store-leases".into())
            .spawn({
                let inner = Arc::clone(&inner);
                move || inner.expire_leases()
            })
            .map_err(|e| StoreError::Unavailable(format!("cannot start a thread: {e}")))?;
        Ok(Self { inner, expiry: Some(expiry) })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        run_blocking(Arc::clone(&self.inner), work).await
    }
}

impl Drop for EmbeddedStore {
    /// Waits for the expiry thread, at most for one commit, so that the file is free afterwards.
    fn drop(&mut self) {
        self.inner.clock.stop();
        if let Some(expiry) = self.expiry.take()
            && expiry.join().is_err()
        {
            log::error!("the lease expiry of {} had panicked", self.inner.disk);
        }
    }
}

/// Opens the file as soon as the other process has let go, and tells the watchers.
fn take_when_free(awaited: &Weak<Inner>) {
    let mut refused = None;
    while let Some(inner) = awaited.upgrade() {
        match inner.disk.take(|disk| inner.begin(disk)) {
            Ok(()) => {
                log::info!("{} is taken over", inner.disk);
                return inner.publish(Change::Unknown);
            }
            // Taken by the other process: nothing to tell.
            Err(StoreError::Unavailable(_)) => {}
            Err(e) if refused.as_ref() != Some(&e) => {
                log::error!("the store cannot be taken over yet: {e}");
                refused = Some(e);
            }
            Err(_) => {}
        }
        drop(inner);
        std::thread::sleep(TAKE_RETRY);
    }
}

async fn run_blocking<T: Send + 'static>(
    inner: Arc<Inner>,
    work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(move || work(&inner))
        .await
        .unwrap_or_else(|e| Err(StoreError::Unavailable(format!("a call of the store broke: {e}"))))
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, key: &str) -> Result<Option<Kv>, StoreError> {
        super::check_key(key)?;
        let key = key.to_owned();
        self.run(move |inner| inner.disk.get(&key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let prefixes = [prefix.to_owned()];
        self.run(move |inner| inner.disk.list(&prefixes)).await
    }

    async fn txn(&self, guards: Vec<Guard>, ops: Vec<Op>) -> Result<Revision, StoreError> {
        super::check_txn(&guards, &ops)?;
        self.run(move |inner| inner.txn(&guards, &ops)).await
    }

    /// Ends only when the store is dropped.
    fn watch(&self, prefixes: Vec<String>) -> BoxStream<'static, WatchItem> {
        watch::stream(&self.inner, prefixes)
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let ttl = super::lease_seconds(ttl)?;
        self.run(move |inner| inner.grant_lease(ttl)).await
    }

    async fn renew_lease(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        // In memory only: a renewal lost in a crash costs nothing, since every lease gets a full
        // time to live after a restart.
        self.inner.clock.renew(lease).ok_or(StoreError::LeaseNotFound(lease))
    }

    async fn lease_left(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.inner.clock.left(lease).ok_or(StoreError::LeaseNotFound(lease))
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.run(move |inner| inner.revoke_lease(lease)).await
    }

    async fn health(&self) -> Health {
        match self.run(|inner| inner.disk.revision()).await {
            Ok(revision) => {
                Health { ok: true, revision: Some(revision), detail: format!("embedded store in {}", self.inner.disk) }
            }
            Err(e) => Health { ok: false, revision: None, detail: e.to_string() },
        }
    }
}

impl Inner {
    fn new(disk: Disk) -> Arc<Self> {
        let (changes, _) = broadcast::channel(WATCH_BACKLOG);
        Arc::new(Self { disk, published: Mutex::default(), clock: LeaseClock::default(), changes })
    }

    /// Takes up what the file holds. Every lease gets its full time to live.
    fn begin(&self, disk: &Disk) -> Result<(), StoreError> {
        for (lease, ttl) in disk.leases()? {
            self.clock.insert(lease, ttl);
        }
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = disk.revision()?;
        Ok(())
    }

    fn txn(&self, guards: &[Guard], ops: &[Op]) -> Result<Revision, StoreError> {
        self.write(|tx| {
            tx.check(guards)?;
            for op in ops {
                match op {
                    Op::Put { key, value, lease } => {
                        tx.put(key, value, *lease, |id| self.clock.contains(id))?;
                    }
                    Op::Delete(key) => tx.delete(key)?,
                }
            }
            Ok(())
        })
    }

    fn grant_lease(&self, ttl: u64) -> Result<LeaseId, StoreError> {
        // Random, so that an id is never used again, even by a store restored from a backup.
        let lease = rand::random_range(1..=LeaseId::MAX);
        let ttl = Duration::from_secs(ttl);
        self.write(|tx| tx.insert_lease(lease, ttl))?;
        self.clock.insert(lease, ttl);
        Ok(lease)
    }

    fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.write(|tx| tx.remove_lease(lease))?;
        self.clock.remove(lease);
        Ok(())
    }

    /// Ends leases as they fall due, until the store is dropped.
    fn expire_leases(&self) {
        let mut failing = false;
        while let Some(due) = self.clock.wait_for_due() {
            for lease in due {
                match self.expire(lease) {
                    Ok(()) => failing = false,
                    Err(e) => {
                        if !std::mem::replace(&mut failing, true) {
                            log::warn!("cannot end expired leases, trying again each second: {e}");
                        }
                    }
                }
            }
        }
    }

    fn expire(&self, lease: LeaseId) -> Result<(), StoreError> {
        // The lease leaves the clock while writes wait: none can attach a key to it from here on,
        // and a renewal that came just in time has kept it there.
        let mut ttl = None;
        let result = self.write(|tx| {
            ttl = self.clock.take_due(lease);
            if ttl.is_some() { tx.remove_lease(lease) } else { Ok(()) }
        });
        if let (Err(_), Some(ttl)) = (&result, ttl) {
            self.clock.insert_due_in(lease, ttl, Duration::from_secs(1));
        }
        result.map(drop)
    }

    /// Runs `work` as one durable transaction, then tells the watchers.
    fn write(&self, work: impl FnOnce(&mut tx::Tx<'_>) -> Result<(), tx::Refusal>) -> Result<Revision, StoreError> {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.disk.write(work);
        match &result {
            Ok(committed) if committed.revision == *published => {}
            Ok(committed) if committed.revision == *published + 1 => {
                *published = committed.revision;
                self.publish(Change::Events { revision: committed.revision, events: committed.events.clone() });
            }
            // A failed commit can still have reached the disk. Then the store is one revision
            // further than anyone was told, and watchers have to look for themselves.
            Ok(committed) => {
                *published = committed.revision;
                self.publish(Change::Unknown);
            }
            Err(_) => {
                if let Ok(revision) = self.disk.revision()
                    && revision != *published
                {
                    *published = revision;
                    self.publish(Change::Unknown);
                }
            }
        }
        result.map(|committed| committed.revision)
    }

    fn publish(&self, change: Change) {
        // An error means that nobody watches.
        drop(self.changes.send(Arc::new(change)));
    }
}

/// Whether the disk (or a quota on it) is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
