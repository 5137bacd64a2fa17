//! Changes that are larger than a transaction: begun by who makes them, finished by any gateway.

use std::time::Duration;

use super::Admin;
use super::write::Refused;
use crate::history::journal::{Journal, MOST_STEPS, PARTS, Step, parts};
use crate::history::{Head, Pending, Record};
use crate::resource::key::{HEAD, JOURNAL as OPEN};
use crate::store::{Guard, Kv, Lease, Op, Revision, StoreError};

/// Parts of a change that was never begun are left for so long; it may be about to be.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Largest record, in bytes as it is stored, with what waits for its confirmation: one transaction
/// writes both in the end, and a change that is begun must be one that can be ended.
const LARGEST_RECORD: usize = 900 << 10;

impl Admin {
    /// Begins a large change: once the mark is set it will be made, by this gateway or another.
    pub(super) async fn begin_journal(
        &self,
        guard: Guard,
        head: Head,
        record: &Record,
        confirm_within: Option<Duration>,
        steps: Vec<Step>,
    ) -> Result<Revision, Refused> {
        self.sweep().await?;
        let (store, parts) = (&self.deps.store, parts(steps));
        let journal = Journal {
            id: uuid::Uuid::now_v7().to_string(),
            parts: parts.len(),
            revision: record.revision,
            confirm_within: confirm_within.map(|within| within.as_secs()),
        };
        let encoded = record.encode().map_err(|e| Refused::Change(e.to_string()))?;
        let pending = match confirm_within {
            Some(_) => {
                serde_json::to_vec(&Pending::of(record, u64::MAX)).map_err(|e| Refused::Change(e.to_string()))?
            }
            None => Vec::new(),
        };
        if encoded.len() + pending.len() > LARGEST_RECORD {
            return Err(Refused::Change("the change is too large to be one; make it in several".into()));
        }
        store.txn(Vec::new(), vec![Op::put(self.key(&journal.record_key()), encoded)]).await?;
        for (n, part) in parts.iter().enumerate() {
            let part = serde_json::to_vec(part).map_err(|e| Refused::Change(e.to_string()))?;
            store.txn(Vec::new(), vec![Op::put(self.key(&journal.part_key(n)), part)]).await?;
        }
        let open = self.key(OPEN);
        let mark = serde_json::to_vec(&journal).map_err(|e| Refused::Change(e.to_string()))?;
        // The head is written too: whoever planned a change meanwhile plans anew.
        let head = serde_json::to_vec(&head).map_err(|e| Refused::Change(e.to_string()))?;
        let ops = vec![Op::put(open.clone(), mark), Op::put(self.key(HEAD), head)];
        let begun = store.txn(vec![guard, Guard::Absent(open.clone())], ops).await;
        if begun == Err(StoreError::Conflict) {
            self.forget(&journal).await?;
        }
        match self.finish(&Guard::ModRevision(open, begun?), &journal).await {
            // It took so long that another gateway finished it.
            Err(Refused::Store(StoreError::Conflict)) => {
                let kept = store.get(&self.key(&Record::key(journal.revision))).await?;
                Ok(kept.ok_or(StoreError::Conflict)?.mod_revision)
            }
            finished => finished,
        }
    }

    /// Finishes a large change that is being made, if there is one.
    pub(super) async fn finish_journal(&self) -> Result<bool, Refused> {
        let Some(kv) = self.deps.store.get(&self.key(OPEN)).await? else { return Ok(false) };
        let journal: Journal = serde_json::from_slice(&kv.value)
            .map_err(|e| Refused::Change(format!("{:?} cannot be read: {e}; delete it to go on", kv.key)))?;
        let Kv { key, mod_revision, .. } = kv;
        match self.finish(&Guard::ModRevision(key, mod_revision), &journal).await {
            // Another gateway was faster.
            Ok(_) | Err(Refused::Store(StoreError::Conflict)) => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// Makes every step; the mark guards each, so that none is made after the end.
    async fn finish(&self, guard: &Guard, journal: &Journal) -> Result<Revision, Refused> {
        let store = &self.deps.store;
        for part in 0..journal.parts {
            let steps: Vec<Step> = serde_json::from_slice(&self.part(&journal.part_key(part)).await?)
                .map_err(|e| Refused::Change(format!("a part of a change cannot be read: {e}")))?;
            let ops = steps.into_iter().map(|Step { key, value }| match value {
                Some(value) => Op::Put { key, value, lease: Lease::Keep },
                None => Op::Delete(key),
            });
            store.txn(vec![guard.clone()], ops.collect()).await?;
        }
        let record = Record::decode(&self.part(&journal.record_key()).await?)
            .map_err(|e| Refused::Change(format!("the record of a change cannot be read: {e}")))?;
        let (mut ops, _) = self.record(&record, journal.confirm_within.map(Duration::from_secs)).await?;
        ops.push(Op::delete(self.key(OPEN)));
        let revision = store.txn(vec![guard.clone()], ops).await?;
        self.forget(journal).await?;
        Ok(revision)
    }

    /// A part, as long as the change is not made. When it is the guards will say so.
    async fn part(&self, key: &str) -> Result<bytes::Bytes, Refused> {
        Ok(self.deps.store.get(&self.key(key)).await?.ok_or(StoreError::Conflict)?.value)
    }

    async fn forget(&self, journal: &Journal) -> Result<(), StoreError> {
        let keys = (0..journal.parts).map(|part| journal.part_key(part)).chain([journal.record_key()]);
        self.delete_all(keys.map(|key| self.key(&key)).collect()).await
    }

    async fn delete_all(&self, keys: Vec<String>) -> Result<(), StoreError> {
        for keys in keys.chunks(MOST_STEPS) {
            self.deps.store.txn(Vec::new(), keys.iter().map(Op::delete).collect()).await?;
        }
        Ok(())
    }

    /// Takes away what writers left that ended before their change was begun.
    async fn sweep(&self) -> Result<(), StoreError> {
        let prefix = self.key(PARTS);
        let listing = self.deps.store.list(&prefix).await?;
        let now = super::write::now_ms();
        let is_abandoned = |key: &String| {
            let id = key.strip_prefix(&prefix).and_then(|rest| rest.split('/').next()?.parse::<uuid::Uuid>().ok());
            let begun = id.and_then(|id| id.get_timestamp()).map(|time| time.to_unix().0 * 1000);
            begun.is_none_or(|begun| now.saturating_sub(begun) > ABANDONED.as_secs() * 1000)
        };
        self.delete_all(listing.entries.into_iter().map(|kv| kv.key).filter(is_abandoned).collect()).await
    }
}
