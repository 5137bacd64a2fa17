//! The store of a cluster: etcd 3.4 or newer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{GetOptions, LeaseTimeToLiveResponse, Txn, TxnOp, TxnOpResponse, TxnResponse};
use futures::stream::BoxStream;

use super::{Guard, Health, Kv, Lease, LeaseId, Listing, Op, Revision, Store, StoreError, WatchItem};
use connect::{Endpoints, Retry};
use failure::Failure;
pub use options::{EtcdOptions, EtcdTls};
use read::Stamp;

mod connect;
mod failure;
mod options;
mod range;
mod read;
#[cfg(test)]
mod tests;
mod txn;
mod watch;

/// How often a large transaction is built anew because keys came or went under it.
const KEEP_ATTEMPTS: u32 = 5;

/// A store in etcd.
pub struct EtcdStore {
    endpoints: Arc<Endpoints>,
}

impl EtcdStore {
    /// Prepares the store. It connects with the first call, so etcd need not be there yet.
    ///
    /// # Errors
    /// `Invalid` naming the option that is wrong.
    pub fn connect(options: EtcdOptions) -> Result<Self, StoreError> {
        Ok(Self { endpoints: Arc::new(Endpoints::new(options)?) })
    }

    async fn apply(&self, guards: &[Guard], ops: &[Op]) -> Result<Revision, StoreError> {
        let lookup = txn::keys_to_look_up(ops);
        if lookup.is_empty() {
            let request = txn::request(guards, ops, None)?;
            return self.send(guards, ops, request).await?.ok_or(StoreError::Conflict);
        }
        let mut absent = self.absent(&lookup).await?;
        for _ in 0..KEEP_ATTEMPTS {
            let request = txn::request(guards, ops, Some(&absent))?;
            match self.send(guards, ops, request).await {
                Ok(Some(revision)) => return Ok(revision),
                // Whether a guard failed or what was looked up has changed shows another look.
                Ok(None) | Err(StoreError::Conflict) => {
                    let now = self.absent(&lookup).await?;
                    if now == absent {
                        return Err(StoreError::Conflict);
                    }
                    absent = now;
                }
                Err(e) => return Err(e),
            }
        }
        Err(StoreError::Conflict)
    }

    /// `None` when a guard did not hold.
    async fn send(&self, guards: &[Guard], ops: &[Op], request: Txn) -> Result<Option<Revision>, StoreError> {
        let retry = if txn::is_replayable(guards, ops) || ops.is_empty() { Retry::Always } else { Retry::NotDone };
        let answer = match self.send_txn(retry, request).await {
            Err(Failure::NoLease) => return Err(self.missing_lease(ops).await),
            answer => answer?,
        };
        let response = answer.value;
        if response.succeeded() {
            return Ok(Some(Stamp::of(response.header())?.revision));
        }
        if !answer.maybe_repeated || ops.is_empty() {
            return Ok(None);
        }
        // A try that got no answer may be what broke the guard.
        match self.revision_of(ops).await? {
            Some(revision) => Ok(Some(revision)),
            None => Err(StoreError::Unavailable("the connection to etcd broke during the write".into())),
        }
    }

    async fn send_txn(&self, retry: Retry, request: Txn) -> Result<connect::Answer<TxnResponse>, Failure> {
        self.endpoints
            .call(retry, |client| {
                let request = request.clone();
                async move { client.kv_client().max_decoding_message_size(read::MAX_ANSWER_BYTES).txn(request).await }
            })
            .await
    }

    /// The revision that did exactly `ops`, if they are what the store holds now.
    async fn revision_of(&self, ops: &[Op]) -> Result<Option<Revision>, StoreError> {
        let reads: Vec<_> = ops.iter().map(|op| TxnOp::get(op.key(), None)).collect();
        let response = self.send_txn(Retry::Always, Txn::new().and_then(reads)).await?.value;
        let mut revisions = BTreeSet::new();
        for (op, found) in ops.iter().zip(response.op_responses()) {
            let TxnOpResponse::Get(found) = found else { return Ok(None) };
            match (op, found.kvs().first()) {
                (Op::Put { value, .. }, Some(kv)) if kv.value() == value.as_ref() => {
                    revisions.insert(read::revision(kv.mod_revision()));
                }
                (Op::Delete(_), None) => {}
                _ => return Ok(None),
            }
        }
        // Of deletions alone nothing is left that tells whose they were.
        Ok(revisions.first().copied().filter(|_| revisions.len() == 1))
    }

    async fn absent(&self, keys: &BTreeSet<String>) -> Result<BTreeSet<String>, StoreError> {
        let options = GetOptions::new().with_keys_only();
        let reads: Vec<_> = keys.iter().map(|key| TxnOp::get(key.as_str(), Some(options.clone()))).collect();
        let response = self.send_txn(Retry::Always, Txn::new().and_then(reads)).await?.value;
        let found = response.op_responses().into_iter().map(|found| match found {
            TxnOpResponse::Get(found) => !found.kvs().is_empty(),
            _ => false,
        });
        Ok(keys.iter().zip(found).filter(|(_, found)| !found).map(|(key, _)| key.clone()).collect())
    }

    async fn ask_lease(&self, lease: LeaseId) -> Result<connect::Answer<LeaseTimeToLiveResponse>, Failure> {
        self.endpoints
            .call(Retry::Always, |client| async move { client.lease_client().time_to_live(lease, None).await })
            .await
    }

    /// etcd does not say which of the leases it misses.
    async fn missing_lease(&self, ops: &[Op]) -> StoreError {
        let leases: BTreeSet<LeaseId> = ops
            .iter()
            .filter_map(|op| match op {
                Op::Put { lease: Lease::Attach(lease), .. } => Some(*lease),
                _ => None,
            })
            .collect();
        let mut missing = leases.first().copied().unwrap_or_default();
        if leases.len() > 1 {
            for lease in leases {
                let left = self.ask_lease(lease).await;
                if left.is_ok_and(|left| left.value.ttl() < 0) {
                    missing = lease;
                    break;
                }
            }
        }
        StoreError::LeaseNotFound(missing)
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &str) -> Result<Option<Kv>, StoreError> {
        super::check_key(key)?;
        let response = read::get(&self.endpoints, key, None).await?;
        Ok(response.kvs().first().and_then(read::kv))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        Ok(read::list(&self.endpoints, &[prefix.to_owned()]).await?.0)
    }

    fn knows_its_past(&self) -> bool {
        true
    }

    async fn list_at(&self, prefixes: Vec<String>, revision: Revision) -> Result<Option<Vec<Kv>>, StoreError> {
        Ok(read::list_at(&self.endpoints, &prefixes, revision).await?)
    }

    async fn txn(&self, guards: Vec<Guard>, ops: Vec<Op>) -> Result<Revision, StoreError> {
        super::check_txn(&guards, &ops)?;
        self.apply(&guards, &ops).await
    }

    fn watch(&self, prefixes: Vec<String>) -> BoxStream<'static, WatchItem> {
        watch::stream(Arc::clone(&self.endpoints), prefixes)
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let seconds = super::lease_seconds(ttl)?;
        let seconds = i64::try_from(seconds).expect("the limit of lease_seconds is far below");
        // A lease granted twice costs nothing: nobody renews the first.
        let answer = self
            .endpoints
            .call(Retry::Always, |client| async move { client.lease_client().grant(seconds, None).await })
            .await?;
        Ok(answer.value.id())
    }

    async fn renew_lease(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        let answer = self
            .endpoints
            .call(Retry::Always, |client| async move {
                // The first renewal is the library's own and keeps its answer to itself.
                let (mut keeper, mut answers) = client.lease_client().keep_alive(lease).await?;
                keeper.keep_alive().await?;
                Ok(answers.message().await?.map(|answer| answer.ttl()))
            })
            .await;
        match answer.map(|answer| answer.value) {
            Ok(Some(left)) if left > 0 => Ok(Duration::from_secs(left.unsigned_abs())),
            Ok(Some(_)) | Err(Failure::NoLease) => Err(StoreError::LeaseNotFound(lease)),
            Ok(None) => Err(StoreError::Unavailable("etcd ended the renewal".into())),
            Err(e) => Err(e.into()),
        }
    }

    async fn lease_left(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        let left = self.ask_lease(lease).await?.value.ttl();
        // etcd says -1 of a lease that it does not know.
        u64::try_from(left).map(Duration::from_secs).map_err(|_| StoreError::LeaseNotFound(lease))
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        let answer =
            self.endpoints.call(Retry::Always, |client| async move { client.lease_client().revoke(lease).await }).await;
        match answer {
            Ok(_) | Err(Failure::NoLease) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    async fn health(&self) -> Health {
        let options = GetOptions::new().with_keys_only();
        let answer = read::get(&self.endpoints, "health", Some(options)).await;
        let answer = answer.and_then(|response| Stamp::of(response.header()));
        let place = format!("etcd at {}", self.endpoints.current());
        let revision = match answer {
            Ok(stamp) => Some(stamp.revision),
            // A user who may not read this key of all keys was answered nevertheless.
            Err(Failure::Final(StoreError::Denied(reason))) if reason.contains("permission denied") => None,
            Err(e) => return Health { ok: false, revision: None, detail: StoreError::from(e).to_string() },
        };
        // A full etcd still answers reads, but an operator has to know.
        let status = self
            .endpoints
            .call(Retry::Always, |client| async move { client.maintenance_client().status().await })
            .await;
        let alarms = status.map(|answer| answer.value.errors().join(", ")).unwrap_or_default();
        let detail = if alarms.is_empty() { place } else { format!("{place}, alarm: {alarms}") };
        Health { ok: true, revision, detail }
    }
}
