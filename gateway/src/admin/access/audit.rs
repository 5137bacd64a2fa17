//! `GET /admin/v2/audit`: who did what with accounts, tokens and logins, the newest first.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Caller, failed, shown_time};
use crate::admin::auth::{AUDIT, Entry};
use crate::admin::problem::Problem;
use crate::admin::{Admin, answer};

pub(super) const DEFAULT_LIMIT: usize = 100;
pub(super) const MAX_LIMIT: usize = 1_000;

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new().route("/audit", get(list))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    limit: Option<usize>,
    /// Entries older than the one of this id.
    before: Option<String>,
    actor: Option<String>,
    action: Option<String>,
}

async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Answer {
    caller.administers()?;
    let Query(filter) = filter.map_err(|e| Problem::new(StatusCode::BAD_REQUEST, e.body_text()))?;
    let limit = filter.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let family = admin.key(AUDIT);
    let listing = admin.deps.store.list(&family).await.map_err(|e| failed(&e))?;
    let mut entries = listing.entries.iter().rev().filter_map(|kv| {
        let id = kv.key.strip_prefix(&family)?;
        let entry: Entry = serde_json::from_slice(&kv.value).ok()?;
        let is_wanted = filter.before.as_deref().is_none_or(|before| id < before)
            && filter.actor.as_ref().is_none_or(|actor| entry.actor == *actor)
            && filter.action.as_ref().is_none_or(|action| entry.action == *action);
        is_wanted.then(|| shown(id, &entry))
    });
    let items: Vec<Value> = entries.by_ref().take(limit).collect();
    let next = entries.next().and_then(|_| items.last().map(|last| last["id"].clone()));
    Ok(answer::json(&json!({"items": items, "next": next})))
}

fn shown(id: &str, entry: &Entry) -> Value {
    json!({
        "id": id,
        "time": shown_time(entry.time),
        "actor": entry.actor,
        "credential": entry.credential,
        "address": entry.address,
        "action": entry.action,
        "target": entry.target,
        "detail": entry.detail,
    })
}
