//! Changes that are made past the Admin API (`etcdctl`, gateways of the first kind) become revisions
//! of the history too. Only a store that knows its past can tell of them, which is etcd.
//!
//! Every gateway looks for them; up to where they are recorded is in the store, so that one of them
//! records each, and what happened while none was there is found later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Admin;
use super::write::{Refused, now_ms};
use crate::history::{Author, EXTERNAL, Head, Origin, RECORDS, Record, Written, unrecorded};
use crate::resource::key::{HEAD, JOURNAL, WATCHED};
use crate::store::{Event, Guard, Kv, Op, Revision, StoreError, WatchItem};

/// How long what follows soon is waited for.
const SETTLE: Duration = Duration::from_millis(500);
/// How long until it is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// With so many revisions of the store behind, the mark is moved though there was nothing: etcd
/// forgets.
const FAR_BEHIND: Revision = 1000;

/// Most keys that are asked for one by one.
const MOST_KEYS: usize = 100;

/// Up to where all is recorded.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Seen {
    revision: Revision,
}

/// Where to look.
#[derive(Debug)]
enum Where {
    Nowhere,
    Keys(BTreeSet<String>),
    Everywhere,
}

impl Where {
    fn note(&mut self, item: &WatchItem, head: &str) {
        match (item, &mut *self) {
            (WatchItem::Resync(_), _) => *self = Self::Everywhere,
            (WatchItem::Events { events, .. }, Self::Nowhere | Self::Keys(_)) => {
                let ours: BTreeSet<Revision> = events.iter().filter(|e| e.key() == head).map(written_by).collect();
                let others = events.iter().filter(|event| !ours.contains(&written_by(event)));
                // A node that a service registered is nobody's change.
                let others = others.filter(|event| !matches!(event, Event::Put(kv) if kv.lease.is_some()));
                let keys = others.map(|event| event.key().to_owned());
                match self {
                    Self::Keys(known) => known.extend(keys),
                    _ => {
                        let keys: BTreeSet<String> = keys.collect();
                        if !keys.is_empty() {
                            *self = Self::Keys(keys);
                        }
                    }
                }
            }
            _ => {}
        }
        if matches!(self, Self::Keys(keys) if keys.len() > MOST_KEYS) {
            *self = Self::Everywhere;
        }
    }
}

fn written_by(event: &Event) -> Revision {
    match event {
        Event::Put(kv) => kv.mod_revision,
        Event::Delete { revision, .. } => *revision,
    }
}

/// Looks for them, as long as the Admin API is there.
pub(super) async fn look_after(admin: Weak<Admin>) {
    let Some((mut items, head)) = admin.upgrade().filter(|admin| admin.deps.store.knows_its_past()).map(|admin| {
        let keys = WATCHED.iter().chain([&HEAD]).map(|key| admin.key(key)).collect();
        (admin.deps.store.watch(keys), admin.key(HEAD))
    }) else {
        return;
    };
    let (mut place, mut due, mut told) = (Where::Nowhere, None, 0);
    loop {
        tokio::select! {
            item = items.next() => {
                let Some(item) = item else { return };
                place.note(&item, &head);
                match &item {
                    WatchItem::Resync(listing) => told = listing.revision,
                    WatchItem::Events { revision, .. } => told = *revision,
                    WatchItem::Connected | WatchItem::Disconnected { .. } => {}
                }
                if !matches!(place, Where::Nowhere) && due.is_none() {
                    // Not all gateways at the same time.
                    due = Some(Instant::now() + SETTLE + Duration::from_millis(rand::random_range(0..250)));
                }
            }
            () = super::unfinished::at(due) => {
                let Some(admin) = admin.upgrade() else { return };
                due = match admin.record_external(&place, told).await {
                    Ok(()) => None,
                    Err(e) => {
                        log::debug!("admin: what was changed past the Admin API cannot be recorded yet: {e}");
                        Some(Instant::now() + RETRY)
                    }
                };
                if due.is_none() {
                    place = Where::Nowhere;
                }
            }
        }
    }
}

impl Admin {
    /// Up to `now`, to which the watch has told all: what it has not told yet is not looked for yet,
    /// so the mark must not pass it.
    async fn record_external(&self, place: &Where, now: Revision) -> Result<(), Refused> {
        let store = &self.deps.store;
        let (seen_key, head_key) = (self.key(EXTERNAL), self.key(HEAD));
        let head = store.get(&head_key).await?;
        // What it is about came after; the record would be out of order.
        if head.as_ref().is_some_and(|kv| kv.mod_revision > now) {
            return Err(StoreError::Conflict.into());
        }
        let seen = store.get(&seen_key).await?;
        if store.get(&self.key(JOURNAL)).await?.is_some() {
            return Err(StoreError::Conflict.into());
        }
        let since = seen.as_ref().and_then(|kv| serde_json::from_slice(&kv.value).ok()).unwrap_or(Seen { revision: 0 });
        let mark = Mark { key: seen_key, read: seen, now };
        if since.revision >= now {
            return Ok(());
        }
        let Some(written) = self.unrecorded(place, since.revision, now).await? else {
            if since.revision > 0 {
                log::warn!("admin: what was changed past the Admin API is too old to be told: the history has a gap");
            }
            return self.mark(mark).await;
        };
        if written.is_empty() {
            let is_far = matches!(place, Where::Everywhere) || now - since.revision > FAR_BEHIND;
            return if is_far { self.mark(mark).await } else { Ok(()) };
        }
        self.keep(written, head, mark).await
    }

    /// `None` when the store does not know what was.
    async fn unrecorded(
        &self,
        place: &Where,
        since: Revision,
        now: Revision,
    ) -> Result<Option<Vec<Written>>, StoreError> {
        let groups: Vec<Vec<String>> = match place {
            Where::Nowhere => return Ok(Some(Vec::new())),
            Where::Keys(keys) => keys.iter().map(|key| vec![key.clone()]).collect(),
            Where::Everywhere => WATCHED.iter().map(|family| vec![self.key(family)]).collect(),
        };
        let records = self.records_between(since, now).await?;
        let mut written = Vec::new();
        for group in groups {
            let wanted = |kv: &Kv| !matches!(place, Where::Keys(_)) || group.contains(&kv.key);
            let state = async |revision| {
                let there = self.deps.store.list_at(group.clone(), revision).await?;
                Ok::<_, StoreError>(there.map(|there| self.declared_of(there.into_iter().filter(|kv| wanted(kv)))))
            };
            let (Some(before), Some(after)) = (state(since).await?, state(now).await?) else { return Ok(None) };
            written.extend(unrecorded(&before, &after, &records));
        }
        Ok(Some(written))
    }

    fn declared_of(&self, there: impl Iterator<Item = Kv>) -> BTreeMap<String, Bytes> {
        let declared = there.filter(|kv| kv.lease.is_none());
        declared.filter_map(|kv| Some((kv.key.strip_prefix(&self.deps.data_prefix)?.to_owned(), kv.value))).collect()
    }

    async fn records_between(&self, since: Revision, now: Revision) -> Result<Vec<Record>, StoreError> {
        let listing = self.deps.store.list(&self.key(RECORDS)).await?;
        let between = listing.entries.iter().filter(|kv| kv.mod_revision > since && kv.mod_revision <= now);
        Ok(between.filter_map(|kv| Record::decode(&kv.value).ok()).collect())
    }

    async fn keep(&self, written: Vec<Written>, head: Option<Kv>, mark: Mark) -> Result<(), Refused> {
        let known: Head = head.as_ref().and_then(|kv| serde_json::from_slice(&kv.value).ok()).unwrap_or_default();
        let author = Author { name: "(past the Admin API)".into(), origin: Origin::External, address: None };
        let (revision, count) = (known.revision + 1, written.len());
        let record = Record { revision, time: now_ms(), author, reason: None, restored: None, written };
        let (mut ops, _) = self.record(&record, None).await?;
        let guards = vec![guard(&self.key(HEAD), head.as_ref()), guard(&mark.key, mark.read.as_ref())];
        ops.push(mark.op());
        match self.deps.store.txn(guards, ops).await {
            Ok(_) => log::info!("admin: {count} objects were changed past the Admin API: revision {revision}"),
            Err(StoreError::Invalid(e)) => {
                log::warn!("admin: {count} objects were changed past the Admin API, too many for the history: {e}");
                return self.mark(mark).await;
            }
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    async fn mark(&self, mark: Mark) -> Result<(), Refused> {
        match self.deps.store.txn(vec![guard(&mark.key, mark.read.as_ref())], vec![mark.op()]).await {
            // Another gateway was faster.
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// The mark that is moved, as it was read.
struct Mark {
    key: String,
    read: Option<Kv>,
    now: Revision,
}

impl Mark {
    fn op(&self) -> Op {
        let seen = Seen { revision: self.now };
        Op::put(self.key.clone(), serde_json::to_vec(&seen).unwrap_or_default())
    }
}

fn guard(key: &str, read: Option<&Kv>) -> Guard {
    match read {
        Some(kv) => Guard::ModRevision(key.to_owned(), kv.mod_revision),
        None => Guard::Absent(key.to_owned()),
    }
}
