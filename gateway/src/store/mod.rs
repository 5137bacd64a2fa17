//! Where declarations live: bytes under keys with revisions, in etcd or in an embedded database.
//!
//! Knows keys, bytes, revisions and leases, and nothing of what they mean. Both stores keep the
//! same promises and the same limits; `conformance` is one suite that runs against both.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

#[cfg(test)]
mod conformance;
pub mod embedded;
pub mod etcd;
mod prefix;

/// The number of a write. Grows by one with every transaction of a store.
pub type Revision = u64;

/// The name of a lease within its store. Never 0.
pub type LeaseId = i64;

/// Most operations (guards and writes each) in a transaction.
pub const MAX_TXN_OPS: usize = 100;
/// Most bytes of keys and values together in a transaction.
pub const MAX_TXN_BYTES: usize = 1 << 20;
/// Longest key in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// A key as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kv {
    /// The whole key.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// The revision that created the key (after its last deletion).
    pub create_revision: Revision,
    /// The revision that last wrote the key.
    pub mod_revision: Revision,
    /// The lease the key ends with.
    pub lease: Option<LeaseId>,
}

/// All keys under a prefix at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The revision the listing was taken at.
    pub revision: Revision,
    /// In key order.
    pub entries: Vec<Kv>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A key was written.
    Put(Kv),
    /// A key was deleted, or its lease expired.
    Delete {
        /// The whole key.
        key: String,
        /// The revision of the deletion.
        revision: Revision,
    },
}

impl Event {
    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(kv) => &kv.key,
            Self::Delete { key, .. } => key,
        }
    }
}

/// What a watch yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchItem {
    /// Changes after what was yielded before, in order, none left out. A transaction is never
    /// split over two items.
    Events {
        /// The revision of the last of them.
        revision: Revision,
        /// The changes.
        events: Vec<Event>,
    },
    /// The whole content: at the start, and whenever changes may have been missed (compaction, a
    /// cancelled watch, a restored store). Replaces all that was yielded before.
    Resync(Listing),
    /// The store cannot be reached; what was yielded before may be out of date. Yielded once for
    /// each outage. `Connected`, `Resync` or `Events` ends it.
    Disconnected {
        /// Why, for an operator.
        reason: String,
    },
    /// The store is reached again and nothing was missed.
    Connected,
}

/// What must hold for a transaction to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// The key does not exist.
    Absent(String),
    /// The key exists and was last written by this revision.
    ModRevision(String, Revision),
}

impl Guard {
    fn key(&self) -> &str {
        match self {
            Self::Absent(key) | Self::ModRevision(key, _) => key,
        }
    }
}

/// The lease a written key gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lease {
    /// None: the key stays until it is deleted.
    #[default]
    None,
    /// The one the key has now, if it has one.
    Keep,
    /// This one.
    Attach(LeaseId),
}

/// One write of a transaction. A key may be written once in a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a key.
    Put {
        /// The whole key.
        key: String,
        /// The value.
        value: Bytes,
        /// Its lease.
        lease: Lease,
    },
    /// Deletes a key; one that does not exist is no error.
    Delete(String),
}

impl Op {
    /// Writes a key without a lease.
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease: Lease::None }
    }

    /// Deletes a key.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete(key.into())
    }

    fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete(key) => key,
        }
    }
}

/// Why a store did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A guard did not hold; nothing was written.
    #[error("the key was changed by someone else")]
    Conflict,
    /// The store cannot be reached or cannot answer now. A write may or may not have happened.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store is full (etcd NOSPACE, disk full). Nothing was written.
    #[error("the store is full: {0}")]
    Full(String),
    /// The call broke a limit or a rule of the store. Nothing was written.
    #[error("{0}")]
    Invalid(String),
    /// The lease does not exist or has expired.
    #[error("lease {0} does not exist or has expired")]
    LeaseNotFound(LeaseId),
    /// The store refused the credentials, or they lack the right.
    #[error("the store refused access: {0}")]
    Denied(String),
}

/// A store's own account of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether a linearisable read was answered.
    pub ok: bool,
    /// The revision, when known.
    pub revision: Option<Revision>,
    /// What is wrong, or the kind and place of the store.
    pub detail: String,
}

/// A store of declarations.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads a key, linearisably.
    async fn get(&self, key: &str) -> Result<Option<Kv>, StoreError>;

    /// Reads all keys that begin with `prefix`, linearisably and at one revision.
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError>;

    /// Whether [`Store::list_at`] tells what was. The embedded store does not: nobody writes past us.
    fn knows_its_past(&self) -> bool {
        false
    }

    /// What was under the prefixes, which do not overlap, at an earlier revision. `None` when the store
    /// does not know that, or not any more.
    async fn list_at(&self, prefixes: Vec<String>, revision: Revision) -> Result<Option<Vec<Kv>>, StoreError> {
        let _ = (prefixes, revision);
        Ok(None)
    }

    /// Applies all of `ops`, or, when one of `guards` does not hold, none. Returns the revision of
    /// the transaction. Without ops it only checks the guards and returns the store's revision.
    async fn txn(&self, guards: Vec<Guard>, ops: Vec<Op>) -> Result<Revision, StoreError>;

    /// All keys under the prefixes, then their changes, without end: it reconnects and resyncs by
    /// itself. The first item is a `Resync`, or a `Disconnected` when the store cannot be reached.
    /// Dropping the stream ends the watch.
    fn watch(&self, prefixes: Vec<String>) -> BoxStream<'static, WatchItem>;

    /// Creates a lease that expires `ttl` after the last renewal. Whole seconds, at least 1 s.
    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Renews a lease and returns the time it has left now.
    async fn renew_lease(&self, lease: LeaseId) -> Result<Duration, StoreError>;

    /// How long a lease has left, without renewing it.
    async fn lease_left(&self, lease: LeaseId) -> Result<Duration, StoreError>;

    /// Ends a lease and deletes its keys. One that does not exist is no error.
    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Whether the store works.
    async fn health(&self) -> Health;
}

/// A store, shared.
pub type SharedStore = Arc<dyn Store>;

/// Checks the limits that both stores keep.
///
/// # Errors
/// `Invalid` naming the limit that was broken.
pub fn check_txn(guards: &[Guard], ops: &[Op]) -> Result<(), StoreError> {
    for (what, count) in [("guards", guards.len()), ("writes", ops.len())] {
        if count > MAX_TXN_OPS {
            return Err(StoreError::Invalid(format!(
                "a transaction has at most {MAX_TXN_OPS} {what}, this one has {count}"
            )));
        }
    }
    let mut bytes = 0;
    let mut seen = std::collections::HashSet::new();
    for op in ops {
        check_key(op.key())?;
        if !seen.insert(op.key()) {
            return Err(StoreError::Invalid(format!("key \"{}\" is written twice in one transaction", op.key())));
        }
        bytes += op.key().len() + if let Op::Put { value, .. } = op { value.len() } else { 0 };
    }
    for guard in guards {
        check_key(guard.key())?;
    }
    if bytes > MAX_TXN_BYTES {
        return Err(StoreError::Invalid(format!(
            "a transaction writes at most {MAX_TXN_BYTES} bytes, this one {bytes}"
        )));
    }
    Ok(())
}

/// Checks a key against the rules both stores keep.
///
/// # Errors
/// `Invalid` for an empty or too long key.
pub fn check_key(key: &str) -> Result<(), StoreError> {
    match key.len() {
        0 => Err(StoreError::Invalid("a key must not be empty".into())),
        n if n > MAX_KEY_BYTES => {
            Err(StoreError::Invalid(format!("a key has at most {MAX_KEY_BYTES} bytes, this one has {n}")))
        }
        _ => Ok(()),
    }
}

/// The time to live of a lease in the whole seconds both stores count in, rounded up.
fn lease_seconds(ttl: Duration) -> Result<u64, StoreError> {
    /// etcd's limit.
    const MAX: u64 = 9_000_000_000;
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    match seconds {
        0 => Err(StoreError::Invalid("a lease lasts at least 1 s".into())),
        1..=MAX => Ok(seconds),
        _ => Err(StoreError::Invalid(format!("a lease lasts at most {MAX} s, this one {seconds}"))),
    }
}
