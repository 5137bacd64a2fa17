//! The Admin API: the paths of the first gateway as they were (`legacy`), what is new under
//! `/admin/v2/` (`v2`), the panel's place `/dashboard/`, and the status listener.
//!
//! It validates by a dry run it is given, writes to the store with guards, and learns of changes
//! like everyone else: by the watch. It knows nothing of the data plane.

use std::sync::{Arc, OnceLock};

use axum::Router;
use http::HeaderValue;
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

mod answer;
mod asked;
mod auth;
mod body;
mod cors;
mod dashboard;
mod declared;
mod front;
mod history;
mod kinds;
mod legacy;
mod objects;
mod openapi;
mod path;
mod peer;
mod plugins;
mod problem;
mod registrations;
mod serve;
mod stall;
mod status;
mod v2;
mod write;

pub use asked::CLI_AGENT;
pub use auth::{first_start, reset_password};
pub use front::handed_over;
pub use peer::{PEER_HEADER, PeerAddr, PeerSource};
pub use serve::{Limits, serve};
pub use status::{StatusDeps, status_router};

use crate::config::AdminConfig;
use crate::registration::Registrar;
use crate::resource::Invalid;
use crate::store::SharedStore;

/// Says whether an object would compile: its key without the data prefix, and its value.
pub type Check = Arc<dyn Fn(&str, &[u8]) -> Result<(), Invalid> + Send + Sync>;
/// Says what is odd about an object that is valid: its key without the data prefix, and its value.
pub type Advise = Arc<dyn Fn(&str, &[u8]) -> Vec<String> + Send + Sync>;
/// Reads the log level, or sets it to the one given; the error is for the operator.
pub type LogLevel = Arc<dyn Fn(Option<&str>) -> Result<String, String> + Send + Sync>;

/// Encrypts a secret for the key of the store it will lie under; the error is for the operator.
pub type Seal = Arc<dyn Fn(&str, &str) -> Result<String, String> + Send + Sync>;

/// A plugin as lists show it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct PluginInfo {
    /// Its name in routes.
    pub name: String,
    /// What it does, in a few words.
    pub description: String,
    /// Its version.
    pub version: String,
    /// Higher ones run first.
    pub priority: i32,
    /// When it runs.
    #[schema(example = json!(["request", "response"]))]
    pub phases: Vec<String>,
    /// The JSON Schema of its settings: those under its name in `props` of a route, or in `config`
    /// of a global plugin. None when it takes none.
    #[schema(value_type = Option<Object>)]
    pub schema: Option<serde_json::Value>,
}

/// What the Admin API works with.
pub struct AdminDeps {
    /// Where declarations are.
    pub store: SharedStore,
    /// What every key begins with; ends with `/`.
    pub data_prefix: String,
    /// The dry run of a save.
    pub check: Check,
    /// What is odd about an object, though valid.
    pub advise: Advise,
    /// The plugins a route may name.
    pub plugins: Vec<PluginInfo>,
    /// What `GET /admin/v2/status` answers. Must not block.
    pub status: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Encrypts secrets before they are stored.
    pub seal: Seal,
    /// The level of the error log.
    pub log_level: LogLevel,
    /// Its section of the configuration.
    pub config: AdminConfig,
    /// The `Server` header.
    pub server_header: String,
}

/// The Admin API's state, shared by its listeners.
pub struct Admin {
    deps: AdminDeps,
    auth: auth::Auth,
    registrar: Registrar,
    /// One write at a time: those of this gateway need not conflict with each other.
    writing: Mutex<()>,
    /// Undoes what nobody confirms.
    undoing: OnceLock<tokio::task::AbortHandle>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(undoing) = self.undoing.get() {
            undoing.abort();
        }
    }
}

impl Admin {
    /// Must be called within the tokio runtime that serves it: it follows accounts and revoked
    /// tokens in the store. `first_start` comes before it.
    #[must_use]
    pub fn new(deps: AdminDeps) -> Arc<Self> {
        let auth = auth::Auth::new(Arc::clone(&deps.store), &deps.data_prefix, &deps.config);
        let registrar = Registrar::new(Arc::clone(&deps.store), &deps.data_prefix);
        let admin = Arc::new(Self { deps, auth, registrar, writing: Mutex::new(()), undoing: OnceLock::new() });
        admin.undoing.get_or_init(|| tokio::spawn(Self::undo_unconfirmed(Arc::downgrade(&admin))).abort_handle());
        admin
    }

    /// The API and the panel. `source` says where the client's address comes from: of the API's own
    /// listener it is the connection's; on the internal socket that the data plane forwards
    /// `/admin` and `/dashboard` to, it is `X-Gateway-Peer`, and the `Host` header must come
    /// through as the client sent it.
    pub fn router(self: Arc<Self>, source: PeerSource) -> Router {
        let front = front::Front {
            source,
            allow: self.deps.config.allow.clone(),
            origins: self.deps.config.cors_origins.clone(),
            server: server_header(&self.deps.server_header),
        };
        let new_api = v2::router(Arc::clone(&self));
        Router::new()
            .nest("/admin/v2", new_api.clone())
            // `nest` leaves this one path out.
            .route_service("/admin/v2/", new_api.with_state(Arc::clone(&self)))
            .fallback(legacy::handle)
            .with_state(self)
            .layer(axum::middleware::from_fn_with_state(Arc::new(front), front::pass))
    }

    /// A key as the store has it.
    fn key(&self, relative: &str) -> String {
        format!("{}{relative}", self.deps.data_prefix)
    }
}

/// The configuration was checked; an empty value is better than none if it was not.
fn server_header(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
