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

mod access;
mod answer;
mod asked;
mod auth;
mod body;
mod calls;
mod cors;
mod dashboard;
mod declared;
mod explain;
mod external;
mod front;
mod history;
mod journal;
mod kinds;
mod legacy;
mod live;
mod objects;
mod oidc;
mod openapi;
mod path;
mod peer;
mod plugins;
mod problem;
mod registrations;
mod serve;
mod stall;
mod status;
mod unfinished;
mod v2;
mod write;

pub use asked::CLI_AGENT;
pub use auth::{first_start, reset_password};
pub use calls::CallEnded;
pub use explain::{Explain, Unexplained};
pub use front::handed_over;
pub use live::{By, LiveDeps, OwnFigures, Services};
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
/// Decrypts what was sealed for a key of the store; the error is for the operator.
pub type Open = Arc<dyn Fn(&str, &str) -> Result<String, String> + Send + Sync>;

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
    /// Decrypts those the Admin API needs itself.
    pub open: Open,
    /// The level of the error log.
    pub log_level: LogLevel,
    /// What `POST /admin/v2/explain` answers.
    pub explain: Explain,
    /// Takes note of each call when it has ended.
    pub ended: CallEnded,
    /// Its section of the configuration.
    pub config: AdminConfig,
    /// The `Server` header.
    pub server_header: String,
    /// What happens, how things are, and who else there is.
    pub live: LiveDeps,
}

/// The Admin API's state, shared by its listeners.
pub struct Admin {
    deps: AdminDeps,
    auth: auth::Auth,
    registrar: Registrar,
    oidc: Option<oidc::Oidc>,
    /// One write at a time: those of this gateway need not conflict with each other.
    writing: Mutex<()>,
    /// Looks after what is not finished, and what is not recorded.
    looking_after: OnceLock<tokio::task::AbortHandle>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(looking_after) = self.looking_after.get() {
            looking_after.abort();
        }
    }
}

impl Admin {
    /// Must be called within the tokio runtime that serves it: it follows accounts and revoked
    /// tokens in the store. `first_start` comes before it.
    #[must_use]
    pub fn new(deps: AdminDeps) -> Arc<Self> {
        let auth = auth::Auth::new(&deps);
        let registrar = Registrar::new(Arc::clone(&deps.store), &deps.data_prefix);
        let oidc = deps.config.oidc.clone().map(oidc::Oidc::new);
        let admin =
            Arc::new(Self { deps, auth, registrar, oidc, writing: Mutex::new(()), looking_after: OnceLock::new() });
        let known = Arc::downgrade(&admin);
        let both = async move { tokio::join!(unfinished::look_after(known.clone()), external::look_after(known)) };
        admin.looking_after.get_or_init(|| tokio::spawn(both).abort_handle());
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
            ended: Arc::clone(&self.deps.ended),
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
