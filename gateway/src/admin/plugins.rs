//! `/admin/v2/plugins`: the plugins of this gateway, and what settings each takes.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::json;
use utoipa::ToSchema;

use super::openapi::{Api, Operation};
use super::{Admin, PluginInfo, answer};

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new().route("/plugins", get(list))
}

/// The plugins there are.
#[derive(ToSchema)]
#[allow(dead_code)]
struct Plugins {
    /// By name; what a route may name.
    items: Vec<PluginInfo>,
}

pub(super) fn describe(api: &mut Api) {
    api.group(
        "plugins",
        "What may be named in `plugins` of a route or be a global plugin, and the settings each takes.",
    );
    api.add(Operation::get("/plugins", "List the plugins").answers::<Plugins>(200, "The plugins."));
}

async fn list(State(admin): State<Arc<Admin>>) -> axum::response::Response {
    answer::json(&json!({"items": admin.deps.plugins}))
}
