//! What was begun and is not finished: changes that nobody confirms are undone, and large ones whose
//! writer died are finished. Every gateway looks after both; the store lets one of them do it.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::Instant;

use super::Admin;
use super::history::Undo;
use super::write::{self, Refused};
use crate::history::{AWAITED, Author, Origin, PENDING};
use crate::resource::key::JOURNAL as OPEN;
use crate::store::{Event, WatchItem};

/// How long until what could not be done is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long the writer of a large change may take before others help.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks after it, as long as the Admin API is there.
pub(super) async fn look_after(admin: Weak<Admin>) {
    let watched = |admin: Arc<Admin>| {
        let keys = [PENDING, AWAITED, OPEN].map(|family| admin.key(family));
        admin.deps.store.watch(keys.into())
    };
    let Some(mut items) = admin.upgrade().map(watched) else { return };
    let mut known = Known::default();
    let mut is_late = false;
    loop {
        let wait = known.begun.map(|begun| begun + PATIENCE).or(is_late.then(|| Instant::now() + RETRY));
        tokio::select! {
            item = items.next() => match (item, admin.upgrade()) {
                (Some(item), Some(admin)) => known.apply(&item, &admin.deps.data_prefix),
                _ => return,
            },
            () = at(wait) => {}
        }
        let Some(admin) = admin.upgrade() else { return };
        is_late = false;
        for revision in known.unconfirmed() {
            is_late |= !admin.undo(revision).await;
        }
        if known.begun.is_some_and(|begun| begun.elapsed() >= PATIENCE) {
            known.begun = Some(Instant::now());
            admin.help().await;
        }
    }
}

/// Waits until then; for ever without a time.
pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Admin {
    /// Undoes a change that nobody confirmed. Whether that is done with, by this gateway or another.
    async fn undo(&self, revision: u64) -> bool {
        let author = Author { name: "ws-cloud-gateway".into(), origin: Origin::Unconfirmed, address: None };
        let reason = Some(format!("nobody confirmed revision {revision} in time"));
        let request = write::Request { author, reason, confirm_within: None, is_dry_run: false };
        match self.apply(&Undo { revision, rights: None }, &request).await {
            Ok(done) if done.stored.is_some() => {
                let by = done.revision;
                log::warn!("admin: nobody confirmed revision {revision} in time; it is undone by revision {by}");
                true
            }
            Ok(_) | Err(Refused::Absent(_)) => true,
            Err(e) => {
                log::error!("admin: revision {revision} cannot be undone yet: {e}");
                false
            }
        }
    }

    /// Finishes a large change that its writer did not.
    async fn help(&self) {
        // A writer of this process is at it.
        let Ok(_turn) = self.writing.try_lock() else { return };
        match self.finish_journal().await {
            Ok(true) => log::warn!("admin: finished a change that its writer left"),
            Ok(false) => {}
            Err(e) => log::error!("admin: a change that its writer left cannot be finished yet: {e}"),
        }
    }
}

/// What the store says of it.
#[derive(Debug, Default)]
struct Known {
    pending: BTreeSet<String>,
    awaited: BTreeSet<String>,
    /// When a large change was seen to begin.
    begun: Option<Instant>,
}

impl Known {
    fn apply(&mut self, item: &WatchItem, data_prefix: &str) {
        match item {
            WatchItem::Resync(listing) => {
                *self = Self::default();
                listing.entries.iter().for_each(|kv| self.note(&kv.key, data_prefix, true));
            }
            WatchItem::Events { events, .. } => {
                events.iter().for_each(|event| self.note(event.key(), data_prefix, matches!(event, Event::Put(_))));
            }
            WatchItem::Connected | WatchItem::Disconnected { .. } => {}
        }
    }

    fn note(&mut self, key: &str, data_prefix: &str, is_there: bool) {
        let Some(key) = key.strip_prefix(data_prefix) else { return };
        let in_set = |set: &mut BTreeSet<String>, number: &str| {
            if is_there { set.insert(number.to_owned()) } else { set.remove(number) }
        };
        if let Some(number) = key.strip_prefix(PENDING) {
            in_set(&mut self.pending, number);
        } else if let Some(number) = key.strip_prefix(AWAITED) {
            in_set(&mut self.awaited, number);
        } else if key == OPEN {
            self.begun = is_there.then(Instant::now);
        }
    }

    /// The last first: each undoes what the one before left.
    fn unconfirmed(&self) -> Vec<u64> {
        let over = self.pending.iter().rev().filter(|number| !self.awaited.contains(*number));
        over.filter_map(|number| number.parse().ok()).collect()
    }
}
