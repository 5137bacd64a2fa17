//! The trait a plugin implements, and its object-safe form that the gateway calls.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;

use crate::{ConfigError, Env, Flow, RequestCtx, RequestHead, Response, ResponseHead};

/// A boxed future, for the one hook that may wait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

bitflags::bitflags! {
    /// The phases a plugin takes part in. It is called in no other, and costs nothing there.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Phases: u16 {
        /// [`Plugin::request_filter`]
        const REQUEST = 1;
        /// [`Plugin::request_filter_async`]: costs one boxed future a request.
        const REQUEST_ASYNC = 1 << 1;
        /// [`Plugin::upstream_peer`]
        const UPSTREAM_PEER = 1 << 2;
        /// [`Plugin::upstream_request_filter`]
        const UPSTREAM_REQUEST = 1 << 3;
        /// [`Plugin::request_body_filter`]
        const REQUEST_BODY = 1 << 4;
        /// [`Plugin::response_filter`]
        const RESPONSE = 1 << 5;
        /// [`Plugin::response_body_filter`]
        const RESPONSE_BODY = 1 << 6;
        /// [`Plugin::logging`]
        const LOGGING = 1 << 7;
    }
}

/// How a plugin wants to see a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyMode {
    /// Chunk by chunk as they pass; nothing is held back.
    #[default]
    Stream,
    /// As one piece of at most this many bytes. A larger request is answered 413, a larger
    /// response 502.
    Buffer(usize),
}

/// The choice of a node for one try, which a plugin may narrow.
///
/// [`Plugin::upstream_peer`] runs once for every try. What is excluded stays excluded for the
/// later tries of the same request.
#[derive(Debug, Default)]
pub struct UpstreamChoice {
    /// Which try this is, from 1.
    pub attempt: u32,
    prefer: Option<SocketAddr>,
    exclude: Vec<SocketAddr>,
}

impl UpstreamChoice {
    /// Takes this node if the service has it and it is healthy and not yet tried.
    pub fn prefer(&mut self, node: SocketAddr) {
        self.prefer = Some(node);
    }

    /// Never takes this node for the request.
    pub fn exclude(&mut self, node: SocketAddr) {
        if !self.exclude.contains(&node) {
            self.exclude.push(node);
        }
    }

    /// The node that was asked for.
    pub fn preferred(&self) -> Option<SocketAddr> {
        self.prefer
    }

    /// The nodes that were ruled out.
    pub fn excluded(&self) -> &[SocketAddr] {
        &self.exclude
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// The status sent to the client; `None` when the client was gone before one was sent.
    pub status: Option<StatusCode>,
    /// Bytes of the response body sent to the client.
    pub body_bytes: u64,
    /// From the complete request header to the end of the response.
    pub duration: Duration,
    /// The node that answered, if one did.
    pub upstream: Option<SocketAddr>,
}

/// A plugin: typed settings, and the hooks of the phases named in [`Plugin::PHASES`].
///
/// A value of the type serves one place where the plugin is configured (a route, or all routes),
/// is shared by all requests there, and is dropped when the configuration changes and the last
/// request that uses it has ended. Hooks run on the request path: prepare in [`Plugin::new`].
#[allow(unused_variables)]
pub trait Plugin: Sized + Send + Sync + 'static {
    /// The name under which routes and the store know it. Lower case, unique in a gateway.
    const NAME: &'static str;
    /// The version shown in the plugin list.
    const VERSION: &'static str;
    /// One line on what it is for, shown in the plugin list.
    const DESCRIPTION: &'static str;
    /// Its place in the order: higher runs first; equal ones by name.
    const PRIORITY: i32;
    /// The phases it is called in.
    const PHASES: Phases;
    /// Flat keys of a route's old `props` that are this plugin's settings.
    const LEGACY_PROPS: &'static [&'static str] = &[];

    /// The settings. Use `#[serde(deny_unknown_fields)]`, and document each field with unit and
    /// default: the schema, the form in the panel and the docs are made from it.
    type Config: DeserializeOwned + schemars::JsonSchema;

    /// Makes the plugin from its settings. Pure: it also runs for a dry run, so it must not do
    /// I/O or start anything.
    ///
    /// # Errors
    /// When settings that have the right type are wrong all the same.
    fn new(config: Self::Config) -> Result<Self, ConfigError>;

    /// Called once when a configuration with this plugin goes live. Background work begins here;
    /// what [`Env::spawn`] returns stops its task when dropped.
    fn start(&self, env: &Env) {}

    /// How [`Plugin::request_body_filter`] sees the body.
    fn request_body_mode(&self) -> BodyMode {
        BodyMode::Stream
    }

    /// How [`Plugin::response_body_filter`] sees the body.
    fn response_body_mode(&self) -> BodyMode {
        BodyMode::Stream
    }

    /// The request's header is complete and its route is known. Rewrites, checks access, answers.
    fn request_filter(&self, request: &mut RequestCtx<'_>) -> Flow {
        Flow::Continue
    }

    /// As [`Plugin::request_filter`], for a plugin that must wait for something. Runs in its
    /// place in the order among the synchronous ones.
    fn request_filter_async<'a>(&'a self, request: &'a mut RequestCtx<'_>) -> BoxFuture<'a, Flow> {
        Box::pin(std::future::ready(Flow::Continue))
    }

    /// A node is about to be picked, once for every try.
    fn upstream_peer(&self, request: &mut RequestCtx<'_>, choice: &mut UpstreamChoice) {}

    /// The request as it is about to go upstream, once for every try.
    fn upstream_request_filter(&self, state: &mut crate::RequestState, upstream: &mut dyn RequestHead) {}

    /// A piece of the request body, or all of it (see [`Plugin::request_body_mode`]). `body` may
    /// be replaced. An error answers the request, if no response has been sent yet.
    ///
    /// # Errors
    /// The response that ends the request.
    fn request_body_filter(
        &self,
        state: &mut crate::RequestState,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
    ) -> Result<(), Box<Response>> {
        Ok(())
    }

    /// The head of the response, from the upstream or made by the gateway itself.
    fn response_filter(&self, state: &mut crate::RequestState, response: &mut dyn ResponseHead) {}

    /// A piece of the upstream's response body, or all of it (see
    /// [`Plugin::response_body_mode`]). A plugin that changes its length must remove
    /// `Content-Length` in [`Plugin::response_filter`].
    fn response_body_filter(&self, state: &mut crate::RequestState, body: &mut Option<Bytes>, end_of_stream: bool) {}

    /// The request has ended, however it did.
    fn logging(&self, state: &mut crate::RequestState, outcome: &Outcome) {}
}

macro_rules! dyn_plugin {
    ($($(#[$doc:meta])* fn $name:ident $(<$lt:lifetime>)? (& $($self_lt:lifetime)? self $(, $arg:ident : $ty:ty)*) $(-> $ret:ty)?;)*) => {
        /// [`Plugin`] without its associated items: what a pipeline holds. Implemented for every
        /// plugin; not meant to be implemented by hand.
        pub trait DynPlugin: Send + Sync + 'static {
            /// [`Plugin::NAME`]
            fn name(&self) -> &'static str;
            /// [`Plugin::PRIORITY`]
            fn priority(&self) -> i32;
            /// [`Plugin::PHASES`]
            fn phases(&self) -> Phases;
            $($(#[$doc])* fn $name $(<$lt>)? (& $($self_lt)? self $(, $arg: $ty)*) $(-> $ret)?;)*
        }
        impl<P: Plugin> DynPlugin for P {
            fn name(&self) -> &'static str { P::NAME }
            fn priority(&self) -> i32 { P::PRIORITY }
            fn phases(&self) -> Phases { P::PHASES }
            $(#[inline] fn $name $(<$lt>)? (& $($self_lt)? self $(, $arg: $ty)*) $(-> $ret)? { <P as Plugin>::$name(self $(, $arg)*) })*
        }
    };
}

dyn_plugin! {
    /// [`Plugin::start`]
    fn start(&self, env: &Env);
    /// [`Plugin::request_body_mode`]
    fn request_body_mode(&self) -> BodyMode;
    /// [`Plugin::response_body_mode`]
    fn response_body_mode(&self) -> BodyMode;
    /// [`Plugin::request_filter`]
    fn request_filter(&self, request: &mut RequestCtx<'_>) -> Flow;
    /// [`Plugin::request_filter_async`]
    fn request_filter_async<'a>(&'a self, request: &'a mut RequestCtx<'_>) -> BoxFuture<'a, Flow>;
    /// [`Plugin::upstream_peer`]
    fn upstream_peer(&self, request: &mut RequestCtx<'_>, choice: &mut UpstreamChoice);
    /// [`Plugin::upstream_request_filter`]
    fn upstream_request_filter(&self, state: &mut crate::RequestState, upstream: &mut dyn RequestHead);
    /// [`Plugin::request_body_filter`]
    fn request_body_filter(&self, state: &mut crate::RequestState, body: &mut Option<Bytes>, end_of_stream: bool) -> Result<(), Box<Response>>;
    /// [`Plugin::response_filter`]
    fn response_filter(&self, state: &mut crate::RequestState, response: &mut dyn ResponseHead);
    /// [`Plugin::response_body_filter`]
    fn response_body_filter(&self, state: &mut crate::RequestState, body: &mut Option<Bytes>, end_of_stream: bool);
    /// [`Plugin::logging`]
    fn logging(&self, state: &mut crate::RequestState, outcome: &Outcome);
}

/// A plugin as pipelines share it.
pub(crate) type Shared = Arc<dyn DynPlugin>;
