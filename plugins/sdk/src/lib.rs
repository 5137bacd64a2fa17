//! The plugin SDK of ws-cloud-gateway.
//!
//! A plugin is a small crate that depends on this one and on nothing else of the gateway. It
//! implements [`Plugin`]: a name, a typed configuration and the hooks of the phases it takes part
//! in. [`Factory::of`] turns the type into what a gateway registers. The hooks carry the names of
//! Pingora's phases and see the request through [`RequestCtx`]; they never see Pingora itself.
//!
//! `plugins/README.md` takes a newcomer to a running plugin in ten minutes, `plugins/example`
//! shows every hook, and [`harness`] runs a plugin in a test without a server.

#![deny(missing_docs)]

mod context;
mod env;
mod factory;
mod flow;
pub mod harness;
mod plugin;
pub mod trace_context;

pub use context::{
    ClientCertificate, Protocol, RequestCtx, RequestHead, RequestState, ResponseHead, RouteInfo, TlsInfo,
};
pub use env::{Counter, Env, EnvError, Environment, KeyChange, KeyValue, Task};
pub use factory::{ConfigError, Factory};
pub use flow::{Flow, Response};
pub use plugin::{BodyMode, BoxFuture, DynPlugin, Outcome, Phases, Plugin, UpstreamChoice};

pub use bytes::{self, Bytes};
pub use http;
pub use schemars;
pub use serde;
pub use serde_json;
