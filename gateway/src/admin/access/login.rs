//! `/admin/v2/login` and `/admin/v2/logout`: sessions of the panel.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Router};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Answer, Caller};
use crate::admin::auth::{Attempt, Auth, LoginFailed};
use crate::admin::front::Call;
use crate::admin::problem::Problem;
use crate::admin::{Admin, answer};

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new().route("/logout", post(logout))
}

pub(super) fn open_router() -> Router<Arc<Admin>> {
    Router::new().route("/login", post(login).get(ways))
}

/// Who wants to log in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    /// The name of the account.
    username: String,
    /// Its password.
    password: String,
    /// The code of the authenticator app, where there is one.
    #[serde(default)]
    totp: Option<String>,
}

/// `GET /admin/v2/login`: how one can log in, which the panel asks before anyone has.
async fn ways(State(admin): State<Arc<Admin>>) -> Response {
    answer::json(&json!({"oidc": admin.oidc.is_some()}))
}

async fn login(
    State(admin): State<Arc<Admin>>,
    Extension(call): Extension<Call>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    // Another site's page must not log its visitor in as someone else.
    if !admin.auth.is_same_origin(&headers) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "log in from this gateway's own pages"));
    }
    let Credentials { username, password, totp } = super::json(body).await?;
    if username.len() > 256 || password.len() > 1024 {
        return Err(refused(LoginFailed::Wrong));
    }
    let attempt = Attempt { name: &username, password, code: totp.as_deref(), from: call.from };
    let session = admin.auth.begin_session(attempt).await.map_err(refused)?;
    let rights = admin.auth.rights_of(&username);
    let body = json!({
        "user": username,
        "role": rights.as_ref().map(|rights| rights.role),
        "services": rights.and_then(|rights| rights.services),
        "csrf_token": session.csrf.0,
    });
    let mut response = answer::json(&body);
    response.headers_mut().append(header::SET_COOKIE, session.cookie(&headers, false));
    Ok(response)
}

/// Why there is no session. Says as little as it can.
pub(super) fn refused(why: LoginFailed) -> Problem {
    match why {
        LoginFailed::Wrong => {
            Problem::new(StatusCode::UNAUTHORIZED, "the name, the password or the code is wrong, or too many were")
        }
        LoginFailed::CodeNeeded => {
            Problem::new(StatusCode::UNAUTHORIZED, "a code of the authenticator app is needed too").with_field("totp")
        }
        LoginFailed::Busy => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many log in at the same time; try again")
        }
        LoginFailed::Unavailable => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer"),
    }
}

async fn logout(State(admin): State<Arc<Admin>>, caller: Caller) -> Response {
    let mut response = match admin.auth.logout(&caller.principal, caller.from).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(e) => {
            log::error!("admin: a logout holds on this gateway only: {e}");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "you are logged out of this gateway only; try again")
                .into_response()
        }
    };
    response.headers_mut().append(header::SET_COOKIE, Auth::no_cookie(&caller.headers));
    response
}
