//! What would become of a request, and why: its path, every route that was considered, what each
//! plugin would do, the node it would go to, and how it would go there.
//!
//! It calls what the data path calls, and disturbs it in nothing: no turn is taken, nothing is
//! counted, no lock is touched that a request waits for. With a change laid over the configuration
//! it tells what would become of the request then; the change is stored nowhere.

mod answer;
mod asked;
mod candidates;
mod differences;
mod head;
mod onward;
mod plugins;
mod refusal;
mod service;
#[cfg(test)]
mod tests;
mod why;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use ws_cloud_plugin_sdk::{RequestState, TlsInfo};

pub use self::answer::{
    Candidate, Choice, ChoiceKind, Effects, Explanation, HeaderChanges, Health, Lost, Node, NodeState, Onward, Outcome,
    Plugin, Request, Response, Retry, RetryOn, Service, ServiceState, Source, Timeouts, Tls,
};
use self::asked::Read;
pub use self::asked::{Asked, Changed, Values};
use self::plugins::{Course, Ended};
use self::refusal::Refusal;
use crate::request::forwarded::{self, TrustedProxies};
use crate::request::framing::Underscores;
use crate::request::internal::is_internal;
use crate::request::path::PathRules;
use crate::request::{host, path};
use crate::resource::Invalid;
use crate::router::Lookup;
use crate::snapshot::{Change, CompiledRoute, Preview, SharedCompiler, Target};

/// Most explanations at a time. A plugin that does not return keeps its place.
const AT_A_TIME: usize = 8;

/// What explain must know of the configuration file: the same as the proxy.
#[derive(Debug)]
pub struct ExplainOptions {
    /// How paths are read.
    pub rules: PathRules,
    /// Whose X-Forwarded-* is believed.
    pub trusted_proxies: TrustedProxies,
    /// What becomes of headers whose names have an underscore.
    pub underscores: Underscores,
    /// Largest request body; 0 = no limit.
    pub max_body_size: u64,
    /// Whether `/admin` and `/dashboard` are answered on the data ports too.
    pub admin_on_gateway_ports: bool,
}

/// Explains requests.
pub struct Explainer {
    options: ExplainOptions,
    compiler: SharedCompiler,
    places: Arc<Semaphore>,
}

/// Why there is no explanation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unexplained {
    /// The question, or the change in it, is not valid.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// Too many ask at a time.
    #[error("too many requests are being explained; try again")]
    Busy,
    /// It should not have happened.
    #[error("the explanation has failed")]
    Failed,
}

impl Explainer {
    /// Explains by what this compiler has published.
    #[must_use]
    pub fn new(options: ExplainOptions, compiler: SharedCompiler) -> Self {
        Self { options, compiler, places: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    /// Explains a request given as JSON. With a change, what would be with it, and beside it what is
    /// without and where the two differ.
    ///
    /// # Errors
    /// When the question is not valid, or too many are asked.
    pub async fn answer(self: &Arc<Self>, question: Value) -> Result<Value, Unexplained> {
        let mut asked = Asked::parse(question)?;
        let change = asked.change.take();
        let now = self.explain(&asked, None).await?;
        let Some(change) = change else { return Ok(json!(now)) };
        let then = self.explain(&asked, Some(change.as_change()?)).await;
        let then = then.map_err(|reason| match reason {
            Unexplained::Invalid(invalid) => Unexplained::Invalid(in_change(invalid)),
            other => other,
        })?;
        let mut answer = json!(then);
        answer["change"] = json!({"path": change.path, "deletes": change.value.is_null()});
        answer["differs"] = json!(differences::between(&now, &then));
        answer["without_change"] = json!(now);
        Ok(answer)
    }

    /// Explains a request, with this change laid over the configuration.
    ///
    /// # Errors
    /// When request or change is not valid, or too many are asked.
    pub async fn explain(self: &Arc<Self>, asked: &Asked, change: Option<Change>) -> Result<Explanation, Unexplained> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Unexplained::Busy)?;
        let place = Arc::new(place);
        let read = asked.read()?;
        let (explainer, change) = (Arc::clone(self), change.map(Arc::new));
        let asked_change = change.clone();
        // It may have to wait for the compiler.
        let begun = blocking(move || explainer.begin(read, asked_change.as_deref())).await??;
        let mut explanation = begun.explanation;
        if let Some(found) = begun.found {
            self.follow(&mut explanation, found, change, place).await?;
        }
        explanation.why = why::sentences(&explanation);
        Ok(explanation)
    }

    /// Up to the route.
    fn begin(&self, read: Read, change: Option<&Change>) -> Result<Begun, Invalid> {
        let preview = self.compiler.preview(change)?;
        let mut explanation = Explanation::of(preview.snapshot.revision, &read);
        let found = match self.find(read, &preview, &mut explanation) {
            Ok(found) => found,
            Err(refusal) => {
                explanation.refuse(&refusal);
                None
            }
        };
        Ok(Begun { explanation, found })
    }

    /// As the proxy's `find_route`.
    fn find(&self, read: Read, preview: &Preview, explanation: &mut Explanation) -> Result<Option<Found>, Refusal> {
        let Read { mut head, target, peer, is_tls, .. } = read;
        head.check(self.options.underscores)?;
        let target = asked::target(&target)?;
        if head.method == http::Method::CONNECT {
            return Err(Refusal::NoConnect);
        }
        let host = host::normalise(head.host().unwrap_or_default()).into_owned();
        explanation.request.host.clone_from(&host);
        let raw = path::of_target(target.raw_path());
        let path = path::normalise(raw, &self.options.rules).map_err(|e| Refusal::Malformed(e.to_string()))?;
        let was_normal = matches!(path, std::borrow::Cow::Borrowed(_));
        let path = path.into_owned();
        explanation.request.path = Some(path.clone());
        if self.options.admin_on_gateway_ports && is_internal(&path) {
            explanation.outcome = Outcome::Admin;
            return Ok(None);
        }
        let query = target.uri.query();
        let lookup = Lookup { path: &path, host: &host, method: &head.method, headers: &head.headers, query };
        let snapshot = &preview.snapshot;
        candidates::list(preview, &lookup, explanation);
        let found = snapshot.find_unambiguous(&lookup).map_err(|ambiguous| Refusal::Ambiguous(Box::new(ambiguous)))?;
        let route = Arc::clone(found.filter(|route| !route.is_void()).ok_or(Refusal::NoRoute)?);
        explanation.route = Some(route.info.key.clone());
        let upstream = match snapshot.target(&route) {
            Target::Upstream(upstream) => Some(Arc::clone(upstream)),
            Target::Nowhere | Target::Broken => None,
        };
        let is_broken = route.is_broken() || matches!(snapshot.target(&route), Target::Broken);
        let carriage = service::Carriage::of(&route, &head);
        explanation.request.carriage = carriage;
        let state = match upstream {
            Some(_) => ServiceState::Ready,
            None if route.info.service.is_empty() => ServiceState::None,
            None if is_broken && !route.is_broken() => ServiceState::Broken,
            None => ServiceState::Empty,
        };
        if forwarded::goes_in_circles(head.forwarded_for()) {
            return Err(Refusal::Loop);
        }
        let client_ip = forwarded::client_ip(peer, head.forwarded_for(), &self.options.trusted_proxies);
        explanation.request.client_ip = client_ip;
        explanation.plugins = plugins::list(&route, preview.checker().registry());
        let mut request = RequestState::new(Arc::clone(&route.info), client_ip, path, query.map(str::to_owned));
        request.tls = is_tls.then(|| Arc::new(TlsInfo { server_name: Some(host), ..TlsInfo::default() }));
        if is_broken {
            explanation.service = service::bare(&route, state);
            return Err(Refusal::Broken(match () {
                () if route.is_closed() => "a plugin that covers all routes",
                () if route.is_broken() => "the route's declaration",
                () => "the declaration of the route's service",
            }));
        }
        head.check_size(&route, carriage, self.options.max_body_size)?;
        let course = Course::new(head, request.for_preview());
        Ok(Some(Found { course, route, upstream, state, target, was_normal, peer, carriage, is_tls }))
    }

    /// From the route to the node.
    async fn follow(
        self: &Arc<Self>,
        explanation: &mut Explanation,
        found: Found,
        change: Option<Arc<Change>>,
        place: Arc<OwnedSemaphorePermit>,
    ) -> Result<(), Unexplained> {
        let Found { course, route, upstream, state, target, was_normal, peer, carriage, is_tls } = found;
        let shown = &mut explanation.plugins;
        let (mut course, mut ended) = plugins::request(course, &route, shown, &place).await;
        if ended.is_none() {
            (course, ended) = plugins::upstream_peer(course, &route, shown, &place).await;
        }
        let with = service::With { route: &route, upstream: upstream.as_ref(), carriage, state };
        let (service, index) = service::show(&with, course.as_ref(), self.nodes_of(&route, change).await?);
        explanation.service = service;
        if ended.is_none()
            && let Some(course) = course
        {
            ended = match service::refusal(explanation.service.as_ref()) {
                Some(refusal) => Some(Ended::Refused(refusal)),
                None => {
                    let sent = onward::Sent {
                        with: &with,
                        index,
                        target: &target,
                        was_normal,
                        peer,
                        is_trusted: self.options.trusted_proxies.contains(peer),
                        is_tls,
                    };
                    let (onward, ended) = onward::show(sent, course, &mut explanation.plugins, &place).await;
                    explanation.upstream = onward;
                    ended
                }
            };
        }
        match ended {
            None => explanation.outcome = Outcome::Forwarded,
            Some(Ended::Answered(plugin, status)) => {
                explanation.outcome = Outcome::Answered;
                explanation.status = Some(status);
                explanation.reason = Some(format!("the plugin {plugin} answers the request itself"));
            }
            Some(Ended::Refused(refusal)) => explanation.refuse(&refusal),
            Some(Ended::Unknown(plugin)) => {
                explanation.outcome = Outcome::Unknown;
                explanation.reason = Some(format!("the plugin {plugin} has not decided in time"));
            }
        }
        Ok(())
    }

    async fn nodes_of(
        self: &Arc<Self>,
        route: &Arc<CompiledRoute>,
        change: Option<Arc<Change>>,
    ) -> Result<Vec<crate::snapshot::DeclaredNode>, Unexplained> {
        let (explainer, route) = (Arc::clone(self), Arc::clone(route));
        if route.info.service.is_empty() {
            return Ok(Vec::new());
        }
        Ok(blocking(move || explainer.compiler.nodes_of(&route.info.service, change.as_deref())).await??)
    }
}

/// An explanation up to the route, and what is found if something is.
struct Begun {
    explanation: Explanation,
    found: Option<Found>,
}

/// A request whose route is known.
struct Found {
    course: Course,
    route: Arc<CompiledRoute>,
    upstream: Option<Arc<crate::upstream::Upstream>>,
    state: ServiceState,
    target: pingora::http::RequestHeader,
    was_normal: bool,
    peer: std::net::IpAddr,
    carriage: service::Carriage,
    is_tls: bool,
}

/// The rest of the question has been found good before.
fn in_change(invalid: Invalid) -> Invalid {
    let dot = if invalid.path.is_empty() { "" } else { "." };
    Invalid { path: format!("change.value{dot}{}", invalid.path), ..invalid }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unexplained> {
    tokio::task::spawn_blocking(work).await.map_err(|e| {
        log::error!("a request could not be explained: {e}");
        Unexplained::Failed
    })
}
