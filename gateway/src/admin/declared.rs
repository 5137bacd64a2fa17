//! `/admin/v2/export` and `/admin/v2/apply`: all that operators declare, as one document.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde_json::{Map, Value, json};

use super::asked::Asked;
use super::auth::Rights;
use super::kinds::{KINDS, Kind, Object, kind};
use super::objects::{Answer, outcome};
use super::problem::Problem;
use super::write::{Change, Plan, Refused};
use super::{Admin, answer};
use crate::history::Head;
use crate::resource::Invalid;
use crate::store::Kv;

mod describe;
pub(super) use describe::describe;

/// Largest document, in bytes.
const LARGEST: usize = 16 << 20;

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new().route("/export", get(export)).route("/apply", post(apply))
}

/// A label and what it must be.
type Label = (String, String);

/// Reads `team=shop`.
fn label(text: &str) -> Result<Label, Problem> {
    let label = text.split_once('=').filter(|(name, _)| !name.is_empty());
    label.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, format!("{text:?} is no label; expected a name and a value: team=shop"))
    })
}

fn has(object: &Object, labels: &[Label]) -> bool {
    labels.iter().all(|(name, value)| {
        object.get("labels").and_then(|labels| labels.get(name)).and_then(Value::as_str) == Some(value)
    })
}

/// The values of a query by their names; only these names are taken.
fn pairs(uri: &Uri, names: &[&str]) -> Result<Vec<(String, String)>, Problem> {
    let bad = |text: String| Problem::new(StatusCode::BAD_REQUEST, text);
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(uri.query().unwrap_or_default())
        .map_err(|e| bad(format!("the query cannot be read: {e}")))?;
    match pairs.iter().find(|(name, _)| !names.contains(&name.as_str())) {
        Some((name, _)) => Err(bad(format!("{name}: there is no such parameter; there are {}", names.join(", ")))),
        None => Ok(pairs),
    }
}

/// `GET /admin/v2/export?kind=&label=&format=yaml|json`
async fn export(State(admin): State<Arc<Admin>>, uri: Uri, headers: HeaderMap) -> Answer {
    let (mut kinds, mut labels, mut format) = (Vec::new(), Vec::new(), None);
    for (name, value) in pairs(&uri, &["kind", "label", "format"])? {
        match name.as_str() {
            "kind" => kinds.push(known_kind(&value).map_err(|e| Problem::new(StatusCode::BAD_REQUEST, e))?),
            "label" => labels.push(label(&value)?),
            _ => format = Some(value),
        }
    }
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let as_json = match format.as_deref() {
        Some("json") => true,
        Some("yaml") => false,
        Some(other) => {
            return Err(Problem::new(StatusCode::BAD_REQUEST, format!("format: {other:?} is neither yaml nor json")));
        }
        None => accepts.contains("application/json"),
    };
    let mut document = Map::new();
    for kind in KINDS.iter().filter(|kind| kinds.is_empty() || kinds.iter().any(|wanted| wanted.path == kind.path)) {
        let objects: Map<String, Value> = declared(&admin, kind)
            .await?
            .into_iter()
            .map(|(name, kv)| (name, kind.declared(&kv.value)))
            .filter(|(_, value)| value.as_object().is_some_and(|object| has(object, &labels)))
            .collect();
        if !objects.is_empty() {
            document.insert(kind.path.to_owned(), Value::Object(objects));
        }
    }
    if as_json { Ok(answer::json(&document)) } else { yaml(&document) }
}

fn yaml(document: &Map<String, Value>) -> Result<Response, Problem> {
    let text = serde_saphyr::to_string(document)
        .map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("it cannot be written as YAML: {e}")))?;
    Ok(answer::with_type(StatusCode::OK, HeaderValue::from_static("application/yaml"), Body::from(text)))
}

fn known_kind(path: &str) -> Result<&'static Kind, String> {
    kind(path).ok_or_else(|| {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.path).collect();
        format!("there is no kind {path:?}; there are {}", known.join(", "))
    })
}

/// The objects of a kind that operators declare, by name. What services register is theirs.
async fn declared(admin: &Admin, kind: &Kind) -> Result<BTreeMap<String, Kv>, Refused> {
    let prefix = admin.key(kind.family);
    let listing = admin.deps.store.list(&prefix).await?;
    let declared = listing.entries.into_iter().filter(|kv| kv.lease.is_none());
    Ok(declared.filter_map(|kv| Some((kv.key.strip_prefix(&prefix)?.to_owned(), kv))).collect())
}

/// `POST /admin/v2/apply?dry_run=&prune=team=shop`
async fn apply(State(admin): State<Arc<Admin>>, request: Request<Body>) -> Answer {
    let allowed = ["dry_run", "reason", "confirm_within", "prune"];
    let prune = pairs(request.uri(), &allowed)?.into_iter().filter(|(name, _)| name == "prune");
    let prune = prune.map(|(_, text)| label(&text)).collect::<Result<_, _>>()?;
    let (asked, body) = Asked::of_large(request, LARGEST).await?;
    let change = Apply { objects: document(&body)?, prune, rights: &asked.rights };
    let done = admin.apply(&change, &asked.request).await?;
    asked.note_text("applied a document", &done);
    let mut outcome = outcome(&done);
    let warnings = done.written.iter().filter_map(|written| {
        let warnings = (admin.deps.advise)(&written.key, written.after.as_ref()?);
        let (kind, name) = super::kinds::of_key(&written.key)?;
        (!warnings.is_empty()).then(|| json!({"kind": kind.path, "name": name, "warnings": warnings}))
    });
    outcome["warnings"] = warnings.collect();
    Ok(answer::json(&outcome))
}

/// The objects of a document, by kind and name.
type Objects = Vec<(&'static Kind, BTreeMap<String, Object>)>;

fn document(body: &[u8]) -> Result<Objects, Problem> {
    let bad = |text: String| Problem::new(StatusCode::BAD_REQUEST, text);
    let text = std::str::from_utf8(body).map_err(|e| bad(format!("the document is not UTF-8: {e}")))?;
    // YAML has JSON in it, but a JSON parser says better what is wrong with JSON.
    let document: Value = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|e| bad(format!("the document is not valid JSON: {e}")))?
    } else {
        serde_saphyr::from_str(text).map_err(|e| bad(format!("the document is not valid YAML: {e}")))?
    };
    let kinds = match document {
        Value::Object(kinds) => kinds,
        Value::Null => Map::new(),
        _ => {
            return Err(bad(
                "the document must have kinds, such as `routes:`, and under each the objects by name".into()
            ));
        }
    };
    let mut objects = Objects::new();
    for (path, named) in kinds {
        let kind = known_kind(&path).map_err(|e| Problem::at("", e))?;
        let named: BTreeMap<String, Object> = serde_path_to_error::deserialize(named)
            .map_err(|e| Problem::at(&format!("{path}.{}", e.path()), e.inner()))?;
        objects.push((kind, named));
    }
    // In the order of the kinds, however the document has them.
    objects.sort_by_key(|(kind, _)| KINDS.iter().position(|known| known.path == kind.path));
    Ok(objects)
}

struct Apply<'a> {
    objects: Objects,
    /// What has these labels, and is not in the document, is deleted; nothing, when there are none.
    prune: Vec<Label>,
    rights: &'a Rights,
}

#[async_trait]
impl Change for Apply<'_> {
    async fn plan(&self, admin: &Admin, _: Head) -> Result<Plan, Refused> {
        let (mut plan, mut wrong) = (Plan::default(), Vec::new());
        for kind in &KINDS {
            let named = self.objects.iter().find(|(own, _)| own.path == kind.path).map(|(_, named)| named);
            if named.is_none() && self.prune.is_empty() {
                continue;
            }
            let stored = admin.deps.store.list(&admin.key(kind.family)).await?;
            let stored: BTreeMap<&str, &Kv> = stored
                .entries
                .iter()
                .filter_map(|kv| Some((kv.key.strip_prefix(&admin.key(kind.family))?, kv)))
                .collect();
            for (name, object) in named.into_iter().flatten() {
                if let Err(refused) = self.one(admin, kind, name, object, stored.get(name.as_str()).copied(), &mut plan)
                {
                    wrong.push(placed(kind, name, refused)?);
                }
            }
            let kept: BTreeSet<&str> = named.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            self.prune(kind, &kept, &stored, &mut plan)?;
        }
        if wrong.is_empty() { Ok(plan) } else { Err(Refused::Many(wrong)) }
    }
}

impl Apply<'_> {
    fn one(
        &self,
        admin: &Admin,
        kind: &Kind,
        name: &str,
        object: &Object,
        before: Option<&Kv>,
        plan: &mut Plan,
    ) -> Result<(), Refused> {
        let Some(value) = kind.stored(admin, name, object.clone(), before)? else { return Ok(()) };
        kind.allows_stored(self.rights, name, before)?;
        kind.allows(self.rights, name, object)?;
        if before.is_some_and(|kv| kv.lease.is_some()) {
            return Err(Refused::Change("is registered by its service, and cannot be declared too".into()));
        }
        let key = kind.key(name).map_err(Refused::Name)?;
        plan.put(admin.key(&key), before, value);
        Ok(())
    }

    fn prune(
        &self,
        kind: &Kind,
        kept: &BTreeSet<&str>,
        stored: &BTreeMap<&str, &Kv>,
        plan: &mut Plan,
    ) -> Result<(), Refused> {
        if self.prune.is_empty() {
            return Ok(());
        }
        for (name, kv) in stored.iter().filter(|(name, kv)| !kept.contains(*name) && kv.lease.is_none()) {
            let object: Object = serde_json::from_slice(&kv.value).unwrap_or_default();
            if has(&object, &self.prune) {
                kind.allows(self.rights, name, &object)?;
                plan.delete(kv);
            }
        }
        Ok(())
    }
}

/// An error with the object's place in the document before it. What is no error of the object stays.
fn placed(kind: &Kind, name: &str, refused: Refused) -> Result<Invalid, Refused> {
    let place = format!("{}.{name}", kind.path);
    match refused {
        Refused::Invalid(Invalid { path, reason }) if path.is_empty() => Ok(Invalid { path: place, reason }),
        Refused::Invalid(Invalid { path, reason }) => Ok(Invalid { path: format!("{place}.{path}"), reason }),
        Refused::Change(reason) => Ok(Invalid { path: place, reason }),
        Refused::Name(invalid) => Ok(Invalid { path: place, reason: invalid.reason }),
        other => Err(other),
    }
}
