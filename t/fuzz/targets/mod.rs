//! What is fuzzed: functions of bytes that panic when a promise is broken.
//!
//! Part of two programs: the tests, where each runs over its seeds and a few mutations of them, and
//! the crate of this folder's parent, where libFuzzer drives them (`make fuzz`).

use std::sync::Arc;

use ws_cloud_gateway::sdk::Env;
use ws_cloud_gateway::sdk::harness::TestEnvironment;

pub mod config;
pub mod input;
pub mod objects;
pub mod path;
pub mod proxy;
pub mod router;
mod rules;
pub mod wire;

/// The environment of plugins: in memory.
fn env(_plugin: &'static str) -> Env {
    Env::new(Arc::new(TestEnvironment::new()))
}

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("path", path::run),
    ("router", router::run),
    ("config", config::run),
    ("objects", objects::run),
    ("proxy", proxy::run),
];
