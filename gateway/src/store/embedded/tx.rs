//! One write transaction: guards, writes, leases, and the events they make.

use std::time::Duration;

use redb::{ReadableTable, Table, WriteTransaction};

use super::super::{Event, Guard, Kv, Lease, LeaseId, Revision, StoreError};
use super::disk::{Committed, KEYS, LEASE_KEYS, LEASES, META, REVISION, Row, kv};

/// Why a transaction is not committed.
pub(super) enum Refusal {
    Store(StoreError),
    Disk(redb::Error),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

pub(super) struct Tx<'txn> {
    keys: Table<'txn, &'static str, Row<'static>>,
    leases: Table<'txn, LeaseId, u64>,
    lease_keys: Table<'txn, (LeaseId, &'static str), ()>,
    meta: Table<'txn, &'static str, u64>,
    /// Before this transaction.
    revision: Revision,
    events: Vec<Event>,
    leases_changed: bool,
}

impl<'txn> Tx<'txn> {
    pub(super) fn open(txn: &'txn WriteTransaction) -> Result<Self, Refusal> {
        let meta = txn.open_table(META)?;
        let revision = meta.get(REVISION)?.map_or(1, |v| v.value());
        Ok(Self {
            keys: txn.open_table(KEYS)?,
            leases: txn.open_table(LEASES)?,
            lease_keys: txn.open_table(LEASE_KEYS)?,
            meta,
            revision,
            events: Vec::new(),
            leases_changed: false,
        })
    }

    pub(super) fn check(&self, guards: &[Guard]) -> Result<(), Refusal> {
        for guard in guards {
            let holds = match guard {
                Guard::Absent(key) => self.get(key)?.is_none(),
                Guard::ModRevision(key, revision) => self.get(key)?.is_some_and(|kv| kv.mod_revision == *revision),
            };
            if !holds {
                return Err(StoreError::Conflict.into());
            }
        }
        Ok(())
    }

    pub(super) fn put(
        &mut self,
        key: &str,
        value: &bytes::Bytes,
        lease: Lease,
        lease_exists: impl Fn(LeaseId) -> bool,
    ) -> Result<(), Refusal> {
        let old = self.get(key)?;
        let old_lease = old.as_ref().and_then(|kv| kv.lease);
        let lease = match lease {
            Lease::None => None,
            Lease::Keep => old_lease,
            Lease::Attach(id) if lease_exists(id) => Some(id),
            Lease::Attach(id) => return Err(StoreError::LeaseNotFound(id).into()),
        };
        if lease != old_lease {
            if let Some(id) = old_lease {
                self.lease_keys.remove((id, key))?;
            }
            if let Some(id) = lease {
                self.lease_keys.insert((id, key), ())?;
            }
        }
        let mod_revision = self.revision + 1;
        let kv = Kv {
            key: key.to_owned(),
            value: value.clone(),
            create_revision: old.map_or(mod_revision, |kv| kv.create_revision),
            mod_revision,
            lease,
        };
        self.keys.insert(key, (kv.create_revision, kv.mod_revision, kv.lease.unwrap_or(0), kv.value.as_ref()))?;
        self.events.push(Event::Put(kv));
        Ok(())
    }

    pub(super) fn delete(&mut self, key: &str) -> Result<(), Refusal> {
        let Some(lease) = self.keys.remove(key)?.map(|row| row.value().2) else {
            return Ok(());
        };
        if lease != 0 {
            self.lease_keys.remove((lease, key))?;
        }
        self.events.push(Event::Delete { key: key.to_owned(), revision: self.revision + 1 });
        Ok(())
    }

    pub(super) fn insert_lease(&mut self, lease: LeaseId, ttl: Duration) -> Result<(), Refusal> {
        self.leases.insert(lease, ttl.as_secs())?;
        self.leases_changed = true;
        Ok(())
    }

    /// Deletes the lease and its keys.
    pub(super) fn remove_lease(&mut self, lease: LeaseId) -> Result<(), Refusal> {
        let mut keys = Vec::new();
        for row in self.lease_keys.range((lease, "")..)? {
            let (id, _) = row?;
            let (id, key) = id.value();
            if id != lease {
                break;
            }
            keys.push(key.to_owned());
        }
        for key in keys {
            self.delete(&key)?;
        }
        self.leases_changed |= self.leases.remove(lease)?.is_some();
        Ok(())
    }

    /// What the transaction did, and whether that is anything to commit.
    pub(super) fn finish(mut self) -> Result<(bool, Committed), Refusal> {
        if !self.events.is_empty() {
            self.revision += 1;
            self.meta.insert(REVISION, self.revision)?;
        }
        let changed = self.leases_changed || !self.events.is_empty();
        Ok((changed, Committed { revision: self.revision, events: self.events }))
    }

    fn get(&self, key: &str) -> Result<Option<Kv>, Refusal> {
        Ok(self.keys.get(key)?.map(|row| kv(key, row.value())))
    }
}
