//! The status listener: health for probes, metrics for Prometheus, and nginx's stub status.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use http::header::{CACHE_CONTROL, SERVER};
use http::{HeaderValue, StatusCode};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::peer::{PeerSource, allowed};
use super::{answer, server_header};

/// Longest time for a call.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the status listener answers with. None of it may block.
pub struct StatusDeps {
    /// Whether requests can be served, and the detail (staleness and the like).
    pub ready: Arc<dyn Fn() -> (bool, Value) + Send + Sync>,
    /// The metrics in the OpenMetrics text form.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// nginx's stub status, in its text form.
    pub nginx_status: Arc<dyn Fn() -> String + Send + Sync>,
    /// Who may read `/nginx_status`, which was filtered in the first gateway.
    pub nginx_status_allow: Vec<IpNet>,
    /// The `Server` header.
    pub server_header: String,
}

/// `/healthz`, `/readyz`, `/metrics` and `/nginx_status`, for clients told apart by `source`.
pub fn status_router(deps: StatusDeps, source: PeerSource) -> Router {
    let server = server_header(&deps.server_header);
    Router::new()
        .route("/healthz", get(|| async { answer::json(&json!({"status": "ok"})) }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route(
            "/nginx_status",
            get(move |State(deps): State<Arc<StatusDeps>>, request: Request| async move {
                nginx_status(&deps, source, &request)
            }),
        )
        .fallback(|| async { answer::page(StatusCode::NOT_FOUND) })
        .method_not_allowed_fallback(|| async { answer::page(StatusCode::METHOD_NOT_ALLOWED) })
        .with_state(Arc::new(deps))
        .layer(middleware::from_fn_with_state(server, finish))
}

async fn ready(State(deps): State<Arc<StatusDeps>>) -> Response {
    let (ready, detail) = (deps.ready)();
    let mut response = answer::json(&detail);
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

async fn metrics(State(deps): State<Arc<StatusDeps>>) -> Response {
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    // With many routes the text takes a moment; probes on this thread need not wait for it.
    match tokio::task::spawn_blocking(move || (deps.metrics)()).await {
        Ok(text) => answer::with_type(StatusCode::OK, kind, Body::from(text)),
        Err(_) => answer::page(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn nginx_status(deps: &StatusDeps, source: PeerSource, request: &Request) -> Response {
    if !source.of(request).is_some_and(|ip| allowed(&deps.nginx_status_allow, ip)) {
        return answer::page(StatusCode::FORBIDDEN);
    }
    answer::with_type(StatusCode::OK, HeaderValue::from_static("text/plain"), Body::from((deps.nginx_status)()))
}

async fn finish(State(server): State<HeaderValue>, request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(DEADLINE, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| answer::page(StatusCode::REQUEST_TIMEOUT));
    response.headers_mut().insert(SERVER, server);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
