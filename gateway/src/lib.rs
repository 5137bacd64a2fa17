//! ws-cloud-gateway: a light, programmable HTTP and gRPC gateway on Pingora.
//!
//! The library a custom gateway is made of. The standard binary is nothing but
//! `Gateway::standard().main()`; one with a plugin of its own adds `.with(…)`:
//!
//! ```no_run
//! use ws_cloud_gateway::Gateway;
//! # use ws_cloud_plugin_sdk::Factory;
//! # fn my_plugin() -> Factory { unimplemented!() }
//!
//! fn main() -> std::process::ExitCode {
//!     Gateway::standard().with(my_plugin()).main()
//! }
//! ```

use std::process::ExitCode;

use ws_cloud_plugin_sdk::Factory;

pub mod admin;
mod cli;
pub mod cluster;
pub mod config;
pub mod control;
pub mod demo;
pub mod explain;
pub mod history;
pub mod pipeline;
pub mod proxy;
pub mod registration;
pub mod request;
pub mod resource;
pub mod router;
pub mod secret;
pub mod server;
pub mod snapshot;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod upstream;

pub use ws_cloud_plugin_sdk as sdk;

/// A gateway with a choice of plugins.
#[derive(Debug, Clone, Default)]
pub struct Gateway {
    factories: Vec<Factory>,
}

impl Gateway {
    /// A gateway without plugins.
    pub fn bare() -> Self {
        Self::default()
    }

    /// A gateway with the standard plugins.
    pub fn standard() -> Self {
        Self { factories: ws_cloud_plugin_standard::factories() }
    }

    /// Adds a plugin.
    #[must_use]
    pub fn with(mut self, plugin: Factory) -> Self {
        self.factories.push(plugin);
        self
    }

    /// Runs the command line of this process.
    pub fn main(self) -> ExitCode {
        cli::main(self.factories)
    }
}
