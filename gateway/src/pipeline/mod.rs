//! The plugins of a route, phase by phase, in order; and what running them may lead to.
//!
//! A pipeline is compiled with its route: one list for each phase, holding only the plugins that
//! take part in it. A plugin that panics ends its request with 500, never the connection's task.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use serde_json::Value;
use ws_cloud_plugin_sdk::{
    BodyMode, DynPlugin, Env, Flow, Outcome, Phases, RequestCtx, RequestHead, RequestState, Response, ResponseHead,
    UpstreamChoice,
};

use crate::telemetry::{Phase, PluginTimes, is_measured};

mod registry;
#[cfg(test)]
mod tests;

pub use registry::{BUILT_IN, Registry};

/// A configured plugin, shared by all pipelines with the same settings.
pub struct Instance {
    plugin: Arc<dyn DynPlugin>,
    /// What it was made from; for people.
    settings: Value,
    started: AtomicBool,
    times: Option<Arc<PluginTimes>>,
}

impl Instance {
    fn new(plugin: Arc<dyn DynPlugin>, settings: Value, times: Option<Arc<PluginTimes>>) -> Self {
        Self { plugin, settings, started: AtomicBool::new(false), times }
    }

    /// The plugin's name.
    pub fn name(&self) -> &'static str {
        self.plugin.name()
    }

    /// Its place in the order: higher runs first.
    pub fn priority(&self) -> i32 {
        self.plugin.priority()
    }

    /// The phases it takes part in.
    pub fn phases(&self) -> Phases {
        self.plugin.phases()
    }

    /// The settings it was made from.
    pub fn settings(&self) -> &Value {
        &self.settings
    }

    /// Runs a phase of the plugin, and measures how long it takes if this run is one of the few that are.
    #[inline]
    fn run<T>(&self, phase: Phase, measured: bool, call: impl FnOnce(&dyn DynPlugin) -> T) -> Result<T, Panicked> {
        if measured { self.run_measured(phase, call) } else { guarded(self.plugin.name(), || call(&*self.plugin)) }
    }

    /// Apart, so that what is not measured costs one branch.
    #[cold]
    #[inline(never)]
    fn run_measured<T>(&self, phase: Phase, call: impl FnOnce(&dyn DynPlugin) -> T) -> Result<T, Panicked> {
        let started = Instant::now();
        let result = guarded(self.plugin.name(), || call(&*self.plugin));
        self.took(phase, started);
        result
    }

    fn took(&self, phase: Phase, started: Instant) {
        if let Some(times) = &self.times {
            times.observe(phase, started.elapsed());
        }
    }

    /// Lets the plugin begin its background work; only the first call does.
    pub fn start(&self, env: &dyn Fn(&'static str) -> Env) {
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let name = self.plugin.name();
        if let Err(panic) = guarded(name, || self.plugin.start(&env(name))) {
            log::error!("{panic} in start");
        }
    }

    /// Its part in the request phase, where it does not wait.
    ///
    /// # Errors
    /// When it panics.
    #[inline]
    pub fn request_filter(&self, measured: bool, request: &mut RequestCtx<'_>) -> Result<Flow, Panicked> {
        self.run(Phase::Request, measured, |plugin| plugin.request_filter(request))
    }

    /// Its part in the request phase.
    ///
    /// # Errors
    /// When it panics.
    pub async fn request_filter_async(&self, measured: bool, request: &mut RequestCtx<'_>) -> Result<Flow, Panicked> {
        let phases = self.plugin.phases();
        if phases.contains(Phases::REQUEST)
            && let respond @ Flow::Respond(_) = self.request_filter(measured, request)?
        {
            return Ok(respond);
        }
        if !phases.contains(Phases::REQUEST_ASYNC) {
            return Ok(Flow::Continue);
        }
        let (name, started) = (self.plugin.name(), measured.then(Instant::now));
        // Making the future may panic as well as polling it.
        let future = guarded(name, || self.plugin.request_filter_async(request))?;
        let flow = AssertUnwindSafe(future).catch_unwind().await.map_err(|p| panicked(name, &*p))?;
        if let Some(started) = started {
            self.took(Phase::Request, started);
        }
        Ok(flow)
    }

    /// Its part in picking a node.
    ///
    /// # Errors
    /// When it panics.
    #[inline]
    pub fn upstream_peer(
        &self,
        measured: bool,
        request: &mut RequestCtx<'_>,
        choice: &mut UpstreamChoice,
    ) -> Result<(), Panicked> {
        self.run(Phase::UpstreamPeer, measured, |plugin| plugin.upstream_peer(request, choice))
    }

    /// What it does to the request as it goes upstream.
    ///
    /// # Errors
    /// When it panics.
    #[inline]
    pub fn upstream_request_filter(
        &self,
        measured: bool,
        state: &mut RequestState,
        upstream: &mut dyn RequestHead,
    ) -> Result<(), Panicked> {
        self.run(Phase::UpstreamRequest, measured, |plugin| plugin.upstream_request_filter(state, upstream))
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({})", self.plugin.name())
    }
}

/// A plugin panicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin \"{plugin}\" panicked: {message}")]
pub struct Panicked {
    /// The plugin.
    pub plugin: &'static str,
    /// What it said.
    pub message: String,
}

/// Why a body could not be passed on.
#[derive(Debug)]
pub enum BodyRefused {
    /// A plugin answers the request itself.
    Response(Box<Response>),
    /// The body is larger than a plugin buffers.
    TooLarge,
    /// A plugin panicked.
    Panicked(Panicked),
}

/// What plugins hold back of the bodies of one request.
#[derive(Debug, Default)]
pub struct BodyBuffers {
    request: Vec<BytesMut>,
    response: Vec<BytesMut>,
}

type Steps = Box<[Arc<Instance>]>;

/// The compiled plugins of a route.
#[derive(Debug, Default)]
pub struct Pipeline {
    all: Steps,
    request: Steps,
    /// Whether some plugin waits in the request phase: costs a boxed future.
    pub waits: bool,
    upstream_peer: Steps,
    upstream_request: Steps,
    request_body: Box<[(Arc<Instance>, BodyMode)]>,
    response: Steps,
    response_body: Box<[(Arc<Instance>, BodyMode)]>,
    logging: Steps,
}

impl Pipeline {
    /// Puts plugins in order: by priority, higher first, then by name. Where two have the same
    /// name the first of the list counts: a route's own settings before the global ones.
    pub fn new(plugins: impl IntoIterator<Item = Arc<Instance>>) -> Self {
        let mut all = Self::one_of_each(plugins);
        all.sort_by_key(|i| (std::cmp::Reverse(i.plugin.priority()), i.plugin.name()));
        let of = |phase: Phases| -> Steps {
            all.iter().filter(|i| i.plugin.phases().intersects(phase)).map(Arc::clone).collect()
        };
        let bodies = |phase, mode: fn(&dyn DynPlugin) -> BodyMode| {
            of(phase).iter().map(|i| (Arc::clone(i), mode(&*i.plugin))).collect()
        };
        Self {
            request: of(Phases::REQUEST | Phases::REQUEST_ASYNC),
            waits: all.iter().any(|i| i.plugin.phases().contains(Phases::REQUEST_ASYNC)),
            upstream_peer: of(Phases::UPSTREAM_PEER),
            upstream_request: of(Phases::UPSTREAM_REQUEST),
            request_body: bodies(Phases::REQUEST_BODY, |p| p.request_body_mode()),
            response: of(Phases::RESPONSE),
            response_body: bodies(Phases::RESPONSE_BODY, |p| p.response_body_mode()),
            logging: of(Phases::LOGGING),
            all: all.into(),
        }
    }

    /// The first of each name: those that a pipeline of these has.
    pub fn one_of_each(plugins: impl IntoIterator<Item = Arc<Instance>>) -> Vec<Arc<Instance>> {
        let mut all: Vec<Arc<Instance>> = Vec::new();
        for instance in plugins {
            if all.iter().all(|other| other.plugin.name() != instance.plugin.name()) {
                all.push(instance);
            }
        }
        all
    }

    /// The plugins in the order they run.
    pub fn instances(&self) -> &[Arc<Instance>] {
        &self.all
    }

    /// Whether there is nothing to run at all.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether some plugin sees request bodies.
    pub fn sees_request_body(&self) -> bool {
        !self.request_body.is_empty()
    }

    /// Whether some plugin sees response bodies.
    pub fn sees_response_body(&self) -> bool {
        !self.response_body.is_empty()
    }

    /// The request phase of a pipeline in which no plugin waits.
    ///
    /// # Errors
    /// When a plugin panics.
    pub fn request_filter(&self, request: &mut RequestCtx<'_>) -> Result<Flow, Panicked> {
        let measured = Self::measures(&self.request);
        for step in &self.request {
            match step.request_filter(measured, request)? {
                Flow::Continue => {}
                respond => return Ok(respond),
            }
        }
        Ok(Flow::Continue)
    }

    /// The request phase.
    ///
    /// # Errors
    /// When a plugin panics.
    pub async fn request_filter_async(&self, request: &mut RequestCtx<'_>) -> Result<Flow, Panicked> {
        let measured = Self::measures(&self.request);
        for step in &self.request {
            if let respond @ Flow::Respond(_) = step.request_filter_async(measured, request).await? {
                return Ok(respond);
            }
        }
        Ok(Flow::Continue)
    }

    /// A node is about to be picked.
    ///
    /// # Errors
    /// When a plugin panics.
    pub fn upstream_peer(&self, request: &mut RequestCtx<'_>, choice: &mut UpstreamChoice) -> Result<(), Panicked> {
        let measured = Self::measures(&self.upstream_peer);
        self.upstream_peer.iter().try_for_each(|step| step.upstream_peer(measured, request, choice))
    }

    /// Whether some plugin takes part in picking nodes.
    pub fn picks_nodes(&self) -> bool {
        !self.upstream_peer.is_empty()
    }

    /// The request is about to go upstream.
    ///
    /// # Errors
    /// When a plugin panics.
    pub fn upstream_request_filter(
        &self,
        state: &mut RequestState,
        upstream: &mut dyn RequestHead,
    ) -> Result<(), Panicked> {
        let measured = Self::measures(&self.upstream_request);
        self.upstream_request.iter().try_for_each(|step| step.upstream_request_filter(measured, state, upstream))
    }

    /// A piece of the request body.
    ///
    /// # Errors
    /// When a plugin refuses it, cannot hold it, or panics.
    pub fn request_body_filter(
        &self,
        state: &mut RequestState,
        body: &mut Option<Bytes>,
        end: bool,
        buffers: &mut BodyBuffers,
    ) -> Result<(), BodyRefused> {
        let measured = Self::measures(&self.request_body);
        buffers.request.resize_with(self.request_body.len(), BytesMut::new);
        for ((step, mode), held) in self.request_body.iter().zip(&mut buffers.request) {
            if !gather(*mode, held, body, end)? {
                return Ok(());
            }
            step.run(Phase::RequestBody, measured, |plugin| plugin.request_body_filter(state, body, end))
                .map_err(BodyRefused::Panicked)?
                .map_err(BodyRefused::Response)?;
        }
        Ok(())
    }

    /// The head of the response.
    ///
    /// # Errors
    /// When a plugin panics.
    pub fn response_filter(&self, state: &mut RequestState, response: &mut dyn ResponseHead) -> Result<(), Panicked> {
        let measured = Self::measures(&self.response);
        self.response
            .iter()
            .try_for_each(|s| s.run(Phase::Response, measured, |plugin| plugin.response_filter(state, response)))
    }

    /// A piece of the response body.
    ///
    /// # Errors
    /// When a plugin cannot hold it, or panics.
    pub fn response_body_filter(
        &self,
        state: &mut RequestState,
        body: &mut Option<Bytes>,
        end: bool,
        buffers: &mut BodyBuffers,
    ) -> Result<(), BodyRefused> {
        let measured = Self::measures(&self.response_body);
        buffers.response.resize_with(self.response_body.len(), BytesMut::new);
        for ((step, mode), held) in self.response_body.iter().zip(&mut buffers.response) {
            if !gather(*mode, held, body, end)? {
                return Ok(());
            }
            step.run(Phase::ResponseBody, measured, |plugin| plugin.response_body_filter(state, body, end))
                .map_err(BodyRefused::Panicked)?;
        }
        Ok(())
    }

    /// Whether this run of a phase is measured.
    #[inline]
    fn measures<T>(steps: &[T]) -> bool {
        !steps.is_empty() && is_measured()
    }

    /// The request has ended. Every plugin is called, also when an earlier one panics; the panics
    /// are returned.
    pub fn logging(&self, state: &mut RequestState, outcome: &Outcome) -> Vec<Panicked> {
        let measured = Self::measures(&self.logging);
        let call = |s: &Arc<Instance>| s.run(Phase::Logging, measured, |plugin| plugin.logging(state, outcome)).err();
        self.logging.iter().filter_map(call).collect()
    }
}

/// Gathers what a buffering plugin must see in one piece. `false`: it is not complete yet, so this
/// plugin and those after it see nothing for now.
fn gather(mode: BodyMode, held: &mut BytesMut, body: &mut Option<Bytes>, end: bool) -> Result<bool, BodyRefused> {
    let BodyMode::Buffer(limit) = mode else { return Ok(true) };
    if let Some(chunk) = body.take() {
        if held.len() + chunk.len() > limit {
            return Err(BodyRefused::TooLarge);
        }
        held.extend_from_slice(&chunk);
    }
    if end {
        *body = Some(std::mem::take(held).freeze());
    }
    Ok(end)
}

#[inline]
fn guarded<T>(plugin: &'static str, call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| panicked(plugin, &*payload))
}

#[cold]
fn panicked(plugin: &'static str, payload: &(dyn std::any::Any + Send)) -> Panicked {
    let message = payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into());
    Panicked { plugin, message }
}
