//! What the watch yields: entries into the table, outages into the status.

use futures::future::FutureExt as _;
use futures::stream::{BoxStream, StreamExt as _};

use tokio::time::Instant;

use super::batch::UNFINISHED;
use super::table::{self, Entries, Version};
use super::{Control, Published};
use crate::resource::key::{JOURNAL, WATCHED};
use crate::store::{Event, Kv, Listing, WatchItem};

/// Most items taken from the watch before other work gets its turn.
const DRAIN: usize = 1024;

impl Control {
    /// Takes an item and those that are waiting behind it.
    pub(super) fn take_all(&mut self, first: WatchItem, items: &mut BoxStream<'static, WatchItem>) {
        self.take(first);
        for _ in 1..DRAIN {
            match items.next().now_or_never() {
                Some(Some(item)) => self.take(item),
                _ => break,
            }
        }
    }

    pub(super) fn take(&mut self, item: WatchItem) {
        match item {
            WatchItem::Disconnected { reason } => return self.lose_store(&reason),
            WatchItem::Connected => return self.reach_store(),
            WatchItem::Resync(listing) => self.take_listing(listing),
            // The listing that must come tells all of it.
            WatchItem::Events { .. } if !self.heard => return,
            WatchItem::Events { revision, events } => self.take_events(revision, events),
        }
        self.reach_store();
        self.status.set_stored_revision(self.revision);
        self.note_if_even();
    }

    /// A large change begins, or ends.
    fn note_journal(&mut self, is_open: bool) {
        self.unfinished = is_open.then(|| self.unfinished.unwrap_or_else(|| Instant::now() + UNFINISHED));
    }

    fn is_journal(&self, key: &str) -> bool {
        key.strip_prefix(&self.options.data_prefix) == Some(JOURNAL)
    }

    fn take_listing(&mut self, listing: Listing) {
        let is_open = listing.entries.iter().any(|kv| self.is_journal(&kv.key));
        self.note_journal(is_open);
        let content: Entries = listing.entries.into_iter().filter_map(|kv| self.entry(kv)).collect();
        self.note_returned(content.keys());
        self.table.resync(content, listing.revision);
        self.revision = listing.revision;
        self.heard = true;
        if !self.status.ready() {
            // What could not be published before may be now; nothing is live that could be hurt.
            self.published = Published::Nothing;
        }
        if self.hold.is_some() && self.table.has_life() {
            self.end_hold("the store has its entries again");
        }
    }

    fn take_events(&mut self, revision: u64, events: Vec<Event>) {
        self.revision = revision;
        let only_nodes = self.hold.is_some() && self.table.knows_only_nodes();
        let mut life = false;
        for event in events {
            if self.is_journal(event.key()) {
                self.note_journal(matches!(event, Event::Put(_)));
                continue;
            }
            match event {
                Event::Put(kv) => {
                    if let Some((key, version)) = self.entry(kv) {
                        life |= only_nodes || table::is_declared(&key);
                        self.note_returned(std::iter::once(&key));
                        self.table.put(key, version);
                    }
                }
                Event::Delete { key, revision } => {
                    if let Some(key) = self.relative(&key) {
                        self.table.delete(key.to_owned(), revision);
                    }
                }
            }
        }
        if let Some(hold) = self.hold.as_mut().filter(|_| life) {
            hold.entries_return();
            self.status.set_holding(Some(hold.until()));
        }
    }

    fn entry(&self, kv: Kv) -> Option<(String, Version)> {
        let key = self.relative(&kv.key)?.to_owned();
        Some((key, Version { revision: kv.mod_revision, value: kv.value, leased: kv.lease.is_some() }))
    }

    fn relative<'a>(&self, key: &'a str) -> Option<&'a str> {
        let key = key.strip_prefix(&self.options.data_prefix)?;
        WATCHED.iter().any(|family| key.starts_with(family)).then_some(key)
    }

    pub(super) fn lose_store(&self, reason: &str) {
        if self.status.set_disconnected(reason) {
            log::warn!("the store cannot be reached, what is live stays live: {reason}");
        }
    }

    fn reach_store(&self) {
        if let Some(lasted) = self.status.set_connected() {
            log::info!("the store is reached again after {:.1} s", lasted.as_secs_f64());
        }
    }
}
