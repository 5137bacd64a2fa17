//! What the document says of the status and the log level.
#![allow(dead_code)]

use serde_json::Value;
use utoipa::ToSchema;

use super::SetLevel;
use crate::admin::openapi::{Api, Operation};

/// How the gateway that answers is.
#[derive(ToSchema)]
struct Status {
    /// Its version.
    version: String,
    /// Seconds since it was started.
    uptime_seconds: u64,
    /// Whether it serves requests.
    ready: bool,
    /// Whether it ends, and finishes what it has.
    draining: bool,
    /// Where declarations are: `etcd` or `embedded`.
    store: String,
    /// How it follows the store.
    config: Following,
    /// How many routes are live.
    routes: u64,
    /// How many services are.
    services: u64,
    /// Nodes that get no requests.
    nodes_out: NodesOut,
    /// The certificates that are live.
    #[schema(value_type = Vec<Object>)]
    certificates: Vec<Value>,
    /// Objects that are not live as the store has them.
    rejected: Vec<Rejected>,
    /// What is live and should be looked at.
    warnings: Vec<Warning>,
}

/// How the gateway follows the store.
#[derive(ToSchema)]
struct Following {
    /// Whether the store is reached.
    connected: bool,
    /// Seconds since it was last reached, 0 while it is.
    stale_seconds: f64,
    /// Why it is not reached.
    outage: Option<String>,
    /// The store's revision as last heard.
    stored_revision: u64,
    /// The revision that is live.
    applied_revision: u64,
}

/// Nodes that get no requests.
#[derive(ToSchema)]
struct NodesOut {
    /// How many.
    count: u64,
    /// The first of them, and why.
    #[schema(value_type = Vec<Object>)]
    nodes: Vec<Value>,
}

/// An object that is not live as the store has it.
#[derive(ToSchema)]
struct Rejected {
    /// Its key.
    key: String,
    /// The revision that was rejected.
    revision: u64,
    /// Why, and where in the object.
    reason: String,
    /// What happens in its place, such as `last_good`.
    serving: String,
}

/// What is live and should be looked at.
#[derive(ToSchema)]
struct Warning {
    /// The service it is about.
    service: String,
    /// What it is.
    reason: String,
}

pub(in crate::admin) fn describe(api: &mut Api) {
    api.group("gateway", "The gateway that answers.");
    api.add(Operation::get("/status", "How it is").answers::<Status>(200, "Its state."));
    api.add(Operation::get("/log-level", "Read the log level").answers::<SetLevel>(200, "The level."));
    api.add(
        Operation::put("/log-level", "Set the log level")
            .takes::<SetLevel>("The level wanted.")
            .answers::<SetLevel>(200, "The level now.")
            .refuses(&[413, 422]),
    );
}
