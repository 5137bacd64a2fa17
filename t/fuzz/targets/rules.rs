//! The gateway's own model of its router, which its unit tests use too.

pub(super) use ws_cloud_gateway::router::{Entry, HostPattern, Lookup, Predicate, Test};

#[path = "../../../gateway/src/router/model.rs"]
mod model;

pub fn find<'a>(entries: &'a [Entry<String>], lookup: &Lookup<'_>) -> Option<&'a str> {
    model::find(entries, lookup)
}
