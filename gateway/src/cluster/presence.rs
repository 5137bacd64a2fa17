//! Keeps this gateway's report in the store. It is written anew only when something has changed; that
//! the gateway lives is what its lease says.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::watch;

use super::{Cluster, EVERY, LEASE, Listed, Member, STALE};
use crate::resource::key::PEER_SECRET;
use crate::store::{Guard, Lease, LeaseId, Op, StoreError};

/// How soon it is tried again when the store did not do it.
const RETRY: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the store.
const FAREWELL: Duration = Duration::from_secs(1);
/// Leases that are asked for at the same time, and how long they are waited for.
const ASKED_AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(2);

/// What is in the store.
#[derive(Default)]
struct Written {
    lease: Option<LeaseId>,
    value: Vec<u8>,
}

impl Cluster {
    /// Keeps the report until `shutdown` says so (or is dropped), and takes it away then.
    pub async fn keep(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let mut written = Written::default();
        loop {
            let next = match self.write(&mut written).await {
                Ok(()) => EVERY,
                Err(e) => {
                    log::debug!("this gateway cannot report itself: {e}");
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(next) => {}
                _ = shutdown.wait_for(|stop| *stop) => break,
            }
        }
        if let Some(lease) = written.lease {
            let revoked = tokio::time::timeout(FAREWELL, self.store.revoke_lease(lease)).await;
            if !matches!(revoked, Ok(Ok(()))) {
                log::debug!("this gateway's report stays until its lease ends");
            }
        }
    }

    async fn write(&self, written: &mut Written) -> Result<(), StoreError> {
        if let Some(lease) = written.lease {
            match self.store.renew_lease(lease).await {
                Ok(_) => {}
                Err(StoreError::LeaseNotFound(_)) => *written = Written::default(),
                Err(e) => return Err(e),
            }
        }
        let lease = match written.lease {
            Some(lease) => lease,
            None => *written.lease.insert(self.store.grant_lease(LEASE).await?),
        };
        // Both may be gone from a store that was emptied.
        let (is_listed, has_secret) = self.read(|known| (known.members.contains_key(&self.id), known.secret.is_some()));
        if !has_secret {
            self.make_secret().await?;
        }
        let value = self.own_report().to_bytes();
        if value != written.value || !is_listed {
            let (key, value) = (self.key(&self.id), value.clone());
            let put = Op::Put { key, value: value.into(), lease: Lease::Attach(lease) };
            self.store.txn(Vec::new(), vec![put]).await?;
        }
        written.value = value;
        Ok(())
    }

    /// The first gateway of a store makes the secret, and all of them use that.
    pub(super) async fn make_secret(&self) -> Result<(), StoreError> {
        let key = format!("{}{PEER_SECRET}", self.prefix);
        let secret = serde_json::json!({"secret": hex::encode(rand::random::<[u8; 32]>())}).to_string();
        match self.store.txn(vec![Guard::Absent(key.clone())], vec![Op::put(key, secret)]).await {
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// The other gateways, and since when each was not heard of.
    pub(super) async fn others_with_silence(&self) -> Vec<Member> {
        let asked = self.others().into_iter().map(|(id, listed)| self.silence_of(id, listed));
        let members: Vec<_> = futures::stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await;
        members.into_iter().flatten().collect()
    }

    /// `None` for one whose lease has ended just now.
    async fn silence_of(&self, id: String, listed: Listed) -> Option<Member> {
        let left = match listed.lease {
            Some(lease) => tokio::time::timeout(PATIENCE, self.store.lease_left(lease)).await.ok(),
            // Nobody writes it so; then nothing is known of it.
            None => None,
        };
        let silent = match left {
            Some(Err(StoreError::LeaseNotFound(_))) => return None,
            Some(Ok(left)) => Some(LEASE.saturating_sub(left)),
            _ => None,
        };
        let stale = silent.is_none_or(|silent| silent > STALE);
        Some(Member { id, report: listed.report, silent, stale })
    }
}
