//! Objects under `/admin/v2/<kind>/<name>`: listed, read, created, put, patched and deleted as the
//! store holds them. One handler for every kind.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

mod describe;
mod list;
mod precondition;

use super::asked::Asked;
use super::kinds::{KINDS, Kind, Naming, Object, described};
use super::problem::Problem;
use super::write::{Change, Done, Plan, Refused};
use super::{Admin, answer};
use crate::history::Head;
use crate::store::{Kv, Revision};
use precondition::Precondition;

pub(super) use describe::describe;

pub(super) type Answer = Result<Response, Problem>;

/// The paths of all kinds.
pub(super) fn router() -> Router<Arc<Admin>> {
    KINDS.iter().fold(Router::new(), |router, kind| {
        let mut all = get(move |state, uri| list::list(kind, state, uri));
        if !matches!(kind.names, Naming::Given) {
            all = all.post(move |state, request| create(kind, state, request));
        }
        let one = get(move |state, name, headers| read(kind, state, name, headers))
            .put(move |state, name, request| put(kind, state, name, request))
            .patch(move |state, name, request| patch(kind, state, name, request))
            .delete(move |state, name, request| delete(kind, state, name, request));
        router.route(&format!("/{}", kind.path), all).route(&format!("/{}/{{name}}", kind.path), one)
    })
}

/// `GET /admin/v2/<kind>/<name>`
async fn read(
    kind: &'static Kind,
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let kv = stored(kind, &admin, &name).await?.ok_or_else(|| Refused::Absent(format!("{}/{name}", kind.path)))?;
    let tag = tag(kv.mod_revision);
    let mut response = if precondition::is_known(&headers, kv.mod_revision) {
        answer::with_type(StatusCode::NOT_MODIFIED, HeaderValue::from_static("application/json"), Body::empty())
    } else {
        answer::json(&kind.shown(&kv.value))
    };
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

/// `POST /admin/v2/<kind>`
async fn create(kind: &'static Kind, State(admin): State<Arc<Admin>>, request: Request<Body>) -> Answer {
    let (asked, body) = Asked::of(request).await?;
    let object = object(&body)?;
    let change = Create { kind, asked: &asked, object };
    let done = admin.apply(&change, &asked.request).await?;
    let name = written_name(kind, &done).unwrap_or_default();
    let mut response = saved(kind, &admin, &name, &done).await?;
    *response.status_mut() = if asked.request.is_dry_run { StatusCode::OK } else { StatusCode::CREATED };
    let location = format!("/admin/v2/{}/{}", kind.path, percent(&name));
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    asked.note(kind, &name, &done);
    Ok(response)
}

/// `PUT /admin/v2/<kind>/<name>`
async fn put(
    kind: &'static Kind,
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Answer {
    let precondition = Precondition::of(request.headers())?;
    let (asked, body) = Asked::of(request).await?;
    let edit = Edit::Replace(object(&body)?);
    save(&admin, &Save { kind, name, asked, precondition, edit }).await
}

/// `PATCH /admin/v2/<kind>/<name>`: a JSON merge patch (RFC 7396).
async fn patch(
    kind: &'static Kind,
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Answer {
    let precondition = Precondition::of(request.headers())?;
    let (asked, body) = Asked::of(request).await?;
    let edit = Edit::Merge(object(&body)?);
    save(&admin, &Save { kind, name, asked, precondition, edit }).await
}

async fn save(admin: &Admin, save: &Save) -> Answer {
    let done = admin.apply(save, &save.asked.request).await?;
    let mut response = saved(save.kind, admin, &save.name, &done).await?;
    let is_new = done.stored.is_some() && done.written.iter().any(|written| written.before.is_none());
    if is_new {
        *response.status_mut() = StatusCode::CREATED;
    }
    save.asked.note(save.kind, &save.name, &done);
    Ok(response)
}

/// `DELETE /admin/v2/<kind>/<name>`
async fn delete(
    kind: &'static Kind,
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Answer {
    let precondition = Precondition::of(request.headers())?;
    let (asked, _) = Asked::of(request).await?;
    let done = admin.apply(&Delete { kind, name: &name, asked: &asked, precondition }, &asked.request).await?;
    asked.note(kind, &name, &done);
    Ok(answer::json(&outcome(&done)))
}

async fn stored(kind: &Kind, admin: &Admin, name: &str) -> Result<Option<Kv>, Refused> {
    let key = admin.key(&kind.key(name).map_err(Refused::Name)?);
    Ok(admin.deps.store.get(&key).await?)
}

fn object(body: &[u8]) -> Result<Object, Problem> {
    serde_json::from_slice(body)
        .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not a JSON object: {e}")))
}

/// What is answered to a write.
pub(super) fn outcome(done: &Done) -> Value {
    let changes: Vec<Value> = done.written.iter().map(described).collect();
    let mut outcome = json!({"revision": done.revision, "changed": done.stored.is_some(), "changes": changes});
    if let Some(at) = done.undone_at {
        outcome["undone_at"] = at.into();
    }
    outcome
}

async fn saved(kind: &Kind, admin: &Admin, name: &str, done: &Done) -> Answer {
    let mut saved = outcome(done);
    saved["name"] = name.into();
    let after = done.written.iter().find_map(|written| Some((&written.key, written.after.as_ref()?)));
    saved["warnings"] = after.map_or_else(Vec::new, |(key, value)| (admin.deps.advise)(key, value)).into();
    let mut response = answer::json(&saved);
    let stored = match done.stored {
        Some(revision) => Some(revision),
        None => stored(kind, admin, name).await.ok().flatten().map(|kv| kv.mod_revision),
    };
    if let Some(revision) = stored {
        response.headers_mut().insert(header::ETAG, tag(revision));
    }
    Ok(response)
}

fn written_name(kind: &Kind, done: &Done) -> Option<String> {
    done.written.iter().find_map(|written| written.key.strip_prefix(kind.family)).map(str::to_owned)
}

fn tag(revision: Revision) -> HeaderValue {
    HeaderValue::try_from(format!("\"{revision}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

fn percent(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

struct Create<'a> {
    kind: &'static Kind,
    asked: &'a Asked,
    object: Object,
}

#[async_trait]
impl Change for Create<'_> {
    async fn plan(&self, admin: &Admin, _: Head) -> Result<Plan, Refused> {
        let kind = self.kind;
        let names = match kind.names {
            Naming::Given => Vec::new(),
            Naming::Derived(names) => names(&self.object),
            Naming::Fixed(name) => vec![name(&self.object)],
        };
        let mut taken = None;
        for name in names {
            if stored(kind, admin, &name).await?.is_some() {
                taken.get_or_insert(name);
                continue;
            }
            kind.allows(&self.asked.rights, &name, &self.object)?;
            let mut plan = Plan::default();
            if let Some(value) = kind.stored(admin, &name, self.object.clone(), None)? {
                plan.put(admin.key(&kind.key(&name)?), None, value);
            }
            return Ok(plan);
        }
        Err(Refused::Exists(format!("{}/{}", kind.path, taken.unwrap_or_default())))
    }
}

/// What is made of the object that is there.
enum Edit {
    Replace(Object),
    Merge(Object),
}

struct Save {
    kind: &'static Kind,
    name: String,
    asked: Asked,
    precondition: Precondition,
    edit: Edit,
}

#[async_trait]
impl Change for Save {
    async fn plan(&self, admin: &Admin, _: Head) -> Result<Plan, Refused> {
        let Self { kind, name, .. } = self;
        let shown = || format!("{}/{name}", kind.path);
        let before = stored(kind, admin, name).await?;
        kind.allows_stored(&self.asked.rights, name, before.as_ref())?;
        self.precondition.check(before.as_ref(), shown)?;
        let object = match (&self.edit, &before) {
            (Edit::Replace(object), _) => object.clone(),
            (Edit::Merge(patch), None) => {
                kind.allows(&self.asked.rights, name, patch)?;
                return Err(Refused::Absent(shown()));
            }
            (Edit::Merge(patch), Some(kv)) => merged(kv, patch)?,
        };
        kind.allows(&self.asked.rights, name, &object)?;
        let mut plan = Plan::default();
        let Some(value) = kind.stored(admin, name, object, before.as_ref())? else { return Ok(plan) };
        match &before {
            Some(kv) if kv.lease.is_some() && kind.path == "nodes" => {
                let text = "the node is its service's, which registered it; use node-overlays for its weight and state";
                return Err(Refused::Change(text.into()));
            }
            Some(_) if matches!(self.edit, Edit::Replace(_)) && !self.precondition.names_a_version() => {
                return Err(Refused::Unread(shown()));
            }
            _ => {}
        }
        plan.put_keeping_lease(admin.key(&kind.key(name)?), before.as_ref(), value);
        Ok(plan)
    }
}

fn merged(kv: &Kv, patch: &Object) -> Result<Object, Refused> {
    let mut value = serde_json::from_slice(&kv.value)
        .map_err(|e| Refused::Change(format!("what is stored is no JSON object and cannot be patched: {e}")))?;
    merge(&mut value, &Value::Object(patch.clone()));
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Refused::Change("what is stored is no JSON object and cannot be patched".into())),
    }
}

/// RFC 7396.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { return };
    for (name, patch) in patch {
        if patch.is_null() {
            target.shift_remove(name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), patch);
        }
    }
}

struct Delete<'a> {
    kind: &'static Kind,
    name: &'a str,
    asked: &'a Asked,
    precondition: Precondition,
}

#[async_trait]
impl Change for Delete<'_> {
    async fn plan(&self, admin: &Admin, _: Head) -> Result<Plan, Refused> {
        let shown = || format!("{}/{}", self.kind.path, self.name);
        let Some(before) = stored(self.kind, admin, self.name).await? else {
            self.kind.allows(&self.asked.rights, self.name, &Object::new())?;
            return Err(Refused::Absent(shown()));
        };
        self.kind.allows_stored(&self.asked.rights, self.name, Some(&before))?;
        self.precondition.check(Some(&before), shown)?;
        let mut plan = Plan::default();
        plan.delete(&before);
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_does_what_rfc_7396_shows() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": "foo"}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = target;
            merge(&mut merged, &patch);
            assert_eq!(merged, result, "{patch}");
        }
    }
}
