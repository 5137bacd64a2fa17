//! How the Admin API writes: it plans a change from what it reads, and applies it in one guarded
//! transaction that also bumps `gw/head` and keeps a record of it; if anything it read has changed
//! since, it plans anew.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::Admin;
use crate::history::journal::Step;
use crate::history::{Author, Head, KEPT, PENDING, Pending, Record, Written};
use crate::resource::Invalid;
use crate::resource::key::{HEAD, JOURNAL};
use crate::store::{Guard, Kv, Lease, MAX_TXN_BYTES, MAX_TXN_OPS, Op, Revision, StoreError};

/// How often a change is planned before it is given up.
const TRIES: u32 = 5;
/// How many operations of a transaction are kept for what is written beside a change.
const ROOM_BESIDE: usize = 8;

/// Why a change was not made. Displays as the reason for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// It is not valid, or clashes with what is there.
    #[error("{0}")]
    Change(String),
    /// A field of it is not valid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Several fields are not valid.
    #[error("{} errors; the first: {}", .0.len(), .0.first().map_or_else(String::new, ToString::to_string))]
    Many(Vec<Invalid>),
    /// There can be no object of this name.
    #[error(transparent)]
    Name(Invalid),
    /// What it was made for is not there.
    #[error("there is no {0}")]
    Absent(String),
    /// What is there already.
    #[error("{0} exists already; use PUT to change it")]
    Exists(String),
    /// It was made for another version than the present one.
    #[error("{0} has been changed since you read it; read it again")]
    Stale(String),
    /// It would overwrite what nobody has read.
    #[error("{0} exists: send If-Match with the ETag you read, or `If-Match: *` to overwrite whatever is there")]
    Unread(String),
    /// Who makes it may not.
    #[error("you may not change {0}")]
    Forbidden(String),
    /// It writes what a revision wrote that waits to be confirmed.
    #[error("{key} was changed by revision {revision}, which waits to be confirmed: confirm it or take it back first")]
    Awaited {
        /// What both write.
        key: String,
        /// The revision that waits.
        revision: u64,
    },
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A change of one key.
#[derive(Debug)]
struct Write {
    key: String,
    before: Option<Kv>,
    after: Option<Bytes>,
    lease: Lease,
}

impl Write {
    fn op(self) -> Op {
        match self.after {
            Some(value) => Op::Put { key: self.key, value, lease: self.lease },
            None => Op::Delete(self.key),
        }
    }
}

/// What must hold, and what is then written.
#[derive(Debug, Default)]
pub(super) struct Plan {
    guards: Vec<Guard>,
    writes: Vec<Write>,
    /// Writes that are no declarations.
    pub(super) beside: Vec<Op>,
    restores: Option<u64>,
    undoes: Option<u64>,
}

impl Plan {
    /// Restores the state of a revision.
    pub(super) fn restoring(revision: u64) -> Self {
        Self { restores: Some(revision), ..Self::default() }
    }

    /// Takes back a revision that waits to be confirmed.
    pub(super) fn undoing(revision: u64) -> Self {
        Self { undoes: Some(revision), ..Self::default() }
    }

    /// Demands that a key is as it was read.
    pub(super) fn expect(&mut self, key: &str, read: Option<&Kv>) {
        self.guards.push(match read {
            Some(kv) => Guard::ModRevision(key.to_owned(), kv.mod_revision),
            None => Guard::Absent(key.to_owned()),
        });
    }

    /// Demands that this holds.
    pub(super) fn demand(&mut self, guard: Guard) {
        self.guards.push(guard);
    }

    /// Makes a key what it is to be, or nothing, unless it is so already.
    pub(super) fn make(&mut self, key: String, read: Option<&Kv>, wanted: Option<Bytes>) {
        match (read, wanted) {
            (Some(kv), Some(value)) if kv.value == value => {}
            (read, Some(value)) => self.put(key, read, value),
            (Some(kv), None) => self.delete(kv),
            (None, None) => {}
        }
    }

    /// Writes a key that is as it was read.
    pub(super) fn put(&mut self, key: impl Into<String>, read: Option<&Kv>, value: impl Into<Bytes>) {
        self.write(key.into(), read, Some(value.into()), Lease::None);
    }

    /// Writes a key that is as it was read, and stays with its lease.
    pub(super) fn put_keeping_lease(&mut self, key: impl Into<String>, read: Option<&Kv>, value: impl Into<Bytes>) {
        self.write(key.into(), read, Some(value.into()), Lease::Keep);
    }

    /// Deletes a key that is as it was read.
    pub(super) fn delete(&mut self, read: &Kv) {
        self.write(read.key.clone(), Some(read), None, Lease::None);
    }

    fn write(&mut self, key: String, read: Option<&Kv>, after: Option<Bytes>, lease: Lease) {
        self.expect(&key, read);
        self.writes.push(Write { key, before: read.cloned(), after, lease });
    }

    /// Whether it is more than one transaction takes, with what is written beside it.
    fn is_large(&self) -> bool {
        let bytes = |write: &Write| {
            let after = write.after.as_ref().map_or(0, Bytes::len);
            // The record has both, and may not be compressible.
            write.key.len() * 2 + after * 2 + write.before.as_ref().map_or(0, |kv| kv.value.len())
        };
        self.writes.len() > 1
            && (self.guards.len().max(self.writes.len()) + ROOM_BESIDE > MAX_TXN_OPS
                || self.writes.iter().map(bytes).sum::<usize>() > MAX_TXN_BYTES)
    }

    /// The same as steps of a journal. What is read beside the head is guarded by that alone.
    fn into_steps(self, head_key: &str, head: Option<&Kv>) -> Result<(Guard, Vec<Step>), Refused> {
        if !self.beside.is_empty() && self.undoes.is_none() {
            return Err(StoreError::Invalid("the change is too large".into()).into());
        }
        let guard = match head {
            Some(kv) => Guard::ModRevision(head_key.to_owned(), kv.mod_revision),
            None => Guard::Absent(head_key.to_owned()),
        };
        let beside = self.beside.into_iter().filter_map(|op| match op {
            Op::Delete(key) => Some(Step { key, value: None }),
            Op::Put { .. } => None,
        });
        let writes = self.writes.into_iter().map(|Write { key, after, .. }| Step { key, value: after });
        Ok((guard, writes.chain(beside).collect()))
    }

    /// What it writes, for the record. What belongs to a lease is not an operator's.
    fn written(&self, data_prefix: &str) -> Vec<Written> {
        let declared = self.writes.iter().filter(|write| write.before.as_ref().is_none_or(|kv| kv.lease.is_none()));
        declared
            .map(|write| Written {
                key: write.key.strip_prefix(data_prefix).unwrap_or(&write.key).to_owned(),
                before: write.before.as_ref().map(|kv| kv.value.clone()),
                after: write.after.clone(),
            })
            .collect()
    }
}

/// A change an operator wants.
#[async_trait]
pub(super) trait Change: Sync {
    /// Reads what it needs and plans. Without writes there is nothing to do.
    async fn plan(&self, admin: &Admin, head: Head) -> Result<Plan, Refused>;
}

/// Who wants a change, and how.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Who.
    pub(super) author: Author,
    /// Why.
    pub(super) reason: Option<String>,
    /// It is undone if nobody confirms it within this time.
    pub(super) confirm_within: Option<Duration>,
    /// Only to see what it would do.
    pub(super) is_dry_run: bool,
}

/// What came of a change.
#[derive(Debug)]
pub(super) struct Done {
    /// The revision of what is declared.
    pub(super) revision: u64,
    /// The store's own revision, when something was written.
    pub(super) stored: Option<Revision>,
    /// What was written, or would be.
    pub(super) written: Vec<Written>,
    /// When it is undone, in milliseconds since 1970.
    pub(super) undone_at: Option<u64>,
}

impl Admin {
    /// Makes a change.
    pub(super) async fn apply(&self, change: &dyn Change, request: &Request) -> Result<Done, Refused> {
        let _turn = self.writing.lock().await;
        for attempt in 1..=TRIES {
            if self.finish_journal().await? {
                continue;
            }
            match self.try_apply(change, request).await {
                Err(Refused::Store(StoreError::Conflict)) => {
                    // Another gateway was faster. Of two that keep meeting, one waits longer.
                    tokio::time::sleep(Duration::from_millis(rand::random_range(0..10) * u64::from(attempt))).await;
                }
                made => return made,
            }
        }
        Err(StoreError::Conflict.into())
    }

    async fn try_apply(&self, change: &dyn Change, request: &Request) -> Result<Done, Refused> {
        let head_key = self.key(HEAD);
        // Read first: a write between this and the plan's own reads is a conflict.
        let read = self.deps.store.get(&head_key).await?;
        let head: Head = read.as_ref().and_then(|kv| serde_json::from_slice(&kv.value).ok()).unwrap_or_default();
        let mut plan = change.plan(self, head).await?;
        let written = plan.written(&self.deps.data_prefix);
        let mut done = Done { revision: head.revision, stored: None, written, undone_at: None };
        if request.is_dry_run || (plan.writes.is_empty() && plan.beside.is_empty()) {
            return Ok(done);
        }
        self.check_awaited(&plan, &done.written).await?;
        plan.expect(&head_key, read.as_ref());
        // A large change may have been begun after this looked for one and before it read the head.
        plan.demand(Guard::Absent(self.key(JOURNAL)));
        let mut record = Record {
            revision: head.revision + u64::from(!done.written.is_empty()),
            time: now_ms(),
            author: request.author.clone(),
            reason: request.reason.clone(),
            restored: plan.restores,
            written: std::mem::take(&mut done.written),
        };
        done.revision = record.revision;
        if plan.is_large() {
            done.undone_at = request.confirm_within.map(|within| until(record.time, within));
            let (guard, steps) = plan.into_steps(&head_key, read.as_ref())?;
            done.stored = Some(self.begin_journal(guard, head, &record, request.confirm_within, steps).await?);
        } else {
            let (mut ops, undone_at) = self.record(&record, request.confirm_within).await?;
            done.undone_at = undone_at;
            ops.extend(plan.writes.into_iter().map(Write::op));
            ops.extend(plan.beside);
            done.stored = Some(self.deps.store.txn(plan.guards, ops).await?);
        }
        done.written = std::mem::take(&mut record.written);
        Ok(done)
    }

    /// What is written beside a change: the new head, the record of it, and the wait for its
    /// confirmation, which ends at the time that is returned.
    pub(super) async fn record(
        &self,
        record: &Record,
        confirm_within: Option<Duration>,
    ) -> Result<(Vec<Op>, Option<u64>), Refused> {
        let head = Head { revision: record.revision, time: record.time };
        let mut ops = vec![Op::put(self.key(HEAD), json(&head))];
        if record.written.is_empty() {
            return Ok((ops, None));
        }
        let encoded = record.encode().map_err(|e| Refused::Change(format!("no record can be made of it: {e}")))?;
        ops.push(Op::put(self.key(&Record::key(record.revision)), encoded));
        if let Some(old) = record.revision.checked_sub(KEPT).filter(|old| *old > 0) {
            // One that may have to be undone is kept until that is decided.
            if self.deps.store.get(&self.key(&Pending::key(old))).await?.is_none() {
                ops.push(Op::delete(self.key(&Record::key(old))));
            }
        }
        let Some(within) = confirm_within else { return Ok((ops, None)) };
        let pending = Pending::of(record, until(now_ms(), within));
        let lease = Lease::Attach(self.deps.store.grant_lease(within).await?);
        let awaited = self.key(&Pending::awaited_key(pending.revision));
        ops.push(Op::put(self.key(&Pending::key(pending.revision)), json(&pending)));
        ops.push(Op::Put { key: awaited, value: "{}".into(), lease });
        Ok((ops, Some(pending.until)))
    }

    /// Refuses to write what waits to be confirmed: undoing that would undo this too, or this that.
    async fn check_awaited(&self, plan: &Plan, written: &[Written]) -> Result<(), Refused> {
        for kv in self.deps.store.list(&self.key(PENDING)).await?.entries {
            let Ok(pending) = serde_json::from_slice::<Pending>(&kv.value) else { continue };
            if plan.undoes == Some(pending.revision) {
                continue;
            }
            if let Some(both) = written.iter().find(|written| pending.keys.contains(&written.key)) {
                return Err(Refused::Awaited { key: both.key.clone(), revision: pending.revision });
            }
        }
        Ok(())
    }

    /// The dry run, on the object as it would be stored.
    pub(super) fn check(&self, relative_key: &str, value: &[u8]) -> Result<(), Refused> {
        (self.deps.check)(relative_key, value).map_err(Refused::Invalid)
    }
}

fn until(time: u64, within: Duration) -> u64 {
    time.saturating_add(u64::try_from(within.as_millis()).unwrap_or(u64::MAX))
}

/// These types always have a JSON form.
fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// Milliseconds since 1970, as the first gateway's `ngx.now()*1000`.
pub(super) fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
