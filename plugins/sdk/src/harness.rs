//! Runs requests through plugins in a test, with no server and no network.
//!
//! A [`Harness`] holds plugins made from settings, as a route would. A request built on it goes
//! through all phases in the gateway's order, an upstream with a canned answer stands behind, and
//! [`Exchange`] tells what happened: what the client got, what the upstream saw.
//!
//! ```
//! use ws_cloud_plugin_sdk::{ConfigError, Flow, Phases, Plugin, RequestCtx, Response};
//! use ws_cloud_plugin_sdk::{harness::Harness, http::{HeaderName, StatusCode}, serde_json::json};
//! # use ws_cloud_plugin_sdk::{schemars, serde::Deserialize};
//!
//! #[derive(Deserialize, schemars::JsonSchema)]
//! #[serde(crate = "ws_cloud_plugin_sdk::serde", deny_unknown_fields)]
//! struct Config { key: String }
//!
//! struct Door(Config);
//!
//! impl Plugin for Door {
//!     const NAME: &'static str = "door";
//!     const VERSION: &'static str = "v1.0";
//!     const DESCRIPTION: &'static str = "lets in who knows the key";
//!     const PRIORITY: i32 = 2_000;
//!     const PHASES: Phases = Phases::REQUEST;
//!     type Config = Config;
//!
//!     fn new(config: Config) -> Result<Self, ConfigError> { Ok(Self(config)) }
//!
//!     fn request_filter(&self, request: &mut RequestCtx<'_>) -> Flow {
//!         match request.header(&HeaderName::from_static("x-key")) {
//!             Some(key) if key == &self.0.key => Flow::Continue,
//!             _ => Response::text(StatusCode::UNAUTHORIZED, "no").into(),
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let door = Harness::new::<Door>(json!({"key": "sesame"})).unwrap();
//!
//! let out = door.get("/cave?x=1").header("X-Key", "sesame").send().await;
//! assert_eq!(out.status(), StatusCode::OK);
//! assert_eq!(out.upstream().target, "/cave?x=1");
//!
//! let out = door.get("/cave").send().await;
//! assert_eq!(out.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(out.answered_by, Some("door"));
//!
//! let refused = Harness::new::<Door>(json!({"kex": "sesame"})).unwrap_err();
//! assert_eq!(refused.to_string(), "kex: unknown field `kex`, expected `key`");
//! # }
//! ```

mod body;
mod environment;
mod exchange;
mod path;
mod request;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Once};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;

use crate::{ConfigError, DynPlugin, Env, Factory, Plugin, Protocol, Response, RouteInfo};

pub use environment::TestEnvironment;
pub use exchange::{Exchange, UpstreamRequest};
pub use request::Request;

/// Plugins as on one route, and the upstream behind them.
pub struct Harness {
    plugins: Vec<Hosted>,
    started: Once,
    route: Arc<RouteInfo>,
    nodes: Vec<SocketAddr>,
    failing_tries: u32,
    answer: Box<dyn Fn(&UpstreamRequest) -> Response + Send + Sync>,
    chunk_size: usize,
}

struct Hosted {
    plugin: Arc<dyn DynPlugin>,
    environment: TestEnvironment,
}

impl Harness {
    /// One plugin, made from its settings as the gateway makes it.
    ///
    /// # Errors
    /// When the plugin refuses the settings.
    pub fn new<P: Plugin>(settings: Value) -> Result<Self, ConfigError> {
        let harness = Self {
            plugins: Vec::new(),
            started: Once::new(),
            route: Arc::new(RouteInfo {
                key: "test".to_owned(),
                prefix: "/*".to_owned(),
                service: "test".to_owned(),
                protocol: Protocol::Http,
            }),
            nodes: vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
            failing_tries: 0,
            answer: Box::new(|_| Response::text(StatusCode::OK, "hello from upstream")),
            chunk_size: 16 << 10,
        };
        harness.with::<P>(settings)
    }

    /// One more plugin. They run by priority, whatever the order here.
    ///
    /// # Errors
    /// When the plugin refuses the settings.
    pub fn with<P: Plugin>(mut self, settings: Value) -> Result<Self, ConfigError> {
        let plugin = Factory::of::<P>().build(settings)?;
        let environment = match self.plugins.first() {
            Some(first) => first.environment.for_another_plugin(),
            None => TestEnvironment::new(),
        };
        self.plugins.push(Hosted { plugin, environment });
        self.plugins.sort_by_key(|hosted| (std::cmp::Reverse(hosted.plugin.priority()), hosted.plugin.name()));
        Ok(self)
    }

    /// What the upstream answers; 200 `hello from upstream` if not told.
    #[must_use]
    pub fn upstream_answers(mut self, answer: impl Fn(&UpstreamRequest) -> Response + Send + Sync + 'static) -> Self {
        self.answer = Box::new(answer);
        self
    }

    /// The nodes of the service, all healthy; `127.0.0.1:8080` if not told. The first one that
    /// was not ruled out is taken, unless a plugin prefers another.
    #[must_use]
    pub fn nodes(mut self, nodes: impl Into<Vec<SocketAddr>>) -> Self {
        self.nodes = nodes.into();
        self
    }

    /// How many tries of each request fail to connect. The gateway makes three at most, each on
    /// another node.
    #[must_use]
    pub fn failing_tries(mut self, tries: u32) -> Self {
        self.failing_tries = tries;
        self
    }

    /// In pieces of how many bytes bodies arrive; 16 KiB if not told.
    #[must_use]
    pub fn chunk_size(mut self, bytes: usize) -> Self {
        self.chunk_size = bytes.max(1);
        self
    }

    /// The route the requests match.
    #[must_use]
    pub fn route(mut self, route: RouteInfo) -> Self {
        self.route = Arc::new(route);
        self
    }

    /// What plugins have counted.
    fn counts(&self) -> Vec<environment::Counts> {
        self.plugins.iter().map(|hosted| hosted.environment.counts()).collect()
    }

    /// Calls [`Plugin::start`], once. The first request does it too: a test calls this when it
    /// wants background work before, or without, a request. Must be called inside tokio.
    pub fn start(&self) {
        self.started.call_once(|| {
            for hosted in &self.plugins {
                hosted.plugin.start(&Env::new(Arc::new(hosted.environment.clone())));
            }
        });
    }

    /// The environment of the plugin of this name.
    ///
    /// # Panics
    /// When the harness has no such plugin.
    pub fn environment_of(&self, name: &str) -> &TestEnvironment {
        let hosted = self.plugins.iter().find(|hosted| hosted.plugin.name() == name);
        &hosted.unwrap_or_else(|| panic!("the harness has no plugin {name:?}")).environment
    }

    /// The environment of the plugin; of the one that runs first, when there are several.
    pub fn environment(&self) -> &TestEnvironment {
        &self.plugins[0].environment
    }

    /// A `GET` for a path, perhaps with a query.
    pub fn get(&self, target: &str) -> Request<'_> {
        self.request(Method::GET, target)
    }

    /// A `POST` with a body.
    pub fn post(&self, target: &str, body: impl Into<Bytes>) -> Request<'_> {
        self.request(Method::POST, target).body(body)
    }

    /// A request, from 192.0.2.1 if not told.
    pub fn request(&self, method: Method, target: &str) -> Request<'_> {
        Request::new(self, method, target, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
    }
}

impl std::fmt::Debug for Harness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.plugins.iter().map(|hosted| hosted.plugin.name())).finish()
    }
}

#[cfg(test)]
mod tests;
