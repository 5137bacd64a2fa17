//! A watcher: the content first, then what the writer publishes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::sync::broadcast::{self, error::RecvError};

use super::super::{Event, Revision, WatchItem, prefix};
use super::{Inner, run_blocking};

/// How long a watcher waits before it tries to read a failing disk again.
const RETRY: Duration = Duration::from_secs(1);

/// What the writer tells watchers.
pub(super) enum Change {
    Events {
        revision: Revision,
        events: Vec<Event>,
    },
    /// The store changed in a way nobody saw.
    Unknown,
}

pub(super) fn stream(inner: &Arc<Inner>, prefixes: Vec<String>) -> BoxStream<'static, WatchItem> {
    let watcher = Watcher {
        changes: inner.changes.subscribe(),
        inner: Arc::downgrade(inner),
        prefixes: prefix::without_overlap(prefixes),
        revision: None,
        disconnected: false,
    };
    stream::unfold(watcher, |mut watcher| async move { watcher.next().await.map(|item| (item, watcher)) }).boxed()
}

struct Watcher {
    /// Weak, so that a forgotten watcher does not keep the file locked.
    inner: Weak<Inner>,
    changes: broadcast::Receiver<Arc<Change>>,
    prefixes: Vec<String>,
    /// What was yielded so far; `None` when a resync is due.
    revision: Option<Revision>,
    disconnected: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<WatchItem> {
        loop {
            let Some(seen) = self.revision else {
                return self.resync().await;
            };
            match self.changes.recv().await {
                Ok(change) => match &*change {
                    // Published after the listing was taken, but already part of it.
                    Change::Events { revision, .. } if *revision <= seen => {}
                    Change::Events { revision, events } => {
                        self.revision = Some(*revision);
                        let events: Vec<_> = events
                            .iter()
                            .filter(|event| prefix::any_covers(&self.prefixes, event.key()))
                            .cloned()
                            .collect();
                        if !events.is_empty() {
                            return Some(WatchItem::Events { revision: *revision, events });
                        }
                    }
                    Change::Unknown => self.revision = None,
                },
                Err(RecvError::Lagged(_)) => self.revision = None,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    async fn resync(&mut self) -> Option<WatchItem> {
        loop {
            let inner = self.inner.upgrade()?;
            // Before the listing, so that what is written meanwhile is in one or the other.
            self.changes = inner.changes.subscribe();
            let prefixes = self.prefixes.clone();
            match run_blocking(inner, move |inner| inner.disk.list(&prefixes)).await {
                Ok(listing) => {
                    self.revision = Some(listing.revision);
                    self.disconnected = false;
                    return Some(WatchItem::Resync(listing));
                }
                Err(e) if !self.disconnected => {
                    self.disconnected = true;
                    return Some(WatchItem::Disconnected { reason: e.to_string() });
                }
                // Whoever publishes has reached the disk again, and every listing tells all.
                Err(_) => drop(tokio::time::timeout(RETRY, self.changes.recv()).await),
            }
        }
    }
}
