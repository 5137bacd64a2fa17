//! The service: its nodes, the one that would be chosen, and what holds for requests to it.

use std::net::SocketAddr;
use std::sync::Arc;

use pingora::upstreams::peer::HttpPeer;
use serde::Serialize;

use super::answer::{Choice, ChoiceKind, Health, Node, NodeState, Retry, RetryOn, Service, ServiceState, Timeouts};
use super::head::Head;
use super::plugins::Course;
use super::refusal::Refusal;
use crate::request::websocket;
use crate::resource::{self, NodeAddress, Protocol};
use crate::snapshot::{CompiledRoute, DeclaredNode, hash_key};
use crate::upstream::ejection::Cause;
use crate::upstream::{self, Balancing, Foreseen, MAX_TRIES, Tried, Upstream, Wish, override_timeouts};

/// Most nodes that are listed.
const LISTED: usize = 500;

/// How a request is carried to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Carriage {
    /// As HTTP.
    Http,
    /// As a call of gRPC: the client comes by HTTP/2.
    Grpc,
    /// As the handshake of a WebSocket.
    WebSocket,
}

impl Carriage {
    pub(super) fn of(route: &CompiledRoute, head: &Head) -> Self {
        match route.protocol {
            Protocol::Grpc => Self::Grpc,
            Protocol::Http if websocket::is_handshake(&head.method, &head.headers) => Self::WebSocket,
            Protocol::Http => Self::Http,
        }
    }
}

/// What a request goes with.
pub(super) struct With<'a> {
    pub(super) route: &'a CompiledRoute,
    pub(super) upstream: Option<&'a Arc<Upstream>>,
    pub(super) carriage: Carriage,
    pub(super) state: ServiceState,
}

/// The service, and the node that a request would go to, or might.
pub(super) fn show(
    with: &With<'_>,
    course: Option<&Course>,
    declared: Vec<DeclaredNode>,
) -> (Option<Service>, Option<usize>) {
    let Some(mut service) = bare(with.route, with.state) else { return (None, None) };
    service.nodes = list(with.upstream, declared);
    service.nodes_left_out = service.nodes.len().saturating_sub(LISTED);
    service.nodes.truncate(LISTED);
    let Some(upstream) = with.upstream else { return (Some(service), None) };
    let options = &upstream.options;
    service.balancer = Some(name(&options.balancing));
    let mut index = None;
    if let Some(course) = course {
        let (key, foreseen) = choose(upstream, with, course);
        service.has_hash_key = matches!(options.balancing, Balancing::Hash(_)).then_some(key);
        index = match &foreseen {
            Foreseen::Node(index) => Some(*index),
            Foreseen::OneOf(some) => some.first().copied(),
            Foreseen::Wait => (!upstream.nodes().is_empty()).then_some(0),
            Foreseen::Full | Foreseen::Nobody => None,
        };
        service.choice = Some(choice(upstream, foreseen));
    }
    if let Some(node) = upstream.nodes().first() {
        let limits = with.route.options.time_limits(Some(options));
        let peer = peer(node, with);
        service.timeouts = Some(Timeouts {
            connect: peer.options.total_connection_timeout,
            read: peer.options.read_timeout,
            send: peer.options.write_timeout,
            first_byte: limits.first_byte,
            total: limits.total,
        });
    }
    service.retry = Some(retry(with.route, upstream));
    (Some(service), index)
}

/// The service of a route, of which nothing else is known yet.
pub(super) fn bare(route: &CompiledRoute, state: ServiceState) -> Option<Service> {
    (state != ServiceState::None).then(|| Service {
        name: route.info.service.clone(),
        state,
        balancer: None,
        has_hash_key: None,
        nodes: Vec::new(),
        nodes_left_out: 0,
        choice: None,
        timeouts: None,
        retry: None,
    })
}

/// Why the service takes no request.
pub(super) fn refusal(service: Option<&Service>) -> Option<Refusal> {
    match service.and_then(|service| service.choice.as_ref()).map(|choice| choice.kind) {
        None | Some(ChoiceKind::Nobody) => Some(Refusal::NoNode),
        Some(ChoiceKind::Full) => Some(Refusal::AtLimit),
        Some(ChoiceKind::Node | ChoiceKind::OneOf | ChoiceKind::Wait) => None,
    }
}

/// The peer of a node as the proxy makes it.
pub(super) fn peer(node: &upstream::Node, with: &With<'_>) -> HttpPeer {
    let mut peer = match with.carriage {
        Carriage::Http => node.peers.http().clone(),
        Carriage::Grpc => node.peers.grpc().clone(),
        Carriage::WebSocket => node.peers.websocket().clone(),
    };
    override_timeouts(&mut peer, &with.route.options.timeouts);
    peer
}

/// Whether the request has a key, and what the choice comes to.
fn choose(upstream: &Upstream, with: &With<'_>, course: &Course) -> (bool, Foreseen) {
    let key = match &upstream.options.balancing {
        Balancing::Hash(hashing) => hash_key(&hashing.on, &course.head.headers, &course.state),
        _ => None,
    };
    let http2 = match with.carriage {
        Carriage::Grpc => true,
        Carriage::Http => upstream.options.speaks_http2,
        Carriage::WebSocket => false,
    };
    let tried = Tried::default();
    let wish = Wish { key, http2, ..Wish::new(&tried) };
    let choice = &course.choice;
    let allowed = |node: &upstream::Node| !choice.excluded().contains(&node.address);
    let preferred = choice.preferred().and_then(|address| upstream.position(address));
    (key.is_some(), upstream.foresee(&wish, preferred, allowed))
}

fn choice(upstream: &Upstream, foreseen: Foreseen) -> Choice {
    let (kind, nodes) = match foreseen {
        Foreseen::Node(index) => (ChoiceKind::Node, vec![index]),
        Foreseen::OneOf(some) => (ChoiceKind::OneOf, some),
        Foreseen::Wait => (ChoiceKind::Wait, Vec::new()),
        Foreseen::Full => (ChoiceKind::Full, Vec::new()),
        Foreseen::Nobody => (ChoiceKind::Nobody, Vec::new()),
    };
    Choice { kind, nodes: nodes.into_iter().map(|index| upstream.nodes()[index].address).collect() }
}

fn name(balancing: &Balancing) -> &'static str {
    match balancing {
        Balancing::RoundRobin => "round_robin",
        Balancing::Random => "random",
        Balancing::LeastRequests => "least_requests",
        Balancing::Ewma => "ewma",
        Balancing::Hash(_) => "hash",
    }
}

fn retry(route: &CompiledRoute, upstream: &Upstream) -> Retry {
    let retries = route.options.retry.over(&upstream.options.retry);
    Retry {
        max_tries: upstream.options.max_tries.min(MAX_TRIES),
        on: RetryOn {
            connect: retries.on.connect,
            reset: retries.on.reset,
            timeout: retries.on.timeout,
            statuses: (500..600).filter(|status| retries.on.status(*status)).collect(),
        },
        within: retries.within,
        budget: retries.budget,
    }
}

/// The declared nodes, each at all of its addresses.
fn list(upstream: Option<&Arc<Upstream>>, declared: Vec<DeclaredNode>) -> Vec<Node> {
    let live = |address: SocketAddr| {
        let upstream = upstream?;
        Some(&upstream.nodes()[upstream.position(address)?])
    };
    let mut nodes = Vec::with_capacity(declared.len());
    for declared in declared {
        let found: Vec<SocketAddr> = match &declared.node.upstream {
            NodeAddress::Ip(address) => vec![*address],
            NodeAddress::Name { host, port } => {
                let host = host.strip_suffix('.').unwrap_or(host);
                let all = upstream.iter().flat_map(|upstream| upstream.nodes().iter());
                let named = all.filter(|node| node.peers.name() == Some(host) && node.address.port() == *port);
                named.map(|node| node.address).collect()
            }
        };
        if found.is_empty() {
            nodes.push(node(&declared, None, None));
        }
        nodes.extend(found.into_iter().map(|address| node(&declared, Some(address), live(address))));
    }
    nodes
}

fn node(declared: &DeclaredNode, address: Option<SocketAddr>, live: Option<&upstream::Node>) -> Node {
    let DeclaredNode { id, node, overlay } = declared;
    let effective = overlay.effective_weight(node);
    let state = match overlay.state {
        resource::NodeState::Drain => NodeState::Drained,
        resource::NodeState::Enabled if effective > 0 => NodeState::Enabled,
        resource::NodeState::Enabled | resource::NodeState::Disabled => NodeState::Disabled,
    };
    let (health, health_reason) = live.map_or((Health::Unknown, None), health);
    Node {
        key: id.clone(),
        declared: node.upstream.to_string(),
        address,
        weight: live.map_or(effective, |live| live.weight),
        state,
        health,
        health_reason,
        in_flight: live.map_or(0, |live| live.state.in_flight()),
    }
}

fn health(node: &upstream::Node) -> (Health, Option<String>) {
    let state = &node.state;
    if !state.is_healthy() {
        return (Health::Unhealthy, state.found.unhealthy().map(|(_, why)| why.into()));
    }
    match state.ejection.cause() {
        Some(cause) => (Health::Ejected, Some(Cause::name(cause).to_owned())),
        None => (Health::Healthy, None),
    }
}
