//! What was handed over to be published, and how the store differs from it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::resource::key;
use crate::snapshot::change::Change;

/// One object as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) revision: u64,
    pub(super) value: Bytes,
    /// Whether it ends with a lease.
    pub(super) leased: bool,
}

impl Version {
    pub(super) fn change(&self, key: &str) -> Change {
        Change { key: key.to_owned(), value: Some(self.value.clone()), revision: self.revision }
    }
}

/// Objects by key, without the data prefix.
pub(super) type Entries = BTreeMap<String, Version>;

/// The two sides of control: what the publisher has, and what it lacks of the store.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Shared with a save that may be running; copied only when it changes meanwhile.
    handed: Arc<Entries>,
    puts: Entries,
    /// Keys of `handed` that are gone, each with the revision it went with.
    deletes: BTreeMap<String, u64>,
    /// Whether what is pending comes from a whole listing.
    resynced: bool,
}

impl Table {
    pub(super) fn new(handed: Entries) -> Self {
        Self { handed: Arc::new(handed), ..Self::default() }
    }

    /// Takes the whole content of the store: whatever was pending is overruled by it.
    pub(super) fn resync(&mut self, content: Entries, revision: u64) {
        self.deletes =
            self.handed.keys().filter(|key| !content.contains_key(*key)).map(|key| (key.clone(), revision)).collect();
        self.puts = content;
        self.puts.retain(|key, version| !is_handed(&self.handed, key, version));
        self.resynced = true;
    }

    pub(super) fn put(&mut self, key: String, version: Version) {
        self.deletes.remove(&key);
        if is_handed(&self.handed, &key, &version) {
            self.puts.remove(&key);
        } else {
            self.puts.insert(key, version);
        }
    }

    pub(super) fn delete(&mut self, key: String, revision: u64) {
        self.puts.remove(&key);
        if self.handed.contains_key(&key) {
            self.deletes.insert(key, revision);
        }
    }

    /// The pending deletions of what had a lease.
    pub(super) fn leased_deletes(&self) -> impl Iterator<Item = (&String, u64)> {
        let leased = |key: &String| self.handed.get(key).is_some_and(|version| version.leased);
        self.deletes.iter().filter(move |(key, _)| leased(key)).map(|(key, revision)| (key, *revision))
    }

    pub(super) fn is_deleted(&self, key: &str) -> bool {
        self.deletes.contains_key(key)
    }

    /// Takes these deletions back.
    pub(super) fn undelete(&mut self, which: impl Fn(&str) -> bool) {
        self.deletes.retain(|key, _| !which(key));
    }

    /// How many leased entries there are among those under a prefix, pending changes included.
    pub(super) fn leased(&self, prefix: &str, counts: impl Fn(&str) -> bool) -> usize {
        let under = |entries: &'_ Entries, but: &dyn Fn(&String) -> bool| {
            let from = entries.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
            from.filter(|(key, version)| version.leased && counts(key) && !but(key)).count()
        };
        under(&self.handed, &|key| self.deletes.contains_key(key) || self.puts.contains_key(key))
            + under(&self.puts, &|_| false)
    }

    /// What the publisher was given.
    pub(super) fn handed(&self) -> &Arc<Entries> {
        &self.handed
    }

    pub(super) fn has_puts(&self) -> bool {
        !self.puts.is_empty()
    }

    pub(super) fn has_changes(&self) -> bool {
        self.has_puts() || !self.deletes.is_empty()
    }

    /// The handed versions that a pending put replaces.
    pub(super) fn superseded(&self) -> impl Iterator<Item = Change> + '_ {
        self.puts.keys().filter_map(|key| self.handed.get(key).map(|version| version.change(key)))
    }

    /// How many entries the store has no more.
    pub(super) fn gone(&self) -> usize {
        self.deletes.len()
    }

    /// Moves all that is pending to the publisher's side.
    pub(super) fn take(&mut self) -> Vec<Change> {
        let mut changes = self.take_puts();
        self.resynced = false;
        if self.deletes.is_empty() {
            return changes;
        }
        let handed = Arc::make_mut(&mut self.handed);
        for (key, revision) in std::mem::take(&mut self.deletes) {
            handed.remove(&key);
            changes.push(Change { key, value: None, revision });
        }
        changes
    }

    /// As `take`, but what is gone stays.
    pub(super) fn take_puts(&mut self) -> Vec<Change> {
        if self.puts.is_empty() {
            return Vec::new();
        }
        let handed = Arc::make_mut(&mut self.handed);
        let changes = self.puts.iter().map(|(key, version)| version.change(key)).collect();
        // Appending walks all there is, which pays for many only.
        if self.puts.len() < handed.len() / 16 {
            handed.extend(std::mem::take(&mut self.puts));
        } else {
            handed.append(&mut self.puts);
        }
        changes
    }

    /// Whether a single write, or what happened unseen, took more than one entry and left none.
    ///
    /// Entries deleted one by one are believed as they go. Nodes don't count as left in a listing:
    /// services register themselves anew in a store that lost everything else.
    pub(super) fn is_wiped(&self) -> bool {
        self.takes_several_at_once()
            && ((self.puts.is_empty() && self.deletes.len() == self.handed.len())
                || (self.resynced && !self.knows_only_nodes() && !self.has_life()))
    }

    /// Whether the store has something that shows it was not simply lost: an entry an operator
    /// declared, or any where only nodes were known.
    pub(super) fn has_life(&self) -> bool {
        let only_nodes = self.knows_only_nodes();
        let counts = |key: &str| only_nodes || is_declared(key);
        self.puts.keys().any(|key| counts(key))
            || self.handed.keys().any(|key| counts(key) && !self.deletes.contains_key(key))
    }

    pub(super) fn knows_only_nodes(&self) -> bool {
        // All keys of a family lie together.
        let ends = [self.handed.first_key_value(), self.handed.last_key_value()];
        ends.into_iter().flatten().all(|(key, _)| !is_declared(key))
    }

    fn takes_several_at_once(&self) -> bool {
        let mut by_revision = HashMap::new();
        self.deletes.len() > 1
            && self.deletes.values().any(|revision| {
                let count = by_revision.entry(revision).or_insert(0);
                *count += 1;
                *count > 1
            })
    }
}

/// Whether the publisher has this already. A service that registers itself anew with what it said
/// before changes nothing.
fn is_handed(handed: &Entries, key: &str, version: &Version) -> bool {
    handed.get(key).is_some_and(|known| {
        known.value == version.value
            && known.leased == version.leased
            && (known.revision == version.revision || !is_declared(key))
    })
}

/// Whether an operator declares such keys; nodes may come from the services themselves.
pub(super) fn is_declared(key: &str) -> bool {
    !key.starts_with(key::NODES)
}
