//! `GET /state/services`: how services and their nodes are, as this gateway sees them, or another one.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::{StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::problem::Problem;
use super::super::{Admin, answer};
use super::{Answer, SERVICES, aside, parameters};

/// What is asked for.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    /// The gateway that is asked; this one when absent.
    gateway: Option<String>,
}

pub(super) async fn all(State(admin): State<Arc<Admin>>, uri: Uri) -> Answer {
    if let Some(answer) = of_another(&admin, &uri, None).await? {
        return Ok(answer::json(&answer));
    }
    let services = Arc::clone(&admin.deps.live.services);
    Ok(answer::json(&json!({"services": aside(move || services(None)).await?})))
}

pub(super) async fn one(State(admin): State<Arc<Admin>>, Path(name): Path<String>, uri: Uri) -> Answer {
    if let Some(answer) = of_another(&admin, &uri, Some(&name)).await? {
        return Ok(answer::json(&answer));
    }
    let (services, wanted) = (Arc::clone(&admin.deps.live.services), name.clone());
    let found = aside(move || services(Some(&wanted)).into_iter().next()).await?;
    let none = || Problem::new(StatusCode::NOT_FOUND, format!("service \"{name}\" has no node that takes requests"));
    Ok(answer::json(&found.ok_or_else(none)?))
}

/// What another gateway answers, when one is asked for.
async fn of_another(admin: &Admin, uri: &Uri, name: Option<&str>) -> Result<Option<Value>, Problem> {
    let cluster = &admin.deps.live.cluster;
    let wanted: Wanted = parameters(uri)?;
    let Some(gateway) = wanted.gateway.filter(|id| id != cluster.id()) else { return Ok(None) };
    if !cluster.knows(&gateway) {
        let detail = format!("there is no gateway \"{gateway}\" (any more)");
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    let name = name.map(|name| format!("/{}", utf8_percent_encode(name, NON_ALPHANUMERIC)));
    let target = format!("{SERVICES}{}", name.unwrap_or_default());
    let missing = |why| Problem::new(StatusCode::BAD_GATEWAY, format!("gateway \"{gateway}\": {why}"));
    let body = cluster.ask_one(&gateway, &target).await.map_err(missing)?;
    serde_json::from_slice(&body).map(Some).map_err(|e| missing(format!("its answer is not understood: {e}")))
}
