//! `/admin/v2/oidc/login` and `/callback`: where a browser begins and ends a login by the provider.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use super::{Answer, absent};
use crate::admin::front::Call;
use crate::admin::oidc::{Oidc, Refused, Returned};
use crate::admin::problem::Problem;
use crate::admin::{Admin, answer};

const COOKIE_NAME: &str = "ws_gateway_oidc";
/// The one place a login leads to. Nothing that a browser brings chooses another.
const PANEL: HeaderValue = HeaderValue::from_static("/dashboard/");

pub(super) fn open_router() -> Router<Arc<Admin>> {
    Router::new().route("/oidc/login", get(login)).route("/oidc/callback", get(callback))
}

async fn login(State(admin): State<Arc<Admin>>, Extension(call): Extension<Call>) -> Answer {
    let oidc = oidc(&admin)?;
    let begun = oidc.begin().await.map_err(|why| refused(&admin, oidc, call.from, &why))?;
    let location = HeaderValue::try_from(begun.location);
    let unfit = |_| refused(&admin, oidc, call.from, &Refused::Provider("its address cannot be sent".into()));
    let location = location.map_err(unfit)?;
    redirect(location, &admin, Some(&begun.binding))
}

#[derive(Deserialize)]
struct Back {
    #[serde(default)]
    state: String,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

async fn callback(
    State(admin): State<Arc<Admin>>,
    Extension(call): Extension<Call>,
    headers: HeaderMap,
    back: Result<Query<Back>, QueryRejection>,
) -> Answer {
    let Query(back) = back.map_err(|e| Problem::new(StatusCode::BAD_REQUEST, e.body_text()))?;
    let oidc = oidc(&admin)?;
    let refused = |why: Refused| refused(&admin, oidc, call.from, &why);
    let binding = binding(&headers).ok_or_else(|| refused(Refused::Unknown))?;
    let Some(code) = back.code.as_deref().filter(|_| back.error.is_none()) else {
        oidc.abandon(&back.state, binding).map_err(refused)?;
        // What the link says of the reason is anyone's.
        return Err(refused(Refused::Denied("it sent you back without a login".into())));
    };
    let returned = Returned { state: &back.state, code, issuer: back.iss.as_deref(), binding };
    let user = oidc.finish(returned).await.map_err(refused)?;
    let session = admin.auth.begin_foreign_session(&user.name, user.role, call.from).await;
    let session = session.map_err(super::login::refused)?;
    let mut response = redirect(PANEL, &admin, None)?;
    response.headers_mut().append(SET_COOKIE, session.cookie(&headers, is_secure(&admin)));
    Ok(response)
}

fn oidc(admin: &Admin) -> Result<&Oidc, Problem> {
    admin.oidc.as_ref().ok_or_else(|| absent("login; see admin.oidc in the configuration"))
}

/// Sends the browser on, with the cookie that ties the login to it, or without it. `Lax`: the browser
/// comes back from another site.
fn redirect(to: HeaderValue, admin: &Admin, binding: Option<&str>) -> Answer {
    let (value, age) = binding.map_or(("", 0), |binding| (binding, 600));
    let secure = if is_secure(admin) { "; Secure" } else { "" };
    let cookie = format!("{COOKIE_NAME}={value}; Path=/admin/v2/oidc; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
    let cookie = HeaderValue::try_from(cookie);
    let cookie = cookie.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no cookie could be made"))?;
    let mut response: Response = answer::empty();
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(LOCATION, to);
    response.headers_mut().append(SET_COOKIE, cookie);
    Ok(response)
}

/// Whether browsers come by TLS.
fn is_secure(admin: &Admin) -> bool {
    admin.deps.config.oidc.as_ref().is_some_and(|oidc| oidc.redirect_url.starts_with("https://"))
}

fn binding(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE_NAME).map(|(_, binding)| binding)
}

/// Counted like a wrong password: who tries many must not make the log grow.
fn refused(admin: &Admin, oidc: &Oidc, from: IpAddr, why: &Refused) -> Problem {
    log::debug!("admin: a login by the OpenID provider from {from} failed: {why}");
    match why {
        Refused::Provider(_) => oidc.complain(why),
        _ => admin.auth.count_foreign_failure(from),
    }
    let status = match why {
        Refused::Unknown => StatusCode::BAD_REQUEST,
        Refused::Denied(_) | Refused::Token(_) => StatusCode::UNAUTHORIZED,
        Refused::NotAllowed(_) => StatusCode::FORBIDDEN,
        Refused::Provider(_) => StatusCode::BAD_GATEWAY,
    };
    Problem::new(status, why.to_string())
}
