//! Registers straight in etcd: the node's key with a lease, as the first gateway reads it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use etcd_client::{Client, Compare, CompareOp, ConnectOptions, PutOptions, Txn, TxnOp};
use md5::{Digest as _, Md5};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::{Error, Node, Registry};

/// Longest time for one of etcd's answers. Without it a frozen etcd is waited for for ever.
const DEADLINE: Duration = Duration::from_secs(5);

/// How to reach etcd.
#[derive(Clone)]
pub struct EtcdOptions {
    /// URLs of one or more members. One is used until it fails, then the next.
    pub endpoints: Vec<String>,
    /// User and password, when etcd has authentication on.
    pub login: Option<(String, String)>,
    /// What the gateway's keys begin with. Default `/my/cloud/`.
    pub data_prefix: String,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        let endpoints = vec!["http://127.0.0.1:2379".into()];
        Self { endpoints, login: None, data_prefix: "/my/cloud/".into() }
    }
}

impl std::fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdOptions")
            .field("endpoints", &self.endpoints)
            .field("data_prefix", &self.data_prefix)
            .finish_non_exhaustive()
    }
}

/// An etcd that the gateways watch.
pub struct Etcd {
    options: EtcdOptions,
    /// Index of the endpoint in use.
    endpoint: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `None` before the first call and after one that failed.
    client: Option<Client>,
    /// The lease of the node, which has no other.
    lease: Option<i64>,
}

impl Etcd {
    /// Prepares; connects with the first call.
    ///
    /// # Errors
    /// `Refused` without endpoints.
    pub fn new(options: EtcdOptions) -> Result<Self, Error> {
        if options.endpoints.is_empty() {
            return Err(Error::Refused("an endpoint of etcd is needed, such as http://127.0.0.1:2379".into()));
        }
        Ok(Self { options, endpoint: AtomicUsize::new(0), state: Mutex::default() })
    }

    async fn client(&self, state: &mut State) -> Result<Client, Error> {
        if let Some(client) = &state.client {
            return Ok(client.clone());
        }
        let index = self.endpoint.load(Ordering::Relaxed) % self.options.endpoints.len();
        let mut options = ConnectOptions::new()
            .with_connect_timeout(Duration::from_secs(2))
            .with_keep_alive(Duration::from_secs(3), Duration::from_secs(2))
            .with_require_leader(true);
        if let Some((user, password)) = &self.options.login {
            options = options.with_user(user, password);
        }
        let client =
            Client::connect([&self.options.endpoints[index]], Some(options)).await.map_err(|e| unavailable(&e))?;
        state.client = Some(client.clone());
        Ok(client)
    }

    /// One endpoint's answer in time; after a failure the next call asks another.
    async fn within<T>(&self, state: &mut State, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let answer =
            timeout(DEADLINE, call).await.unwrap_or_else(|_| Err(Error::Unavailable("etcd did not answer".into())));
        if matches!(answer, Err(Error::Unavailable(_))) {
            state.client = None;
            self.endpoint.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    fn key(&self, node: &Node) -> String {
        format!("{}discovery/{}", self.options.data_prefix, id(node))
    }
}

#[async_trait]
impl Registry for Etcd {
    async fn register(&self, node: &Node) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let lease = state.lease;
        let client = self.client(&mut state).await;
        let renewed = self.within(&mut state, async { renew(client?, &self.key(node), lease, node).await }).await?;
        state.lease = Some(renewed);
        Ok(())
    }

    async fn remove(&self, _: &Node) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let Some(lease) = state.lease else { return Ok(()) };
        let client = self.client(&mut state).await;
        // The lease has no other key. Its end is the node's, unless the key has moved on meanwhile.
        self.within(&mut state, async {
            match client?.lease_revoke(lease).await {
                Err(e) if !is_gone(&e) => Err(unavailable(&e)),
                _ => Ok(()),
            }
        })
        .await?;
        state.lease = None;
        Ok(())
    }
}

/// Renews the node's lease, or writes the node anew when lease or key are gone. Returns the lease.
async fn renew(mut client: Client, key: &str, lease: Option<i64>, node: &Node) -> Result<i64, Error> {
    let found = client.get(key, None).await.map_err(|e| unavailable(&e))?;
    let found = found.kvs().first();
    if let (Some(lease), Some(kv)) = (lease, found)
        && kv.lease() == lease
        && beat(&mut client, lease).await?
    {
        return Ok(lease);
    }
    let unchanged = match found {
        Some(kv) if kv.lease() == 0 && !node.replace => {
            return Err(Error::Refused(format!("{key} is a permanent node that an operator set")));
        }
        Some(kv) => Compare::mod_revision(key, CompareOp::Equal, kv.mod_revision()),
        None => Compare::create_revision(key, CompareOp::Equal, 0),
    };
    let ttl = ttl(node);
    let lease = client.lease_grant(ttl, None).await.map_err(|e| unavailable(&e))?.id();
    let put = TxnOp::put(key, value(node, ttl), Some(PutOptions::new().with_lease(lease)));
    let written = client.txn(Txn::new().when([unchanged]).and_then([put])).await.map_err(|e| unavailable(&e))?;
    if written.succeeded() { Ok(lease) } else { Err(Error::Unavailable(format!("{key} was changed by someone else"))) }
}

/// Whether the lease still lives.
async fn beat(client: &mut Client, lease: i64) -> Result<bool, Error> {
    let (mut keeper, mut answers) = match client.lease_keep_alive(lease).await {
        Err(e) if is_gone(&e) => return Ok(false),
        opened => opened.map_err(|e| unavailable(&e))?,
    };
    keeper.keep_alive().await.map_err(|e| unavailable(&e))?;
    let answer = answers.message().await.map_err(|e| unavailable(&e))?;
    Ok(answer.is_some_and(|answer| answer.ttl() > 0))
}

/// etcd says so of a lease it does not know, in more than one way.
fn is_gone(error: &etcd_client::Error) -> bool {
    error.to_string().contains("lease not found")
}

fn unavailable(error: &etcd_client::Error) -> Error {
    Error::Unavailable(format!("etcd: {error}"))
}

fn ttl(node: &Node) -> i64 {
    let seconds = node.ttl.as_secs() + u64::from(node.ttl.subsec_nanos() > 0);
    i64::try_from(seconds).unwrap_or(i64::MAX).max(1)
}

/// `<service>.<md5(service + upstream)>`, as the first gateway names nodes.
fn id(node: &Node) -> String {
    let (service, upstream) = (node.service.trim(), node.upstream.trim());
    format!("{service}.{}", hex::encode(Md5::digest(format!("{service}{upstream}"))))
}

fn value(node: &Node, ttl: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({
        "key": id(node),
        "service_name": node.service.trim(),
        "upstream": node.upstream.trim(),
        "weight": node.weight,
        "status": 1,
        "time": u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        "registration": {"ttl": ttl},
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_the_first_gateways_key() {
        let node = Node::new("demo1", " 127.0.0.1:1024 ");
        assert_eq!(id(&node), "demo1.33f075d48985fe1b26061756cd53593c");
    }
}
