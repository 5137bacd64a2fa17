//! Runs the hooks of a route's plugins as a preview, and notes what each would do.
//!
//! Each hook runs on a thread of its own that may block, for a limited time: one that does not come back ends the
//! explanation there, and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use ws_cloud_plugin_sdk::{self as sdk, Flow, Phases, RequestCtx, RequestState, UpstreamChoice};

use super::answer::{Effects, Plugin, Response, Source};
use super::head::{self, Head};
use super::refusal::Refusal;
use crate::pipeline::{Instance, Panicked, Registry};
use crate::snapshot::CompiledRoute;

/// How long a hook may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much longer one that does not wait but block.
const BLOCKING_PATIENCE: Duration = Duration::from_millis(1500);
/// How much of a body is shown.
const MAX_BODY: usize = 1024;

/// A request on its way through the hooks.
pub(super) struct Course {
    pub(super) head: Head,
    pub(super) state: RequestState,
    pub(super) choice: UpstreamChoice,
    /// The headers of the question.
    pub(super) asked: HeaderMap,
}

impl Course {
    pub(super) fn new(head: Head, state: RequestState) -> Self {
        let asked = head.headers.clone();
        Self { head, state, choice: UpstreamChoice::default(), asked }
    }
}

/// Why a request goes no further.
pub(super) enum Ended {
    /// A plugin answers with this status.
    Answered(&'static str, u16),
    Refused(Refusal),
    /// A plugin has not decided in time.
    Unknown(&'static str),
}

/// The plugins of a route, of which nothing is known yet.
pub(super) fn list(route: &CompiledRoute, registry: &Registry) -> Vec<Plugin> {
    let plugin = |instance: &Arc<Instance>| Plugin {
        name: instance.name().to_owned(),
        source: if route.has_own(instance) { Source::Route } else { Source::Global },
        priority: instance.priority(),
        phases: instance.phases().iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect(),
        settings: registry.effective(instance.name(), instance.settings()),
        ran: false,
        effects: Effects::default(),
    };
    route.pipeline.instances().iter().map(plugin).collect()
}

/// A place among those who explain.
pub(super) type Place = Arc<OwnedSemaphorePermit>;
/// The request, unless a hook has kept it, and whether it goes further.
type Passed = (Option<Course>, Option<Ended>);

/// The request phase.
pub(super) async fn request(mut course: Course, route: &CompiledRoute, shown: &mut [Plugin], place: &Place) -> Passed {
    for (instance, shown) in route.pipeline.instances().iter().zip(shown) {
        if !instance.phases().intersects(Phases::REQUEST | Phases::REQUEST_ASYNC) {
            continue;
        }
        let before =
            (course.head.headers.clone(), course.state.path().to_owned(), course.state.query().map(str::to_owned));
        let runtime = Handle::current();
        let hook = move |instance: &Instance, course: &mut Course| {
            let mut request = RequestCtx::new(&mut course.head, &mut course.state);
            let decided =
                async { tokio::time::timeout(PATIENCE, instance.request_filter_async(false, &mut request)).await };
            runtime.block_on(decided).ok()
        };
        let Some((returned, flow)) = run(instance, course, shown, place, hook).await else {
            return (None, Some(Ended::Unknown(instance.name())));
        };
        course = returned;
        let (headers, path, query) = before;
        shown.effects.headers = head::changes(&headers, &course.head.headers, &course.asked);
        shown.effects.path = (course.state.path() != path).then(|| course.state.path().to_owned());
        let has_new_query = course.state.query() != query.as_deref();
        shown.effects.query = has_new_query.then(|| course.state.query().unwrap_or_default().to_owned());
        let ended = match flow {
            Some(Ok(Flow::Continue)) => continue,
            Some(Ok(Flow::Respond(response))) => {
                shown.effects.response = Some(answered(&response, &course.asked));
                Ended::Answered(instance.name(), response.status.as_u16())
            }
            Some(Err(panic)) => panicked(shown, panic),
            None => {
                shown.effects.timed_out = true;
                Ended::Unknown(instance.name())
            }
        };
        return (Some(course), Some(ended));
    }
    (Some(course), None)
}

/// The choice of a node, for a first try.
pub(super) async fn upstream_peer(
    course: Option<Course>,
    route: &CompiledRoute,
    shown: &mut [Plugin],
    place: &Place,
) -> Passed {
    let Some(mut course) = course else { return (None, None) };
    course.choice.attempt = 1;
    for (instance, shown) in route.pipeline.instances().iter().zip(shown) {
        if !instance.phases().contains(Phases::UPSTREAM_PEER) {
            continue;
        }
        let before = (course.choice.preferred(), course.choice.excluded().to_vec());
        let hook = |instance: &Instance, course: &mut Course| {
            let mut request = RequestCtx::new(&mut course.head, &mut course.state);
            instance.upstream_peer(false, &mut request, &mut course.choice)
        };
        let Some((returned, result)) = run(instance, course, shown, place, hook).await else {
            return (None, Some(Ended::Unknown(instance.name())));
        };
        course = returned;
        let (preferred, excluded) = before;
        shown.effects.prefers = course.choice.preferred().filter(|now| preferred != Some(*now));
        let is_new = |node: &&SocketAddr| !excluded.contains(node);
        shown.effects.excludes = course.choice.excluded().iter().filter(is_new).copied().collect();
        if let Err(panic) = result {
            return (Some(course), Some(panicked(shown, panic)));
        }
    }
    (Some(course), None)
}

/// The request on its way to a node: `course.head` is the one that goes there.
pub(super) async fn upstream_request(
    mut course: Course,
    route: &CompiledRoute,
    shown: &mut [Plugin],
    place: &Place,
) -> Passed {
    for (instance, shown) in route.pipeline.instances().iter().zip(shown) {
        if !instance.phases().contains(Phases::UPSTREAM_REQUEST) {
            continue;
        }
        let before = course.head.headers.clone();
        let hook = |instance: &Instance, course: &mut Course| {
            instance.upstream_request_filter(false, &mut course.state, &mut course.head)
        };
        let Some((returned, result)) = run(instance, course, shown, place, hook).await else {
            return (None, Some(Ended::Unknown(instance.name())));
        };
        course = returned;
        shown.effects.upstream_headers = head::changes(&before, &course.head.headers, &course.asked);
        if let Err(panic) = result {
            return (Some(course), Some(panicked(shown, panic)));
        }
    }
    (Some(course), None)
}

/// Runs a hook on a thread of its own; `None` when it does not come back in time. It keeps its place until it does.
async fn run<T: Send + 'static>(
    instance: &Arc<Instance>,
    mut course: Course,
    shown: &mut Plugin,
    place: &Place,
    hook: impl FnOnce(&Instance, &mut Course) -> T + Send + 'static,
) -> Option<(Course, T)> {
    shown.ran = true;
    let (running, place) = (Arc::clone(instance), Arc::clone(place));
    let thread = tokio::task::spawn_blocking(move || {
        let result = hook(&running, &mut course);
        drop(place);
        (course, result)
    });
    let came_back = tokio::time::timeout(BLOCKING_PATIENCE, thread).await.ok().and_then(Result::ok);
    shown.effects.timed_out = came_back.is_none();
    came_back
}

fn panicked(shown: &mut Plugin, panic: Panicked) -> Ended {
    let text = panic.to_string();
    shown.effects.panics = Some(panic.message);
    Ended::Refused(Refusal::Panicked(text))
}

fn answered(response: &sdk::Response, asked: &HeaderMap) -> Response {
    let beginning = &response.body[..response.body.len().min(MAX_BODY)];
    Response {
        status: response.status.as_u16(),
        headers: head::changes(&HeaderMap::new(), &response.headers, asked).set,
        body: String::from_utf8_lossy(beginning).into_owned(),
    }
}
