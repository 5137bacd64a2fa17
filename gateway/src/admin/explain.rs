//! `POST /admin/v2/explain`: what would become of a request, now or with a change. Nothing is stored.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
use axum::routing::post;
use futures::future::BoxFuture;
use http::StatusCode;
use serde_json::{Value, json};

use super::auth::{Principal, Rights};
use super::kinds::{self, Kind};
use super::problem::Problem;
use super::write::Refused;
use super::{Admin, answer, body};
use crate::resource::{Invalid, key};
use crate::store::Kv;

mod describe;
pub(super) use describe::describe;

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
    let mut question: Value = serde_json::from_slice(&body)
        .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, format!("{e}; expected {{\"url\": \"/a?b=1\"}}")))?;
    // A list of the fields would be read as well, and pass by the check of rights below.
    if !question.is_object() {
        return Err(Problem::at("", "expected an object, such as {\"url\": \"/a?b=1\"}"));
    }
    let path = question.pointer("/change/path").cloned();
    if let Some(change) = question.get_mut("change").filter(|change| !change.is_null()) {
        if !change.is_object() {
            return Err(Problem::at("change", "expected an object with path and value"));
        }
        as_stored(&admin, &principal.rights(), change).await?;
    }
    let mut answer = (admin.deps.explain)(question).await?;
    if let (Some(shown), Some(path)) = (answer.pointer_mut("/change/path"), path) {
        *shown = path;
    }
    Ok(answer::json(&answer))
}

/// Makes of a change what would be stored, as a save does. What is no change at all is left to who explains.
async fn as_stored(admin: &Admin, rights: &Rights, change: &mut Value) -> Result<(), Problem> {
    let (Some(path), Some(value)) = (change.get("path").and_then(Value::as_str), change.get("value")) else {
        return Ok(());
    };
    let Some((kind, name)) = named(path).filter(|(kind, _)| kind.family != key::CERTIFICATES) else { return Ok(()) };
    let full_key = kind.key(name).map_err(|invalid| Problem::at("change.path", invalid.reason))?;
    let before = admin.deps.store.get(&admin.key(&full_key)).await.map_err(Refused::from)?;
    permit(rights, kind, name, before.as_ref(), value)?;
    let value = match value {
        Value::Object(object) => {
            let stored = kind.stored(admin, name, object.clone(), before.as_ref()).map_err(in_change)?;
            // Nothing is to be stored when that is there already.
            stored.or_else(|| before.map(|kv| kv.value.to_vec())).unwrap_or_default()
        }
        Value::Null => b"null".to_vec(),
        _ => return Err(Problem::at("change.value", "expected an object, or null to delete it")),
    };
    let value: Value = serde_json::from_slice(&value).map_err(|e| Problem::at("change.value", e))?;
    *change = json!({"path": full_key, "value": value});
    Ok(())
}

/// The kind and the name of what a path, or a key of the store, names.
fn named(path: &str) -> Option<(&'static Kind, &str)> {
    let by_path = path.split_once('/').and_then(|(kind, name)| Some((kinds::kind(kind)?, name)));
    by_path.or_else(|| kinds::of_key(path))
}

/// Who may ask what a change would do is who may make it: to try one out is to have it compiled, with the files that it
/// names.
fn permit(rights: &Rights, kind: &Kind, name: &str, before: Option<&Kv>, value: &Value) -> Result<(), Refused> {
    kind.allows_stored(rights, name, before)?;
    value.as_object().map_or(Ok(()), |object| kind.allows(rights, name, object))
}

fn in_change(refused: Refused) -> Problem {
    match refused {
        Refused::Invalid(Invalid { path, reason }) => {
            let dot = if path.is_empty() { "" } else { "." };
            Problem::at(&format!("change.value{dot}{path}"), reason)
        }
        other => other.into(),
    }
}

impl From<Unexplained> for Problem {
    fn from(reason: Unexplained) -> Self {
        match reason {
            Unexplained::Invalid(invalid) => Self::at(&invalid.path, invalid.reason),
            Unexplained::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests are being explained; try again")
            }
            Unexplained::Failed => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be explained"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::auth::{Role, Services};

    #[test]
    fn who_may_not_make_a_change_may_not_try_it_out() {
        let of = |role, services: Option<&[&str]>| Rights {
            role,
            services: services.map(|names| Services(names.iter().map(ToString::to_string).collect())),
        };
        let route = json!({"prefix": "/a", "service_name": "shop"});
        let cases = [
            (of(Role::Viewer, None), "services/shop", json!({}), false),
            (of(Role::Editor, None), "services/shop", json!({}), true),
            (of(Role::Editor, Some(&["shop"])), "gw/services/shop", json!({}), true),
            (of(Role::Editor, Some(&["shop"])), "services/other", json!({}), false),
            (of(Role::Editor, Some(&["shop"])), "routes/a", route.clone(), true),
            (of(Role::Editor, Some(&["other"])), "routes/a", route, false),
            (of(Role::Editor, Some(&["shop"])), "global-plugins/tracing", json!({}), false),
        ];
        for (rights, path, value, expected) in cases {
            let (kind, name) = named(path).unwrap();
            assert_eq!(permit(&rights, kind, name, None, &value).is_ok(), expected, "{rights:?} {path}");
        }
        assert!(named("nothing/x").is_none());
    }
}
