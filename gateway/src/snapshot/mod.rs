//! The compiled configuration: immutable, whole, and all a request needs.
//!
//! [`Compiler`] makes a [`Snapshot`] of what control hands it and publishes it through the
//! [`Handle`]; a request loads it once. Nothing here knows the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use ws_cloud_plugin_sdk::RouteInfo;

use crate::pipeline::Pipeline;
use crate::resource::{Protocol, Retry, Route, Timeouts};
use crate::router::{Lookup, Router};
use crate::telemetry::{RouteMetrics, ServiceMetrics};
use crate::tls::CertStore;
use crate::upstream::{RetryOn, Upstream};

mod advice;
pub mod change;
mod compile;
mod health;
mod kept;
mod object;
mod routes;
mod services;
mod tell;
#[cfg(test)]
mod tests;
mod trust;

pub use change::{Change, Publish, Rejected, Serving, Warning};
pub use compile::{CompileOptions, Compiler};
pub use health::CheckDefaults;
pub use object::Checker;
pub use services::ServiceDefaults;

/// A route ready to serve.
#[derive(Debug, Clone)]
pub struct CompiledRoute {
    /// What plugins and logs say of it.
    pub info: Arc<RouteInfo>,
    /// The protocol towards the upstream.
    pub protocol: Protocol,
    /// Its plugins, and those that cover all routes.
    pub pipeline: Arc<Pipeline>,
    /// What it says beside its service.
    pub options: Arc<RouteOptions>,
    /// Its counters.
    pub metrics: Arc<RouteMetrics>,
    /// Those of its service.
    pub service_metrics: Option<Arc<ServiceMetrics>>,
    /// Its plugins by themselves.
    own: Arc<Pipeline>,
    service: Option<ServiceId>,
    state: RouteState,
}

/// What a route may say beside its service, and hardly any does: routes that say nothing share one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RouteOptions {
    /// Timeouts of its own.
    pub timeouts: Timeouts,
    /// What is tried again, where it differs from its service.
    pub retry: RouteRetry,
    /// Largest request body, when the route has its own limit; 0 = no limit.
    pub max_body_size: Option<u64>,
}

impl RouteOptions {
    fn new(route: &Route) -> Self {
        Self { timeouts: route.timeouts, retry: RouteRetry::new(&route.retry), max_body_size: route.max_body_size }
    }
}

/// What a route says of retries beside its service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RouteRetry {
    /// What is tried again.
    pub on: Option<RetryOn>,
    /// How long after the request's start.
    pub within: Option<Duration>,
    /// The share of requests that may be retries.
    pub budget: Option<f64>,
}

impl RouteRetry {
    fn new(declared: &Retry) -> Self {
        Self { on: declared.on.as_ref().map(services::retry_on), within: declared.within, budget: declared.budget }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RouteState {
    Live,
    /// A plugin that covers it is broken and never was good.
    Closed,
    /// Its declaration is broken and never was good: requests are refused, not passed to a looser
    /// route.
    Broken,
}

impl CompiledRoute {
    /// Whether requests are to be answered 503: the route's declaration, or that of a plugin that
    /// covers it, is broken.
    pub fn is_broken(&self) -> bool {
        self.state != RouteState::Live
    }

    /// Whether the route is meant to do nothing at all: no service and no plugins.
    pub fn is_void(&self) -> bool {
        !self.is_broken() && self.service.is_none() && self.pipeline.is_empty()
    }
}

/// The place of a service in every snapshot. Stable while the process lives, so that a route need
/// not be compiled anew when its service changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ServiceId(u32);

/// What stands at a service's place.
#[derive(Debug, Clone, Default)]
enum Slot {
    /// No usable node.
    #[default]
    Empty,
    /// The service's declaration is broken and never was good.
    Broken,
    Ready(Arc<Upstream>),
}

/// Where a request of a route goes.
#[derive(Debug)]
pub enum Target<'a> {
    /// The route names no service, or the service has no usable node.
    Nowhere,
    /// The service's declaration is broken.
    Broken,
    /// To one of these nodes.
    Upstream(&'a Arc<Upstream>),
}

/// The whole configuration at one revision.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The store's revision it was compiled from; 0 before the first.
    pub revision: u64,
    /// What is not live as the store has it.
    pub rejected: Arc<[Rejected]>,
    /// Certificates for TLS towards clients.
    pub certificates: Arc<CertStore>,
    /// What is live and still should be looked at.
    pub warnings: Arc<[Warning]>,
    router: Arc<Router<Arc<CompiledRoute>>>,
    services: Arc<[Slot]>,
}

impl Snapshot {
    /// The route of a request.
    pub fn find(&self, lookup: &Lookup<'_>) -> Option<&Arc<CompiledRoute>> {
        self.router.find(lookup)
    }

    /// Where a route's requests go.
    pub fn target(&self, route: &CompiledRoute) -> Target<'_> {
        match route.service.and_then(|id| self.services.get(id.0 as usize)) {
            None | Some(Slot::Empty) => Target::Nowhere,
            Some(Slot::Broken) => Target::Broken,
            Some(Slot::Ready(upstream)) => Target::Upstream(upstream),
        }
    }

    /// All services with nodes.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.services.iter().filter_map(|slot| match slot {
            Slot::Ready(upstream) => Some(upstream),
            _ => None,
        })
    }

    /// How many routes are in the router.
    pub fn route_count(&self) -> usize {
        self.router.len()
    }
}

/// The one shared cell of the data plane. Only the compiler writes it.
#[derive(Debug, Default)]
pub struct Handle(ArcSwap<Snapshot>);

impl Handle {
    /// The present snapshot, for the moment of a lookup.
    #[inline]
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.0.load()
    }

    /// The present snapshot, to keep.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Replaces the snapshot and returns the one before, which the caller drops off the request
    /// path.
    fn publish(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        self.0.swap(snapshot)
    }
}

/// Service names and their places.
#[derive(Debug, Default)]
struct ServiceIds {
    ids: HashMap<Arc<str>, ServiceId>,
    names: Vec<Arc<str>>,
}

impl ServiceIds {
    fn of(&mut self, name: &str) -> ServiceId {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = ServiceId(u32::try_from(self.names.len()).expect("fewer than 2^32 service names"));
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        self.ids.insert(name, id);
        id
    }
}
