//! What is going on, under `/admin/v2/`: events, requests as they are answered, how services and their
//! nodes are, the gateways of the cluster, and their figures.

use std::sync::Arc;

use axum::Router;
use axum::extract::{OriginalUri, Request};
use axum::response::Response;
use axum::routing::get;
use http::{Method, StatusCode};
use serde_json::Value;

use super::Admin;
use super::problem::Problem;
use crate::cluster::{CREDENTIAL, Cluster};
use crate::telemetry::{Events, Series, Tap};

mod describe;
mod events;
mod figures;
mod gateways;
mod requests;
mod state;
mod stream;

pub(super) use describe::describe;
pub use figures::By;

/// How the services are, or the one of a name.
pub type Services = Arc<dyn Fn(Option<&str>) -> Vec<Value> + Send + Sync>;
/// This gateway's figures of routes (`false`) or nodes (`true`) since a time in seconds since 1970.
pub type OwnFigures = Arc<dyn Fn(bool, u64) -> Vec<Series> + Send + Sync>;

/// What these paths answer with.
#[derive(Clone)]
pub struct LiveDeps {
    /// What happens.
    pub events: Arc<Events>,
    /// Requests as they are answered.
    pub tap: Arc<Tap>,
    /// The gateways.
    pub cluster: Arc<Cluster>,
    /// How services and their nodes are.
    pub services: Services,
    /// The last hour.
    pub figures: OwnFigures,
}

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new()
        .route("/events", get(events::listen))
        .route("/requests", get(requests::watch))
        .route("/state/services", get(state::all))
        .route("/state/services/{name}", get(state::one))
        .route("/gateways", get(gateways::list))
        .route("/figures", get(figures::show))
}

/// What one gateway may ask another, and what lies below.
const FIGURES: &str = "/admin/v2/figures";
const SERVICES: &str = "/admin/v2/state/services";

fn is_for_gateways(path: &str) -> bool {
    path == FIGURES || path.strip_prefix(SERVICES).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a call is another gateway's, which has no user: `None` when it does not claim to be.
pub(super) fn of_a_gateway(admin: &Admin, request: &Request) -> Option<Result<(), Problem>> {
    let credential = request.headers().get(CREDENTIAL)?;
    let target = request.extensions().get::<OriginalUri>().map_or(request.uri(), |uri| &uri.0);
    if request.method() != Method::GET || !is_for_gateways(target.path()) {
        return Some(Err(Problem::new(
            StatusCode::FORBIDDEN,
            "gateways may only ask each other for figures and states",
        )));
    }
    let target = target.path_and_query().map_or("", |target| target.as_str());
    let credential = credential.to_str().unwrap_or_default();
    let admitted = admin.deps.live.cluster.admits(credential, request.method().as_str(), target);
    Some(admitted.map_err(|why| Problem::new(StatusCode::UNAUTHORIZED, why)))
}

/// The parameters of a call.
fn parameters<T: serde::de::DeserializeOwned>(uri: &http::Uri) -> Result<T, Problem> {
    let parsed = axum::extract::Query::<T>::try_from_uri(uri);
    parsed.map(|query| query.0).map_err(|e| {
        let cause = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
        Problem::new(StatusCode::BAD_REQUEST, format!("the query: {cause}"))
    })
}

/// Does what takes a moment on a thread that nobody waits for.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made"))
}

/// What is said when every seat is taken.
fn too_many(what: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("too many {what} already; try again later"))
}

type Answer = Result<Response, Problem>;
