//! From the store to what is live: watches, batches, holds back what cannot be meant, publishes.
//!
//! Control alone drives the publisher. It neither reads nor judges the objects themselves: what
//! does not compile is the publisher's to keep out. Without the store it serves what was live
//! last, from memory or from disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::Notify;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use crate::resource::key::{JOURNAL, WATCHED};
use crate::snapshot::change::{Change, Publish};
use crate::store::{SharedStore, WatchItem};

mod batch;
mod disk;
mod hold;
mod lapse;
mod publish;
mod save;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod watch;

use disk::{Disk, Loaded};
use hold::{Hold, Verdict};
use lapse::Lapses;
pub use lapse::{LapsedNode, ProbeNodes};
use publish::Worker;
use save::Saver;
pub use status::{ControlReport, ControlStatus, Source};
use table::Table;

/// How long until the watch starts anew when it ended, which it should not.
const REWATCH: Duration = Duration::from_secs(1);

/// How control behaves.
#[derive(Debug, Clone)]
pub struct ControlOptions {
    /// What all keys begin with.
    pub data_prefix: String,
    /// How long a store that lost all entries is not believed; zero believes it at once.
    pub empty_hold: Duration,
    /// When more than half of a service's leased nodes go within this, those that still answer are
    /// kept; zero believes all of it.
    pub expiry_window: Duration,
    /// How long the start waits for the store before it serves the copy on disk.
    pub store_wait: Duration,
    /// Where the copy on disk is kept, if it is.
    pub snapshot_dir: Option<PathBuf>,
    /// Notified when what the store names has changed, though the store has not.
    pub stale: Arc<Notify>,
}

/// Keeps what is live equal to what the store declares.
pub struct Control {
    store: SharedStore,
    options: ControlOptions,
    status: Arc<ControlStatus>,
    table: Table,
    /// The revision of the table with its pending changes.
    revision: u64,
    /// The revision of what was handed over.
    handed_revision: u64,
    /// Whether the store has said what it holds.
    heard: bool,
    worker: Worker,
    published: Published,
    next_publish: Instant,
    /// Given to the publisher with the first `replace`.
    last_good: Vec<Change>,
    disk: DiskCopy,
    saver: Saver,
    hold: Option<Hold>,
    lapses: Lapses,
    /// An empty store was confirmed; the next publish need not ask.
    believe: bool,
    /// What the store names has changed; to be refreshed.
    stale: bool,
    /// A change larger than a transaction is being made; nothing is published before this, or its end.
    unfinished: Option<Instant>,
}

/// What the publisher has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Published {
    Nothing,
    /// What was handed over.
    Table,
    /// Unknown: it panicked.
    Unknown,
}

/// The copy on disk, at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DiskCopy {
    Unread,
    /// There is none that can be used.
    Absent,
    /// The table holds it.
    Read,
}

impl Control {
    /// A control that has read nothing yet, and its status.
    pub fn new(store: SharedStore, publisher: Box<dyn Publish>, options: ControlOptions) -> (Self, Arc<ControlStatus>) {
        let status = Arc::new(ControlStatus::new());
        let disk = options.snapshot_dir.clone().map(|dir| Disk { dir, data_prefix: options.data_prefix.clone() });
        let control = Self {
            store,
            lapses: Lapses::new(options.expiry_window),
            options,
            status: status.clone(),
            table: Table::default(),
            revision: 0,
            handed_revision: 0,
            heard: false,
            worker: Worker::new(publisher),
            published: Published::Nothing,
            next_publish: Instant::now(),
            last_good: Vec::new(),
            disk: DiskCopy::Unread,
            saver: Saver::new(disk, status.clone()),
            hold: None,
            believe: false,
            stale: false,
            unfinished: None,
        };
        (control, status)
    }

    /// Publishes the copy on disk; false when there is none that can be used. For a start that
    /// must not wait for the store; `run` does it by itself when the store cannot be reached.
    pub fn load_disk(&mut self) -> bool {
        if let Some(disk) = self.saver.disk().filter(|_| self.disk == DiskCopy::Unread) {
            let loaded = disk.load();
            self.adopt(loaded);
        }
        if self.disk != DiskCopy::Read || self.published != Published::Nothing {
            return self.status.ready();
        }
        let job = self.replace_job();
        if let Some(done) = self.worker.run_here(job) {
            self.finish_publish(done);
        }
        self.status.ready()
    }

    /// Follows the store until `shutdown` turns true. Calls `ready` once there is nothing better to
    /// wait for: the store's configuration is live, or the copy on disk, or neither is to be had.
    pub async fn run(mut self, ready: impl FnOnce(), mut shutdown: Receiver<bool>) {
        let mut items = self.watch_after(Duration::ZERO);
        tokio::select! {
            biased;
            () = is_true(&mut shutdown) => return,
            () = self.begin(&mut items) => {}
        }
        ready();
        loop {
            self.do_what_is_due();
            let wake = self.next_due();
            tokio::select! {
                biased;
                () = is_true(&mut shutdown) => break,
                done = self.worker.finished() => self.finish_publish(done),
                () = self.saver.finished() => {}
                answers = self.lapses.answers() => self.settle_lapses(answers),
                verdict = Hold::answer(&mut self.hold) => match verdict {
                    Verdict::Empty => self.end_hold("the store is still empty: believed"),
                    Verdict::Full => items = self.watch_after(Duration::ZERO),
                    Verdict::Unknown => {}
                },
                item = items.next() => match item {
                    Some(item) => self.take_all(item, &mut items),
                    None => {
                        self.lose_store("the watch ended");
                        items = self.watch_after(REWATCH);
                    }
                },
                () = self.options.stale.notified() => self.stale = true,
                () = at(wake) => {}
            }
        }
        self.end().await;
    }

    /// Waits a little for the store and makes the best that can be had live.
    async fn begin(&mut self, items: &mut BoxStream<'static, WatchItem>) {
        let first = tokio::time::timeout(self.options.store_wait, items.next());
        let (loaded, first) =
            tokio::join!(read_disk(self.saver.disk().filter(|_| self.disk == DiskCopy::Unread)), first);
        if let Some(loaded) = loaded {
            self.adopt(loaded);
        }
        match first {
            Ok(Some(item)) => self.take(item),
            Ok(None) => {}
            Err(_) => self.lose_store(&format!("no answer within {:?}", self.options.store_wait)),
        }
        if self.published == Published::Nothing && !self.heard {
            match self.disk {
                DiskCopy::Read => self.log_disk(),
                _ => log::warn!("no configuration yet: neither the store nor a snapshot on disk can be used"),
            }
        }
        // What is half made is not served: what was live last is, until it is made.
        if self.unfinished.is_some() {
            self.load_disk();
        }
        self.do_what_is_due();
        if self.worker.is_busy() {
            let done = self.worker.finished().await;
            self.finish_publish(done);
        }
    }

    /// Finishes what runs and saves what is not saved.
    async fn end(&mut self) {
        if self.worker.is_busy() {
            let done = self.worker.finished().await;
            self.finish_publish(done);
        }
        if self.saver.is_running() {
            self.saver.finished().await;
        }
        if self.saver.due().is_some() && self.published == Published::Table {
            self.save();
            self.saver.finished().await;
        }
    }

    fn log_disk(&self) {
        let entries = self.table.handed().len();
        log::warn!("serving the snapshot on disk: {entries} entries, revision {}", self.handed_revision);
    }

    fn watch_after(&self, delay: Duration) -> BoxStream<'static, WatchItem> {
        let items = self.store.watch(self.prefixes());
        if delay.is_zero() {
            return items;
        }
        stream::once(tokio::time::sleep(delay)).filter_map(|()| std::future::ready(None)).chain(items).boxed()
    }

    fn prefixes(&self) -> Vec<String> {
        let watched = WATCHED.iter().chain([&JOURNAL]);
        watched.map(|family| format!("{}{family}", self.options.data_prefix)).collect()
    }

    fn adopt(&mut self, loaded: Loaded) {
        self.disk = DiskCopy::Absent;
        self.saver.set_current_is_good(loaded.current_is_good);
        if let Some(content) = loaded.content {
            self.table = Table::new(Arc::unwrap_or_clone(content.entries));
            self.revision = content.revision;
            self.handed_revision = content.revision;
            self.last_good = content.last_good;
            self.status.set_saved(content.saved_at);
            self.disk = DiskCopy::Read;
        }
    }
}

async fn read_disk(disk: Option<&Disk>) -> Option<Loaded> {
    let disk = disk?.clone();
    tokio::task::spawn_blocking(move || disk.load()).await.ok()
}

/// Waits until it is true, or until nobody can make it so.
async fn is_true(shutdown: &mut Receiver<bool>) {
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        log::debug!("the sender of the shutdown is gone");
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
