//! `GET /state/services`: how services and their nodes are, as this gateway sees them.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::json;

use super::super::problem::Problem;
use super::super::{Admin, answer};
use super::Answer;

pub(super) async fn all(State(admin): State<Arc<Admin>>) -> Answer {
    Ok(answer::json(&json!({"services": (admin.deps.live.services)(None)})))
}

pub(super) async fn one(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Answer {
    let found = (admin.deps.live.services)(Some(&name)).into_iter().next();
    let none = || Problem::new(StatusCode::NOT_FOUND, format!("service \"{name}\" has no node that takes requests"));
    Ok(answer::json(&found.ok_or_else(none)?))
}
