//! What every call passes before it is handled: deadline, source filter, host, CORS. Each stands
//! before what costs more or tells more.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, RETRY_AFTER, SERVER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use super::peer::{self, PeerSource};
use super::problem::Problem;
use super::{answer, cors, path};

/// Longest time for a call, its body and the store included.
const DEADLINE: Duration = Duration::from_secs(30);

/// The settings of a router's front.
pub(super) struct Front {
    pub(super) source: PeerSource,
    pub(super) allow: Vec<IpNet>,
    pub(super) origins: Vec<String>,
    pub(super) server: HeaderValue,
}

/// What the front found out about a call, for its handler.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// The client's address.
    pub(super) from: IpAddr,
    /// The path as nginx read it.
    pub(super) path: String,
}

pub(super) async fn pass(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    let new_api = is_new_api(request.uri().path());
    let admitted = tokio::time::timeout(DEADLINE, front.admit(request, next)).await;
    let mut response =
        admitted.unwrap_or_else(|_| refusal(new_api, StatusCode::REQUEST_TIMEOUT, "the call took too long"));
    let headers = response.headers_mut();
    headers.insert(SERVER, front.server.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

impl Front {
    async fn admit(&self, mut request: Request, next: Next) -> Response {
        let new_api = is_new_api(request.uri().path());
        let Some(from) = self.source.of(&request).filter(|ip| peer::allowed(&self.allow, *ip)) else {
            return refusal(new_api, StatusCode::FORBIDDEN, "this address may not call the Admin API; see admin.allow");
        };
        if !peer::host_is_ours(&request, from, &self.origins) {
            log::warn!(
                "admin: refused a call from {from} for a host that is not this gateway (see admin.cors_origins)"
            );
            return refusal(new_api, StatusCode::FORBIDDEN, "the Host header does not name this gateway");
        }
        let Some(path) = path::normalised(request.uri().path()) else {
            return refusal(new_api, StatusCode::BAD_REQUEST, "the path is malformed");
        };
        let is_admin = path.starts_with("/admin");
        let preflight = is_admin && request.method() == Method::OPTIONS;
        let origin = cors::listed_origin(request.headers(), &self.origins);
        request.extensions_mut().insert(Call { from, path });

        let mut response = if preflight { answer::empty() } else { next.run(request).await };
        if is_admin {
            cors::mark(response.headers_mut(), origin, preflight);
        }
        response
    }
}

/// An error in the form of the API that was called.
fn refusal(new_api: bool, status: StatusCode, detail: &str) -> Response {
    if new_api { Problem::new(status, detail).into_response() } else { answer::page(status) }
}

/// What answers a call to a path while the store is handed over.
pub fn handed_over(path: &str) -> Response {
    const TEXT: &str = "the store is being handed over to a new process; try again";
    if is_new_api(path) {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, TEXT).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], format!("{TEXT}\n")).into_response()
}

fn is_new_api(path: &str) -> bool {
    path == "/admin/v2" || path.starts_with("/admin/v2/")
}
