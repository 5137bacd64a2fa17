//! Objects under `/admin/v2/<kind>/<id>`: listed, read, put and deleted as the store holds them.
//! One handler for every kind; a kind is a line in [`KINDS`].

use std::sync::Arc;

use async_trait::async_trait;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::auth::Principal;
use super::front::Call;
use super::problem::Problem;
use super::write::{Change, Plan, Refused};
use super::{Admin, answer, body};
use crate::resource::{chain_summary, key};
use crate::secret::Secrets;
use crate::store::{Kv, Op, StoreError};

/// A kind of object.
#[derive(Debug)]
pub(super) struct Kind {
    /// Its place in paths.
    pub(super) path: &'static str,
    /// Its family of keys.
    family: &'static str,
    /// What is never shown, as JSON pointers. A put that says [`UNCHANGED`] there keeps it.
    secrets: &'static [&'static str],
    /// Whether its secrets are encrypted in the store.
    is_sealed: bool,
    /// What is shown beside the object, and where.
    derived: Option<Derived>,
}

/// A field that is made of the object when it is shown.
type Derived = (&'static str, fn(&Value) -> Value);

/// The kinds there are.
pub(super) static KINDS: [Kind; 3] = [
    Kind { path: "services", family: key::SERVICES, secrets: &["/tls/key"], is_sealed: true, derived: None },
    Kind { path: "global-plugins", family: key::PLUGINS, secrets: &[], is_sealed: false, derived: None },
    Kind {
        path: "certificates",
        family: key::CERTIFICATES,
        secrets: &["/key"],
        is_sealed: true,
        derived: Some(("details", certificate_details)),
    },
];

/// Stands for a secret in what is shown.
const UNCHANGED: &str = "unchanged";

type Answer = Result<Response, Problem>;

impl Kind {
    fn key(&self, id: &str) -> Result<String, Problem> {
        let is_fine = !id.is_empty() && id.len() <= 256 && !id.chars().any(|c| c == '/' || c.is_control());
        is_fine.then(|| format!("{}{id}", self.family)).ok_or_else(|| {
            Problem::new(StatusCode::BAD_REQUEST, "a name has 1 to 256 bytes, without `/` and control characters")
        })
    }

    /// The object as it is shown.
    fn shown(&self, kv: &Kv) -> Value {
        let mut value = serde_json::from_slice(&kv.value)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&kv.value).into_owned()));
        for at in self.secrets {
            if let Some(secret) = value.pointer_mut(at) {
                *secret = UNCHANGED.into();
            }
        }
        if let (Some((name, derive)), Value::Object(_)) = (self.derived, &value) {
            value[name] = derive(&value);
        }
        value
    }
}

/// `GET /admin/v2/<kind>`
pub(super) async fn list(kind: &'static Kind, State(admin): State<Arc<Admin>>) -> Answer {
    let prefix = admin.key(kind.family);
    let listing = admin.deps.store.list(&prefix).await.map_err(|e| failed(&e.into()))?;
    let items: Map<String, Value> =
        listing.entries.iter().map(|kv| (kv.key[prefix.len()..].to_owned(), kind.shown(kv))).collect();
    Ok(answer::json(&json!({"revision": listing.revision, "items": items})))
}

/// `GET /admin/v2/<kind>/<id>`
pub(super) async fn get(kind: &'static Kind, State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Answer {
    let key = admin.key(&kind.key(&id)?);
    let kv = admin.deps.store.get(&key).await.map_err(|e| failed(&e.into()))?.ok_or_else(absent)?;
    let mut response = answer::json(&kind.shown(&kv));
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", kv.mod_revision)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// `PUT /admin/v2/<kind>/<id>`
pub(super) async fn put(
    kind: &'static Kind,
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Answer {
    let (parts, body) = request.into_parts();
    let body = body::read(body).await.map_err(|s| Problem::new(s, "the body cannot be read, or is too large"))?;
    let object: Map<String, Value> = serde_json::from_slice(&body)
        .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not a JSON object: {e}")))?;
    let key = kind.key(&id)?;
    allowed(kind, &id, parts.extensions.get())?;
    admin.apply(&Put { kind, key: &key, object }).await.map_err(|refused| failed(&refused))?;
    note(&parts.extensions, "put", &key);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `DELETE /admin/v2/<kind>/<id>`
pub(super) async fn delete(
    kind: &'static Kind,
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    Extension(principal): Extension<Principal>,
    Extension(call): Extension<Call>,
) -> Answer {
    let key = kind.key(&id)?;
    allowed(kind, &id, Some(&principal))?;
    let there = admin.deps.store.get(&admin.key(&key)).await.map_err(|e| failed(&e.into()))?;
    there.ok_or_else(absent)?;
    admin.apply(&Delete { key: &key }).await.map_err(|refused| failed(&refused))?;
    log::info!("admin: {} from {} deleted {key:?}", principal.name(), call.from);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Whether the caller may write an object.
fn allowed(kind: &Kind, id: &str, principal: Option<&Principal>) -> Result<(), Problem> {
    let rights = principal.map(Principal::rights);
    let may =
        rights.is_some_and(|r| if kind.family == key::SERVICES { r.may_edit(id) } else { r.may_edit_everything() });
    may.then_some(())
        .ok_or_else(|| Problem::new(StatusCode::FORBIDDEN, format!("you may not change {}/{id}", kind.path)))
}

fn note(extensions: &http::Extensions, what: &str, key: &str) {
    if let (Some(who), Some(call)) = (extensions.get::<Principal>(), extensions.get::<Call>()) {
        log::info!("admin: {} from {} {what} {key:?}", who.name(), call.from);
    }
}

fn absent() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such object")
}

fn failed(refused: &Refused) -> Problem {
    let status = match refused {
        Refused::Change(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refused::Store(StoreError::Conflict) => StatusCode::CONFLICT,
        Refused::Store(StoreError::Full(_)) => StatusCode::INSUFFICIENT_STORAGE,
        Refused::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, refused.to_string())
}

struct Put<'a> {
    kind: &'static Kind,
    key: &'a str,
    object: Map<String, Value>,
}

#[async_trait]
impl Change for Put<'_> {
    async fn plan(&self, admin: &Admin) -> Result<Plan, Refused> {
        let key = admin.key(self.key);
        let before = admin.deps.store.get(&key).await?;
        let mut value = Value::Object(self.object.clone());
        if let (Some((name, _)), Value::Object(object)) = (self.kind.derived, &mut value) {
            // What was read may be put back.
            object.remove(name);
        }
        for at in self.kind.secrets {
            keep_secret(&mut value, before.as_ref(), at)?;
            if self.kind.is_sealed {
                self.seal(admin, &mut value, at)?;
            }
        }
        let value = Bytes::from(value.to_string());
        admin.check(self.key, &value)?;
        let mut plan = Plan::default();
        plan.expect(&key, before.as_ref());
        plan.ops.push(Op::put(key, value));
        Ok(plan)
    }
}

impl Put<'_> {
    fn seal(&self, admin: &Admin, value: &mut Value, at: &str) -> Result<(), Refused> {
        let Some(secret) = value.pointer_mut(at) else { return Ok(()) };
        // A file is named, not shown.
        let is_plain = |text: &&str| !Secrets::is_sealed(text) && !text.starts_with("file:");
        let Some(plain) = secret.as_str().filter(is_plain) else { return Ok(()) };
        let sealed = (admin.deps.seal)(self.key, plain);
        *secret = sealed.map_err(|e| Refused::Change(format!("{}: {e}", &at[1..])))?.into();
        Ok(())
    }
}

/// What a certificate says, for who cannot read it in PEM.
fn certificate_details(object: &Value) -> Value {
    let summary = chain_summary(object["cert"].as_str().unwrap_or_default().as_bytes());
    let Ok(summary) = summary else { return Value::Null };
    let ends_in = summary.remaining(std::time::SystemTime::now());
    let mut details = serde_json::to_value(summary).unwrap_or_default();
    details["ends_in_seconds"] = ends_in.into();
    details
}

/// A secret that is said to be unchanged is taken from what is stored.
fn keep_secret(value: &mut Value, before: Option<&Kv>, at: &str) -> Result<(), Refused> {
    let Some(secret) = value.pointer_mut(at).filter(|secret| secret.as_str() == Some(UNCHANGED)) else {
        return Ok(());
    };
    let before: Option<Value> = before.and_then(|kv| serde_json::from_slice(&kv.value).ok());
    let stored = before.as_ref().and_then(|before| before.pointer(at)).ok_or_else(|| {
        Refused::Change(format!(
            "{}: is \"{UNCHANGED}\", but none is stored",
            at.trim_start_matches('/').replace('/', ".")
        ))
    })?;
    *secret = stored.clone();
    Ok(())
}

struct Delete<'a> {
    key: &'a str,
}

#[async_trait]
impl Change for Delete<'_> {
    async fn plan(&self, admin: &Admin) -> Result<Plan, Refused> {
        let key = admin.key(self.key);
        let Some(before) = admin.deps.store.get(&key).await? else { return Ok(Plan::default()) };
        let mut plan = Plan::default();
        plan.expect(&key, Some(&before));
        plan.ops.push(Op::delete(key));
        Ok(plan)
    }
}
