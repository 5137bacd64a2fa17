//! What every call passes before it is handled: deadline, source filter, host, CORS. Each stands
//! before what costs more or tells more. Every answer leaves with what tells a browser to be strict.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, RETRY_AFTER, SERVER, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use super::calls::{CallEnded, Ongoing};
use super::peer::{self, PeerSource};
use super::problem::Problem;
use super::{answer, body, cors, path};

/// Longest time for a call, its body and the store included.
const DEADLINE: Duration = Duration::from_secs(30);
/// Largest body that is read before the caller is known.
const READ_AHEAD: u64 = 64 << 10;

/// Nothing from elsewhere, nothing inline, in no one's frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
);

/// The settings of a router's front.
pub(super) struct Front {
    pub(super) source: PeerSource,
    pub(super) allow: Vec<IpNet>,
    pub(super) origins: Vec<String>,
    pub(super) server: HeaderValue,
    pub(super) ended: CallEnded,
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
    let call = Ongoing::begin(&front.ended, &request, front.source.of(&request));
    let admitted = tokio::time::timeout(DEADLINE, front.admit(request, next)).await;
    let mut response =
        admitted.unwrap_or_else(|_| refusal(new_api, StatusCode::REQUEST_TIMEOUT, "the call took too long"));
    let headers = response.headers_mut();
    headers.insert(SERVER, front.server.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // A page that needs another one says so.
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(POLICY);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    call.answered(&response);
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
        let request = if self.source == PeerSource::Header { read_ahead(request).await } else { Ok(request) };
        let mut response = match request {
            Ok(_) if preflight => answer::empty(),
            Ok(request) => next.run(request).await,
            Err(status) => refusal(new_api, status, "the body cannot be read"),
        };
        if is_admin {
            cors::mark(response.headers_mut(), origin, preflight);
        }
        response
    }
}

/// Reads a small body before anything is answered. The data plane keeps its connection to us for the
/// next call, and a connection ends when a call was refused before its body had come.
async fn read_ahead(request: Request) -> Result<Request, StatusCode> {
    if request.body().size_hint().upper().is_none_or(|size| size > READ_AHEAD) {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    Ok(Request::from_parts(parts, Body::from(body::read(body).await?)))
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
