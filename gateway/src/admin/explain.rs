//! `POST /admin/v2/explain`: what would become of a request, now or with a change. Nothing is stored.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
use axum::routing::post;
use futures::future::BoxFuture;
use http::StatusCode;
use serde_json::Value;

use super::auth::Principal;
use super::problem::Problem;
use super::{Admin, answer, body};
use crate::resource::{Invalid, key};

/// Explains a request.
pub type Explain = Arc<dyn Fn(Value) -> BoxFuture<'static, Result<Value, Unexplained>> + Send + Sync>;

/// Why there is no explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unexplained {
    /// The question, or the change in it, is not valid.
    Invalid(Invalid),
    /// Too many ask at a time.
    Busy,
    /// It should not have happened.
    Failed,
}

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new().route("/explain", post(explain))
}

async fn explain(
    State(admin): State<Arc<Admin>>,
    Extension(principal): Extension<Principal>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let body = body::read(request.into_body()).await;
    let body = body.map_err(|status| Problem::new(status, "the body cannot be read, or is too large"))?;
    let question: Value = serde_json::from_slice(&body)
        .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, format!("{e}; expected {{\"url\": \"/a?b=1\"}}")))?;
    if let Some(change) = question.get("change").filter(|change| !change.is_null()) {
        permit(&principal, change)?;
    }
    let answer = (admin.deps.explain)(question).await.map_err(|reason| match reason {
        Unexplained::Invalid(invalid) => Problem::at(&invalid.path, invalid.reason),
        Unexplained::Busy => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests are being explained; try again")
        }
        Unexplained::Failed => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be explained"),
    })?;
    Ok(answer::json(&answer))
}

/// Who may ask what a change would do is who may make it: to try one out is to have it compiled, with the files that it
/// names.
fn permit(principal: &Principal, change: &Value) -> Result<(), Problem> {
    let rights = principal.rights();
    if rights.may_edit_everything() || concerned(change).is_some_and(|service| rights.may_edit(service)) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "change: only who may make a change may ask what it would do"))
}

/// The one service that a change concerns.
fn concerned(change: &Value) -> Option<&str> {
    let path = change.get("path")?.as_str()?;
    let of = |names: [&str; 2]| names.into_iter().find_map(|name| path.strip_prefix(name));
    if let Some(node) = of(["nodes/", key::NODES]).or_else(|| of(["node-overlays/", key::OVERLAYS])) {
        return key::service_of_node(node);
    }
    if path.starts_with(key::ROUTES) {
        return change.pointer("/value/service_name")?.as_str();
    }
    of(["services/", key::SERVICES])
}
