//! The compiled configuration: immutable, whole, and all a request needs.
//!
//! [`Compiler`] makes a [`Snapshot`] of what control hands it and publishes it through the
//! [`Handle`]; a request loads it once. Nothing here knows the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use ws_cloud_plugin_sdk::RouteInfo;

use crate::pipeline::{Instance, Pipeline};
use crate::request::readings::readings;
use crate::resource::{Protocol, Retry, Route, Timeouts};
use crate::router::{Candidates, Lookup, Router};
use crate::telemetry::{RouteMetrics, ServiceMetrics};
use crate::tls::CertStore;
use crate::upstream::{RetryOn, RetryPolicy, Upstream, UpstreamOptions};

mod advice;
pub mod change;
mod compile;
mod hash_key;
mod health;
mod kept;
mod object;
mod preview;
mod routes;
mod services;
mod tell;
#[cfg(test)]
mod tests;
mod trust;

pub use change::{Change, Publish, Rejected, Serving, Warning};
pub use compile::{CompileOptions, Compiler};
pub use hash_key::hash_key;
pub use health::CheckDefaults;
pub use object::Checker;
pub use preview::{DeclaredNode, Preview, SharedCompiler};
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
    /// The limits of the route, or else of its service.
    pub fn time_limits(&self, service: Option<&UpstreamOptions>) -> TimeLimits {
        TimeLimits {
            first_byte: self.timeouts.first_byte.or(service.and_then(|service| service.first_byte)),
            total: self.timeouts.total.or(service.and_then(|service| service.total)),
        }
    }

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
    /// What holds for a request: this, and where it says nothing what the service says.
    pub fn over<'a>(&'a self, service: &'a RetryPolicy) -> Retries<'a> {
        Retries {
            on: self.on.as_ref().unwrap_or(&service.on),
            within: self.within.unwrap_or(service.within),
            budget: self.budget.unwrap_or(service.budget),
        }
    }

    fn new(declared: &Retry) -> Self {
        Self { on: declared.on.as_ref().map(services::retry_on), within: declared.within, budget: declared.budget }
    }
}

/// The retries of a request.
#[derive(Debug, Clone, Copy)]
pub struct Retries<'a> {
    /// What is tried again.
    pub on: &'a RetryOn,
    /// How long after the request's start.
    pub within: Duration,
    /// The share of requests that may be retries.
    pub budget: f64,
}

/// The limits on a whole exchange with nodes.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimits {
    /// Longest wait for the header of a response.
    pub first_byte: Option<Duration>,
    /// Time for all of it.
    pub total: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RouteState {
    Live,
    /// A plugin that covers it is broken and never was good.
    Closed,
    /// Its declaration is broken and never was good: requests are refused, not passed to a looser
    /// route.
    Broken,
    /// It is off. No snapshot that serves has one: only explain shows them.
    Off,
}

impl CompiledRoute {
    /// Whether requests are to be answered 503: the route's declaration, or that of a plugin that
    /// covers it, is broken.
    pub fn is_broken(&self) -> bool {
        self.state != RouteState::Live
    }

    /// Whether it is off, and stands here only to be shown.
    pub fn is_off(&self) -> bool {
        self.state == RouteState::Off
    }

    /// Whether it is closed because of a plugin that covers it, and not for its own fault.
    pub fn is_closed(&self) -> bool {
        self.state == RouteState::Closed
    }

    /// Whether a plugin of its pipeline is its own, and not one that covers all routes.
    pub fn has_own(&self, instance: &Arc<Instance>) -> bool {
        self.own.instances().iter().any(|own| Arc::ptr_eq(own, instance))
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

/// A path that is another route's in another reading.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the path can be read as that of another route")]
pub struct Ambiguous {
    /// How it can be read.
    pub reading: String,
    /// The route of that.
    pub found: Option<Arc<CompiledRoute>>,
}

/// What finds routes.
type CompiledRouter = Router<Arc<CompiledRoute>>;

/// The whole configuration at one revision.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    /// The store's revision it was compiled from; 0 before the first.
    pub revision: u64,
    /// What is not live as the store has it.
    pub rejected: Arc<[Rejected]>,
    /// Certificates for TLS towards clients.
    pub certificates: Arc<CertStore>,
    /// What is live and still should be looked at.
    pub warnings: Arc<[Warning]>,
    router: Arc<CompiledRouter>,
    services: Arc<[Slot]>,
}

impl Snapshot {
    /// The route of a request.
    pub fn find(&self, lookup: &Lookup<'_>) -> Option<&Arc<CompiledRoute>> {
        self.router.find(lookup)
    }

    /// The route of a request, unless another reading of its path would find another.
    ///
    /// # Errors
    /// Then: an upstream that reads the path another way must not serve what another route guards.
    #[inline]
    pub fn find_unambiguous(&self, lookup: &Lookup<'_>) -> Result<Option<&Arc<CompiledRoute>>, Ambiguous> {
        let found = self.find(lookup);
        for reading in readings(lookup.path) {
            let other = self.find(&Lookup { path: &reading, ..*lookup });
            if found.map(Arc::as_ptr) != other.map(Arc::as_ptr) {
                return Err(Ambiguous { reading, found: other.cloned() });
            }
        }
        Ok(found)
    }

    /// Every route considered for a request: see [`Router::candidates`].
    pub fn candidates<'a, 'l>(&'a self, lookup: &Lookup<'l>) -> Candidates<'a, 'l, Arc<CompiledRoute>> {
        self.router.candidates(lookup)
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
