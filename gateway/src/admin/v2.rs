//! The new API under `/admin/v2/`. Errors are problem details (RFC 9457).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::auth::{Denied, Principal};
use super::front::Call;
use super::problem::Problem;
use super::{Admin, access, answer, body, declared, explain, history, live, objects, openapi, plugins, registrations};

mod describe;
pub(super) use describe::describe;

pub(super) fn router(admin: Arc<Admin>) -> Router<Arc<Admin>> {
    objects::router()
        .route("/status", get(status))
        .route("/log-level", get(log_level).put(set_log_level))
        .merge(registrations::router())
        .merge(explain::router())
        .merge(live::router())
        .merge(history::router())
        .merge(declared::router())
        .merge(plugins::router())
        .merge(access::router())
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is no such path") })
        .method_not_allowed_fallback(method_not_allowed)
        // Around the fallbacks too: who is not logged in does not learn which paths there are.
        .layer(middleware::from_fn_with_state(admin, authenticated))
        .merge(openapi::router())
        .merge(access::open_router())
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the path does not take this method")
}

async fn authenticated(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    if let Some(admitted) = live::of_a_gateway(&admin, &request) {
        return match admitted {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        };
    }
    let denied = match admin.auth.authenticate(request.method(), request.headers()).await {
        Ok(principal) if !principal.is_full() && !registrations::has(&request) => {
            return Problem::new(StatusCode::FORBIDDEN, "this token may only register nodes").into_response();
        }
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            return next.run(request).await;
        }
        Err(denied) => denied,
    };
    match denied {
        Denied::NoToken => Problem::new(StatusCode::UNAUTHORIZED, "log in, and send the token as X-Token"),
        Denied::BadToken | Denied::UnknownUser => {
            Problem::new(StatusCode::UNAUTHORIZED, "the token is not valid or has ended; log in again")
        }
        Denied::Forged => Problem::new(
            StatusCode::FORBIDDEN,
            "a call with the session's cookie needs its X-CSRF-Token and must come from this gateway's own pages",
        ),
        Denied::Unavailable => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the store has not answered yet"),
    }
    .into_response()
}

async fn status(State(admin): State<Arc<Admin>>) -> Response {
    answer::json(&(admin.deps.status)())
}

async fn log_level(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    level(&admin, None)
}

/// The level of the error log.
#[derive(Deserialize, ToSchema)]
#[schema(as = LogLevel)]
#[serde(deny_unknown_fields)]
struct SetLevel {
    /// One of `off`, `error`, `warn`, `info`, `debug`, `trace`.
    #[schema(example = "info")]
    level: String,
}

async fn set_log_level(State(admin): State<Arc<Admin>>, request: Request<Body>) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    if !parts.extensions.get::<Principal>().is_some_and(|who| who.rights().may_administer()) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "only an administrator sets the log level"));
    }
    let body =
        body::read(body).await.map_err(|status| Problem::new(status, "the body cannot be read, or is too large"))?;
    let wanted: SetLevel = serde_json::from_slice(&body)
        .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, format!("{e}; expected {{\"level\": \"info\"}}")))?;
    let response = level(&admin, Some(&wanted.level))?;
    if let (Some(who), Some(call)) = (parts.extensions.get::<Principal>(), parts.extensions.get::<Call>()) {
        log::info!("admin: {} from {} set the log level to {}", who.name(), call.from, wanted.level);
    }
    Ok(response)
}

fn level(admin: &Admin, wanted: Option<&str>) -> Result<Response, Problem> {
    match (admin.deps.log_level)(wanted) {
        Ok(level) => Ok(answer::json(&json!({"level": level}))),
        Err(reason) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, reason)),
    }
}
