//! How the Admin API writes: it plans a change from what it reads, and applies it in one guarded
//! transaction that also bumps `gw/head`; if anything it read has changed since, it plans anew.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;

use super::Admin;
use crate::resource::key::HEAD;
use crate::store::{Guard, Kv, Op, SharedStore, StoreError};

/// How often a change is planned before it is given up.
const TRIES: u32 = 5;

/// Why a change was not made. Displays as the reason for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// It is not valid, or clashes with what is there.
    #[error("{0}")]
    Change(String),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What must hold, and what is then written.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) guards: Vec<Guard>,
    pub(super) ops: Vec<Op>,
}

impl Plan {
    /// Demands that a key is as it was read.
    pub(super) fn expect(&mut self, key: &str, read: Option<&Kv>) {
        self.guards.push(match read {
            Some(kv) => Guard::ModRevision(key.to_owned(), kv.mod_revision),
            None => Guard::Absent(key.to_owned()),
        });
    }
}

/// A change an operator wants.
#[async_trait]
pub(super) trait Change: Sync {
    /// Reads what it needs and plans. Without writes there is nothing to do.
    async fn plan(&self, admin: &Admin) -> Result<Plan, Refused>;
}

impl Admin {
    /// Makes a change.
    pub(super) async fn apply(&self, change: &dyn Change) -> Result<(), Refused> {
        let _turn = self.writing.lock().await;
        let store: &SharedStore = &self.deps.store;
        let head = self.key(HEAD);
        for attempt in 1..=TRIES {
            // Read first: a write between this and the plan's own reads is a conflict.
            let read = store.get(&head).await?;
            let mut plan = change.plan(self).await?;
            if plan.ops.is_empty() {
                return Ok(());
            }
            plan.expect(&head, read.as_ref());
            plan.ops.push(Op::put(head.clone(), json!({"time": now_ms()}).to_string()));
            match store.txn(plan.guards, plan.ops).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict) => {
                    // Another gateway was faster. Of two that keep meeting, one waits longer.
                    tokio::time::sleep(Duration::from_millis(rand::random_range(0..10) * u64::from(attempt))).await;
                }
                Err(e) => return Err(e.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// The dry run, on the object as it would be stored.
    pub(super) fn check(&self, relative_key: &str, value: &[u8]) -> Result<(), Refused> {
        (self.deps.check)(relative_key, value).map_err(|invalid| Refused::Change(invalid.to_string()))
    }
}

/// Milliseconds since 1970, as the first gateway's `ngx.now()*1000`.
pub(super) fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
