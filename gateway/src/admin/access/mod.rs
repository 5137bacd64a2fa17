//! Who may what, over HTTP: users, API tokens, a caller's own account, sessions of the panel, and the
//! record of all that. What a credential is and how it is checked is `auth`'s business.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::auth::{Principal, Services};
use super::front::Call;
use super::problem::Problem;
use super::{Admin, answer, body};
use crate::store::{Guard, Kv, Revision, StoreError};

mod audit;
mod describe;
mod login;
mod me;
mod oidc;
mod tokens;
mod totp;
mod users;

pub(super) use describe::describe;

/// How often a change is tried when others change the same.
const TRIES: usize = 5;

type Answer = Result<Response, Problem>;

/// What needs credentials.
pub(super) fn router() -> Router<Arc<Admin>> {
    let own = me::router().merge(totp::router());
    users::router().merge(tokens::router()).merge(own).merge(login::router()).merge(audit::router())
}

/// What needs none.
pub(super) fn open_router() -> Router<Arc<Admin>> {
    login::open_router().merge(oidc::open_router()).method_not_allowed_fallback(|| async {
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the path does not take this method")
    })
}

/// Who calls, from where, and with which headers.
struct Caller {
    principal: Principal,
    from: IpAddr,
    headers: HeaderMap,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let (principal, call) = (parts.extensions.get::<Principal>(), parts.extensions.get::<Call>());
        match (principal, call) {
            (Some(principal), Some(call)) => {
                Ok(Self { principal: principal.clone(), from: call.from, headers: parts.headers.clone() })
            }
            _ => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the call was not authenticated")),
        }
    }
}

impl Caller {
    /// Refuses all but administrators.
    fn administers(&self) -> Result<(), Problem> {
        let may = self.principal.rights().may_administer();
        may.then_some(()).ok_or_else(|| Problem::new(StatusCode::FORBIDDEN, "only an administrator may do this"))
    }
}

/// Reads a body of JSON.
async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let body = body::read(body).await.map_err(|s| Problem::new(s, "the body cannot be read, or is too large"))?;
    let value: Value = serde_json::from_slice(&body)
        .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {e}")))?;
    parsed(value)
}

/// Reads JSON as what it should be.
fn parsed<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|e| {
        let path = e.path().to_string();
        Problem::at(if path == "." { "" } else { &path }, e.inner())
    })
}

/// Whether what is stored is what the caller has in mind, as `If-Match` and `If-None-Match` say it.
fn check_match(headers: &HeaderMap, stored: Option<&Kv>) -> Result<(), Problem> {
    let stale = || Problem::new(StatusCode::PRECONDITION_FAILED, "it was changed since you read it; read it again");
    let has = |value: &HeaderValue| {
        let tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        stored.is_some_and(|kv| tags.into_iter().any(|tag| tag == "*" || tag == etag(kv.mod_revision)))
    };
    if headers.get(header::IF_MATCH).is_some_and(|value| !has(value)) {
        return Err(stale());
    }
    if headers.get(header::IF_NONE_MATCH).is_some_and(has) {
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "it is there already"));
    }
    Ok(())
}

fn etag(revision: Revision) -> String {
    format!("\"{revision}\"")
}

/// An object with the tag of its version.
fn tagged(status: StatusCode, value: &Value, revision: Revision) -> Response {
    let mut response = answer::json(value);
    *response.status_mut() = status;
    if let Ok(tag) = HeaderValue::try_from(etag(revision)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Demands that a key is as it was read.
fn unchanged(key: &str, read: Option<&Kv>) -> Guard {
    match read {
        Some(kv) => Guard::ModRevision(key.to_owned(), kv.mod_revision),
        None => Guard::Absent(key.to_owned()),
    }
}

fn failed(e: &StoreError) -> Problem {
    let status = match e {
        StoreError::Conflict => StatusCode::CONFLICT,
        StoreError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, e.to_string())
}

fn absent(what: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no such {what}"))
}

/// Checks the services rights are for.
fn check_services(services: Option<&Services>) -> Result<(), Problem> {
    let Some(Services(names)) = services else { return Ok(()) };
    if names.is_empty() || names.len() > 100 {
        return Err(Problem::at("services", "name 1 to 100 services, or leave it out for all"));
    }
    let is_fine = |name: &String| {
        let text = name.strip_suffix('*').unwrap_or(name);
        !name.is_empty() && name.len() <= 256 && !text.contains('*') && !text.chars().any(char::is_control)
    };
    match names.iter().find(|name| !is_fine(name)) {
        Some(bad) => Err(Problem::at(
            "services",
            format!("{bad:?} must be a name, or the beginning of names with one * after it, such as \"team-*\""),
        )),
        None => Ok(()),
    }
}

/// A text for people: of a bounded length, and of one line.
fn check_text(field: &str, text: &str, at_least: usize) -> Result<(), Problem> {
    let length = text.chars().count();
    if (at_least..=128).contains(&length) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Problem::at(field, format!("must have {at_least} to 128 characters, none of them a control character")))
}

/// Checks a password that someone has chosen.
fn check_password(field: &str, password: &str) -> Result<(), Problem> {
    if password.chars().count() >= 10 && password.len() <= 1024 {
        return Ok(());
    }
    Err(Problem::at(field, "must have at least 10 characters, and at most 1024 bytes"))
}

/// A time as it is shown.
fn shown_time(seconds: f64) -> Value {
    #[allow(clippy::cast_possible_truncation)]
    let time = chrono::DateTime::from_timestamp_millis((seconds * 1000.0) as i64);
    time.map_or(Value::Null, |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into())
}
