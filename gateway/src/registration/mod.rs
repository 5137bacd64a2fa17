//! Nodes that services register: keys that end with a lease of their own. One set of rules for the
//! Admin API and for the command line, on either store.
//!
//! The state is all in the store: the node's key has its lease, and the node says how long that
//! lasts. So a service needs to remember nothing, and any gateway takes its heartbeat.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt as _;
use futures::stream;
use serde_json::{Map, Value, json};

use crate::resource::key;
use crate::store::{Guard, Kv, Lease, LeaseId, Op, SharedStore, StoreError};

#[cfg(test)]
mod tests;

/// How long a node stays without a heartbeat, unless it says.
pub const DEFAULT_TTL: Duration = Duration::from_secs(10);
/// The bounds of a time to live.
pub const MIN_TTL: Duration = Duration::from_secs(1);
/// The bounds of a time to live.
pub const MAX_TTL: Duration = Duration::from_secs(60 * 60);

/// Most nodes of a service that registrations add to.
const MAX_NODES: usize = 1000;
/// How often a write is tried anew because the key was changed under it.
const TRIES: usize = 5;
/// How many leases are asked for at the same time.
const LEASES_AT_ONCE: usize = 16;
/// The field of a node that says that its lease is its own, and what it was granted.
const FIELD: &str = "registration";

/// A node as its service wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    service: String,
    upstream: String,
    /// Its share of the requests.
    pub weight: u32,
    /// Whether it takes requests.
    pub enabled: bool,
    /// How long it stays without a heartbeat. Counted in whole seconds, rounded up.
    pub ttl: Duration,
    /// Whether it may take the place of a node that an operator set.
    pub replace: bool,
}

/// A node that is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Whether it was not there before.
    pub created: bool,
    /// How long it stays without a heartbeat.
    pub left: Duration,
}

/// A node of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The stored node.
    pub node: Map<String, Value>,
    /// What its lease was granted, if it registered here and not straight in the store.
    pub ttl: Option<Duration>,
    /// How long it stays without a heartbeat, if the store could say.
    pub left: Option<Duration>,
}

/// Why a registration was not made, renewed or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The key has no lease.
    #[error("{0} is a permanent node that an operator set; replace it, or remove it there")]
    Permanent(String),
    /// There is no such node, or its lease has ended.
    #[error("{0} is not registered (its lease has ended, or it never was); register again")]
    NotRegistered(String),
    /// The service has as many nodes as it may.
    #[error("{0} has {MAX_NODES} nodes already, which is the most that may register")]
    TooMany(String),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Registration {
    /// A node with the default weight and time to live.
    #[must_use]
    pub fn new(service: &str, upstream: &str) -> Self {
        Self {
            service: service.trim().to_owned(),
            upstream: upstream.trim().to_owned(),
            weight: 1,
            enabled: true,
            ttl: DEFAULT_TTL,
            replace: false,
        }
    }

    /// Its key, without the data prefix.
    #[must_use]
    pub fn key(&self) -> String {
        relative_key(&self.service, &self.upstream)
    }

    /// What is stored of it.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        Value::Object(self.object()).to_string().into_bytes()
    }

    fn object(&self) -> Map<String, Value> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let object = json!({
            "key": key::node(&self.service, &self.upstream),
            "service_name": self.service,
            "upstream": self.upstream,
            "weight": self.weight,
            "status": u8::from(self.enabled),
            "time": u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            FIELD: {"ttl": whole_seconds(self.ttl)},
        });
        let Value::Object(object) = object else { unreachable!("an object, as written above") };
        object
    }

    /// Whether a stored node is this one; when it was written does not matter.
    fn is(&self, kv: &Kv) -> bool {
        let Ok(mut stored) = serde_json::from_slice::<Map<String, Value>>(&kv.value) else { return false };
        let mut wanted = self.object();
        stored.remove("time");
        wanted.remove("time");
        stored == wanted
    }
}

/// Registers nodes in a store.
#[derive(Clone)]
pub struct Registrar {
    store: SharedStore,
    prefix: String,
}

impl Registrar {
    /// Registers under a data prefix.
    #[must_use]
    pub fn new(store: SharedStore, prefix: &str) -> Self {
        Self { store, prefix: prefix.to_owned() }
    }

    /// Registers a node, or renews its lease when it is registered just so.
    ///
    /// # Errors
    /// When an operator set the node and it is not to be replaced, or the store fails.
    pub async fn register(&self, wanted: &Registration) -> Result<Registered, Refused> {
        let key = format!("{}{}", self.prefix, wanted.key());
        for _ in 0..TRIES {
            let found = self.store.get(&key).await?;
            if let Some(kv) = &found {
                match kv.lease {
                    None if !wanted.replace => return Err(Refused::Permanent(self.name(&key))),
                    Some(lease) if wanted.is(kv) => match self.store.renew_lease(lease).await {
                        Ok(left) => return Ok(Registered { created: false, left }),
                        // It ended just now; its key goes with it.
                        Err(StoreError::LeaseNotFound(_)) => {}
                        Err(e) => return Err(e.into()),
                    },
                    _ => {}
                }
            } else {
                self.check_room(&wanted.service).await?;
            }
            if let Some(registered) = self.write(&key, wanted, found.as_ref()).await? {
                return Ok(registered);
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Writes the node with a lease of its own. `None` when the key is not as it was found.
    async fn write(
        &self,
        key: &str,
        wanted: &Registration,
        found: Option<&Kv>,
    ) -> Result<Option<Registered>, StoreError> {
        let lease = self.store.grant_lease(wanted.ttl).await?;
        let guard = match found {
            Some(kv) => Guard::ModRevision(key.to_owned(), kv.mod_revision),
            None => Guard::Absent(key.to_owned()),
        };
        let put = Op::Put { key: key.to_owned(), value: wanted.value().into(), lease: Lease::Attach(lease) };
        match self.store.txn(vec![guard], vec![put]).await {
            Ok(_) => {
                if let Some(old) = found.and_then(own_lease) {
                    self.forget(old).await;
                }
                Ok(Some(Registered { created: found.is_none(), left: wanted.ttl }))
            }
            Err(StoreError::Conflict | StoreError::LeaseNotFound(_)) => {
                self.forget(lease).await;
                Ok(None)
            }
            Err(e) => {
                self.forget(lease).await;
                Err(e)
            }
        }
    }

    /// Renews the lease of a node.
    ///
    /// # Errors
    /// `NotRegistered` when there is none; the node has to be registered again.
    pub async fn heartbeat(&self, service: &str, upstream: &str) -> Result<Duration, Refused> {
        let key = self.key(service, upstream);
        let Some(kv) = self.store.get(&key).await? else { return Err(Refused::NotRegistered(self.name(&key))) };
        let lease = kv.lease.ok_or_else(|| Refused::Permanent(self.name(&key)))?;
        self.store.renew_lease(lease).await.map_err(|e| match e {
            StoreError::LeaseNotFound(_) => Refused::NotRegistered(self.name(&key)),
            e => e.into(),
        })
    }

    /// Removes a node that registered; one that is not there is no error.
    ///
    /// # Errors
    /// When an operator set the node, or the store fails.
    pub async fn remove(&self, service: &str, upstream: &str) -> Result<(), Refused> {
        let key = self.key(service, upstream);
        for _ in 0..TRIES {
            let Some(kv) = self.store.get(&key).await? else { return Ok(()) };
            if kv.lease.is_none() {
                return Err(Refused::Permanent(self.name(&key)));
            }
            // The lease has no other key, and takes this one with it.
            if let Some(lease) = own_lease(&kv) {
                return Ok(self.store.revoke_lease(lease).await?);
            }
            let guard = Guard::ModRevision(key.clone(), kv.mod_revision);
            match self.store.txn(vec![guard], vec![Op::delete(key.clone())]).await {
                Err(StoreError::Conflict) => {}
                result => return Ok(result.map(drop)?),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// The nodes that registered, of one service or of all, in key order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, service: Option<&str>) -> Result<Vec<Listed>, StoreError> {
        let family = format!("{}{}", self.prefix, key::NODES);
        let prefix = service.map_or_else(|| family.clone(), |service| format!("{family}{}.", service.trim()));
        let listing = self.store.list(&prefix).await?;
        let leased = listing.entries.into_iter().filter_map(|kv| {
            let id = kv.key.strip_prefix(&family)?;
            // `a.` also begins the keys of a service `a.b`.
            let of_service = service.is_none_or(|service| key::service_of_node(id) == Some(service.trim()));
            let mut node: Map<String, Value> = serde_json::from_slice(&kv.value).ok()?;
            node.insert("key".into(), id.into());
            of_service.then_some((kv.lease?, node))
        });
        let listed = stream::iter(leased).map(|(lease, node)| async move {
            let left = self.store.lease_left(lease).await.inspect_err(|e| log::debug!("lease {lease}: {e}")).ok();
            Listed { ttl: own_ttl(&node), node, left }
        });
        Ok(listed.buffered(LEASES_AT_ONCE).collect().await)
    }

    async fn check_room(&self, service: &str) -> Result<(), Refused> {
        let nodes = self.store.list(&format!("{}{}{service}.", self.prefix, key::NODES)).await?;
        if nodes.entries.len() < MAX_NODES {
            Ok(())
        } else {
            Err(Refused::TooMany(format!("the service \"{service}\"")))
        }
    }

    /// Ends a lease that has no key any more. One that is left behind ends by itself.
    async fn forget(&self, lease: LeaseId) {
        if let Err(e) = self.store.revoke_lease(lease).await {
            log::debug!("lease {lease} ends by itself: {e}");
        }
    }

    fn key(&self, service: &str, upstream: &str) -> String {
        format!("{}{}", self.prefix, relative_key(service, upstream))
    }

    fn name(&self, key: &str) -> String {
        key.strip_prefix(&self.prefix).unwrap_or(key).to_owned()
    }
}

fn relative_key(service: &str, upstream: &str) -> String {
    format!("{}{}", key::NODES, key::node(service, upstream))
}

/// The lease of a node, if it was granted for this node alone.
fn own_lease(kv: &Kv) -> Option<LeaseId> {
    let node: Map<String, Value> = serde_json::from_slice(&kv.value).ok()?;
    own_ttl(&node).and(kv.lease)
}

fn own_ttl(node: &Map<String, Value>) -> Option<Duration> {
    node.get(FIELD)?.get("ttl")?.as_u64().map(Duration::from_secs)
}

fn whole_seconds(ttl: Duration) -> u64 {
    ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)
}
