//! What operators and services declare: routes, nodes, services, global plugins, node overlays.
//!
//! Types, their JSON form as the store holds it, and validation; no I/O. Unknown fields of a
//! stored object are not an error and stay in the store: see [`stored`].

use std::fmt;

mod certificate;
pub mod key;
mod lenient;
mod node;
mod plugin;
mod route;
mod service;
pub mod stored;

pub use certificate::{
    BrokenHosts, Certificate, ClientAuth, Pair, Summary, alt_names, chain_summary, client_cas, fingerprint,
    host_patterns, name_text,
};
pub use node::{Node, NodeAddress, NodeOverlay, NodeState};
pub use plugin::GlobalPlugin;
pub use route::{Place, Predicate, PredicateTest, Protocol, Route};
pub use service::{
    ActiveCheck, Balancer, CheckKind, HashOn, HashPolicy, Health, Limits, NodeProtocol, NodeTls, PassiveCheck,
    ProxyVersion, Retry, RetryOn, Service, Timeouts,
};

/// Why an object is not valid. Displays as `<path>: <reason>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// Where in the object, such as `hosts[1]` or `props.rewrite.regex`; empty for the whole.
    pub path: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl Invalid {
    /// An error at a field.
    pub fn at(path: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { path: path.into(), reason: reason.to_string() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.reason) } else { write!(f, "{}: {}", self.path, self.reason) }
    }
}

/// Reads an object's JSON into a type, naming the field where it fails.
fn from_json<T: serde::de::DeserializeOwned>(value: &[u8]) -> Result<T, Invalid> {
    let value: serde_json::Value =
        serde_json::from_slice(value).map_err(|e| Invalid::at("", format!("not valid JSON: {e}")))?;
    serde_path_to_error::deserialize(value).map_err(|e| {
        let path = e.path().to_string();
        Invalid::at(if path == "." { String::new() } else { path }, e.inner())
    })
}
