//! Server-sent events: an answer without an end of its own. It ends when the caller leaves or is no
//! longer let in, and when the gateway stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::super::Admin;
use super::super::auth::Denied;
use super::super::serve::{Stopping, stopped};

/// How often something is sent at least, so that nobody on the way takes the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it is looked whether the caller is still let in.
const RECHECK: Duration = Duration::from_secs(30);

/// Where events come from.
pub(super) trait Source: Send + 'static {
    /// Waits for the next one.
    fn next(&mut self) -> impl Future<Output = Event> + Send;
}

/// Answers with what comes from a source.
pub(super) fn respond(admin: &Arc<Admin>, call: &Parts, source: impl Source) -> Response {
    let stopping = call.extensions.get::<Stopping>().cloned();
    let ending = Ending::watch(Arc::clone(admin), call.headers.clone(), stopping);
    let events = stream::unfold((source, ending), |(mut source, mut ending)| async move {
        tokio::select! {
            biased;
            _ = &mut ending.ended => None,
            event = source.next() => Some((Ok::<_, Infallible>(event), (source, ending))),
        }
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    // nginx, for one, would collect it.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Knows when a stream has to end, by a task of its own: however much is sent, it is looked at in time.
struct Ending {
    ended: oneshot::Receiver<()>,
    task: AbortHandle,
}

impl Ending {
    fn watch(admin: Arc<Admin>, headers: HeaderMap, stopping: Option<Stopping>) -> Self {
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stop = async {
                match stopping {
                    Some(Stopping(mut stopping)) => stopped(&mut stopping).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = no_longer_let_in(&admin, &headers) => {}
                () = stop => {}
            }
            // Nobody waits for it when the stream has ended meanwhile.
            end.send(()).ok();
        });
        Self { ended, task: task.abort_handle() }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn no_longer_let_in(admin: &Admin, headers: &HeaderMap) {
    loop {
        tokio::time::sleep(RECHECK).await;
        match admin.auth.authenticate(&Method::GET, headers).await {
            // Who was let in stays so while the store is away.
            Ok(_) | Err(Denied::Unavailable) => {}
            Err(_) => return,
        }
    }
}
