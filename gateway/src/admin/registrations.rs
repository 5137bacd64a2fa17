//! `/admin/v2/registrations`: services register their nodes here, on either store, and keep them
//! alive with heartbeats. The one part of the API that a token for registrations may use.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, MatchedPath, Path, Query, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::auth::Principal;
use super::front::Call;
use super::problem::Problem;
use super::{Admin, answer, body};
use crate::registration::{Listed, MAX_TTL, MIN_TTL, Refused, Registration};
use crate::store::StoreError;

mod describe;
pub(super) use describe::describe;

const ROOT: &str = "/registrations";

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new()
        .route(ROOT, get(list))
        .route(&format!("{ROOT}/{{service}}/{{upstream}}"), put(register).delete(remove))
        .route(&format!("{ROOT}/{{service}}/{{upstream}}/heartbeat"), post(heartbeat))
}

/// Whether a call goes to one of these, by what it was matched with and not by how it is written.
pub(super) fn has(request: &Request) -> bool {
    let matched = request.extensions().get::<MatchedPath>();
    let own = matched.and_then(|path| path.as_str().strip_prefix("/admin/v2")?.strip_prefix(ROOT));
    own.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a service says of its node. All of it is optional.
#[derive(Deserialize, Default, ToSchema)]
#[schema(as = RegistrationWanted)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    /// Its share of the requests; 1 when absent.
    weight: Option<u32>,
    /// Whether it takes requests: 1, or absent.
    status: Option<u8>,
    /// How long it stays without a heartbeat, 1s to 1h: a text, or a number of seconds.
    #[serde(deserialize_with = "ttl")]
    #[schema(value_type = Option<String>, example = "10s")]
    ttl: Option<Duration>,
    /// Whether it may take the place of a node that an operator set.
    replace: bool,
}

/// Whose node, and which.
type Named = Result<Path<(String, String)>, PathRejection>;

async fn register(
    State(admin): State<Arc<Admin>>,
    Extension(principal): Extension<Principal>,
    named: Named,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (service, upstream) = permitted(&principal, named)?;
    let (parts, body) = request.into_parts();
    let body =
        body::read(body).await.map_err(|status| Problem::new(status, "the body cannot be read, or is too large"))?;
    let wanted = wanted(&body)?;
    if wanted.replace && !principal.is_full() {
        return Err(Problem::new(StatusCode::FORBIDDEN, "replace: this token may not replace what an operator set"));
    }
    let mut node = Registration::new(&service, &upstream);
    node.weight = wanted.weight.unwrap_or(node.weight);
    node.enabled = wanted.status.is_none_or(|status| status == 1);
    node.ttl = wanted.ttl.unwrap_or(node.ttl);
    node.replace = wanted.replace;
    (admin.deps.check)(&node.key(), &node.value()).map_err(|invalid| Problem::at(&invalid.path, invalid.reason))?;

    let registered = admin.registrar.register(&node).await?;
    let status = if registered.created { StatusCode::CREATED } else { StatusCode::OK };
    if let (true, Some(call)) = (registered.created, parts.extensions.get::<Call>()) {
        log::info!("admin: {} from {} registered {:?} of {service:?}", principal.name(), call.from, upstream);
    }
    let stored = serde_json::from_slice(&node.value()).unwrap_or_default();
    let mut response = answer::json(&shown(stored, Some(node.ttl), Some(registered.left)));
    *response.status_mut() = status;
    Ok(response)
}

async fn heartbeat(
    State(admin): State<Arc<Admin>>,
    Extension(principal): Extension<Principal>,
    named: Named,
) -> Result<Response, Problem> {
    let (service, upstream) = permitted(&principal, named)?;
    let left = admin.registrar.heartbeat(&service, &upstream).await?;
    Ok(answer::json(&json!({"expires_in": left.as_secs()})))
}

async fn remove(
    State(admin): State<Arc<Admin>>,
    Extension(principal): Extension<Principal>,
    Extension(call): Extension<Call>,
    named: Named,
) -> Result<Response, Problem> {
    let (service, upstream) = permitted(&principal, named)?;
    admin.registrar.remove(&service, &upstream).await?;
    log::info!("admin: {} from {} removed {upstream:?} of {service:?}", principal.name(), call.from);
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    service: Option<String>,
}

async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(principal): Extension<Principal>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(filter) = filter.map_err(|e| Problem::new(StatusCode::BAD_REQUEST, e.body_text()))?;
    if let Some(service) = filter.service.as_ref().filter(|_| !principal.is_full()) {
        check_scope(&principal, service)?;
    }
    let listed = admin.registrar.list(filter.service.as_deref()).await.map_err(Refused::from)?;
    let own = |listed: &Listed| {
        let service = listed.node.get("service_name").and_then(Value::as_str).unwrap_or_default();
        principal.is_full() || principal.may_register(service)
    };
    let nodes: Vec<_> = listed.into_iter().filter(own).map(|l| shown(l.node, l.ttl, l.left)).collect();
    Ok(answer::json(&json!({"registrations": nodes})))
}

/// A node as it is answered: as stored, with what is known of its lease in whole seconds.
fn shown(mut node: Map<String, Value>, ttl: Option<Duration>, left: Option<Duration>) -> Map<String, Value> {
    node.remove("registration");
    node.insert("ttl".into(), json!(ttl.map(|ttl| ttl.as_secs())));
    node.insert("expires_in".into(), json!(left.map(|left| left.as_secs())));
    node
}

/// The service and the address of the path, once the caller may register that service.
fn permitted(principal: &Principal, named: Named) -> Result<(String, String), Problem> {
    let Path((service, upstream)) = named.map_err(|e| Problem::new(StatusCode::BAD_REQUEST, e.body_text()))?;
    check_scope(principal, &service)?;
    Ok((service, upstream))
}

fn check_scope(principal: &Principal, service: &str) -> Result<(), Problem> {
    if principal.may_register(service.trim()) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, format!("this token may not register nodes of \"{service}\"")))
}

fn wanted(body: &[u8]) -> Result<Wanted, Problem> {
    if body.is_empty() {
        return Ok(Wanted::default());
    }
    let value: Value = serde_json::from_slice(body)
        .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {e}")))?;
    serde_path_to_error::deserialize(value).map_err(|e| {
        let path = e.path().to_string();
        Problem::at(if path == "." { "" } else { &path }, e.inner())
    })
}

/// A time to live: seconds, or a text such as `10s`.
fn ttl<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    use serde::de::Error as _;
    let ttl = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(None),
        Value::Number(seconds) => seconds.as_u64().map(Duration::from_secs),
        Value::String(text) => humantime::parse_duration(&text).ok(),
        _ => None,
    };
    match ttl {
        Some(ttl) if (MIN_TTL..=MAX_TTL).contains(&ttl) => {
            // The stores count in whole seconds.
            Ok(Some(Duration::from_secs(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0))))
        }
        _ => Err(D::Error::custom("expected seconds, or a text such as \"10s\", from 1s to 1h")),
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let status = match &refused {
            Refused::NotRegistered(_) => StatusCode::NOT_FOUND,
            Refused::Permanent(_) | Refused::TooMany(_) | Refused::Store(StoreError::Conflict) => StatusCode::CONFLICT,
            Refused::Store(StoreError::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Refused::Store(StoreError::Invalid(_)) => StatusCode::UNPROCESSABLE_ENTITY,
            Refused::Store(StoreError::Full(_)) => StatusCode::INSUFFICIENT_STORAGE,
            Refused::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            log::warn!("admin: a registration failed: {refused}");
        }
        Self::new(status, refused.to_string())
    }
}
