//! `GET /gateways`: the gateways of the cluster, and how far each is.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use serde_json::{Value, json};

use super::super::{Admin, answer};
use super::Answer;
use crate::cluster::Member;

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Answer {
    let cluster = &admin.deps.live.cluster;
    let members = cluster.members().await;
    let shown: Vec<Value> = members.iter().map(|member| shown(member, member.id == cluster.id())).collect();
    Ok(answer::json(&json!({"gateways": shown})))
}

fn shown(member: &Member, is_own: bool) -> Value {
    let report = &member.report;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    json!({
        "id": member.id,
        "self": is_own,
        "hostname": report.hostname,
        "version": report.version,
        "started": report.started,
        "uptime_seconds": now.saturating_sub(report.started),
        "url": report.url,
        "ready": report.ready,
        "draining": report.draining,
        "stored_revision": report.stored_revision,
        "applied_revision": report.applied_revision,
        "lag": report.stored_revision.saturating_sub(report.applied_revision),
        "rejected": {"count": report.rejected, "first": report.rejected_first},
        "silent_seconds": member.silent.map(|silent| silent.as_secs()),
        "stale": member.stale,
    })
}
