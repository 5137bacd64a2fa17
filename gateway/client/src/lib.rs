//! Registers a node of a service with ws-cloud-gateway, keeps it alive in the background, and takes
//! it away when it is closed or dropped.
//!
//! ```no_run
//! use std::time::Duration;
//! use ws_cloud_gateway_client::{Node, Registration};
//!
//! # async fn listen() -> Result<(), Box<dyn std::error::Error>> { Ok(()) }
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Listen first: requests come as soon as the node is registered.
//!     let node = Node::new("demo1", "10.0.0.5:8080").weight(10).ttl(Duration::from_secs(10));
//!     let token = std::env::var("GATEWAY_TOKEN")?;
//!     let registration = Registration::http(["http://10.0.0.1:12000"], &token, node).await?;
//!
//!     listen().await?;
//!     // First out of the gateway, then down.
//!     registration.close().await?;
//!     Ok(())
//! }
//! ```
//!
//! A gateway or etcd that is away is no error: the node is registered as soon as it is back, and
//! registered again whenever its lease was lost meanwhile. With the feature `etcd`,
//! `Registration::etcd` writes straight into etcd.

use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

#[cfg(feature = "etcd")]
mod etcd;
mod gateway;
mod keep;

pub use async_trait::async_trait;
#[cfg(feature = "etcd")]
pub use etcd::{Etcd, EtcdOptions};
pub use gateway::Gateways;

/// A node of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// The service.
    pub service: String,
    /// Where it listens: `ip:port`.
    pub upstream: String,
    /// Its share of the requests. Default 1.
    pub weight: u32,
    /// How long it stays in the gateway when this process dies. From 1 s to 1 h, default 10 s.
    pub ttl: Duration,
    /// Whether it takes the place of a node that an operator set. Default no.
    pub replace: bool,
}

impl Node {
    /// A node with the defaults.
    pub fn new(service: impl Into<String>, upstream: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            upstream: upstream.into(),
            weight: 1,
            ttl: Duration::from_secs(10),
            replace: false,
        }
    }

    /// With another share of the requests.
    #[must_use]
    pub fn weight(self, weight: u32) -> Self {
        Self { weight, ..self }
    }

    /// With another time to live.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// In the place of a node that an operator set, if there is one.
    #[must_use]
    pub fn replace(self, replace: bool) -> Self {
        Self { replace, ..self }
    }
}

/// Why a node was not registered or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// As long as nothing changes, trying again gives the same answer.
    #[error("{0}")]
    Refused(String),
    /// There was no answer, or one that may be another the next time.
    #[error("{0}")]
    Unavailable(String),
}

/// How a registration stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The node is registered.
    Registered,
    /// It could not be registered or renewed, and that is tried again. A node that was registered
    /// stays for the rest of its time to live.
    Failing(Error),
}

/// Where nodes are registered.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Registers a node, or renews it. Called again and again.
    async fn register(&self, node: &Node) -> Result<(), Error>;

    /// Removes a node; one that is not there is no error.
    async fn remove(&self, node: &Node) -> Result<(), Error>;
}

/// A node that is kept registered until this is closed or dropped.
#[derive(Debug)]
pub struct Registration {
    state: watch::Receiver<State>,
    // Dropped to say stop.
    stop: oneshot::Sender<()>,
    keeping: JoinHandle<Result<(), Error>>,
}

impl Registration {
    /// Registers with a gateway's Admin API: any of these URLs, such as `http://10.0.0.1:12000`,
    /// with an API token that may register nodes of the service.
    ///
    /// # Errors
    /// `Refused` when a URL or the node is wrong, or the token does not suffice.
    pub async fn http<U: AsRef<str>>(
        urls: impl IntoIterator<Item = U>,
        token: &str,
        node: Node,
    ) -> Result<Self, Error> {
        Self::start(Gateways::new(urls, token)?, node).await
    }

    /// Registers straight in etcd, under the data prefix `/my/cloud/`; `EtcdOptions` has more.
    ///
    /// # Errors
    /// `Refused` when an operator set the node.
    #[cfg(feature = "etcd")]
    pub async fn etcd<U: AsRef<str>>(endpoints: impl IntoIterator<Item = U>, node: Node) -> Result<Self, Error> {
        let endpoints = endpoints.into_iter().map(|e| e.as_ref().to_owned()).collect();
        Self::start(Etcd::new(EtcdOptions { endpoints, ..EtcdOptions::default() })?, node).await
    }

    /// Registers anywhere. Returns after the first try; if that got no answer, others follow in the
    /// background. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `Refused` when the first try was.
    pub async fn start(registry: impl Registry, node: Node) -> Result<Self, Error> {
        let first = match registry.register(&node).await {
            Ok(()) => State::Registered,
            Err(refused @ Error::Refused(_)) => return Err(refused),
            Err(e) => State::Failing(e),
        };
        let (told, state) = watch::channel(first);
        let (stop, stopped) = oneshot::channel();
        let keeping = tokio::spawn(keep::keep(registry, node, told, stopped));
        Ok(Self { state, stop, keeping })
    }

    /// How it stands now.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits until that has changed. Forever, if the background task was ended from outside.
    pub async fn changed(&mut self) -> State {
        if self.state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.state.borrow_and_update().clone()
    }

    /// Removes the node, and returns when that is done. Dropping does the same in the background,
    /// as long as the runtime lives.
    ///
    /// # Errors
    /// When the node could not be removed; it goes at the end of its time to live.
    pub async fn close(self) -> Result<(), Error> {
        let Self { stop, keeping, .. } = self;
        drop(stop);
        keeping.await.unwrap_or_else(|e| Err(Error::Unavailable(format!("the background task has ended: {e}"))))
    }
}
