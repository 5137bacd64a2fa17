//! `GET /events`: what happens to this gateway, from now on or from where a listener was.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::sse;
use http::StatusCode;
use serde_json::json;

use super::super::Admin;
use super::super::problem::Problem;
use super::{Answer, stream, too_many};
use crate::telemetry::{Heard, Listener};

pub(super) async fn listen(State(admin): State<Arc<Admin>>, request: Request) -> Answer {
    let (call, _) = request.into_parts();
    let last = call.headers.get("last-event-id").map(|id| {
        let id = id.to_str().ok().and_then(|id| id.trim().parse::<u64>().ok());
        id.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "Last-Event-ID: not the id of an event"))
    });
    let listener = admin.deps.live.events.listen(last.transpose()?);
    let listener = listener.ok_or_else(|| too_many("listen to events"))?;
    Ok(stream::respond(&admin, &call, listener))
}

impl stream::Source for Listener {
    async fn next(&mut self) -> sse::Event {
        match Self::next(self).await {
            Heard::Event(event) => {
                let mut data = json!({
                    "id": event.id,
                    "time": humantime::format_rfc3339_millis(event.time).to_string(),
                    "type": event.kind,
                });
                if let (Some(data), Some(more)) = (data.as_object_mut(), event.data.as_object()) {
                    data.extend(more.clone());
                }
                written(event.kind, &data).id(event.id.to_string())
            }
            // Who comes back after this one must not be told of it again.
            Heard::Missed(count, next) => {
                let id = next.saturating_sub(1);
                written("missed", &json!({"id": id, "type": "missed", "count": count})).id(id.to_string())
            }
        }
    }
}

/// An event of this name with JSON, which has no line breaks.
pub(super) fn written(name: &str, data: &impl serde::Serialize) -> sse::Event {
    let data = serde_json::to_string(data).unwrap_or_default();
    sse::Event::default().event(name).data(data)
}
