//! From a request to its route: as the proxy's `admit.rs`.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use pingora::http::RequestHeader;
use ws_cloud_plugin_sdk::{RequestState, TlsInfo};

use super::answer::{Explanation, Outcome, ServiceState};
use super::asked::{self, Read};
use super::head::Head;
use super::plugins::{self, Course};
use super::refusal::Refusal;
use super::service::{self, Carriage};
use super::{Explainer, candidates};
use crate::request::internal::is_internal;
use crate::request::{forwarded, host, path};
use crate::resource::Invalid;
use crate::router::Lookup;
use crate::snapshot::{Change, CompiledRoute, Preview, Target};
use crate::upstream::Upstream;

/// An explanation up to the route, and what is found if something is.
pub(super) struct Begun {
    pub(super) explanation: Explanation,
    pub(super) found: Option<Found>,
}

/// A request whose route takes it.
pub(super) struct Found {
    pub(super) course: Course,
    pub(super) route: Arc<CompiledRoute>,
    pub(super) upstream: Option<Arc<Upstream>>,
    pub(super) state: ServiceState,
    pub(super) carriage: Carriage,
    pub(super) arrived: Arrived,
}

/// What is known of how a request came.
pub(super) struct Arrived {
    pub(super) target: RequestHeader,
    /// Whether the path was in its normal form.
    pub(super) was_normal: bool,
    pub(super) peer: IpAddr,
    pub(super) is_tls: bool,
}

/// A request that can be routed.
struct Routable {
    head: Head,
    host: String,
    path: String,
    arrived: Arrived,
}

impl Explainer {
    /// Up to the route. May have to wait for the compiler.
    pub(super) fn begin(&self, read: Read, change: Option<&Change>) -> Result<Begun, Invalid> {
        let preview = self.compiler.preview(change)?;
        let mut explanation = Explanation::of(preview.snapshot.revision, &read);
        let routed = self.routable(read, &mut explanation).and_then(|routable| match routable {
            Some(routable) => self.route(routable, &preview, &mut explanation).map(Some),
            None => Ok(None),
        });
        let found = routed.unwrap_or_else(|refusal| {
            explanation.refuse(&refusal);
            None
        });
        Ok(Begun { explanation, found })
    }

    /// Host and path as routes are found by them; `None` when it is the admin's.
    fn routable(&self, read: Read, explanation: &mut Explanation) -> Result<Option<Routable>, Refusal> {
        let Read { mut head, target, peer, is_tls } = read;
        head.check(self.options.underscores)?;
        let target = asked::target(&target)?;
        if head.method == Method::CONNECT {
            return Err(Refusal::NoConnect);
        }
        let host = host::normalise(head.host().unwrap_or_default()).into_owned();
        explanation.request.host.clone_from(&host);
        let normal = path::normalise(path::of_target(target.raw_path()), &self.options.rules);
        let normal = normal.map_err(|e| Refusal::Malformed(e.to_string()))?;
        let was_normal = matches!(normal, Cow::Borrowed(_));
        let path = normal.into_owned();
        explanation.request.path = Some(path.clone());
        if self.options.admin_on_gateway_ports && is_internal(&path) {
            explanation.outcome = Outcome::Admin;
            return Ok(None);
        }
        Ok(Some(Routable { head, host, path, arrived: Arrived { target, was_normal, peer, is_tls } }))
    }

    fn route(&self, request: Routable, preview: &Preview, explanation: &mut Explanation) -> Result<Found, Refusal> {
        let Routable { head, host, path, arrived } = request;
        let query = arrived.target.uri.query();
        let lookup = Lookup { path: &path, host: &host, method: &head.method, headers: &head.headers, query };
        let snapshot = &preview.snapshot;
        candidates::list(preview, &lookup, explanation);
        let found = snapshot.find_unambiguous(&lookup).map_err(|ambiguous| Refusal::Ambiguous(Box::new(ambiguous)))?;
        let route = Arc::clone(found.filter(|route| !route.is_void()).ok_or(Refusal::NoRoute)?);
        explanation.route = Some(route.info.key.clone());
        let (upstream, state) = match snapshot.target(&route) {
            Target::Upstream(upstream) => (Some(Arc::clone(upstream)), ServiceState::Ready),
            Target::Broken => (None, ServiceState::Broken),
            Target::Nowhere if route.info.service.is_empty() => (None, ServiceState::None),
            Target::Nowhere => (None, ServiceState::Empty),
        };
        if forwarded::goes_in_circles(head.forwarded_for()) {
            return Err(Refusal::Loop);
        }
        let client_ip = forwarded::client_ip(arrived.peer, head.forwarded_for(), &self.options.trusted_proxies);
        explanation.request.client_ip = client_ip;
        let carriage = Carriage::of(&route, &head);
        explanation.request.carriage = carriage;
        explanation.plugins = plugins::list(&route, preview.checker().registry());
        if let Some(what) = broken(&route, state) {
            explanation.service = service::bare(&route, state);
            return Err(Refusal::Broken(what));
        }
        head.check_size(&route, carriage, self.options.max_body_size)?;
        let query = query.map(str::to_owned);
        let mut state_of_request = RequestState::new(Arc::clone(&route.info), client_ip, path, query).for_preview();
        let tls = TlsInfo { server_name: Some(host), ..TlsInfo::default() };
        state_of_request.tls = arrived.is_tls.then(|| Arc::new(tls));
        Ok(Found { course: Course::new(head, state_of_request), route, upstream, state, carriage, arrived })
    }
}

/// What makes a route answer 503, if something does.
fn broken(route: &CompiledRoute, service: ServiceState) -> Option<&'static str> {
    if route.is_closed() {
        Some("a plugin that covers all routes")
    } else if route.is_broken() {
        Some("the route's declaration")
    } else {
        (service == ServiceState::Broken).then_some("the declaration of the route's service")
    }
}
